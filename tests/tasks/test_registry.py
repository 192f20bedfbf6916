"""Tasks by name, and suites."""

import json
import subprocess
import sys

import pytest

from backend.errors import BadInput
from backend.tasks import registry
from backend.tasks.own import keep, parse_task
from backend.tasks.paper import HELD_OUT, PAPER, STUDY
from backend.tasks.registry import get_task, known, suite

ROWS = "".join(json.dumps({"query": f"q{i}", "options": ["a", "b"], "gold": 0}) + "\n" for i in range(4))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_TASKS", str(tmp_path / "kept"))


def test_every_known_name_gives_the_task_of_that_name():
    keep(parse_task(ROWS, "mine"))
    assert {"piqa", "lambada", "own:mine"} <= set(known())
    for name in known():
        assert get_task(name).name == name


def test_the_suites_are_the_study_the_held_out_and_the_bundled_models():
    assert [task.name for task in suite("paper")] == list(STUDY)
    assert len(STUDY) == 14
    assert [task.name for task in suite("held-out")] == ["mathqa", "lambada"]
    mini = [task.name for task in suite("mini")]
    assert [task.name for task in suite("all")] == [*STUDY, *HELD_OUT, *mini]
    assert not set(mini) & set(PAPER)


def test_a_list_mixes_tasks_and_suites_and_names_each_once():
    assert [task.name for task in suite("piqa, held-out,lambada,piqa")] == ["piqa", "mathqa", "lambada"]


def test_an_unknown_task_is_refused_with_the_closest_and_all_known_names():
    with pytest.raises(BadInput, match=r"Unknown task 'hellaswga'\. Did you mean 'hellaswag'\? Known: hellaswag, piqa"):
        get_task("hellaswga")
    with pytest.raises(BadInput, match="Did you mean 'piqa'"):
        suite("arc_easy,PIQA")
    with pytest.raises(BadInput, match=r"Unknown task 'qqqq'\. Known"):
        get_task("qqqq")
    with pytest.raises(BadInput, match="No task named"):
        suite(" , ")


def test_a_file_of_ones_own_is_a_task(tmp_path):
    (tmp_path / "mine.jsonl").write_text(ROWS)
    assert get_task(f"own:{tmp_path / 'mine.jsonl'}").name == "own:mine"
    assert [task.name for task in suite(f"piqa,own:{tmp_path}/mine.jsonl")] == ["piqa", "own:mine"]


def test_a_task_of_the_harness_is_asked_of_the_harness(monkeypatch):
    monkeypatch.setattr(registry.harness, "load_task", lambda name: f"the harness's {name}")
    assert get_task("lm_eval:boolq") == "the harness's boolq"


def test_naming_a_task_imports_neither_torch_nor_the_hubs_client_nor_the_harness():
    code = ("import sys; from backend.tasks.registry import suite; suite('all'); "
            "print(sorted({'torch', 'datasets', 'lm_eval', 'transformers', 'streamlit'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Without rows


def test_a_built_in_task_is_known_without_its_rows(monkeypatch, tmp_path):
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path / "nowhere"))
    for name, task in {**PAPER, **registry._mini()}.items():
        found = registry.about(name)
        assert found == registry.About(task.title, task.group, task.about, task.metric)
    assert registry.about("multirc").metric == "acc_by_group"
    assert (registry.about("lambada").group, registry.about("lambada").metric) == ("held out", "greedy")


@pytest.mark.parametrize(("name", "title", "group"), [
    ("own:quiz", "quiz", "own"), ("lm_eval:boolq", "boolq", "lm_eval"), ("piqa2", "piqa2", "unknown"),
    ("other:x", "other:x", "unknown"),
])
def test_of_an_unknown_name_what_can_be_said_is_said(name, title, group):
    found = registry.about(name)
    assert (found.title, found.group, found.metric) == (title, group, "acc")
    assert found.about.endswith(".")


def test_what_is_known_of_a_task_without_rows_reads_no_file_and_imports_no_library():
    code = ("import builtins, io, os, sys; from backend.tasks import registry; registry.about('antonym'); "
            "os.stat = io.open = builtins.open = None; "
            "[registry.about(name) for name in ('piqa', 'antonym', 'own:x', 'own:/etc/passwd', 'lm_eval:boolq', 'x')]; "
            "print(sorted({'torch', 'datasets', 'lm_eval', 'transformers', 'streamlit'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_task_replaced_under_its_name_is_another_value():
    digests = []
    for rows in (ROWS, ROWS.replace("q1", "other"), ROWS):
        keep(parse_task(rows, "mine"), replace=True)
        digests.append(get_task("own:mine").digest)
    assert digests[0] == digests[2] != digests[1]
