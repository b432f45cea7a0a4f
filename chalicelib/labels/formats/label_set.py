"""What every label format is read into and written from: images, their classes, their boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath

import numpy as np

from chalicelib.errors import InvalidLabel
from chalicelib.labels.words import Split
from chalicelib.vision.boxes import Detections

SPLITS: tuple[Split | None, ...] = ("train", "valid", "test", None)
NO_SPLIT = "all"  # what a file or folder is called that holds images of no split


@dataclass(frozen=True, eq=False)
class ImageLabels:
    """One image, and what people say is in it.

    Attributes
    ----------
    name : str
        A relative path with forward slashes, or a URI.
    size : tuple[int, int]
        Width and height in pixels of the upright original.
    boxes : Detections or None
        Without a box: nothing to see here, a valid negative. None: nobody has labelled it.
    split : {"train", "valid", "test"}, optional
        Where the document puts it: a hint, the dataset decides.
    """

    name: str
    size: tuple[int, int]
    boxes: Detections | None
    split: Split | None = None


@dataclass(frozen=True, eq=False)
class LabelSet:
    """Labelled images.

    Attributes
    ----------
    class_names : tuple[str, ...]
        By class id.
    images : tuple[ImageLabels, ...]

    Raises
    ------
    InvalidLabel
        Two images or classes have one name, or an image's boxes are of other classes or another
        size.

    Examples
    --------
    >>> boxes = Detections([[10, 20, 30, 60]], [1], [0], ("scratch",), (100, 80))
    >>> labels = LabelSet(("scratch",), (ImageLabels("a.jpg", (100, 80), boxes, "train"),))
    >>> [image.name for image, _ in labels.labelled()]
    ['a.jpg']
    """

    class_names: tuple[str, ...]
    images: tuple[ImageLabels, ...]

    def __post_init__(self) -> None:
        for names in (self.class_names, tuple(image.name for image in self.images)):
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise InvalidLabel(f"{twice!r} is there twice")
        for image, boxes in self.labelled():
            if (boxes.class_names, boxes.image_size) != (self.class_names, image.size):
                raise InvalidLabel(
                    f"{image.name}: boxes of {boxes.class_names} in {boxes.image_size}, "
                    f"expected {self.class_names} in {image.size}"
                )

    def labelled(self) -> Iterator[tuple[ImageLabels, Detections]]:
        """Return the images that somebody has labelled, with their boxes."""
        return ((image, image.boxes) for image in self.images if image.boxes is not None)

    def by_split(self) -> dict[str, list[tuple[ImageLabels, Detections]]]:
        """Return the labelled images of each split that has any; ``all`` holds those of none."""
        parts = {
            split or NO_SPLIT: [pair for pair in self.labelled() if pair[0].split == split]
            for split in SPLITS
        }
        filled = {name: pairs for name, pairs in parts.items() if pairs}
        return filled or {NO_SPLIT: []}


@dataclass(frozen=True)
class Writing:
    """What a format wants to know that labels do not say.

    Attributes
    ----------
    prefix : str
        Put before the name of each image, such as ``s3://bucket/images/``: manifests and CSVs.
    job : str
        Name of the labelling job: manifests and CSVs.
    created : datetime
        When the labels were made: manifests and CSVs.
    """

    prefix: str = ""
    job: str = "labels"
    created: datetime = field(default_factory=lambda: datetime.now(UTC))


def whole_pixels(boxes: Detections) -> Detections:
    """Return the boxes with edges on whole pixels, each at least one pixel wide and high.

    >>> thin = Detections([[9.6, 10, 9.9, 12.4]], [1], [0], ("scratch",), (10, 20))
    >>> whole_pixels(thin).xyxy.tolist()
    [[9.0, 10.0, 10.0, 12.0]]
    """
    sides = np.array(boxes.image_size)
    xyxy = boxes.xyxy.astype(np.float64).reshape(-1, 2, 2).clip(0, sides)
    low, high = np.rint(xyxy[:, 0]), np.rint(xyxy[:, 1])
    is_thin = high <= low
    low = np.where(is_thin, np.minimum(np.floor(xyxy.mean(axis=1)), sides - 1), low)
    high = np.where(is_thin, low + 1, high)
    return Detections(
        np.hstack([low, high]).astype(np.float32),
        boxes.confidence,
        boxes.class_id,
        boxes.class_names,
        boxes.image_size,
    )


def path_of(name: str) -> PurePosixPath:
    """Return where an image's own label file goes: its name, of a URI what follows the scheme.

    >>> path_of("s3://bucket/images/a.jpg").as_posix()
    'bucket/images/a.jpg'
    """
    return PurePosixPath(name.split("://", 1)[-1])


def put(files: dict[str, bytes], path: str, content: str) -> None:
    """Add a file to those written.

    Raises
    ------
    InvalidLabel
        It is there: two images differ in the suffix alone.
    """
    if path in files:
        raise InvalidLabel(f"two images would be labelled by {path}: rename one of them")
    files[path] = content.encode()
