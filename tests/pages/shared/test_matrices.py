"""What matrices of named rows and columns say, and the pictures behind their cells."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend import tables
from pages.shared import charts
from pages.shared.charts.pictures import picture, two_maps
from pages.shared.charts.style import INKS

VALUES = np.array([[1.0, 0.4], [0.9, 1.0]])
TABLE = tables.matrix_table(VALUES, ["a", "b"], ["x", "y"], "rho")


def cells(**more: Any) -> dict[str, Any]:
    return charts.matrix(TABLE, "rho", rows=["a", "b"], columns=["x", "y"], **more).to_dict()["layer"][0]


def pixels(url: str) -> np.ndarray:
    """(height, width, 4) of a data URL."""
    assert url.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_rows_go_down_as_a_table_and_up_as_layers():
    assert cells()["encoding"]["y"]["sort"] == ["a", "b"]
    assert cells(bottom_up=True)["encoding"]["y"]["sort"] == ["b", "a"]
    assert cells()["encoding"]["x"]["sort"] == ["x", "y"]


def test_colours_run_over_the_domain_that_is_given():
    scale = cells(domain=(0.25, 1.0))["encoding"]["color"]["condition"]["scale"]
    assert scale == {"range": "heatmap", "domain": [0.25, 1.0], "clamp": True}
    signed = cells(domain=(-0.2, 0.5), signed=True, reverse=True)["encoding"]["color"]["condition"]["scale"]
    assert (signed["domain"], signed["domainMid"], signed["reverse"]) == ([-0.5, 0.5], 0, True)


def test_a_blank_cell_has_no_colour_and_no_number():
    table = tables.matrix_table(VALUES, ["a", "b"], ["a", "b"], "rho", blank_diagonal=True)
    spec = charts.matrix(table, "rho", rows=["a", "b"], columns=["a", "b"]).to_dict()
    assert spec["layer"][0]["encoding"]["color"]["condition"]["test"] == "isValid(datum['rho'])"
    assert spec["layer"][1]["transform"] == [{"filter": "isValid(datum['rho'])"}]


def test_numbers_on_cells_are_readable_in_either_theme_and_left_out_of_large_matrices():
    for dark in (False, True):
        spec = charts.matrix(TABLE, "rho", rows=["a", "b"], columns=["x", "y"], dark=dark, number=".0%").to_dict()
        text = spec["layer"][1]["encoding"]
        assert text["text"]["format"] == ".0%"
        assert (text["color"]["value"], text["color"]["condition"][0]["value"]) == INKS[dark]
    names = [str(i) for i in range(20)]
    large = tables.matrix_table(np.ones((20, 20)), names, names, "rho")
    assert len(charts.matrix(large, "rho", rows=names, columns=names).to_dict()["layer"]) == 1


def test_the_chosen_cell_is_framed():
    spec = charts.matrix(TABLE, "rho", rows=["a", "b"], columns=["x", "y"], chosen=("a", "y")).to_dict()
    assert spec["layer"][-1]["mark"]["filled"] is False
    assert "'a'" in str(spec["layer"][-1]["transform"])
    assert "'y'" in str(spec["layer"][-1]["transform"])


def test_a_clicked_cell_is_read_by_row_and_column():
    assert charts.picked({"selection": {charts.CLICK: [{"row": "a", "column": "b"}]}}) == ("a", "b")
    assert charts.picked({"selection": {charts.CLICK: []}}) is None
    assert charts.picked(None) is None


def test_the_colours_of_correlations_reach_to_zero_unless_all_are_high():
    assert charts.span(np.array([0.87, np.nan, 0.99])) == (pytest.approx(0.8), 1.0)
    assert charts.span(np.array([0.2, 0.9])) == (0.0, 1.0)
    assert charts.span(np.array([-0.4, 0.9])) == (-0.4, 1.0)


# --- pictures -------------------------------------------------------------------------------------


def test_a_cell_shows_its_two_maps_while_it_is_hovered_over():
    a, b = np.eye(3, 4), np.ones((3, 4))
    strength = pixels(two_maps(a, b))[..., 3] / 255
    cell = len(strength) // 3
    left = strength[cell // 2::cell, cell // 2::cell][:, :4]
    assert np.allclose(left > 0.9, a[::-1])  # layer 0 at the bottom
    assert (strength[cell // 2::cell, -4 * cell + cell // 2::cell] > 0.9).all()
    assert len(two_maps(np.ones((64, 72)), np.ones((64, 72)))) < 20_000


def test_every_cell_but_a_thing_with_itself_has_a_picture():
    a, b = np.eye(3, 4), np.ones((3, 4))
    table = tables.matrix_table(VALUES, ["a", "b"], ["a", "b"], "rho")
    shown = charts.pictured(table, {("a", "b"): (a, b), ("b", "a"): (b, a)})
    assert shown["image"].tolist() == ["", two_maps(a, b), two_maps(b, a), ""]
    spec = charts.matrix(shown, "rho", rows=["a", "b"], columns=["a", "b"]).to_dict()
    assert {"field": "image", "type": "nominal"} in spec["layer"][0]["encoding"]["tooltip"]


def test_a_small_picture_keeps_the_strongest_of_what_it_joins():
    pattern = np.zeros((200, 200))
    pattern[150, 3] = 1
    shown = pixels(picture(pattern, at_most=50))
    assert shown.shape[0] >= 50
    assert shown[..., 3].max() == 255
    assert shown[..., 3].min() == 0
    strongest = np.argwhere(shown[..., 3] == 255)
    assert 0.7 < strongest[:, 0].mean() / len(shown) < 0.8  # three quarters down, at the left
    assert strongest[:, 1].mean() / len(shown) < 0.05
