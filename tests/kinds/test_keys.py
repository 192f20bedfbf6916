"""The name of a result holds everything that its numbers depend on, and stays what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations

import pytest

from backend.errors import BadInput, StoreError
from backend.kinds import (
    KINDS,
    Attribution,
    Copying,
    Evaluation,
    FFNOracle,
    FunctionVectors,
    Greedy,
    HeadGates,
    HeadImportance,
    HeadOracle,
    Influence,
    Iterative,
    KnockOut,
    Means,
    Model,
    OptimalConstants,
    PrefixMatching,
    Pruning,
    Relabelled,
    ShuffledHeads,
    Unit,
    Writes,
)
from backend.kinds.knock_out import SORTS
from backend.kinds.oracles import FILLS
from backend.kinds.unit import SCHEMA
from backend.values import METHODS, ModelId, Ranking, Setup, TaskId, parse_exact
from tests.store.test_store import RECORDS

MODEL = ModelId("tiny", "abc", "0123456789ab")
PIQA, COPA = TaskId("piqa", "d1"), TaskId("copa", "d2")
SETUP = Setup(MODEL, PIQA, 5, "fixed", 100, 0)

OTHER_MODELS = [MODEL.with_(**change) for change in (
    {"name": "other"}, {"revision": "abd"}, {"digest": "0123456789ac"}, {"bos": True}, {"dtype": "bfloat16"})]
OTHER_SETUPS = [SETUP.with_(**change) for change in (
    {"task": TaskId("piqa", "d2")}, {"task": TaskId("copa", "d1")}, {"n_shots": 4}, {"demos": "per-query"},
    {"n_examples": 99}, {"seed": 1}, *({"model": model} for model in OTHER_MODELS))]
RANKINGS = [Ranking.by(PIQA), Ranking.by(COPA), Ranking.by(TaskId("piqa", "d2")), Ranking.by(PIQA, COPA),
            Ranking.by(PIQA, reverse=True), Ranking.by(PIQA, n_train=50), Ranking.by(PIQA, reduction="per-example"),
            Ranking.by(PIQA, reduction="signed"), Ranking.by(PIQA, reduction="integrated"),
            Ranking.random(0), Ranking.random(1), Ranking.random(0, 32), Ranking.random(0, 31)]
ORDERS = [*(Ranking.fitted(method, PIQA) for method in METHODS), Ranking.fitted("gates", COPA),
          Ranking.fitted("gates", PIQA, 50), Ranking.fitted("iterative", PIQA, reduction="per-example")]


def different(kind: type[Unit]) -> list[Unit]:
    """Results of a kind that differ in one thing each."""
    if kind is Model:
        return [kind(model.weights) for model in (MODEL, *OTHER_MODELS[:3])]
    if kind in (PrefixMatching, Copying):
        return [*(kind(model) for model in (MODEL, *OTHER_MODELS)), kind(MODEL, kind.VARIANTS[1]),
                kind(MODEL, n_sequences=7)]
    found = [kind(setup) for setup in (SETUP, *OTHER_SETUPS)]
    if kind is Evaluation:
        found += [kind(SETUP, parse_exact(text), n_train) for text in ("L0H1", "F1", "mean:L0H1") for n_train in (
            (50, 200) if text.startswith("mean") else (0,))]
    if kind in (Relabelled, Influence):
        found += [kind(SETUP, ablation=parse_exact(text), n_train=n) for text, n in (
            ("L0H1", 0), ("F1", 0), ("mean:L0H1", 50), ("mean:L0H1", 200))]
    if kind is Relabelled:
        found += [kind(SETUP, "made-up"), kind(SETUP, "made-up", parse_exact("L0H1"))]
    if kind is HeadOracle:
        found += [kind(SETUP, fill, n_train) for fill in FILLS[1:] for n_train in (50, 200)]
        found += [kind(SETUP, on="train"), kind(SETUP, "mean", on="train")]
    if kind is FunctionVectors:
        found.append(kind(SETUP, 24))
    if kind is Iterative:
        found.append(kind(SETUP, "per-example"))
    if kind is KnockOut:
        found += [kind(SETUP, sort) for sort in (*SORTS[1:], "random:0", "random:1")]
        found += [kind(SETUP, tasks=(COPA,)), kind(SETUP, fill="mean"), kind(SETUP, fill="mean", n_train=5),
                  kind(SETUP, n_means=7), kind(SETUP, n_trials=7), kind(SETUP, n_probe=7)]
    if kind is Pruning:
        found += [kind(SETUP, what, ranking) for what in ("heads", "combined") for ranking in RANKINGS]
        found += [kind(SETUP, "heads", ranking) for ranking in ORDERS]
        found += [kind(SETUP, "ffns", ranking) for ranking in (*RANKINGS[:5], *RANKINGS[9:11])]
        found.remove(kind(SETUP))  # is there as the first
    return found


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_whatever_decides_a_number_is_in_its_name(kind):
    units = different(kind)
    assert len(units) > 3
    for a, b in combinations(units, 2):
        assert a != b
        assert a.key != b.key, (a, b)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_name_reads_back_as_what_it_names(kind):
    for unit in different(kind):
        read = Unit.from_json(json.loads(json.dumps(unit.to_json())))
        assert read == unit
        assert read.key == unit.key
        assert hash(read) == hash(unit)


def test_kinds_of_one_setup_have_names_of_their_own():
    keys = {kind(SETUP).key for kind in (
        Evaluation, HeadImportance, Means, FFNOracle, HeadOracle, Pruning, Writes, FunctionVectors, KnockOut,
        Relabelled, ShuffledHeads, Influence, Attribution, OptimalConstants, Iterative, Greedy, HeadGates)}
    assert len(keys | {kind(MODEL).key for kind in (PrefixMatching, Copying, Model)}) == len(KINDS)


def test_one_thing_said_in_two_ways_has_one_name():
    assert Pruning(SETUP).key == Pruning(SETUP, "heads", Ranking.by(PIQA)).key
    assert Ranking.by(PIQA, COPA) == Ranking.by(COPA, PIQA, COPA)
    assert Evaluation(SETUP, parse_exact("mean:")).key == Evaluation(SETUP).key
    assert Evaluation(SETUP, parse_exact("L0H1, L0H0")).key == Evaluation(SETUP, parse_exact("L0H0-1")).key
    assert Model(MODEL.with_(dtype="float16", bos=True)).key == Model(MODEL).key
    ffns = [Pruning(SETUP, "ffns", Ranking.by(PIQA, n_train=n, reduction=r)).key for n, r in (
        (50, "per-token"), (200, "per-example"))]
    assert ffns[0] == ffns[1]


# A key that changes makes every stored result of its kind unfindable: change SCHEMA with it, and say so.
PINNED = {
    "evaluation": (Evaluation(SETUP), "186ec1e0e41d937f7d04d6cce2eb08f0"),
    "evaluation, means": (Evaluation(SETUP, parse_exact("mean:L0H1,F2"), 50), "8a8824758f68c749c9fa1b6b031abf71"),
    "head_importance": (HeadImportance(SETUP.with_(n_examples=200)), "2b53a9c1dcd99e15883bf245267b4026"),
    "pruning": (Pruning(SETUP, "combined", Ranking.by(PIQA, COPA, reduction="per-example", reverse=True)),
                "8fc9e624836b521063ff0879568ea73f"),
    "pruning, random": (Pruning(SETUP, "ffns", Ranking.random(3)), "573b76f0b3ed15cea43b30258be26f39"),
    "function_vectors": (FunctionVectors(SETUP.with_(n_examples=50)), "528cfa8fb27266b93b4c0f218f4a0c1e"),
    "knock_out": (KnockOut(SETUP, "random:1", (COPA,), "mean"), "e573980ebcdc9865faf7b25894285aa1"),
    "head_oracle": (HeadOracle(SETUP), "be101eda28481d045c3d32a7d0dcefa0"),
    "head_oracle, resampled": (HeadOracle(SETUP, "resample", 50, "train"), "da8b02948d72480d06a4b75f45900e14"),
    "attribution": (Attribution(SETUP.with_(n_examples=200)), "cd8471d6e229b7032ecc23e7e5415223"),
    "optimal_constants": (OptimalConstants(SETUP.with_(n_examples=200)), "19dbd4dd8ca31519d62165fe035fcd9c"),
    "copying": (Copying(MODEL.with_(bos=True, dtype="bfloat16"), "olsson", 7), "74e768347b5eae6cb0e92501f65faf14"),
    "model": (Model(MODEL), "82f0ef2a4649bccfcfa3a4749a17fbe3"),
}


@pytest.mark.parametrize("name", PINNED)
def test_keys_stay_what_they_are(name):
    unit, key = PINNED[name]
    assert (SCHEMA, unit.key) == (2, key)


@pytest.mark.parametrize("change", [
    lambda v: None, lambda v: [], lambda v: v | {"kind": "logit_lens"}, lambda v: v | {"kind": 3},
    lambda v: v | {"schema": 1}, lambda v: v | {"schema": "2"}, lambda v: v | {"more": 1},
    lambda v: {k: x for k, x in v.items() if k != "what"}, lambda v: v | {"what": "layers"}, lambda v: v | {"what": 3},
    lambda v: v | {"setup": v["setup"] | {"n_shots": -1}}, lambda v: v | {"setup": v["setup"] | {"n_shots": 1.0}},
    lambda v: v | {"setup": v["setup"] | {"n_shots": True}}, lambda v: v | {"setup": v["setup"] | {"seed": None}},
    lambda v: v | {"setup": v["setup"] | {"task": "piqa"}}, lambda v: v | {"ranking": {"tasks": []}},
    lambda v: v | {"ranking": v["ranking"] | {"tasks": [["piqa", "d1"]]}},
    lambda v: v | {"ranking": v["ranking"] | {"tasks": "piqa"}},
    *(lambda v, more=more: v | more | {"ranking": v["ranking"] | {"method": "gates"} | more.get("ranking", {})}
      for more in ({"ranking": {"method": "best"}}, {"ranking": {"reverse": True}}, {"ranking": {"seed": 0}},
                   {"ranking": {"tasks": []}}, {"what": "ffns"}, {"what": "combined"})),
])
def test_what_is_no_name_is_refused(change):
    with pytest.raises(StoreError):
        Unit.from_json(change(Pruning(SETUP).to_json()))


@pytest.mark.parametrize("text", ["L0H", "everything", "L0-999999H0-999999", "F0-999999999999", "L0-999999",
                                  "L" + "9" * 5000 + "H0", ["L0H1"], 3, None])
def test_an_ablation_that_cannot_be_is_refused_at_once(text):
    with pytest.raises(StoreError):
        Unit.from_json(Evaluation(SETUP).to_json() | {"ablation": text})


def test_records_are_answers_to_one_kind_of_question():
    assert {one.KIND: type(record) for one, record in RECORDS} == {name: kind.RECORD for name, kind in KINDS.items()}


def test_a_negative_number_of_shots_is_no_setup():
    with pytest.raises(BadInput, match="0 or more, got -1"):
        replace(SETUP, n_shots=-1)
