"""Does the cheap score tell what a head's removal costs? The view of Heads that holds the two against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from backend import tables
from backend.kinds import Attribution, HeadOracle, Sweep, Unit
from backend.kinds.attribution import REDUCTIONS as OF_ATTRIBUTION
from backend.kinds.lines import expression, with_imports
from backend.kinds.oracles import SPLITS
from backend.tables import COST, MEASURES, PLACES, SCORES
from backend.tables.calibration import Record
from backend.values import TaskId
from pages.map import plots
from pages.shared import blocks, charts, glossary, living, selection, verdicts, words

AXES = {"loss": "loss added without the head, nats", "accuracy": "accuracy lost without the head"}
RANKED = {"signed": "Signed: mean over examples of −Σ z · dL/dz, the change of loss without the head to first order",
          "integrated": "Integrated: the same with the gradient averaged over five gates from 0.1 to 0.9, one for all "
                        "heads at once"}
IN_PLACE = {"zero": "zeros", "mean": "its mean over training prompts",
            "resample": "its output on other training prompts, at the same position from the end of the context",
            "optimal": "the constant that leaves the training loss lowest"}


ON = {"other questions": SPLITS[0], "training prompts": SPLITS[1]}


class Choice(NamedTuple):
    """What is held against what."""

    score: str
    place: str
    on: str
    measure: str
    tasks: tuple[TaskId, ...]
    called: str


def draw(definitions: Mapping[str, str]) -> None:
    """The view: one score against one measured cost, the worst misses, every head, and all that is stored.

    Args:
        definitions: what each score of head importance is, in a sentence.
    """
    setup = selection.current()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        which = str(st.segmented_control("Of", ("this task", "all tasks"), default="this task", required=True,
                                         key="calibrated of", persist_state="session"))
        score = str(st.segmented_control("Score", SCORES, default=selection.definition(), required=True,
                                         key="calibrated score", persist_state="session",
                                         help=glossary.says("signed", "integrated")))
        place = str(st.segmented_control("In the head's place", PLACES, default=PLACES[0], required=True,
                                         key="calibrated place", persist_state="session",
                                         help=glossary.says("ablation", "resample", "optimal ablation")))
        on = ON[str(st.segmented_control("Cost on", list(ON), default=next(iter(ON)), required=True,
                                         key="calibrated on", persist_state="session",
                                         help="training prompts: those that the score is measured on. The score may "
                                              "miss what other questions need, though it tells these well."))]
        measure = str(st.segmented_control("Cost in", MEASURES, default=MEASURES[0], required=True,
                                           key="calibrated cost", persist_state="session"))
    those = (setup.task,) if which == "this task" else tuple(selection.compared().values())
    called = setup.task.name if which == "this task" else f"the mean of {words.how_many(len(those), 'task')}"
    choice = Choice(score, place, on, measure, those, called)
    shown = st.container()
    records: list[Record | None] = blocks.get_all([scored(score, task) for task in those],
                                                  f"{score} scores of {which}, {setup.n_shots}-shot")
    oracles = blocks.get_all([oracle(choice, place, task) for task in those], "what every head's removal costs, with "
                             f"{IN_PLACE[place]} in its place")
    if old := [oracle(choice, place, task) for task, one in zip(those, oracles, strict=True) if one and not one.gold]:
        blocks.offer(old, "the loss, where answers alone were kept by an earlier version", of=len(those))
    found = [(task, a, b) for task, a, b in zip(those, records, oracles, strict=True) if a and b]
    if not found:
        return
    choice = choice._replace(tasks=tuple(task for task, *_ in found), called=called if len(found) == len(those) else
                             f"the mean of {words.how_many(len(found), 'task')}")
    with shown:
        one_score(choice, [a for _, a, _ in found], [b for *_, b in found], definitions)
    every_score(choice)


def scored(by: str, task: TaskId) -> Unit[Any]:
    """The unit whose record has a score."""
    return selection.attribution(task) if by in OF_ATTRIBUTION else selection.importance(task)


def oracle(choice: Choice, place: str, task: TaskId) -> HeadOracle:
    return HeadOracle(selection.current(task), place, on=choice.on)


@st.cache_data(show_spinner=False, max_entries=64)
def told(_records: Mapping[str, Sequence[Record]], _oracles: Mapping[str, Sequence[Sweep]], against: str, _live: object,
         key: object) -> pd.DataFrame:
    """How well scores tell costs: the same at every click, and the slowest to work out."""
    return tables.tells_table(_records, _oracles, against, _live)  # type: ignore[arg-type]


def key_of(units: Sequence[Unit[Any]], oracles: Sequence[Sweep], alive: living.Living) -> tuple[object, ...]:
    return (*(unit.key for unit in units), *(bool(one.gold) for one in oracles), alive.mask.tobytes())


def one_score(choice: Choice, records: Sequence[Record], oracles: Sequence[Sweep],
              definitions: Mapping[str, str]) -> None:
    """Each head's score against what its removal costs, the worst misses, and every head as a table."""
    setup, alive = selection.current(), living.now()
    table = tables.calibration_table(records, oracles, choice.score, selection.ablation(), alive.mask)
    measure = choice.measure if COST[choice.measure] in table else "accuracy"
    if measure != choice.measure:
        st.caption(":orange[:material/info: Of these removals the answers alone were kept: the loss has to be measured "
                   "anew, see below. Shown is the accuracy.]")
    units: list[Unit[Any]] = [one for task in choice.tasks for one in (scored(choice.score, task), oracle(
        choice, choice.place, task))]
    rows = told({choice.score: records}, {choice.place: oracles}, choice.score, alive.mask,
                ("one", choice.score, *key_of(units, oracles, alive)))
    row = rows[rows["measured in"] == measure].iloc[0]
    n = sum(len(one.marks()[0].right) for one in oracles)
    title = verdicts.tells(row, len(table), alive.called, choice.called)
    axes = {"x": "score", "y": COST[measure], "x_title": f"{choice.score} score for {choice.called}",
            "y_title": AXES[measure]}
    python = lines(choice, f"tables.calibration_table(records, oracles, {choice.score!r}, chosen{alive.argument})"
                   ".drop(columns=['off'])", [
        blocks.printed(f"tables.tells_table({{{choice.score!r}: records}}, {{{choice.place!r}: oracles}}, "
                       f"{choice.score!r}{alive.argument})"),
        blocks.printed(f"tables.missed_table(table, {measure!r})")])
    measured = blocks.provenance(
        setup, {**definitions, **RANKED}[choice.score], "Higher: the loss depends more on the head",
        f"Cost: {COST[measure]} with each head off alone, "
        f"{IN_PLACE[choice.place]} in place of its output", "Loss: cross-entropy of the right answer, mean over its "
        "tokens, nats; accuracy: intact minus switched off, on the same questions",
        f"Scores are of training prompts, costs of {'other questions' if choice.on == SPLITS[0] else 'the same'}",
        "ρ: Spearman's rank correlation, 0 is chance; its interval is a bootstrap over blocks of training examples and "
        "of questions, those of one draw together",
        "Heads' intervals: t over questions, those of one draw together", alive.measured,
        source=f"{Attribution.SOURCE if choice.score in OF_ATTRIBUTION else blocks.STUDY}"
        + "; Li and Janson 2024, arXiv:2409.09951" * (choice.place == "optimal"), task=choice.called)
    left, right = blocks.side_by_side("calibration", 5, 4)
    with left:
        blocks.result(
            title, charts.scatter(table, **axes), caption=f"n = {n} questions · {alive.over}, a dot each · orange: "
            "chosen", measured=measured, table=table.drop(columns=["off"]), key="calibration",
            file=f"calibration-{choice.score}-{choice.place}-{setup.task}-{setup.n_shots}shot", python=python,
            clickable=plots.dots(table, blocks.shape(), **axes, alt=f"Scatter of {AXES[measure]} against the "
                                 f"{choice.score} score, one dot per head. {title}.",
                                 facts=(("score", "score", "plain"), *((one, one, "plain") for one in COST.values()
                                                                       if one in table))))
    with right:
        blocks.heading(verdicts.unseen(table, n))
        missed = tables.missed_table(table, measure)
        blocks.text(f"{verdicts.misses(missed, measure)}.")
        if len(missed):
            st.dataframe(blocks.aligned(missed, scores=(COST[measure], "95 % from", "to", "score"),
                                        counts=("cost rank", "score rank")), hide_index=True, key="calibration misses",
                         height=blocks.table_height(len(missed)),
                         alt="The heads that the score misses most, and those that it overrates most.")
    numbers = [column for column in table.columns if column.startswith(("loss", "accuracy")) and "rank" not in column]
    st.dataframe(
        blocks.aligned(table.drop(columns=["layer", "head"]).rename(columns={"name": "head", "off": "chosen"}),
                       scores=("score", *numbers), counts=[c for c in table.columns if "rank" in c or c == "turned"]),
        hide_index=True, key="calibration heads", height=blocks.table_height(len(table)),
        alt="Every head with its score, what its removal costs in loss and in accuracy, and its ranks.")


def every_score(choice: Choice) -> None:
    """All scores against all removals that are stored: which tells costs best, and the way to prune by it."""
    setup, alive = selection.current(), living.now()
    records = {by: [blocks.fetch(scored(by, task)) for task in choice.tasks] for by in SCORES}
    oracles = {place: [blocks.fetch(oracle(choice, place, task)) for task in choice.tasks] for place in PLACES}
    known = {by: [one for one in those if one is not None] for by, those in records.items()}
    removed = {place: [one for one in those if one is not None] for place, those in oracles.items()}
    known = {by: those for by, those in known.items() if len(those) == len(choice.tasks)}
    removed = {place: those for place, those in removed.items() if len(those) == len(choice.tasks)}
    against = selection.definition() if selection.definition() in known else next(iter(known), "")
    if not known or not removed:
        return
    units: list[Unit[Any]] = [
        *(scored(by, task) for by in known for task in choice.tasks),
        *(oracle(choice, place, task) for place in removed for task in choice.tasks)]
    table = told(known, removed, against, alive.mask, ("all", tuple(known), tuple(removed), against, *key_of(
        units, [one for those in removed.values() for one in those], alive)))
    best = verdicts.best_score(table, choice.place, choice.measure, against)
    title = verdicts.tells_best(best, against, choice.place, choice.measure, choice.called)
    blocks.heading(title)
    tops = [f"top {share:.0%}" for share in tables.TOPS]
    chances = [f"chance {share:.0%}" for share in tables.TOPS]
    st.dataframe(blocks.aligned(table, scores=("ρ", "95 % from", "to", "ahead", "ahead from", "ahead to"),
                                percent=(*tops, *chances)), hide_index=True, key="calibration all",
                 height=blocks.table_height(len(table)),
                 alt="How well each score ranks the heads by what their removal costs, for each removal stored.")
    missing = [place for place in PLACES if place not in removed] + [by for by in SCORES if by not in known]
    if missing:
        st.caption(f"Not stored, so not here: {', '.join(missing)}. Choose one above to measure it.")
    caption = blocks.note(
        f"{alive.over} · {words.how_many(len(choice.tasks), 'task')} · ahead: of {against}",
        blocks.provenance(setup, "ρ: Spearman's rank correlation of score and cost over heads, 0 is chance; 95 % "
                          "bootstrap over blocks of training examples and of questions",
                          f"Ahead: ρ minus that of {against}, with the interval of the difference over the same "
                          "resamples", "Top: the share of the heads that cost most which are among as many by the "
                          "score", f"In place: {'; '.join(f'{name}, {what}' for name, what in IN_PLACE.items())}",
                          alive.measured, source=Attribution.SOURCE, task=choice.called))
    blocks.extras(table, f"scores-and-costs-{setup.task}-{setup.n_shots}shot", all_lines(
        choice, tuple(known), tuple(removed), against), "calibration every", title=title, caption=caption)
    if best is not None and st.button(f"Prune by the {best['score']} score", key="prune by it",
                                      icon=":material/content_cut:", on_click=selection.rank_by,
                                      args=(str(best["score"]),)):
        st.switch_page("pages/pruning.py")


def lines(choice: Choice, table: str, then: Sequence[str]) -> str:
    """Python that gets the records and the oracles of some tasks, and a table of them."""
    alive, n_shots = living.now(), selection.current().n_shots
    return blocks.python_lines(
        scored(choice.score, choice.tasks[0]), *alive.lines, table=table, then=then,
        over=[(task, n_shots) for task in choice.tasks],
        also={"oracles": oracle(choice, choice.place, choice.tasks[0])},
        given=alive.given | {"chosen": selection.ablation()})


def all_lines(choice: Choice, scores: Sequence[str], places: Sequence[str], against: str) -> str:
    """Python that gets every record that is stored, and the table of how well scores tell costs."""
    setup, alive = selection.current(), living.now()
    model = {setup.model: "model"}
    tasks = ", ".join(expression(task, {}) for task in choice.tasks)
    given = [f"{name} = {expression(value, model)}" for name, value in alive.given.items()]
    made = []
    for kind, those in (("HeadImportance", [by for by in scores if by not in OF_ATTRIBUTION]),
                        ("Attribution", [by for by in scores if by in OF_ATTRIBUTION])):
        if those:
            made.append(f"records |= {{by: [get({kind}(setup.with_(n_examples={selection.n_train()}))) for setup in "
                        f"setups] for by in {those}}}")
    setups, split = expression(setup, model | {setup.task: "task"}), f", on={choice.on!r}" * (choice.on != SPLITS[0])
    return with_imports([
        f"model = {expression(setup.model, {})}", f"tasks = [{tasks}]", *given,
        f"setups = [{setups} for task in tasks]",
        *alive.lines, "records = {}", *made,
        f"oracles = {{place: [get(HeadOracle(setup, place{split})) for setup in setups] for place in "
        f"{list(places)}}}",
        *blocks.shown_lines(f"tables.tells_table(records, oracles, {against!r}{alive.argument})")],
        selection.load_lines())
