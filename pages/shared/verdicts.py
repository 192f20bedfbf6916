"""What the Tour and Induction conclude: pure functions from numbers to sentences and to the right answer of a guess.

Each claims a difference only where an interval or a test holds it, and else says that the questions do not tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from backend import stats, tables
from backend.kinds.knock_out import INDUCTION_ALONE, VECTORS_ALONE
from backend.tables import VECTOR, WITH
from backend.values import Head
from pages.shared.words import SIGNIFICANT, how_many, p_value, percent, points, reach

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


HELPED = ("on three quarters or more", "on a quarter to three quarters", "on fewer than a quarter")


def helped(table: pd.DataFrame, n_shots: int) -> tuple[str, int]:
    """On how many tasks demonstrations help, and the right answer, a place in `HELPED`.

    Args:
        table: a `shots_table`.
    """
    tasks = table[table["model"] == WITH]
    told = tasks[tasks["p (Holm)"] < SIGNIFICANT]
    up, down = told[told["change"] > 0], told[told["change"] < 0]
    share = len(up) / len(tasks)
    text = (f"{how_many(n_shots, 'example').capitalize()} {'helps' if n_shots == 1 else 'help'} on {len(up)} of "
            f"{how_many(len(tasks), 'task')} ({corrected('task', len(tasks))})")
    if len(down):
        text += f", and {'hurts' if n_shots == 1 else 'hurt'} on {len(down)}"
    return text, 0 if share >= 0.75 else 1 if share >= 0.25 else 2


LOOK_BACK = ("none", "less than a quarter", "a quarter to a half", "more than a half")


def looking_back(n: int, total: int) -> int:
    """Which of `LOOK_BACK` holds of n heads of all."""
    return 0 if not n else 1 if 4 * n < total else 2 if 2 * n <= total else 3


def missed_alone(table: pd.DataFrame, what: str = "head") -> tuple[str, int]:
    """How many heads are missed when off alone, and the right answer: 0 = every one is, 1 = none is, 2 = some are.

    Args:
        table: a `need_table`; what: what its heads are called, one of them.
    """
    missed = int(((table["p (Holm)"] < SIGNIFICANT) & (table["change"] < 0)).sum())
    worst = table.loc[table["change"].idxmin()]
    so_many = how_many(missed, "is", "are") if missed else "none is"
    text = f"Of {how_many(len(table), what)} {so_many} missed when off alone ({corrected('head', len(table))})"
    if worst["change"] < 0:
        text += (f"; the most that one costs is {points(-worst['change'])[1:]}, {worst['head']} "
                 f"({span(worst['low'], worst['high'], 'points')})")
    return f"{text}.", 1 if not missed else 0 if missed == len(table) else 2


def corrected(one: str, n: int) -> str:
    """How several are tested at once: `tested head by head, corrected for trying all 48`."""
    return f"tested {one} by {one}, corrected for trying all {n}" if n > 1 else "by a paired test"


def worst_pair(table: pd.DataFrame) -> tuple[str, str] | None:
    """The two heads that cost most alone, in a `need_table`; None where fewer than two cost anything."""
    costly = table[table["change"] < 0].sort_values("change", kind="stable")["head"].tolist()
    return (costly[0], costly[1]) if len(costly) > 1 else None


def together(table: pd.DataFrame, off: Sequence[Head], change: float, most: float) -> str:
    """What heads cost together beside what each of them costs alone; nothing where that is not known, or of one head.

    That one stands in for another is said only where the interval of the cost together lies beyond their sum.

    Args:
        table: a `need_table`.
        change, most: in accuracy without all of them, and the upper end of its interval.
    """
    alone = [float(one) for head in off for one in table.loc[table["head"] == str(head), "change"]]
    if len(off) < 2 or len(alone) < len(off):
        return ""
    each = [points(one) for one in alone]
    listed = f"{', '.join(one.split(chr(160))[0] for one in each[:-1])} and {each[-1]}"
    said = f"Off alone, they change accuracy by {listed}; off together, by {points(change)}"
    if change < 0 and most < min(0.0, sum(alone)):
        return f"{said}: one does the work while another is off, and so no test of one head at a time finds them."
    return f"{said}."


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


SPARED = ("less than a quarter", "a quarter to a half", "half or more")  # a half itself is half or more


def spared(limits: pd.DataFrame, share: float, what: str, total: int) -> tuple[str, int]:
    """How much can go, and the right answer, a place in `SPARED`; of the share as it is shown.

    Args:
        limits: a `limits_table` with intervals; the first row counts.
        what, total: what can go is called, and how many there are.
    """
    first = limits.iloc[0]
    held = round(float(first["can go"]), 3)  # as `percent` shows it
    return (f"{percent(held)} of the {what} ({so_many(first, total)}) can go and {percent(share)} of the accuracy "
            "stays"), 0 if held < 0.25 else 1 if held < 0.5 else 2


def at_scale(limits: pd.DataFrame, there: str, what: str, called: str, total: int) -> str:
    """What the study's largest model spares, beside what this one does.

    Args:
        limits: a `limits_table` with intervals; the first row counts.
        there: how much of that model's; what: "heads" or "FFNs".
        called, total: what can go here is called, "live heads" or as `what`, and how many there are.
    """
    first = limits.iloc[0]
    return (f"OPT-66B spares {there} of its {what}; this model {percent(first['can go'])} of its {called} "
            f"({so_many(first, total)}), with {percent(first['accuracy there'])} of the answers still right")


def so_many(limit: pd.Series, total: int) -> str:
    """How many a row of a `limits_table` is, with its interval: `12 of 48; 95 %: 18.8 to 25 %`."""
    return f"{round(limit['that is'], 1):g} of {total}; {reach(limit['can go from'], limit['can go to'])}"


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


LITTLE_LOST = 0.01  # of probability: where shuffled labels take less, there is nothing to bring back


def carries(table: pd.DataFrame, lost: float, what: str = "head") -> str:
    """Which head's mean output brings the right answer back furthest, in a `vectors_table`, where that is told at all.

    Args:
        lost: what shuffled labels take of the right answer's probability.
        what: what the heads are called, one of them.
    """
    if lost < LITTLE_LOST:
        return ("Shuffled labels take next to nothing of the right answer's probability here: there is nothing that a "
                "head could bring back")
    told = table[is_told(table)]
    if told.empty:
        return (f"Shuffled labels take {points(lost)[1:]} of the right answer's probability; these prompts tell of no "
                f"{what} whose mean output brings some of it back")
    top = told.loc[told["effect"].idxmax()]
    back = points(top["effect"]) if top["effect"] >= 0.0005 else "less than +0.1\u00a0points"
    others = len(told) - 1
    return (f"{top['name']} brings the right answer back furthest, {back} of probability ("
            f"{span(top['95 % from'], top['to'], 'points')}) of the {points(lost)[1:]} that shuffled labels take" + (
                f"; {how_many(others, f'further {what}')} {'does' if others == 1 else 'do'} so" if others else ""))


def is_told(table: pd.DataFrame) -> pd.Series:
    """Which heads of a `vectors_table` bring the right answer back, by a test of each that knows how many there are."""
    return (table["effect"] > 0) & (table["p (Holm)"] < SIGNIFICANT)


def sets_apart(sets: pd.DataFrame, n_told: int) -> str:
    """Whether function-vector heads are the induction heads, and the important ones, in a `sets_table`.

    Args:
        n_told: of how many heads it is told that they bring the right answer back.
    """
    def shared(row: pd.Series) -> str:
        than = "more than" if row["in common"] > row["by chance"] else "fewer than"
        by = f"{row['by chance']:.1f} by chance, {p_value(row['p'])}"
        return f"{row['in common']:.0f} ({f'{than} ' if row['p'] < SIGNIFICANT else ''}{by})"

    induction, important = (sets[sets["sets"].str.startswith(VECTOR)].iloc[i] for i in (0, 1))
    k = int(induction["of"])
    text = (f"The top {k} by function-vector effect share {shared(induction)} with the top {k} in prefix matching, "
            f"{shared(important)} with the most important {k}")
    if not n_told:
        return f"{text}; but of none of them is it told that it carries anything"
    if min(induction["p"], important["p"]) >= SIGNIFICANT:
        return f"{text}: both as chance may have it"
    return text


def which_are_needed(table: pd.DataFrame, pairs: Sequence[tuple[stats.Marks, stats.Marks]], at: float, called: str,
                     n_told: int | None = None) -> str:
    """Whether accuracy needs function-vector heads or induction heads more, in a `knock_out_table`.

    Claims that one sort is needed more only where the paired interval of the difference says so and accuracy without
    that sort lies below the intact model's and below the random draws; never of other models or tasks.

    Args:
        pairs: see `tables.knock_out_pairs`.
        at: the share of heads off.
        called: the task, or the mean of which tasks.
        n_told: of how many heads it is told that they carry function vectors, on the tasks that rank them; None where
            that is not known. Where it is of none, nothing is said of function-vector heads.
    """
    intact = float(table["accuracy"].iloc[0])
    here = table[np.isclose(table["share"], at)].set_index("off")
    vector, induction = (here.loc[tables.KNOCKED[sort]] for sort in (VECTORS_ALONE, INDUCTION_ALONE))
    random, first = here.loc[tables.OTHERS], table.iloc[0]
    found = stats.mean_difference_interval(pairs)
    numbers = (f"with {percent(at)} of the heads off, {called} goes from {percent(intact)} to "
               f"{percent(vector['accuracy'])} without function-vector heads that are no induction heads, to "
               f"{percent(induction['accuracy'])} without the reverse "
               f"({points(vector['accuracy'] - induction['accuracy'])}, {span(*found, 'points')})")

    def falls(row: pd.Series) -> bool:
        return bool(row["high"] < first["low"] and row["accuracy"] < random["low"])

    if n_told == 0:
        also = "; induction heads are needed" if found.low > 0 and falls(induction) else ""
        return f"Of no head is it told that it carries a function vector on the tasks that rank them{also}: {numbers}"
    if found.high < 0 and falls(vector):
        return f"Function-vector heads are needed more here, as Yin and Steinhardt found elsewhere: {numbers}"
    if found.low > 0 and falls(induction):
        return f"Induction heads are needed more here, other than Yin and Steinhardt found elsewhere: {numbers}"
    return f"These questions do not tell that either sort is needed more than other heads: {numbers}"


def control(there: Sequence[Head], controlled: Sequence[Head], k: int, seed: int) -> tuple[Head, ...]:
    """k random heads to hold others against: from layer 1 on, none of those that they control for.

    Args:
        there: the heads to draw from: live ones, where these are known.
        controlled: the heads that are held against them, which are never drawn.
    """
    kept = set(controlled)
    pool = [head for head in there if head.layer > 0 and head not in kept]
    return tuple(pool[i] for i in np.random.default_rng(seed).permutation(len(pool))[:k])
