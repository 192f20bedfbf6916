"""Headroom: which attention heads and feed-forward networks does in-context learning need?

What a notebook begins with stands here by name, and comes from its module when it is first used: importing the package
loads neither torch nor anything else. docs/python.md shows every name with an example.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; `_HOMES` says the same to Python
    from .models.loading import load_model
    from .notebook.asking import evaluate, fetch, head_importance, open_store, prompts, task
    from .values import Ablation

__version__ = "0.1.0"

__all__ = ["Ablation", "__version__", "evaluate", "fetch", "head_importance", "load_model", "open_store", "prompts",
           "task"]

_HOMES = {"Ablation": "values", "load_model": "models.loading"} | dict.fromkeys(
    ("evaluate", "fetch", "head_importance", "open_store", "prompts", "task"), "notebook.asking")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
