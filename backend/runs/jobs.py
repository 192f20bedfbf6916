"""Long work: a process of its own that runs the command line's own command, watched through the store's folder.

Closing the page, reloading or restarting the app changes nothing. Each run has a folder under `jobs/` in the
store: what it is (`job.json`), how far it is (`progress.json`), what it said (`log.txt`) and, when somebody wants
it to end, a file `stop`, which it looks for between batches. A run started in a terminal shows up the same way.
To resume, start the same command again: what is stored is skipped.

A store may come from anybody, and with it what looks like runs. A run is one of `arguments.RUNS` on this very store,
whose folder is this user's and whose record carries this user's seal (`seal`); a process is ended only if it is the one
on record and runs that command. Whatever else lies there is a `Stranger`: named, with the reason, and never started,
ended, asked or removed.

What a run writes about itself never ends it: on a full disk it goes on unseen.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import demo, places
from ..errors import BadInput, StoreError
from ..store.entries import replace_file
from . import arguments, processes, seal

JOB_SETTING = "HEADROOM_JOB"  # tells a started command which folder is its own
ENDED = ("done", "failed", "cancelled", "died")
STATES = ("starting", "running", *ENDED)
MOST_BYTES = 1 << 18  # of a record, or of a progress; this program writes a few hundred
MOST_FOLDERS = 1000  # looked at, the newest; this program makes one a run
LOG_BYTES = 5_000_000  # of a run's log before it is turned over; the one before is kept
LONGEST = 2000  # characters of a text in a progress
_STAMP = "%Y%m%d-%H%M%S"
_NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")  # of a run's folder, as `_new_folder` makes it


@dataclass(frozen=True)
class Job:
    """One run of a command."""

    folder: Path
    args: tuple[str, ...]  # of the command line
    pid: int
    born: str  # its birth (see `processes`): another process with its number is not it
    started: float  # Unix time

    @property
    def id(self) -> str:
        return self.folder.name


@dataclass(frozen=True)
class Stranger:
    """Something among the runs that this user's Headroom did not start on this store."""

    name: str  # of the folder; any characters that a file system takes
    why: str


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
    return f"{places.COMMAND} {shlex.join(args)}"


def start(args: Sequence[str], store_folder: str | Path | None = None) -> Job:
    """Run a command of Headroom on a store as a process that outlives this one.

    Raises:
        StoreError: if the folder cannot be written or the process cannot start.
        BadInput: in a demo.
    """
    demo.refuse("start runs")
    store = _folder(store_folder)
    folder = _new_folder(store)
    here = ["--store", str(store)]  # the last one counts
    full = [*args, *(here if list(args[-2:]) != here else [])]
    try:
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", places.NAME, *full], cwd=places.CHECKOUT, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
                env={**os.environ, JOB_SETTING: str(folder), "PYTHONUNBUFFERED": "1"})
    except OSError as error:
        raise StoreError(f"The command could not be started: {error}.") from error
    threading.Thread(target=process.wait, name=f"reaper of {process.pid}", daemon=True).start()  # leaves no zombie
    return _register(folder, full, process.pid)


def jobs(store_folder: str | Path | None = None) -> list[Job]:
    """All runs on a store, the newest first."""
    return [found for found in _look(_folder(store_folder)) if isinstance(found, Job)]


def strangers(store_folder: str | Path | None = None) -> list[Stranger]:
    """What lies among the runs of a store and is none that this user's Headroom started there."""
    return [found for found in _look(_folder(store_folder)) if isinstance(found, Stranger)]


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
    return processes.is_alive(job.pid, job.born)


def cancel(job: Job) -> None:
    """Ask a run to stop after the batch under way. What was finished stays stored.

    Raises:
        StoreError: if it cannot be asked.
        BadInput: in a demo.
    """
    demo.refuse("stop runs")
    if not job.folder.is_dir() or stop_asked_at(job) is not None:
        return
    try:
        os.close(os.open(job.folder / "stop", os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o644))
    except OSError as error:
        raise StoreError(f"The run cannot be asked to stop ({error.strerror}): {job.folder} cannot be written. Make "
                         "room there, or end the process at once.") from error


def stop_asked_at(job: Job) -> float | None:
    """When somebody asked a run to stop, Unix time; None if nobody did."""
    try:
        return (job.folder / "stop").lstat().st_mtime
    except OSError:
        return None


def kill(job: Job) -> None:
    """End a run at once: at most the unit under way is lost. For one that does not answer to `cancel`.

    Raises:
        BadInput: if the process on record is not this user's, or does something else; or in a demo.
    """
    demo.refuse("end runs")
    if not is_running(job):
        return
    if not processes.is_mine(job.pid, job.born, job.args):
        raise BadInput(f"Process {job.pid} was not started by this Headroom as `{command_line(job.args)}`, so it is "
                       "left alone.")
    os.kill(job.pid, signal.SIGKILL)


def why_not_resumed(job: Job) -> str:
    """Why a run is not started again from here, in a sentence; empty where it can be."""
    return ("It also writes files elsewhere (--ship), which is started from a terminal only."
            if getattr(arguments.read(job.args), "ship", None) is not None else "")


def resume(job: Job) -> Job:
    """Start the same command again on the same store; what is stored is skipped.

    Raises:
        BadInput: if it is not one that may be started from here, or in a demo.
        StoreError: as `start`.
    """
    demo.refuse("resume runs")
    store = job.folder.parents[1]
    if problem := _why_not_ours(job.args, store) or why_not_resumed(job):
        raise BadInput(problem)
    now = _told(job.folder)
    if not isinstance(now, Job) or now.args != job.args:
        raise BadInput("The record of this run has changed, or is gone. Start the command anew.")
    return start(job.args, store)


def forget(job: Job) -> None:
    """Remove what is kept about a run that has ended; its results stay.

    Raises:
        BadInput: if it is still running, or in a demo.
    """
    demo.refuse("remove runs")
    if is_running(job):
        raise BadInput("This run is still at work. Stop it first.")
    shutil.rmtree(job.folder, ignore_errors=True)


def log_tail(job: Job, n_lines: int = 20) -> str:
    """The last lines that a run wrote."""
    try:
        with _open(job.folder / "log.txt") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 200 * n_lines))
            return "\n".join(log.read(200 * n_lines).decode(errors="replace").splitlines()[-n_lines:])
    except OSError:
        return ""


# --- what lies in the folder --------------------------------------------------------------------


def _look(store: Path) -> list[Job | Stranger]:
    """The folders under `jobs/`, the newest first, as what they are; those that are just being made are left out."""
    place = store / "jobs"
    try:
        if place.is_symlink():
            return [Stranger("jobs", "It is a link to another place.")]
        names = sorted(os.listdir(place), reverse=True)
    except OSError:
        return []
    names.sort(key=lambda name: _NAME.fullmatch(name) is None)  # strangers do not crowd out runs
    found = [_told(place / name) for name in names[:MOST_FOLDERS]]
    return [one for one in found if one is not None]


def _told(folder: Path) -> Job | Stranger | None:
    """A run, or why it is none; None for one of which nothing is on record yet."""
    try:
        place = folder.lstat()
        if not stat.S_ISDIR(place.st_mode):
            raise BadInput("It is no folder.")
        if place.st_uid != os.getuid():
            raise BadInput("It belongs to another user.")
        if not _NAME.fullmatch(folder.name):
            raise BadInput("It is not named as a run is.")
        value = _json(folder / "job.json")
        job = _job(folder, value)
        if problem := _why_not_ours(job.args, folder.parents[1]):
            raise BadInput(problem)
        if not seal.holds(_sealed(job), value.get("seal")):
            raise BadInput("It was not started by this user's Headroom.")
    except FileNotFoundError:
        return None  # being made, or removed, by another process
    except OSError as error:
        return Stranger(folder.name, f"It cannot be read ({error.strerror}).")
    except BadInput as error:
        return Stranger(folder.name, str(error))
    return job


def _job(folder: Path, value: Any) -> Job:
    """Raises: BadInput: if the value is no record of a run."""
    record: dict[str, Any] = value if isinstance(value, dict) else {}
    args, pid, born, started = (record.get(name) for name in ("args", "pid", "born", "started"))
    if isinstance(born, float):  # of a version that told processes by the clock; none of its runs is at work any more
        born = ""
    if not (isinstance(args, list) and args and all(isinstance(arg, str) for arg in args)
            and type(pid) is int and 0 <= pid < 2**31 and isinstance(born, str)
            and started is not None and _is_number(started)):
        raise BadInput("Its record is damaged, or not one of this version.")
    return Job(folder, tuple(args), pid, born, float(started))


def _sealed(job: Job) -> list[object]:
    """What of a run its seal is of."""
    return ["run", job.id, list(job.args), job.pid, job.born, job.started]


@lru_cache(maxsize=256)
def _why_not_ours(args: tuple[str, ...], store: Path) -> str:
    """Why a command is no run on a store, in a sentence; empty where it is."""
    try:
        given = arguments.read(args)
    except BadInput as error:
        return f"Its command is none that a run has. {str(error)[:200]}"
    if given.store is not None and os.path.isabs(given.store) and Path(given.store).resolve() != store:
        return "Its command is about another store."
    return ""


def _open(path: Path) -> Any:
    """A plain file of the folder, for reading: no link out of it, and nothing that would be waited for.

    Raises:
        OSError: if it is none.
    """
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(None, "it is no plain file")
    return open(number, "rb")


def _json(path: Path) -> Any:
    """The value in a small file. Raises: OSError: if it cannot be read. BadInput: if it is large, or no JSON."""
    with _open(path) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BadInput(f"Its {path.name} has more than {MOST_BYTES // 1024} KiB.")
    try:
        value = json.loads(content)
        json.dumps(value, ensure_ascii=False).encode()  # halves of characters are no text
    except (ValueError, RecursionError):
        raise BadInput(f"Its {path.name} is no JSON.") from None
    return value


def _is_number(value: Any, most: float = 1e10) -> bool:
    """Whether it is a number from 0 to ten thousand million: a count, or seconds."""
    return type(value) in (int, float) and 0 <= value <= most and math.isfinite(value)


# --- a run's own side -----------------------------------------------------------------------------


class Report:
    """A run's own side: it says how far it is, and hears when it should stop. Where it cannot be heard it works on."""

    EVERY = 0.2  # seconds between two writes, or two looks for `stop`

    def __init__(self, store_folder: str | Path, args: Sequence[str]) -> None:
        self.now = Progress()
        self._written = self._looked = 0.0
        self._stop = False
        self.job: Job | None = None  # None: there was no room to say that it is at work
        given = os.environ.get(JOB_SETTING)
        try:
            self.job = _register(Path(given) if given else _new_folder(_folder(store_folder)), args, os.getpid())
        except StoreError:
            return

    def update(self, at_once: bool = False, **changes: object) -> None:
        """Change the progress; written at most every `EVERY` seconds unless `at_once`."""
        self.now = replace(self.now, updated=time.time(), **changes)  # type: ignore[arg-type]
        if self.job and (at_once or time.monotonic() - self._written > self.EVERY):
            self._written = time.monotonic()
            _write(self.job.folder, self.now)
            _turn_over(self.job.folder / "log.txt")

    def stop_requested(self) -> bool:
        """Whether somebody asked this run to stop."""
        if self.job and not self._stop and time.monotonic() - self._looked > self.EVERY:
            self._looked = time.monotonic()
            self._stop = stop_asked_at(self.job) is not None
        return self._stop


def last_word(state: str, message: str) -> None:
    """In a process that `start` started: how it ended, unless that was said already. Elsewhere nothing."""
    if folder := os.environ.get(JOB_SETTING):
        now = _read(Path(folder))
        if not now.ended:
            _write(Path(folder), replace(now, state=state, message=message, seconds_left=None, updated=time.time()))


def _read(folder: Path) -> Progress:
    """What a run last said of itself; where that cannot be read, that it is starting."""
    try:
        value = _json(folder / "progress.json")
    except (OSError, BadInput):
        return Progress()
    if not isinstance(value, dict) or set(value) != {field.name for field in fields(Progress)}:
        return Progress()
    texts = value["state"] in STATES and all(
        isinstance(value[name], str) and len(value[name]) <= LONGEST for name in ("unit", "message"))
    counts = all(type(value[name]) is int and _is_number(value[name])
                 for name in ("done", "total", "units_done", "units_total"))
    times = _is_number(value["updated"]) and (value["seconds_left"] is None or _is_number(value["seconds_left"]))
    return Progress(**value) if texts and counts and times else Progress()


def _write(folder: Path, now: Progress) -> None:
    """Say how far a run is; where there is no room for it, nothing."""
    left = now.seconds_left if now.seconds_left is not None and _is_number(now.seconds_left) else None
    short = replace(now, unit=now.unit[:LONGEST], message=now.message[:LONGEST], seconds_left=left)
    with suppress(OSError):
        replace_file(folder / "progress.json", json.dumps(asdict(short)).encode())


def _turn_over(log: Path) -> None:
    """Let a log that has grown long begin anew; whoever writes it appends, so it goes on in the same file."""
    with suppress(OSError):
        if log.lstat().st_size > LOG_BYTES and not log.is_symlink():
            replace_file(log.with_name("log.1.txt"), log.read_bytes())
            os.truncate(log, 0)


def _folder(store_folder: str | Path | None) -> Path:
    return Path(store_folder or places.live()).resolve()


def _new_folder(store: Path) -> Path:
    """A folder for a run, named after all that are there: where the clock was set back, after the newest of them."""
    now = time.strftime(_STAMP)
    newest = max((job.id.rpartition("-")[0] for job in jobs(store)), default="")
    if newest >= now:
        with suppress(ValueError, OverflowError):
            now = (datetime.strptime(newest, _STAMP) + timedelta(seconds=1)).strftime(_STAMP)
    folder = store / "jobs" / f"{now}-{secrets.token_hex(2)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"The folder {folder} cannot be made ({error}). Make the store's folder writable, or name "
                         "another one in HEADROOM_CACHE.") from error
    return folder


def _register(folder: Path, args: Sequence[str], pid: int) -> Job:
    """Put a run on record. Raises: StoreError: if there is no room for that."""
    job = Job(folder, tuple(args), pid, processes.birth(pid) or "", time.time())
    try:
        replace_file(folder / "job.json", json.dumps(
            {"args": job.args, "pid": pid, "born": job.born, "started": job.started,
             "seal": seal.of(_sealed(job))}).encode())
    except OSError as error:
        raise StoreError(f"The run cannot be put on record in {folder} ({error.strerror}). It is at work, and cannot "
                         "be followed here.") from error
    return job
