"""How many components can go? Accuracy as more and more of them are removed along a ranking."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import stats
from ..errors import BadInput
from ..records import ModelInfo, require, require_lengths
from ..values import METHODS, Ablation, Head, Ranking, Setup, TaskId
from .attribution import RANKED_BY, REDUCTION, Attribution, Attributions
from .attribution import REDUCTIONS as OF_ATTRIBUTION
from .greedy import Greedy
from .head_gates import HeadGates
from .head_importance import HeadImportance, HeadScores
from .iterative import Iterative
from .means import N_TRAIN
from .oracles import FFNOracle, Sweep, sweep
from .orders import FIT, OfOrder, Order
from .prompts import ready
from .shapes import check_masks, check_questions
from .unit import CountTokens, OfTask, Option, Progress, Topic, Unit, Wish, one_of, some_of
from .writes import PROBE, HeadWrites, Writes

if TYPE_CHECKING:
    from ..engine.passes import Prepared
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt

HEAD_SHARES = tuple(p / 100 for p in range(0, 100, 10))  # of heads, or of FFNs, removed along a curve
FINE_SHARES = tuple(p / 100 for p in range(0, 95, 5))  # by the rankings of which it is told how much can go
WHOLE_SHARES = (*FINE_SHARES, 1.0)  # in a fitted order: areas need what is left where all heads are off
COMBINED_HEAD_SHARES = tuple(p / 100 for p in range(0, 80, 10))  # 0..70 % of the heads ...
COMBINED_FFN_SHARES = tuple(p / 100 for p in range(0, 60, 10))  # ... x 0..50 % of the FFNs
PARTS = ("heads", "ffns", "combined")


def shares(what: str, fine: bool = False) -> list[tuple[float, float]]:
    """The share of (heads, FFNs) removed at each point of a curve or map."""
    each = FINE_SHARES if fine else HEAD_SHARES
    return {"heads": [(h, 0.0) for h in each], "ffns": [(0.0, f) for f in each],
            "combined": [(h, f) for h in COMBINED_HEAD_SHARES for f in COMBINED_FFN_SHARES]}[what]


N_RANDOM = Option("n_random", 5, "random rankings to prune by", least=0)
REMOVE = Option("remove", ("heads", "ffns"), "what pruning removes: heads, ffns or both, each along curves of its own",
                read=some_of(one_of(("heads", "ffns"), "cannot be removed along a curve")), metavar="PART,PART")
BY = Option("by", (), "rankings to prune by: own, task:NAME, aggregate:SUITE or aggregate:NAME+NAME, random:SEED, "
            "live:SEED (dead heads first, then the others at random), or, of heads alone, iterative, greedy or gates, "
            "as fitted to training prompts (gates:NAME: to another task's); reverse: in front of the first three puts "
            "the most important first; can be given again (default: own, aggregate of the tasks named, reverse:own, "
            "and --n-random live ones)",
            read=str, metavar="RANKING", many=True)


@dataclass(frozen=True)
class Pruning(OfTask[Sweep]):
    """Accuracy as heads, FFNs or both are removed in the order of a ranking."""

    KIND = "pruning"
    RECORD = Sweep
    TITLE = "pruning"
    DEFINITION = "answers as the lowest floor(share * n) of a ranking are removed, ties in index order"
    SOURCE = "Bansal et al. 2023, arXiv:2212.09095"
    TOPICS = {
        "pruning": Topic("pruning", "accuracy as heads, or FFNs, are removed: by own, aggregate, reversed and random "
                         "rankings", training=True, rank=7, by_default=True),
        "combined": Topic("combined map", "accuracy as heads and FFNs are removed together: a map", training=True,
                          rank=8),
        "transfer": Topic("transfer", "accuracy as heads are removed by every other task's ranking", training=True,
                          rank=9),
    }
    OPTIONS = (N_TRAIN, N_RANDOM, PROBE, REDUCTION, REMOVE, BY, FIT)

    setup: Setup
    what: str = "heads"  # "heads", "ffns" or "combined"
    ranking: Ranking = field(default_factory=Ranking)  # the task's own, where none is given

    def __post_init__(self) -> None:
        if self.what not in PARTS:
            raise BadInput(f"Cannot prune '{self.what}'. Known: {', '.join(PARTS)}.")
        if self.ranking.reduction not in (*RANKED_BY, "") or self.ranking.n_train < 0:
            raise BadInput(f"No ranking is by '{self.ranking.reduction[:60]}' over {self.ranking.n_train} prompts. "
                           f"Known: {', '.join(RANKED_BY)}.")
        if self.ranking.method and (self.ranking.method not in METHODS or len(self.ranking.tasks) != 1
                                    or self.ranking.reverse or self.ranking.is_random):
            raise BadInput(f"No order is fitted by '{self.ranking.method[:60]}' to {len(self.ranking.tasks)} tasks. "
                           f"Known: {', '.join(METHODS)}, each to one task, none of them reversed.")
        if self.ranking.method and self.what != "heads":
            raise BadInput(f"The order '{self.ranking.method}' is one of heads: it cannot prune {self.what}.")
        if self.ranking == Ranking():
            object.__setattr__(self, "ranking", Ranking.by(self.setup.task))
        if self.what == "ffns":  # FFNs are ranked by their oracle, which has neither, and none is dead
            object.__setattr__(self, "ranking", replace(self.ranking, n_train=0, reduction=""))

    def __str__(self) -> str:
        return f"{super().__str__()} {self.what} by {self.ranking.named(self.setup.task)}" + (
            f" {self.ranking.reduction}" if self.ranking.reduction not in ("", "per-token") else "")

    def check(self, record: Sweep, info: ModelInfo | None) -> None:
        """At each point, as many heads and FFNs are off as its shares say."""
        check_questions(self.setup, record.questions)
        require_lengths(len(record.ablations), "ablations", removed=record.removed)
        if info is None:
            return
        n_heads = info.n_all_heads if self.what != "ffns" else 0
        n_ffns = info.n_layers if self.what != "heads" else 0
        sizes = record.sizes()
        check_masks(record.ablations, sizes, info)
        for size, (heads, ffns) in zip(sizes, record.removed, strict=True):
            off, wanted = (size.n_heads, size.n_ffns), (stats.count(heads, n_heads), stats.count(ffns, n_ffns))
            require(off == wanted, f"ablations has {off[0]} heads and {off[1]} FFNs off where removed says {wanted[0]} "
                    f"and {wanted[1]}")

    def needs(self) -> Sequence[Unit[Any]]:
        if self.ranking.method:
            return [self._fit]
        units: list[Unit[Any]] = []
        if self.ranking.is_random and self.ranking.n_train:
            units.append(Writes(self.setup.with_(n_examples=self.ranking.n_train)))
        for task in self.ranking.tasks:
            one = self.setup.with_(task=task)
            if self.what != "ffns":
                kind = Attribution if self.ranking.reduction in OF_ATTRIBUTION else HeadImportance
                units.append(kind(one.with_(n_examples=self.ranking.n_train)))
            if self.what != "heads":
                units.append(FFNOracle(one))
        return units

    @property
    def _fit(self) -> OfOrder[Any]:
        """The order that is pruned by, where it was fitted."""
        of = self.setup.with_(task=self.ranking.tasks[0], n_examples=self.ranking.n_train)
        if self.ranking.method == "iterative":
            return Iterative(of, self.ranking.reduction)
        return Greedy(of) if self.ranking.method == "greedy" else HeadGates(of)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        """Steps that remove the same are measured once."""
        n_heads = info.n_all_heads
        points = {(stats.count(h, n_heads), stats.count(f, info.n_layers)) for h, f in self.steps}
        return len(points) * count(self.setup, "validation")

    @property
    def steps(self) -> list[tuple[float, float]]:
        """The share of (heads, FFNs) removed at each point: 5 % apart by the task's own ranking and by an aggregate,
        of which it is told how much can go, likewise in fitted orders, to the end; and 10 % by others."""
        if self.ranking.method:
            return [(share, 0.0) for share in WHOLE_SHARES]
        own = not self.ranking.reverse and (len(self.ranking.tasks) > 1 or self.ranking.tasks == (self.setup.task,))
        return shares(self.what, fine=own)

    @property
    def topic(self) -> str:
        if self.what == "combined":
            return "combined"
        tasks = self.ranking.tasks
        return "transfer" if len(tasks) == 1 and tasks != (self.setup.task,) and self.what == "heads" else "pruning"

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[Pruning]:
        for setup in wish.setups:
            for what in ("combined",) if topic == "combined" else ("heads",) if topic == "transfer" else \
                    wish.options["remove"]:
                for ranking in _rankings(topic, setup, wish):
                    if not (ranking.method and what == "ffns" and "heads" in wish.options["remove"]):
                        yield cls(setup, what, ranking)

    def options(self) -> Mapping[str, Any]:
        given: dict[str, Any] = {"by": [self.ranking.named(self.setup.task)]}
        if self.what != "combined":
            given["remove"] = self.what
        if self.ranking.reduction:
            given |= {"reduction": self.ranking.reduction}
        if self.ranking.method:
            given |= {"n_fit": self.ranking.n_train}
        elif self.ranking.reduction:
            given |= {"n_train": self.ranking.n_train}
        elif self.ranking.n_train:
            given |= {"n_probe": self.ranking.n_train}
        return given

    def orders(self, basis: Sequence[Any], n_layers: int, n_heads: int,
               headless: Collection[int] = ()) -> tuple[list[Head], list[int]]:
        """The heads and the layers of FFNs in the order in which they are removed; `basis`: the records of `needs`.

        A random order of live heads has the dead ones in front, as rankings by importance do.
        """
        attending = [layer for layer in range(n_layers) if layer not in headless]
        there = [Head(layer, head) for layer in attending for head in range(n_heads)]
        n = len(there)
        if self.ranking.method:
            (fitted,) = (r for r in basis if isinstance(r, Order))
            return fitted.order(), []
        if self.ranking.is_random:
            rng = np.random.default_rng(self.ranking.seed)
            head_order, ffn_order = rng.permutation(n), rng.permutation(n_layers)
            for written in (r for r in basis if isinstance(r, HeadWrites)):
                alive = written.alive()[attending].ravel()
                head_order = np.r_[np.flatnonzero(~alive), head_order[alive[head_order]]]
        else:
            heads = [r.scores(self.ranking.reduction)[attending] for r in basis
                     if isinstance(r, HeadScores | Attributions)]
            ffns = [r.importance() for r in basis if isinstance(r, Sweep)]
            head_order = stats.order(stats.aggregate(heads)) if heads else np.arange(n)
            ffn_order = stats.order(stats.aggregate(ffns)) if ffns else np.arange(n_layers)
            if self.ranking.reverse:
                head_order, ffn_order = head_order[::-1], ffn_order[::-1]
        chosen_heads = [there[i] for i in head_order] if self.what != "ffns" else []
        return chosen_heads, [int(i) for i in ffn_order] if self.what != "heads" else []

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> Sweep:
        heads, ffns = self.orders(basis, model.n_layers, model.n_heads, model.info.headless)
        return pruning_curve(model, ready(model, self.setup), heads, ffns, self.what, progress, steps=self.steps)


def _rankings(topic: str, setup: Setup, wish: Wish) -> Iterator[Ranking]:
    """The rankings that a wish for a topic means, for one setup."""
    options, own = wish.options, setup.task

    def by(*tasks: TaskId, reverse: bool = False) -> Ranking:
        return Ranking.by(*tasks, n_train=options["n_train"], reduction=options["reduction"], reverse=reverse)

    if options["by"]:
        for text in options["by"]:
            yield Ranking.parse(text, own, wish.find, options["n_train"], options["reduction"], options["n_probe"],
                                options["n_fit"])
        return
    if topic == "transfer":
        yield from (by(other) for other in wish.tasks if other != own)
        return
    yield by(own)
    if len(peers := aggregate_of(own, wish.tasks, wish.find)) > 1:
        yield by(*peers)
    if topic == "pruning":
        yield by(own, reverse=True)
        yield from (Ranking.random(seed, options["n_probe"]) for seed in range(options["n_random"]))


def aggregate_of(task: TaskId, tasks: Sequence[TaskId], find: Any) -> tuple[TaskId, ...]:
    """The tasks whose mean importance is the aggregate to prune a task by: its whole suite's if all of it is asked for,
    else of its peers among the tasks named."""
    rest = list(tasks)
    for suite, more in (("paper", "held-out"), ("mini", "")):
        names = {t for name in (suite, more) if name for t in _names(name)}
        members = [t for t in tasks if t.name in _names(suite)]
        if {t.name for t in members} == _names(suite):
            if task.name in names:
                return tuple(members)
            rest = [t for t in rest if t.name not in names]
    return tuple(rest) if task in rest else ()


def _names(suite: str) -> set[str]:
    from ..tasks.registry import suite as members

    return {task.name for task in members(suite)}


def pruning_steps(
    head_order: Sequence[Head], ffn_order: Sequence[int], steps: Sequence[tuple[float, float]]
) -> list[Ablation]:
    """The ablations of a pruning curve or map: the first floor(share * n) of each order go.

    Args:
        steps: the share of (heads, FFNs) removed at each point, see `shares`.
    """
    return [Ablation(frozenset(head_order[:stats.count(h, len(head_order))]),
                     frozenset(ffn_order[:stats.count(f, len(ffn_order))])) for h, f in steps]


def pruning_curve(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, head_order: Sequence[Head], ffn_order: Sequence[int],
    what: str = "heads", progress: Progress | None = None, *, metric: str = "acc",
    steps: Sequence[tuple[float, float]] | None = None,
) -> Sweep:
    """Accuracy as components go in the given order, the first of each order first.

    Args:
        head_order: heads, the first to go first; all of them, or none for what="ffns".
        ffn_order: layers likewise; none for what="heads".
        what: "heads", "ffns" or "combined" (the 8 x 6 map, the FFN share changing fastest).
        steps: the share of (heads, FFNs) removed at each point; by default 0, 10, .., 90 % or the map's.
    """
    removed = shares(what) if steps is None else steps
    return sweep(model, prompts, pruning_steps(head_order, ffn_order, removed), progress, metric=metric,
                 removed=removed)
