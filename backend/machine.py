"""What this machine offers, and what a model asks of it. No torch here."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from backend.results import ModelInfo

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes per parameter


def weight_bytes(info: ModelInfo, dtype: str) -> int:
    """Memory that a model's weights take once they are loaded; what passes through them comes on top."""
    return info.n_params * WIDTHS[dtype]


def free_memory() -> int:
    """Bytes of main memory that a new process could use."""
    return int(psutil.virtual_memory().available)


def free_disk(folder: Path) -> int:
    """Bytes that still fit on the disk of a folder, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def size(n_bytes: float) -> str:
    """Bytes as people say them: `512 B`, `3.4 MB`."""
    names = ["B", "kB", "MB", "GB", "TB"]
    while n_bytes >= 999.5 and len(names) > 1:
        n_bytes /= 1000
        del names[0]
    return f"{n_bytes:.0f} B" if names[0] == "B" else f"{n_bytes:.3g} {names[0]}"
