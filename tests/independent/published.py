"""What is published of the bundled model, beside what plain transformers find.

Three sources: the model card's table and sentences; every shipped result; and the Tour's titles, which are read from
the pages. A claim that this file cannot read is listed, not passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

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
from backend.values import Head, Ranking
from pages.shared import verdicts
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


# --- the Tour's titles ----------------------------------------------------------------------------


def percent(share: float) -> str:
    return f"{100 * share:.1f}".rstrip("0").rstrip(".") + " %"


def points(change: float) -> str:
    return f"{100 * change:+.1f}".replace("-", "−") + " points"


class Tour:
    """What the Tour's titles must say, worked out from plain passes over the questions of the shipped results."""

    def __init__(self, store: Store) -> None:
        self.store = store
        units = [unit for unit in of_bundled(store) if isinstance(unit, Evaluation) and not unit.ablation]
        self.evaluations = {n: self._one_each([unit for unit in units if unit.setup.n_shots == n]) for n in (0, 1, 5)}
        self.writes = [unit for unit in of_bundled(store) if isinstance(unit, Writes) and unit.setup.n_shots == 5]

    @staticmethod
    def _one_each(units: Sequence[Any]) -> list[Any]:
        """The unit of each task of the suite, in its order, as pages ask for it: shared demonstrations, most draws."""
        return [max((unit for unit in units if unit.task.name == task and unit.setup.demos == "fixed"),
                    key=lambda unit: getattr(unit.setup, "draws", 1)) for task in MINI]

    def alive(self) -> np.ndarray:
        """(n_layers, n_heads) of bool: by the rule, over the prompts of what is shipped; all, where nothing is."""
        found = np.ones(plain.shape(), bool) if not self.writes else np.zeros(plain.shape(), bool)
        for unit in self.writes:
            norms = plain.writes(prompts_of(unit.setup, "train"))
            parts = norms / np.maximum(norms.sum(1, keepdims=True), 1e-300)
            some = parts == parts.max()
            while (now := parts >= 0.01 * np.median(parts[some])).sum() > some.sum():
                some = now
            found |= some
        return found

    def asked(self, unit: Unit[Any]) -> list[Prompt]:
        record: Any = self.store.get(unit)
        by_doc = {prompt.doc: prompt for prompt in prompts_of(unit.setup, "validation")}  # type: ignore[arg-type]
        return [by_doc[doc] for doc in record.questions.docs]

    def mean_accuracy(self, units: Sequence[Unit[Any]], mask: plain.Mask = plain.INTACT) -> float:
        return float(np.mean([accuracy(self.asked(unit), mask) for unit in units]))

    def expected(self) -> Iterator[tuple[int, str]]:
        """By step, what its title says."""
        alive = self.alive()
        group = [i for i, task in enumerate(MINI) if MINI[task].group == "in-context"]
        first, last = (self.mean_accuracy([self.evaluations[n][i] for i in group]) for n in (0, 5))
        (matching,) = (unit for unit in self.store.units("prefix_matching") if isinstance(unit, PrefixMatching)
                       and unit.variant == "exact" and unit.model == self.evaluations[5][0].model)
        scores = np.where(alive, plain.prefix_matching(matching.n_sequences), 0)
        back = int((scores >= 0.3).sum())
        yield 1, f"From {percent(first)} without examples to {percent(last)} with 5"
        yield 3, f"{back or 'no'} {'head' if back == 1 else 'heads'} of {int(alive.sum())} ".capitalize()
        yield 4, self.knocked_out(alive, scores, back, [self.evaluations[5][i] for i in group], last)
        importance = self.importance()
        yield 6, self.kinds([scores[alive] for scores in importance])
        yield 7, self.ffns()
        held, accuracy = self.spared(alive, importance)
        called = "heads" if alive.all() else "live heads"
        n = f"({round(held * alive.sum(), 1):g} of {int(alive.sum())}; "
        yield 5, f"{percent(held)} of the {called} {n}"
        yield 9, f"this model {percent(held)} of its {called} {n}"
        yield 9, f"with {percent(accuracy)} of the answers still right"
        n_ffns, accuracy = self.spared_ffns()
        layers = plain.shape()[0]
        yield 9, f"this model {percent(n_ffns / layers)} of its FFNs ({n_ffns} of {layers}; "
        yield 9, f"with {percent(accuracy)} of the answers still right"

    def importance(self) -> list[np.ndarray]:
        """(n_layers, n_heads) for each task of the suite, at 5 shots."""
        units = self._one_each([unit for unit in of_bundled(self.store) if isinstance(unit, HeadImportance)
                                and unit.setup.n_shots == 5 and unit.setup.n_examples == 200])
        return [plain.importance(prompts_of(unit.setup, "train"))["per-token"] for unit in units]

    def knocked_out(self, alive: np.ndarray, scores: np.ndarray, k: int, units: Sequence[Unit[Any]],
                    intact: float) -> str:
        """Step 4: what the heads that look back cost, and as many random ones of the first draw."""
        ranked = [Head(int(layer), int(head)) for layer, head in zip(*np.unravel_index(
            np.argsort(-scores, axis=None, kind="stable")[:k], scores.shape), strict=True)]
        others = verdicts.control([Head(int(layer), int(head)) for layer, head in np.argwhere(alive)], ranked, k, 0)
        top, random = (self.mean_accuracy(units, (frozenset((h.layer, h.head) for h in heads), frozenset()))
                       for heads in (ranked, others))
        return (f"{points(top - intact)} against {points(random - intact)} (difference {points(random - top)}, ")

    def spared(self, alive: np.ndarray, importance: Sequence[np.ndarray]) -> tuple[float, float]:
        """Steps 5 and 9: the share of the live heads that go, least important first, before 90 % is not kept any more,
        and the accuracy there."""
        units = self._one_each([unit for unit in of_bundled(self.store) if isinstance(unit, Pruning)
                                and unit.setup.n_shots == 5 and unit.what == "heads"
                                and unit.ranking == Ranking.by(unit.task)])
        shares = [share for share, _ in self.store.get(units[0]).removed]  # type: ignore[union-attr]
        intact = held = found = 0.0
        for n in (int(share * alive.size + 1e-9) for share in shares):
            masks = [frozenset((int(i) // alive.shape[1], int(i) % alive.shape[1])
                               for i in np.argsort(scores, axis=None, kind="stable")[:n]) for scores in importance]
            now = float(np.mean([accuracy(self.asked(unit), (mask, frozenset()))
                                 for unit, mask in zip(units, masks, strict=True)]))
            intact = intact or now
            if now < 0.9 * intact:
                break
            held = float(np.mean([np.mean([alive[cell] for cell in mask]) * n if mask else 0
                                  for mask in masks]) / alive.sum())
            found = now
        return held, found

    def spared_ffns(self) -> tuple[int, float]:
        """Step 9: how many FFNs go, by what each costs here, before 90 % is not kept, and the accuracy."""
        asked = [self.asked(unit) for unit in self.evaluations[5]]
        layers = plain.shape()[0]

        def without(prompts: Sequence[Prompt], off: Iterable[int]) -> float:
            return accuracy(prompts, (frozenset(), frozenset(off)))

        orders = [np.argsort([without(one, [])] - np.array([without(one, [layer]) for layer in range(layers)]),
                             kind="stable") for one in asked]
        reached = [float(np.mean([without(one, map(int, order[:n])) for one, order in zip(asked, orders, strict=True)]))
                   for n in range(layers)]
        held = next((n for n in range(layers) if reached[n] < 0.9 * reached[0]), layers) - 1
        return held, reached[held]

    def kinds(self, scores: Sequence[np.ndarray]) -> str:
        """Step 6: rank agreement of tasks of one kind, and of different kinds."""
        kinds = [MINI[task].group for task in MINI]
        pairs: dict[bool, list[float]] = {True: [], False: []}
        for i, a in enumerate(scores):
            for j in range(i):
                pairs[kinds[i] == kinds[j]].append(float(scipy_stats.spearmanr(a, scores[j]).statistic))
        return f"ρ = {np.mean(pairs[True]):.2f} against {np.mean(pairs[False]):.2f}"

    def ffns(self) -> str:
        """Step 7: the FFN that costs most."""
        units = self.evaluations[5]
        intact = self.mean_accuracy(units)
        losses = [intact - self.mean_accuracy(units, (frozenset(), frozenset({layer})))
                  for layer in range(plain.shape()[0])]
        worst = int(np.argmax(losses))
        value = f"{100 * losses[worst]:.1f}".rstrip("0").rstrip(".")
        return (f"Without the FFN of layer {worst} accuracy falls most, by {value} point{'s' * (value != '1')}"
                if losses[worst] > 0 else "No FFN's removal lowers accuracy on average")


def titles(step: int) -> list[str]:
    """What a step of the Tour says in its titles, over the shipped results, once its question is answered; of the last
    step, for heads and for FFNs."""
    import pytest

    from pages.shared import notes
    from tests.pages.conftest import bodies, forget, framed, opened

    with pytest.MonkeyPatch.context() as patch:
        framed(patch)
        forget()
        app = opened("tour", step=str(step))
        said: list[str] = []
        scale = [one for one in app.main.segmented_control if one.key == "tour scale"]
        for what in scale[0].options if scale else [""]:
            if what:
                app.segmented_control("tour scale").set_value(what).run()
            app.radio[0].set_value(app.radio[0].options[0]).run()
            said += [notes.plain(body).replace("\u00a0", " ") for body in bodies(app) if body.startswith("<h")]
        return said


def told(store: Store) -> Iterator[Claim]:
    """The Tour's titles, step by step."""
    for step, text in Tour(store).expected():
        yield Claim(f"Tour, step {step}: '{text}' among {titles(step)}", 1, int(any(text in one for one in titles(
            step))), 0)


def shipped() -> Store:
    """The shipped results behind an empty store of one's own."""
    import tempfile

    from backend.store.live import SHIPPED

    return Store(Path(tempfile.mkdtemp()), SHIPPED)


def of_bundled(store: Store) -> list[Unit[Any]]:
    """Every shipped result of the bundled model, of tasks whose rows come with the program."""
    return [unit for unit in store.units() if unit.model.name == "bundled" and (
        unit.task is None or unit.task.name in MINI)]
