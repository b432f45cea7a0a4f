"""Chalice's record of what it deployed, kept in the stage's store bucket too.

Chalice knows what is deployed from a file in ``.chalice/deployed`` alone, which git ignores: from
another checkout it would make a second API, and take nothing down. So the bucket has the file as
well, and what is there goes before what is here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from deploy.cloud import code_of, log
from deploy.stages import Stage

NOT_THERE = frozenset({"404", "NoSuchBucket", "NoSuchKey"})
WORKERS = {  # and what they are fed from
    "identify": "identify_queue",
    "work_jobs": "jobs_queue",
    "converse": "bot_queue",
    "reply": "results_queue",
    "on_training_report": "training_queue",
}

Resources = dict[str, dict[str, Any]]


class Record:
    """What Chalice deployed of one stage.

    Parameters
    ----------
    chalice : Path
        The project's folder ``.chalice``.
    stage : Stage
    s3 : botocore S3 client
    """

    def __init__(self, chalice: Path, stage: Stage, s3: Any) -> None:
        self._file = chalice / "deployed" / f"{stage.name}.json"
        self._stage = stage
        self._s3 = s3
        self._place = {
            "Bucket": stage.settings.store_bucket,
            "Key": f"deployments/{stage.name}.json",
        }

    def resources(self) -> Resources:
        """Return what is deployed, by Chalice's name for it."""
        if not self._file.exists():
            return {}
        rows = json.loads(self._file.read_text(encoding="utf-8"))["resources"]
        return {row["name"]: row for row in rows}

    def fetch(self) -> None:
        """Take the record from the bucket, if there is one."""
        try:
            held = self._s3.get_object(**self._place)["Body"].read()
        except ClientError as error:
            if code_of(error) not in NOT_THERE:
                raise
        else:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_bytes(held)

    def keep(self) -> None:
        """Put the record into the bucket."""
        if self._file.exists():
            self._s3.put_object(
                **self._place, Body=self._file.read_bytes(), ContentType="application/json"
            )

    def adopt_triggers(self, lambda_: Any) -> None:
        """Note the workers' triggers where a deployment broke off before Chalice noted them.

        Chalice would make them again, which Lambda refuses.
        """
        for worker in WORKERS:
            self._adopt_trigger(lambda_, worker)

    def _adopt_trigger(self, lambda_: Any, worker: str) -> None:
        held = self.resources()
        trigger = f"{worker}-sqs-event-source"
        mappings = triggers_of_worker(lambda_, self._stage, worker)
        if trigger in held or not mappings:
            return
        row = {
            "name": trigger,
            "resource_type": "sqs_event",
            "queue": queue_of(self._stage, worker),
            "queue_arn": mappings[0]["EventSourceArn"],
            "event_uuid": mappings[0]["UUID"],
            "lambda_arn": mappings[0]["FunctionArn"],
        }
        log.info("taking over the trigger of a deployment that broke off")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        rows = {"resources": [*held.values(), row], "schema_version": "2.0", "backend": "api"}
        self._file.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def queue_of(stage: Stage, worker: str) -> str:
    """Return the name of the queue that a worker is fed from."""
    return str(getattr(stage.settings, WORKERS[worker]))


def triggers_of_worker(lambda_: Any, stage: Stage, worker: str) -> list[dict[str, Any]]:
    """Return the event source mappings from a worker's queue to the stage's worker."""
    function = stage.function(worker)
    queue = stage.arn("sqs", queue_of(stage, worker))
    found = lambda_.list_event_source_mappings(EventSourceArn=queue)["EventSourceMappings"]
    return [each for each in found if each["FunctionArn"].endswith(f":{function}")]
