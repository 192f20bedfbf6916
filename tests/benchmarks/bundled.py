"""Rows on the bundled model: what a toggle takes, and which predictions bfloat16 changes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import DynamicCache

from backend.engine import passes
from backend.engine.passes import Prepared
from backend.kinds import compute
from backend.kinds.evaluation import Answers, Evaluation, evaluate
from backend.kinds.prompts import ready
from backend.models.loading import LoadedModel, load_model
from backend.store.live import Store
from backend.tasks.registry import suite
from backend.values import Ablation, Head, Setup, TaskId
from tests.benchmarks.measuring import Row
from tests.benchmarks.workloads import HELLASWAG, make_prompts

if TYPE_CHECKING:
    from tests.benchmarks.rows import Bench


def setups_of(model: LoadedModel) -> list[Setup]:
    """Every task of the bundled suite, 100 queries behind 5 shots."""
    return [Setup(model.id, TaskId(task.name, task.digest), 5) for task in suite("mini")]


def toggle(bench: Bench) -> list[Row]:
    """The bundled model: one head off, one task and all of them, beside its bare packed forward passes."""
    model = load_model(device=bench.device)
    setups = setups_of(model)
    ablations = iter(Ablation(frozenset({Head(layer, head)}), frozenset({ffn}))
                     for layer in range(model.n_layers) for head in range(model.n_heads)
                     for ffn in range(model.n_layers))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for setup in setups:
            compute(Evaluation(setup), store, model)
        bare = [_bare_passes(ready(model, setup)) for setup in setups]

        def toggled(which: list) -> None:
            ablation = next(ablations)
            for setup in which:
                compute(Evaluation(setup, ablation), store, model)

        times = bench.in_turns(bare=bare[0], one=lambda: toggled(setups[:1]),
                               bare_all=lambda: [run() for run in bare], all=lambda: toggled(setups))
    rows = []
    for name, ours, bare in (("one task", "one", "bare"), (f"all {len(setups)} tasks in one request", "all",
                                                                          "bare_all")):
        slower = [o / b for o, b in zip(times.seconds[ours], times.seconds[bare], strict=True)]
        rows.append(Row(f"toggle on the bundled model, 100 queries, 5 shots, {name}", times[ours], times[bare],
                        times[bare] / times[ours], "within 3x of the bare passes", median(slower) <= 3,
                        f"{min(slower):.2f} to {max(slower):.2f} times the bare passes"))
    return rows


def _bare_passes(prepared: Prepared) -> Callable[[], None]:
    """The forward passes over prepared prompts and nothing else: inputs made beforehand, no gates, no scores."""
    model = prepared.model
    inputs = []
    for group in prepared.groups:
        assert len(group.prefixes) < 2  # fixed demonstrations
        prefix = torch.as_tensor(group.prefixes[0].tokens, device=model.device) if group.prefixes else None
        inputs.append((prefix, [(torch.as_tensor(batch.tokens, device=model.device),
                                torch.as_tensor(batch.positions, device=model.device), passes.mask(model, batch))
                               for batch in group.batches]))

    @torch.inference_mode()
    def run() -> None:
        for prefix, batches in inputs:
            kept: list = []
            if prefix is not None:
                cache = DynamicCache()
                model.trunk(input_ids=prefix, past_key_values=cache, use_cache=True)
                kept = [(layer.keys, layer.values) for layer in cache.layers]
            for tokens, positions, mask in batches:
                model.trunk(input_ids=tokens, position_ids=positions, attention_mask=mask, use_cache=bool(kept),
                            past_key_values=passes.cache_of(model, kept))

    return run


def precision(bench: Bench) -> list[Row]:
    """How many predictions differ in bfloat16: HellaSwag's lengths with random weights, and the bundled model's tasks.

    Counted on every processor, also where bfloat16 is too slow to be timed.
    """
    prompts = make_prompts(bench.lengths(HELLASWAG), bench.shape)
    full, half = (evaluate(bench.model(dtype), prompts) for dtype in ("float32", "bfloat16"))
    of_tasks = [_answers(load_model(dtype=dtype, device=bench.device)) for dtype in ("float32", "bfloat16")]
    return [_differing("random weights", full, half),
            _differing(f"bundled model, {len(of_tasks[0])} tasks, 5 shots", *of_tasks)]


def _answers(model: LoadedModel) -> list[Answers]:
    return [evaluate(model, ready(model, setup))[0] for setup in setups_of(model)]


def _differing(what: str, full: Sequence[Answers], half: Sequence[Answers]) -> Row:
    changed = [a != b for x, y in zip(full, half, strict=True) for a, b in zip(x.choices(), y.choices(), strict=True)]
    apart = [abs(a - b) for one, other in zip(full, half, strict=True)
             for x, y in zip(one.loglikelihoods, other.loglikelihoods, strict=True) for a, b in zip(x, y, strict=True)]
    return Row(f"predictions that differ in bfloat16, {what}", 100 * float(np.mean(changed)), None, None, "", None, "",
               "%", f"{sum(changed)} of {len(changed)}; log-likelihoods differ by {np.mean(apart):.3f} nats on "
               f"average, {max(apart):.3f} at most")
