"""Whatever befell a store's file: what is good in it is there, the file is kept, and nothing planted is obeyed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.__main__ import BAD_INPUT, DONE, FAILED, main
from backend.errors import StoreError
from backend.kinds import Evaluation, Model
from backend.models.identity import identify
from backend.records import ModelInfo
from backend.store import bundles, opening
from backend.store.live import Store
from backend.values import Setup, TaskId
from tests.store.attacks import MODEL, RECORDS, UNITS, entry, plant
from tests.store.attacks import ship as ship_raw
from tests.store.test_store import Trap, evaluation, unit

N = 60


@pytest.fixture
def folder(tmp_path) -> Path:
    """A store of 60 results with the seconds that they took, all of it in its one file."""
    with Store(tmp_path / "live") as store:
        store.put_all((unit(seed=seed), evaluation(-seed)) for seed in range(N))
        for seed in range(N):
            store.put_seconds(unit(seed=seed), 1.0 + seed)
    with changed(tmp_path / "live") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return tmp_path / "live"


class changed:  # noqa: N801
    """A store's database, to be changed by hand."""

    def __init__(self, folder: Path) -> None:
        self.database = sqlite3.connect(folder / "cache.db", isolation_level=None)

    def __enter__(self) -> sqlite3.Connection:
        return self.database

    def __exit__(self, *_: object) -> None:
        self.database.close()


def bad_key_byte(folder: Path) -> None:
    with changed(folder) as database:
        database.execute("UPDATE Cache SET key = CAST(x'ff' || substr(key, 2) AS TEXT) WHERE key LIKE 'unit:%' "
                         "AND rowid = (SELECT max(rowid) FROM Cache WHERE key LIKE 'unit:%')")


def cut_short(folder: Path) -> None:
    os.truncate(folder / "cache.db", (folder / "cache.db").stat().st_size * 3 // 5)


def page_overwritten(folder: Path) -> None:
    with open(folder / "cache.db", "r+b") as file:
        file.seek((folder / "cache.db").stat().st_size // 4096 // 2 * 4096)
        file.write(b"\xa5" * 4096)


def a_trigger(folder: Path) -> None:
    with changed(folder) as database:
        database.execute("CREATE TRIGGER planted AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END")


def a_view(folder: Path) -> None:
    with changed(folder) as database:
        database.execute("CREATE VIEW planted AS SELECT zeroblob(1000000000) FROM Cache")


def a_text_that_is_none(folder: Path) -> None:
    with changed(folder) as database:
        database.execute("UPDATE Cache SET value = CAST(x'ff' AS TEXT) WHERE key = ?", (unit(seed=3).key,))


DAMAGE: dict[Callable[[Path], None], int] = {  # and how many of the 60 results survive at least
    bad_key_byte: N, cut_short: 10, page_overwritten: N - 10, a_trigger: N, a_view: N, a_text_that_is_none: N - 1}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_set_aside_whole_and_what_is_good_in_it_is_there(folder, damage):
    damage(folder)
    before = (folder / "cache.db").read_bytes()
    with Store(folder) as store:
        units = store.live_units()
        assert len(units) >= DAMAGE[damage]
        assert all(store.get(one) == evaluation(-one.setup.seed) for one in units)
        (place,) = store.set_aside()
        assert (place / "cache.db").read_bytes() == before
        told, = store.problems()
        assert f"{len(units)} good results were taken from it" in told
        assert str(place) in told
        assert "delete" not in told
        store.put(unit(seed=N), evaluation())  # it can be written, and nothing planted acts on it
        assert unit(seed=N) in store
        assert len(store.live_units()) == len(units) + 1
    with Store(folder) as again:
        assert again.check() == []
        assert len(again.set_aside()) == 1


def test_times_and_seconds_survive_the_mending(folder):
    before = {row.key: row.stored for row in opening.rows(folder / "cache.db")}
    bad_key_byte(folder)
    with Store(folder) as store:
        assert [store.seconds(unit(seed=seed)) for seed in range(N)] == [1.0 + seed for seed in range(N)]
        after = {row.key: row.stored for row in opening.rows(folder / "cache.db")}
        assert all(after[unit(seed=seed).key] == before[unit(seed=seed).key] for seed in range(N))


def test_results_of_an_earlier_schema_survive_the_mending(folder):
    description = unit().to_json() | {"schema": 1}
    (key,) = plant(folder, [(description, {"any": 1})])
    bad_key_byte(folder)
    with Store(folder) as store:
        assert store.earlier() == {key: description}
        assert store.earlier_record(key) == {"any": 1}
        assert store.earlier_time(key) == 1.0
        assert store.check() == [*store.problems()[:1]]


def test_damage_while_a_store_is_open_closes_nothing(folder):
    with Store(folder) as store:
        assert len(store.live_units()) == N
        with changed(folder) as database:
            database.execute("UPDATE Cache SET value = CAST(x'ff' AS TEXT) WHERE key = ?", (unit(seed=3).key,))
            database.execute("UPDATE Cache SET value = value + 1 WHERE key = 'generation'")
        assert store.get(unit(seed=3)) is None
        assert store.get(unit(seed=4)) == evaluation(-4)
        assert len(store.live_units()) == N - 1
        store.put(unit(seed=3), evaluation(-3))
        assert store.get(unit(seed=3)) == evaluation(-3)


def test_processes_that_find_the_damage_at_once_mend_it_once(folder):
    bad_key_byte(folder)
    stores: list[Store] = []
    threads = [threading.Thread(target=lambda: stores.append(Store(folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(store.live_units()) for store in stores] == [N] * 4
    assert len(stores[0].set_aside()) == 1


def test_a_store_follows_when_its_folder_is_deleted_or_mended_by_another(folder):
    with Store(folder) as store:
        assert len(store.live_units()) == N
        shutil.rmtree(folder)
        assert store.live_units() == []
        store.put(unit(), evaluation())
        with Store(folder) as other:
            assert other.get(unit()) == evaluation()


# --- planted ------------------------------------------------------------------------------------


def test_settings_planted_in_a_file_are_not_obeyed(folder):
    with changed(folder) as database:
        database.executemany("INSERT OR REPLACE INTO Settings VALUES (?, ?)", [
            ("size_limit", 0), ("cull_limit", 10**6), ("eviction_policy", "least-recently-used"),
            ("disk_evil", 1), ("disk_min_file_size", 0), ("sqlite_user_version", 4711), ("sqlite_cache_size", -10**6),
            ("get", "planted"), ("_timeout", "planted"), ("count", "many")])
    with Store(folder) as store:
        assert len(store.live_units()) == N
        assert [getattr(store._cache, name) for name in opening.SETTINGS] == list(opening.SETTINGS.values())
        assert callable(store._cache.get)
        store.put(unit(seed=N), evaluation())
        assert len(store.live_units()) == N + 1
        assert not hasattr(store._cache, "disk_evil")
        assert store.problems() == []
    with changed(folder) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (0,)
        assert dict(database.execute("SELECT key, value FROM Settings WHERE key NOT IN ('count', 'size', 'hits', "
                                     "'misses')").fetchall()) == opening.SETTINGS


@pytest.mark.parametrize("planted", [
    "mode = 4", "value = 'many'", "value = 9223372036854775807", "value = x'80'", "raw = 0", "filename = '/a'"])
def test_a_planted_generation_closes_nothing(folder, planted):
    with changed(folder) as database:
        database.execute(f"UPDATE Cache SET {planted} WHERE key = 'generation'")
    with Store(folder) as store:
        assert len(store.live_units()) == N
        store.put(unit(seed=N), evaluation())
        assert len(store.live_units()) == N + 1


@pytest.mark.parametrize("planted", [
    "mode = 4, value = x'80'", "value = 'text'", "value = -1.0", "value = 9e999", "value = x'80'"])
def test_planted_seconds_are_none(folder, planted):
    with changed(folder) as database:
        database.execute(f"UPDATE Cache SET {planted} WHERE key = ?", (f"seconds:{unit(seed=3).key}",))
    with Store(folder) as store:
        assert store.seconds(unit(seed=3)) is None
        assert store.seconds(unit(seed=4)) == 5.0


def test_no_entry_goes_missing_after_a_planted_time(folder):
    with changed(folder) as database:
        database.execute("UPDATE Cache SET expire_time = store_time - 1")
    with Store(folder) as store:
        assert [store.get(unit(seed=seed)) for seed in range(N)] == [evaluation(-seed) for seed in range(N)]
        assert store.check() == []


def test_no_pickle_is_loaded_wherever_it_lies(folder, tmp_path):
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    with changed(folder) as database:
        database.execute("UPDATE Cache SET value = ?, mode = 4", (trap,))
        database.execute("INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 4, ?)", (trap, trap))
        database.execute("INSERT OR REPLACE INTO Settings VALUES ('disk_pickle_protocol', ?)", (trap,))
        database.execute("INSERT INTO Settings VALUES ('pickled', ?)", (trap,))
    with Store(folder) as store:
        for seed in range(N):
            assert store.get(unit(seed=seed)) is None
            assert store.seconds(unit(seed=seed)) is None
        assert len(store.check()) > N
        store.repair(store.examine())
        assert store.check() == []
    assert not (tmp_path / "sprung").exists()


# --- only to be read ----------------------------------------------------------------------------


@pytest.fixture
def protected(folder, monkeypatch) -> Path:
    """A store whose folder one may not write in, whoever one is."""
    allowed = os.access
    monkeypatch.setattr(opening.os, "access", lambda path, mode: (
        not (mode & os.W_OK and Path(path).is_relative_to(folder)) and allowed(path, mode)))
    return folder


def test_a_store_that_cannot_be_written_is_read(protected):
    before = (protected / "cache.db").read_bytes()
    with Store(protected) as store:
        assert "write-protected" in store.read_only
        assert len(store.live_units()) == N
        assert store.get(unit(seed=5)) == evaluation(-5)
        assert store.seconds(unit(seed=5)) == 6.0
        assert unit(seed=5) in store
        assert store.check() == store.problems() == []
    assert (protected / "cache.db").read_bytes() == before


def test_what_is_measured_over_a_store_that_cannot_be_written_is_kept_in_memory(protected, monkeypatch):
    with Store(protected) as store:
        assert store.put(unit(seed=N), evaluation(-1.23456789)) == evaluation(-1.234568)
        store.put_seconds(unit(seed=N), 1.0)
        assert store.get(unit(seed=N)) == evaluation(-1.234568)
        assert unit(seed=N) in store
        assert Store(protected).get(unit(seed=N)) is None
        monkeypatch.setattr("backend.store.live.KEPT_BYTES", 1000)
        for seed in range(N, N + 10):
            store.put(unit(seed=seed), evaluation())
        kept = [store.get(unit(seed=seed)) is not None for seed in range(N, N + 10)]
        assert kept == sorted(kept)  # the last ones
        assert 0 < sum(kept) < 10


def test_whatever_would_be_lost_is_refused_where_nothing_can_be_written(protected, tmp_path, capsys):
    with Store(protected) as store:
        for act in (lambda: store.put_all([(unit(seed=N), evaluation())]), lambda: store.delete(unit(seed=1)),
                    lambda: store.repair(store.examine()), store.refuse_to_write):
            with pytest.raises(StoreError, match=r"can only be read \(.*write-protected\)\. Make the folder writable"):
                act()
        bundles.export(tmp_path / "r.zip", store, store.units())
        assert len(store.live_units()) == N
    where = ["--store", str(protected), "--no-shipped"]
    assert main(["status", *where]) == DONE
    assert "This store can only be read" in capsys.readouterr().out
    with Store(tmp_path / "other") as other:
        other.put(unit(seed=N), evaluation())
        bundles.export(tmp_path / "more.zip", other, other.units())
    assert main(["import", str(tmp_path / "more.zip"), *where]) == FAILED
    assert "can only be read" in capsys.readouterr().err


def test_a_damaged_store_that_cannot_be_written_is_read_as_far_as_it_goes(folder, monkeypatch):
    cut_short(folder)
    monkeypatch.setattr(opening.os, "access", lambda path, mode: False)
    before = (folder / "cache.db").read_bytes()
    with Store(folder) as store:
        assert len(store.live_units()) >= 5
        assert any(store.get(one) == evaluation(-one.setup.seed) for one in store.live_units())
        assert "cannot be mended where nothing can be written" in store.problems()[0]
        (folder / "cache.db").write_bytes(b"no database")
        assert Store(folder).live_units() == []
        (folder / "cache.db").write_bytes(before)
    assert not (folder / opening.ASIDE).exists()


def test_shipped_results_are_there_where_no_folder_can_be_made(tmp_path, monkeypatch):
    ship_raw(tmp_path / "shipped", [entry("model"), entry("copying")])

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    store = Store(tmp_path / "live", tmp_path / "shipped")
    assert store.read_only == "permission denied"
    assert store.get(UNITS["copying"]) is not None
    assert len(store.units()) == 2


def test_a_folder_without_rights_is_read_by_who_has_none():
    """The real thing: write-protected files, another user where we may do everything, results still in the log."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))  # one that other users can enter
    try:
        with Store(place / "live") as store:
            store.put_all((unit(seed=seed), evaluation(-seed)) for seed in range(5))
            for path in (place / "live").iterdir():
                path.chmod(0o444)
            (place / "live").chmod(0o555)
            place.chmod(0o755)
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    if os.getuid() == 0:
                        os.setgid(65534)
                        os.setuid(65534)
                    seen = Store(place / "live")
                    said = [bool(seen.read_only), len(seen.live_units()), seen.get(unit(seed=3)) == evaluation(-3)]
                except BaseException as error:
                    said = [repr(error)]
                os.write(write, json.dumps(said).encode())
                os._exit(0)
            os.waitpid(child, 0)
            assert json.loads(os.read(read, 10_000)) == [True, 5, True]
            os.close(read)
            os.close(write)
    finally:
        (place / "live").chmod(0o755)
        shutil.rmtree(place)


def test_no_advice_is_given_to_delete_results(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as error:
        Store(tmp_path / "file" / "store")
    assert "delete" not in str(error.value)


# --- all of it looked at, and mended ------------------------------------------------------------


def test_everything_wrong_is_found_live_shipped_and_shadowed_and_what_can_be_is_repaired(tmp_path):
    live, shipped = tmp_path / "live", tmp_path / "shipped"
    ship_raw(shipped, [entry("model"), entry("copying"), entry("evaluation", lengths=[]), entry("means")])
    plant(live, [entry("copying", n_seeds=4), entry("means"), entry("ffn_oracle"), entry("head_oracle")])
    with changed(live) as database:
        database.execute("DELETE FROM Cache WHERE key LIKE ?", (f"unit:{UNITS['ffn_oracle'].key}%",))  # not listed
        database.execute("DELETE FROM Cache WHERE key = ?", (UNITS["head_oracle"].key,))  # listed, but not there
        database.execute("INSERT INTO Cache (key, raw, mode, value) VALUES ('stray', 1, 1, x'00')")
    with Store(live, shipped) as store:
        found = store.examine()
        assert (found.n_live, found.n_shipped) == (3, 4)
        told = "\n".join(store.problems())
        for words in ("n_seeds holds 4", "lengths holds 0", "names a result that is not there", "missing from its list",
                      "no result, under 'stray'"):
            assert words in told
        assert len(store.problems()) == 5
        assert UNITS["ffn_oracle"] not in store.units()
        place = store.repair(found)
        assert len(json.loads((place / "keys.json").read_text())) == 4  # two entries, one of them with its place
        assert [("lengths holds 0" in problem) for problem in store.check()] == [True]  # the shipped one, in no store
        assert UNITS["ffn_oracle"] in store.units()
        assert UNITS["head_oracle"] not in store.units()
        assert store.get(UNITS["copying"]) is not None  # the shipped one, no longer shadowed
        store.put(UNITS["evaluation"], UNITS["evaluation"].RECORD.from_json(RECORDS["evaluation"]))
        assert store.get(UNITS["evaluation"]) is not None


def test_verify_looks_at_everything_without_the_model_and_repairs(tmp_path, capsys):
    plant(tmp_path, [entry("model"), entry("copying", n_seeds=4), entry("means")])
    where = ["verify", "--store", str(tmp_path), "--no-shipped"]
    assert main([*where, "--model", "/nowhere/at/all"]) == BAD_INPUT
    told = capsys.readouterr()
    assert "all 3 in" in told.out
    assert "1 problems" in told.out
    assert "--repair takes out" in told.out
    assert "n_seeds holds 4" in told.err
    assert main([*where, "--repair", "--model", "/nowhere/at/all"]) == BAD_INPUT
    assert "Repaired: 2 damaged entries were taken out" in capsys.readouterr().out
    with Store(tmp_path) as store:
        assert store.check() == []
        assert store.get(Model(MODEL)) == ModelInfo.from_json(RECORDS["model"])
        assert len(store.units()) == 2


def test_results_on_other_rows_are_said_apart_from_those_that_differ(tmp_path, capsys):
    other = Evaluation(Setup(identify("bundled"), TaskId("antonym", "other rows"), 0, n_examples=2))
    with Store(tmp_path) as store:
        store.put(other, other.RECORD.from_json(RECORDS["evaluation"]))
    assert main(["verify", "--store", str(tmp_path), "--no-shipped"]) == FAILED  # nothing could be compared
    told = capsys.readouterr().out
    assert "0 of 1 results were measured again: 0 agree, 0 differ. 1 could not be measured again here" in told
