"""Which process is meant: a number alone is given to another one later.

A process is told by its number and its *birth*: the boot of the machine, the namespace of its number, and when after
the boot it began. None of the three moves with the clock. Where there is no /proc (macOS), the birth is the machine's
name and the time that the system tells.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import psutil

from .. import places

PROC = Path("/proc")


@cache
def machine() -> str:
    """Where a number stands for the same process as here: this boot, and this container."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
    except OSError:
        return platform.node()


def birth(pid: int) -> str | None:
    """When and where a process began; None if there is none of that number, or it is dead and only not buried yet."""
    try:
        if (PROC / "self/stat").is_file():
            fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
            return None if fields[0] in "ZX" else f"{machine()} {fields[19]}"
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{machine()} {process.create_time():.0f}"
    except (OSError, IndexError, ValueError, OverflowError, psutil.Error):
        return None


def is_alive(pid: int, born: str) -> bool:
    """Whether the very process of that number and birth is still there."""
    return bool(born) and pid > 0 and birth(pid) == born


def is_mine(pid: int, born: str, args: Sequence[str]) -> bool:
    """Whether it is there, belongs to this user, and is Headroom's command line with these arguments."""
    if not is_alive(pid, born):
        return False
    try:
        process = psutil.Process(pid)
        line, owner = process.cmdline(), process.uids().real
    except psutil.Error:
        return False
    before, given = line[: len(line) - len(args)], line[len(line) - len(args):]
    return (owner == os.getuid() and given == list(args) and len(before) >= 2
            and (before[-2:] == ["-m", places.NAME] or before[-1].endswith(os.path.join(places.NAME, "__main__.py"))))
