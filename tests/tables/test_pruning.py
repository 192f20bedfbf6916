"""Pruning curves and where they break."""

import numpy as np
import pandas as pd
import pytest

from backend import stats, tables
from backend.models.info import Weights
from backend.values import INTACT, parse_exact
from tests.tables.records import sweep

EACH = Weights(head=10, ffn=100, n_heads=4, n_ffns=2)
MASKS = [INTACT, parse_exact("L0H0-1"), parse_exact("L0H0-1,L1H0,F0")]
REMOVED = [(0.0, 0.0), (0.5, 0.0), (0.75, 0.5)]
A = sweep([[1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 0, 1]], MASKS, REMOVED)
B = sweep([[1, 1], [1, 0], [0, 0]], MASKS, REMOVED, n_options=4)


def test_a_curve_counts_what_is_gone_at_each_point_and_what_is_left_of_accuracy():
    table = tables.curve_table([A], tables.OWN, EACH, n_params=1000)
    assert table["accuracy"].tolist() == [1.0, 0.75, 0.25]
    assert table[["heads", "FFNs"]].to_numpy().tolist() == [list(pair) for pair in REMOVED]
    assert table[["n heads", "n FFNs"]].to_numpy().tolist() == [[0, 0], [2, 0], [3, 1]]
    assert table["parameters"].tolist() == [0, 0.02, 0.13]
    assert table["mask"].tolist() == ["", "L0H0-1", "L0H0-1,L1H0,F0"]
    assert (table["low"][1], table["high"][1]) == pytest.approx(tuple(stats.wilson(3, 4)))
    assert set(table["chance"]) == {0.5}


def test_the_share_that_is_gone_is_what_was_really_removed_and_not_what_was_asked_for():
    """Of two FFNs 65 % is one, and 65 % of four heads are two."""
    asked = sweep([[1, 1], [1, 1], [0, 0]], [INTACT, parse_exact("L0H0-1,F0"), parse_exact("L0H0-1,L1H0,F0-1")],
                  [(0.0, 0.0), (0.65, 0.65), (0.9, 1.0)])
    table = tables.curve_table([asked], tables.OWN, EACH, n_params=1000)
    assert table[["heads", "FFNs"]].to_numpy().tolist() == [[0, 0], [0.5, 0.5], [0.75, 1.0]]
    for what, n in (("heads", 2), ("FFNs", 1)):
        row = tables.limits_table(table, what, 0.9, {tables.OWN: [[asked]]}).loc[0]
        assert row[["can go", "that is", "can go from", "can go to"]].tolist() == [0.5, n, 0.5, 0.5]


def test_the_mean_curve_weighs_tasks_alike_and_has_no_mask_of_its_own():
    table = tables.curve_table([A, B], tables.OWN, EACH, n_params=1000)
    assert table["accuracy"].tolist() == [1.0, 0.625, 0.125]
    assert set(table["mask"]) == {""}
    assert set(table["n"]) == {6}
    assert set(table["chance"]) == {0.375}
    assert (table["low"][1], table["high"][1]) == pytest.approx(tuple(stats.mean_accuracy_interval(
        [np.array([True, True, True, False]), np.array([True, False])])))


def test_a_band_reaches_from_the_lowest_to_the_highest_curve():
    curves = [tables.curve_table([one], "seed", EACH, 1000) for one in (A, B)]
    band = tables.band_table(curves, tables.RANDOM)
    assert band["low"].tolist() == [1.0, 0.5, 0.0]
    assert band["accuracy"].tolist() == [1.0, 0.625, 0.125]
    assert band["high"].tolist() == [1.0, 0.75, 0.25]
    assert set(band["ranking"]) == {tables.RANDOM}


def test_a_limit_is_the_last_point_before_the_curve_breaks():
    table = tables.curve_table([A], tables.OWN, EACH, n_params=1000)
    row = tables.limits_table(table, "heads", 0.7).loc[0]
    assert row[["can go", "that is", "accuracy there", "broken at"]].tolist() == [0.5, 2, 0.75, 0.75]
    assert row["of all parameters"] == 0.02
    strict = tables.limits_table(table, "heads", 0.9).loc[0]
    assert strict[["can go", "that is", "broken at"]].tolist() == [0.0, 0, 0.5]


def test_a_curve_that_does_not_break_can_go_as_far_as_was_tried():
    row = tables.limits_table(tables.curve_table([A], tables.OWN, EACH, 1000), "heads", 0.2).loc[0]
    assert row["can go"] == 0.75
    assert row["broken at"] is None or np.isnan(row["broken at"])


def test_each_ranking_has_its_own_limit_in_the_order_given():
    both = pd.concat([tables.curve_table([A], tables.REVERSED, EACH, 1000),
                      tables.curve_table([B], tables.OWN, EACH, 1000)])
    limits = tables.limits_table(both, "heads", 0.7)
    assert limits["ranking"].tolist() == [tables.REVERSED, tables.OWN]
    assert limits["can go"].tolist() == [0.5, 0.0]


LIVE = np.array([[False, True], [True, True]])  # L0H0 is dead


def test_live_heads_are_counted_beside_all():
    table = tables.curve_table([A], tables.OWN, EACH, 1000, LIVE)
    assert table["n live heads"].tolist() == [0, 1, 2]
    assert table["live heads"].tolist() == pytest.approx([0, 1 / 3, 2 / 3])
    assert tables.limits_table(table, "live heads", 0.7).loc[0, "can go"] == pytest.approx(1 / 3)


def test_a_dead_head_that_goes_is_no_head_that_can_go():
    dead_first = sweep([[1, 1], [1, 1], [0, 0]], [INTACT, parse_exact("L0H0"), parse_exact("L0H0-1")],
                       [(0.0, 0.0), (0.25, 0.0), (0.5, 0.0)])
    table = tables.curve_table([dead_first], tables.OWN, EACH, 1000, LIVE)
    assert tables.limits_table(table, "heads", 0.9).loc[0, "can go"] == 0.25
    row = tables.limits_table(table, "live heads", 0.9, {tables.OWN: [[dead_first]]}).loc[0]
    assert row[["can go", "can go from", "can go to", "broken at"]].tolist() == pytest.approx([0, 0, 0, 1 / 3])


def test_curves_of_finer_and_coarser_steps_meet_at_the_points_of_both():
    coarse = sweep([[1, 1], [0, 1]], [MASKS[0], MASKS[2]], [REMOVED[0], REMOVED[2]])
    table = tables.curve_table([A, coarse], tables.OWN, EACH, 1000)
    assert table[["heads", "FFNs"]].to_numpy().tolist() == [list(REMOVED[0]), list(REMOVED[2])]
    assert table["accuracy"].tolist() == [1.0, (0.25 + 0.5) / 2]


def test_how_much_can_go_has_an_interval_for_all_but_random_orders():
    found = {tables.OWN: [[A, B]], tables.RANDOM: [[A, B], [A, B]]}
    limits = tables.limits_table(tables.curves_table(found, EACH, 1000), "heads", 0.7, found).set_index("ranking")
    wanted = stats.can_go_interval([A.outcomes(), B.outcomes()], [heads for heads, _ in REMOVED], 0.7)
    assert limits.loc[tables.OWN, ["can go from", "can go to"]].tolist() == list(wanted)
    assert limits.loc[tables.RANDOM, ["can go from", "can go to"]].isna().all()


def test_a_transfer_is_read_at_a_share_of_the_live_heads():
    table = tables.transfer_table({("a", "a"): A}, 0.6, LIVE)
    assert table["heads"].tolist() == pytest.approx([2 / 3])
    assert table["accuracy"].tolist() == [0.25]


def test_a_map_names_its_cells_by_what_is_removed():
    table = tables.map_table(tables.curve_table([A], tables.OWN, EACH, 1000))
    assert table[["row", "column"]].to_numpy().tolist() == [["0%", "0%"], ["0%", "50%"], ["50%", "75%"]]


def test_a_map_has_each_number_of_components_once():
    few = sweep([[1, 1], [1, 1], [0, 0]], [INTACT, INTACT, parse_exact("F0")], [(0.0, 0.0), (0.0, 0.3), (0.0, 0.5)])
    assert tables.map_table(tables.curve_table([few], tables.OWN, EACH, 1000))["row"].tolist() == ["0%", "50%"]


def test_the_furthest_point_removes_most_parameters_among_those_that_hold():
    table = tables.curve_table([A], tables.OWN, EACH, 1000)
    assert tables.furthest(table, 0.75)["heads"] == 0.5  # exactly at the limit still holds
    assert tables.furthest(table, 0.76)["heads"] == 0.0
    assert tables.furthest(table, 0.1)["heads"] == 0.75


def test_a_transfer_is_read_at_the_point_nearest_to_the_share_asked_for():
    table = tables.transfer_table({("a", "a"): A, ("a", "b"): B}, 0.45)
    assert table["heads"].tolist() == [0.5, 0.5]
    assert table["accuracy"].tolist() == [0.75, 0.5]
    assert table["kept"].tolist() == [0.75, 0.5]
    assert table["mask"].tolist() == ["L0H0-1", "L0H0-1"]
    assert table[["task", "ranking"]].to_numpy().tolist() == [["a", "a"], ["a", "b"]]


def test_nothing_is_kept_of_an_accuracy_of_zero():
    none = sweep([[0, 0], [0, 1]], MASKS[:2], REMOVED[:2])
    assert np.isnan(tables.transfer_table({("a", "b"): none}, 0.5)["kept"][0])


def test_curves_stand_below_one_another_and_random_orders_are_one_band():
    found = {tables.OWN: [[A]], tables.RANDOM: [[A], [B]]}
    table = tables.curves_table(found, EACH, 1000)
    assert list(dict.fromkeys(table["ranking"])) == [tables.OWN, tables.RANDOM]
    band = table[table["ranking"] == tables.RANDOM]
    both = [tables.curve_table([one], "", EACH, 1000)["accuracy"].to_numpy() for one in (A, B)]
    assert band["low"].tolist() == np.minimum(*both).tolist()
    assert band["high"].tolist() == np.maximum(*both).tolist()
