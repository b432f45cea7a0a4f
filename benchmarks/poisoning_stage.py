"""The stage of the poisoning drill: drawn photos, a model of two classes, and the API to talk to.

The bundled model knows one class, and wrong classes need two. Usually the second is a dent, of
which there is none on these photos and which the model never finds: it is there to be lied
about. With ``--both-classes`` the scratches themselves are told apart by their length, in the
photos' labels by what was drawn and in the model by what it predicts: one that is shorter than
``SHORT`` is of the second class. Then the model mistakes classes too, and most photos have one box
of a class. The rule is nodes behind the network's output. What the model is worth is measured on
photos of their own, and stated to the service as its validation APs.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import jwt
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.poisoning_people import CLASSES, Boxes, Seen, pairs
from chalicelib.vision import Detector
from sagemaker.training.drawn_tags import draw_tag

ROOT = Path(__file__).parent.parent
BUNDLED = ROOT / "models/scratch/model.onnx"
SHORT = 75.0  # pixels of the longer side of a box: two fifths of what is drawn are shorter
SCALE = 640 / 450  # from the photo to the network's input
MEASURED_ON = 300
TRIES = 20
_kept = threading.local()
MEASURING_SEED, PHOTO_SEED = 700_000, 800_000  # the model was trained on tags of other seeds


@dataclass(frozen=True)
class Photo:
    """A drawn photo, its file, and what is on it."""

    data: bytes
    there: Boxes


def draw(seed: int, both_classes: bool) -> Photo:
    """Draw one photo."""
    tag = draw_tag(seed)
    buffer = BytesIO()
    tag.image.save(buffer, "JPEG", quality=90)
    longer = (tag.xyxy[:, 2:] - tag.xyxy[:, :2]).max(axis=1, initial=0)
    second = (longer < SHORT) & both_classes
    return Photo(buffer.getvalue(), Boxes(tag.xyxy, second.astype(np.int64)))


def two_classes(both_classes: bool) -> bytes:
    """Return the bundled model with a second class: for short boxes, or for none."""
    model = onnx.load(BUNDLED)
    graph = model.graph
    [output] = graph.output
    output.name, raw = "two_classes", output.name
    constants: dict[str, np.ndarray] = {
        "parts": np.array([2, 2, 1], np.int64),
        "shorter": np.array(SHORT * SCALE * both_classes, np.float32),
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
    for told in model.metadata_props:
        if told.key == "names":
            told.value = str(dict(enumerate(CLASSES)))
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


class Api:
    """The service over HTTP, for one user.

    All users of a thread share a connection: the one-machine server keeps a thread, and with it a
    connection to PostgreSQL, for each.

    Parameters
    ----------
    port : int
        On 127.0.0.1.
    key : str
        Which signs users' tokens.
    user : str
    """

    def __init__(self, port: int, key: str, user: str) -> None:
        claims = {"sub": user, "exp": int(time.time()) + 24 * 3600}
        self._token = jwt.encode(claims, key, "HS256")
        self._port = port
        self.retried = 0

    def post(self, path: str, body: bytes, media_type: str) -> tuple[int, Any]:
        """Return the status and the answer; what may succeed later is sent again."""
        for _ in range(TRIES):
            status, told = self._post(path, body, media_type)
            if status != 503:
                break
            self.retried += 1
            time.sleep(1)
        return status, told

    def _post(self, path: str, body: bytes, media_type: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": media_type}
        for last in (False, True):
            held = _connection(self._port)
            try:
                held.request("POST", path, body, headers)
                answer = held.getresponse()
                return answer.status, json.loads(answer.read())
            except (http.client.HTTPException, ConnectionError):
                held.close()
                if last:
                    raise
        raise AssertionError("not reached")

    def detect(self, model: str, photo: bytes) -> tuple[str, Boxes]:
        """Detect, and keep what was found; return the prediction's id and boxes."""
        path = f"/v1/models/{model}/detections?keep=true"
        status, told = self.post(path, photo, "image/jpeg")
        if status != 200:
            raise RuntimeError(f"{status}: {told}")
        return told["prediction_id"], boxes_of(told["detections"])

    def submit(self, model: str, prediction_id: str, seen: Seen, said: Boxes) -> tuple[int, Any]:
        """Submit boxes, as the tool does: confirmed where nothing was changed, or empty."""
        body = {"prediction_id": prediction_id, **_said(seen, said)}
        path = f"/v1/models/{model}/submissions"
        return self.post(path, json.dumps(body).encode(), "application/json")


def _connection(port: int) -> http.client.HTTPConnection:
    """Return this thread's connection; one that was closed opens itself again."""
    held: http.client.HTTPConnection | None = getattr(_kept, "connection", None)
    if held is None or held.port != port:
        held = _kept.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    return held


def boxes_of(detections: Sequence[dict[str, Any]]) -> Boxes:
    """Read the boxes of an answer."""
    corners = [[each["box"][edge] for edge in ("x1", "y1", "x2", "y2")] for each in detections]
    classes = [each["class_id"] for each in detections]
    return Boxes(np.array(corners, np.float64).reshape(-1, 4), np.array(classes, np.int64))


def _said(seen: Seen, said: Boxes) -> dict[str, Any]:
    same = len(said) == len(seen.predicted) and np.array_equal(said.xyxy, seen.predicted.xyxy)
    if not len(said):
        return {"answer": "empty"}
    if same and np.array_equal(said.class_id, seen.predicted.class_id):
        return {"answer": "confirmed"}
    return {"answer": "corrected", "boxes": list(_written(said))}


def _written(said: Boxes) -> Iterator[dict[str, Any]]:
    for box, class_id in zip(said.xyxy.tolist(), said.class_id.tolist(), strict=True):
        edges = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
        yield {"class_id": class_id, "box": edges}
