"""Prompts whose demonstrations lie: their answers shuffled among them, the questions as they were."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from backend.errors import BadInput
from backend.tasks.task import Prompt


def shuffled(prompts: Sequence[Prompt], seed: int = 0) -> list[Prompt]:
    """The same prompts with the demonstrations' answers shuffled among the demonstrations of each.

    Equal demonstrations are shuffled alike, so that what prompts share they go on sharing. The question and its options
    stay. Source: Min et al. 2022, arXiv:2202.12837; Todd et al. 2024, arXiv:2310.15213.

    Raises:
        BadInput: if a demonstration's answer is no piece of its text that another could stand for, as in WinoGrande,
            where the options are the question's beginnings.
    """
    return [_relabelled(prompt, random.Random(f"labels/{seed}/{prompt.demo_docs}")) for prompt in prompts]


def _relabelled(prompt: Prompt, rng: random.Random) -> Prompt:
    order = rng.sample(range(len(prompt.demos)), len(prompt.demos))
    answers = tuple(prompt.answers[i] for i in order)
    if len(set(prompt.example.contexts)) > 1:
        raise BadInput("The options of this task stand before the rest of the question: its demonstrations have no "
                       "answers that could be shuffled. Choose a task whose options follow the question.")
    demos = []
    for demo, own, other in zip(prompt.demos, prompt.answers, answers, strict=True):
        before, found, after = demo.rpartition(own)
        if not found:
            raise BadInput(f"The demonstration '{demo[-60:]}' does not hold its answer '{own[:60]}' as it stands: it "
                           "cannot be given another one.")
        demos.append(before + other + after)
    return replace(prompt, demos=tuple(demos), answers=answers)
