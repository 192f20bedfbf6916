"""The explorer behind its door: what `make app` and `make serve` start. `app.py` is the explorer itself."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.middleware import Middleware
from streamlit import config
from streamlit.starlette import App

import pages.shared  # noqa: F401  (now, before there is a run that it would have to begin anew: see there)
from backend import demo, door, limits, starting

starting.served = True
libraries = starting.import_ahead("altair", "scipy.special", "backend.tables", "backend.runs.queue",
                                  "backend.sharing.readme")
MOST = os.environ.get("HEADROOM_SESSIONS", "").strip() or (limits.DEMO_SESSIONS if demo.on() else 0)


@asynccontextmanager
async def running(_: App) -> AsyncIterator[dict[str, Any]]:
    """While Streamlit runs, which its caches look for where they are defined: pages may be imported now."""
    starting.import_ahead("pages.shared.ahead", after=libraries)
    yield {}


app = App("app.py", lifespan=running, middleware=[Middleware(
    door.Door, most=int(MOST), uploads="nobody" if demo.on() else "loopback",
    base=f"/{config.get_option('server.baseUrlPath').strip('/')}")])
