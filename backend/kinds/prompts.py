"""The prompts of a setup: made of its task's rows, which must be the very rows that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from ..tasks.labels import TRUE, labelled
from ..values import Setup

if TYPE_CHECKING:
    from ..engine.passes import Prepared
    from ..models.loading import LoadedModel
    from ..tasks.task import Prompt, Task


def task_of(setup: Setup) -> Task:
    """The task of a setup.

    Raises:
        BadInput: if the rows here are others than the setup names.
        DataError: if they cannot be had.
    """
    from ..tasks.registry import get_task

    task = get_task(setup.task.name)
    if task.fingerprint != setup.task.digest:
        raise BadInput(f"The rows of task '{setup.task}' here have fingerprint {task.fingerprint}, the result asked "
                       f"for belongs to {setup.task.digest}: other data. Use the same data, or ask for a result on "
                       "this one.")
    return task


def prompts_of(setup: Setup, split: Any, labels: str = TRUE) -> list[Prompt]:
    """The prompts of a split ("validation", "train"), as the setup asks them, with true or other labels."""
    from ..tasks.task import prompts

    return labelled(prompts(task_of(setup), setup.n_shots, setup.demos, setup.n_examples, setup.seed, split,
                            setup.draws), labels, setup.seed)


def ready(model: LoadedModel, setup: Setup, labels: str = TRUE, *, split: Any = "validation") -> Prepared:
    """The prompts of a setup made ready for a model, those of validation once: kept beside it, with what the intact
    model left.

    Args:
        labels: of the demonstrations, see `tasks.labels`.

    Raises:
        BadInput: if no prompt fits the model's context.
    """
    from ..engine.passes import prepare

    def make() -> Prepared:
        made = prepare(model, prompts_of(setup, split, labels), task_of(setup).metric)
        if not made.questions.docs:
            raise BadInput(f"None of the {len(made.questions.skipped)} queries of task '{setup.task}' fits the "
                           f"{model.info.max_positions} positions that {setup.model.name} reads, even without "
                           "demonstrations. Choose another task, or a model that reads more.")
        return made

    return model.ready.get((setup, labels), make) if split == "validation" else make()
