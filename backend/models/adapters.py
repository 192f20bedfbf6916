"""Where heads and FFNs live in each architecture: one table row each.

A *head* is what it adds through the attention output projection, so its place is a slice of that
projection's **input**: head h is `[h * d_head, (h + 1) * d_head)` of its columns. An *FFN* is whatever the
layer adds to the residual stream beside attention, so its place is the module whose output is added: where
a norm follows the FFN (Gemma 2 and 3, OLMo 2) that norm, and a whole expert block in a mixture of experts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backend.errors import ModelError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Adapter:
    """Dotted paths, from the causal model to its blocks and from a block to its parts."""

    blocks: str
    attn_out: str  # the output projection; its input holds the heads side by side
    ffn: str  # the module whose output joins the residual stream
    attention: str  # the module that makes the pattern
    ffn_reads: str | None = None  # the rest of the FFN, where it is more: a module whose output only `ffn` reads
    trees: bool = True  # takes 4-D masks and positions, so that options can branch off one question
    gated: bool = True  # an FFN of three matrices, not two
    returns_tuple: bool = False  # a block returns (hidden states, ...) instead of hidden states
    softcap: Callable[[Any], float | None] = lambda config: None  # bound of tanh on the logits

    @property
    def identity(self) -> str:
        return f"{self.blocks} {self.attn_out} {self.ffn} {self.attention}"


def _final_softcap(config: Any) -> float | None:
    return getattr(config, "final_logit_softcapping", None)


_LLAMA = Adapter("model.layers", "self_attn.o_proj", "mlp", "self_attn")
_GEMMA = Adapter("model.layers", "self_attn.o_proj", "post_feedforward_layernorm", "self_attn", ffn_reads="mlp",
                 softcap=_final_softcap)

# model_type of the config -> where things are.
ADAPTERS: dict[str, Adapter] = {
    # Its MLP adds the residual stream itself, so the FFN is the MLP's last projection. Positions are distances that
    # it counts from a 2-D mask.
    "bloom": Adapter("transformer.h", "self_attention.dense", "mlp.dense_4h_to_h", "self_attention",
                     ffn_reads="mlp.dense_h_to_4h", trees=False, gated=False, returns_tuple=True),
    "falcon": Adapter("transformer.h", "self_attention.dense", "mlp", "self_attention", gated=False,
                      returns_tuple=True),
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA,
    "gpt2": Adapter("transformer.h", "attn.c_proj", "mlp", "attn", gated=False),
    # Its local layers cut their window out by place in the row, whatever the mask says.
    "gpt_neo": Adapter("transformer.h", "attn.attention.out_proj", "mlp", "attn.attention", trees=False,
                       gated=False, returns_tuple=True),
    "gpt_neox": Adapter("gpt_neox.layers", "attention.dense", "mlp", "attention", gated=False),
    "gptj": Adapter("transformer.h", "attn.out_proj", "mlp", "attn", gated=False, returns_tuple=True),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mixtral": _LLAMA,
    "olmo2": Adapter("model.layers", "self_attn.o_proj", "post_feedforward_layernorm", "self_attn", ffn_reads="mlp"),
    "opt": Adapter("model.decoder.layers", "self_attn.out_proj", "fc2", "self_attn", ffn_reads="fc1", gated=False),
    "phi3": _LLAMA,
    "qwen2": _LLAMA,
    "qwen2_moe": _LLAMA,
    "qwen3": _LLAMA,
    "stablelm": _LLAMA,
}


def adapter_for(model_type: str) -> Adapter:
    """The row of an architecture.

    Raises:
        ModelError: if there is none; says how to add one.
    """
    try:
        return ADAPTERS[model_type]
    except KeyError:
        raise ModelError(
            f"No adapter for architecture '{model_type}'. Known: {', '.join(sorted(ADAPTERS))}. To add it, write one "
            "row in backend/models/adapters.py: the dotted paths of its blocks, attention output projection and FFN."
        ) from None


def part(module: nn.Module, path: str) -> nn.Module:
    """The submodule at a dotted path.

    Raises:
        ModelError: if the adapter's path does not exist in this model.
    """
    try:
        return module.get_submodule(path)
    except AttributeError as error:
        raise ModelError(f"The adapter names '{path}', which {type(module).__name__} does not have: {error}. "
                         "Mend its row in backend/models/adapters.py.") from error
