"""Which heads continue what they have seen before? Their scores beside importance, and what pruning leaves of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Bool, Real
from ..kinds import InductionScores
from ..values import INTACT, Ablation
from .importance import grid_table


def induction_table(record: InductionScores, name: str, show: str = "mean", chosen: Ablation = INTACT,
                    headless: Collection[int] = ()) -> pd.DataFrame:
    """One row per head: the mean of an induction score over the random sequences, its 95 % interval and variance.

    Args:
        name: what the score is called.
        show: "mean" or "variance", by which the heads are ranked and which comes first.
    """
    mean, variance = (np.asarray(values, float) for values in (record.mean, record.variance))
    low, high = np.array([stats.mean_interval(m, v, record.n_seeds)
                          for m, v in zip(mean.ravel(), variance.ravel(), strict=True)]).T
    known = {name: mean.ravel(), "95 % from": low, "to": high, f"variance of {name}": variance.ravel()}
    first = name if show == "mean" else f"variance of {name}"
    table = grid_table(known[first].reshape(mean.shape), chosen, label=first, headless=headless)
    there = ~table["layer"].isin(headless)
    return table.assign(**{label: np.where(there, values, np.nan) for label, values in known.items()})


def correlation_table(table: pd.DataFrame, by: str = "importance") -> pd.DataFrame:
    """Spearman's rank correlation of each score of a `scores_table` with one of them; 0 is chance."""
    return pd.DataFrame([{"score": name, "with": by, "Spearman ρ": stats.spearman(
        table[name].to_numpy(), table[by].to_numpy())} for name in ("prefix matching", "copying")])


def capacity_table(
    scores: InductionScores, rankings: Mapping[str, Real[np.ndarray, "n_layers n_heads"]], fractions: Sequence[float],
    heads: Bool[np.ndarray, "n_layers n_heads"] | None = None,
) -> pd.DataFrame:
    """The induction capacity retained as heads are pruned along each ranking: label, removed, retained.

    Args:
        heads: those that are pruned and counted; None: all.
    """
    total = np.asarray(scores.mean)
    which = np.ones(total.shape, bool) if heads is None else heads
    return pd.DataFrame([
        {"ranking": label, "removed": float(fraction), "retained": float(left)}
        for label, ranking in rankings.items()
        for fraction, left in zip(fractions, stats.retained_curve(total[which], ranking[which], fractions),
                                  strict=True)])


def scores_table(
    importance: Real[np.ndarray, "n_layers n_heads"], prefix_matching: InductionScores, copying: InductionScores,
    chosen: Ablation = INTACT, heads: Bool[np.ndarray, "n_layers n_heads"] | None = None,
) -> pd.DataFrame:
    """One row per head: its importance and rank in it, and both induction scores.

    Args:
        heads: those that have rows, and are ranked; None: all.
    """
    which = np.ones(importance.shape, bool) if heads is None else heads
    table = grid_table(importance, chosen).assign(
        **{"prefix matching": np.array(prefix_matching.mean).ravel(), "copying": np.array(copying.mean).ravel()})
    table = table.rename(columns={"rank": "importance rank"})[which.ravel()]
    return table.assign(**{"importance rank": stats.places(table["importance"].to_numpy()).astype(float)})


def leaders_table(table: pd.DataFrame, by: str = "prefix matching", n: int = 12) -> pd.DataFrame:
    """The heads of a `scores_table` that lead in one of its scores, with their other scores."""
    shown = table.sort_values(by, ascending=False, kind="stable").head(n).reset_index(drop=True)
    return shown[["name", "prefix matching", "copying", "importance", "importance rank", "off"]].rename(
        columns={"name": "head", "off": "chosen"})
