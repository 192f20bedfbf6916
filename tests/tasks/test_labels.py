"""Labels shuffled among demonstrations, and made-up words in their place."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput
from backend.tasks.labels import labelled, made_up, shuffled
from backend.tasks.mini import MINI
from backend.tasks.task import Example, Prompt, multiple_choice, prompts

LABELLED = prompts(MINI["label_mood"], 3, "per-query", 10, split="train")[6:]


@given(seed=st.integers(0, 1000))
def test_shuffling_keeps_questions_and_the_labels_counts(seed):
    for before, after in zip(LABELLED, shuffled(LABELLED, seed), strict=True):
        assert before.example == after.example
        assert Counter(before.answers) == Counter(after.answers)
        for demo, own, lied, other in zip(before.demos, before.answers, after.demos, after.answers, strict=True):
            assert demo.removesuffix(own) == lied.removesuffix(other)


def test_shuffling_changes_something_and_equal_demonstrations_alike():
    fixed = prompts(MINI["label_mood"], 5, "fixed", 12, draws=3)
    lied = shuffled(fixed)
    assert len({p.demos for p in lied}) == 3
    assert any(a.demos != b.demos for a, b in zip(fixed, lied, strict=True))


def test_options_before_the_rest_of_the_question_cannot_be_shuffled():
    example = Example(("Tom came because", "Ann came because"), (" he ran.",) * 2, (0,), "Tom came because he ran.")
    with pytest.raises(BadInput, match="no answers that could be replaced"):
        shuffled([Prompt(example, ("Tom came because he ran.",), answers=(" he ran.",))])
    example = Example(("a ->",), (" b",), (0,), "a -> b")
    with pytest.raises(BadInput, match="does not hold its answer"):
        shuffled([Prompt(example, ("a -> b",), answers=(" c",))])


# --- made-up words --------------------------------------------------------------------------------


def by_hand() -> Prompt:
    """Two demonstrations, of which one answers as the question may be answered, and an option that none answers."""
    asked = multiple_choice("Is ice hot?\nAnswer:", ["yes", "no", "maybe not"], 1)
    demos = ("Is fire hot? yes or no\nAnswer: yes", "Is snow hot? yes or no\nAnswer: no")
    return Prompt(asked, demos, 7, (3, 4), answers=(" yes", " no"))


def test_every_distinct_answer_becomes_a_word_of_its_own_in_demonstrations_and_options_alike():
    (told,) = made_up([by_hand()])
    yes, no = (answer.strip() for answer in told.answers)
    assert told.demos == (f"Is fire hot? yes or no\nAnswer: {yes}", f"Is snow hot? yes or no\nAnswer: {no}")
    assert told.example.options[:2] == (f" {yes}", f" {no}")
    other = told.example.options[2].strip()
    assert len({yes, no, other, "yes", "no", "maybe", "not"}) == 7
    assert told.example.gold == (1,)
    assert told.example.lengths == (len(yes), len(no), len(other))
    assert told.example.contexts == by_hand().example.contexts


@pytest.mark.parametrize("name", ["label_kind", "antonym", "pick", "pronoun"])
@pytest.mark.parametrize("demos", ["fixed", "per-query"])
def test_the_replacement_is_one_to_one_and_new_within_every_prompt(name: str, demos: str):
    before = prompts(MINI[name], 5, demos, 40, draws=3)
    for own, told in zip(before, made_up(before), strict=True):
        pairs = {(a.strip(), b.strip()) for a, b in zip(
            (*own.answers, *own.example.options), (*told.answers, *told.example.options), strict=True)}
        assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
        assert not {b for _, b in pairs} & set((own.prefix + own.example.contexts[0]).split())
        assert [demo.removesuffix(a) for demo, a in zip(own.demos, own.answers, strict=True)] == [
            demo.removesuffix(a) for demo, a in zip(told.demos, told.answers, strict=True)]
        assert own.example.gold == told.example.gold


def test_equal_demonstrations_get_equal_words_and_other_draws_other_ones():
    told = made_up(prompts(MINI["label_mood"], 5, "fixed", 12, draws=3))
    assert len({p.demos for p in told}) == 3
    assert len({p.answers for p in told}) == 3
    assert made_up(prompts(MINI["label_mood"], 5, "fixed", 12, draws=3)) == told
    assert made_up(prompts(MINI["label_mood"], 5, "fixed", 12, draws=3), seed=1) != told


def test_where_the_right_answer_stands_says_nothing_of_its_word():
    """A word that an option gets must not follow from the option's place or from its being right."""
    told = made_up(prompts(MINI["form"], 1, "fixed", 100, draws=1))
    right = Counter(p.example.options[p.example.gold[0]] for p in told)
    assert max(right.values()) < 50


def test_there_are_words_for_more_answers_than_are_known():
    n = 40
    asked = multiple_choice("Which?", [f"answer {i}" for i in range(n)], 0)
    (told,) = made_up([Prompt(asked)])
    assert len(set(told.example.options)) == n


def test_labels_go_by_their_names():
    assert labelled(LABELLED, "true") == LABELLED
    assert labelled(LABELLED, "shuffled", 3) == shuffled(LABELLED, 3)
    assert labelled(LABELLED, "made-up", 3) == made_up(LABELLED, 3)
    with pytest.raises(BadInput, match=r"Unknown labels 'wrong'\. Known: true, shuffled, made-up"):
        labelled(LABELLED, "wrong")
