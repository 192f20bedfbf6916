"""Do tasks and shots share their heads? Correlations and overlaps of score matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Bool, Float, Int, Real
from ..kinds import HeadScores


def matrix_table(
    values: Real[np.ndarray, "n_rows n_columns"], rows: Sequence[str], columns: Sequence[str], label: str, *,
    blank_diagonal: bool = False,
) -> pd.DataFrame:
    """One row per cell: row, column, and the value under `label`."""
    return pd.DataFrame([
        {"row": row, "column": column,
         label: np.nan if blank_diagonal and row == column else float(values[i, j])}
        for i, row in enumerate(rows) for j, column in enumerate(columns)])


def agreement_table(
    records: Mapping[str, HeadScores], by: str = "per-token", heads: Bool[np.ndarray, "n_layers n_heads"] | None = None,
    share: float = 0.2,
) -> pd.DataFrame:
    """How alike two score matrices are, and how sure that is: one row.

    Spearman's ρ with its bootstrap interval over blocks of examples, the overlap of the top heads (intersection over
    union) beside chance, and how far two halves of each one's own examples agree.

    Args:
        records: two, by what they are called.
        by: which reduction of the importance, see `HeadScores.scores`.
        heads: those that are ranked; None: all.
        share: of the heads, the top that is compared.
    """
    first, second = records.values()
    a, b = (one.scores(by) if heads is None else one.scores(by)[heads] for one in (first, second))
    low, high = stats.bootstrap_spearman(first, second, by, heads=heads)
    row: dict[str, Any] = {"pair": " and ".join(records), "Spearman ρ": stats.spearman(a, b), "95 % from": low,
                           "to": high, "top share": share, "overlap": stats.topk_overlap(a, b, share),
                           "chance": stats.topk_overlap_chance(a.size, max(1, stats.count(share, a.size)))}
    return pd.DataFrame([row | {f"halves of {name}": stats.bootstrap_stability(one, by, heads=heads).split_half
                                for name, one in records.items()}])


def counts_table(counts: Int[np.ndarray, " ..."], share: float, n_matrices: int) -> pd.DataFrame:
    """How many heads are in the top of 0, 1, .. tasks, found and expected of independent random rankings."""
    k = max(1, stats.count(share, counts.size))
    expected = stats.topk_counts_chance(counts.size, k, n_matrices)
    found = np.bincount(counts.ravel(), minlength=n_matrices + 1)
    return pd.DataFrame({"tasks": range(n_matrices + 1), "heads": found, "by chance": expected})


def overlap_table(scores: Sequence[Real[np.ndarray, "*components"]], shares: Sequence[float]) -> pd.DataFrame:
    """Per size of the top: the mean, lowest and highest overlap over pairs of score matrices, and chance."""
    rows: list[dict[str, Any]] = []
    n = scores[0].size
    for share in shares:
        pairs = stats.off_diagonal(stats.overlap_matrix(scores, share))
        k = max(1, stats.count(share, n))
        rows.append({"share": share, "heads": k, "mean": float(pairs.mean()), "low": float(pairs.min()),
                     "high": float(pairs.max()), "chance": stats.topk_overlap_chance(n, k)})
    return pd.DataFrame(rows)


def shots_correlations(
    scores: Mapping[tuple[str, int], Real[np.ndarray, "*components"]], tasks: Sequence[str],
    pairs: Sequence[tuple[int, int]], as_authors: bool = False,
) -> Float[np.ndarray, "n_tasks n_pairs"]:
    """Rank correlations of each task's scores at two numbers of shots.

    Args:
        scores: by (task, number of shots).
        as_authors: correlate index lists instead, as the study's script does.
    """
    compare = stats.spearman_as_authors if as_authors else stats.spearman
    return np.array([[compare(scores[task, a], scores[task, b]) for a, b in pairs] for task in tasks])


def kinds_table(correlations: Real[np.ndarray, "n_tasks n_tasks"], kinds: Sequence[str]) -> pd.DataFrame:
    """Tasks of one kind against tasks of different kinds: mean, lowest and highest correlation, a row per kind of pair.

    The last two rows are all pairs within one kind, whichever, and all across; a row without pairs is left out.

    Args:
        correlations: symmetric.
        kinds: of each task.
    """
    pairs = [(float(correlations[i, j]), kinds[i], kinds[j]) for i in range(len(kinds)) for j in range(i)]
    groups = {f"within {kind}": [r for r, a, b in pairs if a == b == kind] for kind in dict.fromkeys(kinds)}
    groups |= {"within one kind": [r for r, a, b in pairs if a == b],
               "across kinds": [r for r, a, b in pairs if a != b]}
    return pd.DataFrame([{"pairs": label, "mean ρ": float(np.mean(rhos)), "low": min(rhos), "high": max(rhos),
                          "n": len(rhos)} for label, rhos in groups.items() if rhos])
