"""The store: what goes in comes out, whoever else is writing, and whatever was damaged is named."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import sqlite3
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import limits
from backend.errors import BadInput, StoreError
from backend.kinds import (
    Activations,
    Answers,
    Attribution,
    Attributions,
    Constants,
    Copying,
    Effects,
    Evaluation,
    FFNOracle,
    FunctionVectors,
    GateOrder,
    Greedy,
    GreedyOrder,
    HeadGates,
    HeadImportance,
    HeadOracle,
    HeadScores,
    HeadWrites,
    InductionScores,
    Influence,
    Influences,
    Iterative,
    IterativeOrder,
    KnockOut,
    Means,
    Model,
    OptimalConstants,
    PrefixMatching,
    Pruning,
    Relabelled,
    ShuffledHeads,
    Sweep,
    Writes,
)
from backend.kinds.head_gates import N_LOSSES
from backend.kinds.knock_out import SHARES
from backend.kinds.unit import KINDS, SCHEMA
from backend.records import ModelInfo, Questions
from backend.store import entries
from backend.store import live as store_module
from backend.store.catalogue import Catalogue, catalogue
from backend.store.entries import canonical, differences, pack, rounded, unpack
from backend.store.live import Store
from backend.store.shipped import ship
from backend.values import Ablation, Head, ModelId, Ranking, Setup, TaskId

MODEL, PIQA, COPA = ModelId("tiny", "abc", "0123456789ab"), TaskId("piqa", "d1"), TaskId("copa", "d7")
SETUP = Setup(MODEL, PIQA, 5, "fixed", 2, 0)


def evaluation(first: float = -1.25) -> Answers:
    questions = Questions((3, 1), ((0,), (1,)), (2, 2), ("", ""), dropped_demos=(0, 1))
    return Answers(questions, ((first, -2.5), (-3.0, -0.5)), ((4, 5), (6, 7)))


def unit(*off: Head, **changes) -> Evaluation:
    return Evaluation(SETUP.with_(**changes), Ablation(frozenset(off)))


def of_model(**changes) -> Evaluation:
    return unit(model=MODEL.with_(**changes))


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "live") as opened:
        yield opened


def database(store: Store) -> sqlite3.Connection:
    store.close()
    return sqlite3.connect(store.folder / "cache.db", isolation_level=None)


# --- in and out ---------------------------------------------------------------------------------


def test_what_goes_in_comes_out(store):
    assert store.get(unit()) is None
    assert unit() not in store
    assert store.put(unit(), evaluation()) == evaluation()
    assert store.get(unit()) == evaluation()
    assert unit() in store


QUESTIONS = evaluation().questions
SPANNING = Questions((3, 1), ((0, 1), (1,)), (2, 2), ("a", "a"), "acc_by_group", (0, 1), (5,), (0, 2))
SWEEP = Sweep(QUESTIONS, ("", "F0"), ((0, 1), (1, 1)), ((0, 0), (1, 0)))
PRUNED = Sweep(QUESTIONS, ("", "L0H0"), ((0, 1), (1, 1)), ((0, 0), (1, 0)), ((0.0, 0.0), (0.5, 0.0)))
INDUCTION = InductionScores(100, ((0.25, 0.5),), ((0.0, 1.0),), "by merge rank", 893)
RECORDS = [
    (unit(), evaluation()),
    (unit(Head(0, 1)), Answers(SPANNING, ((-1.5, -2.0), (-0.5, -3.0)), ((4, 5), (6, 7)), ((True, False),) * 2)),
    (FFNOracle(SETUP), SWEEP),
    (HeadOracle(SETUP), replace(SWEEP, gold=((-0.5, -1.0), (-2.0, -0.25)))),
    (Attribution(SETUP.with_(n_examples=5)), Attributions(4, (7,), (2, 2), (((-0.5,), (0.25,)),) * 2,
                                                          (((0.5,), (-1.0,)),) * 2)),
    (OptimalConstants(SETUP.with_(n_examples=5)), Constants(4, (7,), (((0.5, -0.25),), ((1.0, 2.0),)), 0.25,
                                                            ((0.5,), (0.75,)), ((0.5,), (0.5,)))),
    (Pruning(SETUP), PRUNED),
    (Relabelled(SETUP), evaluation()),
    (ShuffledHeads(SETUP), SWEEP),
    (Influence(SETUP), Influences(QUESTIONS, (1, 2), (-0.5, -1.0), ((-1.0, -0.25, -0.5, -0.5, -0.5),) * 2)),
    (KnockOut(SETUP), Sweep(QUESTIONS, ("",) * 9, ((0, 1),) * 9, ((0, 0),) * 9,
                            tuple((share, 0.0) for share in SHARES))),
    (PrefixMatching(MODEL), INDUCTION),
    (Copying(MODEL, "olsson"), INDUCTION),
    (HeadImportance(SETUP.with_(n_examples=5)), HeadScores(4, (7,), (2, 2), ((9, 9), (8, 8)), (((0.5,), (0.25,)),) * 2,
                                       (((0.5,), (1.0,)),) * 2, 3)),
    (Means(SETUP.with_(n_examples=4)), Activations(4, 90, (((0.5, -0.25),), ((1.0, 2.0),)), ((0.5, 0.0), (0.25, 1.0)))),
    (Writes(SETUP.with_(n_examples=4)), HeadWrites(4, 90, ((0.5,), (0.25,)))),
    (FunctionVectors(SETUP.with_(n_examples=2), 1),
     Effects(2, 0.75, (0.25,), (((0.5,), (-0.25,)),), (), (0, 0, 1), ())),
    (Iterative(SETUP.with_(n_examples=4)), IterativeOrder(((0, 0), (1, 0)), 1, 3, (7,), (0.25,))),
    (Greedy(SETUP.with_(n_examples=4)), GreedyOrder(((0, 0), (1, 0)), 0, 4, (), (0.75, 0.5), (0.25, 1.5))),
    (HeadGates(SETUP.with_(n_examples=4)), GateOrder(
        ((1, 0), (0, 0)), 0, 4, (), ((0.75,), (0.25,)), ((1.0,), (0.5,)), *((0.5,) * N_LOSSES,) * 3)),
    (Model(MODEL), ModelInfo("tiny", "abc", "opt", 2, 1, 2, 2, 8, 100, 64, 50, "float32", 400)),
]


def test_every_kind_is_among_these():
    assert {one.KIND for one, _ in RECORDS} == set(KINDS)


@pytest.mark.parametrize(("one", "record"), RECORDS, ids=lambda value: getattr(value, "KIND", ""))
def test_every_kind_of_record_survives_the_disk(store, one, record):
    store.put(one, record)
    assert Store(store.folder).get(one) == record
    assert Store(store.folder).units() == [one]


def test_a_unit_s_neighbours_stay_missing(store):
    store.put(unit(), evaluation())
    for other in (unit(seed=1), unit(n_shots=1), unit(task=TaskId("piqa", "d2")), unit(Head(0, 0)), FFNOracle(SETUP),
                  of_model(digest="0123456789ac"), of_model(bos=True), of_model(dtype="bfloat16")):
        assert store.get(other) is None
        assert other not in store


def test_floats_are_kept_to_seven_digits_and_what_put_returns_is_what_get_gives(store):
    returned = store.put(unit(), evaluation(-1.23456789))
    assert returned.loglikelihoods[0][0] == -1.234568
    assert store.get(unit()) == returned


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_twice_is_rounding_once_and_changes_less_than_half_a_unit(x):
    once = rounded(x)
    assert rounded(once) == once
    assert abs(once - x) <= abs(x) * 5.1e-7 + 5e-324


@given(st.lists(st.floats(-100, 0), min_size=4, max_size=4))
def test_packing_what_was_unpacked_gives_the_same_bytes(lls):
    record = Answers(evaluation().questions, (tuple(lls[:2]), tuple(lls[2:])), ((1, 1), (1, 1)))
    body = pack(unit(), record)
    assert pack(*unpack(body)) == body


def test_a_record_of_another_kind_is_refused(store):
    with pytest.raises(BadInput, match="Answers is not the answer"):
        store.put(HeadImportance(SETUP), evaluation())


def test_nan_is_refused_with_the_remedy(store):
    with pytest.raises(StoreError, match="bfloat16"):
        store.put(unit(), evaluation(float("nan")))
    assert unit() not in store


# --- what is there already ----------------------------------------------------------------------


def test_an_equal_result_is_no_news(store):
    store.put(unit(), evaluation())
    before = database(store).execute("SELECT value FROM Cache WHERE key = 'generation'").fetchone()
    store.put(unit(), evaluation())
    assert database(store).execute("SELECT value FROM Cache WHERE key = 'generation'").fetchone() == before


def test_a_result_that_differs_by_rounding_leaves_the_first_one(store):
    store.put(unit(), evaluation(-1.25))
    assert store.put(unit(), evaluation(-1.25001)) == evaluation(-1.25)
    assert store.get(unit()) == evaluation(-1.25)


def test_a_different_result_is_refused_unless_replacing_is_asked_for(store):
    store.put(unit(), evaluation(-1.25))
    with pytest.raises(StoreError, match=r"different result .*loglikelihoods: up to 0.25 apart"):
        store.put(unit(), evaluation(-1.5))
    assert store.get(unit()) == evaluation(-1.25)
    store.put(unit(), evaluation(-1.5), replace=True)
    assert store.get(unit()) == evaluation(-1.5)


def test_differences_name_the_field():
    assert differences(evaluation(), evaluation()) == []
    other = Answers(Questions((3, 2), ((0,), (1,)), (2, 2), ("", ""), dropped_demos=(0, 1)),
                    evaluation().loglikelihoods, ((4, 5), (6,)))
    assert differences(evaluation(), other) == ["questions: 1 of 11 values differ", "lengths: of different shapes"]


def flipped(n: int, field: str, n_queries: int = 50) -> Sweep:
    """A sweep of 10 ablations in which `n` values of a field fell the other way."""
    rows = [[0] * n_queries for _ in range(10)]
    for i in range(n):
        rows[i % 10][i // 10] = 1
    questions = Questions(tuple(range(n_queries)), ((0,),) * n_queries, (2,) * n_queries, ("",) * n_queries)
    plain, other = ((0,) * n_queries,) * 10, tuple(map(tuple, rows))
    return Sweep(questions, ("",) * 10, other if field == "choices" else plain,
                 other if field == "choices_norm" else plain)


@pytest.mark.parametrize("field", ["choices", "choices_norm"])
def test_choices_between_near_ties_may_fall_the_other_way_one_in_a_hundred(store, field):
    one = FFNOracle(SETUP.with_(n_examples=50))
    store.put(one, flipped(0, field))
    assert store.put(one, flipped(5, field)) == flipped(0, field)  # the first one stays
    with pytest.raises(StoreError, match=f"{field}: 6 of 500 values differ"):
        store.put(one, flipped(6, field))


def test_of_few_choices_a_single_one_may_fall_the_other_way():
    assert differences(flipped(0, "choices", 4), flipped(1, "choices", 4)) == []
    assert differences(flipped(0, "choices", 4), flipped(2, "choices", 4)) == ["choices: 2 of 40 values differ"]


def test_what_greedy_decoding_would_write_may_differ_in_one_query_and_the_questions_in_none():
    questions = Questions((3, 1), ((0,), (0,)), (1, 1), ("", ""), "greedy")
    a, b = (Answers(questions, ((-1.0,), (-2.0,)), ((4,), (6,)), ((True,), (right,))) for right in (True, False))
    assert differences(a, b) == []
    both = Answers(questions, a.loglikelihoods, a.lengths, ((False,), (False,)))
    assert differences(a, both) == ["greedy: 2 of 2 values differ"]
    moved = Answers(Questions((3, 2), ((0,), (0,)), (1, 1), ("", ""), "greedy"), a.loglikelihoods, a.lengths, a.greedy)
    assert differences(a, moved) == ["questions: 1 of 9 values differ"]


def test_deleting_forgets_and_says_whether_there_was_something(store):
    store.put(unit(), evaluation())
    store.put_seconds(unit(), 2.5)
    assert store.delete(unit())
    assert not store.delete(unit())
    assert store.get(unit()) is None
    assert store.units() == []
    assert store.seconds(unit()) is None


def test_seconds_are_kept_beside_the_results(store):
    assert store.seconds(unit()) is None
    store.put_seconds(unit(), 2.5)
    assert store.seconds(unit()) == 2.5
    assert store.units() == []


def test_nothing_is_ever_evicted(store):
    settings = dict(database(store).execute("SELECT key, value FROM Settings").fetchall())
    assert settings["eviction_policy"] == "none"
    assert settings["cull_limit"] == 0


def test_the_store_knows_its_size(store):
    before = store.size_bytes()
    for seed in range(50):
        store.put(unit(seed=seed), evaluation())
    assert store.size_bytes() > before > 0


def test_results_put_together_are_stored_all_or_none(store):
    store.put(unit(seed=1), evaluation(-1.25))
    with pytest.raises(StoreError, match="different result"):
        store.put_all([(unit(), evaluation()), (unit(seed=1), evaluation(-1.5))])
    assert store.units() == [unit(seed=1)]
    store.put_all([(unit(), evaluation()), (unit(seed=1), evaluation(-1.5))], replace=True)
    assert store.get(unit(seed=1)) == evaluation(-1.5)
    assert unit() in store


def test_a_store_for_recomputing_lacks_one_unit_and_keeps_nothing(store):
    store.put(unit(), evaluation())
    store.put(unit(seed=1), evaluation())
    beside = store.recomputing(unit())
    assert beside.get(unit()) is None
    assert beside.get(unit(seed=1)) == evaluation()
    assert beside.put(unit(), evaluation(-9.00000001)) == evaluation(-9.0)
    assert store.get(unit()) == evaluation()


# --- the catalogue ------------------------------------------------------------------------------


def test_the_catalogue_filters_by_kind_model_and_task_by_name_or_exactly(store):
    other_rows, other_model = unit(task=TaskId("piqa", "d2")), of_model(digest="fedcba987654")
    pruned, scores = Pruning(SETUP), PrefixMatching(MODEL)
    stored = [unit(), unit(n_shots=1), unit(task=COPA), unit(Head(1, 2)), other_rows, other_model]
    for each in stored:
        store.put(each, evaluation())
    store.put(pruned, Sweep(evaluation().questions, ("",), ((0, 1),), ((0, 1),), ((0.0, 0.0),)))
    store.put(scores, INDUCTION)
    assert set(store.units()) == {*stored, pruned, scores}
    assert store.units() == Store(store.folder).units()
    assert store.units("pruning") == [pruned]
    assert store.units(task="copa") == store.units(task=COPA) == [unit(task=COPA)]
    assert set(store.units(task="piqa")) == {*stored, pruned} - {unit(task=COPA)}
    assert set(store.units(task=PIQA)) == {*stored, pruned} - {unit(task=COPA), other_rows}
    assert len(store.units(model="tiny")) == len(stored) + 2
    assert store.units(model=other_model.model) == [other_model]
    assert store.units(model="other") == store.units("pruning", task="copa") == []


def test_the_catalogue_follows_another_store_on_the_same_folder(store):
    assert store.units() == []
    with Store(store.folder) as other:
        other.put(unit(), evaluation())
        assert store.units() == [unit()]
        other.delete(unit())
    assert store.units() == []


def test_what_was_put_joins_the_catalogue_without_reading_it_again(store, monkeypatch):
    store.put(unit(), evaluation())
    assert store.units() == [unit()]

    def read_again(self):
        raise AssertionError("the whole store was read again")

    monkeypatch.setattr(store_module.diskcache.Cache, "__iter__", read_again)
    store.put(unit(Head(0, 1)), evaluation())
    store.put(unit(), evaluation())  # nothing new
    assert set(store.units()) == {unit(), unit(Head(0, 1))}


def test_what_was_put_beside_another_store_or_taken_back_leaves_the_catalogue_right(store):
    store.put(unit(), evaluation())
    assert store.units() == [unit()]
    with Store(store.folder) as other:
        other.put(unit(Head(0, 1)), evaluation())
    store.put(unit(Head(0, 2)), evaluation())
    assert set(store.units()) == {unit(), unit(Head(0, 1)), unit(Head(0, 2))}
    with pytest.raises(StoreError, match="different result"):
        store.put_all([(unit(Head(0, 3)), evaluation()), (unit(), evaluation(-9.0))])
    store.put(unit(Head(1, 1)), evaluation())
    assert set(store.units()) == {unit(), unit(Head(0, 1)), unit(Head(0, 2)), unit(Head(1, 1))}


def test_models_and_tasks_are_counted_alike_whether_results_came_one_by_one_or_at_once(store):
    def told(one):
        return [(model, one.n_results(model), one.tasks(model)) for model in one.models()]

    results = [unit(), unit(task=COPA), unit(Head(0, 1), task=COPA), of_model(name="other"), of_model(dtype="float16")]
    for one in results:
        store.put(one, evaluation())
        catalogue(store)
    assert told(catalogue(store)) == told(Catalogue(store.by_key()))
    assert catalogue(store).tasks(MODEL) == [COPA, PIQA]
    assert catalogue(store).models()[0] == MODEL
    store.delete_all(results[1:4])
    assert told(catalogue(store)) == told(Catalogue(store.by_key()))
    assert catalogue(store).tasks(MODEL) == [PIQA]


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [
    lambda value: value[:-3],
    lambda value: value[:80] + bytes([value[80] ^ 1]) + value[81:],
    lambda value: b"",
    lambda value: b"nonsense",
    lambda value: "text",
    lambda value: _signed(b"not compressed"),
    lambda value: _signed(zlib.compress(b"not JSON")),
    lambda value: _signed(zlib.compress(b"[1]")),
    lambda value: _signed(zlib.compress(b'{"unit":{"schema":999},"record":{}}')),
    lambda value: _signed(zlib.compress(pack(unit(), evaluation()).replace(b'"metric"', b'"matrix"'))),
    lambda value: _signed(zlib.compress(pack(unit(seed=9), evaluation()))),
    lambda value: _signed(zlib.compress(b'{"unit":' + b"[" * 100_000)),
], ids=["cut short", "one bit", "empty", "short", "text", "not compressed", "not JSON", "a list", "other schema",
        "unknown field", "another unit's", "deep"])
def test_a_damaged_entry_counts_as_missing_is_named_and_can_be_computed_again(store, damage):
    store.put(unit(), evaluation())
    with database(store) as db:
        (value,) = db.execute("SELECT value FROM Cache WHERE key = ?", (unit().key,)).fetchone()
        db.execute("UPDATE Cache SET value = ? WHERE key = ?", (damage(value), unit().key))
    assert store.get(unit()) is None
    assert [str(unit()) in p and "Compute it again" in p for p in store.problems()] == [True]
    store.put(unit(), evaluation())
    assert store.get(unit()) == evaluation()
    assert store.problems() == []


def _signed(packed: bytes) -> bytes:
    return entries.digest(packed).encode() + packed


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_never_loaded_neither_as_value_nor_as_key(store, tmp_path):
    store.put(unit(), evaluation())
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    with database(store) as db:
        db.execute("UPDATE Cache SET value = ?, mode = 4 WHERE key = ?", (trap, unit().key))
        db.execute("INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 4, ?)", (trap, trap))
    assert store.get(unit()) is None
    assert unit() not in store
    assert store.check() != []
    assert not (tmp_path / "sprung").exists()
    assert "pickled" in store.problems()[0]


def test_a_value_that_names_a_file_outside_is_not_read(store, tmp_path):
    (tmp_path / "secret").write_text("secret")
    store.put(unit(), evaluation())
    with database(store) as db:
        db.execute("UPDATE Cache SET value = NULL, mode = 3, filename = '../secret' WHERE key = ?", (unit().key,))
    assert store.get(unit()) is None
    store.put(unit(), evaluation())  # and replacing it deletes nothing
    assert (tmp_path / "secret").exists()


def test_a_bomb_is_not_unpacked(store, monkeypatch):
    monkeypatch.setattr(limits, "RESULT_BYTES", 1000)
    with pytest.raises(StoreError, match="larger than"):
        entries.inflate(zlib.compress(bytes(2000)))


def test_a_catalogue_entry_of_another_schema_is_left_out_and_named(store):
    other = json.dumps(unit().to_json() | {"schema": SCHEMA + 1})
    with database(store) as db:
        db.execute("INSERT INTO Cache (key, raw, mode, value) VALUES (?, 1, 1, '')", (f"unit:0 {other}",))
    assert store.units() == []
    assert f"schema {SCHEMA + 1}" in store.problems()[0]


@pytest.mark.parametrize("text", ["", "3", "[]", "{", "[" * 100_000, '{"schema":[1]}'])
def test_a_damaged_catalogue_entry_is_left_out_and_named_and_its_neighbours_stay(store, text):
    store.put(unit(), evaluation())
    with database(store) as db:
        db.execute("INSERT INTO Cache (key, raw, mode, value) VALUES (?, 1, 1, '')", (f"unit:0 {text}",))
    with Store(store.folder) as again:
        assert again.units() == [unit()]
        assert "was left out" in again.problems()[0]
        assert again.earlier() == {}


def test_a_file_that_is_no_database_is_set_aside_whole_and_named(tmp_path):
    content = b"This is not a database, it is a sentence." * 100
    (tmp_path / "cache.db").write_bytes(content)
    store = Store(tmp_path)
    assert store.put(unit(), evaluation()) == evaluation()
    (place,) = store.set_aside()
    assert (place / "cache.db").read_bytes() == content
    assert "was damaged (file is not a database). 0 good results" in store.problems()[0]
    assert str(place) in store.problems()[0]
    assert Store(tmp_path).problems() == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="HEADROOM_CACHE"):
        Store(tmp_path / "file" / "store")


# --- several at once ----------------------------------------------------------------------------


def _write(folder: Path, seeds: range) -> None:
    with Store(folder) as store:
        for seed in seeds:
            store.put(unit(seed=seed), evaluation(-seed))


def test_processes_write_one_store_together(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, seeds)) for seeds in (range(0, 30), range(20, 50))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [w.exitcode for w in writers] == [0, 0]
    with Store(tmp_path) as store:
        assert len(store.units()) == 50
        assert all(store.get(unit(seed=s)) == evaluation(-s) for s in range(50))
        assert store.problems() == []


def test_threads_share_one_store(store):
    def write(seeds: range) -> None:
        for seed in seeds:
            store.put(unit(seed=seed), evaluation(-seed))
            assert store.get(unit(seed=seed)) == evaluation(-seed)
        store.close()

    threads = [threading.Thread(target=write, args=(seeds,)) for seeds in (range(0, 20), range(10, 30))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.units()) == 30


def _write_forever(folder: Path, ready) -> None:
    with Store(folder) as store:
        for seed in range(10**6):
            store.put(unit(seed=seed), evaluation(-seed))
            if seed == 20:
                ready.set()


def test_a_writer_killed_at_any_moment_leaves_whole_results(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    writer = context.Process(target=_write_forever, args=(tmp_path, ready))
    writer.start()
    assert ready.wait(60)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    with Store(tmp_path) as store:
        seeds = sorted(u.setup.seed for u in store.units())
        assert seeds == list(range(len(seeds)))
        assert len(seeds) > 20
        assert store.check() == []
        store.put(unit(seed=-1), evaluation())
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix == ".val") == []


# --- shipped results ----------------------------------------------------------------------------


def test_shipped_results_lie_below_the_live_ones(tmp_path):
    ship(tmp_path / "shipped", [(unit(), evaluation()), (unit(seed=1), evaluation(-9))])
    with Store(tmp_path / "live", shipped=tmp_path / "shipped") as store:
        assert store.get(unit()) == evaluation()
        assert unit() in store
        store.put(unit(seed=2), evaluation())
        assert store.units() == [unit(), unit(seed=1), unit(seed=2)]
        assert store.live_units() == [unit(seed=2)]
        store.put(unit(), evaluation())
        assert store.live_units() == [unit(seed=2)]
        with pytest.raises(StoreError, match="different result"):
            store.put(unit(), evaluation(-5))
        store.put(unit(), evaluation(-5), replace=True)
        assert store.get(unit()) == evaluation(-5)
        assert not store.delete(unit(seed=1))
        assert store.delete(unit())
        assert store.get(unit()) == evaluation()


def test_shipping_writes_one_plain_file_per_kind_with_the_same_bytes_every_time(tmp_path):
    scores = InductionScores(100, ((0.1, 0.2),), ((0.0, 0.0),), "by merge rank", 893)
    results = [(unit(), evaluation()), (unit(seed=1), evaluation()), (PrefixMatching(MODEL), scores)]
    files = ship(tmp_path / "a", results)
    assert [f.name for f in files] == ["evaluation.json", "prefix_matching.json"]
    ship(tmp_path / "b", reversed(results[1:]))
    ship(tmp_path / "b", results[:1])
    for file in files:
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
        assert json.loads(file.read_bytes())["schema"] == SCHEMA


def test_shipping_drops_an_earlier_state_of_the_model_and_earlier_rows(tmp_path):
    more_rows, newer = unit(task=TaskId("piqa", "d2")), of_model(digest="fedcba987654")
    half = of_model(dtype="bfloat16")
    ship(tmp_path, [(u, evaluation()) for u in (unit(), unit(task=COPA), of_model(name="other"), half)])
    ship(tmp_path, [(more_rows, evaluation())])
    assert set(Store(tmp_path / "live", tmp_path).units()) == {more_rows, unit(task=COPA), of_model(name="other")}
    ship(tmp_path, [(half.__class__(half.setup.with_(task=more_rows.task)), evaluation())])
    assert len(Store(tmp_path / "live", tmp_path).units()) == 4  # however the same model is run
    ship(tmp_path, [(newer, evaluation())])
    assert set(Store(tmp_path / "live", tmp_path).units()) == {newer, of_model(name="other")}


def test_shipping_new_rows_drops_what_was_ranked_by_the_old_ones(tmp_path):
    by_piqa = Pruning(SETUP.with_(task=COPA), "heads", Ranking.by(PIQA))
    ship(tmp_path, [(by_piqa, PRUNED), (Pruning(SETUP.with_(task=COPA)), PRUNED)])
    ship(tmp_path, [(unit(task=TaskId("piqa", "d2")), evaluation())])
    assert Store(tmp_path / "live", tmp_path).units("pruning") == [Pruning(SETUP.with_(task=COPA))]


def test_a_damaged_shipped_entry_counts_as_missing_and_its_neighbours_do_not(tmp_path):
    (file,) = ship(tmp_path, [(unit(), evaluation()), (unit(seed=1), evaluation())])
    file.write_bytes(file.read_bytes().replace(b"-1.25", b"-1.26", 1))
    store = Store(tmp_path / "live", tmp_path)
    assert [store.get(u) for u in (unit(), unit(seed=1))] == [None, evaluation()]
    assert store.units() == [unit(seed=1)]
    assert "damaged" in store.problems()[0]


def test_which_results_are_shipped_is_told_without_reading_their_numbers(tmp_path):
    ship(tmp_path / "shipped", [(unit(), evaluation()), (unit(seed=1), evaluation(-9.0))])
    path = tmp_path / "shipped" / "evaluation.json"
    path.write_bytes(path.read_bytes().replace(b"[[-9.0,", b"[[-9.0;"))  # no JSON any more
    with Store(tmp_path / "live", shipped=tmp_path / "shipped") as store:
        assert store.units() == [unit(), unit(seed=1)]
        assert store.get(unit(seed=1)) is None
        assert store.get(unit()) == evaluation()
        assert len(store.problems()) == 1


@pytest.mark.parametrize("indent", [None, 2])
def test_a_shipped_file_that_something_else_has_written_is_read_all_the_same(tmp_path, indent):
    ship(tmp_path / "shipped", [(unit(), evaluation()), (unit(seed=1), evaluation(-9))])
    path = tmp_path / "shipped" / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=indent))
    with Store(tmp_path / "live", shipped=tmp_path / "shipped") as store:
        assert [store.get(one) for one in store.units()] == [evaluation(), evaluation(-9)]
        assert not store.check()


def test_a_damaged_shipped_result_is_not_in_the_store_even_if_nobody_read_it(tmp_path):
    (file,) = ship(tmp_path, [(unit(), evaluation()), (unit(seed=1), evaluation())])
    file.write_bytes(file.read_bytes().replace(b"-1.25", b"-1.26", 1))
    store = Store(tmp_path / "live", tmp_path)
    assert [u in store for u in (unit(), unit(seed=1), unit(seed=2))] == [False, True, False]
    assert str(unit()) in store.problems()[0]
    assert store.put(unit(), evaluation(-3.0)) == evaluation(-3.0)  # and can be computed again
    assert unit() in store


def test_a_shipped_result_with_the_right_digest_and_the_wrong_fields_counts_as_missing(tmp_path):
    (file,) = ship(tmp_path, [(unit(), evaluation())])
    value = json.loads(file.read_bytes())
    (entry,) = value["results"]
    entry["record"]["lengths"] = [["4", 5], [6, 7]]
    entry["sha256"] = entries.digest(canonical({"unit": entry["unit"], "record": entry["record"]}))
    file.write_text(json.dumps(value))
    store = Store(tmp_path / "live", tmp_path)
    assert store.get(unit()) is None
    assert "lengths holds '4', not a int" in store.problems()[0]
    assert store.units() == []


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema":0,"results":[]}',
                                     b'{"schema":%d,"results":[3]}' % SCHEMA, b"[" * 100_000])
def test_a_damaged_shipped_file_counts_as_empty_and_is_named(tmp_path, content):
    (tmp_path / "evaluation.json").write_bytes(content)
    store = Store(tmp_path / "live", tmp_path)
    assert store.units() == []
    assert store.get(unit()) is None
    assert "evaluation.json cannot be read" in store.problems()[0]


def test_canonical_json_has_one_spelling():
    assert canonical({"b": 1, "a": [1.0, "ü"]}) == '{"a":[1.0,"ü"],"b":1}'.encode()


def test_the_default_store_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path / "elsewhere"))
    assert store_module.default_store().folder == tmp_path / "elsewhere"


def test_a_result_read_before_is_not_parsed_again_until_it_changes(store):
    first = store.put(unit(), evaluation())
    read = store.get(unit())
    assert store.get(unit()) is read == first
    Store(store.folder).put(unit(), evaluation(first=-9.0), replace=True)  # by another process
    assert store.get(unit()) == evaluation(first=-9.0)


def test_only_so_much_of_what_was_read_is_kept(store, monkeypatch):
    size = len(pack(unit(), evaluation()))
    monkeypatch.setattr(entries, "RECENT_BYTES", 2 * size + 10)
    for seed in range(3):
        store.put(unit(seed=seed), evaluation())
    read = [store.get(unit(seed=seed)) for seed in range(3)]
    assert [store.get(unit(seed=seed)) is read[seed] for seed in (2, 1, 0)] == [True, True, False]


def test_what_follows_from_the_results_is_made_at_the_first_question_however_many_were_written_before(store):
    for seed in range(4):
        assert store.derived(f"asked {seed}", lambda before: (before, "made")) == (None, "made")
        assert store.derived(f"asked {seed}", lambda before: pytest.fail("nothing has changed")) == (None, "made")
        store.put(unit(seed=seed), evaluation(-seed))
