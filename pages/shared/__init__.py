"""What the pages share.

Streamlit takes a folder named pages/ for its older kind of multipage app until `st.navigation` has run once: the
first visitor of a fresh server who comes by a deep link would see a page without its frame. Whoever imports this
package first in such a run sets that right and starts the run again, now from app.py; what the address asked for, which
Streamlit forgets then, is kept for `routes.settle`.
"""

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

without_frame = PagesManager.uses_pages_directory
PagesManager.uses_pages_directory = False
if without_frame:
    if context := get_script_run_ctx(suppress_warning=True):
        st.session_state["page asked for"] = context.pages_manager.intended_page_name
    st.rerun()
