"""A hub on this machine: as much of its HTTP as pushing and pulling a dataset takes, and what can go wrong with it.

A repository called `answers-403` answers everything with that status, `answers-html` with a log-in page.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "PlantedTokenOfNobody" * 2


class Repository:
    def __init__(self, private: bool = False) -> None:
        self.private = private
        self.commits: list[tuple[str, dict[str, bytes]]] = []

    def commit(self, files: dict[str, bytes]) -> str:
        whole = {**(self.commits[-1][1] if self.commits else {}), **files}
        sha = hashlib.sha1(f"{len(self.commits)} {sorted(whole)}".encode()).hexdigest()
        self.commits.append((sha, whole))
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1] if self.commits else ("0" * 40, {})
        return next((one for one in self.commits if one[0] == revision), None)


class Hub(ThreadingHTTPServer):
    """What is on it, what was asked of it, and how it lies."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.asked: list[tuple[str, str, str]] = []  # method, path, who
        self.said_sizes: dict[str, int | None] = {}  # by file, where it says another size than it has
        self.told_later: dict[str, int] = {}  # by file, where it says so when the file is fetched
        self.closed: tuple[str, int] = ("", 0)  # what it refuses that is asked by this method, and with which status
        self.go = Event()  # files wait for it
        self.go.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def made(self, name: str, files: dict[str, bytes] | None = None, private: bool = False) -> Repository:
        repository = self.repositories.setdefault(name, Repository(private))
        if files:
            repository.commit(files)
        return repository


@contextmanager
def served() -> Iterator[Hub]:
    hub = Hub()
    Thread(target=hub.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        hub.go.set()
        hub.shutdown()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path, self.headers.get("Authorization") or ""))
        wanted = re.search(r"answers-(\w+)", path + body.decode(errors="replace") * path.endswith("/create"))
        method, status = self.server.closed
        if wanted and wanted[1].isdecimal():
            self._send(int(wanted[1]), b"{}")
        elif wanted:
            self._send(200, b"<!doctype html><title>Please log in</title>", {"Content-Type": "text/html"})
        elif method == self.command:
            self._send(status, b"{}")
        elif made := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._info(made[1], made[2] or "main")
        elif made := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(made[1], made[2], made[3])
        else:
            self._write(path, body)

    def _info(self, name: str, revision: str) -> None:
        repository = self.server.repositories.get(name)
        if repository is None:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        found = repository.at(revision)
        if found is None:
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        sha, files = found
        card = files.get("README.md", b"").decode()
        said = self.server.said_sizes
        return self._json({
            "id": name, "sha": sha, "private": repository.private, "tags": [],
            "cardData": {"library_name": "headroom"} if "\nlibrary_name: headroom\n" in card else {},
            "siblings": [{"rfilename": file, "size": said.get(file, len(content)), "blobId": "0" * 40}
                         for file, content in files.items()]})

    def _file(self, name: str, revision: str, file: str) -> None:
        self.server.go.wait(20)
        repository = self.server.repositories.get(name)
        found = repository.at(revision) if repository else None
        if found is None or file not in found[1]:
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        content = found[1][file]
        n_bytes = self.server.told_later.get(file, len(content)) if self.command == "HEAD" else len(content)
        return self._send(200, content, {"X-Repo-Commit": found[0], "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
                                         "Content-Type": "application/zip"}, n_bytes)

    def _write(self, path: str, body: bytes) -> None:
        server = self.server
        if self.command == "PUT" and path.startswith("/lfs/"):
            server.large[hashlib.sha256(body).hexdigest()] = body
            return self._json({})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            server.made(name, private=asked.get("visibility") == "private")
            return self._json({"url": f"{server.url}/datasets/{name}"})
        if path == "/api/validate-yaml":
            known = "license: \"made-up\"" not in json.loads(body)["content"]
            return self._json({"errors": [], "warnings": []}) if known else self._send(
                400, json.dumps({"errors": [{"message": '"license" must be one of [..]'}]}).encode())
        if path.endswith("/preupload/main"):
            return self._json({"files": [{
                "path": file["path"], "shouldIgnore": False,
                "uploadMode": "lfs" if file["path"].endswith(".zip") else "regular"}
                for file in json.loads(body)["files"]]})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._json({"transfer": "basic", "objects": [
                {**one, "actions": {"upload": {"href": f"{server.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]]})
        if made := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/commit/main", path):
            files: dict[str, bytes] = {}
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = server.large[value["oid"]]
            sha = server.repositories[made[1]].commit(files)
            return self._json({"commitUrl": f"{server.url}/datasets/{made[1]}/commit/{sha}", "commitOid": sha})
        return self._send(404, b"{}")

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode())

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None,
              n_bytes: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if n_bytes is None else n_bytes))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
