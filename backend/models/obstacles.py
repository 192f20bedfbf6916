"""Everything that would stop a model from being measured here, found before anything large is read: no torch here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import ModelError
from . import gguf
from .adapters import Adapter, adapter_for
from .info import Location, config_of, info_from, locate, tensors_of, tokenizer_files
from .refusals import refusal

BYTES_IN_HALF = 2  # of one weight in bfloat16 or float16
_WHOLE = ("tokenizer.json", "vocab.txt", "vocab.json")  # readable with what is installed


def obstacles(
    name: str, revision: str | None = None, *, tokenizer: str | None = None, adapter: Adapter | None = None,
    free: int | None = None,
) -> list[str]:
    """What will fail if this model is loaded here, one sentence each, the gravest first; [] if nothing is known.

    Args:
        tokenizer: a folder or hub id, where it is not beside the weights.
        adapter: a row that the table does not have.
        free: bytes of memory for the weights; None leaves that question out.

    Raises:
        ModelError: if there is no such model, or its config cannot be read.
    """
    return obstacles_at(locate(name, revision, weights=False), tokenizer=tokenizer, adapter=adapter, free=free)


def obstacles_at(
    place: Location, *, tokenizer: str | None = None, adapter: Adapter | None = None, free: int | None = None,
) -> list[str]:
    """The same, of a model that is found already."""
    config = config_of(place)
    found = [refusal(config, place.name)]
    if found[0] is None and adapter is None:
        try:
            adapter_for(str(config.get("model_type")))
        except ModelError as error:
            found.append(str(error))
    found.append(no_tokenizer(place, tokenizer))
    if free is not None and found[0] is None:  # of a model that is refused by name, sizes may not be said at all
        found.append(_too_large(place, config, free))
    return [sentence for sentence in found if sentence]


def _too_large(place: Location, config: dict[str, Any], free: int) -> str | None:
    """Why the weights do not fit, or how large they are cannot be said."""
    try:
        n_params = info_from(config, place.name, place.revision, tensors_of(place)).n_params
    except ModelError as error:
        return str(error)
    if BYTES_IN_HALF * n_params <= free:
        return None
    return (f"'{place.name}' needs {BYTES_IN_HALF * n_params / 1e9:,.1f} GB for its weights in bfloat16, and "
            f"{free / 1e9:,.1f} GB are free. Use a larger machine, or spread it over several devices with "
            "--device-map auto.")


def no_tokenizer(place: Location, tokenizer: str | None) -> str | None:
    """Why the tokenizer cannot be read, as far as its files tell; None if nothing is known against it."""
    folder = Path(tokenizer).expanduser() if tokenizer else place.folder
    if tokenizer and not folder.is_dir():
        if tokenizer.startswith((".", "/", "~")):
            return f"No folder '{tokenizer}' for the tokenizer. Give one that holds tokenizer.json, or a hub id."
        return None  # a hub id: known once it is fetched
    names = {file.name for file in tokenizer_files(folder)}
    if names & set(_WHOLE):
        return None
    missing = [package for package in (("sentencepiece", "google.protobuf") if any(n.endswith(".model") for n in names)
                                       else ("tiktoken",) if any(n.endswith(".tiktoken") for n in names) else ())
               if not _is_here(package)]
    if missing:
        packages = [{"google.protobuf": "protobuf"}.get(package, package) for package in missing]
        kept = sorted(n for n in names if n.endswith((".model", ".tiktoken")))
        return (f"The tokenizer of '{place.name}' is kept in {', '.join(kept)} alone, which takes "
                f"{' and '.join(packages)} to read, and that is not installed: `pip install {' '.join(packages)}`.")
    if any(name.endswith((".model", ".tiktoken")) for name in names):
        return None
    if (made_from := gguf.origin(folder)) and made_from.no_tokenizer:
        return (f"The tokenizer in {made_from.file} cannot be used. {made_from.no_tokenizer} Name the model's own with "
                f"--tokenizer, or put its tokenizer.json into {folder}.")
    return (f"No tokenizer in '{folder}': it holds none of {', '.join(_WHOLE)}, *.model, *.tiktoken. Put its files "
            "beside the weights, or name their folder with --tokenizer.")


def _is_here(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the package around it
        return False
