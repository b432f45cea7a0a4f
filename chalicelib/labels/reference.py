"""The boxes that a submission is judged against.

They are what the live version detects at the service's own options. What a caller chose
(``confidence``, ``iou``, ``max_detections``) shapes the boxes that are shown, never these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib.errors import Conflict, ModelUnavailable, SightloopError
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.predictions import PredictionView
from chalicelib.vision import Detections

if TYPE_CHECKING:
    from chalicelib.inference import Answer

UNSEEN = 0  # the version of a prediction that no model made

Detect = Callable[[str, bytes], "Answer"]


@dataclass(frozen=True, eq=False)
class Reference:
    """Detections at the service's own options.

    Attributes
    ----------
    version : int
        That detected; 0: the model had none, and nothing is detected.
    detections : Detections
    """

    version: int
    detections: Detections


def boxes_of(
    rows: list[dict[str, Any]], model: str, names: tuple[str, ...], size: tuple[int, int]
) -> Detections:
    """Return recorded boxes with the model's classes.

    Raises
    ------
    Conflict
        The model has other classes now than when it predicted.
    """
    if any(names[each["class_id"] :][:1] != (each["class_name"],) for each in rows):
        raise Conflict(f"the model {model!r} has other classes by now: detect again")
    return Detections.from_json(rows, names, size)


class References:
    """Finds the reference of a prediction, and detects anew where none fits.

    Parameters
    ----------
    detect : callable, optional
        Takes a model and a JPEG, and detects with the live version at the service's own options.
        None: only recorded references are used.
    """

    def __init__(self, detect: Detect | None = None) -> None:
        self._detect = detect

    def of(
        self, view: PredictionView, shown: Detections, live_version: int | None, image: bytes
    ) -> Reference:
        """Return the reference of a prediction.

        The recorded one serves while its version is live. Otherwise the live version detects in
        the kept image; where it cannot, the recorded one of the earlier version serves.

        Parameters
        ----------
        view : PredictionView
            Of a prediction that is done.
        shown : Detections
            The caller's boxes, with the model's classes and the image's size.
        live_version : int | None
            None: the model has none yet.
        image : bytes
            The kept image, a JPEG.

        Raises
        ------
        ModelUnavailable
            No reference is recorded, and the live version cannot detect.
        """
        recorded = _recorded(view, shown)
        if recorded and recorded.version == (live_version or UNSEEN):
            return recorded
        try:
            return self._anew(view.prediction.model, shown, image)
        except SightloopError as error:
            if recorded is None or recorded.version == UNSEEN:
                raise ModelUnavailable(
                    "the boxes cannot be compared with a detection just now: send them again later"
                ) from error
            logger.warning("an earlier version's reference is used", exc_info=True)
            metrics.add_metric("JudgedByEarlierVersion", MetricUnit.Count, 1)
            return recorded

    def _anew(self, model: str, shown: Detections, image: bytes) -> Reference:
        if self._detect is None:
            raise ModelUnavailable("nothing can detect here")
        answer = self._detect(model, image)
        rows = answer.detections.to_json()  # rounded as recorded references are
        boxes = boxes_of(rows, model, shown.class_names, shown.image_size)
        return Reference(answer.version, boxes)


def _recorded(view: PredictionView, shown: Detections) -> Reference | None:
    if view.reference is None or view.result is None:
        return None
    names, size = shown.class_names, shown.image_size
    boxes = boxes_of(view.reference, view.prediction.model, names, size)
    return Reference(view.result["version"], boxes)
