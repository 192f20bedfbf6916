"""Bring your own task: lines of {"query", "options", "gold"}, a name, and a template.

A task is one JSONL file, of which a fixed half serves as demonstrations and training rows, or a
folder with `train.jsonl` and `validation.jsonl`. The first line of a file may describe the task:

    {"name": "capitals", "template": "Country: {query}\\nCapital: {answer}"}
    {"query": "France", "options": ["Rome", "Paris"], "gold": 1}

The template says how a demonstration reads. A question is its text before `{answer}`; the blanks
just before `{answer}` begin every option, as one space does in the study.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backend.errors import BadInput, DataError
from backend.tasks.data import decoded, divide, json_lines, read_text
from backend.tasks.task import Example, Row, Split, Task, multiple_choice

FOLDER_SETTING = "HEADROOM_TASKS"
DEFAULT_FOLDER = Path(__file__).parents[2] / "cache" / "live" / "tasks"
DEFAULT_TEMPLATE = "{query} {answer}"
EXPECTED = 'Each line is {"query": text, "options": [text, text, ...], "gold": number of the right option, from 0}.'
MOST_ERRORS_SHOWN = 5


@dataclass(frozen=True)
class Template:
    """How a demonstration reads: text with one `{query}` and, after it, one `{answer}`."""

    text: str = DEFAULT_TEMPLATE

    def __post_init__(self) -> None:
        query, answer = self.text.find("{query}"), self.text.find("{answer}")
        if self.text.count("{query}") != 1 or self.text.count("{answer}") != 1 or query > answer:
            raise BadInput(f"The template {self.text!r} must hold {{query}} once and, after it, {{answer}} once, as in "
                           f"{DEFAULT_TEMPLATE!r} or 'Question: {{query}}\\nAnswer: {{answer}}'.")

    def example(self, query: str, options: Sequence[str], gold: int) -> Example:
        """The question with its options; what follows `{answer}` is shown in demonstrations only."""
        before, after = self.text.split("{answer}")
        asked = before.rstrip()
        plain = multiple_choice(asked.replace("{query}", query), options, gold, delimiter=before[len(asked):])
        return replace(plain, demonstration=plain.demonstration + after)


class OwnTask(Task):
    """A task of someone's own rows, held in memory."""

    group = "own"

    def __init__(
        self, name: str, train: Sequence[Row], validation: Sequence[Row], template: str = DEFAULT_TEMPLATE,
    ) -> None:
        self.name, self.title = f"own:{_checked(name)}", name
        self.about = f"Your own task, {len(train)} rows to learn from and {len(validation)} to answer."
        self.source = "your file"
        self.template = Template(template)
        self._rows: dict[Split, Sequence[Row]] = {"train": tuple(train), "validation": tuple(validation), "test": ()}

    def rows(self, split: Split) -> Sequence[Row]:
        return self._rows[split]

    def example(self, row: Row, rule: Any = None) -> Example:
        return self.template.example(row["query"], row["options"], row["gold"])


def read_task(path: str | Path, name: str | None = None, template: str | None = None) -> OwnTask:
    """The task in a file, or in a folder of `train.jsonl` and `validation.jsonl`.

    Args:
        name, template: instead of those in the file's first line; without either, the file's or
            folder's name and "{query} {answer}".

    Raises:
        DataError: if there is no such file, or lines are malformed: each is named with its number.
        BadInput: if the name or the template cannot be used.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        validation, train = path / "validation.jsonl", path / "train.jsonl"
        if not validation.is_file():
            raise DataError(f"{validation} is missing: a task's folder holds validation.jsonl and, for demonstrations "
                            "and rankings, train.jsonl.")
        return parse_task(read_text(validation), name, template, read_text(train) if train.is_file() else "",
                          default_name=path.name)
    if not path.is_file():
        raise DataError(f"There is no file {path}. Give a .jsonl file, or a folder that holds validation.jsonl.")
    return parse_task(read_text(path), name, template, default_name=path.stem)


def parse_task(
    text: str | bytes, name: str | None = None, template: str | None = None, train: str | bytes | None = None,
    default_name: str = "my_task",
) -> OwnTask:
    """The task in uploaded text: `text` holds all rows, or the questions when `train` holds the training rows.

    Raises: as `read_task`.
    """
    if train is None:
        rows, header = _parse(text, f"{name or default_name}.jsonl")
        learned, asked = divide(rows, share=0.5)
    else:
        asked, header = _parse(text, "validation.jsonl")
        learned, train_header = _parse(train, "train.jsonl", also=asked)
        header = {**train_header, **header}
    if not asked:
        raise DataError(f"There are no questions in '{name or default_name}'. {EXPECTED}")
    from_file = re.sub(r"\W+", "_", default_name).strip("_")[:64]
    chosen = name or header.get("name") or from_file or "my_task"
    return OwnTask(chosen, learned, asked, template or header.get("template") or DEFAULT_TEMPLATE)


# Kept tasks: what was uploaded once can be named later, by pages and command line alike


def folder() -> Path:
    """Where kept tasks lie: `HEADROOM_TASKS`, or the live cache."""
    return Path(os.environ.get(FOLDER_SETTING) or DEFAULT_FOLDER).expanduser()


def kept() -> list[str]:
    """Names of the kept tasks, without 'own:'."""
    return sorted(path.parent.name for path in folder().glob("*/validation.jsonl"))


def keep(task: OwnTask) -> Path:
    """Write a task where its name finds it again; the folder it lies in.

    Raises:
        BadInput: if other rows are kept under that name.
    """
    place = folder() / task.title
    if task.title in kept() and read_task(place).fingerprint != task.fingerprint:
        raise BadInput(f"Another task is kept as '{task.title}'. Choose another name, or remove {place}.")
    place.mkdir(parents=True, exist_ok=True)
    header = {"name": task.title, "template": task.template.text}
    for split in ("train", "validation"):  # validation last: a task without it does not count as kept
        lines = [json.dumps(row, ensure_ascii=False) for row in (header, *task.rows(split))]
        part = place / f"{split}.jsonl.part"
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        part.replace(place / f"{split}.jsonl")
    return place


def remove(name: str) -> None:
    """Delete a kept task's rows; stored results of it stay.

    Raises:
        BadInput: if no task is kept under that name.
    """
    if name not in kept():
        raise BadInput(f"No task of your own is kept as '{name}'. Kept: {', '.join(kept()) or 'none'}.")
    shutil.rmtree(folder() / name)


def find(name_or_path: str) -> OwnTask:
    """The kept task of that name, or the task in that file or folder."""
    if name_or_path in kept():
        return read_task(folder() / name_or_path)
    if Path(name_or_path).suffix or "/" in name_or_path or Path(name_or_path).exists():
        return read_task(name_or_path)
    raise BadInput(f"No task of your own is called '{name_or_path}'. Kept: {', '.join(kept()) or 'none'}. "
                   "Give own:<path of a .jsonl file or folder>, or add the file in the explorer.")


# Reading lines


def _parse(text: str | bytes, where: str, also: Sequence[Row] = ()) -> tuple[tuple[Row, ...], Mapping[str, str]]:
    """(rows, header) of a file's text; no row may ask what a row before it, or one of `also`, asks."""
    if isinstance(text, bytes):
        text = decoded(text, where)
    rows: list[Row] = []
    header: dict[str, str] = {}
    errors: list[str] = []
    seen = {_question(row): "among the validation rows" for row in also}
    for number, value in json_lines(text, where):
        if not rows and not header and not errors and _describes(value):
            header = {key: value[key] for key in ("name", "template") if value.get(key)}
            continue
        problems = list(_problems(value))
        if not problems:
            row = _row(value)
            if (earlier := seen.setdefault(_question(row), f"on line {number}")) != f"on line {number}":
                problems = [f"the same query and options stand {earlier}; each question may be asked once"]
            rows.append(row)
        errors += [f"{where}, line {number}: {problem}." for problem in problems]
    if errors:
        more = len(errors) - MOST_ERRORS_SHOWN
        raise DataError("\n".join(errors[:MOST_ERRORS_SHOWN] + [f"... and {more} more."] * (more > 0) + [EXPECTED]))
    return tuple(rows), header


def _describes(value: Any) -> bool:
    """Whether a first line describes the task instead of asking something."""
    return (isinstance(value, dict) and not {"query", "options", "gold"} & set(value)
            and bool({"name", "template"} & set(value))
            and all(isinstance(value.get(key, ""), str) for key in ("name", "template")))


def _problems(value: Any) -> Iterator[str]:
    """What is wrong with one line, each in a few words."""
    if not isinstance(value, dict):
        yield f"{_kind(value)} where an object was expected"
        return
    missing = [field for field in ("query", "options", "gold") if field not in value]
    if missing:
        yield f"{' and '.join(repr(field) for field in missing)} missing"
        return
    query, options, gold = value["query"], value["options"], value["gold"]
    if not isinstance(query, str) or not query.strip():
        yield f"'query' is {_kind(query)}, not text"
    if not isinstance(options, list) or len(options) < 2:
        yield "'options' must be a list of at least two texts"
        return
    for i, option in enumerate(options):
        if not isinstance(option, str) or not option.strip():
            yield f"option {i} is {_kind(option)}, not text"
    texts = [option.strip() for option in options if isinstance(option, str)]
    if doubled := sorted({text for text in texts if text and texts.count(text) > 1}):
        yield f"the option {doubled[0]!r} stands there twice"
    if not isinstance(gold, int) or isinstance(gold, bool):
        yield f"'gold' is {_kind(gold)}, not the number of an option"
    elif not 0 <= gold < len(options):
        yield f"'gold' is {gold}, but the options are numbered 0 to {len(options) - 1}"


def _kind(value: Any) -> str:
    """A JSON value's kind, as people say it."""
    if isinstance(value, str):
        return "empty" if not value.strip() else f"the text {value[:20]!r}"
    names = {bool: "true or false", int: "a number", float: "a fraction", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


def _row(value: Mapping[str, Any]) -> Row:
    """The three fields alone, without blanks around the texts: the template puts in what is wanted."""
    options = [option.strip() for option in value["options"]]
    return {"query": value["query"].strip(), "options": options, "gold": value["gold"]}


def _question(row: Row) -> tuple[str, ...]:
    return (row["query"], *row["options"])


def _checked(name: str) -> str:
    if not re.fullmatch(r"[^\W_][\w-]{0,63}", name):
        raise BadInput(f"'{name}' cannot name a task: use letters, digits, _ and -, at most 64.")
    return name
