"""Tasks of lm-evaluation-harness, from a task file on disk; skipped where the harness is not installed."""

import importlib.util
import json
from types import SimpleNamespace

import pytest

from backend.engine import trees
from backend.errors import BadInput, DataError
from backend.tasks import harness
from backend.tasks.task import prompts
from tests.models.small import small_model

INSTALLED = importlib.util.find_spec("lm_eval") is not None
needs_harness = pytest.mark.skipif(not INSTALLED, reason="lm_eval is an extra and is not installed here")
pytestmark = pytest.mark.filterwarnings("ignore")  # the harness's own

TASK = """
task: capitals
dataset_path: json
dataset_kwargs: {{data_files: {{train: {0}/train.jsonl, validation: {0}/validation.jsonl}}}}
output_type: multiple_choice
training_split: train
validation_split: validation
description: "Name the capital.\\n\\n"
doc_to_text: "Country: {{{{country}}}}\\nCapital:"
doc_to_choice: "{{{{cities}}}}"
doc_to_target: gold
fewshot_config: {{sampler: first_n}}
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.0}}
"""
SCHEMA = """
task: schema
dataset_path: json
dataset_kwargs: {{data_files: {{validation: {0}/schema.jsonl}}}}
output_type: multiple_choice
validation_split: validation
doc_to_text: gold
doc_to_choice: "{{{{[sentence.split('_')[0] + a, sentence.split('_')[0] + b]}}}}"
doc_to_target: "{{{{sentence.split('_')[1].strip()}}}}"
metadata: {{version: 1.0}}
"""
WRITING = """
task: writing
dataset_path: json
dataset_kwargs: {{data_files: {{validation: {0}/validation.jsonl}}}}
output_type: generate_until
validation_split: validation
doc_to_text: country
doc_to_target: "x"
metadata: {{version: 1.0}}
"""
JOINED = """
task: {1}
dataset_path: json
dataset_kwargs: {{data_files: {{train: {0}/train.jsonl, validation: {0}/validation.jsonl}}}}
output_type: multiple_choice
training_split: train
validation_split: validation
doc_to_text: "Country: {{{{country}}}}\\nCapital:{2}"
doc_to_choice: "{{{{cities}}}}"
doc_to_target: gold
target_delimiter: "{3}"
metadata: {{version: 1.0}}
"""
ROWS = [{"country": c, "cities": ["Rome", city], "gold": 1} for c, city in
        [("France", "Paris"), ("Spain", "Madrid"), ("Greece", "Athens"), ("Norway", "Oslo")]]


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """Three task files and their rows; the harness's own 13,000 are left out, which saves ten seconds."""
    from lm_eval.tasks import TaskManager

    for name, rows in (("train", ROWS[:2]), ("validation", ROWS[2:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "schema.jsonl").write_text("\n".join(json.dumps(
        {"sentence": f"Ann met Bea {i} times and _ was glad.", "a": "Ann", "b": "Bea", "gold": i % 2})
        for i in range(10)))
    for name, text in (("capitals", TASK), ("schema", SCHEMA), ("writing", WRITING)):
        (tmp_path / f"{name}.yaml").write_text(text.format(tmp_path))
    monkeypatch.setenv("HEADROOM_LM_EVAL", str(tmp_path))
    monkeypatch.setattr(harness, "_manager", lambda f, _: TaskManager(include_path=f, include_defaults=False))
    yield tmp_path
    harness._LOADED.clear()


@pytest.mark.skipif(INSTALLED, reason="lm_eval is installed here")
def test_without_the_harness_one_is_told_how_to_install_it():
    with pytest.raises(BadInput, match=r"not installed.*pip install lm_eval==0\.4\.13"):
        harness.load_task("piqa")


@needs_harness
def test_prompts_equal_those_that_the_harness_builds(tasks):
    task = harness.load_task("capitals")
    theirs = task._task
    for n_shots in (0, 1, 2):
        for p in prompts(task, n_shots, demos="fixed"):
            if n_shots == 1 and p.demo_docs != (0,):
                continue  # the harness's sampler takes the first
            order = tuple(sorted(p.demo_docs))
            row = task.rows("validation")[p.doc]
            context = theirs.fewshot_context(row, n_shots)
            shots = [task.example(task.rows("train")[d]).demonstration for d in order]
            assert p.example.preamble + "".join(s + "\n\n" for s in shots) + p.example.contexts[0] == context
            assert [(context, o) for o in p.example.options] == [
                r.args for r in theirs.construct_requests(row, context)]
            assert p.example.gold == (1,)
    assert task.example(ROWS[0]).demonstration == "Country: France\nCapital: Paris"
    assert task.example(ROWS[0]).preamble == "Name the capital.\n\n"


@needs_harness
def test_a_task_whose_options_change_the_context_reads_like_winogrande(tasks):
    task = harness.load_task("schema")
    assert (len(task.rows("train")), len(task.rows("validation"))) == (2, 8)  # it has no rows but those it asks
    row = next(row for row in task.rows("validation") if row["gold"] == 1)
    example = task.example(row)
    assert example.contexts[1].endswith("times and Bea")
    assert example.options == (" was glad.", " was glad.")
    assert example.gold == (1,)
    assert example.demonstration == example.contexts[1] + " was glad."


@needs_harness
@pytest.mark.parametrize(("name", "text", "delimiter"), [
    ("blank", " ", ""), ("line", "\\n", ""), ("nothing", "", ""), ("two", " ", "\\n")])
def test_contexts_that_end_in_a_blank_are_cut_as_the_harness_cuts_them(tasks, name, text, delimiter):
    from lm_eval.api.model import TemplateLM

    (tasks / f"{name}.yaml").write_text(JOINED.format(tasks, name, text, delimiter))
    task, model = harness.load_task(name), small_model("gpt2")
    theirs = SimpleNamespace(backend="causal", tok_encode=model.encode)
    cut = TemplateLM._encode_pair
    for p in prompts(task, 1, "fixed"):
        context = p.prefix + p.example.contexts[0]
        ((query, _),) = trees.encode([p], model.encode_pairs, 1000)
        for option, found in zip(p.example.options, query.options, strict=True):
            assert (list(found.context), list(found.continuation)) == tuple(cut(theirs, context, option))
        assert p.example.lengths == tuple(map(len, task.rows("validation")[p.doc]["cities"]))


@needs_harness
def test_a_task_of_another_kind_is_refused(tasks):
    with pytest.raises(BadInput, match=r"kind 'generate_until'.*Choose a multiple-choice task"):
        harness.load_task("writing")


@needs_harness
def test_an_unknown_task_is_refused_with_the_closest(tasks):
    with pytest.raises(BadInput, match=r"no task 'capital'\. Did you mean capitals\?"):
        harness.load_task("capital")


@needs_harness
def test_rows_that_cannot_be_loaded_are_named(tasks):
    (tasks / "validation.jsonl").unlink()
    with pytest.raises(DataError, match="cannot load 'capitals'"):
        harness.load_task("capitals")


@needs_harness
def test_a_label_out_of_range_is_named(tasks):
    with pytest.raises(DataError, match=r"'lm_eval:capitals'.*\[5\] is out of range: there are 2"):
        harness.load_task("capitals").example({**ROWS[0], "gold": 5})


@needs_harness
def test_an_unchanged_task_is_loaded_once_and_a_changed_one_at_once(tasks, monkeypatch):
    before = harness.load_task("capitals")
    with monkeypatch.context() as patched:
        patched.setattr(harness, "_load", lambda *_: pytest.fail("loaded again"))
        assert harness.load_task("capitals") is before
    (tasks / "validation.jsonl").write_text("\n".join(map(json.dumps, ROWS[2:3])))
    fewer = harness.load_task("capitals")
    assert (len(before.rows("validation")), len(fewer.rows("validation"))) == (2, 1)
    (tasks / "capitals.yaml").write_text(TASK.format(tasks).replace("Capital:", "City:"))
    reworded = harness.load_task("capitals")
    assert reworded.ask("validation", 0).contexts[0].endswith("City:")
    assert len({before.digest, fewer.digest, reworded.digest}) == 3
    assert before.name == reworded.name


@needs_harness
@pytest.mark.parametrize(("old", "new"), [
    ("Name the capital.", "Name it."), ('metadata:', 'target_delimiter: "\\n"\nmetadata:'), ("Country:", "Land:"),
    ("training_split: train", "fewshot_split: validation"),
])
def test_wording_description_delimiter_and_demonstrations_are_in_the_fingerprint(tasks, old, new):
    before = harness.load_task("capitals").digest
    (tasks / "capitals.yaml").write_text(TASK.format(tasks).replace(old, new))
    assert harness.load_task("capitals").digest != before


@needs_harness
def test_the_tasks_held_in_memory_are_bounded(tasks, monkeypatch):
    monkeypatch.setattr(harness, "MOST_LOADED", 1)
    for name in ("capitals", "schema"):
        harness.load_task(name)
    assert [name for name, _ in harness._LOADED] == ["schema"]


@needs_harness
@pytest.mark.parametrize(("field", "row"), [
    ("country", {**ROWS[3], "country": None}), ("cities", {**ROWS[3], "cities": [None, "Oslo"]}),
])
def test_a_null_that_would_be_read_as_a_word_is_refused(tasks, field, row):
    (tasks / "validation.jsonl").write_text("\n".join(map(json.dumps, [ROWS[2], row])))
    task = harness.load_task("capitals")
    assert task.ask("validation", 0)
    with pytest.raises(DataError, match=rf"'lm_eval:capitals': '{field}' is null, or holds one.*row 1 \(from 0\) of "
                                        "the validation split"):
        task.ask("validation", 1)


@needs_harness
def test_a_null_that_is_not_shown_is_no_fault(tasks):
    rows = [{**row, "note": None, "cities": ["None", row["cities"][1]]} for row in ROWS[2:]]
    for split in ("train", "validation"):
        (tasks / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert harness.load_task("capitals").ask("validation", 0).options == (" None", " Athens")
    asks = TASK.format(tasks).replace('"Country', '"{% if note %}{{note}} {% endif %}Country')
    (tasks / "capitals.yaml").write_text(asks)
    assert harness.load_task("capitals").ask("validation", 0).contexts[0] == "Country: Greece\nCapital:"
