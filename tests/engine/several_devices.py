"""`python -m tests.engine.several_devices NAME ...`: a small model over several devices that only exist on paper.

Layers lie in turn on two of them, embedding and head on a third. Shapes and devices of every operation are checked,
nothing is computed and no GPU is needed: torch refuses an operation whose tensors lie on different devices, so what
the engine forgets to move ends in an error that names the operation. Gradients are followed forwards; backwards they go
where autograd's record of the forward pass says. It changes the whole process, so a test runs it as one of its own.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration

from backend.engine import gradients, passes
from backend.engine.fed import Fed
from backend.models.adapters import adapter_for
from backend.models.gates import Gates, gates_for
from backend.models.loading import LoadedModel, prepare
from backend.values import INTACT, Ablation, Head
from tests.engine.test_gradients import FIXED
from tests.models.small import small_network, small_tokenizer

MASKS = [INTACT, Ablation(frozenset({Head(1, 1)}), frozenset({0})), Ablation(frozenset({Head(2, 1)}))]


class _Backend(backend_registration._DummyBackendModule):
    def device_count(self) -> int:
        return 3

    def get_rng_state(self, device: Any) -> torch.Tensor:
        return torch.zeros(1)

    def set_rng_state(self, state: Any, device: Any) -> None:
        pass


def begin() -> None:
    """Make devices "paper:0" to "paper:2" known."""
    backend_registration._setup_privateuseone_for_python_backend("paper", _Backend())
    numbers = torch.tensor

    def tensor(data: Any, *, device: Any = None, **more: Any) -> torch.Tensor:  # torch.tensor builds past the mode
        made = numbers(data, **more)
        return made if device is None else torch.empty(made.shape, dtype=made.dtype, device=device)

    torch.tensor = tensor


def spread(architecture: str) -> LoadedModel:
    """A small model on paper, hooked up as accelerate does it; call it inside of a `FakeTensorMode`."""
    network = small_network(architecture)
    blocks = adapter_for(network.config.model_type).blocks + "."
    skip = network._skip_keys_device_placement
    for name, module in network.named_modules():
        inside = name.startswith(blocks)
        place = torch.device(f"paper:{1 + int(name[len(blocks):].split('.')[0]) % 2 if inside else 0}")
        for own in (module._parameters, module._buffers):
            for key, value in own.items():
                if value is not None:
                    made = torch.empty(value.shape, dtype=value.dtype, device=place)
                    own[key] = torch.nn.Parameter(made) if own is module._parameters else made
        if inside or not name or not list(module.children()):
            add_hook_to_module(module, AlignDevicesHook(place, io_same_device=not name, skip_keys=skip))
    return prepare(network, small_tokenizer(), architecture, "", proven=False)


def main(architecture: str) -> None:
    """Evaluations with everything the engine saves itself, and losses as gradients are taken of them."""
    gradients.SHARING_WIDTH = 0
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = spread(architecture)
        assert str(model.device) == "paper:0"
        prompts = passes.prepare(model, FIXED, batch_tokens=256)
        n = 0
        for section in passes._sections(prompts):
            intact = passes._Intact()
            for _, hidden in passes._read_section(model, section, Gates(), keep=intact):
                model.unembed(hidden)
            for mask in MASKS:
                gates, start = gates_for(model, [mask]), min(model.latest_start, mask.lowest_layer or 0)
                for _, hidden in passes._read_section(model, section, gates, start, intact):
                    model.unembed(hidden)
                    n += 1
        pairs = gradients.gold_pairs(model, FIXED)
        for length in {0, pairs.prefixes[0]}:
            shared = gradients._SharedPrefix(model, pairs.pairs[0].ids[:length], 1.0) if length else None
            fed = Fed.of(pairs.pairs[:2], length)
            behind: dict[str, Any] = {"use_cache": False}
            if shared:
                leaves = shared.leaves(2)
                behind = {"past_key_values": passes.cache_of(model, list(zip(leaves[::2], leaves[1::2], strict=True))),
                          "use_cache": True}
            loss = gradients._loss(model, fed, Gates(heads=gradients._gates(model, *fed.tokens.shape, 1.0)), **behind)
            assert loss.requires_grad
            n += 1
    print(f"{architecture}: {n} passes over {model.n_layers} layers on two devices")


if __name__ == "__main__":
    begin()
    for name in sys.argv[1:]:
        main(name)
