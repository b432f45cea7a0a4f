"""One run of the poisoning drill: who corrects which photo, and what became of the dataset.

Everybody detects on photos of their own and corrects what the model said, one after the other, over
HTTP. In between the dataset is looked at from behind: it is known what is on each photo.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import poisoning_stage as stage
from local.demo.client import Api
from local.demo.people import HEIGHT, WIDTH, Answer, Boxes, Seen, errors
from local.home import free_port

DETECTING_AT_ONCE = 3
LOOKED_AT_EVERY = 50
CURRENT = """
SELECT s.sha256, l.yolo, l.user_address FROM samples s JOIN labels l USING (label_id)
WHERE s.model = %s
"""
BY_IMAGE = """
SELECT image_sha256, prediction_id::text FROM requests WHERE prediction_id = ANY(%s::uuid[])
"""


@dataclass(frozen=True)
class Person:
    """Somebody who corrects photos."""

    name: str
    answer: Answer
    kind: str = "honest"

    @property
    def is_hostile(self) -> bool:
        """Whether they mean harm."""
        return self.kind != "honest"


@dataclass(frozen=True)
class Photo:
    """A photo with what is on it, what the model said, and the prediction that holds it."""

    seen: Seen
    prediction_id: str
    data: bytes


@dataclass
class Sent:
    """What became of one submission; ``task``: the kind of the one that it answers."""

    person: Person
    status: int
    state: str = ""
    score: float = 0.0
    was_wrong: bool = False
    task: str = ""


@dataclass
class Course:
    """What happened in one run."""

    sent: list[Sent] = field(default_factory=list)
    poison: list[float] = field(default_factory=list)
    truth: dict[str, Boxes] = field(default_factory=dict)
    banned: dict[str, int] = field(default_factory=dict)
    images: int = 0
    poisoned: int = 0
    honest_errors: int = 0

    def of(self, person: Person) -> list[Sent]:
        """Return what one person sent."""
        return [each for each in self.sent if each.person == person]


class Stage:
    """The running service, and what the drill looks at from behind."""

    def __init__(self, folder: Path, both_classes: bool) -> None:
        from local.stack import Stack  # noqa: PLC0415 - it sets the environment

        self.port = free_port()
        self._stack = Stack(folder, self.port)
        from chalicelib.wiring import services  # noqa: PLC0415

        self.services = services()
        self.key = self.services.secrets.read().subjects_key
        self.both_classes = both_classes
        self._weights = stage.two_classes(both_classes)
        self._metrics = stage.metrics(self._weights, folder, both_classes)
        print(f"the model: {self._metrics.decode()}")

    def stop(self) -> None:
        """Stop everything."""
        self._stack.stop()

    def publish(self, model: str) -> None:
        """Let a model of two classes serve under a name."""
        self.services.publisher.publish(model, self._weights, self._metrics)

    def api(self, person: Person) -> Api:
        """Return the service as one person reaches it."""
        return Api.of_user(self.port, self.key, person.name)

    def rows(self, query: str, *given: object) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with self.services.database.transaction() as rows:
            rows.execute(query, given)
            return list(rows.fetchall())

    def labels(self, model: str) -> dict[str, tuple[str, Boxes]]:
        """Return by sha256 who said last what is on each image of a dataset, and what."""
        return {
            sha256: (user or "", _from_yolo(yolo))
            for sha256, yolo, user in self.rows(CURRENT, model)
        }

    def banned(self) -> set[str]:
        """Return who is banned."""
        return {user for (user,) in self.rows("SELECT user_address FROM bans")}


def _from_yolo(text: str) -> Boxes:
    rows = np.array([line.split() for line in text.splitlines() if line], np.float64).reshape(-1, 5)
    centre, half = rows[:, 1:3], rows[:, 3:] / 2
    corners = np.hstack([centre - half, centre + half]) * ([WIDTH, HEIGHT] * 2)
    return Boxes(corners, rows[:, 0].astype(np.int64))


def photographed(on: Stage, model: str, people: Sequence[Person]) -> list[Photo]:
    """Let each person detect on a photo of their own; return them in the people's order."""
    apis = {person.name: on.api(person) for person in people}

    def one(number: int) -> Photo:
        drawn = stage.draw(stage.PHOTO_SEED + number, on.both_classes)
        prediction_id, predicted = apis[people[number].name].detect(model, drawn.data)
        return Photo(Seen(drawn.there, predicted), prediction_id, drawn.data)

    apart = {person.name: n % DETECTING_AT_ONCE for n, person in enumerate(dict.fromkeys(people))}
    shares = [
        [n for n, person in enumerate(people) if apart[person.name] == share]
        for share in range(DETECTING_AT_ONCE)
    ]
    with ThreadPoolExecutor(DETECTING_AT_ONCE) as pool:
        done = pool.map(lambda share: [(n, one(n)) for n in share], shares)
        found = dict(pair for part in done for pair in part)
    return [found[number] for number in range(len(people))]


Turn = Callable[["Course", Person, np.random.Generator], None]


def corrected(
    on: Stage,
    model: str,
    people: Sequence[Person],
    photos: Sequence[Photo],
    then: Turn | None = None,
) -> Course:
    """Let each person correct their photo, one after the other, and look on.

    ``then`` is what a person does after each of their own photos.
    """
    course, rng, others = Course(), np.random.default_rng(0), np.random.default_rng(1)
    hostile = {f"user:{person.name}" for person in people if person.is_hostile}
    course.truth |= {sha256: said for sha256, (_, said) in on.labels(model).items()}
    theirs: dict[str, Boxes] = {}
    for number, (person, photo) in enumerate(zip(people, photos, strict=True), 1):
        course.sent.append(answered(on, model, person, photo, rng))
        theirs[photo.prediction_id] = photo.seen.there
        is_time = number % LOOKED_AT_EVERY == 0 or number == len(people)
        if then or is_time:
            course.truth |= by_image(on, theirs)
            theirs.clear()
        if then:
            then(course, person, others)
        if is_time:
            _look(on, model, course, hostile)
    return course


def answered(
    on: Stage, model: str, person: Person, photo: Photo, rng: np.random.Generator, task: str = ""
) -> Sent:
    """Let a person answer one photo."""
    said = person.answer(photo.seen, rng)
    status, told = on.api(person).submit(model, photo.prediction_id, photo.seen, said)
    sent = Sent(person, status, was_wrong=errors(said, photo.seen.there) > 0, task=task)
    if status in (200, 201):
        sent.state, sent.score = told["state"], told["score"]
    elif status != 403:
        raise RuntimeError(f"{status}: {told}")
    return sent


def by_image(on: Stage, truth: dict[str, Boxes]) -> dict[str, Boxes]:
    """Return what is on each image, by the sha256 that the service knows it by."""
    found = on.rows(BY_IMAGE, list(truth))
    return {sha256: truth[prediction_id] for sha256, prediction_id in found}


def _look(on: Stage, model: str, course: Course, hostile: set[str]) -> None:
    """Look at what people brought: how many bear a hostile user's wrong label, who is banned."""
    labels = {sha: label for sha, label in on.labels(model).items() if label[0]}
    wrong = [user for sha, (user, said) in labels.items() if errors(said, course.truth[sha]) > 0]
    course.images = len(labels)
    course.poisoned = sum(user in hostile for user in wrong)
    course.honest_errors = len(wrong) - course.poisoned
    course.poison.append(course.poisoned / max(len(labels), 1))
    sent = Counter(each.person.name for each in course.sent if each.status != 403)
    for user in on.banned():
        name = user.removeprefix("user:")
        if name in sent:
            course.banned.setdefault(name, sent[name])


def auc(course: Course) -> float:
    """Return how well the score tells hostile submissions from honest ones: area under the ROC."""
    scored = [each for each in course.sent if each.status != 403]
    hostile = np.array([each.score for each in scored if each.person.is_hostile])
    others = np.array([each.score for each in scored if not each.person.is_hostile])
    if not len(hostile) or not len(others):
        return float("nan")
    above = (hostile[:, None] > others[None]).mean()
    return float(above + (hostile[:, None] == others[None]).mean() / 2)


def in_turn(everybody: Sequence[Person], sends: Sequence[int], seed: int) -> list[Person]:
    """Return who sends when: everybody as often as they send, in an order drawn by lot."""
    people = [person for person, times in zip(everybody, sends, strict=True) for _ in range(times)]
    order = np.random.default_rng(seed).permutation(len(people))
    return [people[place] for place in order]
