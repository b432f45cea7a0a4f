"""The split: decided once, and nothing photographed twice in both sets."""

from __future__ import annotations

import doctest
import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Hashable

import numpy as np
import pytest
from PIL import Image

import chalicelib.labels.split
from benchmarks.split import SAME_TAG, chained, correlations
from chalicelib.labels.fingerprint import Fingerprint
from chalicelib.labels.split import Arrival, Split, shot_in

TagPhotos = list  # of conftest.TagPhoto, which tests cannot import
ORDERS = range(8)


def seen(seed: int, *flipped: int) -> Fingerprint:
    """Return the fingerprint of something, with some of its bits flipped."""
    bits = np.random.default_rng(seed).integers(0, 2**63, 4, np.uint64)
    for bit in flipped:
        bits[bit // 64] ^= np.uint64(1 << (bit % 64))
    return Fingerprint(bits, bits[None])


def arrival(name: str, looks: Fingerprint, group: str | None = None) -> Arrival:
    return Arrival(hashlib.sha256(name.encode()).hexdigest(), looks, group)


def many(count: int, start: int = 0) -> list[Arrival]:
    """Return images of things that have nothing in common."""
    return [arrival(f"thing {n}", seen(n)) for n in range(start, start + count)]


def drawn_for(side: str) -> Arrival:
    """Return an image like no other, whose lot is for this side."""
    lot = "0" if side == "valid" else "f"
    return Arrival(lot * 64, seen(10001 if side == "valid" else 10002))


def spanning() -> tuple[Split, Arrival, Arrival]:
    """Return a dataset with two things on different sides, and an image of each."""
    split = Split()
    split.place(many(40))
    valid, train = drawn_for("valid"), drawn_for("train")
    assert [d.member.side for d in split.place([valid, train])] == ["valid", "train"]
    return split, valid, train


def test_a_fifth_of_unlike_images_is_for_validation() -> None:
    split = Split()

    split.place(many(2000))

    assert 0.17 < split.share < 0.23


def test_images_one_by_one_come_to_the_same_share() -> None:
    split = Split()

    for one in many(1000):
        split.place([one])

    assert 0.16 < split.share < 0.24


def test_four_images_are_enough_to_have_one_for_validation() -> None:
    split = Split()

    split.place(many(4))

    assert split.share == 0.25


def test_a_reupload_never_moves() -> None:
    split = Split()
    images = many(200)
    before = {d.member.sha256: d.member.side for d in split.place(images)}
    random.Random(1).shuffle(images)

    again = split.place(images)

    assert {d.member.sha256: d.member.side for d in again} == before
    assert {d.reason for d in again} == {"known"}
    assert len(split.members) == 200


@pytest.mark.parametrize("side", ["train", "valid"])
def test_what_is_near_goes_where_the_first_went_whatever_its_lot(side: str) -> None:
    split, valid, train = spanning()
    first = valid if side == "valid" else train

    placed = split.place([Arrival(lot * 64, first.fingerprint) for lot in "123456789abcde"])

    assert {(d.member.side, d.reason) for d in placed} == {(side, "joined")}


@pytest.mark.parametrize("side", ["train", "valid"])
def test_a_group_goes_where_its_first_went(side: str) -> None:
    split, valid, train = spanning()
    first = valid if side == "valid" else train
    split.place([Arrival(first.sha256, first.fingerprint, "shot 1")])  # known, its group is new

    placed = split.place([arrival(f"crop {n}", seen(5000 + n), "shot 1") for n in range(9)])

    assert {d.member.side for d in placed} == {side}


def test_the_order_of_a_batch_does_not_matter() -> None:
    images = many(50) + [arrival(f"again {n}", seen(n % 50, n)) for n in range(100)]
    sides = set()
    for seed in ORDERS:
        random.Random(seed).shuffle(images)
        split = Split()
        split.place(images)
        sides.add(frozenset((m.sha256, m.side) for m in split.members))

    assert len(sides) == 1


def test_the_same_image_twice_in_a_batch_is_one() -> None:
    split = Split()

    first, second = split.place([many(1)[0]] * 2)

    assert (first.reason, second.reason) == ("drawn", "known")
    assert len(split.members) == 1


def test_what_joins_both_sides_trains_and_spoils_the_validation_images_it_joins() -> None:
    split, valid, train = spanning()
    split.place([Arrival(valid.sha256, valid.fingerprint, "tag 7")])
    assert split.leaking() == set()

    [bridge] = split.place([arrival("bridge", train.fingerprint, "tag 7")])

    assert (bridge.member.side, bridge.reason) == ("train", "joined both")
    assert split.leaking() == {valid.sha256}
    assert split.side(valid.sha256) == "valid"
    [later] = split.place([arrival("later", valid.fingerprint)])
    assert later.member.side == "train"


@pytest.mark.parametrize(("near", "reason"), [(3, "joined"), (2, "drawn")])
def test_how_near_is_near_can_be_set(near: int, reason: str) -> None:
    split = Split(near=near)
    split.place([arrival("one", seen(1))])

    [other] = split.place([arrival("other", seen(1, 5, 70, 201))])

    assert other.reason == reason


def test_a_group_larger_than_validation_may_be_is_for_training() -> None:
    split = Split()
    split.place(many(40))
    large = [Arrival(f"{n:064x}", seen(9000 + n), "one film") for n in range(60)]

    placed = split.place(large)

    assert {d.member.side for d in placed} == {"train"}


def test_a_split_is_the_same_after_it_was_stored_and_read() -> None:
    split, valid, train = spanning()
    split.place([Arrival(valid.sha256, valid.fingerprint, "tag 7")])
    split.place([arrival("bridge", train.fingerprint, "tag 7")])

    restored = Split(split.members)

    assert restored.leaking() == split.leaking() != set()
    assert restored.share == split.share
    more = [*many(100, 500), arrival("of it", seen(7777), "tag 7")]
    assert [d.member.side for d in restored.place(more)] == [
        d.member.side for d in split.place(more)
    ]


def test_an_unknown_image_has_no_side() -> None:
    assert Split().side("0" * 64) is None
    assert Split().share == 0


# ---- the photos of metal tags


def in_both(
    split: Split, photos: TagPhotos, key: Callable[..., Hashable], without: set[str] = frozenset()
) -> set[Hashable]:
    """Return the keys whose photos are on both sides, but for those to be left out."""
    sides = defaultdict(set)
    for photo in photos:
        if photo.sha256 not in without:
            sides[key(photo)].add(split.side(photo.sha256))
    return {found for found, where in sides.items() if len(where) > 1}


def placed_in_any_order(
    photos: TagPhotos, seed: int, batch: int, group: Callable[..., str | None]
) -> Split:
    photos = random.Random(seed).sample(photos, len(photos))
    split = Split()
    for start in range(0, len(photos), batch):
        split.place(
            [
                Arrival(photo.sha256, photo.fingerprint, group(photo))
                for photo in photos[start : start + batch]
            ]
        )
    return split


@pytest.fixture(scope="session")
def tag_of(tag_photos: TagPhotos) -> dict[str, int]:
    """Return which tag each photo shows, judged by its pixels and not by its fingerprint."""
    same = chained(correlations([Image.open(photo.path) for photo in tag_photos]) >= SAME_TAG)
    tags, number = np.unique(same, axis=0, return_inverse=True)
    assert len(tags) == 20  # four in each of five groups
    return {photo.sha256: int(n) for photo, n in zip(tag_photos, number, strict=True)}


@pytest.mark.parametrize("seed", ORDERS)
@pytest.mark.parametrize("batch", [1, 30, 184])
def test_no_tag_is_in_both_sets_whatever_the_order(
    tag_photos: TagPhotos, tag_of: dict[str, int], seed: int, batch: int
) -> None:
    split = placed_in_any_order(tag_photos, seed, batch, lambda photo: None)

    assert in_both(split, tag_photos, lambda photo: tag_of[photo.sha256]) == set()
    assert split.leaking() == set()
    assert 0.1 <= split.share <= 0.35


@pytest.mark.parametrize("seed", ORDERS)
@pytest.mark.parametrize("batch", [1, 30, 184])
def test_no_group_that_was_given_is_in_both_sets(
    tag_photos: TagPhotos, seed: int, batch: int
) -> None:
    split = placed_in_any_order(tag_photos, seed, batch, lambda photo: photo.group)

    assert in_both(split, tag_photos, lambda photo: photo.group) == set()
    assert 0.1 <= split.share <= 0.4  # of five groups, one more than a third of all


@pytest.mark.parametrize("seed", ORDERS)
def test_imported_at_once_the_time_in_the_name_keeps_groups_together(
    tag_photos: TagPhotos, seed: int
) -> None:
    split = placed_in_any_order(tag_photos, seed, 184, lambda photo: shot_in(photo.path.name))

    assert in_both(split, tag_photos, lambda photo: photo.group) == set()
    assert 0.1 <= split.share <= 0.3


@pytest.mark.parametrize("seed", ORDERS)
@pytest.mark.parametrize("batch", [1, 30])
def test_what_arrives_in_pieces_leaks_nothing_once_the_named_are_left_out(
    tag_photos: TagPhotos, seed: int, batch: int
) -> None:
    split = placed_in_any_order(tag_photos, seed, batch, lambda photo: shot_in(photo.path.name))

    assert in_both(split, tag_photos, lambda p: p.group, without=split.leaking()) == set()


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(chalicelib.labels.split).failed == 0
