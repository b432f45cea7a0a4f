"""The stage of the poisoning drill: drawn photos, and models of two classes, good and poor.

A model is as good as the resolution that the bundled network looks at the photos with: 448 pixels
for an AP of about 0.9, 256 for about 0.6. So the poor one overlooks and misplaces what a poor model
does, and its boxes are its own. What each is worth is measured, and stated to the service.

The bundled model knows one class, and wrong classes need two. Usually the second is a dent, of
which there is none on these photos and which the model never finds: it is there to be lied
about. With ``--both-classes`` the scratches themselves are told apart by their length, in the
photos' labels by what was drawn and in the model by what it predicts: one that is shorter than
``SHORT`` is of the second class. Then the model mistakes classes too, and most photos have one box
of a class. The rule is nodes behind the network's output.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from chalicelib.vision import Detector
from local.demo.people import CLASSES, WIDTH, Boxes, Seen, pairs
from local.demo.photos import Photo
from sagemaker.training.drawn_tags import draw_tag

ROOT = Path(__file__).parent.parent
BUNDLED = ROOT / "models/scratch/model.onnx"
SHORT = 75.0  # pixels of the longer side of a box: two fifths of what is drawn are shorter
INPUT_SIDES = {0.9: 448, 0.6: 256}  # pixels, by the AP that they come near to
MEASURED_ON = 300
MEASURING_SEED, PHOTO_SEED = 700_000, 800_000  # the model was trained on tags of other seeds


def draw(seed: int, both_classes: bool) -> Photo:
    """Draw one photo."""
    tag = draw_tag(seed)
    buffer = BytesIO()
    tag.image.save(buffer, "JPEG", quality=90)
    longer = (tag.xyxy[:, 2:] - tag.xyxy[:, :2]).max(axis=1, initial=0)
    second = (longer < SHORT) & both_classes
    return Photo(buffer.getvalue(), Boxes(tag.xyxy, second.astype(np.int64)))


@dataclass(frozen=True)
class ServedModel:
    """A model as the service gets it: ONNX, and ``metrics.json`` with the APs measured here."""

    weights: bytes
    metrics: bytes

    @property
    def average_precision(self) -> float:
        """AP at IoU 0.5 of the first class, 0 to 1."""
        return float(json.loads(self.metrics)["per_class"][0]["AP50"])


def served_model(side: int, folder: Path, both_classes: bool) -> ServedModel:
    """Return the bundled model at an input of ``side`` pixels, measured; files go to ``folder``."""
    weights = two_classes(both_classes, side)
    return ServedModel(weights, metrics(weights, folder, both_classes))


def two_classes(both_classes: bool, side: int) -> bytes:
    """Return the bundled model with a second class: for short boxes, or for none.

    It looks at photos with ``side`` pixels.
    """
    model = onnx.load(BUNDLED)
    graph = model.graph
    [output] = graph.output
    output.name, raw = "two_classes", output.name
    constants: dict[str, np.ndarray] = {
        "parts": np.array([2, 2, 1], np.int64),
        "shorter": np.array(SHORT * side / WIDTH * both_classes, np.float32),
        "one": np.array(1, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    graph.node.extend(
        [
            helper.make_node("Split", [raw, "parts"], ["centre", "sides", "found"], axis=1),
            helper.make_node("ReduceMax", ["sides"], ["longer"], axes=[1], keepdims=1),
            helper.make_node("Less", ["longer", "shorter"], ["is_short"]),
            helper.make_node("Cast", ["is_short"], ["second"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["one", "second"], ["first"]),
            helper.make_node("Mul", ["found", "first"], ["of_first"]),
            helper.make_node("Mul", ["found", "second"], ["of_second"]),
            helper.make_node(
                "Concat", ["centre", "sides", "of_first", "of_second"], ["two_classes"], axis=1
            ),
        ]
    )
    output.type.tensor_type.shape.dim[1].dim_value = 4 + len(CLASSES)
    described = {"names": str(dict(enumerate(CLASSES))), "imgsz": str([side, side])}
    for entry in model.metadata_props:
        entry.value = described.get(entry.key, entry.value)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def metrics(weights: bytes, folder: Path, both_classes: bool, count: int = MEASURED_ON) -> bytes:
    """Return ``metrics.json``: AP at IoU 0.5 of each class, on photos drawn for that alone."""
    path = folder / "two_classes.onnx"
    path.write_bytes(weights)
    detector = Detector(path)
    seen, sure = [], []
    for seed in range(MEASURING_SEED, MEASURING_SEED + count):
        photo = draw(seed, both_classes)
        found = detector.detect(photo.data).detections
        seen.append(Seen(photo.there, Boxes(found.xyxy.astype(np.float64), found.class_id)))
        sure.append(found.confidence)
    aps = [average_precision(seen, sure, class_id) for class_id in range(len(CLASSES))]
    rows = [{"class_id": id_, "class_name": CLASSES[id_], "AP50": ap} for id_, ap in enumerate(aps)]
    mean = float(np.mean([ap for ap in aps if ap is not None]))
    told = {"mAP50": mean, "per_class": rows, "validation_set_size": count}
    return json.dumps(told).encode()


def average_precision(seen: Sequence[Seen], sure: Sequence[Any], class_id: int) -> float | None:
    """Return the area under precision over recall at IoU 0.5, of what is over confidence 0.25.

    None where there is no box of the class, as in ``metrics.json``.
    """
    hits: list[tuple[float, bool]] = []
    there = 0
    for each, confidence in zip(seen, sure, strict=True):
        mine = each.predicted.class_id == class_id
        labelled = each.there.chosen(each.there.class_id == class_id)
        there += len(labelled)
        right = {row for row, _ in pairs(each.predicted.chosen(mine), labelled, 0.5)}
        hits += [(float(c), n in right) for n, c in enumerate(confidence[mine])]
    if not there:
        return None
    is_right = np.array([right for _, right in sorted(hits, reverse=True)], np.float64)
    recall = np.concatenate([[0], np.cumsum(is_right) / there])
    precision = np.cumsum(is_right) / np.arange(1, len(is_right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * best))
