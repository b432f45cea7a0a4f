"""The scenarios of the poisoning drill: who takes part, in which order, and what is looked at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks import poisoning_stage as stage
from benchmarks.poisoning_people import (
    EVERYTHING,
    NOTHING,
    Colluder,
    Confirmer,
    Drip,
    Gang,
    OptionTrick,
    Relabeller,
    Sleeper,
    junk,
    near_duplicate,
)
from benchmarks.poisoning_service import Service
from local.demo.course import Course, Mind, Person, Turn, Vandal, in_turn
from local.demo.people import ATTACKS, VANDALS, errors
from local.demo.photos import Photo
from local.demo.records import import_photos

SETTLED, SETTLED_SEED = 60, 900_000
HONEST, HONEST_PHOTOS = 24, 6
LEAST_HONEST = 8
NEAR_DUPLICATES, JUNK = 24, 12
SETTLED_OF_A_KIND = 4  # images that relabellers attack


@dataclass
class Run:
    """A scenario with one model.

    Attributes
    ----------
    name : str
        Of the model; people's names begin with it, for trust is kept by name.
    number : int
        Of the run, from 0: addresses are distinct by it.
    scale : float
        Share of the people that take part.
    notes : dict
        What the scenario itself looks at.
    """

    service: Service
    name: str
    number: int
    scale: float
    people: list[Person] = field(default_factory=list)
    notes: dict[str, object] = field(default_factory=dict)

    @functools.cached_property
    def course(self) -> Course:
        """The course of events with this model."""
        return Course(self.service, self.name)

    @functools.cached_property
    def settled(self) -> Sequence[Photo]:
        """Photos for an operator to import."""
        count = max(round(SETTLED * min(self.scale, 1)), 20)
        return [self._draw(SETTLED_SEED + number) for number in range(count)]

    def settle(self) -> None:
        """Import them: controls are drawn from what is settled."""
        import_photos(self.service.operator, self.name, self.settled)
        self.course.learn_imported()

    def return_once_more(self) -> None:
        """Let everybody ask for tasks once more, as they would on another day."""
        self.course.return_once_more(self.people)

    def honest(self, photos: int = HONEST_PHOTOS) -> list[Person]:
        """Return the honest people, each with so many photos."""
        count = max(round(HONEST * self.scale), LEAST_HONEST)
        made = [Person(f"{self.name}-honest-{n}", Mind(), photos) for n in range(count)]
        self.people += made
        return made

    def hostile(self, minds: Sequence[Mind], photos: int, has_token: bool = True) -> list[Person]:
        """Return attackers with tokens, or with an address each, as many as the scale says."""
        count = max(round(len(minds) * self.scale), min(len(minds), 2))
        names = [
            f"{self.name}-hostile-{n}" if has_token else self._address(n) for n in range(count)
        ]
        made = [
            Person(name, mind, photos, is_hostile=True, has_token=has_token)
            for name, mind in zip(names, minds[:count], strict=True)
        ]
        self.people += made
        return made

    def with_photos(self, people: Sequence[Person], seed: int = 2) -> list[Turn]:
        """Return everybody's turns, each with a photo of its own."""
        order = in_turn(people, seed)
        return [(person, self._draw(stage.PHOTO_SEED + n)) for n, person in enumerate(order)]

    def _address(self, number: int) -> str:
        return f"127.{10 + self.number}.{number // 250}.{1 + number % 250}"

    def _draw(self, seed: int) -> Photo:
        return _drawn(seed, self.service.both_classes)


@functools.lru_cache(maxsize=4096)
def _drawn(seed: int, both_classes: bool) -> Photo:
    return stage.draw(seed, both_classes)


def crowd(run: Run) -> None:
    """Five vandals, each with a way of their own."""
    vandals = run.hostile([Vandal(answer) for answer in VANDALS.values()], 12)
    _among_honest_people(run, vandals)


def attack(run: Run, kind: str) -> None:
    """Four people who spoil everything in one way."""
    _among_honest_people(run, run.hostile([Vandal(ATTACKS[kind])] * 4, 12))


def collusion(run: Run) -> None:
    """Twenty members who bear each other out."""
    gang = Gang()
    _among_honest_people(run, run.hostile([Colluder(gang) for _ in range(20)], 5))


def collusion_of_ten(run: Run) -> None:
    """Ten members who bear each other out: under a third of those who take part."""
    gang = Gang()
    _among_honest_people(run, run.hostile([Colluder(gang) for _ in range(10)], 5))


def sleepers(run: Run) -> None:
    """Twenty colluders who are honest until they are trusted."""
    gang = Gang()
    _among_honest_people(run, run.hostile([Sleeper(gang) for _ in range(20)], 8))


def sybils(run: Run) -> None:
    """Two hundred addresses without a token, who bear each other out."""
    gang = Gang()
    minds = [Colluder(gang) for _ in range(200)]
    _among_honest_people(run, run.hostile(minds, 1, has_token=False))


def drip(run: Run) -> None:
    """Eight members who tell one small lie in five photos."""
    _among_honest_people(run, run.hostile([Drip() for _ in range(8)], 10))


def option_tricks(run: Run) -> None:
    """Members whose predictions hold nothing, or a thousand boxes, because they asked for that."""
    tricks = [(options, way) for options in (NOTHING, EVERYTHING) for way in (False, True)]
    _among_honest_people(run, run.hostile([OptionTrick(*trick) for trick in tricks * 2], 5))


def _among_honest_people(run: Run, attackers: Sequence[Person]) -> None:
    run.settle()
    run.course.play(run.with_photos([*run.honest(), *attackers]))
    run.return_once_more()


def near_duplicates(run: Run) -> None:
    """One address that sends copies of one photo and junk: does it meet a training's threshold?"""
    rng = np.random.default_rng(3)
    [caller] = run.hostile([Confirmer()], NEAR_DUPLICATES + JUNK, has_token=False)
    photo = run.settled[-1]
    copies = [near_duplicate(photo, rng) for _ in range(NEAR_DUPLICATES)]
    theirs = [*copies, *(junk(rng) for _ in range(JUNK))]
    run.course.play([(caller, each) for each in theirs])
    plan = run.service.plan(run.name)  # of a dataset that holds nothing else yet
    for side in ("train", "valid"):
        run.notes[f"new {side} images by one caller"] = plan[f"new_{side}"]
    run.notes["threshold met by one caller"] = all(
        plan[f"new_{side}"] >= plan[f"needs_{side}"] for side in ("train", "valid")
    )
    run.settle()
    run.course.play(run.with_photos(run.honest()))
    run.return_once_more()


def relabelling(run: Run) -> None:
    """Members who send settled images again, and say all the same lie about each."""
    course, gang = run.course, Gang()
    run.settle()
    course.play(run.with_photos(run.honest()))
    reviewed = [sent for sent in course.sent if sent.kind == "own" and not sent.was_wrong]
    reviewed = reviewed[:SETTLED_OF_A_KIND]
    run.service.accept([sent.submission_id for sent in reviewed])
    accepted = {sent.image for sent in reviewed}
    kinds = {
        "imported": list(run.settled[:SETTLED_OF_A_KIND]),
        "accepted by an operator": [course.photos[image] for image in sorted(accepted)],
        "agreed on": [course.photos[image] for image in _agreed_on(course, accepted)],
    }
    photos = [photo for kind in kinds.values() for photo in kind]
    attackers = run.hostile([Relabeller(gang) for _ in range(8)], len(photos))
    course.play([(person, photo) for photo in photos for person in attackers])
    run.return_once_more()
    for kind, theirs in kinds.items():
        changed = sum(_is_changed(course, photo) for photo in theirs)
        run.notes[f"changed, {kind}"] = f"{changed} of {len(theirs)}"


def _agreed_on(course: Course, but: Container[str]) -> list[str]:
    """Return images of which a second honest person said what is in force, and rightly so."""
    found = []
    for sent in course.sent:
        label = course.labels.get(sent.image)
        if sent.kind in ("own", "control") or sent.was_wrong or sent.image in but or not label:
            continue
        if label.user and not errors(sent.said, label.boxes) and sent.image in course.photos:
            found.append(sent.image)
    return list(dict.fromkeys(found))[:SETTLED_OF_A_KIND]


def _is_changed(course: Course, photo: Photo) -> bool:
    """Tell whether the label in force of a settled photo is wrong, or gone."""
    [image, *_] = [sha for sha, held in course.photos.items() if held is photo] or [""]
    label = course.labels.get(image)
    return bool(image) and (label is None or errors(label.boxes, photo.there) > 0)


SCENARIOS: Mapping[str, Callable[[Run], None]] = {
    "crowd": crowd,
    **{kind.replace(" ", "-"): functools.partial(attack, kind=kind) for kind in ATTACKS},
    "collusion": collusion,
    "collusion-of-ten": collusion_of_ten,
    "sleepers": sleepers,
    "sybils": sybils,
    "drip": drip,
    "near-duplicates": near_duplicates,
    "option-tricks": option_tricks,
    "relabelling": relabelling,
}
