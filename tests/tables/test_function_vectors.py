"""Function-vector heads beside the induction heads and the important ones: scores, ranks, and what sets share."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from backend import stats, tables
from backend.kinds import Effects, InductionScores
from backend.values import Ablation, Head
from tests.tables.records import sweep

EFFECT = np.array([[0.3, 0.2, 0.1], [0.0, -0.1, -0.2]])
PREFIX = np.array([[0.1, 0.9, 0.8], [0.2, 0.0, 0.3]])
IMPORTANCE = np.array([[6.0, 5.0, 1.0], [2.0, 4.0, 3.0]])


def plain(values: np.ndarray) -> tuple:
    return tuple(tuple(row) for row in values.tolist())


def effects(mean: np.ndarray = EFFECT, draws: tuple[int, ...] = ()) -> Effects:
    """Four prompts whose effects lie around the mean by 0.01."""
    found = tuple(plain(mean + by) for by in (-0.01, 0.01, -0.01, 0.01))
    return Effects(1, 0.9, (0.5,) * 4, found, draws, (0,) * 5, ())


def table(*records: Effects, **more) -> pd.DataFrame:
    prefix = InductionScores(3, plain(PREFIX), plain(0 * PREFIX), "x", 9)
    return tables.vectors_table(records or [effects()], prefix, IMPORTANCE, **more)


def test_a_row_per_head_has_three_scores_and_three_ranks():
    found = table(chosen=Ablation(frozenset({Head(1, 2)})))
    assert found["effect"].to_numpy() == pytest.approx(EFFECT.ravel())
    assert list(found["effect rank"]) == [1, 2, 3, 4, 5, 6]
    assert list(found["prefix matching rank"]) == [5, 1, 2, 4, 6, 3]
    assert list(found["importance rank"]) == [1, 2, 6, 5, 3, 4]
    assert list(found.query("off")["name"]) == ["L1H2"]
    half = 3.182446 * 0.01 * np.sqrt(4 / 3) / 2  # t with 3 degrees of freedom
    assert found["95 % from"].to_numpy() == pytest.approx(EFFECT.ravel() - half, abs=1e-6)
    assert found["to"].to_numpy() == pytest.approx(EFFECT.ravel() + half, abs=1e-6)


def test_dead_heads_have_no_rows_and_no_ranks():
    alive = np.array([[False, True, True], [True, True, True]])
    found = table(heads=alive)
    assert list(found["name"]) == ["L0H1", "L0H2", "L1H0", "L1H1", "L1H2"]
    assert list(found["effect rank"]) == [1, 2, 3, 4, 5]
    assert found["p (Holm)"].max() <= 1


def test_the_effect_is_the_mean_over_tasks():
    other = effects(EFFECT + 0.2)
    assert table(effects(), other)["effect"].to_numpy() == pytest.approx(EFFECT.ravel() + 0.1)


def test_what_sets_share_stands_beside_chance():
    found = tables.sets_table(table(), 3)
    assert list(found["sets"]) == ["function vector and induction", "function vector and important",
                                   "induction and important"]
    assert list(found["in common"]) == [2, 2, 1]
    assert found["by chance"].to_numpy() == pytest.approx([1.5] * 3)
    assert list(zip(found["95 % from"], found["to"], strict=True)) == [(0, 3)] * 3
    assert found["p"].to_numpy() == pytest.approx([1.0] * 3)  # 10 of 20 ways share at least 2


def test_the_parts_of_the_picture_add_up_to_the_sets():
    found = tables.regions_table(table(), 3).set_index("part")
    assert found.loc["function vector and induction and important", "which"] == "L0H1"
    assert found.loc["function vector and induction alone", "which"] == "L0H2"
    assert found.loc["function vector and important alone", "which"] == "L0H0"
    assert found.loc["induction alone", "which"] == "L1H2"
    assert found.loc["important alone", "which"] == "L1H1"
    assert found.loc["function vector alone", "heads"] == 0
    for name in tables.SETS:
        assert found[found[name]]["heads"].sum() == 3


def test_heads_of_one_set_can_leave_out_those_of_another():
    assert tables.heads_of(table(), 3, tables.VECTOR) == {Head(0, 0), Head(0, 1), Head(0, 2)}
    assert tables.heads_of(table(), 3, tables.VECTOR, [tables.INDUCTION]) == {Head(0, 0)}
    assert tables.heads_of(table(), 3, tables.INDUCTION, [tables.VECTOR]) == {Head(1, 2)}


def test_the_heads_of_the_sets_are_listed_with_the_sets_they_are_in():
    found = tables.set_heads_table(table(), 2)
    assert list(found["head"]) == ["L0H0", "L0H1", "L0H2"]
    assert list(found["top"]) == ["function vector, important", "function vector, induction, important", "induction"]
    assert found.columns[0] == "head"


def test_an_overlap_is_tested_exactly():
    heads = [Head(0, i) for i in range(10)]
    test = stats.overlap_test(heads[:4], heads[:4], 10)
    assert (test.common, test.expected) == (4, pytest.approx(1.6))
    assert test.p == pytest.approx(2 / 210)  # one way of 210, twice
    assert stats.overlap_test(heads[:5], heads[5:], 10).p == pytest.approx(2 / 252)
    assert stats.overlap_test(heads, heads[:3], 10) == (3, pytest.approx(3), 3, 3, 1)
    assert (test.low, test.high) == (0, 3)
    with pytest.raises(ValueError, match="of which there are 3"):
        stats.overlap_test(heads, heads, 3)


def test_mean_effects_are_t_tests_over_prompts_or_over_what_shares_a_draw():
    values = np.array([[0.1], [0.3], [0.2], [0.4]])
    found = stats.mean_effects([(values, ())])
    error = values.std(ddof=1) / 2
    assert found.mean == pytest.approx([0.25])
    assert found.p == pytest.approx(ttest_1samp(values, 0).pvalue)
    assert found.high - found.mean == pytest.approx([3.182446 * error])
    shared = stats.mean_effects([(values, (0, 0, 1, 1))])  # means of 0.2 and 0.3: one degree of freedom
    assert shared.high[0] == pytest.approx(min(1, 0.25 + 12.7062 * 0.05), abs=1e-4)
    both = stats.mean_effects([(values, ()), (values, ())])
    assert both.mean == pytest.approx(found.mean)
    assert both.high - both.mean == pytest.approx([stats._t(6, 0.95) * error / np.sqrt(2)])


@pytest.mark.parametrize("draws", [(), (0, 0, 0)])
def test_what_cannot_vary_is_not_told(draws):
    one = stats.mean_effects([(np.full((3 if draws else 1, 2), 0.5), draws)])
    assert (one.p == 1).all()
    assert (one.low[0], one.high[0]) == (-1, 1)
    with pytest.raises(ValueError, match="at least one task"):
        stats.mean_effects([])


def test_curves_without_heads_have_a_row_per_sort_and_point_and_one_band_of_random_draws():
    curve = sweep([(True, True), (True, False)], removed=[(0.0, 0.0), (0.1, 0.0)])
    other = sweep([(True, True), (False, False)], removed=[(0.0, 0.0), (0.1, 0.0)])
    found = {"function-vectors": [curve], "induction": [other], "vectors-not-induction": [other],
             "induction-not-vectors": [curve], "random:0": [curve], "random:1": [other]}
    shown = tables.knock_out_table(found).set_index(["off", "share"])
    assert shown["accuracy"].to_dict() == {
        **{(name, 0.0): 1.0 for name in (*tables.KNOCKED.values(), tables.OTHERS)},
        ("function-vector heads", 0.1): 0.5, ("induction heads", 0.1): 0.0,
        ("function-vector, no induction", 0.1): 0.0, ("induction, no function-vector", 0.1): 0.5,
        (tables.OTHERS, 0.1): 0.25}
    assert tuple(shown.loc[(tables.OTHERS, 0.1)][["low", "high"]]) == (0.0, 0.5)
    ((without_induction, without_vectors),) = tables.knock_out_pairs(found, 0.1)
    assert list(without_induction.right) == [True, False]
    assert list(without_vectors.right) == [False, False]
