"""Below the sidebar's Precision: which one is fast here."""

from __future__ import annotations

from backend.store.live import Store
from pages.shared import handles, lecture
from tests.pages.conftest import INFO, Explorer, calm


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
