"""The same queries under many ablations: the oracles (one component off at a time) and pruning (more and more off)."""

from __future__ import annotations

from collections.abc import Sequence

from backend import stats
from backend.engine.passes import Prepared, Progress
from backend.kinds.evaluation import evaluate
from backend.models.loading import LoadedModel
from backend.results import Sweep
from backend.tasks.task import Prompt
from backend.values import INTACT, Ablation, Head

HEAD_SHARES = tuple(p / 100 for p in range(0, 100, 10))  # of heads, or of FFNs, removed along a curve
COMBINED_HEAD_SHARES = tuple(p / 100 for p in range(0, 80, 10))  # 0..70 % of the heads ...
COMBINED_FFN_SHARES = tuple(p / 100 for p in range(0, 60, 10))  # ... x 0..50 % of the FFNs


def sweep(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, ablations: Sequence[Ablation],
    progress: Progress | None = None, *, metric: str = "acc", removed: Sequence[tuple[float, float]] = (),
) -> Sweep:
    """The chosen option of every query under every ablation; the first should be the intact model.

    Equal ablations are measured once: on a model of few layers, several shares remove the same FFNs.
    """
    distinct = list(dict.fromkeys(ablations))
    scored = dict(zip(distinct, evaluate(model, prompts, distinct, progress, metric=metric), strict=True))
    found = [scored[ablation] for ablation in ablations]
    return Sweep(
        questions=found[0].questions, ablations=tuple(str(a) for a in ablations),
        choices=tuple(e.choices() for e in found), choices_norm=tuple(e.choices(norm=True) for e in found),
        removed=tuple(removed),
    )


def ffn_importance(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, progress: Progress | None = None, *, metric: str = "acc"
) -> Sweep:
    """Intact, then with each FFN off, layer 0 first. acc(intact) - acc(FFN l off) is the oracle importance:
    positive = the FFN helped. Source: Bansal et al. 2023, arXiv:2212.09095."""
    ablations = [INTACT, *(Ablation(ffns=frozenset({layer})) for layer in range(model.n_layers))]
    return sweep(model, prompts, ablations, progress, metric=metric)


def head_oracle(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, progress: Progress | None = None, *, metric: str = "acc"
) -> Sweep:
    """Intact, then with each single head off, layer by layer. In the study for OPT-125M."""
    ablations = [INTACT, *(Ablation(frozenset({Head(layer, head)}))
                           for layer in range(model.n_layers) for head in range(model.n_heads))]
    return sweep(model, prompts, ablations, progress, metric=metric)


def pruning_steps(
    head_order: Sequence[Head], ffn_order: Sequence[int], what: str
) -> tuple[list[Ablation], list[tuple[float, float]]]:
    """The ablations of a pruning curve or map, and the share of (heads, FFNs) removed at each.

    The first floor(share * n) of each order go. "heads" and "ffns": 0, 10, .., 90 %. "combined": heads 0..70 % x FFNs
    0..50 %, the FFN share changing fastest.
    """
    shares = {
        "heads": [(h, 0.0) for h in HEAD_SHARES],
        "ffns": [(0.0, f) for f in HEAD_SHARES],
        "combined": [(h, f) for h in COMBINED_HEAD_SHARES for f in COMBINED_FFN_SHARES],
    }[what]
    steps = [Ablation(frozenset(head_order[:stats.count(h, len(head_order))]),
                      frozenset(ffn_order[:stats.count(f, len(ffn_order))])) for h, f in shares]
    return steps, shares


def pruning_curve(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, head_order: Sequence[Head], ffn_order: Sequence[int],
    what: str = "heads", progress: Progress | None = None, *, metric: str = "acc",
) -> Sweep:
    """Accuracy as components go in the given order, the first of each order first.

    Args:
        head_order: heads, the first to go first; all of them, or none for what="ffns".
        ffn_order: layers likewise; none for what="heads".
        what: "heads", "ffns" or "combined" (the 8 x 6 map).
    """
    steps, shares = pruning_steps(head_order, ffn_order, what)
    return sweep(model, prompts, steps, progress, metric=metric, removed=shares)


