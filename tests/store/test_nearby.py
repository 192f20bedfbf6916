"""Results of the same question, asked otherwise: found where there are any, and asked for exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.kinds import Evaluation, FunctionVectors, HeadImportance, Means, PrefixMatching, Pruning, Unit, Writes
from backend.store.live import Store
from backend.store.nearby import Asking, asked, asking, most_stored
from backend.values import Ablation, Head, Ranking, Setup
from tests.pages import made_up

INFO = made_up.model_info()
SETUP = made_up.setup(made_up.model_id(INFO), "antonym", 5, draws=10)
NOW = Asking("fixed", 10, 100, 0, 200)
OFF = Ablation(frozenset({Head(1, 2)}))


def importance(n: int, of: Setup = SETUP) -> HeadImportance:
    return HeadImportance(of.with_(n_examples=n))


def store_of(folder: Path, *units: Unit) -> Store:
    store = Store(folder)
    made_up.fill(store, units, INFO)
    return store


@pytest.mark.parametrize(("unit", "how"), [
    (importance(40), NOW._replace(n_train=40)),
    (Evaluation(SETUP.with_(n_examples=40, seed=3), OFF), NOW._replace(n=40, seed=3)),
    (Pruning(SETUP.with_(draws=1), "heads", Ranking.by(SETUP.task, n_train=7)), NOW._replace(draws=1, n_train=7)),
    (Pruning(SETUP, "heads", Ranking.random(1, 32)), NOW),  # 32 prompts tell which heads are dead: nobody's choice
    (Writes(SETUP.with_(n_examples=8, demos="per-query")), NOW._replace(demos="per-query")),
    (FunctionVectors(SETUP.with_(n_examples=50)), NOW),
    (Means(SETUP.with_(n_examples=50)), NOW),
    (Evaluation(SETUP.with_(n_shots=0)), NOW),  # no demonstrations: as many draws as anywhere
    (PrefixMatching(SETUP.model), NOW)])
def test_how_a_unit_asks_is_read_from_it_and_asking_so_makes_it_again(unit: Unit, how: Asking):
    assert asking(unit, NOW) == how
    assert asked(unit, how) == unit
    assert asked(asked(unit, Asking("fixed", 5, 12, 9, 31)), how) == unit


def test_what_is_stored_otherwise_is_found_in_the_way_that_differs_least(tmp_path: Path):
    far, near = importance(60, SETUP.with_(seed=1)), importance(40)
    with store_of(tmp_path, far, near, importance(30), importance(90, SETUP.with_(n_shots=1))) as store:
        assert most_stored([importance(200)], store, NOW) == (NOW._replace(n_train=40), 1)
        assert most_stored([Evaluation(SETUP)], store, NOW) is None
        assert most_stored([], store, NOW) is None


def test_the_way_in_which_most_of_several_are_stored_comes_first(tmp_path: Path):
    others = [SETUP.with_(task=made_up.task_id(name)) for name in ("plural", "capital")]
    with store_of(tmp_path, importance(40), *(importance(20, of) for of in others)) as store:
        wanted = [importance(200, of) for of in (SETUP, *others)]
        assert most_stored(wanted, store, NOW) == (NOW._replace(n_train=20), 2)


def test_another_mask_ranking_or_fill_is_another_question(tmp_path: Path):
    with store_of(tmp_path, Evaluation(SETUP.with_(n_examples=40)),
                  Pruning(SETUP.with_(n_examples=40), "heads", Ranking.random(0))) as store:
        assert most_stored([Evaluation(SETUP, OFF)], store, NOW) is None
        assert most_stored([Pruning(SETUP, "heads", Ranking.random(1))], store, NOW) is None
        assert most_stored([Pruning(SETUP, "heads", Ranking.random(0))], store, NOW) == (NOW._replace(n=40), 1)
