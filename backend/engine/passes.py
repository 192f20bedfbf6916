"""Token trees through the model: the shared prefix once, blocks from where an ablation begins, logits where scored.

`score` is the whole of it: the log-likelihood of every option under every ablation. What the intact model computes
(hidden states at the input of each block, keys and values of the prefix) is kept beside the plan within a memory
budget, so that an ablation whose lowest component is in layer l starts at layer l.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

import backend.engine.attention  # noqa: F401 - it registers itself
from backend.engine import trees
from backend.engine.batches import Progress, smaller
from backend.models.gates import Ended, Gates, Places, gates_for, passing
from backend.models.loading import LoadedModel, no_numbers
from backend.results import Activations, Questions
from backend.tasks.task import Prompt
from backend.values import Ablation

ROW_TOKENS = 128  # small trees are packed into rows of about this length
BATCH_TOKENS = 1024  # tokens of one pass, padding included
BATCHES_HELD = 4  # long contexts whose options are read together, in passes over them
LOGIT_ROWS = 512  # positions that wait for each other before the vocabulary is read
LOGITS = 2**20  # logits that exist at once, about; they stay in the processor's cache. 64 times as many on a GPU
ALIGNED = 1024  # a part of the vocabulary is a multiple of this long: products of odd widths are half as fast again
STATE_BYTES = 256 * 2**20  # intact hidden states kept beside a plan
STATES_OF_PREFIX = 3  # a prefix is kept as hidden states, keys and values


@dataclass(eq=False)
class Plan:
    """Prompts made ready for one model: token trees in batches, and what the intact model left behind.

    Make it once and score it under as many ablations as you like. It may be shared by threads: what `states` and
    `smaller` hold is what any thread would find; states are let go when memory ran out.
    """

    model: LoadedModel
    prompts: Sequence[Prompt] = field(repr=False)
    questions: Questions
    lengths: tuple[tuple[int, ...], ...]  # characters per option
    groups: list[trees.Group]
    batch_tokens: int
    states: dict[tuple[int, int], _Intact] = field(default_factory=dict, repr=False)  # per section
    smaller: Plan | None = None  # the same in smaller batches, once memory ran out with these

    @property
    def smallest(self) -> Plan:
        """The plan that memory last sufficed for, as far as is known."""
        return self.smaller.smallest if self.smaller else self

    @property
    def n_tokens(self) -> int:
        """Tokens that one full pass over everything reads, padding included."""
        return sum(g.n_prefix_tokens + sum(b.tokens.size for b in g.batches) for g in self.groups)

    @property
    def n_batches(self) -> int:
        return sum(len(g.batches) for g in self.groups)

    @property
    def state_bytes(self) -> int:
        """What the intact model's states, kept once they were needed, take or would take; 0 where they do not fit."""
        tokens = sum(STATES_OF_PREFIX * g.n_prefix_tokens + sum(b.tokens.size for b in g.batches) for g in self.groups)
        size = tokens * _state_width(self.model)
        return size if size <= STATE_BYTES else 0


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
    kept: list[dict[int, Tensor]] = field(default_factory=list)  # per batch: layer -> (rows, pos, d_model), its input
    complete: bool = False


def plan(
    model: LoadedModel, prompts: Sequence[Prompt], metric: str = "acc", *, row_tokens: int = ROW_TOKENS,
    batch_tokens: int = BATCH_TOKENS,
) -> Plan:
    """Make prompts ready for scoring: encode, drop demonstrations that do not fit, grow and pack the trees."""
    encode_context, encode_text = cache(model.encode_context), cache(model.encode)  # options and contexts recur
    encoded = [trees.encode(p, encode_context, encode_text, model.info.max_positions) for p in prompts]
    questions = trees.questions_of(prompts, [d if q is not None else None for q, d in encoded], metric)
    kept = [(p, q, d) for p, (q, d) in zip(prompts, encoded, strict=True) if q is not None]
    held_tokens = min(BATCHES_HELD * batch_tokens, STATE_BYTES // (STATES_OF_PREFIX * _state_width(model)))
    groups = trees.group([q for _, q, _ in kept], [p.demos[d:] for p, _, d in kept], trees=takes_trees(model),
                         row_tokens=row_tokens, batch_tokens=batch_tokens, held_tokens=max(batch_tokens, held_tokens))
    lengths = tuple(tuple(len(o.removeprefix(" ")) for o in p.example.options) for p, _, _ in kept)
    return Plan(model, prompts, questions, lengths, groups, batch_tokens)


def halve(large: Plan) -> None:
    """Let a plan that memory ran out with go on in batches of half as many tokens; its states are let go."""
    half = smaller(large.batch_tokens)
    large.smaller = plan(large.model, large.prompts, large.questions.metric, row_tokens=min(ROW_TOKENS, half),
                         batch_tokens=half)
    large.states.clear()


def takes_trees(model: LoadedModel) -> bool:
    """Whether the model takes 4-D masks and positions, so that a question is read once for all its options.

    Alibi counts distances by place in the row instead, whatever the positions say.
    """
    alibi = getattr(model.model.config, "alibi", False)
    return model.adapter.trees and not alibi and "position_ids" in _parameters(model)


@torch.inference_mode()
def score(
    plan: Plan, ablations: Sequence[Ablation], means: Sequence[Activations | None] | None = None,
    progress: Progress | None = None, reuse: bool | None = None,
) -> list[Scores]:
    """The log-likelihood of every option under every ablation, in nats.

    Args:
        reuse: start each ablation at its lowest layer, from what the intact model computed below (one more pass where
            nobody asked for the intact scores). By default where there is more than one ablation, or where these
            states fit the memory budget and so can stay with the plan for the next call.

    Raises:
        ModelError: if the model's logits are no numbers (half precision overflows, damaged weights).
        BadInput: if an ablation does not fit the model.
    """
    model = plan.model
    found = list(means or [None] * len(ablations))
    gates = [gates_for(model, [a], [m]) for a, m in zip(ablations, found, strict=True)]
    tallies = [_Tally(plan) for _ in ablations]
    if reuse is None:
        reuse = sum(map(bool, ablations)) > 1 or bool(plan.state_bytes)
    done, total = 0, plan.n_batches * len(ablations)
    for section in _sections(plan):
        intact = plan.states.get(section.key) or (_Intact() if reuse else None)
        if intact is not None and not intact.complete and all(ablations):
            deque(_read_section(model, section, Gates(), keep=intact), maxlen=0)
        for i in sorted(range(len(ablations)), key=lambda i: bool(ablations[i])):  # the intact model first
            resume = intact if ablations[i] else None
            keep = None if ablations[i] or (intact is not None and intact.complete) else intact
            for batch, hidden in _read_section(model, section, gates[i], ablations[i].lowest_layer or 0, resume, keep):
                tallies[i].add(batch, hidden)
                done += 1
                if progress is not None:
                    progress(done, total)
        if intact is not None and section.is_kept:
            plan.states[section.key] = intact
    scores = [tally.scores() for tally in tallies]
    for ablation, tally in zip(ablations, tallies, strict=True):
        if not np.isfinite(tally.totals).all():
            raise no_numbers(model, ablation=ablation)
    return scores


@dataclass(frozen=True)
class _Section:
    """Batches of one group whose intact hidden states fit the memory budget together."""

    key: tuple[int, int]
    prefixes: tuple[np.ndarray, ...]
    batches: tuple[trees.Batch, ...]
    is_kept: bool  # whether all sections together fit, so that the states may outlive the call


def _state_width(model: LoadedModel) -> int:
    """Bytes of one token's hidden states at the input of every block."""
    return model.d_model * model.n_layers * torch.finfo(model.torch_dtype).bits // 8


def _sections(plan: Plan) -> list[_Section]:
    budget = STATE_BYTES // _state_width(plan.model)  # tokens
    fits = bool(plan.state_bytes)
    sections = []
    for number, group in enumerate(plan.groups):
        first, held = 0, STATES_OF_PREFIX * group.n_prefix_tokens
        for i, batch in enumerate(group.batches):
            if i > first and held + batch.tokens.size > budget:
                sections.append(_Section((number, first), group.prefixes, group.batches[first:i], fits))
                first, held = i, STATES_OF_PREFIX * group.n_prefix_tokens
            held += batch.tokens.size
        sections.append(_Section((number, first), group.prefixes, group.batches[first:], fits))
    return sections


def _read_section(
    model: LoadedModel, section: _Section, gates: Gates, start: int = 0, resume: _Intact | None = None,
    keep: _Intact | None = None,
) -> Iterator[tuple[trees.Batch, Tensor]]:
    """Each batch with its (rows, pos, d_model) hidden states after the last norm, right where they are scored."""
    start = start if resume is not None else 0
    prefix = _read_prefixes(model, section.prefixes, gates, start, resume, keep)
    for b, batch in enumerate(section.batches):
        own = replace(gates, start=start, hidden=resume.kept[b][start] if resume is not None else None,
                      keep_from=0 if keep is not None else None, kept={},
                      places=Places.of(batch.nodes, len(batch.tokens), batch.tokens.shape[1], model.device))
        with passing(own):
            hidden = _trunk(model, torch.as_tensor(batch.tokens, device=model.device),
                            torch.as_tensor(batch.positions, device=model.device),
                            mask(model, batch), cache_of(prefix, len(batch.tokens)))
        if keep is not None:
            keep.kept.append(own.kept)
        yield batch, hidden
    if keep is not None:
        keep.complete = True


def _read_prefixes(
    model: LoadedModel, prefixes: Sequence[np.ndarray], gates: Gates, start: int, resume: _Intact | None,
    keep: _Intact | None,
) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of n prefixes in every layer, (n, n_kv_heads, n_prefix, d_head) each; [] without a prefix."""
    found: list[list[tuple[Tensor, Tensor]]] = []  # per pass and layer
    for i, prefix in enumerate(prefixes):
        ids = torch.as_tensor(prefix, device=model.device)
        cache = DynamicCache()
        # Of the last block only keys and values are read.
        own = replace(gates, start=start, hidden=resume.prefix_kept[i][start] if resume is not None else None,
                      keep_from=0 if keep is not None else None, kept={}, until_attended=model.n_layers - 1)
        with passing(own), suppress(Ended):
            _trunk(model, ids, torch.arange(ids.shape[1], device=model.device).expand(ids.shape), None, cache)
        found.append([cast(tuple[Tensor, Tensor], (layer.keys, layer.values))
                      for layer in cast(list[DynamicLayer], cache.layers)])
        if keep is not None:
            keep.prefix_kept.append(own.kept)
    every = [(_one_array([keys for keys, _ in layer]), _one_array([values for _, values in layer]))
             for layer in [*zip(*found, strict=True)][start:]]  # blocks below have nothing to hand over
    if resume is not None:
        every = resume.prefix_kv[:start] + every
    if keep is not None:
        keep.prefix_kv = every
    return every


def _one_array(parts: Sequence[Tensor]) -> Tensor:
    """Keys or values of several passes, (n, n_kv_heads, n_prefix, d_head) each, the shorter ones filled up with 0."""
    if len(parts) == 1:
        return parts[0]
    widest = max(part.shape[2] for part in parts)
    return torch.cat([nn.functional.pad(part, (0, 0, 0, widest - part.shape[2])) for part in parts])


def cache_of(prefix: list[tuple[Tensor, Tensor]], n_rows: int) -> DynamicCache | None:
    """The prefix's keys and values for every row, without copying them."""
    if not prefix:
        return None
    cache = DynamicCache()
    for keys, values in prefix:
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys.expand(n_rows, -1, -1, -1), values.expand(n_rows, -1, -1, -1)
        cache.layers.append(layer)
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
    config = model.model.config
    before = np.arange(n_prefix) < batch.behind[:, None, None]  # (rows, 1, n_prefix)
    allowed = np.concatenate([np.broadcast_to(before, (rows, width, n_prefix)), batch.ancestors], 2)

    def additive(allowed: np.ndarray) -> Tensor:
        bias = torch.zeros(allowed.shape, dtype=model.torch_dtype, device=model.device)
        bias.masked_fill_(torch.as_tensor(~allowed, device=model.device), torch.finfo(model.torch_dtype).min)
        return bias[:, None]

    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if not window or (kinds and "sliding_attention" not in kinds):
        return additive(allowed)
    keys = np.concatenate([np.broadcast_to(np.arange(n_prefix), (rows, n_prefix)), batch.positions], 1)
    near = allowed & (batch.positions[:, :, None] - keys[:, None, :] < window)
    return {"full_attention": additive(allowed), "sliding_attention": additive(near)} if kinds else additive(near)


def _trunk(model: LoadedModel, ids: Tensor, positions: Tensor, attention: Any, cache: DynamicCache | None) -> Tensor:
    """(rows, pos, d_model) hidden states after the last norm."""
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": attention, "past_key_values": cache,
                              "use_cache": cache is not None}
    if "position_ids" in _parameters(model):
        inputs["position_ids"] = positions
    return model.trunk(**inputs).last_hidden_state


def _parameters(model: LoadedModel) -> frozenset[str]:
    """The names of the arguments that the trunk takes."""
    return frozenset(inspect.signature(type(model.trunk).forward).parameters)


class _Tally:
    """Adds up, for every option, the log-probabilities of its tokens under one ablation.

    The vocabulary is read in blocks, so that few logits exist at a time and stay in the processor's cache, and only
    once enough positions are there to share the reading.
    """

    def __init__(self, plan: Plan) -> None:
        self.model = plan.model
        self.want_greedy = plan.questions.metric == "greedy"
        self.offsets = np.cumsum([0, *plan.questions.n_options])  # where each question's options begin
        self.totals = np.zeros(self.offsets[-1])
        self.greedy = np.ones(self.offsets[-1], bool)
        self.waiting: list[tuple[trees.Batch, Tensor]] = []  # with the (n_nodes, d) states whose logits are needed

    def add(self, batch: trees.Batch, hidden: Tensor) -> None:
        """Score a batch, with its (rows, pos, d) hidden states after the last norm, now or together with the next."""
        nodes = torch.as_tensor(batch.nodes, device=hidden.device)
        self.waiting.append((batch, hidden.reshape(-1, hidden.shape[-1])[nodes]))
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
        if self.want_greedy:
            np.logical_and.at(self.greedy, entries, (wanted == peak[rows]).cpu().numpy())

    def _logits(self, states: Tensor, rows: np.ndarray, tokens: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """The logit of each token at its row, and of each row the log-sum-exp and the maximum over the vocabulary."""
        weight = self.model.model.get_output_embeddings().weight
        width = max(LOGITS * (64 if states.is_cuda else 1) // len(states) // ALIGNED, 1) * ALIGNED
        if weight.is_meta:  # offloaded: loading it once for all is cheaper
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
        """What was added up."""
        self.count()

        def split(values: np.ndarray) -> tuple:
            return tuple(tuple(values[a:b].tolist()) for a, b in pairwise(self.offsets))

        return Scores(split(self.totals), split(self.greedy) if self.want_greedy else ())
