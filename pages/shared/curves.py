"""Effects per layer, pruning curves, capacity curves and scatters: tables in, Altair charts out; no Streamlit calls.

As in `charts`, each chart takes the table it draws, layers go up with layer 0 at the bottom, and what can be clicked
holds one selection named `charts.CLICK`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from backend import stats
from backend.kinds import Answers, InductionScores, Sweep
from backend.models.info import Weights
from backend.values import INTACT, Ablation, parse_exact
from pages.shared.charts import AXIS, BLUE, CLICK, FFN, GREY, ORANGE, layer_step, tiny

PURPLE, GREEN = "#b3579a", "#1b9e77"  # further curves; told apart by dash and label as well as by colour
LITTLE = 0.2  # a rank correlation nearer to 0 than this is called none
_PERCENT_AXIS: dict[str, Any] = {"format": "%", "tickCount": 6}
_LEAST = 0.1  # of accuracy: an axis of changes spans at least this much, so that next to nothing looks like it


def rho(value: float) -> str:
    """A rank correlation in words: `ρ = 0.72`, `ρ = −0.09`; undefined where all values of one side are equal."""
    if np.isnan(value):
        return "ρ undefined, for all values are equal"
    return f"ρ\u00a0=\u00a0{value:.2f}".replace("-", "−")  # no line break within


def agreement(value: float) -> str:
    """How two rankings of the heads go together: `rank the heads alike at ρ = 0.72`."""
    if np.isnan(value):
        return f"cannot be set against each other: {rho(value)}"
    how = "alike" if value >= LITTLE else "independently," if value > -LITTLE else "the other way round,"
    return f"rank the heads {how} at {rho(value)}"


# --- one component off at a time ----------------------------------------------------------------


def effects_table(oracle: Sweep, chosen: Ablation = INTACT, task: str = "") -> pd.DataFrame:
    """What each FFN's removal does to a task's accuracy: a row per layer, from an `ffn_oracle`.

    `change` is acc(off) - acc(intact) with its paired bootstrap interval, `p` McNemar's, `p (Holm)` the same for
    having looked at every layer.
    """
    outcomes = oracle.outcomes()
    intact, n = outcomes[0], outcomes.shape[1]
    rows: list[dict[str, Any]] = []
    for layer, off in enumerate(outcomes[1:]):
        low, high = stats.difference_interval(intact, off)
        test = stats.mcnemar(intact, off)
        rows.append({"task": task, "layer": layer, "head": FFN, "name": f"L{layer} FFN",
                     "change": float(off.mean() - intact.mean()), "low": low, "high": high, "p": test.p,
                     "newly wrong": test.only_a, "newly right": test.only_b, "intact": float(intact.mean()),
                     "accuracy": float(off.mean()), "n": n, "chance": oracle.questions.chance,
                     "off": layer in chosen.ffns})
    table = pd.DataFrame(rows)
    table["p (Holm)"] = stats.holm(table["p"].to_numpy())
    return table


def mean_effects_table(oracles: Mapping[str, Sweep], chosen: Ablation = INTACT) -> pd.DataFrame:
    """The unweighted mean over tasks of each FFN's effect, with an interval that draws questions within tasks."""
    table = _mean_effects([oracle.outcomes() for oracle in oracles.values()])
    return table.assign(name=[f"L{layer} FFN" for layer in table["layer"]],
                        off=[layer in chosen.ffns for layer in table["layer"]])


def attention_effects_table(evaluations: Mapping[str, Sequence[Answers]]) -> pd.DataFrame:
    """The same for all heads of a layer together: per task the intact evaluation, then one per layer."""
    table = _mean_effects([np.stack([e.outcomes() for e in of_task]) for of_task in evaluations.values()])
    return table.assign(name=[f"all heads of layer {layer}" for layer in table["layer"]], off=False)


def _mean_effects(outcomes: Sequence[np.ndarray]) -> pd.DataFrame:
    """From each task's (1 + n_layers, n) outcomes, the intact model's first."""
    rows: list[dict[str, Any]] = []
    for layer in range(len(outcomes[0]) - 1):
        pairs = [(o[0], o[1 + layer]) for o in outcomes]
        low, high = stats.mean_difference_interval(pairs)
        rows.append({"layer": layer, "head": FFN,
                     "change": float(np.mean([b.mean() - a.mean() for a, b in pairs])), "low": low, "high": high,
                     "n": sum(len(a) for a, _ in pairs), "tasks": len(pairs)})
    return pd.DataFrame(rows)


def layer_shares(scores: np.ndarray) -> pd.DataFrame:
    """Each layer's share of all heads' importance, from (n_layers, n_heads) scores."""
    return pd.DataFrame({"layer": range(len(scores)), "share": stats.layer_shares(scores)})


def layer_effects(table: pd.DataFrame, *, title: str = "change in accuracy when removed",
                  clickable: bool = True) -> alt.LayerChart:
    """An effects table as bars from zero with their intervals; layer 0 at the bottom, orange = accuracy falls."""
    n_layers = int(table["layer"].max()) + 1
    y = alt.Y("layer:O", sort="descending", title="layer", scale=alt.Scale(paddingInner=0.25, paddingOuter=0),
              axis=alt.Axis(ticks=False, domain=False, labelOverlap=True))
    axis = alt.Axis(**_PERCENT_AXIS, title=title)
    low, high = min(0.0, float(table["low"].min())), max(0.0, float(table["high"].max()))
    scale = alt.Scale(domain=[low, high] if high - low >= _LEAST else [-_LEAST / 2, _LEAST / 2], nice=True)
    tooltip = [alt.Tooltip("name:N", title="removed"), alt.Tooltip("change:Q", format="+.1%"),
               alt.Tooltip("low:Q", title="95 % from", format="+.1%"), alt.Tooltip("high:Q", title="to", format="+.1%")]
    tooltip += [alt.Tooltip(f"{column}:Q", format=number) for column, number in
                (("intact", ".1%"), ("accuracy", ".1%"), ("p", ".2g"), ("p (Holm)", ".2g"), ("newly wrong", ""),
                 ("newly right", ""), ("n", ""), ("tasks", "")) if column in table]
    base = alt.Chart(table)
    bars = base.mark_bar(cornerRadius=2, cursor="pointer" if clickable else "default").encode(
        y=y, x=alt.X("change:Q", axis=axis, scale=scale), tooltip=tooltip,
        color=alt.when("datum.change < 0").then(alt.value(ORANGE)).otherwise(alt.value(BLUE)),
        opacity=alt.when("datum.low <= 0 && datum.high >= 0").then(alt.value(0.45)).otherwise(alt.value(0.95)))
    if clickable:
        bars = bars.properties(name="bars").add_params(alt.selection_point(
            name=CLICK, fields=["layer", "head"], on="click", toggle="true", clear=False, empty=False))
    whiskers = base.mark_rule(color=GREY, strokeWidth=2).encode(y=y, x=alt.X("low:Q", axis=axis), x2="high:Q",
                                                                 tooltip=tooltip)
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=GREY).encode(x=alt.X("zero:Q", axis=axis))
    crosses = base.transform_filter("datum.off").mark_point(shape="cross", angle=45, size=60, filled=True,
                                                            color=ORANGE).encode(y=y, x=alt.datum(0))
    return alt.LayerChart(layer=[bars, zero, whiskers, crosses]).properties(
        height=round(layer_step(n_layers) * n_layers) + AXIS)


# --- pruning ------------------------------------------------------------------------------------

_END = 1.06  # of the axis of shares removed; behind the last point, at 90 %, stand the levels' names
OWN, AGGREGATE, REVERSED, RANDOM = "own ranking", "aggregate ranking", "most important first", "random order"
COLOURS = {OWN: BLUE, AGGREGATE: PURPLE, REVERSED: ORANGE, RANDOM: GREY}
DASHES = {OWN: [1, 0], AGGREGATE: [7, 3], REVERSED: [2, 3], RANDOM: [1, 2]}


def curve_table(sweeps: Sequence[Sweep], source: str, each: Weights, n_params: int) -> pd.DataFrame:
    """One curve or map, a row per point: the mean accuracy of the tasks' sweeps, its interval, what is removed there.

    Args:
        sweeps: one per task, pruned along the same kind of ranking. The mask is kept where there is only one.
        each: the parameters of one head and of one FFN.
    """
    outcomes = [sweep.outcomes() for sweep in sweeps]
    rows: list[dict[str, Any]] = []
    for i, (heads, ffns) in enumerate(sweeps[0].removed):
        right, n = [int(o[i].sum()) for o in outcomes], [o.shape[1] for o in outcomes]
        low, high = stats.mean_wilson(right, n)
        mask = parse_exact(sweeps[0].ablations[i])
        rows.append({"ranking": source, "heads": heads, "FFNs": ffns, "n heads": len(mask.heads),
                     "n FFNs": len(mask.ffns),
                     "parameters": (len(mask.heads) * each.head + len(mask.ffns) * each.ffn) / n_params,
                     "accuracy": float(np.mean([o[i].mean() for o in outcomes])), "low": low, "high": high,
                     "chance": float(np.mean([sweep.questions.chance for sweep in sweeps])), "n": sum(n),
                     "tasks": len(sweeps), "mask": sweeps[0].ablations[i] if len(sweeps) == 1 else ""})
    return pd.DataFrame(rows)


def band_table(curves: Sequence[pd.DataFrame], source: str) -> pd.DataFrame:
    """Several curves (random orders of different seeds) as one: mean, lowest and highest; the mask is the first's."""
    together = stats.band([curve["accuracy"].tolist() for curve in curves])
    return curves[0].assign(ranking=source, accuracy=together.mean, low=together.low, high=together.high)


def limits_table(table: pd.DataFrame, what: str, share: float) -> pd.DataFrame:
    """Per ranking: the last point before accuracy falls below a share of the intact one, and the first below it.

    Args:
        what: the column that counts what is removed, "heads" or "FFNs".
    """
    rows: list[dict[str, Any]] = []
    for source, curve in table.groupby("ranking", sort=False):
        breaks = stats.break_point(curve["accuracy"].tolist(), curve[what].tolist(), share)
        before = curve if breaks is None else curve[curve[what] < breaks]
        last = (before if len(before) else curve).iloc[-1 if len(before) else 0]
        rows.append({"ranking": source, "can go": float(last[what]), "that is": int(last[f"n {what}"]),
                     "of all parameters": float(last["parameters"]), "accuracy there": float(last["accuracy"]),
                     "from": float(last["low"]), "to": float(last["high"]), "broken at": breaks})
    return pd.DataFrame(rows)


def pruning_curves(table: pd.DataFrame, what: str, *, floor: float, clickable: bool = True) -> alt.LayerChart:
    """Curve tables below one another as one chart: accuracy against the share removed, intact, chance and floor.

    A second axis on top counts the share of the model's parameters that is removed.

    Args:
        what: the column that counts what is removed, "heads" or "FFNs".
        floor: the accuracy below which a curve counts as broken.
    """
    order = list(dict.fromkeys(table["ranking"]))
    scale = alt.Scale(domain=[0, _END], nice=False)
    share = alt.Scale(domain=[0, 1])
    tenths = [i / 10 for i in range(10)]
    x = alt.X(f"{what}:Q", scale=scale, axis=alt.Axis(format="%", values=tenths, title=f"{what} removed", grid=False))
    y = alt.Y("accuracy:Q", scale=share, axis=alt.Axis(**_PERCENT_AXIS, title="accuracy"))
    low = alt.Y("low:Q", scale=share)
    colour = alt.Color("ranking:N", title=None, sort=order, scale=alt.Scale(
        domain=order, range=[COLOURS.get(name, GREEN) for name in order]),
        legend=alt.Legend(orient="bottom", symbolType="stroke", symbolStrokeWidth=4, symbolSize=260,
                          symbolOpacity=1, labelLimit=260, columns=2))
    dash = alt.StrokeDash("ranking:N", sort=order, legend=None, scale=alt.Scale(
        domain=order, range=[DASHES.get(name, [5, 2, 1, 2]) for name in order]))
    tooltip = [alt.Tooltip("ranking:N"), alt.Tooltip(f"{what}:Q", format=".0%", title=f"{what} removed"),
               alt.Tooltip(f"n {what}:Q", title="that is"),
               alt.Tooltip("parameters:Q", format=".1%", title="of all parameters"),
               alt.Tooltip("accuracy:Q", format=".1%"), alt.Tooltip("low:Q", title="from", format=".1%"),
               alt.Tooltip("high:Q", title="to", format=".1%"), alt.Tooltip("chance:Q", format=".1%"),
               alt.Tooltip("n:Q")]
    base = alt.Chart(table)
    is_random = alt.datum.ranking == RANDOM
    levels = [_level(float(table["accuracy"].iloc[0]), "intact", BLUE), _level(floor, "", ORANGE, [3, 3]),
              _level(float(table["chance"].iloc[0]), "chance", GREY)]
    band = base.transform_filter(is_random).mark_area(opacity=0.22, color=GREY).encode(x=x, y=low, y2="high:Q")
    spans = base.transform_filter(~is_random).mark_rule(strokeWidth=4, opacity=0.25).encode(
        x=x, y=low, y2="high:Q", color=colour)
    lines = base.mark_line(strokeWidth=2.4).encode(x=x, y=y, color=colour, strokeDash=dash)
    points = base.mark_circle(size=110, opacity=1, cursor="pointer" if clickable else "default").encode(
        x=x, y=y, color=colour, tooltip=tooltip)
    if clickable:
        points = points.properties(name="points").add_params(alt.selection_point(
            name=CLICK, fields=["mask"], on="click", toggle=False, clear=False, empty=False))
    whole = float(table["parameters"].max() / max(table[what].max(), 1e-9))  # of the parameters, if all were removed
    top = alt.X(f"{what}:Q", scale=scale, axis=alt.Axis(
        orient="top", values=tenths, grid=False, title="share of all the model's parameters",
        labelExpr=f"format(datum.value * {whole:.6g}, '.{_digits(whole)}%')"))
    hidden = base.mark_point(opacity=0, size=0, tooltip=None).encode(x=top)
    return alt.LayerChart(layer=[hidden, alt.LayerChart(layer=[*levels, band, spans, lines, points])]).resolve_axis(
        x="independent").properties(height=480)


def picked_mask(state: Any) -> str | None:
    """The mask of the point that was clicked in a chart whose selection holds masks; None when there is none."""
    points = ((state or {}).get("selection") or {}).get(CLICK) or []
    return next((str(p["mask"]) for p in points if p.get("mask")), None)


def _digits(share: float) -> int:
    """Decimals of a percentage so that ten steps of it can be told apart."""
    return 0 if share >= 0.2 else 1 if share >= 0.02 else 2


def _level(value: float, label: str, colour: str, dash: Sequence[int] = (1, 0)) -> alt.LayerChart:
    """A horizontal line at an accuracy, named at its right end."""
    data = pd.DataFrame({"accuracy": [value], "label": [f"{label} {value:.0%}" if label else ""], "at": [_END]})
    y = alt.Y("accuracy:Q", scale=alt.Scale(domain=[0, 1]))
    rule = alt.Chart(data).mark_rule(color=colour, strokeWidth=1.3, strokeDash=list(dash), opacity=0.9).encode(y=y)
    text = alt.Chart(data).mark_text(align="right", dy=-6, color=colour, fontSize=11, fontWeight=600).encode(
        y=y, x=alt.X("at:Q", scale=alt.Scale(domain=[0, _END], nice=False)), text="label:N")
    return alt.LayerChart(layer=[rule, text])


def transfer_table(sweeps: Mapping[tuple[str, str], Sweep], share: float) -> pd.DataFrame:
    """Every task pruned by every task's ranking, at one share of the heads: a row per (task, ranking) pair.

    `kept` is the accuracy as a share of the intact one.
    """
    rows: list[dict[str, Any]] = []
    for (task, ranking), sweep in sweeps.items():
        i = int(np.argmin([abs(heads - share) for heads, _ in sweep.removed]))
        outcomes = sweep.outcomes()
        low, high = stats.wilson(int(outcomes[i].sum()), outcomes.shape[1])
        intact, accuracy = float(outcomes[0].mean()), float(outcomes[i].mean())
        rows.append({"task": task, "ranking": ranking, "row": task, "column": ranking, "heads": sweep.removed[i][0],
                     "accuracy": accuracy, "low": low, "high": high, "intact": intact,
                     "kept": accuracy / intact if intact else np.nan, "chance": sweep.questions.chance,
                     "n": outcomes.shape[1], "mask": sweep.ablations[i]})
    return pd.DataFrame(rows)


# --- induction ----------------------------------------------------------------------------------


def capacity_table(scores: InductionScores, rankings: Mapping[str, np.ndarray],
                   fractions: Sequence[float]) -> pd.DataFrame:
    """The induction capacity retained as heads are pruned along each ranking: label, removed, retained."""
    total = np.asarray(scores.mean)
    return pd.DataFrame([
        {"ranking": label, "removed": float(fraction), "retained": float(left)}
        for label, ranking in rankings.items()
        for fraction, left in zip(fractions, stats.retained_curve(total, ranking, fractions), strict=True)])


def capacity(table: pd.DataFrame, highlighted: Sequence[str], title: str) -> alt.LayerChart:
    """Capacity curves: some in colour, the others thin, and the diagonal that a random order follows on average."""
    x = alt.X("removed:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(
        format="%", tickCount=10, title="heads removed, least important first", grid=False))
    y = alt.Y("retained:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(**_PERCENT_AXIS, title=title))
    tooltip = [alt.Tooltip("ranking:N"), alt.Tooltip("removed:Q", format=".0%"),
               alt.Tooltip("retained:Q", format=".1%")]
    one_of = alt.FieldOneOfPredicate("ranking", list(highlighted))
    diagonal = alt.Chart(pd.DataFrame({"removed": [0.0, 1.0], "retained": [1.0, 0.0]})).mark_line(
        color=GREY, strokeDash=[4, 4], strokeWidth=1.5).encode(x=x, y=y)
    thin = alt.Chart(table).transform_filter(~one_of).mark_line(
        color=GREY, strokeWidth=1.4, opacity=0.55).encode(x=x, y=y, detail="ranking:N")
    dots = alt.Chart(table).transform_filter(~one_of).mark_circle(
        color=GREY, size=34, opacity=0.6).encode(x=x, y=y, tooltip=tooltip)
    palette = [BLUE, ORANGE, PURPLE, GREEN]
    colour = alt.Color("ranking:N", title=None, sort=list(highlighted), scale=alt.Scale(
        domain=list(highlighted), range=[palette[i % 4] for i in range(len(highlighted))]),
        legend=alt.Legend(orient="bottom", symbolType="stroke", symbolStrokeWidth=4, symbolSize=260, symbolOpacity=1,
                          labelLimit=300))
    bold = alt.Chart(table).transform_filter(one_of).mark_line(strokeWidth=3).encode(x=x, y=y, color=colour)
    bold_dots = alt.Chart(table).transform_filter(one_of).mark_circle(size=80, opacity=1).encode(
        x=x, y=y, color=colour, tooltip=tooltip)
    return alt.LayerChart(layer=[diagonal, thin, dots, bold, bold_dots]).properties(height=400)


def scatter(table: pd.DataFrame, x: str, y: str, *, x_title: str, y_title: str) -> alt.Chart:
    """One dot per head (columns layer, head, name, off and the two scores); a click chooses it.

    The two scores' axes start at 0. Chosen heads are filled orange, in every chart that shows them.
    """
    last = int(table["layer"].max())
    layer = alt.Color("layer:Q", scale=alt.Scale(range="heatmap", domain=[-0.35 * (last + 1), last]), legend=alt.Legend(
        title="layer", orient="right", format="d", values=sorted({0, last // 2, last})))
    click = alt.selection_point(name=CLICK, fields=["layer", "head"], on="click", toggle="true", clear=False,
                                empty=False)
    tooltip = [alt.Tooltip("name:N", title="head"), alt.Tooltip(f"{x}:Q", format=".3g", title=x_title),
               alt.Tooltip(f"{y}:Q", format=".3g", title=y_title), alt.Tooltip("off:N", title="chosen")]
    def axis(column: str) -> alt.Axis:
        return alt.Axis(tickCount=6, format="~e" if tiny(table[column]) else "~g")

    return alt.Chart(table).mark_circle(cursor="pointer", stroke=GREY, strokeWidth=0.6).encode(
        x=alt.X(f"{x}:Q", title=x_title, axis=axis(x)), y=alt.Y(f"{y}:Q", title=y_title, axis=axis(y)),
        color=alt.condition("datum.off", alt.value(ORANGE), layer),
        size=alt.condition("datum.off", alt.value(200), alt.value(90 if len(table) < 400 else 34)),
        opacity=alt.value(0.9), tooltip=tooltip).add_params(click).properties(height=380)


def framed(pattern: Any, targets: Sequence[tuple[int, int]]) -> alt.LayerChart:
    """A `looking.attention_map` with (query, key) cells framed: where an ideal induction head looks."""
    frames = alt.Chart(pd.DataFrame(targets, columns=["query", "key"])).mark_rect(
        filled=False, stroke=ORANGE, strokeWidth=1.6, tooltip=None).encode(x="key:O", y="query:O")
    size = {"width": pattern.width, "height": pattern.height}
    bare = pattern.copy()
    bare.width = bare.height = alt.Undefined
    return alt.LayerChart(layer=[bare, frames]).properties(**size)


# --- how many tasks need a head -----------------------------------------------------------------


def counts_table(counts: np.ndarray, share: float, n_matrices: int) -> pd.DataFrame:
    """How many heads are in the top of 0, 1, .. tasks, found and expected of independent random rankings."""
    k = max(1, stats.count(share, counts.size))
    expected = stats.topk_counts_chance(counts.size, k, n_matrices)
    found = np.bincount(counts.ravel(), minlength=n_matrices + 1)
    return pd.DataFrame({"tasks": range(n_matrices + 1), "heads": found, "by chance": expected})


def counts_bars(table: pd.DataFrame) -> alt.LayerChart:
    """A `counts_table`: bars for what was found, ticks for chance."""
    x = alt.X("tasks:O", title="tasks whose top holds the head", axis=alt.Axis(labelAngle=0, ticks=False))
    tooltip = [alt.Tooltip("tasks:O"), alt.Tooltip("heads:Q"), alt.Tooltip("by chance:Q", format=".1f")]
    bars = alt.Chart(table).mark_bar(color=BLUE, cornerRadius=2).encode(
        x=x, y=alt.Y("heads:Q", title="heads", axis=alt.Axis(tickCount=5)), tooltip=tooltip)
    ticks = alt.Chart(table).mark_tick(color=ORANGE, thickness=3, width={"band": 0.9}).encode(
        x=x, y="by chance:Q", tooltip=tooltip)
    return alt.LayerChart(layer=[bars, ticks]).properties(height=300)


def overlap_table(scores: Sequence[np.ndarray], shares: Sequence[float]) -> pd.DataFrame:
    """Per size of the top: the mean, lowest and highest overlap over pairs of score matrices, and chance."""
    rows: list[dict[str, Any]] = []
    n = scores[0].size
    for share in shares:
        pairs = stats.off_diagonal(stats.overlap_matrix(scores, share))
        k = max(1, stats.count(share, n))
        rows.append({"share": share, "heads": k, "mean": float(pairs.mean()), "low": float(pairs.min()),
                     "high": float(pairs.max()), "chance": stats.topk_overlap_chance(n, k)})
    return pd.DataFrame(rows)


def overlap_curve(table: pd.DataFrame, at: float) -> alt.LayerChart:
    """Top-k overlap against k: mean over pairs, lowest to highest, chance (columns share, mean, low, high, chance)."""
    x = alt.X("share:Q", axis=alt.Axis(format="%", tickCount=6, title="top share of the heads", grid=False))
    scale = alt.Scale(domain=[0, 1])
    y = alt.Y("mean:Q", scale=scale, axis=alt.Axis(**_PERCENT_AXIS, title="overlap (intersection over union)"))
    tooltip = [alt.Tooltip("share:Q", format=".0%", title="top"), alt.Tooltip("mean:Q", format=".1%"),
               alt.Tooltip("low:Q", format=".1%", title="lowest pair"),
               alt.Tooltip("high:Q", format=".1%", title="highest pair"), alt.Tooltip("chance:Q", format=".1%")]
    base = alt.Chart(table)
    area = base.mark_area(color=BLUE, opacity=0.18).encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q")
    line = base.mark_line(color=BLUE, strokeWidth=2.5).encode(x=x, y=y)
    dots = base.mark_circle(color=BLUE, size=70, opacity=1).encode(x=x, y=y, tooltip=tooltip)
    chance = base.mark_line(color=GREY, strokeDash=[4, 4], strokeWidth=2).encode(x=x, y=alt.Y("chance:Q", scale=scale))
    here = alt.Chart(pd.DataFrame({"share": [at]})).mark_rule(color=ORANGE, strokeWidth=1.5).encode(x=x)
    return alt.LayerChart(layer=[area, chance, line, dots, here]).properties(height=300)
