"""What the model card states, measured and printed as Markdown: `python -m backend.bundled.measure [folder] [split]`.

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

from ..tasks.mini import MINI
from ..tasks.task import Prompt, Split, Task, prompts
from ..values import Head
from . import checkpoints, corpus
from .train import HERE, forward

GROUPS = ("knowledge", "reasoning", "in-context")
SHOTS = (0, 1, 5, 10)
IDS = {word: i for i, word in enumerate(corpus.vocabulary())}


def load(folder: Path = HERE) -> OPTForCausalLM:
    model: OPTForCausalLM = OPTForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    return model


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
    logits: Tensor = last @ model.lm_head.weight.T
    return logits


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


@torch.no_grad()
def written(model: OPTForCausalLM, n_examples: int = 10) -> np.ndarray:
    """(n_layers, n_heads): each head's share of what the heads of its layer write to the residual stream.

    The norm of the head's columns of the output projection times its z, summed over all positions of training prompts
    of every task at 5 shots, over the same sum for all heads of its layer.
    """
    n_layers, n_heads = model.config.num_hidden_layers, model.config.num_attention_heads
    total = np.zeros((n_layers, n_heads))
    for task in MINI.values():
        for _, rows in batches(prompts(task, 5, n_examples=n_examples, split="train")):
            outputs: list[Tensor] = []
            read(model, rows, outputs=outputs)
            real = torch.arange(max(map(len, rows))) < torch.tensor([len(row) for row in rows])[:, None]  # (batch, pos)
            for layer, z in enumerate(outputs):  # z: (batch, n_heads, pos, d_head)
                columns = model.model.decoder.layers[layer].self_attn.out_proj.weight  # (d_model, n_heads * d_head)
                adds = torch.einsum("bhpd,mhd->bhpm", z, columns.reshape(len(columns), n_heads, -1))
                total[layer] += (adds.norm(dim=-1) * real[:, None]).sum((0, 2)).numpy()
    return np.asarray(total / total.sum(1, keepdims=True))


def dead_heads(shares: np.ndarray) -> list[Head]:
    """Heads whose share of what their layer writes is below 1 % of the median head's."""
    return [Head(int(layer), int(head)) for layer, head in np.argwhere(shares < 0.01 * np.median(shares))]


def random_heads(
    model: OPTForCausalLM, n: int, seed: int, but: Iterable[Head] = (), first_layer: int = 0,
) -> list[Head]:
    """`n` heads, none of them in `but`, from `first_layer` and up."""
    out = set(but)
    others = [Head(layer, head) for layer in range(first_layer, model.config.num_hidden_layers)
              for head in range(model.config.num_attention_heads) if Head(layer, head) not in out]
    return random.Random(seed).sample(others, n)


def induction_heads(scores: np.ndarray, at_least: float = 0.3) -> list[Head]:
    return [Head(int(layer), int(head)) for layer, head in np.argwhere(scores >= at_least)]


def named(heads: Iterable[Head]) -> str:
    return ", ".join(map(str, sorted(heads))) or "none"


def accuracy_table(table: Mapping[int, Mapping[str, float]]) -> str:
    """Accuracy in % of every task and of every group's mean, a column for each number of shots."""
    lines = ["| task | group | chance | " + " | ".join(f"{n} shots" if n != 1 else "1 shot" for n in table) + " |",
             "|---" * (3 + len(table)) + "|"]
    for name, task in MINI.items():
        lines.append(f"| {name} | {task.group} | {100 * task.chance:.1f} | "  # type: ignore[attr-defined]
                     + " | ".join(f"{100 * scores[name]:.1f}" for scores in table.values()) + " |")
    for group in GROUPS:
        chance = np.mean([t.chance for t in MINI.values() if t.group == group])  # type: ignore[attr-defined]
        lines.append(f"| **mean** | {group} | {100 * chance:.1f} | "
                     + " | ".join(f"{100 * mean(scores, group):.1f}" for scores in table.values()) + " |")
    return "\n".join(lines)


def head_table(scores: np.ndarray) -> str:
    """A number for every head: layers down, heads across."""
    n = scores.shape[1]
    return "\n".join(["| | " + " | ".join(f"H{head}" for head in range(n)) + " |", "|---" * (n + 1) + "|"] + [
        f"| L{layer} | " + " | ".join(f"{score:.2f}" for score in row) + " |" for layer, row in enumerate(scores)])


def checkpoint_table(folder: Path, split: Split) -> str:
    """Of each checkpoint: tokens, losses, prefix matching, and how far demonstrations help in context."""
    lines = ["| step | M tokens | loss: answers | repeats | induction heads | highest prefix matching | in-context, "
             "0 shots | 5 shots |", "|---" * 8 + "|"]
    in_context = {name: task for name, task in MINI.items() if task.group == "in-context"}
    for one in checkpoints.known(folder):
        if (folder / one.name).is_dir():
            model = load(folder / one.name)
            scores = prefix_matching(model)
            zero, five = (100 * mean(accuracies(model, n, split, tasks=in_context)) for n in (0, 5))
            lines.append(f"| {one.step} | {one.tokens / 1e6:.1f} | {one.answers:.2f} | {one.repeats:.2f} | "
                         f"{len(induction_heads(scores))} | {scores.max():.2f} | {zero:.1f} | {five:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    parser.add_argument("split", nargs="?", default="validation")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--checkpoints", action="store_true", help="a table of the checkpoints in this folder, no more")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.checkpoints:
        print(checkpoint_table(args.folder, args.split))
        return
    model = load(args.folder)
    print(f"Accuracy in % on the {args.split} split:\n")
    print(accuracy_table({n: accuracies(model, n, args.split) for n in SHOTS}), flush=True)
    scores, shares = prefix_matching(model), written(model)
    dead, heads = dead_heads(shares), induction_heads(scores)
    print(f"\nPrefix matching:\n\n{head_table(scores)}\n")
    print(f"- Induction heads (0.3 or more): {len(heads)} of {scores.size}: {named(heads)}; "
          f"{(scores < 0.1).sum()} are below 0.1.")
    print(f"- Dead heads: {len(dead)}: {named(dead)}. The smallest share of what a layer's heads write "
          f"is {100 * shares.min():.2f} %, {100 * shares.min() / np.median(shares):.0f} % of the median head's.",
          flush=True)
    in_context = {name: task for name, task in MINI.items() if task.group == "in-context"}
    knowledge = {name: task for name, task in MINI.items() if task.group == "knowledge"}
    for tasks, n_shots, what in ((in_context, 5, "In-context tasks at 5 shots"), (knowledge, 0, "Knowledge at 0 shots"),
                                 (knowledge, 5, "Knowledge at 5 shots")):
        intact, gone = (mean(accuracies(model, n_shots, args.split, gates, tasks))
                        for gates in (None, without(model, heads)))
        said = f"- {what}: {100 * intact:.1f} % intact, {100 * gone:.1f} without the induction heads"
        for first_layer, where in ((0, "of all layers"), (1, "of layers 1 and up")):
            draws = [mean(accuracies(model, n_shots, args.split, without(model, random_heads(
                model, len(heads), seed, [*heads, *dead], first_layer)), tasks)) for seed in range(args.draws)]
            said += (f"; {100 * np.mean(draws):.1f} without as many other live heads {where} "
                     f"(sd {100 * np.std(draws):.1f})")
        print(f"{said}; {args.draws} draws each.", flush=True)
    ranking = ranked(model)
    print("\n| heads removed, least important first | mean accuracy of 14 tasks at 5 shots |\n|---|---|")
    for share in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        pruned = ranking[: int(share * len(ranking))]
        left = mean(accuracies(model, 5, args.split, without(model, pruned)))
        print(f"| {share:.0%} | {100 * left:.1f} |", flush=True)


def ranked(model: OPTForCausalLM, n_examples: int = 40) -> list[Head]:
    """All heads, least important first: mean over tasks of their importance at 5 shots on training prompts."""
    total = sum(importance(model, prompts(task, 5, n_examples=n_examples, split="train")) for task in MINI.values())
    order = np.argsort(total, axis=None, kind="stable")
    return [Head(int(i) // model.config.num_attention_heads, int(i) % model.config.num_attention_heads) for i in order]


if __name__ == "__main__":
    main()
