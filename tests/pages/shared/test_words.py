"""What is said of numbers, and what is not claimed of them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from backend import stats, tables
from backend.models.info import Weights
from backend.values import INTACT, Ablation, Head, parse_exact
from pages.shared import words
from tests.tables.records import answered, induction, sweep

OFF = parse_exact("L1H2")
NBSP = "\u00a0"


def said(text: str) -> str:
    """The text with ordinary blanks."""
    return text.replace(NBSP, " ")


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "text"), [(0.87, "87 %"), (0.875, "87.5 %"), (0.0, "0 %"), (1.0, "100 %"),
                                             (0.1, "10 %"), (0.0004, "0 %"), (2 / 3, "66.7 %")])
def test_shares_are_read_as_percentages(share: float, text: str):
    assert said(words.percent(share)) == text


def test_an_interval_names_the_unit_once():
    assert said(words.interval({"low": 0.79, "high": 0.922})) == "95 %: 79–92.2 %"


def test_an_accuracy_that_reads_the_same_stays():
    assert said(words.changed(0.9, 0.4)) == "goes from 90 % to 40 %"
    assert said(words.changed(0.9, 0.9002)) == "stays at 90 %"


@pytest.mark.parametrize(("difference", "text"), [(-0.12, "−12 points"), (0.01, "+1 point"), (-0.01, "−1 point"),
                                                  (0.0, "0 points"), (0.125, "+12.5 points"), (-0.0001, "0 points")])
def test_differences_have_a_sign_and_a_unit(difference: float, text: str):
    assert said(words.points(difference)) == text


@pytest.mark.parametrize(("p", "text"), [(0.0001, "p < 0.001"), (0.031, "p = 0.031"), (0.5, "p = 0.50"),
                                         (1.0, "p = 1.00")])
def test_p_values_are_not_more_precise_than_people_need(p: float, text: str):
    assert words.p_value(p) == text


def test_one_is_told_from_many_and_from_none():
    assert [words.how_many(n, "head") for n in (0, 1, 3)] == ["no heads", "1 head", "3 heads"]
    assert words.how_many(2, "query", "queries") == "2 queries"
    assert [words.holders(n, 12) for n in (1, 3)] == ["1 head of 12 holds", "3 heads of 12 hold"]
    assert [words.some_layers(n, 6) for n in (0, 3)] == ["none of 6 layers", "3 of 6 layers"]
    assert [words.tasks(names) for names in (["piqa"], ["piqa", "cb"])] == ["piqa", "the mean of 2 tasks"]


def test_what_is_off_is_named_and_counted_where_it_is_much():
    assert words.components(INTACT) == "nothing"
    assert words.components(OFF) == "L1H2"
    assert words.components(parse_exact("L1H2,L0H1,F3")) == "L0H1, L1H2 and L3 FFN"
    assert words.components(parse_exact("L0H0-5,F3")) == "6 heads and 1 FFN"
    assert words.components(parse_exact("L0H0-6")) == "7 heads"
    assert words.names([Head(3, 7), Head(0, 1)]) == "L3H7, L0H1"


def test_tiny_numbers_are_told_apart_from_none():
    assert words.tiny([2e-5, -3e-4])
    assert not words.tiny([0.0, np.nan])
    assert not words.tiny([2e-5, 0.5])


@pytest.mark.parametrize(("value", "text"), [
    (0.91, "rank the heads alike at ρ = 0.91"), (0.2, "rank the heads alike at ρ = 0.20"),
    (0.05, "rank the heads independently, at ρ = 0.05"), (-0.19, "rank the heads independently, at ρ = −0.19"),
    (-0.4, "rank the heads the other way round, at ρ = −0.40"),
    (np.nan, "cannot be set against each other: ρ undefined, for all values are equal")])
def test_rankings_that_have_little_in_common_are_not_called_alike(value: float, text: str):
    assert said(words.agreement(value)) == text


# --- importance and its overlap -------------------------------------------------------------------


def test_importance_is_told_by_its_half_and_its_leader():
    assert words.concentrated(np.array([[1.0, 6.0], [1.0, 2.0]]), "for piqa") == (
        "1 head of 4 holds half of the importance for piqa; L0H1 leads")


def test_dead_heads_are_counted_in_no_half():
    scores, heads = np.array([[1.0, 6.0, 9.0], [1.0, 2.0, 0.0]]), np.array([[True, True, False]] * 2)
    assert words.concentrated(scores, "for piqa", heads, what="live head") == (
        "1 live head of 4 holds half of the importance for piqa; L0H1 leads")


def test_nothing_is_held_under_a_divisor_that_flatters_one_layer():
    authors, even = np.array([[1.0, 1.5, 1.0], [8.0, 0.0, 0.0]]), np.array([[1.0, 1.5, 1.0], [0.8, 0.0, 0.0]])
    told = words.concentrated(authors, "for piqa", even=even)
    assert "hold" not in told
    assert told == ("Half of the importance for piqa falls on 1 of 6 heads by the authors' divisor, which is smaller "
                    "for the last layer, and on 2 by one divisor for all layers; L1H0 leads by that, L0H1 by this")
    assert words.concentrated(even, "for piqa", even=even) == (
        "2 heads of 6 hold half of the importance for piqa, by either divisor; L0H1 leads")
    shares, fair = pd.Series([0.3, 0.7]), pd.Series([0.8, 0.2])
    assert said(words.layer_holds(shares, fair)) == (
        "Layer 1 comes to 70 % by the authors' divisor, which is smaller for the last layer, and to 20 % by one "
        "divisor for all layers; by that, layer 0 has most, 80 %")
    assert said(words.layer_holds(fair, fair)) == "Layer 0 holds 80 %, by either divisor"
    assert said(words.layer_holds(fair)) == "Layer 0 holds 80 %"
    assert "hold" not in words.layer_holds(pd.Series([0.7, 0.3]), fair)


def needs(outcomes: list[list[int]], scores: list[list[float]]) -> pd.DataFrame:
    masks = [INTACT, *(parse_exact(f"L{layer}H{head}") for layer in range(len(scores))
                       for head in range(len(scores[0])))]
    return tables.need_table(np.array(scores), sweep(outcomes, masks))


def test_a_head_that_can_go_is_not_needed_however_sensitive_the_loss_is_to_it():
    fine, lost = [1] * 20, [0] * 10 + [1] * 10
    table = needs([fine, fine, lost, fine], [[9.0, 5.0, 1.0]])
    assert table["head"].tolist() == ["L0H0", "L0H1", "L0H2"]
    assert said(words.need_apart(table, "piqa")) == (
        "L0H0 has the highest importance, and yet without it accuracy on piqa does not change; without L0H1, of rank "
        f"2, it falls by 50 points (95 %: {said(span(table, 'L0H1'))}). Gradient sensitivity is not need")


def span(table: pd.DataFrame, head: str) -> str:
    row = table[table["head"] == head].iloc[0]
    return " to ".join(words.points(row[end]).split("\u00a0")[0] for end in ("low", "high"))


def test_where_importance_and_need_agree_they_are_not_parted():
    fine, lost = [1] * 20, [0] * 10 + [1] * 10
    told = words.need_apart(needs([fine, lost, fine], [[9.0, 5.0]]), "piqa")
    assert told.endswith("more than without any other")
    assert "not need" not in told


def test_no_head_is_said_to_be_needed_where_a_test_of_all_tells_none():
    fine, few = [1] * 20, [0] + [1] * 19
    told = words.need_apart(needs([fine, fine, few], [[9.0, 5.0]]), "piqa")
    assert "though a test corrected for trying all 2 heads tells no difference" in told
    assert "not need" not in told
    none = words.need_apart(needs([fine, fine, fine], [[9.0, 5.0]]), "piqa")
    assert none.endswith("no head is missed when off alone. Gradient sensitivity is not need")


def test_heads_are_told_with_those_left_out():
    assert words.heads_over(24, 16) == "24 live heads of 40"
    assert words.heads_over(24, 0) == "24 heads"
    assert words.heads_over(40, None) == "40 heads, dead or alive"
    rule = "share of its layer's write to the residual stream below 1 % of the median head's"
    assert words.dead_heads([Head(0, 1)], 8, 32, 1) == (
        f"Dead and left out: L0H1 of 8 heads ({rule}, over 32 training prompts)")
    assert words.dead_heads([], 8, 64, 2) == f"Dead: none of 8 heads ({rule}, over 64 training prompts of 2 setups)"


def test_where_no_head_matters_none_leads():
    assert words.concentrated(np.zeros((2, 2)), "for piqa") == "No head has any importance for piqa"
    assert "leads" not in words.leads_in(induction([[0.0, 0.0]]), "copying")


def test_the_map_that_leans_on_a_head_more_is_the_one_with_the_larger_share():
    delta = np.array([[0.1, -0.3]])
    assert said(words.sets_apart(delta, "piqa", "cb", 0.5)) == (
        "L0H1 sets them apart most: cb leans on it more (ρ = 0.50)")
    assert "piqa leans" in words.sets_apart(-delta, "piqa", "cb", 0.5)


def test_equal_maps_are_set_apart_by_no_head():
    assert words.sets_apart(np.zeros((1, 2)), "piqa", "cb", 1.0).startswith("No head sets piqa and cb apart")


def test_maps_are_called_alike_only_where_they_are():
    assert said(words.alike("The maps", np.array([0.9, 0.7]))) == (
        "The maps rank the heads alike at ρ = 0.80 on average (0.70 to 0.90)")
    assert "independently" in words.alike("The maps", np.array([0.3, -0.3]))
    assert "nan" not in words.alike("The maps", np.array([np.nan, np.nan]))


def test_tasks_are_told_by_mean_range_and_the_pair_most_alike():
    rhos = np.array([[1, 0.5, 0.9], [0.5, 1, 0.4], [0.9, 0.4, 1]])
    assert said(words.tasks_alike(["a", "b", "c"], rhos)) == (
        "3 tasks rank their heads alike at ρ = 0.60 on average (0.40 to 0.90); a and c most")


def test_of_two_tasks_no_pair_is_called_the_most_alike():
    assert "most" not in words.tasks_alike(["a", "b"], np.array([[1, 0.5], [0.5, 1]]))


def test_tasks_that_cannot_be_ranked_are_not_called_alike():
    rhos = np.full((3, 3), np.nan)
    for as_authors in (False, True):
        told = words.tasks_alike(["a", "b", "c"], rhos, as_authors)
        assert "cannot be set against each other" in told
        assert "nan" not in told


def test_what_the_study_s_script_computes_is_not_called_alikeness():
    rhos = np.array([[1, 0.9], [0.9, 1]])
    assert "which is not how alike the rankings are" in words.tasks_alike(["a", "b"], rhos, as_authors=True)
    assert "which is not how alike the rankings are" in words.shots_alike(["0 and 1 shots"], rhos[:, :1], True)


def test_numbers_of_shots_are_averaged_over_tasks():
    rhos = np.array([[0.8, 0.1], [0.6, np.nan]])
    assert said(words.shots_alike(["0 and 1 shots", "0 and 5 shots"], rhos)) == (
        "Averaged over tasks, 0 and 1 shots agree at ρ = 0.70, 0 and 5 shots agree at ρ = 0.10")
    assert "agree" not in words.shots_alike(["0 and 1 shots"], np.array([[np.nan]]))


@pytest.mark.parametrize(("means", "text"), [
    ([0.5, 0.5, 0.5], "The overlap is above chance for the top 5 % to 20 % of the heads"),
    ([0.0, 0.5, 0.0], "The overlap is above chance for the top 10 % of the heads"),
    ([0.5, 0.0, 0.5], "The overlap is above chance for the top 5 %, 20 % of the heads"),
    ([0.1, 0.1, 0.1], "The overlap is above chance for no size of the top")])
def test_only_sizes_of_the_top_above_chance_are_named(means: list[float], text: str):
    curve = pd.DataFrame({"share": [0.05, 0.1, 0.2], "mean": means, "chance": [0.1, 0.1, 0.1]})
    assert said(words.above_chance(curve)) == text


def test_heads_in_every_top_are_counted():
    assert words.needed(np.array([[1, 3], [0, 2]]), 3, 20, 4) == (
        "L0H1 is in the top 20 % of 3 of 3 tasks; 1 of 4 heads is in all of them")
    assert words.needed(np.array([[2, 1]]), 3, 20, 2).endswith("0 of 2 heads are in all of them")


# --- switched off ---------------------------------------------------------------------------------


def compared(**pairs: tuple[list[int], list[int] | None]) -> pd.DataFrame:
    return tables.comparison_table(
        list(pairs), [""] * len(pairs), [np.array(a, bool) for a, _ in pairs.values()],
        [np.array(b, bool) if b is not None else None for _, b in pairs.values()], [0.5] * len(pairs))


def test_switching_off_is_told_by_what_became_of_accuracy():
    one = compared(piqa=([1, 1], [1, 0]))
    assert said(words.accuracy_change(one, ["piqa"], OFF)) == "Without L1H2, accuracy on piqa goes from 100 % to 50 %"
    two = compared(piqa=([1, 1], [1, 0]), cb=([0, 0], [0, 0]))
    assert said(words.accuracy_change(two, ["piqa", "cb"], OFF)) == (
        "Without L1H2, accuracy averaged over 2 tasks goes from 50 % to 25 %")
    shots = compared(**{"0-shot": ([1, 0], [0, 0]), "5-shot": ([1, 1], [1, 1])})
    assert said(words.accuracy_change(shots, ["0-shot", "5-shot"], OFF, "piqa")) == (
        "Without L1H2, accuracy on piqa goes from 50 % to 0 % 0-shot, stays at 100 % 5-shot")


def test_nothing_is_said_of_accuracies_that_are_not_measured_yet():
    some = compared(piqa=([1, 1], [1, 0]), cb=([0, 0], None))
    assert words.accuracy_change(some, ["piqa", "cb"], OFF) == "Without L1H2: 1 of 2 measured"
    assert words.accuracy_change(some, ["piqa", "cb"], INTACT) == "Nothing is switched off: this is the intact model"


def test_answers_that_turned_are_counted_either_way():
    assert words.answers_turned(1, 0, "piqa") == "1 question of piqa turned wrong, none turned right"
    assert words.answers_turned(0, 2, "piqa") == "No questions of piqa turned wrong, 2 turned right"
    assert words.answers_turned(0, 0, "piqa, 5-shot,") == "No answer on piqa, 5-shot turned from right to wrong or back"


def test_the_ffn_whose_removal_costs_most_is_named_with_its_interval():
    table = tables.effects_table(sweep([[1] * 8, [0] * 8, [1] * 7 + [0]]))
    assert said(words.falls_most(table, "on piqa")) == (
        "Without the L0 FFN, accuracy on piqa falls by 100 points (95 %: −100 to −100); the interval excludes 0 in 1 "
        "of 2 layers")


def test_where_accuracy_falls_nowhere_no_ffn_is_said_to_matter():
    table = tables.effects_table(sweep([[1, 0], [1, 0], [1, 1]]))
    assert words.falls_most(table, "on piqa") == "No FFN's removal lowers accuracy on piqa"
    leans = tables.leaning_table(tables.effects_table(sweep([[1, 0], [1, 0], [1, 1]]), task="piqa"))
    assert words.leaning(leans, 1) == "No FFN's removal lowers any task's accuracy"


def test_tasks_are_counted_by_the_layer_they_lean_on():
    leans = pd.DataFrame([("a", 2, "L2 FFN", -0.1), ("b", 2, "L2 FFN", -0.3), ("c", 0, "L0 FFN", -0.2)],
                         columns=["task", "layer", "name", "change"])
    assert said(words.leaning(leans, 4)) == (
        "2 tasks of 4 lean most on layer 2; the largest fall is −30 points, b without the L2 FFN")
    assert words.leaning(leans[2:], 4).startswith("1 task of 4 leans most on layer 0")


def test_layers_that_are_not_missed_are_not_said_to_matter():
    assert said(words.matter_most(pd.Series([0.1, 0.5, 0.3]), pd.Series([0.3, 0.2, 0.0]), "piqa")) == (
        "For piqa, heads matter most in layer 1, FFNs in layer 0 (ρ = −0.50 over 3 layers)")
    even = words.matter_most(pd.Series([0.1, 0.5]), pd.Series([0.3, 0.2]), "piqa", pd.Series([0.5, 0.1]))
    assert "heads matter most in layer 1 by the authors' divisor and in layer 0 by one for all layers" in even
    both = words.matter_most(pd.Series([0.1, 0.5]), pd.Series([0.3, 0.2]), "piqa", pd.Series([0.1, 0.3]))
    assert "heads matter most in layer 1 by either divisor" in both
    told = words.matter_most(pd.Series([-0.1, 0.0]), pd.Series([0.0, 0.0]), "piqa")
    assert told == "For piqa, no layer's heads are missed, no FFN is missed"
    half = pd.Series([0.5, 0.1, 0.2], [1, 3, 5])  # the other layers have no heads
    assert said(words.matter_most(half, pd.Series([0.9, 0.2, 0.0, 0.3, 0.8, 0.4]), "piqa")) == (
        "For piqa, heads matter most in layer 1, FFNs in layer 0 (ρ = −0.50 over 3 layers)")


# --- a class's room -------------------------------------------------------------------------------


@pytest.mark.parametrize(("counts", "kind", "text"), [
    ((2, 2, 5), "accuracy", "2 of 5 have guessed."), ((1, 1, 1), "heads", "1 of 1 has guessed."),
    ((2, 0, 5), "race", "2 of 5 have begun, none is done."), ((2, 1, 5), "race", "2 of 5 have begun, 1 is done."),
    ((3, 2, 5), "race", "3 of 5 have begun, 2 are done.")])
def test_who_has_begun_a_race_has_not_guessed_yet(counts: tuple[int, int, int], kind: str, text: str):
    assert words.have_guessed(kind, *counts) == text


@pytest.mark.parametrize(("code", "ended", "text"), [
    ("", "", "Type the four letters first."), ("XLWH", "closed", "Room XLWH has been closed."),
    ("XLWH", "over", "There is no room XLWH any more: rooms live for two hours.")])
def test_a_room_that_is_not_there_is_told_why(code: str, ended: str, text: str):
    assert words.no_room(code, ended) == text
    assert "any more" not in words.no_room("QQQQ")


def test_what_a_class_is_asked():
    assert words.which_of([Head(0, 1), Head(2, 0), Head(4, 4)]) == "Which is missed most: L0H1, L2H0 or L4H4?"
    assert words.find_the_heads(3, 10) == "Find the 3 heads that are missed most; you have 10 switches."
    assert words.find_the_heads(1, 10) == "Find the head that is missed most; you have 10 switches."
    assert [words.switches_left(n) for n in (2, 1, 0)] == ["2 switches left.", "1 switch left.", "No switches left."]


# --- pruning --------------------------------------------------------------------------------------

POINTS = [(0.0, 0.0), (0.5, 0.0), (0.9, 0.0)]
GONE = [parse_exact(text) for text in ("", "L0H0-4", "L0H0-8")]  # of ten heads


def curve(ranking: str, *outcomes: list[int]) -> pd.DataFrame:
    return tables.curve_table([sweep(outcomes, GONE, POINTS)], ranking, Weights(1, 1, 10, 1), 100)


WHOLE = pd.Series({"accuracy": 1.0, "low": 0.9, "chance": 0.5})


def test_how_far_pruning_goes_is_told_beside_a_random_order():
    both = pd.concat([curve(tables.OWN, [1, 1], [1, 1], [0, 0]), curve(tables.RANDOM, [1, 1], [0, 0], [0, 0])])
    limits = tables.limits_table(both, "heads", 0.9)
    assert said(words.can_go(limits, "heads", 0.9, "piqa", WHOLE)) == (
        "By its own ranking, 50 % of the heads can go before piqa falls below 90 % of its intact accuracy; in random "
        "order 0 %")


def test_where_the_intact_model_guesses_nothing_is_said_to_go():
    limits = tables.limits_table(curve(tables.OWN, [1, 1], [1, 1], [0, 0]), "heads", 0.9)
    guesses = pd.Series({"accuracy": 0.6, "low": 0.5, "chance": 0.5})
    assert said(words.can_go(limits, "heads", 0.9, "piqa", guesses)) == (
        "The intact model is not told from chance on piqa (60 %, chance 50 %): how many heads can go says nothing")


def test_how_far_pruning_goes_has_its_interval():
    limits = tables.limits_table(curve(tables.OWN, [1, 1], [1, 1], [0, 0]), "heads", 0.9)
    told = words.can_go(limits.assign(**{"can go from": 0.35, "can go to": 0.6}), "live heads", 0.9, "piqa", WHOLE)
    assert said(told).startswith("By its own ranking, 50 % of the live heads (95 %: 35 to 60 %) can go before piqa")
    same = words.can_go(limits.assign(**{"can go from": 0.5, "can go to": 0.5}), "heads", 0.9, "piqa", WHOLE)
    assert "50 % of the heads (95 %: within this step) can go" in said(same)


def test_half_of_a_few_is_told_as_what_it_is():
    """Of six FFNs 65 % are asked for and three go, which is 50 %."""
    masks = [parse_exact(text) for text in ("", "F0-2", "F0-3")]
    points = [(0.0, 0.0), (0.0, 0.65), (0.0, 0.7)]
    table = tables.curve_table([sweep([[1, 1], [1, 1], [0, 0]], masks, points)], tables.OWN, Weights(1, 1, 10, 6), 100)
    told = words.can_go(tables.limits_table(table, "FFNs", 0.9), "FFNs", 0.9, "piqa", WHOLE)
    assert "50 % of the FFNs can go before piqa" in said(told)


def test_a_curve_that_never_breaks_is_not_said_to_fall():
    limits = tables.limits_table(curve(tables.AGGREGATE, [1, 1], [1, 1], [1, 1]), "heads", 0.9)
    assert said(words.can_go(limits, "heads", 0.9, "piqa", WHOLE)) == (
        "By the aggregate ranking, 90 % of the heads can go and piqa does not fall below 90 % of its intact accuracy: "
        "more was not tried")


def test_a_random_order_alone_is_not_compared_with_itself():
    limits = tables.limits_table(curve(tables.RANDOM, [1, 1], [1, 1], [0, 0]), "heads", 0.9)
    told = words.can_go(limits, "heads", 0.9, "piqa", WHOLE)
    assert told.startswith("By a random order, 50")
    assert "in random order" not in told


def test_what_can_go_together_is_told_with_what_is_left():
    point = pd.Series({"heads": 0.5, "FFNs": 0.2, "parameters": 0.25, "accuracy": 0.8})
    assert said(words.go_together(point, 0.85, "piqa")) == (
        "50 % of the heads and 20 % of the FFNs can go together, 25 % of all parameters, with piqa still at 80 % "
        "(intact 85 %)")


def test_points_with_a_mask_have_a_name_and_the_intact_model_has_none():
    table = curve(tables.OWN, [1, 1], [1, 0], [0, 0]).assign(mask=["", "L0H0", "L0H0-1"])
    assert {mask: said(name) for mask, name in words.point_labels(table, "heads").items()} == {
        "L0H0-1": "own ranking, 90 % of the heads removed: 0 %", "L0H0": "own ranking, 50 % of the heads removed: 50 %"}


def transfer(*rows: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["task", "ranking", "accuracy"])


def test_a_task_s_own_ranking_is_set_against_the_others():
    assert said(words.transfers(transfer(("a", "a", 0.9), ("a", "b", 0.5), ("a", "c", 0.7)), 50, "a keeps")) == (
        "With 50 % of the heads gone, a keeps 90 % by its own ranking and 60 % on average by other tasks'; c's "
        "transfers best")


def test_one_other_ranking_is_not_the_best_of_several():
    told = words.transfers(transfer(("a", "b", 0.5)), 50, "a keeps")
    assert said(told) == "With 50 % of the heads gone, a keeps 50 % on average by other tasks'"


# --- induction ------------------------------------------------------------------------------------


def test_the_leading_head_has_its_interval():
    record = induction([[0.1, 0.8], [0.1, 0.0]], variance=0.04, n_seeds=100)
    low, high = stats.mean_interval(0.8, 0.04, 100)
    assert said(words.leads_in(record, "prefix matching")) == (
        f"L0H1 leads in prefix matching with 0.80 (95 %: {low:.2f} to {high:.2f}); 1 head of 4 holds half of it")


def test_what_is_kept_is_read_where_it_is_asked_for():
    table = tables.capacity_table(induction([[0.1, 0.4], [0.3, 0.2]]), {"piqa": np.array([[3, 1], [2, 4]])},
                                  (0.0, 0.5, 0.7))
    assert said(words.keeps(table, 50, ["piqa"], "copying")) == (
        "With 50 % of the heads gone, copying keeps 30 % by piqa; at random 50 %")


# --- one prompt -----------------------------------------------------------------------------------


def reading(token: int, text: str, probability: float) -> Any:
    return SimpleNamespace(next_tokens=[SimpleNamespace(token=token, text=text, probability=probability)])


def test_what_comes_next_is_told_of_both_models():
    before = reading(1, "cat", 0.5)
    assert said(words.comes_next({"intact": before}, INTACT)) == "‘cat’ comes next with 50 %"
    assert said(words.comes_next({"intact": before, "ablated": reading(1, "cat", 0.25)}, OFF)) == (
        "‘cat’ comes next with 50 %; without L1H2 with 25 %")
    assert said(words.comes_next({"intact": before, "ablated": reading(2, "dog", 0.25)}, OFF)) == (
        "‘cat’ comes next with 50 %; without L1H2 it is ‘dog’ with 25 %")


def options(*rows: tuple[str, str, float, bool]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["option", "model", "loglikelihood", "right"])


def test_the_preferred_option_is_judged_only_where_one_is_right():
    table = options(("hot", "intact", -1.0, True), ("cold", "intact", -3.5, False))
    assert words.preferred(table) == "The intact model prefers ‘hot’ by 2.50 nats, rightly"
    assert words.preferred(table.assign(right=[False, True])) == "The intact model prefers ‘hot’ by 2.50 nats, wrongly"
    assert words.preferred(table.assign(right=False)) == "The intact model prefers ‘hot’ by 2.50 nats"


def test_level_options_are_not_preferred_to_each_other_and_one_alone_to_none():
    level = options(("hot", "intact", -1.0, True), ("cold", "intact", -1.0, False))
    assert words.preferred(level) == "The intact model puts ‘hot’ and ‘cold’ level"
    assert words.preferred(options(("hot", "ablated", -1.5, False))) == "The ablated model has ‘hot’ at -1.50 nats"


def test_a_head_is_said_to_look_where_it_looks_most_from_the_last_token():
    pattern = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0.2, 0.7, 0.1]])
    assert said(words.looks_at(Head(1, 2), pattern, ["a", "b", "c"])) == (
        "L1H2 looks from the last token at ‘b’ (position 1) with 70 %")


def test_what_takes_most_away_is_not_said_to_add():
    table = tables.contribution_table(np.array([[1.0, -3.0]]), np.array([2.0]))
    assert words.adds_most(tables.largest(table), "logit of ‘hot’", 0.25) == (
        "L0H1 takes most: -3.00 of the logit of ‘hot’, +0.25")
    positive = table.assign(contribution=table["contribution"].abs())
    assert words.adds_most(tables.largest(positive), "logit", 6).startswith("L0H1 adds most: +3.00")


def test_sentences_about_accuracies_take_what_the_tables_make():
    record = answered([1, 1, 0, 0])
    row = tables.accuracy_row("piqa", record.outcomes(), 0.5)
    low, high = stats.wilson(2, 4)
    assert said(words.interval(row)) == f"95 %: {said(words.percent(low))[:-2]}–{said(words.percent(high))}"
    assert words.components(Ablation(ffns=frozenset({2}))) == "L2 FFN"


def test_what_sets_two_masks_apart_is_said_component_by_component():
    a, b = parse_exact("L1H2,L3H7"), parse_exact("L1H2,F2")
    assert words.masks_apart(a, b) == "Off only in A: L3H7. Off only in B: L2 FFN. In both: L1H2."
    assert words.masks_apart(a, a) == "A and B are the same mask: L1H2 and L3H7 off."
    assert words.masks_apart(INTACT, b) == "Off only in B: L1H2 and L2 FFN."
    assert words.masks_apart(a, a.filled("mean")) == (
        "In both: L1H2 and L3H7. What is off becomes zero in A, its mean in B.")


def test_two_masks_are_called_apart_only_where_the_test_says_so():
    def table(*rows: tuple[str, float, float, float]) -> pd.DataFrame:
        made = pd.DataFrame(rows, columns=["task", "A", "B", "p"])
        return made.assign(**{"A − B": made["A"] - made["B"], "p (Holm)": made["p"] * len(made)})

    one = table(("piqa", 0.5, 0.75, 0.03))
    assert words.masks_compared(one, ["piqa"], False) == (
        "Accuracy on piqa is 50\u00a0% with mask A and 75\u00a0% with mask B; these questions tell A and B "
        "apart (p = 0.03)")
    assert "do not tell A and B apart (p = 0.06)" in words.masks_compared(table(("piqa", 0.5, 0.75, 0.06)), ["piqa"],
                                                                         False)
    two = table(("piqa", 0.5, 0.75, 0.03), ("rte", 0.5, 0.75, 0.02))
    assert words.masks_compared(two, ["piqa", "rte"], False) == (
        "Averaged over 2 tasks, accuracy is 50\u00a0% with mask A and 75\u00a0% with mask B; the test tells A and B "
        "apart on 1 of 2 tasks")
    assert words.masks_compared(two.assign(task=["0-shot", "5-shot"]), ["0-shot", "5-shot"], False, "piqa") == (
        "On piqa, A − B is −25\u00a0points 0-shot, −25\u00a0points 5-shot; the test tells A and B apart at 1 of 2 "
        "numbers of shots")
    assert words.masks_compared(one, ["piqa", "rte"], False) == "A against B: 1 of 2 measured"
    assert words.masks_compared(one, ["piqa"], True).startswith("A and B are the same mask")


def test_answers_that_only_one_mask_gets_right_are_counted_both_ways():
    assert words.answers_apart(1, 0, "piqa") == (
        "1 question of piqa is right with mask B and wrong with mask A, none the other way round")
    assert words.answers_apart(0, 0, "piqa, 5-shot,") == (
        "With mask A and with mask B, the same questions of piqa, 5-shot are right")
