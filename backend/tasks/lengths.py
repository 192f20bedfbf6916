"""How long the questions of the study's tasks are, where their rows are not here: for plans, not for results.

Means over 100 rows of each task (the first that a draw takes of 200 per split), cut by GPT-2's tokenizer, which is
OPT's too. A test counts them again where the rows are.
"""

from __future__ import annotations

from typing import NamedTuple


class Lengths(NamedTuple):
    """Tokens, on average."""

    demo: float  # of one demonstration
    contexts: float  # of a validation query's contexts, each different one once
    options: float  # of all its options together
    context: float  # of a training row's context
    gold: float  # of its right answer
    n_options: float  # options of a validation query


LENGTHS = {
    "hellaswag": Lengths(46, 42, 93.0, 32, 13.8, 4),
    "piqa": Lengths(35, 13, 40.7, 13, 21.0, 2),
    "arc_easy": Lengths(35, 26, 16.9, 28, 4.5, 4),
    "arc_challenge": Lengths(38, 34, 24.9, 28, 5.8, 4),
    "openbookqa": Lengths(20, 11, 14.2, 13, 3.7, 4),
    "winogrande": Lengths(22, 34, 10.8, 15, 6.1, 2),
    "boolq": Lengths(149, 136, 2.0, 150, 1.0, 2),
    "cb": Lengths(92, 100, 3.0, 92, 1.0, 3),
    "copa": Lengths(16, 8, 13.2, 8, 6.2, 2),
    "multirc": Lengths(525, 323, 26.2, 483, 19.1, 2),
    "record": Lengths(258, 223, 330.6, 227, 29.1, 11.5),
    "rte": Lengths(73, 75, 2.0, 80, 1.0, 2),
    "wic": Lengths(51, 52, 2.0, 49, 1.0, 2),
    "wsc": Lengths(63, 68, 2.0, 61, 1.0, 2),
    "mathqa": Lengths(56, 44, 10.5, 46, 2.0, 5),
    "lambada": Lengths(86, 81, 1.3, 81, 1.3, 1),
}
