"""Knocking out function-vector heads, induction heads, each without the other, and random others."""

import numpy as np
import pytest

from backend.errors import BadInput
from backend.kinds import Effects, Evaluation, HeadWrites, InductionScores, KnockOut, compute
from backend.kinds.knock_out import EVERY_SORT, INDUCTION, INDUCTION_ALONE, SHARES, SORT, VECTORS, VECTORS_ALONE
from backend.records import ModelInfo
from backend.runs.plan import identify_tasks
from backend.store.live import Store
from backend.values import ModelId, Setup, TaskId, parse_exact
from tests.models.small import setup_of, small_model

INFO = ModelInfo("m", "r", "opt", 2, 10, 20, 2, 8, 100, 64, 50, "float32", 400)
SETUP = Setup(ModelId("m", "r", "d"), TaskId("antonym", "x"), 5)


def basis(vectors: np.ndarray, prefix: np.ndarray, dead: tuple[int, ...] = ()) -> list:
    """Of 20 heads; `dead`: by number."""
    def plain(values):
        return tuple(tuple(row) for row in np.reshape(values, (2, 10)).tolist())

    writes = np.ones(20)
    writes[list(dead)] = 0
    return [HeadWrites(1, 9, plain(writes)), InductionScores(1, plain(prefix), plain(0 * prefix), "x", 9),
            Effects(1, 0.9, (0.5,), (plain(vectors),), (), (0, 0), ())]


def off(sort: str, at: float, *given) -> set[int]:
    """The heads off at a share, by number."""
    found = KnockOut(SETUP, sort).ablations(basis(*given), INFO)[SHARES.index(at)]
    return {10 * head.layer + head.head for head in found.heads}


FALLS = np.linspace(1, 0, 20)  # head 0 first
EVEN_FIRST = np.array([1 - i / 40 if i % 2 == 0 else 0.4 - i / 100 for i in range(20)])  # 0, 2, 4, ..


def test_the_first_heads_of_each_sort_go_and_none_of_those_that_it_leaves_out():
    given = (FALLS, EVEN_FIRST)
    assert off(VECTORS, 0.2, *given) == {0, 1, 2, 3}
    assert off(INDUCTION, 0.2, *given) == {0, 2, 4, 6}
    assert off(VECTORS_ALONE, 0.2, *given) == {1, 3, 5, 7}
    assert off(INDUCTION_ALONE, 0.2, *given) == {4, 6, 8, 10}
    assert off(VECTORS_ALONE, 0.1, *given) == {1, 3}  # of the first two in prefix matching: 0 and 2
    for seed in range(5):
        drawn = off(f"random:{seed}", 0.2, *given)
        assert len(drawn) == 4
        assert not drawn & {0, 1, 2, 3, 4, 6}
    assert len({frozenset(off(f"random:{seed}", 0.2, *given)) for seed in range(5)}) > 1
    assert off(VECTORS, 0.0, *given) == set()


def test_dead_heads_are_not_counted_and_not_drawn():
    dead = tuple(range(10, 20))
    assert off(VECTORS, 0.2, FALLS[::-1], EVEN_FIRST, dead) == {8, 9}  # a fifth of ten
    assert off("random:0", 0.2, FALLS, EVEN_FIRST, dead) <= set(range(10)) - {0, 1, 2}


def test_by_induction_nothing_of_function_vectors_is_in_the_name():
    tasks = (TaskId("capital", "y"),)
    assert KnockOut(SETUP, INDUCTION, tasks, n_means=7) == KnockOut(SETUP, INDUCTION)
    assert KnockOut(SETUP, VECTORS, tasks) != KnockOut(SETUP, VECTORS)
    assert KnockOut(SETUP).tasks == (SETUP.task,)
    kinds = [[unit.KIND for unit in KnockOut(SETUP, sort, fill="mean").needs()] for sort in (VECTORS, INDUCTION)]
    assert kinds == [["writes", "function_vectors", "means"], ["writes", "prefix_matching", "means"]]


@pytest.mark.parametrize("more", [{"sort": "best"}, {"sort": "random:"}, {"fill": "noise"}, {"n_probe": 0}])
def test_what_cannot_be_knocked_out_is_refused(more):
    with pytest.raises(BadInput):
        KnockOut(SETUP, **more)
    with pytest.raises(BadInput, match="1 shot or more"):
        KnockOut(SETUP.with_(n_shots=0))
    with pytest.raises(ValueError, match="is no sort of heads"):
        SORT.read("function-vectors,best")


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_every_point_is_an_evaluation_of_its_mask(tmp_path, fill):
    model = small_model("opt")
    setup = setup_of(model, "antonym", 2, n_examples=8, draws=2)
    (other,) = identify_tasks("capital")
    unit = KnockOut(setup, EVERY_SORT[2], (other,), fill, 4, 3, 4, 5 if fill == "mean" else 0)
    with Store(tmp_path) as store:
        found = compute(unit, store, model)
        unit.check(found, model.info)
        for text, choices in zip(found.ablations, found.choices, strict=True):
            assert parse_exact(text).fill == (fill if text else "zero")
            assert compute(Evaluation(setup, parse_exact(text), 5 * (fill == "mean" and text != "")), store,
                           model).choices() == choices
    assert [len(parse_exact(text).heads) for text in found.ablations] == [int(12 * share) for share in SHARES]
