"""One prompt under the lens: what heads look at, what comes next, and what each component adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import Float, Int
from ..engine.induction import output_projection
from ..engine.watching import Attention, Enough, watch
from ..errors import BadInput, ModelError
from ..models import offloaded
from ..models.gates import Kept, MeanActivations, Route, gates_for, passing
from ..values import INTACT, Ablation, Head, no_heads

if TYPE_CHECKING:
    from ..models.loading import LoadedModel

SPACE, NEWLINE, TAB = "·", "⏎", "⇥"


@dataclass(frozen=True)
class NextToken:
    """A token that may come next."""

    token: int
    text: str  # with visible spaces
    probability: float


@dataclass(frozen=True)
class NextWritten:
    """A token that a head speaks for, and by how many logits."""

    token: int
    text: str
    logits: float


@dataclass(frozen=True)
class Contributions:
    """What each component adds to the logit of an answer (or to the difference of two), in nats.

    Positive speaks for the answer.
    """

    heads: Float[np.ndarray, "n_layers n_heads"]
    ffns: Float[np.ndarray, " n_layers"]  # output bias included
    embeddings: float  # the token and its position
    biases: float  # of attention output projections, the last norm and the unembedding
    logit: float  # what the model says, before a softcap

    @property
    def rest(self) -> float:
        """What the parts leave unexplained: rounding."""
        return self.logit - float(self.heads.sum() + self.ffns.sum()) - self.embeddings - self.biases


def attention_patterns(
    model: LoadedModel, token_ids: Sequence[int], layers: Sequence[int] | None = None, ablation: Ablation = INTACT,
    means: MeanActivations | None = None,
) -> dict[int, Float[np.ndarray, "n_heads pos pos"]]:
    """Where each head looks: layer -> (n_heads, q_pos, k_pos), rows sum to 1.

    Args:
        layers: which ones; all that have heads when None. Nothing above the last of them is computed.
        means: the mean activations, where the ablation's fill is "mean".

    Raises:
        BadInput: no tokens, too many for the model's context, or a layer or component that it does not have.
        ModelError: if the model does not show its attention.
    """
    ids = _checked(model, token_ids)
    wanted = set(model.attn_outs if layers is None else layers)
    if wrong := sorted(layer for layer in wanted if not 0 <= layer < model.n_layers):
        raise BadInput(f"No layer {wrong[0]}. This model has layers 0 to {model.n_layers - 1}.")
    if wanted & set(model.info.headless):
        raise BadInput(f"No attention in layer {min(wanted & set(model.info.headless))}. "
                       f"{no_heads(model.n_layers, model.info.headless)}")
    patterns: dict[int, np.ndarray] = {}

    def read(attention: Attention) -> None:
        if attention.layer in wanted:
            patterns[attention.layer] = attention.pattern(0, len(token_ids))[0].float().cpu().numpy()
        if len(patterns) == len(wanted):
            raise Enough

    watch(model, ids, read, gates_for(model, [ablation], [means]))
    return dict(sorted(patterns.items()))


@torch.no_grad()
def next_tokens(
    model: LoadedModel, token_ids: Sequence[int], ablation: Ablation = INTACT, k: int = 10,
    means: MeanActivations | None = None,
) -> tuple[NextToken, ...]:
    """The k likeliest next tokens, likeliest first; no tokens stand for the empty context.

    Raises:
        BadInput: k below 1, too many tokens for the model's context, or a component that it does not have.
    """
    if k < 1:
        raise BadInput(f"{k} tokens asked for: give at least 1.")
    ids = torch.as_tensor(_checked(model, list(token_ids) or model.empty_context), device=model.device)
    with passing(gates_for(model, [ablation], [means])):
        hidden = model.trunk(ids, use_cache=False).last_hidden_state[0, -1]
    best = model.unembed(hidden).softmax(-1).topk(min(k, model.info.vocab_size))
    tokens = best.indices.tolist()
    return tuple(NextToken(token, text, probability) for token, text, probability in
                 zip(tokens, tokens_shown(model.tokenizer, tokens), best.values.tolist(), strict=True))


@torch.no_grad()
def direct_contributions(
    model: LoadedModel, token_ids: Sequence[int], target_id: int, foil_id: int | None = None,
) -> Contributions:
    """How far each head and FFN pushes the answer's logit at the last position, along the direct path.

    The last residual stream r is a sum: embeddings + over layers (sum over heads of z W_O, its bias, the FFN's output).
    With the last norm's scale s frozen at what it is in this pass, the answer's logit is linear in it,
    u . (g * (r - mean(r)) / s + b) + c (without the mean where the norm does not subtract it), and so every addend x
    contributes u . g * (x - mean(x)) / s. The contributions add up to the logit.

    Limits: this is not what ablation would do. What a component does through later layers is counted as theirs, and the
    frozen scale hides that a removed component changes it. A softcap on the logits is left out.

    Args:
        target_id: the answer's token.
        foil_id: a token to compare with; contributions then are to logit(target) - logit(foil).

    Raises:
        BadInput: no tokens, too many of them, or a token that the vocabulary does not have.
        ModelError: if blocks do not simply add to the residual stream: norms behind the residual sum (OPT-350m) or
            behind attention (Gemma 2 and 3, OLMo 2), several streams that mix (Gemma 3n), layers without heads.
    """
    ids = _checked(model, token_ids)
    if model.n_streams > 1 or model.info.headless:
        raise _no_plain_sum(model)
    unembedding = model.model.get_output_embeddings()
    for token in (target_id, *([] if foil_id is None else [foil_id])):
        if not 0 <= token < unembedding.weight.shape[0]:
            raise BadInput(f"No token {token}: the vocabulary goes from 0 to {unembedding.weight.shape[0] - 1}.")
    z: dict[int, Tensor] = {}
    ffn_out: list[Tensor] = []
    kept = Kept(inputs_from=0, z=z, ffn_out=ffn_out)
    with passing(kept=kept):
        hidden = model.trunk(torch.as_tensor(ids, device=model.device), use_cache=False).last_hidden_state

    def here(x: Float[Tensor, "1 pos *each"]) -> Float[np.ndarray, "*each"]:
        """The last position, in double precision."""
        return x[0, -1].double().cpu().numpy()

    def of_answer(parameter: Float[Tensor, " vocab *each"]) -> Float[np.ndarray, "*each"]:
        rows = model.logit_factor * parameter.double().cpu()
        return np.asarray(rows[target_id] - rows[foil_id] if foil_id is not None else rows[target_id])

    times, written, biases = model.branch_factor, [], np.zeros(model.d_model)
    for of_layer, module in zip(z.values(), model.attn_outs.values(), strict=True):  # weights one layer at a time
        weight, bias = output_projection(module)
        rows = _plain(weight).reshape(model.n_heads, model.d_head, -1)
        written.append(np.einsum("hd,hdm->hm", here(of_layer), rows))  # (n_heads, d_model)
        biases += 0 if bias is None else times * _plain(bias)
    heads, ffns = times * np.stack(written), times * np.stack([here(out) for out in ffn_out])
    embedding = here(kept.inputs[0])
    stream = embedding + heads.sum((0, 1)) + ffns.sum(0) + biases

    u = of_answer(offloaded.weight(unembedding))
    linear, offset = _frozen_norm(model, stream, here(hidden))
    direction = linear(u)  # what an addend is multiplied with
    c = of_answer(offloaded.weight(unembedding, "bias")) if getattr(unembedding, "bias", None) is not None else 0.0
    return Contributions(
        heads=heads @ direction, ffns=ffns @ direction, embeddings=float(embedding @ direction),
        biases=float(biases @ direction + offset @ u + c), logit=float(here(hidden) @ u + c))


@torch.no_grad()
def direct_path(model: LoadedModel, head: Head, token_ids: Sequence[int], k: int = 5) -> list[list[NextWritten]]:
    """What a head writes most for single tokens, along the direct path W_U W_O W_V: per token the k likeliest outputs.

    Each token stands alone, at position 0: its embedding is what the head's layer reads, as if the layers below added
    nothing. The head then attends to that token alone, and what it writes is read by the last norm and the unembedding
    as if it were all there is; what they make of nothing is taken off. After Elhage et al. 2021, "A Mathematical
    Framework for Transformer Circuits".

    Args:
        token_ids: the input tokens.
        k: how many outputs of each.

    Raises:
        BadInput: no tokens, ones that the vocabulary does not have, a head that there is not, or k below 1.
        ModelError: if heads do not simply add to the residual stream.
    """
    if k < 1:
        raise BadInput(f"{k} tokens asked for: give at least 1.")
    if not token_ids:
        raise BadInput("No tokens: name at least one that the head is to read.")
    for token in token_ids:
        _checked(model, [token])
    Ablation(frozenset([head])).check(model.n_layers, model.n_heads, model.info.headless)
    direct_contributions(model, token_ids[:1], token_ids[0])  # or raises: then a head's part is not told apart
    ids = torch.as_tensor(list(token_ids), device=model.device)[:, None]
    embedded = Kept(inputs_from=0)
    with passing(route=Route(stop=0), kept=embedded):
        model.trunk(ids, use_cache=False)
    kept = Kept(z={})
    with passing(route=Route(head.layer, embedded.inputs[0] if head.layer else None, stop=head.layer + 1), kept=kept):
        model.trunk(ids, use_cache=False)
    assert kept.z is not None
    weight, _ = output_projection(model.attn_outs[head.layer])
    rows = _plain(weight).reshape(model.n_heads, model.d_head, -1)[head.head]
    written = model.branch_factor * _plain(kept.z[head.layer])[:, 0, head.head] @ rows  # (n, d_model)
    of_all = _last_norm(model, np.concatenate([np.zeros((1, model.d_model)), written]))
    logits = model.unembed(torch.as_tensor(of_all, dtype=model.torch_dtype, device=model.device))
    best = (logits[1:] - logits[:1]).topk(min(k, logits.shape[-1]))
    return [[NextWritten(token, text, score) for token, text, score in zip(
        tokens, tokens_shown(model.tokenizer, tokens), scores, strict=True)]
        for tokens, scores in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


def tokens_shown(tokenizer: Any, token_ids: Sequence[int]) -> list[str]:
    """Each token as text with visible spaces, newlines and tabs; a piece of a character as the vocabulary spells it."""
    shown = []
    for token, piece in zip(token_ids, tokenizer.convert_ids_to_tokens(list(token_ids)), strict=True):
        text = piece.replace("▁", " ") if piece and "▁" in piece else tokenizer.decode([token])
        if not text or "\ufffd" in text:
            text = piece or f"[{token}]"
        shown.append(text.replace(" ", SPACE).replace("\n", NEWLINE).replace("\t", TAB))
    return shown


def _checked(model: LoadedModel, token_ids: Sequence[int]) -> Int[np.ndarray, "1 pos"]:
    """The tokens as a batch of one text."""
    if not token_ids:
        raise BadInput("The prompt is empty: write something, or start from the model's empty context.")
    if len(token_ids) > model.info.max_positions:
        raise BadInput(f"The prompt has {len(token_ids)} tokens; this model reads at most {model.info.max_positions}. "
                       "Shorten it.")
    if wrong := [token for token in token_ids if not 0 <= token < model.info.vocab_size]:
        raise BadInput(f"No token {wrong[0]}: the vocabulary goes from 0 to {model.info.vocab_size - 1}.")
    return np.array([token_ids])


def _plain(tensor: Float[Tensor, "*each"]) -> Float[np.ndarray, "*each"]:
    return tensor.double().cpu().numpy()


def _last_norm(model: LoadedModel, streams: Float[np.ndarray, "n d_model"]) -> Float[np.ndarray, "n d_hidden"]:
    """Residual streams -> what the unembedding reads: the trunk with every block skipped."""
    hidden = torch.as_tensor(streams, dtype=model.torch_dtype, device=model.device)[None]
    last = model.n_layers - 1
    with passing(route=Route(last, hidden, stop=last)):
        out = model.trunk(torch.zeros(1, len(streams), dtype=torch.long, device=model.device), use_cache=False)
    return _plain(out.last_hidden_state[0])


def _frozen_norm(
    model: LoadedModel, stream: Float[np.ndarray, " d_model"], normed: Float[np.ndarray, " d_hidden"]
) -> tuple[Any, Float[np.ndarray, " d_hidden"]]:
    """The last norm as the linear map it is once its scale is frozen; whatever kind of norm it is, seen from outside.

    Args:
        stream: what it reads here.
        normed: what the model made of it.

    Returns:
        A function from a direction behind the norm to the one in front of it that reads the same, and the
        norm's offset (d_model,).

    Raises:
        ModelError: if no such map explains what the model did.
    """
    d = len(stream)
    signs = np.where(np.arange(d) % 2, -1.0, 1.0)
    signs -= signs.mean()
    big = 1000.0  # so large that the norm's epsilon vanishes beside it
    nothing, probe, raised = _last_norm(model, np.stack([np.zeros(d), big * signs, big * (signs + 1)]))
    offset = nothing
    if normed.shape == stream.shape:
        centred = bool(np.abs(probe - raised).max() < 0.01 * np.abs(probe - offset).max())
        bare = np.allclose(probe - offset, big * signs, rtol=1e-3)  # no norm at all
        gain = np.ones(d) if bare else (probe - offset) * np.sqrt((signs ** 2).mean()) / signs
        read = gain * (stream - stream.mean() if centred else stream)
        scale = float(read @ (normed - offset) / max(read @ read, 1e-30))  # 1 / s
        tolerance = 1e-3 if model.dtype == "float32" else 0.1
        if np.abs(scale * read + offset - normed).max() <= tolerance * np.abs(normed).max():
            def linear(u: Float[np.ndarray, " d_hidden"]) -> Float[np.ndarray, " d_model"]:
                weighted = scale * gain * u
                return np.asarray(weighted - weighted.mean() if centred else weighted)

            return linear, offset
    raise _no_plain_sum(model)


def _no_plain_sum(model: LoadedModel) -> ModelError:
    return ModelError(f"The residual stream of '{model.info.name}' is not the plain sum of its heads and FFNs: norms, "
                      "scales or layers of another kind stand in between, so that contributions to a logit cannot be "
                      "told apart.")
