"""What is this about? A story in eleven steps, each with something to guess and something to play with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from backend import lens, stats, tables
from backend.kinds import Answers, Evaluation, FFNOracle, HeadOracle, PrefixMatching, Pruning
from backend.kinds.writes import N_PROBE
from backend.models.info import BUNDLED, weights
from backend.places import COMMAND
from backend.tasks import registry
from backend.tasks.task import Prompt
from backend.values import INTACT, Ablation, Head, ModelId, Ranking, Setup, parse_exact
from pages.map import head_map
from pages.shared import (
    beyond,
    blocks,
    charts,
    components,
    growth,
    handles,
    lecture,
    living,
    presenting,
    real_story,
    selection,
    turning,
    verdicts,
    waiting,
    words,
)
from pages.shared.guesses import answer, ask
from pages.shared.plain import plain, prose
from pages.shared.story import group, heading, lacking, matching, measured, number, over, result, setups, suite

if TYPE_CHECKING:
    from backend.models.loading import LoadedModel

SHOTS = selection.SHOTS
LOOKS_BACK = tables.LOOKS_BACK
FEW_POINTS = 0.05  # "little loss"
N_WORDS = 10  # of the block that is repeated


# --- the steps ----------------------------------------------------------------------------------


def learn() -> None:
    """Learning from examples in the prompt."""
    blocks.tell("In these tasks every prompt **makes up its own rule**: for instance, which nonsense word goes with "
                "which kind of thing. Nothing the model has read before tells it; only the solved examples in the "
                "prompt, the *shots*, do. Nothing is learned in the model's weights; that is *in-context learning*.")
    names = group("in-context")
    if "tour question" not in st.session_state:
        st.session_state["tour question"] = telling(selection.current(suite()[names[0]], 1))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Task", names, key="tour task", width=220, persist_state="session")
        n_shots = st.segmented_control("Shots", SHOTS, default=1, required=True, key="tour shots",
                                       persist_state="session")
        place = st.number_input("Question", 1, 50, key="tour question", persist_state="session", width=130)
    setup = selection.current(suite()[name], n_shots)
    st.caption(plain(selection.about(setup.task).about))
    asked = handles.prompts(setup)
    one_question(asked[min(int(place), len(asked)) - 1], setup)
    units = [Evaluation(one) for n in SHOTS for one in setups(names, n)]
    lacking(*units)
    answers = ("as rarely as by guessing", "somewhat more often", "nearly always")
    guess = ask("learn", f"With {SHOTS[-1]} examples instead of none, how often is the model right on such tasks?",
                answers)
    if guess is None:
        return
    records = blocks.get_all(units, f"accuracy of the in-context tasks at {', '.join(map(str, SHOTS))} shots")
    found = [r for r in records if r is not None]
    if len(found) < len(units):
        return
    labels = tuple(f"{n} shots" if n != 1 else "1 shot" for n in SHOTS)
    table = tables.means_table({label: found[i * len(names):(i + 1) * len(names)] for i, label in enumerate(labels)})
    title, right = verdicts.learned(table, SHOTS)
    answer(guess, answers[right])
    result(
        title,
        charts.bars(table, x="accuracy", y="what", order=list(table["what"]), x_title="accuracy"), table=table,
        caption=f"n = {table['n'].iloc[-1]} questions of {len(names)} tasks · orange: chance",
        measured=blocks.provenance(units[-1].setup, f"Mean of {len(names)} tasks", "95 % interval from those of "
                                   "the tasks", words.how_certain(units[-1].setup), task="in-context tasks",
                                   shots=asked_at(SHOTS)),
        file="tour-shots", key="tour shots", python=blocks.python_lines(
            units[-1], f"groups = {{label: records[{len(names)} * i:{len(names)} * (i + 1)] for i, label in "
            f"enumerate({labels})}}", table="tables.means_table(groups)",
            over=[one for n in SHOTS for one in over(names, n)]),
        alt_text="Bars of accuracy at each number of shots, with intervals and chance.")


def asked_at(shots: Sequence[int]) -> str:
    """`0, 1 and 5 shots`."""
    return f"{', '.join(map(str, shots[:-1]))} and {shots[-1]} shots"


def telling(setup: Setup) -> int:
    """The question, from 1, whose right answer gains most by the examples; 1 where that is not stored."""
    without, shown = (blocks.fetch(Evaluation(one)) for one in (setup.with_(n_shots=0), setup))
    gains = {place: bet(prompt, shown) - bet(prompt, without)
             for place, prompt in enumerate(handles.prompts(setup)[:50], 1)}
    return max(gains, key=lambda place: gains[place])


def bet(prompt: Prompt, record: Answers | None) -> float:
    """The model's share of probability for a prompt's right answer; 0 where the record does not hold it."""
    q = place_of(prompt, record)
    if record is None or q is None:
        return 0.0
    table = tables.bets_table(prompt.example.options, record, q)
    return float(table["share"].iloc[record.questions.gold[q][0]])


def place_of(prompt: Prompt, record: Answers | None) -> int | None:
    """Where a record holds the answer to a prompt; None where it does not, option by option."""
    if record is None or prompt.doc not in record.questions.docs:
        return None
    q = record.questions.docs.index(prompt.doc)
    return q if len(record.loglikelihoods[q]) == len(prompt.example.options) else None


def one_question(prompt: Prompt, setup: Setup) -> None:
    """A prompt as the model reads it, and what it thinks of each option."""
    left, right = blocks.side_by_side("question", 3, 2)
    left.code(prompt.prefix + prompt.example.contexts[0] + " …", language=None, wrap_lines=True, height=210)
    record = blocks.fetch(Evaluation(setup))
    with right:
        q = place_of(prompt, record)
        if record is None or q is None:
            st.caption("What the model answers is not measured for this choice.")
            return
        st.dataframe(tables.bets_table(prompt.example.options, record, q), hide_index=True,
                     alt="The options with the model's share of probability.", column_config={
                         "share": st.column_config.ProgressColumn("the model's bet", format="percent", min_value=0,
                                                                  max_value=1)})
        right_or_wrong = "right" if record.choices()[q] in record.questions.gold[q] else "wrong"
        st.caption(f"With {words.how_many(setup.n_shots, 'example')} the model answers **{right_or_wrong}**. Bets are "
                   "its probabilities of the options, made to sum to 1.")
        blocks.tell(without_examples(prompt, setup))


def without_examples(prompt: Prompt, setup: Setup) -> str:
    """What 0 shots do, and what the model answers to the same question then."""
    bare = ("**0 shots** are the bare question: nothing in the prompt says what counts as right here, so all the model "
            "has is what it expects of any text.")
    record = blocks.fetch(Evaluation(setup.with_(n_shots=0)))
    if not setup.n_shots or place_of(prompt, record) is None:
        return bare
    return f"{bare} It then bets {words.percent(round(bet(prompt, record), 2))} on the right answer of this question."


def switch() -> None:
    """Heads and FFNs are things that can be off."""
    model = selection.info()
    blocks.tell(f"This model has {model.n_layers} layers. In each, **{model.n_heads} attention heads** fetch "
                "information from earlier words, and one **feed-forward network (FFN)** works on it. Each adds its "
                "part to a running sum, the *residual stream*, so each can be switched off: it then adds nothing.")
    setup = selection.current(suite()[group("in-context")[0]], SHOTS[-1])
    lacking(HeadOracle(setup), Evaluation(setup), Evaluation(setup, selection.ablation()))
    answers = ("the model breaks down", "hardly anything", "it depends on the head")
    each = blocks.fetch(HeadOracle(setup))
    alive = living.now([setup.task], [setup.n_shots])
    alone, told, pair = None, "", None
    left, right = blocks.side_by_side("model", 3, 2, gap="large")
    with left:
        blocks.picture(selection.ablation())
    with right:
        guess = ask("switch", f"Switch one head off: what happens to {setup.task}?", answers)
        if guess is not None and each is not None:
            alone = tables.need_table(np.zeros(alive.mask.shape), each, alive.mask)
            told, right_answer = verdicts.missed_alone(alone, "live head" if alive.dead else "head")
            answer(guess, answers[right_answer])
            pair = verdicts.worst_pair(alone)
    if guess is None:
        return
    if each is None:
        blocks.get(HeadOracle(setup), f"{setup.task} with each head off in turn, which answers the question")
    chosen = selection.ablation()
    left, right = blocks.side_by_side("switch", 3, 2, gap="large")
    with left:
        blocks.note("Heads and FFNs can be chosen here, but what that does cannot be measured."
                    if selection.why_no_model() else "Try it: click heads (and FFNs) off and on.")
        grid = head_map(None, shape=(model.n_layers, model.n_heads), ffns=True, label="component",
                        alt="Heads and FFNs to switch off", file="heads-and-ffns", headless=model.headless)
        components.clickable(grid, "tour grid")
        if presenting.on():  # else they are in the sidebar
            components.steps("tour steps")
        if pair:
            st.button(f"{pair[0]} and {pair[1]} cost most alone: switch both off", key="tour pair",
                      icon=":material/join:", on_click=components.choose,
                      args=(parse_exact(",".join(pair)), "tour pair"))
    with right:
        units = [Evaluation(setup), Evaluation(setup, chosen)]
        records = measured(units, f"accuracy without {words.components(chosen)}" if chosen else "accuracy")
        if not records:
            return
        test, caption = number(records[0], records[1], chosen, setup)
        marks_a, marks_b = records[0].marks(), records[1].marks()
        if told:
            blocks.tell(told)
        if alone is not None and chosen.fill == "zero" and not chosen.ffns and (said := verdicts.together(
                alone, sorted(chosen.heads), marks_b.right.mean() - marks_a.right.mean(),
                stats.mean_difference_interval([(marks_a, marks_b)]).high)):
            blocks.tell(said)
        pairs = {setup.task.name: (records[0], records[1] if chosen else None)}
        table = tables.pairs_table(pairs)
        blocks.extras(table, "tour-switch", blocks.python_lines(
            units[0], *alive.lines, f"pairs = {{setup.task.name: (record, {'ablated' if chosen else 'None'})}}",
            table="tables.pairs_table(pairs)", given=alive.given, then=[
                f"alone = tables.need_table(np.zeros({alive.mask.shape}), each{alive.argument})",
                "print(alone.sort_values('change').to_string())"] if each is not None else (),
            also=({"ablated": units[1]} if chosen else {}) | ({"each": HeadOracle(setup)} if each is not None else {})),
            "tour switch", title=f"{setup.task}, {setup.n_shots} shots", caption=caption, shown=[("", grid)],
            numbers=words.big_numbers(table))
        if len(chosen.heads) == 1 and test.p >= words.SIGNIFICANT:
            blocks.tell("These questions do not tell this head's absence: others may do the same work. Which ones are "
                        "missed is the question of the next steps.")
        elif not presenting.on():
            blocks.tell("Undo and Clear are in the sidebar, and so is a text field that does the same by keyboard.")


def look_back() -> None:
    """Heads that look back to what followed the same word before."""
    blocks.tell("Give the model random words, then the **same words again**: `lamp river nine … lamp river` . The next "
                "word can only be known by finding the last `river` and looking at **what followed it**. A head that "
                "does so is called an *induction head*. Its *prefix-matching score* is the share of its attention that "
                "goes there.")
    record = matching()
    if record is None:
        return
    info, alive = selection.info(), living.now(suite().values())
    scores = np.where(alive.mask, np.array(record.mean), 0)
    n, n_heads = int((scores >= LOOKS_BACK).sum()), alive.n
    answers = verdicts.LOOK_BACK
    guess = ask("look back", f"How many of the {n_heads} heads put {words.percent(LOOKS_BACK)} or more of their "
                "attention there?", answers)
    if guess is None:
        return
    answer(guess, answers[verdicts.looking_back(n, n_heads)])
    unit = PrefixMatching(selection.model())
    chosen = selection.ablation()
    table = tables.induction_table(record, "prefix matching", chosen=chosen, headless=info.headless)
    layers = sorted({h.layer for h in stats.highest(scores, 1)[:n]})
    where = f"layer {layers[0]}" if len(layers) == 1 else f"layers {', '.join(map(str, layers))}"
    title = (f"{words.how_many(n, 'head').capitalize()} of {n_heads} {'live ones ' * bool(alive.dead)}"
             f"{'looks' if n == 1 else 'look'} back"
             + (f", all in {where}" if n else ""))
    result(
        title, head_map(np.array(record.mean), title=title, label="prefix matching", domain=(0, 1),
                        file="prefix-matching", state="chosen", headless=info.headless,
                        alt="Heatmap of prefix matching over layers and heads; "
                        f"{n} of {n_heads} heads reach {LOOKS_BACK}."), table=table,
        caption=f"n = {record.n_seeds} random sequences · {alive.over} · 1: all attention goes there",
        measured=blocks.provenance(unit.model, f"Mean over n = {record.n_seeds} random sequences of repeated tokens",
                                   f"Called looking back: {words.percent(LOOKS_BACK)} or more", alive.measured,
                                   "1 = all attention goes to what followed before", source=blocks.STUDY),
        file="prefix-matching", key="tour matching", python=blocks.python_lines(
            unit, *alive.lines, table="tables.induction_table(record, 'prefix matching', chosen=chosen"
            f"{blocks.headless()})",
            then=[f"print((np.array(record.mean){alive.index} >= {LOOKS_BACK}).sum(), 'heads look back')"],
            given=alive.given | {"chosen": chosen}))
    at_work(stats.leader(scores))
    if selection.model_name() == BUNDLED and st.toggle(  # of others there is no training to look at
            "How did they come about? Back through the training", key="tour training", persist_state="session"):
        growth.section("tour", level=3)


@st.cache_data(show_spinner="Reading the repeated words …", max_entries=16)
def pattern_of(model: ModelId, head: Head, seed: int) -> tuple[np.ndarray, list[str]]:
    """(pos, pos) attention of a head on a repeated random sequence, and its words."""
    def see(loaded: LoadedModel) -> tuple[np.ndarray, list[str]]:
        ids, tokens = lens.repeated_tokens(loaded, N_WORDS, seed)
        return lens.attention(loaded, ids, head.layer)[head.head], tokens

    return waiting.look(see)


def at_work(head: Head) -> None:
    """The strongest head's attention on random words and their repeat."""
    if why := selection.why_no_model():
        st.caption(f":material/cloud_off: {head} cannot be watched at work here. {prose(why)}")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        watch = st.toggle(f"Watch {head} at work", key="tour watch", persist_state="session")
        seed = st.number_input("Words", 0, 99, 0, key="tour words", persist_state="session", width=130,
                               help="Another number draws other words.")
    if not watch:
        return
    pattern, tokens = pattern_of(selection.model(), head, int(seed))
    table = tables.attention_table(pattern, tokens)
    found = stats.prefix_match(pattern, N_WORDS)
    title = f"Here {head} gives {words.percent(found)} of its attention to what followed before"
    heading(title)
    chart = charts.framed(charts.attention_map(table, tokens), stats.prefix_targets(N_WORDS, 2))
    st.altair_chart(chart, width="content", alt=f"Attention of {head}: rows look at columns; the places that "
                                                "followed the same word before are framed.")
    caption = blocks.note("n = 1 sequence · framed: what followed the same word the first time", blocks.provenance(
        selection.model(),
        "Each row is a word that looks, each column a word it may look at, and each row adds up to 1",
        f"{N_WORDS} random words, twice; sequence {int(seed)}"))
    blocks.extras(table, f"attention-{head}-repeated", blocks.repeated_lines(head, N_WORDS, int(seed)), "tour at work",
                  title=title, caption=caption, shown=[("", chart)])


def knock_out() -> None:
    """Knock the heads that look back out, and as many random ones."""
    record = matching()
    if record is None:
        return
    alive = living.now(suite().values())
    scores = np.where(alive.mask, np.array(record.mean), 0)
    ranked = [head for head in stats.highest(scores, 1) if alive.mask[head.layer, head.head]]
    everyone = int((scores >= LOOKS_BACK).sum())
    blocks.tell("If looking back is how the model reads the examples, then switching those heads off should hurt "
                "more than switching off as many others. (The random heads come from layers 1 and up, since "
                "everything needs layer 0, and look back less.)")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sizes = sorted({min(3, everyone), everyone} - {0}) or [1]
        k = sizes[0]
        if len(sizes) > 1:
            k = int(st.segmented_control("How many heads", sizes, default=sizes[-1], required=True,
                                         key=f"tour k {sizes}"))
        seed = st.number_input("Draw", 0, 99, 0, key="tour seed", persist_state="session", width=130,
                               help="Another number draws other random heads.")
    others = verdicts.control(alive.heads, ranked[:max(everyone, k)], k, int(seed))
    masks = {"intact": INTACT, f"without the top {k}": Ablation(frozenset(ranked[:k])),
             f"without {len(others)} random": Ablation(frozenset(others))}
    names = group("in-context")
    units = [Evaluation(one, mask) for mask in masks.values() for one in setups(names, SHOTS[-1])]
    lacking(*units)
    answers = ("the random ones", "these questions do not tell", "the ones that look back")
    guess = ask("knock out", f"Off {'goes' if k == 1 else 'go'} the {words.how_many(k, 'head')} that "
                f"{'looks' if k == 1 else 'look'} back most, or as many random ones: which hurts more?", answers)
    if guess is None:
        return
    records = measured(units, "accuracy without these heads")
    if not records:
        return
    table = tables.means_table({label: records[i * len(names):(i + 1) * len(names)] for i, label in enumerate(masks)})
    intact, top, random = table["accuracy"]
    difference = stats.mean_difference_interval([(a.marks(), b.marks()) for a, b in zip(
        records[len(names):2 * len(names)], records[2 * len(names):], strict=True)])
    title, right = verdicts.knocked_out(top - intact, random - intact, difference)
    answer(guess, answers[right])
    result(
        title,
        charts.bars(table, x="accuracy", y="what", order=list(masks), x_title="accuracy"), table=table,
        caption=f"n = {table['n'].iloc[0]} questions of {len(names)} tasks · orange: chance",
        measured=blocks.provenance(
            units[0].setup, f"Mean of {len(names)} tasks", "Off: zero ablation", "95 % intervals from those of the "
            "tasks", words.how_certain(units[0].setup), alive.measured, f"Top {k}: {words.names(sorted(ranked[:k]))}",
            f"Random: {words.names(sorted(others))}", task="in-context tasks"),
        file="tour-knock-out", key="tour knock out", python=blocks.python_lines(
            units[0], "groups = dict(zip(labels, (records, top, others), strict=True))",
            table="tables.means_table(groups)", given={"labels": tuple(masks)}, then=[
                "pairs = [(a.marks(), b.marks()) for a, b in zip(top, others, strict=True)]",
                "print(stats.mean_difference_interval(pairs))"],
            also={"top": units[len(names)], "others": units[2 * len(names)]}, over=over(names, SHOTS[-1])),
        alt_text=f"Bars of accuracy. {title}.")
    blocks.picture(masks[f"without the top {k}"])
    if k < everyone and intact - top < FEW_POINTS:
        blocks.tell(f"With {k} of them gone accuracy changes by less than {words.points(FEW_POINTS)[1:]}: perhaps the "
                    f"other {everyone - k} do the same. That would be *redundancy*. Try all of them.")
    elif k == everyone and len(sizes) > 1:
        blocks.tell(f"Now try {sizes[0]} of them: does the model notice?")


def prune() -> None:
    """How many heads can go?"""
    blocks.tell("Rank all heads by importance (how strongly the loss depends on them), switch the least important "
                "ones off, and see how long accuracy holds. The yardstick: as many heads at random.")
    names = list(suite())
    share = st.slider("Accuracy to keep, as a share of the intact", 50, 100, 90, 5, format="%d %%", key="tour share",
                      persist_state="session") / 100
    rankings, alive = ("least important first", "random"), living.now(suite().values(), [SHOTS[-1]])
    at_random = Ranking.random(0, N_PROBE if living.known_for(setups(names, SHOTS[-1])) else 0)
    units = [Pruning(one, "heads", at_random if label == "random" else Ranking.by(one.task))
             for label in rankings for one in setups(names, SHOTS[-1])]
    lacking(*units)
    guess = ask("prune", "What share of the heads can go before accuracy falls below that?", verdicts.SPARED)
    if guess is None:
        return
    records = blocks.get_all(units, f"pruning curves of all {len(names)} tasks, {SHOTS[-1]}-shot")
    found = [r for r in records if r is not None]
    if len(found) < len(units):
        return
    info = selection.info()
    sweeps = {label: [found[i * len(names):(i + 1) * len(names)]] for i, label in enumerate(rankings)}
    what, live = ("heads" if alive.known is None else "live heads"), alive.known
    table = tables.curves_table(sweeps, weights(info), info.n_params, live)
    title, right = verdicts.spared(tables.limits_table(table, what, share, sweeps), share, alive.called, alive.n)
    intact, chance = float(table["accuracy"].iloc[0]), float(table["chance"].iloc[0])
    answer(guess, verdicts.SPARED[right])
    result(
        title,
        charts.lines(table, x=what, y="accuracy", colour="ranking", x_title=f"share of {alive.called} removed",
                     y_title="accuracy", rules={"chance": chance,
                                                f"{words.percent(share)} of intact": share * intact}),
        caption=f"n = {found[0].questions.n} questions of {len(names)} tasks each · {alive.over} · chance "
                f"{words.percent(chance)}",
        measured=blocks.provenance(
            units[0].setup, f"Mean of {len(names)} tasks", "Heads ranked by gradient importance, the lowest go first; "
            "one random ranking", "95 % interval of how much can go from questions drawn anew within tasks",
            alive.measured, task="all tasks", source=blocks.STUDY),
        table=table, file="tour-pruning", key="tour pruning", python=blocks.python_lines(
            units[0], *alive.lines, "info = get(Model(model))",
            f"sweeps = {{{rankings[0]!r}: [records], {rankings[1]!r}: [others]}}",
            table=f"tables.curves_table(sweeps, weights(info), info.n_params{', live' * (live is not None)})",
            then=[blocks.printed(f"tables.limits_table(table, {what!r}, {share}, sweeps)")],
            also={"others": units[len(names)]}, over=over(names, SHOTS[-1]), given=alive.given),
        alt_text="Lines of accuracy against the share of heads removed, by ranking.")


def share_heads() -> None:
    """Do tasks need the same heads?"""
    blocks.tell("Different tasks, one model: does each lean on its own heads, or all on the same ones? Compare the "
                "rankings of the heads, task against task: a *rank correlation* ρ of 1 is the same order, 0 is "
                "unrelated.")
    n_shots = st.segmented_control("Shots", SHOTS, default=SHOTS[-1], required=True, key="tour overlap shots",
                                   persist_state="session")
    names = list(suite())
    units = [selection.importance(task, n_shots) for task in suite().values()]
    lacking(*units)
    answers = ("the same kind", "different kinds", "these tasks do not tell")
    guess = ask("share", "Two tasks of the same kind, or of different kinds: whose rankings agree more?", answers)
    if guess is None:
        return
    records = blocks.get_all(units, f"head importance of all tasks, {n_shots}-shot")
    found = [r for r in records if r is not None]
    if len(found) < len(units):
        return
    alive = living.now(suite().values(), [int(n_shots)])
    rho = stats.spearman_matrix([alive.of(r.scores(selection.definition())) for r in found])
    kinds = [registry.about(name).group for name in names]
    table = tables.kinds_table(rho, kinds)
    title, right = verdicts.kinds_agree(stats.grouping(rho, kinds))
    answer(guess, answers[right])
    result(
        title,
        charts.bars(table, x="mean ρ", y="pairs", order=list(table["pairs"]), x_title="Spearman ρ of two tasks' "
                    "importance, mean over pairs", percent=False),
        caption=f"{table['n'].iloc[-2:].sum()} pairs of tasks · {alive.over} · grey: lowest to highest · chance: 0",
        measured=blocks.provenance(
            units[0].setup, f"ρ over {alive.n} {alive.called}", f"Head importance {selection.definition()}",
            "p: how often kinds dealt out to the tasks at random differ as much (two-sided permutation test, 5,000 "
            "deals)",
            alive.measured, "Grey: from the lowest pair to the highest", task="all tasks", source=blocks.STUDY),
        table=table, file="tour-overlap", key="tour overlap", python=blocks.python_lines(
            units[0], *alive.lines,
            f"scores = [record.scores({selection.definition()!r}){alive.index} for record in records]",
            table="tables.kinds_table(stats.spearman_matrix(scores), kinds)", over=over(names, n_shots),
            then=["print(stats.grouping(stats.spearman_matrix(scores), kinds))"],
            given=alive.given | {"kinds": tuple(kinds)}),
        alt_text="Bars of mean rank correlation between tasks.")


def ffns() -> None:
    """And the feed-forward networks?"""
    each = weights(selection.info())
    times = each.ffn / (each.head * selection.info().n_heads)
    blocks.tell(f"There is one FFN per layer, with {times:.2g} times the parameters of all the heads beside it. Switch "
                "each off in turn and see what accuracy loses.")
    n_shots = st.segmented_control("Shots", SHOTS, default=SHOTS[-1], required=True, key="tour ffn shots",
                                   persist_state="session")
    names = list(suite())
    units = [FFNOracle(one) for one in setups(names, n_shots)]
    lacking(*units)
    answers = ("that of the first layer", "one in the middle", "that of the last layer")
    guess = ask("ffns", "Which FFN is missed most?", answers)
    if guess is None:
        return
    records = blocks.get_all(units, f"accuracy with each FFN off, all tasks, {n_shots}-shot")
    found = [r for r in records if r is not None]
    if len(found) < len(units):
        return
    table = tables.mean_effects_table(dict(zip(names, found, strict=True)))
    worst = int(table["change"].idxmin())
    answer(guess, answers[0 if worst == 0 else 2 if worst == len(table) - 1 else 1])
    second, ahead = tables.runner_up(list(found), worst)
    result(
        verdicts.missed_most(table, second, ahead),
        charts.layer_effects(table),
        caption=f"n = {found[0].questions.n} questions per task · {len(names)} tasks · pale: the interval includes no "
                "change",
        measured=blocks.provenance(
            units[0].setup, f"Mean of {len(names)} tasks", "Change: accuracy with the FFN off minus intact",
            words.how_tested(units[0].setup, "Intact against off"), "Pale: the 95 % interval includes no change",
            "Most: against the next FFN, on the same questions, by the same interval", task="all tasks",
            source=blocks.STUDY),
        table=table.drop(columns=["head", "off"]), file="tour-ffns", key="tour ffns", python=blocks.python_lines(
            units[0], "oracles = {setup.task.name: record for setup, record in zip(setups, records, strict=True)}",
            table="tables.mean_effects_table(oracles).drop(columns=['head', 'off'])", over=over(names, n_shots),
            then=[f"print(tables.runner_up(records, {worst}))"]),
        alt_text=f"Bars of the change in accuracy without each layer's FFN; layer {worst} is missed most.")


AT_SCALE = {  # what can go of OPT-66B with little loss on average, as the study reports it
    "heads": ("about 70 %", "some 15 billion parameters"), "FFNs": ("about 20 %", "some 8.5 billion parameters")}


def at_scale() -> None:
    """What the study found in a model of 66 billion parameters, beside what holds here."""
    blocks.tell(f"The questions of this tour were first asked of **OPT-66B**, 64 layers of 72 heads ({blocks.STUDY}), "
                "on 14 tasks with 0, 1 and 5 shots.")
    what = str(st.segmented_control("What is switched off", list(AT_SCALE), default="heads", required=True,
                                    key="tour scale", persist_state="session"))
    names = list(suite())
    units = [Pruning(one, what.lower()) for one in setups(names, SHOTS[-1])]
    lacking(*units)
    guess = ask(f"at scale {what}", f"How many of OPT-66B's {what} can go with little loss?",
                ("about 20 %", "about 40 %", "about 70 %"))
    if guess is None:
        return
    share, parameters = AT_SCALE[what]
    answer(guess, share)
    records = blocks.get_all(units, f"accuracy as {what} are removed, all {len(names)} tasks, {SHOTS[-1]}-shot")
    found = [r for r in records if r is not None]
    if len(found) == len(names):
        info, alive = selection.info(), living.now(suite().values(), [SHOTS[-1]])
        live = alive.known if what == "heads" else None
        counted = what if live is None else "live heads"
        curve = tables.curve_table(found, tables.OWN, weights(info), info.n_params, live)
        here = tables.limits_table(curve, counted, 0.9, {tables.OWN: [found]})
        title = verdicts.at_scale(here, share, what, alive.called if what == "heads" else what,
                                  alive.n if what == "heads" else info.n_layers)
        heading(title)
        caption = blocks.note(
            f"n = {found[0].questions.n} questions of {len(names)} tasks each · " + (
                alive.over if what == "heads" else "ranked on the same questions"), blocks.provenance(
                units[0].setup, f"There: {parameters}, as reported",
                f"Here: mean of {len(names)} tasks, with at least 90 % of the intact accuracy; that is "
                f"{words.percent(here['of all parameters'][0])} of the parameters", "95 % interval of how much can go, "
                "from questions and draws taken anew within tasks; that accuracy's: "
                f"{words.percent(here['from'][0])} to {words.percent(here['to'][0])}",
                words.how_certain(units[0].setup),
                alive.measured if what == "heads" else "FFNs are ranked by what their removal costs on these very "
                "questions, which flatters the curve", task="all tasks", source=blocks.STUDY))
        blocks.extras(here, f"tour-{what.lower()}-can-go", blocks.python_lines(
            units[0], *(alive.lines if live is not None else []), "info = get(Model(model))",
            f"curve = tables.curve_table(records, {tables.OWN!r}, weights(info), info.n_params"
            f"{', live' * (live is not None)})", over=over(names, SHOTS[-1]),
            given=alive.given if live is not None else {},
            table=f"tables.limits_table(curve, {counted!r}, 0.9, {{{tables.OWN!r}: [records]}})"),
            "tour at scale", title=title, caption=caption)
    if told := real_story.spared(what):
        blocks.tell(told)
    like = ", as in step 2" if selection.model_name() == BUNDLED else ""
    blocks.tell(f"""
The study also found that important heads sit in the middle layers and important FFNs in the later ones; that tasks
**share** many of their important heads, and so do different numbers of shots; and that a small set of heads does
prefix matching and copying, which overlaps with the heads that tasks need.

What it could mean: much of a large model may be undertrained for learning in context, and what is needed sits in few
places. What it does not mean: that the rest is useless. Heads were judged by accuracy on these tasks alone, and
switching off is a coarse tool: others may take over{like}.

Headroom measures the same on **any decoder-only model**: choose one in the sidebar, or start with
`{COMMAND} precompute --model facebook/opt-125m --tasks paper --dry-run`.
""")


REAL = "A real language model"
STEPS: dict[str, tuple[Callable[[], None], str, str]] = {  # title -> what it shows, the page it comes from, link text
    "Learning from examples": (learn, "pages/lab.py", "See every task in Lab"),
    "Things that can be off": (switch, "pages/lab.py", "Go on in Lab"),
    "Heads that look back": (look_back, "pages/induction.py", "Look closer in Induction"),
    "Knock them out": (knock_out, "pages/lab.py", "Try your own mask in Lab"),
    "How many can go?": (prune, "pages/pruning.py", "More rankings in Pruning"),
    "Do tasks share them?": (share_heads, "pages/overlap.py", "Every pair of tasks in Overlap"),
    "And the FFNs?": (ffns, "pages/ffns.py", "Task by task in FFNs"),
    "Which heads, then?": (beyond.which_heads, "pages/induction.py", "Both sorts in Induction"),
    "Is the score right?": (beyond.truth, "pages/heads.py", "Every score in Heads > Calibration"),
    REAL: (real_story.section, "pages/heads.py", "Its heads, task by task"),
    "At 66 billion": (at_scale, "pages/runs.py", "Add a model in Runs"),
}


SHORT = ("Examples", "Off", "Look back", "Knock out", "How many?", "Shared?", "FFNs",  # in the control
         "Which?", "Right?", "Real", "66 billion")


def go(by: int) -> None:
    st.session_state["step"] = max(1, min(len(STEPS), int(st.session_state.get("step") or 1) + by))
    change_masks()


def step_control() -> int:
    """The step, by its number in the address and by its title in the control.

    Not bound to the address: Streamlit would write there what the control shows.
    """
    asked, numbers = st.query_params.get("step"), {str(step): step for step in range(1, len(STEPS) + 1)}
    if asked != st.session_state.get("step told") or "step" not in st.session_state:
        if asked is not None and asked not in numbers:
            selection.not_read("step", asked, ", ".join(numbers), 1)
        st.session_state["step"] = numbers.get(str(asked), 1)  # opened by a link, or the browser went back
    at = st.segmented_control("Step", list(numbers.values()), key="step", required=True, on_change=change_masks,
                              format_func=lambda step: f"{step} {SHORT[step - 1]}", label_visibility="collapsed") or 1
    if at != 1 or asked is not None:
        st.query_params["step"] = str(at)
    st.session_state["step told"] = st.query_params.get("step")
    return at


def change_masks() -> None:
    """Each step has a mask of its own: what is off in one is not off in the next, and off again when one comes back."""
    before, now = st.session_state.get("tour at"), int(st.session_state.get("step") or 1)
    masks: dict[int, Ablation] = st.session_state.setdefault("tour masks", {})
    if before is not None and before != now:
        components.take_clicks()
        masks[before] = selection.ablation()
        components.begin(masks.get(now, INTACT))


def use_bundled() -> None:
    real_story.tour_with(BUNDLED)


def introduction(first: bool) -> None:
    """What this is about; while somebody presents, and a lecture's invitation, on the first step alone."""
    if first or not presenting.on():
        blocks.tell("Headroom shows which **attention heads** and **feed-forward networks** a task leans on, lets you "
                    "switch them off with a click, and shows what that does to accuracy. Here is the story in eleven "
                    "steps, on a small model that runs on this machine.")
    if first:
        lecture.invitation()
    if selection.model_name() != BUNDLED:
        with st.container(horizontal=True, vertical_alignment="center"):
            blocks.text("The tour was written for the bundled model and is now taken with "
                        f"{selection.model_name()}: every number is that model's, and some steps may find little.")
            st.button("Use the bundled model", key="tour bundled", on_click=use_bundled)


st.title("Which parts of a language model does in-context learning need?")
above = st.container(key="tour-introduction")  # of which the step and the switch, both below, decide what it says
at = st.session_state["tour at"] = step_control()
presenting.switch()
with above:
    introduction(first=at == 1)
turning.to_the_top(at, selection.model_name())
title = list(STEPS)[at - 1]
show, page, link = STEPS[title]
with st.container(border=True, key="step-card"):
    st.header(f"{at} · {title}")
    show()
with st.container(horizontal=True, vertical_alignment="center"):
    st.button("Back", key="back", on_click=go, args=(-1,), disabled=at == 1, icon=":material/arrow_back:",
              shortcut="Left" if presenting.on() else None)
    st.button("Next", key="next", on_click=go, args=(1,), disabled=at == len(STEPS), icon=":material/arrow_forward:",
              icon_position="right", type="primary", shortcut="Right" if presenting.on() else None)
    st.page_link(page, label=link, icon=":material/open_in_new:")
if presenting.on():  # a presenter's remote control sends these
    with presenting.only_keys("pages"):
        st.button("Page back", key="page back", on_click=go, args=(-1,), disabled=at == 1, shortcut="PageUp")
        st.button("Page on", key="page on", on_click=go, args=(1,), disabled=at == len(STEPS), shortcut="PageDown")
st.caption("Every number but the study's is computed, with the sidebar's model and details (in step "
           f"{list(STEPS).index(REAL) + 1} with the usual ones); each step chooses its own task and shots. Answer each "
           "question before you look: being wrong is the point.")
