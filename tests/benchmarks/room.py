"""Thirty browsers in a room: how soon all of them see the truth, and what their waiting costs.

The browsers are websocket sessions that say what Chromium would say, on the real server: thirty Chromiums would measure
themselves. They draw nothing; what a browser takes to draw comes on top, for each person on a machine of their own.
Alone: `python -m tests.benchmarks.room`, with `--quick` for a few people and rounds.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

from backend.rooms import ANIMALS, COLOURS
from pages.shared import notes
from tests.benchmarks import measuring
from tests.benchmarks.measuring import Row
from tests.browser import explorer as browsing

if TYPE_CHECKING:
    from tests.benchmarks.rows import Bench

N_PEOPLE, N_ROUNDS = 30, 20
WAITING = 30.0  # seconds that everybody sits and waits
PATIENCE = 60.0


class Visitor:
    """One browser: it remembers what it is shown by the widgets' labels, and looks again as often as it is told to."""

    def __init__(self, socket: ClientConnection, query: str) -> None:
        self._socket, self._query = socket, query
        self._page = self._fragment = ""
        self._widgets: dict[str, str] = {}  # label -> id
        self._values: dict[str, WidgetState] = {}
        self.shown = ""  # the last text that was written
        self.seat: dict[str, str] = {}
        self._news = asyncio.Event()
        self._tasks = [asyncio.create_task(self._listen())]
        self.runs = 0

    async def say(self, fragment: str = "", trigger: str = "") -> None:
        """Ask for a run, as a click or a timer does."""
        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.page_name, state.page_script_hash = self._query, "room", self._page
        state.fragment_id, state.is_auto_rerun = fragment, bool(fragment and not trigger)
        state.widget_states.widgets.extend(self._values.values())
        if trigger:
            state.widget_states.widgets.append(WidgetState(id=trigger, trigger_value=True))
        await self._socket.send(message.SerializeToString())

    async def press(self, label: str) -> None:
        await self.say(self._fragment, self._widgets[label])

    def choose(self, label: str, value: str | float) -> None:
        """Set a widget, to be sent with the next press."""
        key = self._widgets[label]
        self._values[key] = WidgetState(id=key, string_value=value) if isinstance(value, str) else WidgetState(id=key)
        if not isinstance(value, str):
            self._values[key].double_array_value.data.append(value)

    async def sees(self, pattern: str) -> float:
        """The time at which some text was shown that was not there when this was called."""
        async with asyncio.timeout(PATIENCE):
            while not re.search(pattern, self.shown):
                self._news.clear()
                await self._news.wait()
        return time.perf_counter()

    def forget(self) -> None:
        self.shown = ""

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _listen(self) -> None:
        async for raw in self._socket:
            message = ForwardMsg()
            message.ParseFromString(raw if isinstance(raw, bytes) else raw.encode())
            match message.WhichOneof("type"):
                case "new_session":
                    self._page = message.new_session.page_script_hash
                    self.runs += 1
                case "auto_rerun":
                    self._fragment = message.auto_rerun.fragment_id
                    self._tasks.append(asyncio.create_task(self._look_again(message.auto_rerun.interval)))
                case "page_info_changed":
                    self._query = message.page_info_changed.query_string
                case "delta" if message.delta.WhichOneof("type") == "new_element":
                    self._draw(message.delta.new_element)
            self._news.set()

    def _draw(self, element) -> None:
        kind = element.WhichOneof("type")
        part = getattr(element, kind)
        if kind in ("markdown", "html", "heading"):
            self.shown += f"\n{notes.plain(part.body)}"
        elif getattr(part, "id", "") and getattr(part, "label", ""):
            self._widgets[part.label] = part.id

    async def _look_again(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            await self.say(self._fragment)


async def visitor(address: str, **query: str) -> Visitor:
    """A new session on the room's page, which has been drawn once."""
    socket = await connect(f"{address.replace('http', 'ws')}/_stcore/stream", subprotocols=["streamlit"], max_size=None,
                           ping_interval=None)
    one = Visitor(socket, urlencode(query))
    await one.say()
    return one


async def lesson(address: str, server: psutil.Process, n_people: int, n_rounds: int, waiting: float) -> list[Row]:
    """Everybody comes, waits, guesses and sees, in as many rounds."""
    def used() -> float:
        times = server.cpu_times()
        return times.user + times.system

    teacher = await visitor(address, task="label_kind", off="L0H2")
    await until(lambda: "Open a room" in teacher._widgets)
    await teacher.say(trigger=teacher._widgets["Open a room"])
    await teacher.sees("Room [A-Z]{4}")
    found = re.search("Room ([A-Z]{4})", teacher.shown)
    assert found is not None
    began, before = time.perf_counter(), used()
    people = await asyncio.gather(*(come(address, found[1], i) for i in range(n_people)))
    rows = [row(f"{n_people} people come in, all at once", [time.perf_counter() - began],
                note=f"{(used() - before) / n_people:.2f} s of processor time each")]
    before, runs = used(), sum(one.runs for one in people)
    await asyncio.sleep(waiting)
    looks = max(1, sum(one.runs for one in people) - runs)
    rows.append(Row(f"processor time of {n_people} people who wait", 100 * (used() - before) / waiting, None, None, "",
                    None, f"{looks} looks in {waiting:g} s", unit="% of one core",
                    note=f"{1000 * (used() - before) / looks:.0f} ms a look"))
    asked, revealed, spent = [], [], []
    for number in range(n_rounds):
        before = used()
        for one in (teacher, *people):
            one.forget()
        began = time.perf_counter()
        await teacher.press("Ask the room")
        asked.append(max(await asyncio.gather(*(one.sees("how often is the model right") for one in people))) - began)
        await asyncio.gather(*(guess(one, (7 * i + number) % 101) for i, one in enumerate(people[1:])))
        await teacher.sees(rf"\*\*{n_people - 1} of {n_people}\*\*")
        for one in people:
            one.forget()
        began = time.perf_counter()
        await teacher.press("Reveal")
        revealed.append(max(await asyncio.gather(*(one.sees(r"It is \d") for one in people))) - began)
        await teacher.sees(r"It is \d")
        spent.append(used() - before)
    rows.append(row(f"a question is on all {n_people} screens", asked))
    rows.append(row(f"the truth is on all {n_people} screens, {n_rounds} rounds", revealed, limit=1.0,
                    note=f"{median(spent):.2f} s of processor time a round, guesses included"))
    for one in (teacher, *people):
        one.close()
        with suppress(Exception):
            await one._socket.close()
    return rows


async def come(address: str, code: str, place: int) -> Visitor:
    """Join as one colour and animal."""
    one = await visitor(address, room=code)
    await until(lambda: "Sit down" in one._widgets)
    one.choose("Colour", list(COLOURS)[place % len(COLOURS)])
    one.choose("Animal", ANIMALS[place // len(COLOURS)])
    await one.press("Sit down")
    async with asyncio.timeout(PATIENCE):
        while "Leave" not in one._widgets:
            await asyncio.sleep(0.02)
    return one


async def guess(one: Visitor, percent: int) -> None:
    one.choose("Your guess, in percent", float(percent))
    await one.press("Guess")
    await one.sees("Your guess: ")


async def until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not there():
            await asyncio.sleep(0.02)


def row(work: str, seconds: list[float], limit: float | None = None, note: str = "") -> Row:
    """Median and range; under a limit every single time, where one was asked for."""
    return Row(work, median(seconds), None, None, f"under {limit:g} s" if limit else "",
               max(seconds) < limit if limit else None, f"{min(seconds):.2f} to {max(seconds):.2f} s", note=note)


def room(bench: Bench) -> list[Row]:
    """A lesson of thirty people and twenty rounds on a server of its own."""
    return measured(bench.quick)


def measured(quick: bool) -> list[Row]:
    n_people, n_rounds, waiting = (5, 2, 5.0) if quick else (N_PEOPLE, N_ROUNDS, WAITING)
    with tempfile.TemporaryDirectory() as cache, browsing.server(Path(cache)) as address:
        port = int(address.rsplit(":", 1)[1])
        (server,) = (one for one in psutil.Process().children() if any(
            c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in one.net_connections()))
        return asyncio.run(lesson(address, server, n_people, n_rounds, waiting))


if __name__ == "__main__":
    print(measuring.table(measured("--quick" in sys.argv)))
