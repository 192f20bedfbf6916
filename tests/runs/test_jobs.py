"""Runs: seen from outside while they work, stopped between batches, recognised when they died."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.errors import BadInput, StoreError
from backend.runs import jobs
from backend.runs.jobs import Job, Report
from tests.models.small import small_network, small_tokenizer


@pytest.fixture(autouse=True)
def outside_of_a_run(monkeypatch):
    monkeypatch.delenv(jobs.JOB_SETTING, raising=False)
    monkeypatch.setattr(Report, "EVERY", 0.0)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    small_network("opt").save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


def wait_for(condition, what: str, seconds: float = 120):
    """Ask again and again until the condition holds; its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return value


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def rewrite(job: Job, **changes) -> Job:
    """The job with something else on record."""
    path = job.folder / "job.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    (found,) = [j for j in jobs.jobs(job.folder.parents[1]) if j.id == job.id]
    return found


def test_the_command_is_shown_as_one_would_type_it():
    assert jobs.command_line(["precompute", "--model", "my model"]) == "python -m backend precompute --model 'my model'"


def test_a_run_in_a_terminal_is_seen_from_outside(tmp_path):
    report = Report(tmp_path, ["precompute", "--what", "all"])
    (job,) = jobs.jobs(tmp_path)
    assert job.args == ("precompute", "--what", "all")
    assert job.pid == os.getpid()
    assert jobs.is_running(job)
    assert jobs.progress(job).state == "starting"
    report.update(state="running", unit="evaluation", done=1, total=4, units_done=2, units_total=9, seconds_left=3.5)
    now = jobs.progress(job)
    assert (now.state, now.unit, now.done, now.total, now.units_done, now.units_total, now.seconds_left) == (
        "running", "evaluation", 1, 4, 2, 9, 3.5)
    assert not now.ended


def test_a_run_hears_that_it_should_stop(tmp_path):
    report = Report(tmp_path, [])
    assert not report.stop_requested()
    jobs.cancel(jobs.jobs(tmp_path)[0])
    assert report.stop_requested()


def test_looking_and_writing_happen_at_most_so_often(tmp_path, monkeypatch):
    monkeypatch.setattr(Report, "EVERY", 3600.0)
    report = Report(tmp_path, [])
    report.update(at_once=True, done=1)
    assert not report.stop_requested()
    report.update(done=2)
    jobs.cancel(report.job)
    assert not report.stop_requested()
    assert jobs.progress(report.job).done == 1
    report.update(at_once=True)
    assert jobs.progress(report.job).done == 2


def test_a_dead_process_is_recognised_by_its_number(tmp_path):
    report = Report(tmp_path, [])
    report.update(at_once=True, state="running", units_done=3)
    (report.folder / "log.txt").write_text("first\nKilled\n")
    now = jobs.progress(rewrite(report.job, pid=ended_process()))
    assert (now.state, now.units_done) == ("died", 3)
    assert "Killed" in now.message
    assert "start it again" in now.message


def test_another_process_with_the_same_number_is_not_the_run(tmp_path):
    report = Report(tmp_path, [])
    assert jobs.progress(rewrite(report.job, born=report.job.born - 1000)).state == "died"


def test_a_run_that_said_its_last_word_did_not_die(tmp_path):
    report = Report(tmp_path, [])
    report.update(at_once=True, state="done", message="9 results computed.")
    now = jobs.progress(rewrite(report.job, pid=ended_process()))
    assert (now.state, now.message) == ("done", "9 results computed.")


def test_a_run_at_work_is_not_forgotten_and_an_ended_one_is(tmp_path):
    report = Report(tmp_path, [])
    with pytest.raises(BadInput, match="still at work"):
        jobs.forget(report.job)
    jobs.forget(rewrite(report.job, pid=ended_process()))
    assert jobs.jobs(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"args": 3}'])
def test_a_damaged_record_of_a_run_hides_only_that_run(tmp_path, content):
    report, other = Report(tmp_path, ["a"]), Report(tmp_path, ["b"])
    (report.folder / "job.json").write_bytes(content)
    assert [job.id for job in jobs.jobs(tmp_path)] == [other.job.id]


def test_damaged_progress_reads_as_starting(tmp_path):
    report = Report(tmp_path, [])
    (report.folder / "progress.json").write_bytes(b'{"state": 3, "nonsense"')
    assert jobs.progress(report.job).state == "starting"


def test_the_log_s_tail_is_its_last_lines(tmp_path):
    report = Report(tmp_path, [])
    assert jobs.log_tail(report.job) == ""
    (report.folder / "log.txt").write_text("".join(f"line {i}\n" for i in range(1000)))
    assert jobs.log_tail(report.job, 2) == "line 998\nline 999"


def test_a_store_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="HEADROOM_CACHE"):
        jobs.start(["status"], tmp_path / "file")


def test_a_started_run_works_on_its_own_stops_when_asked_and_goes_on_when_resumed(tmp_path, model_folder):
    job = jobs.start(["precompute", "--model", str(model_folder), "--tasks", "antonym", "--shots", "0", "--what",
                      "accuracy,importance,ffns,pruning,heads", "--n-examples", "20", "--n-train", "8"], tmp_path)
    wait_for(lambda: jobs.progress(job).units_done >= 2 or jobs.progress(job).ended, "two results")
    assert jobs.is_running(job), jobs.log_tail(job)
    assert [j.id for j in jobs.jobs(tmp_path)] == [job.id]
    jobs.cancel(job)
    now = wait_for(lambda: (p := jobs.progress(job)).ended and not jobs.is_running(job) and p, "the run to stop")
    assert now.state == "cancelled"
    assert 2 <= now.units_done < now.units_total
    again = jobs.resume(job)
    later = wait_for(lambda: (p := jobs.progress(again)).ended and not jobs.is_running(again) and p, "the end")
    assert (later.state, later.units_done) == ("done", later.units_total), jobs.log_tail(again)
    finished = [line for line in jobs.log_tail(again, 200).splitlines() if line.startswith("[")]
    assert len(finished) == now.units_total - now.units_done  # nothing twice
    assert [j.id for j in jobs.jobs(tmp_path)] == [again.id, job.id]
    third = jobs.resume(job)
    last = wait_for(lambda: (p := jobs.progress(third)).ended and p, "the end")
    assert (last.state, last.message) == ("done", "Nothing to do: everything is stored.")


def test_a_run_that_cannot_begin_says_why(tmp_path):
    job = jobs.start(["precompute", "--model", "/nowhere/at/all"], tmp_path)
    now = wait_for(lambda: (p := jobs.progress(job)).ended and p, "the run to fail")
    assert now.state == "failed"
    assert "No folder '/nowhere/at/all'" in now.message


def test_a_run_killed_outright_is_told_to_have_died(tmp_path, model_folder):
    job = jobs.start(["precompute", "--model", str(model_folder), "--tasks", "mini", "--n-examples", "50"], tmp_path)
    wait_for(lambda: jobs.progress(job).state == "running", "the run to begin")
    jobs.kill(job)
    wait_for(lambda: not jobs.is_running(job), "the process to go")
    assert jobs.progress(job).state == "died"
