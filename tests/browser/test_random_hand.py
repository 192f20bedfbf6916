"""A hand that does anything at any pace, held against a model of the state: mask, undo, text and address."""

from __future__ import annotations

import random

import numpy as np
from playwright.sync_api import Browser

from backend.kinds import PrefixMatching
from tests.browser import explorer, maps
from tests.browser.explorer import chosen_field, settled
from tests.independent import published

pytestmark = explorer.MARKS


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


def random_heads(seed: int, k: int = 8) -> set[maps.Cell]:
    """What Lab's preset of random heads chooses: of layer 1 and up, and none of the k that look back most."""
    store = published.shipped()
    (unit,) = (unit for unit in store.units("prefix_matching") if unit.model.name == "bundled" and isinstance(
        unit, PrefixMatching) and unit.variant == "exact")
    record = store.get(unit)
    assert record is not None
    matching = np.array(record.mean)
    led = {divmod(int(i), maps.HEADS) for i in np.argsort(-matching, axis=None, kind="stable")[:k]}
    pool = [(layer, head) for layer in range(1, maps.LAYERS) for head in range(maps.HEADS) if (layer, head) not in led]
    return {pool[i] for i in np.random.default_rng(seed).permutation(len(pool))[:k]}


def test_a_random_hand_and_the_model_of_the_state_agree(browser: Browser, paper: str):
    page, model, rng = maps.opened(browser, f"{paper}/lab?task=antonym"), Model(), random.Random(1)
    page.get_by_text("As I click", exact=True).click()
    settled(page)
    done: list[str] = []
    pressed = False  # Streamlit makes one of two presses of buttons that come while it draws: the second waits
    for _ in range(150):
        what = rng.choices(["click", "drag", "line", "undo", "redo", "text", "invert", "clear", "preset"],
                           [60, 20, 6, 12, 8, 6, 3, 2, 1])[0]
        if what in ("text", "invert", "preset"):
            if pressed or rng.random() < 0.4:
                maps.agree(page, model.off)
            pressed = True
        cell, end = ((rng.randrange(maps.LAYERS), rng.randrange(maps.HEADS + 1)) for _ in range(2))
        match what:
            case "click" | "drag" | "line":
                if what == "click":
                    maps.click(page, cell)
                    cells = {cell}
                elif what == "drag":
                    maps.drag(page, cell, end)
                    cells = maps.rectangle(cell, end)
                else:
                    maps.click(page, (cell[0], -1))
                    cells = maps.rectangle((cell[0], 0), (cell[0], maps.HEADS - 1))
                shown = maps.off(page)
                assert cells <= shown or not cells & shown, done[-8:]  # painted at once, and all of it
                model.switch(cells, cells <= shown)  # on or off by what the hand saw, which may wait for an answer
                if not pressed:
                    assert shown == model.off, done[-8:]
            case "undo" | "redo" if 0 <= (at := model.at + (1 if what == "redo" else -1)) < len(model.trail):
                page.get_by_role("button", name=what.capitalize()).click()
                model.at = at
            case "text":
                chosen_field(page).fill(maps.text_of({cell, (0, 0)}).lower())
                chosen_field(page).press(rng.choice(["Enter", "Tab"]))
                model.become({cell, (0, 0)})
            case "invert":
                page.get_by_role("button", name="Invert heads").click()
                heads = maps.rectangle((0, 0), (maps.LAYERS - 1, maps.HEADS - 1))
                model.become((heads - model.off) | (model.off - heads))
            case "clear" if model.off:
                page.get_by_role("button", name="Clear").click()
                model.become(set())
            case "preset":
                page.get_by_role("button", name="Presets").click()
                page.get_by_role("button", name="8 random heads").click()
                page.keyboard.press("Escape")
                model.become(random_heads(0) | {one for one in model.off if one[1] == maps.HEADS})
        done.append(f"{what} {cell} {end}")
        if rng.random() < 0.08:
            maps.agree(page, model.off)
            pressed = False
        page.wait_for_timeout(rng.choice([0, 0, 20, 80]))
    maps.agree(page, model.off)
    assert not page.complaints  # type: ignore[attr-defined]


def test_a_press_and_what_a_quick_hand_does_next_are_both_heard(browser: Browser, paper: str):
    """A menu's button, and Escape while its callback runs: the press is heard, and what was clicked before it."""
    page = maps.opened(browser, f"{paper}/lab?task=antonym")
    page.get_by_text("As I click", exact=True).click()
    for _ in range(8):
        maps.click(page, (1, 1))
        page.get_by_role("button", name="Undo").click()
        page.get_by_role("button", name="Presets").click()
        page.get_by_role("button", name="8 random heads").click()
        page.keyboard.press("Escape")
        maps.agree(page, random_heads(0))
        page.get_by_role("button", name="Clear").click()
        maps.agree(page, set())
    assert not page.complaints  # type: ignore[attr-defined]
