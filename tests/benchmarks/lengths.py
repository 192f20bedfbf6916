"""Tasks of every length at 0, 1 and 5 shots, behind fixed and per-query demonstrations, on three models.

Each row's baseline is what its own products take when torch forms them alone (`products.py`): the ratio is the share of
that rate which the row reaches, and the rest is what the engine spends beside them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from backend.engine.trees import common_prefix, encode
from backend.errors import DataError
from backend.kinds.evaluation import evaluate
from backend.models import smollm2
from backend.models.loading import LoadedModel, load_model
from backend.tasks.registry import get_task
from backend.tasks.task import Prompt, prompts
from tests.benchmarks import theory
from tests.benchmarks.measuring import Row, Skipped, matmul_rate, peak_memory
from tests.benchmarks.products import Products, Reading
from tests.benchmarks.workloads import (
    BOOLQ,
    CAPITAL,
    COPA,
    HELLASWAG,
    MULTIRC,
    PIQA,
    SHAPES,
    Shape,
    make_prompts,
    random_model,
)

if TYPE_CHECKING:
    from tests.benchmarks.rows import Bench

TASKS = {"copa": COPA, "capital": CAPITAL, "hellaswag": HELLASWAG, "piqa": PIQA, "boolq": BOOLQ, "multirc": MULTIRC}
QUERIES = {"copa": 20, "capital": 20, "hellaswag": 8, "piqa": 8, "boolq": 4, "multirc": 4}  # per-query: half of them
SHOTS = ((0, "fixed"), (1, "fixed"), (1, "per-query"), (5, "fixed"), (5, "per-query"))
QUICK = ("copa", "hellaswag", "boolq")  # what is measured to see that it runs
QUICK_SHOTS = ((0, "fixed"), (5, "fixed"), (5, "per-query"))


@dataclass(frozen=True)
class Work:
    """One row's prompts, and what they cost."""

    name: str
    prompts: list[Prompt]
    reading: Reading


def lengths(bench: Bench) -> list[Row]:
    """The model of `--shape`, random weights: OPT-125m's shape unless another is named."""
    return _random(bench, bench.shape, "")


def lengths_llama(bench: Bench) -> list[Row]:
    """SmolLM2-135M's shape, random weights; it needs no file and so always runs."""
    tiny = bench.shape == SHAPES["tiny"]
    return _random(bench, SHAPES["tiny-llama" if tiny else "smollm2-135m"], "Llama shape, ")


def lengths_smollm2(bench: Bench) -> list[Row]:
    """SmolLM2-135M itself, on real questions as its own tokenizer cuts them."""
    model = load_smollm2(bench.device)
    shape = SHAPES["smollm2-135m"]
    if (model.n_layers, model.n_heads, model.info.d_model) != (shape.n_layers, shape.n_heads, shape.d_model):
        raise AssertionError(f"{smollm2.NAME} is not the model that is counted here: {model.info}")
    return [_row(bench, model, shape, work) for work in _real(bench, model)]


def load_smollm2(device: str) -> LoadedModel:
    """SmolLM2-135M in float32, as `make smollm2` writes it.

    Raises:
        Skipped: it is not here.
    """
    if not smollm2.is_here():
        raise Skipped(f"{smollm2.NAME} is not here. `make smollm2` fetches it, 93 MB.")
    return load_model(smollm2.NAME, dtype="float32", device=device)


def real_prompts(task: str, n_shots: int, demos: str, n: int) -> list[Prompt]:
    """Real questions; rows of the study's tasks come from HEADROOM_DATA, or from HEADROOM_SHARED's data.

    Raises:
        DataError: the rows are not here.
    """
    if "HEADROOM_DATA" not in os.environ and (shared := os.environ.get("HEADROOM_SHARED")):
        os.environ["HEADROOM_DATA"] = str(Path(shared).resolve() / "data")
    return prompts(get_task(task), n_shots, demos, n)


def _cases(quick: bool) -> Iterator[tuple[str, int, str, int]]:
    """(task, shots, demonstrations, queries) of every row."""
    for task in QUICK if quick else TASKS:
        for n_shots, demos in QUICK_SHOTS if quick else SHOTS:
            n = 2 if quick else QUERIES[task] // (2 if demos == "per-query" else 1)
            yield task, n_shots, demos, n


def _name(task: str, n_shots: int, demos: str, n: int) -> str:
    return f"{task}, {n_shots} shots" + (f" {demos}" if n_shots else "") + f", {n} queries"


def _random(bench: Bench, shape: Shape, title: str) -> list[Row]:
    model, rows = random_model(shape, bench.reference, bench.device), []
    for task, n_shots, demos, n in _cases(bench.quick):
        sized = TASKS[task].with_(n_queries=n, n_shots=n_shots)
        reading = Reading.of(sized, theory.evaluation(sized, demos), demos)
        work = Work(title + _name(task, n_shots, demos, n), make_prompts(sized, shape, demos), reading)
        rows.append(_row(bench, model, shape, work))
    return rows


def _real(bench: Bench, model: LoadedModel) -> Iterator[Work]:
    for task, n_shots, demos, n in _cases(bench.quick):
        try:
            asked = real_prompts(task, n_shots, demos, n)
        except DataError as why:
            print(f"{task} is left out: {why}", flush=True)
            continue
        yield Work(f"SmolLM2-135M, {_name(task, n_shots, demos, len(asked))}", asked,
                   read(model, asked, demos == "fixed" and n_shots > 0))


def read(model: LoadedModel, asked: Sequence[Prompt], shared: bool) -> Reading:
    """What must be read of real prompts: what all share, or each its own context, and behind it the trees."""
    queries = [query for query, _ in encode(asked, model.encode_pairs, model.info.max_positions) if query is not None]
    count = theory.texts([(option.context, option.continuation) for option in query.options] for query in queries)
    if shared:
        n_prefixes, prefix = 1, common_prefix(queries, min(len(o.context) - 1 for q in queries for o in q.options))
    else:
        contexts = [common_prefix([q], min(len(o.context) - 1 for o in q.options)) for q in queries]
        n_prefixes, prefix = len(queries), sum(contexts) // len(queries)
    return Reading(count, n_prefixes, prefix, len(queries), round((count.tokens - n_prefixes * prefix) / len(queries)))


def _row(bench: Bench, model: LoadedModel, shape: Shape, work: Work) -> Row:
    evaluate(model, work.prompts[:1])
    with peak_memory(bench.device) as peak:
        evaluate(model, work.prompts)
    products = Products(work.reading, shape, bench.reference, bench.device)
    products.seconds()
    rates: list[float] = []
    bare: list[float] = []
    times = bench.in_turns(
        rate=lambda: rates.append(matmul_rate(bench.reference, bench.device, 2)),
        products=lambda: bare.append(products.seconds()),
        ours=partial(evaluate, model, work.prompts))
    times.seconds["alone"] = bare
    flops = work.reading.count.flops(shape)
    each = times.ratios("alone", "ours")
    return Row(work.name, times["ours"], times["alone"], times["alone"] / times["ours"], "", None,
               f"{min(each):.2f} to {max(each):.2f}x", figures={
                   "tokens": work.reading.count.tokens, "GFLOP": flops / 1e9, "GFLOP/s": flops / times["ours"] / 1e9,
                   "2048 product, GFLOP/s": median(rates) / 1e9,
                   "share of it, %": 100 * median(flops / s / r for s, r in zip(times.seconds["ours"], rates,
                                                                               strict=True)),
                   "own products alone, GFLOP/s": flops / times["alone"] / 1e9, "peak, MB": peak[0] / 1e6})
