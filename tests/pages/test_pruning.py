"""The Pruning page draws what is stored: curves, breaking points, the map, other tasks' rankings, and masks for Lab."""

from collections.abc import Iterable

import pytest

from backend import tables
from backend.kinds import Unit
from backend.models.info import weights
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import parse_exact
from pages.shared import charts, lecture, verdicts
from pages.shared import words as wording
from tests.models.small import small_model
from tests.pages import made_up
from tests.pages.conftest import INFO, Explorer, calm, is_here, setup_of, words

VIEWS = ("Heads", "FFNs", "Heads and FFNs", "Other tasks' rankings", "Learned gates")
ORDERS = ("own", "aggregate:mini", "reverse:own", *(f"random:{seed}" for seed in range(5)))


def curves_of(*tasks: str, what: str = "heads") -> Iterable[Unit]:
    return (made_up.pruning(setup_of(task), what, order) for task in tasks for order in ORDERS)


def transfers(*tasks: str) -> Iterable[Unit]:
    return (made_up.pruning(setup_of(task), "heads", "own" if task == other else f"task:{other}")
            for task in tasks for other in MINI)


def test_an_empty_store_is_said_to_be_empty_in_every_view(explorer: Explorer):
    for scope in ("This task", "All tasks"):
        for view in VIEWS:
            app = explorer("pruning", task="antonym", scope=scope, view=view)
            assert calm(app), (scope, view)
            assert "Not measured yet" in words(app)


def test_the_title_says_how_far_the_stored_curve_goes(explorer: Explorer, store: Store):
    made_up.fill(store, curves_of("antonym"), INFO)
    app = explorer("pruning", task="antonym")
    record = store.get(made_up.pruning(setup_of("antonym"), "heads", "own"))
    accuracy = record.accuracy()
    fine = next((i - 1 for i, a in enumerate(accuracy) if a < 0.9 * accuracy[0]), len(accuracy) - 1)
    assert calm(app)
    share = wording.percent(len(parse_exact(record.ablations[fine]).heads) / 12)  # what is really gone
    assert f"By its own ranking, {share} of the heads (95" in words(app)
    shown = app.dataframe[0].value.set_index("ranking")
    assert shown.loc[tables.OWN, "accuracy there"] == accuracy[fine]
    n_off = len(parse_exact(record.ablations[fine]).heads)
    assert shown.loc[tables.OWN, "that is"] == n_off
    assert shown.loc[tables.OWN, "of all parameters"] == pytest.approx(n_off * weights(INFO).head / INFO.n_params)


def test_the_band_is_the_lowest_and_highest_of_the_random_orders(store: Store):
    made_up.fill(store, curves_of("antonym"), INFO)
    records = [store.get(made_up.pruning(setup_of("antonym"), "heads", f"random:{seed}")) for seed in range(5)]
    stored = [record.accuracy() for record in records]
    band = tables.band_table([tables.curve_table([record], "r", weights(INFO), INFO.n_params) for record in records],
                             "random")
    assert band["low"].tolist() == [min(a) for a in zip(*stored, strict=True)]
    assert band["high"].tolist() == [max(a) for a in zip(*stored, strict=True)]


def test_a_point_s_mask_is_chosen_and_leads_to_lab(explorer: Explorer, store: Store):
    made_up.fill(store, curves_of("antonym"), INFO)
    app = explorer("pruning", task="antonym")
    mask = store.get(made_up.pruning(setup_of("antonym"), "heads", "own")).ablations[5]
    app.selectbox(key="point heads").set_value(mask).run()
    assert calm(app)
    assert app.text_input(key="off").value == mask
    assert app.selectbox(key="point heads").value == mask
    clicked = {"selection": {charts.CLICK: [{"mask": mask}]}}
    assert charts.picked_mask(clicked) == mask
    assert charts.picked_mask({"selection": {charts.CLICK: [{"mask": ""}]}}) is None


def test_another_share_moves_the_breaking_point(explorer: Explorer, store: Store):
    made_up.fill(store, curves_of("antonym"), INFO)
    app = explorer("pruning", task="antonym")
    app.slider(key="broken below").set_value(50).run()
    assert "below 50 % of its intact accuracy" in words(app).replace("\u00a0", " ")
    record = store.get(made_up.pruning(setup_of("antonym"), "heads", "own"))
    table = tables.curve_table([record], "own ranking", weights(INFO), INFO.n_params)
    limits = tables.limits_table(table, "heads", 0.5)
    assert app.dataframe[0].value["can go"][0] == limits["can go"][0]


def test_the_mean_over_tasks_is_the_mean_of_what_is_stored(explorer: Explorer, store: Store):
    made_up.fill(store, curves_of(*MINI, what="ffns"), INFO)
    app = explorer("pruning", scope="All tasks", view="FFNs")
    records = [store.get(made_up.pruning(setup_of(task), "ffns", "own")) for task in MINI]
    table = tables.curve_table(records, "own ranking", weights(INFO), INFO.n_params)
    assert table["accuracy"].tolist() == pytest.approx(
        [sum(r.accuracy()[i] for r in records) / len(records) for i in range(19)])
    assert calm(app)
    assert "the mean of 14 tasks" in words(app)
    assert "Not measured yet" not in words(app)


def test_the_map_names_the_most_that_can_go_together(explorer: Explorer, store: Store):
    made_up.fill(store, [made_up.pruning(setup_of("antonym"), "combined", "own")], INFO)
    app = explorer("pruning", task="antonym", view="Heads and FFNs")
    record = store.get(made_up.pruning(setup_of("antonym"), "combined", "own"))
    each = weights(INFO)
    fine = [(len((mask := parse_exact(text)).heads) * each.head + len(mask.ffns) * each.ffn, mask)
            for text, accuracy in zip(record.ablations, record.accuracy(), strict=True)
            if accuracy >= 0.9 * record.accuracy()[0]]
    most = max(fine, key=lambda one: one[0])[1]
    heads, ffns = len(most.heads) / 12, len(most.ffns) / 3
    assert calm(app)
    shares = f"{wording.percent(heads)} of the heads and {wording.percent(ffns)} of the FFNs"
    assert f"{shares} can go together" in words(app)


def test_other_tasks_rankings_are_compared_at_one_share(explorer: Explorer, store: Store):
    made_up.fill(store, transfers(*MINI), INFO)
    app = explorer("pruning", task="antonym", view="Other tasks' rankings")
    others = [store.get(made_up.pruning(setup_of("antonym"), "heads", f"task:{other}")).accuracy()[5]
              for other in MINI if other != "antonym"]
    own = store.get(made_up.pruning(setup_of("antonym"), "heads", "own")).accuracy()[10]  # 5 % apart
    assert calm(app)
    assert (f"antonym keeps {wording.percent(own)} by its own ranking and "
            f"{wording.percent(sum(others) / len(others))} on average by other tasks'") in words(app)
    everything = explorer("pruning", scope="All tasks", view="Other tasks' rankings")
    assert calm(everything)
    assert "the tasks keep " in words(everything)


def test_with_some_curves_missing_the_others_are_drawn(explorer: Explorer, store: Store):
    made_up.fill(store, [made_up.pruning(setup_of("antonym"), "heads", order) for order in ORDERS[1:5]], INFO)
    app = explorer("pruning", task="antonym")
    assert calm(app)
    assert "By the aggregate ranking" in words(app)
    assert "of 2 random orders" in words(app)
    assert "(4 of 8 results)" in words(app)


def test_a_damaged_result_counts_as_missing(explorer: Explorer, store: Store):
    made_up.fill(store, curves_of("antonym"), INFO)
    store._cache.set(made_up.pruning(setup_of("antonym"), "heads", "own").key, b"no such thing")
    app = explorer("pruning", task="antonym")
    assert calm(app)
    assert "(1 of 8 results)" in words(app)
    assert "damaged" in words(app)


FITTED = ("iterative", "greedy", "gates")


def test_fitted_orders_that_are_stored_are_curves_with_areas_and_tests_of_their_own(explorer: Explorer, store: Store):
    units = [*curves_of("antonym"), *(made_up.pruning(setup_of("antonym"), "heads", order) for order in FITTED[::2])]
    made_up.fill(store, units, INFO)
    app = explorer("pruning", task="antonym")
    assert calm(app)
    assert "Not measured yet" not in words(app)
    shown = {name: [[store.get(made_up.pruning(setup_of("antonym"), "heads", order)) for order in orders]]
             for name, orders in ((tables.OWN, ["own"]), (tables.AGGREGATE, ["aggregate:mini"]), (
                 tables.REVERSED, ["reverse:own"]), (tables.ITERATIVE, ["iterative"]), (tables.GATES, ["gates"]))}
    shown[tables.RANDOM] = [[store.get(made_up.pruning(setup_of("antonym"), "heads", f"random:{seed}"))]
                            for seed in range(5)]
    areas, tests = tables.areas_table(shown), tables.equal_heads_table(shown)
    assert verdicts.orders_apart(areas, tests, "antonym") in words(app)
    (limits, compared) = app.dataframe[0].value, app.dataframe[1].value
    assert set(limits["ranking"]) == {*shown}
    assert compared["accuracy"].tolist() == tests["accuracy"].tolist()
    assert compared["p (Holm)"].tolist() == tests["p (Holm)"].tolist()


def test_a_fitted_order_that_is_not_stored_is_offered_once_it_is_asked_for(explorer: Explorer, store: Store):
    made_up.fill(store, curves_of("antonym"), INFO)
    app = explorer("pruning", task="antonym")
    assert "Not measured yet" not in words(app)
    pills = next(one for one in app.button_group if one.label == "Orders fitted to training prompts")
    pills.set_value([tables.GREEDY]).run()
    assert calm(app)
    assert "(1 of 9 results)" in words(app)


def test_learned_gates_are_a_map_with_their_classes_counted(explorer: Explorer, store: Store):
    made_up.fill(store, [made_up.gates(setup_of(task)) for task in MINI], INFO)
    app = explorer("pruning", task="antonym", view="Learned gates")
    assert calm(app)
    table = tables.gates_table([store.get(made_up.gates(setup_of("antonym")))],
                               heads=store.get(made_up.writes(setup_of("antonym"))).alive())
    assert verdicts.gates_say(table, "antonym") in words(app)
    assert app.dataframe[0].value["role"].tolist() == sorted(table["role"], reverse=True)
    every = explorer("pruning", scope="All tasks", view="Learned gates")
    assert calm(every)
    assert "of the 14 tasks" in words(every)


def test_a_checkpoint_is_written_of_what_is_chosen(explorer: Explorer, store: Store, monkeypatch, tmp_path):
    is_here(monkeypatch, small_model("opt"))
    app = explorer("pruning", task="antonym", off="L1H2")
    app.text_input(key="checkpoint folder").set_value(str(tmp_path / "out")).run()
    assert f"write-pruned --model bundled --off L1H2 --to {tmp_path / 'out'}" in " ".join(
        one.value for one in app.code)
    app.button(key="write checkpoint").click().run()
    assert calm(app)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert "within 0 nats" in " ".join(one.value for one in app.success)
    app.button(key="write checkpoint").click().run()
    assert "is there already" in " ".join(one.value for one in app.error)


def test_nobody_else_writes_to_the_machine(explorer: Explorer, monkeypatch):
    monkeypatch.setattr(lecture, "at_the_machine", lambda: False)
    app = explorer("pruning", task="antonym", off="L1H2")
    assert not [one for one in app.button if one.key == "write checkpoint"]


def test_an_unknown_view_in_the_address_shows_the_first(explorer: Explorer):
    app = explorer("pruning", view="no such view")
    assert calm(app)
    assert app.segmented_control(key="view").value == VIEWS[0]
