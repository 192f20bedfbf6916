"""Which heads continue what they have seen before? Their scores beside importance, and what pruning leaves of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from backend import stats
from backend.kinds import InductionScores
from backend.tables.importance import grid_table
from backend.values import INTACT, Ablation


def capacity_table(scores: InductionScores, rankings: Mapping[str, np.ndarray],
                   fractions: Sequence[float]) -> pd.DataFrame:
    """The induction capacity retained as heads are pruned along each ranking: label, removed, retained."""
    total = np.asarray(scores.mean)
    return pd.DataFrame([
        {"ranking": label, "removed": float(fraction), "retained": float(left)}
        for label, ranking in rankings.items()
        for fraction, left in zip(fractions, stats.retained_curve(total, ranking, fractions), strict=True)])


def scores_table(importance: np.ndarray, prefix_matching: InductionScores, copying: InductionScores,
                 chosen: Ablation = INTACT) -> pd.DataFrame:
    """One row per head: its importance and rank in it, and both induction scores."""
    return grid_table(importance, chosen).rename(columns={"rank": "importance rank"}).assign(
        **{"prefix matching": np.array(prefix_matching.mean).ravel(), "copying": np.array(copying.mean).ravel()})


def leaders_table(table: pd.DataFrame, by: str = "prefix matching", n: int = 12) -> pd.DataFrame:
    """The heads of a `scores_table` that lead in one of its scores, with their other scores."""
    shown = table.sort_values(by, ascending=False, kind="stable").head(n).reset_index(drop=True)
    return shown[["name", "prefix matching", "copying", "importance", "importance rank", "off"]].rename(
        columns={"name": "head", "off": "chosen"})
