"""A demo (`HEADROOM_DEMO=1`): what strangers may do with a server that anybody can reach.

They look at what the starter lists, switch components off and ask short prompts; nothing that they do is written to the
disk, starts a process, opens a place of their choice or takes more than a moment. The functions that would do such
things ask here, so that no page has to be trusted to hide them. How much a visitor may ask for is in `limits`.
"""

from __future__ import annotations

import os
from pathlib import PurePath

from .errors import BadInput, DataError, ModelError

SETTING = "HEADROOM_DEMO"
MODELS = "HEADROOM_DEMO_MODELS"  # with commas between, beside the bundled one
TASKS = "HEADROOM_DEMO_TASKS"  # with commas between, beside the mini suite
BUNDLED = "bundled"
READ_ONLY = "this server is a demo"  # why nothing can be stored, as the end of a sentence


def on() -> bool:
    """Whether this process serves a demo."""
    return os.environ.get(SETTING, "").strip() not in ("", "0")


def models() -> tuple[str, ...]:
    """The models that a demo may look for, by name, hub id or path: the bundled one and those listed."""
    return (BUNDLED, *_listed(MODELS))


def tasks() -> tuple[str, ...]:
    """The tasks that the starter lists beside the mini suite."""
    return _listed(TASKS)


def shows_model(name: str) -> bool:
    """Whether results of a model of that name are shown: a folder's go by its last part."""
    return name in models() or any(name == PurePath(one).name for one in models())


def refuse(what: str) -> None:
    """Raises: BadInput: in a demo; `what` is what nobody may do there, as the end of a sentence."""
    if on():
        raise BadInput(f"This server is a demo ({SETTING}): nobody may {what} here.")


def check_model(name: str) -> None:
    """Raises: ModelError: in a demo, of any name that is not listed, whether or not there is such a model."""
    if on() and name not in models():
        raise ModelError(f"This server is a demo and does not look for other models than {', '.join(models())}.")


def check_task(name: str, known: tuple[str, ...]) -> None:
    """Raises: DataError: in a demo, of any name that is neither known nor listed, whether or not there is such a task.

    Args:
        known: the tasks that every demo has.
    """
    if on() and name not in (*known, *tasks()):
        raise DataError("This server is a demo and has no other tasks than "
                        f"{', '.join(dict.fromkeys((*known, *tasks())))}.")


def _listed(setting: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in os.environ.get(setting, "").split(",") if part.strip()))
