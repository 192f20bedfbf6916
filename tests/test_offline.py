"""With the network cut off everything that needs none works, and nothing reaches for it."""

from __future__ import annotations

import errno
import os
import socket

import pytest
import streamlit as st
from streamlit import config
from streamlit.web import bootstrap

from backend.__main__ import DONE, main
from backend.errors import DataError, ModelError
from backend.models.info import locate
from backend.places import EXPLORER
from backend.runs import jobs
from backend.tasks import data
from tests.pages.conftest import calm, framed, opened

PAGES = sorted(path.stem for path in (EXPLORER / "pages").glob("[a-z]*.py"))


@pytest.fixture
def reached(monkeypatch) -> list[object]:
    """Cuts the network off; what was tried to be reached."""
    tried: list[object] = []
    connect = socket.socket.connect

    def cut(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            tried.append(address)
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        connect(self, address)

    def unknown(host: object, *_: object, **__: object) -> None:
        tried.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket.socket, "connect", cut)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.delenv(jobs.JOB_SETTING, raising=False)
    for name in list(os.environ):
        if "proxy" in name.lower():
            monkeypatch.delenv(name)
    return tried


def test_commands_on_the_bundled_model_work_and_reach_for_nothing(reached, tmp_path, capsys):
    store = ["--store", str(tmp_path / "store")]
    assert main(["precompute", *store, "--no-shipped", "--tasks", "antonym", "--shots", "0", "--what", "accuracy",
                 "--n-examples", "2"]) == DONE
    for command in (["status", *store], ["models", *store], ["models", "bundled"], ["tasks"], ["tasks", "antonym"],
                    ["export", str(tmp_path / "all.zip"), *store], ["upgrade", *store]):
        assert main(command) == DONE
    assert reached == []
    capsys.readouterr()


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_drawn_and_reach_for_nothing(page, reached, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path / "live"))
    st.cache_resource.clear()
    framed(monkeypatch)
    assert calm(opened(page))
    assert reached == []
    st.cache_resource.clear()


def test_streamlit_asks_no_one_outside_for_its_address_when_it_starts(reached, capsys):
    assert config.get_option("server.address") == "127.0.0.1"  # as .streamlit/config.toml has it
    bootstrap._print_url(False)
    assert "127.0.0.1" in capsys.readouterr().out
    assert reached == []


def test_what_needs_the_network_says_that_it_is_not_there(reached, monkeypatch, tmp_path):
    monkeypatch.delenv(data.FOLDER_SETTING, raising=False)
    with pytest.raises(ModelError, match="the hub cannot be reached"):
        locate("someone/small-model-of-nobody")
    with pytest.raises(DataError, match="no network"):
        data.load_rows("piqa", "validation")
    assert reached
