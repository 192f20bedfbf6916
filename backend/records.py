"""Plain values to JSON and back, strictly; and the records that more than one room needs.

A record is a frozen dataclass of numbers, texts and tuples. What is read must have every field, of its very type: a
file may come from anybody. Only a field that is `RARE` may be missing, and is not written where it holds its default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

import numpy as np

from backend.errors import StoreError
from backend.values import Ablation, Head, parse_exact

_PLAIN = (str, int, float, bool)
RARE = {"rare": True}  # metadata of a field that says something of few models


def to_plain(value: Any) -> Any:
    """A value as JSON has it: dataclasses as objects, tuples as lists, an `Ablation` as its text."""
    if isinstance(value, Ablation):
        return str(value)
    if is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)
                if not (f.metadata.get("rare") and getattr(value, f.name) == f.default)}
    return [to_plain(v) for v in value] if isinstance(value, list | tuple) else value


def from_plain(kind: Any, value: Any, where: str = "it") -> Any:
    """What `to_plain` made of a value of this type.

    Raises:
        StoreError: if a field is missing or unknown, or anything is not of its type; says where.
        BadInput: if a value's own check refuses it.
    """
    if kind is Ablation:
        return parse_exact(from_plain(str, value, where))
    if is_dataclass(kind) and isinstance(kind, type):
        types = _field_types(kind)
        odd = sorted((set(value) ^ set(types)) - (_rare(kind) - set(value))) if isinstance(value, Mapping) else []
        if not isinstance(value, Mapping) or odd:
            raise StoreError(f"{where} is no {kind.__name__}" + (
                f": fields {', '.join(map(str, odd))} are missing or unknown" if odd else ""))
        return kind(**{name: from_plain(inner, value[name], name) for name, inner in types.items() if name in value})
    if get_origin(kind) is tuple:
        return _tuple(get_args(kind), value, where)
    if kind is float and type(value) in (float, int):
        return _finite([value], where)[0]
    if type(value) is not kind:
        raise StoreError(f"{where} holds {str(value)[:60]!r}, not a {getattr(kind, '__name__', kind)}")
    return value


def _tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    repeated = inner[-1] is Ellipsis
    if not isinstance(value, list | tuple) or not (repeated or len(value) == len(inner)):
        raise StoreError(f"{where} is not the list it should be")
    if repeated and inner[0] in _PLAIN:  # long and plain: looked at in one go
        kinds = set(map(type, value))
        if inner[0] is float and kinds <= {float, int}:
            return _finite(value, where)
        if kinds <= {inner[0]}:
            return tuple(value)
    each = inner[:1] * len(value) if repeated else inner
    return tuple(from_plain(kind, v, where) for kind, v in zip(each, value, strict=True))


def _finite(numbers: Sequence[float], where: str) -> tuple[float, ...]:
    try:
        read = tuple(map(float, numbers))
    except OverflowError:  # a whole number beyond all floats
        read = (math.inf,)
    if not all(map(math.isfinite, read)):
        raise StoreError(f"{where} holds NaN or an infinite number")
    return read


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

    def to_json(self) -> dict[str, Any]:
        return to_plain(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Raises: StoreError: if a field is missing, unknown or of another type."""
        try:
            return from_plain(cls, value)
        except StoreError as error:
            raise StoreError(f"A damaged {cls.__name__}: {error}.") from error

    @property
    def left_out(self) -> tuple[int, int]:
        """Prompts that did not fit the model's context: how many lost demonstrations, how many were skipped."""
        return 0, 0


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

    def right(self, choices: tuple[int, ...]) -> np.ndarray:
        """(n_queries,) of bool: right or wrong, per query; `choices` holds one option each, -1 = none."""
        return np.array([c in g for c, g in zip(choices, self.gold, strict=True)], bool)

    def outcomes(self, choices: tuple[int, ...]) -> np.ndarray:
        """(n,) of bool: right or wrong, per query or per group."""
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

    @property
    def heads(self) -> tuple[Head, ...]:
        """All heads that there are, layer by layer."""
        return tuple(Head(layer, head) for layer in self.attending for head in range(self.n_heads))

    @property
    def attending(self) -> list[int]:
        """The layers with attention heads."""
        return [layer for layer in range(self.n_layers) if layer not in self.headless]

    def of_heads(self, scores: np.ndarray) -> np.ndarray:
        """(len(attending), n_heads): the heads' scores for statistics, without the layers that have none.

        Args:
            scores: (n_layers, n_heads).
        """
        return scores[self.attending]
