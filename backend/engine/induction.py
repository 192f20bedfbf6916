"""Which heads continue what they have seen before: prefix matching and copying, over random tokens.

Both scores come from Olsson et al. 2022, arXiv:2209.11895, as Bansal et al. 2023, arXiv:2212.09095, measure them.
Random tokens carry no meaning, so a high score is the mechanism and not knowledge of the text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from .. import stats
from ..arrays import Float, Int
from ..errors import BadInput, ModelError
from ..models import offloaded
from ..models.gates import Kept, Route
from .batches import Progress, in_batches, tokens_per_pass
from .watching import Attention, Enough, hide_the_future, watch

if TYPE_CHECKING:
    from ..models.loading import LoadedModel

PREFIX_VARIANTS = ("exact", "authors")
COPYING_VARIANTS = ("authors", "olsson")
N_SEEDS = 100
N_REPEATS = 4
SHORTEST_BLOCK, BLOCK_STEP = 25, 2  # seed s repeats a block of 25 + 2 * s tokens
LEFT_OUT = 0.04  # share of the vocabulary at either end of the merge ranks
NOTHING_RAISED = 1e-6  # of all probability: below it only rounding lifts a token above the mean


def prefix_matching_scores(
    model: LoadedModel, sequences: Sequence[Sequence[int]], variant: str = "exact", progress: Progress | None = None,
) -> Float[np.ndarray, "n n_layers n_heads"]:
    """Prefix matching on given tokens, each sequence BOS and then one block.

    The block is repeated here. Only the entries of the pattern that count are kept, the last layer forms no output,
    and no logits are computed.
    """
    _check_variant(variant, PREFIX_VARIANTS)
    scores = np.zeros((len(sequences), model.n_layers, model.n_heads))

    def measure(batch: Sequence[int]) -> None:
        repeated = [[*sequences[s][:1], *list(sequences[s][1:]) * N_REPEATS] for s in batch]
        ids = _padded(repeated)
        targets = np.zeros((*ids.shape, N_REPEATS), np.int64)
        weights = np.zeros(targets.shape, np.float32)
        for row, s in enumerate(batch):
            n_block = len(sequences[s]) - 1
            queries, keys = np.array(stats.prefix_targets(n_block, N_REPEATS, variant)).T
            repeat = (keys - 1) // n_block  # which one a target is in: no position has two in the same
            targets[row, queries, repeat] = keys
            weights[row, queries, repeat] = 1 / ((N_REPEATS - 1) * n_block)
        first_scored = min(len(sequences[s]) for s in batch)
        sums: dict[int, Tensor] = {}

        def read(attention: Attention) -> Float[Tensor, "batch n_heads pos _"] | None:
            layer, last_layer = attention.layer, attention.layer == model.n_layers - 1
            forms_output = attention.q is not None and not last_layer
            index, weight = torch.from_numpy(targets), torch.from_numpy(weights)
            parts, total = [], torch.zeros(())
            for first, last in attention.blocks(0 if forms_output else first_scored):
                pattern = attention.pattern(first, last)  # (batch, n_heads, rows, last)
                if last > first_scored:
                    block = index[:, None, first:last].expand(-1, model.n_heads, -1, -1).to(pattern.device)
                    counted = pattern.gather(-1, block).float() * weight[:, None, first:last].to(pattern.device)
                    total = total.to(pattern.device) + counted.sum((-1, -2))  # (batch, n_heads)
                if forms_output:
                    parts.append(attention.moved(pattern))
            sums[layer] = total
            if last_layer:
                raise Enough
            return torch.cat(parts, 2) if parts else None  # (batch, n_heads, pos, d_head)

        watch(model, ids, read)
        for layer, total in sums.items():
            scores[list(batch), layer] = total.cpu().numpy()

    in_batches(measure, [1 + N_REPEATS * (len(s) - 1) for s in sequences], tokens_per_pass(model), progress)
    return scores


def copying_scores(
    model: LoadedModel, sequences: Sequence[Sequence[int]], variant: str = "authors", progress: Progress | None = None,
) -> Float[np.ndarray, "n n_layers n_heads"]:
    """Copying on given tokens, BOS first.

    The softmax over the vocabulary cancels in the score, so only the logits of the sequence's own tokens are formed:
    a head's values against the unembedding seen through its output projection, both d_head wide.
    """
    _check_variant(variant, COPYING_VARIANTS)
    scores = np.zeros((len(sequences), model.n_layers, model.n_heads))

    def measure(batch: Sequence[int]) -> None:
        ids = _padded([sequences[s] for s in batch])
        lengths = torch.tensor([len(sequences[s]) for s in batch])
        counted = torch.arange(ids.shape[1])[None] < lengths[:, None]
        counted[:, 0] = False
        weights = counted / counted.sum(1, keepdim=True)  # (batch, pos)
        embedded = _embedded(model, ids)
        columns, column_bias = _unembedding(model, ids)
        for layer, projection in model.attn_outs.items():
            weight, bias = output_projection(projection)
            device = weight.device
            seen = torch.matmul(columns.to(device), weight.T).unflatten(-1, (model.n_heads, -1))
            seen = seen.permute(0, 2, 3, 1).contiguous()  # (batch, n_heads, d_head, pos)
            constant = None
            if variant == "authors":
                constant = column_bias.to(device)  # (batch, pos): what a column gets whatever the head writes
                if bias is not None:
                    constant = constant + torch.matmul(columns.to(device), bias)

            def read(attention: Attention, layer: int = layer, seen: Float[Tensor, "batch n_heads d_head pos"] = seen,
                     constant: Float[Tensor, "batch pos"] | None = constant) -> None:
                values = attention.values()
                if values is None:
                    values = _values_alone(model, layer, embedded)
                total = torch.zeros((), device=values.device)
                for first, last in attention.blocks(1):
                    if variant == "authors":
                        pattern = attention.scores(first, last)  # (batch, n_heads, rows, last)
                        written = values[:, :, first:last]
                    else:
                        pattern = attention.pattern(first, last)
                        written = torch.matmul(pattern.to(values.dtype), values[:, :, :last])
                    attended = pattern.argmax(-1, keepdim=True)
                    logits = torch.matmul(written, seen[..., :last])
                    if constant is not None:
                        logits += constant[:, None, None, :last]
                    share = raised_share(logits.float(), attended, first)  # (batch, n_heads, rows)
                    total = total + (share * weights[:, None, first:last].to(share.device)).sum(-1)
                scores[list(batch), layer] = total.cpu().numpy()
                raise Enough

            # Which tokens stand here does not matter: `hidden` takes the place of their embeddings.
            watch(model, np.zeros_like(ids), read, route=Route(layer, embedded, stop=layer + 1))

    in_batches(measure, [len(s) for s in sequences], tokens_per_pass(model), progress)
    return scores


def raised_share(
    logits: Float[Tensor, "*rest q_pos k_pos"], attended: Int[Tensor, "*rest q_pos 1"], first: int = 0
) -> Float[Tensor, "*rest q_pos"]:
    """Of the probability raised above the mean, the share that falls on the attended token.

    With p the softmax over the tokens at or before a row's position and m their mean: relu(p - m) at the attended
    token, over its sum; 0 where nothing is raised.

    Args:
        logits: of query positions `first`, `first` + 1, ... and the keys up to the last of them;
            overwritten.
        attended: the key that each row attends to most.
    """
    rows = logits.shape[-2]
    hide_the_future(logits, first)
    mean = 1 / torch.arange(first + 1, first + rows + 1, device=logits.device)  # (rows,)
    raised = logits.softmax(-1).sub_(mean[:, None]).relu_()  # a hidden key has probability 0, below the mean
    total = raised.sum(-1)
    # An overflow stays NaN, which no store takes: it is not a head that copies nothing.
    return torch.where(total <= NOTHING_RAISED, 0, raised.gather(-1, attended).squeeze(-1) / total)


def random_sequences(model: LoadedModel, n_seeds: int, tokens_per_block: int) -> tuple[list[list[int]], str]:
    """BOS and then random tokens without repetition, one sequence per seed, and in words how they were drawn.

    Args:
        tokens_per_block: 1 for a block that will be repeated, `N_REPEATS` for as many tokens without a repeat.

    Raises:
        BadInput: no seeds, or a context or vocabulary too small for blocks of two tokens.
    """
    vocabulary, how = random_vocabulary(model)
    lengths = block_lengths(n_seeds, *_room(model, len(vocabulary), tokens_per_block))
    return [[model.start, *_draw(vocabulary, seed, tokens_per_block * n)] for seed, n in enumerate(lengths)], how


def random_vocabulary(model: LoadedModel) -> tuple[Int[np.ndarray, " n_ids"], str]:
    """The token ids that random sequences are drawn from, and in words which they are.

    By BPE merge rank, the 4 % most and 4 % least frequent left out. Vocabularies without merge ranks: all but
    the special tokens.
    """
    tokenizer, n_ids = model.tokenizer, cast(Tensor, model.model.get_input_embeddings().weight).shape[0]
    special = set(tokenizer.all_special_ids)
    ids = tokenizer.get_vocab()
    ranked = dict.fromkeys(ids[token] for token in _merged_tokens(tokenizer) if token in ids)
    usable = [i for i in ranked if i not in special and i < n_ids]
    if usable:
        cut = int(LEFT_OUT * len(usable))
        chosen = usable[cut:len(usable) - cut]
        return np.array(chosen), (
            f"drawn without replacement from {len(chosen):,} tokens: the vocabulary by merge rank, without its "
            f"{LEFT_OUT:.0%} most and {LEFT_OUT:.0%} least frequent tokens")
    chosen = sorted(i for i in set(ids.values()) - special if i < n_ids)
    return np.array(chosen), (
        f"drawn without replacement from all {len(chosen):,} tokens that are not special: this vocabulary has no "
        "merge ranks to tell frequent tokens from rare ones")


def _merged_tokens(tokenizer: Any) -> Iterator[str]:
    """What each merge of a byte-pair encoding makes, most frequent first; nothing for other tokenizers."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        merges = json.loads(backend.to_str())["model"].get("merges") or []
        for merge in merges:
            yield "".join(merge.split(" ") if isinstance(merge, str) else merge)


def block_lengths(n_seeds: int, longest: int, limit: str) -> list[int]:
    """The length of each seed's block: 25, 27, 29, ... as in the study.

    Where the longest that fits is shorter than the last seed's, the lengths rise from 25 to it evenly; where
    even 25 do not fit, all have the longest length.

    Args:
        limit: what bounds the length, for the message.

    Raises:
        BadInput: if there is no seed, or not even two tokens fit.
    """
    if n_seeds < 1:
        raise BadInput(f"{n_seeds} seeds: give at least 1.")
    if longest < 2:
        raise BadInput(f"Random sequences need blocks of at least 2 tokens, and {limit} leaves room for {longest}.")
    shortest = min(SHORTEST_BLOCK, longest)
    step = min(float(BLOCK_STEP), (longest - shortest) / max(n_seeds - 1, N_SEEDS - 1))
    return [shortest + int(seed * step + 1e-9) for seed in range(n_seeds)]


def _room(model: LoadedModel, n_vocabulary: int, tokens_per_block: int) -> tuple[int, str]:
    """The longest block that fits context and vocabulary, and which of the two bounds it."""
    return min(((model.info.max_positions - 1) // N_REPEATS, f"a context of {model.info.max_positions} positions"),
               (n_vocabulary // tokens_per_block, f"a vocabulary of {n_vocabulary} tokens"))


def _draw(vocabulary: Int[np.ndarray, " n_ids"], seed: int, n: int) -> list[int]:
    drawn: list[int] = np.random.default_rng(seed).choice(vocabulary, n, replace=False).tolist()
    return drawn


def _check_variant(variant: str, known: tuple[str, ...]) -> None:
    if variant not in known:
        raise BadInput(f"Unknown variant '{variant}'. Known: {', '.join(known)}.")


def _padded(sequences: Sequence[Sequence[int]]) -> Int[np.ndarray, "batch pos"]:
    """Side by side. What stands behind a sequence cannot reach it: attention is causal."""
    width = max(map(len, sequences))
    return np.array([[*s, *[s[0]] * (width - len(s))] for s in sequences])


def _embedded(model: LoadedModel, ids: Int[np.ndarray, "batch pos"]) -> Float[Tensor, "batch pos d_state"]:
    """Token and position embeddings as the first block reads them."""
    kept = Kept(inputs_from=0)

    def read(attention: Attention) -> None:
        raise Enough

    watch(model, ids, read, kept=kept)
    return kept.inputs[0]


def _values_alone(
    model: LoadedModel, layer: int, embedded: Float[Tensor, "batch pos d_state"]
) -> Float[Tensor, "batch n_heads pos _"]:
    """A layer's values, where the model does not show them.

    A token that stands alone can attend to nothing but itself, so what its heads put out are its values.
    """
    batch, n_pos, d_state = embedded.shape
    z: dict[int, Tensor] = {}
    on_itself: list[Tensor] = []

    def read(attention: Attention) -> None:
        on_itself.append(attention.pattern(0, 1)[..., 0].transpose(1, 2))  # (batch * pos, 1, n_heads)

    # This runs inside a watched pass: a pass of its own, which puts the outer one back when it ends.
    route = Route(layer, embedded.reshape(-1, 1, d_state), stop=layer + 1)
    watch(model, np.zeros((batch * n_pos, 1), int), read, route=route, kept=Kept(z=z))
    # Less than 1 only where a head may also attend to nothing at all (attention sinks).
    values = z[layer] / on_itself[0][..., None]
    return values.view(batch, n_pos, model.n_heads, -1).transpose(1, 2)


def output_projection(module: nn.Module) -> tuple[Float[Tensor, "_ d_model"], Float[Tensor, " d_model"] | None]:
    """Weight (n_heads * d_head, d_model) and bias (d_model,) of an attention output projection."""
    weight = offloaded.weight(module)
    if isinstance(module, nn.Linear):
        weight = weight.T
    return weight, None if module.bias is None else offloaded.weight(module, "bias")


def _unembedding(
    model: LoadedModel, ids: Int[np.ndarray, "batch pos"]
) -> tuple[Float[Tensor, "batch pos d_model"], Float[Tensor, "batch pos"]]:
    """For each token of each sequence its row of the unembedding, (batch, pos, d_model), and its bias, (batch, pos).

    Raises:
        ModelError: if what lies between the last block and the unembedding, beside a norm, is not known.
    """
    head = model.model.get_output_embeddings()
    unembedding = offloaded.weight(head)
    index = torch.as_tensor(ids, device=unembedding.device)
    columns = unembedding[index]
    if columns.shape[-1] != model.d_model:
        narrowing = [m for name, m in model.model.named_modules() if name.endswith("project_out")]
        if len(narrowing) != 1 or narrowing[0].weight.shape != (columns.shape[-1], model.d_model):
            raise ModelError(f"The unembedding of '{model.info.name}' reads {columns.shape[-1]} numbers, its blocks "
                             f"write {model.d_model}, and what lies between is not known: copying cannot be measured.")
        columns = torch.matmul(columns, offloaded.weight(narrowing[0]))
    if getattr(head, "bias", None) is None:
        return columns, columns.new_zeros(index.shape)
    return columns, offloaded.weight(head, "bias")[index]
