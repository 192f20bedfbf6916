"""A toggle on a real model: one task of 40 queries behind 5 shots, a head of the lowest, middle and top layer off.

On SmolLM2-135M's shape with random weights, which always runs, and on SmolLM2-135M itself where it is.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from backend.engine import passes
from backend.errors import DataError
from backend.kinds.evaluation import evaluate
from backend.models.loading import LoadedModel
from backend.tasks.task import Prompt
from backend.values import INTACT, Ablation, Head
from tests.benchmarks.lengths import load_smollm2, real_prompts
from tests.benchmarks.measuring import Row, Skipped, peak_memory
from tests.benchmarks.workloads import HELLASWAG, SHAPES, Lengths, make_prompts, random_model

if TYPE_CHECKING:
    from tests.benchmarks.rows import Bench

SHORT = Lengths(n_queries=40, demo=20, question=15, n_options=2, option=8)  # about COPA's
LONG = HELLASWAG.with_(n_queries=40)
LIMIT = 1.3  # seconds: what "about 1 s" for a head of the middle layer at COPA's lengths may be


def live(bench: Bench) -> list[Row]:
    """On random weights, at COPA's and HellaSwag's lengths."""
    shape = SHAPES["smollm2-135m" if bench.shape != SHAPES["tiny"] else "tiny-llama"]
    model = random_model(shape, device=bench.device)
    works = [(f"{name}'s lengths", make_prompts(bench.lengths(lengths), shape))
             for name, lengths in (("COPA", SHORT), ("HellaSwag", LONG))]
    return [row for name, prompts in works for row in _toggles(bench, model, name, prompts)]


def live_smollm2(bench: Bench) -> list[Row]:
    """On the real model, with questions of COPA, capital and HellaSwag.

    Raises:
        Skipped: the model, or the questions, are not here.
    """
    model = load_smollm2(bench.device)
    n = bench.lengths(LONG).n_queries
    try:
        works = {task: real_prompts(task, 5, "fixed", n) for task in ("copa", "capital", "hellaswag")}
    except DataError as why:
        raise Skipped(str(why)) from why
    return [row for task, prompts in works.items() for row in _toggles(bench, model, f"{task}, real", prompts)]


def _toggles(bench: Bench, model: LoadedModel, name: str, prompts: list[Prompt]) -> list[Row]:
    model.quick = True  # as where somebody waits for a first number
    try:
        ready = passes.prepare(model, prompts, "acc")
    finally:
        model.quick = False
    with peak_memory(bench.device) as peak:
        evaluate(model, ready, [INTACT])
    top = model.n_layers - 1
    layers = {"lowest": 0, "middle": model.n_layers // 2, "top": top}
    heads = {place: iter(range(10_000)) for place in layers}
    first: dict[str, list[float]] = {place: [] for place in layers}  # seconds to the first number, of wall time

    def toggled(place: str) -> None:
        off = Ablation(frozenset({Head(layers[place], next(heads[place]) % model.n_heads)}))
        began, said = time.perf_counter(), list[float]()
        evaluate(model, ready, [off], so_far=lambda *_: said.append(time.perf_counter() - began))
        first[place].append(min(said, default=time.perf_counter() - began))

    times = bench.in_turns(whole=partial(evaluate, model, prompts),
                           **{place: partial(toggled, place) for place in layers})
    kept = f"{ready.state_bytes / 2**20:.0f} MiB of states kept" if ready.state_bytes else "no states kept"
    asked = {"middle": "about 1 s"} if name.lower().startswith("copa") else {}
    return [Row(f"{name}, {len(prompts)} queries, {model.n_layers} layers: a head of the {place} layer ({layer}) off",
                times[place], times["whole"], times["whole"] / times[place], asked.get(place, ""),
                times[place] < LIMIT if place in asked else None,
                f"{min(times.seconds[place]):.2f} to {max(times.seconds[place]):.2f} s",
                note=f"the baseline is the intact model, read whole; {kept}" if place == "lowest" else "",
                figures={"of the whole, %": 100 * times[place] / times["whole"],
                         "layers read, %": 100 * (model.n_layers - layer) / model.n_layers,
                         "first number after, s": min(first[place]), "peak of the first reading, MB": peak[0] / 1e6})
            for place, layer in layers.items()]
