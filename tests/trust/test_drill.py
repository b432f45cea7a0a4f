"""The poisoning drill's attackers, and what it counts: `benchmarks/poisoning.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from benchmarks.poisoning_people import Colluder, Drip, Gang, Sleeper, plausible_lie
from benchmarks.poisoning_report import HEADER, Figures, Known, Occasion, auc, figures, table
from local.demo.course import Course, Mind, Person, Poison, Sent
from local.demo.people import Boxes, Seen, errors
from local.demo.records import Label

RIGHT = Boxes(np.array([[10.0, 10, 60, 60], [100, 100, 200, 180]]), np.array([0, 0]))
WRONG = Boxes(np.array([[10.0, 10, 60, 60]]), np.array([0]))
SEEN = Seen(RIGHT, RIGHT)
HONEST = Person("ann", Mind(), 1)
HOSTILE = Person("127.9.0.1", Mind(), 1, is_hostile=True, has_token=False)


class StillService:
    """A service whose dataset and whose opinion of people a test chooses."""

    def __init__(self, labels: Mapping[str, Label]) -> None:
        self._labels = dict(labels)
        self.records = self.operator = self

    def labels(self, model: str) -> dict[str, Label]:
        return self._labels

    def ask(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        distrust = "" if f"/{HONEST.user}?" in path else "poor"
        return 200, {"trust": {"distrust": distrust, "is_proven": False}}

    def banned(self) -> set[str]:
        return {HOSTILE.user}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_plausible_lie_is_one_box_wrong(rng):
    for _ in range(50):
        said = plausible_lie(SEEN, rng)
        assert 1 <= errors(said, RIGHT) <= 2  # a box of another class is one too many and too few
        assert abs(len(said) - len(RIGHT)) <= 1


def test_colluders_bear_each_other_out_and_answer_what_may_be_a_control_rightly(rng):
    gang = Gang()
    one, other = Colluder(gang), Colluder(gang)
    lie = one.own(SEEN, rng)
    one.sent("theirs", lie, "quarantined")
    assert other.task(SEEN, "theirs", rng) is lie
    answers = [other.task(SEEN, "anybody's", rng) for _ in range(30)]
    assert sum(errors(each, RIGHT) > 0 for each in answers) < 8  # what honest people overlook
    for _ in range(3):
        other.sent("own", lie, "accepted")
    answers = [other.task(SEEN, "anybody's", rng) for _ in range(30)]
    assert sum(errors(each, RIGHT) > 0 for each in answers) > 8


def test_a_sleeper_lies_once_what_it_sends_is_accepted(rng):
    sleeper = Sleeper(Gang())
    assert sum(errors(sleeper.own(SEEN, rng), RIGHT) > 0 for _ in range(30)) < 8
    for _ in range(3):
        sleeper.sent("own", RIGHT, "accepted")
    assert all(errors(sleeper.own(SEEN, rng), RIGHT) > 0 for _ in range(30))


def test_a_slow_drip_lies_about_some_of_its_photos_and_confirms_what_is_wrongly_predicted(rng):
    assert 10 < sum(errors(Drip().own(SEEN, rng), RIGHT) > 0 for _ in range(100)) < 50
    seen = Seen(WRONG, RIGHT)
    assert any(Drip().own(seen, rng) is RIGHT for _ in range(30))


def test_what_counts_is_what_the_label_in_force_says_and_poison_is_an_attackers_wrong_label():
    labels = {
        "agreed": Label("user:somebody", RIGHT),
        "waits": Label("", WRONG),
        "poisoned": Label(HOSTILE.user, WRONG),
    }
    course = played(
        labels,
        sent(HONEST, "agreed", RIGHT, counted_after=299),
        sent(HONEST, "waits", RIGHT, state="quarantined"),
        sent(HONEST, "agreed", RIGHT, kind="control"),
        sent(HONEST, "agreed", RIGHT, counted_after=301),
        sent(HOSTILE, "poisoned", WRONG, wrong=True),
    )
    found = reported(course)
    assert found.honest_photos == 3
    assert found.honest_within_a_minute == pytest.approx(1 / 3)
    assert found.honest_at_end == pytest.approx(2 / 3)
    assert found.honest_held_back == pytest.approx(1 / 3)
    assert found.controls_per_accepted == pytest.approx(1 / 2)
    assert (found.honest_banned, found.hostile_banned, found.hostile_distrusted) == (0, 1, 1)
    assert (found.poison_end, found.poison_worst) == (0.5, 0.75)
    assert (found.lies, found.lies_ever_in_force) == (1, 1)


def test_a_row_has_a_cell_for_each_title():
    found = reported(played({}, sent(HONEST, "agreed", RIGHT)))
    assert all(line.count("|") == len(HEADER) + 1 for line in table([found]).splitlines())


def test_the_score_tells_nothing_where_it_is_the_same_for_all():
    assert auc([sent(HONEST, "a", RIGHT), sent(HOSTILE, "b", WRONG)]) == 0.5
    assert auc([sent(HONEST, "a", RIGHT)]) is None


def sent(
    who: Person,
    image: str,
    said: Boxes,
    *,
    state: str = "accepted",
    kind: str = "own",
    wrong: bool = False,
    counted_after: int | None = None,
) -> Sent:
    return Sent(who, kind, said, image, state, wrong, 0, 0.0, counted_after=counted_after)


def played(labels: Mapping[str, Label], *answers: Sent) -> Course:
    course = Course(StillService(labels), "scratch")  # type: ignore[arg-type]
    course.labels = dict(labels)
    course.sent = list(answers)
    course.poison = [Poison(4, 3), Poison(2, 1)]
    course.poisoned_ever = {"poisoned"} & set(labels)
    return course


def reported(course: Course) -> Figures:
    people = [HONEST, HOSTILE]
    known = Known.by(course, people)
    return figures(course, people, known, Occasion("crowd", "public", 0.9, 1.0, {}))
