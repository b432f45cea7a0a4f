"""Label formats: one reader and one writer each, all of one shape.

A reader takes documents by their paths and what the format does not say, and returns a
``LabelSet`` of all images without a fault, with a ``Report`` that names what is wrong with the
others. A writer takes a ``LabelSet`` and returns files by their paths. ``docs/labels.md`` has the
conventions and the precision of each.

supervision's dataset formats would be the library for it. Version 0.31 takes 378 MiB with what it
requires (PyAV, SciPy, Matplotlib), and a Lambda 250 MiB in all; it also works on folders with the
images in them, where there are bytes and sizes here. pycocotools trusts what it reads, and serves
the tests as a second opinion.

>>> boxes = Detections([[10, 20, 30, 60]], [1], [0], ("scratch",), (100, 80))
>>> labels = LabelSet(("scratch",), (ImageLabels("a.jpg", (100, 80), boxes, "train"),))
>>> files = FORMATS["coco"].write(labels, None)
>>> again, report = FORMATS["coco"].read(files, None)
>>> again.images[0].boxes.xyxy.tolist(), report.fault_count
([[10.0, 20.0, 30.0, 60.0]], 0)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from chalicelib.labels.formats.coco import read_coco, write_coco
from chalicelib.labels.formats.ground_truth import read_ground_truth, write_ground_truth
from chalicelib.labels.formats.label_set import ImageLabels, LabelSet, Writing
from chalicelib.labels.formats.reading import Fault, Limits, Reading, Report
from chalicelib.labels.formats.store_csv import read_store_csv, write_store_csv
from chalicelib.labels.formats.voc import read_voc, write_voc
from chalicelib.labels.formats.yolo import read_yolo, write_yolo
from chalicelib.labels.words import Split
from chalicelib.vision.boxes import Detections

Reader = Callable[[Mapping[str, bytes], Reading | None], tuple[LabelSet, Report]]
Writer = Callable[[LabelSet, Writing | None], dict[str, bytes]]


@dataclass(frozen=True)
class LabelFormat:
    """A way to write labels down.

    Attributes
    ----------
    title : str
        What people call it.
    read : Reader
    write : Writer
    precision : float
        How far an edge may be from where it was, in pixels, once written and read again. YOLO's is
        a share of the image's longer side.
    """

    title: str
    read: Reader
    write: Writer
    precision: float


FORMATS: Mapping[str, LabelFormat] = MappingProxyType(
    {
        "coco": LabelFormat("COCO JSON", read_coco, write_coco, 0.0),
        "voc": LabelFormat("Pascal VOC", read_voc, write_voc, 0.5),
        "ground-truth": LabelFormat(
            "SageMaker Ground Truth output manifest", read_ground_truth, write_ground_truth, 0.5
        ),
        "csv": LabelFormat("label store CSV", read_store_csv, write_store_csv, 0.0),
        "yolo": LabelFormat("YOLO", read_yolo, write_yolo, 1.5e-6),
    }
)

__all__ = [
    "FORMATS",
    "Detections",
    "Fault",
    "ImageLabels",
    "LabelFormat",
    "LabelSet",
    "Limits",
    "Reading",
    "Report",
    "Split",
    "Writing",
]
