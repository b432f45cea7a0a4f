"""What trainers may do on AWS, and what those may do who launch them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

import boto3
import pytest
from moto import mock_aws

from chalicelib.errors import ConfigurationError
from chalicelib.labels.datasets.versions import manifest_key
from chalicelib.retrain import keys
from chalicelib.retrain.launchers import Launch
from chalicelib.retrain.launchers.sagemaker import SageMakerLauncher
from deploy import policies, training_role
from deploy.stages import ROLES, Stage

IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sightloop-training:1"
JOB = UUID(int=7)
ON_SAGEMAKER = Stage(name="dev", changed={"launcher": "sagemaker", "training_image": IMAGE})
ON_A_CLUSTER = Stage(
    name="dev",
    changed={"launcher": "cluster", "cluster_name": "vision", "cluster_namespace": "sight"},
)
Statement = dict[str, Any]


@pytest.fixture
def iam() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("iam")


@pytest.mark.parametrize("stage", [ON_SAGEMAKER, ON_A_CLUSTER], ids=lambda s: s.settings.launcher)
def test_a_stage_that_trains_has_a_role_for_it(iam: Any, stage: Stage) -> None:
    training_role.ensure(iam, stage)
    training_role.ensure(iam, stage)  # the next deployment

    role = iam.get_role(RoleName=stage.training_role)["Role"]
    held = iam.get_role_policy(RoleName=stage.training_role, PolicyName="train")
    assert held["PolicyDocument"] == training_role.policy(stage)
    assert role["AssumeRolePolicyDocument"] == training_role.trust(stage)


def test_a_stage_that_does_not_train_has_none(iam: Any) -> None:
    training_role.ensure(iam, Stage(name="dev"))

    assert iam.list_roles()["Roles"] == []


def test_the_role_is_the_one_that_the_functions_hand_over(iam: Any) -> None:
    training_role.ensure(iam, ON_SAGEMAKER)

    made = iam.get_role(RoleName=ON_SAGEMAKER.training_role)["Role"]["Arn"]
    assert ON_SAGEMAKER.settings.training_role == made
    assert ON_SAGEMAKER.environment["SIGHTLOOP_TRAINING_ROLE"] == made


def test_a_role_of_ones_own_is_handed_over_instead() -> None:
    mine = "arn:aws:iam::123456789012:role/mine"
    stage = Stage(name="dev", changed={**ON_SAGEMAKER.changed, "training_role": mine})

    assert stage.settings.training_role == mine


def test_whom_the_role_trusts_is_not_written_twice(iam: Any) -> None:
    training_role.ensure(iam, ON_A_CLUSTER)
    provider = "arn:aws:iam::123456789012:oidc-provider/oidc.example.org"
    statement = {"Effect": "Allow", "Principal": {"Federated": provider}}
    statement["Action"] = "sts:AssumeRoleWithWebIdentity"
    by_hand = {"Version": "2012-10-17", "Statement": [statement]}
    name = ON_A_CLUSTER.training_role
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(by_hand))

    training_role.ensure(iam, ON_A_CLUSTER)

    assert iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"] == by_hand


def test_only_pods_of_the_trainers_may_take_the_cluster_s_role() -> None:
    (statement,) = training_role.trust(ON_A_CLUSTER)["Statement"]

    assert statement["Condition"]["StringEquals"] == {
        "aws:RequestTag/kubernetes-namespace": "sight",
        "aws:RequestTag/kubernetes-service-account": "sightloop-training",
    }


def test_roles_go_with_their_stage(iam: Any) -> None:
    for stage in (ON_SAGEMAKER, ON_A_CLUSTER):
        training_role.ensure(iam, stage)

    training_role.remove(iam, ON_SAGEMAKER)
    training_role.remove(iam, ON_SAGEMAKER)

    assert iam.list_roles()["Roles"] == []
    assert len(ROLES) == 2


def test_a_role_that_was_half_deleted_is_deleted(iam: Any) -> None:
    training_role.ensure(iam, ON_SAGEMAKER)
    iam.delete_role_policy(RoleName=ON_SAGEMAKER.training_role, PolicyName="train")

    training_role.remove(iam, ON_SAGEMAKER)

    assert iam.list_roles()["Roles"] == []


def test_an_image_that_is_not_in_ecr_is_refused_before_anything_is_made(iam: Any) -> None:
    stage = Stage(name="dev", changed={"launcher": "sagemaker", "training_image": "trainer:1"})

    with pytest.raises(ConfigurationError, match="trainer:1"):
        training_role.ensure(iam, stage)

    assert iam.list_roles()["Roles"] == []


@pytest.mark.parametrize("stage", [ON_SAGEMAKER, ON_A_CLUSTER], ids=lambda s: s.settings.launcher)
def test_a_trainer_may_do_what_it_does(stage: Stage) -> None:
    read = [
        keys.order_key(JOB),
        f"{keys.checkpoints_prefix(JOB)}state.json",
        keys.output_key(JOB, "metrics.json"),
        keys.log_key(JOB),
        manifest_key("scratch", "0" * 64),
        "models/scratch/images/train/0.jpg",
        "pending_models/scratch/images/valid/0.png",
        "parked/scratch/0.jpg",
        "models/scratch/versions/3/best.pt",
    ]
    written = [
        f"{keys.checkpoints_prefix(JOB)}start-1-epoch-1.pt",
        keys.output_key(JOB, "best.pt"),
        keys.log_key(JOB),
    ]

    assert all(_allows(stage, "s3:GetObject", _object(stage, key)) for key in read)
    assert all(_allows(stage, "s3:PutObject", _object(stage, key)) for key in written)
    assert _allows(stage, "s3:DeleteObject", _object(stage, written[0]))
    assert _allows(stage, "s3:ListBucket", stage.bucket_arn(stage.settings.store_bucket))
    assert _allows(stage, "sqs:SendMessage", stage.arn("sqs", "sightloop-dev-training"))


@pytest.mark.parametrize("stage", [ON_SAGEMAKER, ON_A_CLUSTER], ids=lambda s: s.settings.launcher)
def test_a_trainer_may_not_do_more(stage: Stage) -> None:
    not_written = [
        keys.order_key(JOB),
        "models/scratch/model.yaml",
        "models/scratch/versions/3/best.pt",
        "trust/report_list.txt",
        "predictions/x/image.jpg",
    ]

    assert not any(_allows(stage, "s3:PutObject", _object(stage, key)) for key in not_written)
    assert not _allows(stage, "s3:GetObject", _object(stage, "predictions/x/image.jpg"))
    assert not _allows(stage, "s3:DeleteObject", _object(stage, keys.output_key(JOB, "best.pt")))
    assert not _allows(stage, "sqs:SendMessage", stage.arn("sqs", "sightloop-dev-identify"))
    on_all = {
        action
        for statement in training_role.policy(stage)["Statement"]
        if "*" in statement["Resource"] and "Condition" not in statement
        for action in statement["Action"]
    }
    assert on_all <= {"ecr:GetAuthorizationToken"}


def test_sagemaker_may_fetch_this_image_only() -> None:
    fetched = "arn:aws:ecr:eu-central-1:123456789012:repository/sightloop-training"

    assert _allows(ON_SAGEMAKER, "ecr:BatchGetImage", fetched)
    assert not _allows(ON_SAGEMAKER, "ecr:BatchGetImage", f"{fetched}-2")
    assert not _allows(ON_A_CLUSTER, "ecr:BatchGetImage", fetched)


def test_a_key_of_ones_own_may_be_used() -> None:
    arn = "arn:aws:kms:eu-central-1:123456789012:key/1"
    stage = Stage(name="dev", changed={**ON_SAGEMAKER.changed, "training_kms_key": arn})

    assert _allows(stage, "kms:CreateGrant", arn)
    assert not _allows(ON_SAGEMAKER, "kms:CreateGrant", arn)


def test_who_launches_may_do_what_launching_takes_and_no_more() -> None:
    called: set[str] = set()
    with mock_aws():
        client = boto3.client("sagemaker", region_name="eu-central-1")
        client.meta.events.register(
            "before-call.sagemaker", lambda model, **_: called.add(f"sagemaker:{model.name}")
        )
        launcher = SageMakerLauncher(client, ON_SAGEMAKER.settings)
        job = launcher.launch(Launch(JOB, "scratch", 3600))
        launcher.status(job)
        with suppress(NotImplementedError):  # moto stops none, but what is asked is noted before
            launcher.stop(job)

    train, hand_over = policies.launching(ON_SAGEMAKER)
    assert set(train["Action"]) == called | {"sagemaker:AddTags"}  # asked of who creates with tags
    assert fnmatchcase(ON_SAGEMAKER.arn("sagemaker", f"training-job/{job}"), train["Resource"][0])
    assert hand_over["Resource"] == [ON_SAGEMAKER.settings.training_role]
    assert hand_over["Condition"] == {
        "StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}
    }


def test_who_launches_on_eks_may_find_its_cluster() -> None:
    (find,) = policies.launching(ON_A_CLUSTER)

    assert find["Action"] == ["eks:DescribeCluster"]
    assert find["Resource"] == ["arn:aws:eks:eu-central-1:123456789012:cluster/vision"]


def test_who_knows_its_cluster_has_nothing_to_find() -> None:
    known = {"cluster_url": "https://10.0.0.1", "cluster_ca": "LS0t"}
    stage = Stage(name="dev", changed={**ON_A_CLUSTER.changed, **known})

    assert policies.launching(stage) == []
    assert policies.launching(Stage(name="dev")) == []


def _object(stage: Stage, key: str) -> str:
    return stage.bucket_arn(stage.settings.store_bucket, key)


def _allows(stage: Stage, action: str, resource: str) -> bool:
    return any(
        action in statement["Action"]
        and any(fnmatchcase(resource, each) for each in statement["Resource"])
        for statement in training_role.policy(stage)["Statement"]
    )
