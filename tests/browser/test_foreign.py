"""Foreign text, wherever it comes from, is shown as it stands: nothing is fetched, linked or typeset because of it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect

from backend.kinds import InductionScores
from backend.runs import seal
from backend.store import bundles
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import INTACT, ModelId, TaskId, parse_exact
from tests.browser import explorer
from tests.browser.explorer import DRAWN, PATIENCE, SETTLED, server, settled, wait_until
from tests.pages import made_up

pytestmark = explorer.MARKS
PAGES = ("tour", "heads", "card", "ffns", "lab", "pruning", "overlap", "induction", "playground", "runs", "room")
FIELDS = ("model", "state", "task", "rows", "shots", "demos", "n", "seed", "by", "dtype", "bos", "off", "against",
          "tasks", "step", "scope", "name", "view", "section", "source", "q", "layer", "head", "room", "seat", "with",
          "unit", "present")
heard: list[str] = []  # what the beacon was asked for


class Beacon(BaseHTTPRequestHandler):
    """Whom a picture in a foreign text would call."""

    def do_GET(self) -> None:
        heard.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def beacon() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Beacon) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


@pytest.fixture(scope="module")
def markup(beacon: str) -> str:
    return (f"![zz]({beacon}/a) [zz](http://evil.test) $zz^2$ :red[zz] :smile: :material/home: **zz** _zz_ `zz` "
            f"<img src={beacon}/b> <b>zz</b> http://evil.test")


@pytest.fixture(scope="module")
def address(markup: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over a store, own tasks and runs in all of which somebody has written markup."""
    live = tmp_path_factory.mktemp("foreign") / "live"
    info = made_up.model_info(name=markup[:400])
    model = ModelId(info.name, markup[:100], digest="0123456789ab")
    tasks = [made_up.task_id(name) for name in list(MINI)[:2]]
    strange = TaskId(markup[:300], "0123456789ab")
    units = list(made_up.everything(model, tasks, parse_exact("L1H2"), (5,)))
    units += [one for one in made_up.everything(model, [strange], INTACT, (5,)) if one.task == strange]
    made_up.filled(live, units, info)
    kept = live / "tasks" / "mine"
    kept.mkdir(parents=True)
    rows = [{"name": "mine", "template": "{query}\n**zz** {answer}", "preamble": markup}] + [
        {"query": f"{markup} {i}", "options": [f"{markup} a{i}", f"{markup} b{i}"], "gold": 0} for i in range(8)]
    for split in ("train", "validation"):
        (kept / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    broken = live / "tasks" / "broken"
    broken.mkdir()
    (broken / "validation.jsonl").write_text(json.dumps({"query": markup, "options": markup, "gold": markup}))
    run = live / "jobs" / "20260101-120000-abcd"
    run.mkdir(parents=True)
    args = ["precompute", "--model", markup, "--tasks", markup, "--store", str(live)]
    (run / "job.json").write_text(json.dumps({
        "args": args, "pid": 1, "born": "x", "started": 1.0, "seal": seal.of(["run", run.name, args, 1, "x", 1.0])}))
    (run / "progress.json").write_text(json.dumps({
        "state": "failed", "unit": markup, "done": 1, "total": 2, "units_done": 1, "units_total": 2,
        "seconds_left": None, "message": markup, "updated": 2.0}))
    (run / "log.txt").write_text(markup)
    (live / "jobs" / markup.replace("/", "∕")[:80]).mkdir()
    with server(live, HEADROOM_TASKS=str(live / "tasks")) as found:
        yield found


# Of a page as it is drawn: what Markdown or HTML would have made of the text above.
MADE = r"""() => [
    ...document.querySelectorAll('.katex, img[src*="127.0.0.1"], img[alt="zz"], a[href*="evil"], img[src*="/a"][alt]'),
    ...[...document.querySelectorAll('strong, em, b, i, code, span[class*="olored"], span[style*="color"], del')]
        .filter(
        one => one.textContent.trim() === 'zz'),
    ...[...document.querySelectorAll('[data-testid="stIconMaterial"]')].filter(
        one => one.textContent.trim() === 'home'),
].map(one => one.outerHTML.slice(0, 200) + ' in ' + one.parentElement.textContent.slice(0, 120))"""


FOLDED = "[...document.querySelectorAll('[data-testid=stExpander] details:not([open]) > summary')]"
# All that the page has begun to fetch is on its way: this request, which begins after it, has been answered.
FETCHED = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))
    .then(() => fetch('/_stcore/health', {cache: 'no-store'})).then(answer => answer.text())"""


def look(page: Page, beacon: str) -> str:
    """What a page says, after everything folded in it was opened; fails where a foreign text was read."""
    wait_until(page, SETTLED, DRAWN)
    for _ in range(30):  # more may be folded in it, and what is pressed while the page is drawn may fold again
        if not page.evaluate(f"() => {{ const all = {FOLDED}; all.forEach(one => one.click()); return all.length; }}"):
            break
        page.evaluate(FETCHED)
        wait_until(page, SETTLED, DRAWN)
    page.evaluate(FETCHED)
    wait_until(page, SETTLED, DRAWN)
    assert page.evaluate(f"{FOLDED}.length") == 0
    assert page.evaluate(MADE) == []
    said = page.locator("body").inner_text()
    assert "😄" not in said
    assert heard == []
    return said


@pytest.fixture(scope="module")
def page(browser: Browser, address: str) -> Iterator[Page]:
    """One tab; fails in the end if it has asked for anything elsewhere than its server."""
    yield from alone(browser, address)


def alone(browser: Browser, address: str) -> Iterator[Page]:
    """A tab in which nothing is asked for from anywhere but an address."""
    tab = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    tab.set_default_timeout(explorer.PATIENCE)
    own, asked = urlsplit(address).netloc, []
    tab.on("request", lambda one: asked.append(one.url) if urlsplit(one.url).netloc not in (own, "") else None)
    yield tab
    tab.context.close()
    assert asked == []


def visit(page: Page, address: str) -> None:
    page.goto(address)
    settled(page)


@pytest.mark.parametrize("name", PAGES)
def test_what_an_address_asks_for_is_shown_as_it_stands(page: Page, address: str, beacon: str, markup: str,
                                                        name: str) -> None:
    short = markup.replace("![zz]", "![z]", 1)[:36]  # of most, the first 40 characters are shown
    query = urlencode([*((field, markup) for field in FIELDS), (short, "x"), ("prompt", markup), ("options", markup)])
    visit(page, f"{address}/{name}?{query}")
    assert "zz](http" in look(page, beacon).replace("\u2060", "").replace("[z]", "[zz]")


@pytest.mark.parametrize("name", PAGES)
def test_names_from_a_store_are_shown_as_they_stand(page: Page, address: str, beacon: str, markup: str,
                                                    name: str) -> None:
    view = {"heads": "view=All tasks", "card": "head=L1H2", "ffns": "scope=All tasks",
            "lab": "scope=All tasks&off=L1H2", "pruning": "scope=All tasks", "overlap": "view=Tasks"}.get(name, "")
    visit(page, f"{address}/{name}?" + urlencode({
        "model": markup[:400], "task": markup[:300]}) + f"&{view}")
    assert name == "room" or "zz" in look(page, beacon)


# --- what comes in through Runs -------------------------------------------------------------------


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
