"""Plans: everything that is needed, once, in an order that works, at a cost that can be counted by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from backend.errors import BadInput
from backend.kinds import (
    KINDS,
    Attribution,
    Evaluation,
    FFNOracle,
    HeadImportance,
    HeadOracle,
    Means,
    Model,
    OptimalConstants,
    PrefixMatching,
    Pruning,
    compute,
)
from backend.kinds.constants import STEPS
from backend.kinds.oracles import FILLS, N_RESAMPLED
from backend.kinds.pruning import aggregate_of, pruning_steps, shares
from backend.runs import plan as planning
from backend.runs.plan import Counting, Request, identify_tasks, make, topics, units
from backend.store.live import Store
from backend.tasks import own
from backend.values import Ablation, Head, Ranking, Setup, TaskId
from tests.models.small import small_model

INFO, MODEL = small_model("opt").info, small_model("opt").id
OFF = Ablation(frozenset({Head(0, 1)}))


def request(tasks: str = "antonym", shots: tuple[int, ...] = (0,), what: tuple[str, ...] = ("accuracy",),
            n_examples: int = 4, seeds: tuple[int, ...] = (0,), **options) -> Request:
    return Request(MODEL, INFO, identify_tasks(tasks) if tasks else (), shots, what, "fixed", n_examples, seeds,
                   {"n_train": 4, "n_random": 2} | options)


def setup_of(task: str, n_shots: int, demos: str = "fixed", n_examples: int = 4) -> Setup:
    return Setup(MODEL, identify_tasks(task)[0], n_shots, demos, n_examples)


EVERYTHING = request("antonym,capital", (0, 1), tuple(topics()), off=(OFF, OFF.filled("mean")))


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
        assert set(unit.needs()) <= set(found[:position])


def test_every_kind_can_be_asked_for():
    assert {u.KIND for u in units(EVERYTHING)} == set(KINDS)


def test_every_topic_gives_its_units():
    tasks, shots = 2, 2
    count = Counter(u.KIND for u in units(EVERYTHING))
    per_setup = {"evaluation": 3, "head_importance": 1, "ffn_oracle": 1, "head_oracle": 1, "means": 1, "writes": 1}
    assert {kind: count[kind] for kind in per_setup} == {kind: n * tasks * shots for kind, n in per_setup.items()}
    assert (count["attribution"], count["optimal_constants"]) == (tasks * shots,) * 2
    assert count["knock_out"] == tasks * 7  # four sorts and three random ones
    assert count["labels"] == tasks * 4  # two sorts of labels, two masks; none at 0 shots
    assert count["influence"] == tasks * 2
    assert count["shuffled_oracle"] == tasks
    assert count["function_vectors"] == tasks  # none at 0 shots, where no labels stand
    assert (count["prefix_matching"], count["copying"], count["model"]) == (2, 2, 1)
    pruned = [u for u in units(EVERYTHING) if isinstance(u, Pruning) and u.task.name == "antonym"]
    rankings = Counter((u.what, u.ranking.named(u.task)) for u in pruned)
    one_curve = {"own", "aggregate:antonym+capital", "reverse:own"}
    assert rankings == Counter(dict.fromkeys([
        *(("heads", r) for r in one_curve | {"task:capital", "live:0", "live:1"}),
        *(("ffns", r) for r in one_curve | {"random:0", "random:1"}),
        ("combined", "own"), ("combined", "aggregate:antonym+capital")], shots))
    assert {u.ranking.n_train for u in pruned if not u.ranking.is_random} == {0, 4}
    assert all(bool(u.ranking.n_train) == (u.what != "ffns") for u in pruned)


@pytest.mark.parametrize("topic", topics())
def test_a_topic_alone_gives_only_units_that_say_they_are_of_it_and_what_they_build_on(topic):
    asked = planning.asked(request("antonym,capital", (1,), what=(topic,), off=(OFF,) * (topic == "masks")))
    assert isinstance(asked[0], Model)
    assert len(asked) > 1
    assert {u.topic for u in asked[1:]} == {topic}


def test_pruning_alone_brings_the_importance_it_needs():
    found = units(request("antonym", (1,), ("pruning",)))
    assert [u.KIND for u in found if not isinstance(u, Pruning)] == ["model", "head_importance", "writes", "ffn_oracle"]


def test_a_whole_suite_is_pruned_by_its_aggregate_and_so_are_the_held_out_tasks():
    mini = identify_tasks("mini")
    found = units(request("mini", what=("pruning",), n_random=0))
    names = "aggregate:" + "+".join(sorted(task.name for task in mini))
    pruned = [u for u in found if isinstance(u, Pruning)]
    assert {u.ranking.named(u.task) for u in pruned} == {"own", names, "reverse:own"}
    paper, held_out = ([TaskId(name, name) for name in members] for members in (
        ("hellaswag", "piqa", "arc_easy", "arc_challenge", "openbookqa", "winogrande", "boolq", "copa", "cb", "record",
         "rte", "wic", "wsc", "multirc"), ("mathqa", "lambada")))
    for task in (*paper, *held_out):
        assert aggregate_of(task, [*held_out, *paper], None) == tuple(paper)
    assert aggregate_of(paper[0], paper[:2], None) == tuple(paper[:2])  # part of a suite: those named


def test_one_task_has_no_aggregate():
    found = units(request(what=("pruning", "combined", "transfer"), n_random=0))
    assert {u.ranking.named(u.task) for u in found if isinstance(u, Pruning)} == {"own", "reverse:own"}


def test_induction_needs_no_task():
    assert {u.KIND for u in units(request("", what=("induction",)))} == {"model", "prefix_matching", "copying"}


def test_seeds_are_other_setups():
    found = units(request(shots=(1,), seeds=(0, 3)))
    assert [u.setup.seed for u in found if isinstance(u, Evaluation)] == [0, 3]


@pytest.mark.parametrize(("changes", "message"), [
    ({"what": ("importence",)}, "Cannot measure 'importence'. Known: "),
    ({"what": ()}, "Nothing to measure"),
    ({"demos": "random"}, "Known: per-query, fixed"),
    ({"n_examples": 0}, "examples must be 1 or more, got 0"),
    ({"shots": (0, -1)}, "shots must be 0 or more, got -1"),
    ({"options": {"n_train": 0}}, "n-train must be 1 or more, got 0"),
    ({"options": {"n_sequences": 0}}, "n-sequences must be 1 or more, got 0"),
    ({"options": {"n_random": -1}}, "n-random must be 0 or more, got -1"),
    ({"options": {"n_trains": 4}}, "Unknown option 'n_trains'. Known: n_train, off"),
    ({"tasks": ()}, "No task named"),
    ({"what": ("masks",)}, "No mask named"),
    ({"options": {"off": (Ablation(frozenset({Head(3, 0)})),)}}, "No such component: L3H0"),
    ({"options": {"by": ("best",)}, "what": ("pruning",)}, "Unknown ranking 'best'. Known: own, task:<name>"),
    ({"options": {"by": ("random:x",)}, "what": ("pruning",)}, "random:<seed>"),
    ({"options": {"by": ("reverse:random:1",)}, "what": ("pruning",)}, "reverse: in front of the first three"),
    ({"options": {"by": ("task:antonyms",)}, "what": ("pruning",)}, "Did you mean 'antonym'"),
    ({"options": {"by": ("task:mini",)}, "what": ("pruning",)}, "Unknown ranking 'task:mini'"),
    ({"shots": (10_000,)}, "10000 shots asked of task 'antonym'"),
])
def test_what_cannot_be_asked_is_refused_before_anything_is_computed(changes, message):
    with pytest.raises(BadInput) as error:
        units(Request(**{"model": MODEL, "info": INFO, "tasks": identify_tasks("antonym"), **changes}))
    assert message in str(error.value)


def test_an_unknown_task_says_which_was_meant():
    with pytest.raises(BadInput, match="Did you mean 'antonym'"):
        identify_tasks("antonyms")


def test_a_mask_that_is_named_is_asked_for():
    assert request(off=(OFF,)).what == ("accuracy", "masks")


def test_what_is_stored_is_done_and_costs_nothing(store):
    asked = request(what=("accuracy", "ffns"))
    before = make(asked, store)
    assert before.n_done == 0
    for step in before.steps[:2]:
        compute(step.unit, store, small_model("opt"))
    after = make(asked, store)
    assert [s.done for s in after.steps] == [True, True, False]
    assert after.cost == after.steps[2].cost == before.steps[2].cost < before.cost


def test_a_damaged_result_is_to_do(store):
    unit = Model(MODEL)
    compute(unit, store, small_model("opt"))
    store._cache.set(unit.key, b"damaged")
    assert len(make(request("", what=("induction",)), store).to_do) == 3


def test_the_plan_of_one_result_is_it_and_what_it_builds_on(store):
    unit = Pruning(setup_of("antonym", 0), "combined")
    assert [s.unit for s in planning.of_units([unit], INFO, store).steps] == [*unit.needs(), unit]


def cost(unit) -> int:
    return unit.cost(INFO, Counting(words))


def costs(setup) -> list[int]:
    return [cost(unit) for unit in (Evaluation(setup), FFNOracle(setup), HeadOracle(setup), Pruning(setup),
                                    HeadImportance(setup), Means(setup))]


def test_what_stands_in_for_heads_costs_what_it_reads(pets):
    setup = setup_of(pets, 2)
    zero, mean, optimal, resampled = (cost(HeadOracle(setup, fill, 4)) for fill in FILLS[:2] + FILLS[3:] + FILLS[2:3])
    assert zero == mean == optimal
    half, n = (INFO.n_layers + 1) / 2, INFO.n_heads
    whole = 4 * (2 * 3 + 2 + 3 * 1)  # every question with its demonstrations
    assert resampled == round((1 + half * N_RESAMPLED * n + N_RESAMPLED) * 2 * whole)
    train = 4 * (2 * 3 + 2 + 1)
    assert cost(Attribution(setup)) == 6 * 3 * train
    each = n * INFO.n_layers * half / INFO.n_layers
    assert cost(OptimalConstants(setup)) == round(each * (3 * STEPS * 4 + 2 * 4) / 4 * train)
    assert cost(HeadOracle(setup, on="train")) == round((1 + half * n) * train)


def test_fixed_demonstrations_are_read_once_and_a_question_once_for_all_its_options(pets):
    setup = setup_of(pets, 2)
    read = 2 * 3 + 4 * (2 + 3 * 1)
    half = (INFO.n_layers + 1) / 2  # an oracle starts where it differs
    train = 4 * (2 * 3 + 2 + 1)  # demonstrations, question and gold answer; forwards and backwards
    ffns, heads = round(read * (1 + half)), round(read * (1 + half * INFO.n_heads))
    points = len({int(share * INFO.n_layers * INFO.n_heads + 1e-9) for share, _ in shares("heads", fine=True)})
    assert costs(setup) == [read, ffns, heads, points * read, 3 * train, train]


def test_pruning_costs_as_many_evaluations_as_it_makes(pets):
    setup = setup_of(pets, 0)
    read = cost(Evaluation(setup))
    heads = [Head(*divmod(i, INFO.n_heads)) for i in range(INFO.n_layers * INFO.n_heads)]
    for what in ("heads", "ffns", "combined"):
        steps = pruning_steps(heads, range(INFO.n_layers), shares(what, fine=True))
        assert cost(Pruning(setup, what)) == len(set(steps)) * read
    assert cost(Pruning(setup, "heads", Ranking.random(3))) == 10 * read


def test_demonstrations_drawn_per_query_are_read_for_each(pets):
    setup = setup_of(pets, 2, "per-query")
    assert costs(setup)[0] == 4 * (2 * 3 + 2 + 3 * 1)


def test_asking_for_more_queries_than_there_are_costs_no_more(pets):
    six, many = (Evaluation(setup_of(pets, 0, n_examples=n)) for n in (6, 1000))
    assert cost(many) == cost(six)


def test_random_sequences_cost_their_length_each():
    assert cost(PrefixMatching(MODEL, n_sequences=3)) == 3 * INFO.max_positions
    assert cost(Model(MODEL)) == 0


def test_seconds_come_from_units_of_the_kind_else_from_the_probe(pets):
    setup = setup_of(pets, 0)
    steps = [planning.Step(Evaluation(setup), False, 100), planning.Step(FFNOracle(setup), False, 100),
             planning.Step(HeadOracle(setup), True, 0)]
    assert planning.seconds(steps, {}) is None
    assert planning.seconds(steps, {"": 50.0}) == 4
    assert planning.seconds(steps, {"": 50.0, "ffn_oracle": 10.0}) == 12
    assert planning.seconds(steps, {"evaluation": 10.0}) == 20
    assert planning.seconds([], {}) == 0


def test_rates_are_what_this_machine_did(store, pets):
    setup = setup_of(pets, 0)
    unit = Evaluation(setup)
    compute(unit, store, small_model("opt"))
    store.put_seconds(unit, 2.0)
    assert planning.rates(MODEL, INFO, store, words) == {"evaluation": cost(unit) / 2}
    assert planning.rates(MODEL.with_(dtype="bfloat16"), INFO, store, words) == {}
    own.remove(pets.removeprefix("own:"))
    planning._tokens.cache_clear()
    assert planning.rates(MODEL, INFO, store, words) == {}  # its rows are not here any more


def test_a_probe_measures_a_speed_and_stores_nothing(store):
    model = small_model("opt")
    speed = planning.probe(model, make(request(shots=(1,)), store), at_most=0.1)
    assert speed is not None
    assert speed > 0
    assert store.units() == []
    assert planning.probe(model, make(request("", what=("induction",)), store)) is None
