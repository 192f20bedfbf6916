"""Token trees: every option is read as if it stood alone, and nothing is read twice."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine import trees
from backend.engine.trees import Query, Scored, Tree
from backend.errors import BadInput
from backend.tasks.task import Example, Prompt, multiple_choice

few_tokens = st.integers(0, 3)  # few different ones, so that options share beginnings


def texts(least: int, most: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(few_tokens, min_size=least, max_size=most).map(tuple)


pairs = st.builds(Scored, texts(1, 6), texts(1, 5))
queries = st.builds(Query, st.lists(pairs, min_size=1, max_size=5).map(tuple))
one_context = st.builds(lambda context, options: Query(tuple(Scored(context, option) for option in options)),
                        texts(1, 6), st.lists(texts(1, 4), min_size=1, max_size=5))


def path(tree: Tree, node: int) -> tuple[int, ...]:
    """The tokens from the root of a tree to a node."""
    tokens: list[int] = []
    while node >= 0:
        tokens.append(tree.tokens[node])
        node = tree.parents[node]
    return tuple(reversed(tokens))


def shared_start(query: Query) -> int:
    return trees.common_prefix([query], min(len(o.context) - 1 for o in query.options))


def codes(text: str) -> list[int]:
    return [ord(c) for c in text]


def code_pairs(pairs):
    """A token is a character, and 7 stands for an empty context."""
    return [(tuple(codes(context)) or (7,), tuple(codes(option)), False) for context, option in pairs]


def encode(prompt, encode_pairs, max_positions):
    ((query, dropped),) = trees.encode([prompt], encode_pairs, max_positions)
    return query, dropped


@given(query=queries | one_context)
def test_each_option_reads_and_predicts_just_its_own_tokens(query):
    for skip in {0, shared_start(query)}:
        tree = trees.grow(query, skip)
        for number, option in enumerate(query.options):
            targets = [(node, token) for node, token, _, n in tree.targets if n == number]
            assert tuple(token for _, token in targets) == option.continuation
            for i, (node, _) in enumerate(targets):
                read = option.ids[:skip] + path(tree, node)
                assert read == option.ids[:len(option.context) + i]
                assert tree.depths[node] == len(read) - 1


@given(query=queries | one_context)
def test_no_two_nodes_stand_for_the_same_text(query):
    tree = trees.grow(query, 0)
    assert len({path(tree, node) for node in range(len(tree))}) == len(tree)
    assert len(tree) <= sum(len(o.ids) - 1 for o in query.options)


@given(query=queries)
def test_parents_come_before_their_children(query):
    tree = trees.grow(query, 0)
    assert all(parent < node for node, parent in enumerate(tree.parents))


@given(some=st.lists(queries, min_size=1, max_size=4), at_most=st.integers(0, 8))
def test_the_common_prefix_is_the_longest_beginning_that_all_share(some, at_most):
    length = trees.common_prefix(some, at_most)
    every = [o.ids for q in some for o in q.options]
    assert len({ids[:length] for ids in every}) == 1
    assert length <= at_most
    if length < at_most:
        assert len({ids[:length + 1] for ids in every}) > 1 or min(map(len, every)) == length


@given(some=st.lists(queries | one_context, min_size=1, max_size=6), branch=st.booleans(),
       row_tokens=st.integers(1, 40), batch_tokens=st.integers(1, 120), held_tokens=st.integers(1, 40),
       d_model=st.sampled_from([1, 4, 1000]), data=st.data())
def test_packing_keeps_every_option_of_every_question_apart(
    some, branch, row_tokens, batch_tokens, held_tokens, d_model, data,
):
    demos = [data.draw(st.sampled_from([(), ("a",), ("a", "b")])) for _ in some]
    with patch.object(trees, "MIN_OWN_PREFIX", data.draw(st.sampled_from([2, 256]))):
        groups = trees.group(some, demos, trees=branch, row_tokens=row_tokens, batch_tokens=batch_tokens,
                             held_tokens=held_tokens, d_model=d_model)
    predicted: dict[tuple[int, int], list[tuple[tuple[int, ...], int]]] = {}
    for group in groups:
        for batch in group.batches:
            rows, width = batch.tokens.shape
            assert batch.tokens.size <= batch_tokens or rows == 1
            prefixes = [row for pass_ in group.prefixes for row in pass_.tokens]
            assert all(p.tokens.size <= batch_tokens or len(p.tokens) == 1 for p in group.prefixes)
            assert len(prefixes) in (0, 1, rows)
            assert len(prefixes) < 2 or batch.behind.sum() <= held_tokens
            order = batch.behind if len(prefixes) > 1 else batch.lengths
            assert list(order) == sorted(order, reverse=True)
            assert len(set(batch.nodes)) == len(batch.nodes)
            if not branch:
                assert (batch.positions - batch.behind[:, None] == np.arange(width))[
                    np.arange(width)[None] < batch.lengths[:, None]].all()
            for target, token in enumerate(batch.target_tokens):
                row, node = divmod(int(batch.nodes[batch.target_nodes[target]]), width)
                seen = np.flatnonzero(batch.ancestors[row, node])  # what the node attends to, in the order of the row
                start = int(batch.behind[row])
                assert list(batch.positions[row, seen]) == list(range(start, start + len(seen)))
                prefix = prefixes[row if len(prefixes) > 1 else 0][:start].tolist() if start else []
                read = tuple(prefix) + tuple(int(t) for t in batch.tokens[row, seen])
                key = int(batch.target_questions[target]), int(batch.target_options[target])
                predicted.setdefault(key, []).append((read, int(token)))
    for number, query in enumerate(some):
        for option_number, option in enumerate(query.options):
            expected = [(option.ids[:i], option.ids[i]) for i in range(len(option.context), len(option.ids))]
            assert sorted(predicted.pop((number, option_number))) == sorted(expected)
    assert not predicted


@given(some=st.lists(queries, min_size=1, max_size=6), row_tokens=st.integers(1, 40))
def test_rows_are_full_or_alone(some, row_tokens):
    rows = trees._pack([trees.grow(q, 0, n) for n, q in enumerate(some)], row_tokens)
    assert sorted(n for row in rows for tree in row.trees for n in tree.numbers) == list(range(len(some)))
    assert all(len(row) <= row_tokens or len(row.trees) == 1 for row in rows)


def grouped(some, demos, **sizes):
    return trees.group(some, demos, **{"trees": True, "row_tokens": 64, "batch_tokens": 512, "held_tokens": 512,
                                       "d_model": 8} | sizes)


def test_padding_attends_to_itself_alone():
    short, long = Query((Scored((1,), (2,)),)), Query((Scored((1, 2, 3, 4), (2,)),))
    batch = grouped([short, long], [(), ()], row_tokens=1, d_model=1)[0].batches[0]
    assert list(batch.lengths) == [4, 1]
    assert (batch.ancestors[1, 1:] == np.eye(4, dtype=bool)[1:]).all()
    assert not batch.ancestors[1, 0, 1:].any()


def test_questions_behind_the_same_demonstrations_share_them_as_a_prefix():
    shown = tuple(range(100, 120))
    behind = [Query((Scored((*shown, 1, i), (2,)), Scored((*shown, 1, i), (3, 4)))) for i in range(3)]
    (group,) = grouped(behind, [("d",)] * 3)
    assert [p.tokens.tolist() for p in group.prefixes] == [[[*shown, 1]]]
    assert sum(int(b.lengths.sum()) for b in group.batches) == 3 * 2  # the question's own token, and one option's first


@given(some=st.lists(queries | one_context, min_size=1, max_size=5))
def test_what_is_taken_in_stands_once_and_keeps_its_targets(some):
    grown = [trees.grow(query, 0, number) for number, query in enumerate(some)]
    whole = Tree()
    for tree in grown:
        missing = len(tree) - whole.shared_with(tree)
        before = len(whole)
        whole.take(tree)
        assert len(whole) == before + missing
    assert len({path(whole, node) for node in range(len(whole))}) == len(whole)
    assert whole.numbers == list(range(len(some)))
    assert [(path(whole, node), *rest) for node, *rest in whole.targets] == [
        (path(tree, node), *rest) for tree in grown for node, *rest in tree.targets]


@given(query=queries | one_context)
def test_a_trunk_is_what_all_options_share_before_anything_is_predicted(query):
    tree = trees.grow(query, 0)
    n = tree.trunk
    assert n == shared_start(query)
    above = tree.behind(n)
    assert [(tree.tokens[:n] + list(path(above, node)), *rest) for node, *rest in above.targets] == [
        (list(path(tree, node)), *rest) for node, *rest in tree.targets]


def about_one_paragraph(n: int, n_shared: int) -> list[Query]:
    """Questions of 4 tokens of their own, with two options of two tokens."""
    text = tuple(range(1000, 1000 + n_shared))
    return [Query(tuple(Scored((*text, *range(10 * i, 10 * i + 4)), (7, option)) for option in (1, 2)))
            for i in range(n)]


@pytest.mark.parametrize(("n_shared", "apart"), [(300, True), (100, False)])
def test_questions_about_one_paragraph_read_it_once(n_shared, apart):
    ten, other = about_one_paragraph(10, n_shared), Query((Scored((5, 6), (7,)),))
    groups = grouped([*ten[:5], other, *ten[5:]], [()] * 11, d_model=64)
    assert sum(g.n_prefix_tokens + sum(b.n_tokens for b in g.batches) for g in groups) >= n_shared + 10 * 5 + 2
    prefixes = [p.tokens.tolist() for g in groups for p in g.prefixes]
    assert prefixes == ([[list(range(1000, 1300))]] if apart else [])
    real = sum(int(b.lengths.sum()) for g in groups for b in g.batches)
    assert real == (0 if apart else n_shared) + 10 * 5 + 2  # both options begin with the same token


def test_questions_about_one_paragraph_read_it_once_behind_shared_demonstrations():
    shown = tuple(range(500, 520))
    ten = [Query(tuple(Scored((*shown, n, *o.context), o.continuation) for o in q.options))
           for n in (80, 90) for q in about_one_paragraph(5, n)]
    (both,) = grouped(ten, [("d",)] * 10, d_model=64, row_tokens=64)
    assert [p.tokens.tolist() for p in both.prefixes] == [[list(shown)]]
    assert sorted(n for b in both.batches for n in b.lengths.tolist()) == [1 + 80 + 5 * 5, 1 + 90 + 5 * 5]


@pytest.mark.parametrize(("sizes", "n_trees"), [
    ({"row_tokens": 200}, 1),  # in a row that is no longer than others, for nothing
    ({"row_tokens": 64, "d_model": 64}, 1),
    ({"row_tokens": 64, "d_model": 1}, 5),  # narrow: attention in long rows would cost more than it saves
    ({"row_tokens": 64, "d_model": 64, "batch_tokens": 14}, 3),  # little memory
])
def test_trees_are_joined_where_that_is_cheaper(sizes, n_trees):
    grown = [trees.grow(query, 0, n) for n, query in enumerate(about_one_paragraph(5, 100))]
    assert len(trees.joined(grown, **{"batch_tokens": 512, "d_model": 1} | sizes)) == n_trees


def test_joined_trees_stay_within_a_mask_of_ordinary_size():
    grown = [trees.grow(query, 0, n) for n, query in enumerate(about_one_paragraph(1000, 100))]
    sizes = [len(tree) for tree in trees.joined(grown, 64, 100_000, 10_000)]
    assert max(sizes) <= trees.JOINED_TOKENS + 100
    assert len(sizes) == 3


def test_a_model_that_takes_no_trees_reads_a_paragraph_once_too():
    (behind,) = grouped(about_one_paragraph(3, 300), [()] * 3, trees=False, d_model=64)
    assert [p.tokens.tolist() for p in behind.prefixes] == [[list(range(1000, 1300))]]
    assert sum(len(b.lengths) for b in behind.batches) == 6  # a row for each option


def test_a_prefix_of_a_few_tokens_is_not_worth_a_pass():
    behind = [Query((Scored((1, 2, i), (2,)),)) for i in range(3)]
    (group,) = grouped(behind, [("d",)] * 3)
    assert not group.prefixes


def test_some_context_always_stays_behind_the_prefix():
    same = Query((Scored(tuple(range(20)), (1,)),))
    (group,) = grouped([same, same], [("d",)] * 2)
    assert [p.tokens.tolist() for p in group.prefixes] == [[list(range(19))]]


def test_an_empty_context_becomes_one_token():
    prompt = Prompt(Example(("", "ab"), ("c", "de"), (0,), ""))
    query, dropped = encode(prompt, code_pairs, 100)
    assert dropped == 0
    assert query == Query((Scored((7,), (ord("c"),)), Scored((ord("a"), ord("b")), (ord("d"), ord("e")))))


def test_an_option_comes_with_all_that_stands_before_it():
    encoded = []

    def see(pairs):
        encoded.extend(pairs)
        return code_pairs(pairs)

    encode(Prompt(multiple_choice("q:", ["a", "b"], 0), ("d",)), see, 100)
    assert encoded == [("d\n\nq:", " a"), ("d\n\nq:", " b")]


@pytest.mark.parametrize(("prefix", "context", "expected"), [
    ((), "q: \n", ("q:", " \na")), ((), " ", ("", " a")), (("d",), "", ("d", "\n\na")), ((), "q", ("q", "a"))])
def test_blanks_that_end_a_context_go_to_the_option(prefix, context, expected):
    prompt = Prompt(Example((context,), ("a",), (0,), ""), prefix)
    query, _ = encode(prompt, code_pairs, 100)
    text, option = expected
    assert query == Query((Scored(tuple(codes(text)) or (7,), tuple(codes(option))),))


def test_the_contexts_of_the_study_keep_their_blanks():
    query, _ = encode(Prompt(Example(("q\n",), ("a",), (0,), "", keeps_blanks=True)), code_pairs, 100)
    assert query == Query((Scored((ord("q"), ord("\n")), (ord("a"),)),))


def test_many_prompts_are_encoded_in_order_each_with_its_own_options():
    prompts = [Prompt(multiple_choice("q" * (1 + i % 3), ["a", "bc"][:1 + i % 2], 0), doc=i)
               for i in range(2 * trees.ENCODED_TOGETHER + 3)]
    for prompt, (query, dropped) in zip(prompts, trees.encode(prompts, code_pairs, 100), strict=True):
        assert dropped == 0
        assert [o.ids for o in query.options] == [
            tuple(codes(prompt.example.contexts[0] + option)) for option in prompt.example.options]


def test_spanning_options_are_counted_per_query():
    def all_but_the_first_span(pairs):
        return [(context, option, i > 0) for i, (context, option, _) in enumerate(code_pairs(pairs))]

    prompts = [Prompt(multiple_choice("q", ["a", "b", "c"], 0), doc=3), Prompt(multiple_choice("q" * 200, ["a"], 0))]
    encoded = list(trees.encode(prompts, all_but_the_first_span, 100))
    questions = trees.questions_of(prompts, encoded, "acc")
    assert (questions.docs, questions.spanning, questions.skipped) == ((3,), (2,), (0,))


@given(n_demos=st.integers(0, 5), room=st.integers(1, 60))
def test_as_few_demonstrations_go_as_must_and_never_a_part_of_one(n_demos, room):
    demos = tuple("x" * (3 + i) for i in range(n_demos))
    prompt = Prompt(multiple_choice("question", ["yes", "perhaps"], 0), demos)
    query, dropped = encode(prompt, code_pairs, room)
    fits = [d for d in range(n_demos + 1)
            if len("".join(t + "\n\n" for t in demos[d:]) + "question perhaps") - 1 <= room]
    if query is None:
        assert not fits
    else:
        assert dropped == fits[0]
        assert query.options[1].ids == tuple(codes("".join(t + "\n\n" for t in demos[dropped:]) + "question perhaps"))


def test_an_option_without_tokens_names_the_row():
    prompt = Prompt(multiple_choice("q", ["a", "b"], 0), doc=12)
    with pytest.raises(BadInput, match="An option of row 12 has no tokens"):
        encode(prompt, lambda pairs: [((1,), () if option == " b" else (1,), False) for _, option in pairs], 100)
