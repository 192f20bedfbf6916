"""What transformers' config classes fill in where a config.json leaves something out: no torch, no transformers here.

Importing a config class of transformers loads torch, and pages that show stored results do without it. So the defaults
of every architecture lie beside this module as data, taken from the classes of the pinned release; a test holds the two
against each other. To take them anew: `python -m backend.models.defaults`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("defaults.json")

# The names under which configs keep a size, the first that is given counts.
SIZES: dict[str, tuple[str, ...]] = {
    "n_layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "n_heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "d_model": ("hidden_size", "n_embd", "n_embed", "d_model"),
    "d_head": ("v_head_dim", "head_dim"),  # with latent attention a head is as wide as its values
    "d_ffn": ("ffn_dim", "intermediate_size", "n_inner", "ffn_hidden_size"),
    "max_positions": ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len"),
    "vocab_size": ("vocab_size",),
}
_KINDS = ("is_encoder_decoder", "use_bidirectional_attention", "tie_word_embeddings")


@cache
def defaults() -> dict[str, dict[str, Any]]:
    """model_type -> what its class fills in; `text_config` names the model_type of the text part of a larger model."""
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_text())
    return found


def filled(config: dict[str, Any]) -> dict[str, Any]:
    """A config.json as transformers would read it, as far as sizes go; of a model for more than text, its text part."""
    own = defaults().get(str(config.get("model_type")), {})
    if isinstance(text := config.get("text_config"), dict):
        text = {"model_type": own.get("text_config", config.get("model_type")), **text}
        return {**config, **filled(text)}
    names = {name for names in SIZES.values() for name in names if config.get(name) is not None}
    said = {size for size, aliases in SIZES.items() if names & set(aliases)}
    missing = {name: value for name, value in own.items()
               if config.get(name) is None and not any(name in SIZES[size] for size in said)}
    return {**config, **missing}


def of_classes() -> dict[str, dict[str, Any]]:
    """The same, from the classes of the transformers that is installed. Loads torch."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    def of(kind: Any) -> dict[str, Any]:
        fields = getattr(kind, "__dataclass_fields__", {})
        own = {name: fields[name].default for names in (*SIZES.values(), _KINDS) for name in names if name in fields}
        own = {name: value for name, value in own.items() if isinstance(value, int) and value is not False}
        if (text := getattr(getattr(kind, "sub_configs", {}).get("text_config"), "model_type", "")):
            own["text_config"] = text
        return own

    every = {model_type: of(CONFIG_MAPPING[model_type]) for model_type in sorted(CONFIG_MAPPING)}
    texts = {own.get("text_config") for own in every.values()}
    return {model_type: own for model_type, own in every.items()
            if model_type in CAUSAL or model_type in texts or own.keys() & {"text_config", "is_encoder_decoder"}}


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(own)}" for name, own in of_classes().items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
