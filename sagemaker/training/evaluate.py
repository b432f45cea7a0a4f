"""How good versions are: measured as they serve, on the validation images of a dataset's folder.

Every version is measured through the detection core that serves it, the new and the live one on
the same images (`chalicelib/retrain/measuring.py`). The weights that an ONNX file was made of are
measured through the same core with their own forward pass in place of the file's: that is how far
the two agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ultralytics.nn.tasks import load_checkpoint

from chalicelib.retrain.measuring import Photo, evidence_of, look, measure
from chalicelib.vision import Detections, Detector, image_size

Floats = npt.NDArray[Any]


def photos_of(data: Path, class_names: Sequence[str]) -> list[Photo]:
    """Return the validation images beside a ``data.yaml``, by name."""
    found = []
    for image in sorted((data.parent / "images/valid").iterdir()):
        label = data.parent / f"labels/valid/{image.stem}.txt"
        size = image_size(image.read_bytes())
        text = label.read_text(encoding="utf-8")
        found.append(Photo(image.read_bytes, Detections.from_yolo(text, class_names, size)))
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
    new = look(Detector(exported), photos)
    found = new.figures() | {"bytes": exported.stat().st_size}
    found["parity"] = {
        "largest_difference": by_weights.largest_difference,
        "mAP50": of_weights["mAP50"],
        "mAP50-95": of_weights["mAP50-95"],
        "images": len(photos),
    }
    found["live"] = found["evidence"] = None
    if live:
        version, onnx = live
        old = look(Detector(onnx), photos)
        found["live"] = old.figures() | {"bytes": len(onnx), "version": version}
        found["evidence"] = evidence_of(new, old, photos).model_dump(mode="json")
    return found
