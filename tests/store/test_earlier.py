"""Results of schema 1: taken over where they are still true, named and left alone where that cannot be shown."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import time
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backend.__main__ import BAD_INPUT, DONE, FAILED, main
from backend.errors import StoreError
from backend.kinds import (
    Answers,
    Copying,
    Evaluation,
    FFNOracle,
    HeadImportance,
    HeadOracle,
    Means,
    Model,
    PrefixMatching,
    Pruning,
    Unit,
)
from backend.models.identity import identify
from backend.models.info import BUNDLED_FOLDER, describe
from backend.runs.plan import identify_tasks
from backend.store import bundles, earlier
from backend.store.entries import canonical, digest
from backend.store.live import Store
from backend.tasks import own
from backend.values import ModelId, Ranking, Setup, TaskId, parse_exact
from tests.models.small import small_network, small_tokenizer

TINY = ModelId("tiny", "abc", "0123456789ab")
PIQA, COPA = TaskId("piqa", "d1"), TaskId("copa", "d7")
SETUP = Setup(TINY, PIQA, 5, "fixed", 100, 3)


def old(kind: str = "evaluation", off: str = "", options: dict[str, str] | None = None, **setup: Any) -> dict[str, Any]:
    """A description as schema 1 wrote it."""
    plain = {"model": "tiny", "revision": "abc", "dtype": "float32", "task": "piqa", "data": "d1", "n_shots": 5,
             "demos": "fixed", "n_examples": 100, "seed": 3}
    return {"kind": kind, "schema": 1, "setup": plain | setup, "ablation": off, "options": options or {}}


def of_model(kind: str, options: dict[str, str] | None = None, **setup: Any) -> dict[str, Any]:
    """The same of what needs no task."""
    none = {"task": "", "data": "", "n_shots": 0, "demos": "", "n_examples": 0, "seed": 0}
    return old(kind, "", options, **(none | setup))


def pruning(what: str, ranking: str, measured: bool = True, **setup: Any) -> dict[str, Any]:
    more = {"n_train": "200", "reduction": "per-token"} if measured else {}
    return old("pruning", "", {"what": what, "ranking": ranking, **more}, **setup)


QUESTIONS = {"docs": [3, 1], "gold": [[0], [1]], "n_options": [2, 2], "groups": ["", ""], "metric": "acc",
             "dropped_demos": [0, 0], "skipped": [9]}
ANSWERS = {"questions": QUESTIONS, "loglikelihoods": [[-1.25, -2.5], [-3.0, -0.5]], "lengths": [[4, 5], [6, 7]],
           "greedy": []}
SWEEP = {"questions": QUESTIONS, "ablations": ["", "F0"], "choices": [[0, 1], [1, 1]],
         "choices_norm": [[0, 1], [0, 0]], "removed": []}
PRUNED = SWEEP | {"removed": [[0.0, 0.0], [0.0, 1.0]]}
SCORES = {"n_examples": 2, "skipped": [7], "block_sizes": [1, 1], "block_positions": [[9], [8]],
          "block_per_token": [[[0.5, 1.0]], [[0.25, 0.5]]], "block_per_example": [[[0.5, 0.0]], [[1.0, 0.5]]]}
INDUCTION = {"n_seeds": 7, "mean": [[0.25, 0.5]], "variance": [[0.0, 1.0]], "tokens": "by merge rank",
             "max_length": 893}
MEANS = {"n_examples": 4, "n_positions": 90, "heads": [[[0.5, -0.25]]], "ffns": [[0.5, 0.0]]}
INFO = {"name": "tiny", "revision": "abc", "architecture": "opt", "n_layers": 1, "n_heads": 2, "d_model": 32,
        "d_head": 8, "d_ffn": 48, "n_params": 9, "max_positions": 256, "vocab_size": 360, "dtype": "float32",
        "bytes": 36}


# --- names and records --------------------------------------------------------------------------


@pytest.mark.parametrize(("was", "now"), [
    (old(), Evaluation(SETUP)),
    (old(dtype="bfloat16"), Evaluation(SETUP.with_(model=TINY.with_(dtype="bfloat16")))),
    (old(off="L0H1,F2"), Evaluation(SETUP, parse_exact("L0H1,F2"))),
    (old(off="mean:L0H1", options={"means": "50"}), Evaluation(SETUP, parse_exact("mean:L0H1"), 50)),
    (old("head_importance", n_examples=200), HeadImportance(SETUP.with_(n_examples=200))),
    (old("means", n_examples=50), Means(SETUP.with_(n_examples=50))),
    (old("ffn_oracle"), FFNOracle(SETUP)),
    (old("head_oracle", demos="per-query"), HeadOracle(SETUP.with_(demos="per-query"))),
    (pruning("heads", "own"), Pruning(SETUP)),
    (old("pruning", options={"what": "heads", "ranking": "own", "n_train": "50", "reduction": "per-example"}),
     Pruning(SETUP, "heads", Ranking.by(PIQA, n_train=50, reduction="per-example"))),
    (pruning("heads", "most-important"), Pruning(SETUP, "heads", Ranking.by(PIQA, reverse=True))),
    (pruning("ffns", "most-important", False), Pruning(SETUP, "ffns", Ranking.by(PIQA, reverse=True))),
    (pruning("ffns", "own", False), Pruning(SETUP, "ffns")),
    (pruning("combined", "aggregate:piqa+copa"), Pruning(SETUP, "combined", Ranking.by(PIQA, COPA))),
    (pruning("heads", "task:copa"), Pruning(SETUP, "heads", Ranking.by(COPA))),
    (pruning("heads", "random:4", False), Pruning(SETUP, "heads", Ranking.random(4))),
    (pruning("ffns", "random:4", False), Pruning(SETUP, "ffns", Ranking.random(4))),
    (of_model("prefix_matching", {"variant": "exact", "n_seeds": "100"}), PrefixMatching(TINY)),
    (of_model("copying", {"variant": "olsson", "n_seeds": "7"}), Copying(TINY, "olsson", 7)),
    (of_model("model", dtype=""), Model(TINY)),
], ids=lambda value: "" if isinstance(value, Unit) else str(earlier.Description.read(value)))
def test_every_name_of_schema_1_has_one_of_today(was, now):
    assert earlier.unit_of(earlier.Description.read(was), TINY, {"copa": COPA}) == now


def test_an_aggregate_of_a_suite_is_one_of_its_tasks():
    mini = identify_tasks("mini")
    was = earlier.Description.read(pruning("heads", "aggregate:mini", task=mini[0].name, data=mini[0].digest))
    found = earlier.unit_of(was, TINY, {task.name: task for task in mini})
    assert isinstance(found, Pruning)
    assert found.ranking == Ranking.by(*mini)


@pytest.mark.parametrize(("was", "reason"), [
    (old("logit_lens"), "knew no kind of result 'logit_lens'"),
    (old(options={"x": "y"}), "knew no option 'x'"),
    (old("ffn_oracle", off="F1"), "switches something off"),
    (old(off="mean:L0H1"), "'means' is no number"),
    (old("pruning", options={"what": "heads", "ranking": "own"}), "'n_train' is no number"),
    (pruning("layers", "own"), "Known: heads, ffns, combined"),
    (pruning("heads", "best"), "Unknown ranking 'best'"),
    (pruning("heads", "task:rte"), "which rows of task 'rte'"),
    (of_model("prefix_matching", {"variant": "olsson", "n_seeds": "7"}), "Unknown variant 'olsson'"),
    (of_model("evaluation"), "names a task where there is none, or none where there is one"),
    (old("copying", options={"variant": "authors", "n_seeds": "7"}), "names a task where there is none"),
])
def test_what_schema_1_never_wrote_is_refused(was, reason):
    with pytest.raises(StoreError) as error:
        earlier.unit_of(earlier.Description.read(was), TINY, {})
    assert reason in str(error.value)


@pytest.mark.parametrize("was", [
    None, [], {}, old() | {"schema": 2}, old() | {"more": 1}, old() | {"setup": {"model": "tiny"}}, old(seed="3"),
    old(n_shots=True), old() | {"options": {"means": 3}}, old(off="L0H"), old() | {"ablation": ["L0H0"]},
])
def test_what_is_no_description_is_refused(was):
    with pytest.raises(StoreError):
        earlier.Description.read(was)


def test_the_key_of_schema_1_is_what_it_was():
    """Taken from a store that schema 1 wrote."""
    shipped = {"ablation": "", "kind": "copying", "options": {"n_seeds": "100", "variant": "authors"}, "schema": 1,
               "setup": {"data": "", "demos": "", "dtype": "float32", "model": "bundled", "n_examples": 0, "n_shots": 0,
                         "revision": "b7ebad9054eb", "seed": 0, "task": ""}}
    assert earlier.key_of(shipped) == "5ca0951dfd20b086ca06c7e3db3424f8"


def test_records_gain_what_schema_1_did_not_count():
    answers = earlier.record_of(ANSWERS, Evaluation(SETUP))
    assert answers.questions.spanning == (0, 0)
    assert answers.loglikelihoods == ((-1.25, -2.5), (-3.0, -0.5))
    assert earlier.record_of(SCORES, HeadImportance(SETUP)).n_spanning == 0
    assert earlier.record_of(SWEEP, FFNOracle(SETUP)).questions.spanning == (0, 0)
    assert earlier.record_of(MEANS, Means(SETUP)).n_positions == 90
    assert earlier.record_of(INFO, Model(TINY.with_(revision="new"))).revision == "new"


@pytest.mark.parametrize("record", [None, [], {}, ANSWERS | {"more": 1}, ANSWERS | {"questions": 3},
                                    ANSWERS | {"questions": QUESTIONS | {"docs": 3}},
                                    ANSWERS | {"lengths": [["4", 5], [6, 7]]}])
def test_a_damaged_record_is_refused(record):
    with pytest.raises(StoreError):
        earlier.record_of(record, Evaluation(SETUP))


# --- a store ------------------------------------------------------------------------------------


@dataclass
class Folder:
    """A model's folder, and the store beside it that schema 1 filled."""

    model: Path
    store: Path
    tasks: dict[str, TaskId]
    written: dict[str, bytes] = field(default_factory=dict)

    @property
    def revision(self) -> str:
        found = hashlib.sha256()
        for name in ("config.json", "model.safetensors"):
            found.update(name.encode() + (self.model / name).read_bytes())
        return found.hexdigest()[:12]

    def old(self, kind: str, task: str, **more: Any) -> dict[str, Any]:
        id = self.tasks.get(task) or TaskId(task, "gone")
        return old(kind, **{"revision": self.revision, "task": id.name, "data": id.digest, "n_shots": 1,
                            "n_examples": 4, "seed": 0, **more})

    def put(self, description: Any, record: Any, key: str = "", at: float | None = None) -> str:
        """An entry as schema 1 wrote it."""
        key = key or earlier.key_of(description)
        packed = zlib.compress(canonical({"unit": description, "record": record}), 6)
        self.written[key] = digest(packed).encode() + packed
        with Store(self.store) as store:
            store._cache.set(key, self.written[key])
            store._cache.set(f"unit:{key} {canonical(description).decode()}", "")
            store._cache.set(f"seconds:{key}", 2.5)
            store._cache.incr("generation")
        with sqlite3.connect(self.store / "cache.db") as database:
            database.execute("UPDATE Cache SET store_time = ? WHERE key = ?", (at or time.time() + 1, key))
        return key

    def identity(self, dtype: str = "float32") -> ModelId:
        return identify(str(self.model), dtype=dtype, bos="never")

    def setup(self, task: str, n_examples: int = 4) -> Setup:
        return Setup(self.identity(), self.tasks[task], 1, "fixed", n_examples)

    def upgrade(self, dry_run: bool = False) -> earlier.Upgraded:
        with Store(self.store) as store:
            return earlier.upgrade(store, [str(self.model)], dry_run)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    small_network("opt").save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path, network, monkeypatch) -> Folder:
    """`plain` reads whole as in pieces; in `glued` options run on from their questions, in `half` in training rows."""
    monkeypatch.setenv("HEADROOM_TASKS", str(tmp_path / "tasks"))
    model = tmp_path / "tiny"
    model.mkdir()
    for path in network.iterdir():
        os.link(path, model / path.name)
    for name, template, ends in (("plain", "{query} {answer}", ("ma", "ma")), ("half", "{query}{answer}", ("ma", "m:")),
                                 ("glued", "{query}{answer}", ("ma", "ma"))):
        rows = [[{"query": f"{word} sat on the {end}", "options": ["t", "n"], "gold": 0} for word in part.split()]
                for part, end in zip(("one two three red green blue", "cat dog man yes no"), ends, strict=True)]
        own.keep(own.OwnTask(name, *rows, template))
    tasks = {name: identify_tasks(f"own:{name}")[0] for name in ("plain", "glued", "half")}
    return Folder(model, tmp_path / "store", tasks)


def test_what_is_still_true_is_taken_over_under_its_new_name(folder):
    setup, model = folder.setup("plain"), folder.identity()
    expected: dict[Unit, Any] = {Evaluation(setup): ANSWERS, Evaluation(setup, parse_exact("mean:L0H1"), 3): ANSWERS,
                                 HeadImportance(setup.with_(n_examples=3)): SCORES, FFNOracle(setup): SWEEP,
                                 Pruning(setup, "combined", Ranking.by(setup.task, n_train=3)): PRUNED,
                                 Copying(model, "authors", 7): INDUCTION, Model(model): INFO}
    for description, record in (
        (folder.old("evaluation", "plain"), ANSWERS),
        (folder.old("evaluation", "plain", off="mean:L0H1", options={"means": "3"}), ANSWERS),
        (folder.old("head_importance", "plain", n_examples=3), SCORES),
        (folder.old("ffn_oracle", "plain"), SWEEP),
        (folder.old("pruning", "plain", options={"what": "combined", "ranking": "own", "n_train": "3",
                                                 "reduction": "per-token"}), PRUNED),
        (of_model("copying", {"variant": "authors", "n_seeds": "7"}, revision=folder.revision), INDUCTION),
        (of_model("model", revision=folder.revision, dtype=""), INFO),
    ):
        folder.put(description, record)
    with Store(folder.store) as store:
        assert len(store.earlier()) == 7
        assert store.units() == store.problems() == []
    tried = folder.upgrade(dry_run=True)
    with Store(folder.store) as store:
        assert (set(tried.taken), tried.aside) == (set(expected), [])
        assert store.units() == []
    done = folder.upgrade()
    assert (set(done.taken), done.aside) == (set(expected), [])
    with Store(folder.store) as store:
        assert set(store.units()) == set(expected)
        assert store.earlier() == {}
        assert store.check() == []
        for unit, record in expected.items():
            assert store.get(unit) == earlier.record_of(record, unit)
            assert store.seconds(unit) == 2.5
        assert not [key for key in store._cache if key in folder.written or "schema\":1" in str(key)]
    assert folder.upgrade() == earlier.Upgraded()


@pytest.mark.parametrize(("kind", "task", "more", "reason"), [
    ("evaluation", "glued", {}, "read whole, prompts of task 'own:glued' are other tokens than read in pieces"),
    ("head_importance", "glued", {"n_examples": 3}, "read whole, prompts of task 'own:glued'"),
    ("pruning", "plain", {"options": {"what": "heads", "ranking": "task:own:glued", "n_train": "3",
                                      "reduction": "per-token"}}, "read whole, prompts of task 'own:glued'"),
    ("pruning", "plain", {"options": {"what": "ffns", "ranking": "aggregate:own:plain+own:glued"}},
     "read whole, prompts of task 'own:glued'"),
    ("evaluation", "plain", {"revision": "another"}, "the model here holds other weights"),
    ("evaluation", "plain", {"data": "others"}, "The rows of task 'own:plain' here have fingerprint"),
    ("evaluation", "own:lost", {}, "No task of your own is called 'lost'"),
    ("evaluation", "plain", {"n_shots": 90}, "90 shots asked of task 'own:plain'"),
    ("evaluation", "plain", {"model": "larger"}, "nobody said where the model 'larger' is"),
    ("evaluation", "plain", {"model": "bundled"}, "the model here holds other weights"),
    ("logit_lens", "plain", {}, "knew no kind of result 'logit_lens'"),
])
def test_what_cannot_be_shown_to_be_true_is_named_and_left_untouched(folder, kind, task, more, reason):
    folder.put(folder.old("head_oracle", "glued", n_examples=1), SWEEP)  # the store knows the rows of `glued`
    key = folder.put(folder.old(kind, task, **more), ANSWERS)
    found = folder.upgrade()
    assert found.taken == []
    ((name, told),) = [(name, told) for name, told in found.aside if not name.startswith("head_oracle")]
    assert name.startswith(f"{kind} ")
    assert told.startswith(reason) or reason in told
    with Store(folder.store) as store:
        assert key in store.earlier()
        assert store.units() == []
        assert all(store._cache.get(key) == value for key, value in folder.written.items())


def test_what_was_measured_on_training_prompts_stands_and_falls_with_those(folder):
    folder.put(folder.old("evaluation", "half"), ANSWERS)
    folder.put(folder.old("ffn_oracle", "half"), SWEEP)
    folder.put(folder.old("pruning", "half", options={"what": "ffns", "ranking": "own"}), PRUNED)
    for kind, record, more in (
        ("head_importance", SCORES, {}), ("means", MEANS, {}),
        ("evaluation", ANSWERS, {"off": "mean:F1", "options": {"means": "3"}}),
        ("pruning", PRUNED, {"options": {"what": "heads", "ranking": "own", "n_train": "3", "reduction": "per-token"}}),
    ):
        folder.put(folder.old(kind, "half", n_examples=3, **more), record)
    found = folder.upgrade()
    assert {unit.KIND for unit in found.taken} == {"evaluation", "ffn_oracle", "pruning"}
    assert sorted(name.split()[0] for name, _ in found.aside) == ["evaluation", "head_importance", "means", "pruning"]
    assert len(found.taken) == 3


def test_a_tokenizer_that_was_written_later_may_be_another(folder):
    newest = max(path.stat().st_mtime for path in folder.model.glob("tokenizer*"))
    one = of_model("copying", {"variant": "authors", "n_seeds": "7"}, revision=folder.revision)
    folder.put(one, INDUCTION, at=newest - 1)
    assert [reason for _, reason in folder.upgrade().aside] == ["the tokenizer's files are newer than it"]
    folder.put(one, INDUCTION, at=newest + 1)
    assert len(folder.upgrade().taken) == 1


def test_a_ranking_by_a_task_of_which_two_sorts_of_rows_are_stored_is_ambiguous(folder):
    for data in ("one", "two"):
        folder.put(folder.old("ffn_oracle", "own:other", data=data), SWEEP)
    folder.put(folder.old("pruning", "plain", options={"what": "ffns", "ranking": "task:own:other"}), SWEEP)
    (reason,) = [reason for name, reason in folder.upgrade().aside if name.startswith("pruning")]
    assert reason == "which rows of task 'own:other' its ranking is of is not to be told from this store"


def test_damaged_entries_are_named_and_the_rest_is_taken_over(folder):
    good = folder.put(folder.old("evaluation", "plain"), ANSWERS)
    damaged = folder.put(folder.old("evaluation", "plain", n_examples=3), ANSWERS)
    other = folder.put(folder.old("evaluation", "plain", n_examples=2), ANSWERS)
    folder.put(folder.old("evaluation", "plain", n_examples=1), {"questions": 3})
    folder.put(folder.old("ffn_oracle", "plain"), SWEEP, key="f" * 32)
    folder.put({"schema": 1}, SWEEP, key="e" * 32)
    with Store(folder.store) as store:
        store._cache.set(damaged, folder.written[damaged][:-1])
        store._cache.set(other, folder.written[good])
    found = folder.upgrade()
    assert found.taken == [Evaluation(folder.setup("plain"))]
    assert sorted(reason for _, reason in found.aside) == [
        "A damaged Answers: it is no Answers: fields greedy, lengths, loglikelihoods are missing or unknown",
        "it is filed under another result's name", "it is no description of schema 1",
        "its digest does not match its content", "its entry belongs to another unit"]


def test_what_is_there_already_is_kept_and_a_different_result_is_not_replaced(folder):
    same, different = Evaluation(folder.setup("plain")), Evaluation(folder.setup("plain", 3))
    with Store(folder.store) as store:
        store.put(same, Answers.from_json(earlier.record_of(ANSWERS, same).to_json()))
        changed = ANSWERS | {"loglikelihoods": [[-9.0, -2.5], [-3.0, -0.5]]}
        store.put(different, earlier.record_of(changed, different))
    folder.put(folder.old("evaluation", "plain"), ANSWERS)
    kept = folder.put(folder.old("evaluation", "plain", n_examples=3), ANSWERS)
    found = folder.upgrade()
    assert found.taken == [same]
    ((_, reason),) = found.aside
    assert "There is a different result" in reason
    with Store(folder.store) as store:
        assert list(store.earlier()) == [kept]
        assert store.get(different).loglikelihoods[0][0] == -9.0
        assert store._cache.get(kept) == folder.written[kept]


def test_demonstrations_that_were_dropped_are_left_out_of_what_is_compared(folder):
    setup = folder.setup("plain")
    (demo,) = earlier.prompts_of(setup, "validation")[0].demos

    def read(texts):
        """A token for each letter; without the demonstration, what is read whole is another thing."""
        return [tuple(map(ord, text)) + (() if demo in text or " sat on the ma " not in text or text.endswith(" ")
                                         else (0,)) for text in texts]

    whole = earlier.Here(setup.model, "", 1000, read, None)
    assert whole.refuses(Evaluation(setup), "", None) == ""
    short = earlier.Here(setup.model, "", 30, read, None)
    assert "read in pieces" in short.refuses(Evaluation(setup), "", None)


@pytest.mark.parametrize(("architecture", "changes", "bos"), [
    ("opt", {}, False), ("llama, grouped queries", {}, False), ("gemma2", {}, True), ("gemma3", {}, True),
    ("gpt2", {"prompts_start_with_bos": True}, True), ("gemma2", {"prompts_start_with_bos": False}, False)])
def test_prompts_begin_as_schema_1_began_them(tmp_path, architecture, changes, bos):
    small_network(architecture, **changes).save_pretrained(tmp_path)
    small_tokenizer().save_pretrained(tmp_path)
    here = earlier.Here.find(str(tmp_path), "abc")
    assert here.id.bos is bos
    assert here.id == identify(str(tmp_path), bos="always" if bos else "never")


def test_a_tokenizer_of_two_files_is_read_and_one_that_is_missing_is_said(folder):
    one = folder.old("evaluation", "plain")
    folder.put(one, ANSWERS)
    words = json.loads((folder.model / "tokenizer.json").read_text())["model"]
    for path in folder.model.glob("tokenizer*"):
        path.unlink()
    assert folder.upgrade().aside[0][1].startswith(f"No tokenizer in '{folder.model}': it holds none of")
    (folder.model / "vocab.json").write_text(json.dumps(words["vocab"]))
    (folder.model / "merges.txt").write_text("\n".join(
        merge if isinstance(merge, str) else " ".join(merge) for merge in words["merges"]))
    folder.put(one, ANSWERS, at=time.time() + 9)
    assert len(folder.upgrade().taken) == 1


def test_the_command_takes_over_lists_the_rest_by_reason_and_status_tells_of_them(folder, capsys):
    where = ["--store", str(folder.store), "--no-shipped"]
    folder.put(folder.old("evaluation", "plain"), ANSWERS)
    folder.put(folder.old("evaluation", "glued"), ANSWERS)
    assert main(["status", *where]) == DONE
    assert "2 results of an earlier version are set aside. `python -m backend upgrade`" in capsys.readouterr().out
    assert main(["upgrade", *where]) == DONE
    assert "nobody said where the model 'tiny' is: name its folder with --model:\n  evaluation tiny" in \
        capsys.readouterr().out
    assert main(["upgrade", *where, "--model", str(folder.model), "--dry-run"]) == DONE
    assert "1 results of an earlier version could be taken over, 1 set aside" in capsys.readouterr().out
    assert main(["upgrade", *where, "--model", str(folder.model)]) == DONE
    told = capsys.readouterr().out
    assert "1 results of an earlier version taken over, 1 set aside: they stay in the store as they are." in told
    assert f"read in pieces:\n  evaluation tiny ({folder.revision}) own:glued 1-shot fixed\n" in told
    assert main(["status", *where]) == DONE
    told = capsys.readouterr().out
    assert "1 results: 0 shipped, 1 in" in told
    assert "1 results of an earlier version are set aside" in told


# --- shipped files and bundles ------------------------------------------------------------------

def bundled(kind: str = "evaluation", **more: Any) -> dict[str, Any]:
    """A description of the bundled model as it is."""
    task = identify_tasks("antonym")[0]
    return old(kind, **{"model": "bundled", "revision": earlier.weights_digest(BUNDLED_FOLDER), "task": task.name,
                        "data": task.digest, "n_shots": 0, "n_examples": 3, "seed": 0, **more})


def ship_1(folder: Path, results: list[tuple[dict[str, Any], Any]]) -> None:
    """Shipped files as schema 1 wrote them."""
    folder.mkdir(exist_ok=True)
    for kind in {unit["kind"] for unit, _ in results}:
        entries = [{"unit": unit, "record": record, "sha256": digest(canonical({"unit": unit, "record": record}))}
                   for unit, record in results if unit["kind"] == kind]
        (folder / f"{kind}.json").write_text(json.dumps({"schema": 1, "results": entries}))


def as_it_was() -> ModelId:
    return identify("bundled", bos="always")


def test_shipped_files_are_written_anew_even_in_place(tmp_path):
    ship_1(tmp_path, [(bundled(), ANSWERS), (bundled(n_examples=5), ANSWERS), (bundled("ffn_oracle"), SWEEP)])
    files = earlier.convert_shipped(tmp_path, tmp_path, as_it_was(), identify_tasks("mini"))
    assert [file.name for file in files] == ["evaluation.json", "ffn_oracle.json"]
    with Store(tmp_path / "live", tmp_path) as store:
        setup = Setup(as_it_was(), identify_tasks("antonym")[0], 0, "fixed", 3)
        assert set(store.units()) == {Evaluation(setup), Evaluation(setup.with_(n_examples=5)), FFNOracle(setup)}
        assert store.get(FFNOracle(setup)) == earlier.record_of(SWEEP, FFNOracle(setup))
        assert store.check() == []


@pytest.mark.parametrize(("change", "reason"), [
    (lambda file: file.replace("-1.25", "-1.26"), "its digest does not match its content"),
    (lambda file: file.replace('"schema": 1', '"schema": 2', 1), "is of schema 2"),
])
def test_damaged_shipped_files_stop_the_conversion_whole(tmp_path, change, reason):
    ship_1(tmp_path / "old", [(bundled(), ANSWERS)])
    file = tmp_path / "old" / "evaluation.json"
    file.write_text(change(file.read_text()))
    with pytest.raises(StoreError, match=reason):
        earlier.convert_shipped(tmp_path / "old", tmp_path / "new", as_it_was(), identify_tasks("mini"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("result", "model", "tasks", "reason"), [
    ({}, {"digest": "other"}, "mini", "not of bundled"),
    ({}, {"bos": False}, "mini", "not of bundled"),
    ({}, {}, "capital", "the rows of task 'antonym' are others today"),
    ({"revision": "other"}, {}, "mini", "the model here holds other weights"),
])
def test_shipped_results_that_are_not_true_stop_the_conversion_whole(tmp_path, result, model, tasks, reason):
    ship_1(tmp_path / "old", [(bundled(), ANSWERS), (bundled("ffn_oracle", **result), SWEEP)])
    with pytest.raises(StoreError, match=reason):
        earlier.convert_shipped(tmp_path / "old", tmp_path / "new", as_it_was().with_(**model), identify_tasks(tasks))
    assert not (tmp_path / "new").exists()


def bundle_1(results: list[tuple[dict[str, Any], Any]], **changes: Any) -> io.BytesIO:
    """A bundle as schema 1 wrote it."""
    bodies = {earlier.key_of(unit): canonical({"unit": unit, "record": record}) for unit, record in results}
    manifest = {"format": "headroom-bundle", "schema": 1, "versions": {"torch": "2.13.0"}, "definitions": {},
                "models": sorted({(u["setup"]["model"], u["setup"]["revision"]) for u, _ in results}),
                "entries": [{"key": key, "what": "", "sha256": digest(body), "bytes": len(body)}
                            for key, body in bodies.items()]} | changes
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as bundle:
        for name, body in (("manifest.json", json.dumps(manifest).encode()),
                           *((f"results/{key}.json", body) for key, body in bodies.items())):
            bundle.writestr(name, body)
    return file


def test_of_a_bundle_of_schema_1_what_is_true_comes_in_and_the_rest_is_named(tmp_path, capsys):
    file = bundle_1([(bundled(), ANSWERS), (bundled("ffn_oracle", revision="other"), SWEEP)])
    (tmp_path / "old.zip").write_bytes(file.getvalue())
    unit = Evaluation(Setup(as_it_was(), identify_tasks("antonym")[0], 0, "fixed", 3))
    where = ["--store", str(tmp_path / "store"), "--no-shipped"]
    assert main(["import", str(tmp_path / "old.zip"), *where]) == DONE
    told = capsys.readouterr().out
    assert "2 results of bundled: 1 new, 0 here already, 0 that differ" in told
    assert "Set aside, because the model here holds other weights" in told
    assert "Imported 1 results" in told
    with Store(tmp_path / "store") as store:
        assert store.units() == [unit]
        assert store.get(unit) == earlier.record_of(ANSWERS, unit)
        assert bundles.inspect(file, store).same == [unit]
    assert main(["import", str(tmp_path / "none.zip"), *where]) == BAD_INPUT


def test_a_bundle_of_schema_1_of_which_nothing_is_true_says_what_to_do(tmp_path, folder, capsys):
    (tmp_path / "old.zip").write_bytes(bundle_1([(folder.old("evaluation", "plain"), ANSWERS)]).getvalue())
    assert main(["import", str(tmp_path / "old.zip"), "--store", str(tmp_path / "other"), "--no-shipped"]) == FAILED
    told = capsys.readouterr().err
    assert "none of its 1 results can be taken over: for example evaluation tiny" in told
    assert "Import it with the version that wrote it and run `python -m backend upgrade` on that store" in told


def test_a_bundle_of_schema_1_is_checked_like_any(tmp_path):
    with Store(tmp_path) as store, pytest.raises(StoreError, match="does not name: results/"):
        bundles.inspect(bundle_1([(bundled(), ANSWERS)], entries=[]), store)


def test_a_damaged_result_in_a_bundle_of_schema_1_is_refused(tmp_path):
    body = canonical({"unit": [], "record": 3})
    entry = {"key": "0" * 32, "what": "", "sha256": digest(body), "bytes": len(body)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as bundle:
        bundle.writestr("manifest.json", json.dumps({"format": "headroom-bundle", "schema": 1, "versions": {},
                                                     "definitions": {}, "models": [], "entries": [entry]}))
        bundle.writestr(f"results/{'0' * 32}.json", body)
    with Store(tmp_path) as store, pytest.raises(StoreError, match="is damaged: it is no description of schema 1"):
        bundles.inspect(file, store)


def test_the_bundled_model_is_read_with_its_own_limits():
    here = earlier.Here.find("bundled", "")
    assert here.max_positions == describe("bundled").max_positions
    assert here.tokenizer_written is None
    assert here.id.bos
