"""What the charts of two models by depth, and of two masks per task, say."""

from typing import Any

import numpy as np
import pandas as pd

from backend import tables
from backend.tables import DIFFERENCE
from pages.shared import charts
from pages.shared.charts.style import BLUE, GREY, ORANGE

PERCENT = "%"


def channel(layer: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = layer["encoding"][name]
    return found


def test_two_models_by_depth_are_told_apart_by_dash_and_shape_and_an_even_spread_is_one():
    scores = {"small": np.array([[1.0, 1.0], [3.0, 3.0]]), "large": np.array([[1.0], [0.0], [3.0]])}
    table = tables.depth_table(scores, {"small": (), "large": ()})
    told = charts.depth_curves(table).to_dict()
    even, lines, points = told["layer"]
    assert (even["mark"]["type"], even["mark"]["color"], channel(even, "y")["field"]) == ("rule", GREY, "even")
    (spread,) = [rows for rows in told["datasets"].values() if "even" in rows[0]]
    assert spread == [{"even": 1.0}]
    for layer, mark in ((lines, "line"), (points, "point")):
        assert layer["mark"]["type"] == mark
        assert channel(layer, "x")["field"] == "depth"
        assert channel(layer, "x")["scale"] == {"domain": [0, 1]}
        assert channel(layer, "x")["axis"]["format"] == PERCENT
        assert channel(layer, "y")["field"] == "against an even spread"
        assert channel(layer, "y")["scale"]["zero"] is True
        assert channel(layer, "color")["scale"] == {"domain": ["small", "large"], "range": [BLUE, ORANGE]}
        assert channel(layer, "color")["legend"]["symbolOpacity"] == 1
    assert channel(lines, "strokeDash")["scale"]["range"] == [[1, 0], [6, 3]]
    assert channel(points, "shape")["scale"] == {"domain": ["small", "large"], "range": ["circle", "square"]}
    assert points["mark"]["filled"] is True
    assert {(one["field"], one.get("format")) for one in channel(points, "tooltip")} == {
        ("model", None), ("layer", None), ("depth", ".0%"), ("share", ".1%"), ("against an even spread", ".2f")}


def test_masks_of_a_task_have_intervals_chance_and_places_from_the_start():
    points = pd.DataFrame([{
        "task": "antonym", "mask": mask, "accuracy": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1, "n": 40,
        "chance": 0.25, DIFFERENCE: 0.1,
        "p (Holm)": 0.04} for mask, accuracy in (("intact", 0.9), ("A", 0.7), ("B", 0.6))])
    told = charts.masks(points, ["capital", "antonym"]).to_dict()
    chance, link, interval, dots = told["layer"]
    assert (chance["mark"]["type"], chance["mark"]["color"], channel(chance, "x")["field"]) == ("tick", GREY, "chance")
    assert "mask A" in str(told["datasets"])
    assert "intact" in link["transform"][0]["filter"]
    assert (channel(interval, "x")["field"], channel(interval, "x2")["field"]) == ("low", "high")
    for layer in (chance, link, interval, dots):
        assert channel(layer, "y")["scale"] == {"domain": ["capital", "antonym"]}
        assert channel(layer, "y")["sort"] == ["capital", "antonym"]
        assert channel(layer, "x")["scale"] == {"domain": [0, 1]}
        assert channel(layer, "x")["axis"]["format"] == PERCENT
    assert channel(dots, "color")["legend"]["orient"] == "top"
    assert channel(dots, "color")["scale"]["domain"] == ["intact", "mask A", "mask B"]
    assert channel(dots, "shape")["scale"]["range"] == ["circle", "square", "diamond"]
    formats = {one["field"]: one.get("format") for one in channel(dots, "tooltip")}
    assert formats["accuracy"] == formats["low"] == formats["high"] == formats["chance"] == ".1%"
    assert formats["p (Holm)"] == ".2g"
