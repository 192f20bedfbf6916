"""A lecture: the address on the wall, and what only the lecturer can do."""

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from backend import demo, starting
from backend.kinds import Evaluation
from backend.runs import jobs
from backend.store.live import Store
from pages.shared import lecture
from tests.pages import made_up
from tests.pages.conftest import INFO, Explorer, are_here, calm, setup_of, words

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A visitor of a lecture who does not sit at the machine."""
    monkeypatch.setenv(lecture.SETTING, "192.168.1.20:8501")
    monkeypatch.setattr(lecture, "at_the_machine", lambda: False)


@pytest.mark.parametrize(("asked", "found"), [
    ("192.168.1.20:8501", "http://192.168.1.20:8501"), ("https://heads.example.org/", "https://heads.example.org")])
def test_the_address_is_what_was_asked_for(monkeypatch: pytest.MonkeyPatch, asked: str, found: str):
    monkeypatch.setenv(lecture.SETTING, asked)
    assert lecture.address() == found


def test_or_else_the_machines_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(lecture.SETTING, "auto")
    host, port = lecture.short(lecture.address()).split(":")
    assert socket.inet_aton(host)
    assert port == "8501"


def test_the_first_page_of_a_lecture_invites(explorer: Explorer, monkeypatch: pytest.MonkeyPatch):
    assert "Come in" not in words(explorer("tour"))
    monkeypatch.setenv(lecture.SETTING, "192.168.1.20:8501")
    monkeypatch.setattr(lecture, "at_the_machine", lambda: True)
    app = explorer("tour")
    assert calm(app)
    assert "Come in: 192.168.1.20:8501" in words(app)
    (picture,) = [one for one in app.main if one.type == "image"]
    assert picture.proto.imgs[0].alt == "QR code of http://192.168.1.20:8501"


def test_visitors_start_no_runs_and_open_no_folders(explorer: Explorer, monkeypatch: pytest.MonkeyPatch, at_home: None):
    assert "In a lecture, runs are started at the machine itself." in words(explorer("runs"))
    are_here(monkeypatch, INFO, made_up.model_info(2, 2, name="./secret"))
    app = explorer("heads", model="./secret")
    assert calm(app)
    assert any("In a lecture './secret' can be chosen at the machine itself only" in w.value for w in app.warning)
    assert app.sidebar.selectbox("model").value == "bundled"
    assert app.sidebar.number_input("n").max == lecture.MOST_QUESTIONS


@pytest.mark.parametrize("section", ["", "Storage", "Models", "Own tasks"])
def test_visitors_are_shown_nothing_to_stop_resume_delete_replace_or_send(
        explorer: Explorer, store: Store, at_home: None, section: str):
    jobs._register(jobs._new_folder(store.folder), ["precompute"], os.getpid())
    made_up.fill(store, [Evaluation(setup_of("antonym"))], INFO)
    app = explorer("runs", section=section)
    assert calm(app)
    forbidden = ("Start", "Stop", "Resume", "End", "Delete", "Replace", "Clear the list", "Take")
    assert [b.label for b in app.main.button if b.label.startswith(forbidden)] == []
    assert not app.main.get("file_uploader")
    assert {b.label for b in app.main.download_button} <= {"CSV", "SVG", "PNG", "Notebook", "Report"}  # charts
    assert str(store.folder) not in words(app)


@pytest.mark.parametrize(("setting", "demo_on", "address", "may"), [
    (None, "", "192.168.1.5", True), ("auto", "", None, True), ("auto", "", "192.168.1.5", False),
    ("auto", "", "::ffff:10.0.0.1", False), ("auto", "1", None, False), (None, "1", None, False)])
def test_only_who_sits_at_the_machine_may_do_everything(monkeypatch: pytest.MonkeyPatch, setting: str | None,
                                                        demo_on: str, address: str | None, may: bool):
    monkeypatch.delenv(lecture.SETTING, raising=False)
    if setting is not None:
        monkeypatch.setenv(lecture.SETTING, setting)
    monkeypatch.setenv(demo.SETTING, demo_on)
    monkeypatch.setattr(lecture.st, "context", SimpleNamespace(ip_address=address))  # None: a loopback address
    assert lecture.at_the_machine() is may


def test_visitors_are_told_how_many_questions_they_may_ask(explorer: Explorer, at_home: None):
    app = explorer("heads", n="500")
    assert app.sidebar.number_input("n").value == 100
    assert [w.value for w in app.warning] == [
        "The address asks for n '500'. Known: whole numbers from 1 to 200 in a lecture. Showing 100 instead."]
    assert not explorer("heads", n="200").warning


def test_make_app_listens_to_this_machine_alone_and_make_serve_lets_a_class_in():
    assert 'address = "127.0.0.1"' in (ROOT / ".streamlit/config.toml").read_text()
    assert "--server.address" not in starting.line(8501)
    line = starting.line(8501, "auto", "0.0.0.0")
    assert line[line.index("--server.address") + 1] == "0.0.0.0"
    assert line[line.index("--server.enableWebsocketCompression") + 1] == "true"  # 80 kB a click, not 226
    rules = (ROOT / "Makefile").read_text()
    assert "ADDRESS ?= 0.0.0.0" in rules
    assert rules.count("python -m backend app") == 2  # both behind the door
    assert "--lecture $(SHOWN) --address $(ADDRESS)" in rules
