"""One prompt looked at: attention, next tokens, contributions. Nothing is stored; torch is loaded when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Float
from ..errors import BadInput
from ..kinds.means import Activations
from ..tasks.task import Example, Prompt
from ..values import INTACT, Ablation, Head

if TYPE_CHECKING:
    from ..kinds.influence import Influences
    from ..models.loading import LoadedModel
    from .patterns import Contributions, NextWritten
    from .reading import Reading


def own_prompt(text: str, options: Sequence[str]) -> Prompt:
    """A prompt of one's own with options to compare; none of them counts as right, the first stands in.

    Options are set apart by a space, unless the text ends in a blank or they begin with one.
    """
    apart = "" if text[-1:].isspace() else " "
    given = tuple(option if option[:1].isspace() else apart + option for option in options)
    return Prompt(Example((text,) * len(given), given, (0,), text))


def look_at(
    model: LoadedModel, prompt: Prompt | str, ablation: Ablation = INTACT, means: Activations | None = None, k: int = 10
) -> Reading:
    """Tokens, next tokens and options' log-likelihoods of one prompt (see `lens.reading`)."""
    from .reading import read

    return read(model, prompt, ablation, means, k)


def influence(
    model: LoadedModel, prompt: Prompt, ablation: Ablation = INTACT, means: Activations | None = None
) -> Influences:
    """What each demonstration of one prompt does to the right answer's log-likelihood (see `kinds.influence`)."""
    from ..kinds.influence import influence

    return influence(model, [prompt], ablation, means)


def attention(
    model: LoadedModel, token_ids: Sequence[int], layer: int, ablation: Ablation = INTACT,
    means: Activations | None = None,
) -> Float[np.ndarray, "n_heads pos pos"]:
    """Where each head of a layer looks, rows = queries (see `lens.patterns`)."""
    from .patterns import attention_patterns

    return attention_patterns(model, token_ids, [layer], ablation, means)[layer]


def repeated_tokens(
    model: LoadedModel, n_block: int = 12, seed: int = 0, n_repeats: int = 2
) -> tuple[list[int], list[str]]:
    """BOS and then a block of random tokens several times over: token ids, and how they read.

    The tokens are drawn as for prefix matching (see `engine.induction`).

    Raises:
        BadInput: if the context or the vocabulary is too small for it.
    """
    from ..engine.induction import random_vocabulary
    from .patterns import tokens_shown

    vocabulary, _ = random_vocabulary(model)
    longest = min(len(vocabulary), (model.info.max_positions - 1) // n_repeats)
    if not 1 <= n_block <= longest:
        raise BadInput(f"A block of {n_block} tokens, {n_repeats} times: it may have 1 to {longest} tokens here.")
    block = np.random.default_rng(seed).choice(vocabulary, n_block, replace=False).tolist()
    ids = [model.start, *block * n_repeats]
    return ids, tokens_shown(model.tokenizer, ids)


def contributions(
    model: LoadedModel, token_ids: Sequence[int], answer: int, foil: int | None = None
) -> Contributions:
    """What each head and FFN adds to a next token's logit, directly (see `lens.patterns` for what that means)."""
    from .patterns import direct_contributions

    return direct_contributions(model, token_ids, answer, foil)


def direct_path(model: LoadedModel, head: Head, token_ids: Sequence[int], k: int = 5) -> list[list[NextWritten]]:
    """What a head writes most for single tokens, along the direct path (see `lens.patterns`)."""
    from .patterns import direct_path

    return direct_path(model, head, token_ids, k)
