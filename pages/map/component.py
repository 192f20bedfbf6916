"""The component that all maps, plots and steps are: one script, so that what a hand did on any of them is one log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from pages.map import protocol

_HERE = Path(__file__).parent
_component = st.components.v2.component(
    "headroom.map", js="\n".join((_HERE / name).read_text("utf-8") for name in ("map.js", "plot.js")),
    css=(_HERE / "map.css").read_text("utf-8"))


def draw(key: str, shown: Mapping[str, Any], shape: protocol.Shape, held: protocol.Held, trail: protocol.Trail,
         on_change: Callable[[], None], on_card: Callable[[], None] = lambda: None) -> None:
    """Draw what is shown, a map or a plot (nothing: the buttons), with what is held off.

    After a gesture `st.session_state[key]["mask"]` holds the browser's message; in `on_card`, `["card"]` the name of
    the head whose card is asked for.
    """
    _component(key=key, data={**shown, "answer": dict(protocol.answer(held, shape, trail))}, on_mask_change=on_change,
               on_card_change=on_card)
