"""The hub: each of its answers has a true sentence, and no token of its users is written anywhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from backend.__main__ import DONE, main
from backend.runs import jobs
from tests.models.small import small_network, small_tokenizer

ROOT = Path(__file__).parents[2]
TOKEN = "hf_" + "PlantedTokenOfNobody" * 2
ASK = """
import json, sys
from backend.errors import ModelError
from backend.models.info import describe, locate, tokenizer_digest
told = {}
for name in sys.argv[1:]:
    for ask in (locate, describe, tokenizer_digest):
        try:
            ask(name)
        except ModelError as error:
            told.setdefault(name, []).append(str(error))
print(json.dumps(told))
"""
ANSWERS = {
    "401": r"status 401\. It asks who you are: log in|has no model .*hf auth login|is gated|answered with status 401",
    "403": r"status 403\. You may not read it",
    "404": r"has no model|status 404\. It has nothing of that name",
    "429": r"status 429\. It has been asked too often",
    "500": r"status 500\. The fault is the hub's own: try again later",
    "503": r"status 503\. The fault is the hub's own: try again later",
    "418": r"status 418\. Check the name",
    "html": r"something else than data\). Check HF_ENDPOINT",
}


class Hub(BaseHTTPRequestHandler):
    """Answers with the status that the name asks for: someone/answers-403."""

    def do_GET(self) -> None:
        wanted = re.search(r"answers-(\w+)", self.path)
        status = int(wanted[1]) if wanted and wanted[1].isdecimal() else 200
        body = b"<!doctype html><title>Please log in</title>"
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command == "GET" else b"")

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def hub(tmp_path) -> Iterator[dict[str, str]]:
    """An environment in which the hub is a server of this test."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    outside = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    yield {**outside, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hf"),
           "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
    server.shutdown()
    server.server_close()


def test_every_answer_of_the_hub_has_its_own_sentence(hub):
    names = [f"someone/answers-{answer}" for answer in ANSWERS]
    asked = subprocess.run([sys.executable, "-c", ASK, *names], env=hub, capture_output=True, text=True, cwd=ROOT)
    assert asked.returncode == 0, asked.stderr[-2000:]
    told = json.loads(asked.stdout)
    for answer, sentence in ANSWERS.items():
        assert len(told[f"someone/answers-{answer}"]) == 3
        for said in told[f"someone/answers-{answer}"]:
            assert re.search(sentence, said), (answer, said)
            assert "cannot be reached" not in said
            assert TOKEN not in said


def test_a_hub_that_does_not_answer_cannot_be_reached(hub):
    gone = {**hub, "HF_ENDPOINT": "http://127.0.0.1:9"}
    asked = subprocess.run([sys.executable, "-c", ASK, "someone/small"], env=gone, capture_output=True, text=True,
                           cwd=ROOT)
    assert asked.returncode == 0, asked.stderr[-2000:]
    said = json.loads(asked.stdout)["someone/small"]
    assert len(said) == 3
    assert all("cannot be reached" in one for one in said)


def test_a_token_of_the_hub_is_written_nowhere(hub, tmp_path, monkeypatch, capsys):
    for name, value in hub.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", TOKEN)
    monkeypatch.delenv(jobs.JOB_SETTING, raising=False)
    folder, store = tmp_path / "small", str(tmp_path / "store")
    small_network("opt").save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    assert main(["precompute", "--model", str(folder), "--tasks", "antonym", "--shots", "0", "--what", "accuracy",
                 "--n-examples", "2", "--store", store]) == DONE
    assert main(["export", str(tmp_path / "all.zip"), "--store", store, "--no-shipped"]) == DONE
    with zipfile.ZipFile(tmp_path / "all.zip") as bundle:
        bundle.extractall(tmp_path / "bundle")
    run = jobs.start(["precompute", "--model", "someone/answers-403"], store)
    while jobs.is_running(run):
        time.sleep(0.05)
    assert "status 403" in jobs.log_tail(run)
    said = capsys.readouterr()
    assert TOKEN not in said.out + said.err
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"job.json", "log.txt", "progress.json", "cache.db"} <= {file.name for file in files}
    assert [file for file in files if TOKEN.encode() in file.read_bytes()] == []
