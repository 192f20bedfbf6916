"""Attention as plain products equals the fused kernel, as far as bfloat16 can tell."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from backend.models import attention
from tests.models.small import ARCHITECTURES, small_model, small_network


class Causal(torch.nn.Module):
    is_causal = True


def patterns(dtype):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 7, 8).to(dtype) for _ in range(3))
    more = [torch.cat([torch.randn(2, 3, 4, 8).to(dtype), x], 2) for x in (k, v)]
    seen = torch.ones(7, 11, dtype=torch.bool).tril(4)
    mask = torch.zeros(2, 1, 7, 11, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
    return {"causal": (q, k, v, None), "behind a prefix": (q, *more, mask)}


@pytest.mark.parametrize("case", ["causal", "behind a prefix"])
def test_products_equal_the_fused_kernel(case, monkeypatch):
    inputs = patterns(torch.bfloat16)[case]
    plain, _ = attention.attention(Causal(), *inputs, scaling=0.5)
    exact, _ = attention._fused(Causal(), *(None if x is None else x.float() for x in inputs), scaling=0.5)
    assert plain.dtype == torch.bfloat16
    assert (plain.float() - exact).abs().max() < 0.03
    monkeypatch.setattr(attention, "_fused", None)  # it was not asked
    assert torch.equal(attention.attention(Causal(), *inputs, scaling=0.5)[0], plain)


@pytest.mark.parametrize("case", ["causal", "behind a prefix"])
def test_float32_and_large_patterns_are_left_to_the_fused_kernel(case, monkeypatch):
    for dtype, limit in ((torch.float32, attention.PATTERN_BYTES), (torch.bfloat16, 100)):
        monkeypatch.setattr(attention, "PATTERN_BYTES", limit)
        inputs = patterns(dtype)[case]
        ours, _ = attention.attention(Causal(), *inputs, scaling=0.5)
        assert torch.equal(ours, attention._fused(Causal(), *inputs, scaling=0.5)[0])


@torch.no_grad()
def test_keys_that_heads_share_are_not_copied_for_each(monkeypatch):
    q, k, v, mask = patterns(torch.float32)["behind a prefix"]
    q = torch.cat([q, q + 1, q - 1], 1)[:, torch.randperm(9)]
    grouped = Causal()
    grouped.num_key_value_groups = 3
    expected, _ = attention._fused(grouped, q, k, v, mask, scaling=0.5)
    monkeypatch.setattr(attention, "_fused", None)  # it would copy them
    found, _ = attention.attention(grouped, q, k, v, mask, scaling=0.5)
    assert found.shape == expected.shape == (2, 7, 9, 8)
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shown", ["causal", "behind a prefix", "admitted", "grouped queries"])
def test_plain_attention_is_what_torch_would_have_answered(shown, dtype):
    q, k, v, mask = patterns(dtype)["behind a prefix" if shown in ("behind a prefix", "admitted") else "causal"]
    options = {"is_causal": True} if mask is None else {"attn_mask": mask == 0 if shown == "admitted" else mask}
    if shown == "grouped queries":
        k, v, options = k[:, :1], v[:, :1], {**options, "enable_gqa": True}
    expected = scaled_dot_product_attention(q, k, v, scale=0.3, **options)
    with attention.PlainAttention():
        found = scaled_dot_product_attention(q, k, v, scale=0.3, **options)
    assert found.dtype == dtype
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-10}.get(dtype, 0.02)
    assert (found - expected).abs().max() < tolerance


def test_plain_attention_takes_gradients_of_several_at_once_and_is_over_with_its_block():
    q, k, v, _ = patterns(torch.float32)["causal"]
    q.requires_grad_()
    with attention.PlainAttention():
        z = scaled_dot_product_attention(q, k, v, is_causal=True)
    directions = torch.randn(3, *z.shape)
    (together,) = torch.autograd.grad(z, q, directions, retain_graph=True, is_grads_batched=True)
    fused = scaled_dot_product_attention(q, k, v, is_causal=True)
    assert type(fused.grad_fn) is not type(z.grad_fn)
    for direction, found in zip(directions, together, strict=True):
        (expected,) = torch.autograd.grad(fused, q, direction, retain_graph=True)
        assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_that_has_its_own_way_to_attend_keeps_it(architecture):
    alone = small_network(architecture).config._attn_implementation
    looks_it_up = alone == "sdpa" and not architecture.startswith("falcon")  # Falcon compares the name instead
    found = small_model(architecture).model.config._attn_implementation
    assert found == (attention.NAME if looks_it_up else alone)


@pytest.mark.parametrize("architecture", ["opt", "qwen2, some layers slide", "mistral, all layers slide"])
def test_the_masks_of_texts_of_different_lengths_are_those_of_transformers(architecture):
    ids = torch.arange(3, 33).view(2, 15)
    real = torch.ones_like(ids)
    real[1, 9:] = 0
    for mask in (None, real):
        expected = small_network(architecture)(ids, attention_mask=mask).logits
        assert torch.equal(small_model(architecture).model(ids, attention_mask=mask).logits, expected)
