"""An address as a QR code, so that a class can come in by pointing a telephone at the wall. Pure: text in, picture out.

ISO/IEC 18004, as little of it as an address needs: bytes, error correction level L, versions 1 to 5, one block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backend.errors import BadInput

VERSIONS = {1: (19, 7), 2: (34, 10), 3: (55, 15), 4: (80, 20), 5: (108, 26)}  # bytes of data, of error correction
QUIET = 4  # modules of white around it
MASKS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda y, x: (y + x) % 2 == 0, lambda y, x: y % 2 == 0, lambda y, x: x % 3 == 0, lambda y, x: (y + x) % 3 == 0,
    lambda y, x: (y // 2 + x // 3) % 2 == 0, lambda y, x: y * x % 2 + y * x % 3 == 0,
    lambda y, x: (y * x % 2 + y * x % 3) % 2 == 0, lambda y, x: ((y + x) % 2 + y * x % 3) % 2 == 0)


def matrix(text: str) -> np.ndarray:
    """(size, size) of bool, dark modules; without the white around.

    Raises:
        BadInput: the text is too long.
    """
    data = text.encode()
    version = next((v for v, (room, _) in VERSIONS.items() if len(data) + 2 <= room), None)
    if version is None:
        raise BadInput(f"An address of {len(data)} bytes does not fit into this QR code: at most "
                       f"{VERSIONS[5][0] - 2}.")
    words = _codewords(data, *VERSIONS[version])
    bits = [word >> i & 1 for word in words for i in range(7, -1, -1)]
    dark, fixed = _patterns(17 + 4 * version)
    bits += [0] * (int((~fixed).sum()) - len(bits))  # some versions have a few modules left
    for (y, x), bit in zip(_zigzag(fixed), bits, strict=True):
        dark[y, x] = bit
    rows, columns = np.indices(dark.shape)
    masked = [_with_format(np.where(fixed, dark, dark ^ rule(rows, columns)), mask) for mask, rule in enumerate(MASKS)]
    return min(masked, key=_penalty)


def svg(text: str) -> str:
    """The code as a picture, black on white on any ground."""
    code = matrix(text)
    size = len(code) + 2 * QUIET
    path = "".join(f"M{x + QUIET} {y + QUIET}h1v1h-1z" for y, x in np.argwhere(code))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" width="{8 * size}" '
            f'height="{8 * size}" shape-rendering="crispEdges">'
            f'<rect width="100%" height="100%" fill="#fff"/><path d="{path}" fill="#000"/></svg>')


def _codewords(data: bytes, n_data: int, n_correction: int) -> list[int]:
    """Mode, length, data and padding as bytes; behind them the remainder that corrects errors."""
    bits = f"0100{len(data):08b}" + "".join(f"{byte:08b}" for byte in data)
    bits += "0" * min(4, 8 * n_data - len(bits))
    bits += "0" * (-len(bits) % 8)
    words = [int(bits[i:i + 8], 2) for i in range(0, len(bits), 8)]
    words += [(0xEC, 0x11)[i % 2] for i in range(n_data - len(words))]
    generator = [1]
    for i in range(n_correction):  # times (x - 2^i)
        generator = [a ^ _times(b, _power(i)) for a, b in zip([*generator, 0], [0, *generator], strict=True)]
    rest = words + [0] * n_correction
    for i in range(n_data):
        rest[i:i + n_correction + 1] = [a ^ _times(rest[i], b) for a, b in zip(
            rest[i:i + n_correction + 1], generator, strict=True)]
    return words + rest[n_data:]


def _times(a: int, b: int) -> int:
    """The product in the field of 256 elements, modulo x^8 + x^4 + x^3 + x^2 + 1."""
    product = 0
    while b:
        product ^= a * (b & 1)
        a, b = a << 1 ^ 0x11D * (a >> 7), b >> 1
    return product


def _power(n: int) -> int:
    """2 to the n in that field."""
    return 1 if n == 0 else _times(2, _power(n - 1))


def _patterns(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The modules that are the same in every code, and where they (and the format) are."""
    dark, fixed = np.zeros((size, size), bool), np.zeros((size, size), bool)
    y, x = np.indices(dark.shape)
    for top, left in ((3, 3), (3, size - 4), (size - 4, 3)):  # three finders, a white line around each
        ring = np.maximum(abs(y - top), abs(x - left))
        dark |= np.isin(ring, (0, 1, 3))
        fixed |= ring <= 4
    if size > 21:  # one alignment pattern
        ring = np.maximum(abs(y - size + 7), abs(x - size + 7))
        dark |= np.isin(ring, (0, 2))
        fixed |= ring <= 2
    timing = ((y == 6) | (x == 6)) & ~fixed
    dark |= timing & ((y + x) % 2 == 0)
    fixed |= timing
    fixed[8, :9] = fixed[:9, 8] = fixed[8, -8:] = fixed[-8:, 8] = True  # the format's places, written last
    return dark, fixed


def _zigzag(fixed: np.ndarray) -> list[tuple[int, int]]:
    """The free modules in the order of the bits: pairs of columns from the right, up and down in turn."""
    size, found = len(fixed), []
    columns = [x for x in range(size - 1, 0, -2) if x > 6] + [5, 3, 1]
    for i, right in enumerate(columns):
        rows = range(size - 1, -1, -1) if i % 2 == 0 else range(size)
        found += [(y, x) for y in rows for x in (right, right - 1) if not fixed[y, x]]
    return found


def _with_format(dark: np.ndarray, mask: int) -> np.ndarray:
    """The same with level L and the mask's number written beside the finders, twice."""
    value = 0b01 << 3 | mask
    rest = value << 10  # what is left of it when divided by the format's polynomial
    for i in range(14, 9, -1):
        rest ^= (0x537 << i - 10) * (rest >> i & 1)
    bits = [bool(((value << 10 | rest) ^ 0x5412) >> i & 1) for i in range(15)]  # the lowest first
    dark = dark.copy()
    dark[[0, 1, 2, 3, 4, 5, 7, 8], 8] = bits[:8]
    dark[8, [7, 5, 4, 3, 2, 1, 0]] = bits[8:]
    dark[8, [-1, -2, -3, -4, -5, -6, -7, -8]] = bits[:8]
    dark[[-7, -6, -5, -4, -3, -2, -1], 8] = bits[8:]
    dark[-8, 8] = True
    return dark


def _penalty(dark: np.ndarray) -> float:
    """How hard to read it would be: equal modules in long rows and in blocks, and more dark than light or less."""
    runs = sum(int(np.all(lines[:, i:i + 5] == lines[:, i:i + 1], axis=1).sum())
               for lines in (dark, dark.T) for i in range(len(dark) - 4))
    blocks = (dark[1:, 1:] == dark[:-1, 1:]) & (dark[1:, 1:] == dark[1:, :-1]) & (dark[1:, 1:] == dark[:-1, :-1])
    return 3 * runs + 3 * int(blocks.sum()) + 200 * abs(float(dark.mean()) - 0.5)
