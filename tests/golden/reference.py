"""The slow, plain reference behind the project's own golden numbers: transformers and numpy, one prompt at a time.

It imports nothing of Headroom. A prompt is a list of (context, option) texts; a mask is a set of heads and of layers
whose FFN is off. Every number is worked out in the most obvious way: a whole forward pass for each text, plain hooks,
full logits. `python -m tests.golden` works all of them out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

Mask = tuple[frozenset[tuple[int, int]], frozenset[int]]  # heads (layer, head), and layers whose FFN is off
Texts = Sequence[tuple[str, str]]  # of each option of a question, what stands before it and what it is
INTACT: Mask = (frozenset(), frozenset())
NEAR_TIE = 1e-4  # nats

# Where the layers are; in a layer, what reads the heads side by side, and what puts out all that the FFN adds.
PLACES = {
    "opt": ("model.decoder.layers", "self_attn.out_proj", "fc2"),
    "gpt2": ("transformer.h", "attn.c_proj", "mlp"),
    "gpt_neox": ("gpt_neox.layers", "attention.dense", "mlp"),
    "llama": ("model.layers", "self_attn.o_proj", "mlp"),
    "mistral": ("model.layers", "self_attn.o_proj", "mlp"),
}


@dataclass(frozen=True, eq=False)
class Plain:
    """A model of transformers with nothing of ours in it, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: Any

    @property
    def shape(self) -> tuple[int, int]:
        """How many layers, and how many heads in each."""
        return self.model.config.num_hidden_layers, self.model.config.num_attention_heads

    @cached_property
    def layers(self) -> list[nn.Module]:
        return list(self.model.get_submodule(PLACES[self.model.config.model_type][0]))  # type: ignore[call-overload]

    def projection(self, layer: int) -> nn.Module:
        """What reads the heads of a layer side by side."""
        return self.layers[layer].get_submodule(PLACES[self.model.config.model_type][1])

    def ffn(self, layer: int) -> nn.Module:
        """What puts out all that the FFN of a layer adds, its bias included."""
        return self.layers[layer].get_submodule(PLACES[self.model.config.model_type][2])

    def logits(self, ids: Sequence[int]) -> Tensor:
        """(pos, vocabulary)."""
        return self.model(torch.tensor([list(ids)]), use_cache=False).logits[0]

    def cut(self, context: str, option: str) -> tuple[list[int], list[int]]:
        """Token ids of a context and of the option behind it, read as one text."""
        before, whole = self.tokenizer(context).input_ids, self.tokenizer(context + option).input_ids
        assert whole[:len(before)] == before, "an option that changes how its context is cut"
        return before, whole[len(before):]


# --- models -------------------------------------------------------------------------------------


BUNDLED = Path(__file__).parents[2] / "backend" / "bundled"
_SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 300,
          "max_position_embeddings": 1024, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
          "tie_word_embeddings": False}
TINY = {  # model type -> what its config says beside the sizes
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "gpt2": {},
    "gpt_neox": {"intermediate_size": 48},
    "llama": {"intermediate_size": 48, "num_key_value_heads": 2},
}
SEED = 2212


@cache
def plain(name: str) -> Plain:
    """The bundled model, or a tiny one with random weights by its type."""
    if name == "bundled":
        return Plain(AutoModelForCausalLM.from_pretrained(BUNDLED, local_files_only=True, dtype=torch.float32,
                                                          attn_implementation="eager").eval(),
                     AutoTokenizer.from_pretrained(BUNDLED, local_files_only=True))
    return Plain(tiny(name), tiny_tokenizer())


def tiny(model_type: str) -> PreTrainedModel:
    """Random weights out of numpy's oldest generator, whose numbers never change; attention is sharp."""
    config = AutoConfig.for_model(model_type, **_SIZES, **TINY[model_type])
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config)
    rng = np.random.RandomState(SEED)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.tensor(rng.standard_normal(tuple(parameter.shape)), dtype=torch.float32)
            if parameter.dim() == 1:  # norms stay about what they are, biases become something
                parameter.copy_(float("norm" in name or "ln_" in name) * name.endswith("weight") + 0.2 * noise)
            else:
                embedding = any(word in name for word in ("emb", "wte", "wpe", "lm_head"))
                parameter.copy_((0.5 if embedding else 1.5 / 32 ** 0.5) * noise)
    return model.eval()


MERGES = ("Ġ t|h e|Ġt he|Ġ a|i n|r e|o n|Ġ s|e r|Ġ w|n d|i s|Ġ o|o u|a t|Ġ c|e s|e n|Ġa nd|Ġ b|o r|Ġ i|Ġ f|a l|Ġ p|"
          "in g|Ġ m|Ġo f|Ġ d|Ġ h|Ġ is|Ġ l|s w|sw er|n swer|A nswer|Q u|es t|Qu est|i on|Quest ion")


@cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of a few merges: any text can be written."""
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in MERGES.split("|"))]
    words = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in pairs)]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


# --- masks and answers ----------------------------------------------------------------------------


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
def switched_off(net: Plain, mask: Mask) -> Iterator[None]:
    """Zeros in place of some heads' outputs before the projection, and of what some FFNs add."""
    hooks: list[Any] = []
    for layer in range(net.shape[0]):
        heads = [head for at, head in mask[0] if at == layer]

        def no_heads(module: nn.Module, args: tuple, heads: list[int] = heads) -> tuple:
            z = args[0].clone().unflatten(-1, (net.shape[1], -1))  # (.., n_heads, d_head)
            z[..., heads, :] = 0
            return (z.flatten(-2), *args[1:])

        if heads:
            hooks.append(net.projection(layer).register_forward_pre_hook(no_heads))
        if layer in mask[1]:
            hooks.append(net.ffn(layer).register_forward_hook(lambda module, args, output: torch.zeros_like(output)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def loglikelihoods(net: Plain, texts: Texts, mask: Mask = INTACT) -> np.ndarray:
    """(n_options,): the summed log-probability of each option's tokens behind its context, in nats."""
    found = []
    with switched_off(net, mask):
        for context, option in texts:
            before, answer = net.cut(context, option)
            logprobs = net.logits([*before, *answer][:-1]).double().log_softmax(-1)[-len(answer):]
            found.append(float(logprobs[range(len(answer)), answer].sum()))
    return np.array(found)




def accuracy(net: Plain, prompts: Sequence[Texts], gold: Sequence[Sequence[int]], mask: Mask = INTACT) -> float:
    """The share of prompts whose likeliest option is a right one.

    Raises:
        ValueError: if two options are so nearly as likely that they could change places on another machine.
    """
    found = []
    for texts, right in zip(prompts, gold, strict=True):
        values = loglikelihoods(net, texts, mask)
        first, second = np.sort(values)[:-3:-1]
        if first - second < NEAR_TIE:
            raise ValueError(f"{first} and {second} are too near each other: ask other questions.")
        found.append(int(values.argmax()) in right)
    return float(np.mean(found))


# --- gradients ------------------------------------------------------------------------------------

Pair = tuple[Sequence[int], Sequence[int]]  # token ids of a context and of its right answer


def gradients(net: Plain, pair: Pair, gate: float = 1.0) -> np.ndarray:
    """(n_layers, n_heads, pos): dL/dg at each position, where g multiplies a head's output z and stands at `gate` for
    all heads; L is the mean cross-entropy of the answer's tokens, nats. At g = 1 it is the sum over d_head of
    z * dL/dz."""
    context, answer = pair
    whole = [*context, *answer]
    gates = [torch.full((len(whole) - 1, net.shape[1], 1), gate, requires_grad=True) for _ in net.layers]
    hooks = []
    for layer, g in enumerate(gates):
        def scale(module: nn.Module, args: tuple, g: Tensor = g) -> tuple:
            z = args[0].unflatten(-1, (net.shape[1], -1))  # (1, pos, n_heads, d_head), or without the 1
            return ((z * g).flatten(-2), *args[1:])

        hooks.append(net.projection(layer).register_forward_pre_hook(scale))
    with torch.enable_grad():
        loss = nn.functional.cross_entropy(net.logits(whole[:-1])[-len(answer):].double(), torch.tensor(answer))
        found = torch.autograd.grad(loss, gates)
    for hook in hooks:
        hook.remove()
    return np.stack([g[..., 0].T.double().numpy() for g in found])


def importance(net: Plain, pairs: Iterable[Pair]) -> dict[str, np.ndarray]:
    """(n_layers, n_heads) by each of three reductions: sums of |dL/dg| over positions, by positions; or the mean over
    examples of |sum of dL/dg over positions|."""
    n_layers, n_heads = net.shape
    absolute, signed = np.zeros((2, n_layers, n_heads))
    positions = answers = n = 0
    for context, answer in pairs:
        each = gradients(net, (context, answer))
        absolute += np.abs(each).sum(-1)
        signed += np.abs(each.sum(-1))
        positions, answers, n = positions + each.shape[-1], answers + len(answer), n + 1
    authors = np.full((n_layers, 1), float(positions))
    authors[-1] = answers
    return {"per-token": absolute / authors, "one-divisor": absolute / positions, "per-example": signed / n}


def attribution(net: Plain, pairs: Sequence[Pair]) -> dict[str, np.ndarray]:
    """(n_layers, n_heads) of nats: how far the loss rises without each head, to first order at the intact model, and
    with the gradient averaged over gates of all heads at once."""
    def at(gate: float) -> np.ndarray:
        return -np.mean([gradients(net, pair, gate).sum(-1) for pair in pairs], axis=0)

    return {"signed": at(1.0), "integrated": np.mean([at(gate) for gate in (0.1, 0.3, 0.5, 0.7, 0.9)], axis=0)}


def ascending(scores: np.ndarray) -> list[tuple[int, int]]:
    """(layer, head) from the least to the most important; ties in index order."""
    return [(int(i) // scores.shape[1], int(i) % scores.shape[1])
            for i in np.argsort(scores, axis=None, kind="stable")]


# --- random tokens --------------------------------------------------------------------------------


def sequences(net: Plain, n_seeds: int, repeats: bool) -> list[list[int]]:
    """A start token and random ones without repetition, a sequence for each seed; a block that is to be repeated four
    times, or as many tokens as four blocks have."""
    tokenizer = net.tokenizer
    ids = tokenizer.get_vocab()
    merges = [ids[left + right] for left, right in _merges(tokenizer)]
    if merges:  # by merge rank, without the most and the least frequent 4 %
        out = int(0.04 * len(merges))
        words = merges[out:len(merges) - out]
    else:
        words = sorted(set(ids.values()) - set(tokenizer.all_special_ids))
    longest = min((net.model.config.max_position_embeddings - 1) // 4, len(words) // (1 if repeats else 4))
    shortest = min(25, longest)
    step = min(2.0, (longest - shortest) / max(n_seeds - 1, 99))
    start = [net.model.config.bos_token_id]
    return [start + np.random.default_rng(seed).choice(
        np.array(words), (1 if repeats else 4) * (shortest + int(seed * step + 1e-9)), replace=False).tolist()
        for seed in range(n_seeds)]


def _merges(tokenizer: Any) -> list[tuple[str, str]]:
    found = json.loads(tokenizer.backend_tokenizer.to_str())["model"].get("merges") or []
    return [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in found]


@torch.no_grad()
def prefix_matching(net: Plain, n_seeds: int, variant: str = "exact") -> np.ndarray:
    """(n_layers, n_heads): attention to what followed earlier occurrences of the current token, in four repeats.

    Args:
        variant: "exact"; or "authors", in whose indexing the start token is an earlier occurrence of each block's last
            token, too.
    """
    total = np.zeros(net.shape)
    before_first = -1 if variant == "authors" else 0
    for sequence in sequences(net, n_seeds, repeats=True):
        start, block = sequence[:1], sequence[1:]
        n = len(block)
        patterns = net.model(torch.tensor([start + block * 4]), output_attentions=True, use_cache=False).attentions
        for layer, pattern in enumerate(patterns):
            for query in range(n + 1, 4 * n + 1):
                targets = [earlier + 1 for earlier in range(query - n, before_first, -n)]
                total[layer] += pattern[0, :, query, targets].sum(-1).double().numpy() / (3 * n)
    return total / n_seeds


@torch.no_grad()
def copying(net: Plain, n_seeds: int, variant: str = "authors") -> np.ndarray:
    """(n_layers, n_heads): of the probability that a head lifts above the mean of the tokens it can see, the share on
    the token that it attends to most. Embeddings go straight into each layer. Models with a `v_proj` alone.

    Args:
        variant: "authors": what the head would write if it attended to the position itself, bias included; "olsson":
            what it moves, no bias.
    """
    n_heads, total = net.shape[1], np.zeros(net.shape)
    unembedding = net.model.get_output_embeddings().weight.double()
    for sequence in sequences(net, n_seeds, repeats=False):
        embedded = _input_of(net, 0, sequence)
        for layer, module in enumerate(net.layers):
            kept: dict[str, Tensor] = {}

            def feed(module: nn.Module, args: tuple, kwargs: dict, embedded: Tensor = embedded) -> tuple:
                return ((embedded, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": embedded})

            def values(module: nn.Module, args: tuple, output: Tensor, kept: dict[str, Tensor] = kept) -> None:
                kept["v"] = output[0] if output.dim() == 3 else output  # (pos, n_kv_heads * d_head)

            hooks = [module.register_forward_pre_hook(feed, with_kwargs=True),
                     module.get_submodule("self_attn.v_proj").register_forward_hook(values)]
            pattern = net.model(torch.tensor([sequence]), output_attentions=True,
                                use_cache=False).attentions[layer][0].double()  # (n_heads, pos, pos)
            for hook in hooks:
                hook.remove()
            projection: Any = net.projection(layer)
            d_head = projection.weight.shape[1] // n_heads
            v = kept["v"].double().unflatten(-1, (-1, d_head))  # (pos, n_kv_heads, d_head)
            for head in range(n_heads):
                own = v[:, head * v.shape[1] // n_heads]  # (pos, d_head)
                columns = projection.weight[:, head * d_head:(head + 1) * d_head].double()  # (d_model, d_head)
                if variant == "authors":
                    written = own @ columns.T
                    if projection.bias is not None:
                        written = written + projection.bias.double()
                else:
                    written = pattern[head] @ own @ columns.T
                logits = written @ unembedding.T  # (pos, vocabulary)
                shares = []
                for pos in range(1, len(sequence)):
                    p = logits[pos, sequence[:pos + 1]].softmax(-1)  # tokens that can be attended to
                    raised = (p - p.mean()).clamp(min=0)
                    attended = pattern[head, pos, :pos + 1].argmax()
                    shares.append(float(raised[attended] / raised.sum()) if raised.sum() > 1e-6 else 0.0)
                total[layer, head] += np.mean(shares)
    return total / n_seeds


def _input_of(net: Plain, layer: int, ids: Sequence[int]) -> Tensor:
    """(1, pos, d_model): what a layer reads."""
    seen: list[Tensor] = []
    hook = net.layers[layer].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True)
    net.logits(ids)
    hook.remove()
    return seen[0].clone()
