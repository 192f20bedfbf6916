"""Every page can be taken away: what it shows, as one report and one notebook, made when they are asked for."""

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from backend.store.live import Store
from backend.tasks.mini import MINI
from backend.values import parse_exact
from pages.shared import notes, pictures, report, takeaway
from pages.shared import words as wording
from tests.pages import made_up
from tests.pages.conftest import INFO, MODEL, Explorer, bodies, calm, setup_of, setups_of
from tests.pages.shared.test_report import Tags
from tests.pages.shown import run_lines
from tests.pages.test_lab import OFF, put


def sheet(app: AppTest) -> report.Sheet:
    return app.session_state["sheet"]


def buttons(app: AppTest) -> dict[str, Any]:
    return {one.proto.label: one for one in app.get("download_button")}


@pytest.fixture
def heads(explorer: Explorer, store: Store) -> AppTest:
    made_up.fill(store, [made_up.importance(setup_of("antonym"))], INFO)
    return explorer("heads", task="antonym", off="L1H2")


def test_a_page_without_results_offers_no_report(explorer: Explorer):
    app = explorer("heads", task="antonym")
    assert calm(app)
    assert {"Report", "Notebook"}.isdisjoint(buttons(app))


def test_what_a_page_shows_is_what_can_be_taken_away(heads: AppTest):
    assert calm(heads)
    assert {"CSV", "SVG", "Report", "Notebook"} <= set(buttons(heads))
    figures = sheet(heads).figures
    assert list(figures) == ["importance", "importance-layers", "top-heads"]
    titles = [notes.plain(body) for body in bodies(heads) if body.startswith("<h2")]
    assert [figure.title for figure in figures.values()] == titles
    assert {figure.off for figure in figures.values()} == {"L1H2"}
    heads.segmented_control(key="view").set_value("Average").run()
    assert "importance" not in sheet(heads).figures  # another view, another sheet


def test_drawing_a_page_makes_neither_pictures_nor_reports(explorer: Explorer, store: Store,
                                                           monkeypatch: pytest.MonkeyPatch):
    made_up.fill(store, [made_up.importance(setup_of("antonym"))], INFO)
    for where, name in ((pictures, "svg"), (report, "html"), (report, "notebook"), (takeaway, "versions")):
        monkeypatch.setattr(where, name, lambda *_, **__: pytest.fail("made though nobody asked"))
    app = explorer("heads", task="antonym")
    assert calm(app)
    assert "Report" in buttons(app)


def test_the_report_holds_every_figure_with_its_picture_choice_and_versions(heads: AppTest):
    document = takeaway.as_report(
        sheet(heads), lambda: takeaway.facts(setup_of("antonym"), "auto", "per-token", list(MINI))).decode()
    read = Tags(document)
    assert [tag for tag, _ in read.tags].count("svg") == 2
    assert "#e07b1f" in document  # the chosen head is marked in the map
    for figure in sheet(heads).figures.values():
        assert report.plain(figure.title) in read.text
        assert figure.python in read.text
    known = setup_of("antonym")
    for said in ("Heads", "antonym", known.task.digest, MODEL.digest, MODEL.revision, "float32", "fixed", "n = 100",
                 "BOS token", "Seed", "L1H2", "0.1.0", "torch", "transformers", "Python"):
        assert said in read.text, said
    assert "http://www.w3.org" in document
    assert not [one for one in read.tags if {"src", "href"} & set(one[1])]


def test_the_notebook_runs_and_gives_the_tables(heads: AppTest, monkeypatch: pytest.MonkeyPatch):
    made = json.loads(takeaway.as_notebook(sheet(heads), dict))
    lines = ["".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "code"]
    figures = list(sheet(heads).figures.values())
    assert lines == [figure.python for figure in figures]
    for figure, cell in zip(figures, lines, strict=True):
        assert figure.table.to_string() in run_lines(cell, monkeypatch)["printed"]
    assert made["cells"][1]["source"][0] == f"## {report.plain(figures[0].title)}\n"


def test_the_labs_map_and_big_numbers_are_in_its_report(explorer: Explorer, store: Store):
    put(store, "antonym", 0.9, 0.5)
    made_up.fill(store, [made_up.importance(setup_of("antonym"))], INFO)
    app = explorer("lab", task="antonym", off=str(OFF))
    assert calm(app), (app.error, app.exception)
    figures = sheet(app).figures
    assert set(figures) == {"lab grid", "lab"}
    shown = [(metric.label, metric.value) for metric in app.main.metric]
    assert [(label, value) for label, value, _ in figures["lab"].numbers] == shown
    below = "\n".join([one.value for one in app.main.caption] + [notes.plain(body) for body in bodies(app)])
    assert all(note in below for _, _, note in figures["lab"].numbers)
    text = Tags(takeaway.as_report(sheet(app), dict).decode()).text
    assert all(label in text and value in text for label, value in shown)
    assert f"{wording.components(parse_exact(str(OFF)))} off" in text


def test_the_means_of_all_tasks_are_in_the_labs_report(explorer: Explorer, store: Store):
    for name in MINI:
        put(store, name, 0.9, 0.5)
    app = explorer("lab", scope="All tasks", off=str(OFF))
    assert calm(app), (app.error, app.exception)
    numbers = {label.lower(): value for label, value, _ in sheet(app).figures["lab"].numbers}
    shown = {f"{metric.label.lower()}, ablated": metric.value for metric in app.main.metric}
    assert shown.items() <= numbers.items()


def test_several_pictures_of_one_figure_are_one_svg(explorer: Explorer, store: Store):
    made_up.fill(store, [made_up.importance(one) for one in setups_of(list(MINI))], INFO)
    app = explorer("heads", task="antonym", view="All tasks")
    figure = sheet(app).figures["many"]
    assert [label for label, _ in figure.pictures] == list(MINI)
    svg = pictures.together(figure.pictures[:5], figure.off)
    assert svg.count("<svg") == 1 + 5
    assert all(f">{name}</text>" in svg for name in list(MINI)[:5])
