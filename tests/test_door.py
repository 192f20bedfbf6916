"""The door in front of the server, alone."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import pytest

from backend.door import HEADERS, Door


async def inside(scope: Any, receive: Any, send: Any) -> None:
    """An app behind it, whose own headers say less."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Frame-Options", b"ALLOWALL")]})
        await send({"type": "http.response.body", "body": b"inside"})


def asked(door: Door, path: str, client: str | None = "192.168.1.5") -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """The answer to a request, as status, headers and body."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(door({"type": "http", "path": unquote(path), "raw_path": path.encode(),
                      "client": (client, 1) if client else None}, _nothing, send))
    return sent[0]["status"], sent[0]["headers"], sent[1]["body"]


async def _nothing() -> Any:
    return {"type": "websocket.connect"}


@pytest.mark.parametrize("path", ["/", "/heads", "/static/js/index.js", "/media/a.png", "/_stcore/health",
                                  "/base/_stcore/host-config", "/_stcore/bidi-components/map/map.js"])
def test_pages_and_what_they_need_pass_with_headers_that_keep_other_sites_out(path: str):
    status, headers, body = asked(Door(inside), path)
    assert (status, body) == (200, b"inside")
    assert {name.decode(): value.decode() for name, value in headers} == HEADERS
    assert HEADERS["x-frame-options"] == "DENY"


@pytest.mark.parametrize(("base", "path", "to"), [
    ("", "/deep/path", "/deep%2Fpath"), ("", "/a/b/c/", "/a%2Fb%2Fc"), ("", "//evil.example/x", "/evil.example%2Fx"),
    ("/base", "/base/deep/path", "/base/deep%2Fpath"), ("", "/a%20b/c", "/a%20b%2Fc")])
def test_an_address_with_slashes_is_sent_to_one_without(base: str, path: str, to: str):
    status, headers, _ = asked(Door(inside, base=base), path)
    assert (status, dict(headers)[b"location"].decode()) == (307, to)


@pytest.mark.parametrize(("base", "path"), [("/base", "/base/heads"), ("", "/heads/"), ("", "/static/js/a/b.js"),
                                            ("/", "/heads"), ("", "/deep%2Fpath"), ("", "/_stcore/component/a/b.js")])
def test_a_page_s_own_address_stays(base: str, path: str):
    assert asked(Door(inside, base=base), path)[0] == 200


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/base/_stcore/metrics", "/_stcore/metrics/", "/_stcore/agent/x",
                                  "/_stcore/script-health-check", "/_stcore/", "/x/../_stcore/metrics"])
def test_what_no_page_needs_is_closed(path: str):
    assert asked(Door(inside), path)[0] == 404


@pytest.mark.parametrize(("uploads", "client", "status"), [
    ("loopback", "127.0.0.1", 200), ("loopback", "::1", 200), ("loopback", "192.168.1.5", 404), ("loopback", None, 404),
    ("loopback", "localhost.evil", 404), ("nobody", "127.0.0.1", 404)])
def test_files_are_taken_from_who_may_send_them(uploads: str, client: str | None, status: int):
    assert asked(Door(inside, uploads=uploads), "/_stcore/upload_file/session/file", client)[0] == status


def test_so_many_come_in_at_a_time_and_a_place_is_free_again_whatever_ended_the_visit():
    async def visits() -> list[int]:
        ends = [asyncio.Event() for _ in range(3)]

        async def stay(scope: Any, receive: Any, send: Any) -> None:
            await ends[scope["number"]].wait()
            if scope["number"] == 0:
                raise RuntimeError("the connection broke")

        refused: list[int] = []
        door = Door(stay, most=2)

        async def come(number: int) -> None:
            async def send(message: Any) -> None:
                assert (message["type"], message["code"]) == ("websocket.close", 1013)
                refused.append(number)

            await door({"type": "websocket", "path": "/_stcore/stream", "number": number}, _nothing, send)

        first = [asyncio.create_task(come(number)) for number in (0, 1)]
        await asyncio.sleep(0)
        assert door.full
        await come(2)
        ends[0].set()
        with pytest.raises(RuntimeError):
            await first[0]
        assert not door.full
        ends[2].set()
        await come(2)
        ends[1].set()
        await first[1]
        assert door.inside == 0
        return refused

    assert asyncio.run(visits()) == [2]


def test_a_full_server_says_so_on_its_pages_alone():
    door = Door(inside, most=1)
    door.inside = 1
    status, _, body = asked(door, "/heads")
    assert status == 503
    assert b"room for 1 visitors" in body
    assert asked(door, "/_stcore/health")[0] == 200
    assert asked(door, "/static/js/index.js")[0] == 200  # of somebody who came in a moment ago
    assert not Door(inside).full
