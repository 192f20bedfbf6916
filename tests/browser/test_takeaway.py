"""A page is taken away in a real browser: a report that opens offline, and pictures."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from playwright.sync_api import Browser, Download, Page, expect

from tests.browser import explorer
from tests.browser.explorer import open_page, settled

pytestmark = explorer.MARKS


def pressed(page: Page, name: str) -> Download:
    """What comes of pressing a button."""
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile(name)).first.click()
    return download.value


def test_a_report_made_in_the_dark_opens_offline_on_white_and_asks_for_nothing(
        browser: Browser, address: str, tmp_path: Path):
    page = open_page(browser, f"{address}/heads?task=antonym&off=L1H2", dark=True)
    expect(page.get_by_role("button", name="Report")).to_be_visible()
    settled(page)
    titles = page.get_by_role("heading", level=2).all_inner_texts()
    assert titles
    picture = pressed(page, "SVG")
    picture.save_as(tmp_path / picture.suggested_filename)
    report = pressed(page, "Report")
    report.save_as(tmp_path / "report.html")
    assert report.suggested_filename == "headroom-heads-antonym.html"
    assert not page.complaints  # type: ignore[attr-defined]

    ElementTree.parse(tmp_path / picture.suggested_filename)
    alone = browser.new_context(offline=True, java_script_enabled=False).new_page()
    asked: list[str] = []
    alone.on("request", lambda request: asked.append(request.url))
    alone.goto(f"file://{tmp_path}/report.html")
    assert alone.get_by_role("heading", level=2).all_inner_texts() == [*titles, "Made with"]
    assert alone.locator("figure svg").count() == 2
    assert asked == [f"file://{tmp_path}/report.html"]
    table = alone.locator("details").first
    expect(table.locator("table")).to_be_hidden()
    table.locator("summary").click()
    expect(table.locator("table")).to_be_visible()
    assert alone.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
