"""The command line: it does what it says, says what it does, and survives being killed."""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import os
import random
import re
import shlex
import signal
import sqlite3
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import pytest

from backend import __main__ as cli
from backend.__main__ import BAD_INPUT, DONE, EXAMPLES, FAILED, INTERRUPTED, main
from backend.errors import ModelError, StoreError
from backend.kinds import Answers, Evaluation, HeadImportance, HeadScores, Means, Model, compute
from backend.models import precision
from backend.models.identity import identify
from backend.runs import computing, jobs
from backend.store import bundles
from backend.store.live import Store
from backend.tasks import own
from backend.tasks.registry import get_task
from tests.models.small import small_network, small_tokenizer

ROOT = Path(__file__).parents[1]
KILLS = 10
UNIT_LINE = re.compile(r"^\[(\d+)/(\d+)\] (.+): \d+\.\d+ s$", re.MULTILINE)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    small_network("opt").save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def outside_of_a_run(monkeypatch):
    monkeypatch.delenv(jobs.JOB_SETTING, raising=False)
    monkeypatch.delenv("HEADROOM_DEBUG", raising=False)


@pytest.fixture
def small(model_folder, tmp_path) -> list[str]:
    """The arguments of a run of seconds."""
    return ["--model", str(model_folder), "--store", str(tmp_path / "store"), "--no-shipped"]


PLAN = ["--tasks", "antonym", "--shots", "0", "--n-examples", "4", "--n-train", "4", "--n-random", "1",
        "--n-sequences", "2"]


def precompute(small: list[str], *more: str) -> int:
    return main(["precompute", *small, *PLAN, *more])


def stored(small: list[str]) -> Store:
    return Store(small[3])


# --- precompute ---------------------------------------------------------------------------------


def test_a_plan_comes_first_then_a_line_per_result_and_a_second_run_has_nothing_to_do(small, capsys):
    assert precompute(small, "--what", "accuracy,importance") == DONE
    out = capsys.readouterr().out
    assert re.search(r"together +3 +0 +3 ", out)
    assert re.search(r"Takes about \d+ s on this machine", out)
    assert [(n, of) for n, of, _ in UNIT_LINE.findall(out)] == [("1", "3"), ("2", "3"), ("3", "3")]
    with stored(small) as store:
        assert [u.KIND for u in store.units()] == ["evaluation", "head_importance", "model"]
        assert all(store.seconds(u) is not None for u in store.units())
    assert precompute(small, "--what", "accuracy,importance") == DONE
    assert "Nothing to do" in capsys.readouterr().out


def test_a_command_for_one_state_of_a_model_makes_nothing_of_another(small, capsys):
    digest = identify(small[1]).digest
    assert precompute(small, "--what", "accuracy", "--digest", digest, "--dry-run") == DONE
    capsys.readouterr()
    assert precompute(small, "--what", "accuracy", "--digest", "0123456789ab") != DONE
    said = capsys.readouterr()
    assert f"its digest is {digest}, not 0123456789ab" in said.err
    assert "together" not in said.out
    with stored(small) as store:
        assert not list(store.units())


def test_a_command_for_one_state_of_rows_makes_nothing_of_others(small, capsys):
    digest = get_task("antonym").fingerprint
    assert precompute(small, "--what", "accuracy", "--rows", f"antonym={digest}", "--dry-run") == DONE
    capsys.readouterr()
    assert precompute(small, "--what", "accuracy", "--rows", f"antonym={digest},past=0123456789ab") == BAD_INPUT
    said = capsys.readouterr()
    assert "The rows of 'past' here are others than those asked for" in said.err
    assert "not 0123456789ab" in said.err
    assert "together" not in said.out
    with pytest.raises(SystemExit):
        precompute(small, "--rows", "antonym")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_fast_is_what_was_measured_and_is_said_before_anything_is_named_by_it(small, capsys, monkeypatch, dtype):
    monkeypatch.setattr(precision, "_seconds", lambda x, weight, n: 1.0 if str(x.dtype).endswith(dtype) else 3.0)
    assert precompute(small, "--what", "accuracy", "--dtype", "fast", "--dry-run") == DONE
    out = capsys.readouterr().out
    assert out.startswith(f"fast means {dtype} here: in bfloat16 a product")
    assert f", {dtype} (digest" in out.splitlines()[1]
    assert precompute(small, "--what", "accuracy", "--dtype", "fast") == DONE
    with stored(small) as store:
        assert {u.model.dtype for u in store.units("evaluation")} == {dtype}
    assert main(["verify", *small, "--dtype", "fast"]) == DONE
    out = capsys.readouterr().out
    assert "2 agree" in out
    assert ("Beside float32" in out) == (dtype == "bfloat16")


def test_the_predictions_that_16_bits_change_are_told_at_the_end(small, capsys):
    accuracy = ["--what", "accuracy", "--dtype"]
    assert precompute(small, *accuracy, "bfloat16", "--dry-run") == DONE
    assert "Beside float32" not in capsys.readouterr().out
    assert precompute(small, *accuracy, "bfloat16") == DONE
    assert capsys.readouterr().out.endswith("cannot be told yet. Compute the accuracy of the same questions in "
                                            "float32, too.\n")
    assert precompute(small, *accuracy, "float32") == DONE
    assert "Beside float32" not in capsys.readouterr().out
    assert precompute(small, *accuracy, "bfloat16") == DONE  # nothing to do
    out = capsys.readouterr().out
    with stored(small) as store:
        here, there = (store.get(unit) for unit in store.units("evaluation"))
    n = sum(a != b for a, b in zip(here.choices(), there.choices(), strict=True))
    nats = max(abs(a - b) for one, other in zip(here.loglikelihoods, there.loglikelihoods, strict=True)
               for a, b in zip(one, other, strict=True))
    assert out.endswith(f"Beside float32: {n} of 4 predictions differ{'s' * (n == 1)} in 1 setup measured in both; a "
                        f"log-likelihood differs by {nats:.2g} nats at most.\n")


def test_fast_is_for_machines_at_hand(small, capsys):
    with pytest.raises(SystemExit):
        main(["plan", "--dtype", "fast"])
    capsys.readouterr()
    assert precompute(small, "--dtype", "fast", "--cluster", "127.0.0.1:6379") == BAD_INPUT
    assert "a cluster's workers may be on others: name the precision" in capsys.readouterr().err


def test_a_larger_request_computes_only_what_is_missing(small, capsys):
    precompute(small, "--what", "accuracy")
    capsys.readouterr()
    assert precompute(small, "--what", "accuracy,pruning") == DONE
    lines = [unit for _, _, unit in UNIT_LINE.findall(capsys.readouterr().out)]
    assert not any(line.startswith(("evaluation", "model")) for line in lines)
    assert sum(line.startswith("pruning") for line in lines) == 6  # heads and FFNs: own, reversed, random


def test_any_components_can_be_switched_off_and_means_put_in_their_place(small, capsys):
    masks = ["--off", "l0h1, 1.2, F2", "--off", "mean:L0H1"]
    assert precompute(small, "--what", "accuracy", *masks) == DONE
    with stored(small) as store:
        evaluations = [u for u in store.units() if isinstance(u, Evaluation)]
        assert sorted(str(u.ablation) for u in evaluations) == ["", "L0H1,L1H2,F2", "mean:L0H1"]
        (means,) = [u for u in store.units() if isinstance(u, Means)]
        assert means.setup.n_examples == 4
        assert len({store.get(u).loglikelihoods for u in evaluations}) == 3
    capsys.readouterr()
    assert precompute(small, "--what", "induction", *masks, "--dry-run") == DONE
    assert re.search(r"evaluation +2 +2 +0 ", capsys.readouterr().out)


def test_what_was_too_long_for_the_model_is_said_and_what_never_fits_is_refused(small, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_TASKS", str(tmp_path / "tasks"))
    for name, lengths in (("some", (1, 90, 1, 300)), ("all", (300, 400))):
        rows = [{"query": f"{i}" + " cat" * n, "options": ["yes", "no"], "gold": 0} for i, n in enumerate(lengths)]
        (tmp_path / name).mkdir()
        (tmp_path / name / "validation.jsonl").write_text("\n".join(map(json.dumps, rows)))
        demo = {"query": "one" + " cat" * 180, "options": ["yes", "no"], "gold": 1}
        (tmp_path / name / "train.jsonl").write_text(json.dumps(demo))
    asked = ["--tasks", f"own:{tmp_path}/some/,own:{tmp_path}/all/", "--shots", "1", "--what", "accuracy,ffns"]
    assert precompute(small, *asked) == FAILED
    told = capsys.readouterr()
    said = "    Too long for the model's context: 1 prompts lost demonstrations and 1 prompts were skipped.\n"
    assert told.out.count(said) == 2
    assert "None of the 2 queries of task 'own:all' fits the 256 positions that tiny reads" in told.err
    with stored(small) as store:
        assert {u.task.name for u in store.units() if u.task} == {"own:some"}


def test_a_dry_run_loads_no_model_and_stores_nothing(small, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_load", lambda args: pytest.fail("loaded"))
    assert precompute(small, "--what", "all", "--dry-run") == DONE
    assert "measured once the model is loaded" in capsys.readouterr().out
    with stored(small) as store:
        assert store.units() == []
    assert jobs.jobs(small[3]) == []


def test_a_failed_unit_is_named_what_builds_on_it_is_left_out_and_the_rest_goes_on(small, capsys, monkeypatch):
    def broken(*_: object) -> None:
        raise ModelError("The logits are not numbers in float16: use bfloat16.")

    monkeypatch.setattr(HeadImportance, "measure", broken)
    assert precompute(small, "--what", "pruning,accuracy") == FAILED
    told = capsys.readouterr()
    assert "use bfloat16" in told.err
    assert "It builds on head_importance" in told.err
    assert "3 of 11 results could not be computed" in told.out
    with stored(small) as store:
        assert Counter(u.KIND for u in store.units()) == {"model": 1, "evaluation": 1, "writes": 1, "ffn_oracle": 1,
                                                              "pruning": 4}
    assert jobs.progress(jobs.jobs(small[3])[0]).state == "failed"
    monkeypatch.undo()
    assert precompute(small, "--what", "pruning,accuracy") == DONE


def test_a_run_that_is_asked_to_stop_stops_within_a_batch(small, capsys, monkeypatch):
    seen = []

    def stopping(unit, store, model, progress=None):
        seen.append(unit)
        if len(seen) == 2:
            jobs.cancel(jobs.jobs(store.folder)[0])
        return compute(unit, store, model, progress)

    monkeypatch.setattr(jobs.Report, "EVERY", 0.0)
    monkeypatch.setattr(computing, "compute", stopping)
    assert precompute(small, "--what", "accuracy,importance,ffns") == INTERRUPTED
    assert "the same command goes on" in capsys.readouterr().err
    with stored(small) as store:
        assert [u.KIND for u in store.units()] == ["model"]
    assert jobs.progress(jobs.jobs(small[3])[0]).state == "cancelled"


def computed(out: str) -> list[str]:
    """The units that a run computed itself, by its lines."""
    return [unit for _, _, unit in UNIT_LINE.findall(out)]


def shared_run(arguments: list[str], heard: Connection) -> None:
    computing.Run.LOOK = 0.05
    live(arguments, heard)


def begin(command: list[str]) -> tuple[multiprocessing.Process, IO[str]]:
    """A run in a process of its own, and what it says."""
    ours, theirs = LIVES.Pipe(duplex=False)
    process = LIVES.Process(target=shared_run, args=(command, theirs))
    process.start()
    theirs.close()
    said = os.fdopen(os.dup(ours.fileno()))
    ours.close()
    return process, said


def test_two_runs_on_one_grid_share_it_and_nothing_is_computed_twice(small, model_folder):
    command = ["precompute", *small, *PLAN, "--shots", "0,1", "--what", "all"]
    runs = [begin(command) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda run: run[1].read(), runs))
    for process, said in runs:
        process.join()
        said.close()
        assert process.exitcode == DONE
    lines = [computed(out) for out in told]
    with stored(small) as store:
        assert sorted(map(str, store.units())) == sorted(lines[0] + lines[1])
    others = [re.findall(r"^\[\d+/\d+\] (.+): by another run$", out, re.MULTILINE) for out in told]
    assert set(others[0]) <= set(lines[1])
    assert set(others[1]) <= set(lines[0])


def test_a_run_takes_over_what_a_killed_one_had_begun(small, model_folder):
    command = ["precompute", *small, *PLAN, "--shots", "0,1", "--what", "all"]
    first, said = begin(command)
    with said:
        while not UNIT_LINE.findall(line := said.readline().rstrip()):
            assert first.is_alive(), line
        second, other = begin(command)
        with other:
            while not UNIT_LINE.findall(other.readline().rstrip()):
                assert second.is_alive()
            first.kill()
            before, after = computed(said.read()), computed(other.read())
        first.join()
        second.join()
    assert second.exitcode == DONE
    with stored(small) as store:
        units = Counter(map(str, store.units()))
    assert not (Counter(before) & Counter(after)) - units
    assert sum(units.values()) - len(before) - len(after) <= 3  # two were heard, one killed before its word


def test_what_another_run_is_computing_is_waited_for_and_can_be_stopped(small, capsys, monkeypatch):
    monkeypatch.setattr(jobs.Report, "EVERY", 0.0)
    monkeypatch.setattr(computing.Run, "LOOK", 0.0)
    waited = []

    def waiting(run) -> None:
        waited.append(run.report.now.unit)
        if len(waited) == 3:
            jobs.cancel(run.report.job)
        wait(run)

    wait = computing.Run._wait
    monkeypatch.setattr(computing.Run, "_wait", waiting)
    monkeypatch.setattr(computing.Leases, "claim", lambda leases, key: False)
    assert precompute(small, "--what", "accuracy") == INTERRUPTED
    assert waited[1].startswith("waiting for another run: model")
    assert "Stopped" in capsys.readouterr().err


# --- no room ------------------------------------------------------------------------------------


def test_a_full_disk_ends_a_run_with_what_is_kept_and_what_to_do(small, capsys, monkeypatch):
    put = Store.put

    def full(store, unit, record, *more):
        if unit.KIND == "evaluation":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorname = "SQLITE_FULL"
            raise StoreError("The store cannot be used.") from error
        return put(store, unit, record, *more)

    monkeypatch.setattr(Store, "put", full)
    assert precompute(small, "--what", "accuracy,importance,ffns") == FAILED
    told = capsys.readouterr()
    assert "No space left for results in" in told.err
    assert re.search(r"The 1 of \d+ results that were finished are kept\. Make room there", told.err)
    assert computed(told.out) == ["model tiny"]
    assert "unforeseen" not in told.err
    assert jobs.progress(jobs.jobs(small[3])[0]).state == "failed"
    monkeypatch.setattr(Store, "put", put)
    assert precompute(small, "--what", "accuracy,importance,ffns") == DONE


def test_progress_that_cannot_be_written_ends_no_run(small, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(jobs, "replace_file", full)
    monkeypatch.setattr(jobs.Report, "EVERY", 0.0)
    assert precompute(small, "--what", "accuracy") == DONE
    assert len(computed(capsys.readouterr().out)) == 2


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device", "out.zip"),
                                   OSError(errno.EDQUOT, "Disk quota exceeded", "out.zip")])
def test_whatever_has_no_room_says_so(small, tmp_path, capsys, monkeypatch, error):
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "ship", full)
    assert precompute(small, "--what", "accuracy", "--ship", str(tmp_path / "plain")) == FAILED
    assert "No space left on the disk (out.zip). Nothing that was stored is lost" in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you")])
def test_memory_that_runs_out_is_said(small, capsys, monkeypatch, error):
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(Evaluation, "measure", full)
    assert precompute(small, "--what", "accuracy") == FAILED
    told = capsys.readouterr().err
    assert "There was no memory left. What was finished is stored" in told
    assert "unforeseen" not in told


def test_what_the_system_refuses_is_named(small, capsys, monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "out.zip")

    monkeypatch.setattr(cli.bundles, "export", refused)
    assert main(["export", "out.zip", *small[2:]]) == FAILED
    told = capsys.readouterr().err
    assert "The system refused: Permission denied (out.zip)." in told
    assert "unforeseen" not in told


def test_a_log_on_a_full_disk_ends_no_run(tmp_path):
    """`/dev/full` is no plain file, so the patience is tried on it directly."""
    with open("/dev/full", "wb") as full:
        text = io.TextIOWrapper(io.BufferedWriter(cli._Patient(full.fileno())), line_buffering=True)
        print("x" * 100_000, file=text, flush=True)
    with (tmp_path / "log").open("w") as log:
        into = cli._into(log)
        print("said", file=into, flush=True)
    assert (tmp_path / "log").read_text() == "said\n"


def test_an_interrupt_ends_with_130_and_a_sentence(small, capsys, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Evaluation, "measure", interrupted)
    assert precompute(small, "--what", "accuracy") == INTERRUPTED
    assert "Stopped" in capsys.readouterr().err


def test_shipping_writes_plain_files_that_serve_as_results(small, tmp_path):
    assert precompute(small, "--what", "accuracy", "--ship", str(tmp_path / "shipped")) == DONE
    with stored(small) as live, Store(tmp_path / "empty", tmp_path / "shipped") as shipped:
        assert shipped.units() == live.units()
        assert all(shipped.get(u) == live.get(u) for u in live.units())


@pytest.mark.parametrize(("changes", "message"), [
    (["--tasks", "antonyms"], "Did you mean 'antonym'"),
    (["--shots", "100000"], "No setup has 100000 shots"),
    (["--shots", "-1"], "shots must be 0 or more, got -1"),
    (["--seeds", "9" * 4000], "seeds must be 999,999,999 or less, got one of 4000 digits"),
    (["--seeds", "-1"], "seeds must be 0 or more, got -1"),
    (["--n-examples", "9" * 10], "n-examples must be 999,999,999 or less"),
    (["--model", "m" * 3000], "has 3,000 letters"),
    (["--what", "magic"], "Cannot measure 'magic'. Known: "),
    (["--n-examples", "0"], "examples must be 1 or more"),
    (["--model", "/nowhere"], "No folder '/nowhere'"),
    (["--tasks", "own:/nowhere.jsonl"], "/nowhere.jsonl"),
    (["--revision", "other"], "not other"),
    (["--off", "L0H9"], "'L0H9' is not in this model: layers go from 0 to 2, heads from 0 to 3"),
    (["--off", "everything"], "'everything' is not a component. Write L3H7"),
    (["--off", "mean:"], "'mean:' switches nothing off"),
    (["--store", "/dev/null/store", "--model", "/nowhere"], "No folder '/nowhere'"),
])
def test_wrong_input_is_one_sentence_and_exit_code_2(small, capsys, changes, message):
    assert precompute(small, *changes) == BAD_INPUT
    told = capsys.readouterr()
    assert message in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


@pytest.mark.parametrize("args", [[], ["compute"], ["precompute", "--shots", "one"], ["precompute", "--dtype", "int8"],
                                  ["export"], ["precompute", "--mod", "x"], ["verify", "--sample", "-1"],
                                  ["verify", "--kind", "magic"], ["verify", "--tolerance", "2"],
                                  ["export", "all.zip", "--kind", "magic"]])
def test_wrong_arguments_are_exit_code_2(args, capsys):
    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == BAD_INPUT
    assert "usage" in capsys.readouterr().err


def test_the_unforeseen_is_a_sentence_and_a_traceback_on_request_only(small, capsys, monkeypatch):
    def bug(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(cli, "describe", bug)
    assert precompute(small) == FAILED
    told = capsys.readouterr().err
    assert "ZeroDivisionError: division by zero" in told
    assert "Traceback" not in told
    monkeypatch.setenv("HEADROOM_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        precompute(small)


# --- killed and started again -------------------------------------------------------------------


LIVES = multiprocessing.get_context("forkserver")  # a run is a process of its own, which finds torch imported already
LIVES.set_forkserver_preload(["tests.test_cli", "backend.engine.proof", "backend.engine.gradients",
                              "backend.engine.induction", "transformers.models.opt.modeling_opt"])


def live(arguments: list[str], heard: Connection) -> None:
    """A run of the command, in this process, that says what it says into a pipe."""
    os.dup2(heard.fileno(), sys.stdout.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main(arguments))


def test_killed_again_and_again_it_ends_with_the_same_bytes_and_computes_nothing_twice(small, tmp_path, capsys):
    what = ["--what", "all", "--shots", "0,1"]
    precompute(small, *what)
    main(["export", *small[2:], str(tmp_path / "calm.zip")])
    calm = [unit for _, _, unit in UNIT_LINE.findall(capsys.readouterr().out)]
    with stored(small) as store:  # waits are as long as units take here: no machine is too fast to be caught at work
        pace = sum(store.seconds(u) or 0.0 for u in store.units()) / len(calm)

    rng, kills, lives, until_first = random.Random(0), 0, 0, 0.0
    while kills < KILLS:
        lives += 1  # a run that ends between two kills is checked as well, and the next begins from nothing
        folder, lines, kills_before, ended = tmp_path / f"killed-{lives}", [], kills, False
        command = ["precompute", "--model", small[1], "--store", str(folder), "--no-shipped", *PLAN, *what]
        while not ended:
            began = time.monotonic()
            ours, theirs = LIVES.Pipe(duplex=False)
            process = LIVES.Process(target=live, args=(command, theirs))
            process.start()
            theirs.close()
            said = os.fdopen(os.dup(ours.fileno()))
            ours.close()
            if kills < KILLS:
                for number in range(patience := rng.randrange(3) if until_first else 1):  # lines of units
                    while (line := said.readline()) and not (told := UNIT_LINE.findall(line.rstrip())):
                        pass
                    lines += [unit for _, _, unit in told] if line else []
                    until_first = until_first if number else time.monotonic() - began
                time.sleep(rng.random() * (pace if patience else until_first))  # in the next unit, or before the first
                process.kill()
            lines += [unit for _, _, unit in UNIT_LINE.findall(said.read())]
            said.close()
            process.join()
            ended = process.exitcode == 0
            assert ended or process.exitcode == -signal.SIGKILL
            kills += not ended
        twice = {unit for unit, times in Counter(lines).items() if times > 1}
        assert twice == set()
        assert len(set(calm) - set(lines)) <= kills - kills_before  # stored, but killed before it could say so
        main(["export", "--store", str(folder), "--no-shipped", str(tmp_path / "killed.zip")])
        assert (tmp_path / "killed.zip").read_bytes() == (tmp_path / "calm.zip").read_bytes()
    assert kills == KILLS


# --- the other commands -------------------------------------------------------------------------


def test_status_counts_results_and_names_runs_and_damage(small, capsys):
    assert main(["status", *small[2:]]) == DONE
    assert "0 results" in capsys.readouterr().out
    precompute(small, "--what", "accuracy")
    capsys.readouterr()
    assert main(["status", "--check", *small[2:]]) == DONE
    out = capsys.readouterr().out
    assert "2 results: 0 shipped, 2 in" in out
    assert "1 tasks, shots 0; 1 evaluation" in out
    assert "run 2" in out
    assert "done, 2 of 2 results" in out
    with stored(small) as store:
        store._cache.set(store.units()[0].key, b"damaged")
    assert main(["status", "--check", *small[2:]]) == FAILED
    assert "Compute it again" in capsys.readouterr().err


def test_status_names_what_was_not_started_here(small, capsys):
    folder = Path(small[3]) / "jobs" / "20260101-120000-abcd"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"args": ["export", "x.zip"], "pid": 1, "born": "", "started": 1}))
    assert main(["status", *small[2:]]) == DONE
    out = capsys.readouterr().out
    assert "'20260101-120000-abcd' lies among the runs and was not started by this Headroom. Its command is none" in out
    assert "run 2" not in out


def test_verify_agrees_with_what_was_computed_and_finds_what_was_changed(small, capsys):
    precompute(small, "--what", "accuracy,importance,ffns,pruning,induction")
    capsys.readouterr()
    with stored(small) as store:
        n = len(store.units())
    assert main(["verify", *small, "--sample", "0"]) == DONE
    told = capsys.readouterr().out
    assert f"all {n} in {small[3]} were read: none is damaged" in told
    assert f"{n} of {n} results were measured again: {n} agree, 0 differ.\n" in told
    with stored(small) as store:
        (unit,) = store.units("head_importance")
        record = store.get(unit).to_json()
        record["block_per_token"] = [[[x * 1.01 for x in row] for row in b] for b in record["block_per_token"]]
        store.put(unit, HeadScores.from_json(record), replace=True)
    assert main(["verify", *small, "--kind", "head_importance"]) == FAILED
    assert "block_per_token: up to" in capsys.readouterr().out


def test_results_of_several_models_of_one_name_are_told_apart(small, model_folder, tmp_path, capsys):
    precompute(small, "--what", "accuracy")
    with stored(small) as store:
        (unit,) = store.units("evaluation")
        mine = unit.model
        before = mine.with_(digest="fedcba987654")  # other weights, or another tokenizer, under the same name
        bos = mine.with_(bos=True)
        for model in (before, bos, mine.with_(name="other")):
            store.put(Evaluation(unit.setup.with_(model=model)), store.get(unit))
    capsys.readouterr()
    assert main(["status", *small[2:]]) == DONE
    told = capsys.readouterr().out
    for model in (mine, before, bos):
        assert f"{model} (digest {model.digest}): 1 tasks, shots 0; 1 evaluation" in told
    assert f"tiny @ {mine.revision}, float32, BOS in front (digest {mine.digest})" in told
    assert main(["verify", *small, "--sample", "0"]) == DONE
    told = capsys.readouterr().out
    assert f"2 results of {mine} (digest {mine.digest}); others, left out, are of " in told
    assert f"{before} (digest fedcba987654)" in told
    assert "2 of 2 results were measured again: 2 agree" in told
    assert main(["export", str(tmp_path / "r.zip"), *small[2:], "--model", "tiny"]) == DONE
    both = ", ".join(f"tiny (digest {one})" for one in sorted((mine.digest, "fedcba987654")))
    assert f"4 results of {both} in" in capsys.readouterr().out
    with Store(tmp_path / "there") as there, stored(small) as here:
        assert set(bundles.inspect(tmp_path / "r.zip", there).new) == set(here.units(model="tiny"))
    with stored(small) as store:
        store.delete_all([unit, Model(mine)])
    assert main(["verify", *small]) == BAD_INPUT
    told = capsys.readouterr().err
    assert f"no stored result of {mine} (digest {mine.digest}). There are some of " in told
    assert f"{before} (digest fedcba987654)" in told


def test_verify_with_nothing_stored_says_so(small, capsys):
    assert main(["verify", *small]) == BAD_INPUT
    assert "Nothing to verify" in capsys.readouterr().err


def test_results_travel_in_a_bundle(small, tmp_path, capsys):
    precompute(small, "--what", "accuracy,importance")
    file, other = str(tmp_path / "r.zip"), ["--store", str(tmp_path / "other"), "--no-shipped"]
    assert main(["export", file, *small[2:], "--kind", "evaluation"]) == DONE
    assert main(["import", file, *other, "--dry-run"]) == DONE
    assert main(["import", file, *other]) == DONE
    assert "1 new, 0 here already, 0 that differ" in capsys.readouterr().out
    with Store(other[1]) as there, stored(small) as here:
        assert there.units() == here.units("evaluation")
        (unit,) = there.units()
        changed = json.loads(json.dumps(there.get(unit).to_json()))
        changed["loglikelihoods"][0][0] -= 1.0
        there.put(unit, Answers.from_json(changed), replace=True)
    assert main(["import", file, *other, "--dry-run"]) == FAILED
    assert main(["import", file, *other]) == FAILED
    assert "Nothing was imported: 1 results differ" in capsys.readouterr().err
    assert main(["import", file, *other, "--replace"]) == DONE
    with Store(other[1]) as there, stored(small) as here:
        assert there.get(unit) == here.get(unit)


def test_a_damaged_bundle_is_a_sentence_and_exit_code_1(small, tmp_path, capsys):
    (tmp_path / "r.zip").write_bytes(b"PK nothing")
    assert main(["import", str(tmp_path / "r.zip"), *small[2:]]) == FAILED
    assert "cut short" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "none.zip"), *small[2:]]) == BAD_INPUT
    assert main(["export", str(tmp_path / "empty.zip"), *small[2:]]) == BAD_INPUT


def test_models_lists_architectures_and_says_what_one_model_needs(small, capsys):
    assert main(["models", *small[2:]]) == DONE
    out = capsys.readouterr().out
    assert "opt " in out
    assert "No model has results yet" in out
    assert main(["models", small[1]]) == DONE
    out = capsys.readouterr().out
    assert "3 layers x 4 heads" in out
    assert "heads at the input of self_attn.out_proj" in out


def test_tasks_lists_them_and_shows_how_one_asks(capsys):
    assert main(["tasks"]) == DONE
    out = capsys.readouterr().out
    assert "piqa" in out
    assert "antonym" in out
    assert main(["tasks", "antonym", "--shots", "1"]) == DONE
    assert "<- right" in capsys.readouterr().out
    assert main(["tasks", "antonyms"]) == BAD_INPUT


def test_a_task_of_one_s_own_is_kept_so_that_its_name_finds_it(small, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_TASKS", str(tmp_path / "tasks"))
    rows = [{"query": f"question {i}", "options": ["yes", "no"], "gold": i % 2} for i in range(12)]
    (tmp_path / "quiz.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert precompute(small, "--tasks", f"own:{tmp_path}/quiz.jsonl", "--what", "accuracy") == DONE
    with stored(small) as store:
        assert [u.task.name for u in store.units("evaluation")] == ["own:quiz"]
    assert main(["verify", *small, "--sample", "0"]) == DONE


def test_an_own_task_is_not_kept_by_a_dry_run_nor_where_nothing_is_computed(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HEADROOM_TASKS", str(tmp_path / "tasks"))
    rows = [{"query": f"question {i}", "options": ["yes", "no"], "gold": i % 2} for i in range(12)]
    (tmp_path / "quiz.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = ["--tasks", f"own:{tmp_path}/quiz.jsonl", "--what", "accuracy"]
    assert precompute(small, *asked, "--dry-run") == DONE
    assert own.kept() == []
    assert not (tmp_path / "tasks").exists()
    assert precompute(small, *asked) == DONE
    own.remove("quiz")
    capsys.readouterr()
    assert precompute(small, *asked) == DONE
    assert "Nothing to do" in capsys.readouterr().out
    assert own.kept() == []


def test_other_rows_under_a_kept_name_are_refused_before_anything_is_done(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HEADROOM_TASKS", str(tmp_path / "tasks"))
    rows = [{"query": f"question {i}", "options": ["yes", "no"], "gold": i % 2} for i in range(12)]
    own.keep(own.parse_task(json.dumps(rows[:8]), "quiz"))
    (tmp_path / "quiz.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for more in ([], ["--dry-run"]):
        assert precompute(small, "--tasks", f"own:{tmp_path}/quiz.jsonl", "--what", "accuracy", *more) == BAD_INPUT
        told = capsys.readouterr()
        assert "Another task is kept as 'quiz'" in told.err
        assert told.out == ""


def test_tasks_are_listed_where_one_of_them_cannot_be_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HEADROOM_TASKS", str(tmp_path))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "validation.jsonl").write_text("nonsense")
    assert main(["tasks"]) == DONE
    assert re.search(r"own:broken +own +A task of someone's own rows\.", capsys.readouterr().out)
    assert main(["tasks", "own:broken"]) == BAD_INPUT
    assert "validation.jsonl, line 1: not valid JSON" in capsys.readouterr().err


def test_what_is_odd_in_a_task_is_told_with_it(tmp_path, capsys, monkeypatch):
    rows = [{"goal": "g", "sol1": "s", "sol2": "s", "label": 0}, {"goal": "h", "sol1": "t", "sol2": "s", "label": 0}]
    (tmp_path / "piqa").mkdir()
    (tmp_path / "piqa" / "validation.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    assert main(["tasks", "piqa"]) == DONE
    assert "Notice: 1 of 2 validation rows offer the same option twice" in capsys.readouterr().out
    assert main(["tasks", "antonym"]) == DONE
    assert "Notice" not in capsys.readouterr().out


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_help_carries_its_examples_and_the_exit_codes(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([*([name] if name else []), "--help"])
    assert end.value.code == DONE
    shown = capsys.readouterr().out
    assert all(f"  python -m backend {line}\n" in shown for line in EXAMPLES[name])
    assert "130 interrupted" in shown


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_every_example_can_be_typed(line):
    assert cli.parser().parse_args(shlex.split(line))


def test_the_readme_s_commands_are_the_help_s_examples():
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"python -m backend (?!\.)[^`\n#]+", text)
    assert commands
    known = [f"python -m backend {line}" for lines in EXAMPLES.values() for line in lines]
    assert [c.strip() for c in commands if c.strip() not in known] == []
