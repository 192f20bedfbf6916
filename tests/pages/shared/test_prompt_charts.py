"""What the charts of one prompt say: order, range, and which way attention is read."""

from typing import Any

import numpy as np
import pandas as pd

from backend import tables
from backend.values import parse_exact
from pages.shared import charts
from pages.shared.charts.style import BLUE, INKS, ORANGE

TOKENS = ["the", " cat", "\n"]
PATTERN = np.array([[1, 0, 0], [0.995, 0.005, 0], [0.25, 0.7, 0.05]])
NEXT = pd.DataFrame({"token": ["a", "a"], "model": ["intact", "ablated"], "probability": [0.5, 0.1], "rank": 1})


def the_map(first: int = 0) -> dict[str, Any]:
    return charts.attention_map(tables.attention_table(PATTERN, TOKENS, first), TOKENS).to_dict()


def test_only_the_models_that_are_there_have_a_place_in_the_legend():
    for table, models, inks in ((NEXT[:1], ["intact"], [BLUE]), (NEXT, ["intact", "ablated"], [BLUE, ORANGE])):
        scale = charts.next_token_chart(table).to_dict()["encoding"]["color"]["scale"]
        assert (scale["domain"], scale["range"]) == (models, inks)


def test_next_tokens_keep_the_order_of_the_table_and_begin_at_zero():
    spec = charts.next_token_chart(NEXT.assign(token=["b", "a"])).to_dict()["encoding"]
    assert spec["y"]["sort"] == ["b", "a"]
    assert spec["x"]["scale"]["zero"]
    assert spec["yOffset"]["sort"] == ["intact", "ablated"]


def test_options_tell_the_right_one_by_its_shape_and_the_chosen_one_by_its_size():
    table = pd.DataFrame({"option": ["hot", "cold"], "model": "intact", "loglikelihood": [-1.0, -2.0],
                          "right": [True, False], "chosen": [False, True]})
    points = charts.options_chart(table).to_dict()["layer"][1]["encoding"]
    assert points["shape"]["condition"] == {"test": "datum.right", "value": "diamond"}
    assert points["size"]["condition"]["value"] > points["size"]["value"]
    assert points["y"]["sort"] == ["hot", "cold"]
    assert not points["x"]["scale"]["zero"]


def test_attention_is_read_along_rows_with_queries_down_and_keys_across():
    encoding = the_map()["encoding"]
    assert (encoding["y"]["field"], encoding["x"]["field"]) == ("query", "key")
    assert encoding["x"]["scale"]["domain"] == [0, 1, 2]
    assert "sort" not in encoding["y"]  # the first query on top
    assert the_map(first=2)["encoding"]["y"]["scale"]["domain"] == [2]


def test_attention_has_one_scale_for_all_heads_and_what_is_faint_is_blank():
    spec = the_map()
    assert spec["encoding"]["color"]["scale"] == {"range": "heatmap", "type": "sqrt", "domain": [0, 1]}
    shown = [(row["query"], row["key"]) for row in spec["datasets"][spec["data"]["name"]]]
    assert (1, 1) not in shown  # 0.005
    assert len(shown) == 5


def test_tokens_are_written_beside_their_rows_with_blanks_as_signs():
    assert the_map()["encoding"]["y"]["axis"]["labelExpr"] == '["the", "\\u00b7cat", "\\u23ce"][datum.value]'


def test_the_text_is_shaded_from_the_last_token_until_another_is_hovered_over():
    chart = charts.token_text(PATTERN, TOKENS)
    spec = chart.to_dict()
    hover = spec["params"][0]
    assert hover["value"] == [{"position": 2}]
    assert hover["select"]["on"] == "pointerover"
    pairs = spec["datasets"][spec["layer"][0]["data"]["name"]]
    assert {(p["position"], p["key"]): p["attention"] for p in pairs}[2, 1] == 0.7
    assert charts.token_text(PATTERN, TOKENS, dark=True).to_dict()["layer"][2]["encoding"]["color"]["value"] == \
        INKS[True][1]


def test_a_line_of_text_ends_at_a_newline():
    spec = charts.token_text(np.tril(np.ones((4, 4))) / 4, ["a", "\n", "b", "c"]).to_dict()
    places = spec["datasets"][spec["layer"][1]["data"]["name"]]
    assert [place["line"] for place in places] == [0, 0, 1, 1]
    assert places[2]["left"] == 0
    assert places[3]["left"] == places[2]["right"]


def test_thumbnails_show_every_head_s_own_pattern():
    patterns = np.stack([PATTERN, np.eye(3)])
    table = tables.thumbnail_table(2, layer=1, opened=0, off=parse_exact("L1H1"))
    spec = charts.thumbnails(table, patterns).to_dict()
    rows = spec["datasets"][spec["data"]["name"]] if "data" in spec else next(iter(spec["datasets"].values()))
    assert rows[0]["picture"] != rows[1]["picture"]
    frames = spec["layer"][-1]["encoding"]["stroke"]["condition"]
    assert [(one["test"], one["value"]) for one in frames] == [("datum.opened", BLUE), ("datum.off", ORANGE)]
    assert spec["params"][0]["name"] == charts.OPEN
