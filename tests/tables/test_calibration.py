"""Scores of heads beside what their removal costs: worked out by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from backend import stats, tables
from backend.kinds import Attributions, Sweep
from backend.kinds.oracles import HeadOracle
from backend.records import ModelInfo
from backend.values import Ablation, Head
from tests.tables.records import importance, sweep

INFO = ModelInfo("m", "r", "opt", 2, 2, 4, 2, 8, 100, 64, 50, "float32", 400)
SHAPE = (2, 2)
RIGHT = [[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]]  # intact, then four heads
LOSSES = np.array([[0.1, 0.2, 0.1, 0.2], [1.1, 1.0, 0.9, 1.4], [0.1, 0.2, 0.1, 0.2], [0.4, 0.5, 0.2, 0.7],
                   [0.0, 0.1, 0.0, 0.1]])


def oracle(losses: np.ndarray = LOSSES) -> Sweep:
    found = sweep(RIGHT, HeadOracle.ablations(INFO))
    return replace(found, gold=tuple(tuple(row) for row in (-losses).tolist()))


SCORES = importance([[0.5, 0.1], [0.3, 0.0]], [[0.7, 0.1], [0.1, 0.0]])  # means: 0.6, 0.1, 0.2, 0.0
COST = np.array([[0.95, 0.0], [0.3, -0.1]])


def test_a_removal_costs_what_it_adds_to_each_question_s_loss_or_takes_of_its_answer():
    loss, draws = tables.costs(oracle(), "loss", SHAPE)
    assert loss[:, 0, 0] == pytest.approx([1.0, 0.8, 0.8, 1.2])
    assert loss.mean(0) == pytest.approx(COST)
    assert draws == ()
    accuracy, _ = tables.costs(oracle(), "accuracy", SHAPE)
    assert accuracy.mean(0) == pytest.approx(np.array([[0.5, 0.0], [0.25, 0.0]]))
    with pytest.raises(ValueError, match="kept the chosen options alone"):
        tables.costs(sweep(RIGHT, HeadOracle.ablations(INFO)), "loss", SHAPE)


def test_several_prompts_in_a_head_s_place_are_averaged():
    once = oracle()
    twice = replace(once, **{name: (rows[0], *(row for row in rows[1:] for _ in range(2))) for name, rows in (
        (name, getattr(once, name)) for name in ("ablations", "choices", "choices_norm", "gold"))})
    assert tables.costs(twice, "loss", SHAPE)[0].mean(0) == pytest.approx(COST)
    other = replace(twice, gold=(*twice.gold[:2], tuple(g - 1 for g in twice.gold[2]), *twice.gold[3:]))
    assert tables.costs(other, "loss", SHAPE)[0].mean(0)[0, 0] == pytest.approx(0.95 + 0.5)
    assert list(tables.calibration_table([SCORES], [twice], "per-example")["turned"]) == [2, 1, 0, 0]


def test_a_row_per_head_has_its_score_its_costs_and_its_ranks_the_costliest_first():
    found = tables.calibration_table([SCORES], [oracle()], "per-example", Ablation(frozenset({Head(1, 0)})))
    assert list(found["name"]) == ["L0H0", "L1H0", "L0H1", "L1H1"]
    assert found["score"].to_numpy() == pytest.approx([0.6, 0.2, 0.1, 0.0])
    assert list(found["score rank"]) == [1, 2, 3, 4]
    assert found["loss added"].to_numpy() == pytest.approx([0.95, 0.3, 0.0, -0.1])
    half = 3.182446 * np.std([1.0, 0.8, 0.8, 1.2], ddof=1) / 2  # t with 3 degrees of freedom
    assert (found["loss from"][0], found["loss to"][0]) == pytest.approx((0.95 - half, 0.95 + half), abs=1e-5)
    assert found["accuracy lost"].to_numpy() == pytest.approx([0.5, 0.25, 0, 0])
    assert list(found["accuracy rank"]) == [1, 2, 3.5, 3.5]
    assert list(found["turned"]) == [2, 1, 0, 0]
    assert list(found.query("off")["name"]) == ["L1H0"]


def test_without_losses_there_is_accuracy_alone_and_dead_heads_have_no_rows():
    alive = np.array([[True, True], [True, False]])
    found = tables.calibration_table([SCORES] * 2, [oracle(), sweep(RIGHT, HeadOracle.ablations(INFO))], "per-token",
                                     heads=alive)
    assert not any("loss" in column for column in found.columns)
    assert list(found["name"]) == ["L0H0", "L1H0", "L0H1"]
    assert list(found["turned"]) == [4, 2, 0]
    rows = tables.tells_table({"per-token": [SCORES]}, {"zero": [sweep(RIGHT, HeadOracle.ablations(INFO))]},
                              "per-token")
    assert list(rows["measured in"]) == ["accuracy"]


def test_scores_and_costs_of_several_tasks_are_means():
    found = tables.calibration_table([SCORES, SCORES], [oracle(), oracle(2 * LOSSES)], "per-example")
    assert found["loss added"].to_numpy() == pytest.approx([1.5 * 0.95, 0.45, 0.0, -0.15])


def test_misses_are_told_costs_of_low_rank_and_overrated_ones_are_not():
    table = pd.DataFrame({"layer": 0, "head": range(4), "name": ["a", "b", "c", "d"], "score": [0.1, 0.4, 0.3, 0.2],
                          "score rank": [4.0, 1, 2, 3], "loss added": [0.9, 0.5, 0.0, -0.1],
                          "loss from": [0.5, 0.2, -0.1, -0.2], "loss to": [1.3, 0.8, 0.1, 0.0],
                          "loss rank": [1.0, 2, 3, 4]})
    found = tables.missed_table(table, "loss")
    assert list(zip(found["head"], found["which"], strict=True)) == [("a", "missed"), ("c", "overrated"),
                                                                       ("d", "overrated")]
    assert list(tables.missed_table(table, "loss", 1)["head"]) == ["a", "c"]
    level = table.assign(**{"score rank": [1.0, 2, 3, 4]})  # as it costs: neither missed nor overrated
    assert tables.missed_table(level, "loss").empty


def test_each_score_stands_beside_each_cost_with_what_chance_finds():
    signed = Attributions(2, (), (1, 1), (((0.0, 0.2), (0.1, 0.3)),) * 2, (((0.9, 0.1), (0.2, 0.0)),) * 2)
    found = tables.tells_table({"per-example": [SCORES], "signed": [signed], "integrated": [signed]},
                               {"zero": [oracle()], "mean": [oracle()]}, "signed").set_index(
        ["in its place", "measured in", "score"]).sort_index()
    assert len(found) == 12
    loss = found.loc[("zero", "loss")]
    assert loss["ρ"].to_dict() == pytest.approx({"per-example": 1.0, "signed": -1.0, "integrated": 1.0})
    assert loss["ahead"].to_dict() == pytest.approx({"per-example": 2.0, "signed": 0.0, "integrated": 2.0})
    assert loss["top 10%"].to_dict() == {"per-example": 1.0, "signed": 0.0, "integrated": 1.0}
    assert set(loss["chance 10%"]) == {0.25}
    assert ((loss["95 % from"] <= loss["ρ"]) & (loss["ρ"] <= loss["to"])).all()


# --- statistics -------------------------------------------------------------------------------------


def test_recall_shares_places_among_those_that_are_tied():
    truth = np.array([4.0, 3, 2, 1, 0, 0, 0, 0, 0, 0])
    assert stats.recall_at_top(truth, truth, 0.2) == (1.0, 2)
    assert stats.recall_at_top(-truth, truth, 0.2) == (0.0, 2)
    assert stats.recall_at_top(np.zeros(10), truth, 0.2) == (pytest.approx(0.2), 2)
    few = np.array([1.0, *[0.0] * 9])  # one place is sure, the second is any of nine
    assert stats.recall_at_top(truth, few, 0.2) == (pytest.approx((1 + 1 / 9) / 2), 2)
    assert stats.recall_at_top(truth, truth, 0.01) == (1.0, 1)


def blocks(n: int, noise: float, seed: int) -> stats.Sums:
    rng = np.random.default_rng(seed)
    return np.arange(12.0).reshape(3, 4) + noise * rng.normal(size=(n, 3, 4)), np.ones((n, 1, 1))


def test_an_interval_of_a_rank_correlation_holds_it_and_shrinks_with_noise():
    calm, noisy = (stats.rank_agreements([[blocks(20, by, 0)]], [blocks(30, by, 1)]).each[0] for by in (0.1, 20.0))
    assert calm == (1.0, 1.0, 1.0)
    assert noisy.low <= noisy.rho <= noisy.high
    assert noisy.high - noisy.low > 0.1


def test_two_scores_are_held_against_one_truth_by_the_same_resamples():
    good, bad, truth = blocks(20, 1.0, 0), blocks(20, 60.0, 0), blocks(20, 1.0, 1)
    found = stats.rank_agreements([[bad], [good], [bad]], [truth])
    assert found.ahead(1, 0).low > 0
    assert found.ahead(0, 2) == (0.0, 0.0)
    assert found.ahead(0, 1).high < 0
    assert np.isnan(stats.rank_agreements([[blocks(1, 1.0, 0)]], [truth]).each[0].low)
    with pytest.raises(ValueError, match="from the same blocks"):
        stats.rank_agreements([[good], [blocks(10, 1.0, 0)]], [truth])


def test_what_never_varies_has_no_rank_correlation():
    flat = np.zeros((5, 3, 4)), np.ones((5, 1, 1))
    found = stats.rank_agreements([[blocks(5, 1.0, 0)]], [flat])
    assert np.isnan(found.each[0]).all()
    assert np.isnan(found.ahead(0, 0)).all()


def test_effects_on_losses_are_not_cut_at_1():
    found = stats.mean_effects([(np.array([[1.0], [9.0]]), ())], most=np.inf)
    assert found.high[0] > 9
    assert np.isinf(stats.mean_effects([(np.array([[1.0]]), ())], most=np.inf).high[0])
