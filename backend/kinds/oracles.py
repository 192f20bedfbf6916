"""What does each component's removal cost? The same queries with one FFN, or one head, off at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import limits
from ..arrays import Bool, Float
from ..errors import BadInput, StoreError
from ..numbers import Numbers, extremes
from ..records import ModelInfo, Questions, Record, require, require_lengths, require_within
from ..stats import Marks
from ..values import INTACT, RARE, Ablation, MaskSize, Setup, mask_sizes, parse_exact
from .constants import Constants, OptimalConstants
from .evaluation import ROUNDING, Answers, evaluate
from .means import N_TRAIN, Activations, Means
from .prompts import prompts_of, ready
from .shapes import check_questions
from .unit import CountTokens, OfTask, Option, Progress, Topic, Unit, Wish, one_of

if TYPE_CHECKING:
    from ..engine.passes import Prepared
    from ..models.gates import MeanActivations
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt

FILLS = ZERO, MEAN, RESAMPLE, OPTIMAL = ("zero", "mean", "resample", "optimal")
SPLITS = VALIDATION, TRAIN = ("validation", "train")
WORTH = 20  # passes that a piece of a sweep is worth, beside the one over the intact model that each of them makes
N_RESAMPLED = 3  # other prompts from which a head's output is taken, for every query


_fill, _split = one_of(FILLS, "puts nothing in place"), one_of(SPLITS, "is no split")
FILL = Option("fill", ZERO, "what stands in for single heads, or for heads that are knocked out: zero or mean; for "
              "single heads also resample (their output on other training prompts) or optimal (the best constant)",
              read=_fill, metavar="NAME")

ON = Option("on", VALIDATION, "the questions on which single heads are off: those of evaluations, or train, the first "
            "training prompts, to tell what a score misses from what other questions change", read=_split,
            metavar="SPLIT")


@dataclass(frozen=True)
class Sweep(Record):
    """The same queries under many ablations: the oracles and the pruning curves.

    The chosen option is kept per query and ablation: enough for accuracy, intervals and paired tests; by oracles also
    how likely the right answer was, which tells more where accuracy hardly moves. The first ablation is the intact
    model.
    """

    NEAR_TIES = ("choices", "choices_norm")
    MANY = ("gold",)
    questions: Questions
    ablations: tuple[str, ...]  # as `str(Ablation)`
    choices: Sequence[Sequence[int]]  # [ablation][query]: the option of highest log-likelihood
    choices_norm: Sequence[Sequence[int]]  # the same, per character
    removed: tuple[tuple[float, float], ...] = ()  # pruning: share of (heads, FFNs) removed at each point
    gold: Sequence[Sequence[float]] = field(default=(), metadata=RARE)  # oracles: [ablation][query]: log-likelihood
    # of the (first) right answer, nats, mean over its tokens; empty where an earlier version measured

    def check(self) -> None:
        self.questions.check()
        n, greedy = len(self.questions.docs), self.questions.metric == "greedy"
        require(bool(self.ablations) and self.ablations[0] == "", "ablations does not begin with the intact model")
        require_lengths(len(self.ablations), "ablations", choices=self.choices, choices_norm=self.choices_norm,
                        **({"removed": self.removed} if self.removed else {}))
        for name in ("choices", "choices_norm"):
            _require_rows(name, rows := getattr(self, name), n)
            require_within(name, rows, -1 if greedy else 0)
            require(bool((np.asarray(rows) < np.asarray(self.questions.n_options)).all()),
                    f"{name} holds an option that its query lacks")
        if self.gold:
            require_lengths(len(self.ablations), "ablations", gold=self.gold)
            _require_rows("gold", self.gold, n)
            _, most = extremes(self.gold) or (0, 0)
            require(most <= ROUNDING, f"gold holds {most}, which is no logarithm of a probability")
        for shares in self.removed:
            require_within("removed", shares, 0, 1)
        self.sizes()

    def sizes(self) -> list[MaskSize]:
        """How much is off, row by row. Raises: StoreError: as `masks`."""
        try:
            return mask_sizes(self.ablations)
        except BadInput as error:
            raise StoreError(f"ablations: {error}") from error

    def masks(self) -> list[Ablation]:
        """What is off, row by row.

        Raises:
            StoreError: if a text of `ablations` names no components.
        """
        try:
            return list(map(parse_exact, self.ablations))
        except BadInput as error:
            raise StoreError(f"ablations: {error}") from error

    def outcomes(self, norm: bool = False) -> Bool[np.ndarray, "n_ablations n"]:
        """Right or wrong, with each of the ablations."""
        rows = self.choices_norm if norm else self.choices
        if self.questions.one_answer:
            return np.asarray(np.array(rows) == np.array(self.questions.gold)[:, 0])
        return np.stack([self.questions.outcomes(row) for row in rows])

    def marks(self, norm: bool = False) -> list[Marks]:
        """Per ablation the outcomes with the draws of demonstrations that they share, for intervals and tests."""
        draws = self.questions.outcome_draws()
        return [Marks(row, draws) for row in self.outcomes(norm)]

    def accuracy(self, norm: bool = False) -> Float[np.ndarray, " n_ablations"]:
        """Shares of right answers."""
        return np.asarray(self.outcomes(norm).mean(1))

    def importance(self) -> Float[np.ndarray, " n_components"]:
        """Of an oracle: acc(intact) - acc(component off); positive = the component helped."""
        accuracy = self.accuracy()
        return np.asarray(accuracy[0] - accuracy[1:])

    def losses(self) -> Float[np.ndarray, "n_ablations n_queries"] | None:
        """Cross-entropy of the right answer, nats, mean over its tokens; None where only the
        chosen options were kept."""
        return -np.array(self.gold) if self.gold else None

    @property
    def left_out(self) -> tuple[int, int]:
        return self.questions.left_out


@lru_cache(maxsize=8)  # every oracle of a model is held against the same thousands of names
def _named(ablations: Callable[[ModelInfo], list[Ablation]], info: ModelInfo) -> tuple[str, ...]:
    return tuple(map(str, ablations(info)))


def _require_rows(name: str, rows: Sequence[Sequence[float]], n: int) -> None:
    for row in rows[:1] if isinstance(rows, Numbers) else rows:  # whose rows are of one length
        require_lengths(n, "queries", **{name: row})


class Oracle(OfTask[Sweep]):
    """What both oracles share."""

    RECORD = Sweep
    SOURCE = "Bansal et al. 2023, arXiv:2212.09095"

    @staticmethod
    def ablations(info: ModelInfo) -> list[Ablation]:
        """What is off, one after the other: first nothing."""
        raise NotImplementedError

    def check(self, record: Sweep, info: ModelInfo | None) -> None:
        check_questions(self.setup, record.questions)
        require(not record.removed, "removed holds shares, which are a pruning curve's")
        if info is not None:
            names = self.named(info)
            require_lengths(len(names), "ablations of this model", ablations=record.ablations)
            require(record.ablations == names, "ablations names others than this model's, one after the other")

    def named(self, info: ModelInfo) -> tuple[str, ...]:
        """What its record names, one after the other."""
        return _named(self.ablations, info)

    def each(self, info: ModelInfo) -> float:
        """How many components a layer has that are off one after the other."""
        raise NotImplementedError

    def pieces(self, info: ModelInfo) -> int:
        return max(1, int(self._passes(info, self.each(info)) / WORTH))  # the intact model is read for each

    def measure_piece(self, number: int, of: int, model: LoadedModel, basis: Sequence[Any],
                      progress: Progress | None) -> Sweep:
        """Intact, then every `of`-th component: of all layers as many, since the first ones cost most."""
        intact, *single = self.ablations(model.info)
        return self.sweep(model, basis, [intact, *single[number::of]], progress)

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> Sweep:
        return self.sweep(model, basis, self.ablations(model.info), progress)

    def sweep(self, model: LoadedModel, basis: Sequence[Any], ablations: Sequence[Ablation],
              progress: Progress | None) -> Sweep:
        """Its questions under some of its ablations."""
        raise NotImplementedError

    def joined(self, pieces: Sequence[Sweep]) -> Sweep:
        first = pieces[0]
        if any(piece.questions != first.questions for piece in pieces):
            raise StoreError("The pieces of a sweep are of different questions: its workers read different rows.")

        def all_of(name: str) -> tuple[Any, ...]:
            """What is first in all, then the others, of each piece one in turn."""
            turns = zip_longest(*(getattr(piece, name)[1:] for piece in pieces))  # the last turn may lack some
            return (*getattr(first, name)[:1], *(one for turn in turns for one in turn if one is not None))

        return Sweep(first.questions, all_of("ablations"), all_of("choices"), all_of("choices_norm"), (),
                     all_of("gold"))

    @staticmethod
    def _passes(info: ModelInfo, n_each: float) -> float:
        """Passes begin at the layer where they differ: half of the layers on average."""
        return 1 + (info.n_layers + 1) / 2 * n_each


@dataclass(frozen=True)
class FFNOracle(Oracle):
    """Accuracy with each FFN off."""

    KIND = "ffn_oracle"
    TITLE = "FFN oracle"
    DEFINITION = ("answers, and the right answer's log-likelihood (mean over its tokens, nats), with each FFN off; "
                  "importance = acc(intact) - acc(FFN off)")
    TOPICS = {"ffns": Topic("FFNs", "accuracy with each FFN off", rank=3, by_default=True)}

    setup: Setup

    @staticmethod
    def ablations(info: ModelInfo) -> list[Ablation]:
        return [INTACT, *(Ablation(ffns=frozenset({layer})) for layer in range(info.n_layers))]

    def each(self, info: ModelInfo) -> float:
        return 1

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return round(self._passes(info, self.each(info)) * count(self.setup, "validation"))

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[FFNOracle]:
        yield from map(cls, wish.setups)

    def sweep(self, model: LoadedModel, basis: Sequence[Any], ablations: Sequence[Ablation],
              progress: Progress | None) -> Sweep:
        return sweep(model, ready(model, self.setup), ablations, progress, gold=True)


@dataclass(frozen=True)
class HeadOracle(Oracle):
    """Accuracy and loss with each single head off.

    Attributes:
        fill: what stands in for a head's output z: "zero"; its "mean" over training prompts; "resample", its output on
            another training prompt, `N_RESAMPLED` of them for every query, which the record names one after the other;
            or "optimal", the constant that leaves the training loss lowest.
        n_train: training prompts behind what stands in; 0 where zeros do.
        on: the split that the questions are of: "validation", or "train": the first training prompts, which importance
            is measured on.
    """

    KIND = "head_oracle"
    TITLE = "head oracle"
    DEFINITION = ("answers, and the right answer's log-likelihood (mean over its tokens, nats), with each single head "
                  "off; importance = acc(intact) - acc(head off), or loss(head off) - loss(intact). In place of its "
                  "output z: zero; its mean over training prompts; resample: its z on another training prompt, at the "
                  "same position from the end of the context (the nearest where there is none), several of them for "
                  "every query; optimal: the constant that leaves the training loss lowest")
    TOPICS = {"heads": Topic("single heads", "accuracy with each single head off: as many evaluations as there are "
                             "heads", rank=10)}  # the longest by far, so it goes last
    OPTIONS = (FILL, ON, N_TRAIN)

    setup: Setup
    fill: str = field(default=ZERO, metadata=RARE)
    n_train: int = field(default=0, metadata=RARE)
    on: str = field(default=VALIDATION, metadata=RARE)

    def __post_init__(self) -> None:
        try:
            _fill(self.fill)
            _split(self.on)
        except ValueError as error:
            raise BadInput(f"{error}.") from error
        if not 0 <= self.n_train <= limits.NUMBER:
            raise BadInput(f"What stands in for heads is taken from 1 training prompt or more, not {self.n_train}.")
        object.__setattr__(self, "n_train", (self.n_train or N_TRAIN.default) if self.fill != ZERO else 0)

    def __str__(self) -> str:
        return super().__str__() + f" {self.fill}" * (self.fill != ZERO) + f" {self.on}" * (self.on != VALIDATION)

    @staticmethod
    def ablations(info: ModelInfo) -> list[Ablation]:
        return [INTACT, *(Ablation(frozenset({head})) for head in info.heads)]

    def named(self, info: ModelInfo) -> tuple[str, ...]:
        intact, *others = super().named(info)
        return (intact, *(name for name in others for _ in range(N_RESAMPLED if self.fill == RESAMPLE else 1)))

    def is_whole(self, record: Sweep) -> bool:
        return bool(record.gold)

    def needs(self) -> Sequence[Unit[Any]]:
        over = self.setup.with_(n_examples=self.n_train) if self.n_train else self.setup
        return [Means(over)] * (self.fill == MEAN) + [OptimalConstants(over)] * (self.fill == OPTIMAL)

    def each(self, info: ModelInfo) -> float:
        return info.n_all_heads / info.n_layers

    def pieces(self, info: ModelInfo) -> int:
        return 1 if self.fill == RESAMPLE else super().pieces(info)  # its draws are made for all heads together

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        each = self.each(info)
        if self.fill != RESAMPLE:
            return round(self._passes(info, each) * count(self.setup, self.on))
        own = self.setup.with_(demos="per-query")  # every query is read whole, once for each option; two, say
        return round((self._passes(info, N_RESAMPLED * each) + N_RESAMPLED) * 2 * count(own, self.on))

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[HeadOracle]:
        fill = wish.options["fill"]
        for setup in wish.setups:
            yield cls(setup, fill, wish.options["n_train"] if fill != ZERO else 0, wish.options["on"])

    def options(self) -> Mapping[str, Any]:
        return ({"fill": self.fill, "n_train": self.n_train} if self.fill != ZERO else {}) | (
            {"on": self.on} if self.on != VALIDATION else {})

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> Sweep:
        if self.fill != RESAMPLE:
            return super().measure(model, basis, progress)
        others = prompts_of(self.setup.with_(n_examples=self.n_train), "train")
        return resampled_oracle(model, ready(model, self.setup, split=self.on), others, self.setup.seed, progress)

    def sweep(self, model: LoadedModel, basis: Sequence[Any], ablations: Sequence[Ablation],
              progress: Progress | None) -> Sweep:
        return sweep(model, ready(model, self.setup, split=self.on), ablations, progress, gold=True,
                     means=_only_heads(model, basis[0]) if basis else None)


def sweep(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, ablations: Sequence[Ablation],
    progress: Progress | None = None, *, metric: str = "acc", removed: Sequence[tuple[float, float]] = (),
    gold: bool = False, means: MeanActivations | None = None,
) -> Sweep:
    """The chosen option of every query under every ablation; the first should be the intact model.

    Equal ablations are measured once: on a model of few layers, several shares remove the same FFNs.

    Args:
        gold: keep the right answer's log-likelihood, too.
        means: what stands in for components that are off; None: zeros.
    """
    from ..engine import passes

    if not isinstance(prompts, passes.Prepared):
        prompts = passes.prepare(model, prompts, metric)
    distinct = list(dict.fromkeys(ablations))
    filled = distinct if means is None else [one.filled("mean") for one in distinct]
    scored = dict(zip(distinct, evaluate(model, prompts, filled, progress, means=[means] * len(filled)), strict=True))
    return _as_sweep([str(one) for one in ablations], [scored[one] for one in ablations], prompts, removed, gold)


def _as_sweep(names: Sequence[str], found: Sequence[Answers], prompts: Prepared,
              removed: Sequence[tuple[float, float]] = (), gold: bool = True) -> Sweep:
    """What is kept of answers under several ablations."""
    return Sweep(found[0].questions, tuple(names), tuple(e.choices() for e in found),
                 tuple(e.choices(norm=True) for e in found), tuple(removed),
                 tuple(tuple((e.gold() / n).tolist()) for n in [prompts.gold_tokens] for e in found) if gold else ())


def ffn_importance(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, progress: Progress | None = None, *, metric: str = "acc"
) -> Sweep:
    """Intact, then with each FFN off, layer 0 first. acc(intact) - acc(FFN l off) is the oracle importance:
    positive = the FFN helped. Source: Bansal et al. 2023, arXiv:2212.09095."""
    return sweep(model, prompts, FFNOracle.ablations(model.info), progress, metric=metric, gold=True)


def head_oracle(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, progress: Progress | None = None, *, metric: str = "acc",
    means: Activations | Constants | None = None,
) -> Sweep:
    """Intact, then with each single head off, layer by layer. In the study for OPT-125M, with zeros in their place.

    Args:
        means: what stands in for a head that is off; None: zeros.
    """
    return sweep(model, prompts, HeadOracle.ablations(model.info), progress, metric=metric, gold=True,
                 means=None if means is None else _only_heads(model, means))


@dataclass(frozen=True)
class _OfHeads:
    """What stands in for heads, where no FFN is off."""

    heads: Any
    ffns: Any


def _only_heads(model: LoadedModel, means: Activations | Constants) -> _OfHeads:
    return _OfHeads(means.heads, np.zeros((model.n_layers, model.d_model)))


def resampled_oracle(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, others: Sequence[Prompt], seed: int = 0,
    progress: Progress | None = None, *, metric: str = "acc", n_draws: int = N_RESAMPLED,
) -> Sweep:
    """Intact, then with each single head's output taken from another prompt, `n_draws` of these for every query.

    At each position the head puts out what it does on the other prompt at the position that is as far from the end of
    its context; where that has no such position, at its nearest.

    Args:
        others: the prompts that are drawn from, read with their gold answers.
        seed: of the draws.

    Raises:
        BadInput: if none of the others fits the model's context.
    """
    from ..engine import passes
    from ..engine.resampling import resampled

    if not isinstance(prompts, passes.Prepared):
        prompts = passes.prepare(model, prompts, metric)
    intact, *single = HeadOracle.ablations(model.info)
    found = resampled(model, prompts, others, model.info.heads, n_draws, seed, progress)
    names = [str(intact), *(str(one) for one in single for _ in range(n_draws))]
    answers = [Answers(prompts.questions, scores.loglikelihoods, prompts.lengths, scores.greedy)
               for scores in (found.intact, *(one for draws in found.without for one in draws))]
    return _as_sweep(names, answers, prompts)
