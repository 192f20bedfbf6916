"""Terms are explained where they stand first, outside text is never read as markup, and the glossary is whole."""

import ast
import re
from html import unescape

import pytest

from pages.shared import glossary, notes
from tests.pages.conftest import ROOT

MARK = re.compile(r'<dfn class="term" tabindex="0" aria-describedby="([^"]*)" data-says="([^"]*)">([^<]*)</dfn>')


def test_a_term_is_explained_where_it_stands_first_and_only_there():
    body = glossary.marked("95 % Wilson intervals, chance 25 %; chance again")
    assert [(said, unescape(meaning)) for _, meaning, said in MARK.findall(body)] == [
        ("Wilson intervals", glossary.TERMS["Wilson interval"][1]), ("chance", glossary.TERMS["chance"][1])]
    assert notes.plain(body) == "95 % Wilson intervals, chance 25 %; chance again"


@pytest.mark.parametrize(("text", "term"), [
    ("antonym, 5-shot", "shots"), ("at 0 and 1 shots", "shots"), ("ρ = 0.72", "rank correlation"),
    ("McNemar p < 0.001", "p"), ("p (Holm) below 0.05", "Holm"), ("95\u00a0%: 12 to 20", "interval"),
    ("|z · dL/dz| per position", "z"), ("nats", "nats"), ("Attention heads", "head"), ("an FFN", "FFN"),
    ("zero ablation", "ablation"), ("Prefix matching", "prefix matching"), ("gradient importance", "importance")])
def test_texts_say_terms_in_several_ways(text: str, term: str):
    assert term in glossary.terms(text)


@pytest.mark.parametrize("text", [
    "ahead", "overlap", "gpt/heads", "‘chance’ comes next with 4 %", "mask 5-shots_task", "copyingly", "nuptials"])
def test_parts_of_words_names_and_tokens_are_no_terms(text: str):
    assert not glossary.terms(text)


@pytest.mark.parametrize("hostile", [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</dfn></p><b>bold</b>", "a & b < c > d 'e'",
    "**bold** `code` $x$ :red[chance]", "</details><style>* { display: none }</style>"])
def test_outside_text_is_shown_as_it_stands(hostile: str):
    for body in (notes.heading(f"{hostile} by chance"), notes.note(hostile, f"Setup: {hostile}, 5-shot"),
                 notes.text(hostile)):
        tags = set(re.findall(r"</?(\w+)", body))
        assert tags <= {"h2", "div", "p", "details", "summary", "ul", "li", "dfn"}
        assert hostile in notes.plain(body)


def test_what_a_title_explains_its_caption_does_not_explain_again():
    known: set[str] = set()
    heading = notes.heading("Maps agree at ρ = 0.5", 2, known)
    assert MARK.findall(heading)
    assert not MARK.findall(notes.note("chance: ρ = 0", "", known | {"chance"}))


def test_a_caption_folds_how_it_is_measured_and_one_without_has_nothing_to_unfold():
    assert notes.note("n = 40", "Definition\nModel: bundled").count("<li>") == 2
    assert "<details>" not in notes.note("n = 40")


def test_the_listing_has_every_term_once_and_marks_refer_to_it():
    listing = glossary.listing()
    ids = re.findall(r'<dd id="([^"]*)">', listing)
    assert len(set(ids)) == len(ids) == len(glossary.TERMS)
    for term, (forms, meaning) in glossary.TERMS.items():
        assert f"<dt>{term}</dt>" in listing
        assert meaning.endswith(".")
        assert forms
    everything = glossary.marked(" · ".join(["exact McNemar test", "5-shot", "ρ", "Wilson", "p-value", "z · dL/dz"]))
    assert {where for where, *_ in MARK.findall(everything)} <= set(ids)


def test_every_term_is_used_by_some_page():
    said = " \n".join(
        node.value for path in (ROOT / "pages").rglob("*.py") if path.stem != "glossary"
        for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant) and isinstance(
            node.value, str))
    assert set(glossary.TERMS) - glossary.terms(said) == set()


def test_the_document_is_the_glossary_of_the_pages():
    assert (ROOT / "docs/glossary.md").read_text("utf-8") == glossary.document()
