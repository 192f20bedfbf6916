"""The shipped results are what the shipped model gives: a sample, measured again."""

import random

import pytest

from backend.bundled import checkpoints
from backend.kinds import (
    Copying,
    Evaluation,
    FFNOracle,
    HeadImportance,
    HeadOracle,
    Model,
    PrefixMatching,
    Pruning,
    compute,
)
from backend.kinds.means import N_TRAIN
from backend.models.identity import identify
from backend.models.info import BUNDLED
from backend.models.loading import load_model
from backend.places import SHIPPED
from backend.runs.plan import identify_tasks
from backend.store.entries import differences
from backend.store.live import Store
from backend.tasks.task import DRAWS
from backend.values import Ranking, Setup

KINDS = ("evaluation", "head_importance", "ffn_oracle", "pruning")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("live"), shipped=SHIPPED)


def test_every_task_and_shot_number_is_there_for_the_model_as_it_is(shipped):
    model = identify(BUNDLED)
    training = {one.name for one in checkpoints.known()[:-1]}
    assert {unit.model for unit in shipped.units() if unit.model.name not in training} == {model, model.weights}
    assert training < {unit.model.name for unit in shipped.units()}
    mini = identify_tasks("mini")
    for task in mini:
        for n_shots in (0, 1, 5):
            setup = Setup(model, task, n_shots, draws=DRAWS)
            for unit in (Evaluation(setup), HeadImportance(setup.with_(n_examples=N_TRAIN.default)), FFNOracle(setup),
                         Pruning(setup), Pruning(setup, "ffns"), Pruning(setup, "heads", Ranking.by(*mini))):
                assert unit in shipped, str(unit)
        for unit in (Pruning(setup, "combined"), HeadOracle(setup)):
            assert unit in shipped, str(unit)
    for unit in (*(PrefixMatching(model, variant) for variant in PrefixMatching.VARIANTS),
                 *(Copying(model, variant) for variant in Copying.VARIANTS), Model(model)):
        assert unit in shipped, str(unit)
    assert shipped.check() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_measured_again_is_the_same(shipped, tmp_path, kind):
    units = [unit for unit in shipped.units(kind) if unit.model.name == BUNDLED]
    live, model = Store(tmp_path), load_model()
    for unit in random.Random(kind).sample(units, 2):
        again = compute(unit, live, model)
        assert not differences(shipped.get(unit), again), str(unit)
