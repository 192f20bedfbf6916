"""Tables with a name on either side as coloured cells.

Cells show their number where there are few; which ink is readable on them depends on the theme, so `dark` is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from pages.shared.charts.pictures import two_maps
from pages.shared.charts.style import AXIS, CLICK, INKS, ORANGE, POINTS, POINTS_AXIS, in_points, told_in_points

_WRITTEN = 320  # cells: with more of them the numbers are left to the tooltip
_CELL, _SMALLEST = 36, 17
_LEGEND, _SLANTED = 50, 40  # pixels below the axis: of the legend, of slanted names


def matrix(table: pd.DataFrame, label: str, *, rows: Sequence[str], columns: Sequence[str], signed: bool = False,
           reverse: bool = False, domain: tuple[float, float] = (0.0, 1.0), number: str = ".2f",
           dark: bool = False, x_title: str | None = None, y_title: str | None = None, clickable: bool = True,
           chosen: tuple[str, str] | None = None, bottom_up: bool = False, cell: int = _CELL) -> alt.LayerChart:
    """A `matrix_table` as coloured cells in the order given; a click selects (row, column).

    Args:
        signed: colours diverge around zero and reach as far to either side.
        reverse: what is below zero is orange, as everything that falls is.
        domain: the values of the weakest and the strongest colour.
        chosen: the cell that is framed.
        bottom_up: the first row at the bottom, as layers are drawn.

    A column "image" of pictures as data URLs is seen while hovering.
    """
    low, high = domain
    reach = max(abs(low), abs(high)) or 1.0
    colours = alt.Scale(range="diverging", domain=[-reach, reach], domainMid=0, clamp=True,
                        reverse=reverse) if signed else \
        alt.Scale(range="heatmap", domain=[low, high if high > low else low + 1], clamp=True)
    changes = signed and number.endswith("%")  # of shares: in points
    weak, strong = INKS[dark]
    test = f"abs(datum['{label}']) > {0.55 * reach}" if signed else f"datum['{label}'] > {low + 0.55 * (high - low)}"
    level = len(columns) < 5 or max(map(len, columns)) < 5
    x = alt.X("column:N", sort=list(columns), title=x_title, scale=alt.Scale(paddingInner=0.05, paddingOuter=0),
              axis=alt.Axis(labelAngle=0 if level else -40, ticks=False, domain=False, labelLimit=140,
                            labelOverlap=len(columns) > 40, grid=False))
    y = alt.Y("row:N", sort=list(rows)[::-1] if bottom_up else list(rows), title=y_title,
              scale=alt.Scale(paddingInner=0.05, paddingOuter=0),
              axis=alt.Axis(ticks=False, domain=False, labelLimit=160, labelOverlap=len(rows) > 40, grid=False))
    tooltip = [alt.Tooltip("row:N", title=y_title or ""), alt.Tooltip("column:N", title=x_title or ""),
               told_in_points(label) if changes else
               alt.Tooltip(f"{label}:Q", format=number)] + [alt.Tooltip("image:N")] * ("image" in table)
    base = alt.Chart(in_points(table, label) if changes else table)
    cells = base.mark_rect(cornerRadius=2, cursor="pointer" if clickable else "default").encode(
        x=x, y=y, tooltip=tooltip,
        color=alt.condition(f"isValid(datum['{label}'])", alt.Color(
            f"{label}:Q", scale=colours, legend=alt.Legend(
                orient="bottom", direction="horizontal", gradientLength=240, gradientThickness=9, titleLimit=400,
                **(POINTS_AXIS | {"tickCount": 4, "title": POINTS.format(label)} if changes else
                   {"format": number, "tickCount": 4, "title": label}))), alt.value("#8593a322")))
    if clickable:
        cells = cells.properties(name="cells").add_params(alt.selection_point(
            name=CLICK, fields=["row", "column"], on="click", toggle=False, clear=False, empty=False))
    layers: list[Any] = [cells]
    if len(table) <= _WRITTEN:
        written = (POINTS.format(label), number.replace("%", "f")) if changes else (label, number)
        layers.append(base.transform_filter(f"isValid(datum['{label}'])").mark_text(fontSize=11, tooltip=None).encode(
            x=x, y=y, text=alt.Text(field=written[0], type="quantitative", format=written[1]),
            color=alt.when(test).then(alt.value(strong)).otherwise(alt.value(weak))))
    if chosen:
        layers.append(base.transform_filter((alt.datum.row == chosen[0]) & (alt.datum.column == chosen[1])).mark_rect(
            filled=False, stroke=ORANGE, strokeWidth=2.5, cornerRadius=2).encode(x=x, y=y))
    step = max(_SMALLEST if len(rows) <= 40 else 9, min(cell, round(520 / len(rows))))
    below = AXIS + _LEGEND + (0 if level else _SLANTED)
    return alt.LayerChart(layer=layers).properties(height=step * len(rows) + below)


def pictured(table: pd.DataFrame, maps: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """A `matrix_table` with a picture of the two maps behind each cell, seen while hovering.

    Args:
        maps: two score matrices by (row, column); a cell of a thing with itself has no picture.
    """
    return table.assign(image=[two_maps(*maps[row, column]) if row != column else ""
                               for row, column in zip(table["row"], table["column"], strict=True)])


def span(values: np.ndarray) -> tuple[float, float]:
    """The colours' domain for correlations: to 1, from 0 or below or, where all are high, from the tenth below them."""
    low = float(np.nanmin(values))
    return (np.floor(10 * low) / 10 if low > 0.3 else min(0.0, low)), 1.0


def picked(state: Any) -> tuple[str, str] | None:
    """The (row, column) selected in a clickable matrix; None when there is none."""
    points = ((state or {}).get("selection") or {}).get(CLICK) or []
    return next(((str(p["row"]), str(p["column"])) for p in points if "row" in p and "column" in p), None)
