"""What does each FFN's removal do, and that of all heads of a layer?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Bool, Real
from ..kinds import Answers, Sweep
from ..stats import Marks
from ..values import INTACT, Ablation, parse_exact
from .importance import FFN


def effects_table(oracle: Sweep, chosen: Ablation = INTACT, task: str = "") -> pd.DataFrame:
    """What each FFN's removal does to a task's accuracy: a row per layer, from an `ffn_oracle`.

    `change` is acc(off) - acc(intact) with its `stats.difference_interval`, `p` is of the `stats.paired_test`,
    `p (Holm)` the same for having looked at every layer.
    """
    intact, *others = oracle.marks()
    rows: list[dict[str, Any]] = []
    for layer, off in enumerate(others):
        low, high = stats.difference_interval(intact, off)
        test = stats.paired_test(intact, off)
        rows.append({"task": task, "layer": layer, "head": FFN, "name": f"L{layer} FFN",
                     "change": float(off.right.mean() - intact.right.mean()), "low": low, "high": high, "p": test.p,
                     "newly wrong": test.only_a, "newly right": test.only_b, "intact": float(intact.right.mean()),
                     "accuracy": float(off.right.mean()), "n": len(off.right), "chance": oracle.questions.chance,
                     "off": layer in chosen.ffns})
    table = pd.DataFrame(rows)
    table["p (Holm)"] = stats.holm(table["p"].to_numpy())
    return table


def need_table(
    scores: Real[np.ndarray, "n_layers n_heads"], oracle: Sweep,
    heads: Bool[np.ndarray, "n_layers n_heads"] | None = None,
) -> pd.DataFrame:
    """How important heads are by gradient, and what each one's removal costs: a row per head, the most important first.

    `change` is acc(off) - acc(intact) with its `stats.difference_interval`, `p (Holm)` that of the `stats.paired_test`
    for having looked at every head of the table.

    Args:
        scores: importance.
        oracle: a `head_oracle` of the same model.
        heads: those that have rows; None: all.
    """
    (intact, *others), n_heads = oracle.marks(), scores.shape[1]
    places = [min(parse_exact(text).heads) for text in oracle.ablations[1:]]
    rows: list[dict[str, Any]] = []
    told: dict[bytes, dict[str, float]] = {}  # by outcomes: of thousands of heads many turn the same few questions
    for head, off in zip(places, others, strict=True):
        if heads is None or heads[head.layer, head.head]:
            if (outcomes := off.right.tobytes()) not in told:
                low, high = stats.difference_interval(intact, off)
                told[outcomes] = {"change": float(off.right.mean() - intact.right.mean()), "low": low, "high": high,
                                  "p": stats.paired_test(intact, off).p}
            rows.append({"head": str(head), "importance": float(scores[head.layer, head.head]), **told[outcomes],
                         "place": head.layer * n_heads + head.head})
    table = pd.DataFrame(rows).sort_values(["importance", "place"], ascending=False, kind="stable", ignore_index=True)
    return table.drop(columns=["place"]).assign(**{
        "p (Holm)": stats.holm(table["p"].to_numpy()), "importance rank": np.arange(1, len(table) + 1),
        "n": len(intact.right)})


def all_effects_table(oracles: Mapping[str, Sweep], chosen: Ablation = INTACT) -> pd.DataFrame:
    """The `effects_table` of every task, below one another."""
    return pd.concat([effects_table(oracle, chosen, task) for task, oracle in oracles.items()], ignore_index=True)


def mean_effects_table(oracles: Mapping[str, Sweep], chosen: Ablation = INTACT) -> pd.DataFrame:
    """The unweighted mean over tasks of each FFN's effect, with an interval that draws questions within tasks."""
    table = _mean_effects([oracle.marks() for oracle in oracles.values()])
    return table.assign(name=[f"L{layer} FFN" for layer in table["layer"]],
                        off=[layer in chosen.ffns for layer in table["layer"]])


def runner_up(oracles: Sequence[Sweep], first: int) -> tuple[int, stats.Interval]:
    """Which other component costs most on average over tasks, and the interval of how much more the first one costs.

    The interval is of the mean over tasks of the difference on the same questions. With no other component: NaN.

    Args:
        oracles: one per task; first: the place of a component in them, from 0.
    """
    marks = [oracle.marks() for oracle in oracles]
    left = np.mean([[off.right.mean() for off in of_task[1:]] for of_task in marks], 0)
    left[first] = np.inf
    second = int(left.argmin())
    if second == first:
        return second, stats.Interval(np.nan, np.nan)
    return second, stats.mean_difference_interval([(m[1 + first], m[1 + second]) for m in marks])


def attention_effects_table(evaluations: Mapping[str, Sequence[Answers]],
                            headless: Collection[int] = ()) -> pd.DataFrame:
    """The same for all heads of a layer together: per task the intact evaluation, then one per layer.

    Args:
        headless: layers without attention heads, which have no rows.
    """
    table = _mean_effects([[e.marks() for e in of_task] for of_task in evaluations.values()])
    table = table.assign(name=[f"all heads of layer {layer}" for layer in table["layer"]], off=False)
    return table[~table["layer"].isin(headless)]


def _mean_effects(marks: Sequence[Sequence[Marks]]) -> pd.DataFrame:
    """From each task's 1 + n_layers marks, the intact model's first."""
    rows: list[dict[str, Any]] = []
    for layer in range(len(marks[0]) - 1):
        pairs = [(m[0], m[1 + layer]) for m in marks]
        low, high = stats.mean_difference_interval(pairs)
        rows.append({"layer": layer, "head": FFN,
                     "change": float(np.mean([b.right.mean() - a.right.mean() for a, b in pairs])), "low": low,
                     "high": high, "n": sum(len(a.right) for a, _ in pairs), "tasks": len(pairs)})
    return pd.DataFrame(rows)


def leaning_table(effects: pd.DataFrame) -> pd.DataFrame:
    """In which layer each task loses most, from the effects tables of several: task, layer, name, change.

    A task that loses nothing without any FFN leans on none, and has no row.
    """
    falls = effects.loc[effects.groupby("task", sort=False)["change"].idxmin()]
    return falls[falls["change"] < 0][["task", "layer", "name", "change"]].reset_index(drop=True)


def beside_table(ffns: pd.DataFrame, heads: pd.DataFrame) -> pd.DataFrame:
    """FFNs and heads of each layer in one row: an effects table beside another one, or beside `layer_shares`."""
    return ffns.drop(columns=["head"]).merge(heads, on="layer", suffixes=(" (FFN)", " (heads)"))
