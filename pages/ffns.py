"""Which FFNs does a task lean on?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from backend import stats, tables
from backend.kinds import Answers, Evaluation, FFNOracle, Sweep
from backend.values import Ablation, TaskId
from pages.map import plots
from pages.shared import blocks, charts, selection, words

SCOPES = ("This task", "All tasks")
VIEWS = ("FFNs", "FFNs and heads")
MEASURES = ("gradient importance", "switching them off")
DEFINITION = ("Change: accuracy without the FFN minus the intact accuracy, on the same questions; the study's oracle "
              "importance is its negative")
ORACLES = "oracles = {setup.task.name: record for setup, record in zip(setups, records, strict=True)}"
PALE_BARS = "Pale: the 95 % interval includes no change"
PALE = "pale: the 95 % interval includes no change"
SCORED = "Answer: the option of highest summed log-likelihood"

FACTS: plots.Facts = (
    ("change", "change", "+points"), ("intact", "intact", "percent"), ("without it", "accuracy", "percent"),
    ("p", "p", "plain"), ("p (Holm)", "p (Holm)", "plain"), ("newly wrong", "newly wrong", "count"),
    ("newly right", "newly right", "count"))

setup, info, chosen, by = selection.current(), selection.info(), selection.ablation(), selection.definition()
HOW = words.how_tested(setup, "Intact against off")
dark = st.context.theme.type == "dark"


# --- FFNs ---------------------------------------------------------------------------------------


def effects(table: pd.DataFrame, title: str, caption: str, measured: str, file: str, python: str, key: str) -> None:
    """The clickable bars of one effects table."""
    shown = plots.bars(
        table, blocks.shape(), x="change", x_title="change in accuracy when removed, points", facts=FACTS,
        alt=f"Bars: change in accuracy when the FFN of each of {len(table)} layers is removed. {title}.")
    blocks.result(title, charts.layer_effects(table), caption=caption, measured=measured, clickable=shown,
                  table=table.drop(columns=["head"]), file=file, python=python, key=key)


def one_task() -> None:
    """Every layer's effect on the chosen task, with the paired test behind it."""
    unit = FFNOracle(setup)
    record = blocks.get(unit, f"accuracy of {setup.task}, {setup.n_shots}-shot, with each FFN off")
    if record is None:
        return
    table = tables.effects_table(record, chosen, setup.task.name)
    left, right = blocks.side_by_side("ffns", 5, 4, gap="large")
    with left:
        effects(table, words.falls_most(table, f"on {setup.task}"),
                line(record.questions.n, record.questions.chance),
                blocks.provenance(setup, DEFINITION, HOW, PALE_BARS, SCORED,
                    source=blocks.STUDY),
                f"ffns-{setup.task}-{setup.n_shots}shot",
                blocks.python_lines(unit, given={"chosen": chosen}, table="tables.effects_table(record, chosen, "
                                    "setup.task.name).drop(columns=['head'])"), "ffns")
    with right:
        tests(table)


def tests(table: pd.DataFrame) -> None:
    """Intact against removed, layer by layer, on the same questions."""
    clear = int((table["p (Holm)"] < 0.05).sum())
    passing = words.some_layers(clear, len(table)).capitalize()
    blocks.heading(f"{passing} {'passes' if clear <= 1 else 'pass'} a paired test")
    shown = table.sort_values("change")[["name", "accuracy", "change", "p (Holm)", "newly wrong", "newly right"]]
    st.dataframe(blocks.aligned(shown, percent=("accuracy", "change"), p=("p (Holm)",)), hide_index=True,
                 height=blocks.table_height(len(table), 420), key="ffn tests", column_config={"name": "removed"},
                 alt="Paired tests of every layer.")
    blocks.note(f"Intact: {words.percent(table['intact'].iloc[0])} · chance {words.percent(table['chance'].iloc[0])} · "
                "p (Holm) below 0.05 passes",
                blocks.provenance(setup, HOW,
                                  "Holm: adjusted for having looked at every layer, below 0.05 counts", SCORED,
                                  source=blocks.STUDY))


def line(n: int, chance: float, of: str = "") -> str:
    """The caption in sight."""
    return f"n = {n} questions{of} · chance {words.percent(chance)} · {PALE}"


def oracles() -> dict[str, Sweep]:
    """Every task's oracle that is stored; below, the offer to measure the others."""
    tasks = selection.compared()
    units = [FFNOracle(selection.current(task)) for task in tasks.values()]
    records = blocks.get_all(units, f"accuracy of all tasks, {setup.n_shots}-shot, with each FFN off")
    return {name: record for name, record in zip(tasks, records, strict=True) if record is not None}


def all_tasks() -> None:
    """The mean effect of every layer, and every task's own."""
    found = oracles()
    if not found:
        return
    mean = tables.mean_effects_table(found, chosen)
    n = int(mean["n"].iloc[0])
    chance = float(np.mean([r.questions.chance for r in found.values()]))
    left, right = blocks.side_by_side("ffns-all", 4, 6, gap="large")
    with left:
        effects(mean, words.falls_most(mean, f"averaged over {words.how_many(len(found), 'task')}"),
                line(n, chance, f" of {len(found)} tasks"), blocks.provenance(
                    setup, "Unweighted mean of the tasks", DEFINITION, HOW, PALE_BARS, SCORED,
                    source=blocks.STUDY,
                    task="each task"),
                f"ffns-mean-{setup.n_shots}shot", reproduce(found, "tables.mean_effects_table(oracles, chosen)"),
                "ffns-mean")
    with right:
        by_task(found)


def reproduce(found: dict[str, Sweep], table: str) -> str:
    """Python that gets every task's oracle, and the table from them."""
    tasks = selection.compared()
    return blocks.python_lines(
        FFNOracle(setup), ORACLES, table=f"{table}.drop(columns=['head'])", given={"chosen": chosen},
        over=[(tasks[name], setup.n_shots) for name in found])


def by_task(found: dict[str, Sweep]) -> None:
    """Layers by tasks: where each task's FFNs sit."""
    table = tables.all_effects_table(found, chosen)
    cells = table.assign(row=table["layer"].astype(str), column=table["task"]).rename(
        columns={"change": "change in accuracy"})
    title = words.leaning(tables.leaning_table(table), len(found))
    layers = [str(layer) for layer in range(info.n_layers)]
    blocks.result(
        title, charts.matrix(cells, "change in accuracy", rows=layers, columns=list(found), signed=True,
                               reverse=True, domain=reach(table["change"]), number=".0%", dark=dark, y_title="layer",
                               bottom_up=True, clickable=False, cell=round(charts.layer_step(info.n_layers))),
        caption=f"n = {int(table['n'].max())} questions per task · blue: better without it, orange: worse",
        measured=blocks.provenance(setup, DEFINITION, "Intervals, chance and tests are in the CSV", SCORED,
                                   source=blocks.STUDY, task="each task"),
        table=table.drop(columns=["head"]), file=f"ffns-by-task-{setup.n_shots}shot",
        python=reproduce(found, "tables.all_effects_table(oracles, chosen)"), key="ffns-by-task",
        alt_text=f"Heatmap of the change in accuracy over {info.n_layers} layers and {len(found)} tasks. {title}.")


def reach(changes: pd.Series) -> tuple[float, float]:
    """A colour scale that is the same to either side of no change."""
    most = max(0.05, float(changes.abs().max()))
    return -most, most


# --- FFNs and heads -----------------------------------------------------------------------------


def beside_heads(scope: str) -> None:
    """Per layer: how much the heads matter, and how much the FFN does."""
    measure = st.segmented_control(
        "Heads by", MEASURES, default=MEASURES[0], required=True, key="heads by", persist_state="session",
        help="gradient importance: the sum over a layer's heads, as a share of all. switching them off: the change in "
             "accuracy without any head of the layer, the same unit as for FFNs.")
    found = oracles() if scope == "All tasks" else one_oracle()
    even = None
    if measure == MEASURES[0]:
        heads, even, n_heads = gradient_shares(asked(found))
    else:
        heads, n_heads = attention_off(asked(found))
    if not found or heads is None:
        return
    ffns = tables.mean_effects_table(found, chosen) if scope == "All tasks" else tables.effects_table(
        found[setup.task.name], chosen, setup.task.name)
    draw_beside(heads, ffns, f"{len(found)} tasks" if scope == "All tasks" else setup.task.name, n_heads,
                lines_beside(asked(found), scope, measure == MEASURES[0]), even)


def lines_beside(tasks: list[TaskId], scope: str, by_gradient: bool) -> str:
    """Python that gets both tables and sets them side by side."""
    unit = FFNOracle(selection.current(tasks[0]))
    ffns = "tables.mean_effects_table(oracles, chosen)" if scope == "All tasks" else \
        "tables.effects_table(records[0], chosen, setups[0].task.name)"
    heads = [f"heads = tables.layer_shares(stats.aggregate([scores.scores({by!r}) for scores in importance])"
             f"{blocks.headless()})"] if by_gradient else [
        "evaluations = {setup.task.name: [get(Evaluation(setup)), *(get(Evaluation(setup, off)) for off in offs)]",
        "               for setup in setups}",
        f"heads = tables.attention_effects_table(evaluations{blocks.headless()})"]
    return blocks.python_lines(
        unit, *[ORACLES] * (scope == "All tasks"), *heads, table=f"tables.beside_table({ffns}, heads)",
        over=[(task, setup.n_shots) for task in tasks], given={"chosen": chosen} | (
            {} if by_gradient else {"offs": tuple(layers_off())}),
        also={"importance": selection.importance(tasks[0])} if by_gradient else {})


def one_oracle() -> dict[str, Sweep]:
    record = blocks.get(FFNOracle(setup), f"accuracy of {setup.task}, {setup.n_shots}-shot, with each FFN off")
    return {setup.task.name: record} if record is not None else {}


def asked(found: dict[str, Sweep]) -> list[TaskId]:
    """The tasks whose oracles were found; the chosen one where there are none."""
    tasks = {**selection.compared(), setup.task.name: setup.task}
    return [tasks[name] for name in found] or [setup.task]


def gradient_shares(tasks: list[TaskId]) -> tuple[pd.DataFrame | None, pd.Series | None, int]:
    """Each layer's share of the heads' importance, of one task or of the aggregate; by one divisor for all layers too,
    where the importance that is shown has the authors'; and over how many examples."""
    units = [selection.importance(task) for task in tasks]
    records = [r for r in blocks.get_all(units, f"head importance, {setup.n_shots}-shot") if r is not None]
    if not records:
        return None, None, 0

    def shares(reduction: str) -> pd.DataFrame:
        return tables.layer_shares(stats.aggregate([r.scores(reduction) for r in records]), info.headless)

    return shares(by), shares("one-divisor")["share"] if by == "per-token" else None, sum(
        r.n_examples for r in records)


def layers_off() -> list[Ablation]:
    """All heads of each layer."""
    return [Ablation(frozenset(head for head in info.heads if head.layer == layer)) for layer in range(info.n_layers)]


def attention_off(tasks: list[TaskId]) -> tuple[pd.DataFrame | None, int]:
    """The effect of switching off all heads of a layer, in the form of an FFN's effects."""
    offs = layers_off()
    units = [Evaluation(selection.current(task), off) for task in tasks for off in (Ablation(), *offs)]
    found = blocks.get_all(units, "accuracy without all heads of a layer")
    records = [record for record in found if record is not None]
    if len(records) < len(units):
        return None, 0
    step = 1 + len(offs)
    groups: list[list[Answers]] = [records[i:i + step] for i in range(0, len(records), step)]
    table = tables.attention_effects_table(dict(zip(map(str, tasks), groups, strict=True)), info.headless)
    return table, int(table["n"].iloc[0])


def draw_beside(heads: pd.DataFrame, ffns: pd.DataFrame, where: str, n_heads: int, python: str,
                even: pd.Series | None = None) -> None:
    """Two charts of one height, layer beside layer."""
    same_unit = "change" in heads
    weight, loss = -heads["change"] if same_unit else heads["share"], -ffns["change"]
    top_heads, top_ffn = int(weight.idxmax()), int(loss.idxmax())
    title = words.matter_most(weight, loss, where, even)
    of_heads = charts.layer_effects(heads, title="change in accuracy, all heads off, points") if same_unit \
        else charts.layer_bars(heads, "share", "share of the heads' importance")
    of_ffns = charts.layer_effects(ffns)
    blocks.heading(title)
    left, right = blocks.side_by_side("beside", 1, 1, gap="large")
    with left:
        st.markdown("**Heads**")
        st.altair_chart(of_heads, key=f"beside heads {same_unit}",
                        alt=f"Bars: heads per layer; layer {top_heads} leads.")
        if same_unit:
            about_heads = blocks.note(f"n = {n_heads} questions · {PALE}", blocks.provenance(
                setup, "Change: accuracy without any head of the layer minus the intact one, on the same questions",
                HOW, PALE_BARS, task=where))
        else:
            about_heads = blocks.note(f"n = {n_heads} training examples", blocks.provenance(
                setup, f"Gradient importance ({by}), summed over a layer's heads, as a share of all",
                "Raw scores: layers differ in scale", source=blocks.STUDY, task=where))
    with right:
        st.markdown("**FFNs**")
        st.altair_chart(of_ffns, key="beside ffns", alt=f"Bars: FFNs per layer; layer {top_ffn} leads.")
        about_ffns = blocks.note(f"n = {int(ffns['n'].iloc[0])} questions · {PALE}",
                                 blocks.provenance(setup, DEFINITION, HOW, PALE_BARS,
                                                   source=blocks.STUDY, task=where))
    blocks.extras(tables.beside_table(ffns, heads), f"ffns-and-heads-{setup.n_shots}shot", python, "beside",
                  title=title, caption=f"Heads: {about_heads}\nFFNs: {about_ffns}",
                  shown=[("Heads", of_heads), ("FFNs", of_ffns)])


st.title("FFNs")
blocks.text("Which feed-forward networks does a task lean on? Click bars to choose FFNs; Lab switches the chosen off.")
with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
    scope = str(selection.control("Tasks", SCOPES, "scope"))
    view = selection.control("View", VIEWS, "view")
    blocks.to_lab()

if view == VIEWS[1]:
    beside_heads(scope)
elif scope == "All tasks":
    all_tasks()
else:
    one_task()
