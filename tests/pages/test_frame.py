"""The shared choice: in the sidebar, in the address, and the same on every page."""

import contextlib
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from backend import machine, starting
from backend.kinds import Copying, Evaluation, FFNOracle, HeadOracle, Model, PrefixMatching, Unit
from backend.models import info as models
from backend.records import ModelInfo
from backend.runs import plan as planning
from backend.runs.queue import Queue
from backend.store.live import Store
from backend.values import Ablation, Head, ModelId
from pages.shared import blocks, handles, selection
from tests.pages import made_up, maps
from tests.pages.conftest import INFO, MODEL, ROOT, Explorer, are_here, calm, framed, opened, setup_of, words
from tests.pages.shown import understood

PAGES = sorted(path.stem for path in (ROOT / "pages").glob("*.py") if path.stem != "__init__")


def test_a_permalink_restores_the_whole_choice(explorer: Explorer):
    app = explorer("heads", task="plural", shots="1", demos="per-query", n="40", seed="3", by="per-example",
                   dtype="bfloat16", off="L1H2,F0")
    assert calm(app)
    side = app.sidebar
    assert (side.selectbox("task").value, side.selectbox("dtype").value) == ("plural", "bfloat16")
    assert (side.segmented_control("shots").value, side.segmented_control("demos").value) == (1, "per-query")
    assert (side.number_input("n").value, side.number_input("seed").value) == (40, 3)
    assert side.segmented_control("by").value == "per-example"
    assert side.text_input("off").value == "L1H2,F0"
    assert not app.warning


@pytest.mark.parametrize("page", PAGES)
def test_a_permalink_says_what_it_could_not_read_and_shows_the_rest(explorer: Explorer, page: str):
    app = explorer(page, task="juggling", shots="5", seed="many", colour="blue", off="L1H2,L99H0,banana")
    assert not app.exception
    said = "\n".join(w.value for w in app.warning)
    assert "task 'juggling'" in said
    assert "seed 'many'" in said
    assert "'colour'" in said
    problems = "\n".join(c.value for c in app.sidebar.caption)
    assert "'L99H0' is not in this model" in problems
    assert "'banana' is not a component" in problems
    assert app.session_state["off"].startswith("L1H2")
    app.button("understood").click().run()
    assert not any("juggling" in w.value for w in app.warning)


@pytest.mark.parametrize(("served", "free", "expected"), [
    (True, 2**34, True), (True, 2**10, False), (False, 2**34, False)])
def test_a_server_reads_the_chosen_model_while_its_first_page_is_read(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch, served: bool, free: int, expected: bool
):
    asked: list[ModelId] = []
    are_here(monkeypatch, INFO)
    monkeypatch.setattr(Queue, "get_ready", lambda self, model: asked.append(model))
    monkeypatch.setattr(starting, "served", served)
    monkeypatch.setattr(machine, "free_memory", lambda: free)
    assert calm(explorer("heads"))
    assert bool(asked) is expected
    assert set(asked) <= {MODEL}


def test_a_model_that_is_not_here_is_not_made_ready_and_its_shape_is_not_asked_for(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
):
    asked: list[ModelId] = []
    are_here(monkeypatch, INFO)
    monkeypatch.setattr(Queue, "get_ready", lambda self, model: asked.append(model))
    monkeypatch.setattr(starting, "served", True)
    monkeypatch.setattr(selection, "why_no_model", lambda: "The weights are gone.")
    monkeypatch.setattr(machine, "weight_bytes", lambda *_: pytest.fail("asked how large it is"))
    assert calm(explorer("runs"))
    assert not asked


def test_a_pages_own_part_of_the_address_is_read_or_said_not_to_be(explorer: Explorer):
    app = explorer("tour", step="99")
    assert calm(app)
    assert any("The address asks for step '99'. Known: 1, 2," in w.value for w in app.warning)
    assert app.header[0].value.startswith("1 · ")
    app.button("understood").click().run()
    assert not app.warning
    assert not explorer("tour", step="3").warning


@pytest.mark.parametrize(("key", "asked", "said"), [
    ("n", "999999999", "Known: whole numbers from 1 to 100000. Showing 100 instead."),
    ("n", "0", "Known: whole numbers from 1 to 100000. Showing 100 instead."), ("n", "5.7", "Showing 5 instead."),
    ("n", "nan", "Showing 100 instead."), ("n", "1e400", "Showing 100 instead."), ("n", "\u0665", "Showing 5 instead."),
    ("train", "0", "Known: whole numbers from 1 to 100000. Showing 200 instead."),
    ("seed", "-1", "Known: whole numbers from 0 to 10000. Showing 0 instead."),
    ("shots", "7", "Known: 0, 1, 5. Showing 5 instead.")])
def test_a_number_that_is_not_allowed_is_said_with_what_is_and_what_is_shown(
        explorer: Explorer, key: str, asked: str, said: str):
    app = explorer("heads", **{key: asked})
    assert calm(app)
    (warning,) = [w.value for w in app.warning]
    assert warning.startswith(f"The address asks for {key} '{asked}'. ")
    assert warning.endswith(said)
    shown = app.sidebar.segmented_control(key).value if key == "shots" else app.sidebar.number_input(key).value
    assert f"Showing {shown} instead" in warning
    app.button("understood").click().run()
    assert not app.warning


@pytest.mark.parametrize(("key", "asked"), [("n", "1"), ("n", "100000"), ("train", "1"), ("seed", "0"),
                                            ("seed", "10000")])
def test_the_ends_of_what_is_allowed_are_allowed(explorer: Explorer, key: str, asked: str):
    app = explorer("heads", **{key: asked})
    assert app.sidebar.number_input(key).value == int(asked)
    assert not app.warning


def test_what_was_understood_is_not_said_again(explorer: Explorer):
    app = explorer("heads", colour="blue")
    app.button("understood").click().run()
    assert not app.warning
    app.run()
    assert not app.warning


def test_what_is_chosen_can_be_opened_from_the_sidebar(explorer: Explorer):
    links = [link.proto.label for link in explorer("heads").sidebar.get("page_link")]
    assert links == ["Lab", "Playground", "Induction"]
    assert all(link.proto.disabled for link in explorer("heads").sidebar.get("page_link"))
    assert not any(link.proto.disabled for link in explorer("heads", off="L1H2").sidebar.get("page_link"))


def test_an_unknown_model_is_named_and_the_bundled_one_takes_its_place(explorer: Explorer):
    app = explorer("heads", model="./nowhere")
    assert calm(app)
    assert any("No folder './nowhere'. Showing the bundled model instead." in c.value for c in app.sidebar.caption)
    assert "head importance of" in words(app)


def test_a_model_known_only_from_imported_results_can_be_browsed(explorer: Explorer, store: Store):
    far = made_up.model_info(4, 6, name="far/away")

    made_up.fill(store, [made_up.importance(made_up.setup(made_up.model_id(far), "antonym", 5))], far)
    app = explorer("heads", model="far/away", task="antonym")
    assert calm(app)
    assert not app.warning
    assert "heads of 24 hold half" in words(app)


def test_what_is_typed_becomes_canonical_and_can_be_undone(explorer: Explorer):
    app = explorer("heads")
    app.sidebar.text_input("off").set_value("2.1; L1 , L0 FFN").run()
    assert app.session_state["off"] == "L1H0-3,L2H1,F0"
    app.sidebar.text_input("off").set_value("L1H9").run()
    assert app.session_state["off"] == "L1H9"  # stays as it was typed, with what is wrong about it below
    assert any("'L1H9' is not in this model" in c.value for c in app.sidebar.caption)
    maps.press(app, "undo")
    assert app.session_state["off"] == "L1H0-3,L2H1,F0"
    maps.press(app, "undo")
    assert app.session_state["off"] == ""
    maps.press(app, "redo")
    assert app.session_state["off"] == "L1H0-3,L2H1,F0"


SETUP = setup_of("antonym", 5, seed=2)
UNITS = [
    Evaluation(SETUP), Evaluation(SETUP, Ablation(frozenset({Head(1, 2)}), frozenset({0}))),
    Evaluation(SETUP, Ablation(frozenset({Head(1, 2)}), fill="mean")), made_up.importance(SETUP),
    FFNOracle(SETUP), HeadOracle(SETUP), made_up.pruning(SETUP, "heads", "random:1"),
    made_up.pruning(SETUP, "combined", "task:plural"), PrefixMatching(MODEL),
    Copying(MODEL, "olsson"), made_up.means(SETUP),
]


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_the_lines_of_python_name_the_very_unit_they_stand_beside(
        unit: Unit, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lines = blocks.python_lines(unit, "print(unit.key)")
    torch = ("record", "from backend.models.loading")
    naming = "\n".join(line for line in lines.splitlines() if not line.startswith(torch))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(naming, {})
    assert out.getvalue().strip() == unit.key


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_the_command_makes_the_very_unit_it_stands_beside_and_no_other(unit: Unit, store: Store):
    line, = blocks.command_lines([unit]).splitlines()
    assert planning.asked(understood(shlex.split(line)[3:])) == [Model(MODEL), unit]


@pytest.mark.parametrize("key", ["n", "seed"])
@pytest.mark.parametrize("asked", ["5" * 5000, "1e999", "-1", "²", ""])
def test_a_number_that_is_none_in_an_address_is_said_and_left_out(explorer: Explorer, key: str, asked: str):
    app = explorer("tour", **{key: asked})
    assert calm(app)
    assert any(f"The address asks for {key} '{asked[:40]}'. Known: whole numbers" in w.value for w in app.warning)
    assert app.sidebar.number_input(key).value == {"n": 100, "seed": 0}[key]


@pytest.mark.parametrize("parameters", [{"model": "m" * 3000}, {"off": "L" + "5" * 5000 + "H1"},
                                        {"off": "F" + "9" * 5000}, {"model": "~nobody-at-all/x"},
                                        {"model": "a\0b"}, {"state": "\0" * 999},
                                        {"q": "9" * 5000}, {"layer": "9" * 5000, "head": "9" * 5000}])
def test_whatever_an_address_asks_for_the_page_is_drawn(store: Store, monkeypatch: pytest.MonkeyPatch,
                                                        parameters: dict[str, str]):
    def here(name: str, *_: object) -> ModelInfo:
        if name != "bundled":
            models.locate(name)  # as for every name: refused, whether it can be a path or not
        return INFO

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(handles, "describe", here)
    monkeypatch.setattr(handles, "identify", lambda name, dtype, bos: made_up.model_id(here(name)))
    framed(monkeypatch)
    for page in ("tour", "playground"):
        app = opened(page, **parameters)
        assert not app.exception
        assert "could not be drawn" not in words(app)


def test_a_server_that_measures_does_not_burn_the_cores_on_which_it_draws():
    look = "import sys, pages.shared; assert 'torch' not in sys.modules; import torch"
    said = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True, env={
        **{name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}, "OMP_DISPLAY_ENV": "TRUE"})
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in said.stderr


def test_the_field_is_drawn_as_it_is_held_though_the_browser_reports_that_it_shows_so(explorer: Explorer):
    """Undo and Redo at once: the browser asks for the second before it has drawn the first, which reaches it later."""
    app = explorer("heads", off="L0H0")
    app.text_input(key="off").set_value("L1H2").run()
    maps.press(app, "undo")
    assert app.text_input(key="off").value == "L0H0"
    app.text_input(key="off").set_value("L1H2")  # not written: as it was shown before
    maps.press(app, "redo")
    assert app.text_input(key="off").value == "L1H2"
    assert app.text_input(key="off").proto.set_value  # Streamlit would leave it at what the first run has drawn
    app.text_input(key="off").set_value("L0H0")
    app.run()
    assert app.text_input(key="off").value == "L1H2"
    assert calm(app)
