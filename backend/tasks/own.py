"""Bring your own task: lines of {"query", "options", "gold"}, a name, and a template.

A task is one file, of which a fixed half serves as demonstrations and training rows, or a folder with `train.jsonl`
and `validation.jsonl`. The first line of a file may describe the task:

    {"name": "capitals", "template": "Country: {query}\\nCapital: {answer}", "preamble": "Name the capital.\\n\\n"}
    {"query": "France", "options": ["Rome", "Paris"], "gold": 1}

The template says how a demonstration reads. A question is its text before `{answer}`; the blanks
just before `{answer}` begin every option, as one space does in the study. The preamble stands before everything.
A JSON array of such rows is read too, and a `task.json` of BIG-bench whose examples have `target_scores`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import demo, places
from ..errors import BadInput, DataError, HeadroomError
from . import files
from .data import divide
from .questions import EXPECTED, as_name, read_questions
from .task import Example, Row, Split, Task, multiple_choice

FOLDER_SETTING = "HEADROOM_TASKS"
DEFAULT_FOLDER = places.LIVE / "tasks"
DEFAULT_TEMPLATE = "{query} {answer}"


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
        preamble: str = "",
    ) -> None:
        self.name, self.title = f"own:{_checked(name)}", name
        self.about = f"Your own task, {len(train)} rows to learn from and {len(validation)} to answer."
        self.source = "your file"
        self.template, self.preamble = Template(template), preamble
        self._rows: dict[Split, Sequence[Row]] = {"train": tuple(train), "validation": tuple(validation), "test": ()}

    def rows(self, split: Split) -> Sequence[Row]:
        return self._rows[split]

    def example(self, row: Row, rule: Any = None) -> Example:
        example = self.template.example(row["query"], row["options"], row["gold"])
        return dataclasses.replace(example, preamble=self.preamble) if self.preamble else example


def read_task(path: str | Path, name: str | None = None, template: str | None = None) -> OwnTask:
    """The task in a file, or in a folder of `validation.jsonl` and `train.jsonl`, or of a `task.json`.

    An unchanged file is read once; an edited or replaced one is seen at once.

    Args:
        name, template: instead of those in the file's first line; without either, the file's or
            folder's name and "{query} {answer}".

    Raises:
        DataError: if there is no such file, or lines are malformed: each is named with its number.
        BadInput: if the name or the template cannot be used.
    """
    path = Path(os.path.expanduser(path))
    if not os.path.isdir(path):
        if (stamp := files.stamp(path)) is None:
            raise DataError(f"There is no file {str(path)!r}. Give a .jsonl file, or a folder that holds "
                            "validation.jsonl.")
        return _read(path, stamp, None, None, name, template, path.stem)
    for asked, learned in ((path / "validation.jsonl", path / "train.jsonl"), (path / "task.json", None)):
        if (stamp := files.stamp(asked)) is not None:
            return _read(asked, stamp, learned, files.stamp(learned) if learned else None, name, template, path.name)
    raise DataError(f"{path / 'validation.jsonl'} is missing: a task's folder holds validation.jsonl and, for "
                    "demonstrations and rankings, train.jsonl; or a task.json of BIG-bench.")


@lru_cache(maxsize=64)
def _read(
    asked: Path, stamp: files.Stamp, learned: Path | None, learned_stamp: files.Stamp | None,
    name: str | None, template: str | None, default_name: str,
) -> OwnTask:
    """The task in these very files; `learned` None: half of the rows; no stamp: there are no training rows."""
    train = None if learned is None else files.read_text(learned) if learned_stamp else ""
    return _parsed(files.read_text(asked), asked.name, train, name, template, default_name)


def parse_task(
    text: str | bytes, name: str | None = None, template: str | None = None, train: str | bytes | None = None,
    default_name: str = "my_task",
) -> OwnTask:
    """The task in uploaded text: `text` holds all rows, or the questions when `train` holds the training rows.

    Raises: as `read_task`; BadInput also in a demo.
    """
    demo.refuse("bring tasks")
    where = f"{name or default_name}.jsonl" if train is None else "validation.jsonl"
    return _parsed(text, where, train, name, template, default_name)


def _parsed(
    text: str | bytes, where: str, train: str | bytes | None, name: str | None, template: str | None,
    default_name: str,
) -> OwnTask:
    files.decoded(template or "", "The template")
    asked, header = read_questions(text, where)
    if train is None:
        learned, asked = divide(asked, share=0.5)
    else:
        learned, train_header = read_questions(train, "train.jsonl", also=asked)
        header = {**train_header, **header}
    if not asked:
        raise DataError(f"There are no questions in '{name or default_name}'. {EXPECTED}")
    chosen = name or header.get("name") or as_name(default_name) or "my_task"
    return OwnTask(chosen, learned, asked, template or header.get("template") or DEFAULT_TEMPLATE,
                   header.get("preamble", ""))


# Kept tasks: what was uploaded once can be named later, by pages and command line alike


def folder() -> Path:
    """Where kept tasks lie: `HEADROOM_TASKS`, or the live cache."""
    return Path(os.environ.get(FOLDER_SETTING) or DEFAULT_FOLDER).expanduser()


def kept() -> list[str]:
    """Names of the kept tasks, without 'own:'; no rows are read."""
    names = (path.parent.name for path in folder().glob("*/validation.jsonl"))
    return sorted(name for name in names if _NAME.fullmatch(name))


def keep(task: OwnTask, replace: bool = False) -> Path:
    """Write a task where its name finds it again; the folder it lies in.

    Whatever interrupts it, the rows found afterwards are all of this task, all of the one before, or none.

    Args:
        replace: put it in the place of another task of the same name. Stored results of that one stay, but no page
            or command finds its rows again.

    Raises:
        BadInput: if other rows are kept under that name, unless they are to be replaced.
        DataError: if the files cannot be written.
    """
    demo.refuse("keep tasks")
    place = folder() / task.title
    if _is_kept(task):
        return place
    if not replace:
        refuse_other(task)
    header = {"name": task.title, "template": task.template.text}
    if task.preamble:
        header["preamble"] = task.preamble
    splits: tuple[Split, ...] = ("train", "validation")
    try:
        place.mkdir(parents=True, exist_ok=True)
        for split in splits:
            lines = [json.dumps(row, ensure_ascii=False) for row in (header, *task.rows(split))]
            (place / f"{split}.jsonl.part").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        (place / "validation.jsonl").unlink(missing_ok=True)  # without it a task does not count as kept
        for split in splits:
            (place / f"{split}.jsonl.part").replace(place / f"{split}.jsonl")
    except OSError as error:
        raise DataError(f"Task '{task.title}' cannot be kept in {place}: {error.strerror or error}. Make room there, "
                        f"or name another folder in {FOLDER_SETTING}.") from error
    return place


def refuse_other(task: OwnTask) -> None:
    """Raises: BadInput: if other rows than this task's are kept under its name."""
    if task.title in kept() and not _is_kept(task):
        raise BadInput(f"Another task is kept as '{task.title}'. Choose another name, or remove "
                       f"{folder() / task.title}.")


def _is_kept(task: OwnTask) -> bool:
    try:
        return task.title in kept() and read_task(folder() / task.title, task.title).digest == task.digest
    except HeadroomError:  # what is kept there cannot be read: it is another
        return False


def remove(name: str) -> None:
    """Delete a kept task's rows; stored results of it stay.

    Raises:
        BadInput: if no task is kept under that name.
    """
    demo.refuse("remove tasks")
    if name not in kept():
        raise BadInput(f"No task of your own is kept as '{name}'. Kept: {', '.join(kept()) or 'none'}.")
    shutil.rmtree(folder() / name)


_AT_HAND: ContextVar[Mapping[str, OwnTask] | None] = ContextVar("at hand", default=None)


@contextmanager
def at_hand(tasks: Iterable[Task]) -> Iterator[None]:
    """Inside, the own tasks among `tasks` are found by their names, kept or not: a plan needs them, and keeps none."""
    token = _AT_HAND.set({task.title: task for task in tasks if isinstance(task, OwnTask)})
    try:
        yield
    finally:
        _AT_HAND.reset(token)


def find(name_or_path: str) -> OwnTask:
    """The task at hand or kept under that name, or the task in that file or folder; unchanged files are read once."""
    if task := (_AT_HAND.get() or {}).get(name_or_path):
        return task
    if name_or_path in kept():
        return read_task(folder() / name_or_path, name_or_path)
    if Path(name_or_path).suffix or "/" in name_or_path or os.path.exists(name_or_path):
        return read_task(name_or_path)
    raise BadInput(f"No task of your own is called {name_or_path!r}. Kept: {', '.join(kept()) or 'none'}. "
                   "Give own:<path of a .jsonl file or folder>, or add the file in the explorer.")


_NAME = re.compile(r"[^\W_][\w-]{0,63}")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name!r} cannot name a task: use letters, digits, _ and -, at most 64.")
    return name
