"""The project's own golden numbers: what each of them is, how the reference finds it, and how Headroom does.

The questions are the project's own: the bundled model's mini tasks, and a few in the formats of the study's tasks
(`rows/`). Their texts stand beside the numbers in own.json, so that the reference needs no line of Headroom's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden import reference
from tests.golden.reference import Pair, Plain, Texts

HERE = Path(__file__).parent
FILE = HERE / "own.json"
ROWS = HERE / "rows"  # of the study's tasks, in the hub's fields

# How far a number of the reference and one of Headroom may lie apart.
NATS = 1e-4  # log-likelihoods
RELATIVE = 1e-4  # scores: of the largest of a record
EXACT = 1e-6  # accuracies: far less than a question


@dataclass(frozen=True)
class Golden:
    """What one record holds numbers of.

    Attributes:
        what: "loglikelihoods" of every option; "accuracies" without each of `off`, one after the other; "pruning":
            accuracies with the lowest `shares` of the heads off, by the importance for the task itself; "importance",
            "attribution", "prefix matching", "copying" of every head.
        model: "bundled", or a tiny random one by its type.
        task, shots, n: the questions, of `split`; none for random tokens, where `n` is how many sequences.
        variant: which definition.
    """

    what: str
    model: str
    task: str = ""
    shots: int = 0
    n: int = 1
    split: str = "validation"
    off: tuple[str, ...] = ("",)
    shares: tuple[float, ...] = ()
    variant: str = ""

    def __str__(self) -> str:
        shots = self.task and f"{self.shots}-shot"
        return " ".join(filter(None, [self.what, self.variant, self.model, self.task, shots, *self.off]))

    @property
    def asked(self) -> list[tuple[str, int, int, str]]:
        """The sets of questions that it needs: task, shots, how many, split."""
        sets = [(self.task, self.shots, self.n, self.split)] if self.task else []
        return [*sets, (self.task, self.shots, N_TRAIN, "train")] if self.what == "pruning" else sets

    def tolerance(self, numbers: Sequence[float]) -> float:
        return {"loglikelihoods": NATS, "accuracies": EXACT, "pruning": EXACT}.get(
            self.what, RELATIVE * max(map(abs, numbers)))


N_TRAIN = 12  # training prompts behind importance
OWN_MASKS = ("L0H1,L1H3,L2H0,L2H2,F1", "L1H0-3,F0", "L2H1", "F2", "L0H0-3,L1H0-3,L2H0-3")


def records() -> list[Golden]:
    """All that there are golden numbers of."""
    from backend.tasks.mini import MINI
    from backend.tasks.paper import PAPER

    groups: dict[str, list[str]] = {}
    for name, task in MINI.items():
        groups.setdefault(task.group, []).append(name)
    firsts = [names[0] for names in groups.values()]
    found = []
    for i, task in enumerate(PAPER):
        model = list(reference.TINY)[i % len(reference.TINY)]
        for off in ("", OWN_MASKS[i % len(OWN_MASKS)]):
            found.append(Golden("loglikelihoods", model, task, (0, 1, 3)[i % 3], 2, off=(off,)))
    for i, task in enumerate([*firsts, groups["reasoning"][1]]):
        off = "L5H2,L4H0-3,F1" if i % 2 else ""
        found.append(Golden("loglikelihoods", "bundled", task, (5, 1, 0)[i % 3], 3, off=(off,)))
    for task in firsts:
        found += [
            Golden("accuracies", "bundled", task, 5, 24, off=("", *(f"F{layer}" for layer in range(6)))),
            Golden("accuracies", "bundled", task, 5, 24, off=tuple(f"L5H{head}" for head in range(8))),
            Golden("pruning", "bundled", task, 5, 24, shares=(0.3, 0.6)),
            Golden("accuracies", "bundled", task, 0, 24),
            *(Golden("importance", "bundled", task, 5, N_TRAIN, "train", variant=variant)
              for variant in ("per-token", "per-example")),
        ]
    for model, task, variant in zip(reference.TINY, ("boolq", "copa", "piqa", "wic"),
                                    ("per-token", "per-example", "one-divisor", "per-token"), strict=True):
        found.append(Golden("importance", model, task, 1, 3, "train", variant=variant))
    found += [Golden("attribution", "bundled", firsts[0], 1, N_TRAIN, "train", variant=variant)
              for variant in ("signed", "integrated")]
    found += [Golden("attribution", "llama", "arc_easy", 0, 3, "train", variant="signed"),
              Golden("attribution", "gpt2", "rte", 0, 3, "train", variant="integrated")]
    for model, variant in (("bundled", "exact"), ("bundled", "authors"), ("opt", "exact"), ("llama", "authors"),
                           ("gpt_neox", "exact")):
        found.append(Golden("prefix matching", model, n=4, variant=variant))
    for model, variant in (("bundled", "authors"), ("bundled", "olsson"), ("opt", "olsson"), ("llama", "authors")):
        found.append(Golden("copying", model, n=3, variant=variant))
    return found


# --- texts ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """One question as text: of each option what stands before it and what it is; the options that are right."""

    texts: Texts
    gold: tuple[int, ...]


def key(task: str, shots: int, n: int, split: str) -> str:
    return f"{task}, {shots} shots, {n} of {split}"


@contextmanager
def own_rows() -> Iterator[None]:
    """The study's tasks have the rows that lie here."""
    before = os.environ.get("HEADROOM_DATA")
    os.environ["HEADROOM_DATA"] = str(ROWS)
    try:
        yield
    finally:
        os.environ.pop("HEADROOM_DATA") if before is None else os.environ.update(HEADROOM_DATA=before)


@cache
def prompts_of(task: str, shots: int, n: int, split: Any) -> list[Any]:
    """Headroom's prompts for a set of questions."""
    from backend.tasks.registry import get_task
    from backend.tasks.task import DRAWS, prompts

    with own_rows():
        return prompts(get_task(task), shots, "fixed", n, 0, split, DRAWS)


def asked(task: str, shots: int, n: int, split: str) -> list[Question]:
    """A set of questions as Headroom words it."""
    return [Question([(p.prefix + context, option) for context, option in
                      zip(p.example.contexts, p.example.options, strict=True)], p.example.gold)
            for p in prompts_of(task, shots, n, split)]


# --- the reference's numbers -----------------------------------------------------------------------


def by_reference(golden: Golden, texts: dict[str, list[Question]]) -> list[float]:
    """The numbers of a record, by plain transformers."""
    net = reference.plain(golden.model)
    sets = [texts[key(*one)] for one in golden.asked]
    if golden.what == "loglikelihoods":
        (off,) = golden.off
        return [float(x) for one in sets[0] for x in reference.loglikelihoods(net, one.texts, reference.mask_of(off))]
    if golden.what in ("accuracies", "pruning"):
        masks = [reference.mask_of(off) for off in golden.off]
        if golden.what == "pruning":
            order = reference.ascending(reference.importance(net, _pairs(net, sets[1]))["per-token"])
            masks = [(frozenset(order[:int(share * len(order) + 1e-9)]), frozenset()) for share in golden.shares]
        asked = [one.texts for one in sets[0]], [one.gold for one in sets[0]]
        return [reference.accuracy(net, *asked, mask) for mask in masks]
    if golden.what in ("importance", "attribution"):
        measure: Any = getattr(reference, golden.what)
        return _flat(measure(net, _pairs(net, sets[0]))[golden.variant])
    measure = reference.prefix_matching if golden.what == "prefix matching" else reference.copying
    return _flat(measure(net, golden.n, golden.variant))


def _pairs(net: Plain, questions: Sequence[Question]) -> list[Pair]:
    return [net.cut(*one.texts[one.gold[0]]) for one in questions]


def _flat(scores: np.ndarray) -> list[float]:
    return [float(score) for score in scores.ravel()]


# --- Headroom's -----------------------------------------------------------------------------------


@cache
def loaded(name: str) -> Any:
    """The same model, made ready by Headroom."""
    from backend.models.loading import load_model, prepare

    if name == "bundled":
        return load_model("bundled")
    return prepare(reference.tiny(name), reference.tiny_tokenizer(), name, "0" * 12)


def by_headroom(golden: Golden) -> list[float]:
    """The numbers of a record, by the functions that commands and pages use."""
    from backend import stats
    from backend.kinds.attribution import attribution
    from backend.kinds.evaluation import evaluate
    from backend.kinds.head_importance import head_importance
    from backend.kinds.induction import copying, prefix_matching
    from backend.kinds.pruning import pruning_curve
    from backend.values import Head, parse_exact

    model = loaded(golden.model)
    sets = [prompts_of(*one) for one in golden.asked]
    if golden.what == "loglikelihoods":
        (answers,) = evaluate(model, sets[0], [parse_exact(off) for off in golden.off])
        return [x for row in answers.loglikelihoods for x in row]
    if golden.what == "accuracies":
        found = evaluate(model, sets[0], [parse_exact(off) for off in golden.off])
        return [float(answers.outcomes().mean()) for answers in found]
    if golden.what == "pruning":
        scores = head_importance(model, sets[1]).scores("per-token")
        order = [Head(int(i) // model.n_heads, int(i) % model.n_heads) for i in stats.order(scores)]
        curve = pruning_curve(model, sets[0], order, [], steps=[(share, 0.0) for share in golden.shares])
        return [float(np.mean(curve.questions.outcomes(row))) for row in curve.choices]
    if golden.what == "importance":
        return _flat(head_importance(model, sets[0]).scores(golden.variant))
    if golden.what == "attribution":
        return _flat(attribution(model, sets[0]).scores(golden.variant))
    measure = prefix_matching if golden.what == "prefix matching" else copying
    return _flat(np.asarray(measure(model, golden.n, golden.variant).mean))


# --- the file ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """What own.json holds."""

    texts: dict[str, list[Question]]
    numbers: dict[Golden, list[float]]


def read() -> Stored:
    found = json.loads(FILE.read_text("utf-8"))
    texts = {name: [Question([tuple(pair) for pair in one["texts"]], tuple(one["gold"])) for one in some]
             for name, some in found["texts"].items()}
    return Stored(texts, {Golden(**{name: tuple(value) if isinstance(value, list) else value for name, value in
                                    one["of"].items()}): one["numbers"] for one in found["records"]})


def write(stored: Stored) -> None:
    """Write the file, a record and a question to a line."""
    import tokenizers
    import torch
    import transformers

    def lines(some: Sequence[Any]) -> str:
        return "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in some) + "\n]"

    of = [{name: value for name, value in asdict(golden).items() if value != Golden.__dataclass_fields__[name].default}
          for golden in stored.numbers]
    records = [{"of": one, "numbers": [float(f"{x:.8g}") for x in numbers]}
               for one, numbers in zip(of, stored.numbers.values(), strict=True)]
    texts = ",\n".join(f"{json.dumps(name)}: " + lines([{"texts": one.texts, "gold": one.gold} for one in some])
                       for name, some in stored.texts.items())
    made = {"command": "python -m tests.golden --write", "torch": torch.__version__,
            "transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "numpy": np.__version__}
    FILE.write_text(f'{{"made": {json.dumps(made)},\n"records": {lines(records)},\n"texts": {{\n{texts}\n}}}}\n',
                    "utf-8")
