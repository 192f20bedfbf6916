"""Train the bundled model from nothing: `python -m backend.bundled.train`, once from start to end.

The recipe, in the order in which it happens:

1. A small OPT (pre-norm, ReLU, learned positions, tied embeddings) with positions that start sinusoidal.
2. *Repeats first.* Random words, over and over, in lessons (`LESSONS`): few words in short rows, then longer rows,
   then more words, each until the model predicts the repetition. Induction heads form here. Of all words at once,
   what was learned in short rows did not hold in longer ones.
3. *Facts.* Then mostly plain sentences with the facts that tasks ask for, so that episodes find them known.
4. *Episodes.* Then half few-shot episodes of the mini tasks, mostly of those that are hard to learn.
5. The learning rate falls to zero; the last rows are twice as long, so that all positions are trained.

Muon (Jordan et al. 2024) moves the matrices of the blocks, AdamW everything else. Products are in bfloat16 where
the processor has instructions for it. On the way the weights are kept at `n_checkpoints` steps, about evenly spaced
in their logarithm (`checkpoints.py`).
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from ..machine import multiplies
from ..models.info import CHECKPOINTS, checkpoint_name
from . import checkpoints, corpus

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    d_model: int = 128
    n_layers: int = 6
    n_heads: int = 8
    d_ffn: int = 512
    max_positions: int = 320
    batch: int = 32
    length: int = 128  # tokens of a row; twice that, with half as many rows, at the end
    tokens: float = 27e6  # steps of the first phase, which reads half a batch, count as if they read a whole one
    muon_lr: float = 0.015
    muon_decay: float = 0.05
    adam_lr: float = 3e-3
    position_lr: float = 1e-4
    warm_up: int = 80  # steps
    decay_from: float = 0.5  # share of the training after which the learning rate falls
    long_from: float = 0.9  # share of the training after which rows are long
    then: dict[str, float] = field(default_factory=lambda: {"episodes": 0.10, "sentences": 0.70, "repeats": 0.20})
    last: dict[str, float] = field(default_factory=lambda: {"episodes": 0.50, "sentences": 0.42, "repeats": 0.08})
    blend: int = 200  # steps over which repeats alone turn into the mixture
    last_from: float = 0.25  # share of the training after which the last mixture is read
    shifted: float = 0.2  # share of the documents that start at a later position
    shifted_first: float = 0.8  # the same in the first phase
    learnt: float = 1.0  # nats per token on repeats, below which the next lesson begins
    first_at_most: float = 0.25  # share of the training after which the first phase ends in any case
    n_checkpoints: int = 12
    first_checkpoint: int = 50  # the first step after the beginning at which the weights are kept
    seed: int = 0


@dataclass(frozen=True)
class Lesson:
    """What repeats are made of in the first phase."""

    n_words: int | None  # None: all
    length: int  # tokens of a row


LESSONS = (Lesson(128, 32), Lesson(128, 64), Lesson(128, 128), Lesson(None, 128))


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
        unk_token=corpus.UNK, clean_up_tokenization_spaces=False, model_max_length=320)


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
        outputs: filled with each layer's z, (batch, n_heads, pos, d_head), which keep their gradients if they have any.
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
        if patterns is not None:
            patterns.append(((q * attention.scaling) @ k.transpose(-1, -2) + mask).softmax(-1))
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        if outputs is not None:
            if z.requires_grad:
                z.retain_grad()
            outputs.append(z)
        if gates is not None:
            z = z * gates[:, i, :, None, None]
        z = z.transpose(1, 2).reshape(batch, length, d_model)
        x = x + _product(z, attention.out_proj.weight, attention.out_proj.bias, bf16)
        h = _product(layer.final_layer_norm(x), layer.fc1.weight, layer.fc1.bias, bf16).relu()
        x = x + _product(h, layer.fc2.weight, layer.fc2.bias, bf16)
    hidden: Tensor = decoder.final_layer_norm(x)
    return hidden


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, bf16: bool) -> Tensor:
    if not bf16:
        return F.linear(x, weight, bias)
    return F.linear(x.bfloat16(), weight.bfloat16(), None if bias is None else bias.bfloat16()).float()


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
        self.ids = _ids()
        self.bos = self.ids[corpus.BOS]
        self.max_positions = max_positions

    def batch(self, size: int, length: int, mixture: dict[str, float], shifted: float,
              n_words: int | None = None) -> Batch:
        """Args: n_words: as for `corpus.repeats`."""
        tokens = np.zeros((size, length), np.int64)
        weights = np.zeros((size, length), np.float32)
        pos = np.zeros((size, length), np.int64)
        doc = np.zeros((size, length), np.int64)
        is_repeat = np.zeros(size, bool)
        packed = {kind: share for kind, share in mixture.items() if kind != "repeats"}  # into rows, one after another
        for row in range(size):
            is_repeat[row] = self.rng.random() < mixture["repeats"]
            source = corpus.documents(self.rng, length, {"repeats": 1.0} if is_repeat[row] else packed, n_words)
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
        if multiplies("bfloat16"):  # its direction is all that counts
            x = x.bfloat16()
        for _ in range(5):
            square = x @ x.transpose(1, 2)
            x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
        return (x.transpose(1, 2) if tall else x).float()


# --------------------------------------------------------------------------------------------------- train


def train(recipe: Recipe, out: Path) -> OPTForCausalLM:
    """Train a model and write it, with its tokenizer and the checkpoints, into a folder."""
    torch.manual_seed(recipe.seed)
    model = make_model(recipe)
    reader = Reader(recipe.seed, recipe.max_positions)
    optimisers = Optimisers(model, recipe)
    n_steps = int(recipe.tokens / (recipe.batch * recipe.length))
    kept_at = set(checkpoint_steps(n_steps, recipe))
    lessons, began = list(LESSONS), 0
    formed_at: int | None = None  # the step at which induction had formed
    repeat_loss, n_tokens, start = 10.0, 0, time.time()
    for step in range(n_steps):
        done = step / n_steps
        if step in kept_at:
            keep(model, recipe, out, step, n_tokens, time.time() - start)
        size, length = recipe.batch, recipe.length
        if done >= recipe.long_from:
            size, length = size // 2, length * 2
        n_words = lessons[0].n_words if lessons else None
        if lessons:
            length = lessons[0].length
            size = max(1, recipe.batch * recipe.length // 2 // length)
            batch = reader.batch(size, length, {"repeats": 1.0}, recipe.shifted_first, n_words)
        else:
            mixture = recipe.last if done >= recipe.last_from else recipe.then
            part = min(1.0, (step - (formed_at or 0)) / recipe.blend)
            batch = reader.batch(size, length, blended(mixture, part), recipe.shifted)
        n_tokens += batch.tokens.numel()

        loss, losses, weights, scored = loss_on(model, batch, n_words)
        loss.backward()
        optimisers.step(min(1.0, (step + 1) / recipe.warm_up, (1 - done) / (1 - recipe.decay_from)))

        of_repeats = batch.is_repeat[:, None].expand_as(scored)[scored]
        losses = losses.detach()
        if of_repeats.any():
            new = float((losses * weights)[of_repeats].sum() / weights[of_repeats].sum())
            repeat_loss = 0.8 * repeat_loss + 0.2 * new
        if lessons and ((repeat_loss < recipe.learnt and step - began >= 10) or done > recipe.first_at_most):
            print(f"step {step} {time.time() - start:.0f}s: learnt {lessons.pop(0)}", flush=True)
            began = step
            if done > recipe.first_at_most:
                lessons.clear()
            if not lessons:
                formed_at = step
        if step % 50 == 0:
            answers = (weights == corpus.ANSWER) & ~of_repeats
            said = weights == corpus.SENTENCE
            print(f"step {step}/{n_steps} {time.time() - start:.0f}s loss {loss.item():.3f} "
                  f"answers {losses[answers].mean():.3f} sentences {losses[said].mean():.3f} "
                  f"repeats {repeat_loss:.3f}", flush=True)
    keep(model, recipe, out, n_steps, n_tokens, time.time() - start)
    save(model, out)
    print(f"{n_steps} steps, {n_tokens / 1e6:.1f} M tokens, "
          f"{(time.time() - start) / 60:.1f} minutes on {torch.get_num_threads()} threads")
    return model


def checkpoint_steps(n_steps: int, recipe: Recipe) -> list[int]:
    """Before the first step, after `first_checkpoint` steps, then evenly in their logarithm up to the last."""
    n = recipe.n_checkpoints - 1
    first = min(recipe.first_checkpoint, n_steps)
    return sorted({0} | {round(first * (n_steps / first) ** (i / (n - 1))) for i in range(n)})


@torch.no_grad()
def keep(model: OPTForCausalLM, recipe: Recipe, out: Path, step: int, n_tokens: int, seconds: float) -> None:
    """Write a checkpoint, and its losses on two batches that are the same for all and no part of the training."""
    losses = {}
    for name, kind in (("answers", "episodes"), ("repeats", "repeats")):
        reader = Reader(recipe.seed + 1, recipe.max_positions)
        batch = reader.batch(recipe.batch, recipe.length, {kind: 1.0, "repeats": float(kind == "repeats")}, 0)
        _, each, weights, _ = loss_on(model, batch)
        losses[name] = round(float(each[weights == 1].mean()), 4)
    folder = out / CHECKPOINTS.name / checkpoint_name(step)
    copy = OPTForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    save(copy.half(), folder)
    checkpoints.note(folder.parent, checkpoints.Checkpoint(step, n_tokens, round(seconds / 60, 1), **losses))


def loss_on(
    model: OPTForCausalLM, batch: Batch, n_words: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The weighted mean loss; the loss and the weight of each token that counts; (batch, pos - 1) which those are.

    Args:
        n_words: as for `corpus.repeats`; the others are no candidates, so that no step moves their embeddings away.
    """
    bf16 = bool(multiplies("bfloat16"))
    hidden = forward(model, batch.tokens, batch.pos, batch.mask, bf16=bf16)
    scored = batch.weights[:, 1:] > 0  # only tokens that count get logits
    words, wanted = model.lm_head.weight, batch.tokens[:, 1:][scored]
    if n_words is not None:
        ids = torch.tensor([_ids()[word] for word in corpus.words_in_use(n_words)])
        place = torch.zeros(len(words), dtype=torch.long)
        place[ids] = torch.arange(len(ids))
        words, wanted = words[ids], place[wanted]
    logits = _product(hidden[:, :-1][scored], words, None, bf16)
    losses = F.cross_entropy(logits, wanted, reduction="none")
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


def blended(mixture: dict[str, float], part: float) -> dict[str, float]:
    """From repeats alone at part 0 to `mixture` at part 1: at once, the model would forget how to copy."""
    return {kind: (1 - part) * (kind == "repeats") + part * share for kind, share in mixture.items()}


@cache
def _ids() -> dict[str, int]:
    return {word: i for i, word in enumerate(corpus.vocabulary())}


def save(model: OPTForCausalLM, out: Path) -> None:
    """Write model and tokenizer."""
    model.save_pretrained(out)
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
    train(Recipe(**args), out)


if __name__ == "__main__":
    main()
