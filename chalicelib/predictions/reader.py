"""Reading a prediction back: its state, its detections, and links to its pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from chalicelib.errors import ObjectNotFound, PredictionNotFound
from chalicelib.inference.options import Options
from chalicelib.predictions import keys
from chalicelib.predictions.model import Prediction, State
from chalicelib.predictions.table import PredictionTable
from chalicelib.storage import ObjectStore

LINKS_LAST_SECONDS = 3600


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
        Links to both pictures, good for an hour.
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
    """

    def __init__(self, table: PredictionTable, store: ObjectStore) -> None:
        self._table = table
        self._store = store

    def read(self, prediction_id: str) -> PredictionView:
        """Return a prediction as it stands.

        Raises
        ------
        PredictionNotFound
            No prediction has that id, or it has expired.
        """
        known = keys.is_prediction_id(prediction_id)
        prediction = self._table.find(prediction_id) if known else None
        if prediction is None:
            raise PredictionNotFound(f"no prediction {prediction_id!r}: it may have expired")
        if prediction.state is not State.DONE:
            return PredictionView(prediction)
        result = json.loads(self._result(prediction))
        own = result["detections"] if prediction.options == Options() else None
        reference = result.pop("reference", own)
        return PredictionView(
            prediction,
            result={**result, "prediction_id": prediction_id},
            reference=reference,
            image_url=self._link(keys.image_key(prediction_id)),
            annotated_url=self._link(keys.annotated_key(prediction_id)),
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

    def _link(self, key: str) -> str:
        return self._store.presigned_get(key, LINKS_LAST_SECONDS)
