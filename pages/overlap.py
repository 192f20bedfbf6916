"""Do tasks and shots share their heads?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from backend import stats, tables
from backend.kinds import HeadScores
from pages.map import head_map, scales
from pages.shared import blocks, charts, components, glossary, living, selection, words
from pages.shared.plain import plain

VIEWS = ("Tasks", "Shots", "Top heads", "Heads that many need")
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
TOP = 0.2  # the top share of two maps that is compared beside them
PAIRS = ((0, 1), (0, 5), (1, 5))  # numbers of shots that are compared
HOVER = "Hover over a cell to see its two maps, click to open them"
PAIR = "a cell: its two maps"
CORRELATION = "Spearman's rank correlation of the scores: 1 = same order, 0 = unrelated (chance)"
AS_AUTHORS = "As in the authors' code: correlation of argsort index lists"
AUTHORS = ("The study's script correlates two lists of head *indices*, sorted by importance, instead of the heads' "
           "ranks. It asks whether the n-th least important head of one task has an index close to that of the other, "
           "which says little about whether tasks rank heads alike: over 4,608 heads a true ρ of 0.99 comes out near "
           "0.02. It is here so that published numbers can be compared.")

setup, info, by = selection.current(), selection.info(), selection.definition()
chosen, tasks = selection.ablation(), selection.compared()
suite = list(tasks)
dark = st.context.theme.type == "dark"
alive = living.now()


# --- get ----------------------------------------------------------------------------------------


def importances(names: Sequence[str], shots: Sequence[int]) -> dict[tuple[str, int], HeadScores]:
    """The stored importance of every task at every number of shots; what is missing is offered."""
    keys = [(name, n_shots) for name in names for n_shots in shots]
    units = [selection.importance(tasks[name], n_shots) for name, n_shots in keys]
    records = blocks.get_all(units, f"head importance at {' and '.join(map(str, shots))} shots")
    return {key: record for key, record in zip(keys, records, strict=True) if record is not None}


def n_of(records: Mapping[tuple[str, int], HeadScores]) -> str:
    """How many training examples stand behind each task's importance."""
    n = [record.n_examples for record in records.values()]
    return f"n = {min(n)}" if min(n) == max(n) else f"n = {min(n)} to {max(n)}"


def explain(records: Mapping[tuple[str, int], HeadScores], *parts: str, shots: str = "",
            task: str = "each task") -> str:
    """How every chart of this page is measured."""
    return blocks.provenance(setup, *parts, f"Over {alive.n} {alive.called}: {by} gradient importance of "
                             f"{n_of(records)} training examples per task", alive.measured, source=blocks.STUDY,
                             shots=shots, task=task)


SCORES = f"scores = [record.scores({by!r}){alive.index} for record in records]"
NAMES = "names = [setup.task.name for setup in setups]"


def reproduce(found: Iterable[tuple[str, int]], *before: str, table: str, then: Sequence[str] = (),
              given: Mapping[str, Any] | None = None) -> str:
    """Python that gets the records of every (task, shots) pair, and compares them."""
    over = [(tasks[name], n_shots) for name, n_shots in found]
    unit = selection.importance(*max(over, key=lambda one: one[1]))
    return blocks.python_lines(unit, *alive.lines, *before, table=table, then=then, over=over,
                               given=alive.given | dict(given or {}))


def pairs_of(names: Sequence[str],
             scores: Sequence[np.ndarray]) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    return {(a, b): (x, y) for a, x in zip(names, scores, strict=True) for b, y in zip(names, scores, strict=True)}


def colours(domain: tuple[float, float]) -> str:
    return f"Colours run from {domain[0]:.1f} to {domain[1]:.0f}"


# --- tasks --------------------------------------------------------------------------------------


def draw_tasks() -> None:
    """Rank correlation of every pair of tasks, and the two maps behind one cell."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        as_authors = authors_switch()
        clustered = st.toggle("Put like beside like", key="clustered", persist_state="session",
                              help=f"Orders the tasks by average linkage of 1 − ρ. {glossary.says('rank correlation')}")
    place = st.container()
    found = importances(suite, [setup.n_shots])
    if len(found) < 2:
        return
    names = [name for name, _ in found]
    scores = [record.scores(by) for record in found.values()]
    ranked = list(map(alive.of, scores))
    rhos = stats.spearman_matrix(ranked, as_authors)
    order = stats.cluster_order(stats.spearman_matrix(ranked)) if clustered else range(len(names))
    ordered = [names[i] for i in order]
    pairs = stats.off_diagonal(rhos)
    label = "ρ of index lists" if as_authors else "Spearman ρ"
    table = tables.matrix_table(rhos, names, names, label, blank_diagonal=True)
    domain = charts.span(pairs)
    with place:
        left, right = blocks.side_by_side("overlap", 6, 5, gap="large")
        with left:
            pair = pick_pair(names, "overlap tasks")
            blocks.result(
                words.tasks_alike(names, rhos, as_authors),
                charts.matrix(charts.pictured(table, pairs_of(names, scores)), label, rows=ordered, columns=ordered,
                                signed=bool((pairs < -0.05).any()), domain=domain, dark=dark, chosen=pair),
                caption=f"{n_of(found)} per task · {alive.over} · chance: 0 · {PAIR}",
                measured=explain(found, AS_AUTHORS if as_authors else CORRELATION, colours(domain), HOVER),
                table=table, file=f"overlap-tasks-{setup.n_shots}shot",
                python=reproduce(
                    found, SCORES, NAMES, f"rhos = stats.spearman_matrix(scores{', as_authors=True' * as_authors})",
                    table=f"tables.matrix_table(rhos, names, names, {label!r}, blank_diagonal=True)",
                    then=["print(stats.off_diagonal(rhos).mean())"]),
                key="overlap tasks", on_click=lambda: note_pair("overlap tasks"),
                alt_text=f"Heatmap of rank correlations between {len(names)} tasks.")
        with right:
            two_maps(found, *((task, (task, setup.n_shots)) for task in pair))


def authors_switch() -> bool:
    """Whether to show what the study's script computes, with why that is something else."""
    on = st.toggle("As in the authors' code", key="as authors", persist_state="session", help=AUTHORS)
    return bool(on)


def pick_pair(names: Sequence[str], key: str) -> tuple[str, str]:
    """The two tasks whose maps are shown: clicked in the matrix, or chosen here."""
    with st.container(horizontal=True, gap="small"):
        a = st.selectbox("Compare", names, index=names.index(setup.task.name) if setup.task.name in names else 0,
                         key=f"{key}:a", width=200, help="Or click a cell of the matrix.")
        rest = [name for name in names if name != a]
        if st.session_state.get(f"{key}:b") not in rest:
            st.session_state.pop(f"{key}:b", None)
        b = st.selectbox("with", rest, key=f"{key}:b", width=200)
    return str(a), str(b)


def note_pair(key: str) -> None:
    """A click on a cell: show its two tasks."""
    pair = charts.picked(st.session_state.get(key))
    if pair and pair[0] != pair[1]:
        st.session_state[f"{key}:a"], st.session_state[f"{key}:b"] = pair


def two_maps(found: Mapping[tuple[str, int], HeadScores], a: tuple[str, tuple[str, int]],
             b: tuple[str, tuple[str, int]]) -> None:
    """Two importance maps side by side, how alike they are and how sure that is.

    Args:
        a, b: what each is called, and which task at how many shots it is.
    """
    records = found[a[1]], found[b[1]]
    scores = records[0].scores(by), records[1].scores(by)
    ranked = alive.of(scores[0]), alive.of(scores[1])
    pair = tables.agreement_table({a[0]: records[0], b[0]: records[1]}, by, alive.mask, TOP).iloc[0]
    low, high = pair["95 % from"], pair["to"]
    sure = f" (95\u00a0%: {low:.2f} to {high:.2f})" if not np.isnan(low) else ""
    title = f"{a[0]} and {b[0]} {words.agreement(pair['Spearman ρ'])}{sure}"
    blocks.heading(title)
    scale = scales.best_scale(np.vstack(ranked))
    columns, drawn = st.columns(2, gap="medium"), []
    for column, (name, _), one in zip(columns, (a, b), scores, strict=True):
        with column:
            reliable = float(pair[f"halves of {name}"])
            st.markdown(f"**{plain(name)}** · {stats.leader(one)} leads")
            drawn.append(("", head_map(
                one, title=name, scale=scale, file=f"map-{name}".replace(", ", "-"), state="chosen",
                headless=info.headless, facts=[
                    (f"for {b[0] if name == a[0] else a[0]}", scores[0 if name == b[0] else 1], "plain")],
                alt=f"Heatmap of head importance, {name}.")))
            components.clickable(drawn[-1][1], f"map {name}")
            if not np.isnan(reliable):
                blocks.note(f"Two halves of its own examples agree at ρ = {reliable:.2f}.")
    caption = blocks.note(
        f"Of the top {words.percent(TOP)} of heads the two share {words.percent(pair['overlap'])} · chance "
        f"{words.percent(pair['chance'])} · click to choose",
        explain({at: found[at] for _, at in (a, b)},
                "ρ: Spearman's rank correlation of the scores; its 95 % interval is a bootstrap over blocks of "
                "examples", "Shared: intersection over union of the two tops", "Halves: mean Spearman over "
                "random halvings of a map's own examples", "Each map has a colour scale of its own",
                task=f"{a[0]} and {b[0]}", shots=shots_of(a[1][1], b[1][1])))
    table = tables.maps_table({name: one for (name, _), one in zip((a, b), scores, strict=True)}, chosen,
                            headless=info.headless)
    names = f"({a[0]!r}, {b[0]!r})"
    blocks.extras(table, f"maps-{a[0]}-{b[0]}".replace(", ", "-"), reproduce(
        (a[1], b[1]), f"pair = dict(zip({names}, records, strict=True))",
        f"maps = {{name: record.scores({by!r}) for name, record in pair.items()}}",
        table=f"tables.maps_table(maps, chosen{blocks.headless()})", given={"chosen": chosen},
        then=[blocks.printed(f"tables.agreement_table(pair, {by!r}{alive.argument}, share={TOP})")]), "two maps",
        title=title, caption=caption, shown=drawn)


def shots_of(a: int, b: int) -> str:
    """The shots of two maps, in words."""
    return f"{a}-shot" if a == b else f"{a} and {b} shots"


# --- shots --------------------------------------------------------------------------------------


def draw_shots() -> None:
    """Rank correlation between numbers of shots, task by task, and the two maps behind one cell."""
    as_authors = authors_switch()
    place = st.container()
    shots = list(selection.SHOTS)
    found = importances(suite, shots)
    names = [name for name in suite if all((name, n_shots) in found for n_shots in shots)]
    if not names:
        return
    columns = [f"{a} and {b} shots" for a, b in PAIRS]
    scores = {key: record.scores(by) for key, record in found.items()}
    rhos = tables.shots_correlations({key: alive.of(one) for key, one in scores.items()}, names, PAIRS, as_authors)
    label = "ρ of index lists" if as_authors else "Spearman ρ"
    table = tables.matrix_table(rhos, names, columns, label)
    domain = charts.span(rhos)
    maps = {(name, column): (scores[name, a], scores[name, b]) for name in names
            for column, (a, b) in zip(columns, PAIRS, strict=True)}
    with place:
        left, right = blocks.side_by_side("overlap", 5, 6, gap="large")
        with left:
            with st.container(horizontal=True, gap="small"):
                at = names.index(setup.task.name) if setup.task.name in names else 0
                task = str(st.selectbox("Task", names, index=at, key="overlap shots:a", width=200,
                                        help="Or click a cell of the matrix."))
                pair = str(st.selectbox("between", columns, index=1, key="overlap shots:b", width=200))
            blocks.result(
                words.shots_alike(columns, rhos, as_authors),
                charts.matrix(charts.pictured(table, maps), label, rows=names, columns=columns, dark=dark,
                              chosen=(task, pair), signed=bool((rhos < -0.05).any()), domain=domain),
                caption=f"{n_of(found)} per task · {alive.over} · chance: 0 · {PAIR}",
                measured=explain(found, AS_AUTHORS if as_authors else CORRELATION, colours(domain), HOVER,
                                 shots="0, 1 and 5 shots"),
                table=table, file="overlap-shots", key="overlap shots", python=reproduce(
                    [(name, n) for name in names for n in shots], f"pairs = {PAIRS}",
                    "names = list(dict.fromkeys(setup.task.name for setup in setups))",
                    f"scores = {{(setup.task.name, setup.n_shots): record.scores({by!r}){alive.index}",
                    "          for setup, record in zip(setups, records, strict=True)}",
                    f"rhos = tables.shots_correlations(scores, names, pairs{', as_authors=True' * as_authors})",
                    table=f"tables.matrix_table(rhos, names, [f'{{a}} and {{b}} shots' for a, b in pairs], {label!r})",
                    then=["print(rhos.mean(0))"]),
                on_click=lambda: note_pair("overlap shots"),
                alt_text=f"Heatmap of rank correlations between shots for {len(names)} tasks.")
        with right:
            a, b = PAIRS[columns.index(pair)]
            two_maps(found, *((f"{task}, {n}-shot", (task, n)) for n in (a, b)))


# --- top heads ----------------------------------------------------------------------------------


def draw_top() -> None:
    """How far the tasks' top heads are the same, against chance, at every size of the top and at one."""
    percent = st.select_slider("Top share of the heads, %", [round(100 * s) for s in SHARES], 20, key="top share",
                               persist_state="session", width=360)
    share = percent / 100
    place = st.container()
    found = importances(suite, [setup.n_shots])
    if len(found) < 2:
        return
    names, scores = [name for name, _ in found], [record.scores(by) for record in found.values()]
    ranked = list(map(alive.of, scores))
    curve = tables.overlap_table(ranked, SHARES)
    overlaps, k = stats.overlap_matrix(ranked, share), max(1, stats.count(share, alive.n))
    here = curve[np.isclose(curve["share"], share)].iloc[0]
    table = tables.matrix_table(overlaps, names, names, "overlap", blank_diagonal=True)
    with place:
        left, right = blocks.side_by_side("overlap", 6, 5, gap="large")
        with left:
            pair = pick_pair(names, "overlap top")
            blocks.result(
                f"Tasks share {words.percent(here['mean'])} of their top {percent} % of heads on average, chance "
                f"would give {words.percent(here['chance'])}",
                charts.matrix(charts.pictured(table, pairs_of(names, scores)), "overlap", rows=names, columns=names,
                                number=".0%", dark=dark, chosen=pair, domain=(float(here["chance"]), 1.0)),
                caption=f"{n_of(found)} per task · {alive.over} · weakest colour: chance, "
                        f"{words.percent(here['chance'])}",
                measured=explain(found, f"Intersection over union of the top {words.how_many(k, 'head')}",
                                 f"Chance: {words.percent(here['chance'])}, the weakest colour", HOVER),
                table=table, file=f"overlap-top{percent}-{setup.n_shots}shot", key="overlap top",
                python=reproduce(
                    found, SCORES, NAMES, f"overlaps = stats.overlap_matrix(scores, {share})",
                    table="tables.matrix_table(overlaps, names, names, 'overlap', blank_diagonal=True)",
                    then=[blocks.printed(f"tables.overlap_table(scores, ({share},))")]),
                on_click=lambda: note_pair("overlap top"),
                alt_text=f"Heatmap of the overlap of the top heads of {len(names)} tasks.")
        with right:
            blocks.result(
                words.above_chance(curve),
                charts.overlap_curve(curve, share),
                caption=f"{n_of(found)} per task · line: mean of pairs · band: all pairs · dashed: chance",
                measured=explain(found, "Line: mean over pairs of tasks; band: lowest to highest pair", "Dashed: the "
                                 "mean overlap of two independent random rankings, exactly"),
                table=curve, file=f"overlap-by-share-{setup.n_shots}shot", python=reproduce(
                    found, SCORES, table=f"tables.overlap_table(scores, {SHARES})"),
                key="overlap curve", alt_text="Curve of the mean overlap against the share of heads, with chance.")
            two_maps(found, *((task, (task, setup.n_shots)) for task in pair))


# --- heads that many need -----------------------------------------------------------------------


def draw_counts() -> None:
    """In how many tasks' top each head is, against what independent rankings would give."""
    percent = st.select_slider("Top share of the heads, %", [round(100 * s) for s in SHARES], 20, key="top share",
                               persist_state="session", width=360)
    place = st.container()
    found = importances(suite, [setup.n_shots])
    if not found:
        return
    counts = np.zeros((info.n_layers, info.n_heads), int)
    counts[alive.mask] = stats.topk_counts([alive.of(record.scores(by)) for record in found.values()], percent / 100)
    table = tables.counts_table(alive.of(counts), percent / 100, len(found))
    everywhere, nowhere = table.iloc[-1], table.iloc[0]
    grid = tables.grid_table(counts.astype(float), chosen, label="tasks", headless=info.headless)
    count = f"counts = stats.topk_counts(scores, {percent / 100})"
    whole = [f"counts = np.zeros({counts.shape}, int)", f"counts[live] = {count[9:]}"] if alive.lines else [count]
    with place:
        left, right = blocks.side_by_side("overlap", 6, 5, gap="large")
        with left:
            title = words.needed(counts, len(found), percent, alive.n, alive.called)
            blocks.result(
                title, head_map(counts.astype(float), title=title, label="tasks", number="count",
                                domain=(0, len(found)), file=f"overlap-heads-top{percent}-{setup.n_shots}shot",
                                state="chosen", headless=info.headless,
                                alt="Heatmap of the number of tasks that need each head."),
                caption=f"{n_of(found)} per task · {alive.over} · colour: number of tasks",
                measured=explain(found, f"Colour: in how many tasks' top {percent} % the head is"),
                table=grid, file=f"overlap-heads-top{percent}-{setup.n_shots}shot", key="overlap counts",
                python=reproduce(found, SCORES, *whole, given={"chosen": chosen}, table="tables.grid_table("
                                 f"counts.astype(float), chosen, label='tasks'{blocks.headless()})"))
        with right:
            blocks.result(
                f"{nowhere['heads']:.0f} of {alive.n} {alive.called} are in no task's top, by chance it would be "
                f"{nowhere['by chance']:.1f}; in all tasks' tops are {everywhere['heads']:.0f}, by chance "
                f"{everywhere['by chance']:.1f}",
                charts.counts_bars(table),
                caption=f"{n_of(found)} per task · {alive.over} · orange: by chance",
                measured=explain(found, "Orange: expected of independent random rankings (binomial)"),
                table=table, file=f"overlap-counts-top{percent}-{setup.n_shots}shot", python=reproduce(
                    found, SCORES, count, table=f"tables.counts_table(counts, {percent / 100}, len(records))"),
                key="overlap bars", alt_text="Bars: heads by the number of tasks that need them, with chance.")


st.title("Overlap")
st.markdown("Do tasks and shots share the heads they lean on?")
view = str(selection.control("View", VIEWS, "view"))
match view:
    case "Shots":
        draw_shots()
    case "Top heads":
        draw_top()
    case "Heads that many need":
        draw_counts()
    case _:
        draw_tasks()
