"""A chart as SVG: on white, whole, and with nothing in it that is fetched or run."""

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from backend import tables
from pages.shared import charts
from pages.shared.charts import paper
from pages.shared.charts.style import INKS

MARKUP = "</g><script>&"
NAMES = ["a", MARKUP]
TABLE = tables.matrix_table(np.array([[1.0, 0.2], [0.9, 1.0]]), NAMES, NAMES, "ρ")


def drawn(chart: paper.Chart) -> str:
    return paper.as_svg(paper.specification(chart))


def matrix(dark: bool) -> str:
    svg = drawn(charts.matrix(TABLE, "ρ", rows=NAMES, columns=NAMES, dark=dark))
    return re.sub(r"(gradient|clip)_?\d+", r"\1", svg)  # counted through all pictures of a process


def test_a_chart_drawn_in_the_dark_is_readable_on_white():
    light = matrix(dark=False)
    assert matrix(dark=True) == light
    assert INKS[True][0] not in light
    assert re.search(r'<rect width="[\d.]+" height="[\d.]+" fill="#ffffff"', light)
    assert paper.theme()["chartSequentialColors"][-1] == "#08305e"
    assert "rgb(8, 48, 94)" in light or "#08305e" in light  # the strongest colour of the light theme


def test_names_are_text_and_never_markup():
    found = ElementTree.fromstring(matrix(dark=False))
    texts = [one.text for one in found.iter("{http://www.w3.org/2000/svg}text")]
    assert MARKUP in texts
    assert not [one for one in found.iter() if one.tag.endswith("script")]


def test_a_chart_as_wide_as_its_place_gets_a_width_and_any_number_of_rows():
    table = pd.DataFrame({"layer": range(6000), "share": np.linspace(0, 1, 6000)})
    spec = paper.specification(charts.layer_bars(table, "share", "share"))
    assert spec["width"] == paper.WIDTH
    assert sum(map(len, spec["datasets"].values())) == 6000
    assert paper.size(drawn(charts.layer_bars(table.head(3), "share", "share")))[0] == paper.WIDTH


def test_a_chart_that_knows_its_width_keeps_it():
    pattern = np.tril(np.full((3, 3), 1 / 3))
    chart = charts.attention_map(tables.attention_table(pattern, ["a", "b", "c"]), ["a", "b", "c"])
    assert paper.specification(chart)["width"] == chart.width


def test_a_picture_from_elsewhere_is_not_fetched(monkeypatch: pytest.MonkeyPatch):
    import vl_convert

    asked: dict[str, object] = {}
    monkeypatch.setattr(vl_convert, "vegalite_to_svg", lambda spec, **options: asked.update(options) or "")
    matrix(dark=False)
    assert asked["allowed_base_urls"] == []


def test_pictures_stand_together_in_rows_with_labels_and_names_of_their_own():
    one = '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="50"><g id="x"/><path fill="url(#x)"/></svg>'
    other = one.replace('width="100" height="50"', 'width="60" height="70"')
    both = paper.together([("first", one), (MARKUP, other), ("third", one)], per_row=2)
    assert paper.size(both) == (100 + paper.GAP + 60, 70 + 50 + 2 * paper.LABEL + paper.GAP)
    found = ElementTree.fromstring(both)
    names = [part.get("id") for part in found.iter() if part.get("id")]
    assert len(names) == len(set(names)) == 3
    assert sorted(re.findall(r"url\(#(.*?)\)", both)) == sorted(names)
    assert [one.text for one in found.iter("{http://www.w3.org/2000/svg}text")] == ["first", MARKUP, "third"]
    assert paper.together([("", one)]) == one


def test_signs_that_xml_does_not_know_are_left_out():
    assert paper.escaped("a\x00\x1b<\ud800b") == "a&lt;b"
