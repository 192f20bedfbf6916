"""Long arrays as bytes: the very numbers that JSON would hold, in equal bytes for equal ones, refused where damaged."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from backend import limits
from backend.errors import HeadroomError, StoreError
from backend.kinds import HeadImportance, HeadOracle, HeadScores, HeadWrites, Means, Model, Pruning, Sweep, Writes
from backend.records import Record
from backend.store import bundles, compact
from backend.store.entries import canonical, differences, is_rounded, pack, plain, rounded, unpack
from backend.store.live import Store
from backend.values import Ablation, Head, Setup, TaskId, mask_size, parse_exact
from tests.fuzzing import tried
from tests.pages import made_up
from tests.store import attacks
from tests.store.test_fuzz import spoiled

INFO = made_up.model_info(6, 40, "paper")
MODEL = made_up.model_id(INFO)
SETUP = Setup(MODEL, TaskId("antonym", "x"), 5, "fixed", 40, 0)
SHORT = SETUP.with_(model=MODEL.with_(dtype="bfloat16"))


def scores(n_blocks: int = 5, seed: int = 0) -> HeadScores:
    rng = np.random.default_rng(seed)
    blocks = rng.lognormal(0, 2, (n_blocks, INFO.n_layers, INFO.n_heads))
    nested = tuple(tuple(tuple(row) for row in block) for block in blocks.tolist())
    return HeadScores(40, (), (40 // n_blocks,) * n_blocks, ((9,) * INFO.n_layers,) * n_blocks, nested, nested)


def curve(unit: Pruning) -> Record:
    return made_up.record(unit, INFO)


# --- numbers ------------------------------------------------------------------------------------


@tried(60)
@given(arrays.arrays(float, arrays.array_shapes(min_dims=1, max_dims=3, max_side=8),
                     elements=st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.floats(-1e3, 1e3),
                                        st.sampled_from([0.0, -0.0, 0.5, 9.9999999e22, 5e-324, 9.9999995, 1e-23]))),
       st.integers(1, 7))
def test_floats_come_back_as_json_would_hold_them(x, digits):
    told, body = compact.array_bytes(x, digits)
    read, n_bytes = compact.array_from(told, memoryview(body))
    with np.errstate(over="ignore"):
        wanted = np.array([float(f"{v:.{digits}g}") for v in x.reshape(-1)]).reshape(x.shape)
    if np.isfinite(wanted).all():
        assert n_bytes == len(body)
        assert np.array_equal(read, wanted)
        assert compact.array_bytes(read, digits) == (told, body)  # rounded once is rounded


def test_short_lists_are_rounded_number_by_number():
    third = 1 / 3
    assert rounded([third, 2 * third]) == [0.3333333, 0.6666667]
    assert rounded((third, 2 * third), 3) == [0.333, 0.667]
    assert rounded([third, 2], 3, summed=True) == [0.3333333, 2]  # no long array
    assert rounded([third, 1e-9 / 3, None, "a", True], 3) == [0.333, 3.33e-10, None, "a", True]
    assert rounded((1, True, None, "a", [third])) == [1, True, None, "a", [0.3333333]]
    assert rounded((1, True, None, "a")) == [1, True, None, "a"]


@tried(60)
@given(arrays.arrays(np.int64, arrays.array_shapes(min_dims=1, max_dims=3, max_side=8),
                     elements=st.one_of(st.integers(-3, 3), st.integers(-limits.NUMBER, limits.NUMBER))))
def test_whole_numbers_come_back(x):
    told, body = compact.array_bytes(x, 7)
    assert np.array_equal(compact.array_from(told, memoryview(body))[0], x)


@pytest.mark.parametrize("scale", [1, 1e-25, 1e200, 1e-300])
@pytest.mark.parametrize("digits", [3, 4])
def test_what_is_added_up_has_its_place_s_decimals_and_rounding_it_again_changes_nothing(scale, digits):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10, 6, 7)) * rng.lognormal(0, 3, (6, 7)) * scale
    x[:, 0, 0] = 0
    x[0, 1, 1], x[1:, 1, 1] = 0.99996 * scale, 0.5 * scale  # which rounds up to another power of ten
    kept = compact.rounded_array(x, digits, summed=True)
    told, body = compact.array_bytes(x, digits, summed=True)
    assert np.array_equal(compact.array_from(told, memoryview(body))[0], kept)
    assert np.array_equal(compact.rounded_array(kept, digits, summed=True), kept)
    assert compact.array_bytes(kept, digits, summed=True) == (told, body)
    assert (np.abs(kept - x) <= 0.5001 * 10.0 ** (1 - digits) * np.abs(x).max(0) + 1e-320).all()
    assert kept[3, 2, 3] == float(f"{kept[3, 2, 3]:.{digits}g}")


def test_numbers_near_the_first_of_their_axis_take_few_bytes():
    rng = np.random.default_rng(0)
    near = rng.lognormal(0, 2, (1, 200)) * (1 + 1e-5 * rng.normal(size=(50, 200)))
    packed, others = (len(zlib.compress(compact.array_bytes(x, 7)[1])) for x in (near, rng.lognormal(0, 2, (50, 200))))
    assert packed < 0.75 * others


@pytest.mark.parametrize(("value", "is_array"), [
    ([[0.5] * 10] * 100, True), ([[1] * 10] * 100, True), ([[0.5, 1]] * 500, True), ([0.5] * 999, False),
    ([True] * 1000, False), (["a"] * 1000, False), ([[0.5] * 10] * 100 + [[0.5] * 9], False), ([[]] * 1000, False),
    ([[0.5] * 10] * 100 + [0.5], False), ([0.5] + [[0.5] * 10] * 100, False), ([2**60] * 1000, False), ([], False),
    ([10**30] * 1000, False), ([None] * 1000, False), ([np.float32(0.5)] * 1000, True), ({"a": 1}, False),
])
def test_only_long_and_full_arrays_of_numbers_are_arrays(value, is_array):
    assert (compact.array_of(value) is not None) == is_array


# --- masks --------------------------------------------------------------------------------------


@tried(100)
@given(st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11))), st.sets(st.integers(0, 11)))
def test_the_size_of_a_mask_is_that_of_what_it_names(heads, ffns):
    off = Ablation(frozenset(Head(*pair) for pair in heads), frozenset(ffns))
    size = mask_size(str(off))
    assert size == (len(heads), len(ffns), max((a + 1 for a, _ in heads), default=0),
                    max((b + 1 for _, b in heads), default=0), max(ffns, default=-1) + 1, "zero")


@tried(300)
@given(st.lists(st.sampled_from(["L", "H", "F", "-", ",", "0", "1", "12", "L0H1", "L0H2-5", "F2", "F3-4", "mean:",
                                 "\n"]), max_size=7).map("".join))
def test_a_text_has_a_size_only_if_it_is_a_mask(text):
    try:
        off = parse_exact(text)
    except HeadroomError:
        with pytest.raises(HeadroomError):
            mask_size(text)
    else:
        assert mask_size(text)[:2] == (len(off.heads), len(off.ffns))
        assert mask_size(text).fill == off.fill


@pytest.mark.parametrize("what", ["heads", "ffns", "combined"])
def test_the_masks_of_a_curve_are_a_few_bytes_and_come_back(what):
    unit = Pruning(SETUP, what)
    record = curve(unit)
    body = pack(unit, record)
    read = unpack(body, lambda _: INFO)[1]
    assert read.to_json() == plain(unit, record)
    if what != "ffns":
        assert b'"masks"' in body
        assert len(body) < len(canonical({"unit": unit.to_json(), "record": plain(unit, record)})) / 2


def test_masks_that_do_not_hold_each_other_stay_texts():
    names = [str(Ablation(frozenset(Head(layer, head) for head in range(k, 40, 2)))) for layer in range(6)
             for k in range(2)] * 5
    assert compact.masks_bytes(names) is None
    grown = [",".join(f"L0H{head}" for head in range(0, 2 * k, 2)) for k in range(100)]
    assert compact.masks_bytes(grown) is not None
    assert compact.masks_bytes([*grown[:-1], f"{grown[-1]},L0H1-1"]) is None  # not as masks are written
    assert compact.masks_bytes([f"mean:{one}" if one else one for one in grown]) is None


# --- results ------------------------------------------------------------------------------------


def test_a_long_result_is_the_same_in_either_form():
    unit, record = HeadImportance(SETUP), scores()
    body, text = pack(unit, record), canonical({"unit": unit.to_json(), "record": rounded(record.to_json())})
    assert compact.is_compact(body)
    assert unpack(body) == unpack(text)
    assert pack(*unpack(text)) == body == pack(*unpack(body))
    assert is_rounded(body)
    assert len(body) < len(text) / 2


def test_a_short_result_stays_json():
    body = pack(Writes(SETUP), HeadWrites(2, 9, ((0.5,) * 40,) * 6))
    assert json.loads(body)["record"]["n_positions"] == 9


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_long_array_with_no_number_in_it_is_not_stored(bad):
    record = scores()
    worse = ((bad, *record.block_per_token[0][0][1:]), *record.block_per_token[0][1:])
    with pytest.raises(StoreError, match="NaN or an infinite number"):
        pack(HeadImportance(SETUP), replace(record, block_per_token=(worse, *record.block_per_token[1:])))


@pytest.mark.parametrize(("dtype", "digits"), [("float32", 7), ("float16", 4), ("bfloat16", 3)])
def test_a_model_run_in_16_bits_keeps_fewer_digits_of_blocks_alone(dtype, digits):
    unit = HeadImportance(SETUP.with_(model=MODEL.with_(dtype=dtype)))
    read = unpack(pack(unit, scores()))[1]
    given, kept = np.array(scores().block_per_token), np.array(read.block_per_token)
    error = (np.abs(given - kept).max(0) / np.abs(given).max(0)).max()
    assert 10.0**-digits / 20 < error < 0.5001 * 10.0 ** (1 - digits)
    means = Means(SETUP.with_(model=MODEL.with_(dtype=dtype)))
    record = made_up.record(means, INFO)
    record = replace(record, ffns=((0.1234567,) * INFO.d_model,) * INFO.n_layers)
    assert unpack(pack(means, record))[1].ffns[0][0] == 0.1234567  # what is put into a model is kept as ever


def test_right_answers_log_likelihoods_keep_three_digits_each_and_choices_stay():
    unit = HeadOracle(SHORT)
    record = made_up.record(unit, INFO)
    read = unpack(pack(unit, record), lambda _: INFO)[1]
    assert isinstance(read, Sweep)
    assert read.choices == record.choices
    assert read.gold == tuple(tuple(float(f"{v:.3g}") for v in row) for row in record.gold)
    assert plain(unit, record) == read.to_json()


def test_one_in_the_last_digit_that_is_kept_is_no_difference():
    """Two runs that rounding parts, and a result that an earlier version kept with more digits."""
    unit, record = HeadImportance(SHORT), scores()
    stored = unpack(pack(unit, record))[1]
    assert differences(record, stored)  # by the rule of 7 digits
    assert not differences(record, stored, unit=unit)
    assert not differences(stored, record, unit=unit)
    moved = replace(stored, block_per_token=tuple(tuple(tuple(v * 1.1 for v in row) for row in block)
                                                  for block in stored.block_per_token))
    assert differences(stored, moved, unit=unit)


# --- from strangers -----------------------------------------------------------------------------


def described(*changes: Any, at: int = 0) -> bytes:
    """A compact result whose first array is described otherwise, or has other bytes behind it."""
    body = pack(HeadImportance(SETUP), scores())
    text, blobs = compact.split(body)
    value = json.loads(text)
    told = value["record"]["block_per_example"]["@"]
    told[at:at + len(changes)] = changes
    return b"".join([compact.MAGIC, canonical(value), b"\n", blobs])


@pytest.mark.parametrize(("body", "message"), [
    (described("x"), "description is damaged"),
    (described(0), "description is damaged"),
    (described(8), "description is damaged"),
    (described(True), "description is damaged"),
    (described(7.0), "description is damaged"),
    (described(10**30, at=1), "description is damaged"),
    (described(9, at=2), "description is damaged"),
    (described(8, at=3), "description is damaged"),
    (described(0, at=3), "description is damaged"),
    (described(-5, at=4), "description is damaged"),
    (described(2**24, 2**24, 2**24, at=4), "up to 16,777,216 are allowed"),
    (described(2**21, 1, 1, at=4), "in 1,048,576 rows"),
    (described(6, at=4), "beyond all floats"),
    (described(4, at=4), "beyond all floats"),
    (described(1, at=3), "beyond all floats"),
    (described(5, at=3), "beyond all floats"),
    (described(400, at=1), "NaN or an infinite number|beyond all floats"),
    (described()[:-1], "cut short"),
    (described() + b"x", "bytes that are no array's"),
    (compact.MAGIC, "cut short"),
    (compact.MAGIC + b"\n", "Not a stored result"),
    (compact.MAGIC + b"{}\n", "no unit with its record"),
    (compact.MAGIC + b"[" * 5000 + b"]" * 5000 + b"\n", "Not a stored result|lists"),
    (described().replace(b'{"@":[', b'{"a":1,"@":['), "description is damaged"),
])
def test_a_damaged_array_is_told(body, message):
    with pytest.raises(StoreError, match=message):
        unpack(body)


@cache
def sound() -> list[bytes]:
    """Three results as they are stored."""
    return [pack(HeadImportance(SETUP), scores()), pack(Pruning(SETUP), curve(Pruning(SETUP))),
            pack(HeadOracle(SHORT), made_up.record(HeadOracle(SHORT), INFO))]


@tried(150)
@given(st.data())
def test_spoiled_bytes_are_read_whole_or_refused(data):
    body = spoiled(data.draw, data.draw(st.sampled_from(sound())))
    try:
        other, read = unpack(body, lambda _: INFO)
    except HeadroomError:
        return
    assert pack(other, read)  # whatever came in can go out
    read.check()


def test_an_array_where_no_numbers_belong_is_refused():
    unit = Writes(SETUP)
    told, blob = compact.array_bytes(np.zeros((50, 40)), 7)
    for field in ("n_examples", "norms"):
        record = {"n_examples": 2, "n_positions": 9, "norms": [[0.5] * 40] * 6, field: {"@": told}}
        body = b"".join([compact.MAGIC, canonical({"unit": unit.to_json(), "record": record}), b"\n", blob])
        with pytest.raises(StoreError, match=field):
            unpack(body, lambda _: INFO)


def test_masks_and_arrays_are_bounded_before_they_are_made(monkeypatch):
    unit = Pruning(SETUP)
    body = pack(unit, curve(unit))
    monkeypatch.setattr(limits, "RESULT_NUMBERS", 100)
    with pytest.raises(StoreError, match="numbers"):
        unpack(body)
    monkeypatch.undo()
    monkeypatch.setattr(limits, "HEADS", 100)
    with pytest.raises(StoreError, match="more than a model can have"):
        unpack(body)


# --- bundles ------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path):
    with Store(tmp_path / "here") as store:
        made_up.fill(store, [HeadImportance(SHORT), Pruning(SETUP), Means(SHORT)], INFO)
        store.put(HeadImportance(SHORT.with_(seed=1)), scores())
        yield store


def test_what_is_compact_goes_out_and_comes_in_to_the_bit(here, tmp_path):
    bundles.export(tmp_path / "a.zip", here, here.units())
    with zipfile.ZipFile(tmp_path / "a.zip") as bundle:
        assert {name.rpartition(".")[2] for name in bundle.namelist()} == {"json", "bin"}
        assert "newer version" in json.loads(bundle.read("manifest.json"))["format"]
    with Store(tmp_path / "there") as there:
        bundles.take_in(bundles.inspect(tmp_path / "a.zip", there), there)
        assert [there.get(unit) for unit in there.units()] == [here.get(unit) for unit in here.units()]
        assert not there.check()
        bundles.export(tmp_path / "b.zip", there, there.units())
        assert not bundles.inspect(tmp_path / "a.zip", there).new
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_what_an_earlier_version_stored_as_json_is_read_and_goes_out_compact(tmp_path):
    unit = HeadImportance(SETUP)
    attacks.plant(tmp_path / "old", [(unit.to_json(), rounded(scores().to_json()))])
    with Store(tmp_path / "old") as old, Store(tmp_path / "new") as new:
        new.put(unit, scores())
        assert old.get(unit) == new.get(unit)
        bundles.export(tmp_path / "old.zip", old, [unit])
        bundles.export(tmp_path / "new.zip", new, [unit])
    assert (tmp_path / "old.zip").read_bytes() == (tmp_path / "new.zip").read_bytes()


def test_a_bundle_without_long_arrays_is_as_it_was(tmp_path):
    with Store(tmp_path / "here") as here:
        here.put(Model(MODEL), INFO)
        bundles.export(tmp_path / "a.zip", here, here.units())
    with zipfile.ZipFile(tmp_path / "a.zip") as bundle:
        told = json.loads(bundle.read("manifest.json"))
    assert told["format"] == "headroom-bundle"
    assert set(told["entries"][0]) == {"key", "what", "sha256", "bytes"}
    assert "left_out" not in told


def test_what_stands_in_for_components_stays_at_home_unless_it_is_asked_for(here, tmp_path):
    units, left = bundles.carried(here.units())
    assert left == {"means": 1}
    assert {unit.KIND for unit in here.units()} - {unit.KIND for unit in units} == {"means"}
    assert bundles.carried(here.units(), ["means"]) == (here.units(), {})
    bundles.export(tmp_path / "a.zip", here, units, left)
    with Store(tmp_path / "there") as there:
        notes = bundles.inspect(tmp_path / "a.zip", there).notes
    assert any(note.startswith("Without 1 means") and "--with means" in note for note in notes)


@pytest.mark.parametrize("form", ["exe", "../x", ""])
def test_a_result_of_another_form_is_refused(here, tmp_path, form):
    bundles.export(tmp_path / "a.zip", here, here.units())
    with zipfile.ZipFile(tmp_path / "a.zip") as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist()}
    told = json.loads(files["manifest.json"])
    told["entries"][0]["form"] = form
    files["manifest.json"] = json.dumps(told).encode()
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as out:
        for name, body in files.items():
            out.writestr(name, body)
    with pytest.raises(StoreError, match="a result is written as"), Store(tmp_path / "there") as there:
        bundles.inspect(tmp_path / "b.zip", there)


def test_outcomes_of_all_masks_at_once_are_those_of_one_after_the_other():
    record = made_up.record(HeadOracle(SHORT), INFO)
    assert isinstance(record, Sweep)
    assert record.questions.one_answer
    assert np.array_equal(record.outcomes(), [record.questions.outcomes(row) for row in record.choices])
    two = replace(record, questions=replace(record.questions, gold=((0, 1), *record.questions.gold[1:])))
    assert not two.questions.one_answer
    assert np.array_equal(two.outcomes(), [two.questions.outcomes(row) for row in two.choices])
