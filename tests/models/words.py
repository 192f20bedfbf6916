"""Tokenizers of every kind that models come with, trained on a few lines of text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXT = ["yes no true false Question: Answer: the cat sat on the mat. the dog ran to the man's den, then on and on.",
        "red green blue one two three is a an of and\nCountry: France\nCapital: Paris\n\nCountry: Spain Capital: Rome",
        "therefore another nothing 12 34 naïve café 1990s don't we'll"] * 3
LLAMA_3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def _trained(model: Any, pre_tokenizer: Any, trainer: Any) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def _byte_level(pre_tokenizer: Any) -> Tokenizer:
    return _trained(models.BPE(), pre_tokenizer, trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))


def _pieces(pre_tokenizer: Any, normalizer: Any = None, fallback: bool = True) -> Tokenizer:
    """A byte-pair encoding of characters as SentencePiece makes them; its merges may come from other pieces."""
    special = ["<unk>", "<s>", "</s>", *(BYTES if fallback else [])]
    tokenizer = _trained(
        models.BPE(unk_token="<unk>", byte_fallback=fallback, fuse_unk=True), pre_tokenizers.Metaspace(),
        trainers.BpeTrainer(vocab_size=len(special) + 160, special_tokens=special, show_progress=False))
    tokenizer.pre_tokenizer, tokenizer.normalizer = pre_tokenizer, normalizer
    return tokenizer


def _prepended(fallback: bool) -> Tokenizer:
    """As Llama 2's tokenizer.json: the blank in front is put there by the normaliser."""
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return _pieces(None, normalizer, fallback)


def _word_pieces() -> Tokenizer:
    characters = sorted(set("".join(TEXT).lower()) - set(" \n"))
    known = ["<unk>", "<s>", "</s>", *characters, *(f"##{c}" for c in characters), "the", "then", "there", "##fore",
             "cat", "an", "##other", "paris", "question", "no", "don", "##th", "##in", "##ing"]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(known)}, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _unigram() -> Tokenizer:
    """Longer pieces are not always likelier than what they are made of: which are taken depends on what follows."""
    pieces = ["▁", "▁the", "▁th", "the", "n", "▁cat", "▁n", "en", "▁there", "fore", "▁therefore", "▁Par", "is",
              "▁Paris", "▁a", "an", "ca", "t", "▁Question", ":", "▁No", "▁don", "'", "▁1", "12", "re", "ther"]
    known = [*pieces, *sorted(set("".join(TEXT)) - set(" \n") - set(pieces))]
    scored = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0),
              *((piece, -2.0 - 0.37 * (i % 11) - 0.5 / len(piece)) for i, piece in enumerate(known))]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=0))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": lambda: _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "byte-level, a blank in front": lambda: _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "byte-level, Llama 3's pattern": lambda: _byte_level(pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA_3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])),
    "WordPiece": _word_pieces,
    "Unigram": _unigram,
    "SentencePiece, prepended, bytes": lambda: _prepended(True),
    "SentencePiece, prepended": lambda: _prepended(False),
    "Metaspace first": lambda: _pieces(pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
    "Metaspace always": lambda: _pieces(pre_tokenizers.Metaspace(prepend_scheme="always")),
    "Metaspace never": lambda: _pieces(pre_tokenizers.Metaspace(prepend_scheme="never")),
    "Gemma's": lambda: _pieces(pre_tokenizers.Split(" ", "merged_with_previous"), normalizers.Replace(" ", "▁")),
}


@cache
def _described(kind: str) -> str:
    return KINDS[kind]().to_str()


@cache
def words(kind: str, front: bool = False, *, behind: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer of one of `KINDS`.

    Args:
        front, behind: whether it puts <s> in front of every text, and </s> behind.
    """
    tokenizer = Tokenizer.from_str(_described(kind))
    if front or behind:
        single = ["<s>"] * front + ["$A"] + ["</s>"] * behind
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(single), special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
