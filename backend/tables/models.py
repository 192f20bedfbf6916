"""Do two models keep their important heads in the same places? Importance in units that can be compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Float, Real
from ..values import INTACT, Ablation
from .importance import grid_table

UNITS = ("share of the total", "percentile", "raw")


def in_unit(
    scores: Real[np.ndarray, "n_layers n_heads"], unit: str, headless: Collection[int] = ()
) -> Float[np.ndarray, "n_layers n_heads"]:
    """Importance in one of the `UNITS`; NaN in layers without attention heads.

    share of the total: of the model's importance, all heads together 1. percentile: `stats.percentiles`, 1 = the
    highest head. raw: as it was measured, for models whose losses are alike.
    """
    there = [layer for layer in range(len(scores)) if layer not in headless]
    shown, known = np.full(np.shape(scores), np.nan), np.asarray(scores, float)[there]
    shown[there] = known if unit == "raw" else stats.percentiles(known) if unit == "percentile" else stats.shares(known)
    return shown


def models_table(
    maps: Mapping[str, Real[np.ndarray, "_ _"]], headless: Mapping[str, Collection[int]], chosen: Ablation = INTACT,
    label: str = "importance",
) -> pd.DataFrame:
    """Score matrices of models, which may differ in shape, below one another: a row per head of each."""
    return pd.concat([grid_table(scores, chosen, label=label, headless=headless[name]).assign(model=name)
                      for name, scores in maps.items()], ignore_index=True)


def depth_table(scores: Mapping[str, Real[np.ndarray, "_ _"]], headless: Mapping[str, Collection[int]]) -> pd.DataFrame:
    """A row per layer of each model: its relative depth, its share of the importance, and that against an even one."""
    parts = []
    for name, one in scores.items():
        layers = [layer for layer in range(len(one)) if layer not in headless[name]]
        depth, relative = stats.depth_profile(one, layers)
        parts.append(pd.DataFrame({"model": name, "layer": layers, "depth": depth, "share": relative / len(layers),
                                   "against an even spread": relative}))
    return pd.concat(parts, ignore_index=True)
