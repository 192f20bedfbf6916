"""Which heads continue what they have seen before? Prefix matching and copying, over random tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import limits
from ..arrays import Float
from ..errors import BadInput
from ..records import ModelInfo, Record, require, require_within
from ..values import ModelId
from .shapes import check_heads
from .unit import CountTokens, OfModel, Option, Progress, Topic, Wish

if TYPE_CHECKING:
    from ..models.loading import LoadedModel

N_SEEDS = 100
_ROUNDING = 1e-3  # how far rounding may lift a share above 1
N_SEQUENCES = Option("n_sequences", N_SEEDS, "random sequences behind the induction scores", least=1)
_INDUCTION = Topic("induction", "prefix matching and copying of every head", per_task=False, rank=5,
                   by_default=True)
_VARIANTS = Topic("variants", "the other definitions of prefix matching (authors) and copying (olsson)", per_task=False,
                  rank=6)


@dataclass(frozen=True)
class InductionScores(Record):
    """Prefix matching or copying of every head, over random token sequences."""

    n_seeds: int
    mean: Sequence[Sequence[float]]  # [layer][head]
    variance: Sequence[Sequence[float]]  # over seeds
    tokens: str  # how the random tokens were drawn, in words
    max_length: int  # longest sequence; shorter than asked where the model's context is

    def check(self) -> None:
        check_heads(None, mean=self.mean, variance=self.variance)
        require(bool(self.mean and self.mean[0]), "mean holds no head")
        require_within("mean", self.mean, -_ROUNDING, 1 + _ROUNDING)
        require_within("variance", self.variance, 0, 1 + _ROUNDING)
        require_within("max_length", [self.max_length], 1)


class _Scores(OfModel[InductionScores]):
    """What both scores share: variants, of which the first is the default, and random sequences."""

    RECORD = InductionScores
    TOPICS = {"induction": _INDUCTION, "variants": _VARIANTS}
    VARIANTS: tuple[str, ...]
    WHICH: str  # its word for `--score`
    if TYPE_CHECKING:
        variant: str
        n_sequences: int

    def __str__(self) -> str:
        return f"{super().__str__()} {self.variant}"

    def _check(self) -> None:
        if self.variant not in self.VARIANTS:
            raise BadInput(f"Unknown variant '{self.variant}'. Known: {', '.join(self.VARIANTS)}.")
        if not 1 <= self.n_sequences <= limits.SEQUENCES:
            raise BadInput(f"Scores are taken over 1 to {limits.SEQUENCES:,} random sequences.")

    def check(self, record: InductionScores, info: ModelInfo | None) -> None:
        require(record.n_seeds == self.n_sequences, f"n_seeds holds {record.n_seeds} where {self.n_sequences} "
                "sequences were asked for")
        check_heads(info, mean=record.mean, variance=record.variance)

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return self.n_sequences * min(info.max_positions, 4 * (N_SEEDS + 25))

    @property
    def topic(self) -> str:
        return "induction" if self.variant == self.VARIANTS[0] else "variants"

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[Any]:
        if cls.WHICH in wish.options["score"]:
            for variant in cls.VARIANTS[:1] if topic == "induction" else cls.VARIANTS[1:]:
                yield cls(wish.model, variant, wish.options["n_sequences"])  # type: ignore[call-arg]

    def options(self) -> Mapping[str, Any]:
        return {"score": self.WHICH, "n_sequences": self.n_sequences}


def _which(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not set(names) <= {"prefix-matching", "copying"}:
        raise ValueError(f"'{text}' is no induction score; known: prefix-matching, copying")
    return names


SCORE = Option("score", ("prefix-matching", "copying"), "which induction scores: prefix-matching, copying or both",
               read=_which, metavar="NAME,NAME")


@dataclass(frozen=True)
class PrefixMatching(_Scores):
    """How much each head looks back at what followed the current token before."""

    KIND = "prefix_matching"
    TITLE = "prefix matching"
    DEFINITION = ("attention on the tokens that followed earlier occurrences of the current one, summed, mean over "
                  "positions; random tokens, four repeats")
    SOURCE = "Olsson et al. 2022, arXiv:2209.11895; Bansal et al. 2023, arXiv:2212.09095"
    OPTIONS = (N_SEQUENCES, SCORE)
    VARIANTS = ("exact", "authors")
    WHICH = "prefix-matching"

    model: ModelId
    variant: str = "exact"
    n_sequences: int = N_SEEDS

    def __post_init__(self) -> None:
        self._check()

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> InductionScores:
        return prefix_matching(model, self.n_sequences, self.variant, progress)


@dataclass(frozen=True)
class Copying(_Scores):
    """How much each head raises the logit of the token it attends to."""

    KIND = "copying"
    TITLE = "copying"
    DEFINITION = "share of the raised probability, among attendable tokens, on the token attended to most"
    SOURCE = "the authors' code of Bansal et al. 2023; Olsson et al. 2022, arXiv:2209.11895"
    OPTIONS = (N_SEQUENCES, SCORE)
    VARIANTS = ("authors", "olsson")
    WHICH = "copying"

    model: ModelId
    variant: str = "authors"
    n_sequences: int = N_SEEDS

    def __post_init__(self) -> None:
        self._check()

    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> InductionScores:
        return copying(model, self.n_sequences, self.variant, progress)


def prefix_matching(
    model: LoadedModel, n_seeds: int = N_SEEDS, variant: str = "exact", progress: Progress | None = None,
) -> InductionScores:
    """How much each head attends to what followed earlier occurrences of the current token.

    Per seed: BOS, then a block of random tokens four times over. For every position of repeats 2 to 4, the
    attention to the tokens behind the earlier occurrences of the token there, summed; averaged over
    positions, then over seeds. From 0 to 1; an ideal induction head has 1, higher means more induction.

    Args:
        variant: "exact", or "authors": in the study's code the last token of each block has one target too many,
            position 1, which follows BOS.
        progress: called as progress(seeds done, n_seeds) after each batch.

    Raises:
        BadInput: unknown variant, no seeds, or a context or vocabulary too small for four repeats of two tokens.
    """
    from ..engine.induction import N_REPEATS, prefix_matching_scores, random_sequences

    sequences, tokens = random_sequences(model, n_seeds, 1)
    scores = prefix_matching_scores(model, sequences, variant, progress)
    return _record(scores, tokens, 1 + N_REPEATS * (max(map(len, sequences)) - 1))


def copying(
    model: LoadedModel, n_seeds: int = N_SEEDS, variant: str = "authors", progress: Progress | None = None,
) -> InductionScores:
    """How much each head raises the probability of the token that it attends to.

    Per seed: BOS, then random tokens without repetition, fed as embeddings straight into each layer. At every
    position but the first, what the head writes is read off through the unembedding (no last norm in between);
    of the probability that it lifts above the mean of the attendable tokens, the share of the token
    attended to most; averaged over positions, then over seeds. From 0 to 1; higher means more copying. 0 where
    nothing is lifted. A norm behind the attention of a layer (Gemma 2 and 3, OLMo 2) is left out like the last norm,
    and so is what an architecture does to its logits after the unembedding.

    Args:
        variant: "authors": what the head would write if it attended to the position itself, with the bias of the
            output projection; or "olsson": what it moves, that is the attention-weighted values, no bias.
        progress: called as progress(seeds done, n_seeds) after each batch.

    Raises:
        BadInput: unknown variant, no seeds, or a context or vocabulary too small for eight tokens.
        ModelError: if the model hides its values or its unembedding.
    """
    from ..engine.induction import N_REPEATS, copying_scores, random_sequences

    sequences, tokens = random_sequences(model, n_seeds, N_REPEATS)
    scores = copying_scores(model, sequences, variant, progress)
    return _record(scores, tokens, max(map(len, sequences)))


def _record(scores: Float[np.ndarray, "n_seeds n_layers n_heads"], tokens: str, max_length: int) -> InductionScores:
    """Mean and variance over the seeds, (n_seeds, n_layers, n_heads)."""
    def plain(array: Float[np.ndarray, "n_layers n_heads"]) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(map(float, row)) for row in array)

    return InductionScores(len(scores), plain(scores.mean(0)), plain(scores.var(0)), tokens, max_length)
