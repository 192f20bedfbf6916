"""How many heads and FFNs can go? Pruning curves, where they break, and other tasks' rankings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from backend import stats
from backend.kinds import Sweep
from backend.models.info import Weights
from backend.values import parse_exact

OWN, AGGREGATE, REVERSED, RANDOM = "own ranking", "aggregate ranking", "most important first", "random order"


def curve_table(sweeps: Sequence[Sweep], source: str, each: Weights, n_params: int) -> pd.DataFrame:
    """One curve or map, a row per point: the mean accuracy of the tasks' sweeps, its interval, what is removed there.

    Args:
        sweeps: one per task, pruned along the same kind of ranking. The mask is kept where there is only one.
        each: the parameters of one head and of one FFN.
    """
    marks = [sweep.marks() for sweep in sweeps]
    rows: list[dict[str, Any]] = []
    for i, (heads, ffns) in enumerate(sweeps[0].removed):
        here = [of_task[i] for of_task in marks]
        low, high = stats.mean_accuracy_interval(here)
        mask = parse_exact(sweeps[0].ablations[i])
        rows.append({"ranking": source, "heads": heads, "FFNs": ffns, "n heads": len(mask.heads),
                     "n FFNs": len(mask.ffns),
                     "parameters": (len(mask.heads) * each.head + len(mask.ffns) * each.ffn) / n_params,
                     "accuracy": float(np.mean([m.right.mean() for m in here])), "low": low, "high": high,
                     "chance": float(np.mean([sweep.questions.chance for sweep in sweeps])),
                     "n": sum(len(m.right) for m in here), "tasks": len(sweeps),
                     "mask": sweeps[0].ablations[i] if len(sweeps) == 1 else ""})
    return pd.DataFrame(rows)


def curves_table(found: Mapping[str, Sequence[Sequence[Sweep]]], each: Weights, n_params: int) -> pd.DataFrame:
    """One curve per kind of ranking, below one another; `RANDOM` orders become one, with their band.

    Args:
        found: per kind of ranking its rankings, and for each of them one sweep per task.
    """
    return pd.concat([
        band_table([curve_table(sweeps, kind, each, n_params) for sweeps in rankings], kind) if kind == RANDOM else
        curve_table(rankings[0], kind, each, n_params) for kind, rankings in found.items()], ignore_index=True)


def band_table(curves: Sequence[pd.DataFrame], source: str) -> pd.DataFrame:
    """Several curves (random orders of different seeds) as one: mean, lowest and highest; the mask is the first's."""
    together = stats.band([curve["accuracy"].tolist() for curve in curves])
    return curves[0].assign(ranking=source, accuracy=together.mean, low=together.low, high=together.high)


def limits_table(table: pd.DataFrame, what: str, share: float) -> pd.DataFrame:
    """Per ranking: the last point before accuracy falls below a share of the intact one, and the first below it.

    Args:
        what: the column that counts what is removed, "heads" or "FFNs".
    """
    rows: list[dict[str, Any]] = []
    for source, curve in table.groupby("ranking", sort=False):
        breaks = stats.break_point(curve["accuracy"].tolist(), curve[what].tolist(), share)
        before = curve if breaks is None else curve[curve[what] < breaks]
        last = (before if len(before) else curve).iloc[-1 if len(before) else 0]
        rows.append({"ranking": source, "can go": float(last[what]), "that is": int(last[f"n {what}"]),
                     "of all parameters": float(last["parameters"]), "accuracy there": float(last["accuracy"]),
                     "from": float(last["low"]), "to": float(last["high"]), "broken at": breaks})
    return pd.DataFrame(rows)


def transfer_table(sweeps: Mapping[tuple[str, str], Sweep], share: float) -> pd.DataFrame:
    """Every task pruned by every task's ranking, at one share of the heads: a row per (task, ranking) pair.

    `kept` is the accuracy as a share of the intact one.
    """
    rows: list[dict[str, Any]] = []
    for (task, ranking), sweep in sweeps.items():
        i = int(np.argmin([abs(heads - share) for heads, _ in sweep.removed]))
        whole, pruned = sweep.marks()[0], sweep.marks()[i]
        low, high = stats.accuracy_interval(pruned)
        intact, accuracy = float(whole.right.mean()), float(pruned.right.mean())
        rows.append({"task": task, "ranking": ranking, "heads": sweep.removed[i][0],
                     "accuracy": accuracy, "low": low, "high": high, "intact": intact,
                     "kept": accuracy / intact if intact else np.nan, "chance": sweep.questions.chance,
                     "n": len(pruned.right), "mask": sweep.ablations[i]})
    return pd.DataFrame(rows)


def map_table(table: pd.DataFrame) -> pd.DataFrame:
    """The `curve_table` of a map over heads and FFNs, with its cells named: row = FFNs removed, column = heads."""
    return table.assign(row=[f"{ffns:.0%}" for ffns in table["FFNs"]],
                        column=[f"{heads:.0%}" for heads in table["heads"]])


def furthest(table: pd.DataFrame, share: float) -> pd.Series:
    """Of the points with at least this share of the intact accuracy, the one with the most parameters removed."""
    fine = table[table["accuracy"] >= share * table["accuracy"].iloc[0] - 1e-9]
    return fine.loc[fine["parameters"].idxmax()]
