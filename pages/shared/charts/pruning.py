"""Accuracy as more and more is removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from backend.tables import AGGREGATE, GATES, GREEDY, ITERATIVE, OWN, RANDOM, REVERSED
from pages.shared.charts.style import BLUE, CLICK, GREEN, GREY, ORANGE, PERCENT_AXIS, PURPLE

_END = 0.16  # of the axis of shares removed: behind the last point stand the levels' names
COLOURS = {OWN: BLUE, AGGREGATE: PURPLE, REVERSED: ORANGE, RANDOM: GREY, ITERATIVE: "#0e7c86", GREEDY: "#b04a8c",
           GATES: GREEN}
DASHES = {OWN: [1, 0], AGGREGATE: [7, 3], REVERSED: [2, 3], RANDOM: [1, 2], ITERATIVE: [9, 2, 2, 2],
          GREEDY: [4, 2], GATES: [12, 4]}


def pruning_curves(table: pd.DataFrame, what: str, *, floor: float, clickable: bool = True) -> alt.LayerChart:
    """Curve tables below one another as one chart: accuracy against the share removed, intact, chance and floor.

    A second axis on top counts the share of the model's parameters that is removed; not of live heads, for dead ones
    go with them.

    Args:
        what: the column that counts what is removed, "heads", "live heads" or "FFNs".
        floor: the accuracy below which a curve counts as broken.
    """
    order = list(dict.fromkeys(table["ranking"]))
    end = max(0.9, float(table[what].max())) + _END
    scale = alt.Scale(domain=[0, end], nice=False)
    share = alt.Scale(domain=[0, 1])
    tenths = [i / 10 for i in range(11 if table[what].max() > 0.95 else 10)]
    x = alt.X(f"{what}:Q", scale=scale, axis=alt.Axis(format="%", values=tenths, title=f"{what} removed", grid=False))
    y = alt.Y("accuracy:Q", scale=share, axis=alt.Axis(**PERCENT_AXIS, title="accuracy"))
    low = alt.Y("low:Q", scale=share)
    legend = alt.Legend(orient="bottom", symbolType="stroke", symbolStrokeWidth=4, symbolSize=260, symbolOpacity=1,
                        labelLimit=260, columns=2)  # one for colour and dash: Vega complains of two that differ
    colour = alt.Color("ranking:N", title=None, sort=order, legend=legend, scale=alt.Scale(
        domain=order, range=[COLOURS.get(name, GREEN) for name in order]))
    dash = alt.StrokeDash("ranking:N", title=None, sort=order, legend=legend, scale=alt.Scale(
        domain=order, range=[DASHES.get(name, [5, 2, 1, 2]) for name in order]))
    tooltip = [alt.Tooltip("ranking:N"), alt.Tooltip(f"{what}:Q", format=".0%", title=f"{what} removed"),
               alt.Tooltip(f"n {what}:Q", title="that is"),
               alt.Tooltip("parameters:Q", format=".1%", title="of all parameters"),
               alt.Tooltip("accuracy:Q", format=".1%"), alt.Tooltip("low:Q", title="from", format=".1%"),
               alt.Tooltip("high:Q", title="to", format=".1%"), alt.Tooltip("chance:Q", format=".1%"),
               alt.Tooltip("n:Q")]
    base = alt.Chart(table)
    is_random = alt.datum.ranking == RANDOM
    levels = [_level(float(table["accuracy"].iloc[0]), "intact", BLUE, end), _level(floor, "", ORANGE, end, [3, 3]),
              _level(float(table["chance"].iloc[0]), "chance", GREY, end)]
    band = base.transform_filter(is_random).mark_area(opacity=0.22, color=GREY).encode(x=x, y=low, y2="high:Q")
    spans = base.transform_filter(~is_random).mark_rule(strokeWidth=4, opacity=0.25).encode(
        x=x, y=low, y2="high:Q", color=colour)
    lines = base.mark_line(strokeWidth=2.4).encode(x=x, y=y, color=colour, strokeDash=dash)
    points = base.mark_circle(size=110, opacity=1, cursor="pointer" if clickable else "default").encode(
        x=x, y=y, color=colour, tooltip=tooltip)
    if clickable:
        points = points.properties(name="points").add_params(alt.selection_point(
            name=CLICK, fields=["mask"], on="click", toggle=False, clear=False, empty=False))
    curves = alt.LayerChart(layer=[*levels, band, spans, lines, points])
    if what == "live heads":
        return curves.properties(height=480)
    whole = float(table["parameters"].max() / max(table[what].max(), 1e-9))  # of the parameters, if all were removed
    top = alt.X(f"{what}:Q", scale=scale, axis=alt.Axis(
        orient="top", values=tenths, grid=False, title="share of all the model's parameters",
        labelExpr=f"format(datum.value * {whole:.6g}, '.{_digits(whole)}%')"))
    hidden = base.mark_point(opacity=0, size=0, tooltip=None).encode(x=top)
    both: alt.LayerChart = alt.LayerChart(layer=[hidden, curves]).resolve_axis(x="independent").properties(height=480)
    return both


def _level(value: float, label: str, colour: str, end: float, dash: Sequence[int] = (1, 0)) -> alt.LayerChart:
    """A horizontal line at an accuracy, named at its right end."""
    data = pd.DataFrame({"accuracy": [value], "label": [f"{label} {value:.0%}" if label else ""], "at": [end]})
    y = alt.Y("accuracy:Q", scale=alt.Scale(domain=[0, 1]))
    rule = alt.Chart(data).mark_rule(color=colour, strokeWidth=1.3, strokeDash=list(dash), opacity=0.9).encode(y=y)
    text = alt.Chart(data).mark_text(align="right", dy=-6, color=colour, fontSize=11, fontWeight=600).encode(
        y=y, x=alt.X("at:Q", scale=alt.Scale(domain=[0, end], nice=False)), text="label:N")
    return alt.LayerChart(layer=[rule, text])


def _digits(share: float) -> int:
    """Decimals of a percentage so that ten steps of it can be told apart."""
    return 0 if share >= 0.2 else 1 if share >= 0.02 else 2


def picked_mask(state: Any) -> str | None:
    """The mask of the point that was clicked in a chart whose selection holds masks; None when there is none."""
    points = ((state or {}).get("selection") or {}).get(CLICK) or []
    return next((str(p["mask"]) for p in points if p.get("mask")), None)
