"""The shared choice: which model, which task asked how, and which components are chosen; widgets <-> Setup <-> URL.

`sidebar` draws it, and `components` writes what is chosen of heads and FFNs. Every shared widget is bound to the URL
parameter of its key's name, so the address bar is always a permalink:

    ?model=bundled&task=antonym&shots=5&demos=fixed&draws=10&n=100&seed=0&by=per-token&train=200&off=L3H7,F2

Models and tasks are identities: what is here, or what the store has results of though it is not here itself. Pages
read: `model()`, `info()`, `task()`, `current()`, `compared()`, `definition()`, `ablation()`; their own choices are
`control`s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from backend import machine
from backend.errors import ModelError
from backend.kinds import Attribution, HeadImportance, Means
from backend.kinds.attribution import REDUCTIONS as OF_ATTRIBUTION
from backend.kinds.head_importance import REDUCTIONS as REDUCTIONS
from backend.kinds.means import N_TRAIN
from backend.models.info import BUNDLED
from backend.records import ModelInfo
from backend.runs.queue import Queue
from backend.store.catalogue import info_of
from backend.store.nearby import Asking
from backend.tasks import registry
from backend.tasks.task import DRAWS
from backend.values import Ablation, ModelId, Ranking, Setup, TaskId, parse
from pages.shared import first, handles, lecture

SHOTS = (0, 1, 5)
DTYPES = ("float32", "bfloat16", "float16")
BOS = ("auto", "always", "never")
DEFAULTS: Mapping[str, Any] = {"model": BUNDLED, "state": None, "task": None, "rows": None, "shots": 5,
                               "demos": "fixed", "draws": DRAWS, "n": 100, "seed": 0, "by": "per-token",
                               "train": N_TRAIN.default, "dtype": "float32", "bos": "auto", "off": "", "against": "",
                               "tasks": None}
N_EXAMPLES = (1, 100_000)  # lowest and highest number of questions, and of training examples
READY_BYTES = 2 * 2**30  # of weights that are read before anybody measures with them
MOST_SEED = 10_000
MOST_DRAWS = 100  # of fixed demonstrations
PRUNED_BY = ("importance", *OF_ATTRIBUTION)  # what pruning can rank heads by
ASKED = ("demos", "draws", "n", "seed", "train")  # the keys of an `Asking`, in its order
# Bound by pages, or Streamlit's own:
PAGE_PARAMETERS = {"step", "scope", "name", "view", "section", "source", "q", "prompt", "options", "at_layer",
                   "at_head", "head", "embed", "embed_options", "present", "room", "seat", "with", "unit"}
OWN_PARAMETERS = {"seat"}  # never in a link for others: whoever has it sits in one's place


# --- what pages read: the model ------------------------------------------------------------------


def model_name() -> str:
    """The model as it is asked for: `bundled`, a hub id or a folder's path; `bundled` where nothing is known of it."""
    name = value("model")
    return name if models(name) else BUNDLED


@handles.once_per_run
def models(name: str) -> list[ModelId]:
    """Every state of a model that can be chosen: as it is here first, then those that the store has results of."""
    here = handles.look(name)
    found = [] if isinstance(here, ModelError) else [here.id.weights]
    shown = found[0].name if found else name
    return list(dict.fromkeys([*found, *(m.weights for m in handles.known().models(shown))]))


def model() -> ModelId:
    """The chosen model: its state, precision and BOS. Of one that is not here, as the store has results of it."""
    name = model_name()
    return _model(name, _state(name), value("dtype"), value("bos"))


@handles.once_per_run
def _model(name: str, chosen: ModelId, dtype: str, wanted_bos: str) -> ModelId:
    here = handles.look(name, dtype, wanted_bos)
    if not isinstance(here, ModelError) and here.id.weights == chosen:
        return here.id
    stored = [m for m in handles.known().models(chosen.name) if m.weights == chosen]
    bos = {"always": True, "never": False}.get(wanted_bos)
    fitting = [m for m in stored if m.dtype == dtype and bos in (None, m.bos)]
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
    here = handles.look(model_name(), value("dtype"), value("bos"))
    if isinstance(here, ModelError):
        absent = f"The weights of {model().name} are not here."
        return str(here) if str(here).startswith(absent) else f"{absent} {here}"
    return "" if here.id == model() else (
        f"{here.id.name} is here in another state (digest {here.id.digest}); these results are of {model().digest}.")


def queue() -> Queue:
    """The queue that measures, with the chosen model. Raises: ModelError: if that is not here."""
    if problem := why_no_model():
        raise ModelError(problem)
    return handles.queue(model_name(), model())


def get_ready() -> None:
    """Let the chosen model be read while its visitor reads the page; none that would take much of the free memory."""
    if why_no_model():
        return
    if machine.weight_bytes(info(), model().dtype) <= min(READY_BYTES, machine.free_memory() // 4):
        queue().get_ready(model())


def model_arguments() -> list[str]:
    """What the command line needs to be told to take the chosen model."""
    chosen, given = model(), ["--model", model_name()]
    if why_no_model():  # another state may be at hand, which is no answer
        given += ["--revision", chosen.revision, "--digest", chosen.digest]
    given += ["--dtype", chosen.dtype] * (chosen.dtype != "float32")
    return given + ["--bos", str(value("bos"))] * (value("bos") != "auto")


def load_lines() -> str:
    """What `load_model` needs to be told, as Python."""
    chosen = model()
    revision = f", revision={chosen.revision!r}" * bool(why_no_model())
    dtype = f", dtype={chosen.dtype!r}" if chosen.dtype != "float32" else ""
    bos = f", bos={value('bos')!r}" if value("bos") != "auto" else ""
    return f"{model_name()!r}{revision}{dtype}{bos}"


# --- what pages read: tasks ----------------------------------------------------------------------


def task_names() -> list[str]:
    """Everything that the chosen model can be asked or was asked, by name: its suite first."""
    return _task_names(model(), model_name() == BUNDLED)


@handles.once_per_run
def _task_names(of: ModelId, bundled: bool) -> list[str]:
    stored, here = [t.name for t in handles.known().tasks(of)], handles.task_names()
    first = [t.name for t in registry.suite("mini")] if bundled else sorted(set(stored), key=[*here, *stored].index)
    return list(dict.fromkeys([*first, *here, *stored]))


def rows(name: str, of: ModelId | None = None) -> list[TaskId]:
    """Every set of rows that a task of this name can be, here or in results of a model: as it is shown first.

    Rows that are here come first where a look is cheap, or nothing is stored; the study's tasks, whose rows may have to
    be fetched, are first what results are stored of.
    """
    stored = handles.known().tasks(of or model(), name)
    if stored and is_fetched(name):
        return stored
    here = handles.here(name)
    return list(dict.fromkeys([*([here] if here else []), *stored]))


def is_fetched(name: str) -> bool:
    """Whether a task's rows may have to be fetched: a look for them may take long."""
    return registry.about(name).group in ("paper", "held out", "lm_eval")


def task_id(name: str) -> TaskId:
    """The task of a name, as it is here or as results are stored of it. Raises: DataError: if it is neither."""
    found = rows(name)
    if not found:
        handles.task(TaskId(name, ""))  # raises, and says why
    wanted = st.session_state.get("rows") if name == task_name() else None
    return next((t for t in found if t.digest == wanted), found[0])


def task() -> TaskId:
    """The chosen task; by default the first that needs its demonstrations."""
    return task_id(task_name())


def about(wanted: TaskId) -> registry.About:
    """What a task is called and asks; known without its rows."""
    return registry.about(wanted.name)


def compared() -> dict[str, TaskId]:
    """The tasks that pages compare and average, by name, in the order of the list; none that is nowhere to be had."""
    chosen, of, own = set(st.session_state.get("tasks") or usual()), model(), task_name()
    found = {name: rows(name, of) for name in task_names() if name in chosen}
    return {name: task_id(name) if name == own else those[0] for name, those in found.items() if those}


def current(task: TaskId | None = None, n_shots: int | None = None) -> Setup:
    """The chosen setup; with another task or number of shots where a page compares several.

    Raises:
        HeadroomError: the model or the task's rows cannot be found.
    """
    return Setup(model(), task or task_id(task_name()), value("shots") if n_shots is None else n_shots,
                 value("demos"), int(value("n")), int(value("seed")), draws())


def draws() -> int:
    """How many draws of demonstrations the questions share, where they are fixed."""
    return int(value("draws"))


def n_train() -> int:
    """How many training examples stand behind head importance, and rankings by it."""
    return int(value("train"))


def asking() -> Asking:
    """How questions are asked now."""
    return Asking(value("demos"), draws(), int(value("n")), int(value("seed")), n_train())


def ask(how: Asking) -> None:
    """Ask questions in this way from now on. For callbacks only: it writes widgets' state."""
    for key, now in zip(ASKED, how, strict=True):
        st.session_state[key] = now


def bounds(key: str) -> tuple[int, int]:
    """The lowest and highest number that this visitor may choose: of "draws", "n", "seed" or "train"."""
    if key in ("draws", "seed"):
        return {"draws": (1, MOST_DRAWS), "seed": (0, MOST_SEED)}[key]
    most = lecture.most_questions()
    return N_EXAMPLES[0], max(most, DEFAULTS["train"]) if most and key == "train" else most or N_EXAMPLES[1]


def importance(task: TaskId | None = None, n_shots: int | None = None) -> HeadImportance:
    """The head importance of the chosen setup; of another task or number of shots where a page compares several."""
    return HeadImportance(current(task, n_shots).with_(n_examples=n_train()))


def attribution(task: TaskId | None = None) -> Attribution:
    """The heads' attributions of the chosen setup; of another task where a page compares several."""
    return Attribution(current(task).with_(n_examples=n_train()))


def means() -> Means:
    """The mean activations of the chosen setup."""
    return Means(current().with_(n_examples=N_TRAIN.default))


def ranking(*tasks: TaskId, reverse: bool = False) -> Ranking:
    """A ranking by the importance for some tasks, by the chosen definition or the score that pruning ranks by."""
    return Ranking.by(*tasks, n_train=n_train(), reduction=ranked_by(), reverse=reverse)


def ranked_by() -> str:
    """What pruning ranks heads by: the chosen definition of importance, or "signed" or "integrated" gradients."""
    chosen = st.session_state.get("ranked by")
    return str(chosen) if chosen in OF_ATTRIBUTION else definition()


def rank_by(score: str) -> None:
    """Rank by a score from now on when pruning. For callbacks only: it writes widgets' state."""
    st.session_state["ranked by"] = score if score in OF_ATTRIBUTION else PRUNED_BY[0]
    if score not in OF_ATTRIBUTION:
        st.session_state["by"] = score


def definition() -> str:
    """How gradients become head importance: "per-token", "one-divisor" or "per-example"."""
    by: str = value("by")
    return by


def ablation() -> Ablation:
    """The chosen heads and FFNs; what cannot be read is left out (and said under the field)."""
    return read()[0]


def against() -> Ablation:
    """The mask B that what is chosen is compared with; nothing off where there is none, or none of it can be read."""
    return _parsed("against")[0]


def permalink(**more: str) -> str:
    """The address of this page with the whole choice in it, and `more` of the page's own."""
    from urllib.parse import urlencode

    given = {key: value for key, value in st.query_params.to_dict().items()
             if key in PAGE_PARAMETERS and key not in OWN_PARAMETERS}
    given |= {key: str(value(key)) for key, default in DEFAULTS.items()
              if value(key) != default and value(key) and key != "tasks"}
    given |= {"off": str(ablation()), **more}
    tasks = st.session_state.get("tasks") or []
    pairs = [(k, v) for k, v in given.items() if v] + [("tasks", name) for name in (tasks if tasks != usual() else ())]
    query = urlencode(pairs, safe=":,")
    return (st.context.url or "").split("?")[0] + (f"?{query}" if query else "")


# --- a page's own choices -----------------------------------------------------------------------


def control(label: str, options: Sequence[Any], key: str, **more: Any) -> Any:
    """One of a page's own choices, the first by default; it is in the address, and what that cannot mean is said."""
    _possible(key, options)
    return st.segmented_control(label, options, default=options[0], required=True, key=key, bind="query-params", **more)


def menu(label: str, options: Sequence[str], key: str, **more: Any) -> str:
    """The same of many options, as a menu."""
    _possible(key, options)
    return str(st.selectbox(label, options, key=key, bind="query-params", **more))


def _possible(key: str, options: Sequence[Any]) -> None:
    """Fall back to the first option where the address, or what was chosen of other ones, asks for none of these."""
    asked = st.query_params.get(key)
    if asked is not None and asked not in map(str, options):
        not_read(key, asked, ", ".join(map(str, options)))
        if key not in st.session_state:  # else it follows the widget, and is not ours to change
            del st.query_params[key]  # or it would be another page's, and be complained about after a reload
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = options[0]


def not_read(key: str, asked: str, known: str, shown: object = "the default") -> None:
    """Note that a freshly opened address asks for something that is not there, and what is shown instead."""
    if st.session_state["cold"]:
        st.session_state["notices"][key] = (f"The address asks for {key} '{asked[:40]}'. Known: {known}. "
                                            f"Showing {shown} instead.")


def number(key: str, least: int, most: int, default: int, where: str = "") -> Mapping[str, Any]:
    """How a field of whole numbers is tied to the address; notes what that asks for and is not allowed.

    By itself Streamlit shows the default without a word, or 5 where 5.7 was asked for; it takes thousands of digits for
    an infinite number and then breaks off, so a field whose parameter is no number is not tied to it in this session.

    Args:
        where: the place whose bounds these are, such as "in a lecture"; empty for those that hold everywhere.
    """
    asked: str | None = st.query_params.get(key)
    none: set[str] = st.session_state.setdefault("no numbers", set())
    if asked is not None and not (re.fullmatch("[0-9]{1,9}", asked) and least <= int(asked) <= most):
        try:
            near = int(float(asked))
            shown = near if least <= near <= most else default
        except (ValueError, OverflowError):
            shown = default
            none.add(key)
            del st.query_params[key]
        not_read(key, asked, f"whole numbers from {least} to {most}{' ' * bool(where)}{where}", shown)
    return {} if key in none else {"bind": "query-params"}


# --- what the widgets hold -------------------------------------------------------------------------------------


def value(key: str) -> Any:
    """What a shared widget holds, or its default where it was not drawn yet."""
    value = st.session_state.get(key)
    return DEFAULTS[key] if value is None else value


def _state(name: str) -> ModelId:
    """The chosen state of a model: the one asked for, else the first."""
    found = models(name)
    wanted = st.session_state.get("state") or st.query_params.get("state")
    return next((m for m in found if m.digest == wanted), found[0])


def task_name() -> str:
    """The chosen task, or the default one where nothing is called so."""
    known = task_names()
    name = value("task")
    return name if name in known else default_task(known)


def default_task(known: Sequence[str]) -> str:
    """One of which there is most to see (`first.task`), ties for one that needs its demonstrations; kept for a session,
    so that nothing moves under a visitor's hands."""
    of, kept = model(), st.session_state.setdefault("first tasks", {})
    if kept.get(of) not in known:
        stored = {t.name: t for t in handles.known().tasks(of)}
        wanted = sorted((name for name in known if name in stored), key=lambda name: (
            registry.about(name).group != "in-context")) or list(known)
        plain = Setup(of, TaskId("", ""), DEFAULTS["shots"], DEFAULTS["demos"], DEFAULTS["n"], DEFAULTS["seed"],
                      DEFAULTS["draws"])
        kept[of] = first.task({name: plain.with_(task=stored[name]) for name in wanted}, DEFAULTS["train"],
                              handles.store()) if stored else next(
            (n for n in known if registry.about(n).group == "in-context"), known[0])
    task: str = kept[of]
    return task


def usual() -> list[str]:
    """The tasks that are compared unless others are chosen: those with results of the chosen task's suite, the mini
    suite's or the study's; all that have results, where that leaves no two; the mini suite, where there are none."""
    mini = [task.name for task in registry.suite("mini")]
    stored = {task.name for task in handles.known().tasks(model())}
    if model_name() == BUNDLED or len(stored) < 2:
        return mini
    suite = mini if task_name() in mini else [task.name for task in registry.suite("paper,held-out")]
    peers = [name for name in task_names() if name in stored and name in suite]
    return peers if task_name() in suite and len(peers) > 1 else [name for name in task_names() if name in stored]


def read() -> tuple[Ablation, list[str]]:
    """What the text field says, and what of it could not be read, a sentence each."""
    return _parsed("off")


def unread_against() -> list[str]:
    """What of the mask B could not be read, a sentence each."""
    return _parsed("against")[1]


def _parsed(key: str) -> tuple[Ablation, list[str]]:
    shape = info()
    return parse(value(key), shape.n_layers, shape.n_heads, shape.headless)
