"""Heads' view of two models, or two states of one, side by side: on one scale, their difference, and by depth.

The other model is the address parameter `with`, and is read from the store alone: neither model has to be here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from backend import stats, tables
from backend.kinds import HeadImportance, HeadScores
from backend.store.catalogue import info_of
from backend.values import INTACT, Ablation, Head, ModelId
from pages.map import HeadMap, head_map, scales
from pages.map.scales import Number
from pages.shared import blocks, charts, components, handles, living, selection, words
from pages.shared.plain import plain

AUTOMATIC = "automatic"
TOP = 0.2  # the top share of the heads whose overlap is said
NUMBERS: dict[str, Number] = {"share of the total": "percent", "percentile": "percent", "raw": "plain"}
UNITS = {
    "share of the total": "each head's share of its own model's importance",
    "percentile": "the share of its own model's other heads that a head ranks above, 100 % = the highest",
    "raw": "raw scores, whose size depends on the definition and on each model's own loss",
}


@dataclass(frozen=True)
class Side:
    """One of the two models.

    Attributes:
        name: what it is called, as short as tells the two apart.
        scores: (n_layers, n_heads), raw.
        headless: layers without attention heads.
    """

    name: str
    unit: HeadImportance
    record: HeadScores
    scores: np.ndarray
    headless: tuple[int, ...]

    @property
    def attending(self) -> list[int]:
        return [layer for layer in range(len(self.scores)) if layer not in self.headless]

    @property
    def n_heads(self) -> int:
        """Of all layers together."""
        return len(self.attending) * int(self.scores.shape[1])


def names(models: list[ModelId]) -> list[str]:
    """What each is called: as short as tells it from the others."""
    ways: tuple[Callable[[ModelId], str], ...] = (
        lambda m: m.name, lambda m: f"{m.name} @ {m.revision}", str, lambda m: f"{m} (digest {m.digest})")
    counts = [Counter(way(model) for model in models) for way in ways]
    return [next((way(m) for way, count in zip(ways, counts, strict=True) if count[way(m)] == 1), ways[-1](m))
            for m in models]


def others() -> tuple[dict[str, HeadImportance], list[str]]:
    """What other models have stored for the chosen task and shots, by their names, and whose is not stored."""
    own, store = selection.importance(), handles.store()
    units = [HeadImportance(own.setup.with_(model=model)) for model in handles.known().models() if model != own.model]
    stored = [unit for unit in units if unit in store]
    called = names([own.model, *(unit.model for unit in stored)])
    missing = sorted({str(unit.model) for unit in units} - {str(unit.model) for unit in stored})
    return dict(zip(called[1:], stored, strict=True)), missing


def draw(scale: str, definition: str) -> None:
    """The view: which other model, in which unit, and what sets the two apart.

    Args:
        scale: of the colours, one of the `scales.SCALES` or "automatic".
        definition: of the importance, in words.
    """
    there, missing = others()
    record = blocks.get(selection.importance(), f"head importance of {selection.importance().setup.task}")
    if not there:
        st.info("No other model, and no other state of this one, has stored head importance for the same task, rows, "
                "shots and seed. Choose another model in the sidebar and measure it there, or import a bundle with its "
                "results under Runs; then come back to this one.", icon=":material/compare:")
    if record is None or not there:
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = selection.menu("Compare with", list(there), "with", width=360)
        other = blocks.fetch(there[name])
        if other is None:
            return
        pair = names([selection.importance().model, there[name].model])
        a, b = (side(called, unit, one) for called, unit, one in zip(
            pair, (selection.importance(), there[name]), (record, other), strict=True))
        same = a.scores.shape == b.scores.shape and a.headless == b.headless
        offered = tables.UNITS if same else tables.UNITS[:2]
        unit = str(selection.control("Unit", offered, "unit", help=None if same else (
            "The models differ in shape: their raw scores are not offered, for their sizes mean different things.")))
    if missing:
        st.caption(f"Not measured for this task, these rows, shots and seed: {plain(', '.join(missing))}.")
    if same:
        agreement(a, b)
    maps(a, b, unit, scale, definition, same)
    if same:
        left, right = blocks.side_by_side("models", 1, 1)
        with left:
            difference(a, b, unit, definition)
        with right:
            depth(a, b, definition)
    else:
        depth(a, b, definition)


def side(name: str, unit: HeadImportance, record: HeadScores) -> Side:
    shape = info_of(unit.model.weights, handles.store())
    return Side(name, unit, record, record.scores(selection.definition()), tuple(shape.headless) if shape else ())


# --- its parts ------------------------------------------------------------------------------------


def agreement(a: Side, b: Side) -> None:
    """How alike the two rank their heads, and how sure that is; for models of one shape."""
    by = selection.definition()
    which, over, known = both_alive(a, b)
    ranked, n = (a.scores[which], b.scores[which]), int(which.sum())
    low, high = stats.bootstrap_spearman(a.record, b.record, by, heads=which)
    sure = f" (95\u00a0%: {low:.2f} to {high:.2f})".replace("-", "−") if not np.isnan(low) else ""
    blocks.heading(f"{a.name} and {b.name} {words.agreement(stats.spearman(*ranked))}{sure}")
    k = max(1, stats.count(TOP, n))
    blocks.note(f"Of the top {words.percent(TOP)} of heads the two share "
                f"{words.percent(stats.topk_overlap(*ranked, TOP))} · chance "
                f"{words.percent(stats.topk_overlap_chance(n, k))} · {over}", "\n".join([
                    f"ρ: Spearman's rank correlation over {n} heads by their place, layer and head; 0 is chance; its "
                    "95 % interval is a bootstrap over blocks of each model's examples",
                    "Shared: intersection over union of the two tops", known,
                    words.same_place(a.unit.model.name == b.unit.model.name)]))


def both_alive(a: Side, b: Side) -> tuple[np.ndarray, str, str]:
    """Which heads are compared, (n_layers, n_heads) of bool: without those that are dead in both; and two sentences."""
    there = np.zeros(a.scores.shape, bool)
    there[a.attending] = True
    records = [blocks.fetch(living.writes(one.unit.setup)) for one in (a, b)]
    found = [record.alive() for record in records if record is not None]
    if len(found) < len(records):
        return there, words.heads_over(int(there.sum()), None), "Which heads are dead is not measured for both"
    which = there & (found[0] | found[1])
    dead = int(there.sum() - which.sum())
    return which, words.heads_over(int(which.sum()), dead), "Dead: left out where dead in both"


def maps(a: Side, b: Side, unit: str, scale: str, definition: str, same: bool) -> None:
    """The two maps on one colour scale."""
    values = [tables.in_unit(one.scores, unit, one.headless) for one in (a, b)]
    used, domain = shared_scale(values, "raw" if unit == "percentile" else scale)
    pictures: list[tuple[str, HeadMap]] = []
    for column, one, shown, key in zip(blocks.side_by_side("two maps", 1, 1), (a, b), values, "ab", strict=True):
        with column:
            top = stats.leader(one.scores)
            blocks.heading(f"{one.name} · {top} leads")
            drawn = head_map(
                shown, title=f"{one.name}, {selection.task()}", label=unit, scale=used, domain=domain,
                number=NUMBERS[unit], state="chosen", headless=one.headless, file=f"importance-{key}",
                facts=blocks.known() if one is a else (),
                alt=f"Heatmap of {unit} over {len(shown)} layers and {shown.shape[1]} heads, {one.name}; {top} leads.")
            pictures.append((one.name, drawn))
            components.clickable(drawn if one is a or same else drawn.still(INTACT), f"models {key}")
    even = "" if unit != "share of the total" else "Spread evenly, a head would hold " + " and ".join(
        f"{words.percent(1 / one.n_heads)} of {one.name}'s" for one in (a, b))
    said = blocks.note(f"{examples(a, b)} · both maps on one scale",
                       explain(a, b, definition, UNITS[unit].capitalize(), even))
    table = tables.models_table({one.name: shown for one, shown in zip((a, b), values, strict=True)},
                                {one.name: one.headless for one in (a, b)}, selection.ablation(), unit)
    python = lines(
        a, b, f"maps = {{name: tables.in_unit(one, {unit!r}, headless[name]) for name, one in scores.items()}}",
        table=f"tables.models_table(maps, headless, chosen, {unit!r})", then=agreement_lines(a, b) if same else ())
    blocks.extras(table, "importance-two-models", python, "models", title=f"{a.name} and {b.name}", caption=said,
                  shown=pictures)


def shared_scale(values: list[np.ndarray], scale: str) -> tuple[str, tuple[float, float]]:
    """A scale and its ends for both maps; automatic: raw, or logarithmic where raw shows little of either."""
    pooled = np.concatenate([one[np.isfinite(one)] for one in values])
    raw = min(0.0, float(pooled.min())), float(pooled.max())
    positive = pooled[pooled > 0]
    if scale == AUTOMATIC:
        seen = [int((scales.shades(one, domain=raw).strength >= scales.VISIBLE).sum()) for one in values]
        enough = all(n >= max(3, scales.ENOUGH * one.size) for n, one in zip(seen, values, strict=True))
        scale = "raw" if enough or raw[0] < 0 else "logarithmic"
    if scale == "logarithmic" and len(positive):
        return scale, (float(positive.min()), float(positive.max()))
    return ("per layer", (0.0, 1.0)) if scale == "per layer" else ("raw", raw)


def difference(a: Side, b: Side, unit: str, definition: str) -> None:
    """Where the one leans more than the other, head by head; for models of one shape."""
    delta = tables.in_unit(a.scores, unit, a.headless) - tables.in_unit(b.scores, unit, b.headless)
    title = words.models_apart(delta, a.name, b.name)
    label = f"difference of {unit}"
    shown: HeadMap = head_map(
        delta, title=title, label=label, signed=True, state="chosen", headless=a.headless, file="importance-difference",
        number="plain" if unit == "raw" else "+points",
        alt=f"Heatmap of the {label} over {len(delta)} layers and {delta.shape[1]} heads. {title}.")
    blocks.result(
        title, shown, caption=f"{examples(a, b)} · blue: {a.name} leans on it more, orange: {b.name}",
        measured=explain(a, b, definition, f"{a.name} minus {b.name}: {UNITS[unit]}"),
        table=tables.grid_table(delta, selection.ablation(), label=label, headless=a.headless),
        file="importance-difference", key="models difference", python=lines(
            a, b, f"a, b = (tables.in_unit(one, {unit!r}, headless[name]) for name, one in scores.items())",
            table=f"tables.grid_table(a - b, chosen, label={label!r}{blocks.headless()})"))


def depth(a: Side, b: Side, definition: str) -> None:
    """Where in their depth the two keep their importance: comparable whatever their shapes."""
    table = tables.depth_table({one.name: one.scores for one in (a, b)}, {one.name: one.headless for one in (a, b)})
    title = words.deepest(table)
    blocks.result(
        title, charts.depth_curves(table), caption=f"{examples(a, b)} · grey: an even spread over the layers",
        measured=explain(a, b, definition, "A layer's share of its model's importance, against an even one over the "
                         "layers with heads", "Relative depth: the middle of a layer, from 0 % to 100 %"),
        table=table, file="importance-by-depth", key="models depth",
        python=lines(a, b, table="tables.depth_table(scores, headless)"), alt_text=f"Two curves. {title}.")


def explain(a: Side, b: Side, definition: str, *parts: str) -> str:
    """How every chart of two models is measured."""
    read = words.read_as({one.name: tokens_read(one.record) for one in (a, b)})
    return blocks.provenance(a.unit.setup, *parts, definition, read, source=blocks.STUDY) + \
        f"\nAgainst: {b.unit.model}"


def examples(a: Side, b: Side) -> str:
    """How many training examples stand behind both."""
    n = [one.record.n_examples for one in (a, b)]
    return f"n = {n[0]} training examples" + ("" if n[0] == n[1] else f" of {a.name}, {n[1]} of {b.name}")


def tokens_read(record: HeadScores) -> float:
    """How many positions a prompt had on average, as this model's tokenizer cuts it."""
    return max(map(sum, zip(*record.block_positions, strict=True))) / record.n_examples


# --- lines that reproduce -------------------------------------------------------------------------


def lines(a: Side, b: Side, *before: str, table: str, then: Sequence[str] = ()) -> str:
    """Python that gets both models' scores by their names (`scores`), and from them a table."""
    given = {"names": (a.name, b.name), "without": (a.headless, b.headless), "chosen": selection.ablation()}
    return blocks.python_lines(
        a.unit, "both = dict(zip(names, (record, other), strict=True))",
        f"scores = {{name: one.scores({selection.definition()!r}) for name, one in both.items()}}",
        "headless = dict(zip(names, without, strict=True))", *before, table=table, then=then, given=given,
        also={"other": b.unit})


def agreement_lines(a: Side, b: Side) -> list[str]:
    """What `agreement` says."""
    which, by = both_alive(a, b)[0], selection.definition()
    left_out = Ablation(frozenset(Head(int(layer), int(head)) for layer, head in np.argwhere(~which)))
    return [f"which = parse_exact({str(left_out)!r}).head_mask{which.shape} == 1",
            "ranked = [one[which] for one in scores.values()]", "print(stats.spearman(*ranked))",
            f"print(stats.bootstrap_spearman(record, other, {by!r}, heads=which))",
            f"print(stats.topk_overlap(*ranked, {TOP}))"]
