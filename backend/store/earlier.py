"""Results that an earlier version stored (schema 1), taken over where they are still true.

Schema 1 knew a model by its weights alone and read every text in pieces: context and option were encoded apart, behind
one BOS token for Gemma and where the config said so, behind none elsewhere. A result of it is true today if

- the model is here, with the very weights and config that it names;
- the model's tokenizer has not changed since the result was stored;
- every prompt that the result, or one that it builds on, was measured on reads whole as it read in pieces.

Its new name then says how prompts began. Whatever cannot be shown to be true is left where it is, with the reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BadInput, HeadroomError, ModelError, StoreError
from ..kinds import (
    Copying,
    Evaluation,
    FFNOracle,
    HeadImportance,
    HeadOracle,
    HeadScores,
    Means,
    Model,
    OfTask,
    PrefixMatching,
    Pruning,
    Unit,
)
from ..kinds.prompts import prompts_of
from ..kinds.unit import with_needs
from ..models.identity import identify
from ..models.info import BUNDLED, Location, config_of, info_from, locate
from ..records import ModelInfo, Record, from_plain
from ..tasks.registry import SUITES, suite
from ..values import Ablation, ModelId, Ranking, Setup, TaskId
from .entries import canonical, digest, read_record
from .live import Store
from .shipped import ship

SCHEMA = 1
_BEGAN_WITH_BOS = ("gemma2", "gemma3_text")  # beside models whose config said `prompts_start_with_bos`
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges*", "special_tokens_map.json", "added_tokens.json", "*.model")


# --- names and records: no files, no models -----------------------------------------------------


@dataclass(frozen=True)
class _Setup:
    model: str
    revision: str
    dtype: str
    task: str  # empty, like all that follows, for what needs no task
    data: str
    n_shots: int
    demos: str
    n_examples: int
    seed: int


@dataclass(frozen=True)
class Description:
    """A unit as schema 1 wrote it."""

    kind: str
    setup: _Setup
    ablation: Ablation
    options: Mapping[str, str]

    @classmethod
    def read(cls, value: Any) -> Description:
        """Raises: StoreError: if it is no description of schema 1."""
        try:
            if value["schema"] != SCHEMA or set(value) != {"kind", "schema", "setup", "ablation", "options"}:
                raise StoreError("it is no description of schema 1")
            options = {from_plain(str, k): from_plain(str, v) for k, v in value["options"].items()}
            return cls(from_plain(str, value["kind"]), from_plain(_Setup, value["setup"], "its setup"),
                       from_plain(Ablation, value["ablation"], "its ablation"), options)
        except (KeyError, TypeError, AttributeError, BadInput) as error:
            raise StoreError(f"it is no description of schema 1: {error}") from error

    @property
    def model(self) -> tuple[str, str]:
        """Name and revision."""
        return self.setup.model, self.setup.revision

    def __str__(self) -> str:
        s = self.setup
        task = f" {s.task} {s.n_shots}-shot {s.demos}" if s.task else ""
        return f"{self.kind} {s.model} ({s.revision}){task}" + "".join(
            f" {name}={value}" for name, value in sorted(self.options.items())) + (
            f" off={self.ablation}" if self.ablation else "")


def key_of(value: Any) -> str:
    """What schema 1 filed a description under."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


def tasks_of(descriptions: Iterable[Description]) -> dict[str, TaskId]:
    """The tasks that results of one model are about, by name; those of which there are two sorts of rows left out."""
    found: dict[str, set[str]] = {}
    for one in descriptions:
        if one.setup.task:
            found.setdefault(one.setup.task, set()).add(one.setup.data)
    return {name: TaskId(name, next(iter(rows))) for name, rows in found.items() if len(rows) == 1}


def unit_of(old: Description, model: ModelId, tasks: Mapping[str, TaskId]) -> Unit[Any]:
    """What is called so today.

    Args:
        model: the model that it names, as it was run.
        tasks: by name, those of the same model, for rankings by another task's importance.

    Raises:
        StoreError: if it is no result that schema 1 knew, or a ranking names a task that `tasks` lacks.
    """
    s, options = old.setup, dict(old.options)

    def number(name: str) -> int:
        if not (text := options.pop(name, "")).isdecimal():
            raise StoreError(f"its option '{name}' is no number")
        return int(text)

    model = model.with_(dtype=s.dtype)
    own = TaskId(s.task, s.data)
    try:
        setup = Setup(model, own, s.n_shots, s.demos, s.n_examples, s.seed)
        unit: Unit[Any]
        match old.kind:
            case "evaluation":
                unit = Evaluation(setup, old.ablation, number("means") if old.ablation.fill == "mean" else 0)
            case "head_importance":
                unit = HeadImportance(setup)
            case "ffn_oracle":
                unit = FFNOracle(setup)
            case "head_oracle":
                unit = HeadOracle(setup)
            case "means":
                unit = Means(setup)
            case "pruning":
                what, named = options.pop("what", ""), options.pop("ranking", "")
                measured = what != "ffns" and not named.startswith("random:")
                n_train = number("n_train") if measured else 1
                reduction = options.pop("reduction", "") if measured else "per-token"
                unit = Pruning(setup, what, _ranking(named, own, tasks, n_train, reduction))
            case "prefix_matching":
                unit = PrefixMatching(model, options.pop("variant", ""), number("n_seeds"))
            case "copying":
                unit = Copying(model, options.pop("variant", ""), number("n_seeds"))
            case "model":
                unit = Model(model)
            case _:
                raise StoreError(f"schema 1 knew no kind of result '{old.kind[:60]}'")
    except BadInput as error:
        raise StoreError(str(error)) from error
    if options:
        raise StoreError(f"schema 1 knew no option '{min(options)[:60]}' of it")
    if bool(s.task) != isinstance(unit, OfTask):
        raise StoreError("it names a task where there is none, or none where there is one")
    if old.ablation and not isinstance(unit, Evaluation):
        raise StoreError("it switches something off that this kind of result does not know")
    return unit


def _ranking(text: str, own: TaskId, tasks: Mapping[str, TaskId], n_train: int, reduction: str) -> Ranking:
    def find(names: str) -> Sequence[TaskId]:
        wanted = [name for part in names.split(",") for name in (
            [task.name for task in suite(part)] if part in SUITES else [part])]
        if unknown := [name for name in wanted if name not in known]:
            raise StoreError(f"which rows of task '{unknown[0]}' its ranking is of is not to be told from this store")
        return [known[name] for name in wanted]

    known = {**tasks, own.name: own}
    return Ranking.parse("reverse:own" if text == "most-important" else text, own, find, n_train, reduction)


def record_of(old: Any, unit: Unit[Any]) -> Record:
    """A record of schema 1 as it is written today.

    Raises:
        StoreError: if it is damaged, or cannot be the answer to the unit.
    """
    if not isinstance(old, Mapping):
        raise StoreError("its record is damaged")
    value = dict(old)
    if isinstance(questions := value.get("questions"), Mapping):  # read in pieces, no option began in its context
        docs = questions.get("docs")
        value["questions"] = {**questions, "spanning": [0] * (len(docs) if isinstance(docs, list) else 0)}
    if unit.RECORD is HeadScores:
        value["n_spanning"] = 0
    if unit.RECORD is ModelInfo:
        value["revision"] = unit.model.revision
    record: Record = read_record(unit, value, None)
    return record


# --- truth --------------------------------------------------------------------------------------


@dataclass
class Here:
    """A model that is here, seen as schema 1 saw it."""

    id: ModelId  # run as schema 1 ran it, in float32
    revision: str  # as schema 1 reckoned it
    max_positions: int
    read: Callable[[Sequence[str]], list[tuple[int, ...]]] | None  # texts to token ids; None: no tokenizer to be had
    tokenizer_written: float | None  # Unix time; None where the revision, or the program itself, holds the tokenizer
    _misread: dict[tuple[Setup, str], str] = field(default_factory=dict, repr=False)

    @classmethod
    def find(cls, source: str, revision: str) -> Here:
        """The model of that name, folder or hub id; from the hub, of that revision.

        Raises:
            ModelError: if it is not here.
        """
        hub = source != BUNDLED and "/" in source and not Path(source).expanduser().is_dir()
        place = locate(source, revision if hub else None, weights=False)
        config = config_of(place)
        bos = bool(config.get("prompts_start_with_bos", source == BUNDLED or
                              config.get("model_type") in _BEGAN_WITH_BOS))
        model = identify(source, revision if hub else None, bos="always" if bos else "never")
        return cls(model, place.folder.name[:12] if place.is_hub else weights_digest(place.folder),
                   info_from(config, place.name, place.revision, []).max_positions, _tokenizer(place),
                   None if place.is_hub or source == BUNDLED else _written(place))

    def refuses(self, unit: Unit[Any], revision: str, stored_at: float | None) -> str:
        """Why a result of this model that schema 1 stored is not true today; empty where it is.

        Args:
            revision: of the model, as the result names it.
            stored_at: Unix time; None where nobody knows.
        """
        if revision != self.revision:
            return f"the model here holds other weights (revision {self.revision})"
        if self.tokenizer_written is not None and (stored_at is None or self.tokenizer_written > stored_at):
            return ("when it was computed is not known, and the tokenizer may have changed since" if stored_at is None
                    else "the tokenizer's files are newer than it")
        if self.read is None and unit.task is not None:
            return ("its prompts cannot be read in pieces: the tokenizer beside the model is neither tokenizer.json "
                    "nor vocab.json with merges.txt")
        for one in with_needs([unit]):
            if isinstance(one, OfTask):
                asked = one.setup.with_(model=self.id), "train" if one.TRAINING else "validation"
                if asked not in self._misread:
                    self._misread[asked] = _misread(self, *asked)
                if reason := self._misread[asked]:
                    return reason
        return ""


def _misread(here: Here, setup: Setup, split: str) -> str:
    """Why the prompts of a setup do not read whole as they read in pieces; empty where they do."""
    try:
        pending = prompts_of(setup, split)
    except HeadroomError as error:  # no such rows here, or others
        return str(error).rstrip(".")
    while pending:  # prompts that were too long lost demonstrations
        pairs = [[(prompt.prefix + context, option) for context, option in
                  zip(prompt.example.contexts, prompt.example.options, strict=True)] for prompt in pending]
        texts = list({text: None for rows in pairs for a, b in rows for text in (a, b, a + b)})
        assert here.read is not None
        ids = dict(zip(texts, here.read(texts), strict=True))
        again = []
        for prompt, rows in zip(pending, pairs, strict=True):
            if any(ids[a + b] != ids[a] + ids[b] for a, b in rows):
                return f"read whole, prompts of task '{setup.task}' are other tokens than read in pieces"
            longest = max((here.id.bos + len(ids[a]) or 1) + len(ids[b]) for a, b in rows)
            if longest - 1 > here.max_positions and prompt.demos:
                again.append(prompt.without_first_demo())
        pending = again
    return ""


def weights_digest(folder: Path) -> str:
    """The revision of a local folder as schema 1 reckoned it: 12 digits of the SHA-256 of config and weights."""
    found = hashlib.sha256()
    for path in (folder / "config.json", *sorted(folder.glob("*.safetensors"))):
        found.update(path.name.encode())
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                found.update(chunk)
    return found.hexdigest()[:12]


def _written(place: Location) -> float:
    files = {path for pattern in _TOKENIZER_FILES for path in place.folder.glob(pattern)}
    return max((path.stat().st_mtime for path in files), default=0.0)


def _tokenizer(place: Location) -> Callable[[Sequence[str]], list[tuple[int, ...]]] | None:
    from tokenizers import ByteLevelBPETokenizer, Tokenizer

    names = [place.folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt")]
    try:
        if names[0].is_file():
            tokenizer = Tokenizer.from_file(str(names[0]))
        elif names[1].is_file() and names[2].is_file():
            tokenizer = ByteLevelBPETokenizer(str(names[1]), str(names[2]))
        else:
            return None
        tokenizer.no_truncation()
        tokenizer.no_padding()
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ModelError(f"The tokenizer in {place.folder} cannot be read: {error}.") from error
    return lambda texts: [tuple(e.ids) for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


class Judge:
    """Says of results of schema 1 what they are called today, or why they are not true.

    Args:
        descriptions: all of a store, bundle or folder: they say which rows a task had.
        sources: by the name that results bear, the folder or hub id where the model is; the bundled model and hub
            ids are found by their names.
    """

    def __init__(self, descriptions: Iterable[Description], sources: Mapping[str, str] | None = None) -> None:
        self.sources = sources or {}
        by_model: dict[tuple[str, str], list[Description]] = {}
        for one in descriptions:
            by_model.setdefault(one.model, []).append(one)
        self.tasks = {model: tasks_of(those) for model, those in by_model.items()}
        self._here: dict[tuple[str, str], Here | str] = {}

    def unit(self, old: Description, stored_at: float | None) -> Unit[Any]:
        """The unit of today.

        Raises:
            StoreError: if the result is not true today, or that cannot be shown; why.
        """
        here = self._found(old.model)
        unit = unit_of(old, here.id, self.tasks.get(old.model, {}))
        if reason := here.refuses(unit, old.setup.revision, stored_at):
            raise StoreError(reason)
        return unit

    def _found(self, model: tuple[str, str]) -> Here:
        if model not in self._here:
            name, revision = model
            source = self.sources.get(name, name if name == BUNDLED or "/" in name else "")
            try:
                self._here[model] = Here.find(source, revision) if source else (
                    f"nobody said where the model '{name}' is: name its folder with --model")
            except HeadroomError as error:
                self._here[model] = str(error).rstrip(".")
        found = self._here[model]
        if isinstance(found, str):
            raise StoreError(found)
        return found


def sources(models: Iterable[str]) -> dict[str, str]:
    """Where models are, by the names that results bear: of folders, their last part."""
    return {Path(m).expanduser().resolve().name if Path(m).expanduser().is_dir() else m: m for m in models}


# --- a store, and shipped files -----------------------------------------------------------------


@dataclass
class Upgraded:
    """What became of results of schema 1."""

    taken: list[Unit[Any]] = field(default_factory=list)
    aside: list[tuple[str, str]] = field(default_factory=list)  # what it is, and why it was not taken over


def upgrade(store: Store, models: Iterable[str] = (), dry_run: bool = False,
            progress: Callable[[int, int], None] | None = None) -> Upgraded:
    """Take over what is still true of a store; the rest stays in it untouched.

    Args:
        models: folders and hub ids of models, beside the bundled one.
        progress: called with (done, total) after each result.
    """
    found, read = Upgraded(), {}
    for key, value in store.earlier().items():
        try:
            read[key] = Description.read(value)
            if key_of(value) != key:
                raise StoreError("it is filed under another result's name")
        except StoreError as error:
            read.pop(key, None)
            found.aside.append((f"entry {key[:32]}", str(error)))
    judge = Judge(read.values(), sources(models))
    for done, (key, old) in enumerate(sorted(read.items(), key=lambda item: str(item[1])), 1):
        try:
            unit = judge.unit(old, store.earlier_time(key))
            record = record_of(store.earlier_record(key), unit)
            if not dry_run:
                store.take_over(key, unit, record)
            found.taken.append(unit)
        except StoreError as error:
            found.aside.append((str(old), str(error).rstrip(".")))
        if progress:
            progress(done, len(read))
    return found


def convert_shipped(earlier: str | Path, folder: str | Path, model: ModelId, tasks: Iterable[TaskId]) -> list[Path]:
    """Write the shipped files of a folder of schema 1 anew, all of it; returns the files.

    Args:
        earlier: holds them as schema 1 wrote them, one JSON file per kind; may be `folder` itself.
        model: what the one model in them is called today.
        tasks: the tasks as they are today.

    Raises:
        StoreError: if any of it is damaged, of another model, of other rows, or not true today. Nothing is written.
    """
    rows = {task.name: task for task in tasks}
    entries = []
    for path in sorted(Path(earlier).glob("*.json")):
        value = json.loads(path.read_bytes())
        if value["schema"] != SCHEMA:
            raise StoreError(f"{path} is of schema {value['schema']}, not {SCHEMA}.")
        for entry in value["results"]:
            if digest(canonical({"unit": entry["unit"], "record": entry["record"]})) != entry["sha256"]:
                raise StoreError(f"A result in {path} is damaged: its digest does not match its content.")
            entries.append((Description.read(entry["unit"]), entry["record"]))
    judge, results = Judge([old for old, _ in entries]), []
    for old, record in entries:
        try:
            unit = judge.unit(old, None)
            if unit.model not in (model, model.weights):
                raise StoreError(f"it is of {unit.model} (digest {unit.model.digest}), not of {model} (digest "
                                 f"{model.digest})")
            if other := [task for one in with_needs([unit]) if (task := one.task) and rows.get(task.name) != task]:
                raise StoreError(f"the rows of task '{other[0]}' are others today")
            results.append((unit, record_of(record, unit)))
        except StoreError as error:
            raise StoreError(f"The shipped result of {old} cannot be taken over: {error}") from error
    return ship(folder, results)
