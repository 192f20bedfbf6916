"""Claims: one owner at a time, none for ever."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend import places
from backend.runs import leases, processes
from backend.runs.leases import PATIENCE, Leases


class Clock:
    """A clock that somebody else turns."""

    time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def another(folder: Path, key: str, pid: int | None = None, machine: str | None = None, born: str = "then") -> None:
    """A claim of another process: of another machine unless told otherwise."""
    with Leases(folder) as mine:
        mine._me = (machine or "far away", pid or 4, born)
        assert mine.claim(key)
        mine._held.clear()  # leaving gives nothing up


def beat(folder: Path) -> None:
    file = sqlite3.connect(folder / leases.FILE)
    with file:
        file.execute("UPDATE claims SET beat = beat + 1")
    file.close()


def test_a_result_is_one_owner_s_until_it_is_given_up(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        another(tmp_path, "a", process.pid, processes.machine(), processes.birth(process.pid))
        with Leases(tmp_path) as mine:
            assert not mine.claim("a")
            assert mine.claim("b")
            assert mine.claim("b")
    finally:
        process.communicate()
    with Leases(tmp_path) as mine:
        assert mine.claim("a")  # its owner is gone


def test_a_claim_ends_with_its_owner_s_process_even_if_the_number_is_given_away(tmp_path):
    another(tmp_path, "a", os.getpid(), processes.machine(), f"{processes.machine()} 1")
    with Leases(tmp_path) as mine:
        assert mine.claim("a")


def test_leaving_gives_up_everything_that_is_mine_and_nothing_else(tmp_path):
    another(tmp_path, "a")
    with Leases(tmp_path) as mine:
        assert mine.claim("b")
    file = sqlite3.connect(tmp_path / leases.FILE)
    assert file.execute("SELECT key FROM claims").fetchall() == [("a",)]
    file.close()


def test_a_claim_that_cannot_be_seen_from_here_ends_when_its_heart_has_stood_still(tmp_path, clock):
    another(tmp_path, "a")
    with Leases(tmp_path, clock) as mine:
        assert not mine.claim("a")
        clock.time += PATIENCE - 1
        assert not mine.claim("a")
        beat(tmp_path)
        clock.time += 2
        assert not mine.claim("a")
        clock.time += PATIENCE - 1
        assert not mine.claim("a")
        clock.time += 1
        assert mine.claim("a")


def test_no_clock_that_is_set_back_or_forth_ends_a_claim(tmp_path, clock, monkeypatch):
    another(tmp_path, "a")
    with Leases(tmp_path, clock) as mine:
        for when in (5e9, 1.0, 0.0):
            monkeypatch.setattr(time, "time", lambda when=when: when)
            assert not mine.claim("a")
        clock.time += PATIENCE
        assert mine.claim("a")


def test_a_heart_beats_while_something_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.01)

    def beats() -> int:
        file = sqlite3.connect(tmp_path / leases.FILE)
        (found,) = file.execute("SELECT beat FROM claims").fetchone()
        file.close()
        return found

    with Leases(tmp_path) as mine:
        mine.claim("a")
        first, deadline = beats(), time.monotonic() + 60
        while beats() == first:
            assert time.monotonic() < deadline


@pytest.mark.parametrize("damage", ["no database", "a link", "a folder", "another table", "an endless view",
                                    "read only"])
def test_where_nothing_can_be_claimed_everything_may_be_computed(tmp_path, damage):
    path = tmp_path / leases.FILE
    if damage == "no database":
        path.write_bytes(b"no such thing" * 100)
    elif damage == "a link":
        path.symlink_to(tmp_path / "elsewhere")
    elif damage == "a folder":
        path.mkdir()
    elif damage == "another table":
        file = sqlite3.connect(path)
        file.execute("CREATE TABLE claims (other)")
        file.close()
    elif damage == "an endless view":
        file = sqlite3.connect(path)
        file.execute("CREATE VIEW claims AS WITH RECURSIVE n(key) AS (SELECT 1 UNION ALL SELECT key + 1 FROM n) "
                     "SELECT key, 0 AS machine, 0 AS pid, 0 AS born, 0 AS beat FROM n")
        file.close()
    else:
        tmp_path = tmp_path / "no such folder"
    with Leases(tmp_path) as mine:
        assert mine.claim("a")
        mine.release("a")
    assert not (tmp_path / "elsewhere").exists()


RACER = """
import sys
from pathlib import Path
from backend.runs.leases import Leases
mine = Leases(Path(sys.argv[1]))
sys.stdin.readline()
print(*[key for key in map(str, range(40)) if mine.claim(key)], flush=True)
sys.stdin.readline()  # alive, so that its claims stand
"""


def test_of_several_processes_that_claim_at_once_each_result_goes_to_one(tmp_path):
    racers = [subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, cwd=places.CHECKOUT) for _ in range(3)]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    claimed = [key for racer in racers for key in racer.stdout.readline().split()]
    for racer in racers:
        racer.communicate()
    assert sorted(claimed) == sorted(map(str, range(40)))


def test_threads_of_one_process_may_claim_at_once(tmp_path):
    with Leases(tmp_path) as mine, ThreadPoolExecutor(4) as pool:
        assert all(pool.map(mine.claim, [f"{i}" for i in range(40)]))


def test_a_heart_keeps_no_process_alive(tmp_path):
    leases = Leases(tmp_path)
    (heart,) = [one for one in threading.enumerate() if one.name == "headroom-leases"]
    assert heart.daemon
    leases.__exit__()
    assert not heart.is_alive()


def test_a_claim_is_on_record_with_the_birth_of_its_process(tmp_path):
    with Leases(tmp_path) as mine:
        assert mine.claim("a")
        file = sqlite3.connect(tmp_path / leases.FILE)
        found = file.execute("SELECT machine, pid, born FROM claims").fetchall()
        file.close()
    assert found == [(processes.machine(), os.getpid(), processes.birth(os.getpid()))]
    assert found[0][2]
