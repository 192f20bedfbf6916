"""Two masks side by side under an ordinary hand: the numbers belong to the masks that are shown, and B stays B."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from backend.kinds import Evaluation
from backend.store.live import Store
from backend.values import parse_exact
from tests.browser import explorer, maps
from tests.browser.explorer import chosen_field, open_page, page_link, settled, wait_until
from tests.pages import made_up
from tests.pages.test_lab import answered

pytestmark = explorer.MARKS

STORED = "lab?model=owner/small&task=antonym"
A, B = 0, 1  # the maps, in the page's order


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The explorer, with a model that exists only on paper and whose masks are all there: nothing is measured."""
    cache: Path = tmp_path_factory.mktemp("cache")
    small = made_up.model_info(5, 8, name="owner/small")
    (setup,) = made_up.setups(made_up.model_id(small), ["antonym"])
    shares = {"": 0.9, "L1H2": 0.8, "L2H3": 0.7, "L0H5,L2H3": 0.6, "L1H2,L3H4": 0.5, "L4H0-7,F0-2": 0.4}
    made_up.filled(cache, [], small)
    with Store(cache) as store:
        for off, share in shares.items():
            store.put(Evaluation(setup, parse_exact(off)), answered(setup, share))
    with explorer.server(cache) as address:
        yield address


def b_field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Compare with (B)")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()
    settled(page)


def numbers(page: Page) -> list[str]:
    """Intact, A, B and A − B, once all are there."""
    settled(page)
    expect(page.get_by_test_id("stMetricValue").nth(3)).not_to_have_text("–")
    return page.get_by_test_id("stMetricValue").all_inner_texts()


def alone(browser: Browser, address: str, off: str) -> str:
    """The accuracy that a visitor sees who has switched off this mask and compares nothing."""
    page = open_page(browser, f"{address}/lab?task=antonym&off={off}")
    expect(page.get_by_role("heading", name=re.compile("^Without .* (goes from|stays at)"))).to_be_visible()
    settled(page)
    shown = page.get_by_test_id("stMetricValue").all_inner_texts()[1]
    return shown


def apart(page: Page, i: int) -> set[maps.Cell]:
    """What a map frames as off in only one of the two masks."""
    return {(layer, column) for layer, column in page.evaluate(f"""i => {{
        const map = {maps.MAP}, found = [];
        for (let layer = 0; layer < map.layers; layer += 1)
          for (let column = 0; column < map.columns; column += 1)
            if (map.differs(layer, column)) found.push([layer, column]);
        return found;
    }}""", i)}


def test_quick_clicks_on_a_are_seen_beside_b_at_once_and_the_numbers_are_those_of_the_masks_shown(
        browser: Browser, address: str):
    page = open_page(browser, f"{address}/lab?task=antonym&off=L1H2,F1")
    maps.drawn(page)
    press(page, "Keep as B")
    expect(b_field(page)).to_have_value("L1H2,F1")
    maps.drawn(page, 2)
    settled(page)
    before = maps.middle(page, (4, 7), A)
    for cell in ((0, 0), (0, 1), (1, 8), (3, 4)):  # F1 is on again
        maps.click(page, cell, A)
        page.wait_for_timeout(60)
        assert maps.middle(page, (4, 7), A) == before  # numbers and progress come and go above: nothing moves
    changed = {(0, 0), (0, 1), (1, 8), (3, 4)}
    assert maps.off(page, A) == {(1, 2), (0, 0), (0, 1), (3, 4)}
    assert maps.off(page, B) == {(1, 2), (1, 8)}
    assert apart(page, A) == apart(page, B) == changed  # painted without waiting for the server
    expect(chosen_field(page)).to_have_value("L0H0-1,L1H2,L3H4")
    expect(page.get_by_role("heading", name="A · 4 heads off")).to_be_visible()
    told = page.get_by_text("Off only in A: L0H0, L0H1 and L3H4. Off only in B: L1 FFN. In both: L1H2.")
    expect(told).to_be_visible()
    shown = numbers(page)
    assert maps.middle(page, (4, 7), A) == before
    assert b_field(page).input_value() == "L1H2,F1"
    assert shown[1:3] == [alone(browser, address, off) for off in ("L0H0-1,L1H2,L3H4", "L1H2,F1")]
    assert not page.complaints  # type: ignore[attr-defined]


def test_b_is_not_switched_by_a_hand_and_says_what_is_off_in_it(browser: Browser, address: str):
    page = open_page(browser, f"{address}/{STORED}&off=L1H2&against=L2H3")
    maps.drawn(page, 2)
    maps.click(page, (2, 3), B)
    expect(page.locator(".tip").nth(B)).to_contain_text("off, on in A")
    page.keyboard.press("Space")
    maps.drag(page, (0, 0), (1, 3), B)
    settled(page)
    assert (maps.off(page, A), maps.off(page, B)) == ({(1, 2)}, {(2, 3)})
    expect(page.get_by_role("grid").nth(B)).to_have_attribute("aria-readonly", "true")


def test_b_survives_a_reload_another_page_and_the_way_back_and_is_swapped_and_let_go(browser: Browser, address: str):
    page = open_page(browser, f"{address}/{STORED}&off=L4H0-7,F0-2&against=L2H3")
    maps.drawn(page, 2)
    first = numbers(page)
    assert first[1] != first[2]
    page.get_by_role("button", name="Swap A and B").click()
    maps.click(page, (0, 5), A)  # at once: the browser may still show B as it was
    expect(chosen_field(page)).to_have_value("L0H5,L2H3")
    settled(page)
    assert b_field(page).input_value() == "L4H0-7,F0-2"
    press(page, "Undo")
    expect(chosen_field(page)).to_have_value("L2H3")
    shown = numbers(page)
    assert shown[1:3] == first[1:3][::-1]
    page.reload()
    settled(page)
    expect(b_field(page)).to_have_value("L4H0-7,F0-2")
    assert numbers(page) == shown
    page_link(page, "Heads").click()
    expect(page.get_by_role("heading", name="Heads", exact=True)).to_be_visible()
    settled(page)
    page.go_back()
    expect(page.get_by_role("heading", name="Lab", exact=True)).to_be_visible()
    expect(b_field(page)).to_have_value("L4H0-7,F0-2")
    assert numbers(page) == shown
    press(page, "End comparison")
    expect(page.get_by_text("Switched off", exact=True)).to_be_visible()
    wait_until(page, "!new URLSearchParams(location.search).has('against')")
    assert not page.complaints  # type: ignore[attr-defined]


def test_two_rows_of_what_was_tried_are_compared(browser: Browser, address: str):
    page = open_page(browser, f"{address}/{STORED}&off=L1H2")
    maps.drawn(page)
    expect(page.get_by_role("heading", name="1 mask tried")).to_be_visible()
    maps.click(page, (3, 4))
    expect(page.get_by_role("heading", name="2 masks tried")).to_be_visible()
    settled(page)
    table = page.get_by_test_id("stDataFrame").last
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box is not None
    for row in (1, 0):
        page.mouse.click(box["x"] + 14, box["y"] + 37 + 35 * row + 17)
        settled(page)
        page.wait_for_timeout(300)
    expect(b_field(page)).to_have_value("L1H2")
    expect(chosen_field(page)).to_have_value("L1H2,L3H4")
    expect(page.get_by_text("Off only in A: L3H4. In both: L1H2.")).to_be_visible()


def test_in_half_a_window_the_numbers_stay_in_sight_above_both_maps(browser: Browser, address: str):
    page = open_page(browser, f"{address}/{STORED}&off=L1H2&against=L2H3", width=900, height=800)
    maps.drawn(page, 2)
    shown = numbers(page)
    for i in (A, B):
        page.evaluate(f"i => {maps.MAP}.box.scrollIntoView({{block: 'end', behavior: 'instant'}})", i)
        bar, place = page.locator(".st-key-pages").bounding_box(), page.locator(".st-key-versus-numbers").bounding_box()
        assert bar is not None
        assert place is not None
        assert bar["y"] + bar["height"] - 1 <= place["y"] < 200
        metric = page.get_by_test_id("stMetricValue").nth(2)
        assert metric.evaluate("""one => { const {left, top, width, height} = one.getBoundingClientRect();
            return one.contains(document.elementFromPoint(left + width / 4, top + height / 2)); }""")  # nothing over it
    assert page.get_by_test_id("stMetricValue").all_inner_texts() == shown
