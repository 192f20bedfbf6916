"""What tests in a browser stand on: a browser for each of their modules, and one explorer over an empty store.

Modules that need results of their own, or none, start another.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser import explorer


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
