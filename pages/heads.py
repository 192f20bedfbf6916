"""Which heads does a task lean on?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from backend import service, stats
from backend.components import Head
from backend.results import HeadImportance
from pages.shared import blocks, charts, selection

VIEWS = ("One task", "All tasks", "Shots", "Difference", "Average")
SCALES = ("raw", "logarithmic", "per layer")
LABEL = "importance"
DEFINITIONS = {
    "per-token": "mean over positions of |z · dL/dz|, per token, as in the authors' code",
    "per-example": "mean over examples of |Σ z · dL/dz|, as in the paper (Michel et al. 2019)",
}

setup, by, chosen = selection.current(), selection.definition(), selection.ablation()


def scaled(scores: np.ndarray, scale: str) -> np.ndarray:
    """The scores as they are coloured: layers made comparable on request."""
    return stats.normalise_layers(scores) if scale == "per layer" else scores


def explain(n: int, *parts: str) -> str:
    """The caption of every chart of this page."""
    return blocks.provenance(setup, *parts, f"n = {n} training examples", DEFINITIONS[by],
                             f"higher = the loss depends more on it · {blocks.STUDY}")


def finding(scores: np.ndarray, of: str) -> str:
    """How concentrated the importance is, and which head leads."""
    top = stats.highest(scores, 1)[0]
    half = stats.concentration(scores)
    return (f"{charts.how_many(half, 'head')} of {scores.size} {'holds' if half == 1 else 'hold'} half of the "
            f"importance {of}; {top} leads")


def heatmap(title: str, scores: np.ndarray, scale: str, caption: str, python: str, key: str,
            signed: bool = False, label: str = LABEL) -> None:
    """The large clickable map of one score matrix."""
    table = charts.grid_table(scaled(scores, scale), chosen, label=label)
    blocks.result(
        title, charts.layers_by_heads(table, label=label, signed=signed, logarithmic=scale == "logarithmic"),
        caption=caption, table=table.drop(columns=["column"]), file=f"{key}-{setup.task}-{setup.n_shots}shot",
        python=python, key=key, on_click=lambda: selection.toggle_clicked(key),
        alt_text=f"Heatmap of {label} over {scores.shape[0]} layers and {scores.shape[1]} heads. {title}.")


def by_layer(scores: np.ndarray, key: str) -> None:
    """How much of the importance each layer holds, drawn at the height of the map beside it."""
    table = pd.DataFrame({"layer": range(len(scores)), "share": scores.sum(1) / max(scores.sum(), 1e-30)})
    top = int(table["share"].idxmax())
    st.markdown(f"#### Layer {top} holds {charts.percent(float(table['share'].max()))}")
    st.altair_chart(charts.layer_bars(table, "share", "share of the importance"), key=f"{key}-layers",
                    alt=f"Bars: share of the importance in each layer; layer {top} holds most.")
    st.caption("Sum of a layer's heads, as a share of all. Raw scores: layers differ in scale.")


def top_heads(record: HeadImportance, scores: np.ndarray) -> None:
    """The highest heads with their intervals, and how far the ranking would repeat itself."""
    low, high = stats.bootstrap_scores(record, by)
    rows = [{"rank": i + 1, "head": str(h), "importance": scores[h.layer, h.head], "95 % from": low[h.layer, h.head],
             "to": high[h.layer, h.head], "share": scores[h.layer, h.head] / max(scores.sum(), 1e-30),
             "chosen": h in chosen.heads}
            for i, h in enumerate(stats.highest(scores, 1)[:20])]
    stability = stats.bootstrap_stability(record, by)
    st.markdown("#### " + (
        f"Two halves of the examples rank the heads alike at ρ = {stability.split_half:.2f}"
        if stability.n_blocks > 1 else "The highest heads"))
    number = st.column_config.NumberColumn(format="scientific" if charts.tiny(scores.ravel()) else "%.3g")
    st.dataframe(pd.DataFrame(rows), hide_index=True, height=300, key="top heads", column_config={
        "importance": number, "95 % from": number, "to": number,
        "share": st.column_config.NumberColumn(format="percent")}, alt="The twenty highest heads, with intervals.")
    st.caption((f"Mean Spearman over 200 random halvings into blocks, 95 % between {stability.low:.2f} and "
                f"{stability.high:.2f} · " if stability.n_blocks > 1 else "") + "intervals: bootstrap over blocks of "
               "examples")


def one_task(scale: str) -> None:
    """The map of the chosen task, its layers, and its highest heads."""
    unit = service.head_importance(setup)
    record = blocks.get(unit, f"head importance of {setup.task}, {setup.n_shots}-shot")
    if record is None:
        return
    scores = record.scores(by)
    left, right = blocks.side_by_side("map", 5, 3)
    with left:
        heatmap(finding(scores, f"for {setup.task}"), scores, scale, explain(record.n_examples),
                blocks.python_lines(unit, f"print(record.scores({by!r}))"), "importance")
    with right:
        by_layer(scores, "importance")
    top_heads(record, scores)


def average(scale: str) -> None:
    """The study's aggregate: the mean of the tasks' maps."""
    names = list(selection.suite())
    units = [service.head_importance(selection.current(name)) for name in names]
    records = [r for r in blocks.get_all(units, f"head importance of all tasks, {setup.n_shots}-shot") if r]
    if not records:
        return
    scores = stats.aggregate([r.scores(by) for r in records])
    left, right = blocks.side_by_side("map", 5, 3)
    with left:
        heatmap(finding(scores, f"averaged over {charts.how_many(len(records), 'task')}"), scores, scale,
                explain(sum(r.n_examples for r in records), "mean of the tasks' raw scores"),
                blocks.python_lines(units[0], f"print(record.scores({by!r}))  # one task; the average takes them all"),
                "average")
    with right:
        by_layer(scores, "average")


def many(labels: Sequence[str], units: list, what: str, scale: str) -> None:
    """Small maps side by side, each on its own colour scale: where the important heads sit, not how high they are."""
    records = blocks.get_all(units, what)
    shown = [(label, r.scores(by), r.n_examples) for label, r in zip(labels, records, strict=True) if r]
    if not shown:
        return
    if len(shown) > 1:
        rhos = stats.spearman_matrix([scores for _, scores, _ in shown])[np.triu_indices(len(shown), 1)]
        st.markdown(f"#### The maps rank the heads alike at ρ = {rhos.mean():.2f} on average "
                    f"({rhos.min():.2f} to {rhos.max():.2f})")
    per_row = 4 if len(shown) > 3 else len(shown)
    for i, (label, scores, _) in enumerate(shown):
        if i % per_row == 0:
            columns = st.columns(per_row, gap="small")
        with columns[i % per_row]:
            top = stats.highest(scores, 1)[0]
            st.markdown(f"**{label}**  \n:gray[{top} leads]")
            table = charts.grid_table(scaled(scores, scale), chosen, label=LABEL)
            st.altair_chart(charts.layers_by_heads(table, label=LABEL, compact=True, clickable=False,
                                                   logarithmic=scale == "logarithmic"),
                            key=f"many:{label}", alt=f"Small heatmap of head importance, {label}; {top} leads.")
    everything = pd.concat([charts.grid_table(scores, chosen, label=LABEL).assign(map=label)
                            for label, scores, _ in shown])
    st.caption(explain(sum(n for _, _, n in shown), "Spearman ρ of every pair", "each map on its own colour scale"))
    blocks.extras(everything.drop(columns=["column"]), f"importance-{len(shown)}-maps",
                  blocks.python_lines(units[0], f"print(record.scores({by!r}))"), "many")


def difference(scale: str) -> None:
    """Another task's map minus this one's, each as shares of its total so that tasks of any scale compare."""
    others = [name for name in selection.suite() if name != setup.task]
    other = st.selectbox("Minus", others, key="other task", persist_state="session", width=320)
    units = [service.head_importance(setup), service.head_importance(selection.current(other))]
    a, b = blocks.get_all(units, f"head importance of {setup.task} and {other}")
    if a is None or b is None:
        return
    shares = [r.scores(by) / max(r.scores(by).sum(), 1e-30) for r in (a, b)]
    delta = shares[0] - shares[1]
    layer, head = np.unravel_index(int(np.abs(delta).argmax()), delta.shape)
    leans = setup.task if delta[layer, head] > 0 else other
    rho = stats.spearman(*shares)
    heatmap(f"{Head(int(layer), int(head))} sets them apart most: {leans} leans on it more (ρ = {rho:.2f})", delta,
            "raw", explain(a.n_examples + b.n_examples, f"{setup.task} minus {other}, each as a share of its total"),
            blocks.python_lines(units[0], f"print(record.scores({by!r}))"), "difference", signed=True,
            label="difference of shares")


st.title("Heads")
st.markdown("Which attention heads does a task lean on? Click heads to choose them; Lab switches the chosen ones off.")
with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
    view = st.segmented_control("View", VIEWS, default=VIEWS[0], required=True, key="view", bind="query-params")
    scale = st.segmented_control("Colours", SCALES, default=SCALES[0], required=True, key="scale",
                                 persist_state="session",
                                 help="per layer: each layer divided by its L2 norm (Michel et al. 2019); for display "
                                      "only, rankings use raw scores.")
    st.page_link("pages/lab.py", label=f"Switch {charts.components(chosen)} off in Lab", icon=":material/science:",
                 disabled=not chosen)

match view:
    case "All tasks":
        names = list(selection.suite())
        many(names, [service.head_importance(selection.current(name)) for name in names],
             f"head importance of all tasks, {setup.n_shots}-shot", str(scale))
    case "Shots":
        many([f"{n}-shot" for n in selection.SHOTS],
             [service.head_importance(selection.current(n_shots=n)) for n in selection.SHOTS],
             f"head importance of {setup.task} at {', '.join(map(str, selection.SHOTS))} shots", str(scale))
    case "Difference":
        difference(str(scale))
    case "Average":
        average(str(scale))
    case _:
        one_task(str(scale))
