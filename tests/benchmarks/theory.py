"""What the work must cost: tokens that have to be read, and products that have to be formed.

A product is one multiplication with its addition, two FLOPs. Per token read, every weight of the blocks takes part
once; per pair of a token and one it attends to, each layer multiplies once for the score and once for the value, over
all its heads; per position whose logits are scored, every weight of the unembedding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace

from tests.benchmarks.workloads import Lengths, Shape


@dataclass(frozen=True)
class Count:
    """What is read, attended and scored."""

    tokens: int = 0
    attended: int = 0  # pairs of a token and one that it sees, itself included
    scored: int = 0  # positions whose logits are needed
    silent: int = 0  # tokens at which nothing is scored
    silent_attended: int = 0  # and the pairs of these

    def __add__(self, other: Count) -> Count:
        return Count(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: int) -> Count:
        return Count(*(n * times for n in astuple(self)))

    def flops(self, shape: Shape) -> int:
        """Floating point operations of a forward pass."""
        blocks = 0
        if shape.n_layers:
            per_pair = 2 * shape.n_heads * shape.d_head
            blocks = shape.n_layers * (self.tokens * shape.block_weights + self.attended * per_pair)
            # Where nothing is scored, the last block's keys and values are all that anyone reads.
            blocks -= (self.silent * (shape.query_weights + shape.behind_weights)
                       + self.silent_attended * per_pair)
        return 2 * (blocks + self.scored * shape.d_model * shape.vocab_size)


def chain(n: int, behind: int = 0) -> Count:
    """`n` tokens one after the other behind `behind` earlier ones."""
    return Count(n, n * behind + n * (n + 1) // 2)


def silent(n: int, behind: int = 0) -> Count:
    """The same, where nothing is scored."""
    count = chain(n, behind)
    return replace(count, silent=count.tokens, silent_attended=count.attended)


def question(lengths: Lengths, behind: int) -> Count:
    """A question and its options as branches; the last token of an option is predicted, not read."""
    branches = chain(lengths.option - 1, behind + lengths.question) * lengths.n_options
    scored = 1 + lengths.n_options * (lengths.option - 1)
    last = behind + lengths.question - 1
    return silent(lengths.question - 1, behind) + chain(1, last) + branches + Count(scored=scored)


def evaluation(lengths: Lengths, demos: str = "fixed") -> Count:
    """Scoring every option of every query, with no token read twice that need not be."""
    if demos == "fixed":
        return silent(lengths.prefix) + question(lengths, lengths.prefix) * lengths.n_queries
    return (silent(lengths.prefix) + question(lengths, lengths.prefix)) * lengths.n_queries


def texts(queries: Iterable[Iterable[tuple[tuple[int, ...], tuple[int, ...]]]]) -> Count:
    """The same for any texts: (context, continuation) in token ids, option by option and query by query.

    Every distinct beginning of a text is read once, whoever shares it, but for the whole text, whose last token is
    predicted and never read.
    """
    children: dict[tuple[int, int], int] = {}  # (node, token behind it) -> its node
    depth, scored = {0: 0}, set[int]()
    for query in queries:
        for context, continuation in query:
            node, ids = 0, context + continuation
            for place, token in enumerate(ids[:-1]):
                node = children.setdefault((node, token), len(children) + 1)
                depth[node] = place + 1  # itself included
                if place + 1 >= len(context):
                    scored.add(node)
    quiet = [n for n in depth if n and n not in scored]
    return Count(len(children), sum(depth.values()), len(scored), len(quiet), sum(depth[n] for n in quiet))


def ffn_oracle(lengths: Lengths, shape: Shape) -> int:
    """Floating point operations of an evaluation without each FFN: what lies above it, and the intact model once."""
    above = sum(evaluation(lengths).flops(replace(shape, n_layers=n)) for n in range(shape.n_layers))
    return evaluation(lengths).flops(shape) + above


def plain_evaluation(lengths: Lengths) -> Count:
    """The same in the plain way: a row for every option, logits at every position."""
    width = lengths.prefix + lengths.question + lengths.option - 1
    return (chain(width) + Count(scored=width)) * (lengths.n_queries * lengths.n_options)


def importance(lengths: Lengths, shape: Shape, demos: str = "per-query") -> int:
    """Floating point operations of the gates' gradients for every query, from the gold option's tokens alone.

    Backwards, every weight between two layers' gates takes part once more, and every attended pair twice as often as
    forwards. The first layer's queries, keys and values get no gradient, and behind the last layer's attention only
    the answer's tokens count. Fixed demonstrations go forwards once.
    """
    d, own = shape.n_heads * shape.d_head, lengths.question + lengths.option - 1
    before_attention, behind = shape.query_weights + shape.key_value_weights, shape.behind_weights
    whole, prefix = chain(lengths.prefix + own), chain(lengths.prefix)

    def products(count: Count, answer: int, layers: int, per_pair: int) -> int:
        """Of the weights, and per layer and attended pair."""
        return (count.tokens * (layers * before_attention + (shape.n_layers - 1) * behind) + answer * behind
                + count.attended * shape.n_layers * per_pair * d)

    forwards = products(whole, lengths.option, shape.n_layers, 2)
    backwards = (products(whole, lengths.option, shape.n_layers - 1, 4)
                 + 2 * lengths.option * shape.d_model * shape.vocab_size)
    again = products(prefix, 0, shape.n_layers, 2) * (lengths.n_queries - 1) if demos == "fixed" else 0
    return 2 * (lengths.n_queries * (forwards + backwards) - again)


def plain_importance(lengths: Lengths, shape: Shape) -> int:
    """The same in the study's way: logits at every position, and gradients of every weight beside those of the data."""
    width = lengths.prefix + lengths.question + lengths.option - 1
    return 3 * lengths.n_queries * (chain(width) + Count(scored=width)).flops(shape)
