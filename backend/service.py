"""Fetch or compute: what the pages and the command line call.

Every result is named by a `Unit`, made by the small constructors here. `fetch` reads the store and never computes;
`compute` measures what is missing, with the results it builds on, and stores it. Nothing here loads torch until
something is computed.

Options that units know, beside their setup:
    evaluation       means=<n>      training prompts behind the means, where the ablation's fill is "mean"
    pruning          what=heads|ffns|combined
                     ranking=own | task:<name> | aggregate:<suite or names joined by +> | random:<seed> | most-important
                     n_train=<n>    training examples behind the importance
                     reduction=per-token|per-example
    prefix_matching  variant=exact|authors, n_seeds=<n>
    copying          variant=authors|olsson, n_seeds=<n>
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from backend import stats
from backend.errors import BadInput
from backend.results import Activations, Answers, HeadScores, ModelInfo, Record, Setup, Sweep, Unit
from backend.tasks.task import Example, Prompt, Task, prompts
from backend.values import INTACT, Ablation, Head

if TYPE_CHECKING:
    from backend.engine.passes import Plan
    from backend.lens.attention import Contributions
    from backend.lens.reading import Reading
    from backend.models.loading import LoadedModel

Progress = Callable[[int, int], None]

N_EXAMPLES = 100  # queries of an evaluation, unless asked otherwise
N_TRAIN = 200  # training examples behind importance and means, unless asked otherwise (the study: up to 2,500)
N_SEEDS = 100  # random sequences behind prefix matching and copying
N_PLANS = 64  # setups that stay ready in memory: 14 tasks x 3 shot numbers and a few more
PLAN_BYTES = 2**30  # of the intact model's states, over all setups that stay ready
WITHOUT_TASK = ("prefix_matching", "copying", "model")


class Results(Protocol):
    """What the service needs of a store."""

    def get(self, unit: Unit) -> Record | None: ...
    def put(self, unit: Unit, record: Record) -> Record: ...
    def put_seconds(self, unit: Unit, seconds: float) -> None: ...


# ---- Naming results


def setup(
    info: ModelInfo, task: str, n_shots: int, demos: str = "fixed", n_examples: int = N_EXAMPLES, seed: int = 0,
    dtype: str = "float32",
) -> Setup:
    """The setup of one task on one model; reads the task's rows for their fingerprint.

    Raises:
        BadInput: unknown task, or negative shots.
        DataError: the task's rows cannot be had.
    """
    if n_shots < 0:
        raise BadInput(f"The number of shots must be 0 or more, got {n_shots}.")
    return Setup(info.name, info.revision, dtype, task, fingerprint(task), n_shots, demos, n_examples, seed)


def fingerprint(task: str) -> str:
    """The digest of a task's rows and wording."""
    from backend.tasks.registry import get_task

    return get_task(task).fingerprint


def evaluation(setup: Setup, ablation: Ablation = INTACT, n_train: int = N_TRAIN) -> Unit:
    """How each option of each validation query scores; `n_train` training prompts behind the means, where it uses any.
    """
    options = (("means", str(n_train)),) if ablation.fill == "mean" else ()
    return Unit("evaluation", setup, ablation, options)


def head_importance(setup: Setup, n_train: int = N_TRAIN) -> Unit:
    """Gradient importance over the first `n_train` training prompts."""
    return Unit("head_importance", setup.with_(n_examples=n_train))


def ffn_oracle(setup: Setup) -> Unit:
    """Accuracy with each FFN off."""
    return Unit("ffn_oracle", setup)


def head_oracle(setup: Setup) -> Unit:
    """Accuracy with each single head off."""
    return Unit("head_oracle", setup)


def pruning(
    setup: Setup, what: str = "heads", ranking: str = "own", n_train: int = N_TRAIN, reduction: str = "per-token"
) -> Unit:
    """Accuracy as more and more heads, FFNs or both are removed along a ranking."""
    if what not in ("heads", "ffns", "combined"):
        raise BadInput(f"Cannot prune '{what}'. Known: heads, ffns, combined.")
    name, _, value = ranking.partition(":")
    if name not in ("own", "task", "aggregate", "random", "most-important") or (name == "random" and
                                                                               not value.isdigit()):
        raise BadInput(f"Unknown ranking '{ranking}'. Known: own, task:<name>, aggregate:<suite>, random:<seed>, "
                       "most-important.")
    options = [("what", what), ("ranking", ranking)]
    if name != "random" and what != "ffns":
        options += [("n_train", str(n_train)), ("reduction", reduction)]
    return Unit("pruning", setup, INTACT, tuple(options))


def prefix_matching(setup: Setup, variant: str = "exact", n_seeds: int = N_SEEDS) -> Unit:
    """How much each head looks back at what followed the current token before."""
    return Unit("prefix_matching", setup.without_task(), INTACT, (("variant", variant), ("n_seeds", str(n_seeds))))


def copying(setup: Setup, variant: str = "authors", n_seeds: int = N_SEEDS) -> Unit:
    """How much each head raises the logit of the token it attends to."""
    return Unit("copying", setup.without_task(), INTACT, (("variant", variant), ("n_seeds", str(n_seeds))))


def means(setup: Setup, n_train: int = N_TRAIN) -> Unit:
    """Mean activations over training prompts, for mean ablation."""
    return Unit("means", setup.with_(n_examples=n_train))


def model_record(info: ModelInfo) -> Unit:
    """The shape of a model, so that its results can be browsed where the model is not."""
    return Unit("model", Setup(info.name, info.revision, ""))


def needs(unit: Unit) -> list[Unit]:
    """The results that a unit builds on, in the order to compute them."""
    if unit.kind == "evaluation" and unit.ablation.fill == "mean":
        return [means(unit.setup, int(unit.option("means")))]
    if unit.kind != "pruning":
        return []
    what, units = unit.option("what"), []
    for source in ranking_tasks(unit):
        one = unit.setup if source == unit.setup.task else unit.setup.with_(task=source, data=fingerprint(source))
        if what in ("heads", "combined"):
            units.append(head_importance(one, int(unit.option("n_train"))))
        if what in ("ffns", "combined"):
            units.append(ffn_oracle(one))
    return units


def ranking_tasks(unit: Unit) -> list[str]:
    """The tasks whose importance orders a pruning unit; none for a random order."""
    name, _, value = unit.option("ranking").partition(":")
    if name == "random":
        return []
    if name == "task":
        return [value]
    if name == "aggregate":
        from backend.tasks.registry import suite

        return [task.name for task in suite(value.replace("+", ","))]
    return [unit.setup.task]


# ---- Reading and making results


def fetch(unit: Unit, store: Results) -> Record | None:
    """The stored result, or None. Never computes."""
    return store.get(unit)


def compute(unit: Unit, store: Results, model: LoadedModel, progress: Progress | None = None) -> Record:
    """The result, measured and stored unless it is stored already; first what it builds on.

    Args:
        progress: called with (done, total) after each batch; raising `Cancelled` in it stops the work, and
            what was finished before stays stored.

    Raises:
        BadInput, DataError, ModelError: as the measurement does; nothing half-made is stored.
    """
    if (found := store.get(unit)) is not None:
        return found
    if (unit.setup.model, unit.setup.revision) != (model.info.name, model.info.revision):
        raise BadInput(f"The loaded model is {model.info.name} at {model.info.revision}, the result asked for belongs "
                       f"to {unit.setup.model} at {unit.setup.revision}. Load that one.")
    basis = [compute(need, store, model, progress) for need in needs(unit)]
    began = time.perf_counter()
    record = store.put(unit, _MEASURES[unit.kind](unit, model, basis, progress))
    store.put_seconds(unit, time.perf_counter() - began)
    return record


def ranking_scores(unit: Unit, basis: Sequence[Record]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The (n_layers, n_heads) head scores and (n_layers,) FFN scores that order a pruning unit, where it has any."""
    heads = [r.scores(unit.option("reduction")) for r in basis if isinstance(r, HeadScores)]
    ffns = [ffn_scores(r) for r in basis if isinstance(r, Sweep)]
    return (stats.aggregate(heads) if heads else None), (stats.aggregate(ffns) if ffns else None)


def ffn_scores(oracle: Sweep) -> np.ndarray:
    """(n_components,): acc(intact) - acc(component off), from an oracle; positive = the component helped."""
    accuracy = oracle.accuracy()
    return accuracy[0] - accuracy[1:]


def pruning_orders(unit: Unit, basis: Sequence[Record], n_layers: int, n_heads: int) -> tuple[list[Head], list[int]]:
    """The heads and the layers of FFNs in the order in which a pruning unit removes them."""
    what, (name, _, value) = unit.option("what"), unit.option("ranking").partition(":")
    n = n_layers * n_heads
    if name == "random":
        rng = np.random.default_rng(int(value))
        head_order, ffn_order = rng.permutation(n), rng.permutation(n_layers)
    else:
        heads, ffns = ranking_scores(unit, basis)
        head_order = stats.order(heads) if heads is not None else np.arange(n)
        ffn_order = stats.order(ffns) if ffns is not None else np.arange(n_layers)
        if name == "most-important":
            head_order, ffn_order = head_order[::-1], ffn_order[::-1]
    chosen_heads = [Head(*divmod(int(i), n_heads)) for i in head_order] if what != "ffns" else []
    return chosen_heads, [int(i) for i in ffn_order] if what != "heads" else []


# ---- Looking at one prompt: quick, so nothing is stored


def own_prompt(text: str, options: Sequence[str]) -> Prompt:
    """A prompt of one's own with options to compare; none of them counts as right, the first stands in.

    Options are set apart by a space, unless the text ends in a blank or they begin with one.
    """
    apart = "" if text[-1:].isspace() else " "
    given = tuple(option if option[:1].isspace() else apart + option for option in options)
    return Prompt(Example((text,) * len(given), given, (0,), text))


def look_at(
    model: LoadedModel, prompt: Prompt | str, ablation: Ablation = INTACT, means: Activations | None = None, k: int = 10
) -> Reading:
    """Tokens, next tokens and options' log-likelihoods of one prompt (see `measure.reading`)."""
    from backend.lens.reading import read

    return read(model, prompt, ablation, means, k)


def attention(
    model: LoadedModel, token_ids: Sequence[int], layer: int, ablation: Ablation = INTACT,
    means: Activations | None = None,
) -> np.ndarray:
    """(n_heads, pos, pos): where each head of a layer looks, rows = queries (see `measure.attention`)."""
    from backend.lens.attention import attention_patterns

    return attention_patterns(model, token_ids, [layer], ablation, means)[layer]


def repeated_tokens(
    model: LoadedModel, n_block: int = 12, seed: int = 0, n_repeats: int = 2
) -> tuple[list[int], list[str]]:
    """BOS and then a block of random tokens several times over: token ids, and how they read.

    The tokens are drawn as for prefix matching (see `measure.induction`).

    Raises:
        BadInput: if the context or the vocabulary is too small for it.
    """
    from backend.engine.induction import random_vocabulary
    from backend.lens.attention import tokens_shown

    vocabulary, _ = random_vocabulary(model)
    longest = min(len(vocabulary), (model.info.max_positions - 1) // n_repeats)
    if not 1 <= n_block <= longest:
        raise BadInput(f"A block of {n_block} tokens, {n_repeats} times: it may have 1 to {longest} tokens here.")
    block = np.random.default_rng(seed).choice(vocabulary, n_block, replace=False).tolist()
    ids = [model.start, *block * n_repeats]
    return ids, tokens_shown(model.tokenizer, ids)


def contributions(
    model: LoadedModel, token_ids: Sequence[int], answer: int, foil: int | None = None
) -> Contributions:
    """What each head and FFN adds to a next token's logit, directly (see `measure.attention` for what that means)."""
    from backend.lens.attention import direct_contributions

    return direct_contributions(model, token_ids, answer, foil)


# ---- The measurements behind each kind


def _evaluation(unit: Unit, model: LoadedModel, basis: Sequence[Record], progress: Progress | None) -> Record:
    from backend.engine.passes import score

    ready = _plan(model, unit.setup)
    scores = score(ready, [unit.ablation], [cast(Activations, basis[0]) if basis else None], progress)[0]
    return Answers(ready.questions, scores.loglikelihoods, ready.lengths, scores.greedy)


def _head_importance(unit: Unit, model: LoadedModel, basis: Sequence[Record], progress: Progress | None) -> Record:
    from backend.engine.gradients import head_importance

    return head_importance(model, _prompts(unit.setup, "train"), progress)


def _ffn_oracle(unit: Unit, model: LoadedModel, basis: Sequence[Record], progress: Progress | None) -> Record:
    from backend.kinds.sweeps import ffn_importance

    return ffn_importance(model, _plan(model, unit.setup), progress)


def _head_oracle(unit: Unit, model: LoadedModel, basis: Sequence[Record], progress: Progress | None) -> Record:
    from backend.kinds.sweeps import head_oracle

    return head_oracle(model, _plan(model, unit.setup), progress)


def _pruning(unit: Unit, model: LoadedModel, basis: Sequence[Record], progress: Progress | None) -> Record:
    from backend.kinds.sweeps import pruning_curve

    heads, ffns = pruning_orders(unit, basis, model.n_layers, model.n_heads)
    return pruning_curve(model, _plan(model, unit.setup), heads, ffns, unit.option("what"), progress)


def _prefix_matching(unit: Unit, model: LoadedModel, basis: Sequence[Record], progress: Progress | None) -> Record:
    from backend.engine.induction import prefix_matching

    return prefix_matching(model, int(unit.option("n_seeds")), unit.option("variant"), progress)


def _copying(unit: Unit, model: LoadedModel, basis: Sequence[Record], progress: Progress | None) -> Record:
    from backend.engine.induction import copying

    return copying(model, int(unit.option("n_seeds")), unit.option("variant"), progress)


def _means(unit: Unit, model: LoadedModel, basis: Sequence[Record], progress: Progress | None) -> Record:
    from backend.engine.means import mean_activations

    return mean_activations(model, _prompts(unit.setup, "train"), progress)


def _model(unit: Unit, model: LoadedModel, basis: Sequence[Record], progress: Progress | None) -> Record:
    return model.info


_MEASURES: dict[str, Callable[[Unit, Any, Sequence[Record], Progress | None], Record]] = {
    "evaluation": _evaluation, "head_importance": _head_importance, "ffn_oracle": _ffn_oracle,
    "head_oracle": _head_oracle, "pruning": _pruning, "prefix_matching": _prefix_matching, "copying": _copying,
    "means": _means, "model": _model,
}


def _task(setup: Setup) -> Task:
    from backend.tasks.registry import get_task

    task = get_task(setup.task)
    if task.fingerprint != setup.data:
        raise BadInput(f"The rows of task '{setup.task}' here have fingerprint {task.fingerprint}, the result asked "
                       f"for belongs to {setup.data}: other data. Use the same data, or ask for a result on this one.")
    return task


def _prompts(setup: Setup, split: Any) -> list:
    return prompts(_task(setup), setup.n_shots, setup.demos, setup.n_examples, setup.seed, split)


_plans: OrderedDict[tuple[LoadedModel, Setup], Plan] = OrderedDict()  # the last used last
_plans_lock = Lock()


def _plan(model: LoadedModel, setup: Setup) -> Plan:
    """Prompts made ready for a model, with what the intact model left behind, so that a toggle starts where it differs.

    The last `N_PLANS` used are kept, fewer where their states would take more than `PLAN_BYTES`.
    """
    from backend.engine.passes import plan

    with _plans_lock:
        found = _plans.get((model, setup))
    if found is None:
        found = plan(model, _prompts(setup, "validation"), _task(setup).metric)
        if not found.questions.docs:
            raise BadInput(f"None of the {len(found.questions.skipped)} queries of task '{setup.task}' fits the "
                           f"{model.info.max_positions} positions that {setup.model} reads, even without "
                           "demonstrations. Choose another task, or a model that reads more.")
    with _plans_lock:
        _plans[model, setup] = found
        _plans.move_to_end((model, setup))
        while len(_plans) > 1 and (len(_plans) > N_PLANS or sum(p.state_bytes for p in _plans.values()) > PLAN_BYTES):
            _plans.popitem(last=False)
    return found
