"""A bell: lets a fragment be drawn again in other people's browsers, at once or after some seconds.

Streamlit runs a session only when its own browser asks. Here one session asks for others, as their browsers would by
`run_every`, so that nobody has to ask every half second whether something has happened. What it calls inside Streamlit
is pinned with it and tried in the browser tests; a fragment that listens also has a slow `run_every`, which alone would
do, only later.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock, Timer

from streamlit.proto.ClientState_pb2 import ContextInfo
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState


@dataclass(frozen=True)
class _Listener:
    """A fragment of a session, as it was drawn last."""

    fragment_id: str
    page: str
    query: str
    context: ContextInfo | None
    teaching: bool


class Bell:
    """Who listens in which room. Bounded by the sessions that are open."""

    def __init__(self) -> None:
        self._rooms: dict[str, dict[str, _Listener]] = {}  # room -> session -> what is drawn again
        self._lock = Lock()

    def listen(self, room: str, teaching: bool) -> None:
        """Draw the fragment that calls this again when the room's bell rings."""
        ctx, fragment = get_script_run_ctx(), ThreadState.get().fragment_id
        if ctx is None or fragment is None:
            return
        with self._lock:
            for others in self._rooms.values():
                others.pop(ctx.session_id, None)
            self._rooms.setdefault(room, {})[ctx.session_id] = _Listener(
                fragment, ctx.page_script_hash, ctx.query_string, ctx.context_info, teaching)
            self._rooms = {code: sessions for code, sessions in self._rooms.items() if sessions}

    def ring(self, room: str, teacher_only: bool = False) -> None:
        """Let everybody in a room, but the caller, see what has changed."""
        if not Runtime.exists():
            return
        ctx = get_script_run_ctx(suppress_warning=True)  # a timer has none
        own = ctx.session_id if ctx else ""
        with self._lock:
            wanted = {session: one for session, one in self._rooms.get(room, {}).items()
                      if session != own and (one.teaching or not teacher_only)}
        if wanted:
            runtime = Runtime.instance()
            runtime._get_async_objs().eventloop.call_soon_threadsafe(self._draw, runtime, room, wanted)

    def ring_after(self, room: str, seconds: float) -> None:
        """The same after some seconds."""
        timer = Timer(seconds, self.ring, (room,))
        timer.daemon = True
        timer.start()

    def _draw(self, runtime: Runtime, room: str, wanted: dict[str, _Listener]) -> None:
        """On the server's own thread, like every request for a run."""
        for session_id, one in wanted.items():
            active = runtime._session_mgr.get_active_session_info(session_id)
            if active is None:  # the browser has gone
                with self._lock:
                    self._rooms.get(room, {}).pop(session_id, None)
                continue
            session = active.session
            if not session.has_fragment(one.fragment_id):  # it shows another page by now
                continue
            # No widget states: those that the session has stay, and so does what somebody is just writing.
            data = RerunData(query_string=one.query, page_script_hash=one.page, fragment_id=one.fragment_id,
                             is_auto_rerun=True, context_info=one.context)
            runner = session._scriptrunner
            if runner is None or not runner.request_rerun(data):
                session._create_scriptrunner(data)
