"""Where a training job's files are in the store bucket: all below `training/<job_id>/`."""

from __future__ import annotations

from uuid import UUID

PREFIX = "training/"


def order_key(job_id: UUID) -> str:
    """Return the key of what is to be trained, a `messages.TrainingOrder`."""
    return f"{PREFIX}{job_id}/order.json"


def log_key(job_id: UUID) -> str:
    """Return the key of the end of the trainer's log, written anew with every report; UTF-8."""
    return f"{PREFIX}{job_id}/log.txt"


def checkpoints_prefix(job_id: UUID) -> str:
    """Return below which keys checkpoints are kept, for who takes the training up again."""
    return f"{PREFIX}{job_id}/checkpoints/"


def output_key(job_id: UUID, file: str) -> str:
    """Return the key of what came out.

    `best.pt`, `model.onnx` and `results.csv`, then `metrics.json` last: where that is, all are.
    """
    return f"{PREFIX}{job_id}/output/{file}"
