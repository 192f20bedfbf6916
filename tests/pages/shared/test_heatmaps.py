"""What heatmaps say: which way up, which colours, over which range, and what is off."""

from typing import Any

import numpy as np
import pytest

from backend import tables
from backend.values import parse_exact
from pages.shared import charts
from pages.shared.charts.style import CANVAS

SCORES = np.array([[0.5, 2.0, 0.1], [1.0, 4.0, 0.0]])
OFF = parse_exact("L1H2,F0")


def cells(chart: Any) -> dict[str, Any]:
    return chart.to_dict()["layer"][0]


def colour(chart: Any) -> dict[str, Any]:
    return cells(chart)["encoding"]["color"]


def the_map(scores: np.ndarray = SCORES, **more: Any) -> Any:
    return charts.layers_by_heads(tables.grid_table(scores, OFF, ffns=True, wholes=True), **more)


def test_layers_go_up_and_heads_across_with_ffns_at_the_end_and_wholes_at_the_start():
    encoding = cells(the_map())["encoding"]
    assert encoding["y"]["field"] == "layer"
    assert encoding["y"]["sort"] == "descending"  # layer 0 at the bottom
    assert encoding["x"]["field"] == "column"
    assert encoding["x"]["sort"] == ["all", "0", "1", "2", "FFN"]


def test_sizes_are_coloured_from_zero_so_that_equal_colours_mean_equal_shares():
    assert colour(the_map())["scale"] == {"range": "heatmap", "domain": [0, 4]}
    assert colour(the_map(SCORES + 10))["scale"]["domain"] == [0, 14]


def test_signs_are_coloured_around_zero_and_reach_as_far_to_either_side():
    scale = colour(the_map(SCORES - 1.5, signed=True))["scale"]
    assert scale == {"range": "diverging", "domain": [-2.5, 2.5], "domainMid": 0, "reverse": True}


def test_a_locked_scale_is_the_one_that_is_drawn():
    assert colour(the_map(domain=(0, 10)))["scale"]["domain"] == [0, 10]
    assert colour(the_map(domain=(-1, 3), signed=True))["scale"]["domain"] == [-3, 3]


def test_a_logarithmic_scale_leaves_zero_out():
    scale = colour(the_map(logarithmic=True))["scale"]
    assert (scale["type"], scale["domain"], scale["clamp"]) == ("log", [0.1, 4], True)
    assert "type" not in colour(the_map(np.zeros((2, 3)), logarithmic=True))["scale"]


def test_what_is_off_is_hollow_and_crossed_out_and_what_has_no_score_is_grey():
    tests = colour(the_map())["condition"]
    assert (tests[0]["test"], tests[0]["value"]) == ("datum.off", "transparent")
    assert any("!isValid" in one["test"] for one in tests)
    crosses = the_map().to_dict()["layer"][1]
    assert crosses["transform"] == [{"filter": "datum.off"}]
    assert crosses["mark"]["shape"] == "cross"


def test_tiny_scores_are_written_with_their_exponent():
    def written(scores: np.ndarray, **more: Any) -> str:
        return next(t["format"] for t in cells(the_map(scores, **more))["encoding"]["tooltip"] if "format" in t)

    assert written(SCORES) == ".3~g"
    assert written(SCORES * 1e-5) == ".2~e"
    assert written(SCORES, number=".0%") == ".0%"


def test_a_click_selects_layers_and_heads_and_only_where_there_is_something_to_click():
    params = the_map().to_dict()["params"]
    assert [(p["name"], p["select"]["fields"]) for p in params] == [(charts.CLICK, ["layer", "head"])]
    assert "params" not in the_map(clickable=False).to_dict()


def test_what_was_clicked_is_read_from_the_chart_s_state():
    state = {"selection": {charts.CLICK: [{"layer": 1, "head": tables.FFN}, {"layer": 0, "head": 2}, {"head": 3}]}}
    assert charts.clicked(state) == [(1, tables.FFN), (0, 2)]
    for nothing in (None, {}, {"selection": {}}, {"selection": {charts.CLICK: None}}):
        assert charts.clicked(nothing) == []


def test_large_grids_are_drawn_on_a_canvas_without_a_name_for_every_cell():
    assert cells(charts.layers_by_heads(tables.grid_table(np.ones((2, 3)))))["mark"]["aria"]
    side = int(CANVAS**0.5) + 1
    assert not cells(charts.layers_by_heads(tables.grid_table(np.ones((side, side)))))["mark"]["aria"]


def test_small_maps_are_bare():
    encoding = cells(the_map(compact=True, clickable=False))["encoding"]
    assert encoding["x"]["axis"] is None
    assert encoding["color"]["legend"] is None


def test_contributions_are_coloured_around_zero_with_orange_taking_away():
    table = tables.contribution_table(np.array([[1.0, -3.0]]), np.array([2.0]), OFF)
    chart = charts.contribution_map(table, "nats")
    encoding = cells(chart)["encoding"]
    assert encoding["color"]["scale"] == {"range": "diverging", "domain": [-3, 3], "domainMid": 0, "reverse": True}
    assert encoding["x"]["sort"] == ["0", "1", "FFN"]
    assert encoding["y"]["sort"] == "descending"
    assert chart.to_dict()["params"][0]["select"]["fields"] == ["layer", "head"]


def test_bars_beside_a_map_are_as_high_as_the_map():
    scores = np.ones((12, 12))
    height = charts.layers_by_heads(tables.grid_table(scores)).to_dict()["height"]
    assert charts.layer_bars(tables.layer_shares(scores), "share", "share").to_dict()["height"] == height


@pytest.mark.parametrize(("percent", "number"), [(True, "%"), (False, "")])
def test_bars_of_layers_go_up_and_say_their_unit(percent: bool, number: str):
    spec = charts.layer_bars(tables.layer_shares(SCORES), "share", "share", percent=percent).to_dict()["encoding"]
    assert spec["y"]["sort"] == "descending"
    assert spec["x"]["field"] == "share"
    assert spec["x"]["axis"]["format"] == number
