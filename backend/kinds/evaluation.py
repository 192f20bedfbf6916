"""How well does the model, intact or ablated, answer? Every option's log-likelihood, per query."""

from __future__ import annotations

from collections.abc import Sequence

from accelerate.utils.memory import should_reduce_batch_size

from backend.engine import passes
from backend.engine.passes import Prepared, Progress
from backend.errors import BadInput
from backend.models.gates import MeanActivations
from backend.models.loading import LoadedModel
from backend.results import Answers
from backend.tasks.task import Prompt
from backend.values import INTACT, Ablation

SMALLEST_BATCH = 64  # tokens; below this, running out of memory is passed on


def evaluate(
    model: LoadedModel, prompts: Sequence[Prompt] | Prepared, ablations: Sequence[Ablation] = (INTACT,),
    progress: Progress | None = None, *, metric: str = "acc", means: Sequence[MeanActivations | None] | None = None,
    batch_tokens: int | None = None, together: bool = False,
) -> list[Answers]:
    """Score every option of every prompt under each ablation.

    The answer is the option with the highest summed log-likelihood, in nats; `acc_norm` divides by its length in
    characters (2022 harness). One record per ablation, in order.

    Args:
        prompts: the prompts, or the same `Prepared` (which remember the intact model's states, and what did not fit).
        metric: how outcomes are read: "acc", "em", "acc_by_group" or "greedy".
        means: per ablation, the mean activations; needed where its fill is "mean".
        batch_tokens: tokens of one pass, None for as many as suit the device; halved, and said so in the log, whenever
            memory runs out.
        together: let ablations share passes that have room for several, see `passes.score`.

    Raises:
        ModelError: the logits are no numbers.
        BadInput: an ablation names a component that the model does not have, or the prompts are prepared for another.
    """
    if not isinstance(prompts, Prepared):
        ready = passes.prepare(model, prompts, metric, batch_tokens=batch_tokens)
    elif (ready := prompts).model is not model:
        raise BadInput(f"These prompts were made ready for '{ready.model.info.name}' as it was loaded then, not for "
                       "the model given here. Make them ready for this one.")
    # What the intact model leaves behind helps several ablations, or the next call with the same prompts.
    reuse = None if ready is prompts or len(ablations) > 1 else False
    while True:
        ready = ready.smallest
        try:
            scores = passes.score(ready, ablations, means, progress, reuse, together)
            break
        except Exception as error:
            if ready.batch_tokens // 2 < SMALLEST_BATCH or not should_reduce_batch_size(error):
                raise
            passes.halve(ready)
    return [Answers(ready.questions, s.loglikelihoods, ready.lengths, s.greedy) for s in scores]
