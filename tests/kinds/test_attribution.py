"""What removing a head adds to the loss: to first order, along the way, and measured; worked out by hand and slowly."""

import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from backend import stats, tables
from backend.engine.constants import fit
from backend.engine.gradients import gate_gradients, gold_pairs
from backend.errors import BadInput, StoreError
from backend.kinds import Attribution, Constants, HeadOracle, Means, OptimalConstants, Pruning, compute, evaluate
from backend.kinds.attribution import INTEGRATED, SIGNED, STEPS, attribution
from backend.kinds.constants import optimal_constants
from backend.kinds.means import mean_activations
from backend.kinds.oracles import FILLS, N_RESAMPLED, head_oracle, resampled_oracle
from backend.models.gates import Gates, passing
from backend.models.loading import LoadedModel, prepare
from backend.store.live import Store
from backend.tasks.task import Example, Prompt
from backend.values import Ablation, Head, Ranking
from tests.engine.test_gradients import FIXED, PROMPTS, gold_pair
from tests.models.small import setup_of, small_model, small_network

SEVERAL = ("opt", "gpt2", "llama, grouped queries", "gemma2", "bloom", "mixtral", "gemma3n, four streams", "qwen3_next")


# --- a planted truth --------------------------------------------------------------------------------


def planted(strength: float) -> LoadedModel:
    """One layer by hand, without norms and FFN: head 0 writes `strength` to the right label's logit, head 1 nothing.

    x is answered by A, y by B; every other logit is 0, of six words.
    """
    words = {word: i for i, word in enumerate(["<s>", "</s>", "x", "y", "A", "B"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(
        "gpt2", n_embd=8, n_layer=1, n_head=2, n_positions=16, n_inner=4, vocab_size=len(words), bos_token_id=0,
        eos_token_id=1, tie_word_embeddings=False, attn_pdrop=0, resid_pdrop=0))
    trunk = network.transformer
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        trunk.wte.weight[2, 0] = trunk.wte.weight[3, 1] = 1  # x, y
        trunk.h[0].attn.c_attn.weight[0, 16] = trunk.h[0].attn.c_attn.weight[1, 17] = 1  # head 0's values
        trunk.h[0].attn.c_proj.weight[0, 4] = trunk.h[0].attn.c_proj.weight[1, 5] = strength
        network.lm_head.weight[4, 4] = network.lm_head.weight[5, 5] = 1
    trunk.h[0].ln_1, trunk.h[0].ln_2, trunk.ln_f = (torch.nn.Identity() for _ in range(3))
    return prepare(network, PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"),
                   f"planted {strength}", "r", bos="never", proven=False)


ASKED = [Prompt(Example((word,) * 2, (" A", " B"), (int(word == "y"),), word), doc=i) for i, word in enumerate("xyxy")]


def loss(strength: float, gate: float = 1.0) -> float:
    """Of the right one of six words, the others' logits 0."""
    return math.log(1 + 5 * math.exp(-strength * gate))


@pytest.mark.parametrize("strength", [1.0, 3.0, 30.0])
def test_what_a_head_adds_is_what_one_works_out_and_the_first_order_fails_where_the_model_is_sure(strength):
    model = planted(strength)
    found = attribution(model, ASKED)

    def slope(gate: float) -> float:  # -dL/dg
        wrong = 5 * math.exp(-strength * gate)
        return strength * wrong / (1 + wrong)

    assert found.scores(SIGNED)[0] == pytest.approx([slope(1.0), 0], rel=1e-4, abs=1e-9)
    assert found.scores(INTEGRATED)[0] == pytest.approx([np.mean([slope(gate) for gate in STEPS]), 0], rel=1e-4)
    oracle = head_oracle(model, ASKED)
    measured = tables.costs(oracle, "loss", (1, 2))[0].mean(0)[0]
    assert measured == pytest.approx([math.log(6) - loss(strength), 0], abs=1e-5)
    if strength == 30:
        assert found.scores(SIGNED)[0, 0] < 1e-9 < measured[0]  # saturated
        assert found.scores(INTEGRATED)[0, 0] == pytest.approx(measured[0], rel=0.4)  # five steps of it


def test_the_best_constant_of_a_head_that_says_one_of_two_says_both():
    """With zeros every word is as likely; with the best constant A and B share all there is, log 2."""
    model = planted(8.0)
    found = optimal_constants(model, ASKED, steps=80)
    mean = math.log(2 * math.exp(4.0) + 4) - 4.0
    assert found.before[0][0] == pytest.approx(mean, abs=1e-5)
    assert math.log(2) <= found.after[0][0] + 1e-6
    assert found.after[0][0] < mean - 0.7 * (mean - math.log(2))
    assert found.heads[0][0][0] == pytest.approx(found.heads[0][0][1], abs=1e-3)
    assert found.intact == pytest.approx(loss(8.0), abs=1e-6)
    assert (found.before[0][1], found.after[0][1]) == pytest.approx((found.intact,) * 2)
    oracle = head_oracle(model, ASKED, means=found)
    assert tables.costs(oracle, "loss", (1, 2))[0].mean(0)[0, 0] == pytest.approx(found.after[0][0] - found.intact,
                                                                               abs=1e-5)


# --- against slow references ------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", SEVERAL)
def test_both_scores_are_slopes_of_each_prompt_s_loss(architecture):
    """Full logits, one prompt at a time, all heads behind gates of one value."""
    model = small_model(architecture)
    found = attribution(model, FIXED)

    def slopes(gate: float) -> np.ndarray:
        total = np.zeros((model.n_layers, model.n_heads))
        for prompt in FIXED:
            pair = gold_pair(model, prompt)
            gates = torch.full((1, model.n_layers, model.n_heads), gate, requires_grad=True)
            with torch.enable_grad(), passing(Gates(heads=gates)):
                logits = model.model(torch.tensor([pair.ids[:-1]]), use_cache=False).logits[0, len(pair.context) - 1:]
            torch.nn.functional.cross_entropy(logits, torch.tensor(pair.continuation)).backward()
            assert gates.grad is not None
            total -= gates.grad[0].numpy()
        return total / len(FIXED)

    for reduction, expected in ((SIGNED, slopes(1.0)), (INTEGRATED, np.mean([slopes(g) for g in STEPS], axis=0))):
        assert np.abs(found.scores(reduction) - expected).max() < 2e-4 * np.abs(expected).max()
    assert not found.scores(SIGNED)[list(model.info.headless)].any()


def test_demonstrations_read_once_change_no_gate_s_gradient(monkeypatch):
    model = small_model("llama, grouped queries")
    whole = gate_gradients(model, gold_pairs(model, FIXED).pairs, gate=0.3)[1]
    monkeypatch.setattr("backend.engine.gradients.SHARING_WIDTH", 0)
    found = gold_pairs(model, FIXED)
    assert any(found.prefixes)
    shared = gate_gradients(model, found.pairs, prefixes=found.prefixes, gate=0.3)[1]
    assert np.abs(shared - whole).max() < 1e-4 * np.abs(whole).max()


@pytest.mark.parametrize("architecture", SEVERAL)
def test_a_head_s_constant_is_put_in_its_place_as_mean_ablation_does(architecture):
    model = small_model(architecture)
    means = mean_activations(model, FIXED)
    oracle = head_oracle(model, FIXED, means=means)
    assert oracle.ablations == tuple(map(str, HeadOracle.ablations(model.info)))
    alone = evaluate(model, FIXED, [Ablation(frozenset({model.info.heads[5]}), fill="mean")], means=[means])[0]
    assert oracle.choices[6] == alone.choices()
    losses = oracle.losses()
    assert losses is not None
    fitted = fit(model, gold_pairs(model, FIXED).pairs, 2, 3, 0.01, 99, 0)
    for head, row in zip(model.info.heads, losses[1:], strict=True):
        assert fitted.before[head.layer, head.head] == pytest.approx(row.mean(), abs=2e-4)
    assert fitted.intact == pytest.approx(losses[0].mean(), abs=2e-4)
    assert (fitted.after <= fitted.before).all()


def test_the_fit_lowers_the_loss_of_most_heads_and_repeats_itself():
    model = small_model("gpt2")
    found = optimal_constants(model, PROMPTS + FIXED)
    before, after = np.array(found.before), np.array(found.after)
    assert (after < before - 1e-3).mean() > 0.5
    assert found == optimal_constants(model, PROMPTS + FIXED)
    with pytest.raises(BadInput, match="nothing to fit constants to"):
        optimal_constants(model, [])


@pytest.mark.parametrize("architecture", SEVERAL)
def test_resampling_puts_another_prompt_s_output_in_place_as_a_hook_would(architecture):
    """One option at a time, the head's slice overwritten, positions counted from the context's end."""
    model, others = small_model(architecture), [PROMPTS[1], FIXED[3], PROMPTS[4]]
    heads = [model.info.heads[i] for i in (1, 6, -1)]
    found = resampled_oracle(model, FIXED[:3], others, seed=4, n_draws=2)
    drawn = np.random.default_rng(4).integers(len(others), size=(2, 3))
    donors = [gold_pair(model, prompt) for prompt in others]
    assert found.ablations[:3] == ("", "L0H0", "L0H0")
    for head in heads:
        module = model.attn_outs[head.layer]
        for draw in range(2):
            at = 1 + 2 * model.info.heads.index(head) + draw
            for i, prompt in enumerate(FIXED[:3]):
                seen: list[torch.Tensor] = []
                donor = donors[drawn[draw, i]]
                handle = module.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
                with torch.inference_mode():
                    model.model(torch.tensor([donor.ids[:-1]]), use_cache=False)
                handle.remove()
                z, pair = seen[0].reshape(len(donor.ids) - 1, model.n_heads, -1), gold_pair(model, prompt)
                places = [min(max(p - len(pair.context) + len(donor.context), 0), len(donor.ids) - 2)
                          for p in range(len(pair.ids) - 1)]

                def overwrite(_, args, z=z, places=places, head=head):
                    own = args[0].reshape(len(places), model.n_heads, -1).clone()
                    own[:, head.head] = z[places, head.head]
                    return (own.reshape(args[0].shape), *args[1:])

                handle = module.register_forward_pre_hook(overwrite)
                with torch.inference_mode():
                    logits = model.model(torch.tensor([pair.ids[:-1]]), use_cache=False).logits[0]
                handle.remove()
                right = logits[len(pair.context) - 1:].log_softmax(-1)[range(len(pair.continuation)), pair.continuation]
                assert found.gold[at][i] == pytest.approx(float(right.mean()), abs=2e-4)
    plain = head_oracle(model, FIXED[:3])
    assert found.choices[0] == plain.choices[0]
    assert found.gold[0] == pytest.approx(plain.gold[0], abs=2e-4)


def test_a_prompt_s_own_outputs_in_place_change_nothing():
    model = small_model("opt")
    found = resampled_oracle(model, PROMPTS[:1], PROMPTS[:1], n_draws=1)
    gold = np.array(found.gold)
    assert np.abs(gold - gold[0]).max() < 1e-4


# --- units ------------------------------------------------------------------------------------------


def test_what_stands_in_is_in_the_name_and_brings_what_it_builds_on(tmp_path):
    model = small_model("opt")
    setup = setup_of(model, "antonym", 2, n_examples=6, draws=2)
    over = setup.with_(n_examples=8)
    assert HeadOracle(setup, "zero", 8) == HeadOracle(setup)
    assert HeadOracle(setup, "mean", 8).needs() == [Means(over)]
    assert HeadOracle(setup, "optimal", 8).needs() == [OptimalConstants(over)]
    assert HeadOracle(setup, "resample", 8).needs() == HeadOracle(setup).needs() == []
    with pytest.raises(BadInput, match="'noise' puts nothing in place"):
        HeadOracle(setup, "noise")
    with pytest.raises(BadInput, match="'test' is no split"):
        HeadOracle(setup, on="test")
    with Store(tmp_path) as store:
        for fill in FILLS:
            for on in ("validation", "train"):
                unit = HeadOracle(setup, fill, 8, on)
                record = compute(unit, store, model)
                unit.check(record, model.info)
                assert unit.is_whole(record)
                assert len(record.ablations) == 1 + 12 * (N_RESAMPLED if fill == "resample" else 1)
        validation, train = (store.get(HeadOracle(setup, on=on)) for on in ("validation", "train"))
        assert validation is not None
        assert train is not None
        assert validation.questions.gold != train.questions.gold
        assert isinstance(store.get(OptimalConstants(over)), Constants)


def test_an_oracle_without_losses_is_shown_and_measured_anew(tmp_path):
    model = small_model("opt")
    setup = setup_of(model, "antonym", 2, n_examples=6, draws=2)
    unit = HeadOracle(setup)
    with Store(tmp_path) as store:
        whole = compute(unit, store, model)
        store.delete(unit)
        older = whole.from_json({name: value for name, value in whole.to_json().items() if name != "gold"})
        store.put(unit, older)
        assert store.get(unit) == older
        assert not unit.is_whole(older)
        assert compute(unit, store, model) == whole
        assert store.get(unit) == whole
        with pytest.raises(StoreError, match="gold: of different shapes"):
            store.put(unit, older)
        assert store.get(unit) == whole


@pytest.mark.parametrize("reduction", [SIGNED, INTEGRATED])
def test_pruning_by_a_score_removes_the_lowest_first(tmp_path, reduction):
    model = small_model("opt")
    setup = setup_of(model, "antonym", 2, n_examples=4)
    unit = Pruning(setup, "heads", Ranking.by(setup.task, n_train=6, reduction=reduction))
    assert unit.needs() == [Attribution(setup.with_(n_examples=6))]
    with Store(tmp_path) as store:
        curve = compute(unit, store, model)
        scores = store.get(unit.needs()[0]).scores(reduction)
    assert curve.ablations[5] == str(Ablation(frozenset(stats.lowest(scores, 0.25))))
    assert Head(0, 0) in model.info.heads


def test_nothing_to_take_gradients_of_is_refused():
    with pytest.raises(BadInput, match="nothing to take gradients of"):
        attribution(small_model("opt"), [])
    with pytest.raises(BadInput, match="no other prompt to take"):
        resampled_oracle(small_model("opt"), FIXED[:1], [])


def test_progress_goes_once_over_every_gate():
    steps: list[tuple[int, int]] = []
    attribution(small_model("opt"), FIXED, lambda done, total: steps.append((done, total)), batch_tokens=1)
    assert steps == [(n, 30) for n in range(1, 31)]


def test_a_network_is_what_it_was_after_fitting():
    network = small_network("gpt2")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = prepare(network, small_model("gpt2").tokenizer, "fitted", "r", proven=False)
    optimal_constants(model, PROMPTS)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
