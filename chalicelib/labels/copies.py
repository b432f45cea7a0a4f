"""Copies of settled images: a label that differs where both images show the same is a challenge.

Near fingerprints alone mean little: all photos of a fixed camera are near to each other, with
different objects on them. So labels are compared only where the pixels are the same: of the boxes
that one label has and the other has not, those over changed pixels are left out. A car that
arrived or left changed the pixels below its box; on a copy that was encoded anew nothing changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from chalicelib.database import Database
from chalicelib.errors import InvalidImage, ObjectNotFound
from chalicelib.labels.case import ImageOf, Judged
from chalicelib.labels.dataset import Dataset
from chalicelib.labels.present import presents_in
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.opinions import AGREES
from chalicelib.trust.pairing import same_objects
from chalicelib.trust.policy import Rank
from chalicelib.vision import Detections, decode_image

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

    from chalicelib.labels.present import Present
    from chalicelib.storage import ObjectStore

MOST_NEAR = 200  # nearest images whose labels are looked up: a camera may have thousands
MOST_COMPARED = 3  # nearest settled images that are read and compared pixel by pixel
CELLS, COLOURS = 8, 2  # cells a side that light and colour below a box are averaged to
# Levels of 255 by which a cell of a copy may differ once the exposure is taken out. Of 184 photos
# of metal tags, copies of quality 30, with noise of 10 levels or of half the size stay below it.
SAME_WITHIN = 8.0
SAME_SHAPE = 0.02  # relative difference of the ratio of the sides: a crop is no copy
LONGEST_SIDE = 1024  # pixels that are compared; a larger image is reduced
NEAREST = """
SELECT s.sha256, s.source_key, s.width, s.height FROM samples s
WHERE s.sample_id = ANY(%(samples)s) AND s.sha256 <> %(image_sha256)s
  AND s.label_id IS NOT NULL
ORDER BY array_position(%(samples)s::bigint[], s.sample_id)
"""


@dataclass(frozen=True)
class _Settled:
    """A settled image: where its bytes are, its size in pixels, and its label."""

    key: str
    size: tuple[int, int]
    label: Present


class Copies:
    """Compares answers with the settled labels of images that show the same.

    Parameters
    ----------
    database : Database
    store : ObjectStore
        The store bucket.
    dataset : Dataset
    """

    def __init__(self, database: Database, store: ObjectStore, dataset: Dataset) -> None:
        self._database = database
        self._store = store
        self._dataset = dataset

    def compared(self, judged: Judged, submitted: Detections, image: ImageOf) -> Judged:
        """Return the judgement with ``differs_from_copy`` set where the answer contradicts.

        Operators' answers, answers to tasks and those that wait for an operator anyway are not
        compared.
        """
        who = judged.who
        if who.is_sealed or judged.is_control or who.rank in (Rank.OPERATOR, Rank.DISTRUSTED):
            return judged
        differs = self._differs(judged.case.model, submitted, image)
        return replace(judged, who=replace(who, differs_from_copy=differs))

    def _differs(self, model: str, submitted: Detections, image: ImageOf) -> bool:
        with self._database.transaction() as rows:
            settled = self._settled_near(rows, model, image)
        if not settled:
            return False
        own, size = reduced(image.content), submitted.image_size
        boxes = ClassedBoxes.from_detections(submitted)
        for each in settled:
            if not _same_shape(each.size, size):
                continue
            try:
                other = reduced(self._store.get(each.key).body)
            except (ObjectNotFound, InvalidImage):
                continue
            if contradicts(boxes, own, each.label.boxes(size), other, size):
                return True
        return False

    def _settled_near(self, rows: cursor, model: str, image: ImageOf) -> list[_Settled]:
        """Return the nearest settled images of a dataset, but the image itself."""
        samples = self._dataset.near(rows, model, image.fingerprint)[:MOST_NEAR]
        if not samples:
            return []
        rows.execute(NEAREST, {"samples": samples, "image_sha256": image.sha256})
        near = rows.fetchall()
        labels = presents_in(rows, model, [sha256 for sha256, *_ in near])
        settled = [
            _Settled(key, (width, height), labels[sha256])
            for sha256, key, width, height in near
            if sha256 in labels and labels[sha256].is_settled
        ]
        return settled[:MOST_COMPARED]


def reduced(data: bytes) -> Image.Image:
    """Return an encoded image upright, YCbCr, with sides of 1,024 pixels at most."""
    picture = decode_image(data, enough=LONGEST_SIDE).image.convert("YCbCr")
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
    return picture


def contradicts(
    submitted: ClassedBoxes,
    image: Image.Image,
    settled: ClassedBoxes,
    other: Image.Image,
    size: tuple[int, int],
) -> bool:
    """Return whether two labels differ where their images show the same.

    Parameters
    ----------
    submitted, settled : ClassedBoxes
        In pixels of an image of ``size``.
    image, other : Image.Image
        What they are about, YCbCr, of any size.
    size : tuple[int, int]
        Width and height that the boxes are in.
    """
    image, other = _of_one_size(image, other)
    channels = list(zip(image.split(), other.split(), (CELLS, COLOURS, COLOURS), strict=True))
    pairs = same_objects(submitted, settled)
    matched, differing = len(pairs), 0
    rows, columns = [row for row, _ in pairs], [column for _, column in pairs]
    alone = np.delete(submitted.xyxy, rows, axis=0), np.delete(settled.xyxy, columns, axis=0)
    for box in np.concatenate(alone):
        differing += _shows_the_same(channels, _within(image, box, size))
        if matched < AGREES * (matched + differing):  # further boxes only add to what differs
            return True
    return False


def _shows_the_same(
    channels: Sequence[tuple[Image.Image, Image.Image, int]],
    within: tuple[float, float, float, float],
) -> bool:
    """Return whether two images show the same below a box, but for the exposure.

    Parameters
    ----------
    channels : Sequence[tuple[Image.Image, Image.Image, int]]
        Each channel of both images, and the cells a side that it is averaged to.
    within : tuple[float, float, float, float]
        The box, in their pixels.
    """
    return all(_differ_by(*channel, within) <= SAME_WITHIN for channel in channels)


def _differ_by(
    image: Image.Image, other: Image.Image, cells: int, within: tuple[float, float, float, float]
) -> float:
    """Return by how many levels of 255 the cells below a box differ at most."""
    one, two = (
        np.asarray(each.resize((cells, cells), Image.Resampling.BOX, box=within), np.float32)
        for each in (image, other)
    )
    difference = one - two
    return float(np.abs(difference - np.median(difference)).max())


def _within(
    image: Image.Image, box: Sequence[float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return a box in pixels of an image, within it and a pixel large at least."""
    scale = np.array([image.width / size[0], image.height / size[1]] * 2)
    left, top, right, bottom = np.asarray(box) * scale
    left, top = (
        float(np.clip(at, 0, side - 1)) for at, side in zip((left, top), image.size, strict=True)
    )
    right = float(np.clip(right, left + 1, image.width))
    return left, top, right, float(np.clip(bottom, top + 1, image.height))


def _of_one_size(one: Image.Image, other: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Return two images of one shape, the larger reduced to the smaller."""
    size = min(one.size, other.size)
    first, second = (
        each if each.size == size else each.resize(size, Image.Resampling.BOX)
        for each in (one, other)
    )
    return first, second


def _same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    first, second = one[0] / one[1], other[0] / other[1]
    return abs(first - second) <= SAME_SHAPE * first
