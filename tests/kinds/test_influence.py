"""The influence of a demonstration: by hand, against the slow path, and how much is read for it."""

from dataclasses import replace

import numpy as np
import pytest

from backend import lens
from backend.engine import passes
from backend.errors import BadInput
from backend.kinds import Evaluation, Influence, Influences, compute, evaluate
from backend.kinds.influence import influence
from backend.kinds.prompts import prompts_of
from backend.models.loading import load_model
from backend.records import Questions
from backend.store.live import Store
from backend.tasks.labels import shuffled
from backend.tasks.mini import MINI
from backend.tasks.task import Example, Prompt, prompts
from backend.values import INTACT, Ablation, Head, ModelId, Setup, TaskId
from tests.engine.reference import reference
from tests.models.small import setup_of, small_model

OFF = Ablation(frozenset({Head(0, 1), Head(2, 2)}), frozenset({1}))
PROMPTS = prompts(MINI["label_mood"], 3, "fixed", 6, draws=2)


def test_it_is_per_token_what_the_right_answer_loses_without_the_demonstration():
    asked = Questions((3, 1), ((0,), (1,)), (2, 2), ("", ""), dropped_demos=(0, 1))
    found = Influences(asked, (2, 1), (-1.0, -4.0), ((-2.0, -0.5), (-4.0, -7.0)))
    found.check()
    np.testing.assert_allclose(found.influences(), [[0.5, -0.25], [np.nan, 3.0]])


def without(prompt: Prompt, place: int) -> Prompt:
    def rest(values):
        return tuple(value for i, value in enumerate(values) if i != place)

    return replace(prompt, demos=rest(prompt.demos), demo_docs=rest(prompt.demo_docs), answers=rest(prompt.answers))


@pytest.mark.parametrize("architecture", ["opt", "gpt2", "llama, grouped queries", "bloom", "gemma2", "qwen3_next"])
@pytest.mark.parametrize("off", [INTACT, OFF], ids=str)
def test_it_is_what_the_slow_path_says_with_all_and_with_each_left_out(architecture, off):
    model = small_model(architecture)
    found = influence(model, PROMPTS, off)

    def gold(asked):
        rows = reference(architecture, asked, off)
        return np.array([row[p.example.gold[0]][0] for p, row in zip(asked, rows, strict=True)])

    expected = np.stack([gold(PROMPTS) - gold([without(p, place) for p in PROMPTS]) for place in range(3)], 1)
    tokens = [len(pair[0][1]) for p in PROMPTS for pair in [model.encode_pairs([
        (p.prefix + p.example.contexts[0], p.example.options[p.example.gold[0]])])]]
    assert found.n_tokens == tuple(tokens)
    np.testing.assert_allclose(found.influences(), expected / np.array(tokens)[:, None], atol=1e-4)
    assert np.abs(expected).max() > 0.01


def test_with_all_of_them_it_is_the_evaluation_which_is_not_measured_again(tmp_path, monkeypatch):
    model = small_model("opt")
    setup = setup_of(model, "antonym", 2, n_examples=6, draws=2)
    with Store(tmp_path) as store:
        for off in (INTACT, OFF, OFF.filled("mean")):
            known = compute(Evaluation(setup, off), store, model)
            asked = []
            monkeypatch.setattr("backend.kinds.influence.evaluate", _counting(asked))
            found = compute(Influence(setup, off), store, model)
            assert asked == [1, 1]  # demonstrations that are left: each of two is left out once
            Influence(setup, off).check(found, model.info)
            assert found.whole == tuple(row[gold[0]] for row, gold in zip(
                known.loglikelihoods, known.questions.gold, strict=True))
            direct = influence(model, prompts_of(setup, "validation"), off, compute(
                Influence(setup, off).needs()[1], store, model) if off.fill == "mean" else None)
            np.testing.assert_allclose(direct.influences(), found.influences(), atol=1e-4)


def _counting(asked):
    def counted(model, prompts, *args, **more):
        if not isinstance(prompts, passes.Prepared):
            asked.append(len(prompts[0].demos))
        return evaluate(model, prompts, *args, **more)

    return counted


@pytest.mark.parametrize("demos", ["fixed", "per-query"])
@pytest.mark.parametrize("name", ["label_mood", "pick"])
def test_recognition_learning_and_influence_together_read_no_more_than_k_and_3_evaluations_do(demos, name):
    """Tokens that the bundled model is given, counted where it takes them in: 0 shots, true and shuffled labels, and k
    evaluations with one left out; behind shared draws too, whose prefixes are read once for each."""
    model, k = load_model(), 5
    every = prompts(MINI[name], k, demos, 40, draws=5)
    bare = [replace(p, demos=(), demo_docs=(), answers=()) for p in every]
    read = 0

    def counted(module, args, given):
        nonlocal read
        read += given["input_ids"].numel() if "input_ids" in given else args[0].numel()

    handle = model.trunk.register_forward_pre_hook(counted, with_kwargs=True)
    (whole,) = evaluate(model, every)
    one = read
    for asked in (bare, shuffled(every)):
        evaluate(model, asked)
    influence(model, every, whole=whole)
    handle.remove()
    assert k / 2 * one < read <= (k + 3) * one


def test_what_was_dropped_because_the_prompt_is_too_long_has_no_influence():
    model = small_model("gpt2")
    whole = passes.prepare(model, PROMPTS)
    lengths = [len(model.encode(p.prefix + p.example.contexts[0] + p.example.options[0])) for p in PROMPTS]
    assert not any(whole.questions.dropped_demos)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "info", replace(model.info, max_positions=min(lengths) - 4))
        found = influence(model, PROMPTS)
        shorter = influence(model, [without(p, 0) for p in PROMPTS])
    dropped = found.questions.dropped_demos
    assert set(dropped) == {1}
    assert found.left_out == (len(PROMPTS), 0)
    assert np.isnan(found.influences()[:, 0]).all()
    np.testing.assert_allclose(found.influences()[:, 1:], shorter.influences(), atol=1e-4)


def test_one_prompt_under_the_lens_is_the_same():
    model = small_model("opt")
    every = influence(model, PROMPTS, OFF)
    one = lens.influence(model, PROMPTS[2], OFF)
    np.testing.assert_allclose(one.influences()[0], every.influences()[2], atol=1e-4)


def test_progress_goes_on_over_all_places():
    told = []
    influence(small_model("opt"), PROMPTS, progress=lambda *said: told.append(said))
    shares = [done / total for done, total in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_where_nothing_can_be_left_out_it_is_refused():
    model = small_model("opt")
    example = Example(("a",), (" b",), (0,), "a b")
    for asked in ([Prompt(example)], [Prompt(example, ("c d",), 1, (1,), answers=(" d",)), Prompt(example)], []):
        with pytest.raises(BadInput, match="all have the same number of them, 1 or more"):
            influence(model, asked)
    with pytest.raises(BadInput, match="no demonstration to leave out"):
        Influence(Setup(ModelId("m", "r", "d"), TaskId("antonym", "x"), 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "info", replace(model.info, max_positions=1))
        with pytest.raises(BadInput, match="No prompt fits"):
            influence(model, PROMPTS)
