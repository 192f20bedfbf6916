"""How many tasks need a head, and how far the tops of rankings overlap."""

from __future__ import annotations

import altair as alt
import pandas as pd

from pages.shared.charts.style import BLUE, GREY, ORANGE, PERCENT_AXIS


def counts_bars(table: pd.DataFrame) -> alt.LayerChart:
    """A `counts_table`: bars for what was found, ticks for chance."""
    x = alt.X("tasks:O", title="tasks whose top holds the head", axis=alt.Axis(labelAngle=0, ticks=False))
    tooltip = [alt.Tooltip("tasks:O"), alt.Tooltip("heads:Q"), alt.Tooltip("by chance:Q", format=".1f")]
    bars = alt.Chart(table).mark_bar(color=BLUE, cornerRadius=2).encode(
        x=x, y=alt.Y("heads:Q", title="heads", axis=alt.Axis(tickCount=5)), tooltip=tooltip)
    ticks = alt.Chart(table).mark_tick(color=ORANGE, thickness=3, width={"band": 0.9}).encode(
        x=x, y="by chance:Q", tooltip=tooltip)
    return alt.LayerChart(layer=[bars, ticks]).properties(height=300)


def overlap_curve(table: pd.DataFrame, at: float) -> alt.LayerChart:
    """Top-k overlap against k: mean over pairs, lowest to highest, chance (columns share, mean, low, high, chance)."""
    x = alt.X("share:Q", axis=alt.Axis(format="%", tickCount=6, title="top share of the heads", grid=False))
    scale = alt.Scale(domain=[0, 1])
    y = alt.Y("mean:Q", scale=scale, axis=alt.Axis(**PERCENT_AXIS, title="overlap (intersection over union)"))
    tooltip = [alt.Tooltip("share:Q", format=".0%", title="top"), alt.Tooltip("mean:Q", format=".1%"),
               alt.Tooltip("low:Q", format=".1%", title="lowest pair"),
               alt.Tooltip("high:Q", format=".1%", title="highest pair"), alt.Tooltip("chance:Q", format=".1%")]
    base = alt.Chart(table)
    area = base.mark_area(color=BLUE, opacity=0.18).encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q")
    line = base.mark_line(color=BLUE, strokeWidth=2.5).encode(x=x, y=y)
    dots = base.mark_circle(color=BLUE, size=70, opacity=1).encode(x=x, y=y, tooltip=tooltip)
    chance = base.mark_line(color=GREY, strokeDash=[4, 4], strokeWidth=2).encode(x=x, y=alt.Y("chance:Q", scale=scale))
    here = alt.Chart(pd.DataFrame({"share": [at]})).mark_rule(color=ORANGE, strokeWidth=1.5).encode(x=x)
    return alt.LayerChart(layer=[area, chance, line, dots, here]).properties(height=300)
