"""The explorer behind a door, for a network: what `make serve` starts. `app.py` is the explorer itself."""

import os

from starlette.middleware import Middleware
from streamlit.starlette import App

from backend import demo, door, limits

MOST = os.environ.get("HEADROOM_SESSIONS", "").strip() or (limits.DEMO_SESSIONS if demo.on() else 0)

app = App("app.py", middleware=[Middleware(door.Door, most=int(MOST), uploads="nobody" if demo.on() else "loopback")])
