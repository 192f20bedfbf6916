"""What a page shows as a command or as Python makes that very result: parsed and run here."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from backend import __main__ as cli
from backend.errors import BadInput
from backend.kinds import (
    KINDS,
    Answers,
    Attribution,
    Copying,
    Evaluation,
    FFNOracle,
    FunctionVectors,
    Greedy,
    HeadGates,
    HeadImportance,
    HeadOracle,
    InductionScores,
    Influence,
    Influences,
    Iterative,
    KnockOut,
    Means,
    Model,
    OptimalConstants,
    PrefixMatching,
    Pruning,
    Relabelled,
    ShuffledHeads,
    Sweep,
    Unit,
    Writes,
)
from backend.kinds.knock_out import EVERY_SORT
from backend.kinds.lines import commands, python
from backend.kinds.oracles import FILLS
from backend.models import loading
from backend.models.identity import identify
from backend.models.info import describe
from backend.runs import plan as planning
from backend.runs.plan import identify_tasks
from backend.store import live
from backend.store.live import Store, default_store
from backend.tasks import own
from backend.values import INTACT, METHODS, Ablation, Ranking, Setup, TaskId, parse_exact
from tests.store.test_store import RECORDS

MODEL = identify("bundled")
ANTONYM, CAPITAL = identify_tasks("antonym,capital")
MINI = identify_tasks("mini")
SETUPS = [Setup(MODEL, ANTONYM, 5), Setup(MODEL, ANTONYM, 5, draws=10), Setup(MODEL, CAPITAL, 0, "per-query", 7, 3)]


def rankings(n_train: int, reduction: str, setup: Setup) -> list[Ranking]:
    """Every ranking that a page offers, for one setup."""
    other = CAPITAL if setup.task == ANTONYM else ANTONYM
    return [Ranking.random(0), Ranking.random(12), Ranking.random(0, 32), Ranking.random(12, 5), *(
        Ranking.by(*tasks, n_train=n_train, reduction=reduction, reverse=reverse)
        for tasks in ((setup.task,), (other,), (ANTONYM, CAPITAL), MINI) for reverse in (False, True))]


def every_unit(setup: Setup) -> list[Unit[Any]]:
    masks = [parse_exact(text) for text in ("L0H1", "L0H0-3,L1H2,F0-1", "mean:L1H0,F1")]
    return list(dict.fromkeys([
        Evaluation(setup), *(Evaluation(setup, mask) for mask in masks), Evaluation(setup, masks[2], 50),
        HeadImportance(setup.with_(n_examples=200)), HeadImportance(setup.with_(n_examples=50)),
        Means(setup.with_(n_examples=50)), Writes(setup.with_(n_examples=32)), Writes(setup.with_(n_examples=50)),
        FFNOracle(setup), HeadOracle(setup), *(HeadOracle(setup, fill, n) for fill in FILLS[1:] for n in (200, 50)),
        HeadOracle(setup, on="train"), HeadOracle(setup, "mean", 50, "train"),
        Attribution(setup.with_(n_examples=200)), Attribution(setup.with_(n_examples=50)),
        OptimalConstants(setup.with_(n_examples=50)),
        *(kind(setup.with_(n_examples=n)) for kind in (Iterative, Greedy, HeadGates) for n in (60, 7)),
        Iterative(setup, "one-divisor"),
        *(Pruning(setup, "heads", Ranking.fitted(method, task, n, reduction)) for method, n, task, reduction in product(
            METHODS, (60, 7), (ANTONYM, CAPITAL), ("per-token", "per-example"))),
        *(FunctionVectors(setup.with_(n_examples=n), trials) for n, trials in ((50, 25), (7, 3)) if setup.n_shots),
        *(unit for mask in (INTACT, *masks) if setup.n_shots for unit in (
            Relabelled(setup, "shuffled", mask), Relabelled(setup, "made-up", mask, 7), Influence(setup, mask, 7))),
        *(ShuffledHeads(setup) for _ in "1" if setup.n_shots),
        *(KnockOut(setup, sort, tasks, fill, n, n) for sort in EVERY_SORT for tasks, fill, n in (
            ((), "zero", 50), (MINI, "mean", 7)) if setup.n_shots),
        *(Pruning(setup, what, ranking) for what, n_train, reduction in product(
            ("heads", "ffns", "combined"), (200, 50), ("per-token", "per-example", "integrated"))
          for ranking in rankings(n_train, reduction, setup)),
        *(PrefixMatching(MODEL, variant, n) for variant in PrefixMatching.VARIANTS for n in (100, 7)),
        *(Copying(MODEL, variant, n) for variant in Copying.VARIANTS for n in (100, 7))]))


def asked(given: list[str]) -> list[Unit[Any]]:
    """What a command makes, beside the model's own record."""
    request = cli.requested(cli.parser().parse_args(["precompute", *given]))
    return [unit for unit in planning.asked(request) if not isinstance(unit, Model)]


@pytest.mark.parametrize("unit", every_unit(SETUPS[0]) + every_unit(SETUPS[1]), ids=lambda unit: " ".join(
    unit.arguments()).replace("/", "|")[-150:])
def test_the_arguments_of_a_unit_make_it_and_no_other(unit, monkeypatch):
    known = describe("bundled")
    monkeypatch.setattr(cli, "describe", lambda *_: known)
    monkeypatch.setattr(cli, "identify", lambda *_: MODEL)
    assert asked(unit.arguments()) == [unit]


def test_every_kind_but_the_model_s_shape_has_arguments():
    found = {unit.KIND for unit in every_unit(SETUPS[0]) if unit.arguments()}
    assert found == set(KINDS) - {"model"}
    assert Model(MODEL).arguments() == []


def test_a_ranking_by_tasks_of_one_s_own_can_be_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_TASKS", str(tmp_path))
    for name in ("pets", "my-quiz"):
        rows = [{"query": f"{name} {i}", "options": ["a", "b"], "gold": 0} for i in range(12)]
        own.keep(own.OwnTask(name, rows[:6], rows[6:]))
    pets, quiz = identify_tasks("own:pets,own:my-quiz")
    for ranking in (Ranking.by(pets), Ranking.by(quiz), Ranking.by(pets, quiz), Ranking.by(pets, ANTONYM)):
        unit = Pruning(Setup(MODEL, pets, 1), "heads", ranking)
        assert asked(unit.arguments()) == [unit]


def test_commands_bring_together_what_differs_by_task_alone_and_make_all_of_it():
    units = [unit for task in (ANTONYM, CAPITAL) for unit in (
        Evaluation(Setup(MODEL, task, 5)), FFNOracle(Setup(MODEL, task, 5)), Pruning(Setup(MODEL, task, 5)))]
    units += [Copying(MODEL), Model(MODEL)]
    lines = commands(units, ["--model", "bundled"]).splitlines()
    assert len(lines) == 4
    assert all("--tasks antonym,capital" in line for line in lines[:3])
    made = [unit for line in lines for unit in asked(line.split()[4:])]
    assert set(made) == set(units) - {Model(MODEL)}


@pytest.mark.parametrize("text", ["random:", "random:1.5", "random:-1", "random:99999999999", "reverse:random:1",
                                  "live:", "reverse:live:1",
                                  "own:antonym", "task:", "aggregate:", "best", "", "reverse:", "reverse:gates",
                                  "gates:", "greedy:mini"])
def test_what_is_no_ranking_is_refused(text):
    with pytest.raises(BadInput, match="Unknown ranking"):
        Ranking.parse(text, ANTONYM, identify_tasks)


# --- Python -------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """The default store; nothing may be measured."""
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path))
    monkeypatch.setattr(live, "SHIPPED", None)
    monkeypatch.setattr(loading, "load_model", lambda *_, **__: pytest.fail("nothing needs to be measured"))
    return default_store()


def ran(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code, "shown", "exec"), names)
    return names


def recorded(unit: Unit[Any]) -> Any:
    """Some record of a unit's kind, that can be its answer."""
    record = next(record for one, record in RECORDS if one.KIND == unit.KIND)
    if isinstance(record, InductionScores):
        return replace(record, n_seeds=unit.n_sequences)
    if isinstance(record, Answers | Sweep | Influences):
        return replace(record, questions=replace(record.questions, dropped_demos=()))
    return record


@pytest.mark.parametrize("unit", [one for one, _ in RECORDS] + [
    Evaluation(SETUPS[-1], parse_exact("mean:L1H0,F1"), 50),
    Pruning(SETUPS[0], "combined", Ranking.by(ANTONYM, CAPITAL, n_train=50, reduction="per-example")),
    Pruning(SETUPS[0], "ffns", Ranking.by(CAPITAL, reverse=True)), Pruning(SETUPS[0], "heads", Ranking.random(3)),
    Pruning(SETUPS[0], "heads", Ranking.random(3, 32)),
    *(Pruning(SETUPS[0], "heads", Ranking.fitted(method, task, n, "per-example"))
      for method in METHODS for task, n in ((ANTONYM, 60), (CAPITAL, 7))),
    Copying(MODEL.with_(dtype="bfloat16", bos=True), "olsson", 7)], ids=str)
def test_the_lines_of_a_unit_fetch_its_record(unit, store):
    store.put(unit, recorded(unit))
    code = python(unit, "'bundled'", "shown = record.to_json()")
    assert max(map(len, code.splitlines())) < 400
    names = ran(code)
    assert names["unit"] == unit
    assert names["record"] == recorded(unit)
    assert names["shown"] == recorded(unit).to_json()


@pytest.mark.parametrize("make", [
    Evaluation, HeadImportance, FFNOracle, Pruning, lambda s: Pruning(s, "ffns"),
    lambda s: Pruning(s, "combined", Ranking.by(s.task, n_train=50, reverse=True)),
    lambda s: Pruning(s, "heads", Ranking.by(ANTONYM, CAPITAL)), lambda s: Pruning(s, "heads", Ranking.random(2)),
    lambda s: Evaluation(s, parse_exact("L0H1")),
])
def test_lines_over_several_tasks_fetch_each_task_s_own_record(make, store):
    over = [(task, n_shots) for task in (CAPITAL, ANTONYM) for n_shots in (5, 0)]
    units = [make(SETUPS[0].with_(task=task, n_shots=n_shots)) for task, n_shots in over]
    for number, unit in enumerate(units):
        value = recorded(unit).to_json()
        value |= {"n_spanning": number} if "n_spanning" in value else {
            "questions": value["questions"] | {"docs": [number, number + 9]}}
        store.put(unit, unit.RECORD.from_json(value))
    names = ran(python(units[-2], "'bundled'", "n = len(records)", over=over))
    assert names["records"] == [store.get(unit) for unit in units]
    assert len(set(map(str, names["records"]))) == names["n"] == 4


def test_the_lines_measure_what_is_not_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path))
    monkeypatch.setattr(live, "SHIPPED", None)
    unit = PrefixMatching(MODEL, n_sequences=1)
    names = ran(python(unit, "'bundled'"))
    assert isinstance(names["record"], InductionScores)
    assert names["record"].n_seeds == 1
    assert default_store().get(unit) == names["record"]


def test_a_task_of_any_name_and_a_model_of_any_name_stay_words(store):
    model = MODEL.with_(name='it\'s "mine"\\')
    unit = Evaluation(Setup(model, TaskId("own:n_shots=5", "x"), 5), Ablation(ffns=frozenset({3})))
    store.put(unit, recorded(unit))
    assert ran(python(unit, "'bundled'"))["unit"] == unit
