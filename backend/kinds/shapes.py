"""What records of several kinds have to fit: the setup that was asked, and the model that answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import BadInput, StoreError
from ..records import ModelInfo, Questions, require, require_shape, require_within
from ..values import Ablation, MaskSize, Setup, parse_exact


def check_questions(setup: Setup, questions: Questions) -> None:
    """No more queries than were asked for, none with more demonstrations left out than it had.

    Raises: StoreError: names the field that does not fit.
    """
    n = len(questions.docs) + len(questions.skipped)
    if questions.metric != "acc_by_group":  # whole groups are taken until there are as many as asked for
        require(n <= setup.n_examples, f"docs and skipped hold {n} queries where {setup.n_examples} were asked for")
    require_within("dropped_demos", questions.dropped_demos, 0, setup.n_shots)
    require(bool(questions.draws) == (setup.draws > 1), f"draws holds {len(questions.draws)} entries where the queries "
            f"were asked for behind {setup.draws} draws")
    require_within("draws", questions.draws, 0, setup.draws - 1)


def check_examples(setup: Setup, n: int, skipped: Sequence[int]) -> None:
    """No more examples used, and skipped, than were asked for. Raises: StoreError."""
    require(n + len(skipped) <= setup.n_examples, f"n_examples and skipped hold {n + len(skipped)} examples where "
            f"{setup.n_examples} were asked for")


def check_ablation(ablation: Ablation, info: ModelInfo) -> None:
    """Raises: StoreError: names what the model does not have."""
    try:
        ablation.check(info.n_layers, info.n_heads, info.headless)
    except BadInput as error:
        raise StoreError(str(error)) from error


def check_masks(texts: Sequence[str], sizes: Sequence[MaskSize], info: ModelInfo) -> None:
    """That masks name only what the model has. Raises: StoreError: names what it does not have."""
    for text, size in zip(texts, sizes, strict=True):
        if size.layers > info.n_layers or size.heads > info.n_heads or size.depth > info.n_layers or info.headless:
            check_ablation(parse_exact(text), info)


def check_heads(info: ModelInfo | None, *inner: int, **fields: Any) -> None:
    """That fields hold something for every head of the model, [layer][head], or of the first field's own shape.

    Args:
        info: the model's shape; None where nobody knows it.
        inner: sizes of what is held for each head.

    Raises: StoreError: names the field that does not fit.
    """
    first = next(iter(fields.values()))
    shape = (info.n_layers, info.n_heads) if info else (len(first), len(first[0]) if first else 0)
    for name, values in fields.items():
        require_shape(name, values, *shape, *inner)
