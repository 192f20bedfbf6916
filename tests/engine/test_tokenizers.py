"""Whatever the tokenizer, an option scores what plain transformers says of the whole text."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from backend.engine import induction, passes
from backend.engine.trees import Scored
from backend.kinds.evaluation import Answers, evaluate
from backend.kinds.head_importance import head_importance, importance_of_pairs
from backend.kinds.induction import prefix_matching
from backend.kinds.means import mean_activations
from backend.models.loading import LoadedModel, prepare
from backend.tasks.task import Example, Prompt, multiple_choice
from tests.models.small import small_network
from tests.models.words import KINDS, words

ARCHITECTURES = ("llama, grouped queries", "gpt2")
SIZE = 500  # of every vocabulary here, or less
TOLERANCE = 1e-4  # nats

parts = st.sampled_from(["the", "n", "cat", " ", "  ", "\n", "Paris", "Question:", "'s", "12", "3", ".", "é", "e\u0301",
                         "\u200b", "ß", "日", "there", "fore", "a", "don", "t", "\t", "No", "?"])
texts = st.lists(parts, max_size=6).map("".join)
answers = texts.filter(str.strip)
delimiters = st.sampled_from([" ", "\n", "", "\n\n", " -> ", ": "])
questions = st.builds(
    lambda context, delimiter, options: Example((context,) * len(options), tuple(delimiter + o for o in options), (0,),
                                                context + delimiter + options[0]),
    texts, delimiters, st.lists(answers, min_size=1, max_size=3))


@cache
def model_of(kind: str, front: bool, behind: bool, architecture: str) -> LoadedModel:
    network = small_network(architecture, vocab_size=SIZE, bos_token_id=None, eos_token_id=None)
    return prepare(network, words(kind, front, behind=behind), "small", "0")


@cache
def plain(architecture: str) -> PreTrainedModel:
    return small_network(architecture, vocab_size=SIZE)


@torch.no_grad()
def expected(architecture: str, kind: str, front: bool, context: str, option: str) -> float:
    """The log-likelihood, in nats, of the tokens of the whole text from where it leaves the context's."""
    tokenizer = words(kind, front, behind=False)
    option = context[len(context.rstrip()):] + option
    before, whole = tokenizer.encode(context.rstrip()), tokenizer.encode(context.rstrip() + option)
    start = 0
    while start < min(len(before), len(whole) - 1) and before[start] == whole[start]:
        start += 1
    if start == 0:
        start, whole = 1, [tokenizer.bos_token_id, *whole]
    logits = plain(architecture)(torch.tensor([whole])).logits[0].log_softmax(-1)
    return float(sum(logits[i - 1, whole[i]] for i in range(start, len(whole))))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(some=st.lists(questions, min_size=1, max_size=3), demos=st.lists(answers, max_size=2).map(tuple),
       special=st.sampled_from([(False, False), (True, False), (True, True)]),
       architecture=st.sampled_from(ARCHITECTURES))
def test_loglikelihoods_equal_plain_transformers_on_the_whole_text(kind, some, demos, special, architecture):
    front, behind = special
    if architecture == "gpt2" and kind.startswith("byte-level"):
        front = False  # as in the study
    model = model_of(kind, front, behind, architecture)
    prompts = [Prompt(example, demos, i) for i, example in enumerate(some)]
    found = evaluate(model, prompts)[0].loglikelihoods
    for prompt, row in zip(prompts, found, strict=True):
        for context, option, value in zip(prompt.example.contexts, prompt.example.options, row, strict=True):
            assert value == pytest.approx(expected(architecture, kind, front, prompt.prefix + context, option),
                                          abs=TOLERANCE)


SENTENCEPIECE = "SentencePiece, prepended, bytes"
PROMPTS = [Prompt(Example((context,) * 2, options, (i % 2,), ""), ("the dog ran.", "France: Paris"), i)
           for i, (context, options) in enumerate([("Capital:", (" Paris", " Madrid")), ("the cat ", ("sat", "ran")),
                                                   ("and the", ("n on", " red mat")), ("one two\n", ("three", "no"))])]


def whole_gold(kind: str, prompt: Prompt) -> Scored:
    """The gold option as plain transformers encodes it with all that stands before it."""
    tokenizer, gold = words(kind, front=True, behind=False), prompt.example.gold[0]
    text = prompt.prefix + prompt.example.contexts[gold]
    before = tokenizer.encode(text.rstrip())
    whole = tokenizer.encode(text + prompt.example.options[gold])
    start = next(i for i in range(len(whole)) if whole[:i + 1] != before[:i + 1])
    return Scored(tuple(whole[:start]), tuple(whole[start:]), start < len(before))


def test_head_importance_is_that_of_the_whole_texts_and_counts_its_spanning_answers():
    model = model_of(SENTENCEPIECE, front=True, behind=False, architecture=ARCHITECTURES[0])
    pairs = [whole_gold(SENTENCEPIECE, prompt) for prompt in PROMPTS]
    found = head_importance(model, PROMPTS)
    np.testing.assert_allclose(found.scores(), importance_of_pairs(model, pairs).scores(), rtol=1e-4)
    assert found.n_spanning == sum(pair.spans for pair in pairs) == 1
    assert found.block_positions[0][0] == len(pairs[0].ids) - 1


def test_mean_activations_are_taken_over_the_whole_texts():
    model = model_of(SENTENCEPIECE, front=True, behind=False, architecture=ARCHITECTURES[0])
    pairs = [whole_gold(SENTENCEPIECE, prompt) for prompt in PROMPTS]
    assert mean_activations(model, PROMPTS).n_positions == sum(len(pair.ids) - 1 for pair in pairs)


def test_fixed_demonstrations_are_read_once_whatever_the_tokenizer():
    for kind in KINDS:
        model = model_of(kind, front=True, behind=False, architecture=ARCHITECTURES[0])
        shown = ("the dog ran to the mat.", "Country: France\nCapital: Paris")
        some = [Prompt(multiple_choice(f"{c}:", ["red cat", "red mat"], 0), shown) for c in ("one", "two", "No")]
        (group,) = passes.prepare(model, some).groups
        prefix = group.prefixes[0].tokens
        assert len(group.prefixes) == len(prefix) == 1
        demonstrations = words(kind, front=True, behind=False).encode("\n\n".join(shown))
        assert prefix.shape[1] >= len(demonstrations) - 1
        # Behind them each question stands once, and only where its options part a second time.
        own = [pair for p in some for pair in model.encode_pairs([(p.prefix + p.example.contexts[0], o)
                                                                  for o in p.example.options])]
        apart = sum(len(pair.context) + len(pair.continuation) - 1 - prefix.shape[1] for pair in own)
        assert sum(int(batch.lengths.sum()) for batch in group.batches) < apart


def test_spanning_options_are_counted_in_what_is_stored():
    model = model_of(SENTENCEPIECE, front=True, behind=False, architecture=ARCHITECTURES[0])
    answers = evaluate(model, PROMPTS)[0]
    assert answers.questions.spanning == (0, 0, 1, 0)
    assert Answers.from_json(answers.to_json()) == answers


def test_induction_sequences_begin_with_one_bos_whatever_prompts_begin_with(monkeypatch):
    seen = []
    monkeypatch.setattr(induction, "prefix_matching_scores",
                        lambda model, sequences, *rest: seen.extend(sequences) or np.zeros((1, 3, 4)))
    for front in (False, True):
        model = model_of(SENTENCEPIECE, front, behind=False, architecture=ARCHITECTURES[0])
        prefix_matching(model, 1)
        assert seen[-1][0] == 1
        assert 1 not in seen[-1][1:]
