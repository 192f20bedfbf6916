"""One measuring service for all who ask at a time: what several want is measured once, and everybody has turns.

    queue = Queue(store, load)
    with queue.ask(session, "lab", units) as ticket:      # who leaves the block does not wait any more
        while not ticket.over:
            ticket.wait(0.1)
            for unit, record in ticket.take(): ...        # as they are ready

A session asks in some place; a newer request in the same place takes the place of its older one, which stops within a
batch if nobody else wants the same. The session that was served longest ago has the next turn, with one unit; units of
others come along where sharing a pass is cheaper than taking turns (`Unit.company`, `Unit.gains`). One thread measures,
with one model in memory, and ends when it has nothing to do. Results are stored; what is stored already costs no turn.

Pages' looks at a prompt take turns too (`look`), so that nothing runs beside a measurement on the same cores.

Limits are settings of the environment, see `Limits`.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Condition, RLock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from .. import demo
from .. import limits as bounds
from ..errors import BadInput, Cancelled, HeadroomError, ModelError
from ..kinds.unit import OfTask, Results, Unit, compute, compute_together, fetch_whole
from ..machine import is_out_of_memory
from ..tasks import registry
from ..values import ModelId
from . import journal

if TYPE_CHECKING:
    from ..models.loading import LoadedModel

IDLE = 5.0  # seconds without work after which the thread ends
DESERTED = 30.0  # seconds after which a request that nobody has looked at is dropped
GRACE = 1.0  # seconds that a measurement nobody waits for goes on while nobody else waits: a page may just be redrawn
NOBODY = ""  # the session that a model is made ready for before anybody measures with it
REMEMBERED = 1000  # sessions whose last turn is remembered

Load = Callable[[ModelId], "LoadedModel"]


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask of a server. 0 stands for no limit.

    Attributes:
        questions: of one evaluation.
        waiting: results that one session may wait for at a time.
        masks: that share one pass over the same prompts.
        prompt: characters of a prompt of one's own.
        turn: seconds that the model in memory is kept while another one is waited for.
    """

    questions: int = 0
    waiting: int = 2000
    masks: int = 8
    prompt: int = 4000
    turn: int = 20

    SETTINGS: ClassVar[Mapping[str, str]] = {
        "questions": "HEADROOM_QUESTIONS", "waiting": "HEADROOM_WAITING", "masks": "HEADROOM_MASKS",
        "prompt": "HEADROOM_PROMPT", "turn": "HEADROOM_TURN"}

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Limits:
        """As the environment says; in a demo less where it says nothing.

        Raises: BadInput: if a setting is no number.
        """
        given = {"questions": bounds.DEMO_QUESTIONS, "waiting": bounds.DEMO_WAITING, "prompt": bounds.DEMO_PROMPT} \
            if demo.on() else {}
        for name, setting in cls.SETTINGS.items():
            text = environment.get(setting, "").strip()
            if text and not (text.isascii() and text.isdecimal() and len(text) < 10):
                raise BadInput(f"The setting {setting} is '{text}'. It takes a whole number; 0 is no limit.")
            if text:
                given[name] = int(text)
        return cls(**given)

    def check(self, units: Sequence[Unit[Any]], waiting: int = 0) -> None:
        """Raises: BadInput: if units ask for more questions than allowed, or are too many beside those waiting; in a
        demo also ModelError or DataError, if they are of a model or task that is not listed."""
        for unit in units if demo.on() else ():
            if not demo.shows_model(unit.model.name):
                demo.check_model(unit.model.name)
            for task in filter(None, [unit.task, *(need.task for need in unit.needs())]):
                registry.check_listed(task.name)
        most = max((one.setup.n_examples for one in units if isinstance(one, OfTask) and not one.TRAINING), default=0)
        if self.questions and most > self.questions:
            raise BadInput(f"{most:,} questions were asked for; this server takes up to {self.questions:,} at a time "
                           f"({self.SETTINGS['questions']}). Choose fewer.")
        if self.waiting and len(units) + waiting > self.waiting:
            raise BadInput(f"{len(units) + waiting:,} results would be waited for; this server lets a visitor wait for "
                           f"{self.waiting:,} at a time ({self.SETTINGS['waiting']}). Ask for fewer at a time.")

    def check_prompt(self, text: str, options: str = "") -> None:
        """Raises: BadInput: if a prompt of one's own, its options included, is too long."""
        text += options
        if self.prompt and len(text) > self.prompt:
            raise BadInput(f"The prompt has {len(text):,} characters; this server reads up to {self.prompt:,} "
                           f"({self.SETTINGS['prompt']}). Shorten it.")


# --- what is waited for -------------------------------------------------------------------------


class SoFar(NamedTuple):
    """How an evaluation stands before it is complete."""

    right: int
    answered: int  # questions
    of: int


@dataclass(eq=False)
class _Job:
    """One thing to do, once, whoever wants it."""

    key: Hashable
    model: ModelId
    unit: Unit[Any] | None  # None: a look
    look: Callable[[LoadedModel], Any] | None
    since: float
    wanted: list[Ticket] = field(default_factory=list)
    begun: bool = False
    began: float = 0.0  # when its turn came
    abandoned: float = 0.0  # when the last who wanted it left, once it had begun
    progress: tuple[int, int] = (0, 0)  # batches done, of all
    so_far: SoFar | None = None

    @property
    def company(self) -> Hashable:
        return self.unit.company if self.unit is not None else None


@dataclass(frozen=True)
class Standing:
    """How it stands with a request.

    Attributes:
        finished, of: how many of its results are there.
        ahead: turns of others that come before its next one, at most; 0 while one of its own is measured.
        unit, done, total: what is being measured for it, and batches of it; None before its turn.
        loading: whether the model that it needs next is being read.
        so_far: how the answers stand that are there already; None where none are, or it is nothing of that kind.
    """

    finished: int
    of: int
    ahead: int
    unit: Unit[Any] | None
    done: int
    total: int
    loading: bool
    so_far: SoFar | None = None


class Ticket:
    """What one session asked for in one place. For the one thread that waits for it.

    Attributes:
        error: why it ended before all was there; None otherwise.
    """

    def __init__(self, queue: Queue, session: str, place: str, of: int) -> None:
        self.session, self.place, self.of = session, place, of
        self.error: HeadroomError | None = None
        self.dropped = False
        self._queue = queue
        self._news = Condition(queue._lock)
        self._pending: dict[_Job, None] = {}
        self._fresh: list[tuple[Any, Any]] = []  # results that nobody has taken yet
        self._seen = monotonic()

    def __enter__(self) -> Ticket:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    @property
    def over(self) -> bool:
        """Whether there is nothing more to `take`: all was taken, or an error or a newer request ended it."""
        with self._queue._lock:
            return not self._pending and (self.dropped or not self._fresh)

    def wait(self, seconds: float) -> None:
        """Until a result, the end or the first answers of a result are there, `seconds` at most."""
        with self._queue._lock:
            self._seen = monotonic()
            if not self._fresh and self._pending:
                self._news.wait(seconds)
                self._seen = monotonic()

    def take(self) -> list[tuple[Any, Any]]:
        """The units that have become ready since the last call, each with its record; of a look, (None, its result)."""
        with self._queue._lock:
            fresh, self._fresh = self._fresh, []
        return fresh

    def standing(self) -> Standing:
        """How it stands now."""
        return self._queue._standing(self)

    def drop(self) -> None:
        """Wait no more; what nobody else waits for is not measured, or stops with its next batch."""
        with self._queue._lock:
            self._queue._drop(self)


# --- the queue ----------------------------------------------------------------------------------


class Queue:
    """Everybody's requests, and the thread that answers them.

    Args:
        store: where results are looked for and put.
        load: the model in memory; called by the measuring thread alone, for one model after the other. It may raise
            any `HeadroomError`.
    """

    def __init__(self, store: Results, load: Load, limits: Limits | None = None) -> None:
        self.store, self.limits = store, limits or Limits.of()
        self._load = load
        self._lock = RLock()
        self._work = Condition(self._lock)
        self._tickets: dict[tuple[str, str], Ticket] = {}  # by session and place, in the order of asking
        self._jobs: dict[Hashable, _Job] = {}
        self._running: list[_Job] = []
        self._served: dict[str, int] = {}  # session -> the turn in which it was served last
        self._turns = count(1)
        self._held: tuple[ModelId | None, float] = None, 0.0  # the model in memory, and since when
        self._readied: set[ModelId] = set()  # the models that `get_ready` was called for
        self._loading = False
        self._thread: Thread | None = None
        self._closed = False
        atexit.register(_close, weakref.ref(self))

    # What those who ask call

    def ask(self, session: str, place: str, units: Sequence[Unit[Any]]) -> Ticket:
        """Want some units, in this order; an older request of the session in the same place is dropped.

        Raises:
            BadInput: it is more than `limits` allow.
            StoreError: the store cannot be read.
        """
        wanted = list(dict.fromkeys(units))
        known = [(unit, fetch_whole(unit, self.store)) for unit in wanted]  # from the disk, so not under the lock
        with self._lock:
            ticket = self._new(session, place, len(wanted))
            ticket._fresh = [(unit, record) for unit, record in known if record is not None]
            missing = [unit for unit, record in known if record is None]
            self.limits.check(missing, sum(len(t._pending) for t in self._tickets.values() if t.session == session))
            for unit in missing:
                self._want(ticket, self._jobs.get(unit.key) or _Job(unit.key, unit.model, unit, None, monotonic()))
        return ticket

    def look(self, session: str, place: str, model: ModelId, what: Callable[[LoadedModel], Any]) -> Ticket:
        """Want something short done with a model in this session's turn; what it returns is the one result."""
        with self._lock:
            ticket = self._new(session, place, 1)
            self._want(ticket, _Job(object(), model, None, what, monotonic()))
        return ticket

    def get_ready(self, model: ModelId) -> None:
        """Read a model where none is in memory and nobody waits: whoever measures first then finds it there.

        Once for each: that one cannot be read is told to whoever measures with it.
        """
        with self._lock:
            if not (self._closed or self._held[0] or self._tickets or self._running or model in self._readied):
                self._readied.add(model)
                self.look(NOBODY, "getting ready", model, lambda _: None)

    def close(self, seconds: float = 5.0) -> None:
        """End: whoever waits is told, what is being measured stops with its batch. Waits for the thread a while."""
        with self._lock:
            self._closed = True
            for ticket in list(self._tickets.values()):
                self._fail(ticket, Cancelled("The server is shutting down."))
            self._work.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(seconds)

    # Requests; all under the lock

    def _new(self, session: str, place: str, of: int) -> Ticket:
        if self._closed:
            raise Cancelled("The server is shutting down.")
        if (older := self._tickets.get((session, place))) is not None:
            self._drop(older)
        return Ticket(self, session, place, of)

    def _want(self, ticket: Ticket, job: _Job) -> None:
        self._jobs[job.key] = job
        self._tickets[ticket.session, ticket.place] = ticket
        job.wanted.append(ticket)
        ticket._pending[job] = None
        if self._thread is None:
            self._thread = Thread(target=self._serve, name="headroom-measuring", daemon=True)
            self._thread.start()
        self._work.notify_all()

    def _drop(self, ticket: Ticket) -> None:
        ticket.dropped = ticket.dropped or bool(ticket._pending)
        for job in ticket._pending:
            job.wanted.remove(ticket)
            if not job.wanted and job.begun:
                job.abandoned = monotonic()
            elif not job.wanted:
                self._jobs.pop(job.key, None)
        ticket._pending.clear()
        if self._tickets.get((ticket.session, ticket.place)) is ticket:
            del self._tickets[ticket.session, ticket.place]
        ticket._news.notify_all()

    def _fail(self, ticket: Ticket, error: HeadroomError) -> None:
        self._drop(ticket)
        ticket.dropped, ticket.error = False, error

    def _drop_deserted(self) -> None:
        now = monotonic()
        for ticket in [t for t in self._tickets.values() if now - t._seen > DESERTED]:
            self._drop(ticket)

    def _standing(self, ticket: Ticket) -> Standing:
        with self._lock:
            finished = ticket.of - len(ticket._pending)
            own = next((job for job in self._running if job in ticket._pending), None)
            if own is not None:
                return Standing(finished, ticket.of, 0, own.unit, *own.progress, self._loading,
                                own.so_far)
            turns = [session for session, _ in self._in_turn()]
            if self._loading and any(job.model == self._running[0].model for job in ticket._pending):
                return Standing(finished, ticket.of, 0, None, 0, 0, True)
            return Standing(finished, ticket.of, bool(self._running) + turns.index(ticket.session)
                            if ticket.session in turns else 0, None, 0, 0, False)

    # Turns; all under the lock

    def _in_turn(self) -> list[tuple[str, list[_Job]]]:
        """What each session waits for, the one served longest ago first; nothing that has begun."""
        waiting: dict[str, list[_Job]] = {}
        for ticket in self._tickets.values():
            if jobs := [job for job in ticket._pending if not job.begun]:
                waiting.setdefault(ticket.session, []).extend(jobs)
        return sorted(waiting.items(), key=lambda one: self._served.get(one[0], 0))

    def _next(self) -> _Job | None:
        """Whose turn it is; waits for work. None: the thread is to end."""
        with self._lock:
            self._running = []
            while True:
                self._drop_deserted()
                if self._closed:
                    break
                if waiting := self._in_turn():
                    first = self._first([jobs[0] for _, jobs in waiting])
                    self._begin([first])
                    return first
                if not self._work.wait(IDLE):
                    break
            self._thread = None
            return None

    def _joined(self, first: _Job) -> list[_Job]:
        """A job whose turn it is, and others of its company that come along."""
        with self._lock:
            along = [[job for job in jobs if job.company == first.company] for _, jobs in self._in_turn()]
            in_order = [jobs[rank] for rank in range(max(map(len, along), default=0))  # everybody's first, then their
                        for jobs in along if rank < len(jobs)]  # second
            chosen = [first, *dict.fromkeys(in_order)]
            chosen = chosen[:self.limits.masks] if self.limits.masks else chosen
            self._begin(chosen)
            return chosen

    def _begin(self, jobs: list[_Job]) -> None:
        turn, self._running = next(self._turns), jobs
        for job in jobs:
            job.begun, job.began = True, monotonic()
            for ticket in job.wanted:
                self._served.pop(ticket.session, None)
                self._served[ticket.session] = turn
        while len(self._served) > REMEMBERED:
            del self._served[next(iter(self._served))]

    def _first(self, heads: list[_Job]) -> _Job:
        """Whose turn it is: what the model in memory can answer goes first, for a bounded time."""
        model, since = self._held
        at_hand = next((job for job in heads if job.model == model), None)
        others = [job for job in heads if job.model != model]
        if at_hand is None or not others:
            return heads[0]
        longest = min(others, key=lambda job: job.since)
        return longest if monotonic() - max(longest.since, since) >= self.limits.turn else at_hand

    # The thread

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            self._do(job)

    def _do(self, first: _Job, alone: bool = False) -> None:
        jobs = [first]
        try:
            model = self._model(first.model)
            if not alone and first.unit is not None and first.company is not None and first.unit.gains(model):
                jobs = self._joined(first)
            results = self._results(jobs, model)
        except Cancelled:
            return  # nobody wants them, and nobody is told
        except BaseException as error:
            if len(jobs) == 1:
                self._finish(first, error=_in_words(first, error))
                return
            for job in jobs:  # each alone, so that only whoever asked for the impossible hears of it
                if self._is_wanted(job):
                    self._do(job, alone=True)
        else:
            for job, result in zip(jobs, results, strict=True):
                self._finish(job, result)

    def _results(self, jobs: list[_Job], model: LoadedModel) -> list[Any]:
        if (look := jobs[0].look) is not None:
            return [look(model)]
        units = [job.unit for job in jobs if job.unit is not None]
        listener = _Listener(self, jobs)
        if len(units) == 1:
            return [compute(units[0], self.store, model, listener)]
        return compute_together(units, self.store, model, listener)

    def _model(self, wanted: ModelId) -> LoadedModel:
        self._loading = self._held[0] != wanted
        try:
            model = self._load(wanted)
        except BaseException:
            self._held = None, 0.0
            raise
        finally:
            self._loading = False
        if self._held[0] != wanted:
            self._held = wanted, monotonic()
        return model

    def _report(self, jobs: Sequence[_Job], done: int, total: int) -> None:
        """A batch has ended. Raises: Cancelled: if nobody waits for these jobs any more."""
        with self._lock:
            for job in jobs:
                job.progress = done, total
            self._drop_deserted()
            if self._closed or (not any(job.wanted for job in jobs) and (
                    self._tickets or monotonic() - max(job.abandoned for job in jobs) > GRACE)):
                for job in jobs:
                    del self._jobs[job.key]
                raise Cancelled("Nobody waits for it any more.")

    def _is_wanted(self, job: _Job) -> bool:
        """Whether anybody still waits for a job; it is forgotten where nobody does."""
        with self._lock:
            if not job.wanted:
                del self._jobs[job.key]
            return bool(job.wanted)

    def _finish(self, job: _Job, result: Any = None, error: HeadroomError | None = None) -> None:
        with self._lock:
            self._jobs.pop(job.key, None)
            journal.note("failed" if error else "measured", job.unit, [t.session for t in job.wanted if t.session],
                         monotonic() - job.began, error)
            for ticket in list(job.wanted):
                if error is not None:
                    self._fail(ticket, error)
                    continue
                del ticket._pending[job]
                ticket._fresh.append((job.unit, result))
                if not ticket._pending:
                    self._drop(ticket)  # complete
                ticket._news.notify_all()


@dataclass(frozen=True)
class _Listener:
    """What the jobs under way are told while they are measured."""

    queue: Queue
    jobs: Sequence[_Job]

    def __call__(self, done: int, total: int) -> None:
        self.queue._report(self.jobs, done, total)

    def so_far(self, unit: Unit[Any], right: int, answered: int, of: int) -> None:
        with self.queue._lock:
            for job in self.jobs:
                if job.unit == unit and 0 < answered < of:
                    is_first, job.so_far = job.so_far is None, SoFar(right, answered, of)
                    for ticket in job.wanted if is_first else ():
                        ticket._news.notify_all()


def _in_words(job: _Job, error: BaseException) -> HeadroomError:
    """An error as those who wait are told, without the frames that it came through and what those hold."""
    if isinstance(error, HeadroomError):
        return type(error)(*error.args)
    what = str(job.unit) if job.unit is not None else "A look at the model"
    if is_out_of_memory(error):
        return ModelError(f"There was no memory left for this: {what}. Close what else runs here, or ask for fewer "
                          "questions or a smaller precision.")
    journal.trouble(f"measuring {what}", error)
    return ModelError(f"{what} failed ({type(error).__name__}). The log of the command that started Headroom has the "
                      "details; whatever else is asked for is measured as before.")


def _close(queue: weakref.ref[Queue]) -> None:
    if (open_one := queue()) is not None:
        open_one.close()
