"""The doorway to the model: what gates do, and that they leave nothing behind. For every architecture."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.cache_utils import DynamicCache

from backend.errors import BadInput
from backend.kinds.means import Activations
from backend.models import loading
from backend.models.gates import ALL_ON, Gates, Kept, Places, Route, gates_for, passing
from backend.models.loading import LoadedModel, prepare
from backend.values import INTACT, Ablation, Head
from tests.models.small import ARCHITECTURES, FAMILIES, WHOLE, small_model, small_network, small_tokenizer

TEXT = "the cat sat on the mat. Question: is the dog red? Answer: yes"
MIXED = Ablation(frozenset({Head(0, 1), Head(1, 0), Head(1, 3), Head(2, 2)}), frozenset({1}))
READ_IN_EVERY_BLOCK = ("gemma3n, four streams",)  # the tokens themselves
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)
every_family = pytest.mark.parametrize("architecture", FAMILIES)
every_cache = pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in WHOLE])
every_family_s_cache = pytest.mark.parametrize("architecture", [name for name in FAMILIES if name not in WHOLE])


def tokens(model: LoadedModel, text: str = TEXT) -> torch.Tensor:
    return torch.tensor([model.encode(text)])


@torch.no_grad()
def logits(model: LoadedModel, gates: Gates | None = None, ids: torch.Tensor | None = None, **way) -> torch.Tensor:
    """(batch, pos, vocabulary), by the model's own way."""
    ids = tokens(model) if ids is None else ids
    if gates is None and not way:
        return model.model(ids, use_cache=False).logits
    with passing(gates or ALL_ON, **way):
        return model.model(ids, use_cache=False).logits


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-4) -> bool:
    return bool((a - b).abs().max() < tolerance)


def added(output: torch.Tensor | tuple) -> torch.Tensor:
    """What an FFN adds; some experts return it beside their router's scores."""
    return output[0] if isinstance(output, tuple) else output


def instead(output: torch.Tensor | tuple, addend: torch.Tensor) -> torch.Tensor | tuple:
    return (addend, *output[1:]) if isinstance(output, tuple) else addend


def without_heads(model: LoadedModel, projection: nn.Module, heads: list[int]) -> None:
    """Zero the columns of an output projection's weight that read these heads."""
    for head in heads:
        columns = slice(head * model.d_head, (head + 1) * model.d_head)
        if isinstance(projection, nn.Linear):
            projection.weight[:, columns] = 0
        else:  # transformers' Conv1D holds its weight the other way round
            projection.weight[columns] = 0


@torch.no_grad()
def by_hand(model: LoadedModel, ablation: Ablation) -> torch.Tensor:
    """The logits of a fresh copy without our hooks, its weights edited."""
    network = small_network(model.info.name)
    blocks = network.get_submodule(model.adapter.blocks)
    for layer, block in enumerate(blocks):
        if heads := [h.head for h in ablation.heads if h.layer == layer]:
            without_heads(model, block.get_submodule(model.adapter.attn_out), heads)
        if layer in ablation.ffns:
            ffn = block.get_submodule(model.adapter.ffn)
            ffn.register_forward_hook(lambda module, args, output: instead(output, torch.zeros_like(added(output))))
    return network(tokens(model), use_cache=False).logits


@every_architecture
def test_no_gates_change_no_bit_of_the_logits(architecture):
    model = small_model(architecture)
    plain = small_network(architecture)  # never seen by us
    with torch.no_grad():
        expected = plain(tokens(model), use_cache=False).logits
    assert torch.equal(logits(model), expected)
    assert torch.equal(logits(model, Gates()), expected)
    assert torch.equal(logits(model, gates_for(model, [INTACT])), expected)


@every_architecture
def test_the_unembedding_of_the_trunk_is_the_models_own(architecture):
    model = small_model(architecture)
    with torch.no_grad():
        hidden = model.trunk(input_ids=tokens(model), use_cache=False).last_hidden_state
        assert torch.equal(model.unembed(hidden), logits(model))


@every_architecture
def test_an_exception_inside_a_pass_leaves_nothing_behind(architecture):
    model = small_model(architecture)
    expected = logits(model)
    with pytest.raises(IndexError), passing(gates_for(model, [MIXED])):
        model.model(torch.tensor([[10**6]]), use_cache=False)
    assert torch.equal(logits(model), expected)


@every_architecture
def test_ablating_heads_equals_zeroing_their_columns_of_the_output_projection(architecture):
    model = small_model(architecture)
    heads = Ablation(MIXED.heads)
    ablated = logits(model, gates_for(model, [heads]))
    assert close(ablated, by_hand(model, heads))
    assert not close(ablated, logits(model), 1e-2)


@every_architecture
def test_ablating_an_ffn_equals_adding_nothing(architecture):
    model = small_model(architecture)
    for layer in range(model.n_layers):
        ffn = Ablation(ffns=frozenset({layer}))
        ablated = logits(model, gates_for(model, [ffn]))
        assert close(ablated, by_hand(model, ffn))
        assert not close(ablated, logits(model), 1e-2)


@every_architecture
def test_without_any_head_of_a_layer_exactly_the_bias_remains(architecture):
    model = small_model(architecture)
    outputs = []
    hook = model.attn_outs[1].register_forward_hook(lambda module, args, output: outputs.append(output))
    logits(model, gates_for(model, [Ablation(frozenset(Head(1, head) for head in range(model.n_heads)))]))
    hook.remove()
    bias = getattr(model.attn_outs[1], "bias", None)
    expected = torch.zeros(model.d_model) if bias is None else bias
    assert torch.equal(outputs[0], expected.expand_as(outputs[0]))


@every_architecture
def test_without_an_ffn_attention_alone_moves_the_residual_stream(architecture):
    model = small_model(architecture)
    added: list[torch.Tensor] = []
    logits(model, gates_for(model, [Ablation(ffns=frozenset({1}))]), kept=Kept(ffn_out=added))
    assert not added[1].any()
    assert added[0].any()


@every_architecture
def test_an_ffn_that_is_off_everywhere_is_not_run(architecture):
    model = prepare(small_network(architecture), small_tokenizer(), architecture, "")
    gates = gates_for(model, [MIXED, Ablation(ffns=frozenset({0, 1}))])
    ids = tokens(model).expand(2, -1)
    expected = [logits(model, gates, ids), logits(model, gates, ids)]  # the first time its result is not known yet
    parts = [model.ffns[1]]
    if model.adapter.ffn_reads:
        parts.append(model.blocks[1].get_submodule(model.adapter.ffn_reads))
    for parameter in itertools.chain.from_iterable(module.parameters() for module in parts):
        parameter.fill_(torch.nan)
    assert torch.equal(expected[0], expected[1])
    assert torch.equal(logits(model, gates, ids), expected[0])
    assert not logits(model).isfinite().all()


@every_family
def test_one_batch_carries_several_masks(architecture):
    model = small_model(architecture)
    ablations = [INTACT, MIXED, Ablation(frozenset({Head(0, 0)})), Ablation(ffns=frozenset({0, 2}))]
    together = logits(model, gates_for(model, ablations), tokens(model).expand(4, -1))
    for row, ablation in enumerate(ablations):
        assert close(together[row], logits(model, gates_for(model, [ablation]))[0])


@every_family
def test_gate_gradients_equal_finite_differences(architecture, monkeypatch):
    monkeypatch.setitem(loading.DTYPES, "float64", torch.float64)
    network = small_network(architecture, experts_implementation="eager").double()
    model = prepare(network, small_tokenizer(), architecture, "", "float64")
    monkeypatch.setattr(torch, "float32", torch.float64)  # some norms and softmaxes are float32 whatever the model is
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    ids = tokens(model)

    def loss(gate: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy under gates (n_layers, n_heads, pos)."""
        with passing(Gates(heads=list(gate[:, None]))):
            return nn.functional.cross_entropy(model.model(ids, use_cache=False).logits[0, :-1], ids[0, 1:])

    ones = torch.ones(model.n_layers, model.n_heads, ids.shape[1], dtype=torch.float64)
    with torch.enable_grad():
        gate = ones.clone().requires_grad_()
        gradient = torch.autograd.grad(loss(gate), gate)[0]
    generator, step = torch.Generator().manual_seed(1), 1e-5
    directions = [torch.randn(ones.shape, generator=generator, dtype=torch.float64) for _ in range(3)]
    for layer in range(model.n_layers):  # and one whole head of each layer
        directions.append(torch.zeros_like(ones))
        directions[-1][layer, layer % model.n_heads] = 1
    for direction in directions:
        with torch.no_grad():
            difference = (loss(ones + step * direction) - loss(ones - step * direction)) / (2 * step)
        assert (gradient * direction).sum().item() == pytest.approx(difference.item(), rel=1e-5, abs=1e-6)


@every_cache
def test_a_pass_behind_cached_keys_and_values_equals_the_whole_pass(architecture):
    model = small_model(architecture)
    ids = tokens(model)
    for ablation in (INTACT, MIXED):
        gates = gates_for(model, [ablation])
        cache = DynamicCache()
        with torch.no_grad(), passing(gates):
            model.model(ids[:, :9], past_key_values=cache, use_cache=True)
            rest = model.model(ids[:, 9:], past_key_values=cache, use_cache=True).logits
        assert close(rest, logits(model, gates)[:, 9:])


@every_architecture
def test_beginning_in_the_middle_equals_the_whole_pass(architecture):
    model = small_model(architecture)
    kept = Kept(inputs_from=0)
    expected = logits(model, kept=kept)
    assert sorted(kept.inputs) == list(range(model.n_layers))
    ids = tokens(model)
    if architecture not in READ_IN_EVERY_BLOCK:
        ids = torch.zeros_like(ids)  # what stands there no longer matters
    for start in range(model.latest_start + 1):
        assert torch.equal(logits(model, ids=ids, route=Route(start, kept.inputs[start])), expected)


@every_family
def test_a_model_can_begin_in_the_middle_before_it_ever_ran(architecture):
    model = small_model(architecture, seed=1)
    hidden = torch.randn(2, 5, model.d_state)
    out = logits(model, ids=torch.zeros(2, 5, dtype=torch.long), route=Route(2, hidden))
    assert out.shape[:2] == (2, 5)


@every_architecture
def test_blocks_from_the_stop_on_do_not_run(architecture):
    model = small_model(architecture)
    ran = []
    hooks = [attn.register_forward_hook(lambda module, args, out, layer=layer: ran.append(layer))
             for layer, attn in model.attn_outs.items()]
    kept, whole = Kept(inputs_from=2), Kept(inputs_from=0)
    logits(model, route=Route(stop=2), kept=kept)
    for hook in hooks:
        hook.remove()
    assert ran == [0, 1]
    logits(model, kept=whole)
    assert torch.equal(kept.inputs[2], whole.inputs[2])


READ = np.array([3, 2, 9, 4])  # positions, of the rows:
ROWS = np.array([0, 1, 1, 2])


@every_architecture
def test_a_pass_read_in_few_places_equals_the_whole_pass_there_and_so_do_its_gradients(architecture):
    model = small_model(architecture)
    ids = tokens(model)[:, :10].repeat(3, 1)
    ids[1:, 0] += torch.arange(1, 3)
    places = Places.of(ROWS * 10 + READ, 3, 10, model.device)
    assert places is not None
    heads = [torch.rand(3, model.n_heads, 10).round(decimals=1).requires_grad_() for _ in range(model.n_layers)]
    ffns = gates_for(model, [MIXED] * 3).ffns
    found = []
    for where in (None, places):
        with torch.enable_grad(), passing(Gates(heads=heads, ffns=ffns), Route(places=where)):
            read = model.trunk(input_ids=ids, use_cache=False).last_hidden_state[ROWS, READ]
            taken = [heads[layer] for layer in model.attn_outs]
            found.append([read, *torch.autograd.grad(read.pow(3).sum(), taken)])
    for whole, part in zip(*found, strict=True):
        assert whole.abs().max() > 1e-3
        assert (part - whole).abs().max() < 1e-4 * max(1, whole.abs().max())


@every_cache
def test_the_last_block_works_only_where_it_is_read_behind_a_cache_too(architecture):
    model = small_model(architecture)
    ids, gates = tokens(model)[:, :14], gates_for(model, [MIXED.filled("mean")], [some_means(model)])
    seen: list[list[int]] = []
    hook = model.attn_outs[model.n_layers - 1].register_forward_hook(
        lambda module, args, output: seen[-1].append(output.numel() // model.d_model))
    found = []
    for places in (None, Places.of(np.array([4, 9]), 1, 10, model.device)):
        cache = DynamicCache()
        with torch.no_grad(), passing(gates, Route(places=places)):
            with passing(gates):
                seen.append([])
                model.trunk(input_ids=ids[:, :4], past_key_values=cache, use_cache=True)
            seen.append([])
            found.append(model.trunk(input_ids=ids[:, 4:], past_key_values=cache, use_cache=True)
                         .last_hidden_state[0, [4, 9]])
    hook.remove()
    assert seen[1::2] == [[10], [2]]
    assert close(*found)


def test_places_are_of_no_use_where_a_row_is_read_in_most():
    device = torch.device("cpu")
    assert Places.of(np.arange(6), 2, 10, device) is None  # six of the first row's ten
    assert Places.of(np.array([0, 2, 4, 6, 8, 19]), 2, 10, device) is not None


@every_architecture
def test_z_and_ffn_outputs_are_those_that_the_modules_see(architecture):
    model = small_model(architecture)
    seen, outputs = [], []
    hooks = [model.attn_outs[1].register_forward_pre_hook(lambda module, args: seen.append(args[0].clone())),
             model.ffns[1].register_forward_hook(lambda module, args, out: outputs.append(added(out).clone()))]
    kept = Kept(z={}, ffn_out=[])
    logits(model, kept=kept)
    for hook in hooks:
        hook.remove()
    assert torch.equal(kept.z[1].flatten(-2), seen[0])
    assert torch.equal(kept.ffn_out[1].flatten(), outputs[0].flatten())


@every_family
def test_six_threads_with_six_masks_get_what_they_get_alone(architecture):
    model = small_model(architecture)
    ablations = [INTACT, MIXED, Ablation(ffns=frozenset({0})), Ablation(frozenset({Head(2, 1)})),
                 Ablation(frozenset(Head(0, head) for head in range(model.n_heads))),
                 Ablation(frozenset({Head(1, 2)}), frozenset({2}))]
    alone = [logits(model, gates_for(model, [ablation])) for ablation in ablations]

    def work(number: int) -> list[torch.Tensor]:
        return [logits(model, gates_for(model, [ablations[number]])) for _ in range(4)]

    with ThreadPoolExecutor(6) as threads:
        for expected, found in zip(alone, threads.map(work, range(6)), strict=True):
            assert all(torch.equal(one, expected) for one in found)


def some_means(model: LoadedModel) -> Activations:
    draw = np.random.default_rng(0).normal
    heads, ffns = draw(size=(model.n_layers, model.n_heads, model.d_head)), draw(size=(model.n_layers, model.d_model))
    return Activations(1, 1, tuple(tuple(map(tuple, layer)) for layer in heads), tuple(map(tuple, ffns)))


@every_architecture
def test_mean_ablation_equals_putting_the_means_in_by_hand(architecture):
    model = small_model(architecture)
    means, ablation = some_means(model), MIXED.filled("mean")
    found = logits(model, gates_for(model, [ablation], [means]))
    network = small_network(architecture)

    def mean_heads(module, args, layer):
        z = args[0].clone()
        for head in (h.head for h in ablation.heads if h.layer == layer):
            z[..., head * model.d_head:(head + 1) * model.d_head] = torch.tensor(means.heads[layer][head])
        return z

    def mean_ffn(module, args, output, layer):
        mean = torch.tensor(means.ffns[layer], dtype=added(output).dtype)
        return instead(output, mean.expand_as(added(output)).clone())

    for layer, block in enumerate(network.get_submodule(model.adapter.blocks)):
        if layer in model.attn_outs:
            block.get_submodule(model.adapter.attn_out).register_forward_pre_hook(partial(mean_heads, layer=layer))
        if layer in ablation.ffns:
            block.get_submodule(model.adapter.ffn).register_forward_hook(partial(mean_ffn, layer=layer))
    with torch.no_grad():
        assert close(found, network(tokens(model), use_cache=False).logits)


def masks(n_layers: int = 3, n_heads: int = 4) -> st.SearchStrategy[Ablation]:
    heads = st.builds(Head, st.integers(0, n_layers - 1), st.integers(0, n_heads - 1))
    return st.builds(Ablation, st.frozensets(heads), st.frozensets(st.integers(0, n_layers - 1)))


@every_family_s_cache
@settings(max_examples=6)
@given(ablation=masks(), n_cached=st.integers(1, 12))
def test_any_mask_equals_editing_the_weights_in_one_pass_and_behind_a_cache(architecture, ablation, n_cached):
    model = small_model(architecture)
    gates, expected = gates_for(model, [ablation]), by_hand(model, ablation)
    assert close(logits(model, gates), expected)
    cache = DynamicCache()
    with torch.no_grad(), passing(gates):
        model.model(tokens(model)[:, :n_cached], past_key_values=cache, use_cache=True)
        rest = model.model(tokens(model)[:, n_cached:], past_key_values=cache, use_cache=True).logits
    assert close(rest, expected[:, n_cached:])


def test_layers_that_lend_their_keys_are_the_last_of_their_kind_before_those_that_borrow():
    for n_borrowers, lenders in ((2, {2, 3}), (3, {1, 2}), (0, set())):
        network = small_network("gemma3n, four streams", num_kv_shared_layers=n_borrowers)
        model = prepare(network, small_tokenizer(), "borrowing", "")
        assert model.lenders == lenders
        assert model.lenders == {i for i, mode in enumerate(network.config.kv_sharing_modes) if mode == "store"}
        assert model.latest_start == min(lenders, default=model.n_layers - 1)


def test_a_mask_that_names_what_the_model_lacks_is_refused():
    with pytest.raises(BadInput, match=r"No such component: L3H0, L7 FFN. This model has layers 0 to 2"):
        gates_for(small_model("opt"), [Ablation(frozenset({Head(3, 0)}), frozenset({7}))])


def test_a_head_of_a_layer_that_has_none_is_refused_with_the_layers_that_have_some():
    model = prepare(small_network("qwen3_next", layer_types=None, full_attention_interval=2, num_hidden_layers=6),
                    small_tokenizer(), "half", "")
    assert model.info.headless == (0, 2, 4)
    assert list(model.attn_outs) == [1, 3, 5]
    with pytest.raises(BadInput, match=r"No such component: L0H1, L4H0. This model has attention heads in layers 1, 3, "
                                       r"5 alone; layers 0, 2, 4 have linear attention"):
        gates_for(model, [Ablation(frozenset({Head(0, 1), Head(1, 1), Head(4, 0)}))])
    assert gates_for(model, [Ablation(frozenset({Head(1, 1)}), frozenset(range(6)))]).ffns is not None


def test_mean_ablation_without_means_says_what_is_missing():
    with pytest.raises(BadInput, match="measure the result 'means' first"):
        gates_for(small_model("opt"), [MIXED.filled("mean")])
