"""Whatever the tokenizer, an option scores what plain transformers says of the whole text."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from backend.kinds.evaluation import evaluate
from backend.models.loading import LoadedModel, prepare
from backend.tasks.task import Example, Prompt
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


@pytest.mark.parametrize(("front", "behind"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(some=st.lists(questions, min_size=1, max_size=4), demos=st.lists(answers, max_size=2).map(tuple),
       architecture=st.sampled_from(ARCHITECTURES))
def test_loglikelihoods_equal_plain_transformers_on_the_whole_text(kind, front, behind, some, demos, architecture):
    if architecture == "gpt2" and kind.startswith("byte-level"):
        front = False  # as in the study
    model = model_of(kind, front, behind, architecture)
    prompts = [Prompt(example, demos, i) for i, example in enumerate(some)]
    found = evaluate(model, prompts)[0].loglikelihoods
    for prompt, row in zip(prompts, found, strict=True):
        for context, option, value in zip(prompt.example.contexts, prompt.example.options, row, strict=True):
            assert value == pytest.approx(expected(architecture, kind, front, prompt.prefix + context, option),
                                          abs=TOLERANCE)
