"""How long a visitor waits, on the real server in a real Chromium; and what an idle visitor costs.

Everything is wall time, from the click (or the command) to the frame after the answer stands on the page; the page
itself holds the watch. The store is empty but for the shipped results, so that no mask has been measured before.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil
from playwright.sync_api import Browser, Page

from backend.models.info import BUNDLED, describe
from backend.records import ModelInfo
from tests.benchmarks.measuring import Row, Skipped
from tests.browser import explorer as browsing
from tests.browser import maps
from tests.browser.explorer import DRAWN, chosen, click_cell, hovered, open_page, page_link, seconds_to, wait_until
from tests.pages import made_up

if TYPE_CHECKING:
    from tests.benchmarks.rows import Bench

PAGES = ("Heads", "FFNs", "Lab", "Pruning", "Overlap", "Induction", "Playground", "Runs", "Tour")
LARGE = made_up.model_info(64, 72, name="owner/large")
N_SESSIONS = 8
HANDS = {  # where heads are switched, and what changes there with the answer to a click
    "Heads": ("heads", "[...document.querySelectorAll('[data-testid=stMain] a')].map(a => a.innerText).join()"),
    # Lab's title names the heads, whose numbers may be those of the heads before
    "Lab": ("lab", "[document.querySelector('[class*=st-key-numbers-]')?.innerText ?? '–',"
                   " ...[...document.querySelectorAll('h2')].map(title => title.innerText)].join('\\n')"),
    "Tour": ("?step=2", "document.querySelector('[class*=st-key-numbers-]')?.innerText ?? '–'"),
}
ACCURACY = """[...document.querySelectorAll('h2')].some(title => /^Without /.test(title.innerText))
    && ![...document.querySelectorAll('[data-testid=stMetricValue]')].some(one => one.innerText.includes('–'))"""


def explorer(bench: Bench) -> list[Row]:
    """Start, page switches, clicks and memory."""
    if not browsing.CHROMIUM:
        raise Skipped(f"the explorer {browsing.WITHOUT_CHROMIUM}")
    with browsing.browser() as browser:
        rows = [first_page(browser, bench.repeat)]
        with served() as address:
            rows += page_switches(browser, address, bench.repeat)
            rows += accuracies(browser, address, bench.repeat)
            rows += hands(browser, address, bench.repeat)
            rows.append(click(browser, f"{address}/heads", describe(BUNDLED), bench.repeat))
        with served() as address:
            rows.append(memory(browser, address, 2 if bench.quick else N_SESSIONS))
        with tempfile.TemporaryDirectory() as cache:
            setups = made_up.setups(made_up.model_id(LARGE), ["antonym"])
            made_up.filled(Path(cache), map(made_up.importance, setups), LARGE)
            with browsing.server(cache) as address:
                rows.append(click(browser, f"{address}/heads?model={LARGE.name}&task=antonym", LARGE, bench.repeat,
                                  limit=1.0))
    return rows


@contextmanager
def served() -> Iterator[str]:
    """A server over nothing but the shipped results."""
    with tempfile.TemporaryDirectory() as cache, browsing.server(cache) as address:
        yield address


def row(work: str, seconds: list[float], limit: float | None = None, note: str = "") -> Row:
    """Median and worst, under a limit where one was asked for."""
    return Row(work, median(seconds), None, None, f"under {limit:g} s" if limit else "",
               median(seconds) < limit if limit else None, f"{min(seconds):.2f} to {max(seconds):.2f} s", note=note)


def first_page(browser: Browser, repeat: int) -> Row:
    """A cold server and a visitor who has never been here; the browser itself is running."""
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        with served() as address:
            page = browser.new_page()
            page.goto(address)
            wait_until(page, DRAWN)
            seconds.append(time.perf_counter() - began)
            page.close()
    return row("from `streamlit run` to an interactive first page", seconds)


def page_switches(browser: Browser, address: str, repeat: int) -> list[Row]:
    """A click in the navigation, from page to page, each page seen once before."""
    page = open_page(browser, address)
    seconds: dict[str, list[float]] = {name: [] for name in PAGES}
    for number in range(1 + repeat):
        for name in PAGES:
            heading = f"document.querySelector('h1')?.innerText === '{name}'"
            if name == "Tour":
                heading = "location.pathname === '/' && /\\b1 · /.test(document.querySelector('h2')?.innerText)"
            link = page_link(page, name)
            took = seconds_to(page, link.click, heading, DRAWN)
            if number:
                seconds[name].append(took)
            wait_until(page, DRAWN)
    page.context.close()
    all_of_them = [one for each in seconds.values() for one in each]
    return [row(f"page switch to {name}", each) for name, each in seconds.items()] + [
        row("page switch, all pages", all_of_them)]


def accuracies(browser: Browser, address: str, repeat: int) -> list[Row]:
    """A click on a head in Lab, with masks that nobody has tried; the model is in memory."""
    info = describe(BUNDLED)
    rows = []
    for scope, of in (("This task", "one task"), ("All tasks", "all tasks")):
        page = open_page(browser, f"{address}/lab?scope={scope.replace(' ', '+')}")
        seconds = [answer(page, name, ACCURACY) for name in heads(info)[:1 + repeat]]
        rows.append(row(f"click to new accuracy in Lab, {of}, 100 questions each, 5 shots", seconds[1:]))
        page.context.close()
    return rows


def hands(browser: Browser, address: str, repeat: int) -> list[Row]:
    """From the finger on a head to the painted cell, and from another to what the page says of it."""
    rows = []
    for name, (path, said) in HANDS.items():
        answered = f"(said => said !== window.before && !said.split('\\n').includes('–'))({said})"
        page = open_page(browser, f"{address}/{path}")
        if name == "Tour":
            page.get_by_text("it depends on the head").click()
        maps.drawn(page)
        paints, numbers = list[float](), list[float]()
        for number in range(2 * (1 + repeat)):
            wait_until(page, DRAWN)
            layer, head = 1 + number % 4, number // 4 % 8
            x, y = maps.middle(page, (layer, head))
            page.evaluate(f"window.before = {said}")
            painted = f"(i => {maps.MAP}.shown().some(([l, h]) => l === {layer} && h === {head}))(0)"
            awaited, seconds = ([painted], paints) if number % 2 else ([answered, DRAWN], numbers)
            seconds.append(seconds_to(page, partial(page.mouse.click, x, y), *awaited))
        rows += [row(f"{name}: from the finger on a head to the painted cell", paints[1:], 0.1),
                 row(f"{name}: from the finger on a head to what follows from it", numbers[1:], 0.3)]
        page.context.close()
    return rows


def answer(page: Page, name: str, *conditions: str) -> float:
    """Seconds from a click on a cell with a name."""
    took = seconds_to(page, lambda: click_cell(page, name), chosen(name), *conditions, DRAWN)
    wait_until(page, DRAWN)
    return took


def click(browser: Browser, address: str, info: ModelInfo, repeat: int, limit: float | None = None) -> Row:
    """A click on the heatmap of Heads until address, field and page have followed."""
    page = open_page(browser, address)
    wait_until(page, DRAWN)
    seconds = []
    for number in range(1 + repeat):
        if info.n_layers * info.n_heads > 1000:  # a picture of thousands of cells, which have no elements of their own
            x, y = maps.middle(page, (7 + 5 * (number % 5), 3 + 4 * number))
            name = hovered(page, x, y)
            seconds.append(seconds_to(page, partial(page.mouse.click, x, y), chosen(name), DRAWN))
            wait_until(page, DRAWN)
        else:
            seconds.append(answer(page, heads(info)[number]))
    page.context.close()
    return row(f"click on the heatmap of Heads, {info.n_layers * info.n_heads:,} heads", seconds[1:], limit)


def heads(info: ModelInfo) -> list[str]:
    """Some heads, no two beside each other, so that each keeps its own name in the list of what is chosen."""
    return [f"L{layer}H{head}" for head in range(0, info.n_heads, 2) for layer in range(1, info.n_layers)]


def memory(browser: Browser, address: str, n_sessions: int) -> Row:
    """What the server's resident memory grows by for each visitor who has opened Heads and does nothing."""
    port = re.search(r":(\d+)", address.removeprefix("http"))
    assert port is not None
    server = next(one for one in psutil.Process(os.getpid()).children(recursive=True) if port[1] in one.cmdline())
    pages = [open_page(browser, f"{address}/heads") for _ in range(3)]
    held = [server.memory_info().rss]
    for _ in range(n_sessions):
        pages.append(open_page(browser, f"{address}/heads"))
        wait_until(pages[-1], DRAWN)
        held.append(server.memory_info().rss)
    for page in pages:
        page.context.close()
    mib = [(after - before) / 2**20 for before, after in pairwise(held)]
    return Row("memory per idle session", (held[-1] - held[0]) / n_sessions / 2**20, None, None, "", None,
               f"{min(mib):.1f} to {max(mib):.1f} MiB", "MiB",
               f"mean of {n_sessions} on Heads, after three others; the server holds {held[-1] / 2**20:.0f} MiB then")
