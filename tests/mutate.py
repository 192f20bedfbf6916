"""`python -m tests.mutate stats tables charts --most 40`: small faults, one at a time, and whether a test fails.

A fault is made in the running code (no file is touched): an operator, a number, a text, an argument left out. The
process is copied for every fault (`fork`), so that everything is imported and collected once, and the copy runs those
tests of that part that passed through the function in a first run without any fault, until one fails. (A test that was
handed what an earlier one had made, from a cache or a fixture, does not count as passing through.) What survives is
printed: kill it with a test, or say why it cannot be told.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
STORE = [f"tests/store/test_{name}.py" for name in ("store", "opening", "bundles", "strict", "earlier")]


class Part(NamedTuple):
    """Modules in which faults are made, and the tests that have to notice."""

    sources: list[str]
    tests: list[str]
    but: str = ""  # of these tests, those that measure or let processes race: too slow to be run for every fault


PARTS = {
    "stats": Part(["backend/stats.py"], ["tests/test_stats.py"]),
    "tables": Part(["backend/tables"], ["tests/tables"]),
    "charts": Part(["pages/shared/charts"], [f"tests/pages/shared/test_{name}.py" for name in (
        "all_charts", "accuracy_charts", "depth_and_masks_charts", "heatmaps", "matrices", "prompt_charts",
        "pruning_charts", "tooltips", "paper")]),
    "store": Part([f"backend/store/{name}.py" for name in ("entries", "live", "opening", "shipped", "catalogue")],
                  STORE, "not processes_write and not killed_at_any"),
    "bundles": Part(["backend/store/bundles.py"], STORE[2:]),
    "jobs": Part([f"backend/runs/{name}.py" for name in ("jobs", "leases", "processes", "journal")], [
        f"tests/runs/test_{name}.py" for name in ("jobs", "leases", "journal")],
        "not started_run and not cannot_begin and not killed_outright and not several_processes"),
    "doors": Part(["backend/runs/seal.py", "backend/door.py", "backend/demo.py", "pages/shared/plain.py"], [
        "tests/test_door.py", "tests/test_demo.py", "tests/pages/shared/test_plain.py"]),
}
PATIENCE = 10  # seconds of processor time for one fault, beside what its tests took: a loop without end is noticed, too
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And}


def faults(tree: ast.Module) -> Iterator[tuple[str, ast.Module]]:
    """Every fault of a module, with where and what it is: only inside functions, their annotations left alone."""
    places = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside: dict[int, ast.AST] = {}
    for function in places:
        for statement in function.body:
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                inside |= {id(node): node for node in ast.walk(statement)}
    formatted = {id(part) for node in inside.values() if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in list(inside.values()):
        for what, old, new in changes(node, id(node) in formatted):
            for name, value in new.items():
                setattr(node, name, value)
            yield f"{getattr(node, 'lineno', 0)}: {what}", copy.deepcopy(tree)
            for name, value in old.items():
                setattr(node, name, value)


def changes(node: Any, formatted: bool) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """What can be wrong at one place: in words, the fields as they are, and as they would be."""
    match node:
        case ast.BinOp() | ast.BoolOp() if type(node.op) in SWAPS:
            new = SWAPS[type(node.op)]
            yield f"{type(node.op).__name__} -> {new.__name__}", {"op": node.op}, {"op": new()}
        case ast.Compare(ops=[op]) if type(op) in SWAPS:
            new = SWAPS[type(op)]
            yield f"{type(op).__name__} -> {new.__name__}", {"ops": node.ops}, {"ops": [new()]}
        case ast.Constant(value=bool()):
            yield f"{node.value} -> {not node.value}", {"value": node.value}, {"value": not node.value}
        case ast.Constant(value=int() | float()):
            yield f"{node.value} -> {node.value + 1}", {"value": node.value}, {"value": node.value + 1}
        case ast.Constant(value=str()) if node.value and not formatted:
            yield f"{node.value!r} -> 'XX...'", {"value": node.value}, {"value": f"XX{node.value}"}
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield f"{type(node.op).__name__} left out", {"op": node.op}, {"op": ast.UAdd() if isinstance(
                node.op, ast.USub) else node.op, **({} if isinstance(node.op, ast.USub) else {
                    "operand": ast.UnaryOp(ast.Not(), node.operand, lineno=node.lineno, col_offset=node.col_offset)})}
        case ast.Call(keywords=[*words]) if words:
            for at, word in enumerate(words):
                if word.arg is not None:
                    yield f"{word.arg}=... left out", {"keywords": words}, {
                        "keywords": words[:at] + words[at + 1:]}


def codes(code: CodeType) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from codes(one)


def functions(module: ModuleType) -> Iterator[FunctionType]:
    """Every function of a module and of its classes, whatever is wrapped around it."""
    seen: set[int] = set()
    todo = [one for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, FunctionType) and one.__code__.co_filename == module.__file__:
            yield one
        todo += [more for more in (getattr(one, "__wrapped__", None), getattr(one, "fget", None),
                                   getattr(one, "__func__", None), getattr(one, "func", None)) if more is not None]
        if isinstance(one, type):
            todo += vars(one).values()


def apply(module: ModuleType, tree: ast.Module) -> None:
    """Let the module's functions be those of another source; who imported them has them, too."""
    new = {(one.co_qualname, one.co_firstlineno): one for one in codes(compile(tree, module.__file__ or "", "exec"))}
    for function in functions(module):
        code = function.__code__
        if (found := new.get((code.co_qualname, code.co_firstlineno))) is not None and (
                found.co_freevars == code.co_freevars):
            function.__code__ = found


class Mutants:
    """A plugin that runs the collected tests once as they are, then once for each fault."""

    def __init__(self, files: list[Path], most: int, seed: int) -> None:
        self.files, self.most, self.seed = files, most, seed
        self.killed, self.survived = 0, list[str]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Few made-up inputs of each property: what needs many to be noticed is noticed by the suite."""
        from hypothesis import settings  # after the conftest, which has a profile of its own

        settings.register_profile("mutants", derandomize=True, deadline=None, max_examples=15, database=None)
        settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        todo = []
        for file in self.files:
            todo += [(file, what, tree) for what, tree in faults(ast.parse(file.read_text()))]
        n_all = len(todo)
        random.Random(self.seed).shuffle(todo)
        began = time.monotonic()
        passed_through = self._passed_through(session)
        for number, (file, what, tree) in enumerate(todo[:self.most]):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            places = around(tree, int(what.partition(":")[0]))
            chosen = [(item, seconds) for item, (seconds, seen) in zip(session.items, passed_through, strict=True)
                      if any((str(file), line) in seen for line in places)]
            items, patience = [item for item, _ in chosen], PATIENCE + 2 * sum(seconds for _, seconds in chosen)
            if items and self._fails(items, name, tree, patience):
                self.killed += 1
            else:
                self.survived.append(f"{name}:{what}")
                print(f"survived{'' if items else ', no test comes here'}: {name}:{what}", flush=True)
            if number % 20 == 19:
                print(f"{number + 1} of {n_all} ({time.monotonic() - began:.0f} s): {self.killed} killed", flush=True)
        print(f"{self.killed} of {min(self.most, n_all)} faults were noticed, of {n_all} there could be")
        return True

    def _passed_through(self, session: pytest.Session) -> list[tuple[float, set[tuple[str, int]]]]:
        """For each test, its seconds and the functions of these modules that it runs, by file and first line.

        All must pass.
        """
        files, seen = set(map(str, self.files)), list[tuple[float, set[tuple[str, int]]]]()

        def watched() -> bool:
            for item, following in zip(session.items, [*session.items[1:], None], strict=True):
                found, began = set[tuple[str, int]](), time.process_time()

                def note(frame: FrameType, *_: object, found: set[tuple[str, int]] = found) -> None:
                    if frame.f_code.co_filename in files:
                        found.add((frame.f_code.co_filename, frame.f_code.co_firstlineno))

                sys.settrace(note)
                threading.settrace(note)
                if fails(item, following):
                    file.write_bytes(pickle.dumps(item.nodeid))
                    return True
                seen.append((time.process_time() - began, found))
            file.write_bytes(pickle.dumps(seen))
            return False

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "seen"
            failed = in_a_copy(watched, 1000 * PATIENCE)
            found = pickle.loads(file.read_bytes()) if file.exists() else "the first run ended before its tests did"
            assert not failed, f"without any fault: {found}"
            return found

    def _fails(self, items: list[pytest.Item], name: str, tree: ast.Module, patience: float) -> bool:
        """Whether one of these tests fails where a module is of this source."""
        def failed() -> bool:
            keep_to_own_processes()
            apply(importlib.import_module(name), tree)
            return any(fails(item, following) for item, following in zip(items, [*items[1:], None], strict=True))

        return in_a_copy(failed, patience)


def fails(item: pytest.Item, following: pytest.Item | None) -> bool:
    """Whether a test fails, run as the suite runs it: with its filters of warnings, too."""
    before = item.session.testsfailed
    item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
    return item.session.testsfailed > before


def keep_to_own_processes() -> None:
    """From now on this process ends none but its own children, whatever a fault makes of a number."""
    end = os.kill

    def kill(pid: int, sign: int) -> None:
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] if pid > 0 else ""
        if sign and str(os.getpid()) != parent:
            raise PermissionError(f"{pid} is no process of a test's")
        end(pid, sign)

    os.kill = kill


def around(tree: ast.Module, line: int) -> list[int]:
    """The first lines, decorators included, of the functions around a line."""
    return [min([node.lineno, *(one.lineno for one in node.decorator_list)]) for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0)]


def in_a_copy(failed: Callable[[], bool], patience: float) -> bool:
    """What is said by a copy of this process; true also where it says nothing within its processor time, or dies."""
    sys.stdout.flush()
    if child := os.fork():
        return bool(os.waitpid(child, 0)[1])
    signal.setitimer(signal.ITIMER_PROF, patience)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    said = 1
    try:
        said = int(failed())
    finally:
        os._exit(said)


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.mutate", description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--most", type=int, default=10**9, help="faults of each part, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    survived = 0
    for part in chosen.parts or PARTS:
        files = [file for source in PARTS[part].sources for file in (
            sorted((ROOT / source).rglob("*.py")) if (ROOT / source).is_dir() else [ROOT / source])]
        print(f"\n{part}", flush=True)
        plugin = Mutants(files, chosen.most, chosen.seed)
        with tempfile.TemporaryDirectory() as folder:  # a fault may take the usual store for the one it was told
            os.environ["HEADROOM_CACHE"] = folder
            pytest.main(["-q", "-p", "no:cacheprovider", "--capture=no", "-k", PARTS[part].but, *(
                str(ROOT / test) for test in PARTS[part].tests)], plugins=[plugin])
        survived += len(plugin.survived)
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main())
