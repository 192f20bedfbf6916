"""Induction scores against importance, what pruning leaves of them, and a head at work."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin
from typing import Any

import altair as alt
import pandas as pd

from pages.shared.charts.style import BLUE, GREEN, GREY, INKS, ORANGE, PERCENT_AXIS, PURPLE
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

    dots: alt.Chart = alt.Chart(table).mark_circle(stroke=GREY, strokeWidth=0.6).encode(
        x=alt.X(f"{x}:Q", title=x_title, axis=axis(x)), y=alt.Y(f"{y}:Q", title=y_title, axis=axis(y)),
        color=alt.condition("datum.off", alt.value(ORANGE), layer),
        size=alt.condition("datum.off", alt.value(200), alt.value(90 if len(table) < 400 else 34)),
        opacity=alt.value(0.9), tooltip=tooltip).properties(height=380)
    return dots


_CIRCLES = {"function vector": (0.37, 0.62), "induction": (0.63, 0.62), "important": (0.5, 0.36)}
_RADIUS = 0.245
_NAMES = {"function vector": (0.13, 0.93, "left"), "induction": (0.87, 0.93, "right"),
          "important": (0.5, 0.045, "center")}


def three_sets(regions: pd.DataFrame, dark: bool = False) -> alt.LayerChart:
    """A `regions_table` as three circles that overlap, with the number of heads in every part; hover names them."""
    colours = alt.Color("set:N", legend=None, scale=alt.Scale(domain=list(_CIRCLES), range=[BLUE, GREEN, PURPLE]))
    x, y = (alt.X("x:Q", scale=alt.Scale(domain=[0, 1]), axis=None), alt.Y("y:Q", scale=alt.Scale(domain=[0, 1]),
                                                                          axis=None))
    around = [2 * pi * i / 90 for i in range(90)]
    edges = pd.DataFrame([{"set": name, "x": cx + _RADIUS * cos(a), "y": cy + _RADIUS * sin(a), "at": i}
                          for name, (cx, cy) in _CIRCLES.items() for i, a in enumerate(around)])
    circles = alt.Chart(edges).mark_line(filled=True, interpolate="linear-closed", opacity=0.25, tooltip=None).encode(
        x=x, y=y, color=colours, order="at:Q")
    lines = alt.Chart(edges).mark_line(interpolate="linear-closed", strokeWidth=2, tooltip=None).encode(
        x=x, y=y, color=colours, order="at:Q")
    names = pd.DataFrame([{"set": name, "x": at[0], "y": at[1], "align": at[2]} for name, at in _NAMES.items()])
    called = [alt.Chart(names[names["align"] == align]).mark_text(
        align=align, fontSize=14, fontWeight=600, tooltip=None).encode(x=x, y=y, text="set:N", color=colours)
        for align in ("left", "right", "center")]
    places = regions.assign(**dict(zip("xy", zip(*(_within(row) for _, row in regions.iterrows()), strict=True),
                                       strict=True)))
    counts = alt.Chart(places).mark_text(fontSize=20, fontWeight=600).encode(
        x=x, y=y, text="heads:Q", color=alt.value(INKS[dark][0]),
        tooltip=[alt.Tooltip("part:N"), alt.Tooltip("heads:Q"), alt.Tooltip("which:N")])
    return alt.LayerChart(layer=[circles, lines, *called, counts]).properties(height=380)


def _within(row: pd.Series) -> tuple[float, float]:
    """Where the number of a part of the picture stands: towards the circles that it is in, away from the others."""
    centre = [sum(at[i] for at in _CIRCLES.values()) / 3 for i in (0, 1)]
    inside = [at for name, at in _CIRCLES.items() if row[name]]
    mean = [sum(at[i] for at in inside) / len(inside) for i in (0, 1)]
    reach = {1: 1.55, 2: 1.75, 3: 0.0}[len(inside)]
    return centre[0] + reach * (mean[0] - centre[0]), centre[1] + reach * (mean[1] - centre[1])


def knock_out(table: pd.DataFrame, at: float) -> alt.LayerChart:
    """A `knock_out_table`: a curve per sort with its interval, random others as a band, and where it is read."""
    order = list(dict.fromkeys(table["off"]))
    most = float(table["share"].max())
    x = alt.X("share:Q", scale=alt.Scale(domain=[0, most]), axis=alt.Axis(format="%", tickCount=5, grid=False,
                                                                          title="heads off, of all"))
    y = alt.Y("accuracy:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(**PERCENT_AXIS, title="accuracy"))
    legend = alt.Legend(orient="bottom", symbolType="stroke", symbolStrokeWidth=4, symbolSize=260, symbolOpacity=1,
                        labelLimit=300, columns=1)
    colours = alt.Color("off:N", title=None, sort=order, legend=legend, scale=alt.Scale(
        domain=order, range=[*[BLUE, ORANGE, PURPLE, GREEN][:len(order) - 1], GREY]))
    dashes = alt.StrokeDash("off:N", title=None, sort=order, legend=legend, scale=alt.Scale(
        domain=order, range=[*[[1, 0], [1, 0], [7, 3], [7, 3]][:len(order) - 1], [1, 2]]))
    tooltip = [alt.Tooltip("off:N"), alt.Tooltip("share:Q", format=".1%"), alt.Tooltip("heads:Q", format=".1f"),
               *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("accuracy", "low", "high", "chance")),
               alt.Tooltip("n:Q")]
    base = alt.Chart(table)
    random = alt.datum.off == order[-1]
    low = alt.Y("low:Q", scale=alt.Scale(domain=[0, 1]))
    band = base.transform_filter(random).mark_area(opacity=0.22, color=GREY).encode(x=x, y=low, y2="high:Q")
    spans = base.transform_filter(~random).mark_rule(strokeWidth=4, opacity=0.25).encode(
        x=x, y=low, y2="high:Q", color=colours)
    lines = base.mark_line(strokeWidth=2.6).encode(x=x, y=y, color=colours, strokeDash=dashes)
    dots = base.mark_circle(size=80, opacity=1).encode(x=x, y=y, color=colours, tooltip=tooltip)
    chance = alt.Chart(table.head(1)).mark_rule(color=GREY, strokeDash=[4, 4]).encode(y=alt.Y("chance:Q"))
    here = alt.Chart(pd.DataFrame({"share": [at]})).mark_rule(color=ORANGE, strokeWidth=1.5).encode(x=x)
    return alt.LayerChart(layer=[band, chance, here, spans, lines, dots]).properties(height=420)


def framed(pattern: Any, targets: Sequence[tuple[int, int]]) -> alt.LayerChart:
    """A `looking.attention_map` with (query, key) cells framed: where an ideal induction head looks."""
    frames = alt.Chart(pd.DataFrame(targets, columns=["query", "key"])).mark_rect(
        filled=False, stroke=ORANGE, strokeWidth=1.6, tooltip=None).encode(x="key:O", y="query:O")
    size = {"width": pattern.width, "height": pattern.height}
    bare = pattern.copy()
    bare.width = bare.height = alt.Undefined
    return alt.LayerChart(layer=[bare, frames]).properties(**size)
