"""Clocks, spreads, memory, and the table."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from torch.nn.functional import linear

from backend.models.loading import DTYPES

PAGE = os.sysconf("SC_PAGE_SIZE")
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
clock = "wall"  # "processor", seconds of all threads together, tells more where others share the machine
SQUARE = 2048  # side of the matrices whose product is the machine's own rate


class Skipped(Exception):
    """Why a part cannot be measured here, as a sentence."""


@dataclass(frozen=True)
class Row:
    """One line of the table: how long our way took, and what it is held against."""

    work: str
    ours: float | None  # None where it could not be measured here
    baseline: float | None  # None where ours is a figure in itself
    ratio: float | None  # baseline / ours, medians
    target: str
    met: bool | None  # None where nothing was asked
    spread: str  # of the ratio, or of ours, over the repeats
    unit: str = "s"
    note: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)  # what else was measured, each a column of the table


@dataclass
class Times:
    """Seconds of each way, one entry per repeat; the ways took turns."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        return median(self.seconds[name])

    def ratios(self, baseline: str, ours: str, times: float = 1.0) -> list[float]:
        """Per repeat, how many times longer the baseline took; `times` scales it up."""
        return [times * b / o for b, o in zip(self.seconds[baseline], self.seconds[ours], strict=True)]


def in_turns(ways: Mapping[str, Callable[[], object]], repeat: int, device: str = "cpu") -> Times:
    """Time each way `repeat` times, taking turns, so that whatever else the machine does falls on all of them."""
    times = Times({name: [] for name in ways})
    for _ in range(repeat):
        for name, way in ways.items():
            gc.collect()
            times.seconds[name].append(seconds_of(way, device))
    return times


def seconds_of(way: Callable[[], object], device: str = "cpu") -> float:
    now = CLOCKS[clock]
    began = now()
    way()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return now() - began


def compared(
    work: str, times: Times, ours: str, baseline: str, target: float, note: str = "", times_baseline: float = 1.0
) -> Row:
    """A row that must be `target` times faster than its baseline."""
    ratio = times_baseline * times[baseline] / times[ours]
    each = times.ratios(baseline, ours, times_baseline)
    return Row(work, times[ours], times_baseline * times[baseline], ratio, f"{target:g}x", ratio >= target,
               f"{min(each):.1f} to {max(each):.1f}x", note=note)


def unmeasured(work: str, target: str) -> Row:
    """A row of bfloat16 where the processor only emulates it."""
    return Row(work, None, None, None, target, None, "not measured",
               note="this processor has no instructions for bfloat16 and would emulate them")


def matmul_rate(dtype: str, device: str = "cpu", n_products: int = 20) -> float:
    """FLOPs per second of the machine's matrix product, the mean over some of them in a row."""
    a, b = (torch.randn(SQUARE, SQUARE, device=device).to(DTYPES[dtype]) for _ in range(2))
    with torch.inference_mode():
        linear(a, b)
        seconds = seconds_of(lambda: [linear(a, b) for _ in range(n_products)], device)
    return 2 * SQUARE**3 * n_products / seconds


@contextmanager
def peak_memory(device: str = "cpu") -> Iterator[list[int]]:
    """Bytes held beyond those held before: resident memory, looked at a thousand times a second, or the device's.

    What was let go before is handed back to the system first, lest it be filled again unseen.
    """
    gc.collect()
    hand_back()
    found: list[int] = []
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        found.append(torch.cuda.max_memory_allocated() - before)
        return
    before, peak, over = _resident(), 0, threading.Event()

    def look() -> None:
        nonlocal peak
        while not over.wait(0.001):
            peak = max(peak, _resident())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()
        found.append(max(peak - before, 0))


def hand_back() -> None:
    """Let the C library give memory that nobody uses back to the system, where it can (glibc)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def table(rows: list[Row]) -> str:
    """The rows in Markdown; a column for every figure that one of them has."""
    more = list(dict.fromkeys(name for row in rows for name in row.figures))
    lines = ["| " + " | ".join(["work", "ours", "baseline", "ratio", "target", "spread", *more]) + " |",
             "| " + " | ".join(["---", *["---:"] * 4, "---", *["---:"] * len(more)]) + " |"]
    for row in rows:
        mark = {True: " ✓", False: " ✗", None: ""}[row.met]
        cells = [row.work, _plain(row.ours, row.unit), _plain(row.baseline, row.unit),
                 "" if row.ratio is None else f"{row.ratio:.2f}x", f"{row.target}{mark}", row.spread,
                 *("" if name not in row.figures else f"{row.figures[name]:,.4g}" for name in more)]
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"- {row.work}: {row.note}" for row in rows if row.note]
    return "\n".join(lines + (["", *notes] if notes else []))


def _plain(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        processor = f"{len(names)} x {names[0]}" if names else processor
    return {"processor": processor, "torch": torch.__version__,
            "transformers": transformers.__version__, "python": platform.python_version(),
            "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu"}
