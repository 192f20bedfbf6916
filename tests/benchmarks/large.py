"""How much memory a model of 1.5 B parameters takes: evaluated in float32 in a process of its own.

    python -m tests.benchmarks.large --shape llama-1.5b --queries 4

Prints one JSON object. Random weights: memory and products are those of a trained model.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from backend.kinds.evaluation import evaluate
from backend.machine import free_memory
from tests.benchmarks import theory
from tests.benchmarks.measuring import Row, Skipped, peak_memory
from tests.benchmarks.workloads import HELLASWAG, SHAPES, make_prompts, random_model

if TYPE_CHECKING:
    from tests.benchmarks.rows import Bench

LIMIT = 24 * 2**30  # bytes that the process may hold
QUERIES = 4


def large(bench: Bench) -> list[Row]:
    """A Llama shape of 1.5 B parameters, fixed and per-query shots, in processes of their own."""
    shape = "llama-1.5b" if bench.shape != SHAPES["tiny"] else "tiny-llama"
    weights = SHAPES[shape].bytes
    free = free_memory()
    if free < 1.5 * weights:
        raise Skipped(f"{shape} takes {weights / 1e9:.1f} GB and half as much to be read with; {free / 1e9:.1f} GB "
                      "are free.")
    rows = []
    for demos in ("fixed", "per-query"):
        command = [sys.executable, "-m", "tests.benchmarks.large", "--shape", shape, "--demos", demos,
                   "--queries", str(2 if bench.quick else QUERIES)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append(Row(f"{shape}, 5 shots {demos}, {found['queries']} queries of HellaSwag's lengths: memory of the "
                        "process at most", found["peak"] / 2**30, found["weights"] / 2**30, None,
                        f"{LIMIT / 2**30:.0f} GiB", found["peak"] <= LIMIT, "", "GiB", "the baseline is the weights",
                        figures={"seconds": found["seconds"], "GFLOP": found["flops"] / 1e9,
                                 "GFLOP/s": found["flops"] / found["seconds"] / 1e9,
                                 "of evaluating, above the loaded model, MB": found["evaluating"] / 1e6}))
    return rows


def measured(shape: str, demos: str, queries: int) -> dict[str, Any]:
    """Evaluate once. Sizes in bytes; `peak` is of the whole process, from its start."""
    lengths = HELLASWAG.with_(n_queries=queries)
    model, prompts = random_model(SHAPES[shape]), make_prompts(lengths, SHAPES[shape], demos)
    with peak_memory() as evaluating:
        began = time.perf_counter()
        evaluate(model, prompts)
        seconds = time.perf_counter() - began
    return {"shape": shape, "demos": demos, "queries": queries, "seconds": seconds,
            "flops": theory.evaluation(lengths, demos).flops(SHAPES[shape]), "weights": SHAPES[shape].bytes,
            "peak": _held(), "evaluating": evaluating[0]}


def _held() -> int:
    """Resident memory of this process at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.large", description=__doc__)
    parser.add_argument("--shape", choices=list(SHAPES), default="llama-1.5b")
    parser.add_argument("--demos", choices=["fixed", "per-query"], default="fixed")
    parser.add_argument("--queries", type=int, default=QUERIES)
    chosen = parser.parse_args()
    print(json.dumps(measured(chosen.shape, chosen.demos, chosen.queries)))


if __name__ == "__main__":
    main()
