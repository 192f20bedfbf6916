"""The model as a picture: what its heads and FFNs read and write, and which of them are off.

The residual stream runs up the middle, from the tokens to the logits. In each layer the heads, to its right, read from
it and add what they write; then so does the FFN, to its left. What is off has no line to the stream any more; what is
replaced by its mean writes, always the same, and reads nothing. Pure: a shape and an `Ablation` in, SVG out.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from backend.values import Ablation, Head
from pages.map.protocol import Shape
from pages.shared import words
from pages.shared.charts.style import BLUE, GREY, ORANGE

DETAILED = Shape(12, 16)  # up to so many layers and heads each head has its box; beyond, each layer a bar
FEW = 3  # components that are named one by one
ON, OFF, MEAN = "on", "off", "its mean"

_SPINE = 190  # from the left, in units of the drawing, as all that follows
_HEADS = _SPINE + 46  # where the first head begins
_BOX, _GAP, _TALL = 24, 6, 20  # of a head
_LAYER, _SLIM = 84, 10  # height of a layer, with boxes and as a bar
_FFN = 84  # width of an FFN
_BAR = 330  # width of a layer's bar
_TOP, _BOTTOM = 44, 44

# Of the whole page, for SVG that stands in it.
STYLE = f"""<style>
.model {{ width: 100%; height: auto; font: 12px "Source Sans", sans-serif; }}
.model text {{ fill: currentColor; text-anchor: middle; }}
.model .say {{ opacity: 0.85; }}
.model .spine {{ stroke: {GREY}; stroke-width: 7; }}
.model .line {{ stroke: {BLUE}; stroke-width: 1.6; fill: none; }}
.model .ends {{ fill: {GREY}; fill-opacity: 0.2; stroke: {GREY}; }}
.model .sum {{ fill: {BLUE}; stroke: none; }}
.model .on {{ fill: {BLUE}; fill-opacity: 0.28; stroke: {BLUE}; stroke-width: 1.5; }}
.model .off {{ fill: {GREY}; fill-opacity: 0.14; stroke: {GREY}; stroke-width: 1.2; stroke-dasharray: 3 2; }}
.model .mean {{ fill: {ORANGE}; fill-opacity: 0.16; stroke: {ORANGE}; stroke-width: 1.5; }}
.model .cross {{ stroke: {ORANGE}; stroke-width: 2; fill: none; }}
.model .constant {{ stroke: {ORANGE}; stroke-width: 1.6; fill: none; stroke-dasharray: 4 2; }}
.model .note {{ text-anchor: start; font-size: 11px; font-style: italic; }}
.model .gone {{ opacity: 0.6; }}
</style>"""


def described(shape: Shape, off: Ablation) -> str:
    """The picture in words: `24 of 40 heads off: L0, L1`."""
    n_heads = int(shape.there[:, :-1].sum())
    if not off:
        return f"All {n_heads} heads and {words.how_many(shape.n_layers, 'FFN')} on"
    counts = [f"{len(those)} of {n} {what}" for those, n, what in
              ((off.heads, n_heads, "heads"), (off.ffns, shape.n_layers, "FFNs")) if those]
    what = "replaced by their mean" if off.fill == "mean" else "off"
    few = len(off.heads) + len(off.ffns) <= FEW
    names = words.components(off, FEW) if few else str(off.filled("zero"))
    return f"{' and '.join(counts)} {what}: {names}"


def svg(shape: Shape, off: Ablation) -> str:
    """The picture, for light and dark pages alike."""
    small = shape.n_layers <= DETAILED.n_layers and shape.n_heads <= DETAILED.n_heads
    layer, tall = (_layer, _LAYER) if small else (_slim_layer, _SLIM)
    width = _HEADS + max((_BOX + _GAP) * shape.n_heads if small else _BAR + 80, 230) + 10
    height = _TOP + tall * shape.n_layers + _BOTTOM + 34
    foot = height - 34 - _BOTTOM
    parts = [
        f'<line class="spine" x1="{_SPINE}" y1="{foot + 8}" x2="{_SPINE}" y2="{_TOP - 8}"/>',
        _end(_TOP - 34, "logits: the next token"), _end(foot + 8, "tokens of the prompt"),
        f'<text class="say note" x="{_SPINE + 14}" y="{_TOP + 6}">residual stream</text>',
        *(layer(shape, off, n, foot - tall * n) for n in range(shape.n_layers)), _legend(off, height - 12)]
    return (f'<svg class="model" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'style="max-width:{width}px" aria-label="{escape(_said(shape, off))}">{"".join(parts)}</svg>')


def _said(shape: Shape, off: Ablation) -> str:
    return (f"Picture of the model, {shape.n_layers} layers of {shape.n_heads} heads and one FFN each along the "
            f"residual stream from tokens to logits. {described(shape, off)}.")


# --- a layer with a box for each head, `y` its lower end ------------------------------------------


def _layer(shape: Shape, off: Ablation, layer: int, y: float) -> str:
    return (f'<text class="say" x="34" y="{y - 18}">layer {layer}</text>' + _heads(shape, off, layer, y)
            + _ffn(_state(layer in off.ffns, off), y - 42))


def _heads(shape: Shape, off: Ablation, layer: int, y: float) -> str:
    """A row of boxes, the line below that they read from, and the one above that they write to."""
    low, high = y - 6, y - 38
    if layer in shape.headless:
        return (_taps([_HEADS + 85], low, y - 12) + _taps([_HEADS + 85], high, y - 32, [ON])
                + _box(_HEADS, y - 32, 170, _TALL, ON, "linear attention, no heads"))
    states = [_state(Head(layer, head) in off.heads, off) for head in range(shape.n_heads)]
    middles = [_HEADS + (_BOX + _GAP) * head + _BOX / 2 for head in range(shape.n_heads)]
    reading = [x for x, state in zip(middles, states, strict=True) if state == ON]
    writing = {x: state for x, state in zip(middles, states, strict=True) if state != OFF}
    parts = ""
    if layer == 0:  # what the lines are, once
        parts += (f'<text class="say note" x="{_SPINE + 12}" y="{low - 3}">read</text>' if reading else "") + (
            f'<text class="say note" x="{_SPINE + 12}" y="{high + 12}">add</text>' if writing else "")
    parts += _taps(reading, low, y - 12) + _taps(writing, high, y - 32, writing.values())
    for head, (x, state) in enumerate(zip(middles, states, strict=True)):
        parts += _box(x - _BOX / 2, y - 32, _BOX, _TALL, state, str(head))
    return parts


def _taps(middles: Iterable[float], bus: float, edge: float, states: Iterable[str] = ()) -> str:
    """A line along the boxes to the stream, with a short one to each; with its sum where they write."""
    middles, states = list(middles), list(states)
    if not middles:
        return ""
    lines = f'<path class="line" d="M{_SPINE} {bus}H{max(middles)}"/>'
    lines += "".join(f'<path class="{"constant" if state == MEAN else "line"}" d="M{x} {bus}V{edge}"/>'
                     for x, state in zip(middles, states or [ON] * len(middles), strict=True))
    return lines + (_sum(bus) if states else "")


def _ffn(state: str, y: float) -> str:
    """A box to the left, reading below and writing above."""
    x, middle = _SPINE - 30 - _FFN, _SPINE - 30 - _FFN / 2
    read = f'<path class="line" d="M{_SPINE} {y - 4}H{middle}V{y - 10}"/>' if state == ON else ""
    style = "constant" if state == MEAN else "line"
    write = f'<path class="{style}" d="M{middle} {y - 30}V{y - 36}H{_SPINE}"/>{_sum(y - 36)}' if state != OFF else ""
    return read + write + _box(x, y - 30, _FFN, _TALL, state, "FFN")


def _sum(y: float) -> str:
    """Where something is added to the stream."""
    return (f'<circle class="sum" cx="{_SPINE}" cy="{y}" r="6"/><path d="M{_SPINE - 3.5} {y}h7M{_SPINE} {y - 3.5}v7" '
            'stroke="#fff" stroke-width="1.6"/>')


def _box(x: float, y: float, width: float, height: float, state: str, label: str) -> str:
    style = {ON: "on", OFF: "off", MEAN: "mean"}[state]
    box = f'<rect class="{style}" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>'
    gone = ' class="gone"' if state == OFF else ""
    text = f'<text{gone} x="{x + width / 2}" y="{y + height / 2 + 4}">{label}</text>' if label else ""
    if state == OFF:
        return box + text + (f'<path class="cross" d="M{x + 2} {y + 2}l{width - 4} {height - 4}M{x + 2} '
                             f'{y + height - 2}l{width - 4} {4 - height}"/>')
    if state == MEAN:
        return box + text + f'<path class="cross" d="M{x + 5} {y + 3.5}h{width - 10}"/>'
    return box + text


# --- a layer as a bar -----------------------------------------------------------------------------


def _slim_layer(shape: Shape, off: Ablation, layer: int, y: float) -> str:
    """The share of the heads that is off to the right, the FFN to the left."""
    top, tall = y - _SLIM + 1, _SLIM - 2
    ffn = _state(layer in off.ffns, off)
    parts = _strip(_SPINE - 14 - _FFN / 2, top, _FFN / 2, tall, ffn)
    every = 1 if shape.n_layers <= 12 else 2 if shape.n_layers <= 24 else 4 if shape.n_layers <= 48 else 8
    if layer % every == 0:
        parts += f'<text class="say" x="34" y="{y - 1}">layer {layer}</text>'
    if layer in shape.headless:
        return parts
    gone = sum(head.layer == layer for head in off.heads)
    share = gone / shape.n_heads
    if gone < shape.n_heads:
        parts += _strip(_SPINE + 14, top, _BAR * (1 - share), tall, ON)
    if gone:
        parts += _strip(_SPINE + 14 + _BAR * (1 - share), top, _BAR * share, tall, _state(True, off))
        parts += (f'<text x="{_SPINE + 14 + _BAR + 42}" y="{y - 1}" style="font-size:10px">{gone} of '
                  f"{shape.n_heads} {'mean' if off.fill == 'mean' else 'off'}</text>")
    return parts


def _strip(x: float, y: float, width: float, height: float, state: str) -> str:
    style = {ON: "on", OFF: "off", MEAN: "mean"}[state]
    strip = f'<rect class="{style}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" rx="2"/>'
    if state == ON:
        return strip
    if state == MEAN:
        return strip + f'<path class="cross" d="M{x:.1f} {y + height / 2}h{width:.1f}"/>'
    slashes = "".join(f"M{x + at:.1f} {y + height}l{min(height, width - at):.1f} -{min(height, width - at):.1f}"
                      for at in range(0, max(1, int(width) - 1), 8))
    return strip + f'<path class="cross" style="stroke-width:1.4" d="{slashes}"/>'


# --- what is around the layers --------------------------------------------------------------------


def _state(off: bool, ablation: Ablation) -> str:
    return ON if not off else MEAN if ablation.fill == "mean" else OFF


def _end(y: float, text: str) -> str:
    return (f'<rect class="ends" x="{_SPINE - 80}" y="{y}" width="160" height="26" rx="6"/>'
            f'<text x="{_SPINE}" y="{y + 17}">{text}</text>')


def _legend(off: Ablation, y: float) -> str:
    """What the boxes mean, of those that are there."""
    gone = "replaced by its mean: writes the same always" if off.fill == "mean" else "off: adds nothing"
    parts, x = "", 20.0
    for state, text in [(ON, "reads and writes"), *([(_state(True, off), gone)] if off else [])]:
        parts += _box(x, y - 13, 18, 16, state, "")
        parts += f'<text x="{x + 26}" y="{y}" style="text-anchor:start">{text}</text>'
        x += 150
    return parts
