"""Pages measure through the one queue: shared, in turns, and never in the way of a newer click."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from backend.kinds import Evaluation, compute
from backend.models.loading import load_model
from backend.runs import queue as queues
from backend.runs.queue import Queue, SoFar, Standing, Ticket
from backend.store import live as stores
from backend.store.live import Store
from backend.tasks.task import DRAWS
from backend.values import ModelId, Setup, TaskId, parse_exact
from pages.shared import blocks, handles, waiting, words
from tests.pages.conftest import once_more

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store over no shipped results, behind pages on the bundled model itself."""
    made = PagesManager.__init__

    def with_frame(self: PagesManager, *args: Any, **options: Any) -> None:
        """AppTest forgets at each run what `pages.shared` set right: that app.py draws a frame."""
        made(self, *args, **options)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", with_frame)
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path / "live"))
    monkeypatch.setattr(stores, "SHIPPED", tmp_path / "shipped")
    st.cache_resource.clear()
    st.cache_data.clear()
    yield handles.store()
    handles._queue().close(PATIENCE)
    st.cache_resource.clear()


def lab(**parameters: str) -> AppTest:
    """Lab on the bundled model, with few questions."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    for name, value in {"task": "antonym", "n": "20", **parameters}.items():
        app.query_params[name] = value
    return app.run().switch_page("pages/lab.py").run()


def shown(app: AppTest) -> dict[str, str]:
    assert not app.exception
    assert not app.error
    return {metric.label: metric.value for metric in app.main.metric}


def setup_of(app: AppTest) -> Setup:
    id = handles.look("bundled")
    assert isinstance(id, handles.Found)
    task = handles.here("antonym")
    assert task is not None
    return Setup(id.id, task, 5, n_examples=20, draws=DRAWS)


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """The units that the queue measures, pass by pass."""
    found: list[list[Any]] = []
    alone, together = queues.compute, queues.compute_together

    def one(unit: Any, *more: Any) -> Any:
        found.append([unit])
        return alone(unit, *more)

    def several(units: Any, *more: Any) -> Any:
        found.append(list(units))
        return together(units, *more)

    monkeypatch.setattr(queues, "compute", one)
    monkeypatch.setattr(queues, "compute_together", several)
    return found


def test_a_toggle_shows_the_number_of_its_mask(store: Store, tmp_path: Path) -> None:
    app, model, apart = lab(), load_model(), Store(tmp_path / "apart")
    for off in ("L3H0-7", "L1H0-7,F3", ""):
        app.sidebar.text_input("off").set_value(off).run()
        expected = compute(Evaluation(setup_of(app), parse_exact(off)), apart, model)
        accuracy = words.percent(expected.outcomes().mean())
        assert shown(app)["Switched off" if off else "Intact"] == accuracy


def test_the_next_visitor_with_the_same_mask_is_not_measured_for_again(
        store: Store, measurements: list[list[Any]]) -> None:
    first, second = lab(off="L2H1,F1"), lab()
    second.sidebar.text_input("off").set_value("L2H1,F1").run()
    assert shown(first) == shown(second)
    setup = setup_of(first)
    assert measurements == [[Evaluation(setup)], [Evaluation(setup, parse_exact("L2H1,F1"))]]


def test_the_intact_model_is_measured_first_and_once(store: Store, measurements: list[list[Any]]) -> None:
    app = lab(off="L2H1")
    setup = setup_of(app)
    app.sidebar.text_input("off").set_value("L2H2").run()
    assert measurements == [[Evaluation(setup, parse_exact(off))] for off in ("", "L2H1", "L2H2")]
    assert "–" not in shown(app).values()


def test_what_a_server_does_not_allow_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADROOM_QUESTIONS", "10")
    app = lab()
    assert not app.exception
    assert not app.error
    assert app.sidebar.number_input("n").value == 10
    assert "asks for n '20'. Known: whole numbers from 1 to 10 on this server. Showing 10 instead." in \
           app.warning[0].value


def test_presets_are_drawn_when_they_are_opened(store: Store) -> None:
    app = lab()
    assert "preset share" not in [slider.key for slider in app.slider]
    app.session_state["presets"] = True
    assert "preset share" in [slider.key for slider in app.run().slider]


def test_one_is_told_how_it_stands() -> None:
    unit = Evaluation(Setup(ModelId("m", "1", "1"), TaskId("antonym", "d")))
    waits = Standing(finished=1, of=2, ahead=3, unit=None, done=0, total=0, loading=False)
    assert blocks.report(waits, "accuracy", 0.9) == (0.5, "accuracy …")
    assert blocks.report(waits, "accuracy", 1.1) == (0.5, "accuracy … 3 requests are ahead of yours")
    assert blocks.report(replace(waits, ahead=1), "accuracy", 9)[1] == "accuracy … 1 request is ahead of yours"
    assert blocks.report(replace(waits, ahead=0), "accuracy", 9)[1] == "accuracy …"
    measured = replace(waits, ahead=0, unit=unit, done=2, total=8)
    assert blocks.report(measured, "accuracy", 1) == (0.625, "antonym: 2 of 8")
    some = replace(measured, so_far=SoFar(right=5, answered=8, of=40))
    assert blocks.report(some, "accuracy", 1)[1] == f"antonym: {words.percent(5 / 8)} so far, on 8 of 40 questions"
    assert blocks.report(measured, "accuracy", 10) == (0.625, "antonym: 2 of 8 · 6 s left")
    assert blocks.report(replace(measured, loading=True), "accuracy", 10)[1] == "Loading the model …"


def test_a_number_that_is_not_complete_stands_marked_where_it_will_stand(
        store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_way(units: Any, *more: Any, on_answers: Callable[[Any, SoFar], None], **others: Any) -> bool:
        on_answers(units[0], SoFar(right=5, answered=8, of=20))
        st.stop()

    app = lab()
    intact = shown(app)["Intact"]
    monkeypatch.setattr(blocks, "measure", half_way)
    app.sidebar.text_input("off").set_value("L2H1").run()
    assert shown(app) == {"Intact": intact, "Switched off": f"≈ {words.percent(5 / 8)}", "Change": "–"}
    assert "So far, on 8 of 20 questions." in [caption.value for caption in app.main.caption]
    fresh = lab(n="19")
    assert shown(fresh) == {"Intact": f"≈ {words.percent(5 / 8)}", "Switched off": "–", "Change": "–"}


class Told:
    """A request whose answers stand as a script says, one step with each look; then it is over."""

    error, dropped, of = None, False, 1

    def __init__(self, unit: Any, *so_far: SoFar) -> None:
        self.steps = [Standing(0, 1, 0, unit, 0, 9, False, one) for one in so_far]
        self.last = Standing(1, 1, 0, None, 0, 0, False)
        self.now = self.last

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    over = property(lambda self: not self.steps)

    def wait(self, seconds: float) -> None:
        self.now = self.steps.pop(0)
        self.steps = self.steps or ([] if self.now is self.last else [self.last])

    def take(self) -> list[Any]:
        return []

    def standing(self) -> Standing:
        return self.now


@pytest.mark.parametrize(("so_far", "shown"), [
    ([(1, 10, 10**12), (2, 20, 10**12)], [(1, 10, 10**12)]),  # ages to go: the first at once, the next with a report
    ([(5, 39, 40)], []),  # all but there: the whole number is drawn once instead
    ([(5, 39, 40), (1, 40, 10**12)], [(1, 40, 10**12)]),
])
def test_a_first_number_is_shown_at_once_where_the_whole_one_takes_long(
        monkeypatch: pytest.MonkeyPatch, so_far: list[Any], shown: list[Any]) -> None:
    unit, seen, order = Evaluation(Setup(ModelId("m", "1", "1"), TaskId("antonym", "d"))), list[Any](), list[str]()
    monkeypatch.setattr(blocks, "REPORT", PATIENCE)
    monkeypatch.setattr(waiting, "stopped", lambda: False)
    monkeypatch.setattr(blocks.selection, "queue", lambda: SimpleNamespace(
        ask=lambda *_: Told(unit, *[SoFar(*one) for one in so_far])))
    assert blocks.measure([unit], "accuracy", on_wait=lambda: order.append("waits"),
                          on_answers=lambda of, answers: (order.append("told"), seen.append((of, answers))))
    assert seen == [(unit, SoFar(*one)) for one in shown]
    assert order == ["told"] * len(shown)


# --- giving way ---------------------------------------------------------------------------------


def whole_page() -> None:
    """Waits for what never comes; in the second run for nothing."""
    import streamlit as st
    from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx

    from pages.shared import waiting

    context, runs = get_script_run_ctx(), st.session_state.setdefault("runs", [])
    assert context is not None
    assert context.script_requests is not None
    runs.append(waiting.stopped())
    if len(runs) == 1:
        context.script_requests.request_rerun(RerunData())  # somebody clicks
        waiting.stopped()
        runs.append("still here")


def a_fragment() -> None:
    """A fragment that waits, first while the whole page is drawn, then in its own run."""
    import streamlit as st
    from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx

    from pages.shared import waiting

    context, found = get_script_run_ctx(), st.session_state.setdefault("found", [])
    assert context is not None
    assert context.script_requests is not None

    @st.fragment
    def part() -> None:
        requests, (own,) = context.script_requests, list(context.fragment_storage._fragments)
        assert requests is not None
        found.append(waiting.stopped())
        if len(found) == 1:  # within the run of the whole page, which a click in a fragment does not end
            requests.request_rerun(RerunData(fragment_id_queue=[own]))
            found.append(waiting.stopped())
        elif len(found) == 3:
            requests.request_rerun(RerunData(fragment_id_queue=["another"]))
            found.append(waiting.stopped())
            requests.request_rerun(RerunData(fragment_id_queue=[own]))
            found.append(waiting.stopped())

    part()


def test_a_waiting_run_ends_when_the_page_is_to_run_again() -> None:
    assert AppTest.from_function(whole_page).run().session_state["runs"] == [False, False]


def test_a_waiting_fragment_gives_way_when_it_is_to_run_again_and_only_then() -> None:
    app = AppTest.from_function(a_fragment).run()
    assert not app.exception
    assert app.session_state["found"] == [False, False, False, False, True, False]


def test_who_gives_way_leaves_the_queue(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Ticket] = []
    ask = Queue.ask

    def noted(*args: Any) -> Ticket:
        asked.append(ask(*args))
        return asked[-1]

    monkeypatch.setattr(Queue, "ask", noted)
    monkeypatch.setattr(waiting, "stopped", lambda: True)
    app = lab()
    assert [ticket.dropped for ticket in asked] == [True]
    assert set(shown(app).values()) == {"–"}


# --- drawing in turns ---------------------------------------------------------------------------


def in_threads(*doing: Callable[[], object]) -> None:
    threads = [threading.Thread(target=one) for one in doing]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


class Runs:
    """Runs in threads, that each draw until they are let go."""

    def __init__(self, turns: waiting.Turns) -> None:
        self.turns, self.order, self.go = turns, list[str](), threading.Event()
        self.threads: list[threading.Thread] = []

    def add(self, visitor: str) -> None:
        known = len(self.order) + len(self.turns._waiting)
        self.threads.append(threading.Thread(target=self._run, args=(visitor,)))
        self.threads[-1].start()
        eventually(lambda: len(self.order) + len(self.turns._waiting) > known)

    def _run(self, visitor: str) -> None:
        with self.turns.turn(visitor):
            self.order.append(visitor)
            assert self.go.wait(PATIENCE)

    def end(self) -> list[str]:
        self.go.set()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert not self.turns._inside
        assert not self.turns._waiting
        return self.order


def clicked() -> None:
    raise KeyError


def test_one_run_draws_at_a_time_and_each_in_the_order_in_which_it_came() -> None:
    runs = Runs(waiting.Turns(1, PATIENCE))
    for visitor in "abcdef":
        runs.add(visitor)
    assert runs.order == ["a"]
    assert runs.end() == list("abcdef")


def test_two_draw_at_a_time() -> None:
    runs = Runs(waiting.Turns(2, PATIENCE))
    for visitor in "abcd":
        runs.add(visitor)
    assert sorted(runs.order) == ["a", "b"]
    assert sorted(runs.end()) == list("abcd")


def test_who_clicks_again_before_a_turn_keeps_the_place() -> None:
    runs = Runs(turns := waiting.Turns(1, PATIENCE))
    runs.add("a")

    def leaves() -> None:
        with pytest.raises(KeyError), turns.turn("b", clicked):
            pass

    in_threads(leaves)
    assert not turns._waiting
    for visitor in "cb":
        runs.add(visitor)
    assert runs.end() == ["a", "b", "c"]
    assert not turns._places


def test_a_run_that_hangs_holds_up_nobody_for_ever() -> None:
    turns = waiting.Turns(1, 0.01)
    with turns.turn("hangs"):
        runs = Runs(turns)
        runs.add("next")
        eventually(lambda: runs.order == ["next"])
        runs.go.set()
        runs.threads[0].join(PATIENCE)
    assert runs.end() == ["next"]


def test_while_a_run_waits_for_the_queue_others_draw_and_then_it_goes_first() -> None:
    turns = waiting.Turns(1, PATIENCE)
    with turns.paused():  # no turn to give away
        assert not turns._inside
    runs = Runs(turns)
    with turns.turn("a"):
        with turns.paused():
            runs.add("b")
            runs.add("c")
            assert runs.order == ["b"]
            threading.Thread(target=lambda: (eventually(lambda: len(turns._waiting) == 2), runs.go.set())).start()
        assert runs.order == ["b"]
    assert runs.end() == ["b", "c"]


def test_a_run_that_ends_in_a_pause_has_no_turn_left() -> None:
    turns = waiting.Turns(1, PATIENCE)
    with pytest.raises(KeyError), turns.turn("a"), turns.paused():
        clicked()
    assert not turns._inside


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_press_counts_though_a_result_came_since_its_button_was_drawn(store: Store) -> None:
    app = lab()
    app.toggle("live").set_value(False).run()
    app.sidebar.text_input("off").set_value("L2H2").run()
    app.sidebar.number_input("seed").set_value(1).run()
    (offered,) = [button for button in app.main.button if button.label == "Measure now"]
    compute(Evaluation(setup_of(app).with_(seed=1)), store, load_model())
    offered.click().run()
    assert "–" not in shown(app).values()


def test_a_press_counts_though_the_page_is_drawn_anew_before_it_is_looked_at(
        store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    app = lab()
    app.toggle("live").set_value(False).run()
    app.sidebar.text_input("off").set_value("L2H2").run()
    (offered,) = [button for button in app.main.button if button.label == "Measure now"]
    once_more(monkeypatch, blocks, "why_not_here")
    offered.click().run()
    assert "–" not in shown(app).values()
