"""Who takes part in the demo, what they send, and what becomes of it.

Everybody uses the API as anybody would: a detection that is kept, then a submission about it. The
operator looks at what waits, as on `/trust`, and knows what is on the photos, as people do. Who is
banned and what is accepted is for the service to decide.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from local.demo.client import JSON, Api, boxes_of
from local.demo.people import (
    Answer,
    Boxes,
    Seen,
    added,
    corrector,
    emptied,
    errors,
    random_boxes,
    removed,
    shifted,
)
from local.demo.photos import CLASS_NAMES, Photo, photo

HONEST, HONEST_SEND, VANDALS_SEND = 16, 6, 16
REVIEWED_AT_ONCE = 50
# Who leaves boxes that only roughly fit makes labels of what the live version says, and the gate,
# which measures by such labels, then prefers the live version to a better one.
careful = corrector(good_enough=0.85, unsteady=1.0)


def anything(seen: Seen, rng: np.random.Generator) -> Boxes:
    """Do one harm or another."""
    ways = (random_boxes, shifted, emptied, added, removed)
    return ways[int(rng.integers(len(ways)))](seen, rng)


VANDALS: dict[str, Answer] = {
    "draws boxes anywhere": random_boxes,
    "shifts every box": shifted,
    "deletes every box": emptied,
    "now this, now that": anything,
}


@dataclass(frozen=True)
class Person:
    """Somebody who corrects photos."""

    name: str
    answer: Answer = careful
    habit: str = ""

    @property
    def is_vandal(self) -> bool:
        """Whether they mean harm."""
        return bool(self.habit)


@dataclass(frozen=True)
class Sent:
    """What became of one photo: `accepted`, `quarantined`, or `refused` for its sender is banned.

    Attributes
    ----------
    was_wrong : bool
        A box of the answer is not there, or one that is there is missing.
    """

    person: Person
    photo: Photo
    state: str
    prediction_id: str = ""
    was_wrong: bool = False

    @property
    def is_poison(self) -> bool:
        """Whether a vandal sent something wrong, or was kept from sending."""
        return self.person.is_vandal and (self.was_wrong or self.state == "refused")

    def is_wrong_in(self, labels: Mapping[str, Boxes]) -> bool:
        """Whether a dataset says something wrong of this photo; labels are by prediction."""
        said = labels.get(self.prediction_id)
        return said is not None and errors(said, self.photo.there) > 0


def crowd(number: int) -> list[Person]:
    """Return who sends in a round, in the order of sending: the same honest ones, new vandals."""
    people = [Person(f"honest-{n + 1}") for n in range(HONEST)] * HONEST_SEND
    for kind, (habit, answer) in enumerate(VANDALS.items(), 1):
        people += [Person(f"vandal-{number}-{kind}", answer, habit)] * VANDALS_SEND
    order = np.random.default_rng(number).permutation(len(people))
    return [people[place] for place in order]


def send(
    model: str, people: Sequence[Person], first_seed: int, api_of: Callable[[Person], Api]
) -> Iterator[Sent]:
    """Let each person send a photo of their own with their answer, one after the other."""
    rng = np.random.default_rng(first_seed)
    for number, person in enumerate(people):
        yield _one(model, person, photo(first_seed + number), api_of(person), rng)


def _one(model: str, person: Person, taken: Photo, api: Api, rng: np.random.Generator) -> Sent:
    status, told = api.post(f"/v1/models/{model}/detections?keep=true", taken.data, "image/jpeg")
    if status == 403:
        return Sent(person, taken, "refused")
    _expect(status, told, 200)
    seen = Seen(taken.there, boxes_of(told["detections"]), len(CLASS_NAMES))
    said = person.answer(seen, rng)
    prediction_id = told["prediction_id"]
    status, told = api.submit(model, prediction_id, seen, said)
    if status == 403:
        return Sent(person, taken, "refused")
    _expect(status, told, 200, 201)
    wrong = errors(said, taken.there) > 0
    return Sent(person, taken, told["state"], prediction_id, wrong)


def review(operator: Api, truth: dict[str, Boxes]) -> tuple[int, int]:
    """Let the operator decide about all that waits; return how many were accepted and rejected.

    What is right is accepted. It is kept by the operator's word even if its sender is banned.
    """
    counted, after = [0, 0], 0
    while after is not None:
        page = operator.get(f"/v1/review?after={after}&limit={REVIEWED_AT_ONCE}")
        decisions = []
        for item in page["waiting"]:
            right = errors(boxes_of(item["submitted"]), truth[item["prediction_id"]]) == 0
            counted[not right] += 1
            decision, why = ("accept", "right") if right else ("reject", "wrong boxes")
            told = {"decision": decision, "why": why, "seen": item["updated_at"]}
            decisions.append({"submission_id": item["submission_id"], **told})
        if decisions:
            body = json.dumps({"decisions": decisions}).encode()
            _expect(*operator.post("/v1/review", body, JSON), 200)
        after = page["next"]
    return counted[0], counted[1]


def _expect(status: int, told: object, *expected: int) -> None:
    if status not in expected:
        raise RuntimeError(f"the service answered {status}: {told}")
