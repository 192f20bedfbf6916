"""Every chart once, over small tables whose numbers are known, and how to read what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from backend import tables
from backend.models.info import Weights
from backend.tables import DIFFERENCE
from backend.values import parse_exact
from pages.shared import charts
from pages.shared.charts import paper, style
from tests.tables.records import answered, induction, sweep

INKS = {style.BLUE: "blue", style.ORANGE: "orange", style.GREY: "grey", style.PURPLE: "purple", style.GREEN: "green"}
LOOKS = ("opacity", "size", "strokeWidth")  # say something only where they depend on the row
RIGHT = np.array([1, 1, 1, 0], bool)
SCORES = np.array([[0.5, 2.0, 0.1], [1.0, 4.0, 0.0]])
TOKENS = ["the", " cat", "\n"]
PATTERN = np.array([[1, 0, 0], [0.995, 0.005, 0], [0.25, 0.7, 0.05]])
TWO = np.array([[1.0, 2.0], [3.0, 4.0]])
MATRIX = tables.matrix_table(np.array([[1.0, 0.4], [-0.9, 1.0]]), ["a", "b"], ["x", "y"], "rho")
OFF = parse_exact("L1H2,F1")


def comparison_table() -> pd.DataFrame:
    return tables.comparison_table(["antonym"], [""], [RIGHT], [RIGHT & [True, False, False, False]], [0.25])


def comparison() -> Any:
    return charts.comparison(comparison_table(), ["capital", "antonym"])


def bars() -> Any:
    table = pd.DataFrame([tables.mean_row("one", [answered([1, 0])]), tables.mean_row("none", [answered([0, 0])])])
    return charts.bars(table, x="accuracy", y="what", order=["one", "none"], x_title="mean accuracy")


def beside() -> Any:
    table = tables.labels_table({"intact": {"true labels": [answered([1, 0])], "0 shots": [answered([0, 0])]},
                                 "ablated": {"true labels": [answered([1, 1])]}})
    return charts.beside(table, x="accuracy", y="labels", order=["0 shots", "true labels"], x_title="accuracy")


def influences() -> Any:
    table = pd.DataFrame({"demonstration": ["1 (farthest)", "2 (nearest)"], "model": ["intact"] * 2,
                          "influence": [-0.5, 1.25], "text": ["a -> b", "c -> d"]})
    return charts.beside(table, x="influence", y="demonstration", order=list(table["demonstration"]), x_title="nats",
                         percent=False, signed=True)


def changes() -> Any:
    table = pd.DataFrame({"what": ["a", "b"], "change": [-0.5, 1.25], "low": [-1.0, 1.0], "high": [0.0, 1.5]})
    return charts.bars(table, x="change", y="what", order=["b", "a"], x_title="nats", percent=False, signed=True)


def lines() -> Any:
    table = pd.DataFrame({"ranking": ["b", "b", "a", "a"], "heads": [0, 0.5] * 2, "accuracy": [1, 0.5, 1, 0.25]})
    return charts.lines(table, x="heads", y="accuracy", colour="ranking", x_title="heads removed",
                        y_title="mean accuracy", rules={"chance": 0.25})


def depth() -> Any:
    scores = {"small": np.array([[1.0, 1.0], [3.0, 3.0]]), "large": np.array([[1.0], [0.0], [3.0]])}
    return charts.depth_curves(tables.depth_table(scores, {"small": (), "large": ()}))


def growth() -> Any:
    names = ("strongest prefix matching", "accuracy with demonstrations", "accuracy without")
    table = pd.DataFrame([{"step": step, "place": max(step, 1), "what": name, "value": value, "low": value - 0.1,
                           "high": value + 0.1} for name in names for step, value in ((0, 0.2), (1000, 0.6))])
    return charts.growth(table, 1000, 0.25, {"heads look back": 0})


def capacity() -> Any:
    rankings = {"a": np.array([[1, 2]]), "b": np.array([[2, 1]])}
    return charts.capacity(tables.capacity_table(induction([[0.1, 0.9]]), rankings, (0, 0.5)), ["b"], "capacity kept")


def scatter() -> Any:
    found = induction([[0.1, 0.4], [0.3, 0.2]])
    table = tables.scores_table(np.array([[3e-5, 1e-5], [2e-5, 4e-5]]), found, found, parse_exact("L1H1"))
    return charts.scatter(table, "prefix matching", "importance", x_title="looks back", y_title="matters")


def attention() -> Any:
    return charts.attention_map(tables.attention_table(PATTERN, TOKENS), TOKENS)


def layer_changes() -> Any:
    table = pd.DataFrame({"layer": [0, 1], "change": [-0.5, 0.25]})
    return charts.layer_bars(table, "change", "change in nats", percent=False, signed=True)


def layer_effects() -> Any:
    return charts.layer_effects(tables.effects_table(sweep([[1, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1]]), OFF))


def masks_points() -> pd.DataFrame:
    return pd.DataFrame([{"task": "antonym", "mask": mask, "accuracy": at, "low": at - 0.1, "high": at + 0.1, "n": 40,
                          "chance": 0.25, DIFFERENCE: 0.1, "p (Holm)": 0.04}
                         for mask, at in (("intact", 0.9), ("A", 0.7), ("B", 0.6))])


def masks() -> Any:
    return charts.masks(masks_points(), ["capital", "antonym"])


def matrix(**more: Any) -> Any:
    return charts.matrix(MATRIX, "rho", rows=["a", "b"], columns=["x", "y"], x_title="to", y_title="from", **more)


def next_tokens() -> Any:
    return charts.next_token_chart(pd.DataFrame({
        "token": ["b", "b", "a", "a"], "model": ["intact", "ablated"] * 2, "probability": [0.5, 0.1, 0.3, 0.4],
        "rank": [1, 2, 2, 1]}))


def options() -> Any:
    return charts.options_chart(pd.DataFrame({
        "option": ["hot", "cold"] * 2, "model": ["intact"] * 2 + ["ablated"] * 2,
        "loglikelihood": [-11.0, -12.0, -12.5, -11.5], "right": [True, False] * 2,
        "chosen": [True, False, False, True]}))


def pruning(what: str = "heads") -> Any:
    masks, removed = [parse_exact(""), parse_exact("L0H0")], [(0.0, 0.0), (0.5, 0.0)]
    each = Weights(10, 20, 2, 2)
    table = pd.concat([tables.curve_table([sweep([[1, 1], [1, 0]], masks, removed)], ranking, each, 100)
                       for ranking in (tables.OWN, tables.RANDOM)])
    return charts.pruning_curves(table.rename(columns={"heads": what, "n heads": f"n {what}"}), what, floor=0.9)


ALL: dict[str, Callable[[], Any]] = {
    "comparison": comparison, "bars": bars, "beside": beside, "influences": influences, "changes": changes,
    "lines": lines, "depth": depth, "growth": growth,
    "heads": lambda: charts.layers_by_heads(tables.grid_table(SCORES, OFF)), "capacity": capacity, "scatter": scatter,
    "attention": attention, "framed": lambda: charts.framed(attention(), [(2, 1)]),
    "layer shares": lambda: charts.layer_bars(tables.layer_shares(SCORES), "share", "share of all heads"),
    "layer changes": layer_changes, "layer effects": layer_effects, "masks": masks, "matrix": matrix,
    "signed matrix": lambda: matrix(signed=True, domain=(-0.2, 0.5), number="+.0%", bottom_up=True, chosen=("a", "y")),
    "counts": lambda: charts.counts_bars(tables.counts_table(np.array([[0, 2], [1, 1]]), 0.5, 2)),
    "overlap": lambda: charts.overlap_curve(tables.overlap_table([TWO, TWO[::-1]], (0.25, 0.5)), 0.5),
    "next tokens": next_tokens, "options": options, "text": lambda: charts.token_text(PATTERN, TOKENS),
    "thumbnails": lambda: charts.thumbnails(tables.thumbnail_table(2, 1, 0, parse_exact("L1H1")),
                                            np.stack([PATTERN, np.eye(3)])),
    "pruning": pruning, "pruning live heads": lambda: pruning("live heads"),
}


def layers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of a chart that draw something, each with the encoding and the rows that it has from above."""
    above = {"encoding": {}, **{name: spec[name] for name in ("encoding", "data") if name in spec}}
    if "layer" not in spec:
        return [spec]
    return [found for layer in spec["layer"] for found in layers(
        {**above, **layer, "encoding": above["encoding"] | layer.get("encoding", {})})]


def ink(name: str) -> str:
    return INKS.get(name, name)


def channel(told: Any) -> str:
    """`field:Q`, or the value; with what it depends on first."""
    if "condition" in told:
        found = told["condition"] if isinstance(told["condition"], list) else [told["condition"]]
        return "".join(f"{one.get('test') or one['param']} ? {channel(one)} : " for one in found) + channel(
            {name: one for name, one in told.items() if name != "condition"})
    if "field" in told:
        return told["field"] + (f":{told['type'][0].upper()}" if "type" in told else "")
    return ink(str(told["value"] if "value" in told else told["datum"]))


def drawn(spec: dict[str, Any]) -> list[str]:
    """Each layer in words: its mark, its ink, which column each channel shows, and whether the mouse is told."""
    found = []
    for layer in layers(spec):
        mark = layer["mark"] if isinstance(layer["mark"], dict) else {"type": layer["mark"]}
        words = [mark["type"], *(["dashed"] if mark.get("strokeDash", [1, 0]) != [1, 0] else []),
                 *(ink(mark[name]) for name in ("color", "stroke") if name in mark)]
        words += [f"{name}={channel(told)}" for name, told in layer["encoding"].items() if name != "tooltip" and (
            name not in LOOKS or "condition" in told)]
        found.append(" ".join([*words, *["told"] * ("tooltip" in layer["encoding"])]))
    return found


def under_the_mouse(spec: dict[str, Any]) -> list[str]:
    """The lines of the tooltips, as `what it is called = field format`; layers of one chart have the same, or none."""
    found: list[str] = []
    for layer in layers(spec):
        told = layer["encoding"].get("tooltip", [])
        lines = [f"{one.get('title') or one['field']} = {channel(one)} {one.get('format', '')}".strip()
                 for one in (told if isinstance(told, list) else [told])]
        found += [line for line in lines if line not in found]
    return found


def written(chart: Any) -> list[str]:
    """What can be read on a chart: axes with their titles, legends and labels, in the order of drawing."""
    found = ElementTree.fromstring(paper.as_svg(paper.specification(chart)))
    return [one.text for one in found.iter("{http://www.w3.org/2000/svg}text") if one.text]


def told(channel: Any) -> list[dict[str, Any]]:
    """What a channel shows, its conditions and the lines of a tooltip one by one."""
    if isinstance(channel, list):
        return [one for part in channel for one in told(part)]
    return [channel, *(told(channel["condition"]) if "condition" in channel else [])]


def rows(spec: dict[str, Any], layer: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that a layer of a chart draws."""
    data = layer.get("data") or spec["data"]
    return data["values"] if "values" in data else spec["datasets"][data["name"]]


def told_apart(spec: dict[str, Any]) -> list[str]:
    """Each name of a chart's legend with its ink, its dash and its shape."""
    found: dict[str, list[str]] = {}
    for layer in layers(spec):
        for name in ("color", "strokeDash", "shape"):
            scale = (layer["encoding"].get(name) or {}).get("scale") or {}
            if isinstance(scale.get("range"), list):
                for one, is_ in zip(scale["domain"], scale["range"], strict=True):
                    looks = found.setdefault(one, [])
                    looks += [ink(str(is_))] if ink(str(is_)) not in looks else []
    return [f"{name}: {', '.join(looks)}" for name, looks in found.items()]
