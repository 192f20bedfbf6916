"""Results of the same question that was asked otherwise: of other numbers of examples, with other draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..kinds import Attribution, HeadImportance, Unit
from .live import Store


class Asking(NamedTuple):
    """How questions are asked, apart from which ones, of which model, and with how many shots."""

    demos: str
    draws: int
    n: int  # questions
    seed: int
    n_train: int  # training examples behind head importance, and rankings by it


def asking(unit: Unit[Any], usual: Asking) -> Asking:
    """How a unit asks; what it does not depend on as usual."""
    setup = unit.setup
    if setup is None:
        return usual
    found: dict[str, Any] = {"demos": setup.demos, "seed": setup.seed}
    if setup.n_shots and setup.demos == "fixed":
        found["draws"] = setup.draws
    if role := _role(unit):
        found[role] = setup.n_examples
    if n_train := _ranked_over(unit):
        found["n_train"] = n_train
    return usual._replace(**found)


def asked(unit: Unit[Any], how: Asking) -> Unit[Any]:
    """The same of a unit, asked in this way."""
    setup = unit.setup
    if setup is None:
        return unit
    role = _role(unit)
    changes: dict[str, Any] = {"setup": setup.with_(
        demos=how.demos, draws=how.draws, seed=how.seed,
        n_examples=getattr(how, role) if role else setup.n_examples)}
    if _ranked_over(unit):
        changes["ranking"] = replace(unit.ranking, n_train=how.n_train)  # type: ignore[attr-defined]
    return replace(unit, **changes)  # type: ignore[type-var]


def most_stored(units: Sequence[Unit[Any]], store: Store, now: Asking) -> tuple[Asking, int] | None:
    """The way of asking, other than now, in which most of these units are stored, and how many; None where none is.

    Of several such ways the one that differs in least, then that of most examples.
    """
    ways = {how for unit in units if unit.setup is not None for other in store.units(
        unit.KIND, model=unit.model, task=unit.task) if (how := asking(other, now)) != now
        and asked(unit, how) == other}
    counts = {how: sum(asked(unit, how) in store for unit in units) for how in ways}
    if not counts:
        return None
    best = max(counts, key=lambda how: (counts[how], sum(a == b for a, b in zip(how, now, strict=True)),
                                        how.n_train, how.n, how))
    return best, counts[best]


def _role(unit: Unit[Any]) -> str:
    """What the number of examples of a unit's setup is a number of; empty for one that is nobody's choice."""
    if isinstance(unit, HeadImportance | Attribution):
        return "n_train"
    return "" if getattr(unit, "TRAINING", False) else "n"


def _ranked_over(unit: Unit[Any]) -> int:
    """Over how many training examples the heads' importance was measured that a unit ranks by; 0 where it does not."""
    ranking = getattr(unit, "ranking", None)
    return ranking.n_train if ranking is not None and ranking.tasks else 0
