"""A checkpoint without heads and FFNs says what the model says with its gates closed, whatever its architecture."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from backend.__main__ import BAD_INPUT, DONE, main
from backend.errors import BadInput, ModelError
from backend.kinds import evaluate
from backend.models import pruned as module
from backend.models.loading import load_model
from backend.models.pruned import write_pruned, zeroed
from backend.tasks.task import Prompt, multiple_choice
from backend.values import Ablation, Head, parse_exact
from tests.models.small import ARCHITECTURES, small_model

QUESTIONS = [multiple_choice(f"Question: {text}?\nAnswer:", ["yes", "the red dog ran", "no cat"], i % 3)
             for i, text in enumerate(["the man sat", "one two three", "is it blue and green"])]
PROMPTS = [Prompt(question, ("Question: the cat sat on the?\nAnswer: mat",), i) for i, question in enumerate(QUESTIONS)]


def off_of(model) -> Ablation:
    """Two heads of the first layer that has some, one of each other, and the first and last FFN."""
    first = model.info.attending[0]
    return Ablation(frozenset([Head(first, 3), *(Head(layer, 1) for layer in model.info.attending)]),
                    frozenset([0, model.n_layers - 1]))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_written_has_the_log_likelihoods_of_the_model_with_closed_gates(architecture, tmp_path, monkeypatch):
    model = small_model(architecture)
    off = off_of(model)
    monkeypatch.setattr(module, "_compare", lambda *_: "Not compared.")  # here it is, in another way
    write_pruned(model, off, tmp_path / "out")
    again = load_model(str(tmp_path / "out"))
    intact, wanted = (np.concatenate(one.loglikelihoods) for one in evaluate(model, PROMPTS, [Ablation(), off]))
    (found,) = evaluate(again, PROMPTS)
    assert np.concatenate(found.loglikelihoods) == pytest.approx(wanted, abs=1e-5)
    assert np.abs(intact - wanted).max() > 0.01
    assert again.info.shape == model.info.shape


def test_only_the_columns_of_a_head_and_the_last_projection_of_an_ffn_are_others():
    model = small_model("llama, grouped queries")
    found = zeroed(model, parse_exact("L1H2,F0"))
    assert set(found) == {"model.layers.1.self_attn.o_proj.weight", "model.layers.0.mlp.down_proj.weight"}
    before, after = model.blocks[1].self_attn.o_proj.weight, found["model.layers.1.self_attn.o_proj.weight"]
    assert not after[:, 16:24].any()
    assert torch.equal(after[:, :16], before[:, :16])
    assert torch.equal(after[:, 24:], before[:, 24:])
    assert before[:, 16:24].any()  # the model itself is as it was


def test_the_folder_says_what_it_is_and_holds_what_the_hub_reads(tmp_path):
    written = write_pruned(small_model("opt"), parse_exact("L1H2,F0"), tmp_path / "out")
    assert written.folder == tmp_path / "out"
    assert "within 0 nats" in written.compared
    assert {path.name for path in written.folder.iterdir()} >= {
        "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    card = (written.folder / "README.md").read_text()
    assert "# opt without 1 attention heads and 1 FFNs" in card
    for said in ("revision `000000000000`", "Off: `L1H2,F0`", "1 of 12", "1 of 3", "Nothing was trained", "within 0"):
        assert said in card
    config = json.loads((written.folder / "config.json").read_text())
    assert config["model_type"] == "opt"
    assert not any("implementation" in name for name in config)
    weights = load_file(written.folder / "model.safetensors")
    assert not next(value for name, value in weights.items() if name.endswith("layers.0.fc2.bias")).any()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    model, off = small_model("opt"), parse_exact("L1H2")
    (tmp_path / "there").mkdir()
    for wrong, folder, said in (
            (Ablation(), "out", "Nothing is switched off"), (off.filled("mean"), "out", "Means cannot be written"),
            (parse_exact("L9H0"), "out", "No such component: L9H0"), (off, "there", "is there already"),
            (off, "no/such/out", "There is no folder")):
        with pytest.raises(BadInput, match=said):
            write_pruned(model, wrong, tmp_path / folder)
    monkeypatch.setattr(module, "card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_pruned(model, off, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_checkpoint_that_says_something_else_is_not_kept(tmp_path, monkeypatch):
    model = small_model("opt")
    monkeypatch.setattr(module, "zeroed", lambda model, off: zeroed(model, parse_exact("L1H2")))
    with pytest.raises(ModelError, match="nats per token away"):
        write_pruned(model, parse_exact("L1H3"), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_model_too_large_to_be_loaded_twice_is_written_and_not_compared(tmp_path, monkeypatch):
    def no_room(*_, **__):
        raise ModelError("There was no memory left for it.")

    monkeypatch.setattr(module, "load_model", no_room)
    assert "was not loaded again" in write_pruned(small_model("opt"), parse_exact("L1H2"), tmp_path / "out").compared


def test_the_command_writes_it_and_says_so(tmp_path, capsys):
    assert main(["write-pruned", "--off", "L2H5,L3FFN", "--to", str(tmp_path / "out")]) == DONE
    assert "bundled without L2H5,F3 is in" in capsys.readouterr().out
    again, before = load_model(str(tmp_path / "out")), load_model()
    assert again.reader.front == before.reader.front  # prompts begin alike
    pairs = [("a hot day ->", " cold"), ("", "x")]
    assert again.encode_pairs(pairs) == before.encode_pairs(pairs)
    assert main(["write-pruned", "--off", "L2H5", "--to", str(tmp_path / "out")]) == BAD_INPUT
    assert "is there already" in capsys.readouterr().err
