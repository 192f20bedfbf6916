"""The dataset card: its figures are the results', it claims what intervals carry, no name is read as Markdown."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from backend import stats, tables
from backend.kinds import KINDS, Evaluation, Means, Model, Pruning, Unit, Writes
from backend.models.info import weights
from backend.records import ModelInfo, Record
from backend.sharing import readme
from backend.store import bundles
from backend.store.live import Store
from backend.values import Ablation, Head, ModelId, Ranking, Setup, TaskId, parse_exact
from tests.pages import made_up
from tests.tables import records

INFO = made_up.model_info(3, 4, name="small")
MODEL = made_up.model_id(INFO)
TASKS = [TaskId("first", "aa"), TaskId("second", "bb")]

Carded = Callable[..., str]


@pytest.fixture
def carded(tmp_path: Path) -> Carded:
    """The card of some results: `carded((unit, record), ...)`; those without a record are made up."""
    def of(*results: tuple[Unit[Any], Record] | Unit[Any], info: ModelInfo = INFO, license: str = "") -> str:
        given = [one if isinstance(one, tuple) else (one, made_up.record(one, info)) for one in results]
        models = {unit.model for unit, _ in given}
        shapes = [(Model(model), replace(info, name=model.name, revision=model.revision)) for model in models]
        with Store(tmp_path / f"{len(list(tmp_path.iterdir()))}") as store:
            store.put_all([*shapes, *given])
            manifest = bundles.export(io.BytesIO(), store, store.units())
            return readme.card(manifest, store.units(), store, "someone/results", "headroom.zip", 1234, license)

    return of


def setup(task: TaskId, n_shots: int, n: int, draws: int = 1) -> Setup:
    return Setup(MODEL, task, n_shots, "fixed", n, 0, draws)


def answered(task: TaskId, n_shots: int, right: Sequence[int]) -> tuple[Unit[Any], Record]:
    return Evaluation(setup(task, n_shots, len(right))), records.answered(right)


def rows(card: str, after: str) -> list[list[str]]:
    """The cells of the first table behind a text."""
    lines = card.partition(after)[2].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return table[2:]


# --- figures --------------------------------------------------------------------------------------


def test_accuracy_is_the_results_own_by_shots_with_interval_and_chance(carded: Carded):
    few, many = [1, 0] * 20, [1, 1, 1, 0] * 10
    card = carded(*(answered(task, n_shots, right) for task in TASKS for n_shots, right in ((0, few), (5, many))))
    low, high = stats.mean_accuracy_interval([np.array(many, bool)] * 2)
    assert rows(card, "**Accuracy of the intact model**") == [
        ["0", "2", "80", "50.0 %", "39.5 % to 60.5 %", "50.0 %", "no"],
        ["5", "2", "80", "75.0 %", f"{100 * low:.1f} % to {100 * high:.1f} %", "50.0 %", "yes"]]


@pytest.mark.parametrize(("few", "many", "said"), [
    ([0] * 30 + [1] * 10, [1] * 40,
     "It rises from 0 to 5 shots, on the same questions of 2 tasks: +75.0 points (95 %: +"),
    ([1] * 40, [0] * 30 + [1] * 10,
     "It falls from 0 to 5 shots, on the same questions of 2 tasks: −75.0 points (95 %: −"),
    ([1, 0] * 20, [0, 1] * 19 + [1, 1], "Whether it changes from 0 to 5 shots, on the same questions of 2 tasks is not "
     "told: +2.5 points (95 %: −"),
])
def test_a_change_is_claimed_where_its_interval_tells_it(carded: Carded, few: list[int], many: list[int], said: str):
    assert said in carded(*(answered(task, n_shots, right) for task in TASKS
                            for n_shots, right in ((0, few), (5, many))))


def test_means_are_over_tasks_that_all_shots_have(carded: Carded):
    card = carded(answered(TASKS[0], 0, [1] * 10), answered(TASKS[0], 5, [1] * 10), answered(TASKS[1], 5, [0] * 10))
    assert [row[:4] for row in rows(card, "**Accuracy")] == [["0", "1", "10", "100.0 %"], ["5", "1", "10", "100.0 %"]]


def test_a_mask_s_accuracy_is_no_intact_one(carded: Carded):
    off = Evaluation(setup(TASKS[0], 0, 10), Ablation(frozenset({Head(1, 2)})))
    assert "Accuracy of the intact" not in carded((off, records.answered([1] * 10)))


def pruned(task: TaskId, outcomes: Sequence[Sequence[int]], info: ModelInfo = INFO) -> tuple[Pruning, Record]:
    unit = Pruning(setup(task, 5, len(outcomes[0])), "heads", Ranking.by(task))
    off = [Ablation(frozenset(info.heads[:stats.count(heads, len(info.heads))])) for heads, _ in unit.steps]
    whole = [*outcomes, *[outcomes[-1]] * (len(off) - len(outcomes))]
    return unit, records.sweep(whole, off, unit.steps)


def test_how_many_heads_can_go_is_what_pruning_says(carded: Carded):
    fine, broken = [1] * 38 + [0, 0], [1, 0] * 20
    found = [pruned(task, [fine, fine, fine, fine, fine, fine, broken]) for task in TASKS]
    card = carded(*found)
    table = tables.curve_table([record for _, record in found], tables.OWN, weights(INFO), INFO.n_params)
    limit = tables.limits_table(table, "heads", 0.9, {tables.OWN: [[record for _, record in found]]}).iloc[0]
    assert 0 < limit["can go"] < 0.5
    assert f"**{100 * limit['can go']:.1f} % of the heads can be removed**" in card
    assert "falls below 90 % of the intact one (2 tasks, 5 shots): accuracy there is 95.0 %" in card
    assert "more was not tried" not in card


def test_where_the_intact_model_guesses_nothing_is_said_to_go(carded: Carded):
    card = carded(*(pruned(task, [[1, 0] * 20]) for task in TASKS))
    assert "**How many heads can be removed** is not told: the intact model is not told from chance on 2 tasks" in card
    assert "can be removed** (95" not in card


def test_where_the_curve_never_breaks_more_was_not_tried(carded: Carded):
    assert "more was not tried" in carded(*(pruned(task, [[1] * 40]) for task in TASKS))


def test_other_rankings_than_a_task_s_own_say_nothing_of_it(carded: Carded):
    unit, record = pruned(TASKS[0], [[1] * 40])
    other = Pruning(unit.setup, "heads", Ranking.by(TASKS[0], reverse=True))
    less = [i for i, (heads, _) in enumerate(unit.steps) if (heads, 0.0) in other.steps]
    some = records.sweep([[1] * 40] * len(less), [parse_exact(record.ablations[i]) for i in less],
                         [unit.steps[i] for i in less])
    assert "can be removed" not in carded((other, some))


def test_overlap_is_the_tasks_own_beside_chance_and_leaves_dead_heads_out(carded: Carded):
    setups = [made_up.setup(MODEL, task, 5) for task in TASKS]
    units = list(map(made_up.importance, setups))
    found = [made_up.record(unit, INFO) for unit in units]
    card = carded(*units)
    row = tables.overlap_table([record.scores().ravel() for record in found], (0.2,)).iloc[0]  # type: ignore
    assert f"Of the top 20 % ({row['heads']:.0f} of 12 heads) of two tasks, {100 * row['mean']:.1f} % are" in card
    assert f"share {100 * row['chance']:.1f} %" in card
    card = carded(*units, *(Writes(one.with_(n_examples=32)) for one in setups))
    assert "of 11 live heads)" in card
    assert "most important heads" not in carded(units[0])


def test_of_several_models_each_has_its_own_figures(carded: Carded):
    other = ModelId("other", "r2", "ba9876543210")
    elsewhere = Evaluation(setup(TASKS[0], 0, 10).with_(model=other))
    card = carded(answered(TASKS[0], 0, [1] * 10), (elsewhere, records.answered([1, 0] * 5)))
    assert rows(card, "### `small`")[0][3] == "100.0 %"
    assert rows(card, "### `other`")[0][3] == "50.0 %"
    assert {row[0] for row in rows(card, "## Models")} == {"`small`", "`other`"}


def test_what_is_not_there_is_not_spoken_of(carded: Carded):
    card = carded(Means(setup(TASKS[0], 5, 20)))
    assert "## Findings" not in card
    assert "**means**" in card
    assert "**accuracy**" not in card


# --- what is in it --------------------------------------------------------------------------------


def test_it_names_models_kinds_tasks_definitions_versions_and_how_to_open_it(carded: Carded):
    card = carded(*(Evaluation(made_up.setup(MODEL, task, n)) for task in TASKS for n in (0, 1)),
                  made_up.importance(made_up.setup(MODEL, TASKS[0])))
    assert rows(card, "## Models") == [[
        "`small`", "`made-up`", "`0123456789ab`", "`float32`", "no", "`opt`", "3 x 4", "32", "8", "128",
        f"{INFO.n_params:,}"]]
    assert rows(card, "## What is in it") == [["accuracy", "4", "2", "0, 1"], ["head importance", "1", "1", "5"],
                                              ["model", "1", "–", "–"]]
    assert "Tasks: `first`, `second`." in card
    assert "headroom pull someone/results\n" in card
    for kind in ("evaluation", "head_importance"):
        shown = re.sub(r"\\(.)", r"\1", card)
        assert KINDS[kind].DEFINITION in shown
        assert KINDS[kind].SOURCE in shown
        assert all(topic.about in shown for topic in KINDS[kind].TOPICS.values())
    assert "`torch`" in card
    assert "`headroom.zip` (1.23 kB)" in card


def test_the_header_is_what_the_hub_reads(carded: Carded):
    header = yaml.safe_load(carded(answered(TASKS[0], 0, [1] * 4), license="cc-by-4.0").split("---\n")[1])
    assert header["license"] == "cc-by-4.0"
    assert header["library_name"] == "headroom"
    assert "in-context-learning" in header["tags"]
    assert header["viewer"] is False
    assert "license" not in yaml.safe_load(carded(answered(TASKS[0], 0, [1] * 4)).split("---\n")[1])


HOSTILE = ["**bold** [link](javascript:alert(1)) ![x](http://e/x.png)", "a | b || c", "`code` ``more``", "<img src=x>",
           "line\n---\nlicense: mit\n# Heading", "$$x^2$$ ~~gone~~ http://example.org", "\u202eright to left",
           "'\" quotes: - ] }", "x" * 400]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_from_outside_is_read_as_markdown(carded: Carded, name: str):
    model, task = ModelId(name, "r1", "0123456789ab"), TaskId(name, "d1")
    unit = Evaluation(Setup(model, task, 0, "fixed", 4))
    card = carded((unit, records.answered([1] * 4)), info=replace(INFO, architecture=name))
    plain = carded((Evaluation(setup(TaskId("plain", "d1"), 0, 4)), records.answered([1] * 4)))
    header, body = (card.split("---\n", 2)[i] for i in (1, 2))
    assert set(yaml.safe_load(header)) == {"library_name", "pretty_name", "viewer", "tags"}
    outside = re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "NAME", body)
    assert outside == re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "NAME", plain.split("---\n", 2)[2])
    for cells in rows(card, "## Models"):
        assert len(cells) == 11
