"""A model with attention heads in some of its layers: no page counts, ranks or offers the heads that are not there."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from backend import stats
from backend.kinds import Copying, Evaluation, FFNOracle, HeadScores, PrefixMatching, Unit
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import Ablation, Setup, parse_exact
from pages.map import scales
from pages.shared import verdicts
from pages.shared import words as wording
from tests.models.small import small_model
from tests.pages import made_up, maps
from tests.pages.conftest import Explorer, are_here, calm, is_here, words
from tests.pages.shown import run_shown_python

HALF = replace(made_up.model_info(6, 4), headless=(0, 2, 4))
MODEL, THERE = made_up.model_id(HALF), [1, 3, 5]  # 12 heads of 24 places
ARE_THERE = np.isin(np.indices((HALF.n_layers, HALF.n_heads))[0], THERE)
ABSENT = "no attention heads in this layer: linear attention"


def setup(task: str, n_shots: int = 5) -> Setup:
    return made_up.setup(MODEL, task, n_shots)


def every_task(shots: tuple[int, ...] = (5,)) -> list[Unit]:
    return [made_up.importance(setup(task, n)) for n in shots for task in MINI]


@pytest.fixture
def filled(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Unit]], None]:
    """Store results of the model, which takes the bundled one's place."""
    are_here(monkeypatch, HALF)
    return lambda units: made_up.fill(store, units, HALF)


def record(task: str, n_shots: int = 5) -> HeadScores:
    found = made_up.record(made_up.importance(setup(task, n_shots)), HALF)
    assert isinstance(found, HeadScores)
    return found


def scores(task: str, n_shots: int = 5) -> np.ndarray:
    """Of the heads that there are."""
    return record(task, n_shots).scores("per-token")[THERE]


def mean(unit: PrefixMatching | Copying) -> np.ndarray:
    return np.array(made_up.record(unit, HALF).mean)[THERE]  # type: ignore[attr-defined]


def is_honest(given: maps.Given) -> bool:
    """Whether a map says of the layers without heads what they are, and no number."""
    drawn = given.map
    return (drawn["headless"], drawn["absent"], given.answer["headless"]) == ([0, 2, 4], ABSENT, [0, 2, 4]) and all(
        drawn[what] is None or not any(cell is not None for layer in (0, 2, 4) for cell in (drawn[what][layer] or ()))
        for what in ("values", "ranks", "shades"))


def test_made_up_results_are_zero_where_there_are_no_heads():
    assert not record("antonym").scores()[[0, 2, 4]].any()
    assert scores("antonym").all()


def test_heads_counts_and_ranks_the_heads_that_there_are(explorer: Explorer, filled: Callable[[list[Unit]], None]):
    filled(every_task())
    app = explorer("heads", task="antonym")
    half = stats.concentration(scores("antonym"))
    stable = stats.bootstrap_stability(record("antonym"), heads=ARE_THERE)
    assert calm(app)
    assert f"{half} heads of 12 hold half of the importance for antonym" in words(app)
    assert f"Two halves of the examples rank the heads alike at ρ = {stable.split_half:.2f}" in words(app)
    assert stable.split_half != stats.bootstrap_stability(record("antonym")).split_half
    assert f"evenly: {wording.percent(1 / 3)} each" in words(app)
    table = app.dataframe[0].value
    assert sorted(table["head"]) == sorted(map(str, HALF.heads))
    given = maps.given(app)["importance"]
    assert is_honest(given)
    assert [given.map["ranks"][layer] for layer in THERE] == scales.ranks(scores("antonym"))
    assert given.map["scale"] == scales.best_scale(scores("antonym"))


def test_heads_sets_maps_against_each_other_where_both_have_heads(
        explorer: Explorer, filled: Callable[[list[Unit]], None], monkeypatch: pytest.MonkeyPatch):
    filled(every_task())
    rhos = stats.spearman_matrix([scores(task) for task in MINI])
    app = explorer("heads", task="antonym", view="All tasks")
    assert calm(app)
    assert wording.alike("The maps", stats.off_diagonal(rhos)) in words(app)
    assert any(str(rhos) in shown["printed"] for shown in run_shown_python(app, monkeypatch))
    app = explorer("heads", task="antonym", view="Difference")
    other = str(app.selectbox("other task").value)
    assert f"({wording.rho(stats.spearman(scores('antonym'), scores(other)))})" in words(app)
    assert is_honest(maps.given(app)["difference"])


def test_lab_offers_and_switches_the_heads_that_there_are(explorer: Explorer, filled: Callable[[list[Unit]], None]):
    filled([made_up.importance(setup("antonym")), PrefixMatching(MODEL), Evaluation(setup("antonym"))])
    app = explorer("lab", task="antonym")
    app.toggle("live").set_value(False).run()
    assert calm(app)
    assert is_honest(maps.given(app)["lab grid"])
    app.session_state["presets"] = True  # opened
    app.run()
    app.slider("preset share").set_value(50).run()
    assert app.slider("preset k").max == 12
    app.button("preset lowest").click().run()
    places = stats.order(scores("antonym"))[:6]
    assert parse_exact(app.session_state["off"]).heads == {HALF.heads[i] for i in places}
    app.button("invert").click().run()
    assert len(parse_exact(app.session_state["off"]).heads) == 6


def test_a_head_that_is_not_there_is_refused_in_the_address(explorer: Explorer,
                                                            filled: Callable[[list[Unit]], None]):
    filled([])
    app = explorer("lab", task="antonym", off="L0H1, L1H1")
    assert maps.given(app)["lab grid"].off == "L1H1"
    assert any("6 layers × 4 heads in 3 of them · " in caption.value for caption in app.caption)
    assert any("'L0H1' is not in this model" in caption.value for caption in app.caption)


def test_induction_compares_and_ranks_the_heads_that_there_are(
        explorer: Explorer, filled: Callable[[list[Unit]], None], monkeypatch: pytest.MonkeyPatch):
    filled([PrefixMatching(MODEL), Copying(MODEL), *every_task()])
    prefix, copying = mean(PrefixMatching(MODEL)), mean(Copying(MODEL))
    app = explorer("induction", task="antonym")
    assert calm(app)
    assert f"Prefix matching and copying {wording.agreement(stats.spearman(prefix, copying))}" in words(app)
    assert wording.holders(stats.concentration(prefix), 12) in words(app)
    assert all(map(is_honest, maps.given(app).values()))
    app.number_input(key="top k").set_value(12).run()
    app.button(key="choose top").click().run()
    assert parse_exact(app.text_input(key="off").value) == Ablation(frozenset(HALF.heads))
    app = explorer("induction", task="antonym", view="Against importance")
    rho = stats.spearman(prefix, scores("antonym"))
    assert f"Importance for antonym and prefix matching {wording.agreement(rho)}" in words(app)
    table = app.dataframe[0].value
    assert sorted(table["importance rank"]) == list(range(1, 13))
    assert set(table["head"]) == set(map(str, HALF.heads))
    app = explorer("induction", task="antonym", view="Capacity")
    ranking = stats.aggregate([scores(task) for task in MINI])
    left = stats.retained_curve(prefix, ranking, [p / 10 for p in range(10)])
    assert f"prefix matching keeps {wording.percent(left[7])} by the mean of 14 tasks" in words(app)
    table = run_shown_python(app, monkeypatch)[0]["table"]
    assert table[table["ranking"] == "the mean of 14 tasks"]["retained"].tolist() == left.tolist()


def test_the_tour_counts_and_compares_the_heads_that_there_are(explorer: Explorer,
                                                               filled: Callable[[list[Unit]], None]):
    filled([PrefixMatching(MODEL), *every_task()])
    app = explorer("tour", step="2")
    app.radio[0].set_value("it depends on the head").run()
    assert list(map(is_honest, maps.given(app).values())) == [True]
    app = explorer("tour", step="3")
    app.radio[0].set_value("less than a quarter").run()
    n = int((mean(PrefixMatching(MODEL)) >= 0.3).sum())
    answer = verdicts.LOOK_BACK[verdicts.looking_back(n, 12)]
    assert calm(app)
    assert f"{wording.how_many(n, 'head').capitalize()} of 12 look back" in words(app)
    assert f"**{answer}**" in words(app)
    assert list(map(is_honest, maps.given(app).values())) == [True]
    app = explorer("tour", step="6")
    app.radio[0].set_value("the same kind").run()
    tasks = list(MINI.values())
    rhos = stats.spearman_matrix([scores(task.name) for task in tasks])
    across = [rhos[i, j] for i, a in enumerate(tasks) for j in range(i) if a.group != tasks[j].group]
    assert calm(app)
    assert f"against {np.mean(across):.2f}" in words(app)
    assert "over 12 heads" in words(app)


def test_overlap_compares_the_rankings_of_the_heads_that_there_are(
        explorer: Explorer, filled: Callable[[list[Unit]], None], monkeypatch: pytest.MonkeyPatch):
    filled(every_task((0, 1, 5)))
    app = explorer("overlap", task="antonym")
    rhos = stats.spearman_matrix([scores(task) for task in MINI])
    b = str(app.selectbox(key="overlap tasks:b").value)
    low, high = stats.bootstrap_spearman(record("antonym"), record(b), heads=ARE_THERE)
    assert calm(app)
    assert f"14 tasks rank their heads alike at {wording.rho(stats.off_diagonal(rhos).mean())}" in words(app)
    assert (f"antonym and {b} {wording.agreement(stats.spearman(scores('antonym'), scores(b)))} (95\u00a0%: {low:.2f} "
            f"to {high:.2f})") in words(app)
    same, chance = stats.topk_overlap(scores("antonym"), scores(b), 0.2), stats.topk_overlap_chance(12, 2)
    assert f"the two share {wording.percent(same)} · chance {wording.percent(chance)}" in words(app)
    assert all(map(is_honest, maps.given(app).values()))
    matrix, pair = run_shown_python(app, monkeypatch)
    assert matrix["rhos"].tolist() == rhos.tolist()
    assert f"{stats.spearman(scores('antonym'), scores(b)):.6f}" in pair["printed"]
    app = explorer("overlap", task="antonym", view="Shots")
    rho = np.mean([stats.spearman(scores(task, 0), scores(task, 5)) for task in MINI])
    assert f"0 and 5 shots agree at {wording.rho(float(rho))}" in words(app)
    app = explorer("overlap", view="Top heads")
    everything = [scores(task) for task in MINI]
    overlap = stats.off_diagonal(stats.overlap_matrix(everything, 0.2)).mean()
    assert (f"Tasks share {wording.percent(overlap)} of their top 20 % of heads on average, chance would give "
            f"{wording.percent(chance)}") in words(app)
    app = explorer("overlap", view="Heads that many need")
    counts = stats.topk_counts(everything, 0.2)
    assert f"{(counts == 0).sum()} of 12 heads are in no task's top" in words(app)
    given = next(iter(maps.given(app).values()))
    assert is_honest(given)
    assert [given.map["values"][layer] for layer in THERE] == counts.tolist()


def test_ffns_and_heads_are_set_beside_each_other_in_the_layers_that_have_both(
        explorer: Explorer, filled: Callable[[list[Unit]], None]):
    offs = [Ablation(frozenset(head for head in HALF.heads if head.layer == layer)) for layer in range(6)]
    filled([FFNOracle(setup("antonym")), made_up.importance(setup("antonym")),
            *(Evaluation(setup("antonym"), off) for off in (Ablation(), *offs))])
    app = explorer("ffns", task="antonym", view="FFNs and heads")
    assert calm(app)
    top = THERE[int(stats.layer_shares(scores("antonym")).argmax())]
    assert f"heads matter most in layer {top}" in words(app)
    assert "over 3 layers" in words(app)
    app.segmented_control("heads by").set_value("switching them off").run()
    assert calm(app)
    assert "over 3 layers" in words(app)


def test_the_playground_offers_layers_that_have_heads(explorer: Explorer, store: Store,
                                                      monkeypatch: pytest.MonkeyPatch):
    loaded = small_model("qwen3_next")
    there = [layer for layer in range(loaded.info.n_layers) if layer not in loaded.info.headless]
    is_here(monkeypatch, loaded)
    app = explorer("playground", task="antonym", shots="1", at_layer=str(there[-1]), at_head="1")
    assert calm(app), (app.error, app.exception)
    assert app.selectbox("at_layer").options == list(map(str, there))
    assert f"L{there[-1]}H1 looks from the last token" in words(app)
    app = explorer("playground", task="antonym", shots="1", at_layer=str(loaded.info.headless[0]), at_head="1")
    assert calm(app), (app.error, app.exception)
    assert f"L{there[len(there) // 2]}H1 looks from the last token" in words(app)
