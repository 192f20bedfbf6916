"""Small random models, one or more for each row of the adapter table, scaled so that attention is sharp."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from backend.models.loading import LoadedModel, prepare
from backend.tasks.registry import get_task
from backend.values import Setup, TaskId

N_LAYERS, N_HEADS, D_MODEL, D_FFN, N_POSITIONS = 3, 4, 32, 48, 256
WINDOW = 6  # positions that a sliding window shows; shorter than every text of the tests

_PLAIN = {"hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS,
          "intermediate_size": D_FFN, "max_position_embeddings": N_POSITIONS}
_GPT = {"n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS, "n_positions": N_POSITIONS}
_OPT = {"hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS, "ffn_dim": D_FFN,
        "max_position_embeddings": N_POSITIONS}
_FALCON = {"hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS,
           "max_position_embeddings": N_POSITIONS}
_GROUPED = {"num_key_value_heads": 2}
_SOME_SLIDE = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": WINDOW}
_EXPERTS = {"num_experts_per_tok": 2, "router_jitter_noise": 0.0}

_LINEAR = {**_PLAIN, **_GROUPED, "head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
           "linear_key_head_dim": 8, "linear_value_head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2,
           "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24, "mlp_only_layers": [1]}

# name -> (model_type, its configuration). Every row of the adapter table is here, in each of its shapes.
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "opt": ("opt", {**_OPT, "word_embed_proj_dim": D_MODEL}),
    "opt, norm after, narrow embedding": ("opt", {**_OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 24}),
    "gpt2": ("gpt2", _GPT),
    "gpt_neo, every second layer slides": ("gpt_neo", {
        "hidden_size": D_MODEL, "num_layers": N_LAYERS + 1, "num_heads": N_HEADS, "intermediate_size": D_FFN,
        "max_position_embeddings": N_POSITIONS, "attention_types": [[["global", "local"], 2]], "window_size": WINDOW}),
    "gptj": ("gptj", {**_GPT, "rotary_dim": 4}),
    "gpt_neox, parallel": ("gpt_neox", {**_PLAIN, "use_parallel_residual": True}),
    "gpt_neox, one after the other": ("gpt_neox", {**_PLAIN, "use_parallel_residual": False}),
    "llama, grouped queries": ("llama", {**_PLAIN, **_GROUPED, "attention_bias": True}),
    "mistral, all layers slide": ("mistral", {**_PLAIN, **_GROUPED, "head_dim": 12, "sliding_window": WINDOW}),
    "qwen2": ("qwen2", {**_PLAIN, **_GROUPED}),
    "qwen2, some layers slide": ("qwen2", {**_PLAIN, **_GROUPED, **_SOME_SLIDE, "use_sliding_window": True}),
    "qwen3, wide heads": ("qwen3", {**_PLAIN, **_GROUPED, "head_dim": 16}),
    "gemma2": ("gemma2", {**_PLAIN, **_GROUPED, **_SOME_SLIDE, "head_dim": 16, "query_pre_attn_scalar": 16,
                          "attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0}),
    "gemma3": ("gemma3_text", {**_PLAIN, **_SOME_SLIDE, "num_key_value_heads": 1, "head_dim": 16,
                               "query_pre_attn_scalar": 16}),
    "gemma3n, four streams": ("gemma3n_text", {
        **_PLAIN, **_GROUPED, "num_hidden_layers": 6, "head_dim": 16, "sliding_window": WINDOW, "laurel_rank": 8,
        "layer_types": ["sliding_attention", "full_attention"] * 3, "num_kv_shared_layers": 2, "altup_num_inputs": 4,
        "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 300, "final_logit_softcapping": 4.0,
        "activation_sparsity_pattern": [0.5, 0.0, 0.5, 0.0, 0.0, 0.0]}),
    "phi3": ("phi3", {**_PLAIN, **_GROUPED, "sliding_window": WINDOW}),
    "olmo2": ("olmo2", {**_PLAIN, **_GROUPED}),
    "falcon, multi-query": ("falcon", {**_FALCON, "multi_query": True, "alibi": False, "bias": True}),
    "falcon, new decoder": ("falcon", {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon, alibi": ("falcon", {**_FALCON, "multi_query": False, "parallel_attn": False, "alibi": True}),
    "bloom": ("bloom", {"hidden_size": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS}),
    "stablelm": ("stablelm", {**_PLAIN, **_GROUPED}),
    "stablelm, parallel": ("stablelm", {**_PLAIN, "use_parallel_residual": True, "qk_layernorm": True,
                                        "num_key_value_heads": N_HEADS}),
    "mixtral": ("mixtral", {**_PLAIN, **_GROUPED, **_EXPERTS, "num_local_experts": 4}),
    "qwen2_moe, shared expert": ("qwen2_moe", {**_PLAIN, **_GROUPED, **_EXPERTS, "num_experts": 4,
                                               "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24}),
    "gemma": ("gemma", {**_PLAIN, "num_key_value_heads": 1, "head_dim": 16}),
    "phi": ("phi", {**_PLAIN, **_GROUPED, "partial_rotary_factor": 0.5}),
    "phi, norms of queries and keys": ("phi", {**_PLAIN, "qk_layernorm": True}),
    "phimoe": ("phimoe", {**_PLAIN, **_GROUPED, **_EXPERTS, "num_local_experts": 4, "sliding_window": WINDOW,
                          "attention_bias": True, "lm_head_bias": True, "input_jitter_noise": 0.0}),
    "smollm3": ("smollm3", {**_PLAIN, **_GROUPED, "no_rope_layers": [1, 1, 0]}),
    "smollm3, some layers slide": ("smollm3", {**_PLAIN, **_GROUPED, **_SOME_SLIDE, "use_sliding_window": True,
                                               "no_rope_layers": [1, 0, 1]}),
    "olmo": ("olmo", {**_PLAIN, **_GROUPED, "clip_qkv": 2.0}),
    "olmo3": ("olmo3", {**_PLAIN, **_GROUPED, **_SOME_SLIDE}),
    "olmoe": ("olmoe", {**_PLAIN, **_GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "clip_qkv": 2.0}),
    "qwen3_moe, some dense": ("qwen3_moe", {
        **_PLAIN, **_GROUPED, "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
        "mlp_only_layers": [1], "norm_topk_prob": True}),
    "qwen3_next": ("qwen3_next", {**_LINEAR, "num_hidden_layers": 5, "layer_types": [
        *["full_attention"] * 3, "linear_attention", "full_attention"]}),
    "qwen3_next, ends without heads": ("qwen3_next", {**_LINEAR, "num_hidden_layers": 4, "layer_types": [
        *["full_attention"] * 3, "linear_attention"]}),
    "gpt_oss": ("gpt_oss", {**_PLAIN, **_GROUPED, **_SOME_SLIDE, "head_dim": 16, "num_local_experts": 4,
                            "num_experts_per_tok": 2}),
    "llama4": ("llama4_text", {
        **_PLAIN, **_GROUPED, "head_dim": 16, "intermediate_size_mlp": D_FFN, "num_local_experts": 4,
        "num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "attention_chunk_size": WINDOW, "floor_scale": 4,
        "no_rope_layers": [1, 0, 1], "layer_types": ["chunked_attention", "full_attention", "chunked_attention"]}),
    "starcoder2": ("starcoder2", {**_PLAIN, **_GROUPED, "sliding_window": WINDOW}),
    "seed_oss": ("seed_oss", {**_PLAIN, **_GROUPED, "head_dim": 16, "attention_bias": True,
                              "attention_out_bias": True}),
    "ernie4_5": ("ernie4_5", {**_PLAIN, **_GROUPED, "head_dim": 16, "use_bias": True}),
    "hunyuan": ("hunyuan_v1_dense", {**_PLAIN, **_GROUPED, "head_dim": 16}),
    "nemotron": ("nemotron", {**_PLAIN, **_GROUPED, "head_dim": 8, "partial_rotary_factor": 0.5}),
    "glm4": ("glm4", {**_PLAIN, **_GROUPED, "head_dim": 16, "attention_bias": True, "partial_rotary_factor": 0.5}),
    "exaone4": ("exaone4", {**_PLAIN, **_GROUPED, **_SOME_SLIDE, "head_dim": 8}),
    "exaone4, no window": ("exaone4", {**_PLAIN, **_GROUPED, "head_dim": 8, "sliding_window": None,
                                       "layer_types": ["full_attention"] * N_LAYERS}),
    "apertus": ("apertus", {**_PLAIN, **_GROUPED}),
    "granite": ("granite", {**_PLAIN, **_GROUPED, "logits_scaling": 4.0, "residual_multiplier": 0.5,
                            "embedding_multiplier": 3.0, "attention_multiplier": 0.25, "attention_bias": True}),
    "cohere": ("cohere", {**_PLAIN, **_GROUPED, "logit_scale": 0.25, "use_qk_norm": True}),
    "cohere2": ("cohere2", {**_PLAIN, **_GROUPED, **_SOME_SLIDE, "head_dim": 8, "logit_scale": 0.25}),
    "mpt": ("mpt", {"d_model": D_MODEL, "n_heads": N_HEADS, "n_layers": N_LAYERS, "max_seq_len": N_POSITIONS}),
    "codegen": ("codegen", {**_GPT, "rotary_dim": 4, "n_ctx": N_POSITIONS}),
    "gpt_bigcode, multi-query": ("gpt_bigcode", {**_GPT, "multi_query": True}),
    "gpt_bigcode, own keys": ("gpt_bigcode", {**_GPT, "multi_query": False}),
    "deepseek_v3": ("deepseek_v3", {
        **_PLAIN, "num_key_value_heads": N_HEADS, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 4, "v_head_dim": 12, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2,
        "topk_group": 1, "moe_intermediate_size": 24, "first_k_dense_replace": 1}),
}
ARCHITECTURES = tuple(CONFIGS)
WHOLE = ("qwen3_next", "qwen3_next, ends without heads")  # read from their first token on, behind no cache

# One model of each way through the table's columns, the gates and the engine, and why it is here. What is the same
# arithmetic for many architectures is tried on these; what a wrong row would break, on all of `ARCHITECTURES`.
_WHY = {
    "opt": "an FFN of two modules, which reads (batch * pos, d_model)",
    "gpt2": "weights that lie the other way round, and keys, queries and values from one matrix",
    "gpt_neo, every second layer slides": "no trees, for its window goes by place in the row; blocks return tuples",
    "gpt_neox, parallel": "attention and FFN read the same residual stream",
    "bloom": "no trees, for alibi goes by place in the row; an FFN that adds the residual stream itself",
    "falcon, multi-query": "trees through blocks that return tuples and add attention to the FFN's output in place",
    "llama, grouped queries": "the plain case, of which most rows are copies: heads share keys, the FFN has a gate",
    "mistral, all layers slide": "one window for all layers, and heads of another width than d_model / n_heads",
    "gemma2": "a window in some layers, norms behind attention and FFN, caps on attention and on the logits",
    "olmo2": "a norm behind the FFN and no cap",
    "mixtral": "experts: a token's FFN is chosen by what it reads",
    "gpt_oss": "experts that return their router's scores beside their output, sinks in attention, windows",
    "llama4": "no trees, for its chunks go by place in the row; experts in some layers, an FFN in others",
    "deepseek_v3": "keys and values from one latent vector, values narrower than keys",
    "gemma3n, four streams": "four residual streams, layers that borrow keys and values of earlier ones",
    "qwen3_next": "heads in some layers only, and no cache, for the linear layers keep a state",
    "granite": "logits that are divided, branches that are scaled",
    "cohere2": "logits that are multiplied, parallel attention and FFN, windows",
}
FAMILIES = tuple(_WHY)

_TEXT = ("yes no true false Question: Answer: the cat sat on the mat. the dog ran to the man. "
         "red green blue one two three is a an of and ") * 4


@cache
def small_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE with a few merges, so that short words are one token and any text can be written."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([_TEXT], trainers.BpeTrainer(
        vocab_size=360, special_tokens=["<s>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def small_network(architecture: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random causal model of one of `ARCHITECTURES`, float32, with nothing of ours in it."""
    model_type, settings = CONFIGS[architecture]
    config = AutoConfig.for_model(model_type, **{
        **settings, "vocab_size": len(small_tokenizer()), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
        "tie_word_embeddings": False, **changes})
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # what the model draws by itself in one dimension (attention sinks) stays
        model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:  # norms stay about what they are, biases become something
                parameter.add_(0.2 * noise)
            elif any(word in name for word in ("emb", "wte", "wpe", "lm_head")):
                parameter.copy_(0.5 * noise)
            else:  # sharp enough that attention and FFNs matter
                parameter.copy_(1.5 * noise / D_MODEL ** 0.5)
    return model.eval()


def setup_of(model: LoadedModel, task: str, n_shots: int, **more: Any) -> Setup:
    """A task as its rows are here, asked of a model."""
    return Setup(model.id, TaskId(task, get_task(task).fingerprint), n_shots, **more)


@cache
def small_model(architecture: str, seed: int = 0) -> LoadedModel:
    """The same, made ready. Shared by all tests: it holds no mask."""
    return prepare(small_network(architecture, seed), small_tokenizer(), architecture, "0" * 12)
