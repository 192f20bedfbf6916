"""Tasks of one's own: what a file may hold, how it reads, and what is said of each malformed line."""

import json
import os
from pathlib import Path

import pytest

from backend.errors import BadInput, DataError
from backend.tasks import own, registry
from backend.tasks.own import keep, kept, parse_task, read_task
from backend.tasks.task import prompts

GOOD = [{"query": f"Country {i}", "options": ["Rome", f"City {i}"], "gold": 1} for i in range(10)]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_TASKS", str(tmp_path / "kept"))


def lines(*values) -> str:
    return "".join((value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values)


def test_a_file_is_divided_into_demonstrations_and_questions(tmp_path):
    path = tmp_path / "capitals.jsonl"
    path.write_text(lines(*GOOD))
    task = read_task(path)
    assert (task.name, task.title, task.group) == ("own:capitals", "capitals", "own")
    assert len(task.rows("train")) == len(task.rows("validation")) == 5
    assert sorted(row["query"] for split in ("train", "validation") for row in task.rows(split)) == [
        row["query"] for row in GOOD]
    (p, *_) = prompts(task, 2)
    assert p.example.options == (" Rome", " " + p.example.contexts[0].replace("Country", "City"))


def test_a_first_line_names_the_task_and_its_template():
    task = parse_task(lines({"name": "capitals", "template": "Land: {query}\nHauptstadt: {answer}."}, *GOOD))
    assert task.name == "own:capitals"
    example = task.example(GOOD[3])
    assert example.contexts == ("Land: Country 3\nHauptstadt:",) * 2
    assert example.options == (" Rome", " City 3")
    assert example.demonstration == "Land: Country 3\nHauptstadt: City 3."


def test_arguments_come_before_the_first_line():
    task = parse_task(lines({"name": "a", "template": "{query} -> {answer}"}, *GOOD), "b", "{query}: {answer}")
    assert (task.name, task.example(GOOD[0]).contexts[0]) == ("own:b", "Country 0:")


def test_the_blanks_before_the_answer_begin_the_options():
    task = parse_task(lines(*GOOD), template="{query}\n\t{answer}")
    assert task.example(GOOD[0]).contexts[0] + task.example(GOOD[0]).options[1] == "Country 0\n\tCity 0"
    assert task.example(GOOD[0]).options[1] == "\n\tCity 0"
    assert parse_task(lines(*GOOD), template="{query}{answer}").example(GOOD[0]).options == ("Rome", "City 0")


@pytest.mark.parametrize("template", ["{query}\nA:\n{answer}", "{query} {answer}", "{query}\nA:{answer}.",
                                      "{query}\n\n {answer}"])
def test_the_length_of_an_answer_leaves_out_what_parts_it_from_the_question(template):
    rows = [{"query": f"Q{i}", "options": ["no", "yes sir"], "gold": 0} for i in range(2)]
    assert parse_task(lines(*rows), template=template).example(rows[0]).lengths == (2, 7)


def test_braces_in_a_question_are_left_alone():
    task = parse_task(lines({"query": "f{answer} {0}", "options": ["{query}", "b"], "gold": 0}, *GOOD))
    row = {"query": "f{answer} {0}", "options": ["{query}", "b"], "gold": 0}
    assert task.example(row).demonstration == "f{answer} {0} {query}"


@pytest.mark.parametrize("template", ["{query}", "{answer}", "{answer} {query}", "{query} {query} {answer}", "Q: A:"])
def test_a_template_without_its_two_places_is_refused(template):
    with pytest.raises(BadInput, match=r"must hold \{query\} once and, after it, \{answer\} once"):
        parse_task(lines(*GOOD), template=template)


def test_a_folder_keeps_training_and_validation_rows_apart(tmp_path):
    (tmp_path / "capitals").mkdir()
    (tmp_path / "capitals" / "train.jsonl").write_text(lines({"template": "{query}? {answer}"}, *GOOD[:3]))
    (tmp_path / "capitals" / "validation.jsonl").write_text(lines(*GOOD[3:]))
    task = read_task(tmp_path / "capitals")
    assert (len(task.rows("train")), len(task.rows("validation"))) == (3, 7)
    assert task.example(GOOD[0]).contexts[0] == "Country 0?"
    (tmp_path / "capitals" / "train.jsonl").unlink()
    with pytest.raises(BadInput, match="has 0 training examples"):
        prompts(read_task(tmp_path / "capitals"), 1)
    (tmp_path / "capitals" / "validation.jsonl").unlink()
    with pytest.raises(DataError, match=r"validation\.jsonl is missing"):
        read_task(tmp_path / "capitals")


ROW = GOOD[0]


@pytest.mark.parametrize(("line", "message"), [
    ('{"query": "a", ', r"line 3: not valid JSON \("),
    ("nonsense", r"line 3: not valid JSON"),
    ([1, 2], r"line 3: a list where an object was expected"),
    ({"query": "a", "gold": 0}, r"line 3: 'options' missing\. *\nEach line is"),
    ({"query": "a"}, r"line 3: 'options' and 'gold' missing"),
    ({"text": "a"}, r"line 3: 'query' and 'options' and 'gold' missing"),
    ({**ROW, "query": " "}, r"line 3: 'query' is empty, not text"),
    ({**ROW, "query": 7}, r"line 3: 'query' is a number, not text"),
    ({**ROW, "query": None}, r"line 3: 'query' is null, not text"),
    ({**ROW, "options": "Rome"}, r"line 3: 'options' must be a list of at least two texts"),
    ({**ROW, "options": ["Rome"]}, r"line 3: 'options' must be a list of at least two texts"),
    ({**ROW, "options": ["Rome", ""]}, r"line 3: option 1 is empty, not text"),
    ({**ROW, "options": ["Rome", ["x"]]}, r"line 3: option 1 is a list, not text"),
    ({**ROW, "options": ["Rome", "Rome "]}, r"line 3: the option 'Rome' stands there twice"),
    ({**ROW, "gold": 2}, r"line 3: 'gold' is 2, but the options are numbered 0 to 1"),
    ({**ROW, "gold": -1}, r"line 3: 'gold' is -1, but"),
    ({**ROW, "gold": "1"}, r"line 3: 'gold' is the text '1', not the number of an option"),
    ({**ROW, "gold": True}, r"line 3: 'gold' is true or false, not the number"),
    ({**ROW, "gold": 0.5}, r"line 3: 'gold' is a fraction, not the number"),
    (GOOD[1], r"line 3: the same query and options stand on line 1"),
])
def test_a_malformed_line_is_named_with_its_number_and_fault(line, message):
    with pytest.raises(DataError, match=message):
        parse_task(lines(GOOD[1], "", line, GOOD[2]), "mine")


def test_several_faults_are_listed_and_the_rest_counted():
    with pytest.raises(DataError) as caught:
        parse_task(lines(GOOD[0], *[{**ROW, "query": f"q{i}", "gold": 9} for i in range(8)]), "mine")
    told = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in told[:5]] == [f"mine.jsonl, line {i}" for i in range(2, 7)]
    assert told[5] == "... and 3 more."


def test_a_question_may_not_stand_in_both_files():
    with pytest.raises(DataError, match=r"train\.jsonl, line 2: the same query and options stand among the validation"):
        parse_task(lines(*GOOD[:3]), "mine", train=lines(GOOD[5], GOOD[1]))


def test_an_empty_file_and_a_missing_one_are_named(tmp_path):
    with pytest.raises(DataError, match="There are no questions"):
        parse_task("\n\n", "mine")
    with pytest.raises(DataError, match="There are no questions"):
        parse_task(lines({"name": "only a header"}))
    with pytest.raises(DataError, match="There is no file"):
        read_task(tmp_path / "none.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        read_task(tmp_path / "binary.jsonl")


def test_uploaded_bytes_are_read_as_text_in_utf8():
    assert parse_task(lines(*GOOD).encode(), "mine", train=b"").rows("validation") == tuple(GOOD)
    with pytest.raises(DataError, match=r"mine\.jsonl is not text in UTF-8 \(byte 0\)"):
        parse_task(b"\xff\xfe", "mine")


def test_a_file_name_that_is_no_name_is_made_one(tmp_path):
    (tmp_path / "my été (1).jsonl").write_text(lines(*GOOD))
    assert read_task(tmp_path / "my été (1).jsonl").name == "own:my_été_1"


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault():
    for end in ("\r\n", "\r"):
        assert len(parse_task("\ufeff" + lines(*GOOD).replace("\n", end)).rows("train")) == 5


@pytest.mark.parametrize("name", ["../up", "a b", "a/b", "", "x" * 65, ".hidden"])
def test_a_name_that_is_no_name_is_refused(name):
    with pytest.raises(BadInput, match="cannot name a task"):
        own.OwnTask(name, (), GOOD)


def test_a_kept_task_is_found_by_its_name_and_gives_the_same_results():
    task = parse_task(lines({"template": "{query}: {answer}"}, *GOOD), "capitals")
    assert kept() == []
    keep(task)
    keep(task)  # the same again is no fault
    assert kept() == ["capitals"]
    again = own.find("capitals")
    assert (again.name, again.fingerprint) == (task.name, task.fingerprint)
    assert again.rows("validation") == task.rows("validation")


def test_keeping_never_overwrites_another_task():
    keep(parse_task(lines(*GOOD), "capitals"))
    with pytest.raises(BadInput, match="Another task is kept as 'capitals'"):
        keep(parse_task(lines(*GOOD[:4]), "capitals"))


def test_an_unknown_name_is_refused_with_the_kept_ones(tmp_path):
    keep(parse_task(lines(*GOOD), "capitals"))
    with pytest.raises(BadInput, match=r"No task of your own is called 'capital'\. Kept: capitals\."):
        own.find("capital")
    with pytest.raises(DataError, match="There is no file"):
        own.find(str(tmp_path / "capital.jsonl"))


# What an unchanged file costs, and that a changed one is seen


@pytest.fixture
def readings(monkeypatch):
    """The names of the files whose text was read."""
    names, read = [], own.files.read_text
    monkeypatch.setattr(own.files, "read_text", lambda path: names.append(path.name) or read(path))
    return names


def test_an_unchanged_file_is_read_once_however_often_it_is_asked_for(tmp_path, readings):
    (tmp_path / "mine.jsonl").write_text(lines(*GOOD))
    keep(read_task(tmp_path / "mine.jsonl"))
    readings.clear()
    asked = [own.find("mine") for _ in range(5)] + [read_task(tmp_path / "mine.jsonl") for _ in range(5)]
    assert sorted(readings) == ["train.jsonl", "validation.jsonl"]
    assert len(set(map(id, asked))) == 2


def test_names_are_listed_without_reading_a_row(readings):
    keep(parse_task(lines(*GOOD), "mine"))
    (own.folder() / "broken").mkdir()
    (own.folder() / "broken" / "validation.jsonl").write_text("nonsense")
    (own.folder() / "no name").mkdir()
    (own.folder() / "no name" / "validation.jsonl").write_text(lines(*GOOD))
    readings.clear()
    assert kept() == ["broken", "mine"]
    assert {"own:broken", "own:mine"} <= set(registry.known())
    assert readings == []


def test_an_edited_or_replaced_file_is_another_task_at_once(tmp_path):
    path, other = tmp_path / "mine.jsonl", tmp_path / "other.jsonl"
    path.write_text(lines(*GOOD))
    before = own.find(str(path))
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    other.write_text(lines(*GOOD).replace("Country 3", "Country X"))
    os.utime(other, ns=times)  # of the same size and age
    other.replace(path)
    after = own.find(str(path))
    assert (before.name, before.digest) != (after.name, after.digest)
    assert after.name == before.name
    assert any(row["query"] == "Country X" for split in ("train", "validation") for row in after.rows(split))
    path.write_text(lines(*GOOD[:4]))
    assert len(own.find(str(path)).rows("validation")) == 2


def test_a_change_of_the_training_rows_alone_is_seen(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "validation.jsonl").write_text(lines(*GOOD[5:]))
    digests = [read_task(tmp_path / "mine").digest]
    for rows in (GOOD[:2], GOOD[:3]):
        (tmp_path / "mine" / "train.jsonl").write_text(lines(*rows))
        digests.append(read_task(tmp_path / "mine").digest)
    assert len(set(digests)) == 3


def test_a_kept_task_is_called_as_its_folder_is():
    keep(parse_task(lines(*GOOD), "mine"))
    (own.folder() / "mine").rename(own.folder() / "yours")
    assert own.find("yours").name == "own:yours"


# Keeping


def test_another_task_takes_a_name_only_when_told_to():
    first, second = parse_task(lines(*GOOD), "capitals"), parse_task(lines(*GOOD[:6]), "capitals", "{query}: {answer}")
    assert first.digest != second.digest
    keep(first)
    assert own.find("capitals").digest == first.digest
    with pytest.raises(BadInput, match="Another task is kept"):
        own.refuse_other(second)
    keep(second, replace=True)
    assert own.find("capitals").digest == second.digest
    own.refuse_other(second)
    assert sorted(path.name for path in (own.folder() / "capitals").iterdir()) == ["train.jsonl", "validation.jsonl"]


@pytest.mark.parametrize("broken_at", range(5))
def test_an_interrupted_replacement_never_mixes_two_tasks(monkeypatch, broken_at):
    first, second = parse_task(lines(*GOOD), "mine"), parse_task(lines(*GOOD[:6]), "mine")
    keep(first)
    steps = iter(range(10))

    def step(do):
        def done(self, *args, **options):
            if next(steps) == broken_at:
                raise KeyboardInterrupt
            return do(self, *args, **options)
        return done

    with monkeypatch.context() as patched:
        for name in ("write_text", "unlink", "replace"):
            patched.setattr(Path, name, step(getattr(Path, name)))
        with pytest.raises(KeyboardInterrupt):
            keep(second, replace=True)
    if kept():
        assert own.find("mine").digest == first.digest
    keep(second, replace=True)
    assert own.find("mine").digest == second.digest


def test_a_damaged_task_can_be_replaced_and_is_never_taken_for_the_same():
    task = parse_task(lines(*GOOD), "mine")
    place = keep(task)
    (place / "validation.jsonl").write_text("nonsense")
    with pytest.raises(BadInput, match="Another task is kept as 'mine'"):
        keep(task)
    keep(task, replace=True)
    assert own.find("mine").digest == task.digest


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADROOM_TASKS", str(tmp_path / "file" / "tasks"))
    with pytest.raises(DataError, match=r"Task 'mine' cannot be kept in .*Not a directory.*HEADROOM_TASKS"):
        keep(parse_task(lines(*GOOD), "mine"))


def test_a_task_at_hand_is_found_by_its_name_and_not_kept():
    task, other = parse_task(lines(*GOOD), "mine"), parse_task(lines(*GOOD[:6]), "mine")
    with own.at_hand([task]):
        assert registry.get_task("own:mine") is task
        assert kept() == []
        keep(other)
        with pytest.raises(BadInput, match="Another task is kept"):
            own.refuse_other(task)
    assert own.find("mine").digest == other.digest


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "~nobody_of_that_name/x.jsonl", "/", "\ud800", "", "."])
def test_a_name_that_no_file_can_have_is_refused_in_a_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((BadInput, DataError)) as caught:
        own.find(name)
    assert str(caught.value).encode()


# Wording


def test_the_preamble_stands_before_the_demonstrations_and_is_kept():
    task = parse_task(lines({"name": "capitals", "preamble": "Name the capital.\n\n"}, *GOOD))
    prompt = prompts(task, 1)[0]
    assert prompt.prefix.startswith("Name the capital.\n\nCountry")
    assert prompts(task, 0)[0].prefix == "Name the capital.\n\n"
    keep(task)
    assert own.find("capitals").digest == task.digest


def test_rows_template_delimiter_and_preamble_each_change_the_fingerprint():
    def digest(rows=GOOD, train=GOOD[:3], **header):
        questions = lines({"template": "{query} {answer}", **header}, *rows[3:])
        return parse_task(questions, "mine", train=lines(*train)).digest

    other = [*GOOD[:9], {**GOOD[9], "gold": 0}]
    digests = [digest(), digest(other), digest(train=GOOD[:2]), digest(template="{query}\n{answer}"),
               digest(template="{query}{answer}"), digest(template="{query} {answer}."), digest(preamble="Answer:\n\n")]
    assert len(set(digests)) == len(digests)
    assert digest() == digest(preamble="") == "2be14a4565af"


def test_a_folder_may_hold_a_task_of_big_bench(tmp_path):
    (tmp_path / "sums").mkdir()
    examples = [{"input": f"{i} + 1 =", "target_scores": {str(i + 1): 1, str(i): 0}} for i in range(4)]
    (tmp_path / "sums" / "task.json").write_text(json.dumps({"examples": examples}))
    task = read_task(tmp_path / "sums")
    assert (task.name, len(task.rows("train")), len(task.rows("validation"))) == ("own:sums", 2, 2)
