"""Without and with demonstrations: the same questions, and a test that knows how many tasks were tried."""

import numpy as np
import pytest

from backend import stats, tables
from tests.tables.records import answered, answers, questions


def test_a_row_without_and_a_row_with_of_every_task():
    pairs = {"a": (answered([0] * 10), answered([1] * 10)), "b": (answered([1] * 9 + [0]), answered([1] * 10))}
    table = tables.shots_table(pairs, {"a": "x", "b": "y"})
    assert table["model"].tolist() == [tables.WITHOUT, tables.WITH] * 2
    assert table["accuracy"].tolist() == [0, 1, 0.9, 1]
    assert table["group"].tolist() == ["x", "x", "y", "y"]
    with_ = table[table["model"] == tables.WITH]
    assert with_["change"].tolist() == pytest.approx([1, 0.1])
    assert with_["p"].tolist() == pytest.approx([2 / 2**10, 1])
    assert with_["p (Holm)"].tolist() == pytest.approx(stats.holm([2 / 2**10, 1]))
    assert with_["p (Holm)"].iloc[0] == pytest.approx(4 / 2**10)  # two were tried


def test_questions_that_only_one_was_asked_do_not_count():
    def asked(docs: list[int], right: list[int]):
        return answers(questions([(0,)] * len(docs), docs=docs), [[0.0, -1.0] if r else [-1.0, 0.0] for r in right])

    table = tables.shots_table({"a": (asked([3, 1, 2], [1, 0, 0]), asked([1, 2, 4], [1, 0, 1]))}, {"a": ""})
    assert table["n"].tolist() == [2, 2]
    np.testing.assert_allclose(table["accuracy"], [0, 0.5])
    assert table["newly right"].tolist() == [1, 1]
    assert table["newly wrong"].tolist() == [0, 0]
