"""What is computed, running, missing? And what goes in and out: results, models, tasks of one's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from typing import Any

import pandas as pd
import streamlit as st

from backend import demo, machine, tables
from backend.errors import HeadroomError, ModelError
from backend.kinds import KINDS, Unit
from backend.kinds.unit import Option
from backend.models.adapters import ADAPTERS
from backend.models.info import BUNDLED, describe
from backend.models.obstacles import obstacles
from backend.places import COMMAND
from backend.records import ModelInfo
from backend.runs import jobs
from backend.runs import plan as planning
from backend.store import bundles
from backend.tasks import own
from backend.tasks.questions import EXPECTED
from backend.tasks.task import Task, prompts
from backend.values import ModelId, TaskId
from pages.shared import blocks, coverage, from_hub, handles, lecture, real_model, routes, selection, words
from pages.shared.plain import code, plain, prose

SECTIONS = ("Results", "Storage", "Models", "Own tasks")
STATES = {  # of a run: an icon and a word
    "starting": (":material/hourglass_top:", "Starting"), "running": (":material/play_circle:", "Running"),
    "done": (":material/check_circle:", "Done"), "failed": (":material/error:", "Failed"),
    "cancelled": (":material/pause_circle:", "Stopped"), "died": (":material/error:", "Ended early"),
}
PATIENCE = 15  # seconds without an answer to Stop until ending at once is offered
FOLLOW = 2.0  # seconds between two looks at a run under way
RUNS_SHOWN = 5
EXAMPLE_ROWS = ('{"name": "capitals", "template": "Country: {query}\\nCapital: {answer}"}\n'
                '{"query": "France", "options": ["Rome", "Paris"], "gold": 1}\n'
                '{"query": "Italy", "options": ["Rome", "Paris"], "gold": 0}\n'
                '{"query": "Spain", "options": ["Lisbon", "Madrid"], "gold": 1}\n'
                '{"query": "Portugal", "options": ["Lisbon", "Madrid"], "gold": 0}\n')

store = handles.store()


def act(what: Callable[..., object], *args: object) -> None:
    """What a button does, as its callback: a press counts even where the run that would look at it never comes.

    The list of runs draws itself anew every other second, and the page when one ends; what goes wrong is said there.
    """
    try:
        what(*args)
    except HeadroomError as error:
        st.session_state["went wrong"] = str(error)


def say_what_went_wrong() -> None:
    if wrong := st.session_state.pop("went wrong", None):
        st.error(plain(wrong), icon=":material/error:")


# --- for visitors of a lecture or a demo ----------------------------------------------------------


def look_only() -> None:
    """What is stored of the chosen model and of the others; nothing that changes anything, no place on the disk."""
    st.info("This server is a demo: runs, imports and deletions are closed." if demo.on() else
            "In a lecture, runs are started at the machine itself.", icon=":material/lock:")
    topics = {name: topic for name, topic in planning.topics().items() if name in planning.usual_topics()}
    s = selection.current()
    request = planning.Request(s.model, selection.info(), identified(usual_tasks()), selection.SHOTS, tuple(topics),
                               s.demos, s.n_examples, (s.seed,))
    show_plan(request)
    with_results()


# --- results: what there is, what is missing, what is under way ---------------------------------


def wishes() -> planning.Request | None:
    """What the controls ask for; demonstrations, questions, seed and precision come from the sidebar."""
    topics = {name: topic for name, topic in planning.topics().items() if name != "masks"}
    what = st.pills("Measure", list(topics), selection_mode="multi", default=list(planning.usual_topics()),
                    format_func=lambda name: topics[name].title, key="run what", persist_state="session",
                    wrap=True, help="  \n".join(f"**{topic.title}**: {topic.about}." for topic in topics.values()))
    shots = st.pills("Shots", selection.SHOTS, selection_mode="multi", default=list(selection.SHOTS),
                     key="run shots", persist_state="session")
    tasks = st.multiselect("Tasks", selection.task_names(), default=usual_tasks(), persist_state="session", wrap=True,
                           key=f"run tasks of {selection.model_name()}")
    with st.expander("How thoroughly", icon=":material/tune:"):
        options = {name: how_many(option) for name, option in planning.options(what).items() if option.read is int}
        st.caption("Questions, demonstrations, seed, precision and BOS are those of the sidebar's details.")
    if not what or (any(topics[name].per_task for name in what) and not (shots and tasks)):
        return None
    s = selection.current()
    return planning.Request(s.model, selection.info(), identified(tasks), tuple(sorted(shots)), tuple(what), s.demos,
                            s.n_examples, (s.seed,), options, selection.draws())


def how_many(option: Option) -> int:
    """A number that a topic knows."""
    return int(st.number_input(option.about[0].upper() + option.about[1:], option.least or 0, 100_000, option.default,
                               key=f"run {option.name}", persist_state="session"))


def identified(names: Sequence[str]) -> tuple[TaskId, ...]:
    """The tasks as their rows are here; those whose rows are not are named."""
    found = {name: handles.here(name) for name in names}
    if missing := [name for name, task in found.items() if task is None]:
        st.warning(f"Left out, because their rows are not here: {plain(', '.join(missing))}. "
                   f"{plain(handles.why_not_here(TaskId(missing[0], '')))}", icon=":material/folder_off:")
    return tuple(task for task in found.values() if task is not None)


def usual_tasks() -> list[str]:
    """The bundled model's suite; of another model the tasks that have results, or the chosen one: rows may be large."""
    if selection.model_name() == BUNDLED:
        return list(selection.compared())
    asked = {task.name for task in handles.known().tasks(selection.model())}
    return [name for name in selection.task_names() if name in asked] or [selection.task().name]


def finding(plan: planning.Plan, seconds: float | None) -> str:
    """How much is there, and what the rest takes."""
    n, n_left = len(plan.steps), len(plan.to_do)
    if not n_left:
        return f"All {n} results are here"
    takes = "takes" if n_left == 1 else "take"
    rest = f"the other {n_left} {takes}" if plan.n_done else f"the {n} asked for {takes}"
    how_long = f"about {machine.duration(seconds)} on this machine" if seconds is not None else \
        "a time that is measured as soon as they start"
    return (f"{plan.n_done} of {n} results are here; " if plan.n_done else "Nothing is measured yet; ") + \
        f"{rest} {how_long}"


def show_plan(request: planning.Request) -> planning.Plan:
    """The map of what is stored."""
    rates = planning.rates(request.model, request.info, store)
    plan = planning.make(request, store)
    table = tables.plan_table(plan, rates)
    title = finding(plan, planning.seconds(plan.to_do, rates))
    blocks.result(
        title, coverage.chart(table, [task.name for task in request.tasks]),
        caption=f"n = {request.n_examples} questions · the fuller a cell, the more of its results are stored",
        measured=blocks.provenance(request.model, f"Setup: {request.demos} demonstrations" + f" ({request.draws} draws)"
                                   * (request.demos == "fixed") + f", seed {request.seeds[0]}"),
        table=table, file=f"stored-{request.info.name.replace('/', '-')}", python=coverage.python_lines(request),
        key="coverage", alt_text=f"Map of stored results by task, topic and shots. {title}.")
    return plan


def plan_and_start(request: planning.Request) -> None:
    """The map of what is stored, and the button that starts the rest."""
    plan = show_plan(request)
    args = coverage.arguments(request, selection.model_arguments())
    under_way = any(job.args[: len(args)] == tuple(args) and not jobs.progress(job).ended
                    for job in jobs.jobs(store.folder))
    problem = selection.why_no_model()
    if problem:
        st.caption(f":material/cloud_off: It cannot be measured here. {prose(problem)}")
    with st.container(horizontal=True, gap="small"):
        st.button("Start" if plan.n_done == 0 else "Start the rest" if plan.to_do else "Nothing to start",
                  key="start", type="primary", icon=":material/play_arrow:", on_click=act,
                  args=(jobs.start, args, store.folder), disabled=under_way or not plan.to_do or bool(problem),
                  help="This run is under way." if under_way else None)
        with st.popover("Command line", icon=":material/terminal:"):
            st.caption("What the button runs, to be typed in the project's folder, here or on a machine with GPUs.")
            st.code(jobs.command_line(args), language="bash", wrap_lines=True)
    st.caption("A run is a process of its own: it goes on when this page or the explorer is closed, and what is "
               "finished is stored at once.")


def results() -> None:
    """What is asked for on the left; what of it there is on the right; below, the runs."""
    left, right = blocks.side_by_side("results", 4, 7, gap="large")
    with left:
        request = wishes()
    with right:
        if request is None:
            st.info("Choose at least one thing to measure, one number of shots and one task.")
        else:
            try:
                plan_and_start(request)
            except HeadroomError as error:
                st.info(prose(error), icon=":material/info:")
    runs()


def runs() -> None:
    """Runs of this machine, newest first, followed while one is at work."""
    def at_work(now: dict[jobs.Job, jobs.Progress]) -> set[str]:
        """Also those that have said their last word while their process is still on its way out."""
        return {job.id for job, progress in now.items() if not progress.ended or jobs.is_running(job)}

    active = at_work({job: jobs.progress(job) for job in jobs.jobs(store.folder)})

    def listing() -> None:
        try:
            now = {job: jobs.progress(job) for job in jobs.jobs(store.folder)}
            if active != at_work(now):
                st.rerun()  # one has begun or ended: the map above changes too
            say_what_went_wrong()
            draw_runs(now)
        except HeadroomError as error:
            st.error(prose(error), icon=":material/error:")

    handles.fragment(listing, run_every=FOLLOW if active else None)()


def draw_runs(now: dict[jobs.Job, jobs.Progress]) -> None:
    """One card per run."""
    n_active = sum(not progress.ended for progress in now.values())
    blocks.heading(f"{words.how_many(n_active, 'run')} under way".capitalize() if n_active else "No run is under way")
    if not now:
        st.caption("Runs started here or in a terminal appear here, with their progress and the time left.")
    newest = {job.args: job for job in reversed(now)}
    for i, job in enumerate(job for job in now if newest[job.args] is job or not now[job].ended):
        if i < RUNS_SHOWN or not now[job].ended:
            card(job, now[job])
    ended = [job for job, progress in now.items() if progress.ended and not jobs.is_running(job)]
    if ended:
        st.button(f"Clear the list of {words.how_many(len(ended), 'ended run')}", key="forget runs", type="tertiary",
                  icon=":material/clear_all:", help="Their results stay.", on_click=act, args=(forget, ended))
    if strangers := jobs.strangers(store.folder):
        with st.expander(f"{words.how_many(len(strangers), 'folder').capitalize()} not started by this Headroom",
                         icon=":material/no_accounts:"):
            st.caption("They lie among the runs of this store. Nothing in them is started, stopped or removed from "
                       "here.")
            for stranger in strangers[:RUNS_SHOWN]:
                st.text(f"{_printable(stranger.name)}: {stranger.why}")


def forget(ended: Sequence[jobs.Job]) -> None:
    for job in ended:
        jobs.forget(job)


def _printable(name: str) -> str:
    """A name of a file as it can be shown: a file system takes any bytes."""
    return ascii(name)[1:-1] if not name.isprintable() else name


def card(job: jobs.Job, progress: jobs.Progress) -> None:
    """One run: how far it is, and what can be done with it."""
    icon, word = STATES[progress.state]
    stop_asked = not progress.ended and jobs.stop_asked_at(job) is not None
    with st.container(border=True, key=f"run-{job.id}"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"{icon} **{'Stopping' if stop_asked else word}** · {plain(coverage.asked(job.args))}",
                        width="stretch")
            with st.container(horizontal=True, gap="xsmall", width="content"):
                buttons(job, progress, stop_asked)
        st.progress(*bar(progress))
        st.caption(plain(status_line(job, progress, stop_asked)))


def buttons(job: jobs.Job, progress: jobs.Progress, stop_asked: bool) -> None:
    """Stop, resume, look."""
    if not progress.ended:
        asked_at = jobs.stop_asked_at(job)
        patient = asked_at is None or 0 <= time.time() - asked_at < PATIENCE  # a clock set back makes nobody wait
        if patient:
            st.button("Stop", key=f"stop {job.id}", icon=":material/stop:", disabled=stop_asked,
                      on_click=act, args=(jobs.cancel, job), help="After the batch under way; what is finished stays.")
        else:
            st.button("End at once", key=f"kill {job.id}", icon=":material/dangerous:", on_click=act,
                      args=(jobs.kill, job),
                      help="It has not answered for a while. At most the result under way is lost.")
    elif progress.state != "done":  # its card will take the place of this one, whose process may be on its way out
        problem = jobs.why_not_resumed(job)
        st.button("Resume", key=f"resume {job.id}", icon=":material/play_arrow:", on_click=act, args=(jobs.resume, job),
                  disabled=bool(problem),
                  help=prose(problem) or "Start the same command again; what is stored is skipped.")
    with st.popover("Command", icon=":material/terminal:"):
        st.code(jobs.command_line(job.args), language="bash", wrap_lines=True)
        st.caption("Its last lines:")
        st.code(jobs.log_tail(job) or "(nothing yet)", language=None, wrap_lines=True)


def bar(progress: jobs.Progress) -> tuple[float, str]:
    """How far a run is, as a share and in words."""
    if not progress.units_total:
        return (1.0 if progress.state == "done" else 0.0), "Getting ready" if not progress.ended else "Not begun"
    part = progress.done / progress.total if progress.total and not progress.ended else 0
    words = [f"{progress.units_done} of {progress.units_total} results"]
    if not progress.ended and progress.unit:
        words.append(plain(progress.unit) + (f" ({progress.done} of {progress.total})" if progress.total else ""))
    return min(1.0, (progress.units_done + part) / progress.units_total), " · ".join(words)


def status_line(job: jobs.Job, progress: jobs.Progress, stop_asked: bool) -> str:
    """When it began, how long it still takes or how it ended."""
    parts = [time.strftime("Started %d %b, %H:%M", time.localtime(job.started))]
    if progress.ended:
        parts += [f"took {machine.duration(max(0.0, progress.updated - job.started))}", progress.message]
    elif stop_asked:
        parts.append("stops after the batch under way")
    elif progress.seconds_left is not None:
        parts.append(f"about {machine.duration(progress.seconds_left)} left")
    else:
        parts.append("the time left is not known yet")
    return " · ".join(filter(None, parts))


# --- storage: disk, bundles, damage -------------------------------------------------------------


def storage() -> None:
    """What the results take, take them out, take some in, clear, and look for damage."""
    units, live = store.units(), {unit.key for unit in store.live_units()}
    blocks.heading(f"{words.how_many(len(units), 'result').capitalize()} of "
                   f"{words.how_many(len({u.model.name for u in units}), 'model')} · "
                   f"{machine.size(store.size_bytes())} on this machine's disk")
    if units:
        st.dataframe(inventory(units, live), hide_index=True, alt="Stored results by model and kind.", column_config={
            "seconds": st.column_config.NumberColumn("computed here in", format="%.0f s")})
    st.caption(f"Results computed or imported here are in {code(store.folder)} (HEADROOM_CACHE names another place; "
               f"{machine.size(machine.free_disk(store.folder))} are free there). Shipped ones came with Headroom and "
               "stay.")
    if store.read_only:
        st.info(f"This store can only be read: {plain(store.read_only)}. Pages measure as ever; what they measure is "
                "kept in memory until Headroom ends. Runs, imports and deletions need a folder that can be written: "
                "name one in HEADROOM_CACHE.", icon=":material/lock:")
    for place in store.set_aside():
        st.caption(f"What was damaged and taken out of the store is kept in {code(place)}; delete it when nobody wants "
                   "it.")
    if earlier := store.earlier():
        st.info(f"{words.how_many(len(earlier), 'result').capitalize()} of an earlier version of Headroom "
                f"{'is' if len(earlier) == 1 else 'are'} set aside here: their names did not hold all that they depend "
                f"on. `{COMMAND} upgrade` takes over those that are still true, and says of the others why not.",
                icon=":material/history:")
    left, right = blocks.side_by_side("storage", 1, 1, gap="large")
    with left:
        take_out(units, live)
    with right:
        take_in()
        damage(units)


def inventory(units: Sequence[Unit[Any]], live: set[str]) -> pd.DataFrame:
    """One row per model and kind: how many results are stored, and where they came from."""
    groups: dict[tuple[ModelId, str], list[Unit[Any]]] = {}
    for unit in units:
        groups.setdefault((unit.model.weights, unit.KIND), []).append(unit)
    return pd.DataFrame([
        {"model": model.name, "revision": model.revision, "digest": model.digest, "kind": KINDS[kind].TITLE,
         "results": len(some), "of this machine": sum(u.key in live for u in some),
         "shipped": sum(u.key not in live for u in some), "tasks": len({u.task for u in some if u.task}),
         "shots": ", ".join(map(str, sorted({u.setup.n_shots for u in some if u.setup}))),
         "seconds": sum(store.seconds(u) or 0.0 for u in some) or None}
        for (model, kind), some in groups.items()])


def take_out(units: Sequence[Unit[Any]], live: set[str]) -> None:
    """Choose results; download them as a bundle, or delete them here."""
    blocks.heading("Take results out")
    models = st.multiselect("Models", sorted({u.model.name for u in units}), key="out models",
                            placeholder="All models", persist_state="session")
    kinds = st.multiselect("Kinds", [k for k in KINDS if any(k == u.KIND for u in units)], key="out kinds",
                           placeholder="All kinds", persist_state="session",
                           format_func=lambda kind: KINDS[kind].TITLE)
    chosen = [u for u in units if (not models or u.model.name in models) and (not kinds or u.KIND in kinds)]
    mine = [u for u in chosen if u.key in live]
    carried, left_out = bundles.carried(chosen, kinds)

    def bundle() -> bytes:
        content = BytesIO()
        bundles.export(content, store, [u for u in carried if store.get(u) is not None], left_out)
        return content.getvalue()

    with st.container(horizontal=True, gap="small"):
        st.download_button(f"Download {words.how_many(len(carried), 'result')}", bundle, "headroom-results.zip",
                           "application/zip", key="export", on_click="ignore", icon=":material/download:",
                           disabled=not carried, help="A bundle: a zip with one file for each result, a manifest and "
                           "digests. Damaged results are left out; so are means and optimal constants, which are "
                           "large, unless you choose these kinds.")
        if st.button("Delete from this machine …", key="delete", icon=":material/delete:", disabled=not mine):
            confirm(f"{words.how_many(len(mine), 'result')} of "
                    f"{', '.join(sorted({u.model.name for u in mine}))} will be deleted from this machine. Computing "
                    f"them took {machine.duration(sum(store.seconds(u) or 0.0 for u in mine))} here.",
                    f"Delete {words.how_many(len(mine), 'result')}", lambda: store.delete_all(mine))
    if chosen and not mine:
        st.caption("These are shipped with Headroom; they cannot be deleted here.")
    name = f" --model {models[0]}" if len(models) == 1 else ""
    st.code(f"{COMMAND} export results.zip{name}", language="bash")


@st.dialog("Are you sure?", icon=":material/delete:")
def confirm(question: str, label: str, what: Callable[[], object]) -> None:
    """Ask before something is lost."""

    st.markdown(plain(question))
    with st.container(horizontal=True):
        if st.button(plain(label), key="confirmed", type="primary", on_click=act, args=(what,)) or st.button(
                "Keep it", key="kept"):
            st.rerun()


def take_in() -> None:
    """Upload a bundle or open one of the hub, see what is in it, take it in."""
    blocks.heading("Take a bundle in")
    st.session_state.setdefault("uploads", 0)
    file = st.file_uploader("A bundle (.zip)", "zip", key=f"bundle {st.session_state['uploads']}",
                            on_change=from_hub.forget)
    fetched = from_hub.offer(act)
    if said := st.session_state.pop("taken in", None):
        st.success(plain(said), icon=":material/check_circle:")
    source = file if file is not None else fetched.file if fetched is not None else None
    if source is None:
        return
    name = file.file_id if file is not None else fetched
    try:
        kept = st.session_state.get("bundle")
        contents = kept[1] if kept and kept[0] == name else bundles.inspect(source, store)
        st.session_state["bundle"] = (name, contents)
        offer_bundle(contents)
    except HeadroomError as error:
        st.error(prose(error), icon=":material/error:")


def offer_bundle(contents: bundles.Contents) -> None:
    """What a checked bundle holds, and the button that takes it in."""
    n_new, n_same, n_other = len(contents.new), len(contents.same), len(contents.conflicts)
    st.markdown(f"**{words.how_many(len(contents.manifest.entries), 'result')} of "
                f"{plain(', '.join(contents.manifest.model_names))}**: {n_new or 'none'} new, {n_same or 'none'} here "
                f"already, {n_other or 'none'} that differ.")
    for note in contents.notes:
        st.caption(plain(note))
    replacing = False
    if n_other:
        st.dataframe(pd.DataFrame([{"result": str(unit), "differs in": "; ".join(told)}
                                   for unit, told in contents.conflicts.items()]), hide_index=True,
                     alt="Results that differ from those here.")
        replacing = st.toggle("Where they differ, take the bundle's", key="replace",
                              help="Otherwise nothing is taken in while results differ.")
    n = n_new + (n_other if replacing else 0)
    st.button(f"Take in {words.how_many(n, 'result')}", key="take in", type="primary", icon=":material/upload:",
              disabled=not n or bool(n_other and not replacing), on_click=act,
              args=(take_in_all, contents, replacing, n))


def take_in_all(contents: bundles.Contents, replacing: bool, n: int) -> None:
    bundles.take_in(contents, store, replacing)
    st.session_state["taken in"] = (f"{words.how_many(n, 'result').capitalize()} of "
                                    f"{', '.join(contents.manifest.model_names)} taken in.")
    st.session_state["uploads"] += 1
    del st.session_state["bundle"]
    from_hub.forget()


def damage(units: Sequence[Unit[Any]]) -> None:
    """What is known to be damaged; reading everything finds the rest."""
    blocks.heading("Is anything damaged?")
    if st.button("Read every result", key="check", icon=":material/fact_check:", disabled=not units):
        with st.spinner("Reading …"):
            st.session_state["damaged"] = [unit for unit in units if store.get(unit) is None]
    found: list[Unit[Any]] | None = st.session_state.get("damaged")
    problems = store.problems()
    if problems:
        more = [f"… and {len(problems) - 8} more."] * (len(problems) > 8)
        st.warning("  \n".join([*map(plain, problems[:8]), *more]),
                   icon=":material/broken_image:")
        mine = [unit for unit in found or () if store.get(unit) is None]
        if mine:
            st.button(f"Delete the {words.how_many(len(mine), 'damaged result')}", key="delete damaged",
                      icon=":material/delete:", on_click=act, args=(store.delete_all, mine))
    elif found is not None:
        st.caption(f"All {len(units)} results can be read, and their digests match.")
    else:
        st.caption("Every result carries a digest. A damaged one counts as missing and can be computed again.")


# --- models -------------------------------------------------------------------------------------


@st.cache_data(show_spinner="Looking at the model …", ttl=300)
def looked_at(name: str) -> tuple[ModelInfo | None, list[str]]:
    """What a model is, without loading it, and what keeps it from being used; looked at again after five minutes.

    None where it is no model that could ever be measured.
    """
    found = obstacles(name)
    try:
        return describe(name), found
    except ModelError:
        if not found:
            raise
        return None, found


def models() -> None:
    """Add a model: what it is, what it needs, whether that is here."""
    name = st.text_input("Hub id, local folder, or gguf:FILE", key="model to check", persist_state="session",
                         placeholder="facebook/opt-125m, ~/my-model, or gguf:~/model.gguf", max_chars=400,
                         help="Only configuration and sizes are read for this check; weights must be safetensors, "
                              "and no code of the model's repository is ever run.")
    if name and name.strip():
        try:
            check(name.strip(), *looked_at(name.strip()))
        except HeadroomError as error:
            st.error(prose(error), icon=":material/error:")
    else:
        st.caption("The check says what the model is and what it needs. Nothing large is fetched.")
    real_model.offer(str(store.folder))
    left, right = blocks.side_by_side("models", 1, 1, gap="large")
    with left:
        with_results()
    with right:
        blocks.heading(f"{len(ADAPTERS)} architectures are understood")
        st.markdown(" ".join(f"`{name}`" for name in sorted(ADAPTERS)))
        st.caption("Another one is a row in `backend/models/adapters.py`: where its layers, heads and FFNs are.")


def with_results() -> None:
    """The models that have results here."""
    known = handles.known()
    blocks.heading(f"{words.how_many(len(known.names), 'model').capitalize()} with results here")
    if known.names:
        st.dataframe(pd.DataFrame([
            {"model": model.name, "revision": model.revision, "digest": model.digest, "precision": model.dtype,
             "BOS": model.bos, "results": known.n_results(model)} for model in known.models()]), hide_index=True,
                     alt="Models with stored results.")
        st.caption("The sidebar offers them all; their results can be browsed even where the model is not.")


def check(name: str, info: ModelInfo | None, found: Sequence[str]) -> None:
    """What is in a model's way, first; then its needs, one sentence each, and the button that opens it."""
    if info is None:
        with st.container(border=True, key="model-check"):
            blocks.heading(f"{name} cannot be used")
            for sentence in found:
                said(False, plain(sentence))
        return
    adapter = ADAPTERS.get(info.architecture)
    free = machine.free_memory()
    needs = pd.DataFrame([{"precision": dtype, "weights in memory": machine.size(machine.weight_bytes(info, dtype)),
                           "fits": machine.weight_bytes(info, dtype) < free} for dtype in machine.WIDTHS])
    fitting = [row["precision"] for _, row in needs.iterrows() if row["fits"]]
    ready = ("cannot be used yet" if found else
             f"can be used here, in {' or '.join(fitting)}" if fitting else
             "is understood, but its weights do not fit into this machine's free memory")
    with st.container(border=True, key="model-check"):
        blocks.heading(f"{info.name} {ready}")
        left, right = st.columns([3, 2], gap="medium")
        with left:
            for sentence in found:
                said(False, plain(sentence))
            said(True, f"A decoder-only transformer: {code(info.architecture)}, {info.n_layers} layers × "
                       f"{info.n_heads} heads, d_model {info.d_model:,}, d_head {info.d_head}, d_ffn {info.d_ffn:,}, "
                       f"{info.n_params:,} parameters, context of {info.max_positions:,} tokens.")
            if adapter:
                said(True, f"Its heads and FFNs are known: `{adapter.attn_out}`, `{adapter.ffn}`.")
            said(True, f"Weights as safetensors, {machine.size(info.bytes)} ({plain(info.dtype)}), revision "
                       f"{code(info.revision)}. From the hub they are fetched when first used; "
                       f"{machine.size(machine.free_disk(store.folder))} of disk are free.")
            said(bool(fitting), f"{machine.size(free)} of memory are free on this machine."
                 + ("" if fitting else " Import results that were computed elsewhere, or use a larger machine: the "
                                       "command line takes `--device-map auto`."))
        with right:
            st.dataframe(needs, hide_index=True, alt="Memory of the weights at each precision.")
            st.caption("The weights alone; keep about half as much again free for what passes through them. With a "
                       "GPU, its memory counts instead.")
        st.button(f"Open {plain(info.name)}", key="open model", type="primary", icon=":material/arrow_forward:",
                  disabled=bool(found), on_click=open_model, args=(name,),
                  help="Makes it the model of all pages; the sidebar keeps it.")


def said(good: bool, sentence: str) -> None:
    """One line of a check, as Markdown."""
    st.markdown(f"{':green[:material/check:]' if good else ':orange[:material/close:]'} {sentence}")


def open_model(name: str) -> None:
    """Make a model the chosen one."""
    st.session_state["model"] = name
    st.session_state["section"] = SECTIONS[0]


# --- tasks of one's own -------------------------------------------------------------------------


def own_tasks() -> None:
    """Bring rows, see how they read, keep them; what is kept."""
    left, right = blocks.side_by_side("own", 1, 1, gap="large")
    with left:
        blocks.heading("Bring a task")
        rows = st.file_uploader("Questions (.jsonl)", ["jsonl", "json", "txt"], key="own rows", help=EXPECTED)
        train = st.file_uploader("Training rows (optional)", ["jsonl", "json", "txt"], key="own train",
                                 help="Without them, half of the questions serve as demonstrations.")
        name = st.text_input("Name", key="own name", max_chars=64, persist_state="session",
                             placeholder="as in the file, or the file's own name")
        template = st.text_area("Template", key="own template", height=90, persist_state="session",
                                placeholder=own.DEFAULT_TEMPLATE,
                                help="How a demonstration reads: {query} once and, after it, {answer} once.")
        st.caption("One JSON object per line; the first may name the task and its template:")
        st.code(EXAMPLE_ROWS, language="json")
        st.download_button("This example as a file", EXAMPLE_ROWS, "capitals.jsonl", key="own example",
                           on_click="ignore", type="tertiary", icon=":material/download:")
    with right:
        if rows is not None:
            try:
                task = own.parse_task(rows.getvalue(), name or None, template or None,
                                      train.getvalue() if train is not None else None,
                                      default_name=rows.name.rpartition(".")[0])
                preview(task)
            except HeadroomError as error:
                st.error("  \n".join(map(plain, str(error).splitlines())), icon=":material/error:")
        kept_tasks()


def preview(task: Task) -> None:
    """How the first prompt of a task reads, and the button that keeps it."""
    n_train, n_asked = len(task.rows("train")), len(task.rows("validation"))
    n_shots = min(selection.current().n_shots, n_train)
    blocks.heading(f"{task.title}: {words.how_many(n_asked, 'question')}, "
                   f"{words.how_many(n_train, 'training row')}")
    first = prompts(task, n_shots, "fixed", 1)[0]
    st.caption(f"The first question, {n_shots}-shot; each option is scored in place of the dots:")
    st.code(first.prefix + first.example.contexts[0] + " …", language=None, wrap_lines=True)
    st.markdown("Options: " + ", ".join(f"**{plain(option)}**" if i in first.example.gold else plain(option)
                                        for i, option in enumerate(first.example.options)))
    st.button("Keep this task", key="keep task", type="primary", icon=":material/save:", on_click=act,
              args=(keep, task))


def keep(task: Task) -> None:
    own.keep(task)  # type: ignore[arg-type]
    st.session_state["kept task"] = task.name


def kept_tasks() -> None:
    """The tasks that were kept: use one, or remove it."""
    names = own.kept()
    blocks.heading(f"{words.how_many(len(names), 'task').capitalize()} of your own")
    if (fresh := st.session_state.get("kept task")) and fresh.partition(":")[2] in names:
        st.success(f"'{plain(fresh.partition(':')[2])}' is kept: it is in the sidebar's list of tasks, and "
                   f"{code(f'--tasks {fresh}')} names it on the command line.", icon=":material/check_circle:")
    for name in names:
        with st.container(horizontal=True, vertical_alignment="center"):
            try:
                task = own.find(name)
                st.markdown(f"**{plain(name)}** · {len(task.rows('validation'))} questions · `{task.fingerprint}`",
                            width="stretch")
                st.button("Ask it", key=f"use {name}", icon=":material/arrow_forward:", on_click=ask,
                          args=(f"own:{name}",),
                          help="Makes it the task of all pages, and opens it in Playground.")
            except HeadroomError as error:
                st.markdown(f"**{plain(name)}** · :orange[{prose(error)}]", width="stretch")
            if st.button("Remove …", key=f"remove {name}", icon=":material/delete:"):
                confirm(f"The rows of '{name}' will be deleted from this machine. Its stored results stay.",
                        f"Remove {name}", partial(own.remove, name))
    if not names:
        st.caption("A kept task can be chosen like any other, on every page and on the command line.")


def ask(task_name: str) -> None:
    """Make a task the chosen one, to be read in Playground."""
    st.session_state["task"] = task_name
    routes.go("playground")


# --- the page -----------------------------------------------------------------------------------

st.title("Runs")
st.markdown("What is computed, what is missing, and how to get it. Here results, models and tasks come in and go out.")
freely = lecture.at_the_machine()
section = selection.control("Section", SECTIONS, "section", label_visibility="collapsed") if freely else "none"
say_what_went_wrong()
match section:
    case "none":
        look_only()
    case "Storage":
        storage()
    case "Models":
        models()
    case "Own tasks":
        own_tasks()
    case _:
        results()
