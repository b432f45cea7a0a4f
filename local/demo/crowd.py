"""Who takes part in the demo, what they send, and what becomes of it.

Everybody uses the API as anybody would: a detection that is kept, then a submission about it, then
the tasks that the service offers. The operator imports photos that are labelled already, and looks
at what waits, as on `/trust`; both know what is on the photos. Who is banned and what is accepted
is for the service to decide.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from local.demo.client import JSON, Api, boxes_of
from local.demo.course import Answering, Person, Sent, Turn, Vandal, in_turn
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
from local.demo.photos import SENT_SEED, photo

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


def crowd(number: int, run: int = 1) -> list[Person]:
    """Return who takes part in a round: the same honest people each time, new vandals.

    Each run in a data folder has people of its own, for trust is kept by name.
    """
    names, suffix = range(1, HONEST + 1), f".{run}" if run > 1 else ""
    honest = [Person(f"honest-{n}{suffix}", Answering(careful), HONEST_SEND) for n in names]
    return honest + [
        Person(f"vandal-{number}-{kind}{suffix}", Vandal(answer), VANDALS_SEND, True, habit=habit)
        for kind, (habit, answer) in enumerate(VANDALS.items(), 1)
    ]


def turns(people: Sequence[Person], number: int) -> list[Turn]:
    """Return who sends which photo in a round, in the order of sending."""
    order = in_turn(people, number)
    first = SENT_SEED + 1000 * number
    return [(person, photo(first + place)) for place, person in enumerate(order)]


def is_poison(sent: Sent) -> bool:
    """Tell whether a vandal sent something wrong about a photo, or was kept from sending."""
    return sent.person.is_hostile and (sent.was_wrong or sent.state == "refused")


def is_wrong_in(labels: Mapping[str, Boxes], sent: Sent, truth: Mapping[str, Boxes]) -> bool:
    """Tell whether a dataset says something wrong of a submission's photo; both by sha256."""
    said = labels.get(sent.image)
    return said is not None and errors(said, truth[sent.image]) > 0


def review(operator: Api, truth_of: Callable[[str], Boxes]) -> tuple[int, int]:
    """Let the operator decide about all that waits; return how many were accepted and rejected.

    What is right is accepted. It is kept by the operator's word even if its sender is banned.
    """
    counted, after = [0, 0], ""
    while after is not None:
        page = operator.get(f"/v1/review?order=oldest&after={after or 0}&limit={REVIEWED_AT_ONCE}")
        decisions = []
        for item in page["waiting"]:
            right = errors(boxes_of(item["submitted"]), truth_of(item["prediction_id"])) == 0
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
