"""A term tells what it means on hover, focus and tap; Escape puts that away; captions can be read on any theme."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from pages.shared import glossary
from tests.browser import explorer
from tests.browser.explorer import open_page

pytestmark = explorer.MARKS

READABLE = 4.5  # WCAG 2.2, 1.4.3
SHOWN = """term => { const after = getComputedStyle(term, '::after');
    return after.display !== 'none' && after.content.includes(term.dataset.says.slice(0, 40)) }"""
# The contrast of every caption with what lies behind it, from the browser's own computed colours.
CONTRASTS = """() => {
    const pixel = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const colour = css => { pixel.clearRect(0, 0, 1, 1); pixel.fillStyle = css; pixel.fillRect(0, 0, 1, 1);
                            return [...pixel.getImageData(0, 0, 1, 1).data] };
    const light = rgb => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => { const v = rgb[i] / 255;
        return sum + weight * (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4) }, 0);
    const up = function* (element) { for (; element; element = element.parentElement) yield element };
    return [...document.querySelectorAll('[data-testid=stCaptionContainer] p, .note p, .note li, .note summary')].map(
        element => {
            const behind = [...up(element)].map(one => colour(getComputedStyle(one).backgroundColor))
                .find(one => one[3] === 255) ?? [255, 255, 255];
            const ink = colour(getComputedStyle(element).color);
            const share = [...up(element)].reduce((all, one) => all * getComputedStyle(one).opacity, ink[3] / 255);
            const seen = [0, 1, 2].map(i => ink[i] * share + behind[i] * (1 - share));
            const [more, less] = [light(seen), light(behind)].sort((a, b) => b - a);
            return (more + 0.05) / (less + 0.05) }) }"""


def tells(page: Page, term: str) -> bool:
    return bool(page.locator(f"[aria-describedby={glossary.identifier(term)}]:visible").first.evaluate(SHOWN))


def test_a_term_explains_itself_by_mouse_by_keyboard_and_to_a_screen_reader(browser: Browser, address: str):
    page = open_page(browser, f"{address}/heads?task=label_mood")
    rho = page.locator(f"[aria-describedby={glossary.identifier('rank correlation')}]:visible").first
    rho.scroll_into_view_if_needed()
    assert not tells(page, "rank correlation")
    rho.hover()
    assert tells(page, "rank correlation")
    page.keyboard.press("Escape")
    assert not tells(page, "rank correlation")
    page.mouse.move(2, 2)
    how = page.get_by_text("How this is measured").first
    how.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Source: Bansal et al. 2023").first).to_be_visible()
    page.keyboard.press("Tab")  # to the first term of what has unfolded
    here = page.locator(".note [open] .term").first
    expect(here).to_be_focused()
    assert here.evaluate(SHOWN)
    expect(here).to_have_accessible_description(glossary.TERMS["head"][1])


def test_a_tap_explains_a_term_within_a_telephones_width(browser: Browser, address: str):
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    page = context.new_page()
    page.goto(f"{address}/?step=2")
    explorer.settled(page)
    page.locator(".term", has_text="running sum").tap()
    assert tells(page, "residual stream")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_captions_can_be_read_on_either_theme(browser: Browser, address: str):
    page = open_page(browser, f"{address}/lab?task=pick&off=L1H3")
    for how in page.locator(".note summary").all():
        how.click()
    for dark in (False, True):
        page.emulate_media(color_scheme="dark" if dark else "light")
        explorer.wait_until(page, explorer.IS_DARK if dark else f"!({explorer.IS_DARK})", explorer.DRAWN)
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 12
        assert min(contrasts) >= READABLE, contrasts
