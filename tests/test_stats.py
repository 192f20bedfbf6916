"""Statistics: worked by hand first, then properties over generated inputs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats as scipy_stats

from backend import stats
from backend.errors import BadInput
from backend.kinds.head_importance import HeadScores
from backend.values import Head

grids = st.tuples(st.integers(1, 5), st.integers(1, 6))
values = st.integers(-50, 50).map(float)


def matrices(shape=grids):
    return hnp.arrays(float, shape, elements=values)


def pairs():
    return grids.flatmap(lambda shape: st.tuples(matrices(shape), matrices(shape)))


outcomes = st.integers(1, 60).flatmap(lambda n: st.tuples(hnp.arrays(bool, n), hnp.arrays(bool, n)))


# --- accuracy -----------------------------------------------------------------------------------


def test_wilson_of_8_in_10_is_the_textbook_interval():
    low, high = stats.wilson(8, 10)
    assert low == pytest.approx(0.4902, abs=5e-5)
    assert high == pytest.approx(0.9433, abs=5e-5)


def test_wilson_of_all_right_has_the_closed_form():
    z = scipy_stats.norm.ppf(0.975)
    assert stats.wilson(20, 20) == pytest.approx((20 / (20 + z * z), 1.0))


def test_no_answers_leave_accuracy_unknown():
    assert stats.wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_contains_the_estimate_and_equals_scipy(counts):
    right, n = counts
    low, high = stats.wilson(right, n)
    assert 0 <= low <= right / n <= high <= 1
    theirs = scipy_stats.binomtest(right, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@given(st.integers(0, 40), st.integers(0, 40))
def test_wilson_is_mirrored_when_right_and_wrong_change_places(right, wrong):
    low, high = stats.wilson(right, right + wrong)
    mirrored = stats.wilson(wrong, right + wrong)
    assert (1 - high, 1 - low) == pytest.approx(mirrored)


def test_wilson_widens_with_the_level():
    narrow, wide = stats.wilson(7, 20, 0.8), stats.wilson(7, 20, 0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(("right", "n", "level"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0.0)])
def test_impossible_counts_and_levels_are_refused(right, n, level):
    with pytest.raises(BadInput):
        stats.wilson(right, n, level)


def marks(right: int, n: int) -> np.ndarray:
    return np.arange(n) < right


def test_the_interval_of_one_task_s_mean_is_its_wilson_interval():
    assert stats.mean_accuracy_interval([marks(7, 20)]) == pytest.approx(stats.wilson(7, 20))


def test_the_interval_of_a_mean_of_equal_tasks_shrinks_with_their_root():
    one, four = stats.wilson(10, 20), stats.mean_accuracy_interval([marks(10, 20)] * 4)
    assert 0.5 - four.low == pytest.approx((0.5 - one.low) / 2)


def test_a_mean_over_no_tasks_is_refused():
    with pytest.raises(BadInput, match="at least one"):
        stats.mean_accuracy_interval([])


def test_mcnemar_by_hand():
    a = np.array([1, 1, 1, 1, 1, 0, 1, 0], bool)
    b = np.array([1, 0, 0, 0, 0, 1, 0, 0], bool)
    test = stats.mcnemar(a, b)
    assert (test.only_a, test.only_b) == (5, 1)
    assert test.p == pytest.approx(2 * (1 + 6) / 2**6)  # 0 or 1 of 6 fair coins, both sides


def test_masks_that_agree_on_every_query_do_not_differ():
    a = np.array([True, False, True])
    assert stats.mcnemar(a, a) == (0, 0, 1.0)


@given(outcomes)
def test_mcnemar_is_symmetric(pair):
    a, b = pair
    there, back = stats.mcnemar(a, b), stats.mcnemar(b, a)
    assert there.p == pytest.approx(back.p)
    assert (there.only_a, there.only_b) == (back.only_b, back.only_a)
    assert 0 < there.p <= 1


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_equals_scipy_s_binomial_test(only_a, only_b):
    a, b = np.repeat([[True, False], [False, True]], [only_a, only_b], axis=1)
    expected = scipy_stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert stats.mcnemar(a, b).p == pytest.approx(expected, rel=1e-9)


def test_outcomes_of_different_queries_are_not_compared():
    with pytest.raises(BadInput, match="same queries"):
        stats.mcnemar(np.zeros(3, bool), np.zeros(4, bool))


@given(outcomes)
def test_the_difference_s_interval_contains_the_difference(pair):
    a, b = pair
    low, high = stats.difference_interval(a, b, n_draws=200)
    assert -1 <= low <= b.mean() - a.mean() <= high <= 1
    assert (low, high) == stats.difference_interval(a, b, n_draws=200)


def test_the_difference_s_interval_approaches_the_normal_one():
    rng = np.random.default_rng(0)
    a, b = rng.random(2000) < 0.7, rng.random(2000) < 0.6
    d = b.astype(float) - a
    half = 1.96 * d.std() / math.sqrt(len(d))
    low, high = stats.difference_interval(a, b, n_draws=20_000)
    assert (low, high) == pytest.approx((d.mean() - half, d.mean() + half), abs=0.003)


def test_the_break_point_is_the_first_fraction_below_the_share():
    fractions = [0, 0.1, 0.2, 0.3]
    assert stats.break_point([0.8, 0.72, 0.71, 0.4], fractions, 0.9) == 0.2
    assert stats.break_point([0.8, 0.75, 0.73, 0.73], fractions, 0.9) is None


def test_a_band_holds_mean_lowest_and_highest_at_each_point():
    band = stats.band([[1, 2, 3], [3, 0, 3]])
    assert band.mean.tolist() == [2, 1, 3]
    assert band.low.tolist() == [1, 0, 3]
    assert band.high.tolist() == [3, 2, 3]
    with pytest.raises(BadInput):
        stats.band([])


# --- rankings -----------------------------------------------------------------------------------


def test_the_lowest_are_ascending_with_ties_in_index_order():
    scores = np.array([[3.0, 1.0, 1.0], [0.5, 9.0, 1.0]])
    assert stats.lowest(scores, 5 / 6) == (Head(1, 0), Head(0, 1), Head(0, 2), Head(1, 2), Head(0, 0))
    assert stats.highest(scores, 0.5) == (Head(1, 1), Head(0, 0), Head(1, 2))
    assert stats.leader(scores) == Head(1, 1)
    assert stats.leader(np.ones((2, 3))) == stats.highest(np.ones((2, 3)), 1)[0]


@pytest.mark.parametrize(("percent", "n", "removed"),
                         [(10, 48, 4), (29, 100, 29), (70, 10, 7), (90, 144, 129), (0, 9, 0)])
def test_shares_round_down_as_the_study_does(percent, n, removed):
    assert stats.count(percent / 100, n) == removed == percent * n // 100


@given(st.integers(0, 100), st.integers(1, 5000))
def test_percentages_never_lose_one_to_rounding(percent, n):
    assert stats.count(percent / 100, n) == percent * n // 100


@given(matrices(), st.integers(0, 100))
def test_lowest_and_highest_split_the_heads_between_them(scores, percent):
    low = stats.lowest(scores, percent / 100)
    high = stats.highest(scores, 1.0)[: scores.size - len(low)]
    assert len({*low, *high}) == scores.size
    if low and high:
        assert max(scores[h.layer, h.head] for h in low) <= min(scores[h.layer, h.head] for h in high)


def test_the_lowest_ffns_are_layers():
    assert stats.lowest_ffns(np.array([0.2, -0.1, 0.0, 0.2]), 0.5) == (1, 2)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(BadInput, match="between 0 and 1"):
        stats.lowest(np.zeros((2, 2)), share)


def test_nan_cannot_be_ranked():
    with pytest.raises(BadInput, match="1 of 2 scores are NaN"):
        stats.order(np.array([[1.0, math.nan]]))


def test_spearman_by_hand():
    a, b = np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[1.0, 3.0, 2.0, 4.0]])
    assert stats.spearman(a, b) == pytest.approx(1 - 6 * 2 / (4 * 15))


@given(pairs())
def test_spearman_is_symmetric_bounded_and_ignores_monotone_rescaling(pair):
    a, b = pair
    rho = stats.spearman(a, b)
    if math.isnan(rho):
        assert np.unique(a).size == 1 or np.unique(b).size == 1
        return
    assert -1 <= rho <= 1
    assert rho == pytest.approx(stats.spearman(b, a))
    assert rho == pytest.approx(stats.spearman(np.exp(a / 20), b**3))
    assert rho == pytest.approx(-stats.spearman(-a, b))
    assert stats.spearman(a, a) == pytest.approx(1)
    assert rho == pytest.approx(scipy_stats.spearmanr(a.ravel(), b.ravel()).statistic)


def test_spearman_of_constant_scores_is_unknown_without_a_warning():
    assert math.isnan(stats.spearman(np.ones((2, 2)), np.arange(4.0).reshape(2, 2)))


def test_the_authors_variant_correlates_index_lists():
    a, b = np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([[0.2, 0.1, 0.3, 0.4]])
    assert stats.spearman_as_authors(a, b) == pytest.approx(scipy_stats.spearmanr([0, 1, 2, 3], [1, 0, 2, 3]).statistic)


def test_the_authors_variant_loses_a_near_perfect_agreement():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(64, 72))
    b = a + 0.1 * rng.normal(size=a.shape)
    assert stats.spearman(a, b) > 0.98
    assert abs(stats.spearman_as_authors(a, b)) < 0.1


def test_the_matrix_holds_the_pairs():
    rng = np.random.default_rng(1)
    scores = [rng.normal(size=(3, 4)) for _ in range(3)]
    for as_authors, pair in [(False, stats.spearman), (True, stats.spearman_as_authors)]:
        matrix = stats.spearman_matrix(scores, as_authors)
        for i, j in itertools.product(range(3), repeat=2):
            assert matrix[i, j] == pytest.approx(1.0 if i == j else pair(scores[i], scores[j]))


def test_scores_of_different_models_are_not_compared():
    a, b = np.zeros((2, 3)), np.zeros((3, 2))
    for compare in (stats.spearman, stats.spearman_as_authors, lambda a, b: stats.topk_overlap(a, b, 0.5),
                    lambda a, b: stats.spearman_matrix([a, b]), lambda a, b: stats.aggregate([a, b])):
        with pytest.raises(BadInput, match="model"):
            compare(a, b)


def test_overlap_by_hand():
    a, b = np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[4.0, 2.0, 1.0, 3.0]])
    assert stats.topk_overlap(a, b, 0.5) == 1 / 3  # {2, 3} and {0, 3}


@given(pairs(), st.floats(0, 1))
def test_overlap_is_symmetric_within_0_and_1_and_1_with_itself(pair, share):
    a, b = pair
    overlap = stats.topk_overlap(a, b, share)
    assert 0 <= overlap <= 1
    assert overlap == stats.topk_overlap(b, a, share)
    assert stats.topk_overlap(a, a, share) == 1
    assert stats.topk_overlap(a, b, 1.0) == 1


@pytest.mark.parametrize(("n", "k"), [(5, 1), (5, 2), (5, 4), (6, 3), (4, 4)])
def test_chance_overlap_is_the_mean_over_all_pairs_of_choices(n, k):
    first = set(range(k))
    overlaps = [len(first & set(c)) / len(first | set(c)) for c in itertools.combinations(range(n), k)]
    assert stats.topk_overlap_chance(n, k) == pytest.approx(np.mean(overlaps))


@pytest.mark.parametrize(("n", "k"), [(48, 9), (48, 40), (4608, 1), (4608, 921), (4608, 4600)])
def test_chance_is_scipy_s_for_models_of_any_size(n, k):
    common = np.arange(max(0, 2 * k - n), k + 1)
    mean = (scipy_stats.hypergeom.pmf(common, n, k, k) * common / (2 * k - common)).sum()
    assert stats.topk_overlap_chance(n, k) == pytest.approx(mean, rel=1e-9)
    expected = n * scipy_stats.binom.pmf(np.arange(15), 14, k / n)
    assert stats.topk_counts_chance(n, k, 14) == pytest.approx(expected, rel=1e-9)


def test_topk_counts_by_hand():
    scores = [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[9.0, 2.0], [3.0, 4.0]])]
    assert stats.topk_counts(scores, 0.5).tolist() == [[1, 0], [1, 2]]


@given(st.lists(matrices((3, 4)), min_size=1, max_size=4), st.floats(0, 1))
def test_topk_counts_add_up(scores, share):
    counts = stats.topk_counts(scores, share)
    assert counts.sum() == len(scores) * max(1, stats.count(share, 12))
    assert counts.max() <= len(scores)


# --- importance ---------------------------------------------------------------------------------


def test_the_aggregate_is_the_mean_of_the_tasks():
    assert stats.aggregate([np.array([[1.0, 2.0]]), np.array([[3.0, 6.0]])]).tolist() == [[2.0, 4.0]]


@given(matrices())
def test_normalised_layers_have_length_one_or_stay_zero(scores):
    norms = np.linalg.norm(stats.normalise_layers(scores), axis=1)
    assert np.all(np.isclose(norms, 1) | (np.abs(scores).sum(1) == 0) & (norms == 0))


def test_concentration_by_hand():
    scores = np.array([[4.0, 1.0], [3.0, 2.0]])
    assert stats.concentration(scores, 0.4) == 1
    assert stats.concentration(scores, 0.5) == 2
    assert stats.concentration(scores, 1.0) == 4
    assert stats.concentration(np.array([5.0, -3.0]), 1.0) == 1
    assert stats.concentration(np.zeros((2, 2))) == 0


@given(matrices().map(np.abs), st.floats(0.01, 1))
def test_concentration_is_the_fewest_that_suffice(scores, share):
    k, held = stats.concentration(scores, share), np.sort(scores.ravel())[::-1]
    if held.sum():
        assert held[:k].sum() >= share * held.sum() * (1 - 1e-6)
        assert held[: k - 1].sum() <= share * held.sum()


def test_retained_by_hand():
    scores = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert stats.retained(scores, []) == 1
    assert stats.retained(scores, [Head(1, 1), Head(0, 0)]) == 0.5
    assert math.isnan(stats.retained(np.zeros((1, 2)), []))


def test_the_capacity_curve_starts_at_1_and_ends_at_0():
    scores, ranking = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[4.0, 3.0], [2.0, 1.0]])
    assert stats.retained_curve(scores, ranking, [0, 0.25, 0.5, 1]).tolist() == [1, 0.6, 0.3, 0]


def importance(n_blocks: int = 6, noise: float = 0.1, seed: int = 0) -> HeadScores:
    rng = np.random.default_rng(seed)
    true = rng.random((3, 4))
    blocks = np.abs(true + noise * rng.normal(size=(n_blocks, 3, 4)))
    nested = tuple(tuple(tuple(row) for row in block) for block in blocks.tolist())
    sizes = tuple(range(2, 2 + n_blocks))
    return HeadScores(sum(sizes), (), sizes, tuple((5 * s, 5 * s, s) for s in sizes), nested, nested)


@pytest.mark.parametrize("reduction", ["per-token", "per-example"])
def test_bootstrap_scores_surround_the_score_and_shrink_to_it(reduction):
    result = importance()
    low, high = stats.bootstrap_scores(result, reduction)
    assert low.shape == (3, 4)
    assert np.all(low <= result.scores(reduction) + 1e-9)
    assert np.all(result.scores(reduction) <= high + 1e-9)
    low, high = stats.bootstrap_scores(importance(n_blocks=1), reduction)
    assert low == pytest.approx(high)
    assert low == pytest.approx(importance(n_blocks=1).scores(reduction))


@pytest.mark.parametrize("reduction", ["per-token", "one-divisor", "per-example"])
def test_one_heads_interval_is_that_of_all_heads(reduction):
    result = importance(noise=0.5)
    low, high = stats.bootstrap_scores(result, reduction)
    for head in (Head(0, 1), Head(2, 3)):
        assert stats.bootstrap_score(result, head, reduction) == pytest.approx((low[head.layer, head.head],
                                                                                high[head.layer, head.head]))


@pytest.mark.parametrize("reduction", ["per-token", "per-example"])
def test_a_ranking_is_stable_without_noise_and_less_so_with_it(reduction):
    calm, noisy = (stats.bootstrap_stability(importance(noise=n), reduction) for n in (0.0, 2.0))
    assert calm.split_half == pytest.approx(1)
    assert noisy.low <= noisy.split_half <= noisy.high < calm.low
    assert noisy == stats.bootstrap_stability(importance(noise=2.0), reduction)


def test_two_blocks_have_one_halving():
    result = importance(n_blocks=2)
    a, b = (result.scores("per-token", np.array([i])) for i in (0, 1))
    assert stats.bootstrap_stability(result).split_half == pytest.approx(stats.spearman(a, b))


def test_one_block_says_nothing_about_stability():
    assert math.isnan(stats.bootstrap_stability(importance(n_blocks=1)).split_half)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(BadInput, match="per-token, one-divisor, per-example"):
        stats.bootstrap_stability(importance(), "sum")


@given(outcomes)
def test_the_mean_difference_of_one_task_is_its_difference(pair):
    a, b = pair
    assert stats.mean_difference_interval([pair]) == pytest.approx(stats.difference_interval(a, b))


def test_a_mean_difference_is_surer_than_a_task_s_and_lies_where_their_mean_does():
    rng = np.random.default_rng(1)
    pairs = [(rng.random(50) < 0.9, rng.random(50) < 0.6) for _ in range(9)]
    low, high = stats.mean_difference_interval(pairs)
    one = stats.difference_interval(*pairs[0])
    assert low < np.mean([b.mean() - a.mean() for a, b in pairs]) < high
    assert high - low < (one.high - one.low) / 2


def test_a_mean_difference_needs_tasks_with_queries():
    with pytest.raises(BadInput, match="at least one"):
        stats.mean_difference_interval([])
    with pytest.raises(BadInput, match="at least one"):
        stats.mean_difference_interval([(np.zeros(0, bool), np.zeros(0, bool))])


def test_holm_by_hand():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.9, 0.8]).max() == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(ps):
    adjusted = stats.holm(ps)
    assert np.all(adjusted >= np.array(ps) - 1e-15)
    assert np.all(np.diff(adjusted[np.argsort(ps, kind="stable")]) >= 0)


def test_the_counts_expected_by_chance_are_binomial_and_add_up():
    expected = stats.topk_counts_chance(n=10, k=5, n_matrices=2)
    assert expected == pytest.approx([2.5, 5, 2.5])
    rng = np.random.default_rng(0)
    found = np.zeros(4)
    for _ in range(400):
        counts = stats.topk_counts([rng.random((4, 5)) for _ in range(3)], 0.25)
        found += np.bincount(counts.ravel(), minlength=4)
    assert found / 400 == pytest.approx(stats.topk_counts_chance(20, 5, 3), abs=0.4)


def test_clustering_puts_like_beside_like():
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(2, 40))
    scores = [kinds[i % 2] + 0.2 * rng.normal(size=40) for i in range(6)]
    order = stats.cluster_order(stats.spearman_matrix(scores))
    assert sorted(order) == list(range(6))
    assert [i % 2 for i in order] in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])
    assert stats.cluster_order(np.ones((2, 2))) == [0, 1]
    assert sorted(stats.cluster_order(np.full((4, 4), np.nan))) == [0, 1, 2, 3]


def test_each_pair_is_off_the_diagonal_once():
    assert stats.off_diagonal(np.array([[1, 2, 3], [2, 1, 4], [3, 4, 1]])).tolist() == [2, 3, 4]


@pytest.mark.parametrize("reduction", ["per-token", "per-example"])
def test_a_rank_correlation_s_interval_surrounds_it_and_widens_with_noise(reduction):
    calm, noisy = (stats.bootstrap_spearman(importance(noise=n), importance(noise=n, n_blocks=9), reduction)
                   for n in (0.05, 2.0))
    rho = stats.spearman(importance(noise=2.0).scores(reduction), importance(noise=2.0, n_blocks=9).scores(reduction))
    assert noisy.low <= rho <= noisy.high
    assert calm.high - calm.low < noisy.high - noisy.low
    assert math.isnan(stats.bootstrap_spearman(importance(n_blocks=1), importance(), reduction).low)


def test_the_layers_shares_add_up():
    assert stats.layer_shares(np.array([[1.0, 2], [3, 4]])) == pytest.approx([0.3, 0.7])
    assert stats.layer_shares(np.zeros((2, 3))).tolist() == [0, 0]


def test_the_overlap_matrix_holds_the_overlap_of_every_pair():
    rng = np.random.default_rng(0)
    scores = [rng.random((3, 5)) for _ in range(4)]
    matrix = stats.overlap_matrix(scores, 0.3)
    for i, j in itertools.product(range(4), repeat=2):
        assert matrix[i, j] == pytest.approx(stats.topk_overlap(scores[i], scores[j], 0.3))


def test_a_hand_drawn_induction_pattern_matches_perfectly_and_a_uniform_one_as_by_chance():
    n_block, n_repeats = 5, 4
    n = 1 + n_block * n_repeats
    perfect = np.zeros((n, n))
    for query in range(n_block + 1, n):
        perfect[query, query - n_block + 1] = 1
    assert stats.prefix_match(perfect, n_block) == pytest.approx(1)
    uniform = np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None]
    assert stats.prefix_match(uniform, n_block) == pytest.approx(stats.prefix_match_by_chance(n_block))
    assert stats.prefix_match(np.eye(n), n_block) == 0


def test_the_targets_of_a_repeated_block_by_hand():
    # BOS a b a b a b: from the second a to what followed the first, from the third to what followed both
    assert stats.prefix_targets(2, 3) == [(3, 2), (4, 3), (5, 4), (5, 2), (6, 5), (6, 3)]
    # the authors take BOS for an occurrence of b too, the last token of the block
    assert stats.prefix_targets(2, 3, "authors") == [(3, 2), (4, 3), (4, 1), (5, 4), (5, 2), (6, 5), (6, 3), (6, 1)]


def test_the_interval_of_a_mean_narrows_with_the_root_of_the_draws():
    wide, narrow = stats.mean_interval(0.5, 0.04, 25), stats.mean_interval(0.5, 0.04, 100)
    assert narrow.high - narrow.low == pytest.approx((wide.high - wide.low) / 2)
    assert wide.low + wide.high == pytest.approx(1)


# --- how much can go ----------------------------------------------------------------------------


def test_how_much_can_go_by_hand():
    assert stats.can_go(np.array([1.0, 0.95, 0.8, 0.95]), (0, 0.3, 0.6, 0.9)) == 0.3  # the first break counts
    assert stats.can_go(np.array([1.0, 0.9, 0.9]), (0, 0.5, 0.9)) == 0.9  # exactly at the level still holds
    assert stats.can_go(np.array([1.0, 0.2]), (0, 0.5)) == 0


def test_the_interval_of_how_much_can_go_is_a_point_where_every_question_says_the_same():
    outcomes = np.array([[1] * 30, [1] * 30, [0] * 30], bool)
    assert stats.can_go_interval([outcomes] * 2, (0, 0.4, 0.8)) == (0.4, 0.4)


def test_the_interval_contains_what_the_questions_say_and_narrows_with_more_of_them():
    rng = np.random.default_rng(3)
    fractions = [i / 20 for i in range(19)]
    fall = np.linspace(0.95, 0.1, 19)
    widths = []
    for n in (40, 4000):
        outcomes = rng.random(n) < fall[:, None]
        low, high = stats.can_go_interval([outcomes], fractions)
        assert low <= stats.can_go(outcomes.mean(1), fractions) <= high
        assert {low, high} <= set(fractions)
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_questions_in_clusters_are_drawn_together_and_tell_less():
    rng = np.random.default_rng(5)
    skill = np.repeat(rng.random(6), 30)  # six draws of demonstrations, good and bad
    outcomes = skill > np.linspace(0, 1, 11)[:, None] * 0.9
    fractions = [i / 10 for i in range(11)]
    alone, together = (stats.can_go_interval([outcomes], fractions, clusters=[of]) for of in (
        None, np.repeat(np.arange(6), 30)))
    assert together.low <= alone.low
    assert together.high >= alone.high
    assert together != alone


def test_how_much_can_go_needs_questions_at_every_fraction():
    for outcomes in ([], [np.ones((2, 3), bool)], [np.ones((3, 0), bool)]):
        with pytest.raises(BadInput, match="at every fraction"):
            stats.can_go_interval(outcomes, (0, 0.5, 0.9))


# --- kinds ----------------------------------------------------------------------------------------


def alike(labels: str, gap: float, noise: float = 0.02, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = len(labels)
    matrix = 0.5 + gap * np.array([[a == b for b in labels] for a in labels]) + noise * rng.normal(size=(n, n))
    return (matrix + matrix.T) / 2


def test_groups_that_agree_are_told_and_groups_that_do_not_are_not():
    labels = "aaaaabbbbbcccc"
    found = stats.grouping(alike(labels, 0.3), labels)
    assert found.p < 0.01
    assert found.within - found.across == pytest.approx(0.3, abs=0.05)
    assert stats.grouping(alike(labels, -0.3), labels).p < 0.01
    assert stats.grouping(alike(labels, 0.0), labels).p > 0.05


def test_the_test_of_groups_claims_too_much_as_rarely_as_it_says():
    """One task that agrees with none lowers all of its pairs at once: pairs as independent would call that a kind."""
    rng, rejected = np.random.default_rng(7), 0
    for _ in range(200):
        quality = rng.normal(size=14)
        matrix = 0.5 + 0.1 * (quality[:, None] + quality) + 0.02 * alike("x" * 14, 0, 1, int(rng.integers(10**6)))
        rejected += stats.grouping(matrix, "aaaaabbbbbcccc", 199).p < 0.05
    assert rejected <= 20


def test_one_group_or_none_has_no_test():
    assert math.isnan(stats.grouping(alike("aaaa", 0.1), "aaaa").p)
    assert math.isnan(stats.grouping(alike("abcd", 0.1), "abcd").p)


# --- one divisor --------------------------------------------------------------------------------


def test_one_divisor_lowers_the_last_layer_alone():
    result = importance()
    authors, one = result.scores("per-token"), result.scores("one-divisor")
    assert one[:2] == pytest.approx(authors[:2])
    assert one[2] * 5 == pytest.approx(authors[2])  # positions of the last layer are a fifth
    low, high = stats.bootstrap_scores(result, "one-divisor")
    assert np.all((low <= one + 1e-9) & (one <= high + 1e-9))


# --- zeros change nothing ------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from([0, 3, 16]))
def test_rank_statistics_over_some_heads_do_not_know_of_the_others(seed, n_zeros):
    rng = np.random.default_rng(seed)
    a, b = rng.lognormal(size=(2, 4, 6))
    wider = [np.pad(one, ((0, 0), (0, n_zeros))) for one in (a, b)]
    heads = np.pad(np.ones((4, 6), bool), ((0, 0), (0, n_zeros)))
    ranked = [one[heads] for one in wider]
    assert stats.spearman(*ranked) == stats.spearman(a, b)
    assert stats.topk_overlap(*ranked, 0.2) == stats.topk_overlap(a, b, 0.2)
    assert stats.topk_counts(ranked, 0.2).tolist() == stats.topk_counts([a, b], 0.2).ravel().tolist()
    assert stats.concentration(wider[0]) == stats.concentration(a)
    assert stats.retained_curve(*ranked, (0, 0.3, 0.6)).tolist() == stats.retained_curve(a, b, (0, 0.3, 0.6)).tolist()


def test_a_bootstrap_over_some_heads_is_that_of_a_model_without_the_others():
    result = importance()
    wide = HeadScores(result.n_examples, (), result.block_sizes, result.block_positions, *(tuple(
        tuple((*row, 0.0, 0.0) for row in block) for block in blocks)
        for blocks in (result.block_per_token, result.block_per_example)))
    heads = np.array([[True] * 4 + [False] * 2] * 3)
    assert stats.bootstrap_stability(wide, heads=heads) == stats.bootstrap_stability(result)
    assert stats.bootstrap_spearman(wide, wide, heads=heads) == stats.bootstrap_spearman(result, result)
    assert stats.bootstrap_stability(wide).split_half > stats.bootstrap_stability(result).split_half


# --- areas --------------------------------------------------------------------------------------


def test_areas_by_hand():
    """m = .2, .5, .8, .6 at k = 0, .5, .75, 1: f = 0, .75, 1.5, 1."""
    cpr, cmd = stats.areas([1, 0.75, 0.5, 0], [0.6, 0.8, 0.5, 0.2])
    assert cpr == pytest.approx(0.5 * 0.375 + 0.25 * 1.125 + 0.25 * 1.25, abs=1e-12)
    assert cmd == pytest.approx(0.5 * 0.625 + 0.25 * 0.375 + 0.25 * 0.25, abs=1e-12)
    assert stats.areas([0, 1], [0.2, 0.6]) == pytest.approx((0.5, 0.5))


def as_published(percentages, scores, corrupted, baseline):
    """MIB's evaluation: faithfulness at each share, and the areas under it and from 1, edge by edge."""
    faithfulness = [(score - corrupted) / (baseline - corrupted) for score in scores]
    under = from_1 = 0.0
    for i in range(len(faithfulness) - 1):
        x_1, x_2 = percentages[i], percentages[i + 1]
        under += (x_2 - x_1) * (faithfulness[i] + faithfulness[i + 1]) / 2
        from_1 += (x_2 - x_1) * (abs(1 - faithfulness[i]) + abs(1 - faithfulness[i + 1])) / 2
    return under, from_1


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=9, unique=True), st.randoms(use_true_random=False))
def test_areas_are_mib_s_whatever_the_order_of_the_points(inner, rng):
    kept = [0.0, *sorted(inner), 1.0]
    scores = [rng.random() for _ in kept]
    scores[-1] = scores[0] + 0.1 + rng.random()
    shuffled = rng.sample(range(len(kept)), len(kept))
    found = stats.areas([kept[i] for i in shuffled], [scores[i] for i in shuffled])
    assert found == pytest.approx(as_published(kept, scores, scores[0], scores[-1]), abs=1e-9)
    assert stats.areas(kept, [3 * score + 2 for score in scores]) == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize(("kept", "metric"), [
    ([0, 0.5], [1, 2]), ([0.1, 1], [1, 2]), ([0, 1], [1]), ([0, 1, 1], [1] * 3), ([], []), ([0, 1, 1.5], [1] * 3)])
def test_areas_need_both_ends_and_each_share_once(kept, metric):
    with pytest.raises(BadInput, match="both included"):
        stats.areas(kept, metric)


def test_there_is_no_area_where_all_components_do_no_better_than_none():
    assert np.isnan(stats.areas([0, 0.5, 1], [0.5, 0.6, 0.5])).all()
    one = stats.area_intervals([np.array([[1, 0], [1, 1], [0, 1]], bool)], [0, 0.5, 1])
    assert np.isnan(one.areas.cpr)
    assert one.cpr == (-np.inf, np.inf)


def test_an_area_s_interval_contains_it_narrows_with_questions_and_pairs_two_curves():
    rng = np.random.default_rng(4)
    kept, widths = [0, 0.25, 0.5, 0.75, 1], []
    for n in (60, 3000):
        luck = rng.random(n)
        good, bad = (luck < np.array(level)[:, None] for level in (
            [0.3, 0.8, 0.9, 0.9, 0.9], [0.3, 0.3, 0.4, 0.6, 0.9]))
        found = stats.area_intervals([good], kept, [bad])
        assert found.cpr.low <= found.areas.cpr <= found.cpr.high
        assert found.cmd.low <= found.areas.cmd <= found.cmd.high
        assert found.areas == stats.areas(kept, good.mean(1))
        assert found.more == pytest.approx(found.areas.cpr - stats.areas(kept, bad.mean(1)).cpr)
        assert 0 < found.more_interval.low <= found.more <= found.more_interval.high
        widths.append(found.cpr.high - found.cpr.low)
    assert widths[1] < widths[0] / 3
    same = stats.area_intervals([good], kept, [good])
    assert (same.more, same.more_interval) == (0, (0, 0))
    clustered = stats.area_intervals([good], kept, clusters=[np.arange(3000) // 1500])
    assert clustered.cpr != found.cpr
    with pytest.raises(BadInput, match="at every share"):
        stats.area_intervals([good[:2]], kept)


def test_questions_of_several_tasks_keep_their_own_draws():
    one = stats.Marks(np.array([True, False, True]), np.array([4, 4, 7]))
    both = stats.pooled([one, one, np.array([True, False])])
    assert both.right.tolist() == [True, False, True] * 2 + [True, False]
    assert both.clusters.tolist() == [0, 0, 1, 2, 2, 3, 4, 5]
    assert not stats.pooled([np.array([True, False])] * 2).clustered
    with pytest.raises(BadInput, match="No tasks"):
        stats.pooled([])
