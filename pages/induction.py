"""Which heads copy what followed before?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from backend import lens, stats, tables
from backend.kinds import Copying, FunctionVectors, HeadImportance, InductionScores, PrefixMatching
from backend.kinds.function_vectors import MEANS
from backend.kinds.knock_out import SHARES
from backend.models.info import BUNDLED
from backend.values import Ablation, Head, ModelId, TaskId
from pages.map import head_map, plots
from pages.shared import (
    blocks,
    charts,
    components,
    demonstrations,
    glossary,
    growth,
    knocked,
    living,
    selection,
    verdicts,
    waiting,
    words,
)

if TYPE_CHECKING:
    from backend.models.loading import LoadedModel

VIEWS = ("Scores", "Against importance", "Function vectors", "Knock-out", "Demonstrations", "Capacity", "One head",
         "In training")
SHOW = ("mean", "variance")
FRACTIONS = tuple(p / 10 for p in range(10))
LIVE_PARAMETERS = 200_000_000  # models up to this size are looked at without being asked twice
LONGEST = 20  # tokens of the block in the picture
PREFIX = {"exact": "attention to the tokens that followed earlier occurrences of the current one, on four repeats of a "
                   "block of random tokens",
          "authors": "as in the authors' code: the last token of each block has one target too many, position 1"}
COPYING = {"authors": "of the probability that a head's own value at a position raises above the mean, the share of "
                      "the token it attends to most; layer by layer on bare embeddings, as in the authors' code",
           "olsson": "the same for what the head moves, its attention-weighted values, without bias (Olsson et al.)"}
SOURCE = PrefixMatching.SOURCE

setup, info, by, chosen = selection.current(), selection.info(), selection.definition(), selection.ablation()
tasks = selection.compared()
alive, n_heads = living.now(), info.n_all_heads
HEAD = "live head" if alive.dead else "head"


# --- get ----------------------------------------------------------------------------------------


def variants() -> tuple[str, str]:
    """Which definitions are shown."""
    with st.popover("Definitions", icon=":material/function:"):
        prefix = st.segmented_control("Prefix matching", list(PREFIX), default="exact", required=True,
                                      key="prefix variant", persist_state="session",
                                      help=glossary.says("prefix matching"))
        st.caption(f"{prefix}: {PREFIX[str(prefix)]}.")
        copying = st.segmented_control("Copying", list(COPYING), default="authors", required=True,
                                       key="copying variant", persist_state="session",
                                       help=glossary.says("copying"))
        st.caption(f"{copying}: {COPYING[str(copying)]}.")
    return str(prefix), str(copying)


def scores(prefix: str, copying: str) -> tuple[InductionScores | None, InductionScores | None]:
    """The stored scores; what is missing is offered."""
    units = [PrefixMatching(setup.model, prefix), Copying(setup.model, copying)]
    a, b = blocks.get_all(units, "prefix matching and copying of every head")
    return a, b


def importance(which: str) -> tuple[str, np.ndarray, list[TaskId]] | None:
    """The importance of the task or the tasks' mean, what it is called, and of which; what is missing is offered."""
    units = [selection.importance(task) for task in ([setup.task] if which == "this task" else tasks.values())]
    found = blocks.get_all(units, f"head importance of {which}, {setup.n_shots}-shot")
    records = [r for r in found if r]
    if not records:
        return None
    called = setup.task.name if which == "this task" else f"the mean of {words.how_many(len(records), 'task')}"
    return (called, stats.aggregate([r.scores(by) for r in records]),
            [unit.task for unit, r in zip(units, found, strict=True) if r])


# --- scores -------------------------------------------------------------------------------------


def draw_scores() -> None:
    """Both maps side by side."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        show = str(st.segmented_control("Show", SHOW, default="mean", required=True, key="show",
                                        persist_state="session", help="Over the random sequences."))
        prefix, copying = variants()
        induction_heads()
    place = st.container()
    a, b = scores(prefix, copying)
    with place:
        left, right = blocks.side_by_side("induction", 1, 1, gap="large")
        with left:
            if a is not None:
                one_map(a, "prefix matching", prefix, show, f"chance {chance(a)}",
                        f"Prefix matching: {PREFIX[prefix]}; 1 = an ideal induction head, {chance(a)} = attending to "
                        "everything alike")
        with right:
            if b is not None:
                one_map(b, "copying", copying, show, "0: nothing is raised",
                        f"Copying: {COPYING[copying]}; 1 = only that token, 0 = nothing is raised")
        if a is not None and b is not None:
            rho = stats.spearman(*(alive.of(np.array(record.mean)) for record in (a, b)))
            blocks.note(f"Prefix matching and copying {words.agreement(rho)}.",
                        blocks.provenance(setup.model, f"ρ: Spearman's rank correlation over {alive.n} {alive.called}; "
                                          "0 is chance", alive.measured))


def one_map(record: InductionScores, name: str, variant: str, show: str, least: str, definition: str) -> None:
    """One clickable heatmap of a score's mean or variance."""
    values = np.array(record.mean if show == "mean" else record.variance)
    label = name if show == "mean" else f"variance of {name}"
    table = tables.induction_table(record, name, show, chosen, info.headless)
    unit = PrefixMatching(setup.model, variant) if name == "prefix matching" else Copying(setup.model, variant)
    file = f"{name.replace(' ', '-')}-{variant}-{show}"
    other = record.variance if show == "mean" else record.mean
    title = words.leads_in(record, name, alive.mask, HEAD)
    blocks.result(
        title, head_map(
            values, title=title, label=label, file=file, state="chosen", headless=info.headless, facts=[
                ("variance" if show == "mean" else "mean", np.array(other), "plain")],
            alt=f"Heatmap of {label} over {info.n_layers} layers and {info.n_heads} heads. {title}."),
        caption=f"n = {record.n_seeds} random sequences · {alive.over} · {least}",
        measured=blocks.provenance(
            setup.model, definition, f"Random sequences of up to {record.max_length} tokens, {record.tokens}",
            "The title's interval: 95 % of the mean over sequences", "A dead head can score: copying as in the "
            "authors' code reads the projection's bias, which is nobody's" * bool(alive.dead), alive.measured,
            source=SOURCE),
        table=table, file=file, key=f"induction {name}", python=blocks.python_lines(
            unit, *alive.lines, table=f"tables.induction_table(record, {name!r}, {show!r}, chosen{blocks.headless()})",
            then=[f"print(stats.concentration(np.array(record.mean){alive.index}), 'heads hold half of it')"],
            given=alive.given | {"chosen": chosen}))


def chance(record: InductionScores) -> str:
    """The prefix matching of a head that looks everywhere alike, from the longest sequence to the shortest."""
    longest = (record.max_length - 1) // 4
    low, high = (stats.prefix_match_by_chance(n) for n in (longest, min(25, longest)))
    return f"{low:.2g} to {high:.2g}" if low < high else f"{low:.2g}"


def induction_heads() -> None:
    """Choose the heads that lead in prefix matching, for Lab."""
    with st.popover("Choose the top heads", icon=":material/checklist:"):
        k = st.number_input("How many", 1, n_heads, min(3, n_heads), key="top k", persist_state="session")
        st.button(f"Choose the top {k} in prefix matching", key="choose top", on_click=choose_top, args=(int(k),))
    blocks.to_lab()


def choose_top(k: int) -> None:
    if (record := blocks.fetch(PrefixMatching(setup.model))) is not None:
        ranked = [head for head in stats.highest(np.array(record.mean), 1) if alive.mask[head.layer, head.head]]
        components.change(lambda now: Ablation(frozenset(ranked[:k]), now.ffns, components.preferred_fill()))
    else:
        st.toast("Prefix matching is not measured for this model.")


# --- against importance -------------------------------------------------------------------------


def draw_scatter() -> None:
    """Both scores against importance, one dot per head, and the heads that lead in them as a table."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        which = str(st.segmented_control("Importance of", ("this task", "all tasks"), default="this task",
                                         required=True, key="importance of", persist_state="session"))
        prefix, copying = variants()
    place = st.container()
    found = importance(which)
    a, b = scores(prefix, copying)
    if found is None or a is None or b is None:
        return
    called, values, those = found
    table = tables.scores_table(values, a, b, chosen, alive.mask)
    python = blocks.python_lines(
        selection.importance(those[0]), *alive.lines,
        f"importance = stats.aggregate([record.scores({by!r}) for record in records])",
        table=f"tables.scores_table(importance, prefix, copying, chosen{alive.argument}).drop(columns=['off'])",
        then=[blocks.printed("tables.correlation_table(table)")], over=[(task, setup.n_shots) for task in those],
        also={"prefix": PrefixMatching(setup.model, prefix), "copying": Copying(setup.model, copying)},
        given=alive.given | {"chosen": chosen})
    with place:
        left, right = blocks.side_by_side("induction", 1, 1, gap="large")
        with left:
            one_scatter(table, "prefix matching", a, called, python)
        with right:
            one_scatter(table, "copying", b, called, python)
        leaders(table)


def one_scatter(table: pd.DataFrame, name: str, record: InductionScores, called: str, python: str) -> None:
    """Importance against one score; a click chooses a head, in every chart."""
    agree = words.agreement(stats.spearman(table[name].to_numpy(), table["importance"].to_numpy()))
    axes = {"x": name, "y": "importance", "x_title": name, "y_title": f"importance for {called}"}
    blocks.result(
        f"Importance for {called} and {name} {agree}",
        charts.scatter(table, **axes),
        caption=f"n = {alive.over}, a dot each · orange: chosen · chance: ρ = 0",
        measured=blocks.provenance(
            setup, f"{name.capitalize()} over {record.n_seeds} random sequences, importance {by}",
            "Orange: chosen heads, in both charts", "ρ: Spearman's rank correlation; 0 is chance", alive.measured,
            source=SOURCE, task=called),
        table=table.drop(columns=["off"]), file=f"{name.replace(' ', '-')}-and-importance", python=python,
        key=f"scatter {name}", clickable=plots.dots(
            table, blocks.shape(), **axes, alt=f"Scatter of importance against {name}, one dot per head; they {agree}.",
            facts=((name, name, "plain"), ("importance", "importance", "plain"))))


def leaders(table: pd.DataFrame) -> None:
    """The heads that lead in prefix matching, with their other ranks."""
    listed = tables.leaders_table(table)
    top = listed.iloc[0]
    blocks.heading(f"{top['head']} leads in prefix matching and has rank {top['importance rank']:.0f} of {alive.n} "
                   "in importance")
    st.dataframe(
        blocks.aligned(listed, scores=("prefix matching", "copying", "importance"), whole=("importance rank",)),
        hide_index=True, height=300, key="induction leaders",
        alt="The twelve heads highest in prefix matching, with their copying and importance.")


# --- function vectors ---------------------------------------------------------------------------


def draw_vectors() -> None:
    """Which heads carry what the demonstrations ask for, and whether they are the induction heads or the important."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        which = str(st.segmented_control("Function vectors of", ("this task", "all tasks"), default="this task",
                                         required=True, key="vectors of", persist_state="session",
                                         help=glossary.says("function vector")))
        most = max(1, alive.n // 2)
        k = int(st.number_input("Heads in each set", 1, most, min(most, 8, max(3, alive.n // 10)), key="vectors top",
                                persist_state="session", help="The highest in each of the three scores."))
        choices = st.container()
    those = [setup.task] if which == "this task" else list(tasks.values())
    units = {task: (FunctionVectors(selection.current(task).with_(n_examples=MEANS)), selection.importance(task))
             for task in those}
    place = st.container()
    effects = blocks.get_all([one for one, _ in units.values()], f"function vectors of {which}, {setup.n_shots}-shot")
    scored = blocks.get_all([one for _, one in units.values()], f"head importance of {which}, {setup.n_shots}-shot")
    prefix = blocks.get(PrefixMatching(setup.model), "prefix matching of every head")
    found = {task: (a, b) for task, a, b in zip(those, effects, scored, strict=True) if a is not None and b is not None}
    if not found or prefix is None:
        return
    records = [a for a, _ in found.values()]
    values = stats.aggregate([b.scores(by) for _, b in found.values()])
    table = tables.vectors_table(records, prefix, values, chosen, alive.mask)
    called = setup.task.name if which == "this task" else f"the mean of {words.how_many(len(found), 'task')}"
    lost = float(np.mean([record.lost for record in records]))
    with choices:
        choose_sets(table, k)
    made = Made(called, blocks.provenance(
        setup, f"Effect: {FunctionVectors.DEFINITION}", f"Here: {setup.n_shots} demonstrations, "
        f"means over {records[0].n_means} prompts, effects over {len(records[0].shuffled)} others of each task",
        "Right answer's probability: " + ", ".join(
            f"{words.percent(float(np.mean(p)))} behind {labels} labels" for labels, p in (
                ("true", [r.true for r in records]), ("shuffled", [np.mean(r.shuffled) for r in records]))),
        "95 % t intervals over prompts, those of one draw of demonstrations together; p after Holm over all heads",
        f"Prefix matching over {prefix.n_seeds} random sequences; importance {by}", alive.measured,
        source=f"{FunctionVectors.SOURCE}; {SOURCE}", task=called), units[next(iter(found))], list(found))
    with place:
        left, right = blocks.side_by_side("vectors", 1, 1, gap="large")
        with left:
            picture_of_sets(table, k, made)
        with right:
            picture_of_effects(table, lost, made)
        list_of_sets(table, k)


class Made(NamedTuple):
    """What both pictures are made of."""

    called: str
    measured: str
    units: tuple[FunctionVectors, HeadImportance]  # of the first task
    tasks: list[TaskId]

    def python(self, *before: str, table: str, then: Sequence[str] = ()) -> str:
        """Lines that make a table out of `vectors`, the heads' table."""
        return blocks.python_lines(
            self.units[0], *alive.lines,
            f"importance = stats.aggregate([one.scores({by!r}) for one in importances])",
            f"vectors = tables.vectors_table(records, prefix, importance, chosen{alive.argument})", *before,
            table=table, then=then, over=[(task, setup.n_shots) for task in self.tasks],
            also={"prefix": PrefixMatching(setup.model), "importances": self.units[1]},
            given=alive.given | {"chosen": chosen})


def picture_of_sets(table: pd.DataFrame, k: int, made: Made) -> None:
    """Three circles with the top heads of each score, and what they share beside chance."""
    sets, regions = tables.sets_table(table, k), tables.regions_table(table, k)
    title = verdicts.sets_apart(sets, int(verdicts.is_told(table).sum()))
    blocks.result(
        title, charts.three_sets(regions, st.context.theme.type == "dark"),
        caption=f"Top {k} of {alive.over} each · numbers: heads", measured=made.measured, table=sets,
        file="function-vectors-sets", key="vectors sets",
        python=made.python(table=f"tables.sets_table(vectors, {k})",
                           then=[blocks.printed(f"tables.regions_table(vectors, {k})")]),
        alt_text=f"Three circles that overlap. {title}. " + "; ".join(
            f"{row.part}: {row.heads}" for row in regions.itertuples()))
    st.dataframe(blocks.aligned(sets, p=("p",), counts=("by chance",)), hide_index=True, key="vectors chance",
                 height=blocks.table_height(3), alt="What two of the sets share, and what chance gives.")


def picture_of_effects(table: pd.DataFrame, lost: float, made: Made) -> None:
    """Each head's effect against its prefix matching; a click chooses a head."""
    axes = {"x": "prefix matching", "y": "effect", "x_title": "prefix matching",
            "y_title": f"function-vector effect for {made.called}"}
    title = verdicts.carries(table, lost, HEAD)
    blocks.result(
        title, charts.scatter(table, **axes), caption=f"{alive.over}, a dot each · orange: chosen · chance: effect 0",
        measured=made.measured, table=table.drop(columns=["off"]), file="function-vectors", key="vectors scatter",
        python=made.python(table="vectors.drop(columns=['off'])"),
        clickable=plots.dots(table, blocks.shape(), **axes, alt=f"Scatter of effect against prefix matching. {title}.",
                             facts=(("effect", "effect", "plain"), ("prefix matching", "prefix matching", "plain"),
                                    ("importance", "importance", "plain"))))


def list_of_sets(table: pd.DataFrame, k: int) -> None:
    """The heads of the three sets, with their scores and ranks."""
    shown = tables.set_heads_table(table, k)
    blocks.heading(f"{words.how_many(len(shown), 'head')} in the three sets, by effect; "
                   f"{int(shown['chosen'].sum())} chosen")
    whole = [f"{score} rank" for score in tables.SCORE.values()]
    st.dataframe(blocks.aligned(shown, scores=("effect", "95 % from", "to", "prefix matching", "importance"),
                                whole=whole), hide_index=True, height=blocks.table_height(len(shown)),
                 key="vectors heads", alt="The heads of the three sets with their scores, ranks and sets.")


def choose_sets(table: pd.DataFrame, k: int) -> None:
    """Buttons that choose one of the sets, or what of it is not in another."""
    vector, induction, important = tables.SETS
    offers = {f"The {k} function-vector heads": (vector, ()), f"The {k} induction heads": (induction, ()),
              f"The {k} most important heads": (important, ()),
              "Function-vector heads that are no induction heads": (vector, (induction,)),
              "Induction heads that are no function-vector heads": (induction, (vector,))}
    with st.popover("Choose heads", icon=":material/checklist:"):
        for i, (label, (of, without)) in enumerate(offers.items()):
            heads = tables.heads_of(table, k, of, without)
            st.button(f"{label} ({len(heads)})" if without else label, key=f"choose set {i}", disabled=not heads,
                      on_click=choose_heads, args=(heads,))
    blocks.to_lab()


def choose_heads(heads: frozenset[Head]) -> None:
    components.change(lambda now: Ablation(heads, now.ffns, components.preferred_fill()))


# --- knock-out ----------------------------------------------------------------------------------


def draw_knock_out() -> None:
    """Accuracy as function-vector heads, induction heads, each without the other, or random others are off."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        which = str(st.segmented_control("Accuracy on", ("this task", "all tasks"), default="this task", required=True,
                                         key="knocked on", persist_state="session"))
        fill = str(st.segmented_control("Switched off to", ("zero", "mean"), default="zero", required=True,
                                        key="knocked to", persist_state="session", help=glossary.says("ablation")))
        at = st.select_slider("Read at, % of heads off", [100 * share for share in SHARES[1:]], 10.0, key="knocked at",
                              format_func=lambda share: f"{share:g}", persist_state="session", width=260)
    those = [setup.task] if which == "this task" else list(tasks.values())
    place = st.container()
    asked = knocked.ask([selection.current(task) for task in those], list(tasks.values()), fill)
    curves = knocked.get(asked, f"accuracy of {which} without these heads")
    if curves is not None:
        n = len(curves.setups)
        called = setup.task.name if which == "this task" else f"the mean of {words.how_many(n, 'task')}"
        with place:
            title, _ = knocked.concluded(curves, float(at) / 100, called, alive)
            knocked.draw(title, curves, float(at) / 100, called, file="knock-out", key="knock out")


# --- capacity -----------------------------------------------------------------------------------


def draw_capacity() -> None:
    """How much of the scores is left as heads are pruned: per task and for the aggregate, or per number of shots."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = str(st.segmented_control("Capacity", ("prefix matching", "copying"), default="prefix matching",
                                        required=True, key="capacity of", persist_state="session",
                                        help=glossary.says("capacity")))
        lines = str(st.segmented_control("Rankings", ("tasks", "shots"), default="tasks", required=True,
                                         key="capacity lines", persist_state="session"))
        at = st.select_slider("Read at, % of heads removed", [10 * i for i in range(1, 10)], 70, key="capacity at",
                              persist_state="session", width=260)
        prefix, copying = variants()
    place = st.container()
    unit = PrefixMatching(setup.model, prefix) if name == "prefix matching" else Copying(setup.model, copying)
    record = blocks.get(unit, f"{name} of every head")
    rankings, bold, over, made = by_task() if lines == "tasks" else by_shots()
    if record is None or not rankings:
        return
    table = tables.capacity_table(record, rankings, FRACTIONS, alive.mask)
    with place:
        blocks.result(
            words.keeps(table, int(at), bold, name, alive.called),
            charts.capacity(table, bold, f"{name} retained"),
            caption=f"n = {record.n_seeds} sequences · {alive.over} · dashed: random" + (
                " · thin: the other tasks" if lines == "tasks" else ""),
            measured=blocks.provenance(
                setup, f"Retained: the share of the total {name} that the remaining heads hold",
                f"Heads go by {by} importance, lowest first",
                f"{name.capitalize()}: {PREFIX[prefix] if name == 'prefix matching' else COPYING[copying]}",
                "Dashed: random pruning on average", alive.measured, source=SOURCE,
                task="each task" if lines == "tasks" else "mean of tasks"),
            table=table, file=f"capacity-{name.replace(' ', '-')}-{lines}",
            python=blocks.python_lines(
                selection.importance(*max(over, key=lambda one: one[1])), *alive.lines, *made, over=over,
                also={"scores": unit},
                given=alive.given,
                table=f"tables.capacity_table(scores, rankings, {FRACTIONS}{alive.argument})"),
            key="capacity", alt_text=f"Curves of the {name} retained as heads are pruned by {len(rankings)} rankings.")


Over = list[tuple[TaskId, int]]
Rankings = tuple[dict[str, np.ndarray], list[str], Over, list[str]]  # by name, the bold ones, of what, and as Python


def by_task() -> Rankings:
    """Every task's ranking and the aggregate's; the aggregate and the chosen task are drawn bold."""
    asked = list(dict.fromkeys([*tasks.values(), setup.task]))
    units = [selection.importance(task) for task in asked]
    records = blocks.get_all(units, f"head importance of all tasks, {setup.n_shots}-shot")
    found = {task.name: r.scores(by) for task, r in zip(asked, records, strict=True) if r is not None}
    rest = [found[name] for name in tasks if name in found]
    aggregate = {f"the mean of {len(rest)} tasks": stats.aggregate(rest)} if len(rest) > 1 else {}
    lines = [f"rankings = {{setup.task.name: record.scores({by!r}) for setup, record in zip(setups, records, "
             "strict=True)}"]
    lines += [f"rankings = {{{name!r}: stats.aggregate(list(rankings.values())[:{len(rest)}]), **rankings}}"
              for name in aggregate]
    return ({**aggregate, **found}, [*aggregate, *([setup.task.name] if setup.task.name in found else [])],
            [(task, setup.n_shots) for task in asked if task.name in found], lines)


def by_shots() -> Rankings:
    """The aggregate ranking at every number of shots."""
    keys = [(task, n_shots) for n_shots in selection.SHOTS for task in tasks.values()]
    units = [selection.importance(task, n_shots) for task, n_shots in keys]
    records = blocks.get_all(units, "head importance of all tasks at 0, 1 and 5 shots")
    found: dict[str, np.ndarray] = {}
    over: Over = []
    lines = ["rankings = {"]
    for n_shots in selection.SHOTS:
        some = [(key, r.scores(by)) for key, r in zip(keys, records, strict=True) if key[1] == n_shots and r]
        if some:
            name = f"{n_shots}-shot mean of {words.how_many(len(some), 'task')}"
            found[name] = stats.aggregate([scores for _, scores in some])
            lines.append(f"    {name!r}: stats.aggregate([record.scores({by!r}) for record in "
                         f"records[{len(over)}:{len(over) + len(some)}]]),")
            over += [key for key, _ in some]
    return found, list(found), over, [*lines, "}"]


# --- one head -----------------------------------------------------------------------------------


@st.cache_data(show_spinner="Reading the repeated sequence …", max_entries=32)
def _pattern(model: ModelId, layer: int, n_block: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """(n_heads, pos, pos) attention of a layer on a repeated sequence, and its tokens."""
    def see(loaded: LoadedModel) -> tuple[np.ndarray, list[str]]:
        ids, tokens = lens.repeated_tokens(loaded, n_block, seed)
        return lens.attention(loaded, ids, layer), tokens

    return waiting.look(see)


def draw_one_head() -> None:
    """The attention of one head on a random block and its repeat."""
    record = blocks.fetch(PrefixMatching(setup.model))
    ranked = info.heads if record is None else tuple(
        head for head in stats.highest(np.array(record.mean), 1) if head in info.heads)
    values = np.array(record.mean) if record is not None else None
    first = [head for head in ranked if head in chosen.heads] + [head for head in ranked if head not in chosen.heads]
    if st.session_state.get("one head") not in first:
        st.session_state["one head"] = first[0]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        head = st.selectbox("Head", first, key="one head", width=300, format_func=lambda h: str(h) + (
            f" · prefix matching {values[h.layer, h.head]:.2f}" if values is not None else ""),
            help="Chosen heads first, then by prefix matching.")
        n_block = st.slider("Tokens in the block", 4, LONGEST, 12, key="block length", persist_state="session",
                            width=220)
        seed = st.number_input("Sequence", 0, 999, 0, key="sequence seed", persist_state="session", width=130)
    ready = info.n_params <= LIVE_PARAMETERS or st.session_state.get("looked at") == setup.model
    if not ready:
        st.button("Load the model and look", key="look", icon=":material/visibility:",
                  on_click=lambda: st.session_state.update({"looked at": setup.model}))
        st.caption(f"Reading one sequence needs the model in memory: {info.bytes / 1e9:.1f} GB on disk.")
        return
    patterns, tokens = _pattern(setup.model, head.layer, n_block, int(seed))
    picture(head, patterns[head.head], tokens, n_block, int(seed))


def picture(head: Head, pattern: np.ndarray, tokens: list[str], n_block: int, seed: int) -> None:
    """The pattern as a map, with the places framed where an ideal induction head would look."""
    score, by_chance = stats.prefix_match(pattern, n_block), stats.prefix_match_by_chance(n_block, 2)
    title = (f"{head} gives {words.percent(score)} of its attention to what followed before; attending to everything "
             f"alike would give {words.percent(by_chance)}")
    table = tables.attention_table(pattern, tokens)
    blocks.heading(title)
    chart = charts.framed(charts.attention_map(table, tokens), stats.prefix_targets(n_block, 2))
    st.altair_chart(chart, width="content",
                    alt=f"Attention of {head} on {n_block} random tokens and their repeat. {title}.")
    caption = blocks.note("n = 1 sequence · framed: what followed the same token before", blocks.provenance(
        setup.model, f"BOS and {n_block} random tokens, twice; sequence {seed}",
        "Rows are queries, columns keys; each row adds up to 1",
        "Framed: what followed the same token in the first block; the percentage is the mean over the second",
        source=SOURCE))
    blocks.extras(table, f"attention-{head}-repeated", blocks.repeated_lines(head, n_block, seed), "one head",
                  title=title, caption=caption, shown=[("", chart)])


st.title("Induction")
blocks.text("Which heads continue what they have seen before? Scores on random tokens, which carry no meaning.")
view = str(selection.control("View", VIEWS, "view"))
match view:
    case "Against importance":
        draw_scatter()
    case "Function vectors" | "Knock-out" if not setup.n_shots:
        blocks.text("Function vectors are what demonstrations leave at a prompt's last token. At 0 shots there are "
                    "none: choose 1 shot or more in the sidebar.")
    case "Function vectors":
        draw_vectors()
    case "Knock-out":
        draw_knock_out()
    case "Demonstrations":
        demonstrations.section()
    case "Capacity":
        draw_capacity()
    case "One head":
        draw_one_head()
    case "In training" if selection.model_name() == BUNDLED:
        growth.section("training")
    case "In training":
        blocks.text("Checkpoints of its training are known of the bundled model alone: choose it in the sidebar.")
    case _:
        draw_scores()
