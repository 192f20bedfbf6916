"""Attention as it happens: handed to a reader layer by layer, and then forgotten.

A pass under `watch` hands each layer's `Attention` to a reader, which takes what it needs, so that no more than
a few rows of one layer's pattern exist at a time. A reader may also end the pass (`Enough`): what comes after
the layer it wanted is never computed.

Two ways in. Most models call torch's `scaled_dot_product_attention`: during a watched pass, in its thread alone, that
call is intercepted, and the reader gets queries, keys and values. Models that run eager attention return their
pattern from the attention module instead; a hook hands that over, without values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from ..arrays import Bool, Float, Int, Shaped
from ..errors import ModelError
from ..models.adapters import part
from ..models.gates import ALL_ON, NOTHING, WHOLE, Gates, Kept, Route, passing

if TYPE_CHECKING:
    from ..models.loading import LoadedModel

CPU_BLOCK_BYTES = 4 << 20  # of one block of a layer's pattern: about what a CPU's cache holds
GPU_BLOCK_BYTES = 256 << 20


class Enough(Exception):
    """Raised by a reader to end the pass."""


@dataclass(frozen=True)
class Attention:
    """What the heads of one layer look at, in every sequence of a pass.

    Attributes:
        layer: counted from 0.
        shape: (batch, n_heads, pos).
        q: None where the model only shows its finished pattern.
        k, v: with grouped queries, several query heads share a key head.
        mask: what the model adds to (float; with alibi head by head) or admits in (bool) the pattern; None: causal.
        finished: the pattern itself, where there is no q.
    """

    layer: int
    shape: tuple[int, int, int]
    q: Float[Tensor, "batch n_heads pos d_head"] | None = None
    k: Float[Tensor, "batch n_key_heads pos d_head"] | None = None
    v: Float[Tensor, "batch n_key_heads pos _"] | None = None
    mask: Shaped[Tensor, "#batch #n_heads pos pos"] | None = None
    scaling: float = 1.0
    finished: Float[Tensor, "batch n_heads pos pos"] | None = None

    def pattern(self, first: int, last: int) -> Float[Tensor, "batch n_heads {last}-{first} {last}"]:
        """The attention of these query positions to all before them."""
        if self.finished is not None:
            return self.finished[:, :, first:last, :last]
        return self.scores(first, last).softmax(-1, dtype=torch.float32)

    def scores(self, first: int, last: int) -> Float[Tensor, "batch n_heads {last}-{first} {last}"]:
        """The same before the softmax, where the model shows it: enough to see which key wins."""
        if self.q is None or self.k is None:
            return self.pattern(first, last)
        batch, n_heads, _ = self.shape
        n_key_heads = self.k.shape[1]
        q = self.q[:, :, first:last].reshape(batch, n_key_heads, -1, self.q.shape[-1])  # query heads of a key head
        scores = torch.matmul(q * self.scaling, self.k[:, :, :last].transpose(-1, -2))
        scores = scores.view(batch, n_heads, last - first, last)
        if self.mask is None:
            hide_the_future(scores, first)
        elif self.mask.dtype == torch.bool:
            scores.masked_fill_(~self.mask[:, :, first:last, :last], torch.finfo(scores.dtype).min)
        else:
            scores += self.mask[:, :, first:last, :last]
        return scores

    def values(self) -> Float[Tensor, "batch n_heads pos _"] | None:
        """Each query head's values; None where the model does not show them."""
        return None if self.v is None else self.v.repeat_interleave(self.shape[1] // self.v.shape[1], 1)

    def moved(self, pattern: Float[Tensor, "batch n_heads q_pos k_pos"]) -> Float[Tensor, "batch n_heads q_pos _"]:
        """The values that some rows of the pattern collect."""
        assert self.v is not None
        batch, n_heads, rows, n_keys = pattern.shape
        v = self.v[:, :, :n_keys]
        collected = torch.matmul(pattern.to(v.dtype).view(batch, v.shape[1], -1, n_keys), v)
        return collected.view(batch, n_heads, rows, v.shape[-1])

    def blocks(self, start: int = 0) -> Iterator[tuple[int, int]]:
        """Ranges (first, last) of query positions from `start` on, each a pattern of bounded size."""
        batch, n_heads, n_pos = self.shape
        budget = GPU_BLOCK_BYTES if self.q is not None and self.q.is_cuda else CPU_BLOCK_BYTES
        rows = max(16, budget // (4 * batch * n_heads * n_pos))
        for first in range(start, n_pos, rows):
            yield first, min(n_pos, first + rows)


# Takes a layer's attention. It may answer with the head outputs z, (batch, n_heads, pos, d_head), where it has
# formed the pattern anyway; with None the model forms them itself.
Reader = Callable[[Attention], Float[Tensor, "batch n_heads pos _"] | None]


def hide_the_future(scores: Float[Tensor, "... q_pos k_pos"], first: int) -> None:
    """Set scores (.., rows, keys) of query positions `first` and on to minus infinity where the key comes later."""
    rows, n_keys = scores.shape[-2:]
    scores[..., first:].masked_fill_(_later(rows, n_keys - first, scores.device), float("-inf"))


@lru_cache(maxsize=16)
def _later(rows: int, n_keys: int, device: torch.device) -> Bool[Tensor, "{rows} {n_keys}"]:
    return torch.ones(rows, n_keys, dtype=torch.bool, device=device).triu_(1)


class _Watch(TorchFunctionMode):
    """Stands between a pass and torch's attention function."""

    def __init__(self, read: Reader, modules: Mapping[int, nn.Module], n_heads: int, start: int) -> None:
        super().__init__()
        self.read, self.n_heads = read, n_heads
        self.layers = {id(module): layer for layer, module in modules.items() if layer >= start}
        self.layer: int | None = None  # whose attention module is running
        self.seen: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention and self.layer is not None:
            self.seen.add(self.layer)
            z = self._show(self.layer, *args, **(kwargs or {}))
            if z is not None:
                return z
        return func(*args, **(kwargs or {}))

    def _show(
        self, layer: int, query: Float[Tensor, "batch _ _ d_head"], key: Float[Tensor, "batch n_key_heads pos d_head"],
        value: Float[Tensor, "batch n_key_heads pos _"], attn_mask: Shaped[Tensor, "#batch _ _ _"] | None = None,
        dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> Float[Tensor, " ..."] | None:
        batch, _, _, d_head = query.shape
        q = query.reshape(batch, self.n_heads, -1, d_head)  # one position: transformers packs heads of a group as rows
        # Laid out once, so that no block of the pattern has to copy all keys and values before it.
        z = self.read(Attention(layer, (batch, self.n_heads, q.shape[2]), q, key.contiguous(), value.contiguous(),
                                attn_mask, d_head ** -0.5 if scale is None else scale))
        return None if z is None else z.reshape(*query.shape[:-1], -1)


_current: ContextVar[_Watch | None] = ContextVar("headroom_watch", default=None)


def _begin_attention(module: nn.Module, args: tuple[Any, ...]) -> None:
    """Say whose attention is running."""
    if (watching := _current.get()) is not None:
        watching.layer = watching.layers.get(id(module))


def _end_attention(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    """Hand over a pattern that the attention module returns, and let it go."""
    watching = _current.get()
    if watching is None or watching.layer is None:
        return None
    layer, watching.layer = watching.layer, None
    if layer in watching.seen or not isinstance(output, tuple):
        return None
    for position, pattern in enumerate(output[1:], 1):
        if isinstance(pattern, Tensor) and pattern.dim() == 4 and pattern.shape[-1] == pattern.shape[-2]:
            watching.seen.add(layer)
            batch, n_heads, n_pos, _ = pattern.shape
            watching.read(Attention(layer, (batch, n_heads, n_pos), finished=pattern))
            return (*output[:position], None, *output[position + 1:])
    return None


@torch.no_grad()
def watch(
    model: LoadedModel, ids: Int[np.ndarray, "batch pos"], read: Reader, gates: Gates = ALL_ON, route: Route = WHOLE,
    kept: Kept = NOTHING,
) -> Float[Tensor, "batch pos d_hidden"] | None:
    """Run token ids (batch, pos) through the model and show each layer's attention to a reader.

    Args:
        gates, route, kept: what the pass does differently from the plain one.

    Returns:
        (batch, pos, d) hidden states after the last norm; None where the reader ended the pass.

    Raises:
        ModelError: if the model does not show its attention.
    """
    modules = {layer: part(model.blocks[layer], model.adapter.attention) for layer in model.attn_outs}
    for module in modules.values():  # once; like the gates' hooks, they do nothing outside of a watched pass
        if _end_attention not in module._forward_hooks.values():
            module.register_forward_pre_hook(_begin_attention)
            module.register_forward_hook(_end_attention)
    watching = _Watch(read, modules, model.n_heads, route.start)
    token = _current.set(watching)
    try:
        with passing(gates, route, kept), watching:
            output = model.trunk(torch.as_tensor(ids, device=model.device), use_cache=False)
            hidden: Tensor | None = output.last_hidden_state
    except Enough:
        hidden = None
    finally:
        _current.reset(token)
    if not watching.seen:
        raise ModelError(f"'{model.info.name}' does not show its attention: its attention implementation is "
                         f"'{model.model.config._attn_implementation}'. Load it with 'sdpa' or 'eager'.")
    return hidden
