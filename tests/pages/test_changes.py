"""What is under a name may change while the explorer runs: weights, a tokenizer, rows. No number moves to another."""

from __future__ import annotations

import gc
import json
import os
import shutil
import weakref
from pathlib import Path

import psutil
import pytest
import streamlit as st
from safetensors.torch import load_file, save_file
from streamlit.testing.v1 import AppTest

from backend.kinds import Evaluation, FFNOracle, compute
from backend.models.identity import identify
from backend.store import live as stores
from backend.store.live import Store
from backend.tasks import own
from backend.tasks.paper import STUDY
from backend.values import ModelId, Setup, TaskId
from pages.shared import handles
from tests.models.small import small_model, small_network, small_tokenizer
from tests.pages import made_up
from tests.pages.conftest import INFO, MODEL, Explorer, calm, framed, is_here, opened, words

ASKED = {"task": "antonym", "shots": "0", "n": "4"}


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A real little model in a folder, which pages look at as they do; nothing is stored yet."""
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path / "live"))
    monkeypatch.setattr(stores, "SHIPPED", tmp_path / "shipped")
    st.cache_resource.clear()
    st.cache_data.clear()
    framed(monkeypatch)
    folder = tmp_path / "models" / "little"
    small_network("opt").save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


def press(app: AppTest, label: str) -> AppTest:
    return next(b for b in app.main.button if b.label == label).click().run()


def change_weights(folder: Path) -> None:
    """As if it was trained on: the last layer's FFN turns round."""
    file = folder / "model.safetensors"
    tensors = {name: -tensor if "layers.2.fc2" in name else tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def oracle(store: Store, model: ModelId):
    record = store.get(FFNOracle(Setup(model, made_up.task_id("antonym"), n_examples=4)))
    assert record is not None
    return record


def test_when_weights_change_under_a_server_the_next_measurement_says_so_once_and_old_results_stay(real: Path):
    app = press(opened("ffns", model=str(real), **ASKED), "Measure now")
    assert calm(app), (app.error, app.exception)
    assert "Not measured yet" not in words(app)
    old = identify(str(real))
    change_weights(real)
    new = identify(str(real))
    assert new != old
    handles._shelf.clear()  # the page has looked at the old folder a moment ago; the new one is what is loaded
    app = opened("ffns", model=str(real), **ASKED, seed="1")
    app = press(app, "Measure now")
    assert f"has changed since this page looked at it: its digest was {old.digest} and is {new.digest}" in words(app)
    app = press(app.run(), "Measure now")
    assert calm(app), (app.error, app.exception)
    store = handles.store()
    measured = {unit.model for unit in store.units("ffn_oracle")}
    assert measured == {old, new}

    now = opened("ffns", model=str(real), **ASKED)
    assert "Not measured yet" in words(now)  # seed 0 was asked of the old weights alone
    choice = now.sidebar.selectbox("state")
    assert choice.value == new.digest
    assert choice.options == [new.digest, old.digest]
    assert f"**`{new.digest}`** revision {new.revision}, here  \n`{old.digest}` revision {old.revision}" in words(now)
    before = opened("ffns", model=str(real), **ASKED, state=old.digest)
    assert calm(before)
    assert "Not measured yet" not in words(before)
    assert list(before.dataframe[0].value["accuracy"]) == list(oracle(store, old).accuracy()[1:])
    elsewhere = opened("ffns", model=str(real), **ASKED, seed="1", state=old.digest)
    assert "is here in another state" in words(elsewhere)
    shown = [str(code.value) for code in elsewhere.main.code]
    assert any(f"--model {real} --revision {old.revision} --digest {old.digest} --what ffns" in text for text in shown)
    assert all("--revision" not in str(code.value) for code in now.main.code)


def test_a_model_that_is_gone_is_still_browsed_by_what_was_measured(real: Path):
    press(opened("ffns", model=str(real), **ASKED), "Measure now")
    shutil.rmtree(real)
    handles.look_again()
    app = opened("ffns", model="little", **ASKED)
    assert calm(app), (app.error, app.exception)
    assert "Not measured yet" not in words(app)


def test_a_model_that_is_deleted_in_use_is_said_to_be_gone_and_what_is_shown_instead(real: Path, tmp_path: Path):
    app = press(opened("ffns", model=str(real), **ASKED), "Measure now")
    assert calm(app)
    measured = identify(str(real))
    shutil.rmtree(real)
    for now in (app.run(), opened("ffns", model=str(real), **{**ASKED, "shots": "1"})):
        assert not now.exception
        assert f"No folder '{real}'" in words(now)
        assert "Showing the bundled model instead." in words(now)
    with Store(tmp_path / "live") as store:
        assert oracle(store, measured)
        assert {unit.model for unit in store.units() if unit.model.name == real.name and unit.model.dtype} == {measured}


def test_another_tokenizer_beside_the_same_weights_is_another_state(real: Path):
    press(opened("ffns", model=str(real), **ASKED), "Measure now")
    file = real / "tokenizer.json"
    words_of = json.loads(file.read_text())
    words_of["model"]["merges"] = words_of["model"]["merges"][:-20]
    file.write_text(json.dumps(words_of))
    handles.look_again()
    app = opened("ffns", model=str(real), **ASKED)
    assert calm(app)
    assert "Not measured yet" in words(app)
    assert len(app.sidebar.selectbox("state").options) == 2


@pytest.mark.parametrize("other", [{"dtype": "bfloat16"}, {"bos": "always"}], ids=str)
def test_precision_and_bos_in_the_sidebar_are_part_of_what_is_shown(real: Path, other: dict[str, str]):
    press(opened("ffns", model=str(real), **ASKED), "Measure now")
    app = opened("ffns", model=str(real), **ASKED, **other)
    assert calm(app)
    assert "Not measured yet" in words(app)
    name, value = next(iter(other.items()))
    assert any(f"--{name} {value}" in code.value for code in app.main.code)
    press(app, "Measure now")
    assert {(m.dtype, m.bos) for m in handles.known().models("little")} == {
        ("float32", False), ("bfloat16", False) if name == "dtype" else ("float32", True)}


def test_what_the_address_asks_for_and_is_not_there_is_said(explorer: Explorer):
    app = explorer("heads", task="antonym", state="0000", rows="1111", tasks=["antonym", "juggling"])
    assert calm(app)
    said = "\n".join(w.value for w in app.warning)
    assert f"state '0000'. Known: {MODEL.digest}." in said
    assert f"rows '1111'. Known: {made_up.task_id('antonym').digest}." in said
    assert "'juggling'" in said


def test_every_state_of_a_model_can_be_reached(explorer: Explorer, store: Store):
    states = [MODEL.with_(digest=digest, revision=digest[:3]) for digest in ("aaaa", "bbbb")]
    for state in states:
        made_up.fill(store, [made_up.importance(made_up.setup(state, "antonym"))], INFO)
    app = explorer("heads", task="antonym")
    assert app.sidebar.selectbox("state").options[0] == MODEL.digest
    assert set(app.sidebar.selectbox("state").options) == {MODEL.digest, *(s.digest for s in states)}
    assert "Not measured yet" in words(app)
    for state in states:
        shown = explorer("heads", task="antonym", state=state.digest)
        assert calm(shown)
        assert "Not measured yet" not in words(shown)
        record = store.get(made_up.importance(made_up.setup(state, "antonym")))
        assert record is not None
        assert shown.dataframe[0].value["importance"].max() == record.scores().max()
        assert f"bundled @ {state.revision}, float32" in words(shown)


# --- rows -----------------------------------------------------------------------------------------


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[own.OwnTask]:
    """Two sets of rows under one name."""
    monkeypatch.setenv(own.FOLDER_SETTING, str(tmp_path / "tasks"))
    return [own.parse_task("\n".join(json.dumps({"query": f"{word} {i}", "options": ["yes", "no"], "gold": i % 2})
                                     for i in range(12)), "mine") for word in ("first", "second")]


def test_rows_that_are_replaced_are_shown_as_they_are_now_in_old_and_new_sessions(
        explorer: Explorer, store: Store, rows: list[own.OwnTask], monkeypatch: pytest.MonkeyPatch):
    is_here(monkeypatch, small_model("opt"))
    own.keep(rows[0])
    app = explorer("playground", task="own:mine", shots="0")
    assert calm(app), (app.error, app.exception)
    assert "first " in prompt(app)
    own.keep(rows[1], replace=True)
    for session in (app.run(), explorer("playground", task="own:mine", shots="0")):
        assert calm(session)
        assert "second " in prompt(session)
        assert "first " not in prompt(session)


def prompt(app: AppTest) -> str:
    """What the playground says is read."""
    return "\n".join([*(str(code.value) for code in app.main.code), words(app)])


def test_results_of_rows_that_were_replaced_stay_and_are_named_by_them(
        explorer: Explorer, store: Store, rows: list[own.OwnTask]):
    ids = [TaskId("own:mine", task.fingerprint) for task in rows]
    own.keep(rows[1])
    setup = made_up.setup(MODEL, ids[0], 5)
    made_up.fill(store, [Evaluation(setup), made_up.importance(setup)], INFO)
    app = explorer("heads", task="own:mine")
    assert "Not measured yet" in words(app)
    assert app.sidebar.selectbox("rows").options == [ids[1].digest, ids[0].digest]
    assert f"**`{ids[1].digest}`** here  \n`{ids[0].digest}` of stored results" in words(app)
    before = explorer("heads", task="own:mine", rows=ids[0].digest)
    assert calm(before)
    assert "Not measured yet" not in words(before)
    lab = explorer("lab", task="own:mine", rows=ids[0].digest, seed="1")
    lab.toggle("live").set_value(False).run()
    assert f"here have digest {ids[1].digest}; these results are of {ids[0].digest}" in words(lab)


# --- memory ---------------------------------------------------------------------------------------


def test_eight_changes_of_precision_leave_one_model_in_memory(tmp_path: Path):
    folder = tmp_path / "wide"
    small_network("opt", hidden_size=768, word_embed_proj_dim=768, ffn_dim=3072).save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    st.cache_resource.clear()
    seen, used = [], []
    with Store(tmp_path / "live") as store:
        for i in range(8):
            wanted = identify(str(folder), dtype=("float32", "bfloat16")[i % 2])
            model = handles.model(str(folder), wanted)
            compute(Evaluation(Setup(wanted, made_up.task_id("antonym"), 0, n_examples=2 + i)), store, model)
            seen.append(weakref.ref(model.model))
            del model
            gc.collect()
            used.append(psutil.Process(os.getpid()).memory_info().rss)
    assert [ref() is not None for ref in seen] == [False] * 7 + [True]
    assert max(used[2:]) < 1.2 * max(used[:2])


# --- what a look costs ----------------------------------------------------------------------------


def test_the_hub_is_asked_once_for_many_reruns_and_a_folder_is_not_read_again(
        explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[str, str, str]] = []
    known = handles.identify

    def counted(name: str, dtype: str, bos: str) -> ModelId:
        asked.append((name, dtype, bos))
        return known(name, dtype, bos)

    monkeypatch.setattr(handles, "identify", counted)
    far = made_up.model_info(4, 6, name="far/away")
    made_up.fill(store, [made_up.importance(made_up.setup(made_up.model_id(far), "antonym"))], far)
    app = explorer("heads", model="far/away", task="antonym")
    first = len(asked)
    for _ in range(3):
        app.run()
    assert calm(app)
    assert [name for name, *_ in asked].count("far/away") == 1
    assert len(asked) == first


def test_rows_of_the_study_are_not_looked_for_where_results_are_stored(
        explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch):
    sought, look = [], handles._looked_for
    tasks = [TaskId(name, "elsewhere") for name in ("piqa", "cb", "rte")]
    made_up.fill(store, map(made_up.importance, made_up.setups(MODEL, tasks)), INFO)
    monkeypatch.setattr(handles, "_looked_for", lambda name: (sought.append(name), look(name))[1])
    app = explorer("heads", task="piqa", view="Average", tasks=["piqa", "cb", "rte"])
    assert calm(app), (app.error, app.exception)
    assert "Not measured yet" not in words(app)
    assert "averaged over 3 tasks" in words(app)
    assert not set(sought) & set(STUDY)
