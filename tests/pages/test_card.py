"""The card of one head, and all heads beside one another."""

import numpy as np
import pytest

from backend import tables
from backend.kinds import Copying, HeadOracle, PrefixMatching
from backend.store.live import Store
from backend.tasks.mini import MINI
from pages.shared import components, verdicts
from tests.models.small import small_model
from tests.pages import made_up
from tests.pages.conftest import INFO, MODEL, Explorer, calm, is_here, opened, setup_of, setups_of, words

NAMES = list(MINI)


@pytest.fixture
def everything(store: Store) -> None:
    units = [made_up.importance(one) for one in setups_of(NAMES, (0, 1, 5))]
    of = setups_of(NAMES)
    units += [unit for one in of for unit in (HeadOracle(one), made_up.vectors(one), made_up.writes(one))]
    made_up.fill(store, [*units, PrefixMatching(MODEL), Copying(MODEL)], INFO)


def test_a_card_says_what_is_stored_of_a_head_and_all_heads_stand_below(explorer: Explorer, store: Store, everything):
    app = explorer("card", task="antonym", head="L1H2")
    assert calm(app)
    assert app.selectbox("head").value == "L1H2"
    card = app.dataframe[0].value
    assert list(card["score"]) == [
        "importance for antonym", "mean importance of 14 tasks", "prefix matching", "copying", "function-vector effect",
        tables.ACCURACY_LOST, tables.LOSS_ADDED, "share of its layer's write"]
    assert verdicts.of_head("L1H2", card, dead=False) in words(app)
    scores = store.get(made_up.importance(setup_of("antonym"))).scores("per-token")
    assert card["value"][0] == scores[1, 2]
    dead = made_up.dead_head(INFO)
    ranked = np.array([scores[head.layer, head.head] for head in INFO.heads if head != dead])
    assert card["rank"][0] == 1 + (ranked > scores[1, 2]).sum()
    every = app.dataframe[-1].value
    assert list(every["head"]) == [str(head) for head in INFO.heads]
    assert every.loc[every["head"] == "L1H2", "importance for antonym"].item() == scores[1, 2]
    assert "among the top tenth" in words(app)


def test_a_dead_head_is_called_dead_and_can_be_left_out(explorer: Explorer, everything):
    dead = str(made_up.dead_head(INFO))
    app = explorer("card", task="antonym", head=dead)
    assert calm(app)
    assert f"{dead} is dead" in words(app)
    app = app.toggle("live only").set_value(True).run()
    assert dead not in set(app.dataframe[-1].value["head"])


def test_with_nothing_stored_the_importance_is_offered(explorer: Explorer):
    app = explorer("card", task="antonym")
    assert calm(app)
    assert "Not measured yet:** head importance of antonym, 5-shot" in words(app)


@pytest.mark.parametrize("asked", ["L9H9", "banana", "3.7", "<b>x</b>"])
def test_a_head_that_there_is_not_is_said_and_another_one_shown(at: Explorer, everything, asked: str):
    app = at("card", task="antonym", head=asked)
    assert calm(app)
    (warning,) = [w.value for w in app.warning]
    assert "Known: L0H0 to L2H3" in warning
    assert f"Showing {app.selectbox('head').value} instead" in warning


def test_the_chosen_head_is_the_one_to_begin_with_and_its_ways_lead_on(explorer: Explorer, everything):
    app = explorer("card", task="antonym", off="L2H1")
    assert app.selectbox("head").value == "L2H1"
    app = app.selectbox("head").set_value("L0H3").run()
    app = app.button("to lab").click().run()
    assert app.title[0].value == "Lab"
    assert app.session_state["off"] == "L0H3"


def test_a_map_that_is_asked_for_a_card_opens_it(explorer: Explorer, everything, monkeypatch: pytest.MonkeyPatch):
    app = explorer("heads", task="antonym", off="L0H0")
    asked: dict[str, object] = {}

    class State(dict):
        def get(self, key, default=None):
            return asked if key == "importance" else dict.get(self, key, default)

    for name, page in (("L1H3", "Card"), ("L9H9", "Heads"), ("<script>", "Heads"), (None, "Heads")):
        asked["card"] = name
        with monkeypatch.context() as patched:
            went: list[tuple[str, object]] = []
            patched.setattr(components.routes, "go", lambda page, head, went=went: went.append((page, head)))
            patched.setattr(components, "take_clicks", lambda: None)
            patched.setattr(components.st, "session_state", State())
            patched.setattr(components.selection, "info", lambda: INFO)
            components.open_card("importance")
        assert went == ([("card", "L1H3")] if page == "Card" else []), name
    assert calm(app)


def test_what_it_looks_at_and_writes_is_read_from_the_model_when_unfolded(
        store: Store, monkeypatch: pytest.MonkeyPatch):
    model = small_model("opt")
    is_here(monkeypatch, model)
    made_up.fill(store, [made_up.importance(made_up.setup(model.id, "antonym"))], model.info)
    app = opened("card", task="antonym", head="L1H2", model=model.info.name)
    assert calm(app)
    for key in ("looks", "says"):
        app.session_state[key] = True
    app = app.run()
    assert calm(app)
    assert words(app).count("L1H2 looks from the last token at") == 3
    assert "Along the direct path L1H2 writes that very token most for" in words(app)
