"""What the benchmark counts as unavoidable is what torch counts, and what the engine forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from backend.engine.trees import encode
from backend.kinds.evaluation import evaluate
from tests.benchmarks import theory
from tests.benchmarks.growth import cases
from tests.benchmarks.lengths import read
from tests.benchmarks.measuring import Row, table
from tests.benchmarks.products import Products, Reading
from tests.benchmarks.workloads import SHAPES as BENCHED
from tests.benchmarks.workloads import Lengths, Shape, make_prompts, random_model, random_network

SHAPES = {
    "opt": Shape(3, 4, 64, vocab_size=300),
    "llama": Shape(3, 4, 64, vocab_size=300, family="llama", n_kv_heads=2, d_inner=112),
    "llama, a head each": Shape(2, 3, 48, vocab_size=300, family="llama", n_kv_heads=1, d_inner=80),
}
LENGTHS = Lengths(n_queries=10, n_shots=5, demo=11, question=9, n_options=4, option=5)
WEIGHTS = (torch.ops.aten.mm, torch.ops.aten.addmm)  # products with weights; those of attention are batched


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]


def heard(count: theory.Count) -> theory.Count:
    """The same with the last layer computed at every token."""
    return replace(count, silent=0, silent_attended=0)


def weights_alone(count: theory.Count) -> theory.Count:
    """The same without attention's products, which kernels form for hidden pairs too."""
    return theory.Count(count.tokens, 0, count.scored, count.silent, 0)


def counted(counter: FlopCounterMode) -> tuple[int, int]:
    """FLOPs of products with weights, and of all others."""
    found: dict[Any, int] = counter.get_flop_counts()["Global"]
    of_weights = sum(n for op, n in found.items() if op in WEIGHTS)
    return of_weights, sum(found.values()) - of_weights


@pytest.mark.parametrize("n", [1, 7, 40])
def test_a_pass_costs_what_torch_counts(shape: Shape, n: int) -> None:
    network = random_network(shape, attention="eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.arange(4, 4 + n)[None])
    every_pair = theory.Count(n, n * n, n)  # eager attention forms the pairs that the mask hides
    assert sum(counted(counter)) == every_pair.flops(shape)
    assert counted(counter)[0] == weights_alone(every_pair).flops(shape)


@pytest.mark.parametrize("demos", ["fixed", "per-query"])
@pytest.mark.parametrize("n_shots", [0, 1, 5])
def test_the_engine_forms_the_products_that_theory_counts_and_few_more(
    shape: Shape, n_shots: int, demos: str
) -> None:
    lengths = LENGTHS.with_(n_shots=n_shots)
    model, prompts = random_model(shape), make_prompts(lengths, shape, demos)
    with FlopCounterMode(display=False) as counter:
        evaluate(model, prompts)
    needed = weights_alone(theory.evaluation(lengths, demos))
    # Short texts are computed to the end of the last layer, and rows of unequal length are padded.
    assert needed.flops(shape) <= counted(counter)[0] <= 1.12 * heard(needed).flops(shape)


@pytest.mark.parametrize("demos", ["fixed", "per-query"])
def test_texts_are_counted_as_lengths_are(demos: str) -> None:
    shape = Shape(1, 1, 8, vocab_size=60_000)  # so many words that no two questions begin alike by chance
    prompts, model = make_prompts(LENGTHS, shape, demos), random_model(shape)
    queries = [q for q, _ in encode(prompts, model.encode_pairs, 2048) if q is not None]
    pairs = [[(option.context, option.continuation) for option in query.options] for query in queries]
    assert theory.texts(pairs) == theory.evaluation(LENGTHS, demos)
    reading = Reading.of(LENGTHS, theory.evaluation(LENGTHS, demos), demos)
    assert read(model, prompts, demos == "fixed") == reading


def test_of_texts_every_beginning_counts_once_and_the_last_token_not_at_all() -> None:
    # 1 2 | 3 4, 1 2 | 3 5 6 and 1 7 | 8: read are 1, 2, 3, 5 and 7; scored is behind 2, 3, 5 and 7.
    found = theory.texts([[((1, 2), (3, 4)), ((1, 2), (3, 5, 6))], [((1, 7), (8,))]])
    assert found == theory.Count(tokens=5, attended=1 + 2 + 3 + 4 + 2, scored=4, silent=1, silent_attended=1)


def test_a_shape_grows_by_whole_heads() -> None:
    grown = SHAPES["llama"].scaled(2)
    assert (grown.n_heads, grown.n_kv_heads, grown.d_model, grown.d_head, grown.d_ffn) == (8, 4, 128, 16, 224)
    assert SHAPES["opt"].scaled(0.5) == Shape(3, 2, 32, vocab_size=300)


@pytest.mark.parametrize("name", ["opt-125m", "smollm2-135m"])
def test_growth_has_three_sizes_of_everything_that_grows(name: str) -> None:
    for what, sizes in cases(BENCHED[name]).items():
        flops = [theory.evaluation(lengths).flops(shape) for _, shape, lengths in sizes]
        assert len({size for size, _, _ in sizes}) == 3
        assert all(shape.d_model == shape.n_heads * shape.d_head for _, shape, _ in sizes)
        assert len(set(flops)) == (1 if what == "heads" else 3)
        assert flops == sorted(flops)


def test_products_formed_alone_are_those_that_theory_counts(shape: Shape) -> None:
    """But for attention, whose kernel forms hidden pairs too, and for the layers that stand for others."""
    reading = Reading.of(LENGTHS, theory.evaluation(LENGTHS), "fixed")
    products = Products(reading, shape)
    assert products.n_blocks == shape.n_layers - 1  # so none stands for another
    with FlopCounterMode(display=False) as counter:
        assert products.seconds() > 0
    assert counted(counter)[0] == weights_alone(reading.count).flops(shape)


def test_figures_are_columns_of_the_table() -> None:
    rows = [Row(work, 1.0, None, None, "", None, "", figures=figures) for work, figures in
            (("a", {"GFLOP/s": 123.45}), ("b", {}))]
    lines = table(rows).splitlines()
    assert lines[0].endswith("| spread | GFLOP/s |")
    assert lines[2].endswith("| 123.5 |")
    assert lines[3].endswith("|  |")
    assert len({line.count("|") for line in lines}) == 1
