"""A model's own files come from anybody: whatever is in them, there is a sentence and no more is made than is there."""

from __future__ import annotations

import json
import shutil
import struct
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from backend.engine import passes
from backend.errors import HeadroomError, ModelError
from backend.models import info, loading, plain
from backend.models.identity import identify
from backend.models.info import describe, locate, tensors_of
from backend.models.loading import load_model
from backend.models.obstacles import obstacles
from tests.models.small import small_network, small_tokenizer


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    small_network("llama, grouped queries").save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "small"))


def change(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(folder: Path, why: str) -> None:
    """All who read a model's files say the same, and nothing is built."""
    for read in (describe, load_model):
        with pytest.raises(ModelError, match=why):
            read(str(folder))


# The config.


@pytest.mark.parametrize("key", ["num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size",
                                 "vocab_size", "max_position_embeddings", "head_dim"])
@pytest.mark.parametrize("value", [-1, 0, "eight", 2.5, True, [], [1, 2], [[1]], {}, 10**12])
def test_a_size_that_is_none_is_named_with_what_is_allowed(folder, key, value, monkeypatch):
    monkeypatch.setattr(AutoModelForCausalLM, "from_config", lambda *_: pytest.fail("it was built"))
    change(folder, **{key: value})
    refused(folder, f"gives .*{key}")


def test_a_hundred_thousand_layers_are_refused_before_anything_is_built(folder, monkeypatch):
    monkeypatch.setattr(AutoModelForCausalLM, "from_config", lambda *_: pytest.fail("it was built"))
    change(folder, num_hidden_layers=100_000)
    refused(folder, "gives '100000' as num_hidden_layers: it takes a whole number from 1 to 1,000")


@pytest.mark.parametrize(("content", "why"), [
    (b"", "Expecting value"), (b"[]", "should hold an object"), (b"\xff", "invalid start byte"),
    (b'{"a": "\\ud800"}', "half of a character"), (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
    (b'{"a": ' + b"9" * 30 + b"}", "'a' is beyond"), (b'{"a":' * 100 + b"1" + b"}" * 100, "nested more than 50 deep"),
    (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "nested too deep"), (b" " * 10_000_001, "more than 10 MB"),
    (b'{"labels": [' + b"1," * 100_000 + b"1]}", "lists 100,001 values"),
])
def test_a_config_that_is_none_says_why(folder, content, why):
    (folder / "config.json").write_bytes(content)
    refused(folder, f"config.json cannot be read: .*{why}")
    with pytest.raises(ModelError, match="cannot be read"):
        identify(str(folder))


@pytest.mark.parametrize("changes", [
    {"rope_scaling": [1]}, {"rope_scaling": {"rope_type": ["longrope"]}}, {"layer_types": 3},
    {"layer_types": [["a"], 1]}, {"text_config": 3}, {"text_config": {"text_config": {"model_type": 3}}},
    {"model_type": ["llama"]}, {"quantization_config": 3}, {"hidden_act": "no such"}, {"num_key_value_heads": 0},
    {"num_key_value_heads": "x"}, {"rms_norm_eps": "small"}, {"attention_dropout": "x"}, {"pad_token_id": 10**9},
    {"rope_theta": "x"}, {"tie_word_embeddings": "x"}, {"torch_dtype": "float7"}, {"architectures": 5}])
def test_whatever_else_a_config_says_ends_in_a_sentence_or_a_model(folder, changes):
    change(folder, **changes)
    for read in (describe, identify, obstacles, load_model):
        with suppress(ModelError):
            read(str(folder))


def test_a_config_that_describes_more_than_was_saved_is_refused_before_it_is_made(folder, monkeypatch):
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("it was made"))
    for key, value in (("vocab_size", 10_000_000), ("intermediate_size", 1_000_000), ("num_hidden_layers", 100)):
        change(folder, **{key: value})
        with pytest.raises(ModelError, match=r"they hold [\d,]+ parameters, and it describes [\d,]+"):
            load_model(str(folder))
        change(folder, **{key: json.loads((folder / "config.json").read_text())[key]})


# Memory.


def test_too_little_memory_is_said_before_anything_is_read(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("it was read"))
    monkeypatch.setattr(loading, "free_memory", lambda: 1000)
    with pytest.raises(ModelError, match=r"needs [\d.]+ .B for its weights in float32, and 1 kB are free\. .*bfloat16"):
        load_model(str(folder))


@pytest.mark.parametrize("where", ["from_pretrained", "the copy", "the engine", "the model's own pass"])
@pytest.mark.parametrize("error", [
    MemoryError(), torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried")])
def test_memory_that_runs_out_while_a_model_is_loaded_is_said(folder, monkeypatch, error, where):
    def full(*_: object, **__: object) -> None:
        raise error

    place, name = {"from_pretrained": (AutoModelForCausalLM, "from_pretrained"),
                   "the copy": (loading, "_let_go_of_files"), "the engine": (passes, "score"),
                   "the model's own pass": (LlamaForCausalLM, "forward")}[where]
    monkeypatch.setattr(place, name, full)
    with pytest.raises(ModelError, match=r"no memory left for '.*' while it was loaded\. Close what else runs"):
        load_model(str(folder))


# Weights.


def test_a_file_of_weights_that_was_cut_short_is_named(folder):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        refused(folder, r"model\.safetensors is damaged or cut short: .*Fetch or convert it again")


@pytest.mark.parametrize("header", [
    b"[]", b"3", b"[" * 100_000, b'{"a": 3}', b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}}', b'{"a": {"dtype": "F32", "shape": ["x"], '
    b'"data_offsets": [0, 4]}}', b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": []}}'])
def test_a_header_of_weights_that_is_none_is_named(folder, header):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"0000")
    refused(folder, r"model\.safetensors is damaged or cut short")


def sharded(folder: Path) -> dict[str, str]:
    """The same weights in two files; the index's map."""
    tensors = load_file(folder / "model.safetensors")
    half = len(tensors) // 2
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    parts = [dict(list(tensors.items())[:half]), dict(list(tensors.items())[half:])]
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / name, {"format": "pt"})
    (folder / "model.safetensors").unlink()
    places = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return places


def test_a_shard_that_is_missing_or_half_there_is_named(folder):
    sharded(folder)
    assert load_model(str(folder)).n_layers == 3
    second = folder / "model-00002-of-00002.safetensors"
    whole = second.read_bytes()
    second.write_bytes(whole[:-10])
    refused(folder, r"model-00002-of-00002\.safetensors is damaged or cut short: it should have [\d,]+ bytes")
    second.unlink()
    refused(folder, r"lacks model-00002-of-00002\.safetensors, which its index names")


@pytest.mark.parametrize("places", [3, [], {"a": 3}, {"a": "../other.safetensors"}, {"a": "/etc/passwd"},
                                    {"a": "x.bin"}])
def test_an_index_that_leads_elsewhere_is_refused(folder, places):
    sharded(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    refused(folder, "index.json cannot be read: its weight_map should name")


def test_a_folder_that_is_deleted_while_it_is_looked_at_says_so(folder, monkeypatch):
    place = locate(str(folder))
    listed = info.weight_files(folder)
    monkeypatch.setattr(info, "weight_files", lambda _: listed)
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is gone: the model's folder has been moved or deleted"):
        tensors_of(place)


@pytest.mark.parametrize("step", ["tensors_of", "config_of", "load_tokenizer", "config_class", "_require_room",
                                  "_let_go_of_files", "identity_of"])
def test_a_folder_that_is_deleted_while_it_is_loaded_ends_in_a_sentence(folder, monkeypatch, step):
    go_on = getattr(loading, step)
    monkeypatch.setattr(loading, step, lambda *args, **more: (shutil.rmtree(folder), go_on(*args, **more))[1])
    with pytest.raises(ModelError, match=r"small is gone: the model's folder has been moved or deleted"):
        load_model(str(folder))


def test_a_model_in_use_is_what_was_read_whatever_becomes_of_its_files(folder):
    """`cp` and `save_file` write into the very file that was read: other weights under a name that is not theirs."""
    model, ids = load_model(str(folder)), torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        before = model.model(ids).logits
        file = folder / "model.safetensors"
        with file.open("r+b") as stream:
            stream.seek(file.stat().st_size // 4)
            stream.write(bytes(file.stat().st_size // 2))
        assert torch.equal(model.model(ids).logits, before)
        shutil.rmtree(folder)
        assert torch.equal(model.model(ids).logits, before)


@pytest.mark.parametrize(("dtype", "advice"), [("float32", "Fetch or convert them again"),
                                               ("float16", "Use bfloat16 or float32, which hold larger numbers")])
def test_weights_that_are_no_numbers_are_told_from_sums_that_overflow(folder, dtype, advice):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=rf"not numbers in {dtype}.*in model\.layers\.1\.mlp\.up_proj\.weight for "
                                         rf"instance\. {advice}"):
        load_model(str(folder), dtype=dtype)


def test_sums_that_overflow_are_not_blamed_on_the_weights(folder):
    tensors = load_file(folder / "model.safetensors")
    for name in ("gate_proj", "up_proj", "down_proj"):
        tensors[f"model.layers.1.mlp.{name}.weight"] *= 20_000
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"sums grow beyond what float16 holds\. Use bfloat16 or float32"):
        load_model(str(folder), dtype="float16")


# Names.


@pytest.mark.parametrize("name", ["m" * 3000, "a/" * 1500, "~nobody-at-all/model", "a\0b", "\ud800", "", " ", "..",
                                  "."])
def test_a_name_that_no_folder_and_no_hub_id_can_have_ends_in_a_sentence(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for read in (describe, identify, locate, obstacles):
        with pytest.raises(HeadroomError):
            read(name)


# Anything.


PLAIN = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), lambda inner: (
    st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)), max_leaves=10)
KEYS = st.sampled_from(["num_hidden_layers", "num_attention_heads", "hidden_size", "head_dim", "intermediate_size",
                        "vocab_size", "max_position_embeddings", "layer_types", "rope_scaling", "rope_parameters",
                        "model_type", "text_config", "quantization_config", "is_encoder_decoder", "expansion_ratio",
                        "tie_word_embeddings", "full_attention_interval", "use_bidirectional_attention"])
KINDS = st.sampled_from(["llama", "opt", "gpt2", "mpt", "qwen3_next", "gemma3", "deepseek_v3", "phi3", "t5"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=st.dictionaries(KEYS, PLAIN, max_size=8), kind=KINDS)
def test_any_config_ends_in_a_sentence_or_is_described(sound, tmp_path, config, kind):
    folder = tmp_path / "any"
    if not folder.exists():
        shutil.copytree(sound, folder)
    base = json.loads((sound / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**base, "model_type": kind, **config}))
    for read in (describe, obstacles):
        with suppress(ModelError):
            read(str(folder))


@settings(max_examples=100)
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | PLAIN.map(json.dumps).map(str.encode))
def test_any_bytes_are_an_object_or_a_sentence(content):
    with suppress(ModelError):
        assert isinstance(plain.object_in(content, "x"), dict)
