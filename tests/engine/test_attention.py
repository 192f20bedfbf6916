"""Attention as plain products equals the fused kernel, as far as bfloat16 can tell."""

import pytest
import torch

from backend.engine import attention


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
