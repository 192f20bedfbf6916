"""Foreign text in Markdown: shown as it stands, whatever is in it. Pure: text in, text out.

Streamlit reads as Markdown what captions, alerts, labels of buttons, menus' helps and large numbers' titles say. In
names from an address, a store, a bundle, a file or a log that would fetch pictures, set links and typeset formulas. So
each of them goes through `plain`, or `code` where it stands in backticks. Titles, captions below charts and paragraphs
of our own HTML (`notes`) take plain text, and need neither.
"""

from __future__ import annotations

import re

LONGEST = 2000  # characters that are shown of a foreign text
_JOINER = "\u2060"  # nothing to be seen, and no letter: what is found by a pattern in the text itself is cut by it
_MEANT = re.compile(r"""[\\`*\[\]<>$~&^{}|]      # code, stress, links, HTML, formulas, entities, tables
                        |(?<![^\W_])_|_(?![^\W_])  # stress, but not within arc_easy
                        |:(?=[A-Za-z])           # :red[...], :material/..:""", re.VERBOSE)
_CODE = re.compile(r"(?<!`)`((?:make|python -m backend|headroom|hf auth|pip install) [\w ./=-]+)`(?!`)")
_AT_FIRST = re.compile(r"[#+\-=>!]|\d+(?=[.)])")  # a heading, a list, a rule
# Streamlit looks for these in the finished text, where no backslash is left: shortcodes of emoji and icons, addresses.
_FOUND_LATER = re.compile(r"(?<=:)(?=[\w+/-]+:)|(?<=https:)(?=//)|(?<=http:)(?=//)|(?<=www)(?=\.)|(?<=@)(?=\w)",
                          re.IGNORECASE)


def plain(text: object) -> str:
    """A text as Markdown that shows it: one line, its invisible characters spelt out, nothing in it read."""
    shown = "".join(one if one.isprintable() or one == "\u00a0" else " " if one.isspace() else ascii(one)[1:-1]
                    for one in str(text))
    shown = shown if len(shown) <= LONGEST else shown[:LONGEST] + " …"
    cut = _JOINER.join(_split(shown.strip()))
    escaped = _MEANT.sub(r"\\\g<0>", cut)
    first = _AT_FIRST.match(escaped)
    at = 0 if first is None or not first[0][0].isdigit() else first.end()
    return escaped if first is None else f"{escaped[:at]}\\{escaped[at:]}"


def prose(text: object) -> str:
    """A sentence of ours with foreign words in it, as Markdown: a command in backticks is code, all else plain."""
    return "".join(code(part) if i % 2 else _edged(part) for i, part in enumerate(_CODE.split(str(text))))


def _edged(part: str) -> str:
    """`plain`, with the blanks before and after it, which separate it from code."""
    before, after = (" " * (edge != edge.strip()) for edge in (part[:1], part[-1:]))
    return f"{before}{plain(part)}{after}" if part.strip() else part


def code(text: object) -> str:
    """A text in backticks, as Markdown, whatever backticks are in it."""
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in str(text)[:LONGEST]) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _split(text: str) -> list[str]:
    places = [found.start() for found in _FOUND_LATER.finditer(text)]
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
