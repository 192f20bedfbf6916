"""`python -m tests.benchmarks.streamed`: the first layers of a model of OPT-66B's shape, read from the disk.

No weights of OPT are needed: they are random, in bfloat16, one file per layer (2 GB at the true shape). They repeat
four million numbers, drawn once, so that drawing takes no longer than writing. The model goes the product's own way:
`load_model` with `--device-map auto` and so little room in memory that layers stay on the disk. Then two questions are
answered, intact and with one FFN off, and head importance is taken of one example. Peak memory is that of this process:
what it made, and that together with pages of mapped files.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import OPTConfig, OPTForCausalLM

from backend.kinds.evaluation import evaluate
from backend.kinds.head_importance import head_importance
from backend.machine import size
from backend.models.loading import load_model
from backend.models.offloaded import is_offloaded
from backend.tasks.task import Prompt, multiple_choice
from backend.values import INTACT, Ablation
from tests.models.small import small_tokenizer

OPT_66B = {"num_attention_heads": 72, "hidden_size": 9216, "ffn_dim": 36864, "word_embed_proj_dim": 9216,
           "max_position_embeddings": 2048, "vocab_size": 50272}
SMALL = {"num_attention_heads": 4, "hidden_size": 64, "ffn_dim": 256, "word_embed_proj_dim": 64,
         "max_position_embeddings": 256, "vocab_size": 400}
QUESTIONS = [multiple_choice("Question: the cat sat on the?\nAnswer:", ["mat", "dog"], 0),
             multiple_choice("Question: is red a colour?\nAnswer:", ["yes", "no"], 0)]
PREFIX = "model.decoder.layers."


def write(folder: Path, n_layers: int, shape: dict[str, int]) -> int:
    """A model of random weights, a file per layer and one for the rest; the bytes of one layer."""
    config = OPTConfig(num_hidden_layers=n_layers, bos_token_id=0, eos_token_id=1, pad_token_id=1, dtype="bfloat16",
                       architectures=["OPTForCausalLM"], **shape)
    with torch.device("meta"):
        shapes = {name: p.shape for name, p in OPTForCausalLM(config).named_parameters()}
    drawn = (torch.randn(2**22, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()

    def fill(name: str, of: torch.Size) -> torch.Tensor:
        if "norm" in name:
            return torch.full(of, float(name.endswith("weight")), dtype=torch.bfloat16)
        first = sum(map(ord, name.split(".", 4)[-1])) % 1000  # another beginning for each matrix
        return drawn.roll(first).repeat(-(-of.numel() // len(drawn)))[:of.numel()].reshape(of).contiguous()

    index, of_layer = {}, 0
    folder.mkdir(parents=True, exist_ok=True)
    for layer in [*range(n_layers), None]:
        mine = {name: of for name, of in shapes.items() if (
            not name.startswith(PREFIX) if layer is None else name.startswith(f"{PREFIX}{layer}."))}
        file = "rest.safetensors" if layer is None else f"layer-{layer}.safetensors"
        save_file({name: fill(name, of) for name, of in mine.items()}, folder / file, {"format": "pt"})
        index |= dict.fromkeys(mine, file)
        of_layer = of_layer or (folder / file).stat().st_size
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config.save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return of_layer


class Peak:
    """The most memory of this process while the block runs, in bytes: what it made, and with mapped files."""

    def __enter__(self) -> Peak:
        self.before = self.most = self._now()
        self._going = True
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._going = False
        self._watcher.join()

    def _watch(self) -> None:
        while self._going:
            made, together = self._now()
            self.most = max(self.most[0], made), max(self.most[1], together)
            time.sleep(0.01)

    @staticmethod
    def _now() -> tuple[int, int]:
        with suppress(OSError):  # only Linux tells
            rows = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
            made, mapped = (int(rows[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
            return made, made + mapped
        return 0, 0


@dataclass(frozen=True)
class Found:
    """What was measured of one step."""

    what: str
    seconds: float
    made: int  # bytes that the process held at most
    together: int  # and with pages of mapped files


def run(folder: Path, room: int) -> tuple[list[Found], Any]:
    """Load, answer, switch off and take gradients; the layers that do not fit into `room` bytes stay on the disk."""
    prompts = [Prompt(question, (), i) for i, question in enumerate(QUESTIONS)]
    found: list[Found] = []

    def step(what: str, do: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        with Peak() as peak:
            result = do()
        found.append(Found(what, time.perf_counter() - began, *peak.most))
        print(f"{what:40} {found[-1].seconds:8.1f} s, at most {size(found[-1].made)} made, "
              f"{size(found[-1].together)} with mapped files", flush=True)
        return result

    model = step("loading, and the proof at load", lambda: load_model(
        str(folder), dtype="bfloat16", device_map="auto", max_memory={"cpu": room}))
    away = [layer for layer, module in model.attn_outs.items() if is_offloaded(module)]
    print(f"{len(away)} of {model.n_layers} layers stay on the disk. {model.proof}", flush=True)
    (intact,) = step("two questions", lambda: evaluate(model, prompts))
    (without,) = step("two questions, F1 off", lambda: evaluate(model, prompts, [Ablation(ffns=frozenset({1}))]))
    importance = step("head importance of one example", lambda: head_importance(model, prompts[:1]))
    assert np.isfinite(intact.gold()).all()
    assert not np.array_equal(intact.gold(), without.gold())
    assert (importance.scores() > 0).all()
    assert evaluate(model, prompts, [INTACT])[0] == intact
    return found, model


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.streamed", description=__doc__)
    parser.add_argument("--layers", type=int, default=4, help="how many of the 64 (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where 2 GB a layer are written, and left (default: a folder of "
                        "its own, deleted at the end)")
    parser.add_argument("--small", action="store_true", help="a tiny shape: to see that it runs")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="streamed-"))
    try:
        began = time.perf_counter()
        of_layer = write(folder, chosen.layers, SMALL if chosen.small else OPT_66B)
        print(f"written: {chosen.layers} layers of {size(of_layer)}, {time.perf_counter() - began:.0f} s", flush=True)
        run(folder, int((folder / "rest.safetensors").stat().st_size + 1.2 * of_layer))
    finally:
        if not chosen.folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
