"""Questions as token trees: shared text stands once, options branch off it.

The options of a question mostly share their context, and sometimes their first tokens. A tree holds every distinct
token prefix of all (context + option) sequences once: a node is a token, its position is its depth, and it attends
to its ancestors only, so each option is read as if it stood alone. The last token of an option is never read, only
predicted. Several small trees are packed side by side into one row; in a row no tree sees another.

Demonstrations that all questions share stand apart as a prefix, which is read once for all of them. So does a long
context of one question, which is then read where nothing is scored, beside the contexts of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from ..arrays import Bool, Int
from ..errors import BadInput
from ..records import Questions
from ..tasks.task import Prompt

T = TypeVar("T")
EncodePairs = Callable[[Sequence[tuple[str, str]]], Sequence[tuple[tuple[int, ...], tuple[int, ...], bool]]]
MIN_PREFIX = 8  # tokens; a shorter shared prefix is not worth a pass of its own
ENCODED_TOGETHER = 64  # prompts; more would hold many long texts at once
MIN_OWN_PREFIX = 256  # tokens; a longer context of one question alone is read apart, where nothing is scored


@dataclass(frozen=True)
class Scored:
    """One (context, continuation) pair as token ids; both have at least one token."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]
    spans: bool = False  # whether the continuation's first token holds some of the context's text

    @property
    def ids(self) -> tuple[int, ...]:
        return self.context + self.continuation


@dataclass
class Tree:
    """The tokens of one question's options behind the prefix, each distinct prefix once."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)  # -1: directly behind the prefix
    depths: list[int] = field(default_factory=list)  # position in the text
    targets: list[tuple[int, int, int]] = field(default_factory=list)  # (node, token it should predict, option)

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Query:
    """One question in token ids, one `Scored` per option."""

    options: tuple[Scored, ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest option with its context."""
        return max(len(option.context) + len(option.continuation) for option in self.options)

    @property
    def n_spanning(self) -> int:
        """Options that begin with a token which holds some of the context's text."""
        return sum(option.spans for option in self.options)


@dataclass(frozen=True)
class Row:
    """Trees packed side by side, with the (question, option) of each target."""

    trees: tuple[Tree, ...]
    numbers: tuple[int, ...]  # which question each tree is

    def __len__(self) -> int:
        return sum(map(len, self.trees))


class _Padded:
    """Rows of tokens, short ones padded behind their end."""

    tokens: Int[np.ndarray, "batch pos"]
    lengths: Int[np.ndarray, " batch"]
    unpadded: bool  # whether a pass reads them without their padding

    @property
    def n_tokens(self) -> int:
        """Tokens that a pass reads of them."""
        return int(self.lengths.sum()) if self.unpadded else self.tokens.size

    @property
    def real(self) -> Int[np.ndarray, " n_real"]:
        """Flat row * pos + place of what is no padding, ascending."""
        return np.flatnonzero(np.arange(self.tokens.shape[1]) < self.lengths[:, None])


@dataclass(frozen=True)
class Batch(_Padded):
    """Rows of about equal length as arrays; the padding behind short rows attends to itself alone."""

    tokens: Int[np.ndarray, "batch pos"]  # token ids
    positions: Int[np.ndarray, "batch pos"]  # positions in the text
    ancestors: Bool[np.ndarray, "batch pos pos"]  # which nodes a node attends to, itself included
    lengths: Int[np.ndarray, " batch"]  # nodes that are no padding
    behind: Int[np.ndarray, " batch"]  # tokens of the prefix that each row stands behind
    nodes: Int[np.ndarray, " n_nodes"]  # flat row * pos + node: where logits are needed, each once
    target_nodes: Int[np.ndarray, " n_targets"]  # index into `nodes`
    target_tokens: Int[np.ndarray, " n_targets"]  # the token to predict there
    target_questions: Int[np.ndarray, " n_targets"]  # question, counted over all prompts
    target_options: Int[np.ndarray, " n_targets"]  # option of that question
    unpadded: bool = False


@dataclass(frozen=True)
class Prefixes(_Padded):
    """Texts that one pass reads side by side, for what stands behind them."""

    tokens: Int[np.ndarray, "batch n_prefix"]  # token ids
    lengths: Int[np.ndarray, " batch"]
    unpadded: bool = False

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> Prefixes:
        lengths = np.array([len(text) for text in texts])
        return cls(np.array([[*text, *[0] * (lengths.max() - len(text))] for text in texts]), lengths)


@dataclass(frozen=True)
class Group:
    """Questions that share a prefix, or one batch of questions with a prefix each.

    There is one entry of `prefixes` for every pass that reads some. Together they are none, one text for all rows, or
    several, each for an equal share of the batch's rows, in order.
    """

    prefixes: tuple[Prefixes, ...]
    batches: tuple[Batch, ...]

    @property
    def n_prefix_tokens(self) -> int:
        """Tokens that are read of the prefixes."""
        return sum(prefix.n_tokens for prefix in self.prefixes)

    def unpadded(self) -> Group:
        """The same, what has padding read without it."""
        return Group(tuple(map(_unpadded, self.prefixes)), tuple(map(_unpadded, self.batches)))


P = TypeVar("P", Prefixes, Batch)


def _unpadded(one: P) -> P:
    return replace(one, unpadded=bool((one.lengths < one.tokens.shape[1]).any()))


def grow(query: Query, skip: int) -> Tree:
    """The tree of a question whose first `skip` tokens are the shared prefix."""
    tree = Tree()
    children: dict[tuple[int, int], int] = {}
    for number, option in enumerate(query.options):
        node, ids = -1, option.ids
        for position in range(skip, len(ids) - 1):
            key = (node, ids[position])
            if key not in children:
                children[key] = len(tree.tokens)
                tree.tokens.append(ids[position])
                tree.parents.append(node)
                tree.depths.append(position)
            node = children[key]
            if position + 1 >= len(option.context):
                tree.targets.append((node, ids[position + 1], number))
    return tree


def common_prefix(queries: Sequence[Query], at_most: int) -> int:
    """How many first tokens all options of all queries share, at most `at_most`."""
    first = queries[0].options[0].ids
    length = min(at_most, len(first))
    for query in queries:
        for option in query.options:
            ids = option.ids
            length = min(length, len(ids))
            if ids[:length] != first[:length]:
                length = next(i for i in range(length) if ids[i] != first[i])
    return length


def encode(
    prompts: Sequence[Prompt], encode_pairs: EncodePairs, max_positions: int
) -> Iterator[tuple[Query | None, int]]:
    """Each prompt in token ids, and how many of its demonstrations had to go.

    Every option is encoded together with all that stands before it, as the model would read it. Where the longest one
    does not fit the model's context, demonstrations are dropped from the front, whole; None where the question alone
    does not fit.

    Args:
        encode_pairs: (context, option) pairs of text -> token ids, in order.

    Raises:
        BadInput: if an option has no tokens even together with its context.
    """
    for first in range(0, len(prompts), ENCODED_TOGETHER):
        some = prompts[first:first + ENCODED_TOGETHER]
        found = iter(encode_pairs([pair for prompt in some for pair in _texts(prompt)]))
        for prompt in some:
            query, shorter, dropped = _query(prompt, found), prompt, 0
            while query.longest - 1 > max_positions and shorter.demos:
                shorter, dropped = shorter.without_first_demo(), dropped + 1
                query = _query(shorter, iter(encode_pairs(_texts(shorter))))
            yield (query if query.longest - 1 <= max_positions else None), dropped


def _texts(prompt: Prompt) -> list[tuple[str, str]]:
    """All that stands before each option, and the option.

    Blanks at the end go to the option, as in lm-evaluation-harness: most tokenizers write a blank into the token of the
    word behind it, but not behind every blank, and then one option would have to account for it and another not.
    """
    example, pairs = prompt.example, []
    for context, option in zip(example.contexts, example.options, strict=True):
        text = prompt.prefix + context
        kept = text if example.keeps_blanks else text.rstrip()
        pairs.append((kept, text[len(kept):] + option))
    return pairs


def _query(prompt: Prompt, pairs: Iterator[tuple[tuple[int, ...], tuple[int, ...], bool]]) -> Query:
    """The question whose encoded options come next."""
    query = Query(tuple(Scored(*next(pairs)) for _ in prompt.example.options))
    if any(not option.continuation for option in query.options):
        raise BadInput(f"An option of row {prompt.doc} has no tokens: {list(prompt.example.options)}.")
    return query


def questions_of(
    prompts: Sequence[Prompt], encoded: Sequence[tuple[Query | None, int]], metric: str
) -> Questions:
    """What is scored, from the prompts and what `encode` made of each."""
    kept = [(p, q, d) for p, (q, d) in zip(prompts, encoded, strict=True) if q is not None]
    return Questions(
        docs=tuple(p.doc for p, _, _ in kept), gold=tuple(p.example.gold for p, _, _ in kept),
        n_options=tuple(len(p.example.options) for p, _, _ in kept), groups=tuple(p.example.group for p, _, _ in kept),
        metric=metric, dropped_demos=tuple(d for _, _, d in kept),
        skipped=tuple(p.doc for p, (q, _) in zip(prompts, encoded, strict=True) if q is None),
        spanning=tuple(q.n_spanning for _, q, _ in kept),
        draws=tuple(p.draw for p, _, _ in kept if p.draw is not None),
    )


def group(queries: Sequence[Query], demos: Sequence[tuple[str, ...]], *, trees: bool, row_tokens: int,
          batch_tokens: int, held_tokens: int, prefixes: bool = True, unpadded: bool = False) -> list[Group]:
    """Questions that share demonstrations share a prefix; their trees are packed and batched by length.

    Args:
        queries: the questions in token ids.
        demos: the demonstrations each stands behind; equal ones share a prefix.
        trees: whether the model takes trees; otherwise each option is a row of its own behind the prefix.
        row_tokens: small trees are packed into rows of about this length.
        batch_tokens: tokens of a batch, padding included; a longer row is a batch of its own.
        held_tokens: tokens of long contexts whose options are read together; a longer one stands alone.
        prefixes: whether the model can read a prefix apart; otherwise every question is read whole.
        unpadded: whether it reads a batch without its padding.
    """
    members: dict[tuple[str, ...], list[int]] = {}
    for number, shown in enumerate(demos):
        members.setdefault(shown, []).append(number)
    together = [numbers for shown, numbers in members.items() if prefixes and len(numbers) > 1 and shown]
    # Questions that share no demonstrations with others: the short ones are read whole, without a prefix.
    single = [n for shown, numbers in members.items() if not (prefixes and len(numbers) > 1 and shown) for n in numbers]
    own = {n: _own_prefix(queries[n]) if prefixes else 0 for n in single}
    long = [n for n in single if own[n] >= MIN_OWN_PREFIX]
    short = [n for n in single if own[n] < MIN_OWN_PREFIX]

    def grown(numbers: Sequence[int], skip: int) -> list[Row]:
        """Trees packed into rows; or a row for each option, where the model takes no trees."""
        if trees:
            return _pack([(grow(queries[n], skip), n) for n in numbers], row_tokens)
        rows = []
        for n in numbers:
            for option_number, option in enumerate(queries[n].options):
                chain = grow(Query((option,)), skip)
                chain.targets = [(node, token, option_number) for node, token, _ in chain.targets]
                rows.append(Row((chain,), (n,)))
        return rows

    groups = _behind_draws(queries, together, row_tokens, batch_tokens, held_tokens, unpadded) if trees else []
    for numbers in filter(None, [*([] if trees else [*together, *([n] for n in long)]), short]):
        skip = _shared_prefix([queries[n] for n in numbers]) if numbers is not short else 0
        groups.append(_alone(queries[numbers[0]], skip, grown(numbers, skip), batch_tokens, unpadded))
    if trees:
        groups += _side_by_side({n: queries[n] for n in long}, own, batch_tokens, held_tokens, unpadded)
    return [g.unpadded() for g in groups] if unpadded else groups


def _alone(first: Query, skip: int, rows: Sequence[Row], batch_tokens: int, unpadded: bool) -> Group:
    """Rows behind one prefix, the first `skip` tokens of `first`, or behind none."""
    chunks = _cut(sorted(rows, key=len, reverse=True), lambda chunk: _fits(chunk, batch_tokens, unpadded))
    batches = tuple(_batch(chunk, [skip] * len(chunk)) for chunk in chunks)
    return Group((Prefixes.of([first.options[0].ids[:skip]]),) if skip else (), batches)


def _behind_draws(
    queries: Sequence[Query], draws: Sequence[list[int]], row_tokens: int, batch_tokens: int, held_tokens: int,
    unpadded: bool,
) -> list[Group]:
    """Questions behind several shared prefixes: draws whose trees would not fill a pass are read beside one another.

    Args:
        draws: the numbers of the questions that share a prefix, one list for each.
    """
    prefixes: dict[int, tuple[int, ...]] = {}
    rows: dict[int, list[Row]] = {}
    groups = []
    for place, numbers in enumerate(draws):
        first, skip = queries[numbers[0]], _shared_prefix([queries[n] for n in numbers])
        packed = _pack([(grow(queries[n], skip), n) for n in numbers], row_tokens)
        if not skip or 2 * len(packed) * max(map(len, packed)) > batch_tokens:
            groups.append(_alone(first, skip, packed, batch_tokens, unpadded))
        else:
            prefixes[place], rows[place] = first.options[0].ids[:skip], packed

    def size(chunk: list[int]) -> tuple[int, int]:
        """Rows that each draw gets, the same number for all, and tokens of a row."""
        return max(len(rows[d]) for d in chunk), max(len(row) for d in chunk for row in rows[d])

    def fit(chunk: list[int]) -> bool:
        n_rows, width = size(chunk)
        return (len(chunk) * n_rows * width <= batch_tokens
                and len(chunk) * len(prefixes[chunk[0]]) <= min(held_tokens, batch_tokens))

    for chunk in _cut(sorted(rows, key=lambda d: -len(prefixes[d])), fit):
        n_rows = size(chunk)[0]
        filled = [row for d in chunk for row in [*rows[d], *[Row((), ())] * (n_rows - len(rows[d]))]]
        behind = [len(prefixes[d]) for d in chunk for _ in range(n_rows)]
        groups.append(Group((Prefixes.of([prefixes[d] for d in chunk]),), (_batch(filled, behind),)))
    return groups


def _shared_prefix(queries: Sequence[Query]) -> int:
    """How many first tokens questions share that are worth a pass of their own; 0 where too few.

    At least one token of each context stays behind them: its logits score the first option token.
    """
    shared = common_prefix(queries, min(len(o.context) - 1 for q in queries for o in q.options))
    return shared if shared >= MIN_PREFIX else 0


def _side_by_side(
    queries: Mapping[int, Query], own: Mapping[int, int], batch_tokens: int, held_tokens: int, unpadded: bool
) -> list[Group]:
    """Questions with a long context each: contexts of about equal length are read together, and so are their trees.

    The tree of one question alone would be too few tokens for products at the processor's full rate.
    """
    prefixes = {n: query.options[0].ids[:own[n]] for n, query in queries.items()}
    rows = {n: Row((grow(query, own[n]),), (n,)) for n, query in queries.items()}

    def fit(chunk: list[int]) -> bool:
        return (_fits([rows[n] for n in chunk], batch_tokens, unpadded)
                and sum(own[n] for n in chunk) <= held_tokens)

    groups = []
    for chunk in _cut(sorted(queries, key=lambda n: (-own[n], -len(rows[n]))), fit):
        together = _cut(chunk, lambda some: _fits([prefixes[n] for n in some], batch_tokens, unpadded))
        groups.append(Group(tuple(Prefixes.of([prefixes[n] for n in some]) for some in together),
                            (_batch([rows[n] for n in chunk], [own[n] for n in chunk]),)))
    return groups


def _cut(items: Iterable[T], fit: Callable[[list[T]], bool]) -> list[list[T]]:
    """Neighbours together as long as they fit; one that does not fit alone stands alone."""
    chunks: list[list[T]] = []
    for item in items:
        if chunks and fit([*chunks[-1], item]):
            chunks[-1].append(item)
        else:
            chunks.append([item])
    return chunks


def _own_prefix(query: Query) -> int:
    """How many tokens all options of a question share before the first that is scored."""
    return common_prefix([query], min(len(o.context) - 1 for o in query.options))


def _pack(trees: Iterable[tuple[Tree, int]], row_tokens: int) -> list[Row]:
    """First fit, longest first: rows of at most `row_tokens`, a longer tree in a row of its own."""
    rows: list[list[tuple[Tree, int]]] = []
    space: list[int] = []
    for tree, number in sorted(trees, key=lambda item: -len(item[0])):
        where = next((i for i, left in enumerate(space) if left >= len(tree)), None)
        if where is None:
            rows.append([])
            space.append(row_tokens)
            where = len(rows) - 1
        rows[where].append((tree, number))
        space[where] -= len(tree)
    return [Row(tuple(t for t, _ in row), tuple(n for _, n in row)) for row in rows]


def _fits(rows: Sequence[Sized], batch_tokens: int, unpadded: bool) -> bool:
    """Whether rows are a batch of at most `batch_tokens` tokens, padding included where it is read.

    Attention has it in any case: where it is not read, it is no more than what is.
    """
    lengths = list(map(len, rows))
    padded = len(lengths) * max(lengths)
    return padded <= batch_tokens or (unpadded and sum(lengths) <= batch_tokens and padded <= 2 * sum(lengths))


def _batch(rows: Sequence[Row], behind: Sequence[int]) -> Batch:
    n_rows, width = len(rows), max(map(len, rows))
    tokens = np.zeros((n_rows, width), np.int64)
    positions = np.zeros((n_rows, width), np.int64)
    ancestors = np.zeros((n_rows, width, width), bool)
    ancestors[:, np.arange(width), np.arange(width)] = True  # padding attends to itself, or softmax has no input
    targets: list[tuple[int, int, int, int]] = []
    for r, row in enumerate(rows):
        start = 0
        for tree, number in zip(row.trees, row.numbers, strict=True):
            end = start + len(tree)
            tokens[r, start:end] = tree.tokens
            positions[r, start:end] = tree.depths
            for node, parent in enumerate(tree.parents):
                if parent >= 0:
                    ancestors[r, start + node] |= ancestors[r, start + parent]
            targets += [(r * width + start + node, token, number, option) for node, token, option in tree.targets]
            start = end
    where, token, question, option = (np.array(column) for column in zip(*targets, strict=True))
    nodes, target_nodes = np.unique(where, return_inverse=True)
    return Batch(tokens, positions, ancestors, np.array([len(row) for row in rows]), np.array(behind), nodes,
                 target_nodes, token, question, option)
