"""Text into tokens: whole, an option from where it leaves its context, behind what the tokenizer puts in front."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from backend.errors import BadInput, ModelError
from backend.kinds.evaluation import evaluate
from backend.models.info import BUNDLED_FOLDER
from backend.models.loading import load_model, prepare
from backend.models.text import Reader, front_of, load_tokenizer, reader_for
from backend.tasks.task import Example, Prompt, multiple_choice
from tests.models.small import small_model, small_network, small_tokenizer
from tests.models.words import KINDS, words

LLAMA = SimpleNamespace(model_type="llama", bos_token_id=None, eos_token_id=None)
characters = st.text("the an.'1é\u0301\u200b\u00a0\x1c \n\t日", max_size=12)


def pair(kind: str, context: str, option: str, **settings):
    (found,) = reader_for(words(kind, **settings), LLAMA).pairs([(context, option)])
    return found


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(context=characters, option=characters.filter(str.strip))
def test_an_option_is_what_follows_the_longest_beginning_that_the_whole_shares_with_its_context(kind, context, option):
    tokenizer = words(kind)
    context_ids, whole = (tokenizer.encode(text, add_special_tokens=False) for text in (context, context + option))
    found = pair(kind, context, option)
    start = next((i for i in range(len(whole) - 1) if whole[:i + 1] != context_ids[:i + 1]), len(whole) - 1)
    start = max(start, 0)
    assert found.continuation == tuple(whole[start:])
    assert found.context == (tuple(whole[:start]) or (tokenizer.bos_token_id,))
    assert found.spans == (start < len(context_ids))


@given(context=characters, option=characters.filter(str.strip))
def test_what_is_encoded_apart_gives_the_same_tokens_as_the_whole(context, option):
    for tokenizer in (words("byte-level"), words("byte-level, Llama 3's pattern"), load_tokenizer(BUNDLED_FOLDER)):
        reader = reader_for(tokenizer, LLAMA, "never")
        assert reader._parting
        whole = tokenizer.encode(context + option, add_special_tokens=False)
        assert [token for part in reader._parts(context, option)
                for token in tokenizer.encode(part, add_special_tokens=False)] == whole


def test_byte_level_tokenizers_encode_an_option_behind_a_blank_apart_and_others_do_not():
    assert reader_for(words("byte-level"), LLAMA)._parts("the cat", " sat") == ("the cat", " sat")
    assert reader_for(words("byte-level"), LLAMA)._parts("the cat", "s") == ("the cats",)
    assert reader_for(words("byte-level"), LLAMA)._parts("the ", " sat") == ("the  sat",)
    assert reader_for(words("byte-level, Llama 3's pattern"), LLAMA)._parts("a?", "\nno") == ("a?\nno",)
    whole = set(KINDS) - {"byte-level", "byte-level, Llama 3's pattern"}
    assert all(reader_for(words(kind), LLAMA)._parts("the cat", " sat") == ("the cat sat",) for kind in whole)


def test_a_prepended_blank_is_not_put_before_the_option_again():
    for kind in ("SentencePiece, prepended, bytes", "Metaspace first", "Metaspace always", "Gemma's"):
        tokenizer = words(kind)
        for option in (" Paris", "\nParis", "Paris"):
            found = pair(kind, "Country: France\nCapital:", option)
            whole = tokenizer.encode(f"Country: France\nCapital:{option}")
            assert (*found.context, *found.continuation) == tuple(whole)
        assert tokenizer.convert_ids_to_tokens(pair(kind, "Capital:", " Paris").continuation[0]) == "▁Pa"


def test_a_token_that_spans_the_join_is_the_options():
    found, tokenizer = pair("byte-level", "then the", "n"), words("byte-level")
    assert tokenizer.convert_ids_to_tokens(list(found.continuation)) == ["Ġthen"]
    assert tokenizer.convert_ids_to_tokens(list(found.context)) == tokenizer.tokenize("then")
    assert found.spans
    assert not pair("byte-level", "then the", " n").spans


def test_an_option_that_adds_no_token_takes_the_last_one():
    for context, option in (("e", "\u0301"), ("the", "\u200b"), ("the", "\u0301")):
        found = pair("Unigram", context, option)
        assert found.continuation
        assert found.context
    reader = reader_for(words("WordPiece"), LLAMA)
    (nothing,) = reader.pairs([("the cat", " \x00")])  # cleaned away
    assert (nothing.context, nothing.continuation) == tuple(reader.pairs([("the", " cat")])[0][:2])
    assert nothing.spans


def test_two_forms_of_one_word_and_options_that_begin_alike_each_have_tokens():
    options = ("é", "e\u0301", "the", "there", "thereto")
    for kind in KINDS:
        example = multiple_choice("a", options, 0, delimiter="")
        model = prepare(small_network("llama, grouped queries", vocab_size=500), words(kind), "small", "0")
        (row,) = evaluate(model, [Prompt(example)])[0].loglikelihoods
        assert len(row) == 5
        assert all(value < 0 for value in row)


# What stands in front


@pytest.mark.parametrize(("bos", "front", "expected"), [
    ("auto", False, ()), ("auto", True, (1,)), ("always", False, (1,)), ("always", True, (1,)), ("never", True, ())])
@pytest.mark.parametrize("behind", [False, True])
def test_a_text_begins_as_the_tokenizer_begins_it_or_as_one_says(bos, front, expected, behind):
    tokenizer = words("Metaspace first", front, behind=behind)
    reader = reader_for(tokenizer, LLAMA, bos)
    plain = tokenizer.encode("the cat", add_special_tokens=False)
    assert reader.front == expected
    assert reader.context("the cat") == [*expected, *plain]
    assert reader.context("") == [1]
    (found,) = reader.pairs([("the", " cat")])
    assert [*found.context, *found.continuation] == [*expected, *plain]
    (found,) = reader.pairs([("", "the cat")])
    assert [*found.context, *found.continuation] == [1, *plain]


def test_a_text_that_begins_with_bos_itself_gets_no_second_one():
    reader = reader_for(words("Metaspace first", True), LLAMA)
    assert reader.context("<s>the").count(1) == 1
    (found,) = reader.pairs([("<s>the", " cat")])
    assert (*found.context, *found.continuation).count(1) == 1


def test_the_study_reads_gpt_2s_tokenizer_without_bos_whatever_it_does_by_itself():
    for model_type, expected in (("opt", ()), ("gpt2", ()), ("llama", (0,))):
        config = SimpleNamespace(model_type=model_type, bos_token_id=0, eos_token_id=1)
        assert reader_for(words("byte-level", True), config).front == expected
        assert reader_for(words("byte-level", True), config, "always").front == (0,)
        assert reader_for(words("WordPiece", True), config).front == (1,)


def test_gemma_always_begins_with_one_bos():
    for front in (False, True):
        model = prepare(small_network("gemma2", vocab_size=500), words("Gemma's", front), "gemma", "0")
        assert len(model.reader.front) == 1
        assert model.encode_context("the cat") == [*model.reader.front, *model.encode("the cat")]
    assert small_model("gemma3").reader.front == (0,)


def test_the_bundled_model_begins_with_bos_as_its_tokenizer_does():
    model = load_model()
    assert model.reader.front == front_of(BUNDLED_FOLDER) == (model.tokenizer.bos_token_id,)


def test_an_empty_context_is_one_bos_or_else_eos_token():
    tokenizer = small_tokenizer()
    for bos, eos, expected in ((4, 5, (4,)), (None, 5, (5,)), (None, [5, 6], (5,)), (None, None, (0,))):
        config = SimpleNamespace(model_type="opt", bos_token_id=bos, eos_token_id=eos)
        assert reader_for(tokenizer, config).empty == expected
    with pytest.raises(ModelError, match="neither a BOS nor an EOS"):
        Reader(tokenizer).context("")


def test_another_way_to_begin_is_refused():
    with pytest.raises(BadInput, match=r"bos='yes'.*auto, always, never"):
        reader_for(small_tokenizer(), LLAMA, "yes")


@pytest.mark.parametrize("processor", [
    processors.ByteLevel(),
    processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]),
    processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)]),
    processors.TemplateProcessing(single="</s> <s> $A", special_tokens=[("<s>", 0), ("</s>", 1)]),
    processors.RobertaProcessing(("</s>", 1), ("<s>", 0)),
    processors.BertProcessing(("</s>", 1), ("<s>", 0)),
    processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)])]),
], ids=lambda processor: type(processor).__name__)
def test_the_front_read_from_files_is_what_the_loaded_tokenizer_puts_there(processor, tmp_path):
    tokenizer = words("byte-level")
    kept = tokenizer.backend_tokenizer.post_processor
    try:
        tokenizer.backend_tokenizer.post_processor = processor
        tokenizer.save_pretrained(tmp_path)
        full, plain = tokenizer.encode("the cat"), tokenizer.encode("the cat", add_special_tokens=False)
    finally:
        tokenizer.backend_tokenizer.post_processor = kept
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "bos_token_id": 0}))
    front = front_of(tmp_path)
    assert [*front, *plain] == full[:len(front) + len(plain)]
    assert reader_for(load_tokenizer(tmp_path), LLAMA).front == front
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "bos_token_id": 0}))
    assert front_of(tmp_path) == ()


def test_the_front_of_a_folder_is_known_without_torch(tmp_path):
    import subprocess
    import sys

    words("Metaspace first", True).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    code = ("import sys; from pathlib import Path; from backend.models.text import front_of; "
            "print(front_of(Path(sys.argv[1])), 'torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["(1,)", "False"]


# A real SentencePiece tokenizer, in both forms that folders have


@pytest.fixture(scope="module", params=["as tokenizer.json says", "as LlamaTokenizer"])
def stories(request, shared, tmp_path_factory):
    """(the model loaded here, plain transformers' model and tokenizer, its folder)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("stories")
    for file in (shared / "models" / "stories260K").iterdir():
        shutil.copy(file, folder)
    if request.param == "as LlamaTokenizer":
        (folder / "tokenizer_config.llama.json").replace(folder / "tokenizer_config.json")
    (folder / "tokenizer_config.llama.json").unlink(missing_ok=True)
    return (load_model(str(folder)), AutoModelForCausalLM.from_pretrained(folder).eval(),
            AutoTokenizer.from_pretrained(folder), folder)


@torch.no_grad()
def plainly(network, ids, n_scored):
    logits = network(torch.tensor([ids])).logits[0].log_softmax(-1)
    return float(sum(logits[i - 1, ids[i]] for i in range(len(ids) - n_scored, len(ids))))


@pytest.mark.parametrize(("context", "option", "tokens"), [
    ("Once upon a time, there was a little girl named", " Lily", ["▁Lily"]),
    ("Once upon a time, there was a little girl named ", "Lily", ["▁Lily"]),
    ("Name:\n", "Tom", None), ("The end. ", "The cat", None), ("Lil", "y", None)])
@pytest.mark.parametrize("demos", [(), ("One day, a cat sat on the mat.", "The sun was very hot. ")])
def test_a_real_sentencepiece_tokenizer_is_read_as_plain_transformers_reads_it(stories, context, option, tokens, demos):
    model, network, tokenizer, folder = stories
    prompt = Prompt(Example((context,), (option,), (0,), ""), demos)
    whole = tokenizer.encode(prompt.prefix + context + option)
    assert whole[0] == tokenizer.bos_token_id != whole[1]
    before = tokenizer.encode((prompt.prefix + context).rstrip())
    n = len(whole) - next(i for i in range(len(whole)) if whole[:i + 1] != before[:i + 1])
    if tokens is not None:
        assert tokenizer.convert_ids_to_tokens(whole[-n:]) == tokens
    ((found,),) = evaluate(model, [prompt])[0].loglikelihoods
    assert found == pytest.approx(plainly(network, whole, n), abs=1e-4)
    assert front_of(folder) == model.reader.front == (tokenizer.bos_token_id,)


def test_a_real_sentencepiece_tokenizer_counts_its_spanning_options(stories):
    model, *_ = stories
    joined, apart = multiple_choice("Lil", ["y", " cat", "ly"], 0, delimiter=""), multiple_choice("A", ["b"], 0)
    spanning = evaluate(model, [Prompt(joined), Prompt(apart)])[0].questions.spanning
    assert spanning[0] >= 1
    assert spanning[1] == 0
