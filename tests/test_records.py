"""What is read from a file has every field, of its very type: it may come from anybody."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from backend.errors import StoreError
from backend.records import ModelInfo, Questions, Record, to_plain, too_long
from backend.store.entries import pack, unpack
from backend.values import Ablation, parse_exact
from tests.store.test_store import RECORDS


@dataclass(frozen=True)
class Inner:
    name: str
    off: Ablation


@dataclass(frozen=True)
class Made(Record):
    """A field of every type that records have."""

    number: int
    share: float
    word: str
    right: bool
    numbers: tuple[int, ...]
    shares: tuple[tuple[float, ...], ...]
    pair: tuple[float, str]
    inner: tuple[Inner, ...]


MADE = Made(3, 0.5, "three", True, (1, 2), ((0.5, -1.0), ()), (1.5, "x"), (Inner("a", parse_exact("L0H1,F2")),))
PLAIN = to_plain(MADE)


def test_what_was_written_reads_back_as_it_was():
    assert PLAIN["inner"] == [{"name": "a", "off": "L0H1,F2"}]
    assert Made.from_json(json.loads(json.dumps(PLAIN))) == MADE
    for unit, record in RECORDS:
        assert unpack(pack(unit, record)) == (unit, record)


def test_a_rare_field_is_written_only_where_it_says_something_and_may_be_missing():
    plain = ModelInfo("a", "b", "c", 4, 2, 1, 1, 1, 1, 1, 1, "float32", 1)
    assert "headless" not in plain.to_json()
    assert ModelInfo.from_json(plain.to_json()) == plain
    half = replace(plain, headless=(0, 2))
    assert half.to_json()["headless"] == [0, 2]
    assert ModelInfo.from_json(half.to_json()) == half
    assert [str(head) for head in half.heads] == ["L1H0", "L1H1", "L3H0", "L3H1"]
    with pytest.raises(StoreError, match="fields bytes are missing or unknown"):
        ModelInfo.from_json({name: value for name, value in plain.to_json().items() if name != "bytes"})


def test_whole_numbers_may_stand_where_fractions_do():
    read = Made.from_json(PLAIN | {"share": 1, "shares": [[1, 2], [0.5, 3]], "pair": [2, "x"]})
    assert read.shares == ((1.0, 2.0), (0.5, 3.0))
    assert {type(x) for row in (*read.shares, (read.share, read.pair[0])) for x in row} == {float}


@pytest.mark.parametrize(("change", "reason"), [
    ({"number": 3.0}, "number holds '3.0', not a int"),
    ({"number": True}, "number holds 'True', not a int"),
    ({"number": "3"}, "number holds '3', not a int"),
    ({"number": None}, "not a int"),
    ({"share": "0.5"}, "not a float"),
    ({"share": False}, "share holds 'False', not a float"),
    ({"share": float("nan")}, "share holds NaN or an infinite number"),
    ({"share": float("inf")}, "share holds NaN or an infinite number"),
    ({"share": 10**400}, "share holds NaN or an infinite number"),
    ({"word": 3}, "not a str"),
    ({"word": ["three"]}, "not a str"),
    ({"right": 1}, "not a bool"),
    ({"numbers": 3}, "numbers is not the list it should be"),
    ({"numbers": "12"}, "numbers is not the list it should be"),
    ({"numbers": {"0": 1}}, "numbers is not the list it should be"),
    ({"numbers": [1, 2.0]}, "not a int"),
    ({"numbers": [1, True]}, "not a int"),
    ({"numbers": [[1]]}, "not a int"),
    ({"shares": [0.5]}, "shares is not the list it should be"),
    ({"shares": [[0.5, "high"]]}, "shares holds 'high', not a float"),
    ({"shares": [[0.5, True]]}, "not a float"),
    ({"shares": [[0.5, float("nan")]]}, "shares holds NaN"),
    ({"shares": [[0.5, -float("inf")]]}, "shares holds NaN or an infinite number"),
    ({"shares": [[1, 10**400]]}, "shares holds NaN or an infinite number"),
    ({"pair": [1.5]}, "pair is not the list it should be"),
    ({"pair": [1.5, "x", 1]}, "pair is not the list it should be"),
    ({"pair": ["x", 1.5]}, "not a float"),
    ({"inner": [{"name": "a"}]}, "inner is no Inner: fields off are missing or unknown"),
    ({"inner": [{"name": "a", "off": "L0H1", "more": 1}]}, "fields more are missing or unknown"),
    ({"inner": ["a"]}, "inner is no Inner"),
    ({"more": 1}, "fields more are missing or unknown"),
    ({3: 1}, "fields 3 are missing or unknown"),
])
def test_anything_else_is_refused_and_named(change, reason):
    with pytest.raises(StoreError) as error:
        Made.from_json({**PLAIN, **change})
    assert str(error.value).startswith("A damaged Made: ")
    assert reason in str(error.value)


@pytest.mark.parametrize("missing", PLAIN)
def test_a_missing_field_is_refused_and_named(missing):
    with pytest.raises(StoreError, match=f"fields {missing} are missing"):
        Made.from_json({name: value for name, value in PLAIN.items() if name != missing})


@pytest.mark.parametrize("value", [None, [], "record", 3, [["number", 3]]])
def test_what_is_no_record_is_refused(value):
    with pytest.raises(StoreError, match="is no Made"):
        Made.from_json(value)


@pytest.mark.parametrize("body", [
    b"[" * 100_000, b'{"unit":' + b'{"a":' * 100_000, b"nonsense", b"\xff", b"{}", b"[]", b"null",
    b'{"unit":{},"record":' + b"9" * 10_000 + b"}",
])
def test_bytes_that_are_no_result_are_refused_and_never_crash(body):
    with pytest.raises(StoreError, match="Not a stored result"):
        unpack(body)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused_wherever_they_stand(number):
    unit, record = RECORDS[0]
    body = pack(unit, record)
    with pytest.raises(StoreError, match="NaN or an infinite number"):
        unpack(body.replace(b"-1.25", number.encode()))


def test_what_did_not_fit_is_said_in_words():
    questions = Questions((1, 2), ((0,), (0,)), (2, 2), ("", ""), dropped_demos=(0, 2), skipped=(7, 8))
    assert questions.left_out == (1, 2)
    assert too_long(RECORDS[1][1]) == ("Too long for the model's context: 1 prompts lost demonstrations and 1 prompts "
                                       "were skipped.")
    assert too_long(ModelInfo("a", "b", "c", 1, 1, 1, 1, 1, 1, 1, 1, "float32", 1)) == ""
