"""The one doorway to a model: gates that travel with a call.

Hooks are installed once, when a model is loaded, and read the `Gates` of the pass under way from a context
variable. Without gates they return at once: not a single extra operation. With gates, head outputs z (the
input of the attention output projection) are multiplied by a tensor (batch or 1, n_layers, n_heads) and FFN
outputs by one of (batch or 1, n_layers). Nothing is ever "currently masked": any number of threads share one
model with different masks, one batch can carry several, and head importance is the gradient with respect to
these very gates, given a position axis.

The same doorway lets a pass begin in the middle: blocks below `start` are skipped, and the block at
`start` reads stored hidden states instead of its input. And it lets a pass end narrow: where only some places
of its result will be read, the last block does no more than that for the others which those attend to.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from backend.errors import BadInput
from backend.values import Ablation

if TYPE_CHECKING:
    from backend.models.loading import LoadedModel
    from backend.results import Activations


class Ended(Exception):
    """Raised to end a pass that has computed all that was wanted of it."""


@dataclass(frozen=True)
class Places:
    """Where the result of a pass is read: n places (row, position), each once."""

    rows: Tensor  # (n,)
    positions: Tensor  # (n,)
    grid: Tensor  # (batch, widest) the same positions side by side; short rows are filled up with position 0
    columns: Tensor  # (n,) where each stands in its row of the grid

    @classmethod
    def of(cls, flat: np.ndarray, batch: int, width: int, device: torch.device) -> Places | None:
        """The places at flat indices row * width + position, ascending; None where they are too many to gain by.

        Queries, keys and values of these places are formed twice, everything else of the last block there alone.
        """
        rows, positions = np.divmod(flat, width)
        counts = np.bincount(rows, minlength=batch)
        if 2 * counts.max() > width:
            return None
        columns = np.arange(len(flat)) - (np.cumsum(counts) - counts)[rows]
        grid = np.zeros((batch, counts.max()), np.int64)
        grid[rows, columns] = positions
        return cls(*(torch.as_tensor(x, device=device) for x in (rows, positions, grid, columns)))


@dataclass
class Gates:
    """What one pass through the model does differently from the plain one.

    Attributes:
        heads: (batch or 1, n_layers, n_heads); or, with a position axis, one (batch or 1, n_heads, pos) per layer.
            1 keeps a head, 0 removes it. None: all kept.
        ffns: (batch or 1, n_layers). None: all kept.
        no_ffns: layers whose FFN is off in every row: it is not run.
        head_fill: (batch or 1, n_layers, n_heads, d_head), added times (1 - gate): what stands in for a removed head.
        ffn_fill: (batch or 1, n_layers, d_model), likewise.
        start: the first block that runs; those below hand their input on.
        hidden: (batch, pos, d_model), what block `start` reads; needed when `start` > 0.
        keep_from: keep the input of every block from this one on in `kept`; None keeps nothing.
        stop: the first block that does not run (its input can be kept); None runs all.
        until_attended: the block at which the pass ends with `Ended`, once its keys and values are in the cache;
            `attended` then holds its z, gated, (batch, pos, n_heads, d_head).
        places: where alone the result is read; elsewhere the last block hands its input on. None: everywhere.
        given: (batch, pos, n_heads, d_head), what the output projection reads instead of the block's own z.
        z: when a list, the z of each block is appended to it, (batch, pos, n_heads, d_head).
        ffn_out: when a list, what each FFN adds, (batch, pos, d_model), after gating.
    """

    heads: Tensor | Sequence[Tensor] | None = None
    ffns: Tensor | None = None
    no_ffns: frozenset[int] = frozenset()
    head_fill: Tensor | None = None
    ffn_fill: Tensor | None = None
    start: int = 0
    hidden: Tensor | None = None
    keep_from: int | None = None
    stop: int | None = None
    until_attended: int | None = None
    attended: Tensor | None = None
    places: Places | None = None
    given: Tensor | None = None
    kept: dict[int, Tensor] = field(default_factory=dict)
    z: list[Tensor] | None = None
    ffn_out: list[Tensor] | None = None
    batch: int = 1  # rows of the pass under way; some FFNs see (batch * pos, d_model)


_current: ContextVar[Gates | None] = ContextVar("headroom_gates", default=None)


@contextmanager
def passing(gates: Gates) -> Iterator[Gates]:
    """Let the passes inside, in this thread alone, go through these gates."""
    token = _current.set(gates)
    try:
        yield gates
    finally:
        _current.reset(token)


def gates_for(
    model: LoadedModel, ablations: Sequence[Ablation], means: Sequence[Activations | None] | None = None
) -> Gates:
    """The gates of several ablations, one batch row each; none at all where all are intact.

    Args:
        means: the mean activations of each ablation; needed where its fill is "mean".

    Raises:
        BadInput: if an ablation names a component that the model does not have, or lacks its means.
    """
    for ablation in ablations:
        ablation.check(model.n_layers, model.n_heads)
    if not any(ablations):
        return Gates()

    def tensor(values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=model.torch_dtype, device=model.device)

    gates = Gates()
    if any(a.heads for a in ablations):
        gates.heads = torch.stack([tensor(a.head_mask(model.n_layers, model.n_heads)) for a in ablations])
    if any(a.ffns for a in ablations):
        gates.ffns = torch.stack([tensor(a.ffn_mask(model.n_layers)) for a in ablations])
        gates.no_ffns = frozenset.intersection(*(a.ffns for a in ablations))
    if any(a.fill == "mean" for a in ablations):
        found = list(means or [None] * len(ablations))
        if any(a.fill == "mean" and m is None for a, m in zip(ablations, found, strict=True)):
            raise BadInput("Mean ablation needs the mean activations of the task's training prompts: measure the "
                           "result 'means' first.")
        zero_heads = tensor(np.zeros((model.n_layers, model.n_heads, model.d_head)))
        zero_ffns = tensor(np.zeros((model.n_layers, model.d_model)))
        pairs = list(zip(ablations, found, strict=True))
        gates.head_fill = torch.stack([tensor(m.heads) if m and a.fill == "mean" else zero_heads for a, m in pairs])
        gates.ffn_fill = torch.stack([tensor(m.ffns) if m and a.fill == "mean" else zero_ffns for a, m in pairs])
    return gates


def install(
    blocks: Sequence[nn.Module], attn_outs: Sequence[nn.Module], ffns: Sequence[nn.Module],
    before_ffns: Sequence[nn.Module | None], n_heads: int, returns_tuple: bool = False,
) -> None:
    """Put the hooks in, once, when a model is loaded. Without gates they do nothing.

    Args:
        before_ffns: the modules whose output nothing but the FFN reads.
        returns_tuple: whether a block returns (hidden states, ...), which a skipped one must do too.
    """
    for layer, (block, attn_out, ffn, before) in enumerate(zip(blocks, attn_outs, ffns, before_ffns, strict=True)):
        _wrap_block(block, layer, layer == len(blocks) - 1, returns_tuple)
        attn_out.register_forward_pre_hook(_head_hook(layer, n_heads))
        _wrap_ffn(ffn, before, layer)
        ffn.register_forward_hook(_ffn_hook(layer))


def _head_hook(layer: int, n_heads: int) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        gates = _current.get()
        if gates is None:
            return None
        shape, ends = args[0].shape, gates.until_attended == layer
        if gates.given is not None:
            return (gates.given.reshape(shape), *args[1:])
        if gates.heads is None and gates.z is None and not ends:
            return None
        z = args[0].reshape(gates.batch, -1, n_heads, shape[-1] // n_heads)  # (batch, pos, n_heads, d_head)
        if gates.z is not None:
            gates.z.append(z)
        if gates.heads is not None:
            z = _gated(gates, layer, z)
        if ends:
            gates.attended = z
            raise Ended
        return None if gates.heads is None else (z.reshape(shape), *args[1:])

    return hook


def _gated(gates: Gates, layer: int, z: Tensor) -> Tensor:
    """z, (batch, pos, n_heads, d_head), as a layer's head gates let it through."""
    assert gates.heads is not None
    gate = (gates.heads[:, layer] if isinstance(gates.heads, Tensor) else gates.heads[layer]).to(z.device)
    # (batch or 1, n_heads) or (batch or 1, n_heads, pos) -> (batch or 1, pos or 1, n_heads, 1)
    gate = gate[:, None, :, None] if gate.dim() == 2 else gate.transpose(1, 2)[..., None]
    if gates.head_fill is None:
        return z * gate
    return z * gate + gates.head_fill[:, layer, None].to(z.device) * (1 - gate)


def _wrap_ffn(ffn: nn.Module, before: nn.Module | None, layer: int) -> None:
    """Let an FFN that is off in every row be nothing at all, once the shape of its result is known.

    What stands before it then hands on what it reads.
    """
    plain = ffn.forward
    width: int | None = None
    n_others = 0  # what it returns beside, which a model only collects: a router's scores

    def is_off(args: tuple[Any, ...]) -> bool:
        gates = _current.get()
        return gates is not None and layer in gates.no_ffns and bool(args) and width is not None

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal width, n_others
        if is_off(args):
            zeros = args[0].new_zeros(*args[0].shape[:-1], width)
            return (zeros, *[None] * n_others) if n_others else zeros
        output = plain(*args, **kwargs)
        if width is None:
            n_others = len(output) - 1 if isinstance(output, tuple) else 0
            width = (output[0] if isinstance(output, tuple) else output).shape[-1]
        return output

    ffn.forward = forward
    if before is not None:
        plain_before = before.forward
        before.forward = lambda *args, **kwargs: args[0] if is_off(args) else plain_before(*args, **kwargs)


def _ffn_hook(layer: int) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        gates = _current.get()
        if gates is None or (gates.ffns is None and gates.ffn_out is None):
            return None
        added = output[0] if isinstance(output, tuple) else output
        shape = added.shape
        rows = added.reshape(gates.batch, -1, shape[-1])  # (batch, pos, d_model)
        if gates.ffns is not None:
            gate = gates.ffns[:, layer, None, None].to(rows.device)
            rows = rows * gate
            if gates.ffn_fill is not None:
                rows = rows + gates.ffn_fill[:, layer, None].to(rows.device) * (1 - gate)
        if gates.ffn_out is not None:
            gates.ffn_out.append(rows.clone())  # Falcon adds attention's output to it in place
        rows = rows.reshape(shape)
        return (rows, *output[1:]) if isinstance(output, tuple) else rows

    return hook


def _wrap_block(block: nn.Module, layer: int, is_last: bool, returns_tuple: bool) -> None:
    """Let a block be skipped, begin from stored hidden states, keep what it reads, or be read in few places."""
    plain = block.forward
    names = list(inspect.signature(plain).parameters)[1:]

    def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        gates = _current.get()
        if gates is not None:
            gates.batch = hidden.shape[0]
            if layer == gates.start and gates.hidden is not None:
                hidden = gates.hidden.to(hidden.device)
            if gates.keep_from is not None and layer >= gates.keep_from:
                gates.kept[layer] = hidden
            if layer < gates.start or (gates.stop is not None and layer >= gates.stop):
                return (hidden, None) if returns_tuple else hidden
            if is_last and gates.places is not None and gates.until_attended is None:
                named = dict(zip(names, args, strict=False)) | kwargs
                return _in_places(plain, layer, gates, gates.places, hidden, named)
        return plain(hidden, *args, **kwargs)

    block.forward = forward


def _in_places(
    plain: Callable[..., Any], layer: int, gates: Gates, places: Places, hidden: Tensor, inputs: dict[str, Any]
) -> Any:
    """A block that attends everywhere, and goes on from there in these places alone.

    The block is run twice: up to its z, then over the places' input with that z given, whatever it attends to itself.
    """
    with passing(replace(gates, until_attended=layer)) as own, suppress(Ended):
        plain(hidden, **inputs)
    assert own.attended is not None
    grid = (torch.arange(len(hidden), device=hidden.device)[:, None], places.grid.to(hidden.device))
    few = {name: _first(name, value, places.grid.shape[1]) for name, value in inputs.items()}
    with passing(replace(gates, given=own.attended[grid])):
        output = plain(hidden[grid], **few)
    found = output[0] if isinstance(output, tuple) else output  # (batch, widest, d_model)
    rows, positions, columns = (x.to(hidden.device) for x in (places.rows, places.positions, places.columns))
    whole = hidden.detach().index_put((rows, positions), found[rows, columns])
    return (whole, *output[1:]) if isinstance(output, tuple) else whole


def _first(name: str, value: Any, n: int) -> Any:
    """A block's input besides the hidden states, cut to n positions: of the right shape, the values do not matter."""
    if name in ("past_key_values", "layer_past"):
        return None
    if isinstance(value, tuple):  # cosines and sines
        return tuple(_first(name, x, n) for x in value)
    if not isinstance(value, Tensor):
        return value
    if name == "attention_mask" and value.dim() == 4:
        return value[..., :n, :n]
    return value[..., :n] if name == "alibi" else value[:, :n]
