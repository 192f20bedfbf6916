"""Work that is shared: dear units first, lost ones again, hopeless ones given up; whatever the workers are."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from backend.__main__ import BAD_INPUT, DONE, FAILED, INTERRUPTED, main
from backend.errors import BadInput, StoreError
from backend.kinds import HeadOracle, Unit
from backend.kinds.oracles import Oracle
from backend.kinds.unit import compute, compute_piece
from backend.models.identity import identify
from backend.models.loading import load_model
from backend.runs import cluster, computing, jobs
from backend.runs.cluster import Replica
from backend.runs.leases import Leases
from backend.runs.plan import Step
from backend.runs.schedule import DEATHS, Answered, Died, News, Ready, Refused, Schedule, Share, n_shares
from backend.store import bundles
from backend.store.entries import pack
from backend.store.live import Store
from backend.tasks import own
from backend.tasks.registry import get_task
from backend.values import Setup, TaskId
from tests.benchmarks.cluster import Work, play
from tests.models.small import small_network, small_tokenizer

# --- the rules ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """As much of a unit as a schedule looks at."""

    name: str
    behind: tuple[Piece, ...] = ()

    def needs(self) -> tuple[Piece, ...]:
        return self.behind


def schedule(*costs: tuple[Piece, int]) -> Schedule:
    return Schedule([Step(unit, False, cost) for unit, cost in costs])  # type: ignore[arg-type]


def names(of: Schedule) -> list[str]:
    """What is given out now, in order."""
    return [share.unit.name for share in given_out(of)]  # type: ignore[attr-defined]


def given_out(of: Schedule) -> list[Share]:
    found = []
    while share := of.next():
        found.append(share)
    return found


A, B, C = Piece("a"), Piece("b"), Piece("c")


def test_dear_units_are_given_out_first_and_equal_ones_as_planned():
    assert names(schedule((A, 1), (B, 5), (C, 5), (Piece("d"), 3))) == ["b", "c", "d", "a"]


def test_what_a_long_chain_waits_for_goes_before_what_is_dearer_alone():
    middle = Piece("middle", (A,))
    end = Piece("end", (middle,))
    assert names(schedule((A, 1), (middle, 2), (end, 9), (B, 10))) == ["a", "b"]  # 1 + 2 + 9 > 10


def test_nothing_is_given_out_before_what_it_builds_on_is_finished():
    both = Piece("both", (A, B))
    work = schedule((A, 1), (B, 1), (both, 100))
    a, b = given_out(work)
    work.finish(a)
    assert names(work) == []
    work.finish(b)
    assert names(work) == ["both"]
    assert len(work) == 1


def test_what_is_stored_already_holds_nothing_up():
    assert names(schedule((Piece("later", (Piece("stored"),)), 1))) == ["later"]


def test_what_another_run_has_is_passed_over_and_asked_for_again():
    work = schedule((A, 2), (B, 1))
    taken = {A}
    assert work.next(lambda unit: unit not in taken).unit is B
    assert work.next(lambda unit: unit not in taken) is None
    taken.clear()
    assert work.next(lambda unit: unit not in taken).unit is A


def test_a_lost_unit_is_given_out_again_until_it_has_cost_three_workers():
    work = schedule((A, 2), (B, 1))
    for _ in range(DEATHS - 1):
        assert (share := work.next()).unit is A
        assert not work.lost(share)
    assert (share := work.next()).unit is A
    assert work.lost(share)
    assert work.next().unit is B  # and A is not given out any more
    assert work.next() is None


def test_of_what_weighs_about_the_same_that_which_is_liked_goes_first():
    work = schedule((A, 10), (B, 6), (C, 4))

    def dislike(unit: Any) -> int:
        return {A: 2, B: 1, C: 0}[unit]

    assert [work.next(dislike=dislike).unit for _ in range(3)] == [B, A, C]  # C weighs less than half of A


def test_a_long_unit_goes_out_in_pieces_and_what_waits_for_it_waits_for_all():
    later = Piece("later", (A,))
    work = Schedule([Step(unit, False, cost) for unit, cost in ((A, 90), (B, 40), (later, 5))],  # type: ignore[arg-type]
                    pieces=lambda step: 3 if step.unit is A else 1)
    b, *pieces = given_out(work)  # 40 > 90 / 3 + 5
    assert b.unit is B
    assert [(share.unit, share.number, share.of) for share in pieces] == [(A, number, 3) for number in range(3)]
    for share in pieces:
        assert names(work) == []
        work.finish(share)
    assert names(work) == ["later"]


def test_pieces_are_a_small_part_of_the_time_that_the_whole_takes():
    assert n_shares(100, 640, 10, 2) == 1  # the whole takes 320, a 32nd of which is 10
    assert n_shares(100, 640, 11, 2) == 2
    assert n_shares(100, 640, 10, 20) == 10
    assert n_shares(4, 640, 10, 20) == 4
    assert n_shares(4, 0, 0, 20) == 1


def test_a_grid_that_is_played_takes_as_long_as_by_hand():
    work = [Work(Step(unit, False, cost), cost) for unit, cost in ((A, 3), (B, 2), (C, 1))]  # type: ignore[arg-type]
    assert play(work, 1, ready=1.0).seconds == 7
    two = play(work, 2, ready=1.0)  # 3 beside 2 and 1
    assert (two.seconds, two.efficiency) == (4, 7 / (2 * 4))
    assert play(work, 1, ready=1.0, latency=0.5).seconds == 1 + 0.5 + 3 + 0.5 + 2 + 0.5 + 1 + 0.5


def test_played_deaths_cost_what_was_under_way_and_getting_ready_again():
    work = [Work(Step(Piece(str(n)), False, 10), 10.0) for n in range(100)]  # type: ignore[arg-type]
    calm, rough = play(work, 4, ready=5.0), play(work, 4, ready=5.0, per_hour=20.0, restart=2.0)
    assert calm.deaths == 0
    assert rough.deaths > 0
    lost = rough.seconds * 4 - 1000 - 4 * 5
    assert rough.deaths * 7 <= lost + 4 * 10  # each death: 2 + 5 and what it had; the end is not full
    assert lost <= rough.deaths * (7 + 10) + 4 * 17


# --- a run on workers that are none -------------------------------------------------------------


class Pretended:
    """Workers that live in this process and die when they are told to."""

    def __init__(self, replica: Replica, n: int, dies: Callable[[Unit, int], bool], refused: str) -> None:
        self.replica, self.dies, self.refused = replica, dies, refused
        self.had: Counter[Unit] = Counter()  # how often each was given out
        self.order: list[Unit] = []
        self.shares: list[Share] = []
        self._ready = set() if refused else set(range(n))
        self._busy: dict[int, tuple[Share, Mapping[Unit, Any]]] = {}
        self._news: list[News] = [Refused(i, refused) if refused else Ready(i, "here", 0.0) for i in range(n)]
        self.ended = False

    def __enter__(self) -> Pretended:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True

    @property
    def n_workers(self) -> int:
        return len(self._ready)

    def idle(self) -> list[int]:
        return [worker for worker in sorted(self._ready) if worker not in self._busy]

    def give(self, worker: int, share: Share, basis: Mapping[Unit, Any]) -> None:
        assert worker in self.idle()
        self._busy[worker] = share, basis
        self.had[share.unit] += 1
        self.order.append(share.unit)
        self.shares.append(share)

    def news(self, seconds: float) -> Sequence[News]:
        told, self._news = self._news, []
        if not told and self._busy:
            worker, (share, basis) = self._busy.popitem()  # the last one first
            if self.dies(share.unit, self.had[share.unit]):
                return [Died(worker, share, "It was told to.")]
            asked, packed = json.dumps(share.unit.to_json()).encode(), [cluster.pack(*pair) for pair in basis.items()]
            return [Answered(worker, share, **self.replica.measure(asked, packed, share.number, share.of))]
        return told

    def parts(self) -> Mapping[Share, tuple[int, int]]:
        return {share: (1, 2) for share, _ in self._busy.values()}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    small_network("opt").save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def replica(model_folder) -> Replica:
    """A worker that has its model."""
    worker = Replica()
    worker._model = load_model(str(model_folder))
    return worker


@pytest.fixture
def shared(replica, monkeypatch):
    """Lets `--cluster` run on three pretended workers; says how they shall fail."""
    monkeypatch.delenv(jobs.JOB_SETTING, raising=False)
    made: list[Pretended] = []

    def fail(dies: Callable[[Unit, int], bool] = lambda unit, times: False, refused: str = "") -> list[Pretended]:
        @contextmanager
        def opened(*_: object) -> Iterator[Pretended]:
            with Pretended(replica, 3, dies, refused) as pool:
                made.append(pool)
                yield pool

        monkeypatch.setattr(cluster, "opened", opened)
        return made

    return fail


PLAN = ["--tasks", "antonym", "--shots", "0,1", "--n-examples", "2", "--n-train", "2", "--no-shipped",
        "--what", "accuracy,importance,pruning", "--remove", "heads", "--by", "own"]


def precompute(model_folder, store, *more: str) -> int:
    return main(["precompute", "--model", str(model_folder), "--store", str(store), *PLAN, *more])


def exported(store, file) -> bytes:
    with Store(store) as opened:
        bundles.export(file, opened, opened.units())
    return file.read_bytes()


def test_shared_work_is_that_of_one_process_to_the_byte_also_where_workers_die(model_folder, tmp_path, shared, capsys):
    made = shared(lambda unit, times: unit.KIND == "pruning" and times == 1)
    assert precompute(model_folder, tmp_path / "alone") == DONE
    alone = capsys.readouterr().out
    assert precompute(model_folder, tmp_path / "shared", "--cluster", "local") == DONE
    out, err = capsys.readouterr()
    assert exported(tmp_path / "shared", tmp_path / "a.zip") == exported(tmp_path / "alone", tmp_path / "b.zip")
    (pool,) = made
    assert pool.ended
    assert {pool.had[unit] for unit in pool.had if unit.KIND == "pruning"} == {2}
    assert err.count("died, and another one takes its place. It was told to. It had pruning") == sum(
        unit.KIND == "pruning" for unit in pool.had)

    def lines(of: str) -> list[str]:
        return sorted(re.findall(r"^\[\d+/\d+\] (.+): \d+\.\d+ s$", of, re.MULTILINE))

    assert lines(out) == lines(alone)
    assert re.findall(r"^\[(\d+)/", out, re.MULTILINE) == [str(n) for n in range(1, len(pool.had) + 1)]
    (job,) = jobs.jobs(tmp_path / "shared")
    now = jobs.progress(job)
    assert (now.state, now.units_done, now.units_total) == ("done", len(pool.had), len(pool.had))


def test_a_unit_that_kills_workers_fails_with_what_builds_on_it_and_the_others_go_on(model_folder, tmp_path, shared,
                                                                                      capsys):
    made = shared(lambda unit, times: unit.KIND == "head_importance" and unit.setup.n_shots == 1)
    assert precompute(model_folder, tmp_path, "--cluster", "local") == FAILED
    said = capsys.readouterr()
    (pool,) = made
    (deadly,) = [unit for unit in pool.had if pool.had[unit] > 1]
    assert pool.had[deadly] == DEATHS == 3
    assert f"{deadly}: failed. 3 workers died while they measured it, so it is not tried again." in said.err
    assert "It builds on head_importance" in said.err
    with Store(tmp_path) as store:
        stored = store.units()
        assert deadly not in stored
        assert {unit.setup.n_shots for unit in stored if unit.KIND == "pruning"} == {0}
        assert {unit.setup.n_shots for unit in stored if unit.KIND == "evaluation"} == {0, 1}
    (job,) = jobs.jobs(tmp_path)
    assert jobs.progress(job).state == "failed"
    capsys.readouterr()
    again = shared()
    assert precompute(model_folder, tmp_path, "--cluster", "local") == DONE  # what was lost, and nothing else
    assert not set(again[-1].had) & set(stored)


def test_dear_units_come_first_each_after_what_it_builds_on(model_folder, tmp_path, shared):
    made = shared()
    assert precompute(model_folder, tmp_path, "--cluster", "local") == DONE
    order = made[0].order
    assert {unit.KIND for unit in order[:2]} == {"head_importance"}  # for which pruning, the dearest, waits
    for unit in order:
        assert all(order.index(need) < order.index(unit) for need in unit.needs())


@pytest.fixture
def oracles(monkeypatch):
    """Oracles go out in pieces, which on so small a model they are not worth."""
    monkeypatch.setattr(Oracle, "pieces", lambda self, info: 3)
    monkeypatch.setattr(HeadOracle, "pieces", lambda self, info: 3)
    return ["--shots", "0", "--what", "heads,ffns", "--cluster", "local"]


def test_a_unit_in_pieces_is_the_whole_one_to_the_byte_also_where_a_piece_is_lost(model_folder, tmp_path, shared,
                                                                                    oracles, capsys):
    made = shared(lambda unit, times: unit.KIND == "head_oracle" and times == 3)  # once all three are out
    assert precompute(model_folder, tmp_path / "shared", *oracles) == DONE
    assert precompute(model_folder, tmp_path / "alone", *oracles[:-2]) == DONE
    assert exported(tmp_path / "shared", tmp_path / "a.zip") == exported(tmp_path / "alone", tmp_path / "b.zip")
    assert [(share.number, share.of) for share in made[0].shares if share.unit.KIND == "head_oracle"] == [
        (0, 3), (1, 3), (2, 3), (2, 3)]
    assert ", part 3 of 3." in capsys.readouterr().err


def test_a_unit_of_which_a_piece_kills_workers_fails_once_and_the_others_go_on(model_folder, tmp_path, shared, oracles,
                                                                                 capsys, monkeypatch):
    monkeypatch.setattr(HeadOracle, "pieces", lambda self, info: 6)
    made = shared(lambda unit, times: unit.KIND == "head_oracle" and times > 2)
    assert precompute(model_folder, tmp_path, *oracles) == FAILED
    assert capsys.readouterr().err.count("failed. 3 workers died while they measured it") == 1
    with Store(tmp_path) as store:
        assert {unit.KIND for unit in store.units()} == {"model", "ffn_oracle"}
    assert {share.number for share in made[0].shares if share.unit.KIND == "head_oracle"} == {0, 1, 2}  # not the rest
    assert made[0].ended


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_joined_pieces_are_what_is_measured_whole(replica, model_folder, tmp_path, fill):
    unit = HeadOracle(Setup(identify(str(model_folder)), TaskId("antonym", get_task("antonym").fingerprint), 1, "fixed",
                            3, 0), fill, 2)
    model = replica._model
    assert model is not None
    with Store(tmp_path) as store:
        whole = compute(unit, store, model)
        for of in (2, 5):
            pieces = [compute_piece(unit, number, of, store, model)[0] for number in range(of)]
            assert pack(unit, unit.joined(pieces)) == pack(unit, whole)
            assert sum(len(piece.ablations) - 1 for piece in pieces) == len(whole.ablations) - 1


def test_pieces_of_other_questions_are_no_unit(replica, model_folder):
    unit = HeadOracle(Setup(identify(str(model_folder)), TaskId("antonym", get_task("antonym").fingerprint), 0, "fixed",
                            3, 0))
    model = replica._model
    assert model is not None
    first = unit.measure_piece(0, 2, model, [], None)
    second = replace(unit, setup=unit.setup.with_(seed=1)).measure_piece(1, 2, model, [], None)
    with pytest.raises(StoreError, match="its workers read different rows"):
        unit.joined([first, second])


def test_runs_is_told_what_is_under_way_and_how_far(model_folder, tmp_path, shared, monkeypatch):
    shared()
    monkeypatch.setattr(jobs.Report, "EVERY", 0.0)
    told: list[jobs.Progress] = []
    update = jobs.Report.update

    def listening(self: jobs.Report, at_once: bool = False, **changes: object) -> None:
        update(self, at_once, **changes)
        told.append(self.now)

    monkeypatch.setattr(jobs.Report, "update", listening)
    assert precompute(model_folder, tmp_path, "--cluster", "local") == DONE
    three = [now for now in told if now.unit.endswith(", and 2 more")]
    assert three
    assert all(now.unit.startswith(("head_importance", "pruning")) for now in three[:1])  # the dearest is named
    assert {(now.done, now.total) for now in three if now.total} == {(3, 6)}  # 1 of 2 batches, three times
    assert any(now.seconds_left for now in told)


def test_where_every_worker_refuses_the_run_ends_with_its_sentence(model_folder, tmp_path, shared, capsys):
    shared(refused="on far: 'tiny' is another state of the model there.")
    assert precompute(model_folder, tmp_path, "--cluster", "local") == BAD_INPUT
    assert "No worker is left to go on. Worker" in (said := capsys.readouterr().err)
    assert "another state of the model there" in said
    (job,) = jobs.jobs(tmp_path)
    assert jobs.progress(job).state == "failed"


def test_stop_on_runs_ends_it_and_the_same_command_goes_on(model_folder, tmp_path, shared, monkeypatch, capsys):
    made = shared()
    monkeypatch.setattr(jobs.Report, "EVERY", 0.0)
    settle = computing.OnCluster._settle

    def stopping(run: Any, step: Step, leases: Leases) -> None:
        settle(run, step, leases)
        jobs.cancel(run.report.job)

    monkeypatch.setattr(computing.OnCluster, "_settle", stopping)
    assert precompute(model_folder, tmp_path, "--cluster", "local") == INTERRUPTED
    assert made[0].ended
    (job,) = jobs.jobs(tmp_path)
    assert jobs.progress(job).state == "cancelled"
    with Store(tmp_path) as store:
        (first,) = store.units()
    monkeypatch.setattr(computing.OnCluster, "_settle", settle)
    capsys.readouterr()
    assert precompute(model_folder, tmp_path, "--cluster", "local") == DONE
    assert first not in made[1].had


def test_what_another_run_claims_is_left_to_it(model_folder, tmp_path, shared, monkeypatch, capsys):
    made = shared()
    key = {}
    claim = Leases.claim
    monkeypatch.setattr(Leases, "claim", lambda self, of: key.setdefault(of, bool(key)) or claim(self, of))
    assert precompute(model_folder, tmp_path, "--cluster", "local") == DONE
    refused = next(of for of, ours in key.items() if not ours)
    assert sum(unit.key == refused for unit in made[0].order) == 1


def test_an_answer_that_is_no_result_of_the_unit_is_not_stored(model_folder, tmp_path, shared, monkeypatch, capsys):
    made = shared()
    measure = Replica.measure

    def lying(self: Replica, asked: bytes, basis: Sequence[bytes], *piece: int) -> dict[str, Any]:
        told = measure(self, asked, basis, *piece)
        if json.loads(asked)["kind"] == "evaluation":
            told["body"] = told["body"].replace(b'"seed":0', b'"seed":1')
        return told

    monkeypatch.setattr(Replica, "measure", lying)
    assert precompute(model_folder, tmp_path, "--cluster", "local", "--shots", "1", "--what", "accuracy") == FAILED
    assert "The worker answered with evaluation" in capsys.readouterr().err
    assert len(made) == 1


# --- what a worker must be ------------------------------------------------------------------------


@pytest.fixture
def asked(model_folder) -> cluster.Wanted:
    name = str(model_folder)
    return cluster.wanted(identify(name), name, None, "cpu", None, None, "auto", 1, [])


def start(asked: cluster.Wanted) -> str:
    """Why a worker refuses; empty where it does not."""
    return Replica().start({**vars(asked), "model": cluster.to_plain(asked.model)})["why"]


def test_a_worker_that_holds_the_very_model_begins(asked):
    assert start(asked) == ""


def test_a_worker_with_another_state_of_the_model_refuses(asked):
    other = replace(asked, model=replace(asked.model, digest="0123456789ab"))
    assert f"another state of the model there: {asked.model} (digest {asked.model.digest}), not" in start(other)


def test_a_worker_with_another_headroom_or_other_libraries_refuses(asked):
    assert "Headroom's files there are others than the driver's" in start(replace(asked, code="0123456789ab"))
    assert "Other libraries are installed there: numpy " in start(
        replace(asked, libraries={**asked.libraries, "numpy": "0.1"}))


def test_an_own_task_travels_with_its_rows(model_folder, tmp_path, asked):
    rows = [{"query": f"{n}", "options": ["a", "b"], "gold": n % 2} for n in range(8)]
    task = own.OwnTask("mine", rows[:4], rows[4:], "Q: {query}\nA: {answer}", "Say.\n")
    there = own.OwnTask(**cluster._task_to_plain(task))
    assert there.fingerprint == task.fingerprint
    assert [there.example(row) for row in rows] == [task.example(row) for row in rows]


def test_a_path_is_found_from_any_folder_and_a_name_stays_a_name(model_folder, monkeypatch):
    monkeypatch.chdir(model_folder.parent)
    assert cluster._found_anywhere("./tiny") == str(model_folder)
    assert cluster._found_anywhere("bundled") == "bundled"
    assert cluster._found_anywhere("facebook/opt-66b") == "facebook/opt-66b"


# --- the command line ----------------------------------------------------------------------------


def test_without_ray_a_sentence_says_how_to_install_it(model_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert precompute(model_folder, tmp_path, "--cluster", "local") == BAD_INPUT
    assert f"pip install ray=={cluster.VERSION}`" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--workers", "2"], ["--gpus-per-worker", "1"], ["--threads-per-worker", "1"]])
def test_workers_without_a_cluster_are_refused(model_folder, tmp_path, given, capsys):
    assert precompute(model_folder, tmp_path, *given) == BAD_INPUT
    assert f"{given[0]} is of a cluster's workers" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--workers", "0"], ["--gpus-per-worker", "-1"], ["--threads-per-worker", "one"]])
def test_numbers_of_workers_are_numbers(model_folder, tmp_path, given):
    with pytest.raises(SystemExit):
        precompute(model_folder, tmp_path, "--cluster", "local", *given)


def test_the_address_of_a_ray_client_is_refused(asked):
    with pytest.raises(BadInput, match="the driver must be inside the cluster"), cluster.opened(
            "ray://10.0.0.1:10001", asked, None, None, None):
        pass


def test_room_is_counted_in_gpus_and_processors():
    assert cluster._fits({"CPU": 16.0, "GPU": 8.0}, 2, 1) == 4
    assert cluster._fits({"CPU": 16.0, "GPU": 8.0}, 1, 4) == 4
    assert cluster._fits({"CPU": 16.0}, 1, 1) == 0
    assert cluster._fits({"CPU": 16.0}, 0, 3) == 5


def test_what_killed_drivers_left_is_removed_and_the_rest_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(cluster.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(cluster.psutil, "pid_exists", lambda pid: pid == 77)
    for name in ("headroom-ray-66-abc", "headroom-ray-77-abc", "headroom-ray-other", "else"):
        (tmp_path / name).mkdir()
    with cluster._own_files() as mine:
        assert mine.is_dir()
        assert {path.name for path in tmp_path.iterdir()} == {
            "headroom-ray-77-abc", "headroom-ray-other", "else", mine.name}
    assert not mine.exists()
