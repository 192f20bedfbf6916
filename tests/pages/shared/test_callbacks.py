"""Callbacks run whole: a request that comes meanwhile waits, joins the one before, and is served after it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from streamlit import config
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests, ScriptRequestType
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.state.session_state import SessionState

from pages.shared import callbacks

PRESSED = RerunData(widget_states=WidgetStates())


class Calls(SessionState):
    """Does something while widgets are brought in, as callbacks do."""

    def __init__(self, do: Callable[[], object]) -> None:
        super().__init__()
        self.do, self.found = do, []

    def on_script_will_rerun(self, *_: object, **__: object) -> None:
        self.found.append(self.do())


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> ScriptRequests:
    """What is asked of a run, by which a press is handed out and comes in."""
    callbacks.run_whole()
    callbacks.run_whole()  # once more changes nothing
    made = ScriptRequests()
    monkeypatch.setattr(callbacks, "get_script_run_ctx", lambda **_: SimpleNamespace(script_requests=made))
    made.request_rerun(PRESSED)
    handed = made.on_scriptrunner_ready()
    assert handed.type is ScriptRequestType.RERUN
    return made


def test_what_ends_a_run_waits_for_its_callbacks_and_is_not_lost(requests: ScriptRequests):
    def newer() -> object:
        requests.request_stop()
        return requests.on_scriptrunner_yield()

    state = Calls(newer)
    SafeSessionState(state, lambda: None).on_script_will_rerun(WidgetStates())
    assert state.found == [None]
    after = requests.on_scriptrunner_yield()
    assert after is not None
    assert after.type is ScriptRequestType.STOP


def test_so_does_it_for_callbacks_that_fail(requests: ScriptRequests):
    def fails() -> object:
        requests.request_rerun(RerunData())
        raise ValueError("a fault of ours")

    with pytest.raises(ValueError, match="ours"):
        SafeSessionState(Calls(fails), lambda: None).on_script_will_rerun(WidgetStates())
    after = requests.on_scriptrunner_yield()
    assert after is not None
    assert after.type is ScriptRequestType.RERUN


def test_a_run_of_no_widgets_can_be_ended_at_once():
    callbacks.run_whole()
    requests = ScriptRequests()
    requests.request_rerun(RerunData())
    requests.on_scriptrunner_ready()
    requests.request_stop()
    after = requests.on_scriptrunner_yield()
    assert after is not None
    assert after.type is ScriptRequestType.STOP


def test_a_newer_request_joins_one_that_waits_or_comes_in_and_ends_any_other(requests: ScriptRequests):
    fast: list[object] = []
    ask = callbacks._joining(lambda *_: fast.append(config.get_option("runner.fastReruns")))
    session = SimpleNamespace(_scriptrunner=SimpleNamespace(_requests=requests))
    ask(session, None)  # it comes in
    SafeSessionState(Calls(lambda: None), lambda: None).on_script_will_rerun(WidgetStates())
    ask(session, None)  # it draws
    requests.request_rerun(PRESSED)
    ask(session, None)  # it waits
    ask(SimpleNamespace(_scriptrunner=None), None)
    assert fast == [False, True, False, True]
    assert config.get_option("runner.fastReruns")
