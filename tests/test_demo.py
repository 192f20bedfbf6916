"""A demo: what its functions refuse, whoever calls them."""

import io
from pathlib import Path

import pytest

from backend import demo, limits
from backend.errors import BadInput, DataError, ModelError, StoreError
from backend.kinds import Evaluation
from backend.models import info
from backend.models.identity import identify
from backend.runs import jobs
from backend.runs.queue import Limits
from backend.store import bundles
from backend.store.catalogue import catalogue
from backend.store.live import Store, default_store
from backend.tasks import own, registry
from backend.values import ModelId
from tests.pages import made_up

STRANGE = ModelId("secret", "r", digest="0123456789ab")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path / "live"))
    monkeypatch.setenv(demo.SETTING, "1")
    return tmp_path / "live"


def unit(model: ModelId, task: str = "antonym", n: int = 40) -> Evaluation:
    return Evaluation(made_up.setup(model, task, 5, n_examples=n))


def bundled() -> ModelId:
    return identify("bundled")


@pytest.mark.parametrize("off", ["", "0", " "])
def test_without_the_setting_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, off: str):
    monkeypatch.setenv(demo.SETTING, off)
    demo.refuse("look")
    demo.check_model("/etc")
    assert Limits.of() == Limits()


def test_other_models_than_those_listed_are_not_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(info, "_from_hub", lambda *_: pytest.fail("the hub was asked"))
    told = set()
    for name in (str(tmp_path), "/no/such", "gguf:/etc/passwd", "facebook/opt-125m", "", "../bundled"):
        for look in (info.folder_of, info.locate, info.describe, identify):
            with pytest.raises(ModelError) as refused:
                look(name)
            told.add(str(refused.value))
    assert told == {"This server is a demo and does not look for other models than bundled."}
    monkeypatch.setenv(demo.MODELS, f"facebook/opt-125m, {tmp_path}")
    assert info.folder_of(str(tmp_path)) == tmp_path
    assert demo.shows_model(tmp_path.name)
    assert not demo.shows_model("other")


def test_other_tasks_than_those_listed_are_not_read(monkeypatch: pytest.MonkeyPatch):
    told = set()
    for name in ("own:/etc/passwd", "own:/no/such", "lm_eval:sciq", "piqa", "nothing"):
        with pytest.raises(DataError) as refused:
            registry.get_task(name)
        told.add(str(refused.value))
    assert len(told) == 1
    assert registry.get_task("antonym")
    assert "piqa" not in registry.known()
    monkeypatch.setenv(demo.TASKS, "piqa")
    assert "piqa" in registry.known()


def test_nobody_starts_stops_or_removes_a_run_or_brings_or_removes_anything(cache: Path, monkeypatch):
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    folder = cache / "jobs" / "20260101-120000-abcd"
    folder.mkdir(parents=True)
    job = jobs.Job(folder, ("precompute",), 1, "", 1.0)
    task = own.OwnTask("mine", [{"query": "a", "options": ["b", "c"], "gold": 0}], [], own.DEFAULT_TEMPLATE)
    with Store(cache) as store:
        for refused in (lambda: jobs.start(["precompute"], cache), lambda: jobs.resume(job), lambda: jobs.cancel(job),
                        lambda: jobs.kill(job), lambda: jobs.forget(job), lambda: own.parse_task("{}"),
                        lambda: own.keep(task), lambda: own.remove("mine"),
                        lambda: bundles.inspect(io.BytesIO(b"PK"), store),
                        lambda: bundles.take_in(bundles.Contents(None, {}, (), (), {}, ()), store),  # type: ignore
                        lambda: bundles.export(io.BytesIO(), store, [])):
            with pytest.raises(BadInput, match="This server is a demo"):
                refused()
    assert [path.name for path in folder.iterdir()] == []


def test_what_is_measured_is_kept_in_memory_and_nothing_is_deleted(cache: Path, monkeypatch: pytest.MonkeyPatch):
    kept, new = unit(bundled()), unit(bundled(), n=41)
    monkeypatch.delenv(demo.SETTING)
    with default_store() as store:
        made_up.fill(store, [kept], info.describe("bundled"))
    before = (cache / "cache.db").read_bytes()
    monkeypatch.setenv(demo.SETTING, "1")
    with default_store() as store:
        assert store.read_only == demo.READ_ONLY
        store.put(new, made_up.record(new, info.describe("bundled")))
        assert store.get(new) is not None
        with pytest.raises(StoreError, match="Nothing can be stored or deleted here: this server is a demo"):
            store.delete_all([kept])
        with pytest.raises(StoreError, match="demo"):
            store.put_all([(new, made_up.record(new, info.describe("bundled")))], replace=True)
        assert store.get(kept) is not None
    assert (cache / "cache.db").read_bytes() == before


def test_a_demo_over_no_store_makes_none(cache: Path):
    with default_store() as store:
        assert store.get(unit(bundled(), n=41)) is None
        assert store.units()
    assert not cache.exists()


def test_results_of_models_and_tasks_that_are_not_listed_are_not_shown(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(demo.SETTING)
    with default_store() as store:
        for of in (bundled(), STRANGE):
            made_up.fill(store, [unit(of, n=41)], info.describe("bundled"))
        assert "secret" in catalogue(store).names
    monkeypatch.setenv(demo.SETTING, "1")
    with default_store() as store:
        names = catalogue(store).names
        assert set(names) == {unit.model.name for unit in store.shipped.units()}  # what came with Headroom
        assert "bundled" in names
        assert "secret" not in names
    monkeypatch.setenv(demo.MODELS, "/models/secret")
    with default_store() as store:
        assert "secret" in catalogue(store).names


def test_the_queue_refuses_what_is_more_or_other_than_allowed():
    allowed = Limits.of()
    assert (allowed.questions, allowed.waiting, allowed.prompt) == (
        limits.DEMO_QUESTIONS, limits.DEMO_WAITING, limits.DEMO_PROMPT)
    allowed.check([unit(bundled(), n=limits.DEMO_QUESTIONS)])
    for wrong, error in ((unit(bundled(), n=limits.DEMO_QUESTIONS + 1), BadInput), (unit(STRANGE), ModelError)):
        with pytest.raises(error):
            allowed.check([wrong])
    with pytest.raises(BadInput, match="200 at a time"):
        allowed.check([unit(bundled())], waiting=limits.DEMO_WAITING)
    with pytest.raises(BadInput, match="2,000"):
        allowed.check_prompt("a" * 1990, "b | c | d | e")
    assert Limits.of({"HEADROOM_QUESTIONS": "50"}).questions == 50
