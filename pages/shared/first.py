"""What a visitor sees first: of the tasks that have results, the one on which the pages show most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import streamlit as st

from backend import stats
from backend.kinds import Answers, Evaluation, FFNOracle, HeadImportance, HeadScores, Pruning, Sweep
from backend.store.live import Store
from backend.values import Ranking, Setup
from pages.map import scales

CLEAR = 0.05  # a paired test below this: an FFN is missed, and its page has something to say


class Shown(NamedTuple):
    """How much there is to see of a task; more is greater."""

    able: bool  # whether the intact model is told from chance: else its heads have nothing to be needed for
    pages: int  # of Heads, FFNs, Lab and Pruning, how many have something to show
    heads: float  # how many heads its map shows, see `heads_shown`


def shown(importance: HeadScores | None, ffns: Sweep | None, intact: Answers | None, pruned: bool) -> Shown:
    """How much there is to see of a task.

    Args:
        importance, ffns, intact: what is stored, None where nothing is.
        pruned: whether its own pruning curve is stored.
    """
    missed = False
    if ffns is not None:
        whole, *without = ffns.marks()
        missed = any(stats.paired_test(whole, off).p < CLEAR for off in without)
    able = intact is not None and stats.accuracy_interval(intact.marks()).low > intact.questions.chance
    return Shown(able, (importance is not None) + missed + (intact is not None) + pruned,
                 heads_shown(importance.scores()) if importance is not None else 0.0)


def heads_shown(scores: np.ndarray) -> float:
    """The effective number of heads that a map shows: 1 where one cell is dark, all of them where all are equally so.

    (Σs)² / Σs² of the strengths s of the colours, on the scale that the map opens with.

    Args:
        scores: (n_layers, n_heads); layers of zeros have no heads.
    """
    there = scores[scores.any(axis=1)]
    if not there.size:
        return 0.0
    strength = np.nan_to_num(scales.shades(there, scales.best_scale(there)).strength)
    return float(strength.sum() ** 2 / (strength ** 2).sum()) if strength.any() else 0.0


def most(tasks: Mapping[str, Shown]) -> str:
    """The task of which there is most to see: one that the model can do, by pages, then by heads; ties in order."""
    return max(tasks, key=lambda name: tasks[name])


def task(setups: Mapping[str, Setup], n_train: int, store: Store) -> str:
    """The task to begin with: worked out again where what is stored of these has changed, not at every other result.

    Args:
        setups: what the pages ask of each task by default.
        n_train: training examples behind importance.
    """
    there = {unit.key for unit in store.units(model=next(iter(setups.values())).model)}
    keys = {name: [unit.key for unit in _units(setup, n_train) if unit.key in there] for name, setup in setups.items()}
    return _most(keys, setups, n_train, store)


def _units(setup: Setup, n_train: int) -> tuple[HeadImportance, FFNOracle, Evaluation, Pruning]:
    return (HeadImportance(setup.with_(n_examples=n_train)), FFNOracle(setup), Evaluation(setup),
            Pruning(setup, "heads", Ranking.by(setup.task, n_train=n_train)))


@st.cache_data(show_spinner=False, max_entries=8)
def _most(keys: Mapping[str, Sequence[str]], _setups: Mapping[str, Setup], _n_train: int, _store: Store) -> str:
    found = {}
    for name, setup in _setups.items():
        importance, ffns, intact, pruned = _units(setup, _n_train)
        found[name] = shown(_store.get(importance), _store.get(ffns), _store.get(intact), pruned.key in keys[name])
    return most(found)
