"""What holds calls into the numerics against the shapes in their types: see CHECKED in tests/conftest.py.

beartype, of the parts of a signature that hold arrays; everything else is mypy's. (As a whole, beartype refuses `Self`
where jaxtyping decorates methods one by one, and protocols that are for type checkers alone.) Of a sequence it looks at
one item, whichever.
"""

from collections.abc import Callable
from typing import Any, TypeVar, get_args

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

F = TypeVar("F", bound=Callable[..., Any])
_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # a whole number where a float is asked for will do


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

