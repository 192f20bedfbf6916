"""Where the paper's rows come from: the Hugging Face hub, or a local folder in the hub's layout.

`HEADROOM_DATA` names a folder of `<task>/{train,validation}.jsonl`; when it is set, nothing is
fetched. Rows are handed on as they are: `paper.py` reads their fields.
"""

from __future__ import annotations

import os
import random
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, overload
from urllib.parse import urlsplit

from ..errors import DataError
from . import files
from .task import Row, Split

FOLDER_SETTING = "HEADROOM_DATA"
WITHOUT_NETWORK = f"Set {FOLDER_SETTING} to a folder of <task>/{{train,validation}}.jsonl, or use the mini suite."


@dataclass(frozen=True)
class Source:
    """A data set on the hub, and which of its splits we call training and validation."""

    hub: str
    config: str | None = None
    train: str | None = "train"
    validation: str = "validation"
    divided: bool = False  # set a fifth aside for demonstrations where there is no training split


class Rows(Sequence[Row]):
    """The rows of one split, each taken from its container when asked for: ReCoRD's 100,000 stay undecoded.

    Hashed by identity, so that what is derived from them can be cached. They know where they come from.
    """

    def __init__(
        self, container: Any, source: str = "", numbers: Sequence[int] | None = None, unit: str = "row",
    ) -> None:
        """
        Args:
            source: what the rows lie in, in words; empty where that is not known.
            numbers: the number there of each row, in `unit`s; None: as they are counted here, from 0.
        """
        self._container, self._source, self._unit = container, source, unit
        self._numbers = range(len(container)) if numbers is None else numbers

    def place(self, index: int) -> str:
        """Where a row stands: 'line 18 of /data/piqa/validation.jsonl'; empty where that is not known."""
        return f"{self._unit} {self._numbers[index]} of {self._source}" if self._source else ""

    def only(self, indices: Sequence[int]) -> Rows:
        """Some of the rows, in the order given."""
        return Rows([self._container[i] for i in indices], self._source, [self._numbers[i] for i in indices],
                    self._unit)

    def __len__(self) -> int:
        return len(self._container)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self._container[i] for i in range(*index.indices(len(self)))]
        row: Row = self._container[index]
        return row


NO_ROWS = Rows(())


def _super_glue(config: str) -> Source:
    return Source("aps/super_glue", config)


# Copies that load without scripts (datasets 4 and later refuse the original repositories' scripts).
SOURCES: Mapping[str, Source] = {
    "hellaswag": Source("Rowan/hellaswag"),
    "piqa": Source("baber/piqa"),
    "arc_easy": Source("allenai/ai2_arc", "ARC-Easy"),
    "arc_challenge": Source("allenai/ai2_arc", "ARC-Challenge"),
    "openbookqa": Source("allenai/openbookqa", "main"),
    "winogrande": Source("allenai/winogrande", "winogrande_xl"),
    "boolq": _super_glue("boolq"),
    "cb": _super_glue("cb"),
    "copa": _super_glue("copa"),
    "multirc": _super_glue("multirc"),
    "record": _super_glue("record"),
    "rte": _super_glue("rte"),
    "wic": _super_glue("wic"),
    "wsc": _super_glue("wsc.fixed"),
    "mathqa": Source("regisss/math_qa", divided=True),
    "lambada": Source("EleutherAI/lambada_openai", "default", train=None, validation="test", divided=True),
}


def load_rows(name: str, split: Split) -> Rows:
    """All rows of a task's split, in the source's order; empty where it has none.

    A source without training rows whose `divided` is set (LAMBADA; MathQA in a folder that holds
    only validation rows) is divided by `divide`, so that no demonstration is also a question.

    Raises:
        DataError: no network and no local folder, a file that is missing or malformed.
    """
    if split == "test":
        return NO_ROWS
    source = SOURCES[name]
    if not source.divided or _stored(name, "train"):
        return _stored(name, split)
    for_demonstrations, questions = _divided(_stored(name, "validation"))
    return for_demonstrations if split == "train" else questions


def origin(name: str) -> str:
    """Where the rows come from, with the revision once they are loaded: 'baber/piqa@1a2b...', 'folder'."""
    if _folder():
        return "folder"
    revision = hub_revision(name)
    return SOURCES[name].hub + (f"@{revision}" if revision else "")


def hub_revision(name: str) -> str:
    """The commit that the validation rows were loaded from; empty for a folder or where none is known."""
    return "" if _folder() else _from_hub(SOURCES[name], SOURCES[name].validation).revision


def divide(rows: Sequence[Row], share: float = 0.2) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(rows set aside for demonstrations, rows to ask), both in the order given; always the same division."""
    aside, asked = _division(len(rows), share)
    return tuple(rows[i] for i in aside), tuple(rows[i] for i in asked)


def _division(n: int, share: float = 0.2) -> tuple[list[int], list[int]]:
    n_aside = max(1, int(n * share)) if n > 1 else 0
    aside = set(random.Random("set aside for demonstrations").sample(range(n), n_aside))
    return sorted(aside), [i for i in range(n) if i not in aside]


@lru_cache(maxsize=8)
def _divided(rows: Rows) -> tuple[Rows, Rows]:
    aside, asked = _division(len(rows))
    return rows.only(aside), rows.only(asked)


# Local folders


def _folder() -> Path | None:
    """The folder that HEADROOM_DATA names, read at every call so that a setting takes effect at once."""
    setting = os.environ.get(FOLDER_SETTING, "").strip()
    return Path(setting).expanduser() if setting else None


def _stored(name: str, split: Split) -> Rows:
    """The rows of a split as its source has them."""
    folder = _folder()
    if folder is None:
        source = SOURCES[name]
        hub_split = source.train if split == "train" else source.validation
        return _from_hub(source, hub_split).rows if hub_split else NO_ROWS
    if not (folder / name).is_dir():
        there = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        raise DataError(f"No rows of task '{name}': {FOLDER_SETTING} is {folder}, which holds "
                        f"{', '.join(there) or 'no folders'}. Expected {name}/train.jsonl and {name}/validation.jsonl.")
    path = folder / name / f"{split}.jsonl"
    if (stamp := files.stamp(path)) is not None:
        return _from_file(path, stamp)
    if split == "validation":
        raise DataError(f"No rows to ask in task '{name}': {path} is missing.")
    return NO_ROWS


@lru_cache(maxsize=64)
def _from_file(path: Path, stamp: files.Stamp) -> Rows:
    """A file's rows; the stamp makes an edited or replaced file another cache entry."""
    rows, numbers = [], []
    for number, row in files.json_lines(files.read_text(path), str(path)):
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: {files.kind(row)} where a JSON object was expected.")
        rows.append(row)
        numbers.append(number)
    return Rows(rows, str(path), numbers, "line")


# The hub


@dataclass(frozen=True)
class _HubSplit:
    rows: Rows
    revision: str


@lru_cache(maxsize=64)
def _from_hub(source: Source, hub_split: str) -> _HubSplit:
    import datasets

    what = f"'{source.hub}'" + (f" ({source.config})" if source.config else "")
    cached = Path(datasets.config.HF_DATASETS_CACHE) / source.hub.replace("/", "___")
    here = cached.is_dir() or Path(source.hub).is_dir()
    if not here and not _hub_answers():  # said at once: the client would first retry for half a minute, per task
        raise DataError(f"Cannot fetch {what} from the Hugging Face hub: no network. {WITHOUT_NETWORK}")
    try:
        dataset = datasets.load_dataset(source.hub, source.config, split=hub_split)
    except ConnectionError as error:
        raise DataError(f"Cannot fetch {what} from the Hugging Face hub: no network. {WITHOUT_NETWORK}") from error
    except Exception as error:  # the client's errors have no common base
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise DataError(f"Cannot load the {hub_split} split of {what} from the Hugging Face hub: {reason} "
                        f"({type(error).__name__}). {WITHOUT_NETWORK}") from error
    return _HubSplit(Rows(dataset, f"the {hub_split} split of {what}"), _revision(dataset))


def _hub_answers() -> bool:
    """False where the hub's name cannot even be resolved; a proxy may resolve it for us."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        socket.getaddrinfo(address.hostname, address.port or 443)
    except OSError:
        return False
    return True


def _revision(dataset: Any) -> str:
    """The commit in the addresses that a data set was downloaded from, or in its cache folder's name."""
    places = [*(dataset.info.download_checksums or {}), *(file["filename"] for file in dataset.cache_files)]
    commits = [match[1] for place in places if (match := re.search(r"[@/]([0-9a-f]{40})/", str(place)))]
    return commits[0] if commits else ""
