"""Rooms: nobody learns the truth early, nobody's absence stops a round, and no room knows of another."""

from __future__ import annotations

import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from backend import rooms
from backend.errors import BadInput
from backend.rooms import (
    ANIMALS,
    AWAY,
    COLOURS,
    LIFE,
    MAX_PEOPLE,
    MAX_ROOMS,
    SECONDS,
    SWITCHES,
    VACANT,
    Bar,
    Question,
    Rooms,
)

INTACT = Bar("intact", 0.9, 0.8, 0.95)
HEADS = {"L0H0": 0.88, "L0H1": 0.3, "L1H0": 0.9, "L1H1": 0.5, "L2H0": 0.91, "L2H1": 0.7}


def bars(accuracies: dict[str, float]) -> tuple[Bar, ...]:
    return tuple(Bar(name, value, value - 0.05, value + 0.05) for name, value in accuracies.items())


def question(kind: str = "accuracy", accuracies: dict[str, float] | None = None) -> Question:
    default = {"accuracy": {"without L1H2": 0.62}, "heads": {"L0H1": 0.3, "L1H0": 0.9, "L1H1": 0.5}, "race": HEADS}
    return Question(kind, "What is left?", INTACT, bars(accuracies or default[kind]), 0.5, "made up")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def school(clock: Clock) -> Rooms:
    return Rooms(clock)


def joined(school: Rooms, code: str, n: int) -> list[str]:
    who = [(colour, animal) for animal in ANIMALS for colour in COLOURS]
    return [school.join(code, *who[i]) for i in range(n)]


# --- a round ------------------------------------------------------------------------------------


def test_the_truth_is_seen_by_nobody_before_the_reveal_and_by_all_after(school: Rooms):
    code, teacher = school.open()
    pupils = joined(school, code, 3)
    school.ask(code, teacher, question(), 60)
    school.guess(code, pupils[0], 70)
    for token in (teacher, *pupils, ""):
        seen = school.look(code, token).round
        assert (seen.bars, seen.results, seen.right) == ((), (), frozenset())
        assert seen.n_guessed == 1
    school.reveal(code, teacher)
    for token in (teacher, *pupils, ""):
        assert school.look(code, token).round.bars == question().bars


def test_the_closest_guess_comes_first_and_says_by_how_many_points(school: Rooms):
    code, teacher = school.open()
    pupils = joined(school, code, 3)
    school.ask(code, teacher, question(), 60)
    for token, value in zip(pupils, (70, 60, 10), strict=True):
        school.guess(code, token, value)
    results = school.look(code, teacher).round.results
    assert [(r.guess, pytest.approx(r.off_by)) for r in results] == [(60, 2), (70, 8), (10, 52)]
    assert str(results[0].person) == "orange otter"


def test_of_three_heads_the_one_whose_loss_leaves_least_is_right(school: Rooms):
    code, teacher = school.open()
    pupils = joined(school, code, 2)
    school.ask(code, teacher, question("heads"), 60)
    school.guess(code, pupils[0], "L1H1")
    school.guess(code, pupils[1], "L0H1")
    seen = school.look(code, teacher).round
    assert seen.right == {"L0H1"}
    assert [(r.guess, pytest.approx(r.off_by)) for r in seen.results] == [("L0H1", 0), ("L1H1", 20)]


def test_heads_that_are_missed_alike_are_all_right():
    assert question("heads", {"L0H0": 0.5, "L0H1": 0.5, "L0H2": 0.6}).right == {"L0H0", "L0H1"}
    assert question("race", {"L0H0": 0.5, "L0H1": 0.6, "L0H2": 0.7, "L0H3": 0.7, "L0H4": 0.8}).right == {
        "L0H0", "L0H1", "L0H2", "L0H3"}


def test_a_race_shows_each_what_their_own_switches_found_and_ends_with_the_third_head(school: Rooms):
    code, teacher = school.open()
    first, second = joined(school, code, 2)
    school.ask(code, teacher, question("race"), 60)
    for name in ("L0H1", "L0H0", "L1H1", "L0H0"):
        school.guess(code, first, name)
    assert {bar.name: bar.accuracy for bar in school.look(code, first).round.bars} == {
        name: HEADS[name] for name in ("L0H1", "L0H0", "L1H1")}
    assert school.look(code, second).round.bars == ()
    school.guess(code, second, "L2H0")
    school.guess(code, first, "L2H1")
    assert not school.look(code, first).round.revealed  # the second still looks
    school.reveal(code, teacher)
    results = school.look(code, first).round.results
    assert [(str(r.person), r.off_by, r.switches) for r in results] == [("blue otter", 0, 4), ("orange otter", 3, 0)]


def test_a_race_has_ten_switches(school: Rooms):
    heads = {f"L0H{i}": 0.9 - 0.01 * i for i in range(20)}
    code, teacher = school.open()
    pupil, _ = joined(school, code, 2)
    school.ask(code, teacher, question("race", heads), 60)
    for i in range(SWITCHES):
        school.guess(code, pupil, f"L0H{i}")
    with pytest.raises(BadInput, match="All 10 switches are used"):
        school.guess(code, pupil, "L0H19")


def test_a_guess_can_be_changed_until_the_round_closes_and_not_after(school: Rooms):
    code, teacher = school.open()
    pupil, _ = joined(school, code, 2)
    school.ask(code, teacher, question(), 60)
    school.guess(code, pupil, 10)
    school.guess(code, pupil, 55)
    school.reveal(code, teacher)
    assert school.look(code, pupil).round.results[0].guess == 55
    with pytest.raises(BadInput, match="This round is over"):
        school.guess(code, pupil, 62)


@pytest.mark.parametrize(("kind", "value"), [("accuracy", 101), ("accuracy", -1), ("accuracy", "many"),
                                             ("heads", "L9H9"), ("race", 5)])
def test_what_is_no_guess_is_refused(school: Rooms, kind: str, value: int | str):
    code, teacher = school.open()
    pupil, _ = joined(school, code, 2)
    school.ask(code, teacher, question(kind), 60)
    with pytest.raises(BadInput):
        school.guess(code, pupil, value)
    assert school.look(code, pupil).round.mine is None


# --- nobody stops a round -------------------------------------------------------------------------


def test_a_round_closes_by_itself_when_its_time_is_over(school: Rooms, clock: Clock):
    code, teacher = school.open()
    pupil, _ = joined(school, code, 2)
    school.ask(code, teacher, question(), 30)
    clock.now += 29
    assert school.look(code, pupil).round.seconds_left == 1
    assert not school.look(code, pupil).round.revealed
    clock.now += 1
    assert school.look(code, pupil).round.revealed


def test_a_round_closes_when_all_who_are_here_have_guessed(school: Rooms, clock: Clock):
    code, teacher = school.open()
    here, gone = joined(school, code, 2)
    school.ask(code, teacher, question(), 120)
    school.guess(code, here, 50)
    assert not school.look(code, here).round.revealed
    clock.now += AWAY  # the other one has not looked since
    assert school.look(code, here).round.revealed
    assert [p.here for p in school.look(code, here).people] == [True, False]
    assert gone


def test_somebody_else_takes_over_from_a_teacher_who_is_away_and_whoever_opened_the_room_takes_it_back(
        school: Rooms, clock: Clock):
    code, teacher = school.open()
    pupil, other = joined(school, code, 2)
    with pytest.raises(BadInput, match="The teacher of room"):
        school.take_over(code, pupil)
    clock.now += AWAY
    assert school.look(code, pupil).may_take_over
    school.take_over(code, pupil)
    school.ask(code, pupil, question(), 60)
    assert school.look(code, teacher).may_take_over
    assert not school.look(code, other).may_take_over
    with pytest.raises(BadInput, match="Only the teacher"):
        school.reveal(code, teacher)
    school.take_over(code, teacher)
    school.reveal(code, teacher)
    with pytest.raises(BadInput, match="Only the teacher"):
        school.close(code, pupil)


def counted(school: Rooms, code: str) -> tuple[int, int, int]:
    """Of a round: who has guessed, who has nothing left to say, and whom it is for."""
    seen = school.look(code).round
    return seen.n_guessed, seen.n_done, seen.n_awaited


def test_who_has_taken_over_is_not_waited_for(school: Rooms, clock: Clock):
    code, _ = school.open()
    pupils = joined(school, code, 3)
    clock.now += AWAY
    for token in pupils:
        school.look(code, token)
    school.take_over(code, pupils[0])
    school.ask(code, pupils[0], question(), 60)
    school.guess(code, pupils[1], 50)
    assert counted(school, code) == (1, 1, 2)
    with pytest.raises(BadInput, match="Who teaches does not guess"):
        school.guess(code, pupils[0], 50)
    school.guess(code, pupils[2], 50)
    assert school.look(code).round.revealed
    assert counted(school, code) == (2, 2, 2)


def test_a_round_under_way_goes_on_without_who_takes_over_in_it(school: Rooms, clock: Clock):
    code, teacher = school.open()
    first, second = joined(school, code, 2)
    school.ask(code, teacher, question(), 600)
    school.guess(code, second, 50)
    clock.now += AWAY - 1
    school.look(code, first)
    school.look(code, second)
    clock.now += 1
    assert not school.look(code, first).round.revealed
    school.take_over(code, first)
    assert school.look(code, first).round.revealed


def test_an_absent_person_s_guess_is_counted_over_everybody_whom_the_round_is_for(school: Rooms, clock: Clock):
    code, teacher = school.open()
    gone, here, other = joined(school, code, 3)
    school.ask(code, teacher, question(), 600)
    school.guess(code, gone, 50)
    clock.now += AWAY
    for token in (teacher, here, other):
        school.look(code, token)
    assert counted(school, code) == (1, 1, 3)  # and not 1 of the 2 who are here
    school.guess(code, here, 50)
    assert counted(school, code) == (2, 2, 3)
    assert not school.look(code).round.revealed


def test_of_a_race_it_is_counted_who_has_begun_and_who_is_done(school: Rooms):
    code, teacher = school.open()
    first, second, _ = joined(school, code, 3)
    school.ask(code, teacher, question("race"), 60)
    for token, names in ((first, ("L0H1", "L1H1", "L2H1")), (second, ("L0H0",))):
        for name in names:
            school.guess(code, token, name)
    assert counted(school, code) == (2, 1, 3)


def test_what_was_moved_to_and_not_said_counts_when_the_time_is_over_and_ends_nothing_early(school: Rooms,
                                                                                           clock: Clock):
    code, teacher = school.open()
    said, moved, neither = joined(school, code, 3)
    school.ask(code, teacher, question(), 20)
    school.draft(code, said, 10)
    school.guess(code, said, 60)
    school.draft(code, moved, 71)
    school.draft(code, moved, 72)
    school.draft(code, moved, 101)  # is none
    school.draft(code, teacher, 5)
    school.draft(code, "nobody", 5)
    assert counted(school, code) == (1, 1, 3)
    assert school.look(code, moved).round.draft == 72
    assert school.look(code, moved).round.mine is None
    clock.now += 20
    results = school.look(code, neither).round.results
    assert [(str(r.person), r.guess) for r in results] == [("blue otter", 60), ("orange otter", 72)]
    school.draft(code, moved, 0)  # too late
    assert school.look(code, moved).round.mine == 72


def test_what_was_moved_to_after_a_guess_counts_too_and_goes_with_who_leaves(school: Rooms):
    code, teacher = school.open()
    stays, leaves, _ = joined(school, code, 3)
    school.ask(code, teacher, question(), 60)
    school.guess(code, stays, 10)
    school.draft(code, stays, 20)
    school.draft(code, leaves, 30)
    school.leave(code, leaves)
    school.reveal(code, teacher)
    assert [r.guess for r in school.look(code, teacher).round.results] == [20]


def test_nothing_is_moved_to_where_a_head_is_asked_for(school: Rooms):
    code, teacher = school.open()
    pupil, _ = joined(school, code, 2)
    school.ask(code, teacher, question("heads"), 60)
    school.draft(code, pupil, 50)
    school.reveal(code, teacher)
    assert school.look(code, teacher).round.results == ()


def test_a_teacher_who_has_lost_the_place_teaches_again_by_the_code_alone(school: Rooms, clock: Clock):
    code, _ = school.open()
    (pupil,) = joined(school, code, 1)
    assert not school.look(code).may_take_over
    with pytest.raises(BadInput, match="The teacher of room"):
        school.take_over(code)
    clock.now += AWAY
    assert school.look(code).may_take_over
    token = school.take_over(code)
    seen = school.look(code, token)
    assert (seen.teaching, str(seen.me)) == (True, "teacher")
    assert [str(one) for one in seen.people] == ["blue otter"]
    school.ask(code, token, question(), 60)
    school.guess(code, pupil, 50)
    assert school.look(code, token).round.revealed


def test_who_has_closed_the_page_sits_down_again_as_before(school: Rooms, clock: Clock):
    code, teacher = school.open()
    pupil, other = joined(school, code, 2)
    school.ask(code, teacher, question(), 60)
    school.guess(code, pupil, 50)
    school.draft(code, pupil, 55)
    clock.now += VACANT - 1
    assert "otter" not in school.free(code, "blue")
    with pytest.raises(BadInput, match="Somebody is the blue otter already"):
        school.join(code, "blue", "otter")
    clock.now += 1
    school.look(code, other)
    assert "otter" in school.free(code, "blue")
    assert "otter" not in school.free(code, "orange")
    again = school.join(code, "blue", "otter")
    assert again != pupil
    assert school.look(code, pupil).me is None
    seen = school.look(code, again)
    assert (seen.round.mine, seen.round.draft, len(seen.people)) == (50, 55, 2)


def test_the_seat_of_who_teaches_is_nobody_else_s(school: Rooms, clock: Clock):
    code, teacher = school.open()
    (pupil,) = joined(school, code, 1)
    clock.now += AWAY
    school.look(code, pupil)
    school.take_over(code, pupil)
    clock.now += VACANT
    assert "otter" not in school.free(code, "blue")
    assert school.look(code, teacher).may_take_over


def test_a_teacher_who_leaves_can_be_replaced_at_once(school: Rooms):
    code, teacher = school.open()
    pupil, _ = joined(school, code, 2)
    school.leave(code, teacher)
    school.take_over(code, pupil)
    assert school.look(code, pupil).teaching


# --- bounds ---------------------------------------------------------------------------------------


def test_a_room_is_gone_after_two_hours(school: Rooms, clock: Clock):
    code, teacher = school.open()
    clock.now += LIFE - 1
    assert school.look(code, teacher).seconds_left == 1
    clock.now += 1
    assert not school.exists(code)
    with pytest.raises(BadInput, match=f"There is no room '{code}'"):
        school.look(code, teacher)


def test_it_is_remembered_how_a_room_has_ended(school: Rooms, clock: Clock):
    (closed, teacher), (over, _) = school.open(), school.open()
    school.close(closed, teacher)
    assert (school.ended(closed), school.ended(over), school.ended("QQQQ")) == ("closed", "", "")
    with pytest.raises(BadInput, match=f"Room {closed} has been closed"):
        school.look(closed, teacher)
    clock.now += LIFE
    assert school.ended(over) == "over"
    for _ in range(rooms.ENDED):
        school.close(*school.open())
    assert (school.ended(closed), len(school._ended)) == ("", rooms.ENDED)


def test_there_are_only_so_many_rooms_and_places(school: Rooms, clock: Clock):
    codes = [school.open()[0] for _ in range(MAX_ROOMS)]
    assert len(set(codes)) == MAX_ROOMS
    with pytest.raises(BadInput, match="rooms are open"):
        school.open()
    pupils = joined(school, codes[0], MAX_PEOPLE - 1)  # the teacher has a place, too
    with pytest.raises(BadInput, match="is full"):
        school.join(codes[0], "brown", "seal")
    clock.now += AWAY
    for token in pupils[1:]:
        school.look(codes[0], token)
    school.join(codes[0], "brown", "seal")  # in place of the one who is away
    assert school.look(codes[0], pupils[0]).me is None


def test_nobody_is_what_somebody_else_is(school: Rooms):
    code, _ = school.open()
    school.join(code, "blue", "fox")
    with pytest.raises(BadInput, match="Somebody is the blue fox already"):
        school.join(code, "blue", "fox")
    assert "fox" not in school.free(code, "blue")
    assert "fox" in school.free(code, "red")


def test_a_token_opens_no_other_room(school: Rooms):
    a, teacher = school.open()
    b, _ = school.open()
    (pupil,) = joined(school, a, 1)
    assert school.look(b, teacher).me is None
    assert school.look(b, pupil).me is None
    with pytest.raises(BadInput):
        school.ask(b, teacher, question(), 60)
    with pytest.raises(BadInput):
        school.guess(b, pupil, 50)


def test_thirty_threads_guess_at_once_and_no_guess_is_lost(school: Rooms):
    code, teacher = school.open()
    pupils = joined(school, code, 30)
    school.ask(code, teacher, question(), 60)
    start = threading.Barrier(30)

    def go(place: int) -> None:
        start.wait()
        school.guess(code, pupils[place], place)

    threads = [threading.Thread(target=go, args=(i,)) for i in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r.guess for r in school.look(code, teacher).round.results) == list(range(30))


# --- whatever happens -------------------------------------------------------------------------------


class AnyLesson(RuleBasedStateMachine):
    """Joins, guesses, reveals, leaves, take-overs and clock jumps in any order, in two rooms."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.latest = self.clock.now  # it also goes backwards
        self.school = Rooms(self.clock)
        self.rooms = [self.school.open() for _ in range(2)]
        self.owners = dict(self.rooms)
        self.tokens = {code: [token] for code, token in self.rooms}
        self.began: dict[str, float] = {}
        self.revealed: dict[str, int] = {}

    def attempt(self, act, *given) -> bool:
        """Whether something is allowed; what is not is said, and nothing else may happen."""
        try:
            act(*given)
        except BadInput:
            return False
        return True

    def one(self, data, place: int) -> tuple[str, str]:
        code = self.rooms[place][0]
        return code, data.draw(st.sampled_from(self.tokens[code]))

    place = st.integers(0, 1)

    @rule(place=place, colour=st.sampled_from(list(COLOURS)[:2]), animal=st.sampled_from(ANIMALS[:2]))
    def join(self, place: int, colour: str, animal: str) -> None:
        code = self.rooms[place][0]
        self.attempt(lambda: self.tokens[code].append(self.school.join(code, colour, animal)))

    @rule(place=place, data=st.data())
    def leave(self, place: int, data) -> None:
        self.attempt(self.school.leave, *self.one(data, place))

    @rule(place=place, data=st.data())
    def take_over(self, place: int, data) -> None:
        self.attempt(self.school.take_over, *self.one(data, place))

    @rule(place=place, data=st.data(), kind=st.sampled_from(("accuracy", "heads", "race")),
          seconds=st.integers(*SECONDS))
    def ask(self, place: int, data, kind: str, seconds: int) -> None:
        code, token = self.one(data, place)
        if self.attempt(self.school.ask, code, token, question(kind), seconds):
            self.began[code] = self.clock.now + seconds

    @rule(place=place, data=st.data(), value=st.one_of(st.integers(-5, 105), st.sampled_from(list(HEADS))))
    def guess(self, place: int, data, value) -> None:
        self.attempt(self.school.guess, *self.one(data, place), value)

    @rule(place=place, data=st.data(), value=st.integers(-5, 105))
    def draft(self, place: int, data, value) -> None:
        self.attempt(self.school.draft, *self.one(data, place), value)

    @rule(place=place, data=st.data())
    def reveal(self, place: int, data) -> None:
        self.attempt(self.school.reveal, *self.one(data, place))

    @rule(place=place, data=st.data())
    def look(self, place: int, data) -> None:
        self.attempt(self.school.look, *self.one(data, place))

    @rule(by=st.sampled_from((1, 10, AWAY, 100, 700, -50, LIFE / 3)))
    def wait(self, by: float) -> None:
        self.latest = max(self.latest, self.clock.now)
        self.clock.now += by

    @rule(place=place, data=st.data())
    def wrong_room(self, place: int, data) -> None:
        _, token = self.one(data, place)
        other = self.rooms[1 - place][0]
        if self.school.exists(other):
            assert self.school.look(other, token).me is None
            assert not self.attempt(self.school.reveal, other, token)

    @invariant()
    def nobody_knows_the_truth_too_early(self) -> None:
        for code in self.tokens:
            if not self.school.exists(code):
                continue
            seen = self.school.look(code)  # an onlooker, who does not count as here
            assert seen.me is None
            if seen.round is not None and not seen.round.revealed:
                assert (seen.round.bars, seen.round.results, seen.round.right) == ((), (), frozenset())

    @invariant()
    def what_is_revealed_stays_so_and_no_round_outlives_its_time(self) -> None:
        for code in self.tokens:
            if not self.school.exists(code) or (seen := self.school.look(code).round) is None:
                continue
            assert seen.n_done <= seen.n_guessed <= seen.n_awaited <= MAX_PEOPLE
            assert seen.number >= self.revealed.get(code, 0)
            assert seen.revealed or seen.number > self.revealed.get(code, 0)
            if self.clock.now >= self.began[code]:
                assert seen.revealed
            if seen.revealed:
                self.revealed[code] = seen.number
                assert len(seen.results) <= seen.n_guessed
                assert [r.off_by for r in seen.results] == sorted(r.off_by for r in seen.results)

    @invariant()
    def everybody_in_a_room_is_one_of_a_kind(self) -> None:
        for code in self.tokens:
            if self.school.exists(code):
                people = [str(p) for p in self.school.look(code).people]
                assert len(people) == len(set(people)) <= MAX_PEOPLE

    @precondition(lambda self: any(self.school.exists(code) for code in self.tokens))
    @rule(data=st.data())
    def somebody_can_always_go_on(self, data) -> None:
        """Whoever is in a room gets to ask, at the latest when the teacher counts as away and the round is over."""
        code, token = self.one(data, data.draw(self.place))
        if not self.school.exists(code) or self.school.look(code, token).me is None:
            return
        self.latest = self.clock.now = max(self.latest, self.clock.now) + max(AWAY, SECONDS[1])
        if not self.school.exists(code):
            return
        view = self.school.look(code, token)
        if not view.teaching:
            assert view.may_take_over
            self.school.take_over(code, token)
        self.school.ask(code, token, question(), SECONDS[1])
        self.began[code] = self.clock.now + SECONDS[1]


TestAnyLesson = AnyLesson.TestCase
TestAnyLesson.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)


def test_codes_are_not_words():
    assert not set("AEIOUY01") & set(rooms.LETTERS)
