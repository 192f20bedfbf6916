"""The Runs page says what is stored, running and missing, and lets results, models and tasks in and out."""

import io
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from backend import machine, tables
from backend.errors import ModelError
from backend.kinds import Evaluation, Unit
from backend.models import info as models
from backend.models import obstacles
from backend.records import ModelInfo
from backend.runs import jobs
from backend.runs import plan as planning
from backend.store import bundles
from backend.store.live import Store
from backend.tasks import own
from backend.tasks.mini import MINI
from backend.tasks.task import prompts
from pages.shared import coverage
from tests.pages import made_up
from tests.pages.conftest import INFO, MODEL, Explorer, are_here, calm, once_more, setup_of, setups_of, words
from tests.pages.shown import understood

TASKS = tuple(map(made_up.task_id, MINI))
REQUEST = planning.Request(MODEL, INFO, TASKS)  # what the page asks for unless told otherwise
FEW = planning.Request(MODEL, INFO, TASKS[:2])
ROWS = [{"query": f"{a} and {b}", "options": ["yes", "no"], "gold": 0} for a in "abc" for b in "xy"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(own.FOLDER_SETTING, str(tmp_path / "tasks"))


def few(app: AppTest) -> AppTest:
    """The same with the tasks of `FEW` alone."""
    app.get_by_key("run tasks of bundled").set_value([task.name for task in FEW.tasks])
    return app.run()


def press(app: AppTest, key: str) -> AppTest:
    return next(b for b in app.button if b.key == key).click().run()


def labels(app: AppTest) -> list[str]:
    return [b.label for b in (*app.main.button, *app.main.download_button)]


def pretend(store: Store, progress: jobs.Progress, alive: bool = True,
            args: tuple[str, ...] = ("precompute",)) -> jobs.Job:
    """A run of this very process, which is alive, or of one that has ended."""
    if alive:
        pid = os.getpid()
    else:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        pid = ended.pid
    job = jobs._register(jobs._new_folder(store.folder), args, pid)
    (job.folder / "progress.json").write_text(json.dumps(asdict(progress)))
    return job


def jsonl(*rows: object) -> tuple[str, bytes, str]:
    return "letters.jsonl", "\n".join(json.dumps(row) for row in rows).encode(), "application/jsonl"


# --- results ------------------------------------------------------------------------------------


def test_an_empty_store_is_said_to_be_empty_and_everything_can_be_started(explorer: Explorer):
    app = explorer("runs")
    assert calm(app)
    n = len(planning.units(REQUEST))
    assert f"Nothing is measured yet; the {n} asked for take a time that is measured" in words(app)
    assert "No run is under way" in words(app)
    assert "Start" in labels(app)


def test_the_title_counts_what_is_stored(explorer: Explorer, store: Store):
    units = planning.units(FEW)
    made_up.fill(store, [u for u in units if u.KIND in ("evaluation", "model")], INFO)
    app = few(explorer("runs"))
    n_done = sum(u in store for u in units)
    assert f"{n_done} of {len(units)} results are here; the other {len(units) - n_done} take" in words(app)
    made_up.fill(store, units, INFO)
    app = few(explorer("runs"))
    assert calm(app)
    assert f"All {len(units)} results are here" in words(app)
    assert "Nothing to start" in labels(app)


def test_a_damaged_result_counts_as_missing(explorer: Explorer, store: Store):
    units = planning.units(FEW)
    made_up.fill(store, units, INFO)
    store._cache.set(units[-1].key, b"no such thing")
    app = few(explorer("runs"))
    assert calm(app)
    assert f"{len(units) - 1} of {len(units)} results are here; the other 1 takes" in words(app)


def test_what_earlier_results_took_says_what_the_rest_takes(explorer: Explorer, store: Store):
    made_up.fill(store, [u for u in planning.units(FEW) if u.KIND != "pruning"], INFO)
    for unit in store.live_units():
        store.put_seconds(unit, 2.0)
    seconds = planning.seconds(planning.make(FEW, store).to_do, planning.rates(MODEL, INFO, store))
    assert seconds is not None
    assert f"take about {machine.duration(seconds)} on this machine" in words(few(explorer("runs")))


def test_the_map_counts_every_result_once(store: Store):
    made_up.fill(store, planning.units(planning.Request(MODEL, INFO, TASKS[:2], what=("accuracy",))), INFO)
    what = tuple(name for name in planning.topics() if name != "masks")
    request = planning.Request(MODEL, INFO, TASKS[:3], what=what)
    plan = planning.make(request, store)
    table = tables.plan_table(plan, {})
    assert table["asked"].sum() == len(plan.steps) - 1  # all but the model's own record
    assert table["stored"].sum() == plan.n_done - 1
    assert set(table["topic"]) == {planning.topics()[name].title for name in what}
    of = table[table["task"] == TASKS[0].name].groupby("topic")["asked"].sum()
    assert of["accuracy"] == 3  # one per number of shots
    assert of["transfer"] == 3 * 2


def test_start_runs_the_command_that_is_shown_and_it_asks_for_what_was_chosen(
        explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch):
    started: list[tuple[list[str], Path]] = []
    monkeypatch.setattr(jobs, "start", lambda args, folder: started.append((list(args), folder)))
    app = explorer("runs", seed="3", n="7", demos="per-query")
    app = press(app, "start")
    (args, folder), = started
    assert folder == store.folder
    assert jobs.command_line(args) in [code.value for code in app.code]
    assert understood(args) == planning.Request(MODEL, INFO, TASKS, demos="per-query", n_examples=7, seeds=(3,))


@pytest.mark.parametrize("options", [{}, {
    "n_train": 8, "n_random": 7, "n_sequences": 6, "reduction": "per-example", "remove": ("ffns",),
    "by": ("own", "task:past"), "score": ("copying",),
}], ids=["plain", "all options"])
def test_every_argument_of_a_command_says_what_the_request_says(store: Store, options: dict[str, Any]):
    request = planning.Request(MODEL.with_(dtype="bfloat16", bos=True), INFO, TASKS[3:5], (0, 2),
                               ("induction", "means", "pruning"), "per-query", 9, (1, 2), options)
    model = ["--model", "bundled", "--dtype", "bfloat16", "--bos", "always"]
    assert understood(coverage.arguments(request, model)) == request


def test_the_python_lines_run_as_shown(explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]):
    request = planning.Request(MODEL, INFO, (made_up.task_id("antonym"),), what=("accuracy",))
    made_up.fill(store, planning.units(request), INFO)
    app = explorer("runs", seed="0", n="100")
    lines = next(code.value for code in app.code if "from backend.runs import plan" in code.value)
    exec(lines, {})
    printed = capsys.readouterr().out
    assert f"4 of {len(planning.units(REQUEST))} results are here\n" in printed
    plan = planning.make(REQUEST, store)
    assert printed.startswith(tables.plan_table(plan, planning.rates(MODEL, INFO, store)).to_string())


def test_choosing_nothing_asks_for_a_choice(explorer: Explorer):
    app = explorer("runs")
    app.get_by_key("run shots").set_value([])
    app.run()
    assert calm(app)
    assert "Choose at least one thing to measure" in words(app)


def test_tasks_without_rows_are_named_and_left_out(
        explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    info = made_up.model_info(name="owner/model")
    made_up.fill(store, [], info)
    are_here(monkeypatch, INFO, info)
    app = explorer("runs", model="owner/model", task="antonym")
    app.get_by_key("run tasks of owner/model").set_value(["antonym", "piqa"])
    app.run()
    assert calm(app)
    assert "Left out, because their rows are not here: piqa." in words(app)
    asked = planning.units(planning.Request(made_up.model_id(info), info, (made_up.task_id("antonym"),)))
    assert f"1 of {len(asked)} results are here" in words(app)  # the model's own record


# --- runs ---------------------------------------------------------------------------------------


def test_a_run_under_way_shows_how_far_it_is_and_can_be_stopped(explorer: Explorer, store: Store):
    job = pretend(store, jobs.Progress("running", "evaluation bundled past", 3, 10, 40, 80, 125.0, updated=time.time()))
    app = explorer("runs")
    assert calm(app)
    assert "1 run under way" in words(app)
    assert "about 2 min left" in words(app)
    assert app.main.get("progress")[0].value == 50
    app = press(app, f"stop {job.id}")
    assert (job.folder / "stop").exists()
    assert "Stopping" in words(app)
    for asked in (0, time.time() + 3600):  # long ago; or before the clock was set back
        os.utime(job.folder / "stop", (asked, asked))
        assert "End at once" in labels(explorer("runs"))


def test_a_stopped_a_failed_and_a_dead_run_say_so_and_can_be_resumed(
        explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch):
    resumed: list[str] = []
    monkeypatch.setattr(jobs, "start", lambda args, folder: resumed.append(args[2]))
    for state, said in [("cancelled", "Stopped"), ("failed", "Failed"), ("running", "Ended early")]:
        job = pretend(store, jobs.Progress(state, "", 0, 0, 1, 2, message="It is so."), False,
                      ("precompute", "--model", state))
        app = explorer("runs")
        assert calm(app)
        assert f"**{said}**" in words(app)
        press(app, f"resume {job.id}")
        assert resumed[-1] == state


def test_a_press_counts_though_the_page_is_drawn_anew_before_it_is_looked_at(
        explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch):
    job = pretend(store, jobs.Progress("cancelled", units_total=2), False)
    resumed: list[jobs.Job] = []
    monkeypatch.setattr(jobs, "resume", resumed.append)
    app = explorer("runs")
    once_more(monkeypatch, jobs, "progress")
    press(app, f"resume {job.id}")
    assert [one.id for one in resumed] == [job.id]


def test_what_goes_wrong_in_a_press_is_said(explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch):
    def fails(job: jobs.Job) -> None:
        raise ModelError("There is no room on the disk.")

    job = pretend(store, jobs.Progress("cancelled", units_total=2), False)
    monkeypatch.setattr(jobs, "resume", fails)
    app = press(explorer("runs"), f"resume {job.id}")
    assert not app.exception
    assert [e.value for e in app.error] == ["There is no room on the disk."]


@pytest.mark.parametrize("clock", ["goes on", "was set back"])
def test_of_a_run_that_was_resumed_only_the_new_part_is_shown(
        explorer: Explorer, store: Store, monkeypatch: pytest.MonkeyPatch, clock: str):
    args = ("precompute", "--model", "bundled")
    old = pretend(store, jobs.Progress("cancelled", message="Stopped on request."), False, args)
    with monkeypatch.context() as patch:
        if clock == "was set back":
            told = time.strftime
            patch.setattr(jobs.time, "strftime", lambda how, *when: told(how, *when or [time.gmtime(0)]))
        new = pretend(store, jobs.Progress("running", units_done=1, units_total=2), True, args)
    assert [job.id for job in jobs.jobs(store.folder)] == [new.id, old.id]
    app = explorer("runs")
    assert calm(app)
    assert "1 run under way" in words(app)
    assert "Stopped on request." not in words(app)


def test_no_run_took_less_than_no_time(explorer: Explorer, store: Store):
    pretend(store, jobs.Progress("done", units_done=2, units_total=2, message="Set back.", updated=1.0), False)
    assert "took 1 s · Set back." in words(explorer("runs"))


def test_a_run_that_is_done_can_be_cleared_from_the_list(explorer: Explorer, store: Store):
    pretend(store, jobs.Progress("done", units_done=2, units_total=2, message="2 results computed."), False)
    app = explorer("runs")
    assert "2 results computed." in words(app)
    assert not any(label == "Resume" for label in labels(app))
    press(app, "forget runs")
    assert not jobs.jobs(store.folder)


def test_what_was_not_started_here_is_named_without_buttons_and_closes_no_page(explorer: Explorer, store: Store):
    record = {"args": ["export", "/tmp/elsewhere.zip"], "pid": os.getpid(), "born": "", "started": 1.0}
    for name in ("20260101-120000-abcd", "![x](x.png)\udcff"):
        folder = store.folder / "jobs" / name
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(json.dumps(record))
        (folder / "progress.json").write_text('{"state": 3, "unit": [], "seconds_left": Infinity}')
    app = explorer("runs")
    assert calm(app)
    told = [text.value for text in app.main.text]
    assert "20260101-120000-abcd: Its command is none that a run has. It is no `precompute` command." in told
    assert any("x.png)\\udcff: It is not named as a run is." in text for text in told)
    assert "No run is under way" in words(app)
    assert not {"Stop", "Resume", "End at once", "Command"} & set(labels(app))


def test_what_stands_against_ending_a_run_is_said(explorer: Explorer, store: Store):
    job = pretend(store, jobs.Progress("running", updated=time.time()))  # this very process, which runs something else
    jobs.cancel(job)
    os.utime(job.folder / "stop", (0, 0))
    app = press(explorer("runs"), f"kill {job.id}")
    assert f"Process {os.getpid()} was not started by this Headroom" in app.main.error[0].value
    assert not app.exception


# --- storage ------------------------------------------------------------------------------------


def stored(store: Store) -> list[Unit]:
    made_up.fill(store, [Evaluation(s) for s in setups_of(list(MINI)[:3])], INFO)
    return store.live_units()


def test_storage_counts_what_there_is(explorer: Explorer, store: Store):
    assert "No results of no models" in words(explorer("runs", section="Storage"))
    units = stored(store)
    app = explorer("runs", section="Storage")
    assert calm(app)
    assert f"{len(units)} results of 1 model · {machine.size(store.size_bytes())} on this machine's disk" in words(app)
    table = app.dataframe[0].value
    assert table.query("kind == 'accuracy'")["results"].item() == 3
    assert table["of this machine"].sum() == len(units)


def test_deleting_asks_first(explorer: Explorer, store: Store):
    units = stored(store)
    app = press(explorer("runs", section="Storage"), "delete")
    assert f"{len(units)} results of bundled will be deleted" in words(app)
    assert store.live_units() == units
    press(app, "confirmed")
    assert not store.live_units()


def test_a_bundle_comes_in_once_checked(explorer: Explorer, store: Store):
    units, content = stored(store), io.BytesIO()
    bundles.export(content, store, units)
    store.delete_all(units)
    app = explorer("runs", section="Storage")
    app.file_uploader[0].set_value(("results.zip", content.getvalue(), "application/zip"))
    app.run()
    assert calm(app)
    assert f"{len(units)} new, none here already, none that differ" in words(app)
    assert not store.live_units()
    app = press(app, "take in")
    assert store.live_units() == units
    assert app.success[0].value == f"{len(units)} results of bundled taken in."


def test_results_that_differ_are_replaced_on_request_only(explorer: Explorer, store: Store):
    unit = Evaluation(setup_of("antonym", 5))
    content, theirs = io.BytesIO(), made_up.record(Evaluation(setup_of("past", 5)), INFO)
    store.put(unit, theirs)
    bundles.export(content, store, [unit])
    mine = store.put(unit, made_up.record(unit, INFO), replace=True)
    app = explorer("runs", section="Storage")
    app.file_uploader[0].set_value(("results.zip", content.getvalue(), "application/zip"))
    app.run()
    assert "1 that differ" in words(app)
    assert next(b for b in app.main.button if b.key == "take in").disabled
    assert store.get(unit) == mine
    app.get_by_key("replace").set_value(True)
    app.run()
    press(app, "take in")
    assert store.get(unit) == theirs


def test_what_is_no_bundle_is_refused_with_a_sentence(explorer: Explorer, store: Store):
    app = explorer("runs", section="Storage")
    app.file_uploader[0].set_value(("results.zip", b"PK, but not really", "application/zip"))
    app.run()
    assert not app.exception
    assert "not a bundle" in app.error[0].value


def test_damage_is_found_named_and_cleared(explorer: Explorer, store: Store):
    units = stored(store)
    store._cache.set(units[0].key, b"no such thing")
    app = press(explorer("runs", section="Storage"), "check")
    assert calm(app)
    assert f"The stored result of {units[0]} is damaged" in words(app)
    press(app, "delete damaged")
    assert store.live_units() == units[1:]
    app = press(explorer("runs", section="Storage"), "check")
    assert f"All {len(units) - 1} results can be read" in words(app)


# --- models -------------------------------------------------------------------------------------


@pytest.fixture
def unobstructed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stands in the way of any model, whether it is on the disk or not."""
    monkeypatch.setattr(obstacles, "obstacles", lambda name: [])


def look(app: AppTest, name: str) -> AppTest:
    app.get_by_key("model to check").set_value(name)
    return app.run()


@pytest.mark.usefixtures("unobstructed")
def test_a_model_is_checked_before_it_is_opened(explorer: Explorer, monkeypatch: pytest.MonkeyPatch):
    info = made_up.model_info(name="owner/model")
    monkeypatch.setattr(models, "describe", lambda name: info)
    are_here(monkeypatch, INFO, info)
    app = look(explorer("runs", section="Models"), "owner/model")
    assert calm(app)
    assert "owner/model can be used here, in float32 or bfloat16 or float16" in words(app)
    assert f"{info.n_params:,} parameters" in words(app)
    assert list(app.dataframe[0].value["weights in memory"]) == [
        machine.size(info.n_params * width) for width in (4, 2, 2)]
    app = press(app, "open model")
    assert app.session_state["model"] == "owner/model"
    assert calm(app)


@pytest.mark.usefixtures("unobstructed")
def test_a_model_too_large_for_the_memory_is_said_to_be(explorer: Explorer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models, "describe", lambda name: made_up.model_info(64, 72, "large"))
    monkeypatch.setattr(machine, "free_memory", lambda: 1000)
    assert "large is understood, but its weights do not fit" in words(
        look(explorer("runs", section="Models"), "large"))


def test_an_unknown_architecture_says_how_to_add_it(explorer: Explorer, tmp_path: Path):
    for file in models.BUNDLED_FOLDER.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "openai-gpt"}))
    app = look(explorer("runs", section="Models"), str(tmp_path))
    assert calm(app)
    assert "cannot be used yet" in words(app)
    assert "No adapter for architecture 'openai-gpt'" in words(app)
    assert app.get_by_key("open model").disabled


def test_a_model_that_is_not_there_says_why(explorer: Explorer, monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> ModelInfo:
        raise ModelError(f"'{name}' is not in the local cache, and the hub cannot be reached.")

    monkeypatch.setattr(models, "describe", missing)
    app = look(explorer("runs", section="Models"), "owner/model")
    assert not app.exception
    assert "the hub cannot be reached" in app.error[0].value


# --- tasks of one's own -------------------------------------------------------------------------


def test_own_rows_are_shown_kept_asked_and_removed(explorer: Explorer):
    app = explorer("runs", section="Own tasks", shots="1")
    app.file_uploader[0].set_value(jsonl({"name": "letters", "template": "Q: {query}\nA: {answer}"}, *ROWS))
    app.run()
    assert calm(app)
    task = own.parse_task("\n".join(map(json.dumps, ROWS)), "letters", "Q: {query}\nA: {answer}")
    assert f"letters: {len(task.rows('validation'))} questions, {len(task.rows('train'))} training rows" in words(app)
    first, = prompts(task, 1, "fixed", 1)
    assert f"{first.prefix}{first.example.contexts[0]} …" in [code.value for code in app.code]
    app = press(app, "keep task")
    assert own.kept() == ["letters"]
    app = press(app, "use letters")
    assert app.session_state["task"] == "own:letters"
    assert app.title[0].value == "Playground"
    assert first.prefix in app.code[0].value
    assert calm(app)
    app = explorer("runs", section="Own tasks", shots="1")
    app = press(app, "remove letters")
    assert own.kept() == ["letters"]
    press(app, "confirmed")
    assert own.kept() == []


def test_malformed_rows_are_named_with_their_lines(explorer: Explorer):
    app = explorer("runs", section="Own tasks")
    app.file_uploader[0].set_value(jsonl(ROWS[0], {"query": "x", "options": ["a"], "gold": 0}, ROWS[1], {"query": "y"}))
    app.run()
    assert not app.exception
    assert "line 2: 'options' must be a list of at least two texts" in app.error[0].value
    assert "line 4: 'options' and 'gold' missing" in app.error[0].value


def test_a_template_without_its_places_is_refused(explorer: Explorer):
    app = explorer("runs", section="Own tasks")
    app.file_uploader[0].set_value(jsonl(*ROWS))
    app.get_by_key("own template").set_value("only {query}")
    app.run()
    assert not app.exception
    assert r"must hold \{query\} once and, after it, \{answer\} once" in app.error[0].value


def test_every_section_answers_a_cold_permalink(explorer: Explorer):
    for section in ("Results", "Storage", "Models", "Own tasks"):
        app = explorer("runs", section=section)
        assert calm(app), section
        assert app.title[0].value == "Runs"
    assert "'section'" not in words(app)
