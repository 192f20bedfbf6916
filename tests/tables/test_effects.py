"""What removal does, layer by layer."""

import numpy as np
import pandas as pd
import pytest

from backend import stats, tables
from backend.values import parse_exact
from tests.tables.records import answered, sweep

ORACLE = sweep([[1, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1]])  # intact .75, without FFN 0 .25, without FFN 1 all right


def test_an_effect_is_accuracy_without_minus_intact_with_its_paired_test():
    table = tables.effects_table(ORACLE, parse_exact("F1"), "piqa").set_index("name")
    assert table["change"].to_dict() == {"L0 FFN": -0.5, "L1 FFN": 0.25}
    assert table.loc["L0 FFN", ["intact", "accuracy", "n", "chance"]].tolist() == [0.75, 0.25, 4, 0.5]
    assert table[["newly wrong", "newly right"]].to_numpy().tolist() == [[2, 0], [0, 1]]
    assert table["p"].tolist() == [0.5, 1.0]  # two of two, one of one heads of a fair coin, both sides
    assert table["p (Holm)"].tolist() == [1.0, 1.0]
    assert table.query("off").index.tolist() == ["L1 FFN"]
    assert (table["task"] == "piqa").all()
    assert table["low"]["L0 FFN"] <= -0.5 <= table["high"]["L0 FFN"] <= 0


def test_the_mean_effect_weighs_tasks_alike():
    other = sweep([[1, 1], [1, 0], [1, 1]])
    table = tables.mean_effects_table({"a": ORACLE, "b": other}, parse_exact("F0"))
    assert table["change"].tolist() == [-0.5, 0.125]
    assert table["n"].tolist() == [6, 6]
    assert table["tasks"].tolist() == [2, 2]
    assert table["off"].tolist() == [True, False]
    assert table["name"].tolist() == ["L0 FFN", "L1 FFN"]


def test_all_heads_of_a_layer_are_told_as_an_ffn_is():
    table = tables.attention_effects_table({"a": [answered([1, 1]), answered([0, 1]), answered([1, 1])]})
    assert table["change"].tolist() == [-0.5, 0.0]
    assert table["name"].tolist() == ["all heads of layer 0", "all heads of layer 1"]
    assert not table["off"].any()


def test_a_task_leans_on_the_layer_that_costs_it_most_and_on_none_where_nothing_falls():
    calm = sweep([[1, 0], [1, 0], [1, 1]])
    effects = pd.concat([tables.effects_table(one, task=name) for name, one in (("a", ORACLE), ("b", calm))])
    leans = tables.leaning_table(effects.reset_index(drop=True))
    assert leans.to_dict("records") == [{"task": "a", "layer": 0, "name": "L0 FFN", "change": -0.5}]


def test_ffns_and_heads_of_a_layer_stand_in_one_row():
    ffns = tables.effects_table(ORACLE)
    shares = tables.beside_table(ffns, tables.layer_shares(np.array([[1.0, 1.0], [2.0, 0.0]])))
    assert shares[["layer", "change", "share"]].to_numpy().tolist() == [[0, -0.5, 0.5], [1, 0.25, 0.5]]
    heads = tables.attention_effects_table({"a": [answered([1, 1]), answered([0, 1]), answered([1, 1])]})
    both = tables.beside_table(ffns, heads.drop(columns=["head"]))
    assert both[["change (FFN)", "change (heads)"]].to_numpy().tolist() == [[-0.5, -0.5], [0.25, 0.0]]


def test_holm_s_correction_is_over_all_layers():
    table = tables.effects_table(sweep([[1] * 8, [0] * 8, [1] * 8]))
    assert table["p"].tolist() == pytest.approx([2 / 2**8, 1])
    assert table["p (Holm)"].tolist() == pytest.approx(stats.holm([2 / 2**8, 1]).tolist())
    assert table["p (Holm)"][0] == pytest.approx(4 / 2**8)


def test_the_effects_of_several_tasks_stand_below_one_another():
    oracle = sweep([[1, 1], [0, 1], [1, 1]])
    table = tables.all_effects_table({"a": oracle, "b": oracle})
    assert table[["task", "layer", "change"]].to_numpy().tolist() == [
        ["a", 0, -0.5], ["a", 1, 0], ["b", 0, -0.5], ["b", 1, 0]]


def test_what_each_head_s_removal_costs_stands_beside_its_importance():
    oracle = sweep([[1, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1], [1, 1, 1, 0]],
                   list(map(parse_exact, ("", "L0H0", "L0H1", "L1H0"))))
    scores = np.array([[0.1, 0.3], [0.3, 0.0]])
    table = tables.need_table(scores, oracle)
    assert list(table.columns) == ["head", "importance", "change", "low", "high", "p", "p (Holm)", "importance rank",
                                   "n"]
    assert table["head"].tolist() == ["L1H0", "L0H1", "L0H0"]  # of equal importance the later one is first
    assert table["change"].tolist() == [0.0, 0.25, -0.5]
    assert table["importance rank"].tolist() == [1, 2, 3]
    assert table["p"].tolist() == [1.0, 1.0, 0.5]
    assert table["p (Holm)"].tolist() == [1.0, 1.0, 1.0]
    assert set(table["n"]) == {4}
    marks = oracle.marks()
    assert tuple(table.loc[2, ["low", "high"]]) == stats.difference_interval(marks[0], marks[1])
    alone = tables.need_table(scores, oracle, np.array([[True, False], [False, False]]))
    assert alone["head"].tolist() == ["L0H0"]
    assert alone["p (Holm)"].tolist() == [0.5]
