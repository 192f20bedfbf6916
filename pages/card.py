"""Everything that is known of one head (`?head=L3H7`), and all heads beside one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import streamlit as st

from backend import lens, stats, tables
from backend.errors import HeadroomError
from backend.kinds import Copying, Effects, FunctionVectors, HeadOracle, HeadScores, PrefixMatching, Sweep, Unit
from backend.kinds.function_vectors import MEANS
from backend.kinds.lines import expression, with_imports
from backend.models.info import weights
from backend.tasks.task import Prompt
from backend.values import Ablation, Head, ModelId, TaskId
from pages.shared import blocks, charts, components, handles, living, routes, selection, verdicts, waiting, words
from pages.shared.plain import prose

if TYPE_CHECKING:
    from backend.lens.reading import Reading
    from backend.models.loading import LoadedModel

LOOKED_AT = 3  # prompts on which it is shown what a head looks at
INPUTS, OUTPUTS = 12, 5  # the commonest tokens of the task's prompts, and what a head writes most for each
ROWS = "rows of all heads"
PANEL = 760  # pixels: a picture of three columns

setup, info, by, chosen = selection.current(), selection.info(), selection.definition(), selection.ablation()
tasks, alive = selection.compared(), living.now()
everywhere = {**tasks, setup.task.name: setup.task}


# --- get ----------------------------------------------------------------------------------------


class Known(NamedTuple):
    """What is stored of every head."""

    maps: Mapping[str, np.ndarray]  # (n_layers, n_heads) each, by what it is called
    unit: Unit[Any] | None  # whose record it is of; None for the mean over tasks
    entry: str  # the same as an entry of a Python dictionary, out of a record called RECORD


def stored() -> list[Known]:
    """Everything that is stored of every head."""
    found: list[Known] = []

    def add(label: str, values: np.ndarray, unit: Unit[Any] | None, line: str) -> None:
        found.append(Known({label: values}, unit, f"{label!r}: {line}"))

    own = blocks.fetch(selection.importance())
    if own is not None:
        add(f"importance for {setup.task}", own.scores(by), selection.importance(), f"RECORD.scores({by!r})")
    if own is not None and len(every := every_importance()) > 1:
        add(f"mean importance of {len(every)} tasks", stats.aggregate([one.scores(by) for one in every.values()]), None,
            f"stats.aggregate([one.scores({by!r}) for one in every])")
    for label, unit in {"prefix matching": PrefixMatching(setup.model), "copying": Copying(setup.model)}.items():
        if (record := blocks.fetch(unit)) is not None:
            add(label, np.array(record.mean), unit, "np.array(RECORD.mean)")
    if (effects := blocks.fetch(vectors(setup.task))) is not None:
        add("function-vector effect", effects.scores(), vectors(setup.task), "RECORD.scores()")
    if (oracle := blocks.fetch(HeadOracle(setup))) is not None:
        shape = info.n_layers, info.n_heads
        found.append(Known(tables.need_maps(oracle, shape), HeadOracle(setup), f"**tables.need_maps(RECORD, {shape})"))
    if (writes := blocks.fetch(living.writes(setup))) is not None:
        add("share of its layer's write", writes.shares(), living.writes(setup), "RECORD.shares()")
    return found


def every_importance() -> dict[tuple[str, int], HeadScores]:
    """Head importance of the tasks that are compared, as far as it is stored."""
    return importance_of([(task, setup.n_shots) for task in tasks.values()])


def lines(*after: str) -> str:
    """Python that makes `heads`, the table of all heads, and what follows from it."""
    named = {f"record_{i}": one.unit for i, one in enumerate(known) if one.unit is not None and i}
    entries = [one.entry.replace("RECORD", f"record_{i}" if i else "record") for i, one in enumerate(known)]
    others = tuple(tasks[task] for task, _ in every_importance())
    mean = [f"every = [get(HeadImportance(Setup(model, task, {setup.n_shots}, {setup.demos!r}, {selection.n_train()}, "
            f"{setup.seed}, {setup.draws}))) for task in others]"] if "every" in "".join(entries) else []
    first = known[0].unit
    assert first is not None
    return blocks.python_lines(
        first, *alive.lines, *mean, "heads = tables.heads_table({", *[f"    {entry}," for entry in entries],
        f"}}, chosen{alive.argument}{blocks.headless()})", *after, also=named,
        given=alive.given | {"chosen": chosen} | ({"others": others} if mean else {}))


def importance_of(pairs: Sequence[tuple[TaskId, int]]) -> dict[tuple[str, int], HeadScores]:
    """What is stored of head importance, by task and number of shots."""
    return {(task.name, n_shots): record for task, n_shots in pairs
            if (record := blocks.fetch(selection.importance(task, n_shots))) is not None}


def vectors(task: TaskId) -> FunctionVectors:
    return FunctionVectors(selection.current(task).with_(n_examples=MEANS))


# --- one head -----------------------------------------------------------------------------------


def which() -> Head:
    """The head whose card is open; by default a chosen one, else the one of the highest first score."""
    names = {str(head): head for head in info.heads}
    scores = np.nan_to_num(next(iter(known[0].maps.values()))) if known else np.zeros((info.n_layers, info.n_heads))
    first = min(chosen.heads) if chosen.heads else next(h for h in stats.highest(scores, 1) if str(h) in names)
    asked = st.session_state.get("head", st.query_params.get("head"))
    if asked is not None and asked not in names:
        selection.not_read("head", str(asked), f"L{info.attending[0]}H0 to L{info.attending[-1]}H{info.n_heads - 1}",
                           first)
        st.session_state["head"] = str(first)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        name = st.selectbox("Head", list(names), index=list(names).index(str(first)), key="head", bind="query-params",
                            width=130)
        head = names[str(name)]
        st.button("Switch off in Lab", key="to lab", icon=":material/science:", on_click=switch_off, args=(head,))
        st.button("Look at it in Playground", key="to playground", icon=":material/search:", on_click=look_at,
                  args=(head,))
    return head


def switch_off(head: Head) -> None:
    """Choose this head alone, and open Lab."""
    components.choose(Ablation(frozenset([head])))
    routes.go("lab")


def look_at(head: Head) -> None:
    """Open Playground at this head."""
    routes.go("playground", at_layer=head.layer, at_head=head.head)


def draw_card(head: Head) -> None:
    """What is stored of one head for the chosen task."""
    dead = alive.dead is not None and head in alive.dead
    card = tables.head_table(all_heads, head)
    title = verdicts.of_head(str(head), card, dead)
    blocks.heading(title)
    st.dataframe(blocks.aligned(card, scores=("value",), whole=("rank", "of")), hide_index=True,
                 height=blocks.table_height(len(card)), alt=f"The scores of {head}.")
    caption = blocks.note(f"ranks among {alive.over} · 1: the highest", blocks.provenance(
        setup, f"Importance {by}: gradients; {tables.ACCURACY_LOST} and {tables.LOSS_ADDED}: the same questions with "
        "the head off alone, the loss is the cross-entropy of the right answer, mean over its tokens and questions",
        f"{head} has {words.percent(weight())} of the model's parameters (4 · d_model · d_head)", alive.measured))
    blocks.extras(card, f"{head}-{setup.task}-{setup.n_shots}shot", lines(
        *blocks.shown_lines(f"tables.head_table(heads, {name_of(head)})")), "card", title=title, caption=caption)


def draw_more(head: Head) -> None:
    """What is stored of one head task by task, and what can be looked at while its model is here."""
    with st.container(width=PANEL):
        in_every_task(head)
    when_off(head)
    as_vector(head)
    looks(head)
    says(head)


def weight() -> float:
    """The share of all parameters that a head has."""
    return weights(info).head / info.n_params


def in_every_task(head: Head) -> None:
    """How a head ranks in every task and at every number of shots."""
    pairs = [(task, n_shots) for n_shots in selection.SHOTS for task in everywhere.values()]
    found = importance_of(pairs)
    if len(found) < 2:
        return
    over = [(task, n_shots) for task, n_shots in pairs if (task.name, n_shots) in found]
    table = tables.head_importance_table(head, found, by, alive.mask)
    title = verdicts.head_ranks(str(head), table, setup.n_shots)
    columns = [f"{n}-shot" for n in sorted({n for _, n in found})]
    cells = table.assign(row=table["task"], column=[f"{n}-shot" for n in table["shots"]]).rename(columns={
        "above": "heads below it"})
    blocks.result(
        title, charts.matrix(cells, "heads below it", rows=[n for n in everywhere if n in set(table["task"])],
                             columns=columns, number=".0%", dark=st.context.theme.type == "dark", clickable=False),
        caption=f"n = {int(table['n'].max())} training examples each · {alive.over} · chance: 50 %",
        measured=blocks.provenance(
            setup, f"The share of the other heads whose importance {by} is below this head's", alive.measured,
            "The importance, its rank and its 95 % interval (bootstrap over blocks of examples) are in the CSV",
            source=blocks.STUDY, task="each task", shots="each number of shots"),
        table=table, file=f"{head}-importance", key="card importance",
        python=blocks.python_lines(
            selection.importance(*max(over, key=lambda one: one[1])), *alive.lines,
            "names = [(setup.task.name, setup.n_shots) for setup in setups]",
            table=f"tables.head_importance_table({name_of(head)}, dict(zip(names, records, strict=True)), {by!r}"
                  f"{alive.argument})", over=over, given=alive.given),
        alt_text=f"Heatmap over tasks and numbers of shots. {title}.")


def when_off(head: Head) -> None:
    """What its removal does to every task, and which questions turn."""
    found: dict[str, Sweep] = {name: record for name, task in everywhere.items()
                               if (record := blocks.fetch(HeadOracle(selection.current(task)))) is not None}
    if not found:
        return
    table = tables.head_off_table(head, found)
    title = verdicts.head_needed(str(head), table)
    blocks.heading(title)
    kept = table["loss"].notna().any()
    shown = table if kept else table.drop(columns=["loss", "loss from", "loss to"])
    st.dataframe(blocks.aligned(shown, percent=("change", "low", "high"), p=("p", "p (Holm)"),
                                scores=("loss", "loss from", "loss to") if kept else ()), hide_index=True,
                 height=blocks.table_height(len(table), 420), alt=f"Each task without {head}. {title}.")
    caption = blocks.note(
        f"n = {int(table['n'].max())} questions per task · loss: nats, above 0 is worse",
        blocks.provenance(setup, "Change: accuracy with the head off minus intact, on the same questions",
                          words.how_tested(setup), "Loss: the right answer's cross-entropy, mean over its tokens; "
                          "95 % t interval of its change, over draws where questions share some", task="each task"))
    blocks.extras(table, f"{head}-off", lines_by_task(HeadOracle(setup), f"head_off_table({name_of(head)}", found),
                  "card off", title=title, caption=caption)
    if setup.task.name in found:
        flips(head, found[setup.task.name])


def flips(head: Head, oracle: Sweep) -> None:
    """The questions of the chosen task that turn."""
    prompts: dict[int, Prompt] = {}
    with suppress(HeadroomError):  # its rows are elsewhere: they have numbers
        prompts = {prompt.doc: prompt for prompt in handles.prompts(setup)}
    table = tables.head_flips_table(head, oracle, prompts)
    counts = Counter(table["turned"])
    title = f"Without {head} {words.how_many(counts['wrong'], 'question')} of {setup.task} " \
            f"{'turns' if counts['wrong'] == 1 else 'turn'} wrong, {counts['right'] or 'none'} right"
    blocks.heading(title, 3)
    if table.empty:
        return
    st.dataframe(table, hide_index=True, height=blocks.table_height(len(table)), alt=f"{title}.")
    caption = blocks.note(f"n = {len(oracle.questions.docs)} questions", blocks.provenance(
        setup, "Intact, without it: the option of highest log-likelihood"))
    blocks.extras(table, f"{head}-turned", blocks.python_lines(
        HeadOracle(setup), f"asked = {{one.doc: one for one in prompts(get_task({setup.task.name!r}), {setup.n_shots}, "
        f"{setup.demos!r}, {setup.n_examples}, {setup.seed}, draws={setup.draws})}}",
        table=f"tables.head_flips_table({name_of(head)}, record, asked)"), "card flips", title=title, caption=caption)


def as_vector(head: Head) -> None:
    """What it carries of a task, at the last token."""
    found: dict[str, Effects] = {name: record for name, task in everywhere.items()
                                 if (record := blocks.fetch(vectors(task))) is not None}
    if not found:
        return
    table = tables.head_effects_table(head, found)
    title = verdicts.head_carries(str(head), table)
    blocks.heading(title)
    st.dataframe(blocks.aligned(table, scores=("effect", "95 % from", "to", "lost by shuffling"), p=("p", "p (Holm)")),
                 hide_index=True, height=blocks.table_height(len(table), 420), alt=f"Each task. {title}.")
    caption = blocks.note(f"n = {int(table['n'].max())} shuffled-label prompts per task", blocks.provenance(
        setup, FunctionVectors.DEFINITION, "Lost by shuffling: what there is to bring back",
        source=FunctionVectors.SOURCE, task="each task"))
    blocks.extras(table, f"{head}-function-vector", lines_by_task(vectors(setup.task), "head_effects_table("
                  f"{name_of(head)}", found), "card vectors", title=title, caption=caption)


def lines_by_task(unit: Unit[Any], table: str, found: Collection[str]) -> str:
    """Python that makes a table out of the records of some tasks, by their names."""
    return blocks.python_lines(unit, "names = [setup.task.name for setup in setups]",
                               table=f"tables.{table}, dict(zip(names, records, strict=True)))",
                               over=[(everywhere[name], setup.n_shots) for name in found])


def name_of(head: Head) -> str:
    """A head as Python."""
    return expression(head, {})


# --- with the model at hand -----------------------------------------------------------------------


def looks(head: Head) -> None:
    """What it looks at on a few prompts of the task, for those who unfold it."""
    with st.expander(f"What it looks at: {LOOKED_AT} prompts", icon=":material/visibility:", key="looks",
                     on_change="rerun") as unfolded:
        if not unfolded.open:
            return
        try:
            for q, prompt in enumerate(handles.prompts(setup)[:LOOKED_AT]):
                reading = _reading(setup.model, prompt)
                pattern = _attention(setup.model, reading.token_ids, head.layer)[head.head]
                blocks.heading(words.looks_at(head, pattern, reading.tokens), 3)
                st.altair_chart(charts.token_text(pattern, reading.tokens, st.context.theme.type == "dark"),
                                width="content", key=f"looks {q}",
                                alt=f"The prompt's tokens, shaded by the attention of {head} from the last one.")
        except HeadroomError as error:
            st.info(prose(error), icon=":material/info:")
            return
        blocks.note(f"n = {LOOKED_AT} prompts · stronger: looked at more from the last token; hover for others",
                    blocks.provenance(setup, "Attention after softmax, intact model"))


@st.cache_data(show_spinner=False, max_entries=32)
def _reading(model: ModelId, prompt: Prompt) -> Reading:
    return waiting.look(lambda loaded: lens.look_at(loaded, prompt))


@st.cache_data(show_spinner=False, max_entries=32)
def _attention(model: ModelId, ids: tuple[int, ...], layer: int) -> np.ndarray:
    return waiting.look(lambda loaded: lens.attention(loaded, ids, layer))


def says(head: Head) -> None:
    """What it writes for common tokens, whatever it looks at; for those who unfold it."""
    with st.expander("What it writes: the direct path", icon=":material/edit:", key="says",
                     on_change="rerun") as unfolded:
        if not unfolded.open:
            return
        try:
            ids, names = _common(setup.model, tuple(p.prefix + p.example.contexts[0] for p in handles.prompts(setup)))
            written = waiting.look(lambda loaded: lens.direct_path(loaded, head, ids, OUTPUTS))
        except HeadroomError as error:
            st.info(prose(error), icon=":material/info:")
            return
        table = tables.direct_table(names, [[(one.text, one.logits) for one in best] for best in written])
        copied = sum(best[0].token == token for token, best in zip(ids, written, strict=True))
        title = f"Along the direct path {head} writes that very token most for {copied or 'none'} of {len(ids)}"
        blocks.heading(title, 3)
        st.dataframe(table, hide_index=True, height=blocks.table_height(len(table), 480), alt=f"{title}.")
        caption = blocks.note(
            f"n = {len(ids)} commonest tokens of the task's prompts · in brackets: logits",
            blocks.provenance(
                setup, "Direct path W_U W_O W_V: the head reads the token's embedding alone, and what it writes is "
                "read by the last norm and the unembedding as if it were all there is",
                "Limits: layers below and above, and the keys, are left out",
                source="Elhage et al. 2021, A Mathematical Framework for Transformer Circuits"))
        blocks.extras(table, f"{head}-direct-path", with_imports([
            f"model = load_model({selection.load_lines()})", f"ids = {list(ids)}", f"tokens = {list(names)}",
            f"written = lens.direct_path(model, {name_of(head)}, ids, {OUTPUTS})",
            "spoken = [[(one.text, one.logits) for one in best] for best in written]",
            *blocks.shown_lines("tables.direct_table(tokens, spoken)")]), "card writes", title=title, caption=caption)


@st.cache_data(show_spinner=False, max_entries=8)
def _common(model: ModelId, texts: tuple[str, ...]) -> tuple[list[int], list[str]]:
    """The commonest tokens of some texts that are more than blanks, with how they read."""
    def find(loaded: LoadedModel) -> tuple[list[int], list[str]]:
        from backend.lens.patterns import tokens_shown

        counts = Counter(token for text in texts for token in loaded.encode(text))
        ids = [token for token, _ in counts.most_common(10 * INPUTS) if loaded.tokenizer.decode([token]).strip()]
        return ids[:INPUTS], tokens_shown(loaded.tokenizer, ids[:INPUTS])

    return waiting.look(find)


# --- all heads ----------------------------------------------------------------------------------


def draw_all() -> None:
    """All heads with every score: sorted by a click on a column, searched, taken away."""
    blocks.heading(f"All {len(all_heads)} heads")
    live = st.toggle("Live heads only", key="live only", disabled=not alive.dead, persist_state="session")
    shown = all_heads[all_heads["live"]] if live else all_heads
    shown = shown.drop(columns=["layer", "head"]).rename(columns={"name": "head"}).reset_index(drop=True)
    labels = [label for one in known for label in one.maps]
    columns = {label: st.column_config.NumberColumn(format="%.3g") for label in labels}
    columns |= {f"{label} rank": st.column_config.NumberColumn("rank", help=f"by {label}", format="%d")
                for label in labels}
    st.dataframe(shown, hide_index=True, height=420, column_config=columns, key=ROWS, on_select=open_row,
                 selection_mode="single-row", alt="Every head with its scores; a row opens its card.")
    caption = blocks.note(f"n = {alive.over} · a column's head sorts · a row opens the card", blocks.provenance(
        setup, "What is not stored has no column; ranks: 1 is the highest", alive.measured))
    blocks.extras(all_heads, f"heads-{setup.task}-{setup.n_shots}shot", lines(*blocks.shown_lines("heads")),
                  "all heads", title="All heads", caption=caption)


def open_row() -> None:
    """Open the card of the row that was chosen."""
    rows = ((st.session_state.get(ROWS) or {}).get("selection") or {}).get("rows") or []
    names = [name for name, live in zip(all_heads["name"], all_heads["live"], strict=True)
             if live or not st.session_state.get("live only")]
    if rows and rows[0] < len(names):
        st.session_state["head"] = names[rows[0]]


st.title("Card")
blocks.text("Everything that is stored of one head, and all heads beside one another.")
known = stored()
opened = which()
if known:
    all_heads = tables.heads_table({label: values for one in known for label, values in one.maps.items()}, chosen,
                                   alive.mask, info.headless)
    draw_card(opened)
    draw_more(opened)
    draw_all()
else:
    blocks.get(selection.importance(), f"head importance of {setup.task}, {setup.n_shots}-shot")
