"""The frame around every page: the bar of pages, and what eyes, fingers and keyboards need beside the theme."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

_HERE = Path(__file__).parent
_CSS = (_HERE / "frame.css").read_text("utf-8")
_script = st.components.v2.component("headroom.frame", js=(_HERE / "frame.js").read_text("utf-8"))


def draw(pages: Sequence[StreamlitPage]) -> None:
    """All pages in a bar of as many lines as it takes: Streamlit's own hides those for which one line is too short."""
    st.html(f"<style>{_colours()}{_CSS}</style>")
    with st.container(horizontal=True, key="pages"):
        for page in pages:
            st.page_link(page)
        _script(key="frame")


def _colours() -> str:
    """The theme's colours as CSS variables, of which each place takes those of its own theme."""
    names = {"paper": "backgroundColor", "ink": "textColor", "primary": "primaryColor", "line": "borderColor"}
    return ":root{" + "".join(
        f"--{name}:light-dark({st.get_option(f'theme.light.{of}')},{st.get_option(f'theme.dark.{of}')});"
        for name, of in names.items()) + "}"
