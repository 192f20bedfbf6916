"""`python -m tests.benchmarks`: run the benchmark, print its table, write its figures."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks import measuring
from tests.benchmarks.rows import GROUPS, Bench
from tests.benchmarks.workloads import SHAPES

MEASURED = Path(__file__).with_name("measured.json")


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"parts to run; all unless named: {', '.join(GROUPS)}")
    parser.add_argument("--only", nargs="+", dest="more", default=[], metavar="NAME", help="the same")
    parser.add_argument("--repeat", type=int, default=5, help="how often each way runs; medians are printed")
    parser.add_argument("--quick", action="store_true", help="little work, once: to see that it runs")
    parser.add_argument("--shape", choices=list(SHAPES), default="opt-125m", help="sizes of the random model")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda (not measured: no GPU was at hand)")
    parser.add_argument("--threads", type=int, help="of the processor; torch's own choice by default")
    parser.add_argument("--clock", choices=list(measuring.CLOCKS), default="wall",
                        help="processor: seconds of processor time, for a machine that is busy otherwise")
    parser.add_argument("--out", type=Path, default=MEASURED, help="JSON file; parts that are not run stay in it")
    chosen = parser.parse_args()
    if unknown := {*chosen.only, *chosen.more} - set(GROUPS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}. Known: {', '.join(GROUPS)}")
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    measuring.clock = chosen.clock
    bench = Bench(SHAPES[chosen.shape], chosen.device, 1 if chosen.quick else chosen.repeat, chosen.quick)
    found: dict[str, Any] = {}
    if chosen.out.is_file() and not chosen.quick:
        found = json.loads(chosen.out.read_text())["parts"]
    for name in [*chosen.only, *chosen.more] or GROUPS:
        began, load = time.time(), os.getloadavg()[0]
        try:
            rows = GROUPS[name](bench)
        except measuring.Skipped as why:
            print(f"\n{name} was not measured: {why}", flush=True)
            continue
        found[name] = {"seconds": round(time.time() - began), "load_before": load, "repeats": bench.repeat,
                       "clock": chosen.clock, "threads": torch.get_num_threads(),
                       "rows": [asdict(row) for row in rows]}
        print(f"\n{name} (load of the machine before: {load:.1f}; {found[name]['seconds']} s)\n", flush=True)
        print(measuring.table(rows) if rows else "not measured: there is no bundled model", flush=True)
        if not chosen.quick:
            chosen.out.write_text(json.dumps({"shape": chosen.shape, "machine": measuring.machine(chosen.device),
                                              "parts": found}, indent=1, ensure_ascii=False) + "\n")
    missed = [row["work"] for part in found.values() for row in part["rows"] if row["met"] is False]
    print(f"\n{len(missed)} targets missed" + (": " + "; ".join(missed) if missed else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
