"""The shipped results are what the shipped model gives: a sample, measured again."""

import random
from pathlib import Path

import pytest

from backend.kinds import Copying, Evaluation, FFNOracle, HeadImportance, PrefixMatching, compute
from backend.models.identity import identify
from backend.models.info import BUNDLED
from backend.models.loading import load_model
from backend.store.entries import differences
from backend.store.live import Store
from backend.tasks.registry import suite
from backend.values import Setup, TaskId

SHIPPED = Path(__file__).parents[2] / "cache" / "shipped"
KINDS = ("evaluation", "head_importance", "ffn_oracle", "pruning")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("live"), shipped=SHIPPED)


def test_every_task_and_shot_number_is_there_for_the_model_as_it_is(shipped):
    model = identify(BUNDLED)
    assert {unit.model.weights for unit in shipped.units()} == {model.weights}
    for task in suite("mini"):
        for n_shots in (0, 1, 5):
            setup = Setup(model, TaskId(task.name, task.fingerprint), n_shots)
            for unit in (Evaluation(setup), HeadImportance(setup.with_(n_examples=200)), FFNOracle(setup)):
                assert unit in shipped, str(unit)
    assert PrefixMatching(model) in shipped
    assert Copying(model) in shipped


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_measured_again_is_the_same(shipped, tmp_path, kind):
    units = [unit for unit in shipped.units() if kind == unit.KIND]
    live, model = Store(tmp_path), load_model()
    for unit in random.Random(kind).sample(units, 2):
        again = compute(unit, live, model)
        assert not differences(shipped.get(unit), again), str(unit)
