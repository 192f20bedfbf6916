"""Texts side by side, as a pass reads them, and where their answers are; and what every block reads of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..arrays import Float, Int
from ..models.gates import Gates, Kept, Route, passing
from ..models.loading import LoadedModel
from .trees import Scored


class Fed(NamedTuple):
    """What a pass over (context, continuation) pairs reads, and where the continuations' tokens are predicted."""

    tokens: Int[Tensor, "batch pos"]  # token ids, without the last of each pair: no position reads it
    rows: list[int]  # one entry per token of a continuation, in all four
    positions: list[int]
    targets: list[int]
    weights: list[float]  # 1 / the tokens of its continuation

    @classmethod
    def of(cls, pairs: Sequence[Scored], skip: int = 0) -> Fed:
        """Pairs without their first `skip` tokens."""
        made = cls(torch.zeros(len(pairs), max(len(p.ids) for p in pairs) - 1 - skip, dtype=torch.long), [], [], [], [])
        for row, pair in enumerate(pairs):
            fed, n = pair.ids[skip:-1], len(pair.continuation)
            made.tokens[row, :len(fed)] = torch.tensor(fed)
            made.rows.extend([row] * n)
            made.positions.extend(range(len(pair.context) - 1 - skip, len(fed)))
            made.targets.extend(pair.continuation)
            made.weights.extend([1 / n] * n)
        return made


class Read:
    """Pairs with what every block of the intact model reads of them, so that a head in a high layer costs little."""

    def __init__(self, model: LoadedModel, pairs: Sequence[Scored]) -> None:
        self.model, self.fed = model, Fed.of(pairs)
        kept = Kept(inputs_from=0)
        with torch.no_grad(), passing(kept=kept):
            self.hidden = self._trunk(1)
        self._inputs = kept.inputs

    def replaced(
        self, layer: int, gates: Float[Tensor, "_ n_layers n_heads"],
        fill: Mapping[int, Float[Tensor, "_ pos n_heads d_head"]], times: int = 1,
    ) -> Float[Tensor, "_ pos d_hidden"]:
        """Hidden states with something in place of heads of a layer.

        Args:
            gates, fill: as in `Gates`; for all rows, or for the pairs `times` over.
        """
        start = min(self.model.latest_start, layer)
        hidden = self._inputs[start]
        with passing(Gates(gates, head_fill=fill), Route(start, hidden if times == 1 else hidden.repeat(times, 1, 1))):
            return self._trunk(times)

    def answers(
        self, hidden: Float[Tensor, "_ pos d_hidden"], times: int = 1
    ) -> tuple[Float[Tensor, "n vocab"], Int[Tensor, " n"], Int[Tensor, " n"]]:
        """For every token of every continuation, `times` over: its logits, the token itself, and its row."""
        n = len(self.fed.tokens)
        rows = (torch.arange(times)[:, None] * n + torch.tensor(self.fed.rows)).ravel().to(hidden.device)
        positions = torch.tensor(self.fed.positions).repeat(times).to(hidden.device)
        logits = self.model.unembed(hidden[rows, positions])
        return logits, torch.tensor(self.fed.targets).repeat(times).to(logits.device), rows.to(logits.device)

    def _trunk(self, times: int) -> Float[Tensor, "_ pos d_hidden"]:
        tokens = self.fed.tokens.to(self.model.device).repeat(times, 1)
        hidden: Tensor = self.model.trunk(input_ids=tokens, use_cache=False).last_hidden_state
        return hidden
