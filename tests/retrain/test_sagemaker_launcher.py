"""Trainings on SageMaker: what it is asked, and what its answers mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from moto import mock_aws

from chalicelib.errors import ConfigurationError, Unavailable
from chalicelib.retrain.launchers import Launch, Status, make
from chalicelib.retrain.launchers.sagemaker import (
    SageMakerLauncher,
    job_name,
    request,
    status_of,
)
from chalicelib.settings import Settings

JOB = Launch(UUID(int=7), "scratch", 3600)
SETTINGS = Settings(
    stage="dev",
    launcher="sagemaker",
    store_bucket="sightloop-dev-store-123456789012",
    training_queue="sightloop-dev-training",
    training_image="123456789012.dkr.ecr.eu-central-1.amazonaws.com/sightloop-training:1",
    training_role="arn:aws:iam::123456789012:role/sightloop-dev-training",
)


@pytest.fixture
def sagemaker() -> Iterator[Any]:
    """A client of moto's SageMaker."""
    with mock_aws():
        yield boto3.client("sagemaker", region_name="eu-central-1")


@pytest.fixture
def answering() -> Iterator[Callable[..., SageMakerLauncher]]:
    """Make a launcher whose SageMaker gives one answer, checked against AWS's own model."""
    stubs: list[Stubber] = []

    def make_launcher(method: str, error: str = "", words: str = "", **answer: Any) -> Any:
        client = boto3.client("sagemaker", region_name="eu-central-1")
        stub = Stubber(client)
        if error:
            stub.add_client_error(method, error, words)
        else:
            stub.add_response(method, answer)
        stub.activate()
        stubs.append(stub)
        return SageMakerLauncher(client, SETTINGS)

    yield make_launcher
    for stub in stubs:
        stub.assert_no_pending_responses()


def test_a_job_is_launched_and_found_again(sagemaker: Any) -> None:
    launcher = make(SETTINGS, lambda _: sagemaker)
    assert launcher is not None

    external_id = launcher.launch(JOB)

    assert external_id == f"sightloop-dev-{JOB.job_id.hex}"
    assert launcher.status(external_id) == Status("ended")  # moto's jobs have ended at once


def test_a_job_that_is_launched_twice_is_one(sagemaker: Any) -> None:
    launcher = SageMakerLauncher(sagemaker, SETTINGS)

    assert launcher.launch(JOB) == launcher.launch(JOB)

    assert len(sagemaker.list_training_jobs()["TrainingJobSummaries"]) == 1


def test_of_two_that_launch_a_job_at_once_the_second_finds_it(
    answering: Callable[..., SageMakerLauncher],
) -> None:
    launcher = answering("create_training_job", "ResourceInUse", "names must be unique")

    assert launcher.launch(JOB) == job_name(SETTINGS, JOB.job_id)


def test_sagemaker_is_asked_for_what_was_meant(sagemaker: Any) -> None:
    SageMakerLauncher(sagemaker, SETTINGS).launch(JOB)

    made = sagemaker.describe_training_job(TrainingJobName=job_name(SETTINGS, JOB.job_id))
    assert made["EnableManagedSpotTraining"] is True
    stops = made["StoppingCondition"]
    assert stops["MaxWaitTimeInSeconds"] >= stops["MaxRuntimeInSeconds"] == 3600
    assert made["RoleArn"] == SETTINGS.training_role
    assert made["AlgorithmSpecification"]["TrainingImage"] == SETTINGS.training_image
    assert made["OutputDataConfig"]["S3OutputPath"].startswith(
        f"s3://{SETTINGS.store_bucket}/training/{JOB.job_id}/"
    )
    tags = sagemaker.list_tags(ResourceArn=made["TrainingJobArn"])["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "application": "sightloop",
        "stage": "dev",
        "model": "scratch",
        "job": str(JOB.job_id),
    }


def test_the_trainer_is_told_its_job_and_its_stage() -> None:
    asked = request(SETTINGS, JOB)
    specified = asked["AlgorithmSpecification"]

    command = [*specified["ContainerEntrypoint"], *specified["ContainerArguments"]]
    assert command[:3] == ["sh", "/opt/sightloop/sagemaker/training/until_done.sh", "20"]
    assert command[3:5] == ["python", "/opt/sightloop/sagemaker/training/run_job.py"]
    assert command[5:7] == ["--job", str(JOB.job_id)]
    assert Settings.from_environment(asked["Environment"]) == Settings(
        stage="dev", store_bucket=SETTINGS.store_bucket, training_queue=SETTINGS.training_queue
    )


def test_several_gpus_are_used_by_as_many_processes() -> None:
    asked = request(SETTINGS.model_copy(update={"training_processes": 4}), JOB)

    arguments = asked["AlgorithmSpecification"]["ContainerArguments"]
    assert arguments[2:5] == ["torchrun", "--standalone", "--nproc-per-node=4"]


def test_a_key_of_ones_own_encrypts_the_volume_and_what_comes_out() -> None:
    arn = "arn:aws:kms:eu-central-1:123456789012:key/1"
    asked = request(SETTINGS.model_copy(update={"training_kms_key": arn}), JOB)

    assert asked["ResourceConfig"]["VolumeKmsKeyId"] == arn
    assert asked["OutputDataConfig"]["KmsKeyId"] == arn


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"training_spot": False},
        {"training_kms_key": "arn:aws:kms:eu-central-1:123456789012:key/1"},
        {"training_processes": 8, "training_instance": "ml.p4d.24xlarge"},
        {"stage": "a" * 20},
    ],
    ids=str,
)
def test_every_request_is_one_that_aws_s_own_model_takes(changed: dict[str, Any]) -> None:
    client = boto3.client("sagemaker", region_name="eu-central-1")
    settings = SETTINGS.model_copy(update=changed)
    asked = request(settings, Launch(uuid4(), "a" * 63, 5 * 86_400))
    with Stubber(client) as stub:
        arn = f"arn:aws:sagemaker:eu-central-1:123456789012:training-job/{'a' * 63}"
        stub.add_response("create_training_job", {"TrainingJobArn": arn}, asked)

        client.create_training_job(**asked)  # checks names, types and which are required

    assert list(_broken_limits(asked, _shape(client))) == []


def test_the_limits_of_the_model_are_looked_at() -> None:
    client = boto3.client("sagemaker", region_name="eu-central-1")
    asked = request(SETTINGS, JOB) | {"TrainingJobName": "a" * 64}
    asked["AlgorithmSpecification"]["ContainerArguments"][0] = "b" * 257
    asked["ResourceConfig"]["InstanceType"] = "ml.large"

    told = list(_broken_limits(asked, _shape(client)))
    where = {each.partition(":")[0] for each in told}
    assert where == {
        ".TrainingJobName",
        ".AlgorithmSpecification.ContainerArguments[]",
        ".ResourceConfig.InstanceType",
    }


@pytest.mark.parametrize("missing", ["training_image", "training_role"])
def test_what_is_not_set_up_is_said(sagemaker: Any, missing: str) -> None:
    launcher = SageMakerLauncher(sagemaker, SETTINGS.model_copy(update={missing: ""}))

    with pytest.raises(ConfigurationError, match=f"SIGHTLOOP_{missing.upper()}"):
        launcher.launch(JOB)


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        ("ResourceLimitExceeded", Unavailable),
        ("ThrottlingException", Unavailable),
        ("InternalFailure", Unavailable),
        ("ValidationException", ConfigurationError),
        ("AccessDeniedException", ConfigurationError),
    ],
)
def test_a_refusal_says_whether_to_try_again(
    answering: Callable[..., SageMakerLauncher], code: str, raised: type[Exception]
) -> None:
    with pytest.raises(raised, match="no image there"):
        answering("create_training_job", code, "no image there").launch(JOB)


def test_a_sagemaker_that_does_not_answer_is_tried_again() -> None:
    def fail(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://api.sagemaker")

    client = boto3.client("sagemaker", region_name="eu-central-1")
    client.meta.events.register("before-send.sagemaker", fail)
    launcher = SageMakerLauncher(client, SETTINGS)

    for call in (lambda: launcher.launch(JOB), lambda: launcher.status("x")):
        with pytest.raises(Unavailable):
            call()


def test_a_job_that_sagemaker_does_not_know_is_gone(sagemaker: Any) -> None:
    assert SageMakerLauncher(sagemaker, SETTINGS).status("sightloop-dev-0").state == "gone"


def test_a_job_that_aws_does_not_know_is_gone(
    answering: Callable[..., SageMakerLauncher],
) -> None:
    words = "Requested resource not found."

    assert answering("describe_training_job", "ValidationException", words).status("x").state == (
        "gone"
    )
    answering("stop_training_job", "ValidationException", words).stop("x")


def test_a_job_is_stopped(answering: Callable[..., SageMakerLauncher]) -> None:
    answering("stop_training_job").stop("sightloop-dev-1")


def test_stopping_one_that_has_ended_does_nothing(
    answering: Callable[..., SageMakerLauncher],
) -> None:
    words = "The request was rejected because the training job is in status Completed."

    answering("stop_training_job", "ValidationException", words).stop("sightloop-dev-1")


@pytest.mark.parametrize(
    ("primary", "secondary", "state"),
    [
        ("InProgress", "Starting", "waiting"),
        ("InProgress", "Pending", "waiting"),
        ("InProgress", "LaunchingMLInstances", "waiting"),
        ("InProgress", "DownloadingTrainingImage", "waiting"),
        ("InProgress", "Training", "running"),
        ("InProgress", "Uploading", "running"),
        ("InProgress", "Interrupted", "running"),
        ("InProgress", "Restarting", "running"),
        ("Stopping", "Stopping", "running"),
        ("Stopped", "Stopped", "stopped"),
        ("Stopped", "MaxRuntimeExceeded", "failed"),
        ("Stopped", "MaxWaitTimeExceeded", "failed"),
        ("Failed", "Failed", "failed"),
        ("Completed", "Completed", "ended"),
        ("Deleting", "Stopped", "gone"),
    ],
)
def test_what_sagemaker_says_means_one_state(primary: str, secondary: str, state: str) -> None:
    told = {"TrainingJobStatus": primary, "SecondaryStatus": secondary}

    assert status_of(told).state == state


def test_every_state_that_sagemaker_knows_means_one() -> None:
    model = boto3.client("sagemaker", region_name="eu-central-1").meta.service_model
    for primary in model.shape_for("TrainingJobStatus").enum:
        for secondary in model.shape_for("SecondaryStatus").enum:
            assert status_of({"TrainingJobStatus": primary, "SecondaryStatus": secondary})


def test_the_reason_of_a_failure_is_told() -> None:
    told = {
        "TrainingJobStatus": "Failed",
        "SecondaryStatus": "Failed",
        "FailureReason": "AlgorithmError: no picture can be opened, exit code: 1",
    }

    assert status_of(told) == Status("failed", told["FailureReason"])


def test_what_it_waits_for_is_told() -> None:
    told = {
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "SecondaryStatusTransitions": [
            {"Status": "Starting", "StatusMessage": "Insufficient capacity, retrying"}
        ],
    }

    assert status_of(told) == Status("waiting", "Insufficient capacity, retrying")


def _shape(client: Any) -> Any:
    return client.meta.service_model.operation_model("CreateTrainingJob").input_shape


def _broken_limits(asked: Any, shape: Any, at: str = "") -> Iterator[str]:
    """Yield what is over a length, outside a range, of no known value or pattern in AWS's model.

    botocore checks a few of these and leaves the others to AWS.
    """
    if shape.type_name == "structure":
        for name, value in asked.items():
            yield from _broken_limits(value, shape.members[name], f"{at}.{name}")
    elif shape.type_name == "list":
        for each in asked:
            yield from _broken_limits(each, shape.member, f"{at}[]")
    elif shape.type_name == "map":
        for key, value in asked.items():
            yield from _broken_limits(key, shape.key, f"{at} key")
            yield from _broken_limits(value, shape.value, f"{at}.{key}")
    limits = shape.metadata
    size = asked if isinstance(asked, int) else len(asked)
    if not limits.get("min", size) <= size <= limits.get("max", size):
        yield f"{at}: {size} is not within {limits}"
    if "enum" in limits and asked not in limits["enum"]:
        yield f"{at}: {asked} is none of its values"
    pattern = re.sub(r"\\p\{[LZN]\}", r"\\w\\s", limits.get("pattern", ""))
    if isinstance(asked, str) and pattern and not re.fullmatch(pattern, asked):
        yield f"{at}: {asked!r} does not match {pattern}"
