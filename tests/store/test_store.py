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
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput, StoreError
from backend.results import SCHEMA, Answers, HeadScores, InductionScores, Questions, Setup, Sweep, Unit
from backend.store import live as store_module
from backend.store.live import Store, canonical, differences, pack, rounded, ship, unpack
from backend.values import Ablation, Head

SETUP = Setup("tiny", "abc", "float32", "piqa", "d1", 5, "fixed", 2, 0)


def evaluation(first: float = -1.25) -> Answers:
    questions = Questions((3, 1), ((0,), (1,)), (2, 2), ("", ""), dropped_demos=(0, 1))
    return Answers(questions, ((first, -2.5), (-3.0, -0.5)), ((4, 5), (6, 7)))


def unit(kind: str = "evaluation", off: tuple[Head, ...] = (), **changes) -> Unit:
    return Unit(kind, SETUP.with_(**changes), Ablation(frozenset(off)))


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


@pytest.mark.parametrize(("kind", "record"), [
    ("evaluation", evaluation()),
    ("ffn_oracle", Sweep(QUESTIONS, ("", "F0"), ((0, 1), (1, 1)), ((0, 0), (1, 0)))),
    ("pruning", Sweep(QUESTIONS, ("", "L0H0"), ((0, 1), (1, 1)), ((0, 0), (1, 0)), ((0.0, 0.0), (0.5, 0.0)))),
    ("prefix_matching", InductionScores(100, ((0.25, 0.5),), ((0.0, 1.0),), "by merge rank", 893)),
    ("head_importance", HeadScores(4, (7,), (2, 2), ((9, 9), (8, 8)), (((0.5,), (0.25,)),) * 2,
                                       (((0.5,), (1.0,)),) * 2)),
])
def test_every_kind_of_record_survives_the_disk(store, kind, record):
    store.put(unit(kind), record)
    assert Store(store.folder).get(unit(kind)) == record


def test_a_unit_s_neighbours_stay_missing(store):
    store.put(unit(), evaluation())
    for other in (unit(seed=1), unit(n_shots=1), unit(revision="abd"), unit(data="d2"), unit(off=(Head(0, 0),)),
                  Unit("evaluation", SETUP, options=(("x", "y"),))):
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
        store.put(unit("head_importance"), evaluation())


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
    assert differences(evaluation(), other) == ["questions: 1 of 13 values differ", "lengths: of different shapes"]


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


def test_the_catalogue_filters_by_kind_setup_ablation_and_options(store):
    pruned = Unit("pruning", SETUP, options=(("ranking", "own"), ("what", "heads")))
    stored = [unit(), unit(n_shots=1), unit(task="copa"), unit(off=(Head(1, 2),)), pruned]
    for each in stored[:-1]:
        store.put(each, evaluation())
    store.put(pruned, Sweep(evaluation().questions, ("",), ((0, 1),), ((0, 1),), ((0.0, 0.0),)))
    assert set(store.units()) == set(stored)
    assert store.units() == Store(store.folder).units()
    assert store.units(kind="pruning") == [pruned]
    assert store.units(task="copa") == [unit(task="copa")]
    assert store.units(n_shots=[0, 1]) == [unit(n_shots=1)]
    assert store.units(ablation=Ablation(frozenset({Head(1, 2)}))) == [unit(off=(Head(1, 2),))]
    assert store.units(ranking="own", what="heads") == [pruned]
    assert store.units(task="copa", n_shots=1) == []


def test_the_catalogue_follows_another_store_on_the_same_folder(store):
    assert store.units() == []
    with Store(store.folder) as other:
        other.put(unit(), evaluation())
        assert store.units() == [unit()]
        other.delete(unit())
    assert store.units() == []


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
], ids=["cut short", "one bit", "empty", "short", "text", "not compressed", "not JSON", "a list", "other schema",
        "unknown field", "another unit's"])
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
    return store_module.digest(packed).encode() + packed


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
    monkeypatch.setattr(store_module, "MAX_BYTES", 1000)
    with pytest.raises(StoreError, match="larger than"):
        store_module.inflate(zlib.compress(bytes(2000)))


def test_a_catalogue_entry_of_another_schema_is_left_out_and_named(store):
    other = json.dumps(unit().to_json() | {"schema": SCHEMA + 1})
    with database(store) as db:
        db.execute("INSERT INTO Cache (key, raw, mode, value) VALUES (?, 1, 1, '')", (f"unit:0 {other}",))
    assert store.units() == []
    assert f"schema {SCHEMA + 1}" in store.problems()[0]


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "cache.db").write_bytes(b"This is not a database, it is a sentence." * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path)


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
    prefix = Unit("prefix_matching", SETUP.without_task())
    results = [(unit(), evaluation()), (unit(seed=1), evaluation()), (prefix, scores)]
    files = ship(tmp_path / "a", results)
    assert [f.name for f in files] == ["evaluation.json", "prefix_matching.json"]
    ship(tmp_path / "b", reversed(results[1:]))
    ship(tmp_path / "b", results[:1])
    for file in files:
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
        assert json.loads(file.read_bytes())["schema"] == SCHEMA


def test_shipping_drops_an_earlier_revision_and_earlier_data(tmp_path):
    ship(tmp_path, [(unit(), evaluation()), (unit(task="copa"), evaluation()), (unit(model="other"), evaluation())])
    ship(tmp_path, [(unit(data="d2"), evaluation())])
    assert set(Store(tmp_path / "live", tmp_path).units()) == {
        unit(data="d2"), unit(task="copa"), unit(model="other")}
    ship(tmp_path, [(unit(revision="new"), evaluation())])
    assert set(Store(tmp_path / "live", tmp_path).units()) == {unit(revision="new"), unit(model="other")}


def test_a_damaged_shipped_entry_counts_as_missing_and_its_neighbours_do_not(tmp_path):
    (file,) = ship(tmp_path, [(unit(), evaluation()), (unit(seed=1), evaluation())])
    file.write_bytes(file.read_bytes().replace(b"-1.25", b"-1.26", 1))
    store = Store(tmp_path / "live", tmp_path)
    assert [store.get(u) for u in (unit(), unit(seed=1))] == [None, evaluation()]
    assert store.units() == [unit(seed=1)]
    assert "damaged" in store.problems()[0]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema":0,"results":[]}',
                                     b'{"schema":%d,"results":[3]}' % SCHEMA])
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
    monkeypatch.setattr(store_module, "RECENT_BYTES", 2 * size + 10)
    for seed in range(3):
        store.put(unit(seed=seed), evaluation())
    read = [store.get(unit(seed=seed)) for seed in range(3)]
    assert [store.get(unit(seed=seed)) is read[seed] for seed in (2, 1, 0)] == [True, True, False]
