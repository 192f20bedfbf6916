"""What is stored of what is asked for? A plan as a table."""

from __future__ import annotations

import pandas as pd

from ..runs import plan as planning


def plan_table(plan: planning.Plan, rates: dict[str, float]) -> pd.DataFrame:
    """One row per topic, task and number of shots: results there, results asked for, seconds for the rest.

    Topics without a task have the task "no task".

    Args:
        rates: tokens per second by topic, see `planning.rates`.
    """
    known = planning.topics()
    rows: dict[tuple[str, str, str], list[planning.Step]] = {}
    for step in plan.steps:
        setup = step.unit.setup
        if name := step.unit.topic:
            place = (setup.task.name, str(setup.n_shots)) if setup else ("no task", "–")
            rows.setdefault((name, *place), []).append(step)
    return pd.DataFrame([
        {"topic": known[name].title, "task": task, "shots": shots, "stored": sum(s.done for s in steps),
         "asked": len(steps), "share": sum(s.done for s in steps) / len(steps),
         "seconds left": planning.seconds(steps, rates)}
        for (name, task, shots), steps in rows.items()])
