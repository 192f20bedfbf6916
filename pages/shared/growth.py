"""How the bundled model came to learn from examples: its checkpoints on a slider, curves and maps of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from backend import stats, tables
from backend.bundled import checkpoints
from backend.bundled.checkpoints import Checkpoint
from backend.kinds import Evaluation, HeadImportance, PrefixMatching, Unit
from backend.kinds.lines import expression, with_imports
from backend.kinds.unit import R
from backend.models.info import BUNDLED
from backend.tables import Grown
from backend.tasks import registry
from backend.values import ModelId, TaskId
from pages.map import head_map
from pages.shared import blocks, charts, components, handles, selection, words

SHOTS = 5
STUDIED = "Olsson et al. 2022, arXiv:2209.11895"


def section(key: str, level: int = 2) -> None:
    """Curves over the training, and two maps at the checkpoint that is looked at; nothing for other models.

    Args:
        key: tells the places apart where it stands.
        level: of the headings.
    """
    found = checkpoints.known()
    if selection.model_name() != BUNDLED or not found:
        return
    models = {one.step: _model(one, last=one is found[-1]) for one in found}
    tasks = [selection.task_id(task.name) for task in registry.suite("mini")
             if registry.about(task.name).group == "in-context"]
    grown = [_grown(one, models[one.step], tasks) for one in found]
    table = tables.growth_table(grown)
    if (missing := [one.name for one, row in zip(found, grown, strict=True) if row.matching is None]):
        blocks.note(f"Of {words.how_many(len(missing), 'checkpoint')} no results are stored.", "Make them: python -m "
                    f"backend precompute --model {missing[0]} --what induction,accuracy,importance")
    if table["prefix matching"].notna().sum() < 2:
        return
    at = int(st.select_slider("Training step", [one.step for one in found], value=found[-1].step, key=f"{key} step",
                              format_func=lambda step: f"{step:,}", persist_state="session",
                              help="A checkpoint of the bundled model's training; the curves are of all of them."))
    _curves(table, at, models, tasks, key, level)
    _maps(next(one for one in grown if one.step == at), grown, key)


def _model(one: Checkpoint, last: bool) -> ModelId | None:
    """The checkpoint as the store knows it, run as the chosen model is; None where it has no results."""
    chosen = selection.model()
    if last:
        return chosen
    return next((model for model in handles.known().models(one.name) if (model.bos, model.dtype) == (
        chosen.bos, chosen.dtype)), None)


def _grown(one: Checkpoint, model: ModelId | None, tasks: Sequence[TaskId]) -> Grown:
    if model is None:
        return Grown(one.step, one.tokens, None, {}, {}, {})
    without, with_ = (_stored({task.name: Evaluation(selection.current(task, n_shots).with_(model=model))
                               for task in tasks}) for n_shots in (0, SHOTS))
    importance = _stored({task.name: HeadImportance(selection.importance(task, SHOTS).setup.with_(model=model))
                          for task in tasks})
    return Grown(one.step, one.tokens, blocks.fetch(PrefixMatching(model)), without, with_, importance)


def _stored(units: Mapping[str, Unit[R]]) -> dict[str, R]:
    """Those of which there are results."""
    records = {name: blocks.fetch(unit) for name, unit in units.items()}
    return {name: record for name, record in records.items() if record is not None}


def _curves(table: pd.DataFrame, at: int, models: Mapping[int, ModelId | None], tasks: Sequence[TaskId], key: str,
            level: int) -> None:
    formed, learns = tables.formed(table), tables.learns(table)
    title = words.grown(formed, learns, table["step"].tolist())
    points = tables.growth_points(table)
    marks = {f"heads look back from step {formed:,} on": formed} if formed is not None else {}
    marks |= {f"examples help from step {learns:,} on": learns} if learns is not None else {}
    setup = selection.current(tasks[0], SHOTS)
    chance = float(table["chance"].mean())
    blocks.result(
        title, charts.growth(points, at, chance, marks),
        caption=f"{len(table)} checkpoints · {words.how_many(len(tasks), 'in-context task')} at 0 and {SHOTS} shots",
        measured=blocks.provenance(
            setup, f"Looking back: some head's prefix matching is {tables.LOOKS_BACK} or more, from there on",
            "Examples help: the 95 % interval of accuracy with minus without them lies above 0, from there on",
            "One training run: what happens together in it need not be cause and effect",
            words.how_certain(setup), task="in-context tasks", shots=f"0 and {SHOTS} shots", source=STUDIED),
        table=table, file="training", key=f"{key} grown", python=_lines(models, tasks),
        alt_text=f"Curves over training steps. {title}.", level=level)


def _maps(one: Grown, grown: Sequence[Grown], key: str) -> None:
    """Where heads look back, and what the loss leans on, at one checkpoint; on the scale of all."""
    chosen = selection.ablation()
    left, right = blocks.side_by_side(f"{key} maps", 1, 1, gap="large")
    with left:
        if one.matching is not None:
            values = np.array(one.matching.mean)
            components.clickable(head_map(
                values, title=f"Prefix matching at step {one.step:,}", label=f"prefix matching at step {one.step:,}",
                domain=(0, 1), file=f"prefix-matching-step-{one.step}",
                alt=f"Prefix matching of every head at step {one.step:,}").still(chosen), f"{key} grown matching")
    with right:
        every = {each.step: stats.shares(stats.aggregate([record.scores("per-example") for record in
                                                          each.importance.values()]))
                 for each in grown if each.importance}
        if one.step in every:
            components.clickable(head_map(
                every[one.step], title=f"Head importance at step {one.step:,}",
                label=f"share of the importance at step {one.step:,}",
                number="percent", domain=(0, float(max(map(np.max, every.values())))),
                file=f"importance-step-{one.step}",
                alt=f"Importance of every head at step {one.step:,}").still(chosen), f"{key} grown importance")
    blocks.note("Both maps keep their colours over all checkpoints: 0 to 1, and 0 to the highest of any",
                blocks.provenance(selection.current(None, SHOTS), "Importance: per example, mean of the tasks, as a "
                                  "share of all heads' together", task="in-context tasks", source=blocks.STUDY))


def _lines(models: Mapping[int, ModelId | None], tasks: Sequence[TaskId]) -> str:
    """Python that makes the table of the stored results."""
    setup = selection.current(tasks[0], SHOTS)
    known = {setup.model: "model", setup.task: "task"}
    tokens = {one.step: one.tokens for one in checkpoints.known()}
    return with_imports([
        "store = default_store()",
        "models = {",
        *(f"    {step}: {expression(model, {})}," for step, model in models.items() if model is not None),
        "}",
        f"tokens = {tokens!r}",
        f"tasks = ({', '.join(expression(task, {}) for task in tasks)},)",
        "",
        "",
        "def answers(model, n_shots):",
        f"    setups = [{expression(setup, known).replace(f'n_shots={SHOTS}', 'n_shots=n_shots')} for task in tasks]",
        "    return {s.task.name: found for s in setups if (found := store.get(Evaluation(s))) is not None}",
        "",
        "",
        "def grown(step, n_tokens):",
        "    if (model := models.get(step)) is None:",
        "        return tables.Grown(step, n_tokens, None, {}, {}, {})",
        f"    return tables.Grown(step, n_tokens, store.get(PrefixMatching(model)), answers(model, 0), "
        f"answers(model, {SHOTS}), {{}})",
        "",
        "",
        "table = tables.growth_table([grown(step, n_tokens) for step, n_tokens in tokens.items()])",
        "print(table.to_string())",
        "print('heads look back from', tables.formed(table), 'examples help from', tables.learns(table))"])
