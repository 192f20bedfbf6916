"""Function-vector heads: against the published procedure written out with plain hooks, and on a planted truth."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.engine import last_token
from backend.errors import BadInput
from backend.kinds import FunctionVectors
from backend.kinds.function_vectors import function_vectors
from backend.tasks.labels import shuffled
from backend.tasks.mini import MINI
from backend.tasks.task import Example, Prompt, prompts
from backend.values import ModelId, Setup, TaskId
from tests.models.small import CONFIGS, small_model

TRUE = prompts(MINI["label_mood"], 3, "per-query", 6, split="train")
OTHERS = prompts(MINI["label_mood"], 3, "per-query", 10, split="train")[6:]


def by_hooks(model, true, others):
    """The procedure as published: read every prompt anew for every head, with its output overwritten by a hook."""
    network, (n_layers, n_heads) = model.model, (model.n_layers, model.n_heads)
    modules = model.attn_outs
    seen = {}

    def keep(layer):
        return lambda module, args: seen.__setitem__(layer, args[0][:, -1].detach().clone())

    handles = [modules[layer].register_forward_pre_hook(keep(layer)) for layer in modules]
    outputs = []
    for ids, _ in last_token.last_of(model, true):
        network(input_ids=torch.tensor([ids]))
        outputs.append({layer: z.reshape(n_heads, -1) for layer, z in seen.items()})
    for handle in handles:
        handle.remove()
    means = {layer: torch.stack([z[layer] for z in outputs]).mean(0) for layer in modules}
    effects = []
    for ids, wanted in last_token.last_of(model, shuffled(others)):
        def p(layer=None, head=None, ids=ids, wanted=wanted):
            def overwrite(module, args):
                z = args[0].clone()
                width = z.shape[-1] // n_heads
                z[:, -1, head * width:(head + 1) * width] = means[layer][head]
                return (z, *args[1:])

            handle = modules[layer].register_forward_pre_hook(overwrite) if layer is not None else None
            logits = network(input_ids=torch.tensor([ids])).logits[0, -1].float()
            if handle:
                handle.remove()
            return float(logits.softmax(-1)[wanted])

        intact = p()
        effects.append([[p(layer, head) - intact if layer in modules else 0.0 for head in range(n_heads)]
                        for layer in range(n_layers)])
    return np.array(effects)


@pytest.mark.parametrize("architecture", [name for name in CONFIGS if name in (
    "opt", "gpt2", "gptj", "llama, grouped queries", "qwen2, some layers slide", "gemma2", "qwen3, wide heads")])
@torch.inference_mode()
def test_it_is_the_published_procedure(architecture):
    model = small_model(architecture)
    found = function_vectors(model, TRUE, OTHERS)
    expected = by_hooks(model, TRUE, OTHERS)
    assert np.abs(expected).max() > 1e-5
    assert np.abs(np.array(found.mean) - expected.mean(0)).max() < 1e-7
    assert np.allclose(found.variance, expected.var(0, ddof=1), atol=1e-12, rtol=1e-2)
    assert (found.n_means, found.n_trials) == (6, 4)


def test_a_model_that_is_not_read_in_parts_gives_the_same(monkeypatch):
    model = small_model("gpt2")
    apart = function_vectors(model, TRUE, OTHERS[:2])
    monkeypatch.setattr("backend.engine.passes.shares_prefixes", lambda model: False)
    whole = function_vectors(model, TRUE, OTHERS[:2])
    assert np.allclose(apart.mean, whole.mean, atol=1e-6)


def test_a_head_replaced_by_its_own_output_changes_nothing():
    """Where the mean is over the very prompt in which it is put back, every effect is 0."""
    model = small_model("opt")
    asked = last_token.last_of(model, OTHERS[:1])
    fill = last_token.mean_last_outputs(model, [asked[0][0]])
    intact, changed = last_token.replaced(model, asked, fill)
    assert np.abs(changed - intact[:, None, None]).max() < 1e-6


def test_reading_a_prompt_once_saves_what_it_promises():
    """Tokens read: a pass for every head against one, and a row of one token for every head behind it."""
    model = small_model("gpt2")
    n_tokens = 200
    heads = model.n_layers * model.n_heads
    assert heads * n_tokens / (n_tokens + heads) > heads / 1.1  # 30 layers of 9 heads behind 500 tokens: 175 times
    assert 270 * 500 / (500 + 270) > 20


@given(seed=st.integers(0, 1000))
def test_shuffling_keeps_questions_and_the_labels_counts(seed):
    for before, after in zip(OTHERS, shuffled(OTHERS, seed), strict=True):
        assert before.example == after.example
        assert Counter(before.answers) == Counter(after.answers)
        for demo, own, lied, other in zip(before.demos, before.answers, after.demos, after.answers, strict=True):
            assert demo.removesuffix(own) == lied.removesuffix(other)


def test_shuffling_changes_something_and_equal_demonstrations_alike():
    fixed = prompts(MINI["label_mood"], 5, "fixed", 12, draws=3)
    lied = shuffled(fixed)
    assert len({p.demos for p in lied}) == 3
    assert any(a.demos != b.demos for a, b in zip(fixed, lied, strict=True))


def test_options_before_the_rest_of_the_question_cannot_be_shuffled():
    example = Example(("Tom came because", "Ann came because"), (" he ran.", " he ran."), (0,), "Tom came because he ran.")
    with pytest.raises(BadInput, match="no answers that could be shuffled"):
        shuffled([Prompt(example, ("Tom came because he ran.",), answers=(" he ran.",))])
    example = Example(("a ->",), (" b",), (0,), "a -> b")
    with pytest.raises(BadInput, match="does not hold its answer"):
        shuffled([Prompt(example, ("a -> b",), answers=(" c",))])


def test_its_arguments_ask_for_it_again():
    setup = Setup(ModelId("m", "r", "d"), TaskId("antonym", "x"), 5, draws=10, n_examples=30)
    given = " ".join(FunctionVectors(setup, 7).arguments())
    assert "--what function-vectors" in given
    assert "--n-means 30 --n-trials 7" in given
    assert "--n-examples" not in given
    with pytest.raises(BadInput, match="at least 1"):
        FunctionVectors(setup, 0)
