"""What a head's output on another prompt does in its place: every query read with it, head by head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arrays import Bool, Float, Int, Shaped
from ..errors import BadInput
from ..models.gates import Kept, passing
from ..models.loading import LoadedModel, no_numbers
from ..tasks.task import Prompt
from ..values import Head
from . import trees
from .batches import Progress, in_batches, tokens_per_pass
from .fed import Fed, Read
from .passes import Prepared, Scores


class Resampled(NamedTuple):
    """Scores of the intact model, and of each head and draw."""

    intact: Scores
    without: list[list[Scores]]  # [head][draw]


@torch.inference_mode()
def resampled(model: LoadedModel, prepared: Prepared, others: Sequence[Prompt], heads: Sequence[Head], n_draws: int,
              seed: int, progress: Progress | None = None) -> Resampled:
    """The log-likelihood of every option, in nats, with one head's output taken from another prompt.

    For every query and draw one of the others is drawn. At each position the head puts out what it does there at the
    position that is as far from the end of its context; where the other prompt has no such position, at its nearest.

    Args:
        prepared: the queries.
        others: prompts, read with their gold answers.

    Raises:
        BadInput: if none of the others fits the model's context.
        ModelError: if the logits are no numbers.
    """
    queries = [q for q, _ in trees.encode(prepared.prompts, model.encode_pairs, model.info.max_positions) if q]
    donors = [q.options[p.example.gold[0]] for p, (q, _) in zip(others, trees.encode(
        others, model.encode_pairs, model.info.max_positions), strict=True) if q]
    if not donors:
        raise BadInput("No training prompt fits the model's context, or none was given: there is no other prompt to "
                       "take a head's output from.")
    drawn = np.random.default_rng(seed).integers(len(donors), size=(n_draws, len(queries)))
    shape = [len(query.options) for query in queries]
    first = np.cumsum([0, *shape])  # where each query's options begin
    totals = np.zeros((1 + len(heads) * n_draws, first[-1]))
    greedy = np.zeros(totals.shape, bool)

    def measure(batch: Sequence[int]) -> None:
        options = [option for i in batch for option in queries[i].options]
        read = Read(model, options)
        entries = np.concatenate([np.arange(first[i], first[i + 1]) for i in batch])
        of_rows = np.repeat(np.arange(len(batch)), [shape[i] for i in batch])  # which query each row is
        totals[0, entries], greedy[0, entries] = _scored(read, read.hidden)
        for draw in range(n_draws):
            z, places = _outputs(model, options, [donors[drawn[draw, i]] for i in batch], of_rows)
            rows = torch.as_tensor(of_rows, device=places.device)[:, None]
            for layer in dict.fromkeys(head.layer for head in heads):
                fill = {layer: z[layer][rows.to(z[layer].device), places.to(z[layer].device)]}
                for n, head in enumerate(heads):
                    if head.layer == layer:
                        at = 1 + n * n_draws + draw
                        totals[at, entries], greedy[at, entries] = _scored(read, read.replaced(
                            layer, _closed(model, head), fill))

    in_batches(measure, [query.longest * n for query, n in zip(queries, shape, strict=True)],
               tokens_per_pass(model, every_layer=True), progress)
    if not np.isfinite(totals).all():
        raise no_numbers(model)

    def split(values: Shaped[np.ndarray, " _"]) -> tuple[tuple[Any, ...], ...]:
        return tuple(tuple(values[a:b].tolist()) for a, b in pairwise(first))

    told = prepared.questions.metric == "greedy"
    scores = [Scores(split(lls), split(most) if told else ()) for lls, most in zip(totals, greedy, strict=True)]
    return Resampled(scores[0], [scores[1 + n * n_draws:1 + (n + 1) * n_draws] for n in range(len(heads))])


def _closed(model: LoadedModel, head: Head) -> Float[Tensor, "1 n_layers n_heads"]:
    """Gates that all heads but one pass."""
    gates = torch.ones(1, model.n_layers, model.n_heads, dtype=model.torch_dtype, device=model.device)
    gates[0, head.layer, head.head] = 0
    return gates


def _outputs(
    model: LoadedModel, options: Sequence[trees.Scored], donors: Sequence[trees.Scored],
    of_rows: Int[np.ndarray, " batch"],
) -> tuple[dict[int, Float[Tensor, "n _ n_heads d_head"]], Int[Tensor, "batch pos"]]:
    """What heads put out on the others, layer -> (queries, pos, n_heads, d_head), and (rows, pos) which of its
    positions stands for each of a row."""
    z: dict[int, Tensor] = {}
    with passing(kept=Kept(z=z)):
        model.trunk(input_ids=Fed.of(donors).tokens.to(model.device), use_cache=False)
    ends, last = np.array([(len(one.context) - 1, len(one.ids) - 2) for one in donors])[of_rows].T[..., None]
    own = np.array([len(one.context) - 1 for one in options])[:, None]
    here = np.arange(max(len(one.ids) for one in options) - 1)[None] - own + ends
    return z, torch.as_tensor(np.clip(here, 0, last))


def _scored(
    read: Read, hidden: Float[Tensor, "batch pos d_hidden"]
) -> tuple[Float[np.ndarray, " batch"], Bool[np.ndarray, " batch"]]:
    """Per row the log-likelihood of its continuation, nats, and whether the model would have written it."""
    logits, targets, rows = read.answers(hidden)
    wanted = logits.gather(1, targets[:, None])[:, 0]
    lls = (wanted - logits.logsumexp(-1)).double().cpu().numpy()
    missed = (wanted != logits.amax(-1)).cpu().numpy()
    each, n = rows.cpu().numpy(), len(read.fed.tokens)
    return np.bincount(each, lls, n), np.bincount(each, missed, n) == 0
