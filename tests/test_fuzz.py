"""Whatever is handed in, there is a sentence: made-up inputs for everything that parses, each ending in a
`HeadroomError` or in a value."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backend import __main__ as cli
from backend import limits, values
from backend.errors import BadInput, DataError, HeadroomError, ModelError
from backend.kept import Kept
from backend.models import text
from backend.models.identity import identify
from backend.models.obstacles import obstacles
from backend.runs import arguments, jobs, seal
from backend.tasks import data, own, registry
from backend.tasks.task import prompts
from backend.values import Head, parse, parse_exact
from tests.fuzzing import tried
from tests.models.small import small_network, small_tokenizer

TEXT = st.text(max_size=30) | st.sampled_from([
    "9" * 5000, "-1", "0", "NaN", "1e400", "\0", "‮", "L0H0", "own:x", "../../etc", "*" * 200, "²", "٣", "[" * 2000])
VALUE = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | TEXT, lambda inner: st.lists(
    inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12)
ODD_JSON = st.sampled_from([
    "[" * 3000, '{"a":' * 3000, "1" * 5000, '"\\ud800"', "NaN", "[1,]", '{"a":1,"a":2}', "\ufeff{}", "tru", '"\0"'])
JSON = st.builds(json.dumps, VALUE) | ODD_JSON | TEXT
BYTES = JSON.map(lambda one: one.encode("utf-8", "surrogatepass")) | st.binary(max_size=80)


# Own tasks.

ROW = st.fixed_dictionaries({}, optional={"query": VALUE, "options": st.lists(VALUE, max_size=4) | VALUE, "gold": VALUE,
                                          "name": VALUE, "template": VALUE, "preamble": VALUE})
GOOD_ROW = st.builds(lambda q, options, gold: {"query": q, "options": options, "gold": gold}, TEXT,
                     st.lists(TEXT, min_size=2, max_size=4), st.integers(-1, 4))
BIG_BENCH = st.fixed_dictionaries({"examples": st.lists(st.fixed_dictionaries(
    {}, optional={"input": VALUE, "target_scores": st.dictionaries(TEXT, VALUE, max_size=3) | VALUE}), max_size=3)
    | VALUE}, optional={"name": VALUE, "task_prefix": VALUE, "example_input_prefix": VALUE, "choice_prefix": VALUE,
                        "append_choices_to_input": VALUE})
FILE = (st.lists(st.builds(json.dumps, ROW | GOOD_ROW) | JSON, max_size=5).map("\n".join).map(
    lambda one: one.encode("utf-8", "surrogatepass")) | st.builds(json.dumps, BIG_BENCH | st.lists(ROW | GOOD_ROW)).map(
        str.encode) | BYTES)


@tried(150)
@given(content=FILE, train=st.none() | FILE, name=st.none() | TEXT, template=st.none() | TEXT)
def test_any_file_is_a_task_or_a_sentence(content, train, name, template):
    with suppress(BadInput, DataError):
        task = own.parse_task(content, name, template, train)
        prompts(task, 1, "fixed", 2, 0)
        assert task.fingerprint
        json.dumps(task.notices()).encode()


@tried(60)
@given(content=FILE, train=FILE)
def test_any_folder_of_one_s_own_is_a_task_or_a_sentence(tmp_path, content, train):
    (tmp_path / "validation.jsonl").write_bytes(content)
    (tmp_path / "train.jsonl").write_bytes(train)
    with suppress(BadInput, DataError):
        assert own.read_task(tmp_path).fingerprint


@tried(60)
@given(name=st.sampled_from(sorted(data.SOURCES)), content=FILE, fields=st.lists(st.dictionaries(st.sampled_from([
    "goal", "sol1", "sol2", "label", "question", "passage", "premise", "hypothesis", "choices", "answerKey", "ctx",
    "endings", "text", "sentence", "option1", "option2", "answer", "idx", "query", "entities", "answers", "word",
    "sentence1", "sentence2", "span1_text", "span2_text", "Problem", "options", "correct", "choice1", "choice2",
    "paragraph", "ctx_a", "ctx_b", "activity_label", "question_stem"]), VALUE, max_size=8), max_size=3))
def test_any_folder_of_the_study_s_rows_is_a_task_or_a_sentence(tmp_path, monkeypatch, name, content, fields):
    monkeypatch.setenv(data.FOLDER_SETTING, str(tmp_path))
    (tmp_path / name).mkdir(exist_ok=True)
    rows = "\n".join(map(json.dumps, fields)).encode()
    for split in ("train", "validation"):
        (tmp_path / name / f"{split}.jsonl").write_bytes(rows or content)
    with suppress(BadInput, DataError):
        task = registry.get_task(name)
        assert task.fingerprint
        prompts(task, 1, "fixed", 2, 0)


@tried(100)
@given(name=TEXT | TEXT.map("own:{}".format))
def test_any_name_is_a_task_or_a_sentence(name):
    assume("lm_eval" not in name)
    with suppress(BadInput, DataError):
        registry.get_task(name)


# Addresses: what the text fields hold.


@tried(200)
@given(asked=TEXT | st.lists(st.sampled_from(["L", "H", "F", "FFN", "-", ".", ",", "mean:", "0", "1", "99999999", " ",
                                              "²", "l"]), max_size=12).map("".join))
def test_any_text_names_components_or_says_why_not(asked):
    ablation, problems = parse(asked, 3, 4)
    if not asked.strip().lower().startswith(("mean:", "zero:")):
        assert ablation or problems or not re.sub(r"[\s,;]", "", asked)
    with suppress(BadInput):
        parse_exact(asked)


@tried(200)
@given(asked=st.lists(st.from_regex(r"(mean:)?L\d{1,4}H\d{1,4}(-\d{1,4})?|F\d{1,4}(-\d{1,4})?|,|mean:", fullmatch=True),
                      max_size=6).map(",".join))
def test_a_mask_as_it_is_written_is_read_as_any_other_text_is(asked):
    values._read.clear()
    wanted, problems = parse(asked, limits.LAYERS, limits.HEADS_PER_LAYER)
    if problems:
        with pytest.raises(BadInput):
            parse_exact(asked)
    else:
        assert parse_exact(asked) == wanted == parse_exact(asked)
        assert parse_exact(str(wanted)) == wanted


def test_masks_that_are_kept_name_so_many_heads_and_no_more(monkeypatch):
    assert values._read._most == limits.MASKS_KEPT
    monkeypatch.setattr(values, "_read", Kept(10))
    for head in range(9):
        assert parse_exact(f"L0H{head}-{head + 2}").heads == {Head(0, head + i) for i in range(3)}
        assert sum(len(mask.heads) for mask in values._read.values()) <= 10


# Models.


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    small_network("opt").save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


@tried(40)
@given(file=st.sampled_from(["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
                             "merges.txt", "config.json", "model.safetensors.index.json"]), content=BYTES,
       changes=st.dictionaries(st.sampled_from(["model", "post_processor", "pre_tokenizer", "added_tokens", "version",
                                                "tokenizer_class", "bos_token", "weight_map"]), VALUE, max_size=3))
def test_any_tokenizer_s_files_are_read_or_refused_in_a_sentence(model, tmp_path, file, content, changes):
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder)
    path = folder / file
    with suppress(OSError, ValueError, AttributeError):
        content = json.dumps({**json.loads(path.read_text()), **changes}).encode() if changes else content
    path.write_bytes(content)
    for read in (obstacles, identify):
        with suppress(ModelError):
            read(str(folder))
    with suppress(ModelError):
        text.load_tokenizer(folder)


# Commands and runs.

WORD = TEXT | st.sampled_from([
    "precompute", "status", "verify", "export", "import", "upgrade", "models", "tasks", "--model", "--tasks", "--shots",
    "--what", "--seeds", "--n-examples", "--off", "--dry-run", "--store", "--ship", "--rows", "--kind", "--sample",
    "antonym", "capital", "all", "0", "1,5", "evaluation", "L0H0", "mean:L0H1", "--help", "bundled", "--remove",
    "random:0", "aggregate:mini", "own", "--by", "--tolerance", "--digest", "--revision", "auto", "--bos"])


def no_model(*_: object) -> None:
    raise ModelError("No model is loaded here.")


@tried(40)
@given(words=st.lists(WORD, max_size=7))
def test_any_command_line_ends_in_a_sentence(model, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HEADROOM_DEBUG", raising=False)
    monkeypatch.setattr(cli, "_load", no_model)
    assume("--ship" not in words and "lm_eval" not in "".join(words))
    given = [words[0], "--store", str(tmp_path / "store"), *words[1:]] if words else words
    given += ["--dry-run"] * ("precompute" in words[:1])
    with suppress(SystemExit):
        cli.main(given)
    assert "unforeseen" not in capsys.readouterr().err


@tried(150)
@given(words=st.lists(WORD, max_size=7))
def test_any_arguments_of_a_run_are_read_or_refused_in_a_sentence(words):
    with suppress(BadInput):
        arguments.read(["precompute", *words])


RECORD = st.fixed_dictionaries({}, optional={"args": st.lists(WORD | VALUE, max_size=5) | VALUE, "pid": VALUE,
                                             "born": VALUE, "started": VALUE})
PROGRESS = st.fixed_dictionaries(dict.fromkeys([
    "state", "unit", "done", "total", "units_done", "units_total", "seconds_left", "message", "updated"], VALUE))
GOOD = {"args": ["precompute"], "pid": 1, "born": "", "started": 1.0}


@tried(100)
@given(record=st.builds(json.dumps, RECORD | RECORD.map(lambda one: GOOD | one)).map(str.encode) | BYTES,
       progress=st.builds(json.dumps, PROGRESS).map(str.encode) | BYTES, log=BYTES)
def test_any_folder_among_the_runs_is_a_run_or_a_stranger(tmp_path, record, progress, log):
    folder = tmp_path / "jobs" / "20260101-120000-abcd"
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        value = json.loads(record)
        parts = [value[name] for name in ("args", "pid", "born", "started")]
        record = json.dumps(value | {"seal": seal.of(["run", folder.name, *parts])}).encode()
    for name, content in (("job.json", record), ("progress.json", progress), ("log.txt", log)):
        (folder / name).write_bytes(content)
    found = jobs.jobs(tmp_path)
    assert len(found) + len(jobs.strangers(tmp_path)) == 1
    for job in found:
        now = jobs.progress(job)
        assert now.state in jobs.STATES
        assert not jobs.is_running(job)
        jobs.why_not_resumed(job)
        json.dumps([job.args, now.message]).encode()
        jobs.command_line(job.args)


@pytest.mark.parametrize("odd", ["9" * 5000, "x" * 5000, "", "‮", "-1", "1e5", "²", "[]"])
def test_every_error_of_ours_has_a_text(odd):
    for read in (registry.get_task, registry.suite, parse_exact):
        with suppress(HeadroomError):
            read(odd)
