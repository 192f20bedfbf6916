"""Batches: as large as the device can take, of about equal length, smaller where memory runs out."""

import logging

import numpy as np
import pytest
import torch

from backend.engine import batches, passes
from backend.engine.batches import bytes_per_token, fitting, in_batches, tokens_per_pass
from backend.records import ModelInfo
from backend.tasks.task import Prompt, multiple_choice
from backend.values import INTACT
from tests.models.small import small_model

LENGTHS = [3, 10, 1, 7, 7, 2, 5]


def collected(budget: int, lengths: list[int] | None = None) -> list[list[int]]:
    found: list[list[int]] = []
    in_batches(lambda batch: found.append(list(batch)), LENGTHS if lengths is None else lengths, budget)
    return found


def test_every_item_is_measured_once_the_longest_first_and_within_the_budget():
    for budget in (1, 10, 14, 100):
        batches = collected(budget)
        flat = [i for batch in batches for i in batch]
        assert sorted(flat) == list(range(len(LENGTHS)))
        assert [LENGTHS[i] for i in flat] == sorted(LENGTHS, reverse=True)
        assert all(len(batch) == 1 or len(batch) * LENGTHS[batch[0]] <= budget for batch in batches)
    assert collected(14) == [[1], [3, 4], [6, 0], [5, 2]]


def test_nothing_to_measure_and_items_of_no_length_are_no_trouble():
    assert collected(5, []) == []
    assert collected(2, [0, 0, 0]) == [[0, 1], [2]]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB."),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")])
def test_where_memory_runs_out_half_as_many_go_on_and_the_log_says_so(error, caplog):
    found, reports = [], []

    def measure(batch):
        if len(batch) > 2:
            raise error
        found.append(list(batch))

    with caplog.at_level(logging.WARNING):
        in_batches(measure, [4] * 8, 32, lambda done, total: reports.append((done, total)))
    assert found == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert reports == [(2, 8), (4, 8), (6, 8), (8, 8)]
    assert [r.getMessage() for r in caplog.records] == [
        f"Out of memory: going on with passes of {n} tokens." for n in (16, 8)]


def test_one_item_that_does_not_fit_and_any_other_error_are_passed_on():
    def measure(batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB.")

    with pytest.raises(torch.OutOfMemoryError):
        in_batches(measure, [4] * 8, 32)

    def broken(batch):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_batches(broken, [4] * 8, 32)


GB = 10**9
OPT_125M = ModelInfo("", "", "opt", 12, 12, 768, 64, 3072, 125_239_296, 2048, 50_272, "float16", 0)
OPT_66B = ModelInfo("", "", "opt", 64, 72, 9216, 128, 36864, 65_719_000_000, 2048, 50_272, "float16", 0)


def test_more_free_memory_means_more_tokens_up_to_a_bound_and_never_fewer():
    fit = [fitting(free, 10**5, 16384) for free in (0, 10**6, 10**8, GB, 8 * GB, 80 * GB)]
    assert fit == [64, 64, 256, 4096, 16384, 16384]
    assert fitting(80 * GB, 10**5, 1024) == 1024


def test_a_little_more_or_less_of_free_memory_cuts_the_same_batches():
    assert {fitting(free, 10**5, 16384) for free in range(GB, 13 * GB // 10, 10**7)} == {4096}


def test_what_fits_takes_no_more_than_its_share():
    for free in (GB, 3 * GB, 50 * GB):
        for cost in (10**4, 10**5, 10**6):
            tokens = fitting(free, cost, 10**9)
            assert tokens * cost <= free / 2 < 2 * tokens * cost


def test_gradients_of_the_largest_model_read_fewer_tokens_than_its_scores():
    scoring, gradients = (bytes_per_token(OPT_66B, "float16", every_layer) for every_layer in (False, True))
    assert fitting(20 * GB, scoring, 16384) == 16384
    assert 128 <= fitting(20 * GB, gradients, 16384) <= 512
    assert gradients > 64 * scoring


def test_a_token_takes_what_was_measured_or_somewhat_more():
    """OPT-125M's gradients in float32, by the peak of resident memory: 586 kB a token on passes of 2,048."""
    assert 586e3 < bytes_per_token(OPT_125M, "float32", True) < 2 * 586e3
    assert bytes_per_token(OPT_125M, "bfloat16", False) == bytes_per_token(OPT_125M, "float32", False) / 2
    assert bytes_per_token(OPT_125M, "float32", False, patterns=True) > bytes_per_token(OPT_125M, "float32", False)


def test_a_processor_reads_no_more_at_once_than_its_cache_is_good_for(monkeypatch):
    model = small_model("opt")
    assert tokens_per_pass(model) == tokens_per_pass(model, every_layer=True) == 1024
    monkeypatch.setattr(batches, "free_memory", lambda: 2 * 10**6)  # so little that not even that fits
    assert (tokens_per_pass(model), tokens_per_pass(model, every_layer=True)) == (512, 128)


def test_what_torch_has_set_aside_on_a_gpu_and_does_not_use_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 7)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 3)
    assert batches._free(torch.device("cuda:0")) == 14


def test_passes_are_short_where_somebody_waits_for_the_first_number_of_a_large_model(monkeypatch):
    model = small_model("opt")
    whole = tokens_per_pass(model)
    monkeypatch.setattr(model, "quick", True)
    assert tokens_per_pass(model) == whole  # a small one answers at once
    monkeypatch.setattr(batches, "QUICK_WORK", 2 * model.info.n_params * batches.CPU_TOKENS - 1)
    assert tokens_per_pass(model) == batches.QUICK_TOKENS < whole
    monkeypatch.setattr(model, "quick", False)
    assert tokens_per_pass(model) == whole


def test_no_pass_more_is_made_where_each_brings_the_weights_in(monkeypatch):
    model = small_model("opt")
    monkeypatch.setattr(model, "quick", True)
    monkeypatch.setattr(batches, "QUICK_WORK", 0)
    assert batches.is_waited_for(model)
    monkeypatch.setattr(batches, "offloaded", lambda model: [model])
    assert not batches.is_waited_for(model)


def test_the_first_pass_of_all_is_a_few_questions_where_somebody_waits(monkeypatch):
    model = small_model("opt")
    words = ("cat", "dog", "man", "mat", "red", "blue", "green", "one", "two", "three")
    behind = [Prompt(multiple_choice(f"{a} {b} sat?", ["yes", "no"], 0), (f"{demo} ran to the mat and the man.",) * 2)
              for demo in words[:5] for a in words for b in words]
    none = [Prompt(prompt.example) for prompt in behind[:100]]

    def passes_of(prompts: list[Prompt]) -> list[int]:
        groups = passes.prepare(model, prompts).groups
        return [n for g in groups for n in (*(p.n_tokens for p in g.prefixes), *(b.n_tokens for b in g.batches))]

    def scored(prompts: list[Prompt]) -> np.ndarray:
        return np.concatenate(passes.score(passes.prepare(model, prompts), [INTACT])[0].loglikelihoods)

    kinds = {"draws that fill passes": behind, "one draw": behind[:100], "draws of few questions": behind[::25],
             "none": none}
    before = {kind: (passes_of(prompts), scored(prompts)) for kind, prompts in kinds.items()}
    monkeypatch.setattr(model, "quick", True)
    monkeypatch.setattr(batches, "QUICK_WORK", 0)
    for kind, prompts in kinds.items():
        sizes, (ordinary, expected) = passes_of(prompts), before[kind]
        n = 2 if prompts[0].demos else 1  # what comes before the first number
        assert sum(sizes[:n]) <= n * batches.FIRST_TOKENS < sum(ordinary[:n])
        assert max(sizes) > batches.FIRST_TOKENS
        assert sum(sizes) <= 1.5 * sum(ordinary)
        assert np.abs(scored(prompts) - expected).max() < 1e-4
