"""Intervals and tests that know that questions behind one draw of demonstrations rise and fall together."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from backend import stats
from backend.errors import BadInput
from backend.stats import Marks

DRAWS = np.arange(100) % 10


def right(*per_draw: int) -> Marks:
    """10 draws of 10 questions, of which so many are right."""
    return Marks(np.concatenate([np.arange(10) < n for n in per_draw]), np.repeat(np.arange(10), 10))


def test_an_interval_over_draws_by_hand():
    """Five draws all right, five half right: the variance between draws is 6.25 / 9 % of 1, deff 3.7."""
    marks = right(*[10, 5] * 5)
    p, variance = 0.75, 10 / 9 * 10 * 2.5**2 / 100**2
    t = scipy_stats.t.ppf(0.975, 9)
    worth = p * (1 - p) / variance * (1.959964 / t) ** 2
    assert worth == pytest.approx(20.27, abs=0.01)
    low, high = stats.accuracy_interval(marks)
    z = 1.959964
    centre = (p + z * z / (2 * worth)) / (1 + z * z / worth)
    assert (low + high) / 2 == pytest.approx(centre, abs=1e-6)
    assert high - low > 1.9 * (lambda i: i.high - i.low)(stats.wilson(75, 100))


def test_alike_draws_cost_nothing_and_an_interval_is_never_narrower_than_wilson():
    assert stats.accuracy_interval(right(*[8] * 10)) == stats.wilson(80, 100)
    assert stats.accuracy_interval(right(*[10] * 10)) == stats.wilson(100, 100)
    rng = np.random.default_rng(0)
    for _ in range(50):
        marks = Marks(rng.random(100) < rng.random(), DRAWS)
        ours, plain = stats.accuracy_interval(marks), stats.wilson(int(marks.right.sum()), 100)
        assert ours.low <= plain.low + 1e-12
        assert ours.high >= plain.high - 1e-12


def test_one_draw_or_none_is_wilson_s_and_so_is_a_question_to_each_draw():
    outcomes = np.arange(20) < 13
    for draws in (None, np.zeros(20, int), np.arange(20)):
        marks = Marks(outcomes, draws)
        assert not marks.clustered
        assert stats.accuracy_interval(marks) == stats.wilson(13, 20)
    assert stats.accuracy_interval(outcomes) == stats.wilson(13, 20)


@pytest.mark.parametrize("accuracy_of_draw", [
    lambda rng: 0.9, lambda rng: rng.beta(7.2, 1.8), lambda rng: rng.choice([1, 0.61, 0.77, 0.51, 0.86]),
    lambda rng: rng.beta(11.4, 7.6)], ids=["alike", "spread", "all or nothing", "low"])
def test_of_the_intervals_as_many_hold_the_truth_as_they_say(accuracy_of_draw):
    """By simulation: between 93 and 99 %, for no interval of a share of few questions is exact."""
    rng = np.random.default_rng(1)
    truth = np.mean([accuracy_of_draw(rng) for _ in range(20_000)])
    held = []
    for _ in range(600):
        p = np.array([accuracy_of_draw(rng) for _ in range(10)])
        low, high = stats.accuracy_interval(Marks(rng.random(100) < p[DRAWS], DRAWS))
        held.append(low <= truth <= high)
    assert 0.93 <= np.mean(held) <= 0.99


def test_a_paired_test_over_draws_is_a_t_test_where_draws_disagree():
    a, b = right(*[10] * 10), right(*[10, 10, 10, 10, 10, 10, 10, 10, 3, 3])
    test = stats.paired_test(a, b)
    assert (test.only_a, test.only_b) == (14, 0)
    assert stats.mcnemar(a.right, b.right).p < 0.001
    changes = [(y - x) / 10 for x, y in zip([10] * 10, [10] * 8 + [3, 3], strict=True)]
    assert test.p == pytest.approx(scipy_stats.ttest_1samp(changes, 0).pvalue)
    assert test.p > 0.05


def test_a_paired_test_is_never_surer_than_mcnemar():
    a, b = right(*[10] * 10), right(*[9] * 10)  # every draw loses one: no variance between draws
    assert stats.paired_test(a, b).p == stats.mcnemar(a.right, b.right).p
    assert stats.paired_test(a, a).p == 1
    rng = np.random.default_rng(0)
    for _ in range(50):
        x, y = (Marks(rng.random(100) < 0.7, DRAWS) for _ in range(2))
        assert stats.paired_test(x, y).p >= stats.mcnemar(x.right, y.right).p


def test_a_difference_is_stretched_to_the_t_interval_over_draws():
    a, b = right(*[10] * 10), right(*[10] * 8 + [3, 3])
    low, high = stats.difference_interval(a, b)
    changes = np.array([0.0] * 8 + [-0.7, -0.7])
    half = scipy_stats.t.ppf(0.975, 9) * changes.std(ddof=1) / np.sqrt(10)
    assert low == pytest.approx(-0.14 - half)
    assert high == pytest.approx(-0.14 + half)
    plain = stats.difference_interval(a.right, b.right)
    assert low < plain.low < plain.high < high


def test_a_mean_difference_adds_the_tasks_variances():
    a, b = right(*[10] * 10), right(*[10] * 8 + [3, 3])
    one, two = stats.difference_interval(a, b), stats.mean_difference_interval([(a, b), (a, b)])
    t9, t18 = scipy_stats.t.ppf(0.975, [9, 18])
    assert -0.14 - two.low == pytest.approx((-0.14 - one.low) / np.sqrt(2) * t18 / t9)


def test_outcomes_behind_other_draws_are_no_pair():
    with pytest.raises(BadInput, match="no pair"):
        stats.paired_test(Marks(np.ones(4, bool), np.array([0, 0, 1, 1])), Marks(np.ones(4, bool)))
    with pytest.raises(BadInput, match="one of each per question"):
        Marks(np.ones(4, bool), np.zeros(3, int))


def test_a_mean_of_tasks_is_made_of_their_intervals():
    a, b = right(*[10, 5] * 5), right(*[8] * 10)
    each = [stats.accuracy_interval(one) for one in (a, b)]
    low, high = stats.mean_accuracy_interval([a, b])
    assert low == pytest.approx(0.775 - np.hypot(0.75 - each[0].low, 0.8 - each[1].low) / 2)
    assert high == pytest.approx(0.775 + np.hypot(each[0].high - 0.75, each[1].high - 0.8) / 2)
