"""Foreign text in Markdown: nothing in it is read."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pages.shared.plain import LONGEST, code, plain, prose

ROOT = Path(__file__).resolve().parents[3]
MARKUP = ["![x](http://127.0.0.1/x)", "[a](http://evil)", "<img src=http://evil>", "**b**", "_b_", "`b`", "$x^2$",
          ":red[a]", "~~b~~", "# b", "1. b", "- b", "+ b", "> b", "=====", "---", "&lt;", "http://evil.com",
          "www.evil.com", "<http://evil.com>", "[a]: http://evil", "[^1]", "a\n\n# b", "    b", "\\[a](b)", "||a|b|",
          "*", "\\", "\\*b\\*", ":::note", "a\u202eb", "\x00", "arc_easy", "own:x", "f(x) = 1"]
CHARACTER = st.sampled_from("\\`*_{}[]()<>#+-.!|~$:&^=@/ \n\tab1") | st.characters()
TEXT = st.text(CHARACTER, max_size=30) | st.lists(st.sampled_from(MARKUP), max_size=3).map("".join)


def read(text: str) -> list[tuple[str, str]]:
    """A Markdown text as its reader takes it: the kinds of its parts, and their words."""
    parts = []
    for block in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
        parts += [(one.type, one.content) for one in block.children or []] if block.type == "inline" else [
            (block.type, block.content)]
    return parts


def as_shown(text: str) -> str:
    """The words that are left when a text is one paragraph of plain words; fails where it is anything else."""
    inside = [(kind, content) for kind, content in read(f"{text}\n") if kind not in (
        "paragraph_open", "paragraph_close")]
    assert {kind for kind, _ in inside} <= {"text", "text_special"}, inside
    return "".join(content for _, content in inside).replace("\u2060", "")


@given(TEXT)
def test_any_text_is_words_alone_and_the_same_words(text: str) -> None:
    spelt = "".join(one if one.isprintable() else " " if one.isspace() else ascii(one)[1:-1] for one in text).strip()
    shown = as_shown(plain(text))
    assert shown.split() == spelt.replace("\u2060", "").split()
    assert "\n" not in plain(text)


@given(TEXT)
def test_in_backticks_it_stays_in_backticks(text: str) -> None:
    kinds = [kind for kind, _ in read(f"in {code(text)} it")]
    assert kinds == ["paragraph_open", "text", "code_inline", "text", "paragraph_close"]


@pytest.mark.parametrize("text", MARKUP)
def test_markup_inside_our_own_stays_words(text: str) -> None:
    ours = read(f"**{plain('b')}** · It is :orange[{plain('b')}]")
    theirs = read(f"**{plain(text)}** · It is :orange[{plain(text)}]")
    kinds = {kind for kind, _ in theirs}
    assert kinds <= {kind for kind, _ in ours} | {"text_special"}


@pytest.mark.parametrize("text", [":smile:", ":+1:", ":material/home:", ":streamlit:", "http://a.b", "HTTPS://a.b",
                                  "www.a.b", "a@b.com"])
def test_what_streamlit_finds_in_the_finished_text_is_cut(text: str) -> None:
    found_later = re.compile(r":[-+\w/]+:|https?://|www\.|\w@\w", re.IGNORECASE)
    assert found_later.search(text)
    assert not found_later.search(re.sub(r"\\(.)", r"\1", plain(text)))
    assert as_shown(plain(text)) == text


def test_a_long_text_is_cut_and_says_so() -> None:
    assert plain("a" * 5000) == "a" * LONGEST + " …"
    assert len(code("a" * 5000)) == LONGEST + 2


@given(TEXT)
def test_of_a_sentence_only_what_stands_in_backticks_is_code(text: str) -> None:
    """Words and code, whatever foreign text is in it; no link, no stress, no HTML."""
    kinds = {kind for kind, _ in read(f"{prose(text)}\n")}
    assert kinds <= {"paragraph_open", "paragraph_close", "text", "text_special", "code_inline"}


def test_a_command_in_a_sentence_is_code() -> None:
    told = read(prose("It is not here. `make smollm2`, or `hf auth login`, *fetches* it."))
    assert [content for kind, content in told if kind == "code_inline"] == ["make smollm2", "hf auth login"]
    assert "".join(content for _, content in told) == "It is not here. make smollm2, or hf auth login, *fetches* it."


@pytest.mark.parametrize("text", ["arc_easy", "SmolLM2-135M", "bundled", "It cannot be read: line 3, 'gold'.",
                                  "n = 5 (of 100), 20 %", "L3H7, L2 FFN"])
def test_what_means_nothing_in_markdown_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


# --- that it is used ----------------------------------------------------------------------------

MARKDOWN = {"markdown", "caption", "write", "error", "warning", "info", "success", "toast", "metric", "expander",
            "button", "download_button", "popover", "progress", "spinner", "page_link", "pills", "segmented_control",
            "radio", "checkbox", "toggle", "title", "header", "subheader", "form_submit_button", "text_input",
            "number_input", "text_area", "multiselect", "selectbox", "tell"}
# What may be said without: our own words, numbers and names of components. Whoever adds one has looked at where it
# comes from.
OURS = set("""
app.py: type(error).__name__
pages/card.py: LOOKED_AT
pages/heads.py: top
pages/induction.py: COPYING[str(copying)]
pages/induction.py: PREFIX[str(prefix)]
pages/induction.py: copying
pages/induction.py: info.bytes / 1000000000.0
pages/induction.py: k
pages/induction.py: label
pages/induction.py: prefix
pages/lab.py: answered
pages/lab.py: by
pages/lab.py: k
pages/lab.py: of
pages/lab.py: setup.n_shots
pages/lab.py: share
pages/lab.py: why
pages/overlap.py: AUTHORS
pages/overlap.py: stats.leader(one)
pages/playground.py: UNKNOWN
pages/playground.py: info.n_params / 1000000000.0
pages/playground.py: len(prompts) - 1
pages/playground.py: readings['intact'].dropped_demos
pages/playground.py: words.how_many(n, 'token').capitalize()
pages/pruning.py: FITTED_HELP
pages/pruning.py: label
pages/room.py: at.mine
pages/room.py: layer[1:]
pages/room.py: min(left, key=lambda name: left[name])
pages/room.py: seen.me
pages/room.py: seen.seconds_left / 60
pages/room.py: sidebar
pages/room.py: told
pages/runs.py: COMMAND
pages/runs.py: bar(progress)
pages/runs.py: icon
pages/runs.py: job
pages/runs.py: more
pages/runs.py: n_new
pages/runs.py: n_other
pages/runs.py: n_same
pages/runs.py: n_shots
pages/runs.py: name
pages/runs.py: option.about[0].upper()
pages/runs.py: option.about[1:]
pages/runs.py: sentence
pages/runs.py: task.fingerprint
pages/runs.py: topic.about
pages/runs.py: topic.title
pages/runs.py: word
pages/runs.py: words.how_many(len(earlier), 'result').capitalize()
pages/runs.py: words.how_many(len(strangers), 'folder').capitalize()
pages/shared/beyond.py: both
pages/shared/beyond.py: label
pages/shared/beyond.py: len(vectors) * len(induction) / alive.n
pages/shared/blocks.py: cost(units)
pages/shared/blocks.py: more
pages/shared/blocks.py: share
pages/shared/blocks.py: some
pages/shared/blocks.py: transformer.svg(cells, off)
pages/shared/calibration.py: best['score']
pages/shared/calibration.py: missing
pages/shared/frame.py: page
pages/shared/from_hub.py: fetch.done / fetch.total
pages/shared/guesses.py: guess
pages/shared/guesses.py: question
pages/shared/guesses.py: right
pages/shared/lecture.py: opened
pages/shared/real_model.py: job
pages/shared/real_model.py: progress.done / progress.total
pages/shared/real_model.py: smollm2.NAME
pages/shared/real_story.py: COMMAND
pages/shared/real_story.py: introduced(info, selection.model_name())
pages/shared/real_story.py: smollm2.NAME
pages/shared/selection.py: label
pages/shared/sidebar.py: _count(shape.n_params)
pages/shared/sidebar.py: help
pages/shared/sidebar.py: label
pages/shared/sidebar.py: page
pages/shared/sidebar.py: page.lower()
pages/shared/sidebar.py: shape.n_heads
pages/shared/sidebar.py: shape.n_layers
pages/shared/sidebar.py: some
pages/shared/sidebar.py: warning
pages/shared/story.py: setup.n_shots
pages/shared/versus.py: how_sure
pages/shared/versus.py: more
pages/tour.py: COMMAND
pages/tour.py: at
pages/tour.py: blocks.STUDY
pages/tour.py: everyone - k
pages/tour.py: head
pages/tour.py: k
pages/tour.py: like
pages/tour.py: link
pages/tour.py: list(STEPS).index(REAL)
pages/tour.py: model.n_heads
pages/tour.py: model.n_layers
pages/tour.py: page
pages/tour.py: pair[0]
pages/tour.py: pair[1]
pages/tour.py: right_or_wrong
pages/tour.py: said
pages/tour.py: sizes[0]
pages/tour.py: times
pages/tour.py: title
pages/tour.py: told
pages/tour.py: without_examples(prompt, setup)
pages/tour.py: words.points(FEW_POINTS)[1:]
""".strip().splitlines())


def said_in(call: ast.Call) -> list[ast.expr]:
    given = [*call.args[:1], *(one.value for one in call.keywords if one.arg in ("help", "label", "text", "body"))]
    return [part for one in given for part in parts_of(one)]


def parts_of(node: ast.expr) -> list[ast.expr]:
    """What a text is made of, beside what is written in it."""
    match node:
        case ast.Constant():
            return []
        case ast.JoinedStr():
            return [part for value in node.values if isinstance(value, ast.FormattedValue)
                    for part in parts_of(value.value)]
        case ast.BinOp(op=ast.Add()):
            return parts_of(node.left) + parts_of(node.right)
        case ast.BinOp(op=ast.Mult()):
            return parts_of(node.left)
        case ast.IfExp():
            return parts_of(node.body) + parts_of(node.orelse)
        case ast.BoolOp():
            return [part for value in node.values for part in parts_of(value)]
        case ast.Call(func=ast.Attribute(attr="join"), args=[one]):
            return parts_of(one)
        case ast.GeneratorExp():
            return parts_of(node.elt)
        case ast.List():
            return [part for one in node.elts for part in parts_of(one)]
        case ast.Starred():
            return parts_of(node.value)
        case ast.Call(func=ast.Name(id="map"), args=[ast.Name(id="plain"), _]):
            return []
        case ast.Call(func=ast.Name(id="plain" | "prose" | "code" | "len" | "int")):
            return []
        case ast.Call(func=ast.Attribute(value=ast.Name(id="words" | "machine"))):
            return []  # sentences and sizes out of numbers; tokens of a model are titles, which are no Markdown
        case ast.Call(func=ast.Attribute(value=ast.Name(id="glossary"), attr="says" | "marked")):
            return []
    return [node]


def unlooked() -> set[str]:
    found = set()
    for path in [*(ROOT / "pages").rglob("*.py"), ROOT / "app.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MARKDOWN:
                found |= {f"{path.relative_to(ROOT)}: {ast.unparse(part)}" for part in said_in(node)}
    return found


def test_all_that_goes_into_markdown_is_ours_or_made_plain() -> None:
    assert sorted(unlooked() - OURS) == [], "say plain(...) of it, or list it in OURS if it can only be our own words"
    assert sorted(OURS - unlooked()) == [], "listed in OURS, and said nowhere"
