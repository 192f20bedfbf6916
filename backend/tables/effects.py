"""What does each FFN's removal do, and that of all heads of a layer?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from backend import stats
from backend.kinds import Answers, Sweep
from backend.stats import Marks
from backend.tables.importance import FFN
from backend.values import INTACT, Ablation


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


def all_effects_table(oracles: Mapping[str, Sweep], chosen: Ablation = INTACT) -> pd.DataFrame:
    """The `effects_table` of every task, below one another."""
    return pd.concat([effects_table(oracle, chosen, task) for task, oracle in oracles.items()], ignore_index=True)


def mean_effects_table(oracles: Mapping[str, Sweep], chosen: Ablation = INTACT) -> pd.DataFrame:
    """The unweighted mean over tasks of each FFN's effect, with an interval that draws questions within tasks."""
    table = _mean_effects([oracle.marks() for oracle in oracles.values()])
    return table.assign(name=[f"L{layer} FFN" for layer in table["layer"]],
                        off=[layer in chosen.ffns for layer in table["layer"]])


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
