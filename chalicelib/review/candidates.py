"""Which images somebody can be asked about: controls, and those that want a second opinion."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chalicelib.callers import is_member
from chalicelib.catalog.visibility import Audience, Visibility
from chalicelib.labels.keys import parked_key
from chalicelib.labels.pool import LabelledImage, Pool, Shown
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.opinions import Opinions, WaitingImage
from chalicelib.trust.standing import TrustStanding
from chalicelib.trust.task_book import TaskBook

SAMPLED = 50  # images on either side of a random place of the dataset, twice: train and valid
REVIEWED = 50
WAITING = 50


@dataclass(frozen=True)
class Candidate:
    """An image that somebody can be asked about.

    Attributes
    ----------
    image_sha256 : str
    keys : tuple[str, ...]
        Where in the store bucket it may be, the likeliest first.
    settled : ClassedBoxes | None
        Of a control: the boxes that are right, in pixels.
    label_id : int | None
        Of a control: the label that holds them.
    visibility : Visibility
        Under which the photo was sent.
    is_released : bool
        An operator released it as a control image.
    """

    image_sha256: str
    keys: tuple[str, ...]
    settled: ClassedBoxes | None = None
    label_id: int | None = None
    visibility: Visibility = Visibility.PRIVATE
    is_released: bool = False


@dataclass(frozen=True)
class Choice:
    """What there is for somebody, each list in an order that nobody can foretell."""

    controls: Sequence[Candidate]
    opinions: Sequence[Candidate]


class Candidates:
    """Finds images that somebody was not asked about and sent no answer about.

    Parameters
    ----------
    pool : Pool
    opinions : Opinions
    book : TaskBook
    chance : random.Random
        One that cannot be foretold, such as ``random.SystemRandom``.
    """

    def __init__(
        self, pool: Pool, opinions: Opinions, book: TaskBook, chance: random.Random
    ) -> None:
        self._pool = pool
        self._opinions = opinions
        self._book = book
        self._chance = chance

    def for_user(self, user_address: str, model: str, setting: Visibility) -> Choice:
        """Return what a user can be asked about, both kinds at the same cost.

        Others' photos are offered only under the promises they were sent under; beyond these, to
        callers with a token, control images that an operator released.

        Parameters
        ----------
        setting : Visibility
            Of the model.
        """
        shown = Shown.to(Audience.of(user_address), setting)
        images = self._new_to(user_address, model, shown)
        settled = self._settled(model, images)
        waiting = self._waiting(user_address, model, shown)
        taken = {image.image_sha256 for image in waiting}
        controls = [_control(image) for image in images if image.label_id in settled]
        unsettled = [
            image
            for image in images
            if image.label_id not in settled
            and Visibility.parse(image.visibility) in shown.promises
        ]
        alone = self._alone(model, unsettled)
        return Choice(
            self._shuffled(each for each in controls if each.image_sha256 not in taken),
            waiting or self._shuffled(alone),
        )

    def _waiting(self, user_address: str, model: str, shown: Shown) -> list[Candidate]:
        """Return images that wait: of each sender one before any has two.

        Those of members who proved themselves come first, then other members', then what counts
        already and is audited, then those of members who lost audits, then addresses'. So nobody
        crowds out the others by sending many, by many addresses, or by what nobody agrees with.
        """
        images = list(self._opinions.waiting(user_address, model, WAITING, shown.promises))
        self._chance.shuffle(images)
        standings = self._book.standings(sorted({image.user_address for image in images}))
        turn: Counter[str] = Counter()
        ordered: dict[str, tuple[int, int, Candidate]] = {}
        for image in images:
            turn[image.user_address] += 1
            promise = Visibility.parse(image.visibility)
            candidate = Candidate(image.image_sha256, (image.key,), visibility=promise)
            merit = _merit(image, standings[image.user_address])
            place = (merit, turn[image.user_address], candidate)
            ordered.setdefault(image.image_sha256, place)
        return [each for *_, each in sorted(ordered.values(), key=lambda place: place[:2])]

    def _new_to(self, user_address: str, model: str, shown: Shown) -> list[LabelledImage]:
        """Return labelled images, from a random place, that a user knows nothing of."""
        reviewed = self._opinions.reviewed(model, REVIEWED)
        found = [
            *self._pool.some(model, shown, SAMPLED),
            *self._pool.of_images(model, shown, reviewed),
        ]
        images = {
            image.image_sha256: image for image in found if image.user_address != user_address
        }
        known = self._book.known_images(user_address, model, images)
        return [image for sha256, image in images.items() if sha256 not in known]

    def _settled(self, model: str, images: Sequence[LabelledImage]) -> set[int]:
        """Return the labels that are settled, by id."""
        requests = [image.request_id for image in images if image.request_id is not None]
        accepted = self._opinions.accepted_by_operators(requests)
        return {
            image.label_id
            for image in images
            if image.is_of_an_operator or image.request_id in accepted
        }

    def _alone(self, model: str, images: Sequence[LabelledImage]) -> list[Candidate]:
        """Return those whose label is one person's word that nobody confirmed yet."""
        enough = self._opinions.asked_enough(model, [image.image_sha256 for image in images])
        return [
            Candidate(
                image.image_sha256, _keys(image), visibility=Visibility.parse(image.visibility)
            )
            for image in images
            if image.labels == 1 and image.image_sha256 not in enough
        ]

    def _shuffled(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        mixed = list(candidates)
        self._chance.shuffle(mixed)
        return mixed


def _merit(image: WaitingImage, sender: TrustStanding) -> int:
    """Return the place of an image among those that want opinions, 0 first."""
    if not is_member(image.user_address):
        return 4
    if sender.audits.are_poor:
        return 3
    if image.counts:
        return 2
    return 0 if sender.is_proven else 1


def _control(image: LabelledImage) -> Candidate:
    settled = ClassedBoxes.from_centres(*image.centres)
    return Candidate(
        image.image_sha256,
        _keys(image),
        settled,
        image.label_id,
        Visibility.parse(image.visibility),
        image.is_released,
    )


def _keys(image: LabelledImage) -> tuple[str, ...]:
    name = f"{image.image_sha256}.{image.extension}"
    published = f"models/{image.model}/images/{image.side}/{name}"
    parked = parked_key(image.model, image.image_sha256, image.extension)
    # The first is right for nearly all, so that a control is read as fast as a second opinion.
    return (image.source_key, published, parked)
