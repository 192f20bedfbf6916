"""Head importance is what a gate on the head would do to the loss."""

import logging
from copy import deepcopy

import numpy as np
import pytest
import torch

from backend.engine import gradients as module
from backend.engine.trees import Scored
from backend.errors import BadInput, Cancelled, ModelError
from backend.kinds.head_importance import head_importance, importance_of_pairs
from backend.models import loading
from backend.models.gates import Gates, passing
from backend.models.loading import LoadedModel, prepare
from backend.tasks.task import Example, Prompt, multiple_choice
from tests.models.small import FAMILIES, small_model, small_network, small_tokenizer

DEMOS = ("Question: the cat sat on the?\nAnswer: mat", "Question: is it blue?\nAnswer: no")
QUESTIONS = [multiple_choice(f"Question: {text}?\nAnswer:", ["yes", "the red dog ran", "no cat"], i % 3)
             for i, text in enumerate(["the man sat", "one two three", "is it blue and green", "a", "the dog ran to"])]
PROMPTS = [Prompt(q, (), i) for i, q in enumerate(QUESTIONS)]
FIXED = [Prompt(q, DEMOS, i) for i, q in enumerate(QUESTIONS)]
every_family = pytest.mark.parametrize("architecture", FAMILIES)


def gold_pair(model: LoadedModel, prompt: Prompt) -> Scored:
    gold = prompt.example.gold[0]
    return Scored(tuple(model.encode_context(prompt.prefix + prompt.example.contexts[gold])),
                  tuple(model.encode(prompt.example.options[gold])))


def obvious(model: LoadedModel, pairs: list[Scored]) -> tuple[np.ndarray, np.ndarray]:
    """Both reductions as methods describe them: one example at a time, full logits, z * dL/dz of every head."""
    per_token = np.zeros((model.n_layers, model.n_heads))
    per_example, positions = per_token.copy(), np.zeros(model.n_layers)
    for pair in pairs:
        kept: list[torch.Tensor] = []

        def keep(z_module, args, kept=kept):
            kept.append(args[0].detach().requires_grad_() if not kept else args[0])
            kept[-1].retain_grad()
            return (kept[-1], *args[1:])

        hooks = [attn_out.register_forward_pre_hook(keep) for attn_out in model.attn_outs.values()]
        logits = model.model(torch.tensor([pair.ids[:-1]]), use_cache=False).logits[0, len(pair.context) - 1:]
        torch.nn.functional.cross_entropy(logits, torch.tensor(pair.continuation)).backward()
        for hook in hooks:
            hook.remove()
        for layer, z in zip(model.attn_outs, kept, strict=True):
            products = (z * z.grad)[0].detach().unflatten(-1, (model.n_heads, -1)).sum(-1).numpy()  # (pos, n_heads)
            per_token[layer] += np.abs(products).sum(0)
            per_example[layer] += np.abs(products.sum(0))
        positions += [len(pair.ids) - 1] * (model.n_layers - 1) + [len(pair.continuation)]
    return per_token / positions[:, None], per_example / len(pairs)


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    assert np.abs(found - expected).max() < tolerance * expected.max()


@every_family
def test_importance_is_the_sum_of_z_times_its_gradient(architecture):
    model = small_model(architecture)
    pairs = [gold_pair(model, p) for p in FIXED]
    per_token, per_example = obvious(model, pairs)
    found = importance_of_pairs(model, pairs)
    assert_close(found.scores("per-token"), per_token)
    assert_close(found.scores("per-example"), per_example)


@every_family
def test_demonstrations_read_once_change_no_score(architecture, monkeypatch):
    monkeypatch.setattr(module, "SHARING_WIDTH", 0)  # small models too
    model = small_model(architecture)
    shared = head_importance(model, FIXED)
    alone = importance_of_pairs(model, [gold_pair(model, p) for p in FIXED])
    for reduction in ("per-token", "per-example"):
        assert_close(shared.scores(reduction), alone.scores(reduction))
    assert shared.block_positions == alone.block_positions


@every_family
def test_batch_size_and_padding_change_nothing_beyond_rounding(architecture):
    model = small_model(architecture)
    alone = head_importance(model, PROMPTS + FIXED, batch_tokens=1)
    together = head_importance(model, PROMPTS + FIXED, batch_tokens=4096)
    for reduction in ("per-token", "per-example"):
        assert_close(together.scores(reduction), alone.scores(reduction))


def test_per_example_importance_of_one_prompt_is_the_slope_of_its_loss_along_a_gate():
    model = small_model("gpt2")
    pair = gold_pair(model, FIXED[1])
    found = importance_of_pairs(model, [pair]).scores("per-example")

    def loss(layer: int, head: int, gate: float) -> float:
        heads = torch.ones(1, model.n_layers, model.n_heads)
        heads[0, layer, head] = gate
        with torch.no_grad(), passing(Gates(heads=heads)):
            logits = model.model(torch.tensor([pair.ids[:-1]]), use_cache=False).logits[0, len(pair.context) - 1:]
        return torch.nn.functional.cross_entropy(logits.double(), torch.tensor(pair.continuation)).item()

    step = 1e-2
    for layer in range(model.n_layers):
        for head in range(model.n_heads):
            slope = abs(loss(layer, head, 1 + step) - loss(layer, head, 1 - step)) / (2 * step)
            assert found[layer, head] == pytest.approx(slope, rel=0.02, abs=2e-3)


def test_a_confident_model_s_scores_are_as_exact_as_any_other_s(monkeypatch):
    """Where p(answer) is 1 - 1e-6, 1 - p in float32 has two digits left."""
    network, pair = small_network("opt"), gold_pair(small_model("opt"), FIXED[0])
    with torch.no_grad():
        hidden = network.model(torch.tensor([pair.ids[:-1]])).last_hidden_state[0, -1]
        network.lm_head.weight[pair.continuation[0]] += 30 * hidden / hidden.norm() ** 2
    monkeypatch.setitem(loading.DTYPES, "float64", torch.float64)
    double = prepare(deepcopy(network).double(), small_tokenizer(), "sure", "", "float64")
    found = importance_of_pairs(prepare(network, small_tokenizer(), "sure", ""), [pair])
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    expected = importance_of_pairs(double, [pair])
    for reduction in ("per-token", "per-example"):
        assert 0 < expected.scores(reduction).max() < 1e-4
        assert_close(found.scores(reduction), expected.scores(reduction), 1e-5)


def test_a_head_that_the_output_projection_ignores_has_no_importance():
    network = small_network("llama, grouped queries")
    with torch.no_grad():
        network.model.layers[1].self_attn.o_proj.weight[:, 8:16] = 0
    found = head_importance(prepare(network, small_tokenizer(), "deaf", ""), FIXED)
    for reduction in ("per-token", "per-example"):
        scores = found.scores(reduction)
        assert scores[1, 1] == 0
        assert np.count_nonzero(scores) == scores.size - 1


def test_blocks_add_up_to_the_whole():
    model = small_model("opt")
    whole = head_importance(model, PROMPTS)
    assert (whole.n_examples, whole.block_sizes) == (5, (1, 1, 1, 1, 1))
    one = head_importance(model, PROMPTS[1:2]).scores("per-example")
    assert_close(whole.scores("per-example", blocks=np.array([1])), one)
    assert_close(whole.scores("per-example", blocks=np.array([1, 1, 1])), one)


def test_a_prompt_that_does_not_fit_is_skipped_and_counted():
    endless = Prompt(multiple_choice("the cat" * 200, ["yes"], 0), DEMOS, 77)
    found = head_importance(small_model("opt"), [endless, *FIXED])
    assert (found.skipped, found.n_examples) == ((77,), 5)
    assert_close(found.scores(), head_importance(small_model("opt"), FIXED).scores())


def test_demonstrations_are_dropped_where_the_prompt_is_too_long():
    model = small_model("opt")
    long = Prompt(QUESTIONS[0], ("the cat" * 90, DEMOS[1]))
    assert_close(head_importance(model, [long]).scores(), head_importance(model, [long.without_first_demo()]).scores())


def test_the_gold_option_stands_behind_its_own_context():
    model = small_model("opt")
    example = Example(("the cat", "the dog that ran"), (" sat on the mat.",) * 2, (1,), "")
    pair = gold_pair(model, Prompt(example))
    assert_close(head_importance(model, [Prompt(example)]).scores(), importance_of_pairs(model, [pair]).scores())


def test_nothing_to_take_gradients_of_is_refused():
    with pytest.raises(BadInput, match="nothing to take gradients of"):
        head_importance(small_model("opt"), [])


def test_gradients_that_are_no_numbers_are_refused_with_advice():
    network = small_network("opt")
    with torch.no_grad():
        network.model.decoder.layers[1].fc2.weight.fill_(1e38)
    with pytest.raises(ModelError, match=r"'overflowing' are not numbers in float32: sums grow beyond what float32"):
        head_importance(prepare(network, small_tokenizer(), "overflowing", "", proven=False), FIXED)


def test_progress_counts_prompts_and_can_stop_the_work():
    steps = []
    head_importance(small_model("opt"), FIXED, lambda done, total: steps.append((done, total)), batch_tokens=1)
    assert steps == [(n, 5) for n in range(1, 6)]

    def stop(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        head_importance(small_model("opt"), FIXED, stop)


def test_running_out_of_memory_halves_the_batch_and_says_so(monkeypatch, caplog):
    model = small_model("opt")
    expected = head_importance(model, PROMPTS)
    plain = module._batch_gradients

    def small_memory(model, pairs, *rest):
        if len(pairs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB.")
        return plain(model, pairs, *rest)

    monkeypatch.setattr(module, "_batch_gradients", small_memory)
    with caplog.at_level(logging.WARNING):
        found = head_importance(model, PROMPTS)
    assert "Out of memory: going on with passes of" in caplog.text
    assert_close(found.scores(), expected.scores())
