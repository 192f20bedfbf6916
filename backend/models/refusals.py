"""Which models cannot be measured, told from their config alone and by name."""

from __future__ import annotations

from typing import Any

from .adapters import ADAPTERS

# What carries a state from token to token instead of, or beside, attending to all of them.
RECURRENT = frozenset({
    "bailing_hybrid", "bamba", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "kimi_linear", "lfm2",
    "lfm2_moe", "lfm3", "mamba", "mamba2", "minimax", "nemotron_h", "olmo_hybrid", "qwen3_5", "qwen3_5_moe",
    "qwen3_5_moe_text", "qwen3_5_text", "qwen4_exp", "qwen4_exp_text", "recurrent_gemma", "rwkv",
    "xlstm", "zamba", "zamba2"})
_RECURRENT_LAYERS = frozenset({"linear_attention", "mamba", "mamba2", "recurrent", "conv", "ssm", "rwkv"})
BIDIRECTIONAL = frozenset({
    "albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "esm", "eurobert",
    "longformer", "mobilebert", "modernbert", "mpnet", "nomic_bert", "roberta", "roformer", "xlm-roberta",
    "xlm-roberta-xl", "xlnet"})


def layer_types(config: dict[str, Any]) -> list[str]:
    """The kinds of a model's layers, where its config lists them; none where what it says is no such list."""
    kinds = config.get("layer_types")
    return kinds if isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds) else []


def refusal(config: dict[str, Any], name: str) -> str | None:
    """Why a model cannot be measured, in a sentence; None where nothing is known against it.

    Args:
        config: as `info.config_of` reads it.
    """
    model_type = str(config.get("model_type"))
    if config.get("is_encoder_decoder"):
        return (f"'{name}' ({model_type}) is an encoder-decoder model: it reads with one transformer and answers with "
                "another. Headroom measures decoder-only transformers.")
    kinds = sorted(_RECURRENT_LAYERS & set(layer_types(config)))
    row = ADAPTERS.get(model_type)
    if model_type in RECURRENT or (kinds and not (row and row.heads_in)):
        layers = [i for i, kind in enumerate(layer_types(config)) if kind in _RECURRENT_LAYERS]
        where = (f" in layers {', '.join(map(str, layers))} ({', '.join(kinds)})" if layers else "")
        return (f"'{name}' ({model_type}) is recurrent{where}: a state that is handed from token to token stands where "
                "heads should attend, so there are no heads to switch off there, and no text can be read once for all "
                "its continuations. Headroom measures transformers that attend in every layer.")
    if config.get("use_bidirectional_attention") in (True, "all") or model_type in BIDIRECTIONAL:
        return (f"'{name}' ({model_type}) is bidirectional: each token attends to those behind it too, so it does not "
                "predict the next one. Headroom measures models that read from left to right.")
    quantised = config.get("quantization_config") or config.get("compression_config")
    if quantised:
        said = quantised if isinstance(quantised, dict) else {}
        method = said.get("quant_method") or ("bitsandbytes" if said.get("load_in_4bit") or said.get("load_in_8bit")
                                              else "an unnamed method")
        return (f"The weights of '{name}' are quantised ({method}): heads are switched off, and gradients taken, in "
                "plain weights only. Name the model they were made from, or a copy of it in bfloat16.")
    return None
