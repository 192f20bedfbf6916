"""A lecture: one machine shows, many browsers on its network look and guess (`make serve`).

`HEADROOM_LECTURE` is set by `make serve` to the address that people type, or to `auto`: the machine's own on its
network. What a lecture needs beside it: nobody but the lecturer, at the machine itself, starts long work there, opens
its folders by their path, or asks for more than a moment's work. In a demo (`backend.demo`) nobody does: behind a proxy
every visitor seems to sit at the machine.
"""

from __future__ import annotations

import os
import socket

import streamlit as st

from backend import demo
from pages.shared import handles, notes, qr, school

SETTING = "HEADROOM_LECTURE"
MOST_QUESTIONS = 200  # of an evaluation that a visitor asks for


def on() -> bool:
    """Whether this server is one for a lecture."""
    return bool(os.environ.get(SETTING))


def address() -> str:
    """Where people find this server: `http://192.168.1.20:8501`."""
    asked = os.environ.get(SETTING, "auto")
    if asked != "auto":
        return (asked if "://" in asked else f"http://{asked}").rstrip("/")
    return f"http://{_own_address()}:{st.get_option('server.port')}"


def at_the_machine() -> bool:
    """Whether this visitor may do everything: sits at the machine itself, or there is no lecture; not in a demo."""
    return not demo.on() and (not on() or st.context.ip_address is None)  # as Streamlit says of a loopback address


def where() -> str:
    """Where the limits of this visitor hold: "in a lecture"."""
    return "in this demo" if demo.on() else "on this server" if at_the_machine() else "in a lecture"


def most_questions() -> int:
    """Of an evaluation that this visitor may ask for; 0: as many as there are."""
    return handles.limits().questions or (0 if at_the_machine() else MOST_QUESTIONS)


def invitation() -> None:
    """On the first page of a lecture: where to come in, for the wall; for those who have come, the way to the room.

    Once a room is open here, its own address: who follows it sits down at once.
    """
    if not on():
        return
    seen = school.view()
    opened = seen.code if seen is not None and seen.teaching else ""
    with st.container(border=True, horizontal=True, vertical_alignment="center", gap="medium"):
        if at_the_machine():
            code(f"{address()}/room?room={opened}" if opened else address(), 120)
            st.html(notes.heading(f"Come in: {short(address())}" + f", then Room and the code {opened}" * bool(opened)))
        st.page_link("pages/room.py", icon=":material/school:", label=f"Back to room {opened}" if opened else
                     "Open a room for this class" if at_the_machine() else "To the room of this class")


def short(url: str) -> str:
    """An address as people type it."""
    return url.removeprefix("http://").removesuffix("/")


def code(url: str, width: int = 260) -> None:
    """The QR code of an address."""
    st.image(qr.svg(url), width=width, alt=f"QR code of {url}")


def _own_address() -> str:
    """This machine's address on its network, or loopback where it has none; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("10.255.255.255", 1))
            return str(sock.getsockname()[0])
        except OSError:
            return "127.0.0.1"
