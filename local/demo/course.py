"""How people of the demo and the poisoning drill take part, and what becomes of their answers.

Everybody detects on photos of their own and corrects what the model predicted, one after the other,
over HTTP, and answers tasks. After each turn the labels in force are read in the database: it is
known what is on each photo.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from local.demo.client import Api, boxes_of
from local.demo.people import CLASSES, Answer, Boxes, Seen, errors, honest
from local.demo.photos import Photo
from local.demo.records import Label, Records

DETECTING_AT_ONCE = 3
COUNTED_EVERY = 25  # submissions between two counts of the poison in the dataset
MINUTE = 60.0
A_MINUTE = 300  # answers of everybody, counted so that a busy machine measures the same
TASKS_IN_A_ROW = 3
ASKS_AFTER = 0.2  # share of photos after which an honest person asks for a task


class Mind:
    """How somebody answers: an honest person, unless a subclass says otherwise.

    Attributes
    ----------
    asks_after : float
        Share of photos after which they ask for a task where none is offered.
    """

    asks_after = ASKS_AFTER

    def bring(self, api: Api, model: str, photo: Photo) -> tuple[str, Boxes]:
        """Send a photo to be detected and kept; return the prediction's id and boxes."""
        return api.detect(model, photo.data)

    def own(self, seen: Seen, rng: np.random.Generator) -> Boxes:
        """Return what they say of a photo of their own."""
        return honest(seen, rng)

    def task(self, seen: Seen, sha256: str, rng: np.random.Generator) -> Boxes:
        """Return what they say of an image that the service asks about."""
        return honest(seen, rng)

    def sent(self, sha256: str, said: Boxes, state: str) -> None:
        """Take note of what became of a submission about a photo of their own."""


class Answering(Mind):
    """Somebody who answers everything in one way.

    Parameters
    ----------
    answer : Answer
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def own(self, seen: Seen, rng: np.random.Generator) -> Boxes:
        """Answer it."""
        return self._answer(seen, rng)

    def task(self, seen: Seen, sha256: str, rng: np.random.Generator) -> Boxes:
        """Answer it."""
        return self._answer(seen, rng)


class Vandal(Answering):
    """Somebody who spoils everything in one way."""

    asks_after = 1.0


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody who takes part.

    Attributes
    ----------
    name : str
        Subject of the token; of callers without a token, the address.
    mind : Mind
    photos : int
        How many they bring.
    is_hostile, has_token : bool
    habit : str
        What a vandal does, in words.
    """

    name: str
    mind: Mind
    photos: int
    is_hostile: bool = False
    has_token: bool = True
    habit: str = ""

    @property
    def user(self) -> str:
        """The name under which the service records them."""
        return f"user:{self.name}" if self.has_token else self.name


Turn = tuple[Person, Photo]


class Service(Protocol):
    """The running service as the course uses it."""

    @property
    def records(self) -> Records:
        """Its database."""

    @property
    def operator(self) -> Api:
        """The service as its operator reaches it."""

    def api(self, person: Person) -> Api:
        """Return the service as a person reaches it."""


@dataclass
class Sent:
    """A submission and what became of it.

    Attributes
    ----------
    kind : str
        `own` for a photo that they brought, else the kind of the task.
    image : str
        Its sha256; empty where the service refused it.
    state : str
        As the service answered; `refused` for a banned sender.
    was_wrong : bool
        A box of it is not there, or one that is there is missing.
    number : int
        Of the answer in the run, from 0.
    counted_after : int or None
        Answers of everybody until the label in force of the image said the same for the first time.
    sent_at : float
        By the monotonic clock, in seconds.
    counted_seconds : float or None
        The time until then.
    """

    person: Person
    kind: str
    said: Boxes
    image: str
    state: str
    was_wrong: bool
    number: int
    sent_at: float
    submission_id: int = 0
    score: float = 0.0
    counted_after: int | None = None
    counted_seconds: float | None = None
    counts_at_once: bool = False


@dataclass
class Poison:
    """How many images there are whose label a person sent, and how many of them are poison."""

    images: int = 0
    poisoned: int = 0

    @property
    def share(self) -> float:
        """Of all images that people brought, 0 to 1."""
        return self.poisoned / max(self.images, 1)


@dataclass
class Course:
    """A run with one model.

    Parameters
    ----------
    service : Service
    model : str
    classes : int
        How many the model has.
    on_turn : callable
        Called after each turn.
    """

    service: Service
    model: str
    classes: int = len(CLASSES)
    on_turn: Callable[[], None] = lambda: None
    sent: list[Sent] = field(default_factory=list)
    truth: dict[str, Boxes] = field(default_factory=dict)
    photos: dict[str, Photo] = field(default_factory=dict)
    poison: list[Poison] = field(default_factory=list)
    poisoned_ever: set[str] = field(default_factory=set)
    labels: dict[str, Label] = field(default_factory=dict)
    tasks_missing: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._hostile: set[str] = set()

    def learn_imported(self) -> None:
        """Take the labels that an operator imported for the truth."""
        self.labels = self.service.records.labels(self.model)
        imported = (pair for pair in self.labels.items() if not pair[1].user)
        self.truth |= {sha256: label.boxes for sha256, label in imported}

    def play(self, turns: Sequence[Turn]) -> None:
        """Let people bring photos, one after the other, each followed by tasks."""
        self._hostile |= {person.user for person, _ in turns if person.is_hostile}
        with ThreadPoolExecutor(DETECTING_AT_ONCE) as pool:
            brought = list(pool.map(self._bring, turns))
        for (person, photo), (prediction_id, predicted) in zip(turns, brought, strict=True):
            seen = Seen(photo.there, predicted, self.classes)
            said = person.mind.own(seen, self._rng)
            answer = self._submit(person, prediction_id, seen, said, "own")
            if answer is not None:
                last = self.sent[-1]
                self.photos[last.image] = photo
                person.mind.sent(last.image, said, last.state)
                self._take_tasks(person, answer)
            self._note(is_turn=True)
            self.on_turn()

    def return_once_more(self, people: Iterable[Person]) -> None:
        """Let people ask for tasks without a photo of their own: the service goes on."""
        for person in people:
            self._take_tasks(person, {}, asks=True)
            self._note(is_turn=False)
        self._count_poison()

    def truth_of(self, prediction_id: str) -> Boxes:
        """Return what is on the photo of a submission, by its prediction."""
        return self.truth[self.service.records.images_of([prediction_id])[prediction_id]]

    def is_in_force(self, sent: Sent) -> bool:
        """Tell whether the label in force of a submission's image says what it says."""
        label = self.labels.get(sent.image)
        return label is not None and errors(sent.said, label.boxes) == 0

    def _bring(self, turn: Turn) -> tuple[str, Boxes]:
        person, photo = turn
        return person.mind.bring(self.service.api(person), self.model, photo)

    def _submit(
        self, person: Person, prediction_id: str, seen: Seen, said: Boxes, kind: str
    ) -> dict[str, Any] | None:
        """Send an answer and record it; return what the service said, None if it refused."""
        number, sent_at = len(self.sent), time.monotonic()
        status, answer = self.service.api(person).submit(self.model, prediction_id, seen, said)
        wrong = errors(said, seen.there) > 0
        if status == 403:
            self.sent.append(Sent(person, kind, said, "", "refused", wrong, number, sent_at))
            return None
        if status not in (200, 201):
            raise RuntimeError(f"{status}: {answer}")
        image = self.service.records.images_of([prediction_id])[prediction_id]
        self.truth.setdefault(image, seen.there)
        sent = Sent(person, kind, said, image, answer["state"], wrong, number, sent_at)
        sent.score, sent.submission_id = answer["score"], answer["submission_id"]
        self.sent.append(sent)
        return dict(answer)

    def _take_tasks(self, person: Person, answer: dict[str, Any], asks: bool = False) -> None:
        """Let a person answer the task that an answer offers, or ask for one now and then."""
        api = self.service.api(person)
        for number in range(TASKS_IN_A_ROW):
            offered = answer.get("task")
            if offered:
                shown = api.get(f"/v1/predictions/{offered['prediction_id']}")
                task = shown["prediction_id"], boxes_of(shown["result"]["detections"])
            elif number or not (asks or self._rng.random() < person.mind.asks_after):
                return
            elif (asked := api.task(self.model)) is None:
                self.tasks_missing += 1
                return
            else:
                task = asked
            done = self._answer_task(person, *task)
            if done is None:
                return
            answer = done

    def _answer_task(
        self, person: Person, prediction_id: str, predicted: Boxes
    ) -> dict[str, Any] | None:
        sha256, kind = self.service.records.task(prediction_id)
        seen = Seen(self.truth[sha256], predicted, self.classes)
        said = person.mind.task(seen, sha256, self._rng)
        return self._submit(person, prediction_id, seen, said, kind)

    def _note(self, is_turn: bool) -> None:
        """Read the labels in force, and note which answers count by now."""
        self.labels, now = self.service.records.labels(self.model), time.monotonic()
        for sent in self.sent:
            if sent.counted_after is None and sent.image and self.is_in_force(sent):
                sent.counted_after = len(self.sent) - sent.number
                sent.counted_seconds = now - sent.sent_at
        self._mark_last_turn()
        self.poisoned_ever |= self._poisoned()
        turns = sum(sent.kind == "own" for sent in self.sent)
        if is_turn and turns % COUNTED_EVERY == 0:
            self._count_poison()

    def _mark_last_turn(self) -> None:
        own = next((sent for sent in reversed(self.sent) if sent.kind == "own"), None)
        if own is not None:
            own.counts_at_once = own.state == "accepted" and own.counted_after is not None

    def _poisoned(self) -> set[str]:
        """Return the images whose label in force was sent by an attacker and is wrong."""
        theirs = (sha for sha, label in self.labels.items() if label.user in self._hostile)
        return {sha for sha in theirs if errors(self.labels[sha].boxes, self.truth[sha]) > 0}

    def _count_poison(self) -> None:
        images = sum(bool(label.user) for label in self.labels.values())
        self.poison.append(Poison(images, len(self._poisoned())))


def in_turn(people: Sequence[Person], seed: int) -> list[Person]:
    """Return who sends when: everybody as often as they send, in an order drawn by lot."""
    each = [person for person in people for _ in range(person.photos)]
    order = np.random.default_rng(seed).permutation(len(each))
    return [each[place] for place in order]
