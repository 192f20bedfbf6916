"""Ten clicks are ten heads, however quick, whatever the server does meanwhile; and so are ten steps back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import explorer, maps
from tests.browser.explorer import chosen_field, open_page, settled

pytestmark = explorer.MARKS

TEN = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (0, 5), (1, 6), (2, 7), (3, 1), (4, 2)]
TEN_OF_4608 = [(6 * i, 7 * i) for i in range(10)]


def click_ten(page: Page, cells: list[maps.Cell], apart: int) -> None:
    """Click cells at a steady pace, as fast as the hand, whatever the page does; all are off at once."""
    spots = [maps.middle(page, cell) for cell in cells]
    for x, y in spots:
        page.mouse.click(x, y)
        page.wait_for_timeout(apart)
    assert maps.off(page) == set(cells)


def press_ten(page: Page, name: str) -> None:
    """Press a button ten times, 50 ms apart."""
    button = page.get_by_role("button", name=name)
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    assert box is not None
    for _ in range(10):
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(50)
    expect(button).to_have_attribute("aria-disabled", "true")  # there is no eleventh


@pytest.mark.parametrize(("where", "cells", "n_heads", "paces"), [  # paces: ms between clicks
    pytest.param("heads?task=antonym", TEN, maps.HEADS, (30, 100, 200, 400), id="heads"),
    pytest.param("heads?model=owner/large&task=antonym", TEN_OF_4608, 72, (30, 200), id="heads of 64 x 72"),
    pytest.param("lab?task=antonym", TEN, maps.HEADS, (30, 200), id="lab, as I click"),
    pytest.param("lab?model=owner/large&task=antonym", TEN_OF_4608, 72, (100, 400), id="lab of 64 x 72, when asked"),
    pytest.param("?step=2", TEN, maps.HEADS, (30, 200), id="tour"),
])
def test_ten_clicks_are_ten_heads_however_quick_and_so_are_ten_steps_back(
        browser: Browser, paper: str, where: str, cells: list[maps.Cell], n_heads: int, paces: tuple[int, ...]):
    page = open_page(browser, f"{paper}/{where}")
    if "step" in where:
        page.get_by_text("it depends on the head").click()
    maps.drawn(page)
    settled(page)
    for pace in paces:
        click_ten(page, cells, pace)
        maps.agree(page, set(cells), n_heads)
        if "step" in where:
            expect(page.get_by_text(re.compile("^Off: 10 heads"))).to_be_visible()
        elif where.startswith("lab?task"):
            expect(page.get_by_role("heading", name=re.compile("^Without 10 heads, accuracy on "))).to_be_visible()
        press_ten(page, "Undo")
        maps.agree(page, set(), n_heads)
    press_ten(page, "Redo")
    maps.agree(page, set(cells), n_heads)
    for _ in range(3):
        page.keyboard.press("Control+z")
    maps.agree(page, set(cells[:7]), n_heads)
    page.get_by_role("button", name="Clear").click()
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+y")
    maps.agree(page, set(), n_heads)
    assert not page.complaints  # type: ignore[attr-defined]


def test_ten_clicks_while_all_tasks_are_measured_are_ten_heads_and_so_is_the_number(browser: Browser, paper: str):
    page = maps.opened(browser, f"{paper}/lab?demos=per-query&n=100&scope=All tasks")
    maps.click(page, (4, 6))
    expect(page.get_by_test_id("stMain").get_by_role("button", name="Stop", exact=True)).to_be_visible()
    for x, y in [maps.middle(page, cell) for cell in TEN]:
        page.mouse.click(x, y)
        page.wait_for_timeout(100)
    assert maps.off(page) == {*TEN, (4, 6)}
    expect(chosen_field(page)).to_have_value(maps.text_of({*TEN, (4, 6)}))
    expect(page.get_by_role("heading", name=re.compile("^Without 11 heads:? "))).to_be_visible()
    assert maps.off(page) == {*TEN, (4, 6)}
