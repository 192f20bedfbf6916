"""What do demonstrations do? Accuracy behind other labels, its two parts, the heads that they need; influences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Bool, Float, Int
from ..kinds import Answers, Influences, Sweep
from ..tasks.task import Prompt
from ..values import INTACT, Ablation, parse_exact
from .accuracy import mean_row
from .prompt import visible
from .shots import places_of_same, same_questions

NO_LABELS, TRUE_LABELS, SHUFFLED_LABELS, MADE_UP_LABELS = LABELS = (
    "0 shots", "true labels", "shuffled labels", "made-up labels")
RECOGNITION, LEARNING = "task recognition", "task learning"
PARTS = {RECOGNITION: (NO_LABELS, SHUFFLED_LABELS), LEARNING: (SHUFFLED_LABELS, TRUE_LABELS)}  # the second - the first
Behind = Mapping[str, Sequence[Answers]]  # by labels, one record per task


def labels_table(found: Mapping[str, Behind]) -> pd.DataFrame:
    """Accuracy behind each sort of labels, a `mean_row` over tasks: a row per sort and model.

    Args:
        found: by model, "intact" and "ablated", what each answers.
    """
    return pd.DataFrame([{"labels": labels, "model": model, **{
        name: value for name, value in mean_row(labels, behind[labels]).items() if name != "what"}}
        for labels in LABELS for model, behind in found.items() if labels in behind])


def parts_table(found: Mapping[str, Behind]) -> pd.DataFrame:
    """What of the accuracy is task recognition and what is task learning: a row per part and model.

    Recognition is accuracy behind shuffled labels minus that at 0 shots, learning is true minus shuffled, on the same
    questions, with the `stats.mean_difference_interval` of their mean over tasks; p is of the `stats.paired_test`, for
    one task. `drop` is what the mask takes of the part, intact minus ablated, with its `stats.mean_effects`.
    Source: Min et al. 2022, arXiv:2202.12837; Pan et al. 2023, arXiv:2305.09731.
    """
    rows: list[dict[str, Any]] = []
    for part, (less, more) in PARTS.items():
        for model, behind in found.items():
            pairs = [same_questions(a, b) for a, b in zip(behind[less], behind[more], strict=True)]
            low, high = stats.mean_difference_interval(pairs)
            row = {"part": part, "model": model,
                   "effect": float(np.mean([b.right.mean() - a.right.mean() for a, b in pairs])), "low": low,
                   "high": high, "p": stats.paired_test(*pairs[0]).p if len(pairs) == 1 else np.nan,
                   "n": sum(len(a.right) for a, _ in pairs), "tasks": len(pairs)}
            if model != "intact":
                intact = found["intact"]
                drop = stats.mean_effects([_taken(*four) for four in zip(
                    behind[less], behind[more], intact[less], intact[more], strict=True)], most=2.0)
                row |= {"drop": float(drop.mean), "drop from": float(drop.low), "drop to": float(drop.high),
                        "drop p": float(drop.p)}
            rows.append(row)
    return pd.DataFrame(rows)


def _taken(
    less: Answers, more: Answers, intact_less: Answers, intact_more: Answers
) -> tuple[Float[np.ndarray, " n"], list[int]]:
    """Per question the part intact minus the part ablated, from -2 to 2, and the draw that it stands behind."""
    records = (less, more, intact_less, intact_more)
    places, draws = places_of_same(*(record.questions for record in records))
    a, b, c, d = (record.outcomes()[at].astype(float) for record, at in zip(records, places, strict=True))
    return (d - c) - (b - a), _listed(draws)


def _listed(draws: Int[np.ndarray, " n"] | None) -> list[int]:
    """Which draw each question stands behind; empty where they share none."""
    return [] if draws is None else [int(draw) for draw in draws]


def parts_heads_table(tasks: Sequence[tuple[Sweep, Sweep, Sweep]], chosen: Ablation = INTACT,
                      heads: Bool[np.ndarray, "n_layers n_heads"] | None = None) -> pd.DataFrame:
    """What each head's removal takes of task recognition and of task learning: a row per part and head.

    `drop` is the part intact minus the part with the head off, mean over tasks, with its `stats.mean_effects`;
    `p (Holm)` knows how many heads were tried. Positive: the part needs the head.

    Args:
        tasks: per task the head oracles at 0 shots, behind shuffled and behind true labels.
        heads: those that have rows; None: all.
    """
    rows = []
    for part, (less, more) in PARTS.items():
        effects, places = [], [min(parse_exact(text).heads) for text in tasks[0][0].ablations[1:]]
        which = [i for i, head in enumerate(places) if heads is None or heads[head.layer, head.head]]
        for of_task in tasks:
            a, b = (of_task[(NO_LABELS, SHUFFLED_LABELS, TRUE_LABELS).index(labels)] for labels in (less, more))
            (at_a, at_b), draws = places_of_same(a.questions, b.questions)
            parts = b.outcomes()[:, at_b].astype(float) - a.outcomes()[:, at_a]  # (1 + n_heads, n)
            effects.append(((parts[0] - parts[1:])[which].T, _listed(draws)))
        found = stats.mean_effects(effects, most=2.0)
        rows.append(pd.DataFrame({
            "part": part, "layer": [places[i].layer for i in which], "head": [places[i].head for i in which],
            "name": [str(places[i]) for i in which], "drop": found.mean, "95 % from": found.low, "to": found.high,
            "p (Holm)": stats.holm(found.p.tolist()), "off": [places[i] in chosen.heads for i in which]}))
    return pd.concat(rows, ignore_index=True)


def influence_table(found: Mapping[str, Influences]) -> pd.DataFrame:
    """The mean influence of the demonstration in each place, in nats: a row per place and model.

    Positive: it makes the right answer likelier. With its `stats.mean_effects` over the questions that it was shown to,
    those of one draw together; `p (Holm)` knows how many places there are. Place 1 is farthest from the question.

    Args:
        found: by model, "intact" and "ablated".
    """
    rows: list[dict[str, Any]] = []
    for model, record in found.items():
        values, draws = record.influences(), np.array(record.questions.draws)
        n_places = values.shape[1]
        of_model: list[dict[str, Any]] = []
        for place in range(n_places):
            shown = ~np.isnan(values[:, place])
            if not shown.any():
                continue
            of = _listed(draws[shown] if len(draws) else None)
            effect = stats.mean_effects([(values[shown, place], of)], most=np.inf)
            told = bool(np.isfinite(effect.low))
            of_model.append({"demonstration": place_name(place, n_places), "place": place + 1, "model": model,
                             "influence": float(effect.mean), "low": float(effect.low) if told else np.nan,
                             "high": float(effect.high) if told else np.nan, "p": float(effect.p),
                             "n": int(shown.sum())})
        adjusted = stats.holm([row["p"] for row in of_model])
        rows += [row | {"p (Holm)": float(p)} for row, p in zip(of_model, adjusted, strict=True)]
    return pd.DataFrame(rows).drop(columns=["p"])


def prompt_influence_table(prompt: Prompt, found: Mapping[str, Influences]) -> pd.DataFrame:
    """The influence of each demonstration of one prompt, in nats: a row per demonstration and model, with its text.

    Demonstrations that were left out because the prompt was too long have no rows.
    """
    n = len(prompt.demos)
    table = pd.DataFrame([
        {"demonstration": place_name(place, n), "place": place + 1, "model": model, "influence": float(value),
         "text": visible(prompt.demos[place])}
        for model, record in found.items() for place, value in enumerate(record.influences()[0])])
    return table[table["influence"].notna()].reset_index(drop=True)


def place_name(place: int, n: int) -> str:
    """What the demonstration in a place, from 0, is called among n."""
    return f"{place + 1}" + (" (farthest)" if place == 0 < n - 1 else " (nearest)" if place == n - 1 > 0 else "")
