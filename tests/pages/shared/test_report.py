"""A report is one file with everything in it and nothing that runs; a notebook runs."""

import contextlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from pages.shared import report
from pages.shared.report import Figure

EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>[a](javascript:alert(1))"
TABLE = pd.DataFrame({"task": ["a", EVIL], "accuracy": [0.123456789, np.nan], "n": [40, 2]})
FIGURE = Figure(f"**Half** of {EVIL}", f":orange[:material/warning: n = 40] · `L1H2`  \nthen {EVIL}", TABLE,
                "print('<b>')", [("", None)], [("Intact", "87.5 %", "95 %: 80–92 %")], "L1H2")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><g id="clip1"/><g clip-path="url(#clip1)"/></svg>'
CHOSEN, VERSIONS = {"Model": EVIL, "Seed": "0"}, {"Headroom": "0.1.0", "torch": "2.13.0"}


class Tags(HTMLParser):
    """The tags and attributes of a document, its text, and whether what was opened was closed."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def document() -> str:
    return report.html("Heads", [FIGURE, FIGURE], [SVG, SVG], CHOSEN, VERSIONS, "2026-01-02 03:04 UTC")


def test_nothing_from_outside_is_rendered_or_run(document: str):
    read = Tags(document)
    assert not read.open
    names = {tag for tag, _ in read.tags}
    assert not names & {"script", "img", "a", "link", "iframe", "object", "form"}
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    assert not re.search(r"(src|href)=", re.sub(r"<pre>.*?</pre>", "", document.replace("&", ""))
                         .replace("lt;img src=x", ""))
    policy = next(one["content"] for tag, one in read.tags if one.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'")
    assert read.text.count(EVIL) >= 2 * 3 + 1  # title, caption and table of both, and the model's name: as text


def test_everything_of_a_figure_is_there(document: str):
    text = Tags(document).text
    for said in ("Heads", "2026-01-02 03:04 UTC", "Intact", "87.5 %", "95 %: 80–92 %", "n = 40", "0.123457", "Seed",
                 "print('<b>')", "torch", "2.13.0", "Table, 2 rows"):
        assert said in text, said
    assert "<strong>Half</strong>" in document
    assert "<code>L1H2</code><br>then" in document
    assert ":material" not in document
    assert ":orange" not in document


def test_pictures_of_one_report_do_not_share_names(document: str):
    names = re.findall(r'\sid="(.*?)"', document)
    assert names == ["f1-clip1", "f2-clip1"]
    assert re.findall(r"url\(#(.*?)\)", document) == names


def test_a_figure_without_a_picture_shows_its_table_at_once():
    document = report.html("Heads", [FIGURE], [""], {}, {}, "today")
    assert "<details open>" in document
    assert "<figure>" not in document


def test_long_tables_are_cut_and_said_to_be():
    table = pd.DataFrame({"x": range(report.MOST_ROWS + 5)})
    document = report.html("Heads", [Figure("t", "", table, "")], [""], {}, {}, "today")
    assert f"The first {report.MOST_ROWS} rows of {report.MOST_ROWS + 5}." in document
    assert f"<td>{report.MOST_ROWS - 1}</td>" in document
    assert f"<td>{report.MOST_ROWS}</td>" not in document


def test_a_notebook_has_a_cell_of_words_and_one_of_lines_per_figure_and_they_run():
    made = json.loads(report.notebook("Heads", [FIGURE, FIGURE], CHOSEN, VERSIONS, "today"))
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    assert set(made) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    cells = made["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", *["markdown", "code"] * 2]
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"]) for cell in cells)
    for cell in cells:
        assert set(cell) == {"cell_type", "id", "metadata", "source"} | (
            {"execution_count", "outputs"} if cell["cell_type"] == "code" else set())
        assert isinstance(cell["source"], list)
        assert all(line.endswith("\n") for line in cell["source"][:-1])
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec("".join(cells[2]["source"]), {})
    assert out.getvalue() == "<b>\n"


def test_no_words_of_a_notebook_are_markup_or_links():
    cells = json.loads(report.notebook("Heads", [FIGURE], CHOSEN, {}, "today"))["cells"]
    words = "".join(line for cell in cells if cell["cell_type"] == "markdown" for line in cell["source"])
    assert "<" not in words
    assert "](" not in words.replace("\\](", "")
    assert "**Half** of" in words
    assert "- Seed: 0" in words


def test_colours_and_icons_of_a_page_are_left_out():
    assert report.plain(":orange[:material/content_cut: two :blue[words]] and [a list]") == "two words and [a list]"
