"""A demo for strangers: every limit is tried through the address, in a browser, and by messages no page would send."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from websockets.exceptions import InvalidStatus

from backend import door, limits
from backend.models.info import describe
from tests.browser import explorer
from tests.browser.explorer import open_page, page_link, server, settled
from tests.browser.visitor import visiting

pytestmark = explorer.MARKS
OPTIONS = ("--server.allowedHosts", "*", "--server.maxWidgetStateSize", str(limits.MESSAGE_MEGABYTES))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "live"


@pytest.fixture(scope="module")
def log(cache: Path) -> Path:
    """What the server says where it was started."""
    return cache.parent / "server.log"


@pytest.fixture(scope="module")
def demo(cache: Path, log: Path) -> Iterator[str]:
    """Two places for visitors, who do not sit at the machine wherever they come from."""
    with server(cache, log, "serve.py", *OPTIONS, HEADROOM_DEMO="1", HEADROOM_SESSIONS="2") as address:
        yield address


def answer(address: str, method: str = "GET", body: bytes | None = None) -> tuple[int, dict[str, str], str]:
    """Status, headers, body."""
    asked = urllib.request.Request(address, body, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=30) as heard:
            return heard.status, {k.lower(): v for k, v in heard.headers.items()}, heard.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode()


# --- through the address ------------------------------------------------------------------------


def test_an_address_does_not_tell_which_folders_there_are(demo: str) -> None:
    told = {}
    for name in ("/etc", "/no/such", "~root", "nobody/nothing", "gguf:/etc/passwd"):
        with visiting(demo, "heads", f"model={name}") as visitor:
            told[name] = [one.replace(name, "NAME") for one in visitor.said if name in one or "demo" in one]
            assert any(f"In this demo '{name}' cannot be chosen. Known: bundled, " in one for one in visitor.said)
    assert len({json.dumps(one) for one in told.values()}) == 1


@pytest.mark.parametrize("query", ["task=own:/etc/passwd", "task=lm_eval:sciq", "task=piqa", "tasks=own:/etc/passwd"])
def test_an_address_opens_no_task_that_is_not_listed(demo: str, query: str) -> None:
    with visiting(demo, "lab", query) as visitor:
        assert any(query.partition("=")[2] in one for one in visitor.alerts)
        assert not any("root:" in one for one in visitor.said)


def test_an_address_asks_for_no_more_questions_and_no_longer_prompt_than_allowed(demo: str) -> None:
    with visiting(demo, "lab", "n=100000&off=L1H1") as visitor:
        assert any(f"from 1 to {limits.DEMO_QUESTIONS} in this demo" in one for one in visitor.alerts)
    with visiting(demo, "playground", f"source=My own&prompt={'hot+' * limits.DEMO_PROMPT}") as visitor:
        assert not any("hot hot hot" in one for one in visitor.said)  # Streamlit leaves it out


# --- by messages that no page would send ------------------------------------------------------------


def test_a_written_model_task_or_number_that_is_not_offered_is_refused(demo: str, cache: Path) -> None:
    with visiting(demo, "lab", "off=L1H1") as visitor:
        for label, kind, value in [("Model", "string_value", "/etc"), ("Model", "string_value", "nobody/nothing"),
                                   ("Task", "string_value", "own:/etc/passwd"), ("Questions", "double_value", 1e5),
                                   ("Questions", "int_value", 100_000), ("Seed", "int_value", 10**9)]:
            visitor.write(**{visitor.widgets[label]: (kind, value)})
            assert not any("config.json" in one or "root:" in one or "No folder" in one for one in visitor.said)
            numbers = [int(n.replace(",", "")) for one in visitor.said for n in re.findall(r"n = ([\d,]+)", one)]
            assert all(n <= limits.DEMO_QUESTIONS for n in numbers), (label, numbers)
    assert not list(cache.rglob("*.db"))


def test_a_longer_prompt_than_its_field_takes_is_refused(demo: str) -> None:
    with visiting(demo, "playground", "source=My own&prompt=hot") as visitor:
        prompt = visitor.widgets["Prompt"], ("string_value", "a " * limits.DEMO_PROMPT)
        reads = describe("bundled").max_positions
        visitor.write(**dict([prompt]))
        assert visitor.alerts == [f"The prompt has {limits.DEMO_PROMPT // 2 + 1} tokens; this model reads at most "
                                  f"{reads}. Shorten it."]  # Streamlit has cut it
        visitor.write(**dict([prompt]), **{visitor.widgets["Options to compare, with | between them"]: (
            "string_value", "|".join(map(str, range(limits.DEMO_PROMPT))))})
        assert any(f"reads up to {limits.DEMO_PROMPT:,}" in one for one in visitor.alerts)


def test_no_word_of_a_prompt_is_logged(demo: str, cache: Path, log: Path) -> None:
    with visiting(demo, "playground", "source=My own&prompt=the+zyzzyva+sings&options=zyzzyvas+|+zyzzyvan") as visitor:
        assert any("zyzzyva" in one for one in visitor.said)
        visitor.write(**{visitor.widgets["Prompt"]: ("string_value", "zyzzyvine " * 400)})
    told = (cache / "explorer.log").read_text()
    assert 'what="a look"' in told
    assert "zyzzyv" not in told + log.read_text()
    assert all(str(cache) not in one for one in told.splitlines())


def test_buttons_of_pages_that_are_closed_do_nothing(demo: str, cache: Path, tmp_path: Path) -> None:
    """Their names are no secret: everybody can read them off a Headroom of his own."""
    buttons: dict[str, str] = {}
    with server(tmp_path / "own") as own:
        for query in ("", "section=Storage", "section=Models", "section=Own tasks"):
            with visiting(own, "runs", f"{query}&n=50") as visitor:
                buttons |= visitor.widgets
    assert {"Start the rest", "Measure"} <= set(buttons) or "Start" in buttons
    with visiting(demo, "runs", "n=50") as visitor:
        assert not {label for label in buttons if label.startswith(("Start", "Download", "Delete", "Get "))} & set(
            visitor.widgets)
        for name in buttons.values():
            visitor.write(**{name: ("trigger_value", True)})
    assert not cache.exists() or {path.name for path in cache.iterdir()} <= {"explorer.log"}


def test_nothing_can_be_sent_and_no_metrics_are_told(demo: str) -> None:
    with visiting(demo, "runs") as visitor:
        assert visitor.session
        for path in (f"_stcore/upload_file/{visitor.session}/1", "_stcore/metrics", "_stcore/script-health-check",
                     "_stcore/agent/sessions", "_stcore/%6detrics"):
            for method in ("GET", "PUT", "POST", "OPTIONS", "DELETE"):
                status, *_ = answer(f"{demo}/{path}", method, b"x" if method in ("PUT", "POST") else None)
                assert status in (404, 405), (path, method, status)
    assert answer(f"{demo}/_stcore/health")[0] == 200


# --- in a browser -------------------------------------------------------------------------------


def test_every_answer_keeps_other_sites_out(demo: str) -> None:
    for path in ("/", "/heads", "/_stcore/health", "/_stcore/metrics", "/nowhere"):
        headers = answer(demo + path)[1]
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_all_pages_are_drawn_behind_the_door_and_offer_no_more(demo: str, browser: Browser, cache: Path) -> None:
    page = open_page(browser, demo)
    for name in ("Heads", "FFNs", "Lab", "Pruning", "Overlap", "Induction", "Playground", "Room", "Runs"):
        page_link(page, name).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        settled(page)
        assert page.get_by_test_id("stFileUploader").count() == 0
    expect(page.get_by_text("This server is a demo: runs, imports and deletions are closed.")).to_be_visible()
    main = page.get_by_test_id("stMain")
    for label in ("Start", "Start the rest", "Stop", "Resume", "Delete from this machine …", "Take in"):
        assert main.get_by_role("button", name=label, exact=True).count() == 0
    assert str(cache) not in main.inner_text()
    assert page.complaints == []  # type: ignore[attr-defined] - the content policy breaks nothing
    page.context.close()


def test_whoever_finds_it_full_is_told_so(demo: str, browser: Browser) -> None:
    with visiting(demo), visiting(demo):
        status, headers, _ = answer(demo + "/heads")
        assert (status, headers["retry-after"]) == (503, str(door.AGAIN))
        page = browser.new_page()
        page.goto(demo)
        expect(page.get_by_role("heading", name="Headroom is full")).to_be_visible()
        page.close()
        with pytest.raises(InvalidStatus), visiting(demo):
            pass
    with visiting(demo):
        assert answer(demo + "/heads")[0] == 200
