"""Bundles: what goes out comes in on another machine, and nothing that is not whole ever does."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from zlib import compress, decompress

import pytest

from backend import limits
from backend.errors import BadInput, StoreError
from backend.kinds import KINDS, Answers, Evaluation, InductionScores, PrefixMatching
from backend.kinds.unit import SCHEMA
from backend.records import Questions
from backend.store import bundles
from backend.store.entries import Deflated, digest, is_rounded, pack
from backend.store.live import Store
from backend.values import INTACT, Ablation, Head, ModelId, Setup, TaskId

MODEL = ModelId("tiny", "abc", "0123456789ab")
SETUP = Setup(MODEL, TaskId("piqa", "d1"), 5, "fixed", 2, 0)
PREFIX = PrefixMatching(MODEL, n_sequences=3)


def evaluation(first: float = -1.25) -> Answers:
    questions = Questions((3, 1), ((0,), (1,)), (2, 2), ("", ""))
    return Answers(questions, ((first, -2.5), (-3.0, -0.5)), ((4, 5), (6, 7)))


def unit(seed: int = 0) -> Evaluation:
    return Evaluation(SETUP.with_(seed=seed), Ablation(frozenset({Head(0, 1)})) if seed else INTACT)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "here") as opened:
        for seed in range(3):
            opened.put(unit(seed), evaluation(-seed))
        opened.put(PREFIX, InductionScores(3, ((0.25, 0.5),), ((0.0, 0.125),), "by merge rank", 90))
        yield opened


@pytest.fixture
def other(tmp_path):
    with Store(tmp_path / "there") as opened:
        yield opened


@pytest.fixture
def bundle(store, tmp_path) -> Path:
    bundles.export(tmp_path / "results.zip", store, store.units())
    return tmp_path / "results.zip"


def rewritten(bundle: Path, change) -> io.BytesIO:
    """The bundle with its files (name -> bytes) changed."""
    with zipfile.ZipFile(bundle) as old:
        files = {name: old.read(name) for name in old.namelist()}
    change(files)
    new = io.BytesIO()
    with zipfile.ZipFile(new, "w") as out:
        for name, body in files.items():
            out.writestr(name, body)
    return new


def in_manifest(**changes):
    def change(files: dict[str, bytes]) -> None:
        files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | changes).encode()
    return change


def test_what_goes_out_comes_in(store, other, bundle):
    contents = bundles.inspect(bundle, other)
    assert set(contents.new) == set(store.units())
    assert other.units() == []
    bundles.take_in(contents, other)
    assert other.units() == store.units()
    assert all(other.get(u) == store.get(u) for u in store.units())
    assert other.check() == []


def test_what_is_compressed_in_a_bundle_is_not_compressed_once_more(other, bundle, monkeypatch):
    squeezed: list[bytes] = []
    monkeypatch.setattr(Deflated, "of", classmethod(
        lambda cls, body: squeezed.append(body) or cls(body, compress(body))))
    contents = bundles.inspect(bundle, other)
    bundles.take_in(contents, other)
    assert len(contents.new) == 4
    assert not squeezed
    assert other.check() == []


def test_a_zip_that_is_not_compressed_comes_in_as_well(store, other, bundle):
    contents = bundles.inspect(rewritten(bundle, lambda files: None), other)
    bundles.take_in(contents, other)
    assert all(other.get(u) == store.get(u) for u in store.units())
    assert other.check() == []


def test_only_one_whole_stream_is_taken_over_as_it_is():
    body = bytes(range(256)) * 40
    raw = compress(body)[2:-4]
    found = Deflated.from_raw(raw, len(body))
    assert found is not None
    assert found.body == body == decompress(found.packed)
    for other in (raw + b"x", raw[:-1], raw[1:], b""):
        assert Deflated.from_raw(other, len(body)) is None
    assert Deflated.from_raw(raw, len(body) - 1) is None


def test_a_bundle_can_be_read_and_written_through_open_files(store, other):
    file = io.BytesIO()
    bundles.export(file, store, store.units())
    file.seek(0)
    assert len(bundles.inspect(file, other).new) == 4


def test_equal_results_make_equal_bundles(store, other, bundle, tmp_path):
    bundles.take_in(bundles.inspect(bundle, other), other)
    other.put_seconds(unit(), 9.0)
    bundles.export(tmp_path / "again.zip", other, reversed(other.units()))
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_the_manifest_names_models_versions_definitions_and_digests(bundle):
    with zipfile.ZipFile(bundle) as file:
        manifest = json.loads(file.read("manifest.json"))
        assert manifest["models"] == [{"name": "tiny", "revision": "abc", "digest": "0123456789ab", "bos": False,
                                       "dtype": ""}]
        assert manifest["schema"] == SCHEMA
        assert set(manifest["versions"]) >= {"torch", "transformers"}
        assert set(manifest["definitions"]) == {"evaluation", "prefix_matching"}
        assert set(file.namelist()) == {"manifest.json", *(f"results/{e['key']}.json" for e in manifest["entries"])}
        for entry in manifest["entries"]:
            assert digest(file.read(f"results/{entry['key']}.json")) == entry["sha256"]


def test_every_kind_has_a_definition():
    assert all(kind.TITLE and kind.DEFINITION for kind in KINDS.values())


def test_what_is_here_already_is_told_and_left(store, other, bundle):
    other.put(unit(1), evaluation(-1.0))
    contents = bundles.inspect(bundle, other)
    assert contents.same == [unit(1)]
    assert len(contents.new) == 3


def test_a_different_result_stops_the_import_whole_and_is_replaced_on_request_only(store, other, bundle):
    other.put(unit(1), evaluation(-7.0))
    contents = bundles.inspect(bundle, other)
    assert list(contents.conflicts) == [unit(1)]
    with pytest.raises(StoreError, match=r"1 results differ .*loglikelihoods.*--replace"):
        bundles.take_in(contents, other)
    assert other.units() == [unit(1)]
    assert other.get(unit(1)) == evaluation(-7.0)
    bundles.take_in(contents, other, replace=True)
    assert other.get(unit(1)) == evaluation(-1.0)
    assert len(other.units()) == 4


def test_a_conflict_that_appears_after_looking_stops_the_import_whole(other, bundle):
    contents = bundles.inspect(bundle, other)
    other.put(unit(2), evaluation(-7.0))
    with pytest.raises(StoreError, match="different result"):
        bundles.take_in(contents, other)
    assert other.units() == [unit(2)]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95, 0.999])
def test_a_bundle_cut_short_is_refused(other, bundle, share):
    content = bundle.read_bytes()
    bundle.write_bytes(content[:int(share * len(content))])
    with pytest.raises(StoreError, match="cut short"):
        bundles.inspect(bundle, other)
    assert other.units() == []


def test_no_flipped_byte_of_a_result_goes_unnoticed(other, bundle, store):
    content = bundle.read_bytes()
    for position in range(0, len(content), 37):
        changed = bytearray(content)
        changed[position] ^= 0x55
        bundle.write_bytes(bytes(changed))
        try:
            contents = bundles.inspect(bundle, other)
        except StoreError:
            continue
        assert all(store.get(u) == record for u, record in contents.results.items())  # a date, a comment: harmless
        with suppress(StoreError):
            bundles.take_in(contents, other)
        assert all(store.get(u) == other.get(u) for u in other.units())
        other.delete_all(other.units())


@pytest.mark.parametrize("number", [-1.23456789, -12345678.0, -0.000123456789, -100000.00001])
def test_more_digits_than_are_kept_come_in_rounded(store, other, bundle, tmp_path, number):
    def change(files: dict[str, bytes]) -> None:
        body = pack(unit(), evaluation()).replace(b"-1.25", str(number).encode())
        entries = json.loads(files["manifest.json"])["entries"]
        for entry in entries:
            if entry["key"] == unit().key:
                entry |= {"sha256": digest(body), "bytes": len(body)}
        files[f"results/{unit().key}.json"] = body
        in_manifest(entries=entries)(files)

    bundles.take_in(bundles.inspect(rewritten(bundle, change), other), other)
    assert other.get(unit()).loglikelihoods[0][0] == float(f"{number:.7g}")
    with Store(tmp_path / "measured") as measured:
        measured.put(unit(), evaluation(number))
        for name, one in (("a.zip", other), ("b.zip", measured)):
            bundles.export(tmp_path / name, one, [unit()])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize(("numbers", "said"), [
    ("1.234567,-0.001234567,1e-07,1.234567e-30,123456.0,0.0", True), ("1.2345678", False), ("0.00012345678", False),
    ("100000.001", False), ("12345678", False)])
def test_whether_numbers_are_rounded_is_told_from_the_bytes(numbers, said):
    assert is_rounded(b'{"record":[%s],"unit":{"digest":"123456789012"}}' % numbers.encode()) is said
    assert not is_rounded(b'{"unit":{},"record":[%s]}' % numbers.encode()), "nothing is told of another order"


def test_a_result_that_is_there_before_it_comes_in_is_compared_with_it(other, bundle):
    contents = bundles.inspect(bundle, other)
    other.put(unit(1), evaluation(-1.0))
    bundles.take_in(contents, other)
    assert len(other.units()) == 4
    assert other.check() == []


def _drop(files):
    del files[max(files)]


def _add(name):
    return lambda files: files.update({name: b"{}"})


def _damage(files):
    name = max(files)
    files[name] = files[name].replace(b"-2.5", b"-2.6").replace(b"0.25", b"0.26")


def _swap(files):
    names = sorted(name for name in files if name != "manifest.json")
    files[names[0]], files[names[1]] = files[names[1]], files[names[0]]


def _mistype(files):
    """A record whose numbers are words, with the right digest: made on purpose."""
    bad = replace(evaluation(), loglikelihoods=(("high", "low"), ("low", "high")))
    _forge(files, pack(unit(), bad))


def _other_unit(files):
    _forge(files, pack(unit(77), evaluation()))


def _other_schema_inside(files):
    _forge(files, pack(unit(), evaluation()).replace(b'"schema":%d' % SCHEMA, b'"schema":%d' % (SCHEMA + 1)))


def _forge(files, body):
    manifest = json.loads(files["manifest.json"])
    for entry in manifest["entries"]:
        if entry["key"] == unit().key:
            entry |= {"sha256": digest(body), "bytes": len(body)}
    files |= {"manifest.json": json.dumps(manifest).encode(), f"results/{unit().key}.json": body}


@pytest.mark.parametrize(("change", "message"), [
    (lambda files: files.pop("manifest.json"), "no manifest.json"),
    (lambda files: files.update({"manifest.json": b"[]"}), "manifest of this bundle is damaged"),
    (lambda files: files.update({"manifest.json": b"{"}), "manifest of this bundle is damaged"),
    (in_manifest(schema=SCHEMA + 1), f"schema {SCHEMA + 1}, this version reads schema {SCHEMA}"),
    (in_manifest(format="photographs"), "photographs"),
    (in_manifest(entries=[{"key": "../../evil", "what": "", "sha256": "", "bytes": 0}]), "not in the bundle"),
    (in_manifest(models=[["tiny", "abc"]]), "a model is no ModelId"),
    (in_manifest(models=[{"name": "tiny", "revision": "abc", "digest": "another", "bos": False, "dtype": ""}]),
     "do not name the same models"),
    (_drop, "not in the bundle"),
    (_add("../../evil.json"), r"does not name: \.\./\.\./evil\.json"),
    (_add("/etc/evil"), "does not name: /etc/evil"),
    (_add("results/extra.json"), "does not name: results/extra.json"),
    (_damage, "is damaged: its digest is not the manifest's"),
    (_swap, "is damaged: its digest is not the manifest's"),
    (_mistype, "loglikelihoods holds 'high', not a float"),
    (_other_unit, "holds another result than its name says"),
    (_other_schema_inside, f"schema {SCHEMA + 1}"),
])
def test_what_does_not_match_is_refused_and_named(other, bundle, tmp_path, change, message):
    with pytest.raises(StoreError, match=message):
        bundles.inspect(rewritten(bundle, change), other)
    assert other.units() == []
    assert list(tmp_path.rglob("evil*")) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_occurs_twice_is_refused(other, bundle):
    with zipfile.ZipFile(bundle, "a") as file:
        file.writestr(f"results/{unit().key}.json", b"{}")
    with pytest.raises(StoreError, match="occurs twice"):
        bundles.inspect(bundle, other)


def test_a_bomb_is_not_unpacked(other, bundle, monkeypatch):
    monkeypatch.setattr(limits, "MANIFEST_BYTES", 2**20 - 1)
    bomb = rewritten(bundle, lambda files: files.update({"manifest.json": b" " * 2**20}))
    with pytest.raises(StoreError, match="manifest unpacks to more than"):
        bundles.inspect(bomb, other)
    monkeypatch.setattr(limits, "RESULT_BYTES", 100)
    with pytest.raises(StoreError, match="a result has up to"):
        bundles.inspect(bundle, other)


def test_a_file_that_is_not_there_and_a_file_that_is_no_zip_are_named(other, tmp_path):
    with pytest.raises(BadInput, match="There is no file"):
        bundles.inspect(tmp_path / "nothing.zip", other)
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(StoreError, match="not a bundle"):
        bundles.inspect(tmp_path / "text.zip", other)


def test_nothing_and_damaged_results_are_not_exported(store, tmp_path):
    with pytest.raises(BadInput, match="Nothing to export"):
        bundles.export(tmp_path / "empty.zip", store, [])
    with pytest.raises(StoreError, match="no undamaged result"):
        bundles.export(tmp_path / "missing.zip", store, [unit(77)])
    assert list(tmp_path.glob("*.zip")) == []


def test_other_versions_definitions_and_revisions_are_told(other, bundle):
    other.put(Evaluation(SETUP.with_(model=MODEL.with_(digest="older"))), evaluation())
    file = rewritten(bundle, in_manifest(versions={"torch": "1.0"}, definitions={"evaluation": "by eye"}))
    versions, revisions, definitions = bundles.inspect(file, other).notes
    assert "torch 1.0 (here" in versions
    assert "revision abc (digest 0123456789ab) in the bundle and at abc (digest older) here" in revisions
    assert "by eye" in definitions
