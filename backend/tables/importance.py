"""Which heads does a task lean on? Score matrices as tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from backend import stats
from backend.kinds import HeadScores
from backend.values import INTACT, Ablation, Head

FFN = -1  # the `head` of a row that stands for a layer's FFN
NO_HEADS = "no attention heads in this layer: linear attention"
ALL = -2  # the `head` of a row that stands for all heads of a layer; the `layer` of one for a whole column


def grid_table(scores: np.ndarray | None, off: Ablation = INTACT, *, shape: tuple[int, int] | None = None,
               ffns: bool = False, wholes: bool = False, label: str = "importance",
               headless: Collection[int] = ()) -> pd.DataFrame:
    """One row per head (and per FFN, with `head` -1): layer, head, name, its score and whether it is off.

    Args:
        scores: (n_layers, n_heads), or None when there is nothing to colour by (then give `shape`).
        wholes: also a row per layer and per column, which stands for everything in it.
        label: what the score is called, the name of its column.
        headless: layers without attention heads, whose cells say so and have neither score nor rank.
    """
    if scores is None:
        assert shape is not None
        scores = np.full(shape, np.nan)
    n_layers, n_heads = scores.shape
    layers, heads = (grid.ravel() for grid in np.indices(scores.shape))
    there = ~np.isin(layers, list(headless))
    scores = np.where(there, scores.ravel(), np.nan)
    ranks = np.full(scores.size, np.nan)
    if not np.isnan(scores[there]).any():
        ranks[np.flatnonzero(there)[stats.order(scores[there])[::-1]]] = np.arange(1, there.sum() + 1)
    names = [f"L{layer}H{head}" if layer not in headless else NO_HEADS for layer in range(n_layers)
             for head in range(n_heads)]
    table = pd.DataFrame({"layer": layers, "head": heads, "name": names, "column": heads.astype(str),
                          label: scores, "rank": ranks, "off": np.isin(names, [str(h) for h in off.heads])})
    beside = [(layer, FFN, f"L{layer} FFN", "FFN", layer in off.ffns) for layer in range(n_layers)] if ffns else []
    if wholes:
        places = [(layer, ALL, f"all heads of layer {layer}", "all") for layer in range(n_layers)]
        places += [(ALL, head, f"head {head} of all layers", str(head)) for head in range(n_heads)]
        places += [(ALL, FFN, "the FFNs of all layers", "FFN")] * ffns
        beside += [(*place, _is_off(off, members(place[0], place[1], n_layers, n_heads, headless))) for place in places]
    if not beside:
        return table
    more = pd.DataFrame(beside, columns=["layer", "head", "name", "column", "off"])
    return pd.concat([table, more.assign(**{label: np.nan, "rank": np.nan})], ignore_index=True)


def _is_off(off: Ablation, group: Ablation) -> bool:
    return bool(group) and off.covers(group)


def members(layer: int, head: int, n_layers: int, n_heads: int, headless: Collection[int] = ()) -> Ablation:
    """What a cell of the grid stands for: a head, an FFN, all heads of a layer or column; nothing if `headless`."""
    layers = range(n_layers) if layer == ALL else [layer]
    if head == FFN:
        return Ablation(ffns=frozenset(layers))
    return Ablation(frozenset(Head(one, h) for one in layers if one not in headless
                              for h in (range(n_heads) if head == ALL else [head])))


def layer_shares(scores: np.ndarray) -> pd.DataFrame:
    """Each layer's share of all heads' importance, from (n_layers, n_heads) scores."""
    return pd.DataFrame({"layer": range(len(scores)), "share": stats.layer_shares(scores)})


def leading_heads_table(record: HeadScores, by: str = "per-token", chosen: Ablation = INTACT,
                        spread: tuple[np.ndarray, np.ndarray] | None = None, n: int = 20,
                        headless: Collection[int] = ()) -> pd.DataFrame:
    """The highest heads with their intervals: a row per head, the highest first.

    Args:
        by: which reduction of the importance, "per-token" or "per-example".
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


def maps_table(maps: Mapping[str, np.ndarray], chosen: Ablation = INTACT, label: str = "importance",
               headless: Collection[int] = ()) -> pd.DataFrame:
    """Several score matrices below one another: a `grid_table` each, with a column "map" that says which."""
    return pd.concat([grid_table(scores, chosen, label=label, headless=headless).assign(map=name)
                      for name, scores in maps.items()], ignore_index=True)
