"""Which heads carry what demonstrations ask for, and are they the induction heads, or the important ones?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Bool, Real
from ..kinds import Effects, InductionScores, Sweep
from ..kinds.knock_out import INDUCTION as BY_INDUCTION
from ..kinds.knock_out import INDUCTION_ALONE, VECTORS, VECTORS_ALONE
from ..stats import Marks
from ..values import INTACT, Ablation, Head, parse_exact
from .importance import grid_table
from .pruning import points_of

VECTOR, INDUCTION, IMPORTANT = SETS = ("function vector", "induction", "important")
SCORE = {VECTOR: "effect", INDUCTION: "prefix matching", IMPORTANT: "importance"}  # the column that ranks each set

OTHERS = "random others"
KNOCKED = {VECTORS: "function-vector heads", BY_INDUCTION: "induction heads",
           VECTORS_ALONE: "function-vector, no induction", INDUCTION_ALONE: "induction, no function-vector"}


def vectors_table(
    records: Sequence[Effects], prefix_matching: InductionScores, importance: Real[np.ndarray, "n_layers n_heads"],
    chosen: Ablation = INTACT, heads: Bool[np.ndarray, "n_layers n_heads"] | None = None,
) -> pd.DataFrame:
    """One row per head: its effect as a function vector with interval and p, both other scores, and its ranks.

    The effect is the mean over tasks of the average indirect effect; p (Holm) knows how many heads were tried.

    Args:
        records: one per task.
        importance: (n_layers, n_heads).
        heads: those that have rows, and are ranked; None: all.
    """
    which = np.ones(importance.shape, bool) if heads is None else heads
    found = stats.mean_effects([(np.asarray(record.effects)[:, which], record.draws) for record in records])
    table = grid_table(importance, chosen).drop(columns=["rank", "importance"])[which.ravel()].reset_index(drop=True)
    table = table.assign(**{
        "effect": found.mean, "95 % from": found.low, "to": found.high, "p (Holm)": stats.holm(found.p.tolist()),
        "prefix matching": np.asarray(prefix_matching.mean)[which], "importance": importance[which]})
    for score in SCORE.values():
        table[f"{score} rank"] = stats.places(table[score].to_numpy())
    return table


def top_sets(table: pd.DataFrame, k: int) -> dict[str, frozenset[Head]]:
    """The top k heads of a `vectors_table` by each of its three scores."""
    return {name: frozenset(Head(int(row.layer), int(row.head)) for row in table[
        table[f"{score} rank"] <= k].itertuples()) for name, score in SCORE.items()}


def sets_table(table: pd.DataFrame, k: int) -> pd.DataFrame:
    """What the top k of two of a `vectors_table`'s scores have in common: a row per pair, with what chance gives."""
    tops = top_sets(table, k)
    rows = []
    for a, b in combinations(SETS, 2):
        test = stats.overlap_test(tops[a], tops[b], len(table))
        rows.append({"sets": f"{a} and {b}", "in common": test.common, "of": k, "by chance": test.expected,
                     "95 % from": test.low, "to": test.high, "p": test.p})
    return pd.DataFrame(rows)


def regions_table(table: pd.DataFrame, k: int) -> pd.DataFrame:
    """How many heads are in each part of the three sets' picture, and which: a row per part, seven of them."""
    tops = top_sets(table, k)
    rows = []
    for inside in list(product((True, False), repeat=3))[:-1]:
        names = [name for name, there in zip(SETS, inside, strict=True) if there]
        those = frozenset.intersection(*(tops[name] for name in names)) - frozenset().union(
            *(tops[name] for name in SETS if name not in names))
        rows.append({"part": " and ".join(names) + " alone" * (len(names) < 3),
                     **dict(zip(SETS, inside, strict=True)), "heads": len(those),
                     "which": ", ".join(map(str, sorted(those)))})
    return pd.DataFrame(rows)


def set_heads_table(table: pd.DataFrame, k: int) -> pd.DataFrame:
    """The heads of a `vectors_table` that are in the top k by any of its scores: scores, ranks and sets, best first."""
    ranks = [f"{score} rank" for score in SCORE.values()]
    shown = table[(table[ranks] <= k).any(axis=1)].sort_values(ranks, kind="stable")
    names = [", ".join(name for name, score in SCORE.items() if row[f"{score} rank"] <= k)
             for _, row in shown.iterrows()]
    columns = {"name": "head", "effect": "effect", "95 % from": "95 % from", "to": "to", "effect rank": "effect rank"}
    columns |= {c: c for score in ("prefix matching", "importance") for c in (score, f"{score} rank")}
    return shown.drop(columns=["head"]).rename(columns=columns).assign(top=names, chosen=shown["off"])[
        [*columns.values(), "top", "chosen"]].reset_index(drop=True)


def heads_of(table: pd.DataFrame, k: int, of: str, without: Collection[str] = ()) -> frozenset[Head]:
    """The top k by one score that are not in the top k by others: `heads_of(table, 8, VECTOR, [INDUCTION])`."""
    tops = top_sets(table, k)
    return tops[of] - frozenset().union(*(tops[name] for name in without))


def knock_out_table(found: Mapping[str, Sequence[Sweep]]) -> pd.DataFrame:
    """Accuracy as heads of each sort are off: a row per sort and point; random sorts become one, lowest to highest.

    Args:
        found: per sort one sweep per task, the same tasks for each.
    """
    rows: list[dict[str, Any]] = []
    random: list[dict[str, Any]] = []
    for sort, sweeps in found.items():
        for (share, _), marks, masks in points_of(sweeps):
            low, high = stats.mean_accuracy_interval(marks)
            row = {"off": KNOCKED.get(sort, OTHERS), "share": share,
                   "heads": float(np.mean([len(parse_exact(mask).heads) for mask in masks])),
                   "accuracy": float(np.mean([one.right.mean() for one in marks])), "low": low, "high": high,
                   "chance": float(np.mean([sweep.questions.chance for sweep in sweeps])),
                   "n": sum(len(one.right) for one in marks)}
            (rows if sort in KNOCKED else random).append(row)
    shares = list(dict.fromkeys(row["share"] for row in random))
    for share in shares:
        here = [row for row in random if row["share"] == share]
        reached = [row["accuracy"] for row in here]
        rows.append(here[0] | {"accuracy": float(np.mean(reached)), "low": min(reached), "high": max(reached)})
    return pd.DataFrame(rows)


def knock_out_pairs(found: Mapping[str, Sequence[Sweep]], share: float) -> list[tuple[Marks, Marks]]:
    """Per task the outcomes without induction heads that are no function-vector heads, and the reverse, at a share."""
    def at(sort: str) -> list[Marks]:
        return next(marks for (one, _), marks, _ in points_of(found[sort]) if abs(one - share) < 1e-9)

    return list(zip(at(INDUCTION_ALONE), at(VECTORS_ALONE), strict=True))
