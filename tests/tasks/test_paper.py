"""The 14 tasks and the two held out, held against what the study's own code built and scored."""

import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from backend.errors import DataError
from backend.tasks import data
from backend.tasks.paper import HELD_OUT, PAPER, STUDY, PaperTask, WinogradSchema, record_f1
from backend.tasks.task import Prompt, prompt, prompts


@pytest.fixture(autouse=True)
def _samples(shared, monkeypatch):
    monkeypatch.setenv("HEADROOM_DATA", str(shared / "data"))


@pytest.fixture(scope="module")
def scoring(shared):
    return json.loads((shared / "golden" / "scoring.json").read_text())["records"]


@pytest.fixture(scope="module")
def importance(shared):
    return json.loads((shared / "golden" / "importance.json").read_text())


def requests(p: Prompt) -> list[list[str]]:
    return [[p.prefix + context, option] for context, option in zip(p.example.contexts, p.example.options, strict=True)]


def golden_prompt(record) -> Prompt:
    return prompt(PAPER[record["task"]], record["doc"], record["demos"])


def test_every_golden_request_is_equal_text_for_text(scoring):
    too_long = {("multirc", 5)}  # five passages; the golden file has none
    assert {(r["task"], r["shots"]) for r in scoring} == {(name, k) for name in STUDY for k in (0, 1, 5)} - too_long
    for record in scoring:
        assert requests(golden_prompt(record)) == record["requests"], (record["task"], record["doc"])


def test_gold_and_metric_give_the_golden_metrics_of_the_golden_loglikelihoods(scoring):
    checked = 0
    for record in scoring:
        example, scores = golden_prompt(record).example, np.array(record["intact"])
        name = "em" if PAPER[record["task"]].metric == "em" else "acc"
        if name in record["metrics"]:
            assert record["metrics"][name] == float(scores.argmax() in example.gold), (record["task"], record["doc"])
            checked += 1
        if "acc_norm" in record["metrics"]:  # per character, the leading space not counted
            lengths = [len(option) - 1 for option in example.options]
            assert record["metrics"]["acc_norm"] == float((scores / lengths).argmax() in example.gold)
    assert checked == len([r for r in scoring if r["task"] != "multirc"])


def test_training_rows_read_as_the_golden_importance_pairs(importance):
    without_space = {"arc_easy", "arc_challenge", "hellaswag", "piqa", "openbookqa"}  # as the authors fed them
    for record in importance:
        for (doc, demos), (context, answer) in zip(record["docs"], record["pairs"], strict=True):
            p = prompt(PAPER[record["task"]], doc, demos, split="train")
            gold = p.example.gold[0]
            ours = p.example.options[gold]
            assert p.prefix + p.example.contexts[gold] == context
            assert (ours[1:] if record["task"] in without_space else ours) == answer


@pytest.mark.parametrize("name", PAPER)
def test_every_row_of_the_samples_reads(name):
    task = PAPER[name]
    for split in ("train", "validation"):
        examples = [task.example(row) for row in task.rows(split)]
        assert examples
        assert all(e.contexts[e.gold[0]] + e.options[e.gold[0]] == e.demonstration for e in examples)
    assert len(task.fingerprint) == 12


@pytest.mark.parametrize("name", PAPER)
def test_demonstrations_never_contain_the_question(name):
    task = PAPER[name]
    for p in prompts(task, 2, n_examples=5):
        assert p.example.demonstration not in p.demos


def test_wsc_demonstrates_positive_rows_only():
    assert {PAPER["wsc"].example(row).gold for row in PAPER["wsc"].rows("train")} == {(0,)}
    assert {PAPER["wsc"].example(row).gold for row in PAPER["wsc"].rows("validation")} == {(0,), (1,)}


def test_winogrande_scores_the_rest_of_the_sentence():
    example = PAPER["winogrande"].example(
        {"sentence": "The cup missed the box as the _ was small.", "option1": "cup", "option2": "box", "answer": "2"})
    assert example.contexts == ("The cup missed the box as the cup", "The cup missed the box as the box")
    assert example.options == (" was small.", " was small.")
    assert example.gold == (1,)


def test_multirc_takes_whole_questions():
    task = PAPER["multirc"]
    sizes: dict[str, int] = {}
    for row in task.rows("validation"):
        group = task.example(row).group
        sizes[group] = sizes.get(group, 0) + 1
    taken: dict[str, int] = {}
    for p in prompts(task, 0, n_examples=7):
        taken[p.example.group] = taken.get(p.example.group, 0) + 1
    assert sum(taken.values()) >= 7
    assert all(sizes[group] == n for group, n in taken.items())
    assert sum(taken.values()) - 7 < max(sizes.values())


def test_record_counts_every_entity_that_equals_an_answer_once_normalised():
    row = {"passage": "Text.\n@highlight\nPoint", "query": "@placeholder won.",
           "entities": ["Reds", "The Blues", "blues", "Chelsea"], "answers": ["blues"]}
    example = PAPER["record"].example(row)
    assert example.options == ("  - Chelsea won.", "  - Reds won.", "  - The Blues won.", "  - blues won.")
    assert example.gold == (3, 2)  # what is demonstrated comes first
    assert example.demonstration == "Text.\n\n  - Point.\n  - blues won."


@pytest.mark.parametrize(("choice", "f1"), [(0, 0), (1, 2 / 5), (2, 1), (3, 1)])
def test_record_f1_counts_the_words_that_the_chosen_entity_shares_with_an_answer(choice, f1):
    row = {"entities": ["The Blues", "Blues Brothers of Chicago", "Arsenal", "blues"], "answers": ["blues", "Leeds"]}
    assert sorted(row["entities"]) == ["Arsenal", "Blues Brothers of Chicago", "The Blues", "blues"]
    assert record_f1(row, choice) == pytest.approx(f1)


def test_lambada_asks_for_the_last_word_alone():
    task = HELD_OUT["lambada"]
    assert task.metric == "greedy"
    example = task.example({"text": "It almost made up for the lack of coffee"})
    assert (example.contexts, example.options) == (("It almost made up for the lack of",), (" coffee",))


def test_mathqa_takes_its_options_apart():
    row = {"Problem": "what is 2 + 2 ?", "options": "a ) 38 , b ) 27.675 , c ) rs . 30 , d ) 4 , e ) none of these",
           "correct": "d"}
    example = HELD_OUT["mathqa"].example(row)
    assert example.options == (" 38", " 27.675", " rs . 30", " 4", " none of these")
    assert example.gold == (3,)


@pytest.mark.parametrize("name", ["mathqa", "lambada"])
def test_a_task_without_training_rows_sets_a_fifth_aside_and_never_asks_it(name):
    task = HELD_OUT[name]
    aside, asked = task.rows("train"), task.rows("validation")
    assert (len(aside), len(asked)) == (40, 160)
    assert not {json.dumps(row) for row in aside} & {json.dumps(row) for row in asked}
    assert task.rows("train") is aside  # once divided, kept


def test_arc_reads_both_layouts_of_choices():
    columns = {"question": "Q?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}
    rows = columns | {"choices": [{"text": "x", "label": "1"}, {"text": "y", "label": "2"}]}
    assert PAPER["arc_easy"].example(columns) == PAPER["arc_easy"].example(rows)
    assert PAPER["arc_easy"].example(columns).gold == (1,)


@pytest.mark.parametrize(("name", "change"), [
    ("piqa", {"label": 2}), ("piqa", {"label": -1}), ("boolq", {"label": 2}), ("arc_easy", {"answerKey": "F"}),
    ("hellaswag", {"label": "4"}), ("winogrande", {"answer": "3"}), ("cb", {"label": 3}), ("mathqa", {"correct": "f"}),
])
def test_a_label_out_of_range_is_named(name, change):
    row = {**PAPER[name].rows("validation")[0], **change}
    with pytest.raises(DataError, match=rf"Task '{name}'.*out of range"):
        PAPER[name].example(row)


def test_an_empty_option_is_refused():
    with pytest.raises(DataError, match=r"Task 'piqa'.*option is empty"):
        PAPER["piqa"].example({"goal": "g", "sol1": "s", "sol2": " ", "label": 0})


def test_a_row_of_another_layout_is_refused_with_its_fields():
    with pytest.raises(DataError, match=r"A row of task 'piqa'.*'goal'.*Its fields are question, label"):
        PAPER["piqa"].example({"question": "g", "label": 0})


# What a row may hold


TEXTS = [(name, field) for name, task in PAPER.items() for field in task._texts]


@pytest.mark.parametrize(("name", "field"), TEXTS)
@pytest.mark.parametrize(("value", "kind"), [(None, "null"), (5, "a number"), ([None], "null")])
def test_what_is_no_text_is_refused_instead_of_read_as_a_word(name, field, value, kind):
    row = {**PAPER[name].rows("validation")[0], field: value}
    with pytest.raises(DataError, match=rf"Task '{name}': .*'{field}' is {kind}, where text was expected"):
        PAPER[name].example(row)


@pytest.mark.parametrize("name", PAPER)
def test_every_null_is_refused_or_changes_nothing(name):
    task = PAPER[name]
    row = task.rows("validation")[0]
    for field in row:
        with suppress(DataError):  # what else is raised fails this test
            assert task.example({**row, field: None}) == task.example(row), field


def test_a_null_in_the_number_of_a_question_is_refused():
    row = PAPER["multirc"].rows("validation")[0]
    with pytest.raises(DataError, match="'question' is null"):
        PAPER["multirc"].example({**row, "idx": {**row["idx"], "question": None}})


def test_a_null_among_the_choices_is_refused():
    row = {"question": "Q?", "choices": {"text": ["x", None], "label": ["A", "B"]}, "answerKey": "A"}
    for task in ("arc_easy", "openbookqa"):
        with pytest.raises(DataError, match=r"item 1 of 'choices\.text' is null"):
            PAPER[task].example({**row, "question_stem": "Q?"})


def test_a_bad_row_is_named_with_split_number_field_and_line_of_its_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    rows = [{"goal": f"g{i}", "sol1": "a", "sol2": "b", "label": 0} for i in range(4)]
    (tmp_path / "piqa").mkdir()
    for split in ("train", "validation"):
        path = tmp_path / "piqa" / f"{split}.jsonl"
        path.write_text("\n\n" + "\n".join(map(json.dumps, [*rows, {**rows[0], "goal": None}])))
        with pytest.raises(DataError) as caught:
            prompt(PAPER["piqa"], 4, split=split)
        assert str(caught.value) == ("Task 'piqa': 'goal' is null, where text was expected. It is row 4 (from 0) of "
                                     f"the {split} split, line 7 of {path}.")
    with pytest.raises(DataError, match=r"row 4 \(from 0\) of the train split, line 7 of"):
        prompt(PAPER["piqa"], 0, (0, 4))


@pytest.mark.parametrize(("name", "bad"), [
    ("mathqa", {"Problem": "p", "options": "a ) 1 , b ) 2 , c ) 3 , d ) 4 , e ) 5", "correct": "z"}),
    ("lambada", {"text": "word"}),
])
def test_a_row_of_a_divided_split_is_named_by_its_own_line(name, bad, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    (tmp_path / name).mkdir()
    path = tmp_path / name / "validation.jsonl"
    path.write_text("\n".join(json.dumps({**bad, "n": i}) for i in range(9)))
    for split in ("train", "validation"):
        for doc, row in enumerate(PAPER[name].rows(split)):
            with pytest.raises(DataError, match=rf"line {row['n'] + 1} of {path}"):
                PAPER[name].ask(split, doc)


def test_wsc_s_demonstrations_are_named_by_their_own_lines():
    task = PAPER["wsc"]
    lines = (data._folder() / "wsc" / "train.jsonl").read_text().split("\n")
    for doc, row in enumerate(task.rows("train")):
        number = int(task.place("train", doc).split(", line ")[1].split(" of ")[0])
        assert json.loads(lines[number - 1]) == row


# Fingerprints


FINGERPRINTS = {  # of the samples: what was computed on them is found under these
    "hellaswag": "146dfb1c9f3e", "piqa": "e36878519e3a", "arc_easy": "2d8afd1f204d", "arc_challenge": "152e39d6a7e6",
    "openbookqa": "a04729a05d59", "winogrande": "69f125364649", "boolq": "8275bc016183", "cb": "d8351b7f6be2",
    "copa": "117fd2678891", "multirc": "eb9c0e635496", "record": "1d7649455616", "rte": "33884e12925a",
    "wic": "cbd0ea2b61fe", "wsc": "085d5e275c69", "mathqa": "0e90af5e92fb", "lambada": "fac9645180bb",
}


def test_the_fingerprints_of_the_samples_stay_what_they_are():
    assert {name: task.fingerprint for name, task in PAPER.items()} == FINGERPRINTS


@pytest.mark.parametrize("revision", ["", "1a2b"])
def test_wording_and_demonstrations_are_in_the_fingerprint(monkeypatch, revision):
    monkeypatch.setattr(data, "hub_revision", lambda name: revision)
    wsc = PAPER["wsc"]

    def digest(read=wsc._read, kind=WinogradSchema):
        return kind("wsc", wsc.title, wsc.about, read, "text")._digest()

    digests = [
        digest(),
        digest(kind=PaperTask),  # demonstrates with negative rows too
        digest(lambda row: replace(wsc._read(row), options=("\nyes", "\nno"))),
        digest(lambda row: replace(wsc._read(row), demonstration=wsc._read(row).demonstration + ".")),
        digest(lambda row: replace(wsc._read(row), preamble="Answer.\n\n")),
    ]
    assert len(set(digests)) == len(digests)
    monkeypatch.setattr(data, "hub_revision", lambda name: "another")
    assert digest() not in digests or not revision
