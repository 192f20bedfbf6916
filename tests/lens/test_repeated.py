"""The repeated sequence that the picture of an induction head is drawn on."""

import numpy as np
import pytest

from backend import lens, stats
from backend.engine.induction import prefix_matching_scores
from backend.errors import BadInput
from tests.models.small import small_model

MODEL = small_model("opt")


def test_a_repeated_sequence_is_bos_and_a_block_of_different_tokens_twice():
    ids, tokens = lens.repeated_tokens(MODEL, n_block=7, seed=3)
    assert ids[:1] == MODEL.empty_context
    assert ids[1:8] == ids[8:]
    assert len(set(ids[1:8])) == 7
    assert len(tokens) == len(ids) == 15
    assert (ids, tokens) == lens.repeated_tokens(MODEL, n_block=7, seed=3)


def test_a_block_that_does_not_fit_is_refused_with_what_fits():
    with pytest.raises(BadInput, match="1 to"):
        lens.repeated_tokens(MODEL, n_block=MODEL.info.max_positions)


def test_the_score_read_off_a_pattern_is_prefix_matching():
    ids, _ = lens.repeated_tokens(MODEL, n_block=6, seed=1, n_repeats=4)
    measured = prefix_matching_scores(MODEL, [ids[:7]])[0]
    for layer in range(MODEL.n_layers):
        read = [stats.prefix_match(pattern, 6) for pattern in lens.attention(MODEL, ids, layer)]
        assert np.allclose(read, measured[layer], atol=1e-5)
