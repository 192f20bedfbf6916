"""What tests in a browser stand on: a browser for each of their modules, and one explorer over an empty store.

Modules that need results of their own, or none, start another.
"""

from collections.abc import Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser

from backend.kinds import Evaluation
from tests.browser import explorer, foreign
from tests.pages import made_up


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with explorer.browser() as chromium:
        chromium.new_context()  # the first: of all tabs that `open_page` opens
        yield chromium


@pytest.fixture(autouse=True)
def leave(request: pytest.FixtureRequest) -> Iterator[None]:
    """Close what a test has opened: a tab that is left goes on asking its server."""
    if "browser" not in request.fixturenames:
        yield
        return
    chromium: Browser = request.getfixturevalue("browser")
    before = {page for context in chromium.contexts for page in context.pages}
    yield
    for page in [page for context in chromium.contexts for page in context.pages]:
        if page not in before:
            page.close()


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with explorer.server(tmp_path_factory.mktemp("cache")) as address:
        yield address


@pytest.fixture(scope="session")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The explorer, with models that exist only on paper: of 64 x 72 heads, and one with heads in layer 1 alone."""
    cache: Path = tmp_path_factory.mktemp("cache")
    half = replace(made_up.model_info(3, 4, name="owner/half"), headless=(0, 2))
    for info in (made_up.model_info(64, 72, name="owner/large"), half):
        setups = made_up.setups(made_up.model_id(info), ["antonym"])
        made_up.filled(cache, [unit(one) for one in setups for unit in (made_up.importance, Evaluation)], info)
    with explorer.server(cache) as address:
        yield address


@pytest.fixture(scope="module")
def beacon() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), foreign.Beacon) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


@pytest.fixture(scope="module")
def markup(beacon: str) -> str:
    return (f"![zz]({beacon}/a) [zz](http://evil.test) $zz^2$ :red[zz] :smile: :material/home: **zz** _zz_ `zz` "
            f"<img src={beacon}/b> <b>zz</b> http://evil.test")
