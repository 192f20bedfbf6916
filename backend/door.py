"""The door of a server: every request and every visitor passes it before Streamlit.

It lets in so many visitors at a time and tells the others so; closes what pages do not need (Streamlit's metrics, its
programming interface, uploads by anyone but who sits at the machine); and sends with every answer what browsers have to
know: that no other site may show these pages in a frame, and that nothing is to be fetched from elsewhere. An address
with slashes in it is sent to one without, where Streamlit can say that there is no such page (docs/streamlit.md).

Plain ASGI (https://asgi.readthedocs.io), so that it can be tested alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, unquote

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CORE = "/_stcore/"  # Streamlit's own
OPEN = ("health", "host-config", "stream", "component", "bidi-components")  # of it; the rest is closed
UPLOAD = "upload_file"
FILES = ("/static/", "/media/", "/component/", CORE)  # no pages
# Streamlit's page has styles and scripts in itself, Vega makes functions out of text, and components come as blobs.
POLICY = "; ".join([
    "default-src 'self'", "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src 'self' 'unsafe-inline' blob:", "img-src 'self' data: blob:", "font-src 'self' data:",
    "media-src 'self' data: blob:", "connect-src 'self' data: blob:", "worker-src 'self' blob:", "object-src 'none'",
    "base-uri 'self'", "form-action 'self'", "frame-src 'self' blob:", "frame-ancestors 'none'"])
HEADERS = {"x-frame-options": "DENY", "content-security-policy": POLICY, "x-content-type-options": "nosniff",
           "referrer-policy": "same-origin"}
AGAIN = 30  # seconds after which somebody who found it full may look again
FULL = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="{again}">
<title>Headroom is full</title><body style="font: 1.1rem system-ui; max-width: 34rem; margin: 15vh auto">
<h1>Headroom is full</h1><p>This server has room for {most} visitors at a time, and all places are taken. This page
looks again every {again} seconds.</p></body></html>"""


class Door:
    """An app behind the door.

    Args:
        most: visitors at a time; 0: as many as come.
        uploads: who may send files: "loopback" (who sits at the machine) or "nobody".
        base: the server's base path, as `/heads`; none by default.
    """

    def __init__(self, app: App, most: int = 0, uploads: str = "nobody", base: str = "") -> None:
        self.app, self.most, self.uploads, self.base = app, most, uploads, base.rstrip("/")
        self.inside = 0  # visitors: connections that stand

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._visit(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    @property
    def full(self) -> bool:
        return bool(self.most) and self.inside >= self.most

    async def _visit(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.full:
            await receive()
            await send({"type": "websocket.close", "code": 1013})  # try again later
            return
        self.inside += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.inside -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope["path"])
        if self._is_closed(path, scope):
            await _say(send, 404, "There is nothing here.", "text/plain; charset=utf-8")
        elif self.full and not path.startswith(FILES):
            await _say(send, 503, FULL.format(most=self.most, again=AGAIN), "text/html; charset=utf-8",
                       {"retry-after": str(AGAIN)})
        elif flat := self._flat(str(scope.get("raw_path", b"").decode("latin-1")) or path):
            query = scope.get("query_string", b"").decode("latin-1")
            await _say(send, 307, "", "text/plain", {"location": flat + (f"?{query}" if query else "")})
        else:
            await self.app(scope, receive, _with_headers(send))

    def _flat(self, path: str) -> str:
        """Where an address with slashes, as it was written, is sent; empty for any other."""
        rest = path.removeprefix(self.base)
        if rest.startswith(FILES) or CORE in rest or "/" not in (page := rest.strip("/")):
            return ""
        return f"{self.base}/{quote(unquote(page), safe='')}"

    def _is_closed(self, path: str, scope: Scope) -> bool:
        at = path.find(CORE)  # behind whatever the server's base path is
        if at < 0:
            return False
        first = path[at + len(CORE):].split("/", 1)[0]
        if first == UPLOAD:
            return self.uploads == "nobody" or not _is_loopback((scope.get("client") or ("",))[0])
        return first not in OPEN


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message.get("headers", ()) if name.lower().decode() not in HEADERS]
            message["headers"] = [*kept, *((name.encode(), value.encode()) for name, value in HEADERS.items())]
        await send(message)

    return sending


async def _say(send: Send, status: int, text: str, kind: str, more: dict[str, str] | None = None) -> None:
    body = text.encode()
    headers = {"content-type": kind, "content-length": str(len(body)), "cache-control": "no-store", **(more or {})}
    send = _with_headers(send)
    await send({"type": "http.response.start", "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()]})
    await send({"type": "http.response.body", "body": body})
