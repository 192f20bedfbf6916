"""What this machine offers, what a model asks of it, and both in words. No torch here."""

from __future__ import annotations

import errno
import re
import shutil
import sqlite3
from functools import cache
from pathlib import Path

import psutil

from .records import ModelInfo

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes per parameter
FAST = "fast"  # in place of a precision: the one that turns out to be faster, see `models.precision`; names no result
INSTRUCTIONS = {"bfloat16": {"avx512_bf16", "amx_bf16", "bf16"}, "float16": {"avx512_fp16", "amx_fp16", "asimdhp"}}


def weight_bytes(info: ModelInfo, dtype: str) -> int:
    """Memory that a model's weights take once they are loaded; what passes through them comes on top."""
    return info.n_params * WIDTHS[dtype]


@cache
def multiplies(dtype: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the processor has instructions for products in this dtype; None where it does not say (only Linux does).

    Without them products are emulated: in bfloat16 they take about nine times as long as in float32.
    """
    if dtype == "float32":
        return True
    try:
        lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return None
    return bool(INSTRUCTIONS[dtype] & set(" ".join(lines).split())) if lines else None


def slow(dtype: str) -> str:
    """What is to be said about the speed of a dtype on this processor; empty where there is nothing."""
    return "" if multiplies(dtype) is not False else \
        f"This processor has no instructions for {dtype}: unless a GPU does the work, float32 is several times faster."


def free_memory() -> int:
    """Bytes of main memory that a new process could use."""
    return int(psutil.virtual_memory().available)


def free_disk(folder: Path) -> int:
    """Bytes that still fit on the disk of a folder, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def is_full(error: BaseException | None) -> bool:
    """Whether an error comes, at its root, from a disk without room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(error, sqlite3.Error) and error.sqlite_errorname == "SQLITE_FULL":
            return True
        error = error.__cause__
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's own, or the processor's or a GPU's as torch says it."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in ("out of memory", "allocate memory")))


def size(n_bytes: float) -> str:
    """Bytes as people say them: `512 B`, `3.4 MB`."""
    names = ["B", "kB", "MB", "GB", "TB"]
    while n_bytes >= 999.5 and len(names) > 1:
        n_bytes /= 1000
        del names[0]
    return f"{n_bytes:.0f} B" if names[0] == "B" else f"{n_bytes:.3g} {names[0]}"


_AMOUNT = re.compile(r"\s*(\d{1,6}(?:\.\d{1,3})?)\s*([kMGT]?)(i?)B\s*", re.IGNORECASE)


def read_size(text: str) -> int | None:
    """The bytes of an amount such as `70GB`, `512 MiB`; None where it is none."""
    if not (found := _AMOUNT.fullmatch(text)):
        return None
    number, prefix, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(prefix.lower() or " "))


def duration(seconds: float) -> str:
    """Seconds as people say them: `40 s`, `3 min`, `5 h 10 min`, `2 days 3 h`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} day{'s' * (days > 1)}" + (f" {hours} h" if hours else "")


def raise_open_files(most: int = 8192) -> int | None:
    """Let this process open more files, up to what the system allows it or `most`; how many that are then.

    A server holds three per visit for two minutes after it ends. None where the system has no such limit.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
