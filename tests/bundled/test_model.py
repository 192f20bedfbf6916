"""The shipped weights keep what the model card promises, measured on the test split, which nothing was chosen on."""

import copy
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
from backend.values import Head

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
    assert (model.config.num_hidden_layers, model.config.num_attention_heads) == (6, 8)
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
    assert ten >= five - 0.02  # ten show no more than five do


@pytest.mark.parametrize("group", measure.GROUPS)
def test_a_group_is_learnt_and_not_at_the_ceiling(table, group):
    assert 0.75 <= measure.mean(table[5], group) <= 0.95


def test_few_tasks_are_at_the_ceiling(table):
    assert sum(score > 0.97 for score in table[5].values()) <= 3


@pytest.mark.parametrize("name", of_group("in-context"))
def test_without_demonstrations_an_in_context_task_is_at_chance(table, name):
    assert abs(table[0][name] - MINI[name].chance) <= 0.14  # three standard errors of 120 queries


def test_no_head_is_dead(model):
    shares = measure.written(model)
    assert shares.shape == (6, 8)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert len(measure.dead_heads(shares)) <= 2


def test_a_head_without_output_is_found_dead_and_no_other(model):
    silenced = copy.deepcopy(model)
    with torch.no_grad():
        silenced.model.decoder.layers[2].self_attn.out_proj.weight[:, 3 * 16 : 4 * 16] = 0
    assert set(measure.dead_heads(measure.written(silenced, 1))) == {
        Head(2, 3), *measure.dead_heads(measure.written(model, 1))}


@pytest.mark.parametrize("name", MINI)
def test_every_task_is_learnt(table, name):
    aim = 0.18 if name == "label_form" else 0.2  # which falls short, as the card says
    assert table[5][name] >= MINI[name].chance + aim


def test_a_handful_of_heads_matches_prefixes_and_most_do_not(scores):
    assert 2 <= len(measure.induction_heads(scores)) <= 12
    assert (scores < 0.1).mean() >= 0.5


def test_in_context_learning_needs_the_induction_heads_and_knowledge_does_not(model, table, scores):
    heads = measure.induction_heads(scores)
    in_context, knowledge = of_group("in-context"), of_group("knowledge")
    without = measure.mean(measure.accuracies(model, 5, "test", measure.without(model, heads), in_context))
    controls = [
        measure.mean(measure.accuracies(
            model, 5, "test", measure.without(model, measure.random_heads(model, len(heads), i, heads)), in_context,
            n_examples=40))
        for i in range(N_DRAWS)
    ]
    assert np.mean(controls) - without >= 0.20
    facts = measure.mean(measure.accuracies(model, 0, "test", measure.without(model, heads), knowledge))
    assert abs(facts - measure.mean(table[0], "knowledge")) < 0.05


def test_one_head_in_ten_can_go_and_half_of_them_cannot(model, table):
    ranking = measure.ranked(model, n_examples=20)
    tenth, half = (measure.mean(measure.accuracies(model, 5, "test", measure.without(
        model, ranking[: int(share * len(ranking))]), n_examples=60)) for share in (0.1, 0.5))
    assert measure.mean(table[5]) - tenth <= 0.05
    assert measure.mean(table[5]) - half >= 0.15


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
