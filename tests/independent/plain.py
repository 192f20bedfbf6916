"""The bundled model by transformers alone: answers under masks, importance, prefix matching."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from backend.models.info import BUNDLED_FOLDER
from backend.tasks.task import Prompt

Mask = tuple[frozenset[tuple[int, int]], frozenset[int]]  # heads (layer, head), and layers whose FFN is off
INTACT: Mask = (frozenset(), frozenset())
ROWS = 96  # option texts in a batch


@cache
def model() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(BUNDLED_FOLDER, local_files_only=True, dtype=torch.float32,
                                                attn_implementation="eager").eval()


@cache
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(BUNDLED_FOLDER, local_files_only=True)


def layers() -> list[nn.Module]:
    trunk = model().base_model
    return list(trunk.decoder.layers if hasattr(trunk, "decoder") else trunk.layers)


def projection(layer: nn.Module) -> nn.Module:
    """What reads the heads side by side."""
    attention: Any = layer.self_attn
    return attention.out_proj if hasattr(attention, "out_proj") else attention.o_proj


def ffn_end(layer: nn.Module) -> nn.Module:
    """What puts out all that an FFN adds, its bias included."""
    return layer.fc2 if hasattr(layer, "fc2") else layer.mlp  # type: ignore[return-value]


def shape() -> tuple[int, int]:
    return model().config.num_hidden_layers, model().config.num_attention_heads


def mask_of(text: str) -> Mask:
    """Read `L3H0-3,L5H1,F2`."""
    heads: set[tuple[int, int]] = set()
    ffns: set[int] = set()
    for part in filter(None, text.split(",")):
        if part.startswith("F"):
            ffns |= set(_span(part[1:]))
        else:
            layer, head = part[1:].split("H")
            heads |= {(int(layer), h) for h in _span(head)}
    return frozenset(heads), frozenset(ffns)


def _span(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


@contextmanager
def switched_off(mask: Mask) -> Iterator[None]:
    """Zeros in place of some heads' outputs before the projection, and of what some FFNs add."""
    hooks, width = [], model().config.hidden_size // shape()[1]
    for index, layer in enumerate(layers()):
        columns = [c for at, head in mask[0] if at == index for c in range(head * width, (head + 1) * width)]

        def no_heads(module: nn.Module, args: tuple, columns: list[int] = columns) -> tuple:
            z = args[0].clone()
            z[..., columns] = 0
            return (z, *args[1:])

        if columns:
            hooks.append(projection(layer).register_forward_pre_hook(no_heads))
        if index in mask[1]:
            hooks.append(ffn_end(layer).register_forward_hook(lambda module, args, output: torch.zeros_like(output)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def loglikelihoods(prompts: Sequence[Prompt], mask: Mask = INTACT) -> list[np.ndarray]:
    """Per prompt, the summed log-probability of each option's tokens behind its context, in nats."""
    texts = [(p.prefix + context, p.prefix + context + option) for p in prompts
             for context, option in zip(p.example.contexts, p.example.options, strict=True)]
    found: list[float] = []
    with switched_off(mask):
        for start in range(0, len(texts), ROWS):
            found += _scores(texts[start:start + ROWS])
    values, each = iter(found), [len(p.example.options) for p in prompts]
    return [np.array([next(values) for _ in range(n)]) for n in each]


def _scores(texts: Sequence[tuple[str, str]]) -> list[float]:
    pairs = [(tokenizer()(context).input_ids, tokenizer()(whole).input_ids) for context, whole in texts]
    n_pos = max(len(whole) for _, whole in pairs)
    ids = torch.tensor([whole + [0] * (n_pos - len(whole)) for _, whole in pairs])
    real = torch.tensor([[1] * len(whole) + [0] * (n_pos - len(whole)) for _, whole in pairs])
    logits = model()(ids, attention_mask=real, use_cache=False).logits.log_softmax(-1)
    scores = []
    for row, (context, whole) in enumerate(pairs):
        assert whole[:len(context)] == context, "an option that changes how its context is cut"
        places = range(len(context) - 1, len(whole) - 1)
        scores.append(sum(float(logits[row, at, whole[at + 1]]) for at in places))
    return scores


def cut(prompt: Prompt) -> tuple[list[int], list[int]]:
    """The tokens of a prompt up to its right answer, and of that answer."""
    gold = prompt.example.gold[0]
    context = tokenizer()(prompt.prefix + prompt.example.contexts[gold]).input_ids
    whole = tokenizer()(prompt.prefix + prompt.example.contexts[gold] + prompt.example.options[gold]).input_ids
    return context, whole[len(context):]


def losses(prompts: Sequence[Prompt], mask: Mask = INTACT) -> np.ndarray:
    """(n,): cross-entropy of each right answer, nats, mean over its tokens."""
    return np.array([-values[prompt.example.gold[0]] / len(cut(prompt)[1])
                     for prompt, values in zip(prompts, loglikelihoods(prompts, mask), strict=True)])


@torch.no_grad()
def vectors(true: Sequence[Prompt], lied: Sequence[Prompt]) -> tuple[float, np.ndarray]:
    """What shuffled labels take of the probability of the right answer's first token, and (n_layers, n_heads) how much
    comes back where each head's output at the last token becomes its mean over prompts with true labels."""
    n_layers, n_heads = shape()

    def probability(ids: list[int], answer: int, rows: int = 1) -> torch.Tensor:
        logits = model()(torch.tensor([ids] * rows), use_cache=False).logits[:, -1]
        return logits.double().softmax(-1)[:, answer]

    total: list[Any] = [0.0] * n_layers
    behind_true = 0.0
    for prompt in true:
        hooks = []
        for index, layer in enumerate(layers()):
            def add(module: nn.Module, args: tuple, index: int = index) -> None:
                total[index] = total[index] + args[0][0, -1].clone()

            hooks.append(projection(layer).register_forward_pre_hook(add))
        context, answer = cut(prompt)
        behind_true += float(probability(context, answer[0])[0]) / len(true)
        for hook in hooks:
            hook.remove()
    mean = [one.unflatten(-1, (n_heads, -1)) / len(true) for one in total]
    effects, behind_lied = np.zeros((n_layers, n_heads)), 0.0
    for prompt in lied:
        context, answer = cut(prompt)
        before = float(probability(context, answer[0])[0])
        behind_lied += before / len(lied)
        for index, layer in enumerate(layers()):
            def put(module: nn.Module, args: tuple, index: int = index) -> tuple:
                z = args[0].clone().unflatten(-1, (n_heads, -1))
                for head in range(n_heads):  # row by row another head
                    z[head, -1, head] = mean[index][head]
                return (z.flatten(-2), *args[1:])

            hook = projection(layer).register_forward_pre_hook(put)
            effects[index] += (probability(context, answer[0], n_heads).numpy() - before) / len(lied)
            hook.remove()
    return behind_true - behind_lied, effects


def importance(prompts: Iterable[Prompt]) -> dict[str, np.ndarray]:
    """(n_layers, n_heads) by each of three reductions: sums of |z . dL/dz| over positions, or of z . dL/dz over each
    example, z the input of the output projection and L the mean cross-entropy of the gold answer's tokens."""
    n_layers, n_heads = shape()
    absolute, signed = np.zeros((2, n_layers, n_heads))
    positions = answers = n = 0
    for prompt in prompts:
        context, answer = cut(prompt)
        whole = context + answer
        seen: dict[int, torch.Tensor] = {}
        hooks = []
        for index, layer in enumerate(layers()):
            def keep(module: nn.Module, args: tuple, index: int = index, seen: dict[int, Any] = seen) -> tuple:
                seen[index] = args[0] if args[0].requires_grad else args[0].requires_grad_()
                return (seen[index], *args[1:])

            hooks.append(projection(layer).register_forward_pre_hook(keep))
        with torch.enable_grad():
            logits = model()(torch.tensor([whole[:-1]]), use_cache=False).logits[0]
            loss = nn.functional.cross_entropy(logits[len(context) - 1:], torch.tensor(whole[len(context):]))
            gradients = torch.autograd.grad(loss, [seen[i] for i in range(n_layers)])
        for hook in hooks:
            hook.remove()
        for index, gradient in enumerate(gradients):
            each = (seen[index] * gradient)[0].unflatten(-1, (n_heads, -1)).sum(-1).detach().double().numpy()
            absolute[index] += np.abs(each).sum(0)
            signed[index] += np.abs(each.sum(0))
        positions, answers, n = positions + len(whole) - 1, answers + len(whole) - len(context), n + 1
    authors = np.full((n_layers, 1), float(positions))
    authors[-1] = answers
    return {"per-token": absolute / authors, "one-divisor": absolute / positions, "per-example": signed / n}


@torch.no_grad()
def prefix_matching(n_seeds: int) -> np.ndarray:
    """(n_layers, n_heads): attention to what followed earlier occurrences of the current token, on random tokens."""
    words = sorted(set(tokenizer().get_vocab().values()) - set(tokenizer().all_special_ids))
    longest = (model().config.max_position_embeddings - 1) // 4
    shortest = min(25, longest)
    step = min(2.0, (longest - shortest) / max(n_seeds - 1, 99))
    start = tokenizer()("").input_ids[:1] or [model().config.bos_token_id]
    total = np.zeros(shape())
    for seed in range(n_seeds):
        n = shortest + int(seed * step + 1e-9)
        block = np.random.default_rng(seed).choice(np.array(words), n, replace=False).tolist()
        patterns = model()(torch.tensor([start + block * 4]), output_attentions=True, use_cache=False).attentions
        for index, pattern in enumerate(patterns):
            for query in range(n + 1, 4 * n + 1):
                targets = [earlier + 1 for earlier in range(query - n, 0, -n)]
                total[index] += pattern[0, :, query, targets].sum(-1).numpy() / (3 * n)
    return total / n_seeds


@torch.no_grad()
def writes(prompts: Iterable[Prompt]) -> np.ndarray:
    """(n_layers, n_heads): mean norm of what each head alone sends through the output projection, without its bias."""
    n_layers, n_heads = shape()
    total, n = np.zeros((n_layers, n_heads)), 0
    for prompt in prompts:
        context, answer = cut(prompt)
        whole = (context + answer)[:-1]
        hooks = []
        for index, layer in enumerate(layers()):
            def look(module: Any, args: tuple, index: int = index) -> None:
                z = args[0][0].unflatten(-1, (n_heads, -1))  # (pos, n_heads, d_head)
                columns = module.weight.unflatten(1, (n_heads, -1))  # (d_model, n_heads, d_head)
                total[index] += torch.einsum("phd,mhd->phm", z, columns).norm(dim=-1).sum(0).double().numpy()

            hooks.append(projection(layer).register_forward_pre_hook(look))
        model()(torch.tensor([whole]), use_cache=False)
        n += len(whole)
        for hook in hooks:
            hook.remove()
    return total / n
