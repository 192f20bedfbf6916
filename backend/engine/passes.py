"""Token trees through the model: the shared prefix once, blocks from where an ablation begins, logits where scored.

`score` is the whole of it: the log-likelihood of every option under every ablation. What the intact model computes
(hidden states at the input of each block, keys and values of the prefix) is kept beside the prompts within a memory
budget, so that an ablation whose lowest component is in layer l starts at layer l.
"""

from __future__ import annotations

import inspect
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, repeat
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from ..arrays import Bool, Float, Int, Shaped
from ..errors import BadInput
from ..models import attention
from ..models.gates import ALL_ON, Ended, Gates, Kept, MeanActivations, Places, Route, Unpadded, gates_for, passing
from ..models.loading import LoadedModel, no_numbers
from ..models.offloaded import is_offloaded
from ..records import Questions
from ..tasks.task import Prompt
from ..values import Ablation
from . import trees
from .batches import FIRST_TOKENS, Progress, is_waited_for, smaller, tokens_per_pass

ROW_TOKENS = 128  # small trees are packed into rows of about this length
BATCHES_HELD = 4  # long contexts whose options are read together, in passes over them
LOGIT_ROWS = 512  # positions that wait for each other before the vocabulary is read
LOGITS = 2**20  # logits that exist at once, about; they stay in the processor's cache. 64 times as many on a GPU
ALIGNED = 1024  # a part of the vocabulary is a multiple of this long: products of odd widths are half as fast again
STATE_BYTES = 256 * 2**20  # intact hidden states of one section, while ablations are scored
KEPT_BYTES = 512 * 2**20  # and of all sections, to stay beside the prompts: 40 queries of HellaSwag's lengths at 135 M


@dataclass(eq=False)
class Prepared:
    """Prompts made ready for one model: token trees in batches, and what the intact model left behind.

    Make it once and score it under as many ablations as you like. It may be shared by threads: what `states` and
    `smaller` hold is what any thread would find; states are let go when memory ran out. It does not hold its model,
    so that it can be kept beside it.
    """

    its_model: weakref.ref[LoadedModel] = field(repr=False)
    state_width: int  # bytes of one token's hidden states at the input of every block
    prefix_width: int  # bytes that are kept of one token of a prefix: keys and values, too
    prompts: Sequence[Prompt] = field(repr=False)
    questions: Questions
    lengths: tuple[tuple[int, ...], ...]  # characters of each option's answer
    groups: list[trees.Group]
    batch_tokens: int
    states: dict[tuple[int, int], _Intact] = field(default_factory=dict, repr=False)  # per section
    smaller: Prepared | None = None  # the same in smaller batches, once memory ran out with these

    @property
    def model(self) -> LoadedModel:
        """The model that these prompts were made ready for.

        Raises:
            BadInput: if nobody holds it any more.
        """
        if (model := self.its_model()) is None:
            raise BadInput("The model that these prompts were made ready for is gone: keep it as long as you score "
                           "them, or make them ready for another one.")
        return model

    @property
    def smallest(self) -> Prepared:
        """Those that memory last sufficed for, as far as is known."""
        return self.smaller.smallest if self.smaller else self

    @property
    def n_tokens(self) -> int:
        """Tokens that one full pass over everything reads, with what padding is read."""
        return sum(g.n_prefix_tokens + sum(b.n_tokens for b in g.batches) for g in self.groups)

    @property
    def gold_tokens(self) -> Int[np.ndarray, " n_questions"]:
        """How many tokens the right answer has, of several the first."""
        right = np.array([gold[0] for gold in self.questions.gold], int)
        counts = np.zeros(len(right), int)
        for batch in (batch for group in self.groups for batch in group.batches):
            scored = batch.target_options == right[batch.target_questions]
            np.add.at(counts, batch.target_questions[scored], 1)
        return counts

    @property
    def n_batches(self) -> int:
        return sum(len(g.batches) for g in self.groups)

    @property
    def state_bytes(self) -> int:
        """What the intact model's states, kept once they were needed, take or would take; 0 where they do not fit."""
        size = sum(self.prefix_width * g.n_prefix_tokens + self.state_width * sum(b.n_tokens for b in g.batches)
                   for g in self.groups)
        return size if size <= KEPT_BYTES else 0


@dataclass
class Scores:
    """What `score` finds for one ablation."""

    loglikelihoods: tuple[tuple[float, ...], ...]  # per question and option, nats
    greedy: tuple[tuple[bool, ...], ...]  # whether every token of the option was the most likely one; empty if unasked


@dataclass
class _Intact:
    """What the intact model computed for one section of a group."""

    prefix_kept: list[dict[int, Tensor]] = field(default_factory=list)  # per pass over prefixes, as `kept`
    prefix_kv: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # what `_read_prefixes` returned
    kept: list[dict[int, Tensor]] = field(default_factory=list)  # per batch: layer -> (rows, pos, d_state), its input
    complete: bool = False


def prepare(
    model: LoadedModel, prompts: Sequence[Prompt], metric: str = "acc", *, row_tokens: int = ROW_TOKENS,
    batch_tokens: int | None = None,
) -> Prepared:
    """Make prompts ready for scoring: encode, drop demonstrations that do not fit, grow and pack the trees.

    Args:
        batch_tokens: tokens of one pass, padding included; None for as many as suit the device.
    """
    batch_tokens = batch_tokens or tokens_per_pass(model)
    first_tokens = None
    if is_waited_for(model):
        first_tokens = min(FIRST_TOKENS, batch_tokens)
        row_tokens = min(row_tokens, first_tokens)
    encoded = list(trees.encode(prompts, model.encode_pairs, model.info.max_positions))
    questions = trees.questions_of(prompts, encoded, metric)
    kept = [(p, q, d) for p, (q, d) in zip(prompts, encoded, strict=True) if q is not None]
    held_tokens = min(BATCHES_HELD * batch_tokens, STATE_BYTES // prefix_width_of(model))
    groups = grouped(model, [q for _, q, _ in kept], [p.demos[d:] for p, _, d in kept], row_tokens, batch_tokens,
                     max(batch_tokens, held_tokens), first_tokens)
    lengths = tuple(p.example.lengths for p, _, _ in kept)
    return Prepared(weakref.ref(model), state_width_of(model), prefix_width_of(model), prompts, questions, lengths,
                    groups, batch_tokens)


def grouped(
    model: LoadedModel, queries: Sequence[trees.Query], demos: Sequence[tuple[str, ...]], row_tokens: int,
    batch_tokens: int, held_tokens: int, first_tokens: int | None = None,
) -> list[trees.Group]:
    """Questions in the form that a model takes, see `trees.group`."""
    return trees.group(queries, demos, trees=takes_trees(model), row_tokens=row_tokens, batch_tokens=batch_tokens,
                       held_tokens=held_tokens, d_model=model.info.d_model, first_tokens=first_tokens,
                       prefixes=shares_prefixes(model), unpadded=reads_unpadded(model))


def halve(large: Prepared) -> None:
    """Let prompts that memory ran out with go on in batches of half as many tokens; its states are let go."""
    half = smaller(large.batch_tokens)
    large.smaller = prepare(large.model, large.prompts, large.questions.metric, row_tokens=min(ROW_TOKENS, half),
                            batch_tokens=half)
    large.states.clear()


def takes_trees(model: LoadedModel) -> bool:
    """Whether the model takes 4-D masks and positions, so that a question is read once for all its options.

    Alibi counts distances by place in the row instead, whatever the positions say.
    """
    alibi = getattr(model.model.config, "alibi", False)
    return model.adapter.trees and shares_prefixes(model) and not alibi and "position_ids" in _parameters(model)


def reads_unpadded(model: LoadedModel) -> bool:
    """Whether a pass can be read without the padding of its rows: where attention is ours, and so knows the rows.

    Not where some layers slide a window, which transformers counts along the pass.
    """
    return takes_trees(model) and attention.is_ours(model.model) and not _window(model)


def _window(model: LoadedModel) -> int | None:
    """How far back some layers look; None where all look back to the beginning."""
    config = model.model.config
    kinds = set(getattr(config, "layer_types", None) or ())
    return None if kinds and "sliding_attention" not in kinds else getattr(config, "sliding_window", None)


def shares_prefixes(model: LoadedModel) -> bool:
    """Whether keys and values are all that later tokens see of a text, so that it is read once for several behind it.

    A recurrent state is read whole, from left to right: one text a row.
    """
    return not model.info.headless


@torch.inference_mode()
def score(
    prepared: Prepared, ablations: Sequence[Ablation], means: Sequence[MeanActivations | None] | None = None,
    progress: Progress | None = None, reuse: bool | None = None, together: bool = False,
    so_far: Callable[[int, Scores, Bool[np.ndarray, " n_questions"]], None] | None = None,
) -> list[Scores]:
    """The log-likelihood of every option under every ablation, in nats.

    Args:
        progress: called as progress(batches done, of all) where each ablation has its own.
        reuse: start each ablation at its lowest layer, from what the intact model computed below (one more pass where
            nobody asked for the intact scores). By default where there is more than one ablation, or where these
            states fit the memory budget and so can stay with the prompts for the next call.
        together: let ablations ride in one pass as long as it stays within the prompts' `batch_tokens`. Passes of few
            tokens, whose time goes elsewhere than into products, are then shared; each number is what it is alone,
            beyond rounding.
        so_far: called as so_far(place of the ablation, its scores, (n_questions,) which of them are complete) after
            each batch; the vocabulary is then read for each.

    Raises:
        ModelError: if the model's logits are no numbers (half precision overflows, damaged weights).
        BadInput: if an ablation does not fit the model.
    """
    model = prepared.model
    fills = list(means or [None] * len(ablations))
    for ablation, fill in zip(ablations, fills, strict=True):
        gates_for(model, [ablation], [fill])  # raises before anything runs
    tallies = [_Tally(prepared) for _ in ablations]
    if reuse is None:
        reuse = sum(map(bool, ablations)) > 1 or bool(prepared.state_bytes)
    done, total = 0, prepared.n_batches * len(ablations)
    for section in _sections(prepared):
        intact = prepared.states.get(section.key) or (_Intact() if reuse else None)
        if intact is not None and not intact.complete and all(ablations):
            deque(_read_section(model, section, ALL_ON, keep=intact), maxlen=0)
        for riding in _rides(ablations, section.room(prepared.batch_tokens) if together else 1):
            some = [ablations[i] for i in riding]
            resume = intact if any(some) else None
            keep = None if any(some) or (intact is not None and intact.complete) else intact
            gates = gates_for(model, some, [fills[i] for i in riding])
            start = min(model.latest_start, *(ablation.lowest_layer or 0 for ablation in some))
            for batch, states in _read_section(model, section, gates, start, resume, keep, len(some)):
                for i, under_one in zip(riding, states, strict=True):
                    tallies[i].add(batch, under_one)
                    if so_far is not None:
                        tallies[i].count()
                        so_far(i, tallies[i].now(), tallies[i].left == 0)
                done += len(some)
                if progress is not None:
                    progress(done, total)
        if intact is not None and section.is_kept:
            prepared.states[section.key] = intact
    scores = [tally.scores() for tally in tallies]
    for ablation, tally in zip(ablations, tallies, strict=True):
        if not np.isfinite(tally.totals).all():
            raise no_numbers(model, ablation=ablation)
    return scores


@dataclass(frozen=True)
class _Section:
    """Batches of one group whose intact hidden states fit the memory budget together."""

    key: tuple[int, int]
    prefixes: tuple[trees.Prefixes, ...]
    batches: tuple[trees.Batch, ...]
    is_kept: bool  # whether all sections together fit, so that the states may outlive the call

    def room(self, batch_tokens: int) -> int:
        """How many ablations can ride in one pass over its largest batch."""
        return max(1, batch_tokens // max([b.n_tokens for b in self.batches] + [p.n_tokens for p in self.prefixes]))


def _rides(ablations: Sequence[Ablation], room: int) -> list[list[int]]:
    """Which ablations ride together: intact models alone and first, then those that begin in layers close by."""
    order = sorted(range(len(ablations)), key=lambda i: bool(ablations[i]))
    intact, others = [i for i in order if not ablations[i]], [i for i in order if ablations[i]]
    if room > 1:
        others.sort(key=lambda i: ablations[i].lowest_layer or 0)
    return [[i] for i in intact] + [others[first:first + room] for first in range(0, len(others), room)]


def state_width_of(model: LoadedModel) -> int:
    """Bytes of one token's hidden states at the input of every block."""
    return model.d_state * model.n_layers * torch.finfo(model.torch_dtype).bits // 8


def prefix_width_of(model: LoadedModel) -> int:
    """Bytes that are kept of one token of a prefix: its hidden states, and keys and values of every block."""
    n_key_heads = getattr(model.model.config, "num_key_value_heads", None) or model.n_heads
    return state_width_of(model) * (model.d_state + 2 * n_key_heads * model.d_head) // model.d_state


def _sections(prepared: Prepared) -> list[_Section]:
    fits = bool(prepared.state_bytes)
    sections = []
    for number, group in enumerate(prepared.groups):
        first, held = 0, prepared.prefix_width * group.n_prefix_tokens  # bytes
        for i, batch in enumerate(group.batches):
            if i > first and held + prepared.state_width * batch.n_tokens > STATE_BYTES:
                sections.append(_Section((number, first), group.prefixes, group.batches[first:i], fits))
                first, held = i, prepared.prefix_width * group.n_prefix_tokens
            held += prepared.state_width * batch.n_tokens
        sections.append(_Section((number, first), group.prefixes, group.batches[first:], fits))
    return sections


def _read_section(
    model: LoadedModel, section: _Section, gates: Gates, start: int = 0, resume: _Intact | None = None,
    keep: _Intact | None = None, n_masks: int = 1,
) -> Iterator[tuple[trees.Batch, Float[Tensor, "n_masks n_nodes d_hidden"]]]:
    """Each batch with its hidden states after the last norm where they are scored.

    Args:
        gates: one row, or one for each of several masks: then every batch is read that many times side by side.
    """
    start = start if resume is not None else 0
    prefix = _read_prefixes(model, section.prefixes, gates, start, resume, keep, n_masks)
    for b, batch in enumerate(section.batches):
        rows, width = batch.tokens.shape
        tokens, depths, nodes, unpadded = batch.tokens, batch.positions, batch.nodes, None
        if batch.unpadded:  # one row
            real = batch.real
            tokens, depths = tokens.ravel()[None, real], depths.ravel()[None, real]
            nodes, unpadded = np.searchsorted(real, nodes), Unpadded.of(real, rows, width, model.device)
        nodes = (np.arange(n_masks)[:, None] * tokens.size + nodes).ravel()
        kept = Kept(inputs_from=0 if keep is not None else None)
        route = Route(start, _repeated(resume.kept[b][start], n_masks) if resume is not None else None,
                      places=Places.of(nodes, n_masks * len(tokens), tokens.shape[1], model.device), unpadded=unpadded)
        ids, positions = (_repeated(torch.as_tensor(x, device=model.device), n_masks) for x in (tokens, depths))
        masks = mask(model, batch)
        masks = ({kind: _repeated(one, n_masks) for kind, one in masks.items()} if isinstance(masks, dict)
                 else _repeated(masks, n_masks))
        with passing(_for_rows(gates, len(tokens)), route, kept):
            hidden = _trunk(model, ids, positions, masks, cache_of(model, prefix, unpadded))
        if keep is not None:
            keep.kept.append(kept.inputs)
        states = hidden.flatten(0, 1)[torch.as_tensor(nodes, device=hidden.device)]
        yield batch, states.unflatten(0, (n_masks, -1))
    if keep is not None:
        keep.complete = True


def _read_prefixes(
    model: LoadedModel, prefixes: Sequence[trees.Prefixes], gates: Gates, start: int, resume: _Intact | None,
    keep: _Intact | None, n_masks: int,
) -> list[tuple[Float[Tensor, "_ _ n_prefix _"], Float[Tensor, "_ _ n_prefix _"]]]:
    """Keys and values of n prefixes in every layer, (n_masks * n, n_kv_heads, n_prefix, d_head) each; or [].

    In the layers below `start`, where nothing reads them, they stand there once for all masks.
    """
    found: list[list[tuple[Tensor, Tensor]]] = []  # per pass and layer
    for i, prefix in enumerate(prefixes):
        (rows, width), cache, unpadded = prefix.tokens.shape, DynamicCache(), None
        tokens, places = prefix.tokens, np.tile(np.arange(width), (rows, 1))
        if prefix.unpadded:  # one row
            real = prefix.real
            tokens, places = tokens.ravel()[None, real], places.ravel()[None, real]
            unpadded = Unpadded.of(real, rows, width, model.device)
            cache.layer_class_to_replicate = partial(_InRows, unpadded)  # type: ignore[assignment]
        # Of the last block only keys and values are read.
        kept = Kept(inputs_from=0 if keep is not None else None)
        route = Route(start, _repeated(resume.prefix_kept[i][start], n_masks) if resume is not None else None,
                      until_attended=model.n_layers - 1, unpadded=unpadded)
        ids, positions = (_repeated(torch.as_tensor(x, device=model.device), n_masks) for x in (tokens, places))
        with passing(_for_rows(gates, len(tokens)), route, kept), suppress(Ended):
            _trunk(model, ids, positions, None, cache)
        found.append([cast(tuple[Tensor, Tensor], (layer.keys, layer.values))
                      for layer in cast(list[DynamicLayer], cache.layers)])
        if keep is not None:
            keep.prefix_kept.append(kept.inputs)
    every = [(_one_array([keys for keys, _ in layer], n_masks), _one_array([values for _, values in layer], n_masks))
             for layer in [*zip(*found, strict=True)][start:]]  # blocks below have nothing to hand over
    if resume is not None:
        every = resume.prefix_kv[:start] + every
    if keep is not None:
        keep.prefix_kv = every
    return every


def read_prefix(
    model: LoadedModel, prefix: Int[np.ndarray, "1 n_prefix"]
) -> list[tuple[Float[Tensor, "1 _ n_prefix _"], Float[Tensor, "1 _ n_prefix _"]]]:
    """Keys and values of one text, (1, n_prefix) token ids, per layer: (1, n_kv_heads, n_prefix, d_head) each."""
    return _read_prefixes(model, [trees.Prefixes.of(prefix.tolist())], ALL_ON, 0, None, None, 1)


def read_last(
    model: LoadedModel, prefix: list[tuple[Float[Tensor, "1 _ n_prefix _"], Float[Tensor, "1 _ n_prefix _"]]],
    n_prefix: int, token: int, gates: Gates, n: int,
) -> Float[Tensor, "{n} d_hidden"]:
    """Hidden states, after the last norm, of one token behind a text, under n rows of gates.

    Args:
        prefix: what `read_prefix` made of the text.
    """
    one = np.zeros((n, 1), np.int64)
    batch = trees.Batch(one + token, one + n_prefix, np.ones((n, 1, 1), bool), np.ones(n, int), np.full(n, n_prefix),
                        nodes=(none := np.zeros(0, int)), target_nodes=none, target_tokens=none, target_questions=none,
                        target_options=none)
    ids, positions = (torch.as_tensor(x, device=model.device) for x in (batch.tokens, batch.positions))
    with passing(gates):
        return _trunk(model, ids, positions, mask(model, batch), cache_of(model, prefix))[:, -1]


def _one_array(
    parts: Sequence[Float[Tensor, "_ n_key_heads _ d_head"]], n_masks: int
) -> Float[Tensor, "_ n_key_heads n_prefix d_head"]:
    """Keys or values of several passes, (n_masks * n, n_kv_heads, n_prefix, d_head) each, in one, mask by mask.

    The shorter ones are filled up with 0.
    """
    if len(parts) == 1:
        return parts[0]
    widest = max(part.shape[2] for part in parts)
    padded = [nn.functional.pad(part, (0, 0, 0, widest - part.shape[2])) for part in parts]
    return torch.cat([part.unflatten(0, (n_masks, -1)) for part in padded], 1).flatten(0, 1)


def _repeated(x: Shaped[Tensor, " _ *each"], n: int) -> Shaped[Tensor, " _ *each"]:
    """All rows of x, n times over."""
    return x if n == 1 else x.repeat(n, *[1] * (x.dim() - 1))


def _for_rows(gates: Gates, n_rows: int) -> Gates:
    """Gates of one mask as they are, which fit any number of rows; those of several, `n_rows` rows for each mask."""
    def of_rows(x: Float[Tensor, " _ *each"] | None) -> Float[Tensor, " _ *each"] | None:
        return x if x is None or len(x) == 1 else x.repeat_interleave(n_rows, 0)

    assert gates.heads is None or isinstance(gates.heads, Tensor)
    assert gates.head_fill is None or isinstance(gates.head_fill, Tensor)
    return Gates(of_rows(gates.heads), of_rows(gates.ffns), gates.no_ffns, of_rows(gates.head_fill),
                 of_rows(gates.ffn_fill))


class _InRows(DynamicLayer):
    """Keys and values of texts that are read without their padding, as rows."""

    def __init__(self, unpadded: Unpadded) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.unpadded = unpadded

    def update(
        self, key_states: Float[Tensor, "_ n_key_heads pos _"], value_states: Float[Tensor, "_ n_key_heads pos _"],
        *args: Any, **kwargs: Any,
    ) -> tuple[Float[Tensor, "batch n_key_heads n_prefix _"], Float[Tensor, "batch n_key_heads n_prefix _"]]:
        self.lazy_initialization(key_states, value_states)
        self.keys, self.values = self.unpadded.in_rows(key_states), self.unpadded.in_rows(value_states)
        return self.keys, self.values


class _Behind(DynamicLayer):
    """Keys and values of prefixes that a pass stands behind, each for an equal share of its rows; nothing is added."""

    def __init__(
        self, prefix: tuple[Float[Tensor, "_ _ n_prefix _"], Float[Tensor, "_ _ n_prefix _"]] | None,
        unpadded: Unpadded | None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.unpadded = unpadded
        if prefix is not None:
            self.lazy_initialization(*prefix)
            self.keys, self.values = prefix

    def update(
        self, key_states: Float[Tensor, "_ n_key_heads pos _"], value_states: Float[Tensor, "_ n_key_heads pos _"],
        *args: Any, **kwargs: Any,
    ) -> tuple[Float[Tensor, "batch n_key_heads k_pos _"], Float[Tensor, "batch n_key_heads k_pos _"]]:
        if self.unpadded is not None:
            key_states, value_states = self.unpadded.in_rows(key_states), self.unpadded.in_rows(value_states)
        if self.keys is None or self.values is None:
            return key_states, value_states
        n_rows = len(key_states)
        return (torch.cat([self._of_rows(self.keys, n_rows), key_states], -2),
                torch.cat([self._of_rows(self.values, n_rows), value_states], -2))

    @staticmethod
    def _of_rows(x: Float[Tensor, " _ *each"], n_rows: int) -> Float[Tensor, " {n_rows} *each"]:
        return x if len(x) == n_rows else x[:, None].expand(-1, n_rows // len(x), -1, -1, -1).flatten(0, 1)


def cache_of(
    model: LoadedModel, prefixes: list[tuple[Float[Tensor, "_ _ n_prefix _"], Float[Tensor, "_ _ n_prefix _"]]],
    unpadded: Unpadded | None = None,
) -> DynamicCache | None:
    """Keys and values of prefixes, per layer, for a pass behind them whose rows stand behind each in turn, in order.

    None where there is nothing to attend to but the pass's own keys, as they are.
    """
    if not prefixes and unpadded is None:
        return None
    cache = DynamicCache()
    cache.layers.extend(_Behind(prefix, unpadded) for prefix in prefixes or repeat(None, model.n_layers))
    return cache


def mask(model: LoadedModel, batch: trees.Batch) -> Any:
    """What the model takes as attention mask: added to the scores, 0 where a node may look.

    (rows, 1, pos, n_prefix + pos), or one of these per kind of layer where some layers slide a window; 2-D
    (rows, n_prefix + pos) of 0 and 1 for models that do not take trees.
    """
    rows, width = batch.tokens.shape
    n_prefix = batch.behind.max()
    if not takes_trees(model):
        real = np.arange(n_prefix + width)[None] < n_prefix + batch.lengths[:, None]
        return torch.as_tensor(real.astype(np.int64), device=model.device)
    before = np.arange(n_prefix) < batch.behind[:, None, None]  # (rows, 1, n_prefix)
    allowed = np.concatenate([np.broadcast_to(before, (rows, width, n_prefix)), batch.ancestors], 2)

    def additive(allowed: Bool[np.ndarray, "batch pos k_pos"]) -> Float[Tensor, "batch 1 pos k_pos"]:
        bias = torch.zeros(allowed.shape, dtype=model.torch_dtype, device=model.device)
        bias.masked_fill_(torch.as_tensor(~allowed, device=model.device), torch.finfo(model.torch_dtype).min)
        return bias[:, None]

    if not (window := _window(model)):
        return additive(allowed)
    keys = np.concatenate([np.broadcast_to(np.arange(n_prefix), (rows, n_prefix)), batch.positions], 1)
    near = allowed & (batch.positions[:, :, None] - keys[:, None, :] < window)
    by_kind = getattr(model.model.config, "layer_types", None)
    return {"full_attention": additive(allowed), "sliding_attention": additive(near)} if by_kind else additive(near)


def _trunk(
    model: LoadedModel, ids: Int[Tensor, "batch pos"], positions: Int[Tensor, "batch pos"], attention: Any,
    cache: DynamicCache | None,
) -> Float[Tensor, "batch pos d_hidden"]:
    """Hidden states after the last norm."""
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": attention, "past_key_values": cache,
                              "use_cache": cache is not None}
    if "position_ids" in _parameters(model):
        inputs["position_ids"] = positions
    hidden: Tensor = model.trunk(**inputs).last_hidden_state
    return hidden


def _parameters(model: LoadedModel) -> frozenset[str]:
    """The names of the arguments that the trunk takes."""
    return frozenset(inspect.signature(type(model.trunk).forward).parameters)


class _Tally:
    """Adds up, for every option, the log-probabilities of its tokens under one ablation.

    The vocabulary is read in blocks, so that few logits exist at a time and stay in the processor's cache, and only
    once enough positions are there to share the reading.
    """

    def __init__(self, prepared: Prepared) -> None:
        self.model = prepared.model
        self.want_greedy = prepared.questions.metric == "greedy"
        self.offsets = np.cumsum([0, *prepared.questions.n_options])  # where each question's options begin
        self.totals = np.zeros(self.offsets[-1])
        self.greedy = np.ones(self.offsets[-1], bool)
        self.left = np.zeros(len(self.offsets) - 1, int)  # per question: tokens of its options that are not scored yet
        for group in prepared.groups:
            for batch in group.batches:
                self.left += self._tokens_of(batch)
        self.waiting: list[tuple[trees.Batch, Tensor]] = []  # with the (n_nodes, d) states whose logits are needed

    def _tokens_of(self, batch: trees.Batch) -> Int[np.ndarray, " n_questions"]:
        """How many options' tokens of each question a batch scores."""
        return np.bincount(batch.target_questions, minlength=len(self.offsets) - 1)

    def add(self, batch: trees.Batch, states: Float[Tensor, "n_nodes d_hidden"]) -> None:
        """Score a batch, with its nodes' hidden states after the last norm, now or together with the next."""
        self.waiting.append((batch, states))
        if sum(len(states) for _, states in self.waiting) >= LOGIT_ROWS:
            self.count()

    def count(self) -> None:
        """Score what is waiting."""
        if not self.waiting:
            return
        states = torch.cat([states for _, states in self.waiting])  # (positions, d)
        before = np.cumsum([0, *(len(states) for _, states in self.waiting)])
        batches = [batch for batch, _ in self.waiting]
        self.waiting = []
        rows = np.concatenate([b.target_nodes + n for b, n in zip(batches, before, strict=False)])
        tokens = np.concatenate([b.target_tokens for b in batches])
        entries = np.concatenate([self.offsets[b.target_questions] + b.target_options for b in batches])
        wanted, normaliser, peak = self._logits(states, rows, tokens)
        np.add.at(self.totals, entries, (wanted - normaliser[rows]).double().cpu().numpy())
        for batch in batches:
            self.left -= self._tokens_of(batch)
        if self.want_greedy:
            np.logical_and.at(self.greedy, entries, (wanted == peak[rows]).cpu().numpy())

    def _logits(
        self, states: Float[Tensor, "n d_hidden"], rows: Int[np.ndarray, " n_targets"],
        tokens: Int[np.ndarray, " n_targets"],
    ) -> tuple[Float[Tensor, " n_targets"], Float[Tensor, " n"], Float[Tensor, " n"]]:
        """The logit of each token at its row, and of each row the log-sum-exp and the maximum over the vocabulary."""
        head = self.model.model.get_output_embeddings()
        weight = head.weight
        width = max(LOGITS * (64 if states.is_cuda else 1) // len(states) // ALIGNED, 1) * ALIGNED
        if is_offloaded(head):  # bringing it in once for all is cheaper
            width = len(weight)
        wanted = torch.zeros(len(rows), device=states.device)
        normalisers, peaks = [], []
        for first in range(0, len(weight), width):
            logits = self.model.unembed(states, slice(first, first + width)).to(states.device)  # (positions, width)
            here = np.flatnonzero((first <= tokens) & (tokens < first + width))
            wanted[here] = logits[rows[here], tokens[here] - first]
            normalisers.append(logits.logsumexp(-1))
            peaks.append(logits.amax(-1) if self.want_greedy else normalisers[-1])
        return wanted, torch.stack(normalisers).logsumexp(0), torch.stack(peaks).amax(0)

    def scores(self) -> Scores:
        """What was added up, all of it."""
        self.count()
        return self.now()

    def now(self) -> Scores:
        """What was added up so far."""
        def split(values: Shaped[np.ndarray, " _"]) -> tuple[tuple[Any, ...], ...]:
            return tuple(tuple(values[a:b].tolist()) for a, b in pairwise(self.offsets))

        return Scores(split(self.totals), split(self.greedy) if self.want_greedy else ())
