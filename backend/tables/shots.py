"""What do demonstrations do to each task's accuracy? The same questions without them and with them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from backend import stats
from backend.kinds import Answers
from backend.stats import Marks
from backend.tables.accuracy import comparison_table

WITHOUT, WITH = "without", "with"  # demonstrations: the two models of a `shots_table`


def shots_table(pairs: Mapping[str, tuple[Answers, Answers]], groups: Mapping[str, str]) -> pd.DataFrame:
    """A `comparison_table` of each task without and with demonstrations, on the questions that both were asked.

    `p (Holm)` is the paired test's p for having looked at every task.

    Args:
        pairs: by task, its evaluations without and with demonstrations.
        groups: what each task is averaged with.
    """
    marks = {name: same_questions(*pair) for name, pair in pairs.items()}
    table = comparison_table(
        list(pairs), [groups[name] for name in pairs], [a for a, _ in marks.values()], [b for _, b in marks.values()],
        [with_.questions.chance for _, with_ in pairs.values()])
    table["model"] = table["model"].map({"intact": WITHOUT, "ablated": WITH})
    tested = table[table["model"] == WITH]
    adjusted = dict(zip(tested["task"], stats.holm(tested["p"].to_numpy()), strict=True))
    table["p (Holm)"] = table["task"].map(adjusted)
    return table


def same_questions(without: Answers, with_: Answers) -> tuple[Marks, Marks]:
    """Both answers as marks of the questions that both were asked; those of one draw in either belong together."""
    def by_question(record: Answers) -> dict[tuple[int, ...], int]:
        return {tuple(record.questions.docs[i] for i in members): place
                for place, members in enumerate(record.questions.outcome_docs)}

    a, b = by_question(without), by_question(with_)
    both = [question for question in b if question in a]
    draws = with_.questions.outcome_draws()
    shared = None if draws is None else draws[[b[question] for question in both]]
    return (Marks(without.outcomes()[[a[question] for question in both]], shared),
            Marks(with_.outcomes()[[b[question] for question in both]], shared))
