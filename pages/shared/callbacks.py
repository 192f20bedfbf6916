"""Callbacks run to their end: a hand that is quicker than a callback loses nothing.

Streamlit lets the next request interrupt whatever reads or writes `st.session_state`, callbacks included. A press
followed at once by another gesture (Escape, a click beside a menu) then ends in its callback, before anything is
written, and a button's press is not sent twice. So requests wait until the callbacks of the one before are through;
they take some milliseconds. See docs/streamlit.md.
"""

from __future__ import annotations

import threading
from functools import wraps
from typing import Any

from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequest, ScriptRequests
from streamlit.runtime.state.safe_session_state import SafeSessionState

_here = threading.local()  # `busy` while this thread brings a request's widgets in, and calls their callbacks


def run_whole() -> None:
    """Let no request interrupt callbacks, in all sessions of this process from now on. Once is enough."""
    bring_in, at_yield = SafeSessionState.on_script_will_rerun, ScriptRequests.on_scriptrunner_yield
    if hasattr(bring_in, "__wrapped__"):
        return

    @wraps(bring_in)
    def whole(state: SafeSessionState, *args: Any, **options: Any) -> None:
        _here.busy = True
        try:
            bring_in(state, *args, **options)
        finally:
            _here.busy = False

    @wraps(at_yield)
    def later(requests: ScriptRequests) -> ScriptRequest | None:
        return None if getattr(_here, "busy", False) else at_yield(requests)

    SafeSessionState.on_script_will_rerun = whole  # type: ignore[assignment, method-assign]
    ScriptRequests.on_scriptrunner_yield = later  # type: ignore[assignment, method-assign]
