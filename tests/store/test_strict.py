"""One strict reader: what cannot be its unit's answer comes in nowhere; and nothing large is made before it is judged.

Every wrong record here has a right digest: somebody made it so.
"""

from __future__ import annotations

import json
import zipfile
from typing import Any

import pytest

from backend import limits
from backend.__main__ import FAILED, main
from backend.errors import BadInput, StoreError
from backend.kinds import Evaluation, Model
from backend.records import ModelInfo, from_plain
from backend.store import bundles
from backend.store.live import SHIPPED, Store
from backend.values import INTACT, ModelId, Ranking, Setup, TaskId, parse, parse_exact
from tests.store import attacks
from tests.store.attacks import MODEL, QUESTIONS, RECORDS, SETUP, UNITS, bundle, entry, plant, sweep

MODEL_ENTRY = entry("model")
NAN, INF = float("nan"), float("inf")


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "live") as opened:
        yield opened


def asked(**changes: Any) -> dict[str, Any]:
    """Questions, changed."""
    return {"questions": QUESTIONS | changes}


WRONG: list[tuple[str, dict[str, Any], str]] = [  # a kind, what is changed of a sound record, what is said
    ("evaluation", {"loglikelihoods": [[-1.0, -2.0]]}, "loglikelihoods holds 1 entries for 2 queries"),
    ("evaluation", {"loglikelihoods": [[-1.0], [-3.0, -1.0]]}, "loglikelihoods holds 1 entries for 2 options"),
    ("evaluation", {"loglikelihoods": [[NAN, -2.0], [-3.0, -1.0]]}, "loglikelihoods holds NaN"),
    ("evaluation", {"loglikelihoods": [[INF, -2.0], [-3.0, -1.0]]}, "loglikelihoods holds NaN or an infinite"),
    ("evaluation", {"loglikelihoods": [[3.0, -2.0], [-3.0, -1.0]]}, "no logarithm of a probability"),
    ("evaluation", {"lengths": [[1, 1], [1, 1, 1]]}, "lengths holds 3 entries for 2 options"),
    ("evaluation", {"lengths": [[1, -1], [1, 1]]}, "lengths holds -1, which is not 0 or more"),
    ("evaluation", {"greedy": [[True, False]]}, "greedy holds 1 entries for 2 queries"),
    ("evaluation", asked(metric="greedy"), "greedy holds 0 entries for 2 queries"),
    ("evaluation", asked(metric="f1"), "metric holds 'f1'"),
    ("evaluation", asked(docs=[]), "docs names no query"),
    ("evaluation", asked(docs=[3, 3]), "docs names a row twice"),
    ("evaluation", asked(docs=[3, -1]), "docs holds -1"),
    ("evaluation", asked(docs=[3, 10**30]), "docs holds a whole number beyond"),
    ("evaluation", asked(skipped=[9]), "hold 3 queries where 2 were asked for"),
    ("evaluation", asked(skipped=[3]), "docs names a row twice"),
    ("evaluation", asked(gold=[[0]]), "gold holds 1 entries for 2 queries"),
    ("evaluation", asked(gold=[[0], []]), "gold names no option"),
    ("evaluation", asked(gold=[[0], [2]]), "gold holds 2, which is not within 0 and 1"),
    ("evaluation", asked(gold=[[0], [-1]]), "gold holds -1"),
    ("evaluation", asked(n_options=[2, 0]), "n_options holds 0"),
    ("evaluation", asked(groups=["a"]), "groups holds 1 entries"),
    ("evaluation", asked(groups=["a", "\ud800"]), "half a character"),
    ("evaluation", asked(dropped_demos=[0, 6]), "dropped_demos holds 6, which is not within 0 and 5"),
    ("evaluation", asked(dropped_demos=[0]), "dropped_demos holds 1 entries"),
    ("evaluation", asked(spanning=[0, -1]), "spanning holds -1"),
    ("head_importance", {"block_per_token": [[[0.5] * 2] * 4], "block_per_example": [[[0.5] * 2] * 4]},
     "block_per_token holds 2 where there are 8"),
    ("head_importance", {"block_per_example": [[[0.5] * 8] * 3]}, "block_per_example holds 3 entries for 4 layers"),
    ("head_importance", {"block_per_token": [[[-0.5] * 8] * 4]}, "block_per_token holds -0.5"),
    ("head_importance", {"block_positions": [[9, 9, 9]], "block_per_token": [[[0.5] * 8] * 3],
                         "block_per_example": [[[0.5] * 8] * 3]}, "block_per_token holds 3 where there are 4"),
    ("head_importance", {"block_positions": [[9, 9, 9, 0]]}, "block_positions holds 0"),
    ("head_importance", {"block_sizes": [3]}, "block_sizes holds 3 examples, where n_examples is 2"),
    ("head_importance", {"block_sizes": [1, 1]}, "block_positions holds 1 entries for 2 blocks"),
    ("head_importance", {"n_examples": 0, "block_sizes": [], "block_positions": [], "block_per_token": [],
                         "block_per_example": []}, "n_examples holds 0"),
    ("head_importance", {"skipped": [1]}, "hold 3 examples where 2 were asked for"),
    ("head_importance", {"n_spanning": 3}, "n_spanning holds 3"),
    ("means", {"heads": [[[0.5] * 3] * 2] * 4}, "heads holds 2 where there are 8"),
    ("means", {"heads": [[[0.5] * 2] * 8] * 4}, "heads holds 2 where there are 3"),
    ("means", {"ffns": [[0.5] * 5] * 3}, "ffns holds 3 entries for 4 layers"),
    ("means", {"ffns": [[0.5] * 4] * 4}, "ffns holds 4 where there are 5"),
    ("means", {"n_examples": 3}, "n_examples holds 3 where 2 were asked for"),
    ("means", {"heads": [], "ffns": []}, "holds no layer"),
    ("writes", {"norms": [[0.5] * 7] * 4}, "norms holds 7 where there are 8"),
    ("writes", {"norms": [[-0.5] * 8] * 4}, "norms holds -0.5"),
    ("writes", {"norms": []}, "norms holds no head"),
    ("writes", {"n_examples": 3}, "n_examples holds 3 where 2 were asked for"),
    ("function_vectors", {"effects": [[[0.5] * 8] * 4]}, "effects holds 1 entries for 2 shuffled-label prompts"),
    ("function_vectors", {"effects": [[[0.5] * 7] * 4] * 2}, "effects holds 7 where there are 8"),
    ("function_vectors", {"effects": [[[0.5] * 8] * 4, [[0.5] * 8] * 3]},
     "effects of a prompt holds 3 where there are 4"),
    ("function_vectors", {"effects": [[[1.5] * 8] * 4] * 2}, "effects holds 1.5"),
    ("function_vectors", {"effects": [[], []]}, "effects holds no head"),
    ("function_vectors", {"shuffled": [], "effects": []}, "shuffled holds no prompt"),
    ("function_vectors", {"shuffled": [0.5, -0.5]}, "shuffled holds -0.5"),
    ("function_vectors", {"true": 1.5}, "true holds 1.5"),
    ("function_vectors", {"n_means": 0}, "n_means holds 0"),
    ("function_vectors", {"n_means": 3, "dropped_demos": [0] * 5}, "hold 5 prompts where 4 were asked for"),
    ("function_vectors", {"skipped": [3]}, "hold 5 prompts where 4 were asked for"),
    ("function_vectors", {"dropped_demos": [0] * 3}, "dropped_demos holds 3 entries for 4 prompts"),
    ("function_vectors", {"dropped_demos": [0, 0, 0, 6]}, "dropped_demos holds 6"),
    ("function_vectors", {"draws": [0, 0]}, "draws holds 2 entries where prompts were asked for behind 1 draws"),
    ("attribution", {"block_signed": [[[0.5] * 7] * 4]}, "holds 8 where there are 7"),
    ("attribution", {"block_signed": [[[0.5] * 8] * 3], "block_integrated": [[[0.5] * 8] * 3]},
     "block_signed holds 3 where there are 4"),
    ("attribution", {"block_integrated": [[[0.5] * 8] * 4] * 2}, "block_integrated holds 2 entries for 1 blocks"),
    ("attribution", {"block_signed": [[]]}, "block_signed holds no head"),
    ("attribution", {"block_sizes": [1]}, "block_sizes holds 1 examples, where n_examples is 2"),
    ("attribution", {"block_sizes": []}, "block_sizes holds 0 examples"),
    ("attribution", {"skipped": [1]}, "hold 3 examples where 2 were asked for"),
    ("attribution", {"n_examples": 0, "block_sizes": []}, "n_examples holds 0"),
    ("optimal_constants", {"heads": [[[0.5] * 2] * 8] * 4}, "heads holds 2 where there are 3"),
    ("optimal_constants", {"heads": [[[0.5] * 3] * 7] * 4}, "heads holds"),
    ("optimal_constants", {"heads": []}, "heads holds no head"),
    ("optimal_constants", {"before": [[0.25] * 8] * 4}, "after holds a higher loss than before"),
    ("optimal_constants", {"after": [[0.5] * 7] * 4}, "after holds 7 where there are 8"),
    ("optimal_constants", {"after": [[-0.5] * 8] * 4}, "after holds -0.5"),
    ("optimal_constants", {"before": [[0.5] * 8] * 3, "after": [[0.5] * 8] * 3}, "before holds 3 layers of 8 heads"),
    ("optimal_constants", {"intact": -1.0}, "intact holds -1"),
    ("optimal_constants", {"skipped": [3]}, "hold 3 examples where 2 were asked for"),
    ("ffn_oracle", sweep(["", "F0", "F1"]), "ablations holds 3 entries for 5 ablations of this model"),
    ("ffn_oracle", sweep(["", "F0", "F1", "F3", "F2"]), "ablations names others than this model's"),
    ("ffn_oracle", {"choices": [[0, 1]]}, "choices holds 1 entries for 5 ablations"),
    ("ffn_oracle", {"choices": [[0, 1]] * 4 + [[0]]}, "choices holds 1 entries for 2 queries"),
    ("ffn_oracle", {"choices_norm": [[0, 1]] * 4 + [[0, 2]]}, "choices_norm holds an option that its query lacks"),
    ("ffn_oracle", {"choices": [[0, 1]] * 4 + [[0, -1]]}, "choices holds -1"),
    ("ffn_oracle", {"removed": [[0.0, 0.0]] * 5}, "removed holds shares"),
    ("ffn_oracle", {"gold": [[-1.0, -1.0]] * 4}, "gold holds 4 entries for 5 ablations"),
    ("ffn_oracle", {"gold": [[-1.0, -1.0]] * 4 + [[-1.0]]}, "gold holds 1 entries for 2 queries"),
    ("ffn_oracle", {"gold": [[-1.0, -1.0]] * 4 + [[-1.0, 0.5]]}, "no logarithm of a probability"),
    ("head_oracle", sweep(["", "L0H0"]), "ablations holds 2 entries for 33"),
    ("head_oracle", sweep(["", "L H5"]), "ablations: 'L H5' is not a component"),
    ("pruning", sweep(["L0H0", "L0H0-2"], [[0.0, 0.0], [0.1, 0.0]]), "does not begin with the intact model"),
    ("pruning", sweep(["", "L0H0"], [[0.0, 0.0], [0.1, 0.0]]), "1 heads and 0 FFNs off where removed says 3 and 0"),
    ("pruning", sweep(["", "L9H0-2"], [[0.0, 0.0], [0.1, 0.0]]), "No such component: L9H0"),
    ("pruning", sweep(["", "any"], [[0.0, 0.0], [0.1, 0.0]]), "'any' is not a component"),
    ("pruning", sweep(["", "L0H0-2"], [[0.0, 0.0], [1.1, 0.0]]), "removed holds 1.1"),
    ("pruning", sweep(["", "L0H0-2"]), "removed holds 0 entries for 2 ablations"),
    *((kind, {"heads": [*attacks.HEADS[:-1], [0, 0]]}, "heads names none, or one twice")
      for kind in ("iterative", "greedy", "gates")),
    *((kind, {"heads": [*attacks.HEADS[:-1], [4, 0]]}, "heads names others than this model's")
      for kind in ("iterative", "greedy", "gates")),
    *((kind, {"skipped": [1]}, "hold 3 examples where 2 were asked for") for kind in ("iterative", "greedy", "gates")),
    ("iterative", {"heads": [*attacks.HEADS[:-1], [-1, 0]]}, "heads holds -1"),
    ("iterative", {"n_dead": 33}, "n_dead holds 33"),
    ("iterative", {"n_examples": 0}, "n_examples holds 0"),
    ("iterative", {"skipped": [-1]}, "skipped holds -1"),
    ("iterative", {"scores": [0.5] * 32}, "scores holds 32 entries for 31 live heads"),
    ("iterative", {"scores": [-0.5] * 31}, "scores holds -0.5"),
    ("greedy", {"accuracies": [0.5] * 30}, "accuracies holds 30 entries for 31 live heads"),
    ("greedy", {"accuracies": [1.5] * 31}, "accuracies holds 1.5"),
    ("greedy", {"losses": [1.5] * 32}, "losses holds 32 entries for 31 live heads"),
    ("gates", {"closing": []}, "closing holds no head"),
    ("gates", {"closing": [[0.5] * 7] * 4, "opening": [[0.5] * 7] * 4}, "closing holds 7 where there are 8"),
    ("gates", {"opening": [[0.5] * 8] * 3}, "opening holds 3 where there are 4"),
    ("gates", {"opening": [[1.5] * 8] * 4}, "opening holds 1.5"),
    ("gates", {"closing": [[-0.5] * 8] * 4}, "closing holds -0.5"),
    ("gates", {"free_losses": [0.5] * 19}, "free_losses holds 19 entries for 20 parts of a fit"),
    ("gates", {"closing_losses": [-0.5] * 20}, "closing_losses holds -0.5"),
    ("gates", {"opening_losses": []}, "opening_losses holds 0 entries"),
    ("knock_out", {"ablations": ["", *["F0"] * 8]}, "ablations has FFNs off"),
    ("knock_out", {"ablations": ["", *["mean:L0H0"] * 8]}, "or another fill"),
    ("knock_out", {"ablations": ["", *["L0H0-1"] * 8]}, "2 heads off where removed says 0"),
    ("knock_out", {"ablations": ["", *["L9H0"] * 8]}, "No such component: L9H0"),
    ("knock_out", {"removed": [[0.0, 0.0]] * 9}, "removed holds other shares"),
    ("labels", {"loglikelihoods": [[-1.0, -2.0]]}, "loglikelihoods holds 1 entries for 2 queries"),
    ("labels", asked(dropped_demos=[0, 6]), "dropped_demos holds 6, which is not within 0 and 5"),
    ("shuffled_oracle", sweep(["", "L0H0"]), "ablations holds 2 entries for 33"),
    ("influence", {"whole": [-0.5]}, "whole holds 1 entries for 2 queries"),
    ("influence", {"whole": [-0.5, 3.0]}, "whole holds 3.0, which is no logarithm of a probability"),
    ("influence", {"n_tokens": [1, 0]}, "n_tokens holds 0"),
    ("influence", {"n_tokens": [1]}, "n_tokens holds 1 entries for 2 queries"),
    ("influence", {"without": [[-1.0] * 5]}, "without holds 1 entries for 2 queries"),
    ("influence", {"without": [[-1.0] * 4] * 2}, "without holds 4 entries for 5 demonstrations"),
    ("influence", {"without": [[-1.0] * 5, [-1.0] * 4]}, "without holds 4 entries for 5 demonstrations"),
    ("influence", {"without": [[-1.0] * 5, [1.0] * 5]}, "without holds 1.0, which is no logarithm"),
    ("influence", {"without": [[], []]}, "without holds no demonstration"),
    ("influence", asked(skipped=[9]), "hold 3 queries where 2 were asked for"),
    ("copying", {"mean": [[0.5] * 2] * 4, "variance": [[0.5] * 2] * 4}, "mean holds 2 where there are 8"),
    ("copying", {"mean": [[0.5] * 8] * 3, "variance": [[0.5] * 8] * 3}, "mean holds 3 where there are 4"),
    ("copying", {"variance": [[0.5] * 7] * 4}, "variance holds 7 where there are 8"),
    ("copying", {"mean": [[1.5] * 8] * 4}, "mean holds 1.5"),
    ("copying", {"variance": [[-0.5] * 8] * 4}, "variance holds -0.5"),
    ("copying", {"n_seeds": 4}, "n_seeds holds 4 where 3 sequences were asked for"),
    ("copying", {"n_seeds": "3"}, "n_seeds holds '3', not a int"),
    ("model", {"n_layers": 100_000, "n_heads": 1000}, "n_layers holds 100000, which is not within 1 and 1000"),
    ("model", {"n_layers": 0}, "n_layers holds 0"),
    ("model", {"n_heads": 1001}, "n_heads holds 1001"),
    ("model", {"n_layers": 1000, "n_heads": 1000}, "more than 65,536 heads"),
    ("model", {"d_model": -1}, "d_model holds -1"),
    ("model", {"name": "another"}, "name holds 'another', where the model is 'stranger'"),
    ("model", {"headless": [4]}, "headless holds 4"),
    ("model", {"architecture": "a" * 501}, "architecture is longer than 500"),
]


@pytest.mark.parametrize("kind", RECORDS)
def test_sound_results_come_in(store, tmp_path, kind):
    contents = bundles.inspect(bundle(tmp_path / "b.zip", {"model": MODEL_ENTRY, kind: entry(kind)}.values()), store)
    bundles.take_in(contents, store)
    assert store.get(UNITS[kind]) is not None
    assert store.check() == []


@pytest.mark.parametrize(("kind", "changes", "message"), WRONG, ids=[f"{kind}: {m}" for kind, _, m in WRONG])
def test_what_cannot_be_a_result_is_refused_by_import_store_and_shipped_files(tmp_path, kind, changes, message):
    """At import with its entry and field; from a store and from shipped files it counts as damaged."""
    unit, record = entry(kind, **changes)
    entries = [*[MODEL_ENTRY] * (kind != "model"), (unit, record)]
    with Store(tmp_path / "here") as here:
        if "half a character" not in message:  # which cannot even be written
            with pytest.raises(StoreError) as refused:
                bundles.inspect(bundle(tmp_path / "b.zip", entries), here)
            assert f"results/{attacks.key(unit)}.json (a result): " in str(refused.value)
            assert message in str(refused.value)
        if kind != "model":
            here.put(Model(MODEL), ModelInfo.from_json(RECORDS["model"]))
        with pytest.raises(StoreError):  # nor is it ever written
            here.put(UNITS[kind], from_plain(UNITS[kind].RECORD, record))
        assert UNITS[kind] not in here
    if "half a character" not in message:
        plant(tmp_path / "live", entries)
        attacks.ship(tmp_path / "shipped", entries)
        with Store(tmp_path / "live", tmp_path / "shipped") as store:
            assert UNITS[kind] not in store
            assert store.get(UNITS[kind]) is None
            assert ["NaN" in told if "NaN" in message else message in told for told in store.check()] == [True, True]


def units_like(**changes: Any) -> dict[str, Any]:
    unit = UNITS["evaluation"].to_json()
    return unit | {"setup": unit["setup"] | changes}


@pytest.mark.parametrize(("unit", "message"), [
    (units_like(n_shots="5"), "n_shots holds '5', not a int"),
    (units_like(n_shots=-1), "shots must be 0 or more"),
    (units_like(n_shots=10**6), "at most 10,000 shots"),
    (units_like(seed=10**30), "seed holds a whole number beyond"),
    (units_like(n_examples=None), "n_examples holds 'None'"),
    (units_like(task={"name": "a" * 501, "digest": "x"}), "more than 500 characters"),
    (UNITS["evaluation"].to_json() | {"ablation": "L0H8"}, "No such component: L0H8"),
    (UNITS["evaluation"].to_json() | {"ablation": "L0-999H0-999"}, "names more than 131,072 components"),
    (UNITS["evaluation"].to_json() | {"ablation": "L0-99H0-999"}, "no model has more than 65,536"),
    (UNITS["evaluation"].to_json() | {"n_train": -3}, "not -3"),
    (UNITS["labels"].to_json() | {"labels": "wrong"}, "Unknown labels 'wrong'"),
    (UNITS["labels"].to_json() | {"ablation": "L0H8"}, "No such component: L0H8"),
    (UNITS["influence"].to_json() | {"ablation": "L0H8"}, "No such component: L0H8"),
    (UNITS["head_oracle"].to_json() | {"fill": "noise"}, "'noise' puts nothing in place"),
    (UNITS["head_oracle"].to_json() | {"fill": "mean", "n_train": -3}, "not -3"),
    (UNITS["head_oracle"].to_json() | {"on": "test"}, "'test' is no split"),
    (UNITS["copying"].to_json() | {"n_sequences": 10**9}, "1 to 1,000,000 random sequences"),
    (UNITS["pruning"].to_json() | {"ranking": {"tasks": [], "n_train": 2, "reduction": "by eye", "reverse": False,
                                               "seed": -1}}, "No ranking is by 'by eye'"),
    (UNITS["pruning"].to_json() | {"ranking": 3}, "ranking is no Ranking"),
])
def test_descriptions_of_no_result_are_refused_and_close_nothing(tmp_path, capsys, unit, message):
    entries = [MODEL_ENTRY, (unit, RECORDS[unit["kind"]])]
    with Store(tmp_path / "here") as here, pytest.raises(StoreError) as refused:
        bundles.inspect(bundle(tmp_path / "b.zip", entries), here)
    assert message in str(refused.value)
    plant(tmp_path / "live", [*entries, entry("copying")])
    with Store(tmp_path / "live") as store:
        assert UNITS["copying"] in store
        assert len(store.check()) == 1
    assert main(["status", "--store", str(tmp_path / "live"), "--no-shipped"]) in (0, FAILED)
    assert "1 copying" in capsys.readouterr().out


def test_a_result_listed_under_another_s_name_is_left_out_and_named(tmp_path):
    plant(tmp_path, [entry("copying")])
    with attacks.sqlite3.connect(tmp_path / "cache.db") as database:
        database.execute("UPDATE Cache SET key = replace(key, '\"n_sequences\":3', '\"n_sequences\":4') "
                         "WHERE key LIKE 'unit:%'")
    store = Store(tmp_path)
    assert store.units() == []
    assert "filed under another result's name" in store.problems()[0]


def test_the_model_s_shape_counts_whoever_says_it_first(tmp_path):
    """Stored beside the results, shipped, in the bundle, or learned of the model that is here."""
    two_heads = entry("copying", mean=[[0.5] * 2] * 4, variance=[[0.5] * 2] * 4)
    unit, info = UNITS["copying"], ModelInfo.from_json(RECORDS["model"])
    file = bundle(tmp_path / "b.zip", [two_heads])
    with Store(tmp_path / "unknown") as store:
        bundles.take_in(bundles.inspect(file, store), store)
        assert store.get(unit) is not None  # nobody knows better
        store.learn(MODEL, info)
        assert store.get(unit) is None
        assert "mean holds 2 where there are 8" in store.problems()[0]
    with Store(tmp_path / "stored") as store:
        store.put(Model(MODEL), info)
        with pytest.raises(StoreError, match="mean holds 2 where there are 8"):
            bundles.inspect(file, store)
    attacks.ship(tmp_path / "shipped", [MODEL_ENTRY])
    with Store(tmp_path / "over", tmp_path / "shipped") as store, pytest.raises(StoreError, match="mean holds 2"):
        bundles.inspect(file, store)


def test_a_model_that_is_known_cannot_be_given_another_shape_even_on_request(tmp_path):
    attacks.ship(tmp_path / "shipped", [MODEL_ENTRY, entry("copying")])
    other = bundle(tmp_path / "b.zip", [entry("model", n_layers=2)])
    with Store(tmp_path / "live", tmp_path / "shipped") as store:
        with pytest.raises(StoreError, match="n_layers holds 2, where this very model is known to have 4"):
            bundles.inspect(other, store)
        with pytest.raises(StoreError, match="known to have 4"):
            store.put(Model(MODEL), ModelInfo.from_json(RECORDS["model"] | {"n_layers": 2}), replace=True)
    plant(tmp_path / "live", [entry("model", n_layers=2)])
    with Store(tmp_path / "live", tmp_path / "shipped") as store:
        assert store.get(Model(MODEL)).n_layers == 4  # the shipped one counts
        assert store.get(UNITS["copying"]) is not None


def test_what_is_damaged_is_no_part_of_a_plan_s_done(tmp_path):
    plant(tmp_path, [MODEL_ENTRY, entry("copying", n_seeds=4), entry("evaluation")])
    with Store(tmp_path) as store:
        assert [UNITS[kind] in store for kind in ("model", "copying", "evaluation")] == [True, False, True]
        assert UNITS["evaluation"] in store  # again, without being read again
        plant(tmp_path, [entry("evaluation", lengths=[])])
        assert UNITS["evaluation"] not in store


def test_all_that_is_shipped_passes(tmp_path):
    with Store(tmp_path, SHIPPED) as store:
        assert store.check() == []
        assert store.examine().n_shipped == len(store.units())


# --- bounds -------------------------------------------------------------------------------------


def test_sizes_are_looked_at_before_anything_is_read(store, tmp_path, monkeypatch):
    """Each limit in turn, lowered to where a small bundle meets it; nothing is unpacked then."""
    file = bundle(tmp_path / "b.zip", [MODEL_ENTRY, entry("copying"), entry("evaluation")])

    def body(*_: object) -> bytes:
        raise AssertionError("a result was read")

    monkeypatch.setattr(bundles, "_body", body)
    for name, most, message in (
            ("BUNDLE_BYTES", 1000, "unpacks to"), ("BUNDLE_ENTRIES", 2, "a bundle may hold 2 results"),
            ("DIRECTORY_BYTES", 100, "table of"), ("MANIFEST_BYTES", 100, "manifest unpacks to more than"),
            ("RESULT_BYTES", 100, "a result has up to")):
        with monkeypatch.context() as lowered:
            lowered.setattr(limits, name, most)
            with pytest.raises(StoreError, match=message):
                bundles.inspect(file, store)


@pytest.mark.parametrize("n_bytes", [-1, 2**40, 2**62])
def test_sizes_that_a_manifest_makes_up_are_refused(store, tmp_path, n_bytes):
    made_up = [{"key": "0" * 32, "what": "", "sha256": "", "bytes": n_bytes}]
    file = bundle(tmp_path / "b.zip", [], entries=made_up)
    with zipfile.ZipFile(file, "a") as more:
        more.writestr(f"results/{'0' * 32}.json", b"{}")
    with pytest.raises(StoreError, match=r"unpacks to|is said to have|beyond 2\^53"):
        bundles.inspect(file, store)


@pytest.mark.parametrize("text", [b"[" + b"[]," * 100 + b"[]]", b"[" + b"{}," * 100 + b"{}]",
                                  b"[" + b'"a",' * 300 + b'"a"]'])
def test_json_of_countless_parts_is_refused_before_it_is_parsed(store, tmp_path, monkeypatch, text):
    monkeypatch.setattr(limits, "RESULT_LISTS", 100)
    unit = UNITS["evaluation"].to_json()
    body = b'{"record":' + text + b',"unit":' + attacks.written(unit) + b"}"
    monkeypatch.setattr(json, "loads", lambda body, loads=json.loads, **more: loads(body, **more) if (
        len(body) < 2000 and text not in body) else pytest.fail("parsed"))
    with pytest.raises(StoreError, match="holds more than 100 lists"):
        bundles.inspect(bundle(tmp_path / "b.zip", [(unit, body)]), store)


def test_a_result_named_twice_by_a_manifest_is_refused(store, tmp_path):
    (unit, record) = MODEL_ENTRY
    body = attacks.written({"unit": unit, "record": record})
    one = {"key": attacks.key(unit), "what": "", "sha256": attacks.hashlib.sha256(body).hexdigest(), "bytes": len(body)}
    with pytest.raises(StoreError, match="names a result twice"):
        bundles.inspect(bundle(tmp_path / "b.zip", [MODEL_ENTRY], entries=[one, one]), store)


def test_a_bundle_s_results_are_not_kept_in_memory_and_a_changed_file_is_noticed(store, tmp_path):
    file = bundle(tmp_path / "b.zip", [MODEL_ENTRY, entry("copying")])
    contents = bundles.inspect(file, store)
    assert contents.results[UNITS["copying"]] is not contents.results[UNITS["copying"]]  # read anew
    file.write_bytes(file.read_bytes()[:-400] + bytes(400))
    with pytest.raises(StoreError):
        bundles.take_in(bundles.inspect(file, store), store)
    assert store.units() == []


def test_a_mask_is_bounded_before_it_is_made():
    million = "L0-999999H0-999999"
    assert parse(million, 12, 12)[1] == [f"'{million}' is not in this model: layers go from 0 to 11, heads from 0 to "
                                         "11."]
    for text in (million, ",".join([million] * 100)):
        ablation, problems = parse(text, 10**6, 10**6)
        assert (len(ablation.heads), len(problems)) == (0, 1)
        assert "names more than 131,072 components" in problems[0]
    named_often, problems = parse(",".join(["L0-11"] * 10_000), 12, 12)
    assert len(named_often.heads) == 144
    assert "Name each once" in problems[0]
    with pytest.raises(BadInput, match="no model has more"):
        parse_exact("L0-65H0-999")
    assert parse("L0H0," * 300_000, 12, 12)[0] == INTACT
    assert "1,500,000 characters" in parse("L0H0," * 300_000, 12, 12)[1][0]
    _, problems = parse(",".join(["x" * 1000] * 1000), 12, 12)
    assert len(problems) == limits.MASK_PROBLEMS + 1
    assert problems[-1] == "980 more items could not be read."
    assert max(map(len, problems)) < 250


def test_the_largest_models_fit_in_every_bound():
    """Llama 3.1 405B: 126 layers of 128 heads, every head named one by one, or all but every other."""
    every = ",".join(f"L{layer}H{head}" for layer in range(126) for head in range(128))
    assert len(parse(every, 126, 128)[0].heads) == 126 * 128
    other = ",".join(f"L{layer}H{head}" for layer in range(126) for head in range(0, 128, 2))
    assert str(parse_exact(other)) == str(parse(other, 126, 128)[0])
    assert ModelInfo.from_json(RECORDS["model"] | {"n_layers": 126, "n_heads": 128}).heads[-1].head == 127


def test_a_ranking_s_text_and_setups_are_bounded():
    with pytest.raises(BadInput, match="this one has 20,006"):
        Ranking.parse("task:" + "a" * 20_001, SETUP.task, lambda names: pytest.fail("looked for"))
    for change in ({"n_shots": 10**5000}, {"seed": 10**5000}, {"seed": -10**5000}, {"n_examples": 10**5000}):
        with pytest.raises(BadInput, match="2\\^16609 or more"):
            SETUP.with_(**change)
    with pytest.raises(BadInput, match="500 characters"):
        ModelId("m" * 3000, "", "")
    assert Evaluation(Setup(MODEL, TaskId("a", "b"), seed=-1)).setup.seed == -1


def test_a_bundle_of_the_largest_study_passes_every_limit():
    """14 tasks x 3 numbers of shots, all kinds, of a model of 64 layers x 72 heads (OPT-66B), from the sizes of its
    records: a float takes up to 13 characters, a component of a mask up to 8."""
    layers, heads, d_head, queries, setups = 64, 72, 128, 100, 14 * 3
    floats = {"means": layers * heads * d_head * 2, "importance": 32 * layers * (2 * heads + 1)}
    sizes = {"means": 13 * floats["means"], "importance": 13 * floats["importance"],
             "oracle": layers * heads * (4 * queries + 10), "curve": 10 * (layers * heads * 8 + 4 * queries),
             "combined": 48 * (layers * heads * 8 + 4 * queries), "evaluation": 60 * queries}
    counts = {"means": 1, "importance": 1, "oracle": 2, "curve": 8 + 8 + 13, "combined": 2, "evaluation": 20}
    assert max(sizes.values()) < limits.RESULT_BYTES
    assert layers * heads + 32 * layers * 2 + 10 * queries < limits.RESULT_LISTS
    assert setups * sum(counts.values()) < limits.BUNDLE_ENTRIES
    assert setups * sum(sizes[kind] * n for kind, n in counts.items()) < limits.BUNDLE_BYTES
