"""How well does the model answer, intact and ablated? Accuracies, comparisons, and the questions that turned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..arrays import Bool, Int
from ..kinds import Answers
from ..stats import Marks
from ..tasks.task import Prompt
from ..values import Ablation

SHOWN = 60  # characters of a question in a list: its end, where what is asked stands


def accuracy_row(name: str, marks: Marks | Bool[np.ndarray, " n"], chance: float, group: str = "") -> dict[str, Any]:
    """Accuracy of one model on one task, with its 95 % `stats.accuracy_interval`: a row of an accuracy table."""
    marks = stats.marks_of(marks)
    right, n = int(marks.right.sum()), len(marks.right)
    low, high = stats.accuracy_interval(marks)
    return {"task": name, "group": group, "accuracy": right / n if n else np.nan, "low": low, "high": high,
            "right": right, "n": n, "chance": chance}


def mean_row(label: str, records: Sequence[Answers]) -> dict[str, Any]:
    """The unweighted mean accuracy of several tasks, with its 95 % interval and mean chance."""
    marks = [r.marks() for r in records]
    low, high = stats.mean_accuracy_interval(marks)
    return {"what": label, "accuracy": float(np.mean([m.right.mean() for m in marks])), "low": low, "high": high,
            "chance": float(np.mean([r.questions.chance for r in records])), "n": sum(len(m.right) for m in marks)}


def means_table(groups: Mapping[str, Sequence[Answers]]) -> pd.DataFrame:
    """A `mean_row` per group of records, by what the group is called."""
    return pd.DataFrame([mean_row(label, records) for label, records in groups.items()])


def pairs_table(pairs: Mapping[str, tuple[Answers, Answers | None]],
                groups: Mapping[str, str] | None = None) -> pd.DataFrame:
    """A `comparison_table` of evaluations, intact and ablated, by what is asked; None while one is not there yet.

    Args:
        groups: what each is averaged with.
    """
    return comparison_table(
        list(pairs), [(groups or {}).get(name, "") for name in pairs], [a.marks() for a, _ in pairs.values()],
        [b.marks() if b is not None else None for _, b in pairs.values()],
        [a.questions.chance for a, _ in pairs.values()])


def comparison_table(
    names: Sequence[str], groups: Sequence[str], intact: Sequence[Marks | Bool[np.ndarray, " _"]],
    ablated: Sequence[Marks | Bool[np.ndarray, " _"] | None], chances: Sequence[float],
) -> pd.DataFrame:
    """Two rows per task, "intact" and "ablated" (while it is not there yet: one), with intervals and paired tests.

    The change, ablated minus intact, has its `stats.difference_interval`, p is of the `stats.paired_test`.
    """
    rows = []
    for name, group, a, b, chance in zip(names, groups, intact, ablated, chances, strict=True):
        paired = {} if b is None else _paired(a, b)
        for model, marks in (("intact", a), ("ablated", b)):
            if marks is not None:
                rows.append({**accuracy_row(name, marks, chance, group), "model": model, **paired})
    return pd.DataFrame(rows, columns=["task", "model", "accuracy", "low", "high", "right", "n", "chance", "change",
                                       "change from", "change to", "p", "newly wrong", "newly right", "group"])


def _paired(intact: Marks | Bool[np.ndarray, " n"], ablated: Marks | Bool[np.ndarray, " n"]) -> dict[str, float]:
    """What changed between two models' outcomes on the same questions, how sure that is, and which way."""
    intact, ablated = stats.marks_of(intact), stats.marks_of(ablated)
    test, (low, high) = stats.paired_test(intact, ablated), stats.difference_interval(intact, ablated)
    return {"change": float(ablated.right.mean() - intact.right.mean()), "change from": low, "change to": high,
            "p": test.p, "newly wrong": test.only_a, "newly right": test.only_b}


def groups_table(table: pd.DataFrame) -> pd.DataFrame:
    """The `mean_rows` of a `comparison_table`: of every group and, where there are several, of all tasks."""
    groups = list(dict.fromkeys(table["group"]))
    parts = {"all tasks": table} if len(groups) > 1 else {}
    parts |= {group: table[table["group"] == group] for group in groups}
    rows = {group: mean_rows(part) for group, part in parts.items()}
    return pd.DataFrame([{"group": group, "model": model, **means[model]} for group, means in rows.items()
                         for model in ("intact", "ablated") if model in means])


def mean_rows(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Per model the unweighted mean of a `comparison_table`'s accuracies, with its 95 % interval.

    The ablated model's only where all rows have it: means of different tasks do not compare.
    """
    rows: dict[str, dict[str, Any]] = {}
    for model, part in table.groupby("model"):
        if len(part) == table["task"].nunique():
            low, high = stats.interval_of_mean(part["accuracy"].tolist(), part[["low", "high"]].to_numpy().tolist())
            rows[str(model)] = {"accuracy": float(part["accuracy"].mean()), "low": low, "high": high,
                                "tasks": len(part)}
    return rows


def tried_row(off: Ablation, where: str, n_shots: int,
              pairs: Sequence[tuple[Marks | Bool[np.ndarray, " _"], Marks | Bool[np.ndarray, " _"]]]) -> dict[str, Any]:
    """What a mask did to the mean accuracy of one or more tasks: outcomes intact and ablated, paired."""
    low, high = stats.mean_difference_interval(pairs)
    intact, ablated = (float(np.mean([stats.marks_of(pair[i]).right.mean() for pair in pairs])) for i in (0, 1))
    return {"off": str(off), "heads": len(off.heads), "FFNs": len(off.ffns), "on": where, "shots": n_shots,
            "intact": intact, "ablated": ablated, "change": ablated - intact, "95 % from": low, "to": high}


def turned(intact: Answers, ablated: Answers) -> tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]:
    """The outcomes, by position, that turned from right to wrong, and from wrong to right.

    An outcome is a query, or a group of them (MultiRC): `questions.outcome_docs` says which queries it is about.
    """
    before, after = intact.outcomes(), ablated.outcomes()
    return np.flatnonzero(before & ~after), np.flatnonzero(~before & after)


def margin(record: Answers, q: int) -> float:
    """Log-likelihood of a query's best right option minus that of its best wrong one, in nats.

    Not a number where no option is wrong: a single word that is to be written (LAMBADA) has nothing to lead.

    Args:
        q: the query's place in `questions.docs`; an outcome's places are in `questions.outcome_docs`.
    """
    row, gold = record.loglikelihoods[q], record.questions.gold[q]
    wrong = [ll for i, ll in enumerate(row) if i not in gold]
    return max(row[g] for g in gold) - max(wrong) if wrong else float("nan")


def flips_table(intact: Answers, ablated: Answers, outcomes: Sequence[int], prompts: Mapping[int, Prompt],
                names: tuple[str, str] = ("before", "after")) -> pd.DataFrame:
    """A row per outcome that turned: what was asked, what the ablated model says, and by how much.

    Margins (see `margin`) are of the query; of a group, of its weakest query, for one wrong row makes the group wrong.
    Where a word is to be written ("greedy") there is no margin: the columns hold the word's log-likelihood.

    Args:
        outcomes: positions of outcomes, as `turned` gives them.
        prompts: the prompts by row, `questions.docs`.
        names: what the two are called in the numbers' columns.
    """
    questions, said, turns = intact.questions, ablated.choices(), _queries_turned(intact, ablated)
    members = questions.outcome_docs
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        places = members[outcome]
        flipped = [q for q in places if turns[q]]
        first = flipped[0] if flipped else places[0]
        prompt = prompts[questions.docs[first]]
        row: dict[str, Any] = {"question": question_ending(prompt.example.contexts[0])}
        if questions.metric == "greedy":
            word = one_line(prompt.example.options[0])
            row |= {"said": word if said[first] == 0 else f"not ‘{word}’",
                    f"log-likelihood {names[0]}": intact.loglikelihoods[first][0],
                    f"log-likelihood {names[1]}": ablated.loglikelihoods[first][0]}
        else:
            if questions.metric == "acc_by_group":
                row["rows that turned"] = f"{len(flipped)} of {len(places)}"
            row |= {"said": one_line(prompt.example.options[said[first]]),
                    f"margin {names[0]}": min(margin(intact, q) for q in places),
                    f"margin {names[1]}": min(margin(ablated, q) for q in places)}
        rows.append(row)
    return pd.DataFrame(rows)


def group_table(intact: Answers, ablated: Answers, outcome: int, prompts: Mapping[int, Prompt],
                names: tuple[str, str] = ("intact", "ablated")) -> pd.DataFrame:
    """The queries behind one outcome, a row each: what is right, what either model says, and whether it turned.

    Queries are in the order of `questions.outcome_docs[outcome]`. Where all ask the same and only their options differ,
    as in MultiRC, the question is left out.
    """
    questions, before, after = intact.questions, intact.choices(), ablated.choices()
    places = questions.outcome_docs[outcome]
    turns = _queries_turned(intact, ablated)
    examples = {q: prompts[questions.docs[q]].example for q in places}
    table = pd.DataFrame([
        {"row": questions.docs[q], "question": question_ending(example.contexts[0]),
         "right": " or ".join(one_line(example.options[g]) for g in questions.gold[q]),
         names[0]: _said(example.options, before[q]), names[1]: _said(example.options, after[q]),
         "turned": bool(turns[q])} for q, example in examples.items()])
    same = len({example.contexts for example in examples.values()}) == 1
    return table.drop(columns=["question"]) if same else table


def options_table(prompt: Prompt, intact: Answers, ablated: Answers, q: int,
                  names: tuple[str, str] = ("intact", "ablated")) -> pd.DataFrame:
    """Every option of one query, with its log-likelihood before and after, and which model chose it.

    Where a word is to be written ("greedy"), the last column says which model would have written it.
    """
    chosen = "written by" if intact.questions.metric == "greedy" else "chosen by"
    models = {name: (record, record.choices()[q]) for name, record in zip(names, (intact, ablated), strict=True)}
    return pd.DataFrame([
        {"option": one_line(option), "right": i in intact.questions.gold[q],
         **{name: record.loglikelihoods[q][i] for name, (record, _) in models.items()},
         chosen: " and ".join(name for name, (_, choice) in models.items() if choice == i)}
        for i, option in enumerate(prompt.example.options)])


def bets_table(options: Sequence[str], record: Answers, q: int) -> pd.DataFrame:
    """One query's options with the model's probabilities of them, made to sum to 1."""
    shares = np.exp(np.array(record.loglikelihoods[q]) - max(record.loglikelihoods[q]))
    return pd.DataFrame({"option": [option.strip() for option in options], "share": shares / shares.sum(),
                         "right": [i in record.questions.gold[q] for i in range(len(shares))]})


def _queries_turned(intact: Answers, ablated: Answers) -> Bool[np.ndarray, " n_queries"]:
    """Whether each is right in one model and wrong in the other."""
    before, after = (record.questions.right(record.choices()) for record in (intact, ablated))
    return np.asarray(before != after)


def _said(options: Sequence[str], choice: int) -> str:
    return one_line(options[choice]) if choice >= 0 else "something else"


def question_ending(context: str) -> str:
    """The end of a question, on one line."""
    question = one_line(context)
    return question if len(question) <= SHOWN else "… " + question[-SHOWN:]


def one_line(text: str) -> str:
    return " ".join(text.split())
