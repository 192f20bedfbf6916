"""What a page has given to its maps. AppTest runs no component's script, so this is what there is to see of one."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
from streamlit.testing.v1 import AppTest

from pages.map import protocol


class Given(NamedTuple):
    map: dict[str, Any]  # what `head_map` made: numbers and labels
    answer: dict[str, Any]  # what the server holds

    @property
    def off(self) -> str:
        """The mask, as it is written in the address."""
        return str(protocol.as_ablation(np.array([[cell == "1" for cell in row] for row in self.answer["off"]])))


def given(app: AppTest) -> dict[str, Given]:
    """The page's maps by their keys, in the page's order."""
    found = {}
    for element in app.get("bidi_component"):
        if element.proto.component_name != "headroom.map":  # the frame's script
            continue
        key = element.proto.id.rsplit("-", 1)[-1]
        data = json.loads(element.proto.json)
        found[key] = Given(data["map"], data["answer"])
    return found
