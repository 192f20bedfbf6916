"""The Tour beyond the study: which heads carry what examples ask for, and whether the cheap score is right."""

from dataclasses import replace

import numpy as np
import pytest

from backend import tables
from backend.kinds import Evaluation, HeadOracle, HeadScores, Sweep
from backend.kinds.knock_out import INDUCTION_ALONE, SHARES, VECTORS_ALONE
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import Setup, parse_exact
from pages.shared import verdicts
from pages.shared import words as wording
from tests.pages import made_up
from tests.pages.conftest import INFO, Explorer, calm, setup_of, words

TASKS = list(map(made_up.task_id, MINI))
AT = SHARES.index(0.1)


def curves(of: Setup) -> dict[str, Sweep]:
    found = {}
    for unit in made_up.knock_outs(of, TASKS):
        record = made_up.record(unit, INFO)
        assert isinstance(record, Sweep)
        found[unit.sort] = record
    return found


def test_the_task_that_shuffled_answers_mislead_most_comes_first_of_those_with_curves(
        explorer: Explorer, store: Store):
    lost = {}
    for task in TASKS:
        record = made_up.record(unit := made_up.vectors(setup_of(task.name)), INFO)
        made_up.fill(store, [unit], INFO)
        lost[task.name] = record.lost  # type: ignore[attr-defined]
    ranked = sorted(lost, key=lambda name: -lost[name])
    assert explorer("tour", step="8").selectbox("tour which task").value == ranked[0]
    made_up.fill(store, [unit for name in ranked[-2:] for unit in made_up.knock_outs(setup_of(name), TASKS)], INFO)
    assert explorer("tour", step="8").selectbox("tour which task").value == ranked[-2]


@pytest.mark.parametrize("name", ["antonym", "pick", "label_mood"])
def test_a_guess_which_heads_are_missed_is_answered_by_the_curves(explorer: Explorer, store: Store, name: str):
    setup = setup_of(name)
    made_up.fill(store, [*made_up.knock_outs(setup, TASKS), Evaluation(setup)], INFO)
    found = {sort: [record] for sort, record in curves(setup).items()}
    told, right = verdicts.which_are_needed(tables.knock_out_table(found), tables.knock_out_pairs(found, 0.1), 0.1,
                                            name)
    app = explorer("tour", step="8")
    assert app.selectbox("tour which task").value == name
    assert told not in words(app)
    app.radio[0].set_value(app.radio[0].options[right]).run()
    assert calm(app)
    assert f"You guessed right: **{app.radio[0].options[right]}**" in words(app)
    assert told in words(app)


def test_either_sort_is_switched_off_by_a_button_and_accuracy_follows(explorer: Explorer, store: Store):
    setup = setup_of("antonym")
    found = curves(setup)
    masks = [parse_exact(found[sort].ablations[AT]) for sort in (VECTORS_ALONE, INDUCTION_ALONE)]
    made_up.fill(store, [*made_up.knock_outs(setup, TASKS), Evaluation(setup),
                         *(Evaluation(setup, mask) for mask in masks if mask)], INFO)
    app = explorer("tour", step="8")
    app.radio[0].set_value(app.radio[0].options[0]).run()
    for i, mask in enumerate(masks):
        button = app.button(f"tour which offer {i}")
        assert button.disabled == (not mask)
        if mask:
            button.click().run()
            assert calm(app)
            record = made_up.record(Evaluation(setup, mask), INFO)
            assert app.metric[0].value == wording.percent(float(record.outcomes().mean()))  # type: ignore[attr-defined]
            assert f"{wording.components(mask, 2)} · " in words(app)
    assert any(masks)


def test_the_first_head_by_its_score_stands_beside_what_its_removal_costs(explorer: Explorer, store: Store):
    setup = setup_of("antonym")
    unit, oracle = made_up.importance(setup), HeadOracle(setup)
    made_up.fill(store, [unit, oracle, Evaluation(setup)], INFO)
    scores, sweep = made_up.record(unit, INFO), made_up.record(oracle, INFO)
    assert isinstance(scores, HeadScores)
    assert isinstance(sweep, Sweep)
    table = tables.calibration_table([scores], [sweep], "per-token")
    told, right = verdicts.first_by_score(table, "antonym")
    app = explorer("tour", step="9")
    assert app.selectbox("tour truth task").value == "antonym"
    app.radio[0].set_value(verdicts.TRUE_RANK[right]).run()
    assert calm(app)
    assert f"You guessed right: **{verdicts.TRUE_RANK[right]}**" in words(app)
    assert told in words(app)
    assert "score ranks 12 heads" in words(app) or "It is not told that the per-token score ranks 12" in words(app)


def test_without_losses_the_step_offers_to_measure_them(explorer: Explorer, store: Store):
    setup = setup_of("antonym")
    unit, oracle = made_up.importance(setup), HeadOracle(setup)
    made_up.fill(store, [unit], INFO)
    store.put(oracle, replace(made_up.record(oracle, INFO), gold=()))  # type: ignore[type-var]
    app = explorer("tour", step="9")
    app.radio[0].set_value(verdicts.TRUE_RANK[0]).run()
    assert calm(app)
    assert "You guessed" not in words(app)
    assert "Not measured yet" in words(app)


def test_a_dead_head_is_not_ranked_in_the_story(explorer: Explorer, store: Store):
    setup = setup_of("antonym")
    unit, oracle = made_up.importance(setup), HeadOracle(setup)
    made_up.fill(store, [unit, oracle, Evaluation(setup), made_up.writes(setup)], INFO)
    writes = made_up.record(made_up.writes(setup), INFO)
    n = int(np.sum(writes.alive()))  # type: ignore[attr-defined]
    assert n < len(INFO.heads)
    app = explorer("tour", step="9")
    app.radio[0].set_value(verdicts.TRUE_RANK[0]).run()
    assert f"the first of {n} heads by its score" in words(app)
