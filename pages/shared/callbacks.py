"""Callbacks run to their end, one request after the other: a hand that is quicker than a callback loses nothing.

Streamlit ends a run for the next request wherever it reads or writes `st.session_state`, in callbacks too, or before it
has begun, and draws the next one in another thread meanwhile. A press that was followed at once by another gesture
(Escape, a click beside a menu) so lost its callback, and a button's press is not sent twice. Here a request that comes
while an earlier one waits or is brought in (its widgets' values taken, their callbacks called; some milliseconds) joins
the earlier one's thread: together with it where it still waits, else when its callbacks are through. Any later request
ends the run under way as ever. See docs/streamlit.md.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from streamlit import config
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequest, ScriptRequests, ScriptRequestType
from streamlit.runtime.state.safe_session_state import SafeSessionState

_FAST = "runner.fastReruns"
_COMES_IN = "comes in"  # a mark on requests: one is handed out, and its callbacks are not through


def run_whole() -> None:
    """Let no request interrupt callbacks, in all sessions of this process from now on. Once is enough."""
    if not hasattr(AppSession.request_rerun, "__wrapped__"):
        AppSession.request_rerun = _joining(AppSession.request_rerun)  # type: ignore[method-assign]
        for name in ("on_scriptrunner_ready", "on_scriptrunner_yield"):
            setattr(ScriptRequests, name, _handing_out(getattr(ScriptRequests, name)))
        SafeSessionState.on_script_will_rerun = _whole(  # type: ignore[method-assign]
            SafeSessionState.on_script_will_rerun)


def _joining(request_rerun: Any) -> Any:
    """A new request goes to the thread of the earlier one, where that waits or comes in."""
    @wraps(request_rerun)
    def joining(session: AppSession, client_state: ClientState | None) -> None:
        requests = session._scriptrunner._requests if session._scriptrunner is not None else None
        if requests is None or not (requests._state is ScriptRequestType.RERUN or _comes_in(requests)):
            request_rerun(session, client_state)
            return
        was = config.get_option(_FAST)
        config.set_option(_FAST, False)  # of all sessions, whose requests this thread alone takes
        try:
            request_rerun(session, client_state)
        finally:
            config.set_option(_FAST, was)

    return joining


def _handing_out(look: Any) -> Any:
    """A run that looks for newer requests finds none before its own has come in."""
    @wraps(look)
    def handing_out(requests: ScriptRequests) -> ScriptRequest | None:
        if _comes_in(requests) and look.__name__ == "on_scriptrunner_yield":
            return None
        found: ScriptRequest | None = look(requests)
        requests.__dict__[_COMES_IN] = found is not None and found.type is ScriptRequestType.RERUN and (
            found.rerun_data.widget_states is not None)
        return found

    return handing_out


def _whole(bring_in: Any) -> Any:
    @wraps(bring_in)
    def whole(state: SafeSessionState, *args: Any, **options: Any) -> None:
        try:
            bring_in(state, *args, **options)
        finally:
            context = get_script_run_ctx(suppress_warning=True)
            if context is not None and context.script_requests is not None:
                context.script_requests.__dict__[_COMES_IN] = False

    return whole


def _comes_in(requests: ScriptRequests) -> bool:
    return bool(requests.__dict__.get(_COMES_IN, False))
