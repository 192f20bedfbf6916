"""What people's files may hold: lines, one array, a task of BIG-bench; and a sentence for everything else."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend.errors import BadInput, DataError
from backend.tasks.own import parse_task
from backend.tasks.questions import read_questions
from backend.tasks.task import prompts

ROWS = [{"query": f"Country {i}", "options": ["Rome", f"City {i}"], "gold": 1} for i in range(4)]
EMOJI = {
    "name": "emoji movie", "description": "Guess the movie.", "keywords": ["zero-shot"], "metrics": ["a"],
    "examples": [
        {"input": "ship and ice?", "target_scores": {"titanic": 1, "up": 0, "alien": 0}},
        {"input": "balloons?", "target_scores": {"titanic": 0, "up": 1, "alien": 0}},
        {"input": "egg?", "target_scores": {"titanic": 0.1, "up": 0, "alien": 0.9}},
        {"input": "balloons?", "target_scores": {"titanic": 0, "up": 1, "alien": 0}},
    ],
}


def rows_of(value, **layout):
    return read_questions(json.dumps(value, **layout), "task.json")[0]


# One document


def test_a_json_array_of_rows_is_read_as_its_lines_would_be():
    lines = read_questions("\n".join(map(json.dumps, ROWS)), "x.jsonl")
    assert read_questions(json.dumps(ROWS), "x.json") == lines
    assert read_questions(json.dumps(ROWS, indent=2).encode(), "x.json") == lines
    described = [{"name": "capitals", "template": "{query}: {answer}"}, *ROWS]
    assert read_questions(json.dumps(described), "x.json") == (lines[0], described[0])


def test_one_object_over_several_lines_is_one_row():
    assert rows_of(ROWS[0], indent=2) == (ROWS[0],)


def test_a_bad_row_of_an_array_is_named_with_its_number():
    with pytest.raises(DataError, match=r"x\.json, row 3: option 1 is null, not text\.\nEach row is"):
        read_questions(json.dumps([*ROWS[:2], {"query": "q", "options": ["a", None], "gold": 0}]), "x.json")
    with pytest.raises(DataError, match=r"x\.json, row 2: the same query and options stand in row 1"):
        read_questions(json.dumps([ROWS[0], ROWS[0]]), "x.json")


def test_a_broken_document_is_named_with_the_line_where_it_breaks():
    broken = json.dumps(EMOJI, indent=2).replace('"titanic": 1,', '"titanic": 1', 1)
    n = next(i for i, line in enumerate(broken.split("\n"), 1) if line.strip() == '"up": 0,')
    with pytest.raises(DataError, match=rf"x\.json, line {n}: not valid JSON \(Expecting ',' delimiter"):
        read_questions(broken, "x.json")
    with pytest.raises(DataError, match=r"x\.json, line 1: not valid JSON"):
        read_questions('[{"query": "a", ]', "x.json")


def test_an_object_of_another_layout_is_told_what_it_is_and_what_to_do():
    with pytest.raises(DataError, match=r"x\.json is one JSON object with the fields 'data', 'version', not rows\."):
        read_questions(json.dumps({"data": ROWS, "version": 1}), "x.json")
    with pytest.raises(DataError, match="one JSON object with no fields"):
        read_questions("{}", "x.json")


# BIG-bench


def test_a_task_of_big_bench_is_worded_as_big_bench_words_it():
    task = parse_task(json.dumps(EMOJI), train="")
    assert task.name == "own:emoji_movie"
    assert len(task.rows("validation")) == 3  # the one that is there twice is asked once
    row = task.rows("validation")[0]
    example = task.example(row)
    assert set(row["options"]) == {"titanic", "up", "alien"}
    assert example.options[example.gold[0]] == " titanic"
    listed = "".join(f"\n  choice: {option}" for option in row["options"])
    assert example.contexts[0] == f"Q: ship and ice?{listed}\nA:"
    assert example.demonstration == f"Q: ship and ice?{listed}\nA: titanic"
    assert [row["options"][row["gold"]] for row in task.rows("validation")] == ["titanic", "up", "alien"]


def test_the_prefixes_of_a_task_of_big_bench_are_its_template_and_preamble():
    task = parse_task(json.dumps({**EMOJI, "example_input_prefix": "\nFilm: ", "example_output_prefix": "\nName:\n",
                                  "append_choices_to_input": False, "task_prefix": "Guess the film."}), "films")
    prompt = prompts(task, 1)[0]
    assert task.name == "own:films"
    assert prompt.prefix.startswith("Guess the film.\nFilm: ")
    assert "choice" not in prompt.prefix
    assert prompt.example.contexts[0].endswith("?\nName:")
    assert all(option.startswith("\n") for option in prompt.example.options)


def test_options_that_are_listed_do_not_tell_the_answer_by_their_order():
    examples = [{"input": f"{i}?", "target_scores": {"right": 1, "wrong": 0}} for i in range(40)]
    assert {row["gold"] for row in rows_of({"examples": examples})} == {0, 1}
    assert rows_of({"examples": examples}) == rows_of({"examples": examples})


def test_a_generative_task_of_big_bench_is_refused_by_what_it_is():
    examples = [{"input": "2 + 2 =", "target": "4"}, {"input": "2 + 3 =", "target": ["5", "five"]}]
    with pytest.raises(DataError, match=r"BIG-bench in which the model writes its answer freely.*target_scores"):
        rows_of({"name": "sums", "examples": examples})


@pytest.mark.parametrize(("wrong", "message"), [
    ({"input": "x", "target": "y"}, r"example 2: 'target_scores' must be an object"),
    ({"input": None, "target_scores": {"a": 1, "b": 0}}, r"example 2: 'input' is null, not text"),
    ({"input": "x", "target_scores": {"a": 1}}, r"example 2: 'target_scores' must be an object of at least two"),
    ({"input": "x", "target_scores": {"a": 1, "b": None}}, r"example 2: the score of 'b' is null, not a number"),
    ({"input": "x", "target_scores": {"a": 1, "b": 1}}, r"example 2: the options 'a' and 'b' both have the best score"),
    ({"input": "x", "target_scores": {"a": 1, "a ": 0}}, r"example 2: the option 'a' stands there twice"),
    ("x", r"example 2: the text 'x' where an object was expected"),
])
def test_a_bad_example_of_big_bench_is_named_with_its_number_and_fault(wrong, message):
    with pytest.raises(DataError, match=message) as caught:
        rows_of({**EMOJI, "examples": [EMOJI["examples"][0], wrong]})
    assert str(caught.value).endswith("with one best score.")


def test_fields_of_big_bench_that_are_no_text_are_named():
    with pytest.raises(DataError, match="'choice_prefix' is a number, not text"):
        rows_of({**EMOJI, "choice_prefix": 5})
    with pytest.raises(DataError, match="'examples' are an object, not a list"):
        rows_of({**EMOJI, "examples": {}})


# Whatever else


@pytest.mark.parametrize(("line", "message"), [
    ('{"query": ' + "[" * 100_000, "line 2: lists or objects nested more than 100 deep"),
    ('{"query": ' + "[" * 200 + "]" * 200 + "}", "line 2: lists or objects nested more than 100 deep"),
    ('{"gold": ' + "1" * 5000 + "}", "line 2: a number of thousands of digits"),
    ('{"query": "a", "options": ["b", "c"], "gold": ' + "1" * 4000 + "}", r"line 2: 'gold' is 1{20}, but the options"),
    ('{"query": "a", "options": ["b", "c"], "gold": NaN}', r"line 2: NaN or an infinity \(NaN\), which is no number"),
    ('{"query": "a", "options": ["b", "c"], "gold": -Infinity}', r"line 2: NaN or an infinity \(-Infinity\)"),
    ('{"query": "a", "options": ["b", "c"], "gold": 1e999}', "line 2: 'gold' is a fraction"),
    (r'{"query": "\ud83d", "options": ["b", "c"], "gold": 0}', "line 2: half of a character"),
    (r'{"query": "a", "options": ["b", "c"], "gold": 0, "\uDE00": 1}', "line 2: half of a character"),
    ('{"query": "a\x00", "options": ["b", "c"], "gold": 0}', r"line 2: not valid JSON \(Invalid control character"),
    ('{"query": "a", "options": [1, 2], "gold": 0}', "line 2: option 0 is a number, not text"),
    ("[1, 2]", "line 2: a list where an object was expected"),
])
def test_what_is_no_row_is_said_in_a_sentence(line, message):
    with pytest.raises(DataError, match=message):
        read_questions(json.dumps(ROWS[0]) + "\n" + line, "x.jsonl")


def test_what_looks_odd_and_is_a_row_is_read():
    odd = {"query": "\U0001f600 \u2028 a\u0000b", "options": ["\u200b", "x\u0085y"], "gold": 0}
    text = "\ufeff" + json.dumps(odd).replace("\\u2028", "\u2028") + "\r\n\r\n" + json.dumps(ROWS[0]) + "\r"
    assert read_questions(text.encode(), "x.jsonl")[0] == (odd, ROWS[0])
    assert read_questions(text, "x.jsonl")[0] == (odd, ROWS[0])


@pytest.mark.parametrize("text", ["", b"", "\ufeff", " \n\t\r\n", "[]"])
def test_a_file_of_nothing_holds_no_questions(text):
    assert read_questions(text, "x.jsonl") == ((), {})
    with pytest.raises(DataError, match="There are no questions in 'x'"):
        parse_task(text, "x")


def test_text_with_half_a_character_is_no_text():
    with pytest.raises(DataError, match=r"x\.jsonl is not text in UTF-8 \(character 11\)"):
        parse_task('{"query": "\ud800"}', "x")
    with pytest.raises(DataError, match="The template is not text"):
        parse_task(json.dumps(ROWS), "x", "\ud800{query}{answer}")


SCALARS = (st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
           | st.sampled_from(["", " ", "a", "\ud800", "{query}", "{answer}"]))
KEYS = st.sampled_from(["query", "options", "gold", "name", "template", "preamble", "examples", "input",
                        "target_scores", "target", "example_input_prefix", "choice_prefix"]) | st.text(max_size=4)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
                      max_leaves=20)
NEARLY = st.fixed_dictionaries({"query": st.text(max_size=4) | SCALARS, "gold": st.integers(-1, 3) | SCALARS,
                                "options": st.lists(st.text(max_size=3), max_size=4) | VALUES})


def only_sentences(text, **more):
    """A task, of which every row reads and whose rows can be written down again; or a sentence that can be shown."""
    try:
        task = parse_task(text, **more)
    except (DataError, BadInput) as error:
        str(error).encode("utf-8")  # can be shown
        return
    assert len(task.digest) == 12
    assert len(prompts(task, 0)) == len(task.rows("validation"))


@given(st.binary(max_size=60))
@example(b"\xef\xbb\xbf{")
@example(b"[[" * 1000)
@example(b'{"a":' * 1000)
@example(b"\xff\xfe[\x00]\x00")
def test_any_bytes_give_a_task_or_a_sentence(raw):
    only_sentences(raw)
    only_sentences(b'{"query": "a", "options": ["b", "c"], "gold": 0}\n' + raw)


@given(st.text(st.sampled_from('{}[]",:\\u d8NaInfity-0919e\n\r\t\ufeff\x00')), st.none() | st.text(max_size=5))
def test_any_text_gives_a_task_or_a_sentence(text, template):
    only_sentences(text, template=template)


@given(st.lists(VALUES | NEARLY, max_size=4), st.booleans(), st.booleans())
def test_any_json_gives_a_task_or_a_sentence(values, ascii_only, as_lines):
    written = [json.dumps(value, ensure_ascii=ascii_only) for value in values]
    only_sentences("\n".join(written) if as_lines else f"[{', '.join(written)}]")
    only_sentences("\n".join(written), train="".join(written))
    if values:
        only_sentences(json.dumps(values[0], indent=1, ensure_ascii=ascii_only))
        only_sentences(json.dumps({"examples": values}, ensure_ascii=ascii_only))
