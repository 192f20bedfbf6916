"""How much each head adds to the residual stream, over training prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..arrays import Bool, Float
from ..models.loading import LoadedModel
from ..tasks.task import Prompt
from .batches import Progress
from .induction import output_projection
from .means import each_pass, gold_texts


class MeanWrites(NamedTuple):
    """Means over positions, in double precision."""

    n_examples: int
    n_positions: int
    norms: Float[Tensor, "n_layers n_heads"]  # 0 where a layer has no heads


@torch.inference_mode()
def mean_writes(
    model: LoadedModel, prompts: Sequence[Prompt], progress: Progress | None = None, *, batch_tokens: int | None = None
) -> MeanWrites:
    """What `kinds.writes.head_writes` is, as tensors.

    |z W|^2 = z (W W^T) z^T: a head's Gram matrix is d_head wide, what it writes is d_model wide.

    Raises:
        BadInput: if no prompt is left.
    """
    sequences = gold_texts(model, prompts)
    grams = {layer: _gram(model, layer) for layer in model.attn_outs}
    norms = torch.zeros(model.n_layers, model.n_heads, dtype=torch.float64)

    def add(
        z: Mapping[int, Float[Tensor, "batch pos n_heads d_head"]],
        ffn_out: Sequence[Float[Tensor, "batch pos d_model"]], real: Bool[Tensor, "batch pos"],
    ) -> None:
        for layer, gram in grams.items():
            heads = z[layer][real.to(z[layer].device)].to(gram.device).double()  # (n real positions, n_heads, d_head)
            squares = torch.einsum("phd,hde,phe->ph", heads, gram, heads)
            norms[layer] += squares.clamp(min=0).sqrt().sum(0).cpu()

    each_pass(model, sequences, add, progress, batch_tokens)
    n = sum(map(len, sequences))
    return MeanWrites(len(sequences), n, norms / n)


def _gram(model: LoadedModel, layer: int) -> Float[Tensor, "n_heads d_head d_head"]:
    """Each head's rows of the output projection times themselves."""
    weight, _ = output_projection(model.attn_outs[layer])
    rows = weight.detach().double().unflatten(0, (model.n_heads, -1))  # (n_heads, d_head, d_model)
    products: Tensor = rows @ rows.transpose(1, 2)
    return products
