"""One prompt, looked at closely: tokens, attention, next tokens, contributions, as charts; no Streamlit calls.

Tokens are told apart by their position; spaces and newlines are shown as signs. Attention: rows are queries
(destinations), columns are keys (sources).
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from PIL import Image

from backend.values import INTACT, Ablation, Head
from pages.shared.charts import AXIS, BLUE, FFN, GREY, INKS, LEGEND, ORANGE

INK = "#7f8c9a"
Picture = alt.Chart | alt.LayerChart | alt.FacetChart
SPACE, NEWLINE, TAB = "·", "⏎", "⇥"
FAINT, STRONG = 0.01, 0.2  # attention below the one is left blank in charts, above the other shaded strongly
OPEN = "open"  # the name of the thumbnails' selection
THUMBNAILS_PER_ROW = 8

_MATRIX, _CELL_LOW, _CELL_HIGH = 400, 4, 20  # pixels: size of a whole pattern, and of one of its cells
_LABEL = 70  # pixels of a token beside its row or column
_LABELLED = 70  # tokens: up to this many, each is written beside its row and column
_TEXT_WIDTH, _CHARACTER, _LINE = 470, 7.3, 24  # pixels of the text of tokens
_THUMBNAIL = 58
_PADDING = 22  # pixels that Streamlit takes off a chart without axes


def visible(token: str) -> str:
    """A token with its spaces and newlines as signs: `·the`, `⏎`."""
    return token.replace(" ", SPACE).replace("\n", NEWLINE).replace("\t", TAB) or "∅"


# --- what comes next, and the options -----------------------------------------------------------


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
    return alt.Chart(table).mark_bar(cornerRadius=2).encode(
        y=alt.Y("token:N", sort=order, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=130)),
        yOffset=alt.YOffset("model:N", sort=models, scale=alt.Scale(paddingOuter=0.1)),
        x=alt.X("probability:Q", title="probability of the next token", scale=alt.Scale(zero=True, nice=True),
                axis=alt.Axis(format="~%", tickCount=5)),
        color=_models(table),
        tooltip=["token:N", "model:N", alt.Tooltip("probability:Q", format=".2%"), alt.Tooltip("rank:Q")],
    ).properties(height=(13 * len(models) + 8) * len(order) + AXIS + LEGEND)


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
        tooltip=["option:N", "model:N", alt.Tooltip("loglikelihood:Q", format=".3f"), alt.Tooltip("right:N"),
                 alt.Tooltip("chosen:N", title="the model's choice")])
    return alt.layer(link, points).properties(height=34 * len(order) + AXIS + LEGEND)


# --- attention ----------------------------------------------------------------------------------


def attention_table(pattern: np.ndarray, tokens: Sequence[str], first: int = 0) -> pd.DataFrame:
    """One row per pair of a query and a key at or before it: positions, tokens, attention.

    Args:
        pattern: (pos, pos), rows = queries.
        first: the first query shown.
    """
    q, k = np.tril_indices(len(pattern))
    keep = q >= first
    q, k = q[keep], k[keep]
    named = [f"{i} {visible(token)}" for i, token in enumerate(tokens)]
    return pd.DataFrame({"query": q, "key": k, "from": [named[i] for i in q], "to": [named[i] for i in k],
                         "attention": pattern[q, k].astype(float)})


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
    return alt.Chart(shown).mark_rect(cornerRadius=1).encode(
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


def thumbnail_table(patterns: np.ndarray, layer: int, opened: int, off: Ablation = INTACT) -> pd.DataFrame:
    """One row per head of a layer with a small picture of its pattern.

    Args:
        patterns: (n_heads, pos, pos).
        opened: the head that is shown large.
    """
    return pd.DataFrame([
        {"head": h, "name": str(Head(layer, h)), "column": h % THUMBNAILS_PER_ROW, "row": h // THUMBNAILS_PER_ROW,
         "picture": picture(pattern), "opened": h == opened, "off": Head(layer, h) in off.heads}
        for h, pattern in enumerate(patterns)])


def thumbnails(table: pd.DataFrame) -> Picture:
    """A `thumbnail_table` as small pictures; a click (`OPEN`, field head) opens one."""
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
        tooltip=[alt.Tooltip("name:N", title="head"), alt.Tooltip("off:N", title="switched off")],
    ).add_params(alt.selection_point(name=OPEN, fields=["head"], on="click", toggle="false", clear=False, empty=False))
    names = base.mark_text(dy=_THUMBNAIL / 2 + 2, fontSize=10.5).encode(text="name:N", color=alt.value(GREY))
    return alt.layer(pictures, names, frames).properties(
        width=_THUMBNAIL * n_columns, height=(_THUMBNAIL + 16) * n_rows + _PADDING)


def picture(pattern: np.ndarray, at_most: int = 96) -> str:
    """A pattern as a PNG in a data URL, blue on nothing, so that it reads on light and dark alike.

    Larger patterns are made smaller by taking the strongest of neighbouring cells.
    """
    step = -(-len(pattern) // at_most)
    padded = np.pad(pattern, (0, -len(pattern) % step))
    small = padded.reshape(len(padded) // step, step, len(padded) // step, step).max((1, 3))
    enlarged = max(1, 120 // len(small))
    return _png(np.kron(np.sqrt(np.clip(small, 0, 1)), np.ones((enlarged, enlarged))))


def two_maps(a: np.ndarray, b: np.ndarray) -> str:
    """Two score matrices side by side as a PNG in a data URL: heads across, layers up, each up to its own maximum."""
    strength = [0.08 + 0.92 * np.clip(m, 0, None)[::-1] / max(float(m.max()), 1e-30) for m in (a, b)]
    size = max(1, 14 if a.size <= 200 else 260 // (2 * max(a.shape)))
    gap = np.zeros((len(a) * size, max(12, 2 * size)))
    large = [np.kron(m, np.ones((size, size))) for m in strength]
    if size > 4:  # a line between cells
        for m in large:
            m[::size], m[:, ::size] = 0, 0
    return _png(np.hstack([large[0], gap, large[1]]))


# --- contributions ------------------------------------------------------------------------------


def contribution_table(heads: np.ndarray, ffns: np.ndarray, off: Ablation = INTACT) -> pd.DataFrame:
    """One row per head and FFN: what it adds to a logit.

    Args:
        heads: (n_layers, n_heads); ffns: (n_layers,).
    """
    rows = [{"layer": layer, "head": head, "name": str(Head(layer, head)), "column": str(head),
             "contribution": float(heads[layer, head]), "off": Head(layer, head) in off.heads}
            for layer in range(heads.shape[0]) for head in range(heads.shape[1])]
    rows += [{"layer": layer, "head": FFN, "name": f"L{layer} FFN", "column": "FFN",
              "contribution": float(value), "off": layer in off.ffns} for layer, value in enumerate(ffns)]
    return pd.DataFrame(rows)


# --- inside -------------------------------------------------------------------------------------


def _png(opacity: np.ndarray) -> str:
    """Blue of this opacity, 0 to 1, as a PNG in a data URL: reads on light and dark alike."""
    pixels = np.empty((*opacity.shape, 4), np.uint8)
    pixels[..., :3] = [int(BLUE[i:i + 2], 16) for i in (1, 3, 5)]
    pixels[..., 3] = np.round(255 * opacity)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


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
