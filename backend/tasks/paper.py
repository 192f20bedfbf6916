"""The study's 14 tasks and the two it held out, worded as the evaluation harness of 2022 worded them.

Each task is one row of a table: where its rows come from (`data.SOURCES`) and a function that
reads one row. Prompts, options and gold equal, text for text, those of lm-evaluation-harness at
commit 11fa0bf, with which the study was made; its oddities are kept and named here.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ..errors import DataError
from . import data, files
from .notices import peculiarities
from .task import Example, Metric, Row, Split, Task, multiple_choice


class PaperTask(Task):
    """A task whose rows lie on the hub or in a local folder of the same layout."""

    def __init__(
        self, name: str, title: str, about: str, read: Callable[[Row], Example], texts: str,
        metric: Metric = "acc", group: str = "paper",
    ) -> None:
        """
        Args:
            read: one row as an example.
            texts: the fields that hold a text or a list of texts, with blanks between.
        """
        self.name, self.title, self.about, self.metric, self.group = name, title, about, metric, group
        source = data.SOURCES[name]
        self.source = source.hub + (f", {source.config}" if source.config else "")
        self._read, self._texts = read, tuple(texts.split())

    def rows(self, split: Split) -> data.Rows:
        return data.load_rows(self.name, split)

    @property
    def origin(self) -> str:
        """Where the rows were loaded from, with the revision: for the record beside a result."""
        return data.origin(self.name)

    def place(self, split: Split, doc: int) -> str:
        place = self.rows(split).place(doc)
        return super().place(split, doc) + (f", {place}" if place else "")

    def example(self, row: Row, rule: Any = None) -> Example:
        try:
            for field in self._texts:
                _check_text(field, row[field])
            # The contexts of ReCoRD end in a line break, which the 2022 harness does not score.
            return replace(self._read(_Given(row)), keeps_blanks=True)
        except DataError as error:
            raise DataError(f"Task '{self.name}': {error}") from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"A row of task '{self.name}' does not have the layout of {self.source}: {error!r}. "
                            f"Its fields are {', '.join(map(str, row))}.") from error

    @property
    def fingerprint(self) -> str:  # not kept for good: HEADROOM_DATA may change
        return _fingerprint(self, self.rows("train"), self.rows("validation"))

    def notices(self) -> list[str]:
        return list(_notices(self, self.rows("train"), self.rows("validation")))

    def _digest(self) -> str:
        """As every task's; where the hub's revision is known, of its name, which saves reading every row."""
        revision = data.hub_revision(self.name)
        if not revision:
            return super()._digest()
        wording = [repr([self.ask(split, doc) for doc in range(len(self.rows(split)))[:3]]) + str(len(self.rows(split)))
                   for split in ("train", "validation")]  # their numbers, because our own code divides and narrows them
        return hashlib.sha256("|".join([self.name, self.source, revision, *wording]).encode()).hexdigest()[:12]


@lru_cache(maxsize=64)
def _fingerprint(task: PaperTask, train: data.Rows, validation: data.Rows) -> str:
    """Kept as long as these very rows are those in use."""
    return task._digest()


@lru_cache(maxsize=64)
def _notices(task: PaperTask, train: data.Rows, validation: data.Rows) -> list[str]:
    return peculiarities(task)


class _Given(dict[str, Any]):
    """A row of which no null is read: sliced by one, a sentence would be whole."""

    def __getitem__(self, field: str) -> Any:
        if (value := super().__getitem__(field)) is None:
            raise DataError(f"'{field}' is null.")
        return value


def _check_text(field: str, value: Any) -> None:
    """Raises: DataError: if a field is no text and no list of texts; None would be read as the word "None"."""
    if isinstance(value, str):
        return
    texts = value if isinstance(value, Sequence) else [value]
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            what = f"item {i} of '{field}'" if texts is value else f"'{field}'"
            raise DataError(f"{what} is {files.kind(text)}, where text was expected.")


class WinogradSchema(PaperTask):
    """WSC, whose training split is its positive rows: the 2022 harness demonstrates with nothing else."""

    def rows(self, split: Split) -> data.Rows:
        rows = super().rows(split)
        return _positive(rows) if split == "train" else rows


@lru_cache(maxsize=4)
def _positive(rows: data.Rows) -> data.Rows:
    return rows.only([i for i, row in enumerate(rows) if row.get("label") == 1])


# How one row reads, task by task


def hellaswag(row: Row) -> Example:
    context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    return multiple_choice(_without_markup(context), [_without_markup(e) for e in row["endings"]], int(row["label"]))


def _without_markup(text: str) -> str:
    """WikiHow's brackets removed. Double spaces go once over, so that some remain, as in 2022."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def piqa(row: Row) -> Example:
    return multiple_choice(f"Question: {row['goal']}\nAnswer:", [row["sol1"], row["sol2"]], row["label"])


def arc(row: Row) -> Example:
    texts, gold = _lettered(row)
    return multiple_choice(f"Question: {row['question']}\nAnswer:", texts, gold)


def openbookqa(row: Row) -> Example:
    texts, gold = _lettered(row)
    return multiple_choice(row["question_stem"], texts, gold)


def _lettered(row: Row) -> tuple[list[str], int]:
    """The texts of `choices` and the place of `answerKey` among its labels (letters, in a few rows digits)."""
    choices = row["choices"]
    if not isinstance(choices, Mapping):  # some copies hold a list of {text, label}, the hub columns
        choices = {name: [choice[name] for choice in choices] for name in ("text", "label")}
    for column in ("text", "label"):
        _check_text(f"choices.{column}", choices[column])
    labels, key = choices["label"], row["answerKey"].strip()
    if key not in labels:
        raise DataError(f"The gold option '{key}' is out of range: the options are labelled {', '.join(labels)}.")
    return choices["text"], labels.index(key)


def winogrande(row: Row) -> Example:
    """Each option completes the context; what is scored is the rest of the sentence after it."""
    before, after = row["sentence"].split("_", 1)
    contexts = (before + row["option1"], before + row["option2"])
    gold = {"1": 0, "2": 1}.get(str(row["answer"]), -1)
    rest = " " + after.strip()
    return Example(contexts, (rest, rest), (gold,), contexts[gold] + rest)


def boolq(row: Row) -> Example:
    return _yes_or_no(f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:", row["label"])


def cb(row: Row) -> Example:
    context = f"{row['premise']}\nQuestion: {row['hypothesis']}. True, False or Neither?\nAnswer:"
    return multiple_choice(context, ["True", "False", "Neither"], row["label"])


def copa(row: Row) -> Example:
    """The premise without its full stop, a connective, and each choice as the sentence's end."""
    connective = {"cause": "because", "effect": "therefore"}[row["question"]]
    choices = [choice[:1].lower() + choice[1:] for choice in (row["choice1"], row["choice2"])]
    return multiple_choice(f"{row['premise'].strip()[:-1]} {connective}", choices, row["label"])


def multirc(row: Row) -> Example:
    """One candidate answer; all answers of a question form a group, right when each is judged right."""
    context = f"{row['paragraph']}\nQuestion: {row['question']}\nAnswer:"
    options = [f"{row['answer']}\nIs the answer correct? {word}" for word in ("yes", "no")]
    index = _Given(row["idx"])
    return multiple_choice(context, options, _yes_first(row["label"]), f"{index['paragraph']}/{index['question']}")


def record(row: Row) -> Example:
    """The query with each entity in the gap. Gold are the entities that equal an answer once normalised.

    The first gold option is the answer that the harness demonstrates: the first in sorted order.
    """
    text, *highlights = row["passage"].strip().split("\n@highlight\n")
    context = f"{text}\n\n" + "".join(f"  - {highlight}.\n" for highlight in highlights)
    entities, answers = sorted(set(row["entities"])), sorted(set(row["answers"]))
    options = tuple(f"  - {row['query']}".replace("@placeholder", entity) for entity in entities)
    right = {_normalised(answer) for answer in answers}
    gold = [i for i, entity in enumerate(entities) if _normalised(entity) in right]
    gold.sort(key=lambda i: entities[i] != answers[0])
    shown = f"  - {row['query']}".replace("@placeholder", answers[0])
    return Example((context,) * len(options), options, tuple(gold), context + shown)


def record_f1(row: Row, choice: int) -> float:
    """Beside the exact match of ReCoRD: the words of the chosen entity against those of the closest answer.

    Harmonic mean of precision and recall over normalised words, repeated ones counted; from 0 to 1.
    """
    chosen = Counter(_normalised(sorted(set(row["entities"]))[choice]).split())

    def f1(answer: Counter[str]) -> float:
        if not chosen or not answer:
            return float(chosen == answer)
        return 2 * (chosen & answer).total() / (chosen.total() + answer.total())

    return max(f1(Counter(_normalised(answer).split())) for answer in row["answers"])


def _normalised(answer: str) -> str:
    """SQuAD's normalisation before an exact match: lower case, no punctuation, no articles, single spaces."""
    bare = "".join(c for c in answer.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def rte(row: Row) -> Example:
    context = f"{row['premise']}\nQuestion: {row['hypothesis']} True or False?\nAnswer:"
    return multiple_choice(context, ["True", "False"], row["label"])


def wic(row: Row) -> Example:
    word = row["sentence1"][row["start1"]:row["end1"]]
    context = (f"Sentence 1: {row['sentence1']}\nSentence 2: {row['sentence2']}\n"
               f"Question: Is the word '{word}' used in the same way in the two sentences above?\nAnswer:")
    return _yes_or_no(context, row["label"])


def wsc(row: Row) -> Example:
    text, pronoun = row["text"], row["span2_text"]
    before = " ".join(text.split()[:row["span2_index"]])  # span indices count words
    after = text[len(before) + len(pronoun) + 1:]
    context = (f"Passage: {_detokenised(f'{before} *{pronoun}*{after}')}\n"
               f'Question: In the passage above, does the pronoun "*{pronoun}*" refer to "*{row["span1_text"]}*"?\n'
               "Answer:")
    return _yes_or_no(context, row["label"])


def _detokenised(text: str) -> str:
    for spaced, joined in ((" n't", "n't"), (" )", ")"), ("( ", "("), ('" ', '"'), (' "', '"')):
        text = text.replace(spaced, joined)
    return re.sub(r" (['.,])", r"\1", text)


def mathqa(row: Row) -> Example:
    """Options stand in one string: 'a ) 38 , b ) 27.675 , c ) 30 , d ) data inadequate , e ) none of these'."""
    found = re.findall(r"[abcd] \) .*?, |e \) .*?$", row["options"])
    options = [option[4:].rstrip(" ,") for option in found]
    return multiple_choice(f"Question: {row['Problem']}\nAnswer:", options, "abcde".find(row["correct"]))


def lambada(row: Row) -> Example:
    """The passage without its last word, and that word as the only option: right if decoding would write it."""
    context, word = row["text"].rsplit(" ", 1)
    return multiple_choice(context, [word], 0)


def _yes_or_no(context: str, label: int) -> Example:
    return multiple_choice(context, ["yes", "no"], _yes_first(label))


def _yes_first(label: int) -> int:
    """Where the right word stands in (yes, no), for a label that is 1 for yes; -1 if it is neither 0 nor 1."""
    return {1: 0, 0: 1}.get(label, -1)


_STUDY = (
    PaperTask("hellaswag", "HellaSwag", "How does the scene go on?", hellaswag, "activity_label ctx_a ctx_b endings"),
    PaperTask("piqa", "PIQA", "Which way of doing it works?", piqa, "goal sol1 sol2"),
    PaperTask("arc_easy", "ARC-Easy", "Science questions for school, the easier ones.", arc, "question answerKey"),
    PaperTask("arc_challenge", "ARC-Challenge", "Science questions for school that simple lookup gets wrong.", arc,
              "question answerKey"),
    PaperTask("openbookqa", "OpenBookQA", "Questions that combine a science fact with common sense.", openbookqa,
              "question_stem answerKey"),
    PaperTask("winogrande", "WinoGrande", "Which of two names fills the gap?", winogrande, "sentence option1 option2"),
    PaperTask("boolq", "BoolQ", "Yes or no, after a passage?", boolq, "passage question"),
    PaperTask("cb", "CB", "Does the speaker's text entail the claim, contradict it, or neither?", cb,
              "premise hypothesis"),
    PaperTask("copa", "COPA", "Which is the cause, or the effect?", copa, "premise question choice1 choice2"),
    PaperTask("multirc", "MultiRC", "Is this answer to a question about the passage correct?", multirc,
              "paragraph question answer", "acc_by_group"),
    PaperTask("record", "ReCoRD", "Which entity of the news text fills the gap in the summary?", record,
              "passage query entities answers", "em"),
    PaperTask("rte", "RTE", "Does the text entail the claim?", rte, "premise hypothesis"),
    PaperTask("wic", "WiC", "Is the word used in the same sense in both sentences?", wic, "sentence1 sentence2"),
    WinogradSchema("wsc", "WSC", "Does the pronoun refer to this noun?", wsc, "text span1_text span2_text"),
)
_HELD_OUT = (
    PaperTask("mathqa", "MathQA", "Word problems with five numbers to choose from.", mathqa,
              "Problem options correct", group="held out"),
    PaperTask("lambada", "LAMBADA", "What is the last word of the passage?", lambada, "text", "greedy", "held out"),
)

STUDY: Mapping[str, PaperTask] = {task.name: task for task in _STUDY}
HELD_OUT: Mapping[str, PaperTask] = {task.name: task for task in _HELD_OUT}
PAPER: Mapping[str, PaperTask] = {**STUDY, **HELD_OUT}
