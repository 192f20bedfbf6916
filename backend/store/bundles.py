"""Results in one file, to carry to another machine or to publish.

A bundle is a zip of `manifest.json` and one file per result: JSON, or JSON with the bytes of its long arrays behind it
(`store.compact`); no pickles, nothing that runs. The manifest names models, revisions, library versions, definitions
and, for every result, its size and SHA-256. Equal results give equal bytes. Taking a bundle in is all or nothing, and
never puts a different result in place of one that is there unless asked to. Of a bundle of schema 1, those results come
in that are still true (see `store.earlier`).

A bundle may come from anybody, so its sizes are looked at before anything is made of them (`backend.limits`), and its
results are read one at a time: none is kept between looking and taking in.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from .. import demo, limits, places
from ..errors import BadInput, StoreError
from ..kinds.model import Model
from ..kinds.unit import KINDS, SCHEMA, Unit
from ..records import ModelInfo, Record, from_plain, to_plain
from ..values import RARE, ModelId
from . import earlier
from .compact import is_compact
from .entries import Deflated, Infos, differences, digest, pack, read_json, replace_file, unpack
from .live import Store

FORMAT = "headroom-bundle"
COMPACT = "headroom-bundle with compact numbers (a newer version reads it)"  # what an older version says that it is
MANIFEST = "manifest.json"
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, UnicodeError, OverflowError, EOFError, NotImplementedError,
           RuntimeError, OSError)  # what zipfile lets through when bytes are wrong
_LOCAL = struct.Struct("<26xHH")  # before each file of a zip: how long its name and what else is said of it are
_END = b"PK\x05\x06"  # of a zip: 22 bytes that say where its table is
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy")

@dataclass(frozen=True)
class Entry:
    """One result in a bundle."""

    key: str
    what: str  # in words
    sha256: str
    bytes: int
    form: str = field(default="json", metadata=RARE)  # or "bin": with the bytes of long arrays

    @property
    def file(self) -> str:
        return f"results/{self.key}.{self.form}"


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself."""

    models: tuple[ModelId, ...]  # whatever they were run with
    entries: tuple[Entry, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA
    left_out: Mapping[str, int] = field(default_factory=dict)  # of which kinds so many results stayed at home

    @property
    def model_names(self) -> list[str]:
        return list(dict.fromkeys(model.name for model in self.models))

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = to_plain(self)
        if not self.left_out:
            del told["left_out"]
        return {"format": COMPACT if any(entry.form == "bin" for entry in self.entries) else FORMAT, **told}


@dataclass(frozen=True)
class Contents:
    """A bundle that was read and checked, compared with a store."""

    manifest: Manifest
    results: Mapping[Unit[Any], Record]  # read anew from the bundle at each look
    new: Sequence[Unit[Any]]  # not in the store
    same: Sequence[Unit[Any]]  # there already, equal to within rounding
    conflicts: Mapping[Unit[Any], list[str]]  # there already and different: in what
    notes: Sequence[str]  # what a reader should know, one sentence each
    aside: Sequence[tuple[str, str]] = ()  # of a bundle of schema 1: what is not taken over, and why


def carried(units: Iterable[Unit[Any]], also: Collection[str] = ()) -> tuple[list[Unit[Any]], dict[str, int]]:
    """Of stored results those that are handed on; and of which kinds how many stay at home, because they only stand in
    for components (`Unit.STANDS_IN`) and are most of the bytes.

    Args:
        also: kinds that are handed on all the same.
    """
    chosen: list[Unit[Any]] = []
    left: Counter[str] = Counter()
    for unit in units:
        if unit.STANDS_IN and unit.KIND not in also:
            left[unit.KIND] += 1
        else:
            chosen.append(unit)
    return chosen, dict(left)


def said_of_left_out(left_out: Mapping[str, int]) -> str:
    """That so many results stayed at home, in a sentence; empty where none did."""
    if not left_out:
        return ""
    told = " and ".join(f"{n:,} {KINDS[kind].TITLE}" for kind, n in left_out.items() if kind in KINDS)
    return (f"Without {told}: what stands in for components, most of the bytes. They are computed again where they are "
            f"needed; export takes them along with {' '.join(f'--with {kind}' for kind in left_out)}.")


def export(path: str | Path | BinaryIO, store: Store, units: Iterable[Unit[Any]],
           left_out: Mapping[str, int] | None = None) -> Manifest:
    """Write results into a bundle, whole or not at all.

    Args:
        left_out: what the manifest says of results that stayed at home, as `carried` tells it.

    Raises:
        BadInput: if there is nothing to export.
        StoreError: if a result is missing or damaged, or the file cannot be written.
    """
    demo.refuse("export results")
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
        entries=tuple(Entry(u.key, str(u), digest(body), len(body), "bin" if is_compact(body) else "json")
                      for u, body in bodies.items()),
        versions=_versions(), definitions={name: kind.DEFINITION for name, kind in KINDS.items() if name in kinds},
        left_out=left_out or {})
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, body in [(MANIFEST, json.dumps(manifest.to_json(), indent=1, sort_keys=True).encode()),
                           *((e.file, body) for e, body in zip(manifest.entries, bodies.values(), strict=True))]:
            info = zipfile.ZipInfo(name)  # dated 1980: the same results make the same file
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            bundle.writestr(info, body, compresslevel=9)
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
        StoreError: if it is no bundle, cut short, damaged, of another schema, larger than allowed, or holds what its
            manifest does not name, or a result that cannot be one; names the entry and the field.
    """
    demo.refuse("read bundles")
    if isinstance(path, str | Path) and not Path(path).is_file():
        raise BadInput(f"There is no file {path}.")
    with _whole():
        _check_directory(path)
        bundle = zipfile.ZipFile(path)
        manifest = _manifest(bundle)
        if manifest.schema == earlier.SCHEMA:
            manifest, results, aside = _earlier(bundle, manifest)
            return _compared(manifest, results, results.items(), aside, store)
        infos = _shapes(bundle, manifest, store)
        found = _Results(bundle, manifest, infos)
        contents = _compared(manifest, found, found.read(), (), store)
    if claimed := set(manifest.models) ^ {u.model.weights for u in found}:
        raise StoreError(f"The manifest and the results do not name the same models: {sorted(claimed)}.")
    return contents


@contextmanager
def _whole() -> Iterator[None]:
    """What zipfile lets through when bytes are wrong, as a sentence."""
    try:
        yield
    except _BROKEN as error:
        raise StoreError(f"This is not a bundle, or it was cut short or damaged on the way: {error}. "
                         "Export or download it again.") from error


class _Results(Mapping[Unit[Any], Record]):
    """The results of a bundle by unit, each read when it is asked for."""

    def __init__(self, bundle: zipfile.ZipFile, manifest: Manifest, infos: Infos) -> None:
        self._bundle, self._manifest, self._infos = bundle, manifest, infos
        self._entries: dict[Unit[Any], Entry] = {}

    def read(self) -> Iterator[tuple[Unit[Any], Record]]:
        """All, one after the other; from then on they are known by their units."""
        for entry in self._manifest.entries:
            unit, record = _result(self._bundle, entry, self._infos)
            self._entries[unit] = entry
            yield unit, record

    def __getitem__(self, unit: Unit[Any]) -> Record:
        with _whole():
            return _result(self._bundle, self._entries[unit], self._infos)[1]

    def body(self, unit: Unit[Any]) -> Deflated:
        """A result that was read, as it is compressed: the same one, by its digest. Raises: StoreError: if it is not.
        """
        with _whole():
            entry = self._entries[unit]
            found = _deflated(self._bundle, entry) or Deflated.of(_read(self._bundle, entry.file, entry.bytes))
            return Deflated(_told(entry, found.body), found.packed)

    def __iter__(self) -> Iterator[Unit[Any]]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _shapes(bundle: zipfile.ZipFile, manifest: Manifest, store: Store) -> Infos:
    """The shapes of models: as the store knows them, else as the bundle says."""
    told: dict[ModelId, ModelInfo] = {}
    for entry in manifest.entries:
        if entry.bytes <= limits.MODEL_BYTES and b'"kind":"model"' in (body := _body(bundle, entry)):
            unit, record = _unpacked(entry, body, store.info)
            if isinstance(record, ModelInfo):
                told[unit.model] = record

    @cache
    def infos(model: ModelId) -> ModelInfo | None:
        return store.info(model) or told.get(model.weights)

    return infos


def _compared(manifest: Manifest, results: Mapping[Unit[Any], Record], read: Iterable[tuple[Unit[Any], Record]],
              aside: Sequence[tuple[str, str]], store: Store) -> Contents:
    new, same, conflicts, known = [], [], {}, store.by_key()
    for unit, record in read:
        here = store.get(unit) if unit.key in known else None
        if here is None:
            new.append(unit)
        elif told := differences(here, record, unit=unit):
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
    demo.refuse("import results")
    if contents.conflicts and not replace:
        first = [f"{unit} ({'; '.join(told)})" for unit, told in list(contents.conflicts.items())[:3]]
        raise StoreError(f"Nothing was imported: {len(contents.conflicts)} results differ from those here, for example "
                         f"{', '.join(first)}. Replace them on request (--replace), or use another store.")
    taken = sorted({*contents.new, *contents.conflicts}, key=lambda unit: not isinstance(unit, Model))  # shapes first
    read = contents.results
    store.put_all(((unit, read.body(unit) if isinstance(read, _Results) else read[unit]) for unit in taken), replace)


def _check_directory(path: str | Path | BinaryIO) -> None:
    """That the table of a zip, which zipfile reads whole, is no larger than a bundle's can be.

    Raises:
        BadZipFile: if the file does not end as zips without a comment do.
        StoreError: if the table is too large.
    """
    with (open(path, "rb") if isinstance(path, str | Path) else nullcontext(path)) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 42))
        tail = file.read(42)
    end = tail[-22:]
    if len(end) < 22 or not end.startswith(_END) or end[-2:] != bytes(2):
        raise zipfile.BadZipFile("it has no end")
    (table,) = struct.unpack_from("<I", end, 12)
    if table > limits.DIRECTORY_BYTES or tail[:-22].startswith(b"PK\x06\x07"):  # the latter: a table beyond 32 bits
        raise StoreError(f"This zip has a table of {table:,} bytes: more than the {limits.BUNDLE_ENTRIES:,} results "
                         "that a bundle may hold. Nothing was read. Export fewer at a time (--model, --kind, --task).")


def _manifest(bundle: zipfile.ZipFile) -> Manifest:
    names = bundle.namelist()
    if len(names) > limits.BUNDLE_ENTRIES + 1:
        raise StoreError(f"This zip holds {len(names):,} files; a bundle may hold {limits.BUNDLE_ENTRIES:,} results. "
                         "Export fewer at a time (--model, --kind, --task).")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in bundle.infolist()):
        raise StoreError("This zip is compressed in a way that bundles are not.")
    if MANIFEST not in names:
        raise StoreError(f"This zip has no {MANIFEST}: it is not a bundle of results.")
    try:
        body = _read(bundle, MANIFEST, limits.MANIFEST_BYTES)
        if len(body) > limits.MANIFEST_BYTES:
            raise StoreError(f"The manifest unpacks to more than {limits.MANIFEST_BYTES // 2**20} MiB: this is no "
                             "bundle of results.")
        try:
            value = read_json(body, limits.MANIFEST_BYTES, 3 * limits.BUNDLE_ENTRIES)
        except StoreError as error:
            raise StoreError(f"The manifest of this bundle is damaged: {error}") from error
        if value["format"] not in (FORMAT, COMPACT):
            raise StoreError(f"This is a '{str(value['format'])[:200]}', not a {FORMAT}.")
        if value["schema"] not in (SCHEMA, earlier.SCHEMA):
            raise StoreError(f"This bundle is of schema {value['schema']}, this version reads schema {SCHEMA}. Use the "
                             "version that wrote it, or compute the results again.")
        models = value["models"] if value["schema"] == SCHEMA else []  # before, models had no identity of today's
        manifest = Manifest(tuple(from_plain(ModelId, model, "a model") for model in models),
                            tuple(from_plain(Entry, entry, "an entry") for entry in value["entries"]),
                            _texts(value["versions"]), _texts(value["definitions"]), value["schema"],
                            {from_plain(str, kind, "a kind"): from_plain(int, n, "a number")
                             for kind, n in value.get("left_out", {}).items()})
        odd = next((entry.form for entry in manifest.entries if entry.form not in ("json", "bin")), None)
        if odd is not None:
            raise StoreError(f"The manifest of this bundle is damaged: a result is written as '{odd[:60]}'.")
        expected = [MANIFEST, *(entry.file for entry in manifest.entries)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"The manifest of this bundle is damaged: {error!r}.") from error
    if len({entry.key for entry in manifest.entries}) != len(manifest.entries):
        raise StoreError("The manifest of this bundle is damaged: it names a result twice.")
    if (total := sum(max(entry.bytes, 0) for entry in manifest.entries)) > limits.BUNDLE_BYTES:
        raise StoreError(f"This bundle unpacks to {total / 2**30:.0f} GiB; {limits.BUNDLE_BYTES // 2**30} are allowed. "
                         "Nothing was read. Export fewer results at a time (--model, --kind, --task).")
    if large := [entry for entry in manifest.entries if not 0 <= entry.bytes <= limits.RESULT_BYTES]:
        raise StoreError(f"{large[0].file} is said to have {large[0].bytes:,} bytes; a result has up to "
                         f"{limits.RESULT_BYTES // 2**20} MiB.")
    if missing := set(expected) - set(names):
        raise StoreError(f"{len(missing)} results named by the manifest are not in the bundle, for example "
                         f"{min(missing)}.")
    if len(set(names)) != len(names) or (extra := set(names) - set(expected)):
        odd = min(extra) if len(set(names)) == len(names) else "a name that occurs twice"
        raise StoreError(f"The bundle holds what its manifest does not name: {odd}. Nothing was imported.")
    return manifest


def _texts(value: Any) -> dict[str, str]:
    return {from_plain(str, name, "a name"): from_plain(str, text, "a text") for name, text in value.items()}


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
            value = read_json(body, limits.RESULT_BYTES, limits.RESULT_LISTS)
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
                         f"Import it with the version that wrote it and run `{places.COMMAND} upgrade` on that store, "
                         "or compute the results again.")
    return replace(manifest, models=tuple(sorted({u.model.weights for u in results}))), results, aside


def _result(bundle: zipfile.ZipFile, entry: Entry, infos: Infos) -> tuple[Unit[Any], Record]:
    unit, record = _unpacked(entry, _body(bundle, entry), infos)
    if unit.key != entry.key:
        raise StoreError(f"{entry.file} holds another result than its name says: {unit}.")
    return unit, record


def _unpacked(entry: Entry, body: bytes, infos: Infos) -> tuple[Unit[Any], Record]:
    try:
        return unpack(body, infos)
    except StoreError as error:
        raise StoreError(f"{entry.file} ({entry.what[:200]}): {error}") from error


def _body(bundle: zipfile.ZipFile, entry: Entry) -> bytes:
    return _told(entry, _read(bundle, entry.file, entry.bytes))


def _told(entry: Entry, body: bytes) -> bytes:
    """The bytes that the manifest tells of. Raises: StoreError: if they are others."""
    if len(body) != entry.bytes or digest(body) != entry.sha256:
        raise StoreError(f"{entry.file} ({entry.what[:200]}) is damaged: its digest is not the manifest's.")
    return body


def _read(bundle: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file of a bundle; one byte more than `most` where it is larger."""
    with bundle.open(name) as stream:
        return stream.read(most + 1)


def _deflated(bundle: zipfile.ZipFile, entry: Entry) -> Deflated | None:
    """A file of a bundle with its compressed bytes as they stand there, which are most of the work of storing it; None
    where these are not plainly one stream of deflate."""
    info = bundle.getinfo(entry.file)
    if info.compress_type != zipfile.ZIP_DEFLATED or bundle.fp is None:
        return None
    bundle.fp.seek(info.header_offset)
    header = bundle.fp.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        return None
    n_name, n_extra = _LOCAL.unpack(header)
    bundle.fp.seek(n_name + n_extra, os.SEEK_CUR)
    return Deflated.from_raw(bundle.fp.read(min(info.compress_size, 2 * limits.RESULT_BYTES)), entry.bytes)


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
    if manifest.left_out:
        notes.append(said_of_left_out(manifest.left_out))
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
