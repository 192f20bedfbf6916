"""A hub on this machine, for tests of what is pushed to it and pulled from it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.sharing.stub import TOKEN, Hub, served


def pointed(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub's own client, in this process and in those that it starts, speak with a hub of this machine."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    for name in list(os.environ):
        if "proxy" in name.lower():
            monkeypatch.delenv(name)
    for name, value in {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "HF_TOKEN": TOKEN,
                        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "hf" / "token"))
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE",
                        hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    at_once = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})  # between its attempts
    monkeypatch.setattr(_http, "time", at_once)
    monkeypatch.setattr(file_download, "time", at_once)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with served() as one:
        pointed(one, tmp_path, monkeypatch)
        yield one
