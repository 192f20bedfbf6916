"""Text into tokens, as a model reads it: whole, and behind what its tokenizer puts in front. No torch here.

A tokenizer may join what we think of as two pieces of text. SentencePiece ones write a blank before whatever they are
given, byte-pair ones merge across any place that is no boundary of words. So nothing is encoded in pieces: a context
is encoded with its option, and the option's tokens are those from where the whole first differs from the context.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import BadInput, ModelError
from .plain import config_class, read_object

BOS = ("auto", "always", "never")
_STUDY = ("opt", "gpt2")  # architectures that the study reads without a BOS token, whatever their tokenizers do
_ALWAYS = "gemma"  # begins the name of architectures that read nonsense without one

# Classes that transformers builds with the post-processor that tokenizer.json names, and one that drops it.
_KEEP = {"PreTrainedTokenizer", "TokenizersBackend", "LlamaTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer",
         "GemmaTokenizer", "CohereTokenizer", "BloomTokenizer"}
_DROP = "GPTNeoXTokenizer"

# Which blanks always part words in the patterns that tokenizers cut text with: GPT-2's ends every piece before any
# blank, as does the bundled model's; in those of Llama 3, Qwen 2 and cl100k line breaks may belong to the signs before.
_PARTING = {
    "GPT-2": " \n",
    r"\n\n|\n|->|\w+|[^\w\s]": " \n",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": " ",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": " ",
}


class Pair(NamedTuple):
    """A context and its option in token ids; the context has at least one."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]
    spans: bool  # whether the option's first token holds some of the context's text


@dataclass(frozen=True)
class Reader:
    """A tokenizer, and what stands in front of every text."""

    tokenizer: Any
    front: tuple[int, ...] = ()  # what every text begins with: a BOS token or nothing
    nothing: tuple[int, ...] = ()  # what stands for a context of no tokens: one BOS token, or EOS where there is none

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's token ids without special tokens."""
        if not texts:
            return []
        return list(self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False,
                                   return_token_type_ids=False, verbose=False)["input_ids"])

    @property
    def empty(self) -> tuple[int, ...]:
        """What stands for a context of no tokens.

        Raises:
            ModelError: if the model has neither a BOS nor an EOS token.
        """
        if not (found := self.front or self.nothing):
            raise ModelError("The model and its tokenizer have neither a BOS nor an EOS token: no empty context can "
                             "be scored. Name one in the tokenizer's tokenizer_config.json.")
        return found

    def context(self, text: str) -> list[int]:
        """What a model reads before it says what comes next; never no token at all."""
        (ids,) = self.encode([text])
        return [*self._in_front_of(ids), *ids] or list(self.empty)

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> list[Pair]:
        """(context, option) pairs of text in token ids, each encoded whole.

        An option begins where the whole first differs from the context alone, so that a token that spans the two is
        the option's; where it adds no token, the last one is.
        """
        apart = [self._parts(context, option) for context, option in pairs]
        texts = [*dict.fromkeys(text for (context, _), parts in zip(pairs, apart, strict=True)
                                for text in (context, *parts))]
        ids = dict(zip(texts, self.encode(texts), strict=True))
        contexts: dict[tuple[str, int], tuple[int, ...]] = {}  # options of one question share theirs
        found = []
        for (context, _), parts in zip(pairs, apart, strict=True):
            before, whole = ids[context], [token for part in parts for token in ids[part]]
            start = max(min(_in_common(before, whole), len(whole) - 1), 0)
            if (context, start) not in contexts:
                contexts[context, start] = (*self._in_front_of(before), *whole[:start]) or self.empty
            found.append(Pair(contexts[context, start], tuple(whole[start:]), start < len(before)))
        return found

    def _in_front_of(self, ids: Sequence[int]) -> tuple[int, ...]:
        """What is put before a text: nothing before one that says it itself, or there would be two."""
        return () if tuple(ids[:len(self.front)]) == self.front else self.front

    def _parts(self, context: str, option: str) -> tuple[str, ...]:
        """Pieces of the whole that are encoded apart because that gives the same tokens: the option where it can be."""
        if context and not context[-1].isspace() and option[:1] and option[0] in self._parting:
            return context, option
        return (context + option,)

    @cached_property
    def _parting(self) -> str:
        """Blanks that always begin a new piece when they follow something else.

        A tokenizer never joins the pieces that a pattern cuts its text into. In the patterns above no piece that ends
        in something else goes on into such a blank, nor looks ahead to it, so that the text before and the text from
        there on are cut alike together and apart.
        """
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None or backend.normalizer is not None:
            return ""
        added = self.tokenizer.added_tokens_decoder.values()
        if any(token.lstrip or token.rstrip or any(map(str.isspace, token.content)) for token in added):
            return ""
        return _PARTING.get(_pattern(_state(backend.pre_tokenizer)), "")


def _pattern(state: Mapping[str, Any]) -> str:
    """The pattern that a pre-tokenizer cuts text with, where it does no more; empty where it does."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False}
    if byte_level.items() <= state.items():
        return "GPT-2" if state["use_regex"] else ""
    cut, *more = state.get("pretokenizers", [state])
    if more and (len(more) > 1 or not (byte_level | {"use_regex": False}).items() <= more[0].items()):
        return ""
    kept = {("Isolated", False), ("Removed", True)}  # the matches and what is between them, or the matches alone
    if cut.get("type") != "Split" or (cut["behavior"], cut["invert"]) not in kept:
        return ""
    return str(cut["pattern"].get("Regex", ""))


def _in_common(some: Sequence[int], others: Sequence[int]) -> int:
    """How many first tokens two texts share."""
    if some == others[:len(some)]:
        return len(some)
    return next((i for i, (a, b) in enumerate(zip(some, others, strict=False)) if a != b), min(len(some), len(others)))


# What stands in front of every text


def reader_for(tokenizer: Any, config: Any, bos: str = "auto") -> Reader:
    """The way a model reads text.

    Args:
        config: the model's configuration, of which `model_type`, `bos_token_id` and `eos_token_id` are asked.
        bos: what every text begins with. "auto": what the tokenizer itself puts there; nothing for OPT and GPT-2 with
            GPT-2's byte-level tokenizer, as in the study; a BOS token for Gemma. "always": what the tokenizer puts
            there or else one BOS token (EOS where there is none). "never": nothing.

    Raises:
        BadInput: unknown `bos`.
        ModelError: a BOS token is asked for, and there is neither BOS nor EOS.
    """
    if bos not in BOS:
        raise BadInput(f"Unknown way to begin a text: bos='{bos}'. Known: {', '.join(BOS)}.")
    nothing = _start_token(config, tokenizer)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    own = _own_front(tokenizer) if backend is None else _front_of_state(_state(backend.post_processor))
    front = _chosen(config.model_type, own, _is_byte_level(tokenizer), bos)
    return Reader(tokenizer, Reader(tokenizer, own, nothing).empty if front is None else front, nothing)


def front_of(folder: Path, tokenizer: Path | None = None, bos: str = "auto") -> tuple[int, ...]:
    """What every text begins with for the model in a folder, without its weights: token ids, none or one as a rule.

    Read from the files where they say it; else the tokenizer is loaded, and torch with it.

    Args:
        folder: holds config.json.
        tokenizer: the folder of the tokenizer, where that is another.

    Raises: as `reader_for`; or ModelError if there is no tokenizer or config that can be read.
    """
    place = tokenizer or folder
    files = (folder / "config.json", place / "tokenizer.json", place / "tokenizer_config.json", place / "merges.txt")
    return _front_of_files(folder, place, bos, tuple((f.stat().st_mtime_ns, f.stat().st_size) if f.is_file() else None
                                                     for f in files))


@lru_cache(maxsize=32)
def _front_of_files(folder: Path, place: Path, bos: str, state: Any) -> tuple[int, ...]:
    config = read_object(folder / "config.json")
    text = config.get("text_config")
    model_type = str((text if isinstance(text, dict) and text else config).get("model_type", ""))
    found = _said_by_files(place)
    front = _chosen(model_type, *found, bos) if found and bos in BOS else None
    if front is not None:
        return front
    return reader_for(load_tokenizer(place), config_class(folder).get_text_config(), bos).front


def _said_by_files(place: Path) -> tuple[tuple[int, ...], bool] | None:
    """(what the tokenizer puts in front, whether it is a byte-level BPE), where its files tell; else None."""
    try:
        described = json.loads((place / "tokenizer.json").read_text(encoding="utf-8"))
        kind = str(json.loads((place / "tokenizer_config.json").read_text(encoding="utf-8")).get("tokenizer_class"))
        kind = kind.removesuffix("Fast")
        if kind not in _KEEP | {_DROP}:
            return None
        front = () if kind == _DROP else _front_of_state(described.get("post_processor"))
        return front, described["model"].get("type") == "BPE" and "ByteLevel" in str(described.get("pre_tokenizer"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):  # whoever loads it says why
        return None


def _chosen(model_type: str, own: tuple[int, ...], byte_level: bool, bos: str) -> tuple[int, ...] | None:
    """What stands in front; None: what the tokenizer puts there or else the token for nothing."""
    if bos == "never" or (bos == "auto" and model_type in _STUDY and byte_level):
        return ()
    if bos == "always" or model_type.startswith(_ALWAYS):
        return own or None
    return own


def _start_token(config: Any, tokenizer: Any) -> tuple[int, ...]:
    """One BOS token, or EOS where there is no BOS: the config's, else the tokenizer's."""
    for source in (config, tokenizer):
        for token in (getattr(source, "bos_token_id", None), getattr(source, "eos_token_id", None)):
            if token is not None:
                return (int(token[0] if isinstance(token, list) else token),)
    return ()


def _own_front(tokenizer: Any) -> tuple[int, ...]:
    """What a tokenizer without a post-processor that could be asked puts before a text; found by trying."""
    if not tokenizer.encode("", add_special_tokens=True):
        return ()
    for text in ("a", "1", "."):
        plain, full = (list(tokenizer.encode(text, add_special_tokens=special)) for special in (False, True))
        for i in range(len(full) - len(plain) + 1) if plain else ():
            if full[i:i + len(plain)] == plain:
                return tuple(full[:i])
    return ()


def _front_of_state(state: Mapping[str, Any] | None) -> tuple[int, ...]:
    """What a post-processor, as tokenizer.json describes it, puts before a text; what it puts behind never counts."""
    if not state:
        return ()
    if state["type"] == "Sequence":
        return tuple(token for one in reversed(state["processors"]) for token in _front_of_state(one))
    if state["type"] in ("BertProcessing", "RobertaProcessing"):
        return (int(state["cls"][1]),)
    front: list[int] = []
    for piece in state.get("single", ()):
        if "SpecialToken" not in piece:
            break
        front += state["special_tokens"][piece["SpecialToken"]["id"]]["ids"]
    return tuple(front)


def _is_byte_level(tokenizer: Any) -> bool:
    """Whether it is a byte-pair encoding of bytes, as GPT-2's."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and type(backend.model).__name__ == "BPE" and "ByteLevel" in str(
        _state(backend.pre_tokenizer))


def _state(part: Any) -> dict[str, Any]:
    """A part of a fast tokenizer as tokenizer.json describes it; empty where it has none."""
    return json.loads(part.__getstate__()) if part is not None else {}


def load_tokenizer(source: str | Path) -> Any:
    """The tokenizer of a folder or hub id; a folder of only `vocab.json` and `merges.txt` is a byte-level BPE.

    Raises:
        ModelError: if there is none that can be read.
    """
    from transformers import AutoTokenizer, GPT2Tokenizer

    folder = Path(source)
    try:
        if (folder / "merges.txt").is_file() and not (folder / "tokenizer_config.json").is_file():
            return GPT2Tokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises whatever it likes
        why = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise ModelError(f"No tokenizer that can be read in '{source}': {why}. Put its files beside the weights, or "
                         "name their folder with --tokenizer.") from error
