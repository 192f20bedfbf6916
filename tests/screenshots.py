"""The README's pictures: `make screenshots` opens every page of the real explorer and saves it under docs/.

Each is what a visitor sees on a fresh machine: the bundled model, the shipped results, a window of 1440 x 900.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect

from tests.browser import explorer

DOCS = explorer.ROOT / "docs"
# Page -> what follows its address: a choice that shows it at work.
PAGES = {
    "tour": "",
    "heads": "/heads?task=label_mood",
    "ffns": "/ffns?task=label_mood",
    "lab": "/lab?task=pick&off=L5H2,L5H7",
    "pruning": "/pruning?task=label_mood",
    "overlap": "/overlap?task=label_mood",
    "induction": "/induction?task=label_mood",
    "playground": "/playground?task=pick&off=L5H7",
    "runs": "/runs",
}


def main(names: list[str]) -> None:
    """Save the pages named, or all of them, as docs/<page>.png; each also as docs/<page>-dark.png with --dark."""
    dark = "--dark" in names
    chosen = [name for name in names if name in PAGES] or list(PAGES)
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as cache, explorer.server(Path(cache)) as address, explorer.browser() as browser:
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
