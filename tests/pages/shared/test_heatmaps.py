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
    return charts.layers_by_heads(tables.grid_table(scores, OFF), **more)


def test_layers_go_up_and_heads_across():
    encoding = cells(the_map())["encoding"]
    assert encoding["y"]["field"] == "layer"
    assert encoding["y"]["sort"] == "descending"  # layer 0 at the bottom
    assert (encoding["x"]["field"], encoding["x"]["type"]) == ("head", "ordinal")  # in the order of its numbers
    assert "sort" not in encoding["x"]


def test_sizes_are_coloured_from_zero_so_that_equal_colours_mean_equal_shares():
    assert colour(the_map())["scale"] == {"range": "heatmap", "domain": [0, 4]}
    assert colour(the_map(SCORES + 10))["scale"]["domain"] == [0, 14]


def test_a_logarithmic_scale_leaves_zero_out():
    scale = colour(the_map(logarithmic=True))["scale"]
    assert (scale["type"], scale["domain"], scale["clamp"]) == ("log", [0.1, 4], True)
    assert "type" not in colour(the_map(np.zeros((2, 3)), logarithmic=True))["scale"]


def test_what_is_off_is_framed_and_crossed_out_and_what_has_no_score_is_grey():
    assert "!isValid" in colour(the_map())["condition"]["test"]
    assert cells(the_map())["encoding"]["stroke"]["condition"][0]["test"] == "datum.off"
    crosses = the_map().to_dict()["layer"][1]
    assert crosses["transform"] == [{"filter": "datum.off"}]
    assert crosses["mark"]["shape"] == "cross"


def test_tiny_scores_are_written_with_their_exponent():
    def written(scores: np.ndarray) -> str:
        return next(t["format"] for t in cells(the_map(scores))["encoding"]["tooltip"] if "format" in t)

    assert written(SCORES) == ".3~g"
    assert written(SCORES * 1e-5) == ".2~e"


def test_large_grids_are_drawn_on_a_canvas_without_a_name_for_every_cell():
    assert cells(charts.layers_by_heads(tables.grid_table(np.ones((2, 3)))))["mark"]["aria"]
    side = int(CANVAS**0.5) + 1
    assert not cells(charts.layers_by_heads(tables.grid_table(np.ones((side, side)))))["mark"]["aria"]


def test_they_are_bare_and_cannot_be_clicked():
    assert "params" not in the_map().to_dict()
    encoding = cells(the_map())["encoding"]
    assert encoding["x"]["axis"] is None
    assert encoding["color"]["legend"] is None


@pytest.mark.parametrize(("percent", "number"), [(True, "%"), (False, "")])
def test_bars_of_layers_go_up_and_say_their_unit(percent: bool, number: str):
    spec = charts.layer_bars(tables.layer_shares(SCORES), "share", "share", percent=percent).to_dict()["encoding"]
    assert spec["y"]["sort"] == "descending"
    assert spec["x"]["field"] == "share"
    assert spec["x"]["axis"]["format"] == number
