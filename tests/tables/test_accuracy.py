"""Accuracies, comparisons and the answers that turned, against cases worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from backend import stats, tables
from backend.values import INTACT, parse_exact
from tests.tables.records import answered, answers, prompt, questions

RIGHT, WRONG = [0.0, -1.0], [-3.0, -1.0]  # log-likelihoods of two options, the first gold: margins 1 and -2


def test_an_accuracy_stands_with_its_interval_and_its_counts():
    row = tables.accuracy_row("piqa", np.array([True, True, True, False]), 0.5, "paper")
    assert row == {"task": "piqa", "group": "paper", "accuracy": 0.75, "low": pytest.approx(0.3006, abs=1e-4),
                   "high": pytest.approx(0.9544, abs=1e-4), "right": 3, "n": 4, "chance": 0.5}


def test_no_outcomes_have_no_accuracy():
    assert np.isnan(tables.accuracy_row("piqa", np.array([], bool), 0.5)["accuracy"])


def test_a_mean_row_weighs_tasks_alike_whatever_their_size():
    few, many = answered([1, 0]), answered([1] * 6, chance=4)
    row = tables.mean_row("both", [few, many])
    low, high = stats.mean_accuracy_interval([np.array([True, False]), np.ones(6, bool)])
    assert row == {"what": "both", "accuracy": 0.75, "low": low, "high": high, "chance": 0.375, "n": 8}


def test_a_comparison_has_two_rows_per_task_and_the_paired_test_of_what_turned():
    intact, ablated = np.array([1, 1, 1, 1, 1, 1, 0], bool), np.array([0, 0, 0, 0, 0, 0, 1], bool)
    table = tables.comparison_table(["a", "b"], ["x", "y"], [intact, intact], [ablated, None], [0.5, 0.25])
    assert table[["task", "model", "right"]].to_numpy().tolist() == [
        ["a", "intact", 6], ["a", "ablated", 1], ["b", "intact", 6]]
    assert table["newly wrong"].tolist()[:2] == [6, 6]
    assert table["newly right"].tolist()[:2] == [1, 1]
    assert table["p"][0] == pytest.approx(2 * (1 + 7) / 2**7)  # at most 1 of 7 heads of a fair coin, both sides
    assert np.isnan(table["p"][2])
    assert table["chance"].tolist() == [0.5, 0.5, 0.25]


def test_means_of_different_tasks_are_not_compared():
    intact, ablated = np.array([True, True]), np.array([True, False])
    half = tables.comparison_table(["a", "b"], ["", ""], [intact, ablated], [ablated, None], [0.5, 0.5])
    assert {name: row["accuracy"] for name, row in tables.mean_rows(half).items()} == {"intact": 0.75}
    full = tables.comparison_table(["a", "b"], ["", ""], [intact, ablated], [ablated, ablated], [0.5, 0.5])
    assert {name: row["accuracy"] for name, row in tables.mean_rows(full).items()} == {"intact": 0.75, "ablated": 0.5}
    assert tables.mean_rows(full)["ablated"]["tasks"] == 2


def test_a_tried_mask_is_told_with_what_it_did_on_average():
    pairs = [(np.array([1, 1], bool), np.array([1, 0], bool)), (np.array([1, 0], bool), np.array([0, 0], bool))]
    row = tables.tried_row(parse_exact("L1H0-1,F2"), "2 tasks", 5, pairs)
    assert (row["off"], row["heads"], row["FFNs"], row["on"], row["shots"]) == ("L1H0-1,F2", 2, 1, "2 tasks", 5)
    assert (row["intact"], row["ablated"], row["change"]) == (0.75, 0.25, -0.5)
    assert row["95 % from"] <= -0.5 <= row["to"]


# --- what turned ----------------------------------------------------------------------------------


def test_what_turned_wrong_and_what_turned_right_are_told_apart():
    lost, won = tables.turned(answered([1, 1, 0, 0]), answered([1, 0, 1, 0]))
    assert (lost.tolist(), won.tolist()) == ([1], [2])


def test_a_margin_is_of_the_best_right_option_over_the_best_wrong_one():
    asked = questions([(0, 2), (1,)], n_options=4)
    record = answers(asked, [[-5.0, -2.0, -1.5, -9.0], [-1.0, -4.0, -3.0, -2.0]])
    assert tables.margin(record, 0) == 0.5
    assert tables.margin(record, 1) == -3.0


def test_a_single_option_has_no_margin():
    assert np.isnan(tables.margin(answers(questions([(0,)], 1), [[-1.0]]), 0))


def test_a_plain_flip_names_its_own_row_and_what_is_said_instead():
    asked = questions([(0,), (0,), (0,)], docs=[4, 7, 9])
    intact, ablated = answers(asked, [RIGHT, RIGHT, WRONG]), answers(asked, [RIGHT, WRONG, RIGHT])
    prompts = {doc: prompt(f"Question {doc}", ["yes", "no"], doc=doc) for doc in (4, 7, 9)}
    lost, won = tables.turned(intact, ablated)
    assert tables.flips_table(intact, ablated, lost, prompts).to_dict("records") == [
        {"question": "Question 7", "said": "no", "margin before": 1.0, "margin after": -2.0}]
    assert tables.flips_table(intact, ablated, won, prompts).to_dict("records") == [
        {"question": "Question 9", "said": "yes", "margin before": -2.0, "margin after": 1.0}]


def test_a_group_s_flip_is_of_the_group_s_rows_and_not_of_the_row_at_its_place():
    """Groups a, b, c of 2, 3 and 1 rows: group b turns wrong, by one of its rows, the fourth of all."""
    asked = questions([(0,)] * 6, docs=[10, 11, 12, 13, 14, 15], groups=["a", "a", "b", "b", "b", "c"],
                      metric="acc_by_group")
    intact = answers(asked, [RIGHT] * 6)
    ablated = answers(asked, [RIGHT, RIGHT, RIGHT, WRONG, RIGHT, RIGHT])
    prompts = {doc: prompt(f"Passage. Answer {doc}", ["yes", "no"], doc=doc) for doc in range(10, 16)}
    lost, won = tables.turned(intact, ablated)
    assert (lost.tolist(), won.tolist()) == ([1], [])
    assert tables.flips_table(intact, ablated, lost, prompts).to_dict("records") == [
        {"question": "Passage. Answer 13", "rows that turned": "1 of 3", "said": "no", "margin before": 1.0,
         "margin after": -2.0}]
    group = tables.group_table(intact, ablated, 1, prompts)
    assert group["row"].tolist() == [12, 13, 14]
    assert group["turned"].tolist() == [False, True, False]
    assert group.loc[1, ["right", "intact", "ablated"]].tolist() == ["yes", "yes", "no"]


def test_a_group_that_turns_right_is_judged_by_its_weakest_row():
    asked = questions([(0,)] * 3, groups=["a"] * 3, metric="acc_by_group")
    intact, ablated = answers(asked, [WRONG, WRONG, RIGHT]), answers(asked, [RIGHT, [0.0, -0.5], RIGHT])
    prompts = {doc: prompt(f"Answer {doc}", ["yes", "no"]) for doc in range(3)}
    row = tables.flips_table(intact, ablated, tables.turned(intact, ablated)[1], prompts).loc[0]
    assert row["rows that turned"] == "2 of 3"
    assert (row["margin before"], row["margin after"]) == (-2.0, 0.5)


def test_rows_of_a_group_need_not_stand_together():
    asked = questions([(0,)] * 4, groups=["a", "b", "a", "b"], metric="acc_by_group")
    intact, ablated = answers(asked, [RIGHT] * 4), answers(asked, [RIGHT, RIGHT, WRONG, RIGHT])
    prompts = {doc: prompt(f"Answer {doc}", ["yes", "no"]) for doc in range(4)}
    assert tables.turned(intact, ablated)[0].tolist() == [0]
    assert tables.group_table(intact, ablated, 0, prompts)["row"].tolist() == [0, 2]


def test_a_word_that_would_not_be_written_is_not_said_and_has_no_margin():
    asked = questions([(0,), (0,)], n_options=1, metric="greedy")
    intact = answers(asked, [[-0.5], [-2.0]], greedy=[True, False])
    ablated = answers(asked, [[-4.0], [-0.25]], greedy=[False, True])
    prompts = {0: prompt("It was a dark and stormy", ["night"]), 1: prompt("To be or not to", ["be"])}
    lost, won = tables.turned(intact, ablated)
    assert tables.flips_table(intact, ablated, lost, prompts).to_dict("records") == [
        {"question": "It was a dark and stormy", "said": "not ‘night’", "log-likelihood before": -0.5,
         "log-likelihood after": -4.0}]
    assert tables.flips_table(intact, ablated, won, prompts).to_dict("records") == [
        {"question": "To be or not to", "said": "be", "log-likelihood before": -2.0, "log-likelihood after": -0.25}]
    options = tables.options_table(prompts[0], intact, ablated, 0)
    assert options.to_dict("records") == [
        {"option": "night", "right": True, "intact": -0.5, "ablated": -4.0, "written by": "intact"}]


def test_rows_that_differ_in_their_options_alone_are_told_by_them():
    """As MultiRC reads: one passage and question, an answer in the options, yes or no behind it."""
    asked = questions([(0,), (1,)], groups=["a", "a"], metric="acc_by_group")
    intact, ablated = answers(asked, [RIGHT, [-1.0, 0.0]]), answers(asked, [RIGHT, RIGHT])
    prompts = {doc: prompt("Passage\nQuestion: who?\nAnswer:", [f"{name}\nIs the answer correct? {word}"
                                                               for word in ("yes", "no")], gold=(doc,))
               for doc, name in enumerate(("Ann", "Bob"))}
    assert tables.flips_table(intact, ablated, [0], prompts)["said"].tolist() == ["Bob Is the answer correct? yes"]
    group = tables.group_table(intact, ablated, 0, prompts)
    assert list(group.columns) == ["row", "right", "intact", "ablated", "turned"]
    assert group.loc[1].tolist() == [1, "Bob Is the answer correct? no", "Bob Is the answer correct? no",
                                     "Bob Is the answer correct? yes", True]


def test_an_exact_match_counts_each_of_several_right_options():
    asked = questions([(0, 2)], n_options=3, metric="em")
    intact, ablated = answers(asked, [[-3.0, -2.0, -1.0]]), answers(asked, [[-3.0, -1.0, -2.5]])
    prompts = {0: prompt("@placeholder won", ["Ann", "Bob", "Cat"], gold=(0, 2))}
    row = tables.flips_table(intact, ablated, [0], prompts).loc[0]
    assert (row["said"], row["margin before"], row["margin after"]) == ("Bob", 1.0, -1.5)
    assert tables.group_table(intact, ablated, 0, prompts).loc[0, ["right", "intact", "ablated"]].tolist() == [
        "Ann or Cat", "Cat", "Bob"]
    options = tables.options_table(prompts[0], intact, ablated, 0)
    assert options["right"].tolist() == [True, False, True]
    assert options["chosen by"].tolist() == ["", "ablated", "intact"]


def test_an_option_that_both_choose_names_both():
    record = answered([1])
    assert tables.options_table(prompt("?", ["yes", "no"]), record, record, 0)["chosen by"].tolist() == [
        "intact and ablated", ""]


def test_a_long_question_is_shown_by_its_end():
    record, other = answered([1]), answered([0])
    shown = tables.flips_table(record, other, [0], {0: prompt("first\n" + "x" * 80 + " last?", ["yes", "no"])})
    assert shown["question"][0] == "… " + "x" * 54 + " last?"


def test_bets_are_the_options_probabilities_made_to_sum_to_one():
    record = answers(questions([(1,)]), [[np.log(0.02), np.log(0.06)]])
    table = tables.bets_table([" hot", " cold"], record, 0)
    assert table["option"].tolist() == ["hot", "cold"]
    assert table["share"].tolist() == pytest.approx([0.25, 0.75])
    assert table["right"].tolist() == [False, True]


def test_an_intact_model_against_itself_has_nothing_that_turned():
    record = answered([1, 0])
    assert not sum(map(len, tables.turned(record, record)))
    assert isinstance(tables.flips_table(record, record, [], {}), pd.DataFrame)
    assert str(INTACT) == tables.tried_row(INTACT, "a", 0, [(record.outcomes(),) * 2])["off"]


def test_pairs_are_compared_with_what_changed_and_how_sure_that_is():
    a, b = answered([1, 1, 1, 0]), answered([1, 0, 0, 0])
    table = tables.pairs_table({"x": (a, b), "y": (a, None)}, {"x": "one", "y": "two"})
    assert table[["task", "model", "group"]].to_numpy().tolist() == [
        ["x", "intact", "one"], ["x", "ablated", "one"], ["y", "intact", "two"]]
    low, high = stats.difference_interval(a.outcomes(), b.outcomes())
    assert table.loc[1, ["change", "change from", "change to"]].tolist() == [-0.5, low, high]
    assert low < -0.5 < high
    assert table.loc[1, ["newly wrong", "newly right", "p"]].tolist() == [2, 0, 0.5]
    assert table.loc[2, ["change", "change from", "p"]].isna().all()


def test_groups_are_means_of_their_tasks_intact_first_and_all_tasks_where_there_are_several():
    a, b = answered([1, 1, 1, 0]), answered([1, 0, 0, 0])
    table = tables.groups_table(tables.pairs_table({"x": (a, b), "y": (b, b)}, {"x": "one", "y": "two"}))
    assert table[["group", "model", "accuracy", "tasks"]].to_numpy().tolist() == [
        ["all tasks", "intact", 0.5, 2], ["all tasks", "ablated", 0.25, 2], ["one", "intact", 0.75, 1],
        ["one", "ablated", 0.25, 1], ["two", "intact", 0.25, 1], ["two", "ablated", 0.25, 1]]
    alone = tables.groups_table(tables.pairs_table({"x": (a, b)}, {"x": "one"}))
    assert alone["group"].tolist() == ["one", "one"]


def test_means_are_a_row_per_group():
    a, b = answered([1, 1, 1, 0]), answered([1, 0, 0, 0])
    table = tables.means_table({"some": [a, b], "others": [b]})
    assert table[["what", "accuracy", "n"]].to_numpy().tolist() == [["some", 0.5, 8], ["others", 0.25, 4]]
    assert table["low"].lt(table["accuracy"]).all()
    assert table["high"].gt(table["accuracy"]).all()
