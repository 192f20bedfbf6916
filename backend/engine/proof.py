"""A model is held against itself when it is loaded: what the engine says must be what the model says.

A row of the adapter table, or the engine's masks, may be wrong for a model without any error: a scale on the logits
that the row does not name, a mask that the model does not take. So a short text goes through the engine (a shared
prefix, three questions with two options each, as token trees) and, option by option, through the model's own forward
pass: with nothing off, and with one head and one FFN off. There the head's columns are zeroed in the weights and the
FFN's output by a plain hook, past the gates.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import Float, Int
from ..errors import ModelError
from ..machine import is_out_of_memory
from ..models.loading import LoadedModel, no_numbers
from ..models.offloaded import is_offloaded
from ..records import Questions
from ..values import INTACT, Ablation, Head
from . import passes, trees
from .batches import tokens_per_pass

# Nats by which an option may differ, and the share of its log-likelihood: rounding grows with what is rounded. In half
# precision a router may choose another expert for a token; so that one such choice refuses no model, it is the median
# over options there.
TOLERANCE = {"float32": (0.01, 1e-4), "float16": (0.1, 2e-3), "bfloat16": (0.5, 1e-2)}
HALF = ("float16", "bfloat16")
N_SHARED, N_OWN, N_OPTION = 9, 2, 3  # tokens that all questions share, of each question, of each option
SCALES = ("logit", "softcap")  # in the names of what a config says about the logits


def prove(model: LoadedModel) -> str:
    """Hold the engine's log-likelihoods against the model's own forward pass.

    Returns:
        What was compared, and how far apart it was, in a sentence.

    Raises:
        ModelError: if they differ; by how much, and what that usually means. Or if the logits are no numbers.
    """
    sequences = _sequences(model)
    layers = sorted(model.attn_outs)
    here = [layer for layer in layers if not is_offloaded(model.attn_outs[layer])]
    head, ffn = Head((here or layers)[len(here or layers) // 2], model.n_heads - 1), model.n_layers - 1
    ablations = [INTACT]
    try:
        own = [_own(model, sequences)]
    except NotImplementedError as error:  # of torch's, where a model sends its tokens to a weight that is not there
        raise ModelError(f"'{model.info.name}' ({model.info.architecture}) does not run where its weights lie: "
                         f"{str(error).splitlines()[0]} Keep its embedding in memory: give that device more room in "
                         "--max-memory, or choose another --device-map.") from error
    if not np.isfinite(own[0]).all():
        raise no_numbers(model)
    if here:
        ablations.append(Ablation(frozenset({head}), frozenset({ffn})))
        with _without_head(model, head), _without_ffn(model.ffns[ffn]):
            own.append(_own(model, sequences))
    try:
        found = [np.ravel(s.loglikelihoods) for s in passes.score(_plan(model, sequences), ablations)]
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(f"'{model.info.name}' ({model.info.architecture}) does not go through the engine: "
                         f"{type(error).__name__}: {error}. {_ADVICE}") from error
    worst = 0.0
    for ablation, engine, plain in zip(ablations, found, own, strict=True):
        differences = np.abs(engine - plain)
        worst = max(worst, float(differences.max()))
        off = float(np.median(differences) if model.dtype in HALF else differences.max())
        allowed, share = TOLERANCE.get(model.dtype, TOLERANCE["float32"])
        allowed += share * float(np.abs(plain).max())
        if not off <= allowed:
            raise ModelError(_refusal(model, ablation, off, allowed))
    return (f"log-likelihoods of a short text are within {worst:.1g} nats of the model's own"
            + (f", intact and with {ablations[1]} off" if here else
               " (its weights are offloaded, so nothing was switched off by hand)"))


_ADVICE = ("Either its row in the adapter table is not right for it, or it takes no 4-D attention masks and positions "
           "(trees=False).")


def _refusal(model: LoadedModel, ablation: Ablation, off: float, allowed: float) -> str:
    said = [f"{name} = {value}" for name, value in sorted(model.model.config.to_dict().items())
            if any(word in name for word in SCALES) and isinstance(value, int | float)
            and not isinstance(value, bool) and name not in _named(model)]
    start = (f"'{model.info.name}' ({model.info.architecture}) is refused: what the engine computes is {off:.3g} nats "
             f"per option away from the model's own forward pass in {model.dtype}")
    if ablation:
        return (f"{start} with {ablation} off, and not with nothing off. That usually means that the model reads the "
                "weights of the row's attn_out or ffn past the module, where nothing can be switched off. Mend its row "
                "in backend/models/adapters.py, or the one given as adapter=.")
    scales = f" (its config says {', '.join(said)})" if said else ""
    return (f"{start}, where rounding explains {allowed:.2g}. That usually means a scale or cap on the "
            f"logits that its row does not name in logits_times, logits_over or softcap{scales}, or a mask that the "
            "model does not take (trees=False), or attention to later tokens. Mend its row in "
            "backend/models/adapters.py, or the one given as adapter=.")


def _named(model: LoadedModel) -> set[str | None]:
    row = model.adapter
    # A softcap inside attention is the model's own business.
    return {row.logits_times, row.logits_over, row.softcap, "attn_logit_softcapping"}


def _sequences(model: LoadedModel) -> Int[np.ndarray, "n_questions n_options pos"]:
    """Token ids: all begin alike, then the options of a question do."""
    draw = np.random.default_rng(0).integers
    vocabulary = min(model.info.vocab_size, cast(Tensor, model.model.get_input_embeddings().weight).shape[0])
    ids = draw(0, vocabulary, (3, 2, N_SHARED + N_OWN + N_OPTION))
    ids[..., :N_SHARED] = ids[0, 0, :N_SHARED]
    ids[:, 1, :-N_OPTION + 1] = ids[:, 0, :-N_OPTION + 1]  # and share their first token
    ids[2, 1, :-1] = ids[2, 0, :-1]  # and in the last one all but the last
    return ids


def _plan(model: LoadedModel, sequences: Int[np.ndarray, "n_questions n_options pos"]) -> passes.Prepared:
    context = sequences.shape[-1] - N_OPTION
    queries = [trees.Query(tuple(trees.Scored(tuple(map(int, ids[:context])), tuple(map(int, ids[context:])))
                                 for ids in question)) for question in sequences]
    n = len(queries)
    questions = Questions(docs=tuple(range(n)), gold=((0,),) * n, n_options=(sequences.shape[1],) * n,
                          groups=("",) * n, dropped_demos=(0,) * n)
    tokens = tokens_per_pass(model)
    row_tokens = 2 * (N_OWN + 2 * N_OPTION - 3)  # the first two trees share a row, and the third one's has padding
    groups = passes.grouped(model, queries, [("shared",)] * n, row_tokens, tokens, tokens)
    return passes.Prepared(weakref.ref(model), passes.state_width_of(model), passes.prefix_width_of(model), (),
                           questions, ((1,) * sequences.shape[1],) * n, groups, tokens)


@torch.inference_mode()
def _own(model: LoadedModel, sequences: Int[np.ndarray, "n_questions n_options pos"]) -> Float[np.ndarray, " _"]:
    """Log-likelihoods in nats, by the model's own forward pass."""
    ids = torch.as_tensor(sequences.reshape(-1, sequences.shape[-1]), device=model.device)
    logits = model.model(input_ids=ids, use_cache=False).logits[:, -N_OPTION - 1:-1].float()
    wanted = ids[:, -N_OPTION:].to(logits.device)
    chosen = logits.log_softmax(-1).gather(-1, wanted[..., None])[..., 0]
    return cast(np.ndarray, chosen.double().sum(-1).cpu().numpy())


@contextmanager
def _without_head(model: LoadedModel, head: Head) -> Iterator[None]:
    """With a head's columns of the output projection zeroed in the weights."""
    projection = model.attn_outs[head.layer]
    weight = cast(Tensor, projection.weight).detach()
    columns = slice(head.head * model.d_head, (head.head + 1) * model.d_head)
    # transformers' Conv1D holds its weight the other way round
    reads = weight[:, columns] if isinstance(projection, nn.Linear) else weight[columns]
    kept = reads.clone()
    reads.zero_()
    try:
        yield
    finally:
        reads.copy_(kept)


@contextmanager
def _without_ffn(ffn: nn.Module) -> Iterator[None]:
    """With an FFN's output zeroed by a plain hook."""

    def nothing(module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):  # with a router's scores beside it
            return (torch.zeros_like(output[0]), *output[1:])
        return torch.zeros_like(output)

    hook = ffn.register_forward_hook(nothing)
    try:
        yield
    finally:
        hook.remove()
