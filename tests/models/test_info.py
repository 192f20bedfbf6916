"""What is read of a model before it is loaded: its shape, its files, what is in its way."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoConfig

from backend.__main__ import BAD_INPUT, DONE, FAILED, main
from backend.errors import ModelError
from backend.models import info
from backend.models import obstacles as way
from backend.models.adapters import ADAPTERS, Adapter
from backend.models.defaults import defaults, filled, of_classes
from backend.models.identity import identify
from backend.models.info import content_digest, describe, info_from, tokenizer_digest
from backend.models.loading import load_model
from backend.models.obstacles import obstacles
from backend.models.refusals import BIDIRECTIONAL, RECURRENT
from tests.models.small import small_model, small_network, small_tokenizer

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path) -> Path:
    return saved(tmp_path / "llama-small", "llama, grouped queries")


def saved(folder: Path, architecture: str, **changes) -> Path:
    small_network(architecture, **changes).save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


def made_up(folder: Path, config: dict) -> Path:
    """A folder of a config, a tokenizer and no weights to speak of."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"model.embed_tokens.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    small_tokenizer().save_pretrained(folder)
    return folder


def change(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


# Shapes.


def test_the_defaults_are_those_of_the_classes_of_the_pinned_transformers():
    assert defaults() == of_classes()  # else: python -m backend.models.defaults


@pytest.mark.parametrize("model_type", sorted(ADAPTERS))
def test_an_empty_config_is_read_as_its_class_fills_it_in(model_type):
    whole = AutoConfig.for_model(model_type).to_dict()
    assert info_from(filled({"model_type": model_type}), "x", "", []) == info_from(whole, "x", "", [])


GEMMA3 = {  # the text parts of google/gemma-3-4b-pt, 12b-pt and 27b-pt, as their config.json has them
    "4b": ({"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}, (34, 8, 256)),
    "12b": ({"hidden_size": 3840, "intermediate_size": 15360, "model_type": "gemma3_text", "num_attention_heads": 16,
             "num_hidden_layers": 48, "num_key_value_heads": 8,
             "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}, (48, 16, 256)),
    "27b": ({"head_dim": 128, "hidden_size": 5376, "intermediate_size": 21504, "model_type": "gemma3_text",
             "num_attention_heads": 32, "num_hidden_layers": 62, "num_key_value_heads": 16,
             "query_pre_attn_scalar": 168, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
             "sliding_window": 1024}, (62, 32, 128)),
}


@pytest.mark.parametrize("size", GEMMA3)
def test_the_real_configs_of_gemma_3_are_read(size, tmp_path, capsys):
    text, (n_layers, n_heads, d_head) = GEMMA3[size]
    folder = made_up(tmp_path / size, {
        "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999, "eos_token_id": [1, 106],
        "image_token_index": 262144, "mm_tokens_per_image": 256, "model_type": "gemma3", "text_config": text,
        "torch_dtype": "bfloat16", "vision_config": {
            "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "model_type": "siglip_vision_model",
            "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False}})
    said = describe(str(folder))
    assert (said.architecture, said.n_layers, said.n_heads, said.d_head) == ("gemma3_text", n_layers, n_heads, d_head)
    assert (said.vocab_size, said.max_positions, said.d_model) == (262_208, 131_072, text["hidden_size"])
    assert main(["models", str(folder)]) == DONE
    assert f"{n_layers} layers x {n_heads} heads" in capsys.readouterr().out


@pytest.mark.parametrize(("config", "d_head"), [
    ({"model_type": "qwen3", "hidden_size": 1024, "num_attention_heads": 16}, 128),
    ({"model_type": "gemma2", "hidden_size": 2304, "num_attention_heads": 8}, 256),
    ({"model_type": "gemma", "hidden_size": 2048, "num_attention_heads": 8}, 256),
    ({"model_type": "llama", "hidden_size": 1024, "num_attention_heads": 16}, 64),
    ({"model_type": "mistral", "hidden_size": 1024, "num_attention_heads": 16, "head_dim": None}, 64),
    ({"model_type": "deepseek_v3", "hidden_size": 1024, "num_attention_heads": 16}, 128)])
def test_a_head_is_as_wide_as_the_class_says_where_the_config_does_not(config, d_head, tmp_path):
    assert describe(str(made_up(tmp_path / "some", config))).d_head == d_head
    assert AutoConfig.for_model(**config).to_dict().get("v_head_dim" if "v_head_dim" in defaults()[config["model_type"]]
                                                        else "head_dim") in (d_head, None)


def test_a_model_whose_layers_differ_in_size_is_refused(tmp_path):
    folder = made_up(tmp_path / "some", {"model_type": "llama", "num_attention_heads": [4, 8]})
    with pytest.raises(ModelError, match="gives num_attention_heads as a list: its layers differ in size"):
        describe(str(folder))


@pytest.mark.parametrize(("says", "headless"), [
    ({}, (0, 1, 2, 4, 5, 6)), ({"full_attention_interval": 2}, (0, 2, 4, 6)),
    ({"layer_types": ["full_attention", "linear_attention"] * 3 + ["full_attention"]}, (1, 3, 5))])
def test_layers_without_heads_are_those_of_the_class_where_the_config_does_not_list_them(says, headless, tmp_path):
    config = {"model_type": "qwen3_next", "num_hidden_layers": 7, **says}
    assert describe(str(made_up(tmp_path / "some", config))).headless == headless
    assert tuple(i for i, kind in enumerate(AutoConfig.for_model(**config).layer_types)
                 if kind == "linear_attention") == headless


def test_a_size_that_is_listed_layer_by_layer_and_always_the_same_is_read(tmp_path):
    text = {"model_type": "gemma3n_text", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": [96, 96]}
    folder = made_up(tmp_path / "some", {"model_type": "gemma3n", "text_config": text})
    assert describe(str(folder)).d_ffn == 96


@pytest.mark.parametrize("content", ["[]", "3", "{"])
def test_a_config_that_is_no_object_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    for read in (describe, obstacles, load_model):
        with pytest.raises(ModelError, match=r"config.json cannot be read"):
            read(str(folder))


def test_shapes_and_what_is_in_the_way_are_told_without_torch_or_transformers(folder):
    code = ("import sys; from backend.models.info import describe, content_digest; from pathlib import Path\n"
            "from backend.models.obstacles import obstacles\n"
            "print(describe(sys.argv[1]).n_heads, obstacles(sys.argv[1]), len(content_digest(Path(sys.argv[1]))),\n"
            "      sorted({'torch', 'transformers'} & sys.modules.keys()))")
    run = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=REPOSITORY, text=True, capture_output=True,
                         check=True)
    assert run.stdout.strip() == "4 [] 12 []"


# Files.


def test_weights_of_the_authors_own_form_beside_the_standard_ones_count_once(folder):
    before = describe(str(folder))
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert describe(str(folder)) == before
    assert load_model(str(folder)).info == before


def test_of_several_files_those_count_that_the_index_names(tmp_path):
    folder = tmp_path / "sharded"
    small_network("gpt2").save_pretrained(folder, max_shard_size="20KB")
    small_tokenizer().save_pretrained(folder)
    before = describe(str(folder))
    save_file({"other": torch.zeros(1000)}, folder / "consolidated.safetensors")
    assert describe(str(folder)) == before == load_model(str(folder)).info
    assert before.n_params == small_model("gpt2").info.n_params


def test_weights_of_the_authors_own_form_alone_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    for read in (describe, load_model):
        with pytest.raises(ModelError, match=r"holds consolidated.safetensors, and transformers reads model.safeten"):
            read(str(folder))


def test_an_index_that_is_none_is_refused(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelError, match=r"model.safetensors.index.json cannot be read"):
        describe(str(folder))


@pytest.mark.parametrize("buffer", [
    "transformer.h.0.attn.bias", "h.1.attn.masked_bias", "gpt_neox.layers.0.attention.bias",
    "gpt_neox.layers.0.attention.masked_bias", "model.layers.0.self_attn.rotary_emb.inv_freq",
    "transformer.h.0.attn.attention.bias", "model.layers.2.mlp.gate.e_score_correction_bias"])
def test_buffers_among_the_weights_are_no_parameters(folder, buffer):
    before = describe(str(folder))
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, buffer: torch.zeros(8, 8)}, folder / "model.safetensors", {"format": "pt"})
    after = describe(str(folder))
    assert (after.n_params, after.bytes) == (before.n_params, before.bytes)


@pytest.mark.parametrize("parameter", ["model.layers.0.self_attn.o_proj.bias", "h.0.attn.c_attn.bias",
                                       "gpt_neox.layers.0.attention.dense.bias"])
def test_biases_of_projections_are_parameters(folder, parameter):
    tensors = {name: t for name, t in load_file(folder / "model.safetensors").items() if name != parameter}
    save_file(tensors, folder / "model.safetensors")
    before = describe(str(folder)).n_params
    save_file({**tensors, parameter: torch.zeros(8)}, folder / "model.safetensors")
    assert describe(str(folder)).n_params == before + 8


@pytest.mark.parametrize("architecture", ["llama, grouped queries", "gpt2", "opt", "gemma2"])
def test_a_tied_unembedding_counts_once_saved_twice_or_not(architecture, tmp_path):
    folder = saved(tmp_path / "tied", architecture, tie_word_embeddings=True)
    once = describe(str(folder))
    tensors = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in tensors
    (embedding,) = [t for name, t in tensors.items() if t.shape[0] == len(small_tokenizer()) and t.dim() == 2]
    save_file({**tensors, "lm_head.weight": embedding.clone()}, folder / "model.safetensors", {"format": "pt"})
    assert describe(str(folder)).n_params == once.n_params == sum(
        p.numel() for p in small_network(architecture, tie_word_embeddings=True).parameters())
    assert load_model(str(folder)).info.n_params == once.n_params


# What is in the way.


BY_NAME = [
    ({"model_type": "t5"}, r"\(t5\) is an encoder-decoder model"),
    ({"model_type": "bart", "is_encoder_decoder": True}, r"\(bart\) is an encoder-decoder model"),
    ({"model_type": "mamba"}, r"\(mamba\) is recurrent"),
    ({"model_type": "rwkv"}, r"\(rwkv\) is recurrent"),
    ({"model_type": "llama", "layer_types": ["linear_attention"] * 3 + ["full_attention"]},
     r"\(llama\) is recurrent in layers 0, 1, 2 \(linear_attention\)"),
    ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, r"\(gemma3_text\) is bidirectional"),
    ({"model_type": "bert"}, r"\(bert\) is bidirectional"),
    *(({"model_type": "llama", "quantization_config": {"quant_method": method}}, rf"quantised \({method}\)")
      for method in ("gptq", "awq", "bitsandbytes", "compressed-tensors", "fp8", "mxfp4")),
    ({"model_type": "llama", "quantization_config": {"load_in_8bit": True}}, r"quantised \(bitsandbytes\)"),
]


@pytest.mark.parametrize(("config", "why"), BY_NAME)
def test_models_that_cannot_be_measured_are_refused_by_name_from_their_config(config, why, tmp_path, capsys):
    folder = made_up(tmp_path / "some", {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 4,
                                         "vocab_size": 99, **config})
    for read in (describe, load_model):
        with pytest.raises(ModelError, match=why):
            read(str(folder))
    assert main(["models", str(folder)]) != DONE
    assert re.search(f"^Cannot be used here: .*{why}", capsys.readouterr().out)
    assert main(["precompute", "--model", str(folder), "--tasks", "antonym", "--dry-run"]) != DONE
    assert re.search(why, capsys.readouterr().err)


def test_a_model_that_says_nothing_of_heads_is_refused_by_what_it_is_and_once(tmp_path, capsys):
    folder = made_up(tmp_path / "some", {"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 4})
    assert main(["models", str(folder)]) == FAILED
    told = capsys.readouterr()
    assert told.out.startswith("Cannot be used here: 'some' (mamba) is recurrent")
    assert (told.out + told.err).count("recurrent") == 1
    change(folder, model_type="strange")
    assert main(["models", str(folder)]) == FAILED
    told = capsys.readouterr()
    assert told.out.startswith("Cannot be used here: No adapter for architecture 'strange'")
    assert (told.out + told.err).count("says none of num_attention_heads") == 1


def test_what_a_model_cannot_be_loaded_for_is_said_before_any_plan(folder, tmp_path, capsys, monkeypatch):
    asked = ["precompute", "--model", str(folder), "--tasks", "antonym", "--store", str(tmp_path / "store")]
    change(folder, model_type="strange")
    assert main(asked) == BAD_INPUT
    told = capsys.readouterr()
    assert (told.out, told.err[:40]) == ("", "No adapter for architecture 'strange'. K")
    change(folder, model_type="llama")
    monkeypatch.setattr(way, "_is_here", lambda package: False)
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    assert main(asked) == BAD_INPUT
    told = capsys.readouterr()
    assert (told.out, "takes sentencepiece and protobuf to read" in told.err) == ("", True)
    with pytest.raises(ModelError, match="takes sentencepiece and protobuf to read"):
        identify(str(folder))


def test_the_names_that_are_refused_are_those_of_transformers_and_none_has_a_row():
    assert set(CONFIG_MAPPING) >= RECURRENT | BIDIRECTIONAL
    assert not (RECURRENT | BIDIRECTIONAL) & set(ADAPTERS)


def test_bidirectional_attention_over_images_alone_is_no_reason_to_refuse(folder):
    change(folder, use_bidirectional_attention="vision")
    assert obstacles(str(folder)) == []


def test_everything_that_is_in_the_way_is_told_at_once_the_gravest_first(folder, capsys):
    change(folder, model_type="strange")
    for file in folder.glob("*token*"):
        file.unlink()
    said = obstacles(str(folder), free=10)
    assert [sentence.split("'")[0] for sentence in said] == ["No adapter for architecture ", "No tokenizer in ", ""]
    assert said[2].startswith("'llama-small' needs 0.0 GB for its weights in bfloat16, and 0.0 GB are free.")
    assert main(["models", str(folder)]) == FAILED
    out = capsys.readouterr().out
    assert out.index("Cannot be used here: No adapter") < out.index("Cannot be used here: No tokenizer") < out.index(
        "3 layers x 4 heads")


def test_an_adapter_can_be_given_instead_of_a_row(folder, monkeypatch):
    row = ADAPTERS["llama"]
    monkeypatch.delitem(ADAPTERS, "llama")
    with pytest.raises(ModelError, match=r"No adapter for architecture 'llama'.*load_model\(..., adapter=Adapter"):
        load_model(str(folder))
    model = load_model(str(folder), adapter=Adapter("model.layers", "self_attn.o_proj", "mlp", "self_attn"))
    assert model.adapter == row
    assert model.proof


@pytest.mark.parametrize(("file", "packages"), [
    ("tokenizer.model", "sentencepiece and protobuf"), ("spiece.model", "sentencepiece and protobuf"),
    ("qwen.tiktoken", "tiktoken")])
def test_a_tokenizer_that_takes_a_package_which_is_not_here_says_which(folder, monkeypatch, file, packages):
    monkeypatch.setattr(way, "_is_here", lambda package: False)
    assert obstacles(str(folder)) == []
    for token_file in folder.glob("*token*"):
        token_file.unlink()
    (folder / file).write_bytes(b"...")
    said = rf"is kept in {file} alone, which takes {packages} to read, .*`pip install {packages.replace(' and ', ' ')}`"
    with pytest.raises(ModelError, match=said):
        load_model(str(folder))
    monkeypatch.setattr(way, "_is_here", lambda package: True)
    assert obstacles(str(folder)) == []


def test_a_tokenizer_that_breaks_says_how(folder):
    (folder / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ModelError, match=r"No tokenizer that can be read in .*: .+\. Put its files"):
        load_model(str(folder))


def test_a_folder_named_for_the_tokenizer_is_looked_at_instead(folder, tmp_path):
    assert "No folder" in obstacles(str(folder), tokenizer=str(tmp_path / "none"))[0]
    (tmp_path / "empty").mkdir()
    assert "No tokenizer in" in obstacles(str(folder), tokenizer=str(tmp_path / "empty"))[0]
    assert obstacles(str(folder), tokenizer="someone/words") == []


# Digests.


@pytest.mark.parametrize("file", [
    "config.json", "model.safetensors", "tokenizer.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "qwen.tiktoken"])
def test_the_digest_of_a_folder_changes_with_everything_that_decides_its_numbers(folder, file):
    digests = {content_digest(folder)}
    path = folder / file
    for content in ([path.read_bytes()] if path.is_file() else []) + [b"{}"]:
        path.write_bytes(content + b" ")
        digests.add(content_digest(folder))
    assert len(digests) == (3 if file in ("config.json", "model.safetensors", "tokenizer.json") else 2)


def test_the_digest_of_a_folder_is_that_of_its_content_wherever_it_lies(folder):
    before = content_digest(folder)
    moved = folder.rename(folder.with_name("elsewhere"))
    os.utime(moved / "config.json", (1, 1))
    assert content_digest(moved) == before
    for other in ("README.md", "chat_template.jinja", "consolidated.safetensors", "generation_config.json"):
        (moved / other).write_text("{}")
    assert content_digest(moved) == before


def test_a_tokenizer_s_config_counts_but_for_its_chat_template(folder):
    before, path = content_digest(folder), folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "chat_template": "{{ messages }}"}))
    assert content_digest(folder) == before
    path.write_text(json.dumps({**config, "add_bos_token": True}))
    assert content_digest(folder) != before
    path.write_text("[no json")
    assert content_digest(folder) != before


def test_a_snapshot_of_the_hub_is_its_commit_whether_or_not_its_weights_are_here(folder, tmp_path):
    snapshot = tmp_path / "models--someone--small" / "snapshots" / ("0123456789" * 4)
    shutil.copytree(folder, snapshot)
    before = content_digest(snapshot)
    (snapshot / "model.safetensors").unlink()
    assert content_digest(snapshot) == before
    assert content_digest(snapshot.rename(snapshot.with_name("f" * 40))) != before


def test_a_tokenizer_kept_apart_has_a_digest_of_its_own(folder, tmp_path):
    words = tmp_path / "words"
    small_tokenizer().save_pretrained(words)
    assert tokenizer_digest(words) == tokenizer_digest(str(folder)) != content_digest(folder)
    (words / "tokenizer.json").write_text("{}")
    assert tokenizer_digest(words) != tokenizer_digest(folder)
    with pytest.raises(ModelError, match=r"No tokenizer in 'no such thing!'"):
        tokenizer_digest("no such thing!")


def test_a_folder_is_read_once_for_each_state_of_its_files(folder):
    digest_of = info._digest_of
    digest_of.cache_clear()
    content_digest(folder)
    n_read = digest_of.cache_info().misses
    assert n_read == 2  # what is loaded, and the tokenizer
    content_digest(folder), describe(str(folder)), tokenizer_digest(folder)
    assert digest_of.cache_info().misses == n_read
    change(folder, other=1)
    content_digest(folder)
    assert digest_of.cache_info().misses == n_read + 1


# Adapters as values.


def test_a_row_is_told_apart_from_another_by_what_decides_a_head_and_an_ffn():
    llama, granite = ADAPTERS["llama"], ADAPTERS["granite"]
    assert llama.identity == "blocks=model.layers attn_out=self_attn.o_proj ffn=mlp attention=self_attn"
    assert granite.identity == llama.identity + " logits_over=logits_scaling"
    assert ADAPTERS["mistral"].identity == llama.identity
    assert len({row.identity for row in (llama, granite, ADAPTERS["gemma2"], ADAPTERS["olmo2"], ADAPTERS["opt"])}) == 5
