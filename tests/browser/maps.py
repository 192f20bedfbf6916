"""The map in a real browser: where its cells are, what it shows as off, how it is clicked."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.browser.explorer import PATIENCE

Cell = tuple[int, int]  # layer, column; column n_heads is the FFNs, -1 a heading

# The i-th map of a page, as the object that map.js holds
MAP = """[...document.querySelectorAll('*')].map(one => one.shadowRoot?.querySelector('.map'))
    .filter(Boolean)[i]?.headMap"""


def drawn(page: Page, n: int = 1) -> None:
    """Wait until a page shows as many maps."""
    page.wait_for_function(f"(i) => {MAP}?.place", arg=n - 1, timeout=PATIENCE)


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


def wait_for(page: Page, cells: set[Cell], i: int = 0) -> None:
    """Wait until a map shows these as off, and no others: it is drawn a moment after the rest of the page."""
    page.wait_for_function(f"""([cells, i]) => {MAP}.shown().map(String).sort().join(' ') === cells""",
                           arg=[" ".join(sorted(f"{layer},{column}" for layer, column in cells)), i], timeout=PATIENCE)


def answered(page: Page) -> None:
    """Wait until the server has answered all that a hand has done on a map, in the field or with the steps."""
    page.wait_for_function(f"(i) => {MAP}.unanswered() === 0", arg=0, timeout=PATIENCE)


PLOT = MAP.replace(".map')", ".plot')").replace("headMap", "headPlot")


def mark(page: Page, cell: Cell, i: int = 0) -> tuple[float, float]:
    """The middle of a plot's mark, of a layer and a head (-1: the FFN), scrolled to where it can be clicked."""
    page.wait_for_function(f"(i) => {PLOT}?.width", arg=i, timeout=PATIENCE)
    x, y = page.evaluate(f"([layer, head, i]) => {PLOT}.middle(layer, head)", [*cell, i])
    return float(x), float(y)


def marked(page: Page, i: int = 0) -> set[Cell]:
    """What a plot shows as chosen."""
    return {(layer, head) for layer, head in page.evaluate(f"(i) => {PLOT}.shown()", i)}


def colours(page: Page, i: int = 0) -> list[str]:
    """The colours of a plot's dots."""
    dots = f"(i) => [...{PLOT}.nodes.values()].map(({{parts}}) => parts.dot?.getAttribute('fill') ?? '')"
    return list(page.evaluate(dots, i))
