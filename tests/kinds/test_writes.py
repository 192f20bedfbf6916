"""What heads write: held against the plain network, one head and one position at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend import stats
from backend.errors import BadInput
from backend.kinds import HeadWrites, Writes, compute
from backend.kinds.writes import head_writes
from backend.models.adapters import adapter_for
from backend.models.loading import prepare
from backend.store.live import Store
from backend.tasks.task import Prompt, multiple_choice
from tests.engine.reference import plain_network
from tests.models.small import ARCHITECTURES, setup_of, small_model, small_network, small_tokenizer

DEMOS = ("Question: the cat sat on the?\nAnswer: mat",)
PROMPTS = [Prompt(multiple_choice(f"Question: {text}?\nAnswer:", ["yes", "no cat"], i % 2), DEMOS, i)
           for i, text in enumerate(["the man sat", "one two three a dog", "is it red"])]


@torch.no_grad()
def slow_writes(architecture: str) -> np.ndarray:
    """(n_layers, n_heads): every head alone through the output projection, minus what this makes of nothing."""
    model, network = small_model(architecture), plain_network(architecture)
    adapter = adapter_for(network.config.model_type)
    found, n, hooks = np.zeros((model.n_layers, model.n_heads)), 0, []
    for layer in model.attn_outs:
        module = network.get_submodule(adapter.blocks)[layer].get_submodule(adapter.attn_out)

        def look(module: torch.nn.Module, args: tuple, layer: int = layer) -> None:
            z = args[0].reshape(-1, args[0].shape[-1])
            width = z.shape[1] // model.n_heads
            bias = module.forward(torch.zeros_like(z))
            for head in range(model.n_heads):
                alone = torch.zeros_like(z)
                alone[:, head * width:(head + 1) * width] = z[:, head * width:(head + 1) * width]
                found[layer, head] += (module.forward(alone) - bias).norm(dim=-1).sum().item()

        hooks.append(module.register_forward_pre_hook(look))
    for prompt in PROMPTS:
        gold = prompt.example.gold[0]
        context = model.encode_context(prompt.prefix + prompt.example.contexts[gold])
        ids = [*context, *model.encode(prompt.example.options[gold])][:-1]
        network(torch.tensor([ids]), use_cache=False)
        n += len(ids)
    for hook in hooks:
        hook.remove()
    return found / n


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_heads_write_is_what_each_alone_sends_through_the_projection(architecture: str):
    record = head_writes(small_model(architecture), PROMPTS)
    np.testing.assert_allclose(np.array(record.norms), slow_writes(architecture), rtol=2e-4, atol=1e-6)
    assert record.n_examples == len(PROMPTS)


def test_padding_and_batches_change_nothing():
    model = small_model("opt")
    one = head_writes(model, PROMPTS, batch_tokens=1)
    np.testing.assert_allclose(np.array(one.norms), np.array(head_writes(model, PROMPTS).norms), rtol=1e-5)


def test_no_prompts_are_refused():
    with pytest.raises(BadInput, match="No prompt fits"):
        head_writes(small_model("opt"), [])


def test_a_head_whose_values_are_switched_off_is_found_dead_whatever_the_bias_of_the_projection(tmp_path):
    network = small_network("opt")
    attention = network.model.decoder.layers[1].self_attn
    with torch.no_grad():
        width = attention.head_dim
        attention.v_proj.weight[2 * width:3 * width] *= 1e-4
        attention.v_proj.bias[2 * width:3 * width] = 0
        attention.out_proj.bias += 3
    model = prepare(network, small_tokenizer(), "opt", "0")
    unit = Writes(setup_of(model, "antonym", 1, n_examples=4))
    with Store(tmp_path / "store") as store:
        record = compute(unit, store, model)
        assert store.get(unit) == record
    assert isinstance(record, HeadWrites)
    dead = np.argwhere(~record.alive()).tolist()
    assert dead == [[1, 2]]
    np.testing.assert_allclose(record.shares().sum(1), 1)


def test_layers_without_heads_have_none_alive():
    record = head_writes(small_model("qwen3_next"), PROMPTS)
    assert not record.alive()[3].any()
    assert record.alive()[[0, 1, 2, 4]].all()


# --- which are dead -----------------------------------------------------------------------------


def test_a_share_below_a_hundredth_of_the_median_is_dead_worked_by_hand():
    parts = np.array([[0.5, 0.3, 0.2], [0.6, 0.397, 0.0029]])  # the median of all six is 0.3485
    assert stats.alive(parts).tolist() == [[True, True, True], [True, True, False]]
    assert stats.alive(np.array([[0.5, 0.3, 0.2], [0.6, 0.396, 0.004]])).all()
    assert stats.alive(parts, 0.001).all()


def test_many_dead_heads_do_not_hide_one_another():
    rng = np.random.default_rng(0)
    for n_dead in (0, 1, 16, 60):
        parts = np.r_[rng.uniform(0.05, 0.2, 24), rng.uniform(0, 1e-5, n_dead)][None]
        assert stats.alive(parts).sum() == 24
    assert not stats.alive(np.zeros((2, 3))).any()


def test_adding_heads_that_write_nothing_changes_no_other_head_s_state():
    rng = np.random.default_rng(1)
    norms = rng.lognormal(0, 2.5, (6, 8))
    wider = np.c_[norms, np.zeros((6, 3))]
    found = stats.alive(stats.layer_parts(wider))
    assert (found[:, :8] == stats.alive(stats.layer_parts(norms))).all()
    assert not found[:, 8:].any()


def test_a_layer_that_writes_nothing_has_no_parts():
    assert stats.layer_parts(np.array([[0.0, 0.0], [1.0, 3.0]])).tolist() == [[0, 0], [0.25, 0.75]]
