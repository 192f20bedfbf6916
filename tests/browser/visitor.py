"""A visitor without a browser: one session of the real server, who may send whatever the protocol has words for.

A page shows what it offers; this visitor also writes into fields that are not shown, or what no field would take.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets import Subprotocol
from websockets.sync.client import ClientConnection, connect

PATIENCE = 300.0  # seconds for one run of a page


class Visitor:
    """One session. `widgets` has every widget drawn so far by its label, `said` the texts of the last run."""

    def __init__(self, socket: ClientConnection, page: str, query: str) -> None:
        self._socket, self._page, self._query = socket, page, query
        self.widgets: dict[str, str] = {}
        self.said: list[str] = []
        self.alerts: list[str] = []
        self.session = ""

    def write(self, **values: Any) -> None:
        """Run the page with these values of widgets, each by its id: `write(**{id: ("string_value", "x")})`."""
        message = BackMsg()
        message.rerun_script.query_string, message.rerun_script.page_name = self._query, self._page
        for name, (kind, value) in values.items():
            state = message.rerun_script.widget_states.widgets.add()
            state.id = name
            setattr(state, kind, value)
        self.said, self.alerts = [], []
        self._socket.send(message.SerializeToString())
        while True:
            heard = ForwardMsg.FromString(self._socket.recv(timeout=PATIENCE))
            match heard.WhichOneof("type"):
                case "new_session":
                    self.session = heard.new_session.initialize.session_id or self.session
                case "delta" if heard.delta.WhichOneof("type") == "new_element":
                    self._see(heard.delta.new_element)
                case "script_finished" if heard.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                    return

    def _see(self, element: Any) -> None:
        what = getattr(element, element.WhichOneof("type"))
        if getattr(what, "id", "") and getattr(what, "label", ""):
            self.widgets[what.label] = what.id
        body = next((str(getattr(what, name)) for name in ("body", "message", "code_text") if hasattr(what, name)), "")
        body = re.sub(r"\\(?=[^\w\s])|\u2060", "", body)  # as Markdown shows it
        self.said.append(body)
        if element.WhichOneof("type") in ("alert", "exception"):
            self.alerts.append(body)


@contextmanager
def visiting(address: str, page: str = "", query: str = "") -> Iterator[Visitor]:
    """A visitor who has opened a page, and seen it drawn."""
    with connect(f"ws://{urlsplit(address).netloc}/_stcore/stream", max_size=None,
                 open_timeout=PATIENCE, ping_interval=None, subprotocols=[Subprotocol("streamlit")]) as socket:
        visitor = Visitor(socket, page, query)
        visitor.write()
        yield visitor
