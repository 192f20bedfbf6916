"""Plans for machines that are not here: counts against measured ones, and what is said against what was counted."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from backend.__main__ import BAD_INPUT, DONE, _request, main, parser
from backend.errors import ModelError
from backend.kinds import Evaluation, HeadImportance
from backend.models.loading import LoadedModel, prepare
from backend.models.shapes import KNOWN, Shape, shape_of
from backend.runs.forecast import (
    ASSUMED,
    Placement,
    Work,
    longest_chain,
    memory,
    operations,
    place,
    read_of,
    work,
)
from backend.runs.hardware import parse
from backend.runs.plan import Step
from backend.tasks.lengths import LENGTHS
from backend.tasks.registry import get_task
from backend.values import ModelId, Setup, TaskId
from tests.benchmarks.cluster import Work as Played
from tests.benchmarks.cluster import play
from tests.models.small import small_network, small_tokenizer

ROOT = Path(__file__).parents[2]
WORDS = tuple("the cat sat on mat dog ran to man red green blue one two three yes no true false".split())  # noqa: SIM905
WIDE = {"hidden_size": 256, "word_embed_proj_dim": 256, "ffn_dim": 1024, "num_hidden_layers": 8,
        "num_attention_heads": 8, "max_position_embeddings": 1024}


def _text(draw: random.Random, least: int, most: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(least, most)))


def _task(folder: Path, questions: list[str], draw: random.Random) -> TaskId:
    file = folder / "words.jsonl"
    file.write_text("".join(json.dumps({"query": question, "options": [_text(draw, 4, 12) for _ in range(4)],
                                        "gold": draw.randrange(4)}) + "\n" for question in questions))
    name = f"own:{file}"
    return TaskId(name, get_task(name).fingerprint)


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> TaskId:
    """Questions of ordinary length: very short ones are padded more than is counted."""
    draw = random.Random(0)
    return _task(tmp_path_factory.mktemp("tasks"), [_text(draw, 40, 80) for _ in range(100)], draw)


@pytest.fixture(scope="module")
def about_paragraphs(tmp_path_factory) -> TaskId:
    """Ten questions about each of ten paragraphs, as in MultiRC."""
    draw = random.Random(0)
    questions = [f"{paragraph} {_text(draw, 6, 10)}" for paragraph in [_text(draw, 60, 100) for _ in range(10)]
                 for _ in range(10)]
    return _task(tmp_path_factory.mktemp("paragraphs"), questions, draw)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return prepare(small_network("opt", **WIDE), small_tokenizer(), "opt", "", proven=False)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    """A config, and nothing else."""
    place = tmp_path_factory.mktemp("models") / "config-alone"
    model.model.config.save_pretrained(place)
    return place


_aten = torch.ops.aten
ON_A_PROCESSOR = {  # torch's counter knows the GPUs' kernels alone
    _aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, out_val=None, **__: sdpa_flop_count(q, k, v),
    _aten._scaled_dot_product_flash_attention_for_cpu_backward:
        lambda grad, q, k, v, *_, out_val=None, **__: sdpa_backward_flop_count(grad, q, k, v)}


@pytest.mark.parametrize(("kind", "n_shots", "demos", "n"), [
    (Evaluation, 0, "fixed", 24), (Evaluation, 1, "per-query", 12), (Evaluation, 1, "fixed", 24),
    (HeadImportance, 0, "fixed", 24)])
def test_operations_are_within_5_percent_of_those_that_torch_counts(model, folder, task, kind, n_shots, demos, n):
    unit = kind(Setup(model.id, task, n_shots, demos, n, 0, 2))
    with FlopCounterMode(display=False, custom_mapping=ON_A_PROCESSOR) as counter:
        unit.measure(model, [], None)
    shape = shape_of(str(folder))
    read = read_of(unit, shape.info, lambda text: len(model.encode(text)))
    planned = operations(shape.info, shape.parts, read, unit.BACKWARDS)
    assert planned == pytest.approx(counter.get_total_flops(), rel=0.05)


@pytest.mark.parametrize("n_shots", [0, 1])
def test_what_questions_begin_with_alike_is_counted_once(model, folder, about_paragraphs, n_shots):
    unit = Evaluation(Setup(model.id, about_paragraphs, n_shots, "fixed", 40, 0, 1))
    with FlopCounterMode(display=False, custom_mapping=ON_A_PROCESSOR) as counter:
        unit.measure(model, [], None)
    shape = shape_of(str(folder))
    read = read_of(unit, shape.info, lambda text: len(model.encode(text)))
    assert operations(shape.info, shape.parts, read) == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_parts_add_up_to_the_parameters_of_the_model_itself(model, folder):
    parts = shape_of(str(folder)).parts
    assert parts.total == sum(p.numel() for p in model.model.parameters())
    assert parts.attention == sum(p.numel() for block in model.blocks for p in block.self_attn.parameters())
    assert parts.ffn == sum(block.fc1.weight.numel() + block.fc2.weight.numel() for block in model.blocks)
    assert parts.head == parts.unembedding == model.model.lm_head.weight.numel()  # not tied in this one
    assert parts.d_kv == 256


@pytest.mark.parametrize(("name", "n_params"), [
    ("facebook/opt-125m", 125_239_296), ("facebook/opt-350m", 331_196_416), ("gpt2", 124_439_808),
    ("facebook/opt-66b", 65_719_701_504)])
def test_shapes_that_are_known_here_have_the_published_number_of_parameters(name, n_params):
    assert shape_of(name).info.n_params == n_params
    assert shape_of(name).source == "its published shape, known here"


MEASURED = """
import sys
import torch
from backend.engine.gradients import gate_gradients
from backend.engine.trees import Scored
from backend.models.loading import load_model
from transformers import OPTForCausalLM

def taken(what):  # resident memory: VmRSS, now; VmHWM, the most so far, as the system itself keeps it
    (row,) = (line for line in open("/proc/self/status") if line.startswith(what))
    return int(row.split()[1]) * 1024

before = taken("VmRSS")
model = load_model(sys.argv[1])
draw = torch.Generator().manual_seed(0)
pairs = [Scored(tuple(torch.randint(0, 300, (112,), generator=draw).tolist()), (5,) * 16) for _ in range(8)]
gate_gradients(model, pairs, batch_tokens=1024)
print(taken("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read as Linux tells it")
def test_memory_is_within_15_percent_of_what_a_process_takes(tmp_path):
    """Weights of about 230 MB and gradients over passes of 1,024 tokens, by the peak of resident memory."""
    network = small_network("opt", **{**WIDE, "hidden_size": 768, "word_embed_proj_dim": 768, "ffn_dim": 3072,
                                      "num_attention_heads": 12})
    network.save_pretrained(tmp_path / "model")
    small_tokenizer().save_pretrained(tmp_path / "model")
    done = subprocess.run([sys.executable, "-c", MEASURED, str(tmp_path / "model")], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    planned = memory(shape_of(str(tmp_path / "model")), "float32", True, gpu=False)
    assert planned.tokens == 1024
    assert planned.activations > planned.weights  # so that the one does not hide the other
    assert planned.total == pytest.approx(int(done.stdout.split()[-1]), rel=0.15)


def test_a_replica_takes_as_few_devices_as_hold_it():
    large, small = shape_of("facebook/opt-66b"), shape_of("facebook/opt-125m")
    assert place(large, "bfloat16", parse("8xA100-80G")) == Placement(2, 4, True)
    assert place(large, "float32", parse("8xA100-80G")).devices == 4
    assert place(small, "float32", parse("8xA100-80G")) == Placement(1, 8, True)
    assert not place(large, "bfloat16", parse("1xA100-80G")).fits


def test_a_replica_lies_within_one_of_several_machines():
    large = shape_of("facebook/opt-66b")
    placed = place(large, "bfloat16", parse("4x8xA100-80G"))
    assert placed == Placement(2, 16, True)
    assert placed.option(parse("4x8xA100-80G")) == "--cluster ADDRESS --gpus-per-worker 2 --workers 16"
    assert place(large, "bfloat16", parse("8xA100-80G")).option(parse("8xA100-80G")) == (
        "--cluster local --gpus-per-worker 2 --workers 4")
    assert place(large, "bfloat16", parse("4x1xA100-80G")) == Placement(1, 4, False)
    assert place(large, "bfloat16", parse("4x3xA100-80G")).replicas == 4  # the third is spare in each


@pytest.fixture(scope="module")
def study() -> tuple[Work, Shape]:
    """The study on OPT-66B, by the mean lengths of its tasks."""
    shape = shape_of("facebook/opt-66b")
    args = parser().parse_args(["plan", "--model", "facebook/opt-66b", "--what", "importance,ffns,pruning"])
    request = _request(args, ModelId("facebook/opt-66b", "", "", False, "bfloat16"), shape.info)
    tasks = tuple(TaskId(name, ASSUMED) for name in LENGTHS)
    return work(replace(request, tasks=tasks), shape), shape


@pytest.mark.parametrize("n", [2, 16, 40, 128])
def test_hours_on_many_replicas_are_those_of_the_schedule_that_runs_them(study, n: int):
    of, shape = study
    steps = [Played(Step(unit, False, tokens), made, unit.pieces(shape.info)) for unit, (tokens, made) in of.items()]
    told = max(sum(made for _, made in of.values()) / n, longest_chain(of, shape.info))
    assert told <= play(steps, n, 0.0).seconds * 1.0001 <= told * 1.05


def test_a_plan_for_a_cluster_says_its_hours_and_how_to_use_it(capsys, monkeypatch):
    monkeypatch.delenv("HEADROOM_DATA", raising=False)
    told = {}
    for machine in ("1x8xA100-80G", "8xA100-80G", "4x8xA100-80G", "100x8xA100-80G"):
        assert main([*OPT_66B, machine, "--what", "accuracy,importance,ffns,pruning,induction"]) == DONE
        out = told[machine] = capsys.readouterr().out
        assert len(out.splitlines()) <= 45
        assert max(map(len, out.splitlines())) <= 160
    hours = {machine: float(re.search(r"^together .* ([\d,]+\.\d)$", out, re.MULTILINE)[1])
             for machine, out in told.items()}
    assert told["1x8xA100-80G"] == told["8xA100-80G"]
    assert hours["4x8xA100-80G"] == pytest.approx(hours["8xA100-80G"] / 4, abs=0.1)
    out = told["4x8xA100-80G"]
    assert "4 side by side on each of 4 nodes, 16 in all" in out
    assert "\nto use all: precompute ... --cluster ADDRESS --gpus-per-worker 2 --workers 16\n" in out
    enough = int(re.search(r"longest chain of results: .* so more than (\d+) replicas are no faster", out)[1])
    assert 16 < enough < 400
    assert hours["100x8xA100-80G"] == pytest.approx(hours["8xA100-80G"] * 4 / enough, rel=0.1)  # not by 400 replicas
    low = float(re.search(r"cost: \$([\d,]+) to", out)[1].replace(",", ""))
    assert low == pytest.approx(32 * 1.1 * hours["4x8xA100-80G"], rel=0.02)


OPT_66B = ["plan", "--model", "facebook/opt-66b", "--tasks", "paper", "--shots", "0,1,5", "--hardware"]


def test_a_plan_for_opt_66b_needs_no_weights_no_rows_and_no_network(capsys, monkeypatch):
    monkeypatch.delenv("HEADROOM_DATA", raising=False)
    assert main([*OPT_66B, "8xA100-80G"]) == DONE
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= 45
    assert max(map(len, out.splitlines())) <= 160
    assert "facebook/opt-66b in bfloat16, 64 layers x 72 heads" in out
    assert re.search(r"together +65,719,701,504 +131 GB", out)
    assert "a replica over 2 devices (layers 0-31, 32-63), which work in turn; 4 side by side" in out
    assert "the rows of 14 tasks are not here" in out
    shares = [float(x) for x in re.findall(r"(\d+\.\d)%$", out, re.MULTILINE)]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert shares[:-1] == sorted(shares[:-1], reverse=True)  # the last row is all others
    hours = float(re.search(r"^together .* ([\d,]+\.\d)$", out, re.MULTILINE)[1].replace(",", ""))
    low, high = (float(x.replace(",", "")) for x in re.search(r"cost: \$([\d,]+) to \$([\d,]+)", out).groups())
    assert (low, high) == (pytest.approx(8 * 1.1 * hours, abs=1), pytest.approx(8 * 4.1 * hours, abs=1))


def test_half_the_share_takes_twice_as_long_and_what_does_not_fit_is_said(capsys, monkeypatch):
    monkeypatch.delenv("HEADROOM_DATA", raising=False)
    found = []
    for share in ("0.4", "0.2"):
        assert main([*OPT_66B, "8xA100-80G", "--what", "accuracy", "--peak-share", share, "--price", "2"]) == DONE
        found.append(capsys.readouterr().out)
    dollars = [float(re.search(r"cost: \$([\d,]+) to", out)[1].replace(",", "")) for out in found]
    assert dollars[1] == pytest.approx(2 * dollars[0], abs=1)
    assert main([*OPT_66B, "1xA100-80G", "--what", "accuracy"]) == DONE
    out = capsys.readouterr().out
    assert "does not fit: layers beyond the memory are read from the disk" in out
    assert out.count("DOES NOT FIT") == 2
    assert "reading weights at 3 GB/s" in out


def test_a_dry_run_tells_the_same_of_another_machine(capsys, tmp_path):
    assert main(["precompute", "--tasks", "antonym", "--what", "accuracy", "--dry-run", "--hardware", "1xT4", "--store",
                 str(tmp_path)]) == DONE
    out = capsys.readouterr().out
    assert "bundled in float32, 6 layers x 8 heads" in out
    assert "a replica on one device; 1 side by side" in out


def test_what_cannot_be_planned_is_said(capsys, tmp_path, monkeypatch):
    with pytest.raises(SystemExit):
        main([*OPT_66B, "8xZ900"])
    assert "No device 'Z900' is known" in capsys.readouterr().err
    assert main(["plan", "--model", str(tmp_path)]) == BAD_INPUT
    assert "has no config.json: a plan needs that file of it, and no other" in capsys.readouterr().err
    monkeypatch.setattr("backend.models.shapes.locate", _no_network)
    assert main(["plan", "--model", "owner/unknown"]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "the hub cannot be reached" in said
    assert "put config.json into a folder" in said
    assert all(name in said for name in KNOWN)


def _no_network(name: str, revision: str | None, weights: bool) -> None:
    raise ModelError(f"'{name}' is not in the local cache, and the hub cannot be reached.")


def test_lengths_without_rows_are_those_of_the_rows(shared, monkeypatch):
    """Where the rows are: of each task's first 100, by the tokenizer that was used."""
    from tokenizers import ByteLevelBPETokenizer

    from backend.tasks.task import iter_prompts

    monkeypatch.setenv("HEADROOM_DATA", str(shared / "data"))
    folder = shared / "data" / "tokenizer-gpt2"
    tokenizer = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    for name in ("piqa", "boolq", "copa"):
        contexts, options, demos, n_options = [], [], [], []
        for prompt in iter_prompts(get_task(name), 1, "fixed", 100, 0, "validation", 10):
            example, n = prompt.example, {one: len(tokenizer.encode(one).ids) for one in prompt.example.contexts}
            contexts.append(sum(n.values()))
            options.append(sum(len(tokenizer.encode(context + option).ids) - n[context]
                               for context, option in zip(example.contexts, example.options, strict=True)))
            demos.append(len(tokenizer.encode(prompt.prefix).ids))
            n_options.append(len(example.options))
        found = [sum(counts) / len(counts) for counts in (demos, contexts, options)]
        assert found == pytest.approx(LENGTHS[name][:3], rel=0.03, abs=0.5)
        assert sum(n_options) / len(n_options) == LENGTHS[name].n_options
