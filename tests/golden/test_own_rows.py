"""A reader's clone checks correctness: our numbers on our own rows equal those of a slow, plain reference."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from backend.tasks.paper import PAPER
from tests.golden import own, reference

STORED = own.read()
GOLDEN = list(STORED.numbers)
# What the reference works out anew in the suite: one of every sort, and a few more. `python -m tests.golden` does all.
AGAIN = [random.Random(what).choice([one for one in GOLDEN if one.what == what])
         for what in sorted({one.what for one in GOLDEN})] + random.Random(2212).sample(GOLDEN, 12)


def apart(golden: own.Golden, found: list[float]) -> float:
    """The largest difference, in parts of what is tolerated."""
    numbers = STORED.numbers[golden]
    assert len(found) == len(numbers)
    return float(np.abs(np.array(found) - numbers).max()) / golden.tolerance(numbers)


@pytest.mark.parametrize("golden", GOLDEN, ids=str)
def test_headroom_finds_the_golden_number(golden: own.Golden):
    assert apart(golden, own.by_headroom(golden)) <= 1


@pytest.mark.parametrize("golden", list(dict.fromkeys(AGAIN)), ids=str)
def test_the_reference_finds_the_golden_number_again(golden: own.Golden):
    assert apart(golden, own.by_reference(golden, STORED.texts)) <= 1


def test_there_are_golden_numbers_of_every_sort_and_of_every_task_of_the_study():
    assert own.records() == GOLDEN
    counted = Counter(one.what for one in GOLDEN)
    assert counted.keys() == {"loglikelihoods", "accuracies", "pruning", "importance", "attribution",
                              "prefix matching", "copying"}
    assert len(GOLDEN) >= 50
    assert {one.task for one in GOLDEN if one.what == "loglikelihoods"} >= set(PAPER)
    assert {one.model for one in GOLDEN} == {"bundled", *reference.TINY}


def test_the_texts_that_the_reference_reads_are_those_that_headroom_asks():
    for golden in GOLDEN:
        for asked in golden.asked:
            assert own.asked(*asked) == [replace(one, texts=[tuple(pair) for pair in one.texts])
                                         for one in STORED.texts[own.key(*asked)]]


def test_no_golden_accuracy_can_hang_on_a_near_tie():
    net = reference.plain("opt")
    with pytest.raises(ValueError, match="ask other questions"):
        reference.accuracy(net, [[("the", " cat"), ("the", " cat")]], [(0,)])


def test_the_reference_needs_nothing_of_headroom():
    text = (own.HERE / "reference.py").read_text("utf-8")
    imported = re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE)
    assert set(imported) == {"__future__", "collections", "contextlib", "dataclasses", "functools", "json", "pathlib",
                             "typing", "numpy", "torch", "tokenizers", "transformers"}


def test_a_wrong_number_is_noticed():
    by_what = {one.what: one for one in GOLDEN}
    for golden in by_what.values():
        numbers = list(STORED.numbers[golden])
        numbers[-1] += 3e-4 * max(1.0, *map(abs, numbers))
        assert apart(golden, numbers) > 1


def test_a_head_that_is_not_off_is_noticed():
    """What is stored without heads is another number than with them: the masks of the records bite."""
    for golden in [one for one in GOLDEN if one.what == "loglikelihoods" and one.off != ("",)]:
        assert apart(golden, own.by_headroom(replace(golden, off=("",)))) > 100
