"""One bar per layer, layer 0 at the bottom: what stands beside a heatmap lines up with it."""

from __future__ import annotations

import altair as alt
import pandas as pd

from pages.map.scales import LEAST
from pages.shared.charts.style import AXIS, BLUE, GREY, ORANGE, POINTS_AXIS, in_points, layer_step, told_in_points


def layer_bars(table: pd.DataFrame, value: str, title: str, *, percent: bool = True,
               signed: bool = False) -> alt.Chart:
    """One bar per layer, layer 0 at the bottom, as high as for any chart of the same model."""
    n_layers = int(table["layer"].max()) + 1
    step = layer_step(n_layers)
    number = ".1%" if percent else ".3g"
    bars: alt.Chart = alt.Chart(table).mark_bar(cornerRadius=2).encode(
        y=alt.Y("layer:O", sort="descending", title="layer", scale=alt.Scale(paddingInner=0.25, paddingOuter=0),
                axis=alt.Axis(ticks=False, domain=False, labelOverlap=True)),
        x=alt.X(f"{value}:Q", title=title, axis=alt.Axis(format="%" if percent else "", tickCount=4)),
        color=alt.condition(f"datum['{value}'] < 0", alt.value(ORANGE), alt.value(BLUE)) if signed else alt.value(BLUE),
        tooltip=[alt.Tooltip("layer:O"), alt.Tooltip(f"{value}:Q", title=title, format=number)],
    ).properties(height=round(step * n_layers) + AXIS)
    return bars


def layer_effects(table: pd.DataFrame, *, title: str = "change in accuracy when removed, points") -> alt.LayerChart:
    """An effects table as bars from zero with their intervals; layer 0 at the bottom, orange = accuracy falls."""
    n_layers = int(table["layer"].max()) + 1
    y = alt.Y("layer:O", sort="descending", title="layer", scale=alt.Scale(paddingInner=0.25, paddingOuter=0),
              axis=alt.Axis(ticks=False, domain=False, labelOverlap=True))
    axis = alt.Axis(**POINTS_AXIS, title=title)
    low, high = min(0.0, float(table["low"].min())), max(0.0, float(table["high"].max()))
    scale = alt.Scale(domain=[low, high] if high - low >= LEAST else [-LEAST / 2, LEAST / 2], nice=True)
    tooltip = [alt.Tooltip("name:N", title="removed"), told_in_points("change"), told_in_points("low", "95 % from"),
               told_in_points("high", "to")]
    tooltip += [alt.Tooltip(f"{column}:Q", format=number) for column, number in
                (("intact", ".1%"), ("accuracy", ".1%"), ("p", ".2g"), ("p (Holm)", ".2g"), ("newly wrong", ""),
                 ("newly right", ""), ("n", ""), ("tasks", "")) if column in table]
    base = alt.Chart(in_points(table, "change", "low", "high"))
    bars = base.mark_bar(cornerRadius=2).encode(
        y=y, x=alt.X("change:Q", axis=axis, scale=scale), tooltip=tooltip,
        color=alt.when("datum.change < 0").then(alt.value(ORANGE)).otherwise(alt.value(BLUE)),
        opacity=alt.when("datum.low <= 0 && datum.high >= 0").then(alt.value(0.45)).otherwise(alt.value(0.95)))
    whiskers = base.mark_rule(color=GREY, strokeWidth=2).encode(y=y, x=alt.X("low:Q", axis=axis), x2="high:Q",
                                                                 tooltip=tooltip)
    zero = alt.Chart(alt.InlineData([{"zero": 0.0}])).mark_rule(color=GREY).encode(x=alt.X("zero:Q", axis=axis))
    crosses = base.transform_filter("datum.off").mark_point(shape="cross", angle=45, size=60, filled=True,
                                                            color=ORANGE, aria=False).encode(y=y, x=alt.datum(0))
    return alt.LayerChart(layer=[bars, zero, whiskers, crosses]).properties(
        height=round(layer_step(n_layers) * n_layers) + AXIS)
