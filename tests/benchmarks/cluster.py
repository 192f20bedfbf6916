"""How well workers share a grid: `python -m tests.benchmarks.cluster measure | simulate`.

`measure` computes one grid with one worker and with two, in turn, each in a fresh store, on Ray on this machine. Wall
time counts on a machine that does nothing else. Beside it stands processor time, which others who use the machine
change little: what each worker's process took to get ready and for each unit. Where others take turns with them, two
workers run at unequal speeds, so these seconds are played again (see below) on a free processor for each worker: that
is how long the run would have taken. Efficiency is the time with one worker over W times that with W.

`simulate` plays the command line's own schedule (`backend.runs.schedule`) on a clock that is not waited for, with units
of seconds that are known, workers that first get ready, that die at a rate, and lose what they had. First the measured
grid: its units' seconds with one worker must foretell the time with two; then the study's grid on OPT-66B.
There a unit's seconds are its planned tokens by the rate of its kind; the rates of kinds to each other are the measured
ones, and an evaluation's is `--rate`, an assumption that sets the scale of hours and no more than that.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from backend import __main__ as cli
from backend.kinds import Unit
from backend.kinds.oracles import Oracle
from backend.records import ModelInfo
from backend.runs import cluster
from backend.runs import plan as planning
from backend.runs.plan import Step
from backend.runs.schedule import Answered, News, Ready, Schedule, Share, n_shares
from backend.store.live import Store
from backend.values import ModelId

MEASURED = Path(__file__).with_name("cluster.json")
GRID = ["--tasks", "antonym,capital,past", "--shots", "0,1,5", "--what", "accuracy,importance,ffns,heads,pruning"]
SHORT = 10  # letters of a key are enough to tell units apart here
OPT_66B = ModelInfo("facebook/opt-66b", "", "opt", 64, 72, 9216, 128, 36864, 65_719_000_000, 2048, 50_272, "float16",
                    131_438_000_000)


# --- measuring ------------------------------------------------------------------------------------


class Watched:
    """A pool whose workers' processor time is looked at whenever they are given something, or answer."""

    def __init__(self, pool: cluster.RayPool) -> None:
        self._pool = pool
        self._processes: dict[int, psutil.Process] = {}
        self._before: dict[int, float] = {}
        self.started = time.perf_counter()
        self.ready: list[float] = []  # processor seconds until then
        self.units: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def _processor(self, worker: int) -> float:
        spent = self._processes[worker].cpu_times()
        return spent.user + spent.system

    def give(self, worker: int, share: Share, basis: Mapping[Unit[Any], Any]) -> None:
        self._before[worker] = self._processor(worker)
        self._pool.give(worker, share, basis)

    def news(self, seconds: float) -> list[News]:
        told = self._pool.news(seconds)
        for one in told:
            if isinstance(one, Ready):
                (pid,) = re.findall(r"process (\d+) ", one.where)
                self._processes[one.worker] = psutil.Process(int(pid))
                self.ready.append(self._processor(one.worker))
            elif isinstance(one, Answered):
                unit = one.share.unit
                self.units.append({"key": unit.key[:SHORT], "kind": unit.KIND, "worker": one.worker,
                                   "processor": round(self._processor(one.worker) - self._before[one.worker], 3)})
        return told

    def told(self) -> dict[str, Any]:
        """What was seen; to be asked for while the workers live."""
        own = psutil.Process()
        family = {p.pid: p.cpu_times() for p in own.children(recursive=True)}
        workers = {number: self._processor(number) for number in self._processes}
        mine = {process.pid for process in self._processes.values()}
        driver = own.cpu_times()
        return {"wall": time.perf_counter() - self.started, "ready": self.ready, "units": self.units,
                "workers": workers, "driver": driver.user + driver.system,
                "ray": sum(t.user + t.system for pid, t in family.items() if pid not in mine)}


def run_once(n_workers: int, store: str, out: str) -> int:
    """One run in this process, which Ray can be started in once."""
    opened = cluster.opened

    @contextmanager
    def watched(*given: Any) -> Iterator[Watched]:
        with opened(*given) as pool:
            watch = Watched(pool)
            yield watch
            Path(out).write_text(json.dumps(watch.told()))

    cluster.opened = watched  # type: ignore[assignment]
    return cli.main(["precompute", *GRID, "--no-shipped", "--store", store, "--cluster", "local", "--workers",
                     str(n_workers)])


def busiest(run: Mapping[str, Any]) -> float:
    """Processor seconds of the worker that had most."""
    return max(run["workers"].values())


def measure(repeat: int) -> list[dict[str, Any]]:
    """Runs with one worker and with two, in turn."""
    runs = []
    for number in range(repeat):
        for n_workers in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "run.json"
                began, load = time.perf_counter(), os.getloadavg()[0]
                subprocess.run([sys.executable, "-m", "tests.benchmarks.cluster", "run", str(n_workers),
                                str(Path(folder) / "store"), str(out)], check=True, stdout=subprocess.DEVNULL,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
                told = json.loads(out.read_text())
            run = {"n_workers": n_workers, "load": load, "whole": time.perf_counter() - began, **told}
            runs.append(run)
            print(f"run {number + 1}, {n_workers} workers: wall {run['whole']:.0f} s whole, {run['wall']:.0f} s with "
                  f"workers; processor: busiest {busiest(run):.1f} s, units {spent(run):.1f} s, getting ready "
                  f"{[round(s, 1) for s in run['ready']]}, driver {run['driver']:.1f} s, Ray {run['ray']:.1f} s; "
                  f"load before {load:.1f}", flush=True)
    return runs


def spent(run: Mapping[str, Any]) -> float:
    return sum(unit["processor"] for unit in run["units"])


# --- simulating -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """A step with the seconds that it really takes."""

    step: Step
    seconds: float
    most: int = 1  # pieces that it can be measured in
    again: float = 0.0  # seconds of its own that each piece takes again


@dataclass(frozen=True)
class Played:
    """A run that was played: seconds from its beginning to its last result."""

    seconds: float
    deaths: int
    efficiency: float  # the units' seconds and one getting ready, by what `n_workers` were paid for


def play(work: Sequence[Work], n_workers: int, ready: float, per_hour: float = 0.0, restart: float = 0.0,
         latency: float = 0.0, seed: int = 0) -> Played:
    """Play a plan on workers.

    Args:
        ready: seconds until a worker can begin.
        per_hour: how often a worker dies while it is paid for, on average.
        restart: seconds until another takes its place, which then gets ready.
        latency: of the driver, one answer after the other: what it takes to store one and to give out the next.
    """
    known = {one.step.unit: one for one in work}
    total = sum(one.seconds for one in work)

    def pieces(step: Step) -> int:
        return n_shares(known[step.unit].most, total, known[step.unit].seconds, n_workers)

    def seconds(share: Share) -> float:
        one = known[share.unit]
        return one.again + (one.seconds - one.again) / share.of

    schedule = Schedule([one.step for one in work], lambda step: known[step.unit].seconds, pieces)
    dice = random.Random(seed)
    deaths, driver, now, given_up = 0, 0.0, 0.0, 0

    def life() -> float:
        return dice.expovariate(per_hour / 3600) if per_hour else float("inf")

    ends = [life() for _ in range(n_workers)]
    events: list[tuple[float, int, int, Share | None]] = [(ready, number, number, None)
                                                          for number in range(n_workers)]
    idle: list[int] = []
    order = n_workers
    heapq.heapify(events)

    def die(worker: int) -> None:
        """Another one in its place, which gets ready."""
        nonlocal deaths, order
        deaths, order = deaths + 1, order + 1
        back = ends[worker] + restart
        ends[worker] = back + life()
        heapq.heappush(events, (max(now, back + ready), order, worker, None))

    while len(schedule):
        now, _, worker, share = heapq.heappop(events)
        if now > ends[worker]:  # it died before that
            if share is not None and schedule.lost(share):
                schedule.finish(share)
                given_up += 1
            die(worker)
        else:
            driver = max(driver, now) + latency
            if share is not None:
                schedule.finish(share)
            idle.append(worker)
        for gone in [one for one in idle if ends[one] <= now]:
            idle.remove(gone)
            die(gone)
        while idle and (following := schedule.next()):
            free, order = idle.pop(), order + 1
            heapq.heappush(events, (max(driver, now) + seconds(following), order, free, following))
    assert not given_up, "units that die three times are too long for this rate of deaths"
    alone, now = ready + total, max(driver, now)
    return Played(now, deaths, alone / (n_workers * now))


def planned() -> planning.Plan:
    """The grid that is measured, all of it to do."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "store") as store:
        args = cli.parser().parse_args(["precompute", *GRID, "--no-shipped", "--store", folder])
        return planning.make(cli.requested(args), store, cli._tokenizer(args))


def played_again(run: Mapping[str, Any], plan: planning.Plan, n_workers: int) -> float:
    """Seconds that a run would take on so many free processors, out of the processor seconds that its parts took."""
    known: dict[str, float] = defaultdict(float)
    for unit in run["units"]:
        known[unit["key"]] += unit["processor"]
    return play([Work(step, known[step.unit.key[:SHORT]]) for step in plan.steps], n_workers, max(run["ready"])).seconds


def told_of(runs: Sequence[Mapping[str, Any]], n_workers: int, of: Callable[[Mapping[str, Any]], float]) -> float:
    """The median over the runs with so many workers."""
    return statistics.median(of(run) for run in runs if run["n_workers"] == n_workers)


def summary(runs: Sequence[Mapping[str, Any]]) -> None:
    """Print what came of measuring."""
    plan = planned()
    for name, of in (("wall", lambda run: run["whole"]), ("busiest worker's processor", busiest),
                     ("processor, played again", lambda run: played_again(run, plan, run["n_workers"]))):
        one, two = (told_of(runs, n, of) for n in (1, 2))
        print(f"{name}: one worker {one:.1f} s, two {two:.1f} s, efficiency {one / (2 * two):.2f}")
    more = told_of(runs, 2, spent) / told_of(runs, 1, spent) - 1
    print(f"units, processor: {more:+.1%} with two workers")
    foretold = told_of(runs, 1, lambda run: played_again(run, plan, 2))
    was = told_of(runs, 2, lambda run: played_again(run, plan, 2))
    print(f"two workers: foretold from runs with one {foretold:.1f} s, played again {was:.1f} s "
          f"({foretold / was - 1:+.1%}), busiest {told_of(runs, 2, busiest):.1f} s")


def rates(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Measured tokens per processor second of each kind, as shares of an evaluation's."""
    tokens: dict[str, float] = defaultdict(float)
    seconds: dict[str, float] = defaultdict(float)
    for step in planned().steps:
        tokens[step.unit.KIND] += len(runs) * step.cost
    for run in runs:
        for unit in run["units"]:
            seconds[unit["kind"]] += unit["processor"]
    each = {kind: tokens[kind] / seconds[kind] for kind in tokens if tokens[kind]}
    return {kind: rate / each["evaluation"] for kind, rate in each.items()}


def study(what: str, n_seeds: int, rate: float, shares: Mapping[str, float], tokenizer: str | None) -> list[Work]:
    """The study's grid on OPT-66B: 14 tasks at 0, 1 and 5 shots, planned from its shape alone.

    Args:
        tokenizer: the folder of one that reads as OPT does (GPT-2's); None: a token is taken to be 4 characters.
    """
    args = cli.parser().parse_args(["precompute", "--tasks", "paper", "--what", what, "--seeds",
                                    ",".join(map(str, range(n_seeds)))])
    chosen = {name: tuple(value) if isinstance(value := getattr(args, name), list) else value
              for name in planning.options()}
    model = ModelId("facebook/opt-66b", "0" * 12, "0" * 12, False, "bfloat16")
    tasks = planning.identify_tasks("paper")
    request = planning.Request(model, OPT_66B, tasks, args.shots, args.what, args.demos, args.n_examples, args.seeds,
                               chosen, args.draws)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "store") as store:
        args.tokenizer = tokenizer
        plan = planning.make(request, store, cli._tokenizer(args) if tokenizer else None)
    work = []
    for step in plan.steps:
        seconds = step.cost / (rate * shares.get(step.unit.KIND, 1.0))
        passes = step.unit._passes(OPT_66B, step.unit.each(OPT_66B)) if isinstance(step.unit, Oracle) else 1
        work.append(Work(step, seconds, step.unit.pieces(OPT_66B), seconds / passes))
    return work


def longest_chain(work: Sequence[Work]) -> float:
    """Seconds of what can only be computed one after the other; no number of workers takes less."""
    ends: dict[Unit[Any], float] = {}
    for one in work:
        least = one.again + (one.seconds - one.again) / one.most
        ends[one.step.unit] = least + max((ends.get(need, 0.0) for need in one.step.unit.needs()), default=0.0)
    return max(ends.values())


def simulate(runs: Sequence[Mapping[str, Any]], rate: float, ready: float, per_day: float, latency: float,
             tokenizer: str | None) -> None:
    """Print what comes of it."""
    summary(runs)
    shares = rates(runs)
    print("Tokens per second beside an evaluation's: " + ", ".join(f"{k} {v:.2f}" for k, v in sorted(shares.items())))
    for what, n_seeds in (("accuracy,importance,ffns,pruning", 1), ("accuracy,importance,ffns,pruning", 5),
                          ("accuracy,importance,ffns,pruning,heads", 1)):
        work = study(what, n_seeds, rate, shares, tokenizer)
        total, chain = sum(one.seconds for one in work), longest_chain(work)
        print(f"\n{what}, {n_seeds} seeds: {len(work)} units, {total / 3600:.0f} worker hours, the longest chain "
              f"{chain / 3600:.2f} h, so no more than {total / chain:.0f} workers have something to do")
        for n_workers in (8, 64, 512):
            calm = play(work, n_workers, ready, latency=latency)
            rough = [play(work, n_workers, ready, per_day / 24, 120.0, latency, seed) for seed in range(5)]
            hours, share, deaths = (statistics.median(of) for of in zip(
                *((one.seconds / 3600, one.efficiency, one.deaths) for one in rough), strict=True))
            print(f"  {n_workers:4} workers: {calm.seconds / 3600:7.2f} h, efficiency {calm.efficiency:.2f}; with "
                  f"{deaths:.0f} deaths {hours:7.2f} h, {share:.2f}")


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sub = commands.add_parser("measure")
    sub.add_argument("--repeat", type=int, default=3)
    sub = commands.add_parser("simulate")
    sub.add_argument("--rate", type=float, default=1000.0, help="tokens per second of an evaluation on one worker of "
                     "OPT-66B, an assumption (default: %(default)s)")
    sub.add_argument("--tokenizer", metavar="FOLDER", help="GPT-2's, which OPT reads with (default: 4 characters are a "
                     "token)")
    sub.add_argument("--ready", type=float, default=300.0, help="seconds until a worker has its model")
    sub.add_argument("--per-day", type=float, default=1.0, help="deaths of a worker per day")
    sub.add_argument("--latency", type=float, default=0.025, help="seconds that the driver takes for an answer")
    sub = commands.add_parser("run")
    sub.add_argument("n_workers", type=int)
    sub.add_argument("store")
    sub.add_argument("out")
    chosen = parser.parse_args()
    if chosen.command == "run":
        return run_once(chosen.n_workers, chosen.store, chosen.out)
    if chosen.command == "measure":
        runs = measure(chosen.repeat)
        MEASURED.write_text(json.dumps(runs, separators=(",", ":")) + "\n")
        summary(runs)
    else:
        simulate(json.loads(MEASURED.read_text()), chosen.rate, chosen.ready, chosen.per_day, chosen.latency,
                 chosen.tokenizer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
