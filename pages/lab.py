"""What happens if I switch these heads and FFNs off?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from backend import stats, tables
from backend.errors import HeadroomError
from backend.kinds import Answers, Evaluation, InductionScores, PrefixMatching, Unit
from backend.records import Record
from backend.runs.queue import SoFar
from backend.tasks.task import Prompt
from backend.values import INTACT, Ablation, Head, Setup, TaskId, parse_exact
from pages.map import HeadMap, head_map, scales
from pages.shared import (
    blocks,
    charts,
    components,
    demonstrations,
    glossary,
    handles,
    living,
    selection,
    takeaway,
    verdicts,
    versus,
    words,
)
from pages.shared.plain import plain, prose
from pages.shared.report import Figure

SCOPES = ("This task", "All shots", "All tasks")
OWN, MEAN = "this task", "mean of all tasks"  # whose importance ranks the heads of a preset
CHART = "lab grid"
LIVE_PARAMETERS = 200_000_000  # models up to this size are measured at every click unless told otherwise
REDRAW = 1.5  # seconds between drawings while results arrive: a chart takes a browser about half a second
MARGINS = {  # what the numbers beside a flipped question are, by the task's metric
    "acc": "Margin: log-likelihood of the right option minus the best wrong one, in nats.",
    "acc_by_group": "A question is right when all its rows are. Margin: of the row where it is smallest, the "
                    "log-likelihood of the right option minus the best wrong one, in nats.",
    "greedy": "Right means that the model would have written exactly this word; its log-likelihood is in nats.",
}

setup, info, chosen, by = selection.current(), selection.info(), selection.ablation(), selection.definition()


# --- switch off ---------------------------------------------------------------------------------


def grid() -> None:
    """The clickable heads and FFNs, coloured by the task's head importance where that is stored."""
    record = blocks.fetch(selection.importance())
    scores = record.scores(by) if record is not None else None
    colours = scales.best_scale(info.of_heads(scores)) if scores is not None else scales.SCALES[0]
    how = "A click or a drag switches off or on; a layer's or a column's number switches all of it"
    if scores is not None:
        how = blocks.provenance(setup, how, f"Colours: head importance for {setup.task}, {setup.n_shots}-shot ({by})",
                                source=blocks.STUDY)
    coloured = blocks.note("Click or drag; numbers switch whole lines · " + (
        "colours: importance" if scores is not None else "importance is not measured for this choice"), how)

    def drawn(off: Ablation, name: str, to_do: str) -> HeadMap:
        return head_map(
            scores, shape=(info.n_layers, info.n_heads), ffns=True, scale=colours, facts=blocks.known(),
            title=f"{words.components(off)} off", headless=info.headless,
            file=f"lab-{setup.task}-{setup.n_shots}shot{name}",
            alt=f"Heads and FFNs {to_do}: {info.n_layers} layers, {info.n_heads} heads each and one FFN.")

    of_a = drawn(chosen, "", "to switch off, as the text field in the sidebar does")
    if comparing:
        versus.maps(of_a, drawn(against, "-b", "that are off in B, written in the field above"), CHART)
    else:
        components.clickable(of_a, CHART)
    if scores is not None:
        takeaway.note(CHART, Figure(
            f"{words.components(chosen)} off", coloured, tables.grid_table(scores, chosen, headless=info.headless),
            blocks.python_lines(
                selection.importance(), given={"chosen": chosen},
                table=f"tables.grid_table(record.scores({by!r}), chosen{blocks.headless()})"), [("", of_a)],
            off=selection.value("off")))


def presets() -> None:
    """Masks to start from; each replaces what is chosen, and Undo brings it back."""
    with st.popover("Presets", icon=":material/auto_fix_high:", key="presets", on_change="rerun") as popover:
        if not popover.open:
            return
        share = st.slider("Least important heads, %", 0, 100, 30, 5, key="preset share", persist_state="session")
        others = [name for name, task in selection.compared().items() if task != setup.task]
        ranking = st.selectbox("By the importance for", [OWN, MEAN, *others],
                               key="preset ranking", persist_state="session")
        st.button(f"Switch off the lowest {share} %", key="preset lowest", on_click=lowest,
                  args=(share / 100, str(ranking)), help=f"{by}, {setup.n_shots}-shot; ties in index order.")
        k = st.slider("How many heads", 1, min(64, info.n_all_heads), 8, key="preset k",
                      persist_state="session")
        st.button(f"Top {k} induction heads", key="preset induction", on_click=top_induction, args=(k,),
                  help=f"By prefix matching. {glossary.says('induction head', 'prefix matching')}")
        seed = st.number_input("Seed", 0, 10_000, 0, key="preset seed", persist_state="session")
        st.button(f"{k} random heads", key="preset random", on_click=random_heads, args=(k, int(seed)),
                  help="To hold the induction heads against: none of those, no dead head where these are known, and "
                       "from layers 1 and up, for everything needs layer 0.")


def lowest(share: float, ranking: str) -> None:
    compared = selection.compared()
    tasks: list[TaskId] = [setup.task] if ranking == OWN else list(compared.values()) if ranking == MEAN else [
        compared[ranking]]
    records = [handles.store().get(selection.importance(task)) for task in tasks]
    scores = [record.scores(by) for record in records if record is not None]
    if len(scores) < len(tasks):
        st.toast(f"The importance for {plain(ranking)} is not measured, {setup.n_shots}-shot; the Heads page offers "
                 "to.")
    else:
        ordered = [head for head in stats.lowest(stats.aggregate(scores), 1) if head in info.heads]
        replace_heads(frozenset(ordered[:stats.count(share, len(ordered))]))


def top_induction(k: int) -> None:
    record = handles.store().get(PrefixMatching(setup.model))
    if record is None:
        st.toast("Prefix matching is not measured for this model; the Induction page offers to.")
    else:
        replace_heads(frozenset(leading(record, k)))


def random_heads(k: int, seed: int) -> None:
    record = handles.store().get(PrefixMatching(setup.model))
    replace_heads(frozenset(verdicts.control(living.now().heads, leading(record, k), k, seed)))


def leading(record: InductionScores | None, k: int) -> list[Head]:
    """The k live heads of highest prefix matching; none where that is not measured."""
    alive = living.now().mask
    return [] if record is None else [
        head for head in stats.highest(np.array(record.mean), 1) if alive[head.layer, head.head]][:k]


def replace_heads(heads: frozenset[Head]) -> None:
    components.change(lambda now: Ablation(heads, now.ffns, components.preferred_fill()))


def invert() -> None:
    components.change(lambda now: Ablation(frozenset(info.heads) - now.heads, now.ffns, components.preferred_fill()),
                     "invert")


def refill() -> None:
    components.change(lambda now: now.filled(components.preferred_fill()), "fill")


def controls() -> None:
    """Presets, invert, and what stands in for what is off."""
    st.session_state["fill"] = chosen.fill if chosen else components.preferred_fill()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        presets()
        st.button("Invert heads", key="invert", on_click=invert, icon=":material/contrast:")
        versus.keep_button()
        st.segmented_control("What is off becomes", ("zero", "mean"), required=True, key="fill", on_change=refill,
                             format_func=lambda fill: "its mean" if fill == "mean" else fill, persist_state="session",
                             help=f"{glossary.says('ablation')} A mean leaves the rest of the model closer to what it "
                                  "expects.")


def picture() -> None:
    """The model with what is off in it, for those who unfold it."""
    with st.expander("The model with what is off in it", icon=":material/account_tree:", key="picture",
                     on_change="rerun") as unfolded:
        if unfolded.open:
            blocks.picture(chosen)


# --- accuracy -----------------------------------------------------------------------------------

Pair = tuple[Answers, Answers | None]  # intact, and with the chosen components off
Provisional = tuple[Ablation, SoFar]  # what is off in a model that is answering, and how its answers stand


def asked(scope: str) -> dict[str, Setup]:
    """What is measured, by its label: the chosen task, the same at every number of shots, or every task."""
    match scope:
        case "All shots":
            return {f"{n}-shot": selection.current(n_shots=n) for n in selection.SHOTS}
        case "All tasks":
            return {name: selection.current(task) for name, task in selection.compared().items()}
    return {setup.task.name: setup}


def wanted(setups: Mapping[str, Setup]) -> list[Evaluation]:
    """What the page shows, one setup after the other, the intact model first; with the chosen components off, and B."""
    masks = [INTACT, *[chosen] * bool(chosen), *[against] * comparing]
    return list(dict.fromkeys(Evaluation(one, off) for one in setups.values() for off in masks))


def stored(units: Sequence[Evaluation]) -> dict[Evaluation, Answers]:
    """The evaluations that are stored."""
    return {unit: record for unit in units if (record := blocks.fetch(unit)) is not None}


def pairs_of(setups: Mapping[str, Setup], found: Mapping[Evaluation, Answers], off: Ablation) -> dict[str, Pair]:
    """Per label the evaluations intact and with something off, as far as they are there."""
    return {label: (found[Evaluation(one)], found.get(Evaluation(one, off)) if off else None)
            for label, one in setups.items() if Evaluation(one) in found}


def one_task(pair: Pair | None, provisional: Provisional | None = None) -> None:
    """Intact and ablated accuracy of one task in large numbers that keep their place.

    Args:
        provisional: how the answers stand that are being given; it stands, marked, where their number will.
    """
    cells, labels = st.columns(3), ("Intact", "Switched off", "Change")

    def waits(i: int, why: str = "Not measured yet.") -> None:
        if provisional is None or i != bool(provisional[0]):
            cells[i].metric(plain(labels[i]), "–")
            cells[i].caption(why)
        else:
            right, answered, of = provisional[1]
            cells[i].metric(plain(labels[i]), f"≈ {words.percent(right / answered)}")
            cells[i].caption(f"So far, on {answered} of {of} questions.")

    if pair is None:
        for i in range(len(labels)):
            waits(i)
        return
    a, chance = pair[0].marks(), pair[0].questions.chance
    intact = tables.accuracy_row("intact", a, chance)
    cells[0].metric("Intact", words.percent(intact["accuracy"]))
    with cells[0]:
        blocks.note(words.interval(intact))
    if pair[1] is None:
        waits(1, "Not measured yet." if chosen else "Nothing is off yet.")
        cells[2].metric("Change", "–")
        with cells[2]:
            blocks.note(f"Chance is {words.percent(chance)}.")
        return
    b = pair[1].marks()
    off, test, (low, high) = (tables.accuracy_row("ablated", b, chance), stats.paired_test(a, b),
                              stats.difference_interval(a, b))
    cells[1].metric("Switched off", words.percent(off["accuracy"]))
    with cells[1]:
        blocks.note(words.interval(off))
    cells[2].metric("Change", words.points(off["accuracy"] - intact["accuracy"]))
    with cells[2]:
        blocks.note(f"95 %: {words.points(low).split()[0]} to {words.points(high).split()[0]} · paired test "
                    f"{words.p_value(test.p)}")


def overview(table: pd.DataFrame, setups: Mapping[str, Setup], scope: str) -> None:
    """Accuracy at every number of shots or of every group of tasks, in large numbers that keep their place."""
    groups = list(dict.fromkeys(group_of(label, one, scope) for label, one in setups.items()))
    whole = ["all tasks"] if scope == "All tasks" and len(groups) > 1 else []
    for cell, group in zip(st.columns(len(groups) + len(whole)), [*whole, *groups], strict=True):
        part = table if group in whole else table[table["group"] == group]
        means = tables.mean_rows(part)
        shown = means.get("ablated", means.get("intact"))
        change = means["ablated"]["accuracy"] - means["intact"]["accuracy"] if "ablated" in means else None
        cell.metric(plain(group[0].upper() + group[1:]), words.percent(shown["accuracy"]) if shown else "–",
                    words.points(change) if change is not None else "intact" if shown else None,
                    delta_color="off" if not change else "orange" if change < 0 else "blue",
                    delta_arrow="off" if not change else "down" if change < 0 else "up")
        with cell:
            of = f"mean of {words.how_many(shown['tasks'], 'task')} · " if shown and scope == "All tasks" else ""
            blocks.note(of + words.interval(shown) if shown else "Not measured yet.")


def group_of(label: str, one: Setup, scope: str) -> str:
    """What a label is averaged with."""
    return selection.about(one.task).group if scope == "All tasks" else label


def table_of(pairs: Mapping[str, Pair], setups: Mapping[str, Setup], scope: str) -> pd.DataFrame:
    """The comparison's table, one or two rows per label."""
    return tables.pairs_table(pairs, {label: group_of(label, setups[label], scope) for label in pairs})


def draw(pairs: Mapping[str, Pair], setups: Mapping[str, Setup], scope: str, complete: bool,
         provisional: Provisional | None = None) -> None:
    """The numbers and, for several, the chart; its extras once everything is there."""
    table, labels = table_of(pairs, setups, scope), list(setups)
    title = words.accuracy_change(table, labels, chosen, setup.task.name if scope == "All shots" else "")
    if scope == "This task":
        blocks.heading(title)
        with blocks.numbers(f"lab-{next(times)}"):
            one_task(pairs.get(labels[0]), provisional)
        if complete:
            questions = pairs[labels[0]][0].questions
            caption = blocks.note(f"n = {questions.n} questions · chance {words.percent(questions.chance)}",
                                  explain(setup))
            blocks.extras(table, f"lab-{labels[0]}-{setup.n_shots}shot", reproduce(setups, scope), "lab", title=title,
                          caption=caption, numbers=words.big_numbers(table))
        return
    with blocks.numbers(f"lab-{next(times)}"):
        overview(table, setups, scope)
    chart = charts.comparison(table, labels)
    if complete:
        shots = ", ".join(map(str, selection.SHOTS)) + " shots" if scope == "All shots" else ""
        each = " per task" * (scope == "All tasks")
        blocks.result(title, chart, caption=f"n = {int(table['n'].max())} questions{each} · grey tick: chance",
                      measured=explain(list(setups.values())[-1], shots, "each task" if scope == "All tasks" else ""),
                      table=table, file=f"lab-{scope.lower().replace(' ', '-')}", key="lab",
                      python=reproduce(setups, scope), numbers=words.group_numbers(tables.groups_table(table)),
                      alt_text=f"Accuracy of the intact and the ablated model, {', '.join(labels)}. {title}.")
    else:
        blocks.heading(title)
        st.altair_chart(chart, alt=f"Accuracy so far. {title}.")


def explain(one: Setup, shots: str = "", task: str = "") -> str:
    """How accuracy is measured and how certain it is."""
    return blocks.provenance(one, "Answer: the option of highest summed log-likelihood",
                             f"Off: {chosen.fill} ablation" if chosen else "", words.how_certain(one),
                             words.how_tested(one), shots=shots, task=task)


def reproduce(setups: Mapping[str, Setup], scope: str) -> str:
    """Python that evaluates both models on everything that is shown, and compares them."""
    one = list(setups.values())[-1]
    return blocks.python_lines(
        Evaluation(one), f"pairs = dict(zip(names, zip(records, {'ablated' if chosen else '[None] * len(records)'}, "
        "strict=True), strict=True))", "groups = dict(zip(names, averaged, strict=True))",
        table="tables.pairs_table(pairs, groups)", then=[blocks.printed("tables.groups_table(table)")],
        over=[(each.task, each.n_shots) for each in setups.values()],
        also={"ablated": Evaluation(one, chosen)} if chosen else {}, given={
            "names": tuple(setups), "averaged": tuple(group_of(label, each, scope) for label, each in setups.items())})


# --- flipped examples ---------------------------------------------------------------------------


@handles.fragment
def flips(setups: Mapping[str, Setup], pairs: Mapping[str, Pair], scope: str,
          from_b: Mapping[str, Pair] | None = None) -> None:
    """The questions that flipped; choosing among them draws nothing else again.

    Args:
        from_b: what B answers instead of the intact model, where two masks are compared.
    """
    if from_b and chosen:
        base = st.segmented_control("Questions that A answers otherwise than", ("B", "intact"), default="B",
                                    required=True, key="flips against", persist_state="session")
        from_b = from_b if base == "B" else None
    try:
        list_flips(setups, from_b or pairs, scope, ("B", "A") if from_b else ("intact", "ablated"))
    except HeadroomError as error:
        st.info(f"The questions' text is not at hand: {prose(error)}")


def list_flips(setups: Mapping[str, Setup], pairs: Mapping[str, Pair], scope: str, names: tuple[str, str]) -> None:
    """The questions whose answer changed from right to wrong or back: prompt, options, log-likelihoods.

    Args:
        names: what the two that answer are called.
    """
    masks = names == ("B", "A")
    turned = {label: tables.turned(a, b) for label, (a, b) in pairs.items() if b is not None}
    label = next(iter(turned))
    if len(turned) > 1:
        most = max(turned, key=lambda name: sum(map(len, turned[name])))
        label = str(st.selectbox("Questions whose answer changed", list(turned), index=list(turned).index(most),
                                 key=f"flips of {scope} {chosen} {names[0]} {against}", width=360,
                                 format_func=lambda name: f"{name} · {len(turned[name][0])} " + (
                                     f"right only with B, {len(turned[name][1])} with A" if masks else
                                     f"turned wrong, {len(turned[name][1])} right")))
    (lost, won), (intact, ablated) = turned[label], pairs[label]
    assert ablated is not None
    where = label if scope == "All tasks" else f"{setup.task}, {setups[label].n_shots}-shot," if scope == "All shots" \
        else setup.task.name
    blocks.heading((words.answers_apart if masks else words.answers_turned)(len(lost), len(won), where))
    if not len(lost) + len(won):
        return
    both = ("are right only with mask B", "are right only with mask A") if masks else ("turned wrong", "turned right")
    kinds = [kind for kind, which in zip(both, (lost, won), strict=True) if len(which)]
    kind = st.segmented_control("Show", kinds, default=kinds[0], required=True, key=f"flip kind {len(kinds)}{kinds[0]}",
                                label_visibility="collapsed", format_func=lambda kind: kind.removeprefix("are "))
    which = lost if kind == both[0] else won
    prompts = prompts_of(setups[label])
    table = tables.flips_table(intact, ablated, which.tolist(), prompts, names if masks else ("before", "after"))
    table = table.rename(columns={"said": "A says"}) if masks else table
    left, right = blocks.side_by_side("flips", 1, 1)
    with left:
        row = pick_row(table, f"flips {label} {kind} {intact.questions.n} {chosen} {against}",
                       f"Questions that {kind}.")
        blocks.note("Select a row to read the question.",
                    MARGINS.get(intact.questions.metric, MARGINS["acc"]))
    with right:
        one_outcome(int(which[row]), intact, ablated, prompts, names)


def pick_row(table: pd.DataFrame, key: str, alt: str, first: int = 0) -> int:
    """The row of a table that is selected; one always is."""
    numbers = {name: st.column_config.NumberColumn(format="%.2f") for name in table if table[name].dtype == float}
    picked = st.dataframe(table, hide_index=True, height=blocks.table_height(len(table)), key=key, alt=alt,
                          on_select="rerun", selection_mode="single-row-required",
                          selection_default={"selection": {"rows": [first]}}, column_config=numbers)
    return int(min((picked.selection.rows or [first])[0], len(table) - 1))


def one_outcome(outcome: int, intact: Answers, ablated: Answers, prompts: Mapping[int, Prompt],
                names: tuple[str, str]) -> None:
    """What turned, in full: its query or, of a group that is right together, one of its queries."""
    places = intact.questions.outcome_docs[outcome]
    q = places[0]
    if intact.questions.metric == "acc_by_group":
        group = tables.group_table(intact, ablated, outcome, prompts, names)
        st.caption(f"One question of {words.how_many(len(places), 'row')}, right when all of them are.")
        q = places[pick_row(group, f"group {outcome} {chosen} {names} {against}", "The rows that are right together.",
                            int(group["turned"].to_numpy().argmax()))]
    example(prompts[intact.questions.docs[q]], intact, ablated, q, names)


def prompts_of(one: Setup) -> dict[int, Prompt]:
    """The prompts that were asked, by row. Raises: DataError: if the rows are not here."""
    return {prompt.doc: prompt for prompt in handles.prompts(one)}


def example(prompt: Prompt, intact: Answers, ablated: Answers, q: int, names: tuple[str, str]) -> None:
    """One question in full, with every option's log-likelihood before and after."""
    for _ in range(intact.questions.dropped_demos[q] if intact.questions.dropped_demos else 0):
        prompt = prompt.without_first_demo()
    st.code(prompt.prefix + prompt.example.contexts[0], language=None, wrap_lines=True, height=190)
    st.dataframe(tables.options_table(prompt, intact, ablated, q, names), hide_index=True,
                 alt="Options with log-likelihoods.", column_config={
                     name: st.column_config.NumberColumn(format="%.2f", help="log-likelihood, nats") for name in names})


# --- history ------------------------------------------------------------------------------------


def remember(off: Ablation, setups: Mapping[str, Setup], pairs: Mapping[str, Pair], scope: str) -> None:
    """Keep a mask and what it did, for this session."""
    history: dict[tuple[str, ...], dict[str, object]] = st.session_state.setdefault("history", {})
    outcomes = {label: (a.marks(), b.marks()) for label, (a, b) in pairs.items() if b is not None}
    what = [(f"{len(pairs)} tasks", setup.n_shots, list(outcomes.values()))] if scope == "All tasks" else \
        [(setup.task.name, setups[label].n_shots, [pair]) for label, pair in outcomes.items()]
    for where, n_shots, both in what:
        key = (where, repr(setup.with_(n_shots=n_shots)), str(off))
        if key not in history:
            history[key] = tables.tried_row(off, where, n_shots, both)


def take_up() -> None:
    """One row is switched off again; of two the newer becomes A and the older B."""
    tried = list(st.session_state["history"].values())[::-1]
    rows = sorted(st.session_state[f"history table {len(tried)}"].selection.rows)
    masks = [parse_exact(str(tried[row]["off"])) for row in rows]
    if len(masks) == 1:
        components.choose(masks[0])
    elif len(masks) == 2:
        components.compare_masks(*masks)
    elif masks:
        st.toast("Two rows at a time can be compared: clear one of them.")


def keep() -> None:
    """Give the mask a name, which travels in the address, and hand it on."""
    names: dict[str, str] = st.session_state.setdefault("mask names", {})
    if "named mask" in st.session_state and st.session_state["named mask"] != str(chosen):
        st.session_state["name"] = names.get(str(chosen), "")
    st.session_state["named mask"] = str(chosen)
    left, right = blocks.side_by_side("keep", 1, 1)
    name = left.text_input("Name this mask", key="name", bind="query-params", max_chars=60,
                           placeholder="for the table below, and for those you send it to")
    names[str(chosen)] = name or ""
    with right:
        st.caption("To share it, copy this address:")
        st.code(selection.permalink(name=name or ""), language=None, wrap_lines=True)


def history() -> None:
    """What was tried in this session, newest first; a click brings a mask back, two compare two."""
    tried = list(st.session_state.get("history", {}).values())[::-1]
    if not tried:
        return
    names = st.session_state.get("mask names", {})
    table = pd.DataFrame([{"name": names.get(str(row["off"])) or "", **row} for row in tried])
    blocks.heading(f"{words.how_many(table['off'].nunique(), 'mask').capitalize()} tried")
    shares = ("intact", "ablated", "change", "95 % from", "to")  # written by the browser: it grows with every click
    width, height = blocks.room_for(table["off"])
    st.dataframe(table, hide_index=True, alt="Masks tried so far.", on_select=take_up, selection_mode="multi-row",
                 key=f"history table {len(tried)}",  # a new row on top must not make another one selected
                 row_height=height, column_config={"off": st.column_config.TextColumn(width=width), **{
                     name: st.column_config.NumberColumn(format="percent") for name in shares}})
    blocks.note("Select a row to switch the same components off again, two rows to compare them as A and B.",
                "Change: ablated minus intact on the same questions, with its 95 % interval")


# --- the page -----------------------------------------------------------------------------------

st.title("Lab")
blocks.text("What happens if I switch these heads and FFNs off? Accuracy follows every click.")
comparing = versus.is_on()
# Each layout has a place of its own, and empties the other's at once: else that one's widgets would stand beside the
# same widgets of this one until the page is drawn.
one_mask, two_masks = (st.empty(), st.container()) if comparing else (st.container(), st.empty())
if comparing:
    right, left = two_masks.container(), two_masks.container()  # the numbers stay in sight above two maps
    with left:
        of_a, of_b = blocks.side_by_side("versus tools", 1, 1)
        with of_a:
            controls()
        with of_b:
            versus.field()
            versus.buttons()
        against = selection.against()
        grid()
        picture()
else:
    with one_mask:
        left, right = blocks.side_by_side("lab", 5, 6, gap="large")
    with left:
        against = INTACT
        controls()
        grid()
        picture()
        versus.field()
below, offered = st.empty(), st.container()
times = count()  # that the numbers were drawn in this run: each time in a place of its own name
with right:
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        scope = str(selection.control("Measure", SCOPES, "scope", label_visibility="collapsed"))
        live = st.toggle("As I click", value=info.n_params <= LIVE_PARAMETERS, key="live", persist_state="session",
                         help="Measure at once whenever something is switched. Off: only when asked to.")
        progress = versus.place_for_progress() if comparing else nullcontext()
    setups = asked(scope)
    units = wanted(setups)
    found = stored(units)
    todo = [unit for unit in units if unit not in found]
    with versus.place_for_numbers() if comparing else nullcontext():
        slot = st.empty()

    def both() -> versus.Comparison:
        return versus.Comparison(setups, scope, dict(found), chosen, against)

    def show(complete: bool, provisional: Provisional | None = None) -> None:
        if not comparing:
            with slot.container():
                draw(pairs_of(setups, found, chosen), setups, scope, complete, provisional)
            return
        known = both()
        with slot.container():
            versus.numbers(known)
        with below.container():
            versus.results(known, complete)

    mask = f"{chosen} {against} {scope} {setup}"
    stopped = st.session_state.get("stopped") == mask or not live
    if stopped or not todo:
        show(not todo)
    if todo and stopped:
        with offered if comparing else nullcontext():  # nothing may move a map under a clicking hand
            blocks.offer(todo, "accuracy with mask A and with mask B" if comparing else "accuracy without "
                         + words.components(chosen) if chosen else "intact accuracy", of=len(units))
    elif todo:
        drawn = [time.monotonic()]

        def arrived(unit: Unit[Any], record: Record) -> None:
            """Show results as they come, but spend less time on drawing than on measuring."""
            assert isinstance(unit, Evaluation)
            assert isinstance(record, Answers)
            found[unit] = record
            if time.monotonic() - drawn[0] > REDRAW:
                show(False)
                drawn[0] = time.monotonic()

        def answers(unit: Unit[Any], so_far: SoFar) -> None:
            """A number of the one task before it is complete."""
            assert isinstance(unit, Evaluation)
            show(False, (unit.ablation, so_far))

        with progress:
            done = blocks.measure(todo, "accuracy", arrived, on_wait=lambda: show(False),
                                  on_answers=answers if scope == "This task" and not comparing else None,
                                  on_stop=lambda: st.session_state.update(stopped=mask))
        show(done)
        todo = [] if done else todo
pairs = pairs_of(setups, found, chosen)
blocks.say_too_long((Evaluation(setups[label]), intact) for label, (intact, _) in pairs.items())
for off in (against, chosen):
    if off and not todo:
        remember(off, setups, pairs_of(setups, found, off), scope)
if (chosen or comparing) and not todo:
    flips(setups, pairs, scope, both().pairs() if comparing else None)
with st.expander("What does each demonstration do?", icon=":material/format_list_numbered:", key="influences",
                 on_change="rerun") as unfolded:
    if unfolded.open:
        demonstrations.influence()
if chosen:
    keep()
history()
