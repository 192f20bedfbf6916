"""Attention as matrix products: in bfloat16 on a processor, and where gradients of many prompts go through one pass.

torch's fused kernel takes as long in bfloat16 as in float32, while the processor's matrix products take half; and its
backward pass is slower still. So queries, keys and values are multiplied plainly as long as the pattern is small. Its
entries are rounded to bfloat16 before the softmax, as in transformers' own eager attention. Everything else, float32
above all, goes through the fused kernel.

Models that we load are given this attention by a name of its own; every other model of the process keeps what it has.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode, has_torch_function
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from ..arrays import Float, Shaped
from . import gates

PATTERN_BYTES = 64 * 2**20  # of one layer's pattern; larger ones are left to the fused kernel
NAME = "headroom"

_fused = AttentionInterface()["sdpa"]


def use(model: PreTrainedModel) -> None:
    """Let a model call `attention` where it would call transformers' "sdpa"; one that has another way keeps it."""
    # Some (Falcon) compare the name with "sdpa" instead of looking it up.
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        model.set_attn_implementation(NAME)


def is_ours(model: PreTrainedModel) -> bool:
    """Whether a model calls `attention`."""
    name: str = model.config._attn_implementation
    return name == NAME


def attention(
    module: nn.Module, query: Float[Tensor, "_ n_heads q_pos d_head"],
    key: Float[Tensor, "batch n_key_heads k_pos d_head"], value: Float[Tensor, "batch n_key_heads k_pos _"],
    attention_mask: Shaped[Tensor, " ..."] | None, dropout: float = 0.0, scaling: float | None = None, **kwargs: Any,
) -> tuple[Float[Tensor, "_ q_pos n_heads _"], Float[Tensor, " ..."] | None]:
    """Head outputs of queries, keys and values; keys and values of an unpadded pass stand in rows already."""
    if (unpadded := gates.unpadded()) is not None:
        z, _ = _in_rows(module, unpadded.in_rows(query), key, value, attention_mask, dropout, scaling, **kwargs)
        return unpadded.out_of_rows(z), None
    return _in_rows(module, query, key, value, attention_mask, dropout, scaling, **kwargs)


def _in_rows(
    module: nn.Module, query: Float[Tensor, "batch n_heads q_pos d_head"],
    key: Float[Tensor, "batch n_key_heads k_pos d_head"], value: Float[Tensor, "batch n_key_heads k_pos _"],
    attention_mask: Shaped[Tensor, " ..."] | None, dropout: float, scaling: float | None, **kwargs: Any,
) -> tuple[Float[Tensor, "batch q_pos n_heads _"], Float[Tensor, " ..."] | None]:
    batch, n_heads, n_queries, _ = query.shape
    plain = (
        _products_win(query, key) and n_queries > 1 and not dropout and key.shape[:2] == (batch, n_heads)
        and (attention_mask.is_floating_point() if attention_mask is not None else n_queries == key.shape[2])
        and set(kwargs) <= {"position_ids"}
        and not has_torch_function((query,))  # somebody watches the fused kernel being called
    )
    if not plain and _shares_keys(query, key) and attention_mask is not None and not dropout:
        z = scaled_dot_product_attention(query, key, value, attention_mask, scale=scaling, enable_gqa=True)
        return z.transpose(1, 2).contiguous(), None
    if not plain:
        fused: tuple[Tensor, Tensor | None] = _fused(module, query, key, value, attention_mask, dropout=dropout,
                                                     scaling=scaling, **kwargs)
        return fused
    z = _products(query, key, value, attention_mask, causal=attention_mask is None, scaling=scaling)
    return z.transpose(1, 2).contiguous(), None


def _shares_keys(
    query: Float[Tensor, "batch n_heads q_pos d_head"], key: Float[Tensor, "batch n_key_heads k_pos d_head"]
) -> bool:
    """Whether heads share keys and values that torch can read where they are: transformers copies them for each head
    wherever there is a mask, a quarter of the time of attention on a processor."""
    return query.device.type == "cpu" and key.shape[1] < query.shape[1] and not torch.is_grad_enabled()


class PlainAttention(TorchFunctionMode):
    """Passes inside, in this thread alone, multiply plainly whenever torch's attention is called, whatever model calls.

    Then the backward pass can be batched over prompts, which that of the fused kernel cannot. torch's own switch
    (`sdpa_kernel`) is one for all threads: two that use it at a time leave it as the other one found it.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention:
            return _instead_of_fused(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _instead_of_fused(
    query: Float[Tensor, "batch n_heads q_pos d_head"], key: Float[Tensor, "batch n_key_heads k_pos d_head"],
    value: Float[Tensor, "batch n_key_heads k_pos _"], attn_mask: Shaped[Tensor, " ..."] | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Float[Tensor, "batch n_heads q_pos _"]:
    assert dropout_p == 0, "models are frozen in evaluation mode"
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    exact = query.dtype if _products_win(query, key) or query.dtype == torch.float64 else torch.float32
    z = _products(query.to(exact), key.to(exact), value.to(exact), attn_mask, is_causal, scale)
    return z.to(query.dtype)


def _products_win(
    query: Float[Tensor, "batch n_heads q_pos d_head"], key: Float[Tensor, "batch _ k_pos d_head"]
) -> bool:
    """Whether matrix products are faster than the fused kernel, which has no path of its own for bfloat16 there."""
    batch, n_heads, n_queries, _ = query.shape
    return (query.dtype == torch.bfloat16 and query.device.type == "cpu"
            and 2 * batch * n_heads * n_queries * key.shape[2] <= PATTERN_BYTES)


def _products(
    query: Float[Tensor, "batch n_heads q_pos d_head"], key: Float[Tensor, " batch #n_heads k_pos d_head"],
    value: Float[Tensor, " batch #n_heads k_pos _"], mask: Shaped[Tensor, " ..."] | None, causal: bool,
    scaling: float | None,
) -> Float[Tensor, "batch n_heads q_pos _"]:
    """Head outputs; a mask is added (float) or admits (bool)."""
    scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scaling is None else scaling), key.transpose(-1, -2))
    lowest = torch.finfo(scores.dtype).min
    if causal:
        mask = torch.full(scores.shape[-2:], lowest, dtype=scores.dtype, device=scores.device).triu_(1)
    elif mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=scores.dtype, device=scores.device).masked_fill_(~mask, lowest)
    if mask is not None:
        scores = scores + mask
    return torch.matmul(scores.softmax(-1), value)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, AttentionMaskInterface()["sdpa"])
