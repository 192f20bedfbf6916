"""Foreign text in what is brought in through Runs, rows of a task or a bundle, is shown as it stands."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect

from backend.kinds import InductionScores
from backend.store import bundles
from backend.store.live import Store
from backend.values import ModelId, TaskId, parse_exact
from tests.browser import explorer
from tests.browser.explorer import PATIENCE, server, settled
from tests.browser.foreign import PAGES, alone, look, visit
from tests.pages import made_up

pytestmark = explorer.MARKS


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over an empty store, to which a visitor brings what somebody else has made."""
    live = tmp_path_factory.mktemp("brought") / "live"
    with server(live, HEADROOM_TASKS=str(live / "tasks")) as found:
        yield found


@pytest.fixture(scope="module")
def visitor(browser: Browser, fresh: str) -> Iterator[Page]:
    """A tab of that server; fails in the end if it has asked for anything elsewhere."""
    yield from alone(browser, fresh)


def bring(page: Page, label: str, name: str, body: str | bytes) -> None:
    """Choose a file, as a visitor does: again, where the field was drawn anew under the hand that chose."""
    taken = page.get_by_role("button", name=f"Remove {name}", exact=True)
    for patience in (20_000, 20_000, PATIENCE):
        page.get_by_test_id("stFileUploader").filter(has_text=label).locator("input[type=file]").set_input_files(
            {"name": name, "mimeType": "text/plain", "buffer": body.encode() if isinstance(body, str) else body})
        with suppress(TimeoutError):
            taken.wait_for(timeout=patience)
            break
    expect(taken).to_be_visible()
    settled(page)


def press(page: Page, label: str) -> None:
    page.get_by_role("button", name=label, exact=True).first.click()
    settled(page)


def test_the_texts_of_a_task_that_is_brought_are_shown_as_they_stand(visitor: Page, fresh: str, beacon: str,
                                                                     markup: str) -> None:
    rows = [{"name": "mine", "template": "{query}\n**zz** {answer}", "preamble": markup}] + [
        {"query": f"{markup} {i}", "options": [f"{markup} a{i}", f"{markup} b{i}"], "gold": 0} for i in range(16)]
    visit(visitor, f"{fresh}/runs?" + urlencode({"section": "Own tasks"}))
    bring(visitor, "Questions (.jsonl)", f"{markup.replace('/', '|')[:60]}.jsonl", "\n".join(map(json.dumps, rows)))
    expect(visitor.get_by_role("button", name="Keep this task")).to_be_visible()
    assert "zz](http" in look(visitor, beacon)  # the first question and its options

    name = visitor.get_by_role("textbox", name="Name")
    for wrong in (markup, f"{{}} $zz^2$ :red[zz] {beacon} _zz_"):
        name.fill(wrong[:64])
        name.press("Enter")
        expect(visitor.get_by_text("cannot name a task")).to_contain_text(wrong[:6])
        look(visitor, beacon)
    name.fill("")
    name.press("Enter")
    template = visitor.get_by_role("textbox", name="Template")
    template.fill(markup)
    template.press("Control+Enter")
    expect(visitor.get_by_text("must hold {query} once")).to_contain_text("zz](http")
    look(visitor, beacon)
    template.fill("")
    template.press("Control+Enter")

    press(visitor, "Keep this task")
    expect(visitor.get_by_text("is kept: it is in the sidebar")).to_be_visible()
    look(visitor, beacon)
    press(visitor, "Ask it")
    expect(visitor.get_by_role("heading", name="Playground", exact=True)).to_be_visible()
    settled(visitor)
    assert "zz](http" in look(visitor, beacon)
    for page in ("lab", "heads", "tour"):
        visit(visitor, f"{fresh}/{page}?" + urlencode({"task": "own:mine"}))
        look(visitor, beacon)


def test_what_is_wrong_with_rows_is_said_as_it_stands(visitor: Page, fresh: str, beacon: str, markup: str) -> None:
    visit(visitor, f"{fresh}/runs?" + urlencode({"section": "Own tasks"}))
    good = {"query": "a", "options": ["b", "c"], "gold": 0}
    for wrong in ({"gold": markup}, {"name": markup}, {"template": markup}):
        rows = [good | wrong] if "gold" in wrong else [wrong, good, good | {"query": "d"}]
        bring(visitor, "Questions (.jsonl)", "rows.jsonl", "\n".join(map(json.dumps, rows)))
        expect(visitor.get_by_test_id("stAlert").first).to_contain_text("![zz](")
        look(visitor, beacon)
        visitor.get_by_role("button", name="Remove rows.jsonl", exact=True).click()
        settled(visitor)


def test_names_and_words_of_a_bundle_that_is_taken_in_are_shown_as_they_stand(
        visitor: Page, fresh: str, beacon: str, markup: str, tmp_path: Path) -> None:
    info = replace(made_up.model_info(name=markup[:400]), architecture=markup[:60])
    model = ModelId(info.name, markup[:100], digest="0123456789ab")
    units = list(made_up.everything(model, [TaskId(markup[:300], "0123456789ab")], parse_exact("L1H2"), (5,)))
    with Store(tmp_path / "theirs") as theirs:
        made_up.fill(theirs, units, info)
        theirs.put_all([(unit, replace(record, tokens=markup)) for unit in units
                        if isinstance(record := theirs.get(unit), InductionScores)], replace=True)
        bundles.export(tmp_path / "whole.zip", theirs, theirs.live_units())
        n = len(theirs.live_units())
    whole = (tmp_path / "whole.zip").read_bytes()
    said = {"format": markup, "schema": markup, "definitions": {markup: markup}, "models": [{markup: markup}]}

    def offered(body: bytes) -> None:
        visit(visitor, f"{fresh}/runs?" + urlencode({"section": "Storage"}))
        bring(visitor, "A bundle (.zip)", f"{markup.replace('/', '|')[:60]}.zip", body)

    for field, value in said.items():  # what a manifest says of itself: told while the bundle is looked at, or refused
        offered(changed(whole, {field: value}))
        if field != "definitions":
            expect(visitor.get_by_test_id("stAlert").first).to_be_visible()
        assert "zz](http" in look(visitor, beacon)
    offered(whole)
    expect(visitor.get_by_text(f"{n} new, none here already")).to_be_visible()
    assert "zz](http" in look(visitor, beacon)
    press(visitor, f"Take in {n} results")
    expect(visitor.get_by_text("taken in.")).to_contain_text("zz](http")
    look(visitor, beacon)
    asked = urlencode({"model": markup[:400], "task": markup[:300]})
    for name in PAGES:
        visit(visitor, f"{fresh}/{name}?{asked}")
        told = look(visitor, beacon)
        assert name == "room" or "zz" in told
    visit(visitor, f"{fresh}/induction?{asked}")
    assert f"tokens, {markup[:30]}" in visitor.locator("body").text_content().replace("\u2060", "")


def changed(bundle: bytes, said: dict[str, Any]) -> bytes:
    """A bundle whose manifest says something else of itself."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bundle)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            body = old.read(name)
            new.writestr(name, json.dumps(json.loads(body) | said) if name == bundles.MANIFEST else body)
    return out.getvalue()
