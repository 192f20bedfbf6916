"""Runs: seen from outside while they work, stopped between batches, recognised when they died."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.errors import BadInput, StoreError
from backend.runs import jobs, processes, seal
from backend.runs.jobs import Job, Report
from tests.models.small import small_network, small_tokenizer

RUN = ["precompute", "--what", "accuracy"]


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


def sealed(folder: Path, record: dict) -> dict:
    """A record with the seal that this user's Headroom would give it."""
    parts = [record[name] for name in ("args", "pid", "born", "started")]
    return record | {"seal": seal.of(["run", folder.name, *parts])}


def rewrite(job: Job, **changes) -> Job:
    """The job with something else on record."""
    path = job.folder / "job.json"
    path.write_text(json.dumps(sealed(job.folder, json.loads(path.read_text()) | changes)))
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
    report = Report(tmp_path, RUN)
    assert not report.stop_requested()
    jobs.cancel(jobs.jobs(tmp_path)[0])
    assert report.stop_requested()


def test_looking_and_writing_happen_at_most_so_often(tmp_path, monkeypatch):
    monkeypatch.setattr(Report, "EVERY", 3600.0)
    report = Report(tmp_path, RUN)
    report.update(at_once=True, done=1)
    assert not report.stop_requested()
    report.update(done=2)
    jobs.cancel(report.job)
    assert not report.stop_requested()
    assert jobs.progress(report.job).done == 1
    report.update(at_once=True)
    assert jobs.progress(report.job).done == 2


def test_a_dead_process_is_recognised_by_its_number(tmp_path):
    report = Report(tmp_path, RUN)
    report.update(at_once=True, state="running", units_done=3)
    (report.job.folder / "log.txt").write_text("first\nKilled\n")
    now = jobs.progress(rewrite(report.job, pid=ended_process()))
    assert (now.state, now.units_done) == ("died", 3)
    assert "Killed" in now.message
    assert "start it again" in now.message


def test_another_process_with_the_same_number_is_not_the_run(tmp_path):
    report = Report(tmp_path, RUN)
    assert jobs.progress(rewrite(report.job, born=f"{processes.machine()} 1")).state == "died"


def test_a_run_that_said_its_last_word_did_not_die(tmp_path):
    report = Report(tmp_path, RUN)
    report.update(at_once=True, state="done", message="9 results computed.")
    now = jobs.progress(rewrite(report.job, pid=ended_process()))
    assert (now.state, now.message) == ("done", "9 results computed.")


def test_a_run_at_work_is_not_forgotten_and_an_ended_one_is(tmp_path):
    report = Report(tmp_path, RUN)
    with pytest.raises(BadInput, match="still at work"):
        jobs.forget(report.job)
    jobs.forget(rewrite(report.job, pid=ended_process()))
    assert jobs.jobs(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"args": 3}'])
def test_a_damaged_record_of_a_run_hides_only_that_run(tmp_path, content):
    report, other = Report(tmp_path, RUN), Report(tmp_path, [*RUN, "--shots", "0"])
    (report.job.folder / "job.json").write_bytes(content)
    assert [job.id for job in jobs.jobs(tmp_path)] == [other.job.id]


def test_damaged_progress_reads_as_starting(tmp_path):
    report = Report(tmp_path, RUN)
    (report.job.folder / "progress.json").write_bytes(b'{"state": 3, "nonsense"')
    assert jobs.progress(report.job).state == "starting"


def test_the_log_s_tail_is_its_last_lines(tmp_path):
    report = Report(tmp_path, RUN)
    assert jobs.log_tail(report.job) == ""
    (report.job.folder / "log.txt").write_text("".join(f"line {i}\n" for i in range(1000)))
    assert jobs.log_tail(report.job, 2) == "line 998\nline 999"


def test_a_log_that_has_grown_long_is_turned_over_while_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "LOG_BYTES", 1000)
    report = Report(tmp_path, RUN)
    path = report.job.folder / "log.txt"
    with path.open("ab", buffering=0) as log:  # as a run's process has it open
        for i in range(300):
            log.write(b"line %d\n" % i)
            report.update(at_once=True, done=i)
            assert path.stat().st_size <= 1010
    assert jobs.log_tail(report.job, 1) == "line 299"
    kept = (report.job.folder / "log.1.txt").read_text() + path.read_text()
    assert kept.splitlines() == [f"line {i}" for i in range(300)][-len(kept.splitlines()):]
    assert len(kept) > 1000


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


# --- what somebody else has put among the runs ------------------------------------------------------


def planted(store: Path, name: str = "20260101-120000-abcd", seal: str | None = None, **record) -> Path:
    """A folder among the runs, as an archive may bring it along; by default with a seal that would hold, so that it is
    something else that keeps it out."""
    folder = store / "jobs" / name
    folder.mkdir(parents=True)
    whole = {"args": RUN, "pid": ended_process(), "born": "", "started": 1.0, **record}
    (folder / "job.json").write_text(json.dumps(whole | {"seal": seal} if seal is not None else sealed(folder, whole)))
    return folder


@pytest.mark.parametrize(("args", "why"), [
    (["export", "/tmp/elsewhere.zip"], "no `precompute` command"),
    (["upgrade"], "no `precompute` command"),
    (["precompute", "--no-such"], "nrecognized arguments: --no-such"),
    (["precompute", "-h"], "nrecognized arguments: -h"),
    (["precompute", "--n-ex", "3"], "nrecognized arguments: --n-ex 3"),
    (["precompute", "--store", "/tmp/elsewhere"], "another store"),
    (["precompute", "--shots", "many"], "not a list of whole numbers"),
    ([], "record is damaged"),
    (["precompute", 3], "record is damaged"),
])
def test_a_planted_command_is_named_with_the_reason_and_nothing_is_started(tmp_path, args, why, monkeypatch):
    planted(tmp_path, args=args)
    assert jobs.jobs(tmp_path) == []
    (stranger,) = jobs.strangers(tmp_path)
    assert stranger.name == "20260101-120000-abcd"
    assert why in stranger.why
    monkeypatch.setattr(jobs, "start", lambda *_: pytest.fail("it was started"))
    with pytest.raises(BadInput):
        jobs.resume(Job(tmp_path / "jobs" / "x", tuple(map(str, args)), 1, "", 1.0))


@pytest.mark.parametrize("seal", ["", "0" * 64, "\u0661" * 64])
def test_a_run_that_this_user_has_not_started_is_not_resumed_however_good_its_command_is(tmp_path, seal, monkeypatch):
    folder = planted(tmp_path, seal=seal)
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda *_, **__: pytest.fail("it was started"))
    assert jobs.jobs(tmp_path) == []
    assert [one.why for one in jobs.strangers(tmp_path)] == ["It was not started by this user's Headroom."]
    with pytest.raises(BadInput, match="record of this run has changed"):
        jobs.resume(Job(folder, tuple(RUN), 1, "", 1.0))


@pytest.mark.parametrize("change", [{"args": [*RUN, "--model", "/tmp/other"]}, {"pid": 2}, {"started": 2.0},
                                    {"seal": None}])
def test_a_seal_is_of_one_run_alone(tmp_path, change):
    path = planted(tmp_path) / "job.json"
    (job,) = jobs.jobs(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert jobs.jobs(tmp_path) == []
    with pytest.raises(BadInput, match="record of this run has changed"):
        jobs.resume(job)


def test_a_seal_does_not_go_with_a_copied_record_or_another_user_s_key(tmp_path, monkeypatch):
    path = planted(tmp_path) / "job.json"
    copied = tmp_path / "jobs" / "20260101-120000-ffff"
    copied.mkdir()
    (copied / "job.json").write_bytes(path.read_bytes())
    assert [job.id for job in jobs.jobs(tmp_path)] == ["20260101-120000-abcd"]
    monkeypatch.setenv(seal.SETTING, str(tmp_path / "other" / "key"))
    assert jobs.jobs(tmp_path) == []
    mine = planted(tmp_path, "20260101-120000-aaaa")
    assert [job.id for job in jobs.jobs(tmp_path)] == [mine.name]
    key = tmp_path / "other" / "key"
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, seal.BYTES)
    assert [path.name for path in key.parent.iterdir()] == ["key"]


@pytest.mark.parametrize("spoil", [lambda key: key.write_bytes(b"short"), lambda key: key.chmod(0o644),
                                   lambda key: (key.unlink(), key.mkdir()), lambda key: (
                                       key.rename(key.with_name("there")), key.symlink_to("there"))])
def test_a_key_that_others_may_know_is_not_used(tmp_path, monkeypatch, spoil):
    key = tmp_path / "key"
    monkeypatch.setenv(seal.SETTING, str(key))
    before = seal.of(["x"])
    spoil(key)
    seal._key.cache_clear()
    assert seal.of(["x"]) != before
    assert seal.holds(["x"], seal.of(["x"]))  # of this process, while it lasts
    seal._key.cache_clear()


def test_a_command_that_writes_elsewhere_is_not_started_again_from_here(tmp_path, monkeypatch):
    planted(tmp_path, args=[*RUN, "--ship", str(tmp_path / "elsewhere")])
    monkeypatch.setattr(jobs, "start", lambda *_: pytest.fail("it was started"))
    (job,) = jobs.jobs(tmp_path)
    assert "--ship" in jobs.why_not_resumed(job)
    with pytest.raises(BadInput, match="--ship"):
        jobs.resume(job)


def test_what_is_resumed_works_on_this_store_whatever_its_record_says(tmp_path, monkeypatch):
    started: list[list[str]] = []
    planted(tmp_path, args=[*RUN, "--store", "somewhere/else"])  # as one may type it, in whatever folder
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda line, **_: started.append(line) or pytest.fail("stop here"))
    with pytest.raises(pytest.fail.Exception):
        jobs.resume(jobs.jobs(tmp_path)[0])
    assert started[0][-2:] == ["--store", str(tmp_path)]


def test_a_process_that_a_planted_record_names_is_left_alone(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"],
                               stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        planted(tmp_path, pid=process.pid, born=processes.birth(process.pid))
        (job,) = jobs.jobs(tmp_path)
        assert jobs.is_running(job)
        with pytest.raises(BadInput, match=f"Process {process.pid} was not started by this Headroom"):
            jobs.kill(job)
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def test_a_process_of_another_user_is_left_alone(tmp_path, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", "import sys, time; print(flush=True); time.sleep(600)", "-m",
                                "backend", *RUN], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        here = (process.pid, processes.birth(process.pid), RUN)
        assert processes.is_mine(*here)
        assert not processes.is_mine(process.pid, processes.birth(process.pid), RUN[:-1])
        monkeypatch.setattr(processes.os, "getuid", lambda: 12345)
        assert not processes.is_mine(*here)
        assert jobs.jobs(tmp_path) == []
    finally:
        process.kill()
        process.communicate()


def test_a_birth_does_not_move_with_the_clock_and_is_told_without_proc_too(monkeypatch):
    mine = processes.birth(os.getpid())
    monkeypatch.setattr(time, "time", lambda: 1.0)
    monkeypatch.setattr(processes.psutil, "boot_time", lambda: 5.0)
    assert processes.birth(os.getpid()) == mine
    monkeypatch.setattr(processes, "PROC", Path("/no/such/folder"))
    assert processes.is_alive(os.getpid(), processes.birth(os.getpid()))
    assert processes.birth(ended_process()) is None
    assert processes.birth(2**40) is None


@pytest.mark.parametrize(("content", "why"), [
    (b"\xff\xfe", "no JSON"), (b"[" * 100_000, "no JSON"), (b'"\\ud800"', "no JSON"), (b"1" * 5000, "no JSON"),
    (b" " * (1 << 20), "KiB"), (b"null", "damaged"), (b'{"args": ["precompute"]}', "damaged"),
    (b'{"args": ["precompute"], "pid": true, "born": "", "started": 1}', "damaged"),
    (b'{"args": ["precompute"], "pid": -1, "born": "", "started": 1}', "damaged"),
    (b'{"args": ["precompute"], "pid": 1, "born": "", "started": 1e300}', "damaged"),
    (b'{"args": ["precompute"], "pid": 1, "born": "", "started": NaN}', "damaged"),
])
def test_a_record_that_is_none_is_said_to_be_none(tmp_path, content, why):
    (planted(tmp_path) / "job.json").write_bytes(content)
    assert jobs.jobs(tmp_path) == []
    assert why in jobs.strangers(tmp_path)[0].why


def test_links_pipes_and_odd_names_among_the_runs_are_named_and_never_followed(tmp_path):
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    there = planted(elsewhere)
    (store / "jobs").mkdir(parents=True)
    (store / "jobs" / there.name).symlink_to(there)
    planted(store, "20260101-120000-abce").joinpath("job.json").unlink()
    (store / "jobs" / "20260101-120000-abce" / "job.json").symlink_to(there / "job.json")
    piped = planted(store, "20260101-120000-abcf") / "job.json"
    piped.unlink()
    os.mkfifo(piped)  # whoever reads it waits for ever
    planted(store, "*![a](b.png)\n*")
    os.mkdir(os.fsencode(store / "jobs") + b"/\xff\xfe")
    assert jobs.jobs(store) == []
    assert len(jobs.strangers(store)) == 5
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "jobs").symlink_to(elsewhere / "jobs")
    assert (jobs.jobs(moved), len(jobs.strangers(moved))) == ([], 1)


def test_a_run_s_log_and_progress_are_not_read_through_a_link(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    folder = planted(tmp_path)
    (folder / "log.txt").symlink_to(secret)
    (folder / "progress.json").symlink_to(secret)
    (job,) = jobs.jobs(tmp_path)
    assert jobs.log_tail(job) == ""
    assert "secret" not in jobs.progress(job).message
    (folder / "log.txt").unlink()
    os.mkfifo(folder / "log.txt")
    assert jobs.log_tail(job) == ""


@pytest.mark.parametrize("changes", [
    {"state": 3}, {"state": "no such"}, {"done": "1"}, {"done": -1}, {"units_total": 10**30}, {"seconds_left": "soon"},
    {"seconds_left": float("inf")}, {"updated": float("nan")}, {"message": ["x"]}, {"unit": "x" * 10**5}, {"more": 1}])
def test_a_progress_with_anything_odd_in_it_reads_as_none(tmp_path, changes):
    report = Report(tmp_path, RUN)
    report.update(at_once=True, state="running", done=1, total=2)
    assert jobs.progress(report.job).state == "running"
    path = report.job.folder / "progress.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert jobs.progress(report.job) == jobs.Progress()


# --- no room ------------------------------------------------------------------------------------


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_on_a_full_disk_a_run_works_on_unheard(tmp_path, monkeypatch):
    report = Report(tmp_path, RUN)
    report.update(at_once=True, state="running", done=1)
    monkeypatch.setattr(jobs, "replace_file", full_disk)
    report.update(at_once=True, done=2)
    assert jobs.progress(report.job).done == 1
    assert not report.stop_requested()
    monkeypatch.setenv(jobs.JOB_SETTING, str(report.job.folder))
    jobs.last_word("failed", "No room.")
    unseen = Report(tmp_path, RUN)
    assert unseen.job is None
    unseen.update(at_once=True, done=3)
    assert not unseen.stop_requested()


def test_a_run_that_could_not_be_put_on_record_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "replace_file", full_disk)
    with pytest.raises(StoreError, match=r"cannot be put on record in .*No space left"):
        jobs.start(["precompute", "--model", "/nowhere"], tmp_path)


def test_a_run_that_cannot_be_asked_to_stop_says_so(tmp_path, monkeypatch):
    report = Report(tmp_path, RUN)
    monkeypatch.setattr(jobs.os, "open", full_disk)
    with pytest.raises(StoreError, match=r"cannot be asked to stop \(No space left"):
        jobs.cancel(report.job)


def test_a_run_outlives_whoever_started_it_and_knows_its_folder(tmp_path, monkeypatch):
    asked: dict = {}

    class Started:
        pid = os.getpid()

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(jobs.subprocess, "Popen", lambda line, **more: asked.update(more, line=line) or Started())
    job = jobs.start(RUN, tmp_path)
    assert asked["line"] == [sys.executable, "-m", "backend", *RUN, "--store", str(tmp_path)]
    assert asked["start_new_session"] is True  # what ends the explorer's terminal does not end the run
    assert asked["stdin"] == subprocess.DEVNULL
    assert asked["env"][jobs.JOB_SETTING] == str(job.folder)
    assert asked["env"]["PYTHONUNBUFFERED"] == "1"
    assert asked["env"]["PATH"] == os.environ["PATH"]
    assert asked["stdout"].name == asked["stderr"].name == str(job.folder / "log.txt")
    assert jobs.jobs(tmp_path) == [job]


def test_a_run_that_died_says_its_last_words_and_what_to_do(tmp_path):
    report = Report(tmp_path, RUN)
    report.update(at_once=True, state="running", seconds_left=3.0)
    (report.job.folder / "log.txt").write_text("Killed\n")
    now = jobs.progress(rewrite(report.job, pid=ended_process()))
    assert now.message == ("The process ended before its work did (its last words: Killed). What was finished is "
                           "stored: start it again to go on.")
    assert now.seconds_left is None


def test_a_process_of_any_name_has_its_birth(tmp_path, monkeypatch):
    here = processes.machine()
    monkeypatch.setattr(processes, "PROC", tmp_path)
    for name in ("self", "7"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stat").write_bytes(b"7 (\xff) odd) S " + b" ".join(b"%d" % i for i in range(4, 30)))
    assert processes.birth(7) == f"{here} 22"  # the 22nd field: when it began
    (tmp_path / "7" / "stat").write_bytes(b"7 (\xff) Z " + b" ".join(b"%d" % i for i in range(4, 30)))
    assert processes.birth(7) is None
