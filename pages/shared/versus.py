"""Lab's two masks side by side: A, which is chosen, and B, which it is compared with.

`selection.against` reads B, `components` writes it; the address parameter is `against`, in the grammar of `off`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from backend import tables
from backend.kinds import Answers, Evaluation
from backend.tables import DIFFERENCE
from backend.values import INTACT, Ablation, Setup
from pages.map import HeadMap
from pages.shared import blocks, charts, components, selection, words
from pages.shared.plain import plain, prose

SHOWN = ("task", "intact", "A", "B", DIFFERENCE, "95 % from", "to", "p", "p (Holm)")  # columns of the table on the page
NOTHING = "\u00a0"  # of a line that keeps its place
# As high while something is measured, also where the lines below the numbers break: the maps stand below.
STYLE = "<style>.st-key-versus-numbers { min-height: 9rem; }</style>"
HOLM = "p (Holm): adjusted for having looked at every row, below 0.05 is a difference"


def is_on() -> bool:
    """Whether two masks are compared. Before the field is drawn, the address may be all that says so."""
    components.settle_against()
    return bool(selection.value("against") if "against" in st.session_state else st.query_params.get("against"))


# --- what is compared ---------------------------------------------------------------------------


def field() -> None:
    """The text field of B, in which it can be written; what of it cannot be read is said below."""
    with components.in_step("against"):
        st.text_input("Compare with (B)", key="against", bind="query-params", placeholder="L3H7, 5.1, L2 FFN",
                      help="A second mask, written like the chosen heads and FFNs, or kept by *Keep as B*. What is "
                           "chosen is then A: change it, and see what that does beside B. Empty: nothing is compared.")
    components.note_against()
    for problem in selection.unread_against():
        st.caption(f":orange[:material/warning: {prose(problem)}]")


def keep_button() -> None:
    """Keep what is chosen as B, and go on with A."""
    chosen = selection.ablation()
    st.button("Keep as B", key="keep as b", on_click=components.keep_as_b, icon=":material/compare:",
              disabled=not chosen, help="Keep this mask beside the next ones: what you change from here on is A."
              if chosen else "Switch something off first: every number is compared with the intact model as it is.")


def buttons() -> None:
    """Swap the two, or compare no more."""
    chosen = selection.ablation()
    with st.container(horizontal=True, gap="small"):
        st.button("Swap A and B", key="swap", on_click=components.swap, icon=":material/swap_horiz:",
                  disabled=not chosen, help=None if chosen else "Nothing is off in A, and B has to have something off.")
        st.button("End comparison", key="end comparison", on_click=components.end_comparison,
                  icon=":material/close:")


def maps(of_a: HeadMap, of_b: HeadMap, key: str) -> None:
    """Two maps on one colour scale; what is off in only one of the masks is framed in both."""
    a, b = selection.ablation(), selection.against()
    left, right = blocks.side_by_side("versus", 1, 1)
    with left:
        blocks.heading(f"A · {words.components(a, 2)} off")  # one line: below, a hand is clicking
        components.clickable(of_a.beside(b, "B"), key)
    with right:
        blocks.heading(f"B · {words.components(b, 2)} off")
        components.clickable(of_b.still(b, beside="A"), f"{key} B")
    st.markdown(words.masks_apart(a, b) + (" Framed in both maps, with a corner: off in only one." if a != b else ""))


# --- what came of it ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """What is known of two masks on some setups.

    Attributes:
        setups: by label: a task, or a number of shots.
        scope: which of Lab's scopes they are.
        found: evaluations, as far as they are there.
    """

    setups: Mapping[str, Setup]
    scope: str
    found: Mapping[Evaluation, Answers]
    a: Ablation
    b: Ablation

    def answers(self, label: str) -> dict[str, Answers | None]:
        """By the `tables.MASKS`."""
        return {mask: self.found.get(Evaluation(self.setups[label], off))
                for mask, off in zip(tables.MASKS, (INTACT, self.a, self.b), strict=True)}

    @cached_property
    def labels(self) -> list[str]:
        """Those of which anything is known."""
        return [label for label in self.setups if any(self.answers(label).values())]

    @cached_property
    def outcomes(self) -> list[tables.Outcomes]:
        return [{mask: one.marks() if one is not None else None for mask, one in self.answers(label).items()}
                for label in self.labels]

    @cached_property
    def groups(self) -> list[str]:
        return [selection.about(self.setups[label].task).group for label in self.labels]

    @cached_property
    def table(self) -> pd.DataFrame:
        chances = [next(one.questions.chance for one in self.answers(label).values() if one is not None)
                   for label in self.labels]
        return tables.masks_table(self.labels, self.groups, self.outcomes, chances)

    @property
    def title(self) -> str:
        first = next(iter(self.setups.values()))
        return words.masks_compared(self.table, list(self.setups), self.a == self.b,
                                    first.task.name if self.scope == "All shots" else "")

    def pairs(self) -> dict[str, tuple[Answers, Answers | None]]:
        """Per label what B and A answer, as far as both are there."""
        each = {label: self.answers(label) for label in self.labels}
        return {label: (b, of["A"]) for label, of in each.items() if (b := of["B"]) is not None and of["A"] is not None}


def place_for_progress() -> DeltaGenerator:
    """Where progress is drawn: as high without any, so that no map moves when it comes and goes."""
    return st.container(height=58, width=320, border=False)


def place_for_numbers() -> DeltaGenerator:
    """Where the large numbers are drawn, likewise."""
    st.html(STYLE)
    return st.container(key="versus-numbers")


def numbers(of: Comparison) -> None:
    """The large numbers: intact, A, B, and what sets A and B apart."""
    if of.scope == "All shots":
        by_shots(of)
    else:
        by_masks(of)


def by_masks(of: Comparison) -> None:
    """Of one task, or the mean of all tasks."""
    means = tables.masks_means(of.outcomes) if len(of.labels) == len(of.setups) else {}
    cells = dict(zip((*tables.MASKS, DIFFERENCE), st.columns(4), strict=True))
    where = f"mean of {words.how_many(len(of.setups), 'task')}" if of.scope == "All tasks" else NOTHING
    for mask in tables.MASKS:
        one = means.get(mask)
        number(cells[mask], mask if mask != "intact" else "Intact", words.percent(one["accuracy"]) if one else "",
               words.interval(one) if one else "", where)
    apart = means.get(DIFFERENCE)
    if not apart:
        number(cells[DIFFERENCE], DIFFERENCE)
        return
    n = int((of.table["p (Holm)"] < words.SIGNIFICANT).sum())
    number(cells[DIFFERENCE], DIFFERENCE, words.points(apart["accuracy"]), span(apart["low"], apart["high"]),
           f"apart on {n or 'none'} of {words.how_many(len(of.setups), 'task')} (Holm)" if of.scope == "All tasks"
           else f"paired test {words.p_value(of.table['p'].iloc[0])}")


def by_shots(of: Comparison) -> None:
    """A − B at every number of shots: they ask the same questions, so there is no mean and no joint test."""
    rows = of.table.dropna(subset=[DIFFERENCE]).set_index("task").to_dict("index")
    for cell, label in zip(st.columns(len(of.setups)), of.setups, strict=True):
        if (row := rows.get(label)) is None:
            number(cell, f"{label}, {DIFFERENCE}")
        else:
            number(cell, f"{label}, {DIFFERENCE}", words.points(row[DIFFERENCE]),
                   f"{span(row['95 % from'], row['to'])} · paired test {words.p_value(row['p'])}",
                   f"intact {words.percent(row['intact'])} · A {words.percent(row['A'])} · B {words.percent(row['B'])}")


def number(cell: DeltaGenerator, label: str, value: str = "", how_sure: str = "", more: str = NOTHING) -> None:
    """A large number over two lines of words, whether it is there or not."""
    cell.metric(plain(label), value or "–")
    cell.caption(f"{how_sure or 'Not measured yet.'}  \n{more}")


def span(low: float, high: float) -> str:
    return f"95 %: {words.points(low).split(chr(160))[0]} to {words.points(high).split(chr(160))[0]}"


def results(of: Comparison, complete: bool) -> None:
    """What the numbers say and, for several tasks or shots, chart and table; extras once everything is there."""
    order = list(of.setups)
    if of.scope == "This task":
        blocks.heading(of.title)
        if complete:
            said = blocks.note(in_short(of), explain(of))
            blocks.extras(of.table, f"lab-{order[0]}-a-and-b", reproduce(of), "versus", title=of.title, caption=said)
        return
    chart = charts.masks(tables.masks_points(of.table), order)
    if not complete:
        blocks.heading(of.title)
        st.altair_chart(chart, alt=f"Accuracy so far with mask A and with mask B. {of.title}.")
        return
    left, right = blocks.side_by_side("versus results", 1, 1)
    with left:
        blocks.result(of.title, chart, caption=in_short(of), measured=explain(of), table=of.table,
                      python=reproduce(of), key="versus", file=f"lab-{of.scope.lower().replace(' ', '-')}-a-and-b",
                      alt_text=f"Accuracy intact, with mask A and with mask B, {', '.join(order)}. {of.title}.")
    with right:
        shown = of.table[list(SHOWN)]
        st.dataframe(blocks.aligned(shown, percent=("intact", "A", "B", DIFFERENCE, "95 % from", "to"),
                                    p=("p", "p (Holm)")), hide_index=True, key="versus table",
                     height=blocks.table_height(len(shown), 600), alt="What sets A and B apart, row by row.")
        blocks.note(f"{HOLM}.")


def in_short(of: Comparison) -> str:
    """The caption: how many questions, and what chance is."""
    several = len(of.setups) > 1
    chance = "grey tick: chance" if several else f"chance {words.percent(of.table['chance'].iloc[0])}"
    return f"n = {int(of.table['n'].max())} questions{' per task' * (of.scope == 'All tasks')} · {chance}"


def explain(of: Comparison) -> str:
    """What is shown and how certain it is."""
    shots = ", ".join(map(str, selection.SHOTS)) + " shots" if of.scope == "All shots" else ""
    last = list(of.setups.values())[-1]
    return blocks.provenance(
        last, "Answer: the option of highest summed log-likelihood",
        *(f"{name}: {words.components(mask)} off ({mask.fill} ablation)" for name, mask in (("A", of.a), ("B", of.b))
          if mask), words.how_certain(last), words.how_tested(last, "A against B"), shots=shots,
        task="each task" if of.scope == "All tasks" else "")


def reproduce(of: Comparison) -> str:
    """Python that gets what both masks answer on everything that is shown, and compares them."""
    last = list(of.setups.values())[-1]
    return blocks.python_lines(
        Evaluation(last),
        f"each = zip(records, {'a' if of.a else 'records'}, {'b' if of.b else 'records'}, strict=True)",
        "outcomes = [dict(zip(tables.MASKS, [one.marks() for one in three], strict=True)) for three in each]",
        "chances = [record.questions.chance for record in records]",
        table="tables.masks_table(names, groups, outcomes, chances)",
        then=["print(tables.masks_means(outcomes))"] * (of.scope == "All tasks"),
        over=[(one.task, one.n_shots) for one in of.setups.values()],
        also={name: Evaluation(last, mask) for name, mask in (("a", of.a), ("b", of.b)) if mask},
        given={"names": tuple(of.labels), "groups": tuple(of.groups)})
