"""One prompt, looked at closely: tokens, attention, next tokens, options, contributions.

Tokens are told apart by their position; spaces and newlines are shown as signs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..arrays import Float
from ..tasks.task import Prompt
from ..values import INTACT, Ablation, Head
from .importance import FFN

if TYPE_CHECKING:
    from ..lens.reading import Reading

SPACE, NEWLINE, TAB = "·", "⏎", "⇥"
THUMBNAILS_PER_ROW = 8


def visible(token: str) -> str:
    """A token with its spaces and newlines as signs: `·the`, `⏎`."""
    return token.replace(" ", SPACE).replace("\n", NEWLINE).replace("\t", TAB) or "∅"


def next_table(readings: Mapping[str, Reading]) -> pd.DataFrame:
    """One row per token and model; a token that is among the likeliest of one model alone has one row."""
    rows = [{"token": token.text, "id": token.token, "model": model, "probability": token.probability, "rank": rank}
            for model, reading in readings.items() for rank, token in enumerate(reading.next_tokens, 1)]
    return pd.DataFrame(rows)


def option_table(prompt: Prompt, readings: Mapping[str, Reading], judged: bool = True) -> pd.DataFrame:
    """One row per option and model: its log-likelihood, whether it is right, and whether the model prefers it.

    Args:
        judged: whether the prompt knows which option is right; one of one's own does not.
    """
    return pd.DataFrame([
        {"option": visible(option.strip()), "model": model, "loglikelihood": value,
         "right": judged and i in prompt.example.gold, "chosen": i == int(np.argmax(reading.loglikelihoods))}
        for model, reading in readings.items()
        for i, (option, value) in enumerate(zip(prompt.example.options, reading.loglikelihoods, strict=True))])


def attention_table(pattern: Float[np.ndarray, "pos pos"], tokens: Sequence[str], first: int = 0) -> pd.DataFrame:
    """One row per pair of a query and a key at or before it: positions, tokens, attention.

    Args:
        pattern: rows = queries.
        first: the first query shown.
    """
    q, k = np.tril_indices(len(pattern))
    keep = q >= first
    q, k = q[keep], k[keep]
    named = [f"{i} {visible(token)}" for i, token in enumerate(tokens)]
    return pd.DataFrame({"query": q, "key": k, "from": [named[i] for i in q], "to": [named[i] for i in k],
                         "attention": pattern[q, k].astype(float)})


def thumbnail_table(n_heads: int, layer: int, opened: int, off: Ablation = INTACT) -> pd.DataFrame:
    """One row per head of a layer, and where its small picture stands: left to right, then downwards.

    Args:
        opened: the head that is shown large.
    """
    return pd.DataFrame([
        {"head": h, "name": str(Head(layer, h)), "column": h % THUMBNAILS_PER_ROW, "row": h // THUMBNAILS_PER_ROW,
         "opened": h == opened, "off": Head(layer, h) in off.heads} for h in range(n_heads)])


def contribution_table(
    heads: Float[np.ndarray, "n_layers n_heads"], ffns: Float[np.ndarray, " n_layers"], off: Ablation = INTACT
) -> pd.DataFrame:
    """One row per head and FFN: what it adds to a logit.

    Args:
        heads: (n_layers, n_heads); ffns: (n_layers,).
    """
    rows = [{"layer": layer, "head": head, "name": str(Head(layer, head)),
             "contribution": float(heads[layer, head]), "off": Head(layer, head) in off.heads}
            for layer in range(heads.shape[0]) for head in range(heads.shape[1])]
    rows += [{"layer": layer, "head": FFN, "name": f"L{layer} FFN", "contribution": float(value),
              "off": layer in off.ffns} for layer, value in enumerate(ffns)]
    return pd.DataFrame(rows)


def largest(table: pd.DataFrame) -> pd.DataFrame:
    """A `contribution_table` with the largest first, whatever their sign."""
    return table.reindex(table["contribution"].abs().sort_values(ascending=False, kind="stable").index)
