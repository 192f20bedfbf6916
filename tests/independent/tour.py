"""The Tour's titles, which are read from the pages, beside what plain passes over the shipped questions give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from backend.kinds import Evaluation, FunctionVectors, HeadImportance, PrefixMatching, Pruning, Unit, Writes
from backend.kinds.prompts import prompts_of
from backend.store.live import Store
from backend.tasks.labels import shuffled
from backend.tasks.mini import MINI
from backend.tasks.task import Prompt
from backend.values import Head, Ranking
from pages.shared import verdicts
from tests.independent import plain
from tests.independent.published import Claim, accuracy, of_bundled


def percent(share: float) -> str:
    return f"{100 * share:.1f}".rstrip("0").rstrip(".") + " %"


def points(change: float) -> str:
    return f"{100 * change:+.1f}".removesuffix(".0").replace("-", "−") + " points"


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
        yield 8, self.which_heads(alive, scores)
        yield 9, self.first_by_score(alive, importance)
        held, accuracy = self.spared(alive, importance)
        called = "heads" if alive.all() else "live heads"
        n = f"({round(held * alive.sum(), 1):g} of {int(alive.sum())}; "
        yield 5, f"{percent(held)} of the {called} {n}"
        yield 11, f"this model {percent(held)} of its {called} {n}"
        yield 11, f"with {percent(accuracy)} of the answers still right"
        n_ffns, accuracy = self.spared_ffns()
        layers = plain.shape()[0]
        yield 11, f"this model {percent(n_ffns / layers)} of its FFNs ({n_ffns} of {layers}; "
        yield 11, f"with {percent(accuracy)} of the answers still right"

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
        """Steps 5 and 11: the share of the live heads that go, least important first, before 90 % is not kept any more,
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
        """Step 11: how many FFNs go, by what each costs here, before 90 % is not kept, and the accuracy."""
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


    def which_heads(self, alive: np.ndarray, matching: np.ndarray) -> str:
        """Step 8: the task that shuffled labels mislead most, without a tenth of the heads of either sort."""
        units = self._one_each([unit for unit in of_bundled(self.store) if isinstance(unit, FunctionVectors)
                                and unit.setup.n_shots == 5])
        found = []
        for unit in units:
            every = prompts_of(unit.setup.with_(n_examples=unit.setup.n_examples + unit.n_trials), "train")
            true, others = every[:-unit.n_trials], every[-unit.n_trials:]
            found.append(plain.vectors(true, shuffled(others, unit.setup.seed)))
        misled = int(np.argmax([lost for lost, _ in found]))
        effect = np.mean([effects for i, (_, effects) in enumerate(found) if i != misled], axis=0)
        k = int(0.1 * alive.sum() + 1e-9)
        vectors, induction = (
            list(map(tuple, np.argwhere(alive)[np.argsort(-scores[alive], kind="stable")].tolist()))
            for scores in (effect, matching))
        asked = self.asked(self.evaluations[5][misled])
        intact, *without = (accuracy(asked, (frozenset(cells), frozenset())) for cells in (
            [], [cell for cell in vectors if cell not in induction[:k]][:k],
            [cell for cell in induction if cell not in vectors[:k]][:k]))
        return (f"{list(MINI)[misled]} goes from {percent(intact)} to {percent(without[0])} without function-vector "
                f"heads that are no induction heads, to {percent(without[1])} without the reverse "
                f"({points(without[0] - without[1])}, ")

    def first_by_score(self, alive: np.ndarray, importance: Sequence[np.ndarray]) -> str:
        """Step 9: on the first task, the rank by loss added of the head that is first by its score."""
        asked = self.asked(self.evaluations[5][0])
        intact = plain.losses(asked).mean()
        added = {cell: float(plain.losses(asked, (frozenset([cell]), frozenset())).mean() - intact)
                 for cell in map(tuple, np.argwhere(alive).tolist())}
        first = max(added, key=lambda cell: importance[0][cell])
        rank = 1 + sum(other > added[first] for other in added.values())
        value = f"{'−' if added[first] < 0 else '+'}{abs(added[first]):.{2 if abs(added[first]) >= 0.1 else 3}f} nats"
        return (f"L{first[0]}H{first[1]}, the first of {len(added)} heads by its score for {next(iter(MINI))}, has "
                f"rank {rank} by what its removal costs: {value} of loss (")


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
        said = titles(step)
        yield Claim(f"Tour, step {step}: '{text}' among {said}", 1, int(any(text in one for one in said)), 0)
