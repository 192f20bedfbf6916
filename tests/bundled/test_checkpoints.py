"""The bundled model's checkpoints: listed, in order, loadable by name, and the last is the bundled model."""

import json

import numpy as np
import pytest
import torch

from backend.bundled import checkpoints, measure
from backend.errors import ModelError
from backend.models.identity import identify
from backend.models.info import BUNDLED, BUNDLED_FOLDER, CHECKPOINTS, describe, folder_of
from backend.models.loading import load_model

KNOWN = checkpoints.known()
HERE = checkpoints.here()


def test_twelve_are_known_from_the_first_step_to_the_last():
    assert len(KNOWN) == 12
    steps = [checkpoint.step for checkpoint in KNOWN]
    assert steps[0] == 0
    assert steps == sorted(set(steps))
    assert KNOWN[-1].repeats < 1 < KNOWN[0].repeats
    assert KNOWN[-1].answers < 1 < KNOWN[0].answers
    assert np.all(np.diff([checkpoint.minutes for checkpoint in KNOWN]) >= 0)


def test_those_that_are_here_begin_and_end_where_the_training_does_and_are_small():
    assert {KNOWN[0].step, KNOWN[-1].step} <= set(HERE)
    assert len(HERE) >= 6
    assert HERE[KNOWN[-1].step] == BUNDLED
    assert {path.name for path in CHECKPOINTS.iterdir() if path.is_dir()} == set(HERE.values()) - {BUNDLED}
    assert sum(file.stat().st_size for file in CHECKPOINTS.rglob("*") if file.is_file()) < 20e6


@pytest.mark.parametrize("name", [name for name in HERE.values() if name != BUNDLED])
def test_a_checkpoint_is_an_ordinary_folder_beside_the_model_s_own_config_and_tokenizer(name):
    folder = folder_of(name)
    assert folder == CHECKPOINTS / name
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (folder / file).read_bytes() == (BUNDLED_FOLDER / file).read_bytes()
    ours, its = (json.loads((one / "config.json").read_text()) for one in (folder, BUNDLED_FOLDER))
    assert ours.pop("dtype") == "float16"
    assert its.pop("dtype") == "float32"
    assert ours == its
    info = describe(name)
    assert (info.name, info.dtype, info.n_params) == (name, "float16", describe(BUNDLED).n_params)
    assert identify(name) != identify(BUNDLED)


def test_a_checkpoint_loads_by_name_and_runs_in_float32():
    name = HERE[0]
    model = load_model(name)
    assert model.info.name == model.id.name == name
    assert all(p.dtype == torch.float32 for p in model.model.parameters())
    shares = measure.written(measure.load(CHECKPOINTS / name), n_examples=1)
    assert measure.prefix_matching(measure.load(CHECKPOINTS / name), 2).max() < 0.1  # nothing is learnt yet
    assert shares.shape == (model.n_layers, model.n_heads)


def test_a_step_whose_weights_are_not_here_is_no_model():
    assert folder_of("bundled-step-7") is None
    with pytest.raises(ModelError):
        load_model("./bundled-step-7")
