"""A bar appears when something is measured, follows it, and is gone at the end."""

from __future__ import annotations

import pytest
import tqdm.auto

from backend.notebook.bars import bar


class Seen:
    """A bar that remembers what it was told."""

    made: list[Seen]

    def __init__(self, desc: str, total: int, leave: bool) -> None:
        self.desc, self.total, self.leave, self.n, self.told, self.closed = desc, total, leave, 0, [], False
        Seen.made.append(self)

    def update(self, more: int) -> None:
        self.n += more
        self.told.append((self.n, self.total))

    def reset(self, total: int) -> None:
        self.n, self.total = 0, total

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def seen(monkeypatch) -> list[Seen]:
    Seen.made = []
    monkeypatch.setattr(tqdm.auto, "tqdm", Seen)
    return Seen.made


def test_a_bar_follows_a_measurement_and_what_it_builds_on(seen):
    with bar("accuracy") as tell:
        for done, total in ((1, 4), (4, 4), (0, 4), (2, 4), (5, 9)):
            tell(done, total)
    (one,) = seen
    assert (one.desc, one.leave, one.closed) == ("accuracy", False, True)
    assert one.told == [(1, 4), (4, 4), (0, 4), (2, 4), (5, 9)]


def test_there_is_no_bar_where_nothing_is_measured_or_none_is_wanted(seen):
    with bar("accuracy") as tell:
        assert tell is not None
    with bar("accuracy", wanted=False) as tell:
        assert tell is None
    assert seen == []


def test_a_bar_is_closed_when_a_measurement_fails(seen):
    def measure() -> None:
        with bar("accuracy") as tell:
            tell(1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure()
    assert seen[0].closed
