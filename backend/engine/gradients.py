"""Which heads does the loss lean on? Gradients with respect to the gates of the heads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from ..arrays import Float, Int
from ..errors import BadInput
from ..models.attention import PlainAttention
from ..models.gates import Gates, Places, Route, passing
from ..models.loading import LoadedModel, no_numbers
from ..tasks.task import Prompt
from ..values import Head
from . import trees
from .batches import Progress, in_batches, tokens_per_pass
from .fed import Fed
from .passes import cache_of, shares_prefixes
from .trees import Scored

SHARING_WIDTH = 512  # d_model from which fixed demonstrations are read once for all examples


class Pairs(NamedTuple):
    """What gradients are taken of: (context, gold continuation) in token ids."""

    pairs: list[Scored]
    skipped: tuple[int, ...]  # rows that did not fit the model's context
    prefixes: list[int]  # per pair, how many first tokens it shares with all other pairs that share any
    draws: tuple[int, ...] = ()  # per pair, which draw of demonstrations it stands behind, where there are several


def gold_pairs(model: LoadedModel, prompts: Sequence[Prompt]) -> Pairs:
    """Prompts with their gold answers. Those too long for the model's context lose demonstrations from the front."""
    # Reading a prefix once saves products; a narrow model's time goes elsewhere, and batching whole rows is faster.
    sharing = model.d_model >= SHARING_WIDTH and shares_prefixes(model)
    pairs: list[Scored] = []
    shown: list[tuple[str, ...]] = []  # the demonstrations of each, those that fit
    skipped: list[int] = []
    draws: list[int] = []
    encoded = trees.encode(prompts, model.encode_pairs, model.info.max_positions)
    for prompt, (query, dropped) in zip(prompts, encoded, strict=True):
        if query is None:
            skipped.append(prompt.doc)
        else:
            pairs.append(query.options[prompt.example.gold[0]])
            shown.append(prompt.demos[dropped:] if sharing else ())
            draws += [] if prompt.draw is None else [prompt.draw]
    return Pairs(pairs, tuple(skipped), _shared_prefixes(pairs, shown), tuple(draws))


def gate_gradients(
    model: LoadedModel, pairs: Sequence[Scored], progress: Progress | None = None, *, batch_tokens: int | None = None,
    prefixes: Sequence[int] | None = None, gate: float = 1.0, off: Collection[Head] = (),
) -> tuple[Float[np.ndarray, "n n_layers n_heads"], Float[np.ndarray, "n n_layers n_heads"]]:
    """Per pair and head, (n, n_layers, n_heads) each: the sum over positions of |dL/dg|, and the sum of dL/dg.

    g multiplies a head's output; L is the mean cross-entropy, in nats, of the pair's continuation. Both are 0 in a
    layer without heads, and for heads that are off.

    Args:
        batch_tokens: tokens of one pass; None for as many as suit the device.
        prefixes: per pair, how many first tokens it shares with all other pairs that share any; their forward pass
            is made once. 0, the default: none.
        gate: the g of every head at which the gradient is taken; 1: the intact model.
        off: heads that are switched off, to zero, while gradients of the others are taken.

    Raises:
        BadInput: if there are no pairs.
        ModelError: if the gradients are no numbers.
    """
    if not pairs:
        raise BadInput("No prompt fits the model's context, or none was given: there is nothing to take gradients of.")
    shape = (len(pairs), model.n_layers, model.n_heads)
    absolute, signed = np.zeros(shape), np.zeros(shape)  # sums over positions of |dL/dg|, and of dL/dg
    prefixes = prefixes or [0] * len(pairs)
    batch_tokens = batch_tokens or tokens_per_pass(model, every_layer=True)
    done = 0
    for members in _alike(pairs, prefixes):
        n_prefix = prefixes[members[0]]
        shared = _SharedPrefix(model, pairs[members[0]].ids[:n_prefix], gate, off) if n_prefix else None

        def measure(batch: Sequence[int], members: list[int] = members, shared: _SharedPrefix | None = shared) -> None:
            chosen = [members[i] for i in batch]
            for layer, g in enumerate(_batch_gradients(model, [pairs[i] for i in chosen], shared, gate, off)):
                absolute[chosen, layer] = g.abs().sum(-1).double().cpu().numpy()  # g: (batch, n_heads, pos)
                signed[chosen, layer] = g.sum(-1).double().cpu().numpy()

        def report(n: int, total: int, done: int = done) -> None:
            if progress is not None:
                progress(done + n, len(pairs))

        # Of a shared prefix only gradients pass once per pair: it counts half.
        in_batches(measure, [len(pairs[i].ids) - 1 - n_prefix // 2 for i in members], batch_tokens, report)
        done += len(members)
    if not np.isfinite(absolute).all():
        raise no_numbers(model, "gradients")
    for head in off:
        absolute[:, head.layer, head.head] = signed[:, head.layer, head.head] = 0
    return absolute, signed


def _shared_prefixes(pairs: Sequence[Scored], shown: Sequence[tuple[str, ...]]) -> list[int]:
    """Per pair, how many first tokens it shares with the others behind the same demonstrations; 0 where few do."""
    prefixes = [0] * len(pairs)
    for demos in {d for d in shown if d}:
        members = [i for i, d in enumerate(shown) if d == demos]
        queries = [trees.Query((pairs[i],)) for i in members]
        length = trees.common_prefix(queries, min(len(pairs[i].context) - 1 for i in members))
        if len(members) > 1 and length >= trees.MIN_PREFIX:
            for i in members:
                prefixes[i] = length
    return prefixes


def _alike(pairs: Sequence[Scored], prefixes: Sequence[int]) -> list[list[int]]:
    """Indices of pairs behind the same prefix."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, pair in enumerate(pairs):
        groups.setdefault(pair.ids[:prefixes[i]], []).append(i)
    return list(groups.values())


class _SharedPrefix:
    """A prefix read once, with its graph, so that each pair's gradient can flow back through it."""

    def __init__(self, model: LoadedModel, ids: tuple[int, ...], gate: float, off: Collection[Head] = ()) -> None:
        self.gates = _gates(model, 1, len(ids), gate, off)
        cache = DynamicCache()
        with torch.enable_grad(), passing(Gates(heads=self.gates)), PlainAttention():
            model.trunk(input_ids=torch.tensor([ids], device=model.device), past_key_values=cache, use_cache=True)
        layers = cast(list[DynamicLayer], cache.layers)
        self.outputs = [cast(Tensor, x) for layer in layers for x in (layer.keys, layer.values)]  # (1, kv, n_prefix, d)
        self.length = len(ids)

    def leaves(self, n_rows: int) -> list[Float[Tensor, "batch _ n_prefix _"]]:
        """Keys and values, layer by layer, a copy for every row to take gradients of."""
        return [x.detach().expand(n_rows, -1, -1, -1).clone().requires_grad_() for x in self.outputs]

    def gradients(
        self, of_leaves: Sequence[Float[Tensor, "batch _ n_prefix _"]]
    ) -> list[Float[Tensor, "batch n_heads n_prefix"]]:
        """dL/dg of the prefix's gates for every row, per layer (batch, n_heads, n_prefix)."""
        flowing = [(x, g[:, None]) for x, g in zip(self.outputs, of_leaves, strict=True) if x.requires_grad]
        found = torch.autograd.grad([x for x, _ in flowing], self.gates, [g for _, g in flowing], retain_graph=True,
                                    is_grads_batched=True, allow_unused=True)
        n_rows = len(of_leaves[0])
        return [torch.zeros(n_rows, *gate.shape[1:], dtype=gate.dtype, device=gate.device) if g is None else g[:, 0]
                for g, gate in zip(found, self.gates, strict=True)]


def _gates(
    model: LoadedModel, n_rows: int, width: int, gate: float, off: Collection[Head] = ()
) -> list[Float[Tensor, "{n_rows} n_heads {width}"]]:
    """Gates of one value, 0 for some heads, per layer (rows, n_heads, pos), to take gradients of; 1 changes nothing."""
    found = [torch.full((n_rows, model.n_heads, width), gate, dtype=model.torch_dtype, device=model.device)
             for _ in range(model.n_layers)]
    for head in off:
        found[head.layer][:, head.head] = 0
    return [one.requires_grad_() for one in found]


def surprise(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Cross-entropy, in nats, of each row of logits with its target.

    Written as softplus of the log-odds against the target. The usual form gives the target's logit the gradient p - 1,
    of which a confident model leaves nothing in float32: scores then change by 1e-3 of the largest from machine to
    machine. Here that gradient is the sum of the other tokens' probabilities, and they agree to about 1e-5.
    """
    target = targets[:, None]
    against = (logits - logits.gather(1, target)).scatter(1, target, float("-inf"))
    return torch.nn.functional.softplus(against.logsumexp(-1))


def _loss(model: LoadedModel, fed: Fed, gates: Gates, **inputs: Any) -> Float[Tensor, ""]:
    """The sum over pairs of each one's mean loss, in nats, in a pass through these gates."""
    n_rows, width = fed.tokens.shape
    places = Places.of(np.array(fed.rows) * width + fed.positions, n_rows, width, model.device)
    # Causal attention never looks ahead, so padding behind a row changes nothing in it.
    with torch.enable_grad(), passing(gates, Route(places=places)):
        hidden = model.trunk(input_ids=fed.tokens.to(model.device), **inputs).last_hidden_state
        rows, positions = (torch.tensor(where, device=hidden.device) for where in (fed.rows, fed.positions))
        logits = model.unembed(hidden[rows, positions])  # (answer tokens, vocabulary)
        losses = surprise(logits, torch.tensor(fed.targets, device=logits.device))
        return (losses * torch.tensor(fed.weights, device=losses.device)).sum()


def gold_loss(
    model: LoadedModel, pairs: Sequence[Scored], heads: Float[Tensor, "1 n_layers n_heads"]
) -> Float[Tensor, ""]:
    """The sum over pairs of each continuation's mean cross-entropy, in nats, with a graph back to the gates.

    Args:
        heads: what multiplies each head's output.
    """
    return _loss(model, Fed.of(pairs), Gates(heads=heads), use_cache=False)


def _batch_gradients(
    model: LoadedModel, pairs: Sequence[Scored], shared: _SharedPrefix | None, gate: float = 1.0,
    off: Collection[Head] = (),
) -> list[Float[Tensor, "batch n_heads pos"]]:
    """dL/dg, per layer (batch, n_heads, pos); 0 at padding. L is each pair's own mean, so rows do not mix."""
    fed = Fed.of(pairs, shared.length if shared else 0)
    n_rows, width = fed.tokens.shape
    gates = _gates(model, n_rows, width, gate, off)
    leaves = shared.leaves(len(pairs)) if shared else []
    inputs: dict[str, Any] = {"use_cache": False}
    if shared:
        behind = list(zip(leaves[::2], leaves[1::2], strict=True))
        inputs = {"past_key_values": cache_of(model, behind), "use_cache": True}
    loss = _loss(model, fed, Gates(heads=gates), **inputs)
    taken = [gates[layer] for layer in sorted(model.attn_outs)]
    found = torch.autograd.grad(loss, [*taken, *leaves])
    by_layer = dict(zip(sorted(model.attn_outs), found[:len(taken)], strict=True))
    own = [by_layer.get(layer, torch.zeros_like(gate)) for layer, gate in enumerate(gates)]
    if not shared:
        return own
    return [torch.cat([before, here], -1)
            for before, here in zip(shared.gradients(found[len(taken):]), own, strict=True)]
