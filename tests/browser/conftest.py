"""What tests in a browser stand on: one browser for each of their modules, and the explorer over an empty store."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser import explorer


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with explorer.browser() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with explorer.server(tmp_path_factory.mktemp("cache")) as address:
        yield address
