"""Score matrices as tables: a row per head, and what stands beside the grid."""

import numpy as np
import pytest

from backend import tables
from backend.values import Ablation, Head, parse_exact
from tests.tables.records import importance

SCORES = np.array([[1.0, 4.0], [3.0, 2.0], [0.0, 0.0]])


def test_a_grid_has_a_row_per_head_with_its_score_its_rank_and_whether_it_is_off():
    table = tables.grid_table(SCORES, parse_exact("L1H0"), label="score")
    assert list(table.columns) == ["layer", "head", "name", "score", "rank", "off"]
    assert table["name"].tolist() == ["L0H0", "L0H1", "L1H0", "L1H1", "L2H0", "L2H1"]
    assert table["score"].tolist() == [1, 4, 3, 2, 0, 0]
    assert table["rank"].tolist()[:4] == [4, 1, 2, 3]
    assert table.query("off")["name"].tolist() == ["L1H0"]


def test_cells_of_a_layer_without_heads_say_so_and_are_no_heads():
    table = tables.grid_table(SCORES, parse_exact("L1H0-1"), label="score", headless=(0,))
    none = table[table["name"] == "no attention heads in this layer: linear attention"]
    assert none["layer"].tolist() == [0, 0]
    assert none[["score", "rank"]].isna().all(axis=None)
    assert sorted(table["rank"].dropna()) == [1, 2, 3, 4]
    assert table.set_index("name")["rank"]["L1H0"] == 1
    assert table["off"].tolist() == [False, False, True, True, False, False]


def test_equal_scores_have_ranks_of_their_own():
    assert sorted(tables.grid_table(SCORES)["rank"]) == [1, 2, 3, 4, 5, 6]


def test_a_layer_s_share_is_of_all_heads_importance():
    table = tables.layer_shares(SCORES)
    assert table["layer"].tolist() == [0, 1, 2]
    assert table["share"].tolist() == [0.5, 0.5, 0]


def test_leading_heads_stand_highest_first_with_their_intervals():
    record = importance([[1, 4], [3, 2]], [[1, 2], [3, 2]])  # the mean: 1, 3 / 3, 2
    spread = (np.array([[0, 2], [3, 2]]), np.array([[1, 4], [3, 2]]))
    table = tables.leading_heads_table(record, chosen=Ablation(frozenset({Head(1, 0)})), spread=spread, n=3)
    assert table["rank"].tolist() == [1, 2, 3]
    rows = table.set_index("head")
    assert set(rows.index[:2]) == {"L0H1", "L1H0"}
    assert rows.index[2] == "L1H1"
    assert rows.loc["L0H1", ["importance", "95 % from", "to"]].tolist() == [3, 2, 4]
    assert rows["share"]["L0H1"] == pytest.approx(3 / 9)
    assert rows.query("chosen").index.tolist() == ["L1H0"]


def test_leading_heads_have_bootstrapped_intervals_unless_given():
    table = tables.leading_heads_table(importance([[1, 4]], [[1, 2]])).set_index("head")
    assert table.loc["L0H0", ["95 % from", "to"]].tolist() == [1, 1]  # no block differs
    assert table.loc["L0H1", ["95 % from", "to"]].tolist() == [2, 4]


def test_several_maps_stand_below_one_another_and_say_which_they_are():
    table = tables.maps_table({"a": SCORES, "b": SCORES + 1}, parse_exact("L0H0"), "score")
    assert len(table) == 12
    assert table[table["map"] == "b"]["score"].tolist() == [2, 5, 4, 3, 1, 1]
    assert table.query("off")["map"].tolist() == ["a", "b"]
