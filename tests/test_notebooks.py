"""What docs/python.md and the notebooks show is what happens, with the package as it is installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "python.md"
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))

# Runs documents, each in a namespace and a folder of its own; per cell what it prints, and how its last line shows.
RUNNER = '''
import ast, contextlib, io, json, os, sys, traceback, types

def run(cells):
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    for number, cell in enumerate(cells):
        body, printed, shown = ast.parse(cell).body, io.StringIO(), ""
        last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(printed):
            exec(compile(ast.Module(body, []), f"<cell {number}>", "exec"), vars(module))
            value = eval(compile(last, f"<cell {number}>", "eval"), vars(module)) if last else None
        if hasattr(value, "to_dict") and hasattr(value, "save"):
            value.to_dict()
            shown = "chart"
        elif value is not None:
            shown = value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)
        yield [printed.getvalue(), shown]

told = {}
for name, cells in json.load(sys.stdin).items():
    os.makedirs(name)
    os.chdir(name)
    told[name] = []
    try:
        told[name].extend(run(cells))
    except Exception:
        told[name] = traceback.format_exc()
    os.chdir("..")
json.dump(told, open("told.json", "w"))
'''


def blocks() -> list[tuple[str, str | None]]:
    """The page's blocks of Python, each with what is to be printed below it."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert {language for language, _ in found} == {"python", "text"}
    return [(code, after[0][1] if (after := found[i + 1:i + 2]) and after[0][0] == "text" else None)
            for i, (language, code) in enumerate(found) if language == "python"]


def cells(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def folder(installed, tmp_path_factory) -> Path:
    """Where the page and the notebooks ran, a folder each, in one process: torch is loaded once. No network."""
    folder = tmp_path_factory.mktemp("run")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADROOM_")}
    settings = {"PYTHONPATH": str(installed), "XDG_DATA_HOME": str(folder / "data"), "HF_HUB_OFFLINE": "1",
                "HEADROOM_KEY": str(folder / "key")}
    documents = {"page": [code for code, _ in blocks()], **{path.stem: cells(path) for path in NOTEBOOKS}}
    done = subprocess.run([sys.executable, "-W", "error", "-c", RUNNER], input=json.dumps(documents), cwd=folder,
                          env=kept | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def told(folder: Path, name: str) -> list[list[str]]:
    """Per cell of a document what it printed, and what its last line showed."""
    found = json.loads((folder / "told.json").read_text())[name]
    assert isinstance(found, list), found
    return found


def test_the_page_prints_what_it_shows(folder):
    page, found = blocks(), told(folder, "page")
    for (code, wanted), (printed, _) in zip(page, found, strict=True):
        assert printed == (wanted or ""), f"below\n{code}"
    assert [code.splitlines()[-1] for (code, _), (_, shown) in zip(page, found, strict=True) if shown == "chart"] == [
        "result.chart()", "importance.chart()"]
    assert (folder / "page" / "chart.svg").read_text().startswith("<svg")
    assert (folder / "data" / "headroom" / "cache.db").is_file()  # where an installed Headroom keeps results


def test_the_page_begins_with_five_lines():
    (code, _), *_ = blocks()
    assert len([line for line in code.splitlines() if line]) == 5


def test_the_page_has_a_section_for_every_name():
    import backend

    assert set(re.findall(r"^### `(\w+)`$", PAGE.read_text(), re.MULTILINE)) == set(backend.__all__) - {"__version__"}


@pytest.mark.parametrize("name", ["first_steps", "your_own"])
def test_a_notebook_runs_from_top_to_bottom(name: str, folder):
    found = told(folder, name)
    assert "chart" in [shown for _, shown in found]
    assert any("<table" in shown for _, shown in found)


def test_there_are_two_notebooks_without_outputs():
    assert [path.stem for path in NOTEBOOKS] == ["first_steps", "your_own"]
    for path in NOTEBOOKS:
        notebook = json.loads(path.read_text())
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
        assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in notebook["cells"]
                   if cell["cell_type"] == "code")
        assert notebook["cells"][0]["cell_type"] == "markdown"
