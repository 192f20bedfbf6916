"""The dtype "fast": what is faster here, told from what is not, whatever this machine is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from backend.errors import BadInput
from backend.machine import FAST
from backend.models import precision
from backend.models.identity import identify
from backend.models.info import describe
from backend.models.loading import choose_precision, load_model
from tests.models.small import small_model, small_network, small_tokenizer

CPU = torch.device("cpu")
INFO = small_model("opt").info


class Machine:
    """A machine where a product in float32 takes a second, and in bfloat16 what it is told, turn for turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, half: float, spikes: dict[int, float] | None = None) -> None:
        self.now, self.half, self.spikes, self.formed = 0.0, half, spikes or {}, []
        monkeypatch.setattr(precision, "perf_counter", lambda: self.now)
        monkeypatch.setattr(precision, "linear", self.product)
        monkeypatch.setattr(precision, "OPERATIONS", {"cpu": 0, "": 0})
        monkeypatch.setattr(precision, "SECONDS", 1e9)

    def product(self, x: torch.Tensor, weight: torch.Tensor) -> None:
        self.formed.append((x.dtype, tuple(x.shape), tuple(weight.shape)))
        self.now += self.spikes.get(len(self.formed), 0.0) + (1.0 if x.dtype == torch.float32 else self.half)


@pytest.mark.parametrize(("half", "dtype", "said"), [
    (0.25, "bfloat16", "is 4.00 times as fast as in float32 on this processor."),
    (1 / 1.21, "bfloat16", "is 1.21 times as fast as in float32 on this processor."),
    (1 / 1.19, "float32", "is 1.19 times as fast as in float32 on this processor, and it is taken from 1.2 times on."),
    (1.0, "float32", "is 1.00 times as fast as in float32 on this processor, and it is taken from 1.2 times on."),
    (9.0, "float32", "takes 9.00 times as long as in float32 on this processor.")])
def test_bfloat16_is_taken_only_where_it_is_clearly_faster_and_the_ratio_is_told(monkeypatch, half, dtype, said):
    Machine(monkeypatch, half)
    found = precision.faster(INFO, CPU)
    assert (found.dtype, found.ratio) == (dtype, pytest.approx(1 / half))
    assert found.sentence == (f"fast means {dtype} here: in bfloat16 a product of the size of the model's FFN "
                              f"(256 x {INFO.d_model} by {INFO.d_model} x {INFO.d_ffn}) {said}")


def test_both_take_turns_at_the_models_own_ffn_and_one_interruption_decides_nothing(monkeypatch):
    machine = Machine(monkeypatch, 2.0, spikes={7: 1000.0})  # in a turn of float32
    found = precision.faster(INFO, CPU)
    assert (found.dtype, found.ratio) == ("float32", 0.5)
    assert [dtype for dtype, _, _ in machine.formed] == [torch.float32, torch.bfloat16] * (1 + precision.TURNS)
    assert {shapes for _, *shapes in map(tuple, machine.formed[2:]) for shapes in [tuple(shapes)]} == {
        ((precision.ROWS, INFO.d_model), (INFO.d_ffn, INFO.d_model))}


def test_what_is_slower_is_seen_at_once_and_what_is_faster_has_three_turns(monkeypatch):
    for half, turns in ((9.0, 1), (0.5, precision.LEAST_TURNS)):
        machine = Machine(monkeypatch, half)
        monkeypatch.setattr(precision, "SECONDS", 0.3)
        precision.faster(INFO, CPU)
        assert len(machine.formed) == 2 * (1 + turns)


def test_of_a_large_ffn_a_part_is_multiplied_and_that_is_said(monkeypatch):
    machine = Machine(monkeypatch, 0.5)
    found = precision.faster(replace(INFO, d_model=9216, d_ffn=36864), CPU)
    assert machine.formed[-1][2] == (2**21 // 9216, 9216)
    assert "a part of the model's FFN (256 x 9216 by 9216 x 227)" in found.sentence


def test_a_device_that_knows_no_bfloat16_means_float32(monkeypatch):
    def none(x: torch.Tensor, weight: torch.Tensor) -> None:
        if x.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")

    monkeypatch.setattr(precision, "linear", none)
    assert precision.faster(INFO, CPU).sentence == (
        "fast means float32 here: this processor multiplies nothing in bfloat16.")
    monkeypatch.setattr(precision, "linear", lambda x, weight: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        precision.faster(INFO, CPU)


def test_on_this_machine_it_draws_nothing_and_says_what_it_measured():
    before = torch.get_rng_state()
    found = precision.faster(INFO, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.dtype == ("bfloat16" if found.ratio >= precision.ENOUGH else "float32")
    assert found.ratio > 0


@pytest.mark.parametrize(("half", "dtype"), [(0.5, "bfloat16"), (2.0, "float32")])
def test_a_model_that_is_loaded_fast_is_called_by_what_it_runs_in(monkeypatch, tmp_path, half, dtype):
    small_network("opt").save_pretrained(tmp_path / "model")
    small_tokenizer().save_pretrained(tmp_path / "model")
    Machine(monkeypatch, half)
    loaded = load_model(str(tmp_path / "model"), dtype=FAST)
    assert {p.dtype for p in loaded.model.parameters()} == {getattr(torch, dtype)}
    plain = load_model(str(tmp_path / "model"), dtype=dtype)
    assert loaded.id == plain.id == identify(str(tmp_path / "model"), dtype=dtype)
    assert loaded.id.dtype == loaded.dtype == dtype
    assert loaded.chosen == precision.faster(loaded.info, CPU).sentence
    assert plain.chosen == ""


def test_no_identity_is_called_fast():
    for dtype in (FAST, "int8", ""):
        with pytest.raises(BadInput, match=f"and '{dtype}' is none"):
            identify("bundled", dtype=dtype)


def test_it_is_measured_where_the_products_are_formed(monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(precision, "faster", lambda info, device: asked.append(str(device)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    info = describe("bundled")
    for device, device_map in ((None, None), ("cpu", None), ("cpu", "auto"), (None, {"model": "disk", "lm_head": 1}),
                               (None, {"": "cpu"})):
        choose_precision(info, device, device_map)
    assert asked == ["cuda", "cpu", "cuda", "cuda:1", "cpu"]
    with pytest.raises(BadInput, match="The device 'nowhere' cannot be used here"):
        choose_precision(info, "nowhere")
