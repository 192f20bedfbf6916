"""Accuracy behind other labels, its parts, what heads they need, and influences, as one works them out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from backend import stats, tables
from backend.kinds import Influences
from backend.tables import LABELS, LEARNING, MADE_UP_LABELS, NO_LABELS, RECOGNITION, SHUFFLED_LABELS, TRUE_LABELS
from backend.tasks.task import Prompt
from backend.values import Ablation, Head
from tests.tables.records import answered, prompt, questions, sweep

NONE, TRUE, SHUFFLED, OTHER = [0, 0, 1, 0, 0, 0, 1, 0], [1] * 7 + [0], [1, 0, 1, 0, 1, 0, 1, 0], [1] * 6 + [0, 0]


def behind(*rows):
    """Answers of one task at 0 shots, behind true, shuffled and made-up labels."""
    return {labels: [answered(row)] for labels, row in zip(LABELS, rows, strict=True)}


INTACT = behind(NONE, TRUE, SHUFFLED, OTHER)
ABLATED = behind(NONE, SHUFFLED, SHUFFLED, NONE)  # learns nothing


def test_accuracies_stand_by_labels_with_both_models_beside_one_another():
    table = tables.labels_table({"intact": INTACT, "ablated": ABLATED})
    assert table["labels"].tolist() == [labels for labels in LABELS for _ in range(2)]
    assert table["model"].tolist() == ["intact", "ablated"] * 4
    assert table["accuracy"].tolist() == [2 / 8, 2 / 8, 7 / 8, 4 / 8, 4 / 8, 4 / 8, 6 / 8, 2 / 8]
    assert table["chance"].tolist() == [0.5] * 8
    assert table[["low", "high"]].iloc[2].tolist() == pytest.approx(stats.wilson(7, 8))
    assert set(table["n"]) == {8}


def test_recognition_is_shuffled_minus_none_and_learning_true_minus_shuffled():
    table = tables.parts_table({"intact": INTACT, "ablated": ABLATED}).set_index(["part", "model"])
    assert table.loc[(RECOGNITION, "intact"), "effect"] == 2 / 8
    assert table.loc[(LEARNING, "intact"), "effect"] == 3 / 8
    assert table.loc[(RECOGNITION, "ablated"), "effect"] == 2 / 8
    assert table.loc[(LEARNING, "ablated"), "effect"] == 0
    intact = table.loc[(LEARNING, "intact")]
    pair = (np.array(SHUFFLED, bool), np.array(TRUE, bool))
    assert (intact["low"], intact["high"]) == stats.difference_interval(*pair)
    assert intact["p"] == stats.mcnemar(*pair).p == 0.25  # three turn right, none wrong
    assert intact["n"] == 8


def test_what_a_mask_takes_of_a_part_is_tested_on_the_same_questions():
    table = tables.parts_table({"intact": INTACT, "ablated": ABLATED}).set_index(["part", "model"])
    row = table.loc[(LEARNING, "ablated")]
    each = np.array(TRUE) - np.array(SHUFFLED)  # what each question loses: the ablated model learns nothing
    assert row["drop"] == pytest.approx(3 / 8)
    assert row["drop p"] == pytest.approx(ttest_1samp(each, 0).pvalue)
    low, high = ttest_1samp(each, 0).confidence_interval()
    assert (row["drop from"], row["drop to"]) == pytest.approx((low, high))
    assert table.loc[(RECOGNITION, "ablated"), "drop"] == 0
    assert np.isnan(table.loc[(RECOGNITION, "intact"), "drop"])


def test_draws_that_questions_share_widen_the_interval_where_they_differ():
    def shared(record):
        return replace(record, questions=replace(record.questions, draws=(0, 0, 0, 0, 1, 1, 1, 1)))

    drawn = {labels: [shared(record) for record in records] if labels != NO_LABELS else records
             for labels, records in INTACT.items()}
    table, alone = (tables.parts_table({"intact": some}) for some in (drawn, INTACT))
    assert table["effect"].tolist() == alone["effect"].tolist()
    wider = (table["high"] - table["low"]) - (alone["high"] - alone["low"])
    assert wider.tolist()[0] == 0  # both draws gain as much
    assert wider.tolist()[1] > 0.1


def test_questions_that_were_not_asked_behind_all_labels_do_not_count():
    def asked(docs, right):
        found = answered(right)
        return replace(found, questions=replace(found.questions, docs=tuple(docs)))

    found = {NO_LABELS: [asked((4, 3, 2), [1, 0, 0])], SHUFFLED_LABELS: [asked((2, 3), [1, 1])],
             TRUE_LABELS: [asked((3, 9), [1, 1])], MADE_UP_LABELS: [asked((3,), [1])]}
    table = tables.parts_table({"intact": found}).set_index("part")
    assert table["effect"].tolist() == [1, 0]
    assert table["n"].tolist() == [2, 1]


def test_several_tasks_are_averaged_unweighted_and_tested_by_their_interval_alone():
    other = behind([0, 0], [1, 1], [0, 1], [0, 0])
    both = {labels: [*INTACT[labels], *other[labels]] for labels in LABELS}
    table = tables.parts_table({"intact": both}).set_index("part")
    assert table["effect"].tolist() == [(2 / 8 + 1 / 2) / 2, (3 / 8 + 1 / 2) / 2]
    assert table["p"].isna().all()
    assert table["tasks"].tolist() == [2, 2]
    assert tables.labels_table({"intact": both})["accuracy"].tolist() == [1 / 8, 15 / 16, 1 / 2, 3 / 8]


def test_what_each_head_s_removal_takes_of_either_part():
    masks = [Ablation(), Ablation(frozenset({Head(0, 0)})), Ablation(frozenset({Head(0, 1)}))]
    none, shuffled, true = (sweep(rows, masks) for rows in (
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]],
        [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]))
    table = tables.parts_heads_table([(none, shuffled, true)], masks[2]).set_index(["part", "name"])
    assert table["drop"].to_dict() == {
        (RECOGNITION, "L0H0"): 0, (RECOGNITION, "L0H1"): 0.5, (LEARNING, "L0H0"): 0.5, (LEARNING, "L0H1"): -0.25}
    assert table["off"].tolist() == [False, True] * 2
    tests = [ttest_1samp(each, 0).pvalue for each in ([0, 0, 1, 1], [-1, -1, 0, 1])]
    assert table.loc[LEARNING]["p (Holm)"].tolist() == pytest.approx(stats.holm(tests))
    alive = np.array([[False, True]])
    assert tables.parts_heads_table([(none, shuffled, true)], heads=alive)["name"].tolist() == ["L0H1"] * 2


def influences(rows, dropped=(), draws=()):
    asked = replace(questions([(0,)] * len(rows)), dropped_demos=dropped, draws=draws)
    return Influences(asked, (1,) * len(rows), (-3.0,) * len(rows), tuple(tuple(-3.0 - x for x in row) for row in rows))


def test_influence_is_averaged_by_place_over_the_questions_that_saw_it():
    rows = [[0.5, 1.0], [0.5, 3.0], [9.0, 2.0], [-0.25, 1.0]]
    table = tables.influence_table({"intact": influences(rows, (0, 0, 1, 0)), "ablated": influences([[0.0, 0.5]] * 3)})
    intact = table[table["model"] == "intact"].reset_index(drop=True)
    assert intact["demonstration"].tolist() == ["1 (farthest)", "2 (nearest)"]
    assert intact["influence"].tolist() == pytest.approx([0.25, 1.75])
    assert intact["n"].tolist() == [3, 4]
    test = ttest_1samp([1.0, 3.0, 2.0, 1.0], 0)
    assert tuple(intact.loc[1, ["low", "high"]]) == pytest.approx(tuple(test.confidence_interval()))
    assert intact["p (Holm)"].tolist() == pytest.approx(stats.holm([
        ttest_1samp([0.5, 0.5, -0.25], 0).pvalue, test.pvalue]))
    assert table[table["model"] == "ablated"]["p (Holm)"].tolist() == [1, 1]  # what never varies is not tested


def test_questions_of_one_draw_count_together():
    rows = [[1.0], [1.0], [3.0], [3.0]]
    one = tables.influence_table({"intact": influences(rows, draws=(0, 0, 1, 1))}).iloc[0]
    test = ttest_1samp([1.0, 3.0], 0)
    assert one["demonstration"] == "1"
    assert (one["low"], one["high"]) == pytest.approx(tuple(test.confidence_interval()))
    assert np.isnan(tables.influence_table({"intact": influences(rows[:1])}).iloc[0]["low"])  # one tells nothing


def test_the_demonstrations_of_one_prompt_stand_with_their_texts():
    asked: Prompt = replace(prompt("c ->", ["d"]), demos=("a -> b", "x\n-> y", "u -> v"))
    found = {"intact": influences([[9.0, 0.5, -0.5]], (1,)), "ablated": influences([[9.0, 0.25, 0.0]], (1,))}
    table = tables.prompt_influence_table(asked, found)
    assert table["place"].tolist() == [2, 3, 2, 3]
    assert table["influence"].tolist() == [0.5, -0.5, 0.25, 0.0]
    assert table["text"].tolist()[:2] == [tables.visible("x\n-> y"), tables.visible("u -> v")]
    assert table["demonstration"].tolist()[:2] == ["2", "3 (nearest)"]
