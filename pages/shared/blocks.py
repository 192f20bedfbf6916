"""The pieces every page is made of: read, get, draw, explain.

    setup = selection.current()                                              # read
    record = blocks.get(HeadImportance(setup), "head importance")            # get, or offer to measure
    if record is not None:
        blocks.result(title, chart, ...)                                     # draw and explain

`result` is the block of every chart: a title that states the finding, the chart, a caption of one line (n, chance, what
colours and lines mean) and, folded behind it, how it is measured (definition, interval, source, setup, model), the
table as CSV, the picture as SVG and the lines of Python that reproduce it. `get` and `get_all` never compute: they draw
what is missing, what it takes, and a button.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

from backend.errors import HeadroomError, StoreError
from backend.kinds import Copying, PrefixMatching, Unit
from backend.kinds import fetch as fetch_from
from backend.kinds.lines import commands, python, with_imports
from backend.kinds.unit import R
from backend.machine import duration
from backend.records import Record, too_long
from backend.runs import plan as planning
from backend.runs.queue import SoFar, Standing
from backend.store import nearby
from backend.store.nearby import Asking
from backend.values import Ablation, Head, ModelId, Setup, TaskId
from pages.map import Fact, HeadMap, protocol
from pages.map.plots import Plot
from pages.shared import (
    charts,
    components,
    glossary,
    handles,
    notes,
    pictures,
    selection,
    takeaway,
    transformer,
    waiting,
    words,
)
from pages.shared.charts.paper import Chart
from pages.shared.plain import plain, prose
from pages.shared.report import Figure

REPORT = 0.2  # seconds between reports of progress; each is a message that the browser answers by drawing
PATIENT = 1.0  # seconds of waiting after which one is told how many are ahead
CHARACTER = 8  # pixels of a wide character in a table
STUDY = "Bansal et al. 2023, arXiv:2212.09095"


# --- get ----------------------------------------------------------------------------------------


def fetch(unit: Unit[R]) -> R | None:
    """The stored record, or None; a damaged one counts as missing, and is said to be damaged."""
    try:
        return fetch_from(unit, handles.store())
    except StoreError as error:
        st.warning(f"A stored result cannot be used: {prose(error)}", icon=":material/broken_image:")
        return None


def known() -> list[Fact]:
    """What a map says of a head beside its score: how well it matches prefixes and copies, where that is stored."""
    model = selection.model()
    records = {"prefix matching": fetch(PrefixMatching(model)), "copying": fetch(Copying(model))}
    return [(label, np.array(record.mean), "plain") for label, record in records.items() if record is not None]


def get(unit: Unit[R], what: str) -> R | None:
    """The stored record; when there is none, None, and the page shows the offer to measure it."""
    return get_all([unit], what)[0]


def get_all(units: Sequence[Unit[R]], what: str) -> list[R | None]:
    """The stored records in order, None for those missing; below them the offer to measure what is missing."""
    records = [fetch(unit) for unit in units]
    missing = [unit for unit, record in zip(units, records, strict=True) if record is None]
    if missing:
        offer(missing, what, of=len(units))
    say_too_long(zip(units, records, strict=True))
    return records


def say_too_long(results: Iterable[tuple[Unit[Any], Record | None]]) -> None:
    """Prompts that did not fit the model's context are never passed over in silence."""
    told = dict.fromkeys(f"{unit.setup.task}, {unit.setup.n_shots}-shot: {said}" for unit, record in results
                         if unit.setup is not None and record is not None and (said := too_long(record)))
    if told:
        st.caption(":orange[:material/content_cut: " + "  \n".join(map(plain, told)) + "]")


def offer(units: Sequence[Unit[Any]], what: str, of: int = 1) -> None:
    """Say what is not measured yet and offer to do it here, with progress and Stop, or from the command line.

    Where the model or the rows are elsewhere, why it cannot be done here, and the command that does it there.
    """
    key = f"offer:{what}"  # not of the units: one may be finished between the drawing of the button and its press
    why_not = why_not_here(units)
    with st.container(border=True, key=re.sub(r"\W+", "-", key)):
        some = f" ({len(units)} of {of} results)" if of > 1 else ""
        st.markdown(f":material/hourglass_empty: **Not measured yet:** {plain(what)}{some}.")
        if why_not:
            st.caption(f":material/cloud_off: It cannot be measured here. {prose(why_not)}")
        else:
            st.caption(cost(units))
        if why := handles.store().read_only:
            st.caption(f":material/lock: Nothing can be stored here ({plain(why)}): what is measured is kept in memory "
                       "until Headroom ends.")
        if damage := handles.store().problems():
            more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
            st.caption(f":orange[:material/broken_image: Something stored is damaged{more}: {plain(damage[0])}]")
        go = _asked(key) and not why_not
        with st.container(horizontal=True, gap="small"):
            if not why_not:
                st.button("Measure now", key=key, type="primary", icon=":material/play_arrow:", on_click=_ask,
                          args=(key,))
            if lines := command_lines(units):
                with st.popover("Command line", icon=":material/terminal:"):
                    st.caption("The same from a terminal, where model and rows are; it can be stopped and started "
                               "again at any time.")
                    st.code(lines, language="bash", wrap_lines=True)
            if other := asked_otherwise(units, of):
                st.button(f"Show it with {words.asked(other, selection.asking())}", key=f"{key}:otherwise",
                          icon=":material/inventory_2:", on_click=selection.ask, args=(other,),
                          help="Results of it that was asked otherwise are stored. The sidebar's details then say so.")
        if go and measure(units, what):
            st.rerun()


def asked_otherwise(units: Sequence[Unit[Any]], of: int) -> Asking | None:
    """The way of asking in which more of these is stored than now, of so many results; None where that is in none, or
    in one that may not be chosen here."""
    other, stored = nearby.most_stored(units, handles.store(), selection.asking()) or (None, 0)
    if other is None or stored <= of - len(units):
        return None
    within = all(least <= number <= most for key, number in zip(selection.ASKED[1:], other[1:], strict=True)
                 for least, most in [selection.bounds(key)])
    return other if within else None


def _ask(key: str) -> None:
    """A press of "Measure now", which counts even where the run that would look at the button never comes so far."""
    st.session_state["asked to measure"] = key


def _asked(key: str) -> bool:
    """Whether the button of this offer was pressed, once; not of a page that was left meanwhile."""
    if st.session_state.get("asked to measure") != key:
        return False
    del st.session_state["asked to measure"]
    return key in st.session_state


def why_not_here(units: Iterable[Unit[Any]]) -> str:
    """Why some results cannot be measured on this machine, in a sentence; empty where they can."""
    if problem := selection.why_no_model():
        return problem
    tasks = dict.fromkeys(task for unit in units for one in (unit, *unit.needs()) if (task := one.task) is not None)
    return next(filter(None, map(handles.why_not_here, tasks)), "")


def measure(units: Sequence[Unit[Any]], what: str, on_result: Callable[[Unit[Any], Record], None] | None = None,
            on_stop: Callable[[], None] | None = None, on_wait: Callable[[], None] | None = None,
            on_answers: Callable[[Unit[Any], SoFar], None] | None = None,
            on_error: Callable[[HeadroomError], None] | None = None) -> bool:
    """Have some units measured in this session's turn, with progress and Stop; what is finished is stored and stays.

    Stop is an ordinary button: pressing it, or anything else, makes Streamlit end this run at once, and the queue the
    measurement within a batch unless somebody else wants it too. Returns False when not all was measured: something
    newer was clicked, or an error, which is then said.

    Args:
        on_result: called with each unit and its record as it is there.
        on_stop: the Stop button's callback, for pages that would measure again at the next run.
        on_wait: called once before progress is drawn, where it takes longer than a moment: until then the page can
            stand as it was.
        on_answers: called with the unit that is measured and how its answers stand: when the first are there, at once
            where the others take longer than a report, and then with each report of progress. A number that says so
            may stand where the number will.
        on_error: called with an error in place of saying it, by pages that are drawn again meanwhile.
    """
    slot, bar, said = st.empty(), None, ("", 0)
    shown: tuple[Unit[Any], SoFar] | None = None  # what `on_answers` was last called with
    started = reported = time.monotonic()
    try:
        with waiting.drawing.paused(waiting.stopped), selection.queue().ask(
                waiting.session(), "measure", units) as ticket:
            while not ticket.over:
                ticket.wait(waiting.SLICE)
                for unit, record in ticket.take():
                    if on_result is not None:
                        on_result(unit, record)
                if waiting.stopped():
                    break
                standing, now = ticket.standing(), time.monotonic()
                fresh = _answers(standing, shown) if on_answers is not None else None
                is_awaited = fresh is not None and (shown is None or shown[0] != fresh[0]) and _left(
                    fresh[1].answered / fresh[1].of, now - started) > REPORT
                if not ticket.over and (is_awaited or now - reported >= REPORT):
                    reported = now
                    if on_answers is not None and fresh is not None:
                        on_answers(*fresh)
                        shown = fresh
                    elif bar is None and on_wait is not None:
                        on_wait()
                    if bar is None:
                        with slot.container(horizontal=True, vertical_alignment="center"):
                            bar = st.progress(0.0, f"{plain(what)} …")
                            st.button("Stop", key=f"stop:{units[0].key}", icon=":material/stop:", on_click=on_stop)
                    share, text = report(standing, what, now - started)
                    if said != (said := (text, round(100 * share))):
                        bar.progress(share, plain(text))
            complete = not (ticket.dropped or ticket.standing().finished < ticket.of)
            if ticket.error is not None:
                raise ticket.error
    except HeadroomError as error:
        slot.empty()
        (on_error or say)(error)
        return False
    slot.empty()
    return complete


def say(error: HeadroomError) -> None:
    """What went wrong, in a sentence."""
    st.error(prose(error), icon=":material/error:")


def _answers(standing: Standing, shown: tuple[Unit[Any], SoFar] | None) -> tuple[Unit[Any], SoFar] | None:
    """The unit that is measured and how its answers stand; None where there are none, or no others than were shown."""
    if standing.unit is None or standing.so_far is None or (standing.unit, standing.so_far) == shown:
        return None
    return standing.unit, standing.so_far


def _left(share: float, waited: float) -> float:
    """Seconds that a measurement will still take, by how long its done share took; 0 where nothing is done."""
    return waited * (1 - share) / share if share else 0


def report(standing: Standing, what: str, waited: float) -> tuple[float, str]:
    """How it stands with a measurement: the share that is done, and words."""
    share = (standing.finished + standing.done / max(standing.total, 1)) / max(standing.of, 1)
    if standing.loading:
        return share, "Loading the model …"
    if standing.unit is None:
        n = standing.ahead
        return share, f"{what} …" + (f" {words.how_many(n, 'request').capitalize()} {'is' if n == 1 else 'are'} ahead "
                                     "of yours" if n and waited > PATIENT else "")
    left = _left(share, waited)
    eta = f" · {duration(left)} left" if left > 3 else ""
    stands = f"{standing.done} of {standing.total}"
    if standing.so_far is not None:
        right, answered, of = standing.so_far
        stands = f"{words.percent(right / answered)} so far, on {answered} of {of} questions"
    return min(share, 1.0), f"{standing.unit.task or what}: {stands}{eta}"


# --- draw and explain ---------------------------------------------------------------------------


def result(title: str, chart: Chart | HeadMap, *, caption: str, measured: str, table: pd.DataFrame, file: str,
           python: str, key: str, alt_text: str = "", on_click: Callable[[], None] | None = None,
           clickable: Plot | None = None, numbers: Sequence[tuple[str, str, str]] = (), level: int = 2) -> None:
    """One finding, complete.

    Args:
        title: the finding in words, computed from the data.
        caption: one line: n, chance, what colours and lines mean; at most about 90 characters.
        measured: the full definition, folded away; a line for each thing that is to be known (see `provenance`).
        table: what the chart draws, offered as CSV.
        file: name of the CSV, without its ending.
        python: lines that reproduce the numbers and run as shown (see `python_lines`).
        alt_text: what a screen reader says of a chart; a map brings its own.
        on_click: callback of a chart in which one can be picked.
        clickable: what is shown in the chart's place, so that its marks can be switched; the chart is its picture.
        numbers: big numbers that stand with it (see `extras`).
        level: of the title, below what it belongs to: 2 below the page's title, 3 below a section's.
    """
    known: set[str] = set()  # the caption need not explain again what the title does
    heading(title, level, known)
    if isinstance(chart, HeadMap):
        components.clickable(chart, key)
    elif clickable is not None:
        components.clickable(clickable, key)
    elif on_click is None:  # without a key, so that a chart can be drawn again while results arrive
        st.altair_chart(chart, alt=alt_text)
    else:
        st.altair_chart(chart, key=key, alt=alt_text, on_select=on_click, selection_mode=charts.CLICK)
    said = note(caption, measured, known)
    extras(table, file, python, key, title=title, caption=said, shown=[("", chart)], numbers=numbers)


def heading(title: str, level: int = 2, known: set[str] | None = None) -> None:
    """A finding as a heading, its terms explained on hover and focus."""
    st.html(notes.heading(title, level, known))


def note(line: str, measured: str = "", known: set[str] | None = None) -> str:
    """A caption, its terms explained on hover and focus, and folded behind it how the numbers are measured.

    What is passed is plain text; all of it is returned, for the page's report. What warns is no part of this: it stays
    in sight, as `st.caption` or louder.
    """
    st.html(notes.note(line, measured, known))
    return f"{line}\n{measured}".strip()


def text(said: str) -> None:
    """A paragraph of plain text, its terms explained on hover and focus."""
    st.html(notes.text(said))


def tell(said: str) -> None:
    """Markdown of our own, its terms explained on hover and focus; whatever HTML it holds is shown as it stands."""
    st.markdown(glossary.marked(said), unsafe_allow_html=True)


def picture(off: Ablation) -> None:
    """The chosen model as a picture, with what is off in it."""
    cells = shape()
    st.html(transformer.STYLE)
    st.markdown(transformer.svg(cells, off), unsafe_allow_html=True)  # `st.html` drops SVG; all text in it is ours
    note(f"{transformer.described(cells, off)}.", "At the end the residual stream, the sum, is read as logits, one for "
         "each token\nSimplified: norms are left out, and in some architectures the heads and the FFN of a layer read "
         "the same")


def side_by_side(key: str, *widths: float, gap: Literal["small", "medium", "large"] = "medium") -> list[Any]:
    """Columns of these relative widths that stack where each would be narrower than a chart needs."""
    with st.container(key=f"side-{key}"):
        return list(st.columns(list(widths), gap=gap))


def shape() -> protocol.Shape:
    """The cells that maps and plots of the chosen model have."""
    model = selection.info()
    return protocol.Shape(model.n_layers, model.n_heads, model.headless)


def numbers(key: str) -> Any:
    """A place for the few numbers that follow a map: in a narrow window they stay in sight of it."""
    return st.container(key=f"numbers-{key}")


def aligned(table: pd.DataFrame, *, percent: Sequence[str] = (), scores: Sequence[str] = (),
            p: Sequence[str] = (), whole: Sequence[str] = (), counts: Sequence[str] = ()) -> Styler:
    """The table with numbers whose digits stand below one another.

    Args:
        percent: columns of shares, shown as `19.1 %`.
        scores: columns shown with three decimals, or as `2.66e-05` where they are tiny.
        p: columns of p-values, shown as `0.031` or `< 0.001`.
        whole: columns of whole numbers.
        counts: columns of counts, or of means of counts: `9`, `9.4`.
    """
    formats: dict[str, Any] = dict.fromkeys(percent, "{:.1%}") | dict.fromkeys(whole, "{:.0f}")
    formats |= dict.fromkeys(counts, lambda value: f"{round(value, 1):g}")
    formats |= {column: "{:.2e}" if words.tiny(table[column]) else "{:.3f}" for column in scores}
    formats |= dict.fromkeys(p, lambda value: "< 0.001" if value < 0.001 else f"{value:.3f}")
    return table.style.format(formats, na_rep="–")


def table_height(n_rows: int, at_most: int = 330) -> int:
    """Pixels of a table that shows all its rows and no empty one, up to a limit from which it scrolls."""
    return min(at_most, 37 + 35 * n_rows)


def room_for(texts: Iterable[str], widest: int = 460) -> tuple[int, int]:
    """Width of a column and height of a table's rows, in pixels, in which its longest text is read whole.

    All rows of a Streamlit table have one height; text is broken into lines where that is more than one.
    """
    length = max(map(len, texts), default=0)
    width = min(widest, max(60, CHARACTER * length + 18))
    lines = -(-length * CHARACTER // (width - 18))
    return width, 35 if lines <= 1 else 15 + 20 * lines


def to_lab() -> None:
    """The way to Lab with what is chosen, always as wide: what stands below must not move under a clicking hand."""
    chosen = selection.ablation()
    st.page_link("pages/lab.py", icon=":material/science:", disabled=not chosen, width=300, label=(
        f"Switch {words.components(chosen, 2)} off in Lab" if chosen else "Nothing is chosen for Lab yet"))


def extras(table: pd.DataFrame, file: str, python: str, key: str, *, title: str, caption: str = "",
           shown: Sequence[tuple[str, Chart | HeadMap]] = (), numbers: Sequence[tuple[str, str, str]] = ()) -> None:
    """The table as CSV, the picture as SVG, and the lines of Python behind them; all of it is in the page's report.

    Args:
        title, caption: as they stand with the chart.
        shown: the charts and maps that the table is behind, each with its label where there are several.
        numbers: big numbers that belong to it: label, number, what stands below.
    """
    off = selection.value("off")
    takeaway.note(key, Figure(title, caption, table, python, shown, numbers, off))
    with st.container(horizontal=True, gap="xsmall"):
        st.download_button("CSV", lambda: table.to_csv(index=False).encode(), f"{file}.csv", "text/csv",
                           key=f"{key}:csv", on_click="ignore", type="tertiary", icon=":material/download:",
                           help="The numbers of this chart.")
        if shown:
            st.download_button("SVG", lambda: pictures.together(shown, off).encode(), f"{file}.svg", "image/svg+xml",
                               key=f"{key}:svg", on_click="ignore", type="tertiary", icon=":material/image:",
                               help="The picture, sharp at any size, on white. As PNG: hover over the chart, *Download "
                                    "as PNG*.")
        with st.popover("Python", icon=":material/code:", type="tertiary"):
            st.caption("Run this in the project's folder to get the same numbers.")
            st.code(python, wrap_lines=False)


def provenance(of: Setup | ModelId, *parts: str, shots: str = "", task: str = "", source: str = "") -> str:
    """How something is measured, for `result` and `note`: lines of what is defined, then source, setup and model.

    Args:
        parts: a sentence each, without its full stop; empty ones are left out.
        shots, task: in words, where it is not the setup's one.
        source: the publication that defines it.
    """
    lines = [*parts, f"Source: {source}" if source else ""]
    if isinstance(of, Setup):
        lines.append(f"Setup: {task or of.task}, {shots or f'{of.n_shots}-shot'}, "
                     f"{words.demonstrations(of, bool(shots))}, seed {of.seed}")
    return "\n".join(filter(None, [*lines, f"Model: {of.model if isinstance(of, Setup) else of}"]))


# --- lines that reproduce -----------------------------------------------------------------------


def python_lines(unit: Unit[Any], *before: str, table: str = "", then: Sequence[str] = (),
                 over: Sequence[tuple[TaskId, int]] = (), also: Mapping[str, Unit[Any]] | None = None,
                 given: Mapping[str, Any] | None = None) -> str:
    """Python that gets a unit's record (`record`) through `backend`, and from it the table that is shown.

    Args:
        before: lines in between.
        table: Python that makes the very table that is offered as CSV; it is then printed.
        then: lines that print what else the page says.
        over: tasks and numbers of shots to get such a record of, each; they are then `records`, in this order.
        also: further units whose records are needed, by the names that these get.
        given: values that the lines name first.
    """
    return python(unit, selection.load_lines(), *before, *shown_lines(table), *then, over=over, also=also, given=given)


def shown_lines(table: str) -> list[str]:
    """Lines that make a table and print all of it."""
    return [f"table = {table}", "print(table.to_string())"] if table else []


def printed(table: str) -> str:
    """A line that prints a further table."""
    return f"print({table}.to_string())"


def of_heads() -> str:
    """How lines of Python leave the layers without heads out of an array of scores; nothing where all have heads."""
    shape = selection.info()
    return f"[{shape.attending}]" if shape.headless else ""


def headless() -> str:
    """How lines of Python tell a table of the layers without heads; nothing where all have heads."""
    without = tuple(selection.info().headless)
    return f", headless={without}" if without else ""


def repeated_lines(head: Head, n_block: int, seed: int) -> str:
    """Python that gets a head's attention on a repeated random block, and its prefix matching there and by chance."""
    return with_imports([
        f"model = load_model({selection.load_lines()})",
        f"ids, tokens = lens.repeated_tokens(model, {n_block}, seed={seed})",
        f"pattern = lens.attention(model, ids, {head.layer})[{head.head}]",
        *shown_lines("tables.attention_table(pattern, tokens)"),
        f"print(stats.prefix_match(pattern, {n_block}), stats.prefix_match_by_chance({n_block}, 2))"])


def command_lines(units: Sequence[Unit[Any]], look: bool = True) -> str:
    """The commands that measure these units, and refuse to measure others where model or rows are elsewhere.

    Args:
        look: for rows that may have to be fetched; else they are named as if they were elsewhere.
    """
    tasks = dict.fromkeys(task for unit in units for one in (unit, *unit.needs()) if (task := one.task) is not None)
    rows = ",".join(f"{task.name}={task.digest}" for task in tasks
                    if (not look and selection.is_fetched(task.name)) or handles.why_not_here(task))
    return commands(units, [*selection.model_arguments(), *(["--rows", rows] if rows else [])])


def cost(units: Sequence[Unit[Any]]) -> str:
    """What measuring takes on this machine, as far as earlier measurements tell."""
    seconds = None
    with suppress(HeadroomError):
        shape, store = selection.info(), handles.store()
        steps = planning.of_units(units, shape, store).steps
        seconds = planning.seconds(steps, planning.rates(selection.model(), shape, store))
    return f"Takes about {duration(seconds)} on this machine." if seconds else \
        "How long it takes here is not known yet. It can be stopped at any time; what is finished stays."
