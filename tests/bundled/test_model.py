"""The shipped weights keep what the model card promises, measured on the test split, which nothing was chosen on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from backend.bundled import measure
from backend.bundled.train import HERE
from backend.tasks.mini import MINI
from backend.tasks.task import prompts

SHOTS = (0, 1, 5, 10)
N_DRAWS = 20


@pytest.fixture(scope="module")
def model():
    return measure.load()


@pytest.fixture(scope="module")
def table(model):
    """accuracy[n_shots][task]"""
    return {n: measure.accuracies(model, n, "test") for n in SHOTS}


@pytest.fixture(scope="module")
def scores(model):
    return measure.prefix_matching(model)


def of_group(group):
    return {name: task for name, task in MINI.items() if task.group == group}


def test_the_folder_loads_offline_and_is_small():
    tokenizer = AutoTokenizer.from_pretrained(HERE, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(HERE, local_files_only=True, dtype=torch.float32)
    assert type(model).__name__ == "OPTForCausalLM"
    assert model.config.do_layer_norm_before
    assert model.config.max_position_embeddings >= 256
    assert len(tokenizer) == model.config.vocab_size
    assert sum(file.stat().st_size for file in Path(HERE).iterdir() if file.is_file()) < 20e6


def test_text_reads_the_same_in_pieces_and_comes_back():
    tokenizer = AutoTokenizer.from_pretrained(HERE, local_files_only=True)
    for task in MINI.values():
        for prompt in prompts(task, 2, n_examples=20):
            context = prompt.prefix + prompt.example.contexts[0]
            for option in prompt.example.options:
                joint = tokenizer(context + option).input_ids
                assert joint == tokenizer(context).input_ids + tokenizer(option, add_special_tokens=False).input_ids
                assert joint == measure.encode(context + option)
                assert tokenizer.unk_token_id not in joint
                assert tokenizer.decode(joint, skip_special_tokens=True) == context + option


def test_the_fast_pass_computes_what_the_model_computes(model):
    rows = [measure.encode(p.prefix + p.example.contexts[0]) for p in prompts(MINI["transfer"], 3, n_examples=4)]
    fast = measure.read(model, rows)
    for row, logits in zip(rows, fast, strict=True):
        with torch.no_grad():
            slow = model(torch.tensor([row])).logits[0, -1]
        torch.testing.assert_close(logits, slow, atol=2e-4, rtol=0)


def test_in_context_tasks_need_demonstrations_and_learn_from_them(table):
    tasks = of_group("in-context")
    chance = np.mean([task.chance for task in tasks.values()])
    zero, one, five, ten = (measure.mean(table[n], "in-context") for n in SHOTS)
    assert abs(zero - chance) <= 0.05
    assert zero < one < five
    assert ten >= five


def test_in_context_tasks_reach_their_aim(table):
    assert measure.mean(table[5], "in-context") >= 0.85


@pytest.mark.parametrize("group", ["knowledge", "reasoning"])
def test_knowledge_and_reasoning_are_answered_after_five_demonstrations(table, group):
    assert measure.mean(table[5], group) >= 0.85
    assert measure.mean(table[10], group) >= measure.mean(table[5], group) - 0.01


def test_knowledge_is_not_saturated_without_demonstrations(table):
    assert min(table[0][name] for name in of_group("knowledge")) < 0.9


@pytest.mark.parametrize("name", MINI)
def test_every_task_is_learnt(table, name):
    assert table[5][name] >= MINI[name].chance + 0.2


def test_a_few_heads_match_prefixes_and_most_do_not(scores):
    assert (scores >= 0.4).sum() >= 3
    assert (scores < 0.1).mean() >= 0.5


def test_in_context_learning_needs_the_induction_heads_and_knowledge_does_not(model, table, scores):
    heads = measure.induction_heads(scores)
    in_context, knowledge = of_group("in-context"), of_group("knowledge")
    without = measure.mean(measure.accuracies(model, 5, "test", measure.without(model, heads), in_context))
    controls = [
        measure.mean(measure.accuracies(model, 5, "test", measure.without(model, measure.random_heads(model, heads, i)),
                                        in_context, n_examples=40))
        for i in range(N_DRAWS)
    ]
    assert np.mean(controls) - without >= 0.20
    facts = measure.mean(measure.accuracies(model, 0, "test", measure.without(model, heads), knowledge))
    assert abs(facts - measure.mean(table[0], "knowledge")) < 0.05


def test_three_heads_in_ten_can_go(model, table):
    ranking = measure.ranked(model, n_examples=20)
    gone = ranking[: round(0.3 * len(ranking))]
    pruned = measure.mean(measure.accuracies(model, 5, "test", measure.without(model, gone)))
    assert measure.mean(table[5]) - pruned <= 0.05


def test_the_card_states_the_measured_accuracies(table):
    card = (HERE / "README.md").read_text()
    for name in MINI:
        row = next(line for line in card.splitlines() if line.startswith(f"| {name} "))
        stated = [float(cell) for cell in row.strip("| ").split("|")[-len(SHOTS):]]
        measured = [100 * table[n][name] for n in SHOTS]
        np.testing.assert_allclose(stated, measured, atol=1.0)


def test_config_names_a_plain_opt():
    config = json.loads((HERE / "config.json").read_text())
    assert config["model_type"] == "opt"
    assert config["activation_function"] == "relu"
