"""A short lesson in a real browser: a teacher and three who guess, on the bundled model."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser import explorer
from tests.browser.explorer import open_page, settled, wait_until

pytestmark = explorer.MARKS

TRUTH = re.compile(r"It is 9\d\s%")  # how often the model is right in the round that is played


def come_in(browser: Browser, address: str, code: str, colour: str, animal: str, width: int) -> Page:
    page = open_page(browser, f"{address}/room", width, 844)
    page.get_by_label("Code of the room").fill(code.lower())
    page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
    for choice in (colour, animal):
        page.get_by_text(choice, exact=True).click()
    page.get_by_role("button", name="Sit down").click()
    expect(page.get_by_text("The first question comes when the teacher asks it.")).to_be_visible()
    expect(page.get_by_text(f"{colour} {animal}").first).to_be_visible()
    return page


def test_a_class_guesses_sees_and_keeps_its_places(browser: Browser, address: str):
    teacher = open_page(browser, f"{address}/room?task=negation&off=L0H2,L1H2")
    teacher.get_by_role("button", name="Open a room").click()
    expect(teacher).to_have_url(re.compile("room=[A-Z]{4}"))
    code = re.search("room=([A-Z]{4})", teacher.url)[1]
    expect(teacher.get_by_role("img", name=f"QR code of {address}/room?room={code}")).to_be_visible()
    fox, owl, newt = (come_in(browser, address, code, *who) for who in (
        ("blue", "fox", 390), ("red", "owl", 900), ("green", "newt", 1440)))
    expect(teacher.locator(".room-people")).to_contain_text("green newt")  # without a touch of the teacher's

    teacher.get_by_role("button", name="Ask the room").click()
    for page in (fox, owl, newt):
        expect(page.get_by_role("heading", name="negation, 5 shots: how often is the model right")).to_be_visible()
        expect(page.get_by_role("timer")).to_be_visible()
        expect(page.get_by_text(TRUTH)).to_have_count(0)  # not even hidden
    owl.get_by_role("slider").press("ArrowRight")
    for page, steps in ((fox, 10), (owl, 0)):
        for _ in range(steps):
            page.get_by_role("slider").press("ArrowRight")
        page.get_by_role("button", name="Guess").click()
        expect(page.get_by_text("You can change it until the round closes.")).to_be_visible()
    expect(teacher.get_by_text("2 of 3 have guessed.")).to_be_visible()
    owl.reload()
    settled(owl)
    expect(owl.get_by_text("Your guess: 51")).to_be_visible()

    teacher.get_by_role("button", name="Reveal").click()
    for page in (teacher, fox, owl, newt):
        expect(page.get_by_role("heading").get_by_text(TRUTH)).to_be_visible()
        expect(page.locator(".room-list")).to_contain_text(re.compile("blue fox.*: 60\\s%.*red owl.*: 51\\s%"))
    expect(fox.get_by_text("Place 1 of 2.")).to_be_visible()

    expect(teacher.get_by_role("img", name="QR code of")).to_have_count(0)
    teacher.get_by_role("button", name="Show the code").click()  # for those who come late
    expect(teacher.get_by_role("img", name=f"QR code of {address}/room?room={code}")).to_be_visible()
    teacher.keyboard.press("Escape")
    teacher.get_by_text("a race").click()
    expect(teacher.get_by_text("heads that are missed most").first).to_be_visible()
    teacher.get_by_text("20 s", exact=True).click()  # the shortest round, which is waited for below
    expect(teacher.get_by_role("radio", name="20 s", exact=True)).to_be_checked()
    settled(teacher)
    teacher.get_by_role("button", name="Ask the room").click()
    for left, name in ((9, "L1H2"), (8, "L0H6"), (7, "L4H0")):
        newt.get_by_text(name, exact=True).click()
        expect(newt.get_by_text(f"{left} switches left.")).to_be_visible()
    teacher.close()  # nobody will reveal: the others go on, and the round closes by itself
    expect(fox.get_by_role("heading", name=re.compile("Missed most"))).to_be_visible()
    expect(fox.get_by_role("button", name="Teach")).to_be_visible()
    fox.get_by_role("button", name="Teach").click()
    expect(fox.get_by_role("heading", name="Next question")).to_be_visible()
    assert not fox.complaints + owl.complaints + newt.complaints  # type: ignore[attr-defined]


def test_a_presenter_steps_by_keys(browser: Browser, address: str):
    page = open_page(browser, f"{address}/?present=true")
    expect(page.get_by_test_id("stSidebar")).not_to_be_visible()
    for key, step in (("ArrowRight", 2), ("PageDown", 3), ("ArrowLeft", 2), ("PageUp", 1)):
        page.keyboard.press(key)
        at_step(page, step)
    assert not page.complaints  # type: ignore[attr-defined]


def at_step(page: Page, step: int) -> None:
    expect(page.get_by_role("heading", level=2, name=re.compile(f"^{step} · "))).to_be_visible()
    settled(page)


def choices(page: Page) -> Locator:
    """The answers of the step's question."""
    return page.get_by_test_id("stRadioOption")


def guess(page: Page, place: int = 0) -> None:
    choices(page).nth(place).click()
    expect(page.get_by_text(re.compile("You guessed"))).to_be_visible()
    settled(page)


def test_a_presenter_s_keys_step_whatever_was_clicked_before(browser: Browser, address: str):
    page = open_page(browser, f"{address}/?present=true&step=7")
    for key, step in (("ArrowRight", 8), ("ArrowLeft", 7), ("PageUp", 6), ("ArrowLeft", 5)):
        guess(page)
        page.keyboard.press(key)
        at_step(page, step)
    guess(page, 2)
    page.get_by_role("radio", name="half or more").focus()  # and by keyboard alone
    for key, step in (("PageDown", 6), ("PageUp", 5)):
        page.keyboard.press(key)
        at_step(page, step)
    expect(page.get_by_role("radio", name="half or more")).to_be_checked()
    handle = page.get_by_role("slider").first.locator("..").bounding_box()
    assert handle is not None
    page.mouse.click(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    wait_until(page, "document.activeElement === document.body")
    page.keyboard.press("PageDown")
    at_step(page, 6)
    page.get_by_role("radio", name="the same kind").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("radio", name="the same kind")).to_be_checked()
    settled(page)
    page.keyboard.press("ArrowRight")
    at_step(page, 7)
    assert not page.complaints  # type: ignore[attr-defined]


def test_a_step_begins_at_its_top_and_is_left_alone_then(browser: Browser, address: str):
    page = open_page(browser, f"{address}/?step=5", 1440, 900)
    top = "document.querySelector('.st-key-step-card h2').getBoundingClientRect().top"
    in_sight = f"{top} > 0 && {top} < 320"
    for name, step in (("Next", 6), ("Next", 7), ("Back", 6)):
        page.get_by_role("button", name=name, exact=True).scroll_into_view_if_needed()
        page.get_by_role("button", name=name, exact=True).click()
        at_step(page, step)
        wait_until(page, in_sight)
        guess(page)
    page.mouse.move(700, 500)
    page.mouse.wheel(0, 3000)
    wait_until(page, f"{top} < 0")
    guess(page, 1)
    page.mouse.wheel(0, 3000)
    wait_until(page, f"{top} < 0")  # another run, and no other step


def test_the_answer_to_a_guess_is_in_sight(browser: Browser, address: str):
    page = open_page(browser, f"{address}/?present=true&step=5", 1440, 900)
    for step in range(5, 12):
        at_step(page, step)
        choices(page).first.click()
        answer = page.get_by_text(re.compile("You guessed"))
        expect(answer).to_be_in_viewport(ratio=1)
        settled(page)
        expect(answer).to_be_in_viewport(ratio=1)
        page.keyboard.press("PageDown")


def test_the_two_lines_of_pages_stand_apart_on_a_phone(browser: Browser, address: str):
    page = open_page(browser, f"{address}/room", 390, 844)
    links = page.locator(".st-key-pages a")
    expect(links).to_have_count(11)
    boxes = [box for link in links.all() if (box := link.bounding_box()) is not None]
    upper = max(box["y"] + box["height"] for box in boxes[:5])
    assert upper + 2 <= min(box["y"] for box in boxes[5:])
