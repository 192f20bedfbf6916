"""Batches that fit the memory: as many tokens a pass as suit the device, and half as many wherever it runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from accelerate.utils.memory import should_reduce_batch_size

from ..machine import WIDTHS, free_memory
from ..models.loading import LoadedModel
from ..models.offloaded import device_of, offloaded
from ..records import ModelInfo

log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]

CPU_TOKENS = 1024  # what a block makes of them stays in a processor's cache; twice as many are no faster
QUICK_TOKENS = 256  # where somebody waits for a first number; a product of so few rows is a twentieth slower
FIRST_TOKENS = 64  # and of the first pass of all: a few questions
QUICK_WORK = 3e10  # operations of a pass that need not be shorter than it is: about 0.3 s on two cores
GPU_TOKENS = 16384  # enough to keep any one busy, or to be worth bringing offloaded weights in
FEWEST_TOKENS = 64
SHARE = 0.5  # of the free memory that a pass may take; logits, kept states and other threads need some too
ANSWERS = 1 / 8  # of a prompt's tokens, about, whose logits are formed and kept for gradients
KEYS = 1024  # that a token looks back on, at most, about
LOGIT_BYTES = 16  # per entry of the vocabulary there: float32, and three more of what becomes of it


def tokens_per_pass(model: LoadedModel, every_layer: bool = False) -> int:
    """How many tokens, padding included, a pass should read at once where this model is.

    Args:
        every_layer: what every layer makes of them exists at once, for gradients or means.
    """
    cost = bytes_per_token(model.info, model.dtype, every_layer, model.model.config._attn_implementation == "eager")
    visitors = offloaded(model.model)
    widest = max((p.numel() * p.element_size() for one in visitors for p in one.parameters(recurse=False)), default=0)
    devices = {model.device, *map(device_of, model.blocks)}
    on_cpu = QUICK_TOKENS if is_waited_for(model) else CPU_TOKENS
    return min(fitting(max(0, _free(device) - widest), cost,
                       GPU_TOKENS if device.type == "cuda" or visitors else on_cpu) for device in devices)


def is_waited_for(model: LoadedModel) -> bool:
    """Whether somebody waits for first numbers of a model that takes long for a whole pass: on a processor.

    Not where weights are brought in for every pass: one more pass would take longer than what it is there to shorten.
    """
    return (model.quick and model.device.type != "cuda" and 2 * model.info.n_params * CPU_TOKENS > QUICK_WORK
            and not offloaded(model.model))


def bytes_per_token(info: ModelInfo, dtype: str, every_layer: bool, patterns: bool = False, ffn_widths: int = 3) -> int:
    """Memory that one token of a pass takes, about: one block's activations, or every block's and an answer's logits.

    Args:
        patterns: whether attention patterns are formed in full, two copies in float32.
        ffn_widths: how often d_ffn numbers exist: 3 where the FFN is gated, 2 where it is not; 3 is on the safe side.
    """
    widths = 4 * info.d_model + 4 * info.n_heads * info.d_head + ffn_widths * info.d_ffn
    of_block = WIDTHS.get(dtype, 8) * widths + (8 * info.n_heads * min(info.max_positions, KEYS) if patterns else 0)
    return info.n_layers * of_block + int(ANSWERS * LOGIT_BYTES * info.vocab_size) if every_layer else of_block


def fitting(free: int, per_token: int, at_most: int) -> int:
    """The largest power of two of tokens that fit a share of the free memory, between `FEWEST_TOKENS` and `at_most`.

    A power of two, so that a little more or less of free memory cuts the same batches.
    """
    fit = max(FEWEST_TOKENS, int(SHARE * free) // per_token)
    return min(at_most, 1 << fit.bit_length() - 1)


def _free(device: torch.device) -> int:
    """Bytes that are free on a device: on a GPU with what torch has set aside there and does not use."""
    if device.type != "cuda":
        return free_memory()
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def in_batches(
    measure: Callable[[Sequence[int]], None], lengths: Sequence[int], batch_tokens: int,
    progress: Progress | None = None,
) -> None:
    """Measure items of about equal length together, the longest first.

    Args:
        measure: called with the indices of a batch; called again with fewer of them when memory ran out in it.
        lengths: tokens of each item. A batch's longest times its number of items stays within `batch_tokens`, unless it
            is one item.
        progress: called as progress(items done, items) after each batch.

    Raises:
        RuntimeError: the one that says that memory ran out, where a single item is too much.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    done = 0
    while done < len(order):
        longest = max(lengths[order[done]], 1)
        batch = order[done:done + max(1, batch_tokens // longest)]
        try:
            measure(batch)
        except Exception as error:
            if len(batch) == 1 or not should_reduce_batch_size(error):
                raise
            batch_tokens = smaller(longest * len(batch))
            continue
        done += len(batch)
        if progress is not None:
            progress(done, len(order))


def smaller(batch_tokens: int) -> int:
    """Half of a batch that was too large, and a line in the log."""
    log.warning("Out of memory: going on with passes of %d tokens.", batch_tokens // 2)
    return batch_tokens // 2
