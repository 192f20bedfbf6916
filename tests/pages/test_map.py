"""The map without a browser: what follows from what was said, how numbers become colours, what is passed on."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.values import INTACT, Ablation, parse_exact
from pages.map import head_map, protocol, scales, written
from pages.map.protocol import Gesture, Held, Press, Trail, Written
from pages.shared import components, selection
from tests.pages.conftest import INFO

SHAPE = protocol.Shape(INFO.n_layers, INFO.n_heads)  # 3 x 4
HALF = SHAPE._replace(headless=(0, 2))  # heads in layer 1 alone
CELL = {"L0H0": (0, 0), "L1H2": (1, 2), "L2H3": (2, 3), "F0": (0, 4)}


def one(n: int, name: str, off: bool = True) -> Gesture:
    layer, column = CELL[name]
    return Gesture(n, off, (layer, layer), (column, column))


def said(rev: int, off: str, *log: protocol.Entry | str) -> dict[str, Any]:
    """What the browser says, as JSON."""
    return {"rev": rev, "off": protocol.as_rows(parse_exact(off), SHAPE), "log": [
        entry if isinstance(entry, str) else [entry.n, entry.what] if isinstance(entry, Press) else
        [entry.n, "text", entry.text] if isinstance(entry, Written) else
        [entry.n, int(entry.off), *entry.layers, *entry.columns] for entry in log]}


def message(*args: Any, **more: Any) -> protocol.Message:
    read = protocol.read(said(*args, **more), SHAPE)
    assert read is not None
    return read


# --- what follows from what was said ----------------------------------------------------------------------------


def take(held: Held, *args: Any, **more: Any) -> Held:
    """What is held then, whatever the trail."""
    return protocol.take(held, Trail(), *args, **more)[0]


def test_gestures_are_taken_once_each_with_the_masks_on_the_way():
    held, trail = protocol.take(Held(), Trail(), message(0, "L0H0,F0", one(1, "L0H0"), one(2, "F0")), SHAPE)
    assert trail == Trail(("", "L0H0", "L0H0,F0"), 2)
    assert (str(held.off), held.text, held.seen, held.rev) == ("L0H0,F0", "L0H0,F0", 2, 1)
    assert protocol.take(held, trail, message(0, "L0H0,F0", one(1, "L0H0"), one(2, "F0")), SHAPE) == (held, trail)
    held, trail = protocol.take(held, trail, message(0, "L0H0,L1H2,F0", one(2, "F0"), one(3, "L1H2")), SHAPE)
    assert trail == Trail(("", "L0H0", "L0H0,F0", "L0H0,L1H2,F0"), 3)


def test_what_changed_elsewhere_stays_under_gestures_that_did_not_know_of_it():
    held = Held().changed(parse_exact("L2H3"))  # a preset, while the browser painted upon revision 0
    held = take(held, message(0, "L0H0", one(1, "L0H0")), SHAPE)
    assert str(held.off) == "L0H0,L2H3"
    held = take(held, message(0, "L0H0", one(2, "L2H3", off=False)), SHAPE)
    assert str(held.off) == "L0H0"


def test_a_press_that_the_log_notes_comes_between_the_gestures_around_it():
    both = message(0, "L0H0,L1H2", one(1, "L0H0"), "invert", one(2, "L1H2"))
    held, trail = protocol.take(Held(), Trail(), both, SHAPE, before="invert")
    assert (trail.texts, held.seen) == (("", "L0H0"), 1)
    held = take(held.changed(INTACT), both, SHAPE)
    assert (str(held.off), held.seen) == ("L1H2", 2)
    unknown = take(Held(), both, SHAPE, before="swap")  # pressed after all that the log knows
    assert unknown.seen == 2


def test_every_press_of_undo_redo_and_clear_counts_between_the_gestures():
    cells = [one(i + 1, name) for i, name in enumerate(CELL)]
    log = [*cells, *(Press(5 + i, "undo") for i in range(3)), Press(8, "redo"), one(9, "F0"), Press(10, "redo"),
           Press(11, "clear"), Press(12, "clear"), Press(13, "undo")]
    held, trail = protocol.take(Held(), Trail(), message(0, "", *log), SHAPE)
    assert trail == Trail(("", "L0H0", "L0H0,L1H2", "L0H0,L1H2,F0", ""), 3)
    assert (str(held.off), held.text, held.seen) == ("L0H0,L1H2,F0", "L0H0,L1H2,F0", 13)
    held, trail = protocol.take(held, trail, message(1, "", *(Press(14 + i, "undo") for i in range(9))), SHAPE)
    assert (held.text, trail.at) == ("", 0)  # no farther than to the beginning
    assert protocol.take(held, trail, message(1, "", Press(22, "undo")), SHAPE) == (held, trail)  # seen


def test_what_stands_in_for_what_is_off_comes_back_with_undo():
    held, trail = Held().changed(parse_exact("mean:L0H0")), Trail(("", "mean:L0H0"), 1)
    held, trail = protocol.take(held, trail, message(1, "", Press(1, "clear"), Press(2, "undo"), one(3, "F0")), SHAPE)
    assert str(held.off) == "mean:L0H0,F0"
    held = take(held, message(2, "", Press(4, "clear"), one(5, "F0")), SHAPE)
    assert str(held.off) == "F0"


def test_a_rectangle_a_fill_and_the_ffns_are_taken():
    held = take(Held(), message(0, "L1-2H0-3,F1-2", Gesture(1, True, (1, 2), (0, 4))), SHAPE, "mean")
    assert str(held.off) == "mean:L1H0-3,L2H0-3,F1-2"


@pytest.mark.parametrize("wrong", [
    None, {}, "mask", {"rev": 0, "off": ["00000"], "log": []},  # another model's shape
    {**said(0, ""), "off": ["0000x"] * 3}, {**said(0, ""), "log": [[1, 1, 0, 9, 0, 0]]}, {**said(0, ""), "log": [[1]]},
    {**said(0, ""), "log": [[1, "open"]]}, {**said(0, ""), "log": [[1, "text"]]},
    {**said(0, ""), "log": [[1, "text", 5]]}])
def test_what_is_no_message_of_this_map_says_nothing(wrong: Any):
    assert protocol.read(wrong, SHAPE) is None


@pytest.mark.parametrize("off", ["L0H0", "L1H2,L2H3", "L0H0-3,F0"])
def test_a_message_that_names_a_head_of_a_layer_without_heads_is_dropped(off: str):
    assert protocol.read(said(0, off, one(1, "L0H0")), SHAPE) is not None
    assert protocol.read(said(0, off, one(1, "L0H0")), HALF) is None


def test_a_rectangle_across_layers_without_heads_switches_what_there_is():
    across = protocol.read(said(0, "L1H2-3,F0-2", Gesture(1, True, (0, 2), (2, 4))), HALF)
    assert across is not None
    for rev in (0, 1):  # by the browser's own picture, and by its gestures on top of what it did not know of
        held, trail = protocol.take(Held(rev=rev), Trail(), across, HALF)
        assert str(held.off) == "L1H2-3,F0-2" == trail.now
    assert protocol.answer(held, HALF, trail)["headless"] == [0, 2]
    assert protocol.as_rows(parse_exact("L0H1,L1H1"), HALF) == ["00000", "01000", "00000"]  # of another model


def test_every_gesture_and_press_counts_once_however_messages_and_answers_cross():
    """The browser's side in Python (a log, late answers, its own picture) against the order in which things reached
    the server: each gesture and each press once, on top of what was changed elsewhere before it."""
    for seed in range(200):
        rng = random.Random(seed)
        held, trail, known, shown, answers, log = Held(), Trail(), Held(), INTACT, list[Held](), list[Gesture | Press]()
        truth, steps, at, seen, n = INTACT, [INTACT], 0, 0, 0
        for _ in range(40):
            match rng.choice(["gesture", "gesture", "press", "tell", "elsewhere", "answer"]):
                case "gesture":
                    n, name = n + 1, rng.choice(list(CELL))
                    mask = protocol.as_mask(shown, SHAPE)
                    log.append(one(n, name, not mask[CELL[name]]))
                    shown = protocol.as_ablation(log[-1].done_to(mask))
                case "press":
                    n += 1
                    log.append(Press(n, rng.choice(["undo", "undo", "redo", "clear"])))
                case "tell":
                    held, trail = protocol.take(held, trail, message(known.rev, str(shown), *log), SHAPE)
                    answers.append(held)
                    for what in log:
                        if what.n <= seen:
                            continue
                        seen = what.n
                        if isinstance(what, Press) and what.what != "clear":
                            at = min(max(at + (1 if what.what == "redo" else -1), 0), len(steps) - 1)
                            truth = steps[at]
                            continue
                        truth = INTACT if isinstance(what, Press) else protocol.as_ablation(
                            what.done_to(protocol.as_mask(truth, SHAPE)))
                        if truth != steps[at]:
                            steps, at = [*steps[:at + 1], truth], at + 1
                    assert (held.off, trail.at, len(trail.texts)) == (truth, at, len(steps))
                case "elsewhere":
                    held = held.changed(parse_exact(rng.choice(["", "L0H0", "L1H2,F0"])))
                    trail = trail.then(held.text)
                    answers.append(held)
                    truth = held.off
                    if truth != steps[at]:
                        steps, at = [*steps[:at + 1], truth], at + 1
                case "answer" if answers:
                    known = answers.pop(0)
                    log = [what for what in log if what.n > known.seen]
                    mask = protocol.as_mask(known.off, SHAPE)
                    for what in log:
                        mask = what.done_to(mask) if isinstance(what, Gesture) else mask
                    shown = protocol.as_ablation(mask)


# --- the shared choice --------------------------------------------------------------------------------------------


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A session that has drawn one map, "map", and its text field."""
    session: dict[str, Any] = {"off": "", "maps": ["map", "steps"], "trail": Trail()}
    monkeypatch.setattr(selection.st, "session_state", session)
    monkeypatch.setattr(selection, "info", lambda: INFO)
    components.held_now()
    return session


@pytest.mark.parametrize("seed", range(60))
def test_gestures_and_texts_count_once_in_their_order_however_far_the_field_lags_behind(state: dict[str, Any],
                                                                                         seed: int):
    """The browser's side in Python: a log, and a field that shows each drawing late, or never."""
    rng = random.Random(seed)
    log, n, field, drawings = list[Gesture | Written](), 0, "", list[tuple[Held, str]]()
    known, truth, taken = state["held"], "", 0

    def request(preset: str | None = None) -> None:
        nonlocal truth, taken
        state["off"] = field
        if log:
            mask = protocol.as_mask(known.off, SHAPE)
            for entry in log:
                mask = entry.done_to(mask) if isinstance(entry, Gesture) else mask
            state["map"] = {"mask": said(known.rev, str(protocol.as_ablation(mask)), *log)}
        components.take_clicks()
        for entry in log:
            if entry.n <= taken:
                continue
            taken = entry.n
            truth = str(parse_exact(entry.text)) if isinstance(entry, Written) else str(protocol.as_ablation(
                entry.done_to(protocol.as_mask(parse_exact(truth), SHAPE))))
        if preset is not None:
            components.choose(parse_exact(preset))
            truth = preset
        assert state["off"] == truth == str(state["held"].off)
        assert state["trail"].now == truth
        drawings.append((state["held"], state["off"]))

    for _ in range(80):
        match rng.choice(["gesture", "gesture", "gesture", "write", "request", "preset", "map", "field", "both"]):
            case "gesture":
                n += 1
                log.append(one(n, rng.choice(list(CELL)), rng.random() < 0.6))
            case "write":
                n += 1
                log.append(Written(n, rng.choice(["", "L0H0", "l1h2, 2.3", "2.3", "L0H0,L1H2"])))
                if rng.random() < 0.8:
                    request()  # before the field's own report
                field = log[-1].text  # type: ignore[union-attr]
                if rng.random() < 0.7:
                    request()
            case "request":
                request()
            case "preset":
                request(rng.choice(["", "L2H3,F0", "L0H0"]))
            case "map" | "both" | "field" as what if drawings:
                held, text = drawings.pop(0)
                if what != "field" and held.rev >= known.rev:
                    known = held
                    log = [entry for entry in log if entry.n > held.seen]
                if what != "map":
                    field = text


def test_a_text_that_the_browser_still_showed_is_not_taken_for_written(state: dict[str, Any]):
    state["map"] = {"mask": said(0, "L0H0", one(1, "L0H0"))}
    components.take_clicks()
    assert state["off"] == "L0H0"
    state["off"] = ""  # the next request comes before the field was drawn anew
    state["map"] = {"mask": said(0, "L0H0,L1H2", one(1, "L0H0"), one(2, "L1H2"))}
    components.take_clicks()
    assert state["off"] == "L0H0,L1H2"
    state["off"] = ""  # and still shows nothing when the browser has long painted the next answer
    state["map"] = {"mask": said(2, "L0H0,L1H2,F0", one(3, "F0"))}
    components.take_clicks()
    assert state["off"] == "L0H0,L1H2,F0"
    state["map"] = {"mask": said(3, "L0H0,L1H2,F0", Written(4, ""))}  # somebody has emptied the field
    components.take_clicks()
    assert (state["off"], state["held"].seen) == ("", 4)
    assert state["trail"].texts == ("", "L0H0", "L0H0,L1H2", "L0H0,L1H2,F0", "")


def test_what_is_written_is_taken_once_in_its_place_whatever_the_field_reports(state: dict[str, Any]):
    log = [one(1, "L0H0"), Written(2, "l1h2, 2.3"), one(3, "F0")]
    state["map"] = {"mask": said(0, "L0H0,F0", *log)}  # its report comes with the next request
    components.take_clicks()
    assert (state["off"], state["trail"].texts) == ("L1H2,L2H3,F0", ("", "L0H0", "L1H2,L2H3", "L1H2,L2H3,F0"))
    for shown in ("l1h2, 2.3", ""):  # the field lags behind
        state["off"] = shown
        components.take_clicks()
        assert (state["off"], state["trail"].at) == ("L1H2,L2H3,F0", 3)
    state["off"] = "l1h2, 2.3"  # and is written as before
    state["map"] = {"mask": said(1, "L1H2,L2H3,F0", Written(4, "l1h2, 2.3"))}
    components.take_clicks()
    assert (state["off"], state["trail"].at) == ("L1H2,L2H3", 4)
    components.take_clicks()
    assert (state["off"], state["trail"].at) == ("L1H2,L2H3", 4)
    state["map"] = {"mask": said(2, "L1H2,L2H3", Written(5, "L0H0, what"), Press(6, "undo"), Press(7, "redo"))}
    components.take_clicks()
    assert (state["off"], str(state["held"].off)) == ("L0H0, what", "L0H0")


def test_what_is_written_again_in_other_letters_is_nothing_new_later(state: dict[str, Any]):
    state["off"] = "L0H0"
    components.take_clicks()
    state["off"] = "l0h0"
    components.take_clicks()
    state["map"] = {"mask": said(9, "L0H0,F0", one(1, "F0"))}
    components.take_clicks()
    state["off"] = "l0h0"  # the field as it was
    components.take_clicks()
    assert state["off"] == "L0H0,F0"


def test_clicks_and_text_of_one_request_come_in_their_order(state: dict[str, Any]):
    state["off"] = "1.2, l2h3"
    state["map"] = {"mask": said(0, "L0H0", one(1, "L0H0"))}  # clicked, then written
    components.take_clicks()
    assert (state["off"], state["trail"].texts) == ("L1H2,L2H3", ("", "L0H0", "L1H2,L2H3"))
    state["off"] = "L2H3"
    state["map"] = {"mask": said(1, "F0", "off", one(2, "F0"))}  # written, then clicked
    components.take_clicks()
    assert state["off"] == "L2H3,F0"


def test_a_preset_of_the_same_request_changes_what_was_clicked_before_it(state: dict[str, Any]):
    state["map"] = {"mask": said(0, "L0H0,L1H2", one(1, "L0H0"), "invert", one(2, "L1H2"))}
    components.change(lambda now: Ablation(now.heads, frozenset({0})), "invert")
    assert (state["off"], state["trail"].texts) == ("L0H0,F0", ("", "L0H0", "L0H0,F0"))
    components.take_clicks()
    assert (state["off"], state["trail"].at) == ("L0H0,L1H2,F0", 3)
    state["map"] = {"mask": said(3, "L0H0,L1H2,L2H3,F0", one(3, "L2H3"))}
    components.change(lambda now: Ablation(now.heads))  # what a preset changes has the click in it
    assert state["off"] == "L0H0,L1H2,L2H3"


def test_presses_of_undo_are_heard_beside_the_map_and_bring_back_what_could_not_be_read(state: dict[str, Any]):
    state["off"] = "L1H2, what"
    components.take_clicks()
    state["map"] = {"mask": said(1, "L0H0,L1H2", one(1, "L0H0"))}
    state["steps"] = {"mask": said(1, "", one(1, "L0H0"), Press(2, "undo"))}
    components.take_clicks()
    assert (state["off"], str(state["held"].off), state["trail"].at) == ("L1H2, what", "L1H2", 1)


def test_what_cannot_be_read_stays_as_it_was_written(state: dict[str, Any]):
    state["off"] = "L0H0, what"
    components.take_clicks()
    assert state["off"] == "L0H0, what"
    state["map"] = {"mask": said(9, "L0H0,F0", one(1, "F0"))}
    components.take_clicks()
    assert state["off"] == "L0H0,F0"


def test_a_page_takes_no_head_of_a_layer_without_heads_from_a_map(state: dict[str, Any],
                                                                   monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(selection, "info", lambda: replace(INFO, headless=HALF.headless))
    state["map"] = {"mask": said(0, "L0H0,L1H2", one(1, "L0H0"), one(2, "L1H2"))}
    components.take_clicks()
    assert state["off"] == ""
    state["map"] = {"mask": said(0, "L1H2", one(1, "L0H0"), one(2, "L1H2"))}
    components.take_clicks()
    assert state["off"] == "L1H2"


# --- colours ------------------------------------------------------------------------------------------------------


def test_equal_strengths_mean_equal_shares_on_the_raw_scale_and_equal_ratios_on_the_logarithmic():
    values = np.array([[0.0, 1.0, 10.0], [100.0, np.nan, 50.0]])
    raw, logarithmic = scales.shades(values), scales.shades(values, "logarithmic")
    np.testing.assert_allclose(raw.strength, [[0, 0.01, 0.1], [1, np.nan, 0.5]])
    np.testing.assert_allclose(logarithmic.strength, [[0, 0, 0.5], [1, np.nan, np.log10(50) / 2]])
    assert raw.ticks == [(0, 0), (0.5, 50), (1, 100)]
    np.testing.assert_allclose(logarithmic.ticks, [(0, 1), (0.5, 10), (1, 100)])


def test_a_signed_map_has_zero_in_the_middle_and_a_locked_one_says_what_it_clips():
    shown = scales.shades(np.array([[-1.0, 0.0, 0.5]]), signed=True)
    np.testing.assert_allclose(shown.strength, [[0, 0.5, 0.75]])
    assert shown.ticks == [(0, -1), (0.5, 0), (1, 1)]
    locked = scales.shades(np.array([[0.2, 1.5]]), domain=(0, 1))
    assert (locked.strength.tolist(), locked.clipped) == ([[0.2, 1]], 1)
    assert "1 beyond the scale" in head_map(np.array([[0.2, 1.5]]), domain=(0, 1)).drawn["legend"]
    with pytest.raises(ValueError, match="no logarithmic scale"):
        scales.shades(np.zeros((1, 1)), "logarithmic", signed=True)


def test_a_small_share_is_not_written_as_nothing():
    assert [written(value, "percent") for value in (0, 0.001, 0.0123, 0.5)] == ["0 %", "0.1 %", "1 %", "50 %"]
    assert [written(value, "+points") for value in (-0.002, 0, 0.2)] == ["−0.2", "0", "+20"]


def test_a_legend_of_differences_between_shares_names_their_unit():
    drawn = head_map(np.array([[-0.2, 0.1]]), label="change", signed=True, number="+points").drawn
    assert drawn["legend"] == "change, points"
    assert [text for _, text in drawn["ticks"]] == ["−20", "0", "+20"]


def test_layers_are_comparable_on_the_scale_per_layer():
    strength = scales.shades(np.array([[1.0, 0.0], [100.0, 0.0]]), "per layer").strength
    assert strength.tolist() == [[1, 0], [1, 0]]


def test_the_scale_is_the_first_that_shows_more_than_the_peak():
    even, peak = np.linspace(0.1, 1, 40).reshape(5, 8), np.full((5, 8), 1e-5)
    assert scales.best_scale(even) == "raw"
    peak[0, :4] = 3e-5
    peak[4, 2] = 1e-2
    assert scales.visible(peak, "raw") == 1
    assert scales.best_scale(peak) == "per layer"  # on the logarithmic one, too, only five are above the ground
    assert scales.best_scale(peak * np.linspace(1, 50, 40).reshape(5, 8)) == "logarithmic"
    assert scales.best_scale(-peak) != "logarithmic"
    assert scales.best_scale(np.zeros((5, 8))) in scales.SCALES


def test_a_map_of_zeros_or_of_nothing_has_no_false_colours():
    assert (scales.shades(np.zeros((2, 2))).strength == 0).all()
    nothing = head_map(None, shape=(2, 3), ffns=True).drawn
    assert nothing["shades"] == [[None] * 4] * 2
    assert (nothing["values"], nothing["ranks"], nothing["legend"]) == (None, None, "")


# --- what is passed on --------------------------------------------------------------------------------------------


def test_a_map_passes_numbers_and_labels_and_no_more():
    values = np.array([[0.123456789, 2.0], [np.nan, 1e-9]])
    shown = head_map(values, ffns=np.array([3.0, 4.0]), label="score", facts=[("other", values, "percent")])
    drawn = json.loads(json.dumps(dict(shown.drawn), allow_nan=False))
    assert drawn["shape"] == [2, 2]
    assert drawn["values"] == [[0.123457, 2.0, 3.0], [None, 1e-9, 4.0]]
    assert drawn["ranks"] is None  # of numbers some of which are missing there is no rank
    assert drawn["shades"][1] == [None, 0, 1000]
    assert drawn["facts"] == [{"label": "other", "values": [[0.123457, 2.0], [None, 1e-9]], "number": "percent"}]
    assert head_map(np.array([[1.0, 3.0, 2.0]])).drawn["ranks"] == [[3, 1, 2]]


def test_a_layer_without_heads_has_neither_colour_value_nor_rank_and_says_why():
    values = np.array([[9.0, 8.0], [1.0, 2.0], [4.0, 3.0]])
    for scale in scales.SCALES:
        drawn = head_map(values, ffns=True, scale=scale, headless=(0,)).drawn
        assert drawn["values"] == [[None, None], [1, 2], [4, 3]]
        assert drawn["ranks"] == [None, [4, 3], [1, 2]]
        assert drawn["shades"][0] == [None] * 3
        assert max(drawn["shades"][1][:2] + drawn["shades"][2][:2]) == 1000  # of those there
        assert (drawn["headless"], drawn["absent"]) == ([0], "no attention heads in this layer: linear attention")
    assert head_map(values, ffns=values[:, 0], headless=(0,)).drawn["values"][0] == [None, None, 9]  # an FFN it has


def test_an_answer_says_the_mask_row_by_row_and_what_undo_and_redo_would_show():
    answer = protocol.answer(Held().changed(parse_exact("L0H1-2,F2")), SHAPE, Trail(("", "L0H1-2,F2", "L2H3"), 1))
    assert (answer["off"], answer["rev"], answer["seen"]) == (["01100", "00000", "00001"], 1, 0)
    assert answer["trail"] == {"at": 1, "of": 3, "near": {"0": ["00000"] * 3, "2": ["00000", "00000", "00010"]}}
    large = protocol.Shape(64, 72)
    assert protocol.answer(Held(), large, Trail(("", "L0H0", ""), 1))["trail"] == {"at": 1, "of": 3, "near": {}}
    assert protocol.as_rows(parse_exact("L9H9,F9"), SHAPE) == ["00000"] * 3  # of another model


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20))
def test_numbers_for_the_browser_keep_six_digits_and_what_is_none_is_null(numbers):
    (row,) = scales.plain([numbers])
    for number, told in zip(numbers, row, strict=True):
        if not np.isfinite(number):
            assert told is None
        elif abs(number) < 1e-300 or abs(number) > 1e300:
            assert abs(told) == pytest.approx(abs(number), rel=1e-5, abs=1e-300)
        else:  # as Python rounds, or one up or down of the sixth digit where it lies in the middle
            assert told == pytest.approx(float(f"{number:.6g}"), rel=1.01e-5 if told != float(f"{number:.6g}") else 0)
    assert scales.plain([[0.1234564, -1234567.0, 0.0, 1e-9, 100.0]]) == [[0.123456, -1234570.0, 0.0, 1e-9, 100.0]]
    assert len(repr(scales.plain([[1 / 3]])[0][0])) == len("0.333333")  # and short
