"""Layers by heads as small coloured cells: heads across, layers up, layer 0 at the bottom."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from pages.shared.charts.style import CANVAS, ORANGE, Layers, layer_step
from pages.shared.words import tiny


def layers_by_heads(table: pd.DataFrame, *, label: str = "importance", logarithmic: bool = False) -> Layers:
    """A `grid_table` as a small still picture, for many side by side; the map to click is `pages.map`."""
    n_layers, n_heads = int(table["layer"].max()) + 1, int(table["head"].max()) + 1
    step = layer_step(n_layers) * 0.45
    gap = 0.08 if n_heads <= 32 else 0
    x = alt.X("head:O", title=None, axis=None,
              scale=alt.Scale(paddingInner=gap, paddingOuter=0))
    y = alt.Y("layer:O", sort="descending", title=None, axis=None, scale=alt.Scale(paddingInner=gap, paddingOuter=0))
    number = ".2~e" if tiny(table[label]) else ".3~g"
    tooltip = [alt.Tooltip("name:N", title="component"), alt.Tooltip(f"{label}:Q", format=number),
               alt.Tooltip("rank:Q", title="rank (1 = highest)")]
    cells = alt.Chart(table).mark_rect(cornerRadius=3 if gap else 0, invalid="show", aria=len(table) <= CANVAS).encode(
        x=x, y=y, tooltip=tooltip, color=alt.Color(
            f"{label}:Q", condition={"test": f"!isValid(datum['{label}'])", "value": "#8593a355"},
            scale=_scale(table[label].to_numpy(float), logarithmic), legend=None),
        stroke=alt.when("datum.off").then(alt.value(ORANGE)).otherwise(alt.value("transparent")),
        strokeWidth=alt.value(1.6 if gap else 0.6))
    crosses = alt.Chart(table).transform_filter("datum.off").mark_point(
        shape="cross", angle=45, size=min(110.0, step * step / 7), filled=True, color=ORANGE, opacity=0.95,
        aria=False).encode(
        x=x, y=y, tooltip=tooltip)
    return alt.layer(cells, crosses).properties(height=round(step * n_layers))


def _scale(values: np.ndarray, logarithmic: bool) -> alt.Scale:
    """The colours' scale: from 0, so that equal colours mean equal shares, or logarithmic."""
    finite = values[np.isfinite(values)]
    if logarithmic and (finite > 0).any():
        return alt.Scale(range="heatmap", type="log", clamp=True,
                         domain=[float(finite[finite > 0].min()), float(finite.max())])
    low, high = min(0.0, float(finite.min(initial=0))), float(finite.max(initial=0))
    return alt.Scale(range="heatmap", domain=[low, high if high > low else low + 1])
