"""Rooms for a class: everybody guesses, then the truth is revealed. In memory, without names, gone after two hours.

A teacher opens a room and gets its code; others join it as a colour and an animal of their own choice. The teacher asks
a `Question`, whose truth is already measured; everybody guesses until the round closes: when all who are here have
guessed, when the teacher reveals, or by itself at a time that is shown. So nobody's absence stops a round, and when the
teacher has not been seen for a while, somebody else may take over (whoever opened the room may always take it back).
Who teaches does not guess, and is not waited for.

`Rooms` is all of it: thread-safe, bounded, without a clock of its own. What a person may know of a room is a `View`,
and before a round is revealed no view holds its truth.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import RLock

from .errors import BadInput

LIFE = 2 * 3600.0  # seconds from its opening until a room is gone
AWAY = 30.0  # seconds without a look after which somebody counts as away
VACANT = 12.0  # seconds without a look after which a seat may be taken anew: more than a browser leaves between two
MAX_ROOMS = 20
ENDED = 200  # rooms of which it is remembered that they have been
MAX_PEOPLE = 60  # in one room
SECONDS = (5, 600)  # shortest and longest round
SWITCHES = 10  # of one person in a race
WANTED = 3  # heads that a race looks for

# Ten colours that colour-blind eyes tell apart with the animal's help, and animals with short names.
COLOURS: Mapping[str, str] = {
    "blue": "#1f6fb2", "orange": "#d9640a", "green": "#0b8a6f", "pink": "#c4559d", "grey": "#5f7285",
    "gold": "#a07d00", "red": "#c22f2f", "violet": "#7350b5", "sky": "#3a93c9", "brown": "#8a5a35"}
ANIMALS = ("otter", "fox", "owl", "bear", "hare", "crow", "deer", "frog", "lynx", "mole", "newt", "seal")
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so that no code is a word; nothing that reads as a digit


@dataclass(frozen=True)
class Bar:
    """One accuracy that was measured, with its 95 % interval."""

    name: str
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Question:
    """What a room is asked, and the truth.

    Attributes:
        kind: "accuracy": the accuracy, in whole percent; "heads": which head is missed most; "race": find the `WANTED`
            heads that are missed most, by switching single heads off; fewer where fewer are missed at all.
        text: what is asked, in words.
        intact: the model with nothing off, which everybody is told; None where that is what is asked.
        bars: the truth. accuracy: one; heads: one per head that can be named; race: one per head of the model.
        source: model, task, n and definition, for the caption.
    """

    kind: str
    text: str
    intact: Bar | None
    bars: tuple[Bar, ...]
    chance: float
    source: str

    def __post_init__(self) -> None:
        least = {"accuracy": 1, "heads": 2, "race": WANTED}
        if self.kind not in least:
            raise BadInput(f"Unknown kind of question '{self.kind}'. Known: {', '.join(least)}.")
        if len(self.bars) < least[self.kind]:
            raise BadInput(f"A question of kind '{self.kind}' needs {least[self.kind]} measured accuracies or more, "
                           f"got {len(self.bars)}.")
        if not self.right:
            raise BadInput("No single head is missed here: with any of them off the model is right as often as with "
                           "all. Choose another task or another number of shots for a race.")

    @property
    def right(self) -> frozenset[str]:
        """What counts as right: the heads missed most, all of them where several are missed alike."""
        missed = self.bars if self.kind != "race" or self.intact is None else [
            bar for bar in self.bars if bar.accuracy < self.intact.accuracy]
        n = WANTED if self.kind == "race" else 1
        limit = max(sorted(bar.accuracy for bar in missed)[:n], default=0.0)
        return frozenset(bar.name for bar in missed if bar.accuracy <= limit)

    @property
    def wanted(self) -> int:
        """How many of them a race looks for."""
        return min(WANTED, len(self.right))


Guess = int | str | tuple[str, ...]  # percent; a head; the heads switched off in a race, in order


@dataclass(frozen=True)
class Person:
    """Somebody in a room: `blue otter`. Whoever opened it and did not join has no colour."""

    colour: str = ""
    animal: str = ""
    here: bool = True

    def __str__(self) -> str:
        return f"{self.colour} {self.animal}" if self.colour else "teacher"


@dataclass(frozen=True)
class Result:
    """How close somebody came.

    Attributes:
        off_by: accuracy: points between guess and truth; heads: points of accuracy between the head named and the one
            missed most; race: how many of the wanted heads were not found.
        switches: race: how many switches it took to find those that were found.
    """

    person: Person
    guess: Guess
    off_by: float
    switches: int = 0


@dataclass(frozen=True)
class RoundView:
    """A round as one person may see it.

    Attributes:
        bars: the truth; before the reveal only what this person's own switches in a race have shown.
        options: what can be named or switched.
        wanted: how many heads a race looks for.
        seconds_left: until the round closes by itself.
        mine: this person's guess; draft: what they last moved to and did not say, which counts when the round closes.
        n_guessed: who has guessed, in a race begun; n_done: of these, who has nothing left to say.
        n_awaited: whom the round is for: everybody who has guessed, or is here and does not teach.
        results: closest first; empty before the reveal.
    """

    number: int
    kind: str
    text: str
    source: str
    intact: Bar | None
    chance: float
    options: tuple[str, ...]
    revealed: bool
    seconds_left: float
    wanted: int
    mine: Guess | None
    draft: int | None
    n_guessed: int
    n_done: int
    n_awaited: int
    bars: tuple[Bar, ...] = ()
    right: frozenset[str] = frozenset()
    results: tuple[Result, ...] = ()


@dataclass(frozen=True)
class View:
    """A room as one person may see it."""

    code: str
    me: Person | None  # None: only looks on
    teaching: bool
    opened_it: bool
    teacher_here: bool
    may_take_over: bool
    people: tuple[Person, ...]  # who has a colour, in the order in which they came
    round: RoundView | None
    seconds_left: float  # of the room


@dataclass
class _Seat:
    person: Person
    seen: float


@dataclass
class _Round:
    number: int
    question: Question
    closes: float
    guesses: dict[str, Guess] = field(default_factory=dict)  # by token
    drafts: dict[str, int] = field(default_factory=dict)  # moved to since, and not said
    revealed: bool = False

    def reveal(self) -> None:
        """Close the round: what was moved to and not said counts, too."""
        if not self.revealed:
            self.guesses |= self.drafts
            self.revealed = True


@dataclass
class _Room:
    code: str
    opened: float
    owner: str  # token of whoever opened it
    teacher: str  # token of whoever asks now
    seats: dict[str, _Seat]
    round: _Round | None = None
    n_rounds: int = 0


class Rooms:
    """All rooms of a server.

    Every call first lets happen what is due: rooms that have lived long enough go, rounds whose time is over are
    revealed. A clock that goes backwards only makes things last longer.

    Args:
        clock: seconds, never mind since when.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rooms: dict[str, _Room] = {}
        self._ended: dict[str, str] = {}  # code -> "closed" or "over", the last few
        self._lock = RLock()

    # --- coming and going -----------------------------------------------------------------------

    def open(self) -> tuple[str, str]:
        """A new room: its code, and the teacher's token.

        Raises:
            BadInput: as many rooms are open as are kept.
        """
        with self._lock:
            now = self._now()
            if len(self._rooms) >= MAX_ROOMS:
                raise BadInput(f"{MAX_ROOMS} rooms are open, which is all that one server keeps. A room is gone "
                               f"{LIFE / 3600:g} hours after it was opened, or when its teacher closes it.")
            code = _new(self._rooms, lambda: "".join(secrets.choice(LETTERS) for _ in range(4)))
            token = secrets.token_urlsafe(9)
            self._ended.pop(code, None)
            self._rooms[code] = _Room(code, now, token, token, {token: _Seat(Person(), now)})
            return code, token

    def close(self, code: str, token: str) -> None:
        """Send everybody home. Raises: BadInput: it is somebody else's to say."""
        with self._lock:
            room = self._room(code)
            _only_the_teacher(room, token)
            self._end(room.code, "closed")

    def exists(self, code: str) -> bool:
        """Whether there is a room of this code."""
        with self._lock:
            self._now()
            return code in self._rooms

    def ended(self, code: str) -> str:
        """How a room has ended: "closed" by its teacher, "over" after its time; empty where it is not known to have
        been."""
        with self._lock:
            self._now()
            return self._ended.get(code, "")

    def free(self, code: str, colour: str) -> tuple[str, ...]:
        """The animals that nobody is yet in this colour, or only somebody whose seat is vacant."""
        with self._lock:
            room = self._room(code)
            taken = {seat.person.animal for token, seat in room.seats.items()
                     if seat.person.colour == colour and not self._vacant(room, token)}
            return tuple(animal for animal in ANIMALS if animal not in taken)

    def join(self, code: str, colour: str, animal: str, token: str = "") -> str:
        """Take a seat; the token is one's place in the room, also after a reload.

        A seat whose person has not been seen for `VACANT` seconds may be taken with all that was guessed from it: most
        often by that very person, who has closed the page.

        Args:
            token: of somebody who is here without a colour (whoever opened the room), to keep it.

        Raises:
            BadInput: no such room, colour or animal; the room is full, or somebody else is this animal.
        """
        with self._lock:
            room = self._room(code)
            if colour not in COLOURS or animal not in ANIMALS:
                raise BadInput(f"Nobody can be a '{colour} {animal}'. Colours: {', '.join(COLOURS)}. Animals: "
                               f"{', '.join(ANIMALS)}.")
            before = next((t for t, s in room.seats.items() if (s.person.colour, s.person.animal) == (colour, animal)),
                          None)
            if before is not None and not self._vacant(room, before):
                raise BadInput(f"Somebody is the {colour} {animal} already. Take another colour or animal.")
            said = _Said()
            if before is not None:
                del room.seats[before]
                said = _said_by(room, before)
            if token not in room.seats:
                token = self._new_seat(room)
            room.seats[token] = _Seat(Person(colour, animal), self._clock())
            if room.round:
                room.round.guesses |= {} if said.guess is None else {token: said.guess}
                room.round.drafts |= {} if said.draft is None else {token: said.draft}
            return token

    def leave(self, code: str, token: str) -> None:
        """Give one's place back; a guess in the round under way goes with it."""
        with self._lock:
            room = self._room(code)
            room.seats.pop(token, None)
            if room.round and not room.round.revealed:
                _said_by(room, token)

    def take_over(self, code: str, token: str = "") -> str:
        """Become the one who asks; the token is one's place in the room, a new one for who has none in it yet.

        Raises:
            BadInput: the teacher is here, and the room is not one's own; or it is full.
        """
        with self._lock:
            room, now = self._room(code), self._clock()
            if not self._may_take_over(room, token, now):
                raise BadInput(f"The teacher of room {room.code} is here. Somebody else can take over when the teacher "
                               f"has been away for {AWAY:g} seconds.")
            if token not in room.seats:
                token = self._new_seat(room)
                room.seats[token] = _Seat(Person(), now)
            room.seats[token].seen = now
            room.teacher = token
            return token

    # --- rounds ---------------------------------------------------------------------------------

    def ask(self, code: str, token: str, question: Question, seconds: float) -> None:
        """Begin a round, which closes by itself after some seconds.

        Raises:
            BadInput: it is not one's to ask, a round is under way, or it is too short or too long.
        """
        with self._lock:
            room = self._room(code)
            _only_the_teacher(room, token)
            if room.round and not room.round.revealed:
                raise BadInput("A round is under way. Reveal it first.")
            if not SECONDS[0] <= seconds <= SECONDS[1]:
                raise BadInput(f"A round lasts {SECONDS[0]} to {SECONDS[1]} seconds, not {seconds:g}.")
            room.n_rounds += 1
            room.round = _Round(room.n_rounds, question, self._clock() + seconds)

    def guess(self, code: str, token: str, value: int | str) -> None:
        """Guess, or guess again: percent, or a head; in a race, one more switch.

        Raises:
            BadInput: one has no place here, nothing is asked, or the guess is none.
        """
        with self._lock:
            room = self._room(code)
            if token not in room.seats or not room.seats[token].person.colour:
                raise BadInput("Take a colour and an animal first; then you can guess.")
            if token == room.teacher:
                raise BadInput("Who teaches does not guess.")
            if room.round is None or room.round.revealed:
                raise BadInput("This round is over. Wait for the next one.")
            room.seats[token].seen = self._clock()
            room.round.guesses[token] = _checked(room.round.question, value, room.round.guesses.get(token))
            room.round.drafts.pop(token, None)
            self._settle(room, self._clock())

    def draft(self, code: str, token: str, value: int) -> None:
        """Move to an accuracy without saying it yet; it counts when the round closes, and nobody waits less for it.

        Nothing happens where it is none, or nothing is asked: a hand may still move when the round is over.
        """
        with self._lock:
            room = self._room(code)
            seat, at = room.seats.get(token), room.round
            if seat is None or not seat.person.colour or token == room.teacher:
                return
            seat.seen = self._clock()
            if at is not None and not at.revealed and at.question.kind == "accuracy" and 0 <= value <= 100:
                at.drafts[token] = value

    def reveal(self, code: str, token: str) -> None:
        """Close the round under way. Raises: BadInput: it is somebody else's to say."""
        with self._lock:
            room = self._room(code)
            _only_the_teacher(room, token)
            if room.round:
                room.round.reveal()

    # --- looking --------------------------------------------------------------------------------

    def look(self, code: str, token: str = "") -> View:
        """What somebody may see, who counts as here from now on.

        Raises:
            BadInput: there is no such room, or not any more.
        """
        with self._lock:
            room, now = self._room(code), self._clock()
            seat = room.seats.get(token)
            if seat:
                seat.seen = now
            self._settle(room, now)
            people = tuple(Person(s.person.colour, s.person.animal, _here(s, now))
                           for s in room.seats.values() if s.person.colour)
            return View(room.code, seat.person if seat else None, bool(seat) and room.teacher == token,
                        bool(seat) and room.owner == token, _teacher_here(room, now),
                        self._may_take_over(room, token, now), people,
                        _seen(room, token, now) if room.round else None, room.opened + LIFE - now)

    # --- inside; the lock is held ---------------------------------------------------------------

    def _now(self) -> float:
        """The time, after what is due by then has happened."""
        now = self._clock()
        for code in [code for code, room in self._rooms.items() if now - room.opened >= LIFE]:
            self._end(code, "over")
        for room in self._rooms.values():
            self._settle(room, now)
        return now

    def _end(self, code: str, how: str) -> None:
        del self._rooms[code]
        self._ended[code] = how
        while len(self._ended) > ENDED:
            del self._ended[next(iter(self._ended))]

    def _room(self, code: str) -> _Room:
        self._now()
        if code not in self._rooms:
            raise BadInput(f"Room {code} has been closed." if self._ended.get(code) == "closed" else
                           f"There is no room '{code}'. A code has four letters, and a room is gone "
                           f"{LIFE / 3600:g} hours after it was opened.")
        return self._rooms[code]

    @staticmethod
    def _settle(room: _Room, now: float) -> None:
        """Reveal the round when its time is over, or when all who are here have said what they had to say."""
        if room.round is None or room.round.revealed:
            return
        here = _guessers_here(room, now)
        done = all(_finished(room.round.question, room.round.guesses.get(token)) for token in here)
        if now >= room.round.closes or (here and done):
            room.round.reveal()

    def _new_seat(self, room: _Room) -> str:
        """A token for another seat. Raises: BadInput: the room is full."""
        if len(room.seats) >= MAX_PEOPLE and not self._make_place(room, self._clock()):
            raise BadInput(f"Room {room.code} is full: {MAX_PEOPLE} people are in it.")
        return secrets.token_urlsafe(9)

    def _vacant(self, room: _Room, token: str) -> bool:
        """Whether somebody else may sit down here; not where somebody teaches, or may any time."""
        return self._clock() - room.seats[token].seen >= VACANT and token not in (room.teacher, room.owner)

    @staticmethod
    def _make_place(room: _Room, now: float) -> bool:
        """Forget who has been away longest, if somebody is who neither teaches nor opened the room."""
        away = [token for token, seat in room.seats.items()
                if not _here(seat, now) and token not in (room.teacher, room.owner)]
        if away:
            del room.seats[min(away, key=lambda token: room.seats[token].seen)]
        return bool(away)

    @staticmethod
    def _may_take_over(room: _Room, token: str, now: float) -> bool:
        if token in room.seats and token in (room.teacher, room.owner):
            return token != room.teacher
        return not _teacher_here(room, now)


def _new(taken: Mapping[str, object], make: Callable[[], str]) -> str:
    while (made := make()) in taken:
        pass
    return made


def _here(seat: _Seat, now: float) -> bool:
    return now - seat.seen < AWAY


def _teacher_here(room: _Room, now: float) -> bool:
    return room.teacher in room.seats and _here(room.seats[room.teacher], now)


def _guessers_here(room: _Room, now: float) -> list[str]:
    """Whom a round waits for."""
    return [token for token, seat in room.seats.items()
            if seat.person.colour and token != room.teacher and _here(seat, now)]


@dataclass(frozen=True)
class _Said:
    """What somebody has said in the round under way."""

    guess: Guess | None = None
    draft: int | None = None


def _said_by(room: _Room, token: str) -> _Said:
    """Take out of the last round what somebody has said in it."""
    return _Said() if room.round is None else _Said(room.round.guesses.pop(token, None),
                                                     room.round.drafts.pop(token, None))


def _only_the_teacher(room: _Room, token: str) -> None:
    if token != room.teacher or token not in room.seats:
        raise BadInput(f"Only the teacher of room {room.code} can do that.")


def _checked(question: Question, value: int | str, before: Guess | None) -> Guess:
    """A guess as it is kept. Raises: BadInput: if it is none."""
    if question.kind == "accuracy":
        if not isinstance(value, int) or not 0 <= value <= 100:
            raise BadInput(f"An accuracy is 0 to 100 percent, not '{value}'.")
        return value
    names = [bar.name for bar in question.bars]
    if value not in names:
        raise BadInput(f"'{value}' is not among what can be named here: {', '.join(names[:12])}"
                       + " ..." * (len(names) > 12) + ".")
    assert isinstance(value, str)
    if question.kind == "heads":
        return value
    switched = before if isinstance(before, tuple) else ()
    if value in switched:
        return switched
    if len(switched) >= SWITCHES:
        raise BadInput(f"All {SWITCHES} switches are used.")
    return (*switched, value)


def _finished(question: Question, guess: Guess | None) -> bool:
    """Whether somebody has nothing left to say: a race ends with the last head found, or the last switch."""
    if question.kind != "race" or guess is None:
        return guess is not None
    assert isinstance(guess, tuple)
    return len(guess) >= min(SWITCHES, len(question.bars)) or _found(question, guess)[0] >= question.wanted


def _found(question: Question, switched: tuple[str, ...]) -> tuple[int, int]:
    """How many of the wanted heads were found, and after how many switches the last of them."""
    places = [i for i, name in enumerate(switched, 1) if name in question.right][:question.wanted]
    return len(places), places[-1] if places else 0


def _result(question: Question, person: Person, guess: Guess) -> Result:
    if isinstance(guess, tuple):
        found, switches = _found(question, guess)
        return Result(person, guess, question.wanted - found, switches)
    accuracy = {bar.name: bar.accuracy for bar in question.bars}
    if isinstance(guess, str):
        return Result(person, guess, 100 * (accuracy[guess] - min(accuracy.values())))
    return Result(person, guess, abs(guess - 100 * question.bars[0].accuracy))


def _seen(room: _Room, token: str, now: float) -> RoundView:
    """The round as somebody may see it."""
    assert room.round is not None
    at, question = room.round, room.round.question
    mine = at.guesses.get(token)
    tried = mine if isinstance(mine, tuple) else ()
    said = {t: guess for t, guess in at.guesses.items() if t in room.seats}
    results = [_result(question, room.seats[t].person, guess) for t, guess in said.items()]
    return RoundView(
        at.number, question.kind, question.text, question.source, question.intact, question.chance,
        () if question.kind == "accuracy" else tuple(bar.name for bar in question.bars), at.revealed,
        max(0.0, at.closes - now), question.wanted, mine, at.drafts.get(token), len(said),
        sum(_finished(question, guess) for guess in said.values()), len({*said, *_guessers_here(room, now)}),
        question.bars if at.revealed else tuple(bar for bar in question.bars if bar.name in tried),
        question.right if at.revealed and question.kind != "accuracy" else frozenset(),
        tuple(sorted(results, key=lambda r: (r.off_by, r.switches, str(r.person)))) if at.revealed else ())
