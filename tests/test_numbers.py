"""Arrays that read as nested tuples."""

import pickle

import numpy as np
import pytest

from backend.kept import Kept
from backend.numbers import Numbers, extremes

ARRAY = np.arange(24).reshape(2, 3, 4) / 8
NESTED = tuple(tuple(tuple(row) for row in layer) for layer in ARRAY.tolist())


def test_they_are_equal_to_the_tuples_that_they_stand_for_and_hash_alike():
    numbers = Numbers(ARRAY)
    assert numbers == NESTED
    assert NESTED == numbers  # noqa: SIM300
    assert numbers == Numbers(ARRAY.copy())
    assert hash(numbers) == hash(NESTED)
    assert len({numbers, NESTED}) == 1
    assert numbers != NESTED[::-1]
    assert numbers != Numbers(ARRAY[0])
    assert numbers != ARRAY.tolist()
    assert numbers.nested() == NESTED
    assert isinstance(numbers.nested()[1][2], tuple)


def test_rows_are_sequences_and_numbers_are_pythons_own():
    numbers = Numbers(ARRAY)
    assert numbers[1][2][3] == ARRAY[1, 2, 3]
    assert type(numbers[1][2][3]) is float
    assert numbers[-1] == NESTED[-1]
    assert numbers[:1] == NESTED[:1]
    assert [tuple(row) for row in numbers[0]] == list(NESTED[0])
    assert {type(x) for x in numbers[0][0]} == {float}
    assert {type(x) for x in Numbers(np.array([3, 1], np.int32))} == {int}
    assert numbers[0][1].index(0.625) == 1
    assert 0.625 in numbers[0][1]
    with pytest.raises(IndexError):
        numbers[2]


def test_numpy_gets_the_array_itself_and_nobody_writes_to_it():
    mine = ARRAY.copy()
    numbers = Numbers(mine)
    assert np.shares_memory(np.asarray(numbers), mine)
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(numbers)[0, 0, 0] = 5
    mine[0, 0, 0] = 7  # whose array it was may
    changed = np.array(numbers)
    changed[0, 0, 0] = 9
    assert numbers[0][0][0] == 7
    assert np.asarray(numbers, np.float32).dtype == np.float32


def test_they_survive_another_process():
    assert pickle.loads(pickle.dumps(Numbers(ARRAY))) == NESTED


@pytest.mark.parametrize("nested", [NESTED, Numbers(ARRAY), NESTED[1][2], ((), (2, 0, 2.875)), (Numbers(ARRAY),)[0]])
def test_extremes_are_those_of_all(nested):
    flat = [x for x in np.ravel(np.asarray(nested, object)) if not isinstance(x, tuple)]
    flat = flat or [x for row in nested for x in row]
    assert extremes(nested) == (min(flat), max(flat))


@pytest.mark.parametrize("nested", [(), ((), ()), Numbers(np.zeros((2, 0)))])
def test_nothing_has_no_extremes(nested):
    assert extremes(nested) is None


def test_what_is_kept_is_never_more_than_all_may_be():
    kept = Kept[str, int](10)
    assert [kept.keep(name, n, n) for name, n in [("a", 4), ("b", 6)]] == [4, 6]
    assert dict(kept) == {"a": 4, "b": 6}
    kept.keep("c", 3, 3)
    assert dict(kept) == {"c": 3}
    assert kept.keep("d", 11, 11) == 11
    assert "d" not in kept
    kept.keep("e", 7, 7), kept.keep("f", 3, 3)
    assert dict(kept) == {"e": 7, "f": 3}
