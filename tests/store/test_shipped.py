"""The shipped results are what the shipped model gives: a sample, measured again."""

import random

import pytest

from backend.bundled import checkpoints
from backend.kinds import (
    Attribution,
    Copying,
    Evaluation,
    FFNOracle,
    FunctionVectors,
    HeadGates,
    HeadImportance,
    HeadOracle,
    Influence,
    Iterative,
    KnockOut,
    Model,
    PrefixMatching,
    Pruning,
    Relabelled,
    ShuffledHeads,
    Writes,
    compute,
)
from backend.kinds.function_vectors import MEANS
from backend.kinds.knock_out import EVERY_SORT, ranked_on
from backend.kinds.means import N_TRAIN
from backend.kinds.writes import N_PROBE
from backend.models import smollm2
from backend.models.identity import identify
from backend.models.info import BUNDLED
from backend.models.loading import load_model
from backend.places import SHIPPED
from backend.runs.plan import identify_tasks
from backend.store.entries import differences
from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.tasks.paper import HELD_OUT, STUDY
from backend.tasks.task import DRAWS
from backend.values import N_FIT, Ranking, Setup

KINDS = ("evaluation", "head_importance", "ffn_oracle", "pruning", "function_vectors", "labels", "influence",
         "attribution")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("live"), shipped=SHIPPED)


def test_every_task_and_shot_number_is_there_for_the_model_as_it_is(shipped):
    model = identify(BUNDLED)
    training = {one.name for one in checkpoints.known()[:-1]}
    others = {*training, smollm2.NAME}
    assert {unit.model for unit in shipped.units() if unit.model.name not in others} == {model, model.weights}
    assert training < {unit.model.name for unit in shipped.units()}
    mini = identify_tasks("mini")
    for task in mini:
        for n_shots in (0, 1, 5):
            setup = Setup(model, task, n_shots, draws=DRAWS)
            for unit in (Evaluation(setup), HeadImportance(setup.with_(n_examples=N_TRAIN.default)), FFNOracle(setup),
                         Pruning(setup), Pruning(setup, "ffns"), Pruning(setup, "heads", Ranking.by(*mini))):
                assert unit in shipped, str(unit)
        for unit in (Relabelled(setup), Relabelled(setup, "made-up"), ShuffledHeads(setup), Influence(setup),
                     Pruning(setup, "combined"), HeadOracle(setup), FunctionVectors(setup.with_(n_examples=MEANS)),
                     Attribution(setup.with_(n_examples=N_TRAIN.default)),
                     Iterative(setup.with_(n_examples=N_FIT)), HeadGates(setup.with_(n_examples=N_FIT)),
                     *(KnockOut(setup, sort, ranked_on(task, mini)) for sort in EVERY_SORT)):
            assert unit in shipped, str(unit)
    for unit in (*(PrefixMatching(model, variant) for variant in PrefixMatching.VARIANTS),
                 *(Copying(model, variant) for variant in Copying.VARIANTS), Model(model)):
        assert unit in shipped, str(unit)


def test_the_real_model_s_accuracies_are_there_of_every_task_and_shot_number_and_all_the_tour_asks(shipped):
    (model,) = {unit.model for unit in shipped.units() if unit.model.name == smollm2.NAME and unit.model.dtype}
    tasks = {unit.task for unit in shipped.units() if unit.model == model and unit.task is not None}
    assert {task.name for task in tasks} >= {*MINI, *STUDY, *HELD_OUT}
    for task in tasks:
        for n_shots in (0, 1, 5):
            assert Evaluation(Setup(model, task, n_shots, draws=DRAWS)) in shipped, (task, n_shots)
    mini = identify_tasks("mini")
    for task in mini:
        setup = Setup(model, task, 5, draws=DRAWS)
        for unit in (HeadImportance(setup.with_(n_examples=N_TRAIN.default)), FFNOracle(setup),
                     Writes(setup.with_(n_examples=N_PROBE)), FunctionVectors(setup.with_(n_examples=MEANS)),
                     Pruning(setup, "ffns"), *(Pruning(setup, "heads", ranking) for ranking in (
                         Ranking.by(task), Ranking.by(*mini), Ranking.random(0, N_PROBE)))):
            assert unit in shipped, str(unit)
    for unit in (PrefixMatching(model), Copying(model), Model(model)):
        assert unit in shipped, str(unit)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_measured_again_is_the_same(shipped, tmp_path, kind):
    units = [unit for unit in shipped.units(kind) if unit.model.name == BUNDLED]
    live, model = Store(tmp_path), load_model()
    for unit in random.Random(kind).sample(units, 2):
        again = compute(unit, live, model)
        assert not differences(shipped.get(unit), again), str(unit)
