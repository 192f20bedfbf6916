"""Arrays are held against the shapes in their types while tests run, in every module that has some."""

import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import AbstractArray, Float, TypeCheckError

from backend import stats
from backend.engine import gradients, trees
from backend.models.gates import Gates, Places
from backend.tables.overlap import shots_correlations
from tests.conftest import CHECKED
from tests.shapes import check, jaxtyped

ROOT = Path(__file__).parent.parent
KINDS = ("Bool[", "Float[", "Int[", "Real[", "Shaped[")


def modules() -> Iterator[str]:
    for name in CHECKED:
        path = ROOT.joinpath(*name.split("."))
        for file in [path.with_suffix(".py")] if path.with_suffix(".py").is_file() else sorted(path.rglob("*.py")):
            yield ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def functions(module: str) -> Iterator[tuple[str, Any]]:
    """What a module defines, methods too, that says shapes: its name and the function as the hook has wrapped it."""
    for holder in (found := importlib.import_module(module), *vars(found).values()):
        if holder is not found and not (isinstance(holder, type) and holder.__module__ == module):
            continue
        for name, one in vars(holder).items():
            one = one.fget if isinstance(one, property) else getattr(one, "__func__", one)
            # Whatever stands in front of it (torch.no_grad, cache), jaxtyping's wrapper is next to the function.
            while "memos" not in getattr(getattr(one, "__code__", None), "co_varnames", ()) and hasattr(
                    one, "__wrapped__"):
                one = one.__wrapped__
            if inspect.isfunction(one) and one.__module__ == module and any(
                    kind in str(said) for said in one.__annotations__.values() for kind in KINDS):
                yield f"{holder.__name__}.{name}", one


@pytest.mark.parametrize("module", [*modules()])
def test_every_call_in_it_is_held_against_the_shapes_it_says(module: str) -> None:
    for name, one in functions(module):
        inside = inspect.getclosurevars(one).nonlocals
        assert "param_signature" in inside, f"{name} is as it was written: the hook is not on"
        told = inspect.getclosurevars(inside["wrapped_fn_impl"]).nonlocals["full_signature"]
        read = {**{key: value.annotation for key, value in told.parameters.items()}, "return": told.return_annotation}
        for argument, said in one.__annotations__.items():
            if any(kind in str(said) for kind in KINDS):
                assert read[argument] is not Any, f"{name}: '{said}' of {argument} names what is not there yet"


def test_there_is_something_to_check() -> None:
    """So that the test above cannot pass for having found nothing."""
    found = [name for module in modules() for name, _ in functions(module)]
    assert len(found) > 150
    assert {"backend.stats.order", "Marks.__init__", "Attention.pattern", "backend.engine.passes.score",
            "backend.models.gates._gated", "backend.models.attention._products",
            "backend.lens.attention", "HeadScores.scores",
            "backend.tables.overlap.overlap_table"} <= {*found}


SCORES = np.arange(6.0).reshape(2, 3)


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="scores"):
        stats.lowest(SCORES.ravel(), 0.5)  # of heads, but flat
    with pytest.raises(TypeCheckError, match="targets"):
        gradients.surprise(torch.zeros(4, 7), torch.zeros(3, dtype=torch.int64))  # 4 rows of logits, 3 targets
    with pytest.raises(TypeCheckError, match="ffns"):
        Gates(torch.ones(1, 2, 3), torch.ones(1, 4))  # 2 layers of heads, 4 of FFNs
    row, none = np.zeros((2, 3), int), np.zeros(0, int)
    with pytest.raises(TypeCheckError, match="ancestors"):
        trees.Batch(row, row, np.ones((2, 3), bool), none, none, none, none, none, none, none)


def test_a_wrong_kind_of_number_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="right"):
        stats.Marks(np.array([1, 0, 1]))
    with pytest.raises(TypeCheckError, match="flat"):
        Places.of(np.array([0.0, 1.0]), 1, 9, torch.device("cpu"))


def test_a_wrong_result_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "_ranks", lambda scores: np.ones((2, 2)))
    with pytest.raises(TypeCheckError, match="return value"):
        stats.ranks_from_top(SCORES)


def test_an_array_deep_in_a_type_is_looked_at() -> None:
    with pytest.raises(TypeCheckError, match="scores"):
        shots_correlations({("antonym", 0): [1.0, 2.0]}, ["antonym"], [(0, 0)])  # type: ignore[dict-item]


def test_functions_without_arrays_are_left_alone() -> None:
    def plain(n: int, names: list[str]) -> str: ...

    def shaped(n: int, x: AbstractArray) -> str: ...  # type: ignore[empty-body]

    assert check(plain) is plain
    assert check(shaped) is not shaped
    assert shaped.__annotations__["n"] is Any
    assert jaxtyped(typechecker=check)(plain) is plain
    assert not hasattr(stats.count, "__wrapped__")


def test_so_are_dataclasses_methods_and_properties_without_arrays() -> None:
    @dataclass
    class Plain:
        n: int

        @property
        def twice(self) -> int: ...  # type: ignore[empty-body]

    @dataclass
    class Shaped:
        x: Float[np.ndarray, " n"]

        @property
        def doubled(self) -> Float[np.ndarray, " n"]: ...  # type: ignore[empty-body]

    decorate = jaxtyped(typechecker=check)
    init, twice, doubled = Plain.__init__, Plain.twice, Shaped.doubled
    assert decorate(Plain) is Plain
    assert Plain.__init__ is init
    assert decorate(twice) is twice
    assert decorate(doubled) is not doubled
    assert decorate(Shaped) is Shaped
    with pytest.raises(TypeCheckError, match="x"):
        Shaped(np.zeros((2, 2)))


def test_elsewhere_nothing_is_checked_and_nothing_imported_for_it() -> None:
    code = ("import sys; import numpy as np; from backend import stats; from backend.engine import gradients; "
            "from backend.arrays import Float; stats.Marks(np.array([1, 0])); "
            "print(Float[np.ndarray, 'n'] is np.ndarray, hasattr(stats.order, '__wrapped__'), "
            "sorted({'jaxtyping', 'beartype'} & sys.modules.keys()))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True False []"
