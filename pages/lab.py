"""What happens if I switch these heads and FFNs off?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from backend import stats, tables
from backend.errors import HeadroomError
from backend.kinds import Answers, Evaluation, PrefixMatching, Unit
from backend.records import Record
from backend.tasks.task import Prompt
from backend.values import Ablation, Head, Setup, TaskId, parse_exact
from pages.map import head_map, scales
from pages.shared import blocks, charts, components, handles, selection, words

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
    st.caption("Click to switch off or on, or drag across several; a layer's or a column's number switches all of it. "
               + (f"Colours: head importance for {setup.task}, {setup.n_shots}-shot ({by})." if scores is not None else
                  "Head importance is not measured for this choice."))
    components.clickable(head_map(
        scores, shape=(info.n_layers, info.n_heads), ffns=True, scale=colours, title=f"{words.components(chosen)} off",
        facts=blocks.known(), headless=info.headless, file=f"lab-{setup.task}-{setup.n_shots}shot",
        alt=f"Heads and FFNs to switch off: {info.n_layers} layers, {info.n_heads} heads each and one FFN. The text "
            "field in the sidebar does the same."), CHART)


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
        k = st.slider("How many heads", 1, min(64, len(info.heads)), 8, key="preset k",
                      persist_state="session")
        st.button(f"Top {k} induction heads", key="preset induction", on_click=top_induction, args=(k,),
                  help="By prefix matching on repeated random tokens.")
        seed = st.number_input("Seed", 0, 10_000, 0, key="preset seed", persist_state="session")
        st.button(f"{k} random heads", key="preset random", on_click=random_heads, args=(k, int(seed)),
                  help="From layers 1 and up: everything needs layer 0, which would make the comparison unfair.")


def lowest(share: float, ranking: str) -> None:
    compared = selection.compared()
    tasks: list[TaskId] = [setup.task] if ranking == OWN else list(compared.values()) if ranking == MEAN else [
        compared[ranking]]
    records = [handles.store().get(selection.importance(task)) for task in tasks]
    scores = [record.scores(by) for record in records if record is not None]
    if len(scores) < len(tasks):
        st.toast(f"The importance for {ranking} is not measured, {setup.n_shots}-shot; the Heads page offers to.")
    else:
        ordered = [head for head in stats.lowest(stats.aggregate(scores), 1) if head in info.heads]
        replace_heads(frozenset(ordered[:stats.count(share, len(ordered))]))


def top_induction(k: int) -> None:
    record = handles.store().get(PrefixMatching(setup.model))
    if record is None:
        st.toast("Prefix matching is not measured for this model; the Induction page offers to.")
    else:
        replace_heads(frozenset([h for h in stats.highest(np.array(record.mean), 1) if h in info.heads][:k]))


def random_heads(k: int, seed: int) -> None:
    pool = [head for head in info.heads if head.layer > 0]
    picked = np.random.default_rng(seed).permutation(len(pool))[:k]
    replace_heads(frozenset(pool[i] for i in picked))


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
        st.segmented_control("What is off becomes", ("zero", "mean"), required=True, key="fill", on_change=refill,
                             format_func=lambda fill: "its mean" if fill == "mean" else fill, persist_state="session",
                             help="zero: what it would add becomes 0. its mean: the mean of its output over the task's "
                                  "training prompts, which leaves the rest of the model closer to what it expects.")


def picture() -> None:
    """The model with what is off in it, for those who unfold it."""
    with st.expander("The model with what is off in it", icon=":material/account_tree:", key="picture",
                     on_change="rerun") as unfolded:
        if unfolded.open:
            blocks.picture(chosen)


# --- accuracy -----------------------------------------------------------------------------------

Pair = tuple[Answers, Answers | None]  # intact, and with the chosen components off


def asked(scope: str) -> dict[str, Setup]:
    """What is measured, by its label: the chosen task, the same at every number of shots, or every task."""
    match scope:
        case "All shots":
            return {f"{n}-shot": selection.current(n_shots=n) for n in selection.SHOTS}
        case "All tasks":
            return {name: selection.current(task) for name, task in selection.compared().items()}
    return {setup.task.name: setup}


def stored(setups: Mapping[str, Setup]) -> dict[str, Pair]:
    """Per label both evaluations, as far as they are stored."""
    pairs: dict[str, Pair] = {}
    for name, one in setups.items():
        intact = blocks.fetch(Evaluation(one))
        if intact is not None:
            pairs[name] = (intact, blocks.fetch(evaluation(one)) if chosen else None)
    return pairs


def evaluation(one: Setup) -> Evaluation:
    """With the chosen components off; means are those of as many training prompts as everywhere."""
    return Evaluation(one, chosen)


def missing(setups: Mapping[str, Setup], pairs: Mapping[str, Pair]) -> list[Evaluation]:
    """What is still to be measured, one after the other, the intact model first."""
    units = []
    for name, one in setups.items():
        if name not in pairs:
            units.append(Evaluation(one))
        if chosen and (name not in pairs or pairs[name][1] is None):
            units.append(evaluation(one))
    return units


def one_task(pair: Pair | None) -> None:
    """Intact and ablated accuracy of one task in large numbers that keep their place."""
    cells = st.columns(3)
    if pair is None:
        for cell, label in zip(cells, ("Intact", "Switched off", "Change"), strict=True):
            cell.metric(label, "–")
            cell.caption("Not measured yet.")
        return
    a, chance = pair[0].outcomes(), pair[0].questions.chance
    intact = tables.accuracy_row("intact", a, chance)
    cells[0].metric("Intact", words.percent(intact["accuracy"]))
    cells[0].caption(words.interval(intact))
    if pair[1] is None:
        cells[1].metric("Switched off", "–")
        cells[1].caption("Not measured yet." if chosen else "Nothing is off yet.")
        cells[2].metric("Change", "–")
        cells[2].caption(f"Chance is {words.percent(chance)}.")
        return
    b = pair[1].outcomes()
    off, test, (low, high) = (tables.accuracy_row("ablated", b, chance), stats.mcnemar(a, b),
                              stats.difference_interval(a, b))
    cells[1].metric("Switched off", words.percent(off["accuracy"]))
    cells[1].caption(words.interval(off))
    cells[2].metric("Change", words.points(off["accuracy"] - intact["accuracy"]))
    cells[2].caption(f"95 %: {words.points(low).split()[0]} to {words.points(high).split()[0]} · McNemar "
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
        cell.metric(group[0].upper() + group[1:], words.percent(shown["accuracy"]) if shown else "–",
                    words.points(change) if change is not None else "intact" if shown else None,
                    delta_color="off" if not change else "orange" if change < 0 else "blue",
                    delta_arrow="off" if not change else "down" if change < 0 else "up")
        cell.caption((f"mean of {words.how_many(shown['tasks'], 'task')}  \n" if scope == "All tasks" else "")
                     + words.interval(shown) if shown else "Not measured yet.")


def group_of(label: str, one: Setup, scope: str) -> str:
    """What a label is averaged with."""
    return selection.about(one.task).group if scope == "All tasks" else label


def table_of(pairs: Mapping[str, Pair], setups: Mapping[str, Setup], scope: str) -> pd.DataFrame:
    """The comparison's table, one or two rows per label."""
    return tables.comparison_table(
        list(pairs), [group_of(label, setups[label], scope) for label in pairs],
        [a.outcomes() for a, _ in pairs.values()], [b.outcomes() if b is not None else None for _, b in pairs.values()],
        [a.questions.chance for a, _ in pairs.values()])


def draw(pairs: Mapping[str, Pair], setups: Mapping[str, Setup], scope: str, complete: bool) -> None:
    """The numbers and, for several, the chart; its extras once everything is there."""
    table, labels = table_of(pairs, setups, scope), list(setups)
    title = words.accuracy_change(table, labels, chosen, setup.task.name if scope == "All shots" else "")
    if scope == "This task":
        st.markdown(f"#### {title}")
        one_task(pairs.get(labels[0]))
        if complete:
            st.caption(explain(pairs[labels[0]][0].questions.n, setup,
                               f"chance {words.percent(pairs[labels[0]][0].questions.chance)}"))
            blocks.extras(table, f"lab-{labels[0]}-{setup.n_shots}shot", reproduce(setups), "lab")
        return
    overview(table, setups, scope)
    chart = charts.comparison(table, labels)
    if complete:
        shots = ", ".join(map(str, selection.SHOTS)) + " shots" if scope == "All shots" else ""
        blocks.result(title, chart, caption=explain(int(table["n"].max()), setup, "grey tick: chance", shots,
                                                   "each task" if scope == "All tasks" else ""),
                      table=table, file=f"lab-{scope.lower().replace(' ', '-')}", python=reproduce(setups), key="lab",
                      alt_text=f"Accuracy of the intact and the ablated model, {', '.join(labels)}. {title}.")
    else:
        st.markdown(f"#### {title}")
        st.altair_chart(chart, alt=f"Accuracy so far. {title}.")


def explain(n: int, one: Setup, chance: str, shots: str = "", task: str = "") -> str:
    """The caption: what is shown and how certain it is."""
    return blocks.provenance(one, f"n = {n} questions" + " per task" * bool(task), chance,
                             "answer: the option of highest summed log-likelihood",
                             f"{chosen.fill} ablation" if chosen else "", "95 % Wilson intervals",
                             "exact McNemar test on the same questions", shots=shots, task=task)


def reproduce(setups: Mapping[str, Setup]) -> str:
    one = next(iter(setups.values()))
    if len(setups) == 1:
        return blocks.python_lines(evaluation(one), "print(record.outcomes().mean())")
    return blocks.python_lines(evaluation(one),
                               "print([float(record.outcomes().mean()) for record in records])",
                               over=[(each.task, each.n_shots) for each in setups.values()])


# --- flipped examples ---------------------------------------------------------------------------


@st.fragment
def flips(setups: Mapping[str, Setup], pairs: Mapping[str, Pair], scope: str) -> None:
    """The questions that flipped; choosing among them draws nothing else again."""
    try:
        list_flips(setups, pairs, scope)
    except HeadroomError as error:
        st.info(f"The questions' text is not at hand: {error}")


def list_flips(setups: Mapping[str, Setup], pairs: Mapping[str, Pair], scope: str) -> None:
    """The questions whose answer changed from right to wrong or back: prompt, options, log-likelihoods."""
    turned = {label: tables.turned(a, b) for label, (a, b) in pairs.items() if b is not None}
    label = next(iter(turned))
    if len(turned) > 1:
        most = max(turned, key=lambda name: sum(map(len, turned[name])))
        label = str(st.selectbox("Questions whose answer changed", list(turned), index=list(turned).index(most),
                                 key=f"flips of {scope} {chosen}", width=360, format_func=lambda name: (
                                     f"{name} · {len(turned[name][0])} turned wrong, {len(turned[name][1])} right")))
    (lost, won), (intact, ablated) = turned[label], pairs[label]
    assert ablated is not None
    where = label if scope == "All tasks" else f"{setup.task}, {setups[label].n_shots}-shot," if scope == "All shots" \
        else setup.task.name
    st.markdown(f"#### {words.answers_turned(len(lost), len(won), where)}")
    if not len(lost) + len(won):
        return
    kinds = [kind for kind, which in (("turned wrong", lost), ("turned right", won)) if len(which)]
    kind = st.segmented_control("Show", kinds, default=kinds[0], required=True, key=f"flip kind {len(kinds)}{kinds[0]}",
                                label_visibility="collapsed")
    which = lost if kind == "turned wrong" else won
    prompts = prompts_of(setups[label])
    table = tables.flips_table(intact, ablated, which.tolist(), prompts)
    left, right = blocks.side_by_side("flips", 1, 1)
    with left:
        row = pick_row(table, f"flips {label} {kind} {intact.questions.n} {chosen}", f"Questions that {kind}.")
        st.caption(f"{MARGINS.get(intact.questions.metric, MARGINS['acc'])} Select a row.")
    with right:
        one_outcome(int(which[row]), intact, ablated, prompts)


def pick_row(table: pd.DataFrame, key: str, alt: str, first: int = 0) -> int:
    """The row of a table that is selected; one always is."""
    numbers = {name: st.column_config.NumberColumn(format="%.2f") for name in table if table[name].dtype == float}
    picked = st.dataframe(table, hide_index=True, height=blocks.table_height(len(table)), key=key, alt=alt,
                          on_select="rerun", selection_mode="single-row-required",
                          selection_default={"selection": {"rows": [first]}}, column_config=numbers)
    return int(min((picked.selection.rows or [first])[0], len(table) - 1))


def one_outcome(outcome: int, intact: Answers, ablated: Answers, prompts: Mapping[int, Prompt]) -> None:
    """What turned, in full: its query or, of a group that is right together, one of its queries."""
    places = intact.questions.outcome_docs[outcome]
    q = places[0]
    if intact.questions.metric == "acc_by_group":
        group = tables.group_table(intact, ablated, outcome, prompts)
        st.caption(f"One question of {words.how_many(len(places), 'row')}, right when all of them are.")
        q = places[pick_row(group, f"group {outcome} {chosen}", "The rows that are right together.",
                            int(group["turned"].to_numpy().argmax()))]
    example(prompts[intact.questions.docs[q]], intact, ablated, q)


def prompts_of(one: Setup) -> dict[int, Prompt]:
    """The prompts that were asked, by row. Raises: DataError: if the rows are not here."""
    return {prompt.doc: prompt for prompt in handles.prompts(one)}


def example(prompt: Prompt, intact: Answers, ablated: Answers, q: int) -> None:
    """One question in full, with every option's log-likelihood before and after."""
    for _ in range(intact.questions.dropped_demos[q] if intact.questions.dropped_demos else 0):
        prompt = prompt.without_first_demo()
    st.code(prompt.prefix + prompt.example.contexts[0], language=None, wrap_lines=True, height=190)
    st.dataframe(tables.options_table(prompt, intact, ablated, q), hide_index=True, alt="Options with log-likelihoods.",
                 column_config={name: st.column_config.NumberColumn(format="%.2f", help="log-likelihood, nats")
                                for name in ("intact", "ablated")})


# --- history ------------------------------------------------------------------------------------


def remember(setups: Mapping[str, Setup], pairs: Mapping[str, Pair], scope: str) -> None:
    """Keep this mask and what it did, for this session."""
    history: dict[tuple[str, ...], dict[str, object]] = st.session_state.setdefault("history", {})
    outcomes = {label: (a.outcomes(), b.outcomes()) for label, (a, b) in pairs.items() if b is not None}
    what = [(f"{len(pairs)} tasks", setup.n_shots, list(outcomes.values()))] if scope == "All tasks" else \
        [(setup.task.name, setups[label].n_shots, [pair]) for label, pair in outcomes.items()]
    for where, n_shots, both in what:
        key = (where, repr(setup.with_(n_shots=n_shots)), str(chosen))
        if key not in history:
            history[key] = tables.tried_row(chosen, where, n_shots, both)


def reload_mask() -> None:
    rows = st.session_state["history table"].selection.rows
    tried = list(st.session_state["history"].values())[::-1]
    if rows:
        components.choose(parse_exact(str(tried[rows[0]]["off"])))


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
    """What was tried in this session, newest first; a click brings a mask back."""
    tried = list(st.session_state.get("history", {}).values())[::-1]
    if not tried:
        return
    names = st.session_state.get("mask names", {})
    table = pd.DataFrame([{"name": names.get(str(row["off"])) or "", **row} for row in tried])
    st.markdown(f"#### {words.how_many(table['off'].nunique(), 'mask').capitalize()} tried")
    width, height = blocks.room_for(table["off"])
    st.dataframe(blocks.aligned(table, percent=("intact", "ablated", "change", "95 % from", "to")), hide_index=True,
                 key="history table", on_select=reload_mask, selection_mode="single-row", alt="Masks tried so far.",
                 row_height=height, column_config={"off": st.column_config.TextColumn(width=width)})
    st.caption("Select a row to switch the same components off again. Change: ablated minus intact on the same "
               "questions, with its 95 % paired bootstrap interval.")


# --- the page -----------------------------------------------------------------------------------

st.title("Lab")
st.markdown("What happens if I switch these heads and FFNs off? Accuracy follows every click.")
left, right = blocks.side_by_side("lab", 5, 6, gap="large")
with left:
    controls()
    grid()
    picture()
with right:
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        scope = str(selection.control("Measure", SCOPES, "scope", label_visibility="collapsed"))
        live = st.toggle("As I click", value=info.n_params <= LIVE_PARAMETERS, key="live", persist_state="session",
                         help="Measure at once whenever something is switched. Off: only when asked to.")
    setups = asked(scope)
    label_of = {one: label for label, one in setups.items()}
    pairs = stored(setups)
    todo = missing(setups, pairs)
    slot = st.empty()

    def show(complete: bool) -> None:
        with slot.container():
            draw(pairs, setups, scope, complete)

    mask = f"{chosen} {scope} {setup}"
    stopped = st.session_state.get("stopped") == mask or not live
    if stopped or not todo:
        show(not todo)
    if todo and stopped:
        blocks.offer(todo, "accuracy without " + words.components(chosen) if chosen else "intact accuracy",
                     of=len(setups) * (2 if chosen else 1))
    elif todo:
        drawn = [time.monotonic()]

        def arrived(unit: Unit[Any], record: Record) -> None:
            """Show results as they come, but spend less time on drawing than on measuring."""
            assert isinstance(unit, Evaluation)
            assert isinstance(record, Answers)
            label = label_of[unit.setup]
            pairs[label] = (pairs[label][0], record) if unit.ablation else (record, None)
            if time.monotonic() - drawn[0] > REDRAW:
                show(False)
                drawn[0] = time.monotonic()

        done = blocks.measure(todo, "accuracy", arrived, on_wait=lambda: show(False),
                              on_stop=lambda: st.session_state.update(stopped=mask))
        show(done)
        todo = [] if done else todo
blocks.say_too_long((Evaluation(setups[label]), intact) for label, (intact, _) in pairs.items())
if chosen and not todo:
    remember(setups, pairs, scope)
    flips(setups, pairs, scope)
if chosen:
    keep()
history()
