"""A model's parts and their sizes, from its config alone: no weights are needed, nor fetched.

Some public configs are known here by name, so that a plan can be made without any network: the OPT family as in table 1
of Zhang et al. 2022, arXiv:2205.01068, and GPT-2's sizes of Radford et al. 2019, as their repositories state them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..records import ModelInfo
from .adapters import adapter_for, part
from .defaults import filled
from .info import config_of, folder_of, info_from, locate
from .plain import check_plain, first_line, read_object
from .refusals import refusal


def _opt(n_layers: int, n_heads: int, d_model: int, **more: Any) -> dict[str, Any]:
    return {"model_type": "opt", "num_hidden_layers": n_layers, "num_attention_heads": n_heads, "hidden_size": d_model,
            "ffn_dim": 4 * d_model, "word_embed_proj_dim": d_model, "max_position_embeddings": 2048,
            "vocab_size": 50272, "tie_word_embeddings": True, **more}


def _gpt2(n_layers: int, n_heads: int, d_model: int) -> dict[str, Any]:
    return {"model_type": "gpt2", "n_layer": n_layers, "n_head": n_heads, "n_embd": d_model, "n_positions": 1024,
            "vocab_size": 50257, "tie_word_embeddings": True}


KNOWN: dict[str, dict[str, Any]] = {
    "facebook/opt-125m": _opt(12, 12, 768),
    "facebook/opt-350m": _opt(24, 16, 1024, word_embed_proj_dim=512, do_layer_norm_before=False),
    "facebook/opt-1.3b": _opt(24, 32, 2048),
    "facebook/opt-2.7b": _opt(32, 32, 2560),
    "facebook/opt-6.7b": _opt(32, 32, 4096),
    "facebook/opt-13b": _opt(40, 40, 5120),
    "facebook/opt-30b": _opt(48, 56, 7168),
    "facebook/opt-66b": _opt(64, 72, 9216),
    "gpt2": _gpt2(12, 12, 768),
    "gpt2-medium": _gpt2(24, 16, 1024),
    "gpt2-large": _gpt2(36, 20, 1280),
    "gpt2-xl": _gpt2(48, 25, 1600),
}


@dataclass(frozen=True)
class Parts:
    """Parameters of a model by part; what is tied counts once, with the embeddings."""

    embeddings: int  # of tokens and positions
    attention: int  # of all layers, biases and norms inside it included
    attention_out: int  # of its output projections, which are among them
    ffn: int
    norms: int
    head: int  # the unembedding where it is not the embedding
    unembedding: int  # numbers that a token's logits are products with, tied or not
    active: float  # share of the FFNs' weights that one token goes through: less than 1 in a mixture of experts
    d_kv: int  # numbers of a token's keys, and as many of its values, in one layer

    @property
    def total(self) -> int:
        return self.embeddings + self.attention + self.ffn + self.norms + self.head


@dataclass(frozen=True)
class Shape:
    """What a plan needs to know of a model."""

    info: ModelInfo
    parts: Parts
    source: str  # where the config is from, in words


def config_named(name: str, revision: str | None = None) -> tuple[dict[str, Any], str]:
    """A model's config and where it is from: a folder that need not hold weights, a name known here, else the hub's.

    Raises:
        ModelError: there is no such model, or no network to ask.
    """
    if name not in KNOWN and (folder := folder_of(name)) is not None:
        file = folder / "config.json"
        if not file.is_file():
            raise ModelError(f"'{name}' has no config.json: a plan needs that file of it, and no other.")
        config = read_object(file)
        check_plain(config, str(file))
        return filled(config), f"the config in {Path(name).name or name}"
    if name in KNOWN:
        return filled(KNOWN[name]), "its published shape, known here"
    try:
        return config_of(locate(name, revision, weights=False)), "the hub's config"
    except ModelError as error:
        raise ModelError(f"{error} A plan needs the config alone: put config.json into a folder and name that, or name "
                         f"one of {', '.join(KNOWN)}.") from error


@lru_cache(maxsize=4)
def shape_of(name: str, revision: str | None = None) -> Shape:
    """A model's parts, counted on its own class without any memory. Loads torch.

    Raises:
        ModelError: as `config_named`; or the config is of no model that can be measured, or none that can be built.
    """
    config, source = config_named(name, revision)
    if why := refusal(config, name):
        raise ModelError(why)
    adapter_for(str(config.get("model_type")))
    parts = _count(config, name)
    dtype = {"bfloat16": "BF16", "float32": "F32"}.get(str(config.get("torch_dtype") or config.get("dtype")), "F16")
    return Shape(info_from(config, name, revision or "", [(dtype, parts.total)]), parts, source)


def _count(config: dict[str, Any], name: str) -> Parts:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    adapter = adapter_for(str(config["model_type"]))
    try:
        plain = {key: value for key, value in config.items() if key != "model_type"}
        known = AutoConfig.for_model(config["model_type"], **plain).get_text_config()
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(known)
    except Exception as error:  # transformers raises whatever the arithmetic of its classes does
        raise ModelError(f"The config of '{name}' describes no model that can be built: {first_line(error)}. Take it "
                         "as it was published.") from error
    blocks = list(part(model, adapter.blocks).children())
    inside = {"attention": 0, "attention_out": 0, "ffn": 0, "norms": 0}
    for block in blocks:
        try:
            places = {id(p) for p in part(block, adapter.attention).parameters()}
        except ModelError:  # a layer of another kind
            places = set()
        for p in block.parameters():
            kind = "attention" if id(p) in places else "ffn" if p.dim() > 1 else "norms"
            inside[kind] += p.numel()
        if places:
            inside["attention_out"] += sum(p.numel() for p in part(block, adapter.attn_out).parameters())
    head = model.get_output_embeddings().weight
    tied = head is model.get_input_embeddings().weight
    in_blocks = sum(p.numel() for block in blocks for p in block.parameters())
    rest = sum(p.numel() for p in model.parameters()) - in_blocks - (0 if tied else head.numel())
    outer_norms = sum(p.numel() for n, p in model.named_parameters()
                      if p.dim() == 1 and not n.startswith(adapter.blocks + "."))
    n_experts = next((n for key in ("num_local_experts", "num_experts", "n_routed_experts")
                      if isinstance(n := config.get(key), int) and n), 0)
    n_used = config.get("num_experts_per_tok")
    active = min(1.0, n_used / n_experts) if n_experts and isinstance(n_used, int) else 1.0
    n_kv = getattr(known, "num_key_value_heads", None) or (
        1 if getattr(known, "multi_query", False) else known.num_attention_heads)
    d_head = getattr(known, "head_dim", None) or known.hidden_size // known.num_attention_heads
    return Parts(rest - outer_norms, inside["attention"], inside["attention_out"], inside["ffn"],
                 inside["norms"] + outer_norms, 0 if tied else head.numel(), head.numel(), active, n_kv * d_head)
