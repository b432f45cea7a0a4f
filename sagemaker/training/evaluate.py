"""How good versions are: measured as they serve, on the validation images of a dataset's folder.

Every version is measured through the detection core that serves it, the new and the live one on
the same images; what is right, and AP, are as ultralytics and COCO have them. The weights that an
ONNX file was made of are measured through the same core with their own forward pass in place of the
file's: that is how far the two agree.

Confidence at least 0.001, NMS at IoU 0.7, at most 300 boxes an image.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils.metrics import ap_per_class

from chalicelib.vision import DetectionOptions, Detections, Detector, decode_image, iou_matrix

THRESHOLDS = np.linspace(0.5, 0.95, 10)
EVERYTHING = DetectionOptions(confidence=0.001, iou=0.7, max_detections=300)
CURVE_POINTS = 101
Bool = npt.NDArray[np.bool_]
Floats = npt.NDArray[Any]


@dataclass(frozen=True)
class Photo:
    """A validation image, and the truth about it."""

    image: Path
    truth: Detections

    @classmethod
    def all_of(cls, data: Path, class_names: Sequence[str]) -> list[Photo]:
        """Return the validation images beside a ``data.yaml``, by name."""
        found = []
        for image in sorted((data.parent / "images/valid").iterdir()):
            label = data.parent / f"labels/valid/{image.stem}.txt"
            size = decode_image(image.read_bytes()).size
            text = label.read_text(encoding="utf-8")
            found.append(cls(image, Detections.from_yolo(text, class_names, size)))
        return found


class WeightsDetector(Detector):
    """Detects with the weights that an ONNX file was made of, and compares the two as it does.

    Parameters
    ----------
    exported, weights : Path

    Attributes
    ----------
    largest_difference : float
        Between raw outputs so far, relative where they are above 1.
    """

    def __init__(self, exported: Path, weights: Path) -> None:
        super().__init__(exported)
        self._network = load_checkpoint(weights)[0].eval()
        self.largest_difference = 0.0

    def forward(self, blob: npt.NDArray[np.float32]) -> Floats:
        """Return the first output of the weights' network, float32."""
        theirs = super().forward(blob).astype(np.float32)
        with torch.inference_mode():
            answer = self._network(torch.from_numpy(blob))
        ours: Floats = (answer[0] if isinstance(answer, tuple) else answer).numpy()
        scale = np.maximum(1, np.maximum(np.abs(ours), np.abs(theirs)))
        difference = np.abs(ours - theirs) / scale
        # What is not a number anywhere agrees with nothing.
        found = float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(initial=0))
        self.largest_difference = max(self.largest_difference, min(found, 1e9))
        return ours


def evaluate(
    exported: Path, weights: Path, live: tuple[int, bytes] | None, photos: Sequence[Photo]
) -> dict[str, Any]:
    """Return what `metrics.json` says of a new version, of the live one and of the export.

    Parameters
    ----------
    exported, weights : Path
        The new version as it would serve, and what it was made of.
    live : tuple of int and bytes, optional
        The version that serves, and its ONNX file.
    photos : sequence of Photo

    Raises
    ------
    InvalidModel
        One of them does not run.
    """
    by_weights = WeightsDetector(exported, weights)
    of_weights = measure(by_weights, photos)
    found = measure(Detector(exported), photos) | {"bytes": exported.stat().st_size}
    found["parity"] = {
        "largest_difference": by_weights.largest_difference,
        "mAP50": of_weights["mAP50"],
        "mAP50-95": of_weights["mAP50-95"],
        "images": len(photos),
    }
    found["live"] = None
    if live:
        version, onnx = live
        found["live"] = measure(Detector(onnx), photos) | {"bytes": len(onnx), "version": version}
    return found


def measure(detector: Detector, photos: Sequence[Photo]) -> dict[str, Any]:
    """Return how well a detector finds what is on photos, and how fast.

    Figures are of the classes that the photos show; null where they show none.
    """
    found, milliseconds = [], []
    for photo in photos:
        detected = detector.detect(photo.image.read_bytes(), EVERYTHING)
        timing = detected.timing
        milliseconds.append(timing.preprocess + timing.inference + timing.postprocess)
        found.append(detected.detections)
    truths = [photo.truth for photo in photos]
    boxes = np.concatenate([truth.class_id for truth in truths]) if truths else np.zeros(0, int)
    figures = _figures(found, truths, boxes)
    by_class = figures.pop("by_class")
    return figures | {
        "per_class": [
            {
                "class_id": class_id,
                "class_name": name,
                "AP50": by_class.get(class_id, (None, None))[0],
                "AP50-95": by_class.get(class_id, (None, None))[1],
                "boxes": int((boxes == class_id).sum()),
            }
            for class_id, name in enumerate(detector.class_names)
        ],
        "validation_set_size": len(photos),
        "ms_per_image": round(statistics.median(milliseconds), 2) if milliseconds else None,
    }


def _figures(
    found: Sequence[Detections], truths: Sequence[Detections], boxes: npt.NDArray[np.int64]
) -> dict[str, Any]:
    names = ("mAP50", "mAP50-95", "precision", "recall", "f1", "confidence", "curves")
    if not len(boxes):
        return dict.fromkeys(names) | {"by_class": {}}
    right = np.concatenate([correct(*pair) for pair in zip(found, truths, strict=True)])
    confidence = np.concatenate([each.confidence for each in found])
    classes = np.concatenate([each.class_id for each in found])
    _, _, p, r, f1, ap, shown, p_curve, r_curve, f1_curve, x, _ = ap_per_class(
        right, confidence, classes, boxes
    )
    best = int(f1_curve.mean(0).argmax())
    points = np.linspace(0, len(x) - 1, CURVE_POINTS).astype(int)
    curves = {"confidence": x, "precision": p_curve, "recall": r_curve, "f1": f1_curve}
    return {
        "mAP50": _rounded(ap[:, 0].mean()),
        "mAP50-95": _rounded(ap.mean()),
        "precision": _rounded(p.mean()),
        "recall": _rounded(r.mean()),
        "f1": _rounded(f1.mean()),
        "confidence": _rounded(x[best]),
        "curves": {
            name: [_rounded(value) for value in np.atleast_2d(curve).mean(0)[points]]
            for name, curve in curves.items()
        },
        "by_class": {
            int(class_id): (_rounded(row[0]), _rounded(row.mean()))
            for class_id, row in zip(shown, ap, strict=True)
        },
    }


def correct(found: Detections, truth: Detections) -> Bool:
    """Return which of what was found is right at each of ``THRESHOLDS``, bool [N, 10].

    In the order of falling confidence each takes the true box of its class that it overlaps most
    among those that are not taken yet.
    """
    right = np.zeros((len(found), len(THRESHOLDS)), bool)
    if not len(found) or not len(truth):
        return right
    overlaps = iou_matrix(found.xyxy, truth.xyxy)
    overlaps = np.where(found.class_id[:, None] == truth.class_id, overlaps, 0)
    taken = np.zeros((len(truth), len(THRESHOLDS)), bool)
    columns = np.arange(len(THRESHOLDS))
    for index in np.argsort(-found.confidence, kind="stable"):
        free = np.where(taken, 0, overlaps[index][:, None])
        nearest = free.argmax(0)
        right[index] = free[nearest, columns] >= THRESHOLDS
        taken[nearest, columns] |= right[index]
    return right


def _rounded(value: float) -> float:
    return round(float(value), 5)
