"""Workers on Ray, each with a replica of the model that it keeps: on this machine's cores, or on a cluster.

The driver, which is the command line, gives out units and stores what comes back (see `schedule`). A worker never sees
the store: a unit travels to it with the results that it builds on, and its result travels back, both as the bytes that
a store would keep, and are read as strictly as anything from outside. Before it works it must hold the very model that
the driver named (weights, config, tokenizer, adapter, by digest), the same Headroom and the same libraries; else it
refuses with a sentence.

Every worker computes with a fixed number of threads, so results are bit for bit those of a run in one process with as
many. Ray is imported when it is asked for; `local` starts it on loopback, without its dashboard and its statistics.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import psutil

from .. import limits, places
from ..errors import BadInput, HeadroomError, StoreError
from ..kinds.unit import R, Unit, compute, compute_piece
from ..machine import free_memory, weight_bytes
from ..models import gguf
from ..models.identity import identify
from ..models.info import folder_of
from ..models.quiet import quiet
from ..records import ModelInfo, Record, from_plain, to_plain
from ..store.bundles import LIBRARIES
from ..store.entries import canonical, pack, plain, read_json, read_record, unpack
from ..tasks import harness, own
from ..tasks.data import FOLDER_SETTING as DATA_SETTING
from ..tasks.registry import get_task
from ..values import ModelId
from .schedule import DEATHS, Answered, Died, News, Ready, Refused, Share

if TYPE_CHECKING:
    from ..models.loading import LoadedModel

LOCAL = "local"
ASK = 1.0  # seconds between two questions to a worker how far it is
BESIDE = 2**30  # bytes that a replica takes beside its weights, for choosing how many fit on this machine
STORE_BYTES = 80 * 2**20  # of Ray's own store: the least that it takes; results go by without it
FOLDER = "headroom-ray-"  # what Ray's files on this machine lie in
VERSION = "2.60.0"  # of Ray
MISSING = (f"Ray is not installed here, and --cluster runs on it. `pip install ray=={VERSION}` installs it; without "
           "--cluster the same command runs in one process.")


@dataclass(frozen=True)
class Wanted:
    """What a worker must be: the same for all, plain values, as it travels."""

    model: ModelId
    name: str  # how to find it: a hub id, or a path that is the same on every machine
    revision: str | None
    device: str | None
    device_map: str | None
    tokenizer: str | None
    bos: str
    threads: int  # of the processor, that a worker computes with
    tasks: tuple[Mapping[str, Any], ...] = ()  # own tasks, with their rows
    settings: Mapping[str, str] = field(default_factory=dict)  # of the environment: where rows lie
    code: str = ""  # a digest of Headroom's own files
    libraries: Mapping[str, str] = field(default_factory=dict)  # versions


def wanted(model: ModelId, name: str, revision: str | None, device: str | None, device_map: str | None,
           tokenizer: str | None, bos: str, threads: int, tasks: Iterable[str]) -> Wanted:
    """What workers must be, for a model as it was named here.

    Args:
        tasks: names of the tasks that are measured; rows of own ones travel with them.

    Raises:
        BadInput, DataError: as `get_task`.
    """
    mine = [task for task in map(get_task, dict.fromkeys(tasks)) if isinstance(task, own.OwnTask)]
    settings = {setting: _absolute(value) for setting in (DATA_SETTING, harness.FOLDER_SETTING)
                if (value := os.environ.get(setting))}
    return Wanted(model, _found_anywhere(name), revision, device, device_map, tokenizer and _found_anywhere(tokenizer),
                  bos, threads, tuple(_task_to_plain(task) for task in mine), settings, _code(), _libraries())


def _found_anywhere(name: str) -> str:
    """A model's name such that a process with another working directory finds it."""
    if name.startswith(gguf.PREFIX):
        return gguf.PREFIX + _absolute(name.removeprefix(gguf.PREFIX))
    return _absolute(name) if Path(name).expanduser().is_dir() and folder_of(name) is not None else name


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def _task_to_plain(task: own.OwnTask) -> dict[str, Any]:
    return {"name": task.title, "train": list(task.rows("train")), "validation": list(task.rows("validation")),
            "template": task.template.text, "preamble": task.preamble}


def _code() -> str:
    """A digest of this package's own files: two that differ may measure differently."""
    digest = hashlib.sha256()
    for path in sorted(places.PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(places.PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _libraries() -> dict[str, str]:
    """Versions of what computes, without how they were built (2.9.1+cpu and 2.9.1+cu128 are one)."""
    return {name: metadata.version(name).partition("+")[0] for name in LIBRARIES}


# --- a worker's side ----------------------------------------------------------------------------


class Replica:
    """One worker: the model, kept, and the unit that it is measuring."""

    def __init__(self) -> None:
        self._model: LoadedModel | None = None
        self._tasks: list[own.OwnTask] = []
        self._part = (0, 0)

    def start(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """Load the model; where this worker is, and, in `why`, why it refuses, if it does."""
        began, here = time.perf_counter(), f"process {os.getpid()} on {socket.gethostname()}"
        try:
            if (code := _code()) != plain["code"]:
                raise BadInput(f"Headroom's files there are others than the driver's (digest {code}, not "
                               f"{plain['code']}). Install the same version on every machine.")
            self._load(Wanted(**{**plain, "model": from_plain(ModelId, plain["model"])}))
            why = ""
        except HeadroomError as error:
            why = str(error)
        except Exception as error:
            why = f"It cannot load the model ({type(error).__name__}: {error})."
        return {"where": here, "seconds": time.perf_counter() - began, "why": why}

    def _load(self, wanted: Wanted) -> None:
        """Raises: BadInput, ModelError: if this is no place to measure what is wanted."""
        if other := [f"{name} {here} (the driver has {wanted.libraries[name]})" for name, here in _libraries().items()
                     if wanted.libraries[name] != here]:
            raise BadInput(f"Other libraries are installed there: {', '.join(other)}. Install the same ones on every "
                           "machine: they are part of a result.")
        os.environ.update(wanted.settings)
        self._tasks = [own.OwnTask(**task) for task in wanted.tasks]
        self._compare(identify(wanted.name, wanted.revision, wanted.model.dtype, wanted.bos, wanted.tokenizer), wanted)
        import torch

        from ..models.loading import load_model

        torch.set_num_threads(wanted.threads)
        quiet()
        self._model = load_model(wanted.name, wanted.revision, wanted.model.dtype, wanted.device, wanted.device_map,
                                 wanted.tokenizer, wanted.bos)
        self._compare(self._model.id, wanted)

    @staticmethod
    def _compare(here: ModelId, wanted: Wanted) -> None:
        if here != wanted.model:
            raise BadInput(f"'{wanted.name}' is another state of the model there: {here} (digest {here.digest}), not "
                           f"{wanted.model} (digest {wanted.model.digest}). Weights, config, tokenizer and adapter all "
                           "count: put the same files there, or name a --revision.")

    def measure(self, asked: bytes, basis: Sequence[bytes], number: int = 0, of: int = 1) -> dict[str, Any]:
        """Measure a unit, or piece `number` of so many: the packed result and the seconds that it took, or the
        `problem` that there is."""
        assert self._model is not None
        self._part = (0, 0)
        model, info = self._model, self._model.info
        parcel = Parcel(dict(unpack(body, lambda _: info) for body in basis))
        try:
            with own.at_hand(self._tasks):
                unit = Unit.from_json(json.loads(asked))
                if of == 1:
                    compute(unit, parcel, model, self._tell)
                else:
                    piece, parcel.seconds = compute_piece(unit, number, of, parcel, model, self._tell)
                    parcel.body = canonical(plain(unit, piece))
        except HeadroomError as error:
            return {"problem": str(error)}
        except Exception as error:  # one unit's trouble is not the others'
            return {"problem": f"Something unforeseen: {type(error).__name__}: {error}."}
        return {"body": parcel.body, "seconds": parcel.seconds}

    def _tell(self, done: int, total: int) -> None:
        self._part = (done, total)

    def how_far(self) -> tuple[int, int]:
        """Batches of the unit under way, done and in all."""
        return self._part


class Parcel:
    """What a worker has in place of a store: what its unit builds on, and then the result."""

    def __init__(self, basis: Mapping[Unit[Any], Record]) -> None:
        self._basis = basis
        self.body, self.seconds = b"", 0.0

    def get(self, unit: Unit[R]) -> R | None:
        return self._basis.get(unit)  # type: ignore[return-value]  # a unit's record is of its kind

    def put(self, unit: Unit[R], record: R) -> R:
        self.body = pack(unit, record)
        return record

    def put_seconds(self, unit: Unit[Any], seconds: float) -> None:
        self.seconds = seconds


# --- the driver's side --------------------------------------------------------------------------


def read(unit: Unit[R], answers: Sequence[Answered], info: ModelInfo | None) -> R:
    """The result of a unit, out of the answer to it, or of those to its pieces, in order.

    Args:
        info: the shape of the unit's model.

    Raises:
        HeadroomError: if a worker says that it cannot be measured.
        StoreError: if an answer is no result of the unit.
    """
    if problem := next((answer.problem for answer in answers if answer.problem), ""):
        raise HeadroomError(problem)
    if len(answers) > 1:
        return unit.joined([read_record(unit, read_json(answer.body, limits.RESULT_BYTES, limits.RESULT_LISTS), None)
                            for answer in answers])
    found, record = unpack(answers[0].body, lambda _: info)
    if found != unit:
        raise StoreError(f"The worker answered with {found}.")
    return cast(R, record)


@dataclass
class _Worker:
    """One place in the pool, and who fills it now."""

    actor: Any
    began: Any  # the answer to `start`
    ready: bool = False
    share: Share | None = None
    answer: Any = None  # to come, of `measure`
    asked: float = 0.0  # when it was last asked how far it is
    how_far: Any = None  # to come
    part: tuple[int, int] = (0, 0)
    deaths: int = 0  # in a row, before it was ready


class RayPool:
    """Workers on a Ray cluster that is connected; see `schedule.Pool`."""

    def __init__(self, ray: ModuleType, wanted: Wanted, n_workers: int, gpus: float) -> None:
        self._ray, self._wanted = ray, {**vars(wanted), "model": to_plain(wanted.model)}
        self._actors = ray.remote(Replica).options(num_cpus=wanted.threads, num_gpus=gpus, max_concurrency=2)
        self._workers = {number: self._hire() for number in range(1, n_workers + 1)}

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            self._end(worker)

    @property
    def n_workers(self) -> int:
        return len(self._workers)

    def idle(self) -> list[int]:
        return [number for number, worker in self._workers.items() if worker.ready and worker.share is None]

    def give(self, worker: int, share: Share, basis: Mapping[Unit[Any], Record]) -> None:
        one = self._workers[worker]
        one.share, one.part, one.asked = share, (0, 0), time.monotonic()
        one.answer = one.actor.measure.remote(canonical(share.unit.to_json()), [pack(*pair) for pair in basis.items()],
                                              share.number, share.of)

    def parts(self) -> dict[Share, tuple[int, int]]:
        return {worker.share: worker.part for worker in self._workers.values() if worker.share is not None}

    def news(self, seconds: float) -> list[News]:
        awaited = {worker.answer if worker.ready else worker.began: number
                   for number, worker in self._workers.items() if not worker.ready or worker.share is not None}
        if not awaited:
            time.sleep(seconds)
            return []
        arrived, _ = self._ray.wait(list(awaited), num_returns=1, timeout=seconds)
        if arrived:  # and whatever else has
            arrived, _ = self._ray.wait(list(awaited), num_returns=len(awaited), timeout=0)
        news = [self._hear(awaited[one]) for one in arrived]
        self._ask_how_far()
        return news

    def _hear(self, number: int) -> News:
        """What has come from a worker: its answer, or that it is gone."""
        worker, failures = self._workers[number], self._ray.exceptions
        try:
            told = self._ray.get(worker.answer if worker.ready else worker.began)
        except failures.RayTaskError as error:  # of our own code: it would fail again
            why = f"Something unforeseen: {_last_line(error)}."
            if not worker.ready:
                return self._refuse(number, why)
            return self._answered(number, {"problem": why})
        except failures.RayError as error:
            return self._died(number, error)
        if worker.ready:
            return self._answered(number, told)
        if told["why"]:
            return self._refuse(number, f"{told['where']}: {told['why']}")
        worker.ready, worker.deaths = True, 0
        return Ready(number, told["where"], told["seconds"])

    def _answered(self, number: int, told: Mapping[str, Any]) -> Answered:
        worker = self._workers[number]
        assert worker.share is not None
        share, worker.share, worker.answer = worker.share, None, None
        return Answered(number, share, **told)

    def _died(self, number: int, error: Exception) -> News:
        """Another one in its place; none, where it has died too often before it could work."""
        worker = self._workers[number]
        self._end(worker)
        why = _last_line(error)
        if "creation task" in str(error):  # our class could not be made of it
            return self._refuse(number, f"Headroom cannot be used there ({why.rstrip('.')}). Install the same version "
                                        "on every machine, or give the command in a checkout that all of them have.")
        deaths = 0 if worker.ready else worker.deaths + 1
        if deaths >= DEATHS:
            return self._refuse(number, f"It died {deaths} times while it loaded the model. {why}")
        self._workers[number] = self._hire()
        self._workers[number].deaths = deaths
        return Died(number, worker.share, why)

    def _refuse(self, number: int, why: str) -> Refused:
        self._end(self._workers.pop(number))
        return Refused(number, why)

    def _hire(self) -> _Worker:
        actor = self._actors.remote()
        return _Worker(actor, actor.start.remote(self._wanted))

    def _end(self, worker: _Worker) -> None:
        with suppress(Exception):  # it is gone, or its cluster is
            self._ray.kill(worker.actor)

    def _ask_how_far(self) -> None:
        busy = [worker for worker in self._workers.values() if worker.share is not None]
        asked = {worker.how_far: worker for worker in busy if worker.how_far is not None}
        if asked:
            arrived, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=0)
            for one in arrived:
                asked[one].how_far = None
                with suppress(self._ray.exceptions.RayError):  # it has died, which its answer will tell
                    asked[one].part = self._ray.get(one)
        now = time.monotonic()
        for worker in busy:
            if worker.how_far is None and now - worker.asked > ASK:
                worker.asked, worker.how_far = now, worker.actor.how_far.remote()


def _last_line(error: BaseException) -> str:
    """What Ray says of a failure, in a line."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = said[-1] if said else type(error).__name__
    if "creation task" not in str(error):  # else the last one says what it was
        told = next((line for line in said if line.startswith("The actor")), told)
    return told.split(" Some common causes")[0][:300].rstrip(".") + "."


@contextmanager
def opened(address: str, wanted: Wanted, info: ModelInfo, gpus: float | None, n_workers: int | None,
           ) -> Iterator[RayPool]:
    """Workers on this machine (`local`) or on a Ray cluster; they are ended, and Ray is left, at the end.

    Args:
        address: "local", what `ray start` printed, or "auto" on a machine of the cluster.
        gpus: of each worker; None: one where there are any, else none. With several, a replica is spread over them.
        n_workers: None: as many as there is room for now.

    Raises:
        BadInput: Ray is not installed, nothing answers at the address, or there is no room for a worker.
    """
    here = address == LOCAL
    if "://" in address:
        raise BadInput(f"'{address}' is the address of a Ray client, and the driver must be inside the cluster. Give "
                       "the cluster's own address, such as 10.0.0.1:6379, on one of its machines; or `auto` there.")
    ray = _imported(here)
    with _own_files() if here else nullcontext() as folder, _quiet(here):
        try:
            _connect(ray, address, folder, (n_workers or _room_here(wanted, info)) * wanted.threads)
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            if gpus is None:
                gpus = 1 if any(node.get("GPU") for node in nodes) else 0
            if not gpus:
                wanted = replace(wanted, device=wanted.device or "cpu")
            elif gpus > 1:
                wanted = replace(wanted, device_map=wanted.device_map or "auto")
            room = sum(_fits(node, gpus, wanted.threads) for node in nodes)
            if not room and (here or not n_workers):
                raise BadInput(f"No machine has {gpus:g} GPUs and {wanted.threads} processors for a worker. Ask for "
                               "fewer with --gpus-per-worker or --threads-per-worker" +
                               ("." if here else ", or name with --workers how many to wait for."))
            with RayPool(ray, wanted, n_workers or room, gpus) as pool:
                yield pool
        finally:
            ray.shutdown()


def _fits(node: Mapping[str, float], gpus: float, threads: int) -> int:
    """How many workers a machine has room for."""
    most = node.get("CPU", 0) // threads
    return int(min(most, node.get("GPU", 0) // gpus) if gpus else most)


def _room_here(wanted: Wanted, info: ModelInfo) -> int:
    """How many workers this machine's cores and memory hold."""
    each = weight_bytes(info, wanted.model.dtype) + BESIDE
    return max(1, min(cores() // wanted.threads, free_memory() // each))


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _imported(here: bool) -> ModuleType:
    """Ray, which reads its settings as it is imported."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if here:
        os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every socket on loopback
                       "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # and this user's alone
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as it will be by itself, it warns otherwise
    try:
        import ray
    except ImportError as error:
        raise BadInput(MISSING) from error
    return ray


def _connect(ray: ModuleType, address: str, folder: Path | None, processors: int) -> None:
    """Join a cluster, or start one on this machine.

    Raises:
        BadInput: if that fails; why.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if folder is not None:
        options |= {"num_cpus": processors, "include_dashboard": False, "object_store_memory": STORE_BYTES,
                    "_temp_dir": str(folder), "_node_ip_address": "127.0.0.1",
                    "_system_config": {"prestart_worker_first_driver": False, "worker_niceness": 0}}  # 15 by itself
    ours = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, **options)
    except Exception as error:  # of many kinds, from the network up
        raise BadInput(f"No Ray cluster can be used at '{address}': {_last_line(error)} Give the address that `ray "
                       "start` printed, with the same versions of Ray and Python here and there, and "
                       "RAY_AUTH_MODE=token where it asks for a token; or `local`.") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)  # Ray has put its own way to end in place of ours


@contextmanager
def _own_files() -> Iterator[Path]:
    """A folder for what Ray writes, gone at the end; and those of drivers that were killed, gone now."""
    place = Path(tempfile.gettempdir())
    for old in place.glob(f"{FOLDER}*"):
        pid = old.name.removeprefix(FOLDER).partition("-")[0]
        with suppress(OSError):
            if old.stat().st_uid == os.getuid() and pid.isdecimal() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _quiet(here: bool) -> Iterator[None]:
    """Keep Ray from what it has no switch for: to speak of dead workers in its words beside ours; and, on this machine,
    to start its dashboard's process, which without a dashboard still asks a cloud's address where it is."""
    from ray._private import services, worker

    instead: list[tuple[ModuleType, str, Any]] = [(worker, "listen_error_messages", lambda *_: None)]
    if here:
        instead.append((services, "start_api_server", lambda *_, **__: (None, None)))
    before = [(module, name, getattr(module, name)) for module, name, _ in instead]
    for module, name, ours in instead:
        setattr(module, name, ours)
    try:
        yield
    finally:
        for module, name, theirs in before:
            setattr(module, name, theirs)
