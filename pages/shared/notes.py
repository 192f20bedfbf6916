"""Titles and captions as HTML: terms explained, and how a number is measured folded away. Pure: text in, text out.

Everything that is passed is plain text and shown as it stands: names of tasks and models, tokens and options are never
read as HTML or Markdown.
"""

from __future__ import annotations

import re
from html import unescape

from pages.shared import glossary

HOW = "How this is measured"
EVERYDAY = {"accuracy", "head", "FFN", "shots"}  # in nearly every title: a page explains them in its text and captions
HEADING = "<h"  # what a finding begins with

# Findings look alike at whatever level they are; captions are as small as Streamlit's, and readable (4.5:1).
STYLE = """
.finding { position: relative; overflow-wrap: anywhere; margin: 0 !important; padding: 0.5rem 0 0 !important;
           font-size: 1.05rem !important; font-weight: 600 !important; line-height: 1.2 !important; }
.says { margin: 0; }
.note { position: relative; font-size: 0.875rem; line-height: 1.45; overflow-wrap: anywhere; }
.note > p, .note > details, .note summary { display: inline; }
.note p, .note ul, .note li, .note summary { font-size: inherit; }
.note p, .note li, .note summary { color: color-mix(in srgb, currentColor 70%, transparent); }
.note p { margin: 0; }
.note summary { cursor: pointer; white-space: nowrap; border-radius: 3px; }
.note summary::before { content: ""; display: inline-block; border: 0.32em solid transparent; border-right-width: 0;
                        border-left-color: currentColor; border-left-width: 0.45em; margin-right: 0.4em; }
.note [open] > summary::before { transform: rotate(90deg); }
.note summary:hover { color: inherit; text-decoration: underline; }
.note ul { margin: 0.3rem 0 0.4rem; padding: 0 0 0 0.9rem; border-left: 2px solid #8593a355; list-style: none; }
.note li { margin: 0 0 0.15rem; padding: 0; }
"""


def heading(text: str, level: int = 2, known: set[str] | None = None) -> str:
    """A finding as a heading.

    Args:
        known: terms that are explained already (see `glossary.marked`).
    """
    known = set() if known is None else known
    marked = glossary.marked(text, EVERYDAY | known)
    known |= glossary.terms(text) - EVERYDAY
    return f'<h{level} class="finding">{marked}</h{level}>'


def text(said: str) -> str:
    """A paragraph in the page's own size."""
    return f"<p class=\"says\">{glossary.marked(said)}</p>"


def note(line: str, measured: str = "", known: set[str] | None = None) -> str:
    """A caption: one line and, folded, how it is measured.

    Args:
        measured: a line for each thing that is to be known: definition, interval, source, setup, model.
        known: terms that are explained already (see `glossary.marked`).
    """
    known = set() if known is None else known
    shown = f"<p>{glossary.marked(line, known)}</p>" if line else ""
    folded = "".join(f"<li>{glossary.marked(one, known)}</li>" for one in measured.split("\n") if one)
    return f'<div class="note">{shown}' + (
        f"&ensp;<details><summary>{HOW}</summary><ul>{folded}</ul></details>" if folded else "") + "</div>"


def plain(body: str) -> str:
    """The text of such HTML, a line for each of its blocks."""
    return unescape(re.sub(r"<[^>]*>", "", re.sub(r"</(?:p|li|h\d|summary)>", "\n", body))).strip()
