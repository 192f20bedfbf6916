"""A sample of what `python -m tests.independent` recomputes in full: the card, shipped results, the Tour's titles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from backend.kinds import Evaluation, FFNOracle, HeadImportance, PrefixMatching, Pruning, Writes
from backend.store.live import Store
from backend.tasks.mini import MINI
from tests.independent import plain, published, tour


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with published.shipped() as opened:
        yield opened


def some(store: Store, kind: type[Any], n: int) -> list[Any]:
    """A few shipped results of a kind, of different tasks."""
    found: dict[Any, Any] = {}
    for unit in published.of_bundled(store):
        if isinstance(unit, kind) and (unit.setup is None or unit.setup.n_shots == 5):
            found.setdefault(unit.task, unit)
    return list(found.values())[:n]


def test_the_card_s_table_is_what_plain_transformers_find():
    card = published.Card(published.CARD.read_text())
    header, rows = card.table
    assert {row[0] for row in rows} >= set(MINI)
    claims = list(card.accuracies(only=[list(MINI)[-1]]))
    assert len(claims) == len(header) - 3
    assert [str(claim) for claim in claims if not claim.holds] == []


@pytest.mark.parametrize(("kind", "n"), [(Evaluation, 1), (FFNOracle, 1), (HeadImportance, 1), (Writes, 1)])
def test_shipped_results_are_what_plain_transformers_find(store: Store, kind: type[Any], n: int):
    units = some(store, kind, n)
    if kind is Writes and not units:
        pytest.skip("what heads write is not among the shipped results")
    assert units
    for unit in units:
        claims = list(published.recomputed(unit, store))
        assert claims
        assert [str(claim) for claim in claims if not claim.holds] == []


def test_a_shipped_pruning_curve_is_what_plain_transformers_find(store: Store):
    (unit,) = some(store, Pruning, 1)
    claims = list(published.recomputed(unit, store, every=4))
    assert len(claims) >= 3
    assert [str(claim) for claim in claims if not claim.holds] == []


def test_shipped_prefix_matching_is_what_plain_attention_shows(store: Store):
    unit = next(unit for unit in store.units("prefix_matching") if unit.variant == "exact")
    assert isinstance(unit, PrefixMatching)
    few = PrefixMatching(unit.model, unit.variant, 5)
    from backend.models.loading import load_model

    measured = few.measure(load_model("bundled"), (), None)  # the shipped one takes 100 sequences: in the script
    np.testing.assert_allclose(np.array(measured.mean), plain.prefix_matching(5), atol=2e-3)


def test_the_tour_s_titles_are_read_from_its_pages(store: Store):
    """One step whose numbers are plain means of what is stored; the script works all of them out anew."""
    (claim,) = [title for title in tour.titles(1) if "without examples" in title]
    told = tour.Tour(store)
    group = [i for i, task in enumerate(MINI) if MINI[task].group == "in-context"]
    stored = [np.mean([np.mean(store.get(told.evaluations[n][i]).outcomes()) for i in group]) for n in (0, 5)]
    assert claim.startswith(f"From {tour.percent(stored[0])} without examples to {tour.percent(stored[1])}")


def test_a_wrong_number_is_found_and_an_unread_claim_is_listed():
    text = published.CARD.read_text()
    card = published.Card(text)
    _header, rows = card.table
    name, value = rows[0][0], rows[0][-1]
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
    wrong = published.Card(text.replace(line, line.replace(f" {value} |", " 12.3 |")))
    assert not all(claim.holds for claim in wrong.accuracies(only=[name]))
    invented = published.Card(text + "\n- **Invented.** It answers 42 % of riddles.\n")
    assert any("riddles" in bullet for bullet in invented.unread())
    assert published.Card.heads("L1H1, 2, L3H0, 7") == [(1, 1), (1, 2), (3, 0), (3, 7)]


def test_a_changed_choice_is_found_but_not_a_tie():
    asked = published.Card(published.CARD.read_text(), n_examples=3).asked(next(iter(MINI)), 1)
    values = plain.loglikelihoods(asked)
    best = [int(each.argmax()) for each in values]
    assert published.differing(asked, best, values) == []
    assert published.differing(asked, [(best[0] + 1) % len(values[0]), *best[1:]], values) == [asked[0].doc]
    tie = [np.array([-1.0, -1.0 - published.TIE / 2])] * 3
    assert published.differing(asked, [1, 1, 1], tie) == []
