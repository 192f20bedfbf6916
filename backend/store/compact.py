"""Long lists of numbers as bytes: a result in a third of its size, read many times faster.

A compact body is JSON in which every long, full array of numbers is replaced by an object that describes it, and behind
it the arrays' bytes:

    MAGIC, the JSON on one line, a newline, the bytes of the arrays, one after the other

An array becomes whole numbers first. A float is told by its place among all floats of so many significant digits:
0.1234 and 0.1235 are neighbours, and so are 0.9999 and 1.000. Nothing is lost, what is read are the very floats that
JSON would have held (-0 is 0). Where that makes them smaller, all entries along the first axis are told as differences
from the first entry (one head off differs little from the intact model), with what is of one place side by side. Of
floats that are only added up along the first axis, all of one place have the same decimals (`in_columns`). The whole
numbers are written lowest bytes first, then all second ones, and so on, so that deflate finds what repeats. Long masks
that hold each other, as those of a pruning curve, are told by where each component comes in.

Equal values make equal bytes. Nothing that is read is executed, and all sizes are looked at before anything is made.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from .. import limits
from ..arrays import Bool, Float, Int, Shaped
from ..errors import StoreError
from ..kept import Kept
from ..values import MaskSize, keep_size, mask_runs

MAGIC = b"\x93headroom 1\n"
LEAST = 1000  # numbers in an array that is worth it; fewer stay legible
MARK = "@"  # the only key of an object that describes an array; no field of a record is called so
MOST_DIGITS = 7
_MASKS = "masks"
_AXES = 4
_POWER = 400  # no float lies beyond 10 to this, up or down
_EXACT = 22  # powers of ten up to this one are floats themselves: a single division by one of them rounds correctly
_TENS = 10.0 ** np.arange(_EXACT + 1)
_WIDTH = 7  # bytes of a whole number at most: those of differences of numbers up to 2^53


# --- what is an array ---------------------------------------------------------------------------


def array_of(value: Any) -> Shaped[np.ndarray, "*shape"] | None:
    """A long and full array of numbers, float64 or int64, out of nested lists or one that is an array already; None
    where they are anything else."""
    if isinstance(value, np.ndarray):
        return value if value.size >= LEAST else None
    shape: list[int] = []
    level: Any = value
    while isinstance(level, list | tuple) and level:
        shape.append(len(level) // prod(shape))
        if not isinstance(level[0], list | tuple):
            break
        n = len(level[0])
        if not n or len(shape) == _AXES or not all(isinstance(one, list | tuple) and len(one) == n for one in level):
            return None
        level = list(chain.from_iterable(level))
    else:
        return None
    if len(level) < LEAST:
        return None
    kinds = set(map(type, level))
    if not all(issubclass(kind, int | float | np.integer | np.floating) and kind is not bool for kind in kinds):
        return None
    whole = all(issubclass(kind, int | np.integer) for kind in kinds)
    try:
        found = np.array(level, np.int64 if whole else float).reshape(shape)
    except OverflowError:
        return None
    return None if whole and (int(found.max()) > limits.NUMBER or int(found.min()) < -limits.NUMBER) else found


# --- floats of so many digits as whole numbers --------------------------------------------------


def in_digits(x: Float[np.ndarray, "*shape"], digits: int,
              ) -> tuple[Int[np.ndarray, "*shape"], Int[np.ndarray, "*shape"]]:
    """Floats rounded to significant digits: the digits as a whole number with the sign, and the power of ten of the
    first one; 0 and 0 where a float is 0. The same as Python's own formatting rounds.

    Raises:
        ValueError: if a number is NaN or infinite.
    """
    if not np.isfinite(x).all():
        raise ValueError("NaN or infinite")
    a, least, most = np.abs(x), 10 ** (digits - 1), 10**digits
    power = np.floor(np.log10(np.where(a > 0, a, 1))).astype(np.int64)
    scaled = _times_ten(a, digits - 1 - power)
    power += np.where(scaled >= most, 1, np.where((scaled < least) & (a > 0), -1, 0))  # the logarithm was rounded
    scaled = _times_ten(a, digits - 1 - power)
    number = np.rint(scaled)
    unsure = (np.abs(scaled - np.floor(scaled) - 0.5) < 1e-6) | (np.abs(digits - 1 - power) > _EXACT)
    for i in zip(*np.nonzero(unsure & (a > 0)), strict=True):
        told, _, exponent = f"{a[i]:.{digits - 1}e}".partition("e")
        number[i], power[i] = int(told.replace(".", "")), int(exponent)
    over = number >= most
    number[over], power[over] = least, power[over] + 1
    return np.where(x < 0, -number, number).astype(np.int64), np.where(a > 0, power, 0)


def from_digits(number: Int[np.ndarray, "*shape"], power: Int[np.ndarray, "*shape"], digits: int,
                ) -> Float[np.ndarray, "*shape"]:
    """The floats that `in_digits` told, each the one nearest to its digits."""
    shift = power - (digits - 1)
    x = _times_ten(number.astype(float), shift)
    for i in zip(*np.nonzero((np.abs(shift) > _EXACT) & (number != 0)), strict=True):
        x[i] = float(f"{number[i]}e{shift[i]}")
    return x


def in_columns(x: Float[np.ndarray, "n ..."], digits: int,
               ) -> tuple[Int[np.ndarray, "n ..."], Int[np.ndarray, "*shape"]]:
    """Floats that are to be added up along the first axis, each place to the decimals that its largest one has in so
    many significant digits: whole numbers, and for each place the power of ten of the largest one's first digit.

    Raises:
        ValueError: if a number is NaN or infinite.
    """
    _, power = in_digits(np.abs(x).max(0), digits)
    shift = digits - 1 - power
    half = shift // 2  # ten to the whole of it may lie beyond all floats
    return np.rint(x * 10.0**half * 10.0 ** (shift - half)).astype(np.int64), power


def _times_ten(x: Float[np.ndarray, "*shape"], power: Int[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """x * 10^power, rounded once where the power is up to 22; roughly beyond."""
    tens = _TENS[np.minimum(np.abs(power), _EXACT)]
    with np.errstate(over="ignore"):  # the way that is not taken
        return np.asarray(np.where(power < 0, x / tens, x * tens))


def rounded_array(x: Float[np.ndarray, "*shape"], digits: int, summed: bool = False) -> Float[np.ndarray, "*shape"]:
    """The same floats with so many significant digits, or as `in_columns` keeps them.

    Raises:
        ValueError: if a number is NaN or infinite.
    """
    number, power = in_columns(x, digits) if summed and x.ndim > 1 else in_digits(x, digits)
    return from_digits(number, np.broadcast_to(power, number.shape), digits)


# --- whole numbers as bytes ---------------------------------------------------------------------


def _zigzag(x: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
    return (x << 1) ^ (x >> 63)


def _differences(x: Int[np.ndarray, "n ..."]) -> Int[np.ndarray, "... n"]:
    """The first entry, and how far the others are from it; entries of one place side by side."""
    return np.moveaxis(np.concatenate([x[:1], x[1:] - x[:1]]), 0, -1)


def _bits(x: Int[np.ndarray, "*shape"]) -> int:
    """How many bits the numbers take, all together."""
    return int(np.frexp(x.astype(float))[1].sum())


_PLAIN, _BY_FIRST, _SUMMED = 0, 1, 2  # how whole numbers are told


def array_bytes(array: Shaped[np.ndarray, "*shape"], digits: int, summed: bool = False) -> tuple[list[Any], bytes]:
    """What describes an array, and its bytes.

    Args:
        summed: whether it is kept as `in_columns` says.

    Raises:
        ValueError: if a number is NaN or infinite.
    """
    lowest, way, whole = 0, _PLAIN, array.dtype.kind == "i"
    if summed and not whole and array.ndim > 1:
        number, power = in_columns(array, digits)
        way, lowest = _SUMMED, int(power.min())
        told = np.concatenate([(power - lowest).reshape(-1), _zigzag(np.moveaxis(number, 0, -1)).reshape(-1)])
    else:
        places = array.astype(np.int64) if whole else np.zeros(array.shape, np.int64)
        if not whole:
            number, power = in_digits(array, digits)
            lowest = int(power[number != 0].min()) if number.any() else 0
            least = 10 ** (digits - 1)
            place = (power - lowest) * (9 * least) + np.abs(number) - least + 1
            places = np.where(number == 0, 0, np.sign(number) * place)
        told = _zigzag(places)
        if array.ndim > 1 and len(array) > 1:
            other = _zigzag(_differences(places))
            if _bits(other) < _bits(told):
                told, way = other, _BY_FIRST
    flat = np.ascontiguousarray(told).reshape(-1, 1).astype("<i8")
    width = max(1, -(-int(flat.max()).bit_length() // 8))
    planes = np.ascontiguousarray(flat.view(np.uint8)[:, :width].T)  # (width, n)
    return ["i" if whole else digits, lowest, way, width, *array.shape], planes.tobytes()


def array_from(told: Any, body: memoryview) -> tuple[Shaped[np.ndarray, "*shape"], int]:
    """The array that a description means, and how many bytes it took from the beginning of the body.

    Raises:
        StoreError: if it describes none, or one that is too large, or the bytes are too few or none of such numbers.
    """
    if not isinstance(told, list) or not 5 <= len(told) <= 4 + _AXES or any(
            type(one) is not int for one in told[told[:1] == ["i"]:]):
        raise StoreError("an array's description is damaged")
    digits, lowest, way, width, *shape = told
    whole = digits == "i"
    if not ((whole or 1 <= digits <= MOST_DIGITS) and abs(lowest) <= _POWER and 1 <= width <= _WIDTH
            and way in ((_PLAIN, _BY_FIRST) if whole else (_PLAIN, _BY_FIRST, _SUMMED))
            and all(1 <= size <= limits.RESULT_NUMBERS for size in shape)):
        raise StoreError("an array's description is damaged")
    n, n_powers = prod(shape), prod(shape[1:]) if way == _SUMMED else 0
    if n > limits.RESULT_NUMBERS or prod(shape[:-1]) > limits.RESULT_LISTS:
        raise StoreError(f"it holds an array of {n:,} numbers; up to {limits.RESULT_NUMBERS:,} are allowed, in "
                         f"{limits.RESULT_LISTS:,} rows")
    n_bytes = (n + n_powers) * width
    if len(body) < n_bytes:
        raise StoreError("it is cut short: an array has fewer bytes than it says")
    told_powers, places = np.split(_from_planes(body[:n_bytes], width), [n_powers])
    places = _from_zigzag(places)
    if way != _PLAIN:
        places = np.moveaxis(places.reshape(*shape[1:], shape[0]), -1, 0)
    if way == _BY_FIRST:
        places = np.concatenate([places[:1], places[1:] + places[:1]])
    places = places.reshape(shape)
    if whole:
        return places, n_bytes
    if way == _SUMMED:
        number, power = places, np.broadcast_to((told_powers.astype(np.int64) + lowest).reshape(shape[1:]), shape)
        return _floats(number, power, digits), n_bytes
    least, most = int(places.min()), int(places.max())
    if most - least < n // 4:  # so few that each is worked out once
        every = _floats(*_of_places(np.arange(least, most + 1), lowest, digits), digits)
        return every[places - least], n_bytes
    return _floats(*_of_places(places, lowest, digits), digits), n_bytes


def _from_planes(body: memoryview, width: int) -> Int[np.ndarray, " n"]:
    """Whole numbers from their lowest bytes, then all second ones, and so on: in 32 bits where these hold them."""
    kind = np.uint32 if width < 4 else np.uint64
    planes = np.frombuffer(body, np.uint8).reshape(width, -1)
    found = planes[0].astype(kind)
    for k in range(1, width):
        found |= planes[k].astype(kind) << kind(8 * k)
    return np.asarray(found)


def _from_zigzag(x: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    half = x >> 1
    half ^= np.negative(x & 1)  # all bits where the last one is set
    return half.view(np.int32 if x.dtype == np.uint32 else np.int64)


def _of_places(places: Int[np.ndarray, "*shape"], lowest: int, digits: int,
               ) -> tuple[Int[np.ndarray, "*shape"], Int[np.ndarray, "*shape"]]:
    """The digits and the powers of floats by their places among all floats of so many digits; 0 is 0."""
    least, there = 10 ** (digits - 1), places != 0
    power, number = np.divmod(np.abs(places.astype(np.int64)) - 1, 9 * least)
    return np.where(there, np.sign(places) * (number + least), 0), np.where(there, power + lowest, 0)


def _floats(number: Int[np.ndarray, "*shape"], power: Int[np.ndarray, "*shape"], digits: int,
            ) -> Float[np.ndarray, "*shape"]:
    """As `from_digits`. Raises: StoreError: if a power is none that a float can have."""
    if int(np.abs(power).max()) > _POWER:
        raise StoreError("an array holds a number beyond all floats")
    return from_digits(number, power, digits)


# --- masks that hold each other -----------------------------------------------------------------


def masks_bytes(texts: Any) -> tuple[list[Any], bytes] | None:
    """What describes long masks, and their bytes; None for anything else.

    Their sets of heads, by size, must each hold the smaller ones, and their sets of FFNs likewise: told is at which of
    these sets a component comes in, and which set of heads and which of FFNs each mask has.
    """
    if not isinstance(texts, list | tuple) or len(texts) < 2 or not all(isinstance(text, str) for text in texts) or sum(
            map(len, texts)) < 2 * LEAST:
        return None
    known = [mask_runs(text) for text in texts]
    if any(one is None for one in known):
        return None
    heads, ffns = ([one[i] for one in known if one is not None] for i in (0, 1))
    n_heads = max(int(last.max(initial=0)) for _, _, last in heads) + 1
    n_layers = max(int(layer.max(initial=0)) for layer, _, _ in heads) + 1
    depth = max(int(last.max(initial=0)) for _, _, last in ffns) + 1
    of_heads = _chain([(layer * n_heads + first, layer * n_heads + last) for layer, first, last in heads],
                      n_layers * n_heads)
    of_ffns = _chain([(first, last) for _, first, last in ffns], depth)
    comes = of_heads[0].reshape(n_layers, n_heads), of_ffns[0]
    if list(texts) != [text for text, _ in _texts(*comes, of_heads[1], of_ffns[1])]:
        return None
    (told_heads, one), (told_ffns, two) = (array_bytes(each, 1) for each in comes)
    return [_MASKS, of_heads[1], of_ffns[1], told_heads, told_ffns], one + two


def _chain(runs: list[tuple[Int[np.ndarray, " n_runs"], Int[np.ndarray, " n_runs"]]], n: int,
           ) -> tuple[Int[np.ndarray, " n"], list[int]]:
    """Of sets that hold each other: at which one, the smallest first, each of n members comes in, and which one each
    set is. Where they do not hold each other it is not what they were made of."""
    sizes = [int((last - first + 1).sum()) for first, last in runs]
    order = sorted(set(sizes))
    level = [order.index(size) for size in sizes]
    comes = np.full(n + 1, len(order))
    for k in sorted(range(len(runs)), key=lambda k: -level[k]):
        comes[_in_runs(*runs[k], n + 1)] = level[k]
    return comes[:-1], level


def _in_runs(first: Int[np.ndarray, " n_runs"], last: Int[np.ndarray, " n_runs"], n: int) -> Bool[np.ndarray, " n"]:
    """Which of the numbers below n lie in a run."""
    edges = np.zeros(n, np.int64)
    edges[first] += 1
    np.subtract.at(edges, last + 1, 1)
    return np.cumsum(edges) > 0


def masks_from(told: list[Any], body: memoryview) -> tuple[list[str], int]:
    """The masks' texts, and how many bytes they took from the beginning of the body. Raises: StoreError: as
    `array_from`."""
    if len(told) != 5 or not all(isinstance(levels, list) and 0 < len(levels) <= limits.RESULT_LISTS and all(
            type(level) is int and 0 <= level < len(levels) for level in levels) for levels in told[1:3]) or len(
            told[1]) != len(told[2]):
        raise StoreError("the description of masks is damaged")
    heads, n_heads = array_from(told[3], body)
    ffns, n_ffns = array_from(told[4], body[n_heads:])
    n_bytes = n_heads + n_ffns
    if heads.dtype.kind != "i" or ffns.dtype.kind != "i" or heads.ndim != 2 or ffns.ndim != 1 or heads.size > (
            limits.HEADS) or max(len(heads), len(ffns)) > limits.LAYERS or heads.shape[1] > limits.HEADS_PER_LAYER:
        raise StoreError("masks name more than a model can have")
    n_named = sum(int((np.sort(each, axis=None).searchsorted(levels, "right")).sum())
                  for each, levels in ((heads, told[1]), (ffns, told[2])))  # in all masks together
    if n_named * len("L999H999,") > limits.RESULT_BYTES:
        raise StoreError("masks are longer than a result may be")
    key = repr(told), bytes(body[:n_bytes])
    if (masks := _written.get(key)) is None:
        masks = _texts(heads, ffns, told[1], told[2])
        _written.keep(key, masks, len(key[0]) + n_bytes + sum(len(text) for text, _ in masks))
    for text, size in masks:
        keep_size(text, size)
    return [text for text, _ in masks], n_bytes


_written: Kept[tuple[str, bytes], list[tuple[str, MaskSize]]] = Kept(limits.MASK_SIZES_TEXT)  # for all that share them


def _texts(heads: Int[np.ndarray, "n_layers n_heads"], ffns: Int[np.ndarray, " depth"], of_heads: list[int],
           of_ffns: list[int]) -> list[tuple[str, MaskSize]]:
    """The masks as `str(Ablation)` writes them, by the sets at which components come in and those that each mask has;
    with their sizes."""
    n_layers, n_heads = heads.shape
    names, ends = _names(n_layers, n_heads + 1)
    apart = np.full((n_layers, n_heads + 1), max(of_heads) + 1)  # no run goes on from one layer to the next
    apart[:, :-1] = heads
    written = {}
    for k in set(of_heads):
        first, last = _runs_of(apart.reshape(-1) <= k)
        written[k] = [names[a] if a == b else names[a] + ends[b]
                      for a, b in zip(first.tolist(), last.tolist(), strict=True)], (
            int((last - first + 1).sum()), int(last.max(initial=-1)) // (n_heads + 1) + 1,
            int((last % (n_heads + 1)).max(initial=-1)) + 1)
    found = []
    for one, other in zip(of_heads, of_ffns, strict=True):
        runs, (count, layers, width) = written[one]
        first, last = _runs_of(ffns <= other)
        text = ",".join(runs + [f"F{a}" if a == b else f"F{a}-{b}"
                                for a, b in zip(first.tolist(), last.tolist(), strict=True)])
        found.append((text, MaskSize(count, int((last - first + 1).sum()), layers, width,
                                     int(last.max(initial=-1)) + 1, "zero")))
    return found


@lru_cache(maxsize=8)
def _names(n_layers: int, n_heads: int) -> tuple[list[str], list[str]]:
    """Of each head, how a run that begins with it is written, and the end of one that ends with it."""
    return ([f"L{layer}H{head}" for layer in range(n_layers) for head in range(n_heads)],
            [f"-{head}" for head in range(n_heads)] * n_layers)


def _runs_of(there: Bool[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n_runs"], Int[np.ndarray, " n_runs"]]:
    """The first and the last place of each run of those that are there."""
    edges = np.diff(there.astype(np.int8), prepend=0, append=0)
    return np.nonzero(edges == 1)[0], np.nonzero(edges == -1)[0] - 1


# --- whole bodies -------------------------------------------------------------------------------


def is_compact(body: bytes) -> bool:
    return body.startswith(MAGIC)


def split(body: bytes) -> tuple[bytes, memoryview]:
    """The JSON of a compact body, and the bytes behind it. Raises: StoreError: if it has no end."""
    end = body.find(b"\n", len(MAGIC))
    if end < 0:
        raise StoreError("Not a stored result: it is cut short.")
    return body[len(MAGIC):end], memoryview(body)[end + 1:]


class Filling:
    """The bytes behind a JSON text: what a description of an array among them means, in the order of the text."""

    def __init__(self, body: memoryview) -> None:
        self._body, self._room = body, limits.RESULT_NUMBERS

    def __call__(self, one: dict[str, Any]) -> Any:
        """What an object of the JSON means: an array or masks, or itself.

        Raises:
            StoreError: if an array is damaged, or the bytes are not those of the arrays; or all are too many.
        """
        if MARK not in one:
            return one
        if len(one) > 1:
            raise StoreError("an array's description is damaged")
        told = one[MARK]
        found: Any
        if isinstance(told, list) and told[:1] == [_MASKS]:
            found, n_bytes = masks_from(told, self._body)
            size = sum(map(len, found)) // 8
        else:
            found, n_bytes = array_from(told, self._body)
            size = found.size
        self._body, self._room = self._body[n_bytes:], self._room - size
        if self._room < 0:
            raise StoreError(f"it holds more than {limits.RESULT_NUMBERS:,} numbers in arrays")
        return found

    @property
    def left(self) -> int:
        """How many bytes no description has told of."""
        return len(self._body)
