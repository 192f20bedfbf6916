"""The real model's card says what is shipped, number by number."""

from backend.places import SHIPPED
from backend.store.shipped import Shipped
from tests import cards


def test_the_card_is_what_the_shipped_results_say():
    card = cards.CARD.read_text("utf-8")
    for name in cards.PARTS:
        assert f"<!-- {name} -->" in card
    assert cards.written(card, Shipped(SHIPPED)) == card, "python -m tests.cards writes it anew"


def test_a_number_that_is_not_shipped_is_found():
    card = cards.CARD.read_text("utf-8")
    row = next(line for line in card.splitlines() if line.startswith("| capital |"))
    assert cards.written(card.replace(row, row.replace("|", "| 12.3 |", 1)), Shipped(SHIPPED)) == card
