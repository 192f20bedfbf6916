"""How many inputs a property is tried on: few in the suite, the same every time; `HEADROOM_FUZZ=20 pytest
tests/test_fuzz.py tests/store/test_fuzz.py` draws twenty times as many, other ones every time."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("HEADROOM_FUZZ", "1"))


def tried(n: int) -> settings:
    return settings(max_examples=n * TIMES, derandomize=TIMES == 1, database=None, deadline=None,
                    suppress_health_check=list(HealthCheck))
