"""A bundle's dataset card: what is in it, what its numbers are, and what was found, out of the results themselves.

Figures are worked out from the records by the same tables as the pages'; a finding is claimed only where its 95 %
interval says so, and what was not measured is not spoken of. Names from outside stand as code, whatever is in them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import stats, tables
from ..kinds import KINDS, Answers, Evaluation, HeadImportance, Pruning, Sweep, Unit, Writes
from ..machine import size
from ..models.info import weights
from ..records import ModelInfo
from ..store.bundles import Manifest
from ..store.live import Store
from ..tables.shots import same_questions
from ..values import ModelId, Setup, TaskId

NAME = "README.md"
LIBRARY = "headroom"
KEPT = 0.9  # of the intact accuracy: how many components can go is told at this level
TOP = 0.2  # of the heads, the most important ones whose overlap is told
LONGEST = 500  # characters of a name that are shown

_MEANT = re.compile(r"([\\`*_\[\]<>$~&^{}|#])")
Row = Sequence[object]


def card(manifest: Manifest, units: Sequence[Unit[Any]], store: Store, repo: str, file: str, n_bytes: int,
         license: str = "") -> str:
    """The card of a bundle, as Markdown under a YAML header.

    Args:
        units: what is in the bundle.
        store: has their results.
        repo, file, n_bytes: where the bundle will be, what it is called there and how large it is.
        license: the hub's name of a licence; empty: none is named.
    """
    infos = {model: store.info(model) for model in manifest.models}
    parts = [
        _header(manifest, license),
        f"# Results of {', '.join(map(code, manifest.model_names))}",
        f"{len(units):,} results that Headroom measured: which attention heads and feed-forward networks (FFNs) "
        f"in-context learning needs. They are one bundle, {code(file)} ({size(n_bytes)}): plain JSON with a digest of "
        "every result, nothing that runs.",
        "## How to open it",
        f"```bash\nheadroom pull {repo}\nheadroom app\n```",
        "The results are checked before any is taken in. They can be browsed without the model and without network. "
        "On the page *Runs*, *Storage* opens them by the name of this repository; in a checkout `python -m backend` "
        "stands for `headroom`.",
        "## Models",
        _table(["model", "revision", "digest", "run in", "BOS", "architecture", "layers x heads", "d_model", "d_head",
                "d_ffn", "parameters"], [_model_row(model, infos[model], units) for model in manifest.models]),
        "## What is in it",
        _table(["kind", "results", "tasks", "shots"], _contents(units)),
        *([f"Tasks: {', '.join(code(name) for name in names)}."] if (names := sorted(
            {unit.task.name for unit in units if unit.task is not None})) else []),
        *_findings(units, store),
        "## Definitions",
        "\n".join(_definitions({unit.KIND for unit in units}, manifest)),
        "## Written with",
        _table(["library", "version"], [(code(name), code(version))
                                        for name, version in sorted(manifest.versions.items())]),
        f"Bundle schema {manifest.schema}. Last digits may differ between versions and processors.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def code(text: object) -> str:
    """A name from outside as inline code: nothing in it is read as Markdown or HTML, not in a table either."""
    whole = str(text)
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in whole[:LONGEST]) or " "
    shown += "…" * (len(whole) > LONGEST)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}".replace("|", "\\|")


def _said(text: str) -> str:
    """A sentence or a formula of Headroom's, as Markdown that shows it."""
    return _MEANT.sub(r"\\\1", text)


def _table(columns: Sequence[str], rows: Iterable[Row]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _header(manifest: Manifest, license: str) -> str:
    """What the hub reads: every text as JSON, which YAML takes as it is."""
    tags = ["headroom", "interpretability", "in-context-learning", "attention-heads"]
    lines = [f"license: {json.dumps(license)}"] * bool(license)
    lines += [f"library_name: {LIBRARY}", f"pretty_name: {json.dumps(_pretty(manifest))}", "viewer: false", "tags:"]
    return "\n".join(["---", *lines, *(f"- {tag}" for tag in tags), "---"])


def _pretty(manifest: Manifest) -> str:
    names = "".join(one if one.isprintable() else "?" for one in ", ".join(manifest.model_names))
    return f"Headroom results of {names}"[:120]


def _model_row(model: ModelId, info: ModelInfo | None, units: Sequence[Unit[Any]]) -> Row:
    run = [unit.model for unit in units if unit.model.weights == model and unit.model.dtype]
    shape = ["unknown"] * 6 if info is None else [
        code(info.architecture), f"{info.n_layers} x {info.n_heads}", f"{info.d_model:,}", f"{info.d_head:,}",
        f"{info.d_ffn:,}", f"{info.n_params:,}"]
    return [code(model.name), code(model.revision), code(model.digest),
            ", ".join(code(dtype) for dtype in sorted({one.dtype for one in run})) or "–",
            ", ".join(sorted({"yes" if one.bos else "no" for one in run})) or "–", *shape]


def _contents(units: Sequence[Unit[Any]]) -> list[Row]:
    """A row per kind."""
    rows: list[Row] = []
    for name, kind in KINDS.items():
        mine = [unit for unit in units if name == unit.KIND]
        shots = sorted({unit.setup.n_shots for unit in mine if unit.setup})
        if mine:
            rows.append((_said(kind.TITLE), f"{len(mine):,}", len({unit.task for unit in mine if unit.task}) or "–",
                         ", ".join(map(str, shots)) or "–"))
    return rows


def _definitions(kinds: Iterable[str], manifest: Manifest) -> list[str]:
    """Per kind: what is asked for, in a sentence, the formula as the bundle's manifest has it, and its source."""
    wanted, lines = set(kinds), []
    for name, kind in KINDS.items():
        if name in wanted and kind.TOPICS:
            about = "; ".join(topic.about for topic in kind.TOPICS.values())
            lines.append(f"- **{_said(kind.TITLE)}**: {_said(about)}. Definition: " +
                         _said(manifest.definitions.get(name, kind.DEFINITION)) + "." +
                         f" Source: {_said(kind.SOURCE)}." * bool(kind.SOURCE))
    return lines


# --- findings -------------------------------------------------------------------------------------


def _findings(units: Sequence[Unit[Any]], store: Store) -> list[str]:
    """What was found of each model, under headings; nothing where the bundle holds nothing that tells."""
    parts: list[str] = []
    models = list(dict.fromkeys(unit.model for unit in units if unit.model.dtype))
    for model in models:
        mine = [unit for unit in units if unit.model == model]
        told = [part for of in (_accuracy, _can_go, _shared) for part in of(mine, store)]
        if told and len(models) > 1:
            told.insert(0, f"### {code(model.name)} ({code(model.digest)}, {code(model.dtype)})")
        parts += told
    about = "Intervals are 95 %, and know which questions share demonstrations."
    return ["## Findings", about, *parts] if parts else []


def _way(setup: Setup) -> tuple[str, int]:
    """How demonstrations and queries are drawn; of results that differ in it nothing is averaged."""
    return setup.demos, setup.seed


def _most(units: Iterable[Unit[Any]]) -> dict[int, dict[TaskId, Unit[Any]]]:
    """By number of shots and task, the results of the setup that most of them share."""
    groups: dict[tuple[Any, ...], dict[int, dict[TaskId, Unit[Any]]]] = {}
    draws: Counter[int] = Counter()
    those = sorted(units, key=lambda unit: unit.sort_key)
    for unit in those:
        if unit.setup is not None and unit.setup.n_shots and unit.setup.demos == "fixed":
            draws[unit.setup.draws] += 1
    usual = min(draws, key=lambda n: (-draws[n], -n), default=1)
    for unit in those:
        setup = unit.setup
        if setup is not None and (setup.draws == usual or not setup.n_shots or setup.demos != "fixed"):
            by_shots = groups.setdefault((*_way(setup), setup.n_examples), {})
            by_shots.setdefault(setup.n_shots, {}).setdefault(setup.task, unit)
    return max(groups.values(), key=lambda group: sum(map(len, group.values())), default={})


def _accuracy(units: Sequence[Unit[Any]], store: Store) -> list[str]:
    """Intact accuracy by shots, and whether demonstrations change it."""
    found = _most(unit for unit in units if isinstance(unit, Evaluation) and not unit.ablation)
    if not found:
        return []
    shared = set.intersection(*(set(those) for those in found.values()))
    records: dict[int, dict[TaskId, Answers]] = {}
    for n_shots, those in sorted(found.items()):
        kept = {task: store.get(unit) for task, unit in those.items() if task in (shared or those)}
        records[n_shots] = {task: record for task, record in kept.items() if record is not None}
    rows: list[Row] = []
    for n_shots, answers in records.items():
        if answers:
            row = tables.mean_row("", list(answers.values()))
            told = "yes" if row["low"] > row["chance"] else "below it" if row["high"] < row["chance"] else "no"
            rows.append((n_shots, len(answers), f"{row['n']:,}", _percent(row["accuracy"]),
                         f"{_percent(row['low'])} to {_percent(row['high'])}", _percent(row["chance"]), told))
    first, last = min(records), max(records)
    parts = ["**Accuracy of the intact model**, mean over tasks:",
             _table(["shots", "tasks", "questions", "accuracy", "95 % interval", "chance", "above chance"], rows)]
    if shared and first < last:
        parts.append(_change(first, last, [
            (records[first][task], records[last][task]) for task in sorted(shared)
            if task in records[first] and task in records[last]]))
    return parts


def _change(first: int, last: int, pairs: Sequence[tuple[Answers, Answers]]) -> str:
    """Whether accuracy moves between two numbers of shots, on the questions that both were asked."""
    marks = [pair for without, with_ in pairs if len((pair := same_questions(without, with_))[0].right)]
    if not marks:
        return ""
    low, high = stats.mean_difference_interval(marks)
    change = float(np.mean([b.right.mean() - a.right.mean() for a, b in marks]))
    within = f"{_points(change)} points (95 %: {_points(low)} to {_points(high)})"
    asked = f"from {first} to {last} shots, on the same questions of {_tasks(len(marks))}"
    if low > 0 or high < 0:
        return f"It {'rises' if low > 0 else 'falls'} {asked}: {within}."
    return f"Whether it changes {asked} is not told: {within}."


def _can_go(units: Sequence[Unit[Any]], store: Store) -> list[str]:
    """How many heads, and FFNs, can be removed in each task's own order before accuracy breaks."""
    parts = []
    for what, column in (("heads", "heads"), ("ffns", "FFNs")):
        found = _most(unit for unit in units if isinstance(unit, Pruning) and unit.what == what
                      and unit.ranking.named(unit.setup.task) == "own"
                      and unit.ranking.reduction in ("", "per-token"))
        info = store.info(units[0].model)
        if not found or info is None:
            continue
        n_shots = max(found)
        sweeps = [record for unit in found[n_shots].values() if isinstance(record := store.get(unit), Sweep)]
        live = _live(units, set(found[n_shots]), n_shots, info, store) if what == "heads" else None
        counted = "live heads" if live is not None else column
        if sweeps:
            parts.append(_limit(sweeps, counted, n_shots, info, live))
    return parts


def _limit(sweeps: Sequence[Sweep], counted: str, n_shots: int, info: ModelInfo, live: np.ndarray | None) -> str:
    table = tables.curve_table(sweeps, tables.OWN, weights(info), info.n_params, live)
    where = f"{_tasks(len(sweeps))}, {n_shots} shots"
    if table.empty:
        return ""
    intact = table.iloc[0]
    if intact["low"] <= intact["chance"]:
        return (f"**How many {counted} can be removed** is not told: the intact model is not told from chance on "
                f"{where} ({_percent(intact['accuracy'])}, chance {_percent(intact['chance'])}).")
    row = tables.limits_table(table, counted, KEPT, {tables.OWN: [sweeps]}).iloc[0]
    more = "" if row["broken at"] is not None and not np.isnan(row["broken at"]) else "; more was not tried"
    low, high = _percent(row["can go from"]), _percent(row["can go to"])
    sure = "within this step of the curve" if low == high else f"{low} to {high}"
    return (f"**{_percent(row['can go'])} of the {counted} can be removed** (95 %: {sure}), least important first by "
            f"each task's own ranking, before mean accuracy falls below {100 * KEPT:.0f} % of the intact one "
            f"({where}){more}: accuracy there is "
            f"{_percent(row['accuracy there'])} ({_percent(row['from'])} to {_percent(row['to'])}), intact "
            f"{_percent(intact['accuracy'])}, chance {_percent(intact['chance'])}.")


def _shared(units: Sequence[Unit[Any]], store: Store) -> list[str]:
    """How far tasks share their most important heads, beside chance."""
    found = {n: those for n, those in _most(unit for unit in units if isinstance(unit, HeadImportance)).items()
             if len(those) > 1}
    info = store.info(units[0].model)
    if not found or info is None:
        return []
    n_shots = max(found)
    records = [record for unit in found[n_shots].values() if (record := store.get(unit)) is not None]
    live = _live(units, set(found[n_shots]), n_shots, info, store)
    called, there = ("heads", info.there) if live is None else ("live heads", live)
    if len(records) < 2 or there.sum() < 1 / TOP:
        return []
    row = tables.overlap_table([record.scores()[there] for record in records], (TOP,)).iloc[0]
    n_pairs = len(records) * (len(records) - 1) // 2
    return [f"**Tasks' most important heads.** Of the top {100 * TOP:.0f} % ({row['heads']:.0f} of {there.sum():,} "
            f"{called}) of two tasks, {_percent(row['mean'])} are in both (intersection over union; mean over "
            f"{n_pairs} pairs of {_tasks(len(records))}, lowest {_percent(row['low'])}, highest "
            f"{_percent(row['high'])}; {n_shots} shots). Two independent random rankings share "
            f"{_percent(row['chance'])}."]


def _live(units: Sequence[Unit[Any]], tasks: set[TaskId], n_shots: int, info: ModelInfo, store: Store
          ) -> np.ndarray | None:
    """(n_layers, n_heads) of bool: the heads that do something in any of the tasks; None where that is not known."""
    records = [record for unit in units if isinstance(unit, Writes) and unit.task in tasks
               and unit.setup.n_shots == n_shots and (record := store.get(unit)) is not None]
    if not records:
        return None
    alive: np.ndarray = info.there & np.any([record.alive() for record in records], axis=0)
    return alive


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{'−' if share < 0 else '+'}{abs(100 * share):.1f}"


def _tasks(n: int) -> str:
    return f"{n} task" + "s" * (n != 1)

