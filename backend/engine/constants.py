"""Which constant output of a head leaves the loss lowest? Gradient descent on it, every head by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arrays import Bool, Float
from ..models.loading import LoadedModel, no_numbers
from ..values import Head
from .batches import Progress, tokens_per_pass
from .fed import Read
from .gradients import surprise
from .means import each_pass
from .trees import Scored


class Fitted(NamedTuple):
    """Constants in double precision, and the loss that they leave; 0 in a layer without heads."""

    heads: Float[Tensor, "n_layers n_heads d_head"]
    intact: float  # mean loss, nats
    before: Float[np.ndarray, "n_layers n_heads"]  # with the head's mean in its place
    after: Float[np.ndarray, "n_layers n_heads"]  # with the constant


STILL = 1e-3  # nats per root mean square: gradients below it hardly move a constant, so that rounding does not either


def fit(model: LoadedModel, pairs: Sequence[Scored], steps: int, batch: int, rate: float, n_judged: int, seed: int,
        progress: Progress | None = None) -> Fitted:
    """The constant for each head, at every position, under which the loss on the pairs is lowest, the others intact.

    Adam from the head's mean output, in units of how far its output spreads, on `batch` pairs a step, the rate falling
    to 0 along a line. Where that ends above the mean's own loss, the mean stays. Losses are those of the first
    `n_judged` pairs.

    Args:
        pairs: (context, continuation) in token ids; L is the mean cross-entropy of the continuation, in nats.
        rate: of the first step, in root mean squares of a head's output about its mean.

    Raises:
        ModelError: if the losses are no numbers.
    """
    mean, spread = _moments(model, pairs)
    heads = model.info.heads
    at = (torch.tensor([h.layer for h in heads]), torch.tensor([h.head for h in heads]))
    start, scale = mean[at], spread[at][:, None].clamp_min(1e-12)  # (n, d_head), (n, 1)
    moved = torch.zeros_like(start).requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=rate, eps=STILL)
    rng, total = np.random.default_rng(seed), steps + 2
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        chosen = [pairs[i] for i in rng.permutation(len(pairs))[:batch]]
        constants = (start + scale * moved.detach()).requires_grad_()
        for losses in _losses(model, chosen, constants):
            losses.sum().backward()
        assert constants.grad is not None
        moved.grad = constants.grad * scale / len(chosen)
        optimizer.step()
        if progress is not None:
            progress(step + 1, total)
    found, judged = start + scale * moved.detach(), pairs[:n_judged]
    before, after = (_mean_losses(model, judged, constants) for constants in (start, found))
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise no_numbers(model)
    worse = after > before
    constants = mean.clone()
    constants[at] = torch.where(torch.as_tensor(worse)[:, None], start, found)
    tables = [np.zeros((model.n_layers, model.n_heads)) for _ in range(2)]
    for table, values in zip(tables, (before, np.minimum(before, after)), strict=True):
        table[at[0].numpy(), at[1].numpy()] = values
    intact = float(np.mean([loss for some in _in_passes(model, judged) for loss in _intact(model, some)]))
    if progress is not None:
        progress(total, total)
    return Fitted(constants, intact, *tables)


def _moments(
    model: LoadedModel, pairs: Sequence[Scored]
) -> tuple[Float[Tensor, "n_layers n_heads d_head"], Float[Tensor, "n_layers n_heads"]]:
    """(n_layers, n_heads, d_head) mean of z over all positions, and (n_layers, n_heads) its root mean square about
    it, in double precision."""
    total = torch.zeros(model.n_layers, model.n_heads, model.d_head, dtype=torch.float64)
    squares = torch.zeros_like(total)

    def add(
        z: Mapping[int, Float[Tensor, "batch pos n_heads d_head"]], _: Sequence[Float[Tensor, "batch pos d_model"]],
        real: Bool[Tensor, "batch pos"],
    ) -> None:
        for layer, outputs in z.items():
            here = outputs.cpu()[real].double()
            total[layer] += here.sum(0)
            squares[layer] += (here**2).sum(0)

    sequences = [list(pair.ids[:-1]) for pair in pairs]
    with torch.inference_mode():
        each_pass(model, sequences, add)
    n = sum(map(len, sequences))
    return total / n, ((squares / n - (total / n)**2).clamp_min(0).mean(-1))**0.5


def _mean_losses(
    model: LoadedModel, pairs: Sequence[Scored], constants: Float[Tensor, "n d_head"]
) -> Float[np.ndarray, " n"]:
    """Mean loss over pairs with each head's constant in its place."""
    sums = np.zeros(len(constants))
    with torch.no_grad():
        found = torch.zeros(len(constants), dtype=torch.float64)
        for some in _in_passes(model, pairs):
            found += torch.cat([losses.sum(1).double().cpu() for losses in _losses(model, some, constants)])
        sums += found.numpy()
    return sums / len(pairs)


def _in_passes(model: LoadedModel, pairs: Sequence[Scored]) -> Iterator[Sequence[Scored]]:
    """Pairs of about equal length, as many as one pass reads."""
    ordered = sorted(pairs, key=lambda pair: len(pair.ids))
    most, first = tokens_per_pass(model, every_layer=True), 0
    while first < len(ordered):
        n = 1
        while first + n < len(ordered) and (n + 1) * len(ordered[first + n].ids) <= most:
            n += 1
        yield ordered[first:first + n]
        first += n


def _losses(
    model: LoadedModel, pairs: Sequence[Scored], constants: Float[Tensor, "n d_head"]
) -> Iterator[Float[Tensor, "_ _"]]:
    """Losses, for some heads after the others, with each head's constant in its place.

    The text below a head's layer is read once for all its heads.
    """
    read = Read(model, pairs)
    heads = model.info.heads
    most = max(1, tokens_per_pass(model, every_layer=True) // read.fed.tokens.numel())
    first = 0
    while first < len(heads):
        some = [head for head in heads[first:first + most] if head.layer == heads[first].layer]
        yield _without(read, some, constants[first:first + len(some)])
        first += len(some)


@torch.no_grad()
def _intact(model: LoadedModel, pairs: Sequence[Scored]) -> list[float]:
    """Each pair's loss by the intact model."""
    read = Read(model, pairs)
    return [float(loss) for loss in _of_pairs(read, read.hidden)[0]]


def _without(read: Read, heads: Sequence[Head], constants: Float[Tensor, "n d_head"]) -> Float[Tensor, "n _"]:
    """Losses, with the heads of one layer replaced, each in rows of its own."""
    model, layer, (n, width) = read.model, heads[0].layer, read.fed.tokens.shape
    which = torch.arange(len(heads)).repeat_interleave(n)
    numbers = torch.tensor([head.head for head in heads])[which]
    gates = torch.ones(len(which), model.n_layers, model.n_heads, dtype=model.torch_dtype)
    gates[torch.arange(len(which)), layer, numbers] = 0
    fill = torch.zeros(len(which), model.n_heads, model.d_head, dtype=model.torch_dtype)
    fill = fill.index_put((torch.arange(len(which)), numbers), constants.to(model.torch_dtype)[which])
    hidden = read.replaced(layer, gates.to(model.device), {
        layer: fill[:, None].expand(-1, width, -1, -1).to(model.device)}, len(heads))
    return _of_pairs(read, hidden, len(heads))


def _of_pairs(read: Read, hidden: Float[Tensor, "_ pos d_hidden"], times: int = 1) -> Float[Tensor, "{times} _"]:
    """Losses, of the pairs `times` over."""
    logits, targets, rows = read.answers(hidden, times)
    each = surprise(logits, targets) * torch.tensor(read.fed.weights).repeat(times).to(logits.device)
    losses: Tensor = torch.zeros(times * len(read.fed.tokens), device=each.device).index_add(0, rows, each).unflatten(
        0, (times, -1))
    return losses
