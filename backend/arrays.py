"""Types of arrays that say their shapes: `Float[np.ndarray, "n_layers n_heads"]`, `Int[Tensor, "batch pos"]`.

They are jaxtyping's. Under test every call is held against them (tests/conftest.py); elsewhere they are for readers and
for type checkers alone. Nothing is checked then, jaxtyping is not even imported, and such a type is the bare array.

Bool, Float and Int are of any width; Real is either of the last two, Shaped is whatever it is. One name is one size
within a call, and means the same everywhere:

    n_layers, n_heads   of the model; n_key_heads where several query heads share keys and values
    d_model, d_head     widths; d_state: what a block reads, d_model or several residual streams of it side by side
    d_hidden            what the last norm puts out: d_model, or narrower where a model has a projection behind it
    vocab               tokens of the vocabulary, or of a part of it
    batch, pos          texts side by side in one pass, and positions in them; q_pos and k_pos in attention
    n_prefix            positions of a prefix that is read once for several texts
    n_masks             ablations that ride in one pass
    n                   whatever a function is given many of; its docstring says what. n_questions, n_queries, n_tasks,
                        n_blocks (of examples), n_draws (of a bootstrap), n_points (of a curve) where that is plainer

`1` is one for all, `#batch` one or as many as the batch has; `_` and `...` stand for sizes that are not told.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:  # which whoever checks has imported
    from jaxtyping import Bool, Float, Int, Real, Shaped
else:
    class Shaped:
        """An array whose shape is not checked."""

        def __class_getitem__(cls, array_and_shape: tuple[Any, str]) -> Any:
            return array_and_shape[0]

    Bool = Float = Int = Real = Shaped

__all__ = ["Bool", "Float", "Int", "Real", "Shaped"]
