"""What charts of accuracies say: the whole range, chance, intervals, and which model is which."""

from typing import Any

import numpy as np
import pandas as pd

from backend import tables
from backend.values import parse_exact
from pages.shared import charts
from pages.shared.charts.style import BLUE, ORANGE
from tests.tables.records import answered, sweep

INTACT, ABLATED = np.array([1, 1, 1, 0], bool), np.array([1, 0, 0, 0], bool)


def by_mark(chart: Any) -> dict[str, dict[str, Any]]:
    """The layers of a chart by the kind of their marks."""
    return {layer["mark"]["type"]: layer for layer in chart.to_dict()["layer"]}


def test_two_models_are_compared_over_the_whole_range_with_intervals_and_chance():
    table = tables.comparison_table(["a"], [""], [INTACT], [ABLATED], [0.25])
    marks = by_mark(charts.comparison(table, ["b", "a"]))
    for mark in marks.values():
        assert mark["encoding"]["x"]["scale"] == {"domain": [0, 1]}
        assert mark["encoding"]["y"]["scale"] == {"domain": ["b", "a"]}  # tasks that are not there yet keep their place
        assert mark["encoding"]["y"]["sort"] == ["b", "a"]
    assert marks["tick"]["encoding"]["x"]["field"] == "chance"
    assert [marks["rule"]["encoding"][end]["field"] for end in ("x", "x2")] == ["low", "high"]
    assert marks["circle"]["encoding"]["color"]["scale"] == {"domain": ["intact", "ablated"], "range": [BLUE, ORANGE]}
    formats = {t["field"]: t.get("format") for t in marks["circle"]["encoding"]["tooltip"]}
    assert formats["accuracy"] == ".1%"
    assert {"low", "high", "n", "chance", "p"} <= set(formats)


def test_bars_of_accuracy_reach_over_the_whole_range_in_the_order_given():
    table = pd.DataFrame([tables.mean_row("one", [answered([1, 0])]), tables.mean_row("none", [answered([0, 0])])])
    marks = by_mark(charts.bars(table, x="accuracy", y="what", order=["one", "none"], x_title="accuracy"))
    assert marks["bar"]["encoding"]["x"]["scale"] == {"domain": [0, 1]}
    assert marks["bar"]["encoding"]["y"]["sort"] == ["one", "none"]
    assert [marks["rule"]["encoding"][end]["field"] for end in ("x", "x2")] == ["low", "high"]
    assert marks["tick"]["encoding"]["x"]["field"] == "chance"


def test_bars_without_chance_or_intervals_draw_none():
    table = pd.DataFrame({"pairs": ["a"], "mean ρ": [0.5]})
    chart = charts.bars(table, x="mean ρ", y="pairs", order=["a"], x_title="ρ", percent=False)
    assert list(by_mark(chart)) == ["bar"]
    assert by_mark(chart)["bar"]["encoding"]["x"]["axis"]["format"] == ""


def test_lines_name_their_rules_and_keep_their_colours_in_order():
    table = pd.DataFrame({"ranking": ["b", "b", "a", "a"], "heads": [0, 0.5] * 2, "accuracy": [1, 0.5, 1, 0.25]})
    marks = by_mark(charts.lines(table, x="heads", y="accuracy", colour="ranking", x_title="", y_title="",
                                 rules={"chance": 0.25}))
    assert marks["line"]["encoding"]["color"]["scale"]["domain"] == ["b", "a"]
    assert marks["line"]["encoding"]["y"]["scale"] == {"domain": [0, 1]}
    assert marks["text"]["encoding"]["text"]["field"] == "name"


def test_no_line_runs_through_the_name_of_a_rule():
    """It ends where the axis does, behind the last point."""
    table = pd.DataFrame({"ranking": ["b", "b"], "heads": [0, 0.9], "accuracy": [1, 0.5]})
    spec = charts.lines(table, x="heads", y="accuracy", colour="ranking", x_title="", y_title="",
                        rules={"90 % of intact": 0.9}).to_dict()
    name = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "text")
    end = name["encoding"]["x"]["scale"]["domain"][1]
    assert end > 1
    assert name["mark"]["align"] == "right"
    assert [row["heads"] for row in spec["datasets"][name["data"]["name"]]] == [end]
    plain = charts.lines(table, x="heads", y="accuracy", colour="ranking", x_title="", y_title="")
    assert by_mark(plain)["line"]["encoding"]["x"]["scale"]["domain"] == [0, 0.9]


# --- effects by layer -----------------------------------------------------------------------------

ORACLE = sweep([[1, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1]])


def test_falls_are_orange_rises_blue_and_what_may_be_no_change_pale():
    chart = charts.layer_effects(tables.effects_table(ORACLE, parse_exact("F1")))
    bars = chart.to_dict()["layer"][0]["encoding"]
    assert bars["y"]["sort"] == "descending"
    assert bars["color"]["condition"] == [{"test": "datum.change < 0", "value": ORANGE}]
    assert bars["color"]["value"] == BLUE
    assert bars["opacity"]["condition"] == [{"test": "datum.low <= 0 && datum.high >= 0", "value": 0.45}]
    crossed = chart.to_dict()["layer"][3]
    assert crossed["transform"] == [{"filter": "datum.off"}]


def test_changes_have_room_for_their_intervals_and_next_to_nothing_looks_like_it():
    def domain(table: pd.DataFrame) -> list[float]:
        return charts.layer_effects(table).to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"]

    table = tables.effects_table(ORACLE)
    assert domain(table) == [table["low"].min(), table["high"].max()]
    assert domain(table.assign(low=-0.01, high=0.01)) == [-0.05, 0.05]
    assert domain(table.assign(low=-0.5, high=-0.2)) == [-0.5, 0]  # no change is always on it


def test_whiskers_are_the_interval_s_ends():
    whiskers = charts.layer_effects(tables.effects_table(ORACLE)).to_dict()["layer"][2]["encoding"]
    assert [whiskers[end]["field"] for end in ("x", "x2")] == ["low", "high"]
