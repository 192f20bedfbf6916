"""Induction scores against importance, what pruning leaves of them, and a head at work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from pages.shared.charts.style import BLUE, GREEN, GREY, ORANGE, PERCENT_AXIS, PURPLE
from pages.shared.words import tiny


def capacity(table: pd.DataFrame, highlighted: Sequence[str], title: str) -> alt.LayerChart:
    """Capacity curves: some in colour, the others thin, and the diagonal that a random order follows on average."""
    x = alt.X("removed:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(
        format="%", tickCount=10, title="heads removed, least important first", grid=False))
    y = alt.Y("retained:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(**PERCENT_AXIS, title=title))
    tooltip = [alt.Tooltip("ranking:N"), alt.Tooltip("removed:Q", format=".0%"),
               alt.Tooltip("retained:Q", format=".1%")]
    one_of = alt.FieldOneOfPredicate("ranking", list(highlighted))
    diagonal = alt.Chart(pd.DataFrame({"removed": [0.0, 1.0], "retained": [1.0, 0.0]})).mark_line(
        color=GREY, strokeDash=[4, 4], strokeWidth=1.5).encode(x=x, y=y)
    thin = alt.Chart(table).transform_filter(~one_of).mark_line(
        color=GREY, strokeWidth=1.4, opacity=0.55).encode(x=x, y=y, detail="ranking:N")
    dots = alt.Chart(table).transform_filter(~one_of).mark_circle(
        color=GREY, size=34, opacity=0.6).encode(x=x, y=y, tooltip=tooltip)
    palette = [BLUE, ORANGE, PURPLE, GREEN]
    colour = alt.Color("ranking:N", title=None, sort=list(highlighted), scale=alt.Scale(
        domain=list(highlighted), range=[palette[i % 4] for i in range(len(highlighted))]),
        legend=alt.Legend(orient="bottom", symbolType="stroke", symbolStrokeWidth=4, symbolSize=260, symbolOpacity=1,
                          labelLimit=300))
    bold = alt.Chart(table).transform_filter(one_of).mark_line(strokeWidth=3).encode(x=x, y=y, color=colour)
    bold_dots = alt.Chart(table).transform_filter(one_of).mark_circle(size=80, opacity=1).encode(
        x=x, y=y, color=colour, tooltip=tooltip)
    return alt.LayerChart(layer=[diagonal, thin, dots, bold, bold_dots]).properties(height=400)


def scatter(table: pd.DataFrame, x: str, y: str, *, x_title: str, y_title: str) -> alt.Chart:
    """One dot per head (columns layer, head, name, off and the two scores).

    The two scores' axes start at 0. Chosen heads are filled orange, in every chart that shows them.
    """
    last = int(table["layer"].max())
    layer = alt.Color("layer:Q", scale=alt.Scale(range="heatmap", domain=[-0.35 * (last + 1), last]), legend=alt.Legend(
        title="layer", orient="right", format="d", values=sorted({0, last // 2, last})))
    tooltip = [alt.Tooltip("name:N", title="head"), alt.Tooltip(f"{x}:Q", format=".3g", title=x_title),
               alt.Tooltip(f"{y}:Q", format=".3g", title=y_title)]
    def axis(column: str) -> alt.Axis:
        return alt.Axis(tickCount=6, format="~e" if tiny(table[column]) else "~g")

    return alt.Chart(table).mark_circle(stroke=GREY, strokeWidth=0.6).encode(
        x=alt.X(f"{x}:Q", title=x_title, axis=axis(x)), y=alt.Y(f"{y}:Q", title=y_title, axis=axis(y)),
        color=alt.condition("datum.off", alt.value(ORANGE), layer),
        size=alt.condition("datum.off", alt.value(200), alt.value(90 if len(table) < 400 else 34)),
        opacity=alt.value(0.9), tooltip=tooltip).properties(height=380)


def framed(pattern: Any, targets: Sequence[tuple[int, int]]) -> alt.LayerChart:
    """A `looking.attention_map` with (query, key) cells framed: where an ideal induction head looks."""
    frames = alt.Chart(pd.DataFrame(targets, columns=["query", "key"])).mark_rect(
        filled=False, stroke=ORANGE, strokeWidth=1.6, tooltip=None).encode(x="key:O", y="query:O")
    size = {"width": pattern.width, "height": pattern.height}
    bare = pattern.copy()
    bare.width = bare.height = alt.Undefined
    return alt.LayerChart(layer=[bare, frames]).properties(**size)
