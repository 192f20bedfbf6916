"""Small records written by hand, for tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence

from backend.kinds import Answers, HeadScores, InductionScores, Sweep
from backend.records import Questions
from backend.tasks.task import Example, Prompt
from backend.values import INTACT, Ablation


def questions(gold: Sequence[Sequence[int]], n_options: int = 2, docs: Sequence[int] = (), groups: Sequence[str] = (),
              metric: str = "acc") -> Questions:
    n = len(gold)
    return Questions(tuple(docs) or tuple(range(n)), tuple(map(tuple, gold)), (n_options,) * n,
                     tuple(groups) or ("",) * n, metric)


def answers(asked: Questions, loglikelihoods: Sequence[Sequence[float]],
            greedy: Sequence[bool] = ()) -> Answers:
    rows = tuple(map(tuple, loglikelihoods))
    return Answers(asked, rows, tuple((1,) * len(row) for row in rows), tuple((one,) for one in greedy))


def answered(right: Sequence[int], chance: int = 2) -> Answers:
    """Questions of `chance` options, option 0 gold; 1 = answered rightly."""
    asked = questions([(0,)] * len(right), chance)
    return answers(asked, [[0.0, *[-1.0] * (chance - 1)] if r else [-1.0, 0.0, *[-1.0] * (chance - 2)] for r in right])


def sweep(outcomes: Sequence[Sequence[int]], ablations: Sequence[Ablation] = (),
          removed: Sequence[tuple[float, float]] = (), n_options: int = 2) -> Sweep:
    """Each row of outcomes under its ablation; option 0 is gold."""
    choices = tuple(tuple(0 if r else 1 for r in row) for row in outcomes)
    masks = tuple(map(str, ablations)) or (str(INTACT),) * len(choices)
    return Sweep(questions([(0,)] * len(choices[0]), n_options), masks, choices, choices, tuple(removed))


def importance(*blocks: Sequence[Sequence[float]]) -> HeadScores:
    """Blocks of one example with one position each: scores are their mean."""
    plain = tuple(tuple(map(tuple, block)) for block in blocks)
    n = len(plain)
    return HeadScores(n, (), (1,) * n, ((1,) * len(plain[0]),) * n, plain, plain)


def induction(mean: Sequence[Sequence[float]], variance: float = 0.0, n_seeds: int = 100) -> InductionScores:
    return InductionScores(n_seeds, tuple(map(tuple, mean)), tuple((variance,) * len(row) for row in mean),
                           "by hand", 201)


def prompt(context: str, options: Sequence[str], gold: Sequence[int] = (0,), doc: int = 0, group: str = "") -> Prompt:
    return Prompt(Example((context,) * len(options), tuple(f" {option}" for option in options), tuple(gold),
                          context, group), doc=doc)
