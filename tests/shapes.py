"""What holds calls into the numerics against the shapes in their types: see CHECKED in tests/conftest.py.

beartype, of the parts of a signature that hold arrays; everything else is mypy's. (As a whole, beartype refuses `Self`
where jaxtyping decorates methods one by one, and protocols that are for type checkers alone.) Of a sequence it looks at
one item, whichever.

Functions that say no shape are left as they are written: jaxtyping would bind the arguments of each of their calls, to
look at none of them, and that took a quarter of all the time that pages are drawn under test.
"""

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, install_import_hook

F = TypeVar("F", bound=Callable[..., Any])
_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # a whole number where a float is asked for will do


def hold(modules: tuple[str, ...]) -> None:
    """From now on, hold calls into these modules, of which none was imported yet, against the shapes in their types."""
    jaxtyping.jaxtyped = jaxtyped  # under which name the hook's decorator looks for it
    install_import_hook(modules, "tests.shapes.check")


def jaxtyped(*, typechecker: Callable[[Any], Any], real: Callable[..., Any] = jaxtyping.jaxtyped) -> Callable[[F], F]:
    """jaxtyping's decorator, where there is something to check."""
    def decorate(one: F) -> F:
        checked = []

        def noting(function: F) -> F:
            found: F = typechecker(function)
            checked.append(found is not function)
            return found

        init = vars(one).get("__init__") if isinstance(one, type) else None
        decorated: F = real(one, typechecker=noting)
        if any(checked):
            return decorated
        if init is not None:
            one.__init__ = init  # of a dataclass, which is decorated in place
        return one

    return decorate


def check(function: F) -> F:
    """What jaxtyping makes of a function, for its types alone, so that it raises where an array has another shape."""
    types = function.__annotations__
    if not any(map(holds_array, types.values())):
        return function
    function.__annotations__ = {name: one if holds_array(one) else Any for name, one in types.items()}
    return _checked(function)


def holds_array(of: Any) -> bool:
    """Whether a type is one of an array with a shape, or has one among its parts."""
    return (isinstance(of, type) and issubclass(of, AbstractArray)) or any(map(holds_array, _parts(of)))


def _parts(of: Any) -> tuple[Any, ...]:
    """`Callable[[A, B], C]` has a list among its parts."""
    return tuple(of) if isinstance(of, list) else get_args(of)

