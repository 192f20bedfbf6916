"""The sidebar, drawn once per run by `app.py`, so that the shared choice survives page changes, reloads and Back.

Every widget is bound to the URL parameter of its key's name; `selection` reads what they hold. What an address asks for
and no widget can take is said above the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from backend import demo, machine
from backend.errors import ModelError
from backend.models import gguf
from backend.models.info import BUNDLED
from backend.tasks import registry
from backend.tasks.task import DEMOS
from backend.values import ModelId
from pages.shared import address, components, glossary, handles, lecture, notes, selection, words
from pages.shared.plain import code, plain, prose
from pages.shared.selection import (
    BOS,
    DEFAULTS,
    DTYPES,
    PAGE_PARAMETERS,
    REDUCTIONS,
    SHOTS,
)

# Side padding that leaves room at 900 pixels, columns (`blocks.side_by_side`) that stack when they get narrow, and
# captions of at least 4.5:1, which Streamlit draws at 4.05:1; titles and captions of our own bring their style.
STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding-left: clamp(1.2rem, 3.5vw, 4.5rem);
                                       padding-right: clamp(1.2rem, 3.5vw, 4.5rem); }
[class*="st-key-side-"] > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
[class*="st-key-side-"] > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"]
    > [data-testid="stColumn"] { min-width: min(25rem, 100%); }
[data-testid="stCaptionContainer"] { opacity: 0.7 !important; }
[data-testid="stHeading"] h2 { padding: 0.75rem 0 1rem; line-height: 1.2; }
.st-key-step-card [data-testid="stHeading"] h2 { font-size: 1.5rem; line-height: 1.2; padding: 1rem 0; }
.st-key-room-code [data-testid="stHeading"] h2 { font-size: 2rem; font-weight: 700; }
""" + notes.STYLE + glossary.STYLE + "</style>"


def frame() -> Any:
    """Draw the shared choice in the sidebar; returns the place above the page for `show_notices`."""
    address.begin()
    st.session_state["cold"] = "trail" not in st.session_state  # the first run: the address is as it was opened
    st.session_state["B shown before"] = st.session_state.pop("B shown", False)  # see `components.settle_against`
    style()
    st.session_state.setdefault("notices", {})
    if st.session_state["cold"]:
        _notice_url()
    above = st.container()
    with st.sidebar:
        _model()
        _task()
        _chosen()
        with st.expander("Details", icon=":material/tune:"):
            _details()
    address.settle()  # as soon as may be: a page that measures is drawn to its end much later
    return above


def style() -> None:
    """How titles, captions and explained terms look; of every page, with a frame or without."""
    st.html(STYLE)


def foot() -> None:
    """The glossary, folded, below every page: terms that are explained in it refer to it."""
    address.end()
    st.html(glossary.listing() + glossary.SCRIPT, unsafe_allow_javascript=True)


def show_notices(above: Any) -> None:
    """Say what a permalink asked for that could not be read; at the end of a run, when pages have read their part."""
    notices: dict[str, str] = st.session_state["notices"]
    if notices:
        with above, st.container(key="notices"):
            st.warning("  \n".join(map(plain, notices.values())), icon=":material/link_off:")
            st.button("Understood", key="understood", on_click=notices.clear, type="tertiary")


# --- its parts ------------------------------------------------------------------------------------


def _model() -> None:
    known, asked = handles.model_names(), st.query_params.get("model") or selection.value("model")
    anything = lecture.at_the_machine()  # or else only what has results: a path would open a folder of the lecturer's
    if asked not in known and not anything:
        st.session_state["notices"]["model"] = (
            f"In this demo '{asked[:40]}' cannot be chosen" if demo.on() else
            f"In a lecture '{asked[:40]}' can be chosen at the machine itself only") + (
            f". Known: {', '.join(known)}. Showing the bundled model instead.")
        st.query_params.pop("model", None)
        asked = st.session_state["model"] = BUNDLED
    st.selectbox("Model", known + [asked] * (asked not in known), key="model", bind="query-params",
                 accept_new_options=anything, help="`bundled` ships with Headroom. Or write a hub id such as "
                 "`facebook/opt-125m`, or the path of a local folder with safetensors weights.")
    here = handles.look(selection.value("model"))
    if isinstance(here, ModelError):
        st.caption(f":orange[:material/warning: {prose(here)} " + (
            "Its stored results are shown." if selection.model_name() == selection.value("model") else
            "Showing the bundled model instead.") + "]")
    states = selection.models(selection.model_name())
    _known_here("state", [m.digest for m in states])
    if len(states) > 1:
        _one_of("state", "State of the model", [m.digest for m in states], {
            m.digest: f"revision {m.revision}" + ", here" * (
                not isinstance(here, ModelError) and m == here.id.weights) for m in states},
            "Another revision, other weights, or another tokenizer beside the same weights: their results are kept "
            "apart.")
    shape = selection.info()
    some = f" in {len(shape.attending)} of them" if shape.headless else ""
    st.caption(f"{shape.n_layers} layers × {shape.n_heads} heads{some} · {_count(shape.n_params)} parameters · "
               f"revision {code(selection.model().revision)}")
    if (folder := gguf.made_here(selection.model_name())) and (made_from := gguf.origin(folder)):
        st.caption(plain(made_from.words))


def _task() -> None:
    known = selection.task_names()
    st.selectbox("Task", known, index=known.index(selection.default_task(known)), key="task", bind="query-params")
    about = registry.about(selection.task_name())
    st.caption(plain(f"{about.group} · {about.about}"))
    found = selection.rows(selection.task_name())
    _known_here("rows", [t.digest for t in found])
    if len(found) > 1:
        here = handles.here(selection.task_name())
        _one_of("rows", "Rows of the task", [t.digest for t in found], {
            t.digest: "here" if t == here else "of stored results" for t in found},
            "Results of other rows under the same name are kept apart.")
    st.segmented_control("Shots", SHOTS, default=DEFAULTS["shots"], required=True, key="shots", bind="query-params",
                         help=glossary.says("shots"))


def _known_here(key: str, options: Sequence[str]) -> None:
    """Say so where the address asks for a state of the model, or rows of the task, that is neither here nor stored."""
    asked = st.query_params.get(key)
    if asked is not None and asked not in options:
        selection.not_read(key, asked, ", ".join(options))
        del st.query_params[key]


def _one_of(key: str, label: str, options: Sequence[str], shown: Mapping[str, str], help: str) -> None:
    """A choice that is there only where there is one; what it cannot be any more falls back to the first.

    Streamlit puts into the address what a menu shows; so it shows the plain option, and what that is stands below.
    """
    if st.session_state.get(key) not in options:
        st.session_state.pop(key, None)
    now = st.selectbox(label, options, key=key, bind="query-params", help=help)
    st.caption("  \n".join(f"{'**' * (one == now)}{code(one)}{'**' * (one == now)} {plain(shown[one])}"
                           for one in options))


def _details() -> None:
    st.segmented_control("Demonstrations", DEMOS[::-1], default=DEFAULTS["demos"], required=True, key="demos",
                         bind="query-params",
                         help=f"{glossary.says('demonstrations')} Fixed ones make toggling fast.")
    if selection.value("demos") == "fixed":
        _number("draws", "Draws", "Of fixed demonstrations: the questions take them in turn. One draw is a sample of "
                "size one; intervals over several know how far draws differ. 1: a single draw, named by the seed.")
    where = lecture.where() if lecture.most_questions() else ""
    _number("n", "Questions", "The first n of the seeded order; a larger number contains the smaller one.", where)
    _number("seed", "Seed", f"Draws the questions' order and the demonstrations. {glossary.says('seed')}")
    st.segmented_control("Head importance", REDUCTIONS, default=DEFAULTS["by"], required=True, key="by",
                         bind="query-params",
                         help=f"{glossary.says('importance')}  \n**per-token** {glossary.says('per-token')}  \n"
                              f"**one-divisor** {glossary.says('one-divisor')}  \n"
                              f"**per-example** {glossary.says('per-example')}")
    _number("train", "Training examples", "Behind head importance, and rankings by it: the first so many of the seeded "
            "order.", where)
    known = selection.task_names()
    usual = [name for name in selection.usual() if name in known]
    st.multiselect("Tasks that are compared", known, key="tasks", bind="query-params",
                   placeholder=f"the usual {words.how_many(len(usual), 'task')}",
                   help="What Overlap, Pruning and the views of all tasks compare and average. The usual ones are "
                        f"those with results of the chosen task's suite: {plain(', '.join(usual))}.")
    _precision()
    st.segmented_control("BOS token", BOS, default="auto", required=True, key="bos", bind="query-params",
                         help=f"{glossary.says('BOS')} auto: as the model's tokenizer does by itself, and none for "
                              "OPT and GPT-2, as in the study.")
    if warning := machine.slow(selection.value("dtype")):
        st.caption(f":orange[:material/speed: {warning}]")


def _precision() -> None:
    """The choice, what it changes, and which is fast here."""
    st.selectbox("Precision", DTYPES, key="dtype", bind="query-params")
    chosen = selection.model()
    if chosen.dtype != DTYPES[0]:
        st.caption(plain(handles.beside_float32(chosen).sentence))
    if not lecture.at_the_machine():
        return
    told: dict[ModelId, str] = st.session_state.setdefault("which is faster", {})
    if st.button("Which is faster here?", key="faster", type="tertiary", icon=":material/speed:",
                 help="Forms a product of the size of the model's FFNs in float32 and in bfloat16, in turns; nothing "
                      "is changed or stored."):
        with st.spinner("Measuring …"):
            why = handles.which_is_faster(selection.info())
        told[chosen.weights] = why[0].upper() + why[1:]
    if chosen.weights in told:
        st.caption(plain(told[chosen.weights]))


def _number(key: str, label: str, help: str, where: str = "") -> None:
    """A field of whole numbers. `where`: the place whose bounds these are."""
    least, most = selection.bounds(key)
    usual = min(DEFAULTS[key], most)
    st.number_input(label, least, most, value=usual, key=key, help=help,
                    **selection.number(key, least, most, usual, where))


def _chosen() -> None:
    components.held_now()
    with components.in_step("off"):
        st.text_input("Chosen heads and FFNs", key="off", bind="query-params", placeholder="L3H7, 5.1, L2 FFN",
                      on_change=components.take_clicks,
                      help="Lab and Playground switch these off. Click a heatmap, or write here: `L3H7` or `3.7` is a "
                           "head, `L3H0-3` several, `L4` a layer's heads, `L2 FFN` or `F2` an FFN; `mean:` in front "
                           f"replaces them by their mean instead of zero.  \n**Head** {glossary.says('head')}  \n"
                           f"**FFN** {glossary.says('FFN')}")
    components.remember(selection.value("off"))  # which an address tells the field, as it is drawn for the first time
    problems = selection.read()[1]
    for problem in problems:
        st.caption(f":orange[:material/warning: {prose(problem)}]")
    components.steps()
    anything = bool(selection.value("off"))
    with st.container(horizontal=True, gap="xsmall"):
        for page in ("Lab", "Playground", "Induction"):
            st.page_link(f"pages/{page.lower()}.py", label=page, disabled=not anything,
                         help=f"Open {page} with what is chosen." if anything else "Choose something first.")


def _notice_url() -> None:
    """Find what the address says that the widgets will not take, before they drop it."""
    given = st.query_params.to_dict()
    allowed: dict[str, Any] = {"shots": SHOTS, "demos": DEMOS, "by": REDUCTIONS, "dtype": DTYPES,
                               "bos": BOS}
    notices: dict[str, str] = st.session_state["notices"]
    allowed["task"] = tuple(selection.task_names())
    for key, value in given.items():
        if key in allowed and value not in map(str, allowed[key]):
            default = DEFAULTS[key] if DEFAULTS[key] is not None else selection.default_task(allowed[key])
            selection.not_read(key, value, ", ".join(map(str, allowed[key])), default)
        elif key == "tasks":
            if unknown := [name for name in st.query_params.get_all("tasks") if name not in allowed["task"]]:
                notices[key] = (f"The address asks to compare {', '.join(repr(name) for name in unknown)}, which "
                                "nothing here is called. The others are compared.")
        elif key not in DEFAULTS and key not in PAGE_PARAMETERS:
            notices[key] = f"The address has '{key}', which means nothing here."


def _count(n: int) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)
