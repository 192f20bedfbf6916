"""Two masks on the same questions, against cases worked out by hand."""

import numpy as np
import pytest

from backend import stats, tables

TRUE, FALSE = [True] * 7, [False] * 7


def outcomes(intact: list[bool], a: list[bool] | None, b: list[bool] | None) -> tables.Outcomes:
    return {mask: np.array(one) if one is not None else None
            for mask, one in zip(tables.MASKS, (intact, a, b), strict=True)}


def test_what_sets_two_masks_apart_is_a_minus_b_with_its_interval_and_holm_s_p():
    six = [True] * 6 + [False]
    table = tables.masks_table(["one", "two"], ["x", "y"], [outcomes(TRUE, six, FALSE), outcomes(TRUE, six, six)],
                               [0.5, 0.25])
    first, second = table.to_dict("records")
    assert (first["intact"], first["A"], first["B"]) == (1, pytest.approx(6 / 7), 0)
    assert first["A − B"] == pytest.approx(6 / 7)
    assert (first["95 % from"], first["to"]) == stats.difference_interval(np.array(FALSE), np.array(six))
    assert 0 < first["95 % from"] <= first["A − B"] <= first["to"]
    assert (first["right only with A"], first["right only with B"]) == (6, 0)
    assert first["p"] == pytest.approx(2 / 2**6)  # six heads of six tosses, both sides
    assert first["p (Holm)"] == pytest.approx(2 * 2 / 2**6)  # the smaller of two
    assert (second["A − B"], second["p"], second["p (Holm)"]) == (0, 1, 1)
    assert (first["A from"], first["A to"]) == stats.wilson(6, 7)
    assert (first["n"], first["chance"], first["group"]) == (7, 0.5, "x")


def test_a_worse_a_has_a_negative_difference():
    row = tables.masks_table(["one"], [""], [outcomes(TRUE, FALSE, TRUE)], [0.5]).iloc[0]
    assert (row["A − B"], row["right only with A"], row["right only with B"]) == (-1, 0, 7)


def test_what_is_not_measured_yet_has_no_number_and_holm_waits_for_all():
    table = tables.masks_table(["one", "two"], ["", ""], [outcomes(TRUE, FALSE, TRUE), outcomes(TRUE, FALSE, None)],
                               [0.5, 0.5])
    assert table["A − B"].isna().tolist() == [False, True]
    assert table["p (Holm)"].isna().all()
    points = tables.masks_points(table)
    assert points[["task", "mask", "accuracy"]].to_numpy().tolist() == [
        ["one", "intact", 1], ["two", "intact", 1], ["one", "A", 0], ["two", "A", 0], ["one", "B", 1]]
    assert len(tables.masks_points(tables.masks_table([], [], [], []))) == 0


def test_means_weigh_tasks_alike_and_draw_questions_within_tasks():
    both = [outcomes(TRUE, TRUE, FALSE), outcomes([True, False], [True, False], [True, True])]
    means = tables.masks_means(both)
    assert {name: row["accuracy"] for name, row in means.items()} == {"intact": 0.75, "A": 0.75, "B": 0.5,
                                                                     "A − B": 0.25}
    assert (means["A"]["low"], means["A"]["high"]) == stats.mean_accuracy_interval(
        [np.array(TRUE), np.array([True, False])])
    pairs = [(one["B"], one["A"]) for one in both]
    assert (means["A − B"]["low"], means["A − B"]["high"]) == stats.mean_difference_interval(pairs)  # type: ignore
    assert set(tables.masks_means([both[0], outcomes(TRUE, None, FALSE)])) == {"intact", "B"}


def test_points_of_a_chart_are_numbered_through():
    table = tables.masks_table(["one"], ["x"], [outcomes(TRUE, FALSE, None)], [0.5])
    points = tables.masks_points(table)
    assert points["mask"].tolist() == ["intact", "A"]
    assert points.index.tolist() == [0, 1]
