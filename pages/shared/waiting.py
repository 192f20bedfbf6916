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

from collections import deque
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
PATIENCE = 5.0  # seconds after which a run draws out of turn: one that waits for a network must not hold up all others


class Turns:
    """So many at a time, in the order in which they came; nobody waits longer than `patience`."""

    def __init__(self, at_a_time: int, patience: float) -> None:
        self.patience = patience
        self._free = at_a_time  # below 0 where some went out of turn
        self._waiting: deque[Event] = deque()
        self._lock = Lock()
        self._mine = local()

    @contextmanager
    def turn(self, check: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Wait for a turn, and have it; `check` is called while it waits, and may raise to leave."""
        self._enter(check)
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def paused(self, check: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Let others draw inside, while this thread waits for something else; nothing where it has no turn."""
        if not getattr(self._mine, "turn", False):
            yield
            return
        self._leave()
        yield
        self._enter(check)

    def _enter(self, check: Callable[[], object]) -> None:
        mine, deadline = Event(), monotonic() + self.patience
        with self._lock:
            self._waiting.append(mine)
            self._admit()
        try:
            while not mine.wait(SLICE):
                check()
                if monotonic() >= deadline:
                    break
        except BaseException:
            with self._lock:
                self._give_up(mine)
            raise
        with self._lock:
            if not mine.is_set():
                self._waiting.remove(mine)
                self._free -= 1
        self._mine.turn = True

    def _leave(self) -> None:
        if getattr(self._mine, "turn", False):
            self._mine.turn = False
            with self._lock:
                self._free += 1
                self._admit()

    def _give_up(self, mine: Event) -> None:
        if mine.is_set():
            self._free += 1
            self._admit()
        else:
            self._waiting.remove(mine)

    def _admit(self) -> None:
        while self._free > 0 and self._waiting:
            self._free -= 1
            self._waiting.popleft().set()


drawing = Turns(AT_A_TIME, PATIENCE)


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
        ((_, result),) = found
        return result
