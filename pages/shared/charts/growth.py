"""What a model could do at the checkpoints of its training: curves over steps."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from pages.shared.charts.style import BLUE, GREY, ORANGE, PURPLE, Layers


def growth(table: pd.DataFrame, at: int, chance: float, marks: Mapping[str, int]) -> Layers:
    """The points of a `growth_points` table over steps, on a logarithmic axis, with their intervals.

    Args:
        at: the step that is looked at, a vertical line.
        chance: of accuracy, a horizontal line.
        marks: steps with a name, thin vertical lines.
    """
    names = list(dict.fromkeys(table["what"]))
    x = alt.X("place:Q", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(
        title="training steps (logarithmic)", grid=False, format="~s", tickCount=6))
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=6, title=None))
    colour = alt.Color("what:N", title=None, sort=names, scale=alt.Scale(domain=names, range=[PURPLE, BLUE, GREY]),
                       legend=alt.Legend(orient="top", labelLimit=260, symbolOpacity=1))
    dash = alt.StrokeDash("what:N", sort=names, legend=None, scale=alt.Scale(
        domain=names, range=[[6, 3], [1, 0], [2, 2]]))
    tooltip = [alt.Tooltip("what:N"), alt.Tooltip("step:Q", format=","), alt.Tooltip("value:Q", format=".1%"),
               alt.Tooltip("low:Q", title="95 % from", format=".1%"), alt.Tooltip("high:Q", title="to", format=".1%")]
    base = alt.Chart(table)
    band = base.mark_area(opacity=0.18).encode(x=x, y=alt.Y("low:Q", scale=alt.Scale(domain=[0, 1])), y2="high:Q",
                                               color=colour)
    lines = base.mark_line(strokeWidth=2.4).encode(x=x, y=y, color=colour, strokeDash=dash)
    points = base.mark_circle(size=64, opacity=1).encode(x=x, y=y, color=colour, tooltip=tooltip)
    by_chance = alt.Chart(pd.DataFrame({"value": [chance], "name": [f"chance of accuracy, {chance:.0%}"]})).mark_rule(
        color=GREY, strokeDash=[4, 4]).encode(y="value:Q", tooltip="name:N")
    here = alt.Chart(pd.DataFrame({"place": [max(at, 1)], "step": [at]})).mark_rule(
        color=ORANGE, strokeWidth=2.4).encode(x=x, tooltip=alt.Tooltip("step:Q", format=","))
    layers = [band, by_chance, lines, points, here]
    if marks:
        named = pd.DataFrame({"place": [max(step, 1) for step in marks.values()], "name": list(marks)})
        layers.append(alt.Chart(named).mark_rule(color=GREY, strokeDash=[1, 3], strokeWidth=1.5).encode(
            x=x, tooltip="name:N"))
    return alt.layer(*layers).properties(height=320)
