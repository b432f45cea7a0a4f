"""The detection core: image bytes in, boxes out. Pure: no AWS, no database, no settings.

>>> from pathlib import Path
>>> from chalicelib.vision import Detector                           # doctest: +SKIP
>>> detector = Detector(Path("models/scratch/model.onnx"))           # doctest: +SKIP
>>> detector.detect(Path("tag.jpg").read_bytes()).detections.to_json()  # doctest: +SKIP
"""

from chalicelib.vision.boxes import Detections
from chalicelib.vision.detector import Detected, DetectionOptions, Detector, Timing
from chalicelib.vision.draw import annotate, draw
from chalicelib.vision.image import (
    MAX_PIXELS,
    Picture,
    decode_image,
    encode_jpeg,
    file_without_metadata,
    image_size,
)
from chalicelib.vision.overlap import iou_matrix

__all__ = [
    "MAX_PIXELS",
    "Detected",
    "DetectionOptions",
    "Detections",
    "Detector",
    "Picture",
    "Timing",
    "annotate",
    "decode_image",
    "draw",
    "encode_jpeg",
    "file_without_metadata",
    "image_size",
    "iou_matrix",
]
