"""How alike score matrices are, as tables."""

import numpy as np
import pytest

from backend import stats, tables
from tests.tables.records import importance

A = np.array([[1.0, 2.0], [3.0, 4.0]])
B = A[::-1, ::-1]  # the reverse order
C = np.array([[1.0, 2.0], [4.0, 3.0]])  # the two highest swapped: rho = 1 - 6 * 2 / (4 * 15) = 0.8


def test_a_matrix_has_a_row_per_cell_and_can_leave_its_diagonal_blank():
    values = np.array([[1.0, 0.5], [0.25, 1.0]])
    table = tables.matrix_table(values, ["a", "b"], ["a", "b"], "rho", blank_diagonal=True)
    assert table[["row", "column"]].to_numpy().tolist() == [["a", "a"], ["a", "b"], ["b", "a"], ["b", "b"]]
    assert table["rho"].tolist()[1:3] == [0.5, 0.25]
    assert table["rho"].isna().tolist() == [True, False, False, True]
    assert tables.matrix_table(values, ["a", "b"], ["a", "b"], "rho")["rho"].tolist() == [1.0, 0.5, 0.25, 1.0]


def test_heads_are_counted_by_how_many_tops_hold_them_beside_chance():
    counts = stats.topk_counts([A, A, B], 0.5)
    table = tables.counts_table(counts, 0.5, 3)
    assert table["tasks"].tolist() == [0, 1, 2, 3]
    assert table["heads"].tolist() == [0, 2, 2, 0]
    assert table["by chance"].tolist() == pytest.approx([4 / 8, 12 / 8, 12 / 8, 4 / 8])


def test_overlap_is_over_pairs_for_every_size_of_the_top():
    table = tables.overlap_table([A, C, B], (0.25, 0.5))
    assert table["heads"].tolist() == [1, 2]
    assert table["mean"].tolist() == pytest.approx([0, 1 / 3])  # tops of 1 all differ; of 2: A and C the same
    assert table[["low", "high"]].to_numpy().tolist() == [[0, 0], [0, 1]]
    assert table["chance"].tolist() == pytest.approx([1 / 4, (1 / 6) * 1 + (4 / 6) / 3])


def test_a_top_holds_at_least_one_head():
    assert tables.overlap_table([A, C], (0.05,))["heads"].tolist() == [1]


def test_shots_are_compared_task_by_task():
    scores = {("a", 0): A, ("a", 1): C, ("a", 5): B, ("b", 0): A, ("b", 1): A, ("b", 5): A}
    found = tables.shots_correlations(scores, ["a", "b"], [(0, 1), (0, 5)])
    assert found == pytest.approx(np.array([[0.8, -1], [1, 1]]))
    authors = tables.shots_correlations(scores, ["a", "b"], [(0, 1)], as_authors=True)
    assert authors[0, 0] == pytest.approx(stats.spearman_as_authors(A, C))


def test_pairs_of_one_kind_are_set_against_pairs_across_kinds():
    rho = np.array([[1, 0.9, 0.2, 0.4], [0.9, 1, 0.3, 0.1], [0.2, 0.3, 1, 0.7], [0.4, 0.1, 0.7, 1]])
    table = tables.kinds_table(rho, ["x", "x", "y", "y"]).set_index("pairs")
    assert table.index.tolist() == ["within x", "within y", "within one kind", "across kinds"]
    assert table["mean ρ"].tolist() == pytest.approx([0.9, 0.7, 0.8, 0.25])
    assert table.loc["across kinds", ["low", "high", "n"]].tolist() == [0.1, 0.4, 4]


def test_a_kind_of_one_task_has_no_pairs_to_tell_of():
    table = tables.kinds_table(np.array([[1, 0.5], [0.5, 1]]), ["x", "y"])
    assert table["pairs"].tolist() == ["across kinds"]


def test_two_maps_are_compared_with_interval_overlap_and_their_own_halves():
    a = importance([[4.0, 3.0], [2.0, 1.0]], [[4.0, 3.0], [1.0, 2.0]], [[4.0, 3.0], [2.0, 1.0]])
    b = importance([[4.0, 1.0], [3.0, 2.0]], [[4.0, 1.0], [3.0, 2.0]], [[4.0, 2.0], [3.0, 1.0]])
    row = tables.agreement_table({"a": a, "b": b}, share=0.5).iloc[0]
    rho = stats.spearman(a.scores("per-token"), b.scores("per-token"))
    assert row["pair"] == "a and b"
    assert row["Spearman ρ"] == rho
    assert row["95 % from"] <= rho <= row["to"]
    assert (row["overlap"], row["chance"]) == (1 / 3, stats.topk_overlap_chance(4, 2))
    assert row["halves of a"] == stats.bootstrap_stability(a).split_half
    upper = tables.agreement_table({"a": a, "b": b}, heads=np.array([[False] * 2, [True] * 2])).iloc[0]
    assert upper["Spearman ρ"] == stats.spearman(a.scores("per-token")[1], b.scores("per-token")[1])
