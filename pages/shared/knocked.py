"""Accuracy without function-vector heads, without induction heads and without random others: Induction and the Tour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from backend import stats, tables
from backend.kinds import FunctionVectors, KnockOut, PrefixMatching, Sweep
from backend.kinds.function_vectors import MEANS
from backend.kinds.knock_out import EVERY_SORT, SORTS, peers_of, ranked_on
from backend.kinds.lines import expression, with_imports
from backend.values import Ablation, Setup, TaskId, parse_exact
from pages.shared import blocks, charts, living, selection, verdicts, words


@dataclass(frozen=True)
class Asked:
    """The curves of some tasks of one model.

    Attributes:
        groups: tasks that rank heads for one another -> the setups among them that are judged.
        units: for each sort of heads and setup.
    """

    groups: Mapping[tuple[TaskId, ...], Sequence[Setup]]
    fill: str
    units: Mapping[tuple[str, Setup], KnockOut]


@dataclass(frozen=True)
class Curves:
    """Those of the tasks of which every curve is there."""

    asked: Asked
    setups: Sequence[Setup]
    found: Mapping[str, Sequence[Sweep]]  # each sort -> one record per setup

    def off(self, sort: str, share: float) -> Ablation:
        """What is off of the first task on a sort's curve, at a share of the heads."""
        record = self.found[sort][0]
        return parse_exact(record.ablations[[one for one, _ in record.removed].index(share)])


def ask(setups: Sequence[Setup], compare: Sequence[TaskId], fill: str = "zero") -> Asked:
    """The units to fetch; setups are put in the order of their groups.

    Args:
        compare: the tasks whose function vectors rank heads, each for the others.
    """
    groups: dict[tuple[TaskId, ...], list[Setup]] = {}
    for setup in setups:
        groups.setdefault(peers_of(setup.task, compare), []).append(setup)
    return Asked(groups, fill, {(sort, setup): KnockOut(setup, sort, ranked_on(setup.task, compare), fill)
                                for sort in EVERY_SORT for group in groups.values() for setup in group})


def get(asked: Asked, what: str) -> Curves | None:
    """The curves that are stored; what is missing is offered. None where no task has them all."""
    records = dict(zip(asked.units, blocks.get_all(list(asked.units.values()), what), strict=True))
    whole = [setup for group in asked.groups.values() for setup in group
             if all(records[sort, setup] is not None for sort in EVERY_SORT)]
    if not whole:
        return None
    return Curves(asked, whole, {sort: [record for setup in whole if (record := records[sort, setup]) is not None]
                                 for sort in EVERY_SORT})


def draw(title: str, curves: Curves, at: float, called: str, *, file: str, key: str, level: int = 2) -> None:
    """The curves, read at a share of the heads.

    Args:
        title: what they say there (see `concluded`).
        called: the task, or the mean of which tasks.
        file, key, level: see `blocks.result`.
    """
    table = tables.knock_out_table(curves.found)
    first = curves.asked.units[EVERY_SORT[0], curves.setups[0]]
    n, draws = int(table["n"].iloc[0]), len(EVERY_SORT) - len(SORTS)
    blocks.result(
        title, charts.knock_out(table, at),
        caption=f"n = {n} questions · grey: {draws} random draws, lowest to highest",
        measured=blocks.provenance(
            first.setup, KnockOut.DEFINITION, f"Off: {curves.asked.fill} in their place",
            f"Function vectors are ranked on {words.how_many(len(first.tasks), 'other task')}, and judged on this one"
            if first.tasks != (first.task,) else "Function vectors are ranked on the task itself",
            words.how_certain(first.setup), "Difference: the same questions, paired bootstrap",
            source=f"{KnockOut.SOURCE}; {PrefixMatching.SOURCE}", task=called),
        table=table, file=file, key=key, python=_lines(curves), level=level,
        alt_text=f"Curves of accuracy as heads are switched off. {title}.")


def concluded(curves: Curves, at: float, called: str, alive: living.Living) -> tuple[str, int]:
    """What the curves say at a share of the heads; see `verdicts.which_are_needed`."""
    ranking = dict.fromkeys(setup.with_(task=other) for setup in curves.setups
                            for other in curves.asked.units[EVERY_SORT[0], setup].tasks)
    return verdicts.which_are_needed(tables.knock_out_table(curves.found), tables.knock_out_pairs(curves.found, at), at,
                                     called, _told_on(list(ranking), alive))


def _told_on(ranking: Sequence[Setup], alive: living.Living) -> int | None:
    """Of how many live heads it is told that they carry function vectors; None where a task is not measured."""
    records = [blocks.fetch(FunctionVectors(setup.with_(n_examples=MEANS))) for setup in ranking]
    if any(record is None for record in records):
        return None
    found = stats.mean_effects([(np.asarray(one.effects)[:, alive.mask], one.draws) for one in records if one])
    return int(verdicts.is_told(pd.DataFrame({"effect": found.mean, "p (Holm)": stats.holm(found.p.tolist())})).sum())


def _lines(curves: Curves) -> str:
    """Python that gets every curve, and the table of them."""
    model = curves.setups[0].model
    known = {model: "model"}
    shown = {peers: [setup for setup in group if setup in curves.setups]
             for peers, group in curves.asked.groups.items()}
    made = [f"    ([{', '.join(expression(task, {}) for task in peers)}],\n"
            f"     [{', '.join(expression(setup, known) for setup in setups)}]),"
            for peers, setups in shown.items() if setups]
    return with_imports([
        f"model = {expression(model, {})}",
        "groups = [  # tasks that rank heads for one another, and setups", *made, "]",
        "found = {sort: [get(KnockOut(setup, sort, tuple(task for task in peers if task != setup.task), "
        f"{curves.asked.fill!r}))", "                for peers, setups in groups for setup in setups]",
        f"         for sort in {EVERY_SORT}}}",
        *blocks.shown_lines("tables.knock_out_table(found)")], selection.load_lines())
