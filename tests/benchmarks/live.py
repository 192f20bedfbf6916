"""A toggle on a real model's shape: SmolLM2-135M with random weights, one task of 40 queries behind 5 shots."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from backend.engine import passes
from backend.kinds.evaluation import evaluate
from backend.models.loading import DTYPES, LoadedModel, prepare
from backend.values import INTACT, Ablation, Head
from tests.benchmarks.measuring import Row
from tests.benchmarks.workloads import Lengths, Numbers, Shape, make_prompts

if TYPE_CHECKING:
    from tests.benchmarks.rows import Bench

SMOLLM = Shape(30, 9, 576, vocab_size=49_152)
N_KV_HEADS, D_FFN = 3, 1536
SHORT = Lengths(n_queries=40, demo=20, question=15, n_options=2, option=8)  # about COPA's
LONG = Lengths(n_queries=40)  # HellaSwag's


def smollm(device: str = "cpu", seed: int = 0) -> LoadedModel:
    """The model, made ready for the engine; the same seed gives the same weights."""
    torch.manual_seed(seed)
    network = LlamaForCausalLM(LlamaConfig(
        vocab_size=SMOLLM.vocab_size, hidden_size=SMOLLM.d_model, intermediate_size=D_FFN,
        num_hidden_layers=SMOLLM.n_layers, num_attention_heads=SMOLLM.n_heads, num_key_value_heads=N_KV_HEADS,
        max_position_embeddings=SMOLLM.max_positions, tie_word_embeddings=True))
    return prepare(network.eval().to(device, DTYPES["float32"]), Numbers(SMOLLM.vocab_size), "random", "0", "float32")


def live(bench: Bench) -> list[Row]:
    """Heads of the upper half switched off, one after the other, beside the intact model read whole."""
    model = smollm(bench.device)
    return [_toggle(bench, model, "COPA's lengths", SHORT, 1.0), _toggle(bench, model, "HellaSwag's lengths", LONG)]


def _toggle(bench: Bench, model: LoadedModel, name: str, lengths: Lengths, limit: float | None = None) -> Row:
    prompts = make_prompts(bench.lengths(lengths), SMOLLM)
    ready = passes.prepare(model, prompts, "acc")
    evaluate(model, ready, [INTACT])
    masks = iter([Ablation(frozenset({Head(layer, head)})) for head in range(SMOLLM.n_heads)
                  for layer in range(SMOLLM.n_layers // 2, SMOLLM.n_layers)])
    first: list[float] = []  # seconds to the first number

    def toggled() -> None:
        began, said = time.perf_counter(), list[float]()
        evaluate(model, ready, [next(masks)], so_far=lambda *_: said.append(time.perf_counter() - began))
        first.append(min(said, default=time.perf_counter() - began))

    times = bench.in_turns(whole=partial(evaluate, model, prompts), toggle=toggled)
    each = times.seconds["toggle"]
    kept = f"{ready.state_bytes / 2**20:.0f} MiB of states kept" if ready.state_bytes else "no states kept"
    return Row(f"a head of the upper half off, {len(prompts)} queries of {name}, 135 M parameters", times["toggle"],
               times["whole"], times["whole"] / times["toggle"], f"about {limit:g} s" if limit else "",
               times["toggle"] < 1.3 * limit if limit else None, f"{min(each):.2f} to {max(each):.2f} s",
               note=f"the baseline is the intact model, read whole; {kept}; the first number after {min(first):.2f} s "
                    "of wall time at best")
