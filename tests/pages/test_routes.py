"""An address opens the page it means, or says why it does not."""

import pytest

from pages.shared import routes
from tests.pages.conftest import Explorer, calm


def test_a_page_is_known_in_any_case_and_by_its_whole_name():
    assert routes.meant("HEADS", ["tour", "heads"]) == "heads"
    assert routes.meant("head", ["tour", "heads"]) is None


@pytest.mark.parametrize(("asked", "title"), [("lab", "Lab"), ("LAB", "Lab"), ("FFNs", "FFNs"), ("tour", None),
                                              ("Tour", None)])
def test_a_known_page_opens_without_a_word(at: Explorer, asked: str, title: str | None):
    app = at(asked)
    assert not app.exception
    assert app.title[0].value == (title or "Which parts of a language model does in-context learning need?")
    assert not app.warning


def test_an_unknown_page_is_said_above_the_first_with_the_known_ones(at: Explorer):
    app = at("nonsense")
    assert calm(app)
    assert app.title[0].value.startswith("Which parts")
    (said,) = [w.value for w in app.warning]
    assert said == ("There is no page 'nonsense'. Known: tour, heads, card, ffns, lab, pruning, overlap, induction, "
                    "playground, runs, room. Showing tour instead.")
    app.button("understood").click().run()
    assert not app.warning
