"""What is made ready for a model stays beside it, within its budget, and both are gone once nobody holds the model."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

import psutil
import pytest

from backend.engine import gradients, passes
from backend.errors import BadInput
from backend.kinds import Evaluation, compute
from backend.kinds.evaluation import evaluate
from backend.kinds.head_importance import head_importance
from backend.kinds.induction import copying, prefix_matching
from backend.kinds.means import mean_activations
from backend.lens.patterns import attention_patterns, direct_contributions
from backend.models.loading import LoadedModel, load_model, prepare
from backend.models.ready import Ready
from backend.store.live import Store
from backend.tasks.task import Prompt, multiple_choice
from backend.values import INTACT, Ablation, Head
from tests.models.small import setup_of, small_model, small_network, small_tokenizer

OFF = Ablation(frozenset({Head(1, 1)}), frozenset({0}))
DEMOS = ("Question: the cat sat on the?\nAnswer: mat",)
PROMPTS = [Prompt(multiple_choice(f"Question: {text}?\nAnswer:", ["yes", "no cat"], 0), DEMOS, i)
           for i, text in enumerate(["the man sat", "is it red"])]


@dataclass
class Thing:
    state_bytes: int = 1


def test_what_is_kept_is_made_once():
    ready, thing = Ready(), Thing()
    assert ready.get("a", lambda: thing) is thing
    assert ready.get("a", Thing) is thing
    assert ready.get("b", Thing) is not thing


def test_the_one_that_was_used_least_lately_goes_first():
    ready = Ready(n_kept=2)
    first, second = ready.get("a", Thing), ready.get("b", Thing)
    assert ready.get("a", Thing) is first
    ready.get("c", Thing)
    assert len(ready) == 2
    assert ready.get("a", Thing) is first
    assert ready.get("b", Thing) is not second


def test_the_budget_holds_for_all_together_but_the_last_one_always_stays():
    ready = Ready(n_bytes=10)
    for name, size in (("a", 4), ("b", 4), ("c", 4)):
        ready.get(name, lambda size=size: Thing(size))
    assert len(ready) == 2
    large = ready.get("large", lambda: Thing(100))
    assert len(ready) == 1
    assert ready.get("large", Thing) is large


def test_what_could_not_be_made_is_not_kept():
    ready = Ready()
    with pytest.raises(KeyError):
        ready.get("a", lambda: {}["nothing"])
    assert len(ready) == 0


def test_two_threads_that_make_the_same_share_one():
    ready, both = Ready(), Barrier(2)

    def make() -> Thing:
        both.wait(10)
        return Thing()

    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: ready.get("a", make), range(2))
    assert one is other


def fresh() -> LoadedModel:
    return prepare(small_network("opt"), small_tokenizer(), "opt", "0")


@pytest.mark.parametrize("use", [
    lambda model, store: compute(Evaluation(setup_of(model, "antonym", 2, n_examples=4), OFF),
                                         store, model),
    lambda model, store: head_importance(model, PROMPTS),
    lambda model, store: evaluate(model, PROMPTS, [INTACT, OFF]),
    lambda model, store: mean_activations(model, PROMPTS),
    lambda model, store: (prefix_matching(model, 2), copying(model, 2)),
    lambda model, store: (attention_patterns(model, [0, 20, 30], [1], OFF), direct_contributions(model, [0, 20], 7)),
], ids=["stored evaluation", "importance", "evaluation", "means", "induction", "lens"])
def test_a_model_that_nobody_holds_is_gone_at_once_with_all_that_was_made_ready_for_it(use, tmp_path, monkeypatch):
    monkeypatch.setattr(gradients, "SHARING_WIDTH", 0)
    model = fresh()
    use(model, Store(tmp_path))
    kept = [weakref.ref(thing) for thing in model.ready._kept.values()]
    gone = [weakref.ref(part) for part in (model, model.model, *model.blocks, *model.attn_outs.values(), *model.ffns)]
    gc.collect()  # what others left behind
    gc.disable()  # nothing waits for the collector
    try:
        del model
        assert [ref() for ref in (*gone, *kept)] == [None] * len(gone + kept)
    finally:
        gc.enable()


def test_a_stored_evaluation_leaves_its_prompts_ready(tmp_path):
    model = fresh()
    setup = setup_of(model, "antonym", 2, n_examples=4)
    compute(Evaluation(setup), Store(tmp_path), model)
    assert len(model.ready) == 1
    compute(Evaluation(setup, OFF), Store(tmp_path), model)
    assert len(model.ready) == 1


def test_prompts_made_ready_for_a_model_that_is_gone_or_another_one_are_refused():
    model = fresh()
    prepared = passes.prepare(model, PROMPTS)
    with pytest.raises(BadInput, match="not for the model given here"):
        evaluate(small_model("opt"), prepared)
    del model
    with pytest.raises(BadInput, match="made ready for is gone"):
        passes.score(prepared, [INTACT])


def test_eight_changes_of_precision_end_near_the_memory_of_the_first(tmp_path):
    """Each has 10 million parameters: 20 or 40 MB, beside what is made ready for it."""
    small_network("opt", hidden_size=256, word_embed_proj_dim=256, ffn_dim=1024, num_hidden_layers=12).save_pretrained(
        tmp_path / "model")
    small_tokenizer().save_pretrained(tmp_path / "model")
    resident = []
    for number in range(8):
        model = load_model(str(tmp_path / "model"), dtype=("float32", "bfloat16")[number % 2])
        setup = setup_of(model, "antonym", 3, n_examples=16)
        evaluated = compute(Evaluation(setup, OFF), Store(tmp_path / str(number)), model)
        assert evaluated is not None
        del model
        resident.append(psutil.Process().memory_info().rss)
    weights = (tmp_path / "model" / "model.safetensors").stat().st_size
    assert resident[-1] < 1.2 * resident[0]
    assert resident[-1] < resident[0] + 2 * weights  # eight of them would be six times that
