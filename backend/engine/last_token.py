"""What one head's output at a prompt's last token does: a prompt is read once, and every head is a row of one token.

Up to the last token a pass with one head's output replaced there is the intact one. So the text before is read once,
and behind its keys and values the last token stands once for every head, each row with another head replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arrays import Float
from ..errors import BadInput
from ..models.gates import ALL_ON, Gates, Kept, passing
from ..models.loading import LoadedModel, no_numbers
from ..tasks.task import Prompt
from . import passes, trees
from .batches import Progress, in_batches, tokens_per_pass

ROWS = 64  # heads that ride in one pass behind a prompt; on a processor more gain nothing


class Last(NamedTuple):
    """A prompt as it is read here: up to where its answer begins."""

    ids: tuple[int, ...]
    wanted: int  # the first token of the right answer
    place: int  # of the prompt among those given
    dropped: int  # demonstrations left out because it was too long


def last_of(model: LoadedModel, prompts: Sequence[Prompt]) -> list[Last]:
    """The prompts that fit the model's context, those too long without their first demonstrations."""
    found = []
    encoded = trees.encode(prompts, model.encode_pairs, model.info.max_positions)
    for place, (prompt, (query, dropped)) in enumerate(zip(prompts, encoded, strict=True)):
        if query is not None:
            scored = query.options[prompt.example.gold[0]]
            found.append(Last(scored.context, scored.continuation[0], place, dropped))
    return found


@torch.inference_mode()
def mean_last_outputs(
    model: LoadedModel, texts: Sequence[Last]
) -> tuple[Float[Tensor, "n_layers n_heads d_head"], float]:
    """What heads put out at the last token of these texts, and how likely the wanted tokens are behind them.

    Returns:
        (n_layers, n_heads, d_head), each head's mean z, in double precision, 0 in a layer without heads; and the mean
        probability.

    Raises:
        BadInput: if there is no text.
    """
    if not texts:
        raise BadInput("No prompt fits the model's context, or none was given: there is nothing to take means of.")
    total = torch.zeros(model.n_layers, model.n_heads, model.d_head, dtype=torch.float64)
    likely = torch.zeros(len(texts), dtype=torch.float64)

    def measure(batch: Sequence[int]) -> None:
        chosen = [texts[i] for i in batch]
        tokens = torch.zeros(len(chosen), max(len(one.ids) for one in chosen), dtype=torch.long)
        for row, one in enumerate(chosen):
            tokens[row, :len(one.ids)] = torch.tensor(one.ids)
        rows, last = torch.arange(len(chosen)), torch.tensor([len(one.ids) - 1 for one in chosen])
        z: dict[int, Tensor] = {}
        with passing(kept=Kept(z=z)):
            hidden = model.trunk(input_ids=tokens.to(model.device), use_cache=False).last_hidden_state
        odds = model.unembed(hidden[rows, last]).softmax(-1)  # (batch, vocabulary)
        likely[list(batch)] = odds[rows, torch.tensor([one.wanted for one in chosen])].cpu().double()
        for layer, outputs in z.items():
            total[layer] += outputs.cpu()[rows, last].double().sum(0)

    in_batches(measure, [len(one.ids) for one in texts], tokens_per_pass(model, every_layer=True))
    return total / len(texts), float(likely.mean())


@torch.inference_mode()
def replaced(
    model: LoadedModel, asked: Sequence[Last], fill: Float[Tensor, "n_layers n_heads d_head"],
    progress: Progress | None = None,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n_layers n_heads"]]:
    """The probability of each text's next token, intact and with each head's output at the last token replaced.

    Args:
        asked: texts, with the token whose probability is wanted behind each.
        fill: what replaces a head's output z.

    Returns:
        (n,) intact, and (n, n_layers, n_heads); where a layer has no heads, the intact one.

    Raises:
        ModelError: if the probabilities are no numbers.
    """
    heads = model.info.heads
    intact, changed = np.zeros(len(asked)), np.zeros((len(asked), model.n_layers, model.n_heads))
    stand_in = fill.to(model.torch_dtype).to(model.device)[None]
    for i, one in enumerate(asked):
        read = _Read(model, one.ids, one.wanted)
        intact[i] = read.behind(ALL_ON, 1)[0]
        changed[i] = intact[i]
        for first in range(0, len(heads), ROWS):
            some = heads[first:first + ROWS]
            gates = torch.ones(len(some), model.n_layers, model.n_heads, dtype=model.torch_dtype, device=model.device)
            for row, head in enumerate(some):
                gates[row, head.layer, head.head] = 0
            for head, p in zip(some, read.behind(Gates(gates, head_fill=stand_in), len(some)), strict=True):
                changed[i, head.layer, head.head] = p
        if progress is not None:
            progress(i + 1, len(asked))
    if not (np.isfinite(intact).all() and np.isfinite(changed).all()):
        raise no_numbers(model)
    return intact, changed


class _Read:
    """A text that is read once up to its last token; a model that cannot be read in parts reads it whole each time."""

    def __init__(self, model: LoadedModel, ids: tuple[int, ...], wanted: int) -> None:
        self.model, self.ids, self.wanted = model, ids, wanted
        self.apart = passes.shares_prefixes(model) and len(ids) > 1
        self.prefix = passes.read_prefix(model, np.array([ids[:-1]])) if self.apart else []

    def behind(self, gates: Gates, n: int) -> list[float]:
        """The wanted token's probability under each of n rows of gates, which hold at the last token alone."""
        if self.apart:
            hidden = passes.read_last(self.model, self.prefix, len(self.ids) - 1, self.ids[-1], gates, n)
        else:
            hidden = self._whole(gates, n)
        return self.model.unembed(hidden).softmax(-1)[:, self.wanted].double().cpu().tolist()

    def _whole(self, gates: Gates, n: int) -> Float[Tensor, "{n} d_hidden"]:
        """Hidden states of the last token, the whole text read in every row."""
        here = gates
        if gates.heads is not None:
            assert isinstance(gates.heads, Tensor)
            of_layers = []
            for layer in range(self.model.n_layers):  # (n, n_heads, pos): 1 but at the last position
                gate = torch.ones(n, self.model.n_heads, len(self.ids), dtype=self.model.torch_dtype)
                gate[:, :, -1] = gates.heads[:, layer].cpu()
                of_layers.append(gate.to(self.model.device))
            here = Gates(of_layers, head_fill=gates.head_fill)
        tokens = torch.tensor([self.ids] * n, device=self.model.device)
        with passing(here):
            hidden: Tensor = self.model.trunk(input_ids=tokens, use_cache=False).last_hidden_state[:, -1]
            return hidden
