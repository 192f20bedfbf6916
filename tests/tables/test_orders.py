"""Orders of heads beside one another: areas, tests at equal numbers of heads, gates."""

import numpy as np
import pytest

from backend import stats, tables
from backend.kinds import GateOrder
from backend.kinds.head_gates import N_LOSSES
from backend.values import INTACT, parse_exact
from pages.shared import verdicts
from tests.tables.records import sweep

MASKS = [INTACT, parse_exact("L0H0"), parse_exact("L0H0-1")]
N = 40


def curve(*right, end=True):
    """Right answers of 40 at 0, 50 and 100 % of the heads off; of no fitted order the end is not there."""
    rows = [[1] * n + [0] * (N - n) for n in right]
    removed = [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0)]
    n = 3 if end else 2
    return sweep(rows[:n], MASKS[:n], removed[:n])


OWN = curve(40, 10, 10, end=False)
FOUND = {tables.OWN: [[OWN]], tables.RANDOM: [[curve(40, 10, 10, end=False)], [curve(40, 30, 10, end=False)]],
         tables.ITERATIVE: [[curve(40, 10, 10)]], tables.GATES: [[curve(40, 34, 10)]]}


def test_areas_take_their_end_from_a_fitted_order_which_is_the_same_in_all():
    table = tables.areas_table(FOUND).set_index("order")
    assert table["CPR"].to_dict() == pytest.approx({
        tables.OWN: 0.25, f"{tables.RANDOM}, mean of 2": (0.25 + 0.25 + (20 / 30) / 2) / 2,
        tables.ITERATIVE: 0.25, tables.GATES: 0.25 + (24 / 30) / 2})
    assert table.loc[tables.GATES, "CMD"] == pytest.approx(1 - 0.65)
    assert table.loc[tables.GATES, "more than one-shot"] == pytest.approx(0.4)
    assert table.loc[tables.ITERATIVE, "more than one-shot"] == 0
    assert np.isnan(table.loc[tables.OWN, "more than one-shot"])
    assert (table["low"].dropna() <= table["CPR"][table["low"].notna()]).all()
    assert set(table["n"]) == {N}
    assert ((table["CMD from"] <= table["CMD"]) & (table["CMD"] <= table["CMD to"]))[[tables.OWN, tables.GATES]].all()
    assert {"low", "high", "more from", "more to"} <= set(table.columns)


def test_equal_numbers_of_heads_are_compared_question_by_question():
    table = tables.equal_heads_table(FOUND)
    assert table[["order", "heads removed"]].to_numpy().tolist() == [[tables.ITERATIVE, 0.5], [tables.GATES, 0.5]]
    right = [np.arange(N) < n for n in (10, 34)]
    assert table["p"].tolist() == [1.0, stats.paired_test(*right).p]
    assert table["p (Holm)"].tolist() == [1.0, 2 * stats.paired_test(*right).p]
    assert table["difference"].tolist() == [0, 0.6]
    assert (table["from"][1], table["to"][1]) == tuple(stats.difference_interval(*right))


def test_the_title_claims_what_the_interval_of_the_difference_says():
    areas, tests = tables.areas_table(FOUND), tables.equal_heads_table(FOUND)
    assert verdicts.orders_apart(areas, tests, "antonym") == (
        "Over all shares on antonym, where one-shot importance has CPR 0.25, the order of learned gates keeps more "
        "(CPR 0.65); with equally many heads off, 1 of 2 comparisons differs")
    same = {kind: FOUND[kind] for kind in (tables.OWN, tables.ITERATIVE)}
    assert "do not tell that a fitted order keeps more or less" in verdicts.orders_apart(
        tables.areas_table(same), tables.equal_heads_table(same), "antonym")
    worse = {tables.OWN: [[curve(40, 34, 10, end=False)]], tables.GREEDY: [[curve(40, 10, 10)]]}
    assert "the greedy order keeps less (CPR 0.25)" in verdicts.orders_apart(
        tables.areas_table(worse), tables.equal_heads_table(worse), "antonym")
    none = {tables.OWN: [[curve(10, 34, 10, end=False)]], tables.GREEDY: [[curve(10, 10, 10)]]}
    assert "no better than none on antonym" in verdicts.orders_apart(
        tables.areas_table(none), tables.equal_heads_table(none), "antonym")


def fitted(closing, opening):
    return GateOrder(((0, 0), (0, 1)), 0, 1, (), (tuple(closing),), (tuple(opening),), *((0.5,) * N_LOSSES,) * 3)


def test_gates_of_several_tasks_are_counted_by_class():
    records = [fitted((1.0, 0.0), (1.0, 1.0)), fitted((1.0, 0.0), (1.0, 0.0)), fitted((0.0, 0.0), (1.0, 1.0))]
    table = tables.gates_table(records, parse_exact("L0H1"))
    assert table["name"].tolist() == ["L0H0", "L0H1"]
    assert table["role"].tolist() == pytest.approx([2 / 3, -1 / 3])
    assert table[["facilitates", "interferes", "irrelevant"]].to_numpy().tolist() == [[2, 0, 1], [0, 1, 2]]
    assert table["gate under pressure to close"].tolist() == pytest.approx([2 / 3, 0])
    assert table["off"].tolist() == [False, True]
    assert verdicts.gates_say(table, "") == ("1 of 2 heads facilitate in more than half of the 3 tasks, 1 in none; "
                                             "1 interfere in some")
    one = tables.gates_table(records[1:2])
    assert verdicts.gates_say(one, "antonym") == (
        "For antonym, gates of 1 of 2 heads stay open where an open one costs 0.005 nats, of 1 close where it earns "
        "them; the rest goes either way")
    assert len(tables.gates_table(records, heads=np.array([[True, False]]))) == 1
