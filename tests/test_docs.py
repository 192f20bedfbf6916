"""What the documents say is so: files that they name, commands, options, definitions, versions, the workflow."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend import __main__ as cli
from backend import __version__
from backend.kinds import KINDS
from backend.runs import plan as planning

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
GUIDES = ["adding-an-architecture.md", "adding-a-task.md", "adding-a-measurement.md", "adding-a-page.md"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(
    path for path in sorted(DOCS.glob("*.md")) if path.name != "glossary.md")]
EXAMPLES = {"backend/engine/entropy.py", "backend/kinds/entropy.py", "tests/kinds/test_entropy.py"}  # a guide makes
NAMED = re.compile(r"`((?:backend|pages|tests|docs|cache)/[\w./-]*\w/?|(?:app|serve)\.py|[A-Z]+\.md)`")


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The places of a page that a link can name, as GitHub calls them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


# --- files and links ------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_files_that_a_document_names_exist(page: Path):
    named = set(NAMED.findall(text_of(page))) - EXAMPLES - {"cache/live", "cache/live/tasks"}
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_begins_with_the_files_that_it_touches(name: str):
    rows = [line for line in text_of(DOCS / name).splitlines() if re.match(r"\| \d", line)]
    assert len(rows) >= 5
    assert len(NAMED.findall("\n".join(rows))) >= 4


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)):
        if "://" in link:
            continue
        file, _, place = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not place or place in anchors(target), link


def test_the_index_names_every_document():
    named = set(re.findall(r"\]\((?:\.\./)?([\w/.-]+\.md)", text_of(DOCS / "README.md")))
    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} <= named


def test_the_readme_is_two_screens_and_its_code_is_python():
    readme = text_of(ROOT / "README.md")
    assert len(readme.splitlines()) <= 110
    assert readme.count("](docs/lab.png)") == readme.count("![") == 1
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len(ast.parse(code).body) == 5


# --- commands -------------------------------------------------------------------------------------


def commands_of(page: Path) -> list[str]:
    """The lines that are typed, without the name that they begin with and the comments behind them."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text_of(page), re.DOTALL))
    blocks = blocks.replace("\\\n", "").replace('"$SLURM_NNODES"', "4").replace('"$gpus"', "8")
    return [line.split("#")[0].strip() for line in re.findall(r"^(?:python -m backend|headroom) (.+)$", blocks,
                                                               re.MULTILINE)]


EXAMPLE_TOPICS = {"entropy"}  # which the guide adds


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_command_line_of_a_document_can_be_typed(page: Path):
    for line in commands_of(page):
        given = shlex.split(line)
        if not EXAMPLE_TOPICS & set(given):
            args = cli.parser().parse_args(given)
            if given[0] == "precompute":
                assert set(args.what) <= set(planning.topics()), line


def parsers() -> dict[str, argparse.ArgumentParser]:
    (action,) = (one for one in cli.parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(action.choices)


def test_the_page_of_the_command_line_names_every_command_option_and_topic():
    text = text_of(DOCS / "command-line.md")
    headings = " ".join(re.findall(r"^## (.+)$", text, re.MULTILINE)).split()
    assert set(parsers()) - set(headings) == set()
    for name, parser in parsers().items():
        flags = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
        assert [flag for flag in flags - {"--help"} if not re.search(rf"{flag}(?![\w-])", text)] == [], name
    rows = "\n".join(line for line in text.splitlines() if line.startswith("| `"))
    assert [topic for topic in planning.topics() if f"`{topic}`" not in rows] == []


def test_the_page_of_the_command_line_has_every_example_of_the_help():
    known = {" ".join(shlex.split(line)) for line in commands_of(DOCS / "command-line.md")}
    wanted = {" ".join(shlex.split(line)) for lines in cli.EXAMPLES.values() for line in lines}
    assert wanted - known == set()


def test_the_page_of_the_command_line_names_every_setting():
    read = {name for folder in ("backend", "pages") for path in (ROOT / folder).rglob("*.py")
            for name in re.findall(r'"(HEADROOM_[A-Z_]+)"', text_of(path))}
    assert read - {"HEADROOM_JOB"} - set(re.findall(r"`(HEADROOM_\w+)`", text_of(DOCS / "command-line.md"))) == set()


def test_make_knows_what_documents_tell_to_make():
    known = set(re.findall(r"^([a-z0-9]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"(?:^|`)make ([a-z0-9]+)", text_of(page), re.MULTILINE)) <= known, page


# --- methods and pages ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_methods_say_of_every_kind_where_it_is_and_where_it_comes_from(kind: Any):
    text = text_of(DOCS / "methods.md")
    file = kind.__module__.replace(".", "/") + ".py"
    assert f"`{file}`" in text
    assert [source for source in re.findall(r"arXiv:[\d.]*\d", kind.SOURCE) if source not in text] == []


def test_the_page_of_pages_has_every_page_in_order_with_its_views_and_its_picture():
    text = text_of(DOCS / "pages.md")
    titled = re.findall(r'st\.Page\("pages/(\w+)\.py"', text_of(ROOT / "app.py"))
    sections = {head.lower(): body for head, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text,
                                                                re.MULTILINE | re.DOTALL)}
    assert list(sections)[:len(titled)] == titled
    n = {10: "ten", 11: "eleven", 12: "twelve", 13: "thirteen"}[len(titled)]
    assert f"each of the explorer's {n} pages" in text_of(DOCS / "README.md")
    assert [name for name in titled if f'"{name}"' not in text_of(ROOT / "tests" / "browser" / "foreign.py")] == []
    for name in titled:
        assert f"]({name}.png)" in sections[name] or name == "room"
        for node in ast.parse(text_of(ROOT / "pages" / f"{name}.py")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("VIEWS", "SECTIONS"):
                assert [view for view in ast.literal_eval(node.value) if f"**{view}**" not in sections[name]] == []


# --- versions, citation, workflow -----------------------------------------------------------------


def test_the_citation_is_whole_and_of_this_version():
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    cited = yaml.safe_load(text_of(ROOT / "CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)  # what the format asks for
    assert (cited["cff-version"], cited["type"], cited["license"]) == ("1.2.0", "software", project["license"])
    assert cited["version"] == __version__
    for one in (cited, *cited["references"]):
        assert all({"name"} == set(who) or {"family-names", "given-names"} == set(who) for who in one["authors"])
    (study,) = cited["references"]
    assert study["type"] == "conference-paper"
    assert study["url"].endswith("2212.09095")
    released = re.findall(r"^## ([\d.]+) - (\d{4}-\d\d-\d\d)$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert released[0] == (cited["version"], str(cited["date-released"]))


def test_what_is_not_released_stands_above_what_is():
    heads = re.findall(r"^## (.+)$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert re.fullmatch(r"0\.1\.0 - \d{4}-\d\d-\d\d", heads[-1])


def test_the_workflow_runs_make_test_on_every_python_and_lets_nothing_skip_unnamed():
    flow = yaml.safe_load(text_of(ROOT / ".github/workflows/test.yml"))
    (job,) = flow["jobs"].values()
    told = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["classifiers"]
    versions = [one.rsplit(" ", 1)[1] for one in told if re.search(r":: 3\.\d+$", one)]
    assert job["strategy"]["matrix"]["python"] == versions == ["3.11", "3.12", "3.13"]
    assert job["env"] == {"HEADROOM_BROWSER": "required", "HEADROOM_SKIPS": "named"}
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert runs[-1] == "make test PYTHON=python${{ matrix.python }}"
    assert any("playwright install --with-deps chromium" in run for run in runs)
    makefile = text_of(ROOT / "Makefile").replace("$(VENV)", ".venv")
    for target in re.findall(r"make (\S+)", "\n".join(runs)):
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
    uses = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", one) for one in uses)


SKIPPING = """
import pytest
def test_named(): pytest.skip("no golden numbers in /nowhere: set HEADROOM_SHARED")
def test_unnamed(): pytest.skip("not today")
@pytest.mark.skipif(True, reason="needs a browser")
def test_marked(): pass
def test_runs(): pass
"""


@pytest.mark.parametrize(("setting", "said"), [("named", "1 passed, 1 skipped"), ("", "1 passed, 3 skipped")])
def test_a_skip_that_nobody_has_named_fails_where_that_is_asked_for(tmp_path: Path, setting: str, said: str):
    (tmp_path / "test_some.py").write_text(SKIPPING)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider",
                           "--rootdir", str(tmp_path), "-c", str(tmp_path / "pytest.ini"), str(tmp_path)], cwd=ROOT,
                          env={"PATH": "/usr/bin:/bin", "HEADROOM_SKIPS": setting}, capture_output=True, text=True)
    assert said in done.stdout, done.stdout + done.stderr
    assert ("test_unnamed skips (not today), and HEADROOM_SKIPS=named" in done.stdout) == bool(setting)
    assert ("test_marked skips (needs a browser)" in done.stdout) == bool(setting)
    assert done.returncode == int(bool(setting))
