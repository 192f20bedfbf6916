"""Presenter mode: large type, no sidebar, and keys that step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

_script = st.components.v2.component("headroom.presenting", js=Path(__file__).with_suffix(".js").read_text("utf-8"))

STYLE = """<style>
html { font-size: 20px !important; }
[data-testid="stSidebar"], [data-testid="stExpandSidebarButton"], [data-testid="stSidebarCollapsedControl"]
    { display: none !important; }
[class*="st-key-only-keys-"] { position: absolute; opacity: 0; pointer-events: none; height: 0; overflow: hidden; }
</style>"""


def on() -> bool:
    """Whether somebody presents."""
    return bool(st.session_state.get("present"))


def only_keys(key: str) -> Any:
    """A place for buttons that are there for their keys alone; to be drawn below `switch`."""
    return st.container(key=f"only-keys-{key}")


def switch() -> None:
    """The switch of presenter mode; it is in the address, and draws the large type."""
    st.toggle("Presenter", key="present", bind="query-params",
              help="Large type, no sidebar. In the Tour the arrow keys and Page Down, Page Up go from step to step.")
    if on():
        st.html(STYLE)
        _script(key="script-presenting")
