"""The explorer behind its door: what `make app` and `make serve` start. `app.py` is the explorer itself."""

import os

from starlette.middleware import Middleware
from streamlit import config
from streamlit.starlette import App

from backend import demo, door, limits, starting

starting.served = True
starting.import_ahead("altair", "scipy.special", "backend.tables", "backend.runs.queue", "backend.sharing.readme")
MOST = os.environ.get("HEADROOM_SESSIONS", "").strip() or (limits.DEMO_SESSIONS if demo.on() else 0)

app = App("app.py", middleware=[Middleware(door.Door, most=int(MOST), uploads="nobody" if demo.on() else "loopback",
                                            base=f"/{config.get_option('server.baseUrlPath').strip('/')}")])
