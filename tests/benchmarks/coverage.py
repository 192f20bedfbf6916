"""How many of the shown 95 % intervals hold the accuracy over many draws? `python -m tests.benchmarks.coverage`.

Of the bundled model, task by task: the accuracy over many draws is that of fresh demonstrations for every query, under
many seeds; each interval is of one setup as pages show it (100 queries, one draw or several), under another seed. Rows
are validation's in both, so what is judged is what an interval knows of draws.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch

from backend import stats
from backend.kinds.evaluation import evaluate
from backend.models.loading import load_model
from backend.tasks.mini import MINI
from backend.tasks.task import DRAWS, prompts

QUERIES = 100


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.coverage", description=__doc__)
    parser.add_argument("--seeds", type=int, default=40, help="intervals per task and way (default: %(default)s)")
    parser.add_argument("--shots", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model, rows = load_model("bundled"), []
    for name, task in MINI.items():
        def outcomes(way: str, seed: int, draws: int = 1, task=task) -> stats.Marks:  # type: ignore[no-untyped-def]
            return evaluate(model, prompts(task, chosen.shots, way, QUERIES, seed, draws=draws))[0].marks()

        began = time.process_time()
        truth = float(np.mean([outcomes("per-query", 1000 + seed).right.mean() for seed in range(chosen.seeds)]))
        seconds = {"per-query": time.process_time() - began}
        row: dict[str, object] = {"task": name, "accuracy": truth}
        for draws in (1, DRAWS):
            began = time.process_time()
            marks = [outcomes("fixed", seed, draws) for seed in range(chosen.seeds)]
            seconds[str(draws)] = time.process_time() - began
            found = [stats.accuracy_interval(one) for one in marks]
            row[f"held, {draws}"] = float(np.mean([low <= truth <= high for low, high in found]))
            row[f"width, {draws}"] = float(np.mean([high - low for low, high in found]))
            row[f"lowest, {draws}"], row[f"highest, {draws}"] = (
                float(f([one.right.mean() for one in marks])) for f in (min, max))
        row["cost of draws"] = seconds[str(DRAWS)] / seconds["1"]
        row["cost of per-query"] = seconds["per-query"] / seconds["1"]
        rows.append(row)
        print(row, flush=True)
    table = pd.DataFrame(rows)
    print(table.to_string(float_format="{:.3f}".format))
    print(table.drop(columns=["task"]).mean().to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
