"""Runs on Ray's workers, for real: killed workers and killed drivers, on two processors of this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from backend.__main__ import DONE, INTERRUPTED
from backend.runs import jobs
from backend.store import bundles
from backend.store.live import Store

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason=(
    "Ray is not installed: `pip install -r requirements-dev.txt` brings it"))

ROOT = Path(__file__).parents[2]
PLAN = ["--tasks", "antonym,capital", "--shots", "5", "--n-examples", "40", "--n-train", "40", "--no-shipped",
        "--what", "accuracy,importance,heads,pruning", "--remove", "heads", "--by", "own"]
READY = re.compile(r"Worker (\d+) is ready \(process (\d+) on ")
PATIENCE = 240.0  # seconds; a quiet machine takes ten


class Run:
    """A command of one's own, and what it has said so far."""

    def __init__(self, store: Path, *more: str) -> None:
        env = {name: value for name, value in os.environ.items() if name != jobs.JOB_SETTING}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backend", "precompute", "--store", str(store), *PLAN, *more], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**env, "OMP_NUM_THREADS": "1",
                                                                   "PYTHONUNBUFFERED": "1"})
        self.said = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.said += line

    def until(self, told: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not told(self.said):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def end(self) -> int:
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        return code

    def workers(self) -> dict[str, int]:
        return {number: int(pid) for number, pid in READY.findall(self.said)}

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def run(tmp_path) -> Iterator[Callable[..., Run]]:
    started: list[Run] = []

    def begin(store: str, *more: str) -> Run:
        started.append(Run(tmp_path / store, *more))
        return started[-1]

    yield begin
    for one in started:
        one.process.terminate()
        one.end()


def exported(store: Path) -> bytes:
    with Store(store) as opened:
        bundles.export(store / "all.zip", opened, opened.units())
    return (store / "all.zip").read_bytes()


def results(said: str) -> int:
    """How many units have been told of."""
    return len(re.findall(r"^\[\d+/\d+\] .+ s$", said, re.MULTILINE))


def outside(processes: list[psutil.Process]) -> set[str]:
    """Addresses beyond this machine's loopback that processes listen at or speak to."""
    found = set()
    for process in processes:
        try:
            sockets = process.net_connections("inet")
        except psutil.Error:
            continue
        found |= {end.ip for socket in sockets for end in (socket.laddr, socket.raddr) if end}
    return {ip for ip in found if not ip.removeprefix("::ffff:").startswith("127.") and ip != "::1"}


def test_a_worker_killed_in_the_middle_changes_no_byte_of_what_is_exported(run, tmp_path):
    shared = run("shared", "--cluster", "local", "--workers", "2")
    shared.until(lambda said: len(READY.findall(said)) == 2 and results(said) >= 1)
    family = shared.family()
    assert len(family) > 2
    assert outside(family) == set()
    os.kill(shared.workers()["1"], signal.SIGKILL)
    assert shared.end() == DONE, shared.said
    assert re.search(r"^Worker 1 died, and another one takes its place\..* It had \w+ bundled", shared.said, re.M)
    assert "(raylet)" not in shared.said  # all that is said is ours
    alone = run("alone")
    assert alone.end() == DONE
    assert exported(tmp_path / "shared") == exported(tmp_path / "alone")


def test_a_killed_driver_leaves_what_was_stored_and_an_interrupted_one_too(run, tmp_path):
    command = ("store", "--cluster", "local", "--workers", "1", "--threads-per-worker", "1")
    killed = run(*command)
    killed.until(lambda said: results(said) >= 1)
    (worker,) = killed.workers().values()
    killed.process.kill()
    killed.end()
    deadline = time.monotonic() + PATIENCE
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with Store(tmp_path / "store") as store:
        first = set(store.units())
    assert first
    (job,) = jobs.jobs(tmp_path / "store")
    assert jobs.progress(job).state == "died"

    again = run(*command)
    again.until(lambda said: results(said) >= 1)
    left = again.family()
    again.process.send_signal(signal.SIGINT)
    assert again.end() == INTERRUPTED
    assert "Stopped. What was finished is stored" in again.said
    assert "Traceback" not in again.said
    assert psutil.wait_procs(left, 30)[1] == []
    with Store(tmp_path / "store") as store:
        second = set(store.units())
    assert len(second) >= len(first) + 1
    assert not any(str(unit) in again.said.partition("ready")[2] for unit in first)
