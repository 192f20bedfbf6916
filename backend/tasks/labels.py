"""Prompts whose demonstrations lie, or speak another tongue: their answers shuffled among them, or made-up words."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from ..errors import BadInput
from .task import Prompt

TRUE = "true"
RELABELLED = SHUFFLED, MADE_UP = "shuffled", "made-up"


def labelled(prompts: Sequence[Prompt], labels: str, seed: int = 0) -> list[Prompt]:
    """The same prompts with "true", "shuffled" or "made-up" labels.

    Raises:
        BadInput: if there are no such labels, or the demonstrations' answers cannot be replaced.
    """
    if labels == TRUE:
        return list(prompts)
    if labels not in RELABELLED:
        raise BadInput(f"Unknown labels '{labels[:60]}'. Known: {', '.join((TRUE, *RELABELLED))}.")
    return (shuffled if labels == SHUFFLED else made_up)(prompts, seed)


def shuffled(prompts: Sequence[Prompt], seed: int = 0) -> list[Prompt]:
    """The same prompts with the demonstrations' answers shuffled among the demonstrations of each.

    Equal demonstrations are shuffled alike, so that what prompts share they go on sharing. The question and its options
    stay. Source: Min et al. 2022, arXiv:2202.12837; Todd et al. 2024, arXiv:2310.15213.

    Raises:
        BadInput: if a demonstration's answer is no piece of its text that another could stand for, as in WinoGrande,
            where the options are the question's beginnings.
    """
    found = []
    for prompt in prompts:
        rng = random.Random(f"labels/{seed}/{prompt.demo_docs}")
        order = rng.sample(range(len(prompt.demos)), len(prompt.demos))
        found.append(_answered(prompt, tuple(prompt.answers[i] for i in order)))
    return found


def made_up(prompts: Sequence[Prompt], seed: int = 0) -> list[Prompt]:
    """The same prompts with every distinct answer replaced by a made-up word, the question's options alike.

    Within a prompt the replacement is one to one: equal texts become the same word, others become others, and none of
    the words stands in the prompt before. Blanks around an answer stay. Equal demonstrations are replaced alike, so
    that what prompts share they go on sharing; from draw to draw the words are others, so that no label is always the
    model's favourite word. Where every question has options of its own, those that no demonstration answers get words
    that nothing was learned of. The words are those of the bundled model's suite, which its tokenizer knows, and beyond
    them pairs of syllables. Source: Pan et al. 2023, arXiv:2305.09731, who map labels to abstract symbols.

    Raises:
        BadInput: as `shuffled` does.
    """
    found = []
    for prompt in prompts:
        example = prompt.example
        words = _words("\n".join([*prompt.demos, *example.contexts]),
                       random.Random(f"made-up/{seed}/{prompt.demo_docs}"))
        known = {text: next(words) for text in dict.fromkeys(answer.strip() for answer in prompt.answers)}
        others = sorted({option.strip() for option in example.options} - set(known))
        random.Random(f"made-up/{seed}/{prompt.demo_docs}/{prompt.doc}").shuffle(others)
        known |= dict(zip(others, words, strict=False))
        told = _answered(prompt, tuple(_in_place(answer, known) for answer in prompt.answers))
        found.append(replace(told, example=replace(
            example, options=tuple(_in_place(option, known) for option in example.options))))
    return found


def _in_place(text: str, words: dict[str, str]) -> str:
    """The word for a text, with the blanks that stood around that."""
    before, bare, after = text.partition(text.strip())
    return before + words[bare] + after


def _words(text: str, rng: random.Random) -> Iterator[str]:
    """Made-up words that a text does not hold, in mixed order, without end as far as prompts go."""
    from .mini.words import MADE_UP as KNOWN  # its lists are long, and few ask for them

    syllables = ["".join(pair) for pair in product("bdfgklmnprstvz", "aeiou")]
    longer = ["".join(pair) for pair in product(syllables, syllables)]
    for words in (KNOWN, longer):
        yield from (word for word in rng.sample(words, len(words)) if word not in text)


def _answered(prompt: Prompt, answers: tuple[str, ...]) -> Prompt:
    """The prompt with other answers in its demonstrations."""
    if len(set(prompt.example.contexts)) > 1:
        raise BadInput("The options of this task stand before the rest of the question: its demonstrations have no "
                       "answers that could be replaced. Choose a task whose options follow the question.")
    demos = []
    for demo, own, other in zip(prompt.demos, prompt.answers, answers, strict=True):
        before, found, after = demo.rpartition(own)
        if not found:
            raise BadInput(f"The demonstration '{demo[-60:]}' does not hold its answer '{own[:60]}' as it stands: it "
                           "cannot be given another one.")
        demos.append(before + other + after)
    return replace(prompt, demos=tuple(demos), answers=answers)
