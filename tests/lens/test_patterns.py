"""What the playground shows: patterns, next tokens and direct contributions to a logit."""

import numpy as np
import pytest
import torch

from backend.errors import BadInput, ModelError
from backend.lens.patterns import (
    attention_patterns,
    direct_contributions,
    direct_path,
    next_tokens,
    tokens_shown,
)
from backend.models.gates import Gates, passing
from backend.values import Ablation, Head
from tests.models.small import ARCHITECTURES, N_POSITIONS, WHOLE, small_model, small_network, small_tokenizer

IDS = [0, 25, 40, 41, 25, 60, 70, 40]
NORMS_BETWEEN = ("opt, norm after, narrow embedding", "gemma2", "gemma3", "gemma3n, four streams", "olmo2", "olmo3",
                 "glm4", "exaone4", "exaone4, no window", *WHOLE)
PLAIN_SUMS = tuple(name for name in ARCHITECTURES if name not in NORMS_BETWEEN)
SHOWING = ["opt", "gpt2", "gpt_neox, parallel", "llama, grouped queries", "mistral, all layers slide",
           "qwen2, some layers slide", "gemma2", "gemma3n, four streams", "gptj", "gpt_neo, every second layer slides",
           "stablelm", "gpt_oss", "granite", "cohere2", "llama4", "deepseek_v3", "mpt", "codegen",
           "gpt_bigcode, multi-query"]


@pytest.mark.parametrize("architecture", SHOWING)
def test_patterns_are_those_that_the_plain_model_returns(architecture):
    network = small_network(architecture)
    network.set_attn_implementation("eager")
    with torch.no_grad():
        expected = network(torch.tensor([IDS]), output_attentions=True).attentions
    patterns = attention_patterns(small_model(architecture), IDS)
    assert list(patterns) == list(range(len(expected)))
    for layer, pattern in patterns.items():
        np.testing.assert_allclose(pattern, expected[layer][0].numpy(), atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_row_of_a_pattern_sums_to_1_and_never_looks_ahead(architecture):
    for pattern in attention_patterns(small_model(architecture), IDS).values():
        if architecture == "gpt_oss":  # the rest goes to its sinks, which are no tokens
            assert (pattern.sum(-1) < 1).all()
        else:
            np.testing.assert_allclose(pattern.sum(-1), 1, atol=1e-5)
        assert not np.triu(pattern, 1).any()


def test_only_the_layers_asked_for_are_run_and_returned():
    model, ran = small_model("opt"), []
    handle = model.ffns[1].register_forward_hook(lambda *_: ran.append(1))
    try:
        assert list(attention_patterns(model, IDS, layers=[1])) == [1]
    finally:
        handle.remove()
    assert not ran  # the pass ended in layer 1's attention
    with pytest.raises(BadInput, match="layers 0 to 2"):
        attention_patterns(model, IDS, layers=[3])


@pytest.mark.parametrize("architecture", ["opt", "gpt2", "llama, grouped queries", "gptj"])
def test_switching_a_head_off_changes_what_later_layers_look_at_and_nothing_before(architecture):
    model, off = small_model(architecture), Ablation(frozenset({Head(1, 2)}))
    intact, ablated = attention_patterns(model, IDS), attention_patterns(model, IDS, ablation=off)
    for layer in (0, 1):
        np.testing.assert_array_equal(intact[layer], ablated[layer])
    assert np.abs(intact[2] - ablated[2]).max() > 1e-3


@pytest.mark.parametrize("architecture", ["opt", "gemma2"])
def test_next_tokens_are_the_models_own_likeliest(architecture):
    model = small_model(architecture)
    with torch.no_grad():
        expected = small_network(architecture)(torch.tensor([IDS])).logits[0, -1].softmax(-1)
    likeliest = next_tokens(model, IDS, k=model.info.vocab_size)
    assert sum(token.probability for token in likeliest) == pytest.approx(1, abs=1e-5)
    assert [token.probability for token in likeliest] == sorted((t.probability for t in likeliest), reverse=True)
    for token in likeliest:
        assert token.probability == pytest.approx(expected[token.token].item(), abs=1e-5)


def test_next_tokens_of_an_ablated_model_are_those_of_one_whose_weights_are_zeroed():
    network = small_network("gpt2")
    with torch.no_grad():
        network.transformer.h[1].attn.c_proj.weight[8:16] = 0  # head 1's slice of the projection's input
        network.transformer.h[2].mlp.c_proj.weight.zero_()
        network.transformer.h[2].mlp.c_proj.bias.zero_()
        expected = network(torch.tensor([IDS])).logits[0, -1].softmax(-1)
    off = Ablation(frozenset({Head(1, 1)}), frozenset({2}))
    for token in next_tokens(small_model("gpt2"), IDS, off):
        assert token.probability == pytest.approx(expected[token.token].item(), abs=1e-5)


def test_no_tokens_are_the_empty_context():
    model = small_model("opt")
    assert next_tokens(model, []) == next_tokens(model, model.empty_context)


@pytest.mark.parametrize("architecture", PLAIN_SUMS)
def test_contributions_add_up_to_the_logit(architecture):
    model = small_model(architecture)
    with torch.no_grad():
        logits = small_network(architecture)(torch.tensor([IDS])).logits[0, -1]
    to_target = direct_contributions(model, IDS, 30)
    assert to_target.logit == pytest.approx(logits[30].item(), abs=1e-4)
    assert to_target.rest == pytest.approx(0, abs=1e-4)
    assert np.abs(to_target.heads).max() > 0.01
    difference = direct_contributions(model, IDS, 30, 31)
    assert difference.logit == pytest.approx((logits[30] - logits[31]).item(), abs=1e-4)
    assert difference.rest == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("architecture", ["opt", "gpt2", "llama, grouped queries", "gptj"])
def test_a_contribution_is_the_slope_of_the_logit_with_the_norm_frozen(architecture):
    """A head of the last layer: what is lost when it is off, were it not for the norm, which is put back by hand."""
    model, last = small_model(architecture), small_model(architecture).n_layers - 1
    gates = torch.ones(1, model.n_layers, model.n_heads)
    gates[0, last, 1] = 0
    norms = []

    def last_norm_input(run_gates):
        norm = {"opt": "model.decoder.final_layer_norm", "gpt2": "transformer.ln_f", "gptj": "transformer.ln_f"}.get(
            model.info.architecture, "model.norm")
        norms.append(model.model.get_submodule(norm))
        seen = []
        handle = norms[-1].register_forward_pre_hook(lambda module, args: seen.append(args[0][0, -1].double()))
        with torch.no_grad(), passing(run_gates):
            model.trunk(torch.tensor([IDS]), use_cache=False)
        handle.remove()
        return seen[0]

    # In parallel blocks and at the last layer's FFN, ablating the head would also change what the FFN reads.
    ffn = torch.ones(1, model.n_layers)
    ffn[0, last] = 0
    intact, ablated = last_norm_input(Gates(ffns=ffn)), last_norm_input(Gates(heads=gates, ffns=ffn))
    plain = last_norm_input(Gates())
    added, norm, u = intact - ablated, norms[-1], model.model.get_output_embeddings().weight[30].double()
    if isinstance(norm, torch.nn.LayerNorm):
        added, spread = added - added.mean(), (plain.var(correction=0) + norm.eps).sqrt()
    else:
        spread = (plain.square().mean() + norm.variance_epsilon).sqrt()
    expected = (u * norm.weight.double() * added / spread).sum().item()
    assert direct_contributions(model, IDS, 30).heads[last, 1] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("architecture", NORMS_BETWEEN)
def test_a_residual_stream_that_is_no_plain_sum_is_refused(architecture):
    with pytest.raises(ModelError, match="not the plain sum"):
        direct_contributions(small_model(architecture), IDS, 30)


def test_prompts_that_cannot_be_read_are_refused():
    model = small_model("opt")
    with pytest.raises(BadInput, match="empty"):
        attention_patterns(model, [])
    with pytest.raises(BadInput, match=f"at most {N_POSITIONS}"):
        next_tokens(model, [5] * (N_POSITIONS + 1))
    with pytest.raises(BadInput, match="No token 9999"):
        direct_contributions(model, IDS, 9999)
    with pytest.raises(BadInput, match="at least 1"):
        next_tokens(model, IDS, k=0)
    with pytest.raises(BadInput, match="No such component"):
        next_tokens(model, IDS, Ablation(frozenset({Head(9, 0)})))


def test_tokens_show_their_spaces_newlines_and_tabs():
    tokenizer = small_tokenizer()
    shown = tokens_shown(tokenizer, tokenizer.encode("the cat\n\tsat", add_special_tokens=False))
    assert "".join(shown) == "the·cat⏎⇥sat"
    assert tokens_shown(tokenizer, [0]) == ["<s>"]
    pieces = tokenizer.encode("é", add_special_tokens=False)
    assert all("\ufffd" not in text and text for text in tokens_shown(tokenizer, pieces))


def by_hand(architecture: str, head: Head) -> torch.Tensor:
    """(vocabulary, vocabulary) logits that a head writes for every single token, out of the plain model's weights."""
    network = small_network(architecture)
    if architecture == "gpt2":
        body, block = network.transformer, network.transformer.h[head.layer]
        x = block.ln_1(body.wte.weight + body.wpe.weight[:1])
        d, n = x.shape[1], network.config.n_head
        v = (x @ block.attn.c_attn.weight + block.attn.c_attn.bias)[:, 2 * d:]
        rows, last = block.attn.c_proj.weight, body.ln_f
    elif architecture == "opt":
        body = network.model.decoder
        block = body.layers[head.layer]
        x = block.self_attn_layer_norm(body.embed_tokens.weight + body.embed_positions.weight[2:3])
        d, n = x.shape[1], network.config.num_attention_heads
        v, rows, last = block.self_attn.v_proj(x), block.self_attn.out_proj.weight.T, body.final_layer_norm
    else:
        block = network.model.layers[head.layer]
        x = block.input_layernorm(network.model.embed_tokens.weight)
        d, n = x.shape[1], network.config.num_attention_heads
        groups = n // network.config.num_key_value_heads
        v = block.self_attn.v_proj(x).reshape(len(x), -1, d // n).repeat_interleave(groups, 1).reshape(len(x), -1)
        rows, last = block.self_attn.o_proj.weight.T, network.model.norm
    part = slice(head.head * d // n, (head.head + 1) * d // n)
    return network.lm_head(last(v[:, part] @ rows[part])) - network.lm_head(last(torch.zeros(1, d)))


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "llama, grouped queries"])
@pytest.mark.parametrize("head", [Head(0, 1), Head(2, 3)])
@torch.no_grad()
def test_the_direct_path_is_the_product_of_the_weights(architecture, head):
    expected = by_hand(architecture, head)
    found = direct_path(small_model(architecture), head, IDS[:4], k=3)
    for token, best in zip(IDS[:4], found, strict=True):
        assert [one.logits for one in best] == pytest.approx(expected[token].topk(3).values.tolist(), abs=1e-4)
        for one in best:
            assert expected[token, one.token] == pytest.approx(one.logits, abs=1e-4)
        assert [one.text for one in best] == tokens_shown(small_tokenizer(), [one.token for one in best])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_direct_path_is_shown_of_models_whose_heads_simply_add_and_refused_of_others(architecture):
    head = Head(small_model(architecture).info.attending[-1], 0)
    if architecture in PLAIN_SUMS:
        assert [len(best) for best in direct_path(small_model(architecture), head, [25, 40])] == [5, 5]
    else:
        with pytest.raises(ModelError, match="not the plain sum"):
            direct_path(small_model(architecture), head, [25, 40])


@pytest.mark.parametrize(("head", "tokens", "k", "said"), [
    (Head(9, 0), [1], 5, "No such component: L9H0"), (Head(0, 0), [], 5, "No tokens"),
    (Head(0, 0), [99999], 5, "No token 99999"), (Head(0, 0), [1], 0, "0 tokens asked for")])
def test_what_the_direct_path_cannot_be_asked_is_said(head, tokens, k, said):
    with pytest.raises(BadInput, match=said):
        direct_path(small_model("opt"), head, tokens, k)
