"""The README's pictures: `make screenshots` opens every page of the real explorer and saves it under docs/.

Each is what a visitor sees on a fresh machine: the bundled model, the shipped results, a window of 1440 x 900. Those of
the real model need its weights, which `make smollm2` fetches; without them they are left as they are.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect

from backend.models import gguf, smollm2
from tests.browser import explorer

DOCS = explorer.ROOT / "docs"
# Page -> what follows its address: a choice that shows it at work.
PAGES = {
    "tour": "",
    "heads": f"/heads?model={smollm2.NAME}&task=capital&by=one-divisor",
    "card": "/card?task=label_mood&head=L5H2",
    "ffns": "/ffns?task=label_mood",
    "lab": f"/lab?model={smollm2.NAME}&task=capital&off=L0H6,L0H8,L1H0,L1H3-5",
    "pruning": "/pruning?task=label_mood",
    "overlap": "/overlap?task=label_mood",
    "induction": "/induction?task=label_mood",
    "playground": "/playground?task=pick&off=L5H7",
    "runs": "/runs",
}


def main(names: list[str]) -> None:
    """Save the pages named, or all of them, as docs/<page>.png; each also as docs/<page>-dark.png with --dark."""
    dark = "--dark" in names
    weights = gguf.made_here(smollm2.NAME)
    chosen = [name for name in PAGES if (not set(names) & set(PAGES) or name in names) and (
        weights is not None or smollm2.NAME not in PAGES[name])]
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        if weights is not None:
            (Path(cache) / "models").mkdir()
            (Path(cache) / "models" / smollm2.NAME).symlink_to(weights)
        take(chosen, cache, dark)


def take(chosen: list[str], cache: str, dark: bool) -> None:
    """Save these pages, over the results of a folder and the shipped ones."""
    with explorer.server(Path(cache)) as address, explorer.browser() as browser:
        for name in chosen:
            page = explorer.open_page(browser, address + PAGES[name], 1440, 900, dark)
            expect(page.get_by_test_id("stSpinner")).to_have_count(0)
            page.mouse.move(2, 400)
            path = DOCS / f"{name}{'-dark' if dark else ''}.png"
            page.screenshot(path=path)
            print(path.relative_to(explorer.ROOT))
            page.context.close()


if __name__ == "__main__":
    main(sys.argv[1:])
