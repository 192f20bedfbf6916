"""Which heads carry what the demonstrations ask for? The effect of each head's output at the last token of a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.errors import BadInput
from backend.kinds.prompts import prompts_of
from backend.kinds.shapes import check_heads
from backend.kinds.unit import CountTokens, OfTask, Option, Progress, Topic, Wish
from backend.records import ModelInfo, Record, require, require_lengths, require_within
from backend.values import Setup

if TYPE_CHECKING:
    from backend.models.loading import LoadedModel
    from backend.tasks.task import Prompt

N_MEANS = Option("n_means", 50, "true-label prompts behind the mean head outputs of function vectors", least=1)
N_TRIALS = Option("n_trials", 25, "shuffled-label prompts in which function vectors put them (the paper: 25)", least=1)


@dataclass(frozen=True)
class Effects(Record):
    """What putting a head's mean output back did to the right answer's probability, prompt by prompt summed up."""

    n_means: int  # true-label prompts behind the means
    n_trials: int  # shuffled-label prompts
    true: float  # mean probability of the right answer's first token behind true labels
    shuffled: tuple[float, ...]  # per shuffled-label prompt, the same, intact
    mean: tuple[tuple[float, ...], ...]  # [layer][head]: mean over prompts of p(head replaced) - p(intact)
    variance: tuple[tuple[float, ...], ...]  # [layer][head]: over prompts

    def check(self) -> None:
        require_within("n_means", [self.n_means], 1)
        require_within("n_trials", [self.n_trials], 1)
        require_lengths(self.n_trials, "shuffled-label prompts", shuffled=self.shuffled)
        require_within("shuffled", [self.true, *self.shuffled], 0, 1.001)
        check_heads(None, mean=self.mean, variance=self.variance)
        for mean, variance in zip(self.mean, self.variance, strict=True):
            require_within("mean", mean, -1.001, 1.001)
            require_within("variance", variance, 0, 4)


@dataclass(frozen=True)
class FunctionVectors(OfTask[Effects]):
    """The indirect effect of every head, from the first `setup.n_examples` training prompts and `n_trials` others."""

    KIND = "function_vectors"
    RECORD = Effects
    TITLE = "function-vector heads"
    DEFINITION = ("p(y | shuffled-label prompt, z of the head at the last token := its mean over true-label prompts) "
                  "- p(y | shuffled-label prompt), y the first token of the right answer; mean over prompts")
    SOURCE = "Todd et al. 2024, arXiv:2310.15213; Yin and Steinhardt 2025, arXiv:2502.14010"
    TOPICS = {"function-vectors": Topic("function vectors", "the effect of putting each head's mean output back where "
                                        "labels are shuffled", training=True, rank=6)}
    OPTIONS = (N_MEANS, N_TRIALS)
    TRAINING = False

    setup: Setup  # its n_examples: true-label training prompts behind the means
    n_trials: int = 25

    def __post_init__(self) -> None:
        if self.n_trials < 1:
            raise BadInput(f"Effects are taken over at least 1 shuffled-label prompt, got {self.n_trials}.")

    def check(self, record: Effects, info: ModelInfo | None) -> None:
        require(record.n_means <= self.setup.n_examples and record.n_trials <= self.n_trials, "n_means or n_trials "
                "holds more prompts than were asked for")
        check_heads(info, mean=record.mean, variance=record.variance)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        """Prompts are read once; behind each trial stands one token for every head."""
        each = count(self.setup, "train") / self.setup.n_examples
        return round(each * (self.setup.n_examples + self.n_trials)) + self.n_trials * len(info.heads)

    def _of_setup(self) -> list[str]:
        given = super()._of_setup()
        return [*given[:given.index("--n-examples")]]

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[FunctionVectors]:
        for setup in wish.setups:
            if setup.n_shots:  # without demonstrations there are no labels to shuffle
                yield cls(setup.with_(n_examples=wish.options["n_means"]), wish.options["n_trials"])

    def options(self) -> Mapping[str, Any]:
        return {"n_means": self.setup.n_examples, "n_trials": self.n_trials}

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> Effects:
        every = prompts_of(self.setup.with_(n_examples=self.setup.n_examples + self.n_trials), "train")
        if len(every) < 2:
            raise BadInput(f"Task '{self.setup.task}' has {len(every)} training prompts: function vectors need some "
                           "for means and others to shuffle.")
        n_means = max(1, min(self.setup.n_examples, len(every) - self.n_trials))
        return function_vectors(model, every[:n_means], every[n_means:][:self.n_trials], self.setup.seed, progress)


def function_vectors(model: LoadedModel, true: Sequence[Prompt], others: Sequence[Prompt], seed: int = 0,
                     progress: Progress | None = None) -> Effects:
    """How far each head's mean output at the last token brings the right answer back where labels are shuffled.

    Args:
        true: prompts with true labels, over which outputs are averaged.
        others: prompts whose demonstrations' labels are then shuffled; a head is replaced in each.

    Raises:
        BadInput: if no prompt is left, or labels cannot be shuffled.
        ModelError: if the probabilities are no numbers.
    """
    from backend.engine import last_token
    from backend.tasks.labels import shuffled

    right = last_token.last_of(model, true)
    fill = last_token.mean_last_outputs(model, [ids for ids, _ in right])
    asked = last_token.last_of(model, shuffled(others, seed))
    if not asked:
        raise BadInput("No prompt with shuffled labels fits the model's context, or none was given.")
    behind_true = last_token.probabilities(model, right)
    intact, changed = last_token.replaced(model, asked, fill, progress)
    effects = changed - intact[:, None, None]

    def rows(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(map(float, row)) for row in values)

    return Effects(len(right), len(asked), float(behind_true.mean()), tuple(map(float, intact)),
                   rows(effects.mean(0)), rows(effects.var(0, ddof=1) if len(asked) > 1 else np.zeros_like(effects[0])))
