"""What Tour, Calibration, Induction and Card conclude: pure functions from numbers to sentences and guesses' answers.

Each claims a difference only where an interval or a test holds it, and else says that the questions do not tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from backend import stats, tables
from backend.kinds.head_gates import FACILITATES, INTERFERES, PRICE
from backend.kinds.knock_out import INDUCTION_ALONE, VECTORS_ALONE
from backend.tables import FITTED, OWN, VECTOR, WITH
from backend.values import Head
from pages.shared.words import SIGNIFICANT, how_many, nats, p_value, percent, points, reach, rho

NEARLY_ALWAYS = 0.85  # an accuracy from here on is called so


def span(low: float, high: float, of: str = "percent") -> str:
    """An interval as it stands in brackets: `95 %: 42 to 58 %`; of differences `95 %: −12 to −3 points`, or nats."""
    if of == "nats":
        return f"95\u00a0%: {nats(low).split(chr(160))[0]} to {nats(high)}"
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
    """Which rows of a `vectors_table`, or of a head's in several tasks, bring the right answer back, by a test of each
    that knows how many there are."""
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
                     n_told: int | None = None) -> tuple[str, int]:
    """Whether accuracy needs function-vector heads or induction heads more, in a `knock_out_table`, and which: 0 =
    function-vector heads, 1 = induction heads, 2 = not told.

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
        needed = found.low > 0 and falls(induction)
        return ("Of no head is it told that it carries a function vector on the tasks that rank them"
                f"{'; induction heads are needed' * needed}: {numbers}"), 1 if needed else 2
    if found.high < 0 and falls(vector):
        return f"Function-vector heads are needed more here, as Yin and Steinhardt found elsewhere: {numbers}", 0
    if found.low > 0 and falls(induction):
        return f"Induction heads are needed more here, other than Yin and Steinhardt found elsewhere: {numbers}", 1
    return f"These questions do not tell that either sort is needed more than other heads: {numbers}", 2


def _told(row: pd.Series) -> bool:
    """Whether a part's interval leaves 0 out and, of one task, its paired test agrees."""
    return bool((row["low"] > 0 or row["high"] < 0) and not row["p"] >= SIGNIFICANT)


def recognised(parts: pd.DataFrame, called: str, off: str = "") -> str:
    """What of the demonstrations a model uses, in a `parts_table`: that they show a task, or which answers they give.

    Claims a part only where its paired interval, and of one task the paired test, tells it from 0; and that a mask
    takes of it only where the interval and the test of the drop do.

    Args:
        called: the task, or the mean of which tasks.
        off: what is off in the ablated model, where there is one.
    """
    intact = parts[parts["model"] == "intact"].set_index("part")
    said = []
    for part, behind in ((tables.RECOGNITION, "demonstrations with shuffled labels"),
                         (tables.LEARNING, "true labels in their place")):
        row = intact.loc[part]
        does = ("gains from" if row["effect"] > 0 else "loses by") if _told(row) else "is not told to gain from"
        said.append(f"{does} {behind} ({points(row['effect'])}, {span(row['low'], row['high'], 'points')})")
    text = f"{called} {said[0]}; it {said[1]}"
    if not off:
        return text
    taken = parts[parts["model"] == "ablated"].set_index("part")
    found = [f"{points(row['drop'])[1:]} of {part} ({span(row['drop from'], row['drop to'], 'points')})"
             for part, row in taken.iterrows() if row["drop from"] > 0 and row["drop p"] < SIGNIFICANT]
    return f"{text}. Without {off} " + (f"it loses {' and '.join(found)}" if found else "neither is told to fall")


def part_needs(table: pd.DataFrame, part: str, called: str, what: str = "head") -> str:
    """Without which head a part falls most, in a `parts_heads_table`, where that is told at all.

    Args:
        called: the task, or the mean of which tasks.
        what: what the heads are called, one of them.
    """
    heads = table[table["part"] == part]
    told = heads[(heads["drop"] > 0) & (heads["p (Holm)"] < SIGNIFICANT)]
    if told.empty:
        return f"Of no {what} is it told that {part} on {called} falls without it"
    top = told.loc[told["drop"].idxmax()]
    others = len(told) - 1
    return (f"Without {top['name']} {part} on {called} falls by {points(top['drop'])[1:]} ("
            f"{span(top['95 % from'], top['to'], 'points')})" + (
                f"; it falls without {how_many(others, f'further {what}')}, too" if others else ""))


def adds_most(table: pd.DataFrame, called: str, off: str = "") -> str:
    """What the demonstrations add to the right answer's log-likelihood, by their place, in an `influence_table`.

    Args:
        called: the task.
        off: what is off in the ablated model, where there is one.
    """
    nothing = "of no demonstration is it told that it changes the right answer's log-likelihood"

    def of(model: str) -> str:
        rows = table[table["model"] == model]
        told = rows[rows["p (Holm)"] < SIGNIFICANT]
        if told.empty:
            return nothing
        top = told.loc[told["influence"].abs().idxmax()]
        verb = "adds" if top["influence"] > 0 else "takes"
        others = [(int((sign * told["influence"] > 0).sum()) - int(sign * top["influence"] > 0), does)
                  for sign, does in ((1, "add"), (-1, "take"))]
        more = [f"{how_many(n, 'other')} {does}{'s' if n == 1 else ''}" for n, does in others if n]
        return (f"demonstration {top['demonstration']} {verb} {nats(abs(top['influence']))[1:]} ("
                f"{span(top['low'], top['high'], 'nats')})" + (f"; {' and '.join(more)}" if more else ""))

    text = f"On {called} {(intact := of('intact'))}"
    if not off:
        return text
    ablated = of("ablated")
    return f"{text}, with {off} off no more than without" if intact == ablated == nothing else \
        f"{text}. Without {off} {ablated}"


LEAST = 0.01  # nats: of an influence on one prompt that is below, none is named


def adds_here(table: pd.DataFrame) -> str:
    """Which demonstration of one prompt adds most to the right answer, in a `prompt_influence_table`."""
    rows = table[table["model"] == "intact"]
    top, n_up = rows.loc[rows["influence"].idxmax()], int((rows["influence"] > 0).sum())
    if top["influence"] < LEAST:
        return f"No demonstration makes the right answer likelier by {nats(LEAST)[1:]} or more here"
    text = f"Demonstration {top['place']} makes the right answer likelier by {nats(top['influence'])[1:]}"
    return text + (f", the most of {n_up} of {len(rows)} that do" if n_up > 1 else f", alone of {len(rows)}")


def orders_apart(areas: pd.DataFrame, tests: pd.DataFrame, where: str) -> str:
    """Which fitted orders of heads keep more, or less, than one-shot importance over all shares, and at how many.

    Claims it of an order only where the interval of the difference, which knows how many orders were tried, says so.

    Args:
        areas, tests: an `areas_table` and an `equal_heads_table`.
        where: the task, or the mean of which tasks.
    """
    own = float(areas.loc[areas["order"] == OWN, "CPR"].iloc[0])
    if np.isnan(own):
        return f"All heads do no better than none on {where}: there is nothing that an order of heads could keep"
    fitted = areas[areas["order"].isin(FITTED)]
    told = [(row, "more" if row["more from"] > 0 else "less") for _, row in fitted.iterrows()
            if row["more from"] > 0 or row["more to"] < 0]
    differ = int((tests["p (Holm)"] < SIGNIFICANT).sum())
    at = (f"with equally many heads off, {differ} of {how_many(len(tests), 'comparison')} "
          f"{'differs' if differ == 1 else 'differ'}")
    if not told:
        return (f"On {where} these questions do not tell that a fitted order keeps more or less than one-shot "
                f"importance over all shares (CPR {own:.2f}); {at}")
    parts = [f"the {row['order']} keeps {which} (CPR {row['CPR']:.2f})" for row, which in told]
    return f"Over all shares on {where}, where one-shot importance has CPR {own:.2f}, {', '.join(parts)}; {at}"


def gates_say(table: pd.DataFrame, where: str) -> str:
    """How many heads learned gates call facilitating and interfering, in a `gates_table`: of one fit to each task."""
    n_tasks, n = int(table["tasks"].iloc[0]), len(table)
    if n_tasks == 1:
        open_, closed = int(table[FACILITATES].sum()), int(table[INTERFERES].sum())
        return (f"For {where}, gates of {open_} of {how_many(n, 'head')} stay open where an open one costs {PRICE:g} "
                f"nats, of {closed} close where it earns them; the rest goes either way")
    often = int((table[FACILITATES] > n_tasks / 2).sum())
    ever, never = int((table[INTERFERES] > 0).sum()), int((table[FACILITATES] == 0).sum())
    return (f"{often} of {how_many(n, 'head')} facilitate in more than half of the {n_tasks} tasks, {never} in none; "
            f"{ever} interfere in some")


def control(there: Sequence[Head], controlled: Sequence[Head], k: int, seed: int) -> tuple[Head, ...]:
    """k random heads to hold others against: from layer 1 on, none of those that they control for.

    Args:
        there: the heads to draw from: live ones, where these are known.
        controlled: the heads that are held against them, which are never drawn.
    """
    kept = set(controlled)
    pool = [head for head in there if head.layer > 0 and head not in kept]
    return tuple(pool[i] for i in np.random.default_rng(seed).permutation(len(pool))[:k])


def of_head(head: str, card: pd.DataFrame, dead: bool) -> str:
    """What a head is known for: where it ranks highest.

    Args:
        card: a `head_table`.
        dead: whether it is known to do nothing.
    """
    if dead:
        return f"{head} is dead: it writes next to nothing, and is ranked nowhere"
    ranked = card.dropna(subset=["rank"])
    if ranked.empty:
        return f"{head} is ranked by nothing that is stored"
    best = ranked.sort_values("rank", kind="stable").head(3)
    rows = best.to_dict("records")
    return f"{head} ranks {rows[0]['rank']:.0f} of {rows[0]['of']} by {rows[0]['score']}" + "".join(
        f", {row['rank']:.0f} by {row['score']}" for row in rows[1:])


def head_ranks(head: str, table: pd.DataFrame, n_shots: int) -> str:
    """In how many tasks a head is among the top tenth by importance, from a `head_importance_table`."""
    some = table[table["shots"] == n_shots].dropna(subset=["rank"])
    shots = f"at {n_shots} {'shot' if n_shots == 1 else 'shots'}"
    if some.empty:
        return f"How important {head} is {shots} is not known" if table["rank"].notna().any() else \
            f"{head} is dead, and has no rank by importance"
    top = np.ceil(some["of"] / 10)
    n, chance = int((some["rank"] <= top).sum()), float((top / some["of"]).sum())
    return (f"By importance {head} is among the top tenth of the heads in {n or 'none'} of "
            f"{how_many(len(some), 'task')} {shots}; a random head would be in {chance:.1f}")


def head_needed(head: str, table: pd.DataFrame) -> str:
    """In how many tasks accuracy falls without a head, told by a test, from a `head_off_table`."""
    tasks = how_many(len(table), "task")
    falls = table[(table["p (Holm)"] < SIGNIFICANT) & (table["change"] < 0)]
    if len(falls):
        worst = falls.loc[falls["change"].idxmin()]
        return (f"Without {head} accuracy falls in {len(falls)} of {tasks}, most in {worst['task']}: by "
                f"{points(abs(worst['change']))[1:]}")
    losses = table.dropna(subset=["loss"])
    rises = int((losses["loss from"] > 0).sum())
    return f"Without {head} no test tells that accuracy falls in any of {tasks}" + (
        f"; the loss rises, by its interval, in {rises or 'none'} of {len(losses)}" if len(losses) else "")


def head_carries(head: str, table: pd.DataFrame) -> str:
    """In how many tasks a head brings back some of the right answer, told by a test, from a `head_effects_table`."""
    tasks = how_many(len(table), "task")
    found = table[is_told(table)]
    if found.empty:
        return f"Put back at the last token, {head} brings back nothing that a test tells, in any of {tasks}"
    best = found.loc[found["effect"].idxmax()]
    return (f"Put back at the last token, {head} brings back some of the right answer's probability in {len(found)} of "
            f"{tasks}, most in {best['task']}: {percent(best['effect'])} of the "
            f"{percent(best['lost by shuffling'])} that shuffled labels take")


def tells(row: pd.Series, n: int, called: str, of: str) -> str:
    """Whether a score ranks heads by what their removal costs, from a row of a `tells_table`.

    Args:
        n: how many heads are ranked; called: what they are called; of: the task, or the mean of which tasks.
    """
    costly, found = f"{row['score']} score", []
    for share in tables.TOPS:
        k = max(1, stats.count(share, n))
        here, chance = (row[f"{name} {share:.0%}"] * k for name in ("top", "chance"))
        found.append(f"{here:.2g} of the {k} that cost most ({chance:.1f} by chance)")
    numbers = f"{rho(row['ρ'])}" + ("" if np.isnan(row["95 % from"]) else
                                    f" (95\u00a0%: {_signed(row['95 % from'])} to {_signed(row['to'])})")
    front = f"in front it has {', and '.join(found)}"
    costs = f"by what their removal costs in {row['measured in']} for {of}"
    if np.isnan(row["ρ"]):
        return f"No removal of a head changes the {row['measured in']} for {of}, or all scores are equal"
    if row["95 % from"] > 0:
        return f"The {costly} ranks {n} {called} {costs}, at {numbers}; {front}"
    if row["to"] < 0:
        return f"The {costly} ranks {n} {called} the other way round than {costs}, at {numbers}; {front}"
    return f"It is not told that the {costly} ranks {n} {called} {costs}: {numbers}; {front}"


TRUE_RANK = ("the very first", "among the costliest tenth", "further down")


def first_by_score(table: pd.DataFrame, of: str) -> tuple[str, int]:
    """Where the head with the highest score stands by what its removal costs, and the right answer, a place in
    `TRUE_RANK`.

    Args:
        table: a `calibration_table` with losses; of: the task, or the mean of which tasks.
    """
    top = table.loc[table["score rank"].idxmin()]
    rank, n = int(np.ceil(top["loss rank"])), len(table)
    text = (f"{top['name']}, the first of {how_many(n, 'head')} by its score for {of}, has rank {rank} by what its "
            f"removal costs: {nats(top['loss added'])} of loss ({span(top['loss from'], top['loss to'], 'nats')})")
    if top["loss from"] <= 0 <= top["loss to"]:
        text += ", which these questions do not tell from nothing"
    return text, 0 if rank == 1 else 1 if rank <= max(1, stats.count(0.1, n)) else 2


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def unseen(table: pd.DataFrame, n: int) -> str:
    """What accuracy sees of single heads, and what loss does, in a `calibration_table` of n questions."""
    turning, of = int((table["turned"] > 0).sum()), how_many(len(table), "head")
    text = f"off alone, {turning or 'none'} of {of} {'turns' if turning < 2 else 'turn'} the answer to any of {n:,} " \
        "questions"
    if "loss from" not in table:
        return text[0].upper() + text[1:]
    moving = int(((table["loss from"] > 0) | (table["loss to"] < 0)).sum())
    text += f", and {moving or 'none'} {'changes' if moving < 2 else 'change'} the loss beyond its interval"
    return f"Accuracy cannot see most of it: {text}" if 2 * turning <= moving and moving else text[0].upper() + text[1:]


COSTS = {"loss": "rise of the loss", "accuracy": "fall of accuracy"}


def misses(table: pd.DataFrame, measure: str) -> str:
    """The heads that a score misses most and those that it overrates most, in a `missed_table`."""
    def named(which: str) -> str:
        rows = table[table["which"] == which].head(3)
        return ", ".join(f"{row['head']} (rank {row['cost rank']:.3g} by cost, {row['score rank']:.3g} by the score)"
                         for _, row in rows.iterrows())

    parts = [f"{said}: {those}" for said, those in (
        (f"missed most, though they are told to cost {measure}", named("missed")),
        (f"overrated most, though of them no {COSTS[measure]} is told", named("overrated"))) if those]
    told = "; ".join(parts) or "No head that is told to cost something ranks lower by the score than by its cost"
    return told[0].upper() + told[1:]


def best_score(table: pd.DataFrame, place: str, measure: str, against: str) -> pd.Series | None:
    """The score of a `tells_table` that is told to rank heads better than one, the one furthest ahead; None: none is.

    Args:
        place, measure: of which removal, in which cost.
    """
    here = table[(table["in its place"] == place) & (table["measured in"] == measure)]
    better = here[(here["ahead from"] > 0) & (here["95 % from"] > 0) & (here["score"] != against)]
    return None if better.empty else better.loc[better["ahead"].idxmax()]


def tells_best(best: pd.Series | None, against: str, place: str, measure: str, of: str) -> str:
    """Whether a score tells costs better than the one that is shown elsewhere; see `best_score`."""
    where = f"{measure} for {of}, with {place} in the head's place"
    if best is None:
        return f"No stored score is told to rank heads better than {against} does, by {where}"
    return (f"The {best['score']} score ranks heads better than {against}, by {where}: {rho(best['ρ'])}, ahead by "
            f"{best['ahead']:.2f} (95\u00a0%: {_signed(best['ahead from'])} to {_signed(best['ahead to'])})")
