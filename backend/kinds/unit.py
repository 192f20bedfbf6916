"""What every kind of result has in common: its name, its key, and how one is fetched or computed.

A kind is one class in one file. `Evaluation(setup, ablation)` names one result completely: the value is the key of the
store and the unit of resuming. The class says what the result is (`TITLE`, `DEFINITION`, `SOURCE`), what it builds on
(`needs`), what it costs, how the command line asks for it (`TOPICS`, `OPTIONS`, `asked`, `options`), and measures it
(`measure`, the only place that loads torch). Nothing else in the project knows one kind from another.
"""

from __future__ import annotations

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar, runtime_checkable

from ..errors import BadInput, StoreError
from ..records import ModelInfo, Record, from_plain, to_plain
from ..values import ModelId, Setup, TaskId

if TYPE_CHECKING:
    from ..models.loading import LoadedModel

SCHEMA = 2  # raised whenever the meaning of a key or of a stored record changes
R = TypeVar("R", bound=Record)
Progress = Callable[[int, int], None]

KINDS: dict[str, type[Unit[Any]]] = {}  # by name, in the order in which they were defined


class CountTokens(Protocol):
    """How many tokens prompts have, for costs."""

    def __call__(self, setup: Setup, split: str) -> int:
        """Tokens that one evaluation (split "validation") or one pass over training prompts ("train") reads."""


@runtime_checkable
class Listener(Protocol):
    """A `Progress` that also wants to know how it stands before all is measured."""

    def __call__(self, done: int, total: int) -> None: ...

    def so_far(self, unit: Unit[Any], right: int, answered: int, of: int) -> None:
        """So many questions of an evaluation are answered, of all, and so many of these right."""


class Results(Protocol):
    """What computing needs of a store."""

    def get(self, unit: Unit[R]) -> R | None: ...
    def put(self, unit: Unit[R], record: R) -> R: ...
    def put_seconds(self, unit: Unit[Any], seconds: float) -> None: ...


def part(progress: Progress | None, before: int, of: int, size: int = 1) -> Progress | None:
    """The progress of one piece of work, told as a part of all.

    Args:
        before, size, of: how much is done before it, how much it is, and how much there is in all, in the same unit.
    """
    return None if progress is None else lambda done, total: progress(before * total + size * done,
                                                                      of * max(total, 1))


@dataclass(frozen=True)
class Topic:
    """Something that can be asked for: a word of `--what`."""

    title: str  # in a word or two
    about: str  # what it is, in the words of `--help`
    per_task: bool = True  # one for every task and number of shots
    training: bool = False  # reads training rows
    rank: int = 0  # where it stands among the topics, and when it is computed: quick answers first
    by_default: bool = False
    masked: bool = False  # is of the masks that `--off` names, where it names some
    alone: bool = False  # `all` leaves it out: it takes long beyond measure, or needs to be told of what


@dataclass(frozen=True)
class Option:
    """Something that can be chosen for a topic: a flag of the command line."""

    name: str  # n_train -> --n-train
    default: Any
    about: str
    read: Callable[[str], Any] = int
    least: int | None = None
    metavar: str = "N"
    many: bool = False  # may be given again

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def one_of(known: Sequence[str], no: str) -> Callable[[str], str]:
    """How an option reads a name: one that is not known is refused with what it is not ("is no split")."""
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"'{text[:60]}' {no}; known: {', '.join(known)}")
        return text

    return read


def some_of(read: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """How an option reads names with commas between, each once."""
    return lambda text: tuple(dict.fromkeys(read(one.strip()) for one in text.split(",")))


@dataclass(frozen=True)
class Wish:
    """What somebody wants to know about one model: what `asked` makes units of."""

    model: ModelId
    setups: tuple[Setup, ...]  # every task at every number of shots and seed
    options: Mapping[str, Any]
    find: Callable[[str], Sequence[TaskId]]  # the tasks that a name, a suite, or several with commas stand for

    @property
    def tasks(self) -> tuple[TaskId, ...]:
        return tuple(dict.fromkeys(setup.task for setup in self.setups))


class Unit(ABC, Generic[R]):
    """One result to be had. Subclasses are frozen dataclasses, whose fields are all that the result depends on."""

    KIND: ClassVar[str]
    RECORD: ClassVar[type[Record]]
    TITLE: ClassVar[str]  # what it is, in a few words
    DEFINITION: ClassVar[str]  # what the numbers are
    SOURCE: ClassVar[str] = ""  # of the definition
    TOPICS: ClassVar[Mapping[str, Topic]] = {}
    OPTIONS: ClassVar[tuple[Option, ...]] = ()
    STANDS_IN: ClassVar[bool] = False  # whether it is numbers to put in place of components: large, and not handed on
    # unless they are asked for
    BACKWARDS: ClassVar[bool] = False  # whether its cost is one of passes forwards and backwards, three to a token

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "KIND" in cls.__dict__:
            known = KINDS.get(cls.KIND)
            if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise TypeError(f"Two kinds of results are called '{cls.KIND}': {known} and {cls}.")
            KINDS[cls.KIND] = cls

    if TYPE_CHECKING:  # a field or a property of the subclasses `OfTask` and `OfModel`
        @property
        def model(self) -> ModelId:
            """The model it belongs to."""

        @property
        def setup(self) -> Setup | None:
            """The setup it belongs to; None for what needs no task."""

        @property
        def task(self) -> TaskId | None:
            """The task it belongs to; None for what needs no task."""

    # What it builds on, and what it costs

    def needs(self) -> Sequence[Unit[Any]]:
        """The results that it builds on, in the order to compute them."""
        return ()

    @abstractmethod
    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        """About how many tokens pass through the whole model, not counting what it builds on."""

    @abstractmethod
    def measure(self, model: LoadedModel, basis: Sequence[Any], progress: Progress | None) -> R:
        """Measure it. `basis` holds the records of `needs`, in order."""

    @property
    def company(self) -> Hashable:
        """What units have in common that can be measured together; None: with no others."""
        return None

    def gains(self, model: LoadedModel) -> bool:
        """Whether measuring it together with others of its company is cheaper than one after the other."""
        return False

    @classmethod
    def measure_together(cls, units: Sequence[Self], model: LoadedModel, bases: Sequence[Sequence[Any]],
                         progress: Progress | None) -> list[R]:
        """Measure several of equal `company`; each result is the one that it is alone."""
        raise NotImplementedError

    def pieces(self, info: ModelInfo) -> int:
        """In how many pieces of about equal cost it can be measured, each by itself, at little more than it costs
        whole; 1: not at all."""
        return 1

    def measure_piece(self, number: int, of: int, model: LoadedModel, basis: Sequence[Any],
                      progress: Progress | None) -> R:
        """Piece `number`, from 0, of so many: a record of a part of it, which `joined` takes."""
        raise NotImplementedError

    def joined(self, pieces: Sequence[R]) -> R:
        """The result, of the records of all its pieces, in order: to the bit the one that `measure` gives.

        Raises:
            StoreError: if they do not fit each other.
        """
        raise NotImplementedError

    def check(self, record: R, info: ModelInfo | None) -> None:
        """Whether a record, whose fields fit each other, can be the answer to this unit.

        Args:
            info: the shape of its model; None where nobody knows it.

        Raises:
            StoreError: names the field that does not fit.
        """

    def is_whole(self, record: R) -> bool:
        """Whether a record holds all that is measured of this unit now. One that an earlier version kept less of is
        shown as it is, counts as not done, and gives way to a whole one."""
        return True

    # How it is asked for

    @property
    def topic(self) -> str:
        """Which of its `TOPICS` asks for it; the first, unless the kind says otherwise. Empty: none does."""
        return next(iter(self.TOPICS), "")

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[Unit[Any]]:
        """The units that a wish for one of its `TOPICS` means."""
        raise NotImplementedError

    def options(self) -> Mapping[str, Any]:
        """Values of `OPTIONS`, by name, with which its topic asks for exactly this unit and no other."""
        return {}

    def arguments(self) -> list[str]:
        """The arguments of `precompute`, beside the model's, that make this unit; empty where none do."""
        if not self.topic:
            return []
        known = {option.name: option for option in self.OPTIONS}
        given = ["--what", self.topic, *self._of_setup()]
        for name, value in self.options().items():
            for one in value if known[name].many else [value]:
                given += [known[name].flag, str(one)]
        return given

    def _of_setup(self) -> list[str]:
        return []

    # Its name

    def to_json(self) -> dict[str, Any]:
        """Plain values; also the canonical form of the key."""
        return {"kind": self.KIND, "schema": SCHEMA, **to_plain(self)}

    @staticmethod
    def from_json(value: Any) -> Unit[Any]:
        """Raises: StoreError: if the value is of another schema or no unit at all."""
        if not isinstance(value, Mapping):
            raise StoreError("Not the description of a result.")
        if value.get("schema") != SCHEMA:
            raise StoreError(f"A result of schema {str(value.get('schema'))[:20]}; this version reads schema {SCHEMA}.")
        kind = KINDS.get(str(value.get("kind")))
        if kind is None:
            raise StoreError(f"Unknown kind of result '{str(value.get('kind'))[:60]}'. Known: {', '.join(KINDS)}.")
        return kind._from_fields({name: v for name, v in value.items() if name not in ("kind", "schema")})

    @classmethod
    def _from_fields(cls, value: Mapping[str, Any]) -> Self:
        try:
            read: Self = from_plain(cls, value, "a result's description")
            return read
        except BadInput as error:
            raise StoreError(f"Not the description of a result: {error}") from error

    @cached_property
    def key(self) -> str:
        """What the store files the result under: 32 hexadecimal digits of its canonical JSON."""
        return hashlib.sha256(self._text.encode()).hexdigest()[:32]

    @cached_property
    def _text(self) -> str:
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    @property
    def sort_key(self) -> tuple[Any, ...]:
        """An order of units that is the same everywhere."""
        return list(KINDS).index(self.KIND), self.model, self.setup is not None, self.setup, self._text

    def __str__(self) -> str:
        return f"{self.KIND} {self.setup or self.model.name}"


class OfTask(Unit[R]):
    """A result of one setup: its field `setup` says which."""

    if TYPE_CHECKING:
        @property
        def setup(self) -> Setup: ...

    @property
    def model(self) -> ModelId:
        return self.setup.model

    @property
    def task(self) -> TaskId:
        return self.setup.task

    TRAINING: ClassVar[bool] = False  # whether the setup's examples are training rows

    def _of_setup(self) -> list[str]:
        s = self.setup
        return ["--tasks", s.task.name, "--shots", str(s.n_shots), "--demos", s.demos,
                *(["--draws", str(s.draws)] if s.demos == "fixed" and s.n_shots else []), "--seeds", str(s.seed),
                "--n-train" if self.TRAINING else "--n-examples", str(s.n_examples)]


class OfTraining(OfTask[R]):
    """A result over the first `setup.n_examples` training prompts, of which an option says how many."""

    TRAINING = True
    COUNT: ClassVar[str] = "n_train"  # that option's name

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[Self]:
        for setup in wish.setups:
            yield cls.of(setup.with_(n_examples=wish.options[cls.COUNT]), wish.options)

    @classmethod
    def of(cls, setup: Setup, options: Mapping[str, Any]) -> Self:
        """The unit of a setup of training prompts, with what was chosen of its `OPTIONS`."""
        return cls(setup)  # type: ignore[call-arg]  # a field of the subclasses

    def options(self) -> Mapping[str, Any]:
        return {} if self.COUNT == OfTraining.COUNT else {self.COUNT: self.setup.n_examples}

    def _of_setup(self) -> list[str]:
        given = super()._of_setup()  # ends with how many, as most kinds are told
        return given if self.COUNT == OfTraining.COUNT else given[:-2]


class OfModel(Unit[R]):
    """A result that needs no task: its field `model` says of which model."""

    setup: ClassVar[None] = None
    task: ClassVar[None] = None
    if TYPE_CHECKING:
        @property
        def model(self) -> ModelId: ...


# --- reading and making results ---------------------------------------------------------------------


def fetch(unit: Unit[R], store: Results) -> R | None:
    """The stored result, or None. Never computes."""
    return store.get(unit)


def fetch_whole(unit: Unit[R], store: Results) -> R | None:
    """The stored result, or None; None, too, where it lacks something that is measured now. Never computes."""
    found = store.get(unit)
    return found if found is not None and unit.is_whole(found) else None


def compute(unit: Unit[R], store: Results, model: LoadedModel, progress: Progress | None = None) -> R:
    """The result, measured and stored unless it is stored already; first what it builds on.

    Args:
        progress: called with (done, total) after each batch; raising `Cancelled` in it stops the work, and
            what was finished before stays stored.

    Raises:
        BadInput, DataError, ModelError: as the measurement does; nothing half-made is stored.
    """
    if (found := fetch_whole(unit, store)) is not None:
        return found
    _check_model(unit, model)
    basis = [compute(need, store, model, progress) for need in unit.needs()]
    began = time.perf_counter()
    record = store.put(unit, unit.measure(model, basis, progress))
    store.put_seconds(unit, time.perf_counter() - began)
    return record


def compute_piece(unit: Unit[R], number: int, of: int, store: Results, model: LoadedModel,
                  progress: Progress | None = None) -> tuple[R, float]:
    """One of a unit's pieces, of so many, and the seconds that it took; nothing is stored.

    Raises:
        BadInput, DataError, ModelError: as `compute`.
    """
    _check_model(unit, model)
    basis = [compute(need, store, model, progress) for need in unit.needs()]
    began = time.perf_counter()
    return unit.measure_piece(number, of, model, basis, progress), time.perf_counter() - began


def compute_together(units: Sequence[Unit[R]], store: Results, model: LoadedModel,
                     progress: Progress | None = None) -> list[R]:
    """As `compute`, in order, for units of equal `company`: what is not stored is measured together."""
    found = {unit: fetch_whole(unit, store) for unit in units}
    missing = [unit for unit, record in found.items() if record is None]
    for unit in missing:
        _check_model(unit, model)
    if len(missing) > 1:
        bases = [[compute(need, store, model, progress) for need in unit.needs()] for unit in missing]
        began = time.perf_counter()
        records = type(missing[0]).measure_together(missing, model, bases, progress)
        seconds = (time.perf_counter() - began) / len(missing)
        for unit, record in zip(missing, records, strict=True):
            found[unit] = store.put(unit, record)
            store.put_seconds(unit, seconds)
    return [known if (known := found[unit]) is not None else compute(unit, store, model, progress) for unit in units]


def _check_model(unit: Unit[Any], model: LoadedModel) -> None:
    if unit.model not in (model.id, model.id.weights):
        raise BadInput(f"The loaded model is {model.id} (digest {model.id.digest}); the result asked for belongs to "
                       f"{unit.model} (digest {unit.model.digest}). Load that one.")


def with_needs(units: Iterable[Unit[Any]]) -> list[Unit[Any]]:
    """Each unit once, after those that it builds on."""
    found: dict[Unit[Any], None] = {}

    def add(unit: Unit[Any]) -> None:
        if unit not in found:
            for need in unit.needs():
                add(need)
            found.setdefault(unit)

    for unit in units:
        add(unit)
    return list(found)

