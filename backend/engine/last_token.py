"""What one head's output at a prompt's last token does: a prompt is read once, and every head is a row of one token.

Up to the last token a pass with one head's output replaced there is the intact one. So the text before is read once,
and behind its keys and values the last token stands once for every head, each row with another head replaced.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from backend.engine import passes, trees
from backend.engine.batches import Progress, in_batches, tokens_per_pass
from backend.errors import BadInput
from backend.models.gates import ALL_ON, Gates, Kept, passing
from backend.models.loading import LoadedModel, no_numbers
from backend.tasks.task import Prompt

ROWS = 64  # heads that ride in one pass behind a prompt; on a processor more gain nothing


def last_of(model: LoadedModel, prompts: Sequence[Prompt]) -> list[tuple[tuple[int, ...], int]]:
    """Per prompt that fits, its token ids up to where the answer begins, and the first token of the right answer."""
    found = []
    for prompt, (query, _) in zip(prompts, trees.encode(prompts, model.encode_pairs, model.info.max_positions),
                                  strict=True):
        if query is not None:
            scored = query.options[prompt.example.gold[0]]
            found.append((scored.context, scored.continuation[0]))
    return found


@torch.inference_mode()
def mean_last_outputs(model: LoadedModel, texts: Sequence[tuple[int, ...]]) -> Tensor:
    """(n_layers, n_heads, d_head): each head's mean output z at the last token of these texts, in double precision.

    Raises:
        BadInput: if there is no text.
    """
    if not texts:
        raise BadInput("No prompt fits the model's context, or none was given: there is nothing to take means of.")
    total = torch.zeros(model.n_layers, model.n_heads, model.d_head, dtype=torch.float64)

    def measure(batch: Sequence[int]) -> None:
        chosen = [texts[i] for i in batch]
        tokens = torch.zeros(len(chosen), max(map(len, chosen)), dtype=torch.long)
        for row, ids in enumerate(chosen):
            tokens[row, :len(ids)] = torch.tensor(ids)
        last = torch.tensor([len(ids) - 1 for ids in chosen])
        z: dict[int, Tensor] = {}
        with passing(kept=Kept(z=z)):
            model.trunk(input_ids=tokens.to(model.device), use_cache=False)
        for layer, outputs in z.items():
            total[layer] += outputs.cpu()[torch.arange(len(chosen)), last].double().sum(0)

    in_batches(measure, list(map(len, texts)), tokens_per_pass(model, every_layer=True))
    return total / len(texts)


@torch.inference_mode()
def probabilities(model: LoadedModel, asked: Sequence[tuple[tuple[int, ...], int]]) -> np.ndarray:
    """(n,) the probability of each text's next token under the intact model."""
    return np.array([_Read(model, ids, wanted).behind(ALL_ON, 1)[0] for ids, wanted in asked])


@torch.inference_mode()
def replaced(model: LoadedModel, asked: Sequence[tuple[tuple[int, ...], int]], fill: Tensor,
             progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The probability of each text's next token, intact and with each head's output at the last token replaced.

    Args:
        asked: texts as token ids, with the token whose probability is wanted behind each.
        fill: (n_layers, n_heads, d_head), what replaces a head's output z.

    Returns:
        (n,) intact, and (n, n_layers, n_heads); where a layer has no heads, the intact one.

    Raises:
        ModelError: if the probabilities are no numbers.
    """
    heads = model.info.heads
    intact, changed = np.zeros(len(asked)), np.zeros((len(asked), model.n_layers, model.n_heads))
    stand_in = fill.to(model.torch_dtype).to(model.device)[None]
    for i, (ids, wanted) in enumerate(asked):
        read = _Read(model, ids, wanted)
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

    def _whole(self, gates: Gates, n: int) -> Tensor:
        """(n, d) hidden states of the last token, the whole text read in every row."""
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
            return self.model.trunk(input_ids=tokens, use_cache=False).last_hidden_state[:, -1]
