"""How a map's clicks and the server's mask stay one: what is held, what the browser says, what follows.

The browser paints a gesture (a click, a rectangle, a heading) at once, numbers it and keeps it in a log until the
server has answered with that number. It sends the whole mask, the log, and the revision of the answer it painted
upon. The server's mask is the truth for the text field, undo and the address; each answer says the mask, its revision,
and the last gesture it has seen (`Held`). What the browser shows is the answer's mask with its own newer gestures
done again on top: a late answer cannot undo a newer click, and what was changed elsewhere meanwhile (undo, a preset,
text) comes through. The server does the same when something has changed that the browser did not know (`take`).

Streamlit sends the state of every widget with every request, and joins requests that come while a page is being drawn.
So a text field may report what it showed before the last clicks, which looks as if that had been written: `Held` keeps
the texts that the browser may still show, until a message says that it has seen a later one. And a click and an Undo
may arrive as one: the log notes which other widgets were pressed, in order, and so says which of the two was first.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from backend.values import INTACT, Ablation, Fill, Head

MEMORY = 500  # texts that are kept while no browser confirms a later one


class Shape(NamedTuple):
    """How many cells a map has, and where there is nothing to switch: no gesture, text or message changes that."""

    n_layers: int
    n_heads: int
    headless: tuple[int, ...] = ()  # layers without attention heads

    @property
    def there(self) -> np.ndarray:
        """(n_layers, n_heads + 1) of bool: the heads and FFNs that there are."""
        there = np.ones((self.n_layers, self.n_heads + 1), bool)
        there[list(self.headless), :-1] = False
        return there


@dataclass(frozen=True)
class Gesture:
    """A rectangle of cells that a hand has switched. Columns are heads; column `n_heads` is the FFNs."""

    n: int  # rises from gesture to gesture
    off: bool  # what the cells became
    layers: tuple[int, int]  # first and last
    columns: tuple[int, int]

    def done_to(self, mask: np.ndarray) -> np.ndarray:
        """A mask (n_layers, n_heads + 1; True = off) with these cells switched."""
        mask = mask.copy()
        mask[self.layers[0]:self.layers[1] + 1, self.columns[0]:self.columns[1] + 1] = self.off
        return mask


@dataclass(frozen=True)
class Message:
    """What the browser last said."""

    rev: int  # of the answer that it painted upon
    drawn: int  # the revision that the whole page is known to have drawn; a text field lags behind a map
    mask: np.ndarray  # (n_layers, n_heads + 1), True = off: the whole mask after the last gesture
    log: tuple[Gesture | str, ...]  # gestures not yet answered, and the keys of other widgets pressed between them

    @property
    def last(self) -> int:
        """The number of its newest gesture."""
        return max((one.n for one in self.log if isinstance(one, Gesture)), default=0)


@dataclass(frozen=True)
class Held:
    """What the server holds for one session, and says to its maps."""

    off: Ablation = INTACT
    text: str = ""  # the same, as the text field has it: as it was written, where some of it could not be read
    rev: int = 0  # rises with every change, whoever made it
    seen: int = 0  # the last gesture that is in `off`
    session: str = field(default_factory=lambda: uuid.uuid4().hex)  # a fresh session counts from 0 again
    earlier: tuple[tuple[int, str], ...] = ()  # what a browser may still show: revisions and their texts

    def changed(self, off: Ablation, text: str | None = None, seen: int | None = None) -> Held:
        """The same after a change; itself if there is none."""
        text = str(off) if text is None else text
        if (off, text) == (self.off, self.text) and seen is None:
            return self
        return replace(self, off=off, text=text, rev=self.rev + 1, seen=self.seen if seen is None else seen,
                       earlier=(*self.earlier, (self.rev, self.text))[-MEMORY:])

    def heard(self, rev: int) -> Held:
        """The same, once the browser is known to have drawn a revision."""
        return replace(self, earlier=tuple((one, text) for one, text in self.earlier if one >= rev))

    def is_new(self, text: str) -> bool:
        """Whether a text field's report was written by hand, and is not what it showed before the last changes."""
        return text != self.text and all(text != earlier for _, earlier in self.earlier)


def read(said: Any, shape: Shape) -> Message | None:
    """A component's state as a message; None when it says nothing, or nothing of a map of this shape.

    A mask that switches what is not there is another map's. A rectangle may lie across it, as under a hand.
    """
    try:
        n_layers, n_columns = shape.n_layers, shape.n_heads + 1
        rows = said["off"]
        if len(rows) != n_layers or any(len(row) != n_columns or set(row) - {"0", "1"} for row in rows):
            return None
        mask = np.array([[cell == "1" for cell in row] for row in rows])
        if (mask & ~shape.there).any():
            return None
        log: list[Gesture | str] = []
        for entry in said["log"]:
            if isinstance(entry, str):
                log.append(entry)
                continue
            n, off, low, high, left, right = map(int, entry)
            if not (0 <= low <= high < n_layers and 0 <= left <= right < n_columns):
                return None
            log.append(Gesture(n, bool(off), (low, high), (left, right)))
        return Message(int(said["rev"]), int(said["drawn"]), mask, tuple(log))
    except (KeyError, TypeError, ValueError):
        return None


def take(held: Held, message: Message, shape: Shape, fill: Fill = "zero",
         before: str | None = None) -> tuple[Held, list[Ablation]]:
    """Bring a message's new gestures into what is held.

    Args:
        before: only gestures made before the last press of this other widget, where the log knows of one.
        fill: what stands in for components switched off now.

    Returns:
        What is then held, and the masks passed through, one per gesture, the last one included.
    """
    log: Sequence[Gesture | str] = message.log
    known = before is not None and before in log
    if known:
        log = log[:len(log) - 1 - log[::-1].index(before)]
    new = [one for one in log if isinstance(one, Gesture) and one.n > held.seen]
    if not new:
        return held, []
    mask, passed = as_mask(held.off, shape), []
    for gesture in new:
        mask = gesture.done_to(mask) & shape.there
        passed.append(as_ablation(mask, fill))
    if message.rev == held.rev and not known:  # nobody else has changed anything: the browser's own picture holds
        passed[-1] = as_ablation(message.mask, fill)
    return held.changed(passed[-1], seen=new[-1].n), passed


def as_mask(off: Ablation, shape: Shape) -> np.ndarray:
    """(n_layers, n_heads + 1), True = off; the last column is the FFNs."""
    mask = np.zeros((shape.n_layers, shape.n_heads + 1), bool)
    for head in off.heads:
        if head.layer < shape.n_layers and head.head < shape.n_heads:  # a mask may outlive the model it was made for
            mask[head.layer, head.head] = True
    mask[[layer for layer in off.ffns if layer < shape.n_layers], -1] = True
    return mask & shape.there


def as_ablation(mask: np.ndarray, fill: Fill = "zero") -> Ablation:
    """What a mask switches off."""
    heads = frozenset(Head(int(layer), int(head)) for layer, head in np.argwhere(mask[:, :-1]))
    return Ablation(heads, frozenset(int(layer) for layer in np.flatnonzero(mask[:, -1])), fill)


def as_rows(off: Ablation, shape: Shape) -> list[str]:
    """The mask as the browser reads it: per layer a text of 0 and 1, the FFN last."""
    return ["".join("01"[cell] for cell in row) for row in as_mask(off, shape).astype(int).tolist()]


def answer(held: Held, shape: Shape) -> Mapping[str, Any]:
    """What a map is told with every drawing."""
    return {"session": held.session, "rev": held.rev, "seen": held.seen, "off": as_rows(held.off, shape),
            "headless": list(shape.headless)}
