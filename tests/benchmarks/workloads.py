"""What is measured on: random models of known shapes, and prompts of known lengths."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import torch
from transformers import OPTConfig, OPTForCausalLM, PreTrainedModel

from backend.models.loading import DTYPES, LoadedModel, prepare
from backend.tasks.task import Example, Prompt

BOS = 2
N_SPECIAL = 4  # ids below are never drawn


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes."""

    n_layers: int
    n_heads: int
    d_model: int
    vocab_size: int = 50_272
    max_positions: int = 2048

    @property
    def d_ffn(self) -> int:
        return 4 * self.d_model


SHAPES = {
    "opt-125m": Shape(12, 12, 768),
    "opt-1.3b": Shape(24, 32, 2048),
    "opt-13b": Shape(40, 40, 5120),
    "tiny": Shape(2, 2, 32, vocab_size=2_000),  # for trying the benchmark out
}


class Numbers:
    """A tokenizer whose words are token ids, written as numbers: lengths are what we say they are."""

    bos_token_id = eos_token_id = BOS
    all_special_ids = tuple(range(N_SPECIAL))

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [int(word) for word in text.split()]

    def __call__(self, texts: list[str], **settings: bool) -> dict[str, list[list[int]]]:
        return {"input_ids": [self.encode(text) for text in texts]}

    def get_vocab(self) -> dict[str, int]:
        return {str(i): i for i in range(self.vocab_size)}


def random_network(
    shape: Shape, dtype: str = "float32", device: str = "cpu", attention: str = "sdpa", seed: int = 0
) -> PreTrainedModel:
    """An OPT model of random weights; the same seed gives the same weights."""
    torch.manual_seed(seed)
    config = OPTConfig(
        vocab_size=shape.vocab_size, hidden_size=shape.d_model, word_embed_proj_dim=shape.d_model,
        num_hidden_layers=shape.n_layers, num_attention_heads=shape.n_heads, ffn_dim=shape.d_ffn,
        max_position_embeddings=shape.max_positions, dropout=0.0, attn_implementation=attention)
    return OPTForCausalLM(config).eval().to(device, DTYPES[dtype])  # type: ignore[arg-type]


def random_model(shape: Shape, dtype: str = "float32", device: str = "cpu", seed: int = 0) -> LoadedModel:
    """The same, made ready for the engine."""
    return prepare(random_network(shape, dtype, device, seed=seed), Numbers(shape.vocab_size), "random", "0", dtype)


@dataclass(frozen=True)
class Lengths:
    """What a task's prompts measure, in tokens."""

    n_queries: int = 32
    n_shots: int = 5
    demo: int = 80
    question: int = 50
    n_options: int = 4
    option: int = 25

    @property
    def prefix(self) -> int:
        return self.n_shots * self.demo

    def with_(self, **changes: int) -> Lengths:
        """The same with some lengths changed."""
        return replace(self, **changes)


HELLASWAG = Lengths()
BOOLQ = Lengths(demo=150, question=150, n_options=2, option=1)
IMPORTANCE = Lengths(n_queries=4)


def make_prompts(lengths: Lengths, shape: Shape, demos: str = "fixed", seed: int = 0) -> list[Prompt]:
    """Random prompts of these lengths; the options of a question share no token."""
    rng = random.Random(seed)

    def words(n: int) -> str:
        return " ".join(str(rng.randrange(N_SPECIAL, shape.vocab_size)) for _ in range(n))

    def shown() -> tuple[str, ...]:
        return tuple(words(lengths.demo) for _ in range(lengths.n_shots))

    fixed = shown()
    prompts = []
    for doc in range(lengths.n_queries):
        question = words(lengths.question)
        first = rng.sample(range(N_SPECIAL, shape.vocab_size), lengths.n_options)
        options = tuple(f" {token} {words(lengths.option - 1)}".rstrip() for token in first)
        example = Example((question,) * lengths.n_options, options, (0,), question + options[0])
        prompts.append(Prompt(example, fixed if demos == "fixed" else shown(), doc))
    return prompts


def pairs_of(prompts: list[Prompt], tokenizer: Numbers) -> list[tuple[list[int], list[int]]]:
    """Every (context, option) of every prompt in token ids, question by question."""
    return [(tokenizer.encode(p.prefix + context), tokenizer.encode(option))
            for p in prompts for context, option in zip(p.example.contexts, p.example.options, strict=True)]
