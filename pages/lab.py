"""What happens if I switch these heads and FFNs off?"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st

from backend import service, stats
from backend.components import INTACT, Ablation, Head, parse_exact
from backend.errors import HeadroomError
from backend.results import Evaluation, HeadImportance, InductionScores, Record, Setup, Unit
from backend.tasks.task import Prompt, Task, iter_prompts
from pages.shared import blocks, charts, handles, selection

SCOPES = ("This task", "All tasks")
CHART = "lab grid"
LIVE_PARAMETERS = 200_000_000  # models up to this size are measured at every click unless told otherwise
REDRAW = 0.4  # seconds between drawings while results arrive
SHOWN = 60  # characters of a question in the list of flipped examples

setup, info, chosen, by = selection.current(), selection.info(), selection.ablation(), selection.definition()


# --- switch off ---------------------------------------------------------------------------------


def grid() -> None:
    """The clickable heads and FFNs, coloured by the task's head importance where that is stored."""
    record = blocks.fetch(service.head_importance(setup))
    scores = record.scores(by) if record is not None else None
    table = charts.grid_table(scores, chosen, shape=(info.n_layers, info.n_heads), ffns=True)
    st.caption(f"Click to switch off or on. Colours: head importance for {setup.task}, {setup.n_shots}-shot ({by})."
               if scores is not None else "Click to switch off or on. Head importance is not measured for this choice.")
    st.altair_chart(charts.layers_by_heads(table), key=CHART, on_select=lambda: selection.toggle_clicked(CHART),
                    selection_mode=charts.CLICK,
                    alt=f"Grid of {info.n_layers} layers, {info.n_heads} heads each and one FFN. "
                        f"Switched off: {charts.components(chosen)}. The text field in the sidebar does the same.")


def presets() -> None:
    """Masks to start from; each replaces what is chosen, and Undo brings it back."""
    with st.popover("Presets", icon=":material/auto_fix_high:"):
        share = st.slider("Least important heads, %", 0, 100, 30, 5, key="preset share", persist_state="session")
        st.button(f"Switch off the lowest {share} %", key="preset lowest", on_click=lowest, args=(share / 100,),
                  help="By the importance that colours the grid; ties in index order.")
        k = st.slider("How many heads", 1, min(64, info.n_layers * info.n_heads), 8, key="preset k",
                      persist_state="session")
        st.button(f"Top {k} induction heads", key="preset induction", on_click=top_induction, args=(k,),
                  help="By prefix matching on repeated random tokens.")
        seed = st.number_input("Seed", 0, 10_000, 0, key="preset seed", persist_state="session")
        st.button(f"{k} random heads", key="preset random", on_click=random_heads, args=(k, int(seed)),
                  help="From layers 1 and up: everything needs layer 0, which would make the comparison unfair.")


def lowest(share: float) -> None:
    record = service.fetch(service.head_importance(setup), handles.store())
    if not isinstance(record, HeadImportance):
        st.toast("Head importance is not measured for this choice; the Heads page offers to.")
    else:
        replace_heads(frozenset(stats.lowest(record.scores(by), share)))


def top_induction(k: int) -> None:
    record = service.fetch(service.prefix_matching(setup), handles.store())
    if not isinstance(record, InductionScores):
        st.toast("Prefix matching is not measured for this model; the Induction page offers to.")
    else:
        replace_heads(frozenset(stats.highest(np.array(record.mean), 1)[:k]))


def random_heads(k: int, seed: int) -> None:
    pool = [Head(layer, head) for layer in range(1, info.n_layers) for head in range(info.n_heads)]
    picked = np.random.default_rng(seed).permutation(len(pool))[:k]
    replace_heads(frozenset(pool[i] for i in picked))


def replace_heads(heads: frozenset[Head]) -> None:
    selection.choose(Ablation(heads, chosen.ffns, selection.preferred_fill()))


def invert() -> None:
    everything = {Head(layer, head) for layer in range(info.n_layers) for head in range(info.n_heads)}
    replace_heads(frozenset(everything - chosen.heads))


def refill() -> None:
    selection.choose(chosen.filled(selection.preferred_fill()))


def controls() -> None:
    """Presets, invert, and what stands in for what is off."""
    st.session_state["fill"] = chosen.fill if chosen else selection.preferred_fill()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        presets()
        st.button("Invert heads", key="invert", on_click=invert, icon=":material/contrast:")
        st.segmented_control("Replaced by", ("zero", "mean"), required=True, key="fill",
                             on_change=refill, persist_state="session", label_visibility="collapsed",
                             help="zero: the output of what is off becomes 0. mean: it becomes its mean over the "
                                  "task's training prompts.")


# --- accuracy -----------------------------------------------------------------------------------

Pair = tuple[Evaluation, Evaluation | None]  # intact, and with the chosen components off


def stored(setups: Mapping[str, Setup]) -> dict[str, Pair]:
    """Per task both evaluations, as far as they are stored."""
    pairs: dict[str, Pair] = {}
    for name, one in setups.items():
        intact = blocks.fetch(service.evaluation(one, INTACT))
        if intact is not None:
            pairs[name] = (intact, blocks.fetch(service.evaluation(one, chosen)) if chosen else None)
    return pairs


def missing(setups: Mapping[str, Setup], pairs: Mapping[str, Pair]) -> list[Unit]:
    """What is still to be measured, task by task, the intact model first."""
    units = []
    for name, one in setups.items():
        if name not in pairs:
            units.append(service.evaluation(one, INTACT))
        if chosen and (name not in pairs or pairs[name][1] is None):
            units.append(service.evaluation(one, chosen))
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
    intact = charts.accuracy_row("intact", a, chance)
    cells[0].metric("Intact", charts.percent(intact["accuracy"]))
    cells[0].caption(charts.interval(intact))
    if pair[1] is None:
        cells[1].metric("Switched off", "–")
        cells[1].caption("Not measured yet." if chosen else "Nothing is off yet.")
        cells[2].metric("Change", "–")
        cells[2].caption(f"Chance is {charts.percent(chance)}.")
        return
    b = pair[1].outcomes()
    off, test, (low, high) = (charts.accuracy_row("ablated", b, chance), stats.mcnemar(a, b),
                              stats.difference_interval(a, b))
    cells[1].metric("Switched off", charts.percent(off["accuracy"]))
    cells[1].caption(charts.interval(off))
    cells[2].metric("Change", charts.points(off["accuracy"] - intact["accuracy"]))
    cells[2].caption(f"95 %: {charts.points(low).split()[0]} to {charts.points(high).split()[0]} · McNemar "
                     f"{charts.p_value(test.p)}")


def all_tasks(table: pd.DataFrame) -> None:
    """Mean accuracy of every group of tasks, before and after, in large numbers that keep their place."""
    groups = list(dict.fromkeys(task.group for task in selection.suite().values()))
    cells = st.columns(len(groups) + (len(groups) > 1))
    for cell, group in zip(cells, ["all tasks", *groups] if len(groups) > 1 else groups, strict=True):
        part = table if group in ("all tasks", "paper") else table[table["group"] == group]
        means = part.groupby("model")["accuracy"].mean() if len(part) else {}
        n_tasks = part["task"].nunique() if len(part) else 0
        if "ablated" in means and (part["model"] == "ablated").sum() == n_tasks:
            change = means["ablated"] - means["intact"]
            cell.metric(group.capitalize(), charts.percent(means["ablated"]), charts.points(change),
                        delta_color="off" if abs(change) < 0.0005 else "orange" if change < 0 else "blue",
                        delta_arrow="off" if abs(change) < 0.0005 else "down" if change < 0 else "up")
        else:
            cell.metric(group.capitalize(), charts.percent(means["intact"]) if "intact" in means else "–",
                        "intact" if "intact" in means else None, delta_color="off", delta_arrow="off")
        cell.caption(f"mean of {charts.how_many(n_tasks, 'task')}")


def table_of(pairs: Mapping[str, Pair]) -> pd.DataFrame:
    """The comparison's table, one or two rows per task."""
    known = selection.tasks()
    return charts.comparison_table(
        list(pairs), [known[name].group for name in pairs], [a.outcomes() for a, _ in pairs.values()],
        [b.outcomes() if b is not None else None for _, b in pairs.values()],
        [a.questions.chance for a, _ in pairs.values()])


def finding(table: pd.DataFrame, n_tasks: int) -> str:
    """What switching off did, over the tasks that have both numbers."""
    if not chosen:
        return "Nothing is switched off: this is the intact model"
    done = table[table["model"] == "ablated"]["task"] if len(table) else []
    if len(done) < n_tasks:
        return f"Measuring without {charts.components(chosen)}: {len(done)} of {charts.how_many(n_tasks, 'task')}"
    means = table.groupby("model")["accuracy"].mean()
    before, after = charts.percent(means["intact"]), charts.percent(means["ablated"])
    where = f"on {table['task'].iloc[0]}" if n_tasks == 1 else f"averaged over {n_tasks} tasks"
    return (f"Without {charts.components(chosen)}, accuracy {where} "
            + (f"stays at {before}" if before == after else f"goes from {before} to {after}"))


def draw(pairs: Mapping[str, Pair], scope: str, names: list[str], complete: bool) -> None:
    """The numbers and, for several tasks, the chart; its extras once everything is there."""
    table = table_of(pairs)
    title = finding(table, len(names))
    if scope == "This task":
        st.markdown(f"#### {title}")
        one_task(pairs.get(names[0]))
        if complete:
            st.caption(explain(pairs[names[0]][0].questions.n, setup,
                           f"chance {charts.percent(pairs[names[0]][0].questions.chance)}"))
            blocks.extras(table, f"lab-{names[0]}-{setup.n_shots}shot", reproduce(setup), "lab")
        return
    all_tasks(table)
    if not len(table):
        return
    chart = charts.comparison(table, names)
    if complete:
        each = setup.with_(task="each task")
        blocks.result(title, chart, caption=explain(int(table["n"].max()), each, "grey tick: chance"),
                      table=table, file=f"lab-all-tasks-{setup.n_shots}shot", python=reproduce(setup), key="lab",
                      alt_text=f"Accuracy of the intact and the ablated model on {len(names)} tasks. {title}.")
    else:
        st.markdown(f"#### {title}")
        st.altair_chart(chart, alt=f"Accuracy so far. {title}.")


def explain(n: int, one: Setup, chance: str) -> str:
    """The caption: what is shown and how certain it is."""
    return blocks.provenance(one, f"n = {n} questions" + " per task" * (one.task == "each task"), chance,
                             "answer: the option of highest summed log-likelihood",
                             f"{chosen.fill} ablation" if chosen else "", "95 % Wilson intervals",
                             "exact McNemar test on the same questions")


def reproduce(one: Setup) -> str:
    return blocks.python_lines(service.evaluation(one, chosen), "print(record.outcomes().mean())")


# --- flipped examples ---------------------------------------------------------------------------


def flips(name: str, pair: Pair) -> None:
    """The questions whose answer changed from right to wrong or back: prompt, options, log-likelihoods."""
    intact, ablated = pair
    if ablated is None:
        return
    gold = intact.questions.gold
    before = np.array([c in g for c, g in zip(intact.choices(), gold, strict=True)])
    after = np.array([c in g for c, g in zip(ablated.choices(), gold, strict=True)])
    lost, won = np.flatnonzero(before & ~after), np.flatnonzero(~before & after)
    st.markdown(f"#### {charts.how_many(len(lost), 'question').capitalize()} of {name} turned wrong, "
                f"{len(won) or 'none'} turned right")
    if not len(lost) + len(won):
        return
    kinds = [kind for kind, which in (("turned wrong", lost), ("turned right", won)) if len(which)]
    kind = st.segmented_control("Show", kinds, default=kinds[0], required=True, key=f"flip kind {len(kinds)}{kinds[0]}",
                                label_visibility="collapsed")
    which = lost if kind == "turned wrong" else won
    prompts = prompts_of(selection.tasks()[name])
    rows = [flip_row(prompts[intact.questions.docs[q]], intact, ablated, int(q)) for q in which]
    left, right = blocks.side_by_side("flips", 1, 1)
    with left:
        picked = st.dataframe(pd.DataFrame(rows), hide_index=True, height=min(330, 38 + 36 * len(rows)),
                              on_select="rerun", selection_mode="single-row-required", selection_default={
                                  "selection": {"rows": [0]}},
                              key=f"flips {kind} {intact.questions.n} {chosen}", alt=f"Questions that {kind}.",
                              column_config={"margin before": st.column_config.NumberColumn(format="%.2f"),
                                             "margin after": st.column_config.NumberColumn(format="%.2f")})
        st.caption("Margin: log-likelihood of the right option minus the best wrong one, in nats. Select a row.")
    with right:
        chosen_rows = picked.selection.rows or [0]
        q = int(which[min(chosen_rows[0], len(which) - 1)])
        example(prompts[intact.questions.docs[q]], intact, ablated, q)


@st.cache_data(show_spinner=False, max_entries=8)
def _prompts(model_name: str, task_name: str, n_shots: int, demos: str, n: int, seed: int) -> dict[int, Prompt]:
    return {p.doc: p for p in iter_prompts(handles.tasks(model_name)[task_name], n_shots, demos, n, seed)}


def prompts_of(task: Task) -> dict[int, Prompt]:
    """The prompts that were asked, by row."""
    return _prompts(selection.model_name(), task.name, setup.n_shots, setup.demos, setup.n_examples, setup.seed)


def margin(record: Evaluation, q: int) -> float:
    row, gold = record.loglikelihoods[q], record.questions.gold[q]
    wrong = [ll for i, ll in enumerate(row) if i not in gold]
    return max(row[g] for g in gold) - max(wrong) if wrong else float("nan")


def flip_row(prompt: Prompt, intact: Evaluation, ablated: Evaluation, q: int) -> dict[str, object]:
    question = " ".join(prompt.example.contexts[0].split())
    return {"question": question if len(question) <= SHOWN else "… " + question[-SHOWN:],
            "said": prompt.example.options[ablated.choices()[q]].strip(),
            "margin before": margin(intact, q), "margin after": margin(ablated, q)}


def example(prompt: Prompt, intact: Evaluation, ablated: Evaluation, q: int) -> None:
    """One question in full, with every option's log-likelihood before and after."""
    for _ in range(intact.questions.dropped_demos[q] if intact.questions.dropped_demos else 0):
        prompt = prompt.without_first_demo()
    st.code(prompt.prefix + prompt.example.contexts[0], language=None, wrap_lines=True, height=190)
    st.dataframe(pd.DataFrame([
        {"option": option.strip(), "right": i in intact.questions.gold[q], "intact": intact.loglikelihoods[q][i],
         "ablated": ablated.loglikelihoods[q][i],
         "chosen": " and ".join(m for m, r in (("intact", intact), ("ablated", ablated)) if r.choices()[q] == i)}
        for i, option in enumerate(prompt.example.options)]), hide_index=True, alt="Options with log-likelihoods.",
        column_config={"intact": st.column_config.NumberColumn(format="%.2f", help="log-likelihood, nats"),
                       "ablated": st.column_config.NumberColumn(format="%.2f", help="log-likelihood, nats")})


# --- history ------------------------------------------------------------------------------------


def remember(table: pd.DataFrame, scope: str) -> None:
    """Keep this mask and what it did, for this session."""
    means = table.groupby("model")["accuracy"].mean()
    history: dict[tuple[str, ...], dict[str, object]] = st.session_state.setdefault("history", {})
    where = setup.task if scope == "This task" else f"{table['task'].nunique()} tasks"
    history[(setup.model, str(chosen), where, str(setup.n_shots))] = {
        "off": str(chosen), "heads": len(chosen.heads), "FFNs": len(chosen.ffns), "on": where,
        "shots": setup.n_shots, "intact": means["intact"], "ablated": means["ablated"],
        "change": means["ablated"] - means["intact"]}


def reload_mask() -> None:
    rows = st.session_state["history table"].selection.rows
    tried = list(st.session_state["history"].values())[::-1]
    if rows:
        selection.choose(parse_exact(str(tried[rows[0]]["off"])))


def history() -> None:
    """What was tried in this session, newest first; a click brings a mask back."""
    tried = list(st.session_state.get("history", {}).values())[::-1]
    if not tried:
        return
    st.markdown(f"#### {charts.how_many(len(tried), 'mask')} tried")
    share = st.column_config.NumberColumn(format="percent")
    st.dataframe(pd.DataFrame(tried), hide_index=True, key="history table", on_select=reload_mask,
                 selection_mode="single-row", alt="Masks tried so far.",
                 column_config={"intact": share, "ablated": share, "change": share})
    st.caption("Select a row to switch the same components off again. Share a mask by copying this address:")
    st.code(selection.permalink(), language=None, wrap_lines=True)


# --- the page -----------------------------------------------------------------------------------

st.title("Lab")
st.markdown("What happens if I switch these heads and FFNs off? Accuracy follows every click.")
left, right = blocks.side_by_side("lab", 5, 6, gap="large")
with left:
    controls()
    grid()
with right:
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        scope = str(st.segmented_control("Measure", SCOPES, default=SCOPES[0], required=True, key="scope",
                                         bind="query-params", label_visibility="collapsed"))
        live = st.toggle("As I click", value=info.n_params <= LIVE_PARAMETERS, key="live", persist_state="session",
                         help="Measure at once whenever something is switched. Off: only when asked to.")
    names = [setup.task] if scope == "This task" else list(selection.suite())
    setups = {name: setup if name == setup.task else selection.current(name) for name in names}
    pairs = stored(setups)
    todo = missing(setups, pairs)
    slot = st.empty()
    with slot.container():
        draw(pairs, scope, names, complete=not todo)
    mask = f"{chosen} {scope} {setup}"
    if todo and (st.session_state.get("stopped") == mask or not live):
        blocks.offer(todo, "accuracy without " + charts.components(chosen) if chosen else "intact accuracy",
                     of=len(names) * (2 if chosen else 1))
    elif todo:
        drawn = [time.monotonic()]

        def arrived(unit: Unit, record: Record) -> None:
            """Show results as they come, but spend less time on drawing than on measuring."""
            name, evaluation = unit.setup.task, record
            assert isinstance(evaluation, Evaluation)
            pairs[name] = (pairs[name][0], evaluation) if unit.ablation else (evaluation, None)
            if time.monotonic() - drawn[0] > REDRAW:
                with slot.container():
                    draw(pairs, scope, names, complete=False)
                drawn[0] = time.monotonic()

        done = blocks.measure(todo, "accuracy", arrived, on_stop=lambda: st.session_state.update(stopped=mask))
        if done:
            with slot.container():
                draw(pairs, scope, names, complete=True)
            todo = []
if not todo and chosen:
    remember(table_of(pairs), scope)
    try:
        flips(setup.task, pairs[setup.task])
    except HeadroomError as error:
        st.info(f"The questions' text is not at hand: {error}")
history()
