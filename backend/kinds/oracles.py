"""What does each component's removal cost? The same queries with one FFN, or one head, off at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import lt
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.kinds.evaluation import ROUNDING, Answers, evaluate
from backend.kinds.prompts import ready
from backend.kinds.shapes import check_questions
from backend.kinds.unit import CountTokens, OfTask, Progress, Topic, Wish
from backend.records import ModelInfo, Questions, Record, require, require_lengths, require_within
from backend.stats import Marks
from backend.values import INTACT, RARE, Ablation, Setup

if TYPE_CHECKING:
    from backend.engine.passes import Prepared
    from backend.models.loading import LoadedModel
    from backend.tasks.task import Prompt


@dataclass(frozen=True)
class Sweep(Record):
    """The same queries under many ablations: the oracles and the pruning curves.

    The chosen option is kept per query and ablation: enough for accuracy, intervals and paired tests; by oracles also
    how likely the right answer was, which tells more where accuracy hardly moves. The first ablation is the intact
    model.
    """

    NEAR_TIES = ("choices", "choices_norm")
    questions: Questions
    ablations: tuple[str, ...]  # as `str(Ablation)`
    choices: tuple[tuple[int, ...], ...]  # [ablation][query]: the option of highest log-likelihood
    choices_norm: tuple[tuple[int, ...], ...]  # the same, per character
    removed: tuple[tuple[float, float], ...] = ()  # pruning: share of (heads, FFNs) removed at each point
    gold: tuple[tuple[float, ...], ...] = field(default=(), metadata=RARE)  # oracles: [ablation][query]: log-likelihood
    # of the (first) right answer, nats, mean over its tokens; empty where an earlier version measured

    def check(self) -> None:
        self.questions.check()
        n, greedy = len(self.questions.docs), self.questions.metric == "greedy"
        require(bool(self.ablations) and self.ablations[0] == "", "ablations does not begin with the intact model")
        require_lengths(len(self.ablations), "ablations", choices=self.choices, choices_norm=self.choices_norm,
                        **({"removed": self.removed} if self.removed else {}))
        for name in ("choices", "choices_norm"):
            for row in getattr(self, name):
                require_lengths(n, "queries", **{name: row})
                require_within(name, row, -1 if greedy else 0)
                require(all(map(lt, row, self.questions.n_options)), f"{name} holds an option that its query lacks")
        if self.gold:
            require_lengths(len(self.ablations), "ablations", gold=self.gold)
            for lls in self.gold:
                require_lengths(n, "queries", gold=lls)
                require(max(lls) <= ROUNDING, f"gold holds {max(lls)}, which is no logarithm of a probability")
        for shares in self.removed:
            require_within("removed", shares, 0, 1)

    def outcomes(self, norm: bool = False) -> np.ndarray:
        """(n_ablations, n) of bool: right or wrong."""
        rows = self.choices_norm if norm else self.choices
        return np.stack([self.questions.outcomes(row) for row in rows])

    def marks(self, norm: bool = False) -> list[Marks]:
        """Per ablation the outcomes with the draws of demonstrations that they share, for intervals and tests."""
        draws = self.questions.outcome_draws()
        return [Marks(row, draws) for row in self.outcomes(norm)]

    def accuracy(self, norm: bool = False) -> np.ndarray:
        """(n_ablations,) shares of right answers."""
        return self.outcomes(norm).mean(1)

    def importance(self) -> np.ndarray:
        """(n_components,), of an oracle: acc(intact) - acc(component off); positive = the component helped."""
        accuracy = self.accuracy()
        return accuracy[0] - accuracy[1:]

    def losses(self) -> np.ndarray | None:
        """(n_ablations, n_queries) cross-entropy of the right answer, nats, mean over its tokens; None where only the
        chosen options were kept."""
        return -np.array(self.gold) if self.gold else None

    @property
    def left_out(self) -> tuple[int, int]:
        return self.questions.left_out


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
            names = tuple(map(str, self.ablations(info)))
            require_lengths(len(names), "ablations of this model", ablations=record.ablations)
            require(record.ablations == names, "ablations names others than this model's, one after the other")

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

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return round(self._passes(info, 1) * count(self.setup, "validation"))

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[FFNOracle]:
        yield from map(cls, wish.setups)

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> Sweep:
        return ffn_importance(model, ready(model, self.setup), progress)


@dataclass(frozen=True)
class HeadOracle(Oracle):
    """Accuracy with each single head off."""

    KIND = "head_oracle"
    TITLE = "head oracle"
    DEFINITION = ("answers, and the right answer's log-likelihood (mean over its tokens, nats), with each single head "
                  "off; importance = acc(intact) - acc(head off)")
    TOPICS = {"heads": Topic("single heads", "accuracy with each single head off: as many evaluations as there are "
                             "heads", rank=10)}  # the longest by far, so it goes last

    setup: Setup

    @staticmethod
    def ablations(info: ModelInfo) -> list[Ablation]:
        return [INTACT, *(Ablation(frozenset({head})) for head in info.heads)]

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return round(self._passes(info, len(info.heads) / info.n_layers) * count(self.setup, "validation"))

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[HeadOracle]:
        yield from map(cls, wish.setups)

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> Sweep:
        return head_oracle(model, ready(model, self.setup), progress)


def sweep(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, ablations: Sequence[Ablation],
    progress: Progress | None = None, *, metric: str = "acc", removed: Sequence[tuple[float, float]] = (),
    gold: bool = False,
) -> Sweep:
    """The chosen option of every query under every ablation; the first should be the intact model.

    Equal ablations are measured once: on a model of few layers, several shares remove the same FFNs.

    Args:
        gold: keep the right answer's log-likelihood, too.
    """
    from backend.engine import passes

    if not isinstance(prompts, passes.Prepared):
        prompts = passes.prepare(model, prompts, metric)
    distinct = list(dict.fromkeys(ablations))
    scored = dict(zip(distinct, evaluate(model, prompts, distinct, progress), strict=True))
    found = [scored[ablation] for ablation in ablations]
    return Sweep(
        questions=found[0].questions, ablations=tuple(str(a) for a in ablations),
        choices=tuple(e.choices() for e in found), choices_norm=tuple(e.choices(norm=True) for e in found),
        removed=tuple(removed), gold=tuple(_gold(answers, prompts.answer_tokens) for answers in found) if gold else ())


def _gold(answers: Answers, n_tokens: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """Per query, the log-likelihood of its first right answer, nats, mean over that answer's tokens."""
    first = [gold[0] for gold in answers.questions.gold]
    return tuple(lls[g] / tokens[g] for g, lls, tokens in zip(first, answers.loglikelihoods, n_tokens, strict=True))


def ffn_importance(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, progress: Progress | None = None, *, metric: str = "acc"
) -> Sweep:
    """Intact, then with each FFN off, layer 0 first. acc(intact) - acc(FFN l off) is the oracle importance:
    positive = the FFN helped. Source: Bansal et al. 2023, arXiv:2212.09095."""
    return sweep(model, prompts, FFNOracle.ablations(model.info), progress, metric=metric, gold=True)


def head_oracle(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, progress: Progress | None = None, *, metric: str = "acc"
) -> Sweep:
    """Intact, then with each single head off, layer by layer. In the study for OPT-125M."""
    return sweep(model, prompts, HeadOracle.ablations(model.info), progress, metric=metric, gold=True)
