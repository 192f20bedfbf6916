"""Questions out of people's files: lines of JSON, one JSON array, or a `task.json` of BIG-bench.

Every fault is told with its place in the file, several at once, and with what was expected there.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import DataError
from .files import decoded, json_lines, json_start, kind
from .task import Row

FIELDS = ("query", "options", "gold")
DESCRIPTION = ("name", "template", "preamble")
EXPECTED = 'Each line is {"query": text, "options": [text, text, ...], "gold": number of the right option, from 0}.'
EXPECTED_EXAMPLE = 'Each example is {"input": text, "target_scores": {text: 1, text: 0, ...}}, with one best score.'
MOST_ERRORS_SHOWN = 5


def read_questions(
    raw: str | bytes, where: str, also: Sequence[Row] = (),
) -> tuple[tuple[Row, ...], Mapping[str, str]]:
    """(rows, description) of a file's text; no row may ask what a row before it, or one of `also`, asks.

    Args:
        where: the file's name, for messages.

    Raises:
        DataError: naming what cannot be read, line by line.
    """
    contents = _contents(decoded(raw, where), where)
    rows: list[Row] = []
    header = contents.header
    errors: list[str] = []
    seen = {_question(row): "among the validation rows" for row in also}
    for number, value in contents.values:
        if not rows and not header and not errors and _describes(value):
            header = {key: value[key] for key in DESCRIPTION if value.get(key)}
            continue
        problems = [value] if isinstance(value, _Fault) else list(_problems(value))
        if not problems:
            row = _row(value)
            here = f"{contents.at} {number}"
            if (earlier := seen.setdefault(_question(row), here)) != here:
                problems = [f"the same query and options stand {earlier}; each question may be asked once"]
            rows.append(row)
        errors += [f"{where}, {contents.unit} {number}: {problem}." for problem in problems]
    if errors:
        more = len(errors) - MOST_ERRORS_SHOWN
        raise DataError("\n".join(errors[:MOST_ERRORS_SHOWN] + [f"... and {more} more."] * (more > 0)
                                  + [contents.expected]))
    return tuple(rows), header


def as_name(text: str) -> str:
    """A text as a task may be called: letters, digits and _, at most 64; empty where nothing is left."""
    return re.sub(r"\W+", "_", text).strip("_")[:64]


# What kind of file it is


@dataclass(frozen=True)
class _Contents:
    """What a file holds: (number from 1, value) of each row, in the file's own units."""

    values: Iterable[tuple[int, Any]]
    unit: str = "line"
    at: str = "on line"
    expected: str = EXPECTED
    header: Mapping[str, str] = field(default_factory=dict)


class _Fault(str):
    """In place of a row that could not be made: why, in a few words."""


def _contents(text: str, where: str) -> _Contents:
    whole = _document(text, where)
    if isinstance(whole, list):
        return _Contents(enumerate(whole, start=1), "row", "in row", EXPECTED.replace("line", "row"))
    if isinstance(whole, dict) and "examples" in whole and not set(FIELDS) & set(whole):
        return _big_bench(whole, where)
    if isinstance(whole, dict) and not {*FIELDS, *DESCRIPTION} & set(whole):
        names = ", ".join(repr(name[:20]) for name in list(whole)[:8])
        raise DataError(f"{where} is one JSON object with {f'the fields {names}' if whole else 'no fields'}, not rows. "
                        f"Write its rows one on each line, or as one JSON array. {EXPECTED}")
    if isinstance(whole, dict):
        return _Contents([(1, whole)])
    return _Contents(json_lines(text, where))


def _document(text: str, where: str) -> Any:
    """The list or object that a whole file is; None for a file of lines, sound or not."""
    first_line = text.lstrip().partition("\n")[0].strip()
    if first_line[:1] not in ("[", "{"):
        return None
    surely = first_line == "{" or first_line[0] == "["  # no line of questions begins so
    try:
        value, rest = json_start(text, where)
    except json.JSONDecodeError as error:
        if surely:
            raise DataError(f"{where}, line {error.lineno}: not valid JSON ({error.msg}, column {error.colno})."
                            ) from error
        return None
    except DataError:
        if surely:
            raise
        return None  # said again with the number of its line
    return None if rest.strip() else value


# BIG-bench


def _big_bench(task: Mapping[str, Any], where: str) -> _Contents:
    """A task of BIG-bench: its examples as rows, its prefixes as template; the format's defaults where it has none.

    As BIG-bench does, options are listed behind the question unless the task forbids it, in a mixed order (files often
    name the right one first), and examples that are there twice are taken once.
    Source: https://github.com/google/BIG-bench/blob/main/docs/doc.md
    """
    examples = task["examples"]
    if not isinstance(examples, list) or not examples:
        raise DataError(f"{where} looks like a task of BIG-bench, but its 'examples' are {kind(examples)}, not a list "
                        f"of examples. {EXPECTED_EXAMPLE}")
    if not any(isinstance(example, dict) and "target_scores" in example for example in examples):
        raise DataError(
            f"{where} is a task of BIG-bench in which the model writes its answer freely: its examples have no "
            "'target_scores'. Only a choice among options can be scored here. Take a multiple-choice task, or add "
            f"wrong answers. {EXPECTED_EXAMPLE}")
    texts = {"example_input_prefix": "\nQ: ", "example_output_prefix": "\nA: ", "choice_prefix": "\n  choice: ",
             "task_prefix": "", "name": "", **{key: value for key, value in task.items() if value is not None}}
    for key in ("example_input_prefix", "example_output_prefix", "choice_prefix", "task_prefix", "name"):
        if not isinstance(texts[key], str):
            raise DataError(f"{where}: '{key}' is {kind(texts[key])}, not text.")
    before = texts["example_input_prefix"].lstrip("\n")  # demonstrations are a blank line apart as it is
    header = {"template": f"{before}{{query}}{texts['example_output_prefix']}{{answer}}"}
    if name := as_name(texts["name"]):
        header["name"] = name
    if texts["task_prefix"]:
        between = texts["example_input_prefix"].removesuffix(before)
        header["preamble"] = texts["task_prefix"] + between
    listed = texts["choice_prefix"] if task.get("append_choices_to_input", True) else None
    return _Contents(_rows_of_examples(examples, listed), "example", "in example", EXPECTED_EXAMPLE, header)


def _rows_of_examples(examples: Sequence[Any], choice_prefix: str | None) -> Iterator[tuple[int, Any]]:
    seen = set()
    for number, example in enumerate(examples, start=1):
        row = _row_of_example(example, choice_prefix)
        same = json.dumps(row)
        if isinstance(row, _Fault) or same not in seen:
            yield number, row
        seen.add(same)


def _row_of_example(example: Any, choice_prefix: str | None) -> Mapping[str, Any] | _Fault:
    """One example as a row; with a `choice_prefix`, its options are listed behind the question."""
    if not isinstance(example, dict):
        return _Fault(f"{kind(example)} where an object was expected")
    query, scores = example.get("input"), example.get("target_scores")
    if not isinstance(query, str) or not query.strip():
        return _Fault(f"'input' is {kind(query)}, not text")
    if not isinstance(scores, dict) or len(scores) < 2:
        return _Fault("'target_scores' must be an object of at least two options and their scores")
    for option, score in scores.items():
        if isinstance(score, bool) or not isinstance(score, int | float):
            return _Fault(f"the score of {option[:20]!r} is {kind(score)}, not a number")
    best = [option for option, score in scores.items() if score == max(scores.values())]
    if len(best) > 1:
        return _Fault(f"the options {best[0][:20]!r} and {best[1][:20]!r} both have the best score; one may be right")
    options = random.Random(query).sample(sorted(scores), len(scores))
    if choice_prefix is not None:
        query += choice_prefix + choice_prefix.join(options)
    return {"query": query, "options": options, "gold": options.index(best[0])}


# One row


def _describes(value: Any) -> bool:
    """Whether a first line describes the task instead of asking something."""
    return (isinstance(value, dict) and not set(FIELDS) & set(value) and bool(set(DESCRIPTION) & set(value))
            and all(isinstance(value.get(key, ""), str) for key in DESCRIPTION))


def _problems(value: Any) -> Iterator[str]:
    """What is wrong with one line, each in a few words."""
    if not isinstance(value, dict):
        yield f"{kind(value)} where an object was expected"
        return
    missing = [name for name in FIELDS if name not in value]
    if missing:
        yield f"{' and '.join(repr(name) for name in missing)} missing"
        return
    query, options, gold = value["query"], value["options"], value["gold"]
    if not isinstance(query, str) or not query.strip():
        yield f"'query' is {kind(query)}, not text"
    if not isinstance(options, list) or len(options) < 2:
        yield "'options' must be a list of at least two texts"
        return
    for i, option in enumerate(options):
        if not isinstance(option, str) or not option.strip():
            yield f"option {i} is {kind(option)}, not text"
    texts = [option.strip() for option in options if isinstance(option, str)]
    if doubled := [text for text, n in Counter(texts).items() if text and n > 1]:
        yield f"the option {doubled[0]!r} stands there twice"
    if not isinstance(gold, int) or isinstance(gold, bool):
        yield f"'gold' is {kind(gold)}, not the number of an option"
    elif not 0 <= gold < len(options):
        yield f"'gold' is {str(gold)[:20]}, but the options are numbered 0 to {len(options) - 1}"


def _row(value: Mapping[str, Any]) -> Row:
    """The three fields alone, without blanks around the texts: the template puts in what is wanted."""
    options = [option.strip() for option in value["options"]]
    return {"query": value["query"].strip(), "options": options, "gold": value["gold"]}


def _question(row: Row) -> tuple[str, ...]:
    return (row["query"], *row["options"])
