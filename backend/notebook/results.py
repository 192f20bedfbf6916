"""What a notebook gets: results that are a table, a chart and, as the last line of a cell, themselves.

Both hold the very records that the store keeps, so that anything else can be asked of those.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .. import stats, tables
from ..kinds import Answers, Evaluation, HeadImportance, HeadScores
from ..records import ModelInfo
from ..values import Head, Setup

if TYPE_CHECKING:
    from .charts import Drawing

INTACT_NAME, ABLATED_NAME = "intact", "ablated"
_PER_TOKEN = "sum over examples and positions of |sum over d_head of z · dL/dz|, per position"
_REDUCED = {
    "per-token": f"{_PER_TOKEN} that carries a gradient: in the last layer those of the answer alone",
    "one-divisor": f"{_PER_TOKEN}, of which all layers count the same",
    "per-example": "mean over examples of |sum over positions and d_head of z · dL/dz|"}
_SHOWN = 10  # heads that a result shows of itself


class Result:
    """Something with a heading, a `frame` and a `chart`."""

    @property
    def heading(self) -> tuple[str, ...]:
        """What this is, and of which model, task, shots, questions and seed: a title, and the lines below it."""
        raise NotImplementedError

    def frame(self) -> pd.DataFrame:
        """The numbers as a table."""
        raise NotImplementedError

    def chart(self) -> Drawing:
        """The same as an Altair chart; Altair is imported now."""
        raise NotImplementedError

    def _shown(self) -> pd.DataFrame:
        """What of the table is shown where the result itself is, its numbers written out."""
        raise NotImplementedError

    def __repr__(self) -> str:
        lines = [*self.heading, *self._shown().to_string(index=False).splitlines()]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        """What a notebook shows for it: needs neither network nor Altair."""
        title, *more = map(escape, self.heading)
        table = self._shown().to_html(index=False, border=0)
        return f"<b>{title}</b><br><small>{'<br>'.join(more)}</small>{table}"


@dataclass(frozen=True, eq=False, repr=False)
class Accuracies(Result):
    """How well a model answers, intact and with something off.

    Attributes:
        names: what each row is called: "intact", and "ablated" or the names given.
        units: what each row was asked, with the ablation.
        records: what each row is made of: every option's log-likelihood per question, nats (see `Answers`).
    """

    names: tuple[str, ...]
    units: tuple[Evaluation, ...]
    records: tuple[Answers, ...]

    @property
    def heading(self) -> tuple[str, ...]:
        tasks = list(dict.fromkeys(unit.task.name for unit in self.units))
        setup = self.units[0].setup
        return (f"Accuracy: {', '.join(tasks[:4])}{f' and {len(tasks) - 4} more' if len(tasks) > 4 else ''}",
                str(setup.model), f"{_asked(setup)}; {setup.n_examples} questions asked for",
                f"{Evaluation.DEFINITION}; intervals 95 %")

    def frame(self) -> pd.DataFrame:
        """A row per task and model: accuracy with its 95 % interval (`low`, `high`), n and chance.

        Behind an ablated model's accuracy stands what has changed against the intact one on the same questions:
        `change` (ablated minus intact) with its 95 % interval, and `p` of the paired test; NaN beside the intact model.
        """
        intact = {unit.setup: record for unit, record in zip(self.units, self.records, strict=True)
                  if not unit.ablation}
        rows = []
        for name, unit, record in zip(self.names, self.units, self.records, strict=True):
            chance = record.questions.chance
            pair = tables.comparison_table([unit.task.name], [""], [intact[unit.setup].marks()],
                                           [record.marks() if unit.ablation else None], [chance])
            row = pair.iloc[-1].to_dict()
            rows.append({**row, "model": name, "off": str(unit.ablation), "shots": unit.setup.n_shots})
        whole = pd.DataFrame(rows)
        numbers = ["accuracy", "low", "high", "n", "chance", "change", "change from", "change to", "p"]
        return whole[["task", "shots", "model", "off", *numbers]].astype(dict.fromkeys(numbers, float) | {"n": int})

    def chart(self) -> Drawing:
        """Bars with their 95 % intervals, a tick at chance."""
        from .charts import accuracy_bars

        return accuracy_bars(self.frame(), self.heading)

    def _shown(self) -> pd.DataFrame:
        return _written(self.frame().drop(columns="shots"), "{:.3f}", p="{:.2g}", **dict.fromkeys(
            ("change", "change from", "change to"), "{:+.3f}"))


@dataclass(frozen=True, eq=False, repr=False)
class Importance(Result):
    """How strongly the loss depends on each head, over training prompts.

    Attributes:
        unit: what was asked.
        record: what it is made of: sums over blocks of examples, for every reduction (see `HeadScores`).
        info: the model's shape.
        reduction: "per-token", "one-divisor" or "per-example"; see `HeadScores.scores`.
    """

    unit: HeadImportance
    record: HeadScores
    info: ModelInfo
    reduction: str = "per-token"

    @property
    def heading(self) -> tuple[str, ...]:
        setup = self.unit.setup
        return (f"Head importance: {setup.task.name}", str(setup.model),
                f"{_asked(setup)}; {self.record.n_examples} training prompts",
                f"{self.reduction}: {_REDUCED[self.reduction]}",
                "L = mean cross-entropy of the right answer's tokens, nats; higher is more important")

    @property
    def scores(self) -> np.ndarray:
        """(n_layers, n_heads): the importance; higher means more important. Raw: layers differ in scale."""
        return self.record.scores(self.reduction)

    def top(self, n: int = 10) -> tuple[Head, ...]:
        """The n most important heads, the most important first: ready for an `Ablation`."""
        return tuple(head for head in stats.highest(self.scores, 1) if head.layer not in self.info.headless)[:n]

    def frame(self) -> pd.DataFrame:
        """A row per head, the most important first: its importance with its 95 % bootstrap interval, and its rank."""
        low, high = stats.bootstrap_scores(self.record, self.reduction)
        grid = tables.grid_table(self.scores, headless=self.info.headless).assign(low=low.ravel(), high=high.ravel())
        there = grid[~grid["layer"].isin(self.info.headless)]
        return there.sort_values("rank", ignore_index=True).astype({"rank": int})[
            ["name", "layer", "head", "importance", "low", "high", "rank"]]

    def chart(self) -> Drawing:
        """Heads across, layers up, layer 0 at the bottom."""
        from .charts import importance_map

        return importance_map(self.frame(), self.info.n_layers, self.info.n_heads, self.heading)

    def _shown(self) -> pd.DataFrame:
        return _written(self.frame().head(_SHOWN), "{:.2e}")


def _written(table: pd.DataFrame, number: str, **numbers: str) -> pd.DataFrame:
    """A table with its fractions as text, by column; nothing where there is no number."""
    fractions = table.select_dtypes("float")
    return table.assign(**{name: ["" if np.isnan(x) else numbers.get(str(name), number).format(x) for x in column]
                           for name, column in fractions.items()})


def _asked(setup: Setup) -> str:
    """How a setup asks, in words."""
    shots = f"{setup.n_shots} shot{'s' * (setup.n_shots != 1)}"
    drawn = f", {setup.draws} draws of demonstrations" if setup.draws > 1 else f", {setup.demos} demonstrations"
    return f"{shots}{drawn * bool(setup.n_shots)}, seed {setup.seed}"
