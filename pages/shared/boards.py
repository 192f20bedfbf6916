"""A room's round as HTML: guesses as dots in their people's colours, the truth with its interval, who was how close.

Pure: a view in, text out. Drawn as HTML and not as charts, because thirty browsers ask for it at the same moment: it is
a hundred times cheaper.
"""

from __future__ import annotations

from collections import defaultdict
from html import escape

from backend.rooms import COLOURS, Bar, Person, Result, RoundView
from pages.shared import words

BIN = 4  # points of accuracy whose guesses stand on one another
MOST = 8  # heads and places that are listed

# "\3c" is "<", at whose sight the browser's sanitizer would throw all of it away
STYLE = """<style>
@property --left { syntax: "\\3c integer>"; inherits: true; initial-value: 0; }
@keyframes run-out { to { --left: 0; } }
@keyframes shrink { to { width: 0; } }
.room-clock { display: flex; align-items: center; gap: .7rem; margin: .2rem 0 .6rem; }
.room-clock b { min-width: 4.5em; }
.room-clock b::after { counter-reset: left var(--left); content: counter(left) " s"; }
.room-clock b { animation: run-out linear forwards; }
.room-clock i { display: block; height: .5rem; border-radius: .25rem; background: #3d8fd1; width: 100%;
                animation: shrink linear forwards; }
.room-clock span { flex: 1; }
.room-dot { display: inline-block; width: .95rem; height: .95rem; border-radius: 50%; box-sizing: border-box;
            vertical-align: -.1rem; margin: 1px .15rem; }
.room-dot.me { outline: 2px solid currentColor; outline-offset: 1px; }
.room-plot { position: relative; margin: 2.6rem .6rem 3.6rem; border-bottom: 1px solid #8593a3; }
.room-plot > * { position: absolute; }
.room-pile { bottom: 2px; display: flex; flex-direction: column-reverse; transform: translateX(-50%); }
.room-band { top: -1.2rem; bottom: 0; background: #e07b1f44; }
.room-line { top: -1.2rem; bottom: 0; border-left: 3px solid #e07b1f; }
.room-line.dashed { border-left: 2px dashed #8593a3; }
.room-label { white-space: nowrap; transform: translateX(-50%); font-size: .85rem; }
.room-label.top { top: -2.5rem; font-weight: 700; }
.room-label.end { bottom: -1.5rem; }
.room-label.axis { bottom: -2.8rem; }
.room-rows { display: grid; grid-template-columns: max-content minmax(6rem, 1fr) max-content; gap: .35rem .8rem;
             align-items: center; margin: .8rem 0; }
.room-bar { position: relative; height: 1.3rem; background: #8593a322; border-radius: .2rem; }
.room-bar > * { position: absolute; top: 0; bottom: 0; }
.room-fill { background: #3d8fd1; opacity: .75; border-radius: .2rem; left: 0; }
.room-fill.right { background: #e07b1f; }
.room-whisker { top: 45%; bottom: 45%; background: currentColor; }
.room-list { margin: .4rem 0; padding-left: 1.6rem; }
.room-people { line-height: 1.9; }
.room-people > span { white-space: nowrap; margin-right: .8rem; }
.room-people .away { opacity: .55; }
</style>"""


def clock(round_: RoundView) -> str:
    """The time until the round closes by itself; the browser counts it down."""
    left = max(1, round(round_.seconds_left))
    return (f'<div class="room-clock" role="timer" aria-label="Closes by itself in {left} seconds">'
            f'<b style="--left:{left};animation-duration:{left}s"></b>'
            f'<span><i style="animation-duration:{left}s"></i></span></div>')


def people(everybody: tuple[Person, ...]) -> str:
    """Who is in the room; pale who has not been seen for a while."""
    return '<div class="room-people">' + "".join(
        f'<span>{_dot(one)} {escape(str(one))}</span>' if one.here else
        f'<span class="away">{_dot(one)} {escape(str(one))} (away)</span>' for one in everybody) + "</div>"


def board(round_: RoundView, me: Person | None) -> str:
    """The guesses and, beside them, the truth."""
    return _along(round_, me) if round_.kind == "accuracy" else _rows(round_, me)


def verdict(round_: RoundView) -> str:
    """The truth in a sentence."""
    if round_.kind == "accuracy":
        bar = round_.bars[0]
        return f"It is {words.percent(bar.accuracy)} (95\u00a0%: {_interval(bar)})"
    worst = sorted((bar for bar in round_.bars if bar.name in round_.right), key=lambda bar: bar.accuracy)
    lowest = f"{words.percent(worst[0].accuracy)} (95\u00a0%: {_interval(worst[0])})"
    if round_.kind == "heads":
        return f"Most is lost without {_either(worst)}: {lowest} is left"
    more = f"; {words.how_many(round_.wanted, 'of them counts', 'of them count')}" * (len(worst) > round_.wanted)
    return (f"Missed most {'is' if len(worst) == 1 else 'are'} {_listed(worst)}{more}. Without {worst[0].name}, "
            f"{lowest} is left")


def closest(round_: RoundView, me: Person | None) -> str:
    """Who was how close, the closest first; and where oneself stands."""
    rows: list[str] = []
    places = _places(round_.results)
    for place, result in zip(places, round_.results, strict=True):
        mine = _same(result.person, me)
        if len(rows) < MOST or mine:
            name = f"<b>{escape(str(result.person))}, you</b>" if mine else escape(str(result.person))
            rows.append(f'<li value="{place}">{_dot(result.person, mine)} {name}: {_said(round_, result)}</li>')
    if not rows:
        return "<p>Nobody has guessed.</p>"
    more = len(round_.results) - len(rows)
    return f'<ol class="room-list">{"".join(rows)}</ol>' + (f"<p>and {more} more</p>" if more else "")


def told(round_: RoundView, me: Person | None) -> str:
    """One's own result in a sentence; empty where one has not guessed."""
    for place, result in zip(_places(round_.results), round_.results, strict=True):
        if _same(result.person, me):
            return f"You: {_said(round_, result)}. Place {place} of {len(round_.results)}."
    return ""


def _said(round_: RoundView, result: Result) -> str:
    if isinstance(result.guess, tuple):
        found = round_.wanted - int(result.off_by)
        tries = result.switches if found else len(result.guess)
        return (f"{found} of {words.how_many(round_.wanted, 'head')} with "
                f"{words.how_many(tries, 'switch', 'switches')}")
    if isinstance(result.guess, str):
        return f"{result.guess}, " + ("right" if result.guess in round_.right else
                                      f"{words.points(result.off_by / 100)[1:]} away")
    inside = round_.bars[0].low <= result.guess / 100 <= round_.bars[0].high
    off = words.points(result.off_by / 100).removeprefix("+")
    return f"{result.guess}\u00a0%, {'exactly' if round(result.off_by, 1) == 0 else off + ' off'}" + (
        ", inside the interval" if inside and result.off_by else "")


def _along(round_: RoundView, me: Person | None) -> str:
    """Guesses of an accuracy on a line from 0 to 100 %, the truth across."""
    piles: dict[int, list[Result]] = defaultdict(list)
    for result in sorted(round_.results, key=lambda r: str(r.person)):
        assert isinstance(result.guess, int)
        piles[round(result.guess / BIN) * BIN].append(result)
    bar = round_.bars[0]
    parts = [f'<div class="room-band" style="{_from_to(bar)}"></div>',
             *(_rule(value, "dashed", f"{name} {words.percent(value)}", "axis")
               for name, value in (("chance", round_.chance), *(
                   [("intact", round_.intact.accuracy)] if round_.intact else []))),
             _rule(bar.accuracy, "", words.percent(bar.accuracy), "top")]
    parts += [f'<div class="room-label end" style="left:{at}%">{at}</div>' for at in (0, 100)]
    parts += [f'<div class="room-pile" style="left:{at}%">' + "".join(
        _dot(r.person, _same(r.person, me)) for r in pile) + "</div>" for at, pile in piles.items()]
    height = max([3, *map(len, piles.values())]) * 1.1 + 0.6
    guesses = ", ".join(f"{r.guess} %" for r in round_.results) or "none"
    return (f'<div class="room-plot" role="img" style="height:{height:.1f}rem" aria-label="Guesses: {guesses}. '
            f'{escape(verdict(round_))}.">{"".join(parts)}</div>')


def _rule(value: float, style: str, text: str, where: str) -> str:
    at = f"left:{100 * value:.1f}%"
    return f'<div class="room-line {style}" style="{at}"></div>' + (
        f'<div class="room-label {where}" style="left:{min(max(100 * value, 6), 94):.1f}%">{escape(text)}</div>')


def _rows(round_: RoundView, me: Person | None) -> str:
    """A bar per head, with the people who named it or found it."""
    named: dict[str, list[Person]] = defaultdict(list)
    for result in round_.results:
        for name in result.guess if isinstance(result.guess, tuple) else (str(result.guess),):
            named[name].append(result.person)
    shown = sorted(round_.bars, key=lambda bar: (bar.accuracy, bar.name))[:max(MOST, len(round_.right))]
    rows = []
    for bar in shown:
        right = bar.name in round_.right
        dots = "".join(_dot(one, _same(one, me)) for one in named[bar.name])
        said = (f"without {bar.name} {words.percent(bar.accuracy)}, 95 %: {_interval(bar)}; "
                f"named by {len(named[bar.name])}")
        rows.append(
            f'<span>{"<b>" * right}{bar.name}{"</b>" * right}</span>'
            f'<div class="room-bar" role="img" aria-label="{said}">'
            f'<div class="room-fill{" right" * right}" style="width:{100 * bar.accuracy:.1f}%"></div>'
            f'<div class="room-whisker" style="{_from_to(bar)}"></div>'
            f"</div><span>{words.percent(bar.accuracy)}</span>"
            + (f'<span></span><div>{dots}</div><span>{len(named[bar.name])}</span>' if dots else ""))
    return f'<div class="room-rows">{"".join(rows)}</div>'


def _dot(one: Person, mine: bool = False) -> str:
    return (f'<span class="room-dot{" me" * mine}" title="{escape(str(one))}" '
            f'style="background:{COLOURS.get(one.colour, "#8593a3")}"></span>')


def _same(one: Person, me: Person | None) -> bool:
    return me is not None and (one.colour, one.animal) == (me.colour, me.animal)


def _places(results: tuple[Result, ...]) -> list[int]:
    """1, 1, 3: who came equally close shares a place."""
    keys = [(round(r.off_by, 6), r.switches) for r in results]
    return [keys.index(key) + 1 for key in keys]


def _interval(bar: Bar) -> str:
    return f"{words.percent(bar.low).removesuffix(chr(160) + '%')}–{words.percent(bar.high)}"


def _from_to(bar: Bar) -> str:
    return f"left:{100 * bar.low:.1f}%;width:{100 * (bar.high - bar.low):.1f}%"


def _either(bars: list[Bar]) -> str:
    return " or ".join(bar.name for bar in bars)


def _listed(bars: list[Bar]) -> str:
    names = [bar.name for bar in bars[:MOST]] + [f"{len(bars) - MOST} more"] * (len(bars) > MOST)
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
