"""Plots without a browser: where their marks stand, what they say, and that a page is given them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from backend import tables
from backend.kinds import Copying, FFNOracle, PrefixMatching
from backend.store.live import Store
from pages.map import plots, protocol
from tests.pages import made_up, maps
from tests.pages.conftest import INFO, MODEL, Explorer, calm, setup_of

SHAPE = protocol.Shape(2, 2)


def test_bars_stand_from_zero_with_their_interval_and_say_what_they_are():
    table = pd.DataFrame({"layer": [0, 1], "head": tables.FFN, "name": ["L0 FFN", "L1 FFN"], "change": [-0.2, 0.01],
                          "low": [-0.26, -0.01], "high": [-0.14, 0.04], "p": [0.0004, 0.5]})
    drawn = plots.bars(table, SHAPE, x="change", x_title="change", alt="Bars", facts=(
        ("change", "change", "+points"), ("p", "p", "plain"), ("tasks", "tasks", "count"))).drawn
    assert drawn["x"] == {"title": "change", "domain": [pytest.approx(-0.3), pytest.approx(0.1)], "ticks": [
        [pytest.approx(at / 10), said] for at, said in
        ((-3, "−30"), (-2, "−20"), (-1, "−10"), (0, "0"), (1, "10"))]}
    assert drawn["marks"][0] == {"layer": 0, "head": -1, "name": "L0 FFN", "x": -0.2, "low": -0.26, "high": -0.14,
                                 "facts": ["change −20.0 points", "95 %: −26.0 to −14.0 points", "p 4e−4"]}
    json.dumps(dict(drawn), allow_nan=False)
    still = plots.bars(table.assign(low=-0.01, high=0.01), SHAPE, x="change", x_title="", alt="", facts=(
        ("change", "change", "+points"),)).drawn["x"]["domain"]
    assert still[0] <= -0.05 < 0.05 <= still[1]  # next to nothing looks like it


def test_dots_stand_between_axes_that_hold_zero_and_what_was_not_measured_has_none():
    table = pd.DataFrame({"layer": [0, 0, 1], "head": [0, 1, 0], "name": ["L0H0", "L0H1", "L1H0"],
                          "score": [0.1, np.nan, 0.35], "importance": [2e-5, 1e-5, 4e-5]})
    drawn = plots.dots(table, SHAPE, x="score", y="importance", x_title="score", y_title="importance", alt="Dots",
                       facts=(("importance", "importance", "plain"),)).drawn
    assert [(one["name"], one["x"], one["y"]) for one in drawn["marks"]] == [("L0H0", 0.1, 2e-5), ("L1H0", 0.35, 4e-5)]
    assert (drawn["x"]["domain"], drawn["y"]["domain"]) == ([0, pytest.approx(0.4)], [0, pytest.approx(4e-5)])
    assert drawn["marks"][1]["facts"] == ["importance 4e−5"]
    json.dumps(dict(drawn), allow_nan=False)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1), (-0.013, 0.4), (3e-7, 9e-5), (-5, -1), (0, 123456)])
def test_an_axis_holds_its_range_and_ends_at_ticks_that_can_be_read(low: float, high: float):
    axis = plots.axis(low, high, "plain")
    first, last = axis["domain"]
    assert first <= low + 1e-12
    assert last >= high - 1e-12
    assert [axis["ticks"][0][0], axis["ticks"][-1][0]] == axis["domain"]
    assert 2 <= len(axis["ticks"]) <= 8
    assert len({said for _, said in axis["ticks"]}) == len(axis["ticks"])


def test_pages_are_given_marks_and_what_is_chosen_among_them(explorer: Explorer, store: Store):
    setup = setup_of("antonym")
    made_up.fill(store, [FFNOracle(setup), PrefixMatching(MODEL), Copying(MODEL), made_up.importance(setup)], INFO)
    app = explorer("ffns", task="antonym", off="L1H2,F1")
    assert calm(app)
    given = maps.given(app)["ffns"]
    assert ([mark["name"] for mark in given.map["marks"]], given.off) == (["L0 FFN", "L1 FFN", "L2 FFN"], "L1H2,F1")
    app = explorer("induction", task="antonym", view="Against importance", off="L1H2")
    assert calm(app)
    given = maps.given(app)["scatter copying"]
    assert (len(given.map["marks"]), given.off) == (INFO.n_layers * INFO.n_heads, "L1H2")
