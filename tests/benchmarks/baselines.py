"""The same work done plainly, as the field's code does it: nothing of the engine is used here.

`loglikelihoods` follows EleutherAI's lm-evaluation-harness: every (context, option) pair is a row, rows are sorted by
length and padded into batches, and the log-softmax covers the vocabulary at every position. The other three follow the
procedures of Bansal et al. 2023 (arXiv:2212.09095) step by step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

Pair = tuple[list[int], list[int]]  # context, continuation


@torch.no_grad()
def loglikelihoods(
    network: PreTrainedModel, pairs: Sequence[Pair], batch_size: int, merge_one_token_options: bool = False
) -> list[float]:
    """The summed log-likelihood of every continuation, in nats.

    Args:
        merge_one_token_options: options of one token behind the same context share a row, as today's harness does.
    """
    reads = [context + continuation[:-1] for context, continuation in pairs]
    texts = [(read, [number]) for number, read in enumerate(reads)]  # what is read, and the pairs that it scores
    if merge_one_token_options:
        alike: dict[tuple[int, ...], list[int]] = {}
        for number, read in enumerate(reads):
            alike.setdefault(tuple(read), []).append(number)
        texts = [(list(read), numbers) for read, numbers in alike.items()]
    texts.sort(key=lambda row: -len(row[0]))
    found = [0.0] * len(pairs)
    for first in range(0, len(texts), batch_size):
        chunk = texts[first:first + batch_size]
        width = len(chunk[0][0])
        ids = torch.tensor([text + [0] * (width - len(text)) for text, _ in chunk], device=network.device)
        probabilities = F.log_softmax(network(ids).logits, dim=-1).cpu()  # (batch, pos, vocabulary)
        for (text, numbers), row in zip(chunk, probabilities, strict=True):
            for number in numbers:
                continuation = pairs[number][1]
                scored = row[len(text) - len(continuation):len(text)]
                found[number] = float(scored.gather(1, torch.tensor(continuation)[:, None]).sum())
    return found


def head_importance(network: PreTrainedModel, pairs: Sequence[Pair]) -> np.ndarray:
    """(n_layers, n_heads): the study's per-token importance.

    One example at a time: logits at every position, the loss of the labelled ones, a backward pass that leaves a
    gradient in every parameter but the embeddings, and from the heads' outputs and their gradients the scores.
    """
    config = network.config
    network.requires_grad_(True)
    network.get_input_embeddings().weight.requires_grad_(False)
    decoder = network.get_decoder()
    decoder.embed_positions.weight.requires_grad_(False)
    outputs: list[Tensor] = []

    def keep(module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        args[0].retain_grad()
        outputs.append(args[0])

    hooks = [layer.self_attn.out_proj.register_forward_pre_hook(keep) for layer in decoder.layers]
    scores = torch.zeros(config.num_hidden_layers, config.num_attention_heads)
    positions = labelled = 0
    try:
        for context, continuation in pairs:
            outputs.clear()
            ids = torch.tensor([context + continuation], device=network.device)
            labels = ids.clone()
            labels[:, :len(context)] = -100
            network(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss.backward()
            for layer, z in enumerate(outputs):
                assert z.grad is not None
                split = (*z.shape[:2], config.num_attention_heads, -1)  # (1, pos, n_heads, d_head)
                scores[layer] += (z.detach() * z.grad).view(split).sum(-1).abs().sum((0, 1)).float().cpu()
            positions += ids.shape[1] - 1
            labelled += len(continuation)
            network.zero_grad(set_to_none=True)
    finally:
        for hook in hooks:
            hook.remove()
        network.requires_grad_(False)
    scores[:-1] /= positions
    scores[-1] /= labelled
    return scores.numpy()


@torch.no_grad()
def prefix_matching(network: PreTrainedModel, ids: Sequence[int]) -> np.ndarray:
    """(n_layers, n_heads) of one sequence, BOS and then a block: the study's loops over single entries.

    `network` must run eager attention, which alone returns the pattern.
    """
    n_block = len(ids) - 1
    repeated = [ids[0], *list(ids[1:]) * 4]
    attentions = network(torch.tensor([repeated], device=network.device), output_attentions=True).attentions
    scores = torch.zeros(network.config.num_hidden_layers, network.config.num_attention_heads)
    for layer, attention in enumerate(attentions):
        for head in range(scores.shape[1]):
            pattern = attention[0][head]
            count = 0
            for j in range(n_block + 1, 4 * n_block + 1):
                for number in range(j // n_block):
                    scores[layer][head] += pattern[j][number * n_block + j % n_block + 1].item()
                count += 1
            scores[layer][head] /= count
    return scores.numpy()


@torch.no_grad()
def copying(network: PreTrainedModel, ids: Sequence[int]) -> np.ndarray:
    """(n_layers, n_heads) of one sequence, BOS first: a softmax over the vocabulary for every head and position.

    `network` must run eager attention, which alone returns the pattern.
    """
    decoder = network.get_decoder()
    n_heads = network.config.num_attention_heads
    tokens = torch.tensor(ids, device=network.device)
    n_pos = len(ids)
    places = torch.ones(1, n_pos, dtype=torch.long, device=network.device)
    embedded = decoder.embed_tokens(tokens[None]) + decoder.embed_positions(places, 0)
    mask = torch.full((n_pos, n_pos), torch.finfo(embedded.dtype).min, device=network.device).triu(1)[None, None]
    scores = torch.zeros(network.config.num_hidden_layers, n_heads)
    for layer, block in enumerate(decoder.layers):
        read = block.self_attn_layer_norm(embedded)
        pattern = block.self_attn(hidden_states=read, attention_mask=mask, output_attentions=True)[1][0]
        values = block.self_attn.v_proj(read)[0]  # (pos, d_model)
        d_head = values.shape[-1] // n_heads
        apart = torch.zeros(n_heads, *values.shape, dtype=values.dtype, device=values.device)
        for head in range(n_heads):
            columns = slice(head * d_head, (head + 1) * d_head)
            apart[head, :, columns] = values[:, columns]
        written = block.self_attn.out_proj(apart)  # (n_heads, pos, d_model)
        probabilities = F.softmax(network.lm_head(written).contiguous(), dim=-1)  # (n_heads, pos, vocabulary)
        for head in range(n_heads):
            attended = pattern[head].sort(dim=1)[1][:, -1]
            count = 0
            for j in range(1, n_pos):
                count += 1
                attendable = probabilities[head][j][tokens[:j + 1]]
                raised = F.relu(attendable - attendable.mean())
                of_attended, of_all = raised[attended[j]].item(), raised.sum().item()
                scores[layer][head] += of_attended / of_all if of_all else 0
            scores[layer][head] /= count
    return scores.numpy()
