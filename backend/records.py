"""Plain values to JSON and back, strictly; and the records that more than one room needs.

A record is a frozen dataclass of numbers, texts and tuples; fields of very many numbers are sequences (`Numbers`). What
is read must have every field, of its very type, and hold together (`check`): a file may come from anybody. Only a field
that is `RARE` may be missing, and is not written where it holds its default.

This is the one reader of results, whether they come from a store, a bundle or a shipped file. Why not msgspec or
pydantic: both read types, which `from_plain` does in sixty lines; msgspec lets unknown fields of a dataclass, and
missing ones with defaults, pass; and what goes wrong is mostly what neither can say: lengths of one field against
another, against the unit that is answered (`Unit.check`), and against the model that it names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass
from functools import cache
from itertools import chain, islice
from operator import lt
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

import numpy as np

from . import limits
from .arrays import Bool, Int, Real
from .errors import StoreError
from .numbers import Numbers, extremes
from .stats import Marks
from .values import RARE, Ablation, Head, parse_exact

_PLAIN = (str, int, float, bool)
_PLAIN_SET = frozenset(_PLAIN)
_NESTS = (tuple, Sequence)
METRICS = ("acc", "em", "acc_by_group", "greedy")


def to_plain(value: Any, arrays: bool = False) -> Any:
    """A value as JSON has it: dataclasses as objects, sequences as lists, an `Ablation` as its text.

    Args:
        arrays: leave `Numbers` the arrays that they are.
    """
    kind: Any = type(value)
    if kind in _PLAIN_SET:
        return value
    if isinstance(value, Ablation):
        return str(value)
    if isinstance(value, Numbers):
        return value.array if arrays else value.array.tolist()
    if (named := _fields(kind)) is not None:
        return {f.name: to_plain(getattr(value, f.name), arrays) for f in named
                if not (f.metadata.get("rare") and getattr(value, f.name) == f.default)}
    if not isinstance(value, list | tuple):
        return value
    return list(value) if set(map(type, value)) <= _PLAIN_SET else [to_plain(v, arrays) for v in value]


def from_plain(kind: Any, value: Any, where: str = "it") -> Any:
    """What `to_plain` made of a value of this type; an array of numbers stands for the lists that it would be.

    Raises:
        StoreError: if a field is missing or unknown, or anything is not of its type; says where.
        BadInput: if a value's own check refuses it.
    """
    if type(value) is kind and (kind is bool or (kind is str and value.isascii())
                                or (kind is int and abs(value) <= limits.NUMBER)):
        return value  # most of what results are told by
    if isinstance(value, np.ndarray):
        return _from_array(kind, value, where)
    if kind is Ablation:
        return parse_exact(from_plain(str, value, where))
    if isinstance(kind, type) and _fields(kind) is not None:
        types = _field_types(kind)
        odd = sorted((set(value) ^ set(types)) - (_rare(kind) - set(value))) if isinstance(value, Mapping) else []
        if not isinstance(value, Mapping) or odd:
            raise StoreError(f"{where} is no {kind.__name__}" + (
                f": fields {', '.join(map(str, odd))} are missing or unknown" if odd else ""))
        return kind(**{name: from_plain(inner, value[name], name) for name, inner in types.items() if name in value})
    if get_origin(kind) in _NESTS:
        return _tuple(kind, value, where)
    if kind is float and type(value) in (float, int):
        return _finite([value], where)[0]
    if type(value) is not kind:
        raise StoreError(f"{where} holds {_short(value)}, not a {getattr(kind, '__name__', kind)}")
    return _sane([value], kind, where)[0]


def _from_array(kind: Any, value: Real[np.ndarray, "*shape"], where: str) -> Any:
    """Nested tuples of numbers, or `Numbers`, as the type says."""
    leaf, sizes = _nest(kind)
    if leaf is None or len(sizes) != value.ndim or any(
            size not in (None, there) for size, there in zip(sizes, value.shape, strict=True)):
        raise StoreError(f"{where} is not the list it should be")
    if leaf is float:
        value = value.astype(float, copy=False)
        if not np.isfinite(value).all():
            raise StoreError(f"{where} holds NaN or an infinite number")
    elif value.dtype.kind != "i":
        raise StoreError(f"{where} holds '{value.flat[0]}', not a int")
    elif max(int(value.max()), -int(value.min())) > limits.NUMBER:
        raise StoreError(f"{where} holds a whole number beyond 2^53")
    return Numbers(value) if get_origin(kind) is Sequence else Numbers(value).nested()


@cache
def _nest(kind: Any) -> tuple[type | None, tuple[int | None, ...]]:
    """Of a type of nested tuples or sequences of one sort of number: which, and the sizes that it fixes; None for other
    types."""
    sizes: list[int | None] = []
    while get_origin(kind) in _NESTS:
        inner, repeated = _inner(kind)
        if not repeated and len(set(inner)) > 1:
            return None, ()
        sizes.append(None if repeated else len(inner))
        kind = inner[0]
    return kind if sizes and kind in (int, float) else None, tuple(sizes)


@cache
def _inner(kind: Any) -> tuple[tuple[Any, ...], bool]:
    """What a type of tuples or sequences holds, one after the other; or the one type that it holds any number of."""
    inner = get_args(kind)
    repeated = get_origin(kind) is Sequence or inner[-1] is Ellipsis
    return inner[:1] if repeated else inner, repeated


def _tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    inner, repeated = _inner(kind)
    if not isinstance(value, list | tuple) or not (repeated or len(value) == len(inner)):
        raise StoreError(f"{where} is not the list it should be")
    if repeated and inner[0] in _PLAIN:  # long and plain: looked at in one go
        return _row(inner[0], value, where)
    if repeated and get_origin(inner[0]) in _NESTS and _inner(inner[0])[1] and (leaf := _inner(inner[0])[0][0]) in (
            int, float) and set(map(type, value)) <= {list}:  # rows of numbers, all of them in one go
        numbers = _row(leaf, list(chain.from_iterable(value)), where)
        if leaf is int:
            return tuple(map(tuple, value))
        floats = iter(numbers)
        return tuple(tuple(islice(floats, len(row))) for row in value)
    each = inner * len(value) if repeated else inner
    return tuple(from_plain(kind, v, where) for kind, v in zip(each, value, strict=True))


def _row(kind: type, value: Sequence[Any], where: str) -> tuple[Any, ...]:
    """Plain values of one type; floats may be whole."""
    kinds = set(map(type, value))
    if kind is float and kinds <= {float, int}:
        return _finite(value, where)
    if kinds <= {kind}:
        return _sane(value, kind, where)
    return tuple(from_plain(kind, v, where) for v in value)  # which says what is wrong


def _sane(values: Sequence[Any], kind: type, where: str) -> tuple[Any, ...]:
    """Whole numbers that every reader of JSON has alike, and texts that can be written as UTF-8."""
    if kind is int and values and max(max(values), -min(values)) > limits.NUMBER:
        raise StoreError(f"{where} holds a whole number beyond 2^53")
    if kind is str:
        try:
            "".join(values).encode()
        except UnicodeEncodeError as error:
            raise StoreError(f"{where} holds half a character, which cannot be written as UTF-8") from error
    return tuple(values)


def _short(value: Any) -> str:
    """What a value looks like, without spelling out all of it."""
    shown = f"a {type(value).__name__}" if isinstance(value, list | tuple | Mapping) else str(value)[:60]
    return repr(shown)


def _finite(numbers: Sequence[float], where: str) -> tuple[float, ...]:
    try:
        read = tuple(map(float, numbers))
    except OverflowError:  # a whole number beyond all floats
        read = (math.inf,)
    if not all(map(math.isfinite, read)):
        raise StoreError(f"{where} holds NaN or an infinite number")
    return read


@cache
def _fields(kind: type) -> tuple[Field[Any], ...] | None:
    """The fields of a dataclass; None of any other type."""
    return fields(kind) if is_dataclass(kind) else None


@cache
def _field_types(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in fields(kind)}


@cache
def _rare(kind: type) -> frozenset[str]:
    return frozenset(f.name for f in fields(kind) if f.metadata.get("rare"))


class Record:
    """Base of what results hold: plain JSON in, plain JSON out."""

    NEAR_TIES: ClassVar[tuple[str, ...]] = ()  # fields that may differ a little between processors though no floats
    MANY: ClassVar[tuple[str, ...]] = ()  # fields of very many floats: of a model run in 16 bits they are kept to fewer
    # digits (see `store.entries`)
    SUMMED: ClassVar[tuple[str, ...]] = ()  # the same, where all that is told of them is sums along their first axis

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Raises: StoreError: if a field is missing, unknown or of another type, or does not fit the others."""
        try:
            read: Self = from_plain(cls, value)
            read.check()
            return read
        except StoreError as error:
            raise StoreError(f"A damaged {cls.__name__}: {error}.") from error

    def check(self) -> None:
        """Whether the fields fit each other. Raises: StoreError: names the field that does not."""

    @property
    def left_out(self) -> tuple[int, int]:
        """Prompts that did not fit the model's context: how many lost demonstrations, how many were skipped."""
        return 0, 0


def require(holds: bool, what: str) -> None:
    """Raises: StoreError: says what is wrong where something does not hold."""
    if not holds:
        raise StoreError(what)


def require_lengths(n: int, of: str, **found: Sequence[Any]) -> None:
    """That several fields hold one entry for each of `n` things."""
    for name, values in found.items():
        require(len(values) == n, f"{name} holds {len(values)} entries for {n} {of}")


def require_shape(name: str, values: Any, *sizes: int) -> None:
    """That a field's nested sequences are a full array of these sizes."""
    require(len(values) == sizes[0], f"{name} holds {len(values)} where there are {sizes[0]}")
    if len(sizes) > 1 and not (isinstance(values, Numbers) and values.array.shape[:len(sizes)] == sizes):
        for inner in values:
            require_shape(name, inner, *sizes[1:])


def require_within(name: str, values: Sequence[Any], least: float, most: float = math.inf) -> None:
    """That all numbers of a field lie in a range; they may be nested."""
    if (found := extremes(values)) is not None:
        low, high = found
        require(least <= low and high <= most, f"{name} holds {low if low < least else high}, which is not " + (
            f"within {least:g} and {most:g}" if most < math.inf else f"{least:g} or more"))


def too_long(record: Record) -> str:
    """What was left out because prompts did not fit the model's context, in words; empty where all did."""
    counts = zip(record.left_out, ("lost demonstrations", "were skipped"), strict=True)
    told = [f"{n} prompts {what}" for n, what in counts if n]
    return f"Too long for the model's context: {' and '.join(told)}." if told else ""


@dataclass(frozen=True)
class Questions:
    """The queries that were scored, and what counts as right."""

    docs: tuple[int, ...]  # row of each query in its split
    gold: tuple[tuple[int, ...], ...]  # options counted right
    n_options: tuple[int, ...]
    groups: tuple[str, ...]  # rows of one group are right together (metric "acc_by_group")
    metric: str = "acc"  # "acc", "em", "acc_by_group", "greedy"
    dropped_demos: tuple[int, ...] = ()  # per query: demonstrations left out because the prompt was too long
    skipped: tuple[int, ...] = ()  # rows that did not fit the model's context even at 0 shots
    spanning: tuple[int, ...] = ()  # per query: options that begin with a token which holds some of the context's text
    draws: tuple[int, ...] = field(default=(), metadata=RARE)  # per query: which draw of demonstrations it stood
    # behind; empty where queries share none, or all share one

    def check(self) -> None:
        """Raises: StoreError: names the field that does not fit the others."""
        n = len(self.docs)
        require(n > 0, "docs names no query")
        require(self.metric in METRICS, f"metric holds '{self.metric[:60]}'; known: {', '.join(METRICS)}")
        there = {name: values for name in ("dropped_demos", "spanning", "draws") if (values := getattr(self, name))}
        require_lengths(n, "queries", gold=self.gold, n_options=self.n_options, groups=self.groups, **there)
        for name in ("docs", "skipped", "dropped_demos", "spanning", "draws"):
            require_within(name, getattr(self, name), 0)
        require(len(set(self.docs)) == n and not set(self.docs) & set(self.skipped), "docs names a row twice")
        require_within("n_options", self.n_options, 1)
        ones = [gold[0] for gold in self.gold if len(gold) == 1]
        if len(ones) == n and min(ones) >= 0 and all(map(lt, ones, self.n_options)):
            return  # as nearly all are
        for gold, n_options in zip(self.gold, self.n_options, strict=True):
            require(0 < len(set(gold)) == len(gold), "gold names no option of a query, or one twice")
            require_within("gold", gold, 0, n_options - 1)

    @property
    def n(self) -> int:
        """How many outcomes there are: queries, or groups for `acc_by_group`."""
        return len(self.outcome_docs) if self._grouped else len(self.docs)

    @property
    def outcome_docs(self) -> tuple[tuple[int, ...], ...]:
        """Per outcome, the places in `docs` of the queries it is about: one each, or a group's."""
        if not self._grouped:
            return tuple((i,) for i in range(len(self.docs)))
        members: dict[str, list[int]] = {}
        for i, group in enumerate(self.groups):
            members.setdefault(group, []).append(i)
        return tuple(map(tuple, members.values()))

    @property
    def one_answer(self) -> bool:
        """Whether every query is an outcome of its own, with one right option."""
        return not self._grouped and all(len(gold) == 1 for gold in self.gold)

    @property
    def _grouped(self) -> bool:
        return self.metric == "acc_by_group"

    @property
    def left_out(self) -> tuple[int, int]:
        """How many prompts lost demonstrations, and how many were skipped."""
        return sum(map(bool, self.dropped_demos)), len(self.skipped)

    @property
    def chance(self) -> float:
        """Expected accuracy of guessing uniformly among the options."""
        if not self.docs:
            return float("nan")
        if self.metric == "greedy":
            return 0.0
        each = np.array([len(g) / n for g, n in zip(self.gold, self.n_options, strict=True)])
        return float(np.mean([each[list(members)].prod() for members in self.outcome_docs] if self._grouped else each))

    def right(self, choices: Sequence[int]) -> Bool[np.ndarray, " n_queries"]:
        """Right or wrong, per query; `choices` holds one option each, -1 = none."""
        return np.array([c in g for c, g in zip(choices, self.gold, strict=True)], bool)

    def outcome_draws(self) -> Int[np.ndarray, " n"] | None:
        """Which draw of demonstrations each outcome stood behind; None where they share none, or all share one."""
        return np.array([self.draws[members[0]] for members in self.outcome_docs]) if self.draws else None

    def marks(self, outcomes: Bool[np.ndarray, " n"]) -> Marks:
        """Outcomes of these questions, with the draws that they share: what intervals and tests are made of."""
        return Marks(outcomes, self.outcome_draws())

    def outcomes(self, choices: Sequence[int]) -> Bool[np.ndarray, " n"]:
        """Right or wrong, per query or per group."""
        right = self.right(choices)
        return np.array([right[list(members)].all() for members in self.outcome_docs], bool) if self._grouped else right


@dataclass(frozen=True)
class ModelInfo(Record):
    """A model's name, revision and shape."""

    name: str
    revision: str  # hub commit, or digest of a local folder
    architecture: str  # model_type of its config
    n_layers: int
    n_heads: int  # query heads per layer
    d_model: int
    d_head: int
    d_ffn: int
    n_params: int
    max_positions: int
    vocab_size: int
    dtype: str  # of the weights on disk
    bytes: int  # of the weights on disk
    headless: tuple[int, ...] = field(default=(), metadata=RARE)  # layers without attention heads: linear attention

    def check(self) -> None:
        require_within("n_layers", [self.n_layers], 1, limits.LAYERS)
        require_within("n_heads", [self.n_heads], 1, limits.HEADS_PER_LAYER)
        require(self.n_layers * self.n_heads <= limits.HEADS, f"n_layers x n_heads is {self.n_layers} x "
                f"{self.n_heads}: more than {limits.HEADS:,} heads")
        for name in ("d_model", "d_head", "d_ffn", "n_params", "max_positions", "vocab_size", "bytes"):
            require_within(name, [getattr(self, name)], 0)
        for name in ("name", "revision", "architecture", "dtype"):
            require(len(getattr(self, name)) <= limits.NAME, f"{name} is longer than {limits.NAME} characters")
        require_within("headless", self.headless, 0, self.n_layers - 1)
        require(len(set(self.headless)) == len(self.headless), "headless names a layer twice")

    @property
    def shape(self) -> dict[str, Any]:
        """What other results of the model must fit."""
        return {name: getattr(self, name) for name in ("n_layers", "n_heads", "d_model", "d_head", "headless")}

    @property
    def heads(self) -> tuple[Head, ...]:
        """All heads that there are, layer by layer."""
        return tuple(Head(layer, head) for layer in self.attending for head in range(self.n_heads))

    @property
    def n_all_heads(self) -> int:
        """How many heads there are, of all layers."""
        return len(self.attending) * self.n_heads

    @property
    def attending(self) -> list[int]:
        """The layers with attention heads."""
        return [layer for layer in range(self.n_layers) if layer not in self.headless]

    @property
    def there(self) -> Bool[np.ndarray, "n_layers n_heads"]:
        """Where there is a head."""
        found = np.zeros((self.n_layers, self.n_heads), bool)
        found[self.attending] = True
        return found

    def of_heads(self, scores: Real[np.ndarray, "n_layers n_heads"]) -> Real[np.ndarray, "_ n_heads"]:
        """(len(attending), n_heads): the heads' scores for statistics, without the layers that have none.

        Args:
            scores: (n_layers, n_heads).
        """
        return scores[self.attending]
