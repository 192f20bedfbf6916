"""The lines of Python that a page shows, run as they are shown."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from backend.models import info
from tests.pages.conftest import INFO


def no_model(*_: Any, **__: Any) -> Any:
    pytest.fail("the lines measured what is stored")


def run_shown_python(app: AppTest, monkeypatch: pytest.MonkeyPatch,
                     load_model: Callable[..., Any] = no_model) -> list[dict[str, Any]]:
    """What every block of Python on the page leaves behind, each with `printed`."""
    monkeypatch.setattr(info, "describe", lambda name: INFO)
    monkeypatch.setitem(sys.modules, "backend.models.loading", SimpleNamespace(load_model=load_model))
    left = []
    for block in app.code:
        if str(block.value).startswith("from backend"):
            names: dict[str, Any] = {}
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(block.value, names)  # as shown
            left.append({**names, "printed": printed.getvalue()})
    return left
