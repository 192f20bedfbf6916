"""A visitor, and a class of thirty, who toggle heads in Lab: real websocket sessions on the real server.

Every session has a page of its own and speaks Streamlit's protocol as a browser does, without drawing: it writes a mask
into the text field every few seconds, whether the last answer has come or not, and holds the watch from there to the
message with the number of that very mask. The store is empty but for the shipped results.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import psutil
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from backend.kinds.evaluation import evaluate
from backend.models.info import BUNDLED, describe
from backend.models.loading import load_model
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.tasks.task import DRAWS, prompts
from backend.values import Ablation, Head
from pages.shared import notes, words
from tests.benchmarks.measuring import Row
from tests.browser import explorer as browsing

if TYPE_CHECKING:
    from tests.benchmarks.rows import Bench

N_SESSIONS, SECONDS, EVERY = 30, 60.0, 4.0  # a class; how long; seconds from click to click of one visitor
LATE = 20.0  # seconds after the last click in which its answer may come
TASK, N_QUESTIONS = "antonym", 100
FIELD, NUMBER, NOTHING = "Chosen heads and FFNs", "Switched off", "–"


@dataclass
class Answer:
    """One click: what was switched off, and what came when; `accuracy` is empty where another click came first."""

    mask: Ablation
    clicked: float
    seconds: float = 0.0
    accuracy: str = ""


@dataclass
class Visitor:
    """One session, and what it was told."""

    masks: Sequence[Ablation]
    answers: list[Answer] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    field_id: str = ""
    heading: str = ""
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def visit(self, address: str, start: asyncio.Event, delay: float) -> None:
        """Open Lab, wait for the others, and click."""
        async with websockets.connect(f"{address.replace('http', 'ws')}/_stcore/stream", max_size=None,
                                      subprotocols=[websockets.Subprotocol("streamlit")]) as socket:
            listening = asyncio.create_task(self._listen(socket))
            await socket.send(self._message())
            await asyncio.wait_for(self.ready.wait(), browsing.PATIENCE / 1000)
            await start.wait()
            await asyncio.sleep(delay)
            for number, mask in enumerate(self.masks):
                if number:
                    await asyncio.sleep(max(0.0, self.answers[0].clicked + number * EVERY - time.monotonic()))
                self.answers.append(Answer(mask, time.monotonic()))
                await socket.send(self._message(str(mask)))
            deadline = time.monotonic() + LATE
            while not self.answers[-1].accuracy and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            listening.cancel()

    def _message(self, off: str | None = None) -> bytes:
        said = BackMsg()
        said.rerun_script.query_string = f"task={TASK}&n={N_QUESTIONS}"
        said.rerun_script.page_name = "lab"
        if off is not None:
            state = said.rerun_script.widget_states.widgets.add()
            state.id, state.string_value = self.field_id, off
        return said.SerializeToString()

    async def _listen(self, socket: Any) -> None:
        async for raw in socket:
            said = ForwardMsg.FromString(raw)
            kind = said.WhichOneof("type")
            if kind == "script_finished" and said.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                self.ready.set()  # a deep link's first run may end early, before anything is drawn
            elif kind == "delta" and said.delta.WhichOneof("type") == "new_element":
                self._see(said.delta.new_element)

    def _see(self, element: Any) -> None:
        match element.WhichOneof("type"):
            case "text_input" if element.text_input.label == FIELD:
                self.field_id = element.text_input.id
            case "html" if element.html.body.startswith(notes.HEADING):
                self.heading = notes.plain(element.html.body)
            case "metric" if element.metric.label == NUMBER and element.metric.body != NOTHING and self.answers:
                last = self.answers[-1]
                if not last.accuracy and self.heading.startswith(f"Without {words.components(last.mask)},"):
                    last.seconds, last.accuracy = time.monotonic() - last.clicked, element.metric.body
            case "exception":
                self.complaints.append(element.exception.message)
            case "alert":
                self.complaints.append(element.alert.body)


def masks(n: int, seed: int) -> list[Ablation]:
    """Masks of three heads that nobody has measured."""
    shape, draw = describe(BUNDLED), random.Random(seed)
    heads = [Head(layer, head) for layer in range(shape.n_layers) for head in range(shape.n_heads)]
    return [Ablation(frozenset(draw.sample(heads, 3))) for _ in range(n)]


@contextmanager
def served() -> Iterator[tuple[str, psutil.Process, Path]]:
    """A server over nothing but the shipped results: its address, its process, its store."""
    with tempfile.TemporaryDirectory() as cache, browsing.server(cache) as address:
        process = next(one for one in psutil.Process().children() if "streamlit" in one.cmdline())
        yield address, process, Path(cache)


async def together(visitors: Sequence[Visitor], address: str, process: psutil.Process) -> tuple[float, float]:
    """Let all visit at a time; seconds from the first click to the last answer, and of the server's processor."""
    start = asyncio.Event()
    visits = [asyncio.create_task(visitor.visit(address, start, EVERY * i / len(visitors)))
              for i, visitor in enumerate(visitors)]
    for visitor in visitors:
        await asyncio.wait_for(visitor.ready.wait(), browsing.PATIENCE / 1000)
    before, began = _processor(process), time.monotonic()
    start.set()
    await asyncio.gather(*visits)
    return time.monotonic() - began, _processor(process) - before


def _processor(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _toggling(name: str, each: Sequence[Sequence[Ablation]], limits: Sequence[float]) -> list[Row]:
    """Rows of one class: `each` has every visitor's masks, `limits` the seconds asked for at the median and at 95 %."""
    with served() as (address, process, cache):
        warm = Visitor(masks(1, 999))  # the model is read by the first who asks
        asyncio.run(together([warm], address, process))
        before = len(Store(cache).live_units())
        visitors = [Visitor(some) for some in each]
        wall, processor = asyncio.run(together(visitors, address, process))
        measured = len(Store(cache).live_units()) - before
        memory = process.memory_info().rss / 2**20
    clicks = [answer for visitor in visitors for answer in visitor.answers]
    told = sorted(answer.seconds for answer in clicks if answer.accuracy)
    complaints = [complaint for visitor in visitors for complaint in visitor.complaints]
    wrong = _wrong(clicks)
    if len(told) < 2:
        return [Row(f"{name}: answers", len(told), None, None, "", False, "", "", note="; ".join(complaints[:3]))]
    cuts = quantiles(told, n=100, method="inclusive")
    spread = f"{told[0]:.2f} to {told[-1]:.2f} s, {len(told)} of {len(clicks)} clicks answered"
    rate = len(told) / wall
    return [
        Row(f"{name}: from click to number, median", cuts[49], None, None, f"under {limits[0]:g} s",
            cuts[49] < limits[0], spread),
        Row(f"{name}: the same, 95 %", cuts[94], None, None, f"under {limits[1]:g} s", cuts[94] < limits[1], ""),
        Row(f"{name}: results", rate, None, None, "", None, f"{len(clicks) / wall:.2f} clicks/s", "/s"),
        Row(f"{name}: the server's processor time per click", processor / len(clicks), None, None, "", None,
            f"{processor / wall:.2f} cores"),
        Row(f"{name}: results measured and stored", measured, None, None, "", None,
            f"{len({a.mask for a in clicks})} masks", ""),
        Row(f"{name}: errors and numbers that differ from those computed alone", len(complaints) + len(wrong), None,
            None, "0", not complaints and not wrong, "; ".join([*complaints, *wrong][:3]), ""),
        Row(f"{name}: the server's memory at the end", memory, None, None, "", None, "", "MiB"),
    ]


def _wrong(clicks: Sequence[Answer]) -> list[str]:
    """Numbers that are not what the model says of that mask when it is asked alone."""
    model, task = load_model(), MINI[TASK]
    asked = prompts(task, 5, "fixed", N_QUESTIONS, 0, draws=DRAWS)
    found, alone = [], dict[Ablation, str]()
    for answer in clicks:
        if answer.accuracy:
            if answer.mask not in alone:
                alone[answer.mask] = words.percent(evaluate(model, asked, [answer.mask])[0].outcomes().mean())
            if answer.accuracy != alone[answer.mask]:
                found.append(f"{answer.mask}: {answer.accuracy} shown, {alone[answer.mask]} alone")
    return found


def classroom(bench: Bench) -> list[Row]:
    """One visitor, thirty with masks of their own, thirty with the same mask."""
    n_sessions, seconds = (3, 8.0) if bench.quick else (N_SESSIONS, SECONDS)
    clicks = int(seconds / EVERY)
    own = [masks(clicks, seed) for seed in range(n_sessions)]
    return [
        *_toggling("one visitor", [masks(clicks, 500)], (0.3, 0.3)),
        *_toggling(f"{n_sessions} sessions, own masks", own, (1.0, 2.0)),
        *_toggling(f"{n_sessions} sessions, the same masks", [masks(clicks, 501)] * n_sessions, (1.0, 2.0)),
    ]
