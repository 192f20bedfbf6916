"""My own prompt, or a task's: what changes without these heads and FFNs, and what does a head look at?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from backend import lens, stats, tables
from backend.errors import HeadroomError, ModelError
from backend.kinds import Activations, Influence, Influences, PrefixMatching
from backend.kinds.lines import expression, with_imports
from backend.tasks.task import Prompt
from backend.values import INTACT, Ablation, Head, ModelId
from pages.map import head_map
from pages.shared import blocks, charts, demonstrations, handles, selection, verdicts, waiting, words
from pages.shared.plain import plain, prose

if TYPE_CHECKING:
    from backend.lens.patterns import Contributions
    from backend.lens.reading import Reading

SOURCES = ("Task", "My own")
LIVE_PARAMETERS = 200_000_000  # models up to this size read at once, larger ones when asked to
NEXT_TOKENS = 8
MAP, THUMBNAILS = "contributions", "thumbnails"
NOTHING = "nothing else"
ABLATED = {"zero": ", off", "mean": ", off, means"}  # what lines of Python pass on, by what stands in
PANEL = 480  # pixels: panels stand side by side where there is room and below each other where there is not
UNKNOWN = "<unk>"  # how tokenizers without bytes to fall back on write what is not in their vocabulary

info, chosen = selection.info(), selection.ablation()


# --- the prompt ---------------------------------------------------------------------------------


def examples() -> Sequence[Prompt]:
    """The validation queries of the chosen task, behind their demonstrations."""
    return handles.prompts(selection.current())


def from_task() -> Prompt:
    """One of the chosen task's queries."""
    prompts = examples()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        q = st.number_input(f"Question, 0 to {len(prompts) - 1}", 0, len(prompts) - 1, 0, key="q", width=170,
                            help="In the order in which they are evaluated.",
                            **selection.number("q", 0, len(prompts) - 1, 0))
        st.button("Previous", key="previous", icon=":material/chevron_left:", disabled=q <= 0, on_click=step,
                  args=(-1, len(prompts)))
        st.button("Next", key="next", icon=":material/chevron_right:", disabled=q >= len(prompts) - 1, on_click=step,
                  args=(1, len(prompts)))
    prompt = prompts[int(q)]
    with st.expander(f"The prompt: {words.how_many(len(prompt.demos), 'demonstration')} and the question",
                     icon=":material/notes:"):
        st.code(prompt.prefix + prompt.example.contexts[prompt.example.gold[0]], language=None, wrap_lines=True)
    return prompt


def step(by: int, n_prompts: int) -> None:
    """Go on; not beyond the ends, where a quick hand presses again before the button is drawn disabled."""
    st.session_state["q"] = max(0, min(n_prompts - 1, int(st.session_state.get("q") or 0) + by))


def from_me() -> Prompt | str | None:
    """Text of one's own, with options or without."""
    if "prompt" not in st.session_state and "prompt" not in st.query_params:  # begin with words the model knows
        with suppress(HeadroomError):
            start = examples()[0]
            st.session_state["prompt"] = start.prefix + start.example.contexts[0]
            st.session_state["options"] = " | ".join(option.strip() for option in start.example.options)
    text = st.text_area("Prompt", key="prompt", bind="query-params", height=160,
                        max_chars=handles.limits().prompt or None,
                        help="It is read exactly as it stands; blanks count.") or ""
    options = st.text_input("Options to compare, with | between them", key="options", bind="query-params",
                            placeholder="hot | cold", max_chars=400,
                            help="Each is set behind the prompt, after a space, and its log-likelihood is measured.")
    given = list(dict.fromkeys(part.strip() for part in (options or "").split("|") if part.strip()))
    if not text.strip():
        return None
    handles.limits().check_prompt(text, options or "")
    return lens.own_prompt(text, given) if given else text


# --- reading: quick, and kept for this session --------------------------------------------------


@st.cache_data(show_spinner=False, max_entries=64)
def _read(model: ModelId, means: str, prompt: Prompt | str, ablation: Ablation, _means: Activations | None) -> Reading:
    return waiting.look(lambda loaded: lens.look_at(loaded, prompt, ablation, _means, k=NEXT_TOKENS))


@st.cache_data(show_spinner=False, max_entries=12)
def _attention(model: ModelId, means: str, ids: tuple[int, ...], layer: int, ablation: Ablation,
               _means: Activations | None) -> np.ndarray:
    return waiting.look(lambda loaded: lens.attention(loaded, ids, layer, ablation, _means))


@st.cache_data(show_spinner=False, max_entries=32)
def _contributions(model: ModelId, ids: tuple[int, ...], answer: int, foil: int | None) -> Contributions:
    return waiting.look(lambda loaded: lens.contributions(loaded, ids, answer, foil))


@st.cache_data(show_spinner=False, max_entries=64)
def _influence(model: ModelId, means: str, prompt: Prompt, ablation: Ablation,
               _means: Activations | None) -> Influences:
    return waiting.look(lambda loaded: lens.influence(loaded, prompt, ablation, _means))


def means_key() -> str:
    """Which means a reading depends on, where the ablation puts some in place."""
    return selection.means().key if chosen.fill == "mean" else ""


# --- what comes next ----------------------------------------------------------------------------


def what_comes_next(prompt: Prompt | str, readings: dict[str, Reading]) -> None:
    """Next tokens and options, intact beside ablated."""
    if n := readings["intact"].tokens.count(UNKNOWN):
        st.caption(f":orange[:material/warning: {words.how_many(n, 'token').capitalize()} of the prompt "
                   f"{'is' if n == 1 else 'are'} not in this model's vocabulary, and read as ‘{UNKNOWN}’.]")
    left, right = blocks.side_by_side("next", 1, 1)
    with left:
        table, title = tables.next_table(readings), words.comes_next(readings, chosen)
        blocks.result(
            title, charts.next_token_chart(table),
            caption=f"n = 1 prompt · the {NEXT_TOKENS} likeliest of each model · ‘·’ is a space, ‘⏎’ a new line",
            measured=explain(f"Softmax over {info.vocab_size:,} tokens at the last position", off()),
            table=table, file="next-tokens", python=python_lines(prompt, table="tables.next_table(readings)"),
            key="next tokens", alt_text=f"Bars: probabilities of the likeliest next tokens. {title}.")
    with right:
        if isinstance(prompt, str):
            blocks.heading("No options to compare")
            st.caption("Write some, with | between them, to see their log-likelihoods side by side.")
            return
        judged = source() != "My own"
        table = tables.option_table(prompt, readings, judged=judged)
        title = words.preferred(table)
        blocks.result(
            title, charts.options_chart(table),
            caption="n = 1 prompt" + " · diamond: the right one" * bool(table["right"].any())
                    + " · large: the model's choice",
            measured=explain("Log-likelihood summed over an option's tokens, in nats", off()),
            table=table, file="options", key="options",
            python=python_lines(prompt, table=f"tables.option_table(prompt, readings, judged={judged})"),
            alt_text=f"Dots: log-likelihood of every option. {title}.")
        if readings["intact"].dropped_demos:
            st.caption(f"The prompt was too long: the first {readings['intact'].dropped_demos} demonstrations were "
                       "left out.")


# --- demonstrations -----------------------------------------------------------------------------


def what_demonstrations_do(prompt: Prompt | str, models: Sequence[tuple[str, Ablation]],
                           means: Activations | None) -> None:
    """What each demonstration of a task's prompt does to the right answer, intact and ablated."""
    if isinstance(prompt, str) or not prompt.demos:
        return
    found = {name: _influence(selection.model(), means_key(), prompt, ablation, means) for name, ablation in models}
    table = tables.prompt_influence_table(prompt, found)
    if table.empty:
        return
    title = verdicts.adds_here(table)
    blocks.result(
        title, demonstrations.influences(table),
        caption="n = 1 prompt · positive: the demonstration makes the right answer likelier",
        measured=explain(f"Influence: {Influence.DEFINITION}", off()), table=table, file="influence", key="influence",
        python=python_lines(prompt, "found = {'intact': lens.influence(model, prompt)" + (
            f", 'ablated': lens.influence(model, prompt{ABLATED[chosen.fill]})" if chosen else "") + "}",
            table="tables.prompt_influence_table(prompt, found)", both=False),
        alt_text=f"Bars: what each demonstration adds to the right answer's log-likelihood. {title}.")


# --- attention ----------------------------------------------------------------------------------


def first_head() -> Head:
    """The head that is open when none was asked for: the first chosen one, else the strongest induction head."""
    if chosen.heads:
        return min(chosen.heads)
    scores = blocks.fetch(PrefixMatching(selection.model()))
    if scores is not None:
        return next(head for head in stats.highest(np.array(scores.mean), 1) if head in info.heads)
    return Head(info.attending[len(info.attending) // 2], 0)


def open_head(layer: int, head: int) -> None:
    """Show a head's pattern large. For callbacks."""
    st.session_state["at_layer"], st.session_state["at_head"] = layer, head


def open_thumbnail(layer: int) -> None:
    points = ((st.session_state.get(THUMBNAILS) or {}).get("selection") or {}).get(charts.OPEN) or []
    if points:
        open_head(layer, int(points[0]["head"]))


def open_pill() -> None:
    if picked := st.session_state.get("chosen head"):
        layer, head = str(picked)[1:].split("H")
        open_head(int(layer), int(head))


def which_head() -> tuple[Head, bool]:
    """The head that is open, and whether it is seen in the ablated model."""
    start, tied = first_head(), {}
    for key, value, known in (("at_layer", start.layer, info.attending), ("at_head", start.head, range(info.n_heads))):
        tied[key] = selection.number(key, known[0], known[-1], value)
        asked = st.session_state.get(key, st.query_params.get(key))
        if asked is None or not re.fullmatch("[0-9]{1,9}", str(asked)) or int(asked) not in known:
            st.session_state[key] = value
            if asked is not None:
                all_of_them = known[-1] - known[0] == len(known) - 1
                selection.not_read(key, str(asked), f"{known[0]} to {known[-1]}" if all_of_them else
                                   ", ".join(map(str, known)), value)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if info.headless:  # a number field would count through layers that have no heads
            layer = st.selectbox("Layer", info.attending, key="at_layer", width=110, **tied["at_layer"])
        else:
            layer = st.number_input("Layer", 0, info.n_layers - 1, key="at_layer", width=110, **tied["at_layer"])
        head = st.number_input("Head", 0, info.n_heads - 1, key="at_head", width=110, **tied["at_head"])
        seen = st.segmented_control("In the model", ("intact", "ablated"), default="intact", required=True,
                                    key="seen in", persist_state="session", disabled=not chosen)
        if chosen.heads:
            st.pills("Chosen heads", [str(h) for h in sorted(chosen.heads)][:12], key="chosen head",
                     on_change=open_pill, wrap=True)
    return Head(int(layer), int(head)), seen == "ablated" and bool(chosen)


def what_it_looks_at(prompt: Prompt | str, reading: Reading, means: Activations | None) -> None:
    """One head's pattern large, as a map and as shaded text; all heads of its layer small."""
    st.header("What a head looks at", anchor=False)
    here, ablated = which_head()
    ablation = chosen if ablated else INTACT
    patterns = _attention(selection.model(), means_key(), reading.token_ids, here.layer, ablation, means)
    pattern, tokens = patterns[here.head], reading.tokens
    table = tables.attention_table(pattern, tokens)
    title = words.looks_at(here, pattern, tokens)
    with st.container(horizontal=True, gap="medium"):
        left, right = st.container(width=PANEL), st.container(width=PANEL)
    with left:
        blocks.heading(title, 3)
        chart = charts.attention_map(table, tokens)
        st.altair_chart(chart, width="content",
                        alt=f"Map of attention from every token to every earlier one. {title}.")
        caption = blocks.note(f"n = {len(tokens)} tokens · blank: below {words.percent(charts.FAINT)}", explain(
            "Attention after softmax: rows are queries, columns keys, and each row adds up to 1",
            "The colours are the same for all heads", off() if ablated else "Intact model"))
        blocks.extras(table, f"attention-{here}", python_lines(
            prompt, f"pattern = lens.attention(model, reading.token_ids, {here.layer}"
            f"{ABLATED[chosen.fill] if ablated else ''})[{here.head}]",
            table="tables.attention_table(pattern, reading.tokens)", both=False), "attention", title=title,
            caption=caption, shown=[("", chart)])
    with right:
        blocks.heading("Hover over a token to see where it looks", 3)
        st.altair_chart(charts.token_text(pattern, tokens, st.context.theme.type == "dark"), width="content",
                        alt=f"The prompt's tokens, shaded by the attention of {here} from the last one.")
        blocks.heading(f"The heads of layer {here.layer}", 3)
        small = tables.thumbnail_table(len(patterns), here.layer, here.head, chosen)
        st.altair_chart(charts.thumbnails(small, patterns), key=THUMBNAILS, width="content", selection_mode=charts.OPEN,
                        on_select=lambda: open_thumbnail(here.layer),
                        alt=f"Small maps of attention of all heads of layer {here.layer}; Layer and Head open one.")
        st.caption("Click one to open it; the fields Layer and Head do the same.")


# --- contributions ------------------------------------------------------------------------------


def answers(prompt: Prompt | str, reading: Reading) -> dict[str, int]:
    """What a contribution can be to: the options' first tokens, else the likeliest next tokens."""
    if isinstance(prompt, str):
        return {token.text: token.token for token in reading.next_tokens}
    order = sorted(range(len(reading.first_tokens)), key=lambda i: i not in prompt.example.gold)
    return {reading.first_shown[i]: reading.first_tokens[i] for i in order}


def what_adds_to_it(prompt: Prompt | str, reading: Reading) -> None:
    """Every head's and FFN's direct contribution to an answer's logit."""
    st.header("What adds to an answer", anchor=False)
    known = answers(prompt, reading)
    with st.container(horizontal=True, gap="small"):
        answer = str(st.selectbox("Answer", list(known), key=f"answer {sorted(known)}", width=240,
                                  help="Its first token: what the last position predicts."))
        foil = str(st.selectbox("Compared with", [NOTHING, *(a for a in known if a != answer)], width=240,
                                key=f"foil {sorted(known)} {answer}",
                                help="Contributions are then to the difference of the two logits."))
    try:
        found = _contributions(selection.model(), reading.token_ids, known[answer], known.get(foil))
    except ModelError as error:
        st.info(prose(error), icon=":material/info:")
        return
    what = f"logit of ‘{answer}’" + (f" minus logit of ‘{foil}’" if foil != NOTHING else "")
    table = tables.contribution_table(found.heads, found.ffns, chosen)
    ranked = tables.largest(table)
    title = words.adds_most(ranked, what, found.logit)
    left, right = blocks.side_by_side("adds", 2, 1)
    with left:
        blocks.result(
            title, head_map(found.heads, ffns=found.ffns, title=title, label="contribution in nats", signed=True,
                            number="+fixed", file="contributions", state="chosen", facts=blocks.known(),
                            headless=info.headless,
                            alt=f"Heatmap of direct contributions of heads and FFNs. {title}."),
            caption="n = 1 prompt · blue adds, orange takes away · click to choose a component",
            measured=explain(
                "Direct path, intact model: u · (what a component writes at the last position), through the last norm "
                "with its scale frozen", f"With embeddings ({found.embeddings:+.2f}) and biases ({found.biases:+.2f}) "
                "the parts add up to the logit", "Limits: not what switching off would do, for effects through later "
                "layers count as theirs and the norm's scale would change"),
            level=3, table=table, file="contributions",
            python=python_lines(prompt, f"found = lens.contributions(model, reading.token_ids, {known[answer]}, "
                                        f"{known.get(foil)})", both=False,
                                table="tables.contribution_table(found.heads, found.ffns, off)",
                                then=["print(found.logit, found.embeddings, found.biases)"]),
            key=MAP)
    with right:
        blocks.heading(f"The largest of {len(table)}", 3)
        st.dataframe(ranked[["name", "contribution"]].head(12), hide_index=True, height=blocks.table_height(12, 460),
                     alt="The twelve largest contributions.", column_config={
                         "name": "component", "contribution": st.column_config.NumberColumn(format="%+.3f")})


# --- captions and lines -------------------------------------------------------------------------


def source() -> str:
    return str(st.session_state.get("source") or SOURCES[0])


def off() -> str:
    return f"Off: {chosen.fill} ablation of {words.components(chosen)}" if chosen else ""


def explain(*parts: str) -> str:
    """How what is shown is measured, and of which prompt."""
    if source() == "My own":
        return blocks.provenance(selection.model(), *parts)
    return blocks.provenance(selection.current(), *parts, f"Question {st.session_state.get('q') or 0}")


def python_lines(prompt: Prompt | str, *before: str, table: str, then: Sequence[str] = (), both: bool = True) -> str:
    """Python that reads the same prompt, intact (`reading`) and ablated (`readings`), and makes the table shown.

    Args:
        before: lines in between.
        table: Python that makes the table.
        then: lines that print what else the page says.
        both: whether the ablated model's reading is needed.
    """
    lines = [f"model = load_model({selection.load_lines()})", f"off = parse_exact({str(chosen)!r})"]
    if isinstance(prompt, str):
        lines.append(f"prompt = {prompt!r}")
    elif source() == "My own":
        lines.append(f"prompt = lens.own_prompt({prompt.example.contexts[0]!r}, {list(prompt.example.options)!r})")
    else:
        s = selection.current()
        lines.append(f"prompt = prompts(get_task({s.task.name!r}), {s.n_shots}, {s.demos!r}, {s.n_examples}, {s.seed}"
                     + f", draws={s.draws}" * (s.draws > 1) + ")"
                     f"[{st.session_state.get('q') or 0}]")
    ablated = ABLATED[chosen.fill]
    if chosen.fill == "mean" and (both or any(ablated in line for line in before)):
        unit = selection.means()
        lines += [f"setup = {expression(unit.setup, {unit.model: 'model.id'})}",
                  f"means = compute({expression(unit, {unit.setup: 'setup'})}, default_store(), model)"]
    lines.append(f"reading = lens.look_at(model, prompt, k={NEXT_TOKENS})")
    if both:
        lines.append("readings = {'intact': reading" + (
            f", 'ablated': lens.look_at(model, prompt{ablated}, k={NEXT_TOKENS})" if chosen else "") + "}")
    return with_imports([*lines, *before, *blocks.shown_lines(table), *then])


# --- the page -----------------------------------------------------------------------------------


def ready(prompt: Prompt | str) -> bool:
    """Whether to read: small models do at once, large ones when asked to."""
    wanted = f"{prompt} {chosen} {selection.model()!r}"
    if info.n_params <= LIVE_PARAMETERS or st.session_state.get("read this") == wanted:
        return True
    st.info(f"{plain(info.name)} has {info.n_params / 1e9:.1f} billion parameters: reading takes a moment, and memory.")
    st.button("Read it", key="read it", type="primary", icon=":material/play_arrow:",
              on_click=lambda: st.session_state.update({"read this": wanted}))
    return False


def mean_activations() -> tuple[bool, Activations | None]:
    """Whether all is there that the ablation needs, and the means where it is a mean ablation."""
    if chosen.fill != "mean":
        return True, None
    record = blocks.get(selection.means(), f"mean activations of {selection.task()}, for mean ablation")
    return record is not None, record


def look(prompt: Prompt | str) -> None:
    """Everything about one prompt."""
    complete, means = mean_activations()
    if not complete or not ready(prompt):
        return
    with st.spinner("Reading …"):
        models: Sequence[tuple[str, Ablation]] = [("intact", INTACT), *([("ablated", chosen)] if chosen else [])]
        readings: dict[str, Any] = {name: _read(selection.model(), means_key(), prompt, ablation, means)
                                    for name, ablation in models}
    what_comes_next(prompt, readings)
    what_demonstrations_do(prompt, models, means)
    what_it_looks_at(prompt, readings["intact"], means)
    what_adds_to_it(prompt, readings["intact"])


st.title("Playground")
blocks.text("A prompt under the lens: what changes with what is switched off, what a head looks at, and what speaks "
            "for an answer.")
with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
    selection.control("Prompt from", SOURCES, "source", label_visibility="collapsed")
    st.caption(f"Switched off: {words.components(chosen)}." if chosen else
               "Nothing is switched off yet: choose heads and FFNs in the sidebar, in Lab, or below.")
try:
    asked = from_me() if source() == "My own" else from_task()
    if asked is None:
        st.info("Write a prompt to begin.")
    else:
        look(asked)
except HeadroomError as error:
    st.info(prose(error), icon=":material/info:")
