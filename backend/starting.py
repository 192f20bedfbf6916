"""How the explorer is started: what `headroom app` and the Makefile run."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from . import limits, places

served = False  # whether this process is the explorer behind its door, with visitors, who read before they measure


def import_ahead(*modules: str) -> None:
    """Import what the first page needs in the background, while its visitor's browser fetches Streamlit's own files."""
    threading.Thread(target=lambda: [*map(import_module, modules)], name="imports", daemon=True).start()


def line(port: int, lecture: str | None = None, address: str = "0.0.0.0", options: Sequence[str] = ()) -> list[str]:
    """The command of the explorer behind its door.

    Args:
        lecture: where given, the machine's whole network may come in.
        options: more of Streamlit's.
    """
    open_to_all = ["--server.address", address, "--server.allowedHosts", "*", "--server.maxWidgetStateSize",
                   str(limits.MESSAGE_MEGABYTES), "--server.enableWebsocketCompression", "true"] if lecture else []
    return [sys.executable, "-m", "streamlit", "run", str(places.EXPLORER / "serve.py"), "--server.port", str(port),
            *open_to_all, *options]


def explorer(port: int, lecture: str | None, address: str, options: Sequence[str]) -> NoReturn:
    """Become the explorer: this process is it from here on, and its signals are Streamlit's."""
    if lecture:
        os.environ["HEADROOM_LECTURE"] = lecture
    command = line(port, lecture, address, options)
    sys.stdout.flush()
    os.execv(command[0], command)
