"""What the work must cost: tokens that have to be read, and products that have to be formed.

A product is one multiplication with its addition, two FLOPs. Per token read, every weight of the blocks takes part
once; per pair of a token and one it attends to, each layer multiplies once for the score and once for the value, over
all its heads; per position whose logits are scored, every weight of the unembedding.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.benchmarks.workloads import Lengths, Shape


@dataclass(frozen=True)
class Count:
    """What is read, attended and scored."""

    tokens: int = 0
    attended: int = 0  # pairs of a token and one that it sees, itself included
    scored: int = 0  # positions whose logits are needed

    def __add__(self, other: Count) -> Count:
        return Count(self.tokens + other.tokens, self.attended + other.attended, self.scored + other.scored)

    def __mul__(self, times: int) -> Count:
        return Count(self.tokens * times, self.attended * times, self.scored * times)

    def flops(self, shape: Shape) -> int:
        """Floating point operations of a forward pass."""
        per_token = shape.n_layers * (4 * shape.d_model**2 + 2 * shape.d_model * shape.d_ffn)
        per_pair = shape.n_layers * 2 * shape.d_model
        return 2 * (self.tokens * per_token + self.attended * per_pair
                    + self.scored * shape.d_model * shape.vocab_size)


def chain(n: int, behind: int = 0) -> Count:
    """`n` tokens one after the other behind `behind` earlier ones."""
    return Count(n, n * behind + n * (n + 1) // 2)


def question(lengths: Lengths, behind: int) -> Count:
    """A question and its options as branches; the last token of an option is predicted, not read."""
    branches = chain(lengths.option - 1, behind + lengths.question) * lengths.n_options
    scored = 1 + lengths.n_options * (lengths.option - 1)
    return chain(lengths.question, behind) + branches + Count(scored=scored)


def evaluation(lengths: Lengths, demos: str = "fixed") -> Count:
    """Scoring every option of every query, with no token read twice that need not be."""
    if demos == "fixed":
        return chain(lengths.prefix) + question(lengths, lengths.prefix) * lengths.n_queries
    return (chain(lengths.prefix) + question(lengths, lengths.prefix)) * lengths.n_queries


def plain_evaluation(lengths: Lengths) -> Count:
    """The same in the plain way: a row for every option, logits at every position."""
    width = lengths.prefix + lengths.question + lengths.option - 1
    return (chain(width) + Count(scored=width)) * (lengths.n_queries * lengths.n_options)
