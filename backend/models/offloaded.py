"""Weights that are not where they are used: accelerate brings them in for each call of their module, and lets them go.

A module is *offloaded* where its weights lie on a disk, or in main memory behind a GPU: between two calls its
parameters are on the device "meta" and hold nothing. Three things do not go by themselves then. Gradients: autograd
keeps what a product multiplied with until the way back, which would gather all weights in memory one by one; here it
keeps a note instead, and the weight is read once more on the way back. Threads: one would take the weights away from
under another; calls of one module wait for each other. And whatever reads a weight outside of its module's call asks
`weight` for it.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from threading import RLock
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


@dataclass(frozen=True)
class _Note:
    """Which part of which weight autograd will want on the way back."""

    module: nn.Module
    name: str
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: Any

    def read(self) -> Tensor:
        return weight(self.module, self.name).to(self.dtype).as_strided(self.size, self.stride, self.offset)


_found: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # while one is called, its weights look like anybody's


def is_offloaded(module: nn.Module) -> bool:
    """Whether the weights of this very module, not of those inside it, are brought in for each call."""
    return module in _found


def offloaded(model: nn.Module) -> list[nn.Module]:
    """The modules of a model whose own weights are brought in for each call."""
    return [module for module in model.modules() if is_offloaded(module)]


def device_of(module: nn.Module) -> torch.device:
    """Where a module computes: where its weights are, or where they are brought."""
    if found := offloaded(module):
        return torch.device(_align(found[0]).execution_device)
    return next(module.parameters()).device


def weight(module: nn.Module, name: str = "weight") -> Tensor:
    """A parameter of a module, brought in where it is offloaded, of the dtype in which it is used."""
    parameter = cast(Tensor, getattr(module, name))
    if not is_offloaded(module):
        return parameter
    hook = _align(module)
    brought = cast(Tensor, hook.weights_map[name]).detach()
    return brought.to(torch.device(hook.execution_device), parameter.dtype)


def install(model: nn.Module) -> None:
    """Let gradients through offloaded modules, and threads share them. Once, before any other wrapping of `forward`."""
    for module in model.modules():
        if any(parameter.is_meta for parameter in module.parameters(recurse=False)) and not is_offloaded(module):
            _align(module)  # which raises where nothing brings them in
            _wrap(module)
            _found.add(module)


def _wrap(module: nn.Module) -> None:
    plain, there, lock = module.forward, weakref.ref(module), RLock()

    def note(saved: Tensor) -> Tensor | _Note:
        """What autograd keeps of a tensor: of one of this module's weights, only where it can be read again."""
        owner = cast(nn.Module, there())
        place = saved.untyped_storage().data_ptr() if saved.layout == torch.strided else 0
        for name, parameter in owner.named_parameters(recurse=False):
            if place and parameter.untyped_storage().data_ptr() == place and parameter.dtype == saved.dtype:
                return _Note(owner, name, parameter.dtype, saved.size(), saved.stride(),
                             saved.storage_offset() - parameter.storage_offset())
        return saved

    def read(kept: Tensor | _Note) -> Tensor:
        return kept.read() if isinstance(kept, _Note) else kept

    def forward(*args: Any, **kwargs: Any) -> Any:
        with lock:
            if not torch.is_grad_enabled():
                return plain(*args, **kwargs)
            with saved_tensors_hooks(note, read):
                return plain(*args, **kwargs)

    module.forward = forward


def _align(module: nn.Module) -> Any:
    """The hook of accelerate's that brings a module's weights in.

    Raises:
        RuntimeError: nothing does: the model was made on "meta" and never loaded.
    """
    hook = getattr(module, "_hf_hook", None)
    for one in getattr(hook, "hooks", [hook]):
        if isinstance(getattr(one, "weights_map", None), Mapping):
            return one
    raise RuntimeError(f"A {type(module).__name__} has no weights, and nothing that brings them in.")
