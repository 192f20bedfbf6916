"""What this user's Headroom has written: a seal that nobody else can make.

A store may come from anybody, and with it records of runs. Each record carries a seal (HMAC-SHA256, RFC 2104) under a
key of this user's, which lies outside every store and leaves this machine with none of them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

SETTING = "HEADROOM_KEY"  # names another file for the key
BYTES = 32


def place() -> Path:
    """Where the key lies: `~/.config/headroom/key`, or the file named by HEADROOM_KEY."""
    if named := os.environ.get(SETTING):
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "headroom" / "key"


def of(parts: Sequence[object]) -> str:
    """The seal of some plain values, as hexadecimal digits."""
    return hmac.new(_key(place()), json.dumps(parts, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def holds(parts: Sequence[object], seal: object) -> bool:
    """Whether a seal is that of these values."""
    return isinstance(seal, str) and seal.isascii() and hmac.compare_digest(of(parts), seal)


@lru_cache(maxsize=8)
def _key(path: Path) -> bytes:
    """The key, made where there is none; where none can be kept, one that ends with this process."""
    with suppress(OSError, RuntimeError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = secrets.token_bytes(BYTES)
        new = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(made)
            with suppress(FileExistsError):
                os.link(new, path)  # whole, and only where there is none
        finally:
            new.unlink(missing_ok=True)
    with suppress(OSError), open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        told = os.fstat(file.fileno())
        if stat.S_ISREG(told.st_mode) and told.st_uid == os.getuid() and not told.st_mode & 0o077:
            kept = file.read(BYTES + 1)
            if len(kept) == BYTES:
                return kept
    return secrets.token_bytes(BYTES)
