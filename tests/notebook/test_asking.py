"""What a notebook asks is what the command line asks, kept in the same place; what cannot be is said in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import backend as headroom
from backend import stats
from backend.__main__ import DONE, main
from backend.errors import BadInput, DataError
from backend.kinds import Answers, Evaluation, HeadImportance, Model
from backend.kinds import evaluate as score
from backend.models.loading import LoadedModel, load_model
from backend.notebook import asking
from backend.store.live import Store
from backend.tasks import own
from backend.tasks.registry import get_task
from backend.values import INTACT, Ablation, Head
from tests.models.small import small_network, small_tokenizer

OFF = "L0H1, L2H0-1, L1 FFN"
ROWS = [{"query": str(i), "options": ["yes", "no"], "gold": i % 2} for i in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    small_network("opt", max_position_embeddings=1024).save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder) -> LoadedModel:
    return load_model(str(folder))


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """An empty store, without what is shipped, where everything looks for its results."""
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path / "live"))
    monkeypatch.setenv(own.FOLDER_SETTING, str(tmp_path / "tasks"))
    monkeypatch.setattr("backend.places.SHIPPED", None)
    return headroom.open_store()


def refuse(*_: object) -> None:
    raise AssertionError("it was measured again")


def test_the_command_line_and_a_notebook_keep_the_very_same_results(folder, model, store, tmp_path):
    command = ["precompute", "--model", str(folder), "--store", str(tmp_path / "cli"), "--no-shipped", "--tasks",
               "antonym,capital", "--shots", "2", "--n-examples", "6"]
    assert main([*command, "--what", "accuracy,importance", "--off", OFF, "--n-train", "5"]) == DONE
    assert main([*command, "--what", "masks", "--off", "mean:L1H2"]) == DONE
    headroom.evaluate(model, "antonym,capital", 2, {"a": OFF, "b": "mean:L1H2"}, 6)
    for task in ("antonym", "capital"):
        headroom.head_importance(model, task, 2, 5)
    with Store(tmp_path / "cli") as other:
        assert store.units() == other.units()
        assert {unit.KIND for unit in store.units()} == {"model", "evaluation", "means", "head_importance"}
        assert all(store.get(unit) == other.get(unit) for unit in store.units())


def test_what_the_command_line_measured_is_not_measured_again(folder, model, store, monkeypatch, capsys):
    assert main(["precompute", "--model", str(folder), "--no-shipped", "--tasks", "antonym", "--shots", "2", "--what",
                 "accuracy,importance", "--off", OFF, "--n-examples", "6", "--n-train", "5"]) == DONE
    monkeypatch.setattr(Evaluation, "measure", refuse)
    monkeypatch.setattr(HeadImportance, "measure", refuse)
    capsys.readouterr()
    assert len(headroom.evaluate(model, "antonym", 2, OFF, 6).records) == 2
    assert headroom.head_importance(model, "antonym", 2, 5).record.n_examples == 5
    assert capsys.readouterr().err == ""  # no bar either
    with pytest.raises(AssertionError, match="measured again"):
        headroom.evaluate(model, "antonym", 2, OFF, 5)


def test_an_evaluation_is_of_the_intact_model_and_of_each_mask_by_its_name(model, store):
    result = headroom.evaluate(model, ["antonym", get_task("capital")], 1, {"two": [(0, 1), "L1H2"], "whole": "L2"}, 5)
    assert result.names == ("intact", "two", "whole") * 2
    assert [unit.ablation for unit in result.units[:3]] == [INTACT, Ablation("L0H1, L1H2"), Ablation("L2H0-3")]
    assert [unit.task.name for unit in result.units] == ["antonym"] * 3 + ["capital"] * 3
    asked = headroom.prompts("capital", 1, 5)
    assert list(result.records[3:]) == [store.get(unit) for unit in result.units[3:]]
    scored = score(model, asked, [unit.ablation for unit in result.units[3:]])
    for record, alone in zip(result.records[3:], scored, strict=True):
        assert isinstance(record, Answers)
        np.testing.assert_allclose(np.hstack(record.loglikelihoods), np.hstack(alone.loglikelihoods), atol=1e-4)
    assert Model(model.id) in store


def test_one_mask_is_called_ablated_and_no_mask_leaves_the_intact_model_alone(model, store):
    assert headroom.evaluate(model, "antonym", 0, OFF, 3).names == ("intact", "ablated")
    assert headroom.evaluate(model, "antonym", 0, Ablation(OFF), 3).units[1].ablation == Ablation(OFF)
    assert headroom.evaluate(model, "antonym", 0, (Head(0, 1), Head(0, 2)), 3).units[1].ablation == Ablation("L0H1-2")
    for nothing in (None, "", {}, Ablation()):
        assert headroom.evaluate(model, "antonym", 0, nothing, 3).names == ("intact",)


@pytest.mark.parametrize(("off", "sentence"), [
    ("L3H0", "'L3H0' is not in this model: layers go from 0 to 2"), ("x", "'x' is not a component"),
    ([(3, 0)], "No such component: L3H0. This model has layers 0 to 2"), ({"intact": "L0H0"}, "Give the mask another"),
    ({"a": 5}, "These are no heads: 5"),
])
def test_a_mask_that_cannot_be_is_refused_before_anything_runs(model, store, off, sentence):
    with pytest.raises(BadInput, match=sentence):
        headroom.evaluate(model, "antonym", 1, off)
    assert store.units() == []


def test_what_cannot_be_asked_is_said(model, store):
    with pytest.raises(BadInput, match=r"'bundled' is no loaded model. Load it: load_model"):
        headroom.evaluate("bundled", "antonym")
    with pytest.raises(BadInput, match=r"Unknown reduction 'mean'. Known: per-token, one-divisor, per-example"):
        headroom.head_importance(model, "antonym", reduction="mean")
    with pytest.raises(BadInput, match="One task at a time here, not 2"):
        headroom.head_importance(model, "antonym,capital")
    with pytest.raises(BadInput, match="No task named"):
        headroom.evaluate(model, [])
    with pytest.raises(BadInput, match=r"Unknown task 'antonyms'\. Did you mean 'antonym'\?"):
        headroom.evaluate(model, "antonyms")
    assert store.units() == []


def test_importance_is_the_stored_record_in_the_reduction_asked_for(model, store):
    result = headroom.head_importance(model, "antonym", 2, 6, reduction="per-example")
    assert result.record == store.get(HeadImportance(result.unit.setup))
    np.testing.assert_array_equal(result.scores, result.record.scores("per-example"))
    assert result.top(4) == stats.highest(result.scores, 1)[:4]
    assert headroom.evaluate(model, "antonym", 2, result.top(2), 3).units[1].ablation == Ablation(result.top(2))


def test_a_store_can_be_named_by_its_folder_and_each_is_opened_once(model, store, tmp_path):
    apart = tmp_path / "apart"
    headroom.evaluate(model, "antonym", 0, n=3, store=apart)
    assert [unit.KIND for unit in headroom.open_store(apart).units()] == ["evaluation", "model"]
    assert headroom.open_store(str(apart)) is headroom.open_store(apart) is not store
    assert headroom.open_store() is store
    assert store.units() == []


def test_the_bundled_model_s_results_are_there_without_torch_rows_or_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path))
    monkeypatch.setattr(Evaluation, "measure", refuse)
    found = headroom.fetch("accuracy", "bundled", "antonym,capital", shots=5)
    assert found.names == ("intact", "intact")
    assert found.records == tuple(map(headroom.open_store().get, found.units))
    assert headroom.fetch("accuracy", "bundled", "antonym", shots=5, off="L0H0") is None
    assert headroom.fetch("accuracy", "bundled", "antonym", shots=4) is None
    assert headroom.fetch("accuracy", "nobody", "antonym") is None
    assert headroom.fetch("importance", task="antonym").scores.shape == (6, 8)
    assert headroom.fetch("importance", task="antonym", n=7) is None
    assert headroom.fetch(found.units[0]) == found.records[0]


# Tasks of one's own.


def test_what_is_fetched_is_what_was_measured_though_the_rows_are_gone(model, store, tmp_path):
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    measured = headroom.evaluate(model, f"own:{tmp_path / 'mine.jsonl'}", 1, OFF)
    scores = headroom.head_importance(model, "own:mine", 1, reduction="one-divisor")
    own.remove("mine")
    found = headroom.fetch("accuracy", "tiny", "own:mine", 1, OFF)
    assert (found.names, found.units, found.records) == (measured.names, measured.units, measured.records)
    again = headroom.fetch("importance", model, scores.unit.task, 1, reduction="one-divisor")
    np.testing.assert_array_equal(again.scores, scores.scores)


def test_two_tasks_of_one_name_are_told_apart_by_their_identity(model, store):
    first, other = (headroom.task(rows, name="mine") for rows in (ROWS, ROWS[:6]))
    headroom.evaluate(model, first, 1)
    own.remove("mine")
    headroom.evaluate(model, other, 1)
    with pytest.raises(BadInput, match=r"Several models or tasks of these names are stored: tiny @ .* on own:mine"):
        headroom.fetch("accuracy", "tiny", "own:mine", 1)
    for task in (first, other):
        (unit,) = headroom.fetch("accuracy", "tiny", task, 1).units
        assert unit.task.digest == task.fingerprint


def test_rows_files_and_folders_are_one_task(tmp_path):
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    given = headroom.task(ROWS, name="mine")
    for same in (headroom.task(tmp_path / "mine.jsonl"), headroom.task(f"own:{tmp_path / 'mine.jsonl'}"),
                 headroom.task(iter(ROWS), "mine")):
        assert (same.name, same.fingerprint) == ("own:mine", given.fingerprint)
    asked = headroom.task(tmp_path / "mine.jsonl", "other", "Q: {query}\nA: {answer}")
    assert asked.name == "own:other"
    assert headroom.prompts(asked, 0, 1)[0].example.contexts[0].startswith("Q: ")
    assert headroom.task("antonym") is get_task("antonym")


def test_rows_that_are_none_and_names_that_nobody_can_give_are_refused():
    with pytest.raises(BadInput, match="These rows cannot be a task: Object of type set"):
        headroom.task([{"query": {1, 2}}])
    with pytest.raises(DataError, match="row 1"):
        headroom.task([{"query": "a"}])
    with pytest.raises(BadInput, match="Only a task of your own takes a name and a template, not 'lm_eval:x'"):
        headroom.task("lm_eval:x", name="mine")


def test_a_task_is_kept_with_its_first_result_and_no_other_takes_its_name(model, store):
    task = headroom.task(ROWS, name="mine")
    with pytest.raises(BadInput, match="9 shots asked"):
        headroom.evaluate(model, task, 9)
    assert own.kept() == []
    headroom.evaluate(model, task, 1)
    assert own.kept() == ["mine"]
    assert get_task("own:mine").fingerprint == task.fingerprint
    with pytest.raises(BadInput, match="Another task is kept as 'mine'"):
        headroom.evaluate(model, headroom.task(ROWS[:6], name="mine"), 1)


def test_prompts_are_those_that_are_asked(model, store):
    asked = headroom.prompts("antonym", 2, 6)
    record = headroom.evaluate(model, "antonym", 2, n=6).records[0]
    assert [prompt.doc for prompt in asked] == list(record.questions.docs)
    assert {len(prompt.demos) for prompt in asked} == {2}
    assert len(headroom.prompts("antonym", 0, None, split="train")) == len(get_task("antonym").rows("train"))


def test_masks_share_passes_where_that_is_cheaper_and_come_out_the_same(model, store, tmp_path, monkeypatch):
    alone = headroom.evaluate(model, "antonym", 1, {"a": OFF, "b": "L0H0"}, 5)
    seen = []
    together = asking.compute_together
    monkeypatch.setattr(Evaluation, "gains", lambda unit, model: True)
    monkeypatch.setattr(asking, "compute_together",
                        lambda units, *more: seen.append(len(units)) or together(units, *more))
    other = headroom.evaluate(model, "antonym", 1, {"a": OFF, "b": "L0H0"}, 5, store=tmp_path / "other")
    assert seen == [3]
    assert other.records == alone.records
