"""The mini tasks: splits that do not leak, answers one can tell apart, rules that demonstrations share."""

import copy
import random
from dataclasses import replace

import pytest

from backend.tasks.mini import (
    ANTONYM_SPLITS,
    COUNTRY_SPLITS,
    MINI,
    NAME_SPLITS,
    NOUN_SPLITS,
    VERB_SPLITS,
    words,
)
from backend.tasks.task import prompts

SPLITS = ("train", "validation", "test")
GROUPS = {"knowledge", "reasoning", "in-context"}


def questions(task, split, rules=60):
    rng = random.Random(0)
    drawn = [task.draw_rule(rng) for _ in range(rules if task.group == "in-context" else 1)]
    return {task.example(row, rule).contexts[0] for row in task.rows(split) for rule in drawn}


def test_there_are_fourteen_tasks_in_three_groups():
    assert len(MINI) == 14
    assert {task.group for task in MINI.values()} == GROUPS
    assert all(name == task.name for name, task in MINI.items())


@pytest.mark.parametrize("task", MINI.values(), ids=MINI)
def test_a_split_holds_enough_queries_and_shares_none_with_training(task):
    assert len(task.rows("validation")) >= 100
    assert len(task.rows("test")) >= 100
    train, validation, test = (questions(task, split) for split in SPLITS)
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert len(validation) >= 30
    assert len(test) >= 30


def test_the_word_lists_hold_no_item_twice():
    for items in (words.PRAISE, words.BLAME, words.WOMEN, words.MEN, words.MADE_UP, words.NOUNS):
        assert len(items) == len(set(items))
    assert len(words.NOUNS) == sum(len(nouns.split()) for nouns in words.KINDS.values())
    adjectives = [word for pairs in words.ANTONYMS.values() for pair in pairs for word in pair]
    assert len(adjectives) == len(set(adjectives))
    for splits in (VERB_SPLITS, *NOUN_SPLITS.values(), *NAME_SPLITS.values(), *ANTONYM_SPLITS.values(),
                   *COUNTRY_SPLITS.values()):
        everything = [item for split in SPLITS for item in splits[split]]
        assert len(everything) == len(set(everything))


@pytest.mark.parametrize("task", MINI.values(), ids=MINI)
@pytest.mark.parametrize("demos", ["per-query", "fixed"])
def test_options_differ_and_the_demonstration_shows_the_right_one(task, demos):
    for prompt in prompts(task, 5, demos):
        example = prompt.example
        assert len(set(example.options)) == len(example.options) == round(1 / task.chance)
        assert all(option.startswith(" ") for option in example.options)
        (gold,) = example.gold
        assert example.demonstration == example.contexts[gold] + example.options[gold]
        assert len(prompt.demos) == 5


@pytest.mark.parametrize("task", [t for t in MINI.values() if t.group == "in-context"], ids=lambda t: t.name)
def test_in_context_the_question_alone_does_not_tell_the_answer(task):
    golds = set()
    rng = random.Random(0)
    row = task.rows("validation")[0]
    for _ in range(400):
        rule = task.draw_rule(rng)
        example = task.example(row, rule)
        golds.add(example.options[example.gold[0]])
    assert len(golds) >= len(task.example(row, rule).options)


@pytest.mark.parametrize("task", MINI.values(), ids=MINI)
def test_rows_are_the_same_every_time(task):
    again = {split: task.draw_rows(split, random.Random(f"{task.name}/{split}")) for split in SPLITS}
    assert all(again[split] == list(task.rows(split)) for split in SPLITS)


def test_word_forms_are_spelled_as_in_english():
    assert [words.past(v) for v in ("walk", "bake", "cry", "swim")] == ["walked", "baked", "cried", "swam"]
    assert [words.ing(v) for v in ("walk", "bake", "cry", "swim")] == ["walking", "baking", "crying", "swimming"]
    assert [words.third_person(v) for v in ("walk", "go", "cry", "watch")] == ["walks", "goes", "cries", "watches"]
    assert [words.plural(n) for n in ("cat", "cherry", "church", "wolf")] == ["cats", "cherries", "churches", "wolves"]


# Results are shipped under these names: another fingerprint makes them results of other data. They change only with
# rows or wording, and then everything shipped is measured anew.
FINGERPRINTS = {
    "antonym": "5a5b577c1751", "past": "3c90a2698c0f", "capital": "ae85563fac1a",
    "continent": "40c4e0e6814a", "plural": "ac81a821e2c4", "kind": "4a1dab35c0fb",
    "pronoun": "52970c7aa81d", "transfer": "6a3aa719d067", "negation": "0df40a68b89f",
    "label_kind": "1d15ee45c00b", "label_mood": "3046ad0890ae", "label_form": "84ca23649cf6",
    "pick": "ed83e356e4b7", "form": "468c186f8c00",
}


def test_the_fingerprints_are_those_that_results_are_shipped_under():
    assert {name: task.fingerprint for name, task in MINI.items()} == FINGERPRINTS
    assert all(task.digest == task.fingerprint for task in MINI.values())


@pytest.mark.parametrize(("name", "changed"), [
    ("antonym", "example"), ("pronoun", "example"), ("label_mood", "example"), ("pick", "example"),
    ("label_mood", "draw_rule"), ("pick", "draw_rule"), ("antonym", "draw_rows"), ("pick", "draw_rows"),
])
def test_another_wording_rule_or_row_is_another_fingerprint(name, changed, monkeypatch):
    task = copy.copy(MINI[name])
    task.__dict__.pop("fingerprint", None)
    task.__dict__.pop("_rows", None)
    if changed == "draw_rule":
        rule = task.draw_rule(random.Random(1))
        monkeypatch.setattr(type(task), "draw_rule", lambda self, rng: rule)
    elif changed == "example":
        as_before = type(task).example
        monkeypatch.setattr(type(task), "example", lambda self, row, rule=None: replace(
            example := as_before(self, row, rule), options=tuple(f"\n{o.strip()}" for o in example.options)))
    else:
        rows = task.draw_rows
        monkeypatch.setattr(type(task), "draw_rows", lambda self, split, rng: rows(split, rng)[:-1])
    assert task.fingerprint != FINGERPRINTS[name]


def test_rows_that_return_on_purpose_are_no_news():
    assert all(task.notices() == [] for task in MINI.values())
