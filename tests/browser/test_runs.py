"""A real run in a real browser: started, reloaded, stopped, resumed; and results that come in as a bundle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from backend.runs import jobs
from backend.store import bundles
from backend.store.live import Store
from tests.browser import explorer
from tests.models.small import small_network, small_tokenizer
from tests.pages import made_up

pytestmark = explorer.MARKS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model in a folder, slow enough that a run of it can be stopped half-way."""
    folder = tmp_path_factory.mktemp("models") / "random-opt"
    network = small_network("opt", hidden_size=128, word_embed_proj_dim=128, num_hidden_layers=4, ffn_dim=512,
                            max_position_embeddings=512)
    network.save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


def results_done(page: Page) -> int:
    """How many results the newest run says it has."""
    words = page.get_by_text(re.compile(r"^\d+ of \d+ results( ·|$)")).first.inner_text()
    return int(words.split()[0])


def test_a_run_is_started_outlives_a_reload_is_stopped_and_resumed(browser: Browser, model: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    try:
        with explorer.server(cache) as address:
            page = explorer.open_page(browser, f"{address}/runs?model={model}&task=antonym&demos=per-query&n=120")
            expect(page.get_by_text("Nothing is measured yet")).to_be_visible()
            page.get_by_role("button", name="Start", exact=True).click()
            expect(page.get_by_text("1 run under way")).to_be_visible()
            expect(page.get_by_text(re.compile(r"^[1-9]\d* of \d+ results ·"))).to_be_visible()

            page.reload()  # never quite settled: it follows the run
            expect(page.get_by_text("1 run under way")).to_be_visible()
            page.get_by_role("button", name="Stop", exact=True).last.click()
            expect(page.get_by_text("Stopped on request. What was finished is stored.")).to_be_visible()
            expect(page.get_by_text("No run is under way")).to_be_visible()
            done = results_done(page)
            with Store(cache) as store:
                stored = len(store.live_units())
            assert 0 < done == stored
            expect(page.get_by_text(re.compile(f"^{stored} of .* results are here; the other"))).to_be_visible()

            page.get_by_role("button", name="Resume").click()
            expect(page.get_by_text("1 run under way")).to_be_visible()
            expect(page.get_by_text(re.compile(r"^\d+ of \d+ results ·"))).to_be_visible()
            assert results_done(page) >= done
            page.get_by_role("button", name="Stop", exact=True).last.click()
            expect(page.get_by_text("No run is under way")).to_be_visible()
            page.get_by_role("button", name="Clear the list of 2 ended runs").click()
            expect(page.get_by_text("Runs started here or in a terminal appear here")).to_be_visible()
            assert not page.complaints  # type: ignore[attr-defined]
    finally:
        for job in jobs.jobs(cache):
            jobs.kill(job)


def test_a_bundle_comes_in_and_its_results_are_on_the_pages(browser: Browser, tmp_path: Path):
    info = made_up.model_info(name="owner/elsewhere")
    units = [made_up.importance(setup) for setup in made_up.setups(made_up.model_id(info), ["antonym", "past"])]
    with Store(tmp_path / "theirs") as theirs:
        made_up.fill(theirs, units, info)
        bundles.export(tmp_path / "results.zip", theirs, theirs.live_units())
        n = len(theirs.live_units())
    with explorer.server(tmp_path / "cache") as address:
        page = explorer.open_page(browser, f"{address}/runs?section=Storage&task=plural&shots=1")
        # the first page of a fresh server, by a permalink: it has its frame
        expect(page.get_by_role("combobox", name="Task")).to_have_value("plural")
        expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
        page.locator("input[type=file]").set_input_files(tmp_path / "results.zip")
        expect(page.get_by_text(f"{n} new, none here already, none that differ")).to_be_visible()
        page.get_by_role("button", name=f"Take in {n} results").click()
        expect(page.get_by_text(f"{n} results of owner/elsewhere taken in.")).to_be_visible()
        heads = explorer.open_page(browser, f"{address}/heads?model=owner/elsewhere&task=antonym")
        expect(heads.get_by_text("half of the importance for antonym")).to_be_visible()
        assert explorer.cell(heads, "L2H3").count() == 1
        assert not page.complaints + heads.complaints  # type: ignore[attr-defined]
