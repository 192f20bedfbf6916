"""A map as SVG shows the same cells, colours and marks as the map on the page."""

from typing import Any
from xml.etree import ElementTree

import numpy as np

from backend.values import parse_exact
from pages.map import head_map, picture, protocol
from pages.shared import pictures
from pages.shared.charts import paper

SCORES = np.array([[0.0, 0.5, 1.0], [0.25, 0.75, 0.1]])
STOPS = ["#ffffff", "#000000"]
SVG = "{http://www.w3.org/2000/svg}"


def parts(off: str = "", scores: np.ndarray = SCORES, **more: Any) -> ElementTree.Element:
    shown = head_map(scores, title="a <b> & c", **more)
    mask = protocol.as_mask(parse_exact(off), shown.shape)
    return ElementTree.fromstring(picture.as_svg(shown.drawn, mask, STOPS))


def cells(svg: ElementTree.Element) -> list[tuple[float, float, str]]:
    """Left, top and fill of the map's cells, by size: the ground and the legend's steps are of other sizes."""
    side = str(picture.HIGHEST - 1)
    return [(float(one.get("x", 0)), float(one.get("y", 0)), one.get("fill", "")) for one in svg.iter(f"{SVG}rect")
            if one.get("width") == side and one.get("height") == side]


def test_layers_go_up_heads_across_and_the_higher_the_darker():
    drawn = cells(parts())
    fills = {(round(y), round(x)): fill for x, y, fill in drawn}
    (upper, lower), columns = sorted({y for y, _ in fills}), sorted({x for _, x in fills})
    assert [fills[lower, x] for x in columns] == ["#ffffff", "#808080", "#000000"]  # layer 0 at the bottom
    assert [fills[upper, x] for x in columns] == ["#bfbfbf", "#404040", "#e6e6e6"]


def test_what_is_off_keeps_its_colour_and_is_crossed_hatched_and_framed():
    on, off = parts(), parts("L0H1,F1", ffns=True)
    frames = [one for one in off.iter(f"{SVG}rect") if one.get("stroke") == picture.ORANGE]
    assert len(frames) == 2
    assert not list(on.iter(f"{SVG}path"))
    assert len(list(off.iter(f"{SVG}path"))) == 2 * 3  # hatching, halo, cross
    assert sorted(cells(parts("L0H1", ffns=True))) == sorted(cells(parts(ffns=True)))
    ffn = max(x for x, _, _ in cells(off))
    assert float(frames[-1].get("x", 0)) == ffn + 1  # the FFN of layer 1
    assert float(frames[0].get("x", 0)) < ffn


def test_marks_are_light_on_strong_colours_and_dark_on_weak_ones():
    strokes = [one.get("stroke") for one in parts("L0H2").iter(f"{SVG}path")]
    assert strokes == [picture.LIGHT, picture.DARK, picture.LIGHT]
    strokes = [one.get("stroke") for one in parts("L0H0").iter(f"{SVG}path")]
    assert strokes == [picture.DARK, picture.LIGHT, picture.DARK]


def test_names_are_text_and_the_legend_says_the_numbers():
    texts = [one.text for one in parts(label="importance").iter(f"{SVG}text")]
    assert texts[:2] == ["a <b> & c", "importance"]
    assert texts[2:5] == ["0", "0.5", "1"]


def test_layers_without_heads_are_dashes_that_nothing_switches():
    svg = parts("L0H1", headless=(0,))
    assert len(list(svg.iter(f"{SVG}path"))) == 3
    assert not [one for one in svg.iter(f"{SVG}rect") if one.get("stroke")]


def test_a_large_map_has_small_cells_without_hatching():
    svg = parts("L63H71", np.random.default_rng(0).random((64, 72)))
    assert len([one for one in svg.iter(f"{SVG}rect") if one.get("width") == str(picture.LOWEST - 1)]) == 64 * 72
    assert len({one.text for one in svg.iter(f"{SVG}text")} & set(map(str, range(64)))) == 64


def test_a_pages_map_is_drawn_in_the_light_themes_colours_with_the_written_mask():
    shown = head_map(np.array([[-1.0, 1.0]]), signed=True)
    svg = pictures.svg(shown, "L0H1")
    assert paper.theme()["chartDivergingColors"][-1] in svg  # orange: below zero
    assert paper.theme()["chartDivergingColors"][0] in svg
    assert picture.ORANGE in svg
    assert picture.ORANGE not in pictures.svg(shown, "L9H9")
