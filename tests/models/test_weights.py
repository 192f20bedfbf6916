"""How many parameters go with a head and with an FFN, against the matrices of real modules."""

import pytest
from torch import nn

from backend.models.info import weights
from tests.models.small import ARCHITECTURES, N_HEADS, small_model

# One head per key: nothing is shared, so the bound is the number itself.
UNSHARED = ["opt", "gpt2", "gptj", "gpt_neox, parallel", "bloom"]


def matrices(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.dim() == 2)


@pytest.mark.parametrize("architecture", UNSHARED)
def test_heads_hold_the_weights_of_the_attention_module(architecture):
    model = small_model(architecture)
    attention = model.blocks[0].get_submodule(model.adapter.attention)
    assert N_HEADS * weights(model.info).head == matrices(attention)


@pytest.mark.parametrize(("architecture", "ffn"), [
    ("gpt2", "mlp"), ("gptj", "mlp"), ("gpt_neox, parallel", "mlp"), ("bloom", "mlp"),
    ("llama, grouped queries", "mlp"), ("qwen2", "mlp"), ("olmo2", "mlp")])
def test_an_ffn_holds_the_weights_of_its_module(architecture, ffn):
    model = small_model(architecture)
    assert weights(model.info).ffn == matrices(model.blocks[0].get_submodule(ffn))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_row_says_whether_its_ffn_is_gated(architecture):
    block = small_model(architecture).blocks[0]
    names = {name.split(".")[-2] for name, p in block.named_parameters() if p.dim() == 2}
    names |= {name.split(".")[-1] for name, p in block.named_parameters() if p.dim() == 3}  # experts, side by side
    assert small_model(architecture).adapter.gated == any("gate_" in name or name == "w3" for name in names)


def test_the_ffn_of_opt_is_its_two_projections():
    model = small_model("opt")
    assert weights(model.info).ffn == matrices(model.blocks[0].fc1) + matrices(model.blocks[0].fc2)
