"""Plans: everything that is needed, once, in an order that works, at a cost that can be counted by hand."""

from __future__ import annotations

from collections import Counter

import pytest
from backend.kinds.sweeps import pruning_steps

from backend import service
from backend.errors import BadInput
from backend.runs import plan as planning
from backend.runs.plan import TOPICS, Request, make, units
from backend.store.live import Store
from backend.tasks import own
from backend.tasks.registry import suite
from backend.values import Ablation, Head
from tests.models.small import small_model

INFO = small_model("opt").info
EVERYTHING = Request(INFO, ("antonym", "capital"), (0, 1), tuple(TOPICS), n_examples=4, n_train=4, n_random=2)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def pets(tmp_path, monkeypatch) -> str:
    """A task of one's own whose words can be counted: questions of 2 words, answers of 1, demonstrations of 3."""
    monkeypatch.setenv("HEADROOM_TASKS", str(tmp_path / "tasks"))
    train, validation = ([{"query": f"pet {name}", "options": ["cat", "dog", "cow"], "gold": 0} for name in names]
                         for names in ("abcdef", "ghijkl"))
    own.keep(own.OwnTask("pets", train, validation))
    return "own:pets"


def words(text: str) -> int:
    return len(text.split())


def test_every_unit_comes_once_and_after_what_it_builds_on():
    found = units(EVERYTHING)
    assert len(set(found)) == len(found)
    for position, unit in enumerate(found):
        assert set(service.needs(unit)) <= set(found[:position])


def test_every_topic_gives_its_units():
    tasks, shots = 2, 2
    count = Counter(u.kind for u in units(EVERYTHING))
    per_setup = ("evaluation", "head_importance", "ffn_oracle", "head_oracle", "means")
    assert {kind: count[kind] for kind in per_setup} == dict.fromkeys(per_setup, tasks * shots)
    assert (count["prefix_matching"], count["copying"], count["model"]) == (2, 2, 1)
    pruned = [u for u in units(EVERYTHING) if u.kind == "pruning"]
    rankings = {(u.option("what"), u.option("ranking")) for u in pruned if u.setup.task == "antonym"}
    one_curve = {"own", "aggregate:antonym+capital", "most-important", "random:0", "random:1"}
    assert rankings == {*(("heads", r) for r in one_curve | {"task:capital"}), *(("ffns", r) for r in one_curve),
                        ("combined", "own"), ("combined", "aggregate:antonym+capital")}


def test_pruning_alone_brings_the_importance_it_needs():
    found = units(Request(INFO, ("antonym",), (1,), ("pruning",), n_random=1))
    assert [u.kind for u in found if u.kind != "pruning"] == ["model", "head_importance", "ffn_oracle"]


def test_a_whole_suite_is_pruned_by_its_aggregate_and_so_are_the_held_out_tasks():
    names = tuple(task.name for task in suite("mini"))
    found = units(Request(INFO, names, (0,), ("pruning",), n_random=0))
    rankings = {u.option("ranking") for u in found if u.kind == "pruning"}
    assert rankings == {"own", "aggregate:mini", "most-important"}
    paper = tuple(task.name for task in suite("paper,held-out"))
    assert set(map(tuple, planning._aggregates(paper).values())) == {("aggregate:paper",)}
    assert set(planning._aggregates(paper)) == set(paper)


def test_one_task_has_no_aggregate():
    found = units(Request(INFO, ("antonym",), (0,), ("pruning", "combined", "transfer"), n_random=0))
    assert {u.option("ranking") for u in found if u.kind == "pruning"} == {"own", "most-important"}


def test_induction_needs_no_task():
    assert {u.kind for u in units(Request(INFO, what=("induction",)))} == {"model", "prefix_matching", "copying"}


def test_seeds_are_other_setups():
    found = units(Request(INFO, ("antonym",), (1,), ("accuracy",), seeds=(0, 3)))
    assert [u.setup.seed for u in found if u.kind == "evaluation"] == [0, 3]


@pytest.mark.parametrize(("changes", "message"), [
    ({"what": ("importence",)}, "Cannot measure 'importence'. Known: accuracy, importance"),
    ({"what": ()}, "Nothing to measure"),
    ({"demos": "random"}, "Known: per-query, fixed"),
    ({"n_examples": 0}, "examples must be 1 or more, got 0"),
    ({"shots": (0, -1)}, "shots must be 0 or more, got -1"),
    ({"tasks": ()}, "No task named"),
    ({"tasks": ("antonyms",)}, "Did you mean 'antonym'"),
    ({"off": (Ablation(frozenset({Head(3, 0)})),)}, "No such component: L3H0"),
    ({"shots": (10_000,)}, "10000 shots asked of task 'antonym'"),
])
def test_what_cannot_be_asked_is_refused_before_anything_is_computed(changes, message):
    with pytest.raises(BadInput) as error:
        units(Request(**{"info": INFO, "tasks": ("antonym",), **changes}))
    assert message in str(error.value)


def test_what_is_stored_is_done_and_costs_nothing(store):
    request = Request(INFO, ("antonym",), (0,), ("accuracy", "ffns"), n_examples=4)
    before = make(request, store)
    assert before.n_done == 0
    for step in before.steps[:2]:
        service.compute(step.unit, store, small_model("opt"))
    after = make(request, store)
    assert [s.done for s in after.steps] == [True, True, False]
    assert after.cost == after.steps[2].cost == before.steps[2].cost < before.cost


def test_a_damaged_result_is_to_do(store):
    unit = service.model_record(INFO)
    service.compute(unit, store, small_model("opt"))
    store._cache.set(unit.key, b"damaged")
    assert len(make(Request(INFO, what=("induction",)), store).to_do) == 3


def test_the_plan_of_one_result_is_it_and_what_it_builds_on(store):
    unit = service.pruning(service.setup(INFO, "antonym", 0), "combined")
    assert [s.unit for s in planning.of_unit(unit, INFO, store).steps] == [*service.needs(unit), unit]


def costs(setup) -> list[int]:
    return [planning.cost(unit, INFO, words) for unit in (
        service.evaluation(setup), service.ffn_oracle(setup), service.head_oracle(setup), service.pruning(setup),
        service.head_importance(setup, 4))]


def test_fixed_demonstrations_are_read_once_and_a_question_once_for_all_its_options(pets):
    setup = service.setup(INFO, pets, 2, "fixed", 4)
    read = 2 * 3 + 4 * (2 + 3 * 1)
    half = (INFO.n_layers + 1) / 2  # an oracle starts where it differs
    train = 4 * (2 * 3 + 2 + 1)  # demonstrations, question and gold answer; forwards and backwards
    ffns, heads = round(read * (1 + half)), round(read * (1 + half * INFO.n_heads))
    assert costs(setup) == [read, ffns, heads, 10 * read, 3 * train]


def test_pruning_costs_as_many_evaluations_as_it_makes(pets):
    setup = service.setup(INFO, pets, 0, "fixed", 4)
    read = planning.cost(service.evaluation(setup), INFO, words)
    heads = [Head(*divmod(i, INFO.n_heads)) for i in range(INFO.n_layers * INFO.n_heads)]
    for what in ("heads", "ffns", "combined"):
        steps, _ = pruning_steps(heads, range(INFO.n_layers), what)
        assert planning.cost(service.pruning(setup, what), INFO, words) == len(set(steps)) * read


def test_demonstrations_drawn_per_query_are_read_for_each(pets):
    setup = service.setup(INFO, pets, 2, "per-query", 4)
    assert costs(setup)[0] == 4 * (2 * 3 + 2 + 3 * 1)


def test_asking_for_more_queries_than_there_are_costs_no_more(pets):
    six, many = (service.evaluation(service.setup(INFO, pets, 0, "fixed", n)) for n in (6, 1000))
    assert planning.cost(many, INFO, words) == planning.cost(six, INFO, words)


def test_seconds_come_from_units_of_the_kind_else_from_the_probe(pets):
    setup = service.setup(INFO, pets, 0, "fixed", 4)
    steps = [planning.Step(service.evaluation(setup), False, 100), planning.Step(service.ffn_oracle(setup), False, 100),
             planning.Step(service.head_oracle(setup), True, 0)]
    assert planning.seconds(steps, {}) is None
    assert planning.seconds(steps, {"": 50.0}) == 4
    assert planning.seconds(steps, {"": 50.0, "ffn_oracle": 10.0}) == 12
    assert planning.seconds(steps, {"evaluation": 10.0}) == 20
    assert planning.seconds([], {}) == 0


def test_rates_are_what_this_machine_did(store, pets):
    setup = service.setup(INFO, pets, 0, "fixed", 4)
    unit = service.evaluation(setup)
    service.compute(unit, store, small_model("opt"))
    store.put_seconds(unit, 2.0)
    assert planning.rates(INFO, store, "float32", words) == {"evaluation": planning.cost(unit, INFO, words) / 2}
    assert planning.rates(INFO, store, "bfloat16", words) == {}


def test_a_probe_measures_a_speed_and_stores_nothing(store):
    model = small_model("opt")
    speed = planning.probe(model, make(Request(INFO, ("antonym",), (1,), ("accuracy",)), store), at_most=0.1)
    assert speed is not None
    assert speed > 0
    assert store.units() == []
    assert planning.probe(model, make(Request(INFO, what=("induction",)), store)) is None
