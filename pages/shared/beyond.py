"""Two steps of the Tour beyond the study: which heads carry what the examples ask for, and whether scores are right."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from backend import tables
from backend.kinds import Evaluation, FunctionVectors, HeadOracle
from backend.kinds.function_vectors import MEANS
from backend.kinds.knock_out import INDUCTION, INDUCTION_ALONE, VECTORS, VECTORS_ALONE
from backend.kinds.oracles import ZERO
from backend.tables.calibration import LOSS
from backend.values import Ablation, Setup, parse_exact
from pages.map import plots
from pages.shared import blocks, calibration, charts, components, knocked, living, selection, story, verdicts, words
from pages.shared.guesses import answer, ask
from pages.shared.plain import plain

SHOTS = selection.SHOTS[-1]
AT = 0.1  # the share of the heads that is off where curves are read


# --- which heads? -------------------------------------------------------------------------------


def which_heads() -> None:
    """Heads that look back, or heads that carry what the examples ask for."""
    blocks.tell("Heads that look back (step 3) are one idea of how a model learns from examples. Here is another. When "
                "the model has read the examples, a few heads may hold **what they ask for**: find the opposite, name "
                "the capital. To find such heads the answers of the examples are *shuffled*, which misleads the "
                "model; then one head at a time gets the output back that it has behind true answers. How much of the "
                "right answer's probability returns is the head's *function-vector effect*.")
    compare = list(story.suite().values())
    if "tour which task" not in st.session_state:
        st.session_state["tour which task"] = most_misled(knocked.ask(
            [selection.current(task, SHOTS) for task in compare], compare))
    task = story.suite()[str(st.selectbox("Task", list(story.suite()), key="tour which task", width=220,
                                          persist_state="session"))]
    setup = selection.current(task, SHOTS)
    asked = knocked.ask([setup], compare)
    story.lacking(*asked.units.values())
    answers = ("those with the greatest effect", "those that look back most", "these questions do not tell")
    guess = ask("which heads", f"A tenth of the heads goes: which are missed more in {plain(task)}?", answers)
    if guess is None:
        return
    found = knocked.get(asked, f"accuracy of {task.name} without these heads")
    if found is None:
        return
    alive = living.now([task], [SHOTS])
    title, right = knocked.concluded(found, AT, task.name, alive)
    answer(guess, answers[right])
    knocked.draw(title, found, AT, task.name, file="tour-which-heads", key="tour which", level=3)
    vectors, induction = (found.off(sort, AT).heads for sort in (VECTORS, INDUCTION))
    both = len(vectors & induction)
    blocks.tell(f"Of the {len(vectors)} heads with the greatest effect (over the other tasks) and the "
                f"{len(induction)} that look back most, {both or 'none'} {'is' if both < 2 else 'are'} the same; by "
                f"chance it would be {len(vectors) * len(induction) / alive.n:.1f}. The curves leave out what is in "
                "both. Switch either sort off:")
    try_out(setup, {"The greatest effects": found.off(VECTORS_ALONE, AT),
                    "Those that look back": found.off(INDUCTION_ALONE, AT)}, "tour which")


def most_misled(asked: knocked.Asked) -> str:
    """The task that shuffled answers mislead most: of those of which every curve is stored, where there are any."""
    lost: dict[Setup, float] = {}
    whole = {setup for _, setup in asked.units}
    for (_, setup), unit in asked.units.items():
        if setup not in lost:
            record = blocks.fetch(FunctionVectors(setup.with_(n_examples=MEANS)))
            lost[setup] = 0.0 if record is None else record.lost
        if blocks.fetch(unit) is None:
            whole.discard(setup)
    return max((setup for setup in lost if setup in whole or not whole), key=lambda setup: lost[setup]).task.name


# --- does the score tell the truth? -------------------------------------------------------------


def truth() -> None:
    """A cheap score against what switching each head off costs."""
    blocks.tell("The score that ranks heads is **cheap**: gradients tell how strongly the loss *would* react to each "
                "head, all in one go, and nothing is switched off. What a head is really worth takes as many runs as "
                "there are heads: **switch each off**, one by one, and see how much worse the model gets on other "
                "questions. Does the cheap score tell the truth?")
    by, names = selection.definition(), list(story.suite())
    if "tour truth task" not in st.session_state:
        st.session_state["tour truth task"] = next((setup.task.name for setup in story.setups(names, SHOTS)
                                                    if blocks.fetch(HeadOracle(setup)) is not None), names[0])
    name = str(st.selectbox("Task", names, key="tour truth task", width=220, persist_state="session"))
    setup = selection.current(story.suite()[name], SHOTS)
    unit, oracle = selection.importance(setup.task, SHOTS), HeadOracle(setup)
    story.lacking(unit, oracle)
    guess = ask("truth", f"The head with the highest score for {plain(name)}: where does it stand by what its removal "
                "really costs?", verdicts.TRUE_RANK)
    if guess is None:
        return
    record, measured = (blocks.get(unit, f"head importance of {name}, {SHOTS}-shot"),
                        blocks.get(oracle, f"{name} with each head off in turn"))
    if record is None or measured is None:
        return
    if not measured.gold:
        blocks.offer([oracle], "the loss, where answers alone were kept by an earlier version")
        return
    alive = living.now([setup.task], [SHOTS])
    table = tables.calibration_table([record], [measured], by, selection.ablation(), alive.mask)
    title, right = verdicts.first_by_score(table, name)
    answer(guess, verdicts.TRUE_RANK[right])
    axes = {"x": "score", "y": tables.COST[LOSS], "x_title": f"{by} score for {name}",
            "y_title": calibration.AXES[LOSS]}
    rows = calibration.told({by: [record]}, {ZERO: [measured]}, by, alive.mask,
                            ("tour", by, *calibration.key_of([unit, oracle], [measured], alive)))
    row = rows[rows["measured in"] == LOSS].iloc[0]
    n = len(measured.marks()[0].right)
    story.result(
        title, charts.scatter(table, **axes),
        caption=f"n = {n} questions · {alive.over}, a dot each · orange: off",
        measured=blocks.provenance(
            setup, f"Score: head importance {by}, of {record.n_examples} training prompts",
            "Cost: loss added with each head off alone (zero ablation), on other questions; loss: cross-entropy of the "
            "right answer, mean over its tokens, nats", "95 % t intervals over questions, those of one draw together; ρ"
            ": Spearman's rank correlation, 0 is chance, its interval a bootstrap over examples and questions",
            alive.measured, source=blocks.STUDY),
        table=table.drop(columns=["off"]), file=f"tour-truth-{name}", key="tour truth", python=blocks.python_lines(
            unit, *alive.lines, f"records, oracles = {{{by!r}: [record]}}, {{{ZERO!r}: [oracle]}}",
            table=f"tables.calibration_table([record], [oracle], {by!r}{alive.argument}).drop(columns=['off'])",
            then=[blocks.printed(f"tables.tells_table(records, oracles, {by!r}{alive.argument})")],
            also={"oracle": oracle}, given=alive.given),
        clickable=plots.dots(table, blocks.shape(), **axes, alt=f"Scatter of the loss added without each head against "
                             f"its {by} score. {title}.", facts=(("score", "score", "plain"), *(
                                 (one, one, "plain") for one in tables.COST.values()))))
    missed = tables.missed_table(table, LOSS)
    for said in (verdicts.tells(row, len(table), alive.called, name), verdicts.misses(missed, LOSS),
                 verdicts.unseen(table, n)):
        blocks.text(f"{said}.")
    first, costliest = (table.loc[table[column].idxmin(), "name"] for column in ("score rank", "loss rank"))
    offers = {f"{first}, first by the score": first, f"{costliest}, which costs most": costliest}
    if first == costliest:
        offers = {f"{first}, first by either": first}
    try_out(setup, {label: parse_exact(head) for label, head in offers.items()}, "tour truth")
    blocks.tell("A score that ranks badly is no lie: it tells how the loss reacts to a *small* change. Switching a "
                "head off is a large one, and other heads may take over.")


# --- both ---------------------------------------------------------------------------------------


def try_out(setup: Setup, offers: Mapping[str, Ablation], key: str) -> None:
    """Buttons that switch some heads off, the accuracy that is left, and the picture of what is off."""
    with st.container(horizontal=True):
        for i, (label, off) in enumerate(offers.items()):
            st.button(label, key=(name := f"{key} offer {i}"), icon=":material/power_settings_new:",
                      on_click=components.choose, args=(off, name), disabled=not off)
    chosen = selection.ablation()
    left, right = blocks.side_by_side(key, 2, 3, gap="large")
    with right:
        blocks.picture(chosen)
    with left:
        units = [Evaluation(setup), Evaluation(setup, chosen)]
        records = story.measured(units, f"accuracy without {words.components(chosen)}" if chosen else "accuracy")
        if records:
            story.number(records[0], records[-1], chosen, setup)
