"""Two masks, A and B, and the intact model: accuracies on one scale."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from backend.tables import DIFFERENCE, MASKS
from pages.shared.charts.style import AXIS, BLUE, GREY, LEGEND, ORANGE, PURPLE, Layers, in_points, told_in_points

_NAMES = {"intact": "intact", "A": "mask A", "B": "mask B"}


def masks(points: pd.DataFrame, order: Sequence[str]) -> Layers:
    """A `masks_points`: per task the accuracies intact, with mask A and with mask B, their intervals, and chance.

    The three are told apart by shape as well as by colour. All tasks of `order` have their place from the start.
    """
    table = points.assign(mask=points["mask"].map(_NAMES))
    y = alt.Y("task:N", sort=list(order), title=None, scale=alt.Scale(domain=list(order)),
              axis=alt.Axis(ticks=False, domain=False, labelLimit=190))
    share, axis = alt.Scale(domain=[0, 1]), alt.Axis(format="%", tickCount=6, title="accuracy")
    x = alt.X("accuracy:Q", scale=share, axis=axis)
    names = list(_NAMES.values())
    legend = alt.Legend(orient="top", symbolOpacity=1, symbolSize=90)
    colour = alt.Color("mask:N", title=None, scale=alt.Scale(domain=names, range=[BLUE, ORANGE, PURPLE]), legend=legend)
    shape = alt.Shape("mask:N", title=None, legend=legend,
                      scale=alt.Scale(domain=names, range=["circle", "square", "diamond"]))
    assert len(names) == len(MASKS)
    tooltip = [alt.Tooltip("task:N"), alt.Tooltip("mask:N"), alt.Tooltip("accuracy:Q", format=".1%"),
               alt.Tooltip("low:Q", title="95 % from", format=".1%"), alt.Tooltip("high:Q", title="to", format=".1%"),
               alt.Tooltip("n:Q"), alt.Tooltip("chance:Q", format=".1%"),
               told_in_points(DIFFERENCE),
               alt.Tooltip("p (Holm):Q", title="paired test p (Holm)", format=".2g")]
    base = alt.Chart(in_points(table, DIFFERENCE))
    chance = base.mark_tick(color=GREY, thickness=2, size=15).encode(
        x=alt.X("chance:Q", scale=share, axis=axis), y=y, tooltip=tooltip)
    link = base.transform_filter(alt.datum.mask != names[0]).mark_line(color=GREY, strokeWidth=1.5, opacity=0.8).encode(
        x=x, y=y, detail="task:N")
    interval = base.mark_rule(strokeWidth=4, opacity=0.3).encode(
        x=alt.X("low:Q", scale=share, axis=axis), x2="high:Q", y=y, color=colour)
    dots = base.mark_point(size=95, opacity=1, filled=True).encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip)
    return alt.layer(chance, link, interval, dots).properties(height=AXIS + LEGEND + 27 * len(order))
