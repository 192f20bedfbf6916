"""Which heads carry what the demonstrations ask for? The effect of each head's output at the last token of a prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import limits
from ..arrays import Float
from ..errors import BadInput
from ..records import ModelInfo, Record, require, require_lengths, require_within
from ..values import Setup
from .prompts import prompts_of
from .shapes import check_heads
from .unit import CountTokens, OfTraining, Option, Progress, Topic, Wish

if TYPE_CHECKING:
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt

MEANS, TRIALS = 50, 25
N_MEANS = Option("n_means", MEANS, "true-label prompts over which function vectors average what heads put out", least=1)
N_TRIALS = Option("n_trials", TRIALS, "shuffled-label prompts into which function vectors put it (the papers: 25)",
                  least=1)
_ROUNDING = 1e-3  # how far rounding may lift a probability above 1


@dataclass(frozen=True)
class Effects(Record):
    """What putting a head's mean output back does to the right answer's probability, prompt by prompt."""

    SUMMED = ("effects",)
    n_means: int  # true-label prompts behind the means
    true: float  # behind true labels: mean probability of the right answer's first token
    shuffled: tuple[float, ...]  # per shuffled-label prompt, the same
    effects: Sequence[Sequence[Sequence[float]]]  # [prompt][layer][head]: with the head replaced, minus intact
    draws: tuple[int, ...]  # per shuffled-label prompt, the draw of demonstrations that it shares; empty: none
    dropped_demos: tuple[int, ...]  # per prompt of both sorts: demonstrations left out because it was too long
    skipped: tuple[int, ...]  # rows that did not fit the model's context

    def check(self) -> None:
        n = len(self.shuffled)
        require(n > 0, "shuffled holds no prompt")
        require_within("n_means", [self.n_means], 1)
        require_lengths(n, "shuffled-label prompts", effects=self.effects, **({"draws": self.draws} if self.draws
                                                                              else {}))
        require_lengths(n + self.n_means, "prompts", dropped_demos=self.dropped_demos)
        require_within("true", [self.true], 0, 1 + _ROUNDING)
        require_within("shuffled", self.shuffled, 0, 1 + _ROUNDING)
        require(bool(self.effects[0] and self.effects[0][0]), "effects holds no head")
        check_heads(None, effects=self.effects[0])
        for layers in self.effects:
            check_heads(None, effects=self.effects[0], **{"effects of a prompt": layers})
        require_within("effects", self.effects, -1 - _ROUNDING, 1 + _ROUNDING)
        for name in ("draws", "dropped_demos", "skipped"):
            require_within(name, getattr(self, name), 0)

    def scores(self) -> Float[np.ndarray, "n_layers n_heads"]:
        """The average indirect effect, a difference of probabilities; 0 where no heads are."""
        return np.asarray(np.asarray(self.effects, float).mean(0))

    @property
    def lost(self) -> float:
        """How much of the right answer's probability shuffled labels take: what there is to bring back."""
        return self.true - float(np.mean(self.shuffled))

    @property
    def left_out(self) -> tuple[int, int]:
        return sum(map(bool, self.dropped_demos)), len(self.skipped)


@dataclass(frozen=True)
class FunctionVectors(OfTraining[Effects]):
    """The indirect effect of every head: means over `setup.n_examples` training prompts, put into `n_trials` others.

    Prompts have the setup's number of demonstrations and its way of drawing them; the papers have 10, a fresh draw for
    every prompt.
    """

    KIND = "function_vectors"
    RECORD = Effects
    TITLE = "function-vector heads"
    DEFINITION = ("p(y | shuffled-label prompt, z of the head at the last token := its mean over true-label prompts) "
                  "- p(y | shuffled-label prompt), y the first token of the right answer; mean over training prompts, "
                  "which have as many demonstrations as the setup says (the papers: 10)")
    SOURCE = "Todd et al. 2024, arXiv:2310.15213; Yin and Steinhardt 2025, arXiv:2502.14010"
    TOPICS = {"function-vectors": Topic("function vectors", "the effect of putting each head's mean output back where "
                                        "labels are shuffled", training=True, rank=6)}
    OPTIONS = (N_MEANS, N_TRIALS)
    COUNT = N_MEANS.name

    setup: Setup  # its n_examples: true-label training prompts behind the means
    n_trials: int = TRIALS

    def __post_init__(self) -> None:
        if not self.setup.n_shots:
            raise BadInput("Function vectors are what demonstrations leave: at 0 shots there are no labels to shuffle. "
                           "Choose 1 shot or more.")
        if not 1 <= self.n_trials <= limits.SEQUENCES:
            raise BadInput(f"Effects are taken over 1 to {limits.SEQUENCES:,} shuffled-label prompts.")

    def check(self, record: Effects, info: ModelInfo | None) -> None:
        n, asked = record.n_means + len(record.shuffled) + len(record.skipped), self.setup.n_examples + self.n_trials
        require(n <= asked, f"n_means, shuffled and skipped hold {n} prompts where {asked} were asked for")
        require(bool(record.draws) == (self.setup.draws > 1), f"draws holds {len(record.draws)} entries where prompts "
                f"were asked for behind {self.setup.draws} draws")
        require_within("draws", record.draws, 0, self.setup.draws - 1)
        require_within("dropped_demos", record.dropped_demos, 0, self.setup.n_shots)
        for layers in record.effects:
            check_heads(info, effects=layers)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        """Prompts are read once; behind each that a head is replaced in stands one token for every head."""
        every = self.setup.with_(n_examples=self.setup.n_examples + self.n_trials)
        return count(every, "train") + count(self.setup, "train") + self.n_trials * info.n_all_heads

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[FunctionVectors]:
        return super().asked(topic, replace(wish, setups=tuple(setup for setup in wish.setups if setup.n_shots)))

    @classmethod
    def of(cls, setup: Setup, options: Mapping[str, Any]) -> FunctionVectors:
        return cls(setup, options["n_trials"])

    def options(self) -> Mapping[str, Any]:
        return {**super().options(), "n_trials": self.n_trials}

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
        seed: of the shuffling.

    Raises:
        BadInput: if no prompt is left, or labels cannot be shuffled.
        ModelError: if the probabilities are no numbers.
    """
    from ..engine import last_token
    from ..tasks.labels import shuffled

    lied = shuffled(others, seed)
    right, asked = last_token.last_of(model, true), last_token.last_of(model, lied)
    if not asked:
        raise BadInput("No prompt with shuffled labels fits the model's context, or none was given.")
    fill, behind_true = last_token.mean_last_outputs(model, right)
    intact, changed = last_token.replaced(model, asked, fill, progress)
    effects = changed - intact[:, None, None]
    used = [*right, *asked]
    fitting = {last.place for last in asked}
    draws = [prompt.draw for place, prompt in enumerate(lied) if place in fitting and prompt.draw is not None]
    skipped = [prompt.doc for prompts, found in ((true, right), (lied, asked)) for place, prompt in enumerate(prompts)
               if place not in {last.place for last in found}]
    return Effects(
        len(right), float(behind_true), tuple(map(float, intact)),
        tuple(tuple(tuple(map(float, row)) for row in layers) for layers in effects.tolist()),
        tuple(draws), tuple(last.dropped for last in used), tuple(skipped))
