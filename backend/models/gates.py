"""The one doorway to a model: what a pass does differently travels with the call.

Hooks are installed once, when a model is loaded, and read what the pass under way is to do from a context variable.
Outside of `passing` they return at once: not a single extra operation. Inside, three values say, each its own thing:

- `Gates`, what is switched off: head outputs z (the input of the attention output projection) are multiplied by a
  tensor (batch or 1, n_layers, n_heads) and FFN outputs by one of (batch or 1, n_layers). Nothing is ever "currently
  masked": any number of threads share one model with different masks, one batch can carry several, and head
  importance is the gradient with respect to these very gates, given a position axis.
- `Route`, which blocks run: a pass may begin in the middle, from stored hidden states, and may end before the last
  block, or narrow: where only some places of its result will be read, the last block does no more than that for the
  others which those attend to.
- `Kept`, what is left behind: what blocks read, what heads and FFNs put out.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import Float, Int
from ..errors import BadInput
from ..values import Ablation

if TYPE_CHECKING:
    from .loading import LoadedModel


class Ended(Exception):
    """Raised to end a pass that has computed all that was wanted of it."""


@dataclass(frozen=True)
class Places:
    """Where the result of a pass is read: n places (row, position), each once."""

    rows: Int[Tensor, " n"]
    positions: Int[Tensor, " n"]
    grid: Int[Tensor, "batch widest"]  # the same positions side by side; short rows are filled up with position 0
    columns: Int[Tensor, " n"]  # where each stands in its row of the grid

    @classmethod
    def of(cls, flat: Int[np.ndarray, " n"], batch: int, width: int, device: torch.device) -> Places | None:
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


@dataclass(frozen=True)
class Unpadded:
    """Rows of unequal length in one pass without their padding, which attention alone puts back.

    A pass then reads one row of n tokens for each mask, the real ones of all rows behind one another: a product does
    not ask which row a token stands in. Attention does. There queries, keys and values stand in rows again, under the
    rows' own mask.
    """

    slots: Int[Tensor, "rows width"]  # which of the n tokens stands there; 0 where there is padding
    real: Int[Tensor, " n"]  # flat row * width + pos of each token

    @classmethod
    def of(cls, real: Int[np.ndarray, " n"], rows: int, width: int, device: torch.device) -> Unpadded:
        """Of the tokens at flat indices row * width + pos, ascending."""
        slots = np.zeros(rows * width, np.int64)
        slots[real] = np.arange(len(real))
        return cls(torch.as_tensor(slots.reshape(rows, width), device=device), torch.as_tensor(real, device=device))

    def in_rows(self, x: Float[Tensor, "n_masks heads n d"]) -> Float[Tensor, "batch heads width d"]:
        """Queries, keys or values of the tokens in rows, those of each mask in turn."""
        found = x.index_select(2, self.slots.flatten().to(x.device))  # (n_masks, heads, rows * width, d)
        in_rows: Tensor = found.unflatten(2, self.slots.shape)
        return in_rows.transpose(1, 2).flatten(0, 1)

    def out_of_rows(self, z: Float[Tensor, "batch width heads d"]) -> Float[Tensor, "n_masks n heads d"]:
        """Head outputs in rows, without their padding again."""
        return z.reshape(-1, self.slots.numel(), *z.shape[2:]).index_select(1, self.real.to(z.device))


class MeanActivations(Protocol):
    """What stands in for components in mean ablation: a record of means, or anything with the same arrays."""

    @property
    def heads(self) -> Any: ...  # (n_layers, n_heads, d_head) numbers, mean z

    @property
    def ffns(self) -> Any: ...  # (n_layers, d_model), mean of what the FFN adds


@dataclass(frozen=True)
class Gates:
    """What is switched off in a pass.

    Attributes:
        heads: (batch or 1, n_layers, n_heads); or, with a position axis, one (batch or 1, n_heads, pos) per layer.
            1 keeps a head, 0 removes it. None: all kept.
        ffns: (batch or 1, n_layers). None: all kept.
        no_ffns: layers whose FFN is off in every row: it is not run.
        head_fill: added times (1 - gate): what stands in for a removed head;
            or, with a position axis, one (batch, pos, n_heads, d_head) for each layer in which something stands in.
        ffn_fill: likewise.
    """

    heads: Float[Tensor, "#batch n_layers n_heads"] | Sequence[Float[Tensor, "#batch n_heads pos"]] | None = None
    ffns: Float[Tensor, "#batch n_layers"] | None = None
    no_ffns: frozenset[int] = frozenset()
    head_fill: (Float[Tensor, "#batch n_layers n_heads d_head"]
                | Mapping[int, Float[Tensor, "batch pos n_heads d_head"]] | None) = None
    ffn_fill: Float[Tensor, "#batch n_layers d_model"] | None = None


@dataclass(frozen=True)
class Route:
    """Which blocks of a pass run, and where.

    Attributes:
        start: the first block that runs; those below hand their input on.
        hidden: what block `start` reads; needed when `start` > 0. d_state is d_model, or where a
            model has several residual streams that many numbers of each, one stream after the other.
        stop: the first block that does not run (its input can be kept); None runs all.
        until_attended: the block at which the pass ends with `Ended`, once its keys and values are in the cache.
        places: where alone the result is read; elsewhere the last block hands its input on. None: everywhere.
        unpadded: how tokens stand in rows where they attend; None: as they stand in the pass.
    """

    start: int = 0
    hidden: Float[Tensor, "batch pos d_state"] | None = None
    stop: int | None = None
    until_attended: int | None = None
    places: Places | None = None
    unpadded: Unpadded | None = None


@dataclass(frozen=True)
class Kept:
    """What a pass leaves behind, in the lists and the dictionary given.

    Attributes:
        inputs_from: keep what every block from this one on reads; None keeps nothing.
        inputs: layer -> (batch, pos, d_state), as `Route.hidden`.
        z: when a dictionary, layer -> (batch, pos, n_heads, d_head), before gating, of the layers that have heads.
        ffn_out: when a list, what each FFN adds, (batch, pos, d_model), after gating.
    """

    inputs_from: int | None = None
    inputs: dict[int, Float[Tensor, "batch pos d_state"]] = field(default_factory=dict)
    z: dict[int, Float[Tensor, "batch pos n_heads d_head"]] | None = None
    ffn_out: list[Float[Tensor, "batch pos d_model"]] | None = None


@dataclass
class _Pass:
    """The pass under way, as the hooks see it."""

    gates: Gates
    route: Route
    kept: Kept
    batch: int = 1  # rows; some FFNs see (batch * pos, d_model)
    # Where the route ends once attended: z, gated; and what the output projection reads instead of the block's own z.
    attended: Float[Tensor, "batch pos n_heads d_head"] | None = None
    given: Float[Tensor, "batch _ n_heads d_head"] | None = None


ALL_ON, WHOLE, NOTHING = Gates(), Route(), Kept()
_current: ContextVar[_Pass | None] = ContextVar("headroom_pass", default=None)


def unpadded() -> Unpadded | None:
    """How the tokens of the pass under way stand in rows where they attend; None: as they stand in the pass."""
    now = _current.get()
    return None if now is None else now.route.unpadded


@contextmanager
def passing(gates: Gates = ALL_ON, route: Route = WHOLE, kept: Kept = NOTHING) -> Iterator[None]:
    """Let the passes inside, in this thread alone, go this way."""
    with _under_way(_Pass(gates, route, kept)):
        yield


@contextmanager
def _under_way(one: _Pass) -> Iterator[_Pass]:
    token = _current.set(one)
    try:
        yield one
    finally:
        _current.reset(token)


def gates_for(
    model: LoadedModel, ablations: Sequence[Ablation], means: Sequence[MeanActivations | None] | None = None
) -> Gates:
    """The gates of several ablations, one batch row each; none at all where all are intact.

    Args:
        means: the mean activations of each ablation; needed where its fill is "mean".

    Raises:
        BadInput: if an ablation names a component that the model does not have, or lacks its means.
    """
    for ablation in ablations:
        ablation.check(model.n_layers, model.n_heads, model.info.headless)
    if not any(ablations):
        return ALL_ON

    def tensor(values: Any) -> Float[Tensor, " ..."]:
        return torch.as_tensor(np.array(values), dtype=model.torch_dtype, device=model.device)

    heads = ffns = head_fill = ffn_fill = None
    if any(a.heads for a in ablations):
        heads = torch.stack([tensor(a.head_mask(model.n_layers, model.n_heads)) for a in ablations])
    if any(a.ffns for a in ablations):
        ffns = torch.stack([tensor(a.ffn_mask(model.n_layers)) for a in ablations])
    if any(a.fill == "mean" for a in ablations):
        pairs = list(zip(ablations, means or [None] * len(ablations), strict=True))
        if any(a.fill == "mean" and m is None for a, m in pairs):
            raise BadInput("Mean ablation needs the mean activations of the task's training prompts: measure the "
                           "result 'means' first.")
        zero_heads = tensor(np.zeros((model.n_layers, model.n_heads, model.d_head)))
        zero_ffns = tensor(np.zeros((model.n_layers, model.d_model)))
        head_fill = torch.stack([tensor(m.heads) if m and a.fill == "mean" else zero_heads for a, m in pairs])
        ffn_fill = torch.stack([tensor(m.ffns) if m and a.fill == "mean" else zero_ffns for a, m in pairs])
    return Gates(heads, ffns, frozenset.intersection(*(a.ffns for a in ablations)), head_fill, ffn_fill)


def install(
    blocks: Sequence[nn.Module], attn_outs: Mapping[int, nn.Module], ffns: Sequence[nn.Module],
    before_ffns: Sequence[nn.Module | None], n_heads: int, returns_tuple: bool = False,
    lenders: frozenset[int] = frozenset(),
) -> None:
    """Put the hooks in, once, when a model is loaded. Outside of `passing` they do nothing.

    Args:
        attn_outs: of the layers that have heads.
        before_ffns: the modules whose output nothing but the FFN reads.
        returns_tuple: whether a block returns (hidden states, ...), which a skipped one must do too.
        lenders: layers whose keys and values later ones attend to instead of their own.
    """
    for layer, (block, ffn, before) in enumerate(zip(blocks, ffns, before_ffns, strict=True)):
        can_be_few = layer == len(blocks) - 1 and layer in attn_outs  # a recurrent state needs the places between
        _wrap_block(block, layer, can_be_few, returns_tuple, layer in lenders)
        if layer in attn_outs:
            attn_outs[layer].register_forward_pre_hook(_head_hook(layer, n_heads))
        _wrap_ffn(ffn, before, layer)
        ffn.register_forward_hook(_ffn_hook(layer))


def _head_hook(layer: int, n_heads: int) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        now = _current.get()
        if now is None:
            return None
        shape, gates, kept, ends = args[0].shape, now.gates, now.kept, now.route.until_attended == layer
        if now.given is not None:
            return (now.given.reshape(shape).to(args[0].device), *args[1:])
        if gates.heads is None and kept.z is None and not ends:
            return None
        z = args[0].reshape(now.batch, -1, n_heads, shape[-1] // n_heads)  # (batch, pos, n_heads, d_head)
        if kept.z is not None:
            kept.z[layer] = z
        if gates.heads is not None:
            z = _gated(gates, layer, z)
        if ends:
            now.attended = z
            raise Ended
        return None if gates.heads is None else (z.reshape(shape), *args[1:])

    return hook


def _gated(
    gates: Gates, layer: int, z: Float[Tensor, "batch pos n_heads d_head"]
) -> Float[Tensor, "batch pos n_heads d_head"]:
    """z, (batch, pos, n_heads, d_head), as a layer's head gates let it through."""
    assert gates.heads is not None
    gate = (gates.heads[:, layer] if isinstance(gates.heads, Tensor) else gates.heads[layer]).to(z.device)
    # (batch or 1, n_heads) or (batch or 1, n_heads, pos) -> (batch or 1, pos or 1, n_heads, 1)
    gate = gate[:, None, :, None] if gate.dim() == 2 else gate.transpose(1, 2)[..., None]
    if isinstance(gates.head_fill, Tensor):
        return z * gate + gates.head_fill[:, layer, None].to(z.device) * (1 - gate)
    if gates.head_fill is not None and layer in gates.head_fill:
        return z * gate + gates.head_fill[layer].to(z.device) * (1 - gate)
    return z * gate


def _wrap_ffn(ffn: nn.Module, before: nn.Module | None, layer: int) -> None:
    """Let an FFN that is off in every row be nothing at all, once the shape of its result is known.

    What stands before it then hands on what it reads.
    """
    plain = _own_forward(ffn)
    width: int | None = None
    n_others = 0  # what it returns beside, which a model only collects: a router's scores

    def is_off(args: tuple[Any, ...]) -> bool:
        now = _current.get()
        return now is not None and layer in now.gates.no_ffns and bool(args) and width is not None

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
        plain_before = _own_forward(before)
        before.forward = lambda *args, **kwargs: args[0] if is_off(args) else plain_before(*args, **kwargs)


def _own_forward(module: nn.Module) -> Callable[..., Any]:
    """What a module does by itself, without holding it: a module whose `forward` held it would outlive its model."""
    if "forward" in vars(module):  # somebody else has wrapped it already (accelerate, to move what is offloaded)
        return module.forward
    method, there = type(module).forward, weakref.ref(module)
    return lambda *args, **kwargs: method(there(), *args, **kwargs)


def _ffn_hook(layer: int) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        now = _current.get()
        if now is None:
            return None
        gates, kept = now.gates, now.kept.ffn_out
        if gates.ffns is None and kept is None:
            return None
        added = output[0] if isinstance(output, tuple) else output
        shape = added.shape
        rows = added.reshape(now.batch, -1, shape[-1])  # (batch, pos, d_model)
        if gates.ffns is not None:
            gate = gates.ffns[:, layer, None, None].to(rows.device)
            rows = rows * gate
            if gates.ffn_fill is not None:
                rows = rows + gates.ffn_fill[:, layer, None].to(rows.device) * (1 - gate)
        if kept is not None:
            kept.append(rows.clone())  # Falcon adds attention's output to it in place
        rows = rows.reshape(shape)
        return (rows, *output[1:]) if isinstance(output, tuple) else rows

    return hook


def _wrap_block(block: nn.Module, layer: int, can_be_few: bool, returns_tuple: bool, lends: bool) -> None:
    """Let a block be skipped, begin from stored hidden states, keep what it reads, or be read in few places.

    A skipped block that lends its keys and values forms them of what block `start` reads.
    """
    names = list(inspect.signature(block.forward).parameters)[1:]
    plain = _own_forward(block)

    def forward(hidden: Float[Tensor, "... pos d_model"], *args: Any, **kwargs: Any) -> Any:
        now = _current.get()
        if now is not None:
            route, kept = now.route, now.kept
            now.batch = hidden.shape[-3]
            if layer == route.start and route.hidden is not None:
                hidden = _as_streams(route.hidden.to(hidden.device), hidden)
            if kept.inputs_from is not None and layer >= kept.inputs_from:
                kept.inputs[layer] = _as_rows(hidden)
            if lends and layer < route.start and route.hidden is not None:
                with _under_way(_Pass(ALL_ON, Route(until_attended=layer), NOTHING)), suppress(Ended):
                    plain(_as_streams(route.hidden.to(hidden.device), hidden), *args, **kwargs)
            if layer < route.start or (route.stop is not None and layer >= route.stop):
                return (hidden, None) if returns_tuple else hidden
            if can_be_few and route.places is not None and route.until_attended is None:
                named = dict(zip(names, args, strict=False)) | kwargs
                return _in_places(plain, layer, now, route.places, hidden, named)
        return plain(hidden, *args, **kwargs)

    block.forward = forward


def _as_rows(hidden: Float[Tensor, "... pos d_model"]) -> Float[Tensor, "batch pos d_state"]:
    """What a block reads, as (batch, pos, d_state): residual streams, (n, batch, pos, d_model), one after the other."""
    return hidden.permute(1, 2, 0, 3).flatten(2) if hidden.dim() == 4 else hidden


def _as_streams(
    rows: Float[Tensor, "batch pos d_state"], like: Float[Tensor, "... _ d_model"]
) -> Float[Tensor, "... pos d_model"]:
    """The same back in the form in which a block reads it, that of `like`."""
    return rows.unflatten(-1, (len(like), -1)).permute(2, 0, 1, 3).contiguous() if like.dim() == 4 else rows


def _in_places(
    plain: Callable[..., Any], layer: int, now: _Pass, places: Places, hidden: Float[Tensor, "... pos d_model"],
    inputs: dict[str, Any],
) -> Any:
    """A block that attends everywhere, and goes on from there in these places alone.

    The block is run twice: up to its z, then over the places' input with that z given, whatever it attends to itself.
    """
    with _under_way(replace(now, route=replace(now.route, until_attended=layer))) as own, suppress(Ended):
        plain(hidden, **inputs)
    assert own.attended is not None
    read = _as_rows(hidden)
    grid = (torch.arange(len(read), device=hidden.device)[:, None], places.grid.to(hidden.device))
    attended = own.attended.to(hidden.device)  # the block may be somewhere else than what reaches it
    few = {name: value.to(hidden.device)[grid] if name in _OF_TOKENS else _first(name, value, places.grid.shape[1])
           for name, value in inputs.items()}
    if now.route.unpadded is not None:
        few["attention_mask"] = None  # that of rows does not fit, and what is attended to is given
    with _under_way(replace(now, given=attended[grid], route=replace(now.route, unpadded=None))):
        output = plain(_as_streams(read[grid], hidden), **few)
    found = _as_rows(output[0] if isinstance(output, tuple) else output)  # (batch, widest, d_state)
    rows, positions, columns = (x.to(found.device) for x in (places.rows, places.positions, places.columns))
    every = read.detach().to(found.device).index_put((rows, positions), found[rows, columns])
    whole = _as_streams(every, hidden)
    return (whole, *output[1:]) if isinstance(output, tuple) else whole


_OF_TOKENS = ("per_layer_input",)  # (batch, pos, d): what a block reads of each token besides the hidden states


def _first(name: str, value: Any, n: int) -> Any:
    """A block's input besides the hidden states, cut to n positions: of the right shape, the values do not matter."""
    if name in ("past_key_values", "layer_past"):
        return None
    if isinstance(value, tuple):  # cosines and sines
        return tuple(_first(name, x, n) for x in value)
    if isinstance(value, Mapping):  # keys and values of other layers, by kind
        return {kind: tuple(x[:, :, :n] for x in pair) for kind, pair in value.items()}
    if not isinstance(value, Tensor):
        return value
    if name == "attention_mask" and value.dim() == 4:
        return value[..., :n, :n]
    return value[..., :n] if name == "alibi" else value[:, :n]
