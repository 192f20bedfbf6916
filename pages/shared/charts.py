"""Results as charts and as sentences: records and arrays in, Altair charts, tables and text out; no Streamlit calls.

Every chart takes the table it draws (`*_table`), so that what can be downloaded is what is seen.
Colours come from the theme (.streamlit/config.toml): "ramp" for sizes, "diverging" around zero for signs,
and from `BLUE` (intact) and `ORANGE` (ablated) for the two models. Heads run across, layers up, layer 0 at the bottom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from backend import stats
from backend.results import Answers
from backend.values import INTACT, Ablation, Head

BLUE, ORANGE, GREY = "#3d8fd1", "#e07b1f", "#8593a3"  # readable on light and dark alike
INKS = {False: ("#1d2733", "#ffffff"), True: ("#e6ebf1", "#0c1620")}  # dark theme? -> on weak colours, on strong ones
FFN = -1  # the `head` of a row that stands for a layer's FFN
CLICK = "click"  # the name of every clickable chart's selection
CANVAS = 2000  # Streamlit draws more marks than this on a canvas, where names for each of them would reach nobody

Layers = alt.LayerChart | alt.FacetChart  # what `alt.layer(...).properties(...)` is typed as

# The grid keeps one size per model, so that nothing jumps when results arrive.
_GRID_HEIGHT, _CELL_LOW, _CELL_HIGH = 470, 9, 46
AXIS = 70  # what Streamlit takes off a chart's height for the axis below and the padding
LEGEND = 30  # and for a legend on top


def layer_step(n_layers: int) -> float:
    """How many pixels a layer is high, in every chart with layers up: what stands side by side lines up."""
    return max(_CELL_LOW, min(_CELL_HIGH, _GRID_HEIGHT / n_layers))


# --- heatmaps -----------------------------------------------------------------------------------


def grid_table(scores: np.ndarray, off: Ablation = INTACT, *, label: str = "importance") -> pd.DataFrame:
    """One row per head: layer, head, name, its score, its rank and whether it is off.

    Args:
        scores: (n_layers, n_heads).
        label: what the score is called, the name of its column.
    """
    ranks = np.full(scores.size, np.nan)
    if not np.isnan(scores).any():
        ranks[stats.order(scores)[::-1]] = np.arange(1, scores.size + 1)
    layers, heads = (grid.ravel() for grid in np.indices(scores.shape))
    names = [f"L{layer}H{head}" for layer in range(scores.shape[0]) for head in range(scores.shape[1])]
    return pd.DataFrame({"layer": layers, "head": heads, "name": names, "column": heads.astype(str),
                         label: scores.ravel(), "rank": ranks, "off": np.isin(names, [str(h) for h in off.heads])})


def members(layer: int, head: int) -> Ablation:
    """What a row of a chart stands for: a head, or an FFN."""
    return Ablation(ffns=frozenset({layer})) if head == FFN else Ablation(frozenset({Head(layer, head)}))


def layers_by_heads(table: pd.DataFrame, *, label: str = "importance", logarithmic: bool = False) -> Layers:
    """A `grid_table` as a small still picture, for many side by side; the map to click is `pages.map`."""
    n_layers, n_heads = int(table["layer"].max()) + 1, int(table["head"].max()) + 1
    step = layer_step(n_layers) * 0.45
    gap = 0.08 if n_heads <= 32 else 0
    x = alt.X("column:N", sort=[*map(str, range(n_heads))], title=None, axis=None,
              scale=alt.Scale(paddingInner=gap, paddingOuter=0))
    y = alt.Y("layer:O", sort="descending", title=None, axis=None, scale=alt.Scale(paddingInner=gap, paddingOuter=0))
    number = ".2~e" if tiny(table[label]) else ".3~g"
    tooltip = [alt.Tooltip("name:N", title="component"), alt.Tooltip(f"{label}:Q", format=number),
               alt.Tooltip("rank:Q", title="rank (1 = highest)"), alt.Tooltip("off:N", title="chosen")]
    cells = alt.Chart(table).mark_rect(cornerRadius=3 if gap else 0, invalid="show", aria=len(table) <= CANVAS).encode(
        x=x, y=y, tooltip=tooltip, color=alt.Color(
            f"{label}:Q", condition={"test": f"!isValid(datum['{label}'])", "value": "#8593a355"},
            scale=_scale(table[label].to_numpy(float), logarithmic), legend=None),
        stroke=alt.when("datum.off").then(alt.value(ORANGE)).otherwise(alt.value("transparent")),
        strokeWidth=alt.value(1.6 if gap else 0.6))
    crosses = alt.Chart(table).transform_filter("datum.off").mark_point(
        shape="cross", angle=45, size=min(110.0, step * step / 7), filled=True, color=ORANGE, opacity=0.95).encode(
        x=x, y=y, tooltip=tooltip)
    return alt.layer(cells, crosses).properties(height=round(step * n_layers))


def _scale(values: np.ndarray, logarithmic: bool) -> alt.Scale:
    """The colours' scale: from 0, so that equal colours mean equal shares, or logarithmic."""
    finite = values[np.isfinite(values)]
    if logarithmic and (finite > 0).any():
        return alt.Scale(range="heatmap", type="log", clamp=True,
                         domain=[float(finite[finite > 0].min()), float(finite.max())])
    low, high = min(0.0, float(finite.min(initial=0))), float(finite.max(initial=0))
    return alt.Scale(range="heatmap", domain=[low, high if high > low else low + 1])


def tiny(values: Iterable[float]) -> bool:
    """Whether numbers are so small that people read them better as 2.5e-5."""
    return 0 < np.nanmax(np.abs([0.0, *values])) < 1e-3


def layer_bars(table: pd.DataFrame, value: str, title: str, *, percent: bool = True,
               signed: bool = False) -> alt.Chart:
    """One bar per layer, layer 0 at the bottom, as high as the `layers_by_heads` map of the same model beside it."""
    n_layers = int(table["layer"].max()) + 1
    step = layer_step(n_layers)
    number = ".1%" if percent else ".3g"
    return alt.Chart(table).mark_bar(cornerRadius=2).encode(
        y=alt.Y("layer:O", sort="descending", title="layer", scale=alt.Scale(paddingInner=0.25, paddingOuter=0),
                axis=alt.Axis(ticks=False, domain=False, labelOverlap=True)),
        x=alt.X(f"{value}:Q", title=title, axis=alt.Axis(format="%" if percent else "", tickCount=4)),
        color=alt.condition(f"datum['{value}'] < 0", alt.value(ORANGE), alt.value(BLUE)) if signed else alt.value(BLUE),
        tooltip=[alt.Tooltip("layer:O"), alt.Tooltip(f"{value}:Q", title=title, format=number)],
    ).properties(height=round(step * n_layers) + AXIS)


def clicked(state: Any) -> list[tuple[int, int]]:
    """The (layer, head) pairs in the selection of a clickable chart's state; see `members` for what they stand for."""
    points = ((state or {}).get("selection") or {}).get(CLICK) or []
    return [(int(p["layer"]), int(p["head"])) for p in points if "layer" in p and "head" in p]


# --- accuracies ---------------------------------------------------------------------------------


def accuracy_row(name: str, outcomes: np.ndarray, chance: float, group: str = "") -> dict[str, Any]:
    """Accuracy of one model on one task, with its 95 % Wilson interval: a row of an accuracy table."""
    right, n = int(outcomes.sum()), len(outcomes)
    low, high = stats.wilson(right, n)
    return {"task": name, "group": group, "accuracy": right / n if n else np.nan, "low": low, "high": high,
            "right": right, "n": n, "chance": chance}


def comparison_table(names: Sequence[str], groups: Sequence[str], intact: Sequence[np.ndarray],
                     ablated: Sequence[np.ndarray | None], chances: Sequence[float]) -> pd.DataFrame:
    """Two rows per task, "intact" and "ablated" (while it is not there yet: one), with intervals and paired tests."""
    rows = []
    for name, group, a, b, chance in zip(names, groups, intact, ablated, chances, strict=True):
        test = stats.mcnemar(a, b) if b is not None else None
        for model, outcomes in (("intact", a), ("ablated", b)):
            if outcomes is not None:
                rows.append({**accuracy_row(name, outcomes, chance, group), "model": model,
                             "p": test.p if test else np.nan, "newly wrong": test.only_a if test else np.nan,
                             "newly right": test.only_b if test else np.nan})
    return pd.DataFrame(rows, columns=["task", "model", "accuracy", "low", "high", "right", "n", "chance", "p",
                                       "newly wrong", "newly right", "group"])


def mean_rows(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Per model the unweighted mean of a `comparison_table`'s accuracies, with its 95 % interval.

    The ablated model's only where all rows have it: means of different tasks do not compare.
    """
    rows: dict[str, dict[str, Any]] = {}
    for model, part in table.groupby("model"):
        if len(part) == table["task"].nunique():
            low, high = stats.mean_wilson(part["right"].tolist(), part["n"].tolist())
            rows[str(model)] = {"accuracy": float(part["accuracy"].mean()), "low": low, "high": high,
                                "tasks": len(part)}
    return rows


def tried_row(off: Ablation, where: str, n_shots: int,
              pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """What a mask did to the mean accuracy of one or more tasks: outcomes intact and ablated, paired."""
    low, high = stats.mean_difference_interval(pairs)
    intact, ablated = (float(np.mean([pair[i].mean() for pair in pairs])) for i in (0, 1))
    return {"off": str(off), "heads": len(off.heads), "FFNs": len(off.ffns), "on": where, "shots": n_shots,
            "intact": intact, "ablated": ablated, "change": ablated - intact, "95 % from": low, "to": high}


def comparison(table: pd.DataFrame, order: Sequence[str]) -> Layers:
    """A `comparison_table`: per task a line from the intact accuracy to the ablated one, intervals, chance.

    All tasks of `order` have their place from the start, so that nothing jumps as results arrive.
    """
    y = alt.Y("task:N", sort=list(order), title=None, scale=alt.Scale(domain=list(order)),
              axis=alt.Axis(ticks=False, domain=False, labelLimit=190))
    share = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="%", tickCount=6, title="accuracy")
    colour = alt.Color("model:N", title=None, scale=alt.Scale(domain=["intact", "ablated"], range=[BLUE, ORANGE]),
                       legend=alt.Legend(orient="top", symbolType="circle", symbolOpacity=1))
    tooltip = [alt.Tooltip("task:N"), alt.Tooltip("model:N"), alt.Tooltip("accuracy:Q", format=".1%"),
               alt.Tooltip("low:Q", title="95 % from", format=".1%"), alt.Tooltip("high:Q", title="to", format=".1%"),
               alt.Tooltip("n:Q"), alt.Tooltip("chance:Q", format=".1%"),
               alt.Tooltip("p:Q", title="McNemar p", format=".2g")]
    base = alt.Chart(table)
    chance = base.mark_tick(color=GREY, thickness=2, size=15).encode(
        x=alt.X("chance:Q", scale=share, axis=axis), y=y, tooltip=tooltip)
    link = base.mark_line(color=GREY, strokeWidth=1.5, opacity=0.8).encode(
        x=alt.X("accuracy:Q", scale=share, axis=axis), y=y, detail="task:N")
    interval = base.mark_rule(strokeWidth=4, opacity=0.3).encode(
        x=alt.X("low:Q", scale=share, axis=axis), x2="high:Q", y=y, color=colour)
    points = base.mark_circle(size=95, opacity=1).encode(
        x=alt.X("accuracy:Q", scale=share, axis=axis), y=y, color=colour, tooltip=tooltip)
    return alt.layer(chance, link, interval, points).properties(height=AXIS + LEGEND + 27 * len(order))


def bars(table: pd.DataFrame, *, x: str, y: str, order: Sequence[str], x_title: str, percent: bool = True,
         signed: bool = False) -> Layers:
    """Horizontal bars with their intervals (columns "low" and "high") and, where there is a column "chance", chance."""
    scale = alt.Scale(zero=True, nice=True) if signed or not percent else alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="%" if percent else "", title=x_title, tickCount=6)
    place = alt.Y(f"{y}:N", sort=list(order), title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=190))
    number = ".1%" if percent else ".3g"
    tooltip = [alt.Tooltip(f"{c}:{'N' if c == y else 'Q'}", format="" if c == y else number)
               for c in (y, x, "low", "high", "chance") if c in table]
    if "n" in table:
        tooltip.append(alt.Tooltip("n:Q"))
    base = alt.Chart(table)
    layers: list[alt.Chart] = [base.mark_bar(color=BLUE, opacity=0.6, height={"band": 0.62}).encode(
        x=alt.X(f"{x}:Q", scale=scale, axis=axis), y=place, tooltip=tooltip)]
    if "low" in table:
        layers.append(base.mark_rule(color=GREY, strokeWidth=2).encode(x="low:Q", x2="high:Q", y=place))
    if "chance" in table:
        layers.append(base.mark_tick(color=ORANGE, thickness=2, size=16).encode(x="chance:Q", y=place))
    return alt.layer(*layers).properties(height=AXIS + 27 * len(order))


def lines(table: pd.DataFrame, *, x: str, y: str, colour: str, x_title: str, y_title: str,
          rules: Mapping[str, float] = MappingProxyType({})) -> Layers:
    """Accuracy (or another share) along x, one line per `colour`, with named horizontal rules such as chance."""
    names = list(dict.fromkeys(table[colour]))
    base = alt.Chart(table).encode(
        x=alt.X(f"{x}:Q", title=x_title, axis=alt.Axis(format="%", tickCount=10)),
        y=alt.Y(f"{y}:Q", title=y_title, axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
        color=alt.Color(f"{colour}:N", title=None, sort=names, scale=alt.Scale(domain=names, range=[
            BLUE, GREY, ORANGE, "#0b8a6f", "#b04a8c"][:len(names)]), legend=alt.Legend(orient="top")),
        tooltip=[alt.Tooltip(f"{colour}:N"), alt.Tooltip(f"{x}:Q", format=".0%"), alt.Tooltip(f"{y}:Q", format=".1%")])
    named = pd.DataFrame({"value": list(rules.values()), "name": list(rules), x: float(table[x].min())})
    rule = alt.Chart(named).mark_rule(strokeDash=[4, 4], color=GREY).encode(y="value:Q")
    text = alt.Chart(named).mark_text(align="left", dx=8, dy=-7, color=GREY).encode(
        x=f"{x}:Q", y="value:Q", text="name:N")
    return alt.layer(rule, text, base.mark_line(strokeWidth=2.5), base.mark_circle(size=60, opacity=1)).properties(
        height=340)


# --- answers --------------------------------------------------------------------------------------


def turned(intact: Answers, ablated: Answers) -> tuple[np.ndarray, np.ndarray]:
    """The questions, by position, whose answer turned from right to wrong, and from wrong to right."""
    before, after = intact.outcomes(), ablated.outcomes()
    return np.flatnonzero(before & ~after), np.flatnonzero(~before & after)


def margin(record: Answers, q: int) -> float:
    """Log-likelihood of a question's best right option minus that of its best wrong one, in nats."""
    row, gold = record.loglikelihoods[q], record.questions.gold[q]
    wrong = [ll for i, ll in enumerate(row) if i not in gold]
    return max(row[g] for g in gold) - max(wrong) if wrong else float("nan")


# --- sentences ----------------------------------------------------------------------------------


def percent(share: float) -> str:
    """A share as people read it: `87 %`, `87.5 %`."""
    return f"{100 * share:.1f}".rstrip("0").rstrip(".") + "\u00a0%"


def interval(row: dict[str, Any]) -> str:
    """An `accuracy_row`'s uncertainty as a caption: `95 %: 79–92.2 %`."""
    return f"95 %: {percent(row['low']).removesuffix(chr(160) + '%')}–{percent(row['high'])}"


def changed(before: float, after: float) -> str:
    """What became of an accuracy: `stays at 90 %`, `goes from 90 % to 40 %`."""
    a, b = percent(before), percent(after)
    return f"stays at {a}" if a == b else f"goes from {a} to {b}"


def points(difference: float) -> str:
    """A difference of accuracies: `−12 points`, `+1 point`."""
    value = round(100 * difference, 1)
    text = f"{abs(value):.1f}".rstrip("0").rstrip(".")
    return f"{'−' if value < 0 else '+' if value > 0 else ''}{text}\u00a0point{'' if text == '1' else 's'}"


def p_value(p: float) -> str:
    """`p = 0.03`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.1 else f"p = {p:.2f}"


def how_many(n: int, one: str, many: str = "") -> str:
    """`1 head`, `3 heads`, `no heads`."""
    return f"{n or 'no'} {one if n == 1 else many or one + 's'}"


def components(ablation: Ablation, limit: int = 6) -> str:
    """What is off, in words: `L3H7, L3H9 and the FFN of layer 2`; long lists as counts."""
    if not ablation:
        return "nothing"
    if len(ablation.heads) + len(ablation.ffns) > limit:
        parts = [how_many(len(those), what) for those, what in ((ablation.heads, "head"), (ablation.ffns, "FFN"))
                 if those]
    else:
        parts = [*map(str, sorted(ablation.heads)), *(f"L{layer} FFN" for layer in sorted(ablation.ffns))]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def names(heads: Iterable[Head]) -> str:
    """`L3H7, L3H9`, in the order given."""
    return ", ".join(str(head) for head in heads)
