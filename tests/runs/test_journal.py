"""The journal: one line per event, turned over, and no prompt in it."""

from __future__ import annotations

import errno
import os
import re

import pytest

from backend import demo
from backend.errors import ModelError
from backend.kinds import Evaluation, Model
from backend.runs import journal
from tests.pages.conftest import MODEL, setup_of

LINE = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (\w+) seconds=(\d+\.\d\d) sessions=([0-9a-f,]+|nobody)'
                  r'( error=\w+)? what="([^"]*)"')


@pytest.fixture
def lines(tmp_path):
    journal.keep_in(tmp_path)
    yield lambda: (tmp_path / journal.FILE).read_text().splitlines()
    journal.keep_in(tmp_path / "no such folder")


def test_an_event_is_one_line_with_time_session_unit_and_duration(lines):
    unit = Evaluation(setup_of("antonym"))
    journal.note("measured", unit, ["one", "other", "one"], 1.417)
    journal.note("failed", None, [], 0.0, ModelError("The prompt 'my secret' is too long for /home/me/model."))
    first, second = (LINE.fullmatch(line) for line in lines())
    assert first.groups() == ("measured", "1.42", first[3], None, str(unit))
    assert len(first[3].split(",")) == 2
    assert "one" not in first[3]
    assert second.groups() == ("failed", "0.00", "nobody", " error=ModelError", "a look")


def test_where_there_is_no_store_yet_there_is_a_journal(tmp_path, lines):
    journal.keep_in(tmp_path / "not" / "yet")
    journal.note("measured", None, ["one"], 0.0)
    assert LINE.fullmatch((tmp_path / "not" / "yet" / journal.FILE).read_text().strip())


def test_what_a_model_is_called_stays_on_its_line(lines):
    journal.note("measured", Model(MODEL.with_(name='x"\n2026-01-01T00:00:00Z forged\u202e')), ["one"], 0.0)
    (line,) = lines()
    assert LINE.fullmatch(line)
    assert "\u202e" not in line


@pytest.mark.parametrize("on", ["1", ""])
def test_a_demo_s_log_has_no_words_of_a_prompt(monkeypatch, caplog, on):
    monkeypatch.setenv(demo.SETTING, on)

    words = "my secret"

    def look() -> None:
        raise RuntimeError(f"{words!r} is no token")

    try:
        look()
    except RuntimeError as error:
        journal.trouble("page Playground", error)
    assert "page Playground" in caplog.text
    assert "RuntimeError" in caplog.text
    assert "in look" in caplog.text  # where it came from
    assert ("my secret is" in caplog.text.replace("'", "")) == (not on)


def test_it_is_turned_over(tmp_path, monkeypatch, lines):
    monkeypatch.setattr(journal, "SIZE", 300)
    monkeypatch.setattr(journal, "KEPT", 2)
    journal.keep_in(tmp_path)
    for _ in range(20):
        journal.note("measured", None, ["one"], 0.0)
    assert {path.name for path in tmp_path.iterdir()} == {journal.FILE, f"{journal.FILE}.1", f"{journal.FILE}.2"}
    assert all(path.stat().st_size <= 300 for path in tmp_path.iterdir())


def test_a_full_disk_or_no_folder_ends_nothing(tmp_path, monkeypatch, lines, capsys):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(journal._Quiet, "shouldRollover", full)
    journal.note("measured", None, ["one"], 0.0)
    journal.keep_in("/dev/null/store")
    journal.note("measured", None, ["one"], 0.0)
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / journal.FILE).symlink_to(tmp_path / "elsewhere")
    journal.keep_in(tmp_path / "store")
    journal.note("measured", None, ["one"], 0.0)
    assert (tmp_path / "elsewhere").read_text() == ""
    assert capsys.readouterr().err == ""
