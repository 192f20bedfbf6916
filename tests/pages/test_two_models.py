"""Heads with two models side by side: read from the store alone, on one scale, and no more claimed than is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend import stats, tables
from backend.kinds import HeadScores
from backend.records import ModelInfo
from backend.store.live import Store
from backend.values import ModelId
from pages.shared import two_models
from tests.pages import made_up, maps
from tests.pages.conftest import INFO, MODEL, Explorer, calm, words
from tests.pages.shown import run_shown_python

SAME, OTHER = made_up.model_info(3, 4, name="owner/twin"), made_up.model_info(6, 2, name="owner/deep")


def put(store: Store, info: ModelInfo, model: ModelId | None = None, task: str = "antonym") -> HeadScores:
    unit = made_up.importance(made_up.setup(model or made_up.model_id(info), task))
    made_up.fill(store, [unit], info)
    record = store.get(unit)
    assert record is not None
    return record


def shown(explorer: Explorer, **more: str):
    app = explorer("heads", task="antonym", view="Models", **more)
    assert calm(app), (app.error, app.exception)
    return app


def test_models_of_one_shape_are_on_one_scale_with_their_difference_and_their_agreement(
        explorer: Explorer, store: Store):
    a, b = put(store, INFO, MODEL), put(store, SAME)
    app = shown(explorer, off="L1H2")
    given = maps.given(app)
    assert list(given) == ["models a", "models b", "models difference"]
    shares = [stats.shares(one.scores()) for one in (a, b)]
    assert np.allclose(given["models a"].map["values"], shares[0], rtol=1e-4)
    assert np.allclose(given["models b"].map["values"], shares[1], rtol=1e-4)
    assert given["models a"].map["ticks"] == given["models b"].map["ticks"]
    assert given["models a"].map["legend"] == given["models b"].map["legend"]
    strongest = max(map(np.max, (np.array(given[f"models {key}"].map["shades"]) for key in "ab")))
    assert strongest == 1000  # the ends of the scale are those of both maps together
    assert not all(np.max(given[f"models {key}"].map["shades"]) == 1000 for key in "ab")
    assert np.allclose(given["models difference"].map["values"], shares[0] - shares[1], atol=1e-5)
    assert given["models difference"].map["signed"]
    low, high = stats.bootstrap_spearman(a, b)
    said = words(app)
    assert "bundled and owner/twin rank the heads" in said
    assert f"(95\u00a0%: {low:.2f} to {high:.2f})".replace("-", "−") in said
    assert "trained apart need have nothing in common" in said
    top = stats.highest(abs(shares[0] - shares[1]), 1)[0]
    assert f"{top} differs most" in said


def test_models_of_other_shapes_have_shares_and_ranks_and_are_compared_by_depth_alone(explorer: Explorer, store: Store):
    put(store, INFO, MODEL)
    b = put(store, OTHER)
    app = shown(explorer, off="L1H2")
    given = maps.given(app)
    assert list(given) == ["models a", "models b"]
    assert given["models b"].map["shape"] == [6, 2]
    assert given["models b"].map["still"] == ["000"] * 6  # what is chosen of the one is nothing of the other
    assert app.segmented_control("unit").options == ["share of the total", "percentile"]
    said = words(app)
    assert "rank the heads" not in said
    assert "Spread evenly, a head would hold 8.3\u00a0% of bundled's and 8.3\u00a0% of owner/deep's" in said
    layer = int(stats.layer_shares(b.scores()).argmax())
    assert f"owner/deep leans most on layer {layer}, at" in said
    app.segmented_control("unit").set_value("percentile").run()
    assert calm(app)
    given = maps.given(app)
    assert np.allclose(given["models b"].map["values"], stats.percentiles(b.scores()), rtol=1e-4)
    assert given["models a"].map["scale"] == given["models b"].map["scale"] == "raw"


def test_two_states_of_one_model_are_told_apart_by_their_revision(explorer: Explorer, store: Store):
    put(store, INFO, MODEL)
    earlier = MODEL.with_(revision="step-100", digest="other")
    put(store, INFO, earlier)
    app = shown(explorer, **{"with": "bundled @ step-100"})
    assert app.selectbox("with").value == "bundled @ step-100"
    said = words(app)
    assert f"bundled @ {MODEL.revision} and bundled @ step-100 rank the heads" in said
    assert "They are states of one model" in said


def test_names_are_as_short_as_tells_models_apart():
    model = ModelId("a", "r1", "d1")
    assert two_models.names([model, ModelId("b", "r1", "d2")]) == ["a", "b"]
    assert two_models.names([model, model.with_(revision="r2")]) == ["a @ r1", "a @ r2"]
    assert two_models.names([model, model.with_(dtype="bfloat16")]) == ["a @ r1, float32", "a @ r1, bfloat16"]
    assert two_models.names([model, model.with_(digest="d2")]) == ["a @ r1, float32 (digest d1)",
                                                                   "a @ r1, float32 (digest d2)"]


def test_the_other_model_is_in_the_address_and_what_is_not_there_is_not_shown(explorer: Explorer, store: Store):
    for info, model in ((INFO, MODEL), (SAME, None), (OTHER, None)):
        put(store, info, model)
    app = shown(explorer, **{"with": "owner/deep"})
    assert app.selectbox("with").value == "owner/deep"
    app = shown(explorer, **{"with": "nobody", "unit": "miles"})
    assert app.selectbox("with").value in ("owner/deep", "owner/twin")
    assert app.segmented_control("unit").value == "share of the total"
    app = shown(explorer, **{"with": "owner/deep", "unit": "raw"})
    assert app.segmented_control("unit").value == "share of the total"
    app = shown(explorer, **{"with": "owner/twin", "unit": "raw"})
    assert app.segmented_control("unit").value == "raw"
    app.selectbox("with").set_value("owner/deep").run()
    assert calm(app)
    assert app.segmented_control("unit").value == "share of the total"


def test_where_nothing_is_stored_of_another_model_it_is_said_and_what_others_lack_is_named(
        explorer: Explorer, store: Store):
    app = shown(explorer)
    assert "Not measured yet:** head importance of antonym" in words(app)
    assert "No other model, and no other state of this one, has stored head importance" in words(app)
    put(store, INFO, MODEL)
    put(store, OTHER, task="plural")
    assert "No other model" in words(shown(explorer))
    put(store, SAME)
    assert "Not measured for this task, these rows, shots and seed: owner/deep @ made-up, float32." in words(
        shown(explorer))


def test_prompts_that_are_read_in_more_pieces_are_said_to_be(explorer: Explorer, store: Store):
    put(store, INFO, MODEL)
    unit = made_up.importance(made_up.setup(made_up.model_id(SAME), "antonym"))
    record = made_up.record(unit, SAME)
    assert isinstance(record, HeadScores)
    more = tuple(tuple(2 * n for n in block) for block in record.block_positions)
    made_up.fill(store, [made_up.importance(made_up.setup(made_up.model_id(SAME), "plural"))], SAME)
    store.put(unit, replace(record, block_positions=more))
    said = words(shown(explorer))
    assert "read as 20.0 positions on average by bundled and 40.0 by owner/twin: tokenizers differ" in said


def test_layers_without_heads_are_left_out_of_every_number(explorer: Explorer, store: Store):
    half = replace(made_up.model_info(4, 4, name="owner/half"), headless=(0, 2))
    put(store, INFO, MODEL)
    b = put(store, half)
    app = shown(explorer)
    values = maps.given(app)["models b"].map["values"]
    assert values[0] == values[2] == [None] * 4
    assert np.isclose(np.array([values[1], values[3]], float).sum(), 1, rtol=1e-4)
    assert b.scores()[0].sum() == 0
    assert "12.5\u00a0% of owner/half's" in words(app)  # of eight heads


@pytest.mark.parametrize(("info", "unit"), [(SAME, "share of the total"), (SAME, "raw"), (OTHER, "percentile")])
def test_the_lines_print_the_tables_of_both_models(
        explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch, info: ModelInfo, unit: str):
    a, b = put(store, INFO, MODEL), put(store, info)
    left = run_shown_python(shown(explorer, unit=unit), monkeypatch)
    assert len(left) == (3 if info is SAME else 2)
    for one in left:
        assert one["table"].to_string() in one["printed"]
    first = left[0]["table"]
    assert np.allclose(first[unit], np.concatenate([tables.in_unit(r.scores(), unit).ravel() for r in (a, b)]))
    if info is SAME:
        for number in (stats.spearman(a.scores(), b.scores()), stats.bootstrap_spearman(a, b),
                       stats.topk_overlap(a.scores(), b.scores(), 0.2)):
            assert str(number) in left[0]["printed"]


def test_both_maps_are_raw_where_that_shows_both_and_logarithmic_where_not():
    even, peak = np.linspace(0.5, 1, 40).reshape(5, 8), np.full((5, 8), 1e-3)
    assert two_models.shared_scale([even, even], "automatic") == ("raw", (0, 1))
    assert two_models.shared_scale([even, peak], "automatic") == ("logarithmic", (1e-3, 1))
    assert two_models.shared_scale([even, peak], "raw") == ("raw", (0, 1))
    assert two_models.shared_scale([even, peak], "per layer") == ("per layer", (0, 1))
