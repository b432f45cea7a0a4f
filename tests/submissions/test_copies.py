"""Copies of settled images with other boxes are challenges; photos of a fixed camera are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chalicelib.catalog.visibility import Visibility
from chalicelib.labels.fingerprint import NEAR, distances, fingerprint_of
from chalicelib.labels.submitted import GivenBox
from chalicelib.trust.policy import Assessment, Cause, Decision, Rank, decide

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Desk = Any
MODEL = "tags"
WIDTH, HEIGHT = 320, 240
HERE = (40, 40, 80, 70)
THERE = (220, 150, 270, 190)
CAR = GivenBox(*HERE, class_id=0)
OTHER_CAR = GivenBox(*THERE, class_id=0)
MALLORY = "user:mallory"


def scene(*objects: tuple[int, int, int, int], seed: int = 1) -> Image.Image:
    """Return what one camera sees: always one street, and objects at these places."""
    grain = np.random.default_rng(seed).integers(60, 190, (48, 64, 3), np.uint8)
    street = Image.fromarray(grain).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    for number, (left, top, right, bottom) in enumerate(objects):
        paint = np.random.default_rng(100 + number).integers(0, 90, (8, 8, 3), np.uint8)
        car = Image.fromarray(paint).resize((right - left, bottom - top), Image.Resampling.BICUBIC)
        street.paste(car, (left, top))
    return street


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def noisy(image: Image.Image, sigma: float, seed: int = 5) -> Image.Image:
    grain = np.random.default_rng(seed).normal(0, sigma, (*image.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def brighter(image: Image.Image) -> Image.Image:
    return image.point(lambda level: min(255, level + 12))


@pytest.fixture
def street(desk: Desk) -> Desk:
    """A pending model with one photo that an operator has labelled: a car at ``HERE``."""
    asked = desk.services.pending_models
    asked.ask(MODEL, ("car", "bus"), "user:asker", Visibility.PUBLIC)
    assert send(desk, jpeg(scene(HERE)), "operator:olga", CAR).state == "accepted"
    desk.services.dataset.publish(10)
    return desk


def send(desk: Desk, image: bytes, user: str, *boxes: GivenBox) -> Any:
    kept = desk.services.keeper.keep_unseen(MODEL, image, "a-call", user)
    answer = "corrected" if boxes else "empty"
    return desk.submit(kept.prediction_id, user, answer, boxes, model=MODEL)


def cause(desk: Desk, submission_id: int) -> str:
    reasons = desk.services.ledger.get(submission_id).detail["reasons"]
    return str(reasons[-1]["cause"]) if reasons else ""


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "encoded anew": lambda image: jpeg(image, 50),
    "encoded badly": lambda image: jpeg(image, 30),
    "slightly noisy": lambda image: jpeg(noisy(image, 5)),
    "brighter": lambda image: jpeg(brighter(image)),
    "smaller": lambda image: jpeg(image.resize((WIDTH // 2, HEIGHT // 2))),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_with_other_boxes_is_a_challenge(street: Desk, copy: str) -> None:
    image = COPIES[copy](scene(HERE))
    factor = 0.5 if copy == "smaller" else 1
    elsewhere = GivenBox(*(factor * side for side in THERE), class_id=0)

    told = send(street, image, MALLORY, elsewhere)

    assert (told.state, told.waits_for) == ("quarantined", "operator")
    assert cause(street, told.submission_id) == "copy"
    assert street.sql("SELECT count(*) FROM labels") == [(1,)]


@pytest.mark.parametrize(
    "boxes",
    [(), (GivenBox(*HERE, class_id=1),), (CAR, OTHER_CAR)],
    ids=["removed", "called a bus", "one added"],
)
def test_every_kind_of_contradiction_is_a_challenge(
    street: Desk, boxes: tuple[GivenBox, ...]
) -> None:
    told = send(street, jpeg(scene(HERE), 60), MALLORY, *boxes)

    assert told.waits_for == "operator"


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_with_the_same_boxes_is_an_image_like_any_other(street: Desk, copy: str) -> None:
    factor = 0.5 if copy == "smaller" else 1
    box = GivenBox(*(factor * side for side in HERE), class_id=0)

    told = send(street, COPIES[copy](scene(HERE)), MALLORY, box)

    assert told.state == "accepted"


@pytest.mark.parametrize(
    ("seen", "boxes"),
    [
        ((THERE,), (OTHER_CAR,)),
        ((HERE, THERE), (CAR, OTHER_CAR)),
        ((), ()),
        (((44, 44, 84, 74),), (GivenBox(44, 44, 84, 74, class_id=0),)),
    ],
    ids=["it moved", "another came", "it left", "it moved a little"],
)
@pytest.mark.parametrize("light", [lambda image: image, brighter], ids=["same", "brighter"])
def test_a_fixed_camera_is_held_back_by_nothing(
    street: Desk,
    seen: tuple[tuple[int, int, int, int], ...],
    boxes: tuple[GivenBox, ...],
    light: Callable[[Image.Image], Image.Image],
) -> None:
    image = jpeg(noisy(light(scene(*seen)), 3))
    first, second = fingerprint_of(image), fingerprint_of(jpeg(scene(HERE)))
    assert distances(first, second.bits)[0] <= NEAR  # the fingerprints alone would hold it back

    told = send(street, image, "user:honest", *boxes)

    assert told.state == "accepted"


def test_what_stands_still_before_a_fixed_camera_is_settled(street: Desk) -> None:
    both = (HERE, THERE)

    told = send(street, jpeg(scene(*both)), MALLORY, OTHER_CAR)  # the parked car is left out

    assert told.waits_for == "operator"


def test_a_copy_of_what_is_not_settled_is_no_challenge(street: Desk) -> None:
    other = scene(HERE, seed=2)
    assert send(street, jpeg(other), "user:ben", CAR).state == "accepted"
    street.services.dataset.publish(10)

    assert send(street, jpeg(other, 50), MALLORY, OTHER_CAR).state == "accepted"


def test_two_proven_members_decide_about_a_copy_where_they_can() -> None:
    """Honest people differ about one scene, too: that is no work for operators."""
    members = Assessment(Rank.ESTABLISHED, differs_from_copy=True)
    nobody = Assessment(Rank.ESTABLISHED, can_settle=False, differs_from_copy=True)
    by_operator = Assessment(Rank.OPERATOR, differs_from_copy=True)

    def decided(who: Assessment) -> Decision:
        return decide(who, None, suspicious=False, surprising=False)

    assert decided(members) == Decision("opinions", Cause.COPY)
    assert decided(nobody) == Decision("operator", Cause.COPY)
    assert decided(by_operator).is_accepted


def test_an_operator_may_contradict_a_copy(street: Desk) -> None:
    assert send(street, jpeg(scene(HERE), 50), "operator:otto", OTHER_CAR).state == "accepted"
