"""The real explorer in a real browser: start the server, open pages, wait for what is awaited. No blind sleeps."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium")
WITHOUT_CHROMIUM = "needs Debian's chromium: apt-get install chromium"
MARKS = [  # of every module with tests in a browser
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM and os.environ.get("HEADROOM_BROWSER") != "required",
                       reason=WITHOUT_CHROMIUM)]
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync"]
PATIENCE = 120_000  # ms; the first measurement loads torch, and tests run on busy machines
LOOK = 30  # ms between two looks at a page that is awaited: each frame of it would be drawn, and looked at, otherwise
PROBES = "/_stcore/"  # on a deep link Streamlit's own page looks for its server at several addresses, one of them right
expect.set_options(timeout=PATIENCE)


@contextmanager
def server(cache: Path | str, log: Path | None = None, script: str = "app.py", *options: str,
           **settings: str) -> Iterator[str]:
    """The explorer on a free port over its own live store; yields its address.

    Args:
        script: `app.py`, or `serve.py` for the explorer behind its door.
        options: more of Streamlit's.
        settings: of the environment.
    """
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", script, "--server.headless", "true", "--server.port",
               str(port), "--server.address", "127.0.0.1", *options]
    out = open(log, "w") if log else subprocess.DEVNULL  # noqa: SIM115 - lives as long as the process
    process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
                               env={**os.environ, "HEADROOM_CACHE": str(cache), **settings})
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("The explorer did not start; run `streamlit run serve.py` to see why.") from None
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:  # a busy machine, or a measurement under way
            process.kill()
            process.wait()
        if not isinstance(out, int):
            out.close()


@contextmanager
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        try:
            yield chromium
        finally:
            chromium.close()


def open_page(browser: Browser, address: str, width: int = 1440, height: int = 1000, dark: bool = False,
              before: Callable[[Page], None] = lambda _: None) -> Page:
    """A page of a fresh visitor, fully drawn; `page.complaints` collects what the console says.

    A tab of its own, and so a session; Streamlit's scripts stay in the cache that all tabs share, which halves the
    time that it takes.

    Args:
        before: what is done with the empty tab.
    """
    tabs = browser.contexts[0] if browser.contexts else browser.new_context()
    page = tabs.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if dark else "light")
    page.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.text} ({message.location['url']})")
            if message.type == "error" and PROBES not in message.location["url"] else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.complaints = complaints  # type: ignore[attr-defined]
    before(page)
    page.goto(address)
    settled(page)
    return page


# The run under way has ended, and the page is drawn, from its title on.
SETTLED = """document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
    && [...document.querySelectorAll('h1')].some(one => one.checkVisibility({visibilityProperty: true})
                                                        && one.getBoundingClientRect().height > 0)
    && !document.querySelector('[data-testid=stSkeleton]')"""


def settled(page: Page) -> None:
    """Wait until the run under way has ended and the page is drawn; where it never is, say what the console says."""
    try:
        wait_until(page, SETTLED)
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{said(page)}\nThe console: "
                             f"{getattr(page, 'complaints', 'was not listened to')}") from None


def said(page: Page) -> str:
    """What a page that is not settled has come to."""
    return str(page.evaluate("""() => `Its state: ${
        document.querySelector('[data-testid=stApp]')?.dataset.testScriptState}; titles: ${
        [...document.querySelectorAll('h1')].map(one => one.innerText).join(', ')}; parts still awaited: ${
        document.querySelectorAll('[data-testid=stSkeleton]').length}`"""))


# What `seconds_to` and `wait_until` look for, in the page itself: the run has ended, nothing is waited for or stale.
DRAWN = """document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
    && !!document.querySelector('h1') && !document.querySelector('[data-testid=stSkeleton], [data-stale=true]')
    && [...document.querySelectorAll('[data-testid=stVegaLiteChart]')].every(chart => chart.querySelector('.marks'))"""


IS_DARK = "getComputedStyle(document.querySelector('[data-testid=stApp]')).colorScheme === 'dark'"


def chosen(name: str) -> str:
    """Whether the address and the text field both name a component."""
    return f"""(new URLSearchParams(location.search).get('off') ?? '').split(',').includes('{name}')
        && document.querySelector('input[aria-label="Chosen heads and FFNs"]')?.value.split(',').includes('{name}')"""


def wait_until(page: Page, *conditions: str) -> None:
    """Wait for what JavaScript says, looked at in the page itself: asking from outside slows down what is awaited."""
    page.wait_for_function(" && ".join(f"({one})" for one in conditions), timeout=PATIENCE, polling=LOOK)


def seconds_to(page: Page, act: Callable[[], None], *conditions: str) -> float:
    """How long a visitor waits: from the click or key of `act` to the frame after the one in which the answer stands.

    The page itself holds the watch: asking from outside would slow down what is asked about.
    """
    page.evaluate("""([conditions, patience]) => {
        const holds = conditions.map(one => new Function(`return ${one}`));
        window.answered = new Promise((done, fail) => {
            setTimeout(() => fail(new Error(`not so after ${patience} ms: ${conditions.join(' and ')}`)), patience);
            const start = event => {
                for (const kind of ['pointerdown', 'keydown']) removeEventListener(kind, start, true);
                const look = () => requestAnimationFrame(holds.every(one => one())
                    ? () => done((performance.now() - event.timeStamp) / 1000) : look);
                look();
            };
            for (const kind of ['pointerdown', 'keydown']) addEventListener(kind, start, true);
        });
    }""", [list(conditions), PATIENCE])
    act()
    return float(page.evaluate("window.answered"))


def cell(page: Page, name: str) -> Locator:
    """A map's cell such as "L3H7" by the name that a screen reader says; of maps small enough to name each."""
    return page.get_by_role("gridcell", name=re.compile(f"^{name},")).first


def hovered(page: Page, x: float, y: float) -> str:
    """What a map says lies under the mouse, such as "L3H7"."""
    page.mouse.move(x - 1, y - 1)
    page.mouse.move(x, y)
    return page.locator(".tip .name").inner_text()


def page_link(page: Page, name: str) -> Locator:
    """A page's name in the bar of pages."""
    return page.get_by_role("navigation", name="Pages").get_by_role("link", name=name, exact=True)


def chosen_field(page: Page) -> Locator:
    """The text field of the chosen heads and FFNs."""
    return page.get_by_role("textbox", name="Chosen heads and FFNs")


def click_cell(page: Page, name: str) -> None:
    """Click the middle of a cell with the mouse, whatever is drawn over it."""
    cell(page, name).scroll_into_view_if_needed()
    box = cell(page, name).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
