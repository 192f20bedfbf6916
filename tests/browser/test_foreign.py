"""Foreign text in an address or a store is shown as it stands: nothing is fetched, linked or typeset because of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page

from backend.runs import seal
from backend.tasks.mini import MINI
from backend.values import INTACT, ModelId, TaskId, parse_exact
from tests.browser import explorer
from tests.browser.explorer import server
from tests.browser.foreign import PAGES, alone, look, visit
from tests.pages import made_up

pytestmark = explorer.MARKS
FIELDS = ("model", "state", "task", "rows", "shots", "demos", "n", "seed", "by", "dtype", "bos", "off", "against",
          "tasks", "step", "scope", "name", "view", "section", "source", "q", "layer", "head", "room", "seat", "with",
          "unit", "present")


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


@pytest.fixture(scope="module")
def page(browser: Browser, address: str) -> Iterator[Page]:
    """One tab; fails in the end if it has asked for anything elsewhere than its server."""
    yield from alone(browser, address)


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
