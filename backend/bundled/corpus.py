"""The text the bundled model reads: episodes of tasks, plain sentences, and repeated random words.

*Episodes* are demonstrations of one task from its training rows, in the task's own wording.
*Sentences* state the facts of all items, those of validation and test included, in other words: that
is where the model can learn what it is later asked. Some facts are read hundreds of times as often as others,
so that the rare ones are known only in part. *Repeats* are random words, over and over: the text in which
induction heads form first.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate, chain
from typing import Any

from ..tasks.mini import (
    ANTONYM_SPLITS,
    COUNTRY_SPLITS,
    FORMS,
    MINI,
    NAME_SPLITS,
    NOUN_SPLITS,
    SPLITS,
    VERB_SPLITS,
    words,
)
from ..tasks.task import SEPARATOR, Split, Task

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

SHORTEST_BLOCK = 8  # of repeats, in words

# How often episodes are of each task: more of those that take long to learn, fewer of those that are soon known.
OFTEN = {
    "antonym": 0.3, "past": 0.3, "capital": 0.3, "continent": 0.3, "plural": 0.3, "kind": 0.3,
    "pronoun": 1, "transfer": 2, "negation": 2.5,
    "label_kind": 3, "label_mood": 1.5, "label_form": 3, "pick": 2, "form": 0.7,
}

# How often the rarest facts are read, the most common ones at 1.
RAREST = {"adjectives": 1 / 2000, "verbs": 1 / 2000, "countries": 1 / 3000, "nouns": 1 / 1000, "people": 1 / 1000}

Document = tuple[list[str], list[float]]  # tokens, and the weight of predicting each


def split_tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


# ------------------------------------------------------------------------------------------------ sentences


class Often:
    """Items to draw from: those of training alike, those of validation and of test between common and rare."""

    def __init__(self, splits: Iterable[Mapping[Split, Sequence[Any]]], rarest: float) -> None:
        self.often = {item: often for lists in splits for split in SPLITS for item, often in words.frequencies(
            lists[split], 1 if split == "train" else rarest).items()}
        self.items = list(self.often)
        self.up_to = list(accumulate(self.often.values()))

    def draw(self, rng: random.Random) -> Any:
        return rng.choices(self.items, cum_weights=self.up_to)[0]


ADJECTIVES = Often(ANTONYM_SPLITS.values(), RAREST["adjectives"])
VERBS = Often([VERB_SPLITS], RAREST["verbs"])
COUNTRIES = Often(COUNTRY_SPLITS.values(), RAREST["countries"])
NOUNS = Often(NOUN_SPLITS.values(), RAREST["nouns"])
PEOPLE = Often(NAME_SPLITS.values(), RAREST["people"])


def _person(rng: random.Random) -> tuple[str, str, str]:
    name = PEOPLE.draw(rng)
    return (name, "she", "her") if name in words.WOMEN else (name, "he", "his")


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def about_adjective(rng: random.Random) -> str:
    pair = ADJECTIVES.draw(rng)
    a, b = pair if rng.random() < 0.5 else pair[::-1]
    subject = rng.choice(words.SUBJECTS)
    return rng.choice([
        f"Some are {a} and others are {b}.", f"It was not {a} but {b}.", f"Is the {subject} {a} or {b}?",
        f"What is {a} is never {b}.", f"First it was {a}, then it was {b}.", f"If it is not {a}, it is {b}.",
        f"{a} and {b} are opposites.", f"From {a} to {b}.",
    ])


def about_verb(rng: random.Random) -> str:
    verb = VERBS.draw(rng)
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
    country = COUNTRIES.draw(rng)
    capital, continent = words.country_facts()[country]
    name, she, _ = _person(rng)
    return rng.choice([
        f"The capital of {country} is {capital}.", f"{country} has its capital in {capital}.",
        f"{name} went to {country} and saw {capital}.", f"In {country} many people live in {capital}.",
        f"{country} is ruled from {capital}.", f"{country} lies in {continent}.",
        f"{country} is a country in {continent}.", f"{name} left {country} but {she} stayed in {continent}.",
        f"{country} belongs to {continent}.",
    ])


def about_noun(rng: random.Random) -> str:
    noun = NOUNS.draw(rng)
    kind, many = words.NOUNS[noun], words.plural(noun)
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


SENTENCES: dict[Callable[[random.Random], str], float] = {  # how often, by how many facts there are
    about_adjective: 1.0, about_verb: 2.5, about_country: 1.7, about_noun: 2.0, about_mood: 1.0, about_person: 0.6,
}


# ------------------------------------------------------------------------------------------------ documents


def sentences(rng: random.Random, length: int) -> Document:
    tokens: list[str] = []
    topics = rng.choices(list(SENTENCES), list(SENTENCES.values()), k=length)
    while len(tokens) < length:
        tokens += split_tokens(topics.pop()(rng))
    return tokens[:length], [SENTENCE] * length


def episode(rng: random.Random, task: Task, length: int) -> Document:
    """Demonstrations of one task under one rule, parted by blank lines; as many as begin within `length` tokens.

    In context no item returns: copying the label of the very word would do, and likeness would not be learnt.
    """
    rule = task.draw_rule(rng)
    rows = task.rows("train")
    tokens: list[str] = []
    weights: list[float] = []
    seen: set[str] = set()
    items: set[str] = set()
    for row in rng.sample(range(len(rows)), min(len(rows), length)):
        if len(tokens) >= length:
            break
        example = task.example(rows[row], rule)
        context, answer = (split_tokens(text) for text in (example.contexts[0], example.options[example.gold[0]]))
        item = context[-2] if answer[0] in _made_up() else answer[0]  # what stands before the arrow, or is picked
        if task.group == "in-context" and item in items:
            continue
        items.add(item)
        unknown = answer[0] in _made_up() and answer[0] not in seen
        seen.add(answer[0])
        if tokens:
            tokens.append(SEPARATOR)
            weights.append(EPISODE)
        tokens += context + answer
        weights += [EPISODE] * len(context) + [FIRST_LABEL if unknown else ANSWER] * len(answer)
    return [*tokens, SEPARATOR], [*weights, EPISODE]


def repeats(rng: random.Random, length: int, n_words: int | None = None) -> Document:
    """A block of random words, again and again; its first reading cannot be predicted and weighs nothing.

    Args:
        n_words: how many words may stand in it; None: all.
    """
    n = rng.randint(SHORTEST_BLOCK, length // 2 - 3)
    block = rng.choices(words_in_use(n_words), k=n)
    tokens = (block * (length // n + 1))[:length]
    return tokens, [0.0] * n + [REPEAT] * (length - n)


@cache
def words_in_use(n_words: int | None = None) -> list[str]:
    """The first `n_words` of all words in a fixed mixed order; None: all of them."""
    mixed = vocabulary()[len(SPECIAL):]
    random.Random(1).shuffle(mixed)
    return mixed[:n_words]


def documents(
    rng: random.Random, length: int, mixture: dict[str, float], n_words: int | None = None
) -> Iterator[tuple[str, Document]]:
    """Documents without end, each with the name of its kind.

    Args:
        length: tokens of the row that they are for.
        mixture: the share of each kind.
        n_words: as for `repeats`.
    """
    while True:
        kind = rng.choices(list(mixture), list(mixture.values()))[0]
        if kind == "episodes":
            task = MINI[rng.choices(list(OFTEN), list(OFTEN.values()))[0]]
            yield kind, episode(rng, task, rng.randint(length // 5, length - 1))
        elif kind == "sentences":
            yield kind, sentences(rng, rng.randint(40, 100))
        else:
            yield kind, repeats(rng, length - 1, n_words)


@cache
def _made_up() -> frozenset[str]:
    return frozenset(words.MADE_UP)


@cache
def vocabulary() -> list[str]:
    """All tokens: the special ones, then every word in a fixed order."""
    rng = random.Random(0)
    texts: list[str] = [SEPARATOR, "\n"]
    for task in MINI.values():
        for split in SPLITS:
            for row in task.rows(split):
                example = task.example(row, task.draw_rule(rng))
                texts += [example.contexts[0], *example.options]
    texts += [topic(rng) for topic in SENTENCES for _ in range(5000)]
    texts += list(words.country_facts()) + [capital for capital, _ in words.country_facts().values()]
    texts += [word for noun, kind in words.NOUNS.items() for word in (noun, words.plural(noun), kind)]
    texts += [word for pairs in words.ANTONYMS.values() for pair in pairs for word in pair] + words.PRAISE + words.BLAME
    texts += [form(verb) for form in FORMS.values() for verb in words.VERBS] + list(words.VERBS)
    texts += words.WOMEN + words.MEN + words.MADE_UP
    return [*SPECIAL, *sorted(set(chain.from_iterable(map(split_tokens, texts))))]
