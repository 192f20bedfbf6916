"""Attention in bfloat16 on a processor: as matrix products, which beat the fused kernel there.

torch's fused kernel takes as long in bfloat16 as in float32, while the processor's matrix products take half; and its
backward pass is slower still. So queries, keys and values are multiplied plainly as long as the pattern is small. Its
entries are rounded to bfloat16 before the softmax, as in transformers' own eager attention. Everything else, float32
above all, goes through the fused kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function
from transformers import AttentionInterface

PATTERN_BYTES = 64 * 2**20  # of one layer's pattern; larger ones are left to the fused kernel

_fused: Callable[..., Any] = AttentionInterface()["sdpa"]


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    dropout: float = 0.0, scaling: float | None = None, **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """(batch, q_pos, n_heads, d_head) head outputs of (batch, n_heads, pos, d_head) queries, keys and values."""
    batch, n_heads, n_queries, d_head = query.shape
    plain = (
        query.dtype == torch.bfloat16 and query.device.type == "cpu" and n_queries > 1 and not dropout
        and key.shape[:2] == (batch, n_heads)
        and 2 * batch * n_heads * n_queries * key.shape[2] <= PATTERN_BYTES
        and (attention_mask.is_floating_point() if attention_mask is not None else n_queries == key.shape[2])
        and set(kwargs) <= {"position_ids"}
        and not has_torch_function((query,))  # somebody watches the fused kernel being called
    )
    if not plain:
        return _fused(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    scores = torch.matmul(query * (d_head ** -0.5 if scaling is None else scaling), key.transpose(-1, -2))
    if attention_mask is None:
        attention_mask = torch.full_like(scores[0, 0], torch.finfo(scores.dtype).min).triu_(1)
    pattern = (scores + attention_mask).softmax(-1)
    return torch.matmul(pattern, value).transpose(1, 2).contiguous(), None


AttentionInterface.register("sdpa", attention)
