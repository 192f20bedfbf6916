"""Captions are one line, how it is measured is whole behind them, and every term of a page is explained on it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.shared import glossary
from tests.pages.conftest import VIEWS, Explorer, bodies, browse, calm, captions, opened, words
from tests.pages.test_shown import STEPS, full

__all__ = ["full"]  # the fixture
LONGEST = 90
SETUP = "Setup: {}, 5-shot, 10 draws of demonstrations, seed 0"
DEFINITIONS = {  # what has to be behind some caption of a page, or of a view with definitions of its own
    "heads": ["|z · dL/dz|, per token, as in the authors' code", "Higher: the loss depends more on the head"],
    "card": ["Importance per-token: gradients"],
    "ffns": ["on the same questions"],
    "lab": ["Answer: the option of highest summed log-likelihood",
            "95 % intervals over questions and 10 draws", "McNemar's exact test"],
    "pruning": ["gradient importance", "the lowest go first"],
    "overlap": ["per-token gradient importance of n = 200 training examples per task"],
    "Demonstrations": ["Min et al. 2022, arXiv:2202.12837", "task learning = true − shuffled"],  # a view of Induction
    "induction": ["Olsson et al. 2022, arXiv:2209.11895"],
    "tour": [],
}
SOURCED = ("heads", "pruning", "overlap", "induction")


def explained(app: AppTest) -> set[str]:
    """The terms that a page explains: marked in its texts, or in the help of its controls."""
    texts = [*bodies(app), *(str(text.value) for text in app.markdown)]
    marks = {one for text in texts for one in re.findall(r'aria-describedby="([^"]*)"', text)}
    helps = " ".join(str(getattr(element, "help", "")) for kind in (
        app.button_group, app.selectbox, app.number_input, app.multiselect, app.text_input, app.toggle, app.slider,
        app.select_slider) for element in kind)
    return {term for term, (_, meaning) in glossary.TERMS.items()
            if glossary.identifier(term) in marks or meaning in helps}


def seen(page: str, address: dict[str, Any]) -> AppTest:
    """A view with everything there; of the Tour, after the guess."""
    app = opened(page, task="antonym", **address)
    if page == "tour" and app.radio:
        app.radio[0].set_value(app.radio[0].options[0]).run()
    assert not app.exception
    return app


@pytest.mark.parametrize(("page", "address"), [*VIEWS, *STEPS], ids=str)
def test_captions_are_short_nothing_is_lost_behind_them_and_terms_are_explained(
        explorer: Explorer, full: Path, monkeypatch: pytest.MonkeyPatch, page: str, address: dict[str, Any]):
    browse(monkeypatch, full)
    app = seen(page, address)
    assert page == "tour" or calm(app)
    found = captions(app)
    assert not [line for line, _ in found if len(line) > LONGEST or "\n" in line]
    behind = "\n".join(measured for _, measured in found)
    assert all(said in behind for said in DEFINITIONS.get(address.get("view", ""), DEFINITIONS[page]))
    if found and page != "tour":
        assert "Model: bundled @ 0123456789ab, float32" in behind
        assert SETUP.format("antonym") in behind or "Setup: " in behind or page == "induction"
    if page in SOURCED:
        assert "Source: " in behind
        assert "Bansal et al. 2023, arXiv:2212.09095" in behind or address.get("view") in DEFINITIONS  # has its own
    assert glossary.terms(words(app)) - explained(app) == set()


def test_headings_go_down_by_one_level_at_a_time(explorer: Explorer, full: Path, monkeypatch: pytest.MonkeyPatch):
    browse(monkeypatch, full)
    tour = seen("tour", {"step": "5"})
    assert [header.tag for header in tour.header] == ["h2"]
    assert all(body.startswith("<h3 ") for body in bodies(tour) if body.startswith("<h"))
    heads = seen("heads", {})
    assert [body[:3] for body in bodies(heads) if body.startswith("<h")] == ["<h2"] * 4
    assert not [text.value for page in (tour, heads) for text in page.markdown if str(text.value).startswith("#")]


def test_no_page_writes_a_heading_past_the_levels():
    pages = Path(__file__).resolve().parents[2] / "pages"
    written = [path.stem for path in pages.rglob("*.py") if re.search(r'"#+ ', path.read_text())]
    assert sorted(written) == ["glossary", "report"]  # the titles of docs/glossary.md and of a notebook


def test_what_warns_stays_in_sight(explorer: Explorer):
    app = explorer("heads", task="antonym")
    assert "Not measured yet" in words(app)
    assert any("It cannot be measured here" in caption.value or "How long it takes" in caption.value
               for caption in app.main.caption)
