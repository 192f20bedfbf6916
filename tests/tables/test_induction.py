"""Induction scores beside importance, and what pruning leaves of them."""

import numpy as np
import pytest

from backend import stats, tables
from backend.values import parse_exact
from tests.tables.records import induction

PREFIX, COPYING = induction([[0.1, 0.4], [0.3, 0.2]]), induction([[0.5, 0.0], [0.0, 0.5]])
IMPORTANCE = np.array([[3.0, 1.0], [2.0, 4.0]])


def test_every_head_has_its_importance_its_rank_and_both_scores():
    table = tables.scores_table(IMPORTANCE, PREFIX, COPYING, parse_exact("L1H1")).set_index("name")
    assert table.loc["L1H0", ["importance", "importance rank", "prefix matching", "copying"]].tolist() == [2, 3, 0.3, 0]
    assert table.query("off").index.tolist() == ["L1H1"]


def test_leaders_stand_highest_first():
    table = tables.leaders_table(tables.scores_table(IMPORTANCE, PREFIX, COPYING, parse_exact("L0H1")), n=2)
    assert table["head"].tolist() == ["L0H1", "L1H0"]
    assert table["importance rank"].tolist() == [4, 3]
    assert table["chosen"].tolist() == [True, False]
    by_copying = tables.leaders_table(tables.scores_table(IMPORTANCE, PREFIX, COPYING), by="copying", n=2)
    assert by_copying["head"].tolist() == ["L0H0", "L1H1"]


def test_capacity_is_what_the_heads_that_are_left_hold_of_the_total():
    table = tables.capacity_table(PREFIX, {"a": IMPORTANCE, "b": -IMPORTANCE}, (0.0, 0.5))
    assert table["ranking"].tolist() == ["a", "a", "b", "b"]
    assert table["removed"].tolist() == [0.0, 0.5, 0.0, 0.5]
    # a: the lowest two, L0H1 and L1H0, go with 0.7 of 1.0; b: the other two
    assert np.allclose(table["retained"], [1.0, 0.3, 1.0, 0.7])


def test_a_score_stands_beside_its_interval_and_variance():
    record = induction([[0.2, 0.8], [0.4, 0.0]], variance=0.04, n_seeds=25)
    table = tables.induction_table(record, "copying", chosen=parse_exact("L1H0"))
    assert list(table.columns) == ["layer", "head", "name", "copying", "rank", "off", "95 % from", "to",
                                   "variance of copying"]
    assert table["copying"].tolist() == [0.2, 0.8, 0.4, 0.0]
    assert table["rank"].tolist() == [3, 1, 2, 4]
    low, high = stats.mean_interval(0.8, 0.04, 25)
    assert table.loc[1, ["95 % from", "to", "variance of copying"]].tolist() == [low, high, 0.04]
    assert table.query("off")["name"].tolist() == ["L1H0"]
    with_a_layer_less = tables.induction_table(record, "copying", headless=(0,))
    assert with_a_layer_less["copying"].isna().tolist() == [True, True, False, False]
    assert with_a_layer_less["rank"].isna().tolist() == [True, True, False, False]
    assert with_a_layer_less["rank"].tolist()[2:] == [1, 2]
    by_variance = tables.induction_table(record, "copying", "variance", headless=(0,))
    assert by_variance.columns[3] == "variance of copying"
    assert by_variance.loc[:1, ["copying", "95 % from", "to", "variance of copying"]].isna().all(axis=None)


def test_scores_are_correlated_with_importance():
    table = tables.scores_table(np.array([[1.0, 2.0], [3.0, 4.0]]), induction([[1.0, 2.0], [3.0, 4.0]]),
                                induction([[4.0, 3.0], [2.0, 1.0]]))
    assert tables.correlation_table(table)["Spearman ρ"].tolist() == pytest.approx([1, -1])
