"""Fetch or compute: what is stored is never measured again, and what is measured is what was asked for."""

from pathlib import Path

import numpy as np
import pytest

from backend import stats
from backend.errors import BadInput, Cancelled
from backend.kinds import (
    KINDS,
    Copying,
    Evaluation,
    HeadImportance,
    HeadWrites,
    Means,
    Model,
    PrefixMatching,
    Pruning,
    Unit,
    Writes,
    compute,
    fetch,
)
from backend.kinds.pruning import shares
from backend.kinds.unit import with_needs
from backend.models.loading import LoadedModel
from backend.runs.plan import identify_tasks
from backend.store.live import Store
from backend.values import INTACT, Ablation, Head, Ranking, Setup, TaskId, parse_exact
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
    return Setup(model.id, identify_tasks("antonym")[0], 2, n_examples=N)


def own(setup: Setup, **changes) -> Ranking:
    return Ranking.by(setup.task, n_train=N_TRAIN, **changes)


def importance(setup: Setup) -> HeadImportance:
    return HeadImportance(setup.with_(n_examples=N_TRAIN))


def test_fetch_never_computes(setup: Setup, store: Store, model: LoadedModel) -> None:
    unit = Evaluation(setup)
    assert fetch(unit, store) is None
    made = compute(unit, store, model)
    assert fetch(unit, store) == made


def test_a_stored_result_is_not_measured_again(setup: Setup, store: Store, model: LoadedModel,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    first = compute(Evaluation(setup), store, model)
    monkeypatch.setattr(Evaluation, "measure", lambda *_: pytest.fail("measured again"))
    assert compute(Evaluation(setup), store, model) == first


def test_what_is_measured_is_told_how_long_it_took(setup: Setup, store: Store, model: LoadedModel) -> None:
    unit = Pruning(setup, "heads", own(setup))
    compute(unit, store, model)
    assert all((store.seconds(one) or 0) > 0 for one in (unit, *unit.needs()))


def test_a_toggle_starts_where_it_differs_and_finds_what_a_whole_pass_finds(setup: Setup, store: Store,
                                                                         model: LoadedModel) -> None:
    from backend.kinds.evaluation import evaluate
    from backend.tasks.registry import get_task
    from backend.tasks.task import prompts

    ablation = Ablation(frozenset({Head(2, 1)}), frozenset({2}))
    compute(Evaluation(setup), store, model)
    live = compute(Evaluation(setup, ablation), store, model)
    (whole,) = evaluate(model, prompts(get_task("antonym"), 2, "fixed", N), [ablation])
    np.testing.assert_allclose(live.loglikelihoods, whole.loglikelihoods, atol=1e-4)


def test_a_pruning_curve_starts_at_the_intact_accuracy_and_removes_in_order(setup: Setup, store: Store,
                                                                          model: LoadedModel) -> None:
    curve = compute(Pruning(setup, "heads", own(setup)), store, model)
    intact = compute(Evaluation(setup), store, model)
    scores = store.get(importance(setup))  # what the curve builds on is stored, too
    assert scores is not None
    assert curve.accuracy()[0] == intact.outcomes().mean()
    for text, (share, _) in zip(curve.ablations, curve.removed, strict=True):
        assert parse_exact(text).heads == frozenset(stats.lowest(scores.scores(), share))


def test_the_combined_map_has_both_curves_on_its_edges(setup: Setup, store: Store, model: LoadedModel) -> None:
    both = compute(Pruning(setup, "combined", own(setup)), store, model)
    heads = compute(Pruning(setup, "heads", own(setup)), store, model)
    at = dict(zip(both.removed, both.choices, strict=True))
    assert len(at) == 8 * 6
    edge = {share: choices for (share, _), choices in zip(heads.removed, heads.choices, strict=True)
            if (share, 0.0) in at}
    assert len(edge) == 8
    assert all(at[share, 0.0] == choices for share, choices in edge.items())


def test_most_important_first_is_the_own_ranking_reversed(setup: Setup, store: Store, model: LoadedModel) -> None:
    forth, back = Pruning(setup, "combined", own(setup)), Pruning(setup, "combined", own(setup, reverse=True))
    basis = [compute(unit, store, model) for unit in forth.needs()]
    assert forth.needs() == back.needs()
    heads, ffns = forth.orders(basis, model.n_layers, model.n_heads)
    assert back.orders(basis, model.n_layers, model.n_heads) == (heads[::-1], ffns[::-1])
    assert len(set(heads)) == model.n_layers * model.n_heads


def test_an_aggregate_orders_by_the_mean_of_its_tasks(setup: Setup, store: Store, model: LoadedModel) -> None:
    tasks = identify_tasks("antonym,capital")
    unit = Pruning(setup, "combined", Ranking.by(*tasks, n_train=N_TRAIN, reduction="per-example"))
    assert unit.needs() == [kind(setup.with_(task=task, **changes)) for task in sorted(tasks) for kind, changes in (
        (HeadImportance, {"n_examples": N_TRAIN}), (KINDS["ffn_oracle"], {}))]
    basis = [compute(need, store, model) for need in unit.needs()]
    heads, ffns = unit.orders(basis, model.n_layers, model.n_heads)
    mean = stats.aggregate([record.scores("per-example") for record in basis[::2]])
    assert heads == [Head(*divmod(int(i), model.n_heads)) for i in stats.order(mean)]
    assert ffns == list(stats.order(stats.aggregate([record.importance() for record in basis[1::2]])))


def test_both_reductions_order_by_their_own_scores(setup: Setup, store: Store, model: LoadedModel) -> None:
    scores = compute(importance(setup), store, model)
    for reduction in ("per-token", "per-example"):
        unit = Pruning(setup, "heads", own(setup, reduction=reduction))
        heads, _ = unit.orders([scores], model.n_layers, model.n_heads)
        assert heads == [Head(*divmod(int(i), model.n_heads)) for i in stats.order(scores.scores(reduction))]


def test_layers_without_heads_are_in_no_ranking_no_step_and_no_oracle(setup: Setup, store: Store) -> None:
    model = small_model("qwen3_next")
    half = setup.with_(model=model.id)
    there = [Head(layer, head) for layer in (0, 1, 2, 4) for head in range(model.n_heads)]
    scores = compute(importance(half), store, model).scores()
    assert scores[[0, 1, 2, 4]].all()
    assert not scores[3].any()
    for ranking in (own(half), own(half, reverse=True), Ranking.random(1)):
        unit = Pruning(half, "combined", ranking)
        basis = [compute(need, store, model) for need in unit.needs()]
        heads, ffns = unit.orders(basis, model.n_layers, model.n_heads, model.info.headless)
        assert sorted(heads) == there
        assert sorted(ffns) == [0, 1, 2, 3, 4]
    curve = compute(Pruning(half, "heads", Ranking.random(1)), store, model)
    assert len(parse_exact(curve.ablations[5]).heads) == len(there) // 2
    n_points = len({stats.count(share, len(there)) for share, _ in shares("heads", fine=True)})
    assert Pruning(half, "heads").cost(model.info, lambda *_: 1) == n_points
    singles = compute(KINDS["head_oracle"](half), store, model).ablations
    assert list(map(parse_exact, singles)) == [INTACT, *(Ablation(frozenset({head})) for head in there)]
    assert not any(map(any, compute(Means(half.with_(n_examples=N_TRAIN)), store, model).heads[3]))


def test_random_rankings_repeat_with_their_seed_and_differ_between_seeds(setup: Setup) -> None:
    one, again, other = (Pruning(setup, "heads", Ranking.random(seed)).orders([], 6, 8)[0] for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert sorted(one) == sorted(other)


def test_a_random_order_of_live_heads_begins_with_the_dead_and_keeps_the_others_order(setup: Setup) -> None:
    norms = np.ones((2, 4))
    norms[0, 1] = norms[1, 3] = 0
    written = HeadWrites(1, 1, tuple(map(tuple, norms.tolist())))
    unit = Pruning(setup, "heads", Ranking.random(1, 32))
    assert unit.needs() == [Writes(setup.with_(n_examples=32))]
    dead = [Head(0, 1), Head(1, 3)]
    order, _ = unit.orders([written], 2, 4)
    assert order[:2] == dead
    assert order[2:] == [head for head in Pruning(setup, "heads", Ranking.random(1)).orders([], 2, 4)[0]
                         if head not in dead]
    assert Pruning(setup, "ffns", Ranking.random(1, 32)) == Pruning(setup, "ffns", Ranking.random(1))


def test_a_random_order_of_live_heads_is_measured_behind_what_they_write(setup: Setup, store: Store,
                                                                         model: LoadedModel) -> None:
    unit = Pruning(setup, "heads", Ranking.random(0, 4))
    curve = compute(unit, store, model)
    assert store.get(unit.needs()[0]) is not None
    assert curve.removed == tuple(shares("heads"))
    assert compute(Pruning(setup, "heads"), store, model).removed == tuple(shares("heads", fine=True))


def test_rankings_of_which_it_is_told_how_much_can_go_have_finer_steps(setup: Setup) -> None:
    other = TaskId("capital", "x")
    fine = [own(setup), Ranking.by(setup.task, other)]
    coarse = [own(setup, reverse=True), Ranking.by(other), Ranking.random(0)]
    assert {len(Pruning(setup, "heads", ranking).steps) for ranking in fine} == {19}
    assert {len(Pruning(setup, "heads", ranking).steps) for ranking in coarse} == {10}


def test_mean_ablation_first_measures_the_means(setup: Setup, store: Store, model: LoadedModel) -> None:
    unit = Evaluation(setup, Ablation(frozenset({Head(0, 0)}), fill="mean"), N_TRAIN)
    compute(unit, store, model)
    assert unit.needs() == [Means(setup.with_(n_examples=N_TRAIN))]
    assert store.get(unit.needs()[0]) is not None


def test_the_number_of_training_prompts_counts_only_where_means_are_used(setup: Setup) -> None:
    zero, mean = (Ablation(frozenset({Head(0, 0)}), fill=fill) for fill in ("zero", "mean"))
    assert Evaluation(setup, zero, 7) == Evaluation(setup, zero)
    assert Evaluation(setup, mean, 7) != Evaluation(setup, mean)


def test_a_model_s_shape_is_one_however_it_is_run(model: LoadedModel, store: Store) -> None:
    unit = Model(model.id.with_(dtype="bfloat16", bos=True))
    assert unit == Model(model.id)
    assert compute(unit, store, model) == model.info


def test_units_come_after_what_they_build_on_each_once(setup: Setup) -> None:
    unit = Pruning(setup, "combined", own(setup))
    assert with_needs([unit, unit, *unit.needs()]) == [*unit.needs(), unit]


def test_stopping_keeps_what_was_finished_and_nothing_half_made(setup: Setup, store: Store, model: LoadedModel) -> None:
    unit = Pruning(setup, "heads", own(setup))

    def stop(done: int, total: int) -> None:
        if store.get(importance(setup)) is not None:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        compute(unit, store, model, stop)
    assert store.get(unit) is None
    assert store.get(importance(setup)) is not None
    assert compute(unit, store, model) == store.get(unit)


@pytest.mark.parametrize("ablation", [Ablation(frozenset({Head(9, 0)})), Ablation(ffns=frozenset({3}))])
def test_a_mask_naming_what_is_not_there_is_refused(setup: Setup, store: Store, model: LoadedModel,
                                                    ablation: Ablation) -> None:
    with pytest.raises(BadInput, match=r"No such component.*layers 0 to 2"):
        compute(Evaluation(setup, ablation), store, model)
    assert not store.units()


@pytest.mark.parametrize("change", [{"revision": "other"}, {"digest": "other"}, {"bos": True}, {"dtype": "bfloat16"}])
def test_results_of_another_model_or_another_way_to_run_it_are_not_mixed_in(
    setup: Setup, store: Store, model: LoadedModel, change: dict,
) -> None:
    with pytest.raises(BadInput, match="Load that one"):
        compute(Evaluation(setup.with_(model=model.id.with_(**change))), store, model)
    assert not store.units()


def test_results_on_other_rows_are_not_mixed_in(setup: Setup, store: Store, model: LoadedModel) -> None:
    for unit in (Evaluation(setup.with_(task=TaskId("antonym", "other"))),
                 importance(setup.with_(task=TaskId("antonym", "other")))):
        with pytest.raises(BadInput, match="other data"):
            compute(unit, store, model)
    assert not store.units()


@pytest.mark.parametrize(("wrong", "message"), [
    (lambda s: Pruning(s, "layers"), "Known: heads, ffns, combined"),
    (lambda s: Ranking.parse("best", s.task, identify_tasks), "Known: own"),
    (lambda s: Ranking.parse("random:x", s.task, identify_tasks), "random:<seed>"),
    (lambda s: Ranking.parse("own:x", s.task, identify_tasks), "Known: own"),
    (lambda s: PrefixMatching(s.model, "olsson"), "Unknown variant 'olsson'. Known: exact, authors"),
    (lambda s: Copying(s.model, "exact"), "Unknown variant 'exact'. Known: authors, olsson"),
    (lambda s: s.with_(n_shots=-1), "0 or more, got -1"),
])
def test_an_unknown_wish_says_what_is_known(setup: Setup, wrong, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        wrong(setup)


def test_two_kinds_of_one_name_are_refused_when_they_are_written() -> None:
    with pytest.raises(TypeError, match="Two kinds of results are called 'evaluation'"):
        type("Mine", (Unit,), {"KIND": "evaluation"})
    assert KINDS["evaluation"] is Evaluation


def test_the_empty_ablation_of_either_fill_is_one_intact_model() -> None:
    assert Ablation(fill="mean") == INTACT
