"""Prefix matching and copying: drawn by hand, looped over naively, and as the study's own code printed them."""

import copy
import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from torch import nn
from transformers import PreTrainedTokenizerFast

from backend import stats
from backend.engine import induction, watching
from backend.engine.induction import (
    N_REPEATS,
    block_lengths,
    copying_scores,
    prefix_matching_scores,
    raised_share,
    random_vocabulary,
)
from backend.errors import BadInput, Cancelled, StoreError
from backend.kinds import Copying, compute
from backend.kinds.induction import copying, prefix_matching
from backend.models.loading import prepare
from backend.store.live import Store
from tests.models.small import ARCHITECTURES, N_POSITIONS, WINDOW, small_model, small_network, small_tokenizer

BLOCKS = [[0, *range(20, 27)], [0, *range(50, 62)], [0, *range(90, 97)]]
DISTINCT = [[0, *range(20, 41)], [0, *range(30, 47)]]


def eager(architecture, **changes):
    network = small_network(architecture, **changes)
    network.set_attn_implementation("eager")
    return network


# ---- the definitions, drawn by hand


def drawn_score(pattern, n_block, variant="exact"):
    """Prefix matching of a pattern (pos, pos)."""
    return sum(pattern[query, key] for query, key in stats.prefix_targets(n_block, variant=variant)) / (3 * n_block)


@pytest.mark.parametrize("variant", ["exact", "authors"])
def test_a_perfect_induction_pattern_scores_1(variant):
    n_block, tokens = 3, [0] + [7, 8, 9] * 4
    pattern = np.zeros((13, 13))
    for j in range(13):
        followers = [i + 1 for i in range(j) if tokens[i] == tokens[j]]
        pattern[j, followers or [0]] = 1 / max(len(followers), 1)
    assert drawn_score(pattern, n_block, variant) == pytest.approx(1)


def test_attention_to_anything_but_the_followers_scores_0():
    tokens = [0] + [7, 8, 9] * 4
    pattern = np.ones((13, 13))
    for j in range(4, 13):
        pattern[j, [i + 1 for i in range(j) if tokens[i] == tokens[j]]] = 0
    assert drawn_score(pattern, 3) == 0


def test_the_authors_count_the_token_behind_bos_once_too_often():
    only_behind_bos = np.zeros((13, 13))
    only_behind_bos[:, 1] = 1
    assert drawn_score(only_behind_bos, 3) == 0
    assert drawn_score(only_behind_bos, 3, "authors") == pytest.approx(3 / 9)  # the last tokens of repeats 2 to 4


def uniform_score(n_block):
    """The closed form: of position j's j + 1 equal shares, one for each earlier occurrence's follower."""
    return np.mean([(-(-j // n_block) - 1) / (j + 1) for j in range(n_block + 1, 4 * n_block + 1)])


def test_uniform_attention_scores_its_closed_form_in_a_real_model():
    network = small_network("opt")
    for block in network.model.decoder.layers:
        nn.init.zeros_(block.self_attn.q_proj.weight)
        nn.init.zeros_(block.self_attn.q_proj.bias)
    scores = prefix_matching_scores(prepare(network, small_tokenizer(), "uniform", "0"), BLOCKS)
    for score, ids in zip(scores, BLOCKS, strict=True):
        np.testing.assert_allclose(score, uniform_score(len(ids) - 1), rtol=1e-5)


def test_raised_share_as_worked_by_hand():
    p = torch.tensor([[1.0, 0, 0, 0], [0.3, 0.7, 0, 0], [0.5, 0.3, 0.2, 0], [0.4, 0.1, 0.4, 0.1]])
    future = torch.full((4, 4), 9.0).triu(1)  # must not matter
    for attended, shares in ((0, [0, 0, 1, 0.5]), (1, [0, 1, 0, 0]), (2, [0, 0, 0, 0.5])):
        got = raised_share(p.clamp(min=1e-30).log() + future, torch.full((4, 1), attended))
        assert got.tolist() == pytest.approx(shares, abs=1e-5)


def test_nothing_raised_is_no_copying():
    assert raised_share(torch.zeros(2, 5, 5), torch.zeros(2, 5, 1, dtype=torch.long)).abs().sum() == 0


# ---- the fast code equals plain loops


@torch.no_grad()
def looped_prefix_matching(network, ids):
    n = len(ids) - 1
    repeated = ids[:1] + ids[1:] * 4
    patterns = network(torch.tensor([repeated]), output_attentions=True).attentions
    scores = np.zeros((len(patterns), patterns[0].shape[1]))
    for layer, pattern in enumerate(patterns):
        for head in range(scores.shape[1]):
            for j in range(n + 1, 4 * n + 1):
                scores[layer, head] += sum(pattern[0, head, j, i + 1].item() for i in range(1, j)
                                           if repeated[i] == repeated[j]) / (3 * n)
    return scores


LOOPED = ["opt", "gpt2", "gpt_neox, parallel", "gpt_neox, one after the other", "llama, grouped queries",
          "mistral, all layers slide", "qwen2, some layers slide", "qwen3, wide heads", "gemma3",
          "gemma3n, four streams", "stablelm", "gptj", "mixtral"]


@pytest.mark.parametrize("architecture", LOOPED)
def test_prefix_matching_equals_loops_over_the_eager_pattern(architecture):
    network = eager(architecture)
    expected = np.stack([looped_prefix_matching(network, ids) for ids in BLOCKS])
    np.testing.assert_allclose(prefix_matching_scores(small_model(architecture), BLOCKS), expected, atol=2e-5)


def blocks_of(network):
    return {"opt": "model.decoder.layers", "gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers"}.get(
        network.config.model_type, "model.layers")


def embedded_in(network, ids):
    """What the first block reads: (1, pos, d_model), or (streams, 1, pos, d_model)."""
    seen = []
    handle = network.get_submodule(blocks_of(network))[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True)
    network(torch.tensor([ids]))
    handle.remove()
    return seen[0]


def values_in(network, layer, x):
    """(n_heads, pos, d_head): by each architecture's own names."""
    block, kind, n_heads = network.get_submodule(blocks_of(network))[layer], network.config.model_type, 4
    if kind == "opt":
        v = block.self_attn.v_proj(block.self_attn_layer_norm(x)).unflatten(-1, (n_heads, -1))
        return v.transpose(0, 1), block.self_attn.out_proj.weight.T, block.self_attn.out_proj.bias
    if kind == "gpt2":
        v = block.attn.c_attn(block.ln_1(x)[None])[0].chunk(3, -1)[2].unflatten(-1, (n_heads, -1))
        return v.transpose(0, 1), block.attn.c_proj.weight, block.attn.c_proj.bias
    if kind == "gpt_neox":
        fused = block.attention.query_key_value(block.input_layernorm(x)).unflatten(-1, (n_heads, 3, -1))
        return fused[:, :, 2].transpose(0, 1), block.attention.dense.weight.T, block.attention.dense.bias
    v = block.self_attn.v_proj(block.input_layernorm(x)).unflatten(-1, (2, -1)).transpose(0, 1)
    return v[[0, 0, 1, 1]], block.self_attn.o_proj.weight.T, block.self_attn.o_proj.bias


def copying_in(pattern, values, weight, bias, network, ids, variant):
    """(n_heads,): a layer's copying, from its pattern (n_heads, pos, pos) and values (n_heads, pos, d_head)."""
    n_heads, n_pos, d_head = values.shape
    scores = np.zeros(n_heads)
    for head in range(n_heads):
        v = values[head] if variant == "authors" else pattern[head] @ values[head]
        out = v @ weight[head * d_head:(head + 1) * d_head]
        if variant == "authors" and bias is not None:
            out = out + bias
        p = torch.softmax(out @ network.lm_head.weight.T, -1)
        for j in range(1, n_pos):
            attendable = p[j, ids[:j + 1]]
            raised = torch.relu(attendable - attendable.mean())
            if raised.sum() > 0:
                scores[head] += (raised[pattern[head, j].argmax()] / raised.sum()).item() / (n_pos - 1)
    return scores


@torch.no_grad()
def looped_copying(network, ids, variant):
    x = embedded_in(network, ids)[0]
    scores = np.zeros((3, 4))
    for layer in range(3):
        alone = copy.deepcopy(network)  # the same model with no block but this one
        parent, _, name = blocks_of(alone).rpartition(".")
        setattr(alone.get_submodule(parent), name, nn.ModuleList([alone.get_submodule(blocks_of(alone))[layer]]))
        alone.config.num_hidden_layers = 1
        pattern = alone(torch.tensor([ids]), output_attentions=True, use_cache=False).attentions[0][0]
        values, weight, bias = values_in(network, layer, x)
        scores[layer] = copying_in(pattern, values, weight, bias, network, ids, variant)
    return scores


@pytest.mark.parametrize("variant", ["authors", "olsson"])
@pytest.mark.parametrize("architecture", ["opt", "gpt2", "gpt_neox, parallel", "llama, grouped queries"])
def test_copying_equals_loops_over_the_whole_vocabulary(architecture, variant):
    network = eager(architecture)
    expected = np.stack([looped_copying(network, ids, variant) for ids in DISTINCT])
    assert expected.max() > 0.05
    np.testing.assert_allclose(copying_scores(small_model(architecture), DISTINCT, variant), expected, atol=2e-5)


@torch.no_grad()
def copying_over_streams(network, ids, variant):
    """Gemma 3n by its own modules: every layer reads the embeddings, and so do the layers whose keys it borrows."""
    model, n_pos, lent = network.model, len(ids), {}
    streams = embedded_in(network, ids)
    causal = torch.full((n_pos, n_pos), -1e9).triu(1)
    masks = {"full_attention": causal, "sliding_attention": causal + torch.full((n_pos, n_pos), -1e9).tril(-WINDOW)}
    scores = []
    for block in model.layers:
        attention, kind = block.self_attn, block.self_attn.layer_type
        x = block.input_layernorm(block.altup.predict(streams)[0])
        turned = model.rotary_emb(x, torch.arange(n_pos)[None], kind)
        if not attention.is_kv_shared_layer:
            attention.store_full_length_kv = True  # the last of its kind before those that borrow
        _, pattern = attention(x, turned, masks[kind], shared_kv_states=lent)
        scores.append(copying_in(pattern[0], lent[kind][1][0][[0, 0, 1, 1]], attention.o_proj.weight.T, None, network,
                                 ids, variant))
    return scores


@pytest.mark.parametrize("variant", ["authors", "olsson"])
def test_copying_of_a_layer_that_borrows_its_values_is_that_of_the_lenders_values(variant):
    network = eager("gemma3n, four streams")
    expected = np.stack([copying_over_streams(network, ids, variant) for ids in DISTINCT])
    assert expected[:, -2:].max() > 0.05
    np.testing.assert_allclose(copying_scores(small_model("gemma3n, four streams"), DISTINCT, variant), expected,
                               atol=2e-5)


@pytest.mark.parametrize("architecture", ["opt", "gpt2", "llama, grouped queries", "qwen2, some layers slide",
                                          "gemma3n, four streams"])
def test_a_model_that_only_returns_its_pattern_scores_the_same(architecture):
    shows_all = small_model(architecture)
    shows_pattern = prepare(eager(architecture), small_tokenizer(), architecture, "0")
    for measure, variants, ids in ((prefix_matching_scores, ("exact", "authors"), BLOCKS),
                                   (copying_scores, ("authors", "olsson"), DISTINCT)):
        for variant in variants:
            expected = measure(shows_all, ids, variant)
            np.testing.assert_allclose(measure(shows_pattern, ids, variant), expected, atol=2e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_can_be_measured_and_stays_as_it_was(architecture):
    model, ids = small_model(architecture), torch.tensor([DISTINCT[0]])
    before = model.model(ids).logits
    for scores in (prefix_matching_scores(model, BLOCKS), copying_scores(model, DISTINCT)):
        assert scores.shape[1:] == (model.n_layers, model.n_heads)
        assert np.isfinite(scores).all()
        assert 0 <= scores.min() <= scores.max() <= 1 + 1e-5
    assert torch.equal(model.model(ids).logits, before)


@pytest.mark.parametrize("measure", [prefix_matching_scores, copying_scores])
def test_neither_batches_nor_blocks_of_rows_change_a_score(measure, monkeypatch):
    model, sequences = small_model("llama, grouped queries"), [*BLOCKS, *DISTINCT]
    together = measure(model, sequences)
    monkeypatch.setattr(induction, "tokens_per_pass", lambda model: 1)
    monkeypatch.setattr(watching, "CPU_BLOCK_BYTES", 1)
    np.testing.assert_allclose(measure(model, sequences), together, atol=1e-5)


def test_memory_that_runs_out_halves_the_batch(monkeypatch):
    model, expected, real = small_model("opt"), prefix_matching_scores(small_model("opt"), BLOCKS), induction.watch

    def small_memory(model, ids, *rest):
        if len(ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB.")
        return real(model, ids, *rest)

    monkeypatch.setattr(induction, "watch", small_memory)
    np.testing.assert_allclose(prefix_matching_scores(model, BLOCKS), expected, atol=1e-6)


def test_an_overflow_is_no_score_of_zero(tmp_path):
    network = small_network("opt")
    with torch.no_grad():
        network.model.decoder.layers[1].self_attn.v_proj.weight.fill_(1e38)
    model = prepare(network, small_tokenizer(), "overflowing", "0", proven=False)
    unit = Copying(model.id, n_sequences=2)
    with pytest.raises(StoreError, match=r"NaN or an infinite number .* use bfloat16"):
        compute(unit, Store(tmp_path), model)


# ---- the study's own numbers


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "golden" / "induction.json").read_text())


@pytest.mark.parametrize(("what", "measure"), [("prefix_matching", prefix_matching_scores),
                                               ("copying", copying_scores)])
def test_the_authors_variant_equals_the_golden_scores(what, measure, golden, golden_model):
    records = golden[what]
    assert len(records) == 3
    got = measure(golden_model, [record["ids"] for record in records], "authors")
    np.testing.assert_allclose(got, [record["scores"] for record in records], atol=1e-5, rtol=0)


def test_the_authors_drew_from_the_same_ranks(golden, golden_model):
    vocabulary, said = random_vocabulary(golden_model)
    drawn = {token for records in golden.values() for record in records for token in record["ids"][1:]}
    assert len(vocabulary) == 46_000
    assert drawn <= set(vocabulary.tolist())
    assert "merge rank" in said


# ---- which tokens, how long, how many


def test_blocks_are_as_long_as_in_the_study_where_they_fit():
    assert block_lengths(100, 223, "") == [2 * s + 25 for s in range(100)]
    assert block_lengths(10, 511, "") == [2 * s + 25 for s in range(10)]


def test_a_short_context_gets_shorter_blocks_that_spread_evenly():
    lengths = block_lengths(100, 63, "")
    assert (lengths[0], lengths[-1], sorted(lengths)) == (25, 63, lengths)
    assert block_lengths(3, 10, "") == [10, 10, 10]
    with pytest.raises(BadInput, match="a context of 8 positions leaves room for 1"):
        block_lengths(3, 1, "a context of 8 positions")


def test_the_longest_sequence_fits_context_and_vocabulary_and_is_named():
    model = small_model("opt")
    n_vocabulary = len(random_vocabulary(model)[0])
    record = prefix_matching(model, 100)
    assert record.max_length == 1 + N_REPEATS * min((N_POSITIONS - 1) // N_REPEATS, n_vocabulary) <= N_POSITIONS
    assert record.n_seeds == 100
    assert copying(model, 100).max_length == 1 + N_REPEATS * (n_vocabulary // N_REPEATS)  # copying repeats no token


def test_mean_and_variance_are_over_seeds():
    model = small_model("gpt2")
    record = prefix_matching(model, 3)
    vocabulary, _ = random_vocabulary(model)
    lengths = block_lengths(3, min((N_POSITIONS - 1) // N_REPEATS, len(vocabulary)), "")
    each = prefix_matching_scores(model, [[0, *np.random.default_rng(s).choice(vocabulary, n, replace=False).tolist()]
                                          for s, n in enumerate(lengths)])
    np.testing.assert_allclose(record.mean, each.mean(0), atol=1e-6)
    np.testing.assert_allclose(record.variance, each.var(0), atol=1e-7)


def test_a_vocabulary_without_merge_ranks_leaves_out_only_special_tokens():
    words = {"<s>": 0, "</s>": 1, "<unk>": 2, **{f"w{i}": i for i in range(3, 300)}}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<unk>")),
                                        bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    model = prepare(small_network("opt", vocab_size=250), tokenizer, "words", "0")
    vocabulary, said = random_vocabulary(model)
    assert vocabulary.tolist() == list(range(3, 250))  # none that the model has no embedding for
    assert "no merge ranks" in said
    assert prefix_matching(model, 2).tokens == said


@pytest.mark.parametrize(("measure", "known"), [(prefix_matching, "exact, authors"), (copying, "authors, olsson")])
def test_an_unknown_variant_is_refused_with_the_known_ones(measure, known):
    with pytest.raises(BadInput, match=known):
        measure(small_model("opt"), 2, "mine")
    with pytest.raises(BadInput, match="at least 1"):
        measure(small_model("opt"), 0)


def test_progress_counts_seeds_and_can_stop_the_work(monkeypatch):
    monkeypatch.setattr(induction, "tokens_per_pass", lambda model: 1)
    model, steps = small_model("opt"), []

    def stop(done, total):
        steps.append((done, total))
        if done == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        prefix_matching(model, 4, progress=stop)
    assert steps == [(1, 4), (2, 4)]
    assert watching._current.get() is None  # nothing is being watched any more
