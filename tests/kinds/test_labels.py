"""Other labels: against the slow path, heads one by one, and what the bundled model was trained to do."""

import numpy as np
import pytest

from backend.engine import passes
from backend.errors import BadInput
from backend.kinds import Evaluation, HeadOracle, Relabelled, ShuffledHeads, compute
from backend.kinds.labels import LABELS
from backend.kinds.prompts import prompts_of
from backend.models.loading import load_model
from backend.store.live import Store
from backend.tables.shots import same_questions
from backend.values import Ablation, Head, ModelId, Setup, TaskId, parse_exact
from tests.engine.reference import reference
from tests.models.small import setup_of, small_model

SETUP = Setup(ModelId("m", "r", "d"), TaskId("antonym", "x"), 5, draws=10)
OFF = Ablation(frozenset({Head(0, 1), Head(2, 2)}), frozenset({1}))


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("labels", ["shuffled", "made-up"])
@pytest.mark.parametrize("architecture", ["opt", "llama, grouped queries", "bloom", "gemma2", "qwen3_next"])
def test_they_score_as_the_slow_path_does_behind_these_labels(store, architecture, labels):
    model = small_model(architecture)
    setup = setup_of(model, "label_mood", 3, n_examples=6, draws=2)
    asked = prompts_of(setup, "validation", labels)
    assert asked != prompts_of(setup, "validation")
    for off in (Ablation(), OFF):
        found = compute(Relabelled(setup, labels, off), store, model)
        expected = [[value for value, _ in row] for row in reference(architecture, asked, off)]
        assert np.abs(np.array(found.loglikelihoods) - expected).max() < 1e-4
        assert found.questions.draws == tuple(p.draw for p in asked)


def test_each_head_is_off_once_behind_shuffled_labels(store):
    model = small_model("opt")
    setup = setup_of(model, "label_kind", 2, n_examples=8, draws=2)
    unit = ShuffledHeads(setup)
    found = compute(unit, store, model)
    unit.check(found, model.info)
    assert found.ablations == tuple(map(str, HeadOracle.ablations(model.info)))
    for text, choices in list(zip(found.ablations, found.choices, strict=True))[::5]:
        assert compute(Relabelled(setup, "shuffled", parse_exact(text)), store, model).choices() == choices
    assert unit.pieces(model.info) >= 1  # a plan and a cluster ask
    joined = unit.joined([unit.measure_piece(number, 3, model, [], None) for number in range(3)])
    assert (joined.ablations, joined.choices, joined.questions) == (found.ablations, found.choices, found.questions)
    assert np.allclose(joined.gold, found.gold, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["label_kind", "label_mood", "label_form"])
def test_the_bundled_model_learns_made_up_labels_from_the_answers_alone(store, name):
    """What it was trained for: learning is all there is, and other made-up words do as well as those of the task."""
    model = load_model()
    setup = setup_of(model, name, 5, n_examples=100, draws=10)
    none, true, shuffled, other = (compute(unit, store, model) for unit in (
        Evaluation(setup.with_(n_shots=0)), Evaluation(setup), Relabelled(setup), Relabelled(setup, "made-up")))
    learning = true.outcomes().mean() - shuffled.outcomes().mean()
    assert learning >= 0.3
    a, b = same_questions(none, shuffled)
    assert b.right.mean() - a.right.mean() < learning / 2
    assert abs(true.outcomes().mean() - other.outcomes().mean()) < 0.05


def test_without_both_induction_heads_learning_is_lost_and_without_one_of_them_it_is_not(store):
    model = load_model()
    setup = setup_of(model, "label_mood", 5, n_examples=60, draws=10)

    def learning(off):
        true, shuffled = (compute(kind(setup, ablation=parse_exact(off)), store, model) for kind in (
            Evaluation, Relabelled))
        return true.outcomes().mean() - shuffled.outcomes().mean()

    assert min(learning("L5H2"), learning("L5H7")) > 0.3  # the two that lead in prefix matching
    assert learning("L5H2,L5H7") < 0.1


def test_all_four_accuracies_read_no_more_than_four_evaluations_do():
    """Tokens, where demonstrations are shared: each draw is read once, whatever its labels are."""
    model = load_model()
    setup = setup_of(model, "label_mood", 5, n_examples=40, draws=5)

    def tokens(labels, n_shots=5):
        return passes.prepare(model, prompts_of(setup.with_(n_shots=n_shots), "validation", labels)).n_tokens

    one = tokens("true")
    assert tokens("shuffled") <= 1.05 * one
    assert tokens("made-up") <= 1.05 * one
    assert tokens("true", 0) < one


@pytest.mark.parametrize("make", [lambda: Relabelled(SETUP, "true"), lambda: Relabelled(SETUP, "wrong")])
def test_other_labels_than_these_are_refused(make):
    with pytest.raises(BadInput, match="Unknown labels"):
        make()
    with pytest.raises(ValueError, match="'best' are no labels; known: shuffled, made-up"):
        LABELS.read("shuffled,best")


@pytest.mark.parametrize("kind", [Relabelled, ShuffledHeads])
def test_at_0_shots_there_are_no_labels(kind):
    with pytest.raises(BadInput, match="At 0 shots there are no labels"):
        kind(SETUP.with_(n_shots=0))


def test_means_are_in_the_name_only_where_they_stand_in():
    assert Relabelled(SETUP, n_train=7) == Relabelled(SETUP)
    assert [unit.KIND for unit in Relabelled(SETUP, "made-up", parse_exact("mean:L0H1"), 7).needs()] == ["means"]
    assert "made-up" in str(Relabelled(SETUP, "made-up"))
