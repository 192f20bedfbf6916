"""How well does the model, intact or ablated, answer? Every option's log-likelihood, per query."""

from __future__ import annotations

from collections.abc import Sequence

from accelerate.utils.memory import should_reduce_batch_size

from backend.engine import passes
from backend.engine.passes import Plan, Progress
from backend.models.gates import MeanActivations
from backend.models.loading import LoadedModel
from backend.results import Answers
from backend.tasks.task import Prompt
from backend.values import INTACT, Ablation

SMALLEST_BATCH = 64  # tokens; below this, running out of memory is passed on


def evaluate(
    model: LoadedModel, prompts: Sequence[Prompt] | Plan, ablations: Sequence[Ablation] = (INTACT,),
    progress: Progress | None = None, *, metric: str = "acc", means: Sequence[MeanActivations | None] | None = None,
    batch_tokens: int = passes.BATCH_TOKENS,
) -> list[Answers]:
    """Score every option of every prompt under each ablation.

    The answer is the option with the highest summed log-likelihood, in nats; `acc_norm` divides by its length in
    characters (2022 harness). One record per ablation, in order.

    Args:
        prompts: the prompts, or a `Plan` of them (which remembers the intact model's states, and what did not fit).
        metric: how outcomes are read: "acc", "em", "acc_by_group" or "greedy".
        means: per ablation, the mean activations; needed where its fill is "mean".
        batch_tokens: tokens of one pass; halved, and said so in the log, whenever memory runs out.

    Raises:
        ModelError: the logits are no numbers.
        BadInput: an ablation names a component that the model does not have.
    """
    plan = prompts if isinstance(prompts, Plan) else passes.plan(model, prompts, metric, batch_tokens=batch_tokens)
    # What the intact model leaves behind helps several ablations, or the next call with the same plan.
    reuse = None if plan is prompts or len(ablations) > 1 else False
    while True:
        plan = plan.smallest
        try:
            scores = passes.score(plan, ablations, means, progress, reuse)
            break
        except Exception as error:
            if plan.batch_tokens // 2 < SMALLEST_BATCH or not should_reduce_batch_size(error):
                raise
            passes.halve(plan)
    return [Answers(plan.questions, s.loglikelihoods, plan.lengths, s.greedy) for s in scores]
