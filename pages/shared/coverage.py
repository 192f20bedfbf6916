"""What is computed and what is missing: requests as commands, plans as tables and as a chart; no Streamlit calls."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import altair as alt
import pandas as pd

from backend.kinds.lines import expression
from backend.runs import plan as planning
from pages.shared.charts import BLUE

ROOM = 400  # pixels that the columns of the map may take together


def arguments(request: planning.Request, model: Sequence[str]) -> list[str]:
    """The arguments of the command line that compute a request.

    Args:
        model: the arguments that name the model and how it is run.
    """
    plain = planning.Request(request.model, request.info)
    given = ["precompute", *model, "--what", ",".join(request.what)]
    if request.needs_tasks:
        given += ["--tasks", ",".join(task.name for task in request.tasks), "--shots", _joined(request.shots)]
    for flag, value, default in [
        ("--demos", request.demos, plain.demos), ("--draws", request.draws, plain.draws),
        ("--n-examples", request.n_examples, plain.n_examples),
        ("--seeds", request.seeds, plain.seeds),
    ]:
        if value != default:
            given += [flag, _joined(value)]
    for name, option in planning.options(request.what).items():
        value = request.options[name]
        if value != option.default:
            for one in value if option.many else [value]:
                given += [option.flag, _joined(one)]
    return given


def python_lines(request: planning.Request) -> str:
    """Python that makes the same plan and says what is missing."""
    plain = planning.Request(request.model, request.info)
    more = "".join(f", {name}={getattr(request, name)!r}" for name in ("demos", "draws", "n_examples", "seeds")
                   if getattr(request, name) != getattr(plain, name))
    options = {name: value for name, value in request.options.items() if value != plain.options[name]}
    tasks = expression(tuple(request.tasks), {})
    return "\n".join([
        "from backend import tables", "from backend.kinds import Model", "from backend.models.info import describe",
        "from backend.runs import plan",
        "from backend.store.live import default_store", "from backend.values import ModelId, TaskId", "",
        "store = default_store()", f"model = {expression(request.model, {})}",
        f"info = store.get(Model(model)) or describe({request.info.name!r})",
        f"request = plan.Request(model, info, tasks={tasks},",
        f"                       shots={request.shots!r}, what={request.what!r}{more}"
        + (f", options={options!r})" if options else ")"),
        "made = plan.make(request, store)",
        "table = tables.plan_table(made, plan.rates(model, info, store))",
        "print(table.to_string())",
        "print(made.n_done, 'of', len(made.steps), 'results are here')",
        "print(*(step.unit for step in made.to_do), sep='\\n')"])


def asked(args: Sequence[str]) -> str:
    """A command's arguments in words: `accuracy, importance of 14 tasks at 0, 5 shots with facebook/opt-125m`."""
    if args[0] != "precompute":
        return args[0]
    given, known = dict(pairwise(args)), planning.topics()
    tasks = given.get("--tasks", "mini").split(",")
    what = given.get("--what", ",".join(planning.usual_topics())).split(",")
    of = f" of {tasks[0] if len(tasks) == 1 else f'{len(tasks)} tasks'} at " \
         f"{given.get('--shots', '0,1,5').replace(',', ', ')} shots" \
        if any(name not in known or known[name].per_task for name in what) else ""
    titles = [known[name].title if name in known else name for name in what]
    return f"{', '.join(titles)}{of} with {given.get('--model', 'bundled')}"


def chart(cells: pd.DataFrame, tasks: Sequence[str]) -> alt.FacetChart:
    """A `plan_table` as a map: tasks down, shots within topics across; the fuller the colour, the more is stored.

    The more columns, the narrower they are: all of them stand in the page where that is half a window wide.
    """
    order = [topic.title for topic in planning.topics().values() if topic.title in set(cells["topic"])]
    base = alt.Chart(cells).encode(
        x=alt.X("shots:N", title="shots", axis=alt.Axis(labelAngle=0, ticks=False, domain=False)),
        y=alt.Y("task:N", title=None, sort=[*tasks, "no task"],
                axis=alt.Axis(ticks=False, domain=False, labelLimit=180)),
        tooltip=["task:N", "topic:N", "shots:N", "stored:Q", alt.Tooltip("asked:Q", title="asked for"),
                 alt.Tooltip("seconds left:Q", format=".0f")])
    cell = base.mark_rect(cornerRadius=3, stroke=BLUE, strokeOpacity=0.35).encode(
        color=alt.value(BLUE), fillOpacity=alt.FillOpacity(
            "share:Q", scale=alt.Scale(domain=[0, 1], range=[0.03, 0.9]), legend=None))
    columns = max(1, len(cells[["topic", "shots"]].drop_duplicates()))
    sized = cell.properties(width=alt.Step(max(12, min(30, ROOM // columns))), height=alt.Step(20))
    chart: alt.FacetChart = sized.facet(
        column=alt.Column("topic:N", sort=order, title=None, header=alt.Header(labelFontWeight=600, labelLimit=110)),
        spacing=10).resolve_scale(x="independent")
    return chart


def _joined(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
