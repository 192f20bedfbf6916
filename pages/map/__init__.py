"""The map on which heads and FFNs are switched: a heatmap of our own, whose clicks are never lost.

    components.clickable(head_map(scores, title=..., label="importance", scale="logarithmic"), key="importance")

Heads across, layers up, layer 0 at the bottom; what is off keeps its colour, is hatched and crossed out. A click or a
drag switches cells, a number beside a layer or below a column the whole line; arrows, space, Shift and Escape do the
same, and Ctrl+Z undoes; a right click, a long touch or I asks for a head's card. A map can be held against a second
mask (`HeadMap.beside`): what is off in only one of the two is framed. A still map (`HeadMap.still`) shows a mask of
its own, which no hand switches. `steps` are the buttons Undo, Redo and Clear; `plots` are charts whose marks are
switched likewise. `HeadMap` is plain data, `map.js` draws it and `protocol.py` says how browser and server stay one.
Nothing that is passed is read as HTML. Pages draw maps through `components.clickable`, which holds the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backend.tables.importance import NO_HEADS
from backend.values import Ablation
from pages.map import component, protocol
from pages.map.protocol import Held, Trail
from pages.map.scales import Number, plain, ranks, shades, written

Fact = tuple[str, np.ndarray, Number]  # what else is known: a label, (n_layers, n_heads), how it is written

@dataclass(frozen=True, eq=False)
class HeadMap:
    """What a map shows; made by `head_map`."""

    shape: protocol.Shape
    drawn: Mapping[str, Any]  # what the browser is given beside the mask: numbers and short labels

    def draw(self, key: str, held: Held, trail: Trail, on_change: Callable[[], None],
             on_card: Callable[[], None] = lambda: None) -> None:
        """Draw it, with what is held off; what the callbacks find in `st.session_state[key]`: see `component.draw`."""
        component.draw(key, {"map": dict(self.drawn)}, self.shape, held, trail, on_change, on_card)

    def beside(self, other: Ablation, name: str) -> HeadMap:
        """The same map held against another mask, called `name`: what is off in only one of the two is framed."""
        return self._more(other={"off": protocol.as_rows(other, self.shape), "name": name})

    def still(self, off: Ablation, beside: str = "") -> HeadMap:
        """The same map with a mask of its own instead of the one that is held; nothing on it can be switched.

        Args:
            beside: what the mask that is held is called, where this one is held against it.
        """
        return self._more(still=protocol.as_rows(off, self.shape), **({"other": {"name": beside}} if beside else {}))

    @property
    def is_still(self) -> bool:
        return "still" in self.drawn

    def _more(self, **given: Any) -> HeadMap:
        return replace(self, drawn={**self.drawn, **given})


def steps(key: str, held: Held, trail: Trail, shape: protocol.Shape, on_change: Callable[[], None]) -> None:
    """Draw Undo, Redo and Clear, whose presses count one by one; they say what they have to say as maps do."""
    component.draw(key, {}, shape, held, trail, on_change)


def head_map(values: np.ndarray | None, *, title: str = "", alt: str = "", shape: tuple[int, int] | None = None,
             ffns: bool | np.ndarray = False, label: str = "importance", scale: str = "raw", signed: bool = False,
             domain: tuple[float, float] | None = None, number: Number = "plain", facts: Sequence[Fact] = (),
             legend: bool = True, file: str = "map", state: str = "off", headless: Collection[int] = ()) -> HeadMap:
    """A map of one score per head.

    Args:
        values: (n_layers, n_heads), or None when there is nothing to colour by (then give `shape`).
        title: the finding, which pictures carry.
        alt: what a screen reader says of the whole map.
        ffns: a column for the FFNs, with (n_layers,) scores where they have them on the same scale.
        label: what the score is called.
        scale: one of `scales.SCALES`; the legend says which.
        signed: colours diverge around zero.
        domain: a locked scale, for maps that are compared.
        facts: what hover and focus say beside value and rank.
        state: what a switched cell is called: "off" where it is switched off, "chosen" where it is marked.
        headless: layers without attention heads, whose cells say so, have no number and cannot be switched.
    """
    if values is None:
        assert shape is not None
        values = np.full(shape, np.nan)
    cells = protocol.Shape(int(values.shape[0]), int(values.shape[1]), tuple(headless))
    values = np.where(cells.there[:, :-1], values, np.nan)
    every = np.hstack([values, ffns[:, None]]) if isinstance(ffns, np.ndarray) else values
    coloured = shades(every, scale, signed=signed, domain=domain)
    strength = coloured.strength
    if ffns is True:
        strength = np.hstack([strength, np.full((cells.n_layers, 1), np.nan)])
    known = bool(np.isfinite(values).any())
    said = label + (f" ({scale} colours)" if scale != "raw" else ", points" if number == "+points" else "")
    if coloured.clipped:
        said += f"; {coloured.clipped} beyond the scale"
    places = ranks(values, headless) if known else None
    return HeadMap(cells, {
        "shape": [cells.n_layers, cells.n_heads], "headless": list(cells.headless), "absent": NO_HEADS,
        "ffns": ffns is not False, "label": label, "number": number, "signed": signed,
        "shades": [[None if t is None else round(1000 * t) for t in row] for row in plain(strength)],
        "values": plain(every) if known else None, "ranks": places,
        "facts": [{"label": name, "values": plain(fact), "number": kind} for name, fact, kind in facts],
        "legend": said if legend and known else "", "scale": scale,
        "ticks": [[round(1000 * t), written(value, number)] for t, value in coloured.ticks],
        "title": title, "alt": alt or label, "file": file, "state": state})
