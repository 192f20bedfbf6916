"""Where Headroom keeps things on this machine, and by what name it is called here.

In a checkout the package is the folder `backend`; installed, the same files are the package `headroom`, and what stands
beside the folder in a checkout (the explorer, the shipped results) lies inside it.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent if PACKAGE.name == "backend" else None  # None where Headroom is installed
NAME = "backend" if CHECKOUT else "headroom"  # what a line of Python imports
COMMAND = "python -m backend" if CHECKOUT else "headroom"  # what a command begins with
EXPLORER = CHECKOUT or PACKAGE / "explorer"  # the folder of app.py
SHIPPED = CHECKOUT / "cache" / "shipped" if CHECKOUT else PACKAGE / "shipped"
LIVE = CHECKOUT / "cache" / "live" if CHECKOUT else (
    Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "headroom")


def live() -> Path:
    """The folder of what this machine made: cache/live of a checkout, or the one named by HEADROOM_CACHE."""
    return Path(os.environ.get("HEADROOM_CACHE") or LIVE)


def models() -> Path:
    """The folder of models that were made here: each can be named by its folder's name alone."""
    return live() / "models"


def short(path: Path) -> str:
    """A path inside the checkout, from there."""
    return str(path.relative_to(CHECKOUT)) if CHECKOUT and path.is_relative_to(CHECKOUT) else str(path)
