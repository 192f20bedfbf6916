"""On a slow line, and in the text field: what a hand did last stands, whatever answer comes after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import explorer, maps
from tests.browser.explorer import chosen_field, open_page, settled, wait_until
from tests.browser.line import Line

pytestmark = explorer.MARKS


def test_a_mask_is_written_as_one_was_before_and_sent_off_or_left(browser: Browser, paper: str):
    """What the field showed earlier is no report of a hand, unless a hand has written it again."""
    page = maps.opened(browser, f"{paper}/heads?task=antonym&off=L0H0")
    for text, key in (("l1h2", "Enter"), ("L0H0", "Tab"), ("L1H2", "Enter"), ("", "Tab"), ("L0H0", "Enter")):
        chosen_field(page).fill(text)
        chosen_field(page).press(key)
        maps.agree(page, {(0, 0)} if "0" in text else {(1, 2)} if text else set())
    chosen_field(page).fill("")
    maps.click(page, (1, 2))  # leaves the field, and is on top of what was written
    maps.click(page, (3, 3))
    maps.agree(page, {(1, 2), (3, 3)})
    for _ in range(3):
        page.get_by_role("button", name="Undo").click()
    maps.agree(page, {(0, 0)})
    assert not page.complaints  # type: ignore[attr-defined]


def test_what_is_written_stays_while_the_page_is_drawn_anew_under_the_hand(browser: Browser, paper: str):
    """A late drawing gives the field another text, as React does it, after all was selected and between two words."""
    page = maps.opened(browser, f"{paper}/heads?task=antonym&off=L4H4")
    field = chosen_field(page)
    field.select_text()
    page.evaluate("() => new Promise(requestAnimationFrame)")  # by now the page knows
    for late, words in (("L2H2", "l0h0,"), ("L3H3,L4H4", "l1h2")):
        field.evaluate("(input, text) => { input.value = text; }", late)
        page.keyboard.insert_text(words)
    expect(field).to_have_value("l0h0,l1h2")
    field.press("Enter")
    maps.agree(page, {(0, 0), (1, 2)})
    field.press("End")
    page.keyboard.insert_text(",l3h3")  # nothing was selected any more
    field.press("Tab")
    maps.agree(page, {(0, 0), (1, 2), (3, 3)})
    field.evaluate("input => { input.focus(); input.select(); input.value = 'L5H5'; }")  # before the page is told of it
    page.evaluate("() => new Promise(requestAnimationFrame)")
    page.keyboard.insert_text("l2h2")
    field.press("Enter")
    maps.agree(page, {(2, 2)})
    assert not page.complaints  # type: ignore[attr-defined]


# --- on a slow line: the page has not heard the last answer when the hand goes on -----------------------------------


@pytest.fixture(scope="module")
def line(browser: Browser, paper: str) -> Iterator[Line]:
    """A line that can be slow, and its tab."""
    lines: list[Line] = []
    page = open_page(browser, f"{paper}/room", before=lambda page: lines.append(Line(page)))
    yield lines[0]
    page.close()


@pytest.fixture
def slow(line: Line, paper: str) -> Line:
    """A slow line to a page on which L1H1 is chosen, by hand: a session of its own."""
    page = line.page
    page.complaints.clear()  # type: ignore[attr-defined]
    line.let_requests_go()
    line.let_answers_go()
    page.goto(f"{paper}/heads?task=antonym")
    settled(page)
    maps.drawn(page)
    maps.click(page, (1, 1))
    maps.agree(page, {(1, 1)})
    return line


@pytest.mark.parametrize(("how", "then"), [("undo", {(1, 1)}), ("clear", set()), ("click", {(1, 1)}),
                                           ("text", {(1, 1)}), ("shots", {(1, 1), (2, 2)})])
def test_the_address_says_what_is_chosen_though_an_earlier_answer_comes_late(slow: Line, how: str,
                                                                             then: set[maps.Cell]):
    """The late answer's address is older than the request that follows, which may say what is chosen already."""
    page = slow.page
    slow.hold_answers()
    runs = slow.runs
    maps.click(page, (2, 2))
    slow.wait_for_runs(runs + 1)
    match how:
        case "undo" | "clear":
            page.get_by_role("button", name=how.capitalize()).click()
        case "click":
            maps.click(page, (2, 2))
        case "text":
            chosen_field(page).fill("L1H1")
            chosen_field(page).press("Enter")
        case "shots":
            page.get_by_role("radio", name="1", exact=True).click()
    slow.wait_for_runs(runs + 2)
    slow.let_answers_go()
    maps.agree(page, then)
    assert ("shots=1" in page.url) == (how == "shots")
    assert not page.complaints  # type: ignore[attr-defined]


def test_what_a_hand_chooses_is_no_step_of_the_history_and_a_click_on_the_map_is_one(browser: Browser, paper: str):
    """The browser writes into the address what is chosen, and the server would write the same: nothing is sent."""
    page = maps.opened(browser, f"{paper}/lab?task=antonym")
    page.get_by_text("Details").click()
    steps = page.evaluate("history.length")
    page.get_by_role("radio", name="0", exact=True).click()
    page.get_by_role("radio", name="one-divisor", exact=True).click()
    page.get_by_role("spinbutton", name="Questions").fill("50")
    page.get_by_role("spinbutton", name="Questions").press("Enter")
    menu = page.get_by_role("combobox", name="Tasks that are compared")
    menu.scroll_into_view_if_needed()
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    menu.click()  # once nothing scrolls any more: that would close it again
    for task in ("antonym", "capital"):
        page.get_by_role("option", name=task, exact=True).click()
    page.keyboard.press("Escape")  # the rest is hidden from readers while the menu is open
    for part in ("shots=0", "by=one-divisor", "n=50", "tasks=antonym&tasks=capital"):
        wait_until(page, f"location.search.includes('{part}')")
    settled(page)
    assert page.evaluate("history.length") == steps
    maps.click(page, (1, 1))
    maps.agree(page, {(1, 1)})
    assert page.evaluate("history.length") == steps + 1
    for part in ("shots=0", "by=one-divisor", "n=50", "tasks=antonym&tasks=capital"):
        assert part in page.url
    assert not page.complaints  # type: ignore[attr-defined]


def test_a_choice_stays_in_the_address_whose_request_was_joined_with_a_click_after_a_late_answer(slow: Line):
    """Shots are chosen; the answer to an earlier click takes them out of the address; a click follows at once."""
    page = slow.page
    slow.hold_answers()
    runs = slow.runs
    maps.click(page, (2, 2))
    slow.wait_for_runs(runs + 1)
    slow.hold_requests()
    page.get_by_role("radio", name="1", exact=True).click()
    slow.wait_for_requests(1)
    slow.let_answers_go()
    maps.wait_for(page, {(1, 1), (2, 2)})
    wait_until(page, "location.search.includes('L2H2')")
    maps.click(page, (3, 3))
    slow.wait_for_requests(2)
    slow.let_requests_go()
    maps.agree(page, {(1, 1), (2, 2), (3, 3)})
    wait_until(page, "location.search.includes('shots=1')")
    assert not page.complaints  # type: ignore[attr-defined]
