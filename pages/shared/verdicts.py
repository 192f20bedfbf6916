"""What the Tour concludes: pure functions from numbers to sentences and to the right answer of a guess.

Each claims a difference only where an interval or a test holds it, and else says that the questions do not tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from backend import stats
from backend.tables import WITH
from backend.values import Head
from pages.shared.words import SIGNIFICANT, how_many, p_value, percent, points

NEARLY_ALWAYS = 0.85  # an accuracy from here on is called so


def span(low: float, high: float, of: str = "percent") -> str:
    """An interval as it stands in brackets: `95 %: 42 to 58 %`; of differences `95 %: −12 to −3 points`."""
    if of == "points":
        return f"95\u00a0%: {points(low).split(chr(160))[0]} to {points(high)}"
    return f"95\u00a0%: {percent(low).removesuffix(chr(160) + '%')} to {percent(high)}"


def learned(table: pd.DataFrame, shots: Sequence[int]) -> tuple[str, int]:
    """What more examples do, and the right answer: 0 = no better than guessing, 1 = somewhat better, 2 = nearly always.

    Args:
        table: a `means_table`, one row per number of shots.
    """
    first, last = table.iloc[0], table.iloc[-1]
    text = f"From {percent(first['accuracy'])} without examples to {percent(last['accuracy'])} with {shots[-1]}"
    if last["low"] <= first["high"] and last["high"] >= first["low"]:
        text += ": their intervals overlap, so these questions tell no difference"
    above = last["low"] > last["chance"]
    return text, 0 if not above else 2 if last["accuracy"] >= NEARLY_ALWAYS else 1


def helped(table: pd.DataFrame, n_shots: int) -> tuple[str, int]:
    """On how many tasks demonstrations help, and the right answer: 0 = nearly all, 1 = about half, 2 = few or none.

    Args:
        table: a `shots_table`.
    """
    tasks = table[table["model"] == WITH]
    told = tasks[tasks["p (Holm)"] < SIGNIFICANT]
    up, down = told[told["change"] > 0], told[told["change"] < 0]
    share = len(up) / len(tasks)
    text = (f"{how_many(n_shots, 'example').capitalize()} {'helps' if n_shots == 1 else 'help'} on {len(up)} of "
            f"{how_many(len(tasks), 'task')}, by a paired test of each that knows how many were tried")
    if len(down):
        text += f", and {'hurts' if n_shots == 1 else 'hurt'} on {len(down)}"
    return text, 0 if share >= 0.8 else 1 if share >= 0.3 else 2


def missed_alone(table: pd.DataFrame, what: str = "head") -> tuple[str, int]:
    """How many heads are missed when off alone, and the right answer: 0 = every one is, 1 = none is, 2 = some are.

    Args:
        table: a `need_table`; what: what its heads are called, one of them.
    """
    missed = int(((table["p (Holm)"] < SIGNIFICANT) & (table["change"] < 0)).sum())
    worst = table.loc[table["change"].idxmin()]
    so_many = how_many(missed, "is", "are") if missed else "none is"
    text = (f"Of {how_many(len(table), what)} {so_many} missed when off alone, by a paired test of each that knows "
            "how many were tried")
    if worst["change"] < 0:
        text += (f"; the most that one costs is {points(-worst['change'])[1:]}, {worst['head']} "
                 f"({span(worst['low'], worst['high'], 'points')})")
    return f"{text}.", 1 if not missed else 0 if missed == len(table) else 2


def knocked_out(top: float, random: float, difference: stats.Interval) -> tuple[str, int]:
    """Which heads are missed more, and the right answer: 0 = the random ones, 1 = not told, 2 = those that look back.

    Args:
        top, random: the change in accuracy without those that look back, and without the random ones.
        difference: the interval of the accuracy without the random ones minus that without those that look back.
    """
    index = 2 if difference.low > 0 else 0 if difference.high < 0 else 1
    claim = ("The random heads are missed more", "These questions do not tell which are missed more",
             "The heads that look back are missed more")[index]
    return (f"{claim}: {points(top)} against {points(random)} (difference {points(random - top)}, "
            f"{span(difference.low, difference.high, 'points')})"), index


def spared(limits: pd.DataFrame, share: float, what: str) -> tuple[str, int]:
    """How much can go, and the right answer: 0 = a fifth or less, 1 = about a third, 2 = half or more.

    Args:
        limits: a `limits_table` with intervals; the first row counts.
    """
    first = limits.iloc[0]
    held = float(first["can go"])
    return (f"{percent(held)} of the {what} ({span(first['can go from'], first['can go to'])}) can go and "
            f"{percent(share)} of the accuracy stays"), 0 if held <= 0.2 else 1 if held < 0.5 else 2


def kinds_agree(found: stats.Grouping) -> tuple[str, int]:
    """Whether tasks of one kind rank heads more alike, and the right answer: 0 = they do, 1 = less, 2 = not told."""
    numbers = f"ρ = {found.within:.2f} against {found.across:.2f}".replace("-", "−")
    if np.isnan(found.p) or found.p >= SIGNIFICANT:
        tested = "" if np.isnan(found.p) else f" ({p_value(found.p)})"
        return f"Whether tasks of one kind agree more is not told by these tasks: {numbers}{tested}", 2
    more = found.within > found.across
    return (f"Tasks of one kind agree {'more' if more else 'less'} than those of different kinds: {numbers} "
            f"({p_value(found.p)})"), 0 if more else 1


def missed_most(table: pd.DataFrame, second: int, ahead: stats.Interval) -> str:
    """Without which FFN accuracy falls most, in a `mean_effects_table`.

    Args:
        second: the layer whose FFN comes next.
        ahead: the interval of how much more the first costs than that one.
    """
    worst = table.loc[table["change"].idxmin()]
    if worst["change"] >= 0:
        return "No FFN's removal lowers accuracy on average"
    text = (f"Without the FFN of layer {int(worst['layer'])} accuracy falls most, by {points(-worst['change'])[1:]} on "
            "average")
    if worst["high"] >= 0:
        return f"{text}, which these questions do not tell from no change"
    return text if ahead.low > 0 else f"{text}; these questions do not tell it from that of layer {second}"


def control(there: Sequence[Head], controlled: Sequence[Head], k: int, seed: int) -> tuple[Head, ...]:
    """k random heads to hold others against: from layer 1 on, none of those that they control for.

    Args:
        there: the heads to draw from: live ones, where these are known.
        controlled: the heads that are held against them, which are never drawn.
    """
    kept = set(controlled)
    pool = [head for head in there if head.layer > 0 and head not in kept]
    return tuple(pool[i] for i in np.random.default_rng(seed).permutation(len(pool))[:k])
