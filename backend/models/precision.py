"""Which precision is the faster one here: products of a model's own size, formed in float32 and in bfloat16 in turns.

A processor without instructions for bfloat16 takes several times as long in it, one that has them a fraction, and
neither its name nor its flags say which fraction: so it is measured, when somebody asks for the dtype "fast". What is
found has no part in any result's name but by the precision that it chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from torch import Tensor
from torch.nn.functional import linear

from ..arrays import Float
from ..machine import is_out_of_memory
from ..records import ModelInfo

ENOUGH = 1.2  # times as fast bfloat16 has to be to be worth the digits that it lacks
ROWS = 256  # positions that are multiplied, as in a short pass
TURNS = 15  # each precision has, at most
LEAST_TURNS = 3  # before bfloat16 is taken; one is enough to see that it is slower
SECONDS = 0.3  # after which no further turn begins
MOST_WEIGHTS = {"cpu": 2**21, "": 2**26}  # of the product, on a processor and elsewhere: of a larger FFN, a part
OPERATIONS = {"cpu": 2**27, "": 2**33}  # of a turn, at least: so many products in it that a clock can tell them


@dataclass(frozen=True)
class Choice:
    """What "fast" comes to for a model on a device, and what was measured there."""

    dtype: str  # "float32" or "bfloat16"
    ratio: float  # how many times as fast bfloat16 is; 0 where there is none
    shape: tuple[int, int, int]  # of the product: rows, d_model, how much of d_ffn
    whole: bool  # whether that is all of d_ffn
    where: str  # in words

    @property
    def sentence(self) -> str:
        """What was chosen and why."""
        return f"fast means {self.dtype} here: {self.why}"

    @property
    def why(self) -> str:
        """What was measured."""
        if not self.ratio:
            return f"{self.where} multiplies nothing in bfloat16."
        rows, d_model, d_ffn = self.shape
        product = (f"a product of the size of {'' if self.whole else 'a part of '}the model's FFN ({rows} x {d_model} "
                   f"by {d_model} x {d_ffn})")
        if self.ratio < 1:
            return f"in bfloat16 {product} takes {1 / self.ratio:.2f} times as long as in float32 on {self.where}."
        return f"in bfloat16 {product} is {self.ratio:.2f} times as fast as in float32 on {self.where}" + (
            f", and it is taken from {ENOUGH:g} times on." if self.ratio < ENOUGH else ".")


def faster(info: ModelInfo, device: torch.device) -> Choice:
    """Whether bfloat16 is clearly faster than float32 for products of a model's FFN: at least `ENOUGH` times, in the
    medians of several turns. Takes well under a second."""
    kind = device.type if device.type in MOST_WEIGHTS else ""
    shape = ROWS, info.d_model, max(1, min(info.d_ffn, MOST_WEIGHTS[kind] // info.d_model))
    where = "this processor" if kind == "cpu" else f"this {_name(device)}"
    n = max(1, OPERATIONS[kind] // (2 * shape[0] * shape[1] * shape[2]))
    turns: list[tuple[float, float]] = []
    try:
        pairs = [(torch.ones(ROWS, shape[1], dtype=dtype, device=device),
                  torch.ones(shape[2], shape[1], dtype=dtype, device=device))
                 for dtype in (torch.float32, torch.bfloat16)]
        for x, weight in pairs:
            _seconds(x[:16], weight, 1)  # the first product makes ready
        began = perf_counter()
        while len(turns) < TURNS and (not turns or perf_counter() - began < SECONDS or (
                len(turns) < LEAST_TURNS and _ratio(turns) > 1)):
            single, half = (_seconds(x, weight, n) for x, weight in pairs)
            turns.append((single, half))
    except (RuntimeError, TypeError) as error:  # a device that knows no such numbers
        if is_out_of_memory(error):
            raise
        turns = []
    ratio = _ratio(turns) if turns else 0.0
    return Choice("bfloat16" if ratio >= ENOUGH else "float32", ratio, shape, shape[2] >= info.d_ffn, where)


def _ratio(turns: Sequence[tuple[float, float]]) -> float:
    """How many times as fast the second is."""
    return median(single for single, _ in turns) / max(median(half for _, half in turns), 1e-9)


def _seconds(x: Float[Tensor, "rows d_model"], weight: Float[Tensor, "d_ffn d_model"], n: int) -> float:
    """How long `n` products take, until the last is there."""
    _wait(x.device)
    began = perf_counter()
    for _ in range(n):
        linear(x, weight)
    _wait(x.device)
    return perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _name(device: torch.device) -> str:
    return f"GPU ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else f"device ({device})"
