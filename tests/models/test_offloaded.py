"""Weights on the disk: the same numbers, one matrix in memory at a time; and layers on several devices."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from accelerate.utils.offload import OffloadedWeightsLoader

from backend.engine import batches, gradients
from backend.engine.batches import tokens_per_pass
from backend.errors import BadInput, ModelError
from backend.kinds.evaluation import evaluate
from backend.kinds.head_importance import head_importance
from backend.kinds.induction import copying, prefix_matching
from backend.kinds.means import mean_activations
from backend.kinds.writes import head_writes
from backend.lens.patterns import direct_contributions
from backend.models.adapters import adapter_for
from backend.models.loading import LoadedModel, load_model, prepare
from backend.models.offloaded import device_of, is_offloaded, offloaded, weight
from backend.models.pruned import zeroed
from backend.values import INTACT, Ablation, Head
from tests.benchmarks import streamed
from tests.engine.test_gradients import FIXED, PROMPTS
from tests.models.small import small_network, small_tokenizer

ROOT = Path(__file__).parents[2]
MASKS = [INTACT, Ablation(frozenset({Head(1, 1)}), frozenset({0})), Ablation(frozenset({Head(2, 1)}))]


def saved(architecture: str, folder: Path) -> tuple[Path, dict[str, str]]:
    """A model's folder, and the map that leaves its blocks on the disk and all else in memory."""
    network = small_network(architecture)
    network.save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    blocks = adapter_for(network.config.model_type).blocks
    places = {name: "cpu" for name, child in network.named_modules() if not list(child.children())
              and not name.startswith(blocks + ".")}
    return folder, places | {f"{blocks}.{layer}": "disk" for layer in range(len(network.get_submodule(blocks)))}


@pytest.fixture(scope="module")
def opt(tmp_path_factory) -> tuple[LoadedModel, LoadedModel]:
    """One model in memory, and on the disk."""
    folder, places = saved("opt", tmp_path_factory.mktemp("models") / "opt")
    return load_model(str(folder)), load_model(str(folder), device_map=places)


MEASUREMENTS: dict[str, Any] = {
    "evaluation": lambda model: [one.loglikelihoods for one in evaluate(model, FIXED, MASKS)],
    "together": lambda model: [one.loglikelihoods for one in evaluate(model, FIXED, MASKS, together=True)],
    "importance": lambda model: head_importance(model, PROMPTS).scores("per-token"),
    "importance behind shared demonstrations": lambda model: head_importance(model, FIXED).scores("per-example"),
    "writes": lambda model: head_writes(model, PROMPTS).norms,
    "means": lambda model: mean_activations(model, PROMPTS).heads,
    "prefix matching": lambda model: prefix_matching(model, 2).mean,
    "copying": lambda model: copying(model, 2).mean,
    "contributions": lambda model: direct_contributions(model, [0, *range(20, 30)], 7).heads,
}


@pytest.mark.parametrize("what", MEASUREMENTS)
def test_a_model_on_the_disk_gives_the_very_numbers_of_the_one_in_memory(opt, what, monkeypatch):
    monkeypatch.setattr(gradients, "SHARING_WIDTH", 0)
    in_memory, on_disk = opt
    assert {is_offloaded(module) for module in on_disk.attn_outs.values()} == {True}
    assert on_disk.proof.endswith("(its weights are offloaded, so nothing was switched off by hand)")
    measure = MEASUREMENTS[what]
    found, expected = (np.concatenate([np.ravel(row) for one in measure(model) for row in one]) for model in opt[::-1])
    assert np.array_equal(found, expected)
    assert in_memory.id == on_disk.id  # so that results of both are the same results
    assert all(p.is_meta for block in on_disk.blocks for p in block.parameters())  # and all of it is let go again


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2", "mixtral"])
def test_other_architectures_do_so_too(architecture, tmp_path, monkeypatch):
    monkeypatch.setattr(gradients, "SHARING_WIDTH", 0)
    folder, places = saved(architecture, tmp_path / "model")
    in_memory, on_disk = load_model(str(folder)), load_model(str(folder), device_map=places)
    for what in ("evaluation", "importance behind shared demonstrations"):
        found, expected = (np.concatenate([np.ravel(row) for one in MEASUREMENTS[what](model) for row in one])
                           for model in (on_disk, in_memory))
        assert np.array_equal(found, expected)


def test_weights_in_main_memory_that_another_device_uses_are_the_same_case(monkeypatch):
    """As behind a GPU that is too small: accelerate keeps them apart and brings them in."""
    network = small_network("llama, grouped queries")
    plain = prepare(small_network("llama, grouped queries"), small_tokenizer(), "llama", "")
    cpu_offload(network, execution_device=torch.device("cpu"))  # the embedding and the head too
    away = prepare(network, small_tokenizer(), "llama", "")
    assert away.device == device_of(away.blocks[0]) == torch.device("cpu")
    for measure in (MEASUREMENTS["evaluation"], MEASUREMENTS["importance"]):
        found, expected = (np.concatenate([np.ravel(row) for one in measure(model) for row in one])
                           for model in (away, plain))
        assert np.array_equal(found, expected)
    assert torch.equal(weight(away.model.lm_head), plain.model.lm_head.weight)


class Counting:
    """How many bytes of weights that were brought in are there at a time, at most, and how often one was read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.most, self.reads, read = 0, 0, OffloadedWeightsLoader.__getitem__

        def counted(loader: Any, key: str) -> torch.Tensor:
            found = read(loader, key)
            self.alive.add(found.untyped_storage())
            self.most = max(self.most, sum(one.nbytes() for one in self.alive))
            self.reads += 1
            return found

        monkeypatch.setattr(OffloadedWeightsLoader, "__getitem__", counted)


def test_gradients_hold_one_matrix_at_a_time_and_read_each_twice(opt, monkeypatch):
    counting = Counting(monkeypatch)
    head_importance(opt[1], PROMPTS)
    block = opt[1].blocks[0]
    largest = max(p.numel() for p in block.parameters()) * 4
    assert counting.most <= 3 * largest < sum(p.numel() for p in block.parameters()) * 4
    assert counting.reads <= 2 * sum(len(list(block.parameters())) for block in opt[1].blocks) + 20


def test_an_ffn_that_is_off_is_not_read(opt, monkeypatch):
    evaluate(opt[1], PROMPTS[:1])
    counting = Counting(monkeypatch)
    evaluate(opt[1], PROMPTS[:1])
    intact, counting.reads = counting.reads, 0
    evaluate(opt[1], PROMPTS[:1], [Ablation(ffns=frozenset({1}))])
    assert counting.reads == intact - 4  # two weights and two biases


def test_threads_may_share_a_model_on_the_disk(opt):
    expected = evaluate(opt[0], PROMPTS, MASKS)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(evaluate, opt[1], PROMPTS, MASKS) for _ in range(8)]
        assert all(run.result() == expected for run in runs)


def test_a_placement_leaves_on_the_disk_what_there_is_no_room_for(opt, tmp_path):
    folder, _ = saved("opt", tmp_path / "opt")
    n_bytes = sum(p.numel() for p in opt[0].model.parameters()) * 4
    model = load_model(str(folder), device_map="auto", max_memory={"cpu": int(0.8 * n_bytes)})
    there = [layer for layer, module in model.attn_outs.items() if not is_offloaded(module)]
    assert 0 < len(there) < model.n_layers
    assert model.proof.endswith(f"intact and with L{there[len(there) // 2]}H3,F2 off")
    assert evaluate(model, FIXED, MASKS) == evaluate(opt[0], FIXED, MASKS)
    assert not offloaded(load_model(str(folder), device_map="auto").model)  # there is room for all of it


def test_what_is_written_anew_for_the_disk_goes_with_its_model_and_else_nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_CACHE", str(tmp_path / "results"))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    killed, elsewhere, alive = ((tmp_path / "results" / f"offloaded-{pid}@{host}-x") for pid, host in (
        (gone.pid, socket.gethostname()), (gone.pid, "another"), (os.getppid(), socket.gethostname())))
    for folder in (killed, elsewhere, alive):
        folder.mkdir(parents=True)
        (folder / "weights").touch()
    folder, places = saved("opt", tmp_path / "opt")
    kept = load_model(str(folder), device_map=places)  # read from its own files
    assert set((tmp_path / "results").iterdir()) == {elsewhere, alive}
    folder, places = saved("mixtral", tmp_path / "mixtral")
    model = load_model(str(folder), device_map=places)
    (written,) = set((tmp_path / "results").iterdir()) - {elsewhere, alive}
    assert list(written.glob("*experts*"))
    evaluate(model, FIXED, MASKS[:1])
    del model
    gc.collect()
    assert set((tmp_path / "results").iterdir()) == {elsewhere, alive}
    evaluate(kept, FIXED, MASKS[:1])


def test_what_cannot_be_placed_is_said(opt, tmp_path):
    folder, _ = saved("opt", tmp_path / "opt")
    with pytest.raises(BadInput, match=r"Unknown placement 'cuda:0'. Known: auto, .*one device is named with --device"):
        load_model(str(folder), device_map="cuda:0")
    with pytest.raises(BadInput, match=r"There is no device 'cuda:7' here. Known: "):
        load_model(str(folder), device_map="auto", max_memory={"cuda:7": 1})
    with pytest.raises(BadInput, match="say --device-map"):
        load_model(str(folder), max_memory={"cpu": 10**9})
    with pytest.raises(ModelError, match=r"are offloaded. Load all of them to write them"):
        zeroed(opt[1], MASKS[1])


def test_a_model_that_asks_its_absent_embedding_where_it_is_gets_a_sentence(tmp_path):
    folder, places = saved("llama4", tmp_path / "llama4")
    with pytest.raises(ModelError, match=r"does not run where its weights lie: .* Keep its embedding in memory"):
        load_model(str(folder), device_map=places | {"model.embed_tokens": "disk"})


def test_passes_over_weights_from_the_disk_are_large_for_each_reads_them_all(opt, monkeypatch):
    assert [tokens_per_pass(model) for model in opt] == [1024, 16384]
    widest = max(p.numel() * 4 for p in opt[1].blocks[0].parameters())
    monkeypatch.setattr(batches, "free_memory", lambda: widest + 2 * 10**6)
    assert tokens_per_pass(opt[1]) == 512  # what is left beside the matrix that was brought in


def test_the_benchmark_of_a_model_from_the_disk_runs_in_small(tmp_path):
    of_layer = streamed.write(tmp_path / "model", 3, streamed.SMALL)
    found, model = streamed.run(tmp_path / "model", (tmp_path / "model" / "rest.safetensors").stat().st_size
                                + of_layer * 6 // 5)
    assert [one.what for one in found][1:] == ["two questions", "two questions, F1 off",
                                               "head importance of one example"]
    assert all(is_offloaded(module) for module in model.attn_outs.values())


LOADING = """
import sys, threading, time
from backend.models.loading import load_model
import backend.engine.proof
from transformers import OPTForCausalLM

def taken():  # resident memory: what was made, and that with pages of mapped files
    rows = dict(line.split(":") for line in open("/proc/self/status") if line.startswith("Rss"))
    made, mapped = (int(rows[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
    return made, made + mapped

before, most, going = taken(), (0, 0), True
def watch():
    global most
    while going:
        most = tuple(map(max, most, taken()))
        time.sleep(0.001)
watcher = threading.Thread(target=watch)
watcher.start()
model = load_model(sys.argv[1], dtype=sys.argv[2])
going = False
watcher.join()
print(most[0] - before[0], most[1] - before[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read as Linux tells it")
@pytest.mark.parametrize(("dtype", "made", "mapped"), [("float32", 1, 1), ("bfloat16", 0.5, 1)])
def test_weights_are_never_in_memory_twice(tmp_path, dtype, made, mapped):
    """They are copied one by one out of the file's own pages, which the system may drop."""
    folder = tmp_path / "model"
    network = small_network("opt", hidden_size=768, word_embed_proj_dim=768, ffn_dim=3072, num_hidden_layers=4)
    network.save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    n_bytes = sum(p.numel() for p in network.parameters()) * 4
    del network
    done = subprocess.run([sys.executable, "-c", LOADING, str(folder), dtype], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    anew, together = map(int, done.stdout.split()[-2:])
    assert made * n_bytes <= anew < made * n_bytes + 0.4 * n_bytes
    assert 0.9 * (made + mapped) * n_bytes < together < (made + mapped) * n_bytes + 0.4 * n_bytes


def test_layers_may_lie_on_several_devices():
    some = ["opt", "gemma2", "gemma3n, four streams"]
    done = subprocess.run([sys.executable, "-m", "tests.engine.several_devices", *some], cwd=ROOT, capture_output=True,
                          text=True)
    for architecture in some:
        assert f"{architecture}: 5 passes over" in done.stdout, done.stderr[-2000:]
