"""What is measured on: random models of known shapes, and prompts of known lengths."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import torch
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedModel

from backend.models.loading import DTYPES, LoadedModel, prepare
from backend.tasks.task import Example, Prompt

BOS = 2
N_SPECIAL = 4  # ids below are never drawn


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes.

    Attributes:
        family: "opt" (ReLU between two widths, learned positions, LayerNorm, biases) or "llama" (a gated FFN of three
            widths, rotary positions, RMSNorm, no biases). Both share one matrix between embedding and unembedding.
        n_kv_heads: heads of keys and values that query heads share; None for as many as there are query heads.
        d_inner: width of the FFN; None for 4 * d_model.
    """

    n_layers: int
    n_heads: int
    d_model: int
    vocab_size: int = 50_272
    max_positions: int = 2048
    family: str = "opt"
    n_kv_heads: int | None = None
    d_inner: int | None = None

    @property
    def d_ffn(self) -> int:
        return self.d_inner or 4 * self.d_model

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads

    @property
    def key_value_weights(self) -> int:
        """Weights of a block that make keys and values."""
        return 2 * self.d_model * (self.n_kv_heads or self.n_heads) * self.d_head

    @property
    def query_weights(self) -> int:
        return self.d_model * self.n_heads * self.d_head

    @property
    def behind_weights(self) -> int:
        """Weights of a block behind its attention: the output projection and the FFN."""
        return self.query_weights + (3 if self.family == "llama" else 2) * self.d_model * self.d_ffn

    @property
    def block_weights(self) -> int:
        """Weights of a block that take part in products, once for every token."""
        return self.key_value_weights + self.query_weights + self.behind_weights

    @property
    def bytes(self) -> int:
        """Of its weights in float32, embedding and unembedding counted once."""
        return 4 * (self.n_layers * self.block_weights + self.vocab_size * self.d_model)

    def scaled(self, times: float) -> Shape:
        """The same with heads of the same size, and so many times as many of them: all widths grow alike."""
        return replace(
            self, n_heads=round(self.n_heads * times), d_model=round(self.n_heads * times) * self.d_head,
            n_kv_heads=None if self.n_kv_heads is None else round(self.n_kv_heads * times),
            d_inner=None if self.d_inner is None else round(self.d_inner * times))


SHAPES = {
    "opt-125m": Shape(12, 12, 768),
    "opt-1.3b": Shape(24, 32, 2048),
    "opt-13b": Shape(40, 40, 5120),
    "smollm2-135m": Shape(30, 9, 576, vocab_size=49_152, family="llama", n_kv_heads=3, d_inner=1536),
    "llama-1.5b": Shape(28, 12, 1536, vocab_size=151_936, family="llama", n_kv_heads=2, d_inner=8960),  # Qwen2.5-1.5B's
    "tiny": Shape(2, 2, 32, vocab_size=2_000),  # these two for trying the benchmark out
    "tiny-llama": Shape(2, 4, 32, vocab_size=2_000, family="llama", n_kv_heads=2, d_inner=80),
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
    """A model of random weights; the same seed gives the same weights."""
    torch.manual_seed(seed)
    sizes = {"vocab_size": shape.vocab_size, "hidden_size": shape.d_model, "num_hidden_layers": shape.n_layers,
             "num_attention_heads": shape.n_heads, "max_position_embeddings": shape.max_positions,
             "attn_implementation": attention, "tie_word_embeddings": True}
    network: PreTrainedModel
    if shape.family == "llama":
        network = LlamaForCausalLM(LlamaConfig(intermediate_size=shape.d_ffn, num_key_value_heads=shape.n_kv_heads,
                                               **sizes))
    else:
        network = OPTForCausalLM(OPTConfig(word_embed_proj_dim=shape.d_model, ffn_dim=shape.d_ffn, dropout=0.0,
                                           **sizes))
    return network.eval().to(device, DTYPES[dtype])  # type: ignore[arg-type]


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
# By SmolLM2's tokenizer, means over 40 questions and their demonstrations; HellaSwag and BoolQ as above. MultiRC's
# demonstrations have 537 there: 340 of them fit these models' 2,048 positions five times.
COPA = Lengths(demo=15, question=8, n_options=2, option=6)
CAPITAL = Lengths(demo=7, question=4, n_options=3, option=2)
PIQA = Lengths(demo=37, question=13, n_options=2, option=19)
MULTIRC = Lengths(demo=340, question=321, n_options=2, option=12)


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
