"""How the bundled model is made: the same steps every time, from text that keeps what is asked later."""

import json
import random
from itertools import islice

import pytest
import torch

from backend.bundled import checkpoints, corpus
from backend.bundled.train import Batch, Reader, Recipe, checkpoint_steps, loss_on, make_model, make_tokenizer, train
from backend.tasks.mini import COUNTRY_SPLITS, MINI, SPLITS, words
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
    assert all(a.tokens < b.tokens for a, b in zip(known, known[1:], strict=False))
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
        ratios = [b / a for a, b in zip(steps[1:], steps[2:], strict=False)]
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


def test_facts_are_read_unequally_often_and_all_of_them():
    rng = random.Random(0)
    drawn = [corpus.COUNTRIES.draw(rng) for _ in range(60_000)]
    for splits in COUNTRY_SPLITS.values():
        for split in SPLITS:
            counts = [drawn.count(country) for country in splits[split]]
            assert counts[0] > 50 * counts[-1]
            assert all(a > 0.7 * b for a, b in zip(counts, counts[1:], strict=False))
    assert set(drawn) == set(words.country_facts())


def test_frequencies_fall_evenly_in_their_logarithm():
    assert words.frequencies(["a", "b", "c"], 0.01) == pytest.approx({"a": 1, "b": 0.1, "c": 0.01})
    assert words.frequencies(["a"], 0.01) == {"a": 1}


def test_every_word_of_the_text_is_a_token():
    tokenizer = make_tokenizer()
    rng = random.Random(1)
    mixture = {"episodes": 1.0, "sentences": 1.0, "repeats": 1.0}
    for _, (tokens, _) in islice(corpus.documents(rng, 128, mixture), 400):
        assert tokenizer.unk_token_id not in tokenizer.convert_tokens_to_ids(tokens)
