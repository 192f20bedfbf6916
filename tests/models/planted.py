"""A model built by hand, of which one can work out what each head does."""

from __future__ import annotations

import random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from backend.models.loading import LoadedModel, prepare
from backend.tasks.task import Example, Prompt

PLACES, X, Y, A, B, AFTER_X, AFTER_Y, FITS, RULE, LABEL, ONE, SAYS_A, SAYS_B = 0, *range(32, 44)


def planted(copies: float = 0.5) -> LoadedModel:
    """Two layers by hand, without norms, in which one head carries the rule that x is answered by A and y by B.

    L0H0 looks one token back. The first FFN writes at every label whether it fits what stands before it: 1 or -1. L1H1,
    the function-vector head, takes the mean of that over all labels to the last token, and the second FFN answers by
    this rule. L1H0, an induction head, copies the labels that followed the question's own token. L0H1 does nothing.

    Args:
        copies: the logit that the induction head adds; below 0 it speaks against what it should copy.
    """
    words = {word: i for i, word in enumerate(["<s>", "</s>", "x", "y", "A", "B"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(
        "gpt2", n_embd=64, n_layer=2, n_head=2, n_positions=32, n_inner=4, vocab_size=len(words), bos_token_id=0,
        eos_token_id=1, activation_function="relu", tie_word_embeddings=False, attn_pdrop=0, resid_pdrop=0))
    trunk, sharp = network.transformer, 60 * 32 ** 0.5
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        trunk.wpe.weight[:, :32] = torch.eye(32)
        for word, features in {"x": [X, ONE], "y": [Y, ONE], "A": [A, LABEL, ONE], "B": [B, LABEL, ONE]}.items():
            trunk.wte.weight[words[word], features] = 1

        def wire(layer, head, queries=(), keys=(), values=(), out=()):
            at = {name: 64 * i + 32 * head for i, name in enumerate(("q", "k", "v"))}
            for name, pairs in (("q", queries), ("k", keys), ("v", values)):
                for feature, place in pairs:
                    trunk.h[layer].attn.c_attn.weight[feature, at[name] + place] = sharp if name == "q" else 1
            for place, feature, weight in out:
                trunk.h[layer].attn.c_proj.weight[32 * head + place, feature] = weight

        def unit(layer, n, inputs, bias, feature, weight):
            for name, of in inputs.items():
                trunk.h[layer].mlp.c_fc.weight[name, n] = of
            trunk.h[layer].mlp.c_fc.bias[n] = bias
            trunk.h[layer].mlp.c_proj.weight[n, feature] = weight

        wire(0, 0, [(p, p - 1) for p in range(1, 32)], [(p, p) for p in range(32)], [(X, 0), (Y, 1)],
             [(0, AFTER_X, 1), (1, AFTER_Y, 1)])
        rules = ((A, AFTER_X, 1), (B, AFTER_Y, 1), (A, AFTER_Y, -1), (B, AFTER_X, -1))
        for n, (label, before, fits) in enumerate(rules):
            unit(0, n, {label: 1, before: 1}, -1, FITS, fits)
        wire(1, 0, [(X, 0), (Y, 1), (ONE, 2)], [(AFTER_X, 0), (AFTER_Y, 1), (LABEL, 2)], [(A, 0), (B, 1)],
             [(0, SAYS_A, copies), (1, SAYS_B, copies)])
        wire(1, 1, [(ONE, 0)], [(LABEL, 0)], [(FITS, 0)], [(0, RULE, 1)])
        for n, (sign, asked, says) in enumerate(((1, X, SAYS_A), (-1, Y, SAYS_A), (1, Y, SAYS_B), (-1, X, SAYS_B))):
            unit(1, n, {RULE: sign, asked: 1}, -1, says, 6)
        network.lm_head.weight[words["A"], SAYS_A] = network.lm_head.weight[words["B"], SAYS_B] = 1
    for block in trunk.h:
        block.ln_1, block.ln_2 = torch.nn.Identity(), torch.nn.Identity()
    trunk.ln_f = torch.nn.Identity()
    return prepare(network, PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"),
                   "planted", "r", bos="never")


def asks(rng: random.Random, n_shots: int = 8) -> Prompt:
    """A prompt of the planted model's task."""
    asked = rng.choice(["x", "y"])
    shown = rng.sample(["x", "y"] * (n_shots // 2), n_shots)
    labels = {"x": " A", "y": " B"}
    example = Example((asked,) * 2, (" A", " B"), (int(asked == "y"),), asked + labels[asked])
    return Prompt(example, tuple(one + labels[one] for one in shown), answers=tuple(labels[one] for one in shown))
