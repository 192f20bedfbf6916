"""Which heads continue what they have seen before? Their scores beside importance, and what pruning leaves of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from backend import stats
from backend.kinds import InductionScores
from backend.tables.importance import grid_table
from backend.values import INTACT, Ablation


def capacity_table(scores: InductionScores, rankings: Mapping[str, np.ndarray],
                   fractions: Sequence[float], headless: Collection[int] = ()) -> pd.DataFrame:
    """The induction capacity retained as heads are pruned along each ranking: label, removed, retained.

    Args:
        headless: layers without attention heads, of which nothing is pruned.
    """
    total = np.asarray(scores.mean)
    attending = [layer for layer in range(len(total)) if layer not in headless]
    return pd.DataFrame([
        {"ranking": label, "removed": float(fraction), "retained": float(left)}
        for label, ranking in rankings.items()
        for fraction, left in zip(fractions, stats.retained_curve(total[attending], ranking[attending],
                                                                 fractions), strict=True)])


def scores_table(importance: np.ndarray, prefix_matching: InductionScores, copying: InductionScores,
                 chosen: Ablation = INTACT, headless: Collection[int] = ()) -> pd.DataFrame:
    """One row per head: its importance and rank in it, and both induction scores.

    Args:
        headless: layers without attention heads, which have no rows.
    """
    table = grid_table(importance, chosen, headless=headless).rename(columns={"rank": "importance rank"}).assign(
        **{"prefix matching": np.array(prefix_matching.mean).ravel(), "copying": np.array(copying.mean).ravel()})
    return table[~table["layer"].isin(headless)]


def leaders_table(table: pd.DataFrame, by: str = "prefix matching", n: int = 12) -> pd.DataFrame:
    """The heads of a `scores_table` that lead in one of its scores, with their other scores."""
    shown = table.sort_values(by, ascending=False, kind="stable").head(n).reset_index(drop=True)
    return shown[["name", "prefix matching", "copying", "importance", "importance rank", "off"]].rename(
        columns={"name": "head", "off": "chosen"})
