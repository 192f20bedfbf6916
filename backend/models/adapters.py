"""Where heads and FFNs live in each architecture: one table row each.

A *head* is what it adds through the attention output projection, so its place is a slice of that
projection's **input**: head h is `[h * d_head, (h + 1) * d_head)` of its columns. An *FFN* is whatever the
layer adds to the residual stream beside attention, so its place is the module whose output is added: where
a norm follows the FFN (Gemma 2 and 3, OLMo 2) that norm, and a whole expert block in a mixture of experts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Adapter:
    """Dotted paths, from the causal model to its blocks and from a block to its parts.

    A plain value: what the model's config says about the logits is named, not computed, so that a row can be written
    down and compared.
    """

    blocks: str
    attn_out: str  # the output projection; its input holds the heads side by side
    ffn: str  # the module whose output joins the residual stream
    attention: str  # the module that makes the pattern
    ffn_reads: str | None = None  # the rest of the FFN, where it is more: a module whose output only `ffn` reads
    trees: bool = True  # takes 4-D masks and positions, so that options can branch off one question
    gated: bool = True  # an FFN of three matrices, not two
    returns_tuple: bool = False  # a block returns (hidden states, ...) instead of hidden states
    logits_times: str | None = None  # the number in the config that multiplies the logits
    logits_over: str | None = None  # the number in the config that divides the logits
    softcap: str | None = None  # the number in the config that bounds the logits, by tanh
    branches_times: str | None = None  # the number in the config that multiplies what attention and FFN add
    heads_in: str | None = None  # the one kind of layer (`layer_types` in the config) with heads to switch; None: every
    streams: str | None = None  # the number in the config that says how many residual streams stand side by side
    borrowers: str | None = None  # that of last layers which attend to keys and values of the last layers before them

    @property
    def identity(self) -> str:
        """What decides which numbers a head and an FFN are, in a line; equal rows have equal lines."""
        said = {name: getattr(self, name) for name in _DECIDES}
        return " ".join(f"{name}={value}" for name, value in said.items() if value is not None)


_DECIDES = ("blocks", "attn_out", "ffn", "attention", "logits_times", "logits_over", "softcap")
_LLAMA = Adapter("model.layers", "self_attn.o_proj", "mlp", "self_attn")
_NORM_BEHIND = replace(_LLAMA, ffn="post_feedforward_layernorm", ffn_reads="mlp")
_GEMMA = replace(_NORM_BEHIND, softcap="final_logit_softcapping")
_TWO_MATRICES = replace(_LLAMA, gated=False)
_GPT2 = Adapter("transformer.h", "attn.c_proj", "mlp", "attn", gated=False)
_GPTJ = replace(_GPT2, attn_out="attn.out_proj", returns_tuple=True)
_COHERE = replace(_LLAMA, logits_times="logit_scale")

# model_type of the config -> where things are.
ADAPTERS: dict[str, Adapter] = {
    "apertus": _TWO_MATRICES,
    # Its MLP adds the residual stream itself, so the FFN is the MLP's last projection. Positions are distances that
    # it counts from a 2-D mask.
    "bloom": Adapter("transformer.h", "self_attention.dense", "mlp.dense_4h_to_h", "self_attention",
                     ffn_reads="mlp.dense_h_to_4h", trees=False, gated=False, returns_tuple=True),
    "codegen": _GPTJ,
    "cohere": _COHERE,
    "cohere2": _COHERE,
    # Keys and values come out of one small latent vector; a head is its slice of the projection's input all the same.
    "deepseek_v3": _LLAMA,
    "ernie4_5": _LLAMA,
    "exaone4": _NORM_BEHIND,
    "falcon": Adapter("transformer.h", "self_attention.dense", "mlp", "self_attention", gated=False,
                      returns_tuple=True),
    "gemma": _LLAMA,
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA,
    # Attention and FFN read and add to one of four streams, from which the other three are then corrected (AltUp). What
    # each layer adds beside them, of the token alone (LAuReL, per-layer embeddings), is neither head nor FFN.
    "gemma3n_text": replace(_GEMMA, streams="altup_num_inputs", borrowers="num_kv_shared_layers"),
    "glm4": replace(_NORM_BEHIND, ffn="post_mlp_layernorm"),
    "gpt2": _GPT2,
    "gpt_bigcode": _GPT2,
    # Its local layers cut their window out by place in the row, whatever the mask says.
    "gpt_neo": Adapter("transformer.h", "attn.attention.out_proj", "mlp", "attn.attention", trees=False,
                       gated=False, returns_tuple=True),
    "gpt_neox": Adapter("gpt_neox.layers", "attention.dense", "mlp", "attention", gated=False),
    "gpt_oss": _LLAMA,
    "gptj": _GPTJ,
    "granite": replace(_LLAMA, logits_over="logits_scaling", branches_times="residual_multiplier"),
    "hunyuan_v1_dense": _LLAMA,
    "llama": _LLAMA,
    # Its chunks are cut by place in the row.
    "llama4_text": replace(_LLAMA, ffn="feed_forward", trees=False),
    "mistral": _LLAMA,
    "mixtral": _LLAMA,
    # As in bloom: the FFN adds the residual stream itself, and positions are distances by place in the row.
    "mpt": Adapter("transformer.blocks", "attn.out_proj", "ffn.down_proj", "attn", ffn_reads="ffn.up_proj",
                   trees=False, gated=False, returns_tuple=True),
    "nemotron": _TWO_MATRICES,
    "olmo": _LLAMA,
    "olmo2": _NORM_BEHIND,
    "olmo3": _NORM_BEHIND,
    "olmoe": _LLAMA,
    "opt": Adapter("model.decoder.layers", "self_attn.out_proj", "fc2", "self_attn", ffn_reads="fc1", gated=False),
    "phi": replace(_TWO_MATRICES, attn_out="self_attn.dense"),
    "phi3": _LLAMA,
    "phimoe": _LLAMA,
    "qwen2": _LLAMA,
    "qwen2_moe": _LLAMA,
    "qwen3": _LLAMA,
    "qwen3_moe": _LLAMA,
    # Most layers have linear attention: a state, handed from token to token, and nothing that attends. A head's output
    # is what its gate, which it has beside its query, lets through.
    "qwen3_next": replace(_LLAMA, heads_in="full_attention"),
    "seed_oss": _LLAMA,
    "smollm3": _LLAMA,
    "stablelm": _LLAMA,
    "starcoder2": _TWO_MATRICES,
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
            "row in backend/models/adapters.py: the dotted paths of its blocks, attention output projection and FFN; "
            "or give it as load_model(..., adapter=Adapter(...)). It is held against the model's own logits when it "
            "is loaded."
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
