"""What every test may use."""

import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import shapes

# Every call into these modules is held against its types, shapes of arrays included: see backend/arrays.py. Here,
# before any of them is imported. Processes that tests start are as they are for everybody.
CHECKED = ("backend.stats", "backend.engine", "backend.models.gates", "backend.models.attention", "backend.lens",
           "backend.tables", "backend.kinds")
shapes.hold(CHECKED)

# The same examples in every run, however slow the machine is.
settings.register_profile("headroom", derandomize=True, deadline=None)
settings.load_profile("headroom")

if "PYTEST_XDIST_WORKER" in os.environ:  # the tests share the cores; torch, imported later, should not take them all
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Seals of the runs that tests start are made with a key of their own.
os.environ.setdefault("HEADROOM_KEY", str(Path(tempfile.mkdtemp(prefix="headroom-key-")) / "key"))

REPOSITORY = Path(__file__).parent.parent
MAIN = sys.modules["__main__"]


@pytest.fixture(autouse=True)
def own_main() -> None:
    """Put the module that started the tests back: a page that ran in this process leaves its script in its place, which
    a process of a later test would run again."""
    sys.modules["__main__"] = MAIN


# Why a test may skip where HEADROOM_SKIPS=named, as in public CI; for any other reason it fails there.
NAMED_SKIPS = (
    "no golden numbers in ",  # the study's, which are not public; ours, in tests/golden, are never skipped
    "SmolLM2-135M is not here",  # 93 MB of the package index; the same is checked on small models
    "lm_eval is an extra and is not installed here",
    "lm_eval is installed here",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Let no number go unchecked in silence: fail where a test skips for a reason that nobody has named."""
    report = yield
    if report.skipped and os.environ.get("HEADROOM_SKIPS") == "named":
        reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
        if not reason.startswith(NAMED_SKIPS):
            report.outcome = "failed"
            report.longrepr = (f"{item.nodeid} skips ({reason}), and HEADROOM_SKIPS=named: name the reason in "
                               "tests/conftest.py, or let the test run.")
    return report


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the golden numbers and the data samples; tests that need it are skipped without it."""
    folder = Path(os.environ.get("HEADROOM_SHARED") or REPOSITORY.parent / "shared")
    if not (folder / "golden" / "scoring.json").is_file():
        pytest.skip(f"no golden numbers in {folder}: set HEADROOM_SHARED to the folder that holds golden/ and data/")
    return folder


@pytest.fixture(scope="session")
def golden_model(shared: Path):
    """The study's small OPT, of which `golden/` has the numbers; frozen, so that all tests share one."""
    from backend.models.loading import load_model  # torch, only where it is needed

    return load_model(str(shared / "golden" / "model"), tokenizer=str(shared / "data" / "tokenizer-gpt2"))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package `headroom` in it, laid out as pyproject.toml says; only what is no code is linked."""
    folder = tmp_path_factory.mktemp("installed")
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]

    def put(source: str, target: str) -> None:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        if source.endswith(".py"):
            shutil.copy2(source, target)
        else:
            os.symlink(source, target)

    for source, target in build["targets"]["wheel"]["force-include"].items():
        if (REPOSITORY / source).is_file():
            put(str(REPOSITORY / source), str(folder / target))
        else:
            shutil.copytree(REPOSITORY / source, folder / target, copy_function=put,
                            ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made: empty again after each piece of work."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder
