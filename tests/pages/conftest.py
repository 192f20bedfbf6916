"""Pages run inside the real frame, over a temporary store and a model that is only described."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from backend import __main__ as commands
from backend.errors import ModelError
from backend.models.loading import LoadedModel
from backend.records import ModelInfo
from backend.store import live as stores
from backend.store.live import Store
from backend.values import ModelId, Setup
from pages.shared import handles, notes
from tests.pages import made_up

ROOT = Path(__file__).resolve().parents[2]
INFO = ModelInfo(name="bundled", revision="0123456789ab", architecture="opt", n_layers=3, n_heads=4, d_model=32,
                 d_head=8, d_ffn=64, n_params=50_000, max_positions=128, vocab_size=500, dtype="float32", bytes=200_000)
MODEL = made_up.model_id(INFO)

Explorer = Callable[..., AppTest]

VIEWS: list[tuple[str, dict[str, Any]]] = [  # every view that shows stored results, as its address says
    *(("heads", {"view": view}) for view in (
        "One task", "All tasks", "Shots", "Difference", "Average", "Calibration")),
    *(("ffns", {"scope": scope, "view": view}) for scope in ("This task", "All tasks")
      for view in ("FFNs", "FFNs and heads")),
    *(("lab", {"scope": scope, "off": off}) for scope in ("This task", "All shots", "All tasks")
      for off in ("", "L1H2")),
    *(("pruning", {"scope": scope, "view": view}) for scope in ("This task", "All tasks")
      for view in ("Heads", "FFNs", "Heads and FFNs", "Other tasks' rankings", "Learned gates")),
    *(("overlap", {"view": view}) for view in ("Tasks", "Shots", "Top heads", "Heads that many need")),
    ("card", {"head": "L1H2"}),
    *(("induction", {"view": view}) for view in ("Scores", "Against importance", "Function vectors",
                                                      "Knock-out", "Demonstrations", "Capacity")),
]


def setup_of(task: str, n_shots: int = 5, **more: Any) -> Setup:
    """A setup of the model that pages are tested with, as its task is here."""
    return made_up.setup(MODEL, task, n_shots, **more)


def setups_of(tasks: list[str], shots: tuple[int, ...] = (5,), **more: Any) -> list[Setup]:
    """Several, all tasks at the first number of shots first."""
    return made_up.setups(MODEL, tasks, shots, **more)


def are_here(monkeypatch: pytest.MonkeyPatch, *infos: ModelInfo) -> None:
    """Let these models, and no others, be here, for pages and commands, and without weights to load."""
    known = {info.name: info for info in infos}

    def describe(name: str) -> ModelInfo:
        if name not in known:
            raise ModelError(f"No folder '{name}'.")
        return known[name]

    def identify(name: str, dtype: str = "float32", bos: str = "auto") -> ModelId:
        return made_up.model_id(describe(name), dtype=dtype, bos=bos == "always")

    def no_weights(*_: object) -> None:
        raise ModelError("This model has no weights.")

    monkeypatch.setattr(handles, "describe", describe)
    monkeypatch.setattr(handles, "identify", identify)
    monkeypatch.setattr(handles, "model", no_weights)
    monkeypatch.setattr(commands, "describe", lambda name, revision: describe(name))
    monkeypatch.setattr(commands, "identify", lambda name, revision, dtype, bos, tokenizer: identify(name, dtype, bos))


def is_here(monkeypatch: pytest.MonkeyPatch, loaded: LoadedModel) -> None:
    """Let a real little model take the bundled one's place."""
    monkeypatch.setattr(handles, "describe", lambda name: loaded.info)
    monkeypatch.setattr(handles, "identify", lambda name, dtype, bos: loaded.id)
    monkeypatch.setattr(handles, "model", lambda name, wanted: loaded)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store behind the pages; the bundled model is `INFO`, and has no weights to load."""
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path / "live"))
    monkeypatch.setattr(stores, "SHIPPED", tmp_path / "shipped")
    are_here(monkeypatch, INFO)
    forget()
    yield handles.store()
    forget()


def forget() -> None:
    """Let pages look anew at what is stored, known and loaded."""
    st.cache_resource.clear()
    st.cache_data.clear()


@cache
def kept_open(folder: Path) -> Store:
    """A filled store, opened once for all tests that look at it."""
    return Store(folder)


def browse(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let pages, and the lines of Python that they show, look at results in a folder, as one server's visitors do."""
    monkeypatch.setenv("HEADROOM_CACHE", str(folder))
    forget()
    filled = kept_open(folder)
    monkeypatch.setattr(handles, "default_store", lambda: filled)
    monkeypatch.setattr(stores, "default_store", lambda: filled)


@pytest.fixture
def explorer(store: Store, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    """Open a page as a permalink would: `explorer("heads", task="antonym", off="L1H2")`."""
    framed(monkeypatch)
    return opened


def framed(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest forgets at each run what `pages.shared` set right: that app.py draws a frame."""
    made = PagesManager.__init__

    def with_frame(self: PagesManager, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", with_frame)


def opened(page: str, **parameters: str | list[str]) -> AppTest:
    """A page, run once, in a session of its own."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=180)  # seconds, where others are at work
    for name, value in parameters.items():
        app.query_params[name] = value
    if page != "tour":  # which an address without a page opens
        app._page_hash = calc_hash(page)  # st.navigation's name for it
    return app.run()


@pytest.fixture
def at(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    """Open an address such as `/LAB?n=5` as a fresh browser does, by the page's name: `at("LAB", n="5")`."""
    asked: list[str] = []
    real = PagesManager.set_script_intent

    def by_name(self: PagesManager, page_script_hash: str, page_name: str) -> None:
        real(self, page_script_hash, asked.pop() if asked else page_name)

    monkeypatch.setattr(PagesManager, "set_script_intent", by_name)

    def at_address(page: str, **parameters: str | list[str]) -> AppTest:
        asked.append(page)
        return opened("tour", **parameters)

    return at_address


def once_more(monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    """Let the page be drawn anew the next time that it calls something, as by a click or a timer just then."""
    real, reruns = getattr(where, name), [st.rerun]

    def interrupted(*args: Any, **more: Any) -> Any:
        if reruns:
            reruns.pop()()
        return real(*args, **more)

    monkeypatch.setattr(where, name, interrupted)


def words(app: AppTest) -> str:
    """Everything a page says, as one text; what is HTML without its tags and the foot's glossary."""
    elements = [*app.title, *app.header, *app.markdown, *app.caption, *app.warning, *app.error, *app.info,
                *app.main.metric]
    said = [notes.plain(str(e.value)) if "<dfn " in str(e.value) else str(e.value) for e in elements]
    return "\n".join([*said, *map(notes.plain, bodies(app))])


def bodies(app: AppTest) -> list[str]:
    """Titles, captions and paragraphs as the HTML that they are, in order."""
    found = [str(element.proto.body) for element in app.get("html")]
    return [body for body in found if not body.startswith(("<style>", '<details class="glossary">'))]


def captions(app: AppTest) -> list[tuple[str, str]]:
    """Every caption of a chart or a number: the line in sight, and how it is measured, which is folded."""
    return [(notes.plain(line), notes.plain(measured)) for body in bodies(app) if body.startswith('<div class="note">')
            for line, _, measured in [body.partition("<details>")]]


def calm(app: AppTest) -> bool:
    """No traceback and no error box."""
    return not app.exception and not app.error
