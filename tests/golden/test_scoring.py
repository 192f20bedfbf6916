"""Our log-likelihoods equal those that the study's own code printed, intact and under three ablations."""

import json

import numpy as np
import pytest

from backend.kinds.evaluation import evaluate
from backend.tasks.paper import PAPER, STUDY, record_f1
from backend.tasks.task import prompt
from backend.values import INTACT, Ablation, Head

TOLERANCE = 1e-3  # nats; what was printed has five digits


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "golden" / "scoring.json").read_text())


@pytest.mark.parametrize("task", STUDY)
def test_loglikelihoods_and_metrics_equal_the_golden_ones(task, golden, golden_model, shared, monkeypatch):
    monkeypatch.setenv("HEADROOM_DATA", str(shared / "data"))
    heads = frozenset(Head(layer, head) for layer, head in golden["conditions"]["heads"])
    ffns = frozenset(golden["conditions"]["ffns"])
    conditions = {"intact": INTACT, "heads": Ablation(heads), "ffns": Ablation(ffns=ffns),
                  "both": Ablation(heads, ffns)}
    records = [r for r in golden["records"] if r["task"] == task]
    prompts = [prompt(PAPER[task], r["doc"], r["demos"]) for r in records]
    found = evaluate(golden_model, prompts, list(conditions.values()))
    for condition, evaluation in zip(conditions, found, strict=True):
        for record, ours in zip(records, evaluation.loglikelihoods, strict=True):
            assert np.abs(np.array(ours) - record[condition]).max() < TOLERANCE, (condition, record["doc"])
    for name, norm in (("acc", False), ("em", False), ("acc_norm", True)):
        for record, right in zip(records, found[0].outcomes(norm), strict=True):
            assert record["metrics"].get(name, right) == right, (name, record["doc"])
    for record, choice in zip(records, found[0].choices(), strict=True):
        if "f1" in record["metrics"]:
            row = PAPER[task].rows("validation")[record["doc"]]
            assert record_f1(row, choice) == pytest.approx(record["metrics"]["f1"], abs=1e-9), record["doc"]
    measured = {"acc", "em", "acc_norm", "f1"}
    assert all(set(r["metrics"]) <= measured for r in records)
