"""The bundled model's tasks: small questions in readable English, in three groups.

*Knowledge* asks for facts the model has also read in plain sentences, some often and some hardly ever;
*reasoning* asks about a small story of three people; *in-context* chooses its rule or its made-up label words
afresh in every episode, so that without demonstrations there is nothing to go by but chance. Every task splits
its items, and no query of validation or test occurs in training.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any

from ..task import Example, Row, Split, Task
from . import words

N_QUERIES = 120  # of validation and of test, each
N_TRAIN = 3000  # training rows of tasks whose questions combine several words

ARROW = " ->"


def question(context: str, options: Sequence[str], gold: int) -> Example:
    """One context, then one of the options, which get their leading space here."""
    spaced = tuple(" " + option for option in options)
    return Example((context,) * len(spaced), spaced, (gold,), context + spaced[gold])


class MiniTask(Task):
    """A task made of word lists: its rows are drawn once, by a generator seeded with its name and split."""

    source = "made for Headroom; word lists in backend/tasks/mini/words.py"
    n_options: int

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.n_options

    @abstractmethod
    def draw_rows(self, split: Split, rng: random.Random) -> list[Row]:
        """The rows of a split."""

    @cached_property
    def _rows(self) -> dict[Split, list[Row]]:
        return {split: self.draw_rows(split, random.Random(f"{self.name}/{split}")) for split in SPLITS}

    def rows(self, split: Split) -> Sequence[Row]:
        return self._rows[split]

    def notices(self) -> list[str]:
        """None: items return on purpose, under other rules or beside other options."""
        return []


def cycle(items: Sequence[Any], n: int, rng: random.Random) -> list[Any]:
    """`n` items, each as often as the others (give or take one), in mixed order."""
    repeated = [item for _ in range(-(-n // len(items))) for item in rng.sample(list(items), len(items))]
    return repeated[:n]


def count(split: Split) -> int:
    return N_TRAIN if split == "train" else N_QUERIES


# ---------------------------------------------------------------------------------------------- knowledge


class Fact(MiniTask):
    """Each row holds its options; one distractor answers another question, one is right for a like item.

    The first tells whether the question was understood; only who knows the fact itself passes the second.
    """

    group = "knowledge"
    n_options = 3
    template = "{}" + ARROW

    def __init__(self, items: dict[Split, list[str]]) -> None:
        self.items = items

    @abstractmethod
    def answer(self, item: str) -> str: ...

    @abstractmethod
    def other_rule(self, item: str) -> str:
        """What fits the same item by another rule."""

    def near(self, item: str, other: str) -> bool:
        """Whether the answer of `other` is hard to tell from that of `item`."""
        return True

    def third(self, item: str, split: Split, rng: random.Random) -> str:
        """The right answer of another item, of a near one if there is any."""
        taken = {self.answer(item), self.other_rule(item)}
        others = [other for other in self.items[split] if self.answer(other) not in taken]
        return self.answer(rng.choice([other for other in others if self.near(item, other)] or others))

    def draw_rows(self, split: Split, rng: random.Random) -> list[Row]:
        rows: list[Row] = []
        n = 4 * len(self.items[split]) if split == "train" else N_QUERIES
        for item in cycle(self.items[split], n, rng):
            options = [self.answer(item), self.other_rule(item), self.third(item, split, rng)]
            order = rng.sample(range(3), 3)
            rows.append({"item": item, "options": [options[i] for i in order], "gold": order.index(0)})
        return rows

    def example(self, row: Row, rule: Any = None) -> Example:
        return question(self.template.format(row["item"]), row["options"], row["gold"])


class Antonym(Fact):
    name, title = "antonym", "Opposites"
    about = "Which word is the opposite of this adjective?"
    template = "The opposite of {} is"

    def answer(self, item: str) -> str:
        return OPPOSITE[item]

    def other_rule(self, item: str) -> str:
        return item

    def near(self, item: str, other: str) -> bool:
        return THEME[item] == THEME[other]


class Past(Fact):
    name, title = "past", "Past tense"
    about = "How does the verb go on in a sentence about yesterday?"
    template = "Today they {}, yesterday they"

    def answer(self, item: str) -> str:
        return words.past(item)

    def other_rule(self, item: str) -> str:
        return words.third_person(item)


class Capital(Fact):
    name, title = "capital", "Capitals"
    about = "A country's capital, beside its continent and a capital from there."

    def answer(self, item: str) -> str:
        return words.country_facts()[item][0]

    def other_rule(self, item: str) -> str:
        return words.country_facts()[item][1]

    def near(self, item: str, other: str) -> bool:
        return self.other_rule(item) == self.other_rule(other)


class Continent(Fact):
    name, title = "continent", "Continents"
    about = "A country's continent, when its capital would fit as well."

    def answer(self, item: str) -> str:
        return words.country_facts()[item][1]

    def other_rule(self, item: str) -> str:
        return words.country_facts()[item][0]


class Plural(Fact):
    name, title = "plural", "Plurals"
    about = "A noun's plural, beside its kind and the plural of another noun of that kind."

    def answer(self, item: str) -> str:
        return words.plural(item)

    def other_rule(self, item: str) -> str:
        return words.NOUNS[item]

    def near(self, item: str, other: str) -> bool:
        return self.other_rule(item) == self.other_rule(other)


class Kind(Fact):
    name, title = "kind", "Kinds of things"
    about = "What kind of thing a noun names, when its plural would fit as well."

    def answer(self, item: str) -> str:
        return words.NOUNS[item]

    def other_rule(self, item: str) -> str:
        return words.plural(item)


# ---------------------------------------------------------------------------------------------- reasoning


class Story(MiniTask):
    """Three people and a question whose answer is one of them; people are split."""

    group = "reasoning"
    n_options = 3

    @abstractmethod
    def tell(self, rng: random.Random, split: Split) -> tuple[str, list[str], str]:
        """The story with its question, the people in it, and which of them is the answer."""

    def draw_rows(self, split: Split, rng: random.Random) -> list[Row]:
        rows: list[Row] = []
        seen: set[str] = set()
        while len(rows) < count(split):
            text, people, answer = self.tell(rng, split)
            if text not in seen:
                seen.add(text)
                options = rng.sample(people, 3)
                rows.append({"text": text, "options": options, "gold": options.index(answer)})
        return rows

    def example(self, row: Row, rule: Any = None) -> Example:
        return question(row["text"], row["options"], row["gold"])


class Pronoun(Story):
    name, title = "pronoun", "Pronouns"
    about = "Of three people one is a woman, or one a man: whom does the pronoun mean?"

    def tell(self, rng: random.Random, split: Split) -> tuple[str, list[str], str]:
        one, two = rng.sample(list(NAME_SPLITS), 2)
        answer = rng.choice(NAME_SPLITS[one][split])
        people = rng.sample([answer, *rng.sample(NAME_SPLITS[two][split], 2)], 3)
        verb, state = words.past(rng.choice(MEETINGS)), rng.choice(STATES)
        return (f"{people[0]} {verb} {people[1]} and {people[2]}. {one} was {state}. Who was {state}?", people, answer)


class Transfer(Story):
    name, title = "transfer", "Who has it now"
    about = "Things were given to or taken from people: who has this one now?"

    def tell(self, rng: random.Random, split: Split) -> tuple[str, list[str], str]:
        people = rng.sample(PEOPLE[split], 3)
        thing, other = rng.sample(words.THINGS, 2)
        first, second, third = people
        story, has = self.moved(first, second, thing, rng)
        loser = first if has == second else second
        if rng.random() < 0.5:  # it changes hands once more
            more, has = self.moved(has, third, thing, rng, of=has)
            story = f"{story} {more}"
        else:  # something else changes hands
            more, _ = self.moved(loser, third, other, rng)
            story = rng.choice([f"{story} {more}", f"{more} {story}"])
        return f"{story} Who has the {thing} now?", people, has

    @staticmethod
    def moved(one: str, another: str, thing: str, rng: random.Random, of: str | None = None) -> tuple[str, str]:
        """A sentence, and who has the thing then; `of`: who had it before, where the story said so."""
        verb, way, gets = rng.choice([
            ("gave", "to", False), ("sold", "to", False), ("took", "from", True), ("bought", "from", True),
        ])
        if (of or rng.choice([one, another])) == (another if gets else one):
            return f"{one} {verb} the {thing} {way} {another}.", one if gets else another
        return f"{another} {verb} the {thing} {way} {one}.", another if gets else one


class Negation(Story):
    name, title = "negation", "Not"
    about = "One person likes it, one does not, one likes something else: who does, or who does not?"

    def tell(self, rng: random.Random, split: Split) -> tuple[str, list[str], str]:
        people = rng.sample(PEOPLE[split], 3)
        treat, other = rng.sample(words.TREATS, 2)
        likes, dislikes, third = people
        says = [self.said(likes, treat, True), self.said(dislikes, treat, False),
                self.said(third, other, rng.random() < 0.5)]
        asks_liking = rng.random() < 0.5
        ask = f"Who likes {treat}?" if asks_liking else f"Who does not like {treat}?"
        return f"{' '.join(rng.sample(says, 3))} {ask}", people, likes if asks_liking else dislikes

    @staticmethod
    def said(person: str, treat: str, likes: bool) -> str:
        return f"{person} likes {treat}." if likes else f"{person} does not like {treat}."


# --------------------------------------------------------------------------------------------- in context


def two_labels(rng: random.Random, n: int = 2) -> list[str]:
    return rng.sample(words.MADE_UP, n)


class LabelKind(MiniTask):
    name, title, group, n_options = "label_kind", "Kinds under made-up labels", "in-context", 2
    about = "Two kinds of things get made-up labels; which label does this noun get?"

    def draw_rule(self, rng: random.Random) -> Any:
        return {"kinds": rng.sample(list(words.KINDS), 2), "labels": two_labels(rng)}

    def draw_rows(self, split: Split, rng: random.Random) -> list[Row]:
        return [  # a noun of every kind, because the episode's rule says which two kinds are asked for
            {"nouns": {kind: rng.choice(COMMON_NOUNS[kind][split]) for kind in words.KINDS}, "which": rng.randrange(2)}
            for _ in range(count(split))
        ]

    def example(self, row: Row, rule: Any = None) -> Example:
        noun = row["nouns"][rule["kinds"][row["which"]]]
        return question(noun + ARROW, rule["labels"], row["which"])


class LabelMood(MiniTask):
    name, title, group, n_options = "label_mood", "Moods under made-up labels", "in-context", 2
    about = "Praise and blame get made-up labels; which label does this sentence get?"

    def draw_rule(self, rng: random.Random) -> Any:
        return {"labels": two_labels(rng)}

    def draw_rows(self, split: Split, rng: random.Random) -> list[Row]:
        choices = [(subject, adjective, which) for which in (0, 1)
                   for subject, adjective in product(words.SUBJECTS, MOOD_SPLITS[which][split])]
        return [{"text": f"The {subject} was {adjective}", "which": which}
                for subject, adjective, which in rng.sample(choices, min(count(split), len(choices)))]

    def example(self, row: Row, rule: Any = None) -> Example:
        return question(row["text"] + ARROW, rule["labels"], row["which"])


class LabelForm(MiniTask):
    name, title, group, n_options = "label_form", "Verb forms under made-up labels", "in-context", 2
    about = "Two forms of the verb get made-up labels; which label does this word get?"

    def draw_rule(self, rng: random.Random) -> Any:
        return {"forms": rng.sample(list(FORMS), 2), "labels": two_labels(rng)}

    def draw_rows(self, split: Split, rng: random.Random) -> list[Row]:
        return [{"verb": verb, "which": rng.randrange(2)}
                for verb in cycle(COMMON_VERBS[split], 400 if split == "train" else N_QUERIES, rng)]

    def example(self, row: Row, rule: Any = None) -> Example:
        word = FORMS[rule["forms"][row["which"]]](row["verb"])
        return question(word + ARROW, rule["labels"], row["which"])


class Pick(MiniTask):
    name, title, group, n_options = "pick", "Pick one of three", "in-context", 3
    about = "One of three words is picked, by a kind that only the demonstrations show."

    def draw_rule(self, rng: random.Random) -> Any:
        return {"kind": rng.choice(list(words.KINDS))}

    def draw_rows(self, split: Split, rng: random.Random) -> list[Row]:
        rows: list[Row] = []
        for _ in range(count(split)):
            kinds = rng.sample(list(words.KINDS), len(words.KINDS))
            rows.append({"nouns": {kind: rng.choice(COMMON_NOUNS[kind][split]) for kind in kinds},
                         "place": rng.randrange(3)})
        return rows

    def example(self, row: Row, rule: Any = None) -> Example:
        shown = [noun for kind, noun in row["nouns"].items() if kind != rule["kind"]][:2]
        shown.insert(row["place"], row["nouns"][rule["kind"]])
        return question(", ".join(shown) + ARROW, shown, row["place"])


class Form(MiniTask):
    name, title, group, n_options = "form", "Word form", "in-context", 3
    about = "The verb in one of three forms, which only the demonstrations show."

    def draw_rule(self, rng: random.Random) -> Any:
        return {"form": rng.choice(list(FORMS))}

    def draw_rows(self, split: Split, rng: random.Random) -> list[Row]:
        return [{"verb": verb} for verb in cycle(VERB_SPLITS[split], 200 if split == "train" else N_QUERIES, rng)]

    def example(self, row: Row, rule: Any = None) -> Example:
        forms = list(FORMS)
        return question(row["verb"] + ARROW, [FORMS[form](row["verb"]) for form in forms], forms.index(rule["form"]))


# ------------------------------------------------------------------------------------------------- splits

MEETINGS = ("meet", "call", "help", "follow", "watch", "greet", "chase", "invite")
STATES = ("tired", "glad", "hungry", "late", "angry", "busy", "ready", "surprised", "thirsty", "lucky")
FORMS = {"past": words.past, "third": words.third_person, "ing": words.ing}
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

ANTONYM_SPLITS = {theme: words.partition(pairs, 4, theme) for theme, pairs in words.ANTONYMS.items()}
OPPOSITE = {a: b for pairs in words.ANTONYMS.values() for pair in pairs for a, b in (pair, pair[::-1])}
THEME = {word: theme for theme, pairs in words.ANTONYMS.items() for pair in pairs for word in pair}
VERB_SPLITS = words.partition(list(words.VERBS), 35, "verbs")
COUNTRY_SPLITS = {continent: words.partition(countries, 3 * len(countries) // 10, continent)
                  for continent, countries in words.countries().items()}
NOUN_SPLITS = {kind: words.partition(nouns.split(), 6, kind) for kind, nouns in words.KINDS.items()}
MOOD_SPLITS = (words.partition(words.PRAISE, 10, "praise"), words.partition(words.BLAME, 10, "blame"))
NAME_SPLITS = {"She": words.partition(words.WOMEN, 6, "women"), "He": words.partition(words.MEN, 6, "men")}
PEOPLE = {split: [name for names in NAME_SPLITS.values() for name in names[split]] for split in SPLITS}


def joined(parts: Iterable[Mapping[Split, Sequence[Any]]]) -> dict[Split, list[Any]]:
    """One list per split out of those of each kind."""
    parts = list(parts)
    return {split: [item for part in parts for item in part[split]] for split in SPLITS}


def common(splits: Mapping[Split, Sequence[str]]) -> dict[Split, list[str]]:
    """All training items; of the others the two thirds read most often: tasks in context are not to ask for facts."""
    return {split: list(items if split == "train" else items[: 2 * len(items) // 3]) for split, items in splits.items()}


COMMON_VERBS = common(VERB_SPLITS)
COMMON_NOUNS = {kind: common(splits) for kind, splits in NOUN_SPLITS.items()}

_PAIRS = joined(ANTONYM_SPLITS.values())
_ADJECTIVES = {split: [word for pair in pairs for word in pair] for split, pairs in _PAIRS.items()}
_COUNTRIES = joined(COUNTRY_SPLITS.values())
_NOUNS = joined(NOUN_SPLITS.values())

MINI: dict[str, Task] = {
    task.name: task
    for task in (
        Antonym(_ADJECTIVES), Past(VERB_SPLITS), Capital(_COUNTRIES), Continent(_COUNTRIES), Plural(_NOUNS),
        Kind(_NOUNS),
        Pronoun(), Transfer(), Negation(),
        LabelKind(), LabelMood(), LabelForm(), Pick(), Form(),
    )
}
