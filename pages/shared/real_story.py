"""The same questions asked of a real language model, out of its results in the store: a step of the Tour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from backend import stats, tables
from backend.kinds import Answers, Evaluation, HeadImportance, HeadScores, Pruning
from backend.kinds.lines import python
from backend.models import smollm2
from backend.models.info import BUNDLED, weights
from backend.places import COMMAND
from backend.records import ModelInfo
from backend.store.catalogue import info_of
from backend.tasks import registry
from backend.values import INTACT, ModelId, Setup
from pages.map import head_map
from pages.shared import blocks, charts, components, handles, living, selection, verdicts, words
from pages.shared.guesses import answer, ask

SHOTS = selection.SHOTS[-1]
MINI = ("knowledge", "reasoning", "in-context")  # the groups of the mini tasks
GROUPS = (*MINI, "paper", "held out")  # whose tasks are shown, in this order
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


def model() -> tuple[ModelId, ModelInfo] | None:
    """The state of the real model of which most results are stored, and its shape; None where there are none."""
    of = next(iter(handles.known().models(smollm2.NAME)), None)
    info = info_of(of, handles.store()) if of is not None else None
    return None if of is None or info is None else (of, info)


def section() -> None:
    """What five examples do for each task, then which heads the mini tasks lean on."""
    if (found := model()) is None:
        blocks.tell(f"No results of {smollm2.NAME} are here. `{COMMAND} smollm2` fetches it; then `{COMMAND} "
                    f"precompute --model {smollm2.NAME} --what accuracy,importance,writes` measures it.")
        return
    real, info = found
    blocks.tell(introduced(info, selection.model_name()))
    asked = every(real)
    if not asked:
        return
    answers = verdicts.HELPED
    guess = ask("real", f"On how many of {len(asked)} tasks do {SHOTS} examples in the prompt help it?", answers)
    if guess is None:
        return
    _examples(asked, guess, answers)
    _heads(info, asked)
    st.button(f"Take this tour with {smollm2.NAME}", key="tour real", icon=":material/explore:", on_click=tour_with,
              args=(smollm2.NAME, 1), disabled=selection.model_name() == smollm2.NAME)


def introduced(info: ModelInfo, touring: str) -> str:
    """What the real model is, beside the one that the Tour is taken with."""
    said = "on sentences made for these tasks"
    first = f"The model so far was trained for this story, {said}. **{smollm2.NAME}**" if touring == BUNDLED else \
        f"The bundled model was trained for this story, {said}. **{smollm2.NAME}**" + (
            ", with which you take the tour," if touring == smollm2.NAME else "")
    return (f"{first} has {info.n_layers} layers of {info.n_heads} heads and {info.n_params / 1e6:.0f} million "
            "parameters, and was trained by others on what people wrote. It is still small: do not expect of it what "
            "large ones can do.")


def setups(real: ModelId, groups: Sequence[str] = GROUPS) -> dict[str, Setup]:
    """Its tasks of these groups, as pages ask for them, group by group."""
    names = [name for group in groups for name in registry.known() if registry.about(name).group == group]
    return {name: Setup(real, task, SHOTS, "fixed", selection.DEFAULTS["n"], selection.DEFAULTS["seed"],
                        selection.DEFAULTS["draws"])
            for name in names for task in handles.known().tasks(real, name)[:1]}


def every(real: ModelId) -> dict[str, Asked]:
    """What the store has of its tasks, without examples and with them."""
    found = {}
    for name, setup in setups(real).items():
        without, with_ = (blocks.fetch(Evaluation(one)) for one in (setup.with_(n_shots=0), setup))
        if without is not None and with_ is not None:
            found[name] = Asked(setup, without, with_)
    return found


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


def _heads(info: ModelInfo, asked: Mapping[str, Asked]) -> None:
    """The mean importance of its heads over the mini tasks; nothing where it is not stored."""
    units = [HeadImportance(one.setup.with_(n_examples=selection.DEFAULTS["train"])) for one in asked.values()
             if one.group in MINI]
    found: dict[HeadImportance, HeadScores] = {unit: record for unit in units
                                               if (record := blocks.fetch(unit)) is not None}
    if not found:
        return
    scores = stats.aggregate([record.scores(KIND) for record in found.values()])
    alive = living.of(info, [unit.setup for unit in found])
    title = words.concentrated(scores, f"averaged over {words.how_many(len(found), 'task')}", alive.mask)
    first = next(iter(found))
    drawn = head_map(scores, title=title, label="importance", file="real-model-importance", scale="logarithmic",
                     alt=f"Heatmap of importance over the layers and heads of {smollm2.NAME}. {title}.").still(INTACT)
    blocks.result(
        title, drawn, table=tables.grid_table(scores), level=3,
        caption=f"n = {sum(record.n_examples for record in found.values())} training examples · {alive.over}",
        measured=blocks.provenance(
            first.setup, f"Head importance {KIND}: gradients, to first order; the mean of the tasks' raw scores",
            alive.measured, task="each mini task", source=blocks.STUDY),
        file="real-model-importance", key="real importance", python=python(
            first, repr(smollm2.NAME), f"scores = stats.aggregate([record.scores({KIND!r}) for record in records])",
            *blocks.shown_lines("tables.grid_table(scores)"), over=[(unit.task, SHOTS) for unit in found]))


def spared(what: str, share: float = 0.9) -> str:
    """How much of the real model can go over the mini tasks, in a sentence; nothing where that is not stored.

    Args:
        what: "heads" or "FFNs"; share: of the intact accuracy, which is to stay.
    """
    if (known := model()) is None or known[0] == selection.model():
        return ""
    real, info = known
    mini = list(setups(real, MINI).values())
    found = [record for one in mini if (record := blocks.fetch(Pruning(one, what.lower()))) is not None]
    if not found or len(found) < len(mini):
        return ""
    alive, each = living.of(info, mini), weights(info)
    live = alive.known if what == "heads" else None
    curve = tables.curve_table(found, tables.OWN, each, info.n_params, live)
    counted = what if live is None else "live heads"
    limits = tables.limits_table(curve, counted, share, {tables.OWN: [found]})
    title, _ = verdicts.spared(limits, share, alive.called if what == "heads" else what,
                               alive.n if what == "heads" else each.n_ffns)
    return f"**{smollm2.NAME}**, over the same {words.how_many(len(found), 'task')}: {title}."


def tour_with(name: str, step: int | None = None) -> None:
    """Take the tour with another model, with nothing off; from a step on. For callbacks only."""
    components.begin(INTACT)
    st.session_state.pop("tour masks", None)
    st.session_state["model"] = name
    if step is not None:
        st.session_state["step"] = step
