"""What is measured and what comes out: units of work and the frozen records that answer them.

A `Unit` names one result completely: its kind, the setup it belongs to, what was switched off and
the kind's own options. It is the key of the store and the unit of resuming. A record holds plain
values, per query wherever there are queries, so that a new interval or a paired test needs no rerun.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from backend.errors import BadInput, StoreError
from backend.values import INTACT, Ablation, parse_exact

SCHEMA = 1  # raised whenever a stored record's meaning or shape changes


@dataclass(frozen=True, order=True)
class Setup:
    """Which model answers which questions, asked how.

    `task` is empty for what needs no task (prefix matching, copying): then `data`, `n_shots`,
    `demos` and `n_examples` are empty too and `seed` is 0.
    """

    model: str  # hub id, or the name of a local folder
    revision: str  # commit, or digest of a local folder's weights
    dtype: str = "float32"
    task: str = ""
    data: str = ""  # fingerprint of the task's rows
    n_shots: int = 0
    demos: str = ""  # "per-query" or "fixed"
    n_examples: int = 0  # asked for; a record's `questions` say how many there were
    seed: int = 0

    def without_task(self) -> Setup:
        """The same model, no task."""
        return Setup(self.model, self.revision, self.dtype)

    def with_(self, **changes: Any) -> Setup:
        """The same with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Unit:
    """One result to be had: what `service.fetch` reads and `service.compute` makes."""

    kind: str
    setup: Setup
    ablation: Ablation = INTACT
    options: tuple[tuple[str, str], ...] = ()  # sorted (name, value): ranking, variant, ...

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"Unknown kind of result '{self.kind}'. Known: {', '.join(KINDS)}.")
        object.__setattr__(self, "options", tuple(sorted(self.options)))

    def option(self, name: str, default: str = "") -> str:
        return dict(self.options).get(name, default)

    def to_json(self) -> dict[str, Any]:
        """Plain values; also the canonical form of the key."""
        return {"kind": self.kind, "schema": SCHEMA, "setup": asdict(self.setup), "ablation": str(self.ablation),
                "options": dict(self.options)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Unit:
        """Raises: StoreError: if the value is of another schema or no unit at all."""
        try:
            if value["schema"] != SCHEMA:
                raise StoreError(f"A result of schema {value['schema']}; this version reads schema {SCHEMA}. "
                                 "Compute it again, or use the version that wrote it.")
            return cls(value["kind"], Setup(**value["setup"]), parse_exact(value["ablation"]),
                       tuple(value["options"].items()))
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"Not the description of a result: {error!r}.") from error

    @cached_property
    def key(self) -> str:
        """What the store files the result under: 32 hexadecimal digits of its canonical JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def __str__(self) -> str:
        s = self.setup
        task = f" {s.task} {s.n_shots}-shot {s.demos}" if s.task else ""
        extra = "".join(f" {name}={value}" for name, value in self.options)
        return f"{self.kind} {s.model}{task}{extra}" + (f" off={self.ablation}" if self.ablation else "")


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

    def __post_init__(self) -> None:
        if not self.spanning:  # results from before there was a count
            object.__setattr__(self, "spanning", (0,) * len(self.docs))

    @property
    def n(self) -> int:
        """How many outcomes there are: queries, or groups for `acc_by_group`."""
        return len(dict.fromkeys(self.groups)) if self.metric == "acc_by_group" else len(self.docs)

    @property
    def chance(self) -> float:
        """Expected accuracy of guessing uniformly among the options."""
        if not self.docs:
            return float("nan")
        if self.metric == "greedy":
            return 0.0
        each = np.array([len(g) / n for g, n in zip(self.gold, self.n_options, strict=True)])
        if self.metric != "acc_by_group":
            return float(each.mean())
        groups: dict[str, float] = {}
        for group, p in zip(self.groups, each, strict=True):
            groups[group] = groups.get(group, 1.0) * p
        return float(np.mean(list(groups.values())))

    def outcomes(self, choices: tuple[int, ...]) -> np.ndarray:
        """(n,) of bool: right or wrong, per query or per group; `choices` holds one option per query, -1 = none."""
        right = np.array([c in g for c, g in zip(choices, self.gold, strict=True)], bool)
        if self.metric != "acc_by_group":
            return right
        names = list(dict.fromkeys(self.groups))
        ok = dict.fromkeys(names, True)
        for group, r in zip(self.groups, right, strict=True):
            ok[group] &= bool(r)
        return np.array([ok[name] for name in names], bool)


class Record:
    """Base of the records: plain JSON in, plain JSON out."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Any:
        """Raises: StoreError: if a field is missing or unknown."""
        names = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        if "n_spanning" in names:  # results from before there was a count
            value = {"n_spanning": 0, **value}
        if set(value) != names:
            raise StoreError(f"A damaged {cls.__name__}: fields {sorted(set(value) ^ names)} are missing or unknown.")
        plain = {k: Questions(**{n: _tuples(v) for n, v in value[k].items()}) if k == "questions" else _tuples(value[k])
                 for k in names}
        return cls(**plain)


@dataclass(frozen=True)
class Answers(Record):
    """How a model, intact or ablated, scored each option of each query."""

    KIND: ClassVar[str] = "evaluation"
    questions: Questions
    loglikelihoods: tuple[tuple[float, ...], ...]  # per query and option, nats, summed over the option's tokens
    lengths: tuple[tuple[int, ...], ...]  # per query and option, characters, for `acc_norm`
    greedy: tuple[tuple[bool, ...], ...] = ()  # whether each option is what the model would have written (LAMBADA)

    def choices(self, norm: bool = False) -> tuple[int, ...]:
        """The option the model prefers, per query: highest log-likelihood, per character when `norm`.

        For the metric "greedy": option 0 where the model would have written it, -1 elsewhere.
        """
        if self.questions.metric == "greedy":
            return tuple(0 if row[0] else -1 for row in self.greedy)
        rows = self.loglikelihoods
        if norm:
            rows = tuple(tuple(ll / max(n, 1) for ll, n in zip(a, b, strict=True))
                         for a, b in zip(rows, self.lengths, strict=True))
        return tuple(int(np.argmax(row)) for row in rows)

    def outcomes(self, norm: bool = False) -> np.ndarray:
        """(n,) of bool: right or wrong."""
        return self.questions.outcomes(self.choices(norm))


@dataclass(frozen=True)
class Sweep(Record):
    """The same queries under many ablations: the oracles and the pruning curves.

    Only the chosen option is kept per query and ablation: enough for accuracy, intervals and
    paired tests. The first ablation is the intact model.
    """

    KIND: ClassVar[str] = "sweep"
    questions: Questions
    ablations: tuple[str, ...]  # as `str(Ablation)`
    choices: tuple[tuple[int, ...], ...]  # [ablation][query]: the option of highest log-likelihood
    choices_norm: tuple[tuple[int, ...], ...]  # the same, per character
    removed: tuple[tuple[float, float], ...] = ()  # pruning: share of (heads, FFNs) removed at each point

    def outcomes(self, norm: bool = False) -> np.ndarray:
        """(n_ablations, n) of bool: right or wrong."""
        rows = self.choices_norm if norm else self.choices
        return np.stack([self.questions.outcomes(row) for row in rows])

    def accuracy(self, norm: bool = False) -> np.ndarray:
        """(n_ablations,) shares of right answers."""
        return self.outcomes(norm).mean(1)


@dataclass(frozen=True)
class HeadScores(Record):
    """Gradient importance of every head, in both reductions, with what bootstrap needs.

    Examples are kept in blocks of consecutive ones (at most 32), so that the stability of a
    ranking can be found without the gradients.
    """

    KIND: ClassVar[str] = "head_importance"
    n_examples: int  # that were used
    skipped: tuple[int, ...]  # rows that did not fit the model's context
    block_sizes: tuple[int, ...]  # examples per block
    block_positions: tuple[tuple[int, ...], ...]  # [block][layer]: positions that carry a gradient
    block_per_token: tuple[tuple[tuple[float, ...], ...], ...]  # [block][layer][head]: sum over examples, positions
    block_per_example: tuple[tuple[tuple[float, ...], ...], ...]  # [block][layer][head]: sum over examples
    n_spanning: int = 0  # examples whose answer begins with a token that holds some of the context's text

    def scores(self, reduction: str = "per-token", blocks: np.ndarray | None = None) -> np.ndarray:
        """(n_layers, n_heads): the importance; higher means more important.

        Args:
            reduction: "per-token" (the authors' code) or "per-example" (the paper's formula).
            blocks: which blocks to use, with repetition (bootstrap); all of them when None.
        """
        which = np.arange(len(self.block_sizes)) if blocks is None else blocks
        if reduction == "per-token":
            total = np.asarray(self.block_per_token)[which].sum(0)
            return total / np.asarray(self.block_positions)[which].sum(0)[:, None]
        if reduction == "per-example":
            return np.asarray(self.block_per_example)[which].sum(0) / np.asarray(self.block_sizes)[which].sum()
        raise BadInput(f"Unknown reduction '{reduction}'. Known: per-token, per-example.")


@dataclass(frozen=True)
class InductionScores(Record):
    """Prefix matching or copying of every head, over random token sequences."""

    KIND: ClassVar[str] = "induction"
    n_seeds: int
    mean: tuple[tuple[float, ...], ...]  # [layer][head]
    variance: tuple[tuple[float, ...], ...]  # over seeds
    tokens: str  # how the random tokens were drawn, in words
    max_length: int  # longest sequence; shorter than asked where the model's context is


@dataclass(frozen=True)
class Activations(Record):
    """Mean activations over a task's training prompts, for mean ablation."""

    KIND: ClassVar[str] = "means"
    n_examples: int
    n_positions: int
    heads: tuple[tuple[tuple[float, ...], ...], ...]  # [layer][head][d_head]: mean z
    ffns: tuple[tuple[float, ...], ...]  # [layer][d_model]: mean of what the FFN adds


@dataclass(frozen=True)
class ModelInfo(Record):
    """A model's name, revision and shape."""

    KIND: ClassVar[str] = "model"
    name: str
    revision: str  # hub commit, or digest of a local folder's weights
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


def too_long(record: Record) -> str:
    """What was left out because prompts did not fit the model's context, in words; empty where all did."""
    shortened = skipped = 0
    if isinstance(record, Answers | Sweep):
        shortened, skipped = sum(map(bool, record.questions.dropped_demos)), len(record.questions.skipped)
    elif isinstance(record, HeadScores):
        skipped = len(record.skipped)
    counts = [(shortened, "lost demonstrations"), (skipped, "were skipped")]
    left_out = [f"{n} prompts {what}" for n, what in counts if n]
    return f"Too long for the model's context: {' and '.join(left_out)}." if left_out else ""


# What a unit's kind answers with. The options a kind knows are documented in `service`.
KINDS: dict[str, type[Record]] = {
    "evaluation": Answers,
    "head_importance": HeadScores,
    "ffn_oracle": Sweep,
    "head_oracle": Sweep,
    "pruning": Sweep,
    "prefix_matching": InductionScores,
    "copying": InductionScores,
    "means": Activations,
    "model": ModelInfo,
}


def _tuples(value: Any) -> Any:
    """Lists, all the way down, as tuples."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value
