"""Installed, Headroom is the package and the command `headroom`, and its explorer opens from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

# In the explorer's own process, where `backend` is the installed package by the name that its pages use.
LOOK = '''
import sys
sys.path.insert(0, sys.argv[1])
from streamlit.testing.v1 import AppTest
app = AppTest.from_file(sys.argv[1] + "/app.py", default_timeout=120)
app.query_params["task"] = "antonym"
app.run()
app.switch_page("pages/runs.py").run()
assert not app.exception and not app.error, (app.exception, app.error)
from backend import places
from backend.runs import jobs
import backend.values
print([title.value for title in app.title], places.COMMAND, places.CHECKOUT, places.SHIPPED.is_dir())
print(backend.values.__file__, jobs.command_line(["status"]),
      any("headroom precompute" in code.value for code in app.code))
'''


def run(installed: Path, tmp_path: Path, *line: str) -> str:
    """What a command says, in a folder that has nothing of the project."""
    told = subprocess.run([sys.executable, *line], cwd=tmp_path, capture_output=True, text=True, env={
        **os.environ, "PYTHONPATH": str(installed), "XDG_DATA_HOME": str(tmp_path / "data"), "HEADROOM_CACHE": ""})
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_the_command_is_headroom_and_results_live_in_the_user_s_folder(installed: Path, tmp_path: Path):
    assert "  headroom precompute --tasks mini" in run(installed, tmp_path, "-m", "headroom", "precompute", "--help")
    said = run(installed, tmp_path, "-m", "headroom", "status")
    assert f" shipped, 0 in {tmp_path / 'data' / 'headroom'} (" in said
    assert not said.startswith("0 results")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, function = project["scripts"]["headroom"].partition(":")
    assert run(installed, tmp_path, "-c", f"import {module} as m, sys; sys.argv = ['headroom', 'tasks', 'antonym']; "
               f"sys.exit(m.{function}())").startswith("Opposites (knowledge)")


def test_the_explorer_opens_from_any_folder_and_speaks_of_the_command_headroom(installed: Path, tmp_path: Path):
    shown, at = run(installed, tmp_path, "-c", LOOK, str(installed / "headroom" / "explorer")).strip().splitlines()[-2:]
    assert shown == "['Runs'] headroom None True"
    assert at == f"{installed / 'headroom' / 'values.py'} headroom status True"


def test_the_command_that_starts_it_names_the_explorer_inside_the_package(installed: Path, tmp_path: Path):
    line = run(installed, tmp_path, "-c", "from headroom import starting; print(starting.line(8600)[4:7])").strip()
    assert line == str([str(installed / "headroom" / "explorer" / "serve.py"), "--server.port", "8600"])
