"""What do demonstrations do to each task's accuracy? The same questions without them and with them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Int
from ..kinds import Answers
from ..records import Questions
from ..stats import Marks
from .accuracy import comparison_table

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
    (a, b), draws = places_of_same(without.questions, with_.questions)
    return Marks(without.outcomes()[a], draws), Marks(with_.outcomes()[b], draws)


def places_of_same(*asked: Questions) -> tuple[list[Int[np.ndarray, " n"]], Int[np.ndarray, " n"] | None]:
    """Where the outcomes stand of the questions that all were asked, in the last one's order, (n,) for each; and the
    draw that each stands behind in the last one, where these share any."""
    by_question = [{tuple(one.docs[i] for i in members): place for place, members in enumerate(one.outcome_docs)}
                   for one in asked]
    same = [question for question in by_question[-1] if all(question in places for places in by_question)]
    found = [np.array([places[question] for question in same], int) for places in by_question]
    draws = asked[-1].outcome_draws()
    return found, None if draws is None else draws[found[-1]]
