"""Which components are chosen: what maps, charts, buttons and the text field do to them, and the way back.

The text field of the sidebar (key "off") is the only place where they are held. Maps, charts, presets and undo write
to it, always in a callback: `choose()`, `change()`; maps and plots are drawn by `clickable()`, Undo, Redo and
Clear by `steps()`. Lab and Playground switch the chosen components off; other pages mark them. Lab can compare them
with a second mask, B, which a text field of its own holds (key "against"), and which has no trail.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import streamlit as st

from backend.values import Ablation, Fill
from pages.map import HeadMap, protocol
from pages.map import steps as buttons
from pages.map.plots import Plot
from pages.map.protocol import Trail
from pages.shared import routes, selection

STALE = 3.0  # seconds for which a browser may still say the B that was there before


def choose(new: Ablation, pressed: str | None = None) -> None:
    """Make these the chosen components. For callbacks only: it writes a widget's state.

    Args:
        pressed: the key of the button behind the callback, which says whether it came before a click on a map.
    """
    change(lambda _: new, pressed)


def change(how: Callable[[Ablation], Ablation], pressed: str | None = None) -> None:
    """Choose what follows from what is chosen now, clicks under way included. For callbacks only."""
    take_clicks(before=pressed)
    _hold(how(selection.ablation()))


def begin(new: Ablation) -> None:
    """Choose what another part of a page begins with: nothing leads back from there. For callbacks only."""
    take_clicks()
    _hold(new)
    st.session_state["trail"] = Trail((str(new),))


def clickable(shown: HeadMap | Plot, key: str) -> None:
    """Draw a map whose cells are the components to choose, or a plot whose marks are; several on a page show and change
    the same choice.

    A still map is drawn as well, and changes nothing.
    """
    if not shown.is_still:
        _listen(key)
    shown.draw(key, held_now(), trail(), on_change=(lambda: None) if shown.is_still else take_clicks,
               on_card=partial(open_card, key))


def open_card(key: str) -> None:
    """Open the card of the head that a map or plot was asked for; a name that is no head of the model is not heard."""
    take_clicks()
    asked = str((st.session_state.get(key) or {}).get("card"))
    if asked in set(map(str, selection.info().heads)):
        routes.go("card", head=asked)


def steps(key: str = "steps") -> None:
    """Draw Undo, Redo and Clear."""
    _listen(key)
    buttons(key, held_now(), trail(), _shape(), on_change=take_clicks)


def take_clicks(before: str | None = None) -> None:
    """Bring in what maps have said and what was written, in canonical form unless some of it could not be read.

    The callback of maps and of the text field, and the first thing that every other callback of a choice does.

    Args:
        before: only what was clicked before this other widget was pressed, where the map knows.
    """
    held, shape = st.session_state.get("held") or held_now(), _shape()
    said = [protocol.read((st.session_state.get(key) or {}).get("mask"), shape)
            for key in st.session_state.get("maps", ())]
    messages = sorted(filter(None, said), key=lambda message: message.last)
    text = selection.value("off")
    if held.is_new(text) and not any(message.writes(text) for message in messages):
        held = _taken(held, messages, shape, "off")
        held = held.changed(*protocol.as_written(text, shape), written=[text])
        remember(held.text)
    held = _taken(held, messages, shape, before)
    st.session_state["held"] = held
    st.session_state["off"] = held.text  # even where its report says so already: see `in_step`


@contextmanager
def in_step(key: str) -> Iterator[None]:
    """Draw a field inside: the browser then shows what is held, whatever it says that it shows.

    Streamlit sends a field's text only where that was set in the same run. A request that was made before the browser
    had drawn the last change (Undo, then Redo) reports the text as it should be, and is answered by none.
    """
    now = selection.value(key)
    if st.session_state.get(f"{key} drawn", now) != now:
        st.session_state[key] = now
    yield
    st.session_state[f"{key} drawn"] = selection.value(key)


def keep_as_b() -> None:
    """Keep what is chosen, clicks under way included, as the mask B that it is then compared with."""
    take_clicks(before="keep as b")
    _hold_against(str(selection.ablation()))


def swap() -> None:
    """What is chosen becomes B, and B what is chosen."""
    take_clicks(before="swap")
    a, b = selection.ablation(), selection.against()
    _hold_against(str(a))
    choose(b)


def compare_masks(a: Ablation, b: Ablation) -> None:
    """Choose A, and compare it with B."""
    _hold_against(str(b))
    choose(a)


def end_comparison() -> None:
    """Compare with nothing any more."""
    take_clicks(before="end comparison")
    _hold_against("")


def settle_against() -> None:
    """Take what was written as B, or came with the address; what a browser still showed is not taken for written.

    To be called before the field is drawn. A request that was made before the browser had drawn B as it is now says
    B as it was: a quick hand that keeps a mask as B and clicks on would lose it.
    """
    text, earlier = st.session_state.get("B held", ("", {}))
    now = selection.value("against")
    if not now and text and not st.session_state.get("B shown before"):  # back from a page without the field
        st.session_state["against"] = now = text
    if now != text and time.monotonic() - earlier.get(now, -math.inf) > STALE:
        st.session_state["B held"] = now, earlier
    elif now != text:
        st.session_state["against"] = text


def note_against() -> None:
    """Remember B as its field has it, now that it is drawn.

    After Back the field is drawn empty whatever it was given, once: then the page is drawn again.
    """
    now, (text, earlier) = selection.value("against"), st.session_state.get("B held", ("", {}))
    emptied = bool(text) and not now and not st.session_state.get("B shown before")
    if emptied and not st.session_state.pop("B again", False):
        st.session_state["B again"] = True
        st.rerun()
    st.session_state.pop("B again", None)
    st.session_state["B shown"] = True
    st.session_state["B held"] = now, earlier


def preferred_fill() -> Fill:
    """What stands in for components switched off from now on: zero, or their mean."""
    return st.session_state.get("fill") or "zero"


# --- inside -------------------------------------------------------------------------------------


def _listen(key: str) -> None:
    """Take in what the component of this key says."""
    drawn: list[str] = st.session_state.setdefault("maps", [])
    if key not in drawn:
        drawn.append(key)


def _shape() -> protocol.Shape:
    model = selection.info()
    return protocol.Shape(model.n_layers, model.n_heads, model.headless)


def _taken(held: protocol.Held, messages: Sequence[protocol.Message], shape: protocol.Shape,
           before: str | None) -> protocol.Held:
    """What is held with the new gestures and presses, each a step of the trail."""
    for message in messages:
        held, st.session_state["trail"] = protocol.take(held, trail(), message, shape, preferred_fill(), before)
    return held


def held_now() -> protocol.Held:
    """What maps are told: what is chosen now, however it was chosen."""
    held: protocol.Held = st.session_state.get("held") or protocol.Held()
    st.session_state["held"] = held = held.changed(selection.ablation(), selection.value("off"))
    return held


def _hold(new: Ablation) -> None:
    """Choose, and let maps know."""
    st.session_state["off"] = str(new)
    remember(str(new))
    held_now()


def _hold_against(text: str) -> None:
    """Compare with another B from now on."""
    settle_against()
    before, earlier = st.session_state.get("B held", ("", {}))
    if text != before:
        st.session_state["B held"] = text, {**earlier, before: time.monotonic()}
    st.session_state["against"] = text


def trail() -> Trail:
    """The masks chosen one after the other, and where among them one is."""
    found: Trail = st.session_state.get("trail") or Trail()
    return found


def remember(now: str) -> None:
    """A step of the trail; the first mask of a session is its beginning."""
    st.session_state["trail"] = trail().then(now) if "trail" in st.session_state else Trail((now,))
