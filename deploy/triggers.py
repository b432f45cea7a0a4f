"""What Chalice cannot say about a trigger, said to Lambda after Chalice has made it."""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.errors import ConfigurationError
from deploy.cloud import code_of, log
from deploy.record import WORKERS, triggers_of_worker
from deploy.stages import Stage

REPORTS_FAILURES = ["ReportBatchItemFailures"]
SETTLES_SECONDS = 60


def finish(lambda_: Any, stage: Stage) -> int:
    """Let workers name the messages that failed, and limit how many of them run at a time.

    Without the first, one failed message brings back its whole batch, or, worse, none.

    Returns
    -------
    int
        How many triggers there are.

    Raises
    ------
    ConfigurationError
        A worker has no trigger, or Lambda did not take the setting.
    """
    return sum(_finish(lambda_, stage, worker) for worker in WORKERS)


def _finish(lambda_: Any, stage: Stage, worker: str) -> int:
    function = stage.function(worker)
    made = triggers_of_worker(lambda_, stage, worker)
    if not made:
        raise ConfigurationError(f"{function} has no queue for a trigger: run the deployment again")
    for mapping in made:
        _update(lambda_, mapping["UUID"], stage.worker_concurrency)
        _read_back(lambda_, mapping["UUID"])
    log.info("%s names the messages that fail", function)
    return len(made)


def _update(lambda_: Any, uuid: str, concurrency: int) -> None:
    """Change a trigger; one that Lambda is still setting up cannot be changed yet."""
    for attempt in range(SETTLES_SECONDS):
        try:
            lambda_.update_event_source_mapping(
                UUID=uuid,
                FunctionResponseTypes=REPORTS_FAILURES,
                ScalingConfig={"MaximumConcurrency": concurrency},
            )
        except ClientError as error:
            if code_of(error) != "ResourceInUseException" or attempt == SETTLES_SECONDS - 1:
                raise
            time.sleep(1)
        else:
            return


def _read_back(lambda_: Any, uuid: str) -> None:
    held = lambda_.get_event_source_mapping(UUID=uuid).get("FunctionResponseTypes")
    if held != REPORTS_FAILURES:
        raise ConfigurationError(f"trigger {uuid} does not report failed messages: it has {held}")
