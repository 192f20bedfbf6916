"""Small pictures as data URLs: what is too many, or too small, for a chart of its own."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from pages.shared.charts.style import BLUE


def picture(pattern: np.ndarray, at_most: int = 96) -> str:
    """A pattern as a PNG in a data URL, blue on nothing, so that it reads on light and dark alike.

    Larger patterns are made smaller by taking the strongest of neighbouring cells.
    """
    step = -(-len(pattern) // at_most)
    padded = np.pad(pattern, (0, -len(pattern) % step))
    small = padded.reshape(len(padded) // step, step, len(padded) // step, step).max((1, 3))
    enlarged = max(1, 120 // len(small))
    return _png(np.kron(np.sqrt(np.clip(small, 0, 1)), np.ones((enlarged, enlarged))))


def two_maps(a: np.ndarray, b: np.ndarray) -> str:
    """Two score matrices side by side as a PNG in a data URL: heads across, layers up, each up to its own maximum."""
    strength = [0.08 + 0.92 * np.clip(m, 0, None)[::-1] / max(float(m.max()), 1e-30) for m in (a, b)]
    size = max(1, 14 if a.size <= 200 else 260 // (2 * max(a.shape)))
    gap = np.zeros((len(a) * size, max(12, 2 * size)))
    large = [np.kron(m, np.ones((size, size))) for m in strength]
    if size > 4:  # a line between cells
        for m in large:
            m[::size], m[:, ::size] = 0, 0
    return _png(np.hstack([large[0], gap, large[1]]))


def _png(opacity: np.ndarray) -> str:
    """Blue of this opacity, 0 to 1, as a PNG in a data URL: reads on light and dark alike."""
    pixels = np.empty((*opacity.shape, 4), np.uint8)
    pixels[..., :3] = [int(BLUE[i:i + 2], 16) for i in (1, 3, 5)]
    pixels[..., 3] = np.round(255 * opacity)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
