"""When do induction heads form in training, and when does the model begin to learn from examples in the prompt?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import stats
from ..kinds import Answers, HeadScores, InductionScores
from .shots import same_questions

LOOKS_BACK = 0.3  # prefix matching from here on is called looking back
FAR = 10.0  # times: steps that lie further apart are not called together


@dataclass(frozen=True)
class Grown:
    """What was measured of a model after so many steps of its training; None where it was not.

    Attributes:
        without, with_: by task, what it answers without and with demonstrations; the same questions.
    """

    step: int
    tokens: int
    matching: InductionScores | None
    without: Mapping[str, Answers]
    with_: Mapping[str, Answers]
    importance: Mapping[str, HeadScores]


def growth_table(grown: Sequence[Grown]) -> pd.DataFrame:
    """A row per checkpoint: step, tokens read, the strongest prefix matching, how many heads look back, accuracies.

    `gain` is the mean over tasks of accuracy with demonstrations minus without, on the same questions, and its 95 %
    `stats.mean_difference_interval`; what draws the demonstrations share count as one. NaN where it was not measured.
    """
    rows = []
    for one in grown:
        matching = np.array(one.matching.mean) if one.matching else np.array([[np.nan]])
        tasks = [name for name in one.without if name in one.with_]
        row = {"step": one.step, "tokens": one.tokens, "prefix matching": float(np.max(matching)),
               "heads that look back": float((matching >= LOOKS_BACK).sum()) if one.matching else np.nan,
               "tasks": len(tasks)}
        if tasks:
            pairs = [same_questions(one.without[name], one.with_[name]) for name in tasks]
            low, high = stats.mean_difference_interval(pairs)
            without, with_ = (float(np.mean([pair[i].right.mean() for pair in pairs])) for i in (0, 1))
            (a, b), (c, d) = (stats.mean_accuracy_interval([pair[i] for pair in pairs]) for i in (0, 1))
            row |= {"without": without, "without from": a, "without to": b, "with": with_, "with from": c, "with to": d,
                    "gain": with_ - without, "gain from": low, "gain to": high,
                    "n": sum(len(pair[0].right) for pair in pairs),
                    "chance": float(np.mean([one.with_[name].questions.chance for name in tasks]))}
        rows.append(row)
    columns = ["step", "tokens", "prefix matching", "heads that look back", "without", "without from", "without to",
               "with", "with from", "with to", "gain", "gain from", "gain to", "n", "tasks", "chance"]
    return pd.DataFrame(rows, columns=columns)


def formed(table: pd.DataFrame) -> int | None:
    """The first step from which on some head looks back at every checkpoint; None where none does to the end."""
    return _for_good(table["step"], table["prefix matching"] >= LOOKS_BACK)


def learns(table: pd.DataFrame) -> int | None:
    """The first step from which on the gain's interval lies above 0 at every checkpoint; None where it never does."""
    return _for_good(table["step"], table["gain from"] > 0)


def _for_good(steps: pd.Series, holds: pd.Series) -> int | None:
    lasting = holds.to_numpy(bool)[::-1].cumprod()[::-1].astype(bool)
    return int(steps[lasting].iloc[0]) if lasting.any() else None


def growth_points(table: pd.DataFrame) -> pd.DataFrame:
    """A `growth_table` as points of a chart: step, what, value, low, high; step 0 has place 1 on a logarithmic axis."""
    parts = []
    for what, column, ends in (("strongest prefix matching", "prefix matching", None),
                               ("accuracy with demonstrations", "with", ("with from", "with to")),
                               ("accuracy without", "without", ("without from", "without to"))):
        low, high = (table[end] if ends else table[column] for end in ends or ("", ""))
        parts.append(pd.DataFrame({"step": table["step"], "place": table["step"].clip(lower=1), "what": what,
                                   "value": table[column], "low": low, "high": high}))
    return pd.concat(parts, ignore_index=True).dropna(subset=["value"])
