"""Callbacks run whole: a request that comes meanwhile waits, and is served at the next look."""

from __future__ import annotations

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.runtime.scriptrunner_utils.script_requests import (
    RerunData,
    ScriptRequest,
    ScriptRequests,
    ScriptRequestType,
)
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.state.session_state import SessionState

from pages.shared import callbacks


class Inside(SessionState):
    """Looks for newer requests while widgets are brought in, as every read of a callback does."""

    def __init__(self, requests: ScriptRequests) -> None:
        super().__init__()
        self.requests = requests
        self.found: list[ScriptRequest | None] = []

    def on_script_will_rerun(self, *_: object, **__: object) -> None:
        self.requests.request_rerun(RerunData())
        self.found.append(self.requests.on_scriptrunner_yield())


def test_a_newer_request_waits_for_callbacks_and_is_not_lost():
    callbacks.run_whole()
    callbacks.run_whole()  # once more changes nothing
    requests = ScriptRequests()
    state = Inside(requests)
    safe = SafeSessionState(state, lambda: None)
    safe.on_script_will_rerun(WidgetStates())
    assert state.found == [None]
    after = requests.on_scriptrunner_yield()
    assert after is not None
    assert after.type is ScriptRequestType.RERUN


def test_a_request_that_is_made_in_a_callback_which_fails_is_served():
    callbacks.run_whole()

    class Fails(Inside):
        def on_script_will_rerun(self, *_: object, **__: object) -> None:
            super().on_script_will_rerun()
            raise ValueError("a fault of ours")

    requests = ScriptRequests()
    with pytest.raises(ValueError, match="ours"):
        SafeSessionState(Fails(requests), lambda: None).on_script_will_rerun(WidgetStates())
    assert requests.on_scriptrunner_yield() is not None
