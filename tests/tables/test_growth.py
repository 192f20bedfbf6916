"""What a model could do at the checkpoints of its training: a table, two steps, and the points of the chart."""

from dataclasses import replace

import numpy as np
import pytest

from backend import stats, tables
from backend.kinds import InductionScores
from backend.stats import Marks
from backend.tables import Grown
from tests.tables.records import answered


def matching(*values: float) -> InductionScores:
    return InductionScores(3, (tuple(values),), ((0.0,) * len(values),), "random", 20)


NONE, ALL, HALF = (answered(row) for row in ([0] * 12, [1] * 12, [1, 0] * 6))


def grown(step: int, score: float | None, without=NONE, with_=NONE) -> Grown:
    return Grown(step, 1000 * step, None if score is None else matching(0.05, score), {"a": without, "b": without},
                 {"a": with_, "b": with_}, {})


TRAINING = [grown(0, 0.02), grown(10, 0.35), grown(100, 0.2), grown(200, 0.3, with_=HALF), grown(400, 0.9, HALF, ALL)]


def test_a_row_per_checkpoint_says_what_it_could_do():
    table = tables.growth_table(TRAINING)
    assert table["step"].tolist() == [0, 10, 100, 200, 400]
    assert table["tokens"].tolist() == [0, 10_000, 100_000, 200_000, 400_000]
    assert table["prefix matching"].tolist() == [0.05, 0.35, 0.2, 0.3, 0.9]
    assert table["heads that look back"].tolist() == [0, 1, 0, 1, 1]
    last = table.iloc[-1]
    assert (last["without"], last["with"], last["gain"], last["n"], last["tasks"]) == (0.5, 1.0, 0.5, 24, 2)
    assert (last["gain from"], last["gain to"]) == stats.mean_difference_interval(
        [(HALF.outcomes(), ALL.outcomes())] * 2)
    assert (last["with from"], last["with to"]) == stats.mean_accuracy_interval([ALL.outcomes()] * 2)
    assert last["chance"] == 0.5


def test_a_step_counts_only_if_it_is_for_good():
    """Prefix matching passes 0.3 at step 10 and falls again: heads look back from 200 on."""
    table = tables.growth_table(TRAINING)
    assert tables.formed(table) == 200
    assert tables.learns(table) == 200
    assert tables.formed(table.iloc[:3]) is None
    assert tables.learns(table.iloc[:3]) is None


def test_a_gain_whose_interval_holds_zero_is_none():
    little = answered([1, *[0] * 11])
    table = tables.growth_table([grown(0, 0.1), grown(1, 0.1, with_=little)])
    assert table["gain"].iloc[1] > 0
    assert table["gain from"].iloc[1] <= 0
    assert tables.learns(table) is None


def test_questions_of_one_draw_count_together_on_both_sides():
    draws = tuple(i % 3 for i in range(12))
    behind = replace(HALF, questions=replace(HALF.questions, draws=draws))
    table = tables.growth_table([grown(1, 0.1, NONE, behind)])
    clustered = stats.mean_difference_interval([(Marks(NONE.outcomes(), np.array(draws)), behind.marks())] * 2)
    assert (table["gain from"][0], table["gain to"][0]) == clustered


def test_only_questions_that_both_were_asked_are_compared():
    fewer = answered([1] * 5)
    table = tables.growth_table([grown(1, 0.1, NONE, fewer)])
    assert table["n"][0] == 10
    assert table["gain"][0] == 1


def test_what_was_not_measured_has_no_number_and_no_point():
    table = tables.growth_table([grown(0, 0.1), Grown(5, 5000, None, {}, {}, {})])
    assert table.iloc[1][["prefix matching", "heads that look back", "gain", "with"]].isna().all()
    points = tables.growth_points(table)
    assert set(points["step"]) == {0}
    assert points["place"].tolist() == [1, 1, 1]
    assert tables.formed(table) is None


def test_points_are_the_table_s_numbers_with_their_intervals():
    table = tables.growth_table(TRAINING)
    points = tables.growth_points(table)
    assert len(points) == 15
    last = points[(points["step"] == 400) & (points["what"] == "accuracy with demonstrations")].iloc[0]
    assert (last["value"], last["low"], last["high"]) == (1.0, table["with from"].iloc[-1], 1.0)
    scores = points[points["what"] == "strongest prefix matching"]
    assert (scores["low"] == scores["value"]).all()
    assert list(dict.fromkeys(points["what"])) == ["strongest prefix matching", "accuracy with demonstrations",
                                                   "accuracy without"]
    assert points.index.tolist() == list(range(15))
    assert len(scores) == 5


@pytest.mark.parametrize("bad", [[], [Grown(0, 0, None, {}, {}, {})]])
def test_nothing_measured_is_an_empty_table_or_row(bad):
    assert len(tables.growth_table(bad)) == len(bad)
