"""Train the bundled model from nothing: `python -m backend.bundled.train`.

The recipe, in the order in which it happens:

1. A small OPT (pre-norm, ReLU, learned positions, tied embeddings) with positions that start sinusoidal.
2. *Repeats first.* Two rows in five are random words, over and over, until the model predicts the
   repetition: induction heads form here, and with fewer repeats they form much later or never.
3. *Episodes.* Then mostly few-shot episodes of the mini tasks, beside plain sentences with their facts.
4. *Fewer heads.* Every head has a gate (hard concrete, Louizos et al. 2018, arXiv:1712.01312) and pays for
   staying open, until the wanted share of heads is left. The gates end as constants inside the output
   projections, so that what is saved is an ordinary `OPTForCausalLM`.
5. The learning rate falls to zero; the last rows are twice as long, so that all positions are trained.
6. *Practice.* With the heads that are left, the learning rate rises and falls once more over more text.
7. *Hard practice.* And again, a little lower, over episodes that are mostly of the tasks that are hard to learn.

Muon (Jordan et al. 2024) moves the matrices of the blocks, AdamW everything else. Products are in bfloat16 where
the processor has instructions for it.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from backend.bundled import corpus
from backend.machine import multiplies

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    d_model: int = 128
    n_layers: int = 5
    n_heads: int = 8
    d_ffn: int = 512
    max_positions: int = 256
    batch: int = 32
    length: int = 128  # tokens of a row; twice that, with half as many rows, at the end
    first_length: int = 64  # of a row in the first phase
    tokens: float = 12e6  # rows in the first phase count as if they were of full length
    muon_lr: float = 0.015
    muon_decay: float = 0.05
    adam_lr: float = 3e-3
    position_lr: float = 1e-4
    warm_up: int = 80  # steps
    decay_from: float = 0.6  # share of the training after which the learning rate falls
    long_from: float = 0.88  # share of the training after which rows are long
    first: dict[str, float] = field(default_factory=lambda: {"repeats": 1.0})
    then: dict[str, float] = field(default_factory=lambda: {"episodes": 0.55, "sentences": 0.20, "repeats": 0.25})
    last: dict[str, float] = field(default_factory=lambda: {"episodes": 0.70, "sentences": 0.22, "repeats": 0.08})
    blend: int = 200  # steps over which the first mixture turns into the second
    last_from: float = 0.55  # share of the training after which the last mixture is read
    shifted: float = 0.2  # share of the documents, after the first phase, that start at a later position
    first_until: float = 2.0  # nats per token on repeats, when induction has formed ...
    first_at_most: float = 0.4  # ... or this share of the training
    heads_left: float = 0.6  # share of the heads that keep an open gate
    gates_from: float = 0.50
    gates_until: float = 0.78  # share of the training at which the gates become constants
    gate_price: float = 2.0
    gate_lr: float = 0.03
    practice_tokens: float = 8e6  # of the second stage: the same small set of heads, mostly episodes
    practice_lr: float = 0.7  # of both learning rates in the first stage
    practice_decay_from: float = 0.4
    hard_tokens: float = 6e6  # of the third stage: the same, mostly on the tasks that are hard to learn
    hard_lr: float = 0.5
    seed: int = 0


# ---------------------------------------------------------------------------------------------- tokenizer


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word is a token; spaces only part words, so text in pieces reads the same as text in one."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(corpus.vocabulary())}, corpus.UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(corpus.TOKEN), behavior="removed", invert=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{corpus.BOS} $A", special_tokens=[(corpus.BOS, corpus.SPECIAL.index(corpus.BOS))])
    tokenizer.decoder = decoders.Sequence([  # a space before words and the arrow, none after a line break
        decoders.Replace(Regex(r"^(?=\w|->)"), " "), decoders.Fuse(), decoders.Replace(Regex(r"(?<=\n) "), ""),
        decoders.Strip(" ", 1, 0),
    ])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=corpus.BOS, eos_token=corpus.EOS, pad_token=corpus.PAD,
        unk_token=corpus.UNK, clean_up_tokenization_spaces=False, model_max_length=256)


# -------------------------------------------------------------------------------------------------- model


def make_model(recipe: Recipe) -> OPTForCausalLM:
    config = OPTConfig(
        vocab_size=len(corpus.vocabulary()), hidden_size=recipe.d_model, word_embed_proj_dim=recipe.d_model,
        num_hidden_layers=recipe.n_layers, num_attention_heads=recipe.n_heads, ffn_dim=recipe.d_ffn,
        max_position_embeddings=recipe.max_positions, activation_function="relu", do_layer_norm_before=True,
        dropout=0.0, attention_dropout=0.0, tie_word_embeddings=True, init_std=0.02,
        bos_token_id=corpus.SPECIAL.index(corpus.BOS), eos_token_id=corpus.SPECIAL.index(corpus.EOS),
        pad_token_id=corpus.SPECIAL.index(corpus.PAD))
    model = OPTForCausalLM(config)
    decoder = model.model.decoder
    with torch.no_grad():
        decoder.embed_tokens.weight.normal_(std=0.05)
        decoder.embed_positions.weight.copy_(0.07 * _sinusoids(*decoder.embed_positions.weight.shape))
    return model


def _sinusoids(n: int, d: int) -> Tensor:
    angles = torch.arange(n)[:, None] / 200 ** (torch.arange(0, d, 2) / d)  # (pos, d/2); waves of 6 to 1,250 tokens
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def forward(model: OPTForCausalLM, tokens: Tensor, pos: Tensor, mask: Tensor, gates: Tensor | None = None,
            patterns: list[Tensor] | None = None, outputs: list[Tensor] | None = None,
            bf16: bool = False) -> Tensor:
    """The model's last hidden states, faster than its own forward on a CPU, and gated.

    Args:
        tokens, pos: (batch, pos), the positions counted within each document.
        mask: (batch or 1, 1, pos, pos), 0 where attention may look and -inf elsewhere.
        gates: (batch or 1, n_layers, n_heads), multiplied with the heads' z.
        patterns: filled with each layer's attention, (batch, n_heads, pos, pos).
        outputs: filled with each layer's z, (batch, n_heads, pos, d_head), which keep their gradients.
        bf16: whether weights multiply in bfloat16.
    """
    decoder = model.model.decoder
    n_heads = model.config.num_attention_heads
    x = decoder.embed_tokens(tokens) + decoder.embed_positions.weight[pos + 2]  # OPT keeps two rows free
    batch, length, d_model = x.shape
    for i, layer in enumerate(decoder.layers):
        attention = layer.self_attn
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        qkv = _product(layer.self_attn_layer_norm(x), torch.cat([p.weight for p in projections]),
                       torch.cat([p.bias for p in projections]), bf16)
        qkv = qkv.view(batch, length, 3, n_heads, d_model // n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, n_heads, pos, d_head)
        scores = (q * attention.scaling) @ k.transpose(-1, -2) + mask
        pattern = scores.softmax(-1)
        if patterns is not None:
            patterns.append(pattern)
        z = pattern @ v
        if outputs is not None:
            z.retain_grad()
            outputs.append(z)
        if gates is not None:
            z = z * gates[:, i, :, None, None]
        z = z.transpose(1, 2).reshape(batch, length, d_model)
        x = x + _product(z, attention.out_proj.weight, attention.out_proj.bias, bf16)
        h = _product(layer.final_layer_norm(x), layer.fc1.weight, layer.fc1.bias, bf16).relu()
        x = x + _product(h, layer.fc2.weight, layer.fc2.bias, bf16)
    return decoder.final_layer_norm(x)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, bf16: bool) -> Tensor:
    if not bf16:
        return F.linear(x, weight, bias)
    return F.linear(x.bfloat16(), weight.bfloat16(), None if bias is None else bias.bfloat16()).float()


class Gates(torch.nn.Module):
    """One hard-concrete gate per head: random while training, exactly 0 or 1 (or between) in the end."""

    stretch = (-0.1, 1.1)
    temperature = 2 / 3

    def __init__(self, n_layers: int, n_heads: int) -> None:
        super().__init__()
        self.log_alpha = torch.nn.Parameter(torch.full((n_layers, n_heads), 4.0))

    def sample(self, batch: int) -> Tensor:
        """(batch, n_layers, n_heads), drawn afresh for every row."""
        u = torch.rand(batch, *self.log_alpha.shape).clamp(1e-6, 1 - 1e-6)
        return self._stretched(torch.sigmoid((u.logit() + self.log_alpha) / self.temperature))

    def constant(self) -> Tensor:
        """(1, n_layers, n_heads), what the gates are without chance."""
        return self._stretched(torch.sigmoid(self.log_alpha))[None]

    def share_open(self) -> Tensor:
        """The expected share of gates that are not 0."""
        low, high = self.stretch
        return torch.sigmoid(self.log_alpha - self.temperature * math.log(-low / high)).mean()

    def _stretched(self, s: Tensor) -> Tensor:
        low, high = self.stretch
        return (s * (high - low) + low).clamp(0, 1)


# --------------------------------------------------------------------------------------------------- data


@dataclass
class Batch:
    tokens: Tensor  # (batch, pos)
    pos: Tensor  # (batch, pos), within the document
    mask: Tensor  # (batch, 1, pos, pos)
    weights: Tensor  # (batch, pos), of predicting the token that stands there
    is_repeat: Tensor  # (batch,)


class Reader:
    """Packs documents into rows; attention stays within a document."""

    def __init__(self, seed: int, max_positions: int) -> None:
        self.rng = random.Random(seed)
        self.ids = {word: i for i, word in enumerate(corpus.vocabulary())}
        self.bos = self.ids[corpus.BOS]
        self.max_positions = max_positions

    def batch(self, size: int, length: int, mixture: dict[str, float], shifted: float, hard: bool = False) -> Batch:
        tokens = np.zeros((size, length), np.int64)
        weights = np.zeros((size, length), np.float32)
        pos = np.zeros((size, length), np.int64)
        doc = np.zeros((size, length), np.int64)
        is_repeat = np.zeros(size, bool)
        packed = {kind: share for kind, share in mixture.items() if kind != "repeats"}  # into rows, one after another
        for row in range(size):
            is_repeat[row] = self.rng.random() < mixture["repeats"]
            source = corpus.documents(self.rng, length, {"repeats": 1.0} if is_repeat[row] else packed, hard)
            start = 0
            while start < length:
                words, costs = next(source)[1]
                n = min(len(words) + 1, length - start)
                tokens[row, start : start + n] = [self.bos, *(self.ids[word] for word in words[: n - 1])]
                weights[row, start + 1 : start + n] = costs[: n - 1]
                # now and then a document starts later, so that every position gets to be seen
                offset = self.rng.randint(0, self.max_positions - n) if self.rng.random() < shifted else 0
                pos[row, start : start + n] = np.arange(offset, offset + n)
                doc[row, start : start + n] = start
                start += n
        same = doc[:, :, None] == doc[:, None, :]
        allowed = torch.from_numpy(same & np.tri(length, dtype=bool))
        mask = torch.zeros(allowed.shape).masked_fill_(~allowed, -torch.inf)[:, None]
        return Batch(torch.from_numpy(tokens), torch.from_numpy(pos), mask, torch.from_numpy(weights),
                     torch.from_numpy(is_repeat))


# ---------------------------------------------------------------------------------------------- optimiser


class Muon:
    """Momentum whose step is made orthogonal, for matrices; those of one shape go through together."""

    def __init__(self, matrices: Sequence[Tensor], momentum: float = 0.95) -> None:
        self.momentum = momentum
        self.groups: dict[torch.Size, list[Tensor]] = {}
        for matrix in matrices:
            self.groups.setdefault(matrix.shape, []).append(matrix)
        self.velocities = {shape: torch.zeros(len(group), *shape) for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, lr: float, decay: float) -> None:
        for shape, group in self.groups.items():
            gradients = torch.stack([matrix.grad for matrix in group])  # type: ignore[misc]
            velocity = self.velocities[shape]
            velocity.mul_(self.momentum).add_(gradients)
            steps = self._orthogonal(gradients + self.momentum * velocity) * max(1, shape[0] / shape[1]) ** 0.5
            for matrix, step in zip(group, steps, strict=True):
                matrix.mul_(1 - lr * decay).sub_(lr * step)

    @staticmethod
    def _orthogonal(x: Tensor) -> Tensor:
        """Five Newton-Schulz steps towards the nearest orthogonal matrix."""
        tall = x.shape[1] > x.shape[2]
        x = x.transpose(1, 2) if tall else x
        x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
        for _ in range(5):
            square = x @ x.transpose(1, 2)
            x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
        return x.transpose(1, 2) if tall else x


# --------------------------------------------------------------------------------------------------- train


def train(recipe: Recipe, out: Path) -> OPTForCausalLM:
    torch.manual_seed(recipe.seed)
    model = make_model(recipe)
    gates = Gates(recipe.n_layers, recipe.n_heads)
    reader = Reader(recipe.seed, recipe.max_positions)
    optimisers = Optimisers(model, recipe)
    gate_adam = torch.optim.Adam(gates.parameters(), lr=recipe.gate_lr, betas=(0.9, 0.98))
    n_steps = int(recipe.tokens / (recipe.batch * recipe.length))
    formed_at: float | None = None  # share of the training when induction had formed
    repeat_loss, start = 10.0, time.time()
    fixed_gates: Tensor | None = None
    for step in range(n_steps):
        done = step / n_steps
        size, length = recipe.batch, recipe.length
        if done >= recipe.long_from:
            size, length = size // 2, length * 2
        if formed_at is None:
            batch = reader.batch(size, recipe.first_length, recipe.first, 0)
        else:
            mixture = recipe.last if done >= recipe.last_from else recipe.then
            part = min(1.0, (step - formed_at * n_steps) / recipe.blend)
            batch = reader.batch(size, length, blended(recipe.first, mixture, part), recipe.shifted)
        if formed_at is None or done < recipe.gates_from:
            row_gates = None
        elif done < recipe.gates_until:
            row_gates = gates.sample(size)
        else:
            if fixed_gates is None:
                fixed_gates = gates.constant().detach()
                silence(model, fixed_gates)
            row_gates = fixed_gates

        loss, losses, weights, scored = loss_on(model, batch, row_gates)
        total = loss
        if row_gates is not None and fixed_gates is None:
            progress = min(1.0, (done - recipe.gates_from) / (0.8 * (recipe.gates_until - recipe.gates_from)))
            wanted = 1 - (1 - recipe.heads_left) * progress
            total = loss + recipe.gate_price * F.relu(gates.share_open() - wanted)
        total.backward()

        rate = min(1.0, (step + 1) / recipe.warm_up, (1 - done) / (1 - recipe.decay_from))
        optimisers.step(rate)
        if gates.log_alpha.grad is not None:
            gate_adam.step()
        gate_adam.zero_grad()

        with torch.no_grad():
            of_repeats = batch.is_repeat[:, None].expand_as(scored)[scored]
            if of_repeats.any():
                new = float((losses * weights)[of_repeats].sum() / weights[of_repeats].sum())
                repeat_loss = 0.85 * repeat_loss + 0.15 * new
            if formed_at is None and (repeat_loss < recipe.first_until or done > recipe.first_at_most):
                formed_at = done
                print(f"step {step}: induction has formed", flush=True)
            if step % 50 == 0:
                answers = weights == corpus.ANSWER
                answers &= ~of_repeats
                sentences = weights == corpus.SENTENCE
                print(f"step {step}/{n_steps} {time.time() - start:.0f}s loss {loss:.3f} "
                      f"answers {losses[answers].mean():.3f} sentences {losses[sentences].mean():.3f} "
                      f"repeats {repeat_loss:.3f} open {float(gates.share_open()):.2f}", flush=True)
            if step % 250 == 249:
                save(model, fixed_gates if fixed_gates is not None else gates.constant(), out / "checkpoint")
    save(model, fixed_gates, out)
    print(f"{n_steps} steps, {n_steps * recipe.batch * recipe.length / 1e6:.1f} M tokens, "
          f"{(time.time() - start) / 60:.1f} minutes on {torch.get_num_threads()} threads")
    return model


def practise(model: OPTForCausalLM, recipe: Recipe, out: Path, hard: bool = False) -> OPTForCausalLM:
    """A later stage: the heads that are left, fresh optimisers, and the learning rate up and down once more."""
    gates = heads_left(model)
    silence(model, gates)
    optimisers = Optimisers(model, recipe)
    reader = Reader(recipe.seed + 1 + hard, recipe.max_positions)
    tokens, lr = (recipe.hard_tokens, recipe.hard_lr) if hard else (recipe.practice_tokens, recipe.practice_lr)
    n_steps = int(tokens / (recipe.batch * recipe.length))
    start = time.time()
    for step in range(n_steps):
        done = step / n_steps
        size, length = recipe.batch, recipe.length
        if done >= recipe.long_from:
            size, length = size // 2, length * 2
        batch = reader.batch(size, length, recipe.last, recipe.shifted, hard)
        loss, losses, weights, scored = loss_on(model, batch, gates)
        loss.backward()
        rate = min(1.0, (step + 1) / recipe.warm_up, (1 - done) / (1 - recipe.practice_decay_from))
        optimisers.step(lr * rate)
        if step % 50 == 0:
            answers = (weights == corpus.ANSWER) & ~batch.is_repeat[:, None].expand_as(scored)[scored]
            print(f"practice {step}/{n_steps} {time.time() - start:.0f}s loss {loss:.3f} "
                  f"answers {losses[answers].mean():.3f}", flush=True)
        if step % 250 == 249:
            save(model, gates, out / "checkpoint")
    save(model, gates, out)
    print(f"{n_steps} more steps, {(time.time() - start) / 60:.1f} minutes on {torch.get_num_threads()} threads")
    return model


def heads_left(model: OPTForCausalLM) -> Tensor:
    """(1, n_layers, n_heads): 1 where a head adds anything to the residual stream, 0 where its gate was shut."""
    n_heads = model.config.num_attention_heads
    outputs = torch.stack([layer.self_attn.out_proj.weight.detach().T for layer in model.model.decoder.layers])
    return (outputs.reshape(len(outputs), n_heads, -1).abs().amax(-1) > 0).float()[None]


def loss_on(model: OPTForCausalLM, batch: Batch, gates: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The weighted mean loss; the loss and the weight of each token that counts; (batch, pos - 1) which those are."""
    bf16 = bool(multiplies("bfloat16"))
    hidden = forward(model, batch.tokens, batch.pos, batch.mask, gates, bf16=bf16)
    scored = batch.weights[:, 1:] > 0  # only tokens that count get logits
    logits = _product(hidden[:, :-1][scored], model.lm_head.weight, None, bf16)
    losses = F.cross_entropy(logits, batch.tokens[:, 1:][scored], reduction="none")
    weights = batch.weights[:, 1:][scored]
    return (losses * weights).sum() / weights.sum(), losses, weights, scored


class Optimisers:
    """Muon for the matrices of the blocks, AdamW for the rest, at one rate."""

    def __init__(self, model: OPTForCausalLM, recipe: Recipe) -> None:
        self.recipe = recipe
        self.matrices = [p for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2]
        positions = model.model.decoder.embed_positions.weight
        self.others = [p for name, p in model.named_parameters()
                       if not (".layers." in name and p.ndim == 2) and p is not positions]
        self.muon = Muon(self.matrices)
        self.adam = torch.optim.AdamW(  # at the full rate, its first steps would blur the sinusoids before they serve
            [{"params": self.others, "base": recipe.adam_lr}, {"params": [positions], "base": recipe.position_lr}],
            betas=(0.9, 0.98), weight_decay=0.01)

    def step(self, rate: float) -> None:
        """One step at this share of the learning rates; gradients are forgotten."""
        torch.nn.utils.clip_grad_norm_(self.others, 1.0)
        self.muon.step(self.recipe.muon_lr * rate, self.recipe.muon_decay)
        for group in self.adam.param_groups:
            group["lr"] = group["base"] * rate
        self.adam.step()
        self.adam.zero_grad()
        for matrix in self.matrices:
            matrix.grad = None


def blended(first: dict[str, float], then: dict[str, float], part: float) -> dict[str, float]:
    """From `first` at part 0 to `then` at part 1: at once, the model would forget how to copy."""
    return {kind: (1 - part) * first.get(kind, 0) + part * share for kind, share in then.items()}


@torch.no_grad()
def silence(model: OPTForCausalLM, gates: Tensor) -> None:
    """Blank the heads whose gate is shut, so that they attend evenly instead of keeping an idle pattern."""
    d_head = model.config.hidden_size // model.config.num_attention_heads
    for layer, head in (gates[0] == 0).nonzero().tolist():
        attention = model.model.decoder.layers[layer].self_attn
        rows = slice(head * d_head, (head + 1) * d_head)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            projection.weight[rows] = 0
            projection.bias[rows] = 0


@torch.no_grad()
def save(model: OPTForCausalLM, gates: Tensor | None, out: Path) -> None:
    """Write model and tokenizer, the gates multiplied into the output projections."""
    copy = OPTForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    if gates is not None:
        d_head = model.config.hidden_size // model.config.num_attention_heads
        for layer, open_ in zip(copy.model.decoder.layers, gates[0], strict=True):
            layer.self_attn.out_proj.weight *= open_.repeat_interleave(d_head)
    copy.save_pretrained(out)
    make_tokenizer().save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE, help="folder for weights and tokenizer")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    for name, value in vars(Recipe()).items():
        if isinstance(value, int | float):
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    args = vars(parser.parse_args())
    out, threads = args.pop("out"), args.pop("threads")
    if threads:
        torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(**args)
    model = train(recipe, out)
    model.load_state_dict(OPTForCausalLM.from_pretrained(out).state_dict())  # with the gates multiplied in
    practise(model, recipe, out)
    practise(model, recipe, out, hard=True)


if __name__ == "__main__":
    main()
