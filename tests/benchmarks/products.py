"""What a row's own products take when torch forms them alone: no model, no engine, no tokens.

A 2048 x 2048 x 2048 product is the machine at its best. The products of a small model are smaller: d_model 576 against
its FFN of 1,536, a few hundred tokens at a time. Formed alone they say how fast the row could be, were nothing but
these products left of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from backend.models.loading import DTYPES
from tests.benchmarks.measuring import seconds_of
from tests.benchmarks.theory import Count
from tests.benchmarks.workloads import Lengths, Shape

BLOCK = 2048  # tokens whose products are formed together, at most
POSITIONS, WORDS = 512, 4096  # positions and words of the vocabulary whose logits are formed together, at most
N_BLOCKS = 4  # layers that are formed; the others cost alike


@dataclass(frozen=True)
class Reading:
    """What is read: first texts that end where nothing is scored, then behind them the trees of the questions."""

    count: Count
    n_prefixes: int
    prefix: int  # tokens of each, on average
    n_trees: int
    tree: int  # tokens of each, on average

    @classmethod
    def of(cls, lengths: Lengths, count: Count, demos: str) -> Reading:
        """Shared demonstrations and, behind them, whole questions; or every question's text, and its options."""
        n = lengths.n_queries
        own = demos != "fixed" or not lengths.n_shots
        prefix = lengths.prefix + lengths.question - 1 if own else lengths.prefix
        prefixes = n if own else 1
        return cls(count, prefixes, prefix, n, round((count.tokens - prefixes * prefix) / n))


class Products:
    """The products of a reading, to be formed again and again.

    Of the layers but the last, whose silent tokens need keys and values alone, `N_BLOCKS` are formed and count for all.
    Attention is torch's own fused kernel, which also forms what a mask then hides. Queries, keys and values come out of
    one product, and so do the two halves of a gated FFN.
    """

    def __init__(self, reading: Reading, shape: Shape, dtype: str = "float32", device: str = "cpu") -> None:
        self.reading, self.shape = reading, shape
        self.made = partial(torch.randn, device=device, dtype=DTYPES[dtype])
        self.device = device
        d, keys_values = shape.d_model, shape.key_value_weights // shape.d_model
        wide = shape.d_ffn * (2 if shape.family == "llama" else 1)
        self.n_blocks = min(N_BLOCKS, shape.n_layers - 1)
        self.weights = [[self.made(d + keys_values, d), self.made(d, d), self.made(wide, d), self.made(d, shape.d_ffn)]
                        for _ in range(max(self.n_blocks, 1))]
        self.words = self.made(shape.vocab_size, d)
        self.states = self.made(BLOCK, max(d, shape.d_ffn))
        tokens = reading.n_prefixes * reading.prefix
        self.prefixes = _cut(tokens) if tokens > 0 else []
        self.trees = _cut(reading.count.tokens - tokens)
        self.attended = [*self._of_prefixes(), *self._of_trees(reading.tree)]
        heard = reading.count.tokens - reading.count.silent
        self.heard, self.heard_attended = _cut(heard), [*self._of_trees(-(-heard // reading.n_trees))]

    @torch.inference_mode()
    def seconds(self) -> float:
        """What all of them take."""
        times = (self.shape.n_layers - 1) / self.n_blocks if self.n_blocks else 0
        blocks = seconds_of(lambda: [self._block(*self.weights[i]) for i in range(self.n_blocks)], self.device)
        return times * blocks + seconds_of(lambda: (self._last(*self.weights[0]), self._unembed()), self.device)

    def _block(self, inwards: Tensor, out: Tensor, up: Tensor, down: Tensor) -> None:
        d = self.shape.d_model
        for n in (*self.prefixes, *self.trees):
            linear(self.states[:n, :d], inwards)
            linear(self.states[:n, :d], out)
            linear(self.states[:n, :d], up)
            linear(self.states[:n, :self.shape.d_ffn], down)
        for attend in self.attended:
            attend()

    def _last(self, inwards: Tensor, out: Tensor, up: Tensor, down: Tensor) -> None:
        d = self.shape.d_model
        for n in (*self.prefixes, *self.trees):
            linear(self.states[:n, :d], inwards[d:])
        for n in self.heard:
            linear(self.states[:n, :d], inwards[:d])
            linear(self.states[:n, :d], out)
            linear(self.states[:n, :d], up)
            linear(self.states[:n, :self.shape.d_ffn], down)
        for attend in self.heard_attended:
            attend()

    def _unembed(self) -> None:
        d = self.shape.d_model
        for n in _cut(self.reading.count.scored, POSITIONS):
            for words in self.words.split(WORDS):
                linear(self.states[:n, :d], words)

    def _of_prefixes(self) -> list[Callable[[], Tensor]]:
        """Attention within the texts that come first."""
        read = self.reading
        if read.prefix <= 0:
            return []
        together = max(1, BLOCK // read.prefix)
        return [self._attention(n, read.prefix, read.prefix, True) for n in _cut(read.n_prefixes, together)]

    def _of_trees(self, width: int) -> list[Callable[[], Tensor]]:
        """Attention of so many tokens of each tree, to the tree and to what it stands behind."""
        read = self.reading
        if width <= 0:
            return []
        together = max(1, BLOCK // width)
        return [self._attention(n, width, read.prefix + read.tree, False) for n in _cut(read.n_trees, together)]

    def _attention(self, n: int, width: int, keys: int, causal: bool) -> Callable[[], Tensor]:
        heads, d_head = self.shape.n_heads, self.shape.d_head
        query, key, value = (self.made(n, heads, length, d_head) for length in (width, keys, keys))
        mask = None if causal else torch.zeros(n, 1, width, keys, device=query.device, dtype=query.dtype)
        return partial(scaled_dot_product_attention, query, key, value, attn_mask=mask, is_causal=causal)


def _cut(n: int, at_most: int = BLOCK) -> list[int]:
    """n in parts of about equal size."""
    parts = -(-n // at_most)
    return [n // parts + (i < n % parts) for i in range(parts)]
