"""Mean activations over a task's training prompts: what mean ablation puts in place of a component."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..arrays import Bool, Float
from ..errors import BadInput
from ..models.gates import Kept, passing
from ..models.loading import LoadedModel
from ..tasks.task import Prompt
from . import trees
from .batches import Progress, in_batches, tokens_per_pass


class MeanOutputs(NamedTuple):
    """Means over positions, in double precision."""

    n_examples: int
    n_positions: int
    heads: Float[Tensor, "n_layers n_heads d_head"]  # 0 where a layer has no heads
    ffns: Float[Tensor, "n_layers d_model"]


@torch.inference_mode()
def mean_outputs(
    model: LoadedModel, prompts: Sequence[Prompt], progress: Progress | None = None, *, batch_tokens: int | None = None
) -> MeanOutputs:
    """What `kinds.means.mean_activations` is, as tensors.

    Raises:
        BadInput: if no prompt is left.
    """
    sequences = gold_texts(model, prompts)
    heads = torch.zeros(model.n_layers, model.n_heads, model.d_head, dtype=torch.float64)
    ffns = torch.zeros(model.n_layers, model.d_model, dtype=torch.float64)

    def add(
        z: Mapping[int, Float[Tensor, "batch pos n_heads d_head"]],
        ffn_out: Sequence[Float[Tensor, "batch pos d_model"]], real: Bool[Tensor, "batch pos"],
    ) -> None:
        for layer in range(model.n_layers):
            if layer in z:
                heads[layer] += z[layer].cpu()[real].double().sum(0)
            ffns[layer] += ffn_out[layer].cpu()[real].double().sum(0)

    each_pass(model, sequences, add, progress, batch_tokens)
    n = sum(map(len, sequences))
    return MeanOutputs(len(sequences), n, heads / n, ffns / n)


def gold_texts(model: LoadedModel, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Prompts with their gold answers in token ids, without the last token: no position reads it.

    Raises:
        BadInput: if no prompt is left.
    """
    sequences = []
    for prompt, (query, _) in zip(prompts, trees.encode(prompts, model.encode_pairs, model.info.max_positions),
                                  strict=True):
        if query is not None:
            sequences.append(list(query.options[prompt.example.gold[0]].ids[:-1]))
    if not sequences:
        raise BadInput("No prompt fits the model's context, or none was given: there is nothing to take means of.")
    return sequences


def each_pass(
    model: LoadedModel, sequences: Sequence[Sequence[int]],
    add: Callable[[Mapping[int, Float[Tensor, "batch pos n_heads d_head"]],
                   Sequence[Float[Tensor, "batch pos d_model"]], Bool[Tensor, "batch pos"]], None],
    progress: Progress | None = None, batch_tokens: int | None = None,
) -> None:
    """Read sequences in padded batches, and hand on what heads and FFNs put out.

    Args:
        add: called per batch with z by layer, (batch, pos, n_heads, d_head) of the layers that have heads; what each
            FFN adds, (batch, pos, d_model); and which positions are real, (batch, pos) of bool.
    """
    def measure(batch: Sequence[int]) -> None:
        chosen = [sequences[i] for i in batch]
        tokens = torch.zeros(len(chosen), max(map(len, chosen)), dtype=torch.long)
        real = torch.zeros(tokens.shape, dtype=torch.bool)
        for row, ids in enumerate(chosen):
            tokens[row, :len(ids)], real[row, :len(ids)] = torch.tensor(ids), True
        z: dict[int, Tensor] = {}
        ffn_out: list[Tensor] = []
        with passing(kept=Kept(z=z, ffn_out=ffn_out)):
            model.trunk(input_ids=tokens.to(model.device), use_cache=False)
        add(z, ffn_out, real)

    in_batches(measure, list(map(len, sequences)), batch_tokens or tokens_per_pass(model, every_layer=True), progress)
