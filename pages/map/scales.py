"""Numbers into shades: how strongly each cell of a map is coloured, and what its legend says."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, cast

import numpy as np

from backend import stats

Number = Literal["plain", "percent", "+points", "count", "+fixed"]  # 0.0123, 12.3 %, +12.3 points, 12, +0.012
SCALES = ("raw", "logarithmic", "per layer")
VISIBLE = 0.25  # of the colours' range: a cell as strong as this stands out from the ground
ENOUGH = 0.1  # of the cells: with as many visible, a map shows more than its peak

LEAST = 0.1  # of accuracy: an axis of changes spans at least this much, so that next to nothing looks like it


class Shades(NamedTuple):
    """How a matrix is coloured."""

    strength: np.ndarray  # (n_layers, n_columns) from 0 to 1; NaN where nothing is known
    ticks: list[tuple[float, float]]  # (strength, the number that it stands for)
    clipped: int  # cells beyond a locked scale's ends


def shades(values: np.ndarray, scale: str = "raw", *, signed: bool = False,
           domain: tuple[float, float] | None = None) -> Shades:
    """The strengths of a matrix on one of the `SCALES`.

    raw: from 0 (or below, where there are negatives), so that equal strengths mean equal shares.
    logarithmic: from the lowest positive number to the highest; what is 0 or below has strength 0.
    per layer: each layer divided by its L2 norm (Michel et al. 2019), then raw.

    Args:
        signed: around zero, which has strength 0.5 (differences); raw only.
        domain: a locked scale, for maps that are compared; what lies beyond is clipped, and counted.
    """
    if signed and scale != "raw":
        raise ValueError(f"A signed map has no {scale} scale; only raw.")
    values = stats.normalise_layers(values) if scale == "per layer" else np.asarray(values, float)
    finite = values[np.isfinite(values)]
    if scale == "logarithmic" and (finite > 0).any():
        low, high = domain or (float(finite[finite > 0].min()), float(finite.max()))
        low, high = np.log10(low), np.log10(high)
        with np.errstate(divide="ignore", invalid="ignore"):
            shown = np.where(values > 0, np.log10(values), np.where(np.isnan(values), np.nan, -np.inf))
    elif signed:
        reach = max(map(abs, domain)) if domain else float(np.abs(finite).max(initial=0))
        low, high, shown = -reach, reach, values
    else:
        low, high = domain or (min(0.0, float(finite.min(initial=0))), float(finite.max(initial=0)))
        shown = values
    if not high > low:
        low, high = (low - 1, high) if scale == "logarithmic" else (low - (1 if signed else 0), low + 1)
    strength = np.clip((shown - low) / (high - low), 0, 1)
    beyond = 0 if domain is None else int(((shown < low) | (shown > high))[np.isfinite(shown)].sum())
    places = _powers(low, high) if scale == "logarithmic" and (finite > 0).any() else np.array(
        [low, 0, high] if low < 0 < high else [low, (low + high) / 2, high])
    numbers = 10.0 ** places if scale == "logarithmic" and (finite > 0).any() else places
    ticks = [(float((at - low) / (high - low)), float(number)) for at, number in zip(places, numbers, strict=True)]
    return Shades(strength, ticks if len(finite) else [], beyond)


def best_scale(values: np.ndarray) -> str:
    """The first of the `SCALES` on which more than a map's peak can be seen, or the one that shows most.

    That is: at least three cells, and `ENOUGH` of all, are as strong as `VISIBLE`.
    """
    seen = {scale: visible(values, scale) for scale in SCALES if scale != "logarithmic" or np.nanmin(values) >= 0}
    enough = max(3, int(np.ceil(ENOUGH * values.size)))
    return next((scale for scale, n in seen.items() if n >= enough), max(seen, key=lambda scale: seen[scale]))


def visible(values: np.ndarray, scale: str) -> int:
    """How many cells stand out from the ground on a scale."""
    with np.errstate(invalid="ignore"):
        return int((shades(values, scale).strength >= VISIBLE).sum())


def ranks(values: np.ndarray, headless: Collection[int] = ()) -> list[list[int] | None] | None:
    """Each head's place, 1 = highest, ties in index order as everywhere; None where a number is missing.

    Args:
        headless: layers without attention heads, for each of which there is None.
    """
    there = ~np.isin(np.arange(len(values)), list(headless))
    if np.isnan(values[there]).any():
        return None
    places = np.empty(values[there].size, int)
    places[stats.order(values[there])[::-1]] = np.arange(1, places.size + 1)
    rows = iter(places.reshape(-1, values.shape[1]).tolist())
    return [next(rows) if one else None for one in there]


def _powers(low: float, high: float) -> np.ndarray:
    """Powers of ten between two logarithms, at most four; the two ends where none or one lies between."""
    powers = np.arange(np.ceil(low - 1e-9), np.floor(high + 1e-9) + 1)
    powers = powers[::max(1, -(-len(powers) // 4))]
    return powers if len(powers) > 1 else np.array([low, high])


def plain(matrix: np.ndarray | Sequence[Sequence[float]], digits: int = 6) -> list[list[float | None]]:
    """A matrix for JSON: numbers rounded to some digits that matter, None where there is none."""
    exact = np.asarray(matrix, float)
    there = np.isfinite(exact)
    places = digits - 1 - np.floor(np.log10(np.abs(exact), where=there & (exact != 0), out=np.zeros(exact.shape)))
    tens = 10.0 ** np.minimum(np.abs(places), 300)  # of what lies beyond nothing is left
    with np.errstate(over="ignore", invalid="ignore"):  # in the way that is not taken
        rounded = np.where(places > 0, np.rint(exact * tens) / tens, np.rint(exact / tens) * tens)
    told = rounded.astype(object)
    told[~there] = None
    return cast(list[list[float | None]], told.tolist())


def written(value: float, number: Number) -> str:
    """A number of a legend or an axis; of a difference between shares without its unit, which the title says."""
    if number in ("percent", "+points"):
        digits = ".0f" if value == 0 or abs(value) >= 0.01 else ".1g"
        sign = "+" if number == "+points" and value else ""
        return f"{100 * value:{sign}{digits}}{' %' * (number == 'percent')}".replace("-", "−")
    if number == "count":
        return f"{value:.0f}"
    sign = "+" if number.startswith("+") and value > 0 else ""
    text = f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-") if 0 < abs(value) < 1e-3 else f"{value:.3g}"
    return sign + text.replace("-", "−")
