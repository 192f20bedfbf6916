"""What pruning, capacity, scatter and overlap charts say."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from backend import tables
from backend.models.info import Weights
from backend.values import parse_exact
from pages.shared import charts
from pages.shared.charts.style import BLUE, GREY, ORANGE
from tests.tables.records import induction, sweep

REMOVED = [(0.0, 0.0), (0.5, 0.0)]
MASKS = [parse_exact(""), parse_exact("L0H0")]


def curve(ranking: str) -> pd.DataFrame:
    return tables.curve_table([sweep([[1, 1], [1, 0]], MASKS, REMOVED)], ranking, Weights(10, 20, 2, 2), 100)


@cache
def inner() -> list[dict[str, Any]]:
    table = pd.concat([curve(tables.OWN), curve(tables.RANDOM)])
    chart = charts.pruning_curves(table, "heads", floor=0.9)
    return chart.to_dict()["layer"][1]["layer"]


def test_each_ranking_has_its_colour_and_its_dash_in_the_order_given():
    line = inner()[-2]
    assert line["mark"]["type"] == "line"
    assert line["encoding"]["color"]["scale"] == {"domain": [tables.OWN, tables.RANDOM], "range": [BLUE, GREY]}
    assert line["encoding"]["strokeDash"]["scale"]["range"] == [[1, 0], [1, 2]]


def test_colour_and_dash_share_one_legend():
    encoding = inner()[-2]["encoding"]
    assert encoding["color"]["legend"] == encoding["strokeDash"]["legend"]  # Vega warns of two that differ
    assert encoding["color"]["title"] is encoding["strokeDash"]["title"] is None


def test_accuracy_is_drawn_over_the_whole_range_against_the_share_removed():
    points = inner()[-1]["encoding"]
    assert points["x"]["field"] == "heads"
    assert points["y"]["scale"] == {"domain": [0, 1]}
    assert points["x"]["axis"]["values"] == [i / 10 for i in range(10)]


def test_intact_floor_and_chance_are_drawn_at_their_accuracies():
    spec = charts.pruning_curves(curve(tables.OWN), "heads", floor=0.9).to_dict()
    rows = [spec["datasets"][one["data"]["name"]][0] for one in spec["layer"][1]["layer"][:3]]
    assert [row["accuracy"] for row in rows] == [1.0, 0.9, 0.5]
    assert [row["label"] for row in rows] == ["intact 100%", "", "chance 50%"]


def test_the_random_orders_have_a_band_and_the_others_intervals():
    band, spans = inner()[3:5]
    assert band["mark"]["type"] == "area"
    assert [band["encoding"][end]["field"] for end in ("y", "y2")] == ["low", "high"]
    assert spans["mark"]["type"] == "rule"
    assert band["transform"][0]["filter"] != spans["transform"][0]["filter"]
    assert tables.RANDOM in str(band["transform"])


def test_the_axis_on_top_counts_parameters():
    table = curve(tables.OWN)
    top = charts.pruning_curves(table, "heads", floor=0.9).to_dict()["layer"][0]["encoding"]["x"]["axis"]
    assert top["orient"] == "top"
    assert "datum.value * 0.2" in top["labelExpr"]  # half of the heads hold a tenth of the parameters


def test_a_point_s_mask_can_be_clicked_and_is_read_back():
    table = curve(tables.OWN)
    assert charts.pruning_curves(table, "heads", floor=0.9).to_dict()["params"][0]["select"]["fields"] == ["mask"]
    assert "params" not in charts.pruning_curves(table, "heads", floor=0.9, clickable=False).to_dict()
    assert charts.picked_mask({"selection": {charts.CLICK: [{"mask": "L0H0"}]}}) == "L0H0"
    for nothing in (None, {}, {"selection": {charts.CLICK: [{"mask": ""}]}}):
        assert charts.picked_mask(nothing) is None


# --- induction ------------------------------------------------------------------------------------


def test_capacity_is_set_against_the_diagonal_of_random_orders():
    table = tables.capacity_table(induction([[0.1, 0.9]]), {"a": np.array([[1, 2]]), "b": np.array([[2, 1]])}, (0, 0.5))
    layers = charts.capacity(table, ["b"], "kept").to_dict()
    diagonal = layers["datasets"][layers["layer"][0]["data"]["name"]]
    assert diagonal == [{"removed": 0.0, "retained": 1.0}, {"removed": 1.0, "retained": 0.0}]
    bold = layers["layer"][3]
    assert bold["encoding"]["color"]["scale"]["domain"] == ["b"]
    assert bold["encoding"]["y"]["scale"] == {"domain": [0, 1]}
    assert bold["transform"] == [{"filter": {"field": "ranking", "oneOf": ["b"]}}]


def test_a_scatter_colours_by_layer_and_marks_chosen_heads():
    scores = induction([[0.1, 0.4], [0.3, 0.2]])
    table = tables.scores_table(np.array([[3e-5, 1e-5], [2e-5, 4e-5]]), scores, scores, parse_exact("L1H1"))
    spec = charts.scatter(table, "prefix matching", "importance", x_title="x", y_title="y").to_dict()
    assert spec["encoding"]["color"]["condition"] == {"test": "datum.off", "value": ORANGE}
    assert spec["encoding"]["x"]["axis"]["format"] == "~g"
    assert spec["encoding"]["y"]["axis"]["format"] == "~e"  # tiny


def test_no_tooltip_speaks_of_what_changes_under_the_mouse():
    scores = induction([[0.1, 0.4], [0.3, 0.2]])
    table = tables.scores_table(np.array([[1.0, 2.0], [3.0, 4.0]]), scores, scores, parse_exact("L1H1"))
    scatter = charts.scatter(table, "prefix matching", "importance", x_title="x", y_title="y")
    small = charts.layers_by_heads(tables.grid_table(np.ones((2, 2)), parse_exact("L1H1")))
    thumbnails = charts.thumbnails(tables.thumbnail_table(2, 1, 0, parse_exact("L1H1")), np.stack([np.eye(3)] * 2))
    options = charts.options_chart(pd.DataFrame({"option": ["hot"], "model": "intact", "loglikelihood": [-1.0],
                                                 "right": True, "chosen": False}))
    for chart in (scatter, small, thumbnails, options):
        fields = {one["field"] for layer in walk(chart.to_dict()) for one in layer.get("tooltip", [])}
        assert fields
        assert not fields & {"off", "chosen", "right", "opened"}  # "chosen: false"


def walk(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The encodings of a chart and of its layers."""
    return [spec.get("encoding", {}), *(one for layer in spec.get("layer", []) for one in walk(layer))]


def test_frames_stand_where_an_ideal_head_would_look():
    pattern = np.tril(np.ones((3, 3))) / 3
    found = charts.framed(charts.attention_map(tables.attention_table(pattern, list("abc")), list("abc")), [(2, 1)])
    spec = found.to_dict()
    frames = spec["layer"][1]
    assert spec["datasets"][frames["data"]["name"]] == [{"query": 2, "key": 1}]
    assert (frames["encoding"]["x"]["field"], frames["encoding"]["y"]["field"]) == ("key", "query")


# --- overlap --------------------------------------------------------------------------------------


def test_counts_stand_beside_chance():
    bars, ticks = charts.counts_bars(tables.counts_table(np.array([[0, 2], [1, 1]]), 0.5, 2)).to_dict()["layer"]
    assert bars["encoding"]["y"]["field"] == "heads"
    assert ticks["encoding"]["y"]["field"] == "by chance"
    assert bars["encoding"]["x"]["field"] == "tasks"


def test_overlap_is_drawn_with_its_range_its_chance_and_where_it_is_read():
    a = np.array([[1.0, 2.0], [3.0, 4.0]])
    spec = charts.overlap_curve(tables.overlap_table([a, a[::-1]], (0.25, 0.5)), 0.5).to_dict()
    area, chance, line, _, here = spec["layer"]
    assert [area["encoding"][end]["field"] for end in ("y", "y2")] == ["low", "high"]
    assert chance["encoding"]["y"]["field"] == "chance"
    assert line["encoding"]["y"]["scale"] == {"domain": [0, 1]}
    assert spec["datasets"][here["data"]["name"]] == [{"share": 0.5}]
