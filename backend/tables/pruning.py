"""How many heads and FFNs can go? Pruning curves, where they break, and other tasks' rankings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Bool
from ..kinds import Sweep
from ..models.info import Weights
from ..stats import Marks
from ..values import parse_exact

OWN, AGGREGATE, REVERSED, RANDOM = "own ranking", "aggregate ranking", "most important first", "random order"


def curve_table(sweeps: Sequence[Sweep], source: str, each: Weights, n_params: int,
                live: Bool[np.ndarray, "n_layers n_heads"] | None = None) -> pd.DataFrame:
    """One curve or map, a row per point: the mean accuracy of the tasks' sweeps, its interval, what is removed there.

    Points are those that all sweeps have. "heads" and "FFNs" are the shares that are really removed: of 6 FFNs, 65 %
    are 3, which is 50 %.

    Args:
        sweeps: one per task, pruned along the same kind of ranking. The mask is kept where there is only one.
        each: the parameters of one head and of one FFN, and how many there are.
        live: the heads that do something; then "live heads" is the share of these that is
            removed, "n live heads" how many that are, both on average over the sweeps.
    """
    rows: list[dict[str, Any]] = []
    for _, marks, masks in points_of(sweeps):
        low, high = stats.mean_accuracy_interval(marks)
        off = [parse_exact(mask) for mask in masks]
        n_heads, n_ffns = len(off[0].heads), len(off[0].ffns)
        row = {"ranking": source, "heads": n_heads / each.n_heads, "FFNs": n_ffns / each.n_ffns, "n heads": n_heads,
               "n FFNs": n_ffns, "parameters": (n_heads * each.head + n_ffns * each.ffn) / n_params,
               "accuracy": float(np.mean([m.right.mean() for m in marks])), "low": low, "high": high,
               "chance": float(np.mean([sweep.questions.chance for sweep in sweeps])),
               "n": sum(len(m.right) for m in marks), "tasks": len(sweeps),
               "mask": masks[0] if len(sweeps) == 1 else ""}
        if live is not None:
            gone = float(np.mean([sum(live[h.layer, h.head] for h in one.heads) for one in off]))
            row |= {"live heads": gone / max(1, int(live.sum())), "n live heads": round(gone, 1)}
        rows.append(row)
    return pd.DataFrame(rows)


def points_of(sweeps: Sequence[Sweep]) -> Iterator[tuple[tuple[float, float], list[Marks], list[str]]]:
    """The points that all of some curves have: the shares asked for, and each one's marks and mask there."""
    marks = [sweep.marks() for sweep in sweeps]
    places = [{removed: i for i, removed in enumerate(sweep.removed)} for sweep in sweeps]
    for removed in sweeps[0].removed:
        if all(removed in place for place in places):
            yield (removed, [m[place[removed]] for m, place in zip(marks, places, strict=True)],
                   [sweep.ablations[place[removed]] for sweep, place in zip(sweeps, places, strict=True)])


def curves_table(found: Mapping[str, Sequence[Sequence[Sweep]]], each: Weights, n_params: int,
                 live: Bool[np.ndarray, "n_layers n_heads"] | None = None) -> pd.DataFrame:
    """One curve per kind of ranking, below one another; `RANDOM` orders become one, with their band.

    Args:
        found: per kind of ranking its rankings, and for each of them one sweep per task.
        live: as in `curve_table`.
    """
    return pd.concat([
        band_table([curve_table(sweeps, kind, each, n_params, live) for sweeps in rankings], kind) if kind == RANDOM
        else curve_table(rankings[0], kind, each, n_params, live) for kind, rankings in found.items()],
        ignore_index=True)


def band_table(curves: Sequence[pd.DataFrame], source: str) -> pd.DataFrame:
    """Several curves (random orders of different seeds) as one: mean, lowest and highest; the mask is the first's."""
    together = stats.band([curve["accuracy"].tolist() for curve in curves])
    return curves[0].assign(ranking=source, accuracy=together.mean, low=together.low, high=together.high)


def limits_table(table: pd.DataFrame, what: str, share: float,
                 found: Mapping[str, Sequence[Sequence[Sweep]]] | None = None) -> pd.DataFrame:
    """Per ranking: the last point before accuracy falls below a share of the intact one, and the first below it.

    Args:
        what: the column that counts what is removed, "heads", "live heads" or "FFNs".
        found: the sweeps behind the table, as `curves_table` takes them; then "can go from" and "can go to" are the
            95 % interval of how much can go, NaN for random orders, which are several.
    """
    rows: list[dict[str, Any]] = []
    for source, curve in table.groupby("ranking", sort=False):
        breaks = stats.break_point(curve["accuracy"].tolist(), range(len(curve)), share)
        before = curve if breaks is None else curve.iloc[:int(breaks)]
        last = (before if len(before) else curve).iloc[-1 if len(before) else 0]
        row = {"ranking": source, "can go": float(last[what])}
        if found is not None:
            row["can go from"], row["can go to"] = (np.nan, np.nan) if source == RANDOM else _interval(
                found[str(source)][0], curve[what].tolist(), share)
        rows.append(row | {
            "that is": float(last[f"n {what}"]), "of all parameters": float(last["parameters"]),
            "accuracy there": float(last["accuracy"]), "from": float(last["low"]), "to": float(last["high"]),
            "broken at": None if breaks is None else float(curve[what].iloc[int(breaks)])})
    return pd.DataFrame(rows)


def _interval(sweeps: Sequence[Sweep], fractions: Sequence[float], share: float) -> stats.Interval:
    """The 95 % interval of how much can go by one ranking, for the mean of its tasks."""
    tasks = list(zip(*(marks for _, marks, _ in points_of(sweeps)), strict=True))  # per task its marks at each point
    return stats.can_go_interval([np.stack([m.right for m in marks]) for marks in tasks], fractions, share,
                                 clusters=[marks[0].clusters for marks in tasks])


def transfer_table(
    sweeps: Mapping[tuple[str, str], Sweep], share: float, live: Bool[np.ndarray, "n_layers n_heads"] | None = None
) -> pd.DataFrame:
    """Every task pruned by every task's ranking, at one share of the heads: a row per (task, ranking) pair.

    `kept` is the accuracy as a share of the intact one.

    Args:
        share: read at the point nearest to it.
        live: the heads of which it is a share; None: of all.
    """
    rows: list[dict[str, Any]] = []
    for (task, ranking), sweep in sweeps.items():
        gone = [heads for heads, _ in sweep.removed] if live is None else [
            sum(live[h.layer, h.head] for h in parse_exact(mask).heads) / max(1, int(live.sum()))
            for mask in sweep.ablations]
        i = int(np.argmin(np.abs(np.array(gone) - share)))
        marks = sweep.marks()
        whole, pruned = marks[0], marks[i]
        low, high = stats.accuracy_interval(pruned)
        intact, accuracy = float(whole.right.mean()), float(pruned.right.mean())
        rows.append({"task": task, "ranking": ranking, "heads": float(gone[i]),
                     "accuracy": accuracy, "low": low, "high": high, "intact": intact,
                     "kept": accuracy / intact if intact else np.nan, "chance": sweep.questions.chance,
                     "n": len(pruned.right), "mask": sweep.ablations[i]})
    return pd.DataFrame(rows)


def map_table(table: pd.DataFrame) -> pd.DataFrame:
    """The `curve_table` of a map over heads and FFNs, with its cells named: row = FFNs removed, column = heads.

    Of points at which the same components are removed the first stays.
    """
    table = table.drop_duplicates(["n heads", "n FFNs"])
    return table.assign(row=[f"{ffns:.0%}" for ffns in table["FFNs"]],
                        column=[f"{heads:.0%}" for heads in table["heads"]])


def furthest(table: pd.DataFrame, share: float) -> pd.Series:
    """Of the points with at least this share of the intact accuracy, the one with the most parameters removed."""
    fine = table[table["accuracy"] >= share * table["accuracy"].iloc[0] - 1e-9]
    return fine.loc[fine["parameters"].idxmax()]
