"""Runs > Storage opens a bundle of the hub: the same checks and the same report as of a file, and nobody waits."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from backend.kinds import Evaluation, Unit
from backend.sharing.hub import FILE
from backend.store import bundles
from backend.store.live import Store
from pages.shared import lecture
from tests.pages import made_up
from tests.pages.conftest import INFO, Explorer, calm, setup_of, setups_of, words
from tests.pages.test_runs import labels, press
from tests.sharing.conftest import pointed
from tests.sharing.stub import Hub, served

REPO = "someone/results"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with served() as one:
        pointed(one, tmp_path, monkeypatch)
        yield one


def there(hub: Hub, store: Store, units: list[Unit]) -> None:
    """Let the hub have results that are not here."""
    made_up.fill(store, units, INFO)
    content = io.BytesIO()
    bundles.export(content, store, store.live_units())
    store.delete_all(store.live_units())
    hub.made(REPO, {FILE: content.getvalue()})


def opened(app: AppTest, address: str) -> AppTest:
    app.get_by_key("hub address").set_value(address)
    return press(app, "open from hub")


def come(app: AppTest) -> AppTest:
    """The page once nothing is on its way any more."""
    until = time.monotonic() + 20
    while not app.session_state["fetch"].ended and time.monotonic() < until:
        time.sleep(0.02)
    return app.run()


def test_a_bundle_of_the_hub_comes_in_once_checked(explorer: Explorer, store: Store, hub: Hub, scratch: Path):
    units: list[Unit] = list(map(Evaluation, setups_of(["antonym", "past"])))
    there(hub, store, units)
    app = come(opened(explorer("runs", section="Storage"), f"https://huggingface.co/datasets/{REPO}"))
    assert calm(app), (app.error, app.exception)
    assert "3 results of bundled**: 3 new, none here already, none that differ" in words(app)
    assert not store.live_units()
    app = press(app, "take in")
    assert set(units) < set(store.live_units())
    assert app.success[0].value == "3 results of bundled taken in."
    assert "take in" not in {b.key for b in app.main.button}
    assert list(scratch.iterdir()) == [], "what was fetched is gone"


def test_results_that_differ_are_replaced_on_request_only(explorer: Explorer, store: Store, hub: Hub):
    unit = Evaluation(setup_of("antonym", 5))
    there(hub, store, [unit])
    mine = store.put(unit, made_up.record(Evaluation(setup_of("past", 5)), INFO))
    app = come(opened(explorer("runs", section="Storage"), REPO))
    assert "1 that differ" in words(app)
    assert next(b for b in app.main.button if b.key == "take in").disabled
    app.get_by_key("replace").set_value(True)
    press(app.run(), "take in")
    assert store.get(unit) not in (None, mine)


@pytest.mark.parametrize(("address", "said"), [
    ("someone/answers-403", "status 403"), ("someone/nothing", "status 404"),
    ("someone/books", "is no repository of Headroom's"), ("someone/zips", "not a bundle")])
def test_what_cannot_be_had_says_why(explorer: Explorer, store: Store, hub: Hub, address: str, said: str):
    hub.made("someone/books", {"README.md": b"# Books"})
    hub.made("someone/zips", {"photos.zip": b"PK, but not really"})
    app = come(opened(explorer("runs", section="Storage"), address))
    assert not app.exception
    assert said in app.error[0].value
    assert not store.live_units()
    assert not next(b for b in app.main.button if b.key == "open from hub").disabled, "another can be tried"


def test_what_is_no_address_is_refused_at_once(explorer: Explorer, store: Store, hub: Hub):
    app = opened(explorer("runs", section="Storage"), "[click](http://example.org)")
    assert "is no dataset repository of the hub" in app.error[0].value
    assert "[click]" not in app.error[0].value.replace("\\[", ""), "foreign text is not read"
    assert hub.asked == []


def test_the_page_waits_for_nothing_and_a_fetch_can_be_stopped(explorer: Explorer, store: Store, hub: Hub,
                                                               scratch: Path):
    there(hub, store, [Evaluation(setup_of("antonym", 5))])
    hub.go.clear()
    app = opened(explorer("runs", section="Storage"), REPO)  # which has drawn while the hub has not answered
    assert calm(app)
    assert "Take a bundle in" in words(app)
    assert "Stop" in labels(app)
    assert next(b for b in app.main.button if b.key == "open from hub").disabled
    press(app, "stop fetching")
    hub.go.set()
    app = come(app)
    assert "Stopped. Nothing was taken in." in words(app)
    assert not store.live_units()


def test_a_file_takes_the_place_of_what_was_fetched(explorer: Explorer, store: Store, hub: Hub, scratch: Path):
    there(hub, store, [Evaluation(setup_of("antonym", 5))])
    other, content = Evaluation(setup_of("past", 5)), io.BytesIO()
    made_up.fill(store, [other], INFO)
    bundles.export(content, store, [other])
    app = come(opened(explorer("runs", section="Storage"), REPO))
    assert "2 results of bundled" in words(app)
    app.file_uploader[0].set_value(("results.zip", content.getvalue(), "application/zip"))
    app = app.run()
    assert "1 result of bundled" in words(app)
    assert list(scratch.iterdir()) == []
    app = come(opened(app, REPO))
    assert "2 results of bundled" in words(app)


@pytest.mark.parametrize("closed", ["demo", "lecture"])
def test_visitors_of_a_demo_and_of_a_lecture_are_not_offered_it(explorer: Explorer, store: Store, hub: Hub, closed: str,
                                                                monkeypatch: pytest.MonkeyPatch):
    if closed == "demo":
        monkeypatch.setenv("HEADROOM_DEMO", "1")
    else:
        monkeypatch.setattr(lecture, "at_the_machine", lambda: False)
    app = explorer("runs", section="Storage")
    assert ("This server is a demo: runs, imports and deletions are closed." if closed == "demo" else
            "In a lecture, runs are started at the machine itself.") in words(app)
    assert not [widget for widget in (*app.main.button, *app.main.text_input) if "hub" in str(widget.key)]
