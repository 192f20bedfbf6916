"""What every page asks first, read when this module is imported: a server does so before its first visitor is there.

That are the modules which the first page imports, the list of results, and the rows of the bundled model's tasks, whose
digests say which results are theirs. What fails here fails on the page again, which says it.
"""

from __future__ import annotations

from contextlib import suppress

from backend.errors import HeadroomError
from backend.tasks import registry
from pages.shared import frame, handles, routes, school, sidebar, story, takeaway  # noqa: F401  (the frame's and the Tour's)

with suppress(HeadroomError):
    try:
        handles.known()
        for task in registry.suite("mini"):
            task.fingerprint  # noqa: B018  (remembered)
    finally:
        handles.store().close()  # this thread's connection
