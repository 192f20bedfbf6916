"""How well does the model, intact or ablated, answer? Every option's log-likelihood, per query."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Bool, Float
from ..errors import BadInput
from ..records import ModelInfo, Questions, Record, require, require_lengths, require_within
from ..stats import Marks
from ..values import INTACT, Ablation, Setup
from .means import N_TRAIN, Activations, Means
from .prompts import ready
from .shapes import check_ablation, check_questions
from .unit import CountTokens, Listener, OfTask, Option, Progress, R, Topic, Unit, Wish

if TYPE_CHECKING:
    from ..engine.passes import Prepared, Scores
    from ..models.gates import MeanActivations
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt

ROUNDING = 0.01  # nats: how far above 0 rounding may lift the log of a probability near 1
SMALLEST_BATCH = 64  # tokens; below this, running out of memory is passed on
OFF = Option("off", (), "evaluate with these heads and FFNs off, too: L3H7,L2H0-3,L4FFN; mean: in front puts their "
             "means in place; can be given again", read=str, metavar="MASK", many=True)


@dataclass(frozen=True)
class Answers(Record):
    """How a model, intact or ablated, scored each option of each query."""

    NEAR_TIES = ("greedy",)
    questions: Questions
    loglikelihoods: tuple[tuple[float, ...], ...]  # per query and option, nats, summed over the option's tokens
    lengths: tuple[tuple[int, ...], ...]  # per query and option, characters, for `acc_norm`
    greedy: tuple[tuple[bool, ...], ...] = ()  # whether each option is what the model would have written (LAMBADA)

    def check(self) -> None:
        self.questions.check()
        n_options, greedy = self.questions.n_options, self.questions.metric == "greedy" or bool(self.greedy)
        for name in ("loglikelihoods", "lengths", *["greedy"] * greedy):
            rows = getattr(self, name)
            require_lengths(len(n_options), "queries", **{name: rows})
            for row, n in zip(rows, n_options, strict=True):
                require_lengths(n, "options of a query", **{name: row})
        for lls, lengths in zip(self.loglikelihoods, self.lengths, strict=True):
            require(max(lls) <= ROUNDING, f"loglikelihoods holds {max(lls)}, which is no logarithm of a probability")
            require_within("lengths", lengths, 0)

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
        return tuple(row.index(max(row)) for row in rows)

    def gold(self) -> Float[np.ndarray, " n_queries"]:
        """Log-likelihood of the right answer, of several the first; nats, summed over its tokens."""
        return np.array([row[gold[0]] for row, gold in zip(self.loglikelihoods, self.questions.gold, strict=True)])

    def outcomes(self, norm: bool = False) -> Bool[np.ndarray, " n"]:
        """Right or wrong."""
        return self.questions.outcomes(self.choices(norm))

    def marks(self, norm: bool = False) -> Marks:
        """The outcomes with the draws of demonstrations that they share, for intervals and tests."""
        return self.questions.marks(self.outcomes(norm))

    @property
    def left_out(self) -> tuple[int, int]:
        return self.questions.left_out


class Masked(OfTask[R]):
    """What kinds share that ask a model with a mask: their fields `ablation` and `n_train`.

    Attributes:
        n_train: training prompts behind the means, where the ablation puts means in place; else 0.
    """

    if TYPE_CHECKING:
        @property
        def ablation(self) -> Ablation: ...
        @property
        def n_train(self) -> int: ...

    def __post_init__(self) -> None:
        if self.n_train < 0:
            raise BadInput(f"Means are taken over 1 prompt or more, not {self.n_train}.")
        n_train = (self.n_train or N_TRAIN.default) if self.ablation.fill == "mean" else 0
        object.__setattr__(self, "n_train", n_train)

    def __str__(self) -> str:
        return super().__str__() + (f" off={self.ablation}" if self.ablation else "")

    def check_asked(self, questions: Questions, info: ModelInfo | None) -> None:
        """That a record's questions are the setup's, and that the model has what is off. Raises: StoreError."""
        check_questions(self.setup, questions)
        if info is not None:
            check_ablation(self.ablation, info)

    def needs(self) -> Sequence[Unit[Any]]:
        return [Means(self.setup.with_(n_examples=self.n_train))] if self.n_train else []

    def options(self) -> Mapping[str, Any]:
        given: dict[str, Any] = {"off": [self.ablation]} if self.ablation else {}
        return given | ({"n_train": self.n_train} if self.n_train else {})


@dataclass(frozen=True)
class Evaluation(Masked[Answers]):
    """How each option of each validation query scores."""

    KIND = "evaluation"
    RECORD = Answers
    TITLE = "accuracy"
    DEFINITION = "summed log-likelihood of every option, nats; the answer is the highest (acc_norm: per character)"
    SOURCE = "lm-evaluation-harness, 2022"
    TOPICS = {
        "accuracy": Topic("accuracy", "every option's log-likelihood, nothing switched off", by_default=True),
        "masks": Topic("masks", "the same with the heads and FFNs of --off switched off", rank=1, masked=True,
                       alone=True),
    }
    OPTIONS = (OFF, N_TRAIN)

    setup: Setup
    ablation: Ablation = INTACT
    n_train: int = 0

    def check(self, record: Answers, info: ModelInfo | None) -> None:
        self.check_asked(record.questions, info)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return count(self.setup, "validation")

    @property
    def topic(self) -> str:
        return "masks" if self.ablation else "accuracy"

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[Evaluation]:
        masks = wish.options["off"] if topic == "masks" else [INTACT]
        if not masks:
            raise BadInput("No mask named. Give the heads and FFNs to switch off: --off L3H7,L2FFN.")
        for setup in wish.setups:
            for ablation in masks:
                yield cls(setup, ablation, wish.options["n_train"])

    def measure(self, model: LoadedModel, basis: Sequence[Activations], progress: Progress | None) -> Answers:
        return self.measure_together([self], model, [basis], progress)[0]

    @property
    def company(self) -> Hashable:
        return self.KIND, self.setup

    def gains(self, model: LoadedModel) -> bool:
        """Where the intact model's states cannot be kept, every call computes them again; elsewhere, on a processor,
        eight masks of the bundled model take as long together as in turn (0.15 s), and the first waits for the last."""
        return model.device.type != "cpu" or not ready(model, self.setup).smallest.state_bytes

    @classmethod
    def measure_together(cls, units: Sequence[Evaluation], model: LoadedModel, bases: Sequence[Sequence[Activations]],
                         progress: Progress | None) -> list[Answers]:
        def so_far(place: int, right: int, answered: int, of: int) -> None:
            assert isinstance(progress, Listener)
            progress.so_far(units[place], right, answered, of)

        return evaluate(model, ready(model, units[0].setup), [unit.ablation for unit in units], progress,
                        means=[basis[0] if basis else None for basis in bases],
                        so_far=so_far if isinstance(progress, Listener) else None)


def evaluate(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, ablations: Sequence[Ablation] = (INTACT,),
    progress: Progress | None = None, *, metric: str = "acc", means: Sequence[MeanActivations | None] | None = None,
    batch_tokens: int | None = None, together: bool = False,
    so_far: Callable[[int, int, int, int], None] | None = None,
) -> list[Answers]:
    """Score every option of every prompt under each ablation.

    The answer is the option with the highest summed log-likelihood, in nats; `acc_norm` divides by its length in
    characters (2022 harness). One record per ablation, in order.

    Args:
        prompts: the prompts, or the same `Prepared` (which remember the intact model's states, and what did not fit).
        metric: how outcomes are read: "acc", "em", "acc_by_group" or "greedy".
        means: per ablation, the mean activations; needed where its fill is "mean".
        batch_tokens: tokens of one pass, None for as many as suit the device; halved, and said so in the log, whenever
            memory runs out.
        together: let ablations share passes that have room for several, see `passes.score`.
        so_far: called as so_far(place of the ablation, questions answered right, answered, of all) as they are scored.

    Raises:
        ModelError: the logits are no numbers.
        BadInput: an ablation names a component that the model does not have, or the prompts are prepared for another.
    """
    from accelerate.utils.memory import should_reduce_batch_size

    from ..engine import passes

    if not isinstance(prompts, passes.Prepared):
        ready = passes.prepare(model, prompts, metric, batch_tokens=batch_tokens)
    elif (ready := prompts).model is not model:
        raise BadInput(f"These prompts were made ready for '{ready.model.info.name}' as it was loaded then, not for "
                       "the model given here. Make them ready for this one.")
    # What the intact model leaves behind helps several ablations, or the next call with the same prompts.
    reuse = None if ready is prompts or len(ablations) > 1 else False

    def tell(place: int, scores: Scores, complete: Bool[np.ndarray, " n_queries"]) -> None:
        assert so_far is not None
        outcomes = Answers(ready.questions, scores.loglikelihoods, ready.lengths, scores.greedy).outcomes()
        answered = np.array([complete[list(members)].all() for members in ready.questions.outcome_docs])
        so_far(place, int(outcomes[answered].sum()), int(answered.sum()), len(answered))

    while True:
        ready = ready.smallest
        try:
            scores = passes.score(ready, ablations, means, progress, reuse, together, tell if so_far else None)
            break
        except Exception as error:
            if ready.batch_tokens // 2 < SMALLEST_BATCH or not should_reduce_batch_size(error):
                raise
            passes.halve(ready)
    return [Answers(ready.questions, s.loglikelihoods, ready.lengths, s.greedy) for s in scores]
