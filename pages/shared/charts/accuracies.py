"""Accuracies and other shares: two models side by side, bars with intervals, lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import altair as alt
import pandas as pd

from pages.shared.charts.style import (
    AXIS,
    BLUE,
    GREY,
    LEGEND,
    ORANGE,
    POINTS,
    POINTS_AXIS,
    Layers,
    in_points,
    told_in_points,
)

_BEHIND = 1.18  # of the last point's x: room for a rule's name


def comparison(table: pd.DataFrame, order: Sequence[str], models: Sequence[str] = ("intact", "ablated")) -> Layers:
    """A `comparison_table`: per task a line from the intact accuracy to the ablated one, intervals, chance.

    All tasks of `order` have their place from the start, so that nothing jumps as results arrive.

    Args:
        models: what the two are called in the table.
    """
    y = alt.Y("task:N", sort=list(order), title=None, scale=alt.Scale(domain=list(order)),
              axis=alt.Axis(ticks=False, domain=False, labelLimit=190))
    share = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="%", tickCount=6, title="accuracy")
    colour = alt.Color("model:N", title=None, scale=alt.Scale(domain=list(models), range=[BLUE, ORANGE]),
                       legend=alt.Legend(orient="top", symbolType="circle", symbolOpacity=1))
    tooltip = [alt.Tooltip("task:N"), alt.Tooltip("model:N"), alt.Tooltip("accuracy:Q", format=".1%"),
               alt.Tooltip("low:Q", title="95 % from", format=".1%"), alt.Tooltip("high:Q", title="to", format=".1%"),
               alt.Tooltip("n:Q"), alt.Tooltip("chance:Q", format=".1%"),
               alt.Tooltip("p:Q", title="paired test p", format=".2g")]
    base = alt.Chart(table)
    chance = base.mark_tick(color=GREY, thickness=2, size=15).encode(
        x=alt.X("chance:Q", scale=share, axis=axis), y=y, tooltip=tooltip)
    link = base.mark_line(color=GREY, strokeWidth=1.5, opacity=0.8).encode(
        x=alt.X("accuracy:Q", scale=share, axis=axis), y=y, detail="task:N")
    interval = base.mark_rule(strokeWidth=4, opacity=0.3).encode(
        x=alt.X("low:Q", scale=share, axis=axis), x2="high:Q", y=y, color=colour)
    points = base.mark_circle(size=95, opacity=1).encode(
        x=alt.X("accuracy:Q", scale=share, axis=axis), y=y, color=colour, tooltip=tooltip)
    return alt.layer(chance, link, interval, points).properties(height=AXIS + LEGEND + 27 * len(order))


def bars(table: pd.DataFrame, *, x: str, y: str, order: Sequence[str], x_title: str, percent: bool = True,
         signed: bool = False) -> Layers:
    """Horizontal bars with their intervals (columns "low" and "high") and, where there is a column "chance", chance."""
    scale = alt.Scale(zero=True, nice=True) if signed or not percent else alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="%" if percent else "", title=x_title, tickCount=6)
    place = alt.Y(f"{y}:N", sort=list(order), title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=190))
    number = ".1%" if percent else ".3g"
    tooltip = [alt.Tooltip(f"{c}:{'N' if c == y else 'Q'}", format="" if c == y else number)
               for c in (y, x, "low", "high", "chance") if c in table]
    if "n" in table:
        tooltip.append(alt.Tooltip("n:Q"))
    base = alt.Chart(table)
    layers: list[alt.Chart] = [base.mark_bar(color=BLUE, opacity=0.6, height={"band": 0.62}).encode(
        x=alt.X(f"{x}:Q", scale=scale, axis=axis), y=place, tooltip=tooltip)]
    if "low" in table:
        layers.append(base.mark_rule(color=GREY, strokeWidth=2).encode(x="low:Q", x2="high:Q", y=place))
    if "chance" in table:
        layers.append(base.mark_tick(color=ORANGE, thickness=2, size=16).encode(x="chance:Q", y=place))
    return alt.layer(*layers).properties(height=AXIS + 27 * len(order))


def beside(table: pd.DataFrame, *, x: str, y: str, order: Sequence[str], x_title: str, percent: bool = True,
           signed: bool = False) -> Layers:
    """Bars of the intact and the ablated model (column "model") beside one another, with their intervals.

    Intervals (columns "low" and "high") and chance, a dashed line, are drawn where the table holds them.
    """
    models = [model for model in ("intact", "ablated") if model in set(table["model"])]
    scale = alt.Scale(zero=True, nice=True) if signed or not percent else alt.Scale(domain=[0, 1])
    changes = signed and percent
    axis = alt.Axis(**POINTS_AXIS, title=POINTS.format(x_title)) if changes else alt.Axis(
        format=("+" if signed else "") + ("%" if percent else "~g"), title=x_title, tickCount=6)
    place: dict[str, alt.Y | alt.YOffset] = {
        "y": alt.Y(f"{y}:N", sort=list(order), title=None, scale=alt.Scale(domain=list(order)),
                   axis=alt.Axis(ticks=False, domain=False, labelLimit=190)),
        "yOffset": alt.YOffset("model:N", sort=models, scale=alt.Scale(paddingOuter=0.1))}
    colour = alt.Color("model:N", title=None, scale=alt.Scale(domain=models, range=[BLUE, ORANGE][:len(models)]),
                       legend=alt.Legend(orient="top", symbolType="circle", symbolOpacity=1))
    number = "+.3f" if signed else ".1%" if percent else ".3f"
    numbers = {name: title for name, title in ((x, ""), ("low", "95 % from"), ("high", "to"), ("chance", "chance"))
               if name in table}
    tooltip = [alt.Tooltip(f"{y}:N"), alt.Tooltip("model:N")]
    tooltip += [told_in_points(name, title) if changes else
                alt.Tooltip(f"{name}:Q", title=title or name, format=number) for name, title in numbers.items()]
    tooltip += [alt.Tooltip("n:Q")] if "n" in table else []
    tooltip += [alt.Tooltip("text:N")] if "text" in table else []
    base = alt.Chart(in_points(table, *numbers) if changes else table)
    layers: list[alt.Chart] = [base.mark_bar(cornerRadius=2, opacity=0.75).encode(
        x=alt.X(f"{x}:Q", scale=scale, axis=axis), color=colour, tooltip=tooltip, **place)]
    if "low" in table:
        layers.append(base.mark_rule(color=GREY, strokeWidth=2).encode(x="low:Q", x2="high:Q", **place))
    if "chance" in table:
        layers.append(alt.Chart(table.head(1)).mark_rule(color=GREY, strokeDash=[4, 4]).encode(x="chance:Q"))
    return alt.layer(*layers).properties(height=AXIS + LEGEND + (14 * len(models) + 10) * len(order))


def lines(table: pd.DataFrame, *, x: str, y: str, colour: str, x_title: str, y_title: str,
          rules: Mapping[str, float] = MappingProxyType({})) -> Layers:
    """Accuracy (or another share) along x, one line per `colour`, with named horizontal rules such as chance.

    The rules' names stand at the right end, behind the last point: no line runs through them.
    """
    names = list(dict.fromkeys(table[colour]))
    last = float(table[x].max())
    end = last * _BEHIND if rules else last
    across = alt.Scale(domain=[float(table[x].min()), end], nice=False)
    base = alt.Chart(table).encode(
        x=alt.X(f"{x}:Q", title=x_title, scale=across, axis=alt.Axis(format="%", tickCount=10)),
        y=alt.Y(f"{y}:Q", title=y_title, axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
        color=alt.Color(f"{colour}:N", title=None, sort=names, scale=alt.Scale(domain=names, range=[
            BLUE, GREY, ORANGE, "#0b8a6f", "#b04a8c"][:len(names)]), legend=alt.Legend(orient="top")),
        tooltip=[alt.Tooltip(f"{colour}:N"), alt.Tooltip(f"{x}:Q", format=".0%"), alt.Tooltip(f"{y}:Q", format=".1%")])
    named = pd.DataFrame({"value": list(rules.values()), "name": list(rules), x: end})
    rule = alt.Chart(named).mark_rule(strokeDash=[4, 4], color=GREY).encode(y="value:Q")
    text = alt.Chart(named).mark_text(align="right", dy=-7, color=GREY).encode(
        x=alt.X(f"{x}:Q", scale=across), y="value:Q", text="name:N")
    return alt.layer(rule, text, base.mark_line(strokeWidth=2.5), base.mark_circle(size=60, opacity=1)).properties(
        height=340)
