"""A task, its examples, and the prompts made of them."""

from __future__ import annotations

import hashlib
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any, Literal, TypeVar

from ..errors import BadInput, DataError
from .notices import peculiarities

T = TypeVar("T")
Row = Mapping[str, Any]
Split = Literal["train", "validation", "test"]
Metric = Literal[
    "acc",  # the preferred option is a gold one
    "em",  # the same, with several golds: exact match after normalisation (ReCoRD)
    "acc_by_group",  # a group of rows is right when all of them are (MultiRC)
    "greedy",  # one option, right when greedy decoding would have written it token for token (LAMBADA)
]

DEMOS = ("per-query", "fixed")
DRAWS = 10  # of fixed demonstrations, over which the queries are spread, unless another number is asked for
SEPARATOR = "\n\n"


@dataclass(frozen=True)
class Example:
    """One question as text: what stands before each option, and the options themselves.

    `contexts[i] + options[i]` is what a model reads for option i. Most tasks repeat one
    context; WinoGrande has one per option. Options carry their leading space, or whatever else
    parts them from the context.
    """

    contexts: tuple[str, ...]
    options: tuple[str, ...]
    gold: tuple[int, ...]  # the options counted as right; one, except in ReCoRD
    demonstration: str  # the question with its answer (option gold[0]), as other prompts show it
    group: str = ""  # rows that are scored together (MultiRC: one question's answers)
    preamble: str = ""  # what stands before the demonstrations, its separator included; most tasks have none
    # How it is scored; no part of the wording, of which a task's fingerprint is made.
    delimiter: int | None = field(default=None, repr=False)  # characters that part an option from its context; None:
    # one space, where the option begins with one
    keeps_blanks: bool = field(default=False, repr=False)  # blanks that end a context are not scored with the option

    def __post_init__(self) -> None:
        if not self.options or len(self.contexts) != len(self.options):
            raise DataError(f"An example needs one context per option and at least one option, got "
                            f"{len(self.contexts)} contexts and {len(self.options)} options.")
        if any(not option.strip() for option in self.options):
            raise DataError(f"An option is empty: {list(self.options)}. Every option needs some text.")
        if not self.gold or not all(0 <= g < len(self.options) for g in self.gold):
            raise DataError(f"The gold option {list(self.gold)} is out of range: there are "
                            f"{len(self.options)} options, counted from 0.")

    @property
    def lengths(self) -> tuple[int, ...]:
        """Characters of each option's answer, its delimiter left out: what `acc_norm` divides by."""
        return tuple(len(option.removeprefix(" ") if self.delimiter is None else option[self.delimiter:])
                     for option in self.options)


def multiple_choice(
    context: str, options: Sequence[str], gold: int, group: str = "", delimiter: str = " ",
) -> Example:
    """The usual example: one context, and after it each option behind `delimiter`.

    Raises:
        DataError: if an option is empty or `gold` is not the number of an option.
    """
    answer = options[gold] if 0 <= gold < len(options) else ""  # Example refuses such a gold below
    return Example(
        contexts=(context,) * len(options),
        options=tuple(delimiter + option for option in options),
        gold=(gold,),
        demonstration=context + delimiter + answer,
        group=group,
        delimiter=len(delimiter),
    )


@dataclass(frozen=True)
class Prompt:
    """An example behind its demonstrations, ready to be scored."""

    example: Example
    demos: tuple[str, ...] = ()  # demonstrations in the order shown
    doc: int = 0  # row of the example in its split
    demo_docs: tuple[int, ...] = ()  # rows of the demonstrations
    draw: int | None = None  # which of several shared draws of demonstrations it stands behind
    answers: tuple[str, ...] = ()  # what each demonstration answers, as it stands in its text

    @property
    def prefix(self) -> str:
        """What stands before the question: the demonstrations, each followed by a blank line; empty at 0 shots."""
        return self.example.preamble + "".join(demo + SEPARATOR for demo in self.demos)

    def without_first_demo(self) -> Prompt:
        """The same prompt with the demonstration farthest from the question left out."""
        return replace(self, demos=self.demos[1:], demo_docs=self.demo_docs[1:], answers=self.answers[1:])


class Task(ABC):
    """Where a task's rows come from and how one row reads.

    Subclasses give the rows of a split and turn a row into an `Example`. A task whose rule is
    chosen afresh in every episode (made-up labels, a hidden rule) also draws a `rule`, which
    its demonstrations and its question share.
    """

    name: str
    title: str
    group: str  # "paper", "held out", "knowledge", "reasoning", "in-context", "own", "lm_eval"
    about: str  # one sentence: what is asked
    source: str  # where the rows come from
    metric: Metric = "acc"

    @abstractmethod
    def rows(self, split: Split) -> Sequence[Row]:
        """All rows of a split, in a fixed order; empty when there is none.

        Raises:
            DataError: if the rows cannot be found or read.
        """

    @abstractmethod
    def example(self, row: Row, rule: Any = None) -> Example:
        """One row as text, under `rule`."""

    def draw_rule(self, rng: random.Random) -> Any:
        """The rule of one episode; None where a task has only one."""
        return None

    def demo_docs(self) -> Sequence[int]:
        """Rows of the training split that may serve as demonstrations."""
        return range(len(self.rows("train")))

    def ask(self, split: Split, doc: int, rule: Any = None) -> Example:
        """Row `doc` of a split as text.

        Raises:
            DataError: if the row cannot be used; the message says which row it is.
        """
        row = self.rows(split)[doc]
        try:
            return self.example(row, rule)
        except DataError as error:
            raise DataError(f"{error} It is {self.place(split, doc)}.") from error

    def place(self, split: Split, doc: int) -> str:
        """Where a row stands, for people: 'row 17 (from 0) of the validation split'."""
        return f"row {doc} (from 0) of the {split} split"

    def notices(self) -> list[str]:
        """What is odd in the rows but no error, a sentence each: equal options, equal questions, rows of no use.

        The first time it words up to 10,000 rows of each split, a second of work; after that it costs nothing.
        """
        return list(self._notices)

    @cached_property
    def _notices(self) -> list[str]:
        return peculiarities(self)

    @property
    def digest(self) -> str:
        """What tells this task from every other, of the same name too: its fingerprint. Cheap once it was asked for."""
        return self.fingerprint

    @cached_property
    def fingerprint(self) -> str:
        """A short digest of the task's name, rows and wording: results of other data never match it."""
        return self._digest()

    def _digest(self) -> str:
        digest = hashlib.sha256(self.name.encode())
        encoder = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str)
        split: Split
        for split in ("train", "validation", "test"):
            for doc, row in enumerate(self.rows(split)):
                try:
                    digest.update(encoder.encode(row).encode())
                except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
                    raise DataError(f"Task '{self.name}': what {self.place(split, doc)} holds cannot be written as "
                                    f"JSON in UTF-8 ({type(error).__name__}).") from error
            digest.update(b"|")
        for split in ("train", "validation"):
            for doc in range(len(self.rows(split)))[:3]:  # the wording, so that a changed template is other data
                digest.update(repr(self.ask(split, doc, self.draw_rule(random.Random(0)))).encode())
        if self.draw_rule(random.Random(0)) is not None:
            digest.update(b"|at 0 shots, a rule for every query")
        pool = self.demo_docs()
        if (narrowed := list(pool)) != list(range(len(self.rows("train")))):  # said only where it is not all of them
            digest.update(f"|{narrowed}".encode())
        return digest.hexdigest()[:12]


def prompt(
    task: Task, doc: int, demo_docs: Sequence[int] = (), split: Split = "validation", rule: Any = None,
) -> Prompt:
    """The prompt of one row behind chosen rows of the training split, in the order given."""
    shown = [task.ask("train", d, rule) for d in demo_docs]
    return Prompt(
        example=task.ask(split, doc, rule),
        demos=tuple(example.demonstration for example in shown),
        doc=doc,
        demo_docs=tuple(demo_docs),
        answers=tuple(example.options[example.gold[0]] for example in shown),
    )


def prompts(
    task: Task, n_shots: int, demos: str = "per-query", n_examples: int | None = None, seed: int = 0,
    split: Split = "validation", draws: int = 1,
) -> list[Prompt]:
    """The prompts of a split: its first rows in a seeded order, each behind `n_shots` demonstrations.

    `per-query` draws demonstrations (and the episode's rule) afresh for every row, from a
    generator seeded by (seed, split, row), so that the order of evaluation cannot change them.
    `fixed` makes `draws` draws, and the rows take them in turn: what rows of one draw share is read
    once. Draw d of seed s is what the one draw of seed s * draws + d would be. A training row never
    demonstrates itself: it takes the next draw that does not hold it. At 0 shots there is nothing to
    share, and every row has a rule of its own either way.

    Args:
        draws: of `fixed` demonstrations; a group of rows (MultiRC) stands behind one.
        n_examples: how many rows; all of them when None or when there are fewer. The same seed
            always takes the same rows first, so a larger run contains a smaller one. Where rows
            are scored in groups (MultiRC), whole groups are taken until there are this many rows.

    Raises:
        BadInput: unknown `demos`, fewer than 1 draws, or `n_shots` below 0 or above the training rows.
        DataError: the split is empty.
    """
    return list(iter_prompts(task, n_shots, demos, n_examples, seed, split, draws))


def iter_prompts(
    task: Task, n_shots: int, demos: str = "per-query", n_examples: int | None = None, seed: int = 0,
    split: Split = "validation", draws: int = 1,
) -> Iterator[Prompt]:
    """As `prompts`, one at a time."""
    if demos not in DEMOS:
        raise BadInput(f"Unknown way to draw demonstrations '{demos}'. Known: {', '.join(DEMOS)}.")
    if n_examples is not None and n_examples < 1:
        raise BadInput(f"The number of examples must be at least 1, got {n_examples}.")
    if draws < 1:
        raise BadInput(f"The number of draws must be at least 1, got {draws}.")
    rows = task.rows(split)
    if not rows:
        raise DataError(f"Task '{task.name}' has no rows in its {split} split. Give it some, or choose another task.")
    pool = list(task.demo_docs()) if n_shots else []
    spare = 1 if split == "train" else 0  # a training row cannot demonstrate itself
    if n_shots < 0 or (n_shots and n_shots > len(pool) - spare):
        raise BadInput(f"{n_shots} shots asked of task '{task.name}', which has {len(pool)} training examples to "
                       f"demonstrate with. Choose 0 to {max(0, len(pool) - spare)}.")
    if demos == "fixed" and n_shots:
        yield from _behind_shared(task, n_shots, pool, draws, seed, split, n_examples)
        return
    for doc in chain.from_iterable(_first(_seeded_units(task, split, seed), n_examples)):
        rng = random.Random(f"demos/{seed}/{split}/{doc}")
        rule = task.draw_rule(rng)
        drawn = rng.sample(pool, n_shots + spare if n_shots else 0)
        chosen = [d for d in drawn if not (spare and d == doc)][:n_shots]
        yield prompt(task, doc, chosen, split, rule)


def _behind_shared(task: Task, n_shots: int, pool: Sequence[int], draws: int, seed: int, split: Split,
                   n_examples: int | None) -> Iterator[Prompt]:
    """Rows behind `draws` draws of demonstrations, which they take in turn, whole groups together."""
    shared = []
    for draw in range(draws):
        rng = random.Random(f"demos/{seed * draws + draw}")
        rule = task.draw_rule(rng)
        shared.append((rule, rng.sample(pool, n_shots)))

    def placed() -> Iterator[list[tuple[int, int]]]:
        """Per unit, (row, draw); a training row that every draw holds is left out."""
        turn = 0
        for unit in _seeded_units(task, split, seed):
            held = [set(demos) & set(unit) if split == "train" else set() for _, demos in shared]
            draw = next((d for step in range(draws) if not held[d := (turn + step) % draws]), turn % draws)
            if rows := [(doc, draw) for doc in unit if doc not in held[draw]]:
                turn += 1
                yield rows

    for doc, draw in chain.from_iterable(_first(placed(), n_examples)):
        rule, demos = shared[draw]
        yield replace(prompt(task, doc, demos, split, rule), draw=draw if draws > 1 else None)


def _seeded_units(task: Task, split: Split, seed: int) -> list[list[int]]:
    """All rows in a seeded order, as units that stay together: a row, or all rows of a group."""
    units = [[doc] for doc in range(len(task.rows(split)))]
    if task.metric == "acc_by_group":  # half a question's answers would make it look easier than it is
        groups: dict[str, list[int]] = {}
        for doc in range(len(units)):
            groups.setdefault(task.ask(split, doc).group, []).append(doc)
        units = list(groups.values())
    random.Random(f"rows/{seed}/{split}").shuffle(units)
    return units


def _first(units: Iterable[list[T]], n: int | None) -> Iterator[list[T]]:
    """The first units, until they hold `n` rows; all of them when None."""
    taken = 0
    for unit in units:
        if n is not None and taken >= n:
            return
        taken += len(unit)
        yield unit
