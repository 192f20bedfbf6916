"""A map as an SVG on white, drawn from the same numbers as in the browser; no Streamlit.

What is off keeps its colour and is crossed out, hatched and framed, as on the page. map.js draws the same there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

PAPER, INK, SOFT, ORANGE = "#ffffff", "#1d2733", "#5b6673", "#e07b1f"
DARK, LIGHT = "#101820", "#ffffff"  # marks, on weak colours and on strong ones
UNKNOWN = (219, 221, 222)  # of a cell whose number is not known
LEFT, TOP, BOTTOM, GAP = 44, 5, 36, 7  # pixels: layers' numbers, above, heads' numbers, before the FFNs
TALLEST, LOWEST, HIGHEST = 470, 14, 40  # pixels of all layers, and limits of a cell
MARKED = 14  # pixels: a cell from here on is also hatched and framed where it is off

Colour = tuple[int, int, int]


def as_svg(drawn: Mapping[str, Any], off: np.ndarray, stops: Sequence[str], font: str = "sans-serif") -> str:
    """The picture of a map.

    Args:
        drawn: what the browser is given, `HeadMap.drawn`.
        off: (n_layers, n_heads + 1) of bool, the last column for the FFNs.
        stops: the colours from strength 0 to 1.
    """
    n_layers, n_heads = drawn["shape"]
    columns = n_heads + bool(drawn["ffns"])
    cell = max(LOWEST, min(HIGHEST, TALLEST / n_layers))
    colours = [_rgb(stop) for stop in stops]
    above = 30 + (46 if drawn["legend"] else 0)
    wide = LEFT + columns * cell + (GAP if drawn["ffns"] else 0)
    said = drawn["title"] or drawn["label"]
    width, height = max(wide, 380, 7.6 * len(said)) + 16, above + TOP + n_layers * cell + BOTTOM + 8
    parts = [_rect(0, 0, width, height, PAPER),
             _text(said, 10, 17, font, INK, 13, "start", 600)]
    parts += _legend(drawn, colours, font) if drawn["legend"] else []
    marks: list[str] = []
    for layer in range(n_layers):
        y = above + TOP + (n_layers - 1 - layer) * cell
        parts.append(_text(str(layer), LEFT - 8, y + cell / 2, font, SOFT, 11, "end"))
        for column in range(columns):
            x = LEFT + column * cell + (GAP if column == n_heads else 0)
            strength = drawn["shades"][layer][column]
            fill = UNKNOWN if strength is None else between(colours, strength / 1000)
            parts.append(_rect(x, y, cell - 1, cell - 1, _css(fill)))
            if column < n_heads and layer in drawn["headless"]:
                marks.append(_path([(x + cell / 3, y + cell / 2, x + 2 * cell / 3, y + cell / 2)], SOFT, 1))
            elif off[layer, column]:
                marks += _marked(x, y, cell - 1, fill)
    every = max(1, -(-len(str(n_heads)) * 17 // (2 * int(cell))))
    base = above + TOP + n_layers * cell
    parts += [_text(str(head), LEFT + (head + 0.5) * cell, base + 11, font, SOFT, 11, "middle")
              for head in range(0, n_heads, every)]
    if drawn["ffns"]:
        parts.append(_text("FFN", LEFT + (n_heads + 0.5) * cell + GAP, base + 11, font, SOFT, 11, "middle"))
    parts += [_text("head", LEFT + (wide - LEFT) / 2, base + 27, font, SOFT, 11, "middle"),
              _text("layer", 9, above + TOP + n_layers * cell / 2, font, SOFT, 11, "middle", upwards=True)]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
            f'viewBox="0 0 {width:g} {height:g}">{"".join(parts)}{"".join(marks)}</svg>')


def between(stops: Sequence[Colour], t: float) -> Colour:
    """The colour of a strength from 0 to 1."""
    at = min(max(t, 0.0), 1.0) * (len(stops) - 1)
    i = min(int(at), len(stops) - 2)
    red, green, blue = (round(low + (high - low) * (at - i)) for low, high in zip(stops[i], stops[i + 1], strict=True))
    return red, green, blue


def _legend(drawn: Mapping[str, Any], colours: Sequence[Colour], font: str) -> list[str]:
    parts = [_text(drawn["legend"], 10, 42, font, SOFT, 11, "start")]
    if drawn["ticks"]:
        parts += [_rect(10 + i * 3.5, 50, 3.6, 8, _css(between(colours, i / 59))) for i in range(60)]
        parts += [_text(text, 10 + 0.21 * t, 67, font, SOFT, 10, "start" if t < 60 else "end" if t > 940 else "middle")
                  for t, text in drawn["ticks"]]
    return parts


def _marked(x: float, y: float, side: float, fill: Colour) -> list[str]:
    """What says that a cell is off: a cross with a halo; where there is room, hatching and a frame."""
    ink, halo = (DARK, LIGHT) if _luminance(fill) > 0.3 else (LIGHT, DARK)
    large = side >= MARKED - 1
    reach, cx, cy = side * (0.24 if large else 0.36), x + side / 2, y + side / 2
    cross = [(cx - reach, cy - reach, cx + reach, cy + reach), (cx - reach, cy + reach, cx + reach, cy - reach)]
    lines = [(x + max(0.0, at - side), y + min(at, side), x + min(at, side), y + max(0.0, at - side))
             for at in np.arange(4.0, 2 * side, 6)]
    parts = [_path(lines, ink, 1, 0.5)] * large
    parts += [_path(cross, halo, 5 if large else 3, 0.85 if large else 0.6), _path(cross, ink, 2.4 if large else 1.5)]
    return parts + [f'<rect x="{x + 1:g}" y="{y + 1:g}" width="{side - 2:g}" height="{side - 2:g}" fill="none" '
                    f'stroke="{ORANGE}" stroke-width="2"/>'] * large


def _rect(x: float, y: float, w: float, h: float, fill: str) -> str:
    return f'<rect x="{x:.6g}" y="{y:.6g}" width="{w:.6g}" height="{h:.6g}" fill="{fill}"/>'


def _path(lines: Sequence[tuple[float, float, float, float]], stroke: str, width: float, opacity: float = 1) -> str:
    d = "".join(f"M{a:.5g} {b:.5g}L{c:.5g} {e:.5g}" for a, b, c, e in lines)
    return f'<path d="{d}" stroke="{stroke}" stroke-width="{width:g}" stroke-opacity="{opacity:g}"/>'


def _text(words: str, x: float, y: float, font: str, fill: str, size: int, anchor: str, weight: int = 400,
          upwards: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:.6g} {y:.6g})"' if upwards else ""
    known = escape(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "", words))  # signs that XML does not know
    return (f'<text{turned} x="{x:.6g}" y="{y:.6g}" fill="{fill}" font-size="{size}" text-anchor="{anchor}" '
            f'dominant-baseline="central" font-family="{escape(font)}" font-weight="{weight}">{known}</text>')


def _rgb(colour: str) -> Colour:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _css(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _luminance(colour: Colour) -> float:
    return float(sum(share * (part / 255) ** 2.2
                     for share, part in zip((0.2126, 0.7152, 0.0722), colour, strict=True)))
