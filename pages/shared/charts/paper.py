"""Charts as SVG on white: in the light theme's colours, whatever the browser shows; no browser and no network.

Altair's settings are those of the whole process: whoever draws in threads calls `specification` one at a time.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any

import altair as alt

from backend.places import EXPLORER
from pages.shared.charts.style import INKS

Chart = alt.Chart | alt.LayerChart | alt.HConcatChart | alt.VConcatChart | alt.FacetChart | alt.ConcatChart

FONT = "Arial, Helvetica, sans-serif"
WIDTH = 640  # pixels of a chart that is as wide as its place on the page
GAP, LABEL = 18, 22  # between pictures that stand together, and above each for its label
_THEME = EXPLORER / ".streamlit" / "config.toml"


@cache
def theme() -> dict[str, Any]:
    """The light theme's colours, as the explorer shows them."""
    light: dict[str, Any] = tomllib.loads(_THEME.read_text("utf-8"))["theme"]["light"]
    return light


@cache
def _config() -> dict[str, Any]:
    light = theme()
    ink, line = light["textColor"], light["borderColor"]
    axis = {"labelColor": "#566473", "titleColor": ink, "titleFontWeight": 400, "labelFontSize": 11,
            "titleFontSize": 12, "gridColor": line, "domain": False, "ticks": False,
            "labelPadding": 6, "titlePadding": 8}
    return {
        "aria": False, "background": light["backgroundColor"], "font": FONT, "axis": axis,
        "legend": {"labelColor": ink, "titleColor": ink, "titleFontWeight": 400, "labelFontSize": 11},
        "header": {"labelColor": ink, "titleColor": ink}, "title": {"color": ink, "anchor": "start"},
        "view": {"stroke": None}, "range": {
            "category": light["chartCategoricalColors"], "heatmap": light["chartSequentialColors"],
            "ramp": light["chartSequentialColors"], "ordinal": light["chartSequentialColors"],
            "diverging": light["chartDivergingColors"]}}


def specification(chart: Chart) -> dict[str, Any]:
    """A chart as Vega-Lite with everything in it: rows, size, and inks that are read on white."""
    with alt.data_transformers.enable("default", max_rows=None), alt.theme.enable("none"):
        spec = chart.to_dict()
    if "width" not in spec and ("layer" in spec or "mark" in spec):
        spec |= {"width": WIDTH, "autosize": {"type": "fit", "contains": "padding"}}
    inked: dict[str, Any] = _inked(spec)
    return inked


def as_svg(spec: dict[str, Any]) -> str:
    """A `specification` as SVG; nothing is fetched for it."""
    import vl_convert

    return vl_convert.vegalite_to_svg(spec, config=_config(), allowed_base_urls=[])


def _inked(value: Any) -> Any:
    """The same with the dark theme's inks as the light one's."""
    if isinstance(value, dict):
        return {key: one if key == "datasets" else _inked(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_inked(one) for one in value]
    return dict(zip(INKS[True], INKS[False], strict=True)).get(value, value) if isinstance(value, str) else value


# --- several together -----------------------------------------------------------------------------


def together(pictures: Sequence[tuple[str, str]], per_row: int = 4) -> str:
    """Pictures (label, SVG) as one, side by side in rows of so many; one without a label stays itself."""
    if len(pictures) == 1 and not pictures[0][0]:
        return pictures[0][1]
    sizes = [size(svg) for _, svg in pictures]
    rows = [range(i, min(i + per_row, len(pictures))) for i in range(0, len(pictures), per_row)]
    parts, y, wide = [], 0.0, 0.0
    for row in rows:
        x = 0.0
        for i in row:
            label, svg = pictures[i]
            parts.append(f'<text x="{x + 6:g}" y="{y + 15:g}" font-family="{FONT}" font-size="12" font-weight="600" '
                         f'fill="{theme()["textColor"]}">{escaped(label)}</text>')
            parts.append(f'<g transform="translate({x:g},{y + LABEL:g})">{apart(svg, f"p{i}-")}</g>')
            x += sizes[i][0] + GAP
        wide = max(wide, x - GAP)
        y += max(sizes[i][1] for i in row) + LABEL + GAP
    w, h = f"{wide:g}", f"{y - GAP:g}"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{w}" height="{h}" viewBox="0 0 {w} {h}"><rect width="{w}" height="{h}" fill="white"/>'
            f'{"".join(parts)}</svg>')


def size(svg: str) -> tuple[float, float]:
    """Width and height of a picture, in pixels."""
    head = svg[:svg.index(">")]
    found = {name: re.search(rf'\s{name}="([\d.]+)"', head) for name in ("width", "height")}
    return tuple(float(one[1]) if one else 0.0 for one in found.values())  # type: ignore[return-value]


def apart(svg: str, prefix: str) -> str:
    """The same picture with names of its own, so that several can stand in one document."""
    svg = re.sub(r'(\sid=")', rf"\g<1>{prefix}", svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", svg)


def escaped(text: str) -> str:
    """Text that nothing takes for markup; signs that XML does not know are left out."""
    return escape(re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text))
