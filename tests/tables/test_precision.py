"""What 16 bits change, against made-up answers counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backend.kinds import Answers, Evaluation, PrefixMatching, Relabelled
from backend.tables.precision import beside_float32
from backend.values import Ablation, ModelId, Setup, TaskId
from tests.tables.records import answers, questions

HALF = ModelId("m", "r", "d", True, "bfloat16")
SINGLE = HALF.with_(dtype="float32")
SETUP = Setup(HALF, TaskId("piqa", "x"), 5, n_examples=4, seed=1, draws=2)
ASKED = questions([(0,), (0,), (1,), (1,)])
THERE = answers(ASKED, [[-1, -2], [-1, -1.5], [-3, -2], [-2, -2.25]])
HERE = answers(ASKED, [[-1.125, -2], [-1.5, -1.25], [-3, -2], [-2.25, -2]])  # of 1 and 3 another option leads


def beside(stored: dict, model: ModelId = HALF):
    return beside_float32(model, stored, stored.get)


def of(setup: Setup, **more) -> Evaluation:
    return Evaluation(setup.with_(**more))


def test_predictions_that_differ_are_counted_and_the_largest_step_is_in_nats():
    found = beside({of(SETUP): HERE, of(SETUP, model=SINGLE): THERE})
    assert (found.n_here, found.n_both, found.n_questions, found.n_changed, found.nats) == (1, 1, 4, 2, 0.5)
    assert found.sentence == ("Beside float32: 2 of 4 predictions differ in 1 setup measured in both; a log-likelihood "
                              "differs by 0.5 nats at most.")


def test_the_step_counts_whichever_way_it_goes():
    lower = answers(ASKED, [[-1, -2], [-1, -1.5], [-3, -2], [-2, -4.25]])
    for here, there in ((lower, THERE), (THERE, lower)):
        found = beside({of(SETUP): here, of(SETUP, model=SINGLE): there})
        assert (found.n_changed, found.nats) == (0, 2)


def test_setups_are_added_up_and_those_in_one_precision_only_are_said():
    many = {of(SETUP, n_shots=n): record for n, record in ((0, HERE), (1, THERE), (5, HERE))}
    many |= {of(SETUP, n_shots=n, model=SINGLE): THERE for n in (0, 1, 3)}
    found = beside(many)
    assert (found.n_here, found.n_both, found.n_questions, found.n_changed, found.nats) == (3, 2, 8, 2, 0.5)
    assert "2 of 8 predictions differ in 2 of 3 setups measured in both" in found.sentence


def test_thousands_have_commas_and_one_is_one():
    asked = questions([(0,)] * 1400)
    here, there = (answers(asked, [[-1, second], *[[-1, -2]] * 1399]) for second in (-0.5, -1.5))
    found = beside({of(SETUP): here, of(SETUP, model=SINGLE): there})
    assert "1 of 1,400 predictions differs in 1 setup" in found.sentence


@pytest.mark.parametrize("other", [
    {"model": SINGLE.with_(digest="e")}, {"model": SINGLE.with_(revision="s")}, {"model": SINGLE.with_(bos=False)},
    {"model": SINGLE.with_(name="n")}, {"model": SINGLE.with_(dtype="float16")}, {"task": TaskId("piqa", "y")},
    {"n_shots": 4}, {"demos": "per-query"}, {"draws": 3}, {"n_examples": 5}, {"seed": 2}], ids=str)
def test_only_what_differs_in_precision_alone_is_compared(other):
    twin = of(SETUP, model=other.pop("model", SINGLE), **other)
    found = beside({of(SETUP): HERE, twin: THERE})
    assert (found.n_here, found.n_both, found.n_changed) == (1, 0, 0)
    assert found.sentence == ("Beside float32: how many predictions bfloat16 changes cannot be told yet. Compute the "
                              "accuracy of the same questions in float32, too.")


def test_masks_other_kinds_and_damage_are_left_out():
    off = {Evaluation(SETUP.with_(model=model), Ablation("L0H1")): record
           for model, record in ((HALF, HERE), (SINGLE, THERE))}
    assert beside(off).n_here == 0
    others = {PrefixMatching(HALF): None, Relabelled(SETUP): HERE, Relabelled(SETUP.with_(model=SINGLE)): THERE}
    assert beside(others).n_here == 0
    assert "in bfloat16 and in float32." in beside({of(SETUP, model=SINGLE): THERE}).sentence
    for here, there in ((None, THERE), (HERE, None)):
        assert beside({of(SETUP): here, of(SETUP, model=SINGLE): there}).n_both == 0


def test_answers_to_other_questions_are_not_compared():
    other = replace(THERE, questions=replace(ASKED, docs=(0, 1, 2, 9)))
    assert beside({of(SETUP): HERE, of(SETUP, model=SINGLE): other}).n_both == 0


def test_what_is_to_be_written_word_for_word_counts_by_that():
    def written(*greedy: bool) -> Answers:
        return answers(questions([(0,)] * 2, 1, metric="greedy"), [[-1], [-1]], greedy)

    found = beside({of(SETUP): written(True, False), of(SETUP, model=SINGLE): written(True, True)})
    assert (found.n_questions, found.n_changed, found.nats) == (2, 1, 0)
