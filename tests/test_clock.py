"""A clock that is set back: nothing is shorter than nothing, nothing ends, nothing changes places, nothing is lost.

Time that passes is measured on clocks that nobody sets (`monotonic`, `perf_counter`). The clock on the wall is asked
only for what a person reads, and the places that ask it are counted here.
"""

from __future__ import annotations

import ast
import os
import re
import time
from pathlib import Path

import pytest

from backend import places, rooms
from backend.__main__ import DONE, main
from backend.runs import jobs, journal, processes
from backend.runs.jobs import Report
from backend.runs.leases import Leases
from backend.store.live import Store
from pages.shared import school

RUN = ["precompute", "--what", "accuracy"]
WALL = {  # who asks the clock on the wall, how often, and what it does where that clock was set back
    "backend/bundled/train.py": 6,  # seconds in the lines of a training
    "backend/runs/jobs.py": 3,  # when a run began and last spoke: shown, never compared but by `took`, from 0 on
    "backend/store/opening.py": 3,  # what is stored beside a result; where the count of changes starts anew
    "pages/runs.py": 1,  # how long ago a run was asked to stop; in the future is as long ago as any
    "pages/shared/takeaway.py": 1,  # the day on a report
}


@pytest.fixture
def back(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock on the wall that is an hour earlier whenever it is asked; what it said."""
    said: list[float] = [4e9]

    def now() -> float:
        said.append(said[-1] - 3600)
        return said[-1]

    monkeypatch.setattr(time, "time", now)
    monkeypatch.setattr(time, "time_ns", lambda: int(now() * 1e9))
    monkeypatch.setattr(time, "strftime", lambda how, when=None, real=time.strftime: real(
        how, when or time.localtime(now())))
    monkeypatch.delenv(jobs.JOB_SETTING, raising=False)
    monkeypatch.setattr(Report, "EVERY", 0.0)
    return said


def asks(tree: ast.AST) -> int:
    """How often a module names the clock on the wall."""
    names = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
    return sum(isinstance(node, ast.Attribute) and ast.unparse(node) in names for node in ast.walk(tree)) + sum(
        isinstance(node, ast.ImportFrom) and node.module == "time" and any(a.name in ("time", "time_ns") for a in
                                                                           node.names) for node in ast.walk(tree))


def test_time_that_passes_is_measured_on_no_clock_that_can_be_set():
    root = places.EXPLORER
    files = [root / "app.py", root / "serve.py", *(root / "backend").rglob("*.py"), *(root / "pages").rglob("*.py")]
    found = {str(file.relative_to(root)): asks(ast.parse(file.read_text())) for file in files}
    assert {name: n for name, n in found.items() if n} == WALL


def test_a_run_of_the_command_line_counts_no_time_below_zero(back, tmp_path, capsys):
    store = str(tmp_path / "store")
    assert main([*RUN, "--store", store, "--no-shipped", "--tasks", "antonym", "--shots", "0", "--n-examples",
                 "4"]) == DONE
    said = capsys.readouterr()
    assert len(back) > 10
    assert not re.search(r"-\d+(:\d\d|\.\d+| s| min)", said.out + said.err)
    with Store(store) as kept:
        took = [kept.seconds(unit) for unit in kept.units()]
        assert took
        assert all(seconds is not None and 0 <= seconds < 600 for seconds in took)
        assert not kept.problems()
    assert main(["status", "--store", store]) == DONE
    assert not re.search(r"-\d+(:\d\d|\.\d+| s| min)", capsys.readouterr().out)


def test_a_run_that_began_later_by_the_clock_than_it_ends_is_at_work_and_then_done(back, tmp_path):
    report = Report(tmp_path, RUN)
    report.update(at_once=True, state="running", done=1, seconds_left=3.0)
    assert jobs.progress(report.job).state == "running"
    assert jobs.progress(report.job).updated < report.job.started
    assert jobs.is_running(report.job)
    assert not report.stop_requested()
    jobs.cancel(report.job)
    assert report.stop_requested()
    report.update(at_once=True, state="done", message="1 result computed.")
    assert jobs.progress(report.job).state == "done"


def test_the_newest_run_stays_the_newest(back, tmp_path):
    begun = [Report(tmp_path, RUN).job.id for _ in range(4)]
    assert begun == sorted(begun)
    assert [job.id for job in jobs.jobs(tmp_path)] == begun[::-1]
    stranger = tmp_path / "jobs" / "99991231-235959-abcd"  # not of this user, and so never counted from
    stranger.mkdir()
    (stranger / "job.json").write_text('{"args": ["precompute"], "pid": 1, "born": "", "started": 1, "seal": ""}')
    assert begun[-1] < Report(tmp_path, RUN).job.id < stranger.name


def test_no_process_is_another_one_and_no_claim_is_stolen_or_held_for_ever(back, tmp_path):
    born = processes.birth(os.getpid())
    with Leases(tmp_path) as mine:
        assert mine.claim("a")
        with Leases(tmp_path) as other:
            other._me = ("far away", 4, "then")
            assert [other.claim("a") for _ in range(5)] == [False] * 5
        mine.release("a")
        with Leases(tmp_path) as other:
            other._me = ("far away", 4, "then")
            assert other.claim("a")
    assert processes.birth(os.getpid()) == born


def test_the_journal_is_turned_over_by_its_size_alone(back, tmp_path):
    journal.keep_in(tmp_path)
    try:
        for _ in range(20):
            journal.note("measured", None, ["one"], 0.5)
        assert [path.name for path in tmp_path.iterdir()] == [journal.FILE]
        lines = (tmp_path / journal.FILE).read_text().splitlines()
        assert len(lines) == 20
        assert lines == sorted(lines, reverse=True)  # in the order in which it was so, as the clock told it
    finally:
        journal.keep_in(tmp_path / "no such folder")


def test_a_run_s_log_is_turned_over_by_its_size_alone(back, tmp_path):
    report = Report(tmp_path, RUN)
    (report.job.folder / "log.txt").write_text("one line\n")
    for i in range(5):
        report.update(at_once=True, done=i)
    assert {path.name for path in report.job.folder.iterdir()} == {"job.json", "log.txt", "progress.json"}


def test_a_class_has_the_time_that_it_was_promised(back):
    room = school.rooms.__wrapped__()
    code, token = room.open()
    first = room.look(code, token).seconds_left
    for _ in range(3):
        assert rooms.LIFE - 60 < room.look(code, token).seconds_left <= first


def test_what_is_stored_is_there_whatever_the_time(back, tmp_path: Path):
    assert main([*RUN, "--store", str(tmp_path), "--no-shipped", "--tasks", "antonym", "--shots", "0", "--n-examples",
                 "4"]) == DONE
    for _ in range(2):
        with Store(tmp_path) as kept:
            units = kept.units()
            assert all(kept.get(unit) is not None for unit in units)
            assert len(units) == 2
