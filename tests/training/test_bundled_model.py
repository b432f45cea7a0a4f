"""The model that ships: of the promised shape and size, honest about itself, and good."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from chalicelib.vision import Detector, iou_matrix
from sagemaker.training.drawn_tags import draw_tag

BUNDLE = Path(__file__).parents[2] / "models/scratch"
UNSEEN_SEEDS = range(700_000, 700_030)


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(BUNDLE / "model.onnx")


def test_it_is_small_enough_to_ship() -> None:
    assert (BUNDLE / "model.onnx").stat().st_size <= 13_000_000


def test_it_carries_what_the_detection_core_reads(
    session: onnxruntime.InferenceSession,
) -> None:
    carried = session.get_modelmeta().custom_metadata_map

    assert carried["names"] == "{0: 'scratch'}"
    assert carried["stride"] == "32"
    assert carried["imgsz"] == f"[{_measured_size()}, {_measured_size()}]"


def _measured_size() -> int:
    return int(_metrics()["settings"]["imgsz"])


def _metrics() -> dict[str, object]:
    return json.loads((BUNDLE / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("shape", [(1, 3, 640, 640), (2, 3, 320, 480), (1, 3, 448, 320)])
def test_it_takes_any_batch_height_and_width(
    session: onnxruntime.InferenceSession, shape: tuple[int, int, int, int]
) -> None:
    [head] = session.run(None, {session.get_inputs()[0].name: np.zeros(shape, np.float32)})

    anchors = sum(shape[2] // stride * (shape[3] // stride) for stride in (8, 16, 32))
    assert head.shape == (shape[0], 5, anchors)


def test_its_metrics_name_every_class() -> None:
    metrics = _metrics()

    [scratch] = metrics["per_class"]
    assert scratch["class_name"] == "scratch"
    assert 0 < scratch["AP50-95"] < scratch["AP50"] <= 1


def test_it_finds_scratches_that_it_has_never_seen() -> None:
    detector = Detector(BUNDLE / "model.onnx")
    found = total = wrong = 0
    for seed in UNSEEN_SEEDS:
        drawn = draw_tag(seed, margin=0.8)
        jpeg = BytesIO()
        drawn.image.save(jpeg, "JPEG", quality=95)
        boxes = detector.detect(jpeg.getvalue()).detections.xyxy
        overlaps = iou_matrix(drawn.xyxy.astype(np.float32), boxes) > 0.5
        found += overlaps.any(axis=1).sum()
        wrong += (~overlaps.any(axis=0)).sum()
        total += len(drawn.xyxy)

    assert found >= 0.8 * total
    assert wrong <= 0.3 * total


def test_it_finds_nothing_on_most_tags_that_have_hairlines_and_specks_only() -> None:
    detector = Detector(BUNDLE / "model.onnx")
    clean = [seed for seed in UNSEEN_SEEDS if not _boxes_on_clean_tag(detector, seed)]

    assert len(clean) >= 0.7 * len(UNSEEN_SEEDS)


def _boxes_on_clean_tag(detector: Detector, seed: int) -> int:
    jpeg = BytesIO()
    draw_tag(seed, scratches=0).image.save(jpeg, "JPEG", quality=95)
    return len(detector.detect(jpeg.getvalue()).detections.xyxy)
