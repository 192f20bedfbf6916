"""Models in one gguf file, llama.cpp's format: written once as an ordinary folder, and from then on like any other.

The weights are taken as they are: a file of 4-bit weights gives a float32 model of few different values. transformers
reads file and tokenizer; what it would read wrongly, how some tokenizers cut digits, is put right here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import demo, places
from ..errors import ModelError

PREFIX = "gguf:"
_ORIGIN = "made_from.json"
_PLAIN_NAME = re.compile(r"[\w][\w.\-]{0,100}")
# `tokenizer.ggml.pre`, by which text is cut before merges, where transformers has no regular expression for it.
_AS_GPT2 = {"gpt-2", "mpt", "olmo", "jais"}  # what it takes by default is right
_DIGITS_APART = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}


@dataclass(frozen=True)
class Origin:
    """Where a model's folder comes from."""

    file: str  # name of the gguf file
    sha256: str  # of its bytes
    title: str  # what its makers call it
    weights: str  # format of most of its weights, for instance "Q4_1"
    licence: str  # as the file states it; empty where it does not
    about: str = ""  # what else is to be known, in words
    no_tokenizer: str = ""  # why its tokenizer could not be written

    @property
    def words(self) -> str:
        """What a page says of the model, in one sentence."""
        bits = re.match(r"I?Q(\d)", self.weights)
        parts = [f"{bits[1]}-bit weights ({self.weights})" if bits else f"{self.weights} weights", self.about,
                 f"licence {self.licence}" if self.licence else "licence not stated"]
        return f"{self.title}, out of {self.file}: {', '.join(filter(None, parts))}."


def made_here(name: str) -> Path | None:
    """The folder of a model that was made here, by its name; None where there is none."""
    folder = places.models() / name
    return folder if _PLAIN_NAME.fullmatch(name) and (folder / "config.json").is_file() else None


def made() -> list[str]:
    """Names of the models that were made here; in a demo those that it lists."""
    if not (folder := places.models()).is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if made_here(path.name) and not (
        demo.on() and path.name not in demo.models()))


def origin(folder: Path) -> Origin | None:
    """Where a model's folder comes from, if it was made out of a gguf file."""
    try:
        return Origin(**json.loads((folder / _ORIGIN).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def unpacked(file: Path, name: str = "", about: str = "") -> Path:
    """The folder with a gguf file's model; written first unless it is there already.

    Args:
        name: of the folder; by default the file's, with some of its digest where that is another file's.
        about: goes into its `Origin`.

    Raises:
        ModelError: no such file, none of this format, or of an architecture that transformers does not read.
    """
    if not file.is_file():
        raise ModelError(f"No file '{file}'. Name a model in llama.cpp's format: gguf:FOLDER/FILE.gguf.")
    about_now = file.stat()
    digest = _sha256(file, about_now.st_size, about_now.st_mtime_ns)
    name = name or re.sub(r"[^\w.\-]+", "-", file.stem).strip("-.")[:80] or "model"
    for folder in (places.models() / name, places.models() / f"{name}-{digest[:8]}"):
        found = origin(folder)
        if found is not None and found.sha256 == digest and made_here(folder.name):
            return folder
        if not folder.exists():
            _write(file, folder, digest, about)
            return folder
    raise ModelError(f"The folder {folder} holds something else. Move it away, then try again.")


def _write(file: Path, folder: Path, digest: str, about: str) -> None:
    """Write the folder under another name first, so that it is whole as soon as it is there."""
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(3)}")
    try:
        draft.mkdir(parents=True)
        _write_model(file, draft)
        said = _metadata(file)
        found = Origin(file.name, digest, str(said.get("general.name") or file.stem), said["weights"],
                       str(said.get("general.license") or ""), about, _write_tokenizer(file, draft, said))
        (draft / _ORIGIN).write_text(json.dumps(asdict(found), indent=1))
        os.replace(draft, folder)
    except OSError as error:
        raise ModelError(f"'{file}' could not be written to {folder} ({error}). It takes about 4 bytes of disk per "
                         "weight; what was begun is removed.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_model(file: Path, folder: Path) -> None:
    """Weights in float32 as safetensors, and the config, without what would differ from one release to the next."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        source = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    except Exception as error:  # whatever the reader meets in a file that is damaged, or of an unknown kind
        raise ModelError(f"'{file}' cannot be read as a gguf model: {error}. Give a model of an architecture that "
                         "transformers reads from gguf, or convert it to safetensors.") from error
    config = source.config
    if hasattr(config, "quantization_config"):  # saving is refused while it says so
        del config.quantization_config
    plain = type(source)(config)
    plain.load_state_dict(source.state_dict())
    plain.save_pretrained(folder)
    saved = json.loads((folder / "config.json").read_text())
    for changing in ("transformers_version", "_name_or_path"):
        saved.pop(changing, None)
    (folder / "config.json").write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n")


def _write_tokenizer(file: Path, folder: Path, said: dict[str, Any]) -> str:
    """Write the tokenizer; why not, in a sentence, where how it cuts text is not known."""
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    rule, kind = said.get("tokenizer.ggml.pre", "gpt-2"), said.get("tokenizer.ggml.model")
    if kind == "gpt2" and rule not in {*_AS_GPT2, *_DIGITS_APART, *GGUF_PRE_TOKENIZER_SPLITS}:
        return f"It cuts text by the rule '{rule}', which is not known here."
    if kind == "llama" and said.get("tokenizer.ggml.add_space_prefix") is False and "gemma" not in str(
            said.get("general.architecture")):
        return "It puts no blank in front of a text, which cannot be read from gguf here."
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:  # as above
        return f"It cannot be read: {error}."
    if kind == "gpt2" and rule in _DIGITS_APART:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.save_pretrained(folder)
    return ""


def _metadata(file: Path) -> dict[str, Any]:
    """What a file says of itself, but for its lists; and the format of most of its weights, as "weights"."""
    from gguf import GGUFReader, GGUFValueType

    reader = GGUFReader(file)
    sizes: Counter[str] = Counter()
    for tensor in reader.tensors:
        sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    said = {name: field.contents() for name, field in reader.fields.items() if GGUFValueType.ARRAY not in field.types}
    return {**said, "weights": sizes.most_common(1)[0][0]}


@lru_cache(maxsize=32)
def _sha256(file: Path, n_bytes: int, changed: int) -> str:
    """Of a file in this state; the last two tell states apart."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
