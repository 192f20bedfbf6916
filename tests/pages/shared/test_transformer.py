"""The picture of the model says what is off, to eyes and to screen readers."""

import re
from xml.etree import ElementTree

import pytest

from backend.values import INTACT, parse_exact
from pages.map.protocol import Shape
from pages.shared import transformer

SMALL, LARGE = Shape(5, 8), Shape(64, 72)
TAG = "{http://www.w3.org/2000/svg}"


def drawn(shape: Shape, off: str = "") -> ElementTree.Element:
    """The picture, read as XML."""
    return ElementTree.fromstring(transformer.svg(shape, parse_exact(off)))


def of(picture: ElementTree.Element, name: str, style: str) -> list[ElementTree.Element]:
    return [one for one in picture.iter(TAG + name) if one.get("class") == style]


def boxes(picture: ElementTree.Element, style: str) -> int:
    """How many heads and FFNs are drawn so; the legend has one box of each kind."""
    return len(of(picture, "rect", style)) - 1


@pytest.mark.parametrize(("off", "said"), [
    ("", "All 40 heads and 5 FFNs on"), ("L1H0-3,F2", "4 of 40 heads and 1 of 5 FFNs off: L1H0-3,F2"),
    ("F0-1", "2 of 5 FFNs off: L0 FFN and L1 FFN"), ("mean:L1H0", "1 of 40 heads replaced by their mean: L1H0")])
def test_it_is_described_in_words(off: str, said: str):
    assert transformer.described(SMALL, parse_exact(off)) == said
    picture = drawn(SMALL, off)
    assert picture.get("role") == "img"
    assert (picture.get("aria-label") or "").endswith(f"from tokens to logits. {said}.")


def test_every_head_and_ffn_has_a_box_and_what_is_off_is_crossed_out():
    intact = drawn(SMALL)
    assert boxes(intact, "on") == 45
    assert not of(intact, "rect", "off")
    picture = drawn(SMALL, "L1H0-3,L4H7,F2")
    assert (boxes(picture, "on"), boxes(picture, "off")) == (39, 6)
    assert len(of(picture, "path", "cross")) == 7  # and the legend's


def ticks(picture: ElementTree.Element, style: str) -> int:
    """Short lines between a head and the lines that it reads from or writes to."""
    return sum(bool(re.fullmatch(r"M[\d.]+ [\d.]+V[\d.]+", one.get("d") or "")) for one in of(picture, "path", style))


def test_what_is_off_neither_reads_nor_writes_and_a_mean_writes_alone():
    assert ticks(drawn(SMALL), "line") == 80
    assert ticks(drawn(SMALL, "L1H0-3"), "line") == 72
    mean = drawn(SMALL, "mean:L1H0-3")
    assert (ticks(mean, "line"), ticks(mean, "constant")) == (72, 4)
    assert (boxes(mean, "mean"), len(of(mean, "rect", "off"))) == (4, 0)


def test_a_layer_whose_heads_are_all_off_adds_nothing_to_the_stream():
    assert len(of(drawn(SMALL), "circle", "sum")) == 10
    assert len(of(drawn(SMALL, "L2H0-7"), "circle", "sum")) == 9
    assert len(of(drawn(SMALL, "L2H0-7,F2"), "circle", "sum")) == 8


def test_a_large_model_has_a_bar_per_layer_with_the_share_that_is_off():
    picture = drawn(LARGE, "L10H0-35,F3")
    assert len(list(picture.iter(TAG + "rect"))) < 3 * 64
    off = [float(one.get("width") or 0) for one in of(picture, "rect", "off")]
    on = {float(one.get("width") or 0) for one in of(picture, "rect", "on")}
    whole = max(on)
    assert whole / 2 in off  # half of layer 10
    assert "36 of 72 off" in [one.text for one in picture.iter(TAG + "text")]
    assert len(transformer.svg(LARGE, parse_exact("L0-63H0-71,F0-63"))) < 200_000


def test_layers_without_heads_say_so():
    picture = drawn(Shape(3, 4, (1,)), "")
    assert boxes(picture, "on") == 8 + 3 + 1
    assert "linear attention, no heads" in [one.text for one in picture.iter(TAG + "text")]
    assert transformer.described(Shape(3, 4, (1,)), INTACT) == "All 8 heads and 3 FFNs on"


def test_layers_go_up_from_the_tokens_to_the_logits():
    heights = {one.text: float(one.get("y") or 0) for one in drawn(SMALL).iter(TAG + "text")}
    assert heights["logits: the next token"] < heights["layer 4"] < heights["layer 0"] < heights["tokens of the prompt"]


def test_it_takes_its_ink_from_the_page():
    assert "fill: currentColor" in transformer.STYLE
    assert "#fff" not in transformer.STYLE
