"""What is found out when a model is loaded: that the engine says what the model itself says, or that it does not."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from backend.engine.proof import prove
from backend.errors import ModelError
from backend.models import loading
from backend.models.adapters import ADAPTERS, Adapter
from backend.models.loading import LoadedModel, prepare
from tests.models.small import ARCHITECTURES, small_model, small_network, small_tokenizer

LLAMA = ADAPTERS["llama"]


def ready(architecture: str, adapter: Adapter | None = None, dtype: str = "float32", **changes) -> LoadedModel:
    return prepare(small_network(architecture, **changes), small_tokenizer(), architecture, "", dtype, adapter=adapter)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_row_is_proven_and_the_weights_are_left_as_they_were(architecture):
    model, untouched = small_model(architecture), small_network(architecture)
    found = prove(model)
    assert found.startswith("log-likelihoods of a short text are within ")
    assert float(found.split()[7]) < 1e-3
    assert all(torch.equal(a, b) for a, b in zip(model.model.parameters(), untouched.parameters(), strict=True))
    assert len(model.ffns[-1]._forward_hooks) == 1  # our own


@pytest.mark.parametrize(("architecture", "said"), [
    ("granite", "logits_scaling = 4.0"), ("cohere", "logit_scale = 0.25"), ("cohere2", "logit_scale = 0.25")])
def test_a_plain_row_for_a_model_that_scales_its_logits_is_refused_with_what_its_config_says(architecture, said):
    with pytest.raises(ModelError, match=rf"is refused: .* nats per option .* in float32, where rounding explains 0.01"
                                         rf".*logits_times.*\(its config says .*{said}") as refusal:
        ready(architecture, LLAMA)
    assert float(str(refusal.value).split(" nats")[0].split()[-1]) > 0.5


def test_a_row_without_the_cap_on_the_logits_is_refused():
    with pytest.raises(ModelError, match=r"\(its config says final_logit_softcapping = 4.0\)"):
        ready("gemma2", replace(ADAPTERS["gemma2"], softcap=None))


def test_a_row_that_promises_trees_for_a_model_that_cuts_its_window_out_by_place_is_refused():
    with pytest.raises(ModelError, match=r"a mask that the model does not take \(trees=False\)"):
        ready("gpt_neo, every second layer slides", replace(ADAPTERS["gpt_neo"], trees=True))


def test_a_model_that_reads_what_comes_later_is_refused_even_if_its_name_does_not_tell(monkeypatch):
    monkeypatch.setattr(loading, "refusal", lambda config, name: None)
    with pytest.raises(ModelError, match="attention to later tokens"):
        ready("gemma3", use_bidirectional_attention=True)


class _Unheard(nn.Linear):
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward(x)  # past every hook


def test_a_model_whose_projection_no_gate_can_hold_is_refused_with_what_was_off():
    network = small_network("llama, grouped queries")
    network.model.layers[1].self_attn.o_proj.__class__ = _Unheard
    with pytest.raises(ModelError, match=r"with L1H3,F2 off, and not with nothing off.* past the module"):
        prepare(network, small_tokenizer(), "unheard", "")


def test_a_model_that_breaks_in_the_engine_is_refused_in_a_sentence(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("backend.engine.passes.score", broken)
    with pytest.raises(ModelError, match=r"does not go through the engine: RuntimeError: shapes do not fit\. Either"):
        ready("opt")


@pytest.mark.parametrize(("dtype", "advice"), [
    ("float32", r"in float32: its weights hold some that are none, in "),
    ("bfloat16", r"in bfloat16: its weights hold some that are none, in "),
    ("float16", r"in float16: its weights hold some that are none, in .* Use bfloat16")])
def test_weights_that_are_no_numbers_are_refused_in_words_that_fit_the_precision(dtype, advice):
    network = small_network("opt").to(getattr(torch, dtype))
    with torch.no_grad():
        network.model.decoder.layers[1].fc2.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match=advice):
        prepare(network, small_tokenizer(), "broken", "", dtype)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_wrong_scale_is_found_in_half_precision_too(dtype):
    network = small_network("granite").to(getattr(torch, dtype))
    with pytest.raises(ModelError, match=f"in {dtype}, where rounding explains"):
        prepare(network, small_tokenizer(), "granite", "", dtype, adapter=LLAMA)


def test_offloaded_weights_are_compared_intact_alone_and_it_is_said():
    from accelerate import cpu_offload

    network = small_network("llama, grouped queries")
    for module in (*network.model.layers, network.lm_head):  # the embedding stays where token ids go
        cpu_offload(module, execution_device=torch.device("cpu"))
    model = prepare(network, small_tokenizer(), "offloaded", "")
    assert model.attn_outs[0].weight.is_meta
    assert model.proof.endswith("(its weights are offloaded, so nothing was switched off by hand)")
    with pytest.raises(ModelError, match="rounding explains"):
        prepare(network, small_tokenizer(), "offloaded", "", adapter=replace(LLAMA, logits_times="rms_norm_eps"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("architecture", ["phimoe", "qwen2", "gemma", "olmo"])
def test_rounding_and_an_expert_more_or_less_refuse_no_model(architecture, dtype):
    network = small_network(architecture).to(getattr(torch, dtype))
    assert prepare(network, small_tokenizer(), architecture, "", dtype).proof
