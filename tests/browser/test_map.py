"""The map by mouse, by keyboard, by ear and on paper; maps of many heads and of none; cards of heads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import explorer, maps
from tests.browser.explorer import (
    DRAWN,
    chosen,
    chosen_field,
    hovered,
    open_page,
    page_link,
    settled,
    wait_until,
)

pytestmark = explorer.MARKS


def test_one_of_4608_heads_is_clicked_on_and_off(browser: Browser, paper: str):
    page = maps.opened(browser, f"{paper}/heads?model=owner/large&task=antonym")
    expect(page.get_by_text("of 4608 hold half of the importance for antonym")).to_be_visible()
    wait_until(page, DRAWN)
    x, y = maps.middle(page, (41, 23))
    name = hovered(page, x, y)
    page.mouse.click(x, y)
    wait_until(page, chosen(name), DRAWN)
    expect(page.get_by_role("link", name=f"Switch {name} off in Lab")).to_be_visible()
    assert hovered(page, x, y) == name == "L41H23"  # nothing has moved
    page.mouse.click(x, y)
    maps.agree(page, set(), 72)
    assert not page.complaints  # type: ignore[attr-defined]


def test_no_hand_switches_a_head_that_is_not_there(browser: Browser, paper: str):
    page = maps.opened(browser, f"{paper}/lab?model=owner/half&task=antonym")
    absent = "no attention heads in this layer: linear attention"
    for cell in ((0, 1), (2, -1)):  # a cell, and the number of its layer
        maps.click(page, cell)
        expect(page.locator(".tip")).to_have_text(absent)
        page.keyboard.press("Enter")
    maps.agree(page, set(), 4)
    assert page.get_by_label(absent, exact=True).count() == 10  # two layers, each of four heads and a heading
    maps.drag(page, (0, 3), (2, 4))
    maps.agree(page, {(1, 3), (0, 4), (1, 4), (2, 4)}, 4)
    expect(page.get_by_text("1 of 4 heads off, 3 of 3 FFNs")).to_be_visible()
    maps.click(page, (-1, 3))
    maps.agree(page, {(0, 4), (1, 4), (2, 4)}, 4)
    maps.click(page, (1, 0))
    for key in ("ArrowRight", "Shift+ArrowDown", "Shift+ArrowRight", " "):
        page.keyboard.press(key)
    maps.agree(page, {(1, 0), (1, 1), (1, 2), (0, 4), (1, 4), (2, 4)}, 4)
    assert not page.complaints  # type: ignore[attr-defined]


def focused(page: Page) -> str:
    """The name of the place that has the focus, as a screen reader says it."""
    return str(page.evaluate("""() => {
        let at = document.activeElement;
        while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
        return at.getAttribute('aria-label') ?? '';
    }"""))


@pytest.mark.parametrize(("where", "layers", "heads"), [("heads?task=antonym", maps.LAYERS, maps.HEADS),
                                                        ("heads?model=owner/large&task=antonym", 64, 72)])
def test_the_keyboard_walks_switches_and_leaves_and_every_place_has_a_name(
        browser: Browser, paper: str, where: str, layers: int, heads: int):
    page = maps.opened(browser, f"{paper}/{where}")
    grid = page.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", str(layers + 1))
    expect(grid).to_have_attribute("aria-colcount", str(heads + 1))
    page.get_by_role("grid").locator("[tabindex='0']").focus()
    for key in ("ArrowUp", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    known = r", prefix matching [\d.e−]+, copying [\d.e−]+" if heads == maps.HEADS else ""
    assert re.fullmatch(rf"L1H2, importance [\d.e−]+, rank \d+ of {layers * heads}{known}, not chosen", focused(page))
    page.keyboard.press("Space")
    maps.agree(page, {(1, 2)}, heads)
    assert re.fullmatch(r"L1H2, .*, chosen", focused(page))  # the focus is still there, and says what it did
    expect(page.get_by_role("gridcell", name=re.compile("^L1H2,")).first).to_have_attribute("aria-selected", "true")
    for key in ("ArrowRight", "Shift+ArrowRight", "Shift+ArrowUp"):
        page.keyboard.press(key)
    page.keyboard.press("Escape")  # the rectangle is dropped, the focus stays
    assert focused(page).startswith("L2H4")
    assert maps.off(page) == {(1, 2)}
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Space")
    maps.agree(page, {(1, 2), (2, 4), (2, 5)}, heads)
    page.keyboard.press("Home")
    assert focused(page) == "all heads of layer 2, not chosen"
    page.keyboard.press("Space")
    maps.agree(page, {(1, 2), *maps.rectangle((2, 0), (2, heads - 1))}, heads)
    page.keyboard.press("Escape")
    assert focused(page) == ""
    assert not page.complaints  # type: ignore[attr-defined]


def test_the_map_is_taken_home_as_a_picture(browser: Browser, paper: str, tmp_path: Path):
    from PIL import Image

    page = maps.opened(browser, f"{paper}/heads?task=antonym&off=L1H2")
    with page.expect_download() as png:
        page.get_by_role("button", name="Download this map as a PNG picture").click()
    png.value.save_as(tmp_path / "map.png")
    picture = Image.open(tmp_path / "map.png").convert("RGB")
    assert min(picture.size) > 300
    assert len(set(picture.resize((200, 200), Image.Resampling.NEAREST).get_flattened_data())) > 10
    with page.expect_download() as svg:
        page.get_by_role("button", name="Download this map as an SVG picture").click()
    assert svg.value.suggested_filename == "importance-antonym-5shot.svg"
    text = Path(svg.value.path()).read_text("utf-8")
    assert text.count("<rect") >= 40
    assert "Half of the importance for antonym falls on" in text


def card(page: Page, head: str) -> None:
    """Wait for a head's card, and see that the address names it."""
    expect(page.get_by_role("heading", name="Card", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile(f"^{head} ranks"))).to_be_visible()
    wait_until(page, f"new URLSearchParams(location.search).get('head') === '{head}'")
    settled(page)


def to_heads(page: Page) -> None:
    page_link(page, "Heads").click()
    expect(page.get_by_role("heading", name="Heads", exact=True)).to_be_visible()
    settled(page)
    maps.drawn(page)


def test_a_maps_head_opens_its_card_by_the_right_button_a_key_or_the_button_below(browser: Browser, paper: str):
    """What was clicked just before is chosen there, too; the column of FFNs has no cards."""
    page = maps.opened(browser, f"{paper}/lab?task=antonym")
    maps.click(page, (0, 3))
    page.mouse.click(*maps.middle(page, (2, maps.HEADS)), button="right")
    page.mouse.click(*maps.middle(page, (2, 4)), button="right")
    card(page, "L2H4")
    assert chosen_field(page).input_value() == "L0H3"
    to_heads(page)
    maps.click(page, (1, 1))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("i")
    card(page, "L1H2")
    assert chosen_field(page).input_value() == "L0H3,L1H1"
    to_heads(page)
    maps.click(page, (4, 0))
    page.get_by_role("button", name="Card of L4H0").click()
    card(page, "L4H0")
    assert chosen_field(page).input_value() == "L0H3,L1H1,L4H0"
    assert not page.complaints  # type: ignore[attr-defined]


def test_a_dot_opens_its_heads_card(browser: Browser, paper: str):
    page = open_page(browser, f"{paper}/induction?task=antonym&view=Against+importance")
    x, y = maps.mark(page, (5, 2))
    page.mouse.click(x, y, button="right")
    card(page, "L5H2")
