"""Does in-context learning need function-vector heads or induction heads? Accuracy as the first of either are off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import limits, stats
from ..arrays import Float
from ..errors import BadInput
from ..records import ModelInfo, require, require_lengths
from ..values import INTACT, Ablation, Fill, Head, Setup, TaskId
from .evaluation import evaluate
from .function_vectors import MEANS, N_MEANS, N_TRIALS, TRIALS, Effects, FunctionVectors
from .induction import N_SEEDS, N_SEQUENCES, InductionScores, PrefixMatching
from .means import N_TRAIN, Activations, Means
from .oracles import FILL, MEAN, ZERO, Sweep
from .prompts import ready
from .pruning import aggregate_of
from .shapes import check_masks, check_questions
from .unit import CountTokens, OfTask, Option, Progress, Topic, Unit, Wish, some_of
from .writes import N_PROBE, PROBE, HeadWrites, Writes

if TYPE_CHECKING:
    from ..models.loading import LoadedModel

SHARES = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2)  # of live heads, switched off at each point of a curve
SORTS = VECTORS, INDUCTION, VECTORS_ALONE, INDUCTION_ALONE = (
    "function-vectors", "induction", "vectors-not-induction", "induction-not-vectors")
N_RANDOM = 3
EVERY_SORT = (*SORTS, *(f"random:{seed}" for seed in range(N_RANDOM)))


def _sort(text: str) -> str:
    _seed(text)
    return text


def _seed(sort: str) -> int:
    """The seed of a random sort; -1 for the others. Raises: ValueError: for what is none."""
    if sort in SORTS:
        return -1
    if re.fullmatch("random:[0-9]{1,9}", sort):
        return int(sort.removeprefix("random:"))
    raise ValueError(f"'{sort[:60]}' is no sort of heads; known: {', '.join(SORTS)}, random:SEED")


def peers_of(task: TaskId, tasks: Sequence[TaskId]) -> tuple[TaskId, ...]:
    """The tasks among which all others rank the heads that one is judged without: its suite's where all of that is
    named, as for an aggregate ranking, else those named."""
    return aggregate_of(task, tasks, None) or tuple(tasks)


def ranked_on(task: TaskId, tasks: Sequence[TaskId]) -> tuple[TaskId, ...]:
    """The tasks whose function vectors rank heads for this one: its peers without itself; itself where it has none."""
    return tuple(other for other in peers_of(task, tasks) if other != task) or (task,)


SORT = Option("sort", EVERY_SORT, "sorts of heads to knock out: " + ", ".join(SORTS) + ", random:SEED (neither of "
              "both); with commas between", read=some_of(_sort), metavar="SORT,SORT")
RANK_ON = Option("rank_on", "", "the tasks, with + between, whose function vectors rank heads to knock out (default: "
                 "the others of its suite, or among the tasks named)", read=str, metavar="TASK+TASK")


@dataclass(frozen=True)
class KnockOut(OfTask[Sweep]):
    """Accuracy of a task as the first live heads of a sort are off, up to 20 % of them.

    Attributes:
        sort: "function-vectors" (by the effect, mean over `tasks`), "induction" (by prefix matching), one of them
            without the heads that are at the same point among the first of the other, or "random:SEED" without both.
        tasks: those whose function vectors rank; by default the task's own.
    """

    KIND = "knock_out"
    RECORD = Sweep
    TITLE = "knock-out"
    DEFINITION = ("answers as the first floor(share * n) of n live heads are off: by function-vector effect, by "
                  "prefix matching, by one of them without the first so many of the other, or at random without both")
    SOURCE = "Yin and Steinhardt 2025, arXiv:2502.14010"
    TOPICS = {"knock-out": Topic("knock-out", "accuracy as function-vector heads, induction heads, each without the "
                                 "other, or random others are off; ranked on some tasks, judged on others",
                                 training=True, rank=8)}
    OPTIONS = (SORT, RANK_ON, FILL, N_MEANS, N_TRIALS, PROBE, N_TRAIN, N_SEQUENCES)

    setup: Setup
    sort: str = VECTORS
    tasks: tuple[TaskId, ...] = ()
    fill: str = "zero"
    n_means: int = MEANS
    n_trials: int = TRIALS
    n_probe: int = N_PROBE
    n_train: int = 0  # training prompts behind the means that stand in; 0 where zeros do
    n_sequences: int = N_SEEDS  # behind prefix matching; 0 where that does not rank

    def __post_init__(self) -> None:
        try:
            _seed(self.sort)
        except ValueError as error:
            raise BadInput(f"{error}.") from error
        if self.fill not in (ZERO, MEAN):
            raise BadInput(f"Heads are knocked out to zero or to their mean, not to '{self.fill[:60]}'.")
        if not self.setup.n_shots:
            raise BadInput("Heads are knocked out by what demonstrations leave: choose 1 shot or more.")
        if not 1 <= self.n_sequences <= limits.SEQUENCES and (self.sort != VECTORS or self.n_sequences):
            raise BadInput(f"n_sequences must lie from 1 to {limits.SEQUENCES}, got {self.n_sequences}.")
        if self.n_probe < 1 or self.n_train < 0 or max(self.n_probe, self.n_train) > limits.NUMBER:
            raise BadInput("Heads are looked at over 1 prompt or more.")
        by_vectors = self.sort != INDUCTION
        given = {"tasks": tuple(sorted(set(self.tasks or (self.setup.task,)))) if by_vectors else (),
                 "n_means": self.n_means if by_vectors else 0, "n_trials": self.n_trials if by_vectors else 0,
                 "n_train": (self.n_train or N_TRAIN.default) if self.fill == "mean" else 0,
                 "n_sequences": 0 if self.sort == VECTORS else self.n_sequences}
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return f"{super().__str__()} without {self.sort}" + " by means" * (self.fill == "mean")

    def check(self, record: Sweep, info: ModelInfo | None) -> None:
        check_questions(self.setup, record.questions)
        require_lengths(len(record.ablations), "ablations", removed=record.removed)
        require(record.removed == tuple((share, 0.0) for share in SHARES), "removed holds other shares")
        sizes = record.sizes()
        if info is not None:
            check_masks(record.ablations, sizes, info)
        for off, (share, _) in zip(sizes, record.removed, strict=True):
            require(not off.n_ffns and off.fill == (self.fill if off.n_heads else "zero"), "ablations has FFNs off, or "
                    "another fill")
            if info is not None:
                most = stats.count(share, info.n_all_heads)
                require(off.n_heads <= most, f"ablations has {off.n_heads} heads off where removed says {most}")

    def needs(self) -> Sequence[Unit[Any]]:
        units: list[Unit[Any]] = [Writes(self.setup.with_(n_examples=self.n_probe))]
        if self.sort != VECTORS:
            units.append(PrefixMatching(self.model, "exact", self.n_sequences))
        units += [FunctionVectors(self.setup.with_(task=task, n_examples=self.n_means), self.n_trials)
                  for task in self.tasks]
        if self.n_train:
            units.append(Means(self.setup.with_(n_examples=self.n_train)))
        return units

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        """Points at which the same heads are off are measured once."""
        return len({stats.count(share, info.n_all_heads) for share in SHARES}) * count(self.setup, "validation")

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[KnockOut]:
        options = wish.options
        named = tuple(wish.find(options["rank_on"].replace("+", ","))) if options["rank_on"] else ()
        for setup in wish.setups:
            others = named or ranked_on(setup.task, wish.tasks)
            for sort in options["sort"] if setup.n_shots else ():
                yield cls(setup, sort, others, options["fill"], options["n_means"], options["n_trials"],
                          options["n_probe"], options["n_train"] if options["fill"] == "mean" else 0,
                          options["n_sequences"])

    def options(self) -> Mapping[str, Any]:
        given: dict[str, Any] = {"sort": self.sort, "fill": self.fill, "n_probe": self.n_probe}
        if self.tasks:
            given |= {"rank_on": "+".join(task.name for task in self.tasks), "n_means": self.n_means,
                      "n_trials": self.n_trials}
        return given | {name: value for name, value in (("n_train", self.n_train), ("n_sequences", self.n_sequences))
                        if value}

    def ablations(self, basis: Sequence[Any], info: ModelInfo) -> list[Ablation]:
        """What is off at each of the `SHARES`; `basis`: the records of `needs`."""
        (alive,) = (record.alive() for record in basis if isinstance(record, HeadWrites))
        live = [head for head in info.heads if alive[head.layer, head.head]]

        def ranked(scores: Sequence[Float[np.ndarray, "n_layers n_heads"]]) -> list[Head]:
            mean = stats.aggregate(scores) if scores else np.zeros((info.n_layers, info.n_heads))
            return [live[i] for i in stats.order(np.array([mean[h.layer, h.head] for h in live]))[::-1]]

        vectors = ranked([record.scores() for record in basis if isinstance(record, Effects)])
        induction = ranked([np.asarray(record.mean) for record in basis if isinstance(record, InductionScores)])
        seed = _seed(self.sort)
        drawn = [live[i] for i in np.random.default_rng(max(seed, 0)).permutation(len(live))]
        order, without = {
            VECTORS: (vectors, ()), INDUCTION: (induction, ()), VECTORS_ALONE: (vectors, (induction,)),
            INDUCTION_ALONE: (induction, (vectors,))}.get(self.sort, (drawn, (vectors, induction)))
        found = []
        fill: Fill = "mean" if self.fill == "mean" else "zero"
        for share in SHARES:
            k = stats.count(share, len(live))
            spared = {head for other in without for head in other[:k]}
            found.append(Ablation(frozenset([head for head in order if head not in spared][:k]), fill=fill))
        return found

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> Sweep:
        off = self.ablations(basis, model.info)
        means = next((record for record in basis if isinstance(record, Activations)), None)
        distinct = list(dict.fromkeys([INTACT, *off]))
        answers = evaluate(model, ready(model, self.setup), distinct, progress,
                           means=[means if one.fill == "mean" else None for one in distinct])
        scored = dict(zip(distinct, answers, strict=True))
        found = [scored[one] for one in off]
        return Sweep(found[0].questions, tuple(map(str, off)), tuple(one.choices() for one in found),
                     tuple(one.choices(norm=True) for one in found), tuple((share, 0.0) for share in SHARES))
