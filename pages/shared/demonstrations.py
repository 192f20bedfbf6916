"""What do the demonstrations do? Accuracy behind other labels, the heads that needs, and each one's influence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from backend import tables
from backend.kinds import Answers, Evaluation, HeadOracle, Influence, Relabelled, ShuffledHeads, Unit
from backend.kinds.lines import expression, with_imports
from backend.kinds.unit import R
from backend.tasks.labels import MADE_UP, SHUFFLED
from backend.values import INTACT, Ablation, TaskId
from pages.map import head_map
from pages.shared import blocks, charts, glossary, living, selection, verdicts, words

LIVE_PARAMETERS = 200_000_000  # models up to this size answer a mask at once
NONE = "At 0 shots there are no demonstrations: choose 1 shot or more in the sidebar."
SOURCE = Relabelled.SOURCE
TESTED = "95 % t intervals over questions, those of one draw of demonstrations together; p after Holm"


def section() -> None:
    """A view: accuracy at 0 shots and behind true, shuffled and made-up labels, and what heads its parts need."""
    setup, chosen = selection.current(), selection.ablation()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        which = str(st.segmented_control("Demonstrations of", ("this task", "all tasks"), default="this task",
                                         required=True, key="labels of", persist_state="session",
                                         help=glossary.says("task recognition", "task learning")))
    if not setup.n_shots:
        blocks.text(NONE)
        return
    those = [setup.task] if which == "this task" else list(selection.compared().values())
    place, maps = st.container(), st.container()
    masks = {"intact": INTACT, **({"ablated": chosen} if chosen else {})}
    found = {model: _answers(those, off, which) for model, off in masks.items()}
    whole = [task for task in those if all(task in behind for behind in found.values())]
    if whole:
        with place:
            _accuracy({model: {labels: [behind[task][labels] for task in whole] for labels in tables.LABELS}
                       for model, behind in found.items()}, whole, masks)
    with maps:
        _heads(those, which)


def _units(task: TaskId, off: Ablation) -> dict[str, Unit[Answers]]:
    """What is asked of a task, by the labels that its demonstrations bear."""
    setup = selection.current(task)
    return {tables.NO_LABELS: Evaluation(selection.current(task, 0), off), tables.TRUE_LABELS: Evaluation(setup, off),
            tables.SHUFFLED_LABELS: Relabelled(setup, SHUFFLED, off), tables.MADE_UP_LABELS: Relabelled(setup, MADE_UP,
                                                                                                       off)}


def _answers(tasks: Sequence[TaskId], off: Ablation, which: str) -> dict[TaskId, dict[str, Answers]]:
    """By task, what is known of it behind all four sorts of labels; what is missing is measured, or offered."""
    units = {(task, labels): unit for task in tasks for labels, unit in _units(task, off).items()}
    what = f"accuracy of {which} at 0 shots and behind other labels" + f", without {words.components(off)}" * bool(off)
    records = dict(zip(units, at_once(list(units.values()), what, live=bool(off) and len(tasks) == 1), strict=True))
    every = {task: {labels: record for labels in tables.LABELS if (record := records[task, labels]) is not None}
             for task in tasks}
    return {task: behind for task, behind in every.items() if len(behind) == len(tables.LABELS)}


def at_once(units: Sequence[Unit[R]], what: str, live: bool) -> list[R | None]:
    """The records in order, None for those missing, which are offered; of a small model and where it is `live`, they
    are measured at once, unless that was stopped."""
    missing = [unit for unit in units if blocks.fetch(unit) is None]
    name = " ".join(unit.key for unit in missing)
    if live and missing and selection.info().n_params <= LIVE_PARAMETERS and not blocks.why_not_here(missing) and \
            st.session_state.get("stopped demonstrations") != name:
        blocks.measure(missing, what, on_stop=lambda: st.session_state.update({"stopped demonstrations": name}))
    return blocks.get_all(units, what)


def _accuracy(found: Mapping[str, tables.Behind], tasks: Sequence[TaskId], masks: Mapping[str, Ablation]) -> None:
    """Accuracy behind each sort of labels, and its two parts."""
    setup, chosen = selection.current(), selection.ablation()
    accuracies, parts = tables.labels_table(found), tables.parts_table(found)
    called = tasks[0].name if len(tasks) == 1 else f"the mean of {words.how_many(len(tasks), 'task')}"
    shown = accuracies[accuracies["model"] == "intact"].set_index("labels")["accuracy"]
    off = words.components(chosen) if chosen else ""
    measured = blocks.provenance(
        setup, f"{tables.NO_LABELS}: the same rows of the task without demonstrations; where episodes have rules of "
        "their own, another one",
        "Shuffled: the demonstrations' answers, among the demonstrations of each prompt",
        "Made-up: every distinct answer is replaced by a word of its own, the question's options alike, so that only "
        "the demonstrations tell what it means; where every question has options of its own, none do",
        "Task recognition = shuffled − 0 shots; task learning = true − shuffled",
        f"Off: {chosen.fill} ablation" * bool(chosen), words.how_certain(setup),
        "Parts: the same questions, paired bootstrap and, over draws, t interval; of one task also the paired test",
        source=SOURCE, task=called)
    left, right = blocks.side_by_side("demonstrations", 1, 1, gap="large")
    n = f"n = {int(accuracies['n'].iloc[0])} questions"
    with left:
        title = f"{called}: " + ", ".join(
            f"{words.percent(shown[labels])} {'at' if labels == tables.NO_LABELS else 'behind'} {labels}"
            for labels in tables.LABELS)
        blocks.result(
            title, charts.beside(accuracies, x="accuracy", y="labels", order=tables.LABELS, x_title="accuracy"),
            caption=f"{n} · dashed: chance · grey: 95 %", measured=measured, table=accuracies, file="labels",
            key="labels", python=_lines(tasks, masks, "tables.labels_table(found)"),
            alt_text=f"Bars: accuracy at 0 shots and behind true, shuffled and made-up labels. {title}.")
    with right:
        title = verdicts.recognised(parts, called, off)
        blocks.result(
            title, charts.beside(parts, x="effect", y="part", order=list(tables.PARTS), signed=True,
                                 x_title="difference of accuracies"),
            caption=f"{n} · grey: 95 %, paired", measured=measured, table=parts, file="labels-parts",
            key="labels parts", python=_lines(tasks, masks, "tables.parts_table(found)"),
            alt_text=f"Bars: task recognition and task learning. {title}.")


def _setups(tasks: Sequence[TaskId]) -> list[str]:
    """Lines that name the model and the setups."""
    model = selection.model()
    return [f"model = {expression(model, {})}", "setups = [", *(
        f"    {expression(selection.current(task), {model: 'model'})}," for task in tasks), "]"]


def _lines(tasks: Sequence[TaskId], masks: Mapping[str, Ablation], table: str) -> str:
    """Python that gets all that is shown, and makes a table of it."""
    asked = {tables.NO_LABELS: "Evaluation(setup.with_(n_shots=0), off)", tables.TRUE_LABELS: "Evaluation(setup, off)",
             tables.SHUFFLED_LABELS: f"Relabelled(setup, {SHUFFLED!r}, off)",
             tables.MADE_UP_LABELS: f"Relabelled(setup, {MADE_UP!r}, off)"}
    named = ", ".join(f"{name!r}: {expression(off, {})}" for name, off in masks.items())
    return with_imports([
        *_setups(tasks), f"masks = {{{named}}}",
        "found = {name: {", *(f"    {labels!r}: [get({unit}) for setup in setups]," for labels, unit in asked.items()),
        "} for name, off in masks.items()}", *blocks.shown_lines(table)], selection.load_lines())


# --- heads --------------------------------------------------------------------------------------


def _heads(those: Sequence[TaskId], which: str) -> None:
    """What each head's removal takes of either part, as two maps."""
    setup, info, chosen, alive = selection.current(), selection.info(), selection.ablation(), living.now()
    blocks.heading("Which heads do recognition and learning need?")
    units = {task: (HeadOracle(selection.current(task, 0)), ShuffledHeads(selection.current(task)),
                    HeadOracle(selection.current(task))) for task in those}
    records = iter(blocks.get_all([unit for three in units.values() for unit in three], f"accuracy of {which} without "
                                  "each head, at 0 shots, behind shuffled and behind true labels"))
    found = {task: (next(records), next(records), next(records)) for task in those}
    whole = {task: (a, b, c) for task, (a, b, c) in found.items() if a is not None and b is not None and c is not None}
    if not whole:
        return
    table = tables.parts_heads_table(list(whole.values()), chosen, alive.mask)
    called = next(iter(whole)).name if len(those) == 1 else f"the mean of {words.how_many(len(whole), 'task')}"
    said = {tables.RECOGNITION: "shuffled labels − at 0 shots", tables.LEARNING: "true labels − behind shuffled labels"}
    widest = float(table["drop"].abs().max()) or 0.01
    for column, part in zip(blocks.side_by_side("parts", 1, 1, gap="large"), tables.PARTS, strict=True):
        rows = table[table["part"] == part]
        values = np.zeros((info.n_layers, info.n_heads))
        values[rows["layer"], rows["head"]] = rows["drop"]
        title = verdicts.part_needs(table, part, called, "live head" if alive.dead else "head")
        file = part.replace(" ", "-")
        with column:
            blocks.result(
                title, head_map(values, title=title, label=f"drop of {part}", signed=True, number="+points", file=file,
                                domain=(-widest, widest), facts=blocks.known(), state="chosen", headless=info.headless,
                                alt=f"Heatmap of what each head's removal takes of {part}. {title}."),
                caption=f"{alive.over} · blue: the part needs the head · one scale for both maps", level=3,
                measured=blocks.provenance(
                    setup, f"{part.capitalize()}: accuracy behind {said[part]}",
                    "Drop: the part of the intact model − the part with the head off, the same questions", TESTED,
                    "Holm: over all heads", alive.measured, source=f"{SOURCE}; {blocks.STUDY}", task=called),
                table=rows, file=file, key=file, python=with_imports([
                    *_setups(list(whole)), *(f"{name} = {expression(value, {})}" for name, value in (
                        alive.given | {"chosen": chosen}).items()), *alive.lines,
                    "found = [(get(HeadOracle(setup.with_(n_shots=0))), get(ShuffledHeads(setup)), "
                    "get(HeadOracle(setup))) for setup in setups]",
                    f"heads = tables.parts_heads_table(found, chosen{alive.argument})",
                    *blocks.shown_lines(f"heads[heads['part'] == {part!r}]")], selection.load_lines()))


# --- influence ----------------------------------------------------------------------------------


def influence() -> None:
    """What the demonstration in each place does to the right answer of the chosen task's questions, for Lab."""
    setup, chosen = selection.current(), selection.ablation()
    if not setup.n_shots:
        blocks.text(NONE)
        return
    units = {"intact": Influence(setup), **({"ablated": Influence(setup, chosen)} if chosen else {})}
    what = f"the influence of each demonstration on {setup.task}"
    found = {model: record for model, record in zip(units, at_once(list(units.values()), what, live=True), strict=True)
             if record is not None}
    if "intact" not in found:
        return
    table = tables.influence_table(found)
    title = verdicts.adds_most(table, setup.task.name, words.components(chosen) if "ablated" in found else "")
    blocks.result(
        title, influences(table),
        caption=f"n = {int(table['n'].max())} questions · positive: it makes the right answer likelier · grey: 95 %",
        measured=blocks.provenance(
            setup, f"Influence: {Influence.DEFINITION}", "Places are counted from the first, which is farthest from "
            "the question; what stands there differs from draw to draw", TESTED, "Holm: over the places",
            f"Off: {chosen.fill} ablation" * bool(chosen), source=Influence.SOURCE),
        table=table, file="influence", key="influence",
        python=blocks.python_lines(
            units["intact"], also={"ablated": units["ablated"]} if "ablated" in found else {},
            table="tables.influence_table({'intact': record" + ", 'ablated': ablated" * ("ablated" in found) + "})"),
        alt_text=f"Bars: what each demonstration adds to the right answer's log-likelihood. {title}.")


def influences(table: pd.DataFrame) -> Any:
    """Bars of influence, a demonstration each."""
    return charts.beside(table, x="influence", y="demonstration", order=list(dict.fromkeys(table["demonstration"])),
                         x_title="influence, nats per token of the right answer", percent=False, signed=True)
