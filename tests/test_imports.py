"""Imports point one way: pages and command line -> runs -> store -> kinds -> engine, lens -> models, tasks -> values.

Every module has a rule: the longest name in `MAY` that it begins with. Whoever adds a module gives it one.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Everybody may use them.
PLAIN = {f"backend.{name}" for name in ("values", "records", "stats", "errors", "limits", "machine", "places", "demo",
                                       "arrays", "kept", "numbers")}


def ours(*names: str) -> set[str]:
    return PLAIN | {f"backend.{name}" for name in names}


_TOP = ours("tables", "kinds", "lens", "models", "rooms", "runs", "sharing", "store", "tasks", "bundled.checkpoints")

# Who may import what of ours; a package stands for all of its modules.
MAY: dict[str, set[str]] = {
    "app": _TOP | {"pages", "backend.starting"},
    "pages": _TOP | {"pages", "backend.bundled.checkpoints"},
    # The package itself: names for type checkers; nothing is imported before it is asked for.
    "backend": {"backend.notebook", "backend.models.loading", "backend.values"},
    "backend.notebook": ours("notebook", "tables", "kinds", "models.loading", "runs.plan", "store", "tasks"),
    "backend.__main__": _TOP | {"backend.starting"},
    "backend.errors": set(),
    "backend.arrays": set(),
    "backend.limits": set(),
    "backend.demo": {"backend.errors"},
    "backend.door": set(),
    "serve": {"backend.demo", "backend.door", "backend.limits", "backend.starting"},
    "backend.kept": set(),
    "backend.numbers": {"backend.arrays"},
    "backend.values": {"backend.arrays", "backend.errors", "backend.kept", "backend.limits"},
    "backend.records": {"backend.arrays", "backend.errors", "backend.limits", "backend.numbers", "backend.stats",
                        "backend.values"},
    "backend.stats": {"backend.arrays", "backend.errors", "backend.values"},
    "backend.machine": {"backend.records"},
    "backend.places": set(),
    "backend.explorer": set(),  # which stands in for the package, where it is installed
    "backend.starting": {"backend.limits", "backend.places"},
    "backend.rooms": {"backend.errors"},
    "backend.tasks": ours("tasks"),
    "backend.models": ours("models", "engine.proof"),  # a model is held against the engine before anyone gets it
    "backend.tables": ours("tables", "kinds", "models.info", "tasks.task", "lens.reading", "runs.plan"),
    "backend.engine": ours("engine", "models", "tasks"),
    "backend.lens": ours("lens", "kinds", "engine", "models", "tasks"),
    "backend.kinds": ours("kinds", "engine", "models", "tasks"),
    "backend.store": ours("store", "kinds", "models", "tasks"),
    "backend.sharing": ours("sharing", "store", "kinds", "models", "tables"),
    "backend.runs": ours("runs", "store", "kinds", "models", "tasks"),
    "backend.runs.forecast": ours("runs", "kinds", "models", "tasks", "engine.batches", "engine.gradients",
                                  "engine.passes", "engine.trees"),  # how large passes are, and what they share
    "backend.bundled": ours("bundled", "kinds", "engine", "models", "tasks"),
    "backend.bundled.checkpoints": ours("models.info"),
}

# May draw beside pages: what results look like in a notebook, where there are no pages. Loaded when something is drawn.
DRAWS = {"backend.notebook.charts"}

# Below all else, so that anybody can read it and install it: nothing but these beside the standard library.
FOREIGN = {"backend.errors": set(), "backend.limits": set(), "backend.demo": set(), "backend.values": {"numpy"},
           "backend.arrays": {"jaxtyping"},  # under test alone: tests/test_shapes.py
           "backend.kept": set(), "backend.numbers": {"numpy"}, "backend.records": {"numpy"},
           "backend.stats": {"numpy", "scipy"}, "backend.machine": {"psutil"},
           "backend.places": set()}

HEAVY = {"torch", "transformers", "accelerate", "datasets"}  # seconds to import
# May import them, or a module that does, before something is measured.
LOADS_TORCH = {"backend.engine", "backend.models.loading", "backend.models.gates", "backend.models.attention",
               "backend.models.pruned", "backend.models.offloaded", "backend.models.precision",
               "backend.lens.patterns",
               "backend.lens.reading", "backend.bundled.measure", "backend.bundled.train"}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(path): path for path in sorted([
    ROOT / "app.py", ROOT / "serve.py", *(ROOT / "backend").rglob("*.py"), *(ROOT / "pages").rglob("*.py")])}


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def rule_of(module: str) -> str | None:
    """The rule of a module; that of the package `backend` itself is nobody else's."""
    return max((name for name in MAY if name == module or (name != "backend" and inside(module, name))), key=len,
               default=None)


@cache
def imports(module: str, everywhere: bool = True) -> frozenset[str]:
    """What a module imports, as module names; `everywhere`: in functions and for type checkers, too."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(_imports(ast.parse(FILES[module].read_text()), everywhere, package))


def _imports(node: ast.AST, everywhere: bool, package: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            of = resolve_name("." * child.level + (child.module or ""), package)
            for alias in child.names:
                whole = f"{of}.{alias.name}"
                yield whole if whole in FILES else of
        elif everywhere or not (isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
                isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING")):
            yield from _imports(child, everywhere, package)


def loads_torch(module: str) -> tuple[str, ...]:
    """The shortest way from a module to a heavy library that importing it takes; empty where it takes none."""
    ways = [(module,)]
    seen = {module}
    for way in ways:  # which grows
        for name in sorted(imports(way[-1], everywhere=False)):
            if name.split(".")[0] in HEAVY:
                return (*way, name)
            if name in FILES and name not in seen:
                seen.add(name)
                ways.append((*way, name))
    return ()


@pytest.mark.parametrize("module", FILES)
def test_no_module_imports_what_it_may_not(module: str) -> None:
    rule = rule_of(module)
    assert rule is not None, f"{module} has no rule: say in MAY what it may import"
    allowed = MAY[rule]
    wrong = {name for name in imports(module) if inside(name, "backend") or inside(name, "pages")
             if name != "backend" and not any(inside(name, package) for package in allowed)}
    assert not wrong, f"{module} imports {sorted(wrong)}, it may import {sorted(allowed)}"


@pytest.mark.parametrize("module", [one for one in FILES if inside(one, "backend")])
def test_the_backend_does_not_say_its_own_name(module: str) -> None:
    """Installed, it has another; so its modules name each other from where they stand."""
    named = [node for node in ast.walk(ast.parse(FILES[module].read_text()))
             if (isinstance(node, ast.Import) and any(inside(alias.name, "backend") for alias in node.names))
             or (isinstance(node, ast.ImportFrom) and not node.level and inside(node.module or "", "backend"))]
    assert not named


@pytest.mark.parametrize("module", FILES)
def test_only_pages_draw(module: str) -> None:
    if module in DRAWS:
        assert not {name.split(".")[0] for name in imports(module)} & {"streamlit", "pages"}
        assert not [other for other in FILES if module in imports(other, everywhere=False)], "it is loaded too early"
    elif not inside(module, "pages") and module not in ("app", "serve"):
        assert not {name.split(".")[0] for name in imports(module)} & {"streamlit", "altair", "pages"}


@pytest.mark.parametrize("module", FILES)
def test_torch_is_loaded_by_the_numerics_alone(module: str) -> None:
    if any(inside(module, name) for name in LOADS_TORCH):
        return
    assert not loads_torch(module), " imports ".join(loads_torch(module))
    if not inside(module, "backend"):
        assert not {name.split(".")[0] for name in imports(module)} & HEAVY, f"{module} leaves torch to the backend"


@pytest.mark.parametrize("module", FOREIGN)
def test_what_everybody_uses_needs_little_itself(module: str) -> None:
    foreign = {name.split(".")[0] for name in imports(module)} - sys.stdlib_module_names - {"backend"}
    assert foreign <= FOREIGN[module]


def test_the_rules_name_what_there_is() -> None:
    assert set(FOREIGN) == PLAIN
    for package in (*MAY, *LOADS_TORCH):
        assert any(inside(module, package) for module in FILES), f"there is no {package}"


def loaded(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_browsing_stored_results_and_planning_new_ones_never_loads_torch() -> None:
    assert loaded("import sys; import backend.__main__, backend.lens; from backend.models.identity import identify; "
                  "from backend.runs.plan import identify_tasks; identify('bundled'); identify_tasks('antonym'); "
                  "print(sorted({'torch', 'transformers', 'datasets'} & sys.modules.keys()))") == "[]"


def test_the_first_page_waits_for_no_library_that_it_does_not_use() -> None:
    assert loaded("import logging, sys; logging.disable(); "
                  "from pages.shared import blocks, charts, handles, selection; "
                  "print(sorted({'torch', 'transformers', 'datasets', 'scipy'} & sys.modules.keys()))") == "[]"


def test_the_way_to_torch_is_found_over_other_modules() -> None:
    assert loads_torch("backend.lens.reading") == ("backend.lens.reading", "backend.lens.patterns", "torch")
    assert loads_torch("backend.values") == ()


def test_a_server_imports_ahead_what_the_first_page_needs_and_nothing_that_sets_threads():
    """torch reads how its threads wait when it is imported, which pages say before it (`pages/shared/__init__.py`)."""
    ahead = next(node for node in ast.walk(ast.parse((ROOT / "serve.py").read_text()))
                 if isinstance(node, ast.Call) and ast.unparse(node.func) == "starting.import_ahead")
    names = [ast.literal_eval(one) for one in ahead.args]
    code = ("import sys, threading; from backend import starting; starting.import_ahead(*sys.argv[1:]); "
            "[one.join() for one in threading.enumerate() if one.name == 'imports']; "
            "print(*(name for name in [*sys.argv[1:], 'pandas', 'torch'] if name in sys.modules))")
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*names, "pandas"]
