"""What the pages share.

Streamlit takes a folder named pages/ for its older kind of multipage app until `st.navigation` has run once: the
first visitor of a fresh server who comes by a deep link would see a page without its frame. Whoever imports this
package first in such a run sets that right and starts the run again, now from app.py; what the address asked for, which
Streamlit forgets then, is kept for `routes.settle`.

And a server draws pages on the cores on which it measures. By default OpenMP's threads, torch's among them, wait for
one another in a busy loop; where pages or visitors take one of two cores, a mask of the bundled model then cost 0.3 s
of processor time instead of 0.03. OpenMP reads the setting once, when torch is first imported, which is later.

And callbacks run whole (`callbacks`).
"""

import os

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

from backend import machine
from pages.shared import callbacks

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
machine.raise_open_files()  # Streamlit keeps an event loop per session, see docs/streamlit.md
callbacks.run_whole()

without_frame = PagesManager.uses_pages_directory
PagesManager.uses_pages_directory = False
if without_frame:
    if context := get_script_run_ctx(suppress_warning=True):
        st.session_state["page asked for"] = context.pages_manager.intended_page_name
    st.rerun()
