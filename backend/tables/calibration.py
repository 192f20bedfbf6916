"""Does a cheap score tell what a head's removal costs? Scores of heads beside their measured cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Bool, Float
from ..kinds import Attributions, HeadScores, Sweep
from ..kinds.attribution import REDUCTIONS as OF_ATTRIBUTION
from ..kinds.head_importance import REDUCTIONS as OF_IMPORTANCE
from ..kinds.oracles import FILLS
from ..values import INTACT, Ablation, parse_exact
from .importance import grid_table

SCORES = (*OF_IMPORTANCE, *OF_ATTRIBUTION)  # gradients, in each way in which they become one number per head
PLACES = FILLS  # what stands in for a head whose removal is measured
MEASURES = LOSS, ACCURACY = ("loss", "accuracy")
COST = {LOSS: "loss added", ACCURACY: "accuracy lost"}  # the columns: nats, and a difference of accuracies
TOPS = (0.1, 0.2)  # shares of the heads of which it is told how many of the costliest a score finds

Record = HeadScores | Attributions


def costs(
    oracle: Sweep, measure: str, shape: tuple[int, int]
) -> tuple[Float[np.ndarray, "n n_layers n_heads"], tuple[int, ...]]:
    """What each head's removal costs, question by question, and the draw that each question shares, empty where none.

    (n, n_layers, n_heads): loss(off) - loss(intact) in nats, or right(intact) - right(off); positive: the head helps.
    The mean over the other prompts where a head's output is taken from several. 0 where no heads are.

    Args:
        oracle: a `head_oracle`; measure: "loss" or "accuracy".

    Raises:
        ValueError: if the loss is asked of an oracle that kept the chosen options alone.
    """
    losses = oracle.losses()
    if measure == LOSS and losses is None:
        raise ValueError("This oracle kept the chosen options alone: measure it anew for the loss.")
    values = -oracle.outcomes().astype(float) if measure == ACCURACY else np.asarray(losses)
    draws = oracle.questions.outcome_draws() if measure == ACCURACY else oracle.questions.draws
    return _of_heads(oracle, values[1:] - values[0], shape), tuple(map(int, draws)) if draws is not None else ()


def _of_heads(
    oracle: Sweep, each: Float[np.ndarray, "n_ablations n"], shape: tuple[int, int]
) -> Float[np.ndarray, "n n_layers n_heads"]:
    """Values of an oracle's removals, the mean of those of one head."""
    found, times = np.zeros((each.shape[1], *shape)), np.zeros(shape)
    for text, row in zip(oracle.ablations[1:], each, strict=True):
        head = min(parse_exact(text).heads)
        found[:, head.layer, head.head] += row
        times[head.layer, head.head] += 1
    return found / np.maximum(times, 1)


def _sums(values: Float[np.ndarray, "n n_layers n_heads"], draws: Sequence[int]) -> stats.Sums:
    """Costs in blocks of questions that are drawn together, as `stats.rank_agreements` takes them."""
    blocks = np.unique(np.asarray(draws), return_inverse=True)[1] if len(set(draws)) > 1 else np.arange(len(values))
    sums = np.zeros((int(blocks.max()) + 1, *values.shape[1:]))
    np.add.at(sums, blocks, values)
    return sums, np.bincount(blocks).astype(float)[:, None, None]


def calibration_table(records: Sequence[Record], oracles: Sequence[Sweep], by: str, chosen: Ablation = INTACT,
                      heads: Bool[np.ndarray, "n_layers n_heads"] | None = None) -> pd.DataFrame:
    """One row per head: its score and what its removal costs in loss and in accuracy, with ranks; the costliest first.

    Scores and costs are means over tasks. Intervals: t intervals over questions, those of a draw of demonstrations
    together. `turned`: answers that turn without the head, right or wrong. Without the losses of all tasks there are no
    columns of loss, and accuracy orders the rows.

    Args:
        records, oracles: one of each per task, of one model.
        by: which of the `SCORES`.
        heads: those that have rows, and are ranked; None: all.
    """
    scores = stats.aggregate([record.scores(by) for record in records])
    shape = (scores.shape[0], scores.shape[1])
    which = np.ones(shape, bool) if heads is None else heads
    table = grid_table(scores, chosen, label="score")[which.ravel()].reset_index(drop=True)
    table["score rank"] = stats.ranks_from_top(table["score"].to_numpy())
    there = [measure for measure in MEASURES if measure == ACCURACY or all(one.gold for one in oracles)]
    for measure in there:
        each = [costs(oracle, measure, shape) for oracle in oracles]
        found = stats.mean_effects([(values[:, which], draws) for values, draws in each],
                                   most=1.0 if measure == ACCURACY else np.inf)
        table = table.assign(**{COST[measure]: found.mean, f"{measure} from": found.low, f"{measure} to": found.high,
                                f"{measure} rank": stats.ranks_from_top(found.mean)})
    turned = [_of_heads(oracle, (right[1:] != right[0]).astype(float), shape)[:, which].sum(0)
              for oracle in oracles for right in [oracle.outcomes()]]
    table["turned"] = np.sum(turned, axis=0)
    ordered = table.sort_values([f"{there[0]} rank", "layer", "head"], kind="stable", ignore_index=True)
    return ordered[["layer", "head", "name", "score", "score rank", *(
        column for column in ordered.columns if column.startswith(("loss", "accuracy"))), "turned", "off"]]


def missed_table(table: pd.DataFrame, measure: str, n: int = 5) -> pd.DataFrame:
    """The heads of a `calibration_table` that a score misses most, then those it overrates most, up to n of each.

    Missed: the interval of its cost lies above 0, and it ranks lower by the score than by its cost. Overrated: the
    interval does not, and it ranks higher.
    """
    shown = table.assign(gap=table["score rank"] - table[f"{measure} rank"])
    costly = shown[f"{measure} from"] > 0
    missed = shown[costly & (shown["gap"] > 0)].sort_values("gap", ascending=False, kind="stable").head(n)
    over = shown[~costly & (shown["gap"] < 0)].sort_values("gap", kind="stable").head(n)
    columns = {"name": "head", COST[measure]: COST[measure], f"{measure} from": "95 % from", f"{measure} to": "to",
               f"{measure} rank": "cost rank", "score": "score", "score rank": "score rank"}
    return pd.concat([part.drop(columns=["head"]).rename(columns=columns)[[*columns.values()]].assign(which=name)
                      for name, part in (("missed", missed), ("overrated", over))], ignore_index=True)


def tells_table(records: Mapping[str, Sequence[Record]], oracles: Mapping[str, Sequence[Sweep]], against: str,
                heads: Bool[np.ndarray, "n_layers n_heads"] | None = None) -> pd.DataFrame:
    """How well each score ranks heads by what their removal costs: a row per place, measure and score.

    `ρ` is Spearman's with its bootstrap interval over blocks of examples and of questions; `ahead` how much higher it
    is than that of the score `against`, with its interval; `top 10 %` the share of the costliest tenth that is in the
    score's own, `by chance` what a random order finds of it; `top 20 %` likewise.

    Args:
        records: which of the `SCORES` -> one record per task.
        oracles: which of the `PLACES` -> one oracle per task, the same tasks; where one has kept no losses, there are
            no rows of loss.
        heads: those that are ranked; None: all.
    """
    rows: list[dict[str, Any]] = []
    names = list(records)
    scores = {by: stats.aggregate([record.scores(by) for record in those]) for by, those in records.items()}
    first = next(iter(scores.values()))
    shape = (first.shape[0], first.shape[1])
    which = np.ones(shape, bool) if heads is None else heads
    for place, sweeps in oracles.items():
        for measure in MEASURES:
            if measure == LOSS and not all(one.gold for one in sweeps):
                continue
            truth = [_sums(*costs(one, measure, shape)) for one in sweeps]
            cost = np.mean([sums.sum(0) / weights.sum(0) for sums, weights in truth], axis=0)
            found = stats.rank_agreements([[record.sums(by) for record in records[by]] for by in names], truth,
                                          heads=which)
            for i, by in enumerate(names):
                ahead = found.ahead(i, names.index(against))
                row: dict[str, Any] = {
                    "in its place": place, "measured in": measure, "score": by, "ρ": found.each[i].rho,
                    "95 % from": found.each[i].low, "to": found.each[i].high,
                    "ahead": found.each[i].rho - found.each[names.index(against)].rho, "ahead from": ahead.low,
                    "ahead to": ahead.high}
                for share in TOPS:
                    recall, k = stats.recall_at_top(scores[by][which], cost[which], share)
                    row |= {f"top {share:.0%}": recall, f"chance {share:.0%}": k / int(which.sum())}
                rows.append(row)
    return pd.DataFrame(rows)
