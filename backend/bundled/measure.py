"""What the model card states, measured: `python -m backend.bundled.measure [folder] [split]`.

Small and fast on purpose: every option of a mini task is one token, so one pass over a prompt's
context scores all its options.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import OPTForCausalLM

from backend.bundled import corpus
from backend.bundled.train import HERE, forward
from backend.tasks.mini import MINI
from backend.tasks.task import Prompt, Split, Task, prompts
from backend.values import Head

GROUPS = ("knowledge", "reasoning", "in-context")
IDS = {word: i for i, word in enumerate(corpus.vocabulary())}


def load(folder: Path = HERE) -> OPTForCausalLM:
    return OPTForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()


def encode(text: str) -> list[int]:
    return [IDS[corpus.BOS], *(IDS[word] for word in corpus.split_tokens(text))]


def read(model: OPTForCausalLM, rows: Sequence[list[int]], gates: Tensor | None = None,
         patterns: list[Tensor] | None = None, outputs: list[Tensor] | None = None) -> Tensor:
    """Logits after each row's last token: (row, vocabulary). Rows are padded on the right."""
    length = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.full((length, length), -torch.inf).triu(1)[None, None]
    pos = torch.arange(length).expand_as(tokens)
    hidden = forward(model, tokens, pos, mask, gates, patterns, outputs)
    last = hidden[torch.arange(len(rows)), torch.tensor([len(row) - 1 for row in rows])]
    return last @ model.lm_head.weight.T


def batches(all_prompts: Iterable[Prompt], size: int = 40) -> Iterable[tuple[list[Prompt], list[list[int]]]]:
    """Prompts of similar length together, as tokens up to the answer."""
    encoded = [(encode(p.prefix + p.example.contexts[0]), p) for p in all_prompts]
    encoded.sort(key=lambda pair: len(pair[0]))
    for i in range(0, len(encoded), size):
        rows, chosen = zip(*encoded[i : i + size], strict=True)
        yield list(chosen), list(rows)


@torch.no_grad()
def correct(model: OPTForCausalLM, all_prompts: Iterable[Prompt], gates: Tensor | None = None) -> float:
    """The share of prompts whose gold option is the likeliest."""
    hits = []
    for chosen, rows in batches(all_prompts):
        for prompt, logits in zip(chosen, read(model, rows, gates), strict=True):
            options = [encode(option)[1:] for option in prompt.example.options]
            assert all(len(option) == 1 for option in options), "an option of several tokens"
            hits.append(int(logits[[option[0] for option in options]].argmax()) in prompt.example.gold)
    return float(np.mean(hits))


def accuracies(model: OPTForCausalLM, n_shots: int, split: Split = "validation", gates: Tensor | None = None,
               tasks: Mapping[str, Task] = MINI, n_examples: int | None = None) -> dict[str, float]:
    return {name: correct(model, prompts(task, n_shots, n_examples=n_examples, split=split), gates)
            for name, task in tasks.items()}


def mean(scores: Mapping[str, float], group: str | None = None, tasks: Mapping[str, Task] = MINI) -> float:
    return float(np.mean([score for name, score in scores.items() if group in (None, tasks[name].group)]))


@torch.no_grad()
def prefix_matching(model: OPTForCausalLM, n_seeds: int = 16) -> np.ndarray:
    """(n_layers, n_heads): attention from repeated random tokens to what followed them before.

    A block of 25 to 55 random words four times over, BOS in front; exact targets, mean over the
    positions of repeats 2 to 4 and over seeds. Source: Olsson et al. 2022; Bansal et al. 2023.
    """
    total = np.zeros((model.config.num_hidden_layers, model.config.num_attention_heads))
    for seed in range(n_seeds):
        n = 25 + 2 * seed
        block = random.Random(seed).sample(range(len(corpus.SPECIAL), len(IDS)), n)
        patterns: list[Tensor] = []
        read(model, [[IDS[corpus.BOS], *block * 4]], patterns=patterns)
        scores = np.zeros_like(total)
        for layer, pattern in enumerate(patterns):
            for j in range(n + 1, 4 * n + 1):
                targets = [k + 1 for k in range(j - n, 0, -n)]
                scores[layer] += pattern[0, :, j, targets].sum(-1).numpy()
        total += scores / (3 * n)
    return total / n_seeds


def importance(model: OPTForCausalLM, all_prompts: Sequence[Prompt]) -> np.ndarray:
    """(n_layers, n_heads): sum over prompts and pos of |z dL/dz|, L the loss of the gold answer."""
    n_layers, n_heads = model.config.num_hidden_layers, model.config.num_attention_heads
    total = np.zeros((n_layers, n_heads))
    for chosen, rows in batches(all_prompts):
        outputs: list[Tensor] = []
        with torch.enable_grad():
            logits = read(model, rows, outputs=outputs)
            gold = torch.tensor([encode(p.example.options[p.example.gold[0]])[1] for p in chosen])
            torch.nn.functional.cross_entropy(logits, gold, reduction="sum").backward()
        model.zero_grad()
        for layer, z in enumerate(outputs):  # z: (batch, n_heads, pos, d_head)
            assert z.grad is not None
            total[layer] += (z * z.grad).sum(-1).abs().sum((0, 2)).detach().numpy()
    return total


def without(model: OPTForCausalLM, heads: Iterable[Head]) -> Tensor:
    """Gates that shut these heads: (1, n_layers, n_heads)."""
    gates = torch.ones(1, model.config.num_hidden_layers, model.config.num_attention_heads)
    for head in heads:
        gates[0, head.layer, head.head] = 0
    return gates


def random_heads(model: OPTForCausalLM, heads: Sequence[Head], seed: int) -> list[Head]:
    """As many other heads from layers 1 and up: layer 0 is left out, because everything needs it."""
    others = [Head(layer, head) for layer in range(1, model.config.num_hidden_layers)
              for head in range(model.config.num_attention_heads) if Head(layer, head) not in heads]
    return random.Random(seed).sample(others, len(heads))


def induction_heads(scores: np.ndarray, at_least: float = 0.3) -> list[Head]:
    return [Head(int(layer), int(head)) for layer, head in np.argwhere(scores >= at_least)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    parser.add_argument("split", nargs="?", default="validation")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--draws", type=int, default=20)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    from backend.tasks.mini import CANDIDATES

    model = load(args.folder)
    shots = (0, 1, 5, 10)
    table = {n: accuracies(model, n, args.split, tasks=CANDIDATES) for n in shots}
    print("| task | group | chance | 0 shots | 1 | 5 | 10 |\n|---|---|---|---|---|---|---|")
    for name, task in CANDIDATES.items():
        print(f"| {name} | {task.group} | {100 * task.chance:.1f} | "
              + " | ".join(f"{100 * table[n][name]:.1f}" for n in shots) + " |")
    for group in GROUPS:
        chance = np.mean([t.chance for t in MINI.values() if t.group == group])  # type: ignore[attr-defined]
        print(f"| **mean** | {group} | {100 * chance:.1f} | " + " | ".join(
            f"{100 * mean({k: table[n][k] for k in MINI}, group):.1f}" for n in shots) + " |")
    scores = prefix_matching(model)
    print("\nprefix matching\n", scores.round(2))
    heads = induction_heads(scores)
    print(f"{(scores >= 0.4).sum()} heads of 0.4 or more, {(scores >= 0.3).sum()} of 0.3 or more, "
          f"{(scores < 0.1).sum()} of {scores.size} below 0.1")
    in_context = {name: task for name, task in MINI.items() if task.group == "in-context"}
    knowledge = {name: task for name, task in MINI.items() if task.group == "knowledge"}
    intact = mean(accuracies(model, 5, args.split, tasks=in_context))
    gone = mean(accuracies(model, 5, args.split, without(model, heads), in_context))
    draws = [mean(accuracies(model, 5, args.split, without(model, random_heads(model, heads, seed)), in_context))
             for seed in range(args.draws)]
    print(f"in-context, 5 shots: intact {intact:.3f}, without induction heads {gone:.3f}, "
          f"without as many others {np.mean(draws):.3f} (sd {np.std(draws):.3f})")
    print(f"knowledge, 0 shots: intact {mean(accuracies(model, 0, args.split, tasks=knowledge)):.3f}, without "
          f"{mean(accuracies(model, 0, args.split, without(model, heads), knowledge)):.3f}")
    ranking = ranked(model)
    for share in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
        pruned = ranking[: round(share * len(ranking))]
        print(f"without the {share:.0%} least important heads: average at 5 shots "
              f"{mean(accuracies(model, 5, args.split, without(model, pruned))):.3f}")


def ranked(model: OPTForCausalLM, n_examples: int = 40) -> list[Head]:
    """All heads, least important first: mean over tasks of their importance at 5 shots on training prompts."""
    total = sum(importance(model, prompts(task, 5, n_examples=n_examples, split="train")) for task in MINI.values())
    order = np.argsort(total, axis=None, kind="stable")
    return [Head(int(i) // model.config.num_attention_heads, int(i) % model.config.num_attention_heads) for i in order]


if __name__ == "__main__":
    main()
