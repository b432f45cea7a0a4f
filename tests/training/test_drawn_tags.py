"""Drawn photos of scratched tags: reproducible, and truly labelled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagemaker.training.drawn_tags import HEIGHT, WIDTH, draw_tag

ROOT = Path(__file__).parents[2]
SEEDS = range(40)


def test_the_same_seed_draws_the_same_photo() -> None:
    first, second = draw_tag(7), draw_tag(7)

    assert first.image.tobytes() == second.image.tobytes()
    assert first.to_yolo() == second.to_yolo()


def test_another_seed_draws_another_photo() -> None:
    assert draw_tag(7).image.tobytes() != draw_tag(8).image.tobytes()


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_lie_inside_the_photo(seed: int) -> None:
    drawn = draw_tag(seed)

    x1, y1, x2, y2 = drawn.xyxy.T
    assert drawn.image.size == (WIDTH, HEIGHT)
    assert ((x1 >= 0) & (x1 < x2) & (x2 <= WIDTH)).all()
    assert ((y1 >= 0) & (y1 < y2) & (y2 <= HEIGHT)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_box_holds_something_brighter_than_the_tag(seed: int) -> None:
    drawn = draw_tag(seed)
    grey = np.asarray(drawn.image.convert("L"), float)
    tag = np.median(grey)

    for x1, y1, x2, y2 in drawn.xyxy.round().astype(int):
        assert grey[y1:y2, x1:x2].max() > tag + 15


@pytest.mark.parametrize("count", [0, 1, 5])
def test_as_many_scratches_as_asked_for_are_drawn(count: int) -> None:
    assert draw_tag(3, scratches=count).xyxy.shape == (count, 4)


def test_yolo_labels_give_the_boxes_back() -> None:
    drawn = draw_tag(11, scratches=3)
    rows = np.array([line.split() for line in drawn.to_yolo().splitlines()], float)

    centre, size = rows[:, 1:3] * [WIDTH, HEIGHT], rows[:, 3:] * [WIDTH, HEIGHT]

    assert rows[:, 0].tolist() == [0, 0, 0]
    assert np.allclose(np.hstack([centre - size / 2, centre + size / 2]), drawn.xyxy, atol=1e-3)


def test_the_command_writes_photos_with_labels(tmp_path: Path) -> None:
    command = [sys.executable, "sagemaker/training/drawn_tags.py", tmp_path, "--count", "3"]

    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    photos = sorted((tmp_path / "images").glob("*.jpg"))
    labels = sorted((tmp_path / "labels").glob("*.txt"))
    assert [path.stem for path in photos] == [path.stem for path in labels]
    assert len(photos) == 3
    for seed, (photo, label) in enumerate(zip(photos, labels, strict=True)):
        assert label.read_text() == draw_tag(seed).to_yolo()
        with Image.open(photo) as opened:
            assert opened.size == (WIDTH, HEIGHT)
