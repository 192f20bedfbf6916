"""What a page shows as one file to take away: an HTML report that opens anywhere, and a notebook; no Streamlit.

Everything that comes from outside (titles, names of models and tasks, tables, lines) is text here, and never markup.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pages.shared.charts.paper import apart, escaped

MOST_ROWS = 2000  # of a table in a report; with more of them the lines of Python give all
HOW_TO_RUN = "Run these cells in the project's folder to get the same numbers."

STYLE = """
:root { color-scheme: light; }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1.2rem; background: #fff; color: #1d2733;
       font: 15px/1.5 "Source Sans 3", "Segoe UI", Arial, Helvetica, sans-serif; }
h1 { font-size: 1.8rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 0 0 .6rem; }
section { border-top: 1px solid #dbe2ea; margin-top: 1.6rem; padding-top: 1.2rem; break-inside: avoid; }
.soft, figcaption { color: #52606e; font-size: .88rem; }
figure { margin: 0 0 .8rem; } figure svg { max-width: 100%; height: auto; display: block; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .8rem 0; font-size: .92rem; }
dt { color: #52606e; } dd { margin: 0; overflow-wrap: anywhere; }
.numbers { display: flex; flex-wrap: wrap; gap: .6rem 2.2rem; margin: .2rem 0 .9rem; }
.numbers b { display: block; font-size: 1.7rem; line-height: 1.25; }
details { margin: .35rem 0; } summary { cursor: pointer; color: #1f6fb2; font-size: .92rem; }
.scroll { overflow: auto; max-height: 26rem; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #dbe2ea; padding: .15rem .6rem; text-align: right; white-space: nowrap; }
th { position: sticky; top: 0; background: #f3f6f9; font-weight: 600; }
pre { background: #f3f6f9; padding: .7rem .9rem; border-radius: .4rem; overflow: auto; font-size: .8rem; }
code { background: #f3f6f9; padding: 0 .2rem; border-radius: .2rem; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } .scroll { max-height: none; }
               details:not([open]) { display: none; } }
"""


@dataclass(frozen=True, eq=False)
class Figure:
    """One finding, as it stands on a page: references to what was drawn, no copies."""

    title: str
    caption: str
    table: pd.DataFrame
    python: str
    pictures: Sequence[tuple[str, Any]] = ()  # a label (empty for one alone), and a chart or map
    numbers: Sequence[tuple[str, str, str]] = ()  # the big numbers: label, number, what stands below it
    off: str = ""  # what is switched off, as it is written


@dataclass
class Sheet:
    """What a page has shown so far: figures by their keys, in order."""

    title: str
    figures: dict[str, Figure] = field(default_factory=dict)


def html(title: str, figures: Sequence[Figure], drawn: Sequence[str], chosen: Mapping[str, str],
         versions: Mapping[str, str], when: str) -> str:
    """A page as one HTML document, without scripts and without anything to be fetched.

    Args:
        drawn: the figures' pictures as SVG, empty for a figure without one.
        chosen: what the numbers belong to: model, task, shots, .. as label and value.
        versions: of what computed and drew it.
        when: the date.
    """
    sections = "\n".join(_section(i, *one) for i, one in enumerate(zip(figures, drawn, strict=True), 1))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escaped(f"Headroom: {title}")}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escaped(title)}</h1>
<p class="soft">Headroom · {escaped(when)}</p>
{_facts(chosen)}
</header>
<main>
{sections}
</main>
<footer class="soft">
<section>
<h2>Made with</h2>
{_facts(versions)}
</section>
</footer>
</body>
</html>
"""


def notebook(title: str, figures: Sequence[Figure], chosen: Mapping[str, str], versions: Mapping[str, str],
             when: str) -> str:
    """The same as a Jupyter notebook (nbformat 4.5): per figure a cell of words and the cell that computes it."""
    facts = "\n".join(f"- {label}: {_in_markdown(value)}" for label, value in [*chosen.items(), *versions.items()])
    cells = [_cell("markdown", "start", f"# {_in_markdown(title)}\n\nHeadroom · {when}. {HOW_TO_RUN}\n\n{facts}")]
    for i, figure in enumerate(figures, 1):
        cells += [_cell("markdown", f"words-{i}", f"## {_in_markdown(figure.title)}\n\n{_in_markdown(figure.caption)}"),
                  _cell("code", f"lines-{i}", figure.python)]
    return json.dumps({"cells": cells, "metadata": {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5}, ensure_ascii=False, indent=1)


def plain(text: str) -> str:
    """A page's Markdown without colours and icons: `:orange[:material/warning: so]` -> `so`."""
    text = re.sub(r":material/\w+:\s*", "", text)
    for _ in range(3):  # one inside another
        text = re.sub(r":[a-z]+(?:-background)?\[([^\[\]]*)\]", r"\1", text)
    return text.strip()


# --- inside ---------------------------------------------------------------------------------------


def _section(number: int, figure: Figure, svg: str) -> str:
    title, caption = _words(figure.title), _words(figure.caption)
    big = "".join(f"<div>{escaped(label)}<b>{escaped(value)}</b><span class=\"soft\">{escaped(below)}</span></div>"
                  for label, value, below in figure.numbers)
    return "\n".join(filter(None, [
        "<section>", f"<h2>{title}</h2>", f'<div class="numbers">{big}</div>' if big else "",
        f"<figure>{_inline(svg, f'f{number}-', plain(figure.title))}<figcaption>{caption}</figcaption></figure>" if svg
        else f'<p class="soft">{caption}</p>' if caption else "",
        f"<details{'' if svg else ' open'}><summary>Table, {len(figure.table)} rows</summary>{_table(figure.table)}"
        "</details>",
        f"<details><summary>Python that gives these numbers</summary><pre>{escaped(figure.python)}</pre></details>",
        "</section>"]))


def _inline(svg: str, prefix: str, said: str) -> str:
    """A picture inside a document, with names of its own and words for who does not see it."""
    return apart(svg, prefix).replace("<svg ", f'<svg role="img" aria-label="{escaped(said)}" ', 1)


def _facts(facts: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escaped(label)}</dt><dd>{escaped(value)}</dd>"
                            for label, value in facts.items()) + "</dl>"


def _table(table: pd.DataFrame) -> str:
    some = table.head(MOST_ROWS)
    left_out = f'<p class="soft">The first {MOST_ROWS} rows of {len(table)}.</p>' if len(table) > MOST_ROWS else ""
    head = "".join(f"<th>{escaped(str(name))}</th>" for name in some.columns)
    body = "".join("<tr>" + "".join(f"<td>{escaped(_value(value))}</td>" for value in row) + "</tr>"
                   for row in some.itertuples(index=False, name=None))
    return (f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
            f'{left_out}')


def _value(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"
    return str(value)


def _words(text: str) -> str:
    """A page's sentence as HTML: its bold, italic and code are kept, everything else is text."""
    text = escaped(plain(text))
    for sign, tag in ((r"\*\*", "strong"), (r"\*", "em"), ("`", "code")):
        text = re.sub(rf"{sign}(?!\s)(.+?)(?<!\s){sign}", rf"<{tag}>\1</{tag}>", text)
    return re.sub(r" *\n", "<br>", text)


def _in_markdown(text: str) -> str:
    """A page's sentence as Markdown in which there is neither HTML nor a link."""
    return re.sub(r"([\[\]])", r"\\\1", re.sub(r" *\n", "  \n", escaped(plain(text))).replace("&#x27;", "'").replace(
        "&quot;", '"'))


def _cell(kind: str, name: str, source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": {}, "source": source.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})
