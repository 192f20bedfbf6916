"""An address opens the page it means, or says why it does not."""

import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from pages.shared import routes
from tests.pages import conftest
from tests.pages.conftest import Explorer, calm


@pytest.fixture
def at(explorer: Explorer, monkeypatch: pytest.MonkeyPatch):
    """Open an address such as `/LAB`, as a fresh browser does: by a name, not by a click."""
    asked: list[str] = []
    real = PagesManager.set_script_intent

    def by_name(self: PagesManager, page_script_hash: str, page_name: str) -> None:
        real(self, page_script_hash, asked.pop() if asked else page_name)

    monkeypatch.setattr(PagesManager, "set_script_intent", by_name)

    def opened(name: str) -> AppTest:
        asked.append(name)
        return conftest.opened("tour")

    return opened


def test_a_page_is_known_in_any_case_and_by_its_whole_name():
    assert routes.meant("HEADS", ["tour", "heads"]) == "heads"
    assert routes.meant("head", ["tour", "heads"]) is None


@pytest.mark.parametrize(("asked", "title"), [("lab", "Lab"), ("LAB", "Lab"), ("FFNs", "FFNs"), ("tour", None),
                                              ("Tour", None)])
def test_a_known_page_opens_without_a_word(at, asked: str, title: str | None):
    app = at(asked)
    assert not app.exception
    assert app.title[0].value == (title or "Which parts of a language model does in-context learning need?")
    assert not app.warning


def test_an_unknown_page_is_said_above_the_first_with_the_known_ones(at):
    app = at("nonsense")
    assert calm(app)
    assert app.title[0].value.startswith("Which parts")
    (said,) = [w.value for w in app.warning]
    assert said == ("There is no page 'nonsense'. Known: tour, heads, ffns, lab, pruning, overlap, induction, "
                    "playground, runs, room. Showing tour instead.")
    app.button("understood").click().run()
    assert not app.warning
