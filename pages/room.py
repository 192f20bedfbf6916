"""What do you think, before you see it? A room for a class: everybody guesses, then the truth is revealed."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import streamlit as st
from streamlit.errors import StreamlitAPIException

from backend import stats, tables
from backend.errors import BadInput
from backend.kinds import Evaluation, HeadOracle, Sweep, Unit
from backend.rooms import COLOURS, SWITCHES, WANTED, Bar, Question, View
from backend.values import Ablation, Head, parse_exact
from pages.shared import blocks, boards, handles, lecture, presenting, school, selection, waiting, words
from pages.shared.plain import plain, prose

HEARTBEAT = 8.0  # seconds between two looks of a browser of which the bell has nothing to tell
KINDS = {"accuracy": "the accuracy", "heads": "which of three heads", "race": "a race"}
DURATIONS = {20: "20 s", 45: "45 s", 90: "90 s", 180: "3 min"}
MOST_HEADS = 400  # of a model whose race has a row of buttons per layer


# --- what changes a room --------------------------------------------------------------------------


def act(what: Callable[[], object], teacher_only: bool = False) -> None:
    """Do something to a room, tell the others, and say why where it cannot be done."""
    code, _ = school.place()
    forget_refused()
    try:
        what()
    except BadInput as error:
        refuse(str(error))
    else:
        code = code or school.place()[0]
        school.bell().ring(code, teacher_only=teacher_only)


def refuse(why: str) -> None:
    """Remember why something could not be done, until the next try or round: a room is drawn again and again."""
    st.session_state["refused"] = why, whereabouts()


def say_refused() -> None:
    refused, where = st.session_state.get("refused", ("", None))
    if refused and where == whereabouts():
        st.warning(prose(refused), icon=":material/block:")


def forget_refused() -> None:
    """Something else is tried."""
    for key in ("refused", "not asked"):
        st.session_state.pop(key, None)


def whereabouts() -> tuple[str, int]:
    """One's room and the number of its round."""
    seen = school.view()
    return (seen.code, seen.round.number if seen.round else 0) if seen else ("", 0)


def open_room() -> None:
    act(lambda: school.sit_down(*school.rooms().open()))


def come_in() -> None:
    code = str(st.session_state["room code"] or "").strip().upper()
    forget_refused()
    if school.rooms().exists(code):
        school.sit_down(code)
    else:
        refuse(words.no_room(code, school.rooms().ended(code)))


def join() -> None:
    code, token = school.place()
    act(lambda: school.sit_down(code, school.rooms().join(
        code, str(st.session_state["colour"]), str(st.session_state["animal"]), token)))


def leave() -> None:
    act(lambda: school.rooms().leave(*school.place()))
    school.stand_up()


def close() -> None:
    act(lambda: school.rooms().close(*school.place()))
    school.stand_up()


def take_over() -> None:
    code, token = school.place()
    act(lambda: school.sit_down(code, school.rooms().take_over(code, token)))


def reveal() -> None:
    act(lambda: school.rooms().reveal(*school.place()))


def guess(value: int | str) -> None:
    """A guess; where it was the last that was awaited, everybody sees the truth."""
    act(lambda: school.rooms().guess(*school.place(), value), teacher_only=True)
    if (seen := school.view()) and seen.round and seen.round.revealed:
        school.bell().ring(seen.code)


# --- the lobby ------------------------------------------------------------------------------------


def lobby(gone: str) -> None:
    """In no room yet: come in, or open one."""
    if gone:
        st.info(plain(words.no_room(gone, school.rooms().ended(gone))), icon=":material/door_front:")
    say_refused()
    left, right = blocks.side_by_side("lobby", 1, 1, gap="large")
    with left.container(border=True, height="stretch"):
        st.header("Come in", anchor=False)
        with st.form("come in", border=False):
            st.text_input("Code of the room", key="room code", max_chars=8, placeholder="four letters",
                          autocomplete="off")
            st.form_submit_button("Come in", on_click=come_in, type="primary", icon=":material/login:")
        st.caption("You choose a colour and an animal. No name is asked, and nothing is kept.")
    with right.container(border=True, height="stretch"):
        st.header("Teach", anchor=False)
        st.markdown("Open a room, show its code, and ask: how much is left without these heads? Everybody guesses "
                    "before anybody sees.")
        st.button("Open a room", key="open room", on_click=open_room, icon=":material/add:")
        st.caption("It is gone after two hours, or when you close it.")


# --- one's own place -------------------------------------------------------------------------------


def choose_a_seat(seen: View) -> None:
    """A colour and an animal of one's own; who taught and does so no more may also teach again."""
    if seen.may_take_over:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button("Teach again" if seen.opened_it else "Teach", key="take over", on_click=take_over,
                      icon=":material/swap_horiz:")
            st.caption("Nobody teaches at the moment." if not seen.teacher_here else "Somebody else teaches now.")
    blocks.heading("Who are you today?")
    if st.session_state.get("colour") not in COLOURS:
        st.session_state["colour"] = random.choice(list(COLOURS))  # or else thirty people all begin with blue
    colour = st.pills("Colour", list(COLOURS), key="colour", required=True)
    free = school.rooms().free(seen.code, str(colour))
    if not free:
        st.caption("All animals of this colour are here. Take another colour.")
        return
    if st.session_state.get("animal") not in free:
        st.session_state["animal"] = random.choice(free)
    st.pills("Animal", free, key="animal", required=True)
    st.button("Sit down", key="sit down", on_click=join, type="primary", icon=":material/event_seat:")


def ask_for_a_guess(seen: View) -> None:
    """The widgets of the round under way."""
    assert seen.round is not None
    at = seen.round
    if at.kind == "accuracy":
        key = f"percent {seen.code} {at.number}"
        before = st.session_state.setdefault(f"{key} before", next(
            value for value in (at.draft, at.mine, 50) if isinstance(value, int)))  # or else it would be a new slider
        with st.container(border=True):
            st.slider("Your guess, in percent", 0, 100, before, key=key, format="%d %%", persist_state="session",
                      on_change=move_to, args=(key,))
            st.button("Guess" if at.mine is None else "Guess again", key=f"say {seen.code} {at.number}", type="primary",
                      on_click=lambda: guess(int(st.session_state[key])))
        if at.mine is not None:
            st.markdown(f"Your guess: **{at.mine}\u00a0%**. You can change it until the round closes.")
        st.caption("Where you have moved it to counts when the round closes, also without *Guess*.")
    elif at.kind == "heads":
        st.segmented_control("Your guess", at.options, key=f"head {seen.code} {at.number}",
                             on_change=lambda: guess(st.session_state[f"head {seen.code} {at.number}"] or ""),
                             default=at.mine if isinstance(at.mine, str) else None, required=at.mine is not None)
        if at.mine is not None:
            st.markdown(f"Your guess: **{at.mine}**. You can change it until the round closes.")
    else:
        race(seen)


def move_to(key: str) -> None:
    """Where a slider is now counts when the round closes."""
    with suppress(BadInput):  # the room is gone, as the next run says
        school.rooms().draft(*school.place(), int(st.session_state[key]))


def race(seen: View) -> None:
    """A row of heads per layer; each that was switched shows what was left without it."""
    assert seen.round is not None
    at = seen.round
    switched = at.mine if isinstance(at.mine, tuple) else ()
    left = {bar.name: bar.accuracy for bar in at.bars}
    done = len(switched) >= SWITCHES
    st.markdown(f"**{words.switches_left(SWITCHES - len(switched))}** "
                + (f"Least is left without {min(left, key=lambda name: left[name])}." if left else
                   "Tap a head: it goes off alone, and you see what is left."))
    layers: dict[str, list[str]] = {}
    for name in at.options:
        layers.setdefault(name.split("H")[0], []).append(name)
    for layer, heads in reversed(layers.items()):
        key = f"race {seen.code} {at.number} {layer}"
        st.session_state[key] = None  # a button each: what was switched is in the room, and in its label
        st.pills(f"Layer {layer[1:]}", heads, key=key, disabled=done, on_change=switch, args=(key,),
                 format_func=lambda name: f"**{name}** {words.percent(left[name])}" if name in left else name)


def switch(key: str) -> None:
    """One more head off, in a race."""
    if name := st.session_state[key]:
        guess(str(name))


def pupil(seen: View) -> None:
    """The room as everybody sees it who does not teach."""
    at = seen.round
    if seen.me is None or not seen.me.colour:
        choose_a_seat(seen)
        return
    if at is None:
        st.info(f"You are the **{seen.me}**. The first question comes when the teacher asks it.",
                icon=":material/hourglass_empty:")
    elif not at.revealed:
        question(seen)
        ask_for_a_guess(seen)
        st.caption(words.have_guessed(at.kind, at.n_guessed, at.n_done, at.n_awaited))
    else:
        revealed(seen)
        st.caption("The next question comes when the teacher asks it.")
    footer(seen)


def footer(seen: View) -> None:
    """Who one is, who is here, and the way out."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"You are the **{seen.me}** · {len(seen.people)} in room {plain(seen.code)}")
        if seen.may_take_over:
            st.button("Teach", key="take over", on_click=take_over, icon=":material/swap_horiz:",
                      help="The teacher has not been seen for a while: you can ask the next question.")
        st.button("Leave", key="leave", on_click=leave, type="tertiary", icon=":material/logout:")


def question(seen: View) -> None:
    """What is asked, and how long."""
    assert seen.round is not None
    at = seen.round
    blocks.heading(at.text)
    told = [f"chance {words.percent(at.chance)}"]
    if at.intact:
        told.insert(0, f"With nothing off: **{words.percent(at.intact.accuracy)}**")
    st.markdown(" · ".join(told))
    st.html(boards.clock(at))


def revealed(seen: View) -> None:
    """The truth, the guesses, and who was how close."""
    assert seen.round is not None
    at = seen.round
    blocks.heading(boards.verdict(at))
    if told := boards.told(at, seen.me):
        st.markdown(f":blue[:material/flag: {plain(told)}]")
    st.caption(plain(at.text))
    st.html(boards.board(at, seen.me))
    st.html(boards.closest(at, seen.me))
    line, _, measured = at.source.partition("\n")
    blocks.note(line, measured)


# --- the teacher ----------------------------------------------------------------------------------


def teacher(seen: View) -> None:
    """The room as the one sees it who asks."""
    at = seen.round
    url = f"{base()}/room?room={seen.code}"
    big = at is None
    with st.container(border=True, horizontal=True, vertical_alignment="center", gap="large", key="room-code"):
        if big:
            lecture.code(url, 200)
        with st.container():
            if big:
                st.header(f"Room {plain(seen.code)}", anchor=False)
            else:
                blocks.heading(f"Room {seen.code}")
            st.markdown(f"**{plain(lecture.short(base()))}**, then *Room* and the code" + (
                "" if big else f" · {len(seen.people)} here"))
            if big:
                st.caption(f"Or point a telephone here. The room is gone in {seen.seconds_left / 60:.0f} minutes.")
        if not big:  # for those who come late
            with st.popover("Show the code", icon=":material/qr_code:"):
                lecture.code(url)
                st.header(f"Room {plain(seen.code)}", anchor=False)
    if seen.people:
        st.html(boards.people(seen.people))
    else:
        st.caption("Nobody is here yet.")
    if at is not None and not at.revealed:
        question(seen)
        st.markdown(f"**{words.have_guessed(at.kind, at.n_guessed, at.n_done, at.n_awaited)}**")
        st.button("Reveal", key="reveal", on_click=reveal, type="primary", icon=":material/visibility:")
        return
    if at is not None:
        revealed(seen)
    say_refused()
    with st.container(border=True):
        compose(seen)
    with st.container(horizontal=True):
        st.button("Close the room", key="close room", on_click=close, type="tertiary", icon=":material/door_front:",
                  help="Everybody goes home; nothing is kept.")


def base() -> str:
    """The server's address, as the class types it."""
    url = (st.context.url or "").split("?")[0].rstrip("/")
    return lecture.address() if lecture.on() else url.rsplit("/", 1)[0]


def compose(seen: View) -> None:
    """The next question: the sidebar's task and mask, and what is to be guessed."""
    setup, chosen, info = selection.current(), selection.ablation(), selection.info()
    blocks.heading("Next question")
    kinds = [kind for kind in KINDS if kind != "race" or info.n_layers * info.n_heads <= MOST_HEADS]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = str(st.segmented_control("They guess", kinds, default=kinds[0], required=True, key="ask kind",
                                        format_func=lambda one: KINDS[one], persist_state="session"))
        seconds = st.segmented_control("It closes by itself after", list(DURATIONS), default=45, required=True,
                                       key="ask seconds", format_func=lambda s: DURATIONS[s], persist_state="session")
        draw = int(st.number_input("Draw", 0, 99, 0, key="ask draw", width=120, persist_state="session",
                                   help="Another number draws other heads.")) if kind == "heads" else 0
    where = f"{setup.task}, {words.how_many(setup.n_shots, 'shot')}"
    if kind == "accuracy":
        text = f"{where}: how often is the model right without {words.components(chosen)}?" if chosen else \
            f"{where}: how often is the model right, with nothing off?"
        units: list[Unit[Any]] = [Evaluation(setup), *([Evaluation(setup, chosen)] if chosen else [])]
    elif kind == "heads":
        heads = sorted(chosen.heads) if len(chosen.heads) == 3 and not chosen.ffns else three(draw)
        text = f"{where}. {words.which_of(heads)}"
        units = [Evaluation(setup), *(Evaluation(setup, Ablation(frozenset([head]))) for head in heads)]
    else:
        text = f"{where}. {words.find_the_heads(WANTED, SWITCHES)}"
        units = [HeadOracle(setup)]
    st.markdown(f"*{plain(text)}*")
    sidebar = "in the sidebar, which is back when Presenter is off," if presenting.on() else "in the sidebar"
    st.caption(f"{plain(selection.about(setup.task).about)} Task, shots and heads are chosen {sidebar} or on Lab. "
               + ("Choose exactly three heads to ask about those." if kind == "heads" else ""))
    wanted = seen.code, kind, text, units, float(seconds or 45)

    def ask() -> None:
        forget_refused()
        st.session_state["asking"] = wanted

    st.button("Ask the room", key="ask", type="primary", icon=":material/campaign:", on_click=ask)
    if "asking" in st.session_state:
        put(seen, *st.session_state["asking"])
    if "not asked" in st.session_state:
        blocks.say(st.session_state["not asked"])


def put(seen: View, code: str, kind: str, text: str, units: list[Unit[Any]], seconds: float) -> None:
    """Measure the truth, where it is not stored, and begin the round; where somebody comes in meanwhile and the room is
    drawn again, the next run goes on."""
    missing = [unit for unit in units if blocks.fetch(unit) is None]
    if code == seen.code and missing and not blocks.measure(
            missing, "the truth", on_stop=forget, on_error=lambda error: st.session_state.update({"not asked": error})):
        if not waiting.stopped():
            forget()
        return
    forget()
    if code != seen.code:
        return
    act(lambda: school.rooms().ask(seen.code, school.place()[1], asked(kind, text, units), seconds))
    school.bell().ring_after(seen.code, seconds + 0.05)
    draw_again()


def forget() -> None:
    """Ask nothing after all."""
    st.session_state.pop("asking", None)


def draw_again() -> None:
    """The room alone or, while the whole page is drawn, all of it."""
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:
        st.rerun()


def asked(kind: str, text: str, units: list[Unit[Any]]) -> Question:
    """A question with its truth, from stored records."""
    setup = units[0].setup
    first = blocks.fetch(units[0])
    assert setup is not None
    assert first is not None
    chance = first.questions.chance
    if isinstance(first, Sweep):
        names = [words.components(parse_exact(one)) for one in first.ablations]
        rows = [bar(name, outcomes, chance) for name, outcomes in zip(names, first.marks(), strict=True)]
    else:
        rows = [bar(words.components(unit.ablation), record.marks(), chance) for unit in units
                if isinstance(unit, Evaluation) and (record := blocks.fetch(unit)) is not None]
    n = first.outcomes().shape[-1]
    intact, bars = (rows[0], tuple(rows[1:])) if len(rows) > 1 else (None, tuple(rows))
    question = Question(kind, text, intact, bars, chance, blocks.provenance(
        setup, f"n = {n} questions · chance {words.percent(chance)}", "Off: zero ablation" if intact else "",
        words.how_certain(setup)))
    if kind == "race":  # fewer may be missed than are looked for
        text = text.replace(words.find_the_heads(WANTED, SWITCHES), words.find_the_heads(question.wanted, SWITCHES))
    return replace(question, text=text)


def bar(name: str, marks: stats.Marks, chance: float) -> Bar:
    row = tables.accuracy_row(name, marks, chance)
    return Bar(name, row["accuracy"], row["low"], row["high"])


def three(draw: int) -> list[Head]:
    """One of the heads that are missed most, as far as that is stored, and two others; drawn anew by each number."""
    info, oracle = selection.info(), blocks.fetch(HeadOracle(selection.current()))
    rng = np.random.default_rng(draw)
    shape = (info.n_layers, info.n_heads)
    ranked = stats.highest(oracle.importance().reshape(shape) if oracle else rng.random(shape), 1)
    first = ranked[int(rng.integers(min(3, len(ranked))))]
    others = [head for head in ranked if head != first]
    return sorted([first, *(others[int(i)] for i in rng.permutation(len(others))[:2])])


# --- the page -------------------------------------------------------------------------------------


@partial(handles.fragment, run_every=HEARTBEAT)
def live(teaching: bool) -> None:
    """The room as it is now; drawn again when its bell rings, and by itself now and then."""
    seen = school.view()
    if seen is None or seen.teaching != teaching:
        st.rerun()  # the room is gone, or somebody else teaches: the frame around it changes, too
    school.bell().listen(seen.code, teaching)
    if teaching:
        teacher(seen)
    else:
        say_refused()
        pupil(seen)


st.title("Room")
room, _ = school.place()
now = school.view()
if now is None or now.teaching:
    presenting.switch()
st.html(boards.STYLE)
if now is None:
    school.stand_up()
    lobby(room)
else:
    school.put_in_address()
    live(now.teaching)
