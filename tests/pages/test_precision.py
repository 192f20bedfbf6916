"""Below the sidebar's Precision: what it changes, and which one is fast here."""

from __future__ import annotations

from dataclasses import replace

from streamlit.testing.v1 import AppTest

from backend.kinds import Evaluation
from backend.store.live import Store
from pages.shared import handles, lecture
from tests.pages import made_up
from tests.pages.conftest import INFO, MODEL, Explorer, calm, setup_of

HALF = MODEL.with_(dtype="bfloat16")
NOT_YET = "how many predictions bfloat16 changes cannot be told yet. Compute the accuracy of the same questions in "


def beside(app: AppTest) -> list[str]:
    return [one.value for one in app.sidebar.caption if "Beside float32" in one.value]


def test_in_float32_there_is_nothing_to_tell(store: Store, explorer: Explorer):
    app = explorer("heads", task="antonym")
    assert calm(app)
    assert beside(app) == []


def test_what_is_not_measured_in_both_is_said_and_then_told_in_numbers(store: Store, explorer: Explorer):
    app = explorer("heads", task="antonym", dtype="bfloat16")
    assert calm(app)
    assert beside(app) == [f"Beside float32: {NOT_YET}bfloat16 and in float32."]
    setup = setup_of("antonym")
    there = made_up.record(Evaluation(setup), INFO)
    row = there.loglikelihoods[0]
    best = row.index(max(row))
    turned = tuple(ll - 0.75 - max(row) + sorted(row)[-2] if i == best else ll for i, ll in enumerate(row))
    here = replace(there, loglikelihoods=(turned, *there.loglikelihoods[1:]))
    moved = turned[best] - row[best]
    store.put(Evaluation(setup.with_(model=HALF)), here)
    assert beside(app.run()) == [f"Beside float32: {NOT_YET}float32, too."]
    store.put(Evaluation(setup), there)
    assert beside(app.run()) == [
        f"Beside float32: 1 of {made_up.N_QUESTIONS} predictions differs in 1 setup measured in both; a log-likelihood "
        f"differs by {-moved:.2g} nats at most."]
    assert beside(app.sidebar.selectbox("dtype").select("float32").run()) == []


def test_which_is_faster_is_measured_when_asked_and_changes_nothing(store: Store, explorer: Explorer, monkeypatch):
    asked = []
    monkeypatch.setattr(handles, "which_is_faster",
                        lambda shape: asked.append(shape) or "in bfloat16 a product takes 5.00 times as long.")
    app = explorer("heads", task="antonym")
    assert asked == []
    app.sidebar.button("faster").click().run()
    assert calm(app)
    said = "In bfloat16 a product takes 5.00 times as long."
    assert said in [one.value for one in app.sidebar.caption]
    assert said in [one.value for one in app.run().sidebar.caption]  # it stays
    assert asked == [INFO]
    assert (app.sidebar.selectbox("dtype").value, "dtype" in app.query_params) == ("float32", False)


def test_visitors_of_a_lecture_start_no_measurement(store: Store, explorer: Explorer, monkeypatch):
    monkeypatch.setenv(lecture.SETTING, "192.168.1.20:8501")
    monkeypatch.setattr(lecture, "at_the_machine", lambda: False)
    app = explorer("heads", task="antonym")
    assert calm(app)
    assert not [one for one in app.sidebar.button if one.key == "faster"]
