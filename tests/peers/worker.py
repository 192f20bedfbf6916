"""One tool, its model loaded, that scores questions whenever it is told to: what `speed.py` times, in its own process.

    PYTHON -m tests.peers.worker TOOL --model FOLDER --threads 2

TOOL is `headroom`, `lm-eval` or `transformer-lens`; PYTHON is that of its environment. It reads one JSON object a line
and answers each with one: {"do": "score", "rows": [...]} with seconds and log-likelihoods in nats, {"do": "product"}
with the FLOPs per second of a 2048 x 2048 x 2048 product. A row is a question with its demonstrations, as text.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]  # "demos", "question", "options", "gold": a question behind its demonstrations
Scores = list[list[float]]  # per row and option, in nats
JOIN = " "  # between demonstrations; llama.cpp reads a question with all that stands before it as one line
SIDE, PRODUCTS = 2048, 8
BATCH_SIZES = (1, 2, 4)  # of lm-evaluation-harness, which gets the best of them


def text(row: Row) -> str:
    """All that stands before the options."""
    return "".join(demo + JOIN for demo in row["demos"]) + str(row["question"])


def headroom(folder: str) -> Callable[[list[Row]], Scores]:
    """Headroom's evaluation, prompts made ready anew every time."""
    import backend.tasks.task as tasks
    from backend.kinds.evaluation import evaluate
    from backend.models.loading import load_model

    tasks.SEPARATOR = JOIN
    model = load_model(folder, device="cpu", dtype="float32")

    def prompt(number: int, row: Row) -> tasks.Prompt:
        options = tuple(row["options"])  # each behind its blank
        example = tasks.Example((row["question"],) * len(options), options, (row["gold"],),
                                row["question"] + options[row["gold"]], keeps_blanks=True)
        return tasks.Prompt(example, tuple(row["demos"]), number)

    def score(rows: list[Row]) -> Scores:
        if not rows:
            return []
        answers = evaluate(model, [prompt(number, row) for number, row in enumerate(rows)])[0]
        if any(answers.questions.dropped_demos) or answers.questions.skipped:
            raise SystemExit("A question does not fit the model with all its demonstrations.")
        return [list(row) for row in answers.loglikelihoods]

    return score


def lm_eval(folder: str) -> Callable[[list[Row]], Scores]:
    """lm-evaluation-harness's own model class, at the batch size that is fastest on the four options of a question."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=folder, dtype="float32", device="cpu", batch_size=1)
    chosen: list[int] = []

    def at(size: int, rows: list[Row]) -> Scores:
        model.batch_size_per_gpu = size
        asked = [Instance("loglikelihood", {}, (text(row), option), 0) for row in rows for option in row["options"]]
        found = iter(model.loglikelihood(asked, disable_tqdm=True))
        return [[float(next(found)[0]) for _ in row["options"]] for row in rows]

    def score(rows: list[Row]) -> Scores:
        if not chosen:
            chosen.append(fastest(lambda size: at(size, rows[:1]), BATCH_SIZES))
        return at(chosen[0], rows)

    return score


def transformer_lens(folder: str) -> Callable[[list[Row]], Scores]:
    """TransformerLens's bridge as its users loop: every option read whole, the logits of all its positions."""
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(folder, device="cpu", dtype=torch.float32)

    @torch.inference_mode()
    def one(context: str, option: str) -> float:
        ids = model.to_tokens(context + option, prepend_bos=False)
        n_context = model.to_tokens(context, prepend_bos=False).shape[1]
        scores = model(ids, return_type="logits")[0, :-1].log_softmax(-1)
        return float(scores.gather(1, ids[0, 1:, None])[n_context - 1:].sum())

    def score(rows: list[Row]) -> Scores:
        return [[one(text(row), option) for option in row["options"]] for row in rows]

    return score


def fastest(way: Callable[[int], object], sizes: Sequence[int]) -> int:
    """The size that takes least time, the first tried once before it counts."""
    def seconds(size: int) -> float:
        began = time.perf_counter()
        way(size)
        return time.perf_counter() - began

    seconds(sizes[0])
    best = min(sizes, key=seconds)
    print(f"fastest in batches of {best}", file=sys.stderr)
    return best


TOOLS = {"headroom": headroom, "lm-eval": lm_eval, "transformer-lens": transformer_lens}


def product() -> float:
    """FLOPs per second of torch's own product, the mean over some of them in a row."""
    import torch

    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    with torch.inference_mode():
        a @ b
        began = time.perf_counter()
        for _ in range(PRODUCTS):
            a @ b
    return 2 * SIDE**3 * PRODUCTS / (time.perf_counter() - began)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m tests.peers.worker", description=__doc__)
    parser.add_argument("tool", choices=list(TOOLS))
    parser.add_argument("--model", required=True, help="folder of SmolLM2-135M")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(arguments)
    answers = os.fdopen(os.dup(1), "w")  # whatever libraries print goes elsewhere
    os.dup2(2, 1)
    os.environ.update(OMP_NUM_THREADS=str(chosen.threads), HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

    import torch

    torch.set_num_threads(chosen.threads)
    score = TOOLS[chosen.tool](chosen.model)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "product":
            print(json.dumps({"flops": product()}), file=answers, flush=True)
            continue
        wall, processor = time.perf_counter(), time.process_time()
        found = score(asked["rows"])
        print(json.dumps({"wall": time.perf_counter() - wall, "processor": time.process_time() - processor,
                          "loglikelihoods": found}), file=answers, flush=True)


if __name__ == "__main__":
    main()
