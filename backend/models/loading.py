"""Models, loaded frozen, with the doorway of `gates` installed."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, cast

import psutil
import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, PreTrainedModel

from .. import places
from ..arrays import Float
from ..errors import BadInput, ModelError
from ..machine import FAST, WIDTHS, free_memory, is_out_of_memory, size
from ..records import ModelInfo
from ..values import Ablation, ModelId
from . import attention, gates, offloaded, precision
from .adapters import Adapter, adapter_for, part
from .defaults import filled
from .identity import identity_of
from .info import BUNDLED, Location, config_of, info_from, locate, tensors_of
from .obstacles import obstacles_at
from .plain import config_class, first_line
from .ready import Ready
from .refusals import refusal
from .text import Pair, Reader, load_tokenizer, reader_for

# Where the tensors of a model for text and images (Gemma 3 and 3n) go, of which the text part alone is loaded.
_TEXT_PART = {r"^model\.language_model\.": "model.", r"^language_model\.": ""}
MOST_TIED = 2  # times as many parameters may be described as saved: tied ones are saved once
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(eq=False)
class LoadedModel:
    """A frozen causal model with its tokenizer and the places of its heads and FFNs. Share it: it holds no mask."""

    id: ModelId
    info: ModelInfo
    model: PreTrainedModel
    reader: Reader  # the tokenizer, and what stands in front of every text
    adapter: Adapter
    blocks: list[nn.Module] = field(repr=False)
    attn_outs: dict[int, nn.Module] = field(repr=False)  # of the layers that have heads
    ffns: list[nn.Module] = field(repr=False)
    lenders: frozenset[int] = frozenset()  # layers whose keys and values later ones attend to instead of their own
    ready: Ready = field(default_factory=Ready, repr=False)  # prompts made ready for it, by setup
    quick: bool = False  # whether somebody waits for first numbers: passes are then short
    proof: str = ""  # what was compared when it was loaded, and how far apart it was
    chosen: str = ""  # what the dtype "fast" came to when it was loaded, and why; empty where another was asked for

    @property
    def dtype(self) -> str:
        return self.id.dtype

    @property
    def n_layers(self) -> int:
        return self.info.n_layers

    @property
    def n_heads(self) -> int:
        return self.info.n_heads

    @property
    def d_head(self) -> int:
        return self.info.d_head

    @property
    def d_model(self) -> int:
        return self.info.d_model

    @property
    def n_streams(self) -> int:
        """Residual streams that stand side by side between blocks: one, but for AltUp."""
        return int(self._said(self.adapter.streams) or 1)

    @property
    def d_state(self) -> int:
        """How many numbers a block reads at a position: d_model of each residual stream."""
        return self.n_streams * self.d_model

    @property
    def latest_start(self) -> int:
        """The last block where a pass can begin from stored hidden states alone: those behind need lenders' keys."""
        return min(self.lenders, default=self.n_layers - 1)

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def device(self) -> torch.device:
        """Where token ids go: where the embedding is, or is brought."""
        return offloaded.device_of(self.model.get_input_embeddings())

    @property
    def trunk(self) -> nn.Module:
        """The model without its unembedding: token ids in, hidden states after the last norm out."""
        return part(self.model, self.adapter.blocks.split(".")[0])

    def unembed(self, hidden: Float[Tensor, "... d_hidden"], tokens: slice | None = None) -> Float[Tensor, "... vocab"]:
        """(..., d) hidden states after the last norm -> (..., vocabulary) logits, float32.

        Args:
            tokens: logits of this part of the vocabulary alone.
        """
        head = self.model.get_output_embeddings()
        away = offloaded.is_offloaded(head)  # then weights come with the module's own call
        if not away:
            hidden = hidden.to(head.weight.device)
        if tokens is None or away:
            logits = head(hidden).float()[..., tokens or slice(None)]
        else:
            logits = linear(hidden, head.weight[tokens], None if head.bias is None else head.bias[tokens]).float()
        if (factor := self.logit_factor) != 1:
            logits = logits * factor
        cap = self._said(self.adapter.softcap)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @property
    def tokenizer(self) -> Any:
        return self.reader.tokenizer

    @property
    def logit_factor(self) -> float:
        """What the model multiplies its logits with."""
        times, over = self._said(self.adapter.logits_times), self._said(self.adapter.logits_over)
        return (1.0 if times is None else times) / (1.0 if over is None else over)

    @property
    def branch_factor(self) -> float:
        """What the model multiplies each attention's and FFN's output with before it joins the residual stream."""
        times = self._said(self.adapter.branches_times)
        return 1.0 if times is None else times

    def _said(self, name: str | None) -> float | None:
        """A number of the model's config that its row names; None where there is no such number."""
        value = getattr(self.model.config, name, None) if name else None
        return None if value is None else float(value)

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        return self.reader.encode([text])[0]

    def encode_context(self, text: str) -> list[int]:
        """Token ids of what a model reads first: behind a BOS token where it wants one; never none at all."""
        return self.reader.context(text)

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[Pair]:
        """(context, option) pairs in token ids, each encoded whole; see `text.Reader.pairs`."""
        return self.reader.pairs(pairs)

    @property
    def empty_context(self) -> list[int]:
        """What stands for a context of no tokens: what begins every text, else one BOS token, or EOS without BOS."""
        return list(self.reader.empty)

    @property
    def start(self) -> int:
        """The one token in front of sequences that are drawn, not read from text: BOS, or EOS without BOS."""
        return self.reader.empty[-1]


def load_model(
    name: str = BUNDLED, revision: str | None = None, dtype: str = "float32", device: str | None = None,
    device_map: str | dict[str, Any] | None = None, tokenizer: str | None = None, bos: str = "auto",
    adapter: Adapter | None = None, max_memory: Mapping[str, int] | None = None,
) -> LoadedModel:
    """Load a causal model from the bundle, a local folder or the hub.

    Only safetensors are read and no code from the model's repository is run.

    Args:
        dtype: "float32" (the reference), "bfloat16" or "float16"; or "fast": float32, or bfloat16 where products of
            this model's size are clearly faster in it here (see `precision`). The model is then named by what it runs
            in, and `chosen` says why.
        device: "cpu", "cuda", ...; by default the GPU where there is one. Ignored with `device_map`.
        device_map: accelerate's placement over several devices: "auto" fills GPUs, then main memory, and leaves the
            rest on the disk, from where weights are brought in for each pass; or {module's path: 0, "cpu" or "disk"}.
        tokenizer: a folder or hub id, where it is not beside the weights.
        bos: "auto", "always" or "never": what every prompt begins with; see `text.reader_for`.
        adapter: where the heads and FFNs are, for an architecture that the table has no row for.
        max_memory: with a `device_map` such as "auto", the bytes that weights may take on each device ("cuda:0",
            "cpu"); by default `WEIGHT_SHARE` of what is free.

    Raises:
        ModelError: no such model, no safetensors, no adapter for its architecture, damaged weights, no network; one
            of the `obstacles`; or the engine's logits are not the model's own.
        BadInput: unknown dtype, `bos` or `device_map`, or a device that is not here.
    """
    if dtype not in (*DTYPES, FAST):
        raise BadInput(f"Unknown dtype '{dtype}'. Known: {', '.join((*DTYPES, FAST))}.")
    if device is not None and device_map is None:
        _require_device(device)
    room = _room(device_map, max_memory)
    if found := obstacles_at(locate(name, revision, weights=False), tokenizer=tokenizer, adapter=adapter):
        raise ModelError(" ".join(found))  # before anything large is fetched or read
    place = locate(name, revision)
    try:
        return _load(place, name, dtype, device, device_map, room, tokenizer, bos, adapter)
    except ModelError as error:
        if place.folder.is_dir():
            raise
        raise ModelError(f"{place.folder} is gone: the model's folder has been moved or deleted. Put it back, or "
                         "choose another model; stored results stay.") from error


def _load(
    place: Location, name: str, dtype: str, device: str | None, device_map: str | dict[str, Any] | None,
    room: dict[int | str, int] | None, tokenizer: str | None, bos: str, adapter: Adapter | None,
) -> LoadedModel:
    tensors = tensors_of(place)
    info = info_from(config_of(place), place.name, place.revision, tensors, adapter)  # before a class reads its sizes
    words = load_tokenizer(tokenizer or place.folder)
    config = config_class(place.folder)
    text = config.get_text_config()
    chosen = choose_precision(info, device, device_map) if dtype == FAST else None
    dtype = chosen.dtype if chosen else dtype
    _require_room(text, name, dtype, sum(n for _, n in tensors), device_map)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    # Straight to where they are used: no copy of all weights stands in main memory first.
    placed = device_map if device_map is not None else None if target.type == "cpu" else {"": target}
    # Where a class stores weights in another form than it uses (experts), what goes to the disk is written there anew.
    folder = _scratch() if device_map is not None else None
    try:
        model, report = cast(tuple[Any, dict[str, Any]], AutoModelForCausalLM.from_pretrained(
            place.folder, config=text, key_mapping=None if text is config else _TEXT_PART, dtype=DTYPES[dtype],
            device_map=placed, max_memory=room, offload_folder=folder.name if folder else None, use_safetensors=True,
            trust_remote_code=False, output_loading_info=True,
            ignore_mismatched_sizes=True))  # it would refuse them in words that explain nothing
    except Exception as error:  # transformers raises whatever the arithmetic of its classes does
        if is_out_of_memory(error):
            raise ModelError(_no_memory(name)) from error
        raise ModelError(f"'{name}' cannot be loaded: {first_line(error)}. Fetch or convert it again.") from error
    if other := sorted(report["mismatched_keys"]):  # transformers would leave them random, as it would the missing
        (tensor, found, expected), *_ = other
        raise ModelError(f"The weights of '{name}' are not those of its config: {len(other)} tensors have another "
                         f"shape, {tensor} for instance {list(found)} instead of {list(expected)}. Put the config.json "
                         "beside them that they were saved with.")
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"The weights of '{name}' lack {len(missing)} tensors ({', '.join(missing[:3])}, ...): they "
                         "are of another model, or incomplete. Fetch or convert them again.")
    if folder is not None:
        if os.listdir(folder.name):
            weakref.finalize(model, folder.cleanup)
        else:
            folder.cleanup()  # now: a worker that is ended never gets to it
    try:
        _let_go_of_files(model)
        loaded = prepare(model, words, place.name, place.revision, dtype, tensors, bos, adapter,
                         identity=identity_of(place, dtype, bos, tokenizer, adapter))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(_no_memory(name)) from error
    loaded.chosen = chosen.sentence if chosen else ""
    return loaded


def choose_precision(info: ModelInfo, device: str | None = None,
                     device_map: str | dict[str, Any] | None = None) -> precision.Choice:
    """What the dtype "fast" comes to for a model of this shape, measured on the device that would form its products.

    Args:
        device, device_map: as for `load_model`; of several devices the first GPU.

    Raises:
        BadInput: a device that is not here.
    """
    place = "cuda" if torch.cuda.is_available() else "cpu"
    if isinstance(device_map, dict):
        place = next((f"cuda:{one}" if isinstance(one, int) else str(one) for one in device_map.values()
                      if one not in ("cpu", "disk")), "cpu")
    elif device is not None and device_map is None:
        _require_device(place := device)
    return precision.faster(info, torch.device(place))


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder beside the results, where there is room for large things; the system's own may lie in memory.

    Those of processes that were killed on this machine go first.
    """
    place, here = places.live(), socket.gethostname()
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob("offloaded-*"):
        pid, _, host = old.name.removeprefix("offloaded-").rpartition("-")[0].partition("@")
        if host == here and pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"offloaded-{os.getpid()}@{here}-", dir=place)


PLACEMENTS = ("auto", "balanced", "balanced_low_0", "sequential")  # of accelerate's
WEIGHT_SHARE = 0.8  # of a device's free memory that weights may take; the rest is for what passes through them


def _room(device_map: Any, max_memory: Mapping[str, int] | None) -> dict[int | str, int] | None:
    """Bytes that weights may take on each device, as accelerate names them; None where there is nothing to choose.

    Raises:
        BadInput: an unknown placement, a device that is not here, or room without a placement that asks for it.
    """
    if not isinstance(device_map, str):
        if max_memory:
            raise BadInput("What weights may take on each device is for a placement to choose by: say --device-map "
                           f"({', '.join(PLACEMENTS)}) too.")
        return None
    if device_map not in PLACEMENTS:
        raise BadInput(f"Unknown placement '{device_map}'. Known: {', '.join(PLACEMENTS)}; one device is named with "
                       "--device.")
    here: dict[str, int] = {f"cuda:{i}": torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())}
    here["cpu"] = free_memory()
    if unknown := set(max_memory or ()) - set(here):
        raise BadInput(f"There is no device '{min(unknown)}' here. Known: {', '.join(here)}.")
    room = {name: int(WEIGHT_SHARE * free) for name, free in here.items()} | dict(max_memory or {})
    return {int(name.removeprefix("cuda:")) if name != "cpu" else name: most for name, most in room.items()}


def _require_room(config: Any, name: str, dtype: str, n_saved: int, device_map: Any) -> None:
    """Whether what a config describes is what was saved, and fits; found before any of it is made.

    Args:
        n_saved: parameters on disk.

    Raises:
        ModelError: if it describes another model, or one for which there is no memory.
    """
    try:
        with torch.device("meta"):  # shapes alone
            model = AutoModelForCausalLM.from_config(deepcopy(config))
    except Exception as error:  # as above
        raise ModelError(f"The config of '{name}' describes no model that can be built: {first_line(error)}. Put the "
                         "config.json beside the weights that they were saved with.") from error
    n_described = sum(p.numel() for p in model.parameters())
    if n_described > MOST_TIED * n_saved:
        raise ModelError(f"The weights of '{name}' are not those of its config: they hold {n_saved:,} parameters, and "
                         f"it describes {n_described:,}. Put the config.json beside them that they were saved with.")
    needed = n_described * WIDTHS[dtype] + sum(b.numel() * b.element_size() for b in model.buffers())
    free = free_memory()
    if device_map is None and not torch.cuda.is_available() and needed > free:
        raise ModelError(f"'{name}' needs {size(needed)} for its weights in {dtype}, and {size(free)} are free. "
                         f"{_LESS_MEMORY}")


def _let_go_of_files(model: Any) -> None:
    """Take a copy of weights that are mapped from a file: whoever writes the file anew would change them under us, or,
    where it is shorter, end the process."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


_LESS_MEMORY = ("Close what else runs, choose a smaller precision with --dtype bfloat16, or spread it over several "
                "devices with --device-map auto.")


def _no_memory(name: str) -> str:
    return f"There was no memory left for '{name}' while it was loaded. {_LESS_MEMORY}"


def _require_device(name: str) -> None:
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        cards = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise BadInput(f"The device '{name}' cannot be used here. Known: {', '.join(['cpu', *cards])}.") from error


def prepare(
    model: PreTrainedModel, tokenizer: Any, name: str, revision: str, dtype: str = "float32",
    tensors: list[tuple[str, int]] | None = None, bos: str = "auto", adapter: Adapter | None = None,
    proven: bool = True, identity: ModelId | None = None,
) -> LoadedModel:
    """Freeze a model that is in memory already, install the doorway, and hold what goes through it against the model.

    Args:
        tensors: (dtype, number of elements) of each parameter on disk; those in memory where there is no disk.
        bos: as for `load_model`.
        adapter: where its heads and FFNs are; by default its architecture's row.
        proven: False leaves the comparison out.
        identity: what it is called in keys; by default one of its name and revision alone.

    Raises:
        ModelError: if there is no adapter for its architecture, the adapter does not fit, or what the engine computes
            is not what the model's own forward pass does.
    """
    config = model.config
    if why := refusal(filled(config.to_dict()), name):
        raise ModelError(why)
    adapter = adapter or adapter_for(config.model_type)
    model.eval().requires_grad_(False)
    attention.use(model)
    offloaded.install(model)
    if tensors is None:
        short = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
        tensors = [(short.get(p.dtype, "F32"), p.numel()) for p in model.parameters()]
    info = info_from(config.to_dict(), name, revision, tensors, adapter)
    reader = reader_for(tokenizer, config, bos)
    blocks = list(part(model, adapter.blocks).children())
    loaded = LoadedModel(
        id=identity or ModelId(name, revision, "", bool(reader.front), dtype), info=info, model=model, reader=reader,
        adapter=adapter, blocks=blocks,
        attn_outs={layer: part(block, adapter.attn_out) for layer, block in enumerate(blocks)
                   if layer not in info.headless},
        ffns=[part(block, adapter.ffn) for block in blocks],
        lenders=_lenders(config, adapter),
    )
    if not loaded.attn_outs:
        raise ModelError(f"'{name}' has no layer of kind '{adapter.heads_in}', so there are no heads to switch off. "
                         "Headroom measures transformers that attend in some layer.")
    projection = next(iter(loaded.attn_outs.values()))
    width = projection.in_features if isinstance(projection, nn.Linear) else len(cast(Tensor, projection.weight))
    if len(blocks) != info.n_layers or width != info.n_heads * info.d_head:
        raise ModelError(f"The adapter of '{config.model_type}' does not fit '{name}': {len(blocks)} blocks whose "
                         f"attention projection reads {width} numbers, where its config says {info.n_layers} layers "
                         f"with {info.n_heads} heads of {info.d_head}. Mend its row in backend/models/adapters.py.")
    before_ffns = [part(block, adapter.ffn_reads) if adapter.ffn_reads else None for block in blocks]
    gates.install(loaded.blocks, loaded.attn_outs, loaded.ffns, before_ffns, loaded.n_heads, adapter.returns_tuple,
                  loaded.lenders)
    if proven:
        from ..engine.proof import prove  # the engine stands on this module

        loaded.proof = prove(loaded)
    return loaded


def _lenders(config: Any, adapter: Adapter) -> frozenset[int]:
    """Layers whose keys and values later ones attend to: of each kind of layer the last that has its own."""
    n_borrowers = getattr(config, adapter.borrowers) if adapter.borrowers else 0
    if not n_borrowers:
        return frozenset()
    return frozenset({kind: layer for layer, kind in enumerate(config.layer_types[:-n_borrowers])}.values())


def no_numbers(model: LoadedModel, what: str = "logits", ablation: Ablation | None = None) -> ModelError:
    """What to say where a model's logits, or gradients, are not numbers."""
    found = model.model.named_parameters()
    if broken := next((name for name, p in found if not p.is_meta and not _all_numbers(p)), ""):
        why = f"its weights hold some that are none, in {broken} for instance. " + (
            "Use bfloat16 or float32, which hold larger numbers; if that does not help, fetch or convert them again."
            if model.dtype == "float16" else "Fetch or convert them again.")
    else:
        why = f"sums grow beyond what {model.dtype} holds. " + (
            "Use bfloat16 or float32." if model.dtype == "float16" else "Its weights may be damaged: fetch them again.")
    return ModelError(f"The {what} of '{model.info.name}' are not numbers in {model.dtype}"
                      + (f" with {ablation} off" if ablation else "") + f": {why}")


def _all_numbers(parameter: Tensor) -> bool:
    return bool(torch.isfinite(parameter.sum()) or torch.isfinite(parameter).all())
