"""Results in one file, to carry to another machine or to publish.

A bundle is a zip of `manifest.json` and one JSON file per result: no pickles, nothing that runs. The manifest
names models, revisions, library versions, definitions and, for every result, its size and SHA-256. Equal results
give equal bytes. Taking a bundle in is all or nothing, and never puts a different result in place of one that is
there unless asked to. Of a bundle of schema 1, those results come in that are still true (see `store.earlier`).
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from backend.errors import BadInput, StoreError
from backend.kinds.unit import KINDS, SCHEMA, Unit
from backend.records import Record, from_plain
from backend.store import earlier
from backend.store.entries import MAX_BYTES, differences, digest, pack, replace_file, unpack
from backend.store.live import Store
from backend.values import ModelId

FORMAT = "headroom-bundle"
MANIFEST = "manifest.json"
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, UnicodeError, OverflowError, EOFError, NotImplementedError,
           RuntimeError, OSError)  # what zipfile lets through when bytes are wrong
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy")

@dataclass(frozen=True)
class Entry:
    """One result in a bundle."""

    key: str
    what: str  # in words
    sha256: str
    bytes: int

    @property
    def file(self) -> str:
        return f"results/{self.key}.json"


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself."""

    models: tuple[ModelId, ...]  # whatever they were run with
    entries: tuple[Entry, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def model_names(self) -> list[str]:
        return list(dict.fromkeys(model.name for model in self.models))

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}


@dataclass(frozen=True)
class Contents:
    """A bundle that was read and checked, compared with a store."""

    manifest: Manifest
    results: Mapping[Unit[Any], Record]
    new: Sequence[Unit[Any]]  # not in the store
    same: Sequence[Unit[Any]]  # there already, equal to within rounding
    conflicts: Mapping[Unit[Any], list[str]]  # there already and different: in what
    notes: Sequence[str]  # what a reader should know, one sentence each
    aside: Sequence[tuple[str, str]] = ()  # of a bundle of schema 1: what is not taken over, and why


def export(path: str | Path | BinaryIO, store: Store, units: Iterable[Unit[Any]]) -> Manifest:
    """Write results into a bundle, whole or not at all.

    Raises:
        BadInput: if there is nothing to export.
        StoreError: if a result is missing or damaged, or the file cannot be written.
    """
    bodies = {}
    for unit in sorted(set(units), key=lambda u: u.key):
        record = store.get(unit)
        if record is None:
            raise StoreError(f"There is no undamaged result of {unit}. Compute it, or leave it out.")
        bodies[unit] = pack(unit, record)
    if not bodies:
        raise BadInput("Nothing to export: no stored result is of that model, kind and task.")
    kinds = {unit.KIND for unit in bodies}
    manifest = Manifest(
        models=tuple(sorted({u.model.weights for u in bodies})),
        entries=tuple(Entry(u.key, str(u), digest(body), len(body)) for u, body in bodies.items()),
        versions=_versions(), definitions={name: kind.DEFINITION for name, kind in KINDS.items() if name in kinds})
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as bundle:
        for name, body in [(MANIFEST, json.dumps(manifest.to_json(), indent=1, sort_keys=True).encode()),
                           *((e.file, body) for e, body in zip(manifest.entries, bodies.values(), strict=True))]:
            info = zipfile.ZipInfo(name)  # dated 1980: the same results make the same file
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            bundle.writestr(info, body)
    if isinstance(path, str | Path):
        try:
            replace_file(Path(path), content.getvalue())
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error
    else:
        path.write(content.getvalue())
    return manifest


def inspect(path: str | Path | BinaryIO, store: Store) -> Contents:
    """Read a bundle, check all of it and compare it with a store; stores nothing.

    Raises:
        BadInput: if there is no such file.
        StoreError: if it is no bundle, cut short, damaged, of another schema, or holds what its manifest
            does not name.
    """
    if isinstance(path, str | Path) and not Path(path).is_file():
        raise BadInput(f"There is no file {path}.")
    try:
        with zipfile.ZipFile(path) as bundle:
            manifest = _manifest(bundle)
            if manifest.schema == earlier.SCHEMA:
                return _compared(*_earlier(bundle, manifest), store)
            results = dict(_result(bundle, entry) for entry in manifest.entries)
    except _BROKEN as error:
        raise StoreError(f"This is not a bundle, or it was cut short or damaged on the way: {error}. "
                         "Export or download it again.") from error
    if claimed := set(manifest.models) ^ {u.model.weights for u in results}:
        raise StoreError(f"The manifest and the results do not name the same models: {sorted(claimed)}.")
    return _compared(manifest, results, (), store)


def _compared(manifest: Manifest, results: Mapping[Unit[Any], Record], aside: Sequence[tuple[str, str]],
              store: Store) -> Contents:
    new, same, conflicts = [], [], {}
    for unit, record in results.items():
        here = store.get(unit)
        if here is None:
            new.append(unit)
        elif told := differences(here, record):
            conflicts[unit] = told
        else:
            same.append(unit)
    return Contents(manifest, results, new, same, conflicts, _notes(manifest, store), aside)


def take_in(contents: Contents, store: Store, replace: bool = False) -> None:
    """Store a bundle's results, all or none.

    Args:
        replace: put the bundle's results in place of different ones that are there.

    Raises:
        StoreError: if results differ and `replace` is not set; names them.
    """
    if contents.conflicts and not replace:
        first = [f"{unit} ({'; '.join(told)})" for unit, told in list(contents.conflicts.items())[:3]]
        raise StoreError(f"Nothing was imported: {len(contents.conflicts)} results differ from those here, for example "
                         f"{', '.join(first)}. Replace them on request (--replace), or use another store.")
    taken = {*contents.new, *contents.conflicts}
    store.put_all([(u, r) for u, r in contents.results.items() if u in taken], replace)


def _manifest(bundle: zipfile.ZipFile) -> Manifest:
    names = bundle.namelist()
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in bundle.infolist()):
        raise StoreError("This zip is compressed in a way that bundles are not.")
    if MANIFEST not in names:
        raise StoreError(f"This zip has no {MANIFEST}: it is not a bundle of results.")
    try:
        value = json.loads(_read(bundle, MANIFEST))
        if value["format"] != FORMAT:
            raise StoreError(f"This is a '{value['format']}', not a {FORMAT}.")
        if value["schema"] not in (SCHEMA, earlier.SCHEMA):
            raise StoreError(f"This bundle is of schema {value['schema']}, this version reads schema {SCHEMA}. Use the "
                             "version that wrote it, or compute the results again.")
        models = value["models"] if value["schema"] == SCHEMA else []  # before, models had no identity of today's
        manifest = Manifest(tuple(from_plain(ModelId, model, "a model") for model in models),
                            tuple(from_plain(Entry, entry, "an entry") for entry in value["entries"]),
                            dict(value["versions"]), dict(value["definitions"]), value["schema"])
        expected = [MANIFEST, *(entry.file for entry in manifest.entries)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"The manifest of this bundle is damaged: {error!r}.") from error
    if missing := set(expected) - set(names):
        raise StoreError(f"{len(missing)} results named by the manifest are not in the bundle, for example "
                         f"{min(missing)}.")
    if len(set(names)) != len(names) or (extra := set(names) - set(expected)):
        odd = min(extra) if len(set(names)) == len(names) else "a name that occurs twice"
        raise StoreError(f"The bundle holds what its manifest does not name: {odd}. Nothing was imported.")
    return manifest


def _earlier(
    bundle: zipfile.ZipFile, manifest: Manifest,
) -> tuple[Manifest, dict[Unit[Any], Record], list[tuple[str, str]]]:
    """What is still true of a bundle of schema 1, under today's names, and what is not, with the reason.

    Raises:
        StoreError: if it is damaged, or none of it is true.
    """
    read = []
    for entry in manifest.entries:
        body = _body(bundle, entry)
        try:
            value = json.loads(body)
            old, key = earlier.Description.read(value["unit"]), earlier.key_of(value["unit"])
            read.append((old, value["record"]))
        except (ValueError, KeyError, TypeError, StoreError) as error:
            raise StoreError(f"{entry.file} ({entry.what}) is damaged: {error}.") from error
        if key != entry.key:
            raise StoreError(f"{entry.file} holds another result than its name says: {old}.")
    judge = earlier.Judge([old for old, _ in read])
    results, aside = {}, []
    for old, record in read:
        try:
            unit = judge.unit(old, None)
            results[unit] = earlier.record_of(record, unit)
        except StoreError as error:
            aside.append((str(old), str(error).rstrip(".")))
    if not results:
        first = f": for example {aside[0][0]}, because {aside[0][1]}" if aside else ""
        raise StoreError(f"This bundle is of schema 1, and none of its {len(read)} results can be taken over{first}. "
                         "Import it with the version that wrote it and run `python -m backend upgrade` on that store, "
                         "or compute the results again.")
    return replace(manifest, models=tuple(sorted({u.model.weights for u in results}))), results, aside


def _result(bundle: zipfile.ZipFile, entry: Entry) -> tuple[Unit[Any], Record]:
    unit, record = unpack(_body(bundle, entry))
    if unit.key != entry.key:
        raise StoreError(f"{entry.file} holds another result than its name says: {unit}.")
    return unit, record


def _body(bundle: zipfile.ZipFile, entry: Entry) -> bytes:
    body = _read(bundle, entry.file)
    if len(body) != entry.bytes or digest(body) != entry.sha256:
        raise StoreError(f"{entry.file} ({entry.what}) is damaged: its digest is not the manifest's.")
    return body


def _read(bundle: zipfile.ZipFile, name: str) -> bytes:
    with bundle.open(name) as stream:
        body = stream.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise StoreError(f"{name} unpacks to more than {MAX_BYTES // 2**20} MiB. That is no result.")
    return body


def _notes(manifest: Manifest, store: Store) -> list[str]:
    here = _versions()
    other = [f"{name} {version} (here {here.get(name, 'none')})" for name, version in sorted(manifest.versions.items())
             if here.get(name) != version]
    notes = [f"Computed with {', '.join(other)}: last digits may differ."] if other else []
    known = {unit.model.weights for unit in store.units()}
    for model in manifest.models:
        others = sorted(f"{m.revision} (digest {m.digest})" for m in known if m.name == model.name and m != model)
        if others and model not in known:
            notes.append(f"{model.name} is at revision {model.revision} (digest {model.digest}) in the bundle and at "
                         f"{', '.join(others)} here: they are kept apart.")
    definitions = {name: kind.DEFINITION for name, kind in KINDS.items()}
    notes += [f"The definition of {kind} reads differently here: '{definitions.get(kind, 'none')}', in the bundle: "
              f"'{text}'." for kind, text in sorted(manifest.definitions.items()) if definitions.get(kind) != text]
    return notes


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
