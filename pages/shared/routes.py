"""Which page an address opens: a known one in any case of its letters; of an unknown one the first page says so."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

ASKED = "page asked for"  # by a callback, or by the first visitor of a fresh server


def meant(asked: str, known: Sequence[str]) -> str | None:
    """The page that an address names, whatever the case of its letters; None where there is none of this name."""
    return next((name for name in known if name.casefold() == asked.casefold()), None)


def go(page: str, **asked: object) -> None:
    """Open a page next. For callbacks, where `st.switch_page` is not; it also fails where the address holds choices.

    Args:
        asked: choices of that page's own by the keys of their widgets, none of which the page that is left has. They
            are put into the address, too: a widget that begins with what it was given does not do so by itself.
    """
    st.session_state[ASKED] = page
    for name, value in asked.items():
        st.session_state[name] = value
        st.query_params[name] = str(value)


def settle(known: Sequence[str]) -> None:
    """Let the address open the page it means, or else the first with a word; to be called before `st.navigation`.

    By itself Streamlit knows a page in lower case alone, and covers the first page with a dialog that names none.

    Args:
        known: the pages as addresses name them, the first page first.
    """
    context = get_script_run_ctx()
    if context is None:
        return
    asked = st.session_state.pop(ASKED, None)
    if not context.pages_manager.intended_page_script_hash:  # an address, not a click
        asked = context.pages_manager.intended_page_name
    if not asked:
        return
    found = meant(asked, known)
    context.pages_manager.set_script_intent("", found if found and found != known[0] else "")  # the first has no name
    if found is None:
        st.session_state.setdefault("notices", {})["page"] = (
            f"There is no page '{asked}'. Known: {', '.join(known)}. Showing {known[0]} instead.")
