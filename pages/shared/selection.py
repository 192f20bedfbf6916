"""The shared choice: which model, which task asked how, and which components are chosen; widgets <-> Setup <-> URL.

`app.py` draws it once per run with `frame()`, in the sidebar, so that it survives page changes, reloads and Back.
Every shared widget is bound to the URL parameter of its key's name, so the address bar is always a permalink:

    ?model=bundled&task=antonym&shots=5&demos=fixed&n=100&seed=0&by=per-token&off=L3H7,F2

The chosen heads and FFNs are one text field (key "off"), the only place where they are held. Maps, charts, presets and
undo write to it, always in a callback: `choose()`, `change()`, `toggle_clicked()`, `undo()`, `redo()`; maps are drawn
by `clickable()`. Lab and Playground switch the chosen components off; other pages mark them.

Models and tasks are identities: what is here, or what the store has results of though it is not here itself. Pages
read: `model()`, `info()`, `task()`, `current()`, `compared()`, `definition()`, `ablation()`; their own choices are
`control`s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from backend import machine, tables
from backend.errors import ModelError
from backend.kinds import HeadImportance, Means
from backend.models.info import BUNDLED
from backend.records import ModelInfo
from backend.runs.queue import Queue
from backend.store.catalogue import info_of
from backend.tasks import registry
from backend.tasks.task import DEMOS
from backend.values import INTACT, Ablation, Fill, ModelId, Ranking, Setup, TaskId, parse
from pages.map import HeadMap, protocol
from pages.shared import charts, handles

SHOTS = (0, 1, 5)
REDUCTIONS = ("per-token", "per-example")
DTYPES = ("float32", "bfloat16", "float16")
BOS = ("auto", "always", "never")
DEFAULTS: Mapping[str, Any] = {"model": BUNDLED, "state": None, "task": None, "rows": None, "shots": 5,
                               "demos": "fixed", "n": 100, "seed": 0, "by": "per-token", "dtype": "float32",
                               "bos": "auto", "off": "", "tasks": None}
N_EXAMPLES = (1, 100_000)  # lowest and highest number of questions
N_TRAIN = 200  # training examples behind importance, as everywhere
LAG = 0.5  # seconds after which a browser shows what was drawn, where no map says so


# --- what pages read: the model ------------------------------------------------------------------


def model_name() -> str:
    """The model as it is asked for: `bundled`, a hub id or a folder's path; `bundled` where nothing is known of it."""
    name = _value("model")
    return name if models(name) else BUNDLED


def models(name: str) -> list[ModelId]:
    """Every state of a model that can be chosen: as it is here first, then those that the store has results of."""
    here = handles.look(name)
    found = [] if isinstance(here, ModelError) else [here.id.weights]
    shown = found[0].name if found else name
    return list(dict.fromkeys([*found, *(m.weights for m in handles.known().models(shown))]))


def model() -> ModelId:
    """The chosen model: its state, precision and BOS. Of one that is not here, as the store has results of it."""
    name = model_name()
    chosen, here = _state(name), handles.look(name, _value("dtype"), _value("bos"))
    if not isinstance(here, ModelError) and here.id.weights == chosen:
        return here.id
    stored = [m for m in handles.known().models(chosen.name) if m.weights == chosen]
    bos = {"always": True, "never": False}.get(_value("bos"))
    fitting = [m for m in stored if m.dtype == _value("dtype") and bos in (None, m.bos)]
    return (fitting or stored)[0]


def info() -> ModelInfo:
    """The chosen model's shape. Raises: ModelError: if it is not here and was not stored beside its results."""
    name = model_name()
    chosen, here = _state(name), handles.look(name)
    if not isinstance(here, ModelError) and here.id.weights == chosen:
        return here.info
    if (stored := info_of(chosen, handles.store())) is None:
        raise ModelError(f"There are results of {chosen.name} @ {chosen.revision}, but not its shape, and it is not "
                         "here. Import a bundle that holds its 'model' record, or put the model's folder here.")
    return stored


def why_no_model() -> str:
    """Why nothing can be measured with the chosen model here; empty where it can."""
    here = handles.look(model_name(), _value("dtype"), _value("bos"))
    if isinstance(here, ModelError):
        return f"The weights of {model().name} are not here. {here}"
    return "" if here.id == model() else (
        f"{here.id.name} is here in another state (digest {here.id.digest}); these results are of {model().digest}.")


def queue() -> Queue:
    """The queue that measures, with the chosen model. Raises: ModelError: if that is not here."""
    if problem := why_no_model():
        raise ModelError(problem)
    return handles.queue(model_name(), model())


def model_arguments() -> list[str]:
    """What the command line needs to be told to take the chosen model."""
    chosen, given = model(), ["--model", model_name()]
    given += ["--revision", chosen.revision] * bool(why_no_model())  # where another is at hand, that is no answer
    given += ["--dtype", chosen.dtype] * (chosen.dtype != "float32")
    return given + ["--bos", str(_value("bos"))] * (_value("bos") != "auto")


def load_lines() -> str:
    """What `load_model` needs to be told, as Python."""
    chosen = model()
    revision = f", revision={chosen.revision!r}" * bool(why_no_model())
    return f"{model_name()!r}{revision}" + f", dtype={chosen.dtype!r}" * (chosen.dtype != "float32") + (
        f", bos={_value('bos')!r}" * (_value("bos") != "auto"))


# --- what pages read: tasks ----------------------------------------------------------------------


def task_names() -> list[str]:
    """Everything that the chosen model can be asked or was asked, by name: its suite first."""
    stored, here = [t.name for t in handles.known().tasks(model())], handles.task_names()
    first = [t.name for t in registry.suite("mini")] if model_name() == BUNDLED else sorted(set(stored), key=(
        [*here, *stored].index))
    return list(dict.fromkeys([*first, *here, *stored]))


def rows(name: str, of: ModelId | None = None) -> list[TaskId]:
    """Every set of rows that a task of this name can be, here or in results of a model: as it is shown first.

    Rows that are here come first where a look is cheap, or nothing is stored; the study's tasks, whose rows may have to
    be fetched, are first what results are stored of.
    """
    stored = handles.known().tasks(of or model(), name)
    if stored and registry.about(name).group in ("paper", "held out", "lm_eval"):
        return stored
    here = handles.here(name)
    return list(dict.fromkeys([*([here] if here else []), *stored]))


def task_id(name: str) -> TaskId:
    """The task of a name, as it is here or as results are stored of it. Raises: DataError: if it is neither."""
    found = rows(name)
    if not found:
        handles.task(TaskId(name, ""))  # raises, and says why
    wanted = st.session_state.get("rows") if name == _task_name() else None
    return next((t for t in found if t.digest == wanted), found[0])


def task() -> TaskId:
    """The chosen task; by default the first that needs its demonstrations."""
    return task_id(_task_name())


def about(wanted: TaskId) -> registry.About:
    """What a task is called and asks; known without its rows."""
    return registry.about(wanted.name)


def compared() -> dict[str, TaskId]:
    """The tasks that pages compare and average, by name, in the order of the list; none that is nowhere to be had."""
    chosen, of, own = set(st.session_state.get("tasks") or _usual()), model(), _task_name()
    found = {name: rows(name, of) for name in task_names() if name in chosen}
    return {name: task_id(name) if name == own else those[0] for name, those in found.items() if those}


def current(task: TaskId | None = None, n_shots: int | None = None) -> Setup:
    """The chosen setup; with another task or number of shots where a page compares several.

    Raises:
        HeadroomError: the model or the task's rows cannot be found.
    """
    return Setup(model(), task or task_id(_task_name()), _value("shots") if n_shots is None else n_shots,
                 _value("demos"), int(_value("n")), int(_value("seed")))


def importance(task: TaskId | None = None, n_shots: int | None = None) -> HeadImportance:
    """The head importance of the chosen setup; of another task or number of shots where a page compares several."""
    return HeadImportance(current(task, n_shots).with_(n_examples=N_TRAIN))


def means() -> Means:
    """The mean activations of the chosen setup."""
    return Means(current().with_(n_examples=N_TRAIN))


def ranking(*tasks: TaskId, reverse: bool = False) -> Ranking:
    """A ranking by the importance for some tasks, by the chosen definition."""
    return Ranking.by(*tasks, n_train=N_TRAIN, reduction=definition(), reverse=reverse)


def definition() -> str:
    """How gradients become head importance: "per-token" or "per-example"."""
    return _value("by")


def ablation() -> Ablation:
    """The chosen heads and FFNs; what cannot be read is left out (and said under the field)."""
    return _read()[0]


def permalink(**more: str) -> str:
    """The address of this page with the whole choice in it, and `more` of the page's own."""
    from urllib.parse import urlencode

    given = {key: value for key, value in st.query_params.to_dict().items() if key in PAGE_PARAMETERS}
    given |= {key: str(_value(key)) for key, default in DEFAULTS.items()
              if _value(key) != default and _value(key) and key != "tasks"}
    given |= {"off": str(ablation()), **more}
    pairs = [(k, v) for k, v in given.items() if v] + [("tasks", name) for name in st.session_state.get("tasks") or ()
                                                       if st.session_state["tasks"] != _usual()]
    query = urlencode(pairs, safe=":,")
    return (st.context.url or "").split("?")[0] + (f"?{query}" if query else "")


# --- what pages' callbacks write ----------------------------------------------------------------


def choose(new: Ablation, pressed: str | None = None) -> None:
    """Make these the chosen components. For callbacks only: it writes a widget's state.

    Args:
        pressed: the key of the button behind the callback, which says whether it came before a click on a map.
    """
    change(lambda _: new, pressed)


def change(how: Callable[[Ablation], Ablation], pressed: str | None = None) -> None:
    """Choose what follows from what is chosen now, clicks under way included. For callbacks only."""
    take_clicks(before=pressed)
    _hold(how(ablation()))


def clickable(shown: HeadMap, key: str) -> None:
    """Draw a map whose cells are the components to choose; several on a page show and change the same choice."""
    drawn: list[str] = st.session_state.setdefault("maps", [])
    if key not in drawn:
        drawn.append(key)
    shown.draw(key, _held(), on_change=take_clicks)


def take_clicks(before: str | None = None) -> None:
    """Bring in what maps have said and what was written, in canonical form unless some of it could not be read.

    The callback of maps and of the text field, and the first thing that every other callback of a choice does.

    Args:
        before: only what was clicked before this other widget was pressed, where the map knows.
    """
    model, held = info(), st.session_state.get("held") or _held()
    shape = (model.n_layers, model.n_heads)
    said = [protocol.read((st.session_state.get(key) or {}).get("mask"), shape)
            for key in st.session_state.get("maps", ())]
    messages = sorted(filter(None, said), key=lambda message: message.last)
    for message in messages:
        held = held.heard(message.drawn)
    rev, since = st.session_state.get("field drawn", (0, 0.0))
    if not messages and rev == held.rev and time.monotonic() - since >= LAG:
        held = held.heard(rev)  # no map says what the browser shows, but it has had the time
    if held.is_new(_value("off")):  # text was written, perhaps in the same run
        held = _taken(held, messages, shape, "off")
        off, problems = _read()
        held = held.changed(off, _value("off"))
        held = held.heard(held.rev)
        if not problems:
            held = held.changed(off)
        _remember(held.text)
    held = _taken(held, messages, shape, before)
    st.session_state["held"] = held
    if _value("off") != held.text:
        st.session_state["off"] = held.text


def toggle_clicked(chart_key: str) -> None:
    """A clickable chart's `on_select`: toggle what was clicked since the last time.

    A chart's selection cannot be set from code, so it is not the truth but a series of events: what differs
    from the selection seen before has been clicked once. Presets, undo and typing need not touch it.
    """
    now = set(charts.clicked(st.session_state.get(chart_key)))
    seen_key = f"{chart_key}:seen"
    events = now ^ st.session_state.get(seen_key, set())
    st.session_state[seen_key] = now

    def toggled(new: Ablation) -> Ablation:
        for layer, head in events:
            new = new.toggled(tables.member(layer, head))
        return new.filled(fill)

    fill = ablation().fill if ablation() else preferred_fill()
    if events:
        change(toggled)


def undo() -> None:
    """Back to the components chosen before."""
    _step(-1, "undo")


def redo() -> None:
    """Forward again."""
    _step(+1, "redo")


def clear() -> None:
    """Choose nothing."""
    choose(INTACT, "clear")


def preferred_fill() -> Fill:
    """What stands in for components switched off from now on: zero, or their mean."""
    return st.session_state.get("fill") or "zero"


# --- the frame ----------------------------------------------------------------------------------


def frame() -> Any:
    """Draw the shared choice in the sidebar; returns the place above the page for `show_notices`."""
    st.session_state["cold"] = "trail" not in st.session_state  # the first run: the address is as it was opened
    st.html(STYLE)
    _notice_url()
    above = st.container()
    with st.sidebar:
        _model()
        _task()
        _chosen()
        with st.expander("Details", icon=":material/tune:"):
            _details()
    return above


def show_notices(above: Any) -> None:
    """Say what a permalink asked for that could not be read; at the end of a run, when pages have read their part."""
    notices: dict[str, str] = st.session_state["notices"]
    if notices:
        with above, st.container(key="notices"):
            st.warning("  \n".join(notices.values()), icon=":material/link_off:")
            st.button("Understood", key="understood", on_click=notices.clear, type="tertiary")


def control(label: str, options: Sequence[Any], key: str, **more: Any) -> Any:
    """One of a page's own choices, the first by default; it is in the address, and what that cannot mean is said."""
    asked = st.query_params.get(key)
    if asked is not None and asked not in map(str, options):
        not_read(key, asked, ", ".join(map(str, options)))
        del st.query_params[key]  # or it would be another page's, and be complained about after a reload
    return st.segmented_control(label, options, default=options[0], required=True, key=key, bind="query-params", **more)


def not_read(key: str, asked: str, known: str) -> None:
    """Note that a freshly opened address asks for something that is not there."""
    if st.session_state["cold"]:
        st.session_state["notices"][key] = (f"The address asks for {key} '{asked}'. Known: {known}. Showing the "
                                            "default instead.")


# Side padding that leaves room at 900 pixels, and columns (`blocks.side_by_side`) that stack when they get narrow.
STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding-left: clamp(1.2rem, 3.5vw, 4.5rem);
                                       padding-right: clamp(1.2rem, 3.5vw, 4.5rem); }
[class*="st-key-side-"] > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
[class*="st-key-side-"] > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"]
    > [data-testid="stColumn"] { min-width: min(25rem, 100%); }
</style>"""


def _model() -> None:
    known, asked = handles.model_names(), st.query_params.get("model") or _value("model")
    st.selectbox("Model", known + [asked] * (asked not in known), key="model", bind="query-params",
                 accept_new_options=True, help="`bundled` ships with Headroom. Or write a hub id such as "
                 "`facebook/opt-125m`, or the path of a local folder with safetensors weights.")
    here = handles.look(_value("model"))
    if isinstance(here, ModelError):
        st.caption(f":orange[:material/warning: {here} " + (
            "Its stored results are shown." if model_name() == _value("model") else
            "Showing the bundled model instead.") + "]")
    states = models(model_name())
    _known_here("state", [m.digest for m in states])
    if len(states) > 1:
        _one_of("state", "State of the model", [m.digest for m in states], {
            m.digest: f"revision {m.revision}" + ", here" * (
                not isinstance(here, ModelError) and m == here.id.weights) for m in states},
            "Another revision, other weights, or another tokenizer beside the same weights: their results are kept "
            "apart.")
    shape = info()
    st.caption(f"{shape.n_layers} layers × {shape.n_heads} heads · {_count(shape.n_params)} parameters · "
               f"revision `{model().revision}`")


def _task() -> None:
    known = task_names()
    st.selectbox("Task", known, index=known.index(_default_task(known)), key="task", bind="query-params")
    words = registry.about(_task_name())
    st.caption(f"{words.group} · {words.about}")
    found = rows(_task_name())
    _known_here("rows", [t.digest for t in found])
    if len(found) > 1:
        here = handles.here(_task_name())
        _one_of("rows", "Rows of the task", [t.digest for t in found], {
            t.digest: "here" if t == here else "of stored results" for t in found},
            "Results of other rows under the same name are kept apart.")
    st.segmented_control("Shots", SHOTS, default=DEFAULTS["shots"], required=True, key="shots", bind="query-params",
                         help="How many solved examples stand before each question.")


def _known_here(key: str, options: Sequence[str]) -> None:
    """Say so where the address asks for a state of the model, or rows of the task, that is neither here nor stored."""
    asked = st.query_params.get(key)
    if asked is not None and asked not in options:
        not_read(key, asked, ", ".join(options))
        del st.query_params[key]


def _one_of(key: str, label: str, options: Sequence[str], shown: Mapping[str, str], help: str) -> None:
    """A choice that is there only where there is one; what it cannot be any more falls back to the first.

    Streamlit puts into the address what a menu shows; so it shows the plain option, and what that is stands below.
    """
    if st.session_state.get(key) not in options:
        st.session_state.pop(key, None)
    now = st.selectbox(label, options, key=key, bind="query-params", help=help)
    st.caption("  \n".join(f"{'**' * (one == now)}`{one}`{'**' * (one == now)} {shown[one]}" for one in options))


def _details() -> None:
    st.segmented_control("Demonstrations", DEMOS[::-1], default=DEFAULTS["demos"], required=True, key="demos",
                         bind="query-params",
                         help="fixed: one draw of solved examples for all questions, which makes toggling fast. "
                              "per-query: a fresh draw for every question, as in the study.")
    st.number_input("Questions", *N_EXAMPLES, value=DEFAULTS["n"], key="n", bind="query-params",
                    help="The first n of the seeded order; a larger number contains the smaller one.")
    st.number_input("Seed", 0, 10_000, value=DEFAULTS["seed"], key="seed", bind="query-params",
                    help="Draws the questions' order and the demonstrations.")
    st.segmented_control("Head importance", REDUCTIONS, default=DEFAULTS["by"], required=True, key="by",
                         bind="query-params",
                         help="per-token: |z · dL/dz| at every position, as in the authors' code. "
                              "per-example: summed over the example before the absolute value, as in the paper.")
    known = task_names()
    st.multiselect("Tasks that are compared", known, default=[t for t in _usual() if t in known], key="tasks",
                   bind="query-params", help="What Overlap, Pruning and the views of all tasks compare and average.")
    st.selectbox("Precision", DTYPES, key="dtype", bind="query-params")
    st.segmented_control("BOS token", BOS, default="auto", required=True, key="bos", bind="query-params",
                         help="Whether every prompt begins with a beginning-of-text token. auto: as the model's "
                              "tokenizer does by itself, and none for OPT and GPT-2, as in the study.")
    if warning := machine.slow(_value("dtype")):
        st.caption(f":orange[:material/speed: {warning}]")


def _chosen() -> None:
    _remember(_value("off"))
    held = _held()
    if st.session_state.get("field drawn", (-1, 0.0))[0] != held.rev:
        st.session_state["field drawn"] = held.rev, time.monotonic()
    st.text_input("Chosen heads and FFNs", key="off", bind="query-params", placeholder="L3H7, 5.1, L2 FFN",
                  on_change=take_clicks,
                  help="Lab and Playground switch these off. Click a heatmap, or write here: `L3H7` or `3.7` is a "
                       "head, `L3H0-3` several, `L4` a layer's heads, `L2 FFN` or `F2` an FFN; `mean:` in front "
                       "replaces them by their mean instead of zero.")
    problems = _read()[1]
    for problem in problems:
        st.caption(f":orange[:material/warning: {problem}]")
    trail, at = st.session_state["trail"], st.session_state["trail at"]
    with st.container(horizontal=True, gap="xsmall"):
        st.button("Undo", key="undo", on_click=undo, disabled=at == 0, icon=":material/undo:", type="tertiary")
        st.button("Redo", key="redo", on_click=redo, disabled=at == len(trail) - 1, icon=":material/redo:",
                  type="tertiary")
        st.button("Clear", key="clear", on_click=clear, disabled=not _value("off"), icon=":material/backspace:",
                  type="tertiary")
    with st.container(horizontal=True, gap="xsmall"):
        for page in ("Lab", "Playground", "Induction"):
            st.page_link(f"pages/{page.lower()}.py", label=page, disabled=not _value("off"),
                         help=f"Open {page} with what is chosen." if _value("off") else "Choose something first.")


# --- inside -------------------------------------------------------------------------------------


def _value(key: str) -> Any:
    value = st.session_state.get(key)
    return DEFAULTS[key] if value is None else value


def _state(name: str) -> ModelId:
    """The chosen state of a model: the one asked for, else the first."""
    found = models(name)
    wanted = st.session_state.get("state") or st.query_params.get("state")
    return next((m for m in found if m.digest == wanted), found[0])


def _task_name() -> str:
    known = task_names()
    name = _value("task")
    return name if name in known else _default_task(known)


def _default_task(known: Sequence[str]) -> str:
    """One that has results, and shows something: the first that needs its demonstrations."""
    stored = {t.name for t in handles.known().tasks(model())}
    wanted = [name for name in known if name in stored] or list(known)
    return next((name for name in wanted if registry.about(name).group == "in-context"), wanted[0])


def _usual() -> list[str]:
    """The tasks that are compared unless others are chosen: those that have results, or the mini suite."""
    mini = [t.name for t in registry.suite("mini")]
    stored = {t.name for t in handles.known().tasks(model())}
    return mini if model_name() == BUNDLED or len(stored) < 2 else [n for n in task_names() if n in stored]


def _read() -> tuple[Ablation, list[str]]:
    shape = info()
    return parse(_value("off"), shape.n_layers, shape.n_heads, shape.headless)


def _taken(held: protocol.Held, messages: Sequence[protocol.Message], shape: protocol.Shape,
           before: str | None) -> protocol.Held:
    """What is held with the maps' new gestures, each a step of the trail."""
    for message in messages:
        fill = held.off.fill if held.off else preferred_fill()
        held, passed = protocol.take(held, message, shape, fill, before)
        for mask in passed:
            _remember(str(mask))
    return held


def _held() -> protocol.Held:
    """What maps are told: what is chosen now, however it was chosen."""
    held: protocol.Held = st.session_state.get("held") or protocol.Held()
    st.session_state["held"] = held = held.changed(ablation(), _value("off"))
    return held


def _hold(new: Ablation) -> None:
    """Choose, and let maps know."""
    st.session_state["off"] = str(new)
    _remember(str(new))
    _held()


def _remember(now: str) -> None:
    """A step of the trail; what was undone before it is forgotten."""
    trail, at = st.session_state.get("trail"), st.session_state.get("trail at", 0)
    if trail is None:
        st.session_state["trail"], st.session_state["trail at"] = [now], 0
    elif now != trail[at]:
        st.session_state["trail"], st.session_state["trail at"] = [*trail[: at + 1], now], at + 1


def _step(by: int, pressed: str) -> None:
    take_clicks(before=pressed)
    at = st.session_state["trail at"] + by
    if 0 <= at < len(st.session_state["trail"]):
        st.session_state["trail at"] = at
        st.session_state["off"] = st.session_state["trail"][at]
        _held()


def _notice_url() -> None:
    """Find what the address says that the widgets will not take, before they drop it."""
    given = st.query_params.to_dict()
    allowed: dict[str, Any] = {"shots": SHOTS, "demos": DEMOS, "by": REDUCTIONS, "dtype": DTYPES,
                               "bos": BOS}
    notices: dict[str, str] = st.session_state.setdefault("notices", {})
    allowed["task"] = tuple(task_names())
    for key, value in given.items():
        if key in allowed and value not in map(str, allowed[key]):
            notices[key] = (f"The address asks for {key} '{value}'. Known: {', '.join(map(str, allowed[key]))}. "
                            "Showing the default instead.")
        elif key == "tasks":
            if unknown := [name for name in st.query_params.get_all("tasks") if name not in allowed["task"]]:
                notices[key] = (f"The address asks to compare {', '.join(repr(name) for name in unknown)}, which "
                                "nothing here is called. The others are compared.")
        elif key in ("n", "seed") and not value.isdecimal():
            notices[key] = f"The address asks for {key} '{value}', which is no number. Showing the default instead."
        elif key not in DEFAULTS and key not in PAGE_PARAMETERS:
            notices[key] = f"The address has '{key}', which means nothing here."


# Bound by pages, or Streamlit's own
PAGE_PARAMETERS = {"step", "scope", "name", "view", "section", "source", "q", "prompt", "options", "layer", "head",
                   "embed", "embed_options"}


def _count(n: int) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)
