"""How sure a gain is: what the paired bootstrap says of versions whose boxes are known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from chalicelib.labels.fingerprint import fingerprint
from chalicelib.retrain.evidence import compare, look_alikes
from chalicelib.retrain.measured import LEAST_GROUPS, PERCENTS, Difference
from chalicelib.vision.boxes import Detections
from chalicelib.vision.resampled import Scored

NAMES, SIZE = ("scratch", "dent"), (100, 100)
TRUTH = [[10.0, 10, 30, 30], [50, 50, 90, 90]]


def boxes(shown: Sequence[bool], class_id: int = 0) -> Detections:
    """Return those of two boxes that are found."""
    found = [box for box, is_found in zip(TRUTH, shown, strict=True) if is_found]
    return Detections(
        np.reshape(found, (-1, 4)), [0.9] * len(found), [class_id] * len(found), NAMES, SIZE
    )


def scored(finds: Sequence[Sequence[bool]], class_id: int = 0) -> Scored:
    """Return a version that finds these of the two boxes of each picture."""
    truths = [boxes((True, True), class_id)] * len(finds)
    return Scored([boxes(each, class_id) for each in finds], truths)


BOTH, ONE, NONE = (True, True), (True, False), (False, False)


def test_a_version_is_as_good_as_itself() -> None:
    told = compare(scored([ONE] * 20), scored([ONE] * 20), range(20))

    assert (told.images, told.groups) == (20, 20)
    assert told.gain.value == 0
    assert told.gain.interval(0.95, 20) == (0, 0)


def test_a_version_that_finds_more_on_every_picture_is_surely_better() -> None:
    low, high = compare(scored([BOTH] * 20), scored([ONE] * 20), range(20)).gain.interval(0.95, 20)

    assert low == high == pytest.approx(50 / 101, abs=1e-4)


def test_what_one_picture_says_may_be_chance() -> None:
    live = scored([ONE] * 20)
    told = compare(scored([BOTH, *[ONE] * 19]), live, range(20))

    assert told.gain.value > 0
    assert told.gain.interval(0.95, 20)[0] == 0


def test_copies_of_a_picture_are_one_picture() -> None:
    """Ten copies of one photo that is better now, beside ten others that are worse."""
    live = scored([ONE] * 10 + [BOTH] * 10)
    new = scored([BOTH] * 10 + [BOTH] * 8 + [ONE] * 2)
    alone = compare(new, live, range(20)).gain.interval(0.9, 20)
    groups = [0] * 10 + [*range(1, 11)]
    told = compare(new, live, groups)

    assert (told.images, told.groups) == (20, 11)
    assert alone[0] > 0
    assert told.gain.interval(0.9, told.groups)[0] < 0


def test_of_too_few_groups_nothing_is_said() -> None:
    count = LEAST_GROUPS - 1
    told = compare(scored([BOTH] * count), scored([NONE] * count), range(count))

    assert told.gain.value > 0.9
    assert told.gain.percentiles == ()
    assert told.gain.interval(0.9, count) == (-math.inf, math.inf)


def test_the_same_images_give_the_same_answer() -> None:
    finds = [(n % 2 == 0, n % 3 == 0) for n in range(30)]
    one, other = scored(finds), scored(finds[::-1])

    assert compare(one, other, range(30)) == compare(one, other, range(30))
    assert compare(one, other, range(30)) != compare(one, other, range(30), seed=1)


def test_classes_are_told_apart() -> None:
    pictures = range(16)
    truths = [boxes(BOTH, n % 2) for n in pictures]
    live = Scored([boxes(BOTH, n % 2) for n in pictures], truths)
    new = Scored([boxes(ONE if n % 2 else BOTH, n % 2) for n in pictures], truths)

    told = compare(new, live, pictures)

    assert told.classes[0].value == 0
    assert told.classes[1].interval(0.9, 16)[1] < -0.4
    assert told.gain.value == pytest.approx(told.classes[1].value / 2, abs=1e-4)


def test_without_boxes_nothing_is_said() -> None:
    nothing = Scored([boxes(NONE)] * 9, [boxes(NONE)] * 9)
    told = compare(nothing, nothing, range(9))

    assert (told.gain.value, told.gain.percentiles, told.classes) == (0, (), {})


def test_percentiles_are_read_between_those_that_are_known() -> None:
    difference = Difference(value=0.5, percentiles=tuple(percent / 100 for percent in PERCENTS))

    low, high = difference.interval(0.9, 1_000_000)
    assert (low, high) == (pytest.approx(0.05, abs=1e-4), pytest.approx(0.95, abs=1e-4))
    few = difference.interval(0.9, 10)
    assert few[0] == pytest.approx(0.0267, abs=1e-3)  # Student's quantile for nine is 1.833
    assert difference.interval(1 - 1e-12, 10) == (pytest.approx(0, abs=1e-6), pytest.approx(1))


def test_pictures_that_look_alike_are_one_group_however_they_hang_together() -> None:
    rng = np.random.default_rng(3)
    scenes = [rng.integers(0, 255, (12, 16), np.uint8) for _ in range(3)]

    def picture(scene: int, light: float) -> Image.Image:
        whole = Image.fromarray(scenes[scene]).resize((320, 240), Image.Resampling.BICUBIC)
        return whole.point(lambda value: int(value * light)).convert("RGB")

    seen = [(0, 1.0), (1, 1.0), (0, 0.8), (2, 1.0), (1, 0.9), (0, 0.9)]
    groups = look_alikes(fingerprint(picture(*each)) for each in seen)

    assert groups == [0, 1, 0, 3, 1, 0]
