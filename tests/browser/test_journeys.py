"""What a visitor does, with a real mouse in a real browser, on the bundled model."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import explorer
from tests.browser.explorer import chosen_field, click_cell, open_page, settled

pytestmark = explorer.MARKS


def numbers(page: Page) -> list[str]:
    """The large numbers of the Lab, in order."""
    return page.get_by_test_id("stMetricValue").all_inner_texts()


def finding(page: Page, words: str) -> None:
    """Wait until the Lab's title says so, and is final."""
    expect(page.get_by_role("heading", name=re.compile(words))).to_be_visible()
    settled(page)


def test_a_click_moves_accuracy_and_the_address_and_the_link_shows_another_visitor_the_same(
        browser: Browser, address: str):
    page = open_page(browser, f"{address}/lab?task=antonym")
    finding(page, "Nothing is switched off")
    intact = numbers(page)[0]
    click_cell(page, "L1H2")
    finding(page, "Without L1H2, accuracy on antonym (goes from|stays at)")
    expect(page).to_have_url(re.compile(r"off=L1H2\b"))
    click_cell(page, "L0 FFN")
    finding(page, "Without L1H2 and L0 FFN, accuracy on antonym (goes from|stays at)")
    shown = numbers(page)
    assert shown[0] == intact
    assert shown[1] != intact  # no model does without its first FFN
    assert "–" not in shown

    friend = open_page(browser, page.url)
    finding(friend, "Without L1H2 and L0 FFN, accuracy on antonym (goes from|stays at)")
    expect(chosen_field(friend)).to_have_value("L1H2,F0")
    assert numbers(friend) == shown

    click_cell(page, "L1H2")  # the same cell again, over its cross: on again
    finding(page, "Without L0 FFN, accuracy on antonym (goes from|stays at)")
    page.get_by_role("button", name="Undo").click()
    finding(page, "Without L1H2 and L0 FFN, accuracy on antonym")
    assert numbers(page) == shown
    page.go_back()
    expect(chosen_field(page)).not_to_have_value("L1H2,F0")
    assert not page.complaints + friend.complaints  # type: ignore[attr-defined]


def test_all_tasks_arrive_one_by_one_and_stop_keeps_what_is_there(browser: Browser, address: str):
    page = open_page(browser, f"{address}/lab?demos=per-query&n=119")
    page.get_by_role("radio", name="All tasks").click()
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(1)  # the first task is there: nothing moves any more
    page.get_by_test_id("stMain").get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Not measured yet:")).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Measure now").click()
    finding(page, "Nothing is switched off")
    expect(page.get_by_text("Not measured yet:")).to_have_count(0)
    assert len(numbers(page)) == 4
    assert not page.complaints  # type: ignore[attr-defined]


def tab_to(page: Page, name: str, key: str = "Tab") -> None:
    """Press Tab until the focus is on what bears this name."""
    for _ in range(150):
        page.keyboard.press(key)
        here = page.evaluate("""() => {
            let at = document.activeElement;
            while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
            return (at.ariaLabel || at.innerText || '').trim();
        }""")
        if here.split("\n")[-1] == name:
            return
    pytest.fail(f"Tab never reaches '{name}'")


def test_the_keyboard_alone_is_enough(browser: Browser, address: str):
    page = open_page(browser, f"{address}/lab?task=antonym")
    finding(page, "Nothing is switched off")
    intact = numbers(page)[0]
    tab_to(page, "Chosen heads and FFNs")
    page.keyboard.type("1.2, L0 FFN")
    page.keyboard.press("Enter")
    expect(chosen_field(page)).to_have_value("L1H2,F0")
    finding(page, "Without L1H2 and L0 FFN, accuracy on antonym goes from")
    assert numbers(page)[0] == intact != numbers(page)[1]
    tab_to(page, "Undo")
    page.keyboard.press("Enter")
    expect(chosen_field(page)).to_have_value("")
    finding(page, "Nothing is switched off")
    tab_to(page, "Redo")
    page.keyboard.press("Enter")
    expect(chosen_field(page)).to_have_value("L1H2,F0")
    tab_to(page, "Heads")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Heads", exact=True)).to_be_visible()
    expect(chosen_field(page)).to_have_value("L1H2,F0")
    settled(page)
    tab_to(page, "Clear")
    page.keyboard.press("Enter")
    expect(chosen_field(page)).to_have_value("")
    expect(page).not_to_have_url(re.compile("off="))
    assert not page.complaints  # type: ignore[attr-defined]


def test_a_preset_is_undone_done_again_and_shared(browser: Browser, address: str):
    page = open_page(browser, f"{address}/lab?task=antonym")
    finding(page, "Nothing is switched off")
    page.get_by_role("button", name="Presets").click()
    page.get_by_role("button", name=re.compile(r"Switch off the lowest \d+ %")).click()
    finding(page, r"Without .+, accuracy on antonym (goes from|stays at)")
    mask, shown = chosen_field(page).input_value(), numbers(page)
    assert mask
    assert "–" not in shown
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Undo").click()
    expect(chosen_field(page)).to_have_value("")
    finding(page, "Nothing is switched off")
    page.get_by_role("button", name="Redo").click()
    expect(chosen_field(page)).to_have_value(mask)
    finding(page, r"Without .+, accuracy on antonym (goes from|stays at)")
    link = page.get_by_test_id("stCode").get_by_text(f"{address}/lab").last.inner_text()

    friend = open_page(browser, link)
    finding(friend, r"Without .+, accuracy on antonym (goes from|stays at)")
    expect(chosen_field(friend)).to_have_value(mask)
    assert numbers(friend) == numbers(page) == shown
    assert not page.complaints + friend.complaints  # type: ignore[attr-defined]


def test_chosen_heads_follow_from_page_to_page_and_survive_a_reload(browser: Browser, address: str):
    page = open_page(browser, f"{address}/heads?task=antonym&off=L2H1")
    page.get_by_role("link", name="Switch L2H1 off in Lab").click()
    expect(page.get_by_role("heading", name="Lab", exact=True)).to_be_visible()
    expect(chosen_field(page)).to_have_value("L2H1")
    finding(page, "Without L2H1, accuracy on antonym (goes from|stays at)")
    page.reload()
    finding(page, "Without L2H1, accuracy on antonym (goes from|stays at)")
    assert not page.complaints  # type: ignore[attr-defined]
