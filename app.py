"""The frame of the explorer: navigation, the shared choice, and the one place where errors become sentences."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

import streamlit as st

from backend import starting
from backend.errors import HeadroomError
from backend.runs import journal
from pages.shared import frame, handles, routes, school, selection, sidebar, takeaway, waiting
from pages.shared.plain import prose

PAGES = [
    st.Page("pages/tour.py", title="Tour", icon=":material/explore:", default=True),
    st.Page("pages/heads.py", title="Heads", icon=":material/grid_on:"),
    st.Page("pages/card.py", title="Card", icon=":material/badge:"),
    st.Page("pages/ffns.py", title="FFNs", icon=":material/view_week:"),
    st.Page("pages/lab.py", title="Lab", icon=":material/science:"),
    st.Page("pages/pruning.py", title="Pruning", icon=":material/content_cut:"),
    st.Page("pages/overlap.py", title="Overlap", icon=":material/join_inner:"),
    st.Page("pages/induction.py", title="Induction", icon=":material/repeat:"),
    st.Page("pages/playground.py", title="Playground", icon=":material/search:"),
    st.Page("pages/runs.py", title="Runs", icon=":material/database:"),
    st.Page("pages/room.py", title=school.PAGE, icon=":material/school:"),
]

# A small heatmap, in the page itself: Streamlit would fetch an emoji from the network, and forgets a picture's file
# while a quick hand makes it draw anew.
ICON = "data:image/svg+xml," + quote('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 3 3">' + "".join(
    f'<rect x="{i % 3}" y="{i // 3}" width="1" height="1" fill="rgb({shade},{shade},{shade})"/>'
    for i, shade in enumerate((200, 120, 220, 90, 30, 170, 230, 150, 60))) + "</svg>")

st.set_page_config(page_title="Headroom", page_icon=ICON, layout="wide")
routes.settle([one.title.lower() for one in PAGES])
page = st.navigation(PAGES, position="hidden")
frame.draw(PAGES)
try:
    with waiting.drawing.turn(waiting.session(), waiting.stopped):
        if school.only_guesses(page.title):
            sidebar.style()
            page.run()
            sidebar.foot()
        else:
            above = sidebar.frame()
            takeaway.begin(page.title)
            try:
                page.run()
                takeaway.offer()
            finally:
                sidebar.foot()
                sidebar.show_notices(above)
        if starting.served:
            selection.get_ready()
except HeadroomError as error:
    st.error(prose(error), icon=":material/error:")
except Exception as error:
    journal.trouble(f"page {page.title}", error)
    st.error(f"This page could not be drawn ({type(error).__name__}). The log of the command that started Headroom has "
             "the details; the other pages work as before.", icon=":material/error:")
finally:
    with suppress(HeadroomError):  # said above
        handles.store().close()  # this thread's connection, which it would keep: the next run has another thread
