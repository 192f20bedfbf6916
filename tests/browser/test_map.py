"""The map under an ordinary hand: no click is lost, whatever the server does; undo, text and address stay in step."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from backend.kinds import Evaluation, PrefixMatching
from backend.values import Ablation, Head
from tests.browser import explorer, maps
from tests.browser.explorer import DRAWN, PATIENCE, chosen, chosen_field, hovered, open_page, settled, wait_until
from tests.browser.line import Line
from tests.independent import published
from tests.pages import made_up

pytestmark = explorer.MARKS

LAYERS, HEADS = 6, 8  # of the bundled model
TEN = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (0, 5), (1, 6), (2, 7), (3, 1), (4, 2)]
TEN_OF_4608 = [(6 * i, 7 * i) for i in range(10)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The explorer, with models that exist only on paper: of 64 x 72 heads, and one with heads in layer 1 alone."""
    cache: Path = tmp_path_factory.mktemp("cache")
    half = replace(made_up.model_info(3, 4, name="owner/half"), headless=(0, 2))
    for info in (made_up.model_info(64, 72, name="owner/large"), half):
        setups = made_up.setups(made_up.model_id(info), ["antonym"])
        made_up.filled(cache, [unit(one) for one in setups for unit in (made_up.importance, Evaluation)], info)
    with explorer.server(cache) as address:
        yield address


def opened(browser: Browser, address: str, n_maps: int = 1) -> Page:
    page = open_page(browser, address)
    maps.drawn(page, n_maps)
    return page


def text_of(cells: set[maps.Cell], n_heads: int = HEADS) -> str:
    return str(Ablation(frozenset(Head(layer, column) for layer, column in cells if column < n_heads),
                        frozenset(layer for layer, column in cells if column == n_heads)))


def agree(page: Page, cells: set[maps.Cell], n_heads: int = HEADS, n_maps: int = 1) -> None:
    """Wait until text field, address and maps say the same, and see that it stays.

    All is answered first: a hand may come by here on its way (Clear, Undo, Redo).
    """
    text = text_of(cells, n_heads)
    maps.answered(page)
    expect(chosen_field(page)).to_have_value(text)
    page.wait_for_function("text => (new URLSearchParams(location.search).get('off') ?? '') === text", arg=text,
                           timeout=PATIENCE)
    for i in range(n_maps):
        maps.wait_for(page, cells, i)
    settled(page)
    assert [maps.off(page, i) for i in range(n_maps)] == [cells] * n_maps
    assert chosen_field(page).input_value() == text


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
    pytest.param("heads?task=antonym", TEN, HEADS, (30, 100, 200, 400), id="heads"),
    pytest.param("heads?model=owner/large&task=antonym", TEN_OF_4608, 72, (30, 200), id="heads of 64 x 72"),
    pytest.param("lab?task=antonym", TEN, HEADS, (30, 200), id="lab, as I click"),
    pytest.param("lab?model=owner/large&task=antonym", TEN_OF_4608, 72, (100, 400), id="lab of 64 x 72, when asked"),
    pytest.param("?step=2", TEN, HEADS, (30, 200), id="tour"),
])
def test_ten_clicks_are_ten_heads_however_quick_and_so_are_ten_steps_back(
        browser: Browser, address: str, where: str, cells: list[maps.Cell], n_heads: int, paces: tuple[int, ...]):
    page = open_page(browser, f"{address}/{where}")
    if "step" in where:
        page.get_by_text("it depends on the head").click()
    maps.drawn(page)
    settled(page)
    for pace in paces:
        click_ten(page, cells, pace)
        agree(page, set(cells), n_heads)
        if "step" in where:
            expect(page.get_by_text(re.compile("^Off: 10 heads"))).to_be_visible()
        elif where.startswith("lab?task"):
            expect(page.get_by_role("heading", name=re.compile("^Without 10 heads, accuracy on "))).to_be_visible()
        press_ten(page, "Undo")
        agree(page, set(), n_heads)
    press_ten(page, "Redo")
    agree(page, set(cells), n_heads)
    for _ in range(3):
        page.keyboard.press("Control+z")
    agree(page, set(cells[:7]), n_heads)
    page.get_by_role("button", name="Clear").click()
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+y")
    agree(page, set(), n_heads)
    assert not page.complaints  # type: ignore[attr-defined]


def test_a_drawing_never_says_as_i_sent_before(browser: Browser, address: str):
    page = open_page(browser, f"{address}/?step=2")
    messages: list[ForwardMsg] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: messages.append(
        ForwardMsg.FromString(frame if isinstance(frame, bytes) else frame.encode("latin1")))))
    page.reload()
    page.get_by_text("it depends on the head").click()
    maps.drawn(page)
    for _ in range(3):  # the same two drawings again and again
        maps.click(page, (0, 0))
        settled(page)
    assert any(one.delta.new_element.WhichOneof("type") == "bidi_component" for one in messages)
    assert not [one.ref_hash for one in messages if one.WhichOneof("type") == "ref_hash"]


@pytest.mark.parametrize(("where", "cells", "n_plots"), [
    ("ffns?task=antonym", [(0, -1), (2, -1), (3, -1), (4, -1)], 1),
    ("induction?task=antonym&view=Against importance", [(5, 2), (5, 4), (5, 6), (5, 7)], 2)])  # dots that stand apart
def test_four_clicks_on_a_plot_are_four_however_quick(browser: Browser, address: str, where: str,
                                                      cells: list[maps.Cell], n_plots: int):
    page = open_page(browser, f"{address}/{where}")
    text = text_of({(layer, head if head >= 0 else HEADS) for layer, head in cells})
    for pace in (30, 100, 200):
        for cell in cells:
            page.mouse.click(*maps.mark(page, cell))
            page.wait_for_timeout(pace)
        for i in range(n_plots):
            assert maps.marked(page, i) == set(cells)  # at once, on all of them
        expect(chosen_field(page)).to_have_value(text)
        settled(page)
        assert maps.marked(page) == set(cells)
        page.get_by_role("button", name="Clear").click()
        expect(chosen_field(page)).to_have_value("")
    light = maps.colours(page)
    page.emulate_media(color_scheme="dark")
    wait_until(page, explorer.IS_DARK, DRAWN)
    assert n_plots == 1 or maps.colours(page) != light  # dots take the colours of their legend
    page.mouse.click(*maps.mark(page, cells[1]))
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    expect(page.get_by_role("checkbox", checked=True)).to_have_count(2 * n_plots)
    name = page.get_by_role("checkbox", checked=True).first
    expect(name).to_have_accessible_name(re.compile(r"^L\d( FFN, change [−+]|H\d, ).*, chosen$"))
    assert not page.complaints  # type: ignore[attr-defined]


def test_ten_clicks_while_all_tasks_are_measured_are_ten_heads_and_so_is_the_number(browser: Browser, address: str):
    page = opened(browser, f"{address}/lab?demos=per-query&n=100&scope=All tasks")
    maps.click(page, (4, 6))
    expect(page.get_by_test_id("stMain").get_by_role("button", name="Stop", exact=True)).to_be_visible()
    for x, y in [maps.middle(page, cell) for cell in TEN]:
        page.mouse.click(x, y)
        page.wait_for_timeout(100)
    assert maps.off(page) == {*TEN, (4, 6)}
    expect(chosen_field(page)).to_have_value(text_of({*TEN, (4, 6)}))
    expect(page.get_by_role("heading", name=re.compile("^Without 11 heads:? "))).to_be_visible()
    assert maps.off(page) == {*TEN, (4, 6)}


def test_a_click_is_not_lost_on_the_way_to_another_page(browser: Browser, address: str):
    page = opened(browser, f"{address}/heads?task=antonym")
    maps.click(page, (1, 2))
    explorer.page_link(page, "Lab").click()
    expect(page.get_by_role("heading", name="Lab", exact=True)).to_be_visible()
    maps.drawn(page)
    agree(page, {(1, 2)})


def test_a_click_on_one_of_two_maps_is_painted_on_both(browser: Browser, address: str):
    page = opened(browser, f"{address}/induction", 2)
    maps.click(page, (1, 2), 0)
    assert maps.off(page, 0) == maps.off(page, 1) == {(1, 2)}
    maps.click(page, (3, 4), 1)
    maps.click(page, (1, 2), 1)
    assert maps.off(page, 0) == maps.off(page, 1) == {(3, 4)}
    agree(page, {(3, 4)}, n_maps=2)


def test_two_tabs_do_not_touch_each_other(browser: Browser, address: str):
    page = opened(browser, f"{address}/heads?task=antonym")
    other = page.context.new_page()
    other.goto(f"{address}/heads?task=antonym&off=L4H4")
    settled(other)
    maps.drawn(other)
    maps.click(page, (1, 2))
    maps.click(other, (0, 0))
    agree(page, {(1, 2)})
    agree(other, {(4, 4), (0, 0)})


def test_one_of_4608_heads_is_clicked_on_and_off(browser: Browser, address: str):
    page = opened(browser, f"{address}/heads?model=owner/large&task=antonym")
    expect(page.get_by_text("of 4608 hold half of the importance for antonym")).to_be_visible()
    wait_until(page, DRAWN)
    x, y = maps.middle(page, (41, 23))
    name = hovered(page, x, y)
    page.mouse.click(x, y)
    wait_until(page, chosen(name), DRAWN)
    expect(page.get_by_role("link", name=f"Switch {name} off in Lab")).to_be_visible()
    assert hovered(page, x, y) == name == "L41H23"  # nothing has moved
    page.mouse.click(x, y)
    agree(page, set(), 72)
    assert not page.complaints  # type: ignore[attr-defined]


def test_no_hand_switches_a_head_that_is_not_there(browser: Browser, address: str):
    page = opened(browser, f"{address}/lab?model=owner/half&task=antonym")
    absent = "no attention heads in this layer: linear attention"
    for cell in ((0, 1), (2, -1)):  # a cell, and the number of its layer
        maps.click(page, cell)
        expect(page.locator(".tip")).to_have_text(absent)
        page.keyboard.press("Enter")
    agree(page, set(), 4)
    assert page.get_by_label(absent, exact=True).count() == 10  # two layers, each of four heads and a heading
    maps.drag(page, (0, 3), (2, 4))
    agree(page, {(1, 3), (0, 4), (1, 4), (2, 4)}, 4)
    expect(page.get_by_text("1 of 4 heads off, 3 of 3 FFNs")).to_be_visible()
    maps.click(page, (-1, 3))
    agree(page, {(0, 4), (1, 4), (2, 4)}, 4)
    maps.click(page, (1, 0))
    for key in ("ArrowRight", "Shift+ArrowDown", "Shift+ArrowRight", " "):
        page.keyboard.press(key)
    agree(page, {(1, 0), (1, 1), (1, 2), (0, 4), (1, 4), (2, 4)}, 4)
    assert not page.complaints  # type: ignore[attr-defined]


def test_a_mask_is_written_as_one_was_before_and_sent_off_or_left(browser: Browser, address: str):
    """What the field showed earlier is no report of a hand, unless a hand has written it again."""
    page = opened(browser, f"{address}/heads?task=antonym&off=L0H0")
    for text, key in (("l1h2", "Enter"), ("L0H0", "Tab"), ("L1H2", "Enter"), ("", "Tab"), ("L0H0", "Enter")):
        chosen_field(page).fill(text)
        chosen_field(page).press(key)
        agree(page, {(0, 0)} if "0" in text else {(1, 2)} if text else set())
    chosen_field(page).fill("")
    maps.click(page, (1, 2))  # leaves the field, and is on top of what was written
    maps.click(page, (3, 3))
    agree(page, {(1, 2), (3, 3)})
    for _ in range(3):
        page.get_by_role("button", name="Undo").click()
    agree(page, {(0, 0)})
    assert not page.complaints  # type: ignore[attr-defined]


def test_what_is_written_stays_while_the_page_is_drawn_anew_under_the_hand(browser: Browser, address: str):
    """A late drawing gives the field another text, as React does it, after all was selected and between two words."""
    page = opened(browser, f"{address}/heads?task=antonym&off=L4H4")
    field = chosen_field(page)
    field.select_text()
    page.evaluate("() => new Promise(requestAnimationFrame)")  # by now the page knows
    for late, words in (("L2H2", "l0h0,"), ("L3H3,L4H4", "l1h2")):
        field.evaluate("(input, text) => { input.value = text; }", late)
        page.keyboard.insert_text(words)
    expect(field).to_have_value("l0h0,l1h2")
    field.press("Enter")
    agree(page, {(0, 0), (1, 2)})
    field.press("End")
    page.keyboard.insert_text(",l3h3")  # nothing was selected any more
    field.press("Tab")
    agree(page, {(0, 0), (1, 2), (3, 3)})
    field.evaluate("input => { input.focus(); input.select(); input.value = 'L5H5'; }")  # before the page is told of it
    page.evaluate("() => new Promise(requestAnimationFrame)")
    page.keyboard.insert_text("l2h2")
    field.press("Enter")
    agree(page, {(2, 2)})
    assert not page.complaints  # type: ignore[attr-defined]


def test_a_press_and_what_a_quick_hand_does_next_are_both_heard(browser: Browser, address: str):
    """A menu's button, and Escape while its callback runs: the press is heard, and what was clicked before it."""
    page = opened(browser, f"{address}/lab?task=antonym")
    page.get_by_text("As I click", exact=True).click()
    for _ in range(8):
        maps.click(page, (1, 1))
        page.get_by_role("button", name="Undo").click()
        page.get_by_role("button", name="Presets").click()
        page.get_by_role("button", name="8 random heads").click()
        page.keyboard.press("Escape")
        agree(page, random_heads(0))
        page.get_by_role("button", name="Clear").click()
        agree(page, set())
    assert not page.complaints  # type: ignore[attr-defined]


# --- on a slow line: the page has not heard the last answer when the hand goes on -----------------------------------


@pytest.fixture
def slow(browser: Browser, address: str) -> Line:
    """A slow line to a page on which L1H1 is chosen, by hand."""
    lines: list[Line] = []
    page = open_page(browser, f"{address}/heads?task=antonym", before=lambda page: lines.append(Line(page)))
    maps.drawn(page)
    maps.click(page, (1, 1))
    agree(page, {(1, 1)})
    return lines[0]


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
    agree(page, then)
    assert ("shots=1" in page.url) == (how == "shots")
    assert not page.complaints  # type: ignore[attr-defined]


def test_what_a_hand_chooses_is_no_step_of_the_history_and_a_click_on_the_map_is_one(browser: Browser, address: str):
    """The browser writes into the address what is chosen, and the server would write the same: nothing is sent."""
    page = opened(browser, f"{address}/lab?task=antonym")
    page.get_by_text("Details").click()
    steps = page.evaluate("history.length")
    page.get_by_role("radio", name="0", exact=True).click()
    page.get_by_role("radio", name="one-divisor", exact=True).click()
    page.get_by_role("spinbutton", name="Questions").fill("50")
    page.get_by_role("spinbutton", name="Questions").press("Enter")
    page.get_by_role("combobox", name="Tasks that are compared").click()
    for task in ("antonym", "capital"):
        page.get_by_role("option", name=task, exact=True).click()
    page.keyboard.press("Escape")  # the rest is hidden from readers while the menu is open
    for part in ("shots=0", "by=one-divisor", "n=50", "tasks=antonym&tasks=capital"):
        wait_until(page, f"location.search.includes('{part}')")
    settled(page)
    assert page.evaluate("history.length") == steps
    maps.click(page, (1, 1))
    agree(page, {(1, 1)})
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
    agree(page, {(1, 1), (2, 2), (3, 3)})
    wait_until(page, "location.search.includes('shots=1')")
    assert not page.complaints  # type: ignore[attr-defined]


# --- against a model of the state -------------------------------------------------------------------------------


class Model:
    """What a hand has done, without a browser: the mask, and the trail that undo walks."""

    def __init__(self) -> None:
        self.trail: list[frozenset[maps.Cell]] = [frozenset()]
        self.at = 0

    @property
    def off(self) -> set[maps.Cell]:
        return set(self.trail[self.at])

    def become(self, off: set[maps.Cell]) -> None:
        if off != self.off:
            self.trail = [*self.trail[:self.at + 1], frozenset(off)]
            self.at += 1

    def switch(self, cells: set[maps.Cell], off: bool) -> None:
        self.become(self.off | cells if off else self.off - cells)


def rectangle(a: maps.Cell, b: maps.Cell) -> set[maps.Cell]:
    return {(layer, column) for layer in range(min(a[0], b[0]), max(a[0], b[0]) + 1)
            for column in range(min(a[1], b[1]), max(a[1], b[1]) + 1)}


def random_heads(seed: int, k: int = 8) -> set[maps.Cell]:
    """What Lab's preset of random heads chooses: of layer 1 and up, and none of the k that look back most."""
    store = published.shipped()
    (unit,) = (unit for unit in store.units("prefix_matching") if unit.model.name == "bundled" and isinstance(
        unit, PrefixMatching) and unit.variant == "exact")
    record = store.get(unit)
    assert record is not None
    matching = np.array(record.mean)
    led = {divmod(int(i), HEADS) for i in np.argsort(-matching, axis=None, kind="stable")[:k]}
    pool = [(layer, head) for layer in range(1, LAYERS) for head in range(HEADS) if (layer, head) not in led]
    return {pool[i] for i in np.random.default_rng(seed).permutation(len(pool))[:k]}


def test_a_random_hand_and_the_model_of_the_state_agree(browser: Browser, address: str):
    page, model, rng = opened(browser, f"{address}/lab?task=antonym"), Model(), random.Random(1)
    page.get_by_text("As I click", exact=True).click()
    settled(page)
    done: list[str] = []
    pressed = False  # Streamlit makes one of two presses of buttons that come while it draws: the second waits
    for _ in range(150):
        what = rng.choices(["click", "drag", "line", "undo", "redo", "text", "invert", "clear", "preset"],
                           [60, 20, 6, 12, 8, 6, 3, 2, 1])[0]
        if what in ("text", "invert", "preset"):
            if pressed or rng.random() < 0.4:
                agree(page, model.off)
            pressed = True
        cell, end = ((rng.randrange(LAYERS), rng.randrange(HEADS + 1)) for _ in range(2))
        match what:
            case "click" | "drag" | "line":
                if what == "click":
                    maps.click(page, cell)
                    cells = {cell}
                elif what == "drag":
                    maps.drag(page, cell, end)
                    cells = rectangle(cell, end)
                else:
                    maps.click(page, (cell[0], -1))
                    cells = rectangle((cell[0], 0), (cell[0], HEADS - 1))
                shown = maps.off(page)
                assert cells <= shown or not cells & shown, done[-8:]  # painted at once, and all of it
                model.switch(cells, cells <= shown)  # on or off by what the hand saw, which may wait for an answer
                if not pressed:
                    assert shown == model.off, done[-8:]
            case "undo" | "redo" if 0 <= (at := model.at + (1 if what == "redo" else -1)) < len(model.trail):
                page.get_by_role("button", name=what.capitalize()).click()
                model.at = at
            case "text":
                chosen_field(page).fill(text_of({cell, (0, 0)}).lower())
                chosen_field(page).press(rng.choice(["Enter", "Tab"]))
                model.become({cell, (0, 0)})
            case "invert":
                page.get_by_role("button", name="Invert heads").click()
                heads = rectangle((0, 0), (LAYERS - 1, HEADS - 1))
                model.become((heads - model.off) | (model.off - heads))
            case "clear" if model.off:
                page.get_by_role("button", name="Clear").click()
                model.become(set())
            case "preset":
                page.get_by_role("button", name="Presets").click()
                page.get_by_role("button", name="8 random heads").click()
                page.keyboard.press("Escape")
                model.become(random_heads(0) | {one for one in model.off if one[1] == HEADS})
        done.append(f"{what} {cell} {end}")
        if rng.random() < 0.08:
            agree(page, model.off)
            pressed = False
        page.wait_for_timeout(rng.choice([0, 0, 20, 80]))
    agree(page, model.off)
    assert not page.complaints  # type: ignore[attr-defined]


# --- by keyboard, by ear, on paper --------------------------------------------------------------------------------


def focused(page: Page) -> str:
    """The name of the place that has the focus, as a screen reader says it."""
    return str(page.evaluate("""() => {
        let at = document.activeElement;
        while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
        return at.getAttribute('aria-label') ?? '';
    }"""))


@pytest.mark.parametrize(("where", "layers", "heads"), [("heads?task=antonym", LAYERS, HEADS),
                                                        ("heads?model=owner/large&task=antonym", 64, 72)])
def test_the_keyboard_walks_switches_and_leaves_and_every_place_has_a_name(
        browser: Browser, address: str, where: str, layers: int, heads: int):
    page = opened(browser, f"{address}/{where}")
    grid = page.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", str(layers + 1))
    expect(grid).to_have_attribute("aria-colcount", str(heads + 1))
    page.get_by_role("grid").locator("[tabindex='0']").focus()
    for key in ("ArrowUp", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    known = r", prefix matching [\d.e−]+, copying [\d.e−]+" if heads == HEADS else ""
    assert re.fullmatch(rf"L1H2, importance [\d.e−]+, rank \d+ of {layers * heads}{known}, not chosen", focused(page))
    page.keyboard.press("Space")
    agree(page, {(1, 2)}, heads)
    assert re.fullmatch(r"L1H2, .*, chosen", focused(page))  # the focus is still there, and says what it did
    expect(page.get_by_role("gridcell", name=re.compile("^L1H2,")).first).to_have_attribute("aria-selected", "true")
    for key in ("ArrowRight", "Shift+ArrowRight", "Shift+ArrowUp"):
        page.keyboard.press(key)
    page.keyboard.press("Escape")  # the rectangle is dropped, the focus stays
    assert focused(page).startswith("L2H4")
    assert maps.off(page) == {(1, 2)}
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Space")
    agree(page, {(1, 2), (2, 4), (2, 5)}, heads)
    page.keyboard.press("Home")
    assert focused(page) == "all heads of layer 2, not chosen"
    page.keyboard.press("Space")
    agree(page, {(1, 2), *rectangle((2, 0), (2, heads - 1))}, heads)
    page.keyboard.press("Escape")
    assert focused(page) == ""
    assert not page.complaints  # type: ignore[attr-defined]


def test_the_map_is_taken_home_as_a_picture(browser: Browser, address: str, tmp_path: Path):
    from PIL import Image

    page = opened(browser, f"{address}/heads?task=antonym&off=L1H2")
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
    page.wait_for_function("head => new URLSearchParams(location.search).get('head') === head", arg=head,
                           timeout=PATIENCE)
    settled(page)


def test_a_maps_head_opens_its_card_by_the_right_button_a_key_or_the_button_below(browser: Browser, address: str):
    """What was clicked just before is chosen there, too; the column of FFNs has no cards."""
    page = opened(browser, f"{address}/lab?task=antonym")
    maps.click(page, (0, 3))
    page.mouse.click(*maps.middle(page, (2, HEADS)), button="right")
    page.mouse.click(*maps.middle(page, (2, 4)), button="right")
    card(page, "L2H4")
    assert chosen_field(page).input_value() == "L0H3"
    page = opened(browser, f"{address}/heads?task=antonym")
    maps.click(page, (1, 1))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("i")
    card(page, "L1H2")
    assert chosen_field(page).input_value() == "L1H1"
    page = opened(browser, f"{address}/heads?task=antonym")
    maps.click(page, (4, 0))
    page.get_by_role("button", name="Card of L4H0").click()
    card(page, "L4H0")
    assert not page.complaints  # type: ignore[attr-defined]


def test_a_dot_opens_its_heads_card(browser: Browser, address: str):
    page = open_page(browser, f"{address}/induction?task=antonym&view=Against+importance")
    x, y = maps.mark(page, (5, 2))
    page.mouse.click(x, y, button="right")
    card(page, "L5H2")
