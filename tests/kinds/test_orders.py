"""Orders of heads fitted to training prompts: against plain references on random models, and on a planted truth."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.engine.gradients import gold_pairs
from backend.engine.learned_gates import fit_gates
from backend.engine.trees import Scored
from backend.errors import BadInput, Cancelled
from backend.kinds import Greedy, HeadGates, Iterative, Pruning, Writes
from backend.kinds import head_gates as gates_kind
from backend.kinds.greedy import greedy_order
from backend.kinds.head_gates import CLASSES, FACILITATES, INTERFERES, IRRELEVANT, N_LOSSES, GateOrder, head_gates
from backend.kinds.head_importance import importance_of_pairs
from backend.kinds.iterative import iterative_order
from backend.kinds.pruning import WHOLE_SHARES
from backend.kinds.writes import N_PROBE, head_writes
from backend.models.loading import prepare
from backend.models.pruned import zeroed
from backend.tasks.mini import MINI
from backend.tasks.task import prompts
from backend.values import N_FIT, Ablation, Head, ModelId, Ranking, Setup, TaskId
from tests.models.planted import asks, planted
from tests.models.small import small_model, small_network, small_tokenizer

ARCHITECTURES = ("opt", "gpt2", "gemma2", "qwen3_next")
PROMPTS = prompts(MINI["label_mood"], 2, "per-query", 5, split="train")
SETUP = Setup(ModelId("m", "r", "d"), TaskId("antonym", "x"), 5, draws=10)


def without(architecture, off):
    """A small model's network with heads gone from its weights."""
    model, network = small_model(architecture), small_network(architecture)
    if off:
        parameters = dict(network.named_parameters())
        with torch.no_grad():
            for name, value in zeroed(model, Ablation(frozenset(off))).items():
                parameters[name].copy_(value)
    return network


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads_go_by_the_importance_that_they_have_in_a_model_without_those_gone(architecture):
    model = small_model(architecture)
    dead, *live = model.info.heads
    found = iterative_order(model, PROMPTS, live, [dead], "per-example")
    assert found.order()[0] == dead
    assert (found.n_dead, found.n_examples, found.skipped) == (1, len(PROMPTS), ())
    gone, left = [dead], list(live)
    for round_ in range(1, 11):
        n = int(round_ / 10 * len(live) + 1e-9) - (len(gone) - 1)
        if not n:
            continue
        pruned = prepare(without(architecture, gone), small_tokenizer(), "pruned", "r", proven=False)
        scores = importance_of_pairs(pruned, gold_pairs(pruned, PROMPTS).pairs).scores("per-example")
        going = sorted(left, key=lambda head: scores[head.layer, head.head])[:n]
        assert found.order()[len(gone):len(gone) + n] == going
        assert found.scores[len(gone) - 1:len(gone) - 1 + n] == pytest.approx(
            [scores[head.layer, head.head] for head in going], rel=1e-3, abs=1e-6)
        gone, left = gone + going, [head for head in left if head not in going]
    assert not left


def plain_loss(network, pair):
    """Minus the log-likelihood of a continuation, all tokens summed."""
    with torch.inference_mode():
        logits = network(input_ids=torch.tensor([pair.ids[:-1]]), use_cache=False).logits[0, len(pair.context) - 1:]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(pair.continuation), reduction="sum"))


@pytest.mark.parametrize("architecture", ["opt", "gemma2"])
def test_at_each_step_the_head_goes_without_which_prompts_are_answered_best(architecture):
    model = small_model(architecture)
    live, some = list(model.info.heads)[4:9], PROMPTS[:3]
    found = greedy_order(model, some, live)
    gone, left = [], list(live)
    for step in range(len(live)):
        tried = []
        for head in left:
            network = without(architecture, [*gone, head])
            right, losses = [], []
            for prompt in some:
                texts = [(prompt.prefix + context, option) for context, option in zip(
                    prompt.example.contexts, prompt.example.options, strict=True)]
                costs = [plain_loss(network, Scored(tuple(pair.context), tuple(pair.continuation)))
                         for pair in model.encode_pairs(texts)]
                right.append(int(np.argmin(costs)) in prompt.example.gold)
                losses.append(costs[prompt.example.gold[0]])
            tried.append((-np.mean(right), np.mean(losses)))
        best = min(range(len(left)), key=lambda i: tried[i])
        assert found.order()[step] == left[best]
        assert found.accuracies[step] == pytest.approx(-tried[best][0])
        assert found.losses[step] == pytest.approx(tried[best][1], rel=1e-4)
        gone.append(left.pop(best))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gates_are_fitted_as_by_a_plain_loop_with_hooks(architecture):
    model = small_model(architecture)
    pairs, price = gold_pairs(model, PROMPTS).pairs, 0.03
    start = np.full((model.n_layers, model.n_heads), 1.0)
    found, losses = fit_gates(model, pairs, start, price, 4, len(pairs), 0.1, 0)
    logits = torch.tensor(start, dtype=torch.float32, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.1)
    told = []
    for _ in range(4):
        def multiply(layer):
            def hook(module, args):
                z = args[0].unflatten(-1, (model.n_heads, -1)) * torch.sigmoid(logits)[layer, :, None]
                return (z.flatten(-2), *args[1:])
            return hook

        handles = [module.register_forward_pre_hook(multiply(layer)) for layer, module in model.attn_outs.items()]
        each = []
        for pair in pairs:
            out = model.model(input_ids=torch.tensor([pair.ids[:-1]]), use_cache=False).logits[0]
            each.append(torch.nn.functional.cross_entropy(out[len(pair.context) - 1:].float(),
                                                          torch.tensor(pair.continuation)))
        for handle in handles:
            handle.remove()
        loss = torch.stack(each).mean()
        adam.zero_grad()
        (loss + price * torch.sigmoid(logits).sum()).backward()
        adam.step()
        told.append(float(loss.detach()))
    assert losses == pytest.approx(told, rel=1e-4)
    there = [[head.layer for head in model.info.heads], [head.head for head in model.info.heads]]
    assert found[tuple(there)] == pytest.approx(logits.detach().numpy()[tuple(there)], abs=0.02)


@pytest.fixture(scope="module")
def built():
    """The model built by hand, whose induction head speaks against what it copies; prompts, live and dead heads."""
    model, rng = planted(copies=-1.0), random.Random(0)
    some = [asks(rng) for _ in range(24)]
    alive = head_writes(model, some).alive()
    live = [head for head in model.info.heads if alive[head.layer, head.head]]
    return model, some, live, [head for head in model.info.heads if head not in live]


RULE, BEFORE, AGAINST, NOTHING = Head(1, 1), Head(0, 0), Head(1, 0), Head(0, 1)  # see `planted`


def test_gates_tell_what_was_planted(built):
    model, some, live, dead = built
    assert dead == [NOTHING]
    found = head_gates(model, some, live, dead, price=0.01)
    classes = found.classes()
    assert classes[1, 1] == classes[0, 0] == FACILITATES
    assert classes[1, 0] == INTERFERES
    assert classes[0, 1] == IRRELEVANT
    roles = found.roles()
    assert roles[1, 1] > 0.9
    assert roles[1, 0] < -0.9
    assert abs(roles[0, 1]) < 0.1
    assert found.order()[:2] == [NOTHING, AGAINST]
    assert set(found.order()[2:]) == {RULE, BEFORE}
    assert found.closing_losses[-1] < found.free_losses[0]


def test_the_other_orders_keep_what_was_planted_to_the_last(built):
    model, some, live, dead = built
    iterative, greedy = iterative_order(model, some, live, dead), greedy_order(model, some, live, dead)
    assert iterative.order()[0] == greedy.order()[0] == NOTHING
    assert greedy.order()[1] == AGAINST  # without it answers are surer
    assert set(greedy.order()[2:]) == {RULE, BEFORE}
    assert greedy.accuracies[0] == 1.0 > greedy.accuracies[-1]
    assert set(iterative.order()) == set(model.info.heads)


def test_the_seed_draws_the_batches_and_nothing_else_is_left_to_chance():
    model = small_model("opt")
    some = prompts(MINI["label_mood"], 1, "per-query", 20, split="train")
    first, again, other = (head_gates(model, some, model.info.heads, seed=seed, free_steps=2, steps=4)
                           for seed in (0, 0, 1))
    assert first == again
    assert first.closing != other.closing
    assert len(first.closing_losses) == N_LOSSES


def test_classes_by_hand():
    def fitted(closing, opening):
        return GateOrder(((0, 0),), 0, 1, (), ((closing,),), ((opening,),), *((0.5,) * N_LOSSES,) * 3)

    for (closing, opening), name, role in (((1.0, 1.0), FACILITATES, 1), ((0.0, 0.0), INTERFERES, -1),
                                           ((0.0, 1.0), IRRELEVANT, 0), ((0.75, 0.9), FACILITATES, 0.65),
                                           ((0.3, 0.9), IRRELEVANT, 0.2), ((0.1, 0.4), INTERFERES, -0.5)):
        assert fitted(closing, opening).classes()[0, 0] == name
        assert fitted(closing, opening).roles()[0, 0] == pytest.approx(role)
    assert set(CLASSES) == {FACILITATES, INTERFERES, IRRELEVANT}


def test_pruning_goes_by_the_order_to_the_end():
    for method, unit in (("iterative", Iterative), ("greedy", Greedy), ("gates", HeadGates)):
        pruning = Pruning(SETUP, "heads", Ranking.fitted(method, SETUP.task))
        (need,) = pruning.needs()
        assert need == unit(SETUP.with_(n_examples=N_FIT))
        assert need.needs() == [Writes(SETUP.with_(n_examples=N_PROBE))]
        assert [heads for heads, _ in pruning.steps] == list(WHOLE_SHARES)
    record = GateOrder(((1, 0), (0, 1), (0, 0), (1, 1)), 1, 1, (), ((0.5,) * 2,) * 2, ((0.5,) * 2,) * 2,
                       *((0.5,) * N_LOSSES,) * 3)
    assert pruning.orders([record], 2, 2) == ([Head(1, 0), Head(0, 1), Head(0, 0), Head(1, 1)], [])


def test_what_cannot_be_fitted_is_refused():
    model = small_model("opt")
    for fit in (iterative_order, greedy_order, head_gates):
        with pytest.raises(BadInput, match="No prompt fits"):
            fit(model, [], model.info.heads)
    with pytest.raises(BadInput, match="Unknown reduction"):
        Iterative(SETUP, "best")
    with pytest.raises(BadInput, match="is one of heads: it cannot prune ffns"):
        Pruning(SETUP, "ffns", Ranking.fitted("gates", SETUP.task))
    with pytest.raises(BadInput, match="No order is fitted by 'gates' to 2 tasks"):
        Pruning(SETUP, "heads", replace(Ranking.fitted("gates", SETUP.task), tasks=(SETUP.task, TaskId("past", "y"))))


@pytest.mark.parametrize("fit", [iterative_order, greedy_order, head_gates])
def test_progress_rises_to_the_end_and_can_stop_the_work(fit, monkeypatch):
    monkeypatch.setattr(gates_kind, "FREE_STEPS", 2)
    model, told = small_model("opt"), []
    more = {"free_steps": 2, "steps": 2} if fit is head_gates else {}
    fit(model, PROMPTS[:2], model.info.heads[:3], progress=lambda done, total: told.append(done / total), **more)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)

    def stop(done, total):
        raise Cancelled("Stopped on request.")

    with pytest.raises(Cancelled):
        fit(model, PROMPTS[:2], model.info.heads[:3], progress=stop, **more)
