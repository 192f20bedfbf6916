"""What a study would take on a machine that need not be here: memory, operations, hours and cost, from a config alone.

Operations are counted as two per number of a matrix that a token goes through, and four per key and number of a head
for attention, over all keys of the rectangle that is multiplied, whatever the mask hides. Norms, softmax and the like
are left out. Of a unit's `cost`, which is linear in what its prompts hold, three things are asked in turn: tokens,
tokens whose logits are formed, and pairs of query and key. On the way back each product with frozen weights is made
once more, and each of attention's twice, so that a pass both ways is two passes of the one and three of the other.

Time is operations over an assumed share of the peak rate. Layers of one replica that lie on several devices work in
turn: such a replica is as fast as one device. The number of replicas is what fits side by side in each machine; they
share the work evenly, but no number of them is faster than the longest chain of results that build on each other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from ..errors import BadInput
from ..kinds.prompts import task_of
from ..kinds.unit import Unit, with_needs
from ..machine import WIDTHS, duration, size
from ..models.shapes import Parts, Shape
from ..records import ModelInfo
from ..tasks.lengths import LENGTHS
from ..tasks.registry import suite
from ..tasks.task import iter_prompts
from ..values import Setup, TaskId
from . import plan as planning
from .hardware import Hardware

ASSUMED = "assumed lengths"  # stands in for the digest of rows that are not here
USABLE = 0.95  # of a device's memory; the rest is the driver's and the fragments'
DISK = 3e9  # bytes per second at which weights that do not fit are read, in each pass
SAMPLE = 128  # prompts of a setup that are looked at; the rest is taken to be like them
SHOWN = 9  # rows of the table of measurements


class Read(NamedTuple):
    """What one evaluation, or one pass over training prompts, reads."""

    tokens: float
    scored: float  # tokens whose logits are formed
    pairs: float  # of query and key that are multiplied, of one head in one layer


class Question(NamedTuple):
    """How long a question is, in tokens."""

    contexts: float  # each different one once
    options: float  # all together
    n_options: float
    context: str = ""  # the first one, where its text is known: questions that begin alike read that once
    first: float = 0.0  # and its tokens

    @property
    def own(self) -> float:
        """What is read of it; of no option the last token."""
        return self.contexts + self.options - self.n_options


def find_tasks(names: str) -> tuple[TaskId, ...]:
    """The tasks that names stand for: with their rows where a folder is named or they are made here, else by length."""
    here = bool(os.environ.get("HEADROOM_DATA"))
    return tuple(TaskId(task.name, ASSUMED if task.name in LENGTHS and not here else task.fingerprint)
                 for task in suite(names))


# --- what is read ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counter:
    """Counts one thing of prompts, for `Unit.cost`."""

    what: str  # a field of `Read`
    count_text: planning.CountText | None
    d_model: int
    shares: bool = False  # gradients of a wide model, which read shared demonstrations forwards once

    def __call__(self, setup: Setup, split: str) -> int:
        tokens: float = getattr(_read(setup, split, self.count_text, self.d_model, self.shares), self.what)
        return round(tokens)


@lru_cache(maxsize=8192)
def _read(setup: Setup, split: str, count_text: planning.CountText | None, d_model: int, shares: bool) -> Read:
    """What is read of a setup's prompts in one go, of a few of them as of all."""
    questions, demos, n = _lengths(setup, split, count_text)
    fixed = setup.demos == "fixed" and setup.n_shots > 0
    prefix = setup.n_shots * demos
    mine = [question.own for question in questions]
    scored = sum(question.options for question in questions)
    if split != "validation":
        rows = _padded([one + prefix for one in mine])
        own = sum(rows) - len(rows) * (prefix / 2 if fixed and shares else 0)
        pairs = sum(row ** 2 for row in rows)
    elif setup.n_shots and not fixed:  # a context of its own, behind which its options stand
        own, pairs = sum(mine) + prefix * len(mine), sum((one + prefix) ** 2 for one in mine)
    else:  # those behind one draw are packed together; attention alone reads the padding of their rows
        draws = min(setup.draws if fixed else 1, len(mine))
        behind = [_joined(questions[draw::draws], d_model) for draw in range(draws)]
        rows = [row for trees in behind for row in _padded(_packed(trees))]
        own, pairs = sum(map(sum, behind)), sum(row * (row + prefix) for row in rows)
    times = n / len(questions)
    shared = prefix if fixed and split == "validation" else 0.0
    draws = min(setup.draws, n)
    return Read(own * times + draws * shared, scored * times, pairs * times + draws * shared ** 2)


def _joined(questions: Sequence[Question], d_model: int) -> list[float]:
    """Lengths of the trees into which questions grow that begin alike, as in `trees.joined`."""
    from ..engine.batches import CPU_TOKENS
    from ..engine.passes import ROW_TOKENS
    from ..engine.trees import is_cheaper_joined

    found: list[float] = []
    before = ""
    for one in sorted(questions, key=lambda one: one.context):
        pairs = enumerate(zip(before, one.context, strict=False))
        alike = next((i for i, (a, b) in pairs if a != b), min(len(before), len(one.context)))
        shared = one.first * alike / max(len(one.context), 1)
        if shared and is_cheaper_joined(found[-1], one.own, shared, ROW_TOKENS, CPU_TOKENS, d_model):
            found[-1] += one.own - shared
        else:
            found.append(one.own)
        before = one.context
    return found


def _packed(trees: Sequence[float]) -> list[float]:
    """Lengths of rows into which small questions are packed."""
    from ..engine.passes import ROW_TOKENS

    rows: list[float] = []
    for tree in sorted(trees, reverse=True):
        place = next((i for i, row in enumerate(rows) if row + tree <= ROW_TOKENS), None)
        if place is None:
            rows.append(tree)
        else:
            rows[place] += tree
    return rows


def _padded(lengths: Sequence[float]) -> list[float]:
    """What rows are filled up to where those of about equal length are read together, as the engine does on a
    processor; a GPU reads more at once."""
    from ..engine.batches import CPU_TOKENS

    left, found = sorted(lengths, reverse=True), []
    while left:
        n = max(1, int(CPU_TOKENS // max(left[0], 1)))
        found += [left[0]] * len(left[:n])
        left = left[n:]
    return found


def _lengths(
    setup: Setup, split: str, count_text: planning.CountText | None
) -> tuple[Sequence[Question], float, int]:
    """Some questions; tokens of a demonstration; how many questions."""
    assert setup.task is not None
    if setup.task.digest == ASSUMED:
        of = LENGTHS[setup.task.name]
        one = (of.contexts, of.options, of.n_options) if split == "validation" else (of.context, of.gold, 1.0)
        return [Question(*one)], of.demo, setup.n_examples
    task = task_of(setup)
    count = count_text or planning.guessed_tokens
    found, shown = [], []
    for prompt in iter_prompts(task, setup.n_shots, setup.demos, None, setup.seed, split,  # type: ignore[arg-type]
                               setup.draws):
        example = prompt.example
        options = range(len(example.options)) if split == "validation" else example.gold[:1]
        contexts = {example.contexts[i]: count(example.contexts[i]) for i in options}
        tokens = sum(max(count(example.contexts[i] + example.options[i]) - contexts[example.contexts[i]], 1)
                     for i in options)
        context, first = next(iter(contexts.items()))
        found.append(Question(sum(contexts.values()), tokens, len(options), context, first))
        shown.append(count(prompt.prefix))
        if len(found) == min(SAMPLE, setup.n_examples):
            break
    return (found, sum(shown) / len(shown) / max(setup.n_shots, 1),
            min(setup.n_examples, len(task.rows(split))))  # type: ignore[arg-type]


# --- operations -----------------------------------------------------------------------------------


def operations(info: ModelInfo, parts: Parts, read: Read, backwards: bool = False) -> float:
    """Operations of passes that read this much: of matrices, attention and logits.

    Args:
        backwards: `read` counts a pass both ways as three, as costs do.
    """
    n, of_ffns = info.n_layers, parts.ffn * parts.active
    every = (parts.attention + of_ffns) / n  # numbers that a token meets in a block
    heads = parts.attention - parts.attention_out  # of the last block, all that is needed of most tokens
    per_token = (n - 1) * every + heads / n
    of_matrices = 2 * (read.tokens * per_token + read.scored * (every + parts.unembedding))
    of_attention = 4 * info.n_all_heads * info.d_head * read.pairs
    return (2 / 3 if backwards else 1) * of_matrices + of_attention


@dataclass(frozen=True)
class Row:
    """One kind of measurement of a plan."""

    kind: str
    n: int  # results
    tokens: int  # through the whole model
    operations: float


Work = Mapping[Unit[Any], tuple[int, float]]  # tokens and operations of each unit, which stands after those it needs


def work(request: planning.Request, shape: Shape, count_text: planning.CountText | None = None) -> Work:
    """What each result takes that a request asks for or builds on."""
    found = {}
    for unit in with_needs(planning.asked(request, find_tasks)):
        read = read_of(unit, shape.info, count_text)
        found[unit] = round(read.tokens), operations(shape.info, shape.parts, read, unit.BACKWARDS)
    return found


def count(of: Work) -> list[Row]:
    """What each kind of measurement takes, the largest first."""
    rows: dict[str, Row] = {}
    for unit, (tokens, made) in of.items():
        before = rows.get(unit.KIND, Row(unit.KIND, 0, 0, 0.0))
        rows[unit.KIND] = Row(unit.KIND, before.n + 1, before.tokens + tokens, before.operations + made)
    return sorted(rows.values(), key=lambda row: -row.operations)


def longest_chain(of: Work, info: ModelInfo) -> float:
    """Operations of what can only be computed one after the other, where a unit that can goes in pieces."""
    ends: dict[Unit[Any], float] = {}
    for unit, (_, made) in of.items():
        ends[unit] = made / unit.pieces(info) + max((ends[need] for need in unit.needs()), default=0.0)
    return max(ends.values(), default=0.0)


def read_of(unit: Unit[Any], info: ModelInfo, count_text: planning.CountText | None = None) -> Read:
    """What measuring a unit reads, all passes together."""
    from ..engine.gradients import SHARING_WIDTH

    shares = unit.BACKWARDS and info.d_model >= SHARING_WIDTH
    tokens, scored, pairs = (unit.cost(info, Counter(what, count_text, info.d_model, shares)) for what in Read._fields)
    if unit.setup is None:  # random sequences, of which no logits are formed
        return Read(tokens, 0, tokens * min(info.max_positions, 4 * 125))
    return Read(tokens, scored, pairs)


# --- memory ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Bytes of one replica, over all its devices together."""

    weights: int
    keys: int  # and values, of the contexts that are held at a time
    activations: int  # of a pass
    tokens: int  # of that pass

    @property
    def total(self) -> int:
        return self.weights + self.keys + self.activations


def memory(shape: Shape, dtype: str, backwards: bool, free: int | None = None, gpu: bool = True) -> Memory:
    """What a replica takes while it measures, in passes as large as suit this much free memory.

    Args:
        backwards: gradients: what every layer makes exists at once.
        free: bytes beside the weights; None: as much as it likes.
    """
    from ..engine.batches import CPU_TOKENS, GPU_TOKENS, bytes_per_token, fitting

    each = bytes_per_token(shape.info, dtype, backwards)
    most = GPU_TOKENS if gpu else CPU_TOKENS
    tokens = most if free is None else fitting(free, each, most)
    held = min(tokens, shape.info.max_positions)
    keys = 2 * shape.info.n_layers * shape.parts.d_kv * WIDTHS[dtype] * held
    gated = shape.parts.ffn > 2.5 * shape.info.n_layers * shape.info.d_model * shape.info.d_ffn
    made = bytes_per_token(shape.info, dtype, backwards, ffn_widths=3 if gated else 2)
    return Memory(shape.parts.total * WIDTHS[dtype], 0 if backwards else keys, tokens * made, tokens)


@dataclass(frozen=True)
class Placement:
    """Where a replica's layers lie."""

    devices: int  # of one replica
    replicas: int  # in all machines together
    fits: bool

    def words(self, shape: Shape, hardware: Hardware) -> str:
        n, layers = self.devices, shape.info.n_layers
        if not self.fits:
            return "does not fit: layers beyond the memory are read from the disk in each pass (--device-map auto)"
        if n == 1:
            where = "a replica on one device"
        else:
            cuts = [round(layers * i / n) for i in range(n + 1)]
            where = f"a replica over {n} devices (layers " + ", ".join(
                f"{a}-{b - 1}" for a, b in pairwise(cuts)) + "), which work in turn"
        each, nodes = self.replicas // hardware.nodes, hardware.nodes
        spare = hardware.n - n * each
        on_each = "" if nodes == 1 else f" on each of {nodes} nodes, {self.replicas} in all"
        return f"{where}; {each} side by side{on_each}" + (f", {spare} devices spare" if spare else "")

    def option(self, hardware: Hardware) -> str:
        """What makes `precompute` use them all."""
        where = "local" if hardware.nodes == 1 else "ADDRESS"
        return f"--cluster {where}" + f" --gpus-per-worker {self.devices}" * hardware.on_gpu + (
            f" --workers {self.replicas}") + " --device-map auto" * (not self.fits)


def place(shape: Shape, dtype: str, hardware: Hardware) -> Placement:
    """As few devices of a machine for a replica as hold its weights and small passes of gradients; as many replicas as
    fit in every machine."""
    from ..engine.batches import FEWEST_TOKENS, SHARE, bytes_per_token

    room = USABLE * hardware.device.memory
    working = FEWEST_TOKENS * bytes_per_token(shape.info, dtype, True) / SHARE
    block = (shape.parts.attention + shape.parts.ffn) / shape.info.n_layers * WIDTHS[dtype]
    for n in range(1, min(hardware.n, shape.info.n_layers) + 1):
        if (shape.parts.total * WIDTHS[dtype] + working) / n + (block if n > 1 else 0) <= room:
            return Placement(n, hardware.n // n * hardware.nodes, True)
    return Placement(hardware.n, hardware.nodes, False)


# --- in words -------------------------------------------------------------------------------------


def forecast(request: planning.Request, shape: Shape, hardware: Hardware, share: float,
             price: tuple[float, float] | None = None, count_text: planning.CountText | None = None) -> str:
    """A plan for a machine, in one screen.

    Args:
        share: of the peak rate that is reached.
        price: dollars per device and hour; None: those assumed for the device.

    Raises:
        BadInput: a share out of range, or what the request asks for does not fit the model.
    """
    if not 0 < share <= 1:
        raise BadInput(f"The share of the peak rate is above 0 and at most 1, not {share:g}.")
    dtype, device, info, parts = request.model.dtype, hardware.device, shape.info, shape.parts
    width = WIDTHS[dtype]
    of = work(request, shape, count_text)
    rows = count(of)
    rate = share * (device.single if dtype == "float32" else device.half)
    placed = place(shape, dtype, hardware)
    free = max(0, int(USABLE * device.memory * placed.devices) - parts.total * width)
    scoring = memory(shape, dtype, False, free, hardware.on_gpu)
    gradients = memory(shape, dtype, True, free, hardware.on_gpu)
    all_operations = sum(row.operations for row in rows)
    reading = 0.0
    if not placed.fits:
        missing = parts.total * width - int(USABLE * device.memory * hardware.n / 2)
        reading = sum(row.tokens for row in rows) / scoring.tokens * missing / DISK
    low, high = price or device.price
    alone = (all_operations / rate + reading) / 3600
    chain = alone * longest_chain(of, info) / max(all_operations, 1)
    hours = max(alone / placed.replicas, chain)
    lines = [
        f"{info.name} in {dtype}, {info.n_layers} layers x {info.n_heads} heads, d_model {info.d_model:,} "
        f"({shape.source}); on {hardware}",
        f"{len(request.tasks)} tasks x shots {', '.join(map(str, request.shots))}, {request.n_examples} queries: "
        f"{sum(row.n for row in rows):,} results",
        *_assumption(request),
        "",
        f"{'part':22}{'parameters':>17}{'memory':>10}",
        *(f"{name:22}{n:17,}{size(n * width):>10}" for name, n in (
            ("embeddings", parts.embeddings), ("attention", parts.attention), ("FFNs", parts.ffn),
            ("norms, FFNs' biases", parts.norms), ("head", parts.head), ("together", parts.total))),
        f"head: the embedding once more (tied), {parts.unembedding:,} products per scored token" if not parts.head
        else f"head: {parts.unembedding:,} products per scored token",
        "",
        f"placement: {placed.words(shape, hardware)}",
        *(f"{name}: keys and values {size(m.keys)}, activations {size(m.activations)} in passes of {m.tokens:,} "
          f"tokens; with weights {size(m.total)} of {size(device.memory * placed.devices)}"
          + ("" if m.total <= USABLE * device.memory * placed.devices else ": DOES NOT FIT")
          for name, m in (("scores", scoring), ("gradients", gradients))),
        "",
        f"{'measurement':22}{'results':>9}{'tokens':>18}{'operations':>12}{'hours':>10}{'share':>8}",
    ]
    shown = rows[:SHOWN]
    if rest := rows[SHOWN:]:
        shown.append(Row(f"{len(rest)} others", sum(r.n for r in rest), sum(r.tokens for r in rest),
                         sum(r.operations for r in rest)))
    lines += [f"{row.kind:22}{row.n:9,}{row.tokens:18,}{row.operations:12.1e}"
              f"{hours * row.operations / max(all_operations, 1):10,.1f}"
              f"{row.operations / max(all_operations, 1):8.1%}" for row in shown]
    many, dollars = placed.replicas > 1, hours * hardware.n * hardware.nodes
    together = f"{duration(3600 * hours)} on {placed.replicas} replica{'s' * many}"
    lines += [
        f"{'together':22}{sum(r.n for r in rows):9,}{sum(r.tokens for r in rows):18,}{all_operations:12.1e}"
        f"{hours:10,.1f}",
        "",
        f"time: {together}" + (f", {duration(3600 * alone)} on one" if many else "")
        + f"; cost: ${dollars * low:,.0f} to ${dollars * high:,.0f}"
        + ("" if not reading else f"; {reading / placed.replicas / 3600:,.1f} h of it reading weights at "
           f"{size(DISK)}/s"),
        *([f"longest chain of results: {duration(3600 * chain)}, so more than {max(1, round(alone / chain)):,} replicas"
           " are no faster", f"to use all: precompute ... {placed.option(hardware)}"] if many and chain else []),
        f"most of it: {rows[0].kind} ({rows[0].operations / max(all_operations, 1):.0%})" if all_operations else "",
        f"assumed: {share:.0%} of a peak of {rate / share / 1e12:,.0f} Tera-operations/s per device; ${low:g} to "
        f"${high:g} per device and hour" + ("" if price else " (not a quote)") + "; loading and waiting left out",
    ]
    return "\n".join(line.rstrip() for line in lines)


def _assumption(request: planning.Request) -> list[str]:
    n = sum(task.digest == ASSUMED for task in request.tasks)
    return [f"the rows of {n} tasks are not here: their lengths are means of 100, in tokens of GPT-2 and OPT"][:n]


