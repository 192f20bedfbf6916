"""Waiting in a page's run, for the queue or for a turn to draw, so that a newer click ends the waiting at once.

Streamlit ends a run at the next call that draws or touches the session's state, when the whole page is to run again or
the session is gone; a run that only waits reaches no such call. `stopped` is one, without a message to the browser. A
click inside a fragment never ends the run under way, it comes after it; so a fragment that waits gives way when it is
itself to run again.

Runs draw a few at a time, in the order in which they came: Python draws no faster with more. All at a time would all be
ready last, and where visitors click again before that, none ever would. A run that waits for its turn has done nothing
yet, so a newer click costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, local
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType

from backend.errors import Cancelled
from pages.shared import selection

if TYPE_CHECKING:
    from backend.models.loading import LoadedModel

T = TypeVar("T")
SLICE = 0.05  # seconds between looks whether something newer was clicked
AT_A_TIME = 2  # runs that draw
LEASE = 3.0  # seconds after which a run that draws is not counted: it may wait for a network, and holds up nobody
PLACE = 60.0  # seconds for which a visitor who clicked again before his turn keeps his place


class Turns:
    """So many at a time, in the order in which they came; whoever takes longer than `lease` is not counted any more."""

    def __init__(self, at_a_time: int, lease: float) -> None:
        self.at_a_time, self.lease = at_a_time, lease
        self._inside: dict[Event, float] = {}  # since when
        self._waiting: dict[Event, float] = {}  # since when; those who come back from a pause go first
        self._places: dict[str, float] = {}  # visitor -> since when, until he has had a turn
        self._lock = Lock()
        self._mine = local()

    @contextmanager
    def turn(self, visitor: str, check: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Wait for a turn, and have it; `check` is called while it waits, and may raise to leave."""
        now = monotonic()
        with self._lock:
            self._places = {one: since for one, since in self._places.items() if now - since < PLACE}
            since = self._places.setdefault(visitor, now)
        self._enter(since, check)
        with self._lock:
            self._places.pop(visitor, None)
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def paused(self, check: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Let others draw inside, while this thread waits for something else; nothing where it has no turn."""
        if not self._leave():
            yield
            return
        yield
        self._enter(0.0, check)

    def _enter(self, since: float, check: Callable[[], object]) -> None:
        mine = Event()
        with self._lock:
            self._waiting[mine] = since
            self._admit()
        try:
            while not mine.wait(SLICE):
                check()
                with self._lock:
                    self._admit()  # somebody's lease may have ended
        except BaseException:
            with self._lock:
                self._waiting.pop(mine, None)
                self._inside.pop(mine, None)
                self._admit()
            raise
        self._mine.turn = mine

    def _leave(self) -> bool:
        """Give the turn of this thread to others; says whether it had one."""
        mine: Event | None = getattr(self._mine, "turn", None)
        self._mine.turn = None
        if mine is None:
            return False
        with self._lock:
            self._inside.pop(mine, None)
            self._admit()
        return True

    def _admit(self) -> None:
        now = monotonic()
        while self._waiting and sum(now - since < self.lease for since in self._inside.values()) < self.at_a_time:
            first = min(self._waiting, key=lambda one: self._waiting[one])
            del self._waiting[first]
            self._inside[first] = now
            first.set()


drawing = Turns(AT_A_TIME, LEASE)


def session() -> str:
    """The visitor's session: one tab of a browser."""
    context = get_script_run_ctx(suppress_warning=True)
    return context.session_id if context is not None else ""


def stopped() -> bool:
    """Whether the fragment that waits is to run again, and gives way; where the page is, this run ends here."""
    context = get_script_run_ctx(suppress_warning=True)
    if context is None or context.script_requests is None:
        return False
    context.yield_check()  # raises where the whole page is to run again, or nobody is there any more
    requests, own = context.script_requests, context.fragment_ids_this_run or []
    return requests._state is ScriptRequestType.RERUN and bool(set(own) & set(requests._rerun_data.fragment_id_queue))


def look(what: Callable[[LoadedModel], T]) -> T:
    """Do something short with the chosen model, in this session's turn; nothing is measured beside it.

    Raises:
        HeadroomError: the model cannot be loaded, or what is done says so.
    """
    with selection.queue().look(session(), "look", selection.model(), what) as ticket:
        with drawing.paused(stopped):
            while not (found := ticket.take()):
                if ticket.error is not None:
                    raise ticket.error
                if ticket.dropped:
                    raise Cancelled("Something newer of this visitor took the place of this look.")
                ticket.wait(SLICE)
                stopped()
        result: T
        ((_, result),) = found
        return result
