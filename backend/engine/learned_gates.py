"""Gates of heads that are learned: logits moved by gradient descent on the gold loss, the weights frozen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..arrays import Float
from ..models.loading import LoadedModel, no_numbers
from .batches import Progress, in_batches, tokens_per_pass
from .gradients import gold_loss
from .trees import Scored


def fit_gates(
    model: LoadedModel, pairs: Sequence[Scored], start: Float[np.ndarray, "n_layers n_heads"], price: float,
    n_steps: int, n_batch: int, rate: float, seed: int, progress: Progress | None = None,
) -> tuple[Float[np.ndarray, "n_layers n_heads"], Float[np.ndarray, " {n_steps}"]]:
    """Logits of gates after gradient descent on loss + price * (sum of the gates), and the loss at each step.

    A gate, the sigmoid of its logit, multiplies a head's output at every position. The loss is the mean over pairs of
    the continuation's mean cross-entropy, in nats. Adam (Kingma and Ba 2015, arXiv:1412.6980, its usual decays); the
    batches go through the pairs in an order that is drawn anew each time all were seen.

    Args:
        start: logits to begin from.
        price: nats that an open gate costs; below 0 it earns them.
        n_batch: pairs of a step.

    Returns:
        (n_layers, n_heads) logits, and (n_steps,) the loss of each step's own batch, without the price.

    Raises:
        ModelError: if the loss or its gradients are no numbers.
    """
    rng = np.random.default_rng(seed)
    logits = torch.tensor(start, dtype=torch.float32, device=model.device, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=rate)
    batch_tokens = tokens_per_pass(model, every_layer=True)
    losses = np.zeros(n_steps)
    waiting: list[int] = []
    for step in range(n_steps):
        if len(waiting) < min(n_batch, len(pairs)):
            waiting = rng.permutation(len(pairs)).tolist()
        chosen, waiting = [pairs[i] for i in waiting[:n_batch]], waiting[n_batch:]
        slope = torch.zeros_like(logits)

        def measure(
            batch: Sequence[int], chosen: list[Scored] = chosen, slope: Float[Tensor, "n_layers n_heads"] = slope,
            step: int = step,
        ) -> None:
            gates = torch.sigmoid(logits)
            loss = gold_loss(model, [chosen[i] for i in batch], gates[None].to(model.torch_dtype)) / len(chosen)
            (found,) = torch.autograd.grad(loss, [logits])
            slope.add_(found)
            losses[step] += float(loss.detach())

        in_batches(measure, [len(pair.ids) - 1 for pair in chosen], batch_tokens)
        gates = torch.sigmoid(logits.detach())
        logits.grad = slope + price * gates * (1 - gates)
        if not (np.isfinite(losses[step]) and torch.isfinite(logits.grad).all()):
            raise no_numbers(model, "gradients")
        adam.step()
        if progress is not None:
            progress(step + 1, n_steps)
    return logits.detach().cpu().double().numpy(), losses
