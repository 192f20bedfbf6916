"""Every page for every eye, hand and window: held against axe-core, at 390, 900 and 1440 pixels, and by keyboard."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect

from tests.browser import explorer, maps
from tests.browser.explorer import DRAWN, IS_DARK, LOOK, chosen_field, open_page, page_link, settled, wait_until

pytestmark = explorer.MARKS

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
SERIOUS = ("serious", "critical")

NAMES = ("Tour", "Heads", "FFNs", "Lab", "Pruning", "Overlap", "Induction", "Playground", "Runs", "Room")
VIEWS = {  # page -> what follows its address; with and without something chosen, which some pages show otherwise
    "Tour": "?step=1&task=plural&shots=1&off=L1H2",
    "Heads": "heads?task=label_mood&off=L1H2",
    "FFNs": "ffns?task=label_mood&shots=1",
    "Lab": "lab?task=pick&off=L1H1-3",
    "Pruning": "pruning?task=label_mood",
    "Overlap": "overlap?task=label_mood&off=L0H1",
    "Induction": "induction?task=label_mood&off=L1H2",
    "Playground": "playground?task=pick&off=L1H3",
    "Runs": "runs?task=plural&shots=1&off=L1H2",
    "Room": "room?task=plural&shots=0",
}
PHONE, HALF, WHOLE = (390, 844), (900, 800), (1440, 900)  # a telephone, half a laptop's screen, a whole one


@pytest.fixture(scope="module")
def visitor(browser: Browser, address: str) -> Page:
    """One tab for all that need no fresh one: Streamlit's scripts, which every page loads, stay in its cache."""
    return open_page(browser, f"{address}/runs", *PHONE)


def go(page: Page, address: str, size: tuple[int, int]) -> None:
    """The visitor at another address, in light, the mouse away, the page fully drawn."""
    page.emulate_media(color_scheme="light", reduced_motion="no-preference")
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.mouse.move(0, 0)
    page.goto(address)
    settled(page)
    wait_until(page, DRAWN)


@pytest.fixture(scope="module", params=NAMES)
def page(request: pytest.FixtureRequest, visitor: Page, address: str) -> Page:
    """Each page once, opened on a phone by a permalink, fully drawn."""
    visitor.complaints.clear()  # type: ignore[attr-defined]
    go(visitor, f"{address}/{VIEWS[request.param]}", PHONE)
    return visitor


def findings(page: Page) -> list[str]:
    """What axe-core calls serious or critical, one line each: rule, where, what, why."""
    if not page.evaluate("!!window.axe"):
        page.evaluate(AXE)
    found: list[dict[str, Any]] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    said = []
    for rule in found:
        for node in rule["nodes"]:
            if rule["impact"] in SERIOUS:
                why = [check["message"] for kind in ("any", "all", "none") for check in node[kind]]
                said.append(f"{rule['id']} ({rule['impact']}): {node['target']} {node['html'][:120]} {why[:1]}")
    return said


# The contrast of a text with all that lies behind it, tint upon tint; axe passes over what is see-through.
CONTRAST = """element => {
    const pixel = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const fill = css => { pixel.fillStyle = css; pixel.fillRect(0, 0, 1, 1); };
    const over = (css, [r, g, b]) => { fill(`rgb(${r} ${g} ${b})`); fill(css);
                                       return [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3); };
    const part = c => c <= 10.3 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    const above = [];
    for (let one = element; one; one = one.parentElement) above.unshift(getComputedStyle(one).backgroundColor);
    const ground = above.reduce((behind, css) => over(css, behind), [255, 255, 255]);
    const [a, b] = [light(over(getComputedStyle(element).color, ground)), light(ground)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
}"""


def over_a_chosen_option(page: Page) -> None:
    """The mouse over what is chosen in the sidebar, where colours are other ones: it can be read."""
    chosen = page.get_by_test_id("stSidebar").locator("button[data-selected]").first
    chosen.hover()
    expect(chosen).to_have_attribute("data-hovered", "true")
    page.wait_for_function(f"button => ({CONTRAST})(button.querySelector('p')) >= 4.5",  # colours change gradually
                           arg=chosen.element_handle(), timeout=5_000)


# --- a phone --------------------------------------------------------------------------------------

# What lies outside the window sideways, and what is cut short; both but for what scrolls in a box of its own.
SHOWN = "button, a, label, input:not([type=range]), p, h1, h2, h3, h4, svg"
OUTSIDE = f"[...document.querySelectorAll('[data-testid=stMain] :is({SHOWN})')]" + """
    .filter(one => {
        const {left, right, width} = one.getBoundingClientRect();
        if (!width || !one.checkVisibility({opacityProperty: true})) return false;
        let box = one.parentElement;
        while (box.dataset.testid !== 'stMain' && !/auto|scroll/.test(getComputedStyle(box).overflowX))
            box = box.parentElement;
        return box.dataset.testid === 'stMain' && (left < -1 || right > innerWidth + 1);
    }).map(one => one.outerHTML.slice(0, 200))"""
CUT = """[...document.querySelectorAll('[data-testid=stMain] *')].filter(one => one.scrollWidth > one.clientWidth + 1 &&
    one.clientWidth && getComputedStyle(one).textOverflow === 'ellipsis').map(one => one.outerHTML.slice(0, 200))"""


def whole(page: Page) -> None:
    """Nothing is wider than the window, and no text ends in dots."""
    for width in ("document.documentElement.scrollWidth", "document.querySelector('[data-testid=stMain]').scrollWidth"):
        assert page.evaluate(width) <= PHONE[0]
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(CUT) == []


def test_a_phone_shows_every_page_whole(page: Page):
    expect(page.get_by_test_id("stSidebar")).not_to_be_in_viewport()
    whole(page)


# --- half a screen --------------------------------------------------------------------------------


def test_a_permalink_to_every_page_is_drawn_as_it_says_without_complaints(page: Page):
    page.set_viewport_size({"width": HALF[0], "height": HALF[1]})
    path, _, query = page.url.removeprefix("http://").partition("/")[2].partition("?")
    title = f"^{path or 'Which parts of a language model'}"
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(title, re.IGNORECASE))
    asked, side = dict(parse_qsl(query)), page.get_by_test_id("stSidebar")
    expect(side.get_by_role("combobox", name="Task")).to_have_value(asked["task"])
    expect(side.get_by_role("radio", name=asked.get("shots", "5"), exact=True)).to_be_checked()
    expect(chosen_field(page)).to_have_value(asked.get("off", ""))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.get_by_test_id("stException").count() == 0
    assert not page.complaints  # type: ignore[attr-defined]


# --- axe-core -------------------------------------------------------------------------------------


def test_axe_finds_nothing_serious_in_light_or_dark(page: Page):
    page.set_viewport_size({"width": WHOLE[0], "height": WHOLE[1]})
    expect(page.get_by_test_id("stSidebar")).to_be_in_viewport(ratio=1)
    over_a_chosen_option(page)
    assert findings(page) == []
    page.emulate_media(color_scheme="dark")
    wait_until(page, IS_DARK, DRAWN)
    over_a_chosen_option(page)
    assert findings(page) == []


@pytest.mark.parametrize("view", ["heads?task=label_mood&view=All+tasks", "induction?view=Against+importance",
                                  "lab?task=pick&scope=All+tasks&off=L1H2"])
def test_axe_finds_nothing_serious_in_other_views(visitor: Page, address: str, view: str):
    go(visitor, f"{address}/{view}", WHOLE)
    visitor.get_by_test_id("stSidebar").get_by_text("Details").click()
    expect(visitor.get_by_role("combobox", name="Precision")).to_be_visible()
    assert findings(visitor) == []


# --- the bar of pages -----------------------------------------------------------------------------


def test_every_page_is_one_click_away(visitor: Page, address: str):
    page = visitor
    go(page, f"{address}/runs", WHOLE)
    for size in (WHOLE, HALF, PHONE):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        for name in NAMES:
            link = page_link(page, name)
            expect(link).to_be_in_viewport(ratio=1)
            page.wait_for_function("""link => {
                const {left, top, width, height} = link.getBoundingClientRect();
                return link.contains(document.elementFromPoint(left + width / 2, top + height / 2));
            }""", arg=link.element_handle())  # nothing covers it
        assert height(page_link(page, "Room")) >= (44 if size == PHONE else 24)
    page.mouse.move(*middle(page_link(page, "Room")))
    page_link(page, "Room").click()
    expect(page.get_by_role("heading", name="Room", exact=True)).to_be_visible()
    expect(page_link(page, "Room")).to_have_attribute("aria-current", "page")
    expect(page.locator("[aria-current=page]")).to_have_count(1)


# --- a map and its numbers ------------------------------------------------------------------------


def box(what: Locator) -> dict[str, float]:
    found = what.bounding_box()
    assert found is not None
    return dict(found)


def height(what: Locator) -> float:
    return box(what)["height"]


def middle(what: Locator) -> tuple[float, float]:
    here = box(what)
    return here["x"] + here["width"] / 2, here["y"] + here["height"] / 2


def all_in_sight(page: Page, *things: Locator) -> None:
    """All of these are inside the window, none over another."""
    for thing in things:
        expect(thing).to_be_in_viewport(ratio=1)
    boxes = sorted((box(thing) for thing in things), key=lambda one: one["y"])
    for upper, lower in pairwise(boxes):
        assert upper["y"] + upper["height"] <= lower["y"] + 1


@pytest.mark.parametrize(("view", "size"), [("lab?task=pick", PHONE), ("lab?task=pick&scope=All+shots", HALF),
                                            ("?step=2", PHONE)])
def test_the_numbers_stay_in_sight_of_the_map(visitor: Page, address: str, view: str, size: tuple[int, int]):
    page = visitor
    go(page, f"{address}/{view}", size)
    if "step" in view:
        page.get_by_text("it depends on the head").click()
    maps.drawn(page)
    wait_until(page, DRAWN)
    numbers = page.locator("[class*=st-key-numbers-]")
    before = numbers.inner_text()
    maps.middle(page, (4, 2))  # scrolls to the map
    scrolled = page.get_by_test_id("stMain").evaluate("main => main.scrollTop")
    maps.click(page, (4, 2))
    maps.click(page, (0, 8))
    page.wait_for_function("""before => !["", before].includes(
        document.querySelector('[class*=st-key-numbers-]')?.innerText ?? '')""", arg=before)
    wait_until(page, DRAWN)
    if "step" in view:
        expect(numbers).to_contain_text("Off: L4H2 and L0 FFN")
    all_in_sight(page, page.locator(".map .window").first, page.locator(".map .status").first, numbers)
    assert page.get_by_test_id("stMain").evaluate("main => main.scrollTop") == scrolled


@pytest.mark.parametrize(("view", "size"), [("heads?task=label_mood", PHONE), ("?step=3", HALF)])
def test_a_map_of_choices_says_below_it_how_many_are_chosen(
        visitor: Page, address: str, view: str, size: tuple[int, int]):
    page = visitor
    go(page, f"{address}/{view}", size)
    if "step" in view:
        page.get_by_text("less than a quarter").click()
    maps.drawn(page)
    maps.click(page, (1, 2))
    expect(page.locator(".map .status").first).to_have_text("1 of 48 heads chosen")
    all_in_sight(page, page.locator(".map .window").first, page.locator(".map .status").first)


# --- the keyboard ---------------------------------------------------------------------------------

# The focused element, through shadow roots; its name; and the contrast of the ring around it, or around what holds it,
# against what lies behind: 0 where there is none.
FOCUS = """() => {
    let here = document.activeElement;
    while (here.shadowRoot?.activeElement) here = here.shadowRoot.activeElement;
    const above = one => one.parentElement ?? one.getRootNode().host;
    const rgb = colour => { const ctx = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
        ctx.fillStyle = colour; ctx.fillRect(0, 0, 1, 1); return [...ctx.getImageData(0, 0, 1, 1).data]; };
    const part = c => c <= 10.3 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    const ground = one => rgb(getComputedStyle(one).backgroundColor);
    const behind = one => !one ? [255, 255, 255] : ground(one)[3] > 250 ? ground(one) : behind(above(one));
    let ring = 0;
    for (let one = here, far = 0; one && far < 4; one = above(one), far += 1) {
        const {outlineStyle, outlineWidth, outlineColor} = getComputedStyle(one);
        if (outlineStyle === 'none' || parseFloat(outlineWidth) < 2 || !above(one)) continue;
        const [a, b] = [light(rgb(outlineColor)), light(behind(above(one)))].sort((x, y) => y - x);
        ring = Math.max(ring, (a + 0.05) / (b + 0.05));
    }
    const name = here.ariaLabel || here.innerText || here.closest('label')?.innerText || here.outerHTML;
    return {ring, name: name.trim().slice(0, 160), kind: here.type ?? here.role ?? here.tagName,
            nowhere: here === document.body};
}"""


FROM_THE_TOP = "document.activeElement.blur()"
FROM_THE_STEP = """() => {
    const title = document.querySelector('[data-testid=stMain] h2');
    title.tabIndex = -1;
    title.focus();
}"""


def tabbed(page: Page, until: str) -> list[str]:
    """Press Tab until the focus is on what bears this name; what it stopped at without a ring that one can see."""
    faint = []
    for _ in range(150):
        page.keyboard.press("Tab")
        here = page.evaluate(FOCUS)
        if here["nowhere"]:
            continue
        if here["ring"] < 3:  # a theme that has just changed is still being drawn: half a second for it
            with suppress(TimeoutError):
                page.wait_for_function(f"() => ({FOCUS})().ring >= 3", timeout=500, polling=LOOK)
            here = page.evaluate(FOCUS)
        if here["ring"] < 3:
            faint.append(f"{here['kind']} {here['name']}: {here['ring']:.1f}")
        if here["kind"] == "radio" and "guess" in page.evaluate(
                "document.activeElement.closest('[class*=st-key-]')?.className ?? ''"):
            page.keyboard.press("Space")
            settled(page)
        if until in here["name"].split("\n"):
            return faint
    pytest.fail(f"Tab never reaches '{until}'")


def test_the_tour_is_walked_by_keyboard_and_one_sees_where_one_is(browser: Browser, address: str):
    page = open_page(browser, address, *WHOLE)
    faint = []
    for step in range(1, 11):
        expect(page.get_by_role("heading", name=re.compile(rf"^{step} · "))).to_be_visible()
        settled(page)
        page.evaluate(FROM_THE_TOP if step == 1 else FROM_THE_STEP)  # what stands above it is walked once
        faint += tabbed(page, "Next" if step < 10 else "Back")
        assert findings(page) == [], f"step {step}"
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^9 · "))).to_be_visible()
    assert sorted(set(faint)) == []
    assert not page.complaints  # type: ignore[attr-defined]


def test_whom_movement_disturbs_sees_none(visitor: Page, address: str):
    page = visitor
    go(page, f"{address}/room", WHOLE)
    moving = """[...document.querySelectorAll('*')].filter(one => ['', '::before', '::after'].some(part => {
        const {transitionDuration, animationDuration} = getComputedStyle(one, part || null);
        return `${transitionDuration},${animationDuration}`.split(',').some(each => parseFloat(each) > 0.001);
    })).map(one => one.outerHTML.slice(0, 120))"""
    assert page.evaluate(moving) != []
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(moving) == []


# --- a room by touch ------------------------------------------------------------------------------


def test_a_class_guesses_by_touch_on_a_phone(browser: Browser, address: str):
    teacher = open_page(browser, f"{address}/room?task=negation&off=L0H2,L1H2", *HALF)
    teacher.get_by_role("button", name="Open a room").click()
    expect(teacher).to_have_url(re.compile("room=[A-Z]{4}"))
    assert findings(teacher) == []
    code = re.search("room=([A-Z]{4})", teacher.url)[1]
    context = browser.new_context(viewport={"width": PHONE[0], "height": PHONE[1]}, has_touch=True, is_mobile=True)
    phone = context.new_page()
    phone.goto(f"{address}/room?room={code}")
    settled(phone)
    whole(phone)
    phone.get_by_text("blue", exact=True).tap()
    phone.get_by_text("newt", exact=True).tap()
    phone.get_by_role("button", name="Sit down").tap()
    expect(phone.get_by_text("The first question comes when the teacher asks it.")).to_be_visible()

    teacher.get_by_role("button", name="Ask the room").click()
    expect(phone.get_by_role("timer")).to_be_visible()
    whole(phone)
    track = box(phone.get_by_test_id("stSlider"))
    handle = box(phone.get_by_role("slider"))
    phone.touchscreen.tap(track["x"] + 0.8 * track["width"], middle(phone.get_by_role("slider"))[1])
    expect(phone.get_by_role("slider")).to_have_value(re.compile("^(7|8)"))
    assert box(phone.get_by_role("slider"))["x"] > handle["x"]
    phone.get_by_role("button", name="Guess").tap()  # the only one in the room: everybody sees the truth at once
    for page in (phone, teacher):
        expect(page.get_by_role("heading", name=re.compile("^It is "))).to_be_visible()
        assert findings(page) == []
    whole(phone)
