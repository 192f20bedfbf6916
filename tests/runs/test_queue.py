"""The queue: what several want is measured once, everybody has turns, and nobody is waited for who has left."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Semaphore
from typing import Any, cast

import pytest

from backend.errors import BadInput, Cancelled, HeadroomError, ModelError
from backend.kinds import Evaluation, HeadImportance, Means, compute
from backend.kinds.unit import Results
from backend.models.loading import LoadedModel, load_model
from backend.runs import journal
from backend.runs import queue as queues
from backend.runs.plan import identify_tasks
from backend.runs.queue import Limits, Queue, Ticket
from backend.store.live import Store
from backend.values import INTACT, Ablation, Head, ModelId, Setup, TaskId

FIRST, SECOND = ModelId("first", "1", "11"), ModelId("second", "2", "22")
PATIENCE = 10  # seconds until a test gives up
N_BATCHES = 3


class Shelf:
    """Stands in for a store: what is in it, and how often it was asked."""

    def __init__(self) -> None:
        self.kept: dict[Any, Any] = {}

    def get(self, unit: Any) -> Any:
        return self.kept.get(unit)

    def put(self, unit: Any, record: Any) -> Any:
        return self.kept.setdefault(unit, record)

    def put_seconds(self, unit: Any, seconds: float) -> None:
        """Nothing."""


class Engine:
    """Stands in for the models: notes which units it measures together, one batch after the other as it is let."""

    def __init__(self) -> None:
        self.id = FIRST
        self.passes: list[list[Any]] = []
        self.loads: list[ModelId] = []
        self.batches = 0
        self.free = True
        self.steps = Semaphore(0)
        self.begun = Semaphore(0)
        self.fails: Callable[[Any], None] = lambda unit: None
        self.gains = True

    def load(self, wanted: ModelId) -> LoadedModel:
        if wanted != self.id or not self.loads:
            self.loads.append(wanted)
        self.id = wanted
        return cast(LoadedModel, self)

    def measure(self, units: Sequence[Any], progress: Callable[[int, int], None]) -> list[Any]:
        self.passes.append(list(units))
        self.begun.release()
        for unit in units:
            self.fails(unit)
        for done in range(N_BATCHES):
            assert self.free or self.steps.acquire(timeout=3 * PATIENCE)  # longer than a test waits
            self.batches += 1
            progress(done + 1, N_BATCHES)
        return [f"result of {unit}" for unit in units]

    def hold(self) -> None:
        """Let nothing go on but by `step`."""
        self.free = False

    def step(self, batches: int = 1) -> None:
        self.steps.release(batches)

    def go(self) -> None:
        """Let all go on."""
        self.free = True
        self.steps.release(10_000)

    def wait(self) -> None:
        """Until one more measurement has begun."""
        assert self.begun.acquire(timeout=PATIENCE)


class Fake(Evaluation):
    """An evaluation that an `Engine` measures."""

    def gains(self, model: Any) -> bool:
        return model.gains

    def measure(self, model: Any, basis: Any, progress: Any) -> Any:
        return model.measure([self], progress)[0]

    @classmethod
    def measure_together(cls, units: Any, model: Any, bases: Any, progress: Any) -> Any:
        return model.measure(units, progress)


def unit(mask: int = 0, task: str = "antonym", model: ModelId = FIRST, n: int = 100) -> Fake:
    """An evaluation of some task with some head off; those of one task can share a pass."""
    return Fake(Setup(model, TaskId(task, "d"), n_examples=n), Ablation(frozenset({Head(0, mask)})))


def alone(number: int, model: ModelId = FIRST) -> Fake:
    """An evaluation that shares a pass with no other one."""
    return unit(task=f"task {number}", model=model)


def answers(ticket: Ticket) -> list[Any]:
    """Wait for all that a ticket brings."""
    found, deadline = [], time.monotonic() + PATIENCE
    while True:
        ticket.wait(0.05)
        found += ticket.take()
        if ticket.over:
            break
        assert time.monotonic() < deadline, "nothing came"
    if ticket.error is not None:
        raise ticket.error
    return found


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def queue(engine: Engine, shelf: Shelf) -> Iterator[Queue]:
    made = Queue(cast(Results, shelf), engine.load, Limits())
    yield made
    engine.go()
    made.close(PATIENCE)
    assert made._thread is None
    assert not made._tickets


def blocked(queue: Queue, engine: Engine) -> Ticket:
    """A measurement of somebody else that is under way and does not go on by itself."""
    engine.hold()
    ticket = queue.ask("somebody", "else", [alone(999)])
    engine.wait()
    return ticket


# --- shared -------------------------------------------------------------------------------------


def test_what_thirty_sessions_want_is_measured_once(queue: Queue, engine: Engine) -> None:
    blocked(queue, engine)
    tickets = [queue.ask(f"session {i}", "lab", [unit(1)]) for i in range(30)]
    engine.go()
    assert [answers(ticket) for ticket in tickets] == [[(unit(1), f"result of {unit(1)}")]] * 30
    assert engine.passes == [[alone(999)], [unit(1)]]


def test_the_journal_has_a_line_for_what_was_measured_and_for_what_failed(
        queue: Queue, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[Any, ...]] = []
    monkeypatch.setattr(journal, "note", lambda *line: lines.append(line))
    blocked(queue, engine)
    tickets = [queue.ask(f"session {i}", "lab", [unit(1)]) for i in range(2)]
    engine.go()
    for ticket in tickets:
        answers(ticket)
    (event, _, sessions, seconds, error), = [line for line in lines if line[1] == unit(1)]
    assert (event, sessions, error) == ("measured", ["session 0", "session 1"], None)
    assert 0 <= seconds < PATIENCE
    with pytest.raises(ModelError):
        answers(queue.look("one", "playground", FIRST, lambda model: 1 / 0))
    assert lines[-1][:3] == ("failed", None, ["one"])
    assert isinstance(lines[-1][4], ModelError)


def test_who_asks_for_what_is_being_measured_shares_it(queue: Queue, engine: Engine) -> None:
    blocked(queue, engine)
    late = queue.ask("late", "lab", [alone(999)])
    assert late.standing().ahead == 0
    engine.go()
    assert answers(late) == [(alone(999), f"result of {alone(999)}")]
    assert engine.passes == [[alone(999)]]


def test_what_is_stored_costs_no_turn(queue: Queue, engine: Engine, shelf: Shelf) -> None:
    blocked(queue, engine)
    shelf.put(unit(1), "stored")
    with queue.ask("a", "lab", [unit(1), unit(2)]) as ticket:
        assert ticket.take() == [(unit(1), "stored")]
        assert not ticket.over
    with queue.ask("a", "lab", [unit(1)]) as ticket:
        assert not ticket.over  # before it was taken
        assert ticket.take() == [(unit(1), "stored")]
        assert ticket.over


def test_a_request_is_not_over_before_its_last_result_was_taken(queue: Queue, engine: Engine) -> None:
    ticket = blocked(queue, engine)
    assert not ticket.take()
    engine.go()  # it comes between a look for results and the question whether that was all
    while ticket._pending:
        ticket.wait(0.01)
    assert not ticket.over
    assert len(ticket.take()) == 1
    assert ticket.over


def test_masks_of_several_sessions_ride_together_and_everybody_gets_the_own_one(
        queue: Queue, engine: Engine, shelf: Shelf) -> None:
    blocked(queue, engine)
    tickets = [queue.ask(f"session {i}", "lab", [unit(i)]) for i in range(10)]
    other = queue.ask("other", "lab", [alone(1)])
    engine.go()
    for i, ticket in enumerate(tickets):
        assert answers(ticket) == [(unit(i), f"result of {unit(i)}")]
    answers(other)
    assert [len(together) for together in engine.passes] == [1, 8, 2, 1]  # 8 is the limit
    assert {unit(i) for i in range(10)} <= set(shelf.kept)


def test_where_nothing_is_gained_by_it_everybody_has_a_turn_alone(queue: Queue, engine: Engine) -> None:
    engine.gains = False
    blocked(queue, engine)
    tickets = [queue.ask(f"session {i}", "lab", [unit(i)]) for i in range(3)]
    engine.go()
    for ticket in tickets:
        answers(ticket)
    assert [len(together) for together in engine.passes] == [1, 1, 1, 1]


@pytest.fixture(scope="module")
def bundled() -> LoadedModel:
    return load_model()


@pytest.mark.parametrize("gains", [False, True])
def test_thirty_masks_at_a_time_give_the_numbers_that_each_gives_alone(
        gains: bool, bundled: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evaluation, "gains", lambda *_: gains)
    setup = Setup(bundled.id, identify_tasks("antonym")[0], 5, n_examples=20)
    masks = [INTACT, *(Ablation(frozenset({Head(i % bundled.n_layers, i % bundled.n_heads)}), frozenset({i % 3}),
                                "mean" if i % 7 == 0 else "zero") for i in range(29))]
    units = [Evaluation(setup, mask, 4 if mask.fill == "mean" else 0) for mask in masks]
    store, apart = Store(tmp_path / "shared"), Store(tmp_path / "apart")
    together = Queue(store, lambda wanted: bundled)
    tickets = [together.ask(f"session {i}", "lab", [one]) for i, one in enumerate(units)]
    for one, ticket in zip(units, tickets, strict=True):
        ((measured, record),) = answers(ticket)
        expected = compute(one, apart, bundled)
        assert measured == one
        assert record.choices() == expected.choices()
        for ours, theirs in zip(record.loglikelihoods, expected.loglikelihoods, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-4)
        assert store.get(one) == record
    assert store.get(Means(setup.with_(n_examples=4))) is not None
    together.close()


# --- newer in the place of older ----------------------------------------------------------------


def test_a_newer_mask_takes_the_place_of_an_older_one_that_has_not_begun(queue: Queue, engine: Engine) -> None:
    blocked(queue, engine)
    older = queue.ask("a", "lab", [unit(1)])
    newer = queue.ask("a", "lab", [unit(2)])
    assert older.over
    assert older.dropped
    assert older.error is None
    engine.go()
    answers(newer)
    assert engine.passes == [[alone(999)], [unit(2)]]


def test_another_place_or_another_session_is_left_alone(queue: Queue, engine: Engine) -> None:
    blocked(queue, engine)
    tickets = [queue.ask("a", "lab", [alone(1)]), queue.ask("a", "tour", [alone(2)]), queue.ask("b", "lab", [alone(3)])]
    engine.go()
    for ticket in tickets:
        assert len(answers(ticket)) == 1


def test_a_superseded_measurement_stops_within_a_batch(queue: Queue, engine: Engine, shelf: Shelf) -> None:
    engine.hold()
    queue.ask("a", "lab", [unit(1)])
    engine.wait()
    newer = queue.ask("a", "lab", [unit(2)])
    engine.step()
    engine.wait()
    assert engine.batches == 1
    engine.go()
    answers(newer)
    assert unit(1) not in shelf.kept
    assert engine.batches == 1 + N_BATCHES


def test_it_goes_on_where_another_session_wants_the_same(queue: Queue, engine: Engine) -> None:
    engine.hold()
    queue.ask("a", "lab", [unit(1)])
    engine.wait()
    other = queue.ask("b", "lab", [unit(1)])
    newer = queue.ask("a", "lab", [unit(2)])
    engine.go()
    assert answers(other) == [(unit(1), f"result of {unit(1)}")]
    answers(newer)
    assert engine.batches == 2 * N_BATCHES


def test_a_page_that_is_redrawn_finds_its_measurement_going_on(queue: Queue, engine: Engine) -> None:
    engine.hold()
    with queue.ask("a", "lab", [unit(1)]):
        engine.wait()
    engine.step(2)  # nobody waits just now, nor for anything else
    again = queue.ask("a", "lab", [unit(1)])
    engine.go()
    answers(again)
    assert engine.passes == [[unit(1)]]


# --- turns --------------------------------------------------------------------------------------


def test_sessions_take_turns_however_much_each_wants(queue: Queue, engine: Engine) -> None:
    blocked(queue, engine)
    many = queue.ask("many", "offer", [alone(i) for i in range(4)])
    few = [queue.ask(f"few {i}", "lab", [alone(10 + i)]) for i in range(2)]
    engine.go()
    for ticket in (many, *few):
        answers(ticket)
    assert [one for (one,) in engine.passes[1:]] == [alone(0), alone(10), alone(11), alone(1), alone(2), alone(3)]


def test_a_quick_clicker_neither_jumps_nor_loses_the_queue(queue: Queue, engine: Engine) -> None:
    blocked(queue, engine)
    quick, calm = queue.ask("quick", "lab", [alone(0)]), queue.ask("calm", "lab", [alone(1)])
    for i in range(2, 6):
        quick = queue.ask("quick", "lab", [alone(i)])
    engine.step(N_BATCHES)
    engine.wait()
    later = queue.ask("quick", "tour", [alone(7)])
    engine.go()
    for ticket in (quick, calm, later):
        answers(ticket)
    assert [one for (one,) in engine.passes[1:]] in ([alone(5), alone(1), alone(7)], [alone(1), alone(5), alone(7)])


def test_place_and_progress_are_known(queue: Queue, engine: Engine) -> None:
    first = blocked(queue, engine)
    engine.step()
    while first.standing().done < 1:
        time.sleep(0.001)
    standing = first.standing()
    assert (standing.ahead, standing.unit, standing.done, standing.total) == (0, alone(999), 1, N_BATCHES)
    tickets = [queue.ask(f"session {i}", "lab", [alone(i), alone(100 + i)]) for i in range(3)]
    assert [ticket.standing().ahead for ticket in tickets] == [1, 2, 3]
    assert all(ticket.standing().unit is None for ticket in tickets)
    engine.step(N_BATCHES - 1 + N_BATCHES)
    tickets[0].wait(PATIENCE)
    assert (tickets[0].standing().finished, tickets[0].standing().of) == (1, 2)
    assert tickets[0].take() == [(alone(0), f"result of {alone(0)}")]


def test_everybody_is_told_how_the_own_answers_stand_so_far(queue: Queue, engine: Engine, monkeypatch) -> None:
    plain = engine.measure

    def tells(units: Sequence[Any], progress: Any) -> list[Any]:
        for right, one in enumerate(units):
            progress.so_far(one, right, 10, 40)
        return plain(units, progress)

    first = blocked(queue, engine)
    monkeypatch.setattr(engine, "measure", tells)
    tickets = [queue.ask(f"session {i}", "lab", [unit(i)]) for i in range(2)]
    assert tickets[0].standing().so_far is None
    engine.step(N_BATCHES + 1)
    while not all(ticket.standing().done for ticket in tickets):
        time.sleep(0.001)
    assert sorted(ticket.standing().so_far for ticket in tickets) == [(0, 10, 40), (1, 10, 40)]
    engine.go()
    assert first.error is None


def test_who_waits_is_woken_by_the_first_answers(queue: Queue, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, woken = engine.measure, list[str]()

    def tells(units: Sequence[Any], progress: Any) -> list[Any]:
        for right in range(3):
            with queue._lock:
                ticket._news.notify_all = lambda: woken.append("first")  # type: ignore[method-assign]
            progress.so_far(units[0], right, 10 + right, 40)
        del ticket._news.notify_all
        return plain(units, progress)

    first = blocked(queue, engine)
    monkeypatch.setattr(engine, "measure", tells)
    ticket = queue.ask("me", "lab", [unit(1)])
    engine.step(N_BATCHES + 1)
    while not ticket.standing().done:
        time.sleep(0.001)
    assert woken == ["first"]
    assert ticket.standing().so_far == (2, 12, 40)
    engine.go()
    assert first.error is None


def test_the_model_in_memory_answers_first_but_not_for_ever(engine: Engine, shelf: Shelf) -> None:
    patient = Queue(cast(Results, shelf), engine.load, Limits(turn=1000))
    blocked(patient, engine)
    tickets = [patient.ask(f"session {i}", "lab", [alone(i, SECOND if i % 2 else FIRST)]) for i in range(6)]
    engine.go()
    for ticket in tickets:
        answers(ticket)
    assert engine.loads == [FIRST, SECOND]
    assert [one.model for (one,) in engine.passes] == [FIRST] * 4 + [SECOND] * 3
    patient.close()


def test_who_waits_for_another_model_has_a_turn_after_a_while(engine: Engine, shelf: Shelf) -> None:
    hasty = Queue(cast(Results, shelf), engine.load, Limits(turn=0))
    blocked(hasty, engine)
    tickets = [hasty.ask("many", "offer", [alone(i) for i in range(3)]),
               hasty.ask("other", "lab", [alone(7, SECOND)])]
    engine.go()
    for ticket in tickets:
        answers(ticket)
    assert engine.passes[1] == [alone(7, SECOND)]
    hasty.close()


def test_looks_take_turns_with_measurements(queue: Queue, engine: Engine) -> None:
    measured = blocked(queue, engine)
    seen = queue.look("a", "playground", FIRST, lambda model: len(engine.passes))
    assert seen.standing().ahead == 1
    assert not seen.take()
    engine.go()
    assert answers(seen) == [(None, 1)]
    answers(measured)


# --- errors -------------------------------------------------------------------------------------


def test_an_error_reaches_those_who_asked_for_it_and_nobody_else(queue: Queue, engine: Engine) -> None:
    def fails(one: Fake) -> None:
        if one == unit(2):
            raise BadInput("No such component: L0H2.")

    engine.fails = fails
    blocked(queue, engine)
    tickets = [queue.ask(f"session {i}", "lab", [unit(i)]) for i in range(4)]
    also = queue.ask("also", "lab", [unit(2), alone(1)])
    engine.go()
    for i, ticket in enumerate(tickets):
        if i == 2:
            with pytest.raises(BadInput, match="No such component: L0H2"):
                answers(ticket)
        else:
            assert answers(ticket) == [(unit(i), f"result of {unit(i)}")]
    with pytest.raises(BadInput, match="No such component"):
        answers(also)
    assert [alone(1)] not in engine.passes


def test_an_unexpected_error_is_one_sentence_and_the_next_is_answered(
        queue: Queue, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    def fails(one: Fake) -> None:
        if one == alone(1):
            raise ZeroDivisionError("what nobody foresaw")
        if one == alone(2):
            raise SystemExit(3)

    engine.fails = fails
    for i in (1, 2):
        with pytest.raises(ModelError, match=r"evaluation first task . 0-shot fixed off=L0H0 failed \(\w+\)\. The log"):
            answers(queue.ask("a", "lab", [alone(i)]))
    assert "what nobody foresaw" in caplog.text
    assert len(answers(queue.ask("a", "lab", [alone(3)]))) == 1


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you")])
def test_memory_that_runs_out_is_said_and_the_next_is_answered(queue: Queue, engine: Engine, error: Exception) -> None:
    def fails(one: Fake) -> None:
        if one == alone(1):
            raise error

    engine.fails = fails
    with pytest.raises(ModelError, match=r"There was no memory left for this: evaluation .* ask for fewer questions"):
        answers(queue.ask("a", "lab", [alone(1)]))
    assert len(answers(queue.ask("a", "lab", [alone(2)]))) == 1


def test_a_model_that_cannot_be_loaded_is_told_and_another_one_can_be(engine: Engine, shelf: Shelf) -> None:
    def load(wanted: ModelId) -> LoadedModel:
        if wanted == SECOND:
            raise ModelError("The weights are gone. Fetch them again.")
        return engine.load(wanted)

    queue = Queue(cast(Results, shelf), load)
    with pytest.raises(ModelError, match="The weights are gone"):
        answers(queue.ask("a", "lab", [alone(1, SECOND)]))
    assert len(answers(queue.ask("a", "lab", [alone(1)]))) == 1
    queue.close()


def test_a_model_is_made_ready_once_and_only_where_nobody_waits(engine: Engine, shelf: Shelf) -> None:
    queue = Queue(cast(Results, shelf), engine.load)
    first = blocked(queue, engine)
    queue.get_ready(SECOND)
    engine.go()
    answers(first)
    queue.get_ready(SECOND)  # another one is in memory
    assert engine.loads == [FIRST]
    queue.close(PATIENCE)

    idle = Queue(cast(Results, shelf), (other := Engine()).load)
    for _ in range(3):
        idle.get_ready(SECOND)
    while idle._tickets:
        time.sleep(0.001)
    assert other.loads == [SECOND]
    answers(idle.ask("a", "lab", [alone(1, SECOND)]))
    assert other.loads == [SECOND]  # it was there
    idle.close(PATIENCE)


def test_a_model_that_cannot_be_made_ready_is_tried_once_and_told_to_whoever_measures(shelf: Shelf) -> None:
    tried: list[ModelId] = []

    def load(wanted: ModelId) -> LoadedModel:
        tried.append(wanted)
        raise ModelError("The weights are gone. Fetch them again.")

    queue = Queue(cast(Results, shelf), load)
    queue.get_ready(FIRST)
    while queue._tickets:
        time.sleep(0.001)
    queue.get_ready(FIRST)
    assert tried == [FIRST]
    with pytest.raises(ModelError, match="The weights are gone"):
        answers(queue.ask("a", "lab", [alone(1)]))
    queue.close(PATIENCE)


def test_who_comes_while_the_model_is_made_ready_hears_that_it_is_loading(engine: Engine, shelf: Shelf) -> None:
    begun, go_on = Event(), Event()

    def load(wanted: ModelId) -> LoadedModel:
        begun.set()
        assert go_on.wait(PATIENCE)
        return engine.load(wanted)

    queue = Queue(cast(Results, shelf), load)
    queue.get_ready(FIRST)
    assert begun.wait(PATIENCE)
    mine, others = queue.ask("a", "lab", [alone(1)]), queue.ask("b", "lab", [alone(1, SECOND)])
    assert (mine.standing().loading, mine.standing().ahead) == (True, 0)
    assert (others.standing().loading, others.standing().ahead) == (False, 2)
    go_on.set()
    assert len(answers(mine)) == 1
    queue.close(PATIENCE)


def test_an_error_holds_nothing_that_it_came_through(queue: Queue, engine: Engine) -> None:
    def fails(one: Fake) -> None:
        raise BadInput("No.")

    engine.fails = fails
    ticket = queue.ask("a", "lab", [unit(1)])
    while not ticket.over:
        ticket.wait(1)
    assert ticket.error is not None
    assert ticket.error.__traceback__ is None
    assert ticket.error.__context__ is None


# --- leaving ------------------------------------------------------------------------------------


def test_who_leaves_is_not_measured_for(queue: Queue, engine: Engine) -> None:
    blocked(queue, engine)
    with queue.ask("a", "lab", [alone(1)]):
        pass
    stays = queue.ask("b", "lab", [alone(2)])
    engine.go()
    answers(stays)
    assert engine.passes == [[alone(999)], [alone(2)]]


def test_a_request_that_nobody_looks_at_is_dropped(
        queue: Queue, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = blocked(queue, engine)
    gone = queue.ask("gone", "lab", [alone(1)])
    stays = queue.ask("stays", "lab", [alone(2)])
    gone._seen -= queues.DESERTED + 1
    engine.go()
    answers(blocker)
    answers(stays)
    assert gone.dropped
    assert [alone(1)] not in engine.passes


def test_the_thread_ends_when_there_is_nothing_to_do_and_begins_again(
        queue: Queue, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "IDLE", 0.01)
    answers(queue.ask("a", "lab", [alone(1)]))
    while (thread := queue._thread) is not None:
        thread.join(PATIENCE)
    answers(queue.ask("a", "lab", [alone(2)]))
    assert engine.passes == [[alone(1)], [alone(2)]]


def test_at_shutdown_those_who_wait_are_told_and_the_thread_ends(engine: Engine, shelf: Shelf) -> None:
    queue = Queue(cast(Results, shelf), engine.load)
    running = blocked(queue, engine)
    waiting = queue.ask("a", "lab", [alone(1)])
    thread = queue._thread
    assert thread is not None
    engine.step()
    queue.close(PATIENCE)
    assert not thread.is_alive()
    for ticket in (running, waiting):
        with pytest.raises(Cancelled, match="shutting down"):
            answers(ticket)
    with pytest.raises(Cancelled, match="shutting down"):
        queue.ask("a", "lab", [alone(1)])
    assert engine.batches == 1


# --- limits -------------------------------------------------------------------------------------


def test_limits_are_settings_and_their_errors_say_what_is_allowed() -> None:
    limits = Limits.of({"HEADROOM_QUESTIONS": "100", "HEADROOM_WAITING": "3", "HEADROOM_PROMPT": "10",
                        "HEADROOM_MASKS": " "})
    assert limits == Limits(questions=100, waiting=3, prompt=10)
    queue = Queue(cast(Results, Shelf()), Engine().load, limits)
    with pytest.raises(BadInput, match=r"101 questions .* up to 100 at a time \(HEADROOM_QUESTIONS\)"):
        queue.ask("a", "lab", [unit(1, n=101)])
    with pytest.raises(BadInput, match=r"4 results .* wait for 3 at a time \(HEADROOM_WAITING\)"):
        queue.ask("a", "lab", [alone(i) for i in range(4)])
    limits.check([HeadImportance(unit().setup.with_(n_examples=200))])  # training examples
    limits.check_prompt("ten signs.")
    with pytest.raises(BadInput, match=r"11 characters; this server reads up to 10 \(HEADROOM_PROMPT\)"):
        limits.check_prompt("eleven sign")
    with pytest.raises(BadInput, match=r"HEADROOM_MASKS is '-1'. It takes a whole number"):
        Limits.of({"HEADROOM_MASKS": "-1"})
    assert not queue._tickets


def test_the_limit_counts_what_a_session_waits_for_in_all_places(engine: Engine, shelf: Shelf) -> None:
    queue = Queue(cast(Results, shelf), engine.load, Limits(waiting=3))
    blocked(queue, engine)
    queue.ask("a", "lab", [alone(1), alone(2)])
    queue.ask("b", "lab", [alone(1), alone(2)])
    with pytest.raises(BadInput, match="4 results"):
        queue.ask("a", "tour", [alone(3), alone(4)])
    queue.ask("a", "lab", [alone(3), alone(4), alone(5)])  # in the place of the two
    shelf.put(alone(6), "stored")
    assert answers(queue.ask("a", "heads", [alone(6)]))  # what is stored does not count
    engine.go()
    queue.close(PATIENCE)


# --- all at once --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_whatever_sessions_do_nobody_waits_for_ever_and_nobody_gets_anothers_result(seed: int, engine: Engine) -> None:
    shelf = Shelf()
    queue = Queue(cast(Results, shelf), engine.load, Limits(turn=0 if seed % 2 else 20))

    def fails(one: Fake) -> None:
        if one.ablation == unit(3).ablation:
            raise BadInput("Never.")

    engine.fails = fails
    wrong: list[object] = []
    start = Event()

    def visitor(number: int) -> None:
        draw = random.Random(1000 * seed + number)
        start.wait(PATIENCE)
        try:
            for _ in range(100):
                units = [unit(draw.randrange(6), f"task {draw.randrange(3)}", draw.choice([FIRST, FIRST, SECOND]))
                         for _ in range(draw.randrange(1, 4))]
                with queue.ask(f"session {number % 8}", draw.choice(["lab", "tour"]), units) as ticket:
                    if draw.random() < 0.3:
                        continue  # gone at once
                    deadline = time.monotonic() + PATIENCE
                    while not ticket.over and draw.random() < 0.95:
                        ticket.wait(0.01)
                        ticket.standing()
                        assert time.monotonic() < deadline, f"{units} never came"
                    wrong.extend(pair for pair in ticket.take() if pair[1] != f"result of {pair[0]}")
                    if draw.random() < 0.2:
                        with suppress(HeadroomError):  # another thread of the same session may take its place
                            answers(queue.look(f"session {number % 8}", "look", FIRST, lambda model: None))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=visitor, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    start.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not wrong
    assert not queue._tickets
    last = queue.ask("last", "lab", [unit(0, "another task")])  # and it still answers
    assert len(answers(last)) == 1
    assert not queue._jobs
    queue.close(PATIENCE)
