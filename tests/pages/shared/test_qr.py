"""QR codes: what a telephone reads is what was written."""

import hashlib

import numpy as np
import pytest

from backend.errors import BadInput
from pages.shared import qr

FORMATS = {  # level L with mask 0 to 7, as the standard lists them
    0b111011111000100: 0, 0b111001011110011: 1, 0b111110110101010: 2, 0b111100010011101: 3,
    0b110011000101111: 4, 0b110001100011000: 5, 0b110110001000001: 6, 0b110100101110110: 7}


def read(code: np.ndarray) -> tuple[str, list[int]]:
    """The text of a code without an error, and all of its codewords."""
    size = len(code)
    along = [*code[8, [0, 1, 2, 3, 4, 5, 7, 8]], *code[[7, 5, 4, 3, 2, 1, 0], 8]]  # the highest bit first
    mask = FORMATS[int("".join("1" if bit else "0" for bit in along), 2)]
    y, x = np.indices(code.shape)
    fixed = np.zeros(code.shape, bool)
    fixed[:9, :9] = fixed[:9, -8:] = fixed[-8:, :9] = True
    fixed[6] = fixed[:, 6] = True
    if size > 21:
        fixed[size - 9:size - 4, size - 9:size - 4] = True
    plain = code ^ qr.MASKS[mask](y, x)
    bits, column, up = "", size - 1, True
    while column > 0:
        column -= column == 6
        for row in range(size - 1, -1, -1) if up else range(size):
            bits += "".join("01"[int(plain[row, one])] for one in (column, column - 1) if not fixed[row, one])
        column, up = column - 2, not up
    words = [int(bits[i:i + 8], 2) for i in range(0, len(bits) // 8 * 8, 8)]
    length = (words[0] & 15) << 4 | words[1] >> 4
    assert words[0] >> 4 == 0b0100
    return bytes((words[i + 1] & 15) << 4 | words[i + 2] >> 4 for i in range(length)).decode(), words


@pytest.mark.parametrize("n", [1, 17, 18, 32, 33, 44, 53, 54, 78, 79, 106])
def test_what_is_read_is_what_was_written(n: int):
    text = ("http://192.168.1.20:8501/classroom?room=KPTR&" * 3)[:n]
    assert read(qr.matrix(text))[0] == text


@pytest.mark.parametrize("n", [10, 30, 50, 70, 100])
def test_the_correction_makes_every_syndrome_zero(n: int):
    """A codeword's polynomial is zero at 1, 2, 4, ... in the field of 256 elements."""
    _, words = read(qr.matrix("x" * n))
    data, correction = next(pair for pair in qr.VERSIONS.values() if n + 2 <= pair[0])
    root = 1
    for _ in range(correction):
        value = 0
        for word in words[:data + correction]:
            value = qr._times(value, root) ^ word
        assert value == 0
        root = qr._times(root, 2)


def test_a_code_that_a_camera_has_read_stays_as_it_is():
    """Decoded by OpenCV 4 when it was made: every module where readers look for it."""
    code = qr.matrix("http://192.168.1.20:8501/classroom?room=KPTR")
    assert code.shape == (29, 29)
    assert hashlib.sha256(np.packbits(code).tobytes()).hexdigest()[:16] == "2f8ba9bc8ace77e7"


def test_an_address_that_is_too_long_is_refused():
    with pytest.raises(BadInput, match="at most 106"):
        qr.matrix("x" * 107)


def test_the_picture_is_black_on_white_with_white_around():
    picture = qr.svg("a")
    assert 'viewBox="0 0 29 29"' in picture
    assert 'fill="#fff"' in picture
    assert "M4 4h1v1h-1z" in picture
