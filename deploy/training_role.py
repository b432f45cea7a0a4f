"""The role that trainers have on AWS, and what it may do: read datasets, write what comes out.

It is made for a stage whose launcher is `sagemaker` or `cluster`. Whom it trusts is written once: a
cluster that proves its pods' identity in another way than EKS may be let in by hand.
"""

from __future__ import annotations

import json
import re
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.errors import ConfigurationError
from chalicelib.retrain.keys import PREFIX
from chalicelib.retrain.launchers.manifest import SERVICE
from deploy.cloud import code_of, log
from deploy.stages import ROLES, Stage

POLICY = "train"
READ = ("models/*", "pending_models/*", "parked/*", "datasets/*", f"{PREFIX}*")
WRITTEN = tuple(f"{PREFIX}*/{what}" for what in ("log.txt", "checkpoints/*", "output/*"))
BY_SAGEMAKER = f"{PREFIX}*/sagemaker/*"
CHECKPOINTS = f"{PREFIX}*/checkpoints/*"
LOG_GROUP = "log-group:/aws/sagemaker/TrainingJobs"
NAMESPACE = "/aws/sagemaker/TrainingJobs"
IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?"
    r"/(?P<repository>[a-z0-9._/-]+)[:@].+"
)
IN_ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sightloop-training:1"
Statement = dict[str, Any]


def ensure(iam: Any, stage: Stage) -> None:
    """Make the role where the stage's launcher needs one, and bring what it may do up to date.

    Raises
    ------
    ConfigurationError
        The stage's settings name no image, or one that is not in ECR.
    """
    name = stage.training_role
    if name is None:
        return
    allowed = policy(stage)  # before anything is made
    try:
        iam.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(trust(stage)),
            Description="What trainers of Sightloop may do",
            Tags=[
                {"Key": "application", "Value": "sightloop"},
                {"Key": "stage", "Value": stage.name},
            ],
        )
        log.info("made role %s", name)
    except ClientError as error:
        if code_of(error) != "EntityAlreadyExists":
            raise
    iam.put_role_policy(RoleName=name, PolicyName=POLICY, PolicyDocument=json.dumps(allowed))


def remove(iam: Any, stage: Stage) -> None:
    """Delete the roles that a stage's trainers had, whichever launcher they were made for."""
    for name in ROLES.values():
        role = f"sightloop-{stage.name}-{name}"
        try:
            iam.delete_role_policy(RoleName=role, PolicyName=POLICY)
            iam.delete_role(RoleName=role)
            log.info("deleted role %s", role)
        except ClientError as error:
            if code_of(error) != "NoSuchEntity":
                raise


def trust(stage: Stage) -> dict[str, Any]:
    """Return who may take the role: SageMaker for this account, or pods of one service account."""
    if stage.settings.launcher == "sagemaker":
        who = "sagemaker.amazonaws.com"
        actions = ["sts:AssumeRole"]
        only = {"aws:SourceAccount": stage.account}
    else:
        who = "pods.eks.amazonaws.com"
        actions = ["sts:AssumeRole", "sts:TagSession"]
        only = {
            "aws:RequestTag/kubernetes-namespace": stage.settings.cluster_namespace,
            "aws:RequestTag/kubernetes-service-account": SERVICE,
        }
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": who},
        "Action": actions,
        "Condition": {"StringEquals": only},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def policy(stage: Stage) -> dict[str, Any]:
    """Return what a trainer may do.

    Raises
    ------
    ConfigurationError
        The stage's settings name no image, or one that is not in ECR.
    """
    statements = _of_trainers(stage)
    if stage.settings.launcher == "sagemaker":
        statements += _of_sagemaker(stage)
    return {"Version": "2012-10-17", "Statement": statements}


def _of_trainers(stage: Stage) -> list[Statement]:
    """Return what the trainer itself does, wherever it runs."""
    store = stage.settings.store_bucket
    listing = _allow("TellMissing", ["s3:ListBucket"], stage.bucket_arn(store))
    queue = stage.arn("sqs", stage.settings.training_queue)
    write = ["s3:PutObject", "s3:AbortMultipartUpload"]
    return [
        _allow("ReadWhatIsTrainedOn", ["s3:GetObject"], *_keys(stage, *READ)),
        {**listing, "Condition": {"StringLikeIfExists": {"s3:prefix": [*READ]}}},
        _allow("WriteWhatComesOut", write, *_keys(stage, *WRITTEN)),
        _allow("ClearCheckpoints", ["s3:DeleteObject"], *_keys(stage, CHECKPOINTS)),
        _allow("Report", ["sqs:GetQueueUrl", "sqs:SendMessage"], queue),
    ]


def _of_sagemaker(stage: Stage) -> list[Statement]:
    """Return what SageMaker does in the trainer's name: fetch the image, keep logs and metrics."""
    logs = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams"]
    pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    metrics = _allow("KeepMetrics", ["cloudwatch:PutMetricData"], "*")
    group = stage.arn("logs", LOG_GROUP)
    statements = [
        _allow("WriteOutput", ["s3:PutObject"], *_keys(stage, BY_SAGEMAKER)),
        _allow("KeepLogs", [*logs, "logs:PutLogEvents"], group, f"{group}:*"),
        {**metrics, "Condition": {"StringEquals": {"cloudwatch:namespace": NAMESPACE}}},
        _allow("EnterRegistry", ["ecr:GetAuthorizationToken"], "*"),  # AWS knows no narrower way
        _allow("FetchImage", pull, _repository(stage)),
    ]
    if key := stage.settings.training_kms_key:
        encrypt = ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"]
        statements.append(_allow("Encrypt", [*encrypt, "kms:CreateGrant"], key))
    return statements


def _repository(stage: Stage) -> str:
    """Return the full name of the image's repository."""
    image = stage.settings.training_image
    found = IMAGE.fullmatch(image)
    if not found:
        raise ConfigurationError(
            f"training_image is {image!r}: SageMaker takes images from ECR, such as {IN_ECR}"
        )
    where = f"{found['region']}:{found['account']}:repository/{found['repository']}"
    return f"arn:{stage.partition}:ecr:{where}"


def _keys(stage: Stage, *keys: str) -> list[str]:
    return [stage.bucket_arn(stage.settings.store_bucket, each) for each in keys]


def _allow(sid: str, actions: list[str], *resources: str) -> Statement:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": [*resources]}
