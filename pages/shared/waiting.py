"""Waiting for the queue in a page's run, so that a newer click ends the waiting at once.

Streamlit ends a run at the next call that draws or touches the session's state, when the whole page is to run again or
the session is gone; a run that only waits reaches no such call. `stopped` is one, without a message to the browser. A
click inside a fragment never ends the run under way, it comes after it; so a fragment that waits gives way when it is
itself to run again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType

from backend.errors import Cancelled
from pages.shared import selection

if TYPE_CHECKING:
    from backend.models.loading import LoadedModel

T = TypeVar("T")
SLICE = 0.05  # seconds between looks whether something newer was clicked


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
        while not (found := ticket.take()):
            if ticket.error is not None:
                raise ticket.error
            if ticket.dropped:
                raise Cancelled("Something newer of this visitor took the place of this look.")
            ticket.wait(SLICE)
            stopped()
        ((_, result),) = found
        return result
