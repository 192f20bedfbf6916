"""Lab with two masks side by side: what is shown of A and B is what is stored of A and B."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1.element_tree import Block

from backend import stats, tables
from backend.kinds import Evaluation
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import INTACT, Ablation, parse_exact
from pages.map.protocol import Trail
from pages.shared import components, selection
from pages.shared import words as wording
from tests.pages import made_up, maps
from tests.pages.conftest import INFO, Explorer, calm, setup_of, words
from tests.pages.shown import run_shown_python
from tests.pages.test_lab import answered

A, B = parse_exact("L1H2,L2H0"), parse_exact("L1H2,F0")
SHARES = {INTACT: 0.9, A: 0.6, B: 0.4}
BOTH = {"off": str(A), "against": str(B)}


def put(store: Store, tasks: list[str], shots: tuple[int, ...] = (5,), shares: dict[Ablation, float] = SHARES
        ) -> dict[Ablation, stats.Marks]:
    """Store what the intact model, A and B answer; returns the outcomes of the last."""
    found = {}
    for task in tasks:
        for n_shots in shots:
            for off, share in shares.items():
                record = answered(setup_of(task, n_shots), share)
                store.put(Evaluation(setup_of(task, n_shots), off), record)
                found[off] = record.marks()
    return found


def numbers(app: Any) -> dict[str, str]:
    return {m.label: m.value for m in app.main.metric}


def test_the_numbers_of_both_masks_and_their_difference_are_those_that_are_stored(explorer: Explorer, store: Store):
    of = put(store, ["antonym"])
    app = explorer("lab", task="antonym", **BOTH)
    assert calm(app), (app.error, app.exception)
    assert numbers(app) == {"Intact": wording.percent(0.9), "A": wording.percent(of[A].right.mean()),
                            "B": wording.percent(of[B].right.mean()),
                            "A − B": wording.points(of[A].right.mean() - of[B].right.mean())}
    low, high = stats.difference_interval(of[B], of[A])
    said = words(app)
    assert f"95 %: {wording.points(low).split()[0]} to {wording.points(high).split()[0]}  \npaired test " \
           f"{wording.p_value(stats.paired_test(of[A], of[B]).p)}" in said
    assert f"Accuracy on antonym is {wording.percent(0.6)} with mask A and {wording.percent(0.4)} with mask B" in said
    assert "tell A and B apart" in said
    assert "Off only in A: L2H0. Off only in B: L0 FFN. In both: L1H2." in said


def test_the_maps_share_one_scale_and_each_knows_what_is_off_in_the_other(explorer: Explorer, store: Store):
    put(store, ["antonym"])
    made_up.fill(store, [made_up.importance(setup_of("antonym"))], INFO)
    given = maps.given(explorer("lab", task="antonym", **BOTH))
    assert list(given) == ["lab grid", "lab grid B"]
    a, b = given["lab grid"].map, given["lab grid B"].map
    assert (a["shades"], a["ticks"], a["scale"]) == (b["shades"], b["ticks"], b["scale"])
    assert given["lab grid"].off == str(A)
    assert a["other"] == {"off": ["00001", "00100", "00000"], "name": "B"}
    assert "still" not in a
    assert b["still"] == ["00001", "00100", "00000"]
    assert b["other"] == {"name": "A"}  # as the browser has it, at once
    alone = maps.given(explorer("lab", task="antonym", off=str(A)))["lab grid"].map
    assert not {"still", "other"} & alone.keys()


def test_all_tasks_are_tested_one_by_one_with_holm_s_correction(explorer: Explorer, store: Store):
    of = put(store, list(MINI))
    few = answered(setup_of("plural"), 0.58)  # two questions of a hundred are no difference
    store.put(Evaluation(setup_of("plural"), B), few, replace=True)
    app = explorer("lab", scope="All tasks", **BOTH)
    assert calm(app), (app.error, app.exception)
    n = len(MINI)
    table = app.dataframe[0].value
    assert list(table["task"]) == list(MINI)
    p = np.array([stats.paired_test(of[A], of[B]).p] * n)
    p[list(MINI).index("plural")] = stats.paired_test(of[A], few.marks()).p
    assert np.allclose(table["p"], p)
    assert np.allclose(table["p (Holm)"], stats.holm(p))
    assert (stats.holm(p) > p).any()
    assert np.allclose(table["A − B"], [0.02 if task == "plural" else 0.2 for task in MINI])
    assert f"the test tells A and B apart on {n - 1} of {n} tasks" in words(app)
    assert numbers(app)["A − B"] == wording.points((0.2 * (n - 1) + 0.02) / n)
    assert len(app.main.get("vega_lite_chart")) == 1


def test_every_number_of_shots_has_its_own_difference(explorer: Explorer, store: Store):
    put(store, ["antonym"], (0, 1, 5))
    app = explorer("lab", task="antonym", scope="All shots", **BOTH)
    assert calm(app), (app.error, app.exception)
    assert numbers(app) == {f"{n}-shot, A − B": wording.points(0.2) for n in (0, 1, 5)}
    assert "tells A and B apart at 3 of 3 numbers of shots" in words(app)


def test_the_questions_that_only_one_of_them_gets_right_are_listed(explorer: Explorer, store: Store):
    put(store, ["antonym"])
    app = explorer("lab", task="antonym", **BOTH)
    assert "No questions of antonym are right with mask B and wrong with mask A, 20 the other way round" in words(app)
    assert len(app.dataframe[0].value) == 20
    assert {"A says", "margin B", "margin A"} < set(app.dataframe[0].value.columns)
    assert {"A", "B"} < set(app.dataframe[1].value.columns)
    app.segmented_control("flips against").set_value("intact").run()
    assert "30 questions of antonym turned wrong, none turned right" in words(app)


@pytest.mark.parametrize("scope", ["This task", "All tasks", "All shots"])
def test_the_python_of_a_comparison_prints_its_table(
        explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch, scope: str):
    put(store, list(MINI), (0, 1, 5))
    for one in (BOTH, {"against": str(B)}):
        (shown,) = run_shown_python(explorer("lab", task="antonym", scope=scope, **one), monkeypatch)
        table = shown["table"]
        assert table.to_string() in shown["printed"]
        assert len(table) == {"This task": 1, "All tasks": len(MINI), "All shots": 3}[scope]
        assert np.allclose(table["A"], 0.6 if "off" in one else 0.9)
        assert np.allclose(table["B"], 0.4)
        if scope == "All tasks":
            assert str(tables.masks_means(shown["outcomes"])) in shown["printed"]


def test_the_layouts_of_one_and_of_two_masks_empty_each_other_s_place(explorer: Explorer, store: Store):
    """What stood at a place stays in the browser until it is overwritten: else B's field is there twice meanwhile."""
    put(store, ["antonym"])

    def place(app: Any) -> int:
        (at,) = [i for i, child in app.main.children.items() if isinstance(child, Block)
                 and any(field.key == "against" for field in child.get("text_input"))]
        return int(at)

    alone, both = explorer("lab", task="antonym", off=str(A)), explorer("lab", task="antonym", **BOTH)
    assert both.main.children[place(alone)].type == "empty"
    assert alone.main.children[place(both)].type == "empty"


# --- what is compared ---------------------------------------------------------------------------------------------


def test_a_mask_is_kept_swapped_and_let_go_and_undo_is_a_s(explorer: Explorer, store: Store):
    put(store, ["antonym"])
    app = explorer("lab", task="antonym")
    assert app.button("keep as b").disabled  # nothing is off
    app.toggle("live").set_value(False).run()
    app.sidebar.text_input("off").set_value(str(A)).run()
    app.button("keep as b").click().run()
    assert calm(app)
    assert (app.session_state["off"], app.text_input("against").value) == (str(A), str(A))
    assert "A and B are the same mask: change one to see what that does" in words(app)
    app.sidebar.text_input("off").set_value(str(B)).run()
    assert "Off only in A: L0 FFN. Off only in B: L2H0. In both: L1H2." in words(app)
    app.button("swap").click().run()
    assert (app.session_state["off"], app.text_input("against").value) == (str(A), str(B))
    maps.press(app, "undo")
    assert (app.session_state["off"], app.text_input("against").value) == (str(B), str(B))
    maps.press(app, "clear")
    assert app.button("swap").disabled
    assert numbers(app)["A"] == numbers(app)["Intact"] == wording.percent(0.9)
    assert numbers(app)["B"] == wording.percent(0.4)
    app.button("end comparison").click().run()
    assert app.text_input("against").value == ""
    assert not [b for b in app.main.button if b.key == "swap"]


def test_b_is_read_like_the_chosen_components_and_what_cannot_be_read_is_said(explorer: Explorer, store: Store):
    put(store, ["antonym"])
    app = explorer("lab", task="antonym", off=str(A), against="1.2, l0 ffn, L9H9, what, L0-999999H1")
    assert calm(app)
    assert numbers(app)["B"] == wording.percent(0.4)
    said = words(app)
    assert "'L9H9' is not in this model: layers go from 0 to 2, heads from 0 to 3." in said
    assert "'what' is not a component." in said
    assert "'L0-999999H1' is not in this model" in said
    nothing = explorer("lab", task="antonym", off=str(A), against="what")
    assert calm(nothing)
    assert "'what' is not a component." in words(nothing)
    assert numbers(nothing)["B"] == wording.percent(0.9)  # nothing is off


def test_the_address_to_share_has_both_masks(explorer: Explorer, store: Store):
    put(store, ["antonym"])
    app = explorer("lab", task="antonym", **BOTH)
    assert app.code[-1].value.endswith(f"task=antonym&off={A}&against={B}")
    assert "means nothing here" not in words(app)


def test_b_is_still_there_after_another_page(explorer: Explorer, store: Store):
    put(store, ["antonym"])
    app = explorer("lab", task="antonym", **BOTH)
    app.switch_page("pages/heads.py").run()
    app.switch_page("pages/lab.py").run()
    assert app.text_input("against").value == str(B)
    app.button("swap").click().run()
    app.switch_page("pages/heads.py").run()
    app.switch_page("pages/lab.py").run()
    assert calm(app), (app.error, app.exception)
    assert (app.session_state["off"], app.text_input("against").value) == (str(B), str(A))
    app.button("end comparison").click().run()
    app.switch_page("pages/heads.py").run()
    app.switch_page("pages/lab.py").run()
    assert app.text_input("against").value == ""


def test_both_masks_are_among_those_tried(explorer: Explorer, store: Store):
    put(store, ["antonym"])
    app = explorer("lab", task="antonym", **BOTH)
    assert list(app.dataframe[-1].value["off"]) == [str(A), str(B)]


def test_what_is_missing_is_offered_for_both_masks(explorer: Explorer, store: Store):
    put(store, ["antonym"], shares={INTACT: 0.9})
    app = explorer("lab", task="antonym", **BOTH)
    app.toggle("live").set_value(False).run()
    assert calm(app)
    assert "Not measured yet:** accuracy with mask A and with mask B (2 of 3 results)" in words(app)
    assert numbers(app)["A − B"] == "–"


def test_a_result_that_is_there_before_the_intact_one_does_not_end_the_page(explorer: Explorer, store: Store):
    put(store, ["antonym"], shares={A: 0.6})
    for address in ({"off": str(A)}, BOTH):
        app = explorer("lab", task="antonym", **address)
        assert [e.value for e in app.error] == ["This model has no weights."]


# --- a quick hand -------------------------------------------------------------------------------------------------


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    session: dict[str, Any] = {"off": "L0H0", "against": "", "maps": [], "trail": Trail(("L0H0",)),
                               "B shown before": True}
    monkeypatch.setattr(selection.st, "session_state", session)
    monkeypatch.setattr(selection, "info", lambda: INFO)
    components.held_now()
    return session


def test_what_a_browser_still_showed_is_not_taken_for_another_b(state: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(components.time, "monotonic", lambda: state["now"])
    state["now"] = 100.0
    components.keep_as_b()
    state["off"] = "L1H1"
    components.held_now()
    state["now"] = 101.0
    components.keep_as_b()
    assert state["against"] == "L1H1"
    state["against"] = "L0H0"  # the next click was made before the field was drawn anew
    components.settle_against()
    assert state["against"] == "L1H1"
    state["against"] = "F2"  # this was written
    components.settle_against()
    assert state["against"] == "F2"
    state["now"] += components.STALE + 1
    state["against"] = "L0H0"  # and so was this, much later
    components.settle_against()
    assert state["against"] == "L0H0"


def test_two_rows_that_were_tried_become_a_and_b(state: dict[str, Any]):
    components.compare_masks(A, B)
    assert (state["off"], state["against"], state["trail"].texts) == (str(A), str(B), ("L0H0", str(A)))
