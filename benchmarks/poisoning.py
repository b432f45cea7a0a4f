"""The poisoning drill: honest people and vandals correct photos through the API, and what becomes.

    python benchmarks/poisoning.py                  # both parts; some ten minutes
    python benchmarks/poisoning.py --part crowd     # 20 honest and 5 vandals, 2,000 submissions
    python benchmarks/poisoning.py --part attacks   # each kind of attack at 1, 5 and 20 %
    python benchmarks/poisoning.py --submissions 200 --people 0.2   # a quick look

It starts the one-machine stack in a folder of its own: the API is asked over HTTP, the triggers
count in a real PostgreSQL, bans reach the API as they do elsewhere. Nobody reviews: what waits for
a person stays out of the dataset. Photos, people and their order are drawn from fixed seeds.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from benchmarks import poisoning_stage as stage  # noqa: E402
from local.demo.client import Api  # noqa: E402
from local.demo.people import (  # noqa: E402
    ATTACKS,
    CLASSES,
    HEIGHT,
    VANDALS,
    WIDTH,
    Answer,
    Boxes,
    Seen,
    errors,
    honest,
)
from local.home import free_port  # noqa: E402

HONEST = 20
SHARES = (0.01, 0.05, 0.2)
PEOPLE = 100
HONEST_SENDS, HOSTILE_SENDS = 2, 15
DETECTING_AT_ONCE = 3
LOOKED_AT_EVERY = 50
CURRENT = """
SELECT s.sha256, l.yolo, l.user_address FROM samples s JOIN labels l USING (label_id)
WHERE s.model = %s
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
    """What became of one submission."""

    person: Person
    status: int
    state: str = ""
    score: float = 0.0
    was_wrong: bool = False


@dataclass
class Course:
    """What happened in one run."""

    sent: list[Sent] = field(default_factory=list)
    poison: list[float] = field(default_factory=list)
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


def corrected(on: Stage, model: str, people: Sequence[Person], photos: Sequence[Photo]) -> Course:
    """Let each person correct their photo, one after the other, and look on."""
    course, rng = Course(), np.random.default_rng(0)
    apis = {person.name: on.api(person) for person in people}
    hostile = {f"user:{person.name}" for person in people if person.is_hostile}
    truth: dict[str, Boxes] = {}
    for number, (person, photo) in enumerate(zip(people, photos, strict=True), 1):
        said = person.answer(photo.seen, rng)
        status, told = apis[person.name].submit(model, photo.prediction_id, photo.seen, said)
        sent = Sent(person, status, was_wrong=errors(said, photo.seen.there) > 0)
        if status in (200, 201):
            sent.state, sent.score = told["state"], told["score"]
        elif status != 403:
            raise RuntimeError(f"{status}: {told}")
        course.sent.append(sent)
        truth[photo.prediction_id] = photo.seen.there
        if number % LOOKED_AT_EVERY == 0 or number == len(people):
            _look(on, model, course, hostile, _by_image(on, truth))
    return course


def _by_image(on: Stage, truth: dict[str, Boxes]) -> dict[str, Boxes]:
    """Return what is on each image, by the sha256 that the service knows it by."""
    found = on.rows(
        "SELECT image_sha256, prediction_id::text FROM requests "
        "WHERE prediction_id = ANY(%s::uuid[])",
        list(truth),
    )
    return {sha256: truth[prediction_id] for sha256, prediction_id in found}


def _look(
    on: Stage, model: str, course: Course, hostile: set[str], truth: dict[str, Boxes]
) -> None:
    """Look at the dataset: how many images bear a hostile user's wrong label, and who is banned."""
    labels = on.labels(model)
    wrong = [user for sha, (user, said) in labels.items() if errors(said, truth[sha]) > 0]
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


def crowd(on: Stage, submissions: int) -> None:
    """Run twenty honest people and five vandals, and report."""
    vandals = [
        Person(f"vandal-{kind.replace(' ', '-')}", how, kind) for kind, how in VANDALS.items()
    ]
    everybody = [Person(f"honest-{n}", honest) for n in range(HONEST)] + vandals
    people = _in_turn(everybody, [submissions // len(everybody)] * len(everybody), 1)
    on.publish("crowd")
    begun = time.perf_counter()
    course = corrected(on, "crowd", people, photographed(on, "crowd", people))
    took = time.perf_counter() - begun
    print(f"\n## {HONEST} honest people, {len(vandals)} vandals, {len(people)} submissions")
    print("\n| vandal | sent | refused | accepted | waiting | banned after |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for person in vandals:
        print(_row_of(course, person))
    _summary(course, everybody)
    print(f"- {took:.0f} s, detections included")


def _row_of(course: Course, person: Person) -> str:
    sent = course.of(person)
    states = Counter(each.state for each in sent)
    refused = sum(each.status == 403 for each in sent)
    after = course.banned.get(person.name, "–")
    row = (person.kind, len(sent), refused, states["accepted"], states["quarantined"], after)
    return f"| {' | '.join(map(str, row))} |"


def _summary(course: Course, everybody: Sequence[Person]) -> None:
    honest_ones = [person for person in everybody if not person.is_hostile]
    sent = [each for each in course.sent if not each.person.is_hostile]
    waits = sum(each.state == "quarantined" for each in sent) / max(len(sent), 1)
    lost = [person.name for person in honest_ones if person.name in course.banned]
    print(f"\n- honest people banned: {len(lost)} of {len(honest_ones)} {lost or ''}")
    print(f"- honest submissions that wait for a person: {waits:.1%}")
    print(f"- poison in the dataset: {course.poison[-1]:.2%} at the end ({course.poisoned} of")
    print(f"  {course.images} images), {max(course.poison):.2%} at worst")
    print(f"- honest labels with an error of their own: {course.honest_errors}")
    print(f"- ROC AUC of the score: {auc(course):.3f}")


def attacks(on: Stage, size: float) -> None:
    """Run each kind of attack at each share of hostile users, and report."""
    people = round(PEOPLE * size)
    print(
        f"\n## {people} people; an honest one sends {HONEST_SENDS}, a hostile one {HOSTILE_SENDS}"
    )
    print(
        "\n| attack | hostile | of submissions | banned | after | honest banned | accepted | "
        "poison at worst | at the end | AUC |\n|" + " --- |" + " ---: |" * 9
    )
    for kind, how in ATTACKS.items():
        for share in SHARES:
            print(_attack(on, kind, how, share, people), flush=True)


def _attack(on: Stage, kind: str, how: Answer, share: float, size: int) -> str:
    model = f"{kind.replace(' ', '-')}-{round(100 * share)}"
    number = max(round(share * size), 1)
    hostile = [Person(f"{model}-hostile-{n}", how, kind) for n in range(number)]
    honest_ones = [Person(f"{model}-honest-{n}", honest) for n in range(size - number)]
    sends = [HOSTILE_SENDS] * number + [HONEST_SENDS] * (size - number)
    people = _in_turn([*hostile, *honest_ones], sends, 2)
    on.publish(model)
    course = corrected(on, model, people, photographed(on, model, people))
    theirs = [each for each in course.sent if each.person.is_hostile]
    accepted = sum(each.state == "accepted" and each.was_wrong for each in theirs)
    after = [course.banned[person.name] for person in hostile if person.name in course.banned]
    cells = (
        kind,
        f"{share:.0%}",
        f"{len(theirs) / len(course.sent):.0%}",
        f"{len(after)} of {number}",
        f"{np.median(after):.0f}" if after else "–",
        sum(person.name in course.banned for person in honest_ones),
        f"{accepted / len(theirs):.0%}",
        f"{max(course.poison):.2%}",
        f"{course.poison[-1]:.2%}",
        f"{auc(course):.3f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _in_turn(everybody: Sequence[Person], sends: Sequence[int], seed: int) -> list[Person]:
    """Return who sends when: everybody as often as they send, in an order drawn by lot."""
    people = [person for person, times in zip(everybody, sends, strict=True) for _ in range(times)]
    order = np.random.default_rng(seed).permutation(len(people))
    return [people[place] for place in order]


@contextmanager
def running(home: Path | None, both_classes: bool) -> Iterator[Stage]:
    """Run the service in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        on = Stage(home or Path(folder) / "home", both_classes)
        try:
            yield on
        finally:
            on.stop()


def main() -> None:
    """Run the drill and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", choices=("crowd", "attacks", "all"), default="all")
    parser.add_argument("--submissions", type=int, default=2000, help="of the crowd")
    parser.add_argument(
        "--people", type=float, default=1.0, help="share of the hundred, of attacks"
    )
    parser.add_argument("--home", type=Path, help="the data folder, to be kept")
    parser.add_argument("--both-classes", action="store_true", help="have boxes of both classes")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; classes {CLASSES}")
    with running(given.home, given.both_classes) as on:
        if given.part != "attacks":
            crowd(on, given.submissions)
        if given.part != "crowd":
            attacks(on, given.people)


if __name__ == "__main__":
    main()
