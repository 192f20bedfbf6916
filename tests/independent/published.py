"""What is published of the bundled model, beside what plain transformers find.

The model card's table and sentences, and every shipped result; the Tour's titles are in `tour`. A claim that this file
cannot read is listed, not passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.kinds import (
    Answers,
    Evaluation,
    FFNOracle,
    HeadImportance,
    HeadOracle,
    HeadScores,
    PrefixMatching,
    Pruning,
    Sweep,
    Unit,
    Writes,
)
from backend.kinds.prompts import prompts_of
from backend.models.info import BUNDLED_FOLDER
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.tasks.task import Prompt, prompts
from tests.independent import plain

CARD = BUNDLED_FOLDER / "README.md"
TIE = 1e-3  # nats: options nearer than this may change places by rounding
ROUNDED = 0.051  # of a percentage with one decimal


@dataclass(frozen=True)
class Claim:
    """One published number, or list of them, and what was found."""

    what: str
    published: Any
    found: Any
    within: float

    @property
    def holds(self) -> bool:
        return bool(np.allclose(self.published, self.found, rtol=0, atol=self.within))

    def __str__(self) -> str:
        mark = "ok   " if self.holds else "WRONG"
        return f"{mark} {self.what}: published {self.published}, found {self.found}"


# --- the model card -------------------------------------------------------------------------------


def accuracy(asked: Sequence[Prompt], mask: plain.Mask = plain.INTACT) -> float:
    """The share of prompts whose likeliest option is right."""
    return float(np.mean([int(values.argmax()) in prompt.example.gold for prompt, values in zip(
        asked, plain.loglikelihoods(asked, mask), strict=True)]))


class Card:
    """The card's claims, in the forms in which it makes them."""

    def __init__(self, text: str, n_examples: int | None = None) -> None:
        self.text = re.sub(r"[ \n]+", " ", text)
        self.rows = [[cell.strip(" *") for cell in line.strip("|\n ").split("|")] for line in text.splitlines()
                     if line.startswith("|") and "---" not in line]
        self.n_examples = n_examples

    @property
    def table(self) -> tuple[list[str], list[list[str]]]:
        """The header and the rows of the table of accuracies."""
        at = next(i for i, row in enumerate(self.rows) if row[0] == "task")
        n = len(self.rows[at])
        return self.rows[at], [row for row in self.rows[at + 1:] if len(row) == n]

    def accuracies(self, only: Iterable[str] | None = None) -> Iterator[Claim]:
        """The table's numbers; with `only`, of some tasks, and no means."""
        header, rows = self.table
        shots = {column: int(re.findall(r"\d+", name)[0]) for column, name in enumerate(header)
                 if re.fullmatch(r"\d+( shots?)?", name)}
        found: dict[tuple[str, int], float] = {}
        for row in rows:
            name = row[0]
            for column, n in shots.items():
                if name in MINI and (only is None or name in only):
                    found[name, n] = 100 * accuracy(self.asked(name, n))
                    yield Claim(f"{name}, {n} shots", float(row[column]), found[name, n], ROUNDED)
                elif name == "mean" and only is None:
                    group = [found[task, n] for task in MINI if MINI[task].group == row[1]]
                    yield Claim(f"mean of {row[1]}, {n} shots", float(row[column]), float(np.mean(group)), ROUNDED)

    def asked(self, task: str, n_shots: int) -> list[Prompt]:
        return prompts(MINI[task], n_shots, n_examples=self.n_examples, split="test")

    def sentences(self) -> Iterator[Claim]:
        """What the card says in prose, as far as it can be read."""
        scores = None
        for listed, low, high in re.findall(r"\((L\d+H\d+(?:, (?:L\d+H)?\d+)*)\) have prefix matching of ([\d.]+) to "
                                            r"([\d.]+)", self.text):
            scores = plain.prefix_matching(16) if scores is None else scores
            heads = self.heads(listed)
            values = [scores[head] for head in heads]
            yield Claim(f"prefix matching of {listed}", [float(low), float(high)], [min(values), max(values)], 0.011)
            if without := re.search(r"Without these \w+, the in-context group at (\d+) shots falls from ([\d.]+) to "
                                    r"([\d.]+) %", self.text):
                n_shots = int(without[1])
                off = (frozenset(heads), frozenset[int]())
                yield Claim(f"in-context at {n_shots} shots, intact and without {listed}",
                            [float(without[2]), float(without[3])],
                            [self.group_mean(n_shots, plain.INTACT), self.group_mean(n_shots, off)], ROUNDED)

    def group_mean(self, n_shots: int, mask: plain.Mask, group: str = "in-context") -> float:
        return 100 * float(np.mean([accuracy(self.asked(task, n_shots), mask) for task in MINI
                                    if MINI[task].group == group]))

    @staticmethod
    def heads(listed: str) -> list[tuple[int, int]]:
        """Read `L1H1, 2, 3, L2H0`."""
        found, layer = [], 0
        for part in listed.split(", "):
            if part.startswith("L"):
                layer, part = int(part[1:].split("H")[0]), part.split("H")[1]
            found.append((layer, int(part)))
        return found

    def unread(self) -> list[str]:
        """Bullets with numbers of which no sentence was read: a person has to look at these."""
        bullets = re.findall(r"- \*\*[^*]+\*\*.*?(?= - \*\*| ## |$)", self.text)
        return [bullet for bullet in bullets if re.search(r"\d", bullet) and "have prefix matching of" not in bullet
                and "the in-context group at" not in bullet]


# --- the shipped results --------------------------------------------------------------------------


def differing(asked: Sequence[Prompt], choices: Sequence[int], values: Sequence[np.ndarray]) -> list[int]:
    """The queries whose published choice is another than the likeliest, beyond a tie."""
    return [prompt.doc for prompt, choice, each in zip(asked, choices, values, strict=True)
            if each[choice] < each.max() - TIE]


def answers(unit: Unit[Any], record: Answers | Sweep, masks: Sequence[str], rows: Sequence[Sequence[int]],
            every: int = 1) -> Iterator[Claim]:
    """Each stored choice under each mask against the plain model's, and the accuracies."""
    by_doc = {prompt.doc: prompt for prompt in prompts_of(unit.setup, "validation")}  # type: ignore[arg-type]
    asked = [by_doc[doc] for doc in record.questions.docs]
    for mask, choices in list(zip(masks, rows, strict=True))[::every]:
        values = plain.loglikelihoods(asked, plain.mask_of(mask))
        yield Claim(f"{unit}, without '{mask}': choices that differ", 0, len(differing(asked, choices, values)), 0)


def recomputed(unit: Unit[Any], store: Store, every: int = 1) -> Iterator[Claim]:
    """The claims of one shipped result; of sweeps every so many masks."""
    record = store.get(unit)
    if isinstance(unit, Evaluation) and isinstance(record, Answers) and unit.ablation.fill == "zero":
        by_doc = {prompt.doc: prompt for prompt in prompts_of(unit.setup, "validation")}
        asked = [by_doc[doc] for doc in record.questions.docs]
        found = plain.loglikelihoods(asked, plain.mask_of(str(unit.ablation)))
        yield Claim(f"{unit}: choices that differ", 0, len(differing(asked, record.choices(), found)), 0)
        yield Claim(f"{unit}: log-likelihoods", np.concatenate([np.array(row) for row in record.loglikelihoods]),
                    np.concatenate(found), TIE)
    elif isinstance(unit, FFNOracle | Pruning) or (isinstance(unit, HeadOracle) and unit == HeadOracle(unit.setup)):
        assert isinstance(record, Sweep)
        yield from answers(unit, record, record.ablations, record.choices, every)
    elif isinstance(unit, HeadImportance):
        assert isinstance(record, HeadScores)
        found_by = plain.importance(prompts_of(unit.setup, "train"))
        for reduction, found in found_by.items():
            published = record.scores(reduction)
            yield Claim(f"{unit}: {reduction}", published, found, 1e-3 * float(published.max()))
    elif isinstance(unit, PrefixMatching) and unit.variant == "exact":
        yield Claim(str(unit), np.array(record.mean), plain.prefix_matching(unit.n_sequences), 2e-3)
    elif isinstance(unit, Writes):
        yield Claim(str(unit), np.array(record.norms), plain.writes(prompts_of(unit.setup, "train")), 1e-3)


# --- both ---------------------------------------------------------------------------------------


def shipped() -> Store:
    """The shipped results behind an empty store of one's own."""
    import tempfile

    from backend.store.live import SHIPPED

    return Store(Path(tempfile.mkdtemp()), SHIPPED)


def of_bundled(store: Store) -> list[Unit[Any]]:
    """Every shipped result of the bundled model, of tasks whose rows come with the program."""
    return [unit for unit in store.units() if unit.model.name == "bundled" and (
        unit.task is None or unit.task.name in MINI)]
