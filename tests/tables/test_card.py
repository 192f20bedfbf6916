"""One head's card, and all heads beside one another."""

import math
from dataclasses import replace

import numpy as np
import pytest

from backend import stats, tables
from backend.kinds import Effects
from backend.values import INTACT, Ablation, Head
from tests.tables.records import importance, prompt, sweep

SCORES = np.array([[3.0, 1.0], [2.0, 5.0]])
HEADS = [Head(layer, head) for layer in range(2) for head in range(2)]
LIVE = np.array([[True, True], [True, False]])


def oracle(outcomes, gold=None):
    record = sweep(outcomes, [INTACT, *(Ablation(frozenset([head])) for head in HEADS)], n_options=3)
    return record if gold is None else replace(record, gold=tuple(map(tuple, gold)))


def test_all_heads_stand_beside_one_another_with_their_ranks_among_the_live_ones():
    table = tables.heads_table({"a": SCORES, "b": -SCORES}, Ablation(frozenset([Head(0, 1)])), LIVE)
    assert table["name"].tolist() == ["L0H0", "L0H1", "L1H0", "L1H1"]
    assert table["live"].tolist() == [True, True, True, False]
    assert table["chosen"].tolist() == [False, True, False, False]
    assert table["a"].tolist() == [3, 1, 2, 5]
    assert table["a rank"].tolist()[:3] == [1, 3, 2]
    assert math.isnan(table["a rank"][3])
    assert table["b rank"].tolist()[:3] == [3, 1, 2]


def test_layers_without_heads_have_no_rows_and_what_is_not_known_no_rank():
    table = tables.heads_table({"a": np.array([[np.nan, 1.0], [2.0, 5.0]])}, headless=[1])
    assert table["name"].tolist() == ["L0H0", "L0H1"]
    assert math.isnan(table["a rank"][0])
    assert table["a rank"][1] == 1


def test_a_card_is_one_row_of_all_upright():
    card = tables.head_table(tables.heads_table({"a": SCORES, "b": -SCORES}, heads=LIVE), Head(1, 0))
    assert card.to_dict("list") == {"score": ["a", "b"], "value": [2.0, -2.0], "rank": [2.0, 2.0], "of": [3, 3]}


def test_a_heads_importance_in_every_task_has_its_interval_and_its_rank():
    records = {("x", 0): importance([[3, 1], [2, 5]], [[4, 1], [2, 5]]), ("x", 5): importance([[0, 1], [2, 5]])}
    table = tables.head_importance_table(Head(0, 0), records, heads=LIVE)
    low, high = (ends[0, 0] for ends in stats.bootstrap_scores(records["x", 0]))
    assert table["task"].tolist() == ["x", "x"]
    assert table["shots"].tolist() == [0, 5]
    assert table["importance"].tolist() == [3.5, 0]
    assert (table["95 % from"][0], table["to"][0]) == pytest.approx((low, high))
    assert low < 3.5 < high
    assert table["rank"].tolist() == [1, 3]
    assert table["of"].tolist() == [3, 3]
    assert table["above"].tolist() == [1, 0]
    assert tables.head_importance_table(Head(1, 1), records, heads=LIVE)["rank"].isna().all()


def test_what_a_heads_removal_costs_is_accuracy_with_its_test_and_loss_with_its_interval():
    right = [[1] * 12, [1] * 12, [0] * 8 + [1] * 4, [1] * 12, [1] * 12]
    gold = [[-1.0] * 12, [-1.0] * 12, [-3.0, -2.0] * 6, [-0.5] * 12, [-1.0] * 12]
    found = {"x": oracle(right, gold), "y": oracle(right)}
    table = tables.head_off_table(Head(0, 1), found)
    intact, off = (found["x"].marks()[i] for i in (0, 2))
    assert table["task"].tolist() == ["x", "y"]
    assert table["change"].tolist() == pytest.approx([-2 / 3, -2 / 3])
    assert (table["low"][0], table["high"][0]) == pytest.approx(tuple(stats.difference_interval(intact, off)))
    assert table["p"].tolist() == [2 * 0.5 ** 8] * 2
    assert table["p (Holm)"].tolist() == [4 * 0.5 ** 8] * 2
    assert table["newly wrong"].tolist() == [8, 8]
    assert table["newly right"].tolist() == [0, 0]
    assert table["loss"][0] == pytest.approx(1.5)
    half = 2.2009851600829 * np.std([2, 1] * 6, ddof=1) / math.sqrt(12)  # t, 11 degrees of freedom
    assert table["loss from"][0] == pytest.approx(1.5 - half)
    assert table["loss to"][0] == pytest.approx(1.5 + half)
    assert math.isnan(table["loss"][1])


def test_a_change_of_loss_is_not_bounded_as_a_probability_is():
    gold = [[-1.0] * 4, [-30.0, -9.0, -50.0, -1.0], *[[-1.0] * 4] * 3]
    row = tables.head_off_table(Head(0, 0), {"x": oracle([[1] * 4] * 5, gold)}).iloc[0]
    assert row["loss"] == 21.5
    assert row["loss from"] < -1
    assert row["loss to"] > 40


def test_need_is_two_maps_or_one_where_an_earlier_version_measured():
    right = [[1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    maps = tables.need_maps(oracle(right, [[-1.0] * 4, [-2.0] * 4, [-1.5] * 4, [-1.0] * 4, [-0.5] * 4]), (3, 2))
    assert maps[tables.ACCURACY_LOST][:2].tolist() == [[0.25, 0.5], [0, 0]]
    assert maps[tables.LOSS_ADDED][:2].tolist() == [[1, 0.5], [0, -0.5]]
    assert np.isnan(maps[tables.LOSS_ADDED][2]).all()
    assert list(tables.need_maps(oracle(right), (2, 2))) == [tables.ACCURACY_LOST]


def test_a_function_vectors_effect_is_told_task_by_task():
    effects = tuple(((x, 0.0), (0.0, 0.0)) for x in (0.2, 0.4, 0.3, 0.3))
    record = Effects(5, 0.9, (0.1, 0.2, 0.3, 0.2), effects, (), (0,) * 9, ())
    table = tables.head_effects_table(Head(0, 0), {"x": record, "y": record})
    assert table["effect"].tolist() == pytest.approx([0.3, 0.3])
    assert (table["95 % from"] < 0.3).all()
    assert (table["to"] > 0.3).all()
    assert table["lost by shuffling"].tolist() == pytest.approx([0.7, 0.7])
    assert table["p (Holm)"].tolist() == pytest.approx(2 * table["p"])
    assert table["n"].tolist() == [4, 4]


def test_the_questions_that_turn_stand_with_what_is_said_or_with_their_row_alone():
    right = [[1, 0, 1, 1], [1, 1, 0, 1], *[[1, 0, 1, 1]] * 3]
    asked = {doc: prompt(f"question {doc}", ["good", "bad", "other"], doc=doc) for doc in (1, 2)}
    table = tables.head_flips_table(Head(0, 0), oracle(right), asked)
    assert table.to_dict("records") == [
        {"question": "question 2", "intact": "good", "without it": "bad", "turned": "wrong"},
        {"question": "question 1", "intact": "bad", "without it": "good", "turned": "right"}]
    assert tables.head_flips_table(Head(0, 0), oracle(right), {})["question"].tolist() == ["row 2", "row 1"]
    assert tables.head_flips_table(Head(1, 0), oracle(right), {}).empty


def test_what_is_written_is_a_row_per_input():
    table = tables.direct_table(["a", "b"], [[("x", 2.0), ("y", -1.0)], [("a", 0.26), ("z", 0.0)]])
    assert table.to_dict("list") == {"input": ["a", "b"], "1.": ["x (+2.0)", "a (+0.3)"],
                                     "2.": ["y (-1.0)", "z (+0.0)"]}
