"""Imports point one way: pages -> kinds -> engine, lens -> models, tasks -> values."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VALUES = {"backend.values", "backend.results", "backend.stats", "backend.errors"}

# Who may import whom, inside the project; a package stands for all of its modules.
MAY = {
    "backend.errors": set(),
    "backend.values": {"backend.errors"},
    "backend.stats": VALUES,
    "backend.results": VALUES,
    "backend.tasks": VALUES | {"backend.tasks"},
    # A model is held against the engine before anyone gets it.
    "backend.models": VALUES | {"backend.models", "backend.engine.proof"},
    "backend.engine": VALUES | {"backend.engine", "backend.models", "backend.tasks"},
    "backend.lens": VALUES | {"backend.lens", "backend.kinds", "backend.engine", "backend.models", "backend.tasks"},
    "backend.kinds": VALUES | {"backend.kinds", "backend.engine", "backend.models", "backend.tasks"},
    "backend.machine": VALUES,
    "backend.bundled": VALUES | {f"backend.{name}" for name in ("bundled", "machine", "kinds", "engine", "models",
                                                                "tasks")},
}
FILES = sorted([ROOT / "app.py", *(ROOT / "backend").rglob("*.py"), *(ROOT / "pages").rglob("*.py")])


def imported(tree: ast.AST) -> set[str]:
    """Every module that a piece of code imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def inside(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_module_imports_what_it_may_not(path: Path) -> None:
    module, tree = module_of(path), ast.parse(path.read_text())
    ours = {name for name in imported(tree) if name.startswith("backend.")}
    if not module.startswith("backend"):
        assert not inside_any(imported(tree), {"torch", "transformers"}), f"{module} must leave torch to the service"
        return
    assert not inside_any(imported(tree), {"streamlit", "altair", "pages"}), f"{module} must not know the pages"
    for package, allowed in MAY.items():
        if inside(module, {package}):
            # `from backend.x import name` also lists backend.x.name, which counts where backend.x does.
            wrong = {name for name in ours if not inside(name, allowed) and name != "backend"}
            assert not wrong, f"{module} imports {sorted(wrong)}, it may import {sorted(allowed)}"


def inside_any(names: set[str], packages: set[str]) -> bool:
    return any(inside(name, packages) for name in names)


def test_browsing_stored_results_never_loads_torch() -> None:
    import subprocess
    import sys

    code = ("import sys; import backend.service, backend.store.live, backend.stats, backend.models.info; "
            "from backend.tasks.registry import get_task; get_task('antonym').fingerprint; "
            "print('torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_first_page_waits_for_no_library_that_it_does_not_use() -> None:
    import subprocess
    import sys

    code = ("import logging, sys; logging.disable(); from pages.shared import blocks, charts, handles, selection; "
            "print(sorted({'torch', 'transformers', 'datasets', 'scipy'} & sys.modules.keys()))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
