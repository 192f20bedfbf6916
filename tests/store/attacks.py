"""Results, bundles and stores as a stranger might make them: by hand, with right digests."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from backend.kinds import (
    Attribution,
    Copying,
    Evaluation,
    FFNOracle,
    FunctionVectors,
    Greedy,
    HeadGates,
    HeadImportance,
    HeadOracle,
    Influence,
    Iterative,
    KnockOut,
    Means,
    Model,
    OptimalConstants,
    Pruning,
    Relabelled,
    ShuffledHeads,
    Unit,
    Writes,
)
from backend.kinds.knock_out import SHARES
from backend.store.live import Store
from backend.values import ModelId, Setup, TaskId

MODEL = ModelId("stranger", "r", "d")
SETUP = Setup(MODEL, TaskId("antonym", "x"), 5, "fixed", 2)
UNITS: dict[str, Unit[Any]] = {
    unit.KIND: unit for unit in (
        Evaluation(SETUP), HeadImportance(SETUP), Means(SETUP), FFNOracle(SETUP), HeadOracle(SETUP), Attribution(SETUP),
        OptimalConstants(SETUP), Pruning(SETUP), Writes(SETUP), FunctionVectors(SETUP, 2), KnockOut(SETUP),
        Relabelled(SETUP), ShuffledHeads(SETUP), Influence(SETUP), Iterative(SETUP), Greedy(SETUP), HeadGates(SETUP),
        Copying(MODEL, n_sequences=3), Model(MODEL))}

Plain = dict[str, Any]
QUESTIONS: Plain = {"docs": [3, 1], "gold": [[0], [1]], "n_options": [2, 2], "groups": ["", ""], "metric": "acc",
                    "dropped_demos": [], "skipped": [], "spanning": []}
SCORES = [[[0.5] * 8] * 4]
HEADS = [[layer, head] for layer in range(4) for head in range(8)]


def sweep(ablations: Sequence[str], removed: Sequence[Sequence[float]] = ()) -> Plain:
    rows = [[0, 1]] * len(ablations)
    return {"questions": QUESTIONS, "ablations": list(ablations), "choices": rows, "choices_norm": rows,
            "removed": list(removed)}


RECORDS: dict[str, Plain] = {  # sound ones, of a model of 4 layers and 8 heads
    "evaluation": {"questions": QUESTIONS, "loglikelihoods": [[-1.0, -2.0], [-3.0, -1.0]],
                   "lengths": [[1, 1], [1, 1]], "greedy": []},
    "head_importance": {"n_examples": 2, "skipped": [], "block_sizes": [2], "block_positions": [[9, 9, 9, 4]],
                        "block_per_token": SCORES, "block_per_example": SCORES, "n_spanning": 0},
    "means": {"n_examples": 2, "n_positions": 9, "heads": [[[0.5] * 3] * 8] * 4, "ffns": [[0.5] * 5] * 4},
    "writes": {"n_examples": 2, "n_positions": 9, "norms": [[0.5] * 8] * 4},
    "function_vectors": {"n_means": 2, "true": 0.5, "shuffled": [0.25, 0.5], "effects": [[[0.5] * 8] * 4] * 2,
                         "draws": [], "dropped_demos": [0] * 4, "skipped": []},
    "attribution": {"n_examples": 2, "skipped": [], "block_sizes": [2], "block_signed": [[[-0.5] * 8] * 4],
                    "block_integrated": SCORES},
    "optimal_constants": {"n_examples": 2, "skipped": [], "heads": [[[0.5] * 3] * 8] * 4, "intact": 0.25,
                          "before": [[0.5] * 8] * 4, "after": [[0.5] * 8] * 4},
    "ffn_oracle": sweep(["", "F0", "F1", "F2", "F3"]),
    "head_oracle": sweep(["", *(f"L{layer}H{head}" for layer in range(4) for head in range(8))]),
    "pruning": sweep(["", "L0H0-2"], [[0.0, 0.0], [0.1, 0.0]]),
    "knock_out": sweep(["", "", *["L0H0"] * 7], [[share, 0.0] for share in SHARES]),
    "labels": {"questions": QUESTIONS, "loglikelihoods": [[-1.0, -2.0], [-3.0, -1.0]],
               "lengths": [[1, 1], [1, 1]], "greedy": []},
    "shuffled_oracle": sweep(["", *(f"L{layer}H{head}" for layer in range(4) for head in range(8))]),
    "influence": {"questions": QUESTIONS, "n_tokens": [1, 2], "whole": [-0.5, -1.0], "without": [[-1.0] * 5] * 2},
    "iterative": {"heads": HEADS, "n_dead": 1, "n_examples": 2, "skipped": [], "scores": [0.5] * 31},
    "greedy": {"heads": HEADS, "n_dead": 1, "n_examples": 2, "skipped": [], "accuracies": [0.5] * 31,
               "losses": [1.5] * 31},
    "gates": {"heads": HEADS, "n_dead": 0, "n_examples": 2, "skipped": [], "closing": [[0.5] * 8] * 4,
              "opening": [[0.75] * 8] * 4, "free_losses": [0.5] * 20, "closing_losses": [0.5] * 20,
              "opening_losses": [0.5] * 20},
    "copying": {"n_seeds": 3, "mean": [[0.5] * 8] * 4, "variance": [[0.1] * 8] * 4, "tokens": "x", "max_length": 9},
    "model": {"name": "stranger", "revision": "r", "architecture": "opt", "n_layers": 4, "n_heads": 8, "d_model": 5,
              "d_head": 3, "d_ffn": 64, "n_params": 9, "max_positions": 64, "vocab_size": 64, "dtype": "float32",
              "bytes": 9},
}

Entry = tuple[Plain, Any]  # of a unit and its record, as they are written


def entry(kind: str, **changes: Any) -> Entry:
    """A result of a kind, its record changed."""
    return UNITS[kind].to_json(), RECORDS[kind] | changes


def written(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def key(unit: Plain) -> str:
    return hashlib.sha256(json.dumps(unit, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


def bundle(path: Path, results: Iterable[Entry], **manifest: Any) -> Path:
    """A bundle whose digests are right; with other fields in its manifest."""
    bodies = {key(unit): record if isinstance(record, bytes) else written({"unit": unit, "record": record})
              for unit, record in results}
    told = {"format": "headroom-bundle", "schema": 2, "versions": {}, "definitions": {},
            "models": [{"name": "stranger", "revision": "r", "digest": "d", "bos": False, "dtype": ""}],
            "entries": [{"key": name, "what": "a result", "sha256": hashlib.sha256(body).hexdigest(),
                         "bytes": len(body)} for name, body in bodies.items()]} | manifest
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", json.dumps(told))
        for name, body in bodies.items():
            file.writestr(f"results/{name}.json", body)
    return path


def plant(folder: Path, entries: Iterable[Entry]) -> list[str]:
    """Write results into a store's file, whatever they are, with right digests and listed; returns their keys."""
    Store(folder).close()
    database = sqlite3.connect(folder / "cache.db")
    results = list(entries)
    for unit, record in results:
        packed = zlib.compress(written({"unit": unit, "record": record}))
        rows = {key(unit): hashlib.sha256(packed).hexdigest().encode() + packed,
                f"unit:{key(unit)} {written(unit).decode()}": ""}
        database.executemany("INSERT OR REPLACE INTO Cache (key, raw, mode, value, store_time) "
                             "VALUES (?, 1, 1, ?, 1.0)", rows.items())
    database.execute("INSERT OR REPLACE INTO Cache (key, raw, mode, value) VALUES ('generation', 1, 1, 1000)")
    database.commit()
    database.close()
    return [key(unit) for unit, _ in results]


def ship(folder: Path, entries: Iterable[Entry]) -> None:
    """Write shipped files, whatever is in them, with right digests."""
    kinds: dict[str, list[Plain]] = {}
    for unit, record in entries:
        sha256 = hashlib.sha256(written({"unit": unit, "record": record})).hexdigest()
        kinds.setdefault(unit["kind"], []).append({"unit": unit, "record": record, "sha256": sha256})
    folder.mkdir(parents=True, exist_ok=True)
    for kind, results in kinds.items():
        (folder / f"{kind}.json").write_bytes(written({"schema": 2, "results": results}))
