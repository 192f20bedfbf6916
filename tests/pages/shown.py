"""What a page tells people to run, run as it is shown: lines of Python, and commands."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from backend import __main__ as commands
from backend.kinds import Model, Unit
from backend.runs import plan as planning
from pages.shared import blocks


def understood(args: Sequence[str]) -> planning.Request:
    """What the command line takes the arguments of `python -m backend` for."""
    return commands.requested(commands.parser().parse_args(list(args)))


def asked_by_commands(app: AppTest) -> list[Unit[Any]]:
    """The units that the commands of a page's offers name, a model's own shape left out."""
    lines = [line for block in app.main.code for line in str(block.value).splitlines()
             if line.startswith("python -m backend precompute")]
    return [unit for line in lines for unit in planning.asked(understood(shlex.split(line)[3:]))
            if not isinstance(unit, Model)]


def no_model(*_: Any, **__: Any) -> Any:
    pytest.fail("the lines measured what is stored")


def run_shown_python(app: AppTest, monkeypatch: pytest.MonkeyPatch,
                     load_model: Callable[..., Any] = no_model) -> list[dict[str, Any]]:
    """What every block of Python on the page leaves behind, each with `printed`."""
    return [run_lines(str(block.value), monkeypatch, load_model) for block in app.code
            if "from backend" in str(block.value)]


def note_tables(monkeypatch: pytest.MonkeyPatch) -> list[tuple[pd.DataFrame, str]]:
    """What pages drawn from now on offer as CSV: every table, and the lines beside it."""
    found: list[tuple[pd.DataFrame, str]] = []
    extras = blocks.extras

    def noted(table: pd.DataFrame, file: str, python: str, *args: Any, **options: Any) -> None:
        found.append((table, python))
        extras(table, file, python, *args, **options)

    monkeypatch.setattr(blocks, "extras", noted)
    return found


def prints_the_table(lines: str, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch,
                     load_model: Callable[..., Any] = no_model) -> None:
    """The lines make the very table, to the last digit, and print all of it."""
    names = run_lines(lines, monkeypatch, load_model)
    pd.testing.assert_frame_equal(names["table"].reset_index(drop=True), table.reset_index(drop=True), check_exact=True)
    assert table.to_string() in names["printed"]


def run_lines(lines: str, monkeypatch: pytest.MonkeyPatch, load_model: Callable[..., Any] = no_model) -> dict[str, Any]:
    """What lines of Python leave behind, with what they have `printed`."""
    monkeypatch.setitem(sys.modules, "backend.models.loading", SimpleNamespace(load_model=load_model))
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(lines, names)  # as shown
    return {**names, "printed": printed.getvalue()}
