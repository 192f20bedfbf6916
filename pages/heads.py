"""Which heads does a task lean on?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from backend import stats, tables
from backend.kinds import HeadImportance, HeadOracle, HeadScores
from backend.values import TaskId
from pages.map import head_map, scales
from pages.map.scales import Number
from pages.shared import blocks, calibration, charts, living, selection, two_models, words
from pages.shared.plain import plain

VIEWS = ("One task", "All tasks", "Shots", "Difference", "Average", "Calibration", "Models")
SCALES = (two_models.AUTOMATIC, *scales.SCALES)
LABEL = "importance"
THUMBNAIL = 170  # pixels of a small map's width in a picture of all
DEFINITIONS = {
    "per-token": "Importance: mean over positions of |z · dL/dz|, per token, as in the authors' code: in the last "
                 "layer over the answer's positions alone, so that its scores are larger than other layers'",
    "one-divisor": "Importance: mean over positions of |z · dL/dz|, per token, with one divisor for all layers",
    "per-example": "Importance: mean over examples of |Σ z · dL/dz|, as in the paper (Michel et al. 2019)",
}

setup, info, by, chosen = selection.current(), selection.info(), selection.definition(), selection.ablation()
alive = living.now()
HEAD = "live head" if alive.dead else "head"


def scaled(scores: np.ndarray, scale: str) -> np.ndarray:
    """The scores as they are coloured: layers made comparable on request."""
    return stats.normalise_layers(scores) if scale == "per layer" else scores


def colours(scores: np.ndarray, scale: str) -> str:
    """The scale that is asked for, or the one that shows more than the map's peak."""
    return scales.best_scale(info.of_heads(scores)) if scale == two_models.AUTOMATIC else scale


def line(n: int, of: str = "") -> str:
    """The caption in sight of a map of raw scores."""
    return f"n = {n} training examples{of} · stronger: the loss depends more on it"


def explain(*parts: str, task: str = "", shots: str = "") -> str:
    """How every chart of this page is measured."""
    return blocks.provenance(setup, *parts, DEFINITIONS[by], "Higher: the loss depends more on the head",
                             source=blocks.STUDY, shots=shots, task=task)


def heatmap(title: str, scores: np.ndarray, scale: str, caption: str, measured: str, python: str, key: str,
            signed: bool = False, label: str = LABEL, number: Number = "plain") -> None:
    """The large clickable map of one score matrix."""
    file = f"{key}-{setup.task}-{setup.n_shots}shot"
    blocks.result(
        title, head_map(
            scores, title=title, label=label, scale=colours(scores, scale), signed=signed, number=number, file=file,
            facts=blocks.known(), state="chosen", headless=info.headless,
            alt=f"Heatmap of {label} over {scores.shape[0]} layers and {scores.shape[1]} heads. {title}."),
        caption=caption, measured=measured, file=file, python=python, key=key,
        table=tables.grid_table(scores, chosen, label=label, headless=info.headless))


def even(records: Sequence[HeadScores]) -> np.ndarray | None:
    """The mean of the scores by one divisor for all layers, where those that are shown are by the authors'."""
    return stats.aggregate([r.scores("one-divisor") for r in records]) if by == "per-token" else None


def by_layer(scores: np.ndarray, n: int, python: str, key: str, task: str = "", *,
             evenly: np.ndarray | None = None) -> None:
    """How much of the importance falls on each layer, drawn at the height of the map beside it."""
    table = tables.layer_shares(scores)
    top = int(table["share"].idxmax())
    blocks.result(
        words.layer_holds(table["share"], None if evenly is None else tables.layer_shares(evenly)["share"]),
        charts.layer_bars(table, "share", "share of the importance"),
        caption=f"n = {n} training examples · evenly: {words.percent(1 / len(info.attending))} each",
        measured=explain("The importance of a layer's heads, summed, as a share of all heads' sum",
                         "Raw scores: layers differ in scale", "" if evenly is None else "One divisor: what is chosen "
                         "as one-divisor in the sidebar", task=task),
        table=table, file=f"{key}-by-layer-{setup.task}-{setup.n_shots}shot", python=python, key=f"{key}-layers",
        alt_text=f"Bars: share of the importance in each layer; layer {top} holds most.")


@st.cache_data(show_spinner=False, max_entries=16, hash_funcs={HeadScores: hash})
def spread(record: HeadScores, by: str, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray, stats.Stability]:
    """The scores' intervals and the ranking's stability: the same at every click, and the slowest to work out."""
    return *stats.bootstrap_scores(record, by), stats.bootstrap_stability(record, by, heads=heads)


def top_heads(record: HeadScores) -> None:
    """The highest heads with their intervals, and how far the ranking would repeat itself."""
    low, high, stability = spread(record, by, alive.mask)
    table = tables.leading_heads_table(record, by, chosen, (low, high), headless=info.headless)
    halves = stability.n_blocks > 1
    title = f"Two halves of the examples rank the heads alike at ρ = {stability.split_half:.2f}" if halves else \
        "The highest heads"
    blocks.heading(title)
    st.dataframe(blocks.aligned(table, percent=("share",), scores=("importance", "95 % from", "to")),
                 hide_index=True, height=300, key="top heads", alt="The twenty highest heads, with intervals.")
    caption = blocks.note(
        f"n = {record.n_examples} training examples · {alive.over}"
        + f" · 95 % of halvings: {stability.low:.2f} to {stability.high:.2f}" * halves,
        explain("ρ: mean Spearman over 200 random halvings of the examples into blocks; 0 is chance" * halves,
                alive.measured, "Intervals of the importance: 95 %, bootstrap over blocks of examples"))
    blocks.extras(table, f"top-heads-{setup.task}-{setup.n_shots}shot", blocks.python_lines(
        selection.importance(), *alive.lines, given=alive.given | {"chosen": chosen},
        table=f"tables.leading_heads_table(record, {by!r}, chosen{blocks.headless()})",
        then=[f"print(stats.bootstrap_stability(record, {by!r}{alive.argument}))"]), "top-heads", title=title,
        caption=caption)


def one_task(scale: str) -> None:
    """The map of the chosen task, its layers, and its highest heads."""
    unit = selection.importance()
    record = blocks.get(unit, f"head importance of {setup.task}, {setup.n_shots}-shot")
    if record is None:
        return
    scores = record.scores(by)
    left, right = blocks.side_by_side("map", 5, 3)
    with left:
        heatmap(words.concentrated(scores, f"for {setup.task}", alive.mask, even([record]), HEAD), scores, scale,
                line(record.n_examples), explain(alive.measured),
                map_lines(unit, f"scores = record.scores({by!r})"), "importance")
    with right:
        by_layer(scores, record.n_examples, blocks.python_lines(
            unit, table=f"tables.layer_shares(record.scores({by!r}))", then=[
                "print(stats.layer_shares(record.scores('one-divisor')))"] if by == "per-token" else ()), "importance",
                 evenly=even([record]))
    need(record)
    top_heads(record)


def need(record: HeadScores) -> None:
    """Where importance and need part ways, if it is stored what each head's removal costs."""
    oracle = blocks.fetch(HeadOracle(setup))
    if oracle is None:
        return
    table = tables.need_table(record.scores(by), oracle, alive.mask)
    title = words.need_apart(table, str(setup.task))
    blocks.heading(title)
    together = stats.spearman(table["importance"].to_numpy(), -table["change"].to_numpy())
    caption = blocks.note(
        f"n = {int(table['n'].iloc[0])} questions, {record.n_examples} training examples · {alive.over}",
        explain("Need: accuracy with the head off minus intact, on the same questions; 95 % paired bootstrap interval",
                "Importance: gradients, to first order and one head at a time; another head may do what one that is "
                "off did", f"Importance and need {words.agreement(together)}", alive.measured))
    blocks.extras(table, f"importance-and-need-{setup.task}-{setup.n_shots}shot", blocks.python_lines(
        selection.importance(), *alive.lines, given=alive.given, also={"oracle": HeadOracle(setup)},
        table=f"tables.need_table(record.scores({by!r}), oracle{alive.argument})"), "need", title=title,
        caption=caption)


def map_lines(unit: HeadImportance, scores: str, over: Sequence[tuple[TaskId, int]] = ()) -> str:
    """Python behind a map, and how many heads hold half of it; `scores` is the line that makes the scores."""
    return blocks.python_lines(
        unit, *alive.lines, scores, over=over, given=alive.given | {"chosen": chosen},
        table=f"tables.grid_table(scores, chosen{blocks.headless()})",
        then=[f"print(stats.concentration(scores{alive.index}), 'heads come to half of it')"])


def average(scale: str) -> None:
    """The study's aggregate: the mean of the tasks' maps."""
    tasks = selection.compared()
    units = [selection.importance(task) for task in tasks.values()]
    found = blocks.get_all(units, f"head importance of all tasks, {setup.n_shots}-shot")
    records = [r for r in found if r]
    units = [unit for unit, r in zip(units, found, strict=True) if r]
    if not records:
        return
    scores = stats.aggregate([r.scores(by) for r in records])
    left, right = blocks.side_by_side("map", 5, 3)
    mean = f"scores = stats.aggregate([record.scores({by!r}) for record in records])"
    over, n = [(unit.task, setup.n_shots) for unit in units], sum(r.n_examples for r in records)
    with left:
        heatmap(words.concentrated(scores, f"averaged over {words.how_many(len(records), 'task')}", alive.mask,
                                   even(records), HEAD),
                scores, scale, line(n, f" of {words.how_many(len(records), 'task')}"),
                explain("The mean of the tasks' raw scores", alive.measured, task="each task"),
                map_lines(units[0], mean, over), "average")
    with right:
        by_layer(scores, n, blocks.python_lines(units[0], mean, table="tables.layer_shares(scores)", over=over),
                 "average", task="each task", evenly=even(records))


def open_map(unit: HeadImportance) -> None:
    """Show a small map large: its task and its number of shots become the chosen ones."""
    st.session_state["task"], st.session_state["shots"] = unit.task.name, unit.setup.n_shots
    st.session_state["view"] = VIEWS[0]


def many(labels: Sequence[str], units: Sequence[HeadImportance], what: str, scale: str) -> None:
    """Small maps side by side, each on its own colour scale: where the important heads sit, not how high they are."""
    records = blocks.get_all(units, what)
    shown = [(label, unit, r.scores(by), r.n_examples) for label, unit, r in zip(labels, units, records, strict=True)
             if r]
    if not shown:
        return
    title, drawn = "One map", []
    if len(shown) > 1:
        rhos = stats.off_diagonal(stats.spearman_matrix([alive.of(scores) for _, _, scores, _ in shown]))
        title = words.alike("The maps", rhos)
        blocks.heading(title)
    per_row = 4 if len(shown) > 3 else len(shown)
    for i, (label, unit, scores, _) in enumerate(shown):
        if i % per_row == 0:
            columns = st.columns(per_row, gap="small")
        with columns[i % per_row]:
            top = stats.leader(scores)
            st.button(f"**{plain(label)}** · {top} leads", key=f"open {label}", type="tertiary", on_click=open_map,
                      args=(unit,), icon=":material/open_in_full:", help="Show this map large.")
            used = colours(scores, scale)
            table = tables.grid_table(scaled(scores, used), chosen, label=LABEL, headless=info.headless)
            chart = charts.layers_by_heads(table, label=LABEL, logarithmic=used == "logarithmic")
            drawn.append((label, chart.properties(width=THUMBNAIL)))
            st.altair_chart(chart, key=f"many:{label}", alt=f"Small heatmap of head importance, {label}; {top} leads.")
    everything = tables.maps_table({label: scores for label, _, scores, _ in shown}, chosen, LABEL,
                                   info.headless)
    each_task = len({unit.task for unit in units}) > 1
    caption = blocks.note(
        f"n = {sum(n for *_, n in shown)} training examples · {alive.over} · colours: each its own ({scale})",
        explain("Maps: heads across, layers up, layer 0 at the bottom", "ρ: Spearman's rank correlation of "
                         "every pair of maps; mean, lowest and highest; 0 is chance", alive.measured,
                         task="each task" if each_task else "",
                         shots="" if each_task else f"{', '.join(map(str, selection.SHOTS))} shots"))
    blocks.extras(everything, f"importance-{len(shown)}-maps", blocks.python_lines(
        units[-1], *alive.lines,
        f"maps = {{name: record.scores({by!r}) for name, record in zip(names, records, strict=True)}}",
        table=f"tables.maps_table(maps, chosen{blocks.headless()})",
        then=[f"print(stats.spearman_matrix([scores{alive.index} for scores in maps.values()]))"],
        over=[(unit.task, unit.setup.n_shots) for _, unit, _, _ in shown],
        given=alive.given | {"names": tuple(label for label, *_ in shown), "chosen": chosen}), "many", title=title,
        caption=caption, shown=drawn)


def difference() -> None:
    """This task's map minus another's, or minus its own at other shots, each as shares of its total to compare them."""
    others = {name: (task, setup.n_shots) for name, task in selection.compared().items() if task != setup.task}
    others |= {f"{setup.task}, {n}-shot": (setup.task, n) for n in selection.SHOTS if n != setup.n_shots}
    other = str(st.selectbox("Minus", list(others), key="other task", persist_state="session", width=320))
    asked = [(setup.task, setup.n_shots), others[other]]
    units = [selection.importance(*one) for one in asked]
    a, b = blocks.get_all(units, f"head importance of {setup.task}, {setup.n_shots}-shot, and {other}")
    if a is None or b is None:
        return
    shares = [stats.shares(r.scores(by)) for r in (a, b)]
    delta = shares[0] - shares[1]
    label = "difference of shares"
    here = setup.task.name if others[other][0] != setup.task else f"{setup.task}, {setup.n_shots}-shot"
    heatmap(words.sets_apart(delta, here, other, stats.spearman(*map(alive.of, shares))), delta, "raw",
            f"n = {a.n_examples + b.n_examples} training examples · blue: {here} leans on it more, orange: {other}",
            explain(f"{here} minus {other}, each as a share of its total", alive.measured),
            blocks.python_lines(
                units[0], *alive.lines, f"a, b = (stats.shares(record.scores({by!r})) for record in records)",
                table=f"tables.grid_table(a - b, chosen, label={label!r}{blocks.headless()})",
                then=[f"print(stats.spearman(a{alive.index}, b{alive.index}))"], over=asked,
                given=alive.given | {"chosen": chosen}),
            "difference", signed=True, label=label, number="+points")


st.title("Heads")
blocks.text("Which attention heads does a task lean on? Click heads to choose them; Lab switches the chosen ones off.")
with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
    view = selection.control("View", VIEWS, "view")
    scale = st.segmented_control("Colours", SCALES, default=SCALES[0], required=True, key="scale",
                                 persist_state="session",
                                 help="automatic: the first of the three that shows more than the highest heads; the "
                                      "legend says which. per layer: each layer divided by its L2 norm (Michel et al. "
                                      "2019). For display only: numbers and rankings are raw.")
    blocks.to_lab()

match view:
    case "All tasks":
        tasks = selection.compared()
        many(list(tasks), [selection.importance(task) for task in tasks.values()],
             f"head importance of all tasks, {setup.n_shots}-shot", str(scale))
    case "Shots":
        many([f"{n}-shot" for n in selection.SHOTS],
             [selection.importance(n_shots=n) for n in selection.SHOTS],
             f"head importance of {setup.task} at {', '.join(map(str, selection.SHOTS))} shots", str(scale))
    case "Difference":
        difference()
    case "Average":
        average(str(scale))
    case "Calibration":
        calibration.draw(DEFINITIONS)
    case "Models":
        two_models.draw(str(scale), DEFINITIONS[by])
    case _:
        one_task(str(scale))
