"""Function-vector heads: against the published procedure written out with plain hooks, and on a planted truth."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend import lens
from backend.engine import last_token
from backend.errors import BadInput
from backend.kinds import FunctionVectors
from backend.kinds.function_vectors import function_vectors
from backend.models import smollm2
from backend.models.loading import load_model, prepare
from backend.tasks.labels import shuffled
from backend.tasks.mini import MINI
from backend.tasks.task import prompts
from backend.values import ModelId, Setup, TaskId
from tests.models.planted import asks, planted
from tests.models.small import small_model, small_network, small_tokenizer

TRUE = prompts(MINI["label_mood"], 3, "per-query", 6, split="train")
OTHERS = prompts(MINI["label_mood"], 3, "per-query", 10, split="train")[6:]


def by_hooks(model, true, others, layers=None):
    """The procedure as published: read every prompt anew for every head, with its output overwritten by a hook; 0 in
    layers that are not asked for."""
    network, (n_layers, n_heads) = model.model, (model.n_layers, model.n_heads)
    modules = model.attn_outs
    seen = {}

    def keep(layer):
        return lambda module, args: seen.__setitem__(layer, args[0][:, -1].detach().clone())

    handles = [modules[layer].register_forward_pre_hook(keep(layer)) for layer in modules]
    outputs = []
    for ids, *_ in last_token.last_of(model, true):
        network(input_ids=torch.tensor([ids]))
        outputs.append({layer: z.reshape(n_heads, -1) for layer, z in seen.items()})
    for handle in handles:
        handle.remove()
    means = {layer: torch.stack([z[layer] for z in outputs]).mean(0) for layer in modules}
    effects = []
    for ids, wanted, *_ in last_token.last_of(model, shuffled(others)):
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
        effects.append([[p(layer, head) - intact if layer in modules and (layers is None or layer in layers) else 0.0
                         for head in range(n_heads)] for layer in range(n_layers)])
    return np.array(effects)


@pytest.mark.parametrize("architecture", [
    "opt", "gpt2", "gptj", "llama, grouped queries", "qwen2, some layers slide", "gemma2", "qwen3, wide heads", "bloom",
    "mixtral", "granite", "qwen3_next"])
@torch.inference_mode()
def test_it_is_the_published_procedure(architecture):
    model = small_model(architecture)
    found = function_vectors(model, TRUE, OTHERS)
    expected = by_hooks(model, TRUE, OTHERS)
    assert np.abs(expected).max() > 5e-6
    assert np.abs(np.array(found.effects) - expected).max() < 1e-7
    assert np.allclose(found.scores(), expected.mean(0), atol=1e-7)
    assert (found.n_means, len(found.shuffled), found.left_out) == (6, 4, (0, 0))
    assert not found.scores()[list(model.info.headless)].any()


@torch.inference_mode()
def test_it_is_the_published_procedure_on_a_real_language_model():
    if not smollm2.is_here():
        pytest.skip("SmolLM2-135M is not here: `make smollm2` fetches it.")
    model, task = load_model(smollm2.NAME), MINI["capital"]
    true = prompts(task, 5, "per-query", 4, split="train")
    others = prompts(task, 5, "per-query", 5, split="train")[4:]
    layers = (14, 28)
    expected = by_hooks(model, true, others, layers)
    found = np.array(function_vectors(model, true, others).effects)
    assert np.abs(expected).max() > 1e-3
    assert np.abs((found - expected)[:, layers]).max() < 1e-4


def test_a_model_that_is_not_read_in_parts_gives_the_same(monkeypatch):
    model = small_model("gpt2")
    apart = function_vectors(model, TRUE, OTHERS[:2])
    monkeypatch.setattr("backend.engine.passes.shares_prefixes", lambda model: False)
    whole = function_vectors(model, TRUE, OTHERS[:2])
    assert np.allclose(apart.effects, whole.effects, atol=1e-6)
    assert np.abs(np.array(apart.shuffled) - whole.shuffled).max() < 1e-6


def test_a_head_replaced_by_its_own_output_changes_nothing():
    """Where the mean is over the very prompt in which it is put back, every effect is 0."""
    model = small_model("opt")
    asked = last_token.last_of(model, OTHERS[:1])
    fill, likely = last_token.mean_last_outputs(model, asked)
    intact, changed = last_token.replaced(model, asked, fill)
    assert likely == pytest.approx(intact[0], abs=1e-6)
    assert np.abs(changed - intact[:, None, None]).max() < 1e-6


def test_what_the_intact_model_gives_is_its_probability_behind_true_and_behind_shuffled_labels():
    model = small_model("llama, grouped queries")
    found = function_vectors(model, TRUE, OTHERS)

    def likely(prompts):
        with torch.inference_mode():
            return [float(model.model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)[wanted])
                    for ids, wanted, *_ in last_token.last_of(model, prompts)]

    assert found.true == pytest.approx(np.mean(likely(TRUE)), abs=1e-7)
    assert found.shuffled == pytest.approx(likely(shuffled(OTHERS)), abs=1e-7)
    assert found.lost == pytest.approx(found.true - np.mean(found.shuffled))


def test_a_prompt_is_read_once_and_not_once_for_every_head():
    """Tokens that are read, counted where the model takes them in: at least 20 times fewer than a pass per head."""
    network = small_network("gpt2", n_layer=12, n_head=12, n_embd=96)
    model = prepare(network, small_tokenizer(), "wide", "r", proven=False)
    read = 0

    def counted(module, args, given):
        nonlocal read
        read += given["input_ids"].numel() if "input_ids" in given else args[0].numel()

    handle = model.trunk.register_forward_pre_hook(counted, with_kwargs=True)
    function_vectors(model, TRUE, OTHERS)
    handle.remove()
    a_pass_per_head = 12 * 12 * sum(len(one.ids) for one in last_token.last_of(model, OTHERS))
    assert a_pass_per_head / read > 20, (a_pass_per_head, read)


# --- a planted truth --------------------------------------------------------------------------------

N_PLANTED = 48


def test_the_function_vector_head_of_a_model_built_by_hand_is_found_and_its_effect_is_what_one_works_out():
    model, rng = planted(), random.Random(0)
    true, others = [asks(rng) for _ in range(N_PLANTED)], [asks(rng) for _ in range(N_PLANTED)]
    found = function_vectors(model, true, others)
    scores = found.scores()

    def p(rule, copied):  # of the right answer: six words, whose logits are 0 but for the two labels'
        right, wrong = 6 * max(rule, 0) + copied / 2, 6 * max(-rule, 0) + (1 - copied) / 2
        return math.exp(right) / (math.exp(right) + math.exp(wrong) + 4)

    expected = []
    for prompt in shuffled(others):
        pairs = [demo.split() for demo in prompt.demos]
        rule = np.mean([1 if (one == "x") == (label == "A") else -1 for one, label in pairs])
        wanted = prompt.example.options[prompt.example.gold[0]].strip()
        copied = np.mean([label == wanted for one, label in pairs if one == prompt.example.contexts[0]])
        expected.append((p(rule, copied), p(1.0, copied)))
    before, after = np.array(expected).T
    assert found.true == pytest.approx(p(1.0, 1.0), abs=1e-6)
    assert found.shuffled == pytest.approx(before, abs=1e-6)
    assert np.array(found.effects)[:, 1, 1] == pytest.approx(after - before, abs=1e-6)
    assert scores[1, 1] > 0.3
    assert np.abs(scores[[0, 0, 1], [0, 1, 0]]).max() < 0.05
    assert prefix_matching_of(model)[1, 0] > 0.9 > 0.6 > prefix_matching_of(model)[1, 1]


def prefix_matching_of(model):
    """(n_layers, n_heads): how much each head attends, from the last x, to the labels that followed x before."""
    ids = [2, 4, 3, 5, 2, 4, 3, 5, 2]  # x A y B x A y B x
    return np.array([[lens.attention(model, ids, layer)[head][-1, [1, 5]].sum() for head in range(2)]
                     for layer in range(2)])


def test_prompts_too_long_are_told_of():
    """A prompt that does not fit loses demonstrations, or is left out, and the record says so."""
    model = small_model("gpt2")
    lengths = [len(one.ids) for one in last_token.last_of(model, [*TRUE, *OTHERS])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "info", replace(model.info, max_positions=min(lengths) - 1))
        found = function_vectors(model, TRUE, OTHERS)
        assert found.left_out == (10, 0)
        patch.setattr(model, "info", replace(model.info, max_positions=1))
        with pytest.raises(BadInput, match="fits the model's context"):
            function_vectors(model, TRUE, OTHERS)


def test_prompts_keep_the_draw_of_demonstrations_that_they_share():
    model = small_model("opt")
    every = prompts(MINI["label_mood"], 3, "fixed", 12, split="train", draws=4)
    assert function_vectors(model, every[:6], every[6:]).draws == tuple(prompt.draw for prompt in every[6:])
    assert function_vectors(model, TRUE, OTHERS).draws == ()


def test_its_arguments_ask_for_it_again():
    setup = Setup(ModelId("m", "r", "d"), TaskId("antonym", "x"), 5, draws=10, n_examples=30)
    given = " ".join(FunctionVectors(setup, 7).arguments())
    assert "--what function-vectors" in given
    assert "--n-means 30 --n-trials 7" in given
    assert "--n-examples" not in given
    with pytest.raises(BadInput, match="over 1 to"):
        FunctionVectors(setup, 0)
    with pytest.raises(BadInput, match="at 0 shots there are no labels"):
        FunctionVectors(setup.with_(n_shots=0))
