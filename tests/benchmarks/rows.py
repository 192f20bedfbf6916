"""Every row of the table: our way and the plain way, in turns, on the same work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import median

import numpy as np
from transformers import PreTrainedModel

from backend.engine.induction import block_lengths, random_vocabulary
from backend.kinds.evaluation import evaluate
from backend.kinds.head_importance import head_importance as our_importance
from backend.kinds.induction import copying as our_copying
from backend.kinds.induction import prefix_matching as our_prefix_matching
from backend.kinds.oracles import ffn_importance
from backend.machine import multiplies
from backend.models.loading import LoadedModel
from tests.benchmarks import baselines, theory
from tests.benchmarks.bundled import precision, toggle
from tests.benchmarks.classroom import classroom
from tests.benchmarks.explorer import explorer
from tests.benchmarks.growth import growth, growth_llama
from tests.benchmarks.large import large
from tests.benchmarks.lengths import lengths, lengths_llama, lengths_smollm2
from tests.benchmarks.live import live, live_smollm2
from tests.benchmarks.measuring import (
    Row,
    Skipped,
    compared,
    in_turns,
    matmul_rate,
    peak_memory,
    seconds_of,
    unmeasured,
)
from tests.benchmarks.room import room
from tests.benchmarks.workloads import (
    BOOLQ,
    HELLASWAG,
    IMPORTANCE,
    Lengths,
    Numbers,
    Shape,
    make_prompts,
    pairs_of,
    random_model,
    random_network,
)

BATCH_SIZES = (1, 4, 16)  # of the plain baseline, which gets the best of them
SHARE = 4  # the plain baseline scores one query in so many, and its time is scaled up: its rows cost alike
N_SEEDS = 100


@dataclass
class Bench:
    """What the rows share: the shape, the device, how often, and how much of the work."""

    shape: Shape
    device: str = "cpu"
    repeat: int = 5
    quick: bool = False  # a few queries and seeds: to see that it runs

    @property
    def reference(self) -> str:
        """The dtype of the baseline: float32 on a CPU; on a GPU nobody would take anything but bfloat16."""
        return "float32" if self.device == "cpu" else "bfloat16"

    @property
    def has_bfloat16(self) -> bool:
        """Whether bfloat16 is worth measuring: processors without instructions for it emulate its products."""
        return self.device != "cpu" or multiplies("bfloat16") is not False

    @cached_property
    def tokenizer(self) -> Numbers:
        return Numbers(self.shape.vocab_size)

    def model(self, dtype: str) -> LoadedModel:
        return random_model(self.shape, dtype, self.device)

    def network(self, attention: str = "sdpa") -> PreTrainedModel:
        return random_network(self.shape, self.reference, self.device, attention)

    def lengths(self, lengths: Lengths) -> Lengths:
        return lengths.with_(n_queries=max(2, lengths.n_queries // 8)) if self.quick else lengths

    def in_turns(self, **ways: Callable[[], object]):
        return in_turns(ways, self.repeat, self.device)

    def best_batch_size(self, network: PreTrainedModel, pairs: list[baselines.Pair], merge: bool = False) -> int:
        """The batch size at which the plain baseline is fastest, tried on 16 rows."""
        few = pairs[:2] if self.quick else pairs[:32 if merge else 16]
        baselines.loglikelihoods(network, few[:1], 1)
        return min(BATCH_SIZES, key=lambda size: seconds_of(
            partial(baselines.loglikelihoods, network, few, size, merge), self.device))


def evaluation(bench: Bench) -> list[Row]:
    """HellaSwag's lengths: fixed and per-query shots, float32 and bfloat16, beside one plain baseline."""
    lengths = bench.lengths(HELLASWAG)
    fixed = make_prompts(lengths, bench.shape)
    per_query = make_prompts(lengths, bench.shape, "per-query")
    model = bench.model(bench.reference)
    with peak_memory(bench.device) as peak_fixed:
        evaluate(model, fixed)
    with peak_memory(bench.device) as peak_per_query:
        evaluate(model, per_query)
    half = bench.model("bfloat16") if bench.has_bfloat16 else None
    network, pairs = bench.network(), pairs_of(fixed[::SHARE], bench.tokenizer)
    size = bench.best_batch_size(network, pairs)
    rates: dict[str, list[float]] = {dtype: [] for dtype in {bench.reference, *["bfloat16"] * (half is not None)}}
    in_half: dict[str, Callable[[], object]] = {}
    if half is not None:
        evaluate(half, fixed[:2])
        in_half["half"] = partial(evaluate, half, fixed)

    def rate() -> None:
        for dtype, found in rates.items():
            found.append(matmul_rate(dtype, bench.device))

    times = bench.in_turns(
        rate=rate,
        plain=partial(baselines.loglikelihoods, network, pairs, size),
        fixed=partial(evaluate, model, fixed),
        per_query=partial(evaluate, model, per_query),
        **in_half,
    )
    what = f"{lengths.prefix} + {lengths.question} + {lengths.n_options} x {lengths.option} tokens, " \
           f"{lengths.n_queries} queries"
    flops = theory.evaluation(lengths).flops(bench.shape)
    plain_flops = theory.plain_evaluation(lengths).flops(bench.shape)
    more = len(fixed) / len(fixed[::SHARE])
    per_query_flops = theory.evaluation(lengths, "per-query").flops(bench.shape)
    note = (f"baseline at its best batch size, {size}, on {len(fixed[::SHARE])} queries, scaled up; "
            "the products alone allow ")
    rows = [
        compared(f"evaluate, fixed shots, {what}, {bench.reference}", times, "fixed", "plain", 13,
                 f"{note}{plain_flops / flops:.1f}x at one rate", more),
        compared(f"evaluate, per-query shots, {bench.reference}", times, "per_query", "plain", 5.5,
                 f"{note}{plain_flops / per_query_flops:.1f}x at one rate", more),
    ]
    if half is None:
        rows.append(unmeasured(f"evaluate, fixed shots, bfloat16, against {bench.reference}", "30x"))
    else:
        allowed = plain_flops / flops * median(rates["bfloat16"]) / median(rates[bench.reference])
        rows.append(compared(f"evaluate, fixed shots, bfloat16, against {bench.reference}", times, "half", "plain", 30,
                             f"{note}{allowed:.0f}x at each dtype's rate", more))
    for dtype, way in ((bench.reference, "fixed"), *[("bfloat16", "half")] * (half is not None)):
        share = [flops / seconds / r for seconds, r in zip(times.seconds[way], rates[dtype], strict=True)]
        rows.append(Row(f"arithmetic rate of the fixed-shot evaluation, {dtype}", flops / times[way] / 1e9,
                        median(rates[dtype]) / 1e9, None, "60 % of the matrix product's rate" if way == "fixed" else "",
                        median(share) >= 0.6 if way == "fixed" else None,
                        f"{median(share):.0%} ({min(share):.0%} to {max(share):.0%})", "GFLOP/s"))
    for name, (peak,) in (("fixed", peak_fixed), ("per-query", peak_per_query)):
        rows.append(Row(f"peak memory of evaluation above the model's size, {name} shots", peak / 1e9, None, None,
                        "1.5 GB", peak < 1.5e9, "", "GB"))
    return rows


def boolq(bench: Bench) -> list[Row]:
    """BoolQ's lengths, beside a baseline that already reads both one-token options in one row."""
    lengths = bench.lengths(BOOLQ)
    prompts = make_prompts(lengths, bench.shape)
    model, network = bench.model(bench.reference), bench.network()
    few = prompts[::SHARE]
    pairs = pairs_of(few, bench.tokenizer)
    evaluate(model, prompts[:2])
    size = bench.best_batch_size(network, pairs, merge=True)
    times = bench.in_turns(plain=partial(baselines.loglikelihoods, network, pairs, size, True),
                           ours=partial(evaluate, model, prompts))
    return [compared(f"evaluate, BoolQ's lengths (5 x 150 + 150, two options of one token), fixed shots, "
                     f"{lengths.n_queries} queries", times, "ours", "plain", 5,
                     f"baseline with merged options at its best batch size, {size}, on {len(few)} queries, scaled up",
                     len(prompts) / len(few))]


def ffn_oracle(bench: Bench) -> list[Row]:
    """The FFN oracle, beside as many evaluations of our own."""
    lengths = bench.lengths(HELLASWAG)
    prompts, model = make_prompts(lengths, bench.shape), bench.model(bench.reference)
    evaluate(model, prompts[:2])
    times = bench.in_turns(once=partial(evaluate, model, prompts), ours=partial(ffn_importance, model, prompts))
    n = model.n_layers + 1
    allowed = n * theory.evaluation(lengths).flops(bench.shape) / theory.ffn_oracle(lengths, bench.shape)
    return [compared(f"FFN oracle, {model.n_layers} layers, fixed shots, {lengths.n_queries} queries", times, "ours",
                     "once", 1.8, f"against {n} evaluations of our own: one of the intact model, times {n}; the "
                     f"products alone allow {allowed:.2f}x", n)]


def importance(bench: Bench) -> list[Row]:
    """Head importance beside the study's procedure."""
    _of_opt(bench)
    lengths = bench.lengths(IMPORTANCE)
    prompts = make_prompts(lengths, bench.shape, "per-query")
    more = lengths.with_(n_queries=4 * lengths.n_queries)
    behind_fixed = make_prompts(more, bench.shape)
    model, half = bench.model(bench.reference), bench.model("bfloat16") if bench.has_bfloat16 else None
    network, golds = bench.network("eager"), pairs_of(prompts, bench.tokenizer)[::lengths.n_options]
    fused = bench.network("sdpa")
    our_importance(model, prompts[:1])
    in_half: dict[str, Callable[[], object]] = {}
    if half is not None:
        our_importance(half, prompts[:1])
        in_half["half"] = partial(our_importance, half, prompts)
    rates: list[float] = []
    times = bench.in_turns(
        rate=lambda: rates.append(matmul_rate(bench.reference, bench.device)),
        plain=partial(baselines.head_importance, network, golds),
        fused=partial(baselines.head_importance, fused, golds),
        ours=partial(our_importance, model, prompts), fixed=partial(our_importance, model, behind_fixed), **in_half,
    )
    width = lengths.prefix + lengths.question + lengths.option
    work = f"head importance, {width}-token prompts"
    note = "against the study's procedure with its own (eager) attention; with fused attention it takes " \
           f"{times['fused']:.2f} s, ratio "
    plain_flops, flops = theory.plain_importance(lengths, bench.shape), theory.importance(lengths, bench.shape)
    flops_fixed = theory.importance(more, bench.shape, "fixed")

    def at_rate(name: str, ours: int, plain: int) -> str:
        share = ours / times[name] / median(rates)
        return f"; the products alone allow {plain / ours:.1f}x at one rate; ours are formed at {share:.0%} of the " \
               "matrix product's"

    return [
        compared(f"{work}, {bench.reference}", times, "ours", "plain", 2.2,
                 f"{note}{times['fused'] / times['ours']:.2f}x{at_rate('ours', flops, plain_flops)}"),
        compared(f"{work}, bfloat16", times, "half", "plain", 5, f"{note}{times['fused'] / times['half']:.2f}x")
        if half is not None else unmeasured(f"{work}, bfloat16", "5x"),
        compared(f"{work}, fixed demonstrations, {bench.reference}", times, "fixed", "plain", 3.5,
                 f"{more.n_queries} prompts, the baseline's {lengths.n_queries} scaled up; with fused "
                 f"attention, ratio {4 * times['fused'] / times['fixed']:.2f}x"
                 f"{at_rate('fixed', flops_fixed, 4 * plain_flops)}", times_baseline=4),
    ]


def prefix_matching(bench: Bench) -> list[Row]:
    """Prefix matching over all seeds, beside the study's loops on three."""
    return _induction(bench, "prefix matching", our_prefix_matching, baselines.prefix_matching, 1, 4)


def copying(bench: Bench) -> list[Row]:
    """Copying over all seeds, beside the study's full softmax on three."""
    return _induction(bench, "copying", our_copying, baselines.copying, 4, 100)


def _of_opt(bench: Bench) -> None:
    """The study's own code knows OPT alone, and so do the baselines made after it."""
    if bench.shape.family != "opt":
        raise Skipped("The baseline is the study's code, which knows OPT alone. Choose --shape opt-125m.")


def _induction(
    bench: Bench, name: str, ours: Callable, plain: Callable, blocks: int, target: float
) -> list[Row]:
    _of_opt(bench)
    n_seeds = 10 if bench.quick else N_SEEDS
    model, network = bench.model(bench.reference), bench.network("eager")
    vocabulary, _ = random_vocabulary(model)
    lengths = block_lengths(n_seeds, bench.shape.max_positions // 4 - 1, "a context")
    tried = [0, n_seeds // 2, n_seeds - 1]
    draw = np.random.default_rng(0)
    texts = [[2, *draw.choice(vocabulary, blocks * lengths[seed], replace=False).tolist()] for seed in tried]

    def of_all(seconds: list[float]) -> float:
        """Seconds of all seeds, from three: the parabola through them."""
        parabola = np.polyfit([lengths[seed] for seed in tried], seconds, 2)
        return float(np.polyval(parabola, lengths).sum())

    ours(model, 2, "authors")
    times = bench.in_turns(
        ours=partial(ours, model, n_seeds, "authors"),
        **{f"plain {i}": partial(plain, network, text) for i, text in enumerate(texts)})
    times.seconds["plain"] = [of_all(list(three)) for three in
                              zip(*(times.seconds[f"plain {i}"] for i in range(len(texts))), strict=True)]
    each = ", ".join(f"{times[f'plain {i}']:.2f} s at {4 * lengths[seed] + 1} tokens" for i, seed in enumerate(tried))
    return [compared(f"{name}, authors' variant, {n_seeds} seeds, {bench.reference}", times, "ours", "plain", target,
                     f"the baseline ran {len(tried)} seeds ({each}); all {n_seeds} are the parabola through them")]


GROUPS: dict[str, Callable[[Bench], list[Row]]] = {
    "evaluation": evaluation, "boolq": boolq, "ffn-oracle": ffn_oracle, "importance": importance,
    "prefix-matching": prefix_matching, "copying": copying, "toggle": toggle, "precision": precision,
    "growth": growth, "growth-llama": growth_llama, "lengths": lengths, "lengths-llama": lengths_llama,
    "lengths-smollm2": lengths_smollm2, "live": live, "live-smollm2": live_smollm2, "large": large,
    "explorer": explorer, "classroom": classroom, "room": room,
}
