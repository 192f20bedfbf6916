"""What all sessions share of rooms: the rooms, their bell, and one's own place in one."""

from __future__ import annotations

import time

import streamlit as st

from backend.errors import BadInput
from backend.rooms import Rooms, View
from pages.shared.bell import Bell

PAGE = "Room"


@st.cache_resource(show_spinner=False)
def rooms() -> Rooms:
    """The rooms of this server's process; they end with it."""
    return Rooms(time.monotonic)


@st.cache_resource(show_spinner=False)
def bell() -> Bell:
    """Tells the browsers in a room that something has changed."""
    return Bell()


def place() -> tuple[str, str]:
    """One's room and token, empty where there is none: from the address, which a reload keeps, or the session."""
    for key in ("room", "seat"):
        if asked := st.query_params.get(key):
            st.session_state[f"my {key}"] = asked
    code, token = (str(st.session_state.get(f"my {key}", "")) for key in ("room", "seat"))
    return code.strip().upper(), token


def sit_down(code: str, token: str = "") -> None:
    """Be in a room from now on."""
    st.session_state["my room"], st.session_state["my seat"] = code, token
    put_in_address()


def stand_up() -> None:
    """Be in no room."""
    for key in ("room", "seat"):
        st.session_state.pop(f"my {key}", None)
        st.query_params.pop(key, None)


def put_in_address() -> None:
    """One's place, which a change of pages takes out of the address."""
    for key, value in zip(("room", "seat"), place(), strict=True):
        if value and st.query_params.get(key) != value:
            st.query_params[key] = value


def view() -> View | None:
    """One's room as one may see it; None where one is in none, or it is gone."""
    code, token = place()
    try:
        return rooms().look(code, token) if code else None
    except BadInput:
        return None


def only_guesses(page: str) -> bool:
    """Whether a page is the room of somebody who does not teach: there is nothing to choose beside it, and each of
    thirty people saves the server half a second."""
    return page == PAGE and (seen := view()) is not None and not seen.teaching
