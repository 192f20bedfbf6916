"""What is odd in a task's rows but no error: counted, placed, and never an exception."""

import json

import pytest

from backend.errors import DataError
from backend.tasks import notices
from backend.tasks.paper import PAPER
from backend.tasks.task import Example, Task, multiple_choice


class Quiz(Task):
    """Rows are (question, options) as they stand here."""

    name, title, group, about, source = "quiz", "Quiz", "own", "Asks.", "made here"

    def __init__(self, validation, train=()):
        self._rows = {"train": list(train), "validation": list(validation), "test": []}

    def rows(self, split):
        return self._rows[split]

    def example(self, row, rule=None):
        return multiple_choice(row[0], row[1:], 0)


SOUND = [("a", "x", "y"), ("b", "x", "y"), ("c", "x", "y")]


def test_of_sound_rows_nothing_is_said():
    assert Quiz(SOUND, [("d", "x", "y")]).notices() == []


def test_equal_options_are_counted_and_the_first_is_placed():
    told = Quiz([*SOUND, ("d", "x", "x"), ("e", "x", "z", "z")]).notices()
    assert told == ["2 of 5 validation rows offer the same option twice: no model can tell the two apart, and the one "
                    "that stands first counts as chosen. The first is row 3 (from 0) of the validation split."]


def test_options_are_equal_only_with_what_stands_before_them():
    class Gap(Quiz):
        def example(self, row, rule=None):
            return Example((row[0] + row[1], row[0] + row[2]), (" was small",) * 2, (0,), "")

    assert Gap(SOUND).notices() == []
    assert "1 of 1 validation rows offer" in Gap([("a", "x", "x")]).notices()[0]


def test_equal_questions_are_told_whatever_the_order_of_their_options():
    (told,) = Quiz([*SOUND, ("a", "y", "x"), ("c", "x", "y"), ("a", "x", "z")]).notices()
    assert told.startswith("2 of 6 validation rows ask what a row before them asks")
    assert told.endswith("The first is row 3 (from 0) of the validation split.")


def test_questions_that_stand_among_the_training_rows_are_told():
    told = Quiz(SOUND, [("c", "x", "y"), ("c", "x", "y")]).notices()
    assert told[0].startswith("1 of 3 validation rows stand among the training rows too")
    assert told[0].endswith("The first is row 2 (from 0) of the validation split.")
    assert told[1].startswith("1 of 2 training rows ask what a row before them asks")
    assert len(told) == 2


def test_rows_that_cannot_be_used_are_told_and_the_rest_is_looked_at():
    class Refusing(Quiz):
        def example(self, row, rule=None):
            if row[0] == "b":
                raise DataError("No text.")
            return super().example(row, rule)

    told = Refusing([*SOUND, ("a", "x", "y")]).notices()
    assert told[0] == "1 of 4 validation rows cannot be used: No text. It is row 1 (from 0) of the validation split."
    assert told[1].startswith("1 of 4 validation rows ask")


def test_of_very_many_rows_the_first_are_looked_at_and_that_is_said(monkeypatch):
    monkeypatch.setattr(notices, "MOST_ROWS", 4)
    (told,) = Quiz([*SOUND, ("a", "x", "y"), ("b", "x", "y")]).notices()
    assert told.startswith("1 of the first 4 of 5 validation rows ask")


def test_what_was_told_can_be_changed_by_nobody():
    task = Quiz([("a", "x", "x")])
    task.notices().clear()
    assert len(task.notices()) == 1


def test_the_study_s_rows_are_looked_at_once_and_again_when_they_change(tmp_path, monkeypatch):
    rows = [{"goal": "g", "sol1": "s", "sol2": "s", "label": 0}, {"goal": "h", "sol1": None, "sol2": "s", "label": 0}]
    path = tmp_path / "piqa" / "validation.jsonl"
    path.parent.mkdir()
    path.write_text("\n" + "\n".join(map(json.dumps, rows)))
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    unusable, doubled = PAPER["piqa"].notices()
    assert unusable.endswith(f"It is row 1 (from 0) of the validation split, line 3 of {path}.")
    assert doubled.startswith("1 of 2 validation rows offer the same option twice")
    monkeypatch.setattr(PAPER["piqa"], "example", lambda *_: pytest.fail("worded again"))
    assert PAPER["piqa"].notices() == [unusable, doubled]
    monkeypatch.undo()
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    path.write_text(json.dumps({**rows[0], "sol1": "t"}))
    assert PAPER["piqa"].notices() == []
