"""Examples, prompts and how demonstrations are drawn, on a task that one can count on one's fingers."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput, DataError
from backend.tasks.task import Example, Prompt, Task, multiple_choice, prompt, prompts


class Sums(Task):
    """'1 + 1 =' with two options; as many rows as one likes."""

    name, title, group, about, source = "sums", "Sums", "own", "Adds.", "made here"

    def __init__(self, n_train=8, n_validation=12):
        self._rows = {"train": [{"n": i} for i in range(n_train)], "test": [],
                      "validation": [{"n": 100 + i} for i in range(n_validation)]}

    def rows(self, split):
        return self._rows[split]

    def example(self, row, rule=None):
        n = row["n"]
        return multiple_choice(f"{n} + {n} =", [str(2 * n + 1), str(2 * n)], 1, group=str(n // 3))


def test_multiple_choice_repeats_its_context_and_shows_the_gold_option():
    example = multiple_choice("Capital of France:", ["Rome", "Paris"], 1)
    assert example.contexts == ("Capital of France:",) * 2
    assert example.options == (" Rome", " Paris")
    assert example.demonstration == "Capital of France: Paris"


def test_an_answers_length_leaves_its_delimiter_out_and_nothing_else():
    assert multiple_choice("Q", ["no", "yes sir"], 0, delimiter="\n -> ").lengths == (2, 7)
    assert multiple_choice("Q", [" no", "yes sir"], 0, delimiter="").lengths == (3, 7)
    assert Example(("Q", "Q"), (" no", "yes sir"), (0,), "").lengths == (2, 7)  # one space, unless it is said


def test_how_an_example_is_scored_is_no_part_of_its_wording():
    plain = Example(("Q",), (" a",), (0,), "Q a")
    assert repr(Example(("Q",), (" a",), (0,), "Q a", delimiter=1, keeps_blanks=True)) == repr(plain)


@pytest.mark.parametrize("gold", [-1, 2])
def test_a_gold_option_out_of_range_is_refused(gold):
    with pytest.raises(DataError, match=rf"gold option \[{gold}\] is out of range: there are 2 options"):
        multiple_choice("Q", ["a", "b"], gold)


@pytest.mark.parametrize("options", [["a", ""], ["a", "  "], [" ", "b"]])
def test_an_option_that_is_empty_is_refused(options):
    with pytest.raises(DataError, match="An option is empty"):
        multiple_choice("Q", options, 0)


def test_an_example_without_options_is_refused():
    with pytest.raises(DataError, match="at least one option"):
        multiple_choice("Q", [], 0)


def test_the_prefix_is_the_preamble_and_each_demonstration_with_a_blank_line():
    example = Example(("Q",), (" a",), (0,), "Q a", preamble="Sums.\n\n")
    p = Prompt(example, demos=("1", "2"), demo_docs=(4, 5))
    assert p.prefix == "Sums.\n\n1\n\n2\n\n"
    assert p.without_first_demo().prefix == "Sums.\n\n2\n\n"
    assert p.without_first_demo().demo_docs == (5,)


def test_a_prompt_can_be_made_of_chosen_rows():
    p = prompt(Sums(), 2, (3, 0))
    assert p.prefix + p.example.contexts[0] == "3 + 3 = 6\n\n0 + 0 = 0\n\n102 + 102 ="
    assert (p.doc, p.demo_docs) == (2, (3, 0))


@pytest.mark.parametrize(("n_shots", "split", "most"), [(-1, "validation", 8), (9, "validation", 8), (8, "train", 7)])
def test_shots_out_of_range_are_refused_with_the_range(n_shots, split, most):
    with pytest.raises(BadInput, match=rf"{n_shots} shots.*8 training examples.*Choose 0 to {most}\."):
        prompts(Sums(), n_shots, split=split)


def test_an_empty_training_split_allows_no_shots_but_zero():
    assert len(prompts(Sums(n_train=0), 0)) == 12
    with pytest.raises(BadInput, match=r"has 0 training examples.*Choose 0 to 0"):
        prompts(Sums(n_train=0), 1)
    with pytest.raises(DataError, match="no rows in its train split"):
        prompts(Sums(n_train=0), 0, split="train")


def test_an_empty_split_and_unknown_choices_are_refused():
    with pytest.raises(DataError, match="no rows in its validation split"):
        prompts(Sums(n_validation=0), 0)
    with pytest.raises(BadInput, match=r"Known: per-query, fixed"):
        prompts(Sums(), 1, demos="random")
    with pytest.raises(BadInput, match="at least 1, got 0"):
        prompts(Sums(), 1, n_examples=0)


@given(seed=st.integers(0, 1000), n_shots=st.integers(0, 7), demos=st.sampled_from(["per-query", "fixed"]),
       n=st.integers(1, 12), split=st.sampled_from(["train", "validation"]))
def test_a_larger_run_contains_a_smaller_one_and_no_row_demonstrates_itself(seed, n_shots, demos, n, split):
    task = Sums()
    every = prompts(task, n_shots, demos, None, seed, split)
    assert prompts(task, n_shots, demos, n, seed, split) == every[:n]
    for p in every:
        assert len(set(p.demo_docs)) == n_shots
        assert split == "validation" or p.doc not in p.demo_docs
    if demos == "fixed":
        assert len({p.demo_docs for p in every}) <= 1


def test_another_seed_draws_other_demonstrations():
    draws = {tuple(p.demo_docs for p in prompts(Sums(), 3, seed=seed)) for seed in range(5)}
    assert len(draws) == 5
    assert len({p.demo_docs for p in prompts(Sums(), 3)}) > 1  # fresh for every query


def test_rows_that_are_scored_together_are_taken_together():
    task = Sums()
    task.metric = "acc_by_group"
    all_groups = [task.example(row).group for row in task.rows("validation")]
    for n in range(1, 13):
        taken = [p.example.group for p in prompts(task, 0, n_examples=n)]
        assert len(taken) >= n
        assert all(taken.count(group) == all_groups.count(group) for group in taken)


def test_the_fingerprint_follows_rows_wording_and_name():
    class Reworded(Sums):
        def example(self, row, rule=None):
            return multiple_choice(f"{row['n']} twice is", ["1", "2"], 1)

    class Renamed(Sums):
        name = "other"

    tasks = [Sums(), Sums(n_validation=11), Sums(n_train=9), Reworded(), Renamed()]
    assert len({task.fingerprint for task in tasks}) == 5
    assert Sums().fingerprint == Sums().fingerprint


def test_a_rule_is_shared_by_the_demonstrations_and_the_question():
    class Rule(Sums):
        def draw_rule(self, rng: random.Random):
            return rng.choice("XYZ")

        def example(self, row, rule=None):
            return multiple_choice(f"{rule}:", ["a", "b"], 0)

    every = prompts(Rule(), 2)
    for p in every:
        assert {text[0] for text in (*p.demos, p.example.contexts[0])} == {p.example.contexts[0][0]}
    assert {p.example.contexts[0] for p in every} == {"X:", "Y:", "Z:"}


def test_the_fingerprint_follows_everything_that_a_prompt_shows():
    def task(**changes):
        class Changed(Sums):
            def example(self, row, rule=None):
                return replace(super().example(row, rule), **{
                    field: change(getattr(super(Changed, self).example(row, rule), field))
                    for field, change in changes.items()})
        return Changed()

    spaced = task(options=lambda options: tuple("\n" + option.strip() for option in options))
    tasks = [Sums(), spaced, task(demonstration=lambda text: text + "."), task(preamble=lambda _: "Add.\n\n"),
             task(contexts=lambda contexts: tuple(c.replace("=", "is") for c in contexts)), task(gold=lambda _: (0,)),
             task(group=lambda group: group + "x")]
    assert len({one.fingerprint for one in tasks}) == len(tasks)
    assert task().fingerprint == Sums().fingerprint


def test_the_fingerprint_follows_the_rows_that_may_demonstrate():
    class Narrowed(Sums):
        def demo_docs(self):
            return [doc for doc in super().demo_docs() if doc % 2]

    class Listed(Sums):
        def demo_docs(self):
            return list(super().demo_docs())

    assert Narrowed().fingerprint != Sums().fingerprint == Listed().fingerprint


def test_a_row_that_cannot_be_used_is_named_with_its_place():
    class Null(Sums):
        def example(self, row, rule=None):
            if row["n"] in (3, 105):
                raise DataError("No number.")
            return super().example(row, rule)

    with pytest.raises(DataError, match=r"No number\. It is row 5 \(from 0\) of the validation split\.$"):
        prompts(Null(), 0)
    with pytest.raises(DataError, match=r"No number\. It is row 3 \(from 0\) of the train split\.$"):
        prompt(Null(), 0, (1, 3))
    assert len(prompts(Null(), 0, n_examples=1)) == 1


def test_rows_that_cannot_be_written_down_are_named_where_they_would_be_hashed():
    task = Sums()
    task._rows["train"][2] = {"n": 2, "text": "\ud800"}
    with pytest.raises(DataError, match=r"Task 'sums': what row 2 \(from 0\) of the train split holds cannot be"):
        _ = task.fingerprint
