"""Questions as token trees: shared text stands once, options branch off it.

The options of a question mostly share their context, and sometimes their first tokens. A tree holds every distinct
token prefix of all (context + option) sequences once: a node is a token, its position is its depth, and it attends
to its ancestors only, so each option is read as if it stood alone. The last token of an option is never read, only
predicted. Questions that begin alike (MultiRC asks dozens about one paragraph) grow into one tree, as long as that
saves more than attention in a longer row costs. Several small trees are packed side by side into one row; in a row no
tree sees another.

Demonstrations that all questions share stand apart as a prefix, which is read once for all of them. So does a long
beginning of one tree, which is then read where nothing is scored, beside those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
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
MIN_OWN_PREFIX = 256  # tokens; a longer beginning of one tree alone is read apart, where nothing is scored
JOINED_TOKENS = 2048  # of questions that begin alike, at most: a row's mask grows with the square of its length


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
    """The tokens behind the prefix of the options of one question or of several, each distinct prefix once."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)  # -1: directly behind the prefix
    depths: list[int] = field(default_factory=list)  # position in the text
    targets: list[tuple[int, int, int, int]] = field(default_factory=list)  # node, token to predict, question, option
    children: dict[tuple[int, int], int] = field(default_factory=dict, repr=False)  # (node, token behind it) -> node

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def numbers(self) -> list[int]:
        """The questions whose options it holds."""
        return list(dict.fromkeys(question for _, _, question, _ in self.targets))

    @property
    def trunk(self) -> int:
        """Its first nodes that stand one behind the other, before the first at which anything is predicted."""
        children = np.bincount(np.array(self.parents, int) + 1, minlength=len(self) + 1)  # of the prefix, of each node
        forks = np.flatnonzero(children != 1)
        return min(int(forks[0]), min(node for node, *_ in self.targets))

    def node(self, parent: int, token: int, depth: int) -> int:
        """The node of a token behind another one, made where it is not there yet."""
        found = self.children.setdefault((parent, token), len(self))
        if found == len(self):
            self.tokens.append(token)
            self.parents.append(parent)
            self.depths.append(depth)
        return found

    def shared_with(self, other: Tree) -> int:
        """How many nodes of another tree behind the same prefix stand in this one, too."""
        there = {-1: -1}
        for node, (parent, token) in enumerate(zip(other.parents, other.tokens, strict=True)):
            if parent in there and (found := self.children.get((there[parent], token))) is not None:
                there[node] = found
        return len(there) - 1

    def take(self, other: Tree) -> None:
        """Take in another tree behind the same prefix."""
        there = {-1: -1}
        for node, (parent, token, depth) in enumerate(zip(other.parents, other.tokens, other.depths, strict=True)):
            there[node] = self.node(there[parent], token, depth)
        self.targets += [(there[node], token, question, option) for node, token, question, option in other.targets]

    def behind(self, n: int) -> Tree:
        """Itself without its first n nodes, no more than its trunk, which become part of the prefix."""
        return Tree(self.tokens[n:], [max(parent - n, -1) for parent in self.parents[n:]], self.depths[n:],
                    [(node - n, token, question, option) for node, token, question, option in self.targets])


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
    """Trees packed side by side."""

    trees: tuple[Tree, ...]

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


def grow(query: Query, skip: int, question: int = 0) -> Tree:
    """The tree of a question whose first `skip` tokens are the shared prefix."""
    tree = Tree()
    for option, scored in enumerate(query.options):
        node, ids = -1, scored.ids
        for depth in range(skip, len(ids) - 1):
            node = tree.node(node, ids[depth], depth)
            if depth + 1 >= len(scored.context):
                tree.targets.append((node, ids[depth + 1], question, option))
    return tree


def joined(trees: Iterable[Tree], row_tokens: int, batch_tokens: int, d_model: int) -> list[Tree]:
    """Trees behind the same prefix, those that begin alike as one where that is cheaper (`is_cheaper_joined`).

    In the order of their tokens each is held against the one before.
    """
    found: list[Tree] = []
    for tree in sorted(trees, key=lambda tree: tree.tokens):
        shared = found[-1].shared_with(tree) if found else 0
        if shared and is_cheaper_joined(len(found[-1]), len(tree), shared, row_tokens, batch_tokens, d_model):
            found[-1].take(tree)
        else:
            found.append(tree)
    return found


def is_cheaper_joined(
    one: float, other: float, shared: float, row_tokens: int, batch_tokens: int, d_model: int
) -> bool:
    """Whether two trees of so many tokens, of which they share some, cost less as one.

    In a row that is not longer than others what they share is saved for nothing. In a longer one attention forms the
    pairs of what either has for itself, too, to hide them: a token that is saved pays for about d_model of these.

    Args:
        row_tokens: small trees are packed into rows of about this length.
        batch_tokens: tokens of a pass, which what they do not share must not exceed.
    """
    both = one + other - shared
    return both <= row_tokens or (both - shared <= min(batch_tokens, JOINED_TOKENS)
                                  and one * (other - shared) <= shared * d_model)


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
          batch_tokens: int, held_tokens: int, d_model: int, first_tokens: int | None = None, prefixes: bool = True,
          unpadded: bool = False) -> list[Group]:
    """Questions that share demonstrations share a prefix; their trees are packed and batched by length.

    Args:
        queries: the questions in token ids.
        demos: the demonstrations each stands behind; equal ones share a prefix.
        trees: whether the model takes trees; otherwise each option is a row of its own behind the prefix.
        row_tokens: small trees are packed into rows of about this length.
        batch_tokens: tokens of a batch, padding included; a longer row is a batch of its own.
        held_tokens: tokens of long beginnings whose options are read together; a longer one stands alone.
        first_tokens: tokens of the very first batch, where somebody waits for a first number; None: as of all.
        d_model: what a token costs beside attention, see `is_cheaper_joined`.
        prefixes: whether the model can read a prefix apart; otherwise every question is read whole.
        unpadded: whether it reads a batch without its padding.
    """
    members: dict[tuple[str, ...], list[int]] = {}
    for number, shown in enumerate(demos):
        members.setdefault(shown, []).append(number)
    together = [numbers for shown, numbers in members.items() if prefixes and len(numbers) > 1 and shown]
    # Questions that share no demonstrations with others: the short ones are read whole, without a prefix.
    single = [n for shown, numbers in members.items() if not (prefixes and len(numbers) > 1 and shown) for n in numbers]

    def grown(numbers: Sequence[int], skip: int) -> list[Tree]:
        return joined((grow(queries[n], skip, n) for n in numbers), row_tokens, batch_tokens, d_model)

    long: list[Tree] = []
    short: list[Tree] = []
    for tree in grown(single, 0) if prefixes else [grow(queries[n], 0, n) for n in single]:
        (long if prefixes and tree.trunk >= MIN_OWN_PREFIX else short).append(tree)
    if trees:
        draws = [(_shared_prefix([queries[n] for n in numbers]), numbers) for numbers in together]
        groups = _behind_draws([(prefix, _pack(grown(numbers, len(prefix)), row_tokens)) for prefix, numbers in draws],
                               batch_tokens, held_tokens, unpadded, first_tokens)
        if short:
            groups.append(_alone((), _pack(short, row_tokens), batch_tokens, unpadded,
                                 None if groups else first_tokens))
        groups += _side_by_side(long, batch_tokens, held_tokens, unpadded)
    else:
        apart = [(_shared_prefix([queries[n] for n in numbers]), numbers)
                 for numbers in [*together, *(tree.numbers for tree in long)]]
        if short:
            apart.append(((), [n for tree in short for n in tree.numbers]))
        groups = [_alone(prefix, [row for n in numbers for row in _row_an_option(queries[n], len(prefix), n)],
                         batch_tokens, unpadded) for prefix, numbers in apart]
    return [g.unpadded() for g in groups] if unpadded else groups


def _row_an_option(query: Query, skip: int, question: int) -> Iterator[Row]:
    """For models that take no trees."""
    for option, scored in enumerate(query.options):
        chain = grow(Query((scored,)), skip)
        chain.targets = [(node, token, question, option) for node, token, *_ in chain.targets]
        yield Row((chain,))


def _alone(
    prefix: Sequence[int], rows: Sequence[Row], batch_tokens: int, unpadded: bool, first_tokens: int | None = None
) -> Group:
    """Rows behind one prefix, or behind none."""
    chunks = _cut(sorted(rows, key=len, reverse=True),
                  lambda chunk, first: _fits(chunk, (first and first_tokens) or batch_tokens, unpadded))
    batches = tuple(_batch(chunk, [len(prefix)] * len(chunk)) for chunk in chunks)
    return Group((Prefixes.of([prefix]),) if prefix else (), batches)


def _behind_draws(
    draws: Sequence[tuple[Sequence[int], list[Row]]], batch_tokens: int, held_tokens: int, unpadded: bool,
    first_tokens: int | None,
) -> list[Group]:
    """Rows behind several shared prefixes: draws that would not fill a pass are read beside one another."""
    few: list[tuple[Sequence[int], list[Row]]] = []
    groups: list[Group] = []
    for prefix, rows in draws:
        if not prefix or 2 * len(rows) * max(map(len, rows)) > batch_tokens:
            groups.append(_alone(prefix, rows, batch_tokens, unpadded, None if groups else first_tokens))
        else:
            few.append((prefix, rows))

    def size(chunk: list[tuple[Sequence[int], list[Row]]]) -> tuple[int, int]:
        """Rows that each draw gets, the same number for all, and tokens of a row."""
        return max(len(rows) for _, rows in chunk), max(len(row) for _, rows in chunk for row in rows)

    def fit(chunk: list[tuple[Sequence[int], list[Row]]], first: bool) -> bool:
        n_rows, width = size(chunk)
        at_most = (first and not groups and first_tokens) or batch_tokens
        return len(chunk) * n_rows * width <= at_most and len(chunk) * len(chunk[0][0]) <= min(held_tokens, at_most)

    for chunk in _cut(sorted(few, key=lambda draw: -len(draw[0])), fit):
        n_rows = size(chunk)[0]
        filled = [row for _, rows in chunk for row in [*rows, *[Row(())] * (n_rows - len(rows))]]
        behind = [len(prefix) for prefix, _ in chunk for _ in range(n_rows)]
        groups.append(Group((Prefixes.of([prefix for prefix, _ in chunk]),), (_batch(filled, behind),)))
    return groups


def _shared_prefix(queries: Sequence[Query]) -> tuple[int, ...]:
    """The first tokens that questions share, where that are enough to be worth a pass of their own.

    At least one token of each context stays behind them: its logits score the first option token.
    """
    shared = common_prefix(queries, min(len(o.context) - 1 for q in queries for o in q.options))
    return queries[0].options[0].ids[:shared] if shared >= MIN_PREFIX else ()


def _side_by_side(alike: Sequence[Tree], batch_tokens: int, held_tokens: int, unpadded: bool) -> list[Group]:
    """Trees with a long beginning each: beginnings of about equal length are read together, and so is what is behind.

    What is behind one alone would be too few tokens for products at the processor's full rate.
    """
    parted = [(tree.tokens[:(n := tree.trunk)], Row((tree.behind(n),))) for tree in alike]

    def fit(chunk: list[tuple[list[int], Row]], first: bool) -> bool:
        return (_fits([row for _, row in chunk], batch_tokens, unpadded)
                and sum(len(prefix) for prefix, _ in chunk) <= held_tokens)

    groups = []
    for chunk in _cut(sorted(parted, key=lambda part: (-len(part[0]), -len(part[1]))), fit):
        prefixes, rows = [prefix for prefix, _ in chunk], [row for _, row in chunk]
        together = _cut(prefixes, lambda some, first: _fits(some, batch_tokens, unpadded))
        groups.append(Group(tuple(map(Prefixes.of, together)), (_batch(rows, list(map(len, prefixes))),)))
    return groups


def _cut(items: Iterable[T], fit: Callable[[list[T], bool], bool]) -> list[list[T]]:
    """Neighbours together as long as they fit; one that does not fit alone stands alone.

    Args:
        fit: called as fit(chunk, whether it is the first).
    """
    chunks: list[list[T]] = []
    for item in items:
        if chunks and fit([*chunks[-1], item], len(chunks) == 1):
            chunks[-1].append(item)
        else:
            chunks.append([item])
    return chunks


def _pack(trees: Iterable[Tree], row_tokens: int) -> list[Row]:
    """First fit, longest first: rows of at most `row_tokens`, a longer tree in a row of its own."""
    rows: list[list[Tree]] = []
    space: list[int] = []
    for tree in sorted(trees, key=lambda tree: -len(tree)):
        where = next((i for i, left in enumerate(space) if left >= len(tree)), None)
        if where is None:
            rows.append([])
            space.append(row_tokens)
            where = len(rows) - 1
        rows[where].append(tree)
        space[where] -= len(tree)
    return [Row(tuple(row)) for row in rows]


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
        for tree in row.trees:
            end = start + len(tree)
            tokens[r, start:end] = tree.tokens
            positions[r, start:end] = tree.depths
            for node, parent in enumerate(tree.parents):
                if parent >= 0:
                    ancestors[r, start + node] |= ancestors[r, start + parent]
            targets += [(r * width + start + node, token, question, option)
                        for node, token, question, option in tree.targets]
            start = end
    where, token, question, option = (np.array(column) for column in zip(*targets, strict=True))
    nodes, target_nodes = np.unique(where, return_inverse=True)
    return Batch(tokens, positions, ancestors, np.array([len(row) for row in rows]), np.array(behind), nodes,
                 target_nodes, token, question, option)
