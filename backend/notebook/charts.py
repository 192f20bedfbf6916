"""What results look like in a notebook. The explorer's charts need its theme and its pages; these stand alone.

Every chart says above it which model, task, shots, questions and seed it shows, and what the numbers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import altair as alt
import pandas as pd

INTACT, FURTHER = "#1f6fb2", ("#d9640a", "#0b8a6f", "#b04a8c", "#8a6d00", "#56a4d8", "#e69a5b", "#5f7285")
GREY = "#8593a3"
Drawing = alt.Chart | alt.LayerChart | alt.FacetChart  # as Altair types what is made of layers
_CELL, _BAR, _WIDTH = 22, 18, 420  # pixels
_LINE = 70  # characters of a line above a chart
_LARGEST = 640  # of a map's side, however many heads there are


def accuracy_bars(table: pd.DataFrame, heading: Sequence[str]) -> Drawing:
    """A bar per task and model with its 95 % interval; a grey tick where guessing would end.

    Args:
        table: the frame of an accuracy result.
        heading: the title, and the lines below it.
    """
    models = list(dict.fromkeys(table["model"]))
    colours = [INTACT, *(FURTHER[i % len(FURTHER)] for i in range(len(models) - 1))]
    place: dict[str, Any] = {
        "y": alt.Y("task:N", sort=list(dict.fromkeys(table["task"])), title=None),
        "yOffset": alt.YOffset("model:N", sort=models)}
    across: dict[str, Any] = {"scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format="%"), "title": "accuracy"}
    said = [alt.Tooltip("task:N"), alt.Tooltip("model:N"), alt.Tooltip("off:N"),
            alt.Tooltip("accuracy:Q", format=".1%"), alt.Tooltip("low:Q", title="95 % from", format=".1%"),
            alt.Tooltip("high:Q", title="to", format=".1%"), alt.Tooltip("n:Q"),
            alt.Tooltip("chance:Q", format=".1%"), alt.Tooltip("change:Q", format="+.1%"),
            alt.Tooltip("p:Q", title="paired test p", format=".2g")]
    base = alt.Chart(_values(table))
    bars = base.mark_bar(opacity=0.8).encode(x=alt.X("accuracy:Q", **across), tooltip=said, color=alt.Color(
        "model:N", title=None, scale=alt.Scale(domain=models, range=colours)), **place)
    intervals = base.mark_rule(strokeWidth=2, color="#1d2733").encode(
        x=alt.X("low:Q", **across), x2="high:Q", **place)
    chance = base.mark_tick(color=GREY, thickness=3, size=_BAR).encode(x=alt.X("chance:Q", **across), **place)
    return alt.layer(bars, chance, intervals).properties(
        width=_WIDTH, height=alt.Step(_BAR), title=_title([*heading, "grey: chance"]))


def importance_map(table: pd.DataFrame, n_layers: int, n_heads: int, heading: Sequence[str]) -> Drawing:
    """Heads across, layers up, layer 0 at the bottom; the darker, the more important. Colours begin at 0; a layer
    without heads is empty.

    Args:
        table: the frame of an importance result, in any order.
        heading: the title, and the lines below it.
    """
    step = min(_CELL, _LARGEST / max(n_layers, n_heads))
    top = float(table["importance"].max())
    across, up = alt.Scale(domain=list(range(n_heads))), alt.Scale(domain=list(range(n_layers))[::-1])
    cells: Drawing = alt.Chart(_values(table)).mark_rect().encode(
        x=alt.X("head:O", scale=across, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y("layer:O", scale=up, axis=alt.Axis(labelOverlap=True)),
        color=alt.Color("importance:Q", scale=alt.Scale(scheme="blues", domain=[0, top if top > 0 else 1])),
        tooltip=[alt.Tooltip("name:N", title="head"), alt.Tooltip("importance:Q", format=".3~g"),
                 alt.Tooltip("low:Q", title="95 % from", format=".3~g"),
                 alt.Tooltip("high:Q", title="to", format=".3~g"),
                 alt.Tooltip("rank:Q", title="rank (1 = highest)")],
    ).properties(width=round(step * n_heads), height=round(step * n_layers), title=_title(heading))
    return cells


def _title(heading: Sequence[str]) -> alt.TitleParams:
    lines = [line for one in heading[1:] for line in wrap(one, _LINE)]
    return alt.TitleParams(heading[0], subtitle=lines, anchor="start")


def _values(table: pd.DataFrame) -> alt.InlineData:
    """A table inside its chart: Altair takes a frame of 5,000 rows at most; what is no number becomes null."""
    return alt.InlineData(values=table.astype(object).where(table.notna(), None).to_dict("records"))
