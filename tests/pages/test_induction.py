"""The Induction page shows the stored scores, sets them beside importance, and looks at one head."""

from collections.abc import Iterable

import numpy as np
import pytest

from backend import lens, stats, tables
from backend.kinds import Copying, InductionScores, PrefixMatching, Unit
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import INTACT, Ablation, Head, Setup
from pages.shared import handles, verdicts
from pages.shared import words as wording
from tests.pages import made_up
from tests.pages.conftest import INFO, MODEL, Explorer, calm, is_here, setup_of, words
from tests.pages.shown import run_shown_python

VIEWS = ("Scores", "Against importance", "Function vectors", "Knock-out", "Demonstrations", "Capacity", "One head")
PLAIN = Setup(INFO.name, INFO.revision)


def scores() -> Iterable[Unit]:
    for variant in ("exact", "authors"):
        yield PrefixMatching(MODEL, variant)
    for variant in ("authors", "olsson"):
        yield Copying(MODEL, variant)


def importance(tasks: Iterable[str] = tuple(MINI), shots: Iterable[int] = (5,)) -> Iterable[Unit]:
    return (made_up.importance(setup_of(task, n)) for task in tasks for n in shots)


def mean(store: Store, unit: Unit) -> np.ndarray:
    record = store.get(unit)
    assert isinstance(record, InductionScores)
    return np.array(record.mean)


def rank_of(store: Store, task: str, n_shots: int = 5) -> np.ndarray:
    return store.get(made_up.importance(setup_of(task, n_shots))).scores("per-token")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch):
    """A real little model where a page wants to look at one; it has the shape of `INFO`."""
    from tests.models.small import small_model

    model = small_model("opt")
    monkeypatch.setattr(handles, "model", lambda name, wanted: model)
    return model


@pytest.mark.parametrize("view", VIEWS[:6])
def test_an_empty_store_is_said_to_be_empty(explorer: Explorer, view: str):
    app = explorer("induction", task="antonym", view=view)
    assert calm(app)
    assert "Not measured yet" in words(app)


def test_the_titles_say_the_stored_scores(explorer: Explorer, store: Store):
    made_up.fill(store, scores(), INFO)
    app = explorer("induction")
    assert calm(app)
    for unit, name in ((PrefixMatching(MODEL), "prefix matching"), (Copying(MODEL), "copying")):
        values = mean(store, unit)
        assert f"{stats.highest(values, 1)[0]} leads in {name} with {values.max():.2f}" in words(app)
    assert "Not measured yet" not in words(app)


def test_the_other_definitions_show_other_numbers(explorer: Explorer, store: Store):
    made_up.fill(store, scores(), INFO)
    app = explorer("induction")
    app.segmented_control(key="prefix variant").set_value("authors").run()
    values = mean(store, PrefixMatching(MODEL, "authors"))
    assert calm(app)
    assert f"leads in prefix matching with {values.max():.2f}" in words(app)
    assert "one target too many" in words(app)
    app.segmented_control(key="show").set_value("variance").run()
    assert calm(app)


def test_one_missing_score_leaves_the_other_on_the_page(explorer: Explorer, store: Store):
    made_up.fill(store, [Copying(MODEL)], INFO)
    app = explorer("induction")
    assert calm(app)
    assert "leads in copying" in words(app)
    assert "(1 of 2 results)" in words(app)


def test_top_heads_are_chosen_for_lab(explorer: Explorer, store: Store):
    made_up.fill(store, scores(), INFO)
    app = explorer("induction")
    app.number_input(key="top k").set_value(2).run()
    app.button(key="choose top").click().run()
    top = stats.highest(mean(store, PrefixMatching(MODEL)), 1)[:2]
    assert app.text_input(key="off").value == str(Ablation(frozenset(top)))


def test_scores_stand_against_importance(explorer: Explorer, store: Store):
    made_up.fill(store, [*scores(), *importance()], INFO)
    app = explorer("induction", task="antonym", view="Against importance", off="L1H2")
    prefix = mean(store, PrefixMatching(MODEL))
    rho = stats.spearman(prefix, rank_of(store, "antonym"))
    assert calm(app)
    assert f"Importance for antonym and prefix matching rank the heads alike at {wording.rho(rho)}" in words(app)
    table = app.dataframe[0].value
    assert table["prefix matching"].iloc[0] == prefix.max()
    assert list(table.query("chosen")["head"]) == ["L1H2"]
    app.segmented_control(key="importance of").set_value("all tasks").run()
    everything = stats.aggregate([rank_of(store, task) for task in MINI])
    assert f"{wording.rho(stats.spearman(prefix, everything))}" in words(app)
    assert "the mean of 14 tasks" in words(app)


def test_capacity_is_what_the_remaining_heads_hold(explorer: Explorer, store: Store):
    made_up.fill(store, [*scores(), *importance()], INFO)
    app = explorer("induction", task="antonym", view="Capacity")
    prefix = mean(store, PrefixMatching(MODEL))
    left = stats.retained(prefix, stats.lowest(rank_of(store, "antonym"), 0.7))
    everything = stats.aggregate([rank_of(store, task) for task in MINI])
    by_mean = stats.retained(prefix, stats.lowest(everything, 0.7))
    assert calm(app)
    assert (f"prefix matching keeps {wording.percent(by_mean)} by the mean of 14 tasks, {wording.percent(left)} by "
            "antonym") in words(app)


def test_capacity_is_drawn_per_number_of_shots(explorer: Explorer, store: Store):
    made_up.fill(store, [*scores(), *importance(shots=(0, 1, 5))], INFO)
    app = explorer("induction", task="antonym", view="Capacity")
    app.segmented_control(key="capacity lines").set_value("shots").run()
    assert calm(app)
    assert "by 0-shot mean of 14 tasks" in words(app)
    assert "Not measured yet" not in words(app)


def test_with_some_tasks_missing_the_others_are_drawn(explorer: Explorer, store: Store):
    made_up.fill(store, [*scores(), *importance(list(MINI)[:3])], INFO)
    app = explorer("induction", task=next(iter(MINI)), view="Capacity")
    assert calm(app)
    assert "by the mean of 3 tasks" in words(app)
    assert f"({len(MINI) - 3} of {len(MINI)} results)" in words(app)


def test_a_damaged_result_counts_as_missing(explorer: Explorer, store: Store):
    made_up.fill(store, scores(), INFO)
    store._cache.set(PrefixMatching(MODEL).key, b"no such thing")
    app = explorer("induction")
    assert calm(app)
    assert "(1 of 2 results)" in words(app)
    assert "damaged" in words(app)


def test_one_head_is_seen_on_a_repeated_sequence(explorer: Explorer, store: Store, small, monkeypatch):
    made_up.fill(store, scores(), INFO)
    app = explorer("induction", view="One head", off="L2H1")
    assert calm(app), (app.error, app.exception)
    assert app.selectbox(key="one head").value == Head(2, 1)
    ids, _ = lens.repeated_tokens(small, 12)
    pattern = lens.attention(small, ids, 2)[1]
    score = stats.prefix_match(pattern, 12)
    assert f"L2H1 gives {wording.percent(score)} of its attention to what followed before" in words(app)
    shown = run_shown_python(app, monkeypatch, load_model=lambda *_, **__: small)
    table = tables.attention_table(*(shown[0][name] for name in ("pattern", "tokens")))
    np.testing.assert_allclose(shown[0]["pattern"], pattern, atol=1e-6)
    assert shown[0]["printed"].startswith(table.to_string())
    said = shown[0]["printed"].splitlines()[-1].split()
    assert list(map(float, said)) == pytest.approx([score, stats.prefix_match_by_chance(12, 2)])


def test_an_unknown_view_in_the_address_shows_the_first(explorer: Explorer):
    app = explorer("induction", view="no such view")
    assert calm(app)
    assert app.segmented_control(key="view").value == VIEWS[0]


def vectors(tasks: Iterable[str] = tuple(MINI)) -> Iterable[Unit]:
    return (made_up.vectors(setup_of(task)) for task in tasks)


def test_function_vectors_stand_beside_induction_and_importance(explorer: Explorer, store: Store):
    made_up.fill(store, [*scores(), *importance(), *vectors(), made_up.writes(setup_of("antonym"))], INFO)
    app = explorer("induction", task="antonym", view="Function vectors", off="L1H2")
    assert calm(app), (app.error, app.exception)
    assert "Not measured yet" not in words(app)
    effects = store.get(made_up.vectors(setup_of("antonym")))
    alive = store.get(made_up.writes(setup_of("antonym"))).alive()
    table = tables.vectors_table([effects], store.get(PrefixMatching(MODEL)), rank_of(store, "antonym"),
                                 Ablation(frozenset({Head(1, 2)})), alive)
    assert verdicts.carries(table, effects.lost, "live head") in words(app)
    assert verdicts.sets_apart(tables.sets_table(table, 3), int(verdicts.is_told(table).sum())) in words(app)
    assert "11 live heads" in words(app)
    shown = app.dataframe[1].value
    assert list(shown["head"]) == list(tables.set_heads_table(table, 3)["head"])
    assert shown["effect"].max() == pytest.approx(effects.scores()[alive].max())
    assert list(shown.query("chosen")["head"]) == ["L1H2"] * ("L1H2" in set(shown["head"]))
    app.segmented_control(key="vectors of").set_value("all tasks").run()
    assert calm(app), (app.error, app.exception)
    assert "the mean of 14 tasks" in words(app)


@pytest.mark.parametrize(("button", "of", "without"), [
    (0, tables.VECTOR, ()), (1, tables.INDUCTION, ()), (2, tables.IMPORTANT, ()),
    (3, tables.VECTOR, (tables.INDUCTION,)), (4, tables.INDUCTION, (tables.VECTOR,))])
def test_each_set_of_heads_can_be_chosen(explorer: Explorer, store: Store, button: int, of: str, without: tuple):
    made_up.fill(store, [*scores(), *importance(["antonym"]), *vectors(["antonym"])], INFO)
    app = explorer("induction", task="antonym", view="Function vectors", off="F1")
    app.number_input(key="vectors top").set_value(4).run()
    app.button(key=f"choose set {button}").click().run()
    table = tables.vectors_table([store.get(made_up.vectors(setup_of("antonym")))], store.get(PrefixMatching(MODEL)),
                                 rank_of(store, "antonym"))
    assert calm(app)
    heads = tables.heads_of(table, 4, of, without)
    assert heads
    assert app.text_input(key="off").value == str(Ablation(heads, frozenset({1})))


def test_at_0_shots_there_are_no_function_vectors(explorer: Explorer, store: Store):
    made_up.fill(store, [*scores(), *importance(["antonym"], (0,))], INFO)
    app = explorer("induction", task="antonym", view="Function vectors", shots="0")
    assert calm(app)
    assert "choose 1 shot or more" in words(app)


def test_knocking_heads_out_is_read_at_a_share_and_told_by_the_paired_difference(explorer: Explorer, store: Store):
    tasks = [made_up.task_id(task) for task in MINI]
    units = made_up.knock_outs(setup_of("antonym"), tasks)
    made_up.fill(store, units, INFO)
    app = explorer("induction", task="antonym", view="Knock-out")
    assert calm(app), (app.error, app.exception)
    assert "Not measured yet" not in words(app)
    found = {unit.sort: [store.get(unit)] for unit in units}
    table = tables.knock_out_table(found)
    effects = [store.get(made_up.vectors(setup_of(task.name))) for task in tasks if task.name != "antonym"]
    tests = stats.mean_effects([(np.array(one.effects)[:, store.get(made_up.writes(setup_of("antonym"))).alive()],
                                 one.draws) for one in effects])
    n_told = int(((tests.mean > 0) & (stats.holm(tests.p.tolist()) < 0.05)).sum())
    assert n_told > 0
    for at in (0.1, 0.2):
        app.select_slider(key="knocked at").set_value(100 * at).run()
        told, _ = verdicts.which_are_needed(table, tables.knock_out_pairs(found, at), at, "antonym", n_told)
        assert told in words(app)
    assert "ranked on 13 other tasks" in words(app)
    app.segmented_control(key="knocked to").set_value("mean").run()
    assert calm(app)
    assert "(7 of 7 results)" in words(app)
    app.segmented_control(key="knocked to").set_value("zero").run()
    app.segmented_control(key="knocked on").set_value("all tasks").run()
    assert f"({7 * 13} of {7 * 14} results)" in words(app)
    assert "the mean of 1 task" in words(app)


def answers_of(store: Store, tasks: Iterable[str], off: Ablation = INTACT) -> dict[str, list]:
    """What is stored of tasks behind each sort of labels."""
    found = [[store.get(unit) for unit in made_up.demonstrations(setup_of(task), off)[:4]] for task in tasks]
    return {labels: [of_task[i] for of_task in found] for i, labels in enumerate(tables.LABELS)}


def test_demonstrations_are_told_apart_by_their_labels_with_and_without_a_mask(explorer: Explorer, store: Store,
                                                                               monkeypatch):
    off = Ablation(frozenset({Head(1, 2)}))
    setup = setup_of("antonym")
    made_up.fill(store, [*made_up.demonstrations(setup), *made_up.demonstrations(setup, off),
                         *made_up.head_oracles(setup)], INFO)
    app = explorer("induction", task="antonym", view="Demonstrations", off="L1H2")
    assert calm(app), (app.error, app.exception)
    assert "Not measured yet" not in words(app)
    found = {"intact": answers_of(store, ["antonym"]), "ablated": answers_of(store, ["antonym"], off)}
    accuracies, parts = tables.labels_table(found), tables.parts_table(found)
    assert verdicts.recognised(parts, "antonym", "L1H2") in words(app)
    intact = accuracies[accuracies["model"] == "intact"].set_index("labels")["accuracy"]
    at = {labels: wording.percent(accuracy) for labels, accuracy in intact.items()}
    assert (f"antonym: {at['0 shots']} at 0 shots, {at['true labels']} behind true labels, {at['shuffled labels']} "
            "behind shuffled labels") in words(app)
    heads = tables.parts_heads_table([tuple(map(store.get, made_up.head_oracles(setup)))], off)
    for part in tables.PARTS:
        assert verdicts.part_needs(heads, part, "antonym") in words(app)
    shown = run_shown_python(app, monkeypatch)
    for lines, table in zip(shown, (accuracies, parts, *(heads[heads["part"] == part] for part in tables.PARTS)),
                            strict=True):
        assert lines["printed"].strip() == table.to_string().strip()


def test_all_tasks_are_averaged_and_those_that_are_missing_are_offered(explorer: Explorer, store: Store):
    made_up.fill(store, [unit for task in list(MINI)[:3] for unit in made_up.demonstrations(setup_of(task))[:4]], INFO)
    app = explorer("induction", task="antonym", view="Demonstrations")
    app.segmented_control(key="labels of").set_value("all tasks").run()
    assert calm(app), (app.error, app.exception)
    parts = tables.parts_table({"intact": answers_of(store, list(MINI)[:3])})
    assert verdicts.recognised(parts, "the mean of 3 tasks") in words(app)
    assert f"({4 * 11} of {4 * 14} results)" in words(app)
    assert f"({3 * 14} of {3 * 14} results)" in words(app)


def test_at_0_shots_there_are_no_demonstrations(explorer: Explorer, store: Store):
    app = explorer("induction", task="antonym", view="Demonstrations", shots="0")
    assert calm(app)
    assert "At 0 shots there are no demonstrations: choose 1 shot or more" in words(app)


def test_a_mask_is_answered_at_once_by_a_small_model(explorer: Explorer, store: Store, small, monkeypatch):
    is_here(monkeypatch, small)
    app = explorer("induction", task="label_kind", view="Demonstrations", off="L1H2", shots="1", n="8")
    assert calm(app), (app.error, app.exception)
    setup = Setup(small.id, made_up.task_id("label_kind"), 1, n_examples=8, draws=10)
    assert all(unit in store for unit in made_up.demonstrations(setup, Ablation(frozenset({Head(1, 2)})))[:4])
    assert "(4 of 4 results)" in words(app)  # the intact model's are offered
