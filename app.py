"""The frame of the explorer: navigation, the shared choice, and the one place where errors become sentences."""

from __future__ import annotations

import logging

import numpy as np
import streamlit as st
from PIL import Image

from backend.errors import HeadroomError
from pages.shared import lecture, school, selection

PAGES = [
    st.Page("pages/tour.py", title="Tour", icon=":material/explore:", default=True),
    st.Page("pages/heads.py", title="Heads", icon=":material/grid_on:"),
    st.Page("pages/ffns.py", title="FFNs", icon=":material/view_week:"),
    st.Page("pages/lab.py", title="Lab", icon=":material/science:"),
    st.Page("pages/pruning.py", title="Pruning", icon=":material/content_cut:"),
    st.Page("pages/overlap.py", title="Overlap", icon=":material/join_inner:"),
    st.Page("pages/induction.py", title="Induction", icon=":material/repeat:"),
    st.Page("pages/playground.py", title="Playground", icon=":material/search:"),
    st.Page("pages/runs.py", title="Runs", icon=":material/database:"),
    st.Page("pages/classroom.py", title=school.PAGE, icon=":material/school:"),
]
AT_THE_MACHINE = "Runs"  # starts long work and opens files: in a lecture only for who sits at the machine

# A small heatmap, drawn here because Streamlit would fetch an icon or an emoji from the network
ICON = Image.fromarray(np.kron(np.array([[200, 120, 220], [90, 30, 170], [230, 150, 60]], np.uint8),
                               np.ones((16, 16), np.uint8)))

st.set_page_config(page_title="Headroom", page_icon=ICON, layout="wide")
page = st.navigation(PAGES, position="top")
try:
    if school.only_guesses(page.title):
        page.run()
    elif page.title == AT_THE_MACHINE and not lecture.at_the_machine():
        selection.frame()
        st.title(page.title)
        st.info("In a lecture, runs are started at the machine itself.", icon=":material/lock:")
    else:
        above = selection.frame()
        try:
            page.run()
        finally:
            selection.show_notices(above)
except HeadroomError as error:
    st.error(str(error), icon=":material/error:")
except Exception as error:
    logging.getLogger("headroom").exception("page %s", page.title)
    st.error(f"This page could not be drawn ({type(error).__name__}). The log of the command that started Headroom has "
             "the details; the other pages work as before.", icon=":material/error:")
