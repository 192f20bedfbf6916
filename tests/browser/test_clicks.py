"""A click is one click wherever it falls: on a plot, on one of two maps, in one of two tabs, on the way out."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.browser import explorer, maps
from tests.browser.explorer import DRAWN, chosen_field, open_page, settled, wait_until

pytestmark = explorer.MARKS


def test_a_drawing_never_says_as_i_sent_before(browser: Browser, paper: str):
    page = open_page(browser, f"{paper}/?step=2")
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
def test_four_clicks_on_a_plot_are_four_however_quick(browser: Browser, paper: str, where: str,
                                                      cells: list[maps.Cell], n_plots: int):
    page = open_page(browser, f"{paper}/{where}")
    text = maps.text_of({(layer, head if head >= 0 else maps.HEADS) for layer, head in cells})
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


def test_a_click_is_not_lost_on_the_way_to_another_page(browser: Browser, paper: str):
    page = maps.opened(browser, f"{paper}/heads?task=antonym")
    maps.click(page, (1, 2))
    explorer.page_link(page, "Lab").click()
    expect(page.get_by_role("heading", name="Lab", exact=True)).to_be_visible()
    maps.drawn(page)
    maps.agree(page, {(1, 2)})


def test_a_click_on_one_of_two_maps_is_painted_on_both(browser: Browser, paper: str):
    page = maps.opened(browser, f"{paper}/induction", 2)
    maps.click(page, (1, 2), 0)
    assert maps.off(page, 0) == maps.off(page, 1) == {(1, 2)}
    maps.click(page, (3, 4), 1)
    maps.click(page, (1, 2), 1)
    assert maps.off(page, 0) == maps.off(page, 1) == {(3, 4)}
    maps.agree(page, {(3, 4)}, n_maps=2)


def test_two_tabs_do_not_touch_each_other(browser: Browser, paper: str):
    page = maps.opened(browser, f"{paper}/heads?task=antonym")
    other = page.context.new_page()
    other.goto(f"{paper}/heads?task=antonym&off=L4H4")
    settled(other)
    maps.drawn(other)
    maps.click(page, (1, 2))
    maps.click(other, (0, 0))
    maps.agree(page, {(1, 2)})
    maps.agree(other, {(4, 4), (0, 0)})
