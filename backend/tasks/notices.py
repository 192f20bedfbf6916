"""What is odd in a task's rows but no error: told, so that a number is read with it in mind.

Published data sets do hold equal options (WinoGrande, ReCoRD) and questions that stand there twice.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ..errors import DataError

if TYPE_CHECKING:
    from .task import Example, Split, Task

MOST_ROWS = 10_000  # looked at in each split: a second of work


def peculiarities(task: Task) -> list[str]:
    """A sentence each for rows of `task` that cannot be used, offer one option twice, or ask what another asks."""
    asked, told = _look(task, "validation")
    shown, told_of_training = _look(task, "train")
    if leaked := [doc for question, doc in asked.items() if question in shown]:
        told.append(_sentence(task, "validation", leaked, "stand among the training rows too",
                              "a demonstration can give the answer away"))
    return told + told_of_training


def _look(task: Task, split: Split) -> tuple[dict[bytes, int], list[str]]:
    """(each question with the first row that asks it, what is to be told) of one split."""
    first: dict[bytes, int] = {}
    doubled, again, told = [], [], []
    unusable: dict[int, DataError] = {}
    for doc in range(len(task.rows(split)))[:MOST_ROWS]:
        try:
            example = task.ask(split, doc)
        except DataError as error:
            unusable[doc] = error
            continue
        if len(set(choices := _choices(example))) < len(choices):
            doubled.append(doc)
        if first.setdefault(_question(choices), doc) != doc:
            again.append(doc)
    if unusable:
        told.append(f"{_how_many(task, split, len(unusable))} cannot be used: {next(iter(unusable.values()))}")
    if doubled:
        told.append(_sentence(task, split, doubled, "offer the same option twice",
                              "no model can tell the two apart, and the one that stands first counts as chosen"))
    if again:
        told.append(_sentence(task, split, again, "ask what a row before them asks",
                              "they are counted as questions of their own"))
    return first, told


def _choices(example: Example) -> list[str]:
    """What a model reads for each option."""
    return [context + option for context, option in zip(example.contexts, example.options, strict=True)]


def _question(choices: list[str]) -> bytes:
    """The same for the same options in another order; short, for there may be thousands of long passages."""
    return hashlib.sha256("\0".join(sorted(choices)).encode("utf-8", "surrogatepass")).digest()


def _sentence(task: Task, split: Split, docs: list[int], what: str, why: str) -> str:
    return f"{_how_many(task, split, len(docs))} {what}: {why}. The first is {task.place(split, docs[0])}."


def _how_many(task: Task, split: Split, n: int) -> str:
    n_rows = len(task.rows(split))
    of = f"the first {MOST_ROWS:,} of {n_rows:,}" if n_rows > MOST_ROWS else f"{n_rows:,}"
    return f"{n:,} of {of} {'training' if split == 'train' else split} rows"
