"""Results that were computed elsewhere: neither weights nor rows are here, and no network; everything is shown."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from backend.records import ModelInfo
from backend.tasks.paper import STUDY
from backend.values import Ablation, Head, ModelId, TaskId
from tests.pages import made_up, maps
from tests.pages.conftest import VIEWS, browse, calm, framed, opened, words

LARGE = ModelInfo("facebook/opt-66b", "7259969061237fe9", "opt", 64, 72, 9216, 128, 36864, 65_718_000_000, 2048, 50272,
                  "float16", 131_000_000_000)
MODEL = ModelId(LARGE.name, LARGE.revision, "f66b", dtype="bfloat16")
ROWS = [TaskId(name, f"rows-of-{name}"[:12]) for name in STUDY]
TASK = next(iter(STUDY))
OFF = Ablation(frozenset(Head(layer, head) for layer in range(12) for head in range(72)))  # enough to turn answers


@pytest.fixture(scope="session")
def results_of_the_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    made_up.filled(folder, made_up.everything(MODEL, ROWS, OFF, each_head=ROWS[:1]), LARGE)
    return folder


@pytest.fixture
def alone(results_of_the_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with these results, without rows, weights or network."""
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("No network here.")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.delenv("HEADROOM_DATA", raising=False)
    browse(monkeypatch, results_of_the_study)
    framed(monkeypatch)


def n_charts(app: AppTest) -> int:
    return len(app.main.get("vega_lite_chart")) + len(maps.given(app))


@pytest.mark.parametrize(("page", "address"), [(page, {**address, "off": str(OFF)} if address.get("off") else address)
                                              for page, address in VIEWS], ids=range(len(VIEWS)))
def test_every_view_of_the_study_s_results_opens_in_full(alone: None, page: str, address: dict[str, str]):
    app = opened(page, model=LARGE.name, task=TASK, **address)
    assert calm(app), (app.error, app.exception)
    said = words(app)
    assert "Not measured yet" not in said
    assert n_charts(app) > 0
    assert "64 layers × 72 heads" in said


def test_what_the_playground_needs_is_said_to_be_elsewhere(alone: None):
    app = opened("playground", model=LARGE.name, task=TASK)
    assert calm(app)
    assert f"The rows of '{TASK}' are not here." in words(app)
    app = opened("playground", model=LARGE.name, source="My own", prompt="The cat sat", options="on | at")
    assert calm(app)
    if reading := [b for b in app.main.button if b.key == "read it"]:
        reading[0].click().run()
    assert calm(app)
    assert f"The weights of {LARGE.name} are not here." in words(app)


def test_flipped_questions_whose_rows_are_elsewhere_are_counted_and_said_to_be(alone: None):
    app = opened("lab", model=LARGE.name, task=TASK, off=str(OFF))
    assert f"The rows of '{TASK}' are not here." in words(app)


@pytest.mark.parametrize("section", ["Results", "Storage", "Models", "Own tasks"])
def test_runs_lists_what_is_there_and_says_what_cannot_be_started(alone: None, section: str):
    app = opened("runs", model=LARGE.name, section=section)
    assert calm(app)
    said = words(app)
    if section == "Results":
        assert "Left out, because their rows are not here: " in said
    if section == "Storage":
        table = app.dataframe[0].value
        assert table[table["model"] == LARGE.name]["results"].sum() > 500
    if section == "Models":
        table = app.dataframe[0].value
        assert table.set_index("model").loc[LARGE.name, "precision"] == "bfloat16"


def test_what_is_missing_here_says_why_and_how_it_is_made_there(alone: None):
    app = opened("heads", model=LARGE.name, task=TASK, seed="7")
    said = words(app)
    assert calm(app)
    assert "Not measured yet" in said
    assert f"It cannot be measured here. The weights of {LARGE.name} are not here." in said
    assert not any(button.label == "Measure now" for button in app.main.button)
    state = f"--revision {LARGE.revision} --digest {MODEL.digest}"
    rows = f"--rows {TASK}={next(task.digest for task in ROWS if task.name == TASK)}"
    assert any(f"--model {LARGE.name} {state} --dtype bfloat16 {rows} --what importance --tasks {TASK}" in code.value
               for code in app.main.code)
    assert any(f"load_model({LARGE.name!r}, revision={LARGE.revision!r}, dtype='bfloat16')" in code.value
               for code in opened("heads", model=LARGE.name, task=TASK).main.code)
