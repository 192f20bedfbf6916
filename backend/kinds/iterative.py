"""In which order can heads go? By gradient importance that is scored anew, with those gone off, after every tenth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import stats
from ..errors import BadInput
from ..records import ModelInfo, require_lengths, require_within
from ..values import Head, Setup
from .attribution import REDUCTION
from .head_importance import GRADIENT, REDUCTIONS, importance_of_pairs
from .orders import FIT, OfOrder, Order, dead_and_live, pairs_of
from .prompts import prompts_of
from .unit import CountTokens, Progress, Topic, part
from .writes import HeadWrites

if TYPE_CHECKING:
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt

ROUNDS = 10  # in which a tenth of the live heads goes, each after their importance was scored anew


@dataclass(frozen=True)
class IterativeOrder(Order):
    """An order, with the importance that each live head had when it went."""

    MANY = ("scores",)
    scores: tuple[float, ...]  # of the live heads, in order

    def check(self) -> None:
        super().check()
        require_lengths(len(self.heads) - self.n_dead, "live heads", scores=self.scores)
        require_within("scores", self.scores, 0)


@dataclass(frozen=True)
class Iterative(OfOrder[IterativeOrder]):
    """Heads by importance, scored anew after every tenth of the live ones, over training prompts."""

    KIND = "iterative"
    RECORD = IterativeOrder
    BACKWARDS = True
    TITLE = "iterative order"
    DEFINITION = ("dead heads go first; then, ten times, a tenth of the live ones: those with the lowest gradient "
                  "importance, scored anew with all heads off that have gone so far")
    SOURCE = "Michel et al. 2019, arXiv:1905.10650; rounds as in magnitude pruning, Han et al. 2015, arXiv:1506.02626"
    TOPICS = {"iterative": Topic("iterative order", "an order of heads by importance, scored anew after every tenth",
                                 training=True, rank=5)}
    OPTIONS = (FIT, REDUCTION)

    setup: Setup
    reduction: str = "per-token"

    def __post_init__(self) -> None:
        if self.reduction not in REDUCTIONS:
            raise BadInput(f"Unknown reduction '{self.reduction[:60]}'. Known: {', '.join(REDUCTIONS)}.")

    @classmethod
    def of(cls, setup: Setup, options: Any) -> Iterative:
        return cls(setup, options["reduction"])

    def options(self) -> Mapping[str, Any]:
        return {**super().options(), "reduction": self.reduction}

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return ROUNDS * GRADIENT * count(self.setup, "train")

    def measure(self, model: LoadedModel, basis: Sequence[HeadWrites], progress: Progress | None) -> IterativeOrder:
        dead, live = dead_and_live(model.info, basis[0])
        return iterative_order(model, prompts_of(self.setup, "train"), live, dead, self.reduction, progress)


def iterative_order(
    model: LoadedModel, prompts: Sequence[Prompt], live: Sequence[Head], dead: Sequence[Head] = (),
    reduction: str = "per-token", progress: Progress | None = None,
) -> IterativeOrder:
    """The order in which live heads go when importance is scored anew after every tenth of them, the least first.

    In round r of 10 the live heads that are left are scored with all others off, and the lowest go until
    floor(r / 10 * n) have gone; ties in index order. A round in which none would go is left out.

    Args:
        dead: heads that are off from the start.

    Raises:
        BadInput: if no prompt fits the model's context, or none is given.
        ModelError: if the gradients are no numbers.
    """
    from ..engine.gradients import gold_pairs

    found = gold_pairs(model, prompts)
    left, gone, scores = list(live), list(dead), []
    for round_ in range(1, ROUNDS + 1):
        n = stats.count(round_ / ROUNDS, len(live)) - (len(live) - len(left))
        if n:
            importance = importance_of_pairs(
                model, found.pairs, found.skipped, part(progress, round_ - 1, ROUNDS), prefixes=found.prefixes,
                draws=found.draws, off=gone).scores(reduction)
            going = sorted(left, key=lambda head: importance[head.layer, head.head])[:n]
            scores += [float(importance[head.layer, head.head]) for head in going]
            gone += going
            left = [head for head in left if head not in set(going)]
    return IterativeOrder(pairs_of(gone), len(dead), len(found.pairs), found.skipped, tuple(scores))
