"""The address bar says what the widgets hold, whatever was on the way between browser and server meanwhile.

Streamlit's server sends an address only where it differs from that which came with the request. But a request may be
made before the last address arrived, which then replaces the right one; and that is sent whole, and so may take out
what the browser wrote itself meanwhile. So a run looks whether the request came with the address that was sent last; if
not, it sends one even if it seems to be right. See docs/streamlit.md.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode

import streamlit as st
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext
from streamlit.runtime.state.query_params import QueryParams, _coerce_value_for_query_url
from streamlit.runtime.state.session_state import SessionState

_LAST = "address sent last"  # None: unknown, a run has begun that was not drawn to its end
_AGAIN = "address again"  # whether the browser may have another than it said


def begin() -> None:
    """Note whether the browser knew the last address; at the beginning of a run."""
    if (run := get_script_run_ctx(suppress_warning=True)) is not None:
        st.session_state[_AGAIN] = st.session_state.get(_LAST, run.query_string) != run.query_string
        st.session_state[_LAST] = None


def settle() -> None:
    """Send the address where the browser may have another than what the widgets drawn so far hold."""
    if (run := get_script_run_ctx(suppress_warning=True)) is None:
        return
    again = st.session_state.get(_AGAIN, False)
    with run.session_state.query_params() as known:
        known._query_params = _held(run, known, run.session_state._state)
        if urlencode(known._query_params, doseq=True) != _written(run.query_string):
            known._send_query_param_msg()
        elif again:  # to the letter: the browser makes no step of its history of an address that it has
            message = ForwardMsg()
            message.page_info_changed.query_string = run.query_string
            run.enqueue(message)
    st.session_state[_AGAIN] = False


def end() -> None:
    """The same when all widgets are drawn."""
    settle()
    if (run := get_script_run_ctx(suppress_warning=True)) is not None:
        st.session_state[_LAST] = run.query_string


def _held(run: ScriptRunContext, known: QueryParams, state: SessionState) -> dict[str, list[str] | str]:
    """The address as it should be: of bound widgets what they hold, unless that is their default."""
    held = dict(known._query_params)
    for widget in run.shared.widget_ids_this_run.snapshot():
        if (bound := known.get_binding_for_widget(widget)) is None:
            continue
        about, value = state._new_widget_state.widget_metadata[widget], state[widget]
        if value == about.deserializer(None):
            held.pop(bound.param_key, None)
        else:
            held[bound.param_key] = _coerce_value_for_query_url(about.serializer(value), about.value_type)
    return held


def _written(query: str) -> str:
    """A query as this server would write it."""
    return urlencode(parse_qs(query, keep_blank_values=True), doseq=True)
