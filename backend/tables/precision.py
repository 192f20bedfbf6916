"""What a precision of 16 bits changes: the intact model's answers beside those in float32, on the same questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..kinds import Answers, Evaluation, Unit
from ..values import ModelId

REFERENCE = "float32"


@dataclass(frozen=True)
class Beside:
    """How many of a model's answers another precision changes, and how far it moves them."""

    dtype: str
    n_here: int  # setups whose accuracy is stored in this precision
    n_both: int  # of these, in float32 too, of the same questions
    n_questions: int  # in them
    n_changed: int  # of which the model prefers another option
    nats: float  # largest difference of an option's log-likelihood

    @property
    def sentence(self) -> str:
        """All of it in words; where nothing can be compared, what to compute."""
        if not self.n_both:
            missing = f"{REFERENCE}, too" if self.n_here else f"{self.dtype} and in {REFERENCE}"
            return (f"Beside {REFERENCE}: how many predictions {self.dtype} changes cannot be told yet. Compute the "
                    f"accuracy of the same questions in {missing}.")
        n = f"{self.n_changed:,} of {self.n_questions:,} predictions"
        of = f" of {self.n_here}" if self.n_both < self.n_here else ""
        where = f"in {self.n_both}{of} setup{'s' * (self.n_here > 1)} measured in both"
        return (f"Beside {REFERENCE}: {n} {'differs' if self.n_changed == 1 else 'differ'} {where}; a log-likelihood "
                f"differs by {self.nats:.2g} nats at most.")


def beside_float32(model: ModelId, units: Iterable[Unit[Any]],
                   get: Callable[[Evaluation], Answers | None]) -> Beside:
    """What the precision of a model changes against float32, with nothing off, wherever both are stored.

    Two results are compared that differ in nothing but the precision: model (digest, revision, BOS), task, shots,
    demonstrations, draws, seed and number of questions are the same.

    Args:
        units: what is stored, of any kind.
        get: a stored record; None where it is damaged.
    """
    stored = {unit for unit in units if isinstance(unit, Evaluation) and not unit.ablation}
    mine = [unit for unit in stored if unit.model == model]
    counts = [_changed(here, there) for unit in mine
              if (twin := Evaluation(unit.setup.with_(model=model.with_(dtype=REFERENCE)))) in stored
              and (here := get(unit)) is not None and (there := get(twin)) is not None
              and here.questions == there.questions]
    return Beside(model.dtype, len(mine), len(counts), sum(n for n, _, _ in counts), sum(n for _, n, _ in counts),
                  max((nats for _, _, nats in counts), default=0.0))


def _changed(here: Answers, there: Answers) -> tuple[int, int, float]:
    """Questions, how many of them are answered otherwise, and the largest difference of a log-likelihood, nats."""
    choices = list(zip(here.choices(), there.choices(), strict=True))
    moved = (abs(a - b) for rows in zip(here.loglikelihoods, there.loglikelihoods, strict=True)
             for a, b in zip(*rows, strict=True))
    return len(choices), sum(a != b for a, b in choices), max(moved)
