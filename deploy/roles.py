"""Roles that a deployment makes by itself, and what the policies of all roles are written with.

Whom a role trusts is written once: somebody may let others in by hand. What it may do is brought up
to date with each deployment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.errors import ConfigurationError
from deploy.cloud import code_of, log
from deploy.stages import APP, Stage

IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?"
    r"/(?P<repository>[a-z0-9._/-]+)[:@].+"
)
SAGEMAKER = "sagemaker.amazonaws.com"
GONE = "NoSuchEntity"
Statement = dict[str, Any]


@dataclass(frozen=True)
class Role:
    """A role: whom it trusts, and what it may do by a policy of its own."""

    name: str
    what: str
    trust: dict[str, Any]
    policy_name: str
    policy: dict[str, Any]


def ensure(iam: Any, stage: Stage, role: Role) -> None:
    """Make a role where there is none of its name, and bring what it may do up to date."""
    try:
        iam.create_role(
            RoleName=role.name,
            AssumeRolePolicyDocument=json.dumps(role.trust),
            Description=role.what,
            Tags=tags(stage),
        )
        log.info("made role %s", role.name)
    except ClientError as error:
        if code_of(error) != "EntityAlreadyExists":
            raise
    document = json.dumps(role.policy)
    iam.put_role_policy(RoleName=role.name, PolicyName=role.policy_name, PolicyDocument=document)


def exists(iam: Any, name: str) -> bool:
    """Tell whether there is a role."""
    try:
        iam.get_role(RoleName=name)
    except ClientError as error:
        if code_of(error) != GONE:
            raise
        return False
    return True


def remove(iam: Any, name: str) -> None:
    """Delete a role with its own policies, if there is one."""
    try:
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        iam.delete_role(RoleName=name)
        log.info("deleted role %s", name)
    except ClientError as error:
        if code_of(error) != GONE:
            raise


def tags(stage: Stage) -> list[dict[str, str]]:
    """Return what tells that something is a stage's."""
    return [{"Key": "application", "Value": APP}, {"Key": "stage", "Value": stage.name}]


def document(statements: Sequence[Statement]) -> dict[str, Any]:
    """Return a policy of statements."""
    return {"Version": "2012-10-17", "Statement": [*statements]}


def trust(who: str, only: dict[str, str], *more: str) -> dict[str, Any]:
    """Return a policy that lets a service take a role, and do more with it, under a condition."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": who},
        "Action": ["sts:AssumeRole", *more],
        "Condition": {"StringEquals": only},
    }
    return document([statement])


def by_sagemaker(stage: Stage) -> dict[str, Any]:
    """Return a policy that lets SageMaker take a role, on behalf of the stage's account only."""
    return trust(SAGEMAKER, {"aws:SourceAccount": stage.account})


def allow(sid: str, actions: Sequence[str], resources: Sequence[str]) -> Statement:
    """Return a statement that allows actions on resources."""
    return {"Sid": sid, "Effect": "Allow", "Action": [*actions], "Resource": [*resources]}


def read_objects(stage: Stage, sid: str, bucket: str, *keys: str) -> Statement:
    """Let somebody read objects."""
    return allow(sid, ["s3:GetObject"], [stage.bucket_arn(bucket, each) for each in keys])


def write_objects(stage: Stage, sid: str, bucket: str, *keys: str) -> Statement:
    """Let somebody write objects."""
    return allow(sid, ["s3:PutObject"], [stage.bucket_arn(bucket, each) for each in keys])


def list_keys(stage: Stage, sid: str, bucket: str, *keys: str) -> Statement:
    """Let somebody list what is below a prefix; without it S3 answers 403 for a missing key.

    Reading an object names no prefix, and S3 says 404 only to those who may list even so: hence
    the condition applies where there is a prefix, and to nothing else.
    """
    listing = allow(sid, ["s3:ListBucket"], [stage.bucket_arn(bucket)])
    return {**listing, "Condition": {"StringLikeIfExists": {"s3:prefix": [*keys]}}}


def erase_objects(stage: Stage, sid: str, bucket: str, *keys: str) -> list[Statement]:
    """Let somebody remove objects with all their older versions, which have to be listed."""
    listing = allow(f"{sid}List", ["s3:ListBucketVersions"], [stage.bucket_arn(bucket)])
    condition = {"StringLikeIfExists": {"s3:prefix": [*keys]}}
    arns = [stage.bucket_arn(bucket, each) for each in keys]
    return [allow(sid, ["s3:DeleteObjectVersion"], arns), {**listing, "Condition": condition}]


def run_on_sagemaker(stage: Stage, kind: str, group: str, repository: str) -> list[Statement]:
    """Return what SageMaker does in a container's name: fetch its image, keep logs and metrics.

    Parameters
    ----------
    kind : str
        What SageMaker calls what it runs, such as ``TrainingJobs``.
    group : str
        The log group.
    repository : str
        The full name of the image's repository.
    """
    logs = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams"]
    pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    metrics = allow("KeepMetrics", ["cloudwatch:PutMetricData"], ["*"])
    in_namespace = {"StringEquals": {"cloudwatch:namespace": f"/aws/sagemaker/{kind}"}}
    arn = stage.arn("logs", f"log-group:{group}")
    return [
        allow("KeepLogs", [*logs, "logs:PutLogEvents"], [arn, f"{arn}:*"]),
        {**metrics, "Condition": in_namespace},
        allow("EnterRegistry", ["ecr:GetAuthorizationToken"], ["*"]),  # AWS knows no narrower way
        allow("FetchImage", pull, [repository]),
    ]


def repository(stage: Stage, setting: str) -> str:
    """Return the full name of the repository of an image that a setting names.

    Raises
    ------
    ConfigurationError
        It names none, or one that is not in ECR.
    """
    image = str(getattr(stage.settings, setting))
    found = IMAGE.fullmatch(image)
    if not found:
        raise ConfigurationError(
            f"{setting} is {image!r}: SageMaker takes images from ECR, such as "
            f"{stage.account}.dkr.ecr.{stage.region}.amazonaws.com/sightloop:1"
        )
    where = f"{found['region']}:{found['account']}:repository/{found['repository']}"
    return f"arn:{stage.partition}:ecr:{where}"
