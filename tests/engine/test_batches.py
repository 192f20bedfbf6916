"""Batches: of about equal length, within the budget, smaller where memory runs out."""

import logging

import pytest
import torch

from backend.engine.batches import in_batches

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
