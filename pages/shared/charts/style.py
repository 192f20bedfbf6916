"""What all charts share: colours, sizes, the name of what was clicked.

Colours come from the theme (.streamlit/config.toml): "ramp" for sizes, "diverging" around zero for signs, and from
`BLUE` (intact) and `ORANGE` (ablated) for the two models.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

BLUE, ORANGE, GREY = "#3d8fd1", "#e07b1f", "#8593a3"  # readable on light and dark alike
PURPLE, GREEN = "#b3579a", "#1b9e77"  # further curves; told apart by dash and label as well as by colour
INKS = {False: ("#1d2733", "#ffffff"), True: ("#e6ebf1", "#0c1620")}  # dark theme? -> on weak colours, on strong ones
CLICK = "click"  # the name of the selection of every chart in which one can be picked
CANVAS = 2000  # Streamlit draws more marks than this on a canvas, where names for each of them would reach nobody
PERCENT_AXIS: dict[str, Any] = {"format": "%", "tickCount": 6}
POINTS_AXIS: dict[str, Any] = {"labelExpr": "format(100 * datum.value, '.4~g')", "tickCount": 6}  # of differences
POINTS = "{}, points"  # the column in which `in_points` has a difference of shares
Layers = alt.LayerChart | alt.FacetChart  # what `alt.layer(...).properties(...)` is typed as
# The grid keeps one size per model, so that nothing jumps when results arrive.
_GRID_HEIGHT, _CELL_LOW, _CELL_HIGH = 470, 9, 46
AXIS = 70  # what Streamlit takes off a chart's height for the axis below and the padding
LEGEND = 30  # and for a legend on top


def in_points(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The same with differences of shares in points, too, in columns that say so."""
    return table.assign(**{POINTS.format(column): 100 * table[column] for column in columns})


def told_in_points(column: str, title: str = "") -> alt.Tooltip:
    """A difference of shares under the mouse; the table is one of `in_points`, and the first such names the unit."""
    name = POINTS.format(column)
    return alt.Tooltip(field=name, type="quantitative", format="+.1f", title=title or name)


def layer_step(n_layers: int) -> float:
    """How many pixels a layer is high, in every chart with layers up: what stands side by side lines up."""
    return max(_CELL_LOW, min(_CELL_HIGH, _GRID_HEIGHT / n_layers))
