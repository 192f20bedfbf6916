"""Where Headroom keeps things on this machine."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "cache" / "shipped"
LIVE = ROOT / "cache" / "live"


def live() -> Path:
    """The folder of what this machine made: cache/live, or the one named by HEADROOM_CACHE."""
    return Path(os.environ.get("HEADROOM_CACHE") or LIVE)


def models() -> Path:
    """The folder of models that were made here: each can be named by its folder's name alone."""
    return live() / "models"
