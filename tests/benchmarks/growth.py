"""How the cost of an evaluation behind fixed demonstrations grows, three sizes each, beside what theory counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from backend.kinds.evaluation import evaluate
from backend.models.loading import LoadedModel
from tests.benchmarks import theory
from tests.benchmarks.measuring import Row
from tests.benchmarks.products import Products, Reading
from tests.benchmarks.workloads import HELLASWAG, SHAPES, Lengths, Shape, make_prompts, random_model

if TYPE_CHECKING:
    from tests.benchmarks.rows import Bench

WITHIN = 0.15  # of theory
Sizes = Sequence[tuple[int, Shape, Lengths]]  # the number that grows, and what it is then


def growth(bench: Bench) -> list[Row]:
    """On the model of `--shape`: OPT-125m's shape unless another is named."""
    return _growth(bench, bench.shape, "")


def growth_llama(bench: Bench) -> list[Row]:
    """On SmolLM2-135M's shape."""
    tiny = bench.shape == SHAPES["tiny"]
    return _growth(bench, SHAPES["tiny-llama" if tiny else "smollm2-135m"], "Llama shape, ")


def cases(shape: Shape) -> Mapping[str, Sizes]:
    """What grows, one at a time; all else stays."""
    base = HELLASWAG.with_(n_queries=8)
    n_kv = shape.n_kv_heads or shape.n_heads
    times = (Fraction(1, 2 if n_kv % 2 == 0 else 3), 1, 2)  # so that heads of keys and values stay whole numbers

    def of(n: int) -> Shape:
        """So many heads, together as wide as before."""
        return replace(shape, n_heads=n, n_kv_heads=shape.n_kv_heads and n * shape.n_kv_heads // shape.n_heads)

    return {
        "queries": [(n, shape, base.with_(n_queries=n)) for n in (8, 16, 32)],
        "shots": [(n, shape, base.with_(n_shots=n)) for n in (0, 5, 10)],
        "options": [(n, shape, base.with_(n_options=n)) for n in (2, 4, 8)],
        "layers": [(n, replace(shape, n_layers=n), base)
                   for n in (max(1, -(-shape.n_layers // part)) for part in (4, 2, 1))],
        "heads": [(n, of(n), base) for n in (int(shape.n_heads * t) for t in times)],
        "d_model": [(wide.d_model, wide, base) for wide in (shape.scaled(float(t)) for t in times)],
    }


def _growth(bench: Bench, shape: Shape, title: str) -> list[Row]:
    rows, made = [], {shape: random_model(shape, bench.reference, bench.device)}
    for what, sizes in cases(shape).items():
        less = 8 // bench.lengths(HELLASWAG.with_(n_queries=8)).n_queries  # times, where little work is wanted
        rows += _rows(bench, f"{title}{what}", made, [
            (n // less if what == "queries" else n, sized, lengths.with_(n_queries=lengths.n_queries // less))
            for n, sized, lengths in sizes])
    return rows


def _rows(bench: Bench, what: str, made: Mapping[Shape, LoadedModel], sizes: Sizes) -> list[Row]:
    ways: dict[str, Callable[[], object]] = {}
    alone: list[list[float]] = []
    flops: list[int] = []
    for number, (_, shape, lengths) in enumerate(sizes):
        model = made.get(shape) or random_model(shape, bench.reference, bench.device)
        prompts = make_prompts(lengths, shape)
        evaluate(model, prompts[:2])
        count = theory.evaluation(lengths)
        products = Products(Reading.of(lengths, count, "fixed"), shape, bench.reference, bench.device)
        products.seconds()
        alone.append([])
        ways[f"alone {number}"] = partial(_kept, products, alone[-1])
        ways[str(number)] = partial(evaluate, model, prompts)
        flops.append(count.flops(shape))
    times = bench.in_turns(**ways)
    rows = []
    for number, (size, _, _) in enumerate(sizes):
        grown, due = times[str(number)] / times["0"], flops[number] / flops[0]
        each = times.ratios(str(number), "0")
        rows.append(Row(f"{what}: {size:,}", times[str(number)], None, grown, f"{due:.2f}x in theory, within 15 %",
                        abs(grown / due - 1) <= WITHIN if number else None, f"{min(each):.2f} to {max(each):.2f}x",
                        figures={"of theory, %": 100 * (grown / due - 1),
                                 "own products alone, x": median(alone[number]) / median(alone[0]),
                                 "GFLOP": flops[number] / 1e9, "GFLOP/s": flops[number] / times[str(number)] / 1e9}))
    return rows


def _kept(products: Products, found: list[float]) -> None:
    found.append(products.seconds())
