"""Answers, sweeps and means: what the engine finds, as records."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.engine import passes
from backend.errors import BadInput
from backend.kinds import oracles, pruning
from backend.kinds.evaluation import evaluate
from backend.kinds.means import mean_activations
from backend.models.gates import Kept, passing
from backend.tasks.task import Example, Prompt, multiple_choice
from backend.values import INTACT, Ablation, Head
from tests.models.small import FAMILIES, small_model

DEMOS = ("Question: the cat sat on the?\nAnswer: mat", "Question: is it blue?\nAnswer: no")
QUESTIONS = [multiple_choice(f"Question: {text}?\nAnswer:", ["yes", "the red dog ran", "no cat"], i % 3)
             for i, text in enumerate(["the man sat", "one two three", "is it blue and green", "a", "the dog ran to"])]
PROMPTS = [Prompt(q, DEMOS, i) for i, q in enumerate(QUESTIONS)]
# Each begins in its own way: what questions begin with alike is read once.
MANY = [Prompt(multiple_choice(f"{chr(65 + i)} {q.contexts[0]}", list(QUESTIONS[0].options), i % 3))
        for i, q in enumerate(QUESTIONS * 5)]
HEADS = [Head(layer, head) for layer in range(3) for head in range(4)]
ALL_OFF = Ablation(frozenset(HEADS), frozenset(range(3)))


def test_the_answer_is_the_option_of_highest_loglikelihood_or_per_character():
    (found,) = evaluate(small_model("opt"), PROMPTS)
    assert found.lengths == ((3, 15, 6),) * 5
    for row, choice, normed in zip(found.loglikelihoods, found.choices(), found.choices(norm=True), strict=True):
        assert choice == np.argmax(row)
        assert normed == np.argmax(np.array(row) / (3, 15, 6))
    assert found.questions.gold == tuple((i % 3,) for i in range(5))


def test_intact_and_ablated_are_different_records_of_the_same_questions():
    intact, ablated = evaluate(small_model("opt"), PROMPTS, [INTACT, ALL_OFF])
    assert intact.questions == ablated.questions
    assert intact.loglikelihoods != ablated.loglikelihoods


def test_with_everything_off_the_question_no_longer_matters():
    (found,) = evaluate(small_model("llama, grouped queries"), PROMPTS, [ALL_OFF])
    assert np.ptp(np.array(found.loglikelihoods), axis=0).max() < 1e-4


def test_numbers_come_while_the_rest_is_read_and_count_only_whole_questions():
    model, masks = small_model("opt"), [INTACT, Ablation(frozenset(HEADS[:5]))]
    prompts = [replace(prompt, demos=DEMOS, doc=i) for i, prompt in enumerate(MANY)]
    whole = [record.outcomes() for record in evaluate(model, prompts, masks)]
    told = []
    evaluate(model, prompts, masks, batch_tokens=64, so_far=lambda *said: told.append(said))
    for place, outcomes in enumerate(whole):
        said = [(right, answered) for where, right, answered, of in told if where == place and of == len(prompts)]
        counts = [answered for _, answered in said]
        assert counts == sorted(counts)
        assert 0 < counts[0] < counts[-1] == len(prompts)
        assert said[-1][0] == outcomes.sum()
        assert all(outcomes.sum() - (len(prompts) - answered) <= right <= outcomes.sum() for right, answered in said)


def test_running_out_of_memory_halves_the_passes_and_says_so(monkeypatch, caplog):
    model, prompts = small_model("opt"), MANY
    expected = evaluate(model, prompts)
    plain, tried = passes.score, []

    def small_memory(prepared, *rest):
        tried.append(max(b.tokens.size for g in prepared.groups for b in g.batches))
        if tried[-1] > 300:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB.")
        return plain(prepared, *rest)

    monkeypatch.setattr(passes, "score", small_memory)
    with caplog.at_level(logging.WARNING):
        found = evaluate(model, prompts)
    assert tried[-1] < tried[0]
    assert "Out of memory: going on with passes of" in caplog.text
    assert np.allclose(found[0].loglikelihoods, expected[0].loglikelihoods, atol=1e-4)


def test_prepared_prompts_remember_what_memory_did_not_suffice_for(monkeypatch):
    model, prompts = small_model("opt"), [Prompt(q) for q in QUESTIONS * 20]
    expected = evaluate(model, prompts, [ALL_OFF])
    plain, tried = passes.score, []

    def small_memory(prepared, *rest):
        tried.append(prepared.batch_tokens)
        if tried[-1] > 300:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB.")
        return plain(prepared, *rest)

    prepared = passes.prepare(model, prompts)
    passes.score(prepared, [INTACT])
    monkeypatch.setattr(passes, "score", small_memory)
    found = evaluate(model, prepared, [ALL_OFF])
    assert tried == [1024, 512, 256]
    assert not prepared.states
    assert np.allclose(found[0].loglikelihoods, expected[0].loglikelihoods, atol=1e-4)
    assert evaluate(model, prepared, [ALL_OFF]) == found
    assert tried[3:] == [256]


def test_memory_that_never_suffices_ends_in_the_error_itself(monkeypatch):
    def no_memory(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB.")

    monkeypatch.setattr(passes, "score", no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(small_model("opt"), PROMPTS)


def test_an_oracle_is_the_difference_that_each_component_makes():
    model = small_model("gpt2")
    ffns, heads = oracles.ffn_importance(model, PROMPTS), oracles.head_oracle(model, PROMPTS)
    assert ffns.ablations == ("", "F0", "F1", "F2")
    assert heads.ablations == ("", *map(str, HEADS))
    assert ffns.choices[0] == heads.choices[0]
    alone = evaluate(model, PROMPTS, [Ablation(frozenset({HEADS[5]}))])[0]
    assert heads.choices[6] == alone.choices()
    assert ffns.choices_norm[2] == evaluate(model, PROMPTS, [Ablation(ffns=frozenset({1}))])[0].choices(norm=True)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_an_oracle_keeps_how_likely_the_right_answer_was_per_token(architecture):
    model = small_model(architecture)
    kept = oracles.ffn_importance(model, PROMPTS)
    assert pruning.pruning_curve(model, PROMPTS, [], [0, 1, 2], "ffns").gold == ()
    for off, row in zip(oracles.FFNOracle.ablations(model.info), kept.gold, strict=True):
        (answers,) = evaluate(model, PROMPTS, [off])
        for prompt, lls, mean in zip(PROMPTS, answers.loglikelihoods, row, strict=True):
            gold = prompt.example.gold[0]
            ((_, answer, _),) = model.encode_pairs([(prompt.prefix + prompt.example.contexts[gold],
                                                     prompt.example.options[gold])])
            assert mean == pytest.approx(lls[gold] / len(answer), abs=1e-5)
    assert {round(lls / mean) for lls, mean in zip([row[p.example.gold[0]] for row, p in zip(
        evaluate(model, PROMPTS)[0].loglikelihoods, PROMPTS, strict=True)], kept.gold[0], strict=True)} > {1}
    assert np.array_equal(kept.losses(), -np.array(kept.gold))


@pytest.mark.parametrize(("what", "fine", "n_points"), [
    ("heads", False, 10), ("heads", True, 19), ("ffns", False, 10), ("ffns", True, 19), ("combined", True, 48)])
def test_pruning_begins_intact_and_removes_the_first_of_each_order(what, fine, n_points):
    shares = pruning.shares(what, fine)
    steps = pruning.pruning_steps(HEADS, [2, 0, 1], shares)
    assert len(steps) == len(shares) == n_points
    assert steps[0] == INTACT
    for step, (heads, ffns) in zip(steps, shares, strict=True):
        assert step.heads == frozenset(HEADS[:int(heads * 12 + 1e-9)])
        assert step.ffns == frozenset([2, 0, 1][:int(ffns * 3 + 1e-9)])


def test_a_pruning_curve_is_the_evaluation_of_its_steps():
    model = small_model("opt")
    curve = pruning.pruning_curve(model, PROMPTS, HEADS, [0, 1, 2], "combined")
    steps = pruning.pruning_steps(HEADS, [0, 1, 2], pruning.shares("combined"))
    for i in (0, 7, 47):
        assert curve.choices[i] == evaluate(model, PROMPTS, [steps[i]])[0].choices()


def test_a_pruning_step_that_removes_what_the_last_one_did_is_not_measured_again(monkeypatch):
    measured = []

    def watched(model, prompts, ablations, *rest, **options):
        measured.extend(ablations)
        return evaluate(model, prompts, ablations, *rest, **options)

    monkeypatch.setattr(oracles, "evaluate", watched)
    curve = pruning.pruning_curve(small_model("opt"), PROMPTS, [], [2, 0, 1], "ffns")
    assert [str(a) for a in measured] == ["", "F2", "F0,F2"]
    assert curve.ablations == ("",) * 4 + ("F2",) * 3 + ("F0,F2",) * 3
    alone = [evaluate(small_model("opt"), PROMPTS, [a])[0].choices() for a in measured]
    assert curve.choices == (alone[0],) * 4 + (alone[1],) * 3 + (alone[2],) * 3


@pytest.mark.parametrize("architecture", FAMILIES)
def test_means_are_those_of_every_position_of_every_prompt(architecture):
    model = small_model(architecture)
    found = mean_activations(model, PROMPTS, batch_tokens=100)
    z, added = [], []
    for prompt in PROMPTS:
        ids = model.encode_context(prompt.prefix + prompt.example.contexts[0])
        ids += model.encode(prompt.example.options[prompt.example.gold[0]])
        kept = Kept(z={}, ffn_out=[])
        with torch.no_grad(), passing(kept=kept):
            model.model(torch.tensor([ids[:-1]]), use_cache=False)
        z.append(torch.cat([*kept.z.values()])), added.append(torch.cat(kept.ffn_out))  # (n_layers, pos, ...)
    every_z, every_added = torch.cat(z, 1), torch.cat(added, 1)
    assert (found.n_examples, found.n_positions) == (5, every_z.shape[1])
    assert np.allclose(np.array(found.heads)[list(model.attn_outs)], every_z.double().mean(1), atol=1e-4)
    assert not np.array(found.heads)[list(model.info.headless)].any()
    assert np.allclose(found.ffns, every_added.double().mean(1), atol=1e-4)


def test_mean_ablation_of_what_never_varies_changes_nothing():
    model = small_model("opt")
    prompt = Prompt(Example(("", ""), (" cat", " dog"), (0,), ""))  # one BOS: one position, its own mean
    means = mean_activations(model, [prompt])
    ablation = ALL_OFF.filled("mean")
    intact, filled = evaluate(model, [prompt], [INTACT, ablation], means=[None, means])
    assert np.allclose(intact.loglikelihoods[0][0], filled.loglikelihoods[0][0], atol=1e-4)


def test_means_of_nothing_are_refused():
    with pytest.raises(BadInput, match="nothing to take means of"):
        mean_activations(small_model("opt"), [])


def test_ablations_together_are_recorded_in_their_order_as_alone():
    model, ablations = small_model("gpt2"), [Ablation(frozenset({HEADS[9]})), INTACT, Ablation(frozenset({HEADS[0]}))]
    alone, together = evaluate(model, PROMPTS, ablations), evaluate(model, PROMPTS, ablations, together=True)
    for one, other in zip(together, alone, strict=True):
        assert np.allclose(one.loglikelihoods, other.loglikelihoods, atol=1e-4)
        assert one.questions == other.questions
