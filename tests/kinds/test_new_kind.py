"""A new measurement is one file: this one's class is known to store, bundles, plans, command line and lines at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.__main__ import DONE, FAILED, main, parser, requested
from backend.errors import BadInput, Cancelled
from backend.kinds import Evaluation, Model
from backend.kinds.lines import commands, python
from backend.kinds.prompts import prompts_of
from backend.kinds.unit import KINDS, CountTokens, OfTask, Option, Progress, Topic, Unit, Wish, compute
from backend.models.identity import identify
from backend.records import ModelInfo, Record
from backend.runs import plan as planning
from backend.runs.plan import identify_tasks
from backend.store import bundles, live
from backend.store.live import Store
from backend.store.shipped import ship
from backend.tasks.task import DRAWS
from backend.values import Setup
from tests.models.small import small_network, small_tokenizer


@dataclass(frozen=True)
class Surprise(Record):
    """How likely the model finds what it answers."""

    NEAR_TIES = ("surprised",)
    nats: tuple[float, ...]  # per query
    surprised: tuple[bool, ...]

    @property
    def left_out(self) -> tuple[int, int]:
        return 0, 2


@dataclass(frozen=True)
class AnswerSurprise(OfTask[Surprise]):
    """The best option's loss, from an evaluation."""

    KIND = "surprise"
    RECORD = Surprise
    TITLE = "surprise"
    DEFINITION = "loss of the best option, nats"
    TOPICS = {"surprise": Topic("surprise", "how surprising the answers are", rank=1)}
    OPTIONS = (Option("threshold", 5, "nats that surprise", least=1, metavar="NATS"),)

    setup: Setup
    threshold: int = 5

    def needs(self) -> Sequence[Unit[Any]]:
        return [Evaluation(self.setup)]

    def cost(self, info: ModelInfo, count: CountTokens) -> int:
        return 7 * count(self.setup, "validation")

    @classmethod
    def asked(cls, topic: str, wish: Wish) -> Iterator[AnswerSurprise]:
        yield from (cls(setup, wish.options["threshold"]) for setup in wish.setups)

    def options(self) -> Mapping[str, Any]:
        return {"threshold": self.threshold}

    def measure(self, model: Any, basis: Sequence[Any], progress: Progress | None) -> Surprise:
        for done in range(3):
            if progress:
                progress(done, 3)
        assert len(prompts_of(self.setup, "validation")) == len(basis[0].loglikelihoods)
        nats = tuple(-max(row) for row in basis[0].loglikelihoods)
        return Surprise(nats, tuple(x > self.threshold for x in nats))


del KINDS["surprise"]  # only where a test asks for it


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(KINDS, "surprise", AnswerSurprise)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    small_network("opt").save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def small(network, tmp_path) -> list[str]:
    return ["--model", str(network), "--store", str(tmp_path / "store"), "--no-shipped"]


ASKED = ["--tasks", "antonym", "--shots", "0,1", "--n-examples", "4", "--what", "surprise", "--threshold", "6"]


def units(network: Path) -> list[AnswerSurprise]:
    task = identify_tasks("antonym")[0]
    return [AnswerSurprise(Setup(identify(str(network)), task, n, "fixed", 4, draws=DRAWS), 6) for n in (0, 1)]


def test_the_command_line_knows_its_topic_its_option_and_its_limits(small, network, capsys):
    with pytest.raises(SystemExit):
        main(["precompute", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "surprise: how surprising the answers are" in told
    assert "--threshold NATS nats that surprise (default: 5)" in told
    asked = planning.asked(requested(parser().parse_args(["precompute", *small, *ASKED])))
    assert asked == [Model(identify(str(network))), *units(network)]
    with pytest.raises(BadInput, match="threshold must be 1 or more, got 0"):
        requested(parser().parse_args(["precompute", *small, *ASKED, "--threshold", "0"]))
    assert "surprise" in requested(parser().parse_args(["precompute", *small, "--what", "all"])).what


def test_it_is_planned_behind_what_it_builds_on_computed_and_stored(small, network, capsys):
    assert main(["precompute", *small, *ASKED, "--dry-run"]) == DONE
    assert re.search(r"surprise +2 +0 +2 +[\d,]+\n", capsys.readouterr().out)
    assert main(["precompute", *small, *ASKED]) == DONE
    told = capsys.readouterr().out
    assert told.index("evaluation tiny antonym 0-shot fixed") < told.index("surprise tiny antonym 0-shot fixed")
    assert told.count("Too long for the model's context: 2 prompts were skipped.") == 2
    with Store(small[3]) as store:
        assert store.units("surprise") == units(network)
        for unit in units(network):
            evaluation = store.get(Evaluation(unit.setup))
            assert store.get(unit).nats == tuple(-max(row) for row in evaluation.loglikelihoods)
            assert store.seconds(unit) is not None
        assert store.check() == []


def test_status_verify_and_bundles_know_it(small, tmp_path, capsys):
    main(["precompute", *small, *ASKED])
    assert main(["status", *small[2:]]) == DONE
    assert "2 evaluation, 2 surprise" in capsys.readouterr().out
    assert main(["verify", *small, "--kind", "surprise", "--sample", "0"]) == DONE
    assert "2 of 2 results were measured again: 2 agree, 0 differ." in capsys.readouterr().out
    assert main(["export", str(tmp_path / "r.zip"), *small[2:], "--kind", "surprise"]) == DONE
    with Store(tmp_path / "other") as other, Store(small[3]) as store:
        contents = bundles.inspect(tmp_path / "r.zip", other)
        assert contents.manifest.definitions == {"surprise": "loss of the best option, nats"}
        bundles.take_in(contents, other)
        assert other.units() == store.units("surprise")
        (unit, _) = other.units()
        changed = store.get(unit).to_json()
        changed["nats"][0] += 1.0
        store.put(unit, Surprise.from_json(changed), replace=True)
        flipped = other.get(unit).to_json()
        flipped["surprised"][0] = not flipped["surprised"][0]
        assert other.put(unit, Surprise.from_json(flipped)) == other.get(unit)  # a near tie
    assert main(["verify", *small, "--kind", "surprise", "--sample", "0"]) == FAILED
    assert "nats: up to 1 apart" in capsys.readouterr().out


def test_it_is_shipped_in_a_file_of_its_own(small, network, tmp_path):
    main(["precompute", *small, *ASKED])
    with Store(small[3]) as store:
        files = ship(tmp_path / "shipped", [(unit, store.get(unit)) for unit in store.units("surprise")])
        assert [file.name for file in files] == ["surprise.json"]
        assert len(json.loads(files[0].read_text())["results"]) == 2
        with Store(tmp_path / "live", tmp_path / "shipped") as shipped:
            assert [shipped.get(unit) for unit in units(network)] == [store.get(unit) for unit in units(network)]


def test_its_arguments_make_it_and_its_lines_fetch_it(small, network, monkeypatch):
    main(["precompute", *small, *ASKED])
    for unit in units(network):
        found = planning.asked(requested(parser().parse_args(["precompute", *small, *unit.arguments()])))
        assert found[1:] == [unit]
    assert commands(units(network)[:1], small[:2]).endswith("--n-examples 4 --threshold 6")
    monkeypatch.setenv("HEADROOM_CACHE", small[3])
    monkeypatch.setattr(live, "SHIPPED", None)
    names: dict[str, Any] = {}
    exec(python(units(network)[1], repr(small[1])), names)
    with Store(small[3]) as store:
        assert names["record"] == store.get(units(network)[1])


def test_it_stops_between_batches_and_its_basis_stays(network, tmp_path):
    from backend.models.loading import load_model

    unit = units(network)[0]
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if (done, total) == (2, 3):
            raise Cancelled("stopped")

    with Store(tmp_path / "store") as store:
        with pytest.raises(Cancelled):
            compute(unit, store, load_model(str(network)), stop)
        assert store.units() == unit.needs()
    assert seen[-3:] == [(0, 3), (1, 3), (2, 3)]


def test_nothing_else_in_the_project_names_a_kind_of_result():
    """What a room asks, it asks the class: a new kind needs no line outside its file and the list of kinds."""
    rooms = [path for room in ("store", "runs") for path in (Path(live.__file__).parents[1] / room).glob("*.py")]
    for path in rooms:
        if path.name != "earlier.py":  # names of a schema that is past
            text = path.read_text()
            named = [kind for kind in set(KINDS) - {"model", "evaluation", "means", "copying", "pruning"}
                     if f'"{kind}"' in text]
            assert not named, f"{path} names {named}"
