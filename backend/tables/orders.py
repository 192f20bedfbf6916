"""Which order of heads keeps most? Areas under the curves of orders, tests at equal numbers of heads, learned gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Bool
from ..kinds import GateOrder, Sweep
from ..kinds.head_gates import CLASSES
from ..stats import Marks
from ..values import INTACT, Ablation
from .importance import grid_table
from .pruning import OWN, RANDOM, points_of

ITERATIVE, GREEDY, GATES = FITTED = ("iterative order", "greedy order", "order of learned gates")
_END = (1.0, 0.0)  # of heads and FFNs: all heads off, which is the same in every order


def _shared(found: Mapping[str, Sequence[Sequence[Sweep]]]) -> list[float]:
    """The shares of heads removed at which all orders have a point, all heads at last."""
    every = [{heads for heads, _ in sweep.removed} for orders in found.values() for sweeps in orders
             for sweep in sweeps]
    return [*sorted(set.intersection(*every) - {1.0}), 1.0]


def _curve(sweeps: Sequence[Sweep], end: Sequence[Marks], shares: Sequence[float]) -> list[list[Marks]]:
    """Per task the marks at each share; at the end those given."""
    at = {heads: marks for (heads, _), marks, _ in points_of(sweeps)} | {1.0: list(end)}
    return [list(one) for one in zip(*(at[share] for share in shares), strict=True)]


def _end(found: Mapping[str, Sequence[Sequence[Sweep]]]) -> list[Marks]:
    """Per task the marks with all heads off, which fitted orders go to."""
    return next(marks for kind, orders in found.items() if kind in FITTED
                for removed, marks, _ in points_of(orders[0]) if removed == _END)


def areas_table(found: Mapping[str, Sequence[Sequence[Sweep]]]) -> pd.DataFrame:
    """CPR and CMD of each order, with 95 % intervals, and how much more CPR it has than the task's own ranking.

    At the shares at which all orders have points, and with all heads off, as measured in a fitted order: that is the
    same in every order. The interval of the difference knows how many fitted orders there are (Bonferroni). Of random
    orders the means, without intervals.

    Args:
        found: as `curves_table` takes them: per kind of ranking its rankings, and for each of them one sweep per task;
            `OWN` and a fitted one must be there.
    """
    shares, end = _shared(found), _end(found)
    kept = [1 - share for share in shares]
    level = 1 - 0.05 / max(1, sum(kind in FITTED for kind in found))

    def outcomes(tasks: Sequence[Sequence[Marks]]) -> list[Bool[np.ndarray, "n_points _"]]:
        return [np.stack([one.right for one in marks]) for marks in tasks]

    own = outcomes(_curve(found[OWN][0], end, shares))
    rows: list[dict[str, Any]] = []
    for kind, orders in found.items():
        if kind == RANDOM:
            each = [stats.areas(kept, np.mean([np.mean(o, 1) for o in outcomes(_curve(sweeps, end, shares))], 0))
                    for sweeps in orders]
            rows.append({"order": f"{kind}, mean of {len(orders)}", "CPR": float(np.mean([a.cpr for a in each])),
                         "CMD": float(np.mean([a.cmd for a in each]))})
            continue
        tasks = _curve(orders[0], end, shares)
        clusters = [marks[0].clusters for marks in tasks]
        one = stats.area_intervals(outcomes(tasks), kept, clusters=clusters)
        row = {"order": kind, "CPR": one.areas.cpr, "low": one.cpr.low, "high": one.cpr.high, "CMD": one.areas.cmd,
               "CMD from": one.cmd.low, "CMD to": one.cmd.high}
        if kind in FITTED:
            beside = stats.area_intervals(outcomes(tasks), kept, own, level, clusters=clusters)
            row |= {"more than one-shot": beside.more, "more from": beside.more_interval.low,
                    "more to": beside.more_interval.high}
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(n=sum(len(marks[0].right) for marks in _curve(found[OWN][0], end, shares)))


def equal_heads_table(found: Mapping[str, Sequence[Sequence[Sweep]]]) -> pd.DataFrame:
    """Each fitted order against the task's own ranking with equally many heads off: a row per order and share.

    p is that of `stats.paired_test` over the questions of all tasks; "p (Holm)" knows of all rows.

    Args:
        found: as in `areas_table`.
    """
    own = {removed: marks for removed, marks, _ in points_of(found[OWN][0])}
    rows: list[dict[str, Any]] = []
    for kind in FITTED:
        for removed, marks, _ in points_of(found[kind][0]) if kind in found else ():
            if removed in own and removed[0] > 0:
                a, b = stats.pooled(own[removed]), stats.pooled(marks)
                test = stats.paired_test(a, b)
                means = [float(np.mean([one.right.mean() for one in some])) for some in (own[removed], marks)]
                low, high = stats.mean_difference_interval(list(zip(own[removed], marks, strict=True)))
                rows.append({"order": kind, "heads removed": removed[0], "accuracy": means[1], "one-shot": means[0],
                             "difference": means[1] - means[0], "from": low, "to": high, "p": test.p,
                             "n": len(a.right)})
    table = pd.DataFrame(rows)
    return table.assign(**{"p (Holm)": stats.holm(table["p"].tolist())}) if len(table) else table


def gates_table(
    records: Sequence[GateOrder], chosen: Ablation = INTACT, heads: Bool[np.ndarray, "n_layers n_heads"] | None = None
) -> pd.DataFrame:
    """One row per head: its role, both gates, means over tasks, and in how many of them it is of which class.

    Args:
        records: one per task.
        heads: those that have rows; None: all.
    """
    role, closing, opening = (np.mean(some, 0) for some in (
        [one.roles() for one in records], [one.closing for one in records], [one.opening for one in records]))
    which = np.ones(role.shape, bool) if heads is None else heads
    table = grid_table(role, chosen, label="role").drop(columns=["rank"])[which.ravel()].reset_index(drop=True)
    classes = np.stack([one.classes() for one in records])
    return table.assign(
        **{"gate under pressure to close": closing[which], "gate under pressure to open": opening[which]},
        **{name: (classes == name).sum(0)[which] for name in CLASSES}, tasks=len(records))
