"""`python -m tests.benchmarks.endurance`: visitors come and go for a while, and what the server holds is watched.

Each visitor is a real session on the real server (`tests.browser.visitor`), who opens a page, switches heads off a few
times and leaves; the next one takes the place. Model (the bundled one and another), precision, task, page and masks are
drawn anew each time. Memory and file descriptors are sampled; what matters is whether they still grow after the first
third, when everything has been in memory once.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from backend.models.info import BUNDLED_FOLDER
from tests.browser import explorer as browsing
from tests.browser.visitor import visiting

PAGES = ("heads", "ffns", "lab", "pruning", "overlap", "induction", "playground", "tour")
TASKS = ("antonym", "capital", "plural")
DTYPES = ("float32", "bfloat16", "float16")
FIELD = "Chosen heads and FFNs"
EVERY = 5.0  # seconds between two samples
AFTER = 150.0  # seconds after the last visit: Streamlit keeps a session for two minutes


@dataclass
class Seen:
    """What happened, from all visitors."""

    visits: int = 0
    runs: int = 0
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Sample:
    """What the server holds at a time."""

    at: float  # seconds since the beginning
    memory: float  # MiB, resident
    files: int  # open descriptors
    threads: int


def visit(address: str, models: list[str], draw: random.Random, seen: Seen, until: float) -> None:
    """One visitor after the other in one place."""
    while time.monotonic() < until:
        query = f"model={draw.choice(models)}&dtype={draw.choice(DTYPES)}&task={draw.choice(TASKS)}&n=40"
        try:
            with visiting(address, draw.choice(PAGES), query) as visitor:
                runs = 1
                for _ in range(draw.randrange(4)):
                    time.sleep(draw.uniform(0.5, 3))
                    mask = ",".join({f"L{draw.randrange(5)}H{draw.randrange(8)}" for _ in range(3)})
                    visitor.write(**{visitor.widgets[FIELD]: ("string_value", mask)})
                    runs += 1
                wrong = [one for one in visitor.alerts if "could not be drawn" in one]
        except Exception as error:
            runs, wrong = 0, [f"{type(error).__name__}: {error}"[:200]]
            time.sleep(EVERY)
        with seen.lock:
            seen.visits += 1
            seen.runs += runs
            seen.errors += wrong


def look(process: psutil.Process, began: float) -> Sample:
    return Sample(time.monotonic() - began, process.memory_info().rss / 2**20, process.num_fds(), process.num_threads())


def growth(samples: list[Sample], what: str) -> float:
    """How much of something is added a minute: the slope of a line through the samples."""
    return float(np.polyfit([one.at / 60 for one in samples], [getattr(one, what) for one in samples], 1)[0])


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--visitors", type=int, default=30, help="at a time")
    chosen = parser.parse_args()
    seen, samples = Seen(), []  # type: Seen, list[Sample]
    with tempfile.TemporaryDirectory() as place:
        other = Path(place) / "other"
        shutil.copytree(BUNDLED_FOLDER, other, ignore=shutil.ignore_patterns("*.py", "checkpoints", "__pycache__"))
        with browsing.server(Path(place) / "live") as address:
            process = next(one for one in psutil.Process().children() if "streamlit" in one.cmdline())
            began = time.monotonic()
            until = began + 60 * chosen.minutes
            visitors = [threading.Thread(target=visit, daemon=True, args=(
                address, ["bundled", str(other)], random.Random(seed), seen, until)) for seed in range(chosen.visitors)]
            for one in visitors:
                one.start()
            while any(one.is_alive() for one in visitors) and time.monotonic() < until + 240:
                samples.append(look(process, began))
                if len(samples) % 12 == 0:
                    print(f"{samples[-1].at:5.0f} s: {samples[-1].memory:.0f} MiB, {samples[-1].files} descriptors, "
                          f"{samples[-1].threads} threads; {seen.visits} visits, {seen.runs} runs, "
                          f"{len(seen.errors)} errors", flush=True)
                time.sleep(EVERY)
            time.sleep(AFTER)
            with visiting(address, "heads"):
                pass
            time.sleep(EVERY)
            last = look(process, began)
            stored = sum(file.stat().st_size for file in (Path(place) / "live").rglob("*") if file.is_file()) / 2**20
    third = samples[-1].at / 3
    later = [one for one in samples if one.at > third]
    first = [one for one in later if one.at <= 2 * third]
    end = [one for one in later if one.at > 2 * third]
    print(f"{chosen.visitors} visitors at a time, {samples[-1].at / 60:.1f} minutes: {seen.visits} visits, {seen.runs} "
          f"runs of pages, {len(seen.errors)} errors {sorted(set(seen.errors))[:5]}; store {stored:.1f} MiB")
    for what, unit in (("memory", "MiB"), ("files", "descriptors"), ("threads", "threads")):
        middle, late = (median(getattr(one, what) for one in part) for part in (first, end))
        print(f"{what}: median of the second third {middle:.0f} {unit}, of the last {late:.0f}, most "
              f"{max(getattr(one, what) for one in samples):.0f}; {growth(later, what):+.2f} a minute after the first "
              f"third; {getattr(last, what):.0f} when all had left")
    return bool(seen.errors)


if __name__ == "__main__":
    sys.exit(main())
