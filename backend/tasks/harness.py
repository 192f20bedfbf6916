"""Any multiple-choice task of lm-evaluation-harness 0.4.13, as `lm_eval:<task>`.

The harness is an extra, imported only when such a task is asked for. Its own code builds the
contexts, options and demonstrations, so that prompts are today's, not those of 2022: its 'boolq'
and ours are two tasks.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

from ..errors import BadInput, DataError
from . import files
from .data import Rows, divide
from .task import SEPARATOR, Example, Row, Split, Task

VERSION = "0.4.13"
FOLDER_SETTING = "HEADROOM_LM_EVAL"  # a folder of task files of one's own, beside the harness's
INSTALL = f"pip install lm_eval=={VERSION}"
MOST_LOADED = 32  # tasks held in memory

_NULL = "zznullzz"  # in place of a null, to see whether it reaches the text


class HarnessTask(Task):
    """A task of the harness. What it evaluates is our validation split, what it demonstrates our training split."""

    group = "lm_eval"

    def __init__(self, task: Any) -> None:
        """
        Args:
            task: a `ConfigurableTask`, loaded.

        Raises:
            BadInput: if it is no multiple-choice task on text.
        """
        config, shots = task.config, task.fewshot_cfg
        self.name, self.title, self._task = f"lm_eval:{config.task}", config.task, task
        if config.output_type != "multiple_choice" or config.doc_to_image or config.doc_to_audio:
            raise BadInput(f"'{self.name}' cannot be scored here: it is of the kind '{config.output_type}', or shows "
                           "images or plays sound. Choose a multiple-choice task on text.")
        if shots.fewshot_delimiter != SEPARATOR:
            raise BadInput(f"'{self.name}' separates its demonstrations by {shots.fewshot_delimiter!r}; only a blank "
                           "line is supported.")
        self.about = about(config.task)
        self.source = f"lm_eval {version('lm_eval')}: {config.dataset_path or 'its own data'}"
        asked_split = config.test_split or config.validation_split
        shown_split = shots.split or ("samples" if shots.samples else config.training_split or config.validation_split)
        asked, shown = task.eval_docs, task.fewshot_docs()
        if shown is None or (shown_split or asked_split) == asked_split:  # nothing else to show: set some rows aside
            shown, asked = divide(Rows(asked))
        self._rows = {"train": Rows(shown), "validation": Rows(asked), "test": Rows(())}

    def rows(self, split: Split) -> Sequence[Row]:
        return self._rows[split]

    def ask(self, split: Split, doc: int, rule: Any = None) -> Example:
        """As every task's; also refuses rows of which a null would be read as the word "None"."""
        example, row = super().ask(split, doc, rule), self.rows(split)[doc]
        for field, marked in _without_nulls(row):
            try:
                shown = repr(self.example({**row, field: marked}))
            except DataError:
                continue  # no text is expected there
            if _NULL in shown and shown.replace(_NULL, "None") == repr(example):
                raise DataError(f"Task '{self.name}': '{field}' is null, or holds one, and would be read as 'None'. "
                                f"It is {self.place(split, doc)}.")
        return example

    def example(self, row: Row, rule: Any = None) -> Example:
        task = self._task
        try:
            options = task.doc_to_choice(row)
            gold = self._gold(row, options)
            preamble = task.resolve_field(row, task.config.description) or ""
            context = task.fewshot_context(row, 0, gen_prefix=task.doc_to_prefix(row))
            # The harness may append unconditional requests for a metric; the options' own come first.
            requests = [request.args for request in task.construct_requests(row, context)][:len(options)]
            return Example(
                contexts=tuple(request[0].removeprefix(preamble) for request in requests),
                options=tuple(request[1] for request in requests),
                gold=tuple(gold),
                demonstration=self._demonstration(row),
                preamble=preamble,
                delimiter=len(task.config.target_delimiter),
            )
        except DataError as error:
            raise DataError(f"Task '{self.name}': {error}") from error
        except Exception as error:  # templates raise what they like
            raise DataError(f"The harness cannot word a row of '{self.name}': {error!r}. "
                            f"Its fields are {', '.join(map(str, row))}.") from error

    def _gold(self, row: Row, options: Sequence[str]) -> list[int]:
        """The right options as `ConfigurableTask.process_results` reads them, which may be numbers or texts."""
        gold = self._task.doc_to_text(row) if self._task.multiple_input else self._task.doc_to_target(row)
        several = gold if isinstance(gold, list) else [gold]
        if wrong := [g for g in several if not (g in options if isinstance(g, str) else 0 <= g < len(options))]:
            raise DataError(f"The gold option {wrong} is out of range: there are {len(options)} options.")
        return [options.index(g) if isinstance(g, str) else int(g) for g in several]

    def _demonstration(self, row: Row) -> str:
        """The row with its answer, as `ConfigurableTask.fewshot_context` writes each shot."""
        task, shots = self._task, self._task.fewshot_cfg
        query = task.doc_to_text(row, shots.doc_to_text)
        choices: Any = task.doc_to_choice(row, shots.doc_to_choice) if shots.doc_to_choice else None
        if task.multiple_input:  # the query is the number of the right choice
            query, choices = choices[query], None
        messages = task.build_qa_turn(
            q=query, c=choices, a=task.doc_to_target(row, shots.doc_to_target),
            gen_prefix=task.resolve_field(row, shots.gen_prefix), tgt_delim=shots.target_delimiter, few_delim="",
        )
        return "".join(message.to_text() for message in messages)


def about(name: str) -> str:
    """What is asked, as far as a name tells."""
    return f"'{name}' as lm-evaluation-harness words it today."


def load_task(name: str) -> HarnessTask:
    """The harness's task of that name, its rows loaded from wherever the harness finds them.

    Kept in memory as long as the task files of one's own folder and the local files of rows are what they were.

    Raises:
        BadInput: if the harness is not installed, has no such task, or it is no multiple choice.
        DataError: if the task's rows cannot be loaded.
    """
    folder = os.environ.get(FOLDER_SETTING, "")
    wording = _state(_inside(folder)) if folder else ()
    known = _LOADED.get((name, folder))
    if known and known[0] == (wording, _state(known[1])):
        return known[2]
    task = _load(name, _manager(folder, wording))
    rows = tuple(_local_files(task))
    with _LOCK:
        _LOADED[name, folder] = (wording, _state(rows)), rows, task
        while len(_LOADED) > MOST_LOADED:
            _LOADED.pop(next(iter(_LOADED)))
    return task


_State = tuple[tuple[str, files.Stamp | None], ...]  # files as they were
_LOADED: dict[tuple[str, str], tuple[tuple[_State, _State], tuple[str, ...], HarnessTask]] = {}
_LOCK = Lock()


def _state(paths: Iterable[str]) -> _State:
    return tuple((path, files.stamp(Path(path))) for path in paths)


def _inside(folder: str) -> list[str]:
    """The files in a folder that can word a task, in a fixed order."""
    return sorted(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names
                  if name.endswith((".yaml", ".yml", ".py")))


def _local_files(task: HarnessTask) -> Iterator[str]:
    """The files on this machine that a task's configuration names as its rows."""
    config = task._task.config
    named = [config.dataset_path, *(config.dataset_kwargs or {}).values()]
    while named:
        value = named.pop()
        if isinstance(value, dict | list | tuple):
            named += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str):
            for path in sorted(glob.glob(value, recursive=True)):
                if os.path.isdir(path):
                    yield from sorted(os.path.join(place, name) for place, _, names in os.walk(path) for name in names)
                else:
                    yield path


def _without_nulls(row: Row) -> Iterator[tuple[str, Any]]:
    """The fields that are null or lists with a null, each with the mark in its place."""
    for field, value in row.items():
        if value is None:
            yield field, _NULL
        elif isinstance(value, list) and None in value:
            yield field, [_NULL if item is None else item for item in value]


def _load(name: str, manager: Any) -> HarnessTask:
    if name not in manager.all_subtasks:
        if name in manager.all_tasks:
            raise BadInput(f"'lm_eval:{name}' is a group of tasks. Name one of them; `lm-eval ls tasks` lists all.")
        close = get_close_matches(name, manager.all_subtasks, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise BadInput(f"lm-evaluation-harness has no task '{name}'.{hint} `lm-eval ls tasks` lists all.")
    try:
        task = manager.load(name)["tasks"][name]
    except Exception as error:  # data sets, templates and metrics each raise their own
        reason = str(error).strip().split("\n")[0].rstrip(".")
        offline = " There is no network: the task's data must be in the local cache." * isinstance(
            error, ConnectionError)
        raise DataError(f"lm-evaluation-harness cannot load '{name}': {reason} ({type(error).__name__}).{offline}"
                        ) from error
    return HarnessTask(task)


@lru_cache(maxsize=2)
def _manager(folder: str, wording: _State) -> Any:
    """The harness's index of 13,000 task files, some ten seconds of reading; anew where those in `folder` changed."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise BadInput(f"Tasks named lm_eval:<task> need lm-evaluation-harness, which is not installed here "
                       f"({error}). Install it: {INSTALL}") from error
    return TaskManager(include_path=folder or None)
