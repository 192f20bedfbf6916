"""The map in a real browser: where its cells are, what it shows as off, how it is clicked."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, TimeoutError

from backend.values import Ablation, Head
from tests.browser.explorer import LOOK, PATIENCE, chosen_field, open_page, settled

Cell = tuple[int, int]  # layer, column; column n_heads is the FFNs, -1 a heading
LAYERS, HEADS = 6, 8  # of the bundled model

# The i-th map of a page, as the object that map.js holds
MAP = """[...document.querySelectorAll('*')].map(one => one.shadowRoot?.querySelector('.map'))
    .filter(Boolean)[i]?.headMap"""


def drawn(page: Page, n: int = 1) -> None:
    """Wait until a page shows as many maps."""
    page.wait_for_function(f"(i) => {MAP}?.place", arg=n - 1, timeout=PATIENCE, polling=LOOK)


def middle(page: Page, cell: Cell, i: int = 0) -> tuple[float, float]:
    """The middle of a cell in the browser's window, scrolled to where it can be clicked."""
    x, y = page.evaluate(f"""([layer, column, i]) => {{
        const map = {MAP};
        map.box.scrollIntoView({{block: 'nearest', behavior: 'instant'}});
        return map.middle({{layer, column}});
    }}""", [*cell, i])
    return float(x), float(y)


def click(page: Page, cell: Cell, i: int = 0) -> None:
    """Click a cell with the mouse."""
    page.mouse.click(*middle(page, cell, i))


def drag(page: Page, start: Cell, end: Cell, i: int = 0) -> None:
    """Draw a rectangle with the mouse."""
    page.mouse.move(*middle(page, start, i))
    page.mouse.down()
    page.mouse.move(*middle(page, end, i), steps=3)
    page.mouse.up()


def off(page: Page, i: int = 0) -> set[Cell]:
    """What a map shows as off."""
    return {(layer, column) for layer, column in page.evaluate(f"(i) => {MAP}.shown()", i)}


def words(cells: set[Cell]) -> str:
    """Cells in the order in which the page says them here."""
    return " ".join(sorted(f"{layer},{column}" for layer, column in cells))


def wait_for(page: Page, cells: set[Cell], i: int = 0) -> None:
    """Wait until a map shows these as off, and no others: it is drawn a moment after the rest of the page."""
    page.wait_for_function(f"""([cells, i]) => {MAP}.shown().map(String).sort().join(' ') === cells""",
                           arg=[words(cells), i], timeout=PATIENCE, polling=LOOK)


PLOT = MAP.replace(".map')", ".plot')").replace("headMap", "headPlot")


def mark(page: Page, cell: Cell, i: int = 0) -> tuple[float, float]:
    """The middle of a plot's mark, of a layer and a head (-1: the FFN), scrolled to where it can be clicked."""
    page.wait_for_function(f"(i) => {PLOT}?.width", arg=i, timeout=PATIENCE, polling=LOOK)
    x, y = page.evaluate(f"([layer, head, i]) => {PLOT}.middle(layer, head)", [*cell, i])
    return float(x), float(y)


def marked(page: Page, i: int = 0) -> set[Cell]:
    """What a plot shows as chosen."""
    return {(layer, head) for layer, head in page.evaluate(f"(i) => {PLOT}.shown()", i)}


def colours(page: Page, i: int = 0) -> list[str]:
    """The colours of a plot's dots."""
    dots = f"(i) => [...{PLOT}.nodes.values()].map(({{parts}}) => parts.dot?.getAttribute('fill') ?? '')"
    return list(page.evaluate(dots, i))


# --- with the text field and the address ---------------------------------------------------------------------------


def opened(browser: Browser, address: str, n_maps: int = 1) -> Page:
    """A page of a fresh visitor, its maps drawn."""
    page = open_page(browser, address)
    drawn(page, n_maps)
    return page


def text_of(cells: set[Cell], n_heads: int = HEADS) -> str:
    """What the field and the address say where these are off."""
    return str(Ablation(frozenset(Head(layer, column) for layer, column in cells if column < n_heads),
                        frozenset(layer for layer, column in cells if column == n_heads)))


# Text field, address and maps say the same, and nothing that a hand has done is unanswered.
SAME = f"""([text, cells, n]) => document.querySelector('input[aria-label="Chosen heads and FFNs"]')?.value === text
    && (new URLSearchParams(location.search).get('off') ?? '') === text
    && (i => {MAP})(0)?.unanswered() === 0
    && [...Array(n).keys()].every(i => {MAP}?.shown().map(String).sort().join(' ') === cells)"""


def agree(page: Page, cells: set[Cell], n_heads: int = HEADS, n_maps: int = 1) -> None:
    """Wait until text field, address and maps say the same, and see that it stays.

    All is answered first: a hand may come by here on its way (Clear, Undo, Redo).
    """
    text = text_of(cells, n_heads)
    same = [text, words(cells), n_maps]
    try:
        page.wait_for_function(SAME, arg=same, timeout=PATIENCE, polling=LOOK)
    except TimeoutError:
        pytest.fail(f"not {text!r} everywhere: the field says {chosen_field(page).input_value()!r}, the address "
                    f"{page.url}, the maps {[text_of(off(page, i), n_heads) for i in range(n_maps)]}; unanswered: "
                    f"{page.evaluate(f'(i => {MAP})(0)?.unanswered()')}")
    settled(page)
    shown, said = [off(page, i) for i in range(n_maps)], chosen_field(page).input_value()
    assert (shown, said) == ([cells] * n_maps, text), f"{text!r} has not stayed: {said!r}, {shown}"


def rectangle(a: Cell, b: Cell) -> set[Cell]:
    """The cells of which these two are the corners."""
    return {(layer, column) for layer in range(min(a[0], b[0]), max(a[0], b[0]) + 1)
            for column in range(min(a[1], b[1]), max(a[1], b[1]) + 1)}
