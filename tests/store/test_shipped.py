"""The shipped results are what the shipped model gives: a sample, measured again."""

import random
from pathlib import Path

import pytest

from backend import service
from backend.models.info import BUNDLED, describe
from backend.models.loading import load_model
from backend.store.live import Store, differences
from backend.tasks.registry import suite

SHIPPED = Path(__file__).parents[2] / "cache" / "shipped"
KINDS = ("evaluation", "head_importance", "ffn_oracle", "pruning")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("live"), shipped=SHIPPED)


def test_every_task_and_shot_number_is_there_for_the_model_as_it_is(shipped):
    info = describe(BUNDLED)
    assert {unit.setup.revision for unit in shipped.units()} == {info.revision}
    for task in suite("mini"):
        for n_shots in (0, 1, 5):
            setup = service.setup(info, task.name, n_shots)
            for unit in (service.evaluation(setup), service.head_importance(setup), service.ffn_oracle(setup)):
                assert unit in shipped, str(unit)
    assert service.prefix_matching(setup) in shipped
    assert service.copying(setup) in shipped


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_measured_again_is_the_same(shipped, tmp_path, kind):
    units = [unit for unit in shipped.units() if unit.kind == kind]
    live, model = Store(tmp_path), load_model()
    for unit in random.Random(kind).sample(units, 2):
        again = service.compute(unit, live, model)
        assert not differences(shipped.get(unit), again), str(unit)
