"""In which order can heads go? At each step the one whose removal costs least, by trying every one that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..records import ModelInfo, require_lengths, require_within
from ..values import Ablation, Head, Setup
from .evaluation import evaluate
from .orders import FIT, OfOrder, Order, dead_and_live, pairs_of
from .prompts import prompts_of, task_of
from .unit import CountTokens, Progress, Topic, part
from .writes import HeadWrites

if TYPE_CHECKING:
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt


@dataclass(frozen=True)
class GreedyOrder(Order):
    """An order, with how the model did on the training prompts once each live head was off, too."""

    accuracies: tuple[float, ...]  # of the live heads, in order
    losses: tuple[float, ...]  # mean over prompts of minus the gold answer's log-likelihood, nats

    def check(self) -> None:
        super().check()
        require_lengths(len(self.heads) - self.n_dead, "live heads", accuracies=self.accuracies, losses=self.losses)
        require_within("accuracies", self.accuracies, 0, 1)


@dataclass(frozen=True)
class Greedy(OfOrder[GreedyOrder]):
    """Heads as an oracle takes them, one by one, over training prompts."""

    KIND = "greedy"
    RECORD = GreedyOrder
    TITLE = "greedy order"
    DEFINITION = ("dead heads go first; then, one by one, the live head without which training prompts are answered "
                  "best, with all heads off that have gone so far; ties by the gold answer's mean log-likelihood, "
                  "nats, then in index order")
    SOURCE = "backward elimination, by the oracle of Bansal et al. 2023, arXiv:2212.09095"
    TOPICS = {"greedy": Topic("greedy order", "an order of heads by an oracle, step by step: half as many evaluations "
                              "as there are heads, squared; for small models", training=True, rank=11, alone=True)}
    OPTIONS = (FIT,)

    setup: Setup

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        """Every head that is left is tried at every step; passes begin where they differ from the one before."""
        n = info.n_all_heads
        return round(n * (n + 1) / 2 * (info.n_layers + 1) / 2 / info.n_layers * count(self.setup, "train"))

    def measure(self, model: LoadedModel, basis: Sequence[HeadWrites], progress: Progress | None) -> GreedyOrder:
        dead, live = dead_and_live(model.info, basis[0])
        return greedy_order(model, prompts_of(self.setup, "train"), live, dead, progress,
                            metric=task_of(self.setup).metric)


def greedy_order(model: LoadedModel, prompts: Sequence[Prompt], live: Sequence[Head], dead: Sequence[Head] = (),
                 progress: Progress | None = None, *, metric: str = "acc") -> GreedyOrder:
    """The order in which live heads go when at each step the one goes whose removal costs least.

    It costs least whose removal leaves the highest accuracy over the prompts; of equal ones, the lowest mean of minus
    the gold answer's summed log-likelihood; of equal ones, the first of the model.

    Args:
        dead: heads that are off from the start.

    Raises:
        BadInput: if no prompt fits the model's context, or none is given.
        ModelError: if the logits are no numbers.
    """
    from ..engine.passes import prepare

    ready = prepare(model, prompts, metric)
    if not ready.questions.docs:
        raise BadInput("No prompt fits the model's context, or none was given: there is nothing to answer.")
    left, gone, accuracies, losses = list(live), list(dead), [], []
    n_trials = len(live) * (len(live) + 1) // 2
    n_done = 0
    while left:
        tried = evaluate(model, ready, [Ablation(frozenset([*gone, head])) for head in left],
                         part(progress, n_done, n_trials, len(left)))
        right = [float(one.outcomes().mean()) for one in tried]
        lost = [float(-one.gold().mean()) for one in tried]
        best = min(range(len(left)), key=lambda i: (-right[i], lost[i], i))
        n_done += len(left)
        gone.append(left.pop(best))
        accuracies.append(right[best])
        losses.append(lost[best])
    return GreedyOrder(pairs_of(gone), len(dead), len(ready.questions.docs), ready.questions.skipped,
                       tuple(accuracies), tuple(losses))
