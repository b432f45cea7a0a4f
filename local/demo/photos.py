"""The photos of the demo: a new product, light painted tags on a dark ground.

The bundled model knows dark tags with bright scratches; these are the same tags as a photographer
would see them on a negative, in one of many light paints. Every photo has a number, and the numbers
of those that people send, that the first model learns from and that are only measured on are apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from local.demo.people import Boxes
from sagemaker.training.drawn_tags import DrawnTag, draw_tag

CLASS_NAMES = ("scratch",)
FIRST_SEED, SENT_SEED, HELD_OUT_SEED = 910_000, 920_000, 990_000
PAINTS = ((0.75, 0.85, 0.6), (1.0, 1.0, 0.9))  # darkest and lightest, RGB as shares of white
QUALITY = 90


@dataclass(frozen=True)
class Photo:
    """A photo's file, and what is on it."""

    data: bytes
    there: Boxes


def painted(seed: int) -> tuple[Image.Image, DrawnTag]:
    """Draw a light tag; same seed, same photo."""
    tag = draw_tag(seed)
    paint = np.random.default_rng((seed, 1)).uniform(*PAINTS)
    negative = (255 - np.asarray(tag.image, np.float64)) * paint
    return Image.fromarray(negative.astype(np.uint8), "RGB"), tag


def photo(seed: int) -> Photo:
    """Take one photo."""
    image, tag = painted(seed)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return Photo(buffer.getvalue(), Boxes(tag.xyxy, np.zeros(len(tag.xyxy), np.int64)))


def write_dataset(folder: Path, train: int, valid: int) -> Path:
    """Write photos for the first model as a YOLO dataset; return the path of its ``data.yaml``."""
    for number in range(train + valid):
        side = "train" if number < train else "valid"
        for kind in ("images", "labels"):
            (folder / kind / side).mkdir(parents=True, exist_ok=True)
        image, tag = painted(FIRST_SEED + number)
        image.save(folder / f"images/{side}/{number:03}.jpg", quality=QUALITY)
        (folder / f"labels/{side}/{number:03}.txt").write_text(tag.to_yolo(), encoding="utf-8")
    described = folder / "data.yaml"
    described.write_text(
        f"path: {folder.resolve()}\ntrain: images/train\nval: images/valid\nnames:\n"
        + "".join(f"  {n}: {name}\n" for n, name in enumerate(CLASS_NAMES)),
        encoding="utf-8",
    )
    return described
