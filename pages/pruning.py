"""How many heads and FFNs can go?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from backend import tables
from backend.errors import HeadroomError
from backend.kinds import Greedy, HeadGates, Iterative, Pruning, Sweep
from backend.kinds.attribution import REDUCTIONS as OF_ATTRIBUTION
from backend.kinds.lines import expression
from backend.kinds.writes import N_PROBE
from backend.models.info import weights
from backend.runs import jobs
from backend.values import METHODS, N_FIT, Ablation, Ranking, TaskId, parse_exact
from pages.map import head_map
from pages.shared import (
    blocks,
    charts,
    components,
    glossary,
    handles,
    lecture,
    living,
    selection,
    verdicts,
    waiting,
    words,
)
from pages.shared.plain import plain

if TYPE_CHECKING:
    from backend.models.loading import LoadedModel
    from backend.models.pruned import Written

SCOPES = ("This task", "All tasks")
VIEWS = ("Heads", "FFNs", "Heads and FFNs", "Other tasks' rankings", "Learned gates")
WHAT = {"heads": "heads", "FFNs": "ffns", "heads and FFNs": "combined"}  # as the page says it -> as the service does
N_RANDOM = 5
FITTED_HELP = ("Iterative: importance scored anew after every tenth. Greedy: each head that is left is tried at every "
               "step, which only small models can afford. Learned gates: those that cost least go first.")
SAME_QUESTIONS = ("FFNs are ranked by what their removal costs on these very questions: the curve flatters its own "
                  "ranking, others' less")
FORMULA = ("Parameters: 4 · d_model · d_head per head (its slices of query, key, value and output projection), the "
           "FFN's matrices of d_model · d_ffn, biases and norms left out")

setup, info = selection.current(), selection.info()
tasks, dark = selection.compared(), st.context.theme.type == "dark"
suite = list(tasks)
alive = living.now()
LIVE_ORDERS = living.known_for(selection.current(task) for task in {*tasks.values(), setup.task})


def at_random(seed: int, task: TaskId) -> Ranking:
    """A random order of the live heads, behind the dead ones; of all heads, where it is not known which are dead."""
    return Ranking.random(seed, N_PROBE if LIVE_ORDERS else 0)


RANKINGS: dict[str, list[Callable[[TaskId], Ranking]]] = {  # of a task that is pruned
    tables.OWN: [selection.ranking],
    tables.AGGREGATE: [lambda task: selection.ranking(*tasks.values())],
    tables.REVERSED: [lambda task: selection.ranking(task, reverse=True)],
    tables.RANDOM: [partial(at_random, seed) for seed in range(N_RANDOM)],
}


def fitted(method: str, task: TaskId) -> Ranking:
    """The order that a method found on training prompts of a task, with the chosen definition of importance."""
    return Ranking.fitted(method, task, reduction=selection.definition())


RANKINGS |= {name: [partial(fitted, method)] for name, method in zip(tables.FITTED, METHODS, strict=True)}


# --- get ----------------------------------------------------------------------------------------


def unit(name: str, what: str, ranking: Ranking) -> Pruning:
    return Pruning(selection.current(all_tasks()[name]), what, ranking)


def all_tasks() -> dict[str, TaskId]:
    """The tasks that are compared, and the chosen one."""
    return {**tasks, setup.task.name: setup.task}


def complete(names: Sequence[str], what: str,
             rankings: Mapping[str, Sequence[Callable[[TaskId], Ranking]]]) -> dict[str, dict[int, list[Sweep]]]:
    """Per kind of ranking, for each of its rankings by its place, one sweep per task; those with gaps are offered."""
    wanted = [(kind, i, unit(name, WHAT[what], ranking(all_tasks()[name]))) for kind, those in rankings.items()
              for i, ranking in enumerate(those) for name in names]
    records = blocks.get_all([one for *_, one in wanted], f"accuracy as {what} are removed")
    found: dict[str, dict[int, list[Sweep | None]]] = {}
    for (kind, ranking, _), record in zip(wanted, records, strict=True):
        found.setdefault(kind, {}).setdefault(ranking, []).append(record)
    full = {kind: {i: [r for r in sweeps if r is not None] for i, sweeps in those.items() if None not in sweeps}
            for kind, those in found.items()}
    return {kind: those for kind, those in full.items() if those}


# --- explain ------------------------------------------------------------------------------------


def line(table: pd.DataFrame, names: Sequence[str], marks: str) -> str:
    """The caption in sight: n, chance, and what marks on the chart mean."""
    of = f" of {len(names)} tasks" if len(names) > 1 else ""
    return (f"n = {int(table['n'].max())} questions{of} · chance {words.percent(float(table['chance'].mean()))} · "
            f"{marks}")


def explain(names: Sequence[str], *parts: str) -> str:
    """How it is measured: intervals, what is removed in which order, how parameters are counted."""
    return blocks.provenance(
        setup, "Unweighted mean of the tasks" if len(names) > 1 else "", words.how_certain(setup), *parts,
        f"Heads ranked by {ranked()}, FFNs by their oracle; the lowest go first, ties in index order",
        FORMULA, source=blocks.STUDY, task=names[0] if len(names) == 1 else "each task")


def reproduce(names: Sequence[str], what: str, found: Mapping[str, Iterable[int]], table: str, then: str) -> str:
    """Python that gets the sweeps of every ranking (`sweeps`, by kind, one list of tasks' each) and a table of them.

    Args:
        found: which rankings of each kind.
    """
    mine = [f"ranking_{n}" for n, _ in enumerate(i for those in found.values() for i in those)]
    units = {name: unit(names[0], WHAT[what], RANKINGS[kind][i](all_tasks()[names[0]])) for name, (kind, i) in zip(
        mine, ((kind, i) for kind, those in found.items() for i in those), strict=True)}
    lists, left = [], iter(["records", *mine[1:]])
    for kind, those in found.items():
        lists.append(f"    {kind!r}: [{', '.join(next(left) for _ in those)}],")
    first, *others = units.items()
    return blocks.python_lines(
        first[1], *alive.lines, "info = get(Model(model))", "sweeps = {", *lists, "}", table=table, then=[then],
        also=dict(others), over=[(all_tasks()[name], setup.n_shots) for name in names],
        given=alive.given | ({"compared": tuple(sorted(tasks.values()))} if len(names) == 1 and tables.AGGREGATE in
                             found else {}))


def ranked() -> str:
    """What heads are ranked by, in words."""
    by = selection.ranked_by()
    return f"{by} gradients" if by in OF_ATTRIBUTION else f"{by} gradient importance"


def share_of_intact() -> float:
    """Below which share of its intact accuracy a model counts as broken."""
    return st.slider("Broken below this share of the intact accuracy, %", 50, 100, 90, 5, key="broken below",
                     persist_state="session", width=360) / 100


# --- a point and its mask -----------------------------------------------------------------------


def choose(mask: str | None) -> None:
    """Make a point's mask the chosen one, which Lab opens with."""
    if mask:
        components.choose(parse_exact(mask).filled(components.preferred_fill()))


def to_lab(labels: Mapping[str, str], key: str, label: str = "Click a point, or choose it here") -> None:
    """The mask that was clicked and the way to Lab; the menu does the same by keyboard.

    Args:
        labels: what each mask on the chart is called.
    """
    now = str(selection.ablation().filled("zero"))
    st.session_state[key] = now if now in labels else None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.selectbox(label, list(labels), key=key, width=430, placeholder="none yet",
                     format_func=lambda mask: labels.get(mask, mask), on_change=lambda: choose(st.session_state[key]))
        st.page_link("pages/lab.py", icon=":material/science:", disabled=now not in labels, label="Open in Lab" + (
            f" with {words.components(selection.ablation())} off" if now in labels else ""))


# --- curves -------------------------------------------------------------------------------------


def draw_curves(what: str, names: Sequence[str], share: float) -> None:
    """One curve per kind of ranking, the band of random orders, and where each breaks."""
    also = fitted_orders(names) if what == "heads" else []
    place = st.container()
    found = complete(names, what, {kind: those for kind, those in RANKINGS.items()
                                   if kind in also or kind not in tables.FITTED})
    if not found:
        return
    sweeps = {kind: list(those.values()) for kind, those in found.items()}
    counted = "live heads" if what == "heads" and alive.known is not None else what
    live, drawn = alive.known if counted != what else None, counted if alive.dead else what
    table = tables.curves_table(sweeps, weights(info), info.n_params, live)
    limits = tables.limits_table(table, counted, share, sweeps)
    key, said = f"pruning {what}", alive.over if what == "heads" else "ranked on these"
    with place:
        blocks.result(
            words.can_go(limits, counted, share, words.tasks(names), table.iloc[0]),
            charts.pruning_curves(table, drawn, floor=share * table["accuracy"].iloc[0], clickable=len(names) == 1),
            caption=line(table, names, f"dashed: {words.percent(share)} · {said}"),
            measured=explain(names, f"Dashed: {words.percent(share)} of the intact accuracy", band(found),
                             alive.measured if what == "heads" else SAME_QUESTIONS,
                             "How much can go: the last point before the first below that level; 95 % interval from "
                             "questions drawn anew within tasks. Own and aggregate rankings have points 5 % apart, "
                             "others 10 %: an interval resolves no more"),
            table=table, file=f"pruning-{WHAT[what]}-{names[0] if len(names) == 1 else 'all'}-{setup.n_shots}shot",
            python=reproduce(names, what, found, f"tables.curves_table(sweeps, weights(info), info.n_params"
                             f"{', live' if live is not None else ''})",
                             blocks.printed(f"tables.limits_table(table, {counted!r}, {share}, sweeps)")), key=key,
            on_click=(lambda: choose(charts.picked_mask(st.session_state.get(key)))) if len(names) == 1 else None,
            alt_text=f"Accuracy against the share of {what} removed, by {len(found)} kinds of ranking.")
        if len(names) == 1:
            to_lab(words.point_labels(table, counted), f"point {what}")
        else:
            st.caption("Each task has masks of its own: choose *This task* to click a point and open it in Lab.")
        list_limits(limits, what, counted)
    if tables.OWN in sweeps and set(sweeps) & set(tables.FITTED):
        draw_orders(names, found)


def fitted_orders(names: Sequence[str]) -> list[str]:
    """Which orders that were fitted to training prompts are shown; at first those that are stored."""
    stored = [kind for kind in tables.FITTED if all(
        unit(name, "heads", RANKINGS[kind][0](all_tasks()[name])) in handles.store() for name in names)]
    return st.pills("Orders fitted to training prompts", tables.FITTED, selection_mode="multi", default=stored,
                    key=f"fitted orders {setup} {len(names)} {selection.definition()}", help=FITTED_HELP)


def draw_orders(names: Sequence[str], found: Mapping[str, Mapping[int, list[Sweep]]]) -> None:
    """How much orders keep over all shares, and where fitted ones differ from one-shot importance."""
    sweeps = {kind: list(those.values()) for kind, those in found.items()}
    areas, tests = tables.areas_table(sweeps), tables.equal_heads_table(sweeps)
    known = [one for kind, one in (
        (tables.ITERATIVE, Iterative), (tables.GREEDY, Greedy), (tables.GATES, HeadGates)) if kind in sweeps]
    blocks.result(
        verdicts.orders_apart(areas, tests, words.tasks(names)),
        charts.bars(areas, x="CPR", y="order", order=areas["order"].tolist(), x_title="CPR", percent=False),
        caption=f"n = {int(areas['n'].iloc[0])} questions · 1: as good as all heads, whatever the share kept",
        measured=blocks.provenance(
            setup, "CPR: the area under f over the share k of all heads that are kept, CMD: that under |1 − f|; f(k) = "
            "(m(k) − m(0)) / (m(1) − m(0)), m accuracy; trapezoids on the points that all orders have. m(0), with all "
            "heads off, is measured in a fitted order and is the same in every one",
            "95 % intervals: questions, or whole draws of demonstrations, drawn anew within tasks, the same for all "
            "orders; those of the difference to one-shot importance know how many fitted orders there are (Bonferroni)",
            "With equally many heads off: exact McNemar test over the questions of all tasks, p at least that of a t "
            "test over draws; Holm over all rows",
            f"Fitted orders: on {N_FIT} training prompts, judged on validation questions",
            *(f"{kind.TITLE.capitalize()}: {kind.DEFINITION}" for kind in known),
            source="; ".join(["Mueller et al. 2025 (MIB), arXiv:2504.13151", *(kind.SOURCE for kind in known)]),
            task=names[0] if len(names) == 1 else "each task"),
        table=areas, file=f"orders-{names[0] if len(names) == 1 else 'all'}-{setup.n_shots}shot",
        python=reproduce(names, "heads", found, "tables.areas_table(sweeps)",
                         blocks.printed("tables.equal_heads_table(sweeps)")), key="orders",
        alt_text=f"Bars: the area that each of {len(areas)} orders of heads keeps.")
    st.dataframe(blocks.aligned(tests, percent=("heads removed", "accuracy", "one-shot"), p=("p", "p (Holm)"),
                                scores=("difference", "from", "to")), hide_index=True, key="orders tests",
                 height=blocks.table_height(len(tests)),
                 alt="Each fitted order against one-shot importance with equally many heads off.")


# --- learned gates --------------------------------------------------------------------------------


def draw_gates(names: Sequence[str]) -> None:
    """Which heads facilitate and which interfere, as gates that were learned say."""
    units = [HeadGates(selection.current(all_tasks()[name]).with_(n_examples=N_FIT)) for name in names]
    records = blocks.get_all(units, "gates of heads")
    found = [(one, record) for one, record in zip(units, records, strict=True) if record is not None]
    if not found:
        return
    fits = [record for _, record in found]
    chosen = selection.ablation()
    table = tables.gates_table(fits, chosen, alive.mask)
    means = {name: np.mean([getattr(one, name) for one in fits], 0) for name in ("closing", "opening")}
    role = np.mean([one.roles() for one in fits], 0)
    title = verdicts.gates_say(table, words.tasks([str(one.task) for one, _ in found]))
    free, closed, opened = (float(np.mean([getattr(one, f"{name}_losses")[-1] for one in fits]))
                            for name in ("free", "closing", "opening"))
    blocks.result(
        title, head_map(role, title=title, label="role", signed=True, domain=(-1, 1), state="chosen", file="gates",
                        headless=info.headless, facts=[("gate under pressure to close", means["closing"], "plain"),
                                                       ("under pressure to open", means["opening"], "plain"),
                                                       *blocks.known()]),
        caption=f"n = {sum(one.n_examples for one in fits)} training prompts · 1: facilitates, 0: irrelevant, "
                "−1: interferes",
        measured=blocks.provenance(
            setup, f"Gates: {HeadGates.DEFINITION}", "Role: the sum of both gates less 1" + (
                ", mean over tasks" if len(fits) > 1 else ""),
            "Class: the largest of facilitation c, interference 1 − o and irrelevance (1 − c) o, where c and o are the "
            "gates under pressure to close and to open",
            f"Mean loss at the end: {free:.3g} nats without pressure, {closed:.3g} under pressure to close, "
            f"{opened:.3g} to open", "One fit to one draw of prompts: a class is no test. Dead heads go either way",
            "Other than gradient importance, by which the lowest go first on this page's curves, gates are fitted "
            "together: a head may close because another does its work", alive.measured,
            source=f"{HeadGates.SOURCE}; {blocks.STUDY}", task="each task" if len(fits) > 1 else str(found[0][0].task)),
        table=table.drop(columns=["off"]), file=f"gates-{setup.task if len(names) == 1 else 'all'}-{setup.n_shots}shot",
        python=blocks.python_lines(
            found[0][0], *alive.lines, over=[(one.task, setup.n_shots) for one, _ in found], given=alive.given,
            table=f"tables.gates_table(records{alive.argument}).drop(columns=['off'])"), key="gates")
    shown = table.sort_values("role", ascending=False).drop(columns=["layer", "head", "tasks"]).rename(
        columns={"name": "head", "off": "chosen"})
    st.dataframe(blocks.aligned(shown, scores=("role", "gate under pressure to close", "gate under pressure to open")),
                 hide_index=True, key="gates heads", height=blocks.table_height(len(shown)),
                 alt="Every head's role, both gates, and in how many tasks it is of which class.")
    blocks.to_lab()


def band(found: Mapping[str, Mapping[int, list[Sweep]]]) -> str:
    n = len(found.get(tables.RANDOM, {}))
    of = "of live heads, dead ones first" if LIVE_ORDERS else "of all heads, dead ones among them"
    return f"Grey band: mean, lowest and highest of {words.how_many(n, 'random order')} {of}; its masks are the " \
        "first's" if n else ""


def list_limits(limits: pd.DataFrame, what: str, counted: str) -> None:
    shares = [name for name in limits.columns if name not in ("ranking", "that is")]
    st.dataframe(blocks.aligned(limits, percent=shares, counts=["that is"]), hide_index=True, key=f"limits {what}",
                 column_config={"that is": f"that is, {counted}"}, alt="How much can go by each ranking.")


# --- heads and FFNs together --------------------------------------------------------------------


def draw_map(names: Sequence[str], share: float) -> None:
    """Accuracy over the shares of heads and of FFNs that are removed together."""
    kinds = (tables.OWN, tables.AGGREGATE)
    kind = str(st.segmented_control("Ranking", kinds, default=kinds[0], required=True, key="map ranking",
                                    persist_state="session"))
    place = st.container()
    what = "heads and FFNs"
    found = complete(names, what, {kind: RANKINGS[kind]})
    if not found:
        return
    live = alive.known
    table = tables.map_table(tables.curve_table(found[kind][0], kind, weights(info), info.n_params, live))
    most = tables.furthest(table, share)
    key = "pruning map"
    with place:
        blocks.result(
            words.go_together(most, float(table["accuracy"].iloc[0]), words.tasks(names)),
            charts.matrix(table, "accuracy", rows=list(dict.fromkeys(table["row"])),
                            columns=list(dict.fromkeys(table["column"])), number=".0%", dark=dark,
                            domain=(float(table["chance"].iloc[0]), 1.0), x_title="heads removed",
                            y_title="FFNs removed", bottom_up=True, chosen=(most["row"], most["column"]), cell=54,
                            clickable=len(names) == 1),
            caption=line(table, names, f"framed: the most removed at {words.percent(share)} of intact"),
            measured=explain(names, f"Framed: the most parameters removed with at least {words.percent(share)} of the "
                             "intact accuracy", "Colours run from chance to 100 %", alive.measured, SAME_QUESTIONS),
            table=table.drop(columns=["row", "column"]), file=f"pruning-map-{setup.task}-{setup.n_shots}shot",
            python=reproduce(
                names, what, {kind: [0]}, f"tables.curve_table(sweeps[{kind!r}][0], {kind!r}, weights(info), "
                f"info.n_params{', live' * (live is not None)}).drop_duplicates(['n heads', 'n FFNs'])",
                f"print(tables.furthest(table, {share}))"), key=key,
            on_click=(lambda: choose_cell(key, table)) if len(names) == 1 else None,
            alt_text="Heatmap of accuracy over the shares of heads and of FFNs removed.")
        if len(names) == 1:
            to_lab({str(row["mask"]): f"{row['column']} of the heads, {row['row']} of the FFNs removed: "
                                      f"{words.percent(row['accuracy'])}"
                    for row in table.to_dict("records") if row["mask"]}, "point map",
                   "Click a cell, or choose it here")


def choose_cell(key: str, table: pd.DataFrame) -> None:
    cell = charts.picked(st.session_state.get(key))
    if cell:
        choose(str(table[(table["row"] == cell[0]) & (table["column"] == cell[1])]["mask"].iloc[0]))


# --- other tasks' rankings ----------------------------------------------------------------------


def draw_transfer(names: Sequence[str]) -> None:
    """How far another task's ranking serves, at one share of the heads."""
    percent = st.slider("Heads removed, %", 10, 90, 50, 10, key="transfer share", persist_state="session", width=360)
    place = st.container()
    pairs = [(task, ranking) for task in names for ranking in dict.fromkeys([*suite, task])]
    units = [unit(task, "heads", selection.ranking(all_tasks()[ranking])) for task, ranking in pairs]
    records = blocks.get_all(units, "accuracy as heads are removed by other tasks' rankings")
    found = {pair: record for pair, record in zip(pairs, records, strict=True) if record is not None}
    if not found:
        return
    table = tables.transfer_table(found, percent / 100, alive.known)
    with place:
        if len(names) == 1:
            transfer_to(table, names[0], percent)
        else:
            transfer_among(table, percent)


def transfer_to(table: pd.DataFrame, task: str, percent: int) -> None:
    """One task, pruned by every task's ranking."""
    table = table.sort_values("accuracy", ascending=False)
    shown = table.assign(ranking=["its own" if ranking == task else f"of {ranking}" for ranking in table["ranking"]])
    blocks.result(
        words.transfers(table, percent, f"{task} keeps", called=alive.called),
        charts.bars(shown, x="accuracy", y="ranking", order=shown["ranking"].tolist(), x_title="accuracy"),
        caption=f"n = {int(table['n'].max())} questions · orange tick: chance, "
                f"{words.percent(table['chance'].iloc[0])} · intact {words.percent(table['intact'].iloc[0])}",
        measured=blocks.provenance(
            setup, words.how_certain(setup), f"Heads ranked by {ranked()}; the lowest go first",
            source=blocks.STUDY),
        table=table, file=f"transfer-{task}-{setup.n_shots}shot",
        python=transfer_lines(table, percent, ".sort_values('accuracy', ascending=False)"),
        key="transfer", alt_text=f"Bars: accuracy of {task} pruned by the ranking of each task.")
    to_lab({str(row["mask"]): f"{percent} % of the heads removed by the ranking {row['ranking']}: "
                              f"{words.percent(row['accuracy'])}" for row in shown.to_dict("records") if row["mask"]},
           "point transfer", "Choose a mask")


def transfer_lines(table: pd.DataFrame, percent: int, more: str = "") -> str:
    """Python that prunes every task by every task's ranking; `more` is done to the table."""
    names, rankings = (dict.fromkeys(table[column]) for column in ("task", "ranking"))
    by = [name for name in all_tasks() if name in rankings]
    one = expression(selection.ranking(setup.task), {setup.task: "task"})
    return blocks.python_lines(
        unit(str(next(iter(names))), "heads", selection.ranking(all_tasks()[str(next(iter(names)))])),
        *alive.lines, f"sweeps = {{(setup.task.name, task.name): get(Pruning(setup, ranking={one}))",
        "          for setup in setups for task in rankings}", table=f"tables.transfer_table(sweeps, {percent / 100}"
        f"{', live' * (alive.known is not None)}){more}",
        over=[(all_tasks()[str(name)], setup.n_shots) for name in names],
        given=alive.given | {"rankings": tuple(all_tasks()[name] for name in by)})


def transfer_among(table: pd.DataFrame, percent: int) -> None:
    """Every task pruned by every task's ranking."""
    floor = float(np.nanmin(table["chance"] / table["intact"]))
    blocks.result(
        words.transfers(table, percent, "the tasks keep", "kept", " of their intact accuracy", alive.called),
        charts.matrix(table.assign(row=table["task"], column=table["ranking"]), "kept", rows=suite, columns=suite,
                      number=".0%", dark=dark, domain=(min(floor, 0.9), 1.0), x_title="ranking of",
                      y_title="task that is pruned", clickable=False),
        caption=f"n = {int(table['n'].max())} questions per task · strongest colour: 100 % of intact and more",
        measured=blocks.provenance(
            setup, "Kept: accuracy as a share of the task's intact one; the strongest colour is 100 % and more",
            f"Heads ranked by {ranked()}; the lowest go first", "Intervals and chance are in the CSV",
            source=blocks.STUDY, task="each task"),
        table=table, file=f"transfer-all-{setup.n_shots}shot", python=transfer_lines(table, percent),
        key="transfer-all", alt_text="Heatmap: share of the intact accuracy that each task keeps by each ranking.")


# --- a checkpoint ---------------------------------------------------------------------------------


def write_checkpoint() -> None:
    """Write the chosen heads and FFNs' absence into a checkpoint of the hub's format; at the machine itself alone."""
    chosen = selection.ablation().filled("zero")
    with st.popover("Write a checkpoint", icon=":material/save:", disabled=not chosen, help=(
            "The model without what is chosen, in the hub's format. Choose a point of a curve, or heads in Lab.")):
        blocks.text(f"{setup.model.name} without {words.components(chosen)}, as a folder that any tool of the hub "
                    "reads. What is off is zero in the weights: it is no smaller and no faster.")
        folder = st.text_input("Folder, which is not there yet", key="checkpoint folder", placeholder="/home/me/pruned")
        if st.button("Write", key="write checkpoint", type="primary", disabled=not folder):
            try:
                written = waiting.look(partial(_write, chosen, folder))
            except HeadroomError as error:
                st.error(plain(str(error)), icon=":material/error:")
            else:
                st.success(f"It is in {plain(str(written.folder))}. {plain(written.compared)}",
                           icon=":material/check_circle:")
        st.caption("The same from a terminal, in the precision that it is given:")
        st.code(jobs.command_line(["write-pruned", *selection.model_arguments(), "--off", str(chosen) or "MASK", "--to",
                                   folder or "FOLDER"]), language="bash", wrap_lines=True)


def _write(chosen: Ablation, folder: str, model: LoadedModel) -> Written:
    from backend.models.pruned import write_pruned  # loads torch

    return write_pruned(model, chosen, folder)


st.title("Pruning")
blocks.text("How many heads and FFNs can go? Accuracy as more and more of them are removed, in different orders.")
with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
    scope = str(selection.control("Tasks", SCOPES, "scope"))
    view = str(selection.control("Remove", VIEWS, "view", help=glossary.says("pruning")))
    st.segmented_control("Heads ranked by", selection.PRUNED_BY, default=selection.PRUNED_BY[0], required=True,
                         key="ranked by", persist_state="session", help="importance: as it is chosen in the sidebar. "
                         f"{glossary.says('signed', 'integrated')}")
    share = share_of_intact() if view in VIEWS[:3] else 0.0

names = suite if scope == "All tasks" else [setup.task.name]
match view:
    case "Heads and FFNs":
        draw_map(names, share)
    case "Other tasks' rankings":
        draw_transfer(names)
    case "Learned gates":
        draw_gates(names)
    case _:
        draw_curves("FFNs" if view == "FFNs" else "heads", names, share)
if lecture.at_the_machine():
    write_checkpoint()
