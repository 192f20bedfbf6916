"""Markup that somebody has written where Headroom reads texts, and what a page shows that has taken it for its own."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page

from tests.browser.explorer import DRAWN, PATIENCE, SETTLED, settled, wait_until

PAGES = ("tour", "heads", "card", "ffns", "lab", "pruning", "overlap", "induction", "playground", "runs", "room")
heard: list[str] = []  # what the beacon was asked for


class Beacon(BaseHTTPRequestHandler):
    """Whom a picture in a foreign text would call."""

    def do_GET(self) -> None:
        heard.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


# Of a page as it is drawn: what Markdown or HTML would have made of the text above.
MADE = r"""() => [
    ...document.querySelectorAll('.katex, img[src*="127.0.0.1"], img[alt="zz"], a[href*="evil"], img[src*="/a"][alt]'),
    ...[...document.querySelectorAll('strong, em, b, i, code, span[class*="olored"], span[style*="color"], del')]
        .filter(
        one => one.textContent.trim() === 'zz'),
    ...[...document.querySelectorAll('[data-testid="stIconMaterial"]')].filter(
        one => one.textContent.trim() === 'home'),
].map(one => one.outerHTML.slice(0, 200) + ' in ' + one.parentElement.textContent.slice(0, 120))"""


FOLDED = "[...document.querySelectorAll('[data-testid=stExpander] details:not([open]) > summary')]"
# All that the page has begun to fetch is on its way: this request, which begins after it, has been answered.
FETCHED = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))
    .then(() => fetch('/_stcore/health', {cache: 'no-store'})).then(answer => answer.text())"""


def look(page: Page, beacon: str) -> str:
    """What a page says, after everything folded in it was opened; fails where a foreign text was read."""
    wait_until(page, SETTLED, DRAWN)
    for _ in range(30):  # more may be folded in it, and what is pressed while the page is drawn may fold again
        page.evaluate(f"() => {FOLDED}.forEach(one => one.click())")
        page.evaluate(FETCHED)
        wait_until(page, SETTLED, DRAWN)
        if not (folded := page.evaluate(f"{FOLDED}.map(one => one.innerText)")):
            break
    assert folded == [], f"still folded: {folded}"
    made = page.evaluate(MADE)
    assert made == [], f"made of a foreign text: {made}"
    said = page.locator("body").inner_text()
    assert "😄" not in said, said
    assert heard == [], f"fetched: {heard}"
    return said


def alone(browser: Browser, address: str) -> Iterator[Page]:
    """A tab in which nothing is asked for from anywhere but an address."""
    tab = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    tab.set_default_timeout(PATIENCE)
    own, asked = urlsplit(address).netloc, []
    tab.on("request", lambda one: asked.append(one.url) if urlsplit(one.url).netloc not in (own, "") else None)
    yield tab
    tab.context.close()
    assert asked == [], f"asked for elsewhere: {asked}"


def visit(page: Page, address: str) -> None:
    page.goto(address)
    settled(page)
