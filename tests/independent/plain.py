"""The bundled model by transformers alone: answers under masks, importance, prefix matching."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from backend.tasks.task import Prompt
from tests.golden import reference
from tests.golden.reference import INTACT, Mask, mask_of

__all__ = ["INTACT", "Mask", "mask_of"]
ROWS = 96  # option texts in a batch


def model() -> PreTrainedModel:
    return reference.plain("bundled").model


def tokenizer() -> Any:
    return reference.plain("bundled").tokenizer


def shape() -> tuple[int, int]:
    return reference.plain("bundled").shape


def projection(layer: int) -> nn.Module:
    return reference.plain("bundled").projection(layer)


@contextmanager
def switched_off(mask: Mask) -> Iterator[None]:
    with reference.switched_off(reference.plain("bundled"), mask):
        yield


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
    return reference.plain("bundled").cut(prompt.prefix + prompt.example.contexts[gold], prompt.example.options[gold])


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
        for index in range(shape()[0]):
            def add(module: nn.Module, args: tuple, index: int = index) -> None:
                total[index] = total[index] + args[0][0, -1].clone()

            hooks.append(projection(index).register_forward_pre_hook(add))
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
        for index in range(shape()[0]):
            def put(module: nn.Module, args: tuple, index: int = index) -> tuple:
                z = args[0].clone().unflatten(-1, (n_heads, -1))
                for head in range(n_heads):  # row by row another head
                    z[head, -1, head] = mean[index][head]
                return (z.flatten(-2), *args[1:])

            hook = projection(index).register_forward_pre_hook(put)
            effects[index] += (probability(context, answer[0], n_heads).numpy() - before) / len(lied)
            hook.remove()
    return behind_true - behind_lied, effects


def importance(prompts: Iterable[Prompt]) -> dict[str, np.ndarray]:
    """(n_layers, n_heads) by each of three reductions, see `reference.importance`."""
    return reference.importance(reference.plain("bundled"), map(cut, prompts))


def prefix_matching(n_seeds: int) -> np.ndarray:
    """(n_layers, n_heads): attention to what followed earlier occurrences of the current token, on random tokens."""
    return reference.prefix_matching(reference.plain("bundled"), n_seeds)


@torch.no_grad()
def writes(prompts: Iterable[Prompt]) -> np.ndarray:
    """(n_layers, n_heads): mean norm of what each head alone sends through the output projection, without its bias."""
    n_layers, n_heads = shape()
    total, n = np.zeros((n_layers, n_heads)), 0
    for prompt in prompts:
        context, answer = cut(prompt)
        whole = (context + answer)[:-1]
        hooks = []
        for index in range(shape()[0]):
            def look(module: Any, args: tuple, index: int = index) -> None:
                z = args[0][0].unflatten(-1, (n_heads, -1))  # (pos, n_heads, d_head)
                columns = module.weight.unflatten(1, (n_heads, -1))  # (d_model, n_heads, d_head)
                total[index] += torch.einsum("phd,mhd->phm", z, columns).norm(dim=-1).sum(0).double().numpy()

            hooks.append(projection(index).register_forward_pre_hook(look))
        model()(torch.tensor([whole]), use_cache=False)
        n += len(whole)
        for hook in hooks:
            hook.remove()
    return total / n
