"""What every chart says: which column each mark shows and in which ink, its axes and legends, its tooltips."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from backend import tables
from pages.shared import charts
from pages.shared.charts.prompt import STRONG
from pages.shared.charts.style import AXIS, LEGEND
from tests.pages.shared import gallery

# Each layer, from the back to the front: its mark, its ink, and which column (or value) each channel shows.
DRAWN = {
    "comparison": [
        "tick grey x=chance:Q y=task:N told",
        "line grey detail=task:N x=accuracy:Q y=task:N",
        "rule color=model:N x=low:Q x2=high y=task:N",
        "circle color=model:N x=accuracy:Q y=task:N told",
    ],
    "bars": [
        "bar blue x=accuracy:Q y=what:N told",
        "rule grey x=low:Q x2=high y=what:N",
        "tick orange x=chance:Q y=what:N",
    ],
    "beside": [
        "bar color=model:N x=accuracy:Q y=labels:N yOffset=model:N told",
        "rule grey x=low:Q x2=high y=labels:N yOffset=model:N",
        "rule dashed grey x=chance:Q",
    ],
    "influences": [
        "bar color=model:N x=influence:Q y=demonstration:N yOffset=model:N told",
    ],
    "changes": [
        "bar blue x=change:Q y=what:N told",
        "rule grey x=low:Q x2=high y=what:N",
    ],
    "lines": [
        "rule dashed grey y=value:Q",
        "text grey text=name:N x=heads:Q y=value:Q",
        "line color=ranking:N x=heads:Q y=accuracy:Q told",
        "circle color=ranking:N x=heads:Q y=accuracy:Q told",
    ],
    "depth": [
        "rule dashed grey y=even:Q",
        "line color=model:N strokeDash=model:N x=depth:Q y=against an even spread:Q",
        "point color=model:N shape=model:N x=depth:Q y=against an even spread:Q told",
    ],
    "growth": [
        "area color=what:N x=place:Q y=low:Q y2=high",
        "rule dashed grey y=value:Q told",
        "line color=what:N strokeDash=what:N x=place:Q y=value:Q",
        "circle color=what:N x=place:Q y=value:Q told",
        "rule orange x=place:Q told",
        "rule dashed grey x=place:Q told",
    ],
    "heads": [
        "rect color=!isValid(datum['importance']) ? #8593a355 : importance:Q stroke=datum.off ? orange : "
        "transparent x=head:O y=layer:O told",
        "point orange x=head:O y=layer:O told",
    ],
    "capacity": [
        "line dashed grey x=removed:Q y=retained:Q",
        "line grey detail=ranking:N x=removed:Q y=retained:Q",
        "circle grey x=removed:Q y=retained:Q told",
        "line color=ranking:N x=removed:Q y=retained:Q",
        "circle color=ranking:N x=removed:Q y=retained:Q told",
    ],
    "scatter": [
        "circle grey color=datum.off ? orange : layer:Q size=datum.off ? 200 : 90 x=prefix matching:Q "
        "y=importance:Q told",
    ],
    "attention": [
        "rect color=attention:Q x=key:O y=query:O told",
    ],
    "framed": [
        "rect color=attention:Q x=key:O y=query:O told",
        "rect orange x=key:O y=query:O",
    ],
    "layer shares": [
        "bar color=blue x=share:Q y=layer:O told",
    ],
    "layer changes": [
        "bar color=datum['change'] < 0 ? orange : blue x=change:Q y=layer:O told",
    ],
    "layer effects": [
        "bar color=datum.change < 0 ? orange : blue opacity=datum.low <= 0 && datum.high >= 0 ? 0.45 : 0.95 "
        "x=change:Q y=layer:O told",
        "rule grey x=zero:Q",
        "rule grey x=low:Q x2=high y=layer:O told",
        "point orange x=0 y=layer:O",
    ],
    "masks": [
        "tick grey x=chance:Q y=task:N told",
        "line grey detail=task:N x=accuracy:Q y=task:N",
        "rule color=mask:N x=low:Q x2=high y=task:N",
        "point color=mask:N shape=mask:N x=accuracy:Q y=task:N told",
    ],
    "matrix": [
        "rect color=isValid(datum['rho']) ? rho:Q : #8593a322 x=column:N y=row:N told",
        "text color=datum['rho'] > 0.55 ? #ffffff : #1d2733 text=rho:Q x=column:N y=row:N",
    ],
    "signed matrix": [
        "rect color=isValid(datum['rho']) ? rho:Q : #8593a322 x=column:N y=row:N told",
        "text color=abs(datum['rho']) > 0.275 ? #ffffff : #1d2733 text=rho, points:Q x=column:N y=row:N",
        "rect orange x=column:N y=row:N",
    ],
    "counts": [
        "bar blue x=tasks:O y=heads:Q told",
        "tick orange x=tasks:O y=by chance:Q told",
    ],
    "overlap": [
        "area blue x=share:Q y=low:Q y2=high",
        "line dashed grey x=share:Q y=chance:Q",
        "line blue x=share:Q y=mean:Q",
        "circle blue x=share:Q y=mean:Q told",
        "rule orange x=share:Q",
    ],
    "next tokens": [
        "bar color=model:N x=probability:Q y=token:N yOffset=model:N told",
    ],
    "options": [
        "line grey detail=option:N x=loglikelihood:Q y=option:N",
        "point color=model:N shape=datum.right ? diamond : circle size=datum.chosen ? 190 : 70 x=loglikelihood:Q "
        "y=option:N told",
    ],
    "text": [
        "rect color=attention:Q x=left:Q x2=right y=line:Q",
        "text color=#7f8c9a text=shown:N x=left:Q y=line:Q",
        "text color=#ffffff text=shown:N x=left:Q y=line:Q",
        "rect fill=white stroke=from ? orange : transparent x=left:Q x2=right y=line:Q told",
    ],
    "thumbnails": [
        "image url=picture:N x=column:Q y=row:Q",
        "text color=grey text=name:N x=column:Q y=row:Q",
        "square fill=white stroke=datum.opened ? blue : datum.off ? orange : #8593a366 strokeWidth=datum.opened || "
        "datum.off ? 2.5 : 1 x=column:Q y=row:Q told",
    ],
    "pruning": [
        "point x=heads:Q",
        "rule blue y=accuracy:Q",
        "text blue text=label:N x=at:Q y=accuracy:Q",
        "rule dashed orange y=accuracy:Q",
        "text orange text=label:N x=at:Q y=accuracy:Q",
        "rule grey y=accuracy:Q",
        "text grey text=label:N x=at:Q y=accuracy:Q",
        "area grey x=heads:Q y=low:Q y2=high",
        "rule color=ranking:N x=heads:Q y=low:Q y2=high",
        "line color=ranking:N strokeDash=ranking:N x=heads:Q y=accuracy:Q",
        "circle color=ranking:N x=heads:Q y=accuracy:Q told",
    ],
    "pruning live heads": [
        "rule blue y=accuracy:Q",
        "text blue text=label:N x=at:Q y=accuracy:Q",
        "rule dashed orange y=accuracy:Q",
        "text orange text=label:N x=at:Q y=accuracy:Q",
        "rule grey y=accuracy:Q",
        "text grey text=label:N x=at:Q y=accuracy:Q",
        "area grey x=live heads:Q y=low:Q y2=high",
        "rule color=ranking:N x=live heads:Q y=low:Q y2=high",
        "line color=ranking:N strokeDash=ranking:N x=live heads:Q y=accuracy:Q",
        "circle color=ranking:N x=live heads:Q y=accuracy:Q told",
    ],
}
# What it is called, which column it is, and how it is written.
UNDER_THE_MOUSE = {
    "comparison": (
        "task = task:N | model = model:N | accuracy = accuracy:Q .1% | 95 % from = low:Q .1% | to = high:Q .1% | "
        "n = n:Q | chance = chance:Q .1% | paired test p = p:Q .2g"),
    "bars": (
        "what = what:N | accuracy = accuracy:Q .1% | low = low:Q .1% | high = high:Q .1% | chance = chance:Q .1% | "
        "n = n:Q"),
    "beside": (
        "labels = labels:N | model = model:N | accuracy = accuracy:Q .1% | 95 % from = low:Q .1% | to = high:Q .1% | "
        "chance = chance:Q .1% | n = n:Q"),
    "influences": (
        "demonstration = demonstration:N | model = model:N | influence = influence:Q +.3f | text = text:N"),
    "changes": (
        "what = what:N | change = change:Q .3g | low = low:Q .3g | high = high:Q .3g"),
    "lines": (
        "ranking = ranking:N | heads = heads:Q .0% | accuracy = accuracy:Q .1%"),
    "depth": (
        "model = model:N | layer = layer:Q | depth = depth:Q .0% | share of the importance = share:Q .1% | "
        "against an even spread = against an even spread:Q .2f"),
    "growth": (
        "name = name:N | what = what:N | step = step:Q , | value = value:Q .1% | 95 % from = low:Q .1% | "
        "to = high:Q .1%"),
    "heads": (
        "component = name:N | importance = importance:Q .3~g | rank (1 = highest) = rank:Q"),
    "capacity": (
        "ranking = ranking:N | removed = removed:Q .0% | retained = retained:Q .1%"),
    "scatter": (
        "head = name:N | looks back = prefix matching:Q .3g | matters = importance:Q .3g"),
    "attention": (
        "query = from:N | key = to:N | attention = attention:Q .1%"),
    "framed": (
        "query = from:N | key = to:N | attention = attention:Q .1%"),
    "layer shares": (
        "layer = layer:O | share of all heads = share:Q .1%"),
    "layer changes": (
        "layer = layer:O | change in nats = change:Q .3g"),
    "layer effects": (
        "removed = name:N | change, points = change, points:Q +.1f | 95 % from = low, points:Q +.1f | "
        "to = high, points:Q +.1f | "
        "intact = intact:Q .1% | accuracy = accuracy:Q .1% | p = p:Q .2g | p (Holm) = p (Holm):Q .2g | "
        "newly wrong = newly wrong:Q | newly right = newly right:Q | n = n:Q"),
    "masks": (
        "task = task:N | mask = mask:N | accuracy = accuracy:Q .1% | 95 % from = low:Q .1% | to = high:Q .1% | "
        "n = n:Q | chance = chance:Q .1% | A − B, points = A − B, points:Q +.1f | "
        "paired test p (Holm) = p (Holm):Q .2g"),
    "matrix": (
        "from = row:N | to = column:N | rho = rho:Q .2f"),
    "signed matrix": (
        "from = row:N | to = column:N | rho, points = rho, points:Q +.1f"),
    "counts": (
        "tasks = tasks:O | heads = heads:Q | by chance = by chance:Q .1f"),
    "overlap": (
        "top = share:Q .0% | mean = mean:Q .1% | lowest pair = low:Q .1% | highest pair = high:Q .1% | "
        "chance = chance:Q .1%"),
    "next tokens": (
        "token = token:N | model = model:N | probability = probability:Q .2% | rank = rank:Q"),
    "options": (
        "option = option:N | model = model:N | loglikelihood = loglikelihood:Q .3f"),
    "text": (
        "token = name:N"),
    "thumbnails": (
        "head = name:N"),
    "pruning": (
        "ranking = ranking:N | heads removed = heads:Q .0% | that is = n heads:Q | "
        "of all parameters = parameters:Q .1% | accuracy = accuracy:Q .1% | from = low:Q .1% | to = high:Q .1% | "
        "chance = chance:Q .1% | n = n:Q"),
    "pruning live heads": (
        "ranking = ranking:N | live heads removed = live heads:Q .0% | that is = n live heads:Q | "
        "of all parameters = parameters:Q .1% | accuracy = accuracy:Q .1% | from = low:Q .1% | to = high:Q .1% | "
        "chance = chance:Q .1% | n = n:Q"),
}
# What a reader finds on the picture: axes with their ticks and titles, names, legends.
WRITTEN = {
    "comparison": (
        "0% | 20% | 40% | 60% | 80% | 100% | accuracy | capital | antonym | intact | ablated"),
    "bars": (
        "0% | 20% | 40% | 60% | 80% | 100% | mean accuracy | one | none"),
    "beside": (
        "0% | 20% | 40% | 60% | 80% | 100% | accuracy | 0 shots | true labels | intact | ablated"),
    "influences": (
        "−0.5 | +0 | +0.5 | +1 | nats | 1 (farthest) | 2 (nearest) | intact"),
    "changes": (
        "−1 | −0.5 | 0 | 0.5 | 1 | 1.5 | nats | b | a"),
    "lines": (
        "0% | 5% | 10% | 15% | 20% | 25% | 30% | 35% | 40% | 45% | 50% | 55% | heads removed | 0% | 20% | 40% | 60% | "
        "80% | 100% | mean accuracy | chance | b | a"),
    "depth": (
        "0% | 20% | 40% | 60% | 80% | 100% | relative depth (0 % = before the first layer) | 0.0 | 0.5 | 1.0 | "
        "1.5 | 2.0 | importance, 1 = an even spread | small | large"),
    "growth": (
        "1 | 2 | 10 | 20 | 100 | 200 | 1k | training steps (logarithmic) | 0% | 20% | 40% | 60% | 80% | 100% | "
        "strongest prefix matching | accuracy with demonstrations | accuracy without"),
    "heads": (
        ""),
    "capacity": (
        "0% | 10% | 20% | 30% | 40% | 50% | 60% | 70% | 80% | 90% | 100% | heads removed, least important first | "
        "0% | 20% | 40% | 60% | 80% | 100% | capacity kept | b"),
    "scatter": (
        "0 | 0.05 | 0.1 | 0.15 | 0.2 | 0.25 | 0.3 | 0.35 | 0.4 | looks back | 0e+0 | 5e-6 | 1e-5 | 1.5e-5 | 2e-5 | "
        "2.5e-5 | 3e-5 | 3.5e-5 | 4e-5 | matters | 0 | 1 | layer"),
    "attention": (
        "1% | 10% | 25% | 50% | 100% | attention | the | ·cat | ⏎ | key: where it looks | the | ·cat | ⏎ | "
        "query: from where"),
    "framed": (
        "1% | 10% | 25% | 50% | 100% | attention | the | ·cat | ⏎ | key: where it looks | the | ·cat | ⏎ | "
        "query: from where"),
    "layer shares": (
        "0% | 20% | 40% | 60% | share of all heads | 1 | 0 | layer"),
    "layer changes": (
        "−0.4 | −0.2 | 0 | 0.2 | change in nats | 1 | 0 | layer"),
    "layer effects": (
        "−100 | −80 | −60 | −40 | −20 | 0 | 20 | 40 | 60 | 80 | change in accuracy when removed, points | 1 | 0 | "
        "layer"),
    "masks": (
        "0% | 20% | 40% | 60% | 80% | 100% | accuracy | capital | antonym | intact | mask A | mask B"),
    "matrix": (
        "1.00 | 0.40 | −0.90 | 1.00 | 0.00 | 0.20 | 0.40 | 0.60 | 0.80 | 1.00 | rho | x | y | to | a | b | from"),
    "signed matrix": (
        "+100 | +40 | −90 | +100 | −40 | −20 | 0 | 20 | 40 | rho, points | x | y | to | b | a | from"),
    "counts": (
        "0 | 1 | 2 | tasks whose top holds the head | 0.0 | 0.5 | 1.0 | 1.5 | 2.0 | heads"),
    "overlap": (
        "25% | 30% | 35% | 40% | 45% | 50% | top share of the heads | 0% | 20% | 40% | 60% | 80% | 100% | "
        "overlap (intersection over union)"),
    "next tokens": (
        "0% | 10% | 20% | 30% | 40% | 50% | probability of the next token | b | a | intact | ablated"),
    "options": (
        "−12.6 | −12.4 | −12.2 | −12.0 | −11.8 | −11.6 | −11.4 | −11.2 | −11.0 | −10.8 | "
        "log-likelihood, nats (farther right = more likely) | hot | cold | intact | ablated"),
    "text": (
        "the | ·cat | ⏎ | the | ·cat"),
    "thumbnails": (
        "L1H0 | L1H1"),
    "pruning": (
        "0% | 2% | 4% | 6% | 8% | 10% | 12% | 14% | 16% | 18% | share of all the model's parameters | 0% | 10% | "
        "20% | 30% | 40% | 50% | 60% | 70% | 80% | 90% | heads removed | 0% | 20% | 40% | 60% | 80% | 100% | "
        "accuracy | intact 100% | chance 50% | own ranking | random order"),
    "pruning live heads": (
        "0% | 10% | 20% | 30% | 40% | 50% | 60% | 70% | 80% | 90% | live heads removed | 0% | 20% | 40% | 60% | "
        "80% | 100% | accuracy | intact 100% | chance 50% | own ranking | random order"),
}
# Which name has which ink, dash and shape, in the order of the legend.
TOLD_APART = {
    "comparison": "intact: blue | ablated: orange",
    "beside": "intact: blue | ablated: orange",
    "influences": "intact: blue",
    "lines": "b: blue | a: grey",
    "depth": "small: blue, [1, 0], circle | large: orange, [6, 3], square",
    "growth": ("strongest prefix matching: purple, [6, 3] | accuracy with demonstrations: blue, [1, 0] | "
               "accuracy without: grey, [2, 2]"),
    "capacity": "b: blue",
    "masks": "intact: blue, circle | mask A: orange, square | mask B: purple, diamond",
    "next tokens": "intact: blue | ablated: orange",
    "options": "intact: blue | ablated: orange",
    "pruning": "own ranking: blue, [1, 0] | random order: grey, [1, 2]",
    "pruning live heads": "own ranking: blue, [1, 0] | random order: grey, [1, 2]",
}


@pytest.mark.parametrize("name", gallery.ALL)
def test_every_mark_shows_its_own_column_in_its_own_ink(name: str):
    assert gallery.drawn(gallery.ALL[name]().to_dict()) == DRAWN[name]


@pytest.mark.parametrize("name", gallery.ALL)
def test_every_number_has_its_name_and_its_unit_under_the_mouse(name: str):
    assert " | ".join(gallery.under_the_mouse(gallery.ALL[name]().to_dict())) == UNDER_THE_MOUSE[name]


@pytest.mark.parametrize("name", gallery.ALL)
def test_names_keep_their_ink_their_dash_and_their_shape(name: str):
    assert " | ".join(gallery.told_apart(gallery.ALL[name]().to_dict())) == TOLD_APART.get(name, "")


@pytest.mark.parametrize("name", gallery.ALL)
def test_columns_that_are_drawn_or_told_are_in_the_rows(name: str):
    spec = gallery.ALL[name]().to_dict()
    for layer in gallery.layers(spec):
        rows = gallery.rows(spec, layer)
        asked = {one["field"] for told in layer["encoding"].values() for one in gallery.told(told) if "field" in one}
        assert rows
        assert asked <= set(rows[0])


@pytest.mark.parametrize("name", gallery.ALL)
def test_axes_say_what_they_are_from_end_to_end_and_legends_name_what_is_there(name: str):
    assert " | ".join(gallery.written(gallery.ALL[name]())) == WRITTEN[name]


def test_lines_of_reference_stand_where_they_are_said_to():
    def reference(name: str, mark: int) -> list[dict[str, Any]]:
        spec = gallery.ALL[name]().to_dict()
        return gallery.rows(spec, gallery.layers(spec)[mark])

    assert reference("lines", 0) == [{"value": 0.25, "name": "chance", "heads": 0.59}]  # behind the last
    assert reference("depth", 0) == [{"even": 1.0}]
    assert reference("growth", 1) == [{"value": 0.25, "name": "chance of accuracy, 25%"}]
    assert reference("growth", 4) == [{"place": 1000, "step": 1000}]
    assert reference("growth", 5) == [{"place": 1, "name": "heads look back"}]  # step 0, on a logarithmic axis
    assert reference("capacity", 0) == [{"removed": 0, "retained": 1}, {"removed": 1, "retained": 0}]
    assert reference("layer effects", 1) == [{"zero": 0}]
    assert reference("overlap", 4) == [{"share": 0.5}]
    assert reference("framed", 1) == [{"query": 2, "key": 1}]
    assert [reference("pruning live heads", i)[0]["accuracy"] for i in (0, 2, 4)] == [1.0, 0.9, 0.5]


# --- legends, clicks, room -------------------------------------------------------------------------

LEGENDS = {"top": ("comparison", "beside", "influences", "lines", "depth", "growth", "attention", "framed", "masks",
                   "next tokens", "options"),
           "bottom": ("capacity", "matrix", "signed matrix", "pruning", "pruning live heads"), "right": ("scatter",)}


@pytest.mark.parametrize("name", gallery.ALL)
def test_legends_stand_in_their_place_and_show_what_is_drawn_in_full_strength(name: str):
    found = [legend for layer in gallery.layers(gallery.ALL[name]().to_dict()) for told in layer["encoding"].values()
             for one in gallery.told(told) if (legend := one.get("legend"))]
    assert {legend["orient"] for legend in found} == {place for place, names in LEGENDS.items() if name in names}
    assert {legend.get("symbolOpacity", 1) for legend in found} <= {1}


@pytest.mark.parametrize("name", gallery.ALL)
def test_axes_of_names_are_bare_and_have_room_for_them(name: str):
    for layer in gallery.layers(gallery.ALL[name]().to_dict()):
        for place in ("x", "y"):
            told = layer["encoding"].get(place, {})
            if told.get("type") in ("nominal", "ordinal") and (axis := told.get("axis")):
                assert axis["ticks"] is False
                assert axis.get("domain", False) is False
                assert axis.get("grid", False) is False
                assert told["type"] == "ordinal" or axis["labelLimit"] >= 130


@pytest.mark.parametrize("name", gallery.ALL)
def test_intervals_are_paler_than_the_estimates_drawn_over_them(name: str):
    marks = [layer["mark"] for layer in gallery.layers(gallery.ALL[name]().to_dict())]
    spec = gallery.ALL[name]().to_dict()
    spans = [at for at, layer in enumerate(gallery.layers(spec)) if layer["encoding"].get("x2", layer["encoding"].get(
        "y2", {})).get("field") == "high" and marks[at].get("color", "") != gallery.style.GREY]
    dots = [at for at, mark in enumerate(marks) if mark["type"] in ("circle", "point") and mark.get("opacity")]
    assert all(marks[at]["opacity"] <= 0.3 for at in spans)
    assert all(span < dot for span in spans for dot in dots)
    assert all(marks[at]["opacity"] >= 0.55 for at in dots)


def test_what_can_be_clicked_is_picked_by_one_click_and_kept():
    wanted = {"matrix": (charts.CLICK, ["row", "column"]), "pruning": (charts.CLICK, ["mask"]),
              "pruning live heads": (charts.CLICK, ["mask"]), "thumbnails": (charts.OPEN, ["head"]),
              "signed matrix": (charts.CLICK, ["row", "column"])}
    for name, make in gallery.ALL.items():
        picks = [one for one in make().to_dict().get("params", []) if one["select"].get("on") != "pointerover"]
        assert [(one["name"], one["select"]["fields"]) for one in picks] == (
            [wanted[name]] if name in wanted else [])
        for one in picks:
            assert (one["select"]["type"], one["select"]["on"]) == ("point", "click")
            assert one["select"]["toggle"] in (False, "false")  # a second click keeps it
            assert one["select"]["clear"] is False
        hand = [layer["mark"] for layer in gallery.layers(make().to_dict()) if layer["mark"].get("cursor") == "pointer"]
        assert bool(hand) == bool(picks)
    assert not [one for one in gallery.layers(gallery.matrix(clickable=False).to_dict())
                if one["mark"].get("cursor") == "pointer"]


def test_who_hovers_over_a_token_sees_where_its_heads_look_until_another_is_hovered_over():
    (hover,) = gallery.ALL["text"]().to_dict()["params"]
    assert hover["select"] == {"type": "point", "fields": ["position"], "on": "pointerover", "clear": "false"}
    assert hover["value"] == [{"position": 2}]
    shade, _, strong, touch = gallery.layers(gallery.ALL["text"]().to_dict())
    assert shade["transform"] == [{"filter": {"param": "from", "empty": False}}]
    assert strong["transform"][1] == {"filter": f"datum.attention > {STRONG}"}
    assert touch["mark"]["fillOpacity"] == 0  # there to be hovered over


def test_every_row_has_the_same_room_whatever_stands_beside_it():
    def accuracies(n: int) -> Any:
        return charts.comparison(gallery.comparison_table(), [str(i) for i in range(n)])

    def means(n: int) -> Any:
        table = pd.DataFrame({"what": ["a"], "accuracy": [0.5]})
        return charts.bars(table, x="accuracy", y="what", order=[str(i) for i in range(n)], x_title="")

    def masks(n: int) -> Any:
        return charts.masks(gallery.masks_points(), [str(i) for i in range(n)])

    def next_tokens(n: int) -> Any:
        return charts.next_token_chart(pd.DataFrame({
            "token": [str(i) for i in range(n)], "model": "intact", "probability": 0.1, "rank": range(n)}))

    def options(n: int) -> Any:
        return charts.options_chart(pd.DataFrame({
            "option": [str(i) for i in range(n)], "model": "intact", "loglikelihood": -1.0, "right": True,
            "chosen": False}))

    room = {}
    for make, legend in ((accuracies, LEGEND), (means, 0), (masks, LEGEND), (next_tokens, LEGEND), (options, LEGEND)):
        one, two, ten = (make(n).to_dict()["height"] for n in (1, 2, 10))
        room[make.__name__] = two - one
        assert ten - two == 8 * (two - one)
        assert one - (two - one) == AXIS + legend  # what is below and above the rows
    assert room["accuracies"] == room["means"] == room["masks"]  # they stand side by side
    assert all(20 <= pixels <= 40 for pixels in room.values())


def test_bars_of_layers_line_up_with_a_map_of_the_same_model():
    for n in (2, 12, 96):
        shares = charts.layer_bars(pd.DataFrame({"layer": range(n), "share": 0.1}), "share", "share")
        effects = charts.layer_effects(pd.DataFrame({"layer": range(n), "name": "F0", "change": 0.1, "low": 0.0,
                                                     "high": 0.2, "off": False}))
        assert shares.to_dict()["height"] == effects.to_dict()["height"] == round(charts.layer_step(n) * n) + AXIS
        small = charts.layers_by_heads(tables.grid_table(np.ones((n, 4)))).to_dict()
        assert small["height"] == round(0.45 * charts.layer_step(n) * n)
    assert charts.layer_step(1) == charts.layer_step(10) > charts.layer_step(24) > charts.layer_step(96) >= 9


def test_bars_of_layers_touch_no_other_and_fill_the_height():
    for name in ("layer shares", "layer changes", "layer effects"):
        scale = gallery.layers(gallery.ALL[name]().to_dict())[0]["encoding"]["y"]["scale"]
        assert 0 < scale["paddingInner"] < 1
        assert scale["paddingOuter"] == 0


# --- large and small -------------------------------------------------------------------------------


def test_names_of_columns_are_slanted_where_they_would_meet_and_left_out_where_they_still_would():
    def named(names: list[str]) -> dict[str, Any]:
        table = tables.matrix_table(np.ones((len(names), len(names))), names, names, "rho")
        return charts.matrix(table, "rho", rows=names, columns=names).to_dict()

    def axis(names: list[str], place: str = "x") -> dict[str, Any]:
        return named(names)["layer"][0]["encoding"][place]["axis"]

    long = [f"a long name {i}" for i in range(50)]
    assert axis(long[:4])["labelAngle"] == axis([f"{i:04}" for i in range(5)])["labelAngle"] == 0
    assert axis(long[:5])["labelAngle"] == axis([f"{i:05}" for i in range(5)])["labelAngle"] == -40
    slant = named([f"{i:05}" for i in range(5)])["height"] - named([f"{i:04}" for i in range(5)])["height"]
    assert slant == 40  # pixels, below the axis
    for place in ("x", "y"):
        assert axis(long[:40], place)["labelOverlap"] is False
        assert axis(long[:41], place)["labelOverlap"] is True
        assert axis(long, place)["labelLimit"] >= 140


def test_cells_of_matrices_are_as_high_as_asked_until_there_are_many():
    def height(n: int, **more: Any) -> int:
        names = [f"{i:02}" for i in range(n)]
        table = tables.matrix_table(np.ones((n, 1)), names, ["x"], "rho")
        return charts.matrix(table, "rho", rows=names, columns=["x"], **more).to_dict()["height"] - AXIS - 50

    assert [height(n) / n for n in (1, 14, 20, 40, 41, 100)] == [36, 36, 26, 17, 13, 9]
    assert height(3, cell=22) == 66


def test_numbers_stand_in_up_to_320_cells():
    def n_layers(n: int) -> int:
        names = list(map(str, range(n)))
        table = tables.matrix_table(np.ones((n, 16)), names, list(map(str, range(16))), "rho")
        return len(charts.matrix(table, "rho", rows=names, columns=list(map(str, range(16)))).to_dict()["layer"])

    assert (n_layers(20), n_layers(21)) == (2, 1)


def test_a_matrix_of_one_value_still_has_a_scale():
    for domain, signed, wanted in (((0.5, 0.5), False, [0.5, 1.5]), ((0.0, 0.0), True, [-1, 1])):
        spec = gallery.matrix(domain=domain, signed=signed).to_dict()["layer"][0]
        assert spec["encoding"]["color"]["condition"]["scale"]["domain"] == wanted


def test_large_maps_have_no_gaps_and_their_frames_are_thin():
    def cells(n_heads: int) -> dict[str, Any]:
        return charts.layers_by_heads(tables.grid_table(np.ones((2, n_heads)))).to_dict()["layer"][0]

    for n_heads, has_gaps in ((32, True), (33, False)):
        encoding = cells(n_heads)["encoding"]
        for place in ("x", "y"):
            assert (encoding[place]["scale"]["paddingInner"] > 0) == has_gaps
            assert encoding[place]["scale"]["paddingOuter"] == 0
        assert (cells(n_heads)["mark"]["cornerRadius"] > 0) == has_gaps
    assert cells(32)["encoding"]["strokeWidth"]["value"] > cells(33)["encoding"]["strokeWidth"]["value"] > 0


def test_crosses_have_no_name_of_their_own_for_a_screen_reader():
    for name in ("heads", "layer effects"):
        crosses = gallery.layers(gallery.ALL[name]().to_dict())[-1]
        assert crosses["mark"]["aria"] is False  # the cell or bar behind is named
        assert (crosses["mark"]["shape"], crosses["mark"]["angle"], crosses["mark"]["filled"]) == ("cross", 45, True)
        assert crosses["transform"] == [{"filter": "datum.off"}]


def test_dots_of_large_models_are_small_and_layers_are_named_from_first_to_last():
    def dots(n_layers: int, n_heads: int) -> dict[str, Any]:
        n = n_layers * n_heads
        table = pd.DataFrame({"layer": np.repeat(range(n_layers), n_heads), "head": np.tile(range(n_heads), n_layers),
                              "name": "", "off": False, "x": np.linspace(0, 1, n), "y": np.linspace(0, 1, n)})
        return charts.scatter(table, "x", "y", x_title="", y_title="").to_dict()["encoding"]

    assert dots(4, 99)["size"]["value"] > dots(4, 100)["size"]["value"] >= 30
    assert dots(5, 4)["size"]["condition"]["value"] > dots(5, 4)["size"]["value"]
    for n_layers, named in ((5, [0, 2, 4]), (2, [0, 1]), (1, [0])):
        layer = dots(n_layers, 4)["color"]["value" if "value" in dots(n_layers, 4)["color"] else "legend"]
        assert layer["values"] == named
    low, high = dots(5, 4)["color"]["scale"]["domain"]
    assert high == 4
    assert -5 < low < 0  # layer 0 is no blank


def test_more_curves_than_inks_begin_anew():
    table = pd.DataFrame({"ranking": list("abcde") * 2, "removed": [0.0] * 5 + [1.0] * 5, "retained": 0.5})
    scale = charts.capacity(table, list("abcde"), "").to_dict()["layer"][3]["encoding"]["color"]["scale"]
    assert [gallery.ink(one) for one in scale["range"]] == ["blue", "orange", "purple", "green", "blue"]


def test_tokens_are_written_beside_a_map_of_up_to_70_of_them():
    def drawn(n: int, first: int = 0, token: str = "a") -> dict[str, Any]:
        pattern, tokens = np.tril(np.ones((n, n))) / n, [token] * n
        return charts.attention_map(tables.attention_table(pattern, tokens, first), tokens).to_dict()

    for n, are in ((70, True), (71, False)):
        for place in ("x", "y"):
            axis = drawn(n)["encoding"][place]["axis"]
            assert ("labelExpr" in axis) == are
            assert axis["labelOverlap"] is not are  # all of them, or as many as there is room for
            assert (drawn(n)["encoding"][place]["scale"]["paddingInner"] > 0) == are
            assert drawn(n)["encoding"][place]["scale"]["paddingOuter"] == 0
    assert drawn(3)["encoding"]["x"]["axis"]["labelAngle"] == -90
    assert drawn(4, token="abcd")["width"] - drawn(4)["width"] == 18  # longer names have room
    assert drawn(4, token="a" * 50)["width"] - drawn(4)["width"] == 64  # up to a limit
    assert drawn(20)["width"] - 36 == 400  # of the cells
    assert drawn(10)["width"] - 36 == 200
    assert drawn(200)["width"] - 30 == 800
    assert drawn(20)["height"] - drawn(20, first=10)["height"] == 200
    assert drawn(20)["height"] - drawn(20)["width"] == 2 * LEGEND


# --- text and thumbnails ---------------------------------------------------------------------------


def test_tokens_of_a_text_follow_one_another_until_a_line_is_full():
    spec = charts.token_text(np.tril(np.ones((30, 30))) / 30, ["abcdefgh"] * 30).to_dict()
    places = gallery.rows(spec, gallery.layers(spec)[1])
    assert places[0]["left"] == 0
    for one, following in pairwise(places):
        assert one["right"] <= 470
        assert one["right"] - one["left"] == pytest.approx(8 * 7.3 + 4)
        if following["line"] == one["line"]:
            assert following["left"] == one["right"]
        else:
            assert (following["line"], following["left"]) == (one["line"] + 1, 0)
            assert one["right"] + 8 * 7.3 + 4 > 470
    assert (places[0]["name"], places[7]["name"]) == ("0 abcdefgh", "7 abcdefgh")
    assert (spec["width"], spec["height"]) == (470, 24 * (places[-1]["line"] + 1) + 22)
    for layer in gallery.layers(spec):
        assert layer["encoding"]["x"]["scale"] == {"domain": [0, 470], "nice": False, "zero": False}
        assert layer["encoding"]["y"]["scale"] == {"domain": [places[-1]["line"] + 0.5, -0.5], "nice": False,
                                                   "zero": False}
        assert layer["encoding"]["x"]["axis"] is layer["encoding"]["y"]["axis"] is None


def test_a_text_is_shaded_by_what_the_head_looks_at_and_by_nothing_after_it():
    spec = charts.token_text(gallery.PATTERN + np.triu(np.ones((3, 3)), 1), gallery.TOKENS).to_dict()
    shade = gallery.layers(spec)[0]
    told = {(one["position"], one["key"]): one["attention"] for one in gallery.rows(spec, shade)}
    assert told == {(0, 0): 1, (1, 0): 0.995, (2, 0): 0.25, (2, 1): 0.7, (2, 2): 0.05}  # 0.005 is faint
    assert shade["encoding"]["color"]["scale"] == {"range": "heatmap", "type": "sqrt", "domain": [0, 1]}
    assert shade["encoding"]["color"]["legend"] is None
    for layer in gallery.layers(spec)[1:3]:
        assert (layer["mark"]["font"], layer["mark"]["align"]) == ("monospace", "left")


def test_thumbnails_stand_in_rows_from_the_top_left():
    patterns = np.stack([np.eye(3)] * 12)
    table = tables.thumbnail_table(12, 1, 0)
    spec = charts.thumbnails(table, patterns).to_dict()
    n_rows, n_columns = table["row"].max() + 1, table["column"].max() + 1
    for layer in gallery.layers(spec):
        assert layer["encoding"]["x"]["scale"] == {"domain": [-0.5, n_columns - 0.5], "nice": False, "zero": False}
        assert layer["encoding"]["y"]["scale"] == {"domain": [n_rows - 0.5, -0.5], "nice": False, "zero": False}
        assert layer["encoding"]["x"]["axis"] is layer["encoding"]["y"]["axis"] is None
    assert (spec["width"], spec["height"]) == (58 * n_columns, 74 * n_rows + 22)
    picture, name, frame = (layer["mark"] for layer in gallery.layers(spec))
    assert picture["width"] == picture["height"] < 58
    assert picture["width"] <= frame["size"] ** 0.5 < 58  # around the picture, within its place
    assert frame["fillOpacity"] == 0
    assert 58 / 2 < name["dy"] < 58 / 2 + 16  # below it


def test_names_of_levels_stand_at_the_right_end_above_their_lines():
    for at in (1, 3, 5):
        spec = gallery.pruning("live heads").to_dict()
        name = gallery.layers(spec)[at]
        end = name["encoding"]["x"]["scale"]["domain"][1]
        assert gallery.rows(spec, name)[0]["at"] == end > 1
        assert name["mark"]["align"] == "right"
        assert name["mark"]["dy"] < 0


def test_the_share_of_parameters_has_as_many_digits_as_tell_ten_steps_apart():
    for whole, wanted in ((200, ".0%"), (20, ".1%"), (2, ".2%"), (0.2, ".2%")):
        table = pd.DataFrame({"ranking": "own ranking", "heads": [0.0, 0.5], "n heads": [0, 1], "mask": ["", "L0H0"],
                              "parameters": [0.0, whole / 2000], "accuracy": 0.5, "low": 0.4, "high": 0.6,
                              "chance": 0.25, "n": 4})
        top = charts.pruning_curves(table, "heads", floor=0.4).to_dict()["layer"][0]["encoding"]["x"]["axis"]
        assert top["labelExpr"] == f"format(datum.value * {whole / 1000:g}, '{wanted}')"


@pytest.mark.parametrize("name", gallery.ALL)
def test_every_chart_has_a_height_of_its_own(name: str):
    assert gallery.ALL[name]().to_dict()["height"] >= 30  # without one, Streamlit's is taken for all


def test_numbers_of_tasks_are_read_level_and_half_a_click_is_none():
    bars, _ = gallery.layers(gallery.ALL["counts"]().to_dict())
    assert bars["encoding"]["x"]["axis"]["labelAngle"] == 0
    for half in ({"row": "a"}, {"column": "b"}):
        assert charts.picked({"selection": {charts.CLICK: [half, {"row": "c", "column": "d"}]}}) == ("c", "d")
        assert charts.picked({"selection": {charts.CLICK: [half]}}) is None
