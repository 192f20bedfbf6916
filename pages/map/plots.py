"""Charts whose marks are switched like the cells of a map: an FFN's bar, a head's dot. `plot.js` draws them.

A page shows one in place of the chart of the same table, which stays its picture: `blocks.result(..., clickable=...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

import pandas as pd

from pages.map import component, protocol
from pages.map.scales import LEAST, Number, written

Facts = Sequence[tuple[str, str, Number]]  # what a mark says of itself: a label, a column, how it is written


@dataclass(frozen=True, eq=False)
class Plot:
    """What a chart of marks shows; made by `bars` and `dots`."""

    shape: protocol.Shape
    drawn: Mapping[str, Any]  # what the browser is given beside the mask: numbers and short labels
    is_still = False

    def draw(self, key: str, held: protocol.Held, trail: protocol.Trail, on_change: Callable[[], None],
             on_card: Callable[[], None] = lambda: None) -> None:
        """Draw it, with what is chosen; what the callbacks find in `st.session_state[key]`: see `component.draw`."""
        component.draw(key, {"plot": dict(self.drawn)}, self.shape, held, trail, on_change, on_card)


def bars(table: pd.DataFrame, shape: protocol.Shape, *, x: str, x_title: str, alt: str, facts: Facts) -> Plot:
    """A bar per layer from zero with its interval, layer 0 at the bottom; orange falls, pale includes no change.

    Args:
        table: columns layer, head, name, low, high and `x`, a difference of shares.
        facts: `x` first, which its interval follows.
    """
    low, high = min(0.0, float(table["low"].min())), max(0.0, float(table["high"].max()))
    low, high = (low, high) if high - low >= LEAST else (-LEAST / 2, LEAST / 2)
    marks = [{**mark, "x": row[x], "low": row["low"], "high": row["high"], "facts": [
        *mark["facts"][:1], f"95 %: {exact(row['low'], '+points').split()[0]} to {exact(row['high'], '+points')}",
        *mark["facts"][1:]]} for mark, row in _marks(table, facts)]
    return Plot(shape, {"kind": "bars", "layers": shape.n_layers, "alt": alt, "marks": marks,
                        "x": {"title": x_title, **in_points(low, high)}})


def dots(table: pd.DataFrame, shape: protocol.Shape, *, x: str, y: str, x_title: str, y_title: str, alt: str,
         facts: Facts) -> Plot:
    """A dot per head, coloured by its layer; what is chosen is orange and larger. Both axes hold 0.

    Args:
        table: columns layer, head, name, `x` and `y`.
    """
    table = table.dropna(subset=[x, y])
    scales = {name: axis(min(0.0, float(table[name].min())), max(0.0, float(table[name].max())), "plain")
              for name in (x, y)}
    marks = [{**mark, "x": row[x], "y": row[y]} for mark, row in _marks(table, facts)]
    return Plot(shape, {"kind": "dots", "layers": shape.n_layers, "alt": alt, "marks": marks,
                        "x": {"title": x_title, **scales[x]}, "y": {"title": y_title, **scales[y]}})


def axis(low: float, high: float, number: Number, n: int = 5) -> dict[str, Any]:
    """A scale that holds a range and ends at ticks, about `n` of them at 1, 2 or 5 times a power of ten."""
    if high <= low:
        high = low + 1
    power = 10.0 ** floor(log10((high - low) / n))
    step = next(by * power for by in (1, 2, 5, 10) if by * power * n >= (high - low) * (1 - 1e-9))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return {"domain": [first * step, last * step],
            "ticks": [[i * step, written(round(i * step, 12), number)] for i in range(first, last + 1)]}


def in_points(low: float, high: float) -> dict[str, Any]:
    """The same of differences between shares: in points, which the axis' title says."""
    found = axis(low, high, "percent")
    return {**found, "ticks": [[at, text.rstrip("% ")] for at, text in found["ticks"]]}


def exact(value: float, number: Number) -> str:
    """A number that is read by itself: with its unit, a share with a decimal more than on an axis."""
    if number not in ("percent", "+points"):
        return written(value, number)
    return (f"{100 * value:+.1f} points" if number == "+points" else f"{100 * value:.1f} %").replace("-", "−")


def _marks(table: pd.DataFrame, facts: Facts) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    rows: list[dict[str, Any]] = table.to_dict("records")
    return [({"layer": int(row["layer"]), "head": int(row["head"]), "name": row["name"],
              "facts": [f"{label} {exact(float(row[column]), number)}" for label, column, number in facts
                        if column in row]}, row) for row in rows]
