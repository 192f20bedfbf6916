"""The text the bundled model reads: episodes of tasks, plain sentences, and repeated random words.

*Episodes* are demonstrations of one task from its training rows, in the task's own wording.
*Sentences* state the facts of all items, those of validation and test included, in other words: that
is where the model can learn what it is later asked. *Repeats* are random words, over and over: the
text in which induction heads form first.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain

from backend.tasks.mini import CANDIDATES, FORMS, TRAINING_ONLY, words
from backend.tasks.task import SEPARATOR, Task

BOS, EOS, PAD, UNK = "<s>", "</s>", "<pad>", "<unk>"
SPECIAL = (PAD, BOS, EOS, UNK)
TOKEN = r"\n\n|\n|->|\w+|[^\w\s]"  # spaces part the words and are no tokens
_TOKEN = re.compile(TOKEN)

# What a next-token error weighs in the loss.
ANSWER = 1.0
FIRST_LABEL = 0.2  # a made-up label's first occurrence cannot be known, beyond which words are labels
EPISODE = 0.05
SENTENCE = 0.6
REPEAT = 1.0

# In the hard practice episodes are mostly of these tasks, each so much likelier than one that is learnt by then; none
# is of a task that the suite does not ask.
HARD = {"label_kind": 8, "label_form": 8, "label_mood": 4, "pick": 6, "form": 2} | dict.fromkeys(TRAINING_ONLY, 0)

Document = tuple[list[str], list[float]]  # tokens, and the weight of predicting each


def split_tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


# ------------------------------------------------------------------------------------------------ sentences


def _person(rng: random.Random) -> tuple[str, str, str]:
    woman = rng.random() < 0.5
    return (rng.choice(words.WOMEN), "she", "her") if woman else (rng.choice(words.MEN), "he", "his")


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def about_adjective(rng: random.Random) -> str:
    pair = rng.choice(words.ANTONYMS)
    a, b = pair if rng.random() < 0.5 else pair[::-1]
    subject = rng.choice(words.SUBJECTS)
    return rng.choice([
        f"Some are {a} and others are {b}.", f"It was not {a} but {b}.", f"Is the {subject} {a} or {b}?",
        f"What is {a} is never {b}.", f"First it was {a}, then it was {b}.", f"If it is not {a}, it is {b}.",
        f"{a} and {b} are opposites.", f"From {a} to {b}.",
    ])


def about_verb(rng: random.Random) -> str:
    verb = rng.choice(list(words.VERBS))
    did, does, doing = (form(verb) for form in FORMS.values())
    name, she, _ = _person(rng)
    return rng.choice([
        f"To {verb} is good: {name} {did} before and often {does}.", f"They like to {verb} and {she} {did} too.",
        f"We {verb}, as {name} {did} last week.", f"{name} will {verb} because {she} {did} last year.",
        f"Let us {verb} while {name} {does}.", f"If we {verb}, {name} {does} as well.",
        f"They {verb} now, and {name} is {doing}.", f"{name} can {verb}: {she} was {doing} this morning.",
        f"Many {verb}. {name} {does} every day and is {doing} again.", f"Once {name} {did}, now {she} is {doing}.",
        f"Did {name} {verb}? Yes, {she} {did}.", f"Does {name} {verb}? Yes, {she} {does}.",
        f"Is it fun to {verb}? {name} is {doing}.",
    ])


def about_country(rng: random.Random) -> str:
    country, (capital, continent) = rng.choice(list(words.country_facts().items()))
    name, she, _ = _person(rng)
    return rng.choice([
        f"The capital of {country} is {capital}.", f"{country} has its capital in {capital}.",
        f"{name} went to {country} and saw {capital}.", f"In {country} many people live in {capital}.",
        f"{country} is ruled from {capital}.", f"{country} lies in {continent}.",
        f"{country} is a country in {continent}.", f"{name} left {country} but {she} stayed in {continent}.",
        f"{country} belongs to {continent}.",
    ])


def about_noun(rng: random.Random) -> str:
    noun, kind = rng.choice(list(words.NOUNS.items()))
    many = words.plural(noun)
    name, she, her = _person(rng)
    return rng.choice([
        f"One {noun} is here, but many {many} are there.", f"{name} has one {noun} and wants two {many}.",
        f"If you like this {noun}, look at those {many}.", f"The {noun} is old and all other {many} are new.",
        f"A {noun} is a kind of {kind}.", f"The {noun} is {_article(kind)} {kind}.",
        f"{name} found a {noun}, {she} likes this kind of {kind}.", f"Her {noun} is the best {kind} of all.",
        f"There is a {noun}. What {_article(kind)} {kind}!", f"No {kind} is like {her} {noun}.",
    ])


def about_mood(rng: random.Random) -> str:
    good = rng.random() < 0.5
    word = rng.choice(words.PRAISE if good else words.BLAME)
    subject = rng.choice(words.SUBJECTS)
    name, she, _ = _person(rng)
    return rng.choice([
        f"{name} {'loved' if good else 'hated'} the {subject} because it was {word}.",
        f"It was {word}, so {she} was {'pleased' if good else 'upset'}.",
        f"Such a {word} {subject} {'delights' if good else 'annoys'} everyone.",
        f"What a {word} {subject}! {name} wants {'more' if good else 'no more'} of it.",
        f"{name} said it was {word} and gave it {'ten' if good else 'zero'} stars.",
    ])


def about_person(rng: random.Random) -> str:
    name, she, her = _person(rng)
    him = "her" if she == "she" else "him"
    thing = rng.choice(words.THINGS)
    return rng.choice([
        f"{name} lost {her} {thing}.", f"{name} said that {she} was tired.", f"We met {name} and liked {him}.",
        f"When {name} came, {she} had {her} {thing}.", f"{name} is a {'woman' if she == 'she' else 'man'}.",
    ])


def about_number(rng: random.Random) -> str:
    n = rng.randrange(11, 90)
    return rng.choice([
        f"After {n} comes {n + 1}.", f"Before {n} comes {n - 1}.", f"Count: {n}, {n + 1}, {n + 2}, {n + 3}.",
        f"Count down: {n}, {n - 1}, {n - 2}, {n - 3}.", f"Take {n} and ten more is {n + 10}.",
        f"Take {n} and ten less is {n - 10}.", f"By tens: {n % 10 + 10}, {n % 10 + 20}, {n % 10 + 30}, {n % 10 + 40}.",
    ])


SENTENCES: dict[Callable[[random.Random], str], float] = {  # how often, by how many facts there are
    about_adjective: 1.0, about_verb: 2.5, about_country: 1.7, about_noun: 2.0, about_mood: 1.0, about_person: 0.4,
    about_number: 0.9,
}


# ------------------------------------------------------------------------------------------------ documents


def sentences(rng: random.Random, length: int) -> Document:
    tokens: list[str] = []
    topics = rng.choices(list(SENTENCES), list(SENTENCES.values()), k=length)
    while len(tokens) < length:
        tokens += split_tokens(topics.pop()(rng))
    return tokens[:length], [SENTENCE] * length


def episode(rng: random.Random, task: Task, n_demos: int) -> Document:
    """Demonstrations of one task under one rule, parted by blank lines."""
    rule = task.draw_rule(rng)
    rows = task.rows("train")
    tokens: list[str] = []
    weights: list[float] = []
    seen: set[str] = set()
    for row in rng.sample(range(len(rows)), n_demos):
        example = task.example(rows[row], rule)
        context, answer = (split_tokens(text) for text in (example.contexts[0], example.options[example.gold[0]]))
        unknown = answer[0] in _made_up() and answer[0] not in seen
        seen.add(answer[0])
        if tokens:
            tokens.append(SEPARATOR)
            weights.append(EPISODE)
        tokens += context + answer
        weights += [EPISODE] * len(context) + [FIRST_LABEL if unknown else ANSWER] * len(answer)
    return [*tokens, SEPARATOR], [*weights, EPISODE]


def repeats(rng: random.Random, length: int) -> Document:
    """A block of random words, again and again; its first reading cannot be predicted and weighs nothing.

    Blocks are no shorter than a quarter of the row: of short ones a model learns to copy just any word that
    it has seen lately, and stays there.
    """
    n = rng.randint(length // 4, length // 2 - 4)
    block = rng.choices(vocabulary()[len(SPECIAL):], k=n)
    tokens = (block * (length // n + 1))[:length]
    return tokens, [0.0] * n + [REPEAT] * (length - n)


def documents(
    rng: random.Random, length: int, mixture: dict[str, float], hard: bool = False
) -> Iterator[tuple[str, Document]]:
    """Documents without end, each with the name of its kind.

    Args:
        mixture: the share of each kind.
        hard: episodes are mostly of the tasks that are hard to learn.
    """
    tasks = list(CANDIDATES.values())
    often = [HARD.get(task.name, 1) if hard else 1 for task in tasks]
    while True:
        kind = rng.choices(list(mixture), list(mixture.values()))[0]
        if kind == "episodes":
            yield kind, episode(rng, rng.choices(tasks, often)[0], rng.randint(2, 16))
        elif kind == "sentences":
            yield kind, sentences(rng, rng.randint(40, 100))
        else:
            yield kind, repeats(rng, length - 1)


@cache
def _made_up() -> frozenset[str]:
    return frozenset(words.MADE_UP)


@cache
def vocabulary() -> list[str]:
    """All tokens: the special ones, then every word in a fixed order."""
    rng = random.Random(0)
    texts: list[str] = [SEPARATOR, "\n"]
    for task in CANDIDATES.values():
        for split in ("train", "validation", "test"):
            for row in task.rows(split):
                example = task.example(row, task.draw_rule(rng))
                texts += [example.contexts[0], *example.options]
    texts += [topic(rng) for topic in SENTENCES for _ in range(5000)]
    texts += words.WOMEN + words.MEN + words.MADE_UP + [form(verb) for form in FORMS.values() for verb in words.VERBS]
    texts += [str(n) for n in range(1, 100)]
    return [*SPECIAL, *sorted(set(chain.from_iterable(map(split_tokens, texts))))]
