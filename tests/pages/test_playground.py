"""The Playground shows what the model computes, intact beside ablated, and says so when it cannot."""

from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from backend import lens, tables
from backend.errors import ModelError
from backend.kinds import PrefixMatching, compute
from backend.models.loading import LoadedModel
from backend.store.live import Store
from backend.tasks.registry import get_task
from backend.tasks.task import DRAWS, Prompt, prompts
from backend.values import INTACT, Ablation, ModelId, parse_exact
from pages.shared import handles, notes, verdicts
from pages.shared import words as wording
from tests.models.small import small_model
from tests.pages import made_up
from tests.pages.conftest import Explorer, are_here, bodies, calm, is_here, words
from tests.pages.shown import note_tables, prints_the_table

OFF = parse_exact("L1H2,F0")


@pytest.fixture
def model(store: Store, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """A small random model in the place of the bundled one."""
    loaded = small_model("opt")
    is_here(monkeypatch, loaded)
    return loaded


def question(q: int = 0, n_shots: int = 1) -> Prompt:
    return prompts(get_task("antonym"), n_shots, "fixed", 100, draws=DRAWS)[q]


def table(app: AppTest, after: str) -> str:
    """The title that begins the block in which `after` stands."""
    return next(text for text in map(notes.plain, bodies(app)) if after in text)


def test_a_question_of_the_task_is_read_intact_and_ablated(explorer: Explorer, model: LoadedModel):
    app = explorer("playground", task="antonym", shots="1", off=str(OFF), q="2")
    assert calm(app), (app.error, app.exception)
    prompt = question(2)
    before, after = (lens.look_at(model, prompt, a) for a in (INTACT, OFF))
    assert wording.percent(before.next_tokens[0].probability) in words(app)
    assert wording.percent(after.next_tokens[0].probability) in words(app)
    told = table(app, "The intact model prefers")
    for reading in (before, after):
        best, second = sorted(reading.loglikelihoods)[::-1][:2]
        option = prompt.example.options[int(np.argmax(reading.loglikelihoods))].strip()
        assert f"prefers ‘{tables.visible(option)}’ by {best - second:.2f} nats" in told
        assert (int(np.argmax(reading.loglikelihoods)) in prompt.example.gold) == (
            ", rightly" in told.split(";")[reading is after])


def test_the_open_head_looks_where_the_model_says(explorer: Explorer, model: LoadedModel):
    app = explorer("playground", task="antonym", shots="1", at_layer="2", at_head="3")
    reading = lens.look_at(model, question())
    last = lens.attention(model, reading.token_ids, 2)[3, -1]
    top = int(last.argmax())
    assert (f"L2H3 looks from the last token at ‘{reading.tokens[top]}’ (position {top}) with "
            f"{wording.percent(float(last[top]))}") in words(app)


def test_the_chosen_head_is_open_until_another_is_asked_for(explorer: Explorer, model: LoadedModel):
    app = explorer("playground", task="antonym", shots="1", off="L1H2")
    assert "L1H2 looks from the last token" in words(app)
    app.get_by_key("at_head").set_value(0)
    app.run()
    assert "L1H0 looks from the last token" in words(app)
    app.get_by_key("chosen head").set_value("L1H2")
    app.run()
    assert "L1H2 looks from the last token" in words(app)


def test_without_a_chosen_head_the_strongest_induction_head_is_open(
        explorer: Explorer, model: LoadedModel, store: Store):
    unit = PrefixMatching(model.id)
    record = made_up.record(unit, model.info)
    store.put(unit, record)
    layer, head = np.unravel_index(int(np.argmax(record.mean)), (3, 4))  # type: ignore[attr-defined]
    app = explorer("playground", task="antonym", shots="1")
    assert calm(app)
    assert f"L{layer}H{head} looks from the last token" in words(app)


def test_contributions_name_the_largest_and_the_logit(explorer: Explorer, model: LoadedModel):
    app = explorer("playground", task="antonym", shots="1")
    reading, prompt = lens.look_at(model, question()), question()
    answer = reading.first_tokens[prompt.example.gold[0]]
    found = lens.contributions(model, reading.token_ids, answer)
    shown = app.dataframe[0].value
    sizes = np.sort(np.abs(np.concatenate([found.heads.ravel(), found.ffns])))[::-1]
    np.testing.assert_allclose(np.abs(shown["contribution"]), sizes[:12], rtol=1e-6)
    assert f"{shown['contribution'][shown.index[0]]:+.2f} of the logit of" in words(app)
    assert f", {found.logit:+.2f}" in words(app)


def test_a_prompt_of_ones_own_is_in_the_address_and_may_have_options(explorer: Explorer, model: LoadedModel):
    app = explorer("playground", source="My own", prompt="the cat sat on", options="the mat | a dog", off="F1")
    assert calm(app), (app.error, app.exception)
    prompt = lens.own_prompt("the cat sat on", ["the mat", "a dog"])
    reading = lens.look_at(model, prompt)
    best, second = sorted(reading.loglikelihoods)[::-1]
    assert f"by {best - second:.2f} nats" in words(app)
    assert "wrongly" not in words(app)
    assert "means nothing here" not in words(app)
    app.get_by_key("options").set_value("")
    app.run()
    assert calm(app)
    assert "No options to compare" in words(app)
    app.get_by_key("prompt").set_value("   ")
    app.run()
    assert calm(app)
    assert "Write a prompt to begin." in words(app)


def test_a_prompt_that_is_too_long_is_refused_with_a_sentence(explorer: Explorer, model: LoadedModel):
    app = explorer("playground", source="My own", prompt="x" * 400)
    assert calm(app)
    assert "this model reads at most 256. Shorten it." in words(app)


def test_next_and_previous_walk_through_the_questions(explorer: Explorer, model: LoadedModel):
    app = explorer("playground", task="antonym", shots="1", n="2")
    assert app.get_by_key("previous").disabled
    app.get_by_key("next").click().run()
    assert app.session_state["q"] == 1
    assert app.get_by_key("next").disabled
    assert "Question 1" in words(app)


@pytest.mark.parametrize(("key", "last"), [("next", 2), ("previous", 0)])
def test_a_quick_hand_goes_not_beyond_the_ends(explorer: Explorer, model: LoadedModel, key: str, last: int):
    app = explorer("playground", task="antonym", shots="1", n="3", q="1")
    app.number_input("q").set_value(last)  # the press before, of the same request
    app.get_by_key(key).click().run()
    assert calm(app)
    assert app.session_state["q"] == last


def test_an_address_beyond_the_last_question_or_layer_is_said(at: Explorer, model: LoadedModel):
    app = at("playground", task="antonym", n="2", q="2", at_layer="99")
    assert calm(app)
    (said,) = [w.value for w in app.warning]
    assert "asks for q '2'. Known: whole numbers from 0 to 1. Showing 0 instead." in said
    assert f"asks for at_layer '99'. Known: 0 to {model.info.n_layers - 1}. " in said
    assert f"Showing {app.number_input('at_layer').value} instead." in said.splitlines()[-1]
    assert app.number_input("q").value == 0


def test_mean_ablation_asks_for_the_means_first(explorer: Explorer, model: LoadedModel, store: Store):
    app = explorer("playground", task="antonym", shots="1", off="mean:L1H2")
    assert calm(app)
    assert "Not measured yet:** mean activations of antonym" in words(app)
    setup = made_up.setup(model.id, "antonym", 1)
    means = compute(made_up.means(setup), store, model)
    app = explorer("playground", task="antonym", shots="1", off="mean:L1H2")
    assert calm(app)
    after = lens.look_at(model, question(), Ablation(OFF.heads, fill="mean"), means)  # type: ignore[arg-type]
    assert wording.percent(after.next_tokens[0].probability) in words(app)


def test_without_the_model_the_page_says_what_is_missing(explorer: Explorer, store: Store,
                                                         monkeypatch: pytest.MonkeyPatch):
    def missing(name: str, wanted: ModelId) -> LoadedModel:
        raise ModelError("'bundled' is not here.")

    monkeypatch.setattr(handles, "model", missing)
    app = explorer("playground", task="antonym")
    assert calm(app)
    assert "'bundled' is not here." in words(app)


def test_a_damaged_result_does_not_keep_the_page_from_reading(explorer: Explorer, model: LoadedModel, store: Store):
    unit = PrefixMatching(model.id)
    store.put(unit, made_up.record(unit, model.info))
    store._cache.set(unit.key, b"no such thing")
    app = explorer("playground", task="antonym", shots="1")
    assert calm(app)
    assert "L1H0 looks from the last token" in words(app)


def test_large_models_read_when_asked_to(explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch):
    are_here(monkeypatch, made_up.model_info(64, 72))
    app = explorer("playground", task="antonym")
    assert calm(app)
    assert any(button.key == "read it" for button in app.main.button)


@pytest.mark.parametrize("address", [
    {"task": "antonym", "shots": "1", "off": str(OFF), "q": "1"},
    {"source": "My own", "prompt": "the cat sat", "options": "on | at"},
    {"source": "My own", "prompt": "the cat sat"},
    {"task": "antonym", "shots": "1", "off": "mean:L1H2,F0"},
], ids=["task", "own with options", "own", "means"])
def test_the_lines_beside_every_chart_print_the_table_of_its_csv(
        explorer: Explorer, model: LoadedModel, store: Store, monkeypatch: pytest.MonkeyPatch, address: dict[str, str]):
    compute(made_up.means(made_up.setup(model.id, "antonym", 1)), store, model)
    shown = note_tables(monkeypatch)
    app = explorer("playground", **address)
    assert calm(app), (app.error, app.exception)
    if "off" in address:
        app.segmented_control("seen in").set_value("ablated")
        shown.clear()
        app.run()
    assert len(shown) == (5 if "task" in address else 4 if "options" in address else 3)
    for table, lines in shown:
        prints_the_table(lines, table, monkeypatch, load_model=lambda name: model)


# --- charts -------------------------------------------------------------------------------------





def test_a_prompt_of_ones_own_begins_as_a_question_of_the_task(explorer: Explorer, model: LoadedModel):
    app = explorer("playground", source="My own", task="antonym", shots="1")
    assert calm(app), (app.error, app.exception)
    first = question(0)
    assert app.text_area("prompt").value == first.prefix + first.example.contexts[0]
    assert app.text_input("options").value == " | ".join(option.strip() for option in first.example.options)


def test_words_that_the_model_does_not_know_are_counted(explorer: Explorer, model: LoadedModel, monkeypatch):
    read = lens.look_at
    monkeypatch.setattr(lens, "look_at", lambda *args, **more: replace(
        found := read(*args, **more), tokens=("<unk>", *found.tokens[1:])))
    app = explorer("playground", source="My own", prompt="the cat sat")
    assert "1 token of the prompt is not in this model's vocabulary" in words(app)


def test_each_demonstration_of_the_prompt_shows_what_it_adds(explorer: Explorer, model: LoadedModel, monkeypatch):
    noted = note_tables(monkeypatch)
    app = explorer("playground", task="antonym", shots="5", off=str(OFF), q="2")
    assert calm(app), (app.error, app.exception)
    found = {name: lens.influence(model, question(2, 5), off) for name, off in (("intact", INTACT), ("ablated", OFF))}
    expected = tables.prompt_influence_table(question(2, 5), found)
    assert verdicts.adds_here(expected) in words(app)
    shown, lines = next((shown, lines) for shown, lines in noted if "influence" in shown)
    np.testing.assert_allclose(shown["influence"], expected["influence"], atol=1e-5)
    assert shown["text"].tolist() == expected["text"].tolist()
    prints_the_table(lines, shown, monkeypatch, load_model=lambda name: model)


def test_without_demonstrations_there_is_nothing_to_leave_out(explorer: Explorer, model: LoadedModel):
    app = explorer("playground", task="antonym", shots="0")
    assert calm(app)
    assert "Influence: " not in words(app)
