"""What is computed and what is missing: requests as commands, plans as tables and as a chart; no Streamlit calls."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import altair as alt
import pandas as pd

from backend.results import Unit
from backend.runs import plan as planning
from pages.shared.charts import BLUE

TITLES = {  # a topic in one or two words; `planning.TOPICS` says what it is
    "accuracy": "accuracy", "importance": "importance", "ffns": "FFNs", "heads": "single heads", "pruning": "pruning",
    "combined": "combined map", "transfer": "transfer", "induction": "induction", "variants": "variants",
    "means": "means",
}


def topic(unit: Unit) -> str:
    """The topic of a request that asks for a unit; empty for the model's own record."""
    match unit.kind:
        case "evaluation":
            return "accuracy"
        case "head_importance":
            return "importance"
        case "ffn_oracle":
            return "ffns"
        case "head_oracle":
            return "heads"
        case "means":
            return "means"
        case "pruning" if unit.option("what") == "combined":
            return "combined"
        case "pruning":
            return "transfer" if unit.option("ranking").startswith("task:") else "pruning"
        case "prefix_matching":
            return "induction" if unit.option("variant") == "exact" else "variants"
        case "copying":
            return "induction" if unit.option("variant") == "authors" else "variants"
    return ""


def arguments(request: planning.Request, model: str) -> list[str]:
    """The arguments of `python -m backend` that compute a request.

    Args:
        model: as it was chosen: `bundled`, a hub id or a folder's path (a record only knows the folder's name).
    """
    plain = planning.Request(request.info)
    given = ["precompute", "--model", model, "--what", ",".join(request.what)]
    if set(request.what) - set(planning.WITHOUT_TASKS):
        given += ["--tasks", ",".join(request.tasks), "--shots", _numbers(request.shots)]
    for flag, value, default in [
        ("--demos", request.demos, plain.demos), ("--n-examples", request.n_examples, plain.n_examples),
        ("--n-train", request.n_train, plain.n_train), ("--seeds", _numbers(request.seeds), _numbers(plain.seeds)),
        ("--n-random", request.n_random, plain.n_random), ("--n-sequences", request.n_sequences, plain.n_sequences),
        ("--dtype", request.dtype, plain.dtype),
    ]:
        if value != default:
            given += [flag, str(value)]
    return given


def python_lines(request: planning.Request, model: str) -> str:
    """Python that makes the same plan and says what is missing."""
    plain = planning.Request(request.info)
    more = "".join(f", {name}={getattr(request, name)!r}" for name in
                   ("demos", "n_examples", "n_train", "seeds", "n_random", "n_sequences", "dtype")
                   if getattr(request, name) != getattr(plain, name))
    return "\n".join([
        "from backend.runs import plan", "from backend.models.info import describe",
        "from backend.store.live import default_store", "",
        f"request = plan.Request(describe({model!r}), tasks={request.tasks!r},",
        f"                       shots={request.shots!r}, what={request.what!r}{more})",
        "made = plan.make(request, default_store())",
        "print(made.n_done, 'of', len(made.steps))",
        "print(*(step.unit for step in made.to_do), sep='\\n')"])


def asked(args: Sequence[str]) -> str:
    """A command's arguments in words: `accuracy, importance of 14 tasks at 0, 5 shots with facebook/opt-125m`."""
    given = dict(pairwise(args))
    tasks = given.get("--tasks", "mini").split(",")
    what = given.get("--what", ",".join(planning.Request.what)).split(",")
    of = f" of {tasks[0] if len(tasks) == 1 else f'{len(tasks)} tasks'} at " \
         f"{given.get('--shots', '0,1,5').replace(',', ', ')} shots" if set(what) - set(planning.WITHOUT_TASKS) else ""
    return f"{', '.join(TITLES.get(one, one) for one in what)}{of} with {given.get('--model', 'bundled')}"


def table(plan: planning.Plan, rates: dict[str, float]) -> pd.DataFrame:
    """One row per topic, task and number of shots: results there, results asked for, seconds for the rest.

    Topics without a task have the task "no task".
    """
    rows: dict[tuple[str, str, str], list[planning.Step]] = {}
    for step in plan.steps:
        setup = step.unit.setup
        if name := topic(step.unit):
            place = (setup.task, str(setup.n_shots)) if setup.task else ("no task", "–")
            rows.setdefault((name, *place), []).append(step)
    return pd.DataFrame([
        {"topic": TITLES[name], "task": task, "shots": shots, "stored": sum(s.done for s in steps), "asked": len(steps),
         "share": sum(s.done for s in steps) / len(steps), "seconds left": planning.seconds(steps, rates)}
        for (name, task, shots), steps in rows.items()])


def chart(cells: pd.DataFrame, tasks: Sequence[str]) -> alt.FacetChart:
    """A `table` as a map: tasks down, shots within topics across; the fuller the colour, the more is stored."""
    order = [title for title in TITLES.values() if title in set(cells["topic"])]
    base = alt.Chart(cells).encode(
        x=alt.X("shots:N", title="shots", axis=alt.Axis(labelAngle=0, ticks=False, domain=False)),
        y=alt.Y("task:N", title=None, sort=[*tasks, "no task"],
                axis=alt.Axis(ticks=False, domain=False, labelLimit=180)),
        tooltip=["task:N", "topic:N", "shots:N", "stored:Q", alt.Tooltip("asked:Q", title="asked for"),
                 alt.Tooltip("seconds left:Q", format=".0f")])
    cell = base.mark_rect(cornerRadius=3, stroke=BLUE, strokeOpacity=0.35).encode(
        color=alt.value(BLUE), fillOpacity=alt.FillOpacity(
            "share:Q", scale=alt.Scale(domain=[0, 1], range=[0.03, 0.9]), legend=None))
    return cell.properties(width=alt.Step(30), height=alt.Step(20)).facet(
        column=alt.Column("topic:N", sort=order, title=None, header=alt.Header(labelFontWeight=600, labelLimit=110)),
        spacing=10).resolve_scale(x="independent")


def _numbers(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
