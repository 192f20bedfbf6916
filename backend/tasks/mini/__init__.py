"""The bundled model's tasks: small questions in readable English, in three groups.

*Knowledge* asks for facts the model has also read in plain sentences; *reasoning* asks about a
small story; *in-context* chooses its rule or its made-up label words afresh in every episode, so
that without demonstrations there is nothing to go by but chance. Every task splits its items, and
no query of validation or test occurs in training.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import product
from typing import Any

from backend.tasks.mini import words
from backend.tasks.task import Example, Row, Split, Task

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
        splits: tuple[Split, ...] = ("train", "validation", "test")
        return {split: self.draw_rows(split, random.Random(f"{self.name}/{split}")) for split in splits}

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
    """Each row holds its options; one distractor is another item's answer, one answers another question."""

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

    def third(self, item: str, split: Split, rng: random.Random) -> str:
        """The right answer of another item."""
        taken = {self.answer(item), self.other_rule(item)}
        return rng.choice([answer for other in self.items[split] if (answer := self.answer(other)) not in taken])

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


class Past(Fact):
    name, title = "past", "Past tense"
    about = "How does the verb go on in a sentence about yesterday?"
    template = "Today they {}, yesterday they"

    def answer(self, item: str) -> str:
        return words.past(item)

    def other_rule(self, item: str) -> str:
        return words.third_person(item)

    def third(self, item: str, split: Split, rng: random.Random) -> str:
        return words.ing(item)


class Capital(Fact):
    name, title = "capital", "Capitals"
    about = "A country's capital, when its continent would fit as well."

    def answer(self, item: str) -> str:
        return words.country_facts()[item][0]

    def other_rule(self, item: str) -> str:
        return words.country_facts()[item][1]


class Continent(Fact):
    name, title = "continent", "Continents"
    about = "A country's continent, when its capital would fit as well."

    def answer(self, item: str) -> str:
        return words.country_facts()[item][1]

    def other_rule(self, item: str) -> str:
        return words.country_facts()[item][0]


class Plural(Fact):
    name, title = "plural", "Plurals"
    about = "A noun's plural, when its kind would fit as well."

    def answer(self, item: str) -> str:
        return words.plural(item)

    def other_rule(self, item: str) -> str:
        return words.NOUNS[item]


class Kind(Fact):
    name, title = "kind", "Kinds of things"
    about = "What kind of thing a noun names, when its plural would fit as well."

    def answer(self, item: str) -> str:
        return words.NOUNS[item]

    def other_rule(self, item: str) -> str:
        return words.plural(item)


# ---------------------------------------------------------------------------------------------- reasoning


class Story(MiniTask):
    """Two people and a question whose answer is one of them; pairs of people are split."""

    group = "reasoning"
    n_options = 2

    @abstractmethod
    def tell(self, first: str, second: str, split: Split, rng: random.Random) -> tuple[str, bool]:
        """The story with its question, and whether `first` is the answer."""

    def draw_rows(self, split: Split, rng: random.Random) -> list[Row]:
        rows: list[Row] = []
        seen: set[str] = set()
        while len(rows) < count(split):
            pair = rng.sample(rng.choice(COUPLES[split]), 2)
            text, is_first = self.tell(pair[0], pair[1], split, rng)
            if text not in seen:
                seen.add(text)
                rows.append({"text": text, "options": pair, "gold": 0 if is_first else 1})
        return rows

    def example(self, row: Row, rule: Any = None) -> Example:
        return question(row["text"], row["options"], row["gold"])


class Pronoun(Story):
    name, title = "pronoun", "Pronouns"
    about = "Of a woman and a man, whom does the pronoun mean?"

    def tell(self, first: str, second: str, split: Split, rng: random.Random) -> tuple[str, bool]:
        verb = words.past(rng.choice(MEETINGS))
        state = rng.choice(STATES)
        is_first = rng.random() < 0.5
        pronoun = "She" if (first if is_first else second) in words.WOMEN else "He"
        return f"{first} {verb} {second}. {pronoun} was {state}. Who was {state}?", is_first


class Transfer(Story):
    name, title = "transfer", "Who has it now"
    about = "Something was given to or taken from somebody: who has it now?"

    def tell(self, first: str, second: str, split: Split, rng: random.Random) -> tuple[str, bool]:
        thing = rng.choice(words.THINGS)
        verb, way, is_first = rng.choice([
            ("gave", "to", False), ("sent", "to", False), ("sold", "to", False),
            ("took", "from", True), ("got", "from", True), ("bought", "from", True),
        ])
        return f"{first} {verb} the {thing} {way} {second}. Who has the {thing} now?", is_first


class Who(Story):
    name, title = "who", "Who saw that kind"
    about = "Two people saw two things; who saw the thing of this kind?"

    def tell(self, first: str, second: str, split: Split, rng: random.Random) -> tuple[str, bool]:
        kinds = rng.sample(list(words.KINDS), 2)
        nouns = [rng.choice(NOUN_SPLITS[kind][split]) for kind in kinds]
        is_first = rng.random() < 0.5
        return (f"{first} saw the {nouns[0]} and {second} saw the {nouns[1]}. "
                f"Who saw the {kinds[0] if is_first else kinds[1]}?"), is_first


class Negation(Story):
    name, title = "negation", "Not"
    about = "One person likes it and the other does not: who does, or who does not?"

    def tell(self, first: str, second: str, split: Split, rng: random.Random) -> tuple[str, bool]:
        treat = rng.choice(words.TREATS)
        first_likes, asks_liking = rng.random() < 0.5, rng.random() < 0.5
        story = (f"{first} likes {treat} but {second} does not." if first_likes
                 else f"{first} does not like {treat} but {second} does.")
        ask = f"Who likes {treat}?" if asks_liking else f"Who does not like {treat}?"
        return f"{story} {ask}", first_likes == asks_liking


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
            {"nouns": {kind: rng.choice(NOUN_SPLITS[kind][split]) for kind in words.KINDS}, "which": rng.randrange(2)}
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
                for verb in cycle(VERB_SPLITS[split], 400 if split == "train" else N_QUERIES, rng)]

    def example(self, row: Row, rule: Any = None) -> Example:
        word = FORMS[rule["forms"][row["which"]]](row["verb"])
        return question(word + ARROW, rule["labels"], row["which"])


class Recall(MiniTask):
    name, title, group, n_options = "recall", "Recall", "in-context", 3
    about = "Three people have a made-up word each, which only the demonstrations tell."

    def draw_rule(self, rng: random.Random) -> Any:
        return {"people": rng.sample(words.WOMEN + words.MEN, 3), "labels": two_labels(rng, 3)}

    def draw_rows(self, split: Split, rng: random.Random) -> list[Row]:
        nouns = [noun for kind in words.KINDS for noun in NOUN_SPLITS[kind][split]]
        return [{"noun": noun, "which": rng.randrange(3)} for noun in cycle(nouns, count(split) // 2 * 2, rng)]

    def example(self, row: Row, rule: Any = None) -> Example:
        return question(f"{rule['people'][row['which']]} with the {row['noun']}" + ARROW, rule["labels"], row["which"])


class Pick(MiniTask):
    name, title, group, n_options = "pick", "Pick one of three", "in-context", 3
    about = "One of three words is picked, by a kind that only the demonstrations show."

    def draw_rule(self, rng: random.Random) -> Any:
        return {"kind": rng.choice(list(words.KINDS))}

    def draw_rows(self, split: Split, rng: random.Random) -> list[Row]:
        rows: list[Row] = []
        for _ in range(count(split)):
            kinds = rng.sample(list(words.KINDS), len(words.KINDS))
            rows.append({"nouns": {kind: rng.choice(NOUN_SPLITS[kind][split]) for kind in kinds},
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


class Numbers(MiniTask):
    name, title, group, n_options = "numbers", "Numbers", "in-context", 4
    about = "One or ten more or less than a number, as only the demonstrations show."

    def draw_rule(self, rng: random.Random) -> Any:
        return {"step": rng.choice(STEPS)}

    def draw_rows(self, split: Split, rng: random.Random) -> list[Row]:
        return [{"number": n} for n in cycle(NUMBER_SPLITS[split], 100 if split == "train" else N_QUERIES, rng)]

    def example(self, row: Row, rule: Any = None) -> Example:
        return question(f"{row['number']}" + ARROW, [str(row["number"] + step) for step in STEPS],
                        STEPS.index(rule["step"]))


# ------------------------------------------------------------------------------------------------- splits

OPPOSITE = {a: b for pair in words.ANTONYMS for a, b in (pair, pair[::-1])}
MEETINGS = ("meet", "call", "help", "follow", "watch", "greet", "chase", "invite")
STATES = ("tired", "glad", "hungry", "late", "angry", "busy", "ready", "surprised", "thirsty", "lucky")
FORMS = {"past": words.past, "third": words.third_person, "ing": words.ing}
STEPS = (1, -1, 10, -10)

ADJECTIVE_SPLITS = {split: [word for pair in pairs for word in pair]
                    for split, pairs in words.partition(words.ANTONYMS, 15, "antonyms").items()}
VERB_SPLITS = words.partition(list(words.VERBS), 30, "verbs")
COUNTRY_SPLITS = words.partition(list(words.country_facts()), 30, "countries")
NOUN_SPLITS = {kind: words.partition(nouns.split(), 4, kind) for kind, nouns in words.KINDS.items()}
ALL_NOUN_SPLITS = {split: [noun for kind in words.KINDS for noun in NOUN_SPLITS[kind][split]] for split in VERB_SPLITS}
MOOD_SPLITS = (words.partition(words.PRAISE, 15, "praise"), words.partition(words.BLAME, 15, "blame"))
NUMBER_SPLITS = words.partition(range(11, 90), 30, "numbers")
COUPLES = words.partition(list(product(words.WOMEN, words.MEN)), 100, "couples")

# Read in the first stages of training, not asked in the suite: the bundled model never learned them (its card has the
# figures), so that switching heads off would show nothing.
TRAINING_ONLY = ("who", "recall", "numbers")

CANDIDATES: dict[str, MiniTask] = {  # everything the bundled model is trained on
    task.name: task
    for task in (
        Antonym(ADJECTIVE_SPLITS), Past(VERB_SPLITS), Capital(COUNTRY_SPLITS), Continent(COUNTRY_SPLITS),
        Plural(ALL_NOUN_SPLITS), Kind(ALL_NOUN_SPLITS),
        Pronoun(), Transfer(), Who(), Negation(),
        LabelKind(), LabelMood(), LabelForm(), Recall(), Pick(), Form(), Numbers(),
    )
}
MINI: dict[str, Task] = {name: task for name, task in CANDIDATES.items() if name not in TRAINING_ONLY}
