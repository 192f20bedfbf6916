"""What the race with other tools is read by: the order and the words of llama.cpp, tokens, and the table."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from tests.peers import speed
from tests.peers.speed import Tokens, Took, _line, agrees, agrees_with_llama, order_of, outcomes_of, table


def said_of(right: list[bool], n_tokens: int) -> str:
    """What llama.cpp prints when these questions of a file were answered right."""
    lines, total = [], 0
    for place, number in enumerate(order_of(len(right))):
        total += right[number]
        lines.append(f"{place + 1}\t{100 * total / (place + 1):3.8f}%\t[1.0000%, 99.0000%]")
    return "\n".join([*lines, f"x: prompt eval time =  1.0 ms /  {n_tokens} tokens (1 ms per token)"])


def test_the_order_is_a_permutation_that_std_mt19937_gives() -> None:
    # By g++ 12 and its library, in a loop like llama.cpp's own.
    assert order_of(8) == [3, 7, 5, 6, 0, 1, 2, 4]
    assert order_of(24) == [10, 23, 16, 21, 0, 3, 7, 22, 4, 6, 2, 12, 8, 13, 11, 18, 14, 20, 15, 19, 5, 1, 17, 9]


def test_outcomes_stand_in_the_order_of_the_file() -> None:
    right = [True, False, False, True, True, False, True]
    assert outcomes_of(said_of(right, 0), len(right)) == right
    with pytest.raises(SystemExit, match="scored 7 questions of 8"):
        outcomes_of(said_of(right, 0), 8)


ROWS = [{"demos": [], "question": "q", "options": [" a", " b c"], "gold": 1},
        {"demos": [], "question": "r", "options": [" a", " b"], "gold": 1}]
TOKENS = [Tokens(((1, 2, 3), (1, 2, 4, 5)), 2), Tokens(((1, 2, 3), (1, 2, 4)), 2)]  # 5 + 4 tokens in trees
SCORES = {0: [-2.0, -3.0], 1: [-2.0, -3.0]}  # per token: option 1 of the first, option 0 of the second


def test_tokens_shared_are_read_once_and_options_to_their_end() -> None:
    assert (TOKENS[0].shared, TOKENS[0].in_a_tree, TOKENS[0].apart) == (2, 5, 5)


def test_llama_must_read_the_same_tokens_and_answer_the_same() -> None:
    assert "same 1 of 2" in agrees_with_llama(ROWS, SCORES, TOKENS, said_of([True, False], 9))
    with pytest.raises(SystemExit, match="otherwise"):
        agrees_with_llama(ROWS, SCORES, TOKENS, said_of([True, True], 9))
    with pytest.raises(SystemExit, match="read"):
        agrees_with_llama(ROWS, SCORES, TOKENS, said_of([True, False], 90))


def test_what_cannot_be_told_is_not_compared() -> None:
    ties = SCORES | {0: [-2.0, -4.0]}
    assert "same 0 of 1" in agrees_with_llama(ROWS, ties, TOKENS, said_of([True, False], 9))


def test_what_all_options_begin_with_is_told_with_the_question(tmp_path: Path) -> None:
    words = Tokenizer(WordLevel({"q": 0, " a": 1, " b": 2, " c": 3}, unk_token="q"))
    words.pre_tokenizer, words.decoder = Split(" ", "merged_with_next"), Fuse()
    words.save(str(tmp_path / "tokenizer.json"))
    rows = [{"demos": [], "question": "q", "options": [" a b", " a c"], "gold": 1},
            {"demos": [], "question": "q", "options": [" a", " b"], "gold": 1}]
    tokens = speed.tokens_of(rows, tmp_path)
    assert tokens[0] == Tokens(((0, 1, 2), (0, 1, 3)), 1)
    assert speed.cut_later(rows, tokens, tmp_path) == {0: rows[0] | {"question": "q a", "options": [" b", " c"]}}
    found = agrees_with_llama(rows, {0: [-2.0, -1.0]}, tokens, said_of([True, False], 7))
    assert found.endswith("same 1 of 1 questions right; 1 are not compared")


def test_log_likelihoods_must_agree() -> None:
    ours = list(SCORES.values())
    assert "at most" in agrees(ours, [[-2.001, -3.0], [-2.0, -3.0]], "x")
    with pytest.raises(SystemExit, match="x differs by 1"):
        agrees(ours, [[-2.0, -3.0], [-2.0, -4.0]], "x")


def test_what_llama_takes_to_load_is_taken_off() -> None:
    found = {("fixed", "headroom"): Took([2.0, 4.0, 3.0], [4.0, 4.0, 4.0]),
             ("fixed", "llama.cpp"): Took([10.0, 13.0, 12.0], [9.0, 9.0, 9.0])}
    loads = Took([1.0, 5.0, 1.0], [1.0, 1.0, 1.0])
    line = _line("fixed", "llama.cpp", found, loads)
    assert line["wall"] == {"seconds": [9.0, 12.0, 11.0], "median": 11.0, "ratio": 11 / 3,
                            "ratios": [4.5, 3.0, 11 / 3]}
    assert line["processor"]["ratio"] == 2.0
    lines = [_line("fixed", tool, found, loads) for tool in ("headroom", "llama.cpp")]
    shown = table({"rows": lines, "lengths": {"fixed": {"queries": 24}}, "product_gflops": [100.0]})
    assert ("| fixed, 24 queries | llama.cpp | 11.00 (9.00 to 12.00) | 3.67 (3.00 to 4.50), asked 3 ✓ | 8.00 | 2.00 |"
            in shown)
    assert speed.TARGETS == {"fixed": 3.0, "per-query": 1.3}
