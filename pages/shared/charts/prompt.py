"""One prompt, looked at closely: next tokens, options, attention as a map and as shaded text.

Attention: rows are queries (destinations), columns are keys (sources).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from backend.tables import NEWLINE, visible
from pages.shared.charts.pictures import picture
from pages.shared.charts.style import AXIS, BLUE, GREY, INKS, LEGEND, ORANGE

Picture = alt.Chart | alt.LayerChart | alt.FacetChart
INK = "#7f8c9a"
FAINT, STRONG = 0.01, 0.2  # attention below the one is left blank in charts, above the other shaded strongly
OPEN = "open"  # the name of the thumbnails' selection
_MATRIX, _CELL_LOW, _CELL_HIGH = 400, 4, 20  # pixels: size of a whole pattern, and of one of its cells
_LABEL = 70  # pixels of a token beside its row or column
_LABELLED = 70  # tokens: up to this many, each is written beside its row and column
_TEXT_WIDTH, _CHARACTER, _LINE = 470, 7.3, 24  # pixels of the text of tokens
_THUMBNAIL = 58
_PADDING = 22  # pixels that Streamlit takes off a chart without axes


def _models(table: pd.DataFrame) -> alt.Color:
    """The models' colours, with a legend of those that are there."""
    both = "ablated" in set(table["model"])
    return alt.Color("model:N", title=None, scale=alt.Scale(
        domain=["intact", "ablated"][:1 + both], range=[BLUE, ORANGE][:1 + both]),
        legend=alt.Legend(orient="top", symbolType="circle"))


def next_token_chart(table: pd.DataFrame) -> Picture:
    """Probabilities of next tokens (columns token, model, probability, rank), the intact model's order."""
    order = list(dict.fromkeys(table["token"]))
    models = [m for m in ("intact", "ablated") if m in set(table["model"])]
    bars: alt.Chart = alt.Chart(table).mark_bar(cornerRadius=2).encode(
        y=alt.Y("token:N", sort=order, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=130)),
        yOffset=alt.YOffset("model:N", sort=models, scale=alt.Scale(paddingOuter=0.1)),
        x=alt.X("probability:Q", title="probability of the next token", scale=alt.Scale(zero=True, nice=True),
                axis=alt.Axis(format="~%", tickCount=5)),
        color=_models(table),
        tooltip=["token:N", "model:N", alt.Tooltip("probability:Q", format=".2%"), alt.Tooltip("rank:Q")],
    ).properties(height=(13 * len(models) + 8) * len(order) + AXIS + LEGEND)
    return bars


def options_chart(table: pd.DataFrame) -> Picture:
    """Log-likelihood of each option (columns option, model, loglikelihood, right, chosen), intact and ablated."""
    order = list(dict.fromkeys(table["option"]))
    y = alt.Y("option:N", sort=order, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=200))
    x = alt.X("loglikelihood:Q", title="log-likelihood, nats (farther right = more likely)",
              scale=alt.Scale(zero=False, nice=True, padding=12), axis=alt.Axis(tickCount=6))
    base = alt.Chart(table)
    link = base.mark_line(color=GREY, strokeWidth=1.5, opacity=0.8).encode(x=x, y=y, detail="option:N")
    points = base.mark_point(filled=True, opacity=1).encode(
        x=x, y=y, color=_models(table), size=alt.condition("datum.chosen", alt.value(190), alt.value(70)),
        shape=alt.condition("datum.right", alt.value("diamond"), alt.value("circle")),
        tooltip=["option:N", "model:N", alt.Tooltip("loglikelihood:Q", format=".3f")])
    return alt.layer(link, points).properties(height=34 * len(order) + AXIS + LEGEND)


def attention_map(table: pd.DataFrame, tokens: Sequence[str]) -> Picture:
    """An `attention_table` as a map: rows = queries, columns = keys. What is below `FAINT` is left blank."""
    first, n = int(table["query"].min()), len(tokens)
    cell = max(_CELL_LOW, min(_CELL_HIGH, _MATRIX / n))
    names = json.dumps([visible(token) for token in tokens])
    written: dict[str, Any] = {"labelOverlap": True, "labelLimit": _LABEL}
    beside = 30
    if n <= _LABELLED:
        written |= {"labelExpr": f"{names}[datum.value]", "labelFontSize": 10, "labelOverlap": False}
        beside += min(_LABEL, 6 * max(len(visible(token)) for token in tokens))
    plain: dict[str, Any] = {"ticks": False, "domain": False, "grid": False, **written}
    gap: dict[str, Any] = {"paddingInner": 0.06 if n <= _LABELLED else 0, "paddingOuter": 0}
    shown = table[table["attention"] >= FAINT]
    cells: alt.Chart = alt.Chart(shown).mark_rect(cornerRadius=1).encode(
        x=alt.X("key:O", title="key: where it looks", scale=alt.Scale(domain=list(range(n)), **gap),
                axis=alt.Axis(labelAngle=-90, **plain)),
        y=alt.Y("query:O", title="query: from where", scale=alt.Scale(domain=list(range(first, n)), **gap),
                axis=alt.Axis(**plain)),
        color=alt.Color("attention:Q", scale=_shades(), legend=alt.Legend(
            title="attention", orient="top", direction="horizontal", format="%", values=[0.01, 0.1, 0.25, 0.5, 1],
            gradientLength=200, gradientThickness=9)),
        tooltip=[alt.Tooltip("from:N", title="query"), alt.Tooltip("to:N", title="key"),
                 alt.Tooltip("attention:Q", format=".1%")],
    ).properties(width=round(cell * n) + beside, height=round(cell * (n - first)) + beside + 2 * LEGEND)
    return cells


def token_text(pattern: np.ndarray, tokens: Sequence[str], dark: bool = False) -> Picture:
    """The prompt as it reads; hovering over a token shades what the head attends to from there, at first the last.

    Args:
        dark: the theme, which decides what ink is readable on strong shades.
    """
    places = _laid_out(tokens)
    q, k = np.nonzero(np.tril(pattern) >= FAINT)
    pairs = places.iloc[k].reset_index(drop=True).rename(columns={"position": "key"}).assign(
        position=q, attention=pattern[q, k].astype(float))
    n_lines = int(places["line"].max()) + 1
    x: dict[str, Any] = {"scale": alt.Scale(domain=[0, _TEXT_WIDTH], nice=False, zero=False), "axis": None}
    y = alt.Y("line:Q", scale=alt.Scale(domain=[n_lines - 0.5, -0.5], nice=False, zero=False), axis=None)
    hover = alt.selection_point(name="from", fields=["position"], on="pointerover", clear="false", empty=False,
                                value=[{"position": len(tokens) - 1}])
    shade = alt.Chart(pairs).transform_filter(hover).mark_rect(height=_LINE - 4, cornerRadius=3).encode(
        x=alt.X("left:Q", **x), x2="right:Q", y=y, color=alt.Color("attention:Q", scale=_shades(), legend=None))
    touch = alt.Chart(places).mark_rect(height=_LINE - 2, cornerRadius=3, strokeWidth=1.8, fillOpacity=0).encode(
        x=alt.X("left:Q", **x), x2="right:Q", y=y, fill=alt.value("white"),
        stroke=alt.condition(hover, alt.value(ORANGE), alt.value("transparent")),
        tooltip=[alt.Tooltip("name:N", title="token")]).add_params(hover)
    words = alt.Chart(places).mark_text(font="monospace", fontSize=12, align="left", dx=2, baseline="middle").encode(
        x=alt.X("left:Q", **x), y=y, text="shown:N",
        color=alt.value(INK))
    strong = alt.Chart(pairs).transform_filter(hover).transform_filter(f"datum.attention > {STRONG}").mark_text(
        font="monospace", fontSize=12, align="left", dx=2, baseline="middle").encode(
        x=alt.X("left:Q", **x), y=y, text="shown:N", color=alt.value(INKS[dark][1]))
    return alt.layer(shade, words, strong, touch).properties(width=_TEXT_WIDTH, height=_LINE * n_lines + _PADDING)


def thumbnails(table: pd.DataFrame, patterns: np.ndarray) -> Picture:
    """A `thumbnail_table` as small pictures of the heads' patterns; a click (`OPEN`, field head) opens one.

    Args:
        patterns: (n_heads, pos, pos).
    """
    table = table.assign(picture=[picture(patterns[head]) for head in table["head"]])
    n_rows, n_columns = int(table["row"].max()) + 1, int(table["column"].max()) + 1
    x = alt.X("column:Q", axis=None, scale=alt.Scale(domain=[-0.5, n_columns - 0.5], nice=False, zero=False))
    y = alt.Y("row:Q", axis=None, scale=alt.Scale(domain=[n_rows - 0.5, -0.5], nice=False, zero=False))
    base = alt.Chart(table).encode(x=x, y=y)
    pictures = base.mark_image(width=_THUMBNAIL - 14, height=_THUMBNAIL - 14, cursor="pointer").encode(url="picture:N")
    frames = base.mark_square(size=(_THUMBNAIL - 12) ** 2, filled=True, fillOpacity=0, cursor="pointer").encode(
        fill=alt.value("white"),
        stroke=alt.when("datum.opened").then(alt.value(BLUE)).when("datum.off").then(alt.value(ORANGE)).otherwise(
            alt.value(f"{GREY}66")),
        strokeWidth=alt.condition("datum.opened || datum.off", alt.value(2.5), alt.value(1)),
        tooltip=[alt.Tooltip("name:N", title="head")],
    ).add_params(alt.selection_point(name=OPEN, fields=["head"], on="click", toggle="false", clear=False, empty=False))
    names = base.mark_text(dy=_THUMBNAIL / 2 + 2, fontSize=10.5).encode(text="name:N", color=alt.value(GREY))
    return alt.layer(pictures, names, frames).properties(
        width=_THUMBNAIL * n_columns, height=(_THUMBNAIL + 16) * n_rows + _PADDING)


def _shades() -> alt.Scale:
    """The colours of attention, the same for all heads: from 0 to 1, stretched at the low end."""
    return alt.Scale(range="heatmap", type="sqrt", domain=[0, 1])


def _laid_out(tokens: Sequence[str]) -> pd.DataFrame:
    """Where each token of a running text stands: line, left and right edge in pixels; a newline ends a line."""
    rows, line, left = [], 0, 0.0
    for position, token in enumerate(tokens):
        shown = visible(token)
        width = len(shown) * _CHARACTER + 4
        if left and left + width > _TEXT_WIDTH:
            line, left = line + 1, 0.0
        rows.append({"position": position, "shown": shown, "name": f"{position} {shown}", "line": line, "left": left,
                     "right": left + width})
        left += width
        if shown.endswith(NEWLINE):
            line, left = line + 1, 0.0
    return pd.DataFrame(rows)
