"""The package's own names: found when they are asked for, and not before."""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import backend

ROOT = Path(__file__).parent.parent
NAMES = {"load_model", "task", "prompts", "evaluate", "head_importance", "Ablation", "open_store", "fetch"}
HEAVY = ("torch", "transformers", "streamlit", "altair", "pandas", "numpy", "scipy")


def loaded(code: str) -> list[str]:
    """Which of the `HEAVY` libraries, and what of ours, a fresh Python has loaded after some lines."""
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
                          cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in json.loads(done.stdout.splitlines()[-1])
            if name in HEAVY or name.startswith("backend.")]


def test_importing_the_package_loads_nothing():
    assert loaded("import backend; dir(backend); backend.__version__") == []


def test_a_mask_and_stored_results_with_their_tables_load_no_torch_and_draw_nothing(tmp_path):
    found = loaded(
        f"import backend as hr\nhr.Ablation('L3H7')\nstore = hr.open_store({str(tmp_path)!r})\n"
        "found = hr.fetch('accuracy', 'bundled', 'antonym', store=store), hr.fetch('importance', 'bundled', 'antonym', "
        "store=store)\nfor one in found: one.frame(), repr(one), one._repr_html_()\n"
        "hr.task('antonym'), hr.prompts('antonym', 1, 2)")
    assert set(found) & set(HEAVY) == {"numpy", "pandas", "scipy"}
    assert "backend.notebook.charts" not in found


def test_the_names_are_those_that_are_promised_and_each_is_what_it_says():
    assert set(backend.__all__) == NAMES | {"__version__"}
    assert set(dir(backend)) >= NAMES
    for name in NAMES:
        assert getattr(backend, name).__name__ == name
        assert vars(backend)[name] is getattr(backend, name)  # the second time nothing is looked up
        assert getattr(backend, name).__doc__


def test_type_checkers_are_told_the_same_homes():
    (told,) = (node for node in ast.parse(Path(backend.__file__).read_text()).body if isinstance(node, ast.If))
    homes = {alias.name: one.module for one in told.body for alias in one.names}
    assert homes == backend._HOMES


def test_modules_of_the_package_are_found_beside_its_names():
    modules = {module.name for module in pkgutil.iter_modules(backend.__path__)}
    assert not modules & set(backend.__all__)
    code = ("from backend import task, tasks, places; import backend.tasks.registry; import backend as hr; "
            "assert hr.task is task and hr.tasks is tasks and callable(task) and hr.tasks.registry.get_task")
    assert "backend.tasks.registry" in loaded(code)
    with pytest.raises(AttributeError, match="module 'backend' has no attribute 'evaluates'"):
        backend.evaluates  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nobody'"):
        from backend import nobody  # noqa: F401


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", backend.__version__)
    project = (ROOT / "pyproject.toml").read_text()
    assert "version = " not in project.replace("target-version = ", "").replace("python_version = ", "")
    assert '[tool.hatch.version]\npath = "backend/__init__.py"' in project
