"""Two models' importance in units that can be compared, against cases worked out by hand."""

import numpy as np
import pytest

from backend import stats, tables


def test_shares_add_up_to_one_and_ranks_run_from_the_lowest_head_to_the_highest():
    scores = np.array([[1.0, 3.0], [4.0, 2.0]])
    assert tables.in_unit(scores, "share of the total").tolist() == [[0.1, 0.3], [0.4, 0.2]]
    assert np.allclose(tables.in_unit(scores, "percentile"), [[0, 2 / 3], [1, 1 / 3]])
    assert (tables.in_unit(scores, "raw") == scores).all()


def test_equal_scores_share_a_rank():
    assert stats.percentiles(np.array([[5.0, 5.0, 9.0]])).tolist() == [[0.25, 0.25, 1]]
    assert np.isnan(stats.percentiles(np.array([[1.0]]))).all()


@pytest.mark.parametrize("unit", tables.UNITS)
def test_a_layer_without_heads_has_no_importance_in_any_unit(unit: str):
    scores = np.array([[0.0, 0.0], [3.0, 1.0]])
    shown = tables.in_unit(scores, unit, headless=(0,))
    assert np.isnan(shown[0]).all()
    assert shown[1].tolist() == {"share of the total": [0.75, 0.25], "percentile": [1, 0], "raw": [3, 1]}[unit]


def test_depth_counts_from_the_first_layer_to_the_last_and_importance_against_an_even_spread():
    depth, relative = stats.depth_profile(np.array([[1.0, 1.0], [3.0, 3.0]]))
    assert depth.tolist() == [0.25, 0.75]
    assert relative.tolist() == [0.5, 1.5]
    depth, relative = stats.depth_profile(np.array([[0.0], [1.0], [0.0], [3.0]]), layers=[1, 3])
    assert depth.tolist() == [0.375, 0.875]
    assert relative.tolist() == [0.5, 1.5]
    assert np.isnan(stats.depth_profile(np.zeros((2, 2)))[1]).all()


def test_models_of_any_shape_stand_below_one_another():
    scores = {"small": np.array([[1.0, 1.0]]), "large": np.array([[1.0], [0.0], [3.0]])}
    table = tables.depth_table(scores, {"small": (), "large": (1,)})
    assert table[["model", "layer", "share", "against an even spread"]].to_numpy().tolist() == [
        ["small", 0, 1, 1], ["large", 0, 0.25, 0.5], ["large", 2, 0.75, 1.5]]
    maps = tables.models_table(scores, {"small": (), "large": (1,)})
    assert maps["model"].tolist() == ["small"] * 2 + ["large"] * 3
    assert maps["importance"].isna().tolist() == [False, False, False, True, False]
    assert maps.index.tolist() == list(range(5))
