"""A mask is named as people name one: by a text, by heads, by pairs of numbers."""

from __future__ import annotations

import numpy as np
import pytest

from backend.errors import BadInput
from backend.values import INTACT, Ablation, Head, parse

WANTED = Ablation(frozenset({Head(3, 7), Head(0, 1)}), frozenset({2}))


@pytest.mark.parametrize("given", [
    "L3H7, L0H1, L2 FFN", "F2;3.7\nl0h1", ["L3H7", "L0H1", "L2 FFN"], ("L0H1, L2FFN", Head(3, 7)),
    [(3, 7), [0, 1], "F2"], frozenset({"L3H7", Head(0, 1), "F2"}), {(3, 7): "a", "L0H1": "b", "L2 FFN": "c"},
    (one for one in ("L3H7", (0, np.int64(1)), "F2")),
])
def test_texts_heads_and_pairs_in_any_iterable_name_the_same_mask(given) -> None:
    ablation = Ablation(given)
    assert ablation == WANTED
    assert hash(ablation) == hash(WANTED)
    assert str(ablation) == "L0H1,L3H7,F2"
    assert all(type(head) is Head and type(head.head) is int for head in ablation.heads)


def test_ffns_named_by_layer_join_those_of_the_text() -> None:
    assert Ablation("L3H7", [2]) | Ablation([(0, 1)]) == WANTED
    assert Ablation("L2 FFN", ffns=(np.int64(5), 0)).ffns == {0, 2, 5}
    assert Ablation(ffns=[2]) == Ablation("F2")


def test_a_table_of_places_names_its_heads() -> None:
    assert Ablation(np.argwhere(np.array([[0, 1], [1, 0]]))) == Ablation("L0H1, L1H0")


def test_means_are_asked_for_by_the_text_or_beside_it() -> None:
    asked = Ablation(frozenset({Head(3, 7)}), fill="mean")
    assert Ablation("mean: L3H7") == Ablation("L3H7", fill="mean") == Ablation(["mean:L3H7"]) == asked
    assert Ablation("zero:L3H7").fill == "zero"


@pytest.mark.parametrize("nothing", ["", "  ", [], (), frozenset(), "mean:"])
def test_nothing_named_is_the_intact_model(nothing) -> None:
    assert Ablation(nothing) == INTACT == Ablation()
    assert not Ablation(nothing)


def test_a_text_that_is_no_mask_is_refused_in_the_words_of_the_command_line() -> None:
    (sentence,) = parse("L3H7x", 12, 12)[1]
    for given in ("L3H7, L3H7x", ["L3H7x"]):
        with pytest.raises(BadInput) as caught:
            Ablation(given)
        assert str(caught.value) == sentence


def test_all_heads_of_a_layer_are_not_guessed_without_a_model() -> None:
    for given in ("L4", "L3H7, l4", "mean:L4", ["L4-5"]):
        with pytest.raises(BadInput, match="means all heads of a layer, and how many these are depends on the model"):
            Ablation(given)


@pytest.mark.parametrize("given", [3, (3, 7), [Head(3, 7), 2.5], [(1, 2, 3)], [(1.5, 2)], None, [None],
                                   {"L3H7": 1}.items()])
def test_what_is_no_head_is_refused(given) -> None:
    with pytest.raises(BadInput, match=r"These are no heads: .* Give a text such as 'L3H7, L2 FFN'"):
        Ablation(given)


@pytest.mark.parametrize("given", ["L2 FFN", 2, [2.5]])
def test_ffns_beside_the_heads_are_layers(given) -> None:
    with pytest.raises(BadInput, match="FFNs are named by their layers, as in"):
        Ablation(ffns=given)
