"""Fetch or compute: what is stored is never measured again, and what is measured is what was asked for."""

from pathlib import Path

import numpy as np
import pytest

from backend import service, stats
from backend.errors import BadInput, Cancelled
from backend.models.loading import LoadedModel
from backend.results import Answers, HeadScores, Setup, Sweep
from backend.store.live import Store
from backend.values import INTACT, Ablation, Head, parse_exact
from tests.models.small import small_model

N, N_TRAIN = 12, 8


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return small_model("opt")


@pytest.fixture
def setup(model: LoadedModel) -> Setup:
    return service.setup(model.info, "antonym", 2, n_examples=N)


def test_fetch_never_computes(setup: Setup, store: Store, model: LoadedModel) -> None:
    unit = service.evaluation(setup)
    assert service.fetch(unit, store) is None
    made = service.compute(unit, store, model)
    assert service.fetch(unit, store) == made


def test_a_stored_result_is_not_measured_again(setup: Setup, store: Store, model: LoadedModel,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    first = service.compute(service.evaluation(setup), store, model)
    monkeypatch.setattr(service, "_MEASURES", {})
    assert service.compute(service.evaluation(setup), store, model) == first


def test_a_toggle_starts_where_it_differs_and_finds_what_a_whole_pass_finds(setup: Setup, store: Store,
                                                                         model: LoadedModel) -> None:
    from backend.kinds.evaluation import evaluate
    from backend.tasks.registry import get_task
    from backend.tasks.task import prompts

    ablation = Ablation(frozenset({Head(2, 1)}), frozenset({2}))
    service.compute(service.evaluation(setup), store, model)
    live = service.compute(service.evaluation(setup, ablation), store, model)
    (whole,) = evaluate(model, prompts(get_task("antonym"), 2, "fixed", N), [ablation])
    assert isinstance(live, Answers)
    np.testing.assert_allclose(live.loglikelihoods, whole.loglikelihoods, atol=1e-4)


def test_a_pruning_curve_starts_at_the_intact_accuracy_and_removes_in_order(setup: Setup, store: Store,
                                                                          model: LoadedModel) -> None:
    curve = service.compute(service.pruning(setup, n_train=N_TRAIN), store, model)
    intact = service.compute(service.evaluation(setup), store, model)
    importance = store.get(service.head_importance(setup, N_TRAIN))  # what the curve builds on is stored, too
    assert isinstance(curve, Sweep)
    assert isinstance(intact, Answers)
    assert isinstance(importance, HeadScores)
    assert curve.accuracy()[0] == intact.outcomes().mean()
    for text, (share, _) in zip(curve.ablations, curve.removed, strict=True):
        assert parse_exact(text).heads == frozenset(stats.lowest(importance.scores(), share))


def test_the_combined_map_has_both_curves_on_its_edges(setup: Setup, store: Store, model: LoadedModel) -> None:
    both = service.compute(service.pruning(setup, "combined", n_train=N_TRAIN), store, model)
    heads = service.compute(service.pruning(setup, "heads", n_train=N_TRAIN), store, model)
    assert isinstance(both, Sweep)
    assert isinstance(heads, Sweep)
    at = dict(zip(both.removed, both.choices, strict=True))
    assert len(at) == 8 * 6
    for (share, _), choices in zip(heads.removed[:8], heads.choices, strict=False):
        assert at[share, 0.0] == choices


def test_most_important_first_is_the_own_ranking_reversed(setup: Setup, store: Store, model: LoadedModel) -> None:
    own, reverse = service.pruning(setup, n_train=N_TRAIN), service.pruning(setup, ranking="most-important",
                                                                            n_train=N_TRAIN)
    basis = [service.compute(unit, store, model) for unit in service.needs(own)]
    assert service.needs(own) == service.needs(reverse)
    first, _ = service.pruning_orders(own, basis, model.n_layers, model.n_heads)
    last, _ = service.pruning_orders(reverse, basis, model.n_layers, model.n_heads)
    assert first == last[::-1]


def test_random_rankings_repeat_with_their_seed_and_differ_between_seeds(setup: Setup) -> None:
    one, again, other = (service.pruning_orders(service.pruning(setup, ranking=f"random:{seed}"), [], 6, 8)[0]
                         for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert sorted(one) == sorted(other)


def test_mean_ablation_first_measures_the_means(setup: Setup, store: Store, model: LoadedModel) -> None:
    unit = service.evaluation(setup, Ablation(frozenset({Head(0, 0)}), fill="mean"))
    service.compute(unit, store, model)
    assert [u.kind for u in service.needs(unit)] == ["means"]
    assert store.get(service.means(setup)) is not None


def test_stopping_keeps_what_was_finished_and_nothing_half_made(setup: Setup, store: Store, model: LoadedModel) -> None:
    unit = service.pruning(setup, n_train=N_TRAIN)

    def stop(done: int, total: int) -> None:
        if store.get(service.head_importance(setup, N_TRAIN)) is not None:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        service.compute(unit, store, model, stop)
    assert store.get(unit) is None
    assert store.get(service.head_importance(setup, N_TRAIN)) is not None
    assert service.compute(unit, store, model) == store.get(unit)


@pytest.mark.parametrize("ablation", [Ablation(frozenset({Head(9, 0)})), Ablation(ffns=frozenset({3}))])
def test_a_mask_naming_what_is_not_there_is_refused(setup: Setup, store: Store, model: LoadedModel,
                                                    ablation: Ablation) -> None:
    with pytest.raises(BadInput, match=r"No such component.*layers 0 to 2"):
        service.compute(service.evaluation(setup, ablation), store, model)
    assert not store.units()


def test_results_of_another_model_or_other_data_are_not_mixed_in(setup: Setup, store: Store,
                                                                model: LoadedModel) -> None:
    with pytest.raises(BadInput, match="Load that one"):
        service.compute(service.evaluation(setup.with_(revision="other")), store, model)
    with pytest.raises(BadInput, match="other data"):
        service.compute(service.evaluation(setup.with_(data="other")), store, model)


@pytest.mark.parametrize(("wrong", "message"), [
    (lambda s: service.pruning(s, "layers"), "Known: heads, ffns, combined"),
    (lambda s: service.pruning(s, ranking="best"), "Known: own"),
    (lambda s: service.pruning(s, ranking="random:x"), "random:<seed>"),
])
def test_an_unknown_wish_says_what_is_known(setup: Setup, wrong, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        wrong(setup)


def test_the_empty_ablation_of_either_fill_is_one_intact_model() -> None:
    assert Ablation(fill="mean") == INTACT
