"""Our head importance equals what the study's own code printed, on the pairs that it was fed."""

import json

import numpy as np
import pytest

from backend.engine.trees import Scored
from backend.kinds.head_importance import importance_of_pairs

TOLERANCE = 1e-4  # of the largest score of the matrix


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "golden" / "importance.json").read_text())


@pytest.mark.parametrize("n_shots", [0, 1, 5])
def test_importance_equals_the_golden_scores(n_shots, golden, golden_model):
    records = [r for r in golden if r["shots"] == n_shots]
    assert len(records) >= 13
    for record in records:
        pairs = [Scored(*(tuple(golden_model.encode(text)) for text in pair)) for pair in record["pairs"]]
        expected = np.array(record["scores"])
        found = importance_of_pairs(golden_model, pairs).scores("per-token")
        assert np.abs(found - expected).max() < TOLERANCE * expected.max(), record["task"]
