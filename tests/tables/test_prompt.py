"""One prompt's tokens, attention, options and contributions as tables."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backend import tables
from backend.values import parse_exact
from tests.tables.records import prompt

OFF = parse_exact("L1H2,F0")


def reading(tokens: Sequence[tuple[int, str, float]] = (), loglikelihoods: Sequence[float] = ()) -> Any:
    """What a table reads of a `lens.Reading`."""
    return SimpleNamespace(next_tokens=[SimpleNamespace(token=i, text=text, probability=p) for i, text, p in tokens],
                           loglikelihoods=loglikelihoods)


@pytest.mark.parametrize(("token", "shown"), [(" the", "·the"), ("\n", "⏎"), ("\t", "⇥"), ("", "∅"), ("a", "a")])
def test_blanks_are_seen(token: str, shown: str):
    assert tables.visible(token) == shown


def test_attention_tables_hold_every_pair_once_and_nothing_of_the_future():
    pattern = np.tril(np.random.default_rng(0).random((5, 5)))
    rows = tables.attention_table(pattern, ["a", " b", "\n", "a", "c"])
    assert len(rows) == 15
    assert (rows["key"] <= rows["query"]).all()
    assert rows.set_index(["query", "key"])["attention"][(3, 1)] == pattern[3, 1]
    assert set(rows["to"]) == {"0 a", "1 ·b", "2 ⏎", "3 a", "4 c"}  # repeated tokens keep their place


def test_attention_from_a_later_query_on_keeps_all_keys():
    rows = tables.attention_table(np.tril(np.ones((3, 3))), list("abc"), first=2)
    assert rows[["query", "key"]].to_numpy().tolist() == [[2, 0], [2, 1], [2, 2]]


def test_next_tokens_stand_by_model_in_the_order_of_their_rank():
    table = tables.next_table({"intact": reading([(7, "cat", 0.5), (3, "dog", 0.25)]),
                               "ablated": reading([(3, "dog", 0.75)])})
    assert table[["token", "id", "model", "probability", "rank"]].to_numpy().tolist() == [
        ["cat", 7, "intact", 0.5, 1], ["dog", 3, "intact", 0.25, 2], ["dog", 3, "ablated", 0.75, 1]]


def test_options_say_which_is_right_and_which_each_model_prefers():
    asked = prompt("Hot or", ["hot", "cold day"], gold=(1,))
    readings = {"intact": reading(loglikelihoods=(-2.0, -1.0)), "ablated": reading(loglikelihoods=(-1.0, -3.0))}
    table = tables.option_table(asked, readings)
    assert table["option"].tolist() == ["hot", "cold·day"] * 2
    assert table["right"].tolist() == [False, True] * 2
    assert table["chosen"].tolist() == [False, True, True, False]


def test_of_a_prompt_of_one_s_own_no_option_is_called_right():
    asked = prompt("Hot or", ["hot", "cold"])
    assert not tables.option_table(asked, {"intact": reading(loglikelihoods=(-2.0, -1.0))}, judged=False)["right"].any()


def test_thumbnails_stand_in_rows_and_mark_what_is_open_and_what_is_off():
    table = tables.thumbnail_table(10, layer=1, opened=9, off=OFF)
    assert table["name"].tolist()[:2] == ["L1H0", "L1H1"]
    assert table[["row", "column"]].to_numpy().tolist()[7:] == [[0, 7], [1, 0], [1, 1]]
    assert table.query("opened")["head"].tolist() == [9]
    assert table.query("off")["head"].tolist() == [2]


def test_contribution_tables_hold_every_component_with_its_number():
    heads, ffns = np.arange(6.0).reshape(2, 3), np.array([10.0, 20.0])
    rows = tables.contribution_table(heads, ffns, OFF).set_index("name")
    assert rows["contribution"]["L1H1"] == 4
    assert rows["contribution"]["L1 FFN"] == 20
    assert list(rows.query("off").index) == ["L1H2", "L0 FFN"]


def test_the_largest_contributions_come_first_whatever_their_sign():
    table = tables.contribution_table(np.array([[1.0, -3.0]]), np.array([2.0]))
    assert tables.largest(table)["name"].tolist() == ["L0H1", "L0 FFN", "L0H0"]
