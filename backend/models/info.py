"""What a model is, read from its folder without loading it: no torch here.

A model is named by `bundled`, as a checkpoint of its training (`bundled-step-200`), by the path of a local folder, by
a hub id, as `gguf:FILE`, or, where it was made here (`gguf.made`), by its folder's name. Weights must be safetensors:
other formats can run code when they are opened, so they are refused; what a gguf file holds is written as safetensors
once.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from .. import demo, places
from ..errors import ModelError
from ..machine import is_full, size
from ..records import ModelInfo
from . import gguf, smollm2
from .adapters import ADAPTERS, Adapter
from .defaults import SIZES, filled
from .hub import answered, refused
from .plain import check_plain, read_object, size_of
from .refusals import layer_types, refusal

BUNDLED = "bundled"
LONGEST_NAME = 1000  # letters of a model's path or hub id
INDEX_BYTES = 100_000_000  # of a model's index: a line per tensor
BUNDLED_FOLDER = Path(__file__).resolve().parent.parent / "bundled"
CHECKPOINTS = BUNDLED_FOLDER / "checkpoints"  # of its training, a model folder each
_CHECKPOINT = re.compile(r"bundled-step-\d{1,9}")
_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja"]
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                    "vocab.json", "merges.txt", "vocab.txt", "tekken.json", "*.model", "*.tiktoken")
# Saved among the weights and no parameters: masks, frequencies, constants of an activation, a router's balance.
_BUFFERS = re.compile(r"(^|\.)(inv_freq|(attn|attention)\.(bias|masked_bias|causal_mask)|e_score_correction_bias|"
                      r"act_fn\.(beta|eps))$")
_UNEMBEDDINGS = re.compile(r"(^|\.)(lm_head|embed_out)\.weight$")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_COMMIT = re.compile("[0-9a-f]{7,40}")
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
          "I8": 1, "U8": 1, "BOOL": 1}
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Location:
    """Where a model's files are, and which revision they are."""

    name: str
    folder: Path
    revision: str

    @property
    def is_hub(self) -> bool:
        """Whether it is a snapshot of the hub, which its commit names and nothing changes."""
        return is_snapshot(self.folder)


def locate(name: str, revision: str | None = None, weights: bool = True) -> Location:
    """Find a model's folder; from the hub, fetch it first.

    Args:
        weights: False fetches only configuration and tokenizer from the hub.

    Raises:
        ModelError: no such folder or hub model, no safetensors in it, or no network; or a demo does not list it.
    """
    demo.check_model(name)
    folder = BUNDLED_FOLDER if name == BUNDLED else folder_of(name)
    if folder is not None or _looks_like_path(name):
        if folder is None:
            raise ModelError(f"No folder '{name}'. Give the path of a model folder (config.json, *.safetensors, "
                             "tokenizer files), a hub id such as 'facebook/opt-125m', or gguf:FILE.")
        if revision is not None and revision != (digest := _digest(folder)):
            raise ModelError(f"'{name}' holds weights of revision {digest}, not {revision}. Leave the revision out to "
                             "use the folder as it is.")
        if not (folder / "config.json").is_file():
            raise ModelError(f"'{name}' has no config.json: it is not a transformers model folder.")
        _require_safetensors(folder, name)
        return Location(name if name == BUNDLED else folder.resolve().name, folder, _digest(folder))
    if name == smollm2.NAME:
        raise ModelError(f"The weights of {name} are not here. `{places.COMMAND} smollm2`, or the button on Runs > "
                         f"Models, fetches them ({size(smollm2.BYTES)}).")
    return _from_hub(name, revision, weights)


def folder_of(name: str) -> Path | None:
    """The folder that a name is the path of, of a checkpoint or of a model made out of a gguf file; or None.

    Raises:
        ModelError: if the name is longer than any path or hub id, or the gguf file cannot be read, or a demo does not
            list it.
    """
    demo.check_model(name)
    if len(name) > LONGEST_NAME:
        raise ModelError(f"The model's name begins '{name[:40]}' and has {len(name):,} letters; no folder's path and "
                         f"no hub id has more than {LONGEST_NAME}.")
    try:
        if name.startswith(gguf.PREFIX):
            return gguf.unpacked(Path(name.removeprefix(gguf.PREFIX)).expanduser())
        if _CHECKPOINT.fullmatch(name) and (CHECKPOINTS / name).is_dir():
            return CHECKPOINTS / name
        folder = gguf.made_here(name) or Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or nobody's home
        return None


def checkpoint_name(step: int) -> str:
    """What the bundled model is called after so many steps of its training."""
    return f"bundled-step-{step}"


def describe(name: str, revision: str | None = None) -> ModelInfo:
    """A model's shape, revision and size, without loading it (from the hub: without fetching its weights).

    Raises:
        ModelError: as `locate`; or if the configuration is not one of a decoder-only transformer with plain weights.
    """
    place = locate(name, revision, weights=False)
    config = config_of(place)
    if why := refusal(config, place.name):
        raise ModelError(why)
    return info_from(config, place.name, place.revision, tensors_of(place))


class Weights(NamedTuple):
    """The parameters of one component, biases and norms left out, and how many of each there are."""

    head: int  # d_model x d_head of each of query, key, value and output projection
    ffn: int  # two matrices d_model x d_ffn; three where the FFN is gated
    n_heads: int  # of all layers together, those without heads left out
    n_ffns: int


def weights(info: ModelInfo) -> Weights:
    """How many parameters go with one head and with one FFN, and how many there are.

    An upper bound for heads that share keys and values (grouped queries); one expert of a mixture of experts.
    """
    row = ADAPTERS.get(info.architecture)
    n_matrices = 2 if row and not row.gated else 3
    return Weights(4 * info.d_model * info.d_head, n_matrices * info.d_model * info.d_ffn,
                   info.n_all_heads, info.n_layers)


def info_from(config: dict[str, Any], name: str, revision: str, tensors: list[tuple[str, int]],
              adapter: Adapter | None = None) -> ModelInfo:
    """The record, from a config as plain values and (dtype, number of elements) of every tensor.

    Args:
        adapter: where its heads are; by default its architecture's row.
    """

    def first(size: str, default: int | None = None) -> int:
        for key in SIZES[size]:
            if config.get(key) is not None:
                return size_of(size, key, config[key], name)
        if default is None:
            raise ModelError(f"The config of '{name}' says none of {', '.join(SIZES[size])}: it is not a decoder-only "
                             "transformer that Headroom can read.")
        return default

    d_model, n_heads, max_positions = first("d_model"), first("n_heads"), first("max_positions", 2048)
    # Beyond its original length, a longrope model turns to other factors, whatever keys it has cached.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if isinstance(rope, dict) and any(kind in (rope.get("rope_type"), rope.get("type")) for kind in ("longrope", "su")):
        key = "original_max_position_embeddings"
        max_positions = min(max_positions, size_of(
            "max_positions", key, config.get(key) or rope.get(key) or max_positions, name))
    elements = {dtype: sum(n for d, n in tensors if d == dtype) for dtype, _ in tensors}
    main = max(elements, key=lambda d: elements[d], default="")
    expansion = size_of("d_ffn", "expansion_ratio", config.get("expansion_ratio") or 4, name)
    return ModelInfo(
        name=name, revision=revision, architecture=str(config.get("model_type", "")), n_layers=first("n_layers"),
        n_heads=n_heads, d_model=d_model, d_head=first("d_head", max(1, d_model // n_heads)),
        d_ffn=first("d_ffn", expansion * d_model), n_params=sum(elements.values()),
        max_positions=max_positions, vocab_size=first("vocab_size"), dtype=_DTYPES.get(main, main),
        bytes=sum(n * _BYTES.get(dtype, 4) for dtype, n in elements.items()),
        headless=_headless(config, name, first("n_layers"), adapter or ADAPTERS.get(str(config.get("model_type")))),
    )


def _headless(config: dict[str, Any], name: str, n_layers: int, row: Adapter | None) -> tuple[int, ...]:
    """The layers that have no attention heads."""
    if row is None or row.heads_in is None:
        return ()
    key = "full_attention_interval"  # what the class makes layer types of where there are none
    every = size_of("n_layers", key, config.get(key) or 4, name)
    kinds = layer_types(config) or [
        "linear_attention" if (layer + 1) % every else "full_attention" for layer in range(n_layers)]
    if len(kinds) != n_layers:
        raise ModelError(f"The config of '{name}' names the kinds of {len(kinds)} layers and says that there are "
                         f"{n_layers}. Put the config.json beside the weights that they were saved with.")
    return tuple(layer for layer, kind in enumerate(kinds) if kind != row.heads_in)


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def weight_files(folder: Path) -> list[Path]:
    """The files whose weights are loaded: the one of the standard name, else those that the index names.

    Others may lie beside them, such as the authors' own `consolidated.safetensors` with the same weights once more.
    """
    if (whole := folder / "model.safetensors").is_file():
        return [whole]
    if not (index := folder / "model.safetensors.index.json").is_file():
        return []
    names = read_object(index, INDEX_BYTES).get("weight_map")
    files = set(names.values()) if isinstance(names, dict) and all(
        isinstance(file, str) for file in names.values()) else {""}
    if any(file != os.path.basename(file) or not file.endswith(".safetensors") for file in files):
        raise ModelError(f"{index} cannot be read: its weight_map should name a *.safetensors file of this folder for "
                         "every tensor. Fetch or convert the model again.")
    return sorted(folder / file for file in files)


def _require_safetensors(folder: Path, name: str, elsewhere: Iterable[str] = ()) -> None:
    if files := weight_files(folder):
        if lost := [file.name for file in files if not file.is_file()]:
            raise ModelError(f"'{name}' cannot be loaded: it lacks {', '.join(lost[:3])}, which its index names. Fetch "
                             "or convert it again.")
        return
    names = [*(p.name for p in folder.iterdir()), *elsewhere]
    pickled = sorted(n for n in names if any(fnmatch(n, pattern) for pattern in _PICKLES) and n != "training_args.bin")
    if pickled:
        raise ModelError(
            f"'{name}' holds pickled weights ({', '.join(pickled[:3])}), which can run code when opened, so Headroom "
            "does not. Convert them where you trust them, then name the new folder: "
            f"python -c \"from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; n = '{name}'; "
            "M.from_pretrained(n).save_pretrained('converted'); T.from_pretrained(n).save_pretrained('converted')\"")
    if others := sorted(n for n in names if n.endswith(".safetensors")):
        raise ModelError(f"'{name}' holds {', '.join(others[:3])}, and transformers reads model.safetensors or what "
                         "model.safetensors.index.json names. Fetch or convert it in that form.")
    raise ModelError(f"'{name}' has no weights: expected one or more *.safetensors files.")


def _from_hub(name: str, revision: str | None, weights: bool) -> Location:
    from httpx2 import HTTPError
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    away = (f"'{name}' is not in the local cache, and the hub cannot be reached. With no network, give the path of a "
            "local model folder, or use the bundled model.")
    elsewhere: list[str] = []
    try:
        folder = _cached(name, revision, weights) if revision else None
        if folder is None:
            if revision and _COMMIT.fullmatch(revision):  # answers at once where a download would wait and retry
                revision = model_info(name, revision=revision, timeout=10).sha
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=_SMALL_FILES))
            if weights:
                wanted = [file.name for file in weight_files(folder)] or ["model.safetensors"]
                folder = Path(snapshot_download(name, revision=folder.name, allow_patterns=[*_SMALL_FILES, *wanted]))
        if weights and not weight_files(folder):
            elsewhere = [s.rfilename for s in model_info(name, revision=revision, timeout=10).siblings or ()]
    except HFValidationError as error:
        raise ModelError(f"'{name}' is neither a folder here nor a hub id ('owner/model').") from error
    except GatedRepoError as error:
        raise ModelError(f"'{name}' is gated: accept its licence on the hub, then `hf auth login`.") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"'{name}' has no revision '{revision}' on the hub.") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"The hub has no model '{name}' (or it is private: log in with `hf auth login`).") from error
    except (OSError, HTTPError, ValueError) as error:  # LocalEntryNotFoundError and HfHubHTTPError are among them
        raise ModelError(_refused(error, f"'{name}'") or (
            f"'{name}' cannot be kept in the local cache: there is no space left on its disk. Make room there, or name "
            "another place in HF_HOME." if is_full(error) else away)) from error
    if weights:
        _require_safetensors(folder, name, elsewhere)
    return Location(name, folder, folder.name[:12])


def _refused(error: BaseException | None, what: str) -> str:
    """What the hub answered, and what can be used meanwhile; empty where nobody answered."""
    return refused(error, what) + (" What is in the local cache, and the bundled model, can be used meanwhile."
                                   if answered(error) is not None else "")


def _cached(name: str, revision: str, weights: bool) -> Path | None:
    """The snapshot of a commit (or the beginning of one) that is here already: a commit never changes."""
    from huggingface_hub.constants import HF_HUB_CACHE

    if not _COMMIT.fullmatch(revision):
        return None
    snapshots = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots"
    for folder in snapshots.glob(f"{revision}*"):
        if (folder / "config.json").is_file() and (not weights or _is_complete(folder)):
            return folder
    return None


def _is_complete(folder: Path) -> bool:
    """Whether all weights are here: one file, or each that the index names."""
    files = weight_files(folder)
    return bool(files) and all(file.is_file() for file in files)


def config_of(place: Location) -> dict[str, Any]:
    """The configuration as plain values, with what its class fills in; of a model for more than text, its text part's.

    Raises:
        ModelError: if it is missing or no JSON.
    """
    file = place.folder / "config.json"
    config = read_object(file)
    check_plain(config, str(file))
    return filled(config)


def tensors_of(place: Location) -> list[tuple[str, int]]:
    """(dtype, number of elements) of every parameter: from local headers, else from the hub's.

    Buffers, and the unembedding where it is the embedding once more, are none.

    Raises:
        ModelError: if a file is damaged, or there is none.
    """
    tied = bool(config_of(place).get("tie_word_embeddings"))
    return [(dtype, n) for name, dtype, n in _saved(place)
            if not _BUFFERS.search(name) and not (tied and _UNEMBEDDINGS.search(name))]


def _saved(place: Location) -> list[tuple[str, str, int]]:
    """(name, dtype, number of elements) of every tensor in the files."""
    files = weight_files(place.folder)
    if files and all(file.is_file() for file in files):
        return [(key, spec["dtype"], math.prod(spec["shape"]))
                for file in files for key, spec in _header(file).items() if key != "__metadata__"]
    from httpx2 import HTTPError
    from huggingface_hub import get_safetensors_metadata, model_info
    from huggingface_hub.errors import NotASafetensorsRepoError

    try:
        metadata = get_safetensors_metadata(place.name, revision=place.folder.name)
    except NotASafetensorsRepoError:
        siblings = model_info(place.name, revision=place.folder.name, timeout=10).siblings or ()
        _require_safetensors(place.folder, place.name, [s.rfilename for s in siblings])
        raise
    except (OSError, HTTPError, ValueError) as error:
        raise ModelError(f"The size of '{place.name}' is not known: its weights are not in the local cache. " + (
            _refused(error, f"'{place.name}'") or "The hub cannot be reached.")) from error
    return [(key, spec.dtype, math.prod(spec.shape))
            for file in metadata.files_metadata.values() for key, spec in file.tensors.items()]


def _header(file: Path) -> dict[str, Any]:
    """The table of contents of a safetensors file."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(file.stat().st_size, 100_000_000):
                raise ValueError("its header is longer than the file")
            header: dict[str, Any] = json.loads(stream.read(length))
            specs = [spec for key, spec in header.items() if key != "__metadata__"]
            if not all(isinstance(spec["dtype"], str) and all(type(n) is int and n >= 0 for n in [
                    *spec["shape"], *spec["data_offsets"]]) for spec in specs):
                raise ValueError("its header describes no tensors")
            end = 8 + length + max((spec["data_offsets"][1] for spec in specs), default=0)
            if end != file.stat().st_size:
                raise ValueError(f"it should have {end:,} bytes and has {file.stat().st_size:,}")
            return header
    except FileNotFoundError as error:
        raise ModelError(f"{file} is gone: the model's folder has been moved or deleted. Put it back, or choose "
                         "another model; stored results stay.") from error
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (struct.error, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        why = error if isinstance(error, ValueError) else "its header is none"
        raise ModelError(f"{file} is damaged or cut short: {str(why)[:200]}. Fetch or convert it again.") from error


def _digest(folder: Path) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a folder's config and weights."""
    return _digest_of(_stamped([folder / "config.json", *weight_files(folder)]))[:12]


def is_snapshot(folder: Path) -> bool:
    """Whether a folder is what the hub's client keeps of one commit."""
    return folder.parent.name == "snapshots" and bool(_COMMIT.fullmatch(folder.name))


def content_digest(folder: Path) -> str:
    """What decides a model's numbers, in 12 hexadecimal digits: config, weights and tokenizer files, by name and bytes.

    A snapshot of the hub is its commit, whether or not its weights have been fetched. Reading is done once for each
    state of the files (path, size, time of change).
    """
    if is_snapshot(folder):
        return hashlib.sha256(f"commit {folder.name}".encode()).hexdigest()[:12]
    weights = _digest_of(_stamped([folder / "config.json", *weight_files(folder)]))
    return hashlib.sha256(f"{weights} {_tokenizer_digest(folder)}".encode()).hexdigest()[:12]


def tokenizer_digest(source: str | Path) -> str:
    """The same of a tokenizer that is kept apart, in a folder or under a hub id: of its files alone.

    Raises:
        ModelError: if it is no folder and the hub does not have it, or cannot be reached.
    """
    if (folder := folder_of(str(source))) is not None:
        return _tokenizer_digest(folder)[:12]
    from httpx2 import HTTPError
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        fetched = snapshot_download(str(source), allow_patterns=list(_TOKENIZER_FILES))
    except HFValidationError as error:
        raise ModelError(f"No tokenizer in '{source}': it is neither a folder here nor a hub id.") from error
    except (OSError, HTTPError, ValueError) as error:
        raise ModelError(f"No tokenizer in '{source}': it is no folder here. " + (
            _refused(error, f"'{source}'") or "The hub cannot be reached.")) from error
    return _tokenizer_digest(Path(fetched))[:12]


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a folder that decide how text is cut into tokens, in the order of their names."""
    return sorted({file for pattern in _TOKENIZER_FILES for file in folder.glob(pattern) if file.is_file()})


def _tokenizer_digest(folder: Path) -> str:
    return _digest_of(_stamped(tokenizer_files(folder)))


def _stamped(files: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    """Files as they are now: path, size, time of change."""
    return tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file())


@lru_cache(maxsize=64)
def _digest_of(files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in files:
        digest.update(os.path.basename(path).encode())
        if os.path.basename(path) == "tokenizer_config.json":
            digest.update(_without_chat(Path(path)))
            continue
        with open(path, "rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


def _without_chat(file: Path) -> bytes:
    """A tokenizer's config but for its chat template, which no prompt here goes through."""
    content = file.read_bytes()
    try:
        config = json.loads(content)
        return json.dumps({k: v for k, v in config.items() if k != "chat_template"}, sort_keys=True).encode()
    except (ValueError, AttributeError, RecursionError):
        return content
