"""The line between a page and its server, which can be slow: messages wait on it until they are let go, in order."""

from __future__ import annotations

import re

from playwright.sync_api import Page, WebSocketRoute
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg


class Line:
    """All that a page and its server say to each other; to be put there before the page is opened."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.runs = 0  # that the server has ended
        self._answers: list[str | bytes] | None = None  # what waits; None: nothing has to
        self._requests: list[str | bytes] | None = None
        page.route_web_socket(re.compile("/_stcore/stream"), self._join)

    def hold_answers(self) -> None:
        self._answers = []

    def hold_requests(self) -> None:
        self._requests = []

    def let_answers_go(self) -> None:
        held, self._answers = self._answers or [], None
        for frame in held:
            self._browser.send(frame)

    def let_requests_go(self) -> None:
        held, self._requests = self._requests or [], None
        for frame in held:
            self._server.send(frame)

    def wait_for_requests(self, n: int) -> None:
        """Wait until so many requests wait."""
        while len(self._requests or []) < n:
            self.page.wait_for_timeout(20)

    def wait_for_runs(self, n: int) -> None:
        """Wait until the server has ended so many runs, whether the page knows or not."""
        while self.runs < n:
            self.page.wait_for_timeout(20)

    def _join(self, browser: WebSocketRoute) -> None:
        self._browser, self._server = browser, browser.connect_to_server()
        self._server.on_message(self._answer)
        browser.on_message(self._request)

    def _answer(self, frame: str | bytes) -> None:
        message = ForwardMsg.FromString(frame if isinstance(frame, bytes) else frame.encode("latin1"))
        self.runs += message.WhichOneof("type") == "script_finished"
        if self._answers is None:
            self._browser.send(frame)
        else:
            self._answers.append(frame)

    def _request(self, frame: str | bytes) -> None:
        if self._requests is None:
            self._server.send(frame)
        else:
            self._requests.append(frame)
