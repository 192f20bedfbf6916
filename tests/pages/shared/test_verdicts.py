"""What the Tour concludes, and when it must not."""

import re

import numpy as np
import pandas as pd
import pytest

from backend import stats, tables
from backend.values import Head
from pages.shared import verdicts
from pages.shared.words import points
from tests.tables.records import sweep


def said(text: str) -> str:
    return text.replace("\u00a0", " ")


def means(*rows: tuple[float, float, float], chance: float = 0.5) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["accuracy", "low", "high"]).assign(chance=chance)


def test_examples_help_where_the_intervals_are_apart():
    text, right = verdicts.learned(means((0.5, 0.4, 0.6), (0.96, 0.9, 1.0)), (0, 5))
    assert (said(text), right) == ("From 50 % without examples to 96 % with 5", 2)
    assert verdicts.learned(means((0.5, 0.4, 0.6), (0.7, 0.62, 0.78)), (0, 5))[1] == 1


def test_no_rise_is_claimed_where_the_intervals_overlap_and_none_above_chance_where_they_hold_it():
    text, right = verdicts.learned(means((0.5, 0.4, 0.6), (0.58, 0.48, 0.68)), (0, 5))
    assert "these questions tell no difference" in text
    assert right == 0


def helps(*rows: tuple[float, float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["change", "p (Holm)"]).assign(model="with")
    return pd.concat([table.assign(model="without"), table])


@pytest.mark.parametrize(("rows", "text", "right"), [
    ([(0.4, 0.001), (0.4, 0.2), (-0.1, 0.9)], "5 examples help on 1 of 3 tasks", 1),
    ([(0.4, 0.2), (0.9, 0.05), (-0.1, 0.9)], "5 examples help on 0 of 3 tasks", 2),  # large, and not told from chance
    ([(0.4, 0.01)] * 4 + [(0.0, 1.0)], "5 examples help on 4 of 5 tasks", 0),
    ([(-0.4, 0.01), (0.4, 0.01)], "5 examples help on 1 of 2 tasks (tested task by task, corrected for trying all 2), "
                                  "and hurt on 1", 1),
])
def test_examples_help_where_a_test_says_so_that_knows_how_many_were_tried(rows: list, text: str, right: int):
    told, at = verdicts.helped(helps(*rows), 5)
    assert said(told).startswith(text)
    assert at == right
    assert ("hurt" in told) == ("hurt" in text)


def needs(*rows: tuple[str, float, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["head", "change", "low", "high", "p (Holm)"])


def test_heads_are_missed_by_a_test_that_knows_how_many_were_tried():
    table = needs(("L0H0", -0.5, -0.6, -0.4, 0.001), ("L0H1", -0.06, -0.2, 0.05, 0.6), ("L1H0", 0.0, 0.0, 0.0, 1.0))
    text, right = verdicts.missed_alone(table)
    assert said(text) == ("Of 3 heads 1 is missed when off alone (tested head by head, corrected for trying all 3); "
                          "the most that one costs is 50 points, L0H0 (95 %: −60 to −40 points).")
    assert right == 2
    assert verdicts.missed_alone(table[:1])[1] == 0


def test_a_large_loss_of_few_questions_is_no_missed_head():
    text, right = verdicts.missed_alone(needs(("L0H0", -0.1, -0.3, 0.1, 0.5)))
    assert "Of 1 head none is missed" in text
    assert right == 1


@pytest.mark.parametrize(("interval", "claim", "right"), [
    ((0.02, 0.3), "The heads that look back are missed more", 2),
    ((-0.3, -0.02), "The random heads are missed more", 0),
    ((-0.02, 0.3), "These questions do not tell which are missed more", 1),
    ((0.0, 0.0), "These questions do not tell which are missed more", 1)])
def test_who_is_missed_more_is_the_interval_s_to_say(interval: tuple[float, float], claim: str, right: int):
    text, answer = verdicts.knocked_out(-0.2, -0.1, stats.Interval(*interval))
    assert text.startswith(f"{claim}: ")
    assert "difference +10" in text
    assert answer == right


def test_how_much_can_go_has_its_interval():
    text, right = verdicts.spared(limits(0.5, 0.4, 0.55), 0.9, "live heads", 24)
    assert said(text) == "50 % of the live heads (12 of 24; 95 %: 40 to 55 %) can go and 90 % of the accuracy stays"
    assert right == 2
    assert "(3.2 of 24; 95 %" in said(verdicts.spared(limits(0.4, 0.3, 0.5, n=3.2), 0.9, "live heads", 24)[0])


def limits(held: float, low: float, high: float, n: float = 12, accuracy: float = 0.8023) -> pd.DataFrame:
    return pd.DataFrame({"can go": [held], "can go from": [low], "can go to": [high], "that is": [n],
                         "accuracy there": [accuracy]})


@pytest.mark.parametrize(("held", "answer"), [
    (0.0, "less than a quarter"), (0.2, "less than a quarter"), (0.2494, "less than a quarter"),
    (0.25, "a quarter to a half"), (0.2499999, "a quarter to a half"), (0.4994, "a quarter to a half"),
    (0.4999, "half or more"), (0.5, "half or more"), (0.9, "half or more")])
def test_a_guess_of_how_much_can_go_is_judged_by_the_share_as_it_is_shown(held: float, answer: str):
    text, right = verdicts.spared(limits(held, held, held), 0.9, "heads", 48)
    assert verdicts.SPARED[right] == answer
    shown = float(said(text).split(" %")[0])
    assert answer == ("less than a quarter" if shown < 25 else "a quarter to a half" if shown < 50 else "half or more")


def test_an_interval_without_width_is_one_of_the_grid():
    assert "(12 of 48; 95 %: within this step)" in said(verdicts.spared(limits(0.25, 0.25, 0.25), 0.9, "heads", 48)[0])


def test_what_the_largest_model_spares_stands_beside_what_this_one_does():
    told = said(verdicts.at_scale(limits(0.5, 0.5, 0.5, n=3), "about 20 %", "FFNs", "FFNs", 6))
    assert told == ("OPT-66B spares about 20 % of its FFNs; this model 50 % of its FFNs (3 of 6; 95 %: within this "
                    "step), with 80.2 % of the answers still right")


def test_one_head_stands_in_for_another_only_where_both_cost_more_than_their_sum():
    table = needs(("L5H2", -0.03, -0.08, 0.02, 1.0), ("L5H7", -0.02, -0.05, 0.01, 1.0), ("L0H0", 0.0, 0.0, 0.0, 1.0))
    both = [Head(5, 2), Head(5, 7)]
    assert verdicts.worst_pair(table) == ("L5H2", "L5H7")
    assert verdicts.worst_pair(table[1:]) is None
    told = said(verdicts.together(table, both, -0.48, -0.39))
    assert told.startswith("Off alone, they change accuracy by −3 and −2 points; off together, by −48 points: one does")
    for change, most in ((-0.06, -0.01), (-0.2, -0.04), (0.1, 0.2)):
        assert said(verdicts.together(table, both, change, most)).endswith(f"together, by {said(points(change))}.")
    assert verdicts.together(table, both[:1], -0.03, 0.02) == ""
    assert verdicts.together(table, [*both, Head(3, 3)], -0.5, -0.4) == ""  # of which nothing is stored


@pytest.mark.parametrize(("within", "across", "p", "claim", "right"), [
    (0.9, 0.5, 0.01, "Tasks of one kind agree more than", 0),
    (0.5, 0.9, 0.01, "Tasks of one kind agree less than", 1),
    (0.9, 0.5, 0.2, "is not told by these tasks", 2),
    (0.9, np.nan, np.nan, "is not told by these tasks", 2)])
def test_kinds_agree_only_by_a_test(within: float, across: float, p: float, claim: str, right: int):
    text, answer = verdicts.kinds_agree(stats.Grouping(within, across, p))
    assert claim in text
    assert answer == right


def effects(*changes: float, high: float = -0.1) -> pd.DataFrame:
    return pd.DataFrame({"layer": range(len(changes)), "change": changes, "high": high})


def test_the_ffn_that_is_missed_most_is_told_from_the_next_or_is_not():
    ahead, level = stats.Interval(0.1, 0.3), stats.Interval(-0.05, 0.3)
    table = effects(-0.2, -0.5)
    assert said(verdicts.missed_most(table, 0, ahead)) == (
        "Without the FFN of layer 1 accuracy falls most, by 50 points on average")
    assert verdicts.missed_most(table, 0, level).endswith("do not tell it from that of layer 0")
    assert verdicts.missed_most(effects(-0.2, -0.5, high=0.02), 0, ahead).endswith("do not tell from no change")
    assert verdicts.missed_most(effects(0.0, 0.1), 0, ahead) == "No FFN's removal lowers accuracy on average"


def test_a_control_draws_none_of_those_it_is_held_against_and_nothing_of_layer_0():
    there = [Head(layer, head) for layer in range(3) for head in range(4) if head != 3]
    controlled = [Head(1, 0), Head(2, 2)]
    for seed in range(30):
        drawn = verdicts.control(there, controlled, 4, seed)
        assert len(drawn) == len(set(drawn)) == 4
        assert not set(drawn) & set(controlled)
        assert all(head.layer > 0 and head in there for head in drawn)
    assert len(verdicts.control(there, controlled, 99, 0)) == 4
    assert verdicts.control(there, controlled, 4, 1) == verdicts.control(there, controlled, 4, 1)


def test_the_runner_up_is_the_next_and_its_distance_a_paired_interval():
    from backend import tables

    one = sweep([[1] * 20, [0] * 20, [1] * 10 + [0] * 10, [1] * 20])
    second, ahead = tables.runner_up([one, one], 0)
    assert second == 1
    assert 0.2 < ahead.low <= 0.5 <= ahead.high < 0.8
    assert tables.runner_up([one], 1)[0] == 0


def vectors(*rows: tuple[str, float, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["name", "effect", "95 % from", "to", "p (Holm)"])


def test_a_head_brings_the_answer_back_where_a_test_says_so_that_knows_how_many_there_are():
    table = vectors(("L0H0", 0.2, 0.1, 0.3, 0.001), ("L0H1", 0.1, 0.05, 0.15, 0.01), ("L0H2", 0.5, -0.2, 1.0, 0.6))
    assert said(verdicts.carries(table, 0.4)) == (
        "L0H0 brings the right answer back furthest, +20 points of probability (95 %: +10 to +30 points) of the 40 "
        "points that shuffled labels take; 1 further head does so")
    assert list(verdicts.is_told(table)) == [True, True, False]
    tiny = said(verdicts.carries(vectors(("L0H0", 0.0002, 0.0001, 0.0003, 0.001)), 0.4))
    assert "less than +0.1 points of probability" in tiny


@pytest.mark.parametrize(("rows", "lost", "text"), [
    ([("L0H0", 0.2, -0.1, 0.5, 0.4)], 0.4, "tell of no live head whose mean output brings some of it back"),
    ([("L0H0", -0.2, -0.3, -0.1, 0.001)], 0.4, "tell of no live head"),  # it takes further away
    ([("L0H0", 0.2, 0.1, 0.3, 0.001)], 0.002, "there is nothing that a head could bring back"),
    ([("L0H0", 0.2, 0.1, 0.3, 0.001)], -0.1, "there is nothing that a head could bring back"),
])
def test_no_head_is_named_where_nothing_is_lost_or_none_is_told(rows: list, lost: float, text: str):
    found = verdicts.carries(vectors(*rows), lost, "live head")
    assert text in found
    assert "L0H0" not in found


def shared(*rows: tuple[int, float, float]) -> pd.DataFrame:
    names = ["function vector and induction", "function vector and important", "induction and important"]
    return pd.DataFrame([{"sets": name, "in common": common, "of": 8, "by chance": chance, "p": p}
                         for name, (common, chance, p) in zip(names, rows, strict=True)])


def test_sets_share_more_or_fewer_than_chance_only_where_a_test_says_so():
    text = verdicts.sets_apart(shared((6, 1.6, 0.001), (0, 1.6, 0.2), (3, 1.6, 0.3)), 2)
    assert "share 6 (more than 1.6 by chance, p = 0.001) with the top 8 in prefix matching" in text
    assert "0 (1.6 by chance, p = 0.20) with the most important 8" in text
    assert "as chance may have it" not in text
    assert "fewer than 4.0 by chance" in verdicts.sets_apart(shared((0, 4.0, 0.01), (4, 4.0, 1.0), (4, 4.0, 1.0)), 2)
    even = verdicts.sets_apart(shared((2, 1.6, 0.9), (3, 1.6, 0.3), (8, 1.6, 0.001)), 2)
    assert even.endswith("both as chance may have it")
    assert "than" not in even


def test_sets_of_heads_that_are_told_to_carry_nothing_say_so():
    assert verdicts.sets_apart(shared((6, 1.6, 0.001), (0, 1.6, 0.2), (3, 1.6, 0.3)), 0).endswith(
        "of none of them is it told that it carries anything")


def needed(vector: float, induction: float, random: float, n_told: int | None = None, n: int = 100) -> str:
    """What is told of the accuracy without either sort, of 100 questions all of which the intact model answers."""
    def marks(share: float) -> np.ndarray:
        return np.arange(n) < round(share * n)

    rows = []
    for name, accuracy in (("function-vector, no induction", vector), ("induction, no function-vector", induction),
                           ("random others", random)):
        for share, reached in ((0.0, 1.0), (0.1, accuracy)):
            low, high = stats.wilson(round(reached * n), n) if name != "random others" else (reached, reached)
            rows.append({"off": name, "share": share, "accuracy": reached, "low": low, "high": high})
    text, index = verdicts.which_are_needed(pd.DataFrame(rows), [(stats.marks_of(marks(induction)), stats.marks_of(
        marks(vector)))], 0.1, "antonym", n_told)
    assert index == (0 if text.startswith("Function-vector heads are needed more") else
                     1 if re.search("[Ii]nduction heads are needed", text) else 2)
    return said(text)


def test_one_sort_is_needed_more_where_the_paired_interval_and_the_random_draws_say_so():
    text = needed(0.4, 0.9, 0.97)
    assert text.startswith("Function-vector heads are needed more here, as Yin and Steinhardt found elsewhere: with 10")
    assert "antonym goes from 100 % to 40 % without function-vector heads that are no induction heads, to 90 %" in text
    assert needed(0.9, 0.4, 0.97).startswith("Induction heads are needed more here, other than Yin and Steinhardt")


@pytest.mark.parametrize(("vector", "induction", "random"), [
    (0.9, 0.9, 1.0),  # alike
    (0.96, 0.98, 1.0),  # within what questions tell
    (0.4, 0.9, 0.3),  # random others cost more
    (0.97, 1.0, 1.0),  # the difference may be told, a fall is not
])
def test_neither_sort_is_needed_more_where_it_is_not_told(vector: float, induction: float, random: float):
    assert needed(vector, induction, random).startswith("These questions do not tell that either sort is needed more")


def test_nothing_is_said_of_function_vector_heads_where_none_is_told():
    assert needed(0.4, 0.9, 0.97, n_told=3).startswith("Function-vector heads are needed more here")
    text = needed(0.4, 0.9, 0.97, n_told=0)
    assert text.startswith("Of no head is it told that it carries a function vector on the tasks that rank them: with")
    assert "them; induction heads are needed: with" in needed(0.9, 0.4, 0.97, n_told=0)


def parts(recognition: tuple[float, float, float, float], learning: tuple[float, float, float, float],
          drops: tuple[tuple[float, float, float, float], ...] = ()) -> pd.DataFrame:
    """A `parts_table`: effect, low, high and p of both parts; and what the mask takes of each."""
    rows = [{"part": part, "model": "intact", **dict(zip(("effect", "low", "high", "p"), row, strict=True))}
            for part, row in ((tables.RECOGNITION, recognition), (tables.LEARNING, learning))]
    rows += [{"part": part, "model": "ablated", **dict(zip(("drop", "drop from", "drop to", "drop p"), row,
                                                           strict=True))}
             for part, row in zip(tables.PARTS, drops, strict=bool(drops))]
    return pd.DataFrame(rows)


TOLD, UNTOLD = (0.3, 0.2, 0.4, 0.001), (0.05, -0.1, 0.2, 0.4)


@pytest.mark.parametrize(("recognition", "learning", "text"), [
    (TOLD, UNTOLD, "antonym gains from demonstrations with shuffled labels (+30 points, 95 %: +20 to +40 points); it "
                   "is not told to gain from true labels in their place (+5 points, 95 %: −10 to +20 points)"),
    (UNTOLD, TOLD, "antonym is not told to gain from demonstrations with shuffled labels (+5 points, 95 %: −10 to +20 "
                   "points); it gains from true labels in their place (+30 points, 95 %: +20 to +40 points)"),
    ((-0.3, -0.4, -0.2, 0.001), UNTOLD, "antonym loses by demonstrations with shuffled labels (−30 points, 95 %: −40 "
                                        "to −20 points); it is not told"),
    ((0.3, 0.2, 0.4, 0.2), TOLD, "antonym is not told to gain from demonstrations"),  # the paired test says no
    ((0.3, 0.2, 0.4, np.nan), TOLD, "antonym gains from demonstrations"),  # of several tasks: the interval alone
])
def test_parts_are_claimed_where_interval_and_paired_test_tell_them(recognition, learning, text):
    assert said(verdicts.recognised(parts(recognition, learning), "antonym")).startswith(text)


def test_a_mask_takes_of_a_part_where_that_is_told():
    text = said(verdicts.recognised(parts(TOLD, TOLD, ((0.01, -0.1, 0.1, 0.8), (0.25, 0.1, 0.4, 0.01))), "antonym",
                                    "L1H2"))
    assert text.endswith(". Without L1H2 it loses 25 points of task learning (95 %: +10 to +40 points)")
    text = said(verdicts.recognised(parts(TOLD, TOLD, ((0.1, 0.01, 0.2, 0.06), (-0.3, -0.4, -0.1, 0.01))), "antonym",
                                    "L1H2"))
    assert text.endswith(". Without L1H2 neither is told to fall")


def needing(*rows: tuple[str, float, float]) -> pd.DataFrame:
    return pd.DataFrame([{"part": tables.LEARNING, "name": name, "drop": drop, "95 % from": drop - 0.1,
                          "to": drop + 0.1, "p (Holm)": p} for name, drop, p in rows])


def test_the_head_whose_removal_takes_most_is_named_where_that_is_told():
    text = said(verdicts.part_needs(needing(("L0H1", 0.3, 0.01), ("L1H0", 0.4, 0.2), ("L1H1", 0.2, 0.04),
                                            ("L1H2", -0.5, 0.01)), tables.LEARNING, "antonym"))
    assert text == ("Without L0H1 task learning on antonym falls by 30 points (95 %: +20 to +40 points); it falls "
                    "without 1 further head, too")
    untold = verdicts.part_needs(needing(("L1H0", 0.4, 0.2), ("L1H2", -0.5, 0.01)), tables.LEARNING, "antonym",
                                 "live head")
    assert untold == "Of no live head is it told that task learning on antonym falls without it"


def adding(*rows: tuple[str, float, float], model: str = "intact") -> pd.DataFrame:
    return pd.DataFrame([{"demonstration": name, "place": i + 1, "model": model, "influence": x, "low": x - 0.1,
                          "high": x + 0.1, "p (Holm)": p} for i, (name, x, p) in enumerate(rows)])


def test_the_demonstration_of_largest_influence_is_named_where_that_is_told():
    table = adding(("1 (farthest)", -0.2, 0.01), ("2", 0.9, 0.2), ("3", 0.3, 0.04), ("4 (nearest)", 0.5, 0.01))
    assert said(verdicts.adds_most(table, "antonym")) == (
        "On antonym demonstration 4 (nearest) adds 0.50 nats (95 %: +0.40 to +0.60 nats); 1 other adds and 1 other "
        "takes")
    off = adding(("1 (farthest)", -0.6, 0.01), ("2", 0.1, 0.3), model="ablated")
    assert said(verdicts.adds_most(pd.concat([adding(("1", 0.5, 0.3)), off]), "antonym", "L1H2")) == (
        "On antonym of no demonstration is it told that it changes the right answer's log-likelihood. Without L1H2 "
        "demonstration 1 (farthest) takes 0.60 nats (95 %: −0.70 to −0.50 nats)")


def test_that_nothing_is_told_is_said_once():
    table = pd.concat([adding(("1", 0.5, 0.3)), adding(("1", 0.1, 0.3), model="ablated")])
    assert verdicts.adds_most(table, "antonym", "L1H2") == (
        "On antonym of no demonstration is it told that it changes the right answer's log-likelihood, with L1H2 off no "
        "more than without")


def test_of_one_prompt_it_is_said_what_is_there():
    table = adding(("1", -0.2, 1), ("2", 0.9, 1), ("3", 0.3, 1))
    assert said(verdicts.adds_here(table)) == (
        "Demonstration 2 makes the right answer likelier by 0.90 nats, the most of 2 of 3 that do")
    for tiny in (-0.2, 0.009):
        assert said(verdicts.adds_here(adding(("1", tiny, 1)))) == (
            "No demonstration makes the right answer likelier by 0.010 nats or more here")
    assert said(verdicts.adds_here(adding(("1", 0.2, 1), ("2", -0.2, 1)))).endswith("by 0.20 nats, alone of 2")


# --- a head's card -------------------------------------------------------------------------------


def card(*rows: tuple[str, float]) -> pd.DataFrame:
    return pd.DataFrame([{"score": score, "value": 1.0, "rank": rank, "of": 12} for score, rank in rows])


@pytest.mark.parametrize(("rows", "dead", "text"), [
    ([("importance", 3), ("copying", 9), ("prefix matching", 1), ("effect", 2)], False,
     "L1H2 ranks 1 of 12 by prefix matching, 2 by effect, 3 by importance"),
    ([("importance", 5)], False, "L1H2 ranks 5 of 12 by importance"),
    ([("importance", np.nan)], False, "L1H2 is ranked by nothing that is stored"),
    ([("importance", np.nan)], True, "L1H2 is dead: it writes next to nothing, and is ranked nowhere")])
def test_a_card_says_where_a_head_ranks_highest(rows: list, dead: bool, text: str):
    assert verdicts.of_head("L1H2", card(*rows), dead) == text


def test_how_often_a_head_is_among_the_top_tenth_stands_beside_chance():
    table = pd.DataFrame({"shots": [5, 5, 5, 0], "rank": [1, 2, 3, 1], "of": [12, 12, 12, 12]})
    assert said(verdicts.head_ranks("L1H2", table, 5)) == (
        "By importance L1H2 is among the top tenth of the heads in 2 of 3 tasks at 5 shots; "
        "a random head would be in 0.5")
    assert "in none of 1 task at 0 shots" in verdicts.head_ranks("L1H2", table.assign(rank=9), 0)
    assert verdicts.head_ranks("L1H2", table, 1) == "How important L1H2 is at 1 shot is not known"
    assert verdicts.head_ranks("L1H2", table.assign(rank=np.nan), 5) == "L1H2 is dead, and has no rank by importance"


def without(*rows: tuple[str, float, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["task", "change", "p (Holm)", "loss", "loss from"])


@pytest.mark.parametrize(("rows", "text"), [
    ([("x", -0.3, 0.01, 1.0, 0.5), ("y", -0.4, 0.2, 1.0, 0.5), ("z", 0.4, 0.001, 1.0, 0.5)],
     "Without L1H2 accuracy falls in 1 of 3 tasks, most in x: by 30 points"),
    ([("x", -0.3, 0.2, 1.0, 0.5), ("y", -0.3, 0.2, 1.0, -0.5)],
     "Without L1H2 no test tells that accuracy falls in any of 2 tasks; the loss rises, by its interval, in 1 of 2"),
    ([("x", -0.3, 0.2, np.nan, np.nan)], "Without L1H2 no test tells that accuracy falls in any of 1 task"),
    ([("x", 0.3, 0.01, 0.0, -1.0)],
     "Without L1H2 no test tells that accuracy falls in any of 1 task; the loss rises, by its interval, in none of 1")])
def test_a_head_is_said_to_be_needed_where_a_test_tells_it(rows: list, text: str):
    assert said(verdicts.head_needed("L1H2", without(*rows))) == text


def test_a_head_is_said_to_carry_a_task_where_a_test_tells_it():
    table = pd.DataFrame({"task": ["x", "y"], "effect": [0.2, 0.5], "p (Holm)": [0.01, 0.2],
                          "lost by shuffling": [0.4, 0.6]})
    assert said(verdicts.head_carries("L1H2", table)) == (
        "Put back at the last token, L1H2 brings back some of the right answer's probability in 1 of 2 tasks, most in "
        "x: 20 % of the 40 % that shuffled labels take")
    assert said(verdicts.head_carries("L1H2", table.assign(effect=-table["effect"]))) == (
        "Put back at the last token, L1H2 brings back nothing that a test tells, in any of 2 tasks")


def row(rho: float, low: float, high: float, score: str = "integrated", **more: object) -> pd.Series:
    return pd.Series({"in its place": "zero", "measured in": "loss", "score": score, "ρ": rho, "95 % from": low,
                      "to": high, "top 10%": 0.75, "chance 10%": 0.1, "top 20%": 0.875, "chance 20%": 0.2, **more})


def test_a_score_tells_costs_only_where_its_interval_says_so():
    text = said(verdicts.tells(row(0.8, 0.6, 0.9), 40, "live heads", "antonym"))
    assert text == ("The integrated score ranks 40 live heads by what their removal costs in loss for antonym, at "
                    "ρ = 0.80 (95 %: 0.60 to 0.90); in front it has 3 of the 4 that cost most (0.4 by chance), and 7 "
                    "of the 8 that cost most (1.6 by chance)")
    assert said(verdicts.tells(row(0.2, -0.1, 0.4), 40, "heads", "antonym")).startswith(
        "It is not told that the integrated score ranks 40 heads by what their removal costs in loss for antonym: "
        "ρ = 0.20 (95 %: −0.10 to 0.40)")
    assert "the other way round" in verdicts.tells(row(-0.4, -0.6, -0.1), 40, "heads", "antonym")
    nothing = row(np.nan, np.nan, np.nan)
    assert verdicts.tells(nothing, 40, "heads", "antonym").startswith("No removal of a head changes")
    assert verdicts.tells(row(0.9, np.nan, np.nan), 40, "heads", "antonym").startswith("It is not told")


def moved(turned: list[int], told: list[bool]) -> pd.DataFrame:
    low = [0.1 if one else -0.1 for one in told]
    return pd.DataFrame({"turned": turned, "loss from": low, "loss to": [0.3] * len(low)})


def test_accuracy_is_said_to_see_little_only_where_loss_sees_twice_as_much():
    told = [True, True, True, False]
    assert verdicts.unseen(moved([0, 0, 3, 0], told), 100) == (
        "Accuracy cannot see most of it: off alone, 1 of 4 heads turns the answer to any of 100 questions, and 3 "
        "change the loss beyond its interval")
    assert verdicts.unseen(moved([1, 0, 3, 0], told), 100).startswith("Off alone, 2 of 4 heads turn")
    assert verdicts.unseen(moved([0], [False]), 9).endswith("and none changes the loss beyond its interval")
    assert verdicts.unseen(pd.DataFrame({"turned": [1.0, 0.0]}), 9) == (
        "Off alone, 1 of 2 heads turns the answer to any of 9 questions")


def test_the_worst_misses_are_named_with_both_ranks():
    table = pd.DataFrame({"head": ["L0H1", "L2H3"], "which": ["missed", "overrated"], "cost rank": [1.0, 20.5],
                          "score rank": [12.0, 2.0]})
    assert verdicts.misses(table, "loss") == (
        "Missed most, though they are told to cost loss: L0H1 (rank 1 by cost, 12 by the score); overrated most, "
        "though of them no rise of the loss is told: L2H3 (rank 20.5 by cost, 2 by the score)")
    assert "fall of accuracy" in verdicts.misses(table[table["which"] == "overrated"], "accuracy")
    assert verdicts.misses(table.head(0), "loss").startswith("No head that is told to cost something ranks lower")


def test_a_score_is_better_where_the_interval_of_the_difference_says_so():
    rows = [row(0.5, 0.3, 0.7, "per-token", ahead=0.0, **{"ahead from": 0.0, "ahead to": 0.0}),
            row(0.7, 0.5, 0.8, "per-example", ahead=0.2, **{"ahead from": 0.1, "ahead to": 0.3}),
            row(0.9, 0.7, 0.95, "integrated", ahead=0.4, **{"ahead from": -0.1, "ahead to": 0.6})]
    table = pd.DataFrame(rows)
    best = verdicts.best_score(table, "zero", "loss", "per-token")
    assert best is not None
    assert said(verdicts.tells_best(best, "per-token", "zero", "loss", "antonym")) == (
        "The per-example score ranks heads better than per-token, by loss for antonym, with zero in the head's place: "
        "ρ = 0.70, ahead by 0.20 (95 %: 0.10 to 0.30)")
    assert verdicts.best_score(table.head(1), "zero", "loss", "per-token") is None
    assert verdicts.best_score(table, "mean", "loss", "per-token") is None
    assert verdicts.tells_best(None, "per-token", "zero", "loss", "antonym").startswith("No stored score is told")
