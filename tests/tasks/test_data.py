"""Rows from a local folder, from the hub's layout on disk, and what is said when there is neither."""

import json
import os
import socket
from types import SimpleNamespace

import pytest

from backend.errors import DataError
from backend.tasks import data
from backend.tasks.data import Source, divide, load_rows
from backend.tasks.paper import PAPER
from backend.tasks.task import prompts

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIQA = [{"goal": f"goal {i}", "sol1": f"one {i}", "sol2": f"two {i}", "label": i % 2} for i in range(6)]


@pytest.fixture(autouse=True)
def _no_setting_and_nothing_remembered(monkeypatch):
    monkeypatch.delenv("HEADROOM_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    data._from_hub.cache_clear()
    yield
    data._from_hub.cache_clear()


def write_folder(folder, task, **splits):
    (folder / task).mkdir(parents=True)
    for split, rows in splits.items():
        (folder / task / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def source_on_disk(monkeypatch, task, path, **changes):
    """Point a task at a folder that holds a data set as the hub stores it; the real `datasets` loads it."""
    monkeypatch.setitem(data.SOURCES, task, Source(str(path), **changes))


# A local folder


def test_a_folder_gives_its_rows_in_order(tmp_path, monkeypatch):
    write_folder(tmp_path, "piqa", train=PIQA[:4], validation=PIQA[4:])
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    assert list(load_rows("piqa", "train")) == PIQA[:4]
    assert list(load_rows("piqa", "validation")) == PIQA[4:]
    assert load_rows("piqa", "validation")[:1] == PIQA[4:5]
    assert not load_rows("piqa", "test")
    assert PAPER["piqa"].origin == "folder"


def test_an_edited_file_is_read_again_and_its_results_are_other_results(tmp_path, monkeypatch):
    write_folder(tmp_path, "copa", validation=[])
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    assert len(load_rows("copa", "validation")) == 0
    write_folder(tmp_path / "other", "copa", validation=[{"a": 1}])
    (tmp_path / "other/copa/validation.jsonl").replace(tmp_path / "copa/validation.jsonl")
    assert len(load_rows("copa", "validation")) == 1


def test_an_unchanged_folder_is_read_once_and_a_file_in_another_s_place_at_once(tmp_path, monkeypatch):
    write_folder(tmp_path, "piqa", validation=PIQA)
    write_folder(tmp_path / "other", "piqa", validation=[{**PIQA[0], "goal": "goal X"}, *PIQA[1:]])
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    path, other = tmp_path / "piqa/validation.jsonl", tmp_path / "other/piqa/validation.jsonl"
    digest = PAPER["piqa"].digest
    with monkeypatch.context() as patched:
        patched.setattr(data.files, "read_text", lambda path: pytest.fail("read again"))
        assert PAPER["piqa"].digest == digest
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    assert other.stat().st_size == path.stat().st_size
    other.replace(path)
    assert load_rows("piqa", "validation")[0]["goal"] == "goal X"
    assert PAPER["piqa"].digest != digest


def test_without_training_rows_no_shots_can_be_asked(tmp_path, monkeypatch):
    write_folder(tmp_path, "piqa", validation=PIQA)
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    assert len(prompts(PAPER["piqa"], 0)) == 6
    with pytest.raises(ValueError, match="has 0 training examples"):
        prompts(PAPER["piqa"], 1)


def test_a_task_that_the_folder_lacks_is_named_with_what_is_there(tmp_path, monkeypatch):
    write_folder(tmp_path, "piqa", train=PIQA)
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"No rows of task 'copa'.*holds piqa\. Expected copa/train\.jsonl"):
        load_rows("copa", "validation")
    with pytest.raises(DataError, match=r"piqa/validation\.jsonl is missing"):
        load_rows("piqa", "validation")
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="holds no folders"):
        load_rows("piqa", "validation")


@pytest.mark.parametrize(("line", "message"), [
    ('{"goal": ', r"line 3: not valid JSON"),
    ("[1, 2]", r"line 3: a list where a JSON object was expected"),
    ("null", r"line 3: null where a JSON object was expected"),
    ('{"goal": NaN}', r"line 3: NaN or an infinity"),
    ('{"goal": "\\ud800"}', r"line 3: half of a character"),
    ("[" * 5000, r"line 3: lists or objects nested more than 100 deep"),
])
def test_a_malformed_line_is_named(tmp_path, monkeypatch, line, message):
    (tmp_path / "piqa").mkdir()
    (tmp_path / "piqa" / "validation.jsonl").write_text(f"{json.dumps(PIQA[0])}\n\n{line}\n")
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    with pytest.raises(DataError, match=message):
        load_rows("piqa", "validation")


def test_a_file_that_is_no_text_is_named(tmp_path, monkeypatch):
    (tmp_path / "piqa").mkdir()
    (tmp_path / "piqa" / "validation.jsonl").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    with pytest.raises(DataError, match="UTF-8"):
        load_rows("piqa", "validation")


def test_division_is_always_the_same_and_loses_nothing():
    rows = [{"n": i} for i in range(50)]
    aside, asked = divide(rows)
    assert (aside, asked) == divide(rows)
    assert len(aside) == 10
    assert sorted(row["n"] for row in (*aside, *asked)) == list(range(50))
    assert divide(rows[:1]) == ((), ({"n": 0},))
    assert divide([]) == ((), ())


def test_other_rows_have_another_fingerprint_in_the_same_process(tmp_path, monkeypatch):
    for name, rows in (("a", PIQA), ("b", PIQA[:5]), ("c", PIQA)):
        write_folder(tmp_path / name, "piqa", validation=rows)
    prints = []
    for name in "abc":
        monkeypatch.setenv("HEADROOM_DATA", str(tmp_path / name))
        prints.append(PAPER["piqa"].fingerprint)
    assert prints[0] == prints[2] != prints[1]


# The hub, as the real `datasets` reads its layout from disk


def test_nested_and_labelled_columns_arrive_as_the_tasks_read_them(tmp_path, monkeypatch, shared):
    from datasets import Dataset, DatasetDict

    for task in ("arc_challenge", "multirc", "record", "hellaswag", "cb"):
        files = {split: (shared / "data" / task / f"{split}.jsonl").read_text().splitlines()[:8]
                 for split in ("train", "validation")}
        rows = {split: [json.loads(line) for line in lines] for split, lines in files.items()}
        for split, dataset in DatasetDict({s: Dataset.from_list(r) for s, r in rows.items()}).items():
            (tmp_path / task / "data").mkdir(parents=True, exist_ok=True)
            dataset.to_parquet(tmp_path / task / "data" / f"{split}-00000-of-00001.parquet")
        source_on_disk(monkeypatch, task, tmp_path / task)
        loaded = load_rows(task, "validation")
        assert list(map(dict, loaded)) == rows["validation"]
        assert [PAPER[task].example(row) for row in loaded] == [PAPER[task].example(r) for r in rows["validation"]]
        assert prompts(PAPER[task], 1, n_examples=2)
        assert len(PAPER[task].fingerprint) == 12


def test_configurations_and_class_labels_of_a_hub_card_are_used(tmp_path, monkeypatch):
    from datasets import Dataset

    for config, goal in (("plain", "this one"), ("other", "not this one")):
        (tmp_path / config).mkdir()
        Dataset.from_list([{**PIQA[1], "goal": goal}]).to_parquet(tmp_path / config / "validation.parquet")
    (tmp_path / "README.md").write_text("""---
dataset_info:
- config_name: plain
  features:
  - {name: goal, dtype: string}
  - {name: sol1, dtype: string}
  - {name: sol2, dtype: string}
  - name: label
    dtype: {class_label: {names: {'0': '0', '1': '1'}}}
configs:
- config_name: plain
  data_files: [{split: validation, path: plain/validation.parquet}]
- config_name: other
  data_files: [{split: validation, path: other/validation.parquet}]
---
""")
    source_on_disk(monkeypatch, "piqa", tmp_path, config="plain", train=None)
    (row,) = load_rows("piqa", "validation")
    assert (row["goal"], row["label"]) == ("this one", 1)
    assert not load_rows("piqa", "train")


def test_a_split_that_the_data_set_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "validation.jsonl").write_text(json.dumps(PIQA[0]))
    source_on_disk(monkeypatch, "piqa", tmp_path)
    with pytest.raises(DataError, match="Cannot load the train split"):
        load_rows("piqa", "train")


def test_lambada_on_the_hub_is_its_test_split_divided(tmp_path, monkeypatch):
    (tmp_path / "test.jsonl").write_text("".join(f'{{"text": "word {i} end"}}\n' for i in range(20)))
    lambada = data.SOURCES["lambada"]
    source_on_disk(monkeypatch, "lambada", tmp_path, train=None, validation=lambada.validation, divided=True)
    assert (len(load_rows("lambada", "train")), len(load_rows("lambada", "validation"))) == (4, 16)


class StubDataset(list):
    """What `load_dataset` returns for a download."""

    def __init__(self, rows, places=(), files=()):
        super().__init__(rows)
        self.info = SimpleNamespace(download_checksums=dict.fromkeys(places))
        self.cache_files = [{"filename": name} for name in files]


@pytest.mark.parametrize("where", [
    {"places": [f"hf://datasets/baber/piqa@{COMMIT}/plain_text/train.parquet"]},
    {"files": [f"/home/me/.cache/huggingface/datasets/baber___piqa/plain_text/0.0.0/{COMMIT}/piqa-train.arrow"]},
])
def test_the_hub_is_asked_for_the_right_data_and_its_revision_recorded(monkeypatch, where):
    import datasets

    asked = []

    def load_dataset(*args, **options):
        asked.append((*args, options["split"]))
        return StubDataset(PIQA, **where)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(data, "_hub_answers", lambda: True)
    assert load_rows("piqa", "validation")[2] == PIQA[2]
    assert load_rows("piqa", "validation")[2] == PIQA[2]
    assert asked == [("baber/piqa", None, "validation")]  # once
    assert PAPER["piqa"].origin == f"baber/piqa@{COMMIT}"
    load_rows("wsc", "train")
    load_rows("lambada", "validation")
    assert asked[1:] == [("aps/super_glue", "wsc.fixed", "train"), ("EleutherAI/lambada_openai", "default", "test")]
    assert len(PAPER["piqa"].fingerprint) == 12


# No network


def refuse(*_args, **_options):
    raise socket.gaierror(-2, "Name or service not known")


def test_with_no_network_one_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DataError, match=r"'aps/super_glue' \(cb\).*no network\. Set HEADROOM_DATA.*or use the mini"):
        prompts(PAPER["cb"], 0)


def test_a_connection_that_breaks_is_told_the_same(monkeypatch):
    """The client itself is asked, in its offline mode; it has no answer and raises what it raises."""
    import datasets

    monkeypatch.setattr(data, "_hub_answers", lambda: True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"no network\. Set HEADROOM_DATA"):
        load_rows("piqa", "validation")


def test_another_failure_of_the_hub_is_passed_on_with_its_reason(monkeypatch):
    import datasets

    def load_dataset(*_args, **_options):
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'baber/piqa' is a gated dataset on the Hub.")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(data, "_hub_answers", lambda: True)
    with pytest.raises(DataError, match=r"'baber/piqa'.*gated dataset.*DatasetNotFoundError"):
        load_rows("piqa", "validation")


def test_a_bad_row_of_the_hub_is_named_with_the_data_set_and_its_number(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: StubDataset([*PIQA, {**PIQA[0], "sol2": None}]))
    monkeypatch.setattr(data, "_hub_answers", lambda: True)
    with pytest.raises(DataError, match=r"'sol2' is null.*row 6 \(from 0\) of the validation split, row 6 of the "
                                        r"validation split of 'baber/piqa'\."):
        PAPER["piqa"].ask("validation", 6)
