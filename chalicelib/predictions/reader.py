"""Reading a prediction back: its state, its detections, and links to its pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chalicelib.catalog.visibility import Audience, Visibility
from chalicelib.errors import ObjectNotFound, PredictionNotFound
from chalicelib.inference.options import Options
from chalicelib.predictions import keys
from chalicelib.predictions.model import Prediction, State
from chalicelib.predictions.table import PredictionTable
from chalicelib.storage import ObjectStore

LINKS_LAST_SECONDS = 3600
TASK_LINKS_LAST_SECONDS = 300  # somebody else's photo: a stricter visibility is to reach it soon


@dataclass(frozen=True)
class PredictionView:
    """A prediction with what only its answer has.

    Attributes
    ----------
    prediction : Prediction
    result : dict, optional
        The detection answer, in the shape of the synchronous call.
    reference : list[dict], optional
        The boxes at the service's own options, as in ``result["detections"]``. None: unknown,
        for the caller chose others and the prediction is older than this field.
    image_url, annotated_url : str, optional
        Links to both pictures, good for an hour; for five minutes where it is a task.
    """

    prediction: Prediction
    result: dict[str, Any] | None = None
    reference: list[dict[str, Any]] | None = None
    image_url: str | None = None
    annotated_url: str | None = None


class PredictionReader:
    """Reads predictions for those who know their ids.

    Parameters
    ----------
    table : PredictionTable
    store : ObjectStore
    visibility_of : callable, optional
        From a model's name to its visibility at present.
    """

    def __init__(
        self,
        table: PredictionTable,
        store: ObjectStore,
        visibility_of: Callable[[str], Visibility] = lambda model: Visibility.PRIVATE,
    ) -> None:
        self._table = table
        self._store = store
        self._visibility_of = visibility_of

    def read(self, prediction_id: str) -> PredictionView:
        """Return a prediction as it stands.

        Raises
        ------
        PredictionNotFound
            No prediction has that id, it has expired or was deleted; or it is a task, and its
            photo may not be shown any more to callers like the one who got it.
        """
        known = keys.is_prediction_id(prediction_id)
        prediction = self._table.find(prediction_id) if known else None
        if prediction is None:
            raise PredictionNotFound(f"no prediction {prediction_id!r}: it may have expired")
        if prediction.state is State.DELETED:
            raise PredictionNotFound(f"prediction {prediction_id!r} was deleted")
        self._refuse_hidden(prediction)
        if prediction.state is not State.DONE:
            return PredictionView(prediction)
        result = json.loads(self._result(prediction))
        own = result["detections"] if prediction.options == Options() else None
        reference = result.pop("reference", own)
        return PredictionView(
            prediction,
            result={**result, "prediction_id": prediction_id},
            reference=reference,
            image_url=self._link(prediction, keys.image_key(prediction_id)),
            annotated_url=self._link(prediction, keys.annotated_key(prediction_id)),
        )

    def image(self, prediction_id: str) -> tuple[str, bytes]:
        """Return the store key and the bytes of a prediction's upright original, a JPEG.

        Raises
        ------
        PredictionNotFound
            It has expired.
        """
        key = keys.image_key(prediction_id)
        try:
            return key, self._store.get(key).body
        except ObjectNotFound:
            raise PredictionNotFound(
                f"the image of prediction {prediction_id!r} is gone: it has expired"
            ) from None

    def _result(self, prediction: Prediction) -> str | bytes:
        if prediction.result is not None:
            return prediction.result
        return self._store.get(keys.result_key(prediction.prediction_id)).body

    def _link(self, prediction: Prediction, key: str) -> str:
        seconds = TASK_LINKS_LAST_SECONDS if prediction.task_for else LINKS_LAST_SECONDS
        return self._store.presigned_get(key, seconds)

    def _refuse_hidden(self, prediction: Prediction) -> None:
        """Refuse a task whose photo its audience may not be shown by now."""
        audience = prediction.task_for
        if audience is None or (prediction.is_released and audience is not Audience.ANYBODY):
            return
        if not audience.may_see(self._visibility_of(prediction.model), prediction.visibility):
            raise PredictionNotFound(
                f"the photo of task {prediction.prediction_id!r} is not shown any more: "
                "ask for another task"
            )
