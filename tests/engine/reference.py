"""The slow, obvious way to score: one (context, continuation) pair per row, full logits, log-softmax, plain hooks.

It shares nothing with the engine but the tokenizer and the adapter's paths; the networks it runs have never been
prepared by us.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from transformers import PreTrainedModel

from backend.kinds.means import Activations
from backend.models.adapters import adapter_for
from backend.tasks.task import Prompt
from backend.values import INTACT, Ablation
from tests.models.small import small_model, small_network


@cache
def plain_network(architecture: str) -> PreTrainedModel:
    return small_network(architecture)


@contextmanager
def ablated(architecture: str, ablation: Ablation, means: Activations | None = None) -> Iterator[PreTrainedModel]:
    """The plain network with some of its outputs replaced by hand."""
    network, shape = plain_network(architecture), small_model(architecture).info
    adapter = adapter_for(network.config.model_type)
    fill = means if ablation.fill == "mean" else None
    hooks = []
    for layer, block in enumerate(network.get_submodule(adapter.blocks)):
        heads = [h.head for h in ablation.heads if h.layer == layer]

        def replace_heads(module: Any, args: Any, layer: int = layer, heads: list[int] = heads) -> Any:
            z = args[0].clone()
            for head in heads:
                instead = torch.tensor(fill.heads[layer][head]) if fill else 0
                z[..., head * shape.d_head:(head + 1) * shape.d_head] = instead
            return z

        def replace_ffn(module: Any, args: Any, output: Any, layer: int = layer) -> Any:
            beside = output[1:] if isinstance(output, tuple) else None  # a router's scores
            added = torch.zeros_like(output if beside is None else output[0])
            if fill:
                added[:] = torch.tensor(fill.ffns[layer])
            return added if beside is None else (added, *beside)

        if heads:
            hooks.append(block.get_submodule(adapter.attn_out).register_forward_pre_hook(replace_heads))
        if layer in ablation.ffns:
            hooks.append(block.get_submodule(adapter.ffn).register_forward_hook(replace_ffn))
    try:
        yield network
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def loglikelihood(network: PreTrainedModel, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """Summed log-probability of the continuation, in nats, and whether each of its tokens was the likeliest."""
    ids = torch.tensor([context + continuation])
    logprobs = network(ids[:, :-1], use_cache=False).logits[0].log_softmax(-1)[len(context) - 1:]
    target = torch.tensor(continuation)
    total = logprobs[torch.arange(len(target)), target].double().sum().item()
    return total, bool((logprobs.argmax(-1) == target).all())


def reference(
    architecture: str, prompts: Sequence[Prompt], ablation: Ablation = INTACT, means: Activations | None = None
) -> list[list[tuple[float, bool]]]:
    """Per prompt and option: log-likelihood and greediness."""
    model = small_model(architecture)
    with ablated(architecture, ablation, means) as network:
        return [[loglikelihood(network, model.encode_context(p.prefix + context), model.encode(option))
                 for context, option in zip(p.example.contexts, p.example.options, strict=True)] for p in prompts]
