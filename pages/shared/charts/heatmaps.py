"""Layers by heads as coloured cells: heads across, layers up, layer 0 at the bottom."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from backend.tables import ALL, FFN
from pages.shared.charts.style import AXIS, CANVAS, CLICK, ORANGE, PRESS, Layers, layer_step
from pages.shared.words import tiny


def layers_by_heads(table: pd.DataFrame, *, label: str = "importance", signed: bool = False,
                    domain: tuple[float, float] | None = None, clickable: bool = True, number: str | None = None,
                    compact: bool = False, logarithmic: bool = False, legend: bool = True) -> Layers:
    """A `grid_table` as a heatmap: heads across, layers up; what is off is crossed out.

    Clickable charts hold one selection, `CLICK`, over the fields (layer, head): of cells that were clicked, or
    passed with the button held down. Rows that stand for whole layers and columns are drawn beside the grid.

    Args:
        signed: colours diverge around zero (differences); otherwise they grow with the score.
        domain: locked colour scale, for charts that are compared.
        number: how scores are written (d3-format); by default as fits their size.
        compact: small and bare, for many side by side.
    """
    heads = table[(table["head"] >= 0) & (table["layer"] >= 0)]
    number = number or (".2~e" if tiny(heads[label]) else ".3~g")
    n_layers, n_heads = int(table["layer"].max()) + 1, int(heads["head"].max()) + 1
    step = layer_step(n_layers) * (0.45 if compact else 1)
    wide, wholes = ["FFN"] if (table["head"] == FFN).any() else [], ["all"] if (table["head"] == ALL).any() else []
    every = 1 if n_heads <= 32 else 4
    ticks = [*wholes, *(str(h) for h in range(0, n_heads, every)), *wide]
    gap = 0.08 if n_heads <= 32 else 0
    x = alt.X("column:N", sort=[*wholes, *map(str, range(n_heads)), *wide], title=None if compact else "head",
              scale=alt.Scale(paddingInner=gap, paddingOuter=0),
              axis=None if compact else alt.Axis(values=ticks, labelAngle=0, ticks=False, domain=False, grid=False))
    y = alt.Y("layer:O", sort="descending", title=None if compact else "layer",
              scale=alt.Scale(paddingInner=gap, paddingOuter=0),
              axis=None if compact else alt.Axis(ticks=False, domain=False, grid=False, labelOverlap=True,
                                                 labelExpr="datum.value < 0 ? 'all' : datum.label"))
    colour = alt.Color(  # what is off is hollow, what has no score is grey, the rest grows with the score
        f"{label}:Q", condition=[{"test": "datum.off", "value": "transparent"},
                                 {"test": f"datum.head == {ALL} || datum.layer == {ALL}", "value": "#8593a31c"},
                                 {"test": f"datum.head < 0 || !isValid(datum['{label}'])", "value": "#8593a355"}],
        scale=_scale(heads[label].to_numpy(float), signed, domain, logarithmic),
        legend=None if compact or not legend or heads[label].isna().all() else alt.Legend(
            title=label.split(" of ")[0], orient="right", gradientLength=min(200, round(step * n_layers) - 30),
            gradientThickness=9, format=number, tickCount=4, titleFontWeight="normal"))
    tooltip = [alt.Tooltip("name:N", title="component"), alt.Tooltip(f"{label}:Q", format=number),
               alt.Tooltip("rank:Q", title="rank (1 = highest)"), alt.Tooltip("off:N", title="chosen")]
    cells = alt.Chart(table).mark_rect(cursor="pointer" if clickable else "default", cornerRadius=3 if gap else 0,
                                       invalid="show", aria=len(table) <= CANVAS)
    cells = cells.encode(
        x=x, y=y, tooltip=tooltip, color=colour,
        stroke=alt.when("datum.off").then(alt.value(ORANGE)).otherwise(alt.value("transparent")),
        strokeWidth=alt.value(1.6 if gap else 0.6))
    if clickable:
        cells = cells.properties(name="cells").add_params(alt.selection_point(
            name=CLICK, fields=["layer", "head"], on=PRESS, toggle="true", clear=False, empty=False))
    crosses = alt.Chart(table).transform_filter("datum.off").mark_point(
        shape="cross", angle=45, size=min(110.0, step * step / 7), filled=True, color=ORANGE, opacity=0.95,
        cursor="pointer" if clickable else "default").encode(x=x, y=y, tooltip=tooltip)
    return alt.layer(cells, crosses).properties(
        height=round(step * (n_layers + len(wholes))) + (0 if compact else AXIS))


def _scale(values: np.ndarray, signed: bool, domain: tuple[float, float] | None, logarithmic: bool) -> alt.Scale:
    """The colours' scale: from 0 (or around it), so that equal colours mean equal shares."""
    finite = values[np.isfinite(values)]
    if signed:
        reach = max(map(abs, domain)) if domain else max(float(np.abs(finite).max(initial=0)), 1e-12)
        return alt.Scale(range="diverging", domain=[-reach, reach], domainMid=0, reverse=True)  # orange: below zero
    if logarithmic and (finite > 0).any():
        low, high = domain or (float(finite[finite > 0].min()), float(finite.max()))
        return alt.Scale(range="heatmap", type="log", domain=[low, high], clamp=True)
    low, high = domain or (float(finite.min(initial=0)), float(finite.max(initial=0)))
    return alt.Scale(range="heatmap", domain=[low, high if high > low else low + 1])


def contribution_map(table: pd.DataFrame, unit: str) -> Layers:
    """A `contribution_table` as a map: heads and FFN across, layers up; clickable like every grid of components."""
    n_layers, n_heads = int(table["layer"].max()) + 1, int(table["head"].max()) + 1
    step = max(9, min(40, 420 / n_layers))
    reach = max(float(table["contribution"].abs().max()), 1e-9)
    gap = 0.08 if n_heads <= 32 else 0
    x = alt.X("column:N", title="head", sort=[*map(str, range(n_heads)), "FFN"],
              scale=alt.Scale(paddingInner=gap, paddingOuter=0), axis=alt.Axis(
                  labelAngle=0, ticks=False, domain=False, grid=False,
                  values=[*map(str, range(0, n_heads, 1 if n_heads <= 32 else 4)), "FFN"]))
    y = alt.Y("layer:O", sort="descending", title="layer", scale=alt.Scale(paddingInner=gap, paddingOuter=0),
              axis=alt.Axis(ticks=False, domain=False, grid=False, labelOverlap=True))
    tooltip = [alt.Tooltip("name:N", title="component"), alt.Tooltip("contribution:Q", title=unit, format="+.3f"),
               alt.Tooltip("off:N", title="chosen")]
    cells = alt.Chart(table, name="cells").mark_rect(cursor="pointer", cornerRadius=3 if gap else 0).encode(
        x=x, y=y, tooltip=tooltip, color=alt.Color(
            "contribution:Q", scale=alt.Scale(range="diverging", domain=[-reach, reach], domainMid=0, reverse=True),
            legend=alt.Legend(title=unit, orient="right", gradientLength=min(200, round(step * n_layers) - 30),
                              gradientThickness=9, format="+.2~f", tickCount=4, titleFontWeight="normal")),
        stroke=alt.when("datum.off").then(alt.value(ORANGE)).otherwise(alt.value("transparent")),
        strokeWidth=alt.value(1.6 if gap else 0.6),
    ).add_params(alt.selection_point(name=CLICK, fields=["layer", "head"], on=PRESS, toggle="true", clear=False,
                                     empty=False))
    crosses = alt.Chart(table).transform_filter("datum.off").mark_point(
        shape="cross", angle=45, size=min(110.0, step * step / 7), filled=True, color=ORANGE,
        cursor="pointer").encode(x=x, y=y, tooltip=tooltip)
    return alt.layer(cells, crosses).properties(height=round(step * n_layers) + AXIS)


def clicked(state: Any) -> list[tuple[int, int]]:
    """The (layer, head) pairs in the selection of a clickable chart's state; see `members` for what they stand for."""
    points = ((state or {}).get("selection") or {}).get(CLICK) or []
    return [(int(p["layer"]), int(p["head"])) for p in points if "layer" in p and "head" in p]
