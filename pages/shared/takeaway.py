"""Taking a page away: what it has shown in this run, as one report or one notebook, made only when it is pressed.

    takeaway.begin("Heads")                  # app.py, before the page
    takeaway.note("importance", figure)      # blocks, with every chart that is drawn: references, nothing is made
    takeaway.offer()                         # app.py, after the page
"""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version

import streamlit as st

from backend.errors import HeadroomError
from backend.places import CHECKOUT
from backend.values import Setup
from pages.shared import pictures, report, selection, words
from pages.shared.report import Figure, Sheet

LIBRARIES = ("torch", "transformers", "numpy", "scipy", "streamlit", "altair")


def begin(title: str) -> None:
    """A page begins anew: nothing of it is shown yet."""
    st.session_state["sheet"] = Sheet(title)


def note(key: str, figure: Figure) -> None:
    """Remember what is drawn; a fragment that draws it again takes the place of what was."""
    sheet: Sheet = st.session_state.setdefault("sheet", Sheet("Headroom"))
    sheet.figures[key] = figure


def offer() -> None:
    """Below the page: a report and a notebook of all that it shows; nothing where it shows no figure."""
    sheet: Sheet = st.session_state.get("sheet") or Sheet("")
    if not sheet.figures:
        return
    with suppress(HeadroomError), st.container(horizontal=True, vertical_alignment="center", gap="small",
                                               key="take-away"):
        setup = selection.current()
        chosen = partial(facts, setup, str(selection.value("bos")), selection.definition(),
                         tuple(st.session_state.get("tasks") or ()))
        name = re.sub(r"[^\w.-]+", "-", f"headroom-{sheet.title.lower()}-{setup.task.name}")
        st.caption("Take this page away:", width="content")
        st.download_button("Report", partial(as_report, sheet, chosen), f"{name}.html", "text/html", key="report",
                           on_click="ignore", type="tertiary", icon=":material/description:",
                           help="One HTML file that opens offline and prints: every chart of this page with its "
                                "numbers, definitions, table and lines of Python.")
        st.download_button("Notebook", partial(as_notebook, sheet, chosen), f"{name}.ipynb",
                           "application/x-ipynb+json", key="notebook", on_click="ignore", type="tertiary",
                           icon=":material/book_2:", help="A Jupyter notebook with the lines that *Python* shows "
                                                          "beside every chart of this page.")


def facts(setup: Setup, bos: str, by: str, compared: Sequence[str]) -> dict[str, str]:
    """What is chosen, as label and value.

    Args:
        bos: how BOS was asked for.
        by: how gradients become head importance.
        compared: the tasks that pages compare.
    """
    model = setup.model
    return {
        "Model": model.name, "Revision": model.revision, "Digest": model.digest, "Precision": model.dtype,
        "BOS token": f"{bos}: {'yes' if model.bos else 'no'}",
        "Task": setup.task.name, "Rows (digest)": setup.task.digest, "Shots": str(setup.n_shots),
        "Demonstrations": words.demonstrations(setup), "Questions": f"n = {setup.n_examples}", "Seed": str(setup.seed),
        "Head importance": f"{by}, n = {selection.n_train()} training examples",
        "Tasks that are compared": ", ".join(compared)}


def as_report(sheet: Sheet, chosen: Callable[[], Mapping[str, str]]) -> bytes:
    """The report of what a page shows now."""
    figures = list(sheet.figures.values())
    drawn = [pictures.together(figure.pictures, figure.off) if figure.pictures else "" for figure in figures]
    return report.html(sheet.title, figures, drawn, with_mask(sheet, chosen()), versions(), today()).encode()


def as_notebook(sheet: Sheet, chosen: Callable[[], Mapping[str, str]]) -> bytes:
    """The notebook of what a page shows now."""
    return report.notebook(sheet.title, list(sheet.figures.values()), with_mask(sheet, chosen()), versions(),
                           today()).encode()


def with_mask(sheet: Sheet, chosen: Mapping[str, str]) -> dict[str, str]:
    """What is chosen, and which heads and FFNs; the mask of the figure that was drawn last."""
    off = list(sheet.figures.values())[-1].off if sheet.figures else ""
    return {**chosen, "Chosen heads and FFNs": off or "none"}


@cache
def versions() -> dict[str, str]:
    """What computed and drew it."""
    found = {"Headroom": _headroom(), "Python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def today() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _headroom() -> str:
    """The commit that runs here, else the version."""
    if CHECKOUT is None:
        return version("headroom")
    from backend import __version__

    with suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=CHECKOUT, capture_output=True, text=True,
                               timeout=5, check=True)
        return f"{__version__}, commit {asked.stdout.strip()}"
    return __version__
