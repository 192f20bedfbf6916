"""What the steps of the Tour are made of: its tasks, results that are there or measured on the spot, the big number."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from backend import stats, tables
from backend.kinds import Answers, Evaluation, InductionScores, PrefixMatching, Unit
from backend.tasks import registry
from backend.values import Ablation, Setup, TaskId
from pages.shared import blocks, selection, words
from pages.shared.plain import plain, prose


def suite() -> dict[str, TaskId]:
    """The bundled model's tasks, which the tour is told on."""
    return {task.name: selection.task_id(task.name) for task in registry.suite("mini")}


def group(name: str) -> list[str]:
    """The tasks of one group of the bundled suite."""
    return [task for task in suite() if registry.about(task).group == name]


def setups(names: Sequence[str], n_shots: int) -> list[Setup]:
    return [selection.current(suite()[name], n_shots) for name in names]


def over(names: Sequence[str], n_shots: int) -> list[tuple[TaskId, int]]:
    """What lines of Python loop over."""
    return [(suite()[name], n_shots) for name in names]


def measured(units: Sequence[Evaluation], what: str) -> list[Answers] | None:
    """Stored records, measured on the spot where the bundled model was not yet asked; None when stopped."""
    missing = [unit for unit in units if blocks.fetch(unit) is None]
    if missing and blocks.why_not_here(missing):
        blocks.offer(missing, what, of=len(units))
        return None
    if missing and not blocks.measure(missing, what):
        return None
    return [record for unit in units if (record := blocks.fetch(unit)) is not None]


def lacking(*units: Unit[Any]) -> None:
    """Before anybody guesses: that not all of a step can be told here, and what would help."""
    if (why := selection.why_no_model()) and any(blocks.fetch(unit) is None for unit in units):
        st.caption(f":material/cloud_off: {prose(words.not_all_here(why))}")


def matching() -> InductionScores | None:
    """Prefix matching of every head, or None and an offer to measure it."""
    return blocks.get(PrefixMatching(selection.model()), "prefix matching of every head")


def number(intact: Answers, ablated: Answers, chosen: Ablation, setup: Setup) -> tuple[stats.PairedTest, str]:
    """Accuracy with what is chosen off beside the intact model's, big; the paired test and the caption below it."""
    marks_a, marks_b = intact.marks(), ablated.marks()
    a, b = float(marks_a.right.mean()), float(marks_b.right.mean())
    with blocks.numbers("tour"):
        st.metric(f"{plain(setup.task)}, {setup.n_shots} shots", words.percent(b),
                  words.points(b - a) if chosen else None, delta_color="orange" if b < a else "blue",
                  delta_arrow="off" if b == a else "down" if b < a else "up")
        test = stats.paired_test(marks_a, marks_b)
        row = tables.accuracy_row("", marks_b, float("nan"))
        return test, blocks.note(
            f"Off: {words.components(chosen, 2)} · " * bool(chosen) + f"{words.interval(row)} · n = "
            f"{len(marks_b.right)} · chance {words.percent(intact.questions.chance)}" +
            f" · paired test {words.p_value(test.p)}" * bool(chosen), blocks.provenance(
                setup, f"{chosen.fill.capitalize()} ablation of {words.components(chosen)}" if chosen else "",
                f"Intact: {words.percent(a)}", words.how_certain(setup), words.how_tested(setup)))


result = partial(blocks.result, level=3)  # below a step's title
heading = partial(blocks.heading, level=3)
