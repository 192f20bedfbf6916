"""A plan as a table: how many of its results are stored, by topic, task and shots."""

from backend import tables
from backend.kinds import Evaluation, PrefixMatching
from backend.runs.plan import Plan, Step
from tests.pages import made_up

MODEL = made_up.model_id(made_up.model_info())


def test_results_are_counted_by_topic_task_and_shots():
    one, other = (made_up.setup(MODEL, "antonym", n_shots) for n_shots in (0, 5))
    importance = made_up.importance(other)
    plan = Plan((Step(Evaluation(one), True, 10), Step(Evaluation(other), False, 20), Step(importance, True, 5),
                 Step(PrefixMatching(MODEL), False, 7)))
    table = tables.plan_table(plan, {})
    assert list(table.columns) == ["topic", "task", "shots", "stored", "asked", "share", "seconds left"]
    told = table.set_index(["task", "shots", "topic"]).sort_index()
    assert told.index.get_level_values("task").tolist() == ["antonym", "antonym", "antonym", "no task"]
    assert told.index.get_level_values("shots").tolist() == ["0", "5", "5", "–"]
    assert table.groupby("shots")["stored"].sum().to_dict() == {"0": 1, "5": 1, "–": 0}
    assert table["asked"].tolist() == [1, 1, 1, 1]
    assert table["share"].tolist() == table["stored"].tolist()
    double = tables.plan_table(Plan((Step(Evaluation(one), True, 10), Step(Evaluation(one.with_(seed=1)), False, 10))),
                               {})
    assert double[["stored", "asked", "share"]].to_numpy().tolist() == [[1, 2, 0.5]]
