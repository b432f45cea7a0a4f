"""Telling the world of an answer: the results message, sent at least once for each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.predictions.messages import ResultMessage
from chalicelib.predictions.model import Prediction, Problem, utc_now
from chalicelib.predictions.table import PredictionTable
from chalicelib.queues import Queue


class Announcer:
    """Sends the results message of an answered prediction and notes that it was sent.

    Parameters
    ----------
    table : PredictionTable
    results : Queue
    now : callable, optional
    """

    def __init__(
        self, table: PredictionTable, results: Queue, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._table = table
        self._results = results
        self._now = now

    def announce(self, answered: Prediction) -> Prediction:
        """Send the results message unless it is known to be sent.

        Whoever dies between sending and noting it sends it again, with the same ``message_id``.
        """
        if answered.announced or not answered.has_answer:
            return answered
        self._results.send(ResultMessage.of(answered))
        return self._table.update(
            answered, lambda held: held.told(self._now()) if held.state is answered.state else held
        )

    def fail(self, prediction: Prediction, problem: Problem) -> Prediction:
        """Mark a prediction as failed by us, unless it has an answer, and announce it."""
        failed = self._table.update(prediction, lambda held: held.failed(self._now(), problem))
        if failed.problem == problem:
            logger.error(
                "prediction failed", prediction_id=failed.prediction_id, why=problem.detail
            )
            metrics.add_metric("PredictionsFailed", MetricUnit.Count, 1)
        return self.announce(failed)
