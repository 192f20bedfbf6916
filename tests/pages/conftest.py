"""Pages run inside the real frame, over a temporary store and a model that is only described."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from backend.errors import ModelError
from backend.results import ModelInfo
from backend.store import live as stores
from backend.store.live import Store
from pages.shared import handles, selection

ROOT = Path(__file__).resolve().parents[2]
INFO = ModelInfo(name="bundled", revision="0123456789ab", architecture="opt", n_layers=3, n_heads=4, d_model=32,
                 d_head=8, d_ffn=64, n_params=50_000, max_positions=128, vocab_size=500, dtype="float32", bytes=200_000)

Explorer = Callable[..., AppTest]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store behind the pages; the bundled model is `INFO`, and has no weights to load."""
    def no_weights(*_: object) -> None:
        raise ModelError("This model has no weights.")

    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path / "live"))
    monkeypatch.setattr(stores, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(handles, "describe", lambda name: INFO)
    monkeypatch.setattr(handles, "model", no_weights)
    monkeypatch.setattr(selection, "LAG", 0)  # nobody looks at a browser here
    st.cache_resource.clear()
    st.cache_data.clear()
    return handles.store()


@pytest.fixture
def explorer(store: Store, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    """Open a page as a permalink would: `explorer("heads", task="antonym", off="L1H2")`."""
    made = PagesManager.__init__

    def with_frame(self: PagesManager, *args: Any, **options: Any) -> None:
        """AppTest forgets at each run what `pages.shared` set right: that app.py draws a frame."""
        made(self, *args, **options)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", with_frame)

    def opened(page: str, **parameters: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        for name, value in parameters.items():
            app.query_params[name] = value
        app.run()
        return app if page == "tour" else app.switch_page(f"pages/{page}.py").run()

    return opened


def words(app: AppTest) -> str:
    """Everything a page says, as one text."""
    elements = [*app.title, *app.markdown, *app.caption, *app.warning, *app.error, *app.info, *app.main.metric]
    return "\n".join(str(e.value) for e in elements)


def calm(app: AppTest) -> bool:
    """No traceback and no error box."""
    return not app.exception and not app.error
