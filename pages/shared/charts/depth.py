"""Where in their depth models keep what matters: curves of models that may differ in shape."""

from __future__ import annotations

import altair as alt
import pandas as pd

from pages.shared.charts.style import BLUE, GREY, ORANGE


def depth_curves(table: pd.DataFrame) -> alt.LayerChart:
    """A `depth_table` of two models: each layer's importance against an even spread, by relative depth.

    The two are told apart by dash and shape as well as by colour; the grey line is an even spread.
    """
    names, value = list(dict.fromkeys(table["model"])), "against an even spread"
    x = alt.X("depth:Q", scale=alt.Scale(domain=[0, 1]),
              axis=alt.Axis(format="%", tickCount=6, title="relative depth (0 % = before the first layer)", grid=False))
    y = alt.Y(f"{value}:Q", scale=alt.Scale(zero=True, nice=True),
              axis=alt.Axis(tickCount=5, title="importance, 1 = an even spread"))
    legend = alt.Legend(orient="top", labelLimit=320, symbolOpacity=1, symbolDash=[1, 0], symbolStrokeWidth=0)
    colour = alt.Color("model:N", title=None, sort=names, legend=legend,
                       scale=alt.Scale(domain=names, range=[BLUE, ORANGE]))
    dash = alt.StrokeDash("model:N", sort=names, legend=None, scale=alt.Scale(domain=names, range=[[1, 0], [6, 3]]))
    shape = alt.Shape("model:N", title=None, sort=names, legend=legend,
                      scale=alt.Scale(domain=names, range=["circle", "square"]))
    tooltip = [alt.Tooltip("model:N"), alt.Tooltip("layer:Q"), alt.Tooltip("depth:Q", format=".0%"),
               alt.Tooltip("share:Q", format=".1%", title="share of the importance"),
               alt.Tooltip(f"{value}:Q", format=".2f")]
    base = alt.Chart(table)
    even = alt.Chart(pd.DataFrame({"even": [1.0]})).mark_rule(color=GREY, strokeDash=[4, 4], strokeWidth=1.5).encode(
        y="even:Q")
    lines = base.mark_line(strokeWidth=2.4).encode(x=x, y=y, color=colour, strokeDash=dash)
    points = base.mark_point(size=80, filled=True, opacity=1).encode(x=x, y=y, color=colour, shape=shape,
                                                                    tooltip=tooltip)
    return alt.LayerChart(layer=[even, lines, points]).properties(height=320)
