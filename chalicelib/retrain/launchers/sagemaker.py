"""Trains on Amazon SageMaker: a training job of our own image, on spot machines where that may be.

A job of ours has one name there for good, so whoever launches it twice finds the first. What is
interrupted because a spot machine is taken away SageMaker itself starts again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import ConfigurationError, SightloopError, Unavailable
from chalicelib.retrain.keys import PREFIX
from chalicelib.retrain.launchers import Launch, Status
from chalicelib.retrain.launchers.command import on_one_machine, require, until_done, variables
from chalicelib.settings import Settings

WORK = "/opt/ml/work"  # on the volume
ATTEMPTS = 3  # where SageMaker itself fails
WAITING = frozenset(
    {
        "Starting",
        "Pending",
        "LaunchingMLInstances",
        "PreparingTrainingStack",
        "DownloadingTrainingImage",
    }
)
OUT_OF_TIME = {
    "MaxRuntimeExceeded": "it had not ended in the time that it may take",
    "MaxWaitTimeExceeded": "no machine could be had in the time that it may wait",
}
BUSY = frozenset({"ResourceLimitExceeded", "ThrottlingException", "Throttling"})
SET_UP_WRONGLY = frozenset({"ValidationException", "AccessDeniedException", "ResourceNotFound"})
NOT_THERE = ("not found", "could not find")  # said in words, as a ValidationException


class SageMakerLauncher:
    """Has jobs trained as SageMaker training jobs.

    Parameters
    ----------
    client : botocore SageMaker client
    settings : Settings
    """

    name = "sagemaker"

    def __init__(self, client: Any, settings: Settings) -> None:
        self._client = client
        self._settings = settings

    def launch(self, job: Launch) -> str:
        """Start a job, or find that it was started before; return its name on SageMaker.

        Raises
        ------
        ConfigurationError
            The image, the role or the machine is not one that SageMaker takes; it says which.
        Unavailable
            SageMaker does not answer, or has no machine of that kind to give now.
        """
        name = job_name(self._settings, job.job_id)
        asked = request(self._settings, job)
        with _translated(f"creating the training job {name}"):
            try:
                self._client.create_training_job(**asked)
            except ClientError as error:
                if _code(error) != "ResourceInUse":
                    raise
        return name

    def status(self, external_id: str) -> Status:
        """Return what became of a job.

        Raises
        ------
        ConfigurationError
            We may not look.
        Unavailable
            SageMaker does not answer.
        """
        with _translated(f"looking at the training job {external_id}"):
            try:
                told = self._client.describe_training_job(TrainingJobName=external_id)
            except ClientError as error:
                if not _is_missing(error):
                    raise
                return Status("gone", f"SageMaker has no training job {external_id}")
        return status_of(told)

    def stop(self, external_id: str) -> None:
        """Have a job stop soon; nothing where it has ended or is not known.

        Raises
        ------
        ConfigurationError
            We may not.
        Unavailable
            SageMaker does not answer.
        """
        with _translated(f"stopping the training job {external_id}"):
            try:
                self._client.stop_training_job(TrainingJobName=external_id)
            except ClientError as error:
                if not _is_missing(error) and not _has_ended(error):
                    raise


def job_name(settings: Settings, job_id: UUID) -> str:
    """Return what SageMaker calls a job: of 63 characters at most.

    Examples
    --------
    >>> job_name(Settings(stage="dev"), UUID(int=1))
    'sightloop-dev-00000000000000000000000000000001'
    """
    return f"{name_prefix(settings)}{job_id.hex}"


def name_prefix(settings: Settings) -> str:
    """Return with what the names of a stage's training jobs begin."""
    return f"sightloop-{settings.stage}-"


def request(settings: Settings, job: Launch) -> dict[str, Any]:
    """Return what `create_training_job` is asked.

    There is no `CheckpointConfig`: the trainer keeps its checkpoints in the store itself, where the
    next start finds them on whatever machine, and a second copy could only be an older one.

    Raises
    ------
    ConfigurationError
        The settings name no image or no role.
    """
    require(settings.training_image, "SIGHTLOOP_TRAINING_IMAGE", "the trainer's image in ECR")
    require(settings.training_role, "SIGHTLOOP_TRAINING_ROLE", "the role that it trains as")
    output = f"s3://{settings.store_bucket}/{PREFIX}{job.job_id}/sagemaker"
    trainer = on_one_machine(job.job_id, settings.training_processes)
    command = until_done(settings.training_restarts, [*trainer, "--work", WORK])
    key = {"KmsKeyId": settings.training_kms_key} if settings.training_kms_key else {}
    asked = {
        "TrainingJobName": job_name(settings, job.job_id),
        "RoleArn": settings.training_role,
        "AlgorithmSpecification": {
            "TrainingImage": settings.training_image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": command[:1],
            "ContainerArguments": command[1:],
        },
        "Environment": variables(settings),
        "ResourceConfig": _machine(settings),
        "OutputDataConfig": {"S3OutputPath": output, **key},
        "RetryStrategy": {"MaximumRetryAttempts": ATTEMPTS},
        "ProfilerConfig": {"DisableProfiler": True},
        "EnableNetworkIsolation": False,  # it reads the store bucket and reports to a queue
        "Tags": _tags(settings, job),
    }
    return asked | _time(settings, job.max_seconds)


def _machine(settings: Settings) -> dict[str, Any]:
    """Return the machine. Its volume is encrypted, by a key of one's own where one is set."""
    key = {"VolumeKmsKeyId": settings.training_kms_key} if settings.training_kms_key else {}
    return {
        "InstanceType": settings.training_instance,
        "InstanceCount": 1,
        "VolumeSizeInGB": settings.training_volume_gb,
        **key,
    }


def _time(settings: Settings, max_seconds: int) -> dict[str, Any]:
    """Return how long it may take; a spot machine may be waited for as long again."""
    if not settings.training_spot:
        return {"StoppingCondition": {"MaxRuntimeInSeconds": max_seconds}}
    both = {"MaxRuntimeInSeconds": max_seconds, "MaxWaitTimeInSeconds": 2 * max_seconds}
    return {"EnableManagedSpotTraining": True, "StoppingCondition": both}


def _tags(settings: Settings, job: Launch) -> list[dict[str, str]]:
    told = {
        "application": "sightloop",
        "stage": settings.stage,
        "model": job.model,
        "job": str(job.job_id),
    }
    return [{"Key": key, "Value": value} for key, value in told.items()]


def status_of(told: Mapping[str, Any]) -> Status:
    """Return what `describe_training_job`'s answer says."""
    primary = str(told.get("TrainingJobStatus", ""))
    secondary = str(told.get("SecondaryStatus", ""))
    if primary == "Completed":
        return Status("ended")
    if secondary in OUT_OF_TIME:
        return Status("failed", OUT_OF_TIME[secondary])
    if primary == "Failed":
        return Status("failed", str(told.get("FailureReason") or "SageMaker gives no reason"))
    if primary == "Stopped":
        return Status("stopped", "it was asked to stop")
    if primary == "Deleting":
        return Status("gone", "it is being deleted")
    words = _last_message(told) or secondary
    return Status("waiting" if secondary in WAITING else "running", words)


def _last_message(told: Mapping[str, Any]) -> str:
    passed = told.get("SecondaryStatusTransitions") or []
    return str(passed[-1].get("StatusMessage") or "") if passed else ""


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _ours(error, what) from error
    except BotoCoreError as error:
        raise Unavailable(f"{what}: {error}") from error


def _ours(error: ClientError, what: str) -> SightloopError:
    if _code(error) in SET_UP_WRONGLY:
        return ConfigurationError(f"{what}: {error}")
    busy = "; it is tried again" if _code(error) in BUSY else ""
    return Unavailable(f"{what}: {error}{busy}")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _words(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", "")).lower()


def _is_missing(error: ClientError) -> bool:
    in_words = any(words in _words(error) for words in NOT_THERE)
    return _code(error) == "ResourceNotFound" or (
        _code(error) == "ValidationException" and in_words
    )


def _has_ended(error: ClientError) -> bool:
    """Tell whether a job cannot be stopped because it has ended, or is being stopped."""
    return _code(error) == "ValidationException" and "is in status" in _words(error)
