"""What results say of themselves: as a table, as a chart, as the last line of a cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from backend import stats
from backend.kinds import Evaluation, HeadImportance
from backend.notebook.results import Accuracies, Importance
from backend.records import ModelInfo
from backend.values import Ablation, Head, ModelId, Setup, TaskId
from tests.tables.records import answered, importance

SETUP = Setup(ModelId("tiny<b>", "abc", "0123"), TaskId("piqa", "d1"), 5, "fixed", 10, 3, 10)
BEFORE, AFTER = answered([1, 1, 1, 1, 1, 1, 1, 0, 1, 0], 4), answered([0, 0, 0, 1, 0, 0, 0, 1, 0, 0], 4)
OTHER = Setup(SETUP.model, TaskId("copa", "d2"), 5, "fixed", 10, 3, 10)
ACCURACIES = Accuracies(
    ("intact", "mine", "intact", "mine"),
    (Evaluation(SETUP), Evaluation(SETUP, Ablation("L0H1, F2")), Evaluation(OTHER),
     Evaluation(OTHER, Ablation("L0H1, F2"))),
    (BEFORE, AFTER, answered([1, 0]), answered([1, 0])))
# (n_layers, n_heads) = (3, 2); layer 1 has no heads
SCORES = importance([[1, 5], [0, 0], [2, 6]], [[3, 5], [0, 0], [2, 8]])
INFO = ModelInfo("tiny<b>", "abc", "opt", 3, 2, 8, 4, 16, 1, 9, 9, "F32", 4, headless=(1,))
IMPORTANCE = Importance(HeadImportance(SETUP), SCORES, INFO)


def test_a_row_is_an_accuracy_with_its_interval_and_its_change_against_the_intact_model():
    table = ACCURACIES.frame()
    assert list(table.columns) == ["task", "shots", "model", "off", "accuracy", "low", "high", "n", "chance", "change",
                                   "change from", "change to", "p"]
    assert table["task"].tolist() == ["piqa", "piqa", "copa", "copa"]
    assert table["model"].tolist() == ["intact", "mine"] * 2
    assert table["off"].tolist() == ["", "L0H1,F2"] * 2
    assert table["accuracy"].tolist() == [0.8, 0.2, 0.5, 0.5]
    assert table["n"].tolist() == [10, 10, 2, 2]
    assert table["chance"].tolist() == [0.25, 0.25, 0.5, 0.5]
    low, high = stats.accuracy_interval(AFTER.marks())
    assert table.loc[1, ["low", "high"]].tolist() == [low, high]
    assert table.loc[1, "change"] == pytest.approx(-0.6)
    assert table.loc[1, ["change from", "change to"]].tolist() == list(
        stats.difference_interval(BEFORE.marks(), AFTER.marks()))
    assert table.loc[1, "p"] == stats.paired_test(BEFORE.marks(), AFTER.marks()).p
    assert table.loc[3, ["change", "p"]].tolist() == [0, 1]  # each task against its own intact model
    assert table.loc[[0, 2], ["change", "change from", "change to", "p"]].isna().all(axis=None)


def test_frames_of_several_results_have_the_same_columns_of_the_same_types():
    alone = Accuracies(("intact",), (Evaluation(SETUP),), (BEFORE,)).frame()
    both = ACCURACIES.frame()
    assert dict(alone.dtypes) == dict(both.dtypes)
    assert len(pd.concat([alone, both])) == 5


def test_heads_stand_in_order_of_importance_and_layers_without_heads_not_at_all():
    table = IMPORTANCE.frame()
    assert table["name"].tolist() == ["L2H1", "L0H1", "L0H0", "L2H0"] or table["name"].tolist() == [
        "L2H1", "L0H1", "L2H0", "L0H0"]  # the last two are equal
    assert table["importance"].tolist() == [7, 5, 2, 2]
    assert table["rank"].tolist() == [1, 2, 3, 4]
    low, high = stats.bootstrap_scores(SCORES)
    assert table.loc[0, ["low", "high"]].tolist() == [low[2, 1], high[2, 1]]
    assert (table["low"] <= table["importance"]).all()
    assert IMPORTANCE.top(2) == (Head(2, 1), Head(0, 1))
    assert [str(head) for head in IMPORTANCE.top(99)] == table["name"].tolist()
    assert Ablation(table["name"].head(2)) == Ablation(IMPORTANCE.top(2))


def rows_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The numbers inside a chart."""
    (rows,) = spec["datasets"].values()
    return rows


@pytest.mark.parametrize("result", [ACCURACIES, IMPORTANCE])
def test_a_result_says_what_it_is_of_wherever_it_is_shown(result):
    title, model, *more = result.heading
    assert "piqa" in title
    assert model == str(SETUP.model)
    assert more[0].startswith("5 shots, 10 draws of demonstrations, seed 3; 10 questions asked for"
                              if result is ACCURACIES else "5 shots, 10 draws of demonstrations, seed 3; 2 training")
    assert repr(result).splitlines()[:len(result.heading)] == list(result.heading)
    spec = result.chart().to_dict()
    assert spec["title"]["text"] == title
    assert " ".join(spec["title"]["subtitle"]).startswith(" ".join([model, *more]))


def test_what_a_cell_shows_is_escaped_and_written_out():
    html = ACCURACIES._repr_html_()
    assert "tiny&lt;b&gt; @ abc" in html
    assert "<b>Accuracy: piqa, copa</b>" in html
    assert html.count("<tr") == 5
    assert ">-0.600<" in html
    assert ">0.200<" in html
    assert "nan" not in html.lower()
    assert "tiny<b>" not in html
    shown = repr(IMPORTANCE)
    assert "7.00e+00" in shown
    assert "per-token: sum over examples and positions" in shown


def test_a_heading_counts_the_tasks_that_it_does_not_name():
    names = [f"t{i}" for i in range(6)]
    units = tuple(Evaluation(Setup(SETUP.model, TaskId(name, "d"), 0)) for name in names)
    result = Accuracies(("intact",) * 6, units, (BEFORE,) * 6)
    assert result.heading[0] == "Accuracy: t0, t1, t2, t3 and 2 more"
    assert result.heading[2].startswith("0 shots, seed 0;")


def test_bars_show_accuracies_intervals_and_chance_per_task_and_model():
    spec = ACCURACIES.chart().to_dict()
    bars, chance, intervals = spec["layer"]
    rows = rows_of(spec)
    assert [row["accuracy"] for row in rows] == [0.8, 0.2, 0.5, 0.5]
    assert rows[0]["p"] is None
    assert (bars["mark"]["type"], chance["mark"]["type"], intervals["mark"]["type"]) == ("bar", "tick", "rule")
    assert bars["encoding"]["x"]["field"] == "accuracy"
    assert chance["encoding"]["x"]["field"] == "chance"
    assert (intervals["encoding"]["x"]["field"], intervals["encoding"]["x2"]["field"]) == ("low", "high")
    for layer in (bars, chance, intervals):
        assert layer["encoding"]["x"]["scale"]["domain"] == [0, 1]
        assert layer["encoding"]["y"]["sort"] == ["piqa", "copa"]
        assert layer["encoding"]["yOffset"]["sort"] == ["intact", "mine"]
    assert bars["encoding"]["color"]["scale"]["domain"] == ["intact", "mine"]
    assert len(set(bars["encoding"]["color"]["scale"]["range"])) == 2


def test_a_map_has_layer_0_at_the_bottom_and_colours_from_0():
    spec = IMPORTANCE.chart().to_dict()
    encoding = spec["encoding"]
    assert (encoding["x"]["field"], encoding["y"]["field"], encoding["color"]["field"]) == (
        "head", "layer", "importance")
    assert encoding["y"]["scale"]["domain"] == [2, 1, 0]  # from the top, the layer without heads too
    assert encoding["x"]["scale"]["domain"] == [0, 1]
    assert encoding["color"]["scale"]["domain"] == [0, 7]
    assert {(row["layer"], row["head"]): row["importance"] for row in rows_of(spec)} == {
        (0, 0): 2, (0, 1): 5, (2, 0): 2, (2, 1): 7}


def test_a_map_of_the_largest_model_is_drawn():
    n_layers, n_heads = 126, 128
    record = importance(np.arange(n_layers * n_heads, dtype=float).reshape(n_layers, n_heads).tolist())
    info = ModelInfo("big", "abc", "opt", n_layers, n_heads, 8, 4, 16, 1, 9, 9, "F32", 4)
    spec = Importance(HeadImportance(SETUP), record, info).chart().to_dict()
    assert len(rows_of(spec)) == n_layers * n_heads
    assert max(spec["width"], spec["height"]) <= 640


