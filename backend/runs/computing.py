"""A plan under way: its units computed in this process, or on the workers of a cluster; what is said of each."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..errors import Cancelled, HeadroomError, ModelError, StoreError
from ..kinds import KINDS, OfTask, Unit, compute
from ..machine import duration, free_disk, is_full, size
from ..records import Record, too_long
from ..store.live import Store
from ..values import Setup
from . import cluster, jobs
from . import plan as planning
from .leases import Leases
from .schedule import DEATHS, Answered, Died, News, Pool, Ready, Schedule, Share, n_shares

if TYPE_CHECKING:
    from ..models.loading import LoadedModel


def say_wrong(sentence: str) -> None:
    """Say what went wrong on stderr, above the bar."""
    tqdm.write(sentence, file=sys.stderr)


class Run:
    """The units of a plan under way: one line each, a bar with the time left, a report for whoever watches.

    What another run on the store is computing is left to it, and looked for again at the end.
    """

    LOOK = 0.5  # seconds between two looks at what others are computing

    def __init__(self, plan: planning.Plan, store: Store, model: LoadedModel | None, report: jobs.Report,
                 speeds: dict[str, float]) -> None:
        self.steps, self.n_units, self.left = plan.to_do, len(plan.steps), list(plan.to_do)
        self.store, self.model, self.report, self.speeds = store, model, report, speeds
        self.spent: dict[str, tuple[int, float]] = {}  # kind -> tokens and seconds of this run
        self.waiting = {step.unit for step in self.left}
        self.failed: set[Unit[Any]] = set()
        self.n_shared = 0  # computed by another run meanwhile
        self.bar = tqdm(total=plan.cost, disable=None, leave=False,
                        bar_format="{percentage:3.0f} %|{bar}| {desc}{postfix}")

    def compute(self) -> list[Unit[Any]]:
        """Compute what is to do, in order; returns the units that failed."""
        with self.bar, Leases(self.store.folder) as leases:
            while self.left:
                n_before = len(self.left)
                for step in list(self.left):
                    self._turn(step, leases)
                if len(self.left) == n_before:
                    self._wait()
        return [step.unit for step in self.steps if step.unit in self.failed]

    def _turn(self, step: planning.Step, leases: Leases) -> None:
        """Compute a unit, unless another run has, or is computing it or what it builds on."""
        if any(need in self.waiting for need in step.unit.needs()) or not leases.claim(step.unit.key):
            return
        self._settle(step, leases)

    def _settle(self, step: planning.Step, leases: Leases) -> None:
        """Compute a unit that was claimed, and count it."""
        try:
            self.left.remove(step)
            self.waiting.remove(step.unit)
            self._tell(step)
        finally:
            leases.release(step.unit.key)
        self.bar.n = sum(s.cost for s in self.steps) - sum(s.cost for s in self.left)
        self.report.update(units_done=self.n_units - len(self.left) - len(self.failed))

    @property
    def _number(self) -> str:
        return f"[{self.n_units - len(self.left)}/{self.n_units}]"

    def _tell(self, step: planning.Step) -> None:
        """Compute a unit and say so, or who did, or why it failed."""
        self.report.update(unit=str(step.unit), done=0, total=0, state="running")
        self.bar.set_description_str(str(step.unit), refresh=False)
        try:
            if planning.is_done(step.unit, self.store):
                self.n_shared += 1
                tqdm.write(f"{self._number} {step.unit}: by another run")
                return
            seconds, record = self._compute(step)
            tqdm.write(f"{self._number} {step.unit}: {seconds:.2f} s")
            if told := too_long(record):
                tqdm.write(f"    {told}")
            sys.stdout.flush()
        except Cancelled:
            raise
        except HeadroomError as error:
            if is_full(error):  # whatever else is computed could not be kept either
                raise StoreError(self._no_room()) from error
            self.failed.add(step.unit)
            say_wrong(f"{self._number} {step.unit}: failed. {error}")

    def _no_room(self) -> str:
        folder = self.store.folder
        n_done = self.n_units - len(self.left) - 1 - len(self.failed)
        return (f"No space left for results in {folder} ({size(free_disk(folder))} are free). The {n_done} of "
                f"{self.n_units} results that were finished are kept. Make room there, then give the same command "
                "again: it goes on with what is missing.")

    def _wait(self) -> None:
        """All that is left is another run's, for now."""
        self.report.update(unit=f"waiting for another run: {self.left[0].unit}", done=0, total=0, state="running")
        if self.report.stop_requested():
            raise Cancelled("Stopped on request.")
        time.sleep(self.LOOK)

    def _refuse_broken(self, step: planning.Step) -> None:
        if broken := [need for need in step.unit.needs() if need in self.failed]:
            raise StoreError(f"It builds on {broken[0]}, which failed.")

    def _compute(self, step: planning.Step) -> tuple[float, Record]:
        """Seconds, and the result."""
        self._refuse_broken(step)
        assert self.model is not None
        began, before = time.perf_counter(), self.bar.n

        def progress(done: int, total: int) -> None:
            part = done / max(total, 1)
            self.bar.n = before + round(step.cost * part)
            self._tell_time(step, part)
            self.report.update(done=done, total=total)
            if self.report.stop_requested():
                raise Cancelled("Stopped on request.")

        progress(0, 1)
        record = compute(step.unit, self.store, self.model, progress)
        seconds = time.perf_counter() - began
        self._note(step, seconds)
        return seconds, record

    def _note(self, step: planning.Step, seconds: float) -> None:
        """How long a unit took says how long others will."""
        if step.cost:
            tokens, earlier = self.spent.get(step.unit.KIND, (0, 0.0))
            self.spent[step.unit.KIND] = (tokens + step.cost, earlier + seconds)

    def _speeds(self) -> dict[str, float]:
        """Tokens per second by kind, as known by now."""
        speeds = self.speeds | {kind: tokens / seconds for kind, (tokens, seconds) in self.spent.items()}
        if here := [pair for kind, pair in self.spent.items() if issubclass(KINDS[kind], OfTask)]:
            speeds[""] = sum(tokens for tokens, _ in here) / sum(seconds for _, seconds in here)  # better than a probe
        return speeds

    def _tell_time(self, step: planning.Step, part: float) -> None:
        speeds = self._speeds()
        later, now = planning.seconds(self.left, speeds), planning.seconds([step], speeds)
        self._tell_left(None if later is None or now is None else later + now * (1 - part))

    def _tell_left(self, left: float | None) -> None:
        self.report.update(seconds_left=left)
        self.bar.set_postfix_str("" if left is None else f", about {duration(left)} left")


class OnCluster(Run):
    """The same on the workers of a cluster: this process gives out units, and stores what comes back."""

    def __init__(self, plan: planning.Plan, store: Store, pool: Pool, report: jobs.Report,
                 speeds: dict[str, float]) -> None:
        super().__init__(plan, store, None, report, speeds)
        self.pool = pool
        self.schedule = self._schedule()
        self.ours: set[Share] = set()  # under way
        self.had: dict[int, set[Setup | None]] = defaultdict(set)  # worker -> setups whose prompts it has ready
        self.known: set[Setup | None] = set()  # that any worker has had
        self.answers: dict[Unit[Any], dict[int, Answered]] = defaultdict(dict)  # of pieces of units
        self.whole: list[Answered] = []  # the answers of the unit that is being stored
        self.why_refused = ""
        self.told = 0.0  # when it was last said how far all is

    def _schedule(self) -> Schedule:
        known = planning.seconds(self.steps, self.speeds) is not None
        weights = {step.unit: (planning.seconds([step], self.speeds) or 0.0) if known else step.cost
                   for step in self.steps}
        total = sum(weights.values())

        def pieces(step: planning.Step) -> int:
            info = self.store.info(step.unit.model)
            most = 1 if info is None else step.unit.pieces(info)
            return n_shares(most, total, weights[step.unit], self.pool.n_workers)

        return Schedule(self.steps, lambda step: weights[step.unit], pieces)

    def compute(self) -> list[Unit[Any]]:
        n = self.pool.n_workers
        print(f"{n} worker{' loads' if n == 1 else 's load'} the model. How long it takes is told as results come.",
              flush=True)
        with self.bar, Leases(self.store.folder) as leases:
            while self.left:
                self._give_out(leases)
                for news in self.pool.news(self.LOOK):
                    self._hear(news, leases)
                if not self.pool.n_workers:
                    raise ModelError(f"No worker is left to go on. {self.why_refused}")
                self._tell_all()
                if self.report.stop_requested():
                    raise Cancelled("Stopped on request.")
        return [step.unit for step in self.steps if step.unit in self.failed]

    def _give_out(self, leases: Leases) -> None:
        """Something to do for every worker that has nothing."""
        for worker in self.pool.idle():
            had = self.had[worker]
            while share := self.schedule.next(
                    lambda unit: unit not in self.waiting or leases.claim(unit.key),
                    lambda unit, had=had: 0 if unit.setup in had else 1 + (unit.setup in self.known)):  # type: ignore[misc]
                unit, needs = share.unit, share.unit.needs()
                if unit not in self.waiting:  # another piece of it has failed, or another run has computed it
                    self.schedule.finish(share)
                    continue
                if planning.is_done(unit, self.store) or any(need in self.failed for need in needs):
                    self._close(share, None, leases)
                    continue
                had.add(unit.setup)
                self.known.add(unit.setup)
                self.ours.add(share)
                self.pool.give(worker, share, {need: record for need in needs
                                               if (record := self.store.get(need)) is not None})
                break

    def _hear(self, news: News, leases: Leases) -> None:
        if isinstance(news, Ready):
            tqdm.write(f"Worker {news.worker} is ready ({news.where}): {news.seconds:.1f} s")
            sys.stdout.flush()
        elif isinstance(news, Answered):
            self.ours.remove(news.share)
            self._close(news.share, news, leases)
        elif isinstance(news, Died):
            self.had.pop(news.worker, None)
            had = f" It had {news.share}." if news.share else ""
            say_wrong(f"Worker {news.worker} died, and another one takes its place. {news.why}{had}")
            if news.share:
                self.ours.remove(news.share)
                if self.schedule.lost(news.share):
                    self._close(news.share, Answered(news.worker, news.share, problem=(
                        f"{DEATHS} workers died while they measured it, so it is not tried again. {news.why}")), leases)
        else:
            self.why_refused = f"Worker {news.worker} cannot be used: {news.why}"
            say_wrong(self.why_refused)

    def _close(self, share: Share, answer: Answered | None, leases: Leases) -> None:
        """A share is done with; where its unit is, too, store the result, or say why there is none."""
        unit = share.unit
        if unit in self.waiting:
            found = self.answers[unit]
            if answer is not None:
                found[share.number] = answer
            if answer is None or answer.problem or len(found) == share.of:
                self.whole = [found[number] for number in sorted(found)]
                del self.answers[unit]
                self._settle(share.step, leases)
        self.schedule.finish(share)

    def _compute(self, step: planning.Step) -> tuple[float, Record]:
        self._refuse_broken(step)
        record = self.store.put(step.unit, cluster.read(step.unit, self.whole, self.store.info(step.unit.model)))
        seconds = sum(answer.seconds for answer in self.whole)
        self.store.put_seconds(step.unit, seconds)
        self._note(step, seconds)
        return seconds, record

    def _tell_all(self) -> None:
        """What is under way, how far, and how long the rest takes with as many workers."""
        if self.left and time.monotonic() - self.told < jobs.Report.EVERY:
            return
        self.told = time.monotonic()
        parts = {share: part for share, part in self.pool.parts().items() if share in self.ours}
        done = [(share.step, done / max(total, 1) / share.of) for share, (done, total) in parts.items()]
        done += [(one.share.step, 1 / one.share.of) for found in self.answers.values() for one in found.values()]
        settled = sum(step.cost for step in self.steps) - sum(step.cost for step in self.left)
        self.bar.n = settled + round(sum(step.cost * part for step, part in done))
        if parts:
            what = str(self.schedule.heaviest(parts)) + (f", and {len(parts) - 1} more" if len(parts) > 1 else "")
        elif self.left and self.pool.idle():
            what = f"waiting for another run: {self.left[0].unit}"
        else:
            what = "waiting for a worker" if self.left else ""
        self.bar.set_description_str(what, refresh=False)
        self.report.update(unit=what, done=sum(d for d, _ in parts.values()), total=sum(t for _, t in parts.values()),
                           state="running")
        speeds = self._speeds()
        if (left := planning.seconds(self.left, speeds)) is not None:
            left -= sum((planning.seconds([step], speeds) or 0.0) * part for step, part in done)
            left = max(left, 0.0) / max(self.pool.n_workers, 1)
        self._tell_left(left)
