"""Which of two masks, A and B, does a task need less? Accuracies side by side, and tests on the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Bool
from ..stats import Marks
from .accuracy import accuracy_row

MASKS = ("intact", "A", "B")
DIFFERENCE = "A − B"

Outcomes = Mapping[str, Marks | Bool[np.ndarray, " _"] | None]  # by one of the `MASKS`; None: not measured yet


def masks_table(names: Sequence[str], groups: Sequence[str], outcomes: Sequence[Outcomes],
                chances: Sequence[float]) -> pd.DataFrame:
    """A row per task: its accuracy intact, with A off and with B off, and what sets A and B apart.

    `A − B` is acc(A) - acc(B) on the same questions with its `stats.difference_interval`, `p` is of the
    `stats.paired_test`, `p (Holm)` the same for having looked at every task; it is there once all tasks are.
    """
    rows = [_row(*one) for one in zip(names, groups, outcomes, chances, strict=True)]
    columns = ["task", "group", "n", "chance", *(f"{mask}{end}" for mask in MASKS for end in ("", " from", " to")),
               DIFFERENCE, "95 % from", "to", "p", "right only with A", "right only with B"]
    table = pd.DataFrame(rows, columns=columns)
    p = table["p"].to_numpy(float)
    return table.assign(**{"p (Holm)": np.nan if np.isnan(p).any() else stats.holm(p)})


def _row(name: str, group: str, outcomes: Outcomes, chance: float) -> dict[str, Any]:
    n = next((len(stats.marks_of(one).right) for one in outcomes.values() if one is not None), 0)
    row: dict[str, Any] = {"task": name, "group": group, "n": n, "chance": chance}
    for mask in MASKS:
        if (one := outcomes[mask]) is not None:
            shown = accuracy_row(name, one, chance)
            row |= {mask: shown["accuracy"], f"{mask} from": shown["low"], f"{mask} to": shown["high"]}
    a, b = outcomes["A"], outcomes["B"]
    if a is not None and b is not None:
        test, (low, high) = stats.paired_test(a, b), stats.difference_interval(b, a)
        row |= {DIFFERENCE: row["A"] - row["B"], "95 % from": low, "to": high, "p": test.p,
                "right only with A": test.only_a, "right only with B": test.only_b}
    return row


def masks_points(table: pd.DataFrame) -> pd.DataFrame:
    """The accuracies of a `masks_table` as points of a chart: task, mask, accuracy, low, high, n, chance, p (Holm)."""
    parts = [table[["task", "n", "chance", DIFFERENCE, "p (Holm)"]].assign(
        mask=mask, accuracy=table[mask], low=table[f"{mask} from"], high=table[f"{mask} to"]) for mask in MASKS]
    return pd.concat(parts, ignore_index=True).dropna(subset=["accuracy"])


def masks_means(outcomes: Sequence[Outcomes]) -> dict[str, dict[str, float]]:
    """Per mask, and for `A − B`, the unweighted mean over tasks with its interval; what is not complete is left out.

    Intervals: of accuracies `stats.mean_accuracy_interval`, of the difference `stats.mean_difference_interval`.
    """
    means = {}
    for mask in MASKS:
        known = [stats.marks_of(found) for one in outcomes if (found := one[mask]) is not None]
        if known and len(known) == len(outcomes):
            low, high = stats.mean_accuracy_interval(known)
            means[mask] = {"accuracy": float(np.mean([m.right.mean() for m in known])), "low": low, "high": high}
    pairs = [(b, a) for one in outcomes if (a := one["A"]) is not None and (b := one["B"]) is not None]
    if pairs and len(pairs) == len(outcomes):
        low, high = stats.mean_difference_interval(pairs)
        means[DIFFERENCE] = {"accuracy": means["A"]["accuracy"] - means["B"]["accuracy"], "low": low, "high": high}
    return means
