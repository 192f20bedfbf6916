"""A checkpoint without some heads and FFNs, in the hub's format: what they add is zero in the weights themselves.

A head that is off is the columns of the attention output projection that read it, set to zero: whatever it computes,
biases of its values included, goes nowhere. An FFN that is off is its last projection, weights and bias, set to zero,
in a mixture of experts that of every expert; a norm that follows it makes zero of zero, and loses its bias where it has
one. Shapes stay as they are, so that every tool of the hub reads it: it is no smaller and no faster.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..arrays import Float, Int
from ..errors import BadInput, HeadroomError, ModelError
from ..values import Ablation
from .adapters import part
from .gates import gates_for, passing
from .loading import LoadedModel, load_model
from .offloaded import offloaded

# What the last projection of an FFN is called, as a module or as a parameter that holds all experts'.
LAST = frozenset({"down_proj", "down_proj_bias", "c_proj", "fc2", "fc_out", "dense_4h_to_h", "w2"})
ALLOWED = {"float32": 1e-5, "float16": 0.05, "bfloat16": 0.3}  # nats by which what is written may be off, per token
N_TEXTS, N_TOKENS = 4, 24


class Written(NamedTuple):
    """What was written, and how it was held against the model."""

    folder: Path
    compared: str  # a sentence


def zeroed(model: LoadedModel, ablation: Ablation) -> dict[str, Tensor]:
    """The weights that are others without these heads and FFNs, by name, as they are then.

    Raises:
        BadInput: nothing is off, a component is not there, or means are to stand in.
        ModelError: the weights are not in memory, or it is not known which is an FFN's last projection.
    """
    if ablation.fill != "zero":
        raise BadInput("Means cannot be written into a checkpoint: what stands in for a head would have to go into "
                       "biases that most models do not have. Switch off to zero.")
    if not ablation:
        raise BadInput("Nothing is switched off: the checkpoint would be the model itself.")
    ablation.check(model.n_layers, model.n_heads, model.info.headless)
    if offloaded(model.model):
        raise ModelError(f"Some weights of '{model.info.name}' are offloaded. Load all of them to write them.")
    names = {id(parameter): name for name, parameter in model.model.named_parameters()}
    found: dict[str, Tensor] = {}

    def copy(parameter: Tensor) -> Tensor:
        return found.setdefault(names[id(parameter)], parameter.detach().clone())

    for head in ablation.heads:
        projection, mine = model.attn_outs[head.layer], slice(head.head * model.d_head, (head.head + 1) * model.d_head)
        weight = copy(cast(Tensor, projection.weight))
        (weight[:, mine] if isinstance(projection, nn.Linear) else weight[mine]).zero_()  # a Conv1D is (in, out)
    for layer in ablation.ffns:
        for parameter in _last(model, layer):
            copy(parameter).zero_()
    return found


def _last(model: LoadedModel, layer: int) -> list[Tensor]:
    """What has to be zero for the FFN of a layer to add nothing."""
    ffn = model.ffns[layer]
    inside = list(ffn.named_parameters())
    if isinstance(ffn, nn.Linear):  # the row of the table names the last projection itself
        return [parameter for _, parameter in inside]
    found: list[Tensor] = []
    if all(parameter.dim() == 1 for _, parameter in inside):  # a norm behind the FFN
        found = [parameter for name, parameter in inside if name == "bias"]
        inside = list(part(model.blocks[layer], cast(str, model.adapter.ffn_reads)).named_parameters())
    projections: list[Tensor] = [parameter for name, parameter in inside if LAST & set(name.split(".")[-2:])]
    if not projections:
        raise ModelError(f"It is not known which is the last projection of the FFNs of '{model.info.name}' "
                         f"({model.info.architecture}): none is called {', '.join(sorted(LAST))}.")
    return found + projections


def write_pruned(model: LoadedModel, ablation: Ablation, folder: str | Path) -> Written:
    """Write a model without some heads and FFNs into a new folder, and hold it against the one whose gates are closed.

    Weights, config, tokenizer and a card that says what was done appear in the folder together, or nothing does. The
    weights have the type in which the model is loaded.

    Raises:
        BadInput: as `zeroed`; or the folder is there already, or cannot be made.
        ModelError: as `zeroed`; or what was written, loaded again, has other log-likelihoods.
    """
    changed = zeroed(model, ablation)
    place = Path(folder).expanduser().absolute()
    if place.exists() or place.is_symlink():
        raise BadInput(f"'{place}' is there already. Name a folder that is not.")
    if not place.parent.is_dir():
        raise BadInput(f"There is no folder '{place.parent}' to put '{place.name}' into. Make it first.")
    if not os.access(place.parent, os.W_OK):
        raise BadInput(f"Nothing can be written to '{place.parent}'. Name another place.")
    made = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        state: dict[str, Any] = {**model.model.state_dict(), **changed}
        model.model.save_pretrained(made, state_dict=state)
        model.tokenizer.save_pretrained(made)
        compared = _compare(model, ablation, made)
        (made / "README.md").write_text(card(model, ablation, compared), encoding="utf-8")
        made.chmod(0o755)  # a temporary folder is its maker's alone
        made.rename(place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Written(place, compared)


def _compare(model: LoadedModel, ablation: Ablation, folder: Path) -> str:
    """How far what was written is from the model with closed gates, in a sentence; or why that is not known.

    Raises:
        ModelError: if it is further than rounding explains.
    """
    try:
        again = load_model(str(folder), dtype=model.dtype, device=str(model.device))
    except HeadroomError as error:
        if "memory" not in str(error):
            raise ModelError(f"What was written cannot be loaded again: {error}") from error
        return "It was not loaded again to be compared: there was no memory left for it."
    vocabulary = min(model.info.vocab_size, cast(Tensor, model.model.get_input_embeddings().weight).shape[0])
    ids = torch.randint(vocabulary, (N_TEXTS, min(N_TOKENS, model.info.max_positions)),
                        generator=torch.Generator().manual_seed(0)).to(model.device)
    with torch.inference_mode():
        with passing(gates_for(model, [ablation])):
            wanted = _loglikelihoods(model, ids)
        off = float((_loglikelihoods(again, ids) - wanted).abs().max())
    allowed = ALLOWED.get(model.dtype, ALLOWED["float32"]) * max(1.0, float(wanted.abs().max()))
    if not off <= allowed:
        raise ModelError(f"What was written is {off:.2g} nats per token away from '{model.info.name}' with these heads "
                         f"and FFNs off, where rounding explains {allowed:.2g}. Nothing was kept.")
    return (f"Log-likelihoods of {N_TEXTS} random texts are within {off:.1g} nats per token of the model whose heads "
            "and FFNs are switched off.")


def _loglikelihoods(model: LoadedModel, ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch _"]:
    """The log-likelihood of every token behind those before it, nats."""
    hidden = model.trunk(input_ids=ids, use_cache=False).last_hidden_state
    return model.unembed(hidden[:, :-1]).log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]


def card(model: LoadedModel, ablation: Ablation, compared: str) -> str:
    """A model card: from which model, what is off, how, and what that means for a user."""
    heads, ffns = sorted(ablation.heads), sorted(ablation.ffns)
    lines = [f"# {model.info.name} without {len(heads)} attention heads and {len(ffns)} FFNs", "",
             f"Made by Headroom from `{model.info.name}`, revision `{model.info.revision}`" + (
                 f", digest `{model.id.digest}`" if model.id.digest else "") + f", {model.dtype}.", "",
             f"- Off: `{ablation}` (`L3H7` is head 7 of layer 3, `F2` the FFN of layer 2; both count from 0).",
             f"- Heads: {len(heads)} of {model.info.n_all_heads}. The columns of the attention output projection that "
             "read them are zero.",
             f"- FFNs: {len(ffns)} of {model.n_layers}. Their last projection, weights and bias, is zero; with "
             "experts, every expert's.",
             "- Nothing was trained further. Shapes are as they were: it is no smaller, and no faster.",
             f"- {compared}", "",
             "The licence is that of the model it was made from."]
    return "\n".join(lines) + "\n"
