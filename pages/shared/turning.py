"""A step begins at its top: what was scrolled to in the one before is left behind."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

_script = st.components.v2.component("headroom.turning", js=Path(__file__).with_suffix(".js").read_text("utf-8"))


def to_the_top(step: int, model: str) -> None:
    """Show the step's card from its top when the step has changed, and the page from its top when the model has."""
    _script(key="script-turning", data={"step": step, "model": model})
