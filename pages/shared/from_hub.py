"""Runs > Storage opens a bundle of the hub: fetched in a thread of its own, then looked at as a file is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from backend import machine
from backend.errors import Cancelled
from backend.sharing import hub
from pages.shared import handles
from pages.shared.plain import plain, prose

FOLLOW = 0.5  # seconds between two looks at how far it is


def offer(act: Callable[..., None]) -> hub.Fetch | None:
    """The field and the button; how far a bundle is that is on its way, or why it did not come.

    Args:
        act: calls a button's function, and keeps what goes wrong to be said.

    Returns:
        What was fetched, once it is here.
    """
    fetch: hub.Fetch | None = st.session_state.get("fetch")
    under_way = fetch is not None and not fetch.ended
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.text_input("Or a dataset repository of the hub", key="hub address", placeholder="OWNER/NAME",
                      max_chars=400, persist_state="session",
                      help="OWNER/NAME, OWNER/NAME/FILE.zip where there are several bundles, or the address of its "
                           "page. The bundle is fetched to a temporary place and checked as a file is.")
        st.button("Open from the hub", key="open from hub", icon=":material/cloud_download:", disabled=under_way,
                  on_click=act, args=(_start,))
    if fetch is None:
        return None
    if under_way:
        handles.fragment(partial(_follow, fetch), run_every=FOLLOW)()
    elif isinstance(fetch.error, Cancelled):
        st.caption("Stopped. Nothing was taken in.")
    elif fetch.error is not None:
        st.error(prose(fetch.error), icon=":material/error:")
    return fetch if fetch.file is not None else None


def forget() -> None:
    """Let what was fetched go, or is on its way."""
    if (fetch := st.session_state.pop("fetch", None)) is not None:
        fetch.drop()


def _start() -> None:
    """Fetch what the field names; a file that was chosen before gives way to it."""
    address = str(st.session_state.get("hub address") or "")
    forget()
    st.session_state["fetch"] = hub.Fetch(address)
    st.session_state["uploads"] = st.session_state.get("uploads", 0) + 1


def _follow(fetch: hub.Fetch) -> None:
    if fetch.ended:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.progress(fetch.done / fetch.total if fetch.total else 0.0, plain(
            f"{fetch.address}: {machine.size(fetch.done)} of {machine.size(fetch.total)}" if fetch.total else
            f"Asking the hub for {fetch.address} …"))
        st.button("Stop", key="stop fetching", icon=":material/stop:", on_click=fetch.stop)
