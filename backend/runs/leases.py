"""Who is computing which result of a store now, so that several runs on one grid share it.

A run claims a result before it computes it and gives it up afterwards; what another one has claimed it leaves for
later. A claim ends with its owner: a process that is gone on this machine is known by its birth (see `processes`), one
that cannot be seen from here, or stands still, by its heartbeat. A heartbeat is a number that its owner raises; whoever
waits counts on a clock of its own for how long it has not risen, so no two clocks are compared, and a clock that is set
back changes nothing.

All claims lie in one small SQLite file beside the store, which serialises those who claim at a time. A claim is a
courtesy: where it cannot be written, a run computes what another one may be computing too, and the store keeps one of
the two.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from . import processes

FILE = "leases.db"
BEAT = 5.0  # seconds between two heartbeats
PATIENCE = 60.0  # seconds without a heartbeat after which a claim ends
ENDLESS = 10_000_000  # steps of a statement's program after which it is given up; ours take hundreds
BUSY = 10.0  # seconds to wait for others who claim


class Leases:
    """The claims on a store, and this process's own among them."""

    def __init__(self, folder: str | Path, now: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            now: the clock on which other claims' heartbeats are watched, in seconds.
        """
        self._path, self._now = Path(folder) / FILE, now
        self._me = (processes.machine(), os.getpid(), processes.birth(os.getpid()) or "")
        self._watched: dict[str, tuple[tuple[object, ...], float]] = {}  # a claim as it was, and since when it is so
        self._held: set[str] = set()
        self._ending = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="headroom-leases", daemon=True)
        self._heart.start()

    def __enter__(self) -> Leases:
        return self

    def __exit__(self, *_: object) -> None:
        """Give up all claims."""
        self._ending.set()
        self._heart.join()
        for key in list(self._held):
            self.release(key)

    def claim(self, key: str) -> bool:
        """Whether a result is this process's to compute from now on: nobody else's, or its owner is gone."""
        try:
            with closing(self._open()) as file:
                file.execute("BEGIN IMMEDIATE")
                claimed = file.execute("SELECT machine, pid, born, beat FROM claims WHERE key = ?", (key,)).fetchone()
                if claimed is not None and self._holds(key, claimed):
                    file.execute("ROLLBACK")
                    return False
                file.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, 0)", (key, *self._me))
                file.execute("COMMIT")
        except (sqlite3.Error, OSError):
            return True  # nobody can be told
        self._held.add(key)
        return True

    def release(self, key: str) -> None:
        """Give up a claim."""
        self._held.discard(key)
        with suppress(sqlite3.Error, OSError), closing(self._open()) as file:
            file.execute("DELETE FROM claims WHERE key = ? AND machine = ? AND pid = ? AND born = ?", (key, *self._me))

    def _holds(self, key: str, claimed: tuple[object, ...]) -> bool:
        """Whether a claim still stands against this process."""
        machine, pid, born, _ = claimed
        if not isinstance(pid, int) or not isinstance(born, str) or (machine, pid, born) == self._me:
            return False
        if machine == self._me[0] and not processes.is_alive(pid, born):
            return False
        seen, since = self._watched.get(key, (None, 0.0))
        if seen != claimed:
            self._watched[key] = claimed, self._now()
            return True
        return self._now() - since < PATIENCE

    def _beat(self) -> None:
        while not self._ending.wait(BEAT):
            if self._held:
                with suppress(sqlite3.Error, OSError), closing(self._open()) as file:
                    file.execute("UPDATE claims SET beat = beat + 1 WHERE machine = ? AND pid = ? AND born = ?",
                                 self._me)

    def _open(self) -> sqlite3.Connection:
        if self._path.is_symlink():
            raise OSError("a store may come from anybody, and no claim leads out of it")
        file = sqlite3.connect(self._path, timeout=BUSY, isolation_level=None)
        file.set_progress_handler(lambda: True, ENDLESS)  # what came with a store may never end
        try:
            file.execute("CREATE TABLE IF NOT EXISTS claims "
                         "(key TEXT PRIMARY KEY, machine TEXT, pid INTEGER, born TEXT, beat INTEGER)")
        except sqlite3.Error:
            file.close()
            raise
        return file
