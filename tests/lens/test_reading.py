"""Reading one prompt gives what an evaluation of it gives, and what the model's own logits say."""

import numpy as np
import pytest
import torch

from backend import lens
from backend.errors import BadInput
from backend.kinds.evaluation import evaluate
from backend.tasks.registry import get_task
from backend.tasks.task import prompts
from backend.values import INTACT, Ablation, Head
from tests.models.small import small_model

OFF = Ablation(frozenset({Head(1, 2)}), frozenset({0}))


@pytest.mark.parametrize("ablation", [INTACT, OFF], ids=str)
def test_options_score_as_in_an_evaluation(ablation: Ablation):
    model, prompt = small_model("opt"), prompts(get_task("antonym"), 1, "fixed", 2)[1]
    reading = lens.look_at(model, prompt, ablation)
    assert reading.loglikelihoods == evaluate(model, [prompt], [ablation])[0].loglikelihoods[0]
    assert reading.token_ids == tuple(model.encode_context(prompt.prefix + prompt.example.contexts[0]))
    assert reading.first_tokens == tuple(model.encode(option)[0] for option in prompt.example.options)


def test_next_tokens_are_the_softmax_of_the_last_logits():
    model = small_model("gpt2")
    reading = lens.look_at(model, "the cat sat on", k=5)
    with torch.no_grad():
        expected = model.model(torch.tensor([reading.token_ids])).logits[0, -1].softmax(-1)
    assert [t.token for t in reading.next_tokens] == expected.topk(5).indices.tolist()
    np.testing.assert_allclose([t.probability for t in reading.next_tokens], expected.topk(5).values, rtol=1e-4)
    assert reading.loglikelihoods == ()


def test_an_option_of_ones_own_scores_the_sum_of_its_tokens():
    model = small_model("llama, grouped queries")
    prompt = lens.own_prompt("the dog ran to", ["the man", "a red cat"])
    assert prompt.example.options == (" the man", " a red cat")
    reading = lens.look_at(model, prompt)
    for option, found in zip(prompt.example.options, reading.loglikelihoods, strict=True):
        ids = [*reading.token_ids, *model.encode(option)]
        with torch.no_grad():
            logs = model.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        n = len(reading.token_ids)
        expected = sum(float(logs[i - 1, ids[i]]) for i in range(n, len(ids)))
        assert found == pytest.approx(expected, abs=1e-3)


def test_options_follow_a_blank_without_another_one():
    assert lens.own_prompt("A: ", ["yes"]).example.options == ("yes",)
    assert lens.own_prompt("A:", [" yes"]).example.options == (" yes",)


def test_demonstrations_that_do_not_fit_are_dropped_and_counted():
    model, prompt = small_model("opt"), prompts(get_task("antonym"), 20, "fixed", 1)[0]
    reading = lens.look_at(model, prompt)
    assert reading.dropped_demos > 0
    assert len(reading.token_ids) <= model.info.max_positions


def test_text_that_does_not_fit_is_refused():
    model = small_model("opt")
    with pytest.raises(BadInput, match="at most 256"):
        lens.look_at(model, "x" * 300)
    with pytest.raises(BadInput, match="at most 256"):
        lens.look_at(model, lens.own_prompt("x" * 300, ["y"]))


def test_a_head_looks_where_the_pattern_says_and_contributions_add_up():
    model = small_model("opt")
    ids = tuple(model.encode("the cat sat on the mat"))
    pattern = lens.patterns(model, ids, 1)
    assert pattern.shape == (model.n_heads, len(ids), len(ids))
    np.testing.assert_allclose(pattern.sum(-1), 1, atol=1e-5)
    found = lens.contributions(model, ids, 7)
    with torch.no_grad():
        logit = float(model.model(torch.tensor([ids])).logits[0, -1, 7])
    assert found.heads.sum() + found.ffns.sum() + found.embeddings + found.biases == pytest.approx(logit, abs=1e-3)
