"""The engine equals the slow, obvious path, for every architecture and every shape of question."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.engine import passes, trees
from backend.errors import BadInput, Cancelled, ModelError
from backend.kinds.means import Activations
from backend.models.loading import prepare
from backend.tasks.task import Example, Prompt, multiple_choice
from backend.values import INTACT, Ablation, Head
from tests.engine.reference import reference
from tests.models.small import ARCHITECTURES, FAMILIES, WHOLE, small_model, small_network, small_tokenizer

TOLERANCE = 1e-4  # nats
# Of linear attention: on some processors transformers' own pass moves by 1e-4 when padding stands behind the text.
ROUNDING = {"qwen3_next": 3e-4}
MIXED = Ablation(frozenset({Head(0, 1), Head(1, 0), Head(1, 3), Head(2, 2)}), frozenset({1}))
LATE = Ablation(frozenset({Head(2, 0)}), frozenset({2}))
QUESTIONS = [
    multiple_choice("Question: the cat sat on the?\nAnswer:", ["mat", "dog ran to the man", "red green"], 0),
    multiple_choice("Question: is it blue?\nAnswer:", ["yes", "no"], 1),
    multiple_choice("Question: the dog ran to the man and sat on the mat. one two three is?\nAnswer:",
                    ["true", "false", "a cat of blue and green", "one"], 2),
    multiple_choice("Question: red?\nAnswer:", ["the", "an"], 0),
    multiple_choice("Question: xyz?\nAnswer:", ["q", "the dog sat on the mat and ran and ran"], 1),
]
ONE_TOKEN = [multiple_choice(q.contexts[0], ["yes", "no", "true"], 0) for q in QUESTIONS]
SHARING = [multiple_choice(q.contexts[0], ["the cat", "the cat sat", "the man", "the"], 2) for q in QUESTIONS]
PER_OPTION = [Example(tuple(f"{q.contexts[0]} the {word}" for word in ("cat", "dog that ran")),
                      (" sat on the mat.",) * 2, (0,), "") for q in QUESTIONS]
PARAGRAPH = "The cat ran to the man and the dog sat on the red mat, and one two three ran on and on to the blue dog."
ABOUT_ONE = [multiple_choice(f"{PARAGRAPH}\n{q.contexts[0]}", [*q.options], q.gold[0]) for q in QUESTIONS]
NO_CONTEXT = [Example(("",) * 2, ("the cat sat", "the dog"), (0,), ""), Example(("a",) * 2, (" cat", " dog"), (1,), "")]
DEMOS = [f"{q.contexts[0]}{q.options[q.gold[0]]}" for q in QUESTIONS]

KINDS = {
    "0 shots": [Prompt(q, (), i) for i, q in enumerate(QUESTIONS)],
    "fixed demonstrations": [Prompt(q, tuple(DEMOS[:2]), i) for i, q in enumerate(QUESTIONS)],
    "demonstrations per query": [Prompt(q, (DEMOS[i - 1], DEMOS[i - 2]), i) for i, q in enumerate(QUESTIONS)],
    "one-token options": [Prompt(q, (DEMOS[0],), i) for i, q in enumerate(ONE_TOKEN)],
    "options that share a beginning": [Prompt(q, (DEMOS[0],), i) for i, q in enumerate(SHARING)],
    "a context for each option": [Prompt(q, tuple(DEMOS[:2]), i) for i, q in enumerate(PER_OPTION)],
    "about one paragraph": [Prompt(q, (), i) for i, q in enumerate(ABOUT_ONE)],
    "about one paragraph, fixed demonstrations": [Prompt(q, tuple(DEMOS[:2]), i) for i, q in enumerate(ABOUT_ONE)],
    "no context": [Prompt(q, (), i) for i, q in enumerate(NO_CONTEXT)],
}
FIXED = KINDS["fixed demonstrations"]
every_family = pytest.mark.parametrize("architecture", FAMILIES)


def values(rows: Sequence[Sequence[tuple[float, bool]]]) -> np.ndarray:
    return np.array([value for row in rows for value, _ in row])


def found(scores: passes.Scores) -> np.ndarray:
    return np.concatenate([np.array(row) for row in scores.loglikelihoods])


def some_means(architecture: str) -> Activations:
    model, draw = small_model(architecture), np.random.default_rng(0).normal
    heads, ffns = draw(size=(model.n_layers, model.n_heads, model.d_head)), draw(size=(model.n_layers, model.d_model))
    return Activations(1, 1, tuple(tuple(map(tuple, layer)) for layer in heads), tuple(map(tuple, ffns)))


@pytest.mark.parametrize(("architecture", "kind"), [
    *((architecture, "fixed demonstrations") for architecture in ARCHITECTURES),
    *((architecture, kind) for architecture in FAMILIES for kind in KINDS if kind != "fixed demonstrations")])
def test_the_engine_equals_the_obvious_path(architecture, kind):
    prompts = KINDS[kind]
    prepared = passes.prepare(small_model(architecture), prompts)
    ablations = [INTACT, MIXED]
    for ablation, scores in zip(ablations, passes.score(prepared, ablations), strict=True):
        expected = reference(architecture, prompts, ablation)
        assert np.abs(found(scores) - values(expected)).max() < ROUNDING.get(architecture, TOLERANCE)
        assert [np.argmax(row) for row in scores.loglikelihoods] == [np.argmax([v for v, _ in row]) for row in expected]


@pytest.mark.parametrize("architecture", [name for name in FAMILIES if name not in WHOLE])
def test_a_long_context_is_read_apart_and_changes_nothing(architecture, monkeypatch):
    monkeypatch.setattr(trees, "MIN_OWN_PREFIX", 12)
    model, prompts = small_model(architecture), KINDS["demonstrations per query"]
    prepared = passes.prepare(model, prompts, row_tokens=1)  # or they would be joined by what they begin with
    lengths = [n for g in prepared.groups for b in g.batches for n in set(b.behind[b.behind >= 12].tolist())]
    assert len(set(lengths)) > 1
    assert any(sum(len(p.tokens) for p in g.prefixes) > 1 for g in prepared.groups) == passes.takes_trees(model)
    # Several passes over the contexts of one batch.
    several = passes.prepare(model, prompts, row_tokens=1, batch_tokens=2 * max(lengths))
    assert any(len(g.prefixes) > 1 for g in several.groups) == passes.takes_trees(model)
    ablations = [INTACT, MIXED, LATE]
    expected = [values(reference(architecture, prompts, ablation)) for ablation in ablations]
    for one in (prepared, several):
        for scores, those in zip(passes.score(one, ablations), expected, strict=True):
            assert np.abs(found(scores) - those).max() < TOLERANCE


def test_long_contexts_are_held_together_as_far_as_the_memory_for_states_reaches(monkeypatch):
    monkeypatch.setattr(trees, "MIN_OWN_PREFIX", 12)
    model, prompts = small_model("opt"), KINDS["demonstrations per query"]
    longest = max(b.behind.max() for g in passes.prepare(model, prompts, row_tokens=1).groups for b in g.batches)

    def held(state_bytes: int) -> int:
        monkeypatch.setattr(passes, "STATE_BYTES", state_bytes)
        prepared = passes.prepare(model, prompts, row_tokens=1, batch_tokens=longest)
        return max(g.n_prefix_tokens for g in prepared.groups)

    assert held(0) == longest  # one pass over one context is the least
    assert longest < held(2**30) <= passes.BATCHES_HELD * longest


@every_family
def test_a_sweep_that_begins_where_it_differs_equals_whole_passes(architecture):
    model = small_model(architecture)
    prepared = passes.prepare(model, FIXED)
    sweep = [INTACT, *(Ablation(ffns=frozenset({layer})) for layer in range(model.n_layers)),
             *(Ablation(frozenset({Head(layer, 1)})) for layer in model.attn_outs), LATE, MIXED.filled("mean")]
    means = [some_means(architecture) if a.fill == "mean" else None for a in sweep]
    reused = passes.score(prepared, sweep, means)
    whole = passes.score(passes.prepare(model, FIXED), sweep, means, reuse=False)
    for one, other in zip(reused, whole, strict=True):
        assert np.abs(found(one) - found(other)).max() < TOLERANCE
    for i in (-2, -1):
        assert np.abs(found(reused[i]) - values(reference(architecture, FIXED, sweep[i], means[i]))).max() < TOLERANCE


RIDERS = [MIXED, LATE, INTACT, Ablation(ffns=frozenset({0, 1})), LATE.filled("mean"), Ablation(frozenset({Head(0, 3)}))]


@pytest.mark.parametrize("kind", ["fixed demonstrations", "demonstrations per query", "a context for each option"])
@every_family
def test_ablations_that_ride_in_one_pass_score_what_they_score_alone(architecture, kind, monkeypatch):
    monkeypatch.setattr(trees, "MIN_OWN_PREFIX", 12)  # contexts of their own are read apart, several to a batch
    model, trunk, rows = small_model(architecture), passes._trunk, []
    means = [some_means(architecture) if a.fill == "mean" else None for a in RIDERS]
    prepared = passes.prepare(model, KINDS[kind], batch_tokens=4096)
    alone = passes.score(prepared, RIDERS, means)

    def counted(model, ids, *rest):
        rows.append(len(ids))
        return trunk(model, ids, *rest)

    monkeypatch.setattr(passes, "_trunk", counted)
    for reuse in (True, False):
        rows.clear()
        fresh = passes.prepare(model, KINDS[kind], batch_tokens=4096)
        together = passes.score(fresh, RIDERS, means, reuse=reuse, together=True)
        riding = len(rows)
        for one, other in zip(together, alone, strict=True):
            assert np.abs(found(one) - found(other)).max() < TOLERANCE
        passes.score(fresh, RIDERS, means, reuse=reuse)
        assert riding < len(rows) - riding


def test_no_more_ablations_ride_than_a_pass_has_room_for(monkeypatch):
    model, trunk, sizes, steps = small_model("opt"), passes._trunk, [], []
    prepared = passes.prepare(model, FIXED, row_tokens=16)
    largest = max(b.n_tokens for g in prepared.groups for b in g.batches)
    monkeypatch.setattr(passes, "_trunk", lambda of, ids, *rest: sizes.append(ids.numel()) or trunk(of, ids, *rest))
    for batch_tokens, riding in ((largest, 1), (2 * largest, 2), (3 * largest - 1, 2), (100 * largest, 5)):
        sizes.clear(), steps.clear()
        prepared.batch_tokens = batch_tokens
        passes.score(prepared, RIDERS[:2] + RIDERS[3:4] + RIDERS[5:] + [MIXED | LATE],
                     progress=lambda done, total: steps.append((done, total)), reuse=False, together=True)
        assert max(sizes) == riding * largest
        assert steps[-1] == (5 * prepared.n_batches,) * 2


@pytest.mark.parametrize("architecture", [name for name in FAMILIES if passes.reads_unpadded(small_model(name))])
def test_padding_is_not_read_where_attention_is_ours(architecture, monkeypatch):
    model, trunk, read = small_model(architecture), passes._trunk, []
    monkeypatch.setattr(passes, "_trunk", lambda of, ids, *rest: read.append(ids.numel()) or trunk(of, ids, *rest))
    masks = [MIXED, INTACT, LATE.filled("mean")]
    means = [None, None, some_means(architecture)]
    monkeypatch.setattr(trees, "MIN_OWN_PREFIX", 12)
    for kind in ("0 shots", "fixed demonstrations", "demonstrations per query"):
        prepared = passes.prepare(model, KINDS[kind], row_tokens=1)  # a row for each question
        for each in ("batches", "prefixes"):
            arrays = [one for group in prepared.groups for one in getattr(group, each)]
            padding = sum(one.tokens.size - int(one.lengths.sum()) for one in arrays)
            assert bool(padding) == (each == "batches" or kind != "fixed demonstrations")
            assert sum(one.n_tokens for one in arrays) == sum(int(one.lengths.sum()) for one in arrays)
        with monkeypatch.context() as padded:
            padded.setattr(passes, "reads_unpadded", lambda model: False)
            expected = passes.score(passes.prepare(model, KINDS[kind], row_tokens=1), masks, means, reuse=False)
        for together in (False, True):
            read.clear()
            without = passes.score(prepared, masks, means, reuse=False, together=together)
            assert sum(read) == len(masks) * prepared.n_tokens
            for one, other in zip(without, expected, strict=True):
                assert np.abs(found(one) - found(other)).max() < TOLERANCE


@every_family
def test_batch_size_and_padding_change_nothing_beyond_rounding(architecture):
    prompts = FIXED + KINDS["demonstrations per query"]
    expected = found(passes.score(passes.prepare(small_model(architecture), prompts), [MIXED])[0])
    for row_tokens, batch_tokens in ((1, 1), (16, 64), (4096, 4096)):
        prepared = passes.prepare(small_model(architecture), prompts, row_tokens=row_tokens, batch_tokens=batch_tokens)
        assert np.abs(found(passes.score(prepared, [MIXED])[0]) - expected).max() < TOLERANCE


@every_family
def test_greedy_says_whether_the_model_would_have_written_it(architecture):
    model, tokenizer = small_model(architecture), small_tokenizer()
    prompts = []
    for prompt in KINDS["0 shots"]:
        with torch.no_grad():
            ids = model.encode_context(prompt.prefix + prompt.example.contexts[0])
            logits = model.model(torch.tensor([ids])).logits[0, -1]
        ranked = [tokenizer.decode([i]) for i in logits.argsort(descending=True).tolist()]
        options = (ranked[0], ranked[1])
        if all(o.strip() and len(model.encode(o)) == 1 for o in options):
            prompts.append(Prompt(Example(prompt.example.contexts[:1] * 2, options, (0,), ""), (), prompt.doc))
    scores = passes.score(passes.prepare(model, prompts, metric="greedy"), [INTACT])[0]
    assert scores.greedy == ((True, False),) * len(prompts)
    expected = reference(architecture, prompts)
    assert scores.greedy == tuple(tuple(greedy for _, greedy in row) for row in expected)


def masks() -> st.SearchStrategy[Ablation]:
    heads = st.builds(Head, st.integers(0, 2), st.integers(0, 3))
    return st.builds(Ablation, st.frozensets(heads), st.frozensets(st.integers(0, 2)))


@settings(max_examples=12)
@given(ablations=st.lists(masks(), min_size=1, max_size=2), architecture=st.sampled_from(FAMILIES),
       kind=st.sampled_from(list(KINDS)), row_tokens=st.integers(1, 200), batch_tokens=st.integers(1, 600))
def test_any_masks_on_any_questions_in_any_batches_equal_the_obvious_path(
    ablations, architecture, kind, row_tokens, batch_tokens
):
    prepared = passes.prepare(small_model(architecture), KINDS[kind], row_tokens=row_tokens, batch_tokens=batch_tokens)
    for ablation, scores in zip(ablations, passes.score(prepared, ablations), strict=True):
        assert np.abs(found(scores) - values(reference(architecture, KINDS[kind], ablation))).max() < TOLERANCE


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.3), ("float16", 0.15)])
@every_family
def test_half_precision_says_about_the_same(architecture, dtype, tolerance):
    if architecture in ("gpt_oss", "deepseek_v3"):
        tolerance *= 2  # a router's score, rounded, can choose another expert
    network = small_network(architecture).to(getattr(torch, dtype))
    half = prepare(network, small_tokenizer(), architecture, "", dtype)
    for one, other in zip(passes.score(passes.prepare(half, FIXED), [INTACT, MIXED]),
                          passes.score(passes.prepare(small_model(architecture), FIXED), [INTACT, MIXED]), strict=True):
        assert np.abs(found(one) - found(other)).mean() < tolerance


def test_architectures_that_cannot_branch_are_known_and_read_one_option_per_row():
    chains = {a for a in ARCHITECTURES if not passes.takes_trees(small_model(a))}
    assert chains == {"bloom", "falcon, alibi", "gpt_neo, every second layer slides", "llama4", "mpt", *WHOLE}
    for architecture in chains:
        groups = passes.prepare(small_model(architecture), FIXED).groups
        assert any(g.prefixes for g in groups) != (architecture in WHOLE)
        batches = [b for g in groups for b in g.batches]
        assert sum(len(b.tokens) for b in batches) == sum(len(p.example.options) for p in FIXED)
        assert all(passes.mask(small_model(architecture), b).dim() == 2 for b in batches)


def test_prepared_prompts_can_be_read_again_and_says_the_same():
    prepared = passes.prepare(small_model("opt"), FIXED)
    first = passes.score(prepared, [INTACT, MIXED])
    assert prepared.states
    assert passes.score(prepared, [INTACT, MIXED]) == first
    assert passes.score(prepared, [MIXED]) == first[1:]
    fresh = passes.prepare(small_model("opt"), FIXED)
    assert np.abs(found(passes.score(fresh, [MIXED], reuse=False)[0]) - found(first[1])).max() < TOLERANCE


def test_states_beyond_the_memory_budget_are_forgotten_and_the_numbers_stay(monkeypatch):
    model, ablations = small_model("llama, grouped queries"), [INTACT, MIXED, LATE]
    expected = passes.score(passes.prepare(model, FIXED), ablations)
    for budget in (1, 64 * model.d_model * model.n_layers * 4):
        monkeypatch.setattr(passes, "STATE_BYTES", budget)
        monkeypatch.setattr(passes, "KEPT_BYTES", budget)
        prepared = passes.prepare(model, FIXED, row_tokens=1, batch_tokens=1)
        for one, other in zip(passes.score(prepared, ablations), expected, strict=True):
            assert np.abs(found(one) - found(other)).max() < TOLERANCE
        assert not prepared.states


def test_states_of_several_sections_stay_as_long_as_all_of_them_fit(monkeypatch):
    model, ablations = small_model("llama, grouped queries"), [INTACT, MIXED, LATE]
    expected = passes.score(passes.prepare(model, FIXED), ablations)
    size = passes.prepare(model, FIXED, row_tokens=1, batch_tokens=1).state_bytes
    monkeypatch.setattr(passes, "STATE_BYTES", size // 3)
    for kept, n in ((size, 2), (size - 1, 0)):
        monkeypatch.setattr(passes, "KEPT_BYTES", kept)
        prepared = passes.prepare(model, FIXED, row_tokens=1, batch_tokens=1)
        assert prepared.state_bytes == (size if n else 0)
        for one, other in zip(passes.score(prepared, ablations), expected, strict=True):
            assert np.abs(found(one) - found(other)).max() < TOLERANCE
        assert len(prepared.states) >= n
        assert bool(prepared.states) == bool(n)


def test_few_logits_exist_at_a_time(monkeypatch):
    model, sizes = small_model("gpt2"), []
    expected = passes.score(passes.prepare(model, FIXED), [INTACT])[0]
    monkeypatch.setattr(passes, "LOGIT_ROWS", 3)
    monkeypatch.setattr(passes, "LOGITS", 1000)
    monkeypatch.setattr(passes, "ALIGNED", 8)
    unembed = type(model).unembed

    def watched(self, hidden, tokens):
        logits = unembed(self, hidden, tokens)
        sizes.append(logits.numel())
        return logits

    monkeypatch.setattr(type(model), "unembed", watched)
    scores = passes.score(passes.prepare(model, FIXED, batch_tokens=1), [INTACT])[0]
    assert max(sizes) <= 1000
    assert {size % 8 for size in sizes[:-1]} == {0}
    assert np.abs(found(scores) - found(expected)).max() < TOLERANCE


def test_demonstrations_that_do_not_fit_are_dropped_whole_from_the_front():
    model = small_model("opt")
    long = tuple(f"Question: {' cat' * n}\nAnswer: yes" for n in (150, 60, 40))
    prompts = [Prompt(QUESTIONS[0], long, 7), Prompt(QUESTIONS[1], long[1:], 8), *FIXED]
    prepared = passes.prepare(model, prompts)
    assert prepared.questions.dropped_demos == (1, 0) + (0,) * len(FIXED)
    assert prepared.questions.skipped == ()
    shorter = [prompts[0].without_first_demo(), *prompts[1:]]
    scores = passes.score(prepared, [INTACT, MIXED])
    for ablation, one in zip([INTACT, MIXED], scores, strict=True):
        assert np.abs(found(one) - values(reference("opt", shorter, ablation))).max() < TOLERANCE


def test_a_question_that_does_not_fit_alone_is_skipped_and_counted():
    endless = multiple_choice("the cat" * 200, ["yes", "no"], 0)
    prepared = passes.prepare(small_model("opt"), [Prompt(endless, (DEMOS[0],), 41), *FIXED])
    assert prepared.questions.skipped == (41,)
    assert prepared.questions.docs == tuple(p.doc for p in FIXED)
    assert np.abs(found(passes.score(prepared, [INTACT])[0]) - values(reference("opt", FIXED))).max() < TOLERANCE


def test_nothing_that_fits_means_no_scores():
    prepared = passes.prepare(small_model("opt"), [Prompt(multiple_choice("the cat" * 200, ["yes"], 0))])
    assert passes.score(prepared, [INTACT, MIXED])[1].loglikelihoods == ()


def test_a_context_just_as_long_as_the_model_allows_is_scored():
    model = small_model("gpt2")
    context = " cat" * (model.info.max_positions - len(model.encode(" yes")) + 1)
    prompt = Prompt(multiple_choice(context, ["yes"], 0))
    assert len(model.encode(context + " yes")) - 1 == model.info.max_positions
    prepared = passes.prepare(model, [prompt])
    assert prepared.questions.skipped == ()
    assert np.abs(found(passes.score(prepared, [INTACT])[0]) - values(reference("gpt2", [prompt]))).max() < 1e-3


def test_logits_that_are_no_numbers_are_refused_with_advice_that_fits_the_precision():
    network = small_network("opt")
    with torch.no_grad():
        network.model.decoder.layers[1].fc2.weight.fill_(1e38)
    single, half = deepcopy(network), network.half()
    model = prepare(single, small_tokenizer(), "overflowing", "0" * 12, proven=False)
    with pytest.raises(ModelError, match=r"'overflowing' are not numbers in float32: sums grow beyond what float32"):
        passes.score(passes.prepare(model, FIXED), [INTACT])
    with pytest.raises(ModelError, match=r"not numbers in float32 with L0H1 off"):
        passes.score(passes.prepare(model, FIXED), [Ablation(frozenset({Head(0, 1)}))])
    model = prepare(half, small_tokenizer(), "overflowing", "0" * 12, "float16", proven=False)
    with pytest.raises(ModelError, match=r"not numbers in float16: its weights hold some that are none.* Use bfloat16"):
        passes.score(passes.prepare(model, FIXED), [INTACT])


def test_one_logit_that_overflows_is_refused_too_although_the_answers_still_have_an_order():
    network = small_network("opt")
    with torch.no_grad():
        network.lm_head.weight[7] = 1e38  # infinite here, minus infinite there, for a token that no option has
    model = prepare(network, small_tokenizer(), "overflowing", "0" * 12, proven=False)
    assert not any(7 in model.encode(option) for q in QUESTIONS for option in q.options)
    with pytest.raises(ModelError, match=r"'overflowing' are not numbers in float32: sums grow beyond what float32"):
        passes.score(passes.prepare(model, FIXED), [INTACT])


def test_a_mask_that_does_not_fit_the_model_is_refused_before_anything_runs():
    with pytest.raises(BadInput, match="No such component: L3H0"):
        passes.score(passes.prepare(small_model("opt"), FIXED), [Ablation(frozenset({Head(3, 0)}))])


def test_progress_counts_every_batch_and_stopping_leaves_nothing_behind():
    prepared = passes.prepare(small_model("opt"), FIXED, row_tokens=1, batch_tokens=1)
    steps = []
    expected = passes.score(prepared, [INTACT, MIXED], progress=lambda done, total: steps.append((done, total)))
    assert steps == [(n + 1, 2 * prepared.n_batches) for n in range(2 * prepared.n_batches)]

    def stop(done, total):
        if done == 3:
            raise Cancelled

    fresh = passes.prepare(small_model("opt"), FIXED, row_tokens=1, batch_tokens=1)
    with pytest.raises(Cancelled):
        passes.score(fresh, [INTACT, MIXED], progress=stop)
    assert not fresh.states
    assert passes.score(fresh, [INTACT, MIXED]) == expected


def test_threads_may_share_prepared_prompts_and_a_model():
    ablations = [INTACT, MIXED, LATE, Ablation(ffns=frozenset({0})), Ablation(frozenset({Head(1, 1)})), MIXED | LATE]
    alone = [passes.score(passes.prepare(small_model("gpt2"), FIXED), [INTACT, a])[1] for a in ablations]
    prepared = passes.prepare(small_model("gpt2"), FIXED)
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda a: passes.score(prepared, [INTACT, a])[1], ablations))
    assert together == alone


def test_fixed_demonstrations_are_read_once():
    once = passes.prepare(small_model("opt"), FIXED)
    n_demos = len(small_model("opt").encode(FIXED[0].prefix))
    apart = passes.prepare(small_model("opt"), KINDS["0 shots"])
    assert n_demos < once.n_tokens <= apart.n_tokens + n_demos + 128  # padding
