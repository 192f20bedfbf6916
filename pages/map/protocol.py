"""How a map's clicks and the server's mask stay one: what is held, what the browser says, what follows.

The browser paints a gesture (a click, a rectangle, a heading) at once, numbers it and keeps it in a log until the
server has answered with that number. It sends the whole mask, the log, and the revision of the answer it painted
upon. The server's mask is the truth for the text field, undo and the address; each answer says the mask, its revision,
and the last gesture it has seen (`Held`). What the browser shows is the answer's mask with its own newer gestures
done again on top: a late answer cannot undo a newer click, and what was changed elsewhere meanwhile (undo, a preset,
text) comes through. The server does the same when something has changed that the browser did not know (`take`).

Streamlit sends the state of every widget with every request, and joins requests that come while a page is being drawn.
So a text field may report what it showed before the last clicks, however long ago those were on a busy machine, which
looks as if that had been written. So what a hand writes is told like a gesture (`Written`), and a report of a text that
was held before says nothing. And a click and a preset may arrive as one: the log notes which other widgets were
pressed, in order, and so says which of the two was first.
Of two presses of a Streamlit button that arrive as one it counts one; so Undo, Redo and Clear are presses in the log,
numbered like gestures (`Press`), and walk a `Trail`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from backend.values import INTACT, Ablation, Fill, Head, parse

MEMORY = 500  # texts of which a field may still report
NEAR, MOST_NEAR = 12, 6_000  # steps of the trail to either side that a browser is told, and all cells of those
Step = Literal["undo", "redo", "clear"]


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
class Press:
    """A press of Undo, Redo or Clear, between the gestures."""

    n: int
    what: Step


@dataclass(frozen=True)
class Written:
    """A text that was written into the field, and left or sent off, between the gestures."""

    n: int
    text: str


Entry = Gesture | Press | Written


@dataclass(frozen=True)
class Trail:
    """The masks that were chosen one after the other, as their texts, and where among them one is."""

    texts: tuple[str, ...] = ("",)
    at: int = 0

    @property
    def now(self) -> str:
        return self.texts[self.at]

    def then(self, text: str) -> Trail:
        """The same with a step more; what was undone before it is forgotten."""
        return self if text == self.now else Trail((*self.texts[:self.at + 1], text), self.at + 1)

    def after(self, what: Step) -> Trail:
        """The same after a press; itself where there is nothing to undo, to do again or to clear."""
        if what == "clear":
            return self.then("")
        at = self.at + (-1 if what == "undo" else 1)
        return replace(self, at=at) if 0 <= at < len(self.texts) else self


@dataclass(frozen=True)
class Message:
    """What the browser last said."""

    rev: int  # of the answer that it painted upon
    mask: np.ndarray  # (n_layers, n_heads + 1), True = off: the whole mask after the last gesture
    log: tuple[Entry | str, ...]  # what is not answered yet, and keys of other widgets pressed in between

    @property
    def last(self) -> int:
        """The number of its newest gesture or press."""
        return max((one.n for one in self.log if not isinstance(one, str)), default=0)

    def writes(self, text: str) -> bool:
        """Whether it tells that this was written."""
        return any(isinstance(one, Written) and one.text == text for one in self.log)


@dataclass(frozen=True)
class Held:
    """What the server holds for one session, and says to its maps."""

    off: Ablation = INTACT
    text: str = ""  # the same, as the text field has it: as it was written, where some of it could not be read
    rev: int = 0  # rises with every change, whoever made it
    seen: int = 0  # the last gesture that is in `off`
    session: str = field(default_factory=lambda: uuid.uuid4().hex)  # a fresh session counts from 0 again
    earlier: tuple[str, ...] = ()  # what the field has shown

    def changed(self, off: Ablation, text: str | None = None, seen: int | None = None,
                written: Sequence[str] = ()) -> Held:
        """The same after a change, and what was written on the way; itself if there is none."""
        text = str(off) if text is None else text
        if (off, text) == (self.off, self.text) and seen is None and not written:
            return self
        return replace(self, off=off, text=text, rev=self.rev + 1, seen=self.seen if seen is None else seen,
                       earlier=(*self.earlier, self.text, *written)[-MEMORY:])

    def is_new(self, text: str) -> bool:
        """Whether a text field's report was never held: it was written, though no log tells of it."""
        return text != self.text and text not in self.earlier


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
        log: list[Entry | str] = []
        for entry in said["log"]:
            if isinstance(entry, str):
                log.append(entry)
                continue
            if entry[1] in get_args(Step):
                log.append(Press(int(entry[0]), entry[1]))
                continue
            if entry[1] == "text" and isinstance(entry[2], str):
                log.append(Written(int(entry[0]), entry[2]))
                continue
            n, off, low, high, left, right = map(int, entry)
            if not (0 <= low <= high < n_layers and 0 <= left <= right < n_columns):
                return None
            log.append(Gesture(n, bool(off), (low, high), (left, right)))
        return Message(int(said["rev"]), mask, tuple(log))
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def take(held: Held, trail: Trail, message: Message, shape: Shape, fill: Fill = "zero",
         before: str | None = None) -> tuple[Held, Trail]:
    """Bring what is new in a message's log into what is held, in its order; each entry is a step of the trail.

    What was written is held in canonical form, unless some of it cannot be read.

    Args:
        before: only what was done before the last press of this other widget, where the log knows of one.
        fill: what stands in for components switched off now, where nothing was off before.
    """
    log: Sequence[Entry | str] = message.log
    known = before is not None and before in log
    if known:
        log = log[:len(log) - 1 - log[::-1].index(before)]
    new = [one for one in log if not isinstance(one, str) and one.n > held.seen]
    if not new:
        return held, trail
    # nobody else has changed anything: the browser's own picture holds
    as_shown = message.rev == held.rev and not known and all(isinstance(one, Gesture) for one in new)
    off, text = held.off, held.text
    for one in new:
        if isinstance(one, Gesture):
            mask = message.mask if as_shown and one is new[-1] else one.done_to(as_mask(off, shape)) & shape.there
            off = as_ablation(mask, off.fill if off else fill)
            text = str(off)
            trail = trail.then(text)
        elif isinstance(one, Written):
            off, text = as_written(one.text, shape)
            trail = trail.then(text)
        else:
            trail = trail.after(one.what)
            text = trail.now
            off = parse(text, *shape)[0]
    written = [one.text for one in new if isinstance(one, Written)]
    return held.changed(off, text, new[-1].n, written), trail


def as_written(text: str, shape: Shape) -> tuple[Ablation, str]:
    """What a written text switches off, and that as the field then shows it: canonical, or as it was where some of it
    cannot be read."""
    off, problems = parse(text, *shape)
    return off, text if problems else str(off)


def as_mask(off: Ablation, shape: Shape) -> np.ndarray:
    """(n_layers, n_heads + 1), True = off; the last column is the FFNs."""
    mask = np.zeros((shape.n_layers, shape.n_heads + 1), bool)
    for head in off.heads:
        if head.layer < shape.n_layers and head.head < shape.n_heads:  # a mask may outlive the model it was made for
            mask[head.layer, head.head] = True
    mask[[layer for layer in off.ffns if layer < shape.n_layers], -1] = True
    return np.asarray(mask & shape.there)


def as_ablation(mask: np.ndarray, fill: Fill = "zero") -> Ablation:
    """What a mask switches off."""
    heads = frozenset(Head(int(layer), int(head)) for layer, head in np.argwhere(mask[:, :-1]))
    return Ablation(heads, frozenset(int(layer) for layer in np.flatnonzero(mask[:, -1])), fill)


def as_rows(off: Ablation, shape: Shape) -> list[str]:
    """The mask as the browser reads it: per layer a text of 0 and 1, the FFN last."""
    return ["".join("01"[cell] for cell in row) for row in as_mask(off, shape).astype(int).tolist()]


def answer(held: Held, shape: Shape, trail: Trail) -> Mapping[str, Any]:
    """What a map is told with every drawing: with it what Undo and Redo would show, as far as that is not much."""
    reach = min(NEAR, MOST_NEAR // (2 * shape.n_layers * (shape.n_heads + 1)))
    near = {str(i): _rows(trail.texts[i], shape)
            for i in range(max(0, trail.at - reach), min(len(trail.texts), trail.at + reach + 1)) if i != trail.at}
    return {"session": held.session, "rev": held.rev, "seen": held.seen, "off": as_rows(held.off, shape),
            "headless": list(shape.headless), "trail": {"at": trail.at, "of": len(trail.texts), "near": near}}


@lru_cache(maxsize=256)
def _rows(text: str, shape: Shape) -> list[str]:
    return as_rows(parse(text, *shape)[0], shape)
