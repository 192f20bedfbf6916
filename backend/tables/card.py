"""Everything that is known of one head, and of all heads beside one another."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Bool, Float, Real
from ..kinds import Effects, HeadScores, Sweep
from ..tasks.task import Prompt
from ..values import INTACT, Ablation, Head, parse_exact
from .accuracy import one_line, question_ending
from .calibration import ACCURACY, LOSS, costs
from .importance import grid_table

ACCURACY_LOST, LOSS_ADDED = "accuracy lost when off", "loss added when off, nats"


def heads_table(
    scores: Mapping[str, Real[np.ndarray, "n_layers n_heads"]], chosen: Ablation = INTACT,
    heads: Bool[np.ndarray, "n_layers n_heads"] | None = None, headless: Collection[int] = (),
) -> pd.DataFrame:
    """A row per head: each of its scores, and its rank among live heads by each, the highest first.

    Args:
        scores: by what they are called; NaN where one is not known.
        heads: those that are ranked; None: all.
        headless: layers without attention heads, which have no rows.
    """
    shape = np.shape(next(iter(scores.values())))
    ranked = np.ones(shape, bool) if heads is None else heads
    there = ~np.isin(np.indices(shape)[0], list(headless)).ravel()
    table = grid_table(np.zeros(shape), chosen).drop(columns=["importance", "rank"]).assign(live=ranked.ravel())
    for label, values in scores.items():
        table = table.assign(**{label: values.ravel(), f"{label} rank": _places(
            values, ranked & there.reshape(shape) & ~np.isnan(values)).ravel()})
    return table[there].rename(columns={"off": "chosen"}).reset_index(drop=True)


def need_maps(oracle: Sweep, shape: tuple[int, int]) -> dict[str, Float[np.ndarray, "n_layers n_heads"]]:
    """The accuracy that is lost and, where it is kept, the loss that is added, in nats, as
    each head is off alone; NaN where no heads are."""
    there = np.full(shape, np.nan)
    for text in oracle.ablations[1:]:
        head = min(parse_exact(text).heads)
        there[head.layer, head.head] = 0.0
    measures = {ACCURACY_LOST: ACCURACY, **({LOSS_ADDED: LOSS} if oracle.gold else {})}
    return {label: costs(oracle, measure, shape)[0].mean(0) + there for label, measure in measures.items()}


def head_table(table: pd.DataFrame, head: Head) -> pd.DataFrame:
    """One head's row of a `heads_table`, upright: a row per score, with its rank and of how many heads."""
    row = table[table["name"] == str(head)].iloc[0]
    labels = [column.removesuffix(" rank") for column in table if column.endswith(" rank")]
    return pd.DataFrame([{"score": label, "value": row[label], "rank": row[f"{label} rank"],
                          "of": int(table[f"{label} rank"].notna().sum())} for label in labels])


def head_importance_table(head: Head, records: Mapping[tuple[str, int], HeadScores], by: str = "per-token",
                          heads: Bool[np.ndarray, "n_layers n_heads"] | None = None) -> pd.DataFrame:
    """One head's importance in every task and number of shots: a row each, with its interval and rank.

    `above` is the share of the other ranked heads that are below it.

    Args:
        records: by task and number of shots.
        by: which reduction of the importance, see `HeadScores.scores`.
        heads: those that are ranked; None: all.
    """
    rows = []
    for (task, n_shots), record in records.items():
        scores = record.scores(by)
        ranked = np.ones(scores.shape, bool) if heads is None else heads
        low, high = stats.bootstrap_score(record, head, by)
        n, rank = int(ranked.sum()), float(_places(scores, ranked)[head.layer, head.head])
        rows.append({"task": task, "shots": n_shots, "importance": float(scores[head.layer, head.head]),
                     "95 % from": low, "to": high, "rank": rank, "of": n, "above": (n - rank) / max(n - 1, 1),
                     "n": record.n_examples})
    return pd.DataFrame(rows)


def _places(
    scores: Real[np.ndarray, "n_layers n_heads"], which: Bool[np.ndarray, "n_layers n_heads"]
) -> Float[np.ndarray, "n_layers n_heads"]:
    """Of (n_layers, n_heads) scores the `stats.places` among some of them; NaN for the others."""
    found = np.full(scores.shape, np.nan)
    found[which] = stats.places(scores[which])
    return found


def head_off_table(head: Head, oracles: Mapping[str, Sweep]) -> pd.DataFrame:
    """What switching one head off does to each task, a row each: accuracy and, where it is kept, loss.

    `change` is acc(off) - acc(intact) with its `stats.difference_interval`, `p (Holm)` that of the `stats.paired_test`
    for having looked at every task of the table. `loss` is the change of the right answer's cross-entropy, nats, mean
    over its tokens and then over questions, with a t interval over questions, or draws where they share some.
    """
    rows: list[dict[str, Any]] = []
    for task, oracle in oracles.items():
        place = oracle.ablations.index(str(head))
        marks = oracle.marks()
        intact, off = marks[0], marks[place]
        low, high = stats.difference_interval(intact, off)
        test = stats.paired_test(intact, off)
        loss: tuple[float, float, float] = (math.nan, math.nan, math.nan)
        if (losses := oracle.losses()) is not None:
            found = stats.mean_effects([((losses[place] - losses[0])[:, None], oracle.questions.draws)], most=math.inf)
            loss = float(found.mean[0]), float(found.low[0]), float(found.high[0])
        rows.append({"task": task, "change": float(off.right.mean() - intact.right.mean()), "low": low, "high": high,
                     "p": test.p, "newly wrong": test.only_a, "newly right": test.only_b, "loss": loss[0],
                     "loss from": loss[1], "loss to": loss[2], "n": len(off.right)})
    table = pd.DataFrame(rows)
    return table.assign(**{"p (Holm)": stats.holm(table["p"].to_numpy())})


def head_effects_table(head: Head, records: Mapping[str, Effects]) -> pd.DataFrame:
    """One head's effect as a function vector in each task, a row each, with its interval; p knows of all tasks."""
    rows = []
    for task, record in records.items():
        found = stats.mean_effects([(np.asarray(record.effects)[:, head.layer, head.head, None], record.draws)])
        rows.append({"task": task, "effect": float(found.mean[0]), "95 % from": float(found.low[0]),
                     "to": float(found.high[0]), "p": float(found.p[0]), "lost by shuffling": record.lost,
                     "n": len(record.shuffled)})
    table = pd.DataFrame(rows)
    return table.assign(**{"p (Holm)": stats.holm(table["p"].to_numpy())})


def head_flips_table(head: Head, oracle: Sweep, prompts: Mapping[int, Prompt]) -> pd.DataFrame:
    """The questions that turn when a head is off, a row each, those that turn wrong first.

    Args:
        prompts: the prompts by row, `questions.docs`; of rows that are not here, their number stands for the question.
    """
    place, questions = oracle.ablations.index(str(head)), oracle.questions
    before, after = (questions.right(oracle.choices[i]) for i in (0, place))
    rows = []
    for q in sorted(np.flatnonzero(before != after).tolist(), key=lambda q: (not before[q], q)):
        doc = questions.docs[q]
        prompt = prompts.get(doc)
        said = [oracle.choices[i][q] for i in (0, place)]
        options = prompt.example.options if prompt else ()
        names = [one_line(options[s]) if 0 <= s < len(options) else f"option {s}" if s >= 0 else "none" for s in said]
        rows.append({"question": question_ending(prompt.example.contexts[0]) if prompt else f"row {doc}",
                     "intact": names[0], "without it": names[1], "turned": "wrong" if before[q] else "right"})
    return pd.DataFrame(rows, columns=["question", "intact", "without it", "turned"])


def direct_table(tokens: Sequence[str], written: Sequence[Sequence[tuple[str, float]]]) -> pd.DataFrame:
    """What a head writes most for each input token along the direct path: a row per input, the strongest first."""
    return pd.DataFrame([{"input": token, **{f"{i}.": f"{text} ({score:+.1f})" for i, (text, score) in enumerate(
        best, 1)}} for token, best in zip(tokens, written, strict=True)])
