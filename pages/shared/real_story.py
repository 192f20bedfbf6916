"""The same questions asked of a real language model, out of its results in the store: a step of the Tour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import streamlit as st

from backend import stats, tables
from backend.kinds import Answers, Evaluation, HeadImportance, HeadScores, HeadWrites, Model, Pruning
from backend.kinds.lines import python
from backend.models import smollm2
from backend.models.info import weights
from backend.tasks import registry
from backend.values import INTACT, Head, ModelId, Setup
from pages.map import head_map
from pages.shared import blocks, charts, handles, living, selection, verdicts, words
from pages.shared.guesses import answer, ask

SHOTS = selection.SHOTS[-1]
GROUPS = ("knowledge", "reasoning", "in-context", "paper", "held out")  # whose tasks are shown, in this order
KIND = "one-divisor"  # importance that compares across layers without a word about divisors


@dataclass(frozen=True)
class Asked:
    """A task that the model was asked without and with demonstrations."""

    setup: Setup  # with them
    without: Answers
    with_: Answers

    @property
    def group(self) -> str:
        return registry.about(self.setup.task.name).group


def model() -> ModelId | None:
    """The real model of which most results are stored; None where there are none."""
    return next(iter(handles.known().models(smollm2.NAME)), None)


def section() -> None:
    """What five examples do for each task, then which heads the mini tasks lean on."""
    real = model()
    info = handles.store().get(Model(real)) if real is not None else None
    if real is None or info is None:
        blocks.tell(f"No results of {smollm2.NAME} are here. `make smollm2` fetches it; then `python -m backend "
                    f"precompute --model {smollm2.NAME} --what accuracy,importance,writes` measures it.")
        return
    blocks.tell("The model so far was trained for this story, on sentences made for these tasks. "
                f"**{smollm2.NAME}** has {info.n_layers} layers of {info.n_heads} heads and "
                f"{info.n_params / 1e6:.0f} million parameters, and was trained by others on what people wrote. It is "
                "still small: do not expect of it what large ones can do.")
    asked = every(real)
    if not asked:
        return
    answers = ("on nearly all", "on about half", "on few or none")
    guess = ask("real", f"On how many of {len(asked)} tasks do {SHOTS} examples in the prompt help it?", answers)
    if guess is None:
        return
    _examples(asked, guess, answers)
    _heads(real, asked)
    st.button(f"Take this tour with {smollm2.NAME}", key="tour real", icon=":material/explore:", on_click=_take,
              disabled=selection.model_name() == smollm2.NAME)


def every(real: ModelId) -> dict[str, Asked]:
    """What the store has of its tasks, as pages ask for them, group by group."""
    found = {}
    for name in sorted(registry.known(), key=lambda name: _place(registry.about(name).group)):
        for task in handles.known().tasks(real, name)[:1]:
            setup = Setup(real, task, SHOTS, "fixed", selection.DEFAULTS["n"], selection.DEFAULTS["seed"],
                          selection.DEFAULTS["draws"])
            pair = [blocks.fetch(Evaluation(one)) for one in (setup.with_(n_shots=0), setup)]
            if registry.about(name).group in GROUPS and pair[0] is not None and pair[1] is not None:
                found[name] = Asked(setup, pair[0], pair[1])
    return found


def _place(group: str) -> int:
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


def _examples(asked: Mapping[str, Asked], guess: str, answers: tuple[str, ...]) -> None:
    groups = {name: one.group for name, one in asked.items()}
    table = tables.shots_table({name: (one.without, one.with_) for name, one in asked.items()}, groups)
    title, right = verdicts.helped(table, SHOTS)
    answer(guess, answers[right])
    setup = next(iter(asked.values())).setup
    n = sorted({int(n) for n in table["n"]})
    of = str(n[0]) if len(n) == 1 else f"{n[0]} to {n[-1]}"
    blocks.result(
        title, charts.comparison(table, list(asked), (tables.WITHOUT, tables.WITH)), table=table,
        caption=f"n = {of} questions per task · blue: no examples, orange: {SHOTS} · grey tick: chance",
        measured=blocks.provenance(
            setup, "The same questions without examples and with them", "Helps: Holm-adjusted p below 0.05",
            words.how_certain(setup), words.how_tested(setup, "Without examples against with them"), task="each task",
            shots=f"0 and {SHOTS} shots"),
        file="real-model-shots", key="real shots", level=3,
        python=python(
            Evaluation(setup), repr(smollm2.NAME), f"names = {tuple(asked)}",
            "pairs = dict(zip(names, zip(records[::2], records[1::2], strict=True), strict=True))",
            f"groups = {groups!r}", *blocks.shown_lines("tables.shots_table(pairs, groups)"),
            over=[(one.setup.task, n_shots) for one in asked.values() for n_shots in (0, SHOTS)]),
        alt_text=f"Accuracy of each task without and with examples. {title}.")


def _heads(real: ModelId, asked: Mapping[str, Asked]) -> None:
    """The mean importance of its heads over the mini tasks; nothing where it is not stored."""
    units = [HeadImportance(one.setup.with_(n_examples=selection.N_TRAIN)) for one in asked.values()
             if one.group in GROUPS[:3]]
    found: dict[HeadImportance, HeadScores] = {unit: record for unit in units
                                               if (record := blocks.fetch(unit)) is not None}
    if not found:
        return
    scores = stats.aggregate([record.scores(KIND) for record in found.values()])
    written = _written(unit.setup for unit in found)
    alive = np.any([one.alive() for one in written], axis=0) if written else np.ones(scores.shape, bool)
    over = words.heads_over(int(alive.sum()), int((~alive).sum()) if written else None)
    title = words.concentrated(scores, f"averaged over {words.how_many(len(found), 'task')}", alive)
    first = next(iter(found))
    drawn = head_map(scores, title=title, label="importance", file="real-model-importance", scale="logarithmic",
                     alt=f"Heatmap of importance over the layers and heads of {smollm2.NAME}. {title}.").still(INTACT)
    blocks.result(
        title, drawn, table=tables.grid_table(scores), level=3,
        caption=f"n = {sum(record.n_examples for record in found.values())} training examples · {over}",
        measured=blocks.provenance(
            first.setup, f"Head importance {KIND}: gradients, to first order; the mean of the tasks' raw scores",
            words.dead_heads([Head(int(layer), int(head)) for layer, head in np.argwhere(~alive)], alive.size,
                             sum(one.n_examples for one in written), len(written))
            if written else "Which heads are dead is not measured", task="each mini task", source=blocks.STUDY),
        file="real-model-importance", key="real importance", python=python(
            first, repr(smollm2.NAME), f"scores = stats.aggregate([record.scores({KIND!r}) for record in records])",
            *blocks.shown_lines("tables.grid_table(scores)"), over=[(unit.task, SHOTS) for unit in found]))


def spared(what: str, share: float = 0.9) -> str:
    """How much of the real model can go over the mini tasks, in a sentence; nothing where that is not stored.

    Args:
        what: "heads" or "FFNs"; share: of the intact accuracy, which is to stay.
    """
    real = model()
    info = handles.store().get(Model(real)) if real is not None else None
    if real is None or info is None or real == selection.model():
        return ""
    mini = [one for one in every(real).values() if one.group in GROUPS[:3]]
    found = [record for one in mini if (record := blocks.fetch(Pruning(one.setup, what.lower()))) is not None]
    written = _written(one.setup for one in mini)
    if not found or len(found) < len(mini):
        return ""
    live = np.any([one.alive() for one in written], axis=0) if written and what == "heads" else None
    curve = tables.curve_table(found, tables.OWN, weights(info), info.n_params, live)
    counted = what if live is None else "live heads"
    limits = tables.limits_table(curve, counted, share, {tables.OWN: [found]})
    title, _ = verdicts.spared(limits, share, counted)
    return f"**{smollm2.NAME}**, over the same {words.how_many(len(found), 'task')}: {title}."


def _written(setups: Iterable[Setup]) -> list[HeadWrites]:
    """What the heads write, as far as it is stored."""
    return [record for one in setups if (record := blocks.fetch(living.writes(one))) is not None]


def _take() -> None:
    st.session_state["model"], st.session_state["step"] = smollm2.NAME, 1
