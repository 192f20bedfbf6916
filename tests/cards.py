"""The card of the real model, docs/smollm2.md: its tables are written out of the shipped results.

    python -m tests.cards
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from backend import stats, tables
from backend.kinds import (
    Answers,
    Attribution,
    Evaluation,
    HeadImportance,
    HeadOracle,
    PrefixMatching,
    Relabelled,
    Unit,
    Writes,
)
from backend.kinds.attribution import REDUCTIONS as OF_ATTRIBUTION
from backend.kinds.writes import N_PROBE
from backend.models import smollm2
from backend.places import SHIPPED
from backend.store.shipped import Shipped
from backend.tasks import registry
from pages.shared import verdicts

CARD = Path(__file__).parents[1] / "docs" / "smollm2.md"
SHOTS = (0, 1, 5)
K = TypeVar("K", bound=Unit[Any])


def units(shipped: Shipped) -> list[Unit[Any]]:
    """Its shipped results."""
    return [unit for unit in shipped.by_key().values() if unit.model.name == smollm2.NAME]


def accuracies(shipped: Shipped) -> list[str]:
    """A row per task: accuracy in % with its 95 % interval at each number of shots, chance, and n."""
    found: dict[str, dict[int, Answers]] = {}
    for unit in units(shipped):
        if isinstance(unit, Evaluation) and not unit.ablation and unit.setup.demos == "fixed":
            record = shipped.get(unit)
            assert record is not None
            found.setdefault(unit.setup.task.name, {})[unit.setup.n_shots] = record
    rows = ["| task | group | n | chance | " + " | ".join(f"{n} shot{'s' * (n != 1)}" for n in SHOTS) + " |",
            "|---" * (4 + len(SHOTS)) + "|"]
    for name in registry.known():
        if name in found:
            of = found[name]
            rows.append(f"| {name} | {registry.about(name).group} | {len(of[5].outcomes())} | "
                        f"{100 * of[5].questions.chance:.1f} | " + " | ".join(_accuracy(of[n]) for n in SHOTS) + " |")
    return rows


def _accuracy(record: Answers) -> str:
    row = tables.accuracy_row("", record.marks(), record.questions.chance)
    return f"{100 * row['accuracy']:.1f} ({100 * row['low']:.0f} to {100 * row['high']:.0f})"


def looks_back(shipped: Shipped) -> list[str]:
    """The heads of highest prefix matching, a line."""
    unit = next(unit for unit in units(shipped) if isinstance(unit, PrefixMatching)
                and unit.variant == "exact")
    record = shipped.get(unit)
    assert record is not None
    scores = np.array(record.mean)
    return ["Prefix matching is highest in " + ", ".join(
        f"{head} ({scores[head.layer, head.head]:.2f})" for head in stats.highest(scores, 1)[:8])
        + f"; {int((scores >= 0.3).sum())} of {scores.size} heads reach 0.3."]


def contents(shipped: Shipped) -> list[str]:
    """How many results of each kind, of how many tasks, at which numbers of shots."""
    kinds: dict[str, list[Unit[Any]]] = {}
    for unit in units(shipped):
        kinds.setdefault(type(unit).__name__, []).append(unit)
    lines = []
    for kind, of in sorted(kinds.items()):
        shots = Counter(unit.setup.n_shots for unit in of if unit.setup is not None)
        tasks = {unit.task.name for unit in of if unit.task is not None}
        each = ", ".join(f"{n} at {k} shot{'s' * (k != 1)}" for k, n in sorted(shots.items()))
        lines.append(f"- {kind}: {len(of)}" + f", of {len(tasks)} tasks ({each})" * bool(tasks))
    return lines


def truth(shipped: Shipped) -> list[str]:
    """A row per score: how well it ranks the live heads by the loss that their removal adds, for the task with a head
    oracle."""
    oracle = only(shipped, HeadOracle, fill="zero", on="validation")
    of = {"setup": oracle.setup.with_(n_examples=200)}
    importance, attribution = (shipped.get(only(shipped, kind, **of)) for kind in (HeadImportance, Attribution))
    writes = shipped.get(only(shipped, Writes, setup=oracle.setup.with_(n_examples=N_PROBE)))
    sweep = shipped.get(oracle)
    assert importance is not None
    assert attribution is not None
    assert writes is not None
    assert sweep is not None
    records = {by: [attribution if by in OF_ATTRIBUTION else importance] for by in tables.SCORES}
    told = tables.tells_table(records, {"zero": [sweep]}, tables.SCORES[0], writes.alive())
    rows = [f"| score, {oracle.task}, {oracle.setup.n_shots} shots | ρ with the loss added (95 %) | ahead of "
            f"{tables.SCORES[0]} | top 10 % found |", "|---|---|---|---|"]
    for row in told[told["measured in"] == "loss"].to_dict("records"):
        rows.append(f"| {row['score']} | {row['ρ']:.2f} ({row['95 % from']:.2f} to {row['to']:.2f}) | "
                    f"{row['ahead']:+.2f} ({row['ahead from']:+.2f} to {row['ahead to']:+.2f}) | "
                    f"{100 * row['top 10%']:.0f} % |")
    table = tables.calibration_table([importance], [sweep], tables.SCORES[0], heads=writes.alive())
    return [*rows, "", f"{verdicts.first_by_score(table, oracle.task.name)[0]}."]


def demonstrations(shipped: Shipped) -> list[str]:
    """A row per task: accuracy behind each sort of labels, and the two parts with their intervals."""
    rows = ["| task, 5 shots | 0 shots | shuffled labels | true labels | made-up labels | recognition | learning |",
            "|---|---|---|---|---|---|---|"]
    for unit in units(shipped):
        if isinstance(unit, Relabelled) and unit.labels == "shuffled" and not unit.ablation:
            setup = unit.setup
            those = dict(zip(tables.LABELS, (Evaluation(setup.with_(n_shots=0)), Evaluation(setup), unit, Relabelled(
                setup, "made-up")), strict=True))
            behind = {labels: [record] for labels, one in those.items() if (record := shipped.get(one))}
            parts = tables.parts_table({"intact": behind}).set_index("part")
            each = [f"{100 * behind[labels][0].outcomes().mean():.0f}" for labels in (
                tables.LABELS[0], tables.LABELS[2], tables.LABELS[1], tables.LABELS[3])]
            rows.append(f"| {setup.task} | {' | '.join(each)} | " + " | ".join(
                f"{100 * row['effect']:+.0f} ({100 * row['low']:+.0f} to {100 * row['high']:+.0f})"
                for row in (parts.loc[part] for part in tables.PARTS)) + " |")
    return rows


def only(shipped: Shipped, kind: type[K], **wanted: Any) -> K:
    """The one shipped unit of a kind with these fields."""
    (found,) = (unit for unit in units(shipped) if isinstance(unit, kind)
                and all(getattr(unit, name) == value for name, value in wanted.items()))
    return found


PARTS = {"accuracies": accuracies, "induction": looks_back, "truth": truth, "demonstrations": demonstrations,
         "contents": contents}


def written(card: str, shipped: Shipped) -> str:
    """The card with every part as the shipped results have it."""
    for name, part in PARTS.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        before, rest = card.split(begin)
        _, after = rest.split(end)
        card = before + begin + "".join(f"{line}\n" for line in part(shipped)) + end + after
    return card


if __name__ == "__main__":
    CARD.write_text(written(CARD.read_text("utf-8"), Shipped(SHIPPED)), "utf-8")
    print(CARD)
