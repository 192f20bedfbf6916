"""What the whole process shares stays as it was: other people's models and other threads never notice us."""

import logging
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.utils import logging as transformers_logging

from backend.engine import gradients
from backend.kinds.evaluation import evaluate
from backend.kinds.head_importance import head_importance
from backend.kinds.induction import copying, prefix_matching
from backend.kinds.means import mean_activations
from backend.lens.patterns import attention_patterns, direct_contributions, next_tokens
from backend.models.loading import LoadedModel, prepare
from backend.tasks.task import Prompt, multiple_choice
from backend.values import INTACT, Ablation, Head
from tests.models.small import small_network, small_tokenizer

ROOT = Path(__file__).parents[2]
DEMOS = ("Question: the cat sat on the?\nAnswer: mat", "Question: is it blue?\nAnswer: no")
PROMPTS = [Prompt(multiple_choice(f"Question: {text}?\nAnswer:", ["yes", "no cat"], 0), DEMOS, i)
           for i, text in enumerate(["the man sat", "one two three", "is it red"])]


def shared_settings() -> dict[str, Any]:
    """What a library could change for everybody else in its process."""
    cuda = torch.backends.cuda
    return {
        "kernels": (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled(),
                    cuda.cudnn_sdp_enabled()),
        "attention": {name: f for name, f in AttentionInterface._global_mapping.items() if name != "headroom"},
        "masks": {name: f for name, f in AttentionMaskInterface._global_mapping.items() if name != "headroom"},
        "precision": (torch.get_float32_matmul_precision(), cuda.matmul.allow_tf32, torch.get_default_dtype()),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "random numbers": (torch.get_rng_state().tolist(), str(np.random.get_state())),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "exactness": (torch.are_deterministic_algorithms_enabled(), torch.get_deterministic_debug_mode()),
        "warnings": list(warnings.filters),
        "logging": (transformers_logging.get_verbosity(), logging.root.level, list(logging.root.handlers)),
    }


@pytest.fixture
def model(monkeypatch) -> LoadedModel:
    monkeypatch.setattr(gradients, "SHARING_WIDTH", 0)  # demonstrations are read once in small models too
    return prepare(small_network("opt"), small_tokenizer(), "opt", "")


OFF = Ablation(frozenset({Head(1, 1)}), frozenset({0}))
IDS = [0, *range(20, 30)]
MEASUREMENTS = {
    "evaluation": lambda model: evaluate(model, PROMPTS, [INTACT, OFF]),
    "importance": lambda model: head_importance(model, PROMPTS),
    "means": lambda model: mean_activations(model, PROMPTS),
    "prefix matching": lambda model: prefix_matching(model, 2),
    "copying": lambda model: copying(model, 2),
    "patterns": lambda model: attention_patterns(model, IDS, [1], OFF),
    "next tokens": lambda model: next_tokens(model, IDS),
    "contributions": lambda model: direct_contributions(model, IDS, 7),
}


@pytest.mark.parametrize("measure", MEASUREMENTS.values(), ids=MEASUREMENTS)
def test_measuring_changes_no_setting_that_others_share_not_even_meanwhile(measure, model):
    before, meanwhile = shared_settings(), []
    model.blocks[0].register_forward_pre_hook(lambda *args: meanwhile.append(shared_settings()))
    measure(model)
    assert shared_settings() == before
    assert meanwhile
    of_this_thread = {"gradients"}
    for found in meanwhile:
        assert {k: v for k, v in found.items() if k not in of_this_thread} == {
            k: v for k, v in before.items() if k not in of_this_thread}


def test_two_threads_that_measure_importance_behind_a_shared_prefix_leave_the_fused_kernel_on(model):
    before, alone = shared_settings(), head_importance(model, PROMPTS)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda _: head_importance(model, PROMPTS), range(6)))
    assert shared_settings() == before
    assert all(one == alone for one in found)


def test_importing_and_loading_leaves_the_attention_of_other_models_as_it_was():
    code = """
import warnings, torch, transformers
from transformers import AttentionInterface, AttentionMaskInterface
before = dict(AttentionInterface._global_mapping), dict(AttentionMaskInterface._global_mapping), list(warnings.filters)
import backend.engine.passes, backend.engine.gradients, backend.engine.induction, backend.lens.patterns
from backend.models.loading import load_model
from tests.models.small import small_network
other = small_network('opt')
load_model()
found = dict(AttentionInterface._global_mapping), dict(AttentionMaskInterface._global_mapping), list(warnings.filters)
ours = found[0].pop('headroom'), found[1].pop('headroom')
assert AttentionInterface()['sdpa'] is transformers.integrations.sdpa_attention.sdpa_attention_forward
assert other.config._attn_implementation == 'sdpa'
print(found == before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr
