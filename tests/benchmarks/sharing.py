"""How large is a study's bundle, how long does it take to come in, and how soon is a first chart drawn?

`python -m tests.benchmarks.sharing`: 14 tasks x 3 numbers of shots of a model of OPT-66B's shape (64 x 72 heads), with
everything that `--what all` asks for, or what is named; what stands in for components stays at home. The first chart is
the page Heads, drawn in this process with its caches empty. Seconds are of the processor (this process alone), and of
the wall.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from backend.kinds import (
    KINDS,
    Activations,
    Answers,
    Attributions,
    Constants,
    Effects,
    Evaluation,
    GateOrder,
    HeadOracle,
    HeadWrites,
    IterativeOrder,
    Means,
    Model,
    ShuffledHeads,
    Sweep,
    Unit,
)
from backend.kinds.unit import Wish, with_needs
from backend.machine import size
from backend.models import smollm2
from backend.places import SHIPPED
from backend.records import ModelInfo, Record
from backend.runs import plan as planning
from backend.store import bundles
from backend.store.entries import Deflated, pack
from backend.store.live import Store
from backend.store.shipped import Shipped
from backend.values import ModelId, TaskId
from pages.map import HeadMap
from tests.pages import made_up
from tests.pages.conftest import ROOT, calm, framed, words

LARGE = ModelInfo("facebook/opt-66b", "7259969061237fe9", "opt", 64, 72, 9216, 128, 36864, 65_718_000_000, 2048, 50272,
                  "float16", 131_000_000_000)
MODEL = ModelId(LARGE.name, LARGE.revision, "f66b", dtype="bfloat16")
SHOTS = (0, 1, 5)


def asked(tasks: list[TaskId], topics: tuple[str, ...]) -> list[Unit[Any]]:
    """What `--what` asks for, with what it builds on; no rows are looked for."""
    request = planning.Request(MODEL, LARGE, tuple(tasks), SHOTS, topics)
    by_name = {task.name: task for task in tasks}
    wish = Wish(MODEL, request.setups, request.options,
                lambda names: tasks if names == "paper" else [by_name[name] for name in names.split(",")])
    found: dict[Unit[Any], None] = {Model(MODEL): None}
    for topic in request.what:
        for kind in KINDS.values():
            if topic in kind.TOPICS:
                found |= dict.fromkeys(kind.asked(topic, wish))
    return with_needs(found)


def record(unit: Unit[Any]) -> Record:
    """A made-up record with as many blocks as a real one, whose numbers are as hard to pack as real ones.

    Right answers' log-likelihoods and choices with a head off are drawn from those of SmolLM2's own oracle, question by
    question; what has no such model is noise as wide as the bundled model's.
    """
    made_up.N_BLOCKS = 10 if unit.setup is not None and unit.setup.n_shots else 32
    rng = np.random.default_rng(int(unit.key[:8], 16))
    shape = LARGE.n_layers, LARGE.n_heads
    if isinstance(unit, HeadOracle | ShuffledHeads):
        return oracle(unit, rng)
    if isinstance(unit, Means):
        return Activations(200, 4000, nested(rng.normal(0, 0.3, (*shape, LARGE.d_head))),
                           nested(rng.normal(0, 0.5, (LARGE.n_layers, LARGE.d_model))))
    found = made_up.record(unit, LARGE)
    if isinstance(found, Constants):
        after = rng.lognormal(0, 0.01, shape)
        return replace(found, heads=nested(rng.normal(0, 0.3, (*shape, LARGE.d_head))), after=nested(after),
                       before=nested(after * rng.lognormal(0, 0.1, shape).clip(1)))
    if isinstance(found, Attributions):
        rows = np.asarray(found.block_integrated)
        return replace(found, block_signed=nested(rows * rng.normal(0.3, 1, rows.shape)),
                       block_integrated=nested(rows * rng.normal(0.5, 1, rows.shape)))
    if isinstance(found, Effects):
        effects = np.asarray(found.effects)
        return replace(found, effects=nested((effects * rng.normal(1, 1, effects.shape)).clip(-1, 1)))
    if isinstance(found, IterativeOrder):
        return replace(found, scores=nested(np.sort(rng.lognormal(0, 1, len(found.scores)))))
    if isinstance(found, GateOrder):
        return replace(found, closing=nested(rng.random(shape) ** 3), opening=nested(1 - rng.random(shape) ** 3))
    if isinstance(found, HeadWrites):
        return replace(found, norms=nested(np.asarray(found.norms) * rng.lognormal(0, 1, shape)))
    return found


def oracle(unit: HeadOracle | ShuffledHeads, rng: np.random.Generator) -> Sweep:
    """A sweep over single heads, each as one of SmolLM2's."""
    real = real_oracle()
    intact = made_up.record(Evaluation(unit.setup), LARGE)
    assert isinstance(intact, Answers)
    names, n = tuple(map(str, HeadOracle.ablations(LARGE))), len(intact.questions.docs)
    rows = rng.integers(1, len(real.gold), (len(names), 1)), rng.permutation(n)  # a real head's, of each question
    rows[0][0] = 0
    ratio = (np.asarray(real.gold) / np.asarray(real.gold)[0])[rows]
    ratio[1:] *= rng.lognormal(0, 1e-3, ratio[1:].shape)
    gold = np.minimum(0, -rng.lognormal(0, 1, n) * ratio)

    def choices(field: str) -> Any:
        answered, base = np.asarray(getattr(real, field)), np.asarray(intact.choices())
        moved = (answered != answered[0])[rows]
        return nested(np.where(moved, (base + rng.integers(1, 4, moved.shape)) % 4, base))

    return Sweep(intact.questions, names, choices("choices"), choices("choices_norm"), (),
                 nested(gold) if isinstance(unit, HeadOracle) else ())


@cache
def real_oracle() -> Sweep:
    """SmolLM2's, which is shipped."""
    shipped = Shipped(SHIPPED)
    (unit,) = (unit for unit in shipped.units("head_oracle") if unit.model.name == smollm2.NAME)
    found = shipped.get(unit)
    assert isinstance(found, Sweep)
    return found


def nested(array: np.ndarray) -> Any:
    """Nested tuples of its numbers."""
    return tuple(nested(one) for one in array) if array.ndim > 1 else tuple(array.tolist())


def timed(what: str, work: Callable[[], Any]) -> Any:
    wall, processor = time.perf_counter(), time.process_time()
    done = work()
    print(f"{what}: {time.process_time() - processor:.1f} s of the processor, {time.perf_counter() - wall:.1f} s of "
          "the wall", flush=True)
    return done


def first_chart(folder: Path, model: str, task: str) -> None:
    """Draw Heads for a visitor who has seen the first page alone, with nothing cached before: until its first chart is
    on its way to the browser, and until all of the page is.
    """
    st.cache_resource.clear()
    st.cache_data.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADROOM_CACHE", str(folder))
        framed(patch)
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=600)
        app.query_params["model"], app.query_params["task"] = model, task
        app.run()
        drawn, began, charts = HeadMap.draw, time.process_time(), list[float]()

        def draw(*args: Any, **more: Any) -> None:
            drawn(*args, **more)
            charts.append(time.process_time() - began)

        patch.setattr(HeadMap, "draw", draw)
        timed(f"Heads of {model}, drawn", lambda: app.switch_page("pages/heads.py").run())
        print(f"  of that, until its first chart was on its way: {charts[0]:.2f} s of the processor", flush=True)
        assert calm(app), (app.error, app.exception)
        assert "Not measured yet" not in words(app)


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.sharing", description=__doc__)
    parser.add_argument("--without", action="append", default=[], choices=KINDS, metavar="KIND")
    parser.add_argument("--tasks", type=int, default=14)
    everything = [name for name, topic in planning.topics().items() if not topic.alone]
    parser.add_argument("--what", default=",".join(everything), metavar="TOPIC,TOPIC")
    chosen = parser.parse_args()
    made_up.N_QUESTIONS, made_up.LARGE = 100, 10**9  # as the study asks, and no fewer blocks for a large model
    from backend.tasks.paper import STUDY

    tasks = [TaskId(name, f"rows-of-{name}"[:12]) for name in list(STUDY)[:chosen.tasks]]
    units = [unit for unit in asked(tasks, tuple(chosen.what.split(","))) if unit.KIND not in chosen.without]
    with tempfile.TemporaryDirectory() as folder:
        here, there, file = Store(Path(folder) / "here"), Store(Path(folder) / "there"), Path(folder) / "all.zip"
        timed(f"{len(units)} results made up", lambda: here.put_all(
            (unit, Deflated.of(pack(unit, record(unit)))) for unit in units))
        timed("exported", lambda: bundles.export(file, here, *bundles.carried(units)))
        with zipfile.ZipFile(file) as bundle:
            kinds, kind_of = Counter[str](), {unit.key: unit.KIND for unit in units}
            plain = sum(one.file_size for one in bundle.infolist())
            for one in bundle.infolist():
                kinds[kind_of.get(Path(one.filename).stem, "manifest")] += one.compress_size
        print(f"{size(file.stat().st_size)}, {size(plain)} of JSON: " +
              ", ".join(f"{kind} {size(n)}" for kind, n in kinds.most_common()))
        contents = timed("looked at", lambda: bundles.inspect(file, there))
        timed("taken in", lambda: bundles.take_in(contents, there))
        for _ in range(2):  # the first loads what later ones need
            first_chart(Path(folder) / "empty", "bundled", "antonym")
            first_chart(Path(folder) / "there", LARGE.name, tasks[0].name)


if __name__ == "__main__":
    main()
