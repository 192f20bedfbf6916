"""Whatever comes from outside is read whole and right, or refused in a sentence; nothing else ever happens."""

from __future__ import annotations

import copy
import io
import json
import shutil
import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import limits
from backend.errors import BadInput, HeadroomError, StoreError
from backend.kinds import Answers, HeadScores, Model, Sweep, Unit
from backend.records import ModelInfo, Record
from backend.store import bundles
from backend.store.entries import inflate, pack, unpack
from backend.store.live import Store
from backend.store.shipped import Shipped
from backend.values import Ablation, Ranking, TaskId, parse, parse_exact
from tests.fuzzing import tried
from tests.store import attacks
from tests.store.attacks import MODEL, RECORDS, entry, plant

INFO = ModelInfo.from_json(RECORDS["model"])


# --- inputs -------------------------------------------------------------------------------------

DEEP: Any = 1
for _ in range(300):
    DEEP = [DEEP]
ODD = st.one_of(
    st.sampled_from([None, True, False, -1, 0, 1, 2, 3, 100, 2**53, 2**63, 10**30, -10**30, 0.5, -0.5, 1e308, 1e-320,
                     float("nan"), float("inf"), "", "5", "x", "F0", "L0H0", "L0-9H0-9", "L0-999H0-999", "acc",
                     "greedy", "acc_by_group", "mean:F0", "heads", "ffns", "combined", "own", "per-token",
                     "\ud800", "\x00", "𝔘",
                     [], {}, [[]], [0], [0, 1], [[0, 1]] * 2, ["a"], {"a": 1}, DEEP]),
    st.integers(-10, 10), st.floats(-10, 10), st.text(max_size=5))


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value in which up to three things, anywhere, are other, gone, twice, or more."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = None
        at: Any = value
        name: Any = None
        while isinstance(at, list | dict) and at and (holder is None or draw(st.integers(0, 3))):
            holder = at
            name = draw(st.sampled_from(sorted(at, key=str) if isinstance(at, dict) else range(len(at))))
            at = at[name]
        if holder is None:
            return copy.deepcopy(draw(ODD))
        match draw(st.sampled_from(["other", "other", "other", "gone", "twice", "more"])):
            case "other":
                holder[name] = copy.deepcopy(draw(ODD))
            case "gone":
                del holder[name]
            case "twice" if isinstance(holder, list):
                holder.insert(name, copy.deepcopy(at))
            case _ if isinstance(holder, dict):
                holder[draw(st.text(max_size=3))] = copy.deepcopy(draw(ODD))
    return value


def spoiled(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes cut short, or some of them other, gone or more."""
    spoilt = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        if not spoilt:
            break
        at, n = draw(st.integers(0, len(spoilt) - 1)), draw(st.sampled_from([1, 1, 1, 2, 4, 16, 512, 4096]))
        match draw(st.sampled_from(["other", "other", "zero", "gone", "more", "end"])):
            case "other":
                spoilt[at:at + n] = draw(st.binary(min_size=min(n, 16), max_size=min(n, 16)))
            case "zero":
                spoilt[at:at + n] = bytes(len(spoilt[at:at + n]))
            case "gone":
                del spoilt[at:at + n]
            case "more":
                spoilt[at:at] = draw(st.binary(max_size=16))
            case "end":
                del spoilt[at:]
    return bytes(spoilt)


KIND = st.sampled_from(sorted(RECORDS))


def use(unit: Unit[Any], record: Record) -> None:
    """What pages and commands do with a result that was read: nothing may go wrong any more."""
    assert unit.key
    assert str(unit)
    assert unit.sort_key
    assert unit.arguments() is not None
    for need in unit.needs():
        assert need.key
    assert record.left_out[0] >= 0
    if isinstance(record, Answers):
        assert len(record.outcomes()) == len(record.outcomes(norm=True)) == record.questions.n > 0
        assert 0 <= record.questions.chance <= 1
    if isinstance(record, Sweep):
        assert np.isfinite(record.accuracy()).all()
        assert np.isfinite(record.importance()).all()
        assert all(isinstance(parse_exact(text), Ablation) for text in record.ablations) or not record.removed
    if isinstance(record, HeadScores):
        for reduction in ("per-token", "per-example"):
            assert np.isfinite(record.scores(reduction)).all()
    if isinstance(record, ModelInfo):
        assert len(record.heads) <= limits.HEADS
        assert len(record.of_heads(np.zeros((record.n_layers, record.n_heads)))) == len(record.attending)


# --- properties ---------------------------------------------------------------------------------


@tried(100)
@given(data=st.data(), kind=KIND, known=st.booleans())
def test_a_changed_result_is_refused_or_can_be_used(data, kind, known):
    unit, record = entry(kind)
    value = data.draw(changed({"unit": unit, "record": record}))
    try:
        body = json.dumps(value).encode()
        read = unpack(body, lambda model: INFO if known and model.weights == MODEL.weights else None)
    except StoreError:
        return
    use(*read)
    assert pack(*unpack(pack(*read))) == pack(*read)


@tried(75)
@given(data=st.data())
def test_bytes_are_a_result_or_refused(data):
    unit, record = entry(data.draw(KIND))
    with suppress(StoreError):
        use(*unpack(spoiled(data.draw, attacks.written({"unit": unit, "record": record}))))
    with suppress(StoreError):
        inflate(spoiled(data.draw, attacks.zlib.compress(attacks.written(record))))


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("fuzz") / "live") as store:
        yield store


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    file = attacks.bundle(tmp_path_factory.mktemp("bundle") / "b.zip", map(entry, sorted(RECORDS)))
    return file.read_bytes()


def inspected(content: bytes, store: Store) -> None:
    try:
        contents = bundles.inspect(io.BytesIO(content), store)
        for unit, record in contents.results.items():
            use(unit, record)
    except (StoreError, BadInput):
        return


@tried(37)
@given(data=st.data())
def test_a_spoilt_bundle_is_read_right_or_refused(data, empty, content):
    inspected(spoiled(data.draw, content), empty)


@tried(37)
@given(data=st.data())
def test_a_bundle_with_another_manifest_or_results_is_read_right_or_refused(data, empty):
    results = [data.draw(changed(list(entry(kind)))) for kind in data.draw(st.lists(KIND, min_size=1, max_size=3))]
    sound = [(one[0], one[1]) for one in results if isinstance(one, list) and len(one) > 1 and isinstance(one[0], dict)]
    told = data.draw(changed({"models": [{"name": "stranger", "revision": "r", "digest": "d", "bos": False,
                                          "dtype": ""}], "versions": {"torch": "1"}, "definitions": {"model": "x"}}))
    with tempfile.TemporaryDirectory() as folder, suppress(UnicodeEncodeError):  # what cannot be written at all
        file = attacks.bundle(Path(folder) / "b.zip", [entry("model"), *sound], **(
            {str(k): v for k, v in told.items() if k not in ("path", "results")} if isinstance(told, dict) else {}))
        inspected(file.read_bytes(), empty)


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """A store of every kind."""
    folder = tmp_path_factory.mktemp("database") / "live"
    plant(folder, map(entry, sorted(RECORDS)))
    with sqlite3.connect(folder / "cache.db") as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    opened.close()
    return folder / "cache.db"


def looked_at(folder: Path) -> None:
    """A store as status, pages and repair see it: nothing is raised, and what is listed is sound or named."""
    with Store(folder) as store:
        units = store.units()
        for unit in units:
            store.seconds(unit)
            assert unit.model.name
            if (record := store.get(unit)) is not None:
                use(unit, record)
                assert unit in store
            else:
                assert store.check()
        store.earlier()
        store.repair(store.examine())
        assert store.examine().damaged == []
        assert all(store.get(unit) is not None for unit in store.units())
        info = ModelInfo.from_json(RECORDS["model"])
        with suppress(StoreError):  # another shape is stored under its name
            store.put(Model(MODEL), info, replace=True)
            assert store.get(Model(MODEL)) == info


COLUMNS = st.fixed_dictionaries({}, optional={
    "key": ODD, "raw": st.sampled_from([0, 1, None]), "mode": st.sampled_from([0, 1, 2, 3, 4, None]), "value": ODD,
    "filename": st.sampled_from([None, "../x", "/etc/passwd", ""]), "expire_time": st.sampled_from([None, 0.0, 1e30]),
    "store_time": ODD, "tag": ODD})


@tried(6)
@given(rows=st.lists(st.tuples(st.integers(1, 18), COLUMNS), min_size=1, max_size=4), wanted=st.lists(
    st.tuples(st.sampled_from(["size_limit", "cull_limit", "eviction_policy", "sqlite_synchronous", "disk_x", "get",
                               "_local", "sqlite_journal_mode", "count"]), ODD), max_size=3))
def test_a_store_with_other_rows_and_settings_is_opened_for_what_is_good_in_it(rows, wanted, database):
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(database, Path(place) / "cache.db")
        with sqlite3.connect(Path(place) / "cache.db") as opened:
            for rowid, columns in rows:
                for name, value in columns.items():
                    with suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
                        opened.execute(f"UPDATE Cache SET {name} = ? WHERE rowid = ?", (value, rowid))
            for name, value in wanted:
                with suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
                    opened.execute("INSERT OR REPLACE INTO Settings VALUES (?, ?)", (name, value))
        opened.close()
        looked_at(Path(place))


@tried(6)
@given(data=st.data())
def test_a_store_whose_file_is_spoilt_is_opened_for_what_is_good_in_it(data, database):
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "cache.db").write_bytes(spoiled(data.draw, database.read_bytes()))
        looked_at(Path(place))


@tried(15)
@given(data=st.data())
def test_spoilt_shipped_files_are_read_for_what_is_good_in_them(data):
    with tempfile.TemporaryDirectory() as place:
        attacks.ship(Path(place), map(entry, sorted(RECORDS)))
        files = st.lists(st.sampled_from(sorted(Path(place).iterdir())), min_size=1, max_size=3, unique=True)
        for file in data.draw(files):
            if data.draw(st.booleans()):
                file.write_bytes(spoiled(data.draw, file.read_bytes()))
            else:
                file.write_text(json.dumps(data.draw(changed(json.loads(file.read_bytes())))))
        found = Shipped(Path(place))
        for unit in found.units():
            if (record := found.get(unit, lambda model: INFO)) is not None:
                use(unit, record)
        assert found.check(lambda model: INFO) == len(found.units()) or found.problems()


MASK = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(
    ["L", "H", "F", "FFN", "L0", "H1", "-", ".", ",", ";", "\n", " ", "0", "7", "12", "999999", "1000000", "mean:",
     "zero:", "L0-11H0-11", "L0-999999H0-999999", "F0-999999", "L0-999", "٣", "²", "\x00", "\ud800", "l3h7", "3.7"]),
    max_size=30).map("".join))


@tried(150)
@given(text=MASK, n_layers=st.sampled_from([1, 12, 126, 1000, 10**6]), n_heads=st.sampled_from([1, 12, 128, 10**6]),
       headless=st.sets(st.integers(0, 11)))
def test_any_text_is_a_mask_of_the_model_or_told(text, n_layers, n_heads, headless):
    ablation, problems = parse(text, n_layers, n_heads, {layer for layer in headless if layer < n_layers})
    assert len(ablation.heads) + len(ablation.ffns) <= limits.MASK_NAMES
    assert len(problems) <= limits.MASK_PROBLEMS + 1
    if not problems:
        ablation.check(n_layers, n_heads)
    if len(ablation.heads) < 2000 and n_layers <= 1000 >= n_heads:
        assert parse_exact(str(ablation)) == ablation


@tried(75)
@given(text=st.one_of(st.text(max_size=40), st.lists(st.sampled_from(
    ["own", "task", "aggregate", "random", "reverse", ":", "+", ",", "0", "5", "-1", "9" * 5000, "antonym", " "]),
    max_size=8).map("".join)))
def test_any_text_is_a_ranking_or_refused(text):
    own = TaskId("antonym", "x")

    def find(names: str) -> list[TaskId]:
        found = [TaskId(name, "x") for name in names.split(",") if name]
        if not found:
            raise BadInput("No task.")
        return found

    try:
        ranking = Ranking.parse(text, own, find)
    except HeadroomError:
        return
    assert Ranking.parse(ranking.named(own), own, find) == ranking
