"""What does each demonstration do? The right answer's log-likelihood with one of them left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Float
from ..errors import BadInput
from ..records import ModelInfo, Questions, Record, require, require_lengths, require_within
from ..values import INTACT, Ablation, Setup
from .evaluation import OFF, ROUNDING, Answers, Evaluation, Masked, evaluate
from .means import N_TRAIN
from .prompts import ready
from .unit import CountTokens, Progress, Topic, Unit, Wish, part

if TYPE_CHECKING:
    from ..engine.passes import Prepared
    from ..models.gates import MeanActivations
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt

@dataclass(frozen=True)
class Influences(Record):
    """The right answer's log-likelihood with all demonstrations, and with each of them left out, query by query."""

    questions: Questions
    n_tokens: tuple[int, ...]  # per query: tokens of the right answer, of several the first
    whole: tuple[float, ...]  # per query: its log-likelihood with all demonstrations, nats, summed over its tokens
    without: tuple[tuple[float, ...], ...]  # [query][demonstration]: the same with that one left out, the farthest from
    # the question first; as `whole` for a demonstration that was not shown because the prompt was too long

    def check(self) -> None:
        self.questions.check()
        n = len(self.questions.docs)
        require_lengths(n, "queries", n_tokens=self.n_tokens, whole=self.whole, without=self.without)
        require_within("n_tokens", self.n_tokens, 1)
        require(bool(self.without[0]), "without holds no demonstration")
        for row in self.without:
            require_lengths(len(self.without[0]), "demonstrations", without=row)
        for name, values in (("whole", self.whole), *(("without", row) for row in self.without)):
            require(max(values) <= ROUNDING, f"{name} holds {max(values)}, which is no logarithm of a probability")

    def influences(self) -> Float[np.ndarray, "n_queries n_demonstrations"]:
        """Nats per token of the right answer: with all minus with that one left out.

        Positive: the demonstration makes the right answer likelier. NaN where it was not shown.
        """
        found = (np.array(self.whole)[:, None] - np.array(self.without)) / np.array(self.n_tokens)[:, None]
        for q, dropped in enumerate(self.questions.dropped_demos):
            found[q, :dropped] = np.nan
        return np.asarray(found)

    @property
    def left_out(self) -> tuple[int, int]:
        return self.questions.left_out


@dataclass(frozen=True)
class Influence(Masked[Influences]):
    """How each demonstration changes the right answer's log-likelihood, under a mask.

    With `fixed` draws what questions of one draw share is read once, with one left out as with all.
    """

    KIND = "influence"
    RECORD = Influences
    TITLE = "influence of demonstrations"
    DEFINITION = ("log-likelihood of the right answer with all demonstrations minus with one left out, mean per token, "
                  "nats")
    SOURCE = "leaving one out; of demonstrations: Nguyen and Wong 2023, arXiv:2302.11042"
    TOPICS = {"influence": Topic("influence", "the right answer's log-likelihood with each demonstration left out, and "
                                 "the heads and FFNs of --off", rank=5, masked=True)}
    OPTIONS = (OFF, N_TRAIN)

    setup: Setup
    ablation: Ablation = INTACT
    n_train: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.setup.n_shots:
            raise BadInput("At 0 shots there is no demonstration to leave out. Choose 1 shot or more.")

    def check(self, record: Influences, info: ModelInfo | None) -> None:
        self.check_asked(record.questions, info)
        require_lengths(self.setup.n_shots, "demonstrations", without=record.without[0])

    def needs(self) -> Sequence[Unit[Any]]:
        return [Evaluation(self.setup, self.ablation, self.n_train), *super().needs()]

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        n = self.setup.n_shots
        return n * count(self.setup.with_(n_shots=n - 1), "validation")

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[Influence]:
        for setup in wish.setups:
            for ablation in (wish.options["off"] or [INTACT]) if setup.n_shots else ():
                yield cls(setup, ablation, wish.options["n_train"])

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> Influences:
        whole, *means = basis
        return influence(model, ready(model, self.setup), self.ablation, means[0] if means else None, progress,
                         whole=whole)


def influence(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, ablation: Ablation = INTACT,
    means: MeanActivations | None = None, progress: Progress | None = None, *, metric: str = "acc",
    whole: Answers | None = None,
) -> Influences:
    """How each demonstration changes the log-likelihood of the right answer, in nats.

    The prompts are scored with all their demonstrations and then once for each place with the demonstration in that
    place left out. Where a prompt does not fit the model's context, what is left out is one of those that are shown.
    Of several right answers (ReCoRD) it is the first.

    Args:
        prompts: all with the same number of demonstrations, 1 or more; or the same `Prepared`.
        means: the mean activations; needed where the ablation's fill is "mean".
        metric: as `evaluate` reads outcomes.
        whole: what `evaluate` said of the same prompts, where that is known.

    Raises:
        BadInput: if there is no demonstration, prompts have different numbers of them, or none fits.
        ModelError: the logits are no numbers.
    """
    from ..engine import passes

    ready = prompts if isinstance(prompts, passes.Prepared) else passes.prepare(model, prompts, metric)
    n_demos = {len(prompt.demos) for prompt in ready.prompts}
    if len(n_demos) != 1 or 0 in n_demos:
        raise BadInput("Demonstrations are left out of prompts that all have the same number of them, 1 or more; these "
                       f"have {', '.join(map(str, sorted(n_demos))) or 'none'}.")
    (k,) = n_demos
    found = whole or evaluate(model, ready, [ablation], means=[means])[0]
    questions = found.questions
    if not questions.docs:
        raise BadInput("No prompt fits the model's context, or none was given: there is nothing to leave out.")
    by_doc = {prompt.doc: prompt for prompt in ready.prompts}
    shown = [by_doc[doc] for doc in questions.docs]
    dropped = np.array(questions.dropped_demos or (0,) * len(shown))
    with_all = found.gold()
    without = np.tile(with_all[:, None], (1, k))
    for place in range(k):
        which = np.flatnonzero(dropped <= place)
        if not len(which):
            continue
        fewer = [_left_out(shown[q], int(dropped[q]), place) for q in which]
        answers, = evaluate(model, fewer, [ablation], part(progress, place, k), metric=questions.metric, means=[means])
        without[which, place] = answers.gold()
    return Influences(questions, tuple(map(int, ready.gold_tokens)), tuple(map(float, with_all)),
                      tuple(tuple(map(float, row)) for row in without))


def _left_out(prompt: Prompt, dropped: int, place: int) -> Prompt:
    """The prompt without its first `dropped` demonstrations, and without the one in a place."""
    def kept(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(value for i, value in enumerate(values) if i >= dropped and i != place)

    return replace(prompt, demos=kept(prompt.demos), demo_docs=kept(prompt.demo_docs), answers=kept(prompt.answers))
