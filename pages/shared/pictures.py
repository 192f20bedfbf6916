"""What a page shows, as SVG on white: charts and maps alike. Slow (tenths of a second a chart): only when asked for."""

from __future__ import annotations

from collections.abc import Sequence

from streamlit.elements.vega_charts import _altair_globals_lock  # Altair's settings are those of all threads

from backend.values import parse
from pages.map import HeadMap, picture, protocol
from pages.shared.charts import paper

Shown = paper.Chart | HeadMap


def svg(shown: Shown, off: str = "") -> str:
    """One picture.

    Args:
        off: the mask that a map is drawn with, as the text field has it.
    """
    if isinstance(shown, HeadMap):
        mask = protocol.as_mask(parse(off, *shown.shape)[0], shown.shape)
        stops = paper.theme()["chartDivergingColors"][::-1] if shown.drawn["signed"] else \
            paper.theme()["chartSequentialColors"]
        return picture.as_svg(shown.drawn, mask, stops, paper.FONT)
    with _altair_globals_lock:
        spec = paper.specification(shown)
    return paper.as_svg(spec)


def together(shown: Sequence[tuple[str, Shown]], off: str = "") -> str:
    """Several pictures, each with its label, as one."""
    return paper.together([(label, svg(one, off)) for label, one in shown])
