"""How the bundled model is made: the same steps every time, from text that keeps what is asked later."""

import json
import random
from collections import Counter
from itertools import islice, pairwise

import pytest
import torch

from backend.bundled import checkpoints, corpus
from backend.bundled.train import (
    LESSONS,
    Batch,
    Reader,
    Recipe,
    checkpoint_steps,
    loss_on,
    make_model,
    make_tokenizer,
    train,
)
from backend.tasks.mini import COUNTRY_SPLITS, MINI, words
from backend.tasks.task import SEPARATOR

SMALL = Recipe(d_model=16, n_layers=2, n_heads=2, d_ffn=32, batch=4, length=64, tokens=4 * 64 * 12,
               warm_up=2, blend=3, n_checkpoints=4, first_checkpoint=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Twice the same few steps: two folders and models."""
    folders = [tmp_path_factory.mktemp("trained") for _ in range(2)]
    return [(folder, train(SMALL, folder)) for folder in folders]


def test_a_few_steps_are_the_same_every_time_and_move_every_weight(trained):
    (_, one), (_, other) = trained
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    torch.manual_seed(SMALL.seed)
    before = make_model(SMALL).state_dict()
    for name, weight in one.named_parameters():
        if "k_proj.bias" not in name:  # softmax does not see it
            assert not torch.equal(weight, before[name]), name


def test_a_training_leaves_its_checkpoints_from_the_first_step_to_the_last(trained):
    (folder, model), _ = trained
    known = checkpoints.known(folder / "checkpoints")
    assert [c.step for c in known] == checkpoint_steps(12, SMALL) == [0, 3, 6, 12]
    assert known[0].tokens == 0
    assert all(a.tokens < b.tokens for a, b in pairwise(known))
    assert known[-1].answers < known[0].answers
    last = type(model).from_pretrained(folder / "checkpoints" / known[-1].name, dtype=torch.float32)
    for (name, kept), weight in zip(last.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(kept, weight.half().float()), name
    torch.manual_seed(SMALL.seed)
    first = type(model).from_pretrained(folder / "checkpoints" / known[0].name, dtype=torch.float32)
    assert torch.equal(first.lm_head.weight, make_model(SMALL).lm_head.weight.half().float())
    config = json.loads((folder / "checkpoints" / known[0].name / "config.json").read_text())
    assert config["dtype"] == "float16"


@pytest.mark.parametrize("n_steps", [1, 40, 5000])
def test_checkpoints_begin_at_nothing_end_at_the_last_step_and_are_even_in_their_logarithm(n_steps):
    steps = checkpoint_steps(n_steps, Recipe())
    assert steps[0] == 0
    assert steps[-1] == n_steps
    if n_steps == 5000:
        assert len(steps) == 12
        ratios = [b / a for a, b in pairwise(steps[1:])]
        assert max(ratios) / min(ratios) < 1.05


def test_a_row_reads_the_same_alone_as_packed_beside_others():
    reader = Reader(0, 256)
    batch = reader.batch(2, 96, {"episodes": 1.0, "repeats": 0.0}, 0)
    torch.manual_seed(0)
    model = make_model(SMALL)
    starts = (batch.tokens[0] == reader.bos).nonzero()[:, 0].tolist()
    assert len(starts) > 1  # several documents
    both = []
    for keep in (batch.weights, batch.weights * (torch.arange(96) > starts[1])):
        whole = Batch(batch.tokens[:1], batch.pos[:1], batch.mask[:1], keep[:1], batch.is_repeat[:1])
        both.append(loss_on(model, whole)[1])
    cut = slice(starts[1], None)
    alone = Batch(batch.tokens[:1, cut], batch.pos[:1, cut], batch.mask[:1, :, cut, cut], batch.weights[:1, cut],
                  batch.is_repeat[:1])
    torch.testing.assert_close(loss_on(model, alone)[1], both[1], atol=0.02, rtol=0)  # bfloat16 where there is any


@pytest.mark.parametrize("task", MINI.values(), ids=MINI)
def test_episodes_ask_training_rows_alone(task):
    rng = random.Random(0)
    asked = set()
    for _ in range(60):
        tokens, weights = corpus.episode(rng, task, 120)
        assert len(tokens) == len(weights)
        demos = " ".join(tokens).split(f" {SEPARATOR}")
        asked |= {demo.strip().rpartition(" ")[0] for demo in demos if demo.strip()}
    rules = [task.draw_rule(rng) for _ in range(30)]
    known, kept = (
        {" ".join(corpus.split_tokens(task.example(row, rule).contexts[0])) for split in splits
         for row in task.rows(split) for rule in rules[: 30 if task.group == "in-context" else 1]}
        for splits in (("train",), ("validation", "test")))
    assert len(asked) > 30
    assert not asked & kept
    assert asked & known


def test_facts_of_what_is_asked_later_are_read_unequally_often():
    rng = random.Random(0)
    drawn = [corpus.COUNTRIES.draw(rng) for _ in range(60_000)]
    counts = Counter(drawn)
    for splits in COUNTRY_SPLITS.values():
        assert min(counts[country] for country in splits["train"]) > 500
        for split in ("validation", "test"):
            common, *others = (counts[country] for country in splits[split])
            assert common > 500
            assert others[-1] < 0.01 * common
            assert all(a > b for a, b in pairwise(others) if b > 20)
    assert set(corpus.COUNTRIES.items) == set(words.country_facts())


def test_frequencies_fall_evenly_in_their_logarithm():
    assert words.frequencies(["a", "b", "c"], 0.01) == pytest.approx({"a": 1, "b": 0.1, "c": 0.01})
    assert words.frequencies(["a"], 0.01) == {"a": 1}


def test_every_word_of_the_text_is_a_token():
    tokenizer = make_tokenizer()
    rng = random.Random(1)
    mixture = {"episodes": 1.0, "sentences": 1.0, "repeats": 1.0}
    for _, (tokens, _) in islice(corpus.documents(rng, 128, mixture), 400):
        assert tokenizer.unk_token_id not in tokenizer.convert_tokens_to_ids(tokens)


def test_an_episode_in_context_repeats_no_item():
    rng = random.Random(2)
    for name in ("label_kind", "label_mood", "label_form", "pick"):
        for _ in range(20):
            demos = " ".join(corpus.episode(rng, MINI[name], 120)[0]).split(f" {SEPARATOR}")
            items = [demo.split()[-1 if name == "pick" else -3] for demo in demos if demo.strip()]
            assert len(items) > 3
            assert len(set(items)) == len(items)


def test_lessons_go_from_few_words_in_short_rows_to_all_words():
    sizes = [(lesson.n_words or 10**9, lesson.length) for lesson in LESSONS]
    assert sizes == sorted(sizes)
    assert LESSONS[-1].n_words is None
    rng = random.Random(0)
    for lesson in LESSONS:
        tokens, weights = corpus.repeats(rng, lesson.length, lesson.n_words)
        n = weights.index(1.0)
        assert tokens[n:] == tokens[:-n]  # the block again
        assert set(tokens) <= set(corpus.words_in_use(lesson.n_words))
    assert set(corpus.words_in_use()) == set(corpus.vocabulary()) - set(corpus.SPECIAL)


def test_words_that_are_not_in_use_are_no_candidates_and_stay_as_they_are():
    torch.manual_seed(0)
    model = make_model(SMALL)
    batch = Reader(0, 320).batch(4, 32, {"repeats": 1.0}, 0, n_words=128)
    loss, losses, _, _ = loss_on(model, batch, n_words=128)
    assert losses.mean() < loss_on(model, batch)[1].mean()  # of all 1,669 words it is harder to tell
    loss.backward()
    tokenizer = make_tokenizer()
    used = set(tokenizer.convert_tokens_to_ids(corpus.words_in_use(128))) | {tokenizer.bos_token_id}
    moved = model.lm_head.weight.grad.abs().sum(1) > 0
    assert set(moved.nonzero()[:, 0].tolist()) <= used
