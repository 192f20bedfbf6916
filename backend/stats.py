"""Intervals, ranks, overlaps and paired tests: arrays in, numbers out.

Scores of heads have shape (n_layers, n_heads), scores of FFNs (n_layers,); higher means more
important. A `share` is a fraction from 0 to 1. Whatever draws random numbers takes a seed and
answers the same every time.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple, Protocol

import numpy as np

from .arrays import Bool, Float, Int, Real
from .errors import BadInput
from .values import Head

# --- accuracy -----------------------------------------------------------------------------------


class Blocks(Protocol):
    """Head importance as sums over blocks of examples (a `kinds.HeadScores`, or `kinds.Attributions`)."""

    @property
    def block_sizes(self) -> Sequence[int]: ...
    def scores(self, reduction: str = ...) -> Float[np.ndarray, "n_layers n_heads"]: ...
    def sums(self, reduction: str) -> Sums: ...


class Interval(NamedTuple):
    low: float
    high: float


# Per block of examples what it adds to scores, and to what they are divided by.
Sums = tuple[Real[np.ndarray, "_ n_layers n_heads"], Real[np.ndarray, " _ #n_layers 1"]]


@dataclass(frozen=True, eq=False)
class Marks:
    """Right or wrong, question by question, and which questions were asked behind the same demonstrations.

    Questions of one draw rise and fall together, so that an interval over questions alone is too narrow: what is made
    of marks here is clustered by draw.
    """

    right: Bool[np.ndarray, " n"]
    draws: Int[np.ndarray, " _"] | None = None  # as many, which draw; None where every question stands for itself

    def __post_init__(self) -> None:
        object.__setattr__(self, "right", np.asarray(self.right, bool))
        if self.right.ndim != 1 or (
                self.draws is not None and self.draws.shape != self.right.shape):
            raise BadInput(f"Outcomes of shape {self.right.shape} with draws of another: give one of each per "
                           "question.")

    @property
    def clusters(self) -> Int[np.ndarray, " n"]:
        """Numbers from 0 of what was drawn together: draws, or single questions where there is but one draw."""
        if self.draws is None or not len(self.draws) or (self.draws == self.draws[0]).all():
            return np.arange(len(self.right))
        return np.unique(self.draws, return_inverse=True)[1]

    @property
    def clustered(self) -> bool:
        return len(self.right) > 0 and int(self.clusters.max()) + 1 < len(self.right)


def marks_of(outcomes: Marks | Bool[np.ndarray, " n"]) -> Marks:
    """The same, or plain outcomes whose questions stand for themselves."""
    return outcomes if isinstance(outcomes, Marks) else Marks(outcomes)


class PairedTest(NamedTuple):
    """Two masks on the same queries: see `paired_test`."""

    only_a: int  # right under a alone
    only_b: int  # right under b alone
    p: float  # two-sided


def wilson(right: int, n: int, level: float = 0.95) -> Interval:
    """Where the true accuracy lies when `right` of `n` answers are right; (0, 1) when n is 0.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953, without continuity correction.

    Raises:
        BadInput: unless 0 <= right <= n and 0 < level < 1.
    """
    if not 0 <= right <= n:
        raise BadInput(f"{right} right answers of {n}: the number must lie between 0 and {n}.")
    z = _z(level)
    return _wilson(right / n, n, z) if n else Interval(0.0, 1.0)


def accuracy_interval(marks: Marks | Bool[np.ndarray, " n"], level: float = 0.95) -> Interval:
    """Where the accuracy over questions and draws of demonstrations lies.

    `wilson`, of as many questions as the n are worth: where they share draws, at most p (1 - p) / (variance of the mean
    over draws) * (z / t)^2, with the t quantile of one degree of freedom fewer than there are draws.
    Source: Korn and Graubard 1998, Survey Methodology 24, 193-201.

    Args:
        marks: outcomes, with their draws; a plain (n,) array of bool: every question stands for itself.
    """
    marks = marks_of(marks)
    n, right = len(marks.right), int(marks.right.sum())
    if not marks.clustered:
        return wilson(right, n, level)
    p = right / n
    variance, df = _clustered_variance(marks.right.astype(float), marks.clusters)
    worth = p * (1 - p) / variance * (_z(level) / _t(df, level)) ** 2 if variance else n
    return _wilson(p, min(n, worth), _z(level))


def mean_accuracy_interval(tasks: Sequence[Marks | Bool[np.ndarray, " _"]], level: float = 0.95) -> Interval:
    """An `interval_of_mean` of several tasks' accuracies."""
    return interval_of_mean([float(right.mean()) if len(right := marks_of(task).right) else 0.5 for task in tasks],
                            [accuracy_interval(task, level) for task in tasks])


def interval_of_mean(accuracies: Sequence[float], intervals: Sequence[tuple[float, float]]) -> Interval:
    """An interval for the unweighted mean of several tasks' accuracies, from that of each.

    Each task's distance to its own limit, added in quadrature (MOVER), so that it does not collapse where every answer
    is right. Source: Zou and Donner 2008, doi:10.1002/sim.3095.

    Raises:
        BadInput: if there are no tasks, or not an interval for each.
    """
    if not len(accuracies) or len(accuracies) != len(intervals):
        raise BadInput(f"{len(accuracies)} accuracies and {len(intervals)} intervals: give one per task, at least one.")
    p, (lows, highs) = np.asarray(accuracies, float), np.asarray(intervals, float).T
    mean = float(p.mean())
    return Interval(max(0.0, mean - float(np.linalg.norm(p - lows)) / len(p)),
                    min(1.0, mean + float(np.linalg.norm(highs - p)) / len(p)))


def mcnemar(a: Bool[np.ndarray, " _"], b: Bool[np.ndarray, " _"]) -> PairedTest:
    """Do a and b differ in accuracy? Exact two-sided binomial test on the queries where they disagree.

    Args:
        a, b: right or wrong on the same queries in the same order.

    Raises:
        BadInput: if the lengths differ.
    """
    a, b = _paired(a, b)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    n = only_a + only_b
    return PairedTest(only_a, only_b, _fair_coin(min(only_a, only_b), n))


def paired_test(a: Marks | Bool[np.ndarray, " _"], b: Marks | Bool[np.ndarray, " _"]) -> PairedTest:
    """Do a and b differ in accuracy, on the same questions behind the same demonstrations?

    `mcnemar`; where questions share draws, p is the larger of its p and that of a t test over the draws' mean
    differences: never surer than if every question stood for itself.

    Raises:
        BadInput: if the questions or their draws differ.
    """
    a, b, change = _changes(a, b)
    test = mcnemar(a.right, b.right)
    if not a.clustered or not change.any():
        return test
    variance, df = _clustered_variance(change, a.clusters)
    if variance == 0:
        return test
    from scipy.special import stdtr

    return test._replace(p=max(test.p, float(2 * stdtr(df, -abs(change.mean()) / math.sqrt(variance)))))


def difference_interval(
    a: Marks | Bool[np.ndarray, " _"], b: Marks | Bool[np.ndarray, " _"], level: float = 0.95, n_draws: int = 4000,
    seed: int = 0,
) -> Interval:
    """Where accuracy(b) - accuracy(a) lies: percentile bootstrap over the queries that both answered.

    Where questions share draws of demonstrations, it is stretched to the t interval over the draws.

    Raises:
        BadInput: if the questions or their draws differ, or there are none.
    """
    return mean_difference_interval([(a, b)], level, n_draws, seed)


def mean_difference_interval(
    pairs: Sequence[tuple[Marks | Bool[np.ndarray, " _"], Marks | Bool[np.ndarray, " _"]]], level: float = 0.95,
    n_draws: int = 4000, seed: int = 0,
) -> Interval:
    """Where the unweighted mean over tasks of accuracy(b) - accuracy(a) lies: queries are drawn anew within each task.

    Where questions share draws of demonstrations, it is stretched to the t interval that adds the tasks' variances
    between draws (degrees of freedom after Satterthwaite 1946, doi:10.2307/3002019).

    Args:
        pairs: per task (a, b): right or wrong on the same queries in the same order.

    Raises:
        BadInput: if there are no tasks, a task has no queries, or a pair's questions or draws differ.
    """
    if not len(pairs):
        raise BadInput("No tasks: a mean difference needs at least one.")
    _z(level)
    rng, total, estimate = np.random.default_rng(seed), np.zeros(n_draws), 0.0
    variances: list[tuple[float, int]] = []
    shared = False
    for a, _, change in (_changes(*pair) for pair in pairs):
        if not len(change):
            raise BadInput("No queries: a difference needs at least one.")
        n, gained, lost = len(change), int((change > 0).sum()), int((change < 0).sum())
        counts = rng.multinomial(n, [gained / n, lost / n, 1 - (gained + lost) / n], n_draws)
        total += (counts[:, 0] - counts[:, 1]) / n
        estimate += (gained - lost) / n
        shared |= a.clustered
        variances.append(_clustered_variance(change, a.clusters))
    estimate /= len(pairs)
    low, high = map(float, np.quantile(total / len(pairs), [(1 - level) / 2, (1 + level) / 2]))
    if shared and (together := sum(v for v, _ in variances)) > 0:
        df = together**2 / sum(v**2 / df for v, df in variances if v)
        half = _t(df, level) * math.sqrt(together) / len(pairs)
        low, high = min(low, max(-1.0, estimate - half)), max(high, min(1.0, estimate + half))
    return Interval(min(low, estimate), max(high, estimate))


def holm(p_values: Sequence[float]) -> Float[np.ndarray, " n"]:
    """P-values adjusted for having been looked for in n places; below 0.05 is significant as before.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    p = np.asarray(p_values, float)
    ascending = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[ascending] = np.minimum(1, np.maximum.accumulate(p[ascending] * np.arange(len(p), 0, -1)))
    return adjusted


def break_point(accuracies: Sequence[float], fractions: Sequence[float], share_of_intact: float = 0.9) -> float | None:
    """The first pruned fraction at which accuracy is below a share of the intact one; None if it never is.

    `accuracies[0]` is the intact model's.
    """
    floor = share_of_intact * accuracies[0] - 1e-12
    return next((float(f) for f, acc in zip(fractions, accuracies, strict=True) if acc < floor), None)


def can_go(curve: Float[np.ndarray, " n_points"], fractions: Sequence[float], share_of_intact: float = 0.9) -> float:
    """The last fraction before accuracy first falls below a share of the intact one; the last of all if it never does.

    Args:
        curve: accuracies, of which the first is the intact model's.
    """
    return float(np.asarray(fractions)[_last_before(np.asarray(curve, float)[None], share_of_intact)[0]])


def can_go_interval(
    outcomes: Sequence[Bool[np.ndarray, "n_points _"]], fractions: Sequence[float], share_of_intact: float = 0.9,
    level: float = 0.95, n_draws: int = 2000, seed: int = 0, *,
    clusters: Sequence[Int[np.ndarray, " _"] | None] | None = None,
) -> Interval:
    """Where `can_go` lies for the mean over tasks of a pruning curve: percentile bootstrap over the questions.

    Questions are drawn anew within each task, the same ones at every point; where they stand in clusters (draws of
    demonstrations), whole clusters are. It moves by steps of the fractions, so it says no more than these resolve.

    Args:
        outcomes: per task (n_points, n) of bool, right or wrong at each point on the same questions; the first point is
            the intact model's.
        clusters: per task (n,), which cluster each question is of; None: each is its own.

    Raises:
        BadInput: if there are no tasks, or one has no questions or another number of points.
    """
    if not outcomes or any(o.ndim != 2 or len(o) != len(fractions) or not o.shape[1] for o in outcomes):
        raise BadInput("How much can go is told of at least one task with questions, at every fraction.")
    _z(level)
    total = _drawn_anew(outcomes, n_draws, seed, clusters)
    found = np.asarray(fractions, float)[_last_before(total, share_of_intact)]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], method="closest_observation")
    estimate = can_go(np.sum([np.mean(o, 1) for o in outcomes], 0), fractions, share_of_intact)
    return Interval(min(float(low), estimate), max(float(high), estimate))


def _drawn_anew(outcomes: Sequence[Bool[np.ndarray, "n_points _"]], n_draws: int, seed: int,
                clusters: Sequence[Int[np.ndarray, " _"] | None] | None) -> Float[np.ndarray, "n_draws n_points"]:
    """The sum over tasks of a curve's accuracies, its questions drawn anew within each task.

    The same questions at every point; where they stand in clusters, whole clusters are drawn.
    """
    rng, total = np.random.default_rng(seed), np.zeros((n_draws, len(outcomes[0])))
    for i, right in enumerate(outcomes):
        of = clusters[i] if clusters is not None else None
        members = np.arange(right.shape[1]) if of is None else np.unique(of, return_inverse=True)[1]
        n = int(members.max()) + 1
        sums = np.stack([np.bincount(members, row, n) for row in np.asarray(right, float)], 1)  # (n clusters, n_points)
        times = rng.multinomial(n, np.full(n, 1 / n), n_draws).astype(float)  # (n_draws, n clusters)
        total += times @ sums / (times @ np.bincount(members, minlength=n))[:, None]
    return total


class Areas(NamedTuple):
    """How much of what all components add a curve keeps, and how far it strays: see `areas`."""

    cpr: float  # higher is better; 1: as good as all, whatever the share kept
    cmd: float  # lower is better; 0: never better or worse than all


def areas(kept: Sequence[float], metric: Real[np.ndarray, " _"] | Sequence[float]) -> Areas:
    """The areas under f and under |1 - f| over the share k of components that are kept, by trapezoids on these points.

    f(k) = (m(k) - m(0)) / (m(1) - m(0)), m the metric. Source: Mueller et al. 2025 (MIB), arXiv:2504.13151: circuit
    performance ratio and circuit-model distance. NaN where all components are no better than none.

    Args:
        kept: shares from 0 to 1, of which 0 and 1 are some, in any order.
        metric: at each of them, such as accuracy.

    Raises:
        BadInput: if the lengths differ, a share is there twice, or 0 or 1 is missing.
    """
    k, m = np.asarray(kept, float), np.asarray(metric, float)
    if k.shape != m.shape or k.ndim != 1 or len(set(k.tolist())) != len(k) or not {0, 1} <= set(k.tolist()) or (
            k.min(), k.max()) != (0, 1):
        raise BadInput("Areas need a metric at shares kept from 0 to 1, both included, each once.")
    ascending = np.argsort(k)
    cpr, cmd = _areas(k[ascending], m[None, ascending])
    return Areas(float(cpr[0]), float(cmd[0]))


def _areas(
    k: Float[np.ndarray, " n_points"], m: Float[np.ndarray, "n n_points"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """CPR and CMD of curves at ascending shares kept; NaN where all do no better than none."""
    gain = m[:, -1:] - m[:, :1]
    f = np.divide(m - m[:, :1], gain, out=np.full(m.shape, math.nan), where=gain > 1e-12)
    widths = np.diff(k)
    return ((f[:, 1:] + f[:, :-1]) / 2) @ widths, ((np.abs(1 - f[:, 1:]) + np.abs(1 - f[:, :-1])) / 2) @ widths


class AreaIntervals(NamedTuple):
    """Areas of one curve with intervals, and how much larger its CPR is than that of another curve."""

    areas: Areas
    cpr: Interval
    cmd: Interval
    more: float  # CPR less the other's; 0 where there is no other
    more_interval: Interval


def area_intervals(
    outcomes: Sequence[Bool[np.ndarray, "n_points _"]], kept: Sequence[float],
    other: Sequence[Bool[np.ndarray, "n_points _"]] | None = None, level: float = 0.95, n_draws: int = 2000,
    seed: int = 0, *, clusters: Sequence[Int[np.ndarray, " _"] | None] | None = None,
) -> AreaIntervals:
    """`areas` of the mean accuracy over tasks, with percentile bootstraps over the questions, of two curves paired.

    Questions are drawn anew as in `can_go_interval`, the same ones for both curves. Draws in which all components do no
    better than none are left out; where they are half of all, an interval is all there is: minus to plus infinity.

    Args:
        outcomes: per task (n_points, n) of bool, right or wrong at each share kept.
        other: the same for another curve, at the same points on the same questions.
        clusters: per task (n,), which cluster each question is of; None: each is its own.

    Raises:
        BadInput: if there are no tasks, or one has no questions or another number of points; or as `areas`.
    """
    curves = [outcomes, *([other] if other is not None else [])]
    if not all(one and all(o.ndim == 2 and len(o) == len(kept) and o.shape[1] for o in one) for one in curves):
        raise BadInput("Areas are told of at least one task with questions, at every share.")
    _z(level)
    k = np.asarray(kept, float)
    estimates = [areas(kept, np.mean([np.mean(o, 1) for o in one], 0)) for one in curves]
    drawn = [_areas(np.sort(k), _drawn_anew(one, n_draws, seed, clusters)[:, np.argsort(k)]) for one in curves]

    def interval(values: Float[np.ndarray, " n_draws"], estimate: float) -> Interval:
        known = values[np.isfinite(values)]
        if 2 * len(known) < len(values) or math.isnan(estimate):
            return Interval(-math.inf, math.inf)
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        return Interval(min(float(low), estimate), max(float(high), estimate))

    (cpr, cmd), last = drawn[0], estimates[-1]
    more = estimates[0].cpr - last.cpr
    return AreaIntervals(estimates[0], interval(cpr, estimates[0].cpr), interval(cmd, estimates[0].cmd), more,
                         interval(cpr - drawn[-1][0], more))


def pooled(tasks: Sequence[Marks | Bool[np.ndarray, " _"]]) -> Marks:
    """The questions of several tasks as one list; draws of demonstrations are a task's own.

    Raises:
        BadInput: if there are no tasks.
    """
    if not len(tasks):
        raise BadInput("No tasks: give at least one.")
    every, clusters, n = [marks_of(task) for task in tasks], [], 0
    for one in every:
        clusters.append(one.clusters + n)
        n += int(one.clusters.max(initial=-1)) + 1
    return Marks(np.concatenate([one.right for one in every]), np.concatenate(clusters))


def _last_before(curves: Float[np.ndarray, "n n_points"], share_of_intact: float) -> Int[np.ndarray, " n"]:
    """The place of the last point before each of several curves first falls below its floor."""
    below = curves < share_of_intact * curves[:, :1] - 1e-12
    return np.asarray(np.where(below.any(1), np.maximum(below.argmax(1) - 1, 0), curves.shape[1] - 1))


class Band(NamedTuple):
    """Several curves as one: each (n_points,)."""

    mean: Float[np.ndarray, " n_points"]
    low: Float[np.ndarray, " n_points"]  # the lowest curve at each point
    high: Float[np.ndarray, " n_points"]  # the highest


def band(curves: Sequence[Sequence[float]] | Real[np.ndarray, "n n_points"]) -> Band:
    """Mean, lowest and highest of several curves (random rankings of different seeds) at each point.

    Raises:
        BadInput: if there are no curves, or of different lengths.
    """
    if not len(curves) or len({len(c) for c in curves}) != 1:
        raise BadInput("A band needs at least one curve, and all of one length.")
    array = np.asarray(curves, float)
    return Band(array.mean(0), array.min(0), array.max(0))


# --- heads that do nothing ----------------------------------------------------------------------


def layer_parts(norms: Real[np.ndarray, "n_layers n_heads"]) -> Float[np.ndarray, "n_layers n_heads"]:
    """Each head's part of its layer's total; 0 where a layer has none."""
    norms = np.asarray(norms, float)
    total = norms.sum(1, keepdims=True)
    return np.asarray(np.divide(norms, total, out=np.zeros_like(norms), where=total > 0))


def alive(parts: Real[np.ndarray, "n_layers n_heads"], least: float = 0.01) -> Bool[np.ndarray, "n_layers n_heads"]:
    """The heads that do something; the others are dead.

    A head is dead when its share of what its layer writes is below `least` times that of the median head. The median
    is taken over the heads that are alive, which are found from the largest share on: whoever comes near enough to the
    median of those found so far joins them, until nobody does. However many dead heads there are, they excuse none.

    Args:
        parts: each head's share of what its layer writes (see `layer_parts`); 0 is always dead,
            so is a place where there is no head.
    """
    parts = np.asarray(parts, float)
    found = (parts > 0) & (parts == parts.max(initial=0))
    while found.any():
        now = parts >= least * np.median(parts[found])
        if (now == found).all():
            break
        found = now
    return np.asarray(found)


# --- rankings -----------------------------------------------------------------------------------


def order(scores: Real[np.ndarray, " ..."]) -> Int[np.ndarray, " n"]:
    """Flat indices from the least to the most important; ties in index order.

    Raises:
        BadInput: if a score is NaN.
    """
    flat = np.asarray(scores, float).ravel()
    if np.isnan(flat).any():
        raise BadInput(f"{int(np.isnan(flat).sum())} of {flat.size} scores are NaN: they cannot be ranked.")
    return np.argsort(flat, kind="stable")


def places(scores: Real[np.ndarray, " ..."]) -> Int[np.ndarray, " n"]:
    """1 for the most important, and so on; ties as in `order`. Raises: BadInput: if a score is NaN."""
    found = np.empty(np.size(scores), int)
    found[order(scores)[::-1]] = np.arange(1, found.size + 1)
    return found


def count(share: float, n: int) -> int:
    """How many of n a share is: floor(share * n), as the study rounds.

    Raises:
        BadInput: if the share is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise BadInput(f"A share of {share}: it must lie between 0 and 1.")
    return math.floor(share * n + 1e-9)  # 0.29 * 100 is 28.999999999999996


def lowest(scores: Real[np.ndarray, "n_layers n_heads"], share: float) -> tuple[Head, ...]:
    """The heads that go first: the least important floor(share * n), ascending, ties in index order."""
    return _heads(order(scores)[:count(share, np.size(scores))], scores)


def highest(scores: Real[np.ndarray, "n_layers n_heads"], share: float) -> tuple[Head, ...]:
    """The most important floor(share * n) heads, descending: what `lowest` leaves to the last."""
    return _heads(order(scores)[::-1][:count(share, np.size(scores))], scores)


def leader(scores: Real[np.ndarray, "n_layers n_heads"]) -> Head:
    """The most important head, the first of `highest`."""
    return _heads(order(scores)[-1:], scores)[0]


def lowest_ffns(scores: Real[np.ndarray, " n_layers"], share: float) -> tuple[int, ...]:
    """The layers whose FFNs go first: the least important floor(share * n_layers), ascending."""
    return tuple(int(layer) for layer in order(scores)[:count(share, np.size(scores))])


def spearman(a: Real[np.ndarray, " ..."], b: Real[np.ndarray, " ..."]) -> float:
    """Do two score matrices rank the components alike? Spearman's rho of the scores, ties averaged.

    1 = same order, -1 = reversed; NaN when all scores of one are equal.

    Raises:
        BadInput: if the shapes differ or a score is NaN.
    """
    a, b = _same_shape(a, b)
    return _correlation(_ranks(a), _ranks(b))


def spearman_as_authors(a: Real[np.ndarray, " ..."], b: Real[np.ndarray, " ..."]) -> float:
    """What the study's script prints as rank correlation: Spearman's rho of the two `argsort` index lists.

    It asks whether the n-th least important heads have similar *indices*, which is not whether heads have
    similar ranks: a true rho of 0.99 over 4,608 heads comes out near 0.02. Show it only with this label:
    "as in the authors' code". Takes and raises what `spearman` does.
    """
    a, b = _same_shape(a, b)
    return _correlation(order(a).astype(float), order(b).astype(float))


def spearman_matrix(scores: Sequence[Real[np.ndarray, " ..."]], as_authors: bool = False) -> Float[np.ndarray, "n n"]:
    """Rank correlation of each pair of n score matrices, 1 on the diagonal."""
    lists = [np.asarray(order(s), float) if as_authors else _ranks(s) for s in scores]
    if len({np.shape(s) for s in scores}) > 1:
        raise BadInput("Scores of different shapes cannot be compared: they belong to different models.")
    return np.array([[1.0 if i == j else _correlation(a, b) for j, b in enumerate(lists)]
                     for i, a in enumerate(lists)])


def topk_overlap(a: Real[np.ndarray, " ..."], b: Real[np.ndarray, " ..."], share: float) -> float:
    """Intersection over union of the two top floor(share * n), at least one each: 0 to 1."""
    a, b = _same_shape(a, b)
    k = max(1, count(share, a.size))
    common = len(set(order(a)[-k:].tolist()) & set(order(b)[-k:].tolist()))
    return common / (2 * k - common)


def topk_overlap_chance(n: int, k: int) -> float:
    """The `topk_overlap` that two independent random rankings of n components have on average, exactly.

    The number in common is hypergeometric. Raises: BadInput: unless 1 <= k <= n.
    """
    if not 1 <= k <= n:
        raise BadInput(f"The top {k} of {n}: the number must lie between 1 and {n}.")
    common, chance = _in_common(n, k, k)
    return float((chance * common / (2 * k - common)).sum())


def _in_common(n: int, first: int, second: int) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """How many components two random sets of these sizes out of n can have in common, and how likely each number is."""
    common = np.arange(max(0, first + second - n), min(first, second) + 1)
    return common, np.exp(_log_choose(first, common) + _log_choose(n - first, second - common)
                          - _log_choose(n, np.array(second)))


class OverlapTest(NamedTuple):
    """What two sets have in common, against what random sets of their sizes would."""

    common: int
    expected: float
    low: int  # what random sets have in common: the central 95 %
    high: int
    p: float  # two-sided


def overlap_test(a: Collection[Head], b: Collection[Head], n: int, level: float = 0.95) -> OverlapTest:
    """Do two sets of n components have more in common than chance, or less? Exact: the number is hypergeometric.

    p: twice the smaller tail.

    Raises:
        BadInput: if a set has more than n members.
    """
    first, second = set(a), set(b)
    if max(len(first), len(second)) > n:
        raise BadInput(f"Sets of {len(first)} and {len(second)} components, of which there are {n}.")
    common, chance = _in_common(n, len(first), len(second))
    found, below = len(first & second), chance.cumsum()
    low, high = (int(common[min(int(np.searchsorted(below, tail)), len(common) - 1)])
                 for tail in ((1 - level) / 2, (1 + level) / 2))
    tails = chance[common <= found].sum(), chance[common >= found].sum()
    return OverlapTest(found, float((chance * common).sum()), low, high, float(min(1.0, 2 * min(tails))))


def overlap_matrix(scores: Sequence[Real[np.ndarray, " ..."]], share: float) -> Float[np.ndarray, "n n"]:
    """`topk_overlap` of each pair of n score matrices, 1 on the diagonal."""
    stack = _stack(scores)
    k = max(1, count(share, stack[0].size))
    tops = np.zeros((len(stack), stack[0].size), int)
    for row, matrix in zip(tops, stack, strict=True):
        row[order(matrix)[-k:]] = 1
    common = tops @ tops.T
    return np.asarray(common / (2 * k - common))


def topk_counts(scores: Sequence[Real[np.ndarray, "*components"]], share: float) -> Int[np.ndarray, "*components"]:
    """In how many of the score matrices each component is among the top floor(share * n), at least one.

    Shape of one matrix; from 0 to the number of matrices.
    """
    stack = _stack(scores)
    k = max(1, count(share, stack[0].size))
    counts = np.zeros(stack[0].size, int)
    for matrix in stack:
        counts[order(matrix)[-k:]] += 1
    return counts.reshape(stack[0].shape)


def topk_counts_chance(n: int, k: int, n_matrices: int) -> Float[np.ndarray, " n"]:
    """(n_matrices + 1,): how many of n components independent random rankings put into their top k 0, 1, .. times.

    Binomial expectations; they add up to n. Raises: BadInput: unless 1 <= k <= n.
    """
    if not 1 <= k <= n:
        raise BadInput(f"The top {k} of {n}: the number must lie between 1 and {n}.")
    share, times = k / n, np.arange(n_matrices + 1)
    return np.asarray(n * np.exp(_log_choose(n_matrices, times)) * share**times * (1 - share)**(n_matrices - times))


class Grouping(NamedTuple):
    """Whether what belongs together is more alike: a permutation test."""

    within: float  # mean over pairs of one group
    across: float  # mean over pairs of different groups
    p: float  # two-sided


def grouping(
    correlations: Real[np.ndarray, "n n"], groups: Sequence[str], n_draws: int = 5000, seed: int = 0
) -> Grouping:
    """Are members of one group more alike than those of different groups, or less?

    p: how often groups dealt out at random, of the same sizes, differ at least as much. NaN where there is no pair
    within, or none across. Pairs share members, so a test over pairs as if they were independent would claim too much.
    Source: Mantel 1967, Cancer Research 27, 209-220, for distances in two groupings.

    Args:
        correlations: symmetric.
        groups: of each of the n.
    """
    rows, columns = np.triu_indices(len(groups), 1)
    values = np.asarray(correlations, float)[rows, columns]
    labels = np.unique(np.array(list(groups)), return_inverse=True)[1]
    same = labels[rows] == labels[columns]
    if not same.any() or same.all() or np.isnan(values).any():
        within, across = (float(np.mean(v)) if len(v) else math.nan for v in (values[same], values[~same]))
        return Grouping(within, across, math.nan)
    rng = np.random.default_rng(seed)
    dealt = rng.permuted(np.tile(labels, (n_draws, 1)), axis=1)
    mixed = dealt[:, rows] == dealt[:, columns]  # (n_draws, n pairs), as many within in each
    inside = mixed @ values / same.sum()
    gaps = inside - (values.sum() - mixed @ values) / (~same).sum()
    gap = float(values[same].mean() - values[~same].mean())
    p = (1 + int((np.abs(gaps) >= abs(gap) - 1e-12).sum())) / (1 + n_draws)
    return Grouping(float(values[same].mean()), float(values[~same].mean()), p)


def cluster_order(correlations: Real[np.ndarray, "n n"]) -> list[int]:
    """Row indices of a correlation matrix that put like beside like: average linkage of 1 - rho, leaves ordered.

    Pairs whose correlation is NaN count as uncorrelated. Fewer than three rows stay as they are.
    """
    if len(correlations) < 3:
        return list(range(len(correlations)))
    from scipy.cluster.hierarchy import leaves_list, linkage  # here: importing scipy takes longer than a page
    from scipy.spatial.distance import squareform

    distances = np.clip(1 - np.nan_to_num(np.asarray(correlations, float)), 0, 2)
    np.fill_diagonal(distances, 0)
    condensed = squareform((distances + distances.T) / 2, checks=False)
    return [int(i) for i in leaves_list(linkage(condensed, "average", optimal_ordering=True))]


def off_diagonal(matrix: Real[np.ndarray, "n n"]) -> Real[np.ndarray, " _"]:
    """(n * (n - 1) / 2,): the entries above the diagonal of a symmetric matrix, each pair once."""
    return np.asarray(matrix)[np.triu_indices(len(matrix), 1)]


# --- importance ---------------------------------------------------------------------------------


def aggregate(scores: Sequence[Real[np.ndarray, "*components"]]) -> Float[np.ndarray, "*components"]:
    """The study's aggregate importance: the mean of the tasks' score matrices."""
    return np.asarray(_stack(scores).mean(0))


def normalise_layers(scores: Real[np.ndarray, "*components"]) -> Float[np.ndarray, "*components"]:
    """Each layer's scores divided by their L2 norm; a layer of zeros stays zero, one of NaN stays NaN.

    Source: Michel et al. 2019, arXiv:1905.10650. For display: the study ranks raw scores.
    """
    norm = np.linalg.norm(scores, axis=-1, keepdims=True)
    return np.asarray(np.divide(scores, norm, out=np.zeros_like(scores, dtype=float), where=norm != 0))


def concentration(scores: Real[np.ndarray, " ..."], share: float = 0.5) -> int:
    """How few components hold this share of the total importance; negative scores count as 0."""
    held = np.cumsum(np.sort(np.maximum(np.asarray(scores, float).ravel(), 0))[::-1])
    if not held.size or held[-1] == 0 or share <= 0:
        return 0
    return int(np.searchsorted(held, share * held[-1] - 1e-9 * held[-1])) + 1


def shares(scores: Real[np.ndarray, "*components"]) -> Float[np.ndarray, "*components"]:
    """Each component's part of the total score; zeros when there is nothing to share."""
    scores = np.asarray(scores, float)
    return scores / scores.sum() if scores.sum() else np.zeros_like(scores)


def layer_shares(scores: Real[np.ndarray, "n_layers n_heads"]) -> Float[np.ndarray, " n_layers"]:
    """Each layer's part of the total score; zeros when there is nothing to share."""
    return np.asarray(shares(scores).sum(1))


def percentiles(scores: Real[np.ndarray, "*components"]) -> Float[np.ndarray, "*components"]:
    """Which share of the other components each one ranks above, ties by half: 0 = lowest, 1 = highest.

    NaN where there is but one component, or a score is NaN. Comparable between models of different sizes.
    """
    ranks = _ranks(scores).reshape(np.shape(scores))
    return (ranks - 1) / (ranks.size - 1) if ranks.size > 1 else np.full(ranks.shape, np.nan)


def depth_profile(
    scores: Real[np.ndarray, "n_layers n_heads"], layers: Sequence[int] | None = None
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Where in a model its importance lies, comparable between models with different numbers of layers.

    Args:
        scores: (n_layers, n_heads).
        layers: those that have heads, all by default.

    Returns:
        Per such layer the relative depth of its middle, (layer + 1/2) / n_layers, from 0 to 1, and its share of the
        total score against an even spread over them: 1 = its even share, 2 = twice as much; NaN without any score.
    """
    there = np.arange(len(scores)) if layers is None else np.asarray(layers)
    held = np.asarray(scores, float)[there].sum(1)
    total = held.sum()
    return (there + 0.5) / len(scores), held * len(there) / total if total else np.full(len(there), np.nan)


def retained(scores: Real[np.ndarray, "n_layers n_heads"], removed: Iterable[Head]) -> float:
    """The share of the total score that is left when these heads are removed; NaN when the total is 0.

    With prefix matching or copying scores: the induction capacity retained.
    """
    left = np.array(scores, float)
    total = left.sum()
    for head in removed:
        left[head.layer, head.head] = 0
    return float(left.sum() / total) if total else math.nan


def retained_curve(
    scores: Real[np.ndarray, " ..."], ranking: Real[np.ndarray, " ..."], fractions: Sequence[float]
) -> Float[np.ndarray, " n_fractions"]:
    """The share of the total score that is left while heads are pruned in ascending order of another.

    NaN where the total is 0. Scores of any one shape: those of live heads alone are a flat list.
    """
    scores, ranking = _same_shape(scores, ranking)
    ascending = scores.ravel()[order(ranking)]
    total = ascending.sum()
    return np.array([ascending[count(f, scores.size):].sum() / total if total else math.nan for f in fractions])


def prefix_targets(n_block: int, n_repeats: int = 4, variant: str = "exact") -> list[tuple[int, int]]:
    """(query, key) pairs of positions: where an ideal induction head looks in BOS and a block repeated.

    From each token of the repeats, to what followed every earlier occurrence of it.

    Args:
        variant: "exact", or "authors": in the study's code BOS counts as an earlier occurrence of each block's last
            token, so that position 1, which follows BOS, is a target of it.
    """
    before_first = -1 if variant == "authors" else 0  # BOS is position 0
    return [(query, occurrence + 1) for query in range(n_block + 1, n_repeats * n_block + 1)
            for occurrence in range(query - n_block, before_first, -n_block)]


def prefix_match(pattern: Float[np.ndarray, "pos pos"], n_block: int) -> float:
    """The attention of one head to `prefix_targets`, summed per query and averaged over queries: 0 to 1.

    Args:
        pattern: attention on BOS and whole repeats of a block of `n_block` different tokens.
    """
    n_repeats = (len(pattern) - 1) // n_block
    targets = prefix_targets(n_block, n_repeats)
    return sum(float(pattern[query, key]) for query, key in targets) / ((n_repeats - 1) * n_block)


def prefix_match_by_chance(n_block: int, n_repeats: int = 4) -> float:
    """The prefix matching of a head that attends to everything before it alike."""
    targets = prefix_targets(n_block, n_repeats)
    return sum(1 / (query + 1) for query, _ in targets) / ((n_repeats - 1) * n_block)


def mean_interval(mean: float, variance: float, n: int, level: float = 0.95) -> Interval:
    """Where the mean of n draws lies, by the normal approximation."""
    half = _z(level) * math.sqrt(variance / n)
    return Interval(mean - half, mean + half)


class MeanEffects(NamedTuple):
    """Means of many effects over the same prompts, each with its interval and test; all of one shape."""

    mean: Float[np.ndarray, " ..."]
    low: Float[np.ndarray, " ..."]
    high: Float[np.ndarray, " ..."]
    p: Float[np.ndarray, " ..."]  # two-sided, of each by itself


def mean_effects(tasks: Sequence[tuple[Real[np.ndarray, "_ ..."], Sequence[int]]], level: float = 0.95,
                 most: float = 1.0) -> MeanEffects:
    """The unweighted mean over tasks of effects that were measured prompt by prompt, with t intervals and tests.

    Prompts that share a draw of demonstrations count together. The tasks' variances are added (degrees of freedom
    after Satterthwaite 1946, doi:10.2307/3002019). Where there is but one prompt, or one draw, nothing is told: p = 1,
    and the interval holds every effect that can be. An effect that never varies is not tested: p = 1.

    Args:
        tasks: per task (n_prompts, ...) effects, and each prompt's draw, empty where they share none.
        most: how large an effect can be: 1 for differences of probabilities, infinite for those of losses.

    Raises:
        BadInput: if there are no tasks, or a task has no prompts.
    """
    from scipy.special import stdtr, stdtrit  # here: importing scipy takes longer than a page

    _z(level)
    if not len(tasks) or not all(len(effects) for effects, _ in tasks):
        raise BadInput("No effects: a mean needs at least one task, and one prompt of each.")
    means, variances, squares = [], [], []
    for effects, draws in tasks:
        values = np.asarray(effects, float)
        means.append(values.mean(0))
        clusters = np.unique(np.asarray(draws), return_inverse=True)[1] if len(draws) else np.arange(len(values))
        n_clusters = int(clusters.max()) + 1
        sums = np.zeros((n_clusters, *values.shape[1:]))
        np.add.at(sums, clusters, values - means[-1])
        one = n_clusters / max(n_clusters - 1, 1) * (sums**2).sum(0) / len(values)**2
        variances.append(one if n_clusters > 1 else np.full(one.shape, math.inf))
        squares.append(variances[-1]**2 / max(n_clusters - 1, 1))
    mean, variance = np.mean(means, axis=0), np.sum(variances, axis=0)
    told = np.isfinite(variance)
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.where(told & (variance > 0), variance**2 / np.sum(squares, axis=0), 1.0)
        error = np.sqrt(variance) / len(tasks)
        p = np.where(error > 0, 2 * stdtr(df, -np.abs(mean) / error), 1.0)
        half = np.where(told, stdtrit(df, (1 + level) / 2) * error, math.inf)
    return MeanEffects(mean, np.maximum(mean - half, -most), np.minimum(mean + half, most), np.where(told, p, 1.0))


class Stability(NamedTuple):
    """How far a ranking would repeat itself on other examples."""

    split_half: float  # mean Spearman between the scores of two halves of the examples
    low: float  # interval over the random halvings
    high: float
    n_blocks: int  # blocks of examples that were halved


def bootstrap_stability(
    importance: Blocks, reduction: str = "per-token", n_draws: int = 200, level: float = 0.95, seed: int = 0, *,
    heads: Bool[np.ndarray, "n_layers n_heads"] | None = None,
) -> Stability:
    """Spearman between two random halves of the examples, over many halvings; NaN with fewer than 2 blocks.

    Each half has half the examples, so the full ranking is at least this stable.

    Args:
        heads: those that are ranked; all by default.
    """
    n = len(importance.block_sizes)
    if n < 2:
        return Stability(math.nan, math.nan, math.nan, n)
    sums, weights = importance.sums(reduction)
    rng = np.random.default_rng(seed)
    rhos = []
    for _ in range(n_draws):
        shuffled = rng.permutation(n)
        a, b = (sums[half].sum(0) / weights[half].sum(0) for half in (shuffled[: n // 2], shuffled[n // 2:]))
        rhos.append(spearman(*(one if heads is None else one[heads] for one in (a, b))))
    low, high = np.quantile(rhos, [(1 - level) / 2, (1 + level) / 2])
    return Stability(float(np.mean(rhos)), float(low), float(high), n)


def bootstrap_spearman(
    a: Blocks, b: Blocks, reduction: str = "per-token", n_draws: int = 200, level: float = 0.95, seed: int = 0, *,
    heads: Bool[np.ndarray, "n_layers n_heads"] | None = None,
) -> Interval:
    """Where the rank correlation of two importance matrices lies: bootstrap over each one's blocks of examples.

    Fewer examples rank less steadily, and so does a resample: the interval may lie below the estimate, which it
    is then stretched to contain. NaN with fewer than two blocks in either.

    Args:
        heads: those that are ranked; all by default.
    """
    found = rank_agreements([[a.sums(reduction)]], [b.sums(reduction)], n_draws, level, seed, heads=heads)
    return found.each[0].interval


class Agreement(NamedTuple):
    """How alike two things rank the heads."""

    rho: float  # Spearman's; NaN where all scores of one are equal
    low: float  # bootstrap interval, stretched to contain rho; NaN where something has fewer than two blocks
    high: float

    @property
    def interval(self) -> Interval:
        return Interval(self.low, self.high)


class Agreements(NamedTuple):
    """How alike several scores and one truth rank the heads, by the same resamples."""

    each: tuple[Agreement, ...]
    drawn: Float[np.ndarray, "n_draws n_scores"]  # rhos of the resamples; none with fewer than two blocks

    def ahead(self, one: int, other: int, level: float = 0.95) -> Interval:
        """Where the rho of one score minus that of another lies; NaN where that is not told."""
        difference = self.drawn[:, one] - self.drawn[:, other]
        kept = difference[~np.isnan(difference)]
        estimate = self.each[one].rho - self.each[other].rho
        if not len(kept) or math.isnan(estimate):
            return Interval(math.nan, math.nan)
        low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
        return Interval(min(float(low), estimate), max(float(high), estimate))


def rank_agreements(scores: Sequence[Sequence[Sums]], truth: Sequence[Sums], n_draws: int = 200, level: float = 0.95,
                    seed: int = 0, *, heads: Bool[np.ndarray, "n_layers n_heads"] | None = None) -> Agreements:
    """Spearman's rho between each of several scores of heads and a truth, all means over tasks of what they are there.

    Intervals are a percentile bootstrap over each task's blocks of examples, drawn anew for scores and truth, the same
    ones for every score. Fewer examples rank less steadily, and so does a resample: an interval may lie below its
    estimate, which it is then stretched to contain.

    Args:
        scores, truth: per task, what its blocks add to the scores, (n_blocks, n_layers, n_heads), and to what they are
            divided by; all scores have the same blocks.
        heads: those that are ranked; all by default.

    Raises:
        BadInput: if there is no score or no task, or scores have different blocks.
    """
    sizes = [[len(sums) for sums, _ in of_tasks] for of_tasks in scores]
    if not sizes or not sizes[0] or not len(truth) or any(other != sizes[0] for other in sizes):
        raise BadInput("Rankings are held against each other over at least one task, from the same blocks of examples.")
    which = np.ones(np.shape(truth[0][0])[1:], bool) if heads is None else heads

    def mean(of_tasks: Sequence[Sums], times: Sequence[Float[np.ndarray, " _"]]) -> Float[np.ndarray, " _"]:
        means: np.ndarray = np.mean([np.tensordot(t, sums, 1) / np.tensordot(t, weights, 1)
                        for t, (sums, weights) in zip(times, of_tasks, strict=True)], axis=0)[which]
        return means

    def ranked(
        of_scores: Sequence[Float[np.ndarray, " _"]], of_truth: Sequence[Float[np.ndarray, " _"]]
    ) -> list[float]:
        true = mean(truth, of_truth)
        ranks = _ranks(true)  # the slow part of a thousand resamples
        return [_correlation(_ranks(_same_shape(mean(one, of_scores), true)[0]), ranks) for one in scores]

    n_blocks, n_true = sizes[0], [len(sums) for sums, _ in truth]
    rhos = ranked([np.ones(n) for n in n_blocks], [np.ones(n) for n in n_true])
    drawn = np.full((0, len(scores)), math.nan)
    if min(*n_blocks, *n_true) > 1:
        rng = np.random.default_rng(seed)

        def times(of: Sequence[int]) -> list[Float[np.ndarray, " _"]]:
            return [np.bincount(rng.integers(n, size=n), minlength=n).astype(float) for n in of]

        drawn = np.array([ranked(times(n_blocks), times(n_true)) for _ in range(n_draws)])
    each = []
    for rho, column in zip(rhos, drawn.T, strict=True):
        kept = column[~np.isnan(column)]
        if math.isnan(rho) or not len(kept):
            each.append(Agreement(rho, math.nan, math.nan))
            continue
        low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
        each.append(Agreement(rho, min(float(low), rho), max(float(high), rho)))
    return Agreements(tuple(each), drawn)


def ranks_from_top(scores: Real[np.ndarray, " ..."]) -> Float[np.ndarray, " n"]:
    """1 for the highest score, and so on; equal scores share the mean of their ranks."""
    return np.size(scores) + 1 - _ranks(scores)


def recall_at_top(scores: Real[np.ndarray, " ..."], truth: Real[np.ndarray, " ..."], share: float) -> tuple[float, int]:
    """How many of the top k by `truth` are among the top k by `scores`, as a share of k; and k = floor(share * n) >= 1.

    Components tied at the k-th place share what places are left, so it is what breaking ties at random gives on
    average. By chance it is k / n.
    """
    scores, truth = (one.ravel() for one in _same_shape(scores, truth))
    k = max(1, count(share, scores.size))
    return float(_in_top(scores, k) @ _in_top(truth, k)) / k, k


def _in_top(scores: Real[np.ndarray, " n"], k: int) -> Float[np.ndarray, " n"]:
    """1 for what is surely among the top k, 0 for what is not, and an equal part for those tied at the last."""
    last = np.sort(scores)[-k]
    above, tied = scores > last, scores == last
    return np.asarray(above + tied * (k - above.sum()) / tied.sum())


def bootstrap_scores(
    importance: Blocks, reduction: str = "per-token", n_draws: int = 500, level: float = 0.95, seed: int = 0
) -> tuple[Float[np.ndarray, "n_layers n_heads"], Float[np.ndarray, "n_layers n_heads"]]:
    """Lowest and highest plausible importance of every head, each (n_layers, n_heads).

    Percentile bootstrap over blocks of examples; with one block both equal the score.
    """
    low, high = _resampled(*importance.sums(reduction), n_draws, level, seed)
    return low, high


def bootstrap_score(importance: Blocks, head: Head, reduction: str = "per-token", n_draws: int = 500,
                    level: float = 0.95, seed: int = 0) -> Interval:
    """The same interval of one head alone."""
    sums, weights = importance.sums(reduction)
    over = weights[:, min(head.layer, weights.shape[1] - 1), 0]  # of one layer, or of all
    low, high = _resampled(sums[:, head.layer, head.head], over, n_draws, level, seed)
    return Interval(float(low), float(high))


def _resampled(
    sums: Real[np.ndarray, " n_blocks *each"], weights: Real[np.ndarray, " n_blocks *over"], n_draws: int,
    level: float, seed: int,
) -> Float[np.ndarray, " 2 *each"]:
    """(2, ...) the ends of the interval of sum(sums) / sum(weights) over blocks, drawn with repetition."""
    n = len(sums)
    # how often each draw takes each block: (n_draws, n_blocks)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_draws).astype(float)
    draws = np.tensordot(times, sums, 1) / np.tensordot(times, weights, 1)
    return np.asarray(np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0))


# --- helpers ------------------------------------------------------------------------------------


def _z(level: float) -> float:
    if not 0 < level < 1:
        raise BadInput(f"A confidence level of {level}: it must lie between 0 and 1, for example 0.95.")
    return NormalDist().inv_cdf((1 + level) / 2)


def _t(df: float, level: float) -> float:
    """The two-sided quantile of Student's t."""
    from scipy.special import stdtrit

    _z(level)
    return float(stdtrit(df, (1 + level) / 2))


def _wilson(p: float, n: float, z: float) -> Interval:
    """Wilson's interval of an accuracy over n questions, or over what they are worth."""
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half)))


def _changes(
    a: Marks | Bool[np.ndarray, " _"], b: Marks | Bool[np.ndarray, " _"]
) -> tuple[Marks, Marks, Float[np.ndarray, " n"]]:
    """Both as marks, and (n,) what changed from a to b: 1 newly right, -1 newly wrong, 0 as before."""
    a, b = marks_of(a), marks_of(b)
    right_a, right_b = _paired(a.right, b.right)
    if not np.array_equal(a.clusters, b.clusters):
        raise BadInput("Two outcomes behind other draws of demonstrations are no pair: ask both alike.")
    return a, b, right_b.astype(float) - right_a


def _clustered_variance(values: Float[np.ndarray, " n"], clusters: Int[np.ndarray, " n"]) -> tuple[float, int]:
    """The variance of the mean of values that come in clusters (numbers from 0), and its degrees of freedom.

    The ratio of cluster sums to cluster sizes, linearised; infinite where there is but one cluster.
    """
    n_clusters = int(clusters.max()) + 1
    if n_clusters < 2:
        return math.inf, 1
    sums = np.bincount(clusters, values - values.mean(), n_clusters)
    return float(n_clusters / (n_clusters - 1) * (sums**2).sum() / len(values) ** 2), n_clusters - 1


def _fair_coin(fewer: int, n: int) -> float:
    """Exact two-sided p-value of n tosses that show one side only `fewer` times; in whole numbers until the end."""
    term = total = 1
    for i in range(fewer):
        term = term * (n - i) // (i + 1)
        total += term
    return float(min(1.0, 2 * total / 2**n))


def _ranks(scores: Real[np.ndarray, " ..."]) -> Float[np.ndarray, " n"]:
    """1 for the lowest score, and so on; equal scores share the mean of their ranks; all NaN where one is."""
    flat = np.asarray(scores, float).ravel()
    if np.isnan(flat).any():
        return np.full(flat.shape, np.nan)
    _, which, times = np.unique(flat, return_inverse=True, return_counts=True)
    return (times.cumsum() - (times - 1) / 2)[which]


def _log_choose(n: int, k: Int[np.ndarray, "*k"]) -> Float[np.ndarray, "*k"]:
    """The logarithm of how many ways there are to choose k of n."""
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return np.asarray(factorials[n] - factorials[k] - factorials[n - k])


def _paired(
    a: Bool[np.ndarray, " ..."], b: Bool[np.ndarray, " ..."]
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    if a.shape != b.shape or a.ndim != 1:
        raise BadInput(f"Outcomes of shapes {a.shape} and {b.shape} are not of the same queries.")
    return a, b


def _same_shape(
    a: Real[np.ndarray, " ..."], b: Real[np.ndarray, " ..."]
) -> tuple[Float[np.ndarray, "*components"], Float[np.ndarray, "*components"]]:
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        raise BadInput(f"Scores of shapes {a.shape} and {b.shape} cannot be compared: they belong to different models.")
    if np.isnan(a).any() or np.isnan(b).any():
        raise BadInput("A score is NaN: it cannot be ranked.")
    return a, b


def _stack(scores: Sequence[Real[np.ndarray, "*components"]]) -> Float[np.ndarray, " n *components"]:
    if not len(scores) or len({np.shape(s) for s in scores}) != 1:
        raise BadInput("Score matrices to combine must be at least one, and of one shape: that of one model.")
    return np.stack([np.asarray(s, float) for s in scores])


def _correlation(a: Float[np.ndarray, "*components"], b: Float[np.ndarray, "*components"]) -> float:
    """Pearson's r of two flat lists; NaN when one of them is constant."""
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return max(-1.0, min(1.0, float(a @ b) / scale)) if scale else math.nan


def _heads(indices: Int[np.ndarray, " _"], scores: Real[np.ndarray, "n_layers n_heads"]) -> tuple[Head, ...]:
    n_heads = np.shape(scores)[1]
    return tuple(Head(int(i) // n_heads, int(i) % n_heads) for i in indices)
