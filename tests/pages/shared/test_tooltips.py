"""What charts say under the mouse: shares in per cent, and intervals under their own names."""

from typing import Any

import pandas as pd

from pages.shared import charts


def tooltips(told: Any) -> list[dict[str, Any]]:
    """Every entry of every tooltip, wherever in a chart."""
    if isinstance(told, dict):
        own = told.get("tooltip")
        found = own if isinstance(own, list) else []
        return [*found, *(one for name, part in told.items() if name != "datasets" for one in tooltips(part))]
    return [one for part in told for one in tooltips(part)] if isinstance(told, list) else []


def test_overlap_is_said_in_per_cent_with_its_lowest_and_highest_pair():
    table = pd.DataFrame({"share": [0.1, 0.2], "mean": [0.3, 0.4], "low": [0.2, 0.3], "high": [0.4, 0.5],
                          "chance": [0.05, 0.1]})
    told = charts.overlap_curve(table, 0.2).to_dict()
    said = {one["field"]: (one["format"], one.get("title")) for one in tooltips(told)}
    assert said == {"share": (".0%", "top"), "mean": (".1%", None), "low": (".1%", "lowest pair"),
                    "high": (".1%", "highest pair"), "chance": (".1%", None)}


def test_accuracies_are_said_in_per_cent_with_their_interval_and_test():
    rows = [{"task": "antonym", "model": model, "accuracy": 0.5, "low": 0.4, "high": 0.6, "n": 40, "chance": 0.25,
             "p": 0.03, "group": "in-context"} for model in ("intact", "ablated")]
    told = charts.comparison(pd.DataFrame(rows), ["antonym"]).to_dict()
    said = {one["field"]: (one.get("format"), one.get("title")) for one in tooltips(told)}
    assert {name: said[name] for name in ("accuracy", "low", "high", "chance", "p")} == {
        "accuracy": (".1%", None), "low": (".1%", "95 % from"), "high": (".1%", "to"), "chance": (".1%", None),
        "p": (".2g", "paired test p")}
    assert {"task", "model", "n"} <= set(said)


def test_differences_of_accuracies_are_said_in_points():
    rows = [{"part": "recognition", "model": "intact", "effect": 0.215, "low": 0.18, "high": 0.25, "n": 40}]
    told = charts.beside(pd.DataFrame(rows), x="effect", y="part", order=["recognition"], x_title="difference",
                         signed=True).to_dict()
    said = {one["field"]: (one.get("format"), one.get("title")) for one in tooltips(told)}
    assert {name: said[name] for name in said if "points" in name} == {
        "effect, points": ("+.1f", "effect, points"), "low, points": ("+.1f", "95 % from"),
        "high, points": ("+.1f", "to")}
    (drawn,) = told["datasets"].values()
    assert (drawn[0]["effect, points"], drawn[0]["low, points"]) == (21.5, 18)
    assert told["layer"][0]["encoding"]["x"]["axis"]["title"] == "difference, points"
