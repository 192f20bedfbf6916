"""Numbers and findings as sentences. Pure: numbers and tables in, text out.

A sentence claims only what its numbers hold: where nothing falls, no layer is said to matter; where rankings have
little in common, they are not called alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from backend import stats
from backend.kinds import InductionScores
from backend.store.nearby import Asking
from backend.tables import AGGREGATE, DIFFERENCE, GATES, GREEDY, ITERATIVE, OWN, RANDOM, REVERSED
from backend.values import Ablation, Head, Setup

if TYPE_CHECKING:
    from backend.lens.reading import Reading

SIGNIFICANT = 0.05  # a p-value below this is called a difference
LITTLE = 0.2  # a rank correlation nearer to 0 than this is called none


def percent(share: float) -> str:
    """A share as people read it: `87 %`, `87.5 %`."""
    return f"{100 * share:.1f}".rstrip("0").rstrip(".") + "\u00a0%"


def interval(row: dict[str, Any]) -> str:
    """An `accuracy_row`'s uncertainty as a caption: `95 %: 79–92.2 %`."""
    return f"95 %: {percent(row['low']).removesuffix(chr(160) + '%')}–{percent(row['high'])}"


def changed(before: float, after: float) -> str:
    """What became of an accuracy: `stays at 90 %`, `goes from 90 % to 40 %`."""
    a, b = percent(before), percent(after)
    return f"stays at {a}" if a == b else f"goes from {a} to {b}"


def points(difference: float) -> str:
    """A difference of accuracies: `−12 points`, `+1 point`."""
    value = round(100 * difference, 1)
    text = f"{abs(value):.1f}".rstrip("0").rstrip(".")
    return f"{'−' if value < 0 else '+' if value > 0 else ''}{text}\u00a0point{'' if text == '1' else 's'}"


def nats(difference: float) -> str:
    """A difference of log-likelihoods: `−0.12 nats`, `+1.50 nats`; small ones `+0.012 nats`."""
    digits = 2 if abs(difference) >= 0.1 else 3
    return f"{'−' if round(difference, digits) < 0 else '+'}{abs(difference):.{digits}f}\u00a0nats"


def p_value(p: float) -> str:
    """`p = 0.03`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.1 else f"p = {p:.2f}"


def demonstrations(setup: Setup, some: bool = False) -> str:
    """How a setup draws its demonstrations: `10 draws of demonstrations`.

    Args:
        some: whether it stands for setups with demonstrations, though it may have none itself.
    """
    if not (setup.n_shots or some):
        return "no demonstrations"
    if setup.demos != "fixed":
        return "fresh demonstrations for every question"
    return f"{setup.draws} draws of demonstrations" if setup.draws > 1 else "one draw of demonstrations"


def asked(how: Asking, now: Asking) -> str:
    """In what one way of asking differs from another: "40 training examples", "one draw, seed 3"."""
    parts = ["fixed demonstrations" if how.demos == "fixed" else "fresh demonstrations for every question"
             ] * (how.demos != now.demos)
    parts += [f"{how.draws} draws" if how.draws > 1 else "one draw"] * (how.demos == "fixed" and how.draws != now.draws)
    parts += [how_many(how.n, "question")] * (how.n != now.n)
    parts += [f"seed {how.seed}"] * (how.seed != now.seed)
    parts += [how_many(how.n_train, "training example")] * (how.n_train != now.n_train)
    return ", ".join(parts)


def how_certain(setup: Setup) -> str:
    """What intervals of accuracies are over, for people who want to know."""
    if setup.draws > 1:
        return (f"95 % intervals over questions and {setup.draws} draws of demonstrations: Wilson's, of as many "
                "questions as they are worth (Korn and Graubard 1998)")
    return "95 % Wilson intervals" + (
        " over questions: of one draw of demonstrations, they say nothing of other draws"
        if setup.n_shots and setup.demos == "fixed" else "")


def how_tested(setup: Setup, what: str = "Intact against switched off") -> str:
    """How two masks are told apart."""
    if setup.draws > 1:
        return (f"{what}: the same questions behind the same demonstrations; p is the larger one of McNemar's exact "
                "test and a t test over the draws, the change's 95 % interval the wider one of a paired bootstrap over "
                "questions and a t interval over the draws")
    return (f"{what}: exact McNemar test on the same questions; the change's 95 % interval is a paired bootstrap")


def how_many(n: int, one: str, many: str = "") -> str:
    """`1 head`, `3 heads`, `no heads`."""
    return f"{n or 'no'} {one if n == 1 else many or one + 's'}"


def components(ablation: Ablation, limit: int = 6) -> str:
    """What is off, in words: `L3H7, L3H9 and the FFN of layer 2`; long lists as counts."""
    if not ablation:
        return "nothing"
    if len(ablation.heads) + len(ablation.ffns) > limit:
        parts = [how_many(len(those), what) for those, what in ((ablation.heads, "head"), (ablation.ffns, "FFN"))
                 if those]
    else:
        parts = [*map(str, sorted(ablation.heads)), *(f"L{layer} FFN" for layer in sorted(ablation.ffns))]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def names(heads: Iterable[Head]) -> str:
    """`L3H7, L3H9`, in the order given."""
    return ", ".join(str(head) for head in heads)


def tiny(values: Iterable[float]) -> bool:
    """Whether numbers are so small that people read them better as 2.5e-5."""
    return bool(0 < np.nanmax(np.abs([0.0, *values])) < 1e-3)


def rho(value: float) -> str:
    """A rank correlation in words: `ρ = 0.72`, `ρ = −0.09`; undefined where all values of one side are equal."""
    if np.isnan(value):
        return "ρ undefined, for all values are equal"
    return f"ρ\u00a0=\u00a0{value:.2f}".replace("-", "−")  # no line break within


def agreement(value: float, whose: str = "the") -> str:
    """How rankings of the heads go together: `rank the heads alike at ρ = 0.72`."""
    if np.isnan(value):
        return f"cannot be set against each other: {rho(value)}"
    how = "alike" if value >= LITTLE else "independently," if value > -LITTLE else "the other way round,"
    return f"rank {whose} heads {how} at {rho(value)}"


def holders(n: int, total: int, what: str = "head") -> str:
    """`1 head of 12 holds`, `3 heads of 12 hold`."""
    return f"{how_many(n, what)} of {total} {'holds' if n == 1 else 'hold'}"


def heads_over(n: int, dead: int | None) -> str:
    """Which heads a statistic is over: `24 live heads of 40`, `40 heads, dead or alive`.

    Args:
        dead: how many are left out; None where it is not measured which are dead.
    """
    if dead is None:
        return f"{how_many(n, 'head')}, dead or alive"
    return f"{how_many(n, 'live head')} of {n + dead}" if dead else how_many(n, "head")


def dead_heads(dead: Sequence[Head], n_heads: int, n_prompts: int, n_setups: int) -> str:
    """Which heads are dead and how that is known, in a sentence without its full stop."""
    over = f"over {n_prompts} training prompts" + (f" of {how_many(n_setups, 'setup')}" if n_setups > 1 else "")
    rule = "share of its layer's write to the residual stream below 1 % of the median head's"
    if not dead:
        return f"Dead: none of {n_heads} heads ({rule}, {over})"
    return f"Dead and left out: {components(Ablation(frozenset(dead)), 20)} of {n_heads} heads ({rule}, {over})"


def not_all_here(why: str) -> str:
    """That a step needs a model which is not here, before it is asked what it can tell."""
    return f"This step needs the model itself for some of what it tells. {why} What is stored is shown."


# --- a class's room -------------------------------------------------------------------------------


def no_room(code: str, ended: str = "") -> str:
    """That there is no room of a code, in `school`; see `Rooms.ended`."""
    if not code:
        return "Type the four letters first."
    if ended == "closed":
        return f"Room {code} has been closed."
    if ended == "over":
        return f"There is no room {code} any more: rooms live for two hours."
    return (f"There is no room '{code}'. The code has four letters and stands on the wall; rooms live for two hours, "
            "and end with the server.")


def have_guessed(kind: str, n: int, done: int, of: int) -> str:
    """How many have guessed: `2 of 5 have guessed.`; in a race `2 of 5 have begun, 1 is done.`"""
    have = f"{n} of {of} {'has' if n == of == 1 else 'have'}"
    return f"{have} guessed." if kind != "race" else \
        f"{have} begun, {done or 'none'} {'are' if done > 1 else 'is'} done."


def switches_left(n: int) -> str:
    """`9 switches left.`"""
    return f"{how_many(n, 'switch', 'switches').capitalize()} left."


def which_of(heads: Sequence[Head]) -> str:
    """`Which is missed most: L0H1, L2H0 or L4H4?`"""
    *first, last = map(str, heads)
    return f"Which is missed most: {', '.join(first)} or {last}?"


def find_the_heads(n: int, switches: int) -> str:
    """What a race asks for."""
    what = "head that is" if n == 1 else f"{n} heads that are"
    return f"Find the {what} missed most; you have {how_many(switches, 'switch', 'switches')}."


def some_layers(n: int, total: int) -> str:
    """`3 of 6 layers`, `none of 6 layers`."""
    return f"{n or 'none'} of {how_many(total, 'layer')}"


def tasks(names: Sequence[str]) -> str:
    """What accuracy is of: `piqa`, `the mean of 14 tasks`."""
    return names[0] if len(names) == 1 else f"the mean of {len(names)} tasks"


# --- importance and its overlap -------------------------------------------------------------------


def concentrated(scores: np.ndarray, of: str, heads: np.ndarray | None = None, even: np.ndarray | None = None,
                 what: str = "head") -> str:
    """How concentrated the importance is, and which head leads.

    Args:
        scores: (n_layers, n_heads).
        heads: which heads count, (n_layers, n_heads) of bool; all by default.
        even: the scores by one divisor for all layers, where `scores` are by the authors', under which a share of the
            whole means little; then both are given.
        what: what those heads are called, one of them.
    """
    both = [np.where(heads, one, 0) if heads is not None else one for one in (scores, even) if one is not None]
    n = scores.size if heads is None else int(heads.sum())
    if not both[0].any():
        return f"No {what} has any importance {of}"
    few, leads = [stats.concentration(one) for one in both], [stats.leader(one) for one in both]
    if len(set(few)) == len(set(leads)) == 1:
        either = ", by either divisor" if even is not None else ""
        return f"{holders(few[0], n, what)} half of the importance {of}{either}; {leads[0]} leads"
    leader = f"{leads[0]} leads by both" if leads[0] == leads[1] else f"{leads[0]} leads by that, {leads[1]} by this"
    return (f"Half of the importance {of} falls on {few[0]} of {how_many(n, what)} by the authors' divisor, which is "
            f"smaller for the last layer, and on {few[1]} by one divisor for all layers; {leader}")


def layer_holds(shares: pd.Series, even: pd.Series | None = None) -> str:
    """Which layer's heads hold most of the importance, from shares by layer.

    Args:
        even: the same by one divisor for all layers, where `shares` are by the authors'; then both are given.
    """
    top = shares.idxmax()
    if even is None:
        return f"Layer {top} holds {percent(float(shares[top]))}"
    best = even.idxmax()
    if best == top and percent(float(shares[top])) == percent(float(even[top])):
        return f"Layer {top} holds {percent(float(shares[top]))}, by either divisor"
    other = f"; by that, layer {best} has most, {percent(float(even[best]))}" if best != top else ""
    return (f"Layer {top} comes to {percent(float(shares[top]))} by the authors' divisor, which is smaller for the "
            f"last layer, and to {percent(float(even[top]))} by one divisor for all layers{other}")


def need_apart(table: pd.DataFrame, task: str) -> str:
    """Whether the head of highest importance is missed when it is off, and which is missed most.

    Args:
        table: a `need_table`, the most important head first.
    """
    first, worst = table.iloc[0], table.loc[table["change"].idxmin()]
    spared = not first["high"] < 0
    text = (f"{first['head']} has the highest importance, {'and yet' if spared else 'and'} without it accuracy on "
            f"{task} {_moves(first)}")
    if worst["change"] >= 0:
        return f"{text}; no head is missed when off alone. Gradient sensitivity is not need"
    if worst["head"] == first["head"]:
        return f"{text}: more than without any other" if not spared else f"{text}, like without any other head"
    tested = "" if worst["p (Holm)"] < SIGNIFICANT else \
        f", though a test corrected for trying all {len(table)} heads tells no difference"
    text += (f"; without {worst['head']}, of rank {worst['importance rank']:.0f}, it {_moves(worst)}{tested}")
    return f"{text}. Gradient sensitivity is not need" if spared and not tested else text


def _moves(row: pd.Series) -> str:
    """`falls by 12 points (95 %: −20 to −4)`, `does not change`."""
    low, high = (points(row[end]).split(chr(160))[0] for end in ("low", "high"))
    change = round(100 * row["change"], 1)
    if not change and low == high == "0":
        return "does not change"
    by = points(abs(row["change"]))[1:]
    verb = "stays the same" if not change else f"falls by {by}" if change < 0 else f"rises by {by}"
    return f"{verb} (95\u00a0%: {low} to {high})"


def sets_apart(delta: np.ndarray, here: str, other: str, correlation: float) -> str:
    """Which head two maps differ in most, and which of them leans on it more; `delta` is here minus other."""
    if not delta.any():
        return f"No head sets {here} and {other} apart ({rho(correlation)})"
    top = stats.leader(np.abs(delta))
    leans = here if delta[top.layer, top.head] > 0 else other
    return f"{top} sets them apart most: {leans} leans on it more ({rho(correlation)})"


def models_apart(delta: np.ndarray, here: str, other: str) -> str:
    """In which head two models of one shape differ most; `delta` is here minus other, NaN where there are no heads."""
    size = np.nan_to_num(np.abs(delta))
    if not size.any():
        return f"{here} and {other} have the same map"
    top = stats.leader(size)
    return f"{top} differs most: {here if delta[top.layer, top.head] > 0 else other} leans on it more"


def same_place(one_model: bool) -> str:
    """What a head's place means in two models: states of one, or models trained apart."""
    return ("They are states of one model: a place holds the same head in both." if one_model else
            "Heads at the same place of models that were trained apart need have nothing in common: low agreement by "
            "place does not say that the models work differently.")


def read_as(tokens: Mapping[str, float]) -> str:
    """How two models' tokenizers cut the same prompts, from the mean numbers of positions."""
    (a, n), (b, m) = tokens.items()
    if abs(n - m) < 0.05:
        return f"the same prompts as text, read as {n:.1f} positions on average by both"
    return (f"the same prompts as text, but read as {n:.1f} positions on average by {a} and {m:.1f} by {b}: tokenizers "
            "differ, and per-token means go over other positions")


def deepest(table: pd.DataFrame) -> str:
    """In which layer each model of a `depth_table` holds most importance."""
    parts = []
    for name, rows in table.groupby("model", sort=False):
        if rows["share"].isna().any():
            parts.append(f"no head of {name} has any importance")
            continue
        top = rows.loc[rows["share"].idxmax()]
        parts.append(f"{name} leans most on layer {top['layer']}, at {percent(top['depth'])} of its depth "
                     f"({percent(top['share'])} of the importance)")
    return "; ".join(parts)


def alike(who: str, rhos: np.ndarray, whose: str = "the") -> str:
    """How alike several rankings are, from the correlation of every pair: mean and range."""
    if np.isnan(rhos).all():
        return f"{who} {agreement(np.nan)}"
    return f"{who} {agreement(float(np.nanmean(rhos)), whose)} on average ({_range(rhos)})"


def tasks_alike(names: Sequence[str], rhos: np.ndarray, as_authors: bool = False) -> str:
    """How alike tasks rank their heads: mean, range and the most alike pair, from (n_tasks, n_tasks) correlations."""
    pairs = stats.off_diagonal(rhos)
    if as_authors and not np.isnan(pairs).all():
        return (f"As in the authors' code, index lists correlate at {rho(float(np.nanmean(pairs)))} on average "
                f"({_range(pairs)}), which is not how alike the rankings are")
    said = alike(f"{len(names)} tasks", pairs, "their")
    if np.isnan(pairs).all() or len(names) < 3:
        return said
    i, j = (int(k[np.nan_to_num(pairs, nan=-2).argmax()]) for k in np.triu_indices(len(names), 1))
    return f"{said}; {names[i]} and {names[j]} most"


def shots_alike(pairs: Sequence[str], rhos: np.ndarray, as_authors: bool = False) -> str:
    """How alike numbers of shots rank the heads, from (n_tasks, n_pairs) correlations."""
    known = ~np.isnan(rhos).all(0)
    means = {pair: float(np.nanmean(column)) for pair, column, yes in zip(pairs, rhos.T, known, strict=True) if yes}
    if not means:
        return f"Numbers of shots {agreement(np.nan)}"
    if as_authors:
        top = max(means, key=lambda pair: means[pair])
        return (f"As in the authors' code, index lists of {top} correlate at {rho(means[top])}, which is not how alike "
                "the rankings are")
    return "Averaged over tasks, " + ", ".join(f"{pair} agree at {rho(mean)}" for pair, mean in means.items())


def above_chance(curve: pd.DataFrame) -> str:
    """At which sizes of the top the mean of an `overlap_table` is above chance."""
    above = (curve["mean"] > curve["chance"]).to_numpy()
    shares = curve["share"].to_numpy()[above]
    if not len(shares):
        return "The overlap is above chance for no size of the top"
    first = int(above.argmax())
    together = above[first:first + len(shares)].all()
    where = f"{percent(shares[0])} to {percent(shares[-1])}" if together and len(shares) > 1 else \
        ", ".join(map(percent, shares))
    return f"The overlap is above chance for the top {where} of the heads"


def needed(counts: np.ndarray, n_tasks: int, share: int, n_heads: int, called: str = "heads") -> str:
    """Which head is in the top of most tasks, and how many are in all of them.

    Args:
        counts: (n_layers, n_heads), in how many tasks' top each head is; share: of that top, in percent.
        n_heads, called: how many heads the tops are of, and what these are called.
    """
    everywhere, most = int((counts == n_tasks).sum()), counts == counts.max()
    first = stats.leader(counts)
    who = f"{first} is" if most.sum() == 1 else f"{most.sum()} heads are each"
    return (f"{who} in the top {share} % of {counts.max()} of {n_tasks} tasks; "
            f"{everywhere} of {n_heads} {called} {'is' if everywhere == 1 else 'are'} in all of them")


# --- switched off --------------------------------------------------------------------------------


def accuracy_change(table: pd.DataFrame, labels: Sequence[str], off: Ablation, of_task: str = "") -> str:
    """What switching off did, over everything in a `comparison_table` that has both numbers.

    Args:
        labels: everything that is to be measured: tasks, or numbers of shots.
        of_task: the task, where the labels are its numbers of shots.
    """
    if not off:
        return "Nothing is switched off: this is the intact model"
    what = components(off)
    done = table[table["model"] == "ablated"]
    if len(done) < len(labels):
        return f"Without {what}: {len(done)} of {len(labels)} measured"
    if of_task:
        changes = [changed(*table[table["task"] == label]["accuracy"]) for label in labels]
        return f"Without {what}, accuracy on {of_task} " + ", ".join(
            f"{change} {label}" for change, label in zip(changes, labels, strict=True))
    means = table.groupby("model")["accuracy"].mean()
    where = f"on {labels[0]}" if len(labels) == 1 else f"averaged over {len(labels)} tasks"
    return f"Without {what}, accuracy {where} {changed(means['intact'], means['ablated'])}"


def big_numbers(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The large numbers of one task from a `comparison_table`: label, number, what stands below it."""
    rows = {str(row["model"]): row for row in table.to_dict("records")}
    shown = [("Intact", percent(rows["intact"]["accuracy"]), interval(rows["intact"]))]
    if (off := rows.get("ablated")) is None:
        return shown
    low, high = (points(off[end]).split()[0] for end in ("change from", "change to"))
    return [*shown, ("Switched off", percent(off["accuracy"]), interval(off)),
            ("Change", points(off["change"]), f"95 %: {low} to {high} · paired test {p_value(off['p'])}")]


def group_numbers(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The same of a `groups_table`: per group the intact and the ablated model's mean accuracy."""
    return [(f"{row['group']}, {row['model']}", percent(row["accuracy"]),
             f"{interval(row)}, mean of {how_many(row['tasks'], 'task')}") for row in table.to_dict("records")]


def grown(formed: int | None, learns: int | None, steps: Sequence[int]) -> str:
    """When induction heads formed in a training, when examples began to help, and whether these come together.

    Args:
        formed, learns: the first steps from which on they do; None: never.
        steps: of the checkpoints: what happens between two of them cannot be told apart.
    """
    if formed is None and learns is None:
        return "No head looks back in this training, and examples never help"
    if learns is None:
        return f"Heads look back from step {formed:,} on, and examples never help"
    if formed is None:
        return f"Examples help from step {learns:,} on, and no head looks back"
    if formed == learns:
        return f"Heads look back and examples help from the same checkpoint on, step {formed:,}"
    apart = abs(list(steps).index(formed) - list(steps).index(learns))
    both = (f"heads look back from step {formed:,} on", f"examples help from step {learns:,} on")
    first, then = both if formed < learns else both[::-1]
    return f"{first[0].upper()}{first[1:]}, {then}, {how_many(apart, 'checkpoint')} later"


def answers_turned(lost: int, won: int, where: str) -> str:
    """How many answers turned wrong, and how many right."""
    if not lost + won:
        return f"No answer on {where.rstrip(',')} turned from right to wrong or back"
    return f"{how_many(lost, 'question').capitalize()} of {where} turned wrong, {won or 'none'} turned right"


def masks_apart(a: Ablation, b: Ablation) -> str:
    """Which components are off in only one of two masks, and what both switch off."""
    if a == b:
        return f"A and B are the same mask: {components(a)} off."
    only = [(f"Off only in {name}", Ablation(one.heads - other.heads, one.ffns - other.ffns))
            for name, one, other in (("A", a, b), ("B", b, a))]
    both = Ablation(a.heads & b.heads, a.ffns & b.ffns)
    parts = [f"{what}: {components(those)}." for what, those in [*only, ("In both", both)] if those]
    if both and a.fill != b.fill:
        parts.append(f"What is off becomes {_fill(a)} in A, {_fill(b)} in B.")
    return " ".join(parts)


def _fill(mask: Ablation) -> str:
    return "its mean" if mask.fill == "mean" else "zero"


def masks_compared(table: pd.DataFrame, labels: Sequence[str], same: bool, of_task: str = "") -> str:
    """What sets two masks apart, over everything in a `masks_table`.

    Args:
        labels: everything that is to be measured: tasks, or numbers of shots.
        same: whether A and B are one mask.
        of_task: the task, where the labels are its numbers of shots.
    """
    if same:
        return "A and B are the same mask: change one to see what that does"
    done = table.dropna(subset=[DIFFERENCE])
    if len(done) < len(labels):
        return f"A against B: {len(done)} of {len(labels)} measured"
    if len(labels) == 1:
        row = table.iloc[0]
        return (f"Accuracy on {labels[0]} is {percent(row['A'])} with mask A and {percent(row['B'])} with mask B; "
                f"these questions {'tell' if row['p'] < SIGNIFICANT else 'do not tell'} A and B apart "
                f"({p_value(row['p'])})")
    apart = int((table["p (Holm)"] < SIGNIFICANT).sum())
    if of_task:
        return (f"On {of_task}, A − B is " + ", ".join(
            f"{points(row[DIFFERENCE])} {row['task']}" for row in table.to_dict("records"))
            + f"; the test tells A and B apart at {apart or 'none'} of {len(labels)} numbers of shots")
    return (f"Averaged over {len(labels)} tasks, accuracy is {percent(table['A'].mean())} with mask A and "
            f"{percent(table['B'].mean())} with mask B; the test tells A and B apart on {apart or 'none'} of "
            f"{len(labels)} tasks")


def answers_apart(only_b: int, only_a: int, where: str) -> str:
    """How many answers two masks differ in."""
    if not only_b + only_a:
        return f"With mask A and with mask B, the same questions of {where.rstrip(',')} are right"
    return (f"{how_many(only_b, 'question').capitalize()} of {where} {'is' if only_b == 1 else 'are'} right with "
            f"mask B and wrong with mask A, {only_a or 'none'} the other way round")


def falls_most(table: pd.DataFrame, where: str) -> str:
    """Which FFN's removal costs most, and in how many layers of an effects table it makes a clear difference."""
    worst = table.loc[table["change"].idxmin()]
    if worst["change"] >= 0:
        return f"No FFN's removal lowers accuracy {where}"
    clear = int(((table["low"] > 0) | (table["high"] < 0)).sum())
    low, high = (points(worst[end]).split(chr(160))[0] for end in ("low", "high"))
    return (f"Without the {worst['name']}, accuracy {where} falls by {points(-worst['change'])[1:]} (95\u00a0%: "
            f"{low} to {high}); the interval excludes 0 in {some_layers(clear, len(table))}")


def leaning(leans: pd.DataFrame, n_tasks: int) -> str:
    """On which layer most tasks lean, and the largest fall, from a `leaning_table`."""
    if not len(leans):
        return "No FFN's removal lowers any task's accuracy"
    layers = leans["layer"].value_counts()
    worst, n = leans.loc[leans["change"].idxmin()], int(layers.iloc[0])
    return (f"{how_many(n, 'task')} of {n_tasks} {'leans' if n == 1 else 'lean'} most on layer {layers.index[0]}; the "
            f"largest fall is {points(worst['change'])}, {worst['task']} without the {worst['name']}")


def matter_most(heads: pd.Series, ffns: pd.Series, where: str, even: pd.Series | None = None) -> str:
    """In which layers heads and FFNs matter most; by layer, larger = matters more, 0 or below = not missed.

    Layers without heads are compared in nothing.

    Args:
        even: the heads by one divisor for all layers, where `heads` are by the authors'; then both are given.
    """
    together = stats.spearman(heads.to_numpy(), ffns[heads.index].to_numpy())
    most = f"heads matter most in layer {heads.idxmax()}"
    if even is not None:
        most += " by either divisor" if even.idxmax() == heads.idxmax() else \
            f" by the authors' divisor and in layer {even.idxmax()} by one for all layers"
    parts = [most if heads.max() > 0 else "no layer's heads are missed",
             f"FFNs in layer {ffns.idxmax()}" if ffns.max() > 0 else "no FFN is missed"]
    return f"For {where}, {', '.join(parts)}" + (
        "" if np.isnan(together) else f" ({rho(together)} over {how_many(len(heads), 'layer')})")


# --- pruning --------------------------------------------------------------------------------------

_RANKINGS = {OWN: "its own ranking", AGGREGATE: "the aggregate ranking", REVERSED: "the reversed ranking",
             RANDOM: "a random order", ITERATIVE: "the iterative order", GREEDY: "the greedy order",
             GATES: "the order of learned gates"}


def can_go(limits: pd.DataFrame, what: str, share: float, where: str, intact: pd.Series) -> str:
    """How far pruning goes before accuracy breaks, by the first ranking of a `limits_table` and by chance.

    Nothing is claimed where the intact model is not told from chance: there is no accuracy that could break.

    Args:
        what: is removed, as its column is called.
        where: whose accuracy, see `tasks`.
        intact: the row of a `curves_table` with nothing removed.
    """
    if intact["low"] <= intact["chance"]:
        return (f"The intact model is not told from chance on {where} ({percent(intact['accuracy'])}, chance "
                f"{percent(intact['chance'])}): how many {what} can go says nothing")
    first = limits.iloc[0]
    sure = ""
    if not pd.isna(first.get("can go from", np.nan)):
        sure = f"({reach(first['can go from'], first['can go to'])}) "
    text = (f"By {_RANKINGS.get(first['ranking'], first['ranking'])}, {percent(first['can go'])} of the {what} {sure}"
            "can go ")
    below = f"below {percent(share)} of its intact accuracy"
    text += f"and {where} does not fall {below}: more was not tried" if pd.isna(first["broken at"]) else \
        f"before {where} falls {below}"
    random = limits[limits["ranking"] == RANDOM]
    if len(random) and first["ranking"] != RANDOM:
        text += f"; in random order {percent(random['can go'].iloc[0])}"
    return text


def reach(low: float, high: float) -> str:
    """The interval of how much can go: `95 %: 18.8 to 25 %`; `95 %: within this step` where no other point is in it."""
    a, b = percent(low), percent(high)
    return f"95\u00a0%: {a.removesuffix(chr(160) + '%')} to {b}" if a != b else "95\u00a0%: within this step"


def go_together(point: pd.Series, intact: float, where: str) -> str:
    """How many heads and FFNs can go together, from a point of a `curve_table`."""
    which = "live heads" if "live heads" in point else "heads"
    return (f"{percent(point[which])} of the {which} and {percent(point['FFNs'])} of the FFNs can go together, "
            f"{percent(point['parameters'])} of all parameters, with {where} still at {percent(point['accuracy'])} "
            f"(intact {percent(intact)})")


def point_labels(table: pd.DataFrame, what: str) -> dict[str, str]:
    """What the mask of each point of a `curve_table` is called, the last first."""
    return {str(row["mask"]): f"{row['ranking']}, {percent(row[what])} of the {what} removed: "
                              f"{percent(row['accuracy'])}"
            for row in table.to_dict("records")[::-1] if row["mask"]}


def transfers(table: pd.DataFrame, share: int, subject: str, column: str = "accuracy", of: str = "",
              called: str = "heads") -> str:
    """Own ranking against the others', on average of a column of a `transfer_table`, which is a share `of` something.

    Args:
        share: of the heads that are gone, in percent; called: what those heads are called.
    """
    own, others = table[table["task"] == table["ranking"]], table[table["task"] != table["ranking"]]
    parts = []
    if len(own):
        parts.append(f"{percent(own[column].mean())}{of} by {'its' if len(own) == 1 else 'their'} own ranking")
    if len(others):
        means = others.groupby("ranking")[column].mean()
        best = f"; {means.idxmax()}'s transfers best" if len(means) > 1 and not means.isna().all() else ""
        parts.append(f"{percent(others[column].mean())}{of if not parts else ''} on average by other tasks'{best}")
    return f"With {share} % of the {called} gone, {subject} " + " and ".join(parts)


# --- induction ------------------------------------------------------------------------------------


def leads_in(record: InductionScores, name: str, heads: np.ndarray | None = None, what: str = "head") -> str:
    """The leading head of a score with its interval, and how few heads hold half of it.

    Args:
        heads: which heads count, (n_layers, n_heads) of bool; all by default.
        what: what those heads are called, one of them.
    """
    mean, variance = np.array(record.mean), np.array(record.variance)
    n = mean.size if heads is None else int(heads.sum())
    mean = mean if heads is None else np.where(heads, mean, 0)
    if not mean.any():
        return f"No {what} scores in {name}"
    top = stats.leader(mean)
    low, high = stats.mean_interval(mean[top.layer, top.head], variance[top.layer, top.head], record.n_seeds)
    return (f"{top} leads in {name} with {mean[top.layer, top.head]:.2f} (95\u00a0%: {low:.2f} to {high:.2f}); "
            f"{holders(stats.concentration(mean), n, what)} half of it")


def keeps(table: pd.DataFrame, at: int, rankings: Sequence[str], name: str, called: str = "heads") -> str:
    """How much of a score a `capacity_table` keeps with `at` % of the heads gone, by some of its rankings."""
    here = table[np.isclose(table["removed"], at / 100)].set_index("ranking")["retained"]
    return (f"With {at} % of the {called} gone, {name} keeps "
            + ", ".join(f"{percent(here[one])} by {one}" for one in rankings) + f"; at random {100 - at} %")


# --- one prompt -----------------------------------------------------------------------------------


def comes_next(readings: Mapping[str, Reading], off: Ablation) -> str:
    """What comes next, and what would come next without what is off."""
    before = readings["intact"].next_tokens[0]
    told = f"‘{before.text}’ comes next with {percent(before.probability)}"
    if "ablated" not in readings:
        return told
    after = readings["ablated"].next_tokens[0]
    it_is = "" if after.token == before.token else f" it is ‘{after.text}’"
    return f"{told}; without {components(off)}{it_is} with {percent(after.probability)}"


def preferred(table: pd.DataFrame) -> str:
    """Which option of an `option_table` each model prefers, and by how much."""
    parts = []
    for model, rows in table.groupby("model", sort=False):
        best = rows.sort_values("loglikelihood", ascending=False, kind="stable")
        first, value = best["option"].iloc[0], best["loglikelihood"].iloc[0]
        verdict = (", rightly" if best["right"].iloc[0] else ", wrongly") if table["right"].any() else ""
        if len(best) == 1:
            parts.append(f"the {model} model has ‘{first}’ at {value:.2f} nats{verdict}")
        elif (lead := value - best["loglikelihood"].iloc[1]) == 0:
            parts.append(f"the {model} model puts ‘{first}’ and ‘{best['option'].iloc[1]}’ level")
        else:
            parts.append(f"the {model} model prefers ‘{first}’ by {lead:.2f} nats{verdict}")
    told = "; ".join(parts)
    return told[0].upper() + told[1:]


def looks_at(head: Head, pattern: np.ndarray, tokens: Sequence[str]) -> str:
    """Where a head looks most from the last token, from a (pos, pos) pattern."""
    last = pattern[-1]
    top = int(last.argmax())
    return (f"{head} looks from the last token at ‘{tokens[top]}’ (position {top}) with "
            f"{percent(float(last[top]))}")


def adds_most(ranked: pd.DataFrame, what: str, logit: float) -> str:
    """Which component adds to a logit most, or takes most away, from a contribution table with the largest first."""
    lead = ranked.iloc[0]
    return (f"{lead['name']} {'adds' if lead['contribution'] >= 0 else 'takes'} most: {lead['contribution']:+.2f} of "
            f"the {what}, {logit:+.2f}")


def _range(values: np.ndarray) -> str:
    return f"{np.nanmin(values):.2f} to {np.nanmax(values):.2f}"
