"""What a page has given to its maps and plots, and what they say: AppTest runs no script of theirs."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
from streamlit.testing.v1 import AppTest

from pages.map import protocol


class Given(NamedTuple):
    map: dict[str, Any]  # what `head_map`, or a plot, is made of: numbers and labels
    answer: dict[str, Any]  # what the server holds

    @property
    def off(self) -> str:
        """The mask, as it is written in the address."""
        return str(protocol.as_ablation(np.array([[cell == "1" for cell in row] for row in self.answer["off"]])))


def given(app: AppTest) -> dict[str, Given]:
    """The page's maps and plots by their keys, in the page's order."""
    found = {}
    for element in app.get("bidi_component"):
        if element.proto.component_name != "headroom.map":  # the frame's script
            continue
        key = element.proto.id.rsplit("-", 1)[-1]
        data = json.loads(element.proto.json)
        if shown := data.get("map") or data.get("plot"):  # else Undo, Redo and Clear
            found[key] = Given(shown, data["answer"])
    return found


def press(app: AppTest, *steps: protocol.Step) -> AppTest:
    """Press Undo, Redo or Clear, as many times as said, before the server has answered once."""
    buttons = next(one for one in app.get("bidi_component") if one.proto.component_name == "headroom.map"
                   and set(json.loads(one.proto.json)) == {"answer"})
    answer = json.loads(buttons.proto.json)["answer"]
    states = app._tree.get_widget_states()
    said = states.widgets.add()
    said.id = buttons.proto.id
    said.json_value = json.dumps({"mask": {
        "rev": answer["rev"], "off": answer["off"],
        "log": [[answer["seen"] + 1 + i, what] for i, what in enumerate(steps)]}})
    return app._run(states)
