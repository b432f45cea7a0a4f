"""The poisoning drill with tasks: after each photo of their own, everybody asks for one of ours.

Of each dataset a part is settled, as an import leaves it: controls are drawn from it. People answer
what they are handed as they answer their own, for nothing tells one from the other. The same people
with the same photos are run without tasks beside it.
"""

from __future__ import annotations

import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import requests

from benchmarks import poisoning_stage as stage
from benchmarks.poisoning_course import (
    Course,
    Person,
    Photo,
    Stage,
    answered,
    by_image,
    corrected,
    in_turn,
    photographed,
)
from chalicelib.trust.task_book import TaskBook
from local.demo.people import ATTACKS, Answer, Seen, honest

SETTLED = 60
SETTLED_SEED = 900_000
HONEST_SENDS, HOSTILE_SENDS = 2, 15
PATIENCE_SECONDS = 300
OF_TASK = "SELECT image_sha256, kind FROM tasks WHERE prediction_id = %s"
TITLE = (
    "| attack | hostile | tasks | accepted and wrong | poison at worst | at the end | "
    "labels of tasks that poison | answers to controls | distrusted | after | banned | "
    "honest: distrusted | banned | wait |\n|" + " --- |" + " ---: |" * 13
)


@dataclass
class Taking:
    """Somebody's turn at a task, and what came of all of them.

    Attributes
    ----------
    on : Stage
    model : str
    controls : Counter
        Answers to controls, by a person's name.
    distrusted : dict[str, int]
        After how many answers, of all kinds, a person's standing was first poor.
    none_left : int
        How often there was no task.
    """

    on: Stage
    model: str
    controls: Counter[str] = field(default_factory=Counter)
    distrusted: dict[str, int] = field(default_factory=dict)
    none_left: int = 0

    def __call__(self, course: Course, person: Person, rng: np.random.Generator) -> None:
        """Let a person ask for a task and answer it."""
        handed = self.on.api(person).task(self.model)
        if handed is None:
            self.none_left += 1
            return
        prediction_id, predicted = handed
        [(sha256, kind)] = self.on.rows(OF_TASK, prediction_id)
        photo = Photo(Seen(course.truth[sha256], predicted), prediction_id, b"")
        course.sent.append(answered(self.on, self.model, person, photo, rng, kind))
        course.truth |= by_image(self.on, {prediction_id: photo.seen.there})
        self.controls[person.name] += kind == "control"
        if kind == "control" and person.name not in self.distrusted:
            self._note(course, person)

    def _note(self, course: Course, person: Person) -> None:
        user = f"user:{person.name}"
        if TaskBook(self.on.services.database).standing(user).distrust:
            sent = [each for each in course.of(person) if each.status != 403]
            self.distrusted[person.name] = len(sent)


def tasks(on: Stage, size: int, shares: Sequence[float]) -> None:
    """Run each kind of attack without and with tasks, and report."""
    print(f"\n## {size} people and {SETTLED} settled images: without tasks, and with them")
    print(f"\nAn honest one brings {HONEST_SENDS} photos, a hostile one {HOSTILE_SENDS}.\n")
    print(TITLE)
    for kind, how in ATTACKS.items():
        for share in shares:
            for with_tasks in (False, True):
                print(_run(on, kind, how, share, size, with_tasks), flush=True)


def _run(on: Stage, kind: str, how: Answer, share: float, size: int, with_tasks: bool) -> str:
    model = f"{kind.replace(' ', '-')}-{round(100 * share)}-{'tasks' if with_tasks else 'alone'}"
    number = max(round(share * size), 1)
    hostile = [Person(f"{model}-hostile-{n}", how, kind) for n in range(number)]
    others = [Person(f"{model}-honest-{n}", honest) for n in range(size - number)]
    sends = [HOSTILE_SENDS] * number + [HONEST_SENDS] * (size - number)
    people = in_turn([*hostile, *others], sends, 2)
    on.publish(model)
    settle(on, model)
    photos = photographed(on, model, people)
    taking = Taking(on, model)
    course = corrected(on, model, people, photos, taking if with_tasks else None)
    cells = (
        kind,
        f"{share:.0%}",
        "with" if with_tasks else "without",
        *_of_hostile(course, taking, hostile),
        *_of_honest(course, taking, others),
    )
    return f"| {' | '.join(map(str, cells))} |"


def _of_hostile(course: Course, taking: Taking, hostile: Sequence[Person]) -> Sequence[object]:
    theirs = [each for each in course.sent if each.person.is_hostile and each.task != "control"]
    wrong = [each for each in theirs if each.state == "accepted" and each.was_wrong]
    names = [person.name for person in hostile]
    after = [taking.distrusted[name] for name in names if name in taking.distrusted]
    return (
        f"{len(wrong)} of {len(theirs)}",
        f"{max(course.poison):.1%}",
        f"{course.poison[-1]:.1%}",
        sum(each.task == "second_opinion" for each in wrong),
        sum(taking.controls[name] for name in names),
        f"{len(after)} of {len(names)}",
        f"{np.median(after):.0f}" if after else "–",
        sum(name in course.banned for name in names),
    )


def _of_honest(course: Course, taking: Taking, others: Sequence[Person]) -> Sequence[object]:
    sent = [each for each in course.sent if not each.person.is_hostile and each.task != "control"]
    waits = sum(each.state == "quarantined" for each in sent)
    return (
        f"{sum(person.name in taking.distrusted for person in others)} of {len(others)}",
        sum(person.name in course.banned for person in others),
        f"{waits / max(len(sent), 1):.1%}",
    )


def settle(on: Stage, model: str) -> None:
    """Import drawn photos with their right labels, as an operator does."""
    base = f"http://127.0.0.1:{on.port}"
    token = on.services.secrets.read().operators["operator"]
    offered = requests.post(
        f"{base}/v1/models/{model}/imports",
        json={},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )
    offered.raise_for_status()
    told = offered.json()
    form, file = told["upload"], {"file": ("settled.zip", _packed(on.both_classes))}
    requests.post(form["url"], form["fields"], files=file, timeout=60).raise_for_status()
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        held = requests.get(f"{base}{told['links']['self']}", timeout=60).json()
        if held["state"] in ("done", "faulty", "failed"):
            break
        time.sleep(0.2)
    if held["state"] != "done":
        raise RuntimeError(f"the settled images were not imported: {held}")


def _packed(both_classes: bool) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(SETTLED):
            drawn = stage.draw(SETTLED_SEED + number, both_classes)
            archive.writestr(f"images/{number}.jpg", drawn.data)
            archive.writestr(f"labels/{number}.txt", drawn.there.detections().to_yolo())
    return buffer.getvalue()
