"""Long work: a process of its own that runs the command line's own command, watched through the store's folder.

Closing the page, reloading or restarting the app changes nothing. Each run has a folder under `jobs/` in the
store: what it is (`job.json`), how far it is (`progress.json`), what it said (`log.txt`) and, when somebody wants
it to end, a file `stop`, which it looks for between batches. A run started in a terminal shows up the same way.
To resume, start the same command again: what is stored is skipped.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from backend import places
from backend.errors import BadInput, StoreError
from backend.store.entries import replace_file

ROOT = Path(__file__).resolve().parents[2]
JOB_SETTING = "HEADROOM_JOB"  # tells a started command which folder is its own
ENDED = ("done", "failed", "cancelled", "died")


@dataclass(frozen=True)
class Job:
    """One run of a command."""

    folder: Path
    args: tuple[str, ...]  # of `python -m backend`
    pid: int
    born: float  # when the system says the process began: another process with its number is not it
    started: float  # Unix time

    @property
    def id(self) -> str:
        return self.folder.name


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    state: str = "starting"  # starting, running, done, failed, cancelled, died
    unit: str = ""  # what is being computed
    done: int = 0  # batches of that unit
    total: int = 0
    units_done: int = 0
    units_total: int = 0
    seconds_left: float | None = None  # None: not known yet
    message: str = ""  # one sentence, once it has ended
    updated: float = 0.0  # Unix time

    @property
    def ended(self) -> bool:
        return self.state in ENDED


def command_line(args: Sequence[str]) -> str:
    """The command as one would type it."""
    return shlex.join(["python", "-m", "backend", *args])


def start(args: Sequence[str], store_folder: str | Path | None = None) -> Job:
    """Run `python -m backend ARGS --store FOLDER` as a process that outlives this one.

    Raises:
        StoreError: if the folder cannot be written or the process cannot start.
    """
    store = _folder(store_folder)
    folder = _new_folder(store)
    full = [*args, *([] if "--store" in args else ["--store", str(store)])]
    try:
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "backend", *full], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env={**os.environ, JOB_SETTING: str(folder), "PYTHONUNBUFFERED": "1"})
    except OSError as error:
        raise StoreError(f"The command could not be started: {error}.") from error
    threading.Thread(target=process.wait, name=f"reaper of {process.pid}", daemon=True).start()  # leaves no zombie
    return _register(folder, full, process.pid)


def jobs(store_folder: str | Path | None = None) -> list[Job]:
    """All runs on a store, the newest first."""
    found = []
    for path in sorted(_folder(store_folder).glob("jobs/*/job.json"), reverse=True):
        try:
            value = json.loads(path.read_bytes())
            found.append(Job(path.parent, tuple(map(str, value["args"])), int(value["pid"]), float(value["born"]),
                             float(value["started"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written, or removed, by another process
    return found


def progress(job: Job) -> Progress:
    """How far a run is; a run whose process is gone without a last word has died."""
    alive = is_running(job)  # asked first: a run may end between the two questions
    now = _read(job.folder)
    if now.ended or alive:
        return now
    last = log_tail(job, 1).strip()
    return replace(now, state="died", seconds_left=None, message=(
        "The process ended before its work did" + (f" (its last words: {last})" if last else "") +
        ". What was finished is stored: start it again to go on."))


def is_running(job: Job) -> bool:
    """Whether the very process that was started is still at work."""
    try:
        process = psutil.Process(job.pid)
        return abs(process.create_time() - job.born) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def cancel(job: Job) -> None:
    """Ask a run to stop after the batch under way. What was finished stays stored."""
    if job.folder.is_dir():
        (job.folder / "stop").touch()


def kill(job: Job) -> None:
    """End a run at once: at most the unit under way is lost. For one that does not answer to `cancel`."""
    if is_running(job):
        psutil.Process(job.pid).kill()


def resume(job: Job) -> Job:
    """Start the same command again on the same store; what is stored is skipped."""
    return start(job.args, job.folder.parents[1])


def forget(job: Job) -> None:
    """Remove what is kept about a run that has ended; its results stay.

    Raises:
        BadInput: if it is still running.
    """
    if is_running(job):
        raise BadInput("This run is still at work. Stop it first.")
    shutil.rmtree(job.folder, ignore_errors=True)


def log_tail(job: Job, n_lines: int = 20) -> str:
    """The last lines that a run wrote."""
    try:
        with (job.folder / "log.txt").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 200 * n_lines))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-n_lines:])
    except OSError:
        return ""


class Report:
    """A run's own side: it says how far it is, and hears when it should stop."""

    EVERY = 0.2  # seconds between two writes, or two looks for `stop`

    def __init__(self, store_folder: str | Path, args: Sequence[str]) -> None:
        given = os.environ.get(JOB_SETTING)
        self.folder = Path(given) if given else _new_folder(_folder(store_folder))
        self.job = _register(self.folder, args, os.getpid())
        self.now = Progress()
        self._written = self._looked = 0.0
        self._stop = False

    def update(self, at_once: bool = False, **changes: object) -> None:
        """Change the progress; written at most every `EVERY` seconds unless `at_once`."""
        self.now = replace(self.now, updated=time.time(), **changes)  # type: ignore[arg-type]
        if at_once or time.monotonic() - self._written > self.EVERY:
            self._written = time.monotonic()
            _write(self.folder, self.now)

    def stop_requested(self) -> bool:
        """Whether somebody asked this run to stop."""
        if not self._stop and time.monotonic() - self._looked > self.EVERY:
            self._looked = time.monotonic()
            self._stop = (self.folder / "stop").exists()
        return self._stop


def last_word(state: str, message: str) -> None:
    """In a process that `start` started: how it ended, unless that was said already. Elsewhere nothing."""
    if folder := os.environ.get(JOB_SETTING):
        now = _read(Path(folder))
        if not now.ended:
            _write(Path(folder), replace(now, state=state, message=message, seconds_left=None, updated=time.time()))


def _read(folder: Path) -> Progress:
    try:
        return Progress(**json.loads((folder / "progress.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return Progress()


def _write(folder: Path, now: Progress) -> None:
    replace_file(folder / "progress.json", json.dumps(asdict(now)).encode())


def _folder(store_folder: str | Path | None) -> Path:
    return Path(store_folder or places.live()).resolve()


def _new_folder(store: Path) -> Path:
    folder = store / "jobs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"The folder {folder} cannot be made ({error}). Make the store's folder writable, or name "
                         "another one in HEADROOM_CACHE.") from error
    return folder


def _register(folder: Path, args: Sequence[str], pid: int) -> Job:
    try:
        born = psutil.Process(pid).create_time()
    except psutil.Error:
        born = 0.0  # gone already
    job = Job(folder, tuple(args), pid, born, time.time())
    replace_file(folder / "job.json", json.dumps(
        {"args": job.args, "pid": pid, "born": born, "started": job.started}).encode())
    return job
