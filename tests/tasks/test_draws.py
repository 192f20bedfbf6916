"""Several draws of demonstrations: queries take them in turn, and everything that is made of them knows it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput, StoreError
from backend.kinds import Evaluation, Unit
from backend.kinds.evaluation import evaluate
from backend.kinds.head_importance import head_importance
from backend.kinds.shapes import check_questions
from backend.tasks.mini import MINI
from backend.tasks.task import prompts
from backend.values import ModelId, Setup, TaskId
from tests.models.small import small_model
from tests.tasks.test_task import Sums

SETUP = Setup(ModelId("m", "r", "d"), TaskId("antonym", "x"), 5, draws=10)


def test_queries_take_the_draws_in_turn_and_each_draw_has_its_demonstrations():
    found = prompts(Sums(n_train=40), 3, "fixed", draws=5)
    assert [p.draw for p in found] == [0, 1, 2, 3, 4] * 2 + [0, 1]
    shown = {p.draw: {q.demo_docs for q in found if q.draw == p.draw} for p in found}
    assert all(len(each) == 1 for each in shown.values())
    assert len(set.union(*shown.values())) == 5


@pytest.mark.parametrize("seed", [0, 3])
def test_a_draw_of_several_is_a_single_draw_by_name(seed):
    several = {p.draw: p.demo_docs for p in prompts(Sums(n_train=40), 3, "fixed", seed=seed, draws=4)}
    for draw, demos in several.items():
        alone = {p.demo_docs for p in prompts(Sums(n_train=40), 3, "fixed", seed=4 * seed + draw)}
        assert alone == {demos}
    assert prompts(Sums(), 3, "fixed")[0].draw is None


@given(seed=st.integers(0, 50), n=st.integers(1, 8), draws=st.integers(1, 6), n_shots=st.integers(1, 4))
def test_no_training_row_demonstrates_itself_and_a_larger_run_contains_a_smaller_one(seed, n, draws, n_shots):
    every = prompts(Sums(), n_shots, "fixed", None, seed, "train", draws)
    assert prompts(Sums(), n_shots, "fixed", n, seed, "train", draws) == every[:n]
    assert all(p.doc not in p.demo_docs for p in every)
    assert len({p.doc for p in every}) == len(every)


def test_a_training_row_takes_the_next_draw_that_does_not_hold_it():
    """With one draw its demonstrations are lost as questions; with several, only what all of them show."""
    assert len(prompts(Sums(), 4, "fixed", split="train")) == 8 - 4
    several = prompts(Sums(), 4, "fixed", split="train", draws=6)
    held = Counter(doc for demos in {p.demo_docs for p in several} for doc in demos)
    assert len(several) == 8 - sum(times == 6 for times in held.values())


def test_a_group_of_rows_stands_behind_one_draw():
    task = Sums(n_train=40)
    task.metric = "acc_by_group"
    found = prompts(task, 2, "fixed", draws=3)
    assert all(len({p.draw for p in found if p.example.group == group}) == 1 for group in {
        p.example.group for p in found})
    assert len({p.draw for p in found}) == 3


def test_without_demonstrations_there_is_nothing_to_share():
    """At 0 shots every query has its own rule, however demonstrations would be drawn: chance is chance."""
    task = MINI["label_mood"]
    fixed, fresh = (prompts(task, 0, demos, 30) for demos in ("fixed", "per-query"))
    assert fixed == fresh
    assert len({p.example.options for p in fixed}) > 20
    assert Setup(SETUP.model, SETUP.task, 0, draws=10) == Setup(SETUP.model, SETUP.task, 0)
    assert Setup(SETUP.model, SETUP.task, 5, "per-query", draws=10).draws == 1


def test_fewer_than_one_draw_is_refused():
    with pytest.raises(BadInput, match="draws must be at least 1, got 0"):
        prompts(Sums(), 1, "fixed", draws=0)
    with pytest.raises(BadInput, match="between 1 and 1000, got -1"):
        Setup(SETUP.model, SETUP.task, 5, draws=-1)


def test_a_name_holds_the_draws_and_an_old_name_still_means_one():
    one, several = Evaluation(replace(SETUP, draws=1)), Evaluation(SETUP)
    assert one.key != several.key
    assert "draws" not in one.to_json()["setup"]
    assert Unit.from_json(several.to_json()) == several
    assert "--draws 10" in " ".join(several.arguments())
    assert "10 draws" in str(several)


def test_records_know_which_draw_each_query_stood_behind():
    model = small_model("gpt2")
    task = MINI["antonym"]
    record = evaluate(model, prompts(task, 2, "fixed", 12, draws=4))[0]
    assert record.questions.draws == (0, 1, 2, 3) * 3
    assert record.marks().draws.tolist() == [0, 1, 2, 3] * 3
    assert record.marks().clustered
    check_questions(SETUP.with_(draws=4, n_shots=2), record.questions)
    with pytest.raises(StoreError, match="draws holds 12 entries"):
        check_questions(SETUP.with_(draws=1), record.questions)
    with pytest.raises(StoreError, match="draws holds 3"):
        check_questions(SETUP.with_(draws=3), record.questions)
    assert evaluate(model, prompts(task, 2, "fixed", 12))[0].questions.draws == ()


def test_draws_share_one_reading_and_give_what_each_query_gives_alone():
    model = small_model("gpt2")
    asked = prompts(MINI["antonym"], 3, "fixed", 12, draws=3)
    together = evaluate(model, asked)[0]
    alone = [evaluate(model, [one])[0].loglikelihoods[0] for one in asked]
    assert np.abs(np.array(together.loglikelihoods) - np.array(alone)).max() < 1e-4


def test_importance_keeps_a_block_for_each_draw():
    model = small_model("gpt2")
    asked = prompts(MINI["antonym"], 2, "fixed", 14, split="train", draws=4)
    scores = head_importance(model, asked)
    assert scores.block_sizes == tuple(Counter(p.draw for p in asked)[draw] for draw in range(4))
    of_first = head_importance(model, [p for p in asked if p.draw == 0])
    assert np.allclose(np.array(scores.block_per_token[0]), np.array(of_first.block_per_token).sum(0), atol=1e-5)
