"""Logger and metrics of every handler, and the correlation id that ties their lines together."""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

__all__ = ["MetricUnit", "bind_correlation_id", "correlation_id", "flushed", "logger", "metrics"]


class SharedMetrics(Metrics):
    """Metrics of a process in which several threads may answer at a time, as locally they do."""

    _turn = threading.RLock()

    def add_metric(self, *args: Any, **kwargs: Any) -> None:
        """Note one value."""
        with self._turn:
            super().add_metric(*args, **kwargs)

    def flush_metrics(self, raise_on_empty_metrics: bool = False) -> None:
        """Send what was noted, if anything was."""
        with self._turn:
            if self.metric_set:
                super().flush_metrics(raise_on_empty_metrics)
            self.clear_metrics()  # where they are disabled: a hundred held back would be printed


# POWERTOOLS_SERVICE_NAME says which stage's they are.
logger = Logger(utc=True)
metrics = SharedMetrics(namespace="Sightloop")


def flushed[**Given, Answer](handler: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Send a call's metrics when it ends.

    AWS calls triggers by their own names, without `app.py` and so without its middleware.
    """

    @functools.wraps(handler)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        try:
            return handler(*args, **kwargs)
        finally:
            metrics.flush_metrics()

    return call


def bind_correlation_id(given: str | None = None) -> str:
    """Tie all further log lines of this thread to one request and return its id.

    Parameters
    ----------
    given : str, optional
        The id the caller or the message brought; a new one is made where there is none.
    """
    bound = given or str(uuid.uuid4())
    logger.thread_safe_append_keys(correlation_id=bound)
    return bound


def correlation_id() -> str:
    """Return the id bound last, or a new one."""
    bound = logger.thread_safe_get_current_keys().get("correlation_id")
    return str(bound) if bound else bind_correlation_id()
