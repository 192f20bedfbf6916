"""What things are: heads and FFNs that can be switched off, models, tasks, setups, rankings. Plain values, all of them.

Layers and heads count from 0 and are written `L3H7`; the FFN of layer 2 is written `L2 FFN`, or
`F2` where space is short (URLs, keys). An `Ablation` is a plain value: hash it, store it, put it
in a URL. The empty one is the intact model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby
from operator import index
from typing import Any, Literal, NamedTuple

import numpy as np

from . import limits
from .arrays import Float, Int
from .errors import BadInput
from .kept import Kept

RARE = {"rare": True}  # metadata of a field that says something of few: not written where it holds its default

Fill = Literal["zero", "mean"]
METHODS = ("iterative", "greedy", "gates")  # ways of coming to an order of heads step by step, from training prompts
N_FIT = 60  # training prompts to which an order is fitted, unless asked otherwise


@dataclass(frozen=True, order=True)
class Head:
    """One attention head; with grouped-query attention, one query head."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"


@dataclass(frozen=True, init=False)
class Ablation:
    """The heads and FFNs that are switched off, and what stands in for them.

    `fill="zero"`: a head's output z (before the output projection) becomes 0, an FFN adds nothing to the
    residual stream. `fill="mean"`: both become their mean over the task's training prompts.
    """

    heads: frozenset[Head]
    ffns: frozenset[int]
    fill: Fill

    def __init__(self, heads: str | Iterable[Head | str | Sequence[int]] = frozenset(), ffns: Iterable[int] = (),
                 fill: Fill = "zero") -> None:
        """The components named, in words or one by one.

        Args:
            heads: `"L3H7, L2 FFN"`, or any of heads, such texts, and (layer, head) pairs; texts may name FFNs, too, and
                `mean:` in front of them asks for means.
            ffns: layers whose FFNs are off.

        Raises:
            BadInput: something given is no component, or `fill` is unknown.
        """
        if fill not in ("zero", "mean"):
            raise BadInput(f"Unknown fill '{fill}'. Known: zero, mean.")
        try:
            layers = frozenset(map(index, ffns))
        except TypeError as error:
            raise BadInput(f"FFNs are named by their layers, as in ffns=[2, 5], got {str(ffns)[:60]!r}.") from error
        if not isinstance(heads, frozenset) or not set(map(type, heads)) <= {Head}:
            heads, also, said = _components(heads)
            layers, fill = layers | also, "mean" if "mean" in (fill, said) else "zero"
        object.__setattr__(self, "heads", heads)
        object.__setattr__(self, "ffns", layers)
        # where nothing is off: one intact model, one key
        object.__setattr__(self, "fill", fill if heads or layers else "zero")

    def __bool__(self) -> bool:
        return bool(self.heads or self.ffns)

    def __str__(self) -> str:
        """Short and canonical, the text of keys and URLs: `L3H0-3,L5H1,F2`; `mean:` in front for mean ablation."""
        parts = []
        in_order = sorted(self.heads, key=lambda h: (h.layer, h.head))  # several times faster than by comparing heads
        for layer, heads in groupby(in_order, key=lambda h: h.layer):
            parts += [f"L{layer}H{run}" for run in _runs([h.head for h in heads])]
        parts += [f"F{run}" for run in _runs(sorted(self.ffns))]
        return ("mean:" if self.fill == "mean" else "") + ",".join(parts)

    def __or__(self, other: Ablation) -> Ablation:
        return Ablation(self.heads | other.heads, self.ffns | other.ffns, self.fill)

    @property
    def lowest_layer(self) -> int | None:
        """The first layer that runs differently from the intact model; None when nothing is off."""
        layers = {h.layer for h in self.heads} | self.ffns
        return min(layers) if layers else None

    def filled(self, fill: Fill) -> Ablation:
        """The same components, replaced by something else."""
        return Ablation(self.heads, self.ffns, fill)

    def check(self, n_layers: int, n_heads: int, headless: Collection[int] = ()) -> None:
        """Raise if something is named that the model does not have.

        Args:
            headless: layers without attention heads.

        Raises:
            BadInput: names the components and the model's ranges.
        """
        beyond = [h for h in self.heads if not (0 <= h.layer < n_layers and 0 <= h.head < n_heads)]
        wrong = [str(h) for h in sorted(beyond)]
        wrong += [f"L{layer} FFN" for layer in sorted(self.ffns) if not 0 <= layer < n_layers]
        if wrong:
            raise BadInput(f"No such component: {', '.join(wrong)}. This model has layers 0 to {n_layers - 1}, "
                           f"each with heads 0 to {n_heads - 1} and one FFN.")
        if headless and (nowhere := [h for h in self.heads if h.layer in headless]):
            raise BadInput(f"No such component: {', '.join(map(str, sorted(nowhere)))}. {no_heads(n_layers, headless)}")

    def head_mask(self, n_layers: int, n_heads: int) -> Float[np.ndarray, "n_layers n_heads"]:
        """1 = kept, 0 = off; in float32."""
        mask = np.ones((n_layers, n_heads), np.float32)
        for h in self.heads:
            mask[h.layer, h.head] = 0
        return mask

    def ffn_mask(self, n_layers: int) -> Float[np.ndarray, " n_layers"]:
        """1 = kept, 0 = off; in float32."""
        mask = np.ones(n_layers, np.float32)
        mask[sorted(self.ffns)] = 0
        return mask


INTACT = Ablation()

_LAYERS = r"(\d{1,6})(?:-(\d{1,6}))?"
_HEADS = re.compile(rf"L?{_LAYERS}[H.]{_LAYERS}", re.IGNORECASE)  # L3H7, 5.1, L3H0-3, L0-2H4
_FFNS = re.compile(rf"(?:F{_LAYERS}|L?{_LAYERS}\s*F(?:FN)?)", re.IGNORECASE)  # F2, L2 FFN, L2F, F0-3
_LAYER = re.compile(rf"L{_LAYERS}", re.IGNORECASE)  # L4: all heads of layer 4


def no_heads(n_layers: int, headless: Collection[int]) -> str:
    """Which layers have no heads to switch off, in a sentence."""
    others = [layer for layer in range(n_layers) if layer not in headless]
    return (f"This model has attention heads in layers {', '.join(_runs(others))} alone; layers "
            f"{', '.join(_runs(sorted(headless)))} have linear attention, whose state has no heads to switch off.")


def parse(text: str, n_layers: int, n_heads: int, headless: Collection[int] = ()) -> tuple[Ablation, list[str]]:
    """Read `L3H7, 5.1, L2 FFN, L3H0-3, L4` and say what could not be read.

    `L4` is every head of layer 4. Items are separated by commas, semicolons or new lines; `mean:`
    in front asks for mean ablation.

    Args:
        headless: layers without attention heads.

    Returns:
        The components that could be read, and one sentence for each item that could not (or for the first twenty, and
        one that counts the rest). A text that is longer than any mask needs, or goes on naming components, is read no
        further.
    """
    if len(text) > limits.MASK_TEXT:
        return Ablation(), [f"This mask is a text of {len(text):,} characters; {limits.MASK_TEXT:,} are allowed. Write "
                            "L3H0-31 for several heads, or L4 for all heads of a layer."]
    text = text.strip()
    fill: Fill = "zero"
    if text.lower().startswith(("mean:", "zero:")):
        fill, text = ("mean" if text[0] in "mM" else "zero"), text[5:]
    heads: set[Head] = set()
    ffns: set[int] = set()
    problems: list[str] = []
    n_named = 0
    for item in filter(None, (part.strip() for part in re.split(r"[,;\n]+", text))):
        compact = re.sub(r"\s+", "", item)
        item = item if len(item) <= 40 else f"{item[:40]} …"
        is_ffn = False
        if m := _HEADS.fullmatch(compact):
            layers, chosen = _span(m[1], m[2]), _span(m[3], m[4])
        elif m := _FFNS.fullmatch(compact):
            layers, chosen, is_ffn = _span(m[1] or m[3], m[2] or m[4]), range(0), True
        elif m := _LAYER.fullmatch(compact):
            layers, chosen = _span(m[1], m[2]), range(n_heads)
        else:
            problems.append(f"'{item}' is not a component. Write L3H7 or 3.7 for a head, L3H0-3 for several, "
                            "L4 for all heads of a layer, L2 FFN or F2 for an FFN.")
            continue
        if not layers or layers[-1] >= n_layers or (chosen and chosen[-1] >= n_heads):
            problems.append(f"'{item}' is not in this model: layers go from 0 to {n_layers - 1}, "
                            f"heads from 0 to {n_heads - 1}.")
            continue
        n_named += len(layers) * max(len(chosen), 1)
        if n_named > limits.MASK_NAMES:
            problems.append(f"From '{item}' on this mask was not read: it names more than {limits.MASK_NAMES:,} "
                            "components. Name each once.")
            break
        elif is_ffn:
            ffns.update(layers)
        elif headless and set(layers) & set(headless):
            problems.append(f"'{item}' is not in this model. {no_heads(n_layers, headless)}")
        elif not chosen:
            problems.append(f"'{item}' names no head: a range goes from the lower to the higher number.")
        else:
            for layer in layers:
                heads.update(_heads_of(layer, n_heads)[chosen.start:chosen.stop])
    if (more := len(problems) - limits.MASK_PROBLEMS) > 0:
        problems[limits.MASK_PROBLEMS:] = [f"{more} more items could not be read."]
    return Ablation(frozenset(heads), frozenset(ffns), fill), problems


def parse_exact(text: str) -> Ablation:
    """Read what `str(Ablation)` wrote. Masks that were read lately are kept: curves by one ranking share theirs.

    Raises:
        BadInput: if the text is anything else.
    """
    if (known := _read.get(text)) is not None:
        return known
    ablation = _canonical(text)
    if ablation is None:
        ablation, problems = parse(text, limits.LAYERS, limits.HEADS_PER_LAYER)
        if problems:
            raise BadInput(problems[0])
    if len(ablation.heads) > limits.HEADS:
        raise BadInput(f"A mask of {len(ablation.heads):,} heads: no model has more than {limits.HEADS:,}.")
    return _read.keep(text, ablation, len(ablation.heads) + 1)


class MaskSize(NamedTuple):
    """How much a mask names, and how far it reaches."""

    n_heads: int
    n_ffns: int
    layers: int  # one more than the highest layer of a head; 0 where there is none
    heads: int  # one more than the highest head
    depth: int  # one more than the highest layer of an FFN
    fill: str


def mask_size(text: str) -> MaskSize:
    """What `parse_exact` would read, without making an object of each head. Sizes that were worked out lately are kept.

    Raises:
        BadInput: as `parse_exact`.
    """
    if (known := _sizes.get(text)) is None:
        known = _size_of_runs(text)
        if known is None:
            off = parse_exact(text)
            known = MaskSize(len(off.heads), len(off.ffns), max((h.layer + 1 for h in off.heads), default=0),
                             max((h.head + 1 for h in off.heads), default=0), max(off.ffns, default=-1) + 1, off.fill)
        keep_size(text, known)
    return known


def mask_sizes(texts: Sequence[str]) -> list[MaskSize]:
    """`mask_size` of each. Raises: BadInput: as `parse_exact`."""
    return [known or mask_size(text) for text, known in zip(texts, map(_sizes.get, texts), strict=True)]


def keep_size(text: str, size: MaskSize) -> None:
    """Keep the size of a mask that was worked out, or of one that was written from its components."""
    _sizes.keep(text, size, len(text) + 100)


def _size_of_runs(text: str) -> MaskSize | None:
    """The size of a mask that is written as `str(Ablation)` writes it; None where it is not, or names too much."""
    if (one := _ONE.fullmatch(text)) and int(one[1]) < limits.LAYERS and int(one[2]) < limits.HEADS_PER_LAYER:
        return MaskSize(1, 0, int(one[1]) + 1, int(one[2]) + 1, 0, "zero")  # oracles name thousands of them
    if (runs := mask_runs(text)) is None:
        return None
    (layer, first, last), (_, first_ffn, last_ffn) = runs
    return MaskSize(int((last - first + 1).sum()), int((last_ffn - first_ffn + 1).sum()),
                    int(layer.max(initial=-1)) + 1, int(last.max(initial=-1)) + 1, int(last_ffn.max(initial=-1)) + 1,
                    "zero")


Runs = tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]  # layer, first and last number


def mask_runs(text: str) -> tuple[Runs, Runs] | None:
    """The runs of heads and of FFNs that a mask names, in order and apart, as `str(Ablation)` writes them, with zeros
    in place; None where it is written in another way, or names more than there can be."""
    if len(text) > limits.MASK_TEXT or not _RUNS.fullmatch(text):
        return None
    at = text.find("F") if "F" in text else len(text)
    heads, ffns = _spans(text[:at]), _spans(text[at:])
    layer, first, last = heads
    _, first_ffn, last_ffn = ffns
    if max(layer.max(initial=0), last_ffn.max(initial=0)) >= limits.LAYERS or last.max(initial=0) >= (
            limits.HEADS_PER_LAYER):
        return None
    begin, end = layer * limits.HEADS_PER_LAYER + first, layer * limits.HEADS_PER_LAYER + last
    if ((first > last).any() or (first_ffn > last_ffn).any() or (begin[1:] <= end[:-1]).any()
            or (first_ffn[1:] <= last_ffn[:-1]).any() or int((last - first + 1).sum()) > limits.HEADS):
        return None
    return heads, ffns


def _spans(text: str) -> Runs:
    """The runs of a part of a text that `_RUNS` has matched; the layer of FFNs' is 0."""
    if not text:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    runs, of_heads = text.strip(",").split(","), text[0] == "L"
    numbers = np.fromstring(text.translate(_TO_SPACES), np.int64, sep=" ")
    width = np.fromiter(("-" in run for run in runs), np.int64, len(runs)) + 1 + of_heads  # how many numbers each has
    at = np.cumsum(width) - width
    return numbers[at] * of_heads, numbers[at + of_heads], numbers[at + width - 1]


_sizes: Kept[str, MaskSize] = Kept(limits.MASK_SIZES_TEXT)
_TO_SPACES = str.maketrans("LHF,-", "     ")


def _components(given: str | Iterable[Head | str | Sequence[int]]) -> tuple[frozenset[Head], frozenset[int], Fill]:
    """The heads, the layers of FFNs and the fill that texts, heads and pairs name. Raises: BadInput: names what is
    neither, and of a text what `parse_exact` says."""
    heads: set[Head] = set()
    texts: list[str] = []
    try:
        for one in [given] if isinstance(given, str) else given:
            if isinstance(one, str):
                texts.append(one)
            elif isinstance(one, Head):
                heads.add(one)
            else:
                layer, head = one
                heads.add(Head(index(layer), index(head)))
    except (TypeError, ValueError) as error:
        raise BadInput(f"These are no heads: {str(given)[:60]}. Give a text such as 'L3H7, L2 FFN', or any of heads, "
                       "such texts, and (layer, head) pairs.") from error
    text = ",".join(texts)
    if whole := next((item for item in re.split(r"[,;\n]+", text.partition(":")[2] or text)
                      if _LAYER.fullmatch(re.sub(r"\s+", "", item))), None):
        raise BadInput(f"'{whole.strip()[:40]}' means all heads of a layer, and how many these are depends on the "
                       "model. Write L4H0-11 for heads 0 to 11.")
    named = parse_exact(text)
    return frozenset(heads) | named.heads, named.ffns, named.fill


_read: Kept[str, Ablation] = Kept(limits.MASKS_KEPT)  # heads that they name together
_HEAD_RUN, _FFN_RUN = r"L(\d{1,6})H(\d{1,6})(?:-(\d{1,6}))?", r"F(\d{1,6})(?:-(\d{1,6}))?"
_RUN = re.compile(f"(?:{_HEAD_RUN}|{_FFN_RUN})(?:,|$)", re.ASCII)
_ONE = re.compile(r"L(0|[1-9]\d{0,5})H(0|[1-9]\d{0,5})", re.ASCII)
_NEXT = r"(?:,(?!\Z)|(?=\Z))"  # a comma between two, none behind the last
_RUNS = re.compile(rf"(?:L\d{{1,6}}H\d{{1,6}}(?:-\d{{1,6}})?{_NEXT})*+(?:F\d{{1,6}}(?:-\d{{1,6}})?{_NEXT})*+", re.ASCII)


def _canonical(text: str) -> Ablation | None:
    """The same as `parse` makes of a text as `str(Ablation)` writes it, many times faster; None where it is not one, or
    names more than there can be."""
    if len(text) > limits.MASK_TEXT:
        return None
    mean, at = text.startswith("mean:"), 5 * text.startswith("mean:")
    heads: set[Head] = set()
    ffns: set[int] = set()
    n_named = 0
    for m in _RUN.finditer(text, at):
        layer, first, last, ffn, last_ffn = m.groups()
        if m.start() != at:
            return None
        at = m.end()
        if layer is None:
            a, b, most = int(ffn), int(last_ffn or ffn), limits.LAYERS
        else:
            a, b, most = int(first), int(last or first), limits.HEADS_PER_LAYER
        n_named += b + 1 - a
        if not a <= b < most or n_named > limits.MASK_NAMES or (layer is not None and int(layer) >= limits.LAYERS):
            return None
        if layer is None:
            ffns.update(range(a, b + 1))
        else:
            heads.update(_heads_of(int(layer), limits.HEADS_PER_LAYER)[a:b + 1])
    if at != len(text) or text.endswith(","):
        return None
    return Ablation(frozenset(heads), frozenset(ffns), "mean" if mean else "zero")


@lru_cache(maxsize=256)  # masks of thousands of heads are read by the thousand
def _heads_of(layer: int, n_heads: int) -> tuple[Head, ...]:
    return tuple(Head(layer, head) for head in range(n_heads))


def _span(first: str, last: str | None) -> range:
    return range(int(first), int(last if last is not None else first) + 1)


def _runs(numbers: list[int]) -> list[str]:
    """Consecutive numbers as ranges: [0, 1, 2, 5] -> ["0-2", "5"]."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return [f"{a}" if a == b else f"{a}-{b}" for a, b in runs]


# --- identities: everything that a number depends on -----------------------------------------------


@dataclass(frozen=True, order=True)
class ModelId:
    """Which model answers, with all that decides its numbers. Made once, by `models.identity`, and handed on.

    Attributes:
        name: `bundled`, a hub id, or the name of a local folder.
        revision: for people: a commit of the hub, or the digest of a local folder.
        digest: of config, weights, tokenizer files and adapter; whatever can change a number and is not named here.
        bos: whether every prompt begins with a BOS token.
        dtype: "float32" (the reference), "bfloat16" or "float16".
    """

    name: str
    revision: str
    digest: str
    bos: bool = False
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _check_names("model", self.name, self.revision, self.digest, self.dtype)

    def __str__(self) -> str:
        """`facebook/opt-125m @ 1a2b3c4d5e6f, float32`."""
        return f"{self.name} @ {self.revision}, {self.dtype}" + (", BOS in front" if self.bos else "")

    def with_(self, **changes: Any) -> ModelId:
        """The same with some fields changed."""
        return replace(self, **changes)

    @property
    def weights(self) -> ModelId:
        """The model itself, however it is run: what its shape belongs to."""
        return replace(self, bos=False, dtype="")


@dataclass(frozen=True, order=True)
class TaskId:
    """Which task is asked: its name, and the digest of its rows and wording."""

    name: str
    digest: str

    def __post_init__(self) -> None:
        _check_names("task", self.name, self.digest)

    def __str__(self) -> str:
        return self.name


def _check_names(of: str, *names: str) -> None:
    if max(map(len, names)) > limits.NAME:
        raise BadInput(f"The name, revision or digest of a {of} has more than {limits.NAME} characters.")


@dataclass(frozen=True, order=True)
class Setup:
    """Which model answers which questions, asked how."""

    model: ModelId
    task: TaskId
    n_shots: int = 0
    demos: str = "fixed"  # or "per-query"
    n_examples: int = 100  # asked for; a record says how many there were
    seed: int = 0
    draws: int = field(default=1, metadata=RARE)  # of `fixed` demonstrations, over which the queries are spread; 1
    # where none are shared: at 0 shots, and `per-query`

    def __post_init__(self) -> None:
        if self.n_shots == 0 or self.demos != "fixed":
            object.__setattr__(self, "draws", 1)
        if not 1 <= self.draws <= limits.DRAWS:
            raise BadInput(f"The number of draws must lie between 1 and {limits.DRAWS}, got {_big(self.draws)}.")
        if self.n_shots < 0:
            raise BadInput(f"The number of shots must be 0 or more, got {self.n_shots}.")
        if self.n_shots > limits.SHOTS or max(abs(self.n_examples), abs(self.seed)) > limits.NUMBER:
            raise BadInput(f"No setup has {_big(self.n_shots)} shots, {_big(self.n_examples)} examples and seed "
                           f"{_big(self.seed)}: at most {limits.SHOTS:,} shots, and numbers below 2^53.")

    def __str__(self) -> str:
        return f"{self.model.name} {self.task.name} {self.n_shots}-shot {self.demos}" + (
            f" {self.draws} draws" if self.draws > 1 else "")

    def with_(self, **changes: Any) -> Setup:
        """The same with some fields changed."""
        return replace(self, **changes)


def _big(number: int) -> str:
    """A number as it is, or its size: one of thousands of digits cannot even be written."""
    return str(number) if abs(number) <= limits.NUMBER else f"2^{number.bit_length() - 1} or more"


@dataclass(frozen=True)
class Ranking:
    """In which order heads or FFNs are removed: by importance, the least important first, as fitted, or at random.

    Attributes:
        tasks: whose importance; the mean of several is the aggregate. None: a random order, or the pruned task's own.
        n_train, reduction: how the heads' importance was measured; of a random order, over how many training prompts
            it was measured which heads are dead, which then go first: 0 where all heads are drawn alike.
        reverse: the most important first.
        seed: of a random order; -1 where it is none.
        method: one of `METHODS`, by which the heads' order was fitted to one task; empty where importance ranks.
    """

    tasks: tuple[TaskId, ...] = ()
    n_train: int = 0
    reduction: str = ""
    reverse: bool = False
    seed: int = -1
    method: str = field(default="", metadata=RARE)

    @classmethod
    def by(cls, *tasks: TaskId, n_train: int = 200, reduction: str = "per-token", reverse: bool = False) -> Ranking:
        """By the importance for a task, or by the mean importance for several."""
        return cls(tuple(sorted(set(tasks))), n_train, reduction, reverse)

    @classmethod
    def random(cls, seed: int = 0, n_probe: int = 0) -> Ranking:
        """In a random order: of all heads, or dead heads first and then the live ones at random.

        Args:
            n_probe: over how many training prompts it was measured which heads are dead; 0: of all heads.
        """
        return cls(n_train=n_probe, seed=seed)

    @classmethod
    def fitted(cls, method: str, task: TaskId, n_train: int = N_FIT, reduction: str = "per-token") -> Ranking:
        """In the order that one of `METHODS` found on training prompts of a task.

        Args:
            reduction: of the importance that is scored anew, where the method is "iterative".
        """
        return cls((task,), n_train, reduction if method == "iterative" else "", method=method)

    @property
    def is_random(self) -> bool:
        return self.seed >= 0

    def named(self, own: TaskId) -> str:
        """As it is written: `own`, `task:piqa`, `aggregate:cb+rte`, `random:0`, `live:0`, `gates`, `gates:piqa`;
        `reverse:` in front."""
        names = [task.name for task in self.tasks]
        if self.method:
            return self.method if self.tasks == (own,) else f"{self.method}:{names[0]}"
        at_random = "live" if self.n_train else "random"
        text = (f"{at_random}:{self.seed}" if self.is_random else "own" if self.tasks == (own,) else
                f"task:{names[0]}" if len(names) == 1 else f"aggregate:{'+'.join(names)}")
        return "reverse:" * self.reverse + text

    @classmethod
    def parse(cls, text: str, own: TaskId, find: Callable[[str], Sequence[TaskId]], n_train: int = 200,
              reduction: str = "per-token", n_probe: int = 32, n_fit: int = N_FIT) -> Ranking:
        """Read what `named` writes; `aggregate:` may also name a suite.

        Args:
            own: the task that is pruned.
            find: the tasks that a name, a suite, or several of them with commas between stand for.

        Raises:
            BadInput: if the text is no ranking.
        """
        if len(text) > limits.RANKING_TEXT:
            raise BadInput(f"A ranking is a text of up to {limits.RANKING_TEXT:,} characters; this one has "
                           f"{len(text):,}.")
        reverse = text.startswith("reverse:")
        kind, _, value = text.removeprefix("reverse:").partition(":")
        if kind in ("random", "live") and re.fullmatch("[0-9]{1,9}", value) and not reverse:
            return cls.random(int(value), n_probe if kind == "live" else 0)
        if kind in METHODS and not reverse and (value or ":" not in text):
            found = find(value) if value else [own]
            if len(found) == 1:
                return cls.fitted(kind, found[0], n_fit, reduction)
        if kind == "own" and not value:
            return cls.by(own, n_train=n_train, reduction=reduction, reverse=reverse)
        if kind in ("task", "aggregate") and value:
            found = find(value.replace("+", ","))
            if kind == "aggregate" or len(found) == 1:
                return cls.by(*found, n_train=n_train, reduction=reduction, reverse=reverse)
        raise BadInput(f"Unknown ranking '{text}'. Known: own, task:<name>, aggregate:<suite, or names with + "
                       f"between>, random:<seed>, live:<seed>, {', '.join(METHODS)} (or <one of these>:<name>); "
                       "reverse: in front of the first three.")
