"""What the explorer did: one line per event, for whoever looks after a server for weeks.

    2026-01-02T03:04:05Z measured seconds=1.42 sessions=1a2b3c4d what="evaluation bundled antonym 5-shot fixed"

A line holds no prompt and no place on the disk: a look at a prompt is "a look", an error its kind
alone, a session a few digits that tell it from others. The file is turned over at `SIZE` bytes, and `KEPT` older ones
stay. A disk without room ends nothing: then lines are missing.
"""

from __future__ import annotations

import hashlib
import logging
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from .. import demo
from ..kinds.unit import Unit

FILE = "explorer.log"
SIZE, KEPT = 1_000_000, 5

_log = logging.getLogger("headroom.journal")
_log.propagate = False
_log.setLevel(logging.INFO)
_log.addHandler(logging.NullHandler())


class _Quiet(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Nothing."""


def keep_in(folder: str | Path) -> None:
    """Write the journal into a folder from now on; where it cannot be written there, nowhere."""
    for old in list(_log.handlers):
        _log.removeHandler(old)
        old.close()
    path, handler = Path(folder) / FILE, logging.NullHandler()  # type: Path, logging.Handler
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)  # a demo over no store makes none
        if not path.is_symlink():  # a store may come from anybody
            handler = _Quiet(path, maxBytes=SIZE, backupCount=KEPT, encoding="utf-8", delay=True)
    formatter = logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    _log.addHandler(handler)


def trouble(what: str, error: BaseException) -> None:
    """Something unforeseen, for the log of the command that started Headroom: where it came from and, but for a demo,
    what it says; that may hold words of a visitor's prompt."""
    log = logging.getLogger("headroom")
    if demo.on():
        log.error("%s: %s\n%s", what, type(error).__name__, "".join(traceback.format_tb(error.__traceback__)).rstrip())
    else:
        log.error("%s", what, exc_info=error)


def note(event: str, unit: Unit[Any] | None, sessions: Iterable[str], seconds: float, error: BaseException | None = None
         ) -> None:
    """One event.

    Args:
        event: what happened, in a word.
        unit: what was measured; None: a look at a prompt.
        sessions: who waited for it.
    """
    who = ",".join(sorted({hashlib.sha256(session.encode()).hexdigest()[:8] for session in sessions})) or "nobody"
    what = "a look" if unit is None else str(unit)
    why = f" error={type(error).__name__}" if error is not None else ""
    quoted = what[:300].encode("unicode_escape").decode().replace('"', "'")
    _log.info('%s seconds=%.2f sessions=%s%s what="%s"', event, seconds, who, why, quoted)
