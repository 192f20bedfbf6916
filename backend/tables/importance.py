"""Which heads does a task lean on? Score matrices as tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Real
from ..kinds import HeadScores
from ..values import INTACT, Ablation

FFN = -1  # the `head` of what stands for a layer's FFN
NO_HEADS = "no attention heads in this layer: linear attention"


def grid_table(scores: Real[np.ndarray, "n_layers n_heads"], off: Ablation = INTACT, *, label: str = "importance",
               headless: Collection[int] = ()) -> pd.DataFrame:
    """One row per head: layer, head, name, its score, its rank and whether it is off.

    Args:
        scores: (n_layers, n_heads).
        label: what the score is called, the name of its column.
        headless: layers without attention heads, whose cells say so and have neither score nor rank.
    """
    n_layers, n_heads = scores.shape
    layers, heads = (grid.ravel() for grid in np.indices(scores.shape))
    there = ~np.isin(layers, list(headless))
    scores = np.where(there, scores.ravel(), np.nan)
    ranks = np.full(scores.size, np.nan)
    if not np.isnan(scores[there]).any():
        ranks[there] = stats.places(scores[there])
    names = [f"L{layer}H{head}" if layer not in headless else NO_HEADS for layer in range(n_layers)
             for head in range(n_heads)]
    return pd.DataFrame({"layer": layers, "head": heads, "name": names, label: scores, "rank": ranks,
                         "off": np.isin(names, [str(h) for h in off.heads])})


def layer_shares(scores: Real[np.ndarray, "n_layers n_heads"], headless: Collection[int] = ()) -> pd.DataFrame:
    """Each layer's share of all heads' importance, from (n_layers, n_heads) scores.

    Args:
        headless: layers without attention heads, which have no rows.
    """
    table = pd.DataFrame({"layer": range(len(scores)), "share": stats.layer_shares(scores)})
    return table[~table["layer"].isin(headless)]


def leading_heads_table(
    record: HeadScores, by: str = "per-token", chosen: Ablation = INTACT,
    spread: tuple[Real[np.ndarray, "n_layers n_heads"], Real[np.ndarray, "n_layers n_heads"]] | None = None,
    n: int = 20, headless: Collection[int] = (),
) -> pd.DataFrame:
    """The highest heads with their intervals: a row per head, the highest first.

    Args:
        by: which reduction of the importance, see `HeadScores.scores`.
        spread: the interval's ends, (n_layers, n_heads) each; by default `stats.bootstrap_scores`.
        headless: layers without attention heads, which have no rows.
    """
    scores = record.scores(by)
    low, high = spread if spread is not None else stats.bootstrap_scores(record, by)
    shares = stats.shares(scores)
    ranked = [head for head in stats.highest(scores, 1) if head.layer not in headless]
    return pd.DataFrame([
        {"rank": rank, "head": str(h), "importance": scores[h.layer, h.head], "95 % from": low[h.layer, h.head],
         "to": high[h.layer, h.head], "share": shares[h.layer, h.head], "chosen": h in chosen.heads}
        for rank, h in enumerate(ranked[:n], 1)])


def maps_table(
    maps: Mapping[str, Real[np.ndarray, "n_layers n_heads"]], chosen: Ablation = INTACT, label: str = "importance",
    headless: Collection[int] = (),
) -> pd.DataFrame:
    """Several score matrices below one another: a `grid_table` each, with a column "map" that says which."""
    return pd.concat([grid_table(scores, chosen, label=label, headless=headless).assign(map=name)
                      for name, scores in maps.items()], ignore_index=True)
